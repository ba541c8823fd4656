/* SPDX-License-Identifier: MIT */
/*
 * A lane: a source of batches, worked on by any number of threads, that come
 * out in the order in which they went in.
 *
 * A batch lives in a slot. It goes through three steps:
 *
 *	take	fill the slot. One thread at a time: whatever must happen in
 *		order (reading a queue, drawing counters) happens here.
 *	work	any number of slots at once: what costs time.
 *	commit	in the order of take, one at a time: hand the result on.
 *
 * A slot is given out with a ticket. Tickets are committed in their order,
 * whoever worked on them: a thread that has finished says so in the ticket and
 * then tries for the commit right; whoever has that right commits all tickets
 * that are ready, and looks at the next one once more after letting go, so a
 * ticket that became ready just then is not left lying. Every ticket ends in
 * commit: there is no way out in between.
 *
 * Without a free slot nothing is taken, so the batches in flight are bounded. A
 * commit never waits: it drops what it cannot hand on.
 *
 * Slots are given out lowest number first, so a lane that one thread can keep
 * up with uses one slot, and the memory of the others is never touched. If
 * taking a batch leaves something behind in the slot, lane_keep() has the next
 * batch taken into the same slot, so that what was left goes first.
 */
#ifndef ENGINE_LANE_H
#define ENGINE_LANE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	LANE_SLOTS_MAX = 16,
};

enum lane_result {
	LANE_EMPTY, /* there was nothing to take, or the lane is closed */
	LANE_HELD,  /* no slot is free, or another thread takes */
	LANE_BUSY,  /* something was done: come again */
};

/**
 * struct lane_ops - what a lane does
 * @take:	fill a slot; false if there was nothing
 * @work:	work on a slot, with what belongs to the calling thread
 * @commit:	hand a slot's result on
 * @release:	for lane_release(): give back memory that a slot at rest does
 *		not need; NULL: there is none
 * @slot_new:	for lane_new(): a slot at rest, or NULL if there is no memory
 * @slot_free:	for lane_free()
 *
 * @context is what belongs to the calling thread.
 */
struct lane_ops {
	bool (*take)(void *arg, void *slot, void *context);
	void (*work)(void *arg, void *slot, void *context);
	void (*commit)(void *arg, void *slot, void *context);
	void (*release)(void *slot);
	void *(*slot_new)(void);
	void (*slot_free)(void *slot);
};

/**
 * struct lane_ticket - a batch that was taken
 * @done:	[a] number of the ticket + 1 once it was worked on
 * @slot:	which slot; written by the taker before @done
 */
struct lane_ticket {
	_Atomic uint32_t done;
	uint8_t slot;
};

/**
 * struct lane - see above
 * @ops:	[I]
 * @arg:	[I] for @ops
 * @slots:	[I] the slots
 * @n_slots:	[I] at most LANE_SLOTS_MAX
 * @free:	[a] a bit for each free slot
 * @kept:	[t] the slot that the next batch must go to, or -1
 * @head:	[a] the next ticket; written by the taker
 * @tail:	[a] the next ticket to commit; written by the committer
 * @taking:	[a] the right to take
 * @committing:	[a] the right to commit
 * @is_closed:	[a] no more is taken
 * @tickets:	by number modulo LANE_SLOTS_MAX
 *
 * [t] belongs to whoever has the right to take.
 */
struct lane {
	const struct lane_ops *ops;
	void *arg;
	void *slots[LANE_SLOTS_MAX];
	unsigned int n_slots;
	_Atomic uint32_t free;
	int kept;
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
 * @slots:	pointers to the slots, copied
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
 * Return: 0; -ENOMEM: nothing is left.
 */
int lane_new(struct lane *lane, const struct lane_ops *ops, void *arg,
	     unsigned int n);

/* lane_free() - free the slots of lane_new(); no thread uses the lane */
void lane_free(struct lane *lane);

/**
 * lane_run() - take a batch, work on it, commit what is ready
 * @lane:	lane
 * @context:	what belongs to the calling thread
 *
 * Any thread.
 *
 * Return: LANE_BUSY if a batch was taken; LANE_EMPTY; LANE_HELD.
 */
enum lane_result lane_run(struct lane *lane, void *context);

/* lane_keep() - take the next batch into this slot, too. From @take only. */
void lane_keep(struct lane *lane, const void *slot);

/* lane_release() - call @release for the slots at rest. Any thread. */
void lane_release(struct lane *lane);

/* lane_close() - take nothing any more. Any thread. */
void lane_close(struct lane *lane);

/* lane_is_idle() - is nothing in flight? Meaningful once closed. Any thread. */
bool lane_is_idle(const struct lane *lane);

#endif /* ENGINE_LANE_H */
