/* SPDX-License-Identifier: MIT */
/*
 * The memory of a journal, written and read without a device: a writer that dies at any
 * store leaves what was valid before, and damage of any bit ends the reading or changes
 * nothing.
 */
#include "journal/book.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "crypto/init.h"
#include "journal/reader.h"

enum {
	/* Small, so that each bit can be flipped. */
	N_SLOTS = 3,
	RECORDS_LEN = 640,
	N_RECORDS = 4,
	BODY_MAX = 64,
};

static const uint8_t sum_key[SIPHASH_KEY_LEN] = { 7, 1, 2 };

/* Bytes 0, 1, ... beginning with @first. */
static void fill(uint8_t *bytes, size_t len, unsigned int first)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(first + i);
}

static size_t body_len(unsigned int number)
{
	return 5 + 13 * number;
}

static void open_book(struct book *book)
{
	assert_int_equal(
		book_init(book, N_SLOTS, RECORDS_LEN, sum_key, SECRET_PRIVATE),
		0);
	book_finish(book);
}

/* Record @number, whose body and port tell its number. */
static void write_record(struct book *book, unsigned int number)
{
	assert_true(book_has_room(book, body_len(number)));
	fill(book_begin(book, body_len(number)), body_len(number), number);
	book_commit(book, (uint16_t)(100 + number));
}

static void write_state(struct book *book, uint32_t slot, unsigned int n)
{
	struct layout_state state = { .tx_bytes = n, .has_session = n & 1 };

	fill(state.taken, sizeof(state.taken), n);
	fill(state.sent, sizeof(state.sent), n + 1);
	book_write_state(book, slot, &state);
}

/* A copy of a book's memory, which tests may damage. */
struct image {
	struct store store;
};

static void copy_bytes(struct image *image, const uint8_t *bytes, size_t len)
{
	image->store = (struct store){ .len = len, .fd = -1 };
	image->store.bytes = aligned_alloc(LAYOUT_ALIGN, len);
	assert_non_null(image->store.bytes);
	memcpy(image->store.bytes, bytes, len);
}

static void copy_book(struct image *image, const struct book *book)
{
	copy_bytes(image, book->store.bytes, book->store.len);
}

static void free_image(struct image *image)
{
	free(image->store.bytes);
}

/*
 * Read all records. Each must be the one that was written, and none may be left out in
 * between. Return: how many there are.
 */
static unsigned int count_records(const struct store *store, const char **why)
{
	struct reader_record record;
	struct reader reader;
	unsigned int n = 0;
	int rc;

	if (!reader_init(&reader, store)) {
		*why = reader.why;
		return 0;
	}
	while ((rc = reader_next(&reader, &record)) == 1) {
		uint8_t want[BODY_MAX + 64];

		n++;
		assert_int_equal(record.number, n);
		if (!record.is_left_out) {
			assert_int_equal(record.len, body_len(n));
			fill(want, record.len, n);
			assert_memory_equal(record.body, want, record.len);
		}
		assert_int_equal(reader.port, 100 + n);
		reader_done(&record);
	}
	assert_int_equal(rc, 0);
	*why = reader.why;
	return n;
}

static void test_records_come_back(void **state)
{
	struct book book;
	const char *why;

	(void)state;
	open_book(&book);
	assert_int_equal(count_records(&book.store, &why), 0);
	assert_null(why);
	for (unsigned int i = 1; i <= N_RECORDS; i++) {
		write_record(&book, i);
		assert_int_equal(count_records(&book.store, &why), i);
		assert_null(why);
	}
	book_deinit(&book);
}

/* A record that was begun is none, and leaves nothing when it is abandoned. */
static void test_unfinished_records(void **state)
{
	struct image before;
	struct book book;
	const char *why;

	(void)state;
	open_book(&book);
	write_record(&book, 1);
	copy_book(&before, &book);
	memset(book_begin(&book, 200), 0xff, 200);
	assert_int_equal(count_records(&book.store, &why), 1);
	assert_null(why);
	book_abandon(&book);
	assert_memory_equal(book.store.bytes, before.store.bytes,
			    book.store.len);
	write_record(&book, 2);
	assert_int_equal(count_records(&book.store, &why), 2);
	free_image(&before);
	book_deinit(&book);
}

/* The room is used to the last byte, and not beyond. */
static void test_room(void **state)
{
	struct book book;
	size_t page_rest, len = 0;
	const char *why;

	(void)state;
	open_book(&book);
	page_rest = book.store.len - book.tail;
	while (book_has_room(&book, len + 1))
		len++;
	assert_int_equal(len, page_rest - 2 * sizeof(struct layout_record));
	assert_false(book_has_room(&book, SIZE_MAX));
	fill(book_begin(&book, len), len, 0);
	book_commit(&book, 1);
	assert_false(book_has_room(&book, 1));
	assert_int_equal(book.tail,
			 book.store.len - sizeof(struct layout_record));
	/* The reader stops there, too. */
	struct reader reader;
	struct reader_record record;

	assert_true(reader_init(&reader, &book.store));
	assert_int_equal(reader_next(&reader, &record), 1);
	reader_done(&record);
	assert_int_equal(reader_next(&reader, &record), 0);
	why = reader.why;
	assert_null(why);
	book_deinit(&book);
}

/*
 * The store of record 3 is torn: for each n, only its first n bytes were written. With
 * less than all, there are two records; with all, the third. This is so wherever the
 * last word lies.
 */
static void test_torn_record(void **state)
{
	struct image before, after;
	struct book book;
	const char *why;
	size_t first, last;

	(void)state;
	open_book(&book);
	write_record(&book, 1);
	write_record(&book, 2);
	copy_book(&before, &book);
	first = book.tail;
	write_record(&book, 3);
	last = book.tail;
	copy_book(&after, &book);
	for (size_t n = first; n < last; n++) {
		struct image torn;

		copy_book(&torn, &book);
		memcpy(torn.store.bytes + n, before.store.bytes + n,
		       book.store.len - n);
		/* Trailing zeroes of a body are the same before and after. */
		if (memcmp(torn.store.bytes, after.store.bytes,
			   book.store.len) != 0)
			assert_int_equal(count_records(&torn.store, &why), 2);
		/* From the other end: all but the first bytes were written. */
		memcpy(torn.store.bytes, after.store.bytes, book.store.len);
		memcpy(torn.store.bytes + first, before.store.bytes + first,
		       n + 1 - first);
		if (memcmp(torn.store.bytes, after.store.bytes,
			   book.store.len) != 0)
			assert_int_equal(count_records(&torn.store, &why), 2);
		free_image(&torn);
	}
	free_image(&before);
	free_image(&after);
	book_deinit(&book);
}

/* Damage of a record's own bytes leaves those before it. */
static unsigned int first_damaged(const struct book *book, size_t at)
{
	size_t off = (size_t)book->head->records_off;
	unsigned int number = 1;

	if (at < off)
		return at < sizeof(struct layout_head) ? 0 : N_RECORDS + 1;
	while (number <= N_RECORDS) {
		off += layout_record_len(body_len(number));
		if (at < off)
			return number;
		number++;
	}
	return number;
}

static void test_flipped_bits(void **state)
{
	unsigned int n_ended = 0;
	struct image image;
	struct book book;
	const char *why;

	(void)state;
	open_book(&book);
	for (unsigned int i = 1; i <= N_RECORDS; i++)
		write_record(&book, i);
	copy_book(&image, &book);
	for (size_t bit = 0; bit < 8 * book.store.len; bit++) {
		uint8_t *byte = &image.store.bytes[bit / 8];
		unsigned int damaged = first_damaged(&book, bit / 8);
		unsigned int n;

		*byte ^= (uint8_t)(1 << bit % 8);
		n = count_records(&image.store, &why);
		/* Nothing but a prefix is read, and all that is not damaged. */
		assert_true(n == N_RECORDS || damaged <= N_RECORDS + 1);
		if (damaged)
			assert_true(n + 1 >= damaged);
		n_ended += n < N_RECORDS;
		*byte = book.store.bytes[bit / 8];
	}
	print_message("# %u of %zu flips ended the reading\n", n_ended,
		      8 * book.store.len);
	assert_true(n_ended > 0);
	free_image(&image);
	book_deinit(&book);
}

/* Memory of any shorter length is no journal, and is not read beyond its end: the
 * sanitizers would see it. */
static void test_truncation(void **state)
{
	struct book book;

	(void)state;
	open_book(&book);
	for (unsigned int i = 1; i <= N_RECORDS; i++)
		write_record(&book, i);
	for (size_t len = 0; len < book.store.len; len += LAYOUT_ALIGN) {
		struct image image;
		struct reader reader;

		copy_bytes(&image, book.store.bytes, len);
		assert_false(reader_init(&reader, &image.store));
		assert_non_null(reader.why);
		/* A head that was made to fit. */
		if (len >= LAYOUT_HEAD_LEN) {
			struct layout_head *head = (void *)image.store.bytes;
			const char *why;

			head->len = len;
			head->sum = layout_sum_head(head);
			count_records(&image.store, &why);
		}
		free_image(&image);
	}
	book_deinit(&book);
}

static bool get_peer(const struct book *book, uint8_t first,
		     struct reader_peer *peer)
{
	struct reader_record record;
	struct reader reader;
	uint8_t key[NOISE_PUBLIC_KEY_LEN];

	fill(key, sizeof(key), first);
	assert_true(reader_init(&reader, &book->store));
	while (reader_next(&reader, &record) == 1)
		reader_done(&record);
	for (uint64_t i = 0; i < reader.n_slots; i++)
		if (reader_get_peer(&reader, i, peer) &&
		    !memcmp(peer->key, key, sizeof(key)))
			return true;
	return false;
}

static uint32_t take_slot(struct book *book, uint8_t first)
{
	uint8_t key[NOISE_PUBLIC_KEY_LEN];

	fill(key, sizeof(key), first);
	return book_take_slot(book, key);
}

static void test_slots(void **state)
{
	struct reader_peer peer;
	struct book book;
	uint32_t slot;

	(void)state;
	open_book(&book);
	assert_int_equal(book.n_free, N_SLOTS);
	slot = take_slot(&book, 10);
	assert_false(book_has_state(&book, slot));
	assert_true(get_peer(&book, 10, &peer));
	assert_false(peer.has_state);
	for (unsigned int n = 1; n < 6; n++) {
		write_state(&book, slot, n);
		assert_true(get_peer(&book, 10, &peer));
		assert_true(peer.has_state);
		assert_int_equal(peer.state.tx_bytes, n);
		assert_int_equal(peer.taken[0], n);
		assert_int_equal(peer.sent[0], n + 1);
	}
	/* A timestamp that goes back is kept. */
	write_state(&book, slot, 2);
	assert_true(get_peer(&book, 10, &peer));
	assert_int_equal(peer.state.tx_bytes, 2);
	assert_int_equal(peer.taken[0], 5);
	assert_int_equal(peer.sent[0], 6);
	/* A slot that is left stays until a record is valid. */
	book_leave_slot(&book, slot);
	assert_int_equal(book.n_free, N_SLOTS - 1);
	assert_true(get_peer(&book, 10, &peer));
	write_record(&book, 1);
	assert_int_equal(book.n_free, N_SLOTS);
	assert_false(get_peer(&book, 10, &peer));
	book_deinit(&book);
}

/* A state that was written while a record was open counts only with the record, but
 * its timestamps count at once. */
static void test_state_of_an_unfinished_record(void **state)
{
	struct reader_peer peer;
	struct book book;
	uint32_t slot;

	(void)state;
	open_book(&book);
	slot = take_slot(&book, 10);
	write_state(&book, slot, 1);
	fill(book_begin(&book, body_len(1)), body_len(1), 1);
	write_state(&book, slot, 2);
	assert_true(get_peer(&book, 10, &peer));
	assert_true(peer.has_state);
	assert_int_equal(peer.state.tx_bytes, 1);
	assert_int_equal(peer.taken[0], 2);
	assert_int_equal(peer.sent[0], 3);
	book_commit(&book, 1);
	assert_true(get_peer(&book, 10, &peer));
	assert_int_equal(peer.state.tx_bytes, 2);
	book_deinit(&book);
}

/* Each bit of a slot: the peer is not found, or has one of its two states. */
static void test_flipped_bits_of_a_slot(void **state)
{
	struct reader_peer peer;
	struct book book;
	uint8_t *bytes;

	(void)state;
	open_book(&book);
	uint32_t slot = take_slot(&book, 10);

	write_state(&book, slot, 1);
	write_state(&book, slot, 2);
	bytes = (uint8_t *)&book.slots[slot];
	for (size_t bit = 0; bit < 8 * sizeof(struct layout_slot); bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (get_peer(&book, 10, &peer)) {
			assert_true(peer.has_state);
			assert_in_range(peer.state.tx_bytes, 1, 2);
			assert_in_range(peer.taken[0], 1, 2);
		}
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_true(get_peer(&book, 10, &peer));
	assert_int_equal(peer.state.tx_bytes, 2);
	book_deinit(&book);
}

/* The port that was chosen after a record, and until the next one. */
static void test_port(void **state)
{
	struct reader_record record;
	struct reader reader;
	struct book book;

	(void)state;
	open_book(&book);
	write_record(&book, 1);
	for (unsigned int i = 0; i < 3; i++) {
		book_write_port(&book, (uint16_t)(5000 + i));
		assert_true(reader_init(&reader, &book.store));
		assert_int_equal(reader_next(&reader, &record), 1);
		reader_done(&record);
		assert_int_equal(reader_get_port(&reader), 5000 + i);
	}
	/* One of the two is torn: the other counts. */
	book.head->port[0].sum ^= 1;
	assert_in_range(reader_get_port(&reader), 5001, 5002);
	book.head->port[1].sum ^= 1;
	assert_int_equal(reader_get_port(&reader), 101);
	write_record(&book, 2);
	assert_true(reader_init(&reader, &book.store));
	while (reader_next(&reader, &record) == 1)
		reader_done(&record);
	assert_int_equal(reader_get_port(&reader), 102);
	book_deinit(&book);
}

/* A record in which a reader has died is left out from then on, also by the reader
 * after the next. */
static void test_left_out(void **state)
{
	struct reader_record record;
	struct reader reader;
	struct book book;

	(void)state;
	open_book(&book);
	for (unsigned int i = 1; i <= 3; i++)
		write_record(&book, i);
	assert_true(reader_init(&reader, &book.store));
	reader_mark(&reader, 2);
	for (int i = 0; i < 2; i++) {
		assert_true(reader_init(&reader, &book.store));
		assert_int_equal(reader.died_in, i ? 0 : 2);
		for (unsigned int n = 1; n <= 3; n++) {
			assert_int_equal(reader_next(&reader, &record), 1);
			assert_int_equal(record.number, n);
			assert_int_equal(record.is_left_out, n == 2);
			reader_done(&record);
		}
		reader_mark(&reader, 0);
	}
	/* A mark that names no record. */
	reader_mark(&reader, 77);
	assert_true(reader_init(&reader, &book.store));
	assert_int_equal(reader.died_in, 77);
	book_deinit(&book);
}

static void test_too_large(void **state)
{
	struct book book;

	(void)state;
	assert_int_equal(
		book_init(&book, UINT32_MAX, 1000, sum_key, SECRET_PRIVATE),
		-ENOSPC);
	assert_int_equal(book_init(&book, 1, SIZE_MAX, sum_key, SECRET_PRIVATE),
			 -ENOSPC);
	assert_int_equal(book_init(&book, 1, 0, sum_key, SECRET_PRIVATE),
			 -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records_come_back),
		cmocka_unit_test(test_unfinished_records),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_torn_record),
		cmocka_unit_test(test_flipped_bits),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_slots),
		cmocka_unit_test(test_state_of_an_unfinished_record),
		cmocka_unit_test(test_flipped_bits_of_a_slot),
		cmocka_unit_test(test_port),
		cmocka_unit_test(test_left_out),
		cmocka_unit_test(test_too_large),
	};

	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
