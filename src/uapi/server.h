/* SPDX-License-Identifier: MIT */
/*
 * The server of the configuration protocol: a Unix socket, where `wg` expects
 * it, in the event loop of the control thread.
 *
 * Deleting the socket's file, or putting another file in its place, ends the
 * daemon with status 0. A change of the file's mode or owner does not. The
 * daemon removes the file when it ends, if the file is still the same one.
 *
 * At most UAPI_MAX_CLIENTS clients are served at once. If all places are taken,
 * a newcomer gets the place of the client that has been silent longest. A
 * client that is not busy (client.h) is closed at once; a busy one, after
 * UAPI_STALL_S seconds without progress. While no client can be closed,
 * newcomers wait in the kernel's queue. So forgotten connections, however many,
 * keep nobody out.
 *
 * A busy client is also closed after UAPI_PATIENCE_S seconds without progress,
 * because its buffers may hold secrets. A client that is not busy may stay
 * until its place is needed.
 *
 * Control thread.
 */
#ifndef UAPI_SERVER_H
#define UAPI_SERVER_H

#include "device/device.h"
#include "engine/loop.h"
#include "uapi/grammar.h"
#include "uapi/stats.h"

/* The directory in which wg(8) looks for the sockets of interfaces: the default. */
#define UAPI_DIRECTORY "/var/run/wireguard"

enum {
	/* Clients that are served at once. A choice: `wg` holds one connection
	 * for milliseconds. */
	UAPI_MAX_CLIENTS = 64,
	/* Seconds without progress after which a busy client is closed. A
	 * choice, not measured. */
	UAPI_PATIENCE_S = 30,
};

/**
 * struct uapi_server_config - all settings of a server
 * @loop:	borrowed; stopped with status 0 when the file is gone
 * @device:	borrowed
 * @codec:	borrowed
 * @name:	the interface's name; borrowed for the call
 * @listen_fd:	a socket that listens already, consumed on success; -1: make one
 * @is_lent:	another process has @listen_fd, too; it has checked the socket, watches
 *		its file and removes it
 * @directory:	of the socket's file; borrowed for the call
 * @patience_ms: how long a busy client may make no progress
 * @stats:	what the answers of the statistics socket are made of; borrowed;
 *		NULL: this is the configuration socket
 * @group:	group that may use the socket, too; (gid_t)-1: its owner only
 */
struct uapi_server_config {
	struct loop *loop;
	struct device *device;
	const struct uapi_codec *codec;
	const char *name;
	int listen_fd;
	bool is_lent;
	const char *directory;
	unsigned int patience_ms;
	const struct stats_source *stats;
	gid_t group;
};

struct uapi_server;

/**
 * uapi_server_open_config() - serve a device
 * @out:	set on success
 * @config:	settings
 *
 * Connections wait until loop_run(). If the socket's file is made here, the process
 * must have no other thread that makes files (uapi_socket_open()). If the file of
 * statistics is deleted, nothing happens.
 *
 * Return: 0; -EADDRINUSE: another process serves that name; -EMFILE: no
 * descriptor is left; -errno.
 */
int uapi_server_open_config(struct uapi_server **out,
			    const struct uapi_server_config *config);

/**
 * uapi_server_set_apply() - have configurations applied by another function
 * @server:	server
 * @apply:	called instead of config_apply(). A request is answered when it returns,
 *		with the error that it returns.
 * @arg:	for @apply
 */
void uapi_server_set_apply(struct uapi_server *server,
			   int (*apply)(void *arg, const struct config *config,
					uint64_t now),
			   void *arg);

/* uapi_server_wake() - serve the clients that wait for events */
void uapi_server_wake(struct uapi_server *server);

/**
 * uapi_server_watch() - hear of configurations that were applied
 * @server:	server
 * @applied:	called after each, with the time of now_monotonic() at which it began
 * @arg:	for @applied
 */
void uapi_server_watch(struct uapi_server *server,
		       void (*applied)(void *arg, uint64_t begun), void *arg);

/* uapi_server_get_refusal() - the last configuration that was refused; borrowed until
 * uapi_server_close() */
const struct uapi_refusal *
uapi_server_get_refusal(const struct uapi_server *server);

/**
 * uapi_server_hold() - let clients wait
 * @server:	server
 *
 * Requests that were begun go on. No other request is read, and no client is accepted,
 * until uapi_server_release(): they wait in the kernel.
 */
void uapi_server_hold(struct uapi_server *server);

/* uapi_server_release() - serve clients again */
void uapi_server_release(struct uapi_server *server);

/* uapi_server_is_at_rest() - has each client that is held had its answers? Clients that
 * follow events do not count. */
bool uapi_server_is_at_rest(const struct uapi_server *server);

/* uapi_server_drop_busy() - close the clients that are not at rest. What they ask for is
 * not done. */
void uapi_server_drop_busy(struct uapi_server *server);

/**
 * uapi_server_take_client() - give a client away
 * @server:	server that is held
 *
 * Return: the connection of a client that is at rest, with all requests that were not
 * begun; -1: there is no further one.
 */
int uapi_server_take_client(struct uapi_server *server);

/* uapi_server_add_client() - serve a connection that another server has given away;
 * consumed. What is no connection of a Unix socket is closed. */
void uapi_server_add_client(struct uapi_server *server, int fd);

/* uapi_server_close() - close all clients, remove the file; NULL is ok */
void uapi_server_close(struct uapi_server *server);

#endif /* UAPI_SERVER_H */
