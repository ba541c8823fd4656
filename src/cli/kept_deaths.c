/* SPDX-License-Identifier: MIT */
/*
 * The death of an engine, as the keeper sees it. If the engine has served, another one is
 * started at once. If it has not even started, what is missing may be there a little
 * later: memory, a process, a descriptor. Then the next one is started after a pause.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/now.h"
#include "cli/kept_parts.h"

/* The pause. A choice: with DEATHS_MAX engines, shortages of four seconds pass. */
#define AGAIN_NS NSEC_PER_SEC

void kept_give_up(struct kept *k, int err)
{
	int r;

	if (k->blocked.is_on)
		return;
	if (!k->options->fails_closed || !k->is_ready || k->is_ending) {
		loop_stop(&k->loop, err);
		return;
	}
	log_error("nothing passes any more; the interface stays until it is "
		  "deleted");
	service_end(&k->engine->service);
	upgrade_close(&k->upgrade);
	listeners_close(&k->listeners);
	k->listeners.config.fd = -1;
	guard_stop(&k->guard);
	r = blocked_start(&k->blocked, &k->loop, &k->local, err);
	/* The interface stays, too, if nobody tells of its end. A signal ends all. */
	if (r < 0)
		log_error("cannot hear of the interface: %s", strerror(-r));
	notify_change(k->notify);
}

/* Return: 0; -errno: no engine was started. */
static int start_another(struct kept *k)
{
	int fds[2], err;

	k->why[0] = 0;
	err = kept_start_engine(k->engine, STARTER_SAME, -1, fds);
	if (err < 0)
		return err;
	guard_expect(&k->guard);
	/* Without its connections it ends, and that is noted. It is not killed, because
	 * it may be reading the journal: the next one would leave out the record. */
	if (kept_greet(k->engine, fds[0], fds[1]) < 0)
		service_end(&k->engine->service);
	return 0;
}

static void again_ready(struct loop_timer *timer)
{
	struct kept *k = timer->arg;
	char text[KEPT_WHY_CAP];

	if (k->starter.fd < 0) {
		kept_give_up(k, -ECHILD);
	} else if (start_another(k) < 0) {
		memcpy(text, k->why, sizeof(text));
		k->why[0] = 0;
		kept_note_death(k, text);
	}
}

/* Have another engine started in the place of one that has died. Return: 0; -errno. */
static int replace_engine(struct kept *k)
{
	bool has_served = k->engine->service.is_ready;

	if (k->is_ending || k->starter.fd < 0)
		return -ECHILD;
	if (deaths_note(&k->deaths, now_monotonic())) {
		snprintf(k->why, sizeof(k->why),
			 "%d engines have died within %d s", DEATHS_MAX,
			 DEATHS_S);
		log_error("%s: no other one is started", k->why);
		/* The journal may be the reason why they have died, so no later
		 * process gets it. */
		(void)notify_store(k->notify, STORED_JOURNAL, -1);
		return -ECHILD;
	}
	/* The dead engine may have changed options of its sockets. The next one gets
	 * other sockets. */
	service_end(&k->engine->service);
	/* While the next one starts, the service manager closes them, too. */
	(void)kept_store(k);
	if (has_served && start_another(k) == 0)
		return 0;
	guard_stop(&k->guard);
	loop_set_timer(&k->loop, &k->again, now_monotonic() + AGAIN_NS);
	return 0;
}

void kept_note_death(struct kept *k, const char *text)
{
	int err = k->engine->err < 0 ? k->engine->err : -ECHILD;

	if (!k->is_ready && !*k->why)
		snprintf(k->why, sizeof(k->why), "%s", text);
	else if (k->is_ready)
		log_error("%s%s%s", text, *k->why ? ": " : "", k->why);
	if (k->is_ready && replace_engine(k) == 0)
		return;
	kept_give_up(k, err);
}

void kept_init_deaths(struct kept *k)
{
	k->again = (struct loop_timer){ .ready = again_ready, .arg = k };
}
