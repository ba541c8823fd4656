/* SPDX-License-Identifier: MIT */
/*
 * A token bucket in one number (GCRA, the algorithm of ATM's usage control):
 * the time at which the bucket will be full again. Taking a token moves it by
 * one interval; a bucket may be behind by at most a burst. A bucket whose time
 * has come says the same as no bucket, so its place can be given away without
 * loss, and nothing has to be swept.
 *
 * The table has a fixed number of sets of a few places. The set comes from a
 * hash with a secret key, so nobody can aim at one. If a flood of working
 * sources fills a set, newcomers to it are refused until a place is free, which
 * takes a quarter of a second without their help.
 */
#include "noise/ratelimit.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "crypto/secret.h"
#include "crypto/siphash.h"
#include "noise/constants.h"

enum {
	N_SETS = 4096, /* a power of two */
	N_WAYS = 8,
};

#define INTERVAL_NS (NSEC_PER_SEC / RATELIMIT_PER_SECOND)

/*
 * @hash:	of the source; who shares all 64 bits of it shares the bucket
 * @full_ns:	when the bucket is full again; the past: it is full
 */
struct bucket {
	uint64_t hash;
	uint64_t full_ns;
};

struct ratelimit {
	uint8_t key[SIPHASH_KEY_LEN];
	struct bucket sets[N_SETS][N_WAYS];
};

struct ratelimit *ratelimit_new(const uint8_t seed[16])
{
	struct ratelimit *rl = calloc(1, sizeof(*rl));

	if (rl)
		memcpy(rl->key, seed, sizeof(rl->key));
	return rl;
}

void ratelimit_free(struct ratelimit *rl)
{
	if (!rl)
		return;
	secret_zero(rl->key, sizeof(rl->key));
	free(rl);
}

/**
 * hash_source() - hash of what counts as one source
 * @rl:		table
 * @addr:	address
 * @len:	4 or 16
 *
 * Of an IPv6 address only the /64 counts: a host can have all the rest for
 * itself. The two families hash inputs of different length, which SipHash tells
 * apart.
 *
 * Return: the hash.
 */
static uint64_t hash_source(const struct ratelimit *rl, const uint8_t *addr,
			    size_t len)
{
	INVARIANT(len == 4 || len == 16);
	return siphash(addr, len == 16 ? 8 : 4, rl->key);
}

/**
 * find_bucket() - the bucket of a source
 * @rl:		table
 * @hash:	hash of the source
 * @now:	the present
 *
 * Return: its bucket, or one that is full and can be its from now on; NULL if
 * all places are taken.
 */
static struct bucket *find_bucket(struct ratelimit *rl, uint64_t hash,
				  uint64_t now)
{
	struct bucket *set = rl->sets[hash % N_SETS];
	struct bucket *idle = NULL;

	for (size_t i = 0; i < N_WAYS; i++) {
		if (set[i].full_ns <= now)
			idle = &set[i];
		else if (set[i].hash == hash)
			return &set[i];
	}
	return idle;
}

bool ratelimit_allow(struct ratelimit *rl, const uint8_t *addr, size_t len,
		     uint64_t now)
{
	uint64_t hash = hash_source(rl, addr, len);
	struct bucket *bucket = find_bucket(rl, hash, now);
	uint64_t missing_ns;

	if (!bucket)
		return false;
	missing_ns = clock_age(now, bucket->full_ns);
	if (missing_ns > (RATELIMIT_BURST - 1) * INTERVAL_NS)
		return false;
	bucket->hash = hash;
	bucket->full_ns = now + missing_ns + INTERVAL_NS;
	return true;
}
