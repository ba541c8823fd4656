/* SPDX-License-Identifier: MIT */
#include "device/index.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/rcu.h"
#include "crypto/init.h"
#include "noise/keypair.h"
#include "noise/local.h"
#include "random.h"

/* Choices, not measured: the table grows, and each entry changes many times. */
enum {
	N_MODEL = 5000,
	N_STEPS = 200000,
};

/* The index uses handshakes only as pointers. */
static char handles[N_MODEL];

static struct noise_handshake *handle(size_t i)
{
	return (struct noise_handshake *)(void *)&handles[i];
}

static struct noise_handshake *lookup(const struct index *index, uint32_t idx)
{
	struct noise_handshake *hs;

	rcu_enter();
	hs = index_lookup_handshake(index, idx);
	rcu_leave();
	return hs;
}

static void random_bytes(void *arg, void *buf, size_t len)
{
	uint8_t *bytes = buf;

	(void)arg;
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(random_next() >> 24);
}

/*
 * A random source that returns the numbers of a list, and then repeats the last
 * one.
 */
struct script {
	const uint32_t *numbers;
	size_t n;
	size_t pos;
};

static void scripted(void *arg, void *buf, size_t len)
{
	struct script *script = arg;

	assert_int_equal(len, sizeof(uint32_t));
	memcpy(buf, &script->numbers[script->pos], len);
	if (script->pos + 1 < script->n)
		script->pos++;
}

static void test_collisions_are_drawn_again(void **state)
{
	static const uint32_t numbers[] = { 7, 0, 7, 7, 9, 9 };
	struct script script = { numbers, ARRAY_LEN(numbers), 0 };
	struct index index;
	uint32_t idx = 1;

	(void)state;
	index_init(&index, scripted, &script);
	assert_int_equal(index_new(&index, handle(0), 0, &idx), 0);
	assert_int_equal(idx, 7);
	/* 0, and numbers that are in use, are skipped. */
	assert_int_equal(index_new(&index, handle(1), 0, &idx), 0);
	assert_int_equal(idx, 9);
	/* A source that always returns the same number causes no endless
	 * loop. */
	assert_int_equal(index_new(&index, handle(2), 0, &idx), -ENOSPC);
	assert_int_equal(idx, 9);
	assert_ptr_equal(lookup(&index, 7), handle(0));
	index_drop(&index, 7);
	assert_null(lookup(&index, 7));
	index_drop(&index, 7);
	index_drop(&index, 0);
	index_drop(&index, 9);
	index_deinit(&index);
	rcu_drain();
}

static void test_random_against_model(void **state)
{
	static uint32_t model[N_MODEL];
	struct index index;
	uint32_t i;

	(void)state;
	index_init(&index, random_bytes, NULL);
	for (size_t step = 0; step < N_STEPS; step++) {
		i = random_below(N_MODEL);
		if (model[i]) {
			assert_ptr_equal(lookup(&index, model[i]), handle(i));
			index_drop(&index, model[i]);
			assert_null(lookup(&index, model[i]));
			model[i] = 0;
		} else {
			assert_int_equal(
				index_new(&index, handle(i), 0, &model[i]), 0);
			assert_int_not_equal(model[i], 0);
		}
	}
	/* The table does not grow by the places of removed entries. */
	assert_true(index.table.slots->mask < 8 * N_MODEL);
	for (i = 0; i < N_MODEL; i++)
		if (model[i])
			index_drop(&index, model[i]);
	index_deinit(&index);
	rcu_drain();
}

/* Indices are random: each bit is set in about half of the indices. */
static void test_numbers_are_random(void **state)
{
	enum {
		N = 20000
	};
	size_t counts[32] = { 0 };
	struct index index;
	uint32_t idx;

	(void)state;
	index_init(&index, random_bytes, NULL);
	for (size_t i = 0; i < N; i++) {
		assert_int_equal(index_new(&index, handle(0), 0, &idx), 0);
		for (size_t bit = 0; bit < 32; bit++)
			counts[bit] += idx >> bit & 1;
		index_drop(&index, idx);
	}
	/* Six standard deviations, of sqrt(N) / 2, either way. */
	for (size_t bit = 0; bit < 32; bit++)
		assert_in_range(counts[bit], N / 2 - 424, N / 2 + 424);
	index_deinit(&index);
	rcu_drain();
}

/* The lowest byte tells the lane, for any number of lanes; the other bits are random. */
static void test_numbers_of_lanes(void **state)
{
	enum {
		N = 400
	};

	(void)state;
	for (unsigned int n = 1; n <= INDEX_LANES_MAX; n += 1 + n / 8) {
		uint32_t idx, any = 0, all = UINT32_MAX;
		struct index index;

		index_init(&index, random_bytes, NULL);
		assert_int_equal(index.n_lanes, 1);
		index.n_lanes = n;
		for (unsigned int i = 0; i < N; i++) {
			assert_int_equal(
				index_new(&index, handle(0), i % n, &idx), 0);
			assert_int_equal(index_lane(idx, n), i % n);
			any |= idx;
			all &= idx;
			index_drop(&index, idx);
		}
		assert_int_equal(any | 255, UINT32_MAX);
		assert_int_equal(all & ~UINT32_C(255), 0);
		index_deinit(&index);
	}
	rcu_drain();
}

/* The lane of a number that has none near it is not made up: another is drawn. */
static void test_lane_is_drawn_again(void **state)
{
	/* With three lanes, 255 belongs to lane 0, and no greater byte to 1 or 2. */
	static const uint32_t numbers[] = { 255, 254, 0x100, 0x100 };
	struct script script = { numbers, ARRAY_LEN(numbers), 0 };
	struct index index;
	uint32_t idx;

	(void)state;
	index_init(&index, scripted, &script);
	index.n_lanes = 3;
	assert_int_equal(index_new(&index, handle(0), 1, &idx), 0);
	assert_int_equal(idx, 253);
	assert_int_equal(index_new(&index, handle(0), 2, &idx), 0);
	assert_int_equal(idx, 0x102);
	index_drop(&index, 253);
	index_drop(&index, 0x102);
	index_deinit(&index);
	rcu_drain();
}

static struct noise_handshake *no_peer(void *arg, const uint8_t *key)
{
	(void)arg;
	(void)key;
	return NULL;
}

static const struct noise_ops ops = {
	.random = random_bytes,
	.find_peer = no_peer,
};

static void test_keypair_takes_the_index(void **state)
{
	struct noise_local local;
	struct noise_keypair *kp;
	struct index index;
	uint32_t idx;

	(void)state;
	assert_int_equal(noise_local_init(&local, &ops, NULL), 0);
	kp = noise_keypair_new(&local);
	assert_non_null(kp);
	index_init(&index, random_bytes, NULL);
	assert_int_equal(index_new(&index, handle(0), 0, &idx), 0);
	rcu_enter();
	assert_null(index_lookup_keypair(&index, idx));
	assert_ptr_equal(index_lookup_awaiting(&index, idx), handle(0));
	assert_null(index_lookup_awaiting(&index, idx + 1));
	rcu_leave();
	assert_int_equal(index_replace(&index, idx, handle(1), kp), -ENOENT);
	assert_int_equal(index_replace(&index, idx + 1, handle(0), kp),
			 -ENOENT);
	assert_int_equal(kp->refs, 1);
	assert_int_equal(index_replace(&index, idx, handle(0), kp), 0);
	assert_int_equal(kp->refs, 2);
	rcu_enter();
	assert_ptr_equal(index_lookup_keypair(&index, idx), kp);
	assert_ptr_equal(index_lookup_handshake(&index, idx), handle(0));
	/* A session awaits no response. */
	assert_null(index_lookup_awaiting(&index, idx));
	rcu_leave();
	/* A second replacement fails. */
	assert_int_equal(index_replace(&index, idx, handle(0), kp), -ENOENT);
	index_drop(&index, idx);
	rcu_drain();
	assert_int_equal(kp->refs, 1);
	noise_keypair_put(kp);
	index_deinit(&index);
	noise_local_deinit(&local);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_collisions_are_drawn_again),
		cmocka_unit_test(test_random_against_model),
		cmocka_unit_test(test_numbers_are_random),
		cmocka_unit_test(test_numbers_of_lanes),
		cmocka_unit_test(test_lane_is_drawn_again),
		cmocka_unit_test(test_keypair_takes_the_index),
	};

	if (crypto_init())
		return 77;
	random_seed();
	rcu_register();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
