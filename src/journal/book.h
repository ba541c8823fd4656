/* SPDX-License-Identifier: MIT */
/*
 * The writer of a journal's memory (journal/layout.h): a book has a fixed number of
 * slots and a fixed room for records. If either is used up, another book is made.
 *
 * The calls of one book are made by one thread at a time.
 */
#ifndef JOURNAL_BOOK_H
#define JOURNAL_BOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "journal/layout.h"
#include "journal/store.h"

/**
 * struct book - a journal's memory, written
 * @store:	the memory
 * @head:	at its start
 * @slots:	behind the head
 * @n_slots:	their number
 * @free:	numbers of the free slots; the last is taken next
 * @n_free:	their number
 * @leaving:	numbers of the slots that the next record frees
 * @n_leaving:	their number
 * @tail:	where the next record begins
 * @number:	of the last valid record; 0: none
 * @open_len:	bytes of the body of the record that was begun; 0: none
 * @sum_key:	as in the head
 */
struct book {
	struct store store;
	struct layout_head *head;
	struct layout_slot *slots;
	uint32_t n_slots;
	uint32_t *free;
	uint32_t n_free;
	uint32_t *leaving;
	uint32_t n_leaving;
	size_t tail;
	uint64_t number;
	size_t open_len;
	uint8_t sum_key[SIPHASH_KEY_LEN];
};

/**
 * book_init() - make the memory of a journal
 * @book:	filled on success; book_deinit() it
 * @n_slots:	slots
 * @records_len: bytes for records. layout_record_len(0) of them are never used: behind the
 *		last record there is room for a head that is all zero.
 * @sum_key:	random
 * @backing:	SECRET_PRIVATE: do not try memfd_secret(2)
 *
 * It is not valid before book_finish().
 *
 * Return: 0; -ENOSPC: more than LAYOUT_MAX_LEN; -ENOMEM; -errno.
 */
int book_init(struct book *book, uint32_t n_slots, size_t records_len,
	      const uint8_t sum_key[SIPHASH_KEY_LEN],
	      enum secret_backing backing);

/* book_finish() - make the memory as a whole valid */
void book_finish(struct book *book);

/* book_deinit() - give the memory back; it stays if somebody holds a descriptor */
void book_deinit(struct book *book);

/* book_has_room() - is there room for a record with a body of @len bytes? */
bool book_has_room(const struct book *book, size_t len);

/**
 * book_begin() - begin a record
 * @book:	book with room for it, and without an open record
 * @len:	bytes of its body, not 0
 *
 * Return: the place of the body, to be filled.
 */
void *book_begin(struct book *book, size_t len);

/**
 * book_commit() - make the record valid that was begun
 * @book:	book
 * @port:	the port after the record
 *
 * Frees the slots that were left since the last record. Cannot fail.
 */
void book_commit(struct book *book, uint16_t port);

/* book_abandon() - wipe the record that was begun */
void book_abandon(struct book *book);

/**
 * book_take_slot() - give a peer a slot
 * @book:	book with a free slot
 * @key:	the peer's public key
 *
 * Return: the slot's number.
 */
uint32_t book_take_slot(struct book *book,
			const uint8_t key[NOISE_PUBLIC_KEY_LEN]);

/**
 * book_leave_slot() - free a slot with the next record
 * @book:	book
 * @slot:	number of a slot that is in use
 *
 * The peer is gone, but not yet by a valid record. If this process dies now, the peer
 * still exists, and needs its timestamps.
 */
void book_leave_slot(struct book *book, uint32_t slot);

/* book_has_state() - was a state written to this slot? */
bool book_has_state(const struct book *book, uint32_t slot);

/**
 * book_write_state() - change the state in a slot
 * @book:	book
 * @slot:	number of a slot that is in use
 * @state:	the members from @taken to @has_session are read
 */
void book_write_state(struct book *book, uint32_t slot,
		      const struct layout_state *state);

/* book_write_port() - note the port that the system has chosen */
void book_write_port(struct book *book, uint16_t port);

#endif /* JOURNAL_BOOK_H */
