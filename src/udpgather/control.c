/* SPDX-License-Identifier: MIT */
/*
 * Control messages are copied in and out by memcpy(3), header and payload apart, so
 * that no length of the kernel's is trusted and no alignment is needed.
 */
#include "udpgather/control.h"

#include <assert.h>
#include <errno.h>
#include <time.h> /* linux/errqueue.h uses struct timespec */
#include <linux/errqueue.h>
#include <string.h>

#include "base/bytes.h"

enum {
	NS_PER_S = 1000000000
};

static size_t append(struct control *c, size_t used, int level, int type,
		     const void *data, size_t len)
{
	struct cmsghdr head = {
		.cmsg_level = level,
		.cmsg_type = type,
		.cmsg_len = CMSG_LEN(len),
	};

	assert(CMSG_SPACE(len) <= sizeof(c->bytes) - used);
	memcpy(c->bytes + used, &head, sizeof(head));
	memcpy(c->bytes + used + CMSG_LEN(0), data, len);
	return used + CMSG_SPACE(len);
}

/* If the interface stays 0, the routes decide by which one the datagram leaves. */
static size_t append_source(struct control *c, int family,
			    const struct ug_source *source, bool follow)
{
	if (family == AF_INET) {
		struct in_pktinfo info = { 0 };

		memcpy(&info.ipi_spec_dst, source->addr, 4);
		if (follow)
			info.ipi_ifindex = (int)source->ifindex;
		return append(c, 0, IPPROTO_IP, IP_PKTINFO, &info,
			      sizeof(info));
	}
	struct in6_pktinfo info = { 0 };

	memcpy(&info.ipi6_addr, source->addr, 16);
	if (follow || IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
		info.ipi6_ifindex = source->ifindex;
	return append(c, 0, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
}

/* TOS and TTL are in the IP header; IPv6 has other names for both. */
static size_t append_header(struct control *c, size_t used,
			    const struct control_out *out)
{
	bool v4 = out->family == AF_INET || out->mapped;
	int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
	int tos = out->tos, ttl = out->ttl;

	if (tos || (out->flags & CONTROL_CLEAR_TOS))
		used = append(c, used, level, v4 ? IP_TOS : IPV6_TCLASS, &tos,
			      sizeof(tos));
	if (ttl)
		used = append(c, used, level, v4 ? IP_TTL : IPV6_HOPLIMIT, &ttl,
			      sizeof(ttl));
	return used;
}

size_t ug_control_build(struct control *c, const struct control_out *out)
{
	size_t used = 0;

	if (out->source)
		used = append_source(c, out->family, out->source,
				     out->flags & CONTROL_FOLLOW_INTERFACE);
	used = append_header(c, used, out);
	if (out->time_ns)
		used = append(c, used, SOL_SOCKET, SCM_TXTIME, &out->time_ns,
			      sizeof(out->time_ns));
	if (out->segment_len) {
		uint16_t value = (uint16_t)out->segment_len;

		assert(out->segment_len <= UINT16_MAX);
		used = append(c, used, IPPROTO_UDP, UDP_SEGMENT, &value,
			      sizeof(value));
	}
	return used;
}

static int parse_ip(int type, const void *data, size_t len,
		    struct control_info *out)
{
	if (type == IP_PKTINFO) {
		struct in_pktinfo info;

		if (len < sizeof(info))
			return -EBADMSG;
		memcpy(&info, data, sizeof(info));
		memset(&out->source, 0, sizeof(out->source));
		/* The kernel gives our own address, also for a broadcast. */
		memcpy(out->source.addr, &info.ipi_spec_dst, 4);
		out->source.ifindex = (uint32_t)info.ipi_ifindex;
		out->has_source = info.ipi_spec_dst.s_addr != 0;
		out->is_ipv4 = true;
	} else if (type == IP_TOS) {
		if (len < 1)
			return -EBADMSG;
		/* IP_TOS has one byte here; IPV6_TCLASS is an int. */
		memcpy(&out->tos, data, 1);
	}
	return 0;
}

static int parse_ipv6(int type, const void *data, size_t len,
		      struct control_info *out)
{
	if (type == IPV6_PKTINFO && !out->is_ipv4) {
		struct in6_pktinfo info;

		if (len < sizeof(info))
			return -EBADMSG;
		memcpy(&info, data, sizeof(info));
		memset(&out->source, 0, sizeof(out->source));
		memcpy(out->source.addr, &info.ipi6_addr, 16);
		out->source.ifindex = (uint32_t)info.ipi6_ifindex;
		/* A datagram cannot be sent from a multicast address. */
		out->has_source = !IN6_IS_ADDR_MULTICAST(&info.ipi6_addr);
	} else if (type == IPV6_TCLASS) {
		int tclass;

		if (len < sizeof(tclass))
			return -EBADMSG;
		memcpy(&tclass, data, sizeof(tclass));
		out->tos = (uint8_t)tclass;
	}
	return 0;
}

static int parse_udp(int type, const void *data, size_t len,
		     struct control_info *out)
{
	int segment_len;

	if (type != UDP_GRO)
		return 0;
	/* UDP_GRO is an int, though UDP_SEGMENT has 16 bits (udp(7)). */
	if (len < sizeof(segment_len))
		return -EBADMSG;
	memcpy(&segment_len, data, sizeof(segment_len));
	if (segment_len < 0)
		return -EBADMSG;
	out->segment_len = (uint32_t)segment_len;
	return 0;
}

static int parse_one(const struct cmsghdr *head, const void *data, size_t len,
		     struct control_info *out)
{
	switch (head->cmsg_level) {
	case IPPROTO_IP:
		return parse_ip(head->cmsg_type, data, len, out);
	case IPPROTO_IPV6:
		return parse_ipv6(head->cmsg_type, data, len, out);
	case IPPROTO_UDP:
		return parse_udp(head->cmsg_type, data, len, out);
	default:
		return 0;
	}
}

int ug_control_parse(const void *bytes, size_t len, struct control_info *out)
{
	struct control_info info = { 0 };
	const unsigned char *at = bytes;

	while (len >= sizeof(struct cmsghdr)) {
		struct cmsghdr head;

		memcpy(&head, at, sizeof(head));
		if (head.cmsg_len < CMSG_LEN(0) || head.cmsg_len > len)
			return -EBADMSG;
		int r = parse_one(&head, at + CMSG_LEN(0),
				  head.cmsg_len - CMSG_LEN(0), &info);

		if (r < 0)
			return r;
		/* The last control message may lack its padding. */
		size_t step = size_min(CMSG_ALIGN(head.cmsg_len), len);

		at += step;
		len -= step;
	}
	*out = info;
	return 0;
}

static bool is_kind(const struct cmsghdr *head, int level, int type, size_t len)
{
	return head->cmsg_level == level && head->cmsg_type == type &&
	       head->cmsg_len >= CMSG_LEN(len);
}

static uint64_t to_ns(const struct timespec *t)
{
	/* A clock that is set to before 1970 has no time that fits. */
	if (t->tv_sec < 0 || t->tv_nsec < 0 || t->tv_nsec >= NS_PER_S ||
	    (uint64_t)t->tv_sec >= UINT64_MAX / NS_PER_S)
		return 0;
	return (uint64_t)t->tv_sec * NS_PER_S + (uint64_t)t->tv_nsec;
}

static void take_pktinfo(const void *data, struct control_details *out)
{
	struct in_pktinfo info;

	memcpy(&info, data, sizeof(info));
	memset(out->destination, 0, sizeof(out->destination));
	memcpy(out->destination, &info.ipi_addr, 4);
	out->ifindex = (uint32_t)info.ipi_ifindex;
}

static void take_pktinfo6(const void *data, struct control_details *out)
{
	struct in6_pktinfo info;
	bool mapped;

	memcpy(&info, data, sizeof(info));
	mapped = IN6_IS_ADDR_V4MAPPED(&info.ipi6_addr);
	memset(out->destination, 0, sizeof(out->destination));
	memcpy(out->destination, info.ipi6_addr.s6_addr + (mapped ? 12 : 0),
	       mapped ? 4 : 16);
	out->ifindex = (uint32_t)info.ipi6_ifindex;
}

/* @has_info: there was IPv4 packet info, which counts if there are both. */
static void take_detail(const struct cmsghdr *head, const void *data,
			struct control_details *out, bool *has_info)
{
	int ttl;

	if (is_kind(head, IPPROTO_IP, IP_PKTINFO, sizeof(struct in_pktinfo))) {
		take_pktinfo(data, out);
		*has_info = true;
	} else if (is_kind(head, IPPROTO_IPV6, IPV6_PKTINFO,
			   sizeof(struct in6_pktinfo))) {
		if (!*has_info)
			take_pktinfo6(data, out);
	} else if (is_kind(head, IPPROTO_IP, IP_TTL, sizeof(ttl)) ||
		   is_kind(head, IPPROTO_IPV6, IPV6_HOPLIMIT, sizeof(ttl))) {
		memcpy(&ttl, data, sizeof(ttl));
		out->ttl = (uint8_t)ttl;
	} else if (is_kind(head, SOL_SOCKET, SCM_TIMESTAMPNS,
			   sizeof(struct timespec))) {
		struct timespec t;

		memcpy(&t, data, sizeof(t));
		out->time_ns = to_ns(&t);
	}
}

void ug_control_parse_details(const void *bytes, size_t len,
			      struct control_details *out)
{
	const unsigned char *at = bytes;
	bool has_info = false;

	memset(out, 0, sizeof(*out));
	while (len >= sizeof(struct cmsghdr)) {
		struct cmsghdr head;

		memcpy(&head, at, sizeof(head));
		if (head.cmsg_len < CMSG_LEN(0) || head.cmsg_len > len)
			return;
		take_detail(&head, at + CMSG_LEN(0), out, &has_info);
		size_t step = size_min(CMSG_ALIGN(head.cmsg_len), len);

		at += step;
		len -= step;
	}
}

/* Is this a control message with an entry of the error queue? */
static bool is_entry(const struct cmsghdr *head)
{
	return is_kind(head, IPPROTO_IP, IP_RECVERR,
		       sizeof(struct sock_extended_err)) ||
	       is_kind(head, IPPROTO_IPV6, IPV6_RECVERR,
		       sizeof(struct sock_extended_err));
}

/* Who reported the error: an address without a port, or nobody. */
static void take_offender(const unsigned char *data, size_t len,
			  struct ug_endpoint *out)
{
	struct ug_endpoint from = { 0 };

	memcpy(&from.addr, data, size_min(len, sizeof(from.addr)));
	if (ug_endpoint_set(out, &from.addr.any,
			    (socklen_t)size_min(len, sizeof(from.addr))) < 0) {
		memset(out, 0, sizeof(*out));
		return;
	}
	if (out->addr.any.sa_family == AF_INET)
		out->addr.v4.sin_port = 0;
	else
		out->addr.v6.sin6_port = 0;
}

static void take_entry(const unsigned char *data, size_t len,
		       struct ug_error *out)
{
	struct sock_extended_err ee;

	memcpy(&ee, data, sizeof(ee));
	memset(out, 0, sizeof(*out));
	out->err = (int)ee.ee_errno;
	out->origin = ee.ee_origin;
	out->icmp_type = ee.ee_type;
	out->icmp_code = ee.ee_code;
	if (ee.ee_errno == EMSGSIZE && ee.ee_origin <= UG_ORIGIN_ICMP6)
		out->mtu = ee.ee_info;
	take_offender(data + sizeof(ee), len - sizeof(ee), &out->offender);
}

int ug_control_parse_error(const void *bytes, size_t len, struct ug_error *out)
{
	const unsigned char *at = bytes;

	while (len >= sizeof(struct cmsghdr)) {
		struct cmsghdr head;

		memcpy(&head, at, sizeof(head));
		if (head.cmsg_len < CMSG_LEN(0) || head.cmsg_len > len)
			return -EBADMSG;
		if (is_entry(&head)) {
			take_entry(at + CMSG_LEN(0),
				   head.cmsg_len - CMSG_LEN(0), out);
			return 0;
		}
		size_t step = size_min(CMSG_ALIGN(head.cmsg_len), len);

		at += step;
		len -= step;
	}
	return -EBADMSG;
}
