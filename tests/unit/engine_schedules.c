/* SPDX-License-Identifier: MIT */
/*
 * Runs lanes under schedules that are drawn from a seed: one lane without the step
 * deliver, and two lanes whose batches are written by two writers. One thread runs
 * at a time. Before each atomic access of lane.c and writer.c, and in the steps of
 * a lane, the thread may have to stop while another one goes on. So a thread may be
 * stopped between the commit and the write for as long as the others have work. The
 * same seed gives the same schedule each time. Many seeds give schedules that are
 * rare on a real machine.
 *
 * The accesses of a schedule have one order, as on one processor. Other orders,
 * which weaker memory models allow, are left to ThreadSanitizer, engine_lane.c and
 * engine_writer.c.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "tests/lib/check.h"

/* These names differ from the library's, so the linker finds no name twice. */
#define lane_init	    scheduled_lane_init
#define lane_new	    scheduled_lane_new
#define lane_free	    scheduled_lane_free
#define lane_run	    scheduled_lane_run
#define lane_keep	    scheduled_lane_keep
#define lane_give_back	    scheduled_lane_give_back
#define lane_drained	    scheduled_lane_drained
#define lane_release	    scheduled_lane_release
#define lane_close	    scheduled_lane_close
#define lane_is_idle	    scheduled_lane_is_idle
#define writer_init	    scheduled_writer_init
#define writer_deinit	    scheduled_writer_deinit
#define writer_begin	    scheduled_writer_begin
#define writer_push	    scheduled_writer_push
#define writer_run	    scheduled_writer_run
#define writer_set_overlays scheduled_writer_set_overlays
#include "engine/writer.h"

/*
 * Choices, not measured. There are more threads than slots, so that some find
 * no slot. The schedules are short and many.
 */
enum {
	THREADS = 3,
	LANES = 2,
	QUEUES = 2,
	SLOTS = 2,
	BATCHES = 12,
	SCHEDULES = 300,
	WRITER_SCHEDULES = 1000,
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

static inline struct writer_batch *
load_batch(struct writer_batch *const _Atomic *p)
{
	schedule();
	return atomic_load(p);
}

static inline struct writer_batch *
exchange_batch(struct writer_batch *_Atomic *p, struct writer_batch *v)
{
	schedule();
	return atomic_exchange(p, v);
}

/* As the weak form may, it fails now and then for no reason. */
static inline bool compare_exchange_batch(struct writer_batch *_Atomic *p,
					  struct writer_batch **expected,
					  struct writer_batch *v)
{
	schedule();
	if (self != THREADS && random_below(&scheduler.random, 8) == 0) {
		*expected = atomic_load(p);
		return false;
	}
	return atomic_compare_exchange_strong(p, expected, v);
}

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#undef atomic_compare_exchange_weak_explicit
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and_explicit
#define atomic_load_explicit(p, order) \
	_Generic((p),                                      \
		_Atomic(bool) *: load_bool,                \
		const _Atomic(bool) *: load_bool,          \
		_Atomic(uint32_t) *: load_u32,             \
		const _Atomic(uint32_t) *: load_u32,       \
		struct writer_batch *_Atomic *: load_batch)(p)
#define atomic_store_explicit(p, v, order) \
	_Generic((p),                         \
		_Atomic(bool) *: store_bool,  \
		_Atomic(uint32_t) *: store_u32)(p, v)
#define atomic_exchange_explicit(p, v, order) \
	_Generic((p),                         \
		_Atomic(bool) *: exchange_bool, \
		struct writer_batch *_Atomic *: exchange_batch)(p, v)
#define atomic_compare_exchange_weak_explicit(p, e, v, yes, no) \
	compare_exchange_batch(p, e, v)
#define atomic_fetch_or_explicit(p, v, order)  fetch_or_u32(p, v)
#define atomic_fetch_and_explicit(p, v, order) fetch_and_u32(p, v)

#include "engine/lane.c"   /* NOLINT(bugprone-suspicious-include) */
#include "engine/writer.c" /* NOLINT(bugprone-suspicious-include) */

/* ------------------------------------------------------- one lane */

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

/* ------------------------------------------- lanes with writers */

/* A packet: the number of its lane, and that of its batch in the lane. */
struct packet {
	uint32_t lane;
	uint32_t number;
};

struct writing_lane;

/* A slot. */
struct written {
	struct writing_lane *wl;
	uint32_t number;
	bool in_use;
	unsigned int n_unwritten;
	struct packet packets[QUEUES];
	struct writer_batch batches[QUEUES];
};

/**
 * struct writing_lane - a lane whose batches are written
 * @lane:	lane
 * @slots:	its slots
 * @taken:	batches that were taken
 * @committed:	batches that were committed
 */
struct writing_lane {
	struct lane lane;
	struct written slots[SLOTS];
	uint32_t taken;
	uint32_t committed;
};

static struct writing_lane writing[LANES];
static struct writer writers[QUEUES];
static struct tun tuns[QUEUES];

/* What came to each queue. */
static struct {
	uint32_t next[LANES];
	uint32_t n;
	bool in_write;
} queues[QUEUES];

/* How often a lane committed while a batch of it, or of another lane, was being
 * written by another thread. */
static uint32_t n_beside;

/* Each batch has a packet for the first queue, for the second, or for both. */
static unsigned int queues_of(uint32_t number)
{
	return 1 + number % 3;
}

static ssize_t ordered_writev(int fd, const struct iovec *iov, int cnt)
{
	struct packet p;

	REQUIRE(!queues[fd].in_write);
	queues[fd].in_write = true;
	REQUIRE(iov[cnt - 1].iov_len == sizeof(p));
	memcpy(&p, iov[cnt - 1].iov_base, sizeof(p));
	schedule();
	REQUIRE(p.lane < LANES && p.number < writing[p.lane].committed);
	REQUIRE(p.number >= queues[fd].next[p.lane]);
	queues[fd].next[p.lane] = p.number + 1;
	queues[fd].n++;
	queues[fd].in_write = false;
	return sizeof(p);
}

static const struct tun_sys ordered_sys = { .writev = ordered_writev };

static bool writing_take(void *arg, void *slot, void *context)
{
	struct writing_lane *wl = arg;
	struct written *w = slot;

	(void)context;
	schedule();
	REQUIRE(!w->in_use);
	if (wl->taken == BATCHES)
		return false;
	w->in_use = true;
	w->number = wl->taken++;
	return true;
}

static void writing_work(void *arg, void *slot, void *context)
{
	(void)arg;
	(void)slot;
	(void)context;
	schedule();
}

static void writing_commit(void *arg, void *slot, void *context)
{
	struct writing_lane *wl = arg;
	struct written *w = slot;
	unsigned int set = queues_of(w->number);

	(void)context;
	REQUIRE(w->in_use && w->number == wl->committed);
	n_beside += queues[0].in_write || queues[1].in_write;
	wl->committed++;
	w->n_unwritten = (unsigned int)__builtin_popcount(set);
	for (unsigned int q = 0; q < QUEUES; q++) {
		if (!(set & 1U << q))
			continue;
		w->packets[q] =
			(struct packet){ (uint32_t)(wl - writing), w->number };
		writer_begin(&writers[q], &w->batches[q]);
		REQUIRE(merge_add(&w->batches[q].merge,
				  (uint8_t *)&w->packets[q],
				  sizeof(w->packets[q])) == 0);
	}
	for (unsigned int q = 0; q < QUEUES; q++)
		if (set & 1U << q)
			writer_push(&writers[q], &w->batches[q]);
}

static void written_done(void *arg)
{
	struct written *w = arg;

	schedule();
	REQUIRE(w->in_use && w->n_unwritten);
	if (--w->n_unwritten)
		return;
	w->in_use = false;
	lane_give_back(&w->wl->lane, w);
}

static void writing_deliver(void *arg, void *context)
{
	(void)arg;
	(void)context;
	for (unsigned int q = 0; q < QUEUES; q++)
		writer_run(&writers[q]);
}

static const struct lane_ops writing_ops = {
	.take = writing_take,
	.work = writing_work,
	.commit = writing_commit,
	.deliver = writing_deliver,
};

/* --------------------------------------------------- the schedules */

/* Each thread runs the lanes a fixed number of times, and then ends. */
static void run_plain(void)
{
	for (int i = 0; i < BATCHES; i++)
		if (lane_run(&fixture.lane, NULL) != LANE_BUSY && i % 2)
			lane_release(&fixture.lane);
}

/* In every second schedule the threads end early, at different times: then no later
 * run of a lane writes what was left lying. */
static void run_writing(void)
{
	unsigned int n = seed & 1 ? BATCHES : 1 + (seed >> 8 * (1 + self)) % 2;

	for (unsigned int i = 0; i < n; i++)
		lane_run(&writing[(i + self) % LANES].lane, NULL);
}

static void (*run_lanes)(void);

static void *thread_main(void *arg)
{
	self = (unsigned int)(uintptr_t)arg;
	pthread_mutex_lock(&scheduler.mutex);
	wait_for_turn();
	pthread_mutex_unlock(&scheduler.mutex);
	run_lanes();
	end_thread();
	return NULL;
}

static void run_threads(void)
{
	pthread_t threads[THREADS];

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

static void begin_plain(void)
{
	void *slots[SLOTS];

	memset(&fixture, 0, sizeof(fixture));
	for (int i = 0; i < SLOTS; i++)
		slots[i] = &fixture.batches[i];
	lane_init(&fixture.lane, &ops, &fixture, slots, SLOTS);
}

static void begin_writing(void)
{
	memset(queues, 0, sizeof(queues));
	for (int q = 0; q < QUEUES; q++) {
		tuns[q] = (struct tun){ .sys = &ordered_sys, .fd = q };
		writer_init(&writers[q], &tuns[q], NULL);
	}
	for (int l = 0; l < LANES; l++) {
		struct writing_lane *wl = &writing[l];
		void *slots[SLOTS];

		wl->taken = wl->committed = 0;
		for (int i = 0; i < SLOTS; i++) {
			struct written *w = &wl->slots[i];

			slots[i] = w;
			w->wl = wl;
			for (int q = 0; q < QUEUES; q++) {
				merge_init(&w->batches[q].merge);
				w->batches[q].done = written_done;
				w->batches[q].arg = w;
			}
		}
		lane_init(&wl->lane, &writing_ops, wl, slots, SLOTS);
	}
}

/* The seed of the first schedule is TEST_SEED, if it is set. */
static void random_begin(struct random *r)
{
	/* A choice: any seed. */
	random_init(r, 20261128);
	scheduler.n_switches = 0;
}

/* After each schedule no batch is left in the lane. */
static void schedules(void **state)
{
	struct random r;
	uint32_t n_batches = 0;

	(void)state;
	random_begin(&r);
	run_lanes = run_plain;
	for (int i = 0; i < SCHEDULES; i++) {
		seed = r.state;
		begin_plain();
		run_threads();
		REQUIRE(fixture.committed == fixture.taken);
		REQUIRE(fixture.lane.head == fixture.lane.tail);
		REQUIRE(lane_is_idle(&fixture.lane));
		n_batches += fixture.taken;
		random_next(&r);
	}
	print_message("# %d schedules, %u batches, %u switches\n", SCHEDULES,
		      n_batches, scheduler.n_switches);
	assert_true(n_batches > SCHEDULES * BATCHES / 2);
}

/* Return: packets of a queue that the batches of a lane have, up to this one. */
static uint32_t count_packets(unsigned int queue, uint32_t n)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += queues_of(i) >> queue & 1;
	return sum;
}

/*
 * After each schedule all that was taken is written, once and in order. In some
 * schedules a lane commits while another thread writes.
 */
static void schedules_of_writers(void **state)
{
	struct random r;
	uint32_t n_batches = 0;

	(void)state;
	random_begin(&r);
	run_lanes = run_writing;
	n_beside = 0;
	for (int i = 0; i < WRITER_SCHEDULES; i++) {
		seed = r.state;
		begin_writing();
		run_threads();
		for (unsigned int l = 0; l < LANES; l++) {
			REQUIRE(writing[l].committed == writing[l].taken);
			REQUIRE(lane_is_idle(&writing[l].lane));
			n_batches += writing[l].taken;
		}
		for (unsigned int q = 0; q < QUEUES; q++)
			REQUIRE(queues[q].n ==
				count_packets(q, writing[0].taken) +
					count_packets(q, writing[1].taken));
		random_next(&r);
	}
	print_message(
		"# %d schedules, %u batches, %u switches, %u commits beside "
		"a write\n",
		WRITER_SCHEDULES, n_batches, scheduler.n_switches, n_beside);
	assert_true(n_batches > WRITER_SCHEDULES * BATCHES / 2);
	assert_true(n_beside > WRITER_SCHEDULES / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(schedules),
		cmocka_unit_test(schedules_of_writers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
