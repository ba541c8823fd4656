/* SPDX-License-Identifier: MIT */
/*
 * What arrives through the tunnel is a run of packets of at most the MTU, most
 * of them neighbours in a few flows. Written to the TUN one at a time, each
 * costs a system call and a walk through the whole stack; joined into one
 * super-packet they cost that once. Nothing is copied: a super-packet is a
 * vector of the first packet, virtio-net header in front, and the payloads of
 * the others where they lie.
 *
 * The measure of correctness: cutting a merged packet again gives the packets
 * back byte for byte. So a packet joins only if all of its headers follow from
 * those of the packet before:
 *
 *   both	same addresses, ports, TOS or traffic class, TTL or hop limit, DF,
 *		flow label; IPv4 ID one up; payload not empty and not longer than
 *		the first, and a shorter one is the last; at most 65535 bytes.
 *   TCP	next sequence number; same acknowledgement, window, urgent pointer
 *		and options, byte for byte; flags ACK and perhaps ECE, same in
 *		all; FIN and PSH are allowed and make their packet the last.
 *		This is what the kernel's own GRO asks (Linux
 *		net/ipv4/tcp_offload.c), but for CWR: there the first packet may
 *		have it, here none, as it is rare and needs an offload of its own.
 *   UDP	a checksum; at most 64 datagrams.
 *
 * Two ways to say the same are not kept apart. IPv4 IDs that stand still while
 * DF is set may merge, and come out counting up: with DF they mean nothing (RFC
 * 6864 section 4.1), and Linux sends 0 from unconnected UDP sockets. A TCP
 * checksum of 0xffff comes out as 0.
 *
 * A UDP checksum of 0 never merges. The kernel takes a merged datagram only
 * with NEEDS_CSUM and then adjusts the field as a sum: cut for forwarding, the
 * datagrams would have checksums, and wrong ones. Its own GRO refuses too.
 *
 * A merged packet gets its checksums from the kernel, fresh ones, which would
 * hide that a packet arrived broken. Therefore both packets are verified
 * before they merge, IPv4 header included: a packet when it joins, and the
 * first of an item when there is something to join it. Who stays alone without
 * having been looked at is written as it came, under an all-zero header, and
 * the kernel verifies it, if it does not just forward it. Who was verified and
 * stays alone all the same is written with NEEDS_CSUM, so that the kernel does
 * not sum it again. Who was found broken is written as it came and is for the
 * kernel to drop and count.
 *
 * Order: items are written in the order of their first packets, and a packet
 * joins only the newest item of its flow, so packets of a flow keep their order.
 * A packet that is of a flow and cannot join becomes the newest item of it; one
 * of which the flow cannot be told (fragments, IP options, extension headers)
 * ends all items. Flows are forgotten at the end of the batch only: packets
 * from several trains of datagrams meet here. The table of flows has a fixed
 * number of places; a flow that loses its place loses merging, not order.
 */
#include "tun/merge.h"

#include <errno.h>

#include "tun/checksum.h"

/**
 * merge_init() - prepare a batch for its first merge_reset()
 * @m:		caller's storage, all zero: most of it is not even touched
 */
void merge_init(struct merge *m)
{
	m->gen = 1;
}

/**
 * forget_flows() - let no item be joined any more
 * @m:		batch
 */
static void forget_flows(struct merge *m)
{
	m->gen++;
	if (m->gen == 0) {
		memset(m->flows, 0, sizeof(m->flows));
		m->gen = 1;
	}
}

/**
 * merge_reset() - begin a batch
 * @m:		batch
 * @kinds:	what may merge, a set of MERGE_BIT(); ignored without @vnet
 * @vnet:	each write has a virtio-net header in front
 *
 * What the batch had and was not written is forgotten.
 */
void merge_reset(struct merge *m, unsigned int kinds, bool vnet)
{
	forget_flows(m);
	m->kinds = vnet ? kinds : 0;
	m->vnet = vnet;
	m->pkts_cnt = 0;
	m->items_cnt = 0;
	m->item = 0;
	m->part = 0;
	m->split = false;
	m->iov_cnt = 0;
}

/**
 * flow_equal() - whether an item is of a packet's flow
 * @m:		batch
 * @it:		item
 * @p:		packet
 *
 * Return: true if so.
 */
static inline bool flow_equal(const struct merge *m,
			      const struct merge_item *it,
			      const struct flow_packet *p)
{
	const uint8_t *head = m->pkts[it->head].data;

	if (it->kind != p->kind)
		return false;
	if (kind_is_v4(p->kind))
		return memcmp(head + FLOW4_OFF, p->pkt + FLOW4_OFF,
			      FLOW4_LEN) == 0;
	return memcmp(head + FLOW6_OFF, p->pkt + FLOW6_OFF, FLOW6_LEN) == 0;
}

/**
 * flow_lookup() - find a packet's flow
 * @m:		batch
 * @p:		packet
 * @place:	receives the flow's place, or the one to put it in
 *
 * Return: true if the flow is known.
 */
static inline bool flow_lookup(struct merge *m, const struct flow_packet *p,
			       struct merge_flow **place)
{
	struct merge_flow *set = m->flows[p->hash % MERGE_FLOW_SETS];

	/* If none is free, any will do: take them in turn. */
	*place = &set[m->items_cnt % MERGE_FLOW_WAYS];
	for (unsigned int i = 0; i < MERGE_FLOW_WAYS; i++) {
		if (set[i].gen != m->gen) {
			*place = &set[i];
		} else if (set[i].hash == p->hash &&
			   flow_equal(m, &m->items[set[i].item], p)) {
			*place = &set[i];
			return true;
		}
	}
	return false;
}

/**
 * ip_equal() - whether IP headers allow to join
 * @it:		item
 * @head:	its first packet
 * @p:		packet of the same flow
 * @id_step:	receives how the IPv4 ID goes on
 *
 * Return: true if so.
 */
static inline bool ip_equal(const struct merge_item *it, const uint8_t *head,
			    const struct flow_packet *p, uint8_t *id_step)
{
	const struct ipv4_hdr *a4 = (const void *)head;
	const struct ipv4_hdr *b4 = (const void *)p->pkt;
	const struct ipv6_hdr *a6 = (const void *)head;
	const struct ipv6_hdr *b6 = (const void *)p->pkt;
	uint16_t step;

	if (!kind_is_v4(p->kind))
		return memcmp(&a6->version_class_flow, &b6->version_class_flow,
			      sizeof(a6->version_class_flow)) == 0 &&
		       a6->hop_limit == b6->hop_limit;
	if (a4->tos != b4->tos || a4->ttl != b4->ttl ||
	    memcmp(&a4->frag, &b4->frag, sizeof(a4->frag)) != 0)
		return false;
	step = (uint16_t)(be16_get(b4->id) - it->last_id);
	if (step > 1 || (it->cnt > 1 && step != it->id_step))
		return false;
	*id_step = (uint8_t)step;
	return step == 1 || be16_get(b4->frag) & IPV4_DF;
}

/**
 * tcp_equal() - whether TCP headers allow to join
 * @it:		item
 * @head:	its first packet
 * @p:		packet of the same flow
 *
 * Return: true if so.
 */
static inline bool tcp_equal(const struct merge_item *it, const uint8_t *head,
			     const struct flow_packet *p)
{
	const struct tcp_hdr *a = (const void *)(head + it->l4_off);
	const struct tcp_hdr *b = (const void *)(p->pkt + p->l4_off);
	size_t opt_len = (size_t)(p->hdr_len - p->l4_off) - sizeof(*b);

	return be32_get(b->seq) == it->next_seq &&
	       !((a->flags ^ b->flags) & TCP_SAME) &&
	       a->data_off == b->data_off &&
	       memcmp(&a->ack, &b->ack, sizeof(a->ack)) == 0 &&
	       memcmp(&a->window, &b->window, sizeof(a->window)) == 0 &&
	       memcmp(&a->urgent, &b->urgent, sizeof(a->urgent)) == 0 &&
	       memcmp(a + 1, b + 1, opt_len) == 0;
}

/**
 * ends_item() - whether nothing may follow a packet in an item
 * @it:		item that the packet is in
 * @p:		the packet
 *
 * Return: true if so.
 */
static inline bool ends_item(const struct merge_item *it,
			     const struct flow_packet *p)
{
	const struct tcp_hdr *tcp = (const void *)(p->pkt + p->l4_off);

	if (p->len - p->hdr_len < it->gso_size)
		return true;
	if (kind_is_tcp(p->kind))
		return tcp->flags & TCP_ENDS;
	return it->cnt == MERGE_DATAGRAMS_MAX;
}

/**
 * verify_both() - verify an item's first packet, once, and the one to join it
 * @it:		item
 * @head:	its first packet, still alone if not verified
 * @p:		packet
 *
 * Return: true if both are right.
 */
static bool verify_both(struct merge_item *it, const uint8_t *head,
			const struct flow_packet *p)
{
	if (!it->verified) {
		if (!flow_verify(head, it->len, (enum merge_kind)it->kind,
				 it->l4_off))
			return false;
		it->verified = true;
	}
	return flow_verify(p->pkt, p->len, p->kind, p->l4_off);
}

/**
 * push_packet() - put a packet behind the others
 * @m:		batch that is not full
 * @p:		packet
 *
 * Return: its index.
 */
static inline uint16_t push_packet(struct merge *m, const struct flow_packet *p)
{
	uint16_t idx = m->pkts_cnt++;

	m->pkts[idx] = (struct merge_packet){
		.data = p->pkt,
		.len = p->len,
		.hdr_len = p->hdr_len,
	};
	return idx;
}

/**
 * join() - let a packet join the newest item of its flow, if it may
 * @m:		batch that is not full
 * @it:		the item
 * @p:		packet
 *
 * Return: true if it joined.
 */
static bool join(struct merge *m, struct merge_item *it,
		 const struct flow_packet *p)
{
	const uint8_t *head = m->pkts[it->head].data;
	const struct ipv4_hdr *ip4 = (const void *)p->pkt;
	const struct tcp_hdr *tcp = (const void *)(p->pkt + p->l4_off);
	uint32_t payload = p->len - p->hdr_len;
	bool is_tcp = kind_is_tcp(p->kind);
	uint8_t id_step = 0;
	uint16_t idx;

	if (!it->open || payload > it->gso_size ||
	    payload > MERGED_MAX - it->len)
		return false;
	if (!ip_equal(it, head, p, &id_step))
		return false;
	if (is_tcp && !tcp_equal(it, head, p))
		return false;
	if (!verify_both(it, head, p))
		return false;

	idx = push_packet(m, p);
	m->pkts[it->tail].next = idx;
	it->tail = idx;
	it->cnt++;
	it->len += payload;
	it->next_seq += payload;
	it->id_step = id_step;
	if (kind_is_v4(p->kind))
		it->last_id = be16_get(ip4->id);
	if (is_tcp)
		it->tail_flags = tcp->flags & TCP_ENDS;
	it->open = !ends_item(it, p);
	return true;
}

/**
 * push_item() - make an item of a packet
 * @m:		batch that is not full
 * @p:		packet
 * @open:	others may join it
 *
 * Return: the item's index.
 */
static uint16_t push_item(struct merge *m, const struct flow_packet *p,
			  bool open)
{
	const struct tcp_hdr *tcp = (const void *)(p->pkt + p->l4_off);
	const struct ipv4_hdr *ip4 = (const void *)p->pkt;
	uint16_t pkt = push_packet(m, p);
	uint16_t idx = m->items_cnt++;
	struct merge_item *it = &m->items[idx];

	*it = (struct merge_item){
		.len = p->len,
		.head = pkt,
		.tail = pkt,
		.cnt = 1,
		.kind = (uint8_t)p->kind,
		.l4_off = p->l4_off,
	};
	if (!open)
		return idx;
	it->gso_size = (uint16_t)(p->len - p->hdr_len);
	if (kind_is_v4(p->kind))
		it->last_id = be16_get(ip4->id);
	if (kind_is_tcp(p->kind))
		it->next_seq = be32_get(tcp->seq) + it->gso_size;
	it->open = !ends_item(it, p);
	return idx;
}

/**
 * merge_add() - add a packet to a batch
 * @m:		batch, not yet peeked at
 * @pkt:	packet, writable, MERGE_HEADROOM bytes in front of it too; borrowed
 *		until it was written or the batch is reset
 * @len:	its length, 1 to IPV6_PACKET_MAX; the packet need not be valid
 *
 * Return: 0; MERGE_E_FULL if it was not added, as the batch is full; -EINVAL
 * for a length out of range.
 */
int merge_add(struct merge *m, uint8_t *pkt, size_t len)
{
	struct flow_packet p = { .pkt = pkt,
				 .len = (uint32_t)len,
				 .kind = MERGE_NONE };
	struct merge_flow *flow;
	enum flow_verdict verdict;
	bool known;

	if (len == 0 || len > IPV6_PACKET_MAX)
		return -EINVAL;
	if (m->pkts_cnt == MERGE_PACKETS_MAX)
		return MERGE_E_FULL;
	verdict = flow_judge(m->kinds, &p);
	if (verdict == FLOW_BARRIER)
		forget_flows(m);
	if (verdict == FLOW_ALONE || verdict == FLOW_BARRIER) {
		push_item(m, &p, false);
		return 0;
	}
	known = flow_lookup(m, &p, &flow);
	if (verdict == FLOW_JOINER && known &&
	    join(m, &m->items[flow->item], &p))
		return 0;
	/* A loner stays in the table as an item that is not open. */
	*flow = (struct merge_flow){
		.gen = m->gen,
		.hash = p.hash,
		.item = push_item(m, &p, verdict == FLOW_JOINER),
	};
	return 0;
}

/**
 * l4_check() - an item's transport checksum field
 * @it:		item of some kind
 * @head:	its first packet
 *
 * Return: the field.
 */
static inline struct be16 *l4_check(const struct merge_item *it, uint8_t *head)
{
	struct tcp_hdr *tcp = (void *)(head + it->l4_off);
	struct udp_hdr *udp = (void *)(head + it->l4_off);

	return kind_is_tcp(it->kind) ? &tcp->check : &udp->check;
}

/**
 * save_fields() - keep what write_headers() changes
 * @it:		item
 * @head:	its first packet
 */
static void save_fields(struct merge_item *it, uint8_t *head)
{
	const struct ipv4_hdr *ip4 = (const void *)head;
	const struct ipv6_hdr *ip6 = (const void *)head;
	const struct tcp_hdr *tcp = (const void *)(head + it->l4_off);
	const struct udp_hdr *udp = (const void *)(head + it->l4_off);

	if (kind_is_v4(it->kind)) {
		it->saved.ip_len = ip4->total_len;
		it->saved.ip_check = ip4->check;
	} else {
		it->saved.ip_len = ip6->payload_len;
	}
	if (kind_is_tcp(it->kind))
		it->saved.tcp_flags = tcp->flags;
	else
		it->saved.udp_len = udp->len;
	it->saved.l4_check = *l4_check(it, head);
}

/**
 * restore_fields() - give an item's first packet back as it came
 * @it:		item after save_fields()
 * @head:	its first packet
 */
static void restore_fields(const struct merge_item *it, uint8_t *head)
{
	struct ipv4_hdr *ip4 = (void *)head;
	struct ipv6_hdr *ip6 = (void *)head;
	struct tcp_hdr *tcp = (void *)(head + it->l4_off);
	struct udp_hdr *udp = (void *)(head + it->l4_off);

	if (kind_is_v4(it->kind)) {
		ip4->total_len = it->saved.ip_len;
		ip4->check = it->saved.ip_check;
	} else {
		ip6->payload_len = it->saved.ip_len;
	}
	if (kind_is_tcp(it->kind))
		tcp->flags = it->saved.tcp_flags;
	else
		udp->len = it->saved.udp_len;
	*l4_check(it, head) = it->saved.l4_check;
}

/**
 * write_headers() - make an item's first packet the head of a super-packet
 * @it:		verified item
 * @head:	its first packet
 *
 * The transport checksum becomes the sum of the pseudo header, not inverted:
 * where the kernel goes on from under NEEDS_CSUM.
 */
static void write_headers(const struct merge_item *it, uint8_t *head)
{
	struct ipv4_hdr *ip4 = (void *)head;
	struct ipv6_hdr *ip6 = (void *)head;
	struct tcp_hdr *tcp = (void *)(head + it->l4_off);
	struct udp_hdr *udp = (void *)(head + it->l4_off);
	bool is_tcp = kind_is_tcp(it->kind);
	uint8_t proto = is_tcp ? IP_PROTO_TCP : IP_PROTO_UDP;
	size_t l4_len = it->len - it->l4_off;
	uint64_t sum;

	if (kind_is_v4(it->kind)) {
		ip4->total_len = be16_make((uint16_t)it->len);
		ip4->check = be16_make(0);
		ip4->check =
			checksum_finish(checksum_add(0, ip4, sizeof(*ip4)));
		sum = checksum_pseudo4(ip4->saddr, ip4->daddr, proto, l4_len);
	} else {
		ip6->payload_len = be16_make((uint16_t)l4_len);
		sum = checksum_pseudo6(ip6->saddr, ip6->daddr, proto, l4_len);
	}
	if (is_tcp)
		tcp->flags |= it->tail_flags;
	else
		udp->len = be16_make((uint16_t)l4_len);
	*l4_check(it, head) = checksum_store(checksum_fold(sum));
}

/**
 * write_vnet() - write an item's virtio-net header
 * @it:		verified item
 * @hdr:	the header, zeroed
 * @hdr_len:	length of the packet's headers
 */
static void write_vnet(const struct merge_item *it, struct vnet_hdr *hdr,
		       uint16_t hdr_len)
{
	static const uint8_t types[MERGE_KINDS] = {
		[MERGE_TCP4] = VIRTIO_NET_HDR_GSO_TCPV4,
		[MERGE_TCP6] = VIRTIO_NET_HDR_GSO_TCPV6,
		[MERGE_UDP4] = VIRTIO_NET_HDR_GSO_UDP_L4,
		[MERGE_UDP6] = VIRTIO_NET_HDR_GSO_UDP_L4,
	};
	size_t check = kind_is_tcp(it->kind) ? offsetof(struct tcp_hdr, check)
					     : offsetof(struct udp_hdr, check);

	hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	vnet_set(hdr->hdr_len, hdr_len);
	vnet_set(hdr->csum_start, it->l4_off);
	vnet_set(hdr->csum_offset, (uint16_t)check);
	if (it->cnt > 1) {
		hdr->gso_type = types[it->kind];
		vnet_set(hdr->gso_size, it->gso_size);
	}
}

/**
 * prepare_single() - prepare to write a packet as it came
 * @m:		batch
 * @pkt:	packet
 *
 * Return: its virtio-net header, all zero, in its headroom.
 */
static struct vnet_hdr *prepare_single(struct merge *m,
				       const struct merge_packet *pkt)
{
	struct vnet_hdr *hdr = (void *)(pkt->data - sizeof(*hdr));

	m->iov_cnt = 1;
	if (!m->vnet) {
		m->iov[0] = (struct iovec){ pkt->data, pkt->len };
		return NULL;
	}
	memset(hdr, 0, sizeof(*hdr));
	m->iov[0] = (struct iovec){ hdr, sizeof(*hdr) + pkt->len };
	return hdr;
}

/**
 * prepare_item() - prepare to write an item
 * @m:		batch
 * @it:		item
 */
static void prepare_item(struct merge *m, struct merge_item *it)
{
	const struct merge_packet *pkt = &m->pkts[it->head];
	struct vnet_hdr *hdr = prepare_single(m, pkt);

	/* Nothing is verified without a virtio-net header. */
	if (!it->verified || !hdr)
		return;
	save_fields(it, pkt->data);
	write_headers(it, pkt->data);
	write_vnet(it, hdr, pkt->hdr_len);
	for (unsigned int i = 1; i < it->cnt; i++) {
		pkt = &m->pkts[pkt->next];
		m->iov[i] = (struct iovec){ pkt->data + pkt->hdr_len,
					    pkt->len - pkt->hdr_len };
	}
	m->iov_cnt = it->cnt;
}

/**
 * merge_peek() - what to write next
 * @m:		batch; no more packets are added from now on
 * @iov:	receives the vector of one write, valid until the next call but
 *		this one; at most MERGE_PACKETS_MAX entries
 *
 * Called again without merge_written() or merge_undo() it shows the same.
 *
 * Return: the number of entries, 0 if all is written.
 */
unsigned int merge_peek(struct merge *m, const struct iovec **iov)
{
	if (m->iov_cnt == 0 && m->item < m->items_cnt) {
		if (m->split)
			prepare_single(m, &m->pkts[m->part]);
		else
			prepare_item(m, &m->items[m->item]);
	}
	*iov = m->iov;
	return m->iov_cnt;
}

/**
 * merge_written() - go on behind what merge_peek() showed
 * @m:		batch
 */
void merge_written(struct merge *m)
{
	const struct merge_item *it = &m->items[m->item];

	if (m->iov_cnt == 0)
		return;
	m->iov_cnt = 0;
	if (m->split && m->part != it->tail) {
		m->part = m->pkts[m->part].next;
		return;
	}
	m->split = false;
	m->item++;
}

/**
 * merge_undo() - undo the merging of what merge_peek() showed
 * @m:		batch
 *
 * For a device that did not take it: from now on merge_peek() shows the packets
 * of this item one by one, as they came, under all-zero headers.
 *
 * Return: the kind of the item; MERGE_NONE if what was shown already was a
 * packet as it came, and nothing changes.
 */
enum merge_kind merge_undo(struct merge *m)
{
	struct merge_item *it = &m->items[m->item];

	if (m->iov_cnt == 0 || m->split || !it->verified)
		return MERGE_NONE;
	restore_fields(it, m->pkts[it->head].data);
	m->split = true;
	m->part = it->head;
	m->iov_cnt = 0;
	return (enum merge_kind)it->kind;
}

/**
 * merge_get_kind() - the kind of what merge_peek() showed
 * @m:		batch
 *
 * Return: the kind if it is several packets merged, else MERGE_NONE.
 */
enum merge_kind merge_get_kind(const struct merge *m)
{
	if (m->iov_cnt < 2)
		return MERGE_NONE;
	return (enum merge_kind)m->items[m->item].kind;
}

/**
 * merge_discard() - forget all that is not written
 * @m:		batch
 *
 * Return: the number of packets forgotten.
 */
unsigned int merge_discard(struct merge *m)
{
	const struct iovec *iov;
	unsigned int cnt = 0;

	while (merge_peek(m, &iov) != 0) {
		cnt += m->iov_cnt;
		merge_written(m);
	}
	return cnt;
}
