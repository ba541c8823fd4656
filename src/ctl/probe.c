/* SPDX-License-Identifier: MIT */
/*
 * A ping goes by a ping socket (SOCK_DGRAM, icmp(7)). For users whom the kernel gives no
 * such socket it goes by a raw one, which sees all ICMP messages of the host: the
 * answer is known by a number that is drawn at random.
 */
#include "ctl/probe.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/now.h"

enum {
	IPV4_LEN = 20,
	IPV6_LEN = 40,
	/* Type, code, checksum, identifier and number of an echo (RFC 792, and RFC
	 * 4443, section 4.1). */
	ECHO_LEN = 8,
	PACKET_CAP = 65536,
};

/* An echo under way. */
struct echo {
	int fd;
	bool is_v6;
	bool is_raw;
	unsigned char *bytes; /* of the message, from its type on */
	size_t len;
};

/* The internet checksum (RFC 1071), big end first. */
static unsigned int checksum(const unsigned char *bytes, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

/* Return: 0; -EACCES: this user may not. */
static int set_mark(int fd, uint32_t mark)
{
	if (mark &&
	    setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0)
		return -EACCES;
	return 0;
}

/* Have the socket tell all ICMP errors. */
static void want_errors(int fd, int family)
{
	const int one = 1;

	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &one, sizeof(one));
	else
		setsockopt(fd, IPPROTO_IP, IP_RECVERR, &one, sizeof(one));
}

static int open_socket(struct echo *e, const union ctl_address *to,
		       uint32_t mark)
{
	const int probe4 = IP_PMTUDISC_PROBE, probe6 = IPV6_PMTUDISC_PROBE;
	int family = to->any.sa_family;
	int protocol = e->is_v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;

	e->fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, protocol);
	if (e->fd < 0 && (errno == EACCES || errno == EPERM)) {
		e->fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, protocol);
		e->is_raw = true;
	}
	if (e->fd < 0)
		return -errno;
	want_errors(e->fd, family);
	/* The packet is not cut here, whatever is known of the way. */
	if (e->is_v6)
		setsockopt(e->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &probe6,
			   sizeof(probe6));
	else
		setsockopt(e->fd, IPPROTO_IP, IP_MTU_DISCOVER, &probe4,
			   sizeof(probe4));
	if (set_mark(e->fd, mark) < 0)
		return -EACCES;
	return connect(e->fd, &to->any, ctl_address_len(to)) < 0 ? -errno : 0;
}

static int send_echo(struct echo *e)
{
	unsigned int sum;

	memset(e->bytes, 0, e->len);
	if (getrandom(e->bytes + 4, ECHO_LEN + 4, 0) < 0)
		return -errno;
	e->bytes[0] = e->is_v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO;
	/* The kernel computes the checksum of ICMPv6, and that of a ping socket. */
	sum = e->is_v6 ? 0 : checksum(e->bytes, e->len);
	e->bytes[2] = (unsigned char)(sum >> 8);
	e->bytes[3] = (unsigned char)sum;
	return send(e->fd, e->bytes, e->len, 0) < 0 ? -errno : 0;
}

/* Is this message, of @n bytes, the answer? A ping socket has put an identifier of its
 * own into the request. */
static bool is_answer(const struct echo *e, const unsigned char *got, size_t n)
{
	size_t from = e->is_raw ? 4 : 6;

	if (e->is_raw && !e->is_v6) {
		size_t head = n ? (size_t)(got[0] & 15) * 4 : 0;

		if (head < IPV4_LEN || n < head)
			return false;
		got += head;
		n -= head;
	}
	return n >= e->len &&
	       got[0] == (e->is_v6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY) &&
	       memcmp(got + from, e->bytes + from, e->len - from) == 0;
}

/* Return: as ctl_ping(). */
static int await_answer(const struct echo *e, int timeout_ms)
{
	unsigned char *got = malloc(PACKET_CAP);
	int64_t end = now_monotonic_ms() + timeout_ms;
	int64_t left;
	int r = got ? 0 : -ENOMEM;

	while (r == 0 && (left = end - now_monotonic_ms()) > 0) {
		struct pollfd pfd = { .fd = e->fd, .events = POLLIN };
		ssize_t n;

		if (poll(&pfd, 1, (int)left) <= 0)
			continue;
		n = recv(e->fd, got, PACKET_CAP, MSG_DONTWAIT);
		if (n >= 0)
			r = is_answer(e, got, (size_t)n);
		else if (errno != EAGAIN && errno != EINTR)
			r = -errno;
		else if (pfd.revents & POLLERR)
			/* Only the error queue has something, and it is not read. */
			r = -EHOSTUNREACH;
	}
	free(got);
	return r;
}

int ctl_ping(const union ctl_address *to, size_t len, uint32_t mark,
	     int timeout_ms)
{
	struct echo e = { .fd = -1, .is_v6 = to->any.sa_family == AF_INET6 };
	int r;

	e.len = len - (e.is_v6 ? IPV6_LEN : IPV4_LEN);
	e.bytes = malloc(e.len);
	if (!e.bytes)
		return -ENOMEM;
	r = open_socket(&e, to, mark);
	if (r == 0)
		r = send_echo(&e);
	if (r == 0)
		r = await_answer(&e, timeout_ms);
	if (e.fd >= 0)
		close(e.fd);
	free(e.bytes);
	return r;
}

/* Send a byte. Return: 0: nothing came; -errno. */
static int await_refusal(int fd, const union ctl_address *to, int timeout_ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	char byte = 0;

	if (connect(fd, &to->any, ctl_address_len(to)) < 0 ||
	    send(fd, &byte, sizeof(byte), 0) < 0)
		return -errno;
	if (poll(&pfd, 1, timeout_ms) <= 0)
		return 0;
	return recv(fd, &byte, sizeof(byte), MSG_DONTWAIT) < 0 ? -errno : 0;
}

int ctl_knock(const union ctl_address *to, uint32_t mark, int timeout_ms)
{
	int fd = socket(to->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	want_errors(fd, to->any.sa_family);
	err = set_mark(fd, mark);
	if (err == 0)
		err = await_refusal(fd, to, timeout_ms);
	close(fd);
	return err;
}
