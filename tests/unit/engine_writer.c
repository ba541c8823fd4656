/* SPDX-License-Identifier: MIT */
/*
 * Lanes whose batches are written by writers, to two fake queues of a TUN. Each
 * batch has a packet for one queue, or for both. Threads are delayed where it hurts:
 * between the commit and the write, and while they write. The packets of each lane
 * must come to each queue once and in order, and nothing may wait but what has to.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/now.h"
#include "engine/writer.h"
#include "tests/lib/check.h"
#include "tests/lib/require.h"

enum {
	QUEUES = 2,
	LANES = 3,
	SLOTS = 4,
	THREADS = 4,
	/* Batches of each lane. A choice, not measured. */
	BATCHES = 5000,
	/* Enough for a busy machine and a sanitizer. A choice, not measured. */
	PATIENCE_S = 60,
	DELAY_NS = 50 * 1000,
};

/* A packet: the number of its lane, and that of its batch in the lane. */
struct packet {
	uint32_t lane;
	uint32_t number;
};

/* A slot. */
struct batch {
	struct fake_lane *fl;
	uint32_t number;
	bool in_use;
	_Atomic unsigned int n_unwritten;
	struct packet packets[QUEUES];
	struct writer_batch batches[QUEUES];
};

/**
 * struct fake_lane - a lane whose batches have numbers
 * @queues:	the queues that all its batches have a packet for, a bit for each; 0: each
 *		batch has one for the first, for the second, or for both
 * @to_take:	batches that it has
 * @taken:	used by the taker
 * @committed:	used by the committer; atomic for the main thread
 */
struct fake_lane {
	struct lane lane;
	struct batch slots[SLOTS];
	unsigned int queues;
	uint32_t to_take;
	uint32_t taken;
	_Atomic uint32_t committed;
};

/**
 * struct queue - what came to a queue
 * @in_write:	threads that write to it, which must not be more than one
 * @next:	for each lane, the least number that the next packet may have
 * @n_written:	for each lane, packets that came
 * @gate:	while it is held, a thread that writes stands still
 * @is_shut:	a thread that writes takes @gate
 * @n_waiting:	threads that stand still
 * @err:	the errno of each write; 0: it takes the packet
 */
struct queue {
	_Atomic unsigned int in_write;
	uint32_t next[LANES];
	_Atomic uint32_t n_written[LANES];
	pthread_mutex_t gate;
	_Atomic bool is_shut;
	_Atomic unsigned int n_waiting;
	_Atomic int err;
};

static struct fake_lane lanes[LANES];
static struct queue queues[QUEUES];
static struct tun tuns[QUEUES];
static struct source readers[QUEUES];
static struct writer writers[QUEUES];
/* Threads are delayed at random, or not at all. */
static bool has_delays;
/* Threads are stopped after a commit, and never deliver. */
static _Atomic bool is_stopped_before;
static _Thread_local struct random *chance;
/* What other threads do while a batch is written, or NULL. */
static void (*beside_a_write)(void);

/* Lose the processor at random, now and then for longer. */
static void delay(void)
{
	const struct timespec pause = { .tv_nsec = DELAY_NS };
	uint64_t r = has_delays ? random_below(chance, 64) : 63;

	if (r < 8)
		sched_yield();
	if (r == 8)
		nanosleep(&pause, NULL);
}

/* ------------------------------------------------------------- the queues */

static ssize_t fake_writev(int fd, const struct iovec *iov, int cnt)
{
	struct queue *q = &queues[fd];
	struct packet p;

	REQUIRE(atomic_fetch_add(&q->in_write, 1) == 0);
	REQUIRE(iov[cnt - 1].iov_len == sizeof(p));
	memcpy(&p, iov[cnt - 1].iov_base, sizeof(p));
	delay();
	if (atomic_load(&q->is_shut)) {
		atomic_fetch_add(&q->n_waiting, 1);
		pthread_mutex_lock(&q->gate);
		pthread_mutex_unlock(&q->gate);
		atomic_fetch_sub(&q->n_waiting, 1);
	}
	REQUIRE(p.lane < LANES);
	REQUIRE(p.number >= q->next[p.lane]);
	q->next[p.lane] = p.number + 1;
	atomic_fetch_sub(&q->in_write, 1);
	if (beside_a_write)
		beside_a_write();
	errno = atomic_load(&q->err);
	if (errno)
		return -1;
	atomic_fetch_add(&q->n_written[p.lane], 1);
	return sizeof(p);
}

static const struct tun_sys sys = { .writev = fake_writev };

/* -------------------------------------------------------------- the lanes */

static unsigned int queues_of(const struct fake_lane *fl, uint32_t number)
{
	return fl->queues ? fl->queues : 1 + number % 3;
}

static bool fake_may_take(void *arg)
{
	const struct fake_lane *fl = arg;

	for (unsigned int q = 0; q < QUEUES; q++)
		if ((!fl->queues || fl->queues & 1U << q) &&
		    writer_is_behind(&writers[q]))
			return false;
	return true;
}

static bool fake_take(void *arg, void *slot, void *context)
{
	struct fake_lane *fl = arg;
	struct batch *b = slot;

	(void)context;
	REQUIRE(!b->in_use);
	if (fl->taken == fl->to_take)
		return false;
	b->in_use = true;
	b->number = fl->taken++;
	return true;
}

static void fake_work(void *arg, void *slot, void *context)
{
	(void)arg;
	(void)slot;
	(void)context;
	delay();
}

static void fake_commit(void *arg, void *slot, void *context)
{
	struct fake_lane *fl = arg;
	struct batch *b = slot;
	unsigned int set = queues_of(fl, b->number);

	(void)context;
	REQUIRE(b->number == atomic_load(&fl->committed));
	atomic_store(&b->n_unwritten, (unsigned int)__builtin_popcount(set));
	atomic_fetch_add(&fl->committed, 1);
	for (unsigned int q = 0; q < QUEUES; q++) {
		if (!(set & 1U << q))
			continue;
		b->packets[q] =
			(struct packet){ (uint32_t)(fl - lanes), b->number };
		writer_begin(&writers[q], &b->batches[q]);
		REQUIRE(merge_add(&b->batches[q].merge,
				  (uint8_t *)&b->packets[q],
				  sizeof(b->packets[q])) == 0);
	}
	for (unsigned int q = 0; q < QUEUES; q++) {
		if (set & 1U << q)
			writer_push(&writers[q], &b->batches[q]);
		delay();
	}
}

static void batch_done(void *arg)
{
	struct batch *b = arg;

	if (atomic_fetch_sub(&b->n_unwritten, 1) != 1)
		return;
	b->in_use = false;
	lane_give_back(&b->fl->lane, b);
}

static void fake_deliver(void *arg, void *context)
{
	(void)arg;
	(void)context;
	delay();
	for (unsigned int q = 0; q < QUEUES && !atomic_load(&is_stopped_before);
	     q++)
		writer_run(&writers[q]);
}

static const struct lane_ops ops = {
	.may_take = fake_may_take,
	.take = fake_take,
	.work = fake_work,
	.commit = fake_commit,
	.deliver = fake_deliver,
};

static void begin_lane(struct fake_lane *fl)
{
	void *slots[SLOTS];

	fl->to_take = BATCHES;
	fl->queues = fl->taken = 0;
	atomic_store(&fl->committed, 0);
	for (int i = 0; i < SLOTS; i++) {
		struct batch *b = &fl->slots[i];

		b->fl = fl;
		b->in_use = false;
		slots[i] = b;
		for (unsigned int q = 0; q < QUEUES; q++) {
			merge_init(&b->batches[q].merge);
			b->batches[q].done = batch_done;
			b->batches[q].arg = b;
		}
	}
	lane_init(&fl->lane, &ops, fl, slots, SLOTS);
}

static int begin(void **state)
{
	(void)state;
	has_delays = false;
	atomic_store(&is_stopped_before, false);
	memset(queues, 0, sizeof(queues));
	memset(readers, 0, sizeof(readers));
	for (int q = 0; q < QUEUES; q++) {
		tuns[q] = (struct tun){ .sys = &sys, .fd = q };
		pthread_mutex_init(&queues[q].gate, NULL);
		writer_init(&writers[q], &tuns[q], &readers[q]);
	}
	for (int i = 0; i < LANES; i++)
		begin_lane(&lanes[i]);
	return 0;
}

static int end(void **state)
{
	(void)state;
	for (int q = 0; q < QUEUES; q++) {
		writer_deinit(&writers[q]);
		pthread_mutex_destroy(&queues[q].gate);
	}
	return 0;
}

static bool is_over(void)
{
	for (int i = 0; i < LANES; i++)
		if (atomic_load(&lanes[i].committed) < lanes[i].to_take ||
		    !lane_is_idle(&lanes[i].lane))
			return false;
	return true;
}

static enum lane_result run(unsigned int lane)
{
	return lane_run(&lanes[lane].lane, NULL);
}

static uint32_t written(unsigned int queue, unsigned int lane)
{
	return atomic_load(&queues[queue].n_written[lane]);
}

/* --------------------------------------------------------------- the tests */

static void *any_lane(void *arg)
{
	struct random r = { .state = (uint64_t)(uintptr_t)arg };

	chance = &r;
	while (!is_over())
		for (unsigned int i = 0; i < LANES; i++)
			if (!lane_is_busy(run(i)))
				sched_yield();
	return NULL;
}

/* Threads that are delayed between commit and write, and while they write. */
static void order_with_delays(void **state)
{
	pthread_t threads[THREADS];
	struct random r;

	(void)state;
	/* A choice: any seed. */
	random_init(&r, 20261129);
	has_delays = true;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, any_lane,
				       (void *)(uintptr_t)random_next(&r)),
			0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned int i = 0; i < LANES; i++)
		for (unsigned int q = 0, n = 0; q < QUEUES; q++, n = 0) {
			for (uint32_t b = 0; b < BATCHES; b++)
				n += queues_of(&lanes[i], b) >> q & 1;
			assert_int_equal(written(q, i), n);
		}
}

static void *first_lane_once(void *arg)
{
	(void)arg;
	REQUIRE(run(0) == LANE_BUSY);
	return NULL;
}

static void await_waiting(const struct queue *q)
{
	uint64_t end = now_boottime() + PATIENCE_S * NSEC_PER_SEC;

	while (!atomic_load(&q->n_waiting)) {
		assert_true(now_boottime() < end);
		sched_yield();
	}
}

/*
 * A thread stands still while it writes to queue 0. Its lane commits until no slot is
 * free, as does another lane that writes there, too. The lane that writes to queue 1
 * goes on. Then all is written in order.
 */
static void a_thread_that_stands_still(void **state)
{
	pthread_t thread;

	(void)state;
	lanes[0].queues = lanes[1].queues = 1;
	lanes[2].queues = 2;
	pthread_mutex_lock(&queues[0].gate);
	atomic_store(&queues[0].is_shut, true);
	assert_int_equal(pthread_create(&thread, NULL, first_lane_once, NULL),
			 0);
	await_waiting(&queues[0]);
	for (unsigned int i = 0; i < 100; i++) {
		assert_int_equal(run(0), i < SLOTS - 1 ? LANE_BUSY : LANE_HELD);
		assert_int_equal(run(1), i < SLOTS ? LANE_BUSY : LANE_HELD);
		assert_int_equal(run(2), LANE_BUSY);
		assert_int_equal(written(1, 2), i + 1);
	}
	assert_int_equal(atomic_load(&lanes[0].committed), SLOTS);
	assert_int_equal(atomic_load(&lanes[1].committed), SLOTS);
	assert_int_equal(written(0, 0), 0);
	assert_int_equal(written(0, 1), 0);
	pthread_mutex_unlock(&queues[0].gate);
	pthread_join(thread, NULL);
	assert_int_equal(written(0, 0), SLOTS);
	assert_int_equal(written(0, 1), SLOTS);
	for (unsigned int i = 0; i < LANES; i++)
		assert_true(lane_is_idle(&lanes[i].lane));
}

/* A thread stands still between commit and write: the next one that comes to a lane
 * of the queue writes in its place, even if it takes nothing itself. */
static void a_thread_that_stands_still_before(void **state)
{
	(void)state;
	lanes[0].queues = lanes[1].queues = 1;
	lanes[1].to_take = 0;
	atomic_store(&is_stopped_before, true);
	for (int i = 0; i < 3; i++)
		assert_int_equal(run(0), LANE_BUSY);
	assert_int_equal(atomic_load(&lanes[0].committed), 3);
	assert_int_equal(written(0, 0), 0);
	atomic_store(&is_stopped_before, false);
	assert_int_equal(run(1), LANE_EMPTY);
	assert_int_equal(written(0, 0), 3);
	assert_true(lane_is_idle(&lanes[0].lane));
}

/* A queue takes nothing: its packets are dropped, and nothing waits. If it is gone,
 * its reader hears of it. */
static void a_queue_that_takes_nothing(void **state)
{
	static const int errors[] = { EAGAIN, EIO, EBADFD };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
		atomic_store(&queues[0].err, errors[i]);
		for (uint32_t n = 0; n < 3 * SLOTS; n++) {
			assert_int_equal(run(0), LANE_BUSY);
			assert_true(lane_is_idle(&lanes[0].lane));
		}
		assert_int_equal(written(0, 0), 0);
		/* Two of three batches have a packet for it. */
		assert_int_equal(written(1, 0), (i + 1) * 2 * SLOTS);
		assert_int_equal(source_is_gone(&readers[0]),
				 errors[i] == EBADFD);
		assert_false(source_is_gone(&readers[1]));
	}
}

static uint32_t n_held;

static void run_another(void)
{
	n_held += run(1) == LANE_HELD;
}

/*
 * While a thread writes, others push one batch after the other. Nevertheless it comes
 * to an end, with nothing left.
 */
static void a_writer_with_too_much(void **state)
{
	(void)state;
	lanes[0].queues = lanes[1].queues = 1;
	lanes[2].queues = 2;
	for (uint32_t turn = 1; turn <= 3; turn++) {
		beside_a_write = run_another;
		n_held = 0;
		assert_int_equal(run(0), LANE_BUSY);
		beside_a_write = NULL;
		assert_int_equal(written(0, 0), turn);
		assert_in_range(written(0, 1), turn * (WRITER_TURN - 1),
				turn * (WRITER_TURN + SLOTS));
		assert_true(n_held > 0);
		assert_false(writer_is_behind(&writers[0]));
		for (unsigned int i = 0; i < LANES; i++)
			assert_true(lane_is_idle(&lanes[i].lane));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(order_with_delays, begin, end),
		cmocka_unit_test_setup_teardown(a_thread_that_stands_still,
						begin, end),
		cmocka_unit_test_setup_teardown(
			a_thread_that_stands_still_before, begin, end),
		cmocka_unit_test_setup_teardown(a_queue_that_takes_nothing,
						begin, end),
		cmocka_unit_test_setup_teardown(a_writer_with_too_much, begin,
						end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
