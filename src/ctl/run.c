/* SPDX-License-Identifier: MIT */
/*
 * wiregatherctl run: a tunnel for one command.
 *
 * Three processes take part. This one reads the configuration, starts the holder
 * (holder.h), enters the inner side (inner.h) and becomes the command (command.h). The
 * holder stays outside and starts the daemon there, so the UDP sockets are in the outer
 * network namespace. The daemon gets the TUN device, and a netlink socket to hear of it.
 * Until the tunnel is configured the command does not start.
 */
#include <errno.h>
#include <getopt.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl/command.h"
#include "ctl/commands.h"
#include "ctl/conf.h"
#include "ctl/directory.h"
#include "ctl/holder.h"
#include "ctl/inner.h"
#include "ctl/mounts.h"
#include "ctl/plan.h"
#include "ctl/publish.h"

#define SUFFIX ".conf"

enum {
	/* Names that are tried if none was given: NAME, NAME-2, and so on. */
	NAMES_MAX = 99,
	/* How long a name that was given may be taken: the tunnel that had it may
	 * still be ending. And how often to look. Choices. */
	TAKEN_MS = 3000,
	TAKEN_PAUSE_MS = 10,
	PATH_CAP = 4096,
};

/**
 * struct run - what the command line asks for, and what it leads to
 * @config:	a file, or a name
 * @given:	name of the tunnel; NULL: none was given
 * @netns:	network namespace to enter; NULL: a new one
 * @publish:	ports that lead to the command
 * @command:	the command
 * @path:	of the file
 * @name:	of the tunnel and its interface
 * @directory:	of the sockets
 * @lock:	of @name
 */
struct run {
	const char *config;
	const char *given;
	const char *netns;
	struct publish publish;
	struct command command;
	char path[PATH_CAP];
	char name[IFNAMSIZ];
	char directory[DIRECTORY_CAP];
	int lock;
};

static const struct option long_options[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "name", required_argument, NULL, 'n' },
	{ "netns", required_argument, NULL, 's' },
	{ "publish", required_argument, NULL, 'p' },
	{ NULL, 0, NULL, 0 },
};

/* May an interface and its files have this name? */
static bool is_name(const char *name)
{
	return *name && strlen(name) < IFNAMSIZ && *name != '.' &&
	       *name != '-' && !name[strcspn(name, "/:% \t\n\r\f\v")];
}

static int parse(struct run *run, int argc, char **argv)
{
	int c;

	opterr = 0;
	/* With 0, unlike 1, glibc forgets the arguments of the last run. */
	optind = 0;
	while ((c = getopt_long(argc, argv, "+:", long_options, NULL)) != -1) {
		switch (c) {
		case 'c':
			run->config = optarg;
			break;
		case 'n':
			if (!is_name(optarg))
				return ctl_refuse("not a name for an interface",
						  optarg);
			run->given = optarg;
			break;
		case 's':
			run->netns = optarg;
			break;
		case 'p':
			if (!publish_parse(&run->publish, optarg))
				return ctl_refuse("not ADDRESS:PORT:PORT[/udp]",
						  optarg);
			break;
		case ':':
			return ctl_refuse("no value", argv[optind - 1]);
		default:
			return ctl_refuse("no such option", argv[optind - 1]);
		}
	}
	return CTL_OK;
}

/* ------------------------------------------------------------------- the file */

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), n = strlen(end);

	return len > n && strcmp(text + len - n, end) == 0;
}

static bool try_path(struct run *run, const char *directory, const char *below)
{
	return directory && *directory == '/' &&
	       snprintf(run->path, sizeof(run->path), "%s%s/%s" SUFFIX,
			directory, below,
			run->config) < (int)sizeof(run->path) &&
	       access(run->path, F_OK) == 0;
}

/* Find the file of a name, or take a path as it is. */
static int find_file(struct run *run)
{
	if (strchr(run->config, '/') || ends_with(run->config, SUFFIX)) {
		snprintf(run->path, sizeof(run->path), "%s", run->config);
		return 0;
	}
	if (try_path(run, getenv("XDG_CONFIG_HOME"), "/wireguard") ||
	    (!getenv("XDG_CONFIG_HOME") &&
	     try_path(run, getenv("HOME"), "/.config/wireguard")) ||
	    try_path(run, "/etc/wireguard", ""))
		return 0;
	ctl_fail("no %s" SUFFIX " that can be read in ~/.config/wireguard or "
		 "/etc/wireguard: see --config",
		 run->config);
	return -ENOENT;
}

/* ------------------------------------------------------------------- the name */

/* The name of the file, without its end, and cut so that a number fits behind it. */
static void derive_name(const struct run *run, char base[IFNAMSIZ])
{
	const char *slash = strrchr(run->path, '/');
	const char *file = slash ? slash + 1 : run->path;
	int len = (int)strlen(file);

	if (ends_with(file, SUFFIX))
		len -= (int)strlen(SUFFIX);
	snprintf(base, IFNAMSIZ - 3, "%.*s", len, file);
	if (!is_name(base))
		snprintf(base, IFNAMSIZ, "run");
}

static int take_given_name(struct run *run)
{
	const struct timespec pause = { .tv_nsec = TAKEN_PAUSE_MS * 1000000L };

	snprintf(run->name, sizeof(run->name), "%s", run->given);
	for (int ms = 0;; ms += TAKEN_PAUSE_MS) {
		run->lock = directory_lock(run->directory, run->name);
		if (run->lock != -EBUSY || ms >= TAKEN_MS)
			break;
		nanosleep(&pause, NULL);
	}
	if (run->lock >= 0)
		return 0;
	ctl_fail("%s/%s: %s", run->directory, run->name,
		 run->lock == -EBUSY ? "there is a tunnel of this name"
				     : strerror(-run->lock));
	return run->lock;
}

static int take_free_name(struct run *run)
{
	char base[IFNAMSIZ];

	derive_name(run, base);
	snprintf(run->name, sizeof(run->name), "%s", base);
	for (int i = 2;; i++) {
		run->lock = directory_lock(run->directory, run->name);
		if (run->lock >= 0)
			return 0;
		if (run->lock != -EBUSY || i > NAMES_MAX)
			break;
		snprintf(run->name, sizeof(run->name), "%.*s-%d", IFNAMSIZ - 4,
			 base, i);
	}
	ctl_fail("%s/%s: %s", run->directory, run->name, strerror(-run->lock));
	return run->lock;
}

static int take_name(struct run *run)
{
	int err = directory_make(run->directory);

	if (err < 0) {
		ctl_fail("%s cannot be used: %s%s", run->directory,
			 strerror(-err),
			 err == -EPERM ? ": it must be yours, and nobody else "
					 "may use it: see XDG_RUNTIME_DIR"
				       : "");
		return err;
	}
	return run->given ? take_given_name(run) : take_free_name(run);
}

/* ----------------------------------------------------------------- the tunnel */

/* Make the tunnel, and enter it. */
static int enter(struct run *run, struct plan *plan, struct conf *conf)
{
	const struct holder_config config = {
		.name = run->name,
		.directory = run->directory,
		.plan = plan,
		.conf = conf,
		.publish = &run->publish,
		.lock = run->lock,
	};
	struct inner inner;
	int sock = holder_start(&config), err;

	if (sock < 0)
		return sock;
	err = inner_enter(&inner, run->netns);
	if (err == 0)
		err = inner_open_tunnel(&inner, run->name, plan, !run->netns);
	if (err == 0)
		err = mounts_make(plan->resolv_conf, run->directory);
	if (err == 0)
		err = holder_begin(sock, &inner);
	/* All descriptors are closed when the process becomes the command. */
	return err;
}

static int read_file(struct run *run, struct conf *conf)
{
	char error[CONF_ERROR_CAP];
	int err = find_file(run);

	if (err < 0)
		return err;
	err = conf_read(conf, run->path, error);
	if (err < 0)
		ctl_fail("%s: %s", run->path, error);
	else if (!conf_get(&conf->interface, CONF_PRIVATE_KEY)) {
		ctl_fail("%s: no PrivateKey in [Interface]", run->path);
		err = -EINVAL;
	}
	return err;
}

int ctl_run(int argc, char **argv)
{
	struct run run = { .config = "wg0", .lock = -1 };
	struct conf conf = { 0 };
	struct plan plan = { 0 };
	int status = parse(&run, argc, argv);

	if (status != CTL_OK)
		return status;
	status = CTL_FAILED;
	if (command_init(&run.command, argv + optind) == 0 &&
	    read_file(&run, &conf) == 0 &&
	    plan_make(&plan, &conf, run.path) == 0 && take_name(&run) == 0 &&
	    enter(&run, &plan, &conf) == 0)
		status = command_exec(&run.command);
	plan_free(&plan);
	conf_free(&conf);
	command_free(&run.command);
	return status;
}
