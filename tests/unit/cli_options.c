/* SPDX-License-Identifier: MIT */
/*
 * The command line, WIREGATHER_OPTIONS and the other variables of the
 * environment.
 */
#include "cli/options.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/lib/check.h"

enum {
	/* More words than any command line here has. */
	MAX_ARGS = 8,
};

/* Parse a command line: words with single blanks between them. */
static int parse(struct options *options, const char *line)
{
	/* The options point into this until the next call. */
	static char words[256];
	char *argv[MAX_ARGS + 1] = { NULL };
	int argc = 0;

	snprintf(words, sizeof(words), "%s", line);
	for (char *w = strtok(words, " "); w; w = strtok(NULL, " ")) {
		assert_true(argc < MAX_ARGS);
		argv[argc++] = w;
	}
	return options_parse(options, argc, argv);
}

static int clear_environment(void **state)
{
	(void)state;
	unsetenv("LOG_LEVEL");
	unsetenv("WG_TUN_FD");
	unsetenv("WG_UAPI_FD");
	unsetenv("WG_PROCESS_FOREGROUND");
	unsetenv("WIREGATHER_USER");
	unsetenv("WIREGATHER_OPTIONS");
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	unsetenv("FDSTORE");
	unsetenv("WIREGATHER_NETLINK_FD");
	unsetenv("WIREGATHER_DIRECTORY");
	return 0;
}

static void plain(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&o, "wiregather wg0"), 0);
	assert_string_equal(o.name, "wg0");
	assert_false(o.is_foreground);
	assert_false(o.keeps_output);
	assert_int_equal(o.level, LOG_ERROR);
	assert_int_equal(o.tun_fd, -1);
	assert_int_equal(o.uapi_fd, -1);
	assert_int_equal(o.netlink_fd, -1);
	assert_null(o.directory);
	assert_false(o.no_gso || o.no_gro || o.no_tso || o.no_uso ||
		     o.no_overlay || o.no_vnet_hdr);
}

static void foreground(void **state)
{
	static const char *const lines[] = {
		"wiregather -f wg0",
		"wiregather --foreground wg0",
		"wiregather wg0 -f",
		"wiregather wg0 --foreground",
		"wiregather --foreground -- wg0",
	};
	struct options o;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		assert_int_equal(parse(&o, lines[i]), 0);
		assert_string_equal(o.name, "wg0");
		assert_true(o.is_foreground);
	}
	setenv("WG_PROCESS_FOREGROUND", "1", 1);
	assert_int_equal(parse(&o, "wiregather wg0"), 0);
	assert_true(o.is_foreground);
	setenv("WG_PROCESS_FOREGROUND", "0", 1);
	assert_int_equal(parse(&o, "wiregather wg0"), 0);
	assert_false(o.is_foreground);
}

static void help_and_version(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&o, "wiregather --version"), OPTIONS_E_VERSION);
	assert_int_equal(parse(&o, "wiregather --help"), OPTIONS_E_HELP);
	assert_int_equal(parse(&o, "wiregather -h wg0"), OPTIONS_E_HELP);
	assert_non_null(strstr(options_get_usage(), "usage: wiregather"));
}

static void switches(void **state)
{
	static const struct {
		const char *word;
		size_t off;
	} cases[] = {
		{ "no-gso", offsetof(struct options, no_gso) },
		{ "no-gro", offsetof(struct options, no_gro) },
		{ "no-tso", offsetof(struct options, no_tso) },
		{ "no-uso", offsetof(struct options, no_uso) },
		{ "no-overlay", offsetof(struct options, no_overlay) },
		{ "no-vnet-hdr", offsetof(struct options, no_vnet_hdr) },
		{ "no-isolation", offsetof(struct options, no_isolation) },
		{ "clamp-mss", offsetof(struct options, clamps_mss) },
	};
	struct options o;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char line[64];

		snprintf(line, sizeof(line), "wiregather --%s wg0",
			 cases[i].word);
		assert_int_equal(parse(&o, line), 0);
		for (size_t k = 0; k < ARRAY_LEN(cases); k++)
			assert_int_equal(((bool *)&o)[cases[k].off], i == k);
		/* The usage names each switch. */
		snprintf(line, sizeof(line), "  --%s", cases[i].word);
		assert_non_null(strstr(options_get_usage(), line));
	}
}

static void path_mtu(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&o, "wiregather wg0"), 0);
	assert_false(o.finds_mtu || o.clamps_mss);
	assert_int_equal(parse(&o, "wiregather --pmtu discover wg0"), 0);
	assert_true(o.finds_mtu);
	assert_int_equal(parse(&o, "wiregather --pmtu=discover --pmtu=off wg0"),
			 0);
	assert_false(o.finds_mtu);
	assert_int_equal(parse(&o, "wiregather --pmtu=1400 wg0"),
			 OPTIONS_E_USAGE);
	assert_string_equal(o.error,
			    "--pmtu: no such mode (off, discover): 1400");
	assert_int_equal(parse(&o, "wiregather wg0 --pmtu"), OPTIONS_E_USAGE);
	assert_string_equal(o.error, "no value: --pmtu");
}

static void users(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&o, "wiregather wg0"), 0);
	assert_null(o.user);
	assert_int_equal(parse(&o, "wiregather --user alice wg0"), 0);
	assert_string_equal(o.user, "alice");
	assert_string_equal(o.name, "wg0");
	setenv("WIREGATHER_USER", "bob", 1);
	assert_int_equal(parse(&o, "wiregather wg0"), 0);
	assert_string_equal(o.user, "bob");
	/* The command line wins over the environment. */
	assert_int_equal(parse(&o, "wiregather wg0 --user=1:2"), 0);
	assert_string_equal(o.user, "1:2");
	setenv("WIREGATHER_USER", "", 1);
	assert_int_equal(parse(&o, "wiregather wg0"), 0);
	assert_null(o.user);
	unsetenv("WIREGATHER_USER");
}

/* Options for a program that is started by another one, such as wg-quick(8). */
static void variable(void **state)
{
	struct options o;

	(void)state;
	setenv("WIREGATHER_OPTIONS", "", 1);
	assert_int_equal(parse(&o, "wiregather wg0"), 0);
	assert_false(o.no_gso || o.no_gro || o.no_tso || o.no_uso ||
		     o.no_overlay || o.no_vnet_hdr);
	setenv("WIREGATHER_OPTIONS",
	       " --no-gso\t--no-gro  --no-tso --no-uso\n"
	       "--no-overlay --no-vnet-hdr --eager -f --workers 2 --queues 3 "
	       "--aead=libsodium --pmtu=discover --clamp-mss --fail-closed ",
	       1);
	assert_int_equal(parse(&o, "wiregather wg0"), 0);
	assert_true(o.no_gso && o.no_gro && o.no_tso && o.no_uso &&
		    o.no_overlay && o.no_vnet_hdr && o.eager &&
		    o.is_foreground);
	assert_int_equal(o.n_workers, 2);
	assert_int_equal(o.n_queues, 3);
	assert_int_equal(o.aead, AEAD_SODIUM);
	assert_true(o.finds_mtu && o.clamps_mss && o.fails_closed);
	assert_false(o.leaves_core);
	assert_string_equal(o.name, "wg0");
	/* The command line wins, and adds to the variable. */
	assert_int_equal(parse(&o, "wiregather --workers=3 --aead=auto "
				   "--no-isolation --core wg0"),
			 0);
	assert_true(o.leaves_core);
	assert_int_equal(o.n_workers, 3);
	assert_int_equal(o.aead, AEAD_BEST);
	assert_true(o.no_gso && o.no_isolation);
	assert_non_null(strstr(options_get_usage(), "WIREGATHER_OPTIONS"));
}

static void bad_variable(void **state)
{
	static const struct {
		const char *text;
		const char *error;
	} cases[] = {
		{ "--no-gso wg1", "not an option: wg1" },
		{ "wg1", "not an option: wg1" },
		{ "-- --no-gso", "not an option: --no-gso" },
		{ "-", "not an option: -" },
		{ "--no-gso,--no-gro", "no such option: --no-gso,--no-gro" },
		{ "no-gso", "not an option: no-gso" },
		{ "--nothing", "no such option: --nothing" },
		{ "-fx", "no such option: -x" },
		{ "--workers", "no value: --workers" },
		{ "--workers 99", "not a number of workers (1 to 8): 99" },
		{ "--queues 0", "not a number of queues (1 to 8): 0" },
		{ "--queues 9", "not a number of queues (1 to 8): 9" },
		{ "--aead=rot13", "--aead: no such backend: rot13" },
		{ "--no-isolation",
		  "for the command line only: --no-isolation" },
		{ "--no-i", "for the command line only: --no-i" },
		{ "--user=root", "for the command line only: --user=root" },
		{ "--core", "for the command line only: --core" },
		{ "--help", "for the command line only: --help" },
		{ "--version", "for the command line only: --version" },
		{ "--bench-crypto",
		  "for the command line only: --bench-crypto" },
	};
	struct options o;
	char text[600];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char expected[OPTIONS_ERROR_CAP];

		snprintf(expected, sizeof(expected), "WIREGATHER_OPTIONS: %s",
			 cases[i].error);
		setenv("WIREGATHER_OPTIONS", cases[i].text, 1);
		assert_int_equal(parse(&o, "wiregather wg0"), OPTIONS_E_USAGE);
		assert_string_equal(o.error, expected);
		assert_int_equal(parse(&o, "wiregather --help"),
				 OPTIONS_E_HELP);
	}
	/* 255 bytes fit: as many words as possible, then one byte too many. */
	for (size_t i = 0; i < 255; i++)
		memcpy(text + i, i % 2 ? " " : "-", 2);
	setenv("WIREGATHER_OPTIONS", text, 1);
	assert_int_equal(parse(&o, "wiregather wg0"), OPTIONS_E_USAGE);
	assert_string_equal(o.error, "WIREGATHER_OPTIONS: not an option: -");
	memset(text, ' ', 256);
	text[256] = 0;
	setenv("WIREGATHER_OPTIONS", text, 1);
	assert_int_equal(parse(&o, "wiregather wg0"), OPTIONS_E_USAGE);
	assert_string_equal(o.error, "WIREGATHER_OPTIONS: too long");
	text[255] = 0;
	setenv("WIREGATHER_OPTIONS", text, 1);
	assert_int_equal(parse(&o, "wiregather wg0"), 0);
	memset(text, 'x', 250);
	memcpy(text, "--", 2);
	setenv("WIREGATHER_OPTIONS", text, 1);
	assert_int_equal(parse(&o, "wiregather wg0"), OPTIONS_E_USAGE);
	assert_int_equal(strlen(o.error), OPTIONS_ERROR_CAP - 1);
}

static void backends(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&o, "wiregather wg0"), 0);
	assert_int_equal(o.aead, AEAD_BEST);
	for (int c = 0; c < AEAD_CHOICES; c++) {
		char line[64];

		snprintf(line, sizeof(line), "wiregather --aead=%s wg0",
			 aead_get_word((enum aead_choice)c));
		assert_int_equal(parse(&o, line), 0);
		assert_int_equal(o.aead, c);
	}
	assert_int_equal(parse(&o, "wiregather --bench-crypto"),
			 OPTIONS_E_BENCH_CRYPTO);
	assert_false(o.bench_is_csv);
	assert_int_equal(parse(&o, "wiregather --bench-crypto=csv"),
			 OPTIONS_E_BENCH_CRYPTO);
	assert_true(o.bench_is_csv);
}

static void bad_lines(void **state)
{
	static const struct {
		const char *line;
		const char *error;
	} cases[] = {
		{ "wiregather", "missing: NAME" },
		{ "wiregather -f", "missing: NAME" },
		{ "wiregather wg0 wg1", "one NAME only: wg1" },
		{ "wiregather -x wg0", "no such option: -x" },
		{ "wiregather -fx wg0", "no such option: -x" },
		{ "wiregather --nothing wg0", "no such option: --nothing" },
		{ "wiregather --no wg0", "no such option: --no" },
		{ "wiregather --foreground=1 wg0",
		  "no such option: --foreground=1" },
		{ "wiregather wg0 --user", "no value: --user" },
		{ "wiregather wg0 --aead", "no value: --aead" },
		{ "wiregather --aead= wg0", "--aead: no such backend: " },
		{ "wiregather --aead=libsodiu wg0",
		  "--aead: no such backend: libsodiu" },
		{ "wiregather --bench-crypto=xml",
		  "--bench-crypto: no such form: xml" },
		{ "wiregather wg0/", "not a name for an interface: wg0/" },
		{ "wiregather a:b", "not a name for an interface: a:b" },
		{ "wiregather .", "not a name for an interface: ." },
		{ "wiregather ..", "not a name for an interface: .." },
		{ "wiregather a234567890123456",
		  "not a name for an interface: a234567890123456" },
	};
	struct options o;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(parse(&o, cases[i].line), OPTIONS_E_USAGE);
		assert_string_equal(o.error, cases[i].error);
	}
}

static void names(void **state)
{
	static const struct {
		const char *name;
		int rc;
	} cases[] = {
		{ "", OPTIONS_E_USAGE },
		{ "a", 0 },
		{ "a23456789012345", 0 },
		{ "wg%d", 0 },
		{ "help", OPTIONS_E_HELP },
		{ "...", 0 },
		{ "w g", OPTIONS_E_USAGE },
		{ "w\tg", OPTIONS_E_USAGE },
		{ "wg0\n", OPTIONS_E_USAGE },
		{ "w\v", OPTIONS_E_USAGE },
		{ "../../tmp/x", OPTIONS_E_USAGE },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char program[] = "wiregather", dashes[] = "--", name[32];
		char *argv[] = { program, dashes, name, NULL };
		struct options o;

		snprintf(name, sizeof(name), "%s", cases[i].name);
		assert_int_equal(options_parse(&o, 3, argv), cases[i].rc);
	}
}

static void levels(void **state)
{
	static const struct {
		const char *text;
		enum log_level level;
		bool keeps_output;
		bool is_bad;
	} cases[] = {
		{ "verbose", LOG_VERBOSE, true, false },
		{ "debug", LOG_VERBOSE, true, false },
		{ "error", LOG_ERROR, true, false },
		{ "silent", LOG_SILENT, false, false },
		{ "", LOG_ERROR, false, false },
		{ "whatever", LOG_ERROR, true, true },
		{ "INFO", LOG_ERROR, true, true },
		{ "verbose ", LOG_ERROR, true, true },
	};
	struct options o;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		setenv("LOG_LEVEL", cases[i].text, 1);
		assert_int_equal(parse(&o, "wiregather wg0"), 0);
		assert_int_equal(o.level, cases[i].level);
		assert_int_equal(o.keeps_output, cases[i].keeps_output);
		assert_int_equal(o.bad_level != NULL, cases[i].is_bad);
	}
}

static void descriptors(void **state)
{
	static const struct {
		const char *text;
		int rc;
		int fd;
	} cases[] = {
		{ "", 0, -1 },
		{ "0", 0, 0 },
		{ "17", 0, 17 },
		{ "2147483647", 0, 2147483647 },
		{ "2147483648", OPTIONS_E_USAGE, 0 },
		{ "99999999999999999999", OPTIONS_E_USAGE, 0 },
		{ "-1", OPTIONS_E_USAGE, 0 },
		{ "+1", OPTIONS_E_USAGE, 0 },
		{ " 1", OPTIONS_E_USAGE, 0 },
		{ "1 ", OPTIONS_E_USAGE, 0 },
		{ "x", OPTIONS_E_USAGE, 0 },
		{ "3,4", OPTIONS_E_USAGE, 0 },
	};
	struct options o;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		setenv("WG_TUN_FD", cases[i].text, 1);
		assert_int_equal(parse(&o, "wiregather wg0"), cases[i].rc);
		if (!cases[i].rc)
			assert_int_equal(o.tun_fd, cases[i].fd);
		unsetenv("WG_TUN_FD");
		setenv("WG_UAPI_FD", cases[i].text, 1);
		assert_int_equal(parse(&o, "wiregather wg0"), cases[i].rc);
		if (!cases[i].rc)
			assert_int_equal(o.uapi_fd, cases[i].fd);
		unsetenv("WG_UAPI_FD");
	}
	setenv("WG_TUN_FD", "3,4", 1);
	assert_int_equal(parse(&o, "wiregather wg0"), OPTIONS_E_USAGE);
	assert_string_equal(o.error, "WG_TUN_FD: one queue only");
}

static void notify_socket(void **state)
{
	static const struct {
		const char *text;
		bool is_good;
		bool is_bad;
	} cases[] = {
		{ "", false, false },	      { "/run/notify", true, false },
		{ "@name", true, false },     { "@", false, true },
		{ "/", false, true },	      { "run/notify", false, true },
		{ "vsock:2:1", false, true },
	};
	char longest[109] = "/";
	struct options o;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		setenv("NOTIFY_SOCKET", cases[i].text, 1);
		assert_int_equal(parse(&o, "wiregather wg0"), 0);
		assert_int_equal(o.notify_socket != NULL, cases[i].is_good);
		assert_int_equal(o.bad_notify != NULL, cases[i].is_bad);
	}
	/* With its final 0 a path has up to 108 bytes: unix(7). */
	memset(longest + 1, 'a', sizeof(longest) - 2);
	setenv("NOTIFY_SOCKET", longest, 1);
	assert_int_equal(parse(&o, "wiregather wg0"), 0);
	assert_non_null(o.bad_notify);
	longest[sizeof(longest) - 2] = 0;
	setenv("NOTIFY_SOCKET", longest, 1);
	assert_int_equal(parse(&o, "wiregather wg0"), 0);
	assert_non_null(o.notify_socket);
}

/* The rules of sd_watchdog_enabled(3). */
static void watchdog(void **state)
{
	char own[32];
	const struct {
		const char *usec, *pid;
		uint64_t us;
		const char *bad;
	} cases[] = {
		{ NULL, NULL, 0, NULL },
		{ NULL, "x", 0, NULL },
		{ "30000000", NULL, 30000000, NULL },
		{ "30000000", own, 30000000, NULL },
		{ "30000000", "1", 0, NULL },
		{ "30000000", "x", 0, "x" },
		{ "30000000", "", 0, "" },
		{ "30000000", "0", 0, "0" },
		{ "0", own, 0, "0" },
		{ "-1", own, 0, "-1" },
		{ "30s", own, 0, "30s" },
		{ "", own, 0, "" },
		{ "18446744073709551614", NULL, UINT64_MAX - 1, NULL },
		{ "18446744073709551615", NULL, 0, "18446744073709551615" },
		{ "18446744073709551616", NULL, 0, "18446744073709551616" },
	};
	struct options o;

	(void)state;
	snprintf(own, sizeof(own), "%ld", (long)getpid());
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		clear_environment(NULL);
		if (cases[i].usec)
			setenv("WATCHDOG_USEC", cases[i].usec, 1);
		if (cases[i].pid)
			setenv("WATCHDOG_PID", cases[i].pid, 1);
		assert_int_equal(parse(&o, "wiregather wg0"), 0);
		assert_int_equal(o.watchdog_us, cases[i].us);
		if (cases[i].bad)
			assert_string_equal(o.bad_watchdog, cases[i].bad);
		else
			assert_null(o.bad_watchdog);
	}
}

static void store(void **state)
{
	static const struct {
		const char *text;
		bool has;
	} cases[] = {
		{ NULL, false }, { "40", true }, { "0", false },
		{ "", false },	 { "x", false }, { "-1", false },
	};
	struct options o;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		clear_environment(NULL);
		if (cases[i].text)
			setenv("FDSTORE", cases[i].text, 1);
		assert_int_equal(parse(&o, "wiregather wg0"), 0);
		assert_true(o.has_store == cases[i].has);
	}
}

/* The interface in another namespace, and the sockets in another directory. */
static void elsewhere(void **state)
{
	struct options o;

	(void)state;
	setenv("WIREGATHER_NETLINK_FD", "7", 1);
	assert_int_equal(parse(&o, "wiregather wg0"), OPTIONS_E_USAGE);
	assert_string_equal(o.error,
			    "WIREGATHER_NETLINK_FD: without: WG_TUN_FD");
	setenv("WG_TUN_FD", "6", 1);
	assert_int_equal(parse(&o, "wiregather wg0"), 0);
	assert_int_equal(o.tun_fd, 6);
	assert_int_equal(o.netlink_fd, 7);
	setenv("WIREGATHER_NETLINK_FD", "x", 1);
	assert_int_equal(parse(&o, "wiregather wg0"), OPTIONS_E_USAGE);
	assert_string_equal(o.error, "WIREGATHER_NETLINK_FD: x");
	unsetenv("WIREGATHER_NETLINK_FD");
	setenv("WIREGATHER_DIRECTORY", "/run/user/1000/wiregather", 1);
	assert_int_equal(parse(&o, "wiregather wg0"), 0);
	assert_string_equal(o.directory, "/run/user/1000/wiregather");
	setenv("WIREGATHER_DIRECTORY", "here", 1);
	assert_int_equal(parse(&o, "wiregather wg0"), OPTIONS_E_USAGE);
	assert_string_equal(o.error,
			    "WIREGATHER_DIRECTORY: not an absolute path: here");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain),
		cmocka_unit_test_setup(foreground, clear_environment),
		cmocka_unit_test_setup(help_and_version, clear_environment),
		cmocka_unit_test(switches),
		cmocka_unit_test(path_mtu),
		cmocka_unit_test_setup(users, clear_environment),
		cmocka_unit_test_setup(variable, clear_environment),
		cmocka_unit_test_setup(bad_variable, clear_environment),
		cmocka_unit_test_setup(backends, clear_environment),
		cmocka_unit_test_setup(notify_socket, clear_environment),
		cmocka_unit_test_setup(watchdog, clear_environment),
		cmocka_unit_test_setup(store, clear_environment),
		cmocka_unit_test(bad_lines),
		cmocka_unit_test(names),
		cmocka_unit_test(levels),
		cmocka_unit_test_setup(descriptors, clear_environment),
		cmocka_unit_test_setup(elsewhere, clear_environment),
	};

	return cmocka_run_group_tests(tests, clear_environment, NULL);
}
