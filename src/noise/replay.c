/* SPDX-License-Identifier: MIT */
/*
 * The replay window of RFC 6479.
 *
 * The peer numbers its data messages with a counter. The network may deliver
 * them in another order, and an attacker may send a copy again. So every
 * counter is accepted once, in any order. A counter that is older than the
 * window is refused, because nothing is known about it any more.
 *
 * The window is a bitmap with one bit for each counter. The idea of RFC 6479 is
 * that nothing has to be shifted when the window moves on: the bitmap is a ring
 * of words, and a counter finds its word by division. With a ring of four words
 * (there are REPLAY_WORDS) and 600 as the highest counter so far:
 *
 *	word		0		1		2		3
 *	counters	512 to 575	576 to 639	384 to 447	448 to 511
 *					newest		oldest
 *
 * Counter 650 comes next: it belongs to word 2, which is cleared and now stands
 * for 640 to 703. The counters that word 2 stood for before are too old from
 * then on. A jump over more than one word clears all words in between.
 *
 * The newest word also has bits for counters that have not come yet. So the
 * window reaches back from the highest counter by one word less than the ring
 * has (REPLAY_WINDOW_SIZE).
 */
#include "noise/replay.h"

#include <string.h>

#include "base/bytes.h"

void replay_init(struct replay *replay)
{
	memset(replay, 0, sizeof(*replay));
}

/* Makes @counter, which is higher than all before, the newest. */
static void advance(struct replay *replay, uint64_t counter)
{
	uint64_t word =
		replay->next ? (replay->next - 1) / REPLAY_WORD_BITS : 0;
	uint64_t n_new = counter / REPLAY_WORD_BITS - word;

	if (n_new > REPLAY_WORDS)
		n_new = REPLAY_WORDS;
	while (n_new-- > 0)
		replay->bits[++word % REPLAY_WORDS] = 0;
	replay->next = counter + 1;
}

bool replay_accept(struct replay *replay, uint64_t counter)
{
	uint64_t *word;
	uint64_t bit;

	if (counter >= REJECT_AFTER_MESSAGES)
		return false;
	if (counter >= replay->next)
		advance(replay, counter);
	else if (replay->next - 1 - counter > REPLAY_WINDOW_SIZE)
		return false;

	word = &replay->bits[counter / REPLAY_WORD_BITS % REPLAY_WORDS];
	bit = UINT64_C(1) << counter % REPLAY_WORD_BITS;
	if (*word & bit)
		return false;
	*word |= bit;
	return true;
}

/* How many words of the ring stand for counters below @next, from the first word on. */
static size_t count_used(uint64_t next)
{
	uint64_t newest = next ? (next - 1) / REPLAY_WORD_BITS : 0;

	if (!next)
		return 0;
	return newest < REPLAY_WORDS ? (size_t)newest + 1 : REPLAY_WORDS;
}

/* Does word @i of the ring stand for the last counter below @next? */
static bool is_newest(uint64_t next, size_t i)
{
	return (next - 1) / REPLAY_WORD_BITS % REPLAY_WORDS == i;
}

/* The bit of that counter. */
static uint64_t newest_bit(uint64_t next)
{
	return UINT64_C(1) << (next - 1) % REPLAY_WORD_BITS;
}

/* Word @i of the ring, below count_used(), if every counter below @next was seen. */
static uint64_t full_word(uint64_t next, size_t i)
{
	uint64_t bit = newest_bit(next);

	return is_newest(next, i) ? bit | (bit - 1) : UINT64_MAX;
}

static bool is_stored(const struct replay_plain *plain, size_t i)
{
	return plain->stored[i / 64] >> i % 64 & 1;
}

void replay_export(const struct replay *replay, struct replay_plain *out,
		   uint64_t words[REPLAY_WORDS])
{
	size_t n_used = count_used(replay->next);
	size_t n = 0;

	memset(out, 0, sizeof(*out));
	out->next = replay->next;
	for (size_t i = 0; i < n_used; i++) {
		if (replay->bits[i] == full_word(replay->next, i))
			continue;
		out->stored[i / 64] |= UINT64_C(1) << i % 64;
		words[n++] = replay->bits[i];
	}
}

bool replay_plain_is_sound(const struct replay_plain *plain,
			   const uint64_t words[REPLAY_WORDS])
{
	size_t n_used = count_used(plain->next);
	size_t n = 0;

	if (plain->next > REJECT_AFTER_MESSAGES)
		return false;
	for (size_t i = 0; i < REPLAY_WORDS; i++) {
		uint64_t full;

		if (!is_stored(plain, i))
			continue;
		if (i >= n_used)
			return false;
		full = full_word(plain->next, i);
		/* No counter from @next on was seen. */
		if (words[n] == full || words[n] & ~full)
			return false;
		if (is_newest(plain->next, i) &&
		    !(words[n] & newest_bit(plain->next)))
			return false;
		n++;
	}
	return true;
}

void replay_import(struct replay *replay, const struct replay_plain *in,
		   const uint64_t words[REPLAY_WORDS])
{
	size_t n_used = count_used(in->next);
	size_t n = 0;

	for (size_t i = 0; i < n_used; i++)
		replay->bits[i] =
			is_stored(in, i) ? words[n++] : full_word(in->next, i);
	memset(replay->bits + n_used, 0,
	       (REPLAY_WORDS - n_used) * sizeof(replay->bits[0]));
	replay->next = in->next;
}
