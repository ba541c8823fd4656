/* SPDX-License-Identifier: MIT */
/*
 * echo PORT - send each datagram back, from the address that it was sent to
 *
 * A poll(2) loop with one thread. Whole trains come in and go out: the payload stays
 * where the kernel wrote it.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <udpgather.h>

enum {
	/* Messages that are taken at once. A choice. */
	SLOTS = 32
};

/* Take what has come, and send it back. Return: 0; -errno. */
static int serve(struct ug_socket *sock, struct ug_receiver *rcv,
		 struct ug_batch *batch, int family)
{
	struct ug_received in[SLOTS] = { { 0 } };
	struct ug_train out[SLOTS];
	struct iovec iov[SLOTS];
	int n = ug_receive_trains(rcv, sock, family, in, sizeof(in[0]), SLOTS,
				  0);

	if (n < 0)
		return n == -EAGAIN || n == -EBUSY || n == -EINTR ? 0 : n;
	for (int i = 0; i < n; i++) {
		iov[i] = (struct iovec){ in[i].data, in[i].len };
		/* @from has the local address, so the answer leaves from it. */
		out[i] = (struct ug_train){
			.to = in[i].from,
			.iov = &iov[i],
			.n_iov = 1,
			.segment_len = (uint16_t)in[i].segment_len,
			.tos = in[i].tos,
		};
	}
	/* What does not fit the send buffer within 100 ms is dropped. */
	ug_send_trains(sock, batch, out, sizeof(out[0]), (size_t)n, 100);
	return 0;
}

int main(int argc, char **argv)
{
	static const int families[] = { AF_INET, AF_INET6 };
	struct ug_options opt = { .size = sizeof(opt) };
	struct pollfd fds[2];
	struct ug_socket *sock;
	struct ug_receiver *rcv;
	struct ug_batch *batch;
	int err = 0;

	opt.port = (uint16_t)(argc > 1 ? atoi(argv[1]) : 0);
	if (!opt.port || ug_open(&sock, &opt, NULL) < 0 ||
	    ug_receiver_new(&rcv, SLOTS) < 0 || ug_batch_new(&batch, 128) < 0) {
		fprintf(stderr, "usage: echo PORT\n");
		return 1;
	}
	for (int i = 0; i < 2; i++)
		fds[i] = (struct pollfd){ .fd = ug_fd(sock, families[i]),
					  .events = POLLIN };
	while (err == 0 && poll(fds, 2, -1) > 0)
		for (int i = 0; err == 0 && i < 2; i++)
			if (fds[i].revents)
				err = serve(sock, rcv, batch, families[i]);
	fprintf(stderr, "echo: %s\n", strerror(err < 0 ? -err : errno));
	return 1;
}
