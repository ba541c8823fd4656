/* SPDX-License-Identifier: MIT */
/*
 * Whether the engine makes progress, as the keeper sees it.
 *
 * The owner calls guard_turn() once in each period of the watchdog. The guard then asks
 * the engine. An engine whose control thread works answers within microseconds, and
 * says whether one of its other threads stands still (engine/progress.h). If there is no
 * answer, or if it names a thread, the engine is asked once more. If that fails in the
 * same way, the engine is hung, and the owner is told to end it.
 *
 * The second question follows a third of the period after the first one, but not
 * sooner than GUARD_CHANCE_NS, and the verdict as long after the second one. A period is
 * half of the time that the service manager waits, so most of that time is left for
 * another engine to start.
 *
 * An engine that takes the place of another one must serve within a time that is longer,
 * because it has to restore the configuration first. That time counts also if nobody
 * calls guard_turn().
 *
 * Time is that of CLOCK_MONOTONIC, which stands still while the machine is suspended. If
 * the keeper was stopped, too, as by SIGSTOP for all processes, or if the machine gave it
 * no time, then its own timer is late. A late timer proves nothing about the engine, so
 * the questions begin anew.
 *
 * Main thread of the keeper.
 */
#ifndef CLI_GUARD_H
#define CLI_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "engine/loop.h"
#include "keeper/request.h"

/* The least time for an answer. A choice: a control thread that works answers within a
 * millisecond, and on a machine with too much to do within some hundred. */
#define GUARD_CHANCE_NS (500 * NSEC_PER_MSEC)

/**
 * struct guard_ops - what the owner does
 * @ask:	ask the engine for its state; guard_hear() is called with the answer
 * @well:	the engine answers, and all of its threads make progress
 * @hung:	@name, a thread of the engine, makes no progress: end the engine
 *
 * All get the @arg of guard_init().
 */
struct guard_ops {
	void (*ask)(void *arg);
	void (*well)(void *arg);
	void (*hung)(void *arg, const char *name);
};

/**
 * struct guard - what is known of the engine
 * @loop:	borrowed
 * @ops:	borrowed
 * @arg:	for @ops
 * @chance_ns:	the time for an answer
 * @start_ns:	the time for the start of an engine
 * @timer:	end of one of these times
 * @due:	when @timer should be called, of now_monotonic()
 * @is_starting:	there is an engine that does not serve yet
 * @is_running:	there is an engine that serves
 * @is_asked:	it has not answered yet
 * @is_well:	it has answered since the last guard_turn(), without a complaint
 * @is_hung:	the owner was told to end it
 * @n_failures:	answers in a row that were missing, or named @stalled
 * @stalled:	name of the thread that makes no progress; empty: none was found
 */
struct guard {
	struct loop *loop;
	const struct guard_ops *ops;
	void *arg;
	uint64_t chance_ns;
	uint64_t start_ns;
	struct loop_timer timer;
	uint64_t due;
	bool is_starting;
	bool is_running;
	bool is_asked;
	bool is_well;
	bool is_hung;
	unsigned int n_failures;
	char stalled[REQUEST_NAME_CAP];
};

/**
 * guard_init() - there is no engine yet
 * @guard:	caller's storage
 * @loop:	borrowed
 * @period_ns:	time from one guard_turn() to the next; 0: it is not called
 * @ops:	borrowed
 * @arg:	for @ops
 */
void guard_init(struct guard *guard, struct loop *loop, uint64_t period_ns,
		const struct guard_ops *ops, void *arg);

/* guard_expect() - an engine was started in the place of another one; guard_start()
 * follows, or the owner is told that the "new engine" makes no progress */
void guard_expect(struct guard *guard);

/* guard_start() - an engine serves; it counts as one that has answered */
void guard_start(struct guard *guard);

/* guard_stop() - there is no engine; nothing is asked until guard_start() */
void guard_stop(struct guard *guard);

/* guard_hear() - the engine has answered; @stalled: the thread that it names, or "" */
void guard_hear(struct guard *guard, const char *stalled);

/**
 * guard_turn() - a period is over: ask the engine
 * @guard:	guard
 *
 * Return: NULL if the engine was well since the last turn; else the name of what makes
 * no progress, valid until the next call.
 */
const char *guard_turn(struct guard *guard);

#endif /* CLI_GUARD_H */
