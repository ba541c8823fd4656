/* SPDX-License-Identifier: MIT */
/*
 * For each segment the headers are copied from the super-packet and changed, and
 * its part of the payload is copied and summed in one pass. The bytes that all
 * segments share are summed once, in segment_begin().
 *
 * With NEEDS_CSUM the checksum field holds the sum of the pseudo header; the
 * kernel always sets it for packets of its own. That sum is used, with the
 * segment's length in place of the super-packet's. A sum that is made from the
 * addresses of the packet could be wrong: with an IPv6 routing header the
 * pseudo header has another destination than the fixed header.
 *
 * The header fields change as when Linux cuts in software (RFC 9293 has no rules
 * for this): the IPv4 ID counts up; only the last segment has FIN and PSH; only
 * the first has CWR, which answers one ECE (RFC 3168 section 6.1.2); all other
 * fields are repeated.
 *
 * In a tunnel super-packet all this is done to the inner headers. The outer IPv4
 * ID counts up, too; the outer lengths change, and the bytes between the outer
 * UDP header and the inner IP header are repeated. The outer UDP checksum needs
 * no pass over the payload (Linux calls this local checksum offload): the inner
 * checksum brings the sum of the inner transport header and payload to the
 * complement of the sum of the inner pseudo header.
 *
 * Fragments have the header of the packet with another length, offset and checksum.
 * All but the first have no options but those with the flag "copied" (RFC 791,
 * section 3.1); in their place are "no operation" options, as Linux does it, so that
 * all headers have one length.
 */
#include "tun/segment.h"

#include "tun/checksum.h"

/* Flags that only the last segment keeps. */
#define TCP_LAST_ONLY (TCP_FIN | TCP_PSH)

/* Sum the part of an IPv4 header that all segments share. @id is set to the
 * first segment's ID. */
static uint64_t sum_ip(const uint8_t *hdr, size_t len, uint16_t *id)
{
	const struct ipv4_hdr *ip = (const void *)hdr;
	uint64_t sum = checksum_add(0, hdr, len);

	/* Take out the fields that differ between segments, by adding the
	 * complement of each. */
	sum += (uint16_t)~checksum_field(ip->total_len);
	sum += (uint16_t)~checksum_field(ip->id);
	sum += (uint16_t)~checksum_field(ip->check);
	*id = be16_get(ip->id);
	return checksum_fold(sum);
}

/* Sum a pseudo header without its length, by the addresses of the IP header. */
static uint64_t sum_addresses(const uint8_t *hdr, uint8_t version,
			      uint8_t proto)
{
	const struct ipv4_hdr *ip4 = (const void *)hdr;
	const struct ipv6_hdr *ip6 = (const void *)hdr;

	if (version == IP_V4)
		return checksum_pseudo4(ip4->saddr, ip4->daddr, proto, 0);
	return checksum_pseudo6(ip6->saddr, ip6->daddr, proto, 0);
}

/* Sum the pseudo header of the transport header, without its length. */
static uint64_t sum_pseudo(const struct segment_cursor *cur)
{
	const struct vnet_frame *f = &cur->frame;
	struct be16 field;

	if (f->needs_csum) {
		memcpy(&field, cur->pkt + f->csum_field, sizeof(field));
		return checksum_field(field) +
		       (uint32_t)~htobe32(f->len - f->l4_off);
	}
	return sum_addresses(cur->pkt + f->ip_off, f->ip_version, f->l4_proto);
}

/*
 * Sum the part of pseudo header and transport header that all segments share.
 */
static void sum_l4(struct segment_cursor *cur)
{
	const struct vnet_frame *f = &cur->frame;
	uint64_t sum = sum_pseudo(cur);
	union {
		uint8_t bytes[60]; /* the longest TCP header */
		struct tcp_hdr tcp;
		struct udp_hdr udp;
	} l4;
	size_t l4_len = (size_t)(f->hdr_len - f->l4_off);

	memcpy(&l4, cur->pkt + f->l4_off, l4_len);
	if (f->l4_proto == IP_PROTO_TCP) {
		cur->seq = be32_get(l4.tcp.seq);
		l4.tcp.seq = be32_make(0);
		l4.tcp.flags = 0;
		l4.tcp.check = be16_make(0);
	} else {
		l4.udp.len = be16_make(0);
		l4.udp.check = be16_make(0);
	}
	cur->l4_sum = checksum_fold(checksum_add(sum, &l4, l4_len));
}

/*
 * Sum what all segments share of the outer pseudo header, the outer UDP header,
 * the tunnel's headers and the inner packet. The lengths are left out.
 */
static uint64_t sum_outer_l4(const struct segment_cursor *cur)
{
	const struct vnet_frame *f = &cur->frame;
	const uint8_t *udp = cur->pkt + f->outer_l4_off;
	const struct ipv6_hdr *ip6 = (const void *)(cur->pkt + f->ip_off);
	size_t ports = 2 * sizeof(struct be16);
	uint64_t sum = sum_addresses(cur->pkt, f->outer_version, IP_PROTO_UDP);

	sum = checksum_add(sum, udp, ports);
	sum = checksum_add(sum, udp + sizeof(struct udp_hdr),
			   f->ip_off - f->outer_l4_off -
				   sizeof(struct udp_hdr));
	/* With its checksum the inner IPv4 header adds nothing. */
	if (f->ip_version == IP_V6) {
		sum = checksum_add(sum, ip6, (size_t)(f->l4_off - f->ip_off));
		sum += (uint16_t)~checksum_field(ip6->payload_len);
	}
	sum += (uint16_t)~checksum_fold(sum_pseudo(cur));
	return checksum_fold(sum);
}

static void begin_outer(struct segment_cursor *cur)
{
	const struct vnet_frame *f = &cur->frame;

	if (f->outer_version == IP_V4)
		cur->outer_ip_sum =
			sum_ip(cur->pkt, f->outer_l4_off, &cur->outer_ip_id);
	if (f->outer_csum)
		cur->outer_l4_sum = sum_outer_l4(cur);
}

void segment_begin(struct segment_cursor *cur, const uint8_t *pkt,
		   const struct vnet_frame *frame)
{
	*cur = (struct segment_cursor){ .pkt = pkt, .frame = *frame };
	if (frame->gso_size == 0) {
		cur->full_len = frame->len;
		return;
	}
	cur->payload_len = frame->len - frame->hdr_len;
	cur->full_len = frame->hdr_len +
			(uint32_t)size_min(cur->payload_len, frame->gso_size);
	if (frame->ip_version == IP_V4)
		cur->ip_sum = sum_ip(pkt + frame->ip_off,
				     (size_t)(frame->l4_off - frame->ip_off),
				     &cur->ip_id);
	sum_l4(cur);
	if (frame->outer_l4_off)
		begin_outer(cur);
}

/* Change the lengths and the ID of an IP header that was copied to @dst.
 * @len: length of the packet from there on. */
static inline void write_ip(uint8_t *dst, uint8_t version, size_t len,
			    uint64_t sum, uint16_t id)
{
	struct ipv4_hdr *ip4 = (void *)dst;
	struct ipv6_hdr *ip6 = (void *)dst;
	uint16_t total = (uint16_t)len;

	if (version == IP_V6) {
		/* Extension headers count as payload (RFC 8200 section 3). */
		ip6->payload_len = be16_make((uint16_t)(len - sizeof(*ip6)));
		return;
	}
	ip4->total_len = be16_make(total);
	ip4->id = be16_make(id);
	ip4->check =
		checksum_finish(sum + checksum_word(total) + checksum_word(id));
}

/* Change the outer headers of a tunnel, which were copied to @dst. @len: length
 * of the segment. */
static void write_outer(const struct segment_cursor *cur, uint8_t *dst,
			size_t len)
{
	const struct vnet_frame *f = &cur->frame;
	struct udp_hdr *udp = (void *)(dst + f->outer_l4_off);
	uint16_t udp_len = (uint16_t)(len - f->outer_l4_off);
	uint16_t l4_len = (uint16_t)(len - f->l4_off);
	/* The length is in the pseudo header and in the UDP header. */
	uint64_t sum = cur->outer_l4_sum + 2 * checksum_word(udp_len);

	write_ip(dst, f->outer_version, len, cur->outer_ip_sum,
		 cur->outer_ip_id);
	udp->len = be16_make(udp_len);
	udp->check = be16_make(0);
	if (!f->outer_csum)
		return;
	if (f->ip_version == IP_V6)
		sum += checksum_word(
			(uint16_t)(len - f->ip_off - sizeof(struct ipv6_hdr)));
	sum += (uint16_t)~checksum_word(l4_len);
	udp->check = checksum_finish_udp(sum);
}

/* @sum covers all but the fields that are written here. */
static inline void write_tcp(const struct segment_cursor *cur, uint8_t *dst,
			     uint64_t sum, bool last)
{
	size_t len = (size_t)(cur->frame.hdr_len - cur->frame.l4_off);
	struct tcp_hdr *tcp = (void *)dst;

	memcpy(dst, cur->pkt + cur->frame.l4_off, len);
	tcp->seq = be32_make(cur->seq);
	if (!last)
		tcp->flags &= (uint8_t)~TCP_LAST_ONLY;
	if (cur->off != 0)
		tcp->flags &= (uint8_t)~TCP_CWR;
	/* The flags are the second byte of their 16-bit word. */
	sum += htobe32(cur->seq) + checksum_word(tcp->flags);
	tcp->check = checksum_finish(sum);
}

/* @sum covers all but the fields that are written here. */
static inline void write_udp(const struct segment_cursor *cur, uint8_t *dst,
			     uint64_t sum, size_t len)
{
	struct udp_hdr *udp = (void *)dst;

	memcpy(dst, cur->pkt + cur->frame.l4_off, sizeof(*udp));
	udp->len = be16_make((uint16_t)len);
	udp->check = checksum_finish_udp(sum + checksum_word((uint16_t)len));
}

/* Write the next segment and move the cursor. Return: its length. */
static inline size_t write_segment(struct segment_cursor *cur, uint8_t *dst)
{
	const struct vnet_frame *f = &cur->frame;
	size_t slice = size_min(cur->payload_len - cur->off, f->gso_size);
	size_t len = f->hdr_len + slice;
	size_t l4_len = len - f->l4_off;
	bool last = cur->payload_len - cur->off == slice;
	uint64_t sum;

	memcpy(dst, cur->pkt, f->l4_off);
	if (f->outer_l4_off)
		write_outer(cur, dst, len);
	write_ip(dst + f->ip_off, f->ip_version, len - f->ip_off, cur->ip_sum,
		 cur->ip_id);
	sum = checksum_copy(cur->l4_sum, dst + f->hdr_len,
			    cur->pkt + f->hdr_len + cur->off, slice);
	sum += checksum_word((uint16_t)l4_len);
	if (f->l4_proto == IP_PROTO_TCP)
		write_tcp(cur, dst + f->l4_off, sum, last);
	else
		write_udp(cur, dst + f->l4_off, sum, l4_len);
	cur->off += (uint32_t)slice;
	cur->seq += (uint32_t)slice;
	cur->ip_id++;
	cur->outer_ip_id++;
	cur->done = last;
	return len;
}

/* Finish the checksum of a packet. @sum runs from csum_start on and includes
 * the field. */
static void store_csum(uint8_t *pkt, const struct vnet_frame *frame,
		       uint64_t sum)
{
	size_t off = (size_t)(frame->csum_field - frame->csum_start);
	struct be16 field;

	/* The offset tells UDP from TCP: the header may be inside a tunnel. */
	if (off == offsetof(struct udp_hdr, check))
		field = checksum_finish_udp(sum);
	else
		field = checksum_finish(sum);
	memcpy(pkt + frame->csum_field, &field, sizeof(field));
}

void segment_complete(uint8_t *pkt, const struct vnet_frame *frame)
{
	size_t start = frame->csum_start;

	if (frame->needs_csum)
		store_csum(pkt, frame,
			   checksum_add(0, pkt + start, frame->len - start));
}

/* Copy a packet that needs no cutting. Return: its length. */
static size_t write_whole(struct segment_cursor *cur, uint8_t *dst)
{
	const struct vnet_frame *f = &cur->frame;
	size_t start = f->needs_csum ? f->csum_start : f->len;
	uint64_t sum;

	memcpy(dst, cur->pkt, start);
	if (f->needs_csum) {
		sum = checksum_copy(0, dst + start, cur->pkt + start,
				    f->len - start);
		store_csum(dst, f, sum);
	}
	cur->done = true;
	return f->len;
}

void segment_begin_fragments(struct segment_cursor *cur, uint8_t *pkt,
			     const struct vnet_frame *frame, size_t limit)
{
	size_t hdr_len = ipv4_hdr_len(ipv4_view(pkt));

	segment_complete(pkt, frame);
	*cur = (struct segment_cursor){ .pkt = pkt, .frame = *frame };
	cur->frame.needs_csum = false;
	cur->frame.hdr_len = (uint16_t)hdr_len;
	cur->payload_len = (uint32_t)(frame->len - hdr_len);
	/* Offsets count in units of 8 bytes. */
	cur->fragment_len = (uint32_t)((limit - hdr_len) & ~(size_t)7);
	cur->full_len = (uint32_t)(hdr_len + size_min(cur->payload_len,
						      cur->fragment_len));
}

/* Replace the options of an IPv4 header that only the first fragment has. */
static void blank_options(uint8_t *hdr, size_t len)
{
	enum {
		END = 0,
		NO_OPERATION = 1,
		COPIED = 0x80
	};

	for (size_t i = sizeof(struct ipv4_hdr); i < len;) {
		size_t option_len = 1;

		if (hdr[i] == END)
			return;
		if (hdr[i] != NO_OPERATION) {
			if (len - i < 2 || hdr[i + 1] < 2 ||
			    hdr[i + 1] > len - i)
				return;
			option_len = hdr[i + 1];
		}
		if (!(hdr[i] & COPIED))
			memset(hdr + i, NO_OPERATION, option_len);
		i += option_len;
	}
}

/* Write the next fragment and move the cursor. Return: its length. */
static size_t write_fragment(struct segment_cursor *cur, uint8_t *dst)
{
	size_t hdr_len = cur->frame.hdr_len;
	size_t slice = size_min(cur->payload_len - cur->off, cur->fragment_len);
	struct ipv4_hdr *ip = (void *)dst;
	uint16_t frag;

	memcpy(dst, cur->pkt, hdr_len);
	memcpy(dst + hdr_len, cur->pkt + hdr_len + cur->off, slice);
	if (cur->off)
		blank_options(dst, hdr_len);
	frag = (uint16_t)(be16_get(ip->frag) + cur->off / 8);
	cur->off += (uint32_t)slice;
	cur->done = cur->off == cur->payload_len;
	if (!cur->done)
		frag |= IPV4_MF;
	ip->frag = be16_make(frag);
	ip->total_len = be16_make((uint16_t)(hdr_len + slice));
	ip->check = be16_make(0);
	ip->check = checksum_finish(checksum_add(0, dst, hdr_len));
	return hdr_len + slice;
}

/* Write a packet that is no super-packet, or a fragment of it. */
static size_t write_plain(struct segment_cursor *cur, uint8_t *dst)
{
	return cur->fragment_len ? write_fragment(cur, dst)
				 : write_whole(cur, dst);
}

unsigned int segment_cut(struct segment_cursor *cur, struct segment_slab *slab)
{
	size_t room = slab->headroom + cur->full_len + slab->tailroom;
	size_t stride = size_max(slab->stride, slab->headroom + cur->full_len);
	unsigned int cnt = 0;
	size_t off = slab->used, len;
	uint8_t *dst;

	if (slab->stride == 0)
		stride = room;
	while (!cur->done && slab->segs_cnt < slab->segs_cap &&
	       off <= slab->cap && room <= slab->cap - off) {
		dst = slab->base + off + slab->headroom;
		len = cur->frame.gso_size ? write_segment(cur, dst)
					  : write_plain(cur, dst);
		slab->segs[slab->segs_cnt++] =
			(struct segment){ .data = dst, .len = (uint32_t)len };
		slab->used = off + slab->headroom + len + slab->tailroom;
		off += stride;
		cnt++;
	}
	return cnt;
}
