/* SPDX-License-Identifier: MIT */
/*
 * A server with a real device and real sockets, in a thread that has the
 * control thread's part, and clients for it. Below the device there is nothing:
 * port 1 is always in use.
 *
 * Everything here fails the test by itself.
 */
#ifndef TESTS_IO_UAPI_WORLD_H
#define TESTS_IO_UAPI_WORLD_H

#include <pthread.h>

#include "device/device.h"
#include "engine/loop.h"
#include "uapi/server.h"

enum {
	/* What the loop returns if the test ended it. */
	WORLD_STOPPED = 7,
	/* The port when any will do, and the one that is in use. */
	WORLD_ANY_PORT = 7777,
	WORLD_BUSY_PORT = 1,
	WORLD_PATIENCE_MS = 10000,
};

/**
 * struct world - see above
 * @directory:	where the socket is; made by world_open(), unless it is set
 * @name:	of the interface
 * @listen_fd:	for the server
 * @patience_ms: for the server
 * @device:	the thread's while it runs
 * @loop:	the thread's while it runs
 * @server:	the thread's while it runs
 * @stop:	eventfd that ends the loop
 * @done_fd:	eventfd: the loop has ended
 * @thread:	runs the loop
 * @status:	what loop_run() returned
 */
struct world {
	char directory[64];
	const char *name;
	int listen_fd;
	unsigned int patience_ms;
	struct device device;
	struct loop loop;
	struct uapi_server *server;
	struct loop_watch stop;
	int done_fd;
	pthread_t thread;
	int status;
};

/* world_init() - the usual; change it before world_open() */
void world_init(struct world *world);

/* world_make_directory() - for what must be there before world_open() */
void world_make_directory(struct world *world);

/* world_open() - a device and its server. Return: of the server. */
int world_open(struct world *world);

/* world_start() - run the loop */
void world_start(struct world *world);

/* world_begin() - all three */
void world_begin(struct world *world);

/* world_await() - wait for the end of the loop. Return: its status. */
int world_await(struct world *world);

/* world_stop() - end the loop. Return: its status. */
int world_stop(struct world *world);

/* world_close() - end the server and the device, remove the directory */
void world_close(struct world *world);

/* world_end() - stop, check that it was this that ended it, and close */
void world_end(struct world *world);

/* world_path() - the socket's file; good until the next call */
const char *world_path(const struct world *world);

/* client_open() - connect. Return: a blocking socket. */
int client_open(const struct world *world);

/* client_send() - send all of a text */
void client_send(int fd, const char *text);

/**
 * client_receive() - receive answers
 * @fd:		socket
 * @n:		how many: each ends in an empty line
 *
 * Return: their text, to be freed.
 */
char *client_receive(int fd, unsigned int n);

/* client_check() - ask, and see that the answer is this */
void client_check(int fd, const char *request, const char *answer);

/* client_check_ended() - wait for the end of the stream, without a byte before */
void client_check_ended(int fd);

/* client_is_quiet() - does nothing come for a time? */
bool client_is_quiet(int fd, int timeout_ms);

/* world_prepare(), world_finish() - what a group of tests begins and ends with */
int world_prepare(void **state);
int world_finish(void **state);

#endif /* TESTS_IO_UAPI_WORLD_H */
