/* SPDX-License-Identifier: MIT */
/*
 * Merging received packets into super-packets, the reverse of cutting them
 * (segment.h). One struct merge is one batch, and belongs to one thread at a
 * time.
 *
 * Use: merge_reset(); merge_add() for each packet of the batch; then, until
 * merge_peek() returns 0, write the vector that it sets and call
 * merge_written(). Until then the packets' bytes are borrowed, and are changed
 * in place.
 */
#ifndef TUN_MERGE_H
#define TUN_MERGE_H

#include <limits.h>
#include <sys/uio.h>

#include "tun/flow.h"
#include "tun/vnet.h"

/* Caps of one batch. */
enum {
	MERGE_PACKETS_MAX = 1024, /* as many as one writev(2) takes */
	/* Sets of the table of flows, and places in a set. Choices, not
	 * measured: room for 256 flows in a batch of MERGE_PACKETS_MAX. */
	MERGE_FLOW_SETS = 64,
	MERGE_FLOW_WAYS = 4,
	/* UDP_MAX_SEGMENTS before Linux 6.9, which refuse more by EINVAL. */
	MERGE_DATAGRAMS_MAX = 64,
	/* Bytes in front of each packet that merging may overwrite. */
	MERGE_HEADROOM = sizeof(struct vnet_hdr),
};
static_assert(MERGE_PACKETS_MAX <= IOV_MAX, "one writev(2) per item");
static_assert(UINT8_MAX >= sizeof(struct vnet_tunnel_hdr), "merge.hdr_len");

/* The batch is full: write it, then add the packet to the next batch. */
#define MERGE_E_FULL 1

/**
 * struct merge_packet - a packet as it was added
 * @data:	first byte of its IP header
 * @len:	its length
 * @hdr_len:	length of its headers, which are left out if the packet is not
 *		the first of its item
 * @next:	next packet of the same item, if it is not the last
 */
struct merge_packet {
	uint8_t *data;
	uint32_t len;
	uint16_t hdr_len;
	uint16_t next;
};

/**
 * struct merge_saved_ip - fields of an IP header before merging
 * @len:	IPv4 total length or IPv6 payload length
 * @check:	IPv4 header checksum
 */
struct merge_saved_ip {
	struct be16 len;
	struct be16 check;
};

/**
 * struct merge_saved - header fields of an item's first packet before merging
 * @ip:		of the IP header in front of the transport header
 * @outer_ip:	of the outer IP header of a tunnel
 * @udp_len:	UDP length, in a tunnel the outer one
 * @udp_check:	UDP checksum, in a tunnel the outer one
 * @tcp_check:	TCP checksum
 * @tcp_flags:	TCP flags
 */
struct merge_saved {
	struct merge_saved_ip ip;
	struct merge_saved_ip outer_ip;
	struct be16 udp_len;
	struct be16 udp_check;
	struct be16 tcp_check;
	uint8_t tcp_flags;
};

/**
 * struct merge_ids - the IPv4 IDs of an item's packets
 * @last:	ID of the last packet
 * @step:	difference from packet to packet, 0 or 1; known once the item has
 *		two packets
 */
struct merge_ids {
	uint16_t last;
	uint8_t step;
};

/**
 * struct merge_item - a packet, or several packets that are written as one
 * @len:	length of the packet that the item makes
 * @next_seq:	TCP sequence number of the packet that may join next
 * @head:	its first packet
 * @tail:	its last packet
 * @cnt:	number of packets
 * @gso_size:	payload of the first packet, and of all but the last
 * @ids:	IDs of the IPv4 header in front of the transport header
 * @outer_ids:	IDs of the outer IPv4 header of a tunnel
 * @l4_off:	offset of the transport header
 * @ip_off:	offset of the IP header in front of it, 0 without a tunnel
 * @udp_off:	offset of the UDP header, in a tunnel of the outer one; only for
 *		kinds with UDP
 * @kind:	kind of its packets; MERGE_NONE if the packet never merges
 * @tail_flags:	TCP flags of the last packet that the super-packet gets, too
 * @open:	another packet may join
 * @verified:	the checksums of its packets were found right
 * @saved:	fields of the first packet, kept when merge_peek() changes them
 */
struct merge_item {
	uint32_t len;
	uint32_t next_seq;
	uint16_t head;
	uint16_t tail;
	uint16_t cnt;
	uint16_t gso_size;
	struct merge_ids ids;
	struct merge_ids outer_ids;
	uint16_t l4_off;
	uint16_t ip_off;
	uint16_t udp_off;
	uint8_t kind;
	uint8_t tail_flags;
	bool open;
	bool verified;
	struct merge_saved saved;
};

/**
 * struct merge_flow - the newest item of a flow
 * @gen:	the place is in use only if this equals merge.gen
 * @hash:	hash of addresses and ports
 * @item:	index of the item
 */
struct merge_flow {
	uint32_t gen;
	uint32_t hash;
	uint16_t item;
};

/**
 * struct merge - a batch
 * @gen:	raised to forget all flows at once
 * @kinds:	the kinds that may merge, a set of MERGE_BIT()
 * @true_offsets: kinds of tunnels for which the device is told the true offset
 *		of the outer UDP header, a set of MERGE_BIT()
 * @overlays:	the ports of the kernel's tunnel devices
 * @hdr_len:	length of the device's virtio-net header, 0: it takes none
 * @pkts_cnt:	packets added
 * @items_cnt:	items made
 * @item:	item to be written next
 * @part:	packet to be written next, if the item was split
 * @split:	the item is written packet by packet
 * @changed:	the pending write has changed the headers of its first packet
 * @iov_cnt:	vectors of the pending write, 0 if none is prepared
 * @flows:	newest items by flow
 * @pkts:	packets in order
 * @items:	items in the order of their first packets
 * @hdr:	virtio-net header of the pending write, if it is the longer one
 * @iov:	the pending write
 */
struct merge {
	uint32_t gen;
	unsigned int kinds;
	unsigned int true_offsets;
	struct overlays overlays;
	uint8_t hdr_len;
	uint16_t pkts_cnt;
	uint16_t items_cnt;
	uint16_t item;
	uint16_t part;
	bool split;
	bool changed;
	unsigned int iov_cnt;
	struct merge_flow flows[MERGE_FLOW_SETS][MERGE_FLOW_WAYS];
	struct merge_packet pkts[MERGE_PACKETS_MAX];
	struct merge_item items[MERGE_PACKETS_MAX];
	struct vnet_tunnel_hdr hdr;
	struct iovec iov[MERGE_PACKETS_MAX];
};

/**
 * merge_init() - prepare a batch for its first merge_reset()
 * @m:		caller's storage, all zero; most of it is not written, so it
 *		takes no memory yet
 */
void merge_init(struct merge *m);

/**
 * merge_reset() - begin a batch
 * @m:		batch
 * @kinds:	the kinds that may merge, a set of MERGE_BIT(); ignored without
 *		@hdr_len
 * @hdr_len:	length of the virtio-net header that each write begins with:
 *		that of struct vnet_hdr, that of struct vnet_tunnel_hdr, or 0.
 *		Only with the longer one the kinds of tunnels merge.
 *
 * Packets of the batch that were not written are forgotten. No ports of tunnel
 * devices are known until merge_set_overlays().
 */
void merge_reset(struct merge *m, unsigned int kinds, size_t hdr_len);

/**
 * merge_set_overlays() - name the ports of the kernel's tunnel devices
 * @m:		batch, still empty
 * @overlays:	the ports; copied
 * @true_offsets: kinds of tunnels for which the device is told the true offset
 *		of the outer UDP header, a set of MERGE_BIT(); merge.c says why
 *		the others get another one
 */
void merge_set_overlays(struct merge *m, const struct overlays *overlays,
			unsigned int true_offsets);

/**
 * merge_add() - add a packet to a batch
 * @m:		batch, not yet peeked at
 * @pkt:	packet, writable, with MERGE_HEADROOM writable bytes in front;
 *		borrowed until it was written or the batch is reset
 * @len:	its length, 1 to IPV6_PACKET_MAX; the packet need not be valid
 *
 * Return: 0; MERGE_E_FULL if the batch is full, and the packet was not added;
 * -EINVAL for a length out of range.
 */
int merge_add(struct merge *m, uint8_t *pkt, size_t len);

/* merge_is_empty() - was no packet added since merge_reset()? */
static inline bool merge_is_empty(const struct merge *m)
{
	return m->pkts_cnt == 0;
}

/**
 * merge_peek() - get the vector of the next write
 * @m:		batch; no more packets are added from now on
 * @iov:	set to the vector of one write, at most MERGE_PACKETS_MAX
 *		entries; valid until any other call for this batch
 *
 * Until merge_written() or merge_undo(), every call sets the same vector.
 *
 * Return: the number of entries; 0 if everything is written.
 */
unsigned int merge_peek(struct merge *m, const struct iovec **iov);

/**
 * merge_written() - the vector of merge_peek() was written, or is given up
 * @m:		batch
 */
void merge_written(struct merge *m);

/**
 * merge_undo() - undo the merging of the item that merge_peek() prepared
 * @m:		batch
 *
 * This is for an item that the device refused. From now on merge_peek() sets
 * the packets of this item one by one, as they came, each with an all-zero
 * virtio-net header.
 *
 * Return: the kind of the item; MERGE_NONE if the vector already was one packet
 * as it came, and then nothing changes.
 */
enum merge_kind merge_undo(struct merge *m);

/**
 * merge_get_kind() - the kind of the item that merge_peek() prepared
 * @m:		batch
 *
 * Return: the kind if the item has several packets, else MERGE_NONE.
 */
enum merge_kind merge_get_kind(const struct merge *m);

/**
 * merge_discard() - forget all packets that are not written
 * @m:		batch
 *
 * Return: the number of packets forgotten.
 */
unsigned int merge_discard(struct merge *m);

#endif /* TUN_MERGE_H */
