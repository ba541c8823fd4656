/* SPDX-License-Identifier: MIT */
/*
 * The parser of the command line and of the environment. WIREGATHER_OPTIONS is
 * read before the command line, so that the command line wins.
 */
#include "cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/bounds.h"

static const char usage[] =
	"usage: wiregather [-f | --foreground] [--user USER] NAME\n"
	"       wiregather --bench-crypto[=csv] | --version | --help\n"
	"\n"
	"Makes the WireGuard interface NAME; wg(8) and ip(8) configure it. If\n"
	"NAME has %d in it, the kernel puts a number there, and the name is\n"
	"printed.\n"
	"\n"
	"  -f, --foreground  do not become a daemon\n"
	"      --aead=NAME   the library that encrypts: auto (default), boringssl,\n"
	"                    ipsec-mb, libcrypto or libsodium\n"
	"      --bench-crypto  measure these libraries, in a few seconds\n"
	"      --clamp-mss   lower the MSS of TCP to what passes the tunnel\n"
	"      --fail-closed if the daemon fails for good, the interface stays, and\n"
	"                    nothing passes, until the interface is deleted\n"
	"      --keeper-user USER\n"
	"                    the user of the process that keeps the rights (default:\n"
	"                    the one that starts it)\n"
	"      --pmtu=MODE   off (default); discover: find the path MTU of each peer,\n"
	"                    and send no packet that has to be cut on the way\n"
	"      --queues N    queues of the interface, 1 to 8 (default: a\n"
	"                    quarter of the processors)\n"
	"      --stats-group GROUP\n"
	"                    a group that may read the statistics socket\n"
	"      --user USER   the user to become when started as root (default\n"
	"                    nobody), by name or as UID:GID\n"
	"      --workers N   the most threads that move packets, 1 to 8\n"
	"      --version     print the version\n"
	"  -h, --help        print this\n"
	"\n"
	"To find faults, these options switch something off:\n"
	"      --no-gso      sending UDP datagrams in trains\n"
	"      --no-gro      receiving UDP datagrams merged\n"
	"      --no-tso      TCP super-packets on the interface\n"
	"      --no-uso      UDP super-packets on the interface\n"
	"      --no-overlay  super-packets of VXLAN and Geneve on the interface\n"
	"      --no-vnet-hdr all super-packets, and checksum offload\n"
	"      --no-isolation\n"
	"                    giving up rights that are not needed\n"
	"      --core        having no core files: they may have keys in them\n"
	"To measure, this one keeps all threads that move packets at work:\n"
	"      --eager\n"
	"\n"
	"Environment: LOG_LEVEL (verbose, debug, error or silent), WG_TUN_FD,\n"
	"WG_UAPI_FD, WG_PROCESS_FOREGROUND=1, WIREGATHER_USER (as --user),\n"
	"WIREGATHER_OPTIONS (options, except --user, --core, --no-isolation),\n"
	"WIREGATHER_NETLINK_FD, WIREGATHER_DIRECTORY (of the sockets).\n"
	"See wiregather(8).\n";

static const char options_variable[] = "WIREGATHER_OPTIONS";

enum {
	/* Most bytes of WIREGATHER_OPTIONS, with its final 0, and most words. A
	 * choice: all options that the variable may have take about 100 bytes.
	 * A word takes at least two bytes, with the blank or the 0 behind
	 * it. */
	VARIABLE_CAP = 256,
	VARIABLE_WORDS = VARIABLE_CAP / 2
};

/* Codes for the options that have no letter. They are above all letters. */
enum {
	LONG_VERSION = 256,
	LONG_NO_GSO,
	LONG_NO_GRO,
	LONG_NO_TSO,
	LONG_NO_USO,
	LONG_NO_OVERLAY,
	LONG_NO_VNET_HDR,
	LONG_USER,
	LONG_KEEPER_USER,
	LONG_NO_ISOLATION,
	LONG_AEAD,
	LONG_BENCH_CRYPTO,
	LONG_WORKERS,
	LONG_STATS_GROUP,
	LONG_EAGER,
	LONG_QUEUES,
	LONG_PMTU,
	LONG_CLAMP_MSS,
	LONG_FAIL_CLOSED,
	LONG_CORE,
};

static const struct option long_options[] = {
	{ "foreground", no_argument, NULL, 'f' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, LONG_VERSION },
	{ "no-gso", no_argument, NULL, LONG_NO_GSO },
	{ "no-gro", no_argument, NULL, LONG_NO_GRO },
	{ "no-tso", no_argument, NULL, LONG_NO_TSO },
	{ "no-uso", no_argument, NULL, LONG_NO_USO },
	{ "no-overlay", no_argument, NULL, LONG_NO_OVERLAY },
	{ "no-vnet-hdr", no_argument, NULL, LONG_NO_VNET_HDR },
	{ "user", required_argument, NULL, LONG_USER },
	{ "keeper-user", required_argument, NULL, LONG_KEEPER_USER },
	{ "no-isolation", no_argument, NULL, LONG_NO_ISOLATION },
	{ "aead", required_argument, NULL, LONG_AEAD },
	{ "bench-crypto", optional_argument, NULL, LONG_BENCH_CRYPTO },
	{ "workers", required_argument, NULL, LONG_WORKERS },
	{ "stats-group", required_argument, NULL, LONG_STATS_GROUP },
	{ "eager", no_argument, NULL, LONG_EAGER },
	{ "queues", required_argument, NULL, LONG_QUEUES },
	{ "pmtu", required_argument, NULL, LONG_PMTU },
	{ "clamp-mss", no_argument, NULL, LONG_CLAMP_MSS },
	{ "fail-closed", no_argument, NULL, LONG_FAIL_CLOSED },
	{ "core", no_argument, NULL, LONG_CORE },
	{ NULL, 0, NULL, 0 },
};

const char *options_get_usage(void)
{
	return usage;
}

static int refuse(struct options *options, const char *what, const char *token)
{
	snprintf(options->error, sizeof(options->error), "%s: %s", what, token);
	return OPTIONS_E_USAGE;
}

/*
 * The rules are those of the kernel's dev_valid_name(). "wg%d" is valid: the
 * kernel puts a number in. The caller has already handled "help".
 */
static bool is_name(const char *name)
{
	size_t len = strlen(name);

	if (!len || len >= IFNAMSIZ || !strcmp(name, ".") ||
	    !strcmp(name, ".."))
		return false;
	for (size_t i = 0; i < len; i++)
		if (name[i] == '/' || name[i] == ':' ||
		    isspace((unsigned char)name[i]))
			return false;
	return true;
}

/* Read a number from 1 to @max. @what: the error, if it is none. */
static int parse_count(struct options *options, unsigned int *n,
		       unsigned long max, const char *what, const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (!isdigit((unsigned char)*text) || *end || !value || value > max)
		return refuse(options, what, text);
	*n = (unsigned int)value;
	return 0;
}

static int parse_pmtu(struct options *options, const char *mode)
{
	options->finds_mtu = !strcmp(mode, "discover");
	if (options->finds_mtu || !strcmp(mode, "off"))
		return 0;
	return refuse(options, "--pmtu: no such mode (off, discover)", mode);
}

static int parse_group(struct options *options, const char *name)
{
	if (!*name || strlen(name) >= sizeof(options->stats_group))
		return refuse(options, "--stats-group: not a group", name);
	memcpy(options->stats_group, name, strlen(name) + 1);
	return 0;
}

/* Take an option that getopt_long(3) has found. Returns 0; OPTIONS_E_*; -1:
 * there is no such option. */
static int parse_option(struct options *options, int c)
{
	switch (c) {
	case 'f':
		options->is_foreground = true;
		return 0;
	case 'h':
		return OPTIONS_E_HELP;
	case LONG_VERSION:
		return OPTIONS_E_VERSION;
	case LONG_NO_GSO:
		options->no_gso = true;
		return 0;
	case LONG_NO_GRO:
		options->no_gro = true;
		return 0;
	case LONG_NO_TSO:
		options->no_tso = true;
		return 0;
	case LONG_NO_USO:
		options->no_uso = true;
		return 0;
	case LONG_NO_OVERLAY:
		options->no_overlay = true;
		return 0;
	case LONG_NO_VNET_HDR:
		options->no_vnet_hdr = true;
		return 0;
	case LONG_USER:
		options->user = optarg;
		return 0;
	case LONG_KEEPER_USER:
		options->keeper_user = optarg;
		return 0;
	case LONG_NO_ISOLATION:
		options->no_isolation = true;
		return 0;
	case LONG_AEAD:
		if (aead_find_choice(&options->aead, optarg))
			return 0;
		return refuse(options, "--aead: no such backend", optarg);
	case LONG_BENCH_CRYPTO:
		options->bench_is_csv = optarg && !strcmp(optarg, "csv");
		if (!optarg || options->bench_is_csv)
			return OPTIONS_E_BENCH_CRYPTO;
		return refuse(options, "--bench-crypto: no such form", optarg);
	case LONG_WORKERS:
		return parse_count(options, &options->n_workers, WORKERS_MAX,
				   "not a number of workers (1 to 8)", optarg);
	case LONG_QUEUES:
		return parse_count(options, &options->n_queues, QUEUES_MAX,
				   "not a number of queues (1 to 8)", optarg);
	case LONG_PMTU:
		return parse_pmtu(options, optarg);
	case LONG_CLAMP_MSS:
		options->clamps_mss = true;
		return 0;
	case LONG_FAIL_CLOSED:
		options->fails_closed = true;
		return 0;
	case LONG_CORE:
		options->leaves_core = true;
		return 0;
	case LONG_STATS_GROUP:
		return parse_group(options, optarg);
	case LONG_EAGER:
		options->eager = true;
		return 0;
	default:
		return -1;
	}
}

/* Say which option does not exist. */
static int fail_option(struct options *options, char **argv)
{
	char letter[] = { '-', (char)optopt, 0 };

	/* optopt is the letter; for a long option it is 0 or the option's
	 * code. */
	if (optopt > ' ' && optopt < LONG_VERSION &&
	    strncmp(argv[optind - 1], "--", 2) != 0)
		return refuse(options, "no such option", letter);
	return refuse(options, "no such option", argv[optind - 1]);
}

static void restart_getopt(void)
{
	opterr = 0;
	/* With 0, unlike 1, glibc forgets the arguments of the last run. */
	optind = 0;
}

static int parse_arguments(struct options *options, int argc, char **argv)
{
	int c, rc;

	restart_getopt();
	while ((c = getopt_long(argc, argv, ":fh", long_options, NULL)) != -1) {
		if (c == ':')
			return refuse(options, "no value", argv[optind - 1]);
		rc = parse_option(options, c);
		if (rc < 0)
			return fail_option(options, argv);
		if (rc > 0)
			return rc;
	}
	if (optind == argc)
		return refuse(options, "missing", "NAME");
	if (argc - optind > 1)
		return refuse(options, "one NAME only", argv[optind + 1]);
	options->name = argv[optind];
	if (!strcmp(options->name, "help"))
		return OPTIONS_E_HELP;
	if (!is_name(options->name))
		return refuse(options, "not a name for an interface",
			      options->name);
	return 0;
}

/* May an option come from WIREGATHER_OPTIONS? */
static bool is_for_variable(int c)
{
	switch (c) {
	case 'h':
	case LONG_VERSION:
	case LONG_BENCH_CRYPTO:
	/* Only the command line decides about the daemon's rights, and about what
	 * becomes of its keys. */
	case LONG_CORE:
	case LONG_USER:
	case LONG_KEEPER_USER:
	case LONG_NO_ISOLATION:
		return false;
	default:
		return true;
	}
}

static int parse_words(struct options *options, int argc, char **argv)
{
	int c, rc;

	restart_getopt();
	while ((c = getopt_long(argc, argv, ":fh", long_options, NULL)) != -1) {
		if (c == ':')
			return refuse(options, "no value", argv[optind - 1]);
		if (!is_for_variable(c))
			return refuse(options, "for the command line only",
				      argv[optind - 1]);
		rc = parse_option(options, c);
		if (rc < 0)
			return fail_option(options, argv);
		if (rc > 0)
			return rc;
	}
	if (optind < argc)
		return refuse(options, "not an option", argv[optind]);
	return 0;
}

/*
 * The words of the variable are separated by blanks. They are on the stack:
 * @options keeps no pointer to the argument of an option that the variable may
 * have.
 */
static int parse_variable(struct options *options)
{
	char words[VARIABLE_CAP];
	/* As much of an error as fits behind the variable's name and ": ". */
	char error[OPTIONS_ERROR_CAP - sizeof(options_variable) - 1];
	char *argv[VARIABLE_WORDS + 2] = { words }, *rest = words;
	/* NULL if the program's file gives it privileges. */
	const char *text = secure_getenv(options_variable);
	size_t len = text ? strlen(text) : 0;
	int argc = 1, rc;

	if (!len)
		return 0;
	if (len >= sizeof(words))
		return refuse(options, options_variable, "too long");
	memcpy(words, text, len + 1);
	for (char *word; (word = strtok_r(rest, " \t\n", &rest));)
		argv[argc++] = word;
	rc = parse_words(options, argc, argv);
	if (rc == 0)
		return 0;
	memcpy(error, options->error, sizeof(error) - 1);
	error[sizeof(error) - 1] = 0;
	return refuse(options, options_variable, error);
}

/* Read a descriptor from a variable, unless the variable is missing or
 * empty. */
static int parse_fd(struct options *options, int *fd, const char *variable)
{
	const char *text = getenv(variable);
	char *end;
	long value;

	if (!text || !*text)
		return 0;
	errno = 0;
	value = strtol(text, &end, 10);
	if (errno || *end || !isdigit((unsigned char)*text) || value > INT_MAX)
		return refuse(options, variable,
			      strchr(text, ',') ? "one queue only" : text);
	*fd = (int)value;
	return 0;
}

static void parse_level(struct options *options)
{
	const char *text = getenv("LOG_LEVEL");

	options->level = LOG_ERROR;
	if (!text || !*text)
		return;
	if (!strcmp(text, "verbose") || !strcmp(text, "debug"))
		options->level = LOG_VERBOSE;
	else if (!strcmp(text, "silent"))
		options->level = LOG_SILENT;
	else if (strcmp(text, "error") != 0)
		/* wireguard-go takes any other word for "error", too. */
		options->bad_level = text;
	options->keeps_output = options->level != LOG_SILENT;
}

/* An address is a path, or "@" and an abstract name: sd_notify(3). */
static void parse_notify_socket(struct options *options)
{
	const char *text = secure_getenv("NOTIFY_SOCKET");

	if (!text || !*text)
		return;
	if ((*text == '/' || *text == '@') && text[1] &&
	    strlen(text) < sizeof(((struct sockaddr_un *)NULL)->sun_path))
		options->notify_socket = text;
	else
		options->bad_notify = text;
}

/* Read a number above 0. Return: false: it is none. */
static bool parse_number(uint64_t *value, const char *text)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	return isdigit((unsigned char)*text) && !*end && !errno && *value;
}

/*
 * The rules of sd_watchdog_enabled(3): the watchdog is for the process that
 * WATCHDOG_PID names. That is the one that reads the command line, also if its child
 * then becomes the daemon.
 */
static void parse_watchdog(struct options *options)
{
	const char *text = secure_getenv("WATCHDOG_USEC");
	const char *owner = secure_getenv("WATCHDOG_PID");
	uint64_t us, pid;

	if (!text)
		return;
	/* The largest number means "never". */
	if (!parse_number(&us, text) || us == UINT64_MAX)
		options->bad_watchdog = text;
	else if (owner && !parse_number(&pid, owner))
		options->bad_watchdog = owner;
	else if (!owner || pid == (uint64_t)getpid())
		options->watchdog_us = us;
}

/* The service manager tells how many descriptors it keeps: systemd.exec(5). */
static void parse_store(struct options *options)
{
	const char *text = secure_getenv("FDSTORE");
	uint64_t n;

	options->has_store = text && parse_number(&n, text);
}

static int parse_directory(struct options *options)
{
	const char *text = getenv("WIREGATHER_DIRECTORY");

	if (!text || !*text)
		return 0;
	if (*text != '/')
		return refuse(options,
			      "WIREGATHER_DIRECTORY: not an absolute path",
			      text);
	options->directory = text;
	return 0;
}

static int parse_fds(struct options *options)
{
	int rc = parse_fd(options, &options->tun_fd, "WG_TUN_FD");

	if (rc == 0)
		rc = parse_fd(options, &options->netlink_fd,
			      "WIREGATHER_NETLINK_FD");
	if (rc == 0)
		rc = parse_fd(options, &options->uapi_fd, "WG_UAPI_FD");
	if (rc == 0 && options->netlink_fd >= 0 && options->tun_fd < 0)
		return refuse(options, "WIREGATHER_NETLINK_FD: without",
			      "WG_TUN_FD");
	return rc;
}

static int parse_environment(struct options *options)
{
	const char *foreground = getenv("WG_PROCESS_FOREGROUND");
	const char *user = getenv("WIREGATHER_USER");
	int rc;

	parse_level(options);
	parse_notify_socket(options);
	parse_watchdog(options);
	parse_store(options);
	if (foreground && !strcmp(foreground, "1"))
		options->is_foreground = true;
	else if (foreground && *foreground && strcmp(foreground, "0") != 0)
		options->bad_foreground = foreground;
	if (!options->user && user && *user)
		options->user = user;
	rc = parse_fds(options);
	return rc > 0 ? rc : parse_directory(options);
}

int options_parse(struct options *options, int argc, char **argv)
{
	int rc, variable_rc;

	*options = (struct options){ .tun_fd = -1,
				     .netlink_fd = -1,
				     .uapi_fd = -1 };
	/* The variable is read first, so that the command line wins. An error
	 * in the variable is told later, so that "--help" always works. */
	variable_rc = parse_variable(options);
	rc = parse_arguments(options, argc, argv);
	if (rc > 0 || variable_rc > 0)
		return rc > 0 ? rc : variable_rc;
	return parse_environment(options);
}
