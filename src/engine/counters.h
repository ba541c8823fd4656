/* SPDX-License-Identifier: MIT */
/*
 * The numbers that the parts of an engine count, with the names that the statistics
 * socket has for them. A name is never changed and never used for another number.
 */
#ifndef ENGINE_COUNTERS_H
#define ENGINE_COUNTERS_H

#include "engine/handshaker.h"
#include "engine/inbound.h"
#include "engine/outbound.h"
#include "tun/tun.h"

/**
 * struct counters - where the numbers are, and who gets them
 * @in4:	borrowed, as all that follow
 * @in6:	the inbound lane of IPv6
 * @out:	the outbound lane
 * @handshaker:	the handshaker
 * @tun:	the TUN device
 * @put:	called with the name, borrowed for the call, and the value
 * @arg:	for @put
 */
struct counters {
	const struct inbound_lane *in4;
	const struct inbound_lane *in6;
	const struct outbound_lane *out;
	const struct handshaker *handshaker;
	const struct tun *tun;
	void (*put)(void *arg, const char *name, uint64_t value);
	void *arg;
};

/* counters_visit() - call @put for each number. Control thread. */
void counters_visit(const struct counters *c);

#endif /* ENGINE_COUNTERS_H */
