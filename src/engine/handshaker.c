/* SPDX-License-Identifier: MIT */
/*
 * In each round the handshaker's thread handles one message and sends one
 * initiation. It sleeps when both rings are empty. The header says when load
 * begins and which messages get a place. device/handshake.h makes and judges the
 * messages; this file only queues, sends and counts them.
 */
#include "engine/handshaker.h"

#include <errno.h>
#include <stdlib.h>

#include "base/counter.h"
#include "base/log.h"
#include "base/now.h"
#include "engine/endpoint.h"
#include "engine/events.h"
#include "engine/sticky.h"
#include "engine/thread.h"

enum {
	/* TOS of handshake messages, as the kernel module has it: DSCP AF41,
	 * ECN Not-ECT. */
	HANDSHAKE_TOS = 0x88,
};

/*
 * Send one message; @peer is NULL if the receiver is no peer. If the socket is
 * full the message is dropped: waiting would delay the messages to other peers.
 * Return: true if the kernel took it.
 */
static bool send_message(struct handshaker *h, struct ug_socket *sock,
			 struct peer *peer, const struct device_endpoint *to,
			 const void *msg, size_t len)
{
	struct ug_endpoint ep;
	struct iovec iov = { unconst(msg), len };
	struct ug_datagram d = {
		.iov = &iov,
		.n_iov = 1,
		.tos = HANDSHAKE_TOS,
		.to = &ep,
	};
	int status;

	if (!sock)
		return false;
	endpoint_from_device(&ep, to);
	if (ug_send(sock, h->batch, NULL, &d, 1, &status, 0) != 1) {
		if (peer && status < 0)
			events_send_failed(peer, status);
		return false;
	}
	if (peer && ug_refused_source(h->batch))
		sticky_refuse(h->device, peer, &ep);
	return true;
}

static void initiate(struct handshaker *h, struct ug_socket *sock,
		     struct peer *peer, uint64_t now)
{
	struct message_initiation msg;
	struct device_endpoint to;
	int r = device_make_initiation(peer, now, now_realtime(), &msg, &to);

	if (r == 0 && send_message(h, sock, peer, &to, &msg, sizeof(msg))) {
		peer_count_sent(peer, sizeof(msg));
		events_initiated(peer);
	}
}

/* A cookie is bound to address and port (WireGuard paper, section 5.4.7). */
static void fill_source(struct device_origin *origin,
			const struct ug_endpoint *from)
{
	bool v4 = from->addr.any.sa_family == AF_INET;
	const void *addr = v4 ? (const void *)&from->addr.v4.sin_addr
			      : (const void *)&from->addr.v6.sin6_addr;
	const void *port =
		v4 ? &from->addr.v4.sin_port : &from->addr.v6.sin6_port;
	size_t addr_len = v4 ? 4 : 16;

	memcpy(origin->source, addr, addr_len);
	memcpy(origin->source + addr_len, port, 2);
	origin->source_len = addr_len + 2;
}

/* Have the other threads been busy since @n_failed began to count? */
static bool others_are_busy(const struct handshaker *h, uint64_t now)
{
	uint64_t passed = now - (h->failed_until - NSEC_PER_SEC);

	/* The two readings are compared, not subtracted: the clocks of idle
	 * threads may seem to go back a little, and a difference would wrap. */
	return h->others_cpu() > h->failed_others + passed / 100 * OTHERS_BUSY;
}

/*
 * A message was dropped: it was forged or replayed, or its peer may not begin a
 * handshake now. Count the key agreements that it may have cost: one for an
 * initiation, two for a response. If AGREEMENTS_FAILED are reached within a
 * second, load begins. If AGREEMENTS_FAILED_BUSY are reached, load begins only
 * if the other threads have been busy in that second.
 */
static void note_failed(struct handshaker *h, const void *msg, size_t len,
			uint64_t now)
{
	uint32_t before;

	if (now >= h->failed_until) {
		h->failed_until = now + NSEC_PER_SEC;
		h->failed_others = h->others_cpu();
		h->n_failed = 0;
	}
	before = h->n_failed;
	h->n_failed += message_check(msg, len) == MESSAGE_RESPONSE ? 2 : 1;
	if (h->n_failed >= AGREEMENTS_FAILED ||
	    (before < AGREEMENTS_FAILED_BUSY &&
	     h->n_failed >= AGREEMENTS_FAILED_BUSY && others_are_busy(h, now)))
		h->loaded_until = now + LOADED_BY_FAILED_S * NSEC_PER_SEC;
}

static void answer_message(struct handshaker *h, struct ug_socket *sock,
			   const struct handshake_message *m, uint64_t now)
{
	static struct log_limit limit;
	struct device_origin origin = { .is_under_load =
						now < h->loaded_until };
	struct device_answer answer = { 0 };
	enum drop_reason reason;

	endpoint_to_device(&origin.endpoint, &m->from);
	fill_source(&origin, &m->from);
	reason = device_receive_handshake(h->device, m->bytes, m->len, &origin,
					  now, now_realtime(), &answer);
	if (reason != DROP_NONE) {
		counter_add(&h->drops[reason], 1);
		events_refused(h->events, &m->from, m->bytes, m->len, reason);
	}
	/* Under load nothing is counted, because most messages then cost no key
	 * agreement. A sender with a valid cookie may cause some, but its rate
	 * is limited; it must not be able to prolong load for others. */
	if (reason != DROP_NONE && !origin.is_under_load)
		note_failed(h, m->bytes, m->len, now);
	if (answer.len &&
	    send_message(h, sock, answer.peer, &origin.endpoint, answer.buf,
			 answer.len) &&
	    answer.peer) {
		peer_count_sent(answer.peer, answer.len);
		log_limited(&limit, "answered handshake initiation of %s",
			    thread_peer_name(answer.peer));
	}
	peer_put(answer.peer);
}

/* Tell screen() how full the ring is. Under the mutex. */
static void note_crowd(struct handshaker *h)
{
	/* Partner: screen(). */
	atomic_store_explicit(&h->is_crowded, h->waiting.n >= HANDSHAKE_CROWDED,
			      memory_order_relaxed);
}

/* Is a round to be done? Under the mutex. */
static bool has_work(const struct handshaker *h)
{
	return (h->waiting.n || h->asked.n) && (!h->is_paused || h->n_last);
}

/* The thread does nothing until it is woken. Under the mutex. */
static void note_rest(struct handshaker *h)
{
	if (!h->is_paused || h->is_resting)
		return;
	/* Partner: handshaker_await_rest(). */
	h->is_resting = true;
	pthread_cond_signal(&h->rested);
}

/* Wait for something to do. Under the mutex. */
static void wait_for_work(struct handshaker *h)
{
	pulse_rest(&h->pulse);
	while (!has_work(h) && !h->is_poked && !h->is_stopped) {
		note_rest(h);
		pthread_cond_wait(&h->wake, &h->mutex);
	}
	h->is_poked = false;
}

/* Wait for the next turn of the loop. @has_round: set to whether the turn has a round.
 * Return: false: end. */
static bool await_turn(struct handshaker *h, bool *has_round)
{
	bool go_on;

	pthread_mutex_lock(&h->mutex);
	if (!has_work(h))
		wait_for_work(h);
	*has_round = has_work(h);
	if (*has_round && h->is_paused)
		h->n_last--;
	go_on = !h->is_stopped;
	pthread_mutex_unlock(&h->mutex);
	return go_on;
}

void handshaker_round(struct handshaker *h, struct ug_socket *sock,
		      uint64_t now)
{
	struct handshake_message m;
	struct peer *peer = NULL;
	bool has_message;

	pthread_mutex_lock(&h->mutex);
	/* Messages come faster than they are answered. Load lasts for another
	 * second, so that it does not begin and end many times a second. */
	if (h->waiting.n >= HANDSHAKE_LOADED)
		h->loaded_until = now + NSEC_PER_SEC;
	has_message = h->waiting.n > 0;
	if (has_message) {
		m = h->messages[ring_pop(&h->waiting)];
		note_crowd(h);
	}
	if (h->asked.n)
		peer = h->initiations[ring_pop(&h->asked)];
	pthread_mutex_unlock(&h->mutex);
	if (has_message)
		answer_message(h, sock, &m, now);
	if (peer) {
		initiate(h, sock, peer, now);
		peer_put(peer);
	}
}

static void *handshaker_main(void *arg)
{
	struct handshaker *h = arg;
	uint64_t seen = 0;
	bool has_round;

	thread_begin("handshaker");
	while (await_turn(h, &has_round)) {
		struct ug_socket *sock = sock_group_main(
			sockets_enter(h->sockets, SOCKETS_HANDSHAKER, &seen));

		pulse_turn(&h->pulse);
		if (has_round)
			handshaker_round(h, sock, now_boottime());
	}
	sockets_leave(h->sockets, SOCKETS_HANDSHAKER);
	thread_end();
	return NULL;
}

/* Put a message into the ring. Return: false if there is no place for it. */
static bool push_message(struct handshaker *h, const void *msg, size_t len,
			 const struct ug_endpoint *from, bool is_proven)
{
	uint32_t cap = is_proven ? HANDSHAKE_RING : HANDSHAKE_CROWDED;
	struct handshake_message *m;

	if (h->waiting.n >= cap)
		return false;
	m = &h->messages[ring_push(&h->waiting)];
	m->from = *from;
	m->len = (uint16_t)len;
	memcpy(m->bytes, msg, len);
	if (h->waiting.n == 1)
		pthread_cond_signal(&h->wake);
	note_crowd(h);
	return true;
}

/* May an initiation or a response enter the ring? Return: DROP_NONE if so. */
static enum drop_reason screen(struct handshaker *h, const void *msg,
			       size_t len, const struct ug_endpoint *from,
			       uint64_t now, bool *is_proven)
{
	struct device_origin origin = {
		/* Partner: note_crowd(). If the value is out of date, one
		 * message more or less gets a place. */
		.is_under_load = atomic_load_explicit(&h->is_crowded,
						      memory_order_relaxed),
	};

	fill_source(&origin, from);
	return device_screen_handshake(h->device, msg, len, &origin, now,
				       is_proven);
}

void handshaker_receive(struct handshaker *h, const void *msg, size_t len,
			const struct ug_endpoint *from, uint64_t now)
{
	bool is_cookie = message_check(msg, len) == MESSAGE_COOKIE;
	bool is_proven = false;
	enum drop_reason reason;
	bool is_taken;

	counter_add(&h->received, 1);
	reason = is_cookie ? device_take_cookie(h->device, msg, now)
			   : screen(h, msg, len, from, now, &is_proven);
	if (reason != DROP_NONE) {
		counter_add(&h->drops[reason], 1);
		events_refused(h->events, from, msg, len, reason);
	}
	if (is_cookie || reason != DROP_NONE)
		return;
	pthread_mutex_lock(&h->mutex);
	is_taken = push_message(h, msg, len, from, is_proven);
	pthread_mutex_unlock(&h->mutex);
	if (!is_taken) {
		counter_add(&h->overflows, 1);
		events_refused(h->events, from, msg, len, DROP_NONE);
	}
}

void handshaker_initiate(struct handshaker *h, struct peer *peer)
{
	bool taken = false;

	if (!peer_get(peer))
		return;
	pthread_mutex_lock(&h->mutex);
	if (!ring_is_full(&h->asked)) {
		h->initiations[ring_push(&h->asked)] = peer;
		taken = true;
		pthread_cond_signal(&h->wake);
	}
	pthread_mutex_unlock(&h->mutex);
	if (!taken)
		peer_put(peer);
}

size_t handshaker_count_initiations(struct handshaker *h)
{
	size_t n;

	pthread_mutex_lock(&h->mutex);
	n = h->asked.n;
	pthread_mutex_unlock(&h->mutex);
	return n;
}

void handshaker_pause(struct handshaker *h, unsigned int n_last)
{
	pthread_mutex_lock(&h->mutex);
	h->is_paused = true;
	h->is_resting = false;
	h->n_last = n_last;
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->mutex);
}

int handshaker_await_rest(struct handshaker *h, uint64_t end_ns)
{
	int err = 0;

	pthread_mutex_lock(&h->mutex);
	/* Partner: note_rest(). */
	while (err == 0 && !h->is_resting)
		if (!thread_wait_until(&h->rested, &h->mutex, end_ns))
			err = -ETIMEDOUT;
	/* What comes now stays in the rings. */
	if (err == 0)
		h->n_last = 0;
	pthread_mutex_unlock(&h->mutex);
	return err;
}

void handshaker_resume(struct handshaker *h)
{
	pthread_mutex_lock(&h->mutex);
	h->is_paused = false;
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->mutex);
}

void handshaker_poke(struct handshaker *h)
{
	pthread_mutex_lock(&h->mutex);
	h->is_poked = true;
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->mutex);
}

int handshaker_init(struct handshaker *h, struct device *device,
		    struct sockets *sockets)
{
	h->device = device;
	h->sockets = sockets;
	h->others_cpu = now_others_cpu;
	pthread_mutex_init(&h->mutex, NULL);
	pthread_cond_init(&h->wake, NULL);
	thread_init_condition(&h->rested);
	ring_init(&h->waiting, HANDSHAKE_RING);
	ring_init(&h->asked, HANDSHAKE_INITIATIONS);
	h->messages = calloc(HANDSHAKE_RING, sizeof(*h->messages));
	h->initiations = calloc(HANDSHAKE_INITIATIONS, sizeof(*h->initiations));
	if (!h->messages || !h->initiations || ug_batch_new(&h->batch, 1) < 0) {
		handshaker_deinit(h);
		return -ENOMEM;
	}
	ug_batch_set_urgent(h->batch, true);
	return 0;
}

void handshaker_deinit(struct handshaker *h)
{
	while (h->asked.n)
		peer_put(h->initiations[ring_pop(&h->asked)]);
	ug_batch_free(h->batch);
	free(h->initiations);
	free(h->messages);
	pthread_cond_destroy(&h->rested);
	pthread_cond_destroy(&h->wake);
	pthread_mutex_destroy(&h->mutex);
}

int handshaker_start(struct handshaker *h)
{
	sockets_join(h->sockets, SOCKETS_HANDSHAKER);
	int err = thread_start(&h->thread, handshaker_main, h);

	if (err < 0)
		sockets_leave(h->sockets, SOCKETS_HANDSHAKER);
	return err;
}

void handshaker_stop(struct handshaker *h)
{
	pthread_mutex_lock(&h->mutex);
	h->is_stopped = true;
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->mutex);
	pthread_join(h->thread, NULL);
}
