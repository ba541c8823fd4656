/* SPDX-License-Identifier: MIT */
/* No number of the memory is used before it was copied and compared with the length of
 * the mapping. */
#include "journal/reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "noise/tai64n.h"

/* Copies @len bytes from @off, which lie in the memory. */
static void copy_out(const struct reader *r, void *to, uint64_t off, size_t len)
{
	INVARIANT(off <= r->store->len && len <= r->store->len - off);
	memcpy(to, r->store->bytes + off, len);
	/* The copy is made here, and the memory is not read again. */
	atomic_signal_fence(memory_order_seq_cst);
}

static const char *check_head(const struct reader *r,
			      const struct layout_head *head)
{
	if (head->magic != LAYOUT_MAGIC)
		return "it was not finished, or is none";
	if (head->sum != layout_sum_head(head))
		return "its head is damaged";
	if (head->build != layout_build())
		return "it is of another build";
	if (head->len != r->store->len)
		return "it was cut off";
	if (head->n_slots > (r->store->len - LAYOUT_HEAD_LEN) /
				    sizeof(struct layout_slot) ||
	    head->records_off !=
		    LAYOUT_HEAD_LEN +
			    head->n_slots * sizeof(struct layout_slot))
		return "its head makes no sense";
	return NULL;
}

static struct layout_record *record_at(const struct reader *r, size_t off)
{
	return (void *)(r->store->bytes + off);
}

/* Reads the head of the record at r->at. Returns false if there is none. */
static bool read_head(struct reader *r, struct layout_record *head)
{
	size_t left = r->store->len - r->at;

	if (left < sizeof(*head))
		return false;
	copy_out(r, head, r->at, sizeof(*head));
	if (!head->commit)
		return false;
	if (head->commit != layout_sum_record(head, r->sum_key)) {
		r->why = "the head of a record is damaged";
		return false;
	}
	/* An enemy can make the sum fit. */
	if (head->number != r->number + 1 || !head->len ||
	    head->len > left - sizeof(*head) ||
	    layout_record_len((size_t)head->len) > left) {
		r->why = "the head of a record makes no sense";
		return false;
	}
	return true;
}

/* Marks the record in which a reader has died. */
static void leave_out(struct reader *r, uint64_t number)
{
	struct reader walk = *r;
	struct layout_record head;

	while (read_head(&walk, &head)) {
		if (head.number == number) {
			atomic_store_explicit(&record_at(r, walk.at)->left_out,
					      1, memory_order_release);
			return;
		}
		walk.number = head.number;
		walk.at += layout_record_len((size_t)head.len);
	}
}

bool reader_init(struct reader *reader, const struct store *store)
{
	struct layout_head head;

	memset(reader, 0, sizeof(*reader));
	reader->store = store;
	if (store->len < LAYOUT_HEAD_LEN) {
		reader->why = "it was cut off";
		return false;
	}
	copy_out(reader, &head, 0, sizeof(head));
	reader->why = check_head(reader, &head);
	if (reader->why)
		return false;
	reader->n_slots = head.n_slots;
	reader->at = (size_t)head.records_off;
	memcpy(reader->sum_key, head.sum_key, sizeof(reader->sum_key));
	reader->died_in = head.replaying;
	if (reader->died_in && reader->died_in != LAYOUT_RESTORING)
		leave_out(reader, reader->died_in);
	return true;
}

int reader_next(struct reader *reader, struct reader_record *record)
{
	struct layout_record head;
	uint8_t *body;

	if (reader->why || !read_head(reader, &head))
		return 0;
	body = malloc((size_t)head.len);
	if (!body)
		return -ENOMEM;
	copy_out(reader, body, reader->at + sizeof(head), (size_t)head.len);
	if (layout_sum(body, (size_t)head.len, reader->sum_key) != head.sum) {
		secret_zero(body, (size_t)head.len);
		free(body);
		reader->why = "a record is damaged";
		return 0;
	}
	reader->number = head.number;
	reader->port = (uint16_t)head.port;
	reader->at += layout_record_len((size_t)head.len);
	*record = (struct reader_record){
		.number = head.number,
		.is_left_out = head.left_out != 0,
		.len = (size_t)head.len,
		.body = body,
	};
	if (record->is_left_out)
		reader_done(record);
	return 1;
}

void reader_done(struct reader_record *record)
{
	if (record->body)
		secret_zero(record->body, record->len);
	free(record->body);
	record->body = NULL;
}

void reader_spoil(struct reader *reader, const char *why)
{
	reader->why = why;
}

void reader_mark(struct reader *reader, uint64_t what)
{
	struct layout_head *head = (void *)reader->store->bytes;

	/* Partner: the next reader, after the death of this process. */
	atomic_store_explicit(&head->replaying, what, memory_order_seq_cst);
}

static void keep_newer(uint8_t to[NOISE_TIMESTAMP_LEN],
		       const uint8_t from[NOISE_TIMESTAMP_LEN])
{
	/* As tai64n_is_newer(). */
	if (memcmp(from, to, NOISE_TIMESTAMP_LEN) > 0)
		memcpy(to, from, NOISE_TIMESTAMP_LEN);
}

/* The timestamps of both states count, because forgetting the greater one would let
 * an old initiation in. */
static void add_state(const struct reader *r, struct reader_peer *peer,
		      const struct layout_state *state)
{
	if (state->sum != layout_sum_state(state, r->sum_key))
		return;
	keep_newer(peer->taken, state->taken);
	keep_newer(peer->sent, state->sent);
	if (state->number > r->number ||
	    (peer->has_state && state->version < peer->state.version))
		return;
	peer->has_state = true;
	memcpy(&peer->state, state, sizeof(*state));
}

bool reader_get_peer(const struct reader *reader, uint64_t slot,
		     struct reader_peer *peer)
{
	struct layout_slot copy;

	INVARIANT(slot < reader->n_slots);
	copy_out(reader, &copy,
		 LAYOUT_HEAD_LEN + slot * sizeof(struct layout_slot),
		 sizeof(copy));
	if (copy.key_sum !=
	    layout_sum(copy.key, sizeof(copy.key), reader->sum_key))
		return false;
	memset(peer, 0, sizeof(*peer));
	memcpy(peer->key, copy.key, sizeof(peer->key));
	add_state(reader, peer, &copy.state[0]);
	add_state(reader, peer, &copy.state[1]);
	return true;
}

uint16_t reader_get_port(const struct reader *reader)
{
	struct layout_head head;
	uint16_t port = reader->port;
	uint64_t version = 0;

	copy_out(reader, &head, 0, sizeof(head));
	for (size_t i = 0; i < ARRAY_LEN(head.port); i++) {
		const struct layout_port *p = &head.port[i];

		if (p->sum != layout_sum_port(p, reader->sum_key) ||
		    p->number != reader->number || p->version < version)
			continue;
		version = p->version;
		port = (uint16_t)p->port;
	}
	return port;
}
