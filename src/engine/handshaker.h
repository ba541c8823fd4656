/* SPDX-License-Identifier: MIT */
/*
 * The thread for public-key work, so that it never holds up data. What comes
 * in is copied into a ring of fixed size: a flood pins no receive memory, and
 * what does not fit is dropped. A ring that is half full means load: then a
 * sender has to show a cookie. Many key agreements that come to nothing mean
 * load, too: a flood that the thread can keep up with does not fill the ring,
 * and yet may take most of a core.
 *
 * Load has a price: a newcomer without a cookie asks again only REKEY_TIMEOUT
 * (5 s) after its first message. A flood of 1.5 Mbit/s, which costs us 4 % of a
 * core, must not delay all newcomers like that. Therefore load begins only when
 * a flood takes nearly half a core, or when messages wait for about 20 ms. While
 * the other threads are busy with packets, load begins when a flood takes a
 * fifth of a core: sessions need that time, and must not wait for strangers.
 *
 * Some messages never get a place in the ring. The thread that receives them
 * drops them at the price of one hash: messages with a wrong mac1, and
 * responses to no initiation of ours. Each message to us shows observers the
 * index of a session; a response with that index is dropped, too. Cookie
 * replies are handled by the thread that receives them.
 *
 * Three quarters of the ring are for all messages, also those that need no more
 * than our public key. The last quarter is for senders that have shown that
 * they get what is sent to their address, and for the first responses to each
 * initiation of ours. Therefore a flood from forged sources can delay the first
 * message of a newcomer, but not the one that brings our cookie back. An
 * observer who sees our initiation can forge those first responses. The true
 * response then comes too late and is asked for a cookie; the peer's response
 * to our next initiation brings that.
 */
#ifndef ENGINE_HANDSHAKER_H
#define ENGINE_HANDSHAKER_H

#include <pthread.h>

#include "base/ring.h"
#include "device/handshake.h"
#include "engine/bounds.h"
#include "engine/sockets.h"

/* A message of the handshake that waits. */
struct handshake_message {
	struct ug_endpoint from;
	uint16_t len;
	uint8_t bytes[MESSAGE_HANDSHAKE_MAX_LEN];
};

/**
 * struct handshaker - see above
 * @device:	[I]
 * @sockets:	[I] locked inside
 * @batch:	[h] for ug_send()
 * @mutex:	of what follows
 * @wake:	something to do
 * @messages:	[m] HANDSHAKE_RING places
 * @waiting:	[m] which of them are in use
 * @initiations: [m] peers to send an initiation to, with references
 * @asked:	[m] which of them are in use
 * @is_crowded:	[a] written under @mutex: HANDSHAKE_CROWDED messages or more are
 *		waiting
 * @is_poked:	[m] go once round the loop
 * @is_stopped:	[m] end
 * @thread:	[I]
 * @loaded_until: [h] we are under load until then
 * @n_failed:	[h] key agreements that came to nothing, in the second that ends
 *		at @failed_until
 * @failed_until:	[h] end of the second in which @n_failed is counted
 * @others_cpu: [I] now_others_cpu(), or a test's function
 * @failed_others: [h] CPU time of the other threads when that second began
 * @received:	[a] messages that came
 * @overflows:	[a] messages that did not fit the ring
 * @drops:	[a] messages that were dropped, by reason
 *
 * [h] is the thread's own, [m] under @mutex.
 */
struct handshaker {
	struct device *device;
	struct sockets *sockets;
	struct ug_batch *batch;
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	struct handshake_message *messages;
	struct ring waiting;
	struct peer **initiations;
	struct ring asked;
	_Atomic bool is_crowded;
	bool is_poked;
	bool is_stopped;
	pthread_t thread;
	uint64_t loaded_until;
	uint32_t n_failed;
	uint64_t failed_until;
	uint64_t (*others_cpu)(void);
	uint64_t failed_others;
	_Atomic uint64_t received;
	_Atomic uint64_t overflows;
	_Atomic uint64_t drops[DROP_REASONS];
};

/* handshaker_init() - caller's storage, all zero. Return: 0; -ENOMEM. */
int handshaker_init(struct handshaker *h, struct device *device,
		    struct sockets *sockets);

/* handshaker_deinit() - stopped, or never started. Registered with RCU. */
void handshaker_deinit(struct handshaker *h);

/* handshaker_start() - start the thread. Return: 0; -errno. */
int handshaker_start(struct handshaker *h);

/* handshaker_stop() - end the thread and wait for it */
void handshaker_stop(struct handshaker *h);

/* handshaker_poke() - have it go once round its loop. Any thread. */
void handshaker_poke(struct handshaker *h);

/**
 * handshaker_round() - do what is there, without waiting
 * @h:		handshaker
 * @sock:	to answer by, or NULL
 * @now:	the present
 *
 * One initiation and one message a round: neither can starve the other. The
 * mutex is not held while keys are computed. The handshaker's thread, which
 * handshaker_start() starts, or whoever does its work instead.
 */
void handshaker_round(struct handshaker *h, struct ug_socket *sock,
		      uint64_t now);

/**
 * handshaker_receive() - take a message of the handshake
 * @h:		handshaker
 * @msg:	copied; message_check() found it to be of type 1, 2 or 3
 * @len:	its length
 * @from:	who sent it; copied
 * @now:	the present
 *
 * What is not worth a place is dropped here. Any registered thread; never waits
 * for the thread's work.
 */
void handshaker_receive(struct handshaker *h, const void *msg, size_t len,
			const struct ug_endpoint *from, uint64_t now);

/**
 * handshaker_initiate() - send an initiation to a peer
 * @h:		handshaker
 * @peer:	borrowed
 *
 * Any thread. If too many wait, the peer's timer asks again.
 */
void handshaker_initiate(struct handshaker *h, struct peer *peer);

#endif /* ENGINE_HANDSHAKER_H */
