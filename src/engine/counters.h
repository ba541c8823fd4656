/* SPDX-License-Identifier: MIT */
/*
 * The numbers that the parts of an engine count, with the names that the statistics
 * socket has for them. A name is never changed and never used for another number.
 */
#ifndef ENGINE_COUNTERS_H
#define ENGINE_COUNTERS_H

#include "engine/handshaker.h"
#include "engine/lanes.h"
#include "engine/sockets.h"

/**
 * struct counters - where the numbers are, and who gets them
 * @lanes:	borrowed, as all that follow
 * @handshaker:	the handshaker
 * @sockets:	the UDP sockets
 * @put:	called with the name, borrowed for the call, and the value
 * @arg:	for @put
 */
struct counters {
	const struct lanes *lanes;
	const struct handshaker *handshaker;
	struct sockets *sockets;
	void (*put)(void *arg, const char *name, uint64_t value);
	void *arg;
};

/* counters_visit() - call @put for each number. Control thread. */
void counters_visit(const struct counters *c);

#endif /* ENGINE_COUNTERS_H */
