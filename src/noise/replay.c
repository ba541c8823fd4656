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
