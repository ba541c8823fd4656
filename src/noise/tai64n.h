/* SPDX-License-Identifier: MIT */
/*
 * TAI64N timestamps of initiations (WireGuard paper, section 5.1): eight bytes
 * of seconds since 1970 TAI plus 2^62, four bytes of nanoseconds, big endian,
 * so that memcmp() orders them.
 *
 * Any thread.
 */
#ifndef NOISE_TAI64N_H
#define NOISE_TAI64N_H

#include <stdbool.h>
#include <stdint.h>

#include "noise/constants.h"

struct tai64n {
	uint8_t b[NOISE_TIMESTAMP_LEN];
};

/**
 * tai64n_from_realtime() - the timestamp of a point of wall-clock time
 * @realtime_ns:	nanoseconds since 1970 UTC
 *
 * The nanoseconds are rounded down to a multiple of 2^24 (17 ms), so that the
 * message does not reveal the exact time of this machine's clock.
 *
 * Return: the timestamp.
 */
struct tai64n tai64n_from_realtime(uint64_t realtime_ns);

/**
 * tai64n_is_newer() - is one timestamp later than another?
 * @a:		the one
 * @b:		the other
 *
 * Return: true if @a is later than @b.
 */
bool tai64n_is_newer(const struct tai64n *a, const struct tai64n *b);

/**
 * tai64n_advance() - the timestamp to send next
 * @last:	the last one sent to this peer; all zero if there is none;
 *		updated
 * @realtime_ns:	nanoseconds since 1970 UTC
 *
 * A peer takes only timestamps that are newer than the last one. If the wall
 * clock has stepped back, or has not moved far enough, the result is 2^24 ns
 * after the last one. So handshakes go on although a clock has stepped back.
 *
 * Return: the timestamp, strictly newer than what @last held.
 */
struct tai64n tai64n_advance(struct tai64n *last, uint64_t realtime_ns);

#endif /* NOISE_TAI64N_H */
