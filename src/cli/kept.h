/* SPDX-License-Identifier: MIT */
/*
 * The keeper: of a tunnel's three processes the one that was started. It makes what takes
 * rights: the interface, the sockets for configuration, and the sockets by which it hears
 * of the network. It has the starter execute the engine (keeper/starter.h), gives up the
 * rights that it does not need any more, and serves the engine (keeper/service.h) until
 * one of them ends. docs/architecture.md draws the three processes.
 *
 * Main thread, the only one.
 */
#ifndef CLI_KEPT_H
#define CLI_KEPT_H

#include "cli/blocked.h"
#include "cli/daemon.h"
#include "cli/deaths.h"
#include "cli/guard.h"
#include "cli/interface.h"
#include "cli/listeners.h"
#include "cli/notify.h"
#include "cli/options.h"
#include "cli/signals.h"
#include "cli/stored.h"
#include "cli/upgrade.h"
#include "engine/local.h"
#include "isolate/isolate.h"
#include "keeper/service.h"
#include "keeper/starter.h"

enum {
	/* Bytes of kept.why, as of tunnel.why. */
	KEPT_WHY_CAP = 400,
};

struct kept;

/**
 * struct kept_engine - an engine, as the keeper knows it
 * @kept:	the keeper
 * @service:	the connection to it
 * @seat:	its number for the starter
 * @is_there:	it was started, and has not ended
 * @err:	-errno of its own failure, or 0
 * @why:	one line that says why it has not started, or why it has ended
 */
struct kept_engine {
	struct kept *kept;
	struct service service;
	unsigned int seat;
	bool is_there;
	int err;
	char why[KEPT_WHY_CAP];
};

/**
 * struct kept - the keeper
 * @loop:	its event loop
 * @signals:	initialised by the caller
 * @interface:	the TUN device; the engine has its queues, too
 * @local:	what takes rights
 * @listeners:	the sockets for configuration and statistics
 * @engines:	the engine, and its successor during an upgrade
 * @engine:	the one that serves, or is to serve first
 * @next:	its successor, which has not taken its place yet; NULL: there is no
 *		upgrade
 * @upgrade:	the socket for upgrades
 * @upgrade_end: when an upgrade is given up
 * @starter:	the connection to the starter
 * @starter_watch: of the loop
 * @isolate:	the isolation of the keeper
 * @options:	borrowed
 * @daemon:	borrowed: is told when the engine is ready
 * @notify:	borrowed: messages to the service manager
 * @stored:	borrowed: what a service manager has kept of a process before this one
 * @storing:	what it is to keep of this one
 * @has_changed: @storing must be set anew
 * @store_later: when to tell the service manager what has changed
 * @state:	what the engine has told last
 * @guard:	whether the engine makes progress
 * @pid:	this process
 * @is_isolated: the keeper has its filter
 * @is_ready:	the engine has served, or serves
 * @is_ending:	the engine was told to end
 * @deadline:	when the engine is killed, after it was told to end, and when it is not
 *		waited for any more
 * @is_killed:	the engine was killed, because it did not end
 * @deaths:	when engines have died
 * @again:	when another engine is started, after one that has not started
 * @hear_again:	when the news of the interface are asked for, after that has failed
 * @blocked:	is on if no engine can go on, and the interface stays
 * @why:	one line that says why kept_open() has failed, why the engine has not
 *		started, or why it has ended
 */
struct kept {
	struct loop loop;
	struct signals signals;
	struct interface interface;
	struct local local;
	struct listeners listeners;
	struct kept_engine engines[STARTER_SEATS];
	struct kept_engine *engine;
	struct kept_engine *next;
	struct upgrade upgrade;
	struct loop_timer upgrade_end;
	struct starter starter;
	struct loop_watch starter_watch;
	struct isolate isolate;
	const struct options *options;
	struct daemon *daemon;
	struct notify *notify;
	struct stored *stored;
	struct storing storing;
	bool has_changed;
	struct loop_timer store_later;
	struct request_state state;
	struct guard guard;
	pid_t pid;
	bool is_isolated;
	bool is_ready;
	bool is_ending;
	struct loop_timer deadline;
	bool is_killed;
	struct deaths deaths;
	struct loop_timer again;
	struct loop_timer hear_again;
	struct blocked blocked;
	char why[KEPT_WHY_CAP];
};

/**
 * kept_open() - make what takes rights, give up the others, and start the engine
 * @kept:	caller's storage, with its signals, options, daemon, notify and stored
 * @argv:	as given to main()
 *
 * Return: 0: call kept_run(); -errno: nothing is left, and kept.why says why.
 */
int kept_open(struct kept *kept, char **argv);

/**
 * kept_run() - serve the engine until it ends
 * @kept:	kept
 *
 * When the engine is ready, the daemon's parent and the service manager are told. If no
 * other engine can take the place of one that has ended, and the interface is to stay
 * (--fail-closed), this returns when the interface is deleted, or at a signal.
 *
 * Return: 0: it has ended as it was told to; -errno. Then kept.why says why, if the
 * engine was never ready.
 */
int kept_run(struct kept *kept);

/* kept_close() - remove the files and the interface. The memory stays: the process
 * ends. */
void kept_close(struct kept *kept);

#endif /* CLI_KEPT_H */
