/* SPDX-License-Identifier: MIT */
/*
 * Many peers of one daemon, which answer its initiations, for tests/netns/crowd.py.
 *
 * usage: bench-responder PORT KEY N
 *
 * Identity i, from 1 to N, is at the address 100.64.0.0 + i, and all these addresses
 * are this host's. KEY is the daemon's public key, 64 hex digits. For each line of
 * standard input a line is printed, for the time since the last line that was not empty:
 * "initiations,begun,answered,most,cookies". "begun" is how many identities were sent an
 * initiation, "answered" how many have answered one, "most" how many of "begun" came
 * within a second at most, by the clock of the kernel when it had the first initiation for
 * each, and "cookies" how many initiations were answered by a cookie reply instead.
 *
 * A cookie is asked for as by a daemon that has all these identities: messages wait in a
 * ring of the same length, and its load begins at the same number of them and lasts as long
 * (engine/bounds.h, engine/handshaker.c). Ends with standard input.
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
#include "base/ring.h"
#include "crypto/init.h"
#include "engine/bounds.h"
#include "identity.h"
#include "measure.h"

enum {
	/* The highest number of identities: the addresses of 100.64.0.0/16. */
	N_MAX = 0xffff,
	/* Flags of an identity: the steps of its handshake that were seen. */
	HAS_BEGUN = 1 << 0,
	HAS_ANSWERED = 1 << 1,
};

/* Address of the identity 0. */
#define FIRST UINT32_C(0x64400000)

/* A datagram, the address of ours that it came to, and when the kernel had it. */
struct datagram {
	struct sockaddr_in from;
	struct in_addr to;
	struct timespec at;
	uint8_t buf[MESSAGE_HANDSHAKE_MAX_LEN];
	size_t len;
};

struct responder {
	int fd;
	uint32_t n;
	uint8_t daemon[NOISE_PUBLIC_KEY_LEN];
	struct device device;
	struct peer *peer;
	struct ring waiting;
	struct datagram datagrams[HANDSHAKE_RING];
	uint64_t loaded_until;
	size_t n_initiations;
	size_t n_answered;
	size_t n_cookies;
	size_t n_begun;
	uint64_t begun[N_MAX];
	uint8_t known[N_MAX + 1];
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
	ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT);
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

/* Which identity is an initiation for? 0: it is none, or for nobody. */
static uint32_t find_identity(const struct responder *r,
			      const struct datagram *d)
{
	uint32_t i = ntohl(d->to.s_addr) - FIRST;

	return message_check(d->buf, d->len) == MESSAGE_INITIATION && i <= r->n
		       ? i
		       : 0;
}

/* Put all that has arrived into the ring, and note when. What has no place is dropped. */
static void take_all(struct responder *r)
{
	struct datagram d = { .len = 0 };

	while (receive(r->fd, &d)) {
		uint32_t i = find_identity(r, &d);

		if (!i)
			continue;
		r->n_initiations++;
		if (!(r->known[i] & HAS_BEGUN))
			r->begun[r->n_begun++] =
				(uint64_t)d.at.tv_sec * NSEC_PER_SEC +
				(uint64_t)d.at.tv_nsec;
		r->known[i] |= HAS_BEGUN;
		if (!ring_is_full(&r->waiting))
			r->datagrams[ring_push(&r->waiting)] = d;
	}
	if (r->waiting.n >= HANDSHAKE_LOADED)
		r->loaded_until = bench_now_ns() + NSEC_PER_SEC;
}

static void answer_one(struct responder *r)
{
	struct datagram *d = &r->datagrams[ring_pop(&r->waiting)];
	struct device_origin origin = {
		.endpoint = { .words = { 1 } },
		.source_len = 6,
		.is_under_load = bench_now_ns() < r->loaded_until,
	};
	struct device_answer answer = { 0 };
	uint32_t i = find_identity(r, d);

	memcpy(origin.source, &d->from.sin_addr, 4);
	memcpy(origin.source + 4, &d->from.sin_port, 2);
	become(r, i);
	device_receive_handshake(&r->device, d->buf, d->len, &origin,
				 bench_now_ns(), bench_now_ns(), &answer);
	if (answer.len)
		reply(r->fd, d, &answer);
	if (answer.len && !answer.peer)
		r->n_cookies++;
	if (answer.peer && !(r->known[i] & HAS_ANSWERED))
		r->n_answered++;
	if (answer.peer)
		r->known[i] |= HAS_ANSWERED;
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
	printf("%zu,%zu,%zu,%zu,%zu\n", r->n_initiations, r->n_begun,
	       r->n_answered, most_in_a_second(r->begun, r->n_begun),
	       r->n_cookies);
	fflush(stdout);
	if (*line == '\n')
		return true;
	r->n_initiations = r->n_begun = r->n_answered = r->n_cookies = 0;
	memset(r->known, 0, sizeof(r->known));
	return true;
}

static void run(struct responder *r)
{
	struct pollfd pfds[] = {
		{ .fd = STDIN_FILENO, .events = POLLIN },
		{ .fd = r->fd, .events = POLLIN },
	};

	for (;;) {
		if (poll(pfds, 2, r->waiting.n ? 0 : -1) < 0)
			return;
		if (pfds[0].revents && !report(r))
			return;
		if (pfds[1].revents)
			take_all(r);
		if (r->waiting.n)
			answer_one(r);
	}
}

int main(int argc, char **argv)
{
	static struct responder r;

	if (argc != 4 || crypto_init() ||
	    sodium_hex2bin(r.daemon, sizeof(r.daemon), argv[2], strlen(argv[2]),
			   NULL, NULL, NULL))
		return 2;
	r.n = (uint32_t)strtoul(argv[3], NULL, 10);
	if (!r.n || r.n > N_MAX)
		return 2;
	ring_init(&r.waiting, HANDSHAKE_RING);
	rcu_register();
	if (device_init(&r.device, &identity_ops, NULL))
		return 1;
	device_set_up(&r.device, true, 1);
	r.fd = open_socket((uint16_t)strtoul(argv[1], NULL, 10));
	run(&r);
	device_deinit(&r.device);
	rcu_unregister();
	return 0;
}
