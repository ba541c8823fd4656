/* SPDX-License-Identifier: MIT */
/*
 * Received messages with any length, flags, name and control data, through
 * ug_receive() into arrays of any size, and through ug_receive_trains() into slots
 * and buffers in turns. Promise: each byte of an accepted message is returned once,
 * in order.
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
	VIEWS = 200,
	/* Of a call with buffers. A choice: fewer than slots. */
	BUFFERS = 3,
	/* A choice: shorter than many messages. */
	BUFFER_LEN = 1500
};

/* What was handed out. */
static size_t got, bytes;

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
		msgs[i].msg_len =
			(unsigned int)size_min(len, h->msg_iov->iov_len);
		h->msg_flags =
			(flag_bits & 1 || len > h->msg_iov->iov_len ? MSG_TRUNC
								    : 0) |
			(flag_bits & 2 ? MSG_CTRUNC : 0);
		if (msgs[i].msg_len)
			((char *)h->msg_iov->iov_base)[msgs[i].msg_len - 1] = 1;
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
	sock->want = UG_WANT_TIME | UG_WANT_TTL | UG_WANT_DESTINATION;
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

static int receive_views(struct ug_receiver *rcv, struct ug_socket *sock,
			 size_t n)
{
	struct ug_view views[VIEWS];
	struct ug_received info;
	int r = ug_receive(rcv, sock, AF_INET, views, n, 0);

	check_views(views, r > 0 ? (size_t)r : 0);
	for (int i = 0; i < r; i++) {
		bytes += views[i].len;
		require(ug_receiver_info(rcv, &views[i], &info, sizeof(info)) ==
			0);
		require((char *)views[i].data >= (char *)info.data &&
			(char *)views[i].data + views[i].len <=
				(char *)info.data + info.len);
	}
	got += r > 0 ? (size_t)r : 0;
	return r;
}

/* The datagrams of a message are its bytes. */
static void check_train(const struct ug_received *t)
{
	require(t->n >= 1 && t->segment_len <= t->len);
	require((t->n - 1) * (size_t)t->segment_len <= t->len);
	require(t->n * (size_t)t->segment_len >= t->len);
	bytes += t->len;
	got += t->n;
}

static int receive_trains(struct ug_receiver *rcv, struct ug_socket *sock,
			  struct ug_received *out, size_t n)
{
	int r = ug_receive_trains(rcv, sock, AF_INET, out, sizeof(*out), n, 0);

	require(r != 0 && r <= (int)n);
	for (int i = 0; i < r; i++)
		check_train(&out[i]);
	/* What does not fit a buffer comes in a slot. */
	if (r == -EMSGSIZE)
		return 1;
	return r == -EAGAIN || r == -EBUSY ? 0 : r;
}

static int receive_in_buffers(struct ug_receiver *rcv, struct ug_socket *sock)
{
	struct ug_received out[BUFFERS];
	bool is_there[BUFFERS] = { false };
	char *memory[BUFFERS];

	for (size_t i = 0; i < BUFFERS; i++) {
		memory[i] = malloc(BUFFER_LEN);
		require(memory[i] != NULL);
		out[i] = (struct ug_received){
			.data = memory[i],
			.cap = BUFFER_LEN,
		};
	}
	int r = receive_trains(rcv, sock, out, BUFFERS);

	for (size_t i = 0; i < BUFFERS; i++)
		for (size_t k = 0; k < BUFFERS; k++)
			if (out[i].data == memory[k])
				is_there[k] = true;
	for (size_t i = 0; i < BUFFERS; i++) {
		require(is_there[i]);
		free(memory[i]);
	}
	return r;
}

static int receive_in_slots(struct ug_receiver *rcv, struct ug_socket *sock)
{
	struct ug_received out[SLOTS] = { 0 };

	return receive_trains(rcv, sock, out, SLOTS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct ug_sys sys;
	static struct ug_socket *sock;
	struct ug_receive_stats stats;
	struct ug_receiver *rcv;
	uint8_t array;
	int n;

	if (!sock) {
		sys = ug_sys_linux;
		sys.recvmmsg = recv_some;
		sys.poll = no_poll;
		sock = make_socket(&sys);
	}
	input = data;
	input_len = len;
	got = bytes = 0;
	take(&array, 1);
	require(ug_receiver_new(&rcv, SLOTS) == 0);
	for (unsigned int call = 0;; call++) {
		/* From VIEWS on the first byte has the three take turns. */
		unsigned int way = array < VIEWS ? 0 : (array + call) % 3;

		if (way == 0)
			n = receive_views(rcv, sock, 1 + array % VIEWS);
		else if (way == 1)
			n = receive_in_slots(rcv, sock);
		else
			n = receive_in_buffers(rcv, sock);
		if (n < 0 || (n == 0 && !input_len))
			break;
	}
	ug_get_receive_stats(rcv, &stats, sizeof(stats));
	if (!ug_receiver_pending(rcv))
		require(got == stats.datagrams && bytes == stats.bytes);
	ug_receiver_free(rcv);
	return 0;
}
