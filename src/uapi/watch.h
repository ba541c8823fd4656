/* SPDX-License-Identifier: MIT */
/*
 * Watches whether the file of a listening socket is still there. Control thread.
 */
#ifndef UAPI_WATCH_H
#define UAPI_WATCH_H

#include "engine/loop.h"
#include "uapi/socket.h"

/**
 * struct uapi_watch - the watch
 * @loop:	borrowed
 * @socket:	borrowed
 * @directory:	of the socket's file; empty: no file
 * @inotify:	on @directory; fd -1: no file, or no inotify
 * @look:	when to look for the file, if there is no inotify
 * @gone:	called each time that the file was looked for and is gone
 * @arg:	for @gone
 */
struct uapi_watch {
	struct loop *loop;
	const struct uapi_socket *socket;
	char directory[sizeof(((struct uapi_socket *)0)->path)];
	struct loop_watch inotify;
	struct loop_timer look;
	void (*gone)(void *arg);
	void *arg;
};

/**
 * uapi_watch_open() - begin to watch
 * @w:		caller's storage
 * @loop:	borrowed until uapi_watch_close()
 * @socket:	borrowed until uapi_watch_close(); without a file nothing is watched
 * @gone:	called when the file is gone
 * @arg:	for @gone
 *
 * Without inotify the file is looked for every few seconds, and a line in the log says
 * so.
 *
 * Return: 0; -ENOENT: the file is gone already; -EMFILE: no descriptor is left.
 */
int uapi_watch_open(struct uapi_watch *w, struct loop *loop,
		    const struct uapi_socket *socket, void (*gone)(void *arg),
		    void *arg);

/* uapi_watch_close() - end watching; ok if it is not open, and all of zero or closed */
void uapi_watch_close(struct uapi_watch *w);

#endif /* UAPI_WATCH_H */
