/* SPDX-License-Identifier: MIT */
/*
 * Received messages with any length, flags, name and control data, through
 * ug_receive() into arrays of any size. Promise: each byte of an accepted
 * message is returned once, in order.
 */
#include <errno.h>

#include "base/bytes.h"
#include "fuzz/fuzz.h"
#include "udpgather/socket.h"

enum {
	/* A number that no open file has. */
	FD4 = 1004,
	/* Messages of a receiver. A choice. */
	SLOTS = 4,
	/* The largest array. A choice: more than a train of 128. */
	VIEWS = 200
};

/* The unread rest of the input. */
static const uint8_t *input;
static size_t input_len;

static void take(void *out, size_t len)
{
	size_t n = size_min(len, input_len);

	memset(out, 0, len);
	memcpy(out, input, n);
	input += n;
	input_len -= n;
}

static int recv_some(int fd, struct mmsghdr *msgs, unsigned int n, int flags)
{
	(void)fd;
	(void)flags;
	if (!input_len) {
		errno = EAGAIN;
		return -1;
	}
	uint8_t cnt;

	take(&cnt, 1);
	if (cnt >= 0x80) {
		errno = cnt;
		return -1;
	}
	n = 1 + cnt % n;
	for (unsigned int i = 0; i < n; i++) {
		struct msghdr *h = &msgs[i].msg_hdr;
		uint16_t len;
		uint8_t flag_bits, name_len, control_len;

		take(&len, sizeof(len));
		take(&flag_bits, 1);
		take(&name_len, 1);
		take(&control_len, 1);
		msgs[i].msg_len = len;
		h->msg_flags = (flag_bits & 1 ? MSG_TRUNC : 0) |
			       (flag_bits & 2 ? MSG_CTRUNC : 0);
		take(h->msg_name, sizeof(struct sockaddr_in6));
		h->msg_namelen = name_len;
		take(h->msg_control, control_len);
		h->msg_controllen = control_len;
	}
	return (int)n;
}

static int no_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	(void)fds;
	(void)n;
	(void)timeout_ms;
	return 0;
}

static struct ug_socket *make_socket(const struct ug_sys *sys)
{
	struct ug_socket *sock = calloc(1, sizeof(*sock));

	require(sock != NULL);
	sock->sys = sys;
	sock->paths = ug_path_table_new();
	require(sock->paths != NULL);
	for (int f = 0; f < FAMILIES; f++) {
		sock->families[f].fd = f == FAMILY_V4 ? FD4 : -1;
		sock->families[f].af = f == FAMILY_V4 ? AF_INET : AF_INET6;
		pthread_rwlock_init(&sock->families[f].receive_lock, NULL);
	}
	return sock;
}

/* The views of one call follow each other, message by message. */
static void check_views(const struct ug_view *views, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		const struct ug_view *a = &views[i - 1], *b = &views[i];
		const char *end = (const char *)a->data + a->len;

		require(b->len <= 65535);
		if (a->from == b->from)
			require(end == (const char *)b->data &&
				b->len <= a->len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct ug_sys sys;
	static struct ug_socket *sock;
	struct ug_view views[VIEWS];
	struct ug_receive_stats stats;
	struct ug_receiver *rcv;
	uint8_t array;
	size_t got = 0, bytes = 0;
	int n;

	if (!sock) {
		sys = ug_sys_linux;
		sys.recvmmsg = recv_some;
		sys.poll = no_poll;
		sock = make_socket(&sys);
	}
	input = data;
	input_len = len;
	take(&array, 1);
	require(ug_receiver_new(&rcv, SLOTS) == 0);
	do {
		n = ug_receive(rcv, sock, AF_INET, views, 1 + array % VIEWS, 0);
		check_views(views, n > 0 ? (size_t)n : 0);
		for (int i = 0; i < n; i++)
			bytes += views[i].len;
		got += n > 0 ? (size_t)n : 0;
	} while (n > 0 || (input_len && n > -1));
	ug_get_receive_stats(rcv, &stats, sizeof(stats));
	if (!ug_receiver_pending(rcv))
		require(got == stats.datagrams && bytes == stats.bytes);
	ug_receiver_free(rcv);
	return 0;
}
