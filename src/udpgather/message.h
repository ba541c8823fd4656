/* SPDX-License-Identifier: MIT */
/*
 * A message to the kernel: its head, which is the address and the control data, and
 * its bytes, which are named by vectors.
 *
 * The kernel copies the bytes of a message, vector by vector. For short vectors this
 * costs more than the bytes do: the cache misses of one vector are over before the
 * next vector is looked at. So if a message has several vectors, and they are short
 * on average, the library copies them into memory of its own, the *staging*, and
 * names that by one vector. docs/performance.md has the measurements that decide
 * below which length this is faster.
 */
#ifndef UDPGATHER_MESSAGE_H
#define UDPGATHER_MESSAGE_H

#include <string.h>

#include "udpgather/control.h"
#include "udpgather/endpoint.h"

enum {
	/* Vectors of a message that are shorter than this on average are copied. */
	MESSAGE_COPY_BELOW = 1024,
	/* Bytes of staging for each message of a window. */
	MESSAGE_STAGING_LEN = 2048,
};

/**
 * struct message_space - memory for the head of a message
 * @control:	the control data
 * @mapped:	the address, if it is IPv4-mapped
 */
struct message_space {
	struct control control;
	struct sockaddr_in6 mapped;
};

/**
 * struct staging - memory for the bytes of messages
 * @bytes:	NULL until the first message is copied
 * @cap:	bytes that @bytes has, or will have
 * @used:	bytes in use, from the start
 */
struct staging {
	unsigned char *bytes;
	size_t cap;
	size_t used;
};

/**
 * ug_message_name() - the address of an endpoint as a socket takes it
 * @to:		the endpoint
 * @family:	the socket's: AF_INET or AF_INET6
 * @mapped:	written if the address has to be IPv4-mapped
 * @len:	set to the length of the address
 *
 * Any thread.
 *
 * Return: the address: @to's own, or @mapped.
 */
const struct sockaddr *ug_message_name(const struct ug_endpoint *to, int family,
				       struct sockaddr_in6 *mapped,
				       socklen_t *len);

/* ug_is_peer() - is @to the peer of a connected socket? @peer: NULL if the socket is
 * not connected */
static inline bool ug_is_peer(const struct ug_endpoint *peer,
			      const struct ug_endpoint *to)
{
	return peer && (to == peer || !ug_endpoint_compare(to, peer));
}

/* ug_is_own_source() - is @source the address that a socket connected to @peer has? */
bool ug_is_own_source(const struct ug_endpoint *peer,
		      const struct ug_source *source);

/**
 * ug_needed_source() - the source that the control data of a message must name
 * @peer:	the peer of a connected socket, with the socket's own address as its
 *		source; NULL if the socket is not connected
 * @to:		the message's endpoint
 * @source:	the endpoint's source, or NULL
 *
 * Return: @source; NULL if the kernel sends from this address anyway.
 */
static inline const struct ug_source *
ug_needed_source(const struct ug_endpoint *peer, const struct ug_endpoint *to,
		 const struct ug_source *source)
{
	return peer && source && ug_is_peer(peer, to) &&
			       ug_is_own_source(peer, source)
		       ? NULL
		       : source;
}

/**
 * ug_message_write_head() - write the address and the control data of a message
 * @h:		filled; it has no vectors yet
 * @space:	filled; borrowed by @h
 * @to:		the address; borrowed by @h. An IPv4 address on an IPv6 socket is
 *		written as IPv4-mapped.
 * @peer:	the socket's peer, or NULL. A message to the peer has no address: then
 *		the kernel need not look for a route.
 * @out:	the control data; @family is the socket's, @mapped is set by the
 *		address
 *
 * Any thread.
 */
void ug_message_write_head(struct msghdr *h, struct message_space *space,
			   const struct ug_endpoint *to,
			   const struct ug_endpoint *peer,
			   const struct control_out *out);

/**
 * ug_message_gather() - append vectors to a message
 * @iov:	the message's vectors
 * @n:		how many it has
 * @from:	@n_from vectors. Empty ones are left out. A vector that begins at
 *		the end of the one before it is joined to it.
 * @n_from:	see @from
 *
 * @iov must have room for @n + @n_from.
 *
 * Return: how many vectors it has now.
 */
static inline size_t ug_message_gather(struct iovec *iov, size_t n,
				       const struct iovec *from, size_t n_from)
{
	for (size_t i = 0; i < n_from; i++) {
		const struct iovec *v = &from[i];

		if (!v->iov_len)
			continue;
		if (n && (char *)iov[n - 1].iov_base + iov[n - 1].iov_len ==
				 (char *)v->iov_base)
			iov[n - 1].iov_len += v->iov_len;
		else
			iov[n++] = *v;
	}
	return n;
}

/**
 * ug_staging_take() - take memory for a message, if it should be copied
 * @s:		the staging
 * @n_iov:	vectors of the message
 * @len:	bytes in all of them
 * @copy_below:	copy if the vectors are shorter than this on average; 0: never
 *
 * Allocates the staging at first use. The staging's owner.
 *
 * Return: @len bytes, until @used is set back; NULL if the message should not be
 * copied, or if there is no room.
 */
unsigned char *ug_staging_take(struct staging *s, size_t n_iov, size_t len,
			       size_t copy_below);

/* ug_message_copy() - copy the bytes of vectors. Return: behind the last byte. */
static inline unsigned char *ug_message_copy(unsigned char *at,
					     const struct iovec *iov, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		memcpy(at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	return at;
}

#endif /* UDPGATHER_MESSAGE_H */
