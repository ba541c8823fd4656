/* SPDX-License-Identifier: MIT */
/*
 * Staged packets: packets that wait for a session. The whole device has one
 * pool of blocks, so its memory is bounded no matter how many peers do not
 * answer. A packet takes as many blocks as it needs, in a chain. Each peer has
 * a queue of packets.
 *
 * A peer keeps at most STAGED_MAX_PACKETS: one more packet, and its oldest is
 * dropped. If the pool has too few free blocks, the oldest packet of the peer
 * that holds the most blocks is dropped. So a peer that does not answer cannot
 * push out the packets of a peer that is about to answer. The queues are kept
 * in lists by their number of blocks, so the peer with the most blocks is found
 * without a search.
 *
 * Blocks are used from the bottom up, and used blocks are taken again before
 * new ones. So memory that was never needed never becomes resident.
 *
 * Legend: [I] immutable, [m] under the pool's lock, [a] atomic. The lock is
 * held while one packet is copied; a thread that holds it takes no other lock.
 */
#ifndef DEVICE_STAGED_H
#define DEVICE_STAGED_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	/* The most packets of one peer, as in the kernel module. */
	STAGED_MAX_PACKETS = 128,
	/* Bytes of a block: a packet of the usual MTU takes one. */
	STAGED_BLOCK_LEN = 2048,
	/* Blocks of a device's pool: 8 MiB. A choice: it bounds the memory. */
	STAGED_DEFAULT_BLOCKS = 4096,
	/* The longest packet: a super-packet with its virtio-net header. */
	STAGED_MAX_LEN = 65536 + 64,
	STAGED_MAX_BLOCKS_PER_PACKET =
		(STAGED_MAX_LEN + STAGED_BLOCK_LEN - 1) / STAGED_BLOCK_LEN,
};

struct staged_pool;

/**
 * struct staged_queue - the staged packets of one peer, part of the peer
 * @next:	[m] next queue with the same number of blocks
 * @prev:	[m] previous one
 * @first:	[m] first block of the oldest packet
 * @last:	[m] first block of the newest packet
 * @n_blocks:	[m] blocks of all its packets
 * @n_packets:	[a] written under the lock; read without it, as a hint
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
 * staged_pool_new() - make an empty pool
 * @n_blocks:	number of blocks, at least STAGED_MAX_BLOCKS_PER_PACKET
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
 * staged_queue_init() - make an empty queue
 * @queue:	caller's storage
 */
void staged_queue_init(struct staged_queue *queue);

/**
 * staged_push() - keep a copy of a packet
 * @pool:	pool
 * @queue:	the peer's queue
 * @packet:	packet; it is copied
 * @len:	its length, 1 to STAGED_MAX_LEN bytes
 * @n_dropped:	set on success to the number of packets that were dropped to
 *		make room
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
 * @cap:	size of @buf; a longer packet stays in the queue
 *
 * Any thread. To get the packets in order, call it from one thread at a time.
 *
 * Return: the packet's length; 0 if the queue is empty; -ENOSPC if the packet
 * is longer than @cap.
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
 * Return: the number of packets that were dropped.
 */
size_t staged_clear(struct staged_pool *pool, struct staged_queue *queue);

/**
 * staged_is_empty() - is there nothing to pop?
 * @queue:	the peer's queue
 *
 * A hint: the count is read without the lock. Who finds the queue empty sees
 * what the thread that emptied it did before. Any thread.
 *
 * Return: true if the queue is empty.
 */
static inline bool staged_is_empty(const struct staged_queue *queue)
{
	/* Partner: drop_oldest() of staged.c. */
	return !atomic_load_explicit(&queue->n_packets, memory_order_acquire);
}

/**
 * staged_get_free() - count the free blocks
 * @pool:	pool
 *
 * Any thread.
 *
 * Return: the number.
 */
uint32_t staged_get_free(struct staged_pool *pool);

#endif /* DEVICE_STAGED_H */
