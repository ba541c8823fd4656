/* SPDX-License-Identifier: MIT */
/*
 * Side sockets: datagrams to a slow endpoint wait apart from all others.
 *
 * The kernel charges a datagram to the send buffer of its socket until the
 * network device has sent it. So if one endpoint is behind a slow link with a
 * deep queue, its datagrams fill the buffer, and the socket can send nothing to
 * other endpoints, even if their links are free. The kernel does not tell whose
 * datagrams wait: SIOCOUTQ counts the datagrams of the whole socket.
 *
 * Therefore each family may have, beside its main socket, a few more sockets on
 * the same port: its side sockets. As long as the main socket is not crowded,
 * everything leaves by it. If a quarter of its buffer has been in use for 10
 * ms, or if half of it is in use, one endpoint is moved to a side socket: the
 * one to which most bytes were sent since the main socket became crowded, or
 * since the last endpoint was moved. If that was the wrong endpoint, the main
 * socket fills on, and the next endpoint is moved. A fast endpoint suffers no
 * harm by being moved, because its side socket is empty. An endpoint comes back
 * when its side socket has been empty for a second.
 *
 * A side socket has a smaller buffer. When it is full, only datagrams for its
 * own endpoints are left unsent.
 *
 * All tables have a fixed size. While no main socket is crowded, sending costs an
 * addition and a comparison for each call, and one SIOCOUTQ for each eighth of the
 * main buffer that was sent. The list of moved endpoints is read without a lock.
 * The bytes by which an endpoint is chosen are counted under a mutex that no
 * thread waits for: a thread that finds the mutex taken goes on, and the thread
 * that has the mutex looks at the sockets.
 *
 * Members are marked with who may touch them:
 *	[I]	immutable once ug_open() returned
 *	[a]	atomic, any thread
 *	[m]	under the mutex
 */
#ifndef UDPGATHER_SIDE_H
#define UDPGATHER_SIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "udpgather.h"
#include "udpgather/sys.h"

enum {
	/* A way is a socket of a family: the main one, or side socket i, whose
	 * way is i + 1. */
	SIDE_MAIN,
	/* Endpoints of a family that can be moved at a time. */
	SIDE_ENDPOINTS = 32,
	/* Endpoints whose bytes are counted while the main socket is crowded. */
	SIDE_COUNTED = 16,
	/* Bytes of send buffer that a datagram takes beside its own, about. */
	SIDE_OVERHEAD = 512,
};

/**
 * struct side_count - bytes sent to one endpoint by the main socket
 * @key:	its hash
 * @ep:		the endpoint
 * @len:	bytes
 */
struct side_count {
	uint64_t key;
	struct ug_endpoint ep;
	uint64_t len;
};

/**
 * struct side_sockets - the side sockets of a family
 * @n:		[I] number of side sockets; if 0, nothing below is used
 * @are_in_group: [I] they share their port with the sockets of a group
 * @fds:	[I] their descriptors
 * @main_cap:	[I] send buffer of the main socket, as SIOCOUTQ counts
 * @seed:	[I] of the endpoints' hashes
 * @has_input:	[a] a bit for each side socket that may have something to read
 * @n_moved:	[a] endpoints in @moved
 * @moved:	[a] 0, or an endpoint's hash with its way in the low bits
 * @handed:	[a] bytes sent since the last look at the sockets; not exact
 * @is_crowded:	[a] the main socket was crowded at the last look
 * @next_look_ms: [a] while something is crowded or moved: when to look again
 * @mutex:	protects the members below
 * @crowded_ms:	[m] since when the main socket is crowded, or when an endpoint
 *		was last moved, if that is later
 * @low:	[m] the fewest bytes seen waiting in the main socket since the
 *		last endpoint was moved
 * @empty_ms:	[m] since when each side socket has been empty; -1: it is not
 * @counts:	[m] bytes that the main socket was handed, by endpoint, since
 *		@crowded_ms
 * @n_counts:	[m] how many of @counts are in use
 */
struct side_sockets {
	unsigned int n;
	bool are_in_group;
	int fds[UG_MAX_SIDE_SOCKETS];
	int64_t main_cap;
	uint64_t seed;
	_Atomic uint32_t has_input;
	_Atomic uint32_t n_moved;
	_Atomic uint64_t moved[SIDE_ENDPOINTS];
	_Atomic uint64_t handed;
	_Atomic bool is_crowded;
	_Atomic int64_t next_look_ms;
	pthread_mutex_t mutex;
	int64_t crowded_ms;
	int64_t low;
	int64_t empty_ms[UG_MAX_SIDE_SOCKETS];
	struct side_count counts[SIDE_COUNTED];
	unsigned int n_counts;
};

/**
 * struct side_news - the change that a look at the sockets made
 * @moved:	an endpoint was moved: @ep, to the way @way
 * @ep:		see @moved
 * @way:	see @moved
 */
struct side_news {
	bool moved;
	struct ug_endpoint ep;
	unsigned int way;
};

/* ug_side_init() - no side sockets yet; @seed is for the endpoints' hashes */
void ug_side_init(struct side_sockets *s, uint64_t seed);

/* ug_side_deinit() - the caller has closed the sockets */
void ug_side_deinit(struct side_sockets *s);

/* ug_side_in_use() - has an endpoint been moved? Any thread. */
static inline bool ug_side_in_use(const struct side_sockets *s)
{
	/* Partners: move(), come_back(). If a change is seen late, a datagram
	 * leaves by the previous socket. */
	return atomic_load_explicit(&s->n_moved, memory_order_relaxed);
}

/* ug_side_is_counting() - does ug_side_count() count now? Any thread. */
static inline bool ug_side_is_counting(const struct side_sockets *s)
{
	/* Partner: look_at_main(). If a change is seen late, a datagram is not
	 * counted. */
	return atomic_load_explicit(&s->is_crowded, memory_order_relaxed);
}

/* ug_side_way() - the way by which to send to an endpoint. Any thread. */
unsigned int ug_side_way(const struct side_sockets *s,
			 const struct ug_endpoint *ep);

/* ug_side_count() - count @len bytes that the main socket was given for an
 * endpoint. Any thread. */
void ug_side_count(struct side_sockets *s, const struct ug_endpoint *ep,
		   uint64_t len);

/**
 * ug_side_note() - note that the sockets of a family took datagrams
 * @s:		its side sockets, at least one
 * @sys:	the system calls
 * @main_fd:	the main socket
 * @len:	bytes, with SIDE_OVERHEAD for each datagram
 * @was_full:	the main socket took no more
 * @news:	filled if an endpoint was moved
 *
 * Looks at the sockets if it is time, and moves endpoints. Any thread.
 *
 * Return: true if an endpoint was moved.
 */
bool ug_side_note(struct side_sockets *s, const struct ug_sys *sys, int main_fd,
		  uint64_t len, bool was_full, struct side_news *news);

/* ug_side_set_input() - side socket @i may have something to read. Any thread. */
void ug_side_set_input(struct side_sockets *s, unsigned int i);

/**
 * ug_side_take_input() - a side socket that may have something to read
 * @s:		side sockets
 *
 * From now on the socket counts as having nothing to read. Any thread.
 *
 * Return: its number; -1 if there is none.
 */
int ug_side_take_input(struct side_sockets *s);

#endif /* UDPGATHER_SIDE_H */
