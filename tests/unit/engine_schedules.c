/* SPDX-License-Identifier: MIT */
/*
 * Runs the lane under schedules that are drawn from a seed. One thread runs at
 * a time. Before each atomic access of lane.c, and in the steps of the lane,
 * the thread may have to stop while another one goes on. The same seed gives
 * the same schedule each time. Many seeds give schedules that are rare on a
 * real machine.
 *
 * The accesses of a schedule have one order, as on one processor. Other orders,
 * which weaker memory models allow, are left to ThreadSanitizer and
 * engine_lane.c.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "tests/lib/check.h"

/*
 * Choices, not measured. There are more threads than slots, so that some find
 * no slot. The schedules are short and many.
 */
enum {
	THREADS = 3,
	SLOTS = 2,
	BATCHES = 12,
	SCHEDULES = 300,
};

/* -------------------------------------------------- the scheduler */

/**
 * struct scheduler - lets one thread run at a time
 * @random:	draws the next thread
 * @mutex:	guards the other members
 * @changed:	signalled for a thread whose turn it is
 * @is_ended:	threads that have ended
 * @turn:	number of the thread that may run
 * @n_switches:	changes of the turn
 */
static struct scheduler {
	struct random random;
	pthread_mutex_t mutex;
	pthread_cond_t changed[THREADS];
	bool is_ended[THREADS];
	unsigned int turn;
	unsigned int n_switches;
} scheduler = { .mutex = PTHREAD_MUTEX_INITIALIZER };

/* The main thread has a number that none of the scheduled threads has. */
static _Thread_local unsigned int self = THREADS;

/* cmocka's assertions work in the main thread only. */
#define REQUIRE(x) require(x, #x, __LINE__)

static uint64_t seed;

static void require(bool is_true, const char *what, int line)
{
	if (is_true)
		return;
	fprintf(stderr, "%s:%d: not so: %s; TEST_SEED=%#llx\n", __FILE__, line,
		what, (unsigned long long)seed);
	abort();
}

/* Give the turn to a thread that has not ended. The caller holds the mutex. */
static void draw_turn(void)
{
	unsigned int n = 0, threads[THREADS];

	for (unsigned int i = 0; i < THREADS; i++)
		if (!scheduler.is_ended[i])
			threads[n++] = i;
	if (!n)
		return;
	scheduler.turn = threads[random_below(&scheduler.random, n)];
	scheduler.n_switches += scheduler.turn != self;
	pthread_cond_signal(&scheduler.changed[scheduler.turn]);
}

static void wait_for_turn(void)
{
	while (scheduler.turn != self)
		pthread_cond_wait(&scheduler.changed[self], &scheduler.mutex);
}

/* Let the scheduler choose a thread, and wait for the next turn. */
static void schedule(void)
{
	if (self == THREADS)
		return;
	pthread_mutex_lock(&scheduler.mutex);
	draw_turn();
	wait_for_turn();
	pthread_mutex_unlock(&scheduler.mutex);
}

static void end_thread(void)
{
	pthread_mutex_lock(&scheduler.mutex);
	scheduler.is_ended[self] = true;
	draw_turn();
	pthread_mutex_unlock(&scheduler.mutex);
}

/* ------------------------------------ atomic accesses that may switch */

#define DEFINE_ATOMICS(name, type)                                \
	static inline type load_##name(const _Atomic(type) *p)    \
	{                                                         \
		schedule();                                       \
		return atomic_load(p);                            \
	}                                                         \
	static inline void store_##name(_Atomic(type) *p, type v) \
	{                                                         \
		schedule();                                       \
		atomic_store(p, v);                               \
	}

DEFINE_ATOMICS(bool, bool)
DEFINE_ATOMICS(u32, uint32_t)

static inline bool exchange_bool(_Atomic(bool) *p, bool v)
{
	schedule();
	return atomic_exchange(p, v);
}

static inline uint32_t fetch_or_u32(_Atomic(uint32_t) *p, uint32_t v)
{
	schedule();
	return atomic_fetch_or(p, v);
}

static inline uint32_t fetch_and_u32(_Atomic(uint32_t) *p, uint32_t v)
{
	schedule();
	return atomic_fetch_and(p, v);
}

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and_explicit
#define atomic_load_explicit(p, order) \
	_Generic((p),                               \
		_Atomic(bool) *: load_bool,         \
		const _Atomic(bool) *: load_bool,   \
		_Atomic(uint32_t) *: load_u32,      \
		const _Atomic(uint32_t) *: load_u32)(p)
#define atomic_store_explicit(p, v, order) \
	_Generic((p),                         \
		_Atomic(bool) *: store_bool,  \
		_Atomic(uint32_t) *: store_u32)(p, v)
#define atomic_exchange_explicit(p, v, order)  exchange_bool(p, v)
#define atomic_fetch_or_explicit(p, v, order)  fetch_or_u32(p, v)
#define atomic_fetch_and_explicit(p, v, order) fetch_and_u32(p, v)

/* These names differ from the library's, so the linker finds no name twice. */
#define lane_init    scheduled_lane_init
#define lane_run     scheduled_lane_run
#define lane_keep    scheduled_lane_keep
#define lane_release scheduled_lane_release
#define lane_close   scheduled_lane_close
#define lane_is_idle scheduled_lane_is_idle
#include "engine/lane.c" /* NOLINT(bugprone-suspicious-include) */

/* ------------------------------------------------------- the lane */

struct batch {
	uint32_t number;
	uint32_t result;
	bool in_use;
};

/**
 * struct fixture - a lane with a source that counts
 * @lane:	lane
 * @batches:	its slots
 * @taken:	batches that were taken
 * @committed:	batches that were committed
 * @kept:	the slot that the next batch must go to, or NULL
 * @in_take:	a thread is taking a batch
 * @in_commit:	a thread is committing a batch
 */
static struct fixture {
	struct lane lane;
	struct batch batches[SLOTS];
	uint32_t taken;
	uint32_t committed;
	struct batch *kept;
	bool in_take;
	bool in_commit;
} fixture;

static bool counting_take(void *arg, void *slot, void *context)
{
	struct fixture *f = arg;
	struct batch *b = slot;
	bool some = f->taken < BATCHES;

	(void)context;
	REQUIRE(!f->in_take);
	f->in_take = true;
	schedule();
	REQUIRE(!b->in_use);
	if (some) {
		/* If a slot was kept, the next batch goes to that slot. */
		REQUIRE(!f->kept || f->kept == b);
		*b = (struct batch){ .number = f->taken++, .in_use = true };
		f->kept = b->number % 3 ? NULL : b;
		if (f->kept)
			lane_keep(&f->lane, b);
	}
	f->in_take = false;
	return some;
}

static void counting_work(void *arg, void *slot, void *context)
{
	struct batch *b = slot;

	(void)arg;
	(void)context;
	REQUIRE(b->in_use);
	schedule();
	b->result = 3 * b->number;
}

static void counting_commit(void *arg, void *slot, void *context)
{
	struct fixture *f = arg;
	struct batch *b = slot;

	(void)context;
	REQUIRE(!f->in_commit);
	f->in_commit = true;
	schedule();
	REQUIRE(b->in_use);
	REQUIRE(b->number == f->committed);
	REQUIRE(b->result == 3 * f->committed);
	f->committed++;
	b->in_use = false;
	f->in_commit = false;
}

static void counting_release(void *slot)
{
	struct batch *b = slot;

	REQUIRE(!b->in_use);
}

static const struct lane_ops ops = {
	.take = counting_take,
	.work = counting_work,
	.commit = counting_commit,
	.release = counting_release,
};

/* Each thread runs the lane a fixed number of times, and then ends. */
static void *thread_main(void *arg)
{
	self = (unsigned int)(uintptr_t)arg;
	pthread_mutex_lock(&scheduler.mutex);
	wait_for_turn();
	pthread_mutex_unlock(&scheduler.mutex);
	for (int i = 0; i < BATCHES; i++)
		if (lane_run(&fixture.lane, NULL) != LANE_BUSY && i % 2)
			lane_release(&fixture.lane);
	end_thread();
	return NULL;
}

static void run_schedule(void)
{
	void *slots[SLOTS];
	pthread_t threads[THREADS];

	memset(&fixture, 0, sizeof(fixture));
	for (int i = 0; i < SLOTS; i++)
		slots[i] = &fixture.batches[i];
	lane_init(&fixture.lane, &ops, &fixture, slots, SLOTS);
	scheduler.random.state = seed;
	scheduler.turn = THREADS;
	for (unsigned int i = 0; i < THREADS; i++) {
		pthread_cond_init(&scheduler.changed[i], NULL);
		scheduler.is_ended[i] = false;
		assert_int_equal(pthread_create(&threads[i], NULL, thread_main,
						(void *)(uintptr_t)i),
				 0);
	}
	pthread_mutex_lock(&scheduler.mutex);
	draw_turn();
	pthread_mutex_unlock(&scheduler.mutex);
	for (unsigned int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		pthread_cond_destroy(&scheduler.changed[i]);
	}
}

/* After each schedule no batch is left in the lane. */
static void schedules(void **state)
{
	struct random r;
	uint32_t n_batches = 0;

	(void)state;
	/* A choice: any seed. */
	random_init(&r, 20261128);
	for (int i = 0; i < SCHEDULES; i++) {
		/* The seed of the first schedule is TEST_SEED, if it is set. */
		seed = r.state;
		run_schedule();
		REQUIRE(fixture.committed == fixture.taken);
		REQUIRE(fixture.lane.head == fixture.lane.tail);
		n_batches += fixture.taken;
		random_next(&r);
	}
	print_message("# %d schedules, %u batches, %u switches\n", SCHEDULES,
		      n_batches, scheduler.n_switches);
	assert_true(n_batches > SCHEDULES * BATCHES / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(schedules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
