/* SPDX-License-Identifier: MIT */
/*
 * The data of one call of ug_send() or ug_send_trains(): the thread's batch, and
 * the window of datagrams that the call looks at together. window.c checks the
 * datagrams of a window, and counts the unsent ones. send.c sends them.
 * send_trains.c sends whole trains.
 */
#ifndef UDPGATHER_SENDING_H
#define UDPGATHER_SENDING_H

#include <errno.h>

#include "udpgather/coalesce.h"
#include "udpgather/socket.h"
#include "udpgather/stats.h"

enum {
	/* A status until the window is done: the datagram's socket is full. */
	HELD = UG_UNSENT + 1
};

enum {
	/* The most trains on trial in one window. No lesson is learned from
	 * further ones. */
	TRIALS = 64
};

/**
 * struct trial - a train that was refused, while its datagrams go alone
 * @segment_len: the size of its segments
 * @err:	the errno
 * @left:	datagrams on trial that were neither sent nor refused yet
 * @is_try:	the train was a try (path.h)
 * @is_void:	one of its datagrams failed, so nothing is learned
 */
struct trial {
	uint32_t segment_len;
	int err;
	uint16_t left;
	bool is_try;
	bool is_void;
};

/**
 * struct cut - datagrams that a train was cut into (send_trains.c)
 * @dgrams:	as many as a window has; NULL until the first train is cut
 * @status:	the status of each
 * @iov:	their vectors
 * @iov_cap:	vectors at @iov
 */
struct cut {
	struct ug_datagram *dgrams;
	int *status;
	struct iovec *iov;
	size_t iov_cap;
};

/**
 * struct ug_batch - the memory that one thread needs to send
 * @cap:	datagrams in a window
 * @is_urgent:	see ug_batch_set_urgent()
 * @max_segments: see ug_batch_set_segments(); UG_MAX_SEGMENTS at first
 * @items:	one for each datagram of the window
 * @messages:	the messages that the window was coalesced to
 * @trials:	trains of the window that were refused
 * @n_trials:	number of @trials
 * @refused:	see ug_refused_source()
 * @train_lens:	see ug_set_train_lengths()
 * @n_train_lens: numbers at @train_lens
 * @wakes:	the wakes that have ended a call with it, or could have
 * @cut:	a window of datagrams that one train was cut into
 * @counters:	written by the owner, read by anybody
 */
struct ug_batch {
	unsigned int cap;
	bool is_urgent;
	unsigned int max_segments;
	struct item *items;
	struct messages messages;
	struct trial trials[TRIALS];
	unsigned int n_trials;
	const struct ug_endpoint *refused;
	uint8_t *train_lens;
	size_t n_train_lens;
	struct wake_memory wakes;
	struct cut cut;
	struct send_counters counters;
};

/**
 * struct sending - one call of ug_send()
 * @sock:	the socket
 * @batch:	the thread's batch
 * @to:		the endpoint of datagrams that name none, or NULL
 * @dgrams:	the window
 * @status:	the status of each datagram of the window
 * @train_lens:	the part of the batch's @train_lens that is the window's, or
 *		NULL
 * @n:		datagrams in the window
 * @sent:	datagrams of the window that were sent
 * @has_deadline: false to wait without end
 * @deadline_ms: when to stop waiting, on the clock of struct ug_sys
 * @woken:	poll(2) has reported room, and the kernel has taken nothing
 *		since
 * @stopped:	for each family: 0; UG_UNSENT if its main socket is full; -errno
 *		if it is broken. Datagrams of later windows get this status.
 * @full:	for each family: a bit for each way whose socket is full
 * @way:	way of the next message: SIDE_MAIN, or 1 plus a side socket's
 *		number
 * @fd:		descriptor of that way
 * @counting:	side sockets of the family that is being sent, if its main socket
 *		is crowded; else NULL
 * @handed:	bytes that the family took, with SIDE_OVERHEAD for each datagram
 * @owed:	0, or the -errno that the kernel gave for the first message before
 *		the window was coalesced (send_trains.c)
 * @time_ns:	when to send the window (struct control_out)
 * @ttl:	TTL of the window (struct control_out)
 * @refusals:	the message that was refused last (UG_WANT_ERRORS)
 */
struct sending {
	struct ug_socket *sock;
	struct ug_batch *batch;
	const struct ug_endpoint *to;
	const struct ug_datagram *dgrams;
	int *status;
	uint8_t *train_lens;
	size_t n;
	size_t sent;
	bool has_deadline;
	int64_t deadline_ms;
	bool woken;
	int stopped[FAMILIES];
	uint32_t full[FAMILIES];
	unsigned int way;
	int fd;
	struct side_sockets *counting;
	uint64_t handed;
	int owed;
	uint64_t time_ns;
	uint8_t ttl;
	struct refusals refusals;
};

/* ug_family_index() - FAMILY_V4 or FAMILY_V6 */
static inline int ug_family_index(const struct family *fam)
{
	return fam->af == AF_INET ? FAMILY_V4 : FAMILY_V6;
}

/**
 * struct route - what datagrams to one endpoint have in common
 * @err:	0, or the -errno of all datagrams to the endpoint
 * @family:	FAMILY_V4 or FAMILY_V6
 * @limit:	the most bytes in a datagram
 */
struct route {
	int err;
	int family;
	size_t limit;
};

/* ug_route_to() - the route to an endpoint, which may be NULL */
struct route ug_route_to(const struct ug_socket *sock,
			 const struct ug_endpoint *to);

/**
 * ug_measure() - check vectors
 * @iov:	the vectors
 * @n:		how many
 * @limit:	the most bytes that they may have
 *
 * Return: the bytes in all of them; -EINVAL if @iov is missing; -EMSGSIZE.
 */
static inline int64_t ug_measure(const struct iovec *iov, size_t n,
				 size_t limit)
{
	size_t len = 0;

	if (n && !iov)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		if (iov[i].iov_len > limit - len)
			return -EMSGSIZE;
		len += iov[i].iov_len;
	}
	return (int64_t)len;
}

/* ug_sending_max_segments() - the most datagrams in a train of this call now; see
 * ug_segments_now() */
unsigned int ug_sending_max_segments(const struct sending *s,
				     const struct family *fam,
				     enum ug_reason *reason);

/* ug_sending_begin() - turn to family @f, and its main socket */
void ug_sending_begin(struct sending *s, int f);

/* ug_sending_end() - note what the family's sockets took since
 * ug_sending_begin() */
void ug_sending_end(struct sending *s, int f);

/**
 * ug_sending_call() - one system call
 * @s:		the call
 * @fam:	the family
 * @k:		the first message
 * @n:		how many
 *
 * Return: how many messages the kernel took, at least 1; or -errno.
 */
int ug_sending_call(struct sending *s, struct family *fam, size_t k, size_t n);

/* ug_sending_tells() - is @err what the kernel tells of a message to the peer of a
 * connected socket, and told to the caller? */
bool ug_sending_tells(const struct family *fam, const struct train *t, int err);

/* ug_sending_count() - count a message that the kernel took */
void ug_sending_count(struct sending *s, const struct train *t);

/* ug_sending_window() - send the window: s->dgrams, s->status and s->n; s->sent is
 * set to the number of datagrams that were sent */
void ug_sending_window(struct sending *s);

/**
 * ug_window_open() - check the datagrams of a window, and make their items
 * @s:		the call, with the window's datagrams
 * @busy:	set to true for each family that has something to send
 *
 * A datagram that can be sent gets the status UG_UNSENT, a bad one its -errno.
 */
void ug_window_open(struct sending *s, bool busy[FAMILIES]);

/* ug_window_release() - the HELD datagrams of family @f become unsent */
void ug_window_release(struct sending *s, int f);

/* ug_window_close() - count the datagrams of a window that were not sent */
void ug_window_close(const struct sending *s);

#endif /* UDPGATHER_SENDING_H */
