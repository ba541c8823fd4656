/* SPDX-License-Identifier: MIT */
/*
 * The reader of a journal's memory (journal/layout.h). An enemy may have taken over the
 * process that has written it, and may still be able to write to it. So everything is
 * copied out of the memory first, and the copy is checked and used. The first record
 * that is wrong ends the reading. The records before it count.
 *
 * A reader marks in the memory what it is about to apply. If it dies then, the next
 * reader finds the mark, and leaves that record out for ever.
 *
 * One thread at a time.
 */
#ifndef JOURNAL_READER_H
#define JOURNAL_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "journal/layout.h"
#include "journal/store.h"

/**
 * struct reader - a journal's memory, read
 * @store:	the memory; borrowed
 * @n_slots:	from the head
 * @sum_key:	from the head
 * @at:		where the next record begins
 * @number:	of the last valid record; 0: none yet
 * @port:	from the last valid record
 * @died_in:	the mark that was there: number of a record, LAYOUT_RESTORING, or 0
 * @why:	what is wrong, in words, a constant; NULL: nothing so far
 */
struct reader {
	const struct store *store;
	uint64_t n_slots;
	uint8_t sum_key[SIPHASH_KEY_LEN];
	size_t at;
	uint64_t number;
	uint16_t port;
	uint64_t died_in;
	const char *why;
};

/**
 * struct reader_record - a record
 * @number:	its number
 * @is_left_out: a reader has died when it applied this record
 * @len:	bytes of @body
 * @body:	a copy, from the heap; NULL if @is_left_out
 */
struct reader_record {
	uint64_t number;
	bool is_left_out;
	size_t len;
	uint8_t *body;
};

/**
 * struct reader_peer - a slot
 * @key:	the peer's public key
 * @taken:	the greatest timestamp of an initiation that was taken
 * @sent:	the greatest timestamp of an initiation that was made
 * @has_state:	@state is valid
 * @state:	the newest state that belongs to the records that were read
 */
struct reader_peer {
	uint8_t key[NOISE_PUBLIC_KEY_LEN];
	uint8_t taken[NOISE_TIMESTAMP_LEN];
	uint8_t sent[NOISE_TIMESTAMP_LEN];
	bool has_state;
	struct layout_state state;
};

/**
 * reader_init() - check the head, and begin before the first record
 * @reader:	filled; @why says what is wrong
 * @store:	memory with any contents, at least one page; borrowed
 *
 * If a reader has died when it applied a record, that record is marked now.
 *
 * Return: true; false: this is no journal of this build.
 */
bool reader_init(struct reader *reader, const struct store *store);

/**
 * reader_next() - go on to the next record
 * @reader:	reader
 * @record:	filled on success; reader_done() it
 *
 * Return: 1; 0: there are no more, and @why says whether the reason is something
 * wrong; -ENOMEM.
 */
int reader_next(struct reader *reader, struct reader_record *record);

/* reader_done() - wipe and free the copy of a record */
void reader_done(struct reader_record *record);

/**
 * reader_spoil() - end the reading: a record cannot be used
 * @reader:	reader
 * @why:	in words, a constant
 */
void reader_spoil(struct reader *reader, const char *why);

/**
 * reader_mark() - mark what is about to be applied
 * @reader:	reader
 * @what:	number of a record, LAYOUT_RESTORING, or 0: nothing any more
 */
void reader_mark(struct reader *reader, uint64_t what);

/**
 * reader_get_peer() - read a slot
 * @reader:	reader that has come to the end of the records
 * @slot:	number of the slot, below @n_slots
 * @peer:	filled on success
 *
 * Return: true; false: the slot is free or damaged.
 */
bool reader_get_peer(const struct reader *reader, uint64_t slot,
		     struct reader_peer *peer);

/**
 * reader_get_port() - the port after the last record
 * @reader:	reader that has come to the end of the records
 *
 * Return: the port that the system has chosen since then, or that of the record.
 */
uint16_t reader_get_port(const struct reader *reader);

#endif /* JOURNAL_READER_H */
