/* SPDX-License-Identifier: MIT */
/*
 * A token bucket is stored as one number: the time at which it will be full
 * again (GCRA, the algorithm of ATM's usage control). Taking a token moves that
 * time one interval into the future, and at most a burst of intervals. A bucket
 * that is full again says the same as no bucket, so its place can go to another
 * source, and no old entries have to be swept.
 *
 * The table has a fixed number of sets of a few places. A hash with a secret
 * key selects the set, so nobody can choose the set of a source. If a flood of
 * sources fills a set, further sources of that set are refused until a place is
 * free. A place is free at the latest a quarter of a second after its bucket
 * was last used: then the bucket is full again.
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
	/* 32,768 places, half a megabyte. At 20 handshakes a second for each
	 * source, that is far more than the handshaker can compute. */
	N_SETS = 4096, /* a power of two */
	/* A choice, not measured: a set takes 128 bytes. */
	N_WAYS = 8,
	IPV4_LEN = 4,
	IPV6_LEN = 16,
	/* Bytes of a /64, which one host can have, and of a /48, which many
	 * customers have. */
	SUBNET_LEN = 8,
	SITE_LEN = 6,
};

/* How fast a bucket fills, and how many tokens it holds. */
struct size {
	uint64_t interval_ns;
	uint64_t burst;
};

/* For one host: an IPv4 address or an IPv6 /64. */
static const struct size of_host = { NSEC_PER_SEC / RATELIMIT_PER_SECOND,
				     RATELIMIT_BURST };
/* For one site: an IPv6 /48. */
static const struct size of_site = { NSEC_PER_SEC / RATELIMIT_SITE_PER_SECOND,
				     RATELIMIT_SITE_BURST };

/*
 * @hash:	of the source; sources with the same hash share the bucket
 * @full_ns:	when the bucket is full again; it is full if that is past
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

/*
 * The bucket of a source. If the source has none, a full bucket of the same
 * set, which can become its bucket; NULL if there is no full one.
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

/*
 * Returns NULL if the bucket is empty or no place is free; else @was is set
 * to the bucket as it was. SipHash tells prefixes of different length apart.
 */
static struct bucket *take(struct ratelimit *rl, const uint8_t *prefix,
			   size_t len, const struct size *size, uint64_t now,
			   struct bucket *was)
{
	const uint64_t hash = siphash(prefix, len, rl->key);
	struct bucket *bucket = find_bucket(rl, hash, now);
	uint64_t missing_ns;

	if (!bucket)
		return NULL;
	missing_ns = clock_age(now, bucket->full_ns);
	if (missing_ns > (size->burst - 1) * size->interval_ns)
		return NULL;
	*was = *bucket;
	bucket->hash = hash;
	bucket->full_ns = now + missing_ns + size->interval_ns;
	return bucket;
}

bool ratelimit_allow(struct ratelimit *rl, const uint8_t *addr, size_t len,
		     uint64_t now)
{
	struct bucket was, site_was;
	struct bucket *site;

	INVARIANT(len == IPV4_LEN || len == IPV6_LEN);
	if (len == IPV4_LEN)
		return take(rl, addr, IPV4_LEN, &of_host, now, &was);
	site = take(rl, addr, SITE_LEN, &of_site, now, &site_was);
	if (!site)
		return false;
	if (take(rl, addr, SUBNET_LEN, &of_host, now, &was))
		return true;
	/* A /64 that asks for too much takes nothing from the rest of its
	 * /48. */
	*site = site_was;
	return false;
}
