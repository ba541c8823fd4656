/* SPDX-License-Identifier: MIT */
/*
 * A source of batches: a lane, and what a thread that runs lanes has to know of
 * it. Which descriptors make the lane ready? Does it have more to take without
 * an event? Did a read fail? Does the TUN that it reads still exist?
 *
 * The worker and its helpers run all sources of an array in turn, and know
 * nothing else of the lanes. Each queue of the TUN is a source, and each family of
 * each UDP socket.
 *
 * Legend: [I] immutable once the threads run, [a] atomic.
 */
#ifndef ENGINE_SOURCE_H
#define ENGINE_SOURCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/bounds.h"
#include "engine/context.h"
#include "engine/lane.h"

struct source;

/**
 * struct source_ops - the questions whose answers differ between sources
 * @get_fd:	descriptor @i, counted from 0, that makes the lane ready while
 *		@group is in use; negative: there are fewer. A source that does not
 *		read from @group names its descriptors also if @group is NULL.
 * @is_ready:	epoll reported @events of descriptor @fd. Return: false if the
 *		descriptor belongs to sockets that were replaced meanwhile.
 * @has_more:	can the lane take something that no descriptor reports? NULL:
 *		never; then a poke of the worker does not concern this source.
 *
 * The worker calls them.
 */
struct source_ops {
	int (*get_fd)(const struct source *s, const struct sock_group *group,
		      unsigned int i);
	bool (*is_ready)(struct source *s, const struct sock_group *group,
			 int fd, uint32_t events);
	bool (*has_more)(const struct source *s);
};

/**
 * struct source - a lane, and what makes it ready
 * @ops:	[I]
 * @name:	[I] what it reads, for the log
 * @is_gone:	[a] the TUN or socket that it reads does not exist any more
 * @read_err:	[a] -errno of the last read that failed; 0: no read has failed
 *		since source_take_error()
 * @lane:	the lane
 */
struct source {
	const struct source_ops *ops;
	const char *name;
	_Atomic bool is_gone;
	_Atomic int read_err;
	struct lane lane;
};

/**
 * struct sources - all sources that the worker and its helpers run
 * @all:	[I] borrowed; the first @n
 * @n:		[I] how many, at most SOURCES_MAX
 */
struct sources {
	struct source *all[SOURCES_MAX];
	unsigned int n;
};

/* sources_all() - the set of all sources: a bit for each. Any thread. */
static inline uint32_t sources_all(const struct sources *s)
{
	return (uint32_t)((UINT64_C(1) << s->n) - 1);
}

/**
 * sources_run() - run the lane of each source of a set once, in turn
 * @s:		sources
 * @ready:	the set, a bit for each source; the bit of a lane that is found
 *		empty, or that is drained, is cleared
 * @context:	belongs to the calling thread
 *
 * Any thread.
 *
 * Return: true if a batch was taken.
 */
static inline bool sources_run(const struct sources *s, uint32_t *ready,
			       struct context *context)
{
	bool is_busy = false;

	for (unsigned int i = 0; i < s->n; i++) {
		uint32_t bit = UINT32_C(1) << i;
		enum lane_result result;

		if (!(*ready & bit))
			continue;
		result = lane_run(&s->all[i]->lane, context);
		is_busy |= lane_is_busy(result);
		/* LANE_HELD says nothing of work: the lane stays in the set. */
		if (result == LANE_EMPTY || result == LANE_LAST)
			*ready &= ~bit;
	}
	return is_busy;
}

/* sources_have_left() - was input read that no batch has taken yet? No other thread uses
 * the lanes. */
static inline bool sources_have_left(const struct sources *s)
{
	for (unsigned int i = 0; i < s->n; i++) {
		const struct source *one = s->all[i];

		if (!lane_is_closed(&one->lane) &&
		    (lane_has_kept(&one->lane) ||
		     (one->ops->has_more && one->ops->has_more(one))))
			return true;
	}
	return false;
}

/* source_note_gone() - what the source reads does not exist any more. Any
 * thread. */
static inline void source_note_gone(struct source *s)
{
	/* Partner: source_is_gone(). */
	atomic_store_explicit(&s->is_gone, true, memory_order_release);
}

/* source_is_gone() - has source_note_gone() been called? Any thread. */
static inline bool source_is_gone(const struct source *s)
{
	return atomic_load_explicit(&s->is_gone, memory_order_acquire);
}

/* source_note_error() - a read failed with this -errno. Any thread. */
static inline void source_note_error(struct source *s, int err)
{
	/* Partner: source_take_error(). */
	atomic_store_explicit(&s->read_err, err, memory_order_relaxed);
}

/* source_take_error() - Return: the -errno of the last read that failed; 0: no
 * read has failed since the last call. Any thread. */
static inline int source_take_error(struct source *s)
{
	/* Partner: source_note_error(). Usually no read has failed: a load
	 * costs less than the exchange. */
	return atomic_load_explicit(&s->read_err, memory_order_relaxed)
		       ? atomic_exchange_explicit(&s->read_err, 0,
						  memory_order_relaxed)
		       : 0;
}

#endif /* ENGINE_SOURCE_H */
