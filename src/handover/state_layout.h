/* SPDX-License-Identifier: MIT */
/*
 * The form of a state's memory:
 *
 *	head
 *	body		what is known of the device
 *	counters	as many as the body says
 *	peers		as many as the body says, one behind the other: first struct
 *			state_peer, then those pieces that it names, in the order of
 *			enum state_piece
 *
 * A state comes in two memories of this form. The early one has all peers, as they were at
 * some time while packets went on. The last one has those peers that have changed since
 * then, and the counters.
 *
 * All begins at multiples of 8, and there are no gaps. A piece that would be all zero
 * is left out. The piece of a keypair is a struct noise_keypair_plain and the words of
 * its window that are stored (struct replay_plain).
 *
 * All numbers are native, because memory stays on its machine. The two processes may
 * run different programs: @version changes with the head, with the sum, and with the
 * meaning of a member, and @build differs if the structs behind the head do.
 *
 * The head has a sum of all that is behind it, with a key that is drawn for each state.
 * It finds damage, and is quick, because packets wait meanwhile. It does not stop an
 * enemy who can write to the memory, so the reader takes nothing in it on trust
 * (handover/state.h).
 */
#ifndef HANDOVER_STATE_LAYOUT_H
#define HANDOVER_STATE_LAYOUT_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "device/plain.h"

/* "wgstate" and a zero. */
#define STATE_MAGIC UINT64_C(0x7767737461746500)

enum {
	/* The number of this form. In form 1 the head was shorter, the sum was another one,
	 * and a state had one part. */
	STATE_VERSION = 2,
	STATE_COUNTER_NAME_LEN = 48,
	/* The most counters. A choice: the engine has about a hundred. */
	STATE_COUNTERS_MAX = 1024,
	/* Parts of the sum, which do not depend on each other, so that a processor
	 * computes them at the same time. */
	STATE_SUM_LANES = 4,
	STATE_SUM_KEY_LEN = STATE_SUM_LANES * sizeof(uint64_t),
};

/**
 * struct state_head - the head
 * @magic:	STATE_MAGIC; stored last
 * @version:	STATE_VERSION
 * @owner:	enum owner; see handover/owner.h
 * @build:	state_build()
 * @len:	bytes of the whole state, with the head
 * @sum_key:	key of @sum
 * @sum:	of all bytes behind the head, up to @len
 * @zero:	zero
 */
struct state_head {
	_Atomic uint64_t magic;
	uint32_t version;
	_Atomic uint32_t owner;
	uint64_t build;
	uint64_t len;
	uint8_t sum_key[STATE_SUM_KEY_LEN];
	uint64_t sum;
	uint64_t zero;
};

/**
 * struct state_body - what is known of the device
 * @written_ns:	when the state was written
 * @n_counters:	how many counters follow
 * @n_peers:	how many peers follow them
 * @n_all:	how many peers the device has
 * @is_early:	1: other threads used the device meanwhile, and another state will come
 * @device:	the device
 */
struct state_body {
	uint64_t written_ns;
	uint32_t n_counters;
	uint32_t n_peers;
	uint32_t n_all;
	uint32_t is_early;
	struct device_plain device;
};

/**
 * struct state_counter - a number that goes on
 * @name:	printable characters, and zeros behind them; at least one zero
 * @value:	its value
 */
struct state_counter {
	char name[STATE_COUNTER_NAME_LEN];
	uint64_t value;
};

/* The pieces of a peer: their numbers, and the bits of state_peer.pieces. */
enum state_piece {
	STATE_CORE, /* struct peer_plain, up to its handshake; always there */
	STATE_HANDSHAKE,
	STATE_COOKIE,
	STATE_NOTES,
	STATE_KEYPAIR, /* the first of NOISE_SLOTS */
	STATE_PIECES = STATE_KEYPAIR + NOISE_SLOTS,
};

/**
 * struct state_peer - the head of a peer
 * @pieces:	a bit for each piece that follows
 * @len:	bytes of this head and of these pieces
 */
struct state_peer {
	uint32_t pieces;
	uint32_t len;
};

/* Where the pieces before STATE_KEYPAIR are in struct peer_plain, and their lengths. */
struct state_place {
	size_t off;
	size_t len;
};

#define STATE_PLACE(member)                                         \
	{                                                           \
		offsetof(struct peer_plain, member),                \
			sizeof(((struct peer_plain *)NULL)->member) \
	}

static const struct state_place state_places[STATE_KEYPAIR] = {
	[STATE_CORE] = { 0, offsetof(struct peer_plain, handshake) },
	[STATE_HANDSHAKE] = STATE_PLACE(handshake),
	[STATE_COOKIE] = STATE_PLACE(cookie),
	[STATE_NOTES] = STATE_PLACE(notes),
};

enum {
	STATE_KEYPAIR_MAX_LEN = sizeof(struct noise_keypair_plain) +
				REPLAY_WORDS * sizeof(uint64_t),
	/* The most bytes of a peer. */
	STATE_PEER_MAX_LEN = sizeof(struct state_peer) +
			     sizeof(struct peer_plain) +
			     NOISE_SLOTS * STATE_KEYPAIR_MAX_LEN,
};

/* Nothing but the members is summed and copied. */
static_assert(sizeof(struct state_head) == 10 * 8, "no padding");
static_assert(sizeof(struct state_body) == 24 + sizeof(struct device_plain),
	      "no padding");
static_assert(sizeof(struct state_counter) == STATE_COUNTER_NAME_LEN + 8,
	      "no padding");
static_assert(sizeof(struct peer_plain) ==
		      offsetof(struct peer_plain, notes) +
			      sizeof(struct peer_notes_plain),
	      "the pieces are all of it");

/**
 * state_build() - a number for the form of what a state holds
 *
 * Return: the same number in programs that understand each other.
 */
static inline uint64_t state_build(void)
{
	return sizeof(struct peer_plain) |
	       (uint64_t)sizeof(struct noise_keypair_plain) << 16 |
	       (uint64_t)sizeof(struct state_body) << 32 |
	       (uint64_t)sizeof(struct state_counter) << 48;
}

/* Add a word to a sum. Two different words give two different sums, and so do two
 * different sums with the same word. */
static inline uint64_t state_sum_step(uint64_t sum, uint64_t word)
{
	/* An odd number with many ones and zeros: the golden ratio, as in many hashes. */
	sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
	return sum ^ sum >> 32;
}

/**
 * state_sum() - the sum of all that is behind the head of a state
 * @bytes:	the state
 * @len:	its length
 * @key:	what the lanes begin with
 *
 * A change of one word always changes the sum. Any other change leaves the sum as it was
 * with a chance of 1 in 2^64, unless it was made by somebody who knows the key.
 *
 * Return: the sum.
 */
static inline uint64_t state_sum(const uint8_t *bytes, size_t len,
				 const uint8_t key[STATE_SUM_KEY_LEN])
{
	uint64_t lanes[STATE_SUM_LANES], words[STATE_SUM_LANES], sum = len;
	size_t off = sizeof(struct state_head);

	memcpy(lanes, key, sizeof(lanes));
	for (; len - off >= sizeof(words); off += sizeof(words)) {
		memcpy(words, bytes + off, sizeof(words));
		for (unsigned int i = 0; i < STATE_SUM_LANES; i++)
			lanes[i] = state_sum_step(lanes[i], words[i]);
	}
	memset(words, 0, sizeof(words));
	if (off < len)
		memcpy(words, bytes + off, len - off);
	for (unsigned int i = 0; i < STATE_SUM_LANES; i++)
		sum = state_sum_step(sum, state_sum_step(lanes[i], words[i]));
	return sum;
}

#endif /* HANDOVER_STATE_LAYOUT_H */
