/* SPDX-License-Identifier: MIT */
/*
 * Sends false handshake messages from addresses that no host has. It needs a
 * raw socket, and is for namespaces that a test has made, and for nothing else.
 *
 * usage: flood KIND ADDRESS PORT PUBLIC_KEY COUNT RATE [CPU]
 *
 * KIND is
 *   garbage		initiations with a wrong mac1
 *   mac1		initiations with a right mac1, for which the public key
 *			(64 hex digits) is enough
 *   response:INDEX	responses with a right mac1
 *   cookie:INDEX	cookie replies
 * INDEX is a receiver index (hex digits), which an observer can read in passing
 * messages. RATE is in datagrams a second; 0 means as fast as possible. CPU is
 * the processor to run on. Prints the number of datagrams sent, and the seconds.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "crypto/init.h"
#include "noise/cookie.h"
#include "noise/wire.h"

enum {
	/* Messages in one system call. A choice. */
	BATCH = 64,
	/* Linux's default of the TTL. */
	HOP_LIMIT = 64,
	/* A choice. */
	SOURCE_PORT = 40000,
	HEX_LEN = 2 * NOISE_PUBLIC_KEY_LEN,
};

/* Source addresses are from 100.64.0.0/10 and 2001:db8:bad::/48. */
#define SOURCE4 0x64400000U
static const uint8_t source6[] = { 0x20, 0x01, 0x0d, 0xb8, 0x0b, 0xad };

/* The longest member comes first: random bytes are written to it. */
union message {
	struct message_initiation initiation;
	struct message_response response;
	struct message_cookie cookie;
};

struct packet4 {
	struct iphdr ip;
	struct udphdr udp;
	union message msg;
};

struct packet6 {
	struct ip6_hdr ip;
	struct udphdr udp;
	union message msg;
};

static_assert(sizeof(struct packet4) == 20 + 8 + 148, "no padding");
static_assert(sizeof(struct packet6) == 40 + 8 + 148, "no padding");

struct flood {
	enum message_type type;
	size_t msg_len;
	struct le32 receiver;
	bool has_mac1;
	bool is_v6;
	struct sockaddr_storage to;
	socklen_t to_len;
	uint16_t port;
	uint8_t public_key[NOISE_PUBLIC_KEY_LEN];
	unsigned long count;
	unsigned long rate;
	int fd;
	uint64_t seed;
	struct cookie_maker maker;
	union {
		struct packet4 v4;
		struct packet6 v6;
	} packets[BATCH];
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Steele, Lea and Flood, "Fast splittable pseudorandom number generators". */
static uint64_t next(struct flood *f)
{
	uint64_t z = (f->seed += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void fill_message(struct flood *f, union message *msg)
{
	uint8_t *bytes = (uint8_t *)msg;

	for (size_t i = 0; i + 8 <= sizeof(*msg); i += 8) {
		uint64_t word = next(f);

		memcpy(bytes + i, &word, sizeof(word));
	}
	/* The type has the same offset in all messages. */
	msg->initiation.type = le32_make(f->type);
	if (f->type == MESSAGE_RESPONSE)
		msg->response.receiver = f->receiver;
	if (f->type == MESSAGE_COOKIE)
		msg->cookie.receiver = f->receiver;
	if (f->has_mac1)
		cookie_maker_add_macs(&f->maker, msg, f->msg_len, 1);
}

static void fill_udp(const struct flood *f, struct udphdr *udp)
{
	udp->source = htons(SOURCE_PORT);
	udp->dest = htons(f->port);
	udp->len = htons((uint16_t)(sizeof(*udp) + f->msg_len));
	udp->check = 0;
}

/* The checksum of RFC 1071 over an even number of bytes. */
static uint32_t sum(uint32_t so_far, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i += 2)
		so_far += (uint32_t)bytes[i] << 8 | bytes[i + 1];
	return so_far;
}

static void fill4(struct flood *f, struct packet4 *p)
{
	const struct sockaddr_in *to = (const void *)&f->to;

	memset(&p->ip, 0, sizeof(p->ip));
	p->ip.version = 4;
	p->ip.ihl = sizeof(p->ip) / 4;
	p->ip.ttl = HOP_LIMIT;
	p->ip.protocol = IPPROTO_UDP;
	p->ip.saddr = htonl(SOURCE4 | (uint32_t)(next(f) & 0x3fffff));
	p->ip.daddr = to->sin_addr.s_addr;
	fill_udp(f, &p->udp);
	fill_message(f, &p->msg);
}

static void fill6(struct flood *f, struct packet6 *p)
{
	const struct sockaddr_in6 *to = (const void *)&f->to;
	const size_t len = sizeof(p->udp) + f->msg_len;
	uint64_t word = next(f);
	uint32_t check;

	memset(&p->ip, 0, sizeof(p->ip));
	p->ip.ip6_vfc = 6 << 4;
	p->ip.ip6_plen = htons((uint16_t)len);
	p->ip.ip6_nxt = IPPROTO_UDP;
	p->ip.ip6_hlim = HOP_LIMIT;
	memcpy(&p->ip.ip6_src, source6, sizeof(source6));
	memcpy((uint8_t *)&p->ip.ip6_src + sizeof(source6), &word,
	       sizeof(word));
	p->ip.ip6_dst = to->sin6_addr;
	fill_udp(f, &p->udp);
	fill_message(f, &p->msg);
	check = sum(IPPROTO_UDP + (uint32_t)len, &p->ip.ip6_src,
		    2 * sizeof(p->ip.ip6_src));
	check = sum(check, &p->udp, len);
	check = (check & 0xffff) + (check >> 16);
	check = (check & 0xffff) + (check >> 16);
	p->udp.check = htons((uint16_t)(check == 0xffff ? check : ~check));
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static void sleep_until(uint64_t at_ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(at_ns / NSEC_PER_SEC),
		.tv_nsec = (long)(at_ns % NSEC_PER_SEC),
	};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL))
		;
}

static void send_batch(struct flood *f, unsigned int n)
{
	struct mmsghdr msgs[BATCH];
	struct iovec iov[BATCH];
	unsigned int done = 0;

	memset(msgs, 0, sizeof(msgs));
	for (unsigned int i = 0; i < n; i++) {
		if (f->is_v6)
			fill6(f, &f->packets[i].v6);
		else
			fill4(f, &f->packets[i].v4);
		iov[i].iov_base = &f->packets[i];
		iov[i].iov_len = (f->is_v6 ? offsetof(struct packet6, msg)
					   : offsetof(struct packet4, msg)) +
				 f->msg_len;
		msgs[i].msg_hdr.msg_iov = &iov[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
		msgs[i].msg_hdr.msg_name = &f->to;
		msgs[i].msg_hdr.msg_namelen = f->to_len;
	}
	while (done < n) {
		int sent = sendmmsg(f->fd, msgs + done, n - done, 0);

		if (sent > 0)
			done += (unsigned int)sent;
		else if (errno != ENOBUFS && errno != EINTR && errno != EAGAIN)
			die("sendmmsg");
	}
}

static void run(struct flood *f)
{
	const uint64_t start = now_ns();
	unsigned long done = 0;

	while (done < f->count) {
		unsigned long n =
			f->count - done < BATCH ? f->count - done : BATCH;

		if (f->rate)
			sleep_until(start + done * NSEC_PER_SEC / f->rate);
		send_batch(f, (unsigned int)n);
		done += n;
	}
	printf("%lu %.3f\n", done,
	       (double)(now_ns() - start) / (double)NSEC_PER_SEC);
}

static void read_key(struct flood *f, const char *hex)
{
	unsigned int byte;

	for (size_t i = 0; i < NOISE_PUBLIC_KEY_LEN; i++) {
		if (strlen(hex) != HEX_LEN ||
		    sscanf(hex + 2 * i, "%2x", &byte) != 1) {
			errno = EINVAL;
			die(hex);
		}
		f->public_key[i] = (uint8_t)byte;
	}
	cookie_maker_init(&f->maker, f->public_key);
}

static void read_address(struct flood *f, const char *text)
{
	struct sockaddr_in *v4 = (void *)&f->to;
	struct sockaddr_in6 *v6 = (void *)&f->to;

	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		f->to_len = sizeof(*v4);
		return;
	}
	memset(&f->to, 0, sizeof(f->to));
	if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1) {
		errno = EINVAL;
		die(text);
	}
	v6->sin6_family = AF_INET6;
	f->to_len = sizeof(*v6);
	f->is_v6 = true;
}

static void read_kind(struct flood *f, const char *text)
{
	unsigned int idx = 0;

	f->type = MESSAGE_INITIATION;
	f->msg_len = sizeof(struct message_initiation);
	f->has_mac1 = strcmp(text, "garbage") != 0;
	if (sscanf(text, "response:%x", &idx) == 1) {
		f->type = MESSAGE_RESPONSE;
		f->msg_len = sizeof(struct message_response);
	} else if (sscanf(text, "cookie:%x", &idx) == 1) {
		f->type = MESSAGE_COOKIE;
		f->msg_len = sizeof(struct message_cookie);
		f->has_mac1 = false;
	} else if (f->has_mac1 && strcmp(text, "mac1") != 0) {
		errno = EINVAL;
		die(text);
	}
	f->receiver = le32_make(idx);
}

static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("sched_setaffinity");
}

int main(int argc, char **argv)
{
	static struct flood f;

	if (argc < 7 || argc > 8 || crypto_init()) {
		fprintf(stderr, "usage: flood KIND ADDRESS PORT PUBLIC_KEY "
				"COUNT RATE [CPU]\n");
		return 2;
	}
	read_kind(&f, argv[1]);
	read_address(&f, argv[2]);
	f.port = (uint16_t)strtoul(argv[3], NULL, 10);
	read_key(&f, argv[4]);
	f.count = strtoul(argv[5], NULL, 10);
	f.rate = strtoul(argv[6], NULL, 10);
	if (argc > 7)
		stay_on(atoi(argv[7]));
	if (getrandom(&f.seed, sizeof(f.seed), 0) != sizeof(f.seed))
		die("getrandom");
	f.fd = socket(f.is_v6 ? AF_INET6 : AF_INET, SOCK_RAW, IPPROTO_RAW);
	if (f.fd < 0)
		die("socket");
	run(&f);
	return 0;
}
