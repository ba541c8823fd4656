/* SPDX-License-Identifier: MIT */
/*
 * Per segment: the headers are copied from the super-packet and patched, and
 * the payload slice is copied and summed in the same pass. What is the same in
 * all segments is summed once, in segment_begin().
 *
 * The pseudo header is not made from the addresses where the kernel left its
 * sum in the checksum field (it always does for packets of its own): with an
 * IPv6 routing header the destination that counts is not the one in the fixed
 * header. So the field is taken, less the length of the super-packet, and the
 * length of the segment is added.
 *
 * Which header fields change, and how, is what Linux does when it cuts in
 * software (RFC 9293 names no rules for this): IPv4 ID counts up; FIN and PSH
 * stay with the last segment; CWR stays with the first, as it answers one ECE
 * (RFC 3168 section 6.1.2); everything else is repeated.
 */
#include "tun/segment.h"

#include "tun/checksum.h"

/* Flags that only the last segment keeps. */
#define TCP_LAST_ONLY (TCP_FIN | TCP_PSH)

/**
 * sum_ip() - sum what stays of an IPv4 header
 * @cur:	cursor with packet and frame
 */
static void sum_ip(struct segment_cursor *cur)
{
	const struct ipv4_hdr *ip = (const void *)cur->pkt;
	uint64_t sum = checksum_add(0, cur->pkt, cur->frame.l4_off);

	/* Take out what changes: subtracting is adding the complement. */
	sum += (uint16_t)~checksum_field(ip->total_len);
	sum += (uint16_t)~checksum_field(ip->id);
	sum += (uint16_t)~checksum_field(ip->check);
	cur->ip_sum = checksum_fold(sum);
	cur->ip_id = be16_get(ip->id);
}

/**
 * sum_pseudo() - sum of the pseudo header without its length
 * @cur:	cursor with packet and frame
 *
 * Return: a sum in progress.
 */
static uint64_t sum_pseudo(const struct segment_cursor *cur)
{
	const struct vnet_frame *f = &cur->frame;
	const struct ipv4_hdr *ip4 = (const void *)cur->pkt;
	const struct ipv6_hdr *ip6 = (const void *)cur->pkt;
	struct be16 field;

	if (f->needs_csum) {
		memcpy(&field, cur->pkt + f->csum_field, sizeof(field));
		return checksum_field(field) +
		       (uint32_t)~htobe32(f->len - f->l4_off);
	}
	if (f->ip_version == 4)
		return checksum_pseudo4(ip4->saddr, ip4->daddr, f->l4_proto, 0);
	return checksum_pseudo6(ip6->saddr, ip6->daddr, f->l4_proto, 0);
}

/**
 * sum_l4() - sum what stays of pseudo header and transport header
 * @cur:	cursor with packet and frame
 */
static void sum_l4(struct segment_cursor *cur)
{
	const struct vnet_frame *f = &cur->frame;
	uint64_t sum = sum_pseudo(cur);
	union {
		uint8_t bytes[60];
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

/**
 * segment_begin() - put a cursor at the start of a packet
 * @cur:	cursor, set up here
 * @pkt:	packet, borrowed until @cur->done; not in any slab it is cut to
 * @frame:	its description from vnet_parse_frame(); copied
 */
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
	if (frame->ip_version == 4)
		sum_ip(cur);
	sum_l4(cur);
}

/**
 * write_ip() - write the IP header of a segment
 * @cur:	cursor
 * @dst:	start of the segment
 * @len:	its length
 */
static inline void write_ip(const struct segment_cursor *cur, uint8_t *dst,
			    size_t len)
{
	struct ipv4_hdr *ip4 = (void *)dst;
	struct ipv6_hdr *ip6 = (void *)dst;
	uint16_t total = (uint16_t)len;

	memcpy(dst, cur->pkt, cur->frame.l4_off);
	if (cur->frame.ip_version == 6) {
		/* Extension headers count as payload (RFC 8200 section 3). */
		ip6->payload_len = be16_make((uint16_t)(len - sizeof(*ip6)));
		return;
	}
	ip4->total_len = be16_make(total);
	ip4->id = be16_make(cur->ip_id);
	ip4->check = checksum_finish(cur->ip_sum + checksum_word(total) +
				     checksum_word(cur->ip_id));
}

/**
 * write_tcp() - write the TCP header of a segment
 * @cur:	cursor
 * @dst:	start of the TCP header
 * @sum:	sum of everything but what is written here
 * @last:	this is the last segment
 */
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

/**
 * write_udp() - write the UDP header of a segment
 * @cur:	cursor
 * @dst:	start of the UDP header
 * @sum:	sum of everything but what is written here
 * @len:	length of UDP header and payload
 */
static inline void write_udp(const struct segment_cursor *cur, uint8_t *dst,
			     uint64_t sum, size_t len)
{
	struct udp_hdr *udp = (void *)dst;

	memcpy(dst, cur->pkt + cur->frame.l4_off, sizeof(*udp));
	udp->len = be16_make((uint16_t)len);
	udp->check = checksum_finish_udp(sum + checksum_word((uint16_t)len));
}

/**
 * write_segment() - write the next segment and move on
 * @cur:	cursor that is not done
 * @dst:	where it goes
 *
 * Return: its length.
 */
static inline size_t write_segment(struct segment_cursor *cur, uint8_t *dst)
{
	const struct vnet_frame *f = &cur->frame;
	size_t slice = size_min(cur->payload_len - cur->off, f->gso_size);
	size_t len = f->hdr_len + slice;
	size_t l4_len = len - f->l4_off;
	bool last = cur->payload_len - cur->off == slice;
	uint64_t sum;

	write_ip(cur, dst, len);
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
	cur->done = last;
	return len;
}

/**
 * store_csum() - put a checksum where a frame wants it
 * @pkt:	packet
 * @frame:	its description, with @needs_csum
 * @sum:	sum from csum_start on, with what was in the field
 */
static void store_csum(uint8_t *pkt, const struct vnet_frame *frame,
		       uint64_t sum)
{
	size_t off = (size_t)(frame->csum_field - frame->csum_start);
	struct be16 field;

	/* Told by the offset: it may be UDP inside of some tunnel. */
	if (off == offsetof(struct udp_hdr, check))
		field = checksum_finish_udp(sum);
	else
		field = checksum_finish(sum);
	memcpy(pkt + frame->csum_field, &field, sizeof(field));
}

/**
 * segment_complete() - complete the checksum of a packet where it lies
 * @pkt:	packet that needs no cutting (frame->gso_size is 0)
 * @frame:	its description
 *
 * For a packet that was read to where it is to be sent from.
 */
void segment_complete(uint8_t *pkt, const struct vnet_frame *frame)
{
	size_t start = frame->csum_start;

	if (frame->needs_csum)
		store_csum(pkt, frame,
			   checksum_add(0, pkt + start, frame->len - start));
}

/**
 * write_whole() - copy a packet that needs no cutting
 * @cur:	cursor
 * @dst:	where it goes
 *
 * Return: its length.
 */
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

/**
 * segment_cut() - cut until the packet or the slab is used up
 * @cur:	cursor from segment_begin()
 * @slab:	takes the segments, behind those it has
 *
 * Segment i of a call starts at headroom + i * stride behind what was used;
 * after the call @slab->used is behind the tailroom of the last. The bytes of
 * headroom and tailroom are not written. The last segment of a packet is
 * shorter than the others, so a stride that holds padding for those might not
 * hold the padding of that one: its tailroom is ensured all the same.
 *
 * A slab of headroom + @cur->full_len + tailroom unused bytes and one unused
 * entry always takes a segment.
 *
 * Return: the number of segments added; 0 if there was room for none, or the
 * cursor is done.
 */
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
					  : write_whole(cur, dst);
		slab->segs[slab->segs_cnt++] =
			(struct segment){ .data = dst, .len = (uint32_t)len };
		slab->used = off + slab->headroom + len + slab->tailroom;
		off += stride;
		cnt++;
	}
	return cnt;
}
