/* SPDX-License-Identifier: MIT */
/*
 * All parts of a running tunnel. They are made in the order in which they need
 * each other: the loop, the signals, the TUN device (and with it the real
 * name), the log, the engine, the configuration socket. Then the process gives
 * up the rights that only these steps needed. The threads start, and the
 * process is sealed (isolate/isolate.h). No input from outside is handled
 * before the process is sealed.
 *
 * Main thread.
 */
#ifndef CLI_TUNNEL_H
#define CLI_TUNNEL_H

#include "cli/interface.h"
#include "cli/listeners.h"
#include "cli/notify.h"
#include "cli/options.h"
#include "cli/predecessor.h"
#include "cli/signals.h"
#include "cli/successor.h"
#include "engine/engine.h"
#include "engine/local.h"
#include "isolate/isolate.h"
#include "journal/journal.h"
#include "keeper/client.h"
#include "uapi/server.h"

enum {
	/* Bytes of tunnel.why. A choice: a longer line is cut off. */
	TUNNEL_WHY_CAP = 400,
};

/**
 * struct tunnel - the parts of a tunnel
 * @loop:	the event loop of the main thread
 * @signals:	initialised by the caller
 * @interface:	the TUN device; its queues are owned by @engine once there is one
 * @is_engine:	this process is an engine, and a keeper does what takes rights
 * @local:	what takes rights, for @engine
 * @listeners:	the sockets for configuration and statistics, unless a keeper has
 *		them
 * @client:	the connection to the keeper, if there is one
 * @start:	what the keeper has sent at the start
 * @successor:	how this engine has taken the place of another one
 * @predecessor: how another engine will take the place of this one
 * @state_later: when to tell the keeper the state
 * @has_applied: a configuration was applied since
 * @state_at:	when it was told last, of now_monotonic()
 * @engine:	threads and sockets, and the WireGuard device
 * @journal:	what the next engine must know; NULL: no keeper would keep it
 * @server:	the configuration socket
 * @stats_source: what the answers of @stats are made of
 * @stats:	the statistics socket; NULL: there is none
 * @notify:	messages to the service manager; borrowed, set and opened by the caller
 * @isolate:	the isolation of the process
 * @why:	one line that says why tunnel_open() has failed
 */
struct tunnel {
	struct loop loop;
	struct signals signals;
	struct interface interface;
	bool is_engine;
	struct local local;
	struct listeners listeners;
	struct client client;
	struct client_start start;
	struct successor successor;
	struct predecessor predecessor;
	struct loop_timer state_later;
	bool has_applied;
	uint64_t state_at;
	struct engine *engine;
	struct journal *journal;
	struct uapi_server *server;
	struct stats_source stats_source;
	struct uapi_server *stats;
	struct notify *notify;
	struct isolate isolate;
	char why[TUNNEL_WHY_CAP];
};

/**
 * tunnel_open() - make a tunnel in this process alone, with all of its rights
 * @tunnel:	caller's storage, with its signals and its @notify
 * @options:	settings
 *
 * Call crypto_init() and rcu_register() before. Afterwards the interface can be
 * configured, renamed and moved; requests wait for loop_run().
 *
 * Return: 0; -errno: all parts are gone again, and tunnel.why says why.
 */
int tunnel_open(struct tunnel *tunnel, const struct options *options);

/* tunnel_close() - end a tunnel, and free its parts */
void tunnel_close(struct tunnel *tunnel);

/**
 * tunnel_open_engine() - make the engine of a tunnel, in a process that the starter has
 * made
 * @tunnel:	caller's storage, all of zero
 * @options:	settings
 *
 * Call crypto_init() and rcu_register() before. The keeper is told of the success or
 * the failure.
 *
 * Return: 0; -errno: end the process.
 */
int tunnel_open_engine(struct tunnel *tunnel, const struct options *options);

/* tunnel_close_engine() - end it, and free its parts */
void tunnel_close_engine(struct tunnel *tunnel);

#endif /* CLI_TUNNEL_H */
