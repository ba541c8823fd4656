/* SPDX-License-Identifier: MIT */
#include "tests/platform/datagram.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/lib/check.h"

enum {
	/* Socket buffers: more than a test sends before it receives. */
	BUFFER_LEN = 8 << 20,
	/* After this time without a message a test fails. A choice. */
	PATIENCE_MS = 5000,
	/* More than the control messages and the command need. */
	CONTROL_CAP = 256,
	COMMAND_CAP = 128,
	/* The largest prime below 2^16: no segment size divides it. */
	PATTERN_LEN = 65521,
};

static const char mark[] = "the end";

union address address_set(const char *text, uint16_t port)
{
	union address a;

	memset(&a, 0, sizeof(a));
	if (inet_pton(AF_INET, text, &a.v4.sin_addr) == 1) {
		a.v4.sin_family = AF_INET;
		a.v4.sin_port = htons(port);
	} else {
		assert_int_equal(inet_pton(AF_INET6, text, &a.v6.sin6_addr), 1);
		a.v6.sin6_family = AF_INET6;
		a.v6.sin6_port = htons(port);
	}
	return a;
}

socklen_t address_len(const union address *a)
{
	return a->any.sa_family == AF_INET ? sizeof(a->v4) : sizeof(a->v6);
}

bool address_equal(const union address *a, const union address *b)
{
	if (a->any.sa_family != b->any.sa_family)
		return false;
	if (a->any.sa_family == AF_INET)
		return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
	return !memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr,
		       sizeof(a->v6.sin6_addr));
}

/* Sets an option of type int that must be there. */
static void set_option(int fd, int level, int name, int value)
{
	assert_int_equal(setsockopt(fd, level, name, &value, sizeof(value)), 0);
}

int udp_open(const char *text, bool gro, union address *at)
{
	union address a = address_set(text, 0);
	socklen_t len = address_len(&a);
	int fd;

	fd = socket(a.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		    0);
	assert_true(fd >= 0);
	set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_LEN);
	set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_LEN);
	if (a.any.sa_family == AF_INET)
		set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
	else
		set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	if (gro)
		set_option(fd, IPPROTO_UDP, UDP_GRO, 1);
	assert_int_equal(bind(fd, &a.any, len), 0);
	assert_int_equal(getsockname(fd, &a.any, &len), 0);
	if (at)
		*at = a;
	return fd;
}

/* Appends a control message to @mh, whose buffer is large enough. */
static void control_add(struct msghdr *mh, int level, int type,
			const void *data, size_t len)
{
	struct cmsghdr *cmsg;

	cmsg = (void *)((char *)mh->msg_control + mh->msg_controllen);
	cmsg->cmsg_level = level;
	cmsg->cmsg_type = type;
	cmsg->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(cmsg), data, len);
	mh->msg_controllen += CMSG_SPACE(len);
}

/* Adds the packet info that @out asks for, of the destination's family. */
static void control_add_source(struct msghdr *mh, const struct outgoing *out)
{
	struct in_pktinfo v4 = { 0 };
	struct in6_pktinfo v6 = { 0 };

	if (out->to->any.sa_family == AF_INET) {
		v4.ipi_ifindex = (int)out->ifindex;
		if (out->source)
			v4.ipi_spec_dst = out->source->v4.sin_addr;
		control_add(mh, IPPROTO_IP, IP_PKTINFO, &v4, sizeof(v4));
	} else {
		v6.ipi6_ifindex = out->ifindex;
		if (out->source)
			v6.ipi6_addr = out->source->v6.sin6_addr;
		control_add(mh, IPPROTO_IPV6, IPV6_PKTINFO, &v6, sizeof(v6));
	}
}

ssize_t udp_send(int fd, const struct outgoing *out)
{
	_Alignas(struct cmsghdr) char control[CONTROL_CAP] = { 0 };
	struct mmsghdr mm = { 0 };
	struct msghdr *mh = &mm.msg_hdr;
	int n;

	mh->msg_name = unconst(out->to);
	mh->msg_namelen = out->to ? address_len(out->to) : 0;
	mh->msg_iov = unconst(out->iov);
	mh->msg_iovlen = out->n_iov;
	mh->msg_control = control;
	if (out->source || out->ifindex)
		control_add_source(mh, out);
	if (out->segment)
		control_add(mh, IPPROTO_UDP, UDP_SEGMENT, &out->segment,
			    sizeof(out->segment));

	n = sendmmsg(fd, &mm, 1, 0);
	if (n < 0)
		return -errno;
	assert_int_equal(n, 1);
	return (ssize_t)mm.msg_len;
}

ssize_t udp_send_bytes(int fd, const union address *to, const void *buf,
		       size_t len, size_t segment)
{
	struct iovec iov = { .iov_base = unconst(buf), .iov_len = len };
	struct outgoing out = {
		.to = to,
		.iov = &iov,
		.n_iov = 1,
		.segment = (uint16_t)segment,
	};

	return udp_send(fd, &out);
}

/* Reads what a control message says into @in. */
static void control_read(const struct cmsghdr *cmsg, struct arrival *in)
{
	struct in_pktinfo v4;
	struct in6_pktinfo v6;

	if (cmsg->cmsg_level == IPPROTO_UDP && cmsg->cmsg_type == UDP_GRO) {
		in->segment_len = cmsg->cmsg_len;
		if (cmsg->cmsg_len >= CMSG_LEN(sizeof(in->segment)))
			memcpy(&in->segment, CMSG_DATA(cmsg),
			       sizeof(in->segment));
	} else if (cmsg->cmsg_level == IPPROTO_IP &&
		   cmsg->cmsg_type == IP_PKTINFO) {
		memcpy(&v4, CMSG_DATA(cmsg), sizeof(v4));
		in->ifindex = (unsigned int)v4.ipi_ifindex;
	} else if (cmsg->cmsg_level == IPPROTO_IPV6 &&
		   cmsg->cmsg_type == IPV6_PKTINFO) {
		memcpy(&v6, CMSG_DATA(cmsg), sizeof(v6));
		in->ifindex = v6.ipi6_ifindex;
	}
}

void udp_receive(int fd, uint8_t *buf, struct arrival *in)
{
	_Alignas(struct cmsghdr) char control[CONTROL_CAP] = { 0 };
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	struct iovec iov = { .iov_base = buf, .iov_len = MESSAGE_CAP };
	struct msghdr mh = {
		.msg_name = &in->from,
		.msg_namelen = sizeof(in->from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;
	ssize_t n;

	memset(in, 0, sizeof(*in));
	assert_int_equal(poll(&pfd, 1, PATIENCE_MS), 1);
	n = recvmsg(fd, &mh, 0);
	assert_true(n >= 0);
	assert_int_equal(mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC), 0);
	in->len = (size_t)n;
	for (cmsg = CMSG_FIRSTHDR(&mh); cmsg; cmsg = CMSG_NXTHDR(&mh, cmsg))
		control_read(cmsg, in);
}

bool udp_is_empty(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, 0) == 0;
}

void udp_expect(int fd, const uint8_t *bytes, size_t len)
{
	static uint8_t buf[MESSAGE_CAP];
	struct arrival in;

	udp_receive(fd, buf, &in);
	assert_int_equal(in.len, len);
	assert_int_equal(in.segment, 0);
	assert_memory_equal(buf, bytes, len);
}

void udp_expect_cut(int fd, const uint8_t *bytes, size_t len, size_t segment)
{
	size_t off;

	for (off = 0; off < len; off += segment)
		udp_expect(fd, bytes + off, size_min(segment, len - off));
}

void udp_expect_end(int to_fd, int from_fd, const union address *to)
{
	assert_int_equal(udp_send_bytes(from_fd, to, mark, sizeof(mark), 0),
			 sizeof(mark));
	udp_expect(to_fd, (const uint8_t *)mark, sizeof(mark));
	assert_true(udp_is_empty(to_fd));
}

bool device_takes_trains(const char *device)
{
	char command[COMMAND_CAP];
	bool cuts;

	snprintf(command, sizeof(command),
		 "ethtool -k %s 2>/dev/null | "
		 "grep -q '^tx-udp-segmentation: off'",
		 device);
	cuts = system(command) == 0;
	if (cuts)
		seen(false, "trains are cut before %s", device);
	return !cuts;
}

void bytes_fill(uint8_t *buf, size_t len)
{
	size_t i, k;

	for (i = 0; i < len; i++) {
		k = i % PATTERN_LEN;
		buf[i] = (uint8_t)(k * 167 ^ k >> 8);
	}
}

void seen(bool expected, const char *fmt, ...)
{
	va_list ap;

	/* A line of TAP that begins with "#" is a comment. */
	printf("# %s", expected ? "" : "DIFFERS: ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}
