/* SPDX-License-Identifier: MIT */
/*
 * Control messages are copied in and out by memcpy(3), header and payload apart, so
 * that no length of the kernel's is trusted and no alignment is needed.
 */
#include "udpgather/control.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"

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

static size_t append_source(struct control *c, int family,
			    const struct ug_source *source)
{
	if (family == AF_INET) {
		/* The interface stays 0: else the datagram must leave by it. */
		struct in_pktinfo info = { 0 };

		memcpy(&info.ipi_spec_dst, source->addr, 4);
		return append(c, 0, IPPROTO_IP, IP_PKTINFO, &info,
			      sizeof(info));
	}
	struct in6_pktinfo info = { 0 };

	memcpy(&info.ipi6_addr, source->addr, 16);
	if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
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

	if (tos)
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
		used = append_source(c, out->family, out->source);
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
