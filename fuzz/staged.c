/* SPDX-License-Identifier: MIT */
/*
 * Packets that wait for sessions, compared with plain queues. Input: operations
 * of four bytes: peer, operation, length.
 *
 * Promises: packets come out in the order they went in, and once. Each packet
 * that went in came out, was counted as dropped, or still waits. Each block is
 * free or belongs to one queue. If a single packet must be dropped, it is the
 * oldest of its own queue if that is full, or else of a queue with the most
 * packets.
 */
#include "fuzz/fuzz.h"

#include "device/staged.h"
#include "fuzz/input.h"

enum {
	/* Few queues and blocks, so that the pool is often full. Choices. */
	QUEUES = 5,
	BLOCKS = 200,
	/* Bound of the packets of a queue in the model. A choice. */
	OPS_MAX = 1000,
};

/* The packets of a queue have the numbers @first (the oldest) to @next - 1. */
struct model {
	struct staged_queue queue;
	size_t lens[OPS_MAX];
	size_t first;
	size_t next;
};

static struct staged_pool *pool;
static struct model models[QUEUES];
static uint8_t packet[STAGED_MAX_LEN + 1], out[STAGED_MAX_LEN + 1];

static uint32_t blocks_of(size_t len)
{
	return (uint32_t)((len + STAGED_BLOCK_LEN - 1) / STAGED_BLOCK_LEN);
}

static uint32_t blocks_held(const struct model *m)
{
	uint32_t n = 0;

	for (size_t i = m->first; i < m->next; i++)
		n += blocks_of(m->lens[i]);
	return n;
}

/* Write peer and number of a packet into its first and its last bytes. */
static void write_packet(size_t len, int whose, size_t number)
{
	memset(packet, (uint8_t)(number * 5 + len), len);
	packet[0] = (uint8_t)((size_t)whose + QUEUES * (number % 50));
	packet[len - 1] = packet[0];
}

/* Find the one queue whose oldest packet was dropped, and check the choice. */
static void drop_one(struct model *self)
{
	uint32_t most = 0;

	if (self->next - self->first == STAGED_MAX_PACKETS) {
		self->first++;
		return;
	}
	for (int q = 0; q < QUEUES; q++)
		if (blocks_held(&models[q]) > most)
			most = blocks_held(&models[q]);
	for (int q = 0; q < QUEUES; q++) {
		struct model *m = &models[q];

		/* Any of several longest queues may lose its packet. */
		if (m->queue.n_packets + 1 == m->next - m->first &&
		    blocks_held(m) == most) {
			m->first++;
			return;
		}
	}
	/* A queue that was not the longest lost a packet. */
	require(false);
}

static void check_queues(void)
{
	uint32_t n_used = 0;

	for (int q = 0; q < QUEUES; q++) {
		const struct model *m = &models[q];

		require(m->queue.n_packets == m->next - m->first);
		require(m->queue.n_packets <= STAGED_MAX_PACKETS);
		require(m->queue.n_blocks == blocks_held(m));
		require(staged_is_empty(&m->queue) == (m->first == m->next));
		n_used += m->queue.n_blocks;
	}
	require(staged_get_free(pool) == BLOCKS - n_used);
}

/*
 * If several packets are dropped at once, only their number and order are
 * checked.
 */
static void drop_many(struct model *self, size_t n)
{
	for (int q = 0; q < QUEUES; q++) {
		struct model *m = &models[q];
		size_t left = m->queue.n_packets - (m == self);

		require(left <= m->next - m->first);
		n -= m->next - m->first - left;
		m->first = m->next - left;
	}
	require(n == 0);
}

static void push(int whose, size_t len)
{
	struct model *m = &models[whose];
	size_t n_dropped = 0;
	int rc;

	if (len && len <= STAGED_MAX_LEN)
		write_packet(len, whose, m->next);
	rc = staged_push(pool, &m->queue, packet, len, &n_dropped);
	require((rc == 0) == (len && len <= STAGED_MAX_LEN));
	if (rc)
		return;
	if (n_dropped == 1) {
		m->queue.n_packets--;
		drop_one(m);
		m->queue.n_packets++;
	} else {
		drop_many(m, n_dropped);
	}
	m->lens[m->next++] = len;
}

static void pop(int whose, size_t cap)
{
	struct model *m = &models[whose];
	long len = staged_pop(pool, &m->queue, out, cap);

	if (m->first == m->next) {
		require(len == 0);
		return;
	}
	if (m->lens[m->first] > cap) {
		require(len < 0);
		return;
	}
	require(len == (long)m->lens[m->first]);
	write_packet((size_t)len, whose, m->first++);
	require(!memcmp(out, packet, (size_t)len));
}

static void step(struct input *in)
{
	uint8_t what = input_byte(in);
	int whose = what % QUEUES;
	size_t len = input_u16(in);

	switch (what / QUEUES % 8) {
	case 0:
	case 1:
		push(whose, len + 120 * (what & 1U));
		break;
	case 2:
	case 3:
		push(whose, len % (3 * STAGED_BLOCK_LEN));
		break;
	case 4:
		/* Push many small packets. */
		for (size_t i = 0; i < len % 150; i++)
			if (models[whose].next < OPS_MAX)
				push(whose, 1 + i);
		break;
	case 5:
		require(staged_clear(pool, &models[whose].queue) ==
			models[whose].next - models[whose].first);
		models[whose].first = models[whose].next;
		break;
	default:
		pop(whose, len & 1 ? len : sizeof(out));
	}
	check_queues();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len };
	bool is_full = false;

	if (!pool)
		pool = staged_pool_new(BLOCKS);
	require(pool != NULL);
	for (int q = 0; q < QUEUES; q++) {
		staged_queue_init(&models[q].queue);
		models[q].first = models[q].next = 0;
	}
	while (in.left && !is_full) {
		step(&in);
		for (int q = 0; q < QUEUES; q++)
			is_full = is_full || models[q].next == OPS_MAX;
	}
	for (int q = 0; q < QUEUES; q++)
		staged_clear(pool, &models[q].queue);
	require(staged_get_free(pool) == BLOCKS);
	return 0;
}
