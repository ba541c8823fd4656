/* SPDX-License-Identifier: MIT */
/*
 * The life of a data message, in steps. Each step takes the result of the step
 * before. No step encrypts, decrypts or does I/O: the caller does that for many
 * messages at once, between the steps.
 *
 *	out	session_route()		find the peer, by the destination
 *		send_run_begin()	get the keypair, draw counters
 *		session_stage()		if there is no session: keep the packet
 *		send_run_header()	for each message; then the caller seals
 *		send_run_end()		after the socket has taken the messages
 *
 *	in	receive_run_begin()	find the keypair, by the receiver index; then
 *					the caller opens the messages
 *		receive_run_take()	for each authentic message, in order
 *		receive_run_move()	before the packets are handed on
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
 * @counter:	counter of the first message
 * @n:		number of counters that were drawn
 */
struct send_run {
	struct peer *peer;
	struct noise_keypair *kp;
	uint64_t counter;
	size_t n;
};

/**
 * session_route() - find the peer that a packet is for
 * @device:	device
 * @packet:	IP packet, of any alignment
 * @len:	its length
 *
 * Any thread.
 *
 * Return: the peer with a reference; NULL if this is no IP packet, or if no
 * peer owns its destination.
 */
struct peer *session_route(struct device *device, const uint8_t *packet,
			   size_t len);

/**
 * send_run_begin() - take the current keypair, and draw counters
 * @peer:	peer
 * @n:		how many messages are to be sent
 * @now:	the present
 * @run:	filled on success; @run->n may be less than @n, never 0
 *
 * Counters are drawn in the order of these calls. If the messages to a peer are
 * to leave in the order of their counters, only one thread at a time may make
 * the calls for this peer. Any thread.
 *
 * Return: 0; DEVICE_E_NO_SESSION: a handshake was requested.
 */
int send_run_begin(struct peer *peer, size_t n, uint64_t now,
		   struct send_run *run);

/**
 * send_run_begin_near() - as send_run_begin(), for several threads at once
 * @peer:	peer
 * @n:		how many messages are to be sent, at most NOISE_STRETCH
 * @now:	the present
 * @run:	filled on success; @run->n is less than @n only if the counters
 *		of the session end
 *
 * The threads send their messages in no common order, but the counters of two
 * messages that are on their way are less than 512 apart: see
 * noise_keypair_reserve_near(). Call send_run_begin_send() before the messages
 * are sent. Any thread.
 *
 * Return: 0; DEVICE_E_NO_SESSION: a handshake was requested; DEVICE_E_FAR: try
 * again later.
 */
int send_run_begin_near(struct peer *peer, size_t n, uint64_t now,
			struct send_run *run);

/**
 * send_run_join() - make one run of two
 * @run:	a run of send_run_begin_near()
 * @next:	the run that the same thread began next
 *
 * Return: true: @run has the counters of both, and @next is no more; false: the
 * counters of @next do not follow those of @run, and nothing has changed.
 */
bool send_run_join(struct send_run *run, struct send_run *next);

/**
 * send_run_begin_send() - the messages of a run are about to be sent, or never
 * @run:	run of send_run_begin_near()
 *
 * Once for each run. Any thread.
 *
 * Return: true: send_run_end_send() has to be called; false: another thread had
 * waited too long, and the messages must not be sent.
 */
bool send_run_begin_send(const struct send_run *run);

/* send_run_end_send() - the messages were sent, or will never be. Any thread. */
void send_run_end_send(const struct send_run *run);

/**
 * send_run_give_up() - give up messages that another thread does not send
 * @peer:	peer for which send_run_begin_near() returns DEVICE_E_FAR
 * @n:		as for that function
 *
 * Any thread.
 *
 * Return: true: try again; false: the messages are just being sent.
 */
bool send_run_give_up(struct peer *peer, size_t n);

/**
 * session_request() - request a handshake
 * @peer:	peer for which packets wait
 *
 * send_run_begin() does this itself when it finds no session. Any thread,
 * without locks.
 */
void session_request(struct peer *peer);

/**
 * session_stage() - keep a packet until there is a session
 * @peer:	peer for which send_run_begin() found no session
 * @packet:	packet; it is copied
 * @len:	its length
 * @now:	the present
 * @n_dropped:	set to the number of packets that were dropped to make room
 *
 * Any thread.
 *
 * Return: 0; DEVICE_E_FLUSH: the packet was kept, but a session has begun
 * meanwhile, so the caller has to send the staged packets, because
 * device_ops.session_ready may have found none; -EMSGSIZE.
 */
int session_stage(struct peer *peer, const void *packet, size_t len,
		  uint64_t now, size_t *n_dropped);

/**
 * send_run_header() - write the header of one message of a run
 * @run:	run
 * @i:		number of the message, below @run->n
 * @msg:	filled
 *
 * Return: the counter of the message, for sealing.
 */
uint64_t send_run_header(const struct send_run *run, size_t i,
			 struct message_data *msg);

/**
 * session_padded_len() - the length of a packet with its padding
 * @len:	length of the packet
 * @mtu:	MTU of the inner interface, 0: unknown
 *
 * The padding brings the length to a multiple of 16, but not beyond the MTU. Of
 * a packet that is longer than the MTU, only the part behind the last multiple
 * of the MTU is padded, as the kernel module does it.
 *
 * Return: the length, at least @len.
 */
size_t session_padded_len(size_t len, size_t mtu);

/**
 * send_run_end() - end a run, after the socket has taken or refused its messages
 * @run:	run; its references are given back
 * @len:	sum of the UDP payload that the socket took
 * @has_data:	one of the messages carried a packet
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
 * @n_taken:	number of authentic messages with new counters
 * @len:	sum of the UDP payload of those of them that were not dropped
 * @has_data:	one of them carried a packet
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
 * @text:	decrypted contents of the message
 * @text_len:	their length with padding; 0: a keepalive
 * @from:	where the datagram came from
 * @packet_len:	set to the length of the IP packet, without padding; 0 for a
 *		keepalive
 *
 * Any thread; call it for the messages of a run in the order of their arrival.
 *
 * Return: DROP_NONE; DROP_REPLAYED, DROP_BAD_PACKET, DROP_BAD_SOURCE.
 */
enum drop_reason receive_run_take(struct receive_run *run, uint64_t counter,
				  const uint8_t *text, size_t text_len,
				  const struct device_endpoint *from,
				  size_t *packet_len);

/**
 * receive_run_move() - move the peer to the source of the run's last message
 * @run:	run
 *
 * Call it before the packets are handed on. Another thread may send the answer to one
 * of them at once. If that left from the local address of before, the peer would move
 * back to it. Any thread, without locks.
 */
void receive_run_move(const struct receive_run *run);

/**
 * receive_run_end() - end a run: confirm the keypair, count, and note times for the
 *		       timers
 * @run:	run; its references are given back
 * @now:	the present
 * @realtime:	wall clock
 *
 * Any thread, without locks.
 */
void receive_run_end(struct receive_run *run, uint64_t now, uint64_t realtime);

#endif /* DEVICE_SESSION_H */
