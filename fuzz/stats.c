/* SPDX-License-Identifier: MIT */
/*
 * Requests on the statistics socket. The first byte of the input gives the size of the
 * pieces in which the rest arrives.
 *
 * Promises: a request ends behind an empty line and nowhere else; the pieces make no
 * difference; the word of an error is printable and ends in a zero byte.
 */
#include "fuzz/fuzz.h"

#include <ctype.h>
#include <string.h>

#include "uapi/stats.h"

enum {
	/* Bounds of the input. Choices. */
	INPUT_MAX = 4096,
	REQUESTS_MAX = INPUT_MAX / 2,
};

/* The requests that were found: their ends, and their kinds. */
struct found {
	size_t ends[REQUESTS_MAX];
	enum stats_kind kinds[REQUESTS_MAX];
	size_t n;
};

static void check_token(const char *token)
{
	require(memchr(token, 0, STATS_MAX_LINE + 1) != NULL);
	for (; *token; token++)
		require(isprint((unsigned char)*token));
}

static void find(struct found *found, const char *text, size_t len, size_t size)
{
	struct stats_parser parser = { 0 };
	size_t at = 0, n;

	found->n = 0;
	while (at < len) {
		size_t piece = len - at < size ? len - at : size;
		enum stats_kind kind =
			stats_parse(&parser, text + at, piece, &n);

		require(n <= piece && (kind != STATS_NONE || n == piece));
		at += n;
		if (kind == STATS_NONE)
			continue;
		require(at >= 2 && text[at - 1] == '\n' &&
			text[at - 2] == '\n');
		if (kind == STATS_BAD)
			check_token(parser.token);
		found->ends[found->n] = at;
		found->kinds[found->n++] = kind;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct found whole, pieces;

	if (len < 1 || len > INPUT_MAX)
		return 0;
	const char *text = (const char *)data + 1;

	find(&whole, text, len - 1, len);
	find(&pieces, text, len - 1, 1 + data[0] % 16);
	require(whole.n == pieces.n);
	require(!memcmp(whole.ends, pieces.ends,
			whole.n * sizeof(whole.ends[0])));
	require(!memcmp(whole.kinds, pieces.kinds,
			whole.n * sizeof(whole.kinds[0])));
	return 0;
}
