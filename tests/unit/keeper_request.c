/* SPDX-License-Identifier: MIT */
/* Requests to the keeper: the good ones pass, and each byte that is wrong is seen. */
#include <errno.h>
#include <string.h>

#include "keeper/request.h"
#include "tests/lib/check.h"

static void begin(struct request *request, unsigned int kind)
{
	memset(request, 0, sizeof(*request));
	request->head.version = REQUEST_VERSION;
	request->head.kind = (uint8_t)kind;
	if (kind == REQUEST_ASK)
		request->ask.n = 1;
	if (kind == REQUEST_OPEN)
		request->open.n = 1;
}

static unsigned int fds_of(unsigned int kind)
{
	return kind == REQUEST_KEEP;
}

static int check(const struct request *request)
{
	return request_check(request, request_len(request->head.kind),
			     fds_of(request->head.kind));
}

/* Expect that a request is refused. */
static void refused(const struct request *request, const char *what)
{
	if (check(request) == 0)
		fail_msg("%s was accepted, kind %u", what, request->head.kind);
}

static void good_ones(void **state)
{
	struct request r;

	(void)state;
	for (unsigned int kind = 1; kind < REQUEST_KINDS; kind++) {
		begin(&r, kind);
		if (check(&r) != 0)
			fail_msg("kind %u is refused", kind);
	}
	begin(&r, REQUEST_OPEN);
	r.open.port = UINT16_MAX;
	r.open.mark = UINT32_MAX;
	r.open.n = REQUEST_SOCKETS_MAX;
	assert_int_equal(check(&r), 0);
	begin(&r, REQUEST_ASK);
	r.ask.n = REQUEST_QUESTIONS_MAX;
	memset(r.ask.questions[63].source, 255, 4);
	r.ask.questions[0].is_v6 = 1;
	memset(r.ask.questions[0].source, 255, 16);
	assert_int_equal(check(&r), 0);
	begin(&r, REQUEST_STATE);
	r.state.flags = REQUEST_UP | REQUEST_ANSWERS;
	r.state.err = -EADDRINUSE;
	strcpy(r.state.stalled, "worker");
	assert_int_equal(check(&r), 0);
	begin(&r, REQUEST_FAILED);
	memset(r.failed.why, 'x', sizeof(r.failed.why) - 1);
	assert_int_equal(check(&r), 0);
}

static void lengths_and_descriptors(void **state)
{
	struct request r;

	(void)state;
	for (unsigned int kind = 0; kind <= UINT8_MAX; kind++) {
		size_t right = request_len((uint8_t)kind);

		begin(&r, kind);
		if (!right)
			assert_true(kind == 0 || kind >= REQUEST_KINDS);
		for (size_t len = 0; len <= sizeof(r); len++)
			for (unsigned int n = 0; n < 3; n++)
				assert_int_equal(request_check(&r, len, n) == 0,
						 right && len == right &&
							 n == fds_of(kind));
	}
}

static void heads(void **state)
{
	struct request r;

	(void)state;
	for (unsigned int kind = 1; kind < REQUEST_KINDS; kind++) {
		begin(&r, kind);
		r.head.version++;
		refused(&r, "another version");
		begin(&r, kind);
		r.head.version = 0;
		refused(&r, "version 0");
	}
}

static void bodies(void **state)
{
	struct request r;

	(void)state;
	begin(&r, REQUEST_OPEN);
	r.open.zero[0] = 1;
	refused(&r, "a reserved byte");
	begin(&r, REQUEST_OPEN);
	r.open.n = 0;
	refused(&r, "no socket");
	r.open.n = REQUEST_SOCKETS_MAX + 1;
	refused(&r, "too many sockets");
	begin(&r, REQUEST_KEEP);
	r.keep.slot = REQUEST_SLOTS;
	refused(&r, "a slot that there is not");
	begin(&r, REQUEST_ASK);
	r.ask.n = 0;
	refused(&r, "no question");
	r.ask.n = REQUEST_QUESTIONS_MAX + 1;
	refused(&r, "too many questions");
	r.ask.n = UINT32_MAX;
	refused(&r, "very many questions");
	begin(&r, REQUEST_ASK);
	r.ask.questions[0].is_v6 = 2;
	refused(&r, "neither IPv4 nor IPv6");
	begin(&r, REQUEST_ASK);
	r.ask.questions[0].source[4] = 1;
	refused(&r, "an IPv4 address of 5 bytes");
	begin(&r, REQUEST_ASK);
	r.ask.questions[0].zero[2] = 1;
	refused(&r, "a reserved byte");
	begin(&r, REQUEST_ASK);
	r.ask.questions[63].ifindex = 1;
	refused(&r, "a question behind the last one");
	begin(&r, REQUEST_STATE);
	r.state.flags = 8;
	refused(&r, "an unknown flag");
	begin(&r, REQUEST_STATE);
	r.state.err = 1;
	refused(&r, "an errno above 0");
	begin(&r, REQUEST_STATE);
	r.state.err = -4096;
	refused(&r, "no errno");
	begin(&r, REQUEST_STATE);
	memset(r.state.stalled, 'x', sizeof(r.state.stalled));
	refused(&r, "a text without an end");
	begin(&r, REQUEST_FAILED);
	strcpy(r.failed.why, "\033[2J");
	refused(&r, "a text for a terminal");
	strcpy(r.failed.why, "two\nlines");
	refused(&r, "two lines");
	memset(r.failed.why, 'x', sizeof(r.failed.why));
	refused(&r, "a text without an end");
}

/* Whatever is accepted keeps what the keeper relies on. */
static void random_ones(void **state)
{
	struct random random;
	unsigned int n_good = 0;

	(void)state;
	random_init(&random, 20261129);
	for (int i = 0; i < 200000; i++) {
		struct request r;

		begin(&r, 1 + (unsigned int)random_below(&random,
							 REQUEST_KINDS - 1));
		for (size_t k = random_below(&random, 4); k; k--)
			((uint8_t *)&r)[random_below(&random, sizeof(r))] =
				(uint8_t)random_below(&random, 256);
		if (check(&r) < 0)
			continue;
		n_good++;
		if (r.head.kind == REQUEST_ASK)
			assert_in_range(r.ask.n, 1, REQUEST_QUESTIONS_MAX);
		if (r.head.kind == REQUEST_KEEP)
			assert_true(r.keep.slot < REQUEST_SLOTS);
		if (r.head.kind == REQUEST_FAILED)
			assert_non_null(
				memchr(r.failed.why, 0, sizeof(r.failed.why)));
	}
	assert_true(n_good > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_ones),
		cmocka_unit_test(lengths_and_descriptors),
		cmocka_unit_test(heads),
		cmocka_unit_test(bodies),
		cmocka_unit_test(random_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
