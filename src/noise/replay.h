/* SPDX-License-Identifier: MIT */
/*
 * The window of counters already received (RFC 6479; WireGuard paper, section
 * 5.4.6). No locks: the keypair that owns the window has one.
 */
#ifndef NOISE_REPLAY_H
#define NOISE_REPLAY_H

#include <stdbool.h>
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

#endif /* NOISE_REPLAY_H */
