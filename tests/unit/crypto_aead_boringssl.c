/* SPDX-License-Identifier: MIT */
/*
 * Which library the backend on BoringSSL takes, and what its context keeps. The
 * source of the unit is included, so that the test can have other libraries
 * loaded. The libraries are those of fake_boringssl.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "crypto/aead_boringssl.c" /* NOLINT(bugprone-suspicious-include) */

#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

#include "crypto/init.h"

static const char *path_of(const char *fault)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/libfake_boringssl_%s.so", FAKES,
		 fault);
	assert_int_equal(access(path, R_OK), 0);
	return path;
}

/* Is a library with this fault taken? */
static bool is_taken(const char *fault)
{
	library.name = path_of(fault);
	if (!load())
		return false;
	unload();
	return true;
}

static bool is_loaded(const char *path)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_NOLOAD);

	if (handle)
		dlclose(handle);
	return handle;
}

static int restore(void **state)
{
	(void)state;
	library.name = BORINGSSL_PATH;
	return 0;
}

/* A library whose results differ, that refuses, or whose context is larger
 * counts as missing, and does not end the program. */
static void test_check_decides(void **state)
{
	(void)state;
	assert_true(is_taken("none"));
	assert_false(is_taken("text"));
	assert_false(is_taken("refuse"));
	assert_false(is_taken("seal"));
	assert_false(is_taken("size"));
	assert_false(is_taken("missing"));
	library.name = "/nonexistent/libcrypto.so.0";
	assert_false(load());
}

/* The path is absolute: the loader's own path is not searched. */
static void test_absolute_path(void **state)
{
	(void)state;
	assert_int_equal(library.name[0], '/');
}

/* The last user unloads the library, and nothing is left of one that was not
 * taken. */
static void test_users(void **state)
{
	(void)state;
	library.name = path_of("text");
	assert_false(load());
	assert_false(is_loaded(library.name));
	library.name = path_of("none");
	assert_true(load());
	assert_true(load());
	unload();
	assert_true(is_loaded(library.name));
	unload();
	assert_false(is_loaded(library.name));
}

/* Symbols of the library do not become those of the program. */
static void test_symbols_stay_apart(void **state)
{
	(void)state;
	library.name = path_of("none");
	assert_true(load());
	assert_null(dlsym(RTLD_DEFAULT, "EVP_aead_chacha20_poly1305"));
	unload();
}

/* Between batches the context is zero, with the real library and with another
 * one, and also after a forged message. */
static void check_wiping(void)
{
	static uint8_t text[1420 + AEAD_TAG_LEN];
	const uint8_t key[AEAD_KEY_LEN] = { 5, 6, 7 };
	struct aead_msg msg = { key, 1, text, 1420, false };
	struct boringssl *b = ctx_open();

	assert_non_null(b);
	/* This key is in the context while a batch is under way. */
	assert_true(take_key(b, key));
	assert_false(secret_is_zero(b->state, sizeof(b->state)));
	seal_batch(b, &msg, 1);
	assert_true(secret_is_zero(b, sizeof(*b)));
	assert_int_equal(open_batch(b, &msg, 1), 1);
	assert_true(secret_is_zero(b, sizeof(*b)));
	assert_int_equal(open_batch(b, &msg, 1), 0);
	assert_true(secret_is_zero(b, sizeof(*b)));
	free(b);
}

static void test_wiped(void **state)
{
	(void)state;
	library.name = path_of("none");
	assert_true(load());
	check_wiping();
	unload();
	library.name = BORINGSSL_PATH;
	if (!load()) {
		print_message("# %s is not there\n", BORINGSSL_PATH);
		return;
	}
	check_wiping();
	/* Not unloaded: BoringSSL keeps the error of a forged message for each
	 * thread, and frees it at the end of the thread. */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_check_decides, restore),
		cmocka_unit_test(test_absolute_path),
		cmocka_unit_test_teardown(test_users, restore),
		cmocka_unit_test_teardown(test_symbols_stay_apart, restore),
		cmocka_unit_test_teardown(test_wiped, restore),
	};

	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
