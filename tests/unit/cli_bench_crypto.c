/* SPDX-License-Identifier: MIT */
/* The benchmark measures each backend in each way. The times that it measures
 * are not tested. */
#include "cli/bench_crypto.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/aead.h"
#include "crypto/init.h"
#include "tests/lib/check.h"

enum {
	/* Seven sizes; sealed and opened; in a batch and alone. */
	ROWS = 7 * 2 * 2,
};

static char *run(bool is_csv)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	assert_int_equal(bench_crypto(out, is_csv, 1), 0);
	assert_int_equal(fclose(out), 0);
	return text;
}

static int count(const char *text, const char *what)
{
	int n = 0;

	for (const char *p = strstr(text, what); p; p = strstr(p + 1, what))
		n++;
	return n;
}

/* A backend has all its rows or none, and one backend is marked as chosen. */
static void values(void **state)
{
	static const char head[] = "name,chosen,bytes,what,messages,ns\n";
	char *text = run(true);
	int backends = 0;

	(void)state;
	assert_memory_equal(text, head, strlen(head));
	for (int c = AEAD_BEST + 1; c < AEAD_CHOICES; c++) {
		char begin[64];
		int rows;

		snprintf(begin, sizeof(begin), "\n%s,",
			 aead_get_word((enum aead_choice)c));
		rows = count(text, begin);
		assert_true(rows == 0 || rows == ROWS);
		backends += rows / ROWS;
	}
	assert_int_equal(count(text, "\nlibsodium,"), ROWS);
	assert_int_equal(count(text, "\n"), 1 + backends * ROWS + 2);
	/* The two primitives of the handshake have one row each. */
	assert_int_equal(count(text, ",1,64,seal,47,"), 1);
	assert_int_equal(count(text, ",0,64,seal,47,"), backends - 1);
	assert_int_equal(count(text, "\nx25519,1,32,shared,1,"), 1);
	assert_int_equal(count(text, "\nblake2s,1,64,hash,1,"), 1);
	free(text);
}

static void tables(void **state)
{
	char *text = run(false);

	(void)state;
	assert_int_equal(count(text, "47 messages "), 2);
	assert_int_equal(count(text, "one message "), 2);
	assert_int_equal(count(text, "\n* "), 4);
	for (int c = AEAD_BEST + 1; c < AEAD_CHOICES; c++)
		assert_non_null(
			strstr(text, aead_get_word((enum aead_choice)c)));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values),
		cmocka_unit_test(tables),
	};

	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
