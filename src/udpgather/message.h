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

#include "udpgather/control.h"

enum {
	/* Vectors of a message that are shorter than this on average are copied. */
	MESSAGE_COPY_BELOW = 512,
	/* Bytes of staging for each message of a window. */
	MESSAGE_STAGING_LEN = 1024,
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
 * ug_message_write_head() - write the address and the control data of a message
 * @h:		filled; it has no vectors yet
 * @space:	filled; borrowed by @h
 * @to:		the address; borrowed by @h. An IPv4 address on an IPv6 socket is
 *		written as IPv4-mapped.
 * @out:	the control data; @family is the socket's, @mapped is set by the
 *		address
 *
 * Any thread.
 */
void ug_message_write_head(struct msghdr *h, struct message_space *space,
			   const struct ug_endpoint *to,
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
 * ug_message_set_bytes() - give a message its vectors, or a copy of their bytes
 * @h:		the message
 * @iov:	its vectors; borrowed, and changed if the bytes are copied
 * @n:		how many there are
 * @len:	bytes in all of them
 * @staging:	where to copy to. If it cannot hold the bytes, they are not copied.
 * @copy_below:	copy if the vectors are shorter than this on average; 0: never
 *
 * The owner of the staging.
 *
 * Return: how many vectors the message has.
 */
size_t ug_message_set_bytes(struct msghdr *h, struct iovec *iov, size_t n,
			    size_t len, struct staging *staging,
			    size_t copy_below);

#endif /* UDPGATHER_MESSAGE_H */
