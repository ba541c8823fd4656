/* SPDX-License-Identifier: MIT */
/* The replay window: tables of steps, and random counters against a slow
 * model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto_hex.h"
#include "noise/replay.h"

#define W     REPLAY_WINDOW_SIZE
#define LIMIT REJECT_AFTER_MESSAGES

struct step {
	uint64_t counter;
	bool is_new;
};

/* Each table starts with a fresh window. Steps are numbered by their place. */
static const struct step from_zero[] = {
	/* 0 */ { 0, true },
	/* 1 */ { 0, false },
	/* 2 */ { 1, true },
	/* 3 */ { 1, false },
	/* 4 */ { 9, true },
	/* 5 */ { 8, true },
	/* 6 */ { 7, true },
	/* 7 */ { 7, false },
	/* 8 */ { W, true },
	/* 9 */ { W - 1, true },
	/* 10 */ { W - 1, false },
	/* 11 */ { W - 2, true },
	/* 12 */ { 2, true },
	/* 13 */ { 2, false },
	/* 14 */ { W + 16, true },
	/* 15 */ { 3, false },
	/* 16 */ { 15, false },
	/* 17 */ { 16, true },
	/* 18 */ { 16, false },
	/* 19 */ { W + 16, false },
	/* 20 */ { W * 4, true },
	/* 21 */ { W * 4 - (W - 1), true },
	/* 22 */ { 10, false },
	/* 23 */ { W * 4 - W, true },
	/* 24 */ { W * 4 - (W + 1), false },
	/* 25 */ { W * 4 - (W - 2), true },
	/* 26 */ { W * 4 + 1 - W, false },
	/* 27 */ { 0, false },
};

static const struct step to_the_end[] = {
	/* 0 */ { LIMIT, false },
	/* 1 */ { LIMIT - 1, true },
	/* 2 */ { LIMIT, false },
	/* 3 */ { LIMIT - 1, false },
	/* 4 */ { LIMIT - 2, true },
	/* 5 */ { LIMIT + 1, false },
	/* 6 */ { LIMIT + 2, false },
	/* 7 */ { LIMIT - 2, false },
	/* 8 */ { LIMIT - 3, true },
	/* 9 */ { 0, false },
	/* 10 */ { UINT64_MAX, false },
	/* 11 */ { LIMIT - 1 - W, true },
	/* 12 */ { LIMIT - 2 - W, false },
};

/* The first message, whatever its counter, sets the window. */
static const struct step late_start[] = {
	/* 0 */ { UINT64_C(1) << 40, true },
	/* 1 */ { UINT64_C(1) << 40, false },
	/* 2 */ { (UINT64_C(1) << 40) - W, true },
	/* 3 */ { (UINT64_C(1) << 40) - W - 1, false },
	/* 4 */ { 0, false },
	/* 5 */ { (UINT64_C(1) << 40) + 1, true },
	/* 6 */ { (UINT64_C(1) << 40) - W, false },
};

/* Jumps around the ring of bits: by its whole length, and by a word less or
 * more. */
static const struct step around[] = {
	/* 0 */ { 5, true },
	/* 1 */ { 5 + REPLAY_BITMAP_BITS, true },
	/* 2 */ { 5, false },
	/* 3 */ { 5 + REPLAY_WORD_BITS, true },
	/* 4 */ { 4 + REPLAY_WORD_BITS, false },
	/* 5 */ { 5 + 2 * REPLAY_BITMAP_BITS - REPLAY_WORD_BITS, true },
	/* 6 */ { 5 + REPLAY_BITMAP_BITS, false },
	/* 7 */ { 6 + REPLAY_BITMAP_BITS, true },
};

static void run(const char *name, const struct step *steps, size_t n)
{
	static struct replay replay;

	replay_init(&replay);
	for (size_t i = 0; i < n; i++) {
		bool is_new = replay_accept(&replay, steps[i].counter);

		if (is_new != steps[i].is_new)
			fail_msg("%s, step %zu: %d", name, i, is_new);
	}
}

static void test_steps(void **state)
{
	(void)state;
	run("from_zero", from_zero, ARRAY_LEN(from_zero));
	run("to_the_end", to_the_end, ARRAY_LEN(to_the_end));
	run("late_start", late_start, ARRAY_LEN(late_start));
	run("around", around, ARRAY_LEN(around));
}

/* Counters forwards, backwards and with gaps: each is accepted once. */
static void test_rows(void **state)
{
	static struct replay replay;

	(void)state;
	replay_init(&replay);
	for (uint64_t i = 0; i < 3 * W; i++)
		assert_true(replay_accept(&replay, i));
	for (uint64_t i = 0; i < 3 * W; i++)
		assert_false(replay_accept(&replay, i));

	replay_init(&replay);
	for (uint64_t i = W + 1; i-- > 0;)
		assert_true(replay_accept(&replay, i));
	replay_init(&replay);
	for (uint64_t i = W + 2; i-- > 1;)
		assert_true(replay_accept(&replay, i));
	assert_false(replay_accept(&replay, 0));
}

enum {
	/* A choice: the largest counter of the model. */
	MODEL_LEN = 1 << 20
};

/* The definition: a counter is refused if it was seen, or is too far behind the
 * highest one. */
static bool model_accept(uint8_t *seen, uint64_t *highest, uint64_t counter)
{
	if (seen[counter] || counter + W < *highest)
		return false;
	seen[counter] = 1;
	if (counter > *highest)
		*highest = counter;
	return true;
}

static void test_against_model(void **state)
{
	static struct replay replay;
	uint64_t seed = UINT64_C(0x1234567), highest = 0;
	uint8_t *seen = calloc(1, MODEL_LEN);

	(void)state;
	assert_non_null(seen);
	replay_init(&replay);
	for (int i = 0; i < 2000000; i++) {
		uint64_t r = prng_next(&seed);
		uint64_t base = highest > W + 100 ? highest - W - 100 : 0;
		uint64_t counter = base + r % (W + 200);

		if (r >> 54 == 0)
			counter += (r >> 20) % (2 * REPLAY_BITMAP_BITS);
		if (counter >= MODEL_LEN)
			break;
		assert_int_equal(replay_accept(&replay, counter),
				 model_accept(seen, &highest, counter));
	}
	free(seen);
}

/* A window is written and made again after random steps; few words are stored while no
 * message is lost. */
static void test_another_process(void **state)
{
	uint64_t seed = 5;

	(void)state;
	for (unsigned int i = 0; i < 300; i++) {
		const unsigned int most[] = { 0,    1,	  63,	64,
					      65,   8127, 8128, 8191,
					      8192, 8193, 20000 };
		uint64_t words[REPLAY_WORDS], next = 0;
		struct replay replay, other;
		struct replay_plain plain;
		bool is_lossless = i % 2;

		replay_init(&replay);
		memset(&other, 0xff, sizeof(other));
		if (i % 5 == 0)
			next = prng_next(&seed) >> prng_next(&seed) % 64;
		for (unsigned int n = most[i % ARRAY_LEN(most)]; n; n--) {
			if (!is_lossless && prng_next(&seed) % 8 == 0)
				next += prng_next(&seed) % 200;
			replay_accept(&replay, next++);
		}
		replay_export(&replay, &plain, words);
		if (is_lossless && i % 5)
			assert_int_equal(replay_plain_count(&plain), 0);
		assert_true(replay_plain_is_sound(&plain, words));
		replay_import(&other, &plain, words);
		assert_memory_equal(&replay, &other, sizeof(replay));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_against_model),
		cmocka_unit_test(test_another_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
