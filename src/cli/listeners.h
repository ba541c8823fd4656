/* SPDX-License-Identifier: MIT */
/* The sockets for configuration and statistics, with their files. Main thread. */
#ifndef CLI_LISTENERS_H
#define CLI_LISTENERS_H

#include "cli/options.h"
#include "engine/loop.h"
#include "uapi/socket.h"
#include "uapi/watch.h"

/**
 * struct listeners - the sockets
 * @config:	the configuration socket
 * @stats:	the statistics socket
 * @has_stats:	there is a statistics socket
 * @watch:	whether the file of @config is there
 */
struct listeners {
	struct uapi_socket config;
	struct uapi_socket stats;
	bool has_stats;
	struct uapi_watch watch;
};

/**
 * struct listeners_owner - who makes them
 * @loop:	borrowed until listeners_close()
 * @gone:	called when the file of the configuration socket is gone
 * @arg:	for @gone
 * @why:	on failure: one line that says why
 * @cap:	bytes at @why
 */
struct listeners_owner {
	struct loop *loop;
	void (*gone)(void *arg);
	void *arg;
	char *why;
	size_t cap;
};

/**
 * listeners_open() - make the sockets and their files
 * @l:		caller's storage; listeners_close() it
 * @owner:	borrowed for the call
 * @options:	settings
 * @name:	of the interface
 *
 * Without a statistics socket the tunnel works; a line in the log says so.
 *
 * Return: 0; -errno, and config.fd is -1.
 */
int listeners_open(struct listeners *l, const struct listeners_owner *owner,
		   const struct options *options, const char *name);

/* listeners_choose_directory() - the directory of the files that a program makes */
const char *listeners_choose_directory(const struct options *options);

/* listeners_get_directory() - the directory that files will be removed from; NULL: there
 * is no file */
const char *listeners_get_directory(const struct listeners *l);

/* listeners_remove_files() - remove the files, if they are still the same; once is
 * enough */
void listeners_remove_files(struct listeners *l);

/* listeners_close() - remove the files, and close the sockets */
void listeners_close(struct listeners *l);

#endif /* CLI_LISTENERS_H */
