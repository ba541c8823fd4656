/* SPDX-License-Identifier: MIT */
/*
 * Sending and receiving by plain system calls, for programs that test the
 * kernel's behaviour. Failures of the set-up end the test through cmocka;
 * results that a test examines are returned.
 */
#ifndef TESTS_PLATFORM_DATAGRAM_H
#define TESTS_PLATFORM_DATAGRAM_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
	/* Larger than any message. */
	MESSAGE_CAP = 1 << 16,
	/* The headers in front of a datagram's payload. */
	HEADERS_IPV4 = 20 + 8,
	HEADERS_IPV6 = 40 + 8,
	/* Largest UDP payload in a packet (IPv4) or payload (IPv6) of 65,535
	 * bytes. */
	DATAGRAM_MAX_IPV4 = 65507,
	DATAGRAM_MAX_IPV6 = 65527,
	/* Number of segments that every kernel accepts. */
	SEGMENTS_SAFE = 64,
};

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/**
 * struct outgoing - a message to send, with its control data
 * @to:		where to, or NULL on a connected socket
 * @iov:	its bytes
 * @n_iov:	vectors at @iov
 * @segment:	UDP_SEGMENT, 0 for none
 * @source:	the local address for IP_PKTINFO or IPV6_PKTINFO, or NULL
 * @ifindex:	the interface that goes with it; 0 for none. The control
 *		message is sent if either is set.
 */
struct outgoing {
	const union address *to;
	const struct iovec *iov;
	size_t n_iov;
	uint16_t segment;
	const union address *source;
	unsigned int ifindex;
};

/**
 * struct arrival - the result of one recvmsg(2)
 * @len:	bytes of payload
 * @segment:	the value of UDP_GRO's control message, 0 if there was none
 * @segment_len: that message's cmsg_len
 * @ifindex:	where it came in, if the socket asked for packet info
 * @from:	who sent it
 */
struct arrival {
	size_t len;
	int segment;
	size_t segment_len;
	unsigned int ifindex;
	union address from;
};

/* address_set() - make an address of numeric text and a port. */
union address address_set(const char *text, uint16_t port);

/* address_len() - the bytes of an address that system calls want. */
socklen_t address_len(const union address *a);

/* address_equal() - are the hosts equal? Ports do not count. */
bool address_equal(const union address *a, const union address *b);

/**
 * udp_open() - a UDP socket with a port of its own and large buffers
 * @text:	the local address
 * @gro:	switch UDP_GRO on
 * @at:		set to the address and the port that was found, or NULL
 *
 * Return: its descriptor, in the current namespace.
 */
int udp_open(const char *text, bool gro, union address *at);

/**
 * udp_send() - send one message through sendmmsg(2)
 *
 * Return: the bytes that the kernel took, or -errno.
 */
ssize_t udp_send(int fd, const struct outgoing *out);

/**
 * udp_send_bytes() - send one buffer
 * @fd:		the socket
 * @to:		where to
 * @buf:	@len bytes
 * @len:	how many
 * @segment:	UDP_SEGMENT, 0 for none
 *
 * Return: the bytes that the kernel took, or -errno.
 */
ssize_t udp_send_bytes(int fd, const union address *to, const void *buf,
		       size_t len, size_t segment);

/**
 * udp_receive() - wait for one message; five seconds without one are a failure
 * @fd:		the socket
 * @buf:	MESSAGE_CAP bytes to receive into
 * @in:		what came
 */
void udp_receive(int fd, uint8_t *buf, struct arrival *in);

/* udp_is_empty() - is there nothing to receive right now? */
bool udp_is_empty(int fd);

/**
 * udp_expect() - receive one message and compare it
 * @fd:		the socket
 * @bytes:	what it must hold
 * @len:	how many bytes
 */
void udp_expect(int fd, const uint8_t *bytes, size_t len);

/**
 * udp_expect_cut() - receive the datagrams of a train, nothing lost or moved
 * @fd:		a socket without UDP_GRO
 * @bytes:	the train's payload
 * @len:	how many bytes
 * @segment:	where it was to be cut
 */
void udp_expect_cut(int fd, const uint8_t *bytes, size_t len, size_t segment);

/**
 * udp_expect_end() - check that no message but a mark, sent now, arrives
 * @to_fd:	a socket that was sent to, on @to
 * @from_fd:	the socket that sent
 * @to:		its destination
 *
 * The mark arrives after all messages that were sent before it, so the test
 * needs no waiting time to show that a message does not arrive.
 */
void udp_expect_end(int to_fd, int from_fd, const union address *to);

/**
 * device_takes_trains() - does the kernel pass UDP trains to a device whole?
 * @device:	a device of the current namespace, in software (lo, veth)
 *
 * Before Linux 5.11 the kernel cut each train in front of such devices. The
 * answer comes from ethtool(8), and a line is printed if it is "no". Without
 * ethtool the answer is true.
 */
bool device_takes_trains(const char *device);

/* bytes_fill() - fill with a pattern that repeats every 65,521 bytes. */
void bytes_fill(uint8_t *buf, size_t len);

/**
 * seen() - print a line about this kernel
 * @expected:	whether the library's authors have seen the same
 * @fmt:	as for printf(3)
 *
 * If it is not @expected, the line begins with "DIFFERS". The test goes on,
 * because it asserts only what the library needs.
 */
void seen(bool expected, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif /* TESTS_PLATFORM_DATAGRAM_H */
