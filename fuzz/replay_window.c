/* SPDX-License-Identifier: MIT */
/*
 * The replay window, compared with a list of all accepted counters. Input:
 * operations of three bytes, which give the distance of the next counter from
 * an earlier one.
 */
#include "fuzz/fuzz.h"

#include "fuzz/input.h"
#include "noise/replay.h"

enum {
	/* Bound of the list, which is searched for each counter. A choice. */
	COUNTERS_MAX = 1024,
};

static uint64_t taken[COUNTERS_MAX];
static size_t n_taken;
static uint64_t highest;

static bool is_expected(uint64_t counter)
{
	if (counter >= REJECT_AFTER_MESSAGES)
		return false;
	for (size_t i = 0; i < n_taken; i++)
		if (taken[i] == counter)
			return false;
	return counter > highest || highest - counter <= REPLAY_WINDOW_SIZE;
}

/* Draw counters near the edges of the window. */
static uint64_t take_counter(struct input *in)
{
	uint8_t how = input_byte(in);
	uint64_t by = input_u16(in);

	switch (how % 8) {
	case 0:
		return highest + by % 256;
	case 1:
		return highest - by % 256;
	case 2:
		return highest + by;
	case 3:
		return highest - by;
	case 4:
		return highest - REPLAY_WINDOW_SIZE + by % 16 - 8;
	case 5:
		return n_taken ? taken[by % n_taken] : by;
	case 6:
		return REJECT_AFTER_MESSAGES - by % 64 + 4;
	default:
		return by << how / 8 * 2;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len };
	struct replay replay;

	replay_init(&replay);
	n_taken = 0;
	highest = 0;
	while (in.left && n_taken < COUNTERS_MAX) {
		uint64_t counter = take_counter(&in);
		bool is_new = is_expected(counter);

		require(replay_accept(&replay, counter) == is_new);
		if (!is_new)
			continue;
		taken[n_taken++] = counter;
		if (counter > highest)
			highest = counter;
	}
	return 0;
}
