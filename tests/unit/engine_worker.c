/* SPDX-License-Identifier: MIT */
/*
 * The worker over lanes that only count. A helper that ends may leave a batch
 * that no descriptor tells of, so the worker looks at all lanes then.
 */
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "crypto/init.h"
#include "engine/worker.h"
#include "tests/lib/check.h"

enum {
	/* A machine that is busy with other things, under a sanitizer. */
	PATIENCE_S = 20,
};

struct fixture {
	struct outbound_lane out;
	struct inbound_lane in4, in6;
	struct tun tun;
	struct sockets sockets;
	struct worker worker;
};

/* A lane's argument: how often something was looked for. */
struct looks {
	_Atomic unsigned int n;
};

static struct looks out_looks, in4_looks, in6_looks;

static bool fake_take(void *arg, void *slot, void *context)
{
	struct looks *looks = arg;

	(void)slot;
	(void)context;
	atomic_fetch_add(&looks->n, 1);
	return false;
}

static void fake_step(void *arg, void *slot, void *context)
{
	(void)arg;
	(void)slot;
	(void)context;
}

static void fake_release(void *slot)
{
	(void)slot;
}

static const struct lane_ops ops = { .take = fake_take,
				     .work = fake_step,
				     .commit = fake_step,
				     .release = fake_release };

static void begin(struct fixture *f)
{
	static char memory[3];
	struct worker *w = &f->worker;

	memset(f, 0, sizeof(*f));
	atomic_store(&out_looks.n, 0);
	atomic_store(&in4_looks.n, 0);
	atomic_store(&in6_looks.n, 0);
	lane_init(&f->out.lane, &ops, &out_looks, (void *[]){ &memory[0] }, 1);
	lane_init(&f->in4.lane, &ops, &in4_looks, (void *[]){ &memory[1] }, 1);
	lane_init(&f->in6.lane, &ops, &in6_looks, (void *[]){ &memory[2] }, 1);
	sockets_init(&f->sockets);
	f->tun.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->out.tun = &f->tun;
	w->sockets = &f->sockets;
	w->out = &f->out;
	w->in4 = &f->in4;
	w->in6 = &f->in6;
	assert_int_equal(worker_init(w, -1, 1), 0);
	assert_int_equal(worker_start(w), 0);
}

static void end(struct fixture *f)
{
	worker_stop(&f->worker);
	worker_deinit(&f->worker);
	close(f->tun.fd);
	sockets_deinit(&f->sockets);
}

static bool is_looked_at(struct looks *looks)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	for (int i = 0; i < PATIENCE_S * 1000; i++) {
		if (atomic_load(&looks->n))
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

static void poked_for_what_leaves(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	worker_poke(&f.worker);
	assert_true(is_looked_at(&out_looks));
	assert_int_equal(atomic_load(&in4_looks.n), 0);
	assert_int_equal(atomic_load(&in6_looks.n), 0);
	end(&f);
}

static void poked_by_a_helper(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	f.worker.helpers.poke(f.worker.helpers.arg);
	assert_true(is_looked_at(&out_looks));
	assert_true(is_looked_at(&in4_looks));
	assert_true(is_looked_at(&in6_looks));
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(poked_for_what_leaves),
		cmocka_unit_test(poked_by_a_helper),
	};

	if (crypto_init())
		return EXIT_FAILURE;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
