/* SPDX-License-Identifier: MIT */
/*
 * The pool is an array of blocks, known by their numbers. A packet is a chain
 * of blocks, and a queue is a chain of packets. Queues with the same number of
 * blocks are in one doubly linked list, so a queue with the most blocks is
 * found at once. All static functions run under the pool's lock.
 */
#include "device/staged.h"

#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/bytes.h"

/*
 * The links of a block; its bytes are in staged_pool.memory.
 * @next:	next block of the same packet, or of the free list
 * @next_packet: of a packet's first block: first block of the next packet
 * @len:	of a packet's first block: the packet's length
 */
struct block {
	uint32_t next;
	uint32_t next_packet;
	uint32_t len;
};

/* The end of a chain. */
#define NO_BLOCK UINT32_MAX

/*
 * @lock:	of all members marked [m], here and in the queues
 * @memory:	[I] @n_blocks times STAGED_BLOCK_LEN bytes
 * @blocks:	[m]
 * @by_size:	[m] queues by their number of blocks, 0 unused
 * @free_list:	[m] blocks that were used before
 * @n_blocks:	[I]
 * @n_touched:	[m] number of the first block that was never used
 * @n_free:	[m]
 * @most:	[m] no queue holds more blocks than this
 */
struct staged_pool {
	pthread_mutex_t lock;
	uint8_t *memory;
	struct block *blocks;
	struct staged_queue **by_size;
	uint32_t free_list;
	uint32_t n_blocks;
	uint32_t n_touched;
	uint32_t n_free;
	uint32_t most;
};

struct staged_pool *staged_pool_new(uint32_t n_blocks)
{
	struct staged_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	INVARIANT(n_blocks >= STAGED_MAX_BLOCKS_PER_PACKET);
	pool->memory = calloc(n_blocks, STAGED_BLOCK_LEN);
	pool->blocks = calloc(n_blocks, sizeof(*pool->blocks));
	pool->by_size =
		calloc((size_t)n_blocks + 1, sizeof(struct staged_queue *));
	if (!pool->memory || !pool->blocks || !pool->by_size) {
		free(pool->memory);
		free(pool->blocks);
		free(pool->by_size);
		free(pool);
		return NULL;
	}
	pthread_mutex_init(&pool->lock, NULL);
	pool->free_list = NO_BLOCK;
	pool->n_blocks = n_blocks;
	pool->n_free = n_blocks;
	return pool;
}

void staged_pool_free(struct staged_pool *pool)
{
	if (!pool)
		return;
	INVARIANT(pool->n_free == pool->n_blocks);
	pthread_mutex_destroy(&pool->lock);
	free(pool->memory);
	free(pool->blocks);
	free(pool->by_size);
	free(pool);
}

void staged_queue_init(struct staged_queue *queue)
{
	memset(queue, 0, sizeof(*queue));
	queue->first = NO_BLOCK;
	queue->last = NO_BLOCK;
}

static uint32_t blocks_for(size_t len)
{
	return (uint32_t)((len + STAGED_BLOCK_LEN - 1) / STAGED_BLOCK_LEN);
}

static uint8_t *block_bytes(const struct staged_pool *pool, uint32_t block)
{
	return pool->memory + (size_t)block * STAGED_BLOCK_LEN;
}

static uint32_t queue_count(const struct staged_queue *queue)
{
	return atomic_load_explicit(&queue->n_packets, memory_order_relaxed);
}

/* Moves a queue to the list for its new number of blocks. */
static void queue_resize(struct staged_pool *pool, struct staged_queue *queue,
			 uint32_t n_blocks)
{
	struct staged_queue **head = &pool->by_size[queue->n_blocks];

	if (queue->n_blocks) {
		if (queue->prev)
			queue->prev->next = queue->next;
		else
			*head = queue->next;
		if (queue->next)
			queue->next->prev = queue->prev;
	}
	queue->n_blocks = n_blocks;
	queue->prev = NULL;
	queue->next = NULL;
	if (!n_blocks)
		return;
	head = &pool->by_size[n_blocks];
	queue->next = *head;
	if (*head)
		(*head)->prev = queue;
	*head = queue;
	if (n_blocks > pool->most)
		pool->most = n_blocks;
}

/* There is such a queue if any block is used. */
static struct staged_queue *queue_with_most(struct staged_pool *pool)
{
	while (pool->most && !pool->by_size[pool->most])
		pool->most--;
	return pool->by_size[pool->most];
}

/* The queue is not empty. */
static void drop_oldest(struct staged_pool *pool, struct staged_queue *queue)
{
	uint32_t first = queue->first;
	uint32_t n = blocks_for(pool->blocks[first].len);
	uint32_t last = first;

	queue->first = pool->blocks[first].next_packet;
	if (queue->first == NO_BLOCK)
		queue->last = NO_BLOCK;
	while (pool->blocks[last].next != NO_BLOCK)
		last = pool->blocks[last].next;
	pool->blocks[last].next = pool->free_list;
	pool->free_list = first;
	pool->n_free += n;
	queue_resize(pool, queue, queue->n_blocks - n);
	/* Partner: staged_is_empty(). */
	atomic_store_explicit(&queue->n_packets, queue_count(queue) - 1,
			      memory_order_release);
}

/* A block is free. */
static uint32_t block_take(struct staged_pool *pool)
{
	uint32_t block = pool->free_list;

	if (block == NO_BLOCK)
		block = pool->n_touched++;
	else
		pool->free_list = pool->blocks[block].next;
	pool->n_free--;
	pool->blocks[block].next = NO_BLOCK;
	pool->blocks[block].next_packet = NO_BLOCK;
	return block;
}

/* Enough blocks are free. Returns the first one of the packet. */
static uint32_t chain_fill(struct staged_pool *pool, const uint8_t *packet,
			   size_t len)
{
	uint32_t first = NO_BLOCK;
	uint32_t *link = &first;
	size_t n;

	for (size_t off = 0; off < len; off += n) {
		n = size_min(len - off, STAGED_BLOCK_LEN);
		*link = block_take(pool);
		memcpy(block_bytes(pool, *link), packet + off, n);
		link = &pool->blocks[*link].next;
	}
	pool->blocks[first].len = (uint32_t)len;
	return first;
}

/* Drops packets until one of @n_blocks blocks fits. Returns how many were
 * dropped. */
static size_t make_room(struct staged_pool *pool, struct staged_queue *queue,
			uint32_t n_blocks)
{
	size_t n_dropped = 0;

	if (queue_count(queue) >= STAGED_MAX_PACKETS) {
		drop_oldest(pool, queue);
		n_dropped++;
	}
	while (pool->n_free < n_blocks) {
		drop_oldest(pool, queue_with_most(pool));
		n_dropped++;
	}
	return n_dropped;
}

int staged_push(struct staged_pool *pool, struct staged_queue *queue,
		const void *packet, size_t len, size_t *n_dropped)
{
	uint32_t first;

	if (len == 0 || len > STAGED_MAX_LEN)
		return -EMSGSIZE;
	pthread_mutex_lock(&pool->lock);
	*n_dropped = make_room(pool, queue, blocks_for(len));
	first = chain_fill(pool, packet, len);
	if (queue->last == NO_BLOCK)
		queue->first = first;
	else
		pool->blocks[queue->last].next_packet = first;
	queue->last = first;
	queue_resize(pool, queue, queue->n_blocks + blocks_for(len));
	atomic_store_explicit(&queue->n_packets, queue_count(queue) + 1,
			      memory_order_relaxed);
	pthread_mutex_unlock(&pool->lock);
	return 0;
}

static void chain_read(const struct staged_pool *pool, uint32_t block,
		       uint8_t *buf, size_t len)
{
	size_t n;

	for (size_t off = 0; off < len; off += n) {
		n = size_min(len - off, STAGED_BLOCK_LEN);
		memcpy(buf + off, block_bytes(pool, block), n);
		block = pool->blocks[block].next;
	}
}

long staged_pop(struct staged_pool *pool, struct staged_queue *queue, void *buf,
		size_t cap)
{
	long len = 0;

	pthread_mutex_lock(&pool->lock);
	if (queue->first != NO_BLOCK) {
		len = (long)pool->blocks[queue->first].len;
		if ((size_t)len > cap) {
			len = -ENOSPC;
		} else {
			chain_read(pool, queue->first, buf, (size_t)len);
			drop_oldest(pool, queue);
		}
	}
	pthread_mutex_unlock(&pool->lock);
	return len;
}

size_t staged_clear(struct staged_pool *pool, struct staged_queue *queue)
{
	size_t n = 0;

	pthread_mutex_lock(&pool->lock);
	for (; queue->first != NO_BLOCK; n++)
		drop_oldest(pool, queue);
	pthread_mutex_unlock(&pool->lock);
	return n;
}

uint32_t staged_get_free(struct staged_pool *pool)
{
	uint32_t n;

	pthread_mutex_lock(&pool->lock);
	n = pool->n_free;
	pthread_mutex_unlock(&pool->lock);
	return n;
}
