/* SPDX-License-Identifier: MIT */
/*
 * The tunnel delivers many packets of at most the MTU, most of them in a few
 * flows. A packet that is written to the TUN alone costs a system call and the
 * work of the whole network stack. Packets that are merged into one
 * super-packet cost this only once. No payload is copied: the vector of a
 * super-packet names the virtio-net header and the first packet, then the
 * payload of each other packet at its old place. The short virtio-net header is
 * written into the bytes in front of the first packet, so both are one entry of
 * the vector. The longer one does not fit there, and takes an entry of its own.
 *
 * Words: an *item* is the packets that are written at once, one or several. A
 * packet *joins* an item as its last packet. An item is *open* while another
 * packet may join.
 *
 * Merging is correct if cutting the super-packet gives the packets back, byte
 * for byte. So a packet joins only if all of its headers follow from those of
 * the packet before:
 *
 *   both	same addresses, ports, TOS or traffic class, TTL or hop limit, DF,
 *		flow label; IPv4 ID one up; payload not empty and not longer than
 *		the first, and a shorter one is the last; at most 65535 bytes.
 *   TCP	next sequence number; same acknowledgement, window, urgent pointer
 *		and options, byte for byte; flags ACK and perhaps ECE, same in
 *		all; FIN and PSH are allowed and make their packet the last.
 *		The kernel's own GRO has the same rules (Linux
 *		net/ipv4/tcp_offload.c), except for CWR: the kernel allows it in
 *		the first packet. Here no packet with CWR joins: it is rare, and
 *		needs an offload of its own.
 *   UDP	all with a checksum or all without; at most 64 datagrams.
 *
 * Three differences are allowed. Two have no meaning: packets with DF whose
 * IPv4 IDs are all equal may merge, and then have IDs that count up, because
 * with DF the ID means nothing (RFC 6864 section 4.1), and Linux sends 0 from
 * unconnected UDP sockets; and a TCP checksum of 0xffff becomes 0.
 *
 * The third: merged IPv4 datagrams without a checksum (a field of 0) get one.
 * The kernel takes merged datagrams only with NEEDS_CSUM. The field then holds
 * the sum of the pseudo header, and each datagram that is cut from the merged
 * one gets a checksum that is right. RFC 768 lets the sender decide whether
 * there is a checksum, so receivers take both. But if this host forwards the
 * datagram, the next host gets a checksum that the sender did not make. If
 * bytes changed before they entered the tunnel, that checksum does not show it.
 * Without a checksum nobody would have seen it either. The reason for this rule
 * is VXLAN, which is sent without a checksum by default. A datagram that does
 * not merge is written as it came, with a field of 0. IPv6 demands a checksum,
 * so IPv6 datagrams without one never merge: merged ones would be taken where
 * single ones are refused.
 *
 * The kernel makes new checksums for a merged packet. New checksums would hide
 * that a packet arrived broken. So the checksums of packets, also that of the
 * IPv4 header, are verified before packets merge. A packet is verified when it
 * is about to join. The first packet of an item is verified when a second
 * packet is about to join. Three cases follow for an item of one packet:
 *
 *   not verified	it is written as it came, with an all-zero virtio-net
 *		header. The kernel verifies it, unless it forwards it.
 *   found right	it is written with NEEDS_CSUM, so that the kernel does not sum
 *		it again. A datagram without a checksum is written as it
 *		came.
 *   found broken	it is written as it came. The kernel drops and counts it.
 *
 * Order: items are written in the order of their first packets, and a packet
 * joins only the newest item of its flow. So the packets of a flow keep their
 * order. A packet of a known flow that cannot join makes an item, which is then
 * the newest of its flow. A packet whose flow cannot be told (fragments, IP
 * options, extension headers) closes all items. Flows are forgotten only at the
 * end of the batch, so packets from several trains may merge. The table of flows
 * has a fixed number of places. If a flow loses its place, its next packet
 * makes a new item. The packets of the flow keep their order.
 */
#include "tun/merge.h"

#include <errno.h>

#include "tun/checksum.h"

void merge_init(struct merge *m)
{
	m->gen = 1;
}

/* Forget all flows, so that no packet joins an item that exists. */
static void forget_flows(struct merge *m)
{
	m->gen++;
	if (m->gen == 0) {
		memset(m->flows, 0, sizeof(m->flows));
		m->gen = 1;
	}
}

void merge_reset(struct merge *m, unsigned int kinds, size_t hdr_len)
{
	forget_flows(m);
	m->kinds = hdr_len ? kinds : 0;
	m->hdr_len = (uint8_t)hdr_len;
	m->pkts_cnt = 0;
	m->items_cnt = 0;
	m->item = 0;
	m->part = 0;
	m->split = false;
	m->iov_cnt = 0;
}

/* Do the item and the packet belong to the same flow? */
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

/* Find a packet's flow. @place is set also if the flow is unknown: to the place
 * that it may take. */
static inline bool flow_lookup(struct merge *m, const struct flow_packet *p,
			       struct merge_flow **place)
{
	struct merge_flow *set = m->flows[p->hash % MERGE_FLOW_SETS];

	/* If no place is free, one of the flows loses its place. The number of
	 * items chooses it, so it is not always the same one. */
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

/* Do the IP headers allow the packet to join? @id_step is set for IPv4. */
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

/* Do the TCP headers allow the packet to join? */
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

/* Do both UDP headers have a checksum, or neither of them? */
static inline bool udp_equal(const struct merge_item *it, const uint8_t *head,
			     const struct flow_packet *p)
{
	return udp_has_checksum((const void *)(head + it->l4_off)) ==
	       udp_has_checksum((const void *)(p->pkt + p->l4_off));
}

/* Is the packet, which is in the item now, the last that the item may have? */
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

/*
 * Verify the packet, and the item's first packet if that was not done before.
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

/* May another packet join without making the vector too long? */
static inline bool has_entry(const struct merge *m, const struct merge_item *it)
{
	return it->cnt < MERGE_PACKETS_MAX -
				 (m->hdr_len == sizeof(struct vnet_tunnel_hdr));
}

/* Join a packet to the newest item of its flow. Return: false if it may not
 * join. */
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

	if (!it->open || !has_entry(m, it) || payload > it->gso_size ||
	    payload > MERGED_MAX - it->len)
		return false;
	if (!ip_equal(it, head, p, &id_step))
		return false;
	if (is_tcp ? !tcp_equal(it, head, p) : !udp_equal(it, head, p))
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

/* Make an item of one packet. @open: other packets may join. */
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
	/* The item of a FLOW_LONER is in the table, too, but not open. */
	*flow = (struct merge_flow){
		.gen = m->gen,
		.hash = p.hash,
		.item = push_item(m, &p, verdict == FLOW_JOINER),
	};
	return 0;
}

static inline struct be16 *l4_check(const struct merge_item *it, uint8_t *head)
{
	struct tcp_hdr *tcp = (void *)(head + it->l4_off);
	struct udp_hdr *udp = (void *)(head + it->l4_off);

	return kind_is_tcp(it->kind) ? &tcp->check : &udp->check;
}

/* Keep the fields that write_headers() changes. */
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

/* Undo write_headers(). */
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

/* Turn the first packet into the head of a super-packet. NEEDS_CSUM asks for
 * the sum of the pseudo header, not inverted, in the checksum field. */
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

/* Prepare to write a packet as it came. Return: its virtio-net header, all
 * zero; NULL if the device takes none. */
static struct vnet_hdr *prepare_single(struct merge *m,
				       const struct merge_packet *pkt)
{
	struct vnet_hdr *hdr = (void *)(pkt->data - sizeof(*hdr));

	if (m->hdr_len == sizeof(*hdr)) {
		memset(hdr, 0, sizeof(*hdr));
		m->iov[0] = (struct iovec){ hdr, sizeof(*hdr) + pkt->len };
		m->iov_cnt = 1;
		return hdr;
	}
	m->iov_cnt = 0;
	if (m->hdr_len) {
		memset(&m->hdr, 0, sizeof(m->hdr));
		m->iov[m->iov_cnt++] =
			(struct iovec){ &m->hdr, sizeof(m->hdr) };
	}
	m->iov[m->iov_cnt++] = (struct iovec){ pkt->data, pkt->len };
	return m->hdr_len ? &m->hdr.base : NULL;
}

/* Does the item's first packet have a transport checksum? */
static bool has_checksum(const struct merge_item *it, const uint8_t *head)
{
	return kind_is_tcp(it->kind) ||
	       udp_has_checksum((const void *)(head + it->l4_off));
}

static void prepare_item(struct merge *m, struct merge_item *it)
{
	const struct merge_packet *pkt = &m->pkts[it->head];
	struct vnet_hdr *hdr = prepare_single(m, pkt);

	m->changed = false;
	/* Nothing is verified without a virtio-net header. */
	if (!it->verified || !hdr)
		return;
	if (it->cnt == 1 && !has_checksum(it, pkt->data))
		return;
	m->changed = true;
	save_fields(it, pkt->data);
	write_headers(it, pkt->data);
	write_vnet(it, hdr, pkt->hdr_len);
	for (unsigned int i = 1; i < it->cnt; i++) {
		pkt = &m->pkts[pkt->next];
		m->iov[m->iov_cnt++] =
			(struct iovec){ pkt->data + pkt->hdr_len,
					pkt->len - pkt->hdr_len };
	}
}

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

enum merge_kind merge_undo(struct merge *m)
{
	struct merge_item *it = &m->items[m->item];

	if (m->iov_cnt == 0 || m->split || !m->changed)
		return MERGE_NONE;
	restore_fields(it, m->pkts[it->head].data);
	m->split = true;
	m->part = it->head;
	m->iov_cnt = 0;
	return (enum merge_kind)it->kind;
}

enum merge_kind merge_get_kind(const struct merge *m)
{
	const struct merge_item *it = &m->items[m->item];

	if (m->iov_cnt == 0 || m->split || it->cnt < 2)
		return MERGE_NONE;
	return (enum merge_kind)it->kind;
}

unsigned int merge_discard(struct merge *m)
{
	const struct iovec *iov;
	unsigned int cnt = 0;

	while (merge_peek(m, &iov) != 0) {
		cnt += m->split ? 1U : m->items[m->item].cnt;
		merge_written(m);
	}
	return cnt;
}
