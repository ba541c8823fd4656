/* SPDX-License-Identifier: MIT */
/* The engine fills in numbers. The keeper, which tells the service manager, makes the text
 * of them. */
#include "cli/state.h"

#include <stdio.h>
#include <string.h>

#include "base/now.h"
#include "uapi/peers.h"

void state_fill(struct request_state *state, struct engine *engine)
{
	struct device *device = engine_get_device(engine);
	uint64_t now = now_boottime();
	struct engine_state from;
	struct peers peers;
	struct peer *peer;

	engine_get_state(engine, &from);
	*state = (struct request_state){
		.flags = from.is_up ? REQUEST_UP : 0,
		.err = from.err,
		.port = device->listen_port,
	};
	peers_init(&peers, device);
	for (; (peer = peers_next(&peers)); state->n_peers++)
		state->n_sessions += peer_has_session(peer, now);
}

static void print_peers(const struct request_state *state, char *buf,
			size_t cap)
{
	if (!state->n_peers)
		snprintf(buf, cap, "no peers");
	else
		snprintf(buf, cap, "%u peer%s, %u with a session",
			 state->n_peers, state->n_peers == 1 ? "" : "s",
			 state->n_sessions);
}

void state_print(const struct request_state *state, char *buf, size_t cap)
{
	char peers[64];

	print_peers(state, peers, sizeof(peers));
	if (!(state->flags & REQUEST_UP))
		snprintf(buf, cap, "down, %s", peers);
	else if (state->err)
		snprintf(buf, cap, "up, cannot listen on port %u: %s, %s",
			 state->port, strerror(-state->err), peers);
	else
		snprintf(buf, cap, "up, port %u, %s", state->port, peers);
}
