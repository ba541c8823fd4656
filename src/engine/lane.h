/* SPDX-License-Identifier: MIT */
/*
 * A lane: a queue of batches. Any number of threads work on them, and they come
 * out in the order in which they went in.
 *
 * A batch lives in a slot. It goes through three steps, or four:
 *
 *	take	Fill the slot. One thread at a time takes. What must happen in
 *		order (reading a queue, drawing counters) happens here.
 *	work	Do what costs time. Many threads work at once, each on a slot.
 *	commit	Hand the result on. One thread at a time commits, in the order
 *		in which the slots were taken.
 *	deliver	If handing on takes long, it is done here, by any thread and
 *		without a right. The step commit then only makes the slot ready
 *		for it. A lane need not have this step.
 *
 * Each slot that was taken gets a ticket, a number that grows by one. Tickets
 * are committed in the order of their numbers, whichever thread worked on them.
 * A thread that has finished its work marks the ticket as done and tries to get
 * the right to commit. The thread that has this right commits all tickets that
 * are done, up to the first that is not. Then it lets go of the right and looks
 * at the next ticket once more, because that one may have been marked just
 * before. Every ticket that was given out is committed; none is cancelled.
 *
 * Without the step deliver a slot is free again when it is committed. With it
 * the owner of the lane knows when the slot is not needed any more, and calls
 * lane_give_back(). The order in which slots are delivered is the owner's
 * matter, too. Each lane_run() ends with this step, also if nothing was taken.
 * So if a thread is delayed between the steps commit and deliver, the next
 * thread that comes to the lane delivers what the first one has committed.
 *
 * If no slot is free, no thread takes: so the number of batches in flight is
 * bounded. A commit never waits: it drops what it cannot hand on.
 *
 * The free slot with the lowest number is taken first. A lane with one thread
 * therefore uses one slot, and never touches the memory of the others. If the
 * step take leaves input behind in its slot, it calls lane_keep(): then the
 * next batch is taken into the same slot, so the input that was left goes
 * first.
 */
#ifndef ENGINE_LANE_H
#define ENGINE_LANE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	/* SLOTS_PER_WORKER times WORKERS_MAX (engine/bounds.h). */
	LANE_SLOTS_MAX = 16,
};

enum lane_result {
	LANE_EMPTY, /* there was nothing to take, or the lane is closed */
	LANE_HELD,  /* no slot is free, another thread takes, or none may */
	LANE_BUSY,  /* a batch was taken: there may be more */
	LANE_LAST, /* a batch was taken, and lane_drained() was called: an event
		     * reports what comes later */
};

/* lane_is_busy() - did lane_run() take a batch? */
static inline bool lane_is_busy(enum lane_result result)
{
	return result == LANE_BUSY || result == LANE_LAST;
}

/**
 * struct lane_ops - what the owner of a lane does in each step
 * @may_take:	may a slot be filled now? NULL: always
 * @take:	fill a slot. Return: false if there was nothing to take.
 * @work:	do the work on a slot
 * @commit:	hand a slot's result on
 * @deliver:	hand on what was committed, and call lane_give_back() for each
 *		slot that is done. NULL: @commit does all, and its slot is free
 *		after it.
 * @release:	for lane_release(): give back memory that a free slot does not
 *		need; NULL: there is no such memory
 * @slot_new:	for lane_new(): a free slot. Return: NULL if memory is short.
 * @slot_free:	for lane_free(): free a slot's memory
 *
 * @arg is that of the lane, @context that of lane_run(). Any number of threads
 * call @deliver at once.
 */
struct lane_ops {
	bool (*may_take)(void *arg);
	bool (*take)(void *arg, void *slot, void *context);
	void (*work)(void *arg, void *slot, void *context);
	void (*commit)(void *arg, void *slot, void *context);
	void (*deliver)(void *arg, void *context);
	void (*release)(void *slot);
	void *(*slot_new)(void *arg);
	void (*slot_free)(void *slot);
};

/**
 * struct lane_ticket - a batch that was taken
 * @done:	[a] the ticket's number + 1 when its work is done
 * @slot:	which slot; written by the taker before @done
 */
struct lane_ticket {
	_Atomic uint32_t done;
	uint8_t slot;
};

/**
 * struct lane - a queue of batches
 * @ops:	[I]
 * @arg:	[I] for @ops
 * @slots:	[I] the slots
 * @n_slots:	[I] at most LANE_SLOTS_MAX
 * @free:	[a] a bit for each free slot
 * @kept:	[t] the slot that the next batch must go to; -1: any
 * @is_drained:	[t] the last call of @take has called lane_drained()
 * @head:	[a] number of the next ticket; written under the right to take
 * @tail:	[a] number of the next ticket to commit; written under the right
 *		to commit, before the ticket is committed
 * @taking:	[a] the right to take: true if a thread has it
 * @committing:	[a] the right to commit: true if a thread has it
 * @is_closed:	[a] no more is taken
 * @tickets:	the ticket with number N is at N modulo LANE_SLOTS_MAX
 *
 * [I] immutable after lane_init(), [a] atomic, [t] belongs to the thread that
 * has the right to take.
 */
struct lane {
	const struct lane_ops *ops;
	void *arg;
	void *slots[LANE_SLOTS_MAX];
	unsigned int n_slots;
	_Atomic uint32_t free;
	int kept;
	bool is_drained;
	_Atomic uint32_t head;
	_Atomic uint32_t tail;
	_Atomic bool taking;
	_Atomic bool committing;
	_Atomic bool is_closed;
	struct lane_ticket tickets[LANE_SLOTS_MAX];
};

/**
 * lane_init() - an empty lane
 * @lane:	caller's storage
 * @ops:	borrowed
 * @arg:	for @ops
 * @slots:	pointers to @n slots; the array is copied, the slots borrowed
 * @n:		how many, 1 to LANE_SLOTS_MAX
 */
void lane_init(struct lane *lane, const struct lane_ops *ops, void *arg,
	       void *const *slots, unsigned int n);

/**
 * lane_new() - an empty lane with slots of its own
 * @lane:	caller's storage
 * @ops:	borrowed
 * @arg:	for @ops
 * @n:		slots, 1 to LANE_SLOTS_MAX
 *
 * Return: 0; -ENOMEM: all that was allocated is free again.
 */
int lane_new(struct lane *lane, const struct lane_ops *ops, void *arg,
	     unsigned int n);

/* lane_free() - free the slots of lane_new(); no thread uses the lane */
void lane_free(struct lane *lane);

/**
 * lane_run() - take a batch, work on it, commit what is ready, deliver
 * @lane:	lane
 * @context:	belongs to the calling thread; each step gets it
 *
 * Any thread.
 *
 * Return: LANE_BUSY or LANE_LAST if a batch was taken; LANE_EMPTY; LANE_HELD.
 */
enum lane_result lane_run(struct lane *lane, void *context);

/* lane_keep() - have the next batch taken into this slot. From @take only. */
void lane_keep(struct lane *lane, const void *slot);

/**
 * lane_give_back() - a slot that was committed is not needed any more
 * @lane:	lane with the step deliver
 * @slot:	the slot; the caller does not touch it after this
 *
 * Once for each slot that is committed, also from @commit. Any thread.
 */
void lane_give_back(struct lane *lane, const void *slot);

/*
 * lane_drained() - most likely no other batch can be taken now. From @take only.
 * If there is another one, an event must report it: the worker does not look
 * before.
 */
void lane_drained(struct lane *lane);

/* lane_release() - call @release for the free slots. Any thread. */
void lane_release(struct lane *lane);

/* lane_close() - from now on lane_run() takes nothing. Any thread. */
void lane_close(struct lane *lane);

/* lane_is_closed() - has lane_close() been called? Any thread. */
static inline bool lane_is_closed(const struct lane *lane)
{
	/* Partner: lane_close(). */
	return atomic_load_explicit(&lane->is_closed, memory_order_acquire);
}

/* lane_has_kept() - did the last batch leave input behind in its slot? No other thread
 * uses the lane. */
static inline bool lane_has_kept(const struct lane *lane)
{
	return lane->kept >= 0;
}

/* lane_is_idle() - is each slot free? If the lane is not closed, the answer may be
 * out of date at once. Any thread. */
bool lane_is_idle(const struct lane *lane);

#endif /* ENGINE_LANE_H */
