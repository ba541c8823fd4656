/* SPDX-License-Identifier: MIT */
/*
 * Pools of secrets: slots are zero and separate, regions are mapped when they
 * are needed and unmapped when they are empty, a child sees no secret, and a
 * refused lock is reported once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "crypto/init.h"
#include "crypto/secret.h"
#include "random.h"

static const enum secret_backing backings[] = { SECRET_BEST, SECRET_PRIVATE };

enum {
	/* A choice: no multiple of 16, so the pool has to round it up. */
	SLOT_LEN = 100,
	N_SLOTS = 2000 /* several regions */
};

static void test_slots_are_zero_and_apart(void **state)
{
	static uint8_t *slots[N_SLOTS];

	(void)state;
	for (size_t b = 0; b < ARRAY_LEN(backings); b++) {
		struct secret_pool *pool =
			secret_pool_new(SLOT_LEN, backings[b]);

		assert_non_null(pool);
		for (size_t i = 0; i < N_SLOTS; i++) {
			slots[i] = secret_alloc(pool);
			assert_non_null(slots[i]);
			assert_int_equal((uintptr_t)slots[i] % 16, 0);
			assert_true(secret_is_zero(slots[i], SLOT_LEN));
			memset(slots[i], (int)(i % 255 + 1), SLOT_LEN);
		}
		for (size_t i = 0; i < N_SLOTS; i++) {
			for (size_t k = 0; k < SLOT_LEN; k++)
				assert_int_equal(slots[i][k], i % 255 + 1);
			secret_free(pool, slots[i]);
		}
		secret_free(pool, NULL);
		secret_pool_free(pool);
	}
	secret_pool_free(NULL);
}

static void test_free_wipes(void **state)
{
	(void)state;
	for (size_t b = 0; b < ARRAY_LEN(backings); b++) {
		struct secret_pool *pool =
			secret_pool_new(SLOT_LEN, backings[b]);
		uint8_t *keep = secret_alloc(pool);
		uint8_t *slot = secret_alloc(pool);

		memset(slot, 0xa5, SLOT_LEN);
		secret_free(pool, slot);
		/* The memory is still mapped, because the pool keeps one
		 * region. The first bytes of the slot are the link of the free
		 * list. */
		assert_true(secret_is_zero(slot + sizeof(void *),
					   SLOT_LEN - sizeof(void *)));
		assert_ptr_equal(secret_alloc(pool), slot);
		assert_true(secret_is_zero(slot, SLOT_LEN));
		secret_free(pool, slot);
		secret_free(pool, keep);
		secret_pool_free(pool);
	}
}

/* Does madvise(2) accept an advice that does not exist? Under qemu-user it
 * accepts any advice, and has no effect. */
static bool is_advice_ignored(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool is_ignored = madvise(page, 4096, -1) == 0;

	munmap(page, 4096);
	return is_ignored;
}

/* A child has no memory there (memfd_secret) or sees zeroes, but never the
 * secret. */
static void test_child_sees_no_secrets(void **state)
{
	(void)state;
	for (size_t b = 0; b < ARRAY_LEN(backings); b++) {
		struct secret_pool *pool =
			secret_pool_new(SLOT_LEN, backings[b]);
		uint8_t *slot = secret_alloc(pool);
		int fds[2], status;
		pid_t pid;

		memset(slot, 0xa5, SLOT_LEN);
		assert_int_equal(pipe(fds), 0);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			/* write(2) says EFAULT for memory that is missing; to
			 * read it would end the child. */
			uint8_t seen[SLOT_LEN] = { 0 };
			ssize_t n = write(fds[1], slot, SLOT_LEN);

			if (n < 0)
				_exit(errno == EFAULT ? 0 : 2);
			if (read(fds[0], seen, sizeof(seen)) != SLOT_LEN)
				_exit(3);
			_exit(secret_is_zero(seen, SLOT_LEN) ? 0 : 1);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
		assert_int_equal(slot[0], 0xa5);
		close(fds[0]);
		close(fds[1]);
		secret_free(pool, slot);
		secret_pool_free(pool);
	}
}

/*
 * mlock(2) does not fail with CAP_IPC_LOCK, so the child gives up root's rights
 * first.
 */
static int refused_child(enum secret_backing backing)
{
	struct rlimit none = { 0, 0 };
	struct secret_pool *pool;
	uint8_t *slot;

	if (setrlimit(RLIMIT_MEMLOCK, &none) < 0)
		return 10;
	if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
		return 77;
	/* With a sanitizer mlock(2) does nothing. */
	if (mlock(&none, sizeof(none)) == 0)
		return 77;
	pool = secret_pool_new(SLOT_LEN, backing);
	slot = secret_alloc(pool);
	if (!slot)
		return 1;
	memset(slot, 1, SLOT_LEN);
	if (!secret_pool_take_refusal(pool))
		return 2;
	if (secret_pool_take_refusal(pool))
		return 3;
	secret_free(pool, slot);
	secret_pool_free(pool);
	return 0;
}

static void test_refused_lock_is_reported_once(void **state)
{
	(void)state;
	for (size_t b = 0; b < ARRAY_LEN(backings); b++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0)
			_exit(refused_child(backings[b]));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) == 77) {
			print_message("# cannot be refused here: not tested\n");
			return;
		}
		assert_int_equal(WEXITSTATUS(status), 0);
	}
}

/*
 * Is there memory at an address? If there is none, write(2) fails with EFAULT.
 * This is so under qemu-user, too, although its host has all addresses of a
 * 32-bit program mapped.
 */
static bool is_mapped(const void *at)
{
	int fds[2];
	bool is_there;

	assert_int_equal(pipe(fds), 0);
	is_there = write(fds[1], at, 1) == 1;
	assert_true(is_there || errno == EFAULT);
	close(fds[0]);
	close(fds[1]);
	return is_there;
}

/* Slots in use keep their contents, and in the end one region is left. */
static void test_unused_regions_are_unmapped(void **state)
{
	static uint8_t *slots[N_SLOTS];

	(void)state;
	random_seed();
	for (size_t b = 0; b < ARRAY_LEN(backings); b++) {
		struct secret_pool *pool =
			secret_pool_new(SLOT_LEN, backings[b]);
		size_t n_mapped = 0;

		memset(slots, 0, sizeof(slots));
		for (size_t n = 0; n < 20 * N_SLOTS; n++) {
			size_t i = random_below(N_SLOTS);

			if (slots[i]) {
				for (size_t k = 0; k < SLOT_LEN; k++)
					assert_int_equal(slots[i][k],
							 i % 255 + 1);
				secret_free(pool, slots[i]);
				slots[i] = NULL;
				continue;
			}
			slots[i] = secret_alloc(pool);
			assert_non_null(slots[i]);
			assert_true(secret_is_zero(slots[i], SLOT_LEN));
			memset(slots[i], (int)(i % 255 + 1), SLOT_LEN);
		}
		/* Take all slots, so that all regions are mapped, and then give
		 * all back. */
		for (size_t i = 0; i < N_SLOTS; i++)
			if (!slots[i])
				slots[i] = secret_alloc(pool);
		for (size_t i = 0; i < N_SLOTS; i++)
			secret_free(pool, slots[i]);
		for (size_t i = 0; i < N_SLOTS; i++)
			n_mapped += is_mapped(slots[i]);
		assert_in_range(n_mapped, 1, SECRET_REGION_LEN / SLOT_LEN);
		slots[0] = secret_alloc(pool);
		assert_true(secret_is_zero(slots[0], SLOT_LEN));
		secret_free(pool, slots[0]);
		secret_pool_free(pool);
	}
}

static size_t count_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	size_t n = 0;
	int c;

	assert_non_null(maps);
	while ((c = getc(maps)) != EOF)
		n += c == '\n';
	fclose(maps);
	return n;
}

/* Memory that was reserved is there when the slots are taken, and is not made twice. */
static void test_reserved_regions_are_used(void **state)
{
	static void *slots[3 * SECRET_REGION_LEN / SLOT_LEN];
	struct secret_pool *pool = secret_pool_new(SLOT_LEN, SECRET_BEST);
	size_t before, reserved;

	(void)state;
	assert_non_null(pool);
	before = count_mappings();
	assert_int_equal(secret_pool_reserve(pool, ARRAY_LEN(slots)), 0);
	reserved = count_mappings();
	assert_true(reserved > before);
	assert_int_equal(secret_pool_reserve(pool, ARRAY_LEN(slots)), 0);
	for (size_t i = 0; i < ARRAY_LEN(slots); i++) {
		slots[i] = secret_alloc(pool);
		assert_non_null(slots[i]);
		assert_true(secret_is_zero(slots[i], SLOT_LEN));
		memset(slots[i], 1, SLOT_LEN);
	}
	assert_int_equal(count_mappings(), reserved);
	for (size_t i = 0; i < ARRAY_LEN(slots); i++)
		secret_free(pool, slots[i]);
	secret_pool_free(pool);
	assert_int_equal(count_mappings(), before);
}

static void test_no_report_without_refusal(void **state)
{
	struct secret_pool *pool = secret_pool_new(32, SECRET_BEST);

	(void)state;
	assert_false(secret_pool_take_refusal(pool));
	secret_pool_free(pool);
}

static void test_equal(void **state)
{
	uint8_t a[33] = { 0 }, b[33] = { 0 };

	(void)state;
	assert_true(secret_equal(a, b, sizeof(a)));
	for (size_t bit = 0; bit < sizeof(a) * 8; bit++) {
		a[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(secret_equal(a, b, sizeof(a)));
		assert_false(secret_is_zero(a, sizeof(a)));
		a[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	memset(a, 0xff, sizeof(a));
	secret_zero(a, sizeof(a));
	assert_true(secret_is_zero(a, sizeof(a)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slots_are_zero_and_apart),
		cmocka_unit_test(test_free_wipes),
		cmocka_unit_test(test_unused_regions_are_unmapped),
		cmocka_unit_test(test_reserved_regions_are_used),
		cmocka_unit_test(test_refused_lock_is_reported_once),
		cmocka_unit_test(test_no_report_without_refusal),
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_child_sees_no_secrets),
	};
	size_t n = ARRAY_LEN(tests);

	if (crypto_init())
		return 1;
	/* Without madvise(2) the last test cannot run. It is left out, so that
	 * it does not count as passed. */
	if (is_advice_ignored()) {
		print_message("# forks are not tested: madvise(2) has no "
			      "effect here\n");
		n--;
	}
	return _cmocka_run_group_tests("tests", tests, n, NULL, NULL);
}
