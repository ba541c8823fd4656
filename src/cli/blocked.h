/* SPDX-License-Identifier: MIT */
/*
 * A tunnel that has failed for good, and whose interface stays (--fail-closed). The keeper
 * holds the TUN device and reads no packet, so its addresses and routes stay, and what is
 * routed there goes nowhere. The keeper hears of the interface, and ends when that is
 * deleted.
 *
 * Main thread of the keeper.
 */
#ifndef CLI_BLOCKED_H
#define CLI_BLOCKED_H

#include <stdbool.h>

#include "engine/local.h"
#include "engine/loop.h"

/**
 * struct blocked - what the keeper waits for
 * @loop:	borrowed
 * @err:	the -errno that loop_run() returns in the end
 * @is_on:	blocked_start() was called
 */
struct blocked {
	struct loop *loop;
	int err;
	bool is_on;
};

/**
 * blocked_start() - wait until the interface is deleted, and then stop the loop
 * @blocked:	caller's storage
 * @loop:	borrowed
 * @local:	its news are not told to anybody else
 * @err:	-errno, for loop_stop()
 *
 * Return: 0; -errno: the interface cannot be watched.
 */
int blocked_start(struct blocked *blocked, struct loop *loop,
		  struct local *local, int err);

#endif /* CLI_BLOCKED_H */
