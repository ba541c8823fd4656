/* SPDX-License-Identifier: MIT */
/*
 * The local addresses that peers are answered from: which of them still hold.
 * See the essay in sticky.c.
 */
#ifndef ENGINE_STICKY_H
#define ENGINE_STICKY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "device/device.h"
#include "engine/sockets.h"
#include "tun/routes.h"

/* Families whose source addresses a change of the network may concern; flags. */
enum sticky_family {
	STICKY_IPV4 = 1,
	STICKY_IPV6 = 2,
};

/**
 * struct sticky - see above
 * @device:	[I]
 * @sockets:	[I] what packets are sent by
 * @routes:	[c] socket for questions to the kernel
 * @uid:	[c] user who opens the sockets
 * @changed:	[c] of enum sticky_family: changed since the last pass began
 * @asked:	[c] of enum sticky_family: families that this pass checks for
 *		all peers
 * @knows_ipv6:	[c] this pass has the list of IPv6 addresses
 * @has_failed:	[c] this pass asked for that list in vain
 * @due:	[c] when to go on; 0: there is nothing to do
 * @began:	[c] when the last pass began
 * @earliest:	[c] when the next pass may begin
 * @spent_ns:	[c] CPU time of this pass
 * @next:	[c] the peer to go on with, with a reference; NULL: no pass is
 *		under way
 * @has_new:	[a] a peer has an endpoint that was not checked yet
 */
struct sticky {
	struct device *device;
	struct sockets *sockets;
	struct routes routes;
	uint32_t uid;
	unsigned int changed;
	unsigned int asked;
	bool knows_ipv6;
	bool has_failed;
	uint64_t due;
	uint64_t began;
	uint64_t earliest;
	uint64_t spent_ns;
	struct peer *next;
	_Atomic bool has_new;
};

/**
 * sticky_init() - nothing to do yet
 * @s:		set up here
 * @device:	borrowed: its peers
 * @sockets:	borrowed
 *
 * Return: 0; -errno.
 */
int sticky_init(struct sticky *s, struct device *device,
		struct sockets *sockets);

/* sticky_deinit() - close and free; before device_deinit() */
void sticky_deinit(struct sticky *s);

/* sticky_start() - note the user of this thread, who opens the sockets */
void sticky_start(struct sticky *s);

/**
 * sticky_note_change() - the network is not what it was
 * @s:		the state of the checks
 * @families:	of enum sticky_family
 * @now:	the present
 *
 * Cheap: may be called for each of thousands of events. Control thread.
 *
 * Return: true if sticky_tick() must be called anew, to learn when it is due.
 */
bool sticky_note_change(struct sticky *s, unsigned int families, uint64_t now);

/**
 * sticky_note_new() - a packet has brought a peer another endpoint
 * @s:		the state of the checks
 *
 * Any thread.
 *
 * Return: true if the control thread must be woken, to call sticky_tick().
 */
bool sticky_note_new(struct sticky *s);

/**
 * sticky_refuse() - the kernel refused to send from a peer's source address
 * @device:	device
 * @peer:	peer
 * @to:		where was sent to, with that source; its source is cleared
 *
 * Only if a datagram has passed without the source: else there may be no route
 * from any address, and the source is not to blame. The source is not used
 * until sticky_tick() has checked it. Any thread.
 */
void sticky_refuse(struct device *device, struct peer *peer,
		   struct ug_endpoint *to);

/**
 * sticky_tick() - check the source addresses if it is time
 * @s:		the state of the checks
 * @fwmark:	mark of the sockets
 * @now:	the present
 *
 * Control thread.
 *
 * Return: when to call again; SCHEDULE_NEVER.
 */
uint64_t sticky_tick(struct sticky *s, uint32_t fwmark, uint64_t now);

#endif /* ENGINE_STICKY_H */
