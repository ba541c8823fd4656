/* SPDX-License-Identifier: MIT */
/* Finding the MSS option, and changing it and the checksum (RFC 1624). */
#include "tun/mss.h"

#include "base/ip.h"
#include "tun/checksum.h"

enum {
	/* Kinds of options, and the length of the MSS option (RFC 9293, section
	 * 3.2). */
	KIND_END = 0,
	KIND_NO_OPERATION = 1,
	KIND_MSS = 2,
	MSS_LEN = 4,
};

/* The offset of the TCP header of a SYN; 0 if the packet is none. @hdrs: length of an
 * IP and a TCP header without options. */
static size_t find_syn(const uint8_t *pkt, size_t len, size_t *hdrs)
{
	const struct ipv4_hdr *ip4 = ipv4_view(pkt);
	size_t off = sizeof(struct ipv6_hdr);

	switch (ip_identify(pkt, len)) {
	case IP_V4:
		off = ipv4_hdr_len(ip4);
		if (ip4->proto != IP_PROTO_TCP || off < sizeof(*ip4) ||
		    be16_get(ip4->frag) & (IPV4_MF | IPV4_OFFSET))
			return 0;
		*hdrs = sizeof(*ip4) + sizeof(struct tcp_hdr);
		break;
	case IP_V6:
		if (ipv6_view(pkt)->next_header != IP_PROTO_TCP)
			return 0;
		*hdrs = off + sizeof(struct tcp_hdr);
		break;
	default:
		return 0;
	}
	if (len < off + sizeof(struct tcp_hdr) ||
	    !(((const struct tcp_hdr *)(const void *)(pkt + off))->flags &
	      TCP_SYN))
		return 0;
	return off;
}

/* The value of the MSS option of a TCP header of @len bytes; NULL: it has none. */
static uint8_t *find_option(uint8_t *tcp, size_t len)
{
	for (size_t i = sizeof(struct tcp_hdr); i < len;) {
		if (tcp[i] == KIND_END)
			return NULL;
		if (tcp[i] == KIND_NO_OPERATION) {
			i++;
			continue;
		}
		if (len - i < 2 || tcp[i + 1] < 2 || tcp[i + 1] > len - i)
			return NULL;
		if (tcp[i] == KIND_MSS)
			return tcp[i + 1] == MSS_LEN ? tcp + i + 2 : NULL;
		i += tcp[i + 1];
	}
	return NULL;
}

/* A value as a word of the sum. At an odd offset its bytes are in two words. */
static uint64_t word_of(uint16_t value, bool is_odd)
{
	return checksum_word(is_odd ? (uint16_t)(value << 8 | value >> 8)
				    : value);
}

bool mss_is_syn(const uint8_t *pkt, size_t len)
{
	size_t hdrs;

	return find_syn(pkt, len, &hdrs) != 0;
}

bool mss_clamp(uint8_t *pkt, size_t len, size_t mtu, bool is_partial)
{
	size_t hdrs = 0, off = find_syn(pkt, len, &hdrs);
	uint8_t *tcp = pkt + off, *value;
	uint16_t was, now;

	if (!off || mtu <= hdrs || mtu - hdrs > UINT16_MAX)
		return false;
	value = find_option(tcp, size_min(len - off, tcp_hdr_len((void *)tcp)));
	if (!value)
		return false;
	was = (uint16_t)(value[0] << 8 | value[1]);
	now = (uint16_t)(mtu - hdrs);
	if (was <= now)
		return false;
	value[0] = (uint8_t)(now >> 8);
	value[1] = (uint8_t)now;
	if (!is_partial) {
		struct tcp_hdr *hdr = (void *)tcp;
		bool is_odd = (value - tcp) % 2;
		uint64_t sum = (uint16_t)~checksum_field(hdr->check);

		sum += (uint16_t)~word_of(was, is_odd);
		hdr->check = checksum_finish(sum + word_of(now, is_odd));
	}
	return true;
}
