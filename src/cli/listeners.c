/* SPDX-License-Identifier: MIT */
/*
 * The interface has been made before, so its name was free. But a process that had an
 * interface of this name before may still be ending, and serve the socket's file for
 * some milliseconds.
 */
#include "cli/listeners.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/now.h"
#include "cli/advice.h"
#include "uapi/server.h"

enum {
	/* How long to wait for another process that still serves the socket's
	 * file, and how often to look. A choice: such a process ends within
	 * some milliseconds, or within a second on a busy machine. */
	FILE_WAIT_MS = 3000,
	FILE_PAUSE_MS = 10,
};

const char *listeners_choose_directory(const struct options *options)
{
	return options->directory ? options->directory : UAPI_DIRECTORY;
}

static int open_socket(struct uapi_socket *sock, const struct options *options,
		       const char *name)
{
	const struct timespec pause = { .tv_nsec =
						FILE_PAUSE_MS * NSEC_PER_MSEC };
	int err = 0;

	if (options->uapi_fd >= 0)
		return uapi_socket_adopt(sock, options->uapi_fd);
	for (int i = 0; i <= FILE_WAIT_MS / FILE_PAUSE_MS; i++) {
		err = uapi_socket_open(sock,
				       listeners_choose_directory(options),
				       name, "sock", (gid_t)-1);
		if (err != -EADDRINUSE)
			return err;
		nanosleep(&pause, NULL);
	}
	return err;
}

static int open_config(struct listeners *l, const struct listeners_owner *owner,
		       const struct options *options, const char *name)
{
	int err = open_socket(&l->config, options, name);

	if (err == 0) {
		err = uapi_watch_open(&l->watch, owner->loop, &l->config,
				      owner->gone, owner->arg);
		/* A socket that was handed over stays the caller's. */
		if (err < 0 && options->uapi_fd < 0)
			uapi_socket_close(&l->config);
	}
	if (err < 0 && options->uapi_fd < 0)
		advice_on_socket(owner->why, owner->cap,
				 listeners_choose_directory(options), name,
				 err);
	else if (err < 0)
		advice_on_socket_fd(owner->why, owner->cap, options->uapi_fd,
				    err);
	return err;
}

/* An unknown group is a fault of the command line. */
static int find_group(const struct listeners_owner *owner, const char *name,
		      gid_t *group)
{
	const struct group *entry;

	*group = (gid_t)-1;
	if (!*name)
		return 0;
	entry = getgrnam(name);
	if (!entry) {
		snprintf(owner->why, owner->cap,
			 "--stats-group: no such group: %s", name);
		return -EINVAL;
	}
	*group = entry->gr_gid;
	return 0;
}

static int open_stats(struct listeners *l, const struct listeners_owner *owner,
		      const struct options *options, const char *name)
{
	gid_t group;
	int err = find_group(owner, options->stats_group, &group);

	if (err < 0)
		return err;
	err = uapi_socket_open(&l->stats, listeners_choose_directory(options),
			       name, "stats", group);
	l->has_stats = err == 0;
	/* Without descriptors the tunnel would not work either. */
	if (err == -EMFILE || err == -ENFILE) {
		advice_on_shortage(owner->why, owner->cap,
				   "cannot make the statistics socket", NULL,
				   err);
		return err;
	}
	if (err < 0)
		log_warning("no statistics socket: %s", strerror(-err));
	return 0;
}

int listeners_open(struct listeners *l, const struct listeners_owner *owner,
		   const struct options *options, const char *name)
{
	int err;

	*l = (struct listeners){ .has_stats = false };
	err = open_config(l, owner, options, name);
	if (err < 0) {
		l->config.fd = -1;
		return err;
	}
	err = open_stats(l, owner, options, name);
	if (err < 0)
		listeners_close(l);
	return err;
}

const char *listeners_get_directory(const struct listeners *l)
{
	return *l->watch.directory ? l->watch.directory : NULL;
}

void listeners_remove_files(struct listeners *l)
{
	uapi_watch_close(&l->watch);
	if (l->has_stats)
		uapi_socket_remove_files(&l->stats);
	uapi_socket_remove_files(&l->config);
}

void listeners_close(struct listeners *l)
{
	listeners_remove_files(l);
	if (l->has_stats)
		uapi_socket_close(&l->stats);
	uapi_socket_close(&l->config);
}
