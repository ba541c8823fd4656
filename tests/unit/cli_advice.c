/* SPDX-License-Identifier: MIT */
/*
 * Each piece of advice is one line, fits its buffer, and has the word that
 * helps.
 */
#include "cli/advice.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "cli/daemon.h"
#include "cli/tunnel.h"
#include "tests/lib/check.h"

static const char name[] = "a23456789012345";

/* The line fits, is one line, and has the word. */
static void check(const char *line, const char *word)
{
	assert_true(strlen(line) < TUNNEL_WHY_CAP - 1);
	assert_null(strchr(line, '\n'));
	if (!strstr(line, word))
		fail_msg("'%s' is not in '%s'", word, line);
}

static void on_tun(void **state)
{
	/* Each C library has its own text for an errno. */
	const struct {
		int err;
		const char *word;
	} cases[] = {
		{ ENOENT, "mknod /dev/net/tun c 10 200" },
		{ ENODEV, "modprobe tun" },
		{ ENXIO, "modprobe tun" },
		{ EACCES, "root" },
		{ EPERM, "CAP_NET_ADMIN" },
		{ EBUSY, "a23456789012345 exists already" },
		{ EINVAL, "a23456789012345 exists already" },
		{ ENOMEM, strerror(ENOMEM) },
	};
	char line[TUNNEL_WHY_CAP];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		advice_on_tun(line, sizeof(line), name, -cases[i].err);
		check(line, cases[i].word);
	}
	advice_on_tun_fd(line, sizeof(line), 2147483647, -ENOTTY);
	check(line, "WG_TUN_FD=2147483647");
}

static void on_socket(void **state)
{
	static const struct {
		int err;
		const char *word;
	} cases[] = {
		{ EADDRINUSE, "a23456789012345.sock is in use" },
		{ EEXIST, "not a socket" },
		{ EMFILE, "RLIMIT_NOFILE" },
		{ EROFS, "Read-only file system" },
	};
	char line[TUNNEL_WHY_CAP];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		advice_on_socket(line, sizeof(line), "/var/run/wireguard", name,
				 -cases[i].err);
		check(line, cases[i].word);
		check(line, "/var/run/wireguard/a23456789012345.sock");
	}
	/* A path that is too long is cut, and so is the line. */
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = 0;
	char long_path[sizeof(line)];

	memcpy(long_path, line, sizeof(line));
	advice_on_socket(line, sizeof(line), long_path, name, -EROFS);
	check(line, "cannot serve xxx");
	advice_on_socket_fd(line, sizeof(line), 2147483647, -EINVAL);
	check(line, "WG_UAPI_FD=2147483647");
}

/* The daemon's pipe takes a line of the tunnel as a whole. */
static void fits(void **state)
{
	(void)state;
	assert_true((int)TUNNEL_WHY_CAP < (int)DAEMON_LINE_CAP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(on_tun),
		cmocka_unit_test(on_socket),
		cmocka_unit_test(fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
