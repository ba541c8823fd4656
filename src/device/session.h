/* SPDX-License-Identifier: MIT */
/*
 * The life of a data message, in pieces: each takes what the step before gave,
 * and does no crypto and no I/O, so that the caller can batch these and do them
 * wherever it likes.
 *
 *	out	outbound_route()	which peer, of the packet's destination
 *		outbound_begin()	keypair and a run of counters
 *		outbound_stage()	if that found no session
 *		outbound_header()	per message; then seal
 *		outbound_end()		after the socket has taken them
 *
 *	in	inbound_begin()		keypair, of the receiver index; then open
 *		inbound_take()		per authentic message, in order
 *		inbound_end()		once for the run
 *
 * A run belongs to the thread that began it, until it ends. It holds references
 * to its peer and its keypair.
 */
#ifndef DEVICE_SESSION_H
#define DEVICE_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/device.h"
#include "noise/wire.h"

/**
 * struct outbound - a run of messages to one peer
 * @peer:	referenced
 * @kp:		referenced
 * @counter:	of the first message
 * @n:		how many counters were drawn
 */
struct outbound {
	struct peer *peer;
	struct noise_keypair *kp;
	uint64_t counter;
	size_t n;
};

/**
 * outbound_route() - which peer is a packet for?
 * @device:	device
 * @packet:	IP packet, of any alignment
 * @len:	its length
 *
 * Any thread.
 *
 * Return: the peer with a reference; NULL if the packet is none, or for nobody.
 */
struct peer *outbound_route(struct device *device, const uint8_t *packet,
			    size_t len);

/**
 * outbound_begin() - take the keypair to send with, and counters
 * @peer:	peer
 * @n:		how many messages
 * @now:	the present
 * @out:	filled on success; @out->n may be less than @n, never 0
 *
 * Counters leave in the order of these calls, so whoever wants order calls for
 * one peer from one place. Any thread.
 *
 * Return: 0; DEVICE_E_NO_SESSION: a handshake was asked for.
 */
int outbound_begin(struct peer *peer, size_t n, uint64_t now,
		   struct outbound *out);

/**
 * outbound_want_session() - have a handshake begin
 * @peer:	peer that packets wait for
 *
 * outbound_begin() does this by itself when it finds no session. Any thread,
 * without locks.
 */
void outbound_want_session(struct peer *peer);

/**
 * outbound_stage() - keep a packet until there is a session
 * @peer:	peer for which outbound_begin() found none
 * @packet:	copied
 * @len:	its length
 * @now:	the present
 * @n_dropped:	set to the number of packets that had to go for it
 *
 * Any thread.
 *
 * Return: 0; DEVICE_E_FLUSH: the session came meanwhile, flush the queue (its
 * end may not have been told otherwise); -EMSGSIZE.
 */
int outbound_stage(struct peer *peer, const void *packet, size_t len,
		   uint64_t now, size_t *n_dropped);

/**
 * outbound_header() - write the header of one message of a run
 * @out:	run
 * @i:		which, below @out->n
 * @msg:	filled
 *
 * Return: its counter, for sealing.
 */
uint64_t outbound_header(const struct outbound *out, size_t i,
			 struct message_data *msg);

/**
 * outbound_padded_len() - how long the text of a packet is
 * @len:	length of the packet
 * @mtu:	of the inner interface, 0: unknown
 *
 * Padding goes up to a multiple of 16, but not beyond the MTU; of a packet that
 * is longer than that, the last part counts, as the kernel module does it.
 *
 * Return: the length, at least @len.
 */
size_t outbound_padded_len(size_t len, size_t mtu);

/**
 * outbound_end() - the run's messages are with the socket, or lost
 * @out:	run; its references are given back
 * @len:	sum of the UDP payload that the socket took
 * @has_data:	not only keepalives
 * @now:	the present
 *
 * Any thread, without locks.
 */
void outbound_end(struct outbound *out, size_t len, bool has_data,
		  uint64_t now);

/**
 * struct inbound - a run of messages that name one keypair
 * @peer:	referenced
 * @kp:		referenced
 * @from:	source of the last message taken
 * @n_taken:	authentic messages with new counters
 * @len:	UDP payload of those that count
 * @has_data:	not only keepalives
 */
struct inbound {
	struct peer *peer;
	struct noise_keypair *kp;
	struct device_endpoint from;
	size_t n_taken;
	size_t len;
	bool has_data;
};

/**
 * inbound_begin() - find the keypair of data messages
 * @device:	device
 * @receiver:	receiver index that all messages of the run have
 * @now:	the present
 * @in:		filled on success
 *
 * Any thread.
 *
 * Return: DROP_NONE; DROP_NO_INDEX, DROP_EXPIRED.
 */
enum drop_reason inbound_begin(struct device *device, uint32_t receiver,
			       uint64_t now, struct inbound *in);

/**
 * inbound_take() - judge one message that has been opened
 * @in:		run
 * @counter:	of the message
 * @text:	what was inside
 * @text_len:	its length with padding; 0 is a keepalive
 * @from:	where the datagram came from
 * @packet_len:	set to the length of the IP packet, without padding; 0 for a
 *		keepalive
 *
 * Any thread, messages of one run in the order in which they arrived.
 *
 * Return: DROP_NONE; DROP_REPLAYED, DROP_BAD_PACKET, DROP_BAD_SOURCE.
 */
enum drop_reason inbound_take(struct inbound *in, uint64_t counter,
			      const uint8_t *text, size_t text_len,
			      const struct device_endpoint *from,
			      size_t *packet_len);

/**
 * inbound_end() - the run is over: roam, confirm, count, tell the timers
 * @in:		run; its references are given back
 * @now:	the present
 * @realtime:	wall clock
 *
 * Any thread, without locks.
 */
void inbound_end(struct inbound *in, uint64_t now, uint64_t realtime);

#endif /* DEVICE_SESSION_H */
