/* SPDX-License-Identifier: MIT */
/* Replies of a keeper to a request for an upgrade, right ones and wrong ones. */
#include "ctl/upgrade_reply.h"

#include <errno.h>
#include <string.h>

#include "tests/lib/check.h"

/* Read a reply, and expect the result and a part of the reason. */
static void expect(const void *data, size_t len, int err, const char *part)
{
	char why[UPGRADE_WHY_CAP] = "untouched";
	int got = upgrade_reply_read(data, len, why);

	if (got != err || !strstr(why, part))
		fail_msg("%d \"%s\", not %d \"...%s...\"", got, why, err, part);
}

static struct upgrade_reply make(int err, const char *why)
{
	struct upgrade_reply reply = { .version = UPGRADE_VERSION, .err = err };

	strncpy(reply.why, why, sizeof(reply.why) - 1);
	return reply;
}

static void good_and_refused(void **state)
{
	struct upgrade_reply reply = make(0, "");

	(void)state;
	expect(&reply, sizeof(reply), 0, "untouched");
	/* A success needs no reason, and one that is there does no harm. */
	reply = make(0, "it is well");
	expect(&reply, sizeof(reply), 0, "untouched");
	reply = make(-EINVAL, "the program has ended with status 1");
	expect(&reply, sizeof(reply), -EINVAL,
	       "the program has ended with status 1");
	reply = make(-EACCES, "");
	expect(&reply, sizeof(reply), -EACCES, "refused: Permission denied");
}

static void lengths(void **state)
{
	struct upgrade_reply reply = make(0, "");

	(void)state;
	for (size_t len = 0; len < 2 * sizeof(reply); len++)
		if (len != sizeof(reply))
			expect(&reply, len, -EPROTO, "makes no sense");
}

static void other_versions(void **state)
{
	struct upgrade_reply reply = make(0, "");

	(void)state;
	reply.version = 7;
	/* A reply of another version may have another length. */
	for (size_t len = sizeof(reply.version); len < 2 * sizeof(reply); len++)
		expect(&reply, len, -EPROTONOSUPPORT,
		       "requests of version 7, and this is version 1: restart");
	reply.version = 0;
	expect(&reply, sizeof(reply), -EPROTONOSUPPORT, "version 0");
}

static void errors_that_are_none(void **state)
{
	static const int errs[] = { 1, INT32_MAX, -4096, INT32_MIN };
	struct upgrade_reply reply;

	(void)state;
	for (size_t i = 0; i < sizeof(errs) / sizeof(errs[0]); i++) {
		reply = make(errs[i], "");
		expect(&reply, sizeof(reply), -EPROTO, "makes no sense");
	}
	reply = make(-4095, "the greatest");
	expect(&reply, sizeof(reply), -4095, "the greatest");
}

static void reasons(void **state)
{
	struct upgrade_reply reply = make(-EIO, "");
	char why[UPGRADE_WHY_CAP];

	(void)state;
	/* Without an end: all but the last byte are shown. */
	memset(reply.why, 'x', sizeof(reply.why));
	assert_int_equal(upgrade_reply_read(&reply, sizeof(reply), why), -EIO);
	assert_int_equal(strlen(why), sizeof(why) - 1);
	/* A terminal gets no control characters. */
	for (int byte = 1; byte <= UINT8_MAX; byte++)
		reply.why[byte - 1] = (char)byte;
	reply.why[UINT8_MAX] = 0;
	assert_int_equal(upgrade_reply_read(&reply, sizeof(reply), why), -EIO);
	assert_int_equal(strlen(why), UINT8_MAX);
	for (int byte = 1; byte <= UINT8_MAX; byte++)
		assert_int_equal(why[byte - 1],
				 byte >= ' ' && byte <= '~' ? byte : '?');
}

static void random_ones(void **state)
{
	struct random random;
	unsigned int n_good = 0, n_refused = 0;

	(void)state;
	random_init(&random, 20261129);
	for (int i = 0; i < 200000; i++) {
		struct upgrade_reply reply = make(
			random_below(&random, 2) ? 0 : -EINVAL, "a reason");
		char why[UPGRADE_WHY_CAP];
		size_t len = sizeof(reply);
		int err;

		for (size_t k = random_below(&random, 4); k; k--)
			((uint8_t *)&reply)[random_below(&random, len)] =
				(uint8_t)random_below(&random, 256);
		if (random_below(&random, 4) == 0)
			len = random_below(&random, 2 * len);
		err = upgrade_reply_read(&reply, len, why);
		if (err == 0)
			assert_true(len == sizeof(reply) && reply.err == 0 &&
				    reply.version == UPGRADE_VERSION);
		else
			assert_true(*why && strlen(why) < sizeof(why));
		n_good += err == 0;
		n_refused += err == -EINVAL;
	}
	assert_true(n_good > 1000 && n_refused > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_and_refused),
		cmocka_unit_test(lengths),
		cmocka_unit_test(other_versions),
		cmocka_unit_test(errors_that_are_none),
		cmocka_unit_test(reasons),
		cmocka_unit_test(random_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
