/* SPDX-License-Identifier: MIT */
/*
 * The window of counters already received (RFC 6479; WireGuard paper, section
 * 5.4.6). No locks: the keypair that owns the window has one.
 */
#ifndef NOISE_REPLAY_H
#define NOISE_REPLAY_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "noise/constants.h"

enum {
	REPLAY_WORDS = REPLAY_BITMAP_BITS / REPLAY_WORD_BITS
};

/*
 * @next:	one more than the highest counter accepted; 0: none yet
 * @bits:	ring with one bit for each counter: counter c is at c modulo its
 *		length
 */
struct replay {
	uint64_t next;
	uint64_t bits[REPLAY_WORDS];
};

/**
 * replay_init() - a window that has seen nothing
 * @replay:	caller's storage
 */
void replay_init(struct replay *replay);

/**
 * replay_accept() - take a counter whose message was authentic
 * @replay:	the window
 * @counter:	the counter of the message
 *
 * Call it after decryption only: a forged counter must not move the window.
 *
 * Return: true if the counter is new; it is marked as seen. false if it was
 * seen before, is older than the window (REPLAY_WINDOW_SIZE), or is
 * REJECT_AFTER_MESSAGES or more; nothing has changed.
 */
bool replay_accept(struct replay *replay, uint64_t counter);

/**
 * struct replay_plain - a window as numbers, for another process
 * @next:	as in struct replay
 * @stored:	a bit for each word of the ring: the word is stored beside this
 *		struct. All other words are those of a window that has seen
 *		every counter below @next.
 *
 * So a window takes few bytes if it is new, or if few messages were lost.
 */
struct replay_plain {
	uint64_t next;
	uint64_t stored[REPLAY_WORDS / 64];
};

static_assert(sizeof(struct replay_plain) == 3 * 8, "no padding");

/* replay_plain_count() - how many words are stored beside it, at most REPLAY_WORDS */
static inline size_t replay_plain_count(const struct replay_plain *plain)
{
	size_t n = 0;

	for (size_t i = 0; i < REPLAY_WORDS / 64; i++)
		n += (size_t)__builtin_popcountll(plain->stored[i]);
	return n;
}

/**
 * replay_export() - write a window as numbers
 * @replay:	window
 * @out:	filled
 * @words:	room for the words that are stored; replay_plain_count() tells how
 *		many these are
 */
void replay_export(const struct replay *replay, struct replay_plain *out,
		   uint64_t words[REPLAY_WORDS]);

/**
 * replay_plain_is_sound() - may replay_export() have written this?
 * @plain:	numbers of any origin
 * @words:	the words that are stored
 *
 * Return: true if it stands for a window that replay_accept() can have made, and
 * is the only way to write that window.
 */
bool replay_plain_is_sound(const struct replay_plain *plain,
			   const uint64_t words[REPLAY_WORDS]);

/**
 * replay_import() - make the window that was written
 * @replay:	caller's storage
 * @in:		numbers that are sound
 * @words:	the words that are stored
 */
void replay_import(struct replay *replay, const struct replay_plain *in,
		   const uint64_t words[REPLAY_WORDS]);

#endif /* NOISE_REPLAY_H */
