/* SPDX-License-Identifier: MIT */
#ifndef ENGINE_CONTEXT_H
#define ENGINE_CONTEXT_H

#include "crypto/aead.h"
#include "udpgather.h"

/**
 * struct context - what a thread that runs lanes works with
 * @aead:	its own
 * @sock:	the sockets that it has entered, or NULL
 */
struct context {
	struct aead *aead;
	struct ug_socket *sock;
};

#endif /* ENGINE_CONTEXT_H */
