/* SPDX-License-Identifier: MIT */
/*
 * The numbers of the protocol, under the names that the WireGuard paper
 * (section 6.1, table) and the Linux kernel module give them. Members of enum
 * noise_seconds are in seconds. A `now`, in all contracts of this room, is in
 * nanoseconds of a clock that never steps back (base/clock.h), so multiply by
 * NSEC_PER_SEC before comparing.
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
	/* The side that made a cookie accepts it for COOKIE_REFRESH_TIME. The
	 * side that received it stops sending it COOKIE_SECRET_LATENCY earlier,
	 * because a message takes time to arrive. */
	COOKIE_REFRESH_TIME = 120,
	COOKIE_SECRET_LATENCY = 5,
};

enum noise_counts {
	/* Retransmissions and new handshakes are delayed by a random time up
	 * to this (kernel module: a third of a second). */
	REKEY_TIMEOUT_JITTER_MAX_MS = 333,
	/* The flood limit of one peer: one initiation in 20 ms, as in the
	 * kernel module. */
	INITIATIONS_PER_SECOND = 50,
	/* Timers give up after this many retransmissions of an initiation. */
	MAX_TIMER_HANDSHAKES = REKEY_ATTEMPT_TIME / REKEY_TIMEOUT,
	/* A payload is padded to a multiple of this many bytes (paper, section
	 * 5.4.6). */
	MESSAGE_PADDING = 16,
	/* Handshakes allowed for one source address while under load. Both
	 * numbers are those of the kernel module. */
	RATELIMIT_PER_SECOND = 20,
	RATELIMIT_BURST = 5,
	/* Handshakes a second for all /64s of an IPv6 /48 together: at 35 us
	 * each, less than 1 % of a core. The burst is a quarter of a second's
	 * handshakes, as it is for one source address. */
	RATELIMIT_SITE_PER_SECOND = 200,
	RATELIMIT_SITE_BURST = 50,
	/* The bitmap of received counters, as long as that of the kernel
	 * module. Its newest word is only partly in use, so the window is one
	 * word narrower (RFC 6479). */
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
