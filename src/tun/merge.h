/* SPDX-License-Identifier: MIT */
/*
 * Merging received packets into super-packets, the reverse of cutting. See the
 * essay in merge.c. One struct merge belongs to one thread at a time.
 *
 * Use: merge_reset(), merge_add() for each packet of a batch, then write what
 * merge_peek() shows and say merge_written(), until nothing is left. Until
 * then the packets' bytes are borrowed, and are changed in place.
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
	MERGE_FLOW_SETS = 64,
	MERGE_FLOW_WAYS = 4,
	/* UDP_MAX_SEGMENTS before Linux 6.9; more is EINVAL there. */
	MERGE_DATAGRAMS_MAX = 64,
	/* Bytes in front of each packet that merging may overwrite. */
	MERGE_HEADROOM = sizeof(struct vnet_hdr),
};
static_assert(MERGE_PACKETS_MAX <= IOV_MAX, "one writev(2) per item");

/* The batch is full: write it, then add the packet to the next. */
#define MERGE_E_FULL 1

/**
 * struct merge_packet - a packet as it was added
 * @data:	first byte of its IP header
 * @len:	its length
 * @hdr_len:	length of the headers that its successors in an item leave out
 * @next:	next packet of the same item, if it is not the last
 */
struct merge_packet {
	uint8_t *data;
	uint32_t len;
	uint16_t hdr_len;
	uint16_t next;
};

/**
 * struct merge_saved - header fields of an item's first packet before merging
 * @ip_len:	IPv4 total length or IPv6 payload length
 * @ip_check:	IPv4 header checksum
 * @udp_len:	UDP length
 * @l4_check:	TCP or UDP checksum
 * @tcp_flags:	TCP flags
 */
struct merge_saved {
	struct be16 ip_len;
	struct be16 ip_check;
	struct be16 udp_len;
	struct be16 l4_check;
	uint8_t tcp_flags;
};

/**
 * struct merge_item - what is written at once: a packet, or several merged
 * @len:	length of the packet that it makes
 * @next_seq:	TCP sequence number that continues it
 * @head:	its first packet
 * @tail:	its last packet
 * @cnt:	number of packets
 * @gso_size:	payload of the first packet, and of all but the last
 * @last_id:	IPv4 ID of the last packet
 * @id_step:	IPv4 ID from packet to packet; known once @cnt is 2
 * @kind:	what it is, MERGE_NONE for what never merges
 * @l4_off:	offset of the transport header
 * @tail_flags:	TCP flags that the last packet brings
 * @open:	another packet may join
 * @verified:	its checksums were found right
 * @saved:	the first packet's fields, once the item was prepared
 */
struct merge_item {
	uint32_t len;
	uint32_t next_seq;
	uint16_t head;
	uint16_t tail;
	uint16_t cnt;
	uint16_t gso_size;
	uint16_t last_id;
	uint8_t id_step;
	uint8_t kind;
	uint8_t l4_off;
	uint8_t tail_flags;
	bool open;
	bool verified;
	struct merge_saved saved;
};

/**
 * struct merge_flow - where the newest item of a flow is
 * @gen:	valid only if equal to merge.gen
 * @hash:	of addresses and ports
 * @item:	the item
 */
struct merge_flow {
	uint32_t gen;
	uint32_t hash;
	uint16_t item;
};

/**
 * struct merge - a batch
 * @gen:	raised to forget all flows at once
 * @kinds:	what may merge, MERGE_BIT() set
 * @vnet:	the device takes a virtio-net header
 * @pkts_cnt:	packets added
 * @items_cnt:	items made
 * @item:	item to be written next
 * @part:	packet to be written next, if the item was split
 * @split:	the item is written packet by packet
 * @iov_cnt:	vectors of the pending write, 0 if none is prepared
 * @flows:	newest items by flow
 * @pkts:	packets in order
 * @items:	items in the order of their first packets
 * @iov:	the pending write
 */
struct merge {
	uint32_t gen;
	unsigned int kinds;
	bool vnet;
	uint16_t pkts_cnt;
	uint16_t items_cnt;
	uint16_t item;
	uint16_t part;
	bool split;
	unsigned int iov_cnt;
	struct merge_flow flows[MERGE_FLOW_SETS][MERGE_FLOW_WAYS];
	struct merge_packet pkts[MERGE_PACKETS_MAX];
	struct merge_item items[MERGE_PACKETS_MAX];
	struct iovec iov[MERGE_PACKETS_MAX];
};

/* See merge.c. */
void merge_init(struct merge *m);
void merge_reset(struct merge *m, unsigned int kinds, bool vnet);
int merge_add(struct merge *m, uint8_t *pkt, size_t len);
unsigned int merge_peek(struct merge *m, const struct iovec **iov);
void merge_written(struct merge *m);
enum merge_kind merge_undo(struct merge *m);
enum merge_kind merge_get_kind(const struct merge *m);
unsigned int merge_discard(struct merge *m);

#endif /* TUN_MERGE_H */
