/* SPDX-License-Identifier: MIT */
/* See guard.h. */
#include "cli/guard.h"

#include <stdio.h>
#include <string.h>

#include "base/now.h"

enum {
	/* Failures in a row that make a verdict. The second one is there because a
	 * thread may have waited for a processor at the first one. */
	FAILURES_MAX = 2,
};

/* Times for the start of an engine: the least one, and the one without a watchdog.
 * Choices: with 10,000 peers it takes half a second, and on a slow machine some. */
#define START_MIN_NS   (10 * NSEC_PER_SEC)
#define START_ALONE_NS (60 * NSEC_PER_SEC)

/* The name for an engine that does not answer: its control thread would. */
static const char control_name[] = "control thread";
static const char start_name[] = "new engine";

static void set_timer(struct guard *g, uint64_t ns)
{
	g->due = now_monotonic() + ns;
	loop_set_timer(g->loop, &g->timer, g->due);
}

static void ask(struct guard *g)
{
	g->is_asked = true;
	set_timer(g, g->chance_ns);
	g->ops->ask(g->arg);
}

static void forget_failures(struct guard *g)
{
	g->n_failures = 0;
	g->stalled[0] = 0;
}

static void note_hang(struct guard *g, const char *name)
{
	snprintf(g->stalled, sizeof(g->stalled), "%s", name);
	loop_clear_timer(g->loop, &g->timer);
	g->is_hung = true;
	g->ops->hung(g->arg, g->stalled);
}

/* Only failures that name the same thread count together. */
static void note_failure(struct guard *g, const char *name)
{
	if (strcmp(g->stalled, name) != 0) {
		snprintf(g->stalled, sizeof(g->stalled), "%s", name);
		g->n_failures = 0;
	}
	if (++g->n_failures == FAILURES_MAX)
		note_hang(g, name);
}

static void time_over(struct loop_timer *timer)
{
	struct guard *g = timer->arg;
	/* A timer that is late says that this process stood still, too. */
	bool is_late =
		clock_has_passed(g->due, g->chance_ns / 2, now_monotonic());

	if (g->is_starting && is_late)
		set_timer(g, g->start_ns);
	else if (g->is_starting)
		note_hang(g, start_name);
	if (g->is_starting)
		return;
	if (is_late)
		forget_failures(g);
	else if (g->is_asked)
		note_failure(g, control_name);
	if (!g->is_hung)
		ask(g);
}

void guard_init(struct guard *g, struct loop *loop, uint64_t period_ns,
		const struct guard_ops *ops, void *arg)
{
	uint64_t chance = period_ns / 3;
	/* Two thirds of the time that the service manager waits. */
	uint64_t start = 4 * chance;

	if (!period_ns)
		start = START_ALONE_NS;
	*g = (struct guard){
		.loop = loop,
		.ops = ops,
		.arg = arg,
		.chance_ns =
			chance > GUARD_CHANCE_NS ? chance : GUARD_CHANCE_NS,
		.start_ns = start > START_MIN_NS ? start : START_MIN_NS,
		.timer = { .ready = time_over, .arg = g },
	};
}

void guard_expect(struct guard *g)
{
	guard_stop(g);
	forget_failures(g);
	g->is_hung = false;
	g->is_starting = true;
	set_timer(g, g->start_ns);
}

void guard_start(struct guard *g)
{
	guard_stop(g);
	forget_failures(g);
	g->is_hung = false;
	g->is_running = g->is_well = true;
	g->ops->well(g->arg);
}

void guard_stop(struct guard *g)
{
	loop_clear_timer(g->loop, &g->timer);
	g->is_starting = g->is_running = g->is_asked = false;
}

void guard_hear(struct guard *g, const char *stalled)
{
	if (!g->is_running || !g->is_asked || g->is_hung)
		return;
	g->is_asked = false;
	if (*stalled) {
		/* The timer stays set, and asks again. */
		note_failure(g, stalled);
		return;
	}
	loop_clear_timer(g->loop, &g->timer);
	forget_failures(g);
	g->is_well = true;
	g->ops->well(g->arg);
}

const char *guard_turn(struct guard *g)
{
	bool is_well = g->is_well;

	g->is_well = false;
	if (g->is_running && !g->is_hung && !g->timer.is_set)
		ask(g);
	if (is_well)
		return NULL;
	return *g->stalled ? g->stalled : "engine";
}
