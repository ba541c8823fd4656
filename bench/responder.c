/* SPDX-License-Identifier: MIT */
/*
 * Many peers of one daemon, which answer its initiations, for bench/death.py.
 *
 * usage: bench-responder PORT KEY N
 *
 * Identity i, from 1 to N, is at the address 100.64.0.0 + i, and all these addresses
 * are this host's. KEY is the daemon's public key, 64 hex digits. For each line of
 * standard input a line is printed, for the time since the last one:
 * "initiations,answered,most", where "most" is how many initiations came within a
 * second at most. Ends with standard input.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/init.h"
#include "identity.h"
#include "measure.h"

enum {
	/* The highest number of identities: the addresses of 100.64.0.0/16. */
	N_MAX = 0xffff,
	/* Initiations whose times are kept. A choice: more are not counted. */
	TIMES_MAX = 1 << 20,
};

/* Address of the identity 0. */
#define FIRST UINT32_C(0x64400000)

struct responder {
	int fd;
	uint32_t n;
	uint8_t daemon[NOISE_PUBLIC_KEY_LEN];
	struct device device;
	struct peer *peer;
	size_t n_answered;
	size_t n_times;
	uint64_t *times;
};

/* A datagram, the address of ours that it came to, and when the kernel had it. */
struct datagram {
	struct sockaddr_in from;
	struct in_addr to;
	struct timespec at;
	uint8_t buf[MESSAGE_HANDSHAKE_MAX_LEN];
	size_t len;
};

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(struct in_pktinfo)) +
		   CMSG_SPACE(sizeof(struct timespec))];
};

static int open_socket(uint16_t port)
{
	const struct sockaddr_in sin = { .sin_family = AF_INET,
					 .sin_port = htons(port) };
	const int on = 1, buffer_len = 8 << 20;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 ||
	    setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer_len,
		       sizeof(buffer_len)) < 0 ||
	    bind(fd, (const struct sockaddr *)&sin, sizeof(sin)) < 0) {
		perror("bench-responder");
		exit(1);
	}
	return fd;
}

static bool receive(int fd, struct datagram *d)
{
	struct iovec iov = { d->buf, sizeof(d->buf) };
	union control control;
	struct msghdr msg = {
		.msg_name = &d->from,
		.msg_namelen = sizeof(d->from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(fd, &msg, 0);
	struct in_pktinfo info = { 0 };
	struct cmsghdr *cmsg;

	if (n < 0)
		return false;
	for (cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
		if (cmsg->cmsg_type == IP_PKTINFO)
			memcpy(&info, CMSG_DATA(cmsg), sizeof(info));
		else if (cmsg->cmsg_type == SCM_TIMESTAMPNS)
			memcpy(&d->at, CMSG_DATA(cmsg), sizeof(d->at));
	}
	d->to = info.ipi_addr;
	d->len = (size_t)n;
	return true;
}

static void reply(int fd, struct datagram *d,
		  const struct device_answer *answer)
{
	const struct in_pktinfo info = { .ipi_spec_dst = d->to };
	struct iovec iov = { unconst(answer->buf), answer->len };
	union control control = { 0 };
	struct msghdr msg = {
		.msg_name = &d->from,
		.msg_namelen = sizeof(d->from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = CMSG_SPACE(sizeof(info)),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = IPPROTO_IP;
	cmsg->cmsg_type = IP_PKTINFO;
	cmsg->cmsg_len = CMSG_LEN(sizeof(info));
	memcpy(CMSG_DATA(cmsg), &info, sizeof(info));
	if (sendmsg(fd, &msg, 0) < 0)
		perror("bench-responder: sendmsg");
}

/* Become the identity, which knows nothing of earlier handshakes. */
static void become(struct responder *r, uint32_t i)
{
	uint8_t key[NOISE_PRIVATE_KEY_LEN];

	if (r->peer)
		device_remove_peer(&r->device, r->peer);
	identity_private(i, key);
	device_set_private_key(&r->device, key);
	r->peer = identity_add_peer(&r->device, r->daemon);
}

static void answer_one(struct responder *r)
{
	struct device_origin origin = { .endpoint = { .words = { 1 } },
					.source_len = 6 };
	struct device_answer answer = { 0 };
	struct datagram d = { .len = 0 };
	uint32_t i;

	if (!receive(r->fd, &d) ||
	    message_check(d.buf, d.len) != MESSAGE_INITIATION)
		return;
	i = ntohl(d.to.s_addr) - FIRST;
	if (!i || i > r->n)
		return;
	if (r->n_times < TIMES_MAX)
		r->times[r->n_times++] = (uint64_t)d.at.tv_sec * NSEC_PER_SEC +
					 (uint64_t)d.at.tv_nsec;
	become(r, i);
	device_receive_handshake(&r->device, d.buf, d.len, &origin,
				 bench_now_ns(), bench_now_ns(), &answer);
	if (answer.len) {
		reply(r->fd, &d, &answer);
		r->n_answered++;
	}
	peer_put(answer.peer);
}

/* The most times within a second. */
static size_t most_in_a_second(const uint64_t *times, size_t n)
{
	size_t first = 0, most = 0;

	for (size_t i = 0; i < n; i++) {
		while (times[i] - times[first] >= NSEC_PER_SEC)
			first++;
		most = size_max(most, i - first + 1);
	}
	return most;
}

static bool report(struct responder *r)
{
	char line[16];

	if (!fgets(line, sizeof(line), stdin))
		return false;
	printf("%zu,%zu,%zu\n", r->n_times, r->n_answered,
	       most_in_a_second(r->times, r->n_times));
	fflush(stdout);
	r->n_times = 0;
	r->n_answered = 0;
	return true;
}

static void run(struct responder *r)
{
	struct pollfd pfds[] = {
		{ .fd = STDIN_FILENO, .events = POLLIN },
		{ .fd = r->fd, .events = POLLIN },
	};

	for (;;) {
		if (poll(pfds, 2, -1) < 0)
			return;
		if (pfds[0].revents && !report(r))
			return;
		if (pfds[1].revents)
			answer_one(r);
	}
}

int main(int argc, char **argv)
{
	struct responder r = { 0 };

	if (argc != 4 || crypto_init() ||
	    sodium_hex2bin(r.daemon, sizeof(r.daemon), argv[2], strlen(argv[2]),
			   NULL, NULL, NULL))
		return 2;
	r.n = (uint32_t)strtoul(argv[3], NULL, 10);
	if (!r.n || r.n > N_MAX)
		return 2;
	r.times = calloc(TIMES_MAX, sizeof(*r.times));
	if (!r.times)
		return 2;
	rcu_register();
	if (device_init(&r.device, &identity_ops, NULL))
		return 1;
	device_set_up(&r.device, true, 1);
	r.fd = open_socket((uint16_t)strtoul(argv[1], NULL, 10));
	run(&r);
	device_deinit(&r.device);
	free(r.times);
	rcu_unregister();
	return 0;
}
