/* SPDX-License-Identifier: MIT */
/*
 * All that a running tunnel consists of, made in the order in which the parts
 * need each other: the loop, the signals, the TUN device (and with it the real
 * name), the log, the engine, the configuration socket. Then what only this took
 * is given up, the threads start, and the process is sealed; nothing was read
 * from outside until then.
 *
 * Main thread.
 */
#ifndef CLI_TUNNEL_H
#define CLI_TUNNEL_H

#include "cli/options.h"
#include "cli/signals.h"
#include "engine/engine.h"
#include "isolate/isolate.h"
#include "uapi/server.h"

enum {
	/* Packets that the interface keeps while nobody reads. */
	TUNNEL_TXQLEN = 500,
	/* Bytes of tunnel.why. */
	TUNNEL_WHY_CAP = 400,
};

/**
 * struct tunnel - see above
 * @loop:	of this thread
 * @signals:	were initialised by the caller
 * @tun:	the engine's, once there is one
 * @engine:	the rest
 * @server:	the configuration socket
 * @isolate:	what the process may still do
 * @why:	of a failure: one line
 */
struct tunnel {
	struct loop loop;
	struct signals signals;
	struct tun tun;
	struct engine *engine;
	struct uapi_server *server;
	struct isolate isolate;
	char why[TUNNEL_WHY_CAP];
};

/**
 * tunnel_open() - make a tunnel
 * @tunnel:	caller's storage, with its signals
 * @options:	how
 *
 * Needs crypto_init() and rcu_register(). From its return on the interface can
 * be configured, renamed, and moved; what is asked waits for loop_run().
 *
 * Return: 0; -errno: nothing is left of it, and tunnel.why says why.
 */
int tunnel_open(struct tunnel *tunnel, const struct options *options);

/* tunnel_close() - end it */
void tunnel_close(struct tunnel *tunnel);

#endif /* CLI_TUNNEL_H */
