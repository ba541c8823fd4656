/* SPDX-License-Identifier: MIT */
/*
 * A lane whose take step numbers the batches and whose commit step checks the
 * numbers. Each batch must come out once and in order, with any number of
 * threads, and also if the lane is closed while there are more batches.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "engine/lane.h"
#include "tests/lib/check.h"

enum {
	/* A choice: as many as there are threads below. */
	SLOTS = 4
};

struct batch {
	uint32_t number;
	uint32_t result;
	bool in_use;
	uint32_t n_released;
};

struct fixture {
	struct lane lane;
	struct batch batches[SLOTS];
	uint32_t to_take;  /* used by the taker */
	uint32_t taken;	   /* used by the taker */
	uint32_t expected; /* used by the committer */
	uint32_t keep_every;
	uint32_t drain_every;
	bool release_in_work;
	struct batch *kept; /* used by the taker */
	_Atomic uint32_t in_take, in_commit;
	_Atomic uint32_t max_slot;
};

static bool fake_take(void *arg, void *slot, void *context)
{
	struct fixture *f = arg;
	struct batch *b = slot;

	(void)context;
	assert_int_equal(atomic_fetch_add(&f->in_take, 1), 0);
	assert_false(b->in_use);
	bool some = f->taken < f->to_take;

	if (some) {
		/* If a slot was kept, the next batch goes to that slot. */
		assert_true(!f->kept || f->kept == b);
		f->kept = NULL;
		if (f->keep_every && f->taken % f->keep_every == 0) {
			f->kept = b;
			lane_keep(&f->lane, slot);
		}
		if (f->drain_every && f->taken % f->drain_every == 0)
			lane_drained(&f->lane);
		b->in_use = true;
		b->number = f->taken++;
		if ((uint32_t)(b - f->batches) > atomic_load(&f->max_slot))
			atomic_store(&f->max_slot, (uint32_t)(b - f->batches));
	}
	atomic_fetch_sub(&f->in_take, 1);
	return some;
}

static void fake_work(void *arg, void *slot, void *context)
{
	struct fixture *f = arg;
	struct batch *b = slot;

	if (f->release_in_work)
		lane_release(&f->lane);
	/* Batches take different times, so the work on them ends out of order.
	 * The factor is a prime, so that the times look random. */
	for (uint32_t i = 0; i < b->number * 7919 % 200; i++)
		*(volatile uint32_t *)context += 1;
	if (b->number % 5 == 0)
		sched_yield();
	b->result = b->number * 3;
}

static void fake_commit(void *arg, void *slot, void *context)
{
	struct fixture *f = arg;
	struct batch *b = slot;

	(void)context;
	assert_int_equal(atomic_fetch_add(&f->in_commit, 1), 0);
	assert_int_equal(b->number, f->expected);
	assert_int_equal(b->result, f->expected * 3);
	f->expected++;
	b->in_use = false;
	atomic_fetch_sub(&f->in_commit, 1);
}

static void fake_release(void *slot)
{
	struct batch *b = slot;

	assert_false(b->in_use);
	b->n_released++;
}

static const struct lane_ops ops = {
	.take = fake_take,
	.work = fake_work,
	.commit = fake_commit,
	.release = fake_release,
};

static void begin(struct fixture *f, uint32_t to_take)
{
	void *slots[SLOTS];

	memset(f, 0, sizeof(*f));
	for (int i = 0; i < SLOTS; i++)
		slots[i] = &f->batches[i];
	f->to_take = to_take;
	lane_init(&f->lane, &ops, f, slots, SLOTS);
}

static void one_thread(void **state)
{
	struct fixture f;
	uint32_t scratch = 0;

	(void)state;
	begin(&f, 1000);
	while (lane_run(&f.lane, &scratch) == LANE_BUSY)
		;
	assert_int_equal(f.expected, 1000);
	assert_true(lane_is_idle(&f.lane));
	/* One thread needs one slot. The other slots stay unused. */
	assert_int_equal(atomic_load(&f.max_slot), 0);
}

/* A lane says after which batches it was drained. */
static void draining(void **state)
{
	struct fixture f;
	uint32_t scratch = 0;

	(void)state;
	begin(&f, 4);
	f.drain_every = 2;
	for (int i = 0; i < 4; i++)
		assert_int_equal(lane_run(&f.lane, &scratch),
				 i % 2 == 0 ? LANE_LAST : LANE_BUSY);
	assert_int_equal(lane_run(&f.lane, &scratch), LANE_EMPTY);
	assert_int_equal(f.expected, 4);
	assert_true(lane_is_busy(LANE_LAST));
	assert_true(lane_is_busy(LANE_BUSY));
	assert_false(lane_is_busy(LANE_HELD));
	assert_false(lane_is_busy(LANE_EMPTY));
}

static void closing(void **state)
{
	struct fixture f;
	uint32_t scratch = 0;

	(void)state;
	begin(&f, 100);
	for (int i = 0; i < 7; i++)
		lane_run(&f.lane, &scratch);
	lane_close(&f.lane);
	assert_int_equal(lane_run(&f.lane, &scratch), LANE_EMPTY);
	assert_int_equal(f.expected, 7);
	assert_true(lane_is_idle(&f.lane));
}

/* lane_release() calls the release step for each slot that holds no batch. */
static void releasing(void **state)
{
	struct fixture f;
	uint32_t scratch = 0;

	(void)state;
	begin(&f, 100);
	f.release_in_work = true;
	assert_int_equal(lane_run(&f.lane, &scratch), LANE_BUSY);
	for (int i = 0; i < SLOTS; i++)
		assert_int_equal(f.batches[i].n_released, i > 0);
}

/* Slots that were committed, and are not given back: they are not free. */
static struct batch *undelivered[SLOTS];
static unsigned int n_undelivered, n_deliveries;
static bool is_delayed;

static void late_commit(void *arg, void *slot, void *context)
{
	struct batch *b = slot;

	fake_commit(arg, slot, context);
	b->in_use = true;
	undelivered[n_undelivered++] = b;
}

static void late_deliver(void *arg, void *context)
{
	struct fixture *f = arg;

	(void)context;
	n_deliveries++;
	/* As if another thread delivered. */
	if (is_delayed)
		return;
	while (n_undelivered) {
		undelivered[--n_undelivered]->in_use = false;
		lane_give_back(&f->lane, undelivered[n_undelivered]);
	}
}

/* A slot is free when it was given back, and not before. Each lane_run() delivers. */
static void delivering(void **state)
{
	static const struct lane_ops late = {
		.take = fake_take,
		.work = fake_work,
		.commit = late_commit,
		.deliver = late_deliver,
	};
	struct fixture f;
	uint32_t scratch = 0;

	(void)state;
	begin(&f, SLOTS + 1);
	f.lane.ops = &late;
	n_undelivered = n_deliveries = 0;
	is_delayed = true;
	for (uint32_t i = 0; i < SLOTS; i++) {
		assert_int_equal(lane_run(&f.lane, &scratch), LANE_BUSY);
		/* It was committed, and the right is free. */
		assert_int_equal(f.expected, i + 1);
		assert_int_equal(n_undelivered, i + 1);
		assert_false(lane_is_idle(&f.lane));
	}
	assert_int_equal(lane_run(&f.lane, &scratch), LANE_HELD);
	assert_int_equal(n_deliveries, SLOTS + 1);
	is_delayed = false;
	assert_int_equal(lane_run(&f.lane, &scratch), LANE_HELD);
	assert_true(lane_is_idle(&f.lane));
	assert_int_equal(lane_run(&f.lane, &scratch), LANE_BUSY);
	assert_int_equal(f.expected, SLOTS + 1);
	assert_true(lane_is_idle(&f.lane));
	assert_int_equal(lane_run(&f.lane, &scratch), LANE_EMPTY);
	assert_int_equal(n_deliveries, SLOTS + 4);
	/* A lane that is closed delivers, too. */
	lane_close(&f.lane);
	assert_int_equal(lane_run(&f.lane, &scratch), LANE_EMPTY);
	assert_int_equal(n_deliveries, SLOTS + 5);
}

/* The numbers of tickets may wrap around to 0. */
static void wrapping(void **state)
{
	struct fixture f;
	uint32_t scratch = 0;

	(void)state;
	begin(&f, 200);
	atomic_store(&f.lane.head, UINT32_MAX - 100);
	atomic_store(&f.lane.tail, UINT32_MAX - 100);
	while (lane_run(&f.lane, &scratch) == LANE_BUSY)
		;
	assert_int_equal(f.expected, 200);
}

static _Atomic bool stop;

static void *thread_main(void *arg)
{
	struct fixture *f = arg;
	uint32_t scratch = 0, idle = 0;

	while (!atomic_load(&stop)) {
		if (lane_run(&f->lane, &scratch) == LANE_BUSY)
			continue;
		lane_release(&f->lane);
		/* On a busy machine sched_yield() may take milliseconds, so it
		 * is not called each time. 64 is a choice, not measured. */
		if (++idle % 64 == 0)
			sched_yield();
	}
	return NULL;
}

static void several_threads(void **state)
{
	/* Choices, not measured. */
	enum {
		THREADS = 4,
		BATCHES = 20000
	};
	pthread_t threads[THREADS];
	struct fixture f;

	(void)state;
	for (uint32_t keep = 0; keep <= 3; keep += 3) {
		begin(&f, BATCHES);
		f.keep_every = keep;
		atomic_store(&stop, false);
		for (int i = 0; i < THREADS; i++)
			assert_int_equal(pthread_create(&threads[i], NULL,
							thread_main, &f),
					 0);
		while (!lane_is_idle(&f.lane) ||
		       atomic_load(&f.lane.head) < BATCHES)
			sched_yield();
		atomic_store(&stop, true);
		for (int i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
		assert_int_equal(f.expected, BATCHES);
	}
}

/*
 * n_slots: slots that were made and not freed. slots_left: slots that may still
 * be made.
 */
static unsigned int n_slots, slots_left;

static void *counted_new(void *arg)
{
	assert_ptr_equal(arg, &n_slots);
	if (!slots_left)
		return NULL;
	slots_left--;
	n_slots++;
	return test_malloc(1);
}

static void counted_free(void *slot)
{
	n_slots--;
	test_free(slot);
}

/* If one slot cannot be made, lane_new() frees the others and fails. */
static void making_slots(void **state)
{
	static const struct lane_ops counted = {
		.slot_new = counted_new,
		.slot_free = counted_free,
	};
	struct lane lane;

	(void)state;
	for (unsigned int can = 0; can <= SLOTS; can++) {
		bool is_enough = can == SLOTS;

		slots_left = can;
		assert_int_equal(lane_new(&lane, &counted, &n_slots, SLOTS),
				 is_enough ? 0 : -ENOMEM);
		assert_int_equal(n_slots, is_enough ? SLOTS : 0);
	}
	lane_free(&lane);
	assert_int_equal(n_slots, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_thread),
		cmocka_unit_test(draining),
		cmocka_unit_test(closing),
		cmocka_unit_test(wrapping),
		cmocka_unit_test(releasing),
		cmocka_unit_test(delivering),
		cmocka_unit_test(several_threads),
		cmocka_unit_test(making_slots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
