/* SPDX-License-Identifier: MIT */
/* Requests on the statistics socket: which there are, what is refused with which word,
 * and that the pieces in which they come make no difference. */
#include "uapi/stats.h"

#include <string.h>

#include "tests/lib/check.h"

/* Parse a text in pieces of @size bytes. The first request must end with the text. */
static enum stats_kind parse(const char *text, size_t size, char *token)
{
	struct stats_parser parser = { 0 };
	size_t len = strlen(text), at = 0;

	while (at < len) {
		size_t n, piece = size < len - at ? size : len - at;
		enum stats_kind kind =
			stats_parse(&parser, text + at, piece, &n);

		assert_true(n <= piece);
		at += n;
		if (kind == STATS_NONE) {
			assert_int_equal(n, piece);
			continue;
		}
		assert_int_equal(at, len);
		snprintf(token, STATS_MAX_LINE + 1, "%s",
			 kind == STATS_BAD ? parser.token : "");
		return kind;
	}
	return STATS_NONE;
}

static void check_request(const char *text, enum stats_kind kind,
			  const char *token)
{
	char got[STATS_MAX_LINE + 1];

	for (size_t size = 1; size <= strlen(text); size++) {
		assert_int_equal(parse(text, size, got), kind);
		if (kind != STATS_NONE)
			assert_string_equal(got, token);
	}
}

static void requests(void **state)
{
	(void)state;
	check_request("get=stats\n\n", STATS_GET, "");
	check_request("get=trace\n\n", STATS_TRACE, "");
	check_request("get=events\n\n", STATS_EVENTS, "");
	check_request("get=allowed_ips\n\n", STATS_ALLOWED_IPS, "");
	/* Empty lines before a request are no request. */
	check_request("\n\nget=stats\n\n", STATS_GET, "");
	check_request("get=stats\n", STATS_NONE, "");
}

static void refused(void **state)
{
	char longest[STATS_MAX_LINE + 10];
	char text[STATS_MAX_LINE + 10];

	(void)state;
	check_request("get=1\n\n", STATS_BAD, "get=1");
	check_request("set=1\n\n", STATS_BAD, "set=1");
	check_request("get=stats \n\n", STATS_BAD, "get=stats ");
	check_request("get=stats\nget=trace\n\n", STATS_BAD, "get=trace");
	check_request("one\ntwo\n\n", STATS_BAD, "one");
	check_request("a\tb\x7f\n\n", STATS_BAD, "a?b?");
	/* A line that is too long is cut. */
	memset(text, 'x', STATS_MAX_LINE + 5);
	memcpy(text + STATS_MAX_LINE + 5, "\n\n", 3);
	memset(longest, 'x', STATS_MAX_LINE);
	longest[STATS_MAX_LINE] = 0;
	check_request(text, STATS_BAD, longest);
}

/* The next request begins behind the last one. */
static void one_after_the_other(void **state)
{
	const char *text = "get=nothing\n\nget=stats\n\n";
	struct stats_parser parser = { 0 };
	size_t n, len = strlen(text);

	(void)state;
	assert_int_equal(stats_parse(&parser, text, len, &n), STATS_BAD);
	assert_int_equal(n, strlen("get=nothing\n\n"));
	assert_int_equal(stats_parse(&parser, text + n, len - n, &n),
			 STATS_GET);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests),
		cmocka_unit_test(refused),
		cmocka_unit_test(one_after_the_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
