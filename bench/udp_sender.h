/* SPDX-License-Identifier: MIT */
/*
 * The sender of the UDP benchmark, and the ways to send that it compares. All
 * ways send the same datagrams, from one unconnected socket with the same
 * options to one address. Each way builds its message headers anew for every
 * batch, like a program whose datagrams are at new places each time.
 *
 *  sendto	one sendto(2) for each datagram
 *  sendmmsg	one message for each datagram, no segmentation
 *  copied	the datagrams of a train are copied into one buffer and go as
 *		one vector with UDP_SEGMENT; the trains of a batch leave with
 *		one sendmmsg(2). A datagram that goes alone is not copied: the
 *		last one of a batch, or each one if the MTU allows no segments.
 *  gathered	ug_send(), every datagram in a slot of its own, with a gap
 *		to the next: one vector for each. The library must not copy
 *		(copy_below 1).
 *  chosen	the same, but the library chooses whether to copy, as it does
 *		by default
 *  fused	ug_send(), the datagrams are neighbours in memory: the library
 *		can make one vector of a train
 *  trains	ug_send_trains(), the same memory as for "fused", a vector for
 *		each train
 *  control	the same as "copied" once more. The difference of the two is
 *		the noise of the measurement.
 *
 * All ways but "fused" and "trains" take the datagrams from the slots with gaps.
 * With "hot" memory every batch is in the same place, so it is in the cache, as in a
 * program that has just encrypted its payload. With "cold" memory the batches go
 * round in 64 MiB, so they are not in the cache, as in a program that forwards or
 * reads from a file. With a header, each datagram of copied, gathered and chosen has
 * two vectors: a header, which is always in the cache, and the rest.
 */
#ifndef BENCH_UDP_SENDER_H
#define BENCH_UDP_SENDER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	/* The batch of wiregather's outbound lane. */
	SENDER_MAX_BATCH = 128,
	/* The largest size that is measured. A choice. */
	SENDER_MAX_SIZE = 8192,
};

enum way {
	WAY_SENDTO,
	WAY_SENDMMSG,
	WAY_COPIED,
	WAY_GATHERED,
	WAY_FUSED,
	WAY_CHOSEN,
	WAY_TRAINS,
	WAY_CONTROL,
	N_WAYS,
};

struct udp_sender;

/**
 * struct udp_sender_plan - what to send
 * @to:		where to send to
 * @mtu:	the link's: a train cannot have segments that do not fit
 * @size:	bytes of each datagram, 1 to SENDER_MAX_SIZE
 * @n:		datagrams in a batch, 1 to SENDER_MAX_BATCH
 * @cold:	the payload is not in the cache
 * @header_len:	bytes of a datagram that are in a vector of their own, less than
 *		@size; 0 for none
 */
struct udp_sender_plan {
	struct sockaddr_in to;
	size_t mtu;
	size_t size;
	unsigned int n;
	bool cold;
	size_t header_len;
};

/**
 * struct udp_sender_counts - totals of one way
 * @asked:	datagrams that it was to send
 * @sent:	datagrams that the kernel took whole
 * @calls:	system calls that took them: counted around our own, by
 *		struct ug_send_stats for the library's
 * @messages:	messages that carried them
 */
struct udp_sender_counts {
	uint64_t asked;
	uint64_t sent;
	uint64_t calls;
	uint64_t messages;
};

/* way_name() - as in the table above */
const char *way_name(enum way way);

/**
 * udp_sender_new() - open the sockets
 * @out:	set on success; udp_sender_free() it
 * @plan:	what to send
 *
 * Call it in the sender's namespace.
 *
 * Return: 0 or -errno.
 */
int udp_sender_new(struct udp_sender **out, const struct udp_sender_plan *plan);

/* udp_sender_free() - close the sockets and free everything, or NULL. */
void udp_sender_free(struct udp_sender *s);

/**
 * udp_sender_send() - send a batch one way, and sleep while the socket is full
 * @s:		the sender
 * @way:	which way
 *
 * Return: 0; -errno of the first datagram that could not be sent.
 */
int udp_sender_send(struct udp_sender *s, enum way way);

/* udp_sender_get_counts() - what udp_sender_send() has done @way since udp_sender_new(). */
struct udp_sender_counts udp_sender_get_counts(const struct udp_sender *s,
					       enum way way);

#endif /* BENCH_UDP_SENDER_H */
