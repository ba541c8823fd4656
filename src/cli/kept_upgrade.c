/* SPDX-License-Identifier: MIT */
/*
 * An upgrade, as the keeper sees it. The keeper has the successor started, gives both
 * engines an end of one connection, and waits. The two engines decide by themselves which
 * of them goes on (cli/handover.h). If the successor says that it serves, it has the
 * tunnel. If it ends before that, the upgrade has failed. The end of the predecessor alone
 * says nothing, because the successor may have the tunnel already.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/now.h"
#include "cli/kept_parts.h"
#include "keeper/channel.h"

/* The time that an upgrade has. A choice: longer than either engine waits for the other
 * (cli/handover.h), and shorter than wiregatherctl waits (base/upgrade.h). */
#define UPGRADE_NS (20 * NSEC_PER_SEC)

/* The pause before the news of the interface are asked for again. A choice. */
#define HEAR_NS NSEC_PER_SEC

void kept_answer_upgrade(struct kept *k, const char *why, int err)
{
	loop_clear_timer(&k->loop, &k->upgrade_end);
	upgrade_answer(&k->upgrade, why, err);
}

void kept_end_upgrade(struct kept *k, const char *why, int err)
{
	struct kept_engine *next = k->next;

	k->next = NULL;
	log_error("no upgrade: %s", why);
	service_end(&next->service);
	/* A successor has a journal kept only after it has taken the tunnel. So that
	 * journal is newer than the engine's. */
	service_move_kept(&k->engine->service, &next->service);
	if (next->is_there && k->starter.fd >= 0)
		starter_kill_engine(&k->starter, next->seat);
	kept_answer_upgrade(k, why, err);
}

void kept_lose_upgrade(struct kept *k, const char *why, int err)
{
	kept_end_upgrade(k, why, err);
	/* The successor had the tunnel, or the engine has died meanwhile. */
	if (!k->engine->is_there)
		kept_note_death(k, why);
}

static void hear(struct kept *k, int err)
{
	if (err == 0)
		return;
	log_error("cannot hear of the interface: %s: it is tried again",
		  strerror(-err));
	loop_set_timer(&k->loop, &k->hear_again, now_monotonic() + HEAR_NS);
}

/* Another engine, which hears by itself, may have come meanwhile. */
static void hear_due(struct loop_timer *timer)
{
	struct kept *k = timer->arg;

	if (k->engine->service.fd >= 0 && !k->engine->service.hears)
		hear(k, service_hear(&k->engine->service));
}

void kept_note_success(struct kept *k)
{
	struct kept_engine *old = k->engine;

	k->engine = k->next;
	k->next = NULL;
	hear(k, service_take_over(&k->engine->service));
	service_end(&old->service);
	if (k->starter.fd >= 0)
		starter_adopt_program(&k->starter);
	log_event("an upgrade: another engine has the tunnel");
	/* Without a starter nobody tells of the old engine's end. */
	if (k->starter.fd < 0)
		old->is_there = false;
	if (!old->is_there)
		kept_answer_upgrade(k, "", 0);
}

static void upgrade_late(struct loop_timer *timer)
{
	struct kept *k = timer->arg;
	const struct kept_engine *other = &k->engines[!k->engine->seat];

	if (k->next) {
		kept_lose_upgrade(k, "the new engine is not ready in time",
				  -ETIMEDOUT);
	} else if (other->is_there && k->starter.fd >= 0) {
		/* The upgrade is over when that engine has ended. */
		log_error("the last engine does not end: it is killed");
		starter_kill_engine(&k->starter, other->seat);
	}
}

/* Connect the engine with its successor. @fds: our ends of the successor's
 * connections, consumed. Return: 0; -errno. */
static int connect_successor(struct kept *k, const int fds[2])
{
	struct hello hello;
	int all[HELLO_FDS_MAX], link[2], err = channel_open(link);
	unsigned int n = kept_list_descriptors(k, all);

	if (err < 0) {
		close(fds[0]);
		close(fds[1]);
		return err;
	}
	kept_fill_hello(k, &hello);
	all[n++] = link[1];
	err = service_start_successor(&k->next->service, &k->engine->service,
				      fds[0], fds[1], &hello, all, n);
	if (err == 0)
		err = service_offer(&k->engine->service, link[0]);
	close(link[0]);
	close(link[1]);
	return err;
}

/* Why can no upgrade begin? NULL: it can. */
static const char *find_obstacle(const struct kept *k)
{
	if (k->is_ending || k->blocked.is_on)
		return "the daemon ends";
	if (k->starter.fd < 0)
		return "the process that starts engines has ended; a restart "
		       "of the tunnel is needed";
	if (!k->is_ready || !k->engine->is_there ||
	    !k->engine->service.is_ready)
		return "an engine is just starting";
	if (k->next || k->engines[!k->engine->seat].is_there)
		return "an engine of another upgrade has not ended";
	return NULL;
}

static void begin_upgrade(void *arg, int program)
{
	struct kept *k = arg;
	const char *why = find_obstacle(k);
	int fds[2], err;

	if (why) {
		kept_answer_upgrade(k, why, -EBUSY);
		return;
	}
	k->next = &k->engines[!k->engine->seat];
	loop_set_timer(&k->loop, &k->upgrade_end, now_monotonic() + UPGRADE_NS);
	err = kept_start_engine(k->next,
				program < 0 ? STARTER_PATH : STARTER_FILE,
				program, fds);
	if (err == 0)
		err = connect_successor(k, fds);
	/* If an engine has ended already, the starter says how. */
	if (err == 0 || (err == -EPIPE && k->next->is_there))
		return;
	kept_explain(k, k->next->why, "the new engine cannot be started", err);
	kept_end_upgrade(k, k->next->why, err);
}

void kept_open_upgrade(struct kept *k)
{
	const struct upgrade_owner owner = { .begin = begin_upgrade, .arg = k };
	int err = upgrade_open(&k->upgrade, &k->loop, &owner,
			       listeners_choose_directory(k->options),
			       k->interface.tuns[0].name);

	k->upgrade_end = (struct loop_timer){ .ready = upgrade_late, .arg = k };
	k->hear_again = (struct loop_timer){ .ready = hear_due, .arg = k };
	if (err < 0)
		log_warning("no socket for upgrades: %s", strerror(-err));
}
