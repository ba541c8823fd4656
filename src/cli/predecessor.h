/* SPDX-License-Identifier: MIT */
/*
 * The engine that hands its tunnel to a successor; handover.h has the order. Until the
 * successor has the configuration and the early state the tunnel runs as always. Then its
 * threads rest, the last state is written, and this engine waits for the successor, but
 * never longer than HANDOVER_REST_NS and HANDOVER_PEER_REST_NS allow.
 *
 * Control thread.
 */
#ifndef CLI_PREDECESSOR_H
#define CLI_PREDECESSOR_H

#include <stdbool.h>

#include "engine/engine.h"
#include "engine/loop.h"
#include "journal/journal.h"
#include "journal/store.h"
#include "uapi/server.h"

/**
 * enum predecessor_step - what a handover waits for
 * @PREDECESSOR_HELLO:	for the successor, which starts
 * @PREDECESSOR_CLIENTS: for the clients, whose requests are answered first
 * @PREDECESSOR_PREPARED: for the successor, which has the configuration and prepares
 *			itself
 * @PREDECESSOR_READY:	for the successor, which applies the early state
 */
enum predecessor_step {
	PREDECESSOR_HELLO,
	PREDECESSOR_CLIENTS,
	PREDECESSOR_PREPARED,
	PREDECESSOR_READY,
};

/**
 * struct predecessor - one handover at a time
 * @loop:	borrowed
 * @engine:	borrowed
 * @journal:	borrowed
 * @config:	server of the configuration socket; borrowed
 * @stats:	server of the statistics socket; borrowed; NULL: there is none
 * @fd:		connection to the successor; -1: there is none
 * @watch:	of the loop
 * @timer:	looks whether clients are at rest; and the end of patience
 * @until:	when the wait for the clients, or for the successor, ends
 * @step:	what it waits for, while there is a successor
 * @early:	memory for the early state
 * @has_early:	@early is there
 * @state:	memory for the last state
 * @has_state:	@state is there
 * @was_open:	the sockets were open when the configuration was sent
 * @has_left:	the successor has the tunnel: this process must end, and send nothing
 */
struct predecessor {
	struct loop *loop;
	struct engine *engine;
	struct journal *journal;
	struct uapi_server *config;
	struct uapi_server *stats;
	int fd;
	struct loop_watch watch;
	struct loop_timer timer;
	uint64_t until;
	enum predecessor_step step;
	struct store early;
	bool has_early;
	struct store state;
	bool has_state;
	bool was_open;
	bool has_left;
};

/* predecessor_init() - no successor is there; the borrowed members were set */
void predecessor_init(struct predecessor *p);

/**
 * predecessor_begin() - a successor is there
 * @p:		predecessor
 * @fd:		connection to it; consumed
 *
 * If the successor takes over, the loop is stopped with status 0, and @has_left is set.
 */
void predecessor_begin(struct predecessor *p, int fd);

/* predecessor_deinit() - give up a handover that is under way */
void predecessor_deinit(struct predecessor *p);

#endif /* CLI_PREDECESSOR_H */
