/* SPDX-License-Identifier: MIT */
/*
 * The pulse of a thread: whether it goes on, as another thread can see without waking
 * it. The thread counts the turns of its loop, and says when it is about to sleep.
 *
 * Legend: [a] atomic.
 */
#ifndef ENGINE_PULSE_H
#define ENGINE_PULSE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/**
 * struct pulse - what a thread shows of its loop
 * @beat:	[a] odd: the thread works; even: it sleeps, or is about to. Each turn
 *		changes it. Only the thread itself writes.
 */
struct pulse {
	_Atomic uint32_t beat;
};

/* pulse_get() - the present beat. Any thread. */
static inline uint32_t pulse_get(const struct pulse *pulse)
{
	/* Partners: pulse_turn(), pulse_rest(). The beat says nothing about other
	 * memory, so relaxed order is enough. */
	return atomic_load_explicit(&pulse->beat, memory_order_relaxed);
}

/* pulse_is_at_work() - was this beat taken from a thread that works? */
static inline bool pulse_is_at_work(uint32_t beat)
{
	return beat & 1;
}

/* pulse_turn() - a turn of the loop begins. The thread itself. */
static inline void pulse_turn(struct pulse *pulse)
{
	atomic_store_explicit(&pulse->beat, (pulse_get(pulse) + 1) | 1,
			      memory_order_relaxed);
}

/* pulse_rest() - the thread has nothing to do, and is about to sleep. The thread
 * itself. */
static inline void pulse_rest(struct pulse *pulse)
{
	atomic_store_explicit(&pulse->beat, (pulse_get(pulse) + 1) & ~1U,
			      memory_order_relaxed);
}

#endif /* ENGINE_PULSE_H */
