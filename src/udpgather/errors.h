/* SPDX-License-Identifier: MIT */
/*
 * The errors of a socket that was opened with UG_WANT_ERRORS.
 *
 * With IP_RECVERR and IPV6_RECVERR the kernel keeps an entry for each error: what
 * ICMP messages say of datagrams that left earlier, and what the machine itself
 * refuses. An entry names the destination. The entries wait in a queue of the
 * descriptor. While one waits, poll(2) returns at once, and the entry takes room of
 * the receive buffer. So the library empties the queues whenever an error shows,
 * into a ring of its own. ug_receive_errors() reads the ring. If the ring is full,
 * the oldest entry goes, and is counted as lost.
 *
 * An ICMP message also leaves an errno on the descriptor, and the next call that
 * sends gets that errno, whatever its destination. One destination that answers with
 * ICMP messages can so refuse most messages to all others. Therefore an errno of a
 * send is not believed at once: ug_errors_explain() empties the queue and looks
 * whether an entry explains the errno.
 *
 *   - An entry of this destination with this errno: the message is to blame.
 *   - An entry of another destination with this errno, which this thread or another
 *     one has taken off the queue since the last try: the message goes again.
 *   - None: it goes again, too, because the entry may just be on its way through
 *     another thread. After REFUSALS_UNEXPLAINED such tries the message is to blame:
 *     the kernel makes no entry if it has no route, for instance.
 *
 * An ICMP message that a datagram was too long is about an earlier one. The message
 * in hand may be shorter, so it goes again. If it is too long itself, the kernel knows
 * the path's MTU by now, and refuses it by an entry of its own.
 *
 * Members are marked with who may touch them:
 *	[a]	atomic, any thread
 *	[m]	under the mutex
 */
#ifndef UDPGATHER_ERRORS_H
#define UDPGATHER_ERRORS_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/ring.h"
#include "udpgather.h"

struct ug_socket;

enum {
	/* Entries that wait for ug_receive_errors() at most. A choice. */
	ERRORS_CAP = 512,
	/* Errno values that are counted apart. Linux has fewer. */
	ERRORS_ERRNOS = 160,
	/* Tries of a message whose refusal no entry explains. With three threads that
	 * send to dead ports, 215 of 300 sends to a live one failed twice in a row. */
	REFUSALS_UNEXPLAINED = 8,
	/* Tries of a message whose refusals other destinations explain. */
	REFUSALS_OF_OTHERS = 1000,
};

/**
 * struct errors - entries that were taken off the error queues of a socket
 * @mutex:	protects the members that are marked [m]
 * @ring:	[m] which of @entries wait
 * @entries:	[m]
 * @n_lost:	[m] entries that were pushed out of the ring, or could not be read
 * @n_taken:	[m] entries taken off the queues
 * @taken:	[a] the same by errno; changed under @mutex. They wrap.
 */
struct errors {
	pthread_mutex_t mutex;
	struct ring ring;
	struct ug_error entries[ERRORS_CAP];
	uint64_t n_lost;
	uint64_t n_taken;
	_Atomic uint32_t taken[ERRORS_ERRNOS];
};

/* ug_errors_new() - an empty ring; NULL without memory */
struct errors *ug_errors_new(void);

/* ug_errors_free() - free a ring, or NULL */
void ug_errors_free(struct errors *errors);

/**
 * ug_errors_take() - empty the error queue of a descriptor
 * @sock:	the socket. If it was opened without UG_WANT_ERRORS, the entries are
 *		dropped.
 * @fd:		one of its descriptors
 *
 * Takes a bounded number of entries, so that it ends even if new ones keep coming.
 * Never sleeps. Any thread.
 *
 * Return: the number of entries.
 */
size_t ug_errors_take(struct ug_socket *sock, int fd);

/* ug_errors_count() - entries taken off the queues, and those of them that were lost.
 * Any thread. */
void ug_errors_count(struct errors *errors, uint64_t *taken, uint64_t *lost);

/**
 * struct refusals - a message that the kernel has refused, maybe more than once
 * @first:	the first datagram of the message; any other message begins anew
 * @n_unexplained: refusals that no entry explains
 * @n_of_others: refusals that entries of other destinations explain
 * @taken:	entries with the errno that had been taken after the last refusal
 */
struct refusals {
	uint16_t first;
	uint16_t n_unexplained;
	uint16_t n_of_others;
	uint32_t taken;
};

/* What a refusal of a message means. */
enum refusal {
	REFUSAL_AGAIN,	   /* send the message again */
	REFUSAL_TOO_OFTEN, /* the same, but it has been sent again too often */
	REFUSAL_REPORTED,  /* its destination, or a router, refuses datagrams */
	REFUSAL_OWN,	   /* this machine refuses this message */
};

/**
 * ug_errors_explain() - find out whether a refusal is about the message
 * @sock:	a socket with UG_WANT_ERRORS
 * @fd:		the descriptor that the message was sent by; its queue is emptied
 * @to:		the message's endpoint
 * @err:	the errno that the message was refused with
 * @r:		the earlier refusals of the message; the call counts this one
 *
 * Any thread.
 */
enum refusal ug_errors_explain(struct ug_socket *sock, int fd,
			       const struct ug_endpoint *to, int err,
			       struct refusals *r);

#endif /* UDPGATHER_ERRORS_H */
