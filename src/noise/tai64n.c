/* SPDX-License-Identifier: MIT */
/*
 * Timestamps of initiations. A peer that has taken an initiation takes only
 * initiations with a newer timestamp. So tai64n_advance() never gives the same
 * timestamp twice, whatever the wall clock does.
 */
#include "noise/tai64n.h"

#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"

/* 2^62 stands for the beginning of 1970 TAI. TAI was ten seconds ahead of UTC
 * when leap seconds began (1972), and ten seconds are added. Leap seconds since
 * then are not counted, as in the kernel module. */
#define TAI64N_EPOCH UINT64_C(0x400000000000000a)
/* The largest power of two below the 20 ms that the receiver wants between two
 * initiations (INITIATIONS_PER_SECOND), as in the kernel module. */
#define TAI64N_STEP_NS (UINT32_C(1) << 24)

static struct tai64n encode(uint64_t seconds, uint32_t ns)
{
	struct be64 high = be64_make(seconds);
	struct be32 low = be32_make(ns);
	struct tai64n t;

	memcpy(t.b, high.b, sizeof(high));
	memcpy(t.b + sizeof(high), low.b, sizeof(low));
	return t;
}

struct tai64n tai64n_from_realtime(uint64_t realtime_ns)
{
	uint32_t ns = (uint32_t)(realtime_ns % NSEC_PER_SEC);

	return encode(TAI64N_EPOCH + realtime_ns / NSEC_PER_SEC,
		      ns & ~(TAI64N_STEP_NS - 1));
}

bool tai64n_is_newer(const struct tai64n *a, const struct tai64n *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) > 0;
}

/* The timestamp one step later. */
static struct tai64n next_timestamp(const struct tai64n *t)
{
	struct be64 high;
	struct be32 low;
	uint64_t seconds;
	uint32_t ns;

	memcpy(high.b, t->b, sizeof(high));
	memcpy(low.b, t->b + sizeof(high), sizeof(low));
	seconds = be64_get(high);
	ns = be32_get(low) + TAI64N_STEP_NS;
	if (ns >= NSEC_PER_SEC)
		return encode(seconds + 1, 0);
	return encode(seconds, ns);
}

struct tai64n tai64n_advance(struct tai64n *last, uint64_t realtime_ns)
{
	struct tai64n t = tai64n_from_realtime(realtime_ns);

	if (!tai64n_is_newer(&t, last))
		t = next_timestamp(last);
	*last = t;
	return t;
}
