/* SPDX-License-Identifier: MIT */
/*
 * The server of the configuration protocol: a Unix socket, where `wg` expects
 * it, in the event loop of the control thread.
 *
 * The file of the socket is the daemon's handle: whoever deletes it (or puts
 * another in its place) ends the daemon, with status 0. Changing its mode or
 * owner does not. At the end it is removed, if it is still the same file.
 *
 * At most UAPI_MAX_CLIENTS are served at once. A newcomer that finds all places
 * taken gets the place of the client that has been silent longest: one that has
 * begun no request and is owed no answer goes at once, any other after
 * UAPI_STALL_S seconds in which nothing of its request or answer moved. While
 * no client may be sent away, newcomers wait in the kernel's queue. So any
 * number of forgotten connections keep nobody out.
 *
 * A client may stay as long as it likes while its place is not needed; but one
 * that has sent part of a request, or does not take its answer, and lets
 * UAPI_PATIENCE_S pass, is disconnected: the memory it holds may have secrets.
 *
 * Control thread.
 */
#ifndef UAPI_SERVER_H
#define UAPI_SERVER_H

#include "device/device.h"
#include "engine/loop.h"
#include "uapi/grammar.h"

#define UAPI_DIRECTORY "/var/run/wireguard"

enum {
	UAPI_MAX_CLIENTS = 64,
	UAPI_PATIENCE_S = 30,
};

/**
 * struct uapi_server_config - how to make a server
 * @loop:	borrowed; stopped with status 0 when the file is gone
 * @device:	borrowed
 * @codec:	borrowed
 * @name:	the interface's name; borrowed for the call
 * @listen_fd:	a socket that listens already, the server's on success; -1:
 *		make one
 * @directory:	where; borrowed for the call
 * @patience_ms: how long a client may keep us waiting
 */
struct uapi_server_config {
	struct loop *loop;
	struct device *device;
	const struct uapi_codec *codec;
	const char *name;
	int listen_fd;
	const char *directory;
	unsigned int patience_ms;
};

struct uapi_server;

/**
 * uapi_server_open() - serve a device
 * @out:	set on success
 * @loop:	borrowed until uapi_server_close(), as are
 * @device:	the device, and
 * @codec:	how endpoints are read and written
 * @name:	the interface's name; borrowed for the call
 * @listen_fd:	a socket that listens already, the server's on success; -1:
 *		make one
 *
 * Connections wait until loop_run(). See uapi_socket_open() for threads.
 *
 * Return: 0; -EADDRINUSE: another process serves that name; -EMFILE: no
 * descriptor is left; -errno.
 */
int uapi_server_open(struct uapi_server **out, struct loop *loop,
		     struct device *device, const struct uapi_codec *codec,
		     const char *name, int listen_fd);

/**
 * uapi_server_open_config() - the same, with the rest chosen as well
 * @out:	set on success
 * @config:	how
 *
 * Return: as above.
 */
int uapi_server_open_config(struct uapi_server **out,
			    const struct uapi_server_config *config);

/**
 * uapi_server_get_directory() - where uapi_server_close() will remove a file
 * @server:	server
 *
 * Return: absolute path, borrowed; NULL: there is no file.
 */
const char *uapi_server_get_directory(const struct uapi_server *server);

/* uapi_server_close() - disconnect all, remove the file; NULL is ok */
void uapi_server_close(struct uapi_server *server);

#endif /* UAPI_SERVER_H */
