/* SPDX-License-Identifier: MIT */
/*
 * Staged packets: what waits for a session. One pool of blocks for the whole
 * device, so its memory is bounded however many peers do not answer. A packet
 * takes as many blocks as it needs, chained; each peer has a queue of packets.
 *
 * A peer keeps STAGED_MAX_PACKETS: one more, and its oldest goes. When the pool
 * has too few free blocks, the oldest packet of the peer that holds the most
 * blocks goes, so a peer that does not answer cannot push out the packets of
 * one that is about to. Queues are kept in lists by the number of their blocks,
 * so that peer is found without a search.
 *
 * Blocks are used from the bottom up and again before new ones, so memory that
 * was never needed is never resident.
 *
 * Legend: [I] immutable, [m] under the pool's lock, [a] atomic. The lock is held
 * for one copy of a packet; nothing is called while it is held.
 */
#ifndef DEVICE_STAGED_H
#define DEVICE_STAGED_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	/* Packets that a peer keeps. */
	STAGED_MAX_PACKETS = 128,
	STAGED_BLOCK_LEN = 2048,
	/* Blocks of a device's pool: 8 MiB. */
	STAGED_DEFAULT_BLOCKS = 4096,
	/* The longest packet: what a TUN gives at once, with its header. */
	STAGED_MAX_LEN = 65536 + 64,
	STAGED_MAX_BLOCKS_PER_PACKET =
		(STAGED_MAX_LEN + STAGED_BLOCK_LEN - 1) / STAGED_BLOCK_LEN,
};

struct staged_pool;

/**
 * struct staged_queue - the staged packets of one peer, part of the peer
 * @next:	[m] queue with as many blocks
 * @prev:	[m]
 * @first:	[m] first block of the oldest packet
 * @last:	[m] first block of the newest packet
 * @n_blocks:	[m]
 * @n_packets:	[a] written under the lock, read anywhere as a hint
 */
struct staged_queue {
	struct staged_queue *next;
	struct staged_queue *prev;
	uint32_t first;
	uint32_t last;
	uint32_t n_blocks;
	_Atomic uint32_t n_packets;
};

/**
 * staged_pool_new() - an empty pool
 * @n_blocks:	how many blocks, at least STAGED_MAX_BLOCKS_PER_PACKET
 *
 * Return: the pool; NULL if memory is short.
 */
struct staged_pool *staged_pool_new(uint32_t n_blocks);

/**
 * staged_pool_free() - free a pool
 * @pool:	pool whose queues are all empty; NULL is ok
 */
void staged_pool_free(struct staged_pool *pool);

/**
 * staged_queue_init() - an empty queue
 * @queue:	caller's storage
 */
void staged_queue_init(struct staged_queue *queue);

/**
 * staged_push() - keep a copy of a packet
 * @pool:	pool
 * @queue:	the peer's queue
 * @packet:	packet; the caller keeps it
 * @len:	1 to STAGED_MAX_LEN bytes
 * @n_dropped:	set to the number of packets that had to go for it
 *
 * Any thread.
 *
 * Return: 0; -EMSGSIZE.
 */
int staged_push(struct staged_pool *pool, struct staged_queue *queue,
		const void *packet, size_t len, size_t *n_dropped);

/**
 * staged_pop() - take the oldest packet
 * @pool:	pool
 * @queue:	the peer's queue
 * @buf:	filled
 * @cap:	bytes at @buf; a packet longer than that stays
 *
 * Any thread; whoever wants packets in order pops from one thread at a time.
 *
 * Return: the packet's length; 0 if there is none; -ENOSPC.
 */
long staged_pop(struct staged_pool *pool, struct staged_queue *queue, void *buf,
		size_t cap);

/**
 * staged_clear() - drop all packets of a peer
 * @pool:	pool
 * @queue:	the peer's queue
 *
 * Any thread.
 *
 * Return: how many were dropped.
 */
size_t staged_clear(struct staged_pool *pool, struct staged_queue *queue);

/**
 * staged_is_empty() - is there nothing to pop?
 * @queue:	the peer's queue
 *
 * A hint, without a lock: pairs with nothing. Any thread.
 *
 * Return: true if so.
 */
static inline bool staged_is_empty(const struct staged_queue *queue)
{
	return !atomic_load_explicit(&queue->n_packets, memory_order_relaxed);
}

/**
 * staged_get_free() - how many blocks are free
 * @pool:	pool
 *
 * Any thread.
 *
 * Return: the number.
 */
uint32_t staged_get_free(struct staged_pool *pool);

#endif /* DEVICE_STAGED_H */
