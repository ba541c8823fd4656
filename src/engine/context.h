/* SPDX-License-Identifier: MIT */
/*
 * A context: what a thread that runs lanes works with. The worker and each
 * helper have one of their own, and hand it to each step of a lane.
 */
#ifndef ENGINE_CONTEXT_H
#define ENGINE_CONTEXT_H

#include "crypto/aead.h"
#include "udpgather.h"

/**
 * struct context - what a thread that runs lanes works with
 * @aead:	encrypts and decrypts; no other thread uses it
 * @sock:	the sockets that sockets_enter() returned to the thread; NULL:
 *		the sockets are closed
 */
struct context {
	struct aead *aead;
	struct ug_socket *sock;
};

#endif /* ENGINE_CONTEXT_H */
