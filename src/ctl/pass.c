/* SPDX-License-Identifier: MIT */
/*
 * A message has a byte for each member of struct inner, 1 if the descriptor comes with
 * it, else 0.
 */
#include "ctl/pass.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	N = sizeof(struct inner) / sizeof(int),
};

/* Room for the control message with all descriptors. */
union control {
	char bytes[CMSG_SPACE(N * sizeof(int))];
	struct cmsghdr align;
};

int pass_send(int sock, const struct inner *inner)
{
	uint8_t has[N] = { 0 };
	struct iovec iov = { has, sizeof(has) };
	union control control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int all[N], fds[N];
	size_t n = 0;
	struct cmsghdr *cmsg;

	memcpy(all, inner, sizeof(all));
	for (size_t i = 0; i < N; i++)
		if (all[i] >= 0) {
			has[i] = 1;
			fds[n++] = all[i];
		}
	msg.msg_control = control.bytes;
	msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg)
		return -EINVAL;
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(cmsg), fds, n * sizeof(int));
	return sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* The descriptors of a message. Return: how many. */
static size_t take(struct msghdr *msg, int fds[N])
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
	size_t n;

	if (!cmsg || cmsg->cmsg_level != SOL_SOCKET ||
	    cmsg->cmsg_type != SCM_RIGHTS || cmsg->cmsg_len < CMSG_LEN(0))
		return 0;
	n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	n = n < N ? n : N;
	memcpy(fds, CMSG_DATA(cmsg), n * sizeof(int));
	return n;
}

int pass_receive(int sock, struct inner *inner)
{
	uint8_t has[N] = { 0 };
	struct iovec iov = { has, sizeof(has) };
	union control control = { 0 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	int all[N], fds[N];
	size_t n, used = 0;
	ssize_t len;

	do
		len = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (len < 0 && errno == EINTR);
	if (len <= 0)
		return len == 0 ? -EPIPE : -errno;
	n = take(&msg, fds);
	for (size_t i = 0; i < N; i++)
		all[i] = has[i] && used < n ? fds[used++] : -1;
	while (used < n)
		close(fds[used++]);
	memcpy(inner, all, sizeof(all));
	return len == sizeof(has) ? 0 : -EPROTO;
}
