/* SPDX-License-Identifier: MIT */
/*
 * The engine that takes the place of another one; handover.h has the order. All of its
 * steps come before its loop runs, and each waits for the predecessor.
 *
 * Control thread.
 */
#ifndef CLI_SUCCESSOR_H
#define CLI_SUCCESSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "engine/loop.h"
#include "journal/store.h"
#include "uapi/server.h"

/**
 * struct successor - a handover
 * @fd:		connection to the predecessor; -1: there is none
 * @engine:	borrowed
 * @config:	server of the configuration socket; borrowed
 * @stats:	server of the statistics socket; borrowed; NULL: there is none
 * @loop:	borrowed
 * @watch:	of the loop, for the clients
 * @early:	the predecessor's memory for the early state
 * @state:	the predecessor's memory for the last state
 * @has_memory:	both are there
 * @is_open:	the predecessor's sockets were open when it sent the configuration
 * @why:	after an error: what was wrong, in words, a constant
 * @paused_ns:	when the predecessor's threads began to rest, of now_monotonic()
 */
struct successor {
	int fd;
	struct engine *engine;
	struct uapi_server *config;
	struct uapi_server *stats;
	struct loop *loop;
	struct loop_watch watch;
	struct store early;
	struct store state;
	bool has_memory;
	bool is_open;
	const char *why;
	uint64_t paused_ns;
};

/**
 * successor_get_config() - ask the predecessor for its configuration
 * @s:		successor with @fd
 * @config_fd:	set to the descriptor of the copy of its journal
 *
 * Return: 0; -EPIPE: it does not hand over; -ETIMEDOUT; -EPROTO; -errno.
 */
int successor_get_config(struct successor *s, int *config_fd);

/**
 * successor_take() - take the tunnel
 * @s:		successor whose engine has the configuration, and whose threads rest
 *
 * On success the predecessor sends and receives nothing any more. This engine's threads
 * still rest. The caller goes on with engine_resume_packets(), engine_resume() and
 * successor_serve().
 *
 * Return: 0; -ECANCELED: the predecessor goes on; -EPIPE, -ETIMEDOUT, -EPROTO, -EBADMSG:
 * the state is not what it should be; -errno.
 */
int successor_take(struct successor *s);

/* successor_serve() - tell the predecessor that it can end, and take its clients, now
 * and when the loop runs */
void successor_serve(struct successor *s);

/* successor_deinit() - close what is left */
void successor_deinit(struct successor *s);

#endif /* CLI_SUCCESSOR_H */
