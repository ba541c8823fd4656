/* SPDX-License-Identifier: MIT */
/*
 * A pause: worker, helpers and handshaker rest. It is for an upgrade, in which another
 * process takes the tunnel over: nothing that was taken may be lost, and nothing may be
 * on its way while the state is copied.
 *
 * A pause begins in four steps, because the threads give each other work:
 *
 *  1. Worker and helpers finish the batches that they have taken, and rest. From now on
 *     nothing is read.
 *  2. The worker alone takes what was read before (worker_finish()).
 *  3. Worker and helpers have given their last messages to the handshaker. It handles
 *     those that wait, if there are not many, and rests. What a flood has left stays in
 *     its ring.
 *  4. The handshaker may have begun a session, for which packets were staged. The
 *     worker sends them.
 *
 * Each step ends for the control thread under a mutex of the thread that rests, so it
 * sees all that this thread has written. What the control thread writes in the pause is
 * seen by the threads when they go on. A thread that rests may be poked: it enters the
 * sockets (engine/sockets.h), touches nothing else, and rests again. So the control
 * thread can replace the sockets during a pause.
 *
 * Legend: [I] set by the owner before the first call, [c] control thread only.
 */
#ifndef ENGINE_PAUSE_H
#define ENGINE_PAUSE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/handshaker.h"
#include "engine/worker.h"
#include "tun/link.h"

/**
 * struct pause - whether there is a pause, and what has to wait for its end
 * @worker:	[I] borrowed
 * @handshaker:	[I] borrowed
 * @is_on:	[c] there is a pause
 * @has_link:	[c] the interface went up or down meanwhile: ...
 * @link:	[c] ... LINK_UP or LINK_DOWN
 * @must_renew:	[c] the machine was resumed from a snapshot meanwhile
 *
 * The owner sets the last three, and acts on them.
 */
struct pause {
	struct worker *worker;
	struct handshaker *handshaker;
	bool is_on;
	bool has_link;
	enum link_event link;
	bool must_renew;
};

/* pause_prepare() - have threads that are not started yet begin with a pause. Control
 * thread. */
void pause_prepare(struct pause *p);

/**
 * pause_begin() - have all threads rest
 * @p:		pause that is not on; the threads run
 * @timeout_ns:	the longest wait
 *
 * Control thread.
 *
 * Return: 0; -ETIMEDOUT: a thread did not come to rest, and all go on.
 */
int pause_begin(struct pause *p, uint64_t timeout_ns);

/* pause_end_packets() - have worker and helpers go on, but not the handshaker; then comes
 * pause_end(). Control thread. */
void pause_end_packets(struct pause *p);

/* pause_end() - have all threads go on. Control thread. */
void pause_end(struct pause *p);

#endif /* ENGINE_PAUSE_H */
