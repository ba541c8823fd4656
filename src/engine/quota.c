/* SPDX-License-Identifier: MIT */
/*
 * Each ICMP error takes a token from three buckets: the bucket of the socket
 * that the packet came from (known by protocol and port, or by ICMP
 * identifier), the bucket of its source address, and the bucket for all. A
 * program whose packets have no peer uses up the errors of its own socket. A
 * host that uses many such sockets uses up the errors of that host, which are
 * half of all errors.
 *
 * As in noise/ratelimit.c, a bucket is one number: the time at which it is full
 * again. The buckets are in a table of fixed size with a keyed hash. If all
 * places of a set are in use, a new bucket replaces the one that is nearest to
 * full. The owner of that bucket may then get some more errors, within the
 * bucket for all.
 */
#include "engine/quota.h"

#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ip.h"

enum {
	/* Source, protocol, port. */
	KEY_MAX_LEN = 16 + 1 + 2,
	/* The bucket of an IPv6 source is for its /64; the key of a socket has
	 * the whole address. */
	PREFIX_LEN = 8,
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

/* The bucket of a hash; if there is none, the fullest one of its set. */
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

/* Is there a token in the bucket of this hash? A missing bucket is full. */
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

/* Write address, protocol and port of a socket. Return: their length. */
static size_t make_key(uint8_t key[KEY_MAX_LEN], const uint8_t *p, size_t len)
{
	const struct ipv4_hdr *ip4 = ipv4_view(p);
	const struct ipv6_hdr *ip6 = ipv6_view(p);
	bool v4 = ip_get_version(p) == IP_V4;
	size_t addr_len = v4 ? sizeof(ip4->saddr) : sizeof(ip6->saddr);
	size_t off = v4 ? ipv4_hdr_len(ip4) : sizeof(*ip6);
	uint8_t proto = v4 ? ip4->proto : ip6->next_header;

	memcpy(key, v4 ? ip4->saddr : ip6->saddr, addr_len);
	key[addr_len] = proto;
	/* An ICMP packet has an identifier instead of a port. */
	if (proto == IP_PROTO_ICMP || proto == IP_PROTO_ICMPV6)
		off += offsetof(struct icmp_hdr, rest);
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
	uint64_t source = siphash(
		key, ip_get_version(packet) == IP_V4 ? 4 : PREFIX_LEN, q->key);

	if (!has_token(&q->all, QUOTA_ALL, now) ||
	    !has_token_of(q, source, QUOTA_SOURCE, now) ||
	    !has_token_of(q, socket, QUOTA_SOCKET, now))
		return false;
	take_token(&q->all, QUOTA_ALL, now);
	take_token_of(q, source, QUOTA_SOURCE, now);
	take_token_of(q, socket, QUOTA_SOCKET, now);
	return true;
}
