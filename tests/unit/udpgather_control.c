/* SPDX-License-Identifier: MIT */
/*
 * Control messages: built ones are compared byte by byte; malformed ones are
 * parsed, too.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <time.h> /* linux/errqueue.h uses struct timespec */
#include <linux/errqueue.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "udpgather/control.h"

/* The control data of a message without TTL and time. */
static size_t build_control(struct control *c, int family, bool mapped,
			    const struct ug_source *source, uint8_t tos,
			    size_t segment_len)
{
	return ug_control_build(c, &(struct control_out){
					   .source = source,
					   .segment_len = segment_len,
					   .family = family,
					   .mapped = mapped,
					   .tos = tos,
				   });
}

/* Control data that is being built. */
struct data {
	_Alignas(struct cmsghdr) unsigned char bytes[512];
	size_t len;
};

static void put(struct data *d, int level, int type, const void *value,
		size_t len)
{
	struct cmsghdr head = {
		.cmsg_level = level,
		.cmsg_type = type,
		.cmsg_len = CMSG_LEN(len),
	};

	memcpy(d->bytes + d->len, &head, sizeof(head));
	if (len)
		memcpy(d->bytes + d->len + CMSG_LEN(0), value, len);
	d->len += CMSG_SPACE(len);
}

static void expect_equal(const struct control *c, size_t len,
			 const struct data *d)
{
	assert_int_equal(len, d->len);
	assert_true(len <= sizeof(c->bytes));
	/*
	 * Padding behind the data may have any value. Padding in the header is
	 * part of the kernel's length field, so it is compared.
	 */
	for (size_t off = 0; off < len;) {
		struct cmsghdr head;

		memcpy(&head, d->bytes + off, sizeof(head));
		assert_memory_equal(c->bytes + off, d->bytes + off,
				    head.cmsg_len);
		off += CMSG_ALIGN(head.cmsg_len);
	}
}

static void build_v4(void **state)
{
	struct ug_source source = { .addr = { 10, 1, 2, 3 }, .ifindex = 7 };
	struct in_pktinfo info = { .ipi_spec_dst = { htonl(0x0a010203) } };
	struct control c;
	struct data d = { .len = 0 };
	uint16_t segment = 1452;
	int tos = 0x88;

	(void)state;
	memset(&c, 0xff, sizeof(c));
	assert_int_equal(build_control(&c, AF_INET, false, NULL, 0, 0), 0);
	/* No interface is set: the kernel would send by that interface only. */
	put(&d, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	expect_equal(&c, build_control(&c, AF_INET, false, &source, 0, 0), &d);
	put(&d, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	expect_equal(&c, build_control(&c, AF_INET, false, &source, 0x88, 0),
		     &d);
	put(&d, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment));
	expect_equal(&c, build_control(&c, AF_INET, false, &source, 0x88, 1452),
		     &d);
}

static void build_v6(void **state)
{
	struct ug_source source = { .addr = { 0xfd, [15] = 1 }, .ifindex = 7 };
	struct in6_pktinfo info = { 0 };
	struct control c;
	struct data d = { .len = 0 }, local = { .len = 0 };
	uint16_t segment = 65535;
	int tos = 255;

	(void)state;
	memcpy(&info.ipi6_addr, source.addr, 16);
	put(&d, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	put(&d, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
	put(&d, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment));
	expect_equal(&c,
		     build_control(&c, AF_INET6, false, &source, 255, 65535),
		     &d);

	/* A link-local address needs its interface. */
	source.addr[0] = 0xfe;
	source.addr[1] = 0x80;
	memcpy(&info.ipi6_addr, source.addr, 16);
	info.ipi6_ifindex = 7;
	put(&local, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	expect_equal(&c, build_control(&c, AF_INET6, false, &source, 0, 0),
		     &local);
}

/* If a message has both kinds of packet info, that of IPv4 counts, in any order:
 * that of IPv6 names the group of a multicast message. */
static void both_infos(void **state)
{
	struct in_pktinfo four = { .ipi_ifindex = 3 };
	struct in6_pktinfo six = { .ipi6_ifindex = 4 };

	(void)state;
	inet_pton(AF_INET, "10.9.0.1", &four.ipi_spec_dst);
	inet_pton(AF_INET, "239.1.2.3", &four.ipi_addr);
	inet_pton(AF_INET6, "::ffff:239.1.2.3", &six.ipi6_addr);
	for (int order = 0; order < 2; order++) {
		struct data d = { .len = 0 };
		struct control_info info;

		if (order)
			put(&d, IPPROTO_IP, IP_PKTINFO, &four, sizeof(four));
		put(&d, IPPROTO_IPV6, IPV6_PKTINFO, &six, sizeof(six));
		if (!order)
			put(&d, IPPROTO_IP, IP_PKTINFO, &four, sizeof(four));
		assert_int_equal(ug_control_parse(d.bytes, d.len, &info), 0);
		assert_true(info.has_source && info.is_ipv4);
		assert_int_equal(info.source.ifindex, 3);
		assert_memory_equal(info.source.addr, &four.ipi_spec_dst, 4);
	}
}

/* With CONTROL_FOLLOW_INTERFACE the interface goes with every address, also with
 * none. */
static void build_interface(void **state)
{
	struct ug_source source = { .addr = { 10, 1, 2, 3 }, .ifindex = 7 };
	struct ug_source global = { .addr = { 0xfd, [15] = 1 }, .ifindex = 8 };
	struct in_pktinfo four = {
		.ipi_ifindex = 7,
		.ipi_spec_dst = { htonl(0x0a010203) },
	};
	struct in6_pktinfo six = { .ipi6_ifindex = 8 };
	struct control_out out = {
		.source = &source,
		.family = AF_INET,
		.flags = CONTROL_FOLLOW_INTERFACE,
	};
	struct control c;
	struct data d = { .len = 0 };

	(void)state;
	put(&d, IPPROTO_IP, IP_PKTINFO, &four, sizeof(four));
	expect_equal(&c, ug_control_build(&c, &out), &d);
	memset(source.addr, 0, sizeof(source.addr));
	four.ipi_spec_dst.s_addr = 0;
	d.len = 0;
	put(&d, IPPROTO_IP, IP_PKTINFO, &four, sizeof(four));
	expect_equal(&c, ug_control_build(&c, &out), &d);

	out.source = &global;
	out.family = AF_INET6;
	memcpy(&six.ipi6_addr, global.addr, 16);
	d.len = 0;
	put(&d, IPPROTO_IPV6, IPV6_PKTINFO, &six, sizeof(six));
	expect_equal(&c, ug_control_build(&c, &out), &d);
}

/* With CONTROL_CLEAR_TOS a TOS of 0 is written like any other; a TTL of 0 is not. */
static void build_no_tos(void **state)
{
	static const struct {
		int family, level, type;
		bool mapped;
	} rows[] = {
		{ AF_INET, IPPROTO_IP, IP_TOS, false },
		{ AF_INET6, IPPROTO_IPV6, IPV6_TCLASS, false },
		{ AF_INET6, IPPROTO_IP, IP_TOS, true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct control_out out = {
			.family = rows[i].family,
			.mapped = rows[i].mapped,
			.flags = CONTROL_CLEAR_TOS,
		};
		struct control c;

		for (int tos = 0; tos < 256; tos += 15) {
			struct data d = { .len = 0 };

			put(&d, rows[i].level, rows[i].type, &tos, sizeof(tos));
			out.tos = (uint8_t)tos;
			expect_equal(&c, ug_control_build(&c, &out), &d);
		}
	}
}

/* All that a message can have fits the space. */
static void build_all(void **state)
{
	struct ug_source source = { .addr = { 0xfd, [15] = 1 }, .ifindex = 8 };
	struct control_out out = {
		.source = &source,
		.segment_len = 1200,
		.time_ns = 5,
		.family = AF_INET6,
		.ttl = 9,
		.flags = CONTROL_CLEAR_TOS | CONTROL_FOLLOW_INTERFACE,
	};
	struct control c;

	(void)state;
	assert_int_equal(ug_control_build(&c, &out), sizeof(c.bytes));
}

/*
 * To an IPv4-mapped address the TOS is sent in the IPv4 message, and the source
 * in the IPv6 message.
 */
static void build_mapped(void **state)
{
	struct ug_source source = { .addr = {
					    [10] = 0xff, 0xff, 10, 0, 0, 1 } };
	struct in6_pktinfo info = { 0 };
	struct control c;
	struct data d = { .len = 0 };
	int tos = 0xb8;

	(void)state;
	memcpy(&info.ipi6_addr, source.addr, 16);
	put(&d, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	put(&d, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	expect_equal(&c, build_control(&c, AF_INET6, true, &source, 0xb8, 0),
		     &d);
}

static void parse_v4(void **state)
{
	struct in_pktinfo info = {
		.ipi_ifindex = 3,
		.ipi_spec_dst = { htonl(0x0a000001) },
		.ipi_addr = { htonl(0x0affffff) },
	};
	struct control_info out;
	struct data d = { .len = 0 };
	uint8_t tos = 0x2e;
	int segment = 70000;

	(void)state;
	assert_int_equal(ug_control_parse(d.bytes, 0, &out), 0);
	assert_false(out.has_source);
	assert_int_equal(out.segment_len, 0);

	put(&d, SOL_SOCKET, SO_TIMESTAMP, "foreign", 7);
	put(&d, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	put(&d, IPPROTO_IP, IP_TOS, &tos, 1);
	put(&d, IPPROTO_UDP, UDP_GRO, &segment, sizeof(segment));
	assert_int_equal(ug_control_parse(d.bytes, d.len, &out), 0);
	assert_true(out.has_source);
	assert_memory_equal(out.source.addr, "\x0a\0\0\1\0\0\0\0", 8);
	assert_int_equal(out.source.ifindex, 3);
	assert_int_equal(out.source.state, UG_SOURCE_NONE);
	assert_int_equal(out.tos, 0x2e);
	/* Without an address to answer from there is no source. */
	info.ipi_spec_dst.s_addr = 0;
	put(&d, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	struct control_info none;

	assert_int_equal(ug_control_parse(d.bytes, d.len, &none), 0);
	assert_false(none.has_source);
	d.len -= CMSG_SPACE(sizeof(info));
	/* The kernel gives the segment size as an int, not in 16 bits. */
	assert_int_equal(out.segment_len, 70000);
	/* The last message may lack the padding behind its data. */
	d.len -= CMSG_SPACE(sizeof(segment)) - CMSG_LEN(sizeof(segment));
	assert_int_equal(ug_control_parse(d.bytes, d.len, &out), 0);
	assert_int_equal(out.segment_len, 70000);
}

static void parse_v6(void **state)
{
	struct in6_pktinfo info = { .ipi6_ifindex = 9 };
	struct control_info out;
	struct data d = { .len = 0 };
	int tclass = 0xb8;

	(void)state;
	inet_pton(AF_INET6, "fe80::5", &info.ipi6_addr);
	put(&d, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	put(&d, IPPROTO_IPV6, IPV6_TCLASS, &tclass, sizeof(tclass));
	assert_int_equal(ug_control_parse(d.bytes, d.len, &out), 0);
	assert_true(out.has_source);
	assert_memory_equal(out.source.addr, &info.ipi6_addr, 16);
	assert_int_equal(out.source.ifindex, 9);
	assert_int_equal(out.tos, 0xb8);

	/*
	 * A multicast address is no source, but it is returned: it is the
	 * address that was written to.
	 */
	inet_pton(AF_INET6, "ff02::1", &info.ipi6_addr);
	d.len = 0;
	put(&d, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	assert_int_equal(ug_control_parse(d.bytes, d.len, &out), 0);
	assert_false(out.has_source);
	assert_memory_equal(out.source.addr, &info.ipi6_addr, 16);
}

static void parse_malformed(void **state)
{
	static const struct {
		int level, type;
		size_t len;
	} too_short[] = {
		{ IPPROTO_IP, IP_PKTINFO, sizeof(struct in_pktinfo) - 1 },
		{ IPPROTO_IP, IP_TOS, 0 },
		{ IPPROTO_IPV6, IPV6_PKTINFO, sizeof(struct in6_pktinfo) - 1 },
		{ IPPROTO_IPV6, IPV6_TCLASS, 3 },
		{ IPPROTO_UDP, UDP_GRO, 2 },
		{ IPPROTO_UDP, UDP_GRO, 0 },
	};
	static const size_t bad_lens[] = {
		0, 1, CMSG_LEN(0) - 1, CMSG_LEN(5), SIZE_MAX, SIZE_MAX - 7
	};
	static const unsigned char zeros[64];
	struct control_info out = { .tos = 77 };
	int negative = -1;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(too_short); i++) {
		struct data d = { .len = 0 };

		put(&d, too_short[i].level, too_short[i].type, zeros,
		    too_short[i].len);
		assert_int_equal(ug_control_parse(d.bytes, d.len, &out),
				 -EBADMSG);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad_lens); i++) {
		struct data d = { .len = 0 };

		put(&d, SOL_SOCKET, 1, zeros, 4);
		memcpy(d.bytes, &bad_lens[i], sizeof(bad_lens[i]));
		assert_int_equal(ug_control_parse(d.bytes, CMSG_LEN(4), &out),
				 -EBADMSG);
	}
	struct data d = { .len = 0 };

	put(&d, IPPROTO_UDP, UDP_GRO, &negative, sizeof(negative));
	assert_int_equal(ug_control_parse(d.bytes, d.len, &out), -EBADMSG);
	/*
	 * A failure writes nothing. Data shorter than a header holds no
	 * message.
	 */
	assert_int_equal(out.tos, 77);
	for (size_t len = 0; len < sizeof(struct cmsghdr); len++)
		assert_int_equal(ug_control_parse(d.bytes, len, &out), 0);
}

static const uint8_t nowhere[16];

/* The address that was written to, time and TTL; nothing of it is needed. */
static void details_v4(void **state)
{
	struct in_pktinfo info = {
		.ipi_ifindex = 3,
		.ipi_spec_dst = { htonl(0x0a000001) },
		.ipi_addr = { htonl(0xef010203) },
	};
	struct timespec t = { .tv_sec = 1700000000, .tv_nsec = 999999999 };
	struct control_details out;
	struct data d = { .len = 0 };
	int ttl = 255;

	(void)state;
	memset(&out, 0x55, sizeof(out));
	ug_control_parse_details(d.bytes, 0, &out);
	assert_memory_equal(out.destination, nowhere, 16);
	assert_true(!out.ifindex && !out.ttl && !out.time_ns);
	put(&d, SOL_SOCKET, SCM_TIMESTAMPNS, &t, sizeof(t));
	put(&d, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	put(&d, IPPROTO_IP, IP_TOS, "\x2e", 1);
	put(&d, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl));
	ug_control_parse_details(d.bytes, d.len, &out);
	assert_memory_equal(out.destination, "\xef\1\2\3\0\0\0\0", 8);
	assert_memory_equal(out.destination + 8, nowhere, 8);
	assert_int_equal(out.ifindex, 3);
	assert_int_equal(out.ttl, 255);
	assert_int_equal(out.time_ns, 1700000000999999999);
}

static void details_v6(void **state)
{
	struct in6_pktinfo info = { .ipi6_ifindex = 9 };
	struct in_pktinfo info4 = {
		.ipi_ifindex = 5,
		.ipi_spec_dst = { htonl(0x0a000001) },
		.ipi_addr = { htonl(0x0a0000ff) },
	};
	struct control_details out;
	struct data d = { .len = 0 };
	int ttl = 64;

	(void)state;
	inet_pton(AF_INET6, "ff02::1:2", &info.ipi6_addr);
	put(&d, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	put(&d, IPPROTO_IPV6, IPV6_HOPLIMIT, &ttl, sizeof(ttl));
	ug_control_parse_details(d.bytes, d.len, &out);
	assert_memory_equal(out.destination, &info.ipi6_addr, 16);
	assert_int_equal(out.ifindex, 9);
	assert_int_equal(out.ttl, 64);

	/* An IPv6 socket that got an IPv4 datagram gives one packet info or both, in
	 * any order. The IPv4 one counts. */
	inet_pton(AF_INET6, "::ffff:10.0.0.255", &info.ipi6_addr);
	d.len = 0;
	put(&d, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	ug_control_parse_details(d.bytes, d.len, &out);
	assert_memory_equal(out.destination, "\x0a\0\0\xff\0\0\0\0", 8);
	assert_memory_equal(out.destination + 8, nowhere, 8);
	assert_int_equal(out.ifindex, 9);
	put(&d, IPPROTO_IP, IP_PKTINFO, &info4, sizeof(info4));
	ug_control_parse_details(d.bytes, d.len, &out);
	assert_memory_equal(out.destination, "\x0a\0\0\xff\0\0\0\0", 8);
	assert_memory_equal(out.destination + 8, nowhere, 8);
	assert_int_equal(out.ifindex, 5);
	put(&d, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	ug_control_parse_details(d.bytes, d.len, &out);
	assert_memory_equal(out.destination, "\x0a\0\0\xff\0\0\0\0", 8);
	assert_int_equal(out.ifindex, 5);
}

/* Times that make no sense, and control messages that are too short, tell nothing. */
static void details_malformed(void **state)
{
	static const struct {
		int level, type;
		size_t len;
	} too_short[] = {
		{ IPPROTO_IP, IP_PKTINFO, sizeof(struct in_pktinfo) - 1 },
		{ IPPROTO_IP, IP_TTL, sizeof(int) - 1 },
		{ IPPROTO_IPV6, IPV6_PKTINFO, sizeof(struct in6_pktinfo) - 1 },
		{ IPPROTO_IPV6, IPV6_HOPLIMIT, 1 },
		{ SOL_SOCKET, SCM_TIMESTAMPNS, sizeof(struct timespec) - 1 },
		{ SOL_SOCKET, SCM_TIMESTAMPNS, 0 },
	};
	static const struct timespec times[] = {
		{ -1, 5 },
		{ 5, -1 },
		{ 5, 1000000000 },
		/* More than 64 bits hold; as 32 bits, a time before 1970. */
		{ (time_t)0x4fffffffffffffff, 5 },
	};
	unsigned char ones[64];
	struct control_details out;
	int ttl = 7;

	(void)state;
	memset(ones, 0xff, sizeof(ones));
	for (size_t i = 0; i < ARRAY_LEN(too_short); i++) {
		struct data d = { .len = 0 };

		put(&d, too_short[i].level, too_short[i].type, ones,
		    too_short[i].len);
		put(&d, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl));
		ug_control_parse_details(d.bytes, d.len, &out);
		assert_memory_equal(out.destination, nowhere, 16);
		assert_true(!out.ifindex && !out.time_ns);
		assert_int_equal(out.ttl, 7);
	}
	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		struct data d = { .len = 0 };

		put(&d, SOL_SOCKET, SCM_TIMESTAMPNS, &times[i],
		    sizeof(times[i]));
		ug_control_parse_details(d.bytes, d.len, &out);
		assert_int_equal(out.time_ns, 0);
	}
	/* A length that does not fit ends the data. */
	struct data d = { .len = 0 };

	put(&d, SOL_SOCKET, 1, ones, 4);
	memset(d.bytes, 0xff, sizeof(size_t));
	put(&d, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl));
	ug_control_parse_details(d.bytes, d.len, &out);
	assert_int_equal(out.ttl, 0);
}

/* Control data that was built for sending can be parsed as received data. */
static void round_trip(void **state)
{
	struct control_info out;
	struct random r;

	(void)state;
	random_init(&r, 0x5eed0002);
	for (int i = 0; i < 10000; i++) {
		struct ug_source source = { 0 };
		uint8_t tos = (uint8_t)random_next(&r);
		struct control c;

		source.addr[0] = 0xfe;
		source.addr[1] = 0x80;
		source.addr[15] = (uint8_t)random_next(&r);
		source.ifindex = (uint32_t)random_below(&r, 1000);
		size_t len = build_control(&c, AF_INET6, false, &source, tos,
					   random_below(&r, 65536));

		assert_int_equal(ug_control_parse(c.bytes, len, &out), 0);
		assert_memory_equal(&out.source, &source, sizeof(source));
		assert_int_equal(out.tos, tos);
	}
}

/* An entry of the error queue, as the kernel writes it. */
struct entry {
	struct sock_extended_err ee;
	union {
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} offender;
};

/* Entries of both families, behind other control data. */
static void error_entries(void **state)
{
	struct entry e = { .ee = { .ee_errno = EMSGSIZE,
				   .ee_origin = SO_EE_ORIGIN_ICMP,
				   .ee_type = 3,
				   .ee_code = 4,
				   .ee_info = 1400 } };
	struct in_pktinfo info = { .ipi_ifindex = 3 };
	struct data d = { .len = 0 }, six = { .len = 0 }, mapped = { .len = 0 },
		    bare = { .len = 0 };
	struct ug_error got;

	(void)state;
	e.offender.v4.sin_family = AF_INET;
	e.offender.v4.sin_port = htons(7);
	inet_pton(AF_INET, "10.0.0.1", &e.offender.v4.sin_addr);
	put(&d, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	put(&d, IPPROTO_IP, IP_RECVERR, &e,
	    sizeof(e.ee) + sizeof(e.offender.v4));
	memset(&got, 0x55, sizeof(got));
	assert_int_equal(ug_control_parse_error(d.bytes, d.len, &got), 0);
	assert_int_equal(got.err, EMSGSIZE);
	assert_int_equal(got.origin, UG_ORIGIN_ICMP);
	assert_int_equal(got.icmp_type, 3);
	assert_int_equal(got.icmp_code, 4);
	assert_int_equal(got.mtu, 1400);
	assert_int_equal(got.offender.addr.v4.sin_addr.s_addr,
			 htonl(0x0a000001));
	assert_int_equal(got.offender.addr.v4.sin_port, 0);
	assert_int_equal(got.to.addr.any.sa_family, AF_UNSPEC);
	/* IPv6, of another errno; and IPv4 on an IPv6 socket. */
	e.ee.ee_errno = ECONNREFUSED;
	e.ee.ee_origin = SO_EE_ORIGIN_ICMP6;
	e.offender.v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
					       .sin6_scope_id = 9 };
	inet_pton(AF_INET6, "fe80::1", &e.offender.v6.sin6_addr);
	put(&six, IPPROTO_IPV6, IPV6_RECVERR, &e, sizeof(e));
	assert_int_equal(ug_control_parse_error(six.bytes, six.len, &got), 0);
	assert_int_equal(got.mtu, 0);
	assert_memory_equal(&got.offender.addr.v6, &e.offender.v6,
			    sizeof(e.offender.v6));
	inet_pton(AF_INET6, "::ffff:10.0.0.1", &e.offender.v6.sin6_addr);
	put(&mapped, IPPROTO_IPV6, IPV6_RECVERR, &e, sizeof(e));
	assert_int_equal(ug_control_parse_error(mapped.bytes, mapped.len, &got),
			 0);
	assert_int_equal(got.offender.addr.any.sa_family, AF_INET);
	assert_int_equal(got.offender.addr.v4.sin_addr.s_addr,
			 htonl(0x0a000001));
	/* No offender at all. */
	put(&bare, IPPROTO_IP, IP_RECVERR, &e.ee, sizeof(e.ee));
	assert_int_equal(ug_control_parse_error(bare.bytes, bare.len, &got), 0);
	assert_int_equal(got.offender.addr.any.sa_family, AF_UNSPEC);
}

/* Entries that are cut, at each length, and control data without an entry. */
static void error_malformed(void **state)
{
	struct entry e = { .ee = { .ee_errno = ECONNREFUSED } };
	struct data d = { .len = 0 };
	int tos = 0;

	(void)state;
	e.offender.v6.sin6_family = AF_INET6;
	put(&d, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
	size_t from = d.len;

	put(&d, IPPROTO_IPV6, IPV6_RECVERR, &e, sizeof(e));
	for (size_t len = 0; len <= sizeof(e); len++) {
		struct ug_error got = { .err = 1 };
		struct cmsghdr head;

		/* An end of the memory that a sanitizer sees. */
		unsigned char *copy = malloc(from + CMSG_LEN(len));

		assert_non_null(copy);
		memcpy(&head, d.bytes + from, sizeof(head));
		head.cmsg_len = CMSG_LEN(len);
		memcpy(copy, d.bytes, from + CMSG_LEN(len));
		memcpy(copy + from, &head, sizeof(head));
		int err = ug_control_parse_error(copy, from + CMSG_LEN(len),
						 &got);

		assert_int_equal(err, len < sizeof(e.ee) ? -EBADMSG : 0);
		assert_int_equal(got.err,
				 len < sizeof(e.ee) ? 1 : ECONNREFUSED);
		assert_int_equal(got.offender.addr.any.sa_family,
				 len < sizeof(e) ? AF_UNSPEC : AF_INET6);
		/* The length says more than there is. */
		assert_int_equal(ug_control_parse_error(
					 copy, from + CMSG_LEN(len) - 1, &got),
				 -EBADMSG);
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(build_v4),
		cmocka_unit_test(build_v6),
		cmocka_unit_test(build_interface),
		cmocka_unit_test(build_no_tos),
		cmocka_unit_test(build_all),
		cmocka_unit_test(build_mapped),
		cmocka_unit_test(both_infos),
		cmocka_unit_test(parse_v4),
		cmocka_unit_test(parse_v6),
		cmocka_unit_test(parse_malformed),
		cmocka_unit_test(details_v4),
		cmocka_unit_test(details_v6),
		cmocka_unit_test(details_malformed),
		cmocka_unit_test(error_entries),
		cmocka_unit_test(error_malformed),
		cmocka_unit_test(round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
