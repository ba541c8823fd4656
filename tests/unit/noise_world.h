/* SPDX-License-Identifier: MIT */
/*
 * Two sides of a tunnel without device, sockets or clock. Each side has one
 * peer (the other side), a small table of indices, and random bytes from a
 * seed. A test can set the first random bytes itself.
 */
#ifndef NOISE_WORLD_H
#define NOISE_WORLD_H

#include "noise/constants.h"
#include "noise/cookie.h"
#include "noise/handshake.h"
#include "noise/keypair.h"
#include "noise/local.h"
#include "noise/wire.h"

enum {
	/* A choice: more indices than any test has at a time. */
	SIDE_INDICES = 64
};

/* Either a handshake or a keypair, as in a real table. */
struct side_entry {
	bool is_used;
	uint32_t idx;
	struct noise_handshake *hs;
	struct noise_keypair *kp;
};

/*
 * @planned:		bytes that the test has set; the side gets them before
 *			any random bytes
 * @planned_len:	bytes left at @planned
 * @next_idx:		the next index that is given; grows by one
 * @index_error:	-errno that publish_index returns; 0: it works
 * @n_peer_refs:	references that find_peer gave and release_peer did not get
 *			back
 * @finds_no_peer:	find_peer finds no peer
 */
struct side {
	struct noise_local local;
	struct cookie_checker checker;
	struct noise_handshake hs;
	struct noise_keypairs kps;
	struct cookie_maker maker;
	uint8_t private_key[NOISE_PRIVATE_KEY_LEN];
	uint8_t public_key[NOISE_PUBLIC_KEY_LEN];
	uint8_t source[6];
	struct side_entry entries[SIDE_INDICES];
	uint64_t seed;
	const uint8_t *planned;
	size_t planned_len;
	uint32_t next_idx;
	int index_error;
	int n_peer_refs;
	bool finds_no_peer;
};

struct world {
	struct side a;
	struct side b;
};

/* The state that a refused message must not change. */
struct side_snapshot {
	struct noise_handshake hs;
	struct noise_handshake_secrets secrets;
	struct noise_keypairs kps;
	struct side_entry entries[SIDE_INDICES];
	struct cookie_maker maker;
	int n_peer_refs;
};

/**
 * world_init() - two sides that know each other
 * @w:		caller's storage
 * @key_a:	private key of side a; NULL: a random one
 * @key_b:	private key of side b; NULL: a random one
 * @seed:	of all random bytes
 */
void world_init(struct world *w, const uint8_t *key_a, const uint8_t *key_b,
		uint64_t seed);

/**
 * world_deinit() - check that no index and no reference is left, and free
 * @w:		world
 */
void world_deinit(struct world *w);

/**
 * side_find() - the entry of an index
 * @side:	side
 * @idx:	index
 *
 * Return: the entry; NULL if there is none.
 */
struct side_entry *side_find(struct side *side, uint32_t idx);

/**
 * side_snapshot() - copy the state that a message could change
 * @side:	side
 * @snap:	out; compare with memcmp()
 */
void side_snapshot(const struct side *side, struct side_snapshot *snap);

/**
 * side_receive() - handle a handshake message as an engine does
 * @side:		the receiver
 * @buf:		datagram
 * @len:		its length
 * @is_loaded:		under load: mac2 must be right
 * @now:		the present
 * @response:		out: the answer to an initiation, with macs
 *
 * Return: true if the message was taken.
 */
bool side_receive(struct side *side, const uint8_t *buf, size_t len,
		  bool is_loaded, uint64_t now,
		  struct message_response *response);

/**
 * world_handshake() - a whole handshake, from one side to the other
 * @from:		initiator
 * @to:			responder
 * @now:		the present
 * @realtime_ns:	wall clock
 *
 * Afterwards the initiator has a current keypair and the responder a next one.
 *
 * Return: true if the handshake was completed.
 */
bool world_handshake(struct side *from, struct side *to, uint64_t now,
		     uint64_t realtime_ns);

/**
 * world_carry() - send a data message with one side's current keypair
 * @from:	sender
 * @to:		receiver; it confirms the keypair of the message
 * @now:	the present
 *
 * Return: true if the text arrived unchanged.
 */
bool world_carry(struct side *from, struct side *to, uint64_t now);

#endif /* NOISE_WORLD_H */
