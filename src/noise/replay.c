/* SPDX-License-Identifier: MIT */
/*
 * The bitmap is a ring of words. The word of the highest counter is the newest;
 * the words before it, as far as the ring goes, hold what came before. Moving
 * on to a higher counter clears the words in between, which were the oldest, so
 * nothing is ever shifted. Because the newest word is only partly in use, the
 * oldest counters that can be told apart are one word less than the ring.
 */
#include "noise/replay.h"

#include <string.h>

#include "base/bytes.h"

void replay_init(struct replay *replay)
{
	memset(replay, 0, sizeof(*replay));
}

/**
 * advance() - make room up to a counter higher than all before
 * @replay:	window
 * @counter:	new highest counter
 */
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
