/* SPDX-License-Identifier: MIT */
/*
 * The worker with fake sources, which only count calls. Each source has an
 * eventfd that is never emptied, so it stays readable. The sockets are those of
 * the fake kernel. The worker reads its sources only while it has sockets.
 */
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/now.h"
#include "crypto/init.h"
#include "engine/worker.h"
#include "tests/lib/check.h"
#include "tests/lib/fakesys.h"
#include "udpgather/open.h"

enum {
	/* Enough for a busy machine and a sanitizer. A choice, not measured. */
	PATIENCE_S = 20,
	/* A choice: three sources with descriptors, and POKED. */
	N = 4,
	/* The source that may have work while its descriptor is not ready. */
	POKED = N - 1,
};

/* A source: what it does, and how often it was asked for a batch. */
struct fake_source {
	struct source source;
	int fd;
	_Atomic bool is_fd_ready; /* is_ready() returns true */
	_Atomic int read_err;
	_Atomic bool is_gone;
	_Atomic unsigned int n_more;
	_Atomic unsigned int n_lone; /* batches left, of one packet each */
	_Atomic unsigned int n_looks;
};

struct fixture {
	struct fake_source fakes[N];
	struct sockets sockets;
	struct sock_group *group;
	int gone_fd;
	struct worker worker;
};

static _Atomic unsigned int n_yields;

/* In the place of that of the C library: count the calls. */
int sched_yield(void)
{
	atomic_fetch_add(&n_yields, 1);
	return 0;
}

static bool fake_take(void *arg, void *slot, void *context)
{
	struct fake_source *f = arg;
	int err = atomic_load(&f->read_err);

	(void)slot;
	(void)context;
	atomic_fetch_add(&f->n_looks, 1);
	if (err)
		source_note_error(&f->source, err);
	if (atomic_load(&f->is_gone))
		source_note_gone(&f->source);
	if (atomic_load(&f->n_more))
		atomic_fetch_sub(&f->n_more, 1);
	if (!atomic_load(&f->n_lone))
		return false;
	atomic_fetch_sub(&f->n_lone, 1);
	lane_drained(&f->source.lane);
	return true;
}

static void fake_step(void *arg, void *slot, void *context)
{
	(void)arg;
	(void)slot;
	(void)context;
}

/* There is no release step: a lane may have no memory to give back. */
static const struct lane_ops lane_ops = { .take = fake_take,
					  .work = fake_step,
					  .commit = fake_step };

static int get_fd(const struct source *s, const struct sock_group *group,
		  unsigned int i)
{
	const struct fake_source *f = s->lane.arg;

	(void)group;
	return i ? -ENOENT : f->fd;
}

static bool is_ready(struct source *s, const struct sock_group *group, int fd,
		     uint32_t events)
{
	const struct fake_source *f = s->lane.arg;

	assert_non_null(group);
	assert_int_equal(fd, f->fd);
	assert_int_equal(events, EPOLLIN);
	return atomic_load(&f->is_fd_ready);
}

static bool has_more(const struct source *s)
{
	struct fake_source *f = s->lane.arg;

	return atomic_load(&f->n_more);
}

static const struct source_ops quiet_ops = { .get_fd = get_fd,
					     .is_ready = is_ready };
static const struct source_ops poked_ops = { .get_fd = get_fd,
					     .is_ready = is_ready,
					     .has_more = has_more };

static void poke(void *arg)
{
	struct fixture *f = arg;

	worker_poke(&f->worker);
}

/* A socket of the fake kernel. */
static struct sock_group *open_sockets(void)
{
	struct sock_group *group = calloc(1, sizeof(*group));

	assert_non_null(group);
	group->n = 1;
	assert_int_equal(ug_socket_open_with(&fake_sys, group->all, NULL, NULL),
			 0);
	return group;
}

static void begin(struct fixture *f, bool has_sockets)
{
	static char memory[N];
	struct worker *w = &f->worker;

	memset(f, 0, sizeof(*f));
	fake_reset();
	sockets_init(&f->sockets);
	f->gone_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->sockets = &f->sockets;
	for (int i = 0; i < N; i++) {
		struct fake_source *s = &f->fakes[i];

		s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		atomic_init(&s->is_fd_ready, true);
		s->source.ops = i == POKED ? &poked_ops : &quiet_ops;
		s->source.name = "a fake";
		lane_init(&s->source.lane, &lane_ops, s,
			  (void *[]){ &memory[i] }, 1);
		w->sources.all[w->sources.n++] = &s->source;
	}
	assert_int_equal(worker_init(w, f->gone_fd, 1), 0);
	assert_int_equal(worker_start(w), 0);
	if (!has_sockets)
		return;
	f->group = open_sockets();
	/* Returns when the worker has entered the sockets. */
	sockets_replace(&f->sockets, f->group, poke, f);
}

static void end(struct fixture *f)
{
	worker_stop(&f->worker);
	worker_deinit(&f->worker);
	for (int i = 0; i < N; i++)
		close(f->fakes[i].fd);
	close(f->gone_fd);
	sockets_deinit(&f->sockets);
}

static void make_readable(struct fixture *f, int i)
{
	assert_int_equal(eventfd_write(f->fakes[i].fd, 1), 0);
}

static unsigned int looks(struct fixture *f, int i)
{
	return atomic_load(&f->fakes[i].n_looks);
}

static void wait_ms(long ms)
{
	const struct timespec pause = { .tv_nsec = ms * 1000000 };

	nanosleep(&pause, NULL);
}

/* Wait until source @i has been looked at more than @n times. */
static bool is_looked_at(struct fixture *f, int i, unsigned int n)
{
	for (int ms = 0; ms < PATIENCE_S * 1000; ms++) {
		if (looks(f, i) > n)
			return true;
		wait_ms(1);
	}
	return false;
}

/* Poke the worker, and wait until it has done a turn for the poke. */
static void poke_once(struct fixture *f)
{
	unsigned int before = looks(f, POKED);

	worker_poke(&f->worker);
	assert_true(is_looked_at(f, POKED, before));
}

static bool is_gone_reported(const struct fixture *f)
{
	uint64_t n;

	for (int ms = 0; ms < PATIENCE_S * 1000; ms++) {
		if (read(f->gone_fd, &n, sizeof(n)) > 0)
			return true;
		wait_ms(1);
	}
	return false;
}

/* ------------------------------------------------------------------- pokes */

static void poked_for_what_leaves(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, false);
	worker_poke(&f.worker);
	assert_true(is_looked_at(&f, POKED, 0));
	for (int i = 0; i < POKED; i++)
		assert_int_equal(looks(&f, i), 0);
	end(&f);
}

/* A helper that goes to sleep may leave a batch for which no descriptor is
 * ready. */
static void poked_by_a_helper(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, false);
	f.worker.helpers.poke(f.worker.helpers.arg);
	for (int i = 0; i < N; i++)
		assert_true(is_looked_at(&f, i, 0));
	end(&f);
}

static void has_more_without_event(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, true);
	atomic_store(&f.fakes[POKED].n_more, 1000);
	worker_poke(&f.worker);
	assert_true(is_looked_at(&f, POKED, 999));
	end(&f);
}

/* ------------------------------------------------------------- descriptors */

static void read_only_with_sockets(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, false);
	make_readable(&f, 0);
	/*
	 * The worker has answered a poke, so it had a chance to read the
	 * source.
	 */
	worker_poke(&f.worker);
	assert_true(is_looked_at(&f, POKED, 0));
	assert_int_equal(looks(&f, 0), 0);
	f.group = open_sockets();
	sockets_replace(&f.sockets, f.group, poke, &f);
	assert_true(is_looked_at(&f, 0, 10));

	/*
	 * sockets_replace() returns when the worker has no sockets any more.
	 * The worker may still look at the source once.
	 */
	sockets_replace(&f.sockets, NULL, poke, &f);
	poke_once(&f);
	unsigned int before = looks(&f, 0);

	for (int i = 0; i < 100; i++)
		poke_once(&f);
	assert_in_range(looks(&f, 0), before, before + 1);
	end(&f);
}

static void each_by_its_own(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, true);
	for (int i = 0; i < N - 1; i++) {
		make_readable(&f, i);
		assert_true(is_looked_at(&f, i, 10));
		assert_int_equal(looks(&f, i + 1) > 0, i + 1 == POKED);
	}
	end(&f);
}

/* epoll may report a descriptor that the source no longer has. */
static void not_its_descriptor(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, true);
	atomic_store(&f.fakes[0].is_fd_ready, false);
	make_readable(&f, 0);
	make_readable(&f, 1);
	assert_true(is_looked_at(&f, 1, 10));
	assert_int_equal(looks(&f, 0), 0);
	end(&f);
}

/* ---------------------------------------------------------------- spinning */

/* One lone packet: the poke brings the event. */
static void poke_lone(struct fixture *f)
{
	atomic_store(&f->fakes[POKED].n_lone, 1);
	poke_once(f);
}

/* Between packets that come seldom the worker sleeps at once. */
static void sleeps_between_rare_packets(void **state)
{
	struct fixture f;
	unsigned int before;

	(void)state;
	begin(&f, true);
	poke_lone(&f);
	wait_ms(20);
	/* After this wait, a long one, there are two turns without spinning. */
	poke_lone(&f);
	wait_ms(20);
	before = atomic_load(&n_yields);
	for (int i = 0; i < 10; i++) {
		poke_lone(&f);
		wait_ms(20);
	}
	assert_int_equal(atomic_load(&n_yields), before);
	end(&f);
}

/* Lone packets that follow each other closely find the worker awake. On a busy
 * machine a thread may be stopped between two of them: then try again. */
static void spins_between_close_packets(void **state)
{
	unsigned int before = atomic_load(&n_yields);
	struct fixture f;
	int tries = 0;

	(void)state;
	begin(&f, true);
	while (atomic_load(&n_yields) == before && tries++ < 100000) {
		/* Waits of all lengths up to 60 us. */
		uint64_t until = now_boottime() + (uint64_t)(tries % 60) * 1000;

		atomic_store(&f.fakes[POKED].n_lone, 1);
		worker_poke(&f.worker);
		while (now_boottime() < until)
			;
	}
	print_message("# spun after %d packets\n", tries);
	assert_true(atomic_load(&n_yields) > before);
	/* A worker that spins notices its end. */
	end(&f);
}

/* ------------------------------------------------------------------ trouble */

/* A source that fails stays readable. The worker must not read it without a
 * pause. */
static void failing_source_rests(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, true);
	atomic_store(&f.fakes[0].read_err, -EIO);
	make_readable(&f, 0);
	/* The failing source is tried again. Another source is not held up. */
	assert_true(is_looked_at(&f, 0, 1));
	make_readable(&f, 1);
	unsigned int before = looks(&f, 0);

	assert_true(is_looked_at(&f, 1, looks(&f, 1) + 1000));
	assert_true(looks(&f, 0) - before < 500);
	/* Once reading works, the source is read as before. */
	atomic_store(&f.fakes[0].read_err, 0);
	assert_true(is_looked_at(&f, 0, looks(&f, 0) + 1000));
	end(&f);
}

static void gone_source(void **state)
{
	struct fixture f;
	eventfd_t n;

	(void)state;
	begin(&f, true);
	make_readable(&f, 0);
	assert_true(is_looked_at(&f, 0, 0));
	atomic_store(&f.fakes[0].is_gone, true);
	assert_true(is_gone_reported(&f));
	/*
	 * The worker no longer looks at the source that is gone, even after a
	 * poke, but it looks at the others.
	 */
	unsigned int before = looks(&f, 0);

	make_readable(&f, 1);
	assert_true(is_looked_at(&f, 1, looks(&f, 1) + 100));
	unsigned int before_2 = looks(&f, 2);

	f.worker.helpers.poke(f.worker.helpers.arg);
	assert_true(is_looked_at(&f, 2, before_2));
	assert_int_equal(looks(&f, 0), before);
	/* The worker reported only once that the source is gone. */
	assert_int_equal(eventfd_read(f.gone_fd, &n), -1);
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(poked_for_what_leaves),
		cmocka_unit_test(poked_by_a_helper),
		cmocka_unit_test(has_more_without_event),
		cmocka_unit_test(read_only_with_sockets),
		cmocka_unit_test(each_by_its_own),
		cmocka_unit_test(not_its_descriptor),
		cmocka_unit_test(sleeps_between_rare_packets),
		cmocka_unit_test(spins_between_close_packets),
		cmocka_unit_test(failing_source_rests),
		cmocka_unit_test(gone_source),
	};

	if (crypto_init())
		return EXIT_FAILURE;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
