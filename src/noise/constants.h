/* SPDX-License-Identifier: MIT */
/*
 * The numbers of the protocol, under the names that the WireGuard paper
 * (section 6.1, table) and the Linux kernel module give them. Times are in the
 * unit that the name's comment tells; multiply with NSEC_PER_SEC before
 * comparing with a `now`.
 */
#ifndef NOISE_CONSTANTS_H
#define NOISE_CONSTANTS_H

#include <stdint.h>

/* Counts of messages of one session. */
#define REKEY_AFTER_MESSAGES  (UINT64_C(1) << 60)
#define REJECT_AFTER_MESSAGES (UINT64_MAX - (UINT64_C(1) << 13))

enum noise_seconds {
	REKEY_AFTER_TIME = 120,
	REJECT_AFTER_TIME = 180,
	REKEY_ATTEMPT_TIME = 90,
	REKEY_TIMEOUT = 5,
	KEEPALIVE_TIMEOUT = 10,
	/* The age at which the two sides stop using a cookie: who made it, and
	 * who sends it, the latter earlier by what the way may take. */
	COOKIE_REFRESH_TIME = 120,
	COOKIE_SECRET_LATENCY = 5,
};

enum noise_counts {
	/* Retransmissions and new handshakes are delayed by a random time up
	 * to this (kernel module: a third of a second). */
	REKEY_TIMEOUT_JITTER_MAX_MS = 333,
	/* The flood limit of one peer: one initiation in 20 ms. */
	INITIATIONS_PER_SECOND = 50,
	/* Timers give up after this many retransmissions of an initiation. */
	MAX_TIMER_HANDSHAKES = REKEY_ATTEMPT_TIME / REKEY_TIMEOUT,
	/* Payload is padded to a multiple of this. */
	MESSAGE_PADDING = 16,
	/* Handshakes allowed for one source address while under load. */
	RATELIMIT_PER_SECOND = 20,
	RATELIMIT_BURST = 5,
	/* Handshakes a second for all /64s of an IPv6 /48 together: at 35 us
	 * each, less than 1 % of a core. */
	RATELIMIT_SITE_PER_SECOND = 200,
	RATELIMIT_SITE_BURST = 50,
	/* The bitmap of received counters; one word of it is always in use for
	 * what is newer, so the window is one word narrower (RFC 6479). */
	REPLAY_BITMAP_BITS = 8192,
	REPLAY_WORD_BITS = 64,
	REPLAY_WINDOW_SIZE = REPLAY_BITMAP_BITS - REPLAY_WORD_BITS,
};

enum noise_len {
	NOISE_PUBLIC_KEY_LEN = 32,
	NOISE_PRIVATE_KEY_LEN = 32,
	NOISE_PRESHARED_KEY_LEN = 32,
	NOISE_SYMMETRIC_KEY_LEN = 32,
	NOISE_HASH_LEN = 32,
	NOISE_AUTHTAG_LEN = 16,
	NOISE_TIMESTAMP_LEN = 12,
	COOKIE_LEN = 16,
	COOKIE_NONCE_LEN = 24,
};

#endif /* NOISE_CONSTANTS_H */
