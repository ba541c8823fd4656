/* SPDX-License-Identifier: MIT */
/*
 * A context: what a thread that runs lanes works with. The worker and each
 * helper have one of their own, and hand it to each step of a lane.
 */
#ifndef ENGINE_CONTEXT_H
#define ENGINE_CONTEXT_H

#include <stdbool.h>

#include "crypto/aead.h"
#include "engine/sock_group.h"

/**
 * struct context - what a thread that runs lanes works with
 * @aead:	encrypts and decrypts; no other thread uses it
 * @group:	the sockets that sockets_enter() returned to the thread; NULL:
 *		the sockets are closed
 * @sock:	the main one of @group, which sends; NULL as @group
 * @reads_nothing: the step take reads nothing from the TUN or a socket. It takes only
 *		input that was read before. For the beginning of a pause.
 */
struct context {
	struct aead *aead;
	struct sock_group *group;
	struct ug_socket *sock;
	bool reads_nothing;
};

/* context_set_group() - the thread uses these sockets from now on, or none (NULL) */
static inline void context_set_group(struct context *context,
				     struct sock_group *group)
{
	context->group = group;
	context->sock = sock_group_main(group);
}

#endif /* ENGINE_CONTEXT_H */
