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

#include "cli/notify.h"
#include "cli/options.h"
#include "cli/signals.h"
#include "engine/bounds.h"
#include "engine/engine.h"
#include "engine/local.h"
#include "isolate/isolate.h"
#include "uapi/server.h"

enum {
	/* Packets that the interface queues while no thread reads: twice what
	 * four TCP streams need to have no retransmits, at no price in latency
	 * (docs/performance.md). */
	TUNNEL_TXQLEN = 500,
	/* Bytes of tunnel.why. A choice: a longer line is cut off. */
	TUNNEL_WHY_CAP = 400,
};

/**
 * struct tunnel - the parts of a tunnel
 * @loop:	the event loop of the main thread
 * @signals:	initialised by the caller
 * @tuns:	the TUN device, and behind it its further queues; owned by
 *		@engine once there is one
 * @n_queues:	number of @tuns
 * @is_steered:	the kernel chooses queues by flow: tun/steering.h
 * @local:	what takes rights, for @engine
 * @engine:	threads and sockets, and the WireGuard device
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
	struct tun tuns[QUEUES_MAX];
	unsigned int n_queues;
	bool is_steered;
	struct local local;
	struct engine *engine;
	struct uapi_server *server;
	struct stats_source stats_source;
	struct uapi_server *stats;
	struct notify *notify;
	struct isolate isolate;
	char why[TUNNEL_WHY_CAP];
};

/**
 * tunnel_open() - make a tunnel
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

#endif /* CLI_TUNNEL_H */
