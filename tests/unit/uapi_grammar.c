/* SPDX-License-Identifier: MIT */
/*
 * The parser of requests: keys and values, errors with line and token, input in
 * pieces, and random configurations.
 */
#include "uapi/grammar.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/init.h"
#include "device_fake.h"
#include "random.h"
#include "uapi/reply.h"

#define KEY "a0e1f2031425364758697A8B9CADBECFD0E1F203142536475869708192a3b4c5"
#define P   "public_key=" KEY "\n"

enum {
	/* Choices, not measured. */
	N_ROUNDS = 300,
	PIECE = 4096,
};

#define BASE64 "yJ8fvP0Kc1mTq9/rXWw4bE+7uQz2NnHdA5sLgV3oRkE="

/* The lines behind "set=1", and the error that they give. */
static const struct {
	const char *lines;
	int error;
	size_t line;
	const char *token;
} cases[] = {
	{ "", 0, 0, "" },
	{ "listen_port=0\nlisten_port=65535\nfwmark=4294967295\n", 0, 0, "" },
	{ "listen_port=65536\n", -EINVAL, 2, "65536" },
	{ "listen_port=\n", -EINVAL, 2, "" },
	{ "listen_port=+1\n", -EINVAL, 2, "+1" },
	{ "listen_port= 1\n", -EINVAL, 2, "?1" },
	{ "listen_port=0x10\n", -EINVAL, 2, "0x10" },
	{ "listen_port=1 \n", -EINVAL, 2, "1?" },
	{ "listen_port=000000000000000000000000000000000000001\n", 0, 0, "" },
	{ "fwmark=4294967296\n", -EINVAL, 2, "4294967296" },
	{ "fwmark=99999999999999999999999999\n", -EINVAL, 2,
	  "99999999999999999999999999" },
	{ "fwmark=-1\n", -EINVAL, 2, "-1" },
	{ "fwmark=1\nnonsense=1\nfwmark=x\n", -EINVAL, 3, "nonsense" },
	{ "fwmark\n", -EPROTO, 2, "" },
	{ "=\n", -EINVAL, 2, "" },
	{ "private_key=" KEY "\n", 0, 0, "" },
	{ "private_key=" KEY "0\n", -EINVAL, 2, "private_key" },
	{ "private_key=g0e1f2031425364758697a8b9cadbecfd0e1f2031425364758697081"
	  "92a3b4c5\n",
	  -EINVAL, 2, "private_key" },
	{ "private_key=:0e1f2031425364758697a8b9cadbecfd0e1f2031425364758697081"
	  "92a3b4c5\n",
	  -EINVAL, 2, "private_key" },
	{ "private_key=@0e1f2031425364758697a8b9cadbecfd0e1f2031425364758697081"
	  "92a3b4c5\n",
	  -EINVAL, 2, "private_key" },
	{ "private_key=/0e1f2031425364758697a8b9cadbecfd0e1f2031425364758697081"
	  "92a3b4c5\n",
	  -EINVAL, 2, "private_key" },
	{ "private_key=\x10"
	  "0e1f2031425364758697a8b9cadbecfd0e1f203142536475869708192a3b4c5\n",
	  -EINVAL, 2, "private_key" },
	{ "private_key=\xb0"
	  "0e1f2031425364758697a8b9cadbecfd0e1f203142536475869708192a3b4c5\n",
	  -EINVAL, 2, "private_key" },
	{ "replace_peers=true\n", 0, 0, "" },
	{ "replace_peers=false\n", -EINVAL, 2, "false" },
	{ "replace_peers=TRUE\n", -EINVAL, 2, "TRUE" },
	/* Each key where it belongs. */
	{ "endpoint=a:1\n", -EINVAL, 2, "endpoint" },
	{ "protocol_version=1\n", -EINVAL, 2, "protocol_version" },
	{ P "private_key=" KEY "\n", -EINVAL, 3, "private_key" },
	{ P "listen_port=1\n", -EINVAL, 3, "listen_port" },
	{ P P P, 0, 0, "" },
	{ "public_key=" KEY "\rx\n", -EINVAL, 2, "public_key" },
	/* A word that may be a secret key is not the token of the error. */
	{ "public_key=" BASE64 "\n", -EINVAL, 2, "public_key" },
	{ BASE64 "\n", -EINVAL, 2, "" },
	{ BASE64 "=1\n", -EINVAL, 2, "" },
	{ KEY "=\n", -EINVAL, 2, "" },
	{ "x" KEY "\n", -EPROTO, 2, "" },
	{ "listen_port=" KEY "\n", -EINVAL, 2, "listen_port" },
	{ "Private_Key=" KEY "\n", -EINVAL, 2, "Private_Key" },
	{ P "endpoint=" BASE64 "\n", -EINVAL, 3, "endpoint" },
	{ P "allowed_ip=" KEY "/8\n", -EINVAL, 3, "allowed_ip" },
	{ P "protocol_version=1\n", 0, 0, "" },
	{ P "protocol_version=2\n", -EINVAL, 3, "2" },
	{ P "protocol_version=\n", -EINVAL, 3, "" },
	{ P "update_only=true\nremove=true\nreplace_allowed_ips=true\n", 0, 0,
	  "" },
	{ P "update_only=1\n", -EINVAL, 3, "1" },
	{ P "remove=yes\n", -EINVAL, 3, "yes" },
	{ P "replace_allowed_ips=\n", -EINVAL, 3, "" },
	{ P "preshared_key=" KEY "\n", 0, 0, "" },
	{ P "preshared_key=1\n", -EINVAL, 3, "preshared_key" },
	{ P "endpoint=[fe80::1%eth0]:51820\n", 0, 0, "" },
	{ P "endpoint=nowhere\n", -EINVAL, 3, "nowhere" },
	{ P "persistent_keepalive_interval=65535\n", 0, 0, "" },
	{ P "persistent_keepalive_interval=65536\n", -EINVAL, 3, "65536" },
	{ P "persistent_keepalive_interval=off\n", -EINVAL, 3, "off" },
	{ P "allowed_ip=0.0.0.0/0\nallowed_ip=255.255.255.255/32\n", 0, 0, "" },
	{ P "allowed_ip=::/0\nallowed_ip=::ffff:1.2.3.4/128\n", 0, 0, "" },
	{ P "allowed_ip=-1.2.3.4/8\nallowed_ip=-::1/3\n", 0, 0, "" },
	{ P "allowed_ip=1.2.3.4\n", -EINVAL, 3, "1.2.3.4" },
	{ P "allowed_ip=1.2.3.4/33\n", -EINVAL, 3, "1.2.3.4/33" },
	{ P "allowed_ip=::/129\n", -EINVAL, 3, "::/129" },
	{ P "allowed_ip=1.2.3/8\n", -EINVAL, 3, "1.2.3/8" },
	{ P "allowed_ip=1.2.3.4/\n", -EINVAL, 3, "1.2.3.4/" },
	{ P "allowed_ip=/8\n", -EINVAL, 3, "/8" },
	{ P "allowed_ip=--::/0\n", -EINVAL, 3, "--::/0" },
	{ P "allowed_ip=1.2.3.4/-1\n", -EINVAL, 3, "1.2.3.4/-1" },
	{ P "allowed_ip=fe80::1%lo/64\n", -EINVAL, 3, "fe80::1%lo/64" },
	/* A CR before LF does not belong to the line. */
	{ "fwmark=1\r\n" P "remove=true\r\n", 0, 0, "" },
	{ "fwmark=1\r\r\n", -EINVAL, 2, "1?" },
};

static void test_table(void **state)
{
	char text[1024];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct uapi_request r;

		snprintf(text, sizeof(text), "set=1\n%s\n", cases[i].lines);
		r = device_fake_parse(text);
		if (r.error != cases[i].error || r.line != cases[i].line ||
		    strcmp(r.token, cases[i].token))
			print_error("case %zu: error %d, line %zu, token %s\n",
				    i, r.error, r.line, r.token);
		assert_int_equal(r.op, UAPI_SET);
		assert_int_equal(r.error, cases[i].error);
		assert_int_equal(r.line, cases[i].line);
		assert_string_equal(r.token, cases[i].token);
		/* There are operations if and only if there is no error. */
		assert_int_equal(r.config != NULL, r.error == 0);
		assert_int_equal(r.what != NULL, r.error != 0);
		config_free(r.config);
	}
}

static int push(struct uapi_parser *parser, const char *text, size_t *n_used,
		struct uapi_request *r)
{
	return uapi_parser_push(parser, text, strlen(text), n_used, r);
}

static void test_what_no_request_begins_with(void **state)
{
	static const char *const texts[] = {
		"\n",	    "get=2\n",	       "set=1\r\n", "GET=1\n",
		"set=1 \n", "listen_port=1\n", "get=1=1\n",
	};
	struct uapi_request r;
	size_t n_used;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct uapi_parser *parser =
			uapi_parser_new(&device_fake_codec);

		assert_int_equal(push(parser, texts[i], &n_used, &r), -EPROTO);
		uapi_parser_free(parser);
	}
}

static void test_pipelined_requests(void **state)
{
	static const char text[] = "get=1\n\nset=1\nfwmark=x\n\nset=1\n" P
				   "\nget=1\nx=y\n\nget=1\n";
	static const struct {
		enum uapi_op op;
		int error;
	} want[] = {
		{ UAPI_GET, 0 },
		{ UAPI_SET, -EINVAL },
		{ UAPI_SET, 0 },
		{ UAPI_GET, -EINVAL },
	};
	size_t at;
	size_t n_used;

	(void)state;
	/* The text is pushed in pieces of every size. */
	for (size_t piece = 1; piece <= sizeof(text); piece++) {
		struct uapi_parser *parser =
			uapi_parser_new(&device_fake_codec);
		struct uapi_request r;
		size_t n = 0;

		for (at = 0; at < strlen(text); at += n_used) {
			size_t len = size_min(piece, strlen(text) - at);
			int rc = uapi_parser_push(parser, text + at, len,
						  &n_used, &r);

			assert_true(n_used <= len && n_used > 0);
			if (!rc)
				continue;
			assert_int_equal(rc, UAPI_E_REQUEST);
			assert_int_equal(text[at + n_used - 1], '\n');
			assert_true(n < ARRAY_LEN(want));
			assert_int_equal(r.op, want[n].op);
			assert_int_equal(r.error, want[n].error);
			config_free(r.config);
			n++;
		}
		assert_int_equal(n, ARRAY_LEN(want));
		uapi_parser_free(parser);
	}
}

/* An error is known before the end of its request, or even of its line. */
static void test_early_errors(void **state)
{
	struct uapi_parser *parser = uapi_parser_new(&device_fake_codec);
	const struct uapi_request *error;
	char text[2 * UAPI_MAX_LINE];
	struct uapi_request r;
	size_t n_used;

	(void)state;
	assert_null(uapi_parser_get_error(parser));
	assert_int_equal(push(parser, "set=1\nlisten_port=5x", &n_used, &r), 0);
	assert_null(uapi_parser_get_error(parser));
	assert_int_equal(push(parser, "\nlisten_port=6\n", &n_used, &r), 0);
	error = uapi_parser_get_error(parser);
	assert_non_null(error);
	assert_int_equal(error->error, -EINVAL);
	assert_int_equal(error->line, 2);
	assert_string_equal(error->key, "listen_port");
	assert_string_equal(error->token, "5x");
	assert_int_equal(push(parser, "\n", &n_used, &r), UAPI_E_REQUEST);
	assert_int_equal(r.error, -EINVAL);
	assert_null(uapi_parser_get_error(parser));
	/* A line that is too long is an error although its end has not come. */
	memset(text, 'x', sizeof(text));
	memcpy(text, "set=1\n", 6);
	text[6 + UAPI_MAX_LINE] = 0;
	assert_int_equal(push(parser, text, &n_used, &r), 0);
	assert_null(uapi_parser_get_error(parser));
	assert_int_equal(push(parser, "x", &n_used, &r), 0);
	error = uapi_parser_get_error(parser);
	assert_non_null(error);
	assert_int_equal(error->error, -EMSGSIZE);
	assert_int_equal(error->line, 2);
	uapi_parser_free(parser);
}

static void test_long_lines(void **state)
{
	struct uapi_parser *parser = uapi_parser_new(&device_fake_codec);
	char text[3 * UAPI_MAX_LINE];
	struct uapi_request r;
	size_t n_used;

	(void)state;
	memset(text, 'x', sizeof(text));
	memcpy(text, "set=1\n", 6);
	/* The longest line: its key is wrong, and not its length. */
	memcpy(text + 6 + UAPI_MAX_LINE, "\n\n", 3);
	text[6 + 3] = '=';
	assert_int_equal(push(parser, text, &n_used, &r), UAPI_E_REQUEST);
	assert_int_equal(r.error, -EINVAL);
	assert_string_equal(r.token, "xxx");
	/* One byte more. */
	text[6 + UAPI_MAX_LINE] = 'x';
	memcpy(text + 6 + UAPI_MAX_LINE + 1, "\n\n", 3);
	assert_int_equal(push(parser, text, &n_used, &r), UAPI_E_REQUEST);
	assert_int_equal(r.error, -EMSGSIZE);
	assert_int_equal(r.line, 2);
	assert_int_equal(n_used, strlen(text));
	/* At the start of a request a long line ends the connection at once. */
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 2] = '\n';
	text[sizeof(text) - 1] = 0;
	assert_int_equal(push(parser, text, &n_used, &r), -EPROTO);
	uapi_parser_free(parser);
}

static void test_long_requests(void **state)
{
	struct uapi_parser *parser = uapi_parser_new(&device_fake_codec);
	static char text[1 << 20];
	struct uapi_request r;
	size_t n_used;
	size_t n = 0;

	(void)state;
	while (n + 9 < sizeof(text))
		n += (size_t)sprintf(text + n, "fwmark=1\n");
	assert_int_equal(push(parser, "set=1\n", &n_used, &r), 0);
	for (size_t i = 0; i <= UAPI_MAX_TEXT / n; i++)
		assert_int_equal(uapi_parser_push(parser, text, n, &n_used, &r),
				 0);
	assert_int_equal(push(parser, "\nget=1", &n_used, &r), UAPI_E_REQUEST);
	assert_int_equal(n_used, 1);
	assert_int_equal(r.error, -EMSGSIZE);
	assert_null(r.config);
	/* The next request starts afresh. */
	assert_int_equal(push(parser, "set=1\n\n", &n_used, &r),
			 UAPI_E_REQUEST);
	assert_int_equal(r.error, 0);
	config_free(r.config);
	uapi_parser_free(parser);
}

static void test_zero_bytes(void **state)
{
	static const char text[] = "set=1\nfwmark=1\0 2\n\n";
	struct uapi_parser *parser = uapi_parser_new(&device_fake_codec);
	struct uapi_request r;
	size_t n_used;

	(void)state;
	assert_int_equal(
		uapi_parser_push(parser, text, sizeof(text) - 1, &n_used, &r),
		UAPI_E_REQUEST);
	assert_int_equal(r.error, -EINVAL);
	assert_int_equal(uapi_parser_push(parser, "get=1\0\n", 7, &n_used, &r),
			 -EPROTO);
	uapi_parser_free(parser);
}

/* If any line of a request is wrong, nothing of the request is applied. */
static void test_each_line_wrong(void **state)
{
	static const char *const lines[] = {
		"private_key=" KEY,
		"listen_port=1",
		"fwmark=2",
		"replace_peers=true",
		"public_key=" KEY,
		"preshared_key=" KEY,
		"endpoint=a:1",
		"persistent_keepalive_interval=1",
		"replace_allowed_ips=true",
		"allowed_ip=1.2.3.0/24",
		"allowed_ip=-1.2.3.0/24",
		"protocol_version=1",
	};
	char text[2048];
	char *before;
	char *after;

	(void)state;
	for (size_t wrong = 0; wrong < ARRAY_LEN(lines); wrong++) {
		struct device_fake fake;
		struct uapi_request r;
		size_t n = (size_t)sprintf(text, "set=1\n");

		device_fake_init(&fake);
		assert_int_equal(device_fake_set(&fake, "set=1\nfwmark=7\n" P
							"endpoint=b:2\n\n"),
				 0);
		before = device_fake_print(&fake, PIECE);
		for (size_t i = 0; i < ARRAY_LEN(lines); i++)
			n += (size_t)sprintf(text + n, "%s%s\n",
					     i == wrong ? "x" : "", lines[i]);
		sprintf(text + n, "\n");
		r = device_fake_parse(text);
		assert_int_equal(r.error, -EINVAL);
		assert_int_equal(r.line, wrong + 2);
		assert_int_equal(device_fake_set(&fake, text), -EINVAL);
		after = device_fake_print(&fake, PIECE);
		assert_string_equal(before, after);
		free(before);
		free(after);
		device_fake_deinit(&fake);
	}
}

static size_t put_random_key(char *at)
{
	size_t n = 0;

	for (size_t i = 0; i < 4; i++)
		n += (size_t)sprintf(at + n, "%016llx",
				     (unsigned long long)random_next());
	return n;
}

/* A request of up to eight peers, as `wg setconf` writes it. */
static size_t put_random_config(char *at)
{
	size_t n = (size_t)sprintf(at, "set=1\nprivate_key=");

	n += put_random_key(at + n);
	n += (size_t)sprintf(at + n,
			     "\nlisten_port=%u\nfwmark=%u\n"
			     "replace_peers=true\n",
			     random_below(65536), (uint32_t)random_next());
	for (uint32_t i = random_below(9); i > 0; i--) {
		n += (size_t)sprintf(at + n, "public_key=");
		n += put_random_key(at + n);
		n += (size_t)sprintf(at + n, "\npreshared_key=");
		n += put_random_key(at + n);
		n += (size_t)sprintf(at + n,
				     "\nendpoint=192.0.2.%u:%u\n"
				     "persistent_keepalive_interval=%u\n"
				     "replace_allowed_ips=true\n",
				     random_below(256), random_below(65536),
				     random_below(65536));
		for (uint32_t k = random_below(5); k > 0; k--)
			n += (size_t)sprintf(
				at + n, "allowed_ip=%u.%u.3.4/%u\n",
				random_below(256), random_below(256),
				random_below(33));
	}
	return n + (size_t)sprintf(at + n, "\n");
}

/* Turn a reply to `get` into a `set` of the same configuration: leave out the
 * lines that cannot be set. */
static void print_as_set(const char *reply, char *text)
{
	static const char *const readonly[] = { "last_handshake", "tx_bytes",
						"rx_bytes", "errno" };
	size_t n = (size_t)sprintf(text, "set=1\n");
	const char *end;

	for (; *reply != '\n'; reply = end + 1) {
		size_t i = 0;

		end = strchr(reply, '\n');
		while (i < ARRAY_LEN(readonly) &&
		       strncmp(reply, readonly[i], strlen(readonly[i])))
			i++;
		if (i == ARRAY_LEN(readonly))
			n += (size_t)sprintf(text + n, "%.*s\n",
					     (int)(end - reply), reply);
	}
	sprintf(text + n, "\n");
}

static void test_round_trip(void **state)
{
	static char text[16384];

	(void)state;
	for (size_t i = 0; i < N_ROUNDS; i++) {
		struct device_fake a;
		struct device_fake b;
		char *first;
		char *second;

		device_fake_init(&a);
		device_fake_init(&b);
		put_random_config(text);
		assert_int_equal(device_fake_set(&a, text), 0);
		first = device_fake_print(&a, PIECE);
		print_as_set(first, text);
		assert_int_equal(device_fake_set(&b, text), 0);
		second = device_fake_print(&b, PIECE);
		assert_string_equal(first, second);
		free(first);
		free(second);
		device_fake_deinit(&a);
		device_fake_deinit(&b);
	}
}

static void test_status(void **state)
{
	char buf[UAPI_STATUS_CAP];

	(void)state;
	assert_int_equal(uapi_print_status(buf, sizeof(buf), UAPI_SET, 0), 9);
	assert_string_equal(buf, "errno=0\n\n");
	uapi_print_status(buf, sizeof(buf), UAPI_SET, -98);
	assert_string_equal(buf, "errno=-98\n\n");
	uapi_print_status(buf, sizeof(buf), UAPI_GET, -22);
	assert_string_equal(buf, "errno=22\n\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_what_no_request_begins_with),
		cmocka_unit_test(test_pipelined_requests),
		cmocka_unit_test(test_early_errors),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_long_requests),
		cmocka_unit_test(test_zero_bytes),
		cmocka_unit_test(test_each_line_wrong),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_status),
	};

	if (crypto_init())
		return 77;
	random_seed();
	rcu_register();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
