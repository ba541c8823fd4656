/* SPDX-License-Identifier: MIT */
/*
 * Command line and environment. Input: texts that end in a zero byte; first
 * the values of the variables, "\1" for one that is not set, then arguments.
 *
 * Promises: an accepted name is valid for the kernel, an accepted descriptor is
 * a number, an error is a whole sentence, and WIREGATHER_OPTIONS can set no
 * interface and no user, and cannot keep rights.
 */
#include "fuzz/fuzz.h"

#include <ctype.h>
#include <net/if.h>

#include "cli/options.h"
#include "engine/bounds.h"

enum {
	/* Bounds of an input. Choices. */
	ARGS_MAX = 12,
	TEXT_MAX = 2048,
};

static const char *const variables[] = {
	"LOG_LEVEL",	   "WG_TUN_FD",
	"WG_UAPI_FD",	   "WG_PROCESS_FOREGROUND",
	"WIREGATHER_USER", "WIREGATHER_OPTIONS"
};

enum {
	N_VARIABLES = sizeof(variables) / sizeof(variables[0])
};

static void check(const struct options *options, int rc)
{
	require(rc >= 0 && rc <= OPTIONS_E_USAGE);
	require(memchr(options->error, 0, sizeof(options->error)) != NULL);
	if (rc == OPTIONS_E_USAGE)
		require(*options->error);
	if (rc)
		return;
	require(*options->name && strlen(options->name) < IFNAMSIZ);
	require(strcmp(options->name, ".") && strcmp(options->name, ".."));
	for (const char *c = options->name; *c; c++)
		require(*c != '/' && *c != ':' && !isspace((unsigned char)*c));
	require(options->tun_fd >= -1 && options->uapi_fd >= -1);
	require(options->n_workers <= WORKERS_MAX);
	require(options->level == LOG_SILENT || options->level == LOG_ERROR ||
		options->level == LOG_VERBOSE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static char name[] = "wiregather", interface[] = "wg0";
	char text[TEXT_MAX + 1], *argv[ARGS_MAX + 2] = { name };
	struct options options;
	int argc = 1;
	size_t n = 0;

	if (len > TEXT_MAX)
		return 0;
	if (len)
		memcpy(text, data, len);
	text[len] = 0;
	for (char *at = text; at < text + len; at += strlen(at) + 1, n++) {
		if (n >= N_VARIABLES && argc <= ARGS_MAX)
			argv[argc++] = at;
		else if (n < N_VARIABLES && *at != '\1')
			setenv(variables[n], at, 1);
	}
	check(&options, options_parse(&options, argc, argv));
	/* Parse the variable alone. */
	unsetenv("WIREGATHER_USER");
	argv[1] = interface;
	int rc = options_parse(&options, 2, argv);

	check(&options, rc);
	require(rc == 0 || rc == OPTIONS_E_USAGE);
	require(rc || options.name == interface);
	require(!options.user && !options.no_isolation);
	for (size_t i = 0; i < N_VARIABLES; i++)
		unsetenv(variables[i]);
	return 0;
}
