/* SPDX-License-Identifier: MIT */
/*
 * The feed: what happens in the engine, for programs that read it from the
 * statistics socket.
 *
 * Any thread puts an event into a ring of FEED_LEN events; the control thread takes
 * them out. Each reader has its own place in the order of the events. If a reader is
 * so slow that the ring comes round to its place, it loses the oldest events, and
 * learns how many. While there is no reader, no event is put in, and the ring has no
 * memory.
 */
#ifndef ENGINE_FEED_H
#define ENGINE_FEED_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "device/device.h"
#include "udpgather.h"

enum {
	/* Events that a reader may lag behind. A choice: some seconds of a busy
	 * device, since each kind of drop is limited in rate. */
	FEED_LEN = 512,
};

enum feed_kind {
	FEED_ESTABLISHED,  /* a session with a peer began */
	FEED_ENDPOINT,	   /* a peer has another endpoint */
	FEED_STALLED,	   /* a peer does not answer initiations */
	FEED_INCOMPLETE,   /* a peer does not complete handshakes */
	FEED_ENDED,	   /* the keys of a session were wiped */
	FEED_PEER_ADDED,   /* by the configuration */
	FEED_PEER_CHANGED, /* by the configuration */
	FEED_PEER_REMOVED, /* by the configuration */
	FEED_DROPPED,	   /* data messages or packets were dropped */
	FEED_REFUSED,	   /* a message of the handshake was dropped */
	FEED_LISTENING,	   /* the UDP sockets are open, or closed */
	FEED_SEGMENTATION, /* what the kernel takes to an endpoint has changed */
	FEED_PATH,	   /* trains to a peer are lost, or arrive again; or the
			    * MTU of the path to it has changed */
	FEED_KINDS,
};

/**
 * struct feed_event - an event; what does not belong to its kind is 0
 * @realtime:	when, in ns of CLOCK_REALTIME; feed_put() sets it
 * @kind:	what
 * @peer:	public key of the peer, with @has_peer
 * @endpoint:	the peer's, or the sender's
 * @was:	of FEED_ENDPOINT: the endpoint before
 * @inner:	an address inside the tunnel, IPv4 in the first four bytes
 * @inner_version: 4 or 6; 0: no such address
 * @reason:	a constant: why, or what exactly; NULL: nothing to say
 * @value:	a count, a port, or a size in bytes
 * @has_peer:	@peer is set
 */
struct feed_event {
	uint64_t realtime;
	enum feed_kind kind;
	uint8_t peer[NOISE_PUBLIC_KEY_LEN];
	struct ug_endpoint endpoint;
	struct ug_endpoint was;
	uint8_t inner[16];
	uint8_t inner_version;
	const char *reason;
	uint64_t value;
	bool has_peer;
};

/**
 * struct feed - a feed
 * @mutex:	of the members with [m]; a leaf
 * @ring:	[m] FEED_LEN events; NULL while there is no reader
 * @n_put:	[m] events put in so far; number i is at i modulo FEED_LEN
 * @n_readers:	[m] readers
 * @is_read:	[a] @n_readers is not 0
 * @is_told:	[m] @wake was called since the last feed_take()
 * @wake:	[I] called with @arg if there is something new to take; any thread
 * @arg:	[I] for @wake
 */
struct feed {
	pthread_mutex_t mutex;
	struct feed_event *ring;
	uint64_t n_put;
	unsigned int n_readers;
	_Atomic bool is_read;
	bool is_told;
	void (*wake)(void *arg);
	void *arg;
};

/* feed_init() - a feed without readers; caller's storage */
void feed_init(struct feed *feed, void (*wake)(void *arg), void *arg);

/* feed_deinit() - free the ring; there are no readers, and no thread puts */
void feed_deinit(struct feed *feed);

/* feed_is_read() - is there a reader? A caller asks first if an event costs time to
 * make. Any thread. */
static inline bool feed_is_read(const struct feed *feed)
{
	return atomic_load_explicit(&feed->is_read, memory_order_relaxed);
}

/* feed_put() - add an event, copied, if there is a reader. Any thread. */
void feed_put(struct feed *feed, const struct feed_event *event);

/**
 * feed_open() - become a reader of what comes from now on
 * @feed:	feed
 * @at:		set to the reader's place
 *
 * Control thread.
 *
 * Return: 0; -ENOMEM.
 */
int feed_open(struct feed *feed, uint64_t *at);

/* feed_close() - a reader ends. Control thread. */
void feed_close(struct feed *feed);

/**
 * feed_take() - the next event of a reader
 * @feed:	feed
 * @at:		the reader's place, which moves on
 * @event:	filled if there is one
 * @n_lost:	set to how many events before it the reader has lost
 *
 * Control thread.
 *
 * Return: true if there is an event.
 */
bool feed_take(struct feed *feed, uint64_t *at, struct feed_event *event,
	       uint64_t *n_lost);

#endif /* ENGINE_FEED_H */
