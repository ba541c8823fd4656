/* SPDX-License-Identifier: MIT */
/*
 * The process that holds a tunnel for one command. It stays in the outer namespaces,
 * starts the daemon there, gives it the TUN device and the configuration, and ends it
 * when the command ends. It also lets other commands into the tunnel, and starts the
 * process that forwards published ports.
 *
 * The command has no child that it does not know: the holder belongs to the first
 * process of the machine, and to no terminal.
 */
#ifndef CTL_HOLDER_H
#define CTL_HOLDER_H

#include "ctl/inner.h"
#include "ctl/plan.h"
#include "ctl/publish.h"

enum {
	/* Bytes of the message that says why there is no tunnel. */
	HOLDER_WHY_CAP = 256,
};

/**
 * struct holder_config - what the holder needs
 * @name:	of the interface
 * @directory:	of the sockets
 * @plan:	the plan; the holder frees its copy when the tunnel is configured
 * @conf:	the file of @plan; as @plan
 * @publish:	ports that lead to the command; the holder opens its copy
 * @lock:	of directory_lock()
 */
struct holder_config {
	const char *name;
	const char *directory;
	struct plan *plan;
	struct conf *conf;
	struct publish *publish;
	int lock;
};

/**
 * holder_start() - start the holder
 * @config:	the holder has a copy of all memory
 *
 * Call it in the outer namespaces. The holder ends when the calling process ends, or
 * what that has become by execve(2).
 *
 * Return: a socket to the holder; -errno: a line on stderr says why.
 */
int holder_start(const struct holder_config *config);

/**
 * holder_begin() - hand the inner side over, and wait for the tunnel
 * @sock:	of holder_start()
 * @inner:	all descriptors
 *
 * Return: 0: the tunnel is configured; -errno: a line on stderr says why.
 */
int holder_begin(int sock, const struct inner *inner);

/**
 * holder_ask() - get the namespaces of a tunnel that a holder serves
 * @directory:	of the sockets
 * @name:	of the tunnel
 * @inner:	filled on success, but for @tun and @netlink
 *
 * Return: 0; -ENOENT, -ECONNREFUSED: there is no such tunnel; -errno.
 */
int holder_ask(const char *directory, const char *name, struct inner *inner);

#endif /* CTL_HOLDER_H */
