/* SPDX-License-Identifier: MIT */
#include "engine/lane.h"

#include "base/assert.h"

void lane_init(struct lane *lane, const struct lane_ops *ops, void *arg,
	       void *const *slots, unsigned int n)
{
	INVARIANT(n >= 1 && n <= LANE_SLOTS_MAX);
	*lane = (struct lane){ .ops = ops, .arg = arg, .n_slots = n };
	for (unsigned int i = 0; i < n; i++)
		lane->slots[i] = slots[i];
	atomic_init(&lane->free, (UINT32_C(1) << n) - 1);
}

static struct lane_ticket *ticket(struct lane *lane, uint32_t number)
{
	return &lane->tickets[number % LANE_SLOTS_MAX];
}

/* Under the commit right, or as a hint. */
static bool is_ready(struct lane *lane)
{
	uint32_t tail = atomic_load_explicit(&lane->tail, memory_order_seq_cst);

	/* Partner: finish(). */
	return atomic_load_explicit(&ticket(lane, tail)->done,
				    memory_order_seq_cst) == tail + 1;
}

/* Under the commit right: commit what is ready, in order. */
static void commit_ready(struct lane *lane)
{
	while (is_ready(lane)) {
		uint32_t tail =
			atomic_load_explicit(&lane->tail, memory_order_relaxed);
		unsigned int slot = ticket(lane, tail)->slot;

		if (!lane->ops->commit(lane->arg, lane->slots[slot])) {
			/* Partners: lane_is_blocked(), may_take(). */
			atomic_store_explicit(&lane->is_blocked, true,
					      memory_order_release);
			return;
		}
		atomic_store_explicit(&lane->tail, tail + 1,
				      memory_order_seq_cst);
		/* Partner: take(): the slot is not touched after this. */
		atomic_fetch_or_explicit(&lane->free, UINT32_C(1) << slot,
					 memory_order_acq_rel);
	}
}

/*
 * All accesses to the right and to the tickets are sequentially consistent:
 * either the holder sees the ticket when it looks once more, or the finisher
 * finds the right free.
 */
static void try_commit(struct lane *lane)
{
	do {
		if (atomic_exchange_explicit(&lane->committing, true,
					     memory_order_seq_cst))
			return;
		if (!lane_is_blocked(lane))
			commit_ready(lane);
		atomic_store_explicit(&lane->committing, false,
				      memory_order_seq_cst);
	} while (!lane_is_blocked(lane) && is_ready(lane));
}

static bool may_take(const struct lane *lane)
{
	/* Partners: lane_close(), commit_ready(). */
	return !atomic_load_explicit(&lane->is_closed, memory_order_acquire) &&
	       !lane_is_blocked(lane) &&
	       atomic_load_explicit(&lane->free, memory_order_acquire);
}

/* Under the right to take. Return: false if there was nothing. */
static bool take(struct lane *lane, uint32_t *number)
{
	/* Partner: commit_ready(). Only a taker clears bits. */
	uint32_t free = atomic_load_explicit(&lane->free, memory_order_acquire);

	if (!free)
		return false;
	unsigned int slot = (unsigned int)__builtin_ctz(free);

	if (!lane->ops->take(lane->arg, lane->slots[slot]))
		return false;
	atomic_fetch_and_explicit(&lane->free, ~(UINT32_C(1) << slot),
				  memory_order_acq_rel);
	*number = atomic_load_explicit(&lane->head, memory_order_relaxed);
	ticket(lane, *number)->slot = (uint8_t)slot;
	atomic_store_explicit(&lane->head, *number + 1, memory_order_seq_cst);
	return true;
}

/* The work on a ticket is done. */
static void finish(struct lane *lane, uint32_t number)
{
	/* Partner: is_ready(). */
	atomic_store_explicit(&ticket(lane, number)->done, number + 1,
			      memory_order_seq_cst);
	try_commit(lane);
}

enum lane_result lane_run(struct lane *lane, void *worker)
{
	uint32_t number;

	if (!may_take(lane) ||
	    atomic_exchange_explicit(&lane->taking, true, memory_order_acquire))
		return LANE_EMPTY;
	bool taken = take(lane, &number);
	unsigned int slot = taken ? ticket(lane, number)->slot : 0;

	/* Partner: the exchange above. */
	atomic_store_explicit(&lane->taking, false, memory_order_release);
	if (!taken)
		return LANE_EMPTY;
	lane->ops->work(lane->arg, lane->slots[slot], worker);
	finish(lane, number);
	return LANE_BUSY;
}

void lane_resume(struct lane *lane)
{
	atomic_store_explicit(&lane->is_blocked, false, memory_order_seq_cst);
	try_commit(lane);
}

void lane_close(struct lane *lane)
{
	/* Partner: may_take(). */
	atomic_store_explicit(&lane->is_closed, true, memory_order_release);
}

bool lane_is_idle(const struct lane *lane)
{
	return atomic_load_explicit(&lane->head, memory_order_seq_cst) ==
	       atomic_load_explicit(&lane->tail, memory_order_seq_cst);
}
