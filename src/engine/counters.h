/* SPDX-License-Identifier: MIT */
/*
 * The numbers that the parts of an engine count, with the names that the statistics
 * socket has for them. A name is never changed and never used for another number.
 *
 * An engine that takes a tunnel over goes on counting where its predecessor stopped:
 * struct counters_base has the predecessor's numbers, and counters_visit() adds them.
 */
#ifndef ENGINE_COUNTERS_H
#define ENGINE_COUNTERS_H

#include "engine/handshaker.h"
#include "engine/lanes.h"
#include "engine/sockets.h"

enum {
	/* The most numbers, and the most bytes of a name with its zero byte.
	 * There are some 150 numbers. */
	COUNTERS_MAX = 256,
	COUNTERS_NAME_CAP = 64,
};

/**
 * struct counters_base - numbers to which those of this engine are added
 * @n:		how many numbers counters_visit() tells; 0: not known yet
 * @names:	their names, in its order
 * @values:	what is added to each
 */
struct counters_base {
	unsigned int n;
	char names[COUNTERS_MAX][COUNTERS_NAME_CAP];
	uint64_t values[COUNTERS_MAX];
};

/**
 * struct counters - where the numbers are, and who gets them
 * @lanes:	borrowed, as all that follow
 * @handshaker:	the handshaker
 * @sockets:	the UDP sockets
 * @base:	is added to the numbers; NULL: nothing
 * @put:	called with the name, borrowed for the call, and the value
 * @arg:	for @put
 * @n:		private: numbers told so far
 */
struct counters {
	const struct lanes *lanes;
	const struct handshaker *handshaker;
	struct sockets *sockets;
	const struct counters_base *base;
	void (*put)(void *arg, const char *name, uint64_t value);
	void *arg;
	unsigned int n;
};

/* counters_visit() - call @put for each number. Control thread. */
void counters_visit(struct counters *c);

/**
 * counters_add_base() - add a number to those that counters_visit() tells
 * @c:		where the numbers are; @base, @put and @arg are not read
 * @base:	all zero before the first call
 * @name:	of the number; one that is not known is ignored
 * @value:	what is added
 *
 * Control thread.
 */
void counters_add_base(const struct counters *c, struct counters_base *base,
		       const char *name, uint64_t value);

#endif /* ENGINE_COUNTERS_H */
