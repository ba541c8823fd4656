/* SPDX-License-Identifier: MIT */
/* See channel.h. */
#include "keeper/channel.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/descriptors.h"

enum {
	/* Attempts to send a message. A choice: the other end may wait for the
	 * message, so a short lack of memory must not lose it. */
	TRIES = 10,
};

/* Room for descriptors in a control message. */
union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(CHANNEL_FDS_MAX * sizeof(int))];
};

int channel_open(int fds[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0
		       ? -errno
		       : 0;
}

int channel_send(int fd, const void *data, size_t len, const int *fds,
		 unsigned int n_fds, int flags)
{
	union control control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)data, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;
	int tries = 0;

	if (n_fds > CHANNEL_FDS_MAX)
		return -E2BIG;
	if (n_fds) {
		struct cmsghdr *cmsg = &control.align;

		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
	}
	do
		n = sendmsg(fd, &msg, flags | MSG_NOSIGNAL);
	while (n < 0 &&
	       (errno == EINTR || (errno != EPIPE && ++tries < TRIES)));
	return n < 0 ? -errno : 0;
}

/* Copy the descriptors of all control messages. */
static void take_fds(struct msghdr *msg, int *fds, unsigned int *n)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c;
	     c = CMSG_NXTHDR(msg, c)) {
		size_t cnt;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
		    c->cmsg_len < CMSG_LEN(0))
			continue;
		cnt = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < cnt && *n < CHANNEL_FDS_MAX; i++)
			memcpy(&fds[(*n)++], CMSG_DATA(c) + i * sizeof(int),
			       sizeof(int));
	}
}

ssize_t channel_receive(int fd, void *buf, size_t cap, int *fds,
			unsigned int *n_fds, int flags)
{
	union control control;
	struct iovec iov = { buf, cap };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	bool was_reset = false;
	ssize_t n;

	*n_fds = 0;
	for (;;) {
		n = recvmsg(fd, &msg, flags | MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		/* The other end has closed, and had not read all messages. The
		 * kernel reports this once. Then the last messages of the other
		 * end can be read. */
		if (n >= 0 || errno != ECONNRESET || was_reset)
			break;
		was_reset = true;
	}
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	take_fds(&msg, fds, n_fds);
	/* An empty message would look like the end of the connection. Without
	 * descriptors it does, and no harm comes of it. */
	if ((n || !*n_fds) && !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return n;
	close_all(fds, *n_fds);
	*n_fds = 0;
	return -EMSGSIZE;
}
