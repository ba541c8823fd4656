/* SPDX-License-Identifier: MIT */
/*
 * A pause of worker, helpers and handshaker, with fake sources. A source reads the
 * numbers of packets from an eventfd, several at once, and takes them in batches. In
 * thousands of pauses at random moments, each packet comes out once and in order,
 * nothing that was read waits during a pause, and no thread does anything. In a build
 * with ThreadSanitizer no data race is reported, although the test changes during a
 * pause what belongs to the threads.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/now.h"
#include "base/rcu.h"
#include "crypto/init.h"
#include "device/config.h"
#include "engine/pause.h"
#include "noise/cookie.h"
#include "tests/lib/check.h"
#include "tests/lib/fakesys.h"
#include "tests/lib/quiet_ops.h"
#include "tests/lib/sanitized.h"
#include "tests/lib/require.h"
#include "udpgather/open.h"

enum {
	/* Enough for a busy machine and a sanitizer. A choice, not measured. */
	PATIENCE_S = 60,
	PAUSES = 10000,
#ifdef IS_SANITIZED
	EAGER_PAUSES = PAUSES / 10, /* four threads that never sleep are slow */
#else
	EAGER_PAUSES = PAUSES,
#endif
	/* How a source keeps what it has read: in the slot, or elsewhere. */
	KEEPS = 0,
	HAS_MORE = 1,
	N = 3,
	SLOTS = 8,
	/* Packets that one call reads. A choice: a pause waits for them. */
	READ_MOST = 32,
	/* More of them would be load for the handshaker, which it answers. */
	MESSAGES = 2000,
	/* Of this many batches one brings a handshake message. */
	SELDOM = 50,
};

/* A batch of packets. */
struct batch {
	uint64_t first;
	unsigned int n;
	bool is_worked;
};

/**
 * struct fake_source - numbers its packets, and checks their order
 * @fd:		eventfd: packets that wait
 * @kind:	KEEPS or HAS_MORE
 * @next:	of the taker: number of the next packet that is taken
 * @left:	packets that were read and not taken yet; written by the taker
 * @n_read:	packets read; written by the taker
 * @n_out:	of the committer: packets that have come out
 * @n_done:	the same, for the test
 * @stuck:	if not NULL, the step work waits for it
 */
struct fake_source {
	struct source source;
	int fd;
	int kind;
	uint64_t next;
	_Atomic uint64_t left;
	uint64_t n_read;
	uint64_t n_out;
	_Atomic uint64_t n_done;
	sem_t *_Atomic stuck;
	struct batch batches[SLOTS];
	struct fixture *f;
};

struct fixture {
	struct fake_source fakes[N];
	struct sockets sockets;
	struct device device;
	struct handshaker handshaker;
	struct worker worker;
	struct pause pause;
	struct message_initiation message;
	int gone_fd;
	_Atomic bool is_paused;
	_Atomic unsigned int n_messages;
	_Atomic bool is_ended;
	uint64_t n_pushed[N]; /* the producer's, until it has ended */
	uint64_t n_asked;     /* packets of HAS_MORE that were not pushed */
};

static void spend(uint64_t ns)
{
	uint64_t end = now_monotonic() + ns;

	while (now_monotonic() < end)
		;
}

/* ------------------------------------------------------------ the sources */

static bool read_packets(struct fake_source *s)
{
	uint64_t n;

	if (read(s->fd, &n, sizeof(n)) < 0)
		return false;
	/* The others can be read next. */
	if (n > READ_MOST) {
		REQUIRE(eventfd_write(s->fd, n - READ_MOST) == 0);
		n = READ_MOST;
	}
	s->n_read += n;
	atomic_store(&s->left, n);
	return true;
}

static bool fake_take(void *arg, void *slot, void *context)
{
	const struct context *ctx = context;
	struct fake_source *s = arg;
	struct batch *b = slot;
	uint64_t left;

	REQUIRE(!atomic_load(&s->f->is_paused));
	if (!ctx->sock)
		return false;
	if (!atomic_load(&s->left) && (ctx->reads_nothing || !read_packets(s)))
		return false;
	left = atomic_load(&s->left);
	b->first = s->next;
	b->n = 1 + (unsigned int)(s->next % 4);
	if (b->n > left)
		b->n = (unsigned int)left;
	s->next += b->n;
	atomic_store(&s->left, left - b->n);
	if (left > b->n && s->kind == KEEPS)
		lane_keep(&s->source.lane, slot);
	b->is_worked = false;
	return true;
}

static void fake_work(void *arg, void *slot, void *context)
{
	struct fake_source *s = arg;
	struct batch *b = slot;
	sem_t *stuck = atomic_load(&s->stuck);

	(void)context;
	REQUIRE(!atomic_load(&s->f->is_paused));
	while (stuck && sem_wait(stuck) < 0)
		;
	/* The factor is a prime, so that the times look random. */
	spend(b->first * 7919 % 5000);
	if (b->first % 5 == 0)
		sched_yield();
	b->is_worked = true;
}

static void bring_message(struct fixture *f)
{
	struct ug_endpoint from = { .addr.v4.sin_family = AF_INET };

	if (atomic_fetch_add(&f->n_messages, 1) < MESSAGES)
		handshaker_receive(&f->handshaker, &f->message,
				   sizeof(f->message), &from, now_boottime());
}

static void fake_commit(void *arg, void *slot, void *context)
{
	struct fake_source *s = arg;
	struct batch *b = slot;

	(void)context;
	REQUIRE(!atomic_load(&s->f->is_paused));
	REQUIRE(b->is_worked);
	REQUIRE(b->first == s->n_out);
	s->n_out += b->n;
	atomic_store(&s->n_done, s->n_out);
	if (b->first % SELDOM == 0)
		bring_message(s->f);
}

static const struct lane_ops lane_ops = { .take = fake_take,
					  .work = fake_work,
					  .commit = fake_commit };

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
	(void)s;
	(void)group;
	(void)fd;
	(void)events;
	return true;
}

static bool has_more(const struct source *s)
{
	const struct fake_source *f = s->lane.arg;

	return atomic_load(&f->left);
}

static const struct source_ops keeps_ops = { .get_fd = get_fd,
					     .is_ready = is_ready };
static const struct source_ops more_ops = { .get_fd = get_fd,
					    .is_ready = is_ready,
					    .has_more = has_more };

/* -------------------------------------------------------------- the world */

static void op_random(void *arg, void *buf, size_t len)
{
	(void)arg;
	memset(buf, 7, len);
}

static const struct device_ops device_ops = {
	.random = op_random,
	QUIET_OPS,
};

static void poke(void *arg)
{
	struct fixture *f = arg;

	worker_poke(&f->worker);
	handshaker_poke(&f->handshaker);
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

static void replace_sockets(struct fixture *f, struct sock_group *next)
{
	sockets_replace(&f->sockets, next, poke, f);
}

/* An initiation that is false, but for its mac1, so the handshaker works on it. */
static void make_message(struct fixture *f)
{
	const uint8_t key[NOISE_PRIVATE_KEY_LEN] = { 8, [31] = 64 };
	uint8_t own[NOISE_PUBLIC_KEY_LEN];
	struct cookie_maker maker;

	device_set_private_key(&f->device, key);
	assert_true(noise_local_get_keys(&f->device.local, NULL, own));
	memset(&f->message, 9, sizeof(f->message));
	f->message.type = le32_make(MESSAGE_INITIATION);
	cookie_maker_init(&maker, own);
	cookie_maker_add_macs(&maker, &f->message, sizeof(f->message),
			      now_boottime());
	cookie_maker_deinit(&maker);
}

static uint64_t no_cpu(void)
{
	return 0;
}

static void init_source(struct fixture *f, int i)
{
	struct fake_source *s = &f->fakes[i];
	void *slots[SLOTS];

	for (int n = 0; n < SLOTS; n++)
		slots[n] = &s->batches[n];
	s->f = f;
	s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->kind = i % 2 ? HAS_MORE : KEEPS;
	s->source.ops = s->kind == KEEPS ? &keeps_ops : &more_ops;
	s->source.name = "a fake";
	lane_init(&s->source.lane, &lane_ops, s, slots, SLOTS);
	f->worker.sources.all[f->worker.sources.n++] = &s->source;
}

static struct fixture *begin(unsigned int n_helpers, bool is_eager,
			     bool is_paused)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	fake_reset();
	sockets_init(&f->sockets);
	f->gone_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(device_init(&f->device, &device_ops, f), 0);
	make_message(f);
	assert_int_equal(
		handshaker_init(&f->handshaker, &f->device, &f->sockets), 0);
	f->handshaker.others_cpu = no_cpu;
	f->worker.sockets = &f->sockets;
	f->worker.helpers.are_always_awake = is_eager;
	for (int i = 0; i < N; i++)
		init_source(f, i);
	assert_int_equal(worker_init(&f->worker, f->gone_fd, n_helpers), 0);
	f->pause = (struct pause){ .worker = &f->worker,
				   .handshaker = &f->handshaker };
	if (is_paused)
		pause_prepare(&f->pause);
	assert_int_equal(handshaker_start(&f->handshaker), 0);
	assert_int_equal(worker_start(&f->worker), 0);
	replace_sockets(f, open_sockets());
	return f;
}

static void end(struct fixture *f)
{
	worker_stop(&f->worker);
	handshaker_stop(&f->handshaker);
	worker_deinit(&f->worker);
	handshaker_deinit(&f->handshaker);
	device_deinit(&f->device);
	for (int i = 0; i < N; i++)
		close(f->fakes[i].fd);
	close(f->gone_fd);
	sockets_deinit(&f->sockets);
	free(f);
}

static void push(struct fixture *f, unsigned int i, uint64_t n)
{
	REQUIRE(eventfd_write(f->fakes[i].fd, n) == 0);
	f->n_pushed[i] += n;
}

static bool has_come_out(struct fixture *f, unsigned int i)
{
	return atomic_load(&f->fakes[i].n_done) == f->n_pushed[i];
}

static void await_all(struct fixture *f)
{
	uint64_t end = now_monotonic() + PATIENCE_S * NSEC_PER_SEC;

	for (unsigned int i = 0; i < N; i++) {
		while (!has_come_out(f, i) && now_monotonic() < end)
			sched_yield();
		assert_int_equal(atomic_load(&f->fakes[i].n_done),
				 f->n_pushed[i]);
	}
}

/* --------------------------------------------------------------- pauses */

/* A producer of packets. */
static void *produce(void *arg)
{
	struct fixture *f = arg;
	struct random r = { .state = 12345 };

	while (!atomic_load(&f->is_ended)) {
		push(f, (unsigned int)random_below(&r, N),
		     1 + random_below(&r, 20));
		spend(random_below(&r, 20000));
		sched_yield();
	}
	return NULL;
}

/* During a pause: nothing that was read before it waits. The test may write what belongs
 * to the threads. @left: packets of HAS_MORE that came in the pause. */
static void check_rest(struct fixture *f, uint64_t left)
{
	for (int i = 0; i < N; i++) {
		struct fake_source *s = &f->fakes[i];
		uint64_t n = i == HAS_MORE ? left : 0;

		assert_int_equal(atomic_load(&s->left), n);
		assert_true(lane_is_idle(&s->source.lane));
		assert_int_equal(s->n_out, s->n_read - n);
		assert_int_equal(s->n_out, s->next);
		s->next = s->n_out = s->n_read - n;
		s->batches[0].n = 0;
	}
	f->handshaker.n_failed = 0;
	f->handshaker.loaded_until = 0;
	f->device.generation++;
}

/* Things that may happen in a pause, and let no thread do anything but enter the
 * sockets. */
static void disturb(struct fixture *f, struct random *r)
{
	struct fake_source *more = &f->fakes[HAS_MORE];

	switch (random_below(r, 8)) {
	case 0:
		poke(f);
		break;
	case 1:
		replace_sockets(f, open_sockets());
		break;
	case 2:
		bring_message(f);
		break;
	case 3:
		/* A request, which the worker serves after the pause. */
		atomic_store(&more->left, 1);
		more->n_read++;
		f->n_asked++;
		poke(f);
		break;
	default:
		return;
	}
	spend(random_below(r, 20000));
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void print_times(const char *what, uint64_t *ns, unsigned int n)
{
	qsort(ns, n, sizeof(*ns), compare);
	print_message("# %s: median %llu us, 99th percentile %llu us, most "
		      "%llu us\n",
		      what, (unsigned long long)ns[n / 2] / 1000,
		      (unsigned long long)ns[n - 1 - n / 100] / 1000,
		      (unsigned long long)ns[n - 1] / 1000);
}

/* Pauses under traffic. */
static void pause_often(unsigned int n_helpers, bool is_eager,
			unsigned int n_pauses)
{
	struct fixture *f = begin(n_helpers, is_eager, false);
	uint64_t *times = calloc(n_pauses, sizeof(*times)), n_asked;
	pthread_t producer;
	struct random r;

	assert_non_null(times);
	random_init(&r, 0x5eed0077);
	assert_int_equal(pthread_create(&producer, NULL, produce, f), 0);
	for (unsigned int i = 0; i < n_pauses; i++) {
		uint64_t start = now_monotonic();

		assert_int_equal(
			pause_begin(&f->pause, PATIENCE_S * NSEC_PER_SEC), 0);
		times[i] = now_monotonic() - start;
		atomic_store(&f->is_paused, true);
		assert_true(f->pause.is_on);
		check_rest(f, 0);
		n_asked = f->n_asked;
		disturb(f, &r);
		check_rest(f, f->n_asked - n_asked);
		atomic_store(&f->is_paused, false);
		pause_end(&f->pause);
		assert_false(f->pause.is_on);
		if (random_below(&r, 4) == 0)
			spend(random_below(&r, 200000));
	}
	atomic_store(&f->is_ended, true);
	pthread_join(producer, NULL);
	f->n_pushed[HAS_MORE] += f->n_asked;
	await_all(f);
	print_times("a pause begins in", times, n_pauses);
	print_message("# %llu packets\n",
		      (unsigned long long)(f->n_pushed[0] + f->n_pushed[1] +
					   f->n_pushed[2]));
	end(f);
	free(times);
}

static void one_thread(void **state)
{
	(void)state;
	pause_often(0, false, PAUSES);
}

static void four_threads(void **state)
{
	(void)state;
	pause_often(3, false, PAUSES);
}

static void eager_threads(void **state)
{
	(void)state;
	pause_often(3, true, EAGER_PAUSES);
}

/* ----------------------------------------------------------- single things */

/* All waits for a tunnel that is idle are those for threads to wake. */
static void idle(void **state)
{
	struct fixture *f = begin(3, false, false);
	uint64_t times[1000];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		uint64_t start;

		spend(200000);
		start = now_monotonic();
		assert_int_equal(
			pause_begin(&f->pause, PATIENCE_S * NSEC_PER_SEC), 0);
		times[i] = now_monotonic() - start;
		pause_end(&f->pause);
	}
	print_times("an idle pause begins in", times, 1000);
	end(f);
}

/* A thread works for longer than the pause may wait: there is no pause, and all go
 * on. */
static void timeout(void **state)
{
	for (unsigned int n_helpers = 0; n_helpers <= 3; n_helpers += 3) {
		struct fixture *f = begin(n_helpers, n_helpers > 0, false);
		sem_t stuck;

		sem_init(&stuck, 0, 0);
		atomic_store(&f->fakes[0].stuck, &stuck);
		push(f, 0, 1);
		push(f, 1, 1);
		/* The packet is being worked on. */
		while (atomic_load(&f->fakes[0].source.lane.head) == 0)
			sched_yield();
		assert_int_equal(pause_begin(&f->pause, 5 * NSEC_PER_MSEC),
				 -ETIMEDOUT);
		assert_false(f->pause.is_on);
		atomic_store(&f->fakes[0].stuck, NULL);
		sem_post(&stuck);
		push(f, 2, 10);
		await_all(f);
		assert_int_equal(
			pause_begin(&f->pause, PATIENCE_S * NSEC_PER_SEC), 0);
		check_rest(f, 0);
		pause_end(&f->pause);
		push(f, 0, 10);
		await_all(f);
		sem_destroy(&stuck);
		end(f);
	}
	(void)state;
}

/* Threads may begin with a pause. They may be stopped in it. */
static void paused_from_the_start(void **state)
{
	for (int turn = 0; turn < 4; turn++) {
		struct fixture *f = begin(3, turn % 2, true);

		for (unsigned int i = 0; i < N; i++)
			push(f, i, 100);
		atomic_store(&f->is_paused, true);
		for (int i = 0; i < 20; i++) {
			poke(f);
			spend(NSEC_PER_MSEC);
			replace_sockets(f, open_sockets());
		}
		for (unsigned int i = 0; i < N; i++)
			assert_int_equal(atomic_load(&f->fakes[i].n_done), 0);
		if (turn < 2) {
			atomic_store(&f->is_paused, false);
			pause_end(&f->pause);
			await_all(f);
		}
		end(f);
	}
	(void)state;
}

/* The worker finishes what was read, and reads nothing. */
static void finish_reads_nothing(void **state)
{
	struct fixture *f = begin(0, false, false);
	struct fake_source *more = &f->fakes[HAS_MORE];
	uint64_t long_enough = now_monotonic() + PATIENCE_S * NSEC_PER_SEC;

	(void)state;
	worker_pause(&f->worker);
	assert_int_equal(worker_await_rest(&f->worker, long_enough), 0);
	atomic_store(&more->left, 10);
	more->n_read = f->n_asked = 10;
	for (unsigned int i = 0; i < N; i++)
		push(f, i, 5);
	assert_int_equal(worker_finish(&f->worker, long_enough), 0);
	assert_int_equal(atomic_load(&more->left), 0);
	assert_int_equal(more->n_out, 10);
	assert_true(lane_is_idle(&more->source.lane));
	assert_int_equal(more->n_read, 10);
	assert_int_equal(f->fakes[0].n_read, 0);
	worker_resume(&f->worker);
	f->n_pushed[HAS_MORE] += f->n_asked;
	await_all(f);
	end(f);
}

/* Without sockets the worker reads nothing, and a pause leaves all as it is. */
static void without_sockets(void **state)
{
	struct fixture *f = begin(3, false, false);

	(void)state;
	replace_sockets(f, NULL);
	assert_int_equal(pause_begin(&f->pause, PATIENCE_S * NSEC_PER_SEC), 0);
	atomic_store(&f->fakes[HAS_MORE].left, 1);
	f->fakes[HAS_MORE].n_read = f->n_pushed[HAS_MORE] = 1;
	pause_end(&f->pause);
	push(f, 0, 1);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(
			pause_begin(&f->pause, PATIENCE_S * NSEC_PER_SEC), 0);
		assert_int_equal(atomic_load(&f->fakes[HAS_MORE].left), 1);
		pause_end(&f->pause);
	}
	replace_sockets(f, open_sockets());
	poke(f);
	await_all(f);
	end(f);
}

/* A few messages are handled before the pause, and the others after it. */
static void messages_that_wait(void **state)
{
	struct fixture *f = begin(0, false, false);
	struct handshaker *h = &f->handshaker;
	const unsigned int n = HANDSHAKE_LAST_ROUNDS + 5;
	uint64_t long_enough = now_monotonic() + PATIENCE_S * NSEC_PER_SEC;
	uint64_t n_handled = 0;

	(void)state;
	handshaker_pause(h, 0);
	assert_int_equal(handshaker_await_rest(h, long_enough), 0);
	for (unsigned int i = 0; i < n; i++)
		bring_message(f);
	assert_int_equal(h->waiting.n, n);
	assert_int_equal(pause_begin(&f->pause, PATIENCE_S * NSEC_PER_SEC), 0);
	assert_int_equal(h->waiting.n, n - HANDSHAKE_LAST_ROUNDS);
	handshaker_poke(h);
	spend(5 * NSEC_PER_MSEC);
	/* It rests, and so this thread may read without the mutex. */
	assert_int_equal(h->waiting.n, n - HANDSHAKE_LAST_ROUNDS);
	pause_end(&f->pause);
	while (n_handled < n && now_monotonic() < long_enough) {
		n_handled = 0;
		for (int i = 0; i < DROP_REASONS; i++)
			n_handled += atomic_load(&h->drops[i]);
		sched_yield();
	}
	assert_int_equal(n_handled, n);
	assert_int_equal(atomic_load(&h->overflows), 0);
	end(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_thread),
		cmocka_unit_test(four_threads),
		cmocka_unit_test(eager_threads),
		cmocka_unit_test(idle),
		cmocka_unit_test(timeout),
		cmocka_unit_test(paused_from_the_start),
		cmocka_unit_test(finish_reads_nothing),
		cmocka_unit_test(without_sockets),
		cmocka_unit_test(messages_that_wait),
	};

	if (crypto_init())
		return EXIT_FAILURE;
	rcu_register();
	log_init(LOG_SILENT, "test");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
