/* SPDX-License-Identifier: MIT */
/*
 * The sequence lock: which copies a reader may accept as whole, first in one
 * thread, then with threads that race.
 */
#include <pthread.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/seqlock.h"
#include "tests/lib/check.h"

/* Choices, not measured: several words and threads, and many writes. */
enum {
	WORDS = 7,
	WRITERS = 2,
	READERS = 2,
	WRITES = 200000,
};

struct shared {
	pthread_barrier_t start;
	struct seqlock lock;
	_Atomic uint64_t words[WORDS];
	_Atomic unsigned int n_writing;
	_Atomic unsigned int n_torn;
	_Atomic uint64_t n_whole;
};

/* Compute all words of a write from its number. */
static void words_of(uint64_t number, uint64_t words[WORDS])
{
	for (uint64_t i = 0; i < WORDS; i++)
		words[i] = number * (2 * i + 1);
}

static bool are_of_one_write(const uint64_t words[WORDS])
{
	uint64_t want[WORDS];

	words_of(words[0], want);
	for (size_t i = 0; i < WORDS; i++)
		if (words[i] != want[i])
			return false;
	return true;
}

static void write_number(struct shared *s, uint64_t number)
{
	uint64_t words[WORDS];

	words_of(number, words);
	seqlock_lock(&s->lock);
	seqlock_store(s->words, words, WORDS);
	seqlock_unlock(&s->lock);
}

static void reads_what_was_written(void **state)
{
	struct shared s = { 0 };
	uint64_t words[WORDS], want[WORDS];

	(void)state;
	seqlock_init(&s.lock);
	for (uint64_t number = 1; number < 4; number++) {
		write_number(&s, number);
		uint32_t seq = seqlock_begin(&s.lock);

		seqlock_load(s.words, words, WORDS);
		assert_true(seqlock_is_whole(&s.lock, seq));
		words_of(number, want);
		assert_memory_equal(words, want, sizeof(words));
	}
}

/* A copy that begins during a write is never accepted. */
static void reads_nothing_whole_from_within(void **state)
{
	struct shared s = { 0 };

	(void)state;
	seqlock_init(&s.lock);
	seqlock_lock(&s.lock);
	uint32_t seq = seqlock_begin(&s.lock);

	assert_false(seqlock_is_whole(&s.lock, seq));
	seqlock_unlock(&s.lock);
	assert_false(seqlock_is_whole(&s.lock, seq));
}

/*
 * A copy during which a write begins is not accepted, whether the write has
 * ended or not.
 */
static void sees_a_writer_that_came(void **state)
{
	struct shared s = { 0 };

	(void)state;
	seqlock_init(&s.lock);
	uint32_t seq = seqlock_begin(&s.lock);

	seqlock_lock(&s.lock);
	assert_false(seqlock_is_whole(&s.lock, seq));
	seqlock_unlock(&s.lock);
	assert_false(seqlock_is_whole(&s.lock, seq));
	assert_true(seqlock_is_whole(&s.lock, seqlock_begin(&s.lock)));
}

static void goes_on_after_the_last_number(void **state)
{
	struct shared s = { .lock.seq = UINT32_MAX - 1 };

	(void)state;
	uint32_t seq = seqlock_begin(&s.lock);

	assert_true(seqlock_is_whole(&s.lock, seq));
	write_number(&s, 5);
	assert_false(seqlock_is_whole(&s.lock, seq));
	assert_int_equal(seqlock_begin(&s.lock), 0);
	assert_true(seqlock_is_whole(&s.lock, 0));
}

struct second_writer {
	struct shared *shared;
	_Atomic bool has_begun;
	_Atomic bool is_done;
};

static void *write_once(void *arg)
{
	struct second_writer *w = arg;

	atomic_store(&w->has_begun, true);
	write_number(w->shared, 2);
	atomic_store(&w->is_done, true);
	return NULL;
}

/* A second writer waits for the first. */
static void excludes_writers(void **state)
{
	struct shared s = { 0 };
	struct second_writer second = { .shared = &s };
	pthread_t thread;

	(void)state;
	seqlock_lock(&s.lock);
	assert_int_equal(pthread_create(&thread, NULL, write_once, &second), 0);
	while (!atomic_load(&second.has_begun))
		usleep(100);
	for (int i = 0; i < 50 && !atomic_load(&second.is_done); i++)
		usleep(1000);
	bool has_waited = !atomic_load(&second.is_done);

	seqlock_unlock(&s.lock);
	pthread_join(thread, NULL);
	assert_true(has_waited);
	assert_int_equal(s.lock.seq, 4);
}

static void *write_often(void *arg)
{
	struct shared *s = arg;

	pthread_barrier_wait(&s->start);
	for (uint64_t i = 0; i < WRITES; i++)
		write_number(s, i);
	atomic_fetch_sub(&s->n_writing, 1);
	return NULL;
}

/* Each reader reads once more after the writers have ended, so it accepts at
 * least one copy. */
static void *read_often(void *arg)
{
	struct shared *s = arg;
	uint64_t words[WORDS], n_whole = 0;
	bool is_last;

	pthread_barrier_wait(&s->start);
	do {
		is_last = !atomic_load(&s->n_writing);
		uint32_t seq = seqlock_begin(&s->lock);

		seqlock_load(s->words, words, WORDS);
		if (!seqlock_is_whole(&s->lock, seq))
			continue;
		n_whole++;
		if (!are_of_one_write(words))
			atomic_fetch_add(&s->n_torn, 1);
	} while (!is_last);
	atomic_fetch_add(&s->n_whole, n_whole);
	return NULL;
}

/* Writers exclude each other, and no reader accepts a torn copy. */
static void holds_in_a_race(void **state)
{
	static struct shared s = { .n_writing = WRITERS };
	pthread_t threads[WRITERS + READERS];

	(void)state;
	pthread_barrier_init(&s.start, NULL, ARRAY_LEN(threads));
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL,
				       i < WRITERS ? write_often : read_often,
				       &s),
			0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&s.start);
	print_message("# %llu whole copies\n", (unsigned long long)s.n_whole);
	assert_int_equal(s.n_torn, 0);
	assert_true(s.n_whole >= READERS);
	/* No write was lost. */
	assert_int_equal(s.lock.seq, 2 * WRITERS * WRITES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_was_written),
		cmocka_unit_test(reads_nothing_whole_from_within),
		cmocka_unit_test(sees_a_writer_that_came),
		cmocka_unit_test(goes_on_after_the_last_number),
		cmocka_unit_test(excludes_writers),
		cmocka_unit_test(holds_in_a_race),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
