/* SPDX-License-Identifier: MIT */
/*
 * The sources of endpoints, which are the local addresses that peers are
 * answered from, and the check whether they still hold. sticky.c explains when
 * that is.
 */
#ifndef ENGINE_STICKY_H
#define ENGINE_STICKY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "device/device.h"
#include "engine/rights.h"
#include "engine/sockets.h"

/**
 * struct sticky - the state of the checks
 * @device:	[I] whose peers are checked
 * @sockets:	[I] by which packets to peers are sent; locked inside
 * @rights:	[I] for questions to the kernel
 * @changed:	[c] of enum rights_family: families for which the network has
 *		changed since the last pass began
 * @asked:	[c] of enum rights_family: families for which this pass checks
 *		all peers
 * @due:	[c] when the next piece of a pass begins; 0: none is needed
 * @began:	[c] when the last pass began
 * @earliest:	[c] when the next pass may begin
 * @spent_ns:	[c] CPU time of this pass so far
 * @next:	[c] the peer that the pass goes on with, with a reference; NULL:
 *		no pass is under way
 * @has_new:	[a] a peer has an endpoint whose source was not checked yet
 *
 * [I] immutable after sticky_init(), [c] control thread only, [a] atomic. Times
 * are in ns of CLOCK_BOOTTIME.
 */
struct sticky {
	struct device *device;
	struct sockets *sockets;
	const struct rights *rights;
	unsigned int changed;
	unsigned int asked;
	uint64_t due;
	uint64_t began;
	uint64_t earliest;
	uint64_t spent_ns;
	struct peer *next;
	_Atomic bool has_new;
};

/**
 * sticky_init() - make the state, with nothing to do yet
 * @s:		caller's storage
 * @device:	borrowed until sticky_deinit()
 * @sockets:	borrowed until sticky_deinit()
 * @rights:	borrowed until sticky_deinit()
 */
void sticky_init(struct sticky *s, struct device *device,
		 struct sockets *sockets, const struct rights *rights);

/* sticky_deinit() - free all. To be called before device_deinit(), because a
 * pass that is under way holds a reference to a peer. */
void sticky_deinit(struct sticky *s);

/**
 * sticky_note_change() - the network has changed: a pass is needed
 * @s:		the state of the checks
 * @families:	of enum rights_family: whose sources may not hold any more
 * @now:	the present, in ns of CLOCK_BOOTTIME
 *
 * Cheap: may be called for each of thousands of events. Control thread.
 *
 * Return: true: call sticky_tick() soon, which returns when the pass is due;
 * false: a pass is due already.
 */
bool sticky_note_change(struct sticky *s, unsigned int families, uint64_t now);

/**
 * sticky_note_new() - a packet has brought a peer another endpoint
 * @s:		the state of the checks
 *
 * Any thread.
 *
 * Return: true: wake the control thread, so that it calls sticky_tick(); false:
 * it was woken for this already.
 */
bool sticky_note_new(struct sticky *s);

/**
 * sticky_refuse() - the kernel refused to send from a peer's source address
 * @device:	device
 * @peer:	peer
 * @to:		the endpoint that was sent to, with that source; the source is
 *		cleared here
 *
 * To be called only if a datagram has then passed without the source: otherwise
 * there may be no route from any address, and the source is not to blame. The
 * source is not used until sticky_tick() has checked it. Any thread.
 */
void sticky_refuse(struct device *device, struct peer *peer,
		   struct ug_endpoint *to);

/**
 * sticky_tick() - do a piece of a pass over all sources, if one is due
 * @s:		the state of the checks
 * @fwmark:	mark of the UDP sockets
 * @now:	the present, in ns of CLOCK_BOOTTIME
 *
 * Control thread.
 *
 * Return: when to call again, in the same clock; SCHEDULE_NEVER.
 */
uint64_t sticky_tick(struct sticky *s, uint32_t fwmark, uint64_t now);

#endif /* ENGINE_STICKY_H */
