/* SPDX-License-Identifier: MIT */
/*
 * The path MTUs of all peers: between the lanes, the library's queue of errors, and
 * device/pmtu.h, which decides. It exists with --pmtu=discover only.
 *
 * A peer has a *seat* while long datagrams leave to it: the state of its path, and the
 * endpoint that this is about. The number of seats is fixed, so the memory is bounded:
 * PATHS_SEATS seats of about 350 bytes, of which only those in use take memory. If all
 * are in use, the seat that was not used for the longest time, of a few that are
 * looked at, is given to another peer, which only means that the path MTU has to be
 * learnt again. A seat compares the pointer to its peer, and never follows it.
 *
 * An ICMP message names no peer. It quotes the receiver index of a message, and
 * @by_index leads from there to a seat. A message without an index can be a hint
 * for the seat of the endpoint; @by_endpoint leads to it. Both tables may forget: a
 * newer entry takes the place of an older one. The next long datagram to the peer
 * writes it again.
 *
 * One mutex guards all of it. A thread that only wants to know that a peer has no
 * limit takes no lock.
 */
#ifndef ENGINE_PATHS_H
#define ENGINE_PATHS_H

#include <pthread.h>
#include <stdatomic.h>

#include "device/peer.h"
#include "device/pmtu.h"
#include "device/session.h"
#include "engine/events.h"
#include "engine/trains.h"
#include "udpgather.h"

enum {
	/* Seats. A choice: more peers than one daemon has been seen with. */
	PATHS_SEATS = 16384,
	/* Entries of each table that leads to seats, a power of 2. */
	PATHS_KEYS = 2 * PATHS_SEATS,
	/* Seats that are looked at to find the one that a new peer gets. */
	PATHS_LOOKS = 8,
	/* MTUs of interfaces that the kernel told last: see paths_refused(). */
	PATHS_LOCALS = 8,
	/* The inner MTU that a path has at least. Longer inner packets need not
	 * pass, shorter ones do, if need be in outer fragments: RFC 8200, section
	 * 5 promises it to IPv6. */
	PATHS_INNER_MIN = 1280,
};

/* A seat that was not used for this long is free. */
#define PATHS_IDLE (2 * PMTU_LESSON)
/* The lanes look for errors that other calls have taken off the queues after this
 * time. A choice. */
#define PATHS_LOOK_AGAIN (50 * NSEC_PER_MSEC)

/**
 * struct paths_seat - the path to one peer
 * @owner:	[a] the peer, compared only; NULL: the seat is free. Changed under
 *		the mutex.
 * @has_limit:	[a] paths_get_limits() has something to say
 * @wants_acks:	[a] paths_saw() is of use
 * @shown:	[a] for paths_get_mtu(): the path MTU in the lower 16 bits, and the time
 *		in ns at which it is forgotten in the others; 0: there is none
 * @pmtu:	[m]
 * @to:		[m] the peer's endpoint
 * @used_at:	[m] when a long datagram last left
 */
struct paths_seat {
	const struct peer *_Atomic owner;
	_Atomic bool has_limit;
	_Atomic bool wants_acks;
	_Atomic uint64_t shown;
	struct pmtu pmtu;
	struct ug_endpoint to;
	uint64_t used_at;
};

/**
 * struct paths_local - the MTU of an interface, as the kernel told it
 * @to:		where the datagram went
 * @mtu:	the MTU
 * @at:		when it was told; 0: this place is free
 */
struct paths_local {
	struct ug_endpoint to;
	uint32_t mtu;
	uint64_t at;
};

/* Numbers for the statistics. */
struct paths_stats {
	_Atomic uint64_t learnt; /* lessons by ICMP, and from the kernel */
	_Atomic uint64_t lost;	 /* lessons because long packets are lost */
	_Atomic uint64_t raised; /* lessons that rose or ended before time */
	_Atomic uint64_t hints;	 /* ICMP messages that prove nothing */
	_Atomic uint64_t forged; /* ICMP messages about nothing that was sent */
	_Atomic uint64_t answered;   /* ICMP errors sent into the tunnel */
	_Atomic uint64_t cut;	     /* TCP packets that were cut shorter */
	_Atomic uint64_t refused;    /* packets dropped: too long, with DF */
	_Atomic uint64_t fragmented; /* packets cut into inner fragments */
	_Atomic uint64_t outer_fragments; /* datagrams that left without DF */
};

/**
 * struct paths - all seats
 * @mutex:	guards the members with [m], and those of the seats
 * @seats:	[I] PATHS_SEATS seats
 * @by_index:	[m] 1 plus the number of a seat, by a hash of a receiver index
 * @by_endpoint: [m] the same by a hash of an endpoint
 * @next_seat:	[m] where to look for a seat
 * @locals:	[m] the last ones first to be overwritten
 * @n_locals:	[m] how many were told
 * @looked_at:	[a] when the lanes last looked for errors
 * @seed:	[I] of the hashes
 * @events:	[I] is told of lessons, or NULL; locked inside
 * @stats:	[a]
 */
struct paths {
	pthread_mutex_t mutex;
	struct paths_seat *seats;
	uint16_t *by_index;
	uint16_t *by_endpoint;
	unsigned int next_seat;
	struct paths_local locals[PATHS_LOCALS];
	unsigned int n_locals;
	_Atomic uint64_t looked_at;
	uint64_t seed;
	struct events *events;
	struct paths_stats stats;
};

/* paths_new() - no path is known; NULL without memory. @seed: a random number */
struct paths *paths_new(uint64_t seed);

/* paths_free() - no thread uses it any more; NULL is ok */
void paths_free(struct paths *p);

/* paths_find() - the seat of a peer, or NULL. Any thread. */
static inline struct paths_seat *paths_find(const struct paths *p,
					    const struct peer *peer)
{
	/* Partner: claim() of paths.c. */
	uint16_t n =
		atomic_load_explicit(&peer->path_seat, memory_order_acquire);
	struct paths_seat *seat = n ? &p->seats[n - 1] : NULL;

	return seat && atomic_load_explicit(&seat->owner,
					    memory_order_relaxed) == peer
		       ? seat
		       : NULL;
}

/* paths_have_limit() - is the path to this peer limited? Any thread. */
static inline bool paths_have_limit(const struct paths *p,
				    const struct peer *peer)
{
	const struct paths_seat *seat = paths_find(p, peer);

	return seat &&
	       atomic_load_explicit(&seat->has_limit, memory_order_relaxed);
}

/* paths_want_acks() - must paths_saw() hear of packets of this peer? Any thread. */
static inline bool paths_want_acks(const struct paths *p,
				   const struct peer *peer)
{
	const struct paths_seat *seat = paths_find(p, peer);

	return seat &&
	       atomic_load_explicit(&seat->wants_acks, memory_order_relaxed);
}

/**
 * struct paths_limits - what inner packets fit the path; 0: any
 * @mtu:	the longest packet that is sent, at least PATHS_INNER_MIN
 * @whole:	the longest packet that leaves without outer fragments
 * @cut:	the length to cut TCP data to
 * @probe:	the length that one segment of TCP data may have
 * @is_tiny:	every datagram needs to be sent without DF
 */
struct paths_limits {
	uint32_t mtu;
	uint32_t whole;
	uint32_t cut;
	uint32_t probe;
	bool is_tiny;
};

/**
 * paths_get_limits() - what fits the path to a peer
 * @p:		paths
 * @peer:	the peer
 * @out:	filled
 * @now:	the present, in ns of CLOCK_BOOTTIME
 *
 * Any thread.
 */
void paths_get_limits(struct paths *p, const struct peer *peer,
		      struct paths_limits *out, uint64_t now);

/**
 * paths_clamp() - the longest packet that passes the tunnel to a peer
 * @p:		paths, or NULL
 * @peer:	the peer
 * @mtu:	of the interface
 * @now:	the present
 *
 * Any thread. Return: @mtu, or less.
 */
uint32_t paths_clamp(struct paths *p, const struct peer *peer, uint32_t mtu,
		     uint64_t now);

/**
 * paths_may_answer() - may the sender of a packet that does not fit be told so?
 * @p:		paths
 * @peer:	peer that the packet is for
 * @is_cut:	its data was cut and sent; else it was dropped
 * @now:	the present
 *
 * Any thread. Return: true if so; that is counted.
 */
bool paths_may_answer(struct paths *p, const struct peer *peer, bool is_cut,
		      uint64_t now);

/* paths_may_probe() - may this packet to a peer be cut to the length @probe of struct
 * paths_limits? Any thread. */
bool paths_may_probe(struct paths *p, const struct peer *peer,
		     const uint8_t *packet, size_t len);

/**
 * paths_after() - messages were sent
 * @p:		paths
 * @run:	messages of one peer
 * @send:	their counters
 * @iov:	the datagrams of the batch
 * @notes:	notes of the batch
 * @now:	the present
 *
 * Right to commit.
 */
void paths_after(struct paths *p, const struct trains_run *run,
		 const struct send_run *send, const struct iovec *iov,
		 const struct trains_notes *notes, uint64_t now);

/**
 * paths_refused() - the kernel has refused a datagram as too long (EMSGSIZE)
 * @p:		paths
 * @sock:	sockets that it was sent by
 * @run:	messages of its peer
 * @now:	the present
 *
 * Right to commit.
 */
void paths_refused(struct paths *p, struct ug_socket *sock,
		   const struct trains_run *run, uint64_t now);

/* paths_take_errors() - read the errors of the sockets. Any thread. */
void paths_take_errors(struct paths *p, struct ug_socket *sock, uint64_t now);

/* paths_look() - the same, if the last time is long enough ago */
static inline void paths_look(struct paths *p, struct ug_socket *sock,
			      uint64_t now)
{
	/* If two threads look at once, that does no harm. */
	if (clock_has_passed(
		    atomic_load_explicit(&p->looked_at, memory_order_relaxed),
		    PATHS_LOOK_AGAIN, now))
		paths_take_errors(p, sock, now);
}

/**
 * paths_saw() - read the acknowledgement of a packet that came in from a peer
 * @p:		paths
 * @peer:	the peer
 * @packet:	an IP packet; packets that are not TCP are ignored
 * @len:	its length
 * @now:	the present
 *
 * Any thread.
 */
void paths_saw(struct paths *p, const struct peer *peer, const uint8_t *packet,
	       size_t len, uint64_t now);

/* paths_get_mtu() - the outer path MTU of a peer that was learnt; 0: none. @p may be
 * NULL. For statistics: takes no lock. Any thread. */
uint32_t paths_get_mtu(const struct paths *p, const struct peer *peer,
		       uint64_t now);

/**
 * paths_set_df() - whether datagrams of a family leave with DF
 * @sock:	sockets
 * @family:	AF_INET or AF_INET6
 * @is_on:	false: they may be cut into fragments, until the call with true
 *
 * Datagrams that other threads send meanwhile lack DF, too, which does no harm. Right
 * to commit.
 */
void paths_set_df(const struct ug_socket *sock, int family, bool is_on);

#endif /* ENGINE_PATHS_H */
