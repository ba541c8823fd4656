/* SPDX-License-Identifier: MIT */
#include "device/staged.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "random.h"

enum {
	/* Several queues and so few blocks that queues lose packets. Choices,
	 * not measured. */
	N_QUEUES = 6,
	N_BLOCKS = 64,
	N_STEPS = 200000,
};

static void push(struct staged_pool *pool, struct staged_queue *q,
		 uint32_t number, size_t len, size_t want_dropped)
{
	static uint8_t packet[STAGED_MAX_LEN];
	size_t n_dropped = 99;

	memset(packet, (int)(number & 0xff), len);
	memcpy(packet, &number, sizeof(number));
	assert_int_equal(staged_push(pool, q, packet, len, &n_dropped), 0);
	assert_int_equal(n_dropped, want_dropped);
}

/* Pop the oldest packet, which must be whole. Return: its number. */
static uint32_t pop(struct staged_pool *pool, struct staged_queue *q,
		    size_t *len)
{
	static uint8_t packet[STAGED_MAX_LEN];
	long n = staged_pop(pool, q, packet, sizeof(packet));
	uint32_t number;

	assert_true(n >= (long)sizeof(number));
	memcpy(&number, packet, sizeof(number));
	for (long i = sizeof(number); i < n; i++)
		assert_int_equal(packet[i], number & 0xff);
	*len = (size_t)n;
	return number;
}

static void test_order_and_length(void **state)
{
	static const size_t lens[] = { 4,
				       STAGED_BLOCK_LEN - 1,
				       STAGED_BLOCK_LEN,
				       STAGED_BLOCK_LEN + 1,
				       9000,
				       STAGED_MAX_LEN };
	struct staged_pool *pool = staged_pool_new(N_BLOCKS);
	struct staged_queue q;
	size_t n_dropped;
	size_t len;
	char small[8];

	(void)state;
	staged_queue_init(&q);
	assert_true(staged_is_empty(&q));
	assert_int_equal(staged_pop(pool, &q, small, sizeof(small)), 0);
	assert_int_equal(staged_push(pool, &q, small, 0, &n_dropped),
			 -EMSGSIZE);
	assert_int_equal(
		staged_push(pool, &q, small, STAGED_MAX_LEN + 1, &n_dropped),
		-EMSGSIZE);
	for (uint32_t i = 0; i < ARRAY_LEN(lens); i++)
		push(pool, &q, i, lens[i], 0);
	assert_false(staged_is_empty(&q));
	for (uint32_t i = 0; i < ARRAY_LEN(lens); i++) {
		if (i)
			assert_int_equal(
				staged_pop(pool, &q, small, sizeof(small)),
				-ENOSPC);
		assert_int_equal(pop(pool, &q, &len), i);
		assert_int_equal(len, lens[i]);
	}
	assert_true(staged_is_empty(&q));
	assert_int_equal(staged_get_free(pool), N_BLOCKS);
	staged_pool_free(pool);
}

static void test_a_peer_keeps_128(void **state)
{
	struct staged_pool *pool = staged_pool_new(1000);
	struct staged_queue q;
	size_t len;

	(void)state;
	staged_queue_init(&q);
	for (uint32_t i = 0; i < 200; i++)
		push(pool, &q, i, 100, i >= STAGED_MAX_PACKETS);
	/* The oldest packets were dropped. */
	assert_int_equal(pop(pool, &q, &len), 200 - STAGED_MAX_PACKETS);
	assert_int_equal(staged_clear(pool, &q), STAGED_MAX_PACKETS - 1);
	assert_int_equal(staged_clear(pool, &q), 0);
	staged_pool_free(pool);
}

static void test_longest_queue_loses(void **state)
{
	struct staged_pool *pool = staged_pool_new(N_BLOCKS);
	struct staged_queue a;
	struct staged_queue b;
	size_t len;

	(void)state;
	staged_queue_init(&a);
	staged_queue_init(&b);
	push(pool, &a, 0, 100, 0);
	for (uint32_t i = 0; i < N_BLOCKS - 1; i++)
		push(pool, &b, i, 100, 0);
	assert_int_equal(staged_get_free(pool), 0);
	/* b has most blocks. A packet for b and a packet for a both drop
	 * packets of b. */
	push(pool, &b, 99, 100, 1);
	push(pool, &a, 1, 100, 1);
	push(pool, &a, 2, STAGED_BLOCK_LEN * 3, 3);
	assert_int_equal(pop(pool, &b, &len), 5);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(pop(pool, &a, &len), i);
	staged_clear(pool, &b);
	assert_int_equal(staged_get_free(pool), N_BLOCKS);
	staged_pool_free(pool);
}

/*
 * The model: packet numbers and sizes in arrays, and the time of a queue's last
 * change. Of several longest queues, the one that changed last loses a packet.
 */
struct model {
	uint32_t number[STAGED_MAX_PACKETS];
	uint32_t blocks[STAGED_MAX_PACKETS];
	size_t n;
	uint32_t n_blocks;
	uint64_t changed;
};

static uint64_t n_changes;

static void model_drop(struct model *m)
{
	m->n_blocks -= m->blocks[0];
	m->n--;
	m->changed = ++n_changes;
	memmove(m->number, m->number + 1, m->n * sizeof(m->number[0]));
	memmove(m->blocks, m->blocks + 1, m->n * sizeof(m->blocks[0]));
}

static void model_push(struct model *m, uint32_t number, uint32_t blocks)
{
	m->number[m->n] = number;
	m->blocks[m->n++] = blocks;
	m->n_blocks += blocks;
	m->changed = ++n_changes;
}

static uint32_t model_free(const struct model m[N_QUEUES])
{
	uint32_t n = N_BLOCKS;

	for (size_t i = 0; i < N_QUEUES; i++)
		n -= m[i].n_blocks;
	return n;
}

static size_t model_make_room(struct model m[N_QUEUES], uint32_t need)
{
	struct model *victim;
	size_t n = 0;

	for (; model_free(m) < need; n++) {
		victim = &m[0];
		for (size_t i = 1; i < N_QUEUES; i++)
			if (m[i].n_blocks > victim->n_blocks ||
			    (m[i].n_blocks == victim->n_blocks &&
			     m[i].changed > victim->changed))
				victim = &m[i];
		model_drop(victim);
	}
	return n;
}

static void test_random_against_model(void **state)
{
	static struct model m[N_QUEUES];
	struct staged_pool *pool = staged_pool_new(N_BLOCKS);
	struct staged_queue q[N_QUEUES];
	uint8_t packet[8 * STAGED_BLOCK_LEN] = { 0 };
	size_t n_dropped;
	size_t len;

	(void)state;
	for (size_t i = 0; i < N_QUEUES; i++)
		staged_queue_init(&q[i]);
	for (uint32_t step = 0; step < N_STEPS; step++) {
		uint32_t i = random_below(N_QUEUES);
		uint32_t blocks;

		if (random_below(3) == 0 && m[i].n) {
			assert_int_equal(pop(pool, &q[i], &len),
					 m[i].number[0]);
			model_drop(&m[i]);
			continue;
		}
		len = 4 + random_below(sizeof(packet) - 4);
		blocks = (uint32_t)((len + STAGED_BLOCK_LEN - 1) /
				    STAGED_BLOCK_LEN);
		memset(packet, (int)(step & 0xff), len);
		memcpy(packet, &step, sizeof(step));
		assert_int_equal(
			staged_push(pool, &q[i], packet, len, &n_dropped), 0);
		assert_int_equal(n_dropped, model_make_room(m, blocks));
		model_push(&m[i], step, blocks);
		assert_int_equal(staged_get_free(pool), model_free(m));
		for (size_t k = 0; k < N_QUEUES; k++)
			assert_int_equal(q[k].n_packets, m[k].n);
	}
	for (size_t i = 0; i < N_QUEUES; i++)
		staged_clear(pool, &q[i]);
	staged_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_and_length),
		cmocka_unit_test(test_a_peer_keeps_128),
		cmocka_unit_test(test_longest_queue_loses),
		cmocka_unit_test(test_random_against_model),
	};

	random_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
