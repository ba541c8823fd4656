/* SPDX-License-Identifier: MIT */
/*
 * The order of the stores counts: layout.h says which word comes last. A release store
 * keeps the compiler from moving earlier stores behind it. No other thread reads the
 * memory. A process that reads it later begins after this one has died, and then sees
 * all the stores that this one has made.
 */
#include "journal/book.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

static void store_last(_Atomic uint64_t *word, uint64_t value)
{
	/* Partner: a process that reads the memory after the death of this one. */
	atomic_store_explicit(word, value, memory_order_release);
	/* Writes that follow may make the old contents void, so the compiler must not move
	 * them before this one. */
	atomic_signal_fence(memory_order_seq_cst);
}

/* The slots are followed by the records. */
static size_t records_off(uint32_t n_slots)
{
	return LAYOUT_HEAD_LEN + n_slots * sizeof(struct layout_slot);
}

/* The whole length; 0: too long. */
static size_t measure(uint32_t n_slots, size_t records_len)
{
	if (n_slots > (LAYOUT_MAX_LEN - LAYOUT_HEAD_LEN) /
			      sizeof(struct layout_slot) ||
	    records_len > LAYOUT_MAX_LEN - records_off(n_slots))
		return 0;
	return records_off(n_slots) + records_len;
}

static int alloc_lists(struct book *book)
{
	book->free = calloc(book->n_slots, sizeof(*book->free));
	book->leaving = calloc(book->n_slots, sizeof(*book->leaving));
	if (!book->free || !book->leaving) {
		free(book->free);
		free(book->leaving);
		return -ENOMEM;
	}
	while (book->n_free < book->n_slots) {
		book->free[book->n_free] = book->n_slots - 1 - book->n_free;
		book->n_free++;
	}
	return 0;
}

int book_init(struct book *book, uint32_t n_slots, size_t records_len,
	      const uint8_t sum_key[SIPHASH_KEY_LEN],
	      enum secret_backing backing)
{
	struct book made = { .n_slots = n_slots };
	size_t len = measure(n_slots, records_len);
	int err;

	if (!len || records_len < 2 * sizeof(struct layout_record))
		return -ENOSPC;
	err = alloc_lists(&made);
	if (err < 0)
		return err;
	err = store_new(&made.store, len, backing);
	if (err < 0) {
		free(made.free);
		free(made.leaving);
		return err;
	}
	made.head = (void *)made.store.bytes;
	made.slots = (void *)(made.store.bytes + LAYOUT_HEAD_LEN);
	made.tail = records_off(n_slots);
	memcpy(made.sum_key, sum_key, sizeof(made.sum_key));
	made.head->build = layout_build();
	made.head->len = made.store.len;
	made.head->n_slots = n_slots;
	made.head->records_off = made.tail;
	memcpy(made.head->sum_key, sum_key, sizeof(made.head->sum_key));
	made.head->sum = layout_sum_head(made.head);
	*book = made;
	return 0;
}

void book_finish(struct book *book)
{
	store_last(&book->head->magic, LAYOUT_MAGIC);
}

void book_deinit(struct book *book)
{
	free(book->free);
	free(book->leaving);
	secret_zero(book->sum_key, sizeof(book->sum_key));
	store_close(&book->store);
}

/* ---------------------------------------------------------------- records */

bool book_has_room(const struct book *book, size_t len)
{
	/* The head of another record follows, which is cleared. */
	const size_t heads_len = 2 * sizeof(struct layout_record);
	size_t left = book->store.len - book->tail;

	if (left < heads_len || len > left - heads_len)
		return false;
	return layout_record_len(len) <= left - sizeof(struct layout_record);
}

static struct layout_record *record_at(const struct book *book, size_t off)
{
	return (void *)(book->store.bytes + off);
}

void *book_begin(struct book *book, size_t len)
{
	INVARIANT(len && !book->open_len && book_has_room(book, len));
	book->open_len = len;
	return record_at(book, book->tail) + 1;
}

/* Free the slots whose peers are gone by the last record. */
static void free_left(struct book *book)
{
	struct layout_slot *slot;

	while (book->n_leaving) {
		uint32_t number = book->leaving[--book->n_leaving];

		slot = &book->slots[number];
		store_last(&slot->key_sum, 0);
		secret_zero(slot, sizeof(*slot));
		book->free[book->n_free++] = number;
	}
}

void book_commit(struct book *book, uint16_t port)
{
	struct layout_record *record = record_at(book, book->tail);
	size_t next = book->tail + layout_record_len(book->open_len);

	INVARIANT(book->open_len);
	memset((void *)record_at(book, next), 0, sizeof(*record));
	record->len = book->open_len;
	record->number = book->number + 1;
	record->port = port;
	record->sum = layout_sum(record + 1, book->open_len, book->sum_key);
	store_last(&record->commit, layout_sum_record(record, book->sum_key));
	book->number++;
	book->tail = next;
	book->open_len = 0;
	free_left(book);
}

void book_abandon(struct book *book)
{
	struct layout_record *record = record_at(book, book->tail);

	secret_zero(record + 1, book->open_len);
	book->open_len = 0;
}

/* ------------------------------------------------------------------ slots */

uint32_t book_take_slot(struct book *book,
			const uint8_t key[NOISE_PUBLIC_KEY_LEN])
{
	struct layout_slot *slot;
	uint32_t number;

	INVARIANT(book->n_free);
	number = book->free[--book->n_free];
	slot = &book->slots[number];
	memcpy(slot->key, key, sizeof(slot->key));
	store_last(&slot->key_sum,
		   layout_sum(key, sizeof(slot->key), book->sum_key));
	return number;
}

void book_leave_slot(struct book *book, uint32_t slot)
{
	INVARIANT(slot < book->n_slots && book->n_leaving < book->n_slots);
	book->leaving[book->n_leaving++] = slot;
}

bool book_has_state(const struct book *book, uint32_t slot)
{
	const struct layout_state *state = book->slots[slot].state;

	return state[0].version || state[1].version;
}

void book_write_state(struct book *book, uint32_t slot,
		      const struct layout_state *state)
{
	struct layout_state *both = book->slots[slot].state;
	unsigned int older = both[0].version > both[1].version;
	struct layout_state *to = &both[older];
	struct layout_state next = *state;

	INVARIANT(slot < book->n_slots);
	next.version = both[!older].version + 1;
	next.number = book->number + (book->open_len != 0);
	store_last(&to->sum, 0);
	memcpy((void *)to, &next, offsetof(struct layout_state, sum));
	store_last(&to->sum, layout_sum_state(&next, book->sum_key));
}

void book_write_port(struct book *book, uint16_t port)
{
	struct layout_port *both = book->head->port;
	unsigned int older = both[0].version > both[1].version;
	struct layout_port *to = &both[older];

	store_last(&to->sum, 0);
	to->version = both[!older].version + 1;
	to->number = book->number + (book->open_len != 0);
	to->port = port;
	store_last(&to->sum, layout_sum_port(to, book->sum_key));
}
