/* SPDX-License-Identifier: MIT */
/*
 * A journal's memory of any bytes. A step is made from a place anywhere in it, to a
 * record that claims any length. The place that the step leads to is again such a
 * place, so the proof holds for any number of steps.
 */
#include "any.h"

/* A broken invariant is an alarm. */
#define BASE_ASSERT_H
/*@ requires holds: \false;
    assigns \nothing;
    ensures \false; */
void invariant_broken(void);
#define INVARIANT(cond) ((cond) ? (void)0 : invariant_broken())

#include "journal/reader.c"

/*@ requires bytes: len == 0 || \valid_read((uint8_t *)in + (0 .. len - 1));
    requires initialized: len == 0 || \initialized((uint8_t *)in + (0 .. len - 1));
    requires key: \valid_read(key + (0 .. SIPHASH_KEY_LEN - 1));
    assigns \result \from ((uint8_t *)in)[0 .. len - 1],
        key[0 .. SIPHASH_KEY_LEN - 1]; */
uint64_t siphash(const void *in, size_t len,
		 const uint8_t key[SIPHASH_KEY_LEN]);

/*@ requires room: len == 0 || \valid((uint8_t *)buf + (0 .. len - 1));
    assigns ((uint8_t *)buf)[0 .. len - 1] \from \nothing; */
void secret_zero(void *buf, size_t len);

enum {
	SLOT_LEN = sizeof(struct layout_slot),
	HEAD_LEN = sizeof(struct layout_record),
	/* Behind the head: too short for a slot, so that records begin there. Two
	 * of the shortest ones have room. */
	RECORDS_LEN = 112,
	LEN = LAYOUT_HEAD_LEN + RECORDS_LEN,
};

static struct store any_store(size_t len)
{
	return (struct store){ .bytes = any_bytes(len), .len = len, .fd = -1 };
}

/* The record there says that its body has this length. */
static void claim(struct store *store, size_t at, uint64_t len)
{
	if (store->len - at >= HEAD_LEN)
		memcpy(store->bytes + at, &len, sizeof(len));
}

/* How long the body of a record can be. */
static size_t room_at(size_t at)
{
	return LEN - at < HEAD_LEN ? 0 : LEN - at - HEAD_LEN;
}

static uint64_t more_than(size_t len)
{
	return Frama_C_unsigned_long_interval(len + 1, UINT64_MAX);
}

/* The head, and the walk over all records if a reader has died in one. */
static void prove_head(struct store *store)
{
	struct reader reader;

	if (reader_init(&reader, store)) {
		//@ check begins: reader.at <= store->len;
		//@ check aligned: reader.at % LAYOUT_ALIGN == 0;
		//@ check slots: LAYOUT_HEAD_LEN + reader.n_slots * SLOT_LEN <= store->len;
		(void)reader_get_port(&reader);
		reader_mark(&reader, more_than(0));
	}
	free(store->bytes);
}

/* Without a walk. */
static void prove_slots(size_t len)
{
	struct store store = any_store(len);

	if (len >= LAYOUT_HEAD_LEN)
		((struct layout_head *)store.bytes)->replaying = 0;
	prove_head(&store);
}

/* The bodies of two records claim these lengths. */
static void prove_walk(uint64_t first, uint64_t second)
{
	struct store store = any_store(LEN);

	claim(&store, LAYOUT_HEAD_LEN, first);
	if (first <= room_at(LAYOUT_HEAD_LEN))
		claim(&store, LAYOUT_HEAD_LEN + layout_record_len(first),
		      second);
	prove_head(&store);
}

static void prove_walks(void)
{
	size_t room = room_at(LAYOUT_HEAD_LEN);

	prove_walk(0, 0);
	prove_walk(more_than(room), 0);
	for (size_t first = 1; first <= room; first++) {
		size_t rest =
			room_at(LAYOUT_HEAD_LEN + layout_record_len(first));

		for (size_t second = 0; second <= rest; second++)
			prove_walk(first, second);
		prove_walk(first, more_than(rest));
	}
}

/* A reader in any state, but for where it is. */
static void any_reader(struct reader *reader, const struct store *store,
		       size_t at)
{
	Frama_C_make_unknown((char *)reader, sizeof(*reader));
	reader->store = store;
	reader->at = at;
	reader->why = NULL;
}

static void prove_step(size_t at, uint64_t len)
{
	struct store store = any_store(LEN);
	struct reader_record record;
	struct reader reader;

	claim(&store, at, len);
	any_reader(&reader, &store, at);
	if (reader_next(&reader, &record) == 1) {
		//@ check moves: reader.at > at;
		//@ check rest: reader.at <= LEN && reader.at % LAYOUT_ALIGN == 0;
		if (record.body) {
			//@ check body: \valid_read(record.body + (0 .. record.len - 1));
		}
		reader_done(&record);
	}
	free(store.bytes);
}

static void prove_slot(size_t len, uint64_t n_slots)
{
	struct store store = any_store(len);
	struct reader_peer peer;
	struct reader reader;

	any_reader(&reader, &store, LAYOUT_HEAD_LEN);
	reader.n_slots = n_slots;
	for (uint64_t i = 0; i < n_slots; i++)
		if (reader_get_peer(&reader, i, &peer)) {
			//@ check state: peer.has_state == 0 || peer.has_state == 1;
		}
	free(store.bytes);
}

int main(void)
{
	prove_slots(LAYOUT_HEAD_LEN - LAYOUT_ALIGN);
	for (uint64_t n = 0; n <= 2; n++) {
		size_t len = LAYOUT_HEAD_LEN + n * SLOT_LEN;

		prove_slots(len);
		prove_slots(len + SLOT_LEN - LAYOUT_ALIGN);
		prove_slot(len, n);
	}
	prove_walks();
	for (size_t at = LAYOUT_HEAD_LEN; at <= LEN; at += LAYOUT_ALIGN) {
		for (size_t len = 0; len <= room_at(at); len++)
			prove_step(at, len);
		prove_step(at, more_than(room_at(at)));
	}
	must_be_reached();
	return 0;
}
