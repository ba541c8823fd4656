/* SPDX-License-Identifier: MIT */
/* See handover.h. */
#include "cli/handover.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/descriptors.h"
#include "base/now.h"
#include "keeper/channel.h"

int handover_send(int fd, const struct handover_message *from, const int *fds,
		  unsigned int n_fds)
{
	struct handover_message message = *from;

	message.version = HANDOVER_VERSION;
	return channel_send(fd, &message, sizeof(message), fds, n_fds,
			    MSG_DONTWAIT);
}

int handover_receive(int fd, enum handover_kind wanted,
		     struct handover_message *message, int *fds,
		     unsigned int *n_fds)
{
	ssize_t n = channel_receive(fd, message, sizeof(*message), fds, n_fds,
				    MSG_DONTWAIT);

	if (n <= 0)
		return n ? (int)n : -EPIPE;
	if (n == (ssize_t)sizeof(*message) &&
	    message->version == HANDOVER_VERSION && message->kind == wanted)
		return 0;
	close_all(fds, *n_fds);
	*n_fds = 0;
	return -EPROTO;
}

int handover_await(int fd, enum handover_kind wanted, uint64_t patience_ns,
		   struct handover_message *message, int *fds,
		   unsigned int *n_fds)
{
	uint64_t end = now_monotonic() + patience_ns;
	struct pollfd polled = { .fd = fd, .events = POLLIN };

	for (;;) {
		uint64_t now = now_monotonic();
		int err;

		if (now >= end)
			return -ETIMEDOUT;
		/* At least one millisecond. */
		poll(&polled, 1, (int)((end - now) / NSEC_PER_MSEC) + 1);
		err = handover_receive(fd, wanted, message, fds, n_fds);
		if (err != -EAGAIN)
			return err;
	}
}
