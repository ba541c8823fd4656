/* SPDX-License-Identifier: MIT */
/*
 * The handshaker: the thread for public-key work. The lanes do none of it, so a
 * handshake never delays data.
 *
 * Messages that arrive are copied into a ring of fixed size. The batch that
 * brought them does not wait for the handshaker, so a flood of handshakes takes
 * no receive memory from data. Messages that find no place are dropped.
 *
 * Load is the state in which a sender has to show a cookie. It begins when the
 * ring is half full. It also begins when many key agreements within a second
 * were for messages that were then dropped: the handshaker may keep up with a
 * flood, so that the ring stays empty, and yet spend most of a core on it.
 *
 * Load has a price: a newcomer without a cookie asks again only REKEY_TIMEOUT
 * (5 s) after its first message. A flood of 1.5 Mbit/s, which costs us 4 % of a
 * core, must not delay all newcomers like that. Therefore load begins only when
 * a flood takes nearly half a core, or when messages wait for about 20 ms. If
 * the other threads are busy with packets, load begins when a flood takes a
 * fifth of a core, because existing sessions need the CPU more than newcomers.
 *
 * Some messages never get a place in the ring, because the thread that receives
 * them drops them, which costs one hash: messages with a wrong mac1, and
 * responses whose receiver index is not that of an initiation of ours that
 * waits for its response. (An observer sees the indexes of our sessions, and
 * can put one into a response; that response is dropped, too.) The receiving
 * thread also handles cookie replies itself.
 *
 * Three quarters of the ring are for all messages with a valid mac1, which
 * anybody can make who knows our public key. The last quarter is for messages
 * with a valid cookie, whose senders have proved that they receive at their
 * address, and for the first responses to each initiation of ours. Therefore a
 * flood from forged sources can delay the first message of a newcomer, but not
 * its second, which has our cookie. An observer who sees our initiation can
 * forge those first responses. Then the true response comes too late, and we
 * answer it with a cookie reply. The peer's response to our next initiation has
 * that cookie.
 *
 * While the engine is paused (engine_pause()) the thread rests. Before that it does
 * HANDSHAKE_LAST_ROUNDS more rounds, which are enough if there is no flood. All else
 * stays in the rings for the time after the pause. If another process takes the tunnel
 * over in the pause, those messages are lost, and their senders try again after
 * REKEY_TIMEOUT.
 */
#ifndef ENGINE_HANDSHAKER_H
#define ENGINE_HANDSHAKER_H

#include <pthread.h>

#include "base/ring.h"
#include "device/handshake.h"
#include "engine/bounds.h"
#include "engine/events.h"
#include "engine/pulse.h"
#include "engine/sockets.h"

/* A handshake message that waits. */
struct handshake_message {
	struct ug_endpoint from;
	uint16_t len;
	uint8_t bytes[MESSAGE_HANDSHAKE_MAX_LEN];
};

/**
 * struct handshaker - the thread, and what waits for it
 * @device:	[I]
 * @sockets:	[I] locked inside
 * @batch:	[h] for ug_send()
 * @mutex:	of the members with [m]; a leaf
 * @wake:	signalled when there is something to do
 * @messages:	[m] HANDSHAKE_RING places for messages
 * @waiting:	[m] which places of @messages are in use
 * @initiations: [m] HANDSHAKE_INITIATIONS places for peers that are to get an
 *		initiation; each holds a reference
 * @asked:	[m] which places of @initiations are in use
 * @is_crowded:	[a] written under @mutex: HANDSHAKE_CROWDED messages or more are
 *		waiting
 * @is_poked:	[m] the thread is to go once round its loop
 * @is_paused:	[m] the thread is to rest
 * @is_resting:	[m] with @is_paused: the thread has come to rest
 * @n_last:	[m] with @is_paused: rounds that are left before the rest
 * @rested:	signalled when @is_resting is set
 * @is_stopped:	[m] the thread is to end
 * @pulse:	[a] written by the thread
 * @thread:	[I]
 * @loaded_until: [h] when load ends, in ns; the past: there is no load
 * @n_failed:	[h] key agreements for messages that were then dropped, in the
 *		second that ends at @failed_until
 * @failed_until: [h] end of the second in which @n_failed is counted, in ns
 * @others_cpu: [I] CPU time of all threads but the handshaker, in ns:
 *		now_others_cpu(), or a test's function
 * @failed_others: [h] @others_cpu() when that second began
 * @events:	[I] is told of refusals, or NULL; the owner sets it after
 *		handshaker_init(); locked inside
 * @received:	[a] handshake messages that arrived
 * @overflows:	[a] messages for which the ring had no place
 * @drops:	[a] messages that were dropped for another reason, by reason
 *
 * [I] immutable once the thread runs, [a] atomic, [h] the thread's own, [m]
 * under @mutex. Times are of CLOCK_BOOTTIME.
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
	bool is_paused;
	bool is_resting;
	unsigned int n_last;
	pthread_cond_t rested;
	bool is_stopped;
	struct pulse pulse;
	pthread_t thread;
	uint64_t loaded_until;
	uint32_t n_failed;
	uint64_t failed_until;
	uint64_t (*others_cpu)(void);
	uint64_t failed_others;
	struct events *events;
	_Atomic uint64_t received;
	_Atomic uint64_t overflows;
	_Atomic uint64_t drops[DROP_REASONS];
};

/**
 * handshaker_init() - make the rings; the thread does not run yet
 * @h:		caller's storage, all zero
 * @device:	borrowed until handshaker_deinit()
 * @sockets:	borrowed until handshaker_deinit()
 *
 * Return: 0; -ENOMEM.
 */
int handshaker_init(struct handshaker *h, struct device *device,
		    struct sockets *sockets);

/* handshaker_deinit() - free all; the thread is stopped, or was never started.
 * The calling thread is registered with RCU, because peers may be freed. */
void handshaker_deinit(struct handshaker *h);

/* handshaker_start() - start the thread. Return: 0; -errno. */
int handshaker_start(struct handshaker *h);

/* handshaker_stop() - end the thread and wait for it */
void handshaker_stop(struct handshaker *h);

/**
 * handshaker_pause() - have the thread come to rest until handshaker_resume()
 * @h:		handshaker; before handshaker_start() or after it
 * @n_last:	rounds that it may still do before that
 *
 * Does not wait for it. Control thread.
 */
void handshaker_pause(struct handshaker *h, unsigned int n_last);

/**
 * handshaker_await_rest() - wait until the thread rests, after handshaker_pause()
 * @h:		handshaker
 * @end_ns:	of now_monotonic()
 *
 * Afterwards all that the thread has written is visible. Control thread.
 *
 * Return: 0; -ETIMEDOUT: it works at @end_ns.
 */
int handshaker_await_rest(struct handshaker *h, uint64_t end_ns);

/* handshaker_resume() - let the thread go on. Control thread. */
void handshaker_resume(struct handshaker *h);

/* handshaker_poke() - have the thread go once round its loop, where it calls
 * sockets_enter(). Any thread. */
void handshaker_poke(struct handshaker *h);

/**
 * handshaker_round() - handle one message and send one initiation, if they wait
 * @h:		handshaker
 * @sock:	sockets to send by; NULL: the messages are not sent
 * @now:	the present, in ns of CLOCK_BOOTTIME
 *
 * A round has one of each, so that many messages cannot hold up the
 * initiations, nor the reverse. The mutex is not held while keys are computed.
 * The handshaker's thread; or another one, if the handshaker was not started.
 */
void handshaker_round(struct handshaker *h, struct ug_socket *sock,
		      uint64_t now);

/**
 * handshaker_receive() - take a handshake message that has arrived
 * @h:		handshaker
 * @msg:	copied; message_check() found it to be an initiation, a response
 *		or a cookie reply
 * @len:	its length
 * @from:	endpoint of its sender; copied
 * @now:	the present, in ns of CLOCK_BOOTTIME
 *
 * The message gets a place in the ring, or is dropped. A cookie reply is
 * handled at once. The call never waits while keys are computed. Any thread
 * that is registered with RCU.
 */
void handshaker_receive(struct handshaker *h, const void *msg, size_t len,
			const struct ug_endpoint *from, uint64_t now);

/**
 * handshaker_initiate() - have an initiation sent to a peer
 * @h:		handshaker
 * @peer:	borrowed
 *
 * If too many peers wait, the request is lost, and the peer's timer will ask
 * again. Any thread.
 */
void handshaker_initiate(struct handshaker *h, struct peer *peer);

/* handshaker_count_initiations() - how many peers wait for their initiation. Any thread. */
size_t handshaker_count_initiations(struct handshaker *h);

#endif /* ENGINE_HANDSHAKER_H */
