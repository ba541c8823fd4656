/* SPDX-License-Identifier: MIT */
/*
 * Coalescing decides which datagrams go into one message, and writes the message.
 *
 * A message carries one datagram, or a *train*: up to 64 datagrams to one
 * endpoint, all of one length except for a shorter last one. The option
 * UDP_SEGMENT tells the kernel where to cut the train apart (udp(7)). The message
 * names the bytes of its datagrams by vectors. If they are short, their bytes are
 * copied to one place first (message.h). A datagram that goes alone is a train of
 * one.
 *
 * ug_coalesce() passes twice over a *window*, the datagrams that the sender looks
 * at together. The first pass puts each datagram into a train: into the last
 * train of its endpoint, if the rules below allow it, else into a new train. Only
 * the *last* train of an endpoint gets more datagrams. So datagrams to one
 * endpoint keep their order, even if datagrams to other endpoints stand between
 * them. The second pass writes a message for each train: address, vectors and
 * control data. Vectors of a train that are neighbours in memory become one
 * vector (they *fuse*).
 *
 * A datagram joins a train if all of these rules hold:
 *  - It has the endpoint, source and TOS of the train: a message has one of each.
 *  - It is not empty: the kernel loses an empty datagram inside a train.
 *  - It is at most as long as the first datagram. If it is shorter, it is the last
 *    of the train.
 *  - The train has fewer than max_segments datagrams, and its segment size is at
 *    most what the path to the endpoint is known to take. (Now and then one
 *    larger train is tried; see path.h.)
 *  - The train's bytes stay within UG_MAX_TRAIN_IPV4 or UG_MAX_TRAIN_IPV6: the
 *    kernel would take a longer train, but cut it in software.
 *  - The train's vectors, fused, are at most UG_MAX_VECTORS.
 *
 * Linux 7.0 to 7.1.4 corrupt trains whose datagrams are all of one size. On these
 * kernels the first pass is repeated, with the datagrams of such trains marked to
 * go alone. Trains that end in a shorter datagram stay as they are.
 *
 * If the kernel refuses a message, the sender does not repair it. The sender marks
 * the datagrams of the message (ITEM_ALONE, ITEM_BARE) and coalesces the rest of
 * the window again. So the same code writes every message as a whole, also after
 * a refusal. ug_coalesce() does no I/O and reads no clock. It changes one thing
 * outside of its arguments' memory: it claims tries in the table of paths.
 */
#ifndef UDPGATHER_COALESCE_H
#define UDPGATHER_COALESCE_H

#include "udpgather/message.h"
#include "udpgather/path.h"

/* Marks that the sender sets on a datagram; bits of struct item's flags. */
enum {
	/* The datagram must not be in a train. */
	ITEM_ALONE = 1,
	/* The datagram goes without its source. */
	ITEM_BARE = 2,
	/* The datagram was sent again once, because the error may have been that
	 * of an earlier datagram. */
	ITEM_RETRIED = 4,
	/* The datagram was sent again once, because there was no buffer for
	 * it. */
	ITEM_STARVED = 8,
	/* The datagram is the first of a train that is tried although the path
	 * forbids trains of its size. */
	ITEM_TRY = 16,
	/* The datagram was sent again once, because EPERM may be chance. */
	ITEM_FORBIDDEN = 32,
};

enum {
	ITEM_END = UINT16_MAX, /* no next datagram */
	COALESCE_BUCKETS = 256
};

/**
 * struct item - what the sender keeps of one datagram of the window
 * @len:	its length
 * @next:	index of the next one in its train, or ITEM_END
 * @flags:	ITEM_*
 * @trial:	0, or 1 plus the index of the sender's struct trial: the
 *		datagram's train was refused, and it goes alone to show whether
 *		the train was at fault
 */
struct item {
	uint32_t len;
	uint16_t next;
	uint8_t flags;
	uint8_t trial;
};

/**
 * struct train - the datagrams of one message
 * @to:		their endpoint
 * @source:	the source to send from, or NULL
 * @end:	one past the last byte of the last vector, for fusing
 * @bytes:	payload so far
 * @segment_len: the length of the first datagram
 * @n_iov:	vectors so far, fused
 * @first:	index of its first datagram
 * @last:	index of its last one
 * @cnt:	datagrams in it
 * @older:	the train before it in the same hash bucket, or ITEM_END
 * @tos:	TOS of all of them
 * @ended:	no more datagrams may join
 * @is_due:	@ended is set because the path forbids segments of this size, but
 *		a try is due (path.h): if a second datagram claims the try, it
 *		joins all the same
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
 * struct coalesce_job - a window, and the rules of this moment
 * @dgrams:	the window
 * @items:	one for each datagram
 * @status:	one for each datagram; only datagrams with UG_UNSENT are looked at
 * @n:		datagrams in the window, at most UG_MAX_BATCH
 * @to:		the endpoint of datagrams that name none, or NULL
 * @family:	AF_INET or AF_INET6, the socket's: datagrams of the other one are
 *		passed over
 * @is_dual:	with AF_INET6: IPv4 datagrams are not passed over
 * @max_segments: the most datagrams in a train, 1 to UG_MAX_SEGMENTS
 * @uneven:	a train must end in a shorter datagram
 * @paths:	the table of paths; tries are claimed there
 * @now_ms:	the time, for @paths; 0 if the table knows of no path
 * @generation:	learned sources of other generations are not used
 * @copy_below:	see ug_staging_take()
 * @peer:	the peer of a connected socket (ug_message_write_head()), or NULL
 * @time_ns:	when to send all of them (struct control_out)
 * @ttl:	TTL of all of them (struct control_out)
 * @control_flags: see struct control_out
 */
struct coalesce_job {
	const struct ug_datagram *dgrams;
	struct item *items;
	const int *status;
	size_t n;
	const struct ug_endpoint *to;
	int family;
	bool is_dual;
	unsigned int max_segments;
	bool uneven;
	struct path_table *paths;
	int64_t now_ms;
	uint32_t generation;
	size_t copy_below;
	const struct ug_endpoint *peer;
	uint64_t time_ns;
	uint8_t ttl;
	uint8_t control_flags;
};

/**
 * struct messages - the result of coalescing
 * @msgs:	one message for each train, ready for sendmmsg(2)
 * @spaces:	memory for the head of each message
 * @trains:	the datagrams of each message
 * @iov:	memory for vectors
 * @iov_cap:	vectors at @iov, at least UG_MAX_VECTORS
 * @staging:	memory for the bytes of messages that are copied
 * @truncated:	the vectors were used up: the rest of the window must be coalesced
 *		when these messages have been sent
 * @hashed:	scratch: @buckets is in use, because the window has several
 *		endpoints
 * @buckets:	scratch: the last train of each hash value
 *
 * @msgs, @spaces and @trains have room for as many as the window.
 */
struct messages {
	struct mmsghdr *msgs;
	struct message_space *spaces;
	struct train *trains;
	struct iovec *iov;
	size_t iov_cap;
	struct staging staging;
	bool truncated;
	bool hashed;
	uint16_t buckets[COALESCE_BUCKETS];
};

/* ug_usable_source() - the source of an endpoint, or NULL if it is of another
 * generation than @generation */
static inline const struct ug_source *
ug_usable_source(const struct ug_endpoint *ep, uint32_t generation)
{
	uint32_t state = ep->source.state;

	return state == UG_SOURCE_PINNED || state == generation ? &ep->source
								: NULL;
}

/* ug_train_limit() - the most bytes in a train */
static inline size_t ug_train_limit(int family)
{
	return family == AF_INET ? UG_MAX_TRAIN_IPV4 : UG_MAX_TRAIN_IPV6;
}

/* datagram_endpoint() - a datagram's own endpoint, or else @to */
static inline const struct ug_endpoint *
datagram_endpoint(const struct ug_datagram *d, const struct ug_endpoint *to)
{
	return d->to ? d->to : to;
}

/**
 * ug_coalesce() - make messages of a window
 * @m:		the result. Its vectors point into the datagrams' memory, or into
 *		the staging, which is filled anew. A message of one datagram with
 *		one vector uses the caller's vector.
 * @job:	the window. Of its items the call writes @next, and it may set
 *		ITEM_ALONE and ITEM_TRY. Borrowed as long as @m is used.
 *
 * The batch's owner.
 *
 * Return: the number of messages.
 */
size_t ug_coalesce(struct messages *m, const struct coalesce_job *job);

#endif /* UDPGATHER_COALESCE_H */
