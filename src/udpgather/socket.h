/* SPDX-License-Identifier: MIT */
/*
 * A UDP port: one main socket for each family, and its side sockets. Members are
 * marked with who may touch them:
 *	[I]	immutable once ug_open() returned
 *	[a]	atomic, any thread
 *	[c]	changed by ug_connect(), while no thread sends
 */
#ifndef UDPGATHER_SOCKET_H
#define UDPGATHER_SOCKET_H

#include <net/if.h>
#include <pthread.h>
#include <stdatomic.h>

#include "udpgather.h"
#include "udpgather/errors.h"
#include "udpgather/path.h"
#include "udpgather/side.h"
#include "udpgather/sys.h"
#include "udpgather/wake.h"

enum {
	FAMILY_V4,
	FAMILY_V6,
	FAMILIES,
	/* How long to sleep if there is no event to wait for. */
	PAUSE_MS = 1,
};

/**
 * struct connection - the peer of a socket that was connected by connect(2)
 * @is_on:	[c] there is a peer
 * @peer:	[c] the peer; its source is the address that the socket sends from
 * @tells_errors: [a] errors that datagrams to the peer have left on the socket are
 *		told, as the kernel tells them; else they are counted
 * @device:	[c] the interface that the socket was bound to before; empty for none.
 *		connect(2) binds to the interface of a link-local peer, and the end of
 *		a connection unbinds from any (__udp_disconnect() of Linux).
 */
struct connection {
	bool is_on;
	_Atomic bool tells_errors;
	struct ug_endpoint peer;
	char device[IFNAMSIZ];
};

/**
 * struct family - one family of a port: its main socket, and its side sockets
 * @fd:		[I] its descriptor, or -1
 * @af:	[I] AF_INET or AF_INET6
 * @can_segment: [I] UDP_SEGMENT is known here
 * @can_merge:	[I] UDP_GRO can be read back here
 * @no_sendmmsg: [a] the system call is missing
 * @no_recvmmsg: [a] the system call is missing
 * @merging:	[a] UDP_GRO is on; changed under the socket's @switching
 * @merging_wanted: [a] what ug_set_merging() asked for; changed under @switching
 * @receive_lock: held for reading around each receiving system call, for
 *		writing while UDP_GRO is being switched off. No thread waits
 *		for it; see merging.c.
 * @sides:	its side sockets
 * @connection:	its peer, if it is connected
 */
struct family {
	int fd;
	int af;
	bool can_segment;
	bool can_merge;
	_Atomic bool no_sendmmsg;
	_Atomic bool no_recvmmsg;
	_Atomic bool merging;
	_Atomic bool merging_wanted;
	pthread_rwlock_t receive_lock;
	struct side_sockets sides;
	struct connection connection;
};

/**
 * struct ug_socket - see udpgather.h
 * @sys:	[I] the system calls
 * @paths:	[I] the table of paths, which has a lock of its own
 * @notice:	[I] see struct ug_options
 * @notice_arg:	[I]
 * @families:	IPv4 and IPv6
 * @max_segments: [a] what ug_set_segments() asked for
 * @port:	[I]
 * @want:	[I] see struct ug_options
 * @errors:	[I] NULL without UG_WANT_ERRORS; has a lock of its own
 * @bad_kernel:	[I] this kernel corrupts trains of one size
 * @is_dual:	[I] IPv4 traffic goes by the IPv6 socket: there is no IPv4 socket,
 *		and the IPv6 socket is not IPV6_V6ONLY
 * @copy_below:	[I] see ug_staging_take()
 * @control_flags: [I] see struct control_out
 * @retry_eperm: [I] see struct ug_options
 * @wake:	for ug_wake()
 * @uses_times:	[I] the kernel takes times (SO_TXTIME); else they are left out
 * @switching:	held by the thread that switches merging
 */
struct ug_socket {
	const struct ug_sys *sys;
	struct path_table *paths;
	void (*notice)(void *arg, enum ug_notice notice,
		       const struct ug_endpoint *ep, int err, int value);
	void *notice_arg;
	struct family families[FAMILIES];
	_Atomic unsigned int max_segments;
	uint16_t port;
	uint32_t want;
	struct errors *errors;
	bool bad_kernel;
	bool is_dual;
	size_t copy_below;
	uint8_t control_flags;
	bool retry_eperm;
	struct wake wake;
	bool uses_times;
	pthread_mutex_t switching;
};

/* ug_family_of() - the family that has the traffic of AF_INET or AF_INET6; NULL if
 * there is none. With @is_dual it is one for both. Any thread. */
struct family *ug_family_of(const struct ug_socket *sock, int family);

/*
 * ug_segments_now() - the most datagrams in a train, 1 to UG_MAX_SEGMENTS. If it sets
 * UG_REASON_BAD_KERNEL, a train must end in a shorter datagram. Any thread.
 */
unsigned int ug_segments_now(const struct ug_socket *sock,
			     const struct family *fam, enum ug_reason *reason);

/**
 * struct lesson - a train that was refused, and whose datagrams passed alone
 * @segment_len: the size of its segments, in bytes
 * @err:	the errno
 * @is_try:	the train was a try (path.h)
 */
struct lesson {
	size_t segment_len;
	int err;
	bool is_try;
};

/**
 * ug_errno_may_be_chance() - may the next train pass after a refusal by this errno?
 * @err:	the errno
 *
 * Return: false for EIO, EMSGSIZE and EINVAL: every such train is refused.
 */
bool ug_errno_may_be_chance(int err);

/* ug_errno_is_unreachable() - is this the error of a destination or a route, and never
 * of a train? */
bool ug_errno_is_unreachable(int err);

/**
 * ug_socket_learn() - learn from a refused train
 * @sock:	the socket
 * @ep:		the train's endpoint
 * @lesson:	the train. Its first datagram has passed alone; if the errno may
 *		be chance, all of its datagrams have.
 *
 * Any thread. May call the notice function.
 */
void ug_socket_learn(struct ug_socket *sock, const struct ug_endpoint *ep,
		     const struct lesson *lesson);

/**
 * ug_socket_train_passed() - note that the kernel took a train
 * @sock:	the socket
 * @ep:		the train's endpoint
 * @segment_len: the size of its segments, in bytes
 *
 * Call it only if ug_path_knows(). Any thread. May call the notice function.
 */
void ug_socket_train_passed(struct ug_socket *sock,
			    const struct ug_endpoint *ep, size_t segment_len);

/* ug_family_fd() - the descriptor of a way (SIDE_MAIN in side.h) */
static inline int ug_family_fd(const struct family *fam, unsigned int way)
{
	return way == SIDE_MAIN ? fam->fd : fam->sides.fds[way - 1];
}

/* ug_family_peer() - the peer of a connected family, or NULL. A thread that sends. */
static inline const struct ug_endpoint *ug_family_peer(const struct family *fam)
{
	return fam->connection.is_on ? &fam->connection.peer : NULL;
}

/* ug_socket_only_peer() - the peer, if one family is connected; else NULL. A thread
 * that sends. */
const struct ug_endpoint *ug_socket_only_peer(const struct ug_socket *sock);

/* ug_family_note_peer() - note the peer of a descriptor, if somebody has connected
 * it. While the socket is opened. */
void ug_family_note_peer(const struct ug_socket *sock, struct family *fam);

/**
 * ug_errno_is_of_peer() - may an ICMP message of the peer have left this error?
 * @err:	the errno that the kernel gave for a connected socket
 *
 * Return: false for EMSGSIZE and EACCES, which may also be about a datagram's size or
 * a firewall of this machine.
 */
bool ug_errno_is_of_peer(int err);

/* ug_family_tells() - is this errno of a connected family told to the caller? Any
 * thread. */
static inline bool ug_family_tells(const struct family *fam, int err)
{
	/* Partner: ug_connect(). */
	return atomic_load_explicit(&fam->connection.tells_errors,
				    memory_order_relaxed) &&
	       ug_errno_is_of_peer(err);
}

/* ug_socket_tell() - call the notice function, if there is one. A thread that is in
 * ug_send(). */
void ug_socket_tell(struct ug_socket *sock, enum ug_notice notice,
		    const struct ug_endpoint *ep, int err, int value);

/**
 * ug_socket_drop_errors() - empty the error queue (IP_RECVERR) of a socket
 * @sys:	the system calls
 * @fd:		the descriptor
 *
 * As long as there is an entry, poll(2) returns at once and reports POLLERR.
 * Drops a bounded number of entries, so that it ends even if new entries keep
 * coming. Never sleeps. Any thread.
 *
 * Return: the number of entries that were dropped.
 */
size_t ug_socket_drop_errors(const struct ug_sys *sys, int fd);

/* ug_kernel_corrupts_trains() - is this release one of Linux 7.0 to 7.1.4? */
bool ug_kernel_corrupts_trains(const char *release);

#endif /* UDPGATHER_SOCKET_H */
