/* SPDX-License-Identifier: MIT */
/*
 * The life of a data message, in pieces: each takes what the step before gave,
 * and does no crypto and no I/O, so that the caller can batch these and do them
 * wherever it likes.
 *
 *	out	session_route()		which peer, of the packet's destination
 *		send_run_begin()	keypair and a run of counters
 *		session_stage()		if that found no session
 *		send_run_header()	per message; then seal
 *		send_run_end()		after the socket has taken them
 *
 *	in	receive_run_begin()	keypair, of the receiver index; then open
 *		receive_run_take()	per authentic message, in order
 *		receive_run_end()	once for the run
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
 * struct send_run - a run of messages to one peer
 * @peer:	referenced
 * @kp:		referenced
 * @counter:	of the first message
 * @n:		how many counters were drawn
 */
struct send_run {
	struct peer *peer;
	struct noise_keypair *kp;
	uint64_t counter;
	size_t n;
};

/**
 * session_route() - which peer is a packet for?
 * @device:	device
 * @packet:	IP packet, of any alignment
 * @len:	its length
 *
 * Any thread.
 *
 * Return: the peer with a reference; NULL if the packet is none, or for nobody.
 */
struct peer *session_route(struct device *device, const uint8_t *packet,
			   size_t len);

/**
 * send_run_begin() - take the keypair to send with, and counters
 * @peer:	peer
 * @n:		how many messages
 * @now:	the present
 * @run:	filled on success; @run->n may be less than @n, never 0
 *
 * Counters leave in the order of these calls, so whoever wants order calls for
 * one peer from one place. Any thread.
 *
 * Return: 0; DEVICE_E_NO_SESSION: a handshake was asked for.
 */
int send_run_begin(struct peer *peer, size_t n, uint64_t now,
		   struct send_run *run);

/**
 * session_request() - have a handshake begin
 * @peer:	peer that packets wait for
 *
 * send_run_begin() does this by itself when it finds no session. Any thread,
 * without locks.
 */
void session_request(struct peer *peer);

/**
 * session_stage() - keep a packet until there is a session
 * @peer:	peer for which send_run_begin() found none
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
int session_stage(struct peer *peer, const void *packet, size_t len,
		  uint64_t now, size_t *n_dropped);

/**
 * send_run_header() - write the header of one message of a run
 * @run:	run
 * @i:		which, below @run->n
 * @msg:	filled
 *
 * Return: its counter, for sealing.
 */
uint64_t send_run_header(const struct send_run *run, size_t i,
			 struct message_data *msg);

/**
 * session_padded_len() - how long the text of a packet is
 * @len:	length of the packet
 * @mtu:	of the inner interface, 0: unknown
 *
 * Padding goes up to a multiple of 16, but not beyond the MTU; of a packet that
 * is longer than that, the last part counts, as the kernel module does it.
 *
 * Return: the length, at least @len.
 */
size_t session_padded_len(size_t len, size_t mtu);

/**
 * send_run_end() - the run's messages are with the socket, or lost
 * @run:	run; its references are given back
 * @len:	sum of the UDP payload that the socket took
 * @has_data:	not only keepalives
 * @now:	the present
 *
 * Any thread, without locks.
 */
void send_run_end(struct send_run *run, size_t len, bool has_data,
		  uint64_t now);

/**
 * struct receive_run - a run of messages that name one keypair
 * @peer:	referenced
 * @kp:		referenced
 * @from:	source of the last message taken
 * @n_taken:	authentic messages with new counters
 * @len:	UDP payload of those that count
 * @has_data:	not only keepalives
 */
struct receive_run {
	struct peer *peer;
	struct noise_keypair *kp;
	struct device_endpoint from;
	size_t n_taken;
	size_t len;
	bool has_data;
};

/**
 * receive_run_begin() - find the keypair of data messages
 * @device:	device
 * @receiver:	receiver index that all messages of the run have
 * @now:	the present
 * @run:	filled on success
 *
 * Any thread.
 *
 * Return: DROP_NONE; DROP_NO_INDEX, DROP_EXPIRED.
 */
enum drop_reason receive_run_begin(struct device *device, uint32_t receiver,
				   uint64_t now, struct receive_run *run);

/**
 * receive_run_take() - judge one message that has been opened
 * @run:	run
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
enum drop_reason receive_run_take(struct receive_run *run, uint64_t counter,
				  const uint8_t *text, size_t text_len,
				  const struct device_endpoint *from,
				  size_t *packet_len);

/**
 * receive_run_end() - the run is over: roam, confirm, count, tell the timers
 * @run:	run; its references are given back
 * @now:	the present
 * @realtime:	wall clock
 *
 * Any thread, without locks.
 */
void receive_run_end(struct receive_run *run, uint64_t now, uint64_t realtime);

#endif /* DEVICE_SESSION_H */
