/* SPDX-License-Identifier: MIT */
/* Messages with descriptors, over Unix sockets of the kind SOCK_SEQPACKET. Any thread. */
#ifndef KEEPER_CHANNEL_H
#define KEEPER_CHANNEL_H

#include <stddef.h>
#include <sys/types.h>

enum {
	/* Most descriptors in a message. */
	CHANNEL_FDS_MAX = 32,
};

/* channel_open() - a pair of sockets, closed on exec. Return: 0; -errno. */
int channel_open(int fds[2]);

/**
 * channel_send() - send a message
 * @fd:		socket
 * @data:	bytes
 * @len:	their count
 * @fds:	descriptors that go with it; they stay the caller's
 * @n_fds:	their count, up to CHANNEL_FDS_MAX
 * @flags:	MSG_DONTWAIT, or 0
 *
 * Return: 0; -EAGAIN: there is no room; -EPIPE: the other end is gone; -errno.
 */
int channel_send(int fd, const void *data, size_t len, const int *fds,
		 unsigned int n_fds, int flags);

/**
 * channel_receive() - receive a message
 * @fd:		socket
 * @buf:	filled
 * @cap:	bytes at @buf
 * @fds:	filled with the descriptors that came with it, closed on exec; room for
 *		CHANNEL_FDS_MAX
 * @n_fds:	set to their count; 0 after an error
 * @flags:	MSG_DONTWAIT, or 0
 *
 * If a message is longer than @cap or has more descriptors, its descriptors are closed,
 * and so are those of an empty message.
 *
 * Return: its length; 0: the other end is gone, and @n_fds is 0; -EMSGSIZE; -EAGAIN;
 * -errno.
 */
ssize_t channel_receive(int fd, void *buf, size_t cap, int *fds,
			unsigned int *n_fds, int flags);

#endif /* KEEPER_CHANNEL_H */
