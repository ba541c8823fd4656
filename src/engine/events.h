/* SPDX-License-Identifier: MIT */
/*
 * What happens to peers, and why messages and packets are dropped, as lines of the
 * log. All of it can be caused by strangers or by peers, so each kind of line is
 * limited in rate.
 */
#ifndef ENGINE_EVENTS_H
#define ENGINE_EVENTS_H

#include "device/device.h"
#include "udpgather.h"

/**
 * events_tell() - something has happened to a peer
 * @event:	what
 * @peer:	the peer, borrowed
 * @was:	see @event of struct device_ops
 *
 * Any thread.
 */
void events_tell(enum device_event event, struct peer *peer,
		 const struct device_endpoint *was);

/**
 * events_refused() - a message of the handshake was dropped
 * @from:	its sender
 * @msg:	the message
 * @len:	its length
 * @reason:	why; DROP_NONE: the handshaker has no place for more messages
 *
 * Any thread.
 */
void events_refused(const struct ug_endpoint *from, const void *msg, size_t len,
		    enum drop_reason reason);

/**
 * events_dropped() - data messages of a peer were dropped
 * @peer:	the peer, borrowed
 * @from:	where the last of them came from
 * @packet:	the packet inside the last of them; looked at for DROP_BAD_SOURCE
 *		only, and then a whole IP header
 * @reason:	why
 * @n:		how many, at least 1
 *
 * Any thread.
 */
void events_dropped(const struct peer *peer, const struct ug_endpoint *from,
		    const uint8_t *packet, enum drop_reason reason,
		    unsigned int n);

/**
 * events_stranger() - a datagram was dropped that belongs to no session
 * @from:	its sender
 * @reason:	DROP_BAD_MESSAGE, DROP_NO_INDEX or DROP_EXPIRED
 *
 * Any thread.
 */
void events_stranger(const struct ug_endpoint *from, enum drop_reason reason);

/**
 * events_no_way() - a packet from the tunnel device was dropped
 * @packet:	the packet, with a whole IP header
 * @peer:	the peer whose allowed IPs have its destination, which has no
 *		endpoint; NULL: there is no such peer
 *
 * Any thread.
 */
void events_no_way(const uint8_t *packet, const struct peer *peer);

#endif /* ENGINE_EVENTS_H */
