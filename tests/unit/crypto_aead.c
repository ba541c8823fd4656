/* SPDX-License-Identifier: MIT */
/*
 * Each backend against RFC 8439 and against the others. The test prints which
 * backends it could not test: those that were not built in, and those that
 * libsodium replaces on this machine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "crypto/aead.h"
#include "crypto/aead_backend.h"
#include "crypto/aead_parts.h"
#include "crypto/init.h"
#include "crypto/secret.h"
#include "crypto_hex.h"
#include "noise_vectors.h"

enum {
	/* Every length up to this is tested. Data messages of a usual MTU are
	 * shorter. */
	SHORT_MAX = 2048,
	/* An IP packet is not longer. */
	LONG_MAX_LEN = 65535,
	/* Bytes behind a message that must not change. A choice, not
	 * measured. */
	CANARY_LEN = 64,
	/* The largest outbound batch of a lane. */
	BATCH = 128,
};

/* A choice: any seed but 0. */
static uint64_t seed = UINT64_C(0x9e3779b97f4a7c15);
static const enum aead_choice choices[] = {
	AEAD_SODIUM,	    AEAD_SODIUM_WHOLE, AEAD_IPSEC_MB,
	AEAD_IPSEC_MB_AVX2, AEAD_IPSEC_MB_SSE, AEAD_IPSEC_MB_AVX_IFMA,
	AEAD_LIBCRYPTO,	    AEAD_BORINGSSL,    AEAD_BEST,
};

/* Counters at which an implementation may carry or extend a sign wrongly. */
static const uint64_t edges[] = {
	0,
	1,
	UINT64_C(0xff),
	UINT64_C(0x7fffffff),
	UINT64_C(0x80000000),
	UINT64_C(0xffffffff),
	UINT64_C(0x100000000),
	UINT64_C(1) << 60,
	UINT64_C(0x0807060504030201),
	UINT64_C(1) << 63,
	UINT64_MAX - 8193,
	UINT64_MAX - 1,
	UINT64_MAX,
};

/* RFC 8439, appendix A.5, byte for byte, with additional data. */
static void test_rfc8439(void **state)
{
	const uint64_t counter = UINT64_C(0x0807060504030201);
	uint8_t out[sizeof(vector_a5_out)], back[sizeof(vector_a5_text)];

	(void)state;
	aead_seal(out, vector_a5_text, sizeof(vector_a5_text), vector_a5_aad,
		  sizeof(vector_a5_aad), counter, vector_a5_key);
	assert_memory_equal(out, vector_a5_out, sizeof(out));
	assert_true(aead_open(back, out, sizeof(out), vector_a5_aad,
			      sizeof(vector_a5_aad), counter, vector_a5_key));
	assert_memory_equal(back, vector_a5_text, sizeof(back));
	out[3] ^= 1;
	assert_false(aead_open(back, out, sizeof(out), vector_a5_aad,
			       sizeof(vector_a5_aad), counter, vector_a5_key));
}

/* The encrypted text of appendix A.5 does not depend on the additional data. */
static void test_batch_rfc8439(void **state)
{
	uint8_t buf[sizeof(vector_a5_out)];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
		struct aead *aead = aead_new(choices[i]);
		struct aead_msg m = {
			.key = vector_a5_key,
			.counter = UINT64_C(0x0807060504030201),
			.text = buf,
			.len = sizeof(vector_a5_text),
		};

		if (!aead)
			continue;
		memcpy(buf, vector_a5_text, sizeof(vector_a5_text));
		aead_seal_batch(aead, &m, 1);
		assert_memory_equal(buf, vector_a5_out, m.len);
		aead_free(aead);
	}
}

/* Seal one message with two backends, with canaries around it. */
static void compare_one(struct aead *a, uint32_t len, uint64_t counter)
{
	static uint8_t ours[LONG_MAX_LEN + AEAD_TAG_LEN + 2 * CANARY_LEN];
	static uint8_t theirs[LONG_MAX_LEN + AEAD_TAG_LEN];
	static uint8_t plain[LONG_MAX_LEN];
	uint8_t key[32], canary[CANARY_LEN];
	size_t head = 16 + (size_t)(prng_next(&seed) % 48);
	struct aead_msg m = { key, counter, ours + head, len, false };

	prng_fill(&seed, key, sizeof(key));
	prng_fill(&seed, plain, len);
	memset(canary, 0x5a, sizeof(canary));
	memset(ours, 0x5a, head + len + AEAD_TAG_LEN + CANARY_LEN);
	memcpy(m.text, plain, len);
	aead_seal_batch(a, &m, 1);
	aead_seal(theirs, plain, len, NULL, 0, counter, key);
	assert_memory_equal(m.text, theirs, len + AEAD_TAG_LEN);
	assert_memory_equal(ours, canary, head);
	assert_memory_equal(m.text + len + AEAD_TAG_LEN, canary, CANARY_LEN);

	assert_int_equal(aead_open_batch(a, &m, 1), 1);
	assert_true(m.is_authentic);
	assert_memory_equal(m.text, plain, len);
	assert_memory_equal(m.text + len, theirs + len, AEAD_TAG_LEN);
	assert_memory_equal(ours, canary, head);
	assert_memory_equal(m.text + len + AEAD_TAG_LEN, canary, CANARY_LEN);

	memcpy(m.text, theirs, len + AEAD_TAG_LEN);
	m.text[len + prng_next(&seed) % AEAD_TAG_LEN] ^= 0x10;
	assert_int_equal(aead_open_batch(a, &m, 1), 0);
	assert_true(secret_is_zero(m.text, len));
}

static void test_all_short_lengths(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
		struct aead *aead = aead_new(choices[i]);

		if (!aead)
			continue;
		for (uint32_t len = 0; len <= SHORT_MAX; len++)
			compare_one(aead, len, prng_next(&seed));
		aead_free(aead);
	}
}

static void test_long_lengths(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
		struct aead *aead = aead_new(choices[i]);

		if (!aead)
			continue;
		for (int k = 0; k < 200; k++)
			compare_one(aead,
				    (uint32_t)(prng_next(&seed) %
					       (LONG_MAX_LEN + 1)),
				    prng_next(&seed));
		compare_one(aead, LONG_MAX_LEN, 0);
		aead_free(aead);
	}
}

static void test_counter_edges(void **state)
{
	static const uint32_t lens[] = { 0, 1, 16, 64, 1420, 4096 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
		struct aead *aead = aead_new(choices[i]);

		if (!aead)
			continue;
		for (size_t e = 0; e < ARRAY_LEN(edges); e++)
			for (size_t k = 0; k < ARRAY_LEN(lens); k++)
				compare_one(aead, lens[k], edges[e]);
		aead_free(aead);
	}
}

/* A backend touches nothing behind the tag or the key, or in front of the
 * text. */
static void test_guard_pages(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *map = mmap(NULL, 6 * page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *text_end = map + 3 * page, *key = map + 5 * page - 32;

	(void)state;
	assert_true(map != MAP_FAILED);
	assert_int_equal(mprotect(map, page, PROT_NONE), 0);
	assert_int_equal(mprotect(map + 3 * page, page, PROT_NONE), 0);
	assert_int_equal(mprotect(map + 5 * page, page, PROT_NONE), 0);
	for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
		struct aead *aead = aead_new(choices[i]);

		if (!aead)
			continue;
		for (uint32_t len = 0; len <= SHORT_MAX; len++) {
			struct aead_msg at_end = {
				.key = key,
				.counter = len,
				.text = text_end - AEAD_TAG_LEN - len,
				.len = len,
			};
			struct aead_msg at_start = at_end;

			aead_seal_batch(aead, &at_end, 1);
			assert_int_equal(aead_open_batch(aead, &at_end, 1), 1);
			at_start.text = map + page;
			aead_seal_batch(aead, &at_start, 1);
			assert_int_equal(aead_open_batch(aead, &at_start, 1),
					 1);
		}
		aead_free(aead);
	}
	munmap(map, 6 * page);
}

/* In a batch of any size with some forged messages, each verdict is that of its
 * own message. */
static void check_batch(struct aead *aead, size_t n)
{
	static uint8_t text[BATCH * 3][256 + AEAD_TAG_LEN];
	static uint8_t plain[BATCH * 3][256];
	static struct aead_msg msgs[BATCH * 3];
	uint8_t keys[3][32];
	size_t n_good = 0;

	prng_fill(&seed, keys, sizeof(keys));
	for (size_t i = 0; i < n; i++) {
		uint32_t len = (uint32_t)(prng_next(&seed) % 257);

		prng_fill(&seed, plain[i], len);
		memcpy(text[i], plain[i], len);
		msgs[i] = (struct aead_msg){ keys[i % 3], i, text[i], len,
					     false };
	}
	aead_seal_batch(aead, msgs, n);
	for (size_t i = 0; i < n; i += 3)
		text[i][prng_next(&seed) % (msgs[i].len + AEAD_TAG_LEN)] ^=
			(uint8_t)(1 << prng_next(&seed) % 8);
	for (size_t i = 0; i < n; i++)
		n_good += i % 3 != 0;
	assert_int_equal(aead_open_batch(aead, msgs, n), n_good);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(msgs[i].is_authentic, i % 3 != 0);
		if (msgs[i].is_authentic)
			assert_memory_equal(text[i], plain[i], msgs[i].len);
		else
			assert_true(secret_is_zero(text[i], msgs[i].len));
	}
}

static void test_batches(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
		struct aead *aead = aead_new(choices[i]);

		if (!aead)
			continue;
		for (size_t n = 0; n <= BATCH * 3; n += n < 20 ? 1 : 91)
			check_batch(aead, n);
		aead_free(aead);
	}
}

static void test_every_bit_counts(void **state)
{
	uint8_t key[32] = { 1 }, sealed[48 + AEAD_TAG_LEN], buf[sizeof(sealed)];

	(void)state;
	prng_fill(&seed, sealed, sizeof(sealed));
	for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
		struct aead *aead = aead_new(choices[i]);
		struct aead_msg m = { key, 9, sealed, 48, false };

		if (!aead)
			continue;
		aead_seal_batch(aead, &m, 1);
		m.text = buf;
		for (size_t bit = 0; bit < sizeof(buf) * 8; bit++) {
			memcpy(buf, sealed, sizeof(buf));
			buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_int_equal(aead_open_batch(aead, &m, 1), 0);
			assert_false(m.is_authentic);
		}
		memcpy(buf, sealed, sizeof(buf));
		m.counter ^= UINT64_C(1) << 40;
		assert_int_equal(aead_open_batch(aead, &m, 1), 0);
		aead_free(aead);
	}
}

/* After a batch no key and no stream is left in struct aead_parts. */
static void test_parts_keep_nothing(void **state)
{
	static const struct aead_backend *const backends[] = {
		&aead_sodium,
#ifdef HAVE_LIBCRYPTO
		&aead_libcrypto,
#endif
	};
	static uint8_t text[2 * AEAD_STREAM_CAP + AEAD_TAG_LEN];
	const uint8_t key[32] = { 5 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
		struct aead_msg m = { key, 1, text, 2 * AEAD_STREAM_CAP,
				      false };
		struct aead_parts *p;

		if (backends[i]->load && !backends[i]->load())
			continue;
		p = backends[i]->open_ctx();
		assert_non_null(p);
		for (; m.len; m.len /= 2) {
			backends[i]->seal(p, &m, 1);
			assert_null(p->key_of);
			assert_true(
				secret_is_zero(p->stream, sizeof(p->stream)));
			assert_int_equal(backends[i]->open(p, &m, 1), 1);
			assert_null(p->key_of);
			assert_true(
				secret_is_zero(p->stream, sizeof(p->stream)));
		}
		backends[i]->close_ctx(p);
	}
}

/* A backend that gives wrong results from some length on. The two flags say
 * whether it does when it seals or when it opens. */
static bool fake_seals, fake_opens;

static void fake_seal(void *ctx, struct aead_msg *msgs, size_t n)
{
	aead_sodium_whole.seal(ctx, msgs, n);
	if (fake_seals && msgs[0].len >= 1024)
		msgs[0].text[1000] ^= 1;
}

static size_t fake_open(void *ctx, struct aead_msg *msgs, size_t n)
{
	size_t n_good = aead_sodium_whole.open(ctx, msgs, n);

	if (fake_opens && msgs[0].len >= 1420)
		msgs[0].text[1419] ^= 1;
	return n_good;
}

static void test_check_finds_faults(void **state)
{
	static const struct aead_backend fake = {
		.name = "fake",
		.seal = fake_seal,
		.open = fake_open,
	};

	(void)state;
	assert_true(aead_check(&fake, NULL));
	fake_seals = true;
	assert_false(aead_check(&fake, NULL));
	fake_seals = false;
	fake_opens = true;
	assert_false(aead_check(&fake, NULL));
}

/* Each choice is the backend that it says: one that libsodium replaced would be
 * tested twice. */
static void test_backend_names(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
		struct aead *aead = aead_new(choices[i]);

		if (!aead) {
			print_message("# choice %d: not built in\n",
				      (int)choices[i]);
			continue;
		}
		aead_seal_batch(aead, NULL, 0);
		print_message("# choice %d: %s\n", (int)choices[i],
			      aead_get_name(aead));
		/* These run on every machine that has them, and libsodium's
		 * AEAD never replaces the best one. */
		if (choices[i] == AEAD_SODIUM || choices[i] == AEAD_LIBCRYPTO ||
		    choices[i] == AEAD_BORINGSSL || choices[i] == AEAD_BEST)
			assert_string_not_equal(aead_get_name(aead),
						aead_sodium_whole.name);
		aead_free(aead);
	}
	aead_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_backend_names),
		cmocka_unit_test(test_rfc8439),
		cmocka_unit_test(test_batch_rfc8439),
		cmocka_unit_test(test_all_short_lengths),
		cmocka_unit_test(test_long_lengths),
		cmocka_unit_test(test_counter_edges),
		cmocka_unit_test(test_guard_pages),
		cmocka_unit_test(test_batches),
		cmocka_unit_test(test_every_bit_counts),
		cmocka_unit_test(test_parts_keep_nothing),
		cmocka_unit_test(test_check_finds_faults),
	};

	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
