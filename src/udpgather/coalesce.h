/* SPDX-License-Identifier: MIT */
/*
 * Coalescing: which datagrams go into one message, and how the message names
 * their bytes.
 *
 * A message may carry a *train*: up to 64 datagrams of one length, but for a
 * shorter last one, that the kernel cuts apart by UDP_SEGMENT (udp(7)). The
 * message names them by vectors, so no payload moves.
 *
 * The work is done in two passes over a window of datagrams. The first deals
 * each datagram to the last train of its endpoint, or opens a new one. Only
 * the *last* train of an endpoint is ever joined, so datagrams to one endpoint
 * keep their order, while datagrams to others may stand between them. The
 * second pass writes the messages: name, vectors, control data. There the
 * vectors of a train become one list, in which neighbours in memory fuse.
 *
 * A datagram joins a train if all of this holds:
 *  - the same endpoint, source and TOS (there is one header for all);
 *  - it is not empty (the kernel loses an empty one inside a train);
 *  - it is at most as long as the first; a shorter one ends the train;
 *  - fewer than max_segments are in it, and the segment size is at most what
 *    the path to this endpoint is known to take. (path.h has one larger train
 *    tried now and then.)
 *  - all together stay within UG_MAX_TRAIN_IPV4 or _IPV6: a longer train
 *    passes too, but the kernel then cuts it in software;
 *  - the vectors, fused, are at most UG_MAX_VECTORS.
 *
 * Linux 7.0 to 7.1.4 corrupt trains whose datagrams are all of one size. On
 * these kernels the window is coalesced once more, with the datagrams of such
 * trains marked to go alone; trains that end in a shorter datagram do not
 * change.
 *
 * When the kernel refuses a message, nothing here is patched up: the sender
 * marks the datagrams in question (ITEM_ALONE, ITEM_BARE) and coalesces what
 * is left of the window anew. So every message, also a retried one, is
 * written whole by the same code, and no vector of an earlier attempt
 * survives. The function does no I/O and reads no clock. Outside of the window
 * it changes one thing: it claims tries.
 */
#ifndef UDPGATHER_COALESCE_H
#define UDPGATHER_COALESCE_H

#include "udpgather/control.h"
#include "udpgather/path.h"

/* What the sender knows of a datagram; bits of struct item's flags. */
enum {
	ITEM_ALONE = 1,	  /* it must not be in a train */
	ITEM_BARE = 2,	  /* it goes without its source */
	ITEM_RETRIED = 4, /* a pending error was blamed on another once */
	ITEM_STARVED = 8, /* there was no buffer for it once */
	ITEM_TRY = 16	  /* its train is tried though the path forbids it */
};

enum {
	ITEM_END = UINT16_MAX, /* no next datagram */
	COALESCE_BUCKETS = 256
};

/**
 * struct item - the sender's side of a datagram of the window
 * @len:	its length
 * @next:	index of the next one in its train, or ITEM_END
 * @flags:	ITEM_*
 * @trial:	0, or 1 plus the index of the sender's struct trial: its train
 *		was refused, and it goes alone to show if the train was at fault
 */
struct item {
	uint32_t len;
	uint16_t next;
	uint8_t flags;
	uint8_t trial;
};

/**
 * struct train - a message in the making
 * @to:		its endpoint
 * @source:	the source to send from, or NULL
 * @end:	one past the last byte named so far, for fusing
 * @bytes:	payload so far
 * @segment_len: the length of the first datagram
 * @n_iov:	vectors so far, fused
 * @first:	index of its first datagram
 * @last:	index of its last one
 * @cnt:	datagrams in it
 * @older:	the train before it in the same hash bucket, or ITEM_END
 * @tos:	TOS of all of them
 * @ended:	nothing may follow
 * @is_due:	it has ended, because its segments are larger than the path is
 *		known to take; but it is tried if its second datagram can claim
 *		the try
 */
struct train {
	const struct ug_endpoint *to;
	const struct ug_source *source;
	const char *end;
	size_t bytes;
	size_t segment_len;
	uint32_t n_iov;
	uint16_t first;
	uint16_t last;
	uint16_t cnt;
	uint16_t older;
	uint8_t tos;
	bool ended;
	bool is_due;
};

/**
 * struct coalesce_job - what to coalesce
 * @dgrams:	the window
 * @items:	one for each
 * @status:	one for each; only those with UG_UNSENT are looked at
 * @n:		datagrams in the window, at most UG_MAX_BATCH
 * @to:		the endpoint of those that name none, or NULL
 * @family:	only datagrams of this family
 * @max_segments: the most datagrams in a train, 1 to UG_MAX_SEGMENTS
 * @uneven:	a train must end in a shorter datagram
 * @paths:	what is known of the endpoints; tries are claimed there
 * @now_ms:	the time, for @paths; 0 if nothing was known
 * @generation:	learned sources of other generations are not used
 */
struct coalesce_job {
	const struct ug_datagram *dgrams;
	struct item *items;
	const int *status;
	size_t n;
	const struct ug_endpoint *to;
	int family;
	unsigned int max_segments;
	bool uneven;
	struct path_table *paths;
	int64_t now_ms;
	uint32_t generation;
};

/**
 * struct messages - where the result goes
 * @msgs:	one for each train, ready for sendmmsg(2)
 * @controls:	their control data
 * @trains:	what is in each
 * @iov:	vectors, @iov_cap of them, at least UG_MAX_VECTORS
 * @iov_cap:	see @iov
 * @truncated:	the vectors were used up: what is left of the window must be
 *		coalesced when these messages have been sent
 * @hashed:	scratch: @buckets is in use; it is not while all trains are of
 *		one endpoint
 * @buckets:	scratch: the last train of each hash value
 *
 * @msgs, @controls and @trains have room for as many as the window.
 */
struct messages {
	struct mmsghdr *msgs;
	struct control *controls;
	struct train *trains;
	struct iovec *iov;
	size_t iov_cap;
	bool truncated;
	bool hashed;
	uint16_t buckets[COALESCE_BUCKETS];
};

/* datagram_endpoint() - where a datagram goes to: its own word, or the job's */
static inline const struct ug_endpoint *
datagram_endpoint(const struct ug_datagram *d, const struct ug_endpoint *to)
{
	return d->to ? d->to : to;
}

/**
 * ug_coalesce() - make messages of a window
 * @m:		the result; its vectors point into the datagrams' memory, or
 *		are the caller's own where a message is one datagram of one
 *		vector
 * @job:	the window. The items' next is written.
 *
 * Return: the number of messages.
 */
size_t ug_coalesce(struct messages *m, const struct coalesce_job *job);

#endif /* UDPGATHER_COALESCE_H */
