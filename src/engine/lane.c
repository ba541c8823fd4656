/* SPDX-License-Identifier: MIT */
/*
 * A lane puts the batches of many threads into order. It has no lock: two flags
 * (@taking and @committing) are the rights, and a thread that does not get one
 * goes on without it. The comment at try_commit() says why no batch is left
 * lying.
 */
#include "engine/lane.h"

#include <errno.h>

#include "base/assert.h"

void lane_init(struct lane *lane, const struct lane_ops *ops, void *arg,
	       void *const *slots, unsigned int n)
{
	INVARIANT(n >= 1 && n <= LANE_SLOTS_MAX);
	*lane = (struct lane){
		.ops = ops,
		.arg = arg,
		.n_slots = n,
		.kept = -1,
	};
	for (unsigned int i = 0; i < n; i++)
		lane->slots[i] = slots[i];
	atomic_init(&lane->free, (UINT32_C(1) << n) - 1);
}

int lane_new(struct lane *lane, const struct lane_ops *ops, void *arg,
	     unsigned int n)
{
	void *slots[LANE_SLOTS_MAX] = { NULL };
	bool is_missing = false;

	INVARIANT(n <= LANE_SLOTS_MAX);
	for (unsigned int i = 0; i < n; i++) {
		slots[i] = ops->slot_new(arg);
		is_missing |= !slots[i];
	}
	lane_init(lane, ops, arg, slots, n);
	if (!is_missing)
		return 0;
	lane_free(lane);
	return -ENOMEM;
}

void lane_free(struct lane *lane)
{
	for (unsigned int i = 0; i < lane->n_slots; i++)
		if (lane->slots[i])
			lane->ops->slot_free(lane->slots[i]);
	lane->n_slots = 0;
}

static struct lane_ticket *ticket(struct lane *lane, uint32_t number)
{
	return &lane->tickets[number % LANE_SLOTS_MAX];
}

/* May the next ticket be committed? Exact under the right to commit only. */
static bool is_ready(struct lane *lane)
{
	uint32_t tail = atomic_load_explicit(&lane->tail, memory_order_seq_cst);

	/* Partner: finish(). */
	return atomic_load_explicit(&ticket(lane, tail)->done,
				    memory_order_seq_cst) == tail + 1;
}

/* A slot may be filled from now on. */
static void set_free(struct lane *lane, unsigned int slot)
{
	/* Partner: take(). */
	atomic_fetch_or_explicit(&lane->free, UINT32_C(1) << slot,
				 memory_order_acq_rel);
}

/* Under the right to commit: commit what is ready, in order. */
static void commit_ready(struct lane *lane, void *context)
{
	while (is_ready(lane)) {
		uint32_t tail =
			atomic_load_explicit(&lane->tail, memory_order_relaxed);
		unsigned int slot = ticket(lane, tail)->slot;

		/* First, because the slot may be given back before @commit
		 * returns. Its ticket is not needed any more then. */
		atomic_store_explicit(&lane->tail, tail + 1,
				      memory_order_seq_cst);
		lane->ops->commit(lane->arg, lane->slots[slot], context);
		if (!lane->ops->deliver)
			set_free(lane, slot);
	}
}

/*
 * Thread A holds the right to commit; thread B has just finished a ticket. All
 * accesses to the right and to the tickets are sequentially consistent. So
 * either A sees B's ticket when it looks once more after letting go of the
 * right, or B finds the right free and commits the ticket itself.
 */
static void try_commit(struct lane *lane, void *context)
{
	do {
		if (atomic_exchange_explicit(&lane->committing, true,
					     memory_order_seq_cst))
			return;
		commit_ready(lane, context);
		atomic_store_explicit(&lane->committing, false,
				      memory_order_seq_cst);
	} while (is_ready(lane));
}

static bool try_right_to_take(struct lane *lane)
{
	return !atomic_exchange_explicit(&lane->taking, true,
					 memory_order_acquire);
}

static void give_right_to_take(struct lane *lane)
{
	/* Partner: try_right_to_take(). */
	atomic_store_explicit(&lane->taking, false, memory_order_release);
}

/* Under the right to take. */
static enum lane_result take(struct lane *lane, void *context, uint32_t *number)
{
	/* Partner: set_free(). Only take() clears bits. */
	uint32_t free = atomic_load_explicit(&lane->free, memory_order_acquire);

	if (lane->kept >= 0)
		free &= UINT32_C(1) << lane->kept;
	if (!free || (lane->ops->may_take && !lane->ops->may_take(lane->arg)))
		return LANE_HELD;
	unsigned int slot = (unsigned int)__builtin_ctz(free);

	lane->kept = -1;
	lane->is_drained = false;
	if (!lane->ops->take(lane->arg, lane->slots[slot], context))
		return LANE_EMPTY;
	atomic_fetch_and_explicit(&lane->free, ~(UINT32_C(1) << slot),
				  memory_order_acq_rel);
	*number = atomic_load_explicit(&lane->head, memory_order_relaxed);
	ticket(lane, *number)->slot = (uint8_t)slot;
	atomic_store_explicit(&lane->head, *number + 1, memory_order_seq_cst);
	return lane->is_drained ? LANE_LAST : LANE_BUSY;
}

/* The work on a ticket is done. */
static void finish(struct lane *lane, void *context, uint32_t number)
{
	/* Partner: is_ready(). */
	atomic_store_explicit(&ticket(lane, number)->done, number + 1,
			      memory_order_seq_cst);
	try_commit(lane, context);
}

/* The steps that need a right, and the work between them. */
static enum lane_result run_batch(struct lane *lane, void *context)
{
	enum lane_result result;
	unsigned int slot = 0;
	uint32_t number;

	if (lane_is_closed(lane))
		return LANE_EMPTY;
	if (!try_right_to_take(lane))
		return LANE_HELD;
	result = take(lane, context, &number);
	if (lane_is_busy(result))
		slot = ticket(lane, number)->slot;
	give_right_to_take(lane);
	if (!lane_is_busy(result))
		return result;
	lane->ops->work(lane->arg, lane->slots[slot], context);
	finish(lane, context, number);
	return result;
}

enum lane_result lane_run(struct lane *lane, void *context)
{
	enum lane_result result = run_batch(lane, context);

	if (lane->ops->deliver)
		lane->ops->deliver(lane->arg, context);
	return result;
}

static unsigned int number_of(const struct lane *lane, const void *slot)
{
	unsigned int i = 0;

	while (i < lane->n_slots && lane->slots[i] != slot)
		i++;
	INVARIANT(i < lane->n_slots);
	return i;
}

void lane_give_back(struct lane *lane, const void *slot)
{
	set_free(lane, number_of(lane, slot));
}

void lane_keep(struct lane *lane, const void *slot)
{
	lane->kept = (int)number_of(lane, slot);
}

void lane_drained(struct lane *lane)
{
	lane->is_drained = true;
}

void lane_release(struct lane *lane)
{
	if (!lane->ops->release || !try_right_to_take(lane))
		return;
	/* Partner: set_free(). A slot that is free stays free meanwhile:
	 * only the holder of the right to take fills slots. */
	uint32_t free = atomic_load_explicit(&lane->free, memory_order_acquire);

	for (unsigned int i = 0; i < lane->n_slots; i++)
		if (free & UINT32_C(1) << i)
			lane->ops->release(lane->slots[i]);
	give_right_to_take(lane);
}

void lane_close(struct lane *lane)
{
	/* Partner: lane_is_closed(). */
	atomic_store_explicit(&lane->is_closed, true, memory_order_release);
}

bool lane_is_idle(const struct lane *lane)
{
	/* Partner: set_free(). */
	return atomic_load_explicit(&lane->free, memory_order_acquire) ==
	       (UINT32_C(1) << lane->n_slots) - 1;
}
