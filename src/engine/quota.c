/* SPDX-License-Identifier: MIT */
/*
 * Each error takes a token from three buckets: that of the socket that the
 * packet came from (known by protocol and port, or by ICMP identifier), that of
 * its source address, and the one for all. A program that sends to nobody with
 * one socket uses up the errors of that socket. A host that does so with many
 * uses up the errors of that host, which are half of all.
 *
 * The buckets are as in noise/ratelimit.c: one number each, the time at which it
 * is full again, in a table of fixed size with a keyed hash. If a set has no
 * place left, the bucket that is nearest to full gives way. Its source may then
 * get some errors more, within the bucket for all.
 */
#include "engine/quota.h"

#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "tun/ip.h"

enum {
	/* Source, protocol, port. */
	KEY_MAX_LEN = 16 + 1 + 2,
	/* An IPv6 source is its /64, but a socket has the whole address. */
	PREFIX_LEN = 8,
	PROTO_ICMP4 = 1,
	PROTO_ICMP6 = 58,
	/* Offset of an echo's identifier: behind type, code, checksum. */
	ICMP_ID_AT = 4,
	PORT_LEN = 2,
};

/* Nanoseconds in which a bucket of @per_second gets one token. */
static uint64_t interval_ns(unsigned int per_second)
{
	return NSEC_PER_SEC / per_second;
}

static bool has_token(const struct quota_bucket *bucket,
		      unsigned int per_second, uint64_t now)
{
	return clock_age(now, bucket->full_ns) <=
	       (per_second - 1) * interval_ns(per_second);
}

static void take_token(struct quota_bucket *bucket, unsigned int per_second,
		       uint64_t now)
{
	bucket->full_ns =
		now + clock_age(now, bucket->full_ns) + interval_ns(per_second);
}

/* The bucket of a hash; or else the one of its set that is nearest to full. */
static struct quota_bucket *find(struct quota *q, uint64_t hash)
{
	struct quota_bucket *set = q->sets[hash % QUOTA_SETS];
	struct quota_bucket *found = &set[0];

	for (size_t i = 0; i < QUOTA_WAYS; i++) {
		if (set[i].hash == hash)
			return &set[i];
		if (set[i].full_ns < found->full_ns)
			found = &set[i];
	}
	return found;
}

/* Is there a token for what has this hash? */
static bool has_token_of(struct quota *q, uint64_t hash,
			 unsigned int per_second, uint64_t now)
{
	const struct quota_bucket *bucket = find(q, hash);

	return bucket->hash != hash || has_token(bucket, per_second, now);
}

static void take_token_of(struct quota *q, uint64_t hash,
			  unsigned int per_second, uint64_t now)
{
	struct quota_bucket *bucket = find(q, hash);

	if (bucket->hash != hash)
		*bucket = (struct quota_bucket){ .hash = hash };
	take_token(bucket, per_second, now);
}

/* What tells one socket of a host from the others. Return: its length. */
static size_t make_key(uint8_t key[KEY_MAX_LEN], const uint8_t *p, size_t len)
{
	bool v4 = p[0] >> 4 == 4;
	size_t addr_len = v4 ? 4 : 16;
	size_t off = v4 ? (size_t)(p[0] & 15) * 4 : sizeof(struct ipv6_hdr);
	uint8_t proto = v4 ? p[offsetof(struct ipv4_hdr, proto)]
			   : p[offsetof(struct ipv6_hdr, next_header)];

	memcpy(key,
	       p + (v4 ? offsetof(struct ipv4_hdr, saddr)
		       : offsetof(struct ipv6_hdr, saddr)),
	       addr_len);
	key[addr_len] = proto;
	if (proto == PROTO_ICMP4 || proto == PROTO_ICMP6)
		off += ICMP_ID_AT;
	memset(key + addr_len + 1, 0, PORT_LEN);
	if (len >= off + PORT_LEN)
		memcpy(key + addr_len + 1, p + off, PORT_LEN);
	return addr_len + 1 + PORT_LEN;
}

void quota_init(struct quota *q, const uint8_t key[SIPHASH_KEY_LEN])
{
	*q = (struct quota){ 0 };
	memcpy(q->key, key, sizeof(q->key));
}

bool quota_allow(struct quota *q, const uint8_t *packet, size_t len,
		 uint64_t now)
{
	uint8_t key[KEY_MAX_LEN];
	size_t key_len = make_key(key, packet, len);
	uint64_t socket = siphash(key, key_len, q->key);
	uint64_t source =
		siphash(key, packet[0] >> 4 == 4 ? 4 : PREFIX_LEN, q->key);

	if (!has_token(&q->all, QUOTA_ALL, now) ||
	    !has_token_of(q, source, QUOTA_SOURCE, now) ||
	    !has_token_of(q, socket, QUOTA_SOCKET, now))
		return false;
	take_token(&q->all, QUOTA_ALL, now);
	take_token_of(q, source, QUOTA_SOURCE, now);
	take_token_of(q, socket, QUOTA_SOCKET, now);
	return true;
}
