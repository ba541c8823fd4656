/* SPDX-License-Identifier: MIT */
/*
 * The form of a journal's memory:
 *
 *	head		one page
 *	slots		one for each peer, and spare ones
 *	records		one behind the other, in the order of their numbers
 *
 * All numbers are native, because the memory stays on its machine. Only a program of
 * the same build reads it: layout_head.build tells builds apart.
 *
 * The process that writes may die between any two of its stores. So each part becomes
 * valid by one word that is stored last, and what was valid before is not touched
 * until then:
 *
 *  - The journal as a whole is valid once @magic is stored.
 *  - A record is valid once its @commit is stored. Before that, the place of the next
 *    head is cleared. So bytes that an unfinished record has left there are never taken
 *    for a record.
 *  - A slot is in use once its @key_sum is stored. The state in a slot, and the port in
 *    the head, exist twice. A change writes the older of the two, whose @sum is stored
 *    last.
 *
 * The sums are SipHash, with a key that is drawn for each journal. They find torn and
 * damaged memory. They do not stop an enemy who can write to the journal, so a reader
 * takes nothing in it on trust (journal/reader.h).
 */
#ifndef JOURNAL_LAYOUT_H
#define JOURNAL_LAYOUT_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "crypto/siphash.h"
#include "device/allowedips.h"
#include "device/endpoint.h"
#include "noise/constants.h"

/* "wgjrnl" and the number of this form. */
#define LAYOUT_MAGIC UINT64_C(0x77676a726e6c0001)

enum {
	/* Bytes of the head. A choice. Machines with larger pages need no longer
	 * head, because the memory is mapped as a whole. */
	LAYOUT_HEAD_LEN = 4096,
	/* Records begin at multiples of this. */
	LAYOUT_ALIGN = 8,
	/* The most bytes of a journal. A choice: the slots of DEVICE_MAX_PEERS
	 * peers take 312 MiB, and the largest configuration takes
	 * CONFIG_MAX_LEN, 128 MiB, twice. */
	LAYOUT_MAX_LEN = 1 << 30,
};

/**
 * struct layout_port - the port that the system has chosen
 * @version:	grows with each change; 0: never written
 * @number:	of the last record at that time
 * @port:	in use
 * @sum:	of all members above; stored last
 */
struct layout_port {
	uint64_t version;
	uint64_t number;
	uint64_t port;
	_Atomic uint64_t sum;
};

/**
 * struct layout_head - the head
 * @magic:	LAYOUT_MAGIC; stored last
 * @build:	a number that differs if the form of records or slots does
 * @len:	bytes of the whole journal
 * @n_slots:	slots behind the head
 * @records_off: where the first record begins
 * @sum_key:	key of all sums
 * @sum:	of the members from @build to @sum_key
 * @replaying:	number of the record that a reader of this journal is applying;
 *		LAYOUT_RESTORING: it is restoring the states of peers; 0: neither
 * @port:	see struct layout_port
 */
struct layout_head {
	_Atomic uint64_t magic;
	uint64_t build;
	uint64_t len;
	uint64_t n_slots;
	uint64_t records_off;
	uint8_t sum_key[SIPHASH_KEY_LEN];
	uint64_t sum;
	_Atomic uint64_t replaying;
	struct layout_port port[2];
};

/* The number that stands for the states of the peers in layout_head.replaying. No
 * record has it. */
#define LAYOUT_RESTORING UINT64_MAX

/**
 * struct layout_record - the head of a record; its body is a list of operations
 *			  (config_write())
 * @len:	bytes of the body
 * @number:	1 for the first record, and so on
 * @port:	device.listen_port after the operations
 * @sum:	of the body
 * @left_out:	not 0: a process has died when it applied the record. Written by
 *		readers.
 * @commit:	a sum of @len, @number, @port and @sum; stored last
 */
struct layout_record {
	uint64_t len;
	uint64_t number;
	uint64_t port;
	uint64_t sum;
	_Atomic uint64_t left_out;
	_Atomic uint64_t commit;
};

/**
 * struct layout_state - what is known of a peer
 * @version:	grows with each change; 0: never written
 * @number:	the state belongs to the configuration that the record of this number has
 *		left
 * @taken:	timestamp of the newest initiation that was taken
 * @sent:	timestamp of the last initiation that was made
 * @tx_bytes, @rx_bytes, @last_handshake_ns: as in struct peer
 * @endpoint:	all zero: none
 * @has_session: 1: there are keys
 * @sum:	of all members above; stored last
 */
struct layout_state {
	uint64_t version;
	uint64_t number;
	uint8_t taken[NOISE_TIMESTAMP_LEN];
	uint8_t sent[NOISE_TIMESTAMP_LEN];
	uint64_t tx_bytes;
	uint64_t rx_bytes;
	uint64_t last_handshake_ns;
	uint8_t endpoint[ENDPOINT_LEN];
	uint64_t has_session;
	_Atomic uint64_t sum;
};

/**
 * struct layout_slot - the place of a peer
 * @key:	its public key
 * @key_sum:	of @key; 0: the slot is free. Stored last.
 * @state:	see struct layout_state
 */
struct layout_slot {
	uint8_t key[NOISE_PUBLIC_KEY_LEN];
	_Atomic uint64_t key_sum;
	struct layout_state state[2];
};

/* Nothing but the members is summed, compared and copied. */
static_assert(sizeof(struct layout_head) <= LAYOUT_HEAD_LEN, "one page");
static_assert(sizeof(struct layout_record) == 6 * 8, "no padding");
static_assert(sizeof(struct layout_port) == 4 * 8, "no padding");
static_assert(sizeof(struct layout_state) == 7 * 8 + 24 + ENDPOINT_LEN,
	      "no padding");
static_assert(sizeof(struct layout_slot) ==
		      32 + 8 + 2 * sizeof(struct layout_state),
	      "no padding");

/**
 * layout_build() - a number that differs if the structs of a journal do
 *
 * Return: the same number in programs that understand each other.
 */
static inline uint64_t layout_build(void)
{
	return sizeof(struct layout_slot) | sizeof(struct ip_prefix) << 16 |
	       sizeof(struct device_endpoint) << 24 |
	       (uint64_t)sizeof(void *) << 32;
}

/* layout_sum() - a sum that is never 0, the value of a word that was not stored */
static inline uint64_t layout_sum(const void *bytes, size_t len,
				  const uint8_t key[SIPHASH_KEY_LEN])
{
	uint64_t sum = siphash(bytes, len, key);

	return sum ? sum : 1;
}

/* layout_sum_head() - the value of layout_head.sum */
static inline uint64_t layout_sum_head(const struct layout_head *head)
{
	return layout_sum(&head->build,
			  offsetof(struct layout_head, sum) -
				  offsetof(struct layout_head, build),
			  head->sum_key);
}

/* layout_sum_record() - the value of layout_record.commit */
static inline uint64_t layout_sum_record(const struct layout_record *record,
					 const uint8_t key[SIPHASH_KEY_LEN])
{
	return layout_sum(record, offsetof(struct layout_record, left_out),
			  key);
}

/* layout_sum_state() - the value of layout_state.sum */
static inline uint64_t layout_sum_state(const struct layout_state *state,
					const uint8_t key[SIPHASH_KEY_LEN])
{
	return layout_sum(state, offsetof(struct layout_state, sum), key);
}

/* layout_sum_port() - the value of layout_port.sum */
static inline uint64_t layout_sum_port(const struct layout_port *port,
				       const uint8_t key[SIPHASH_KEY_LEN])
{
	return layout_sum(port, offsetof(struct layout_port, sum), key);
}

/* layout_record_len() - bytes from one record to the next */
static inline size_t layout_record_len(size_t body_len)
{
	return sizeof(struct layout_record) +
	       (body_len + LAYOUT_ALIGN - 1) / LAYOUT_ALIGN * LAYOUT_ALIGN;
}

#endif /* JOURNAL_LAYOUT_H */
