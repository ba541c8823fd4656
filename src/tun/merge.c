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
 *		all; FIN and PSH are allowed and make their packet the last;
 *		CWR is allowed in the first packet only. The kernel's own GRO
 *		has the same rules (Linux net/ipv4/tcp_offload.c). Accurate ECN
 *		uses AE, CWR and ECE as a counter that stays the same in many
 *		packets. AE and ECE merge: they are repeated when the packet is
 *		cut. CWR in all packets does not: the kernel clears it in all
 *		segments but the first, unless a flag that the virtio-net header
 *		of Linux 6.18 does not have says otherwise.
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
 * not merge is written as it came, with a field of 0. IPv6 demands a checksum.
 * So IPv6 datagrams without one merge only if a VXLAN or Geneve device of the
 * kernel takes them (overlay.h). Elsewhere merged ones would be taken where single
 * ones are refused.
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
 * TCP in the kernel's own tunnels (VXLAN and Geneve) merges into tunnel
 * super-packets, from Linux 6.17 on. All rules for both headers hold, for the
 * outer and the inner one, and all bytes between the outer UDP header and the
 * inner IP header are the same: VNI, options, Ethernet addresses. The outer
 * checksum is verified without a pass over the payload, and comes out as it was:
 * a field of 0 stays 0. A packet that was verified and then does not merge is
 * written as it came. Only packets to a port on which a VXLAN or Geneve device
 * of the kernel listens merge in this way (overlay.h). A program's socket would
 * get a tunnel super-packet whole, because the kernel cuts only those of plain
 * UDP for it (udp_unexpected_gso() in include/linux/udp.h).
 *
 * The kernel must be told the offset of the outer UDP header. It refuses the true
 * one: virtio_net_hdr_tnl_to_skb() (include/linux/virtio_net.h, Linux 6.17 and
 * 6.18) adds the length of an Ethernet header to the least offset that it takes,
 * also for a TUN, which has none. It stores the offset, but sets it anew from the
 * IP header before it uses it (ip_rcv_core(), ip6_rcv_core()). So the offset that it
 * is told here is too large by that length. If a later kernel refuses this, the
 * caller tells the true one (merge_set_overlays()).
 *
 * Order: items are written in the order of their first packets, and a packet
 * joins only the newest item of its flow. So the packets of a flow keep their
 * order. A packet of a known flow that cannot join makes an item, which is then
 * the newest of its flow. In a tunnel the flow is that of the outer header, so
 * nothing in the tunnel overtakes anything else. A packet whose flow cannot be told (fragments, IP
 * options, extension headers) closes all items. Flows are forgotten only at the
 * end of the batch, so packets from several trains may merge. The table of flows
 * has a fixed number of places. If a flow loses its place, its next packet
 * makes a new item. The packets of the flow keep their order.
 */
#include "tun/merge.h"

#include <errno.h>

#include "tun/checksum.h"

enum {
	/* The length of an Ethernet header, which a TUN does not have. */
	ETHERNET_LEN = 14,
};

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
	if (hdr_len != sizeof(struct vnet_tunnel_hdr))
		m->kinds &= ~MERGE_TUNNELS;
	m->overlays.cnt = 0;
	m->hdr_len = (uint8_t)hdr_len;
	m->pkts_cnt = 0;
	m->items_cnt = 0;
	m->item = 0;
	m->part = 0;
	m->split = false;
	m->iov_cnt = 0;
}

void merge_set_overlays(struct merge *m, const struct overlays *overlays,
			unsigned int true_offsets)
{
	m->true_offsets = true_offsets;
	m->overlays.cnt = overlays->cnt;
	memcpy(m->overlays.list, overlays->list,
	       overlays->cnt * sizeof(overlays->list[0]));
}

/* Do the item and the packet belong to the same flow? */
static inline bool flow_equal(const struct merge *m,
			      const struct merge_item *it,
			      const struct flow_packet *p)
{
	const uint8_t *head = m->pkts[it->head].data;

	if (it->kind != p->kind && !kind_is_same_flow(it->kind, p->kind))
		return false;
	if (ip_get_version(p->pkt) == IP_V4)
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

/* Do the IP headers @a and @b allow the packet with @b to join? For IPv4 @ids
 * has the IDs of the item, and @step is set. */
static inline bool ip_equal(const struct merge_item *it, const uint8_t *a,
			    const uint8_t *b, bool is_v4,
			    const struct merge_ids *ids, uint8_t *step)
{
	const struct ipv4_hdr *a4 = (const void *)a;
	const struct ipv4_hdr *b4 = (const void *)b;
	const struct ipv6_hdr *a6 = (const void *)a;
	const struct ipv6_hdr *b6 = (const void *)b;
	uint16_t diff;

	if (!is_v4)
		return memcmp(&a6->version_class_flow, &b6->version_class_flow,
			      sizeof(a6->version_class_flow)) == 0 &&
		       a6->hop_limit == b6->hop_limit;
	if (a4->tos != b4->tos || a4->ttl != b4->ttl ||
	    memcmp(&a4->frag, &b4->frag, sizeof(a4->frag)) != 0)
		return false;
	diff = (uint16_t)(be16_get(b4->id) - ids->last);
	if (diff > 1 || (it->cnt > 1 && diff != ids->step))
		return false;
	*step = (uint8_t)diff;
	return diff == 1 || be16_get(b4->frag) & IPV4_DF;
}

/* Do the TCP headers allow the packet to join? */
static inline bool tcp_equal(const struct merge_item *it, const uint8_t *head,
			     const struct flow_packet *p)
{
	const struct tcp_hdr *a = (const void *)(head + it->l4_off);
	const struct tcp_hdr *b = (const void *)(p->pkt + p->l4_off);
	size_t opt_len = (size_t)(p->hdr_len - p->l4_off) - sizeof(*b);

	return be32_get(b->seq) == it->next_seq &&
	       !((a->flags ^ b->flags) & TCP_SAME) && !(b->flags & TCP_CWR) &&
	       a->data_off == b->data_off &&
	       memcmp(&a->ack, &b->ack, sizeof(a->ack)) == 0 &&
	       memcmp(&a->window, &b->window, sizeof(a->window)) == 0 &&
	       memcmp(&a->urgent, &b->urgent, sizeof(a->urgent)) == 0 &&
	       memcmp(a + 1, b + 1, opt_len) == 0;
}

/* Do both UDP headers have a checksum, or neither of them? */
static inline bool udp_equal(const uint8_t *a, const uint8_t *b)
{
	return udp_has_checksum((const void *)a) ==
	       udp_has_checksum((const void *)b);
}

/*
 * Do the outer headers of a tunnel, and its own ones, allow the packet to join?
 * Are the inner addresses and ports the same? @step is set for outer IPv4.
 */
static bool tunnel_equal(const struct merge_item *it, const uint8_t *head,
			 const struct flow_packet *p, uint8_t *step)
{
	const uint8_t *a = head + it->udp_off, *b = p->pkt + p->udp_off;
	size_t len = sizeof(struct udp_hdr);
	bool is_v4 = kind_is_inner_v4(p->kind);
	size_t flow_off = p->ip_off + (is_v4 ? FLOW4_OFF : FLOW6_OFF);

	return it->ip_off == p->ip_off && udp_equal(a, b) &&
	       memcmp(a + len, b + len,
		      (size_t)(p->ip_off - p->udp_off) - len) == 0 &&
	       memcmp(head + flow_off, p->pkt + flow_off,
		      is_v4 ? FLOW4_LEN : FLOW6_LEN) == 0 &&
	       ip_equal(it, head, p->pkt, kind_is_v4(p->kind), &it->outer_ids,
			step);
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

/* Verify the item's first packet, when a second one is about to join. */
static bool verify_first(struct merge_item *it, uint8_t *head)
{
	const struct flow_packet first = { .pkt = head,
					   .len = it->len,
					   .kind = (enum merge_kind)it->kind,
					   .l4_off = it->l4_off,
					   .ip_off = it->ip_off,
					   .udp_off = it->udp_off };

	it->verified = flow_verify(&first);
	return it->verified;
}

static inline uint16_t push_packet(struct merge *m, const struct flow_packet *p)
{
	uint16_t idx = m->pkts_cnt++;
	struct merge_packet *pkt = &m->pkts[idx];

	/* The member next is set when a packet joins behind this one. */
	pkt->data = p->pkt;
	pkt->len = p->len;
	pkt->hdr_len = p->hdr_len;
	return idx;
}

/* May another packet join without making the vector too long? */
static inline bool has_entry(const struct merge *m, const struct merge_item *it)
{
	return it->cnt < MERGE_PACKETS_MAX -
				 (m->hdr_len == sizeof(struct vnet_tunnel_hdr));
}

/* The ID of the IPv4 header at @off. */
static inline uint16_t id_at(const struct flow_packet *p, size_t off)
{
	const struct ipv4_hdr *ip = (const void *)(p->pkt + off);

	return be16_get(ip->id);
}

/* The packet is now the item's last one: take its IDs. */
static inline void set_ids(struct merge_item *it, const struct flow_packet *p,
			   uint8_t step, uint8_t outer_step)
{
	if (kind_is_inner_v4(p->kind))
		it->ids = (struct merge_ids){ id_at(p, p->ip_off), step };
	if (kind_is_tunnel(p->kind) && kind_is_v4(p->kind))
		it->outer_ids = (struct merge_ids){ id_at(p, 0), outer_step };
}

/* Do the headers allow the packet to join? The steps of IDs are set. */
static inline bool headers_equal(const struct merge_item *it,
				 const uint8_t *head,
				 const struct flow_packet *p, uint8_t *step,
				 uint8_t *outer_step)
{
	if (it->kind != p->kind)
		return false;
	if (kind_is_tunnel(p->kind) && !tunnel_equal(it, head, p, outer_step))
		return false;
	if (!ip_equal(it, head + it->ip_off, p->pkt + p->ip_off,
		      kind_is_inner_v4(p->kind), &it->ids, step))
		return false;
	return kind_is_tcp(p->kind)
		       ? tcp_equal(it, head, p)
		       : udp_equal(head + it->l4_off, p->pkt + p->l4_off);
}

/* Join a packet to the newest item of its flow. Return: false if it may not
 * join. */
static bool join(struct merge *m, struct merge_item *it,
		 const struct flow_packet *p)
{
	uint8_t *head = m->pkts[it->head].data;
	const struct tcp_hdr *tcp = (const void *)(p->pkt + p->l4_off);
	uint32_t payload = p->len - p->hdr_len;
	uint8_t step = 0, outer_step = 0;
	uint16_t idx;

	if (!it->open || !has_entry(m, it) || payload > it->gso_size ||
	    payload > MERGED_MAX - it->len)
		return false;
	if (!headers_equal(it, head, p, &step, &outer_step) ||
	    !(it->verified || verify_first(it, head)) || !flow_verify(p))
		return false;

	idx = push_packet(m, p);
	m->pkts[it->tail].next = idx;
	it->tail = idx;
	it->cnt++;
	it->len += payload;
	it->next_seq += payload;
	set_ids(it, p, step, outer_step);
	if (kind_is_tcp(p->kind))
		it->tail_flags = tcp->flags & TCP_ENDS;
	it->open = !ends_item(it, p);
	return true;
}

/* Make an item of one packet. @open: other packets may join. */
static uint16_t push_item(struct merge *m, const struct flow_packet *p,
			  bool open)
{
	const struct tcp_hdr *tcp = (const void *)(p->pkt + p->l4_off);
	uint16_t pkt = push_packet(m, p);
	uint16_t idx = m->items_cnt++;
	struct merge_item *it = &m->items[idx];

	it->len = p->len;
	it->head = pkt;
	it->tail = pkt;
	it->cnt = 1;
	it->kind = (uint8_t)p->kind;
	it->l4_off = p->l4_off;
	it->ip_off = p->ip_off;
	it->udp_off = p->udp_off;
	it->tail_flags = 0;
	it->verified = false;
	it->open = open;
	if (!open)
		return idx;
	it->gso_size = (uint16_t)(p->len - p->hdr_len);
	set_ids(it, p, 0, 0);
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
	verdict = flow_judge(m->kinds, &m->overlays, &p);
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

/* Does the kind have a UDP header, in a tunnel the outer one? */
static inline bool has_udp(unsigned int kind)
{
	return !kind_is_tcp(kind) || kind_is_tunnel(kind);
}

static struct merge_saved_ip save_ip(const uint8_t *hdr, bool is_v4)
{
	const struct ipv4_hdr *ip4 = (const void *)hdr;
	const struct ipv6_hdr *ip6 = (const void *)hdr;

	if (is_v4)
		return (struct merge_saved_ip){ ip4->total_len, ip4->check };
	return (struct merge_saved_ip){ .len = ip6->payload_len };
}

static void restore_ip(uint8_t *hdr, bool is_v4,
		       const struct merge_saved_ip *saved)
{
	struct ipv4_hdr *ip4 = (void *)hdr;
	struct ipv6_hdr *ip6 = (void *)hdr;

	if (is_v4) {
		ip4->total_len = saved->len;
		ip4->check = saved->check;
	} else {
		ip6->payload_len = saved->len;
	}
}

/* Keep the fields that write_headers() changes. */
static void save_fields(struct merge_item *it, const uint8_t *head)
{
	const struct tcp_hdr *tcp = (const void *)(head + it->l4_off);
	const struct udp_hdr *udp = (const void *)(head + it->udp_off);

	it->saved.ip = save_ip(head + it->ip_off, kind_is_inner_v4(it->kind));
	if (kind_is_tunnel(it->kind))
		it->saved.outer_ip = save_ip(head, kind_is_v4(it->kind));
	if (has_udp(it->kind)) {
		it->saved.udp_len = udp->len;
		it->saved.udp_check = udp->check;
	}
	if (kind_is_tcp(it->kind)) {
		it->saved.tcp_check = tcp->check;
		it->saved.tcp_flags = tcp->flags;
	}
}

/* Undo write_headers(). */
static void restore_fields(const struct merge_item *it, uint8_t *head)
{
	struct tcp_hdr *tcp = (void *)(head + it->l4_off);
	struct udp_hdr *udp = (void *)(head + it->udp_off);

	restore_ip(head + it->ip_off, kind_is_inner_v4(it->kind),
		   &it->saved.ip);
	if (kind_is_tunnel(it->kind))
		restore_ip(head, kind_is_v4(it->kind), &it->saved.outer_ip);
	if (has_udp(it->kind)) {
		udp->len = it->saved.udp_len;
		udp->check = it->saved.udp_check;
	}
	if (kind_is_tcp(it->kind)) {
		tcp->check = it->saved.tcp_check;
		tcp->flags = it->saved.tcp_flags;
	}
}

/* Write the length of an IP header. @len: from the header to the end of the
 * packet. Return: the sum of the pseudo header. */
static uint16_t write_ip(uint8_t *hdr, bool is_v4, size_t len, uint8_t proto)
{
	struct ipv4_hdr *ip4 = (void *)hdr;
	struct ipv6_hdr *ip6 = (void *)hdr;

	if (!is_v4) {
		len -= sizeof(*ip6);
		ip6->payload_len = be16_make((uint16_t)len);
		return checksum_fold(
			checksum_pseudo6(ip6->saddr, ip6->daddr, proto, len));
	}
	ip4->total_len = be16_make((uint16_t)len);
	ip4->check = be16_make(0);
	ip4->check = checksum_finish(checksum_add(0, ip4, sizeof(*ip4)));
	return checksum_fold(checksum_pseudo4(ip4->saddr, ip4->daddr, proto,
					      len - sizeof(*ip4)));
}

/* As for TCP and UDP without a tunnel. An outer checksum that is 0 stays 0. */
static void write_outer_headers(const struct merge_item *it, uint8_t *head)
{
	struct udp_hdr *udp = (void *)(head + it->udp_off);
	uint16_t sum =
		write_ip(head, kind_is_v4(it->kind), it->len, IP_PROTO_UDP);

	udp->len = be16_make((uint16_t)(it->len - it->udp_off));
	if (udp_has_checksum(udp))
		udp->check = checksum_store(sum);
}

/* Turn the first packet into the head of a super-packet. NEEDS_CSUM asks for
 * the sum of the pseudo header, not inverted, in the checksum field. */
static void write_headers(const struct merge_item *it, uint8_t *head)
{
	struct tcp_hdr *tcp = (void *)(head + it->l4_off);
	struct udp_hdr *udp = (void *)(head + it->udp_off);
	bool is_tcp = kind_is_tcp(it->kind);
	uint16_t sum = write_ip(head + it->ip_off, kind_is_inner_v4(it->kind),
				it->len - it->ip_off,
				is_tcp ? IP_PROTO_TCP : IP_PROTO_UDP);

	if (is_tcp) {
		tcp->flags |= it->tail_flags;
		tcp->check = checksum_store(sum);
	} else {
		udp->len = be16_make((uint16_t)(it->len - it->l4_off));
		udp->check = checksum_store(sum);
	}
	if (kind_is_tunnel(it->kind))
		write_outer_headers(it, head);
}

/* The flag of the virtio-net header for a super-packet with CWR. */
static unsigned int ecn_flag(const struct merge_item *it, const uint8_t *head)
{
	const struct tcp_hdr *tcp = (const void *)(head + it->l4_off);

	return kind_is_tcp(it->kind) && tcp->flags & TCP_CWR
		       ? VIRTIO_NET_HDR_GSO_ECN
		       : 0;
}

/* The header of a packet that is in no tunnel. @head: the item's first packet. */
static void write_vnet(const struct merge_item *it, const uint8_t *head,
		       struct vnet_hdr *hdr, uint16_t hdr_len)
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
		hdr->gso_type = (uint8_t)(types[it->kind] | ecn_flag(it, head));
		vnet_set(hdr->gso_size, it->gso_size);
	}
}

/* The header of a tunnel super-packet. @head: its first packet. */
static void write_tunnel_vnet(const struct merge *m,
			      const struct merge_item *it, const uint8_t *head,
			      struct vnet_tunnel_hdr *hdr, uint16_t hdr_len)
{
	unsigned int type = kind_is_inner_v4(it->kind)
				    ? VIRTIO_NET_HDR_GSO_TCPV4
				    : VIRTIO_NET_HDR_GSO_TCPV6;
	unsigned int outer_off = it->udp_off;

	if (!(m->true_offsets & MERGE_BIT(it->kind)))
		outer_off += ETHERNET_LEN;
	type |= kind_is_v4(it->kind) ? VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4
				     : VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV6;
	hdr->base.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	if (udp_has_checksum((const void *)(head + it->udp_off)))
		hdr->base.flags |= VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM;
	hdr->base.gso_type = (uint8_t)(type | ecn_flag(it, head));
	vnet_set_le(hdr->base.hdr_len, hdr_len);
	vnet_set_le(hdr->base.gso_size, it->gso_size);
	vnet_set_le(hdr->base.csum_start, it->l4_off);
	vnet_set_le(hdr->base.csum_offset, offsetof(struct tcp_hdr, check));
	vnet_set_le(hdr->outer_l4_off, (uint16_t)outer_off);
	vnet_set_le(hdr->inner_off, it->ip_off);
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

/* Is an item written as it came although it was verified? NEEDS_CSUM alone does
 * not tell the kernel that an outer checksum is right. */
static bool stays_as_is(const struct merge_item *it, const uint8_t *head)
{
	if (it->cnt > 1)
		return false;
	return kind_is_tunnel(it->kind) ||
	       (!kind_is_tcp(it->kind) &&
		!udp_has_checksum((const void *)(head + it->l4_off)));
}

static void prepare_item(struct merge *m, struct merge_item *it)
{
	const struct merge_packet *pkt = &m->pkts[it->head];
	struct vnet_hdr *hdr = prepare_single(m, pkt);

	m->changed = false;
	/* Nothing is verified without a virtio-net header. */
	if (!it->verified || !hdr)
		return;
	if (stays_as_is(it, pkt->data))
		return;
	m->changed = true;
	save_fields(it, pkt->data);
	write_headers(it, pkt->data);
	if (kind_is_tunnel(it->kind))
		write_tunnel_vnet(m, it, pkt->data, &m->hdr, pkt->hdr_len);
	else
		write_vnet(it, pkt->data, hdr, pkt->hdr_len);
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
