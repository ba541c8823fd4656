/* SPDX-License-Identifier: MIT */
/*
 * What happens to peers, and why messages and packets are dropped: as lines of the
 * log, as events of the feed (engine/feed.h), and as notes that the statistics socket
 * shows. Strangers and peers can cause all of it. So each kind of line is limited in
 * rate, and so are the events about what is dropped.
 */
#ifndef ENGINE_EVENTS_H
#define ENGINE_EVENTS_H

#include "base/log.h"
#include "device/device.h"
#include "engine/feed.h"
#include "udpgather.h"

/**
 * struct events_last - the last message that was dropped for a reason
 * @from:	its sender
 * @realtime:	when, in ns of CLOCK_REALTIME; 0: none was dropped yet
 */
struct events_last {
	struct ug_endpoint from;
	uint64_t realtime;
};

/* Drops that the feed has not told yet, and its limit. */
struct events_drops {
	struct log_limit limit;
	uint64_t n;
};

/* What events_drops are counted for. */
enum events_drop {
	EVENTS_REFUSED,	 /* messages of the handshake */
	EVENTS_DATA,	 /* data messages of peers */
	EVENTS_STRANGER, /* datagrams of nobody */
	EVENTS_OUTBOUND, /* packets from the tunnel device */
	EVENTS_DROPS,
};

/**
 * struct events - what the events of an engine share
 * @mutex:	of the members with [m]; a leaf
 * @last:	[m] the last refused message of the handshake, by reason
 * @drops:	[m] by what, and by reason
 * @feed:	locked inside
 */
struct events {
	pthread_mutex_t mutex;
	struct events_last last[DROP_REASONS];
	struct events_drops drops[EVENTS_DROPS][DROP_REASONS];
	struct feed feed;
};

/**
 * events_init() - no event yet
 * @ev:		caller's storage
 * @wake:	called when the feed has something new; any thread
 * @arg:	for @wake
 */
void events_init(struct events *ev, void (*wake)(void *arg), void *arg);

/* events_deinit() - no thread tells anything any more; the feed has no readers */
void events_deinit(struct events *ev);

/* events_reason() - the name of a reason, as the statistics have it: a constant */
const char *events_reason(enum drop_reason reason);

/**
 * events_get_last() - when was a message of the handshake last dropped for a reason?
 * @ev:		events
 * @reason:	the reason
 * @last:	filled
 *
 * Any thread.
 *
 * Return: true if there was one.
 */
bool events_get_last(struct events *ev, enum drop_reason reason,
		     struct events_last *last);

/*
 * In all that follows @ev may be NULL, for parts of an engine in a test: then there
 * are lines in the log only. Any thread.
 */

/**
 * events_tell() - something has happened to a peer
 * @ev:		events
 * @event:	what
 * @peer:	the peer, borrowed
 * @was:	see @event of struct device_ops
 */
void events_tell(struct events *ev, enum device_event event, struct peer *peer,
		 const struct device_endpoint *was);

/* events_initiated() - an initiation to a peer has left */
void events_initiated(struct peer *peer);

/* events_send_failed() - the kernel has refused a message to a peer; @err: -errno */
void events_send_failed(struct peer *peer, int err);

/* events_established() - a session began; @is_initiator: by our initiation */
void events_established(struct events *ev, struct peer *peer,
			bool is_initiator);

/**
 * events_refused() - a message of the handshake was dropped
 * @ev:		events
 * @from:	its sender
 * @msg:	the message
 * @len:	its length
 * @reason:	why; DROP_NONE: the handshaker has no place for more messages
 */
void events_refused(struct events *ev, const struct ug_endpoint *from,
		    const void *msg, size_t len, enum drop_reason reason);

/**
 * events_dropped() - data messages of a peer were dropped
 * @ev:		events
 * @peer:	the peer, borrowed
 * @from:	where the last of them came from
 * @packet:	the packet inside the last of them; looked at for DROP_BAD_SOURCE
 *		only, and then a whole IP header
 * @reason:	why
 * @n:		how many, at least 1
 */
void events_dropped(struct events *ev, struct peer *peer,
		    const struct ug_endpoint *from, const uint8_t *packet,
		    enum drop_reason reason, unsigned int n);

/**
 * events_stranger() - a datagram was dropped that belongs to no session
 * @ev:		events
 * @from:	its sender
 * @reason:	DROP_BAD_MESSAGE, DROP_NO_INDEX or DROP_EXPIRED
 */
void events_stranger(struct events *ev, const struct ug_endpoint *from,
		     enum drop_reason reason);

/**
 * events_no_way() - a packet from the tunnel device was dropped
 * @ev:		events
 * @packet:	the packet, with a whole IP header
 * @peer:	the peer whose allowed IPs have its destination, which has no
 *		endpoint; NULL: there is no such peer
 */
void events_no_way(struct events *ev, const uint8_t *packet,
		   const struct peer *peer);

/* events_listening() - the sockets are open on a port; 0: they are closed */
void events_listening(struct events *ev, uint16_t port);

/**
 * events_segmentation() - what the kernel takes to an endpoint has changed
 * @ev:		events
 * @ep:		the endpoint
 * @what:	a constant: "unsegmented", "capped", "recovered" or "aside"
 * @value:	bytes of a segment, or the number of the side socket
 */
void events_segmentation(struct events *ev, const struct ug_endpoint *ep,
			 const char *what, int value);

/* events_path() - trains to a peer at @ep are lost on the way, or arrive again */
void events_path(struct events *ev, const struct ug_endpoint *ep, bool is_lost);

/**
 * events_path_mtu() - something was learnt of the MTU of the path to a peer
 * @ev:		events
 * @ep:		the peer's endpoint
 * @reason:	a constant: "mtu_told", "mtu_of_interface", "mtu_lost" or
 *		"mtu_raised"
 * @mtu:	the MTU; 0: it has no limit any more
 */
void events_path_mtu(struct events *ev, const struct ug_endpoint *ep,
		     const char *reason, uint32_t mtu);

#endif /* ENGINE_EVENTS_H */
