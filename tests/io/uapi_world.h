/* SPDX-License-Identifier: MIT */
/*
 * A server with a real device and real UAPI sockets, and clients for it. A
 * thread of the test does the work of the control thread. The device has no UDP
 * sockets and no TUN; port 1 counts as in use.
 *
 * Each function fails the test if it cannot do its work.
 */
#ifndef TESTS_IO_UAPI_WORLD_H
#define TESTS_IO_UAPI_WORLD_H

#include <pthread.h>

#include "device/device.h"
#include "engine/loop.h"
#include "uapi/server.h"

enum {
	/* The status of the loop if the test ended it. A choice. */
	WORLD_STOPPED = 7,
	/* The port that is given if a request asks for any, and the port that
	 * counts as in use. Choices. */
	WORLD_ANY_PORT = 7777,
	WORLD_BUSY_PORT = 1,
	/* The default of patience_ms: long enough for a busy machine. */
	WORLD_PATIENCE_MS = 10000,
};

/**
 * struct world - a server, its device and its thread
 * @directory:	where the socket is; made by world_open(), unless it is set
 * @name:	of the interface
 * @listen_fd:	socket that is handed to the server, or -1
 * @patience_ms: the option of the server with this name
 * @device:	used by the thread alone while it runs
 * @loop:	used by the thread alone while it runs
 * @server:	used by the thread alone while it runs
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

/* world_init() - set the defaults; change them before world_open() */
void world_init(struct world *world);

/* world_make_directory() - make the directory before world_open() */
void world_make_directory(struct world *world);

/*
 * world_open() - make a device and open its server. Return: that of
 * uapi_server_open_config().
 */
int world_open(struct world *world);

/* world_start() - run the loop */
void world_start(struct world *world);

/* world_begin() - world_init(), world_open() and world_start() */
void world_begin(struct world *world);

/* world_await() - wait for the end of the loop. Return: its status. */
int world_await(struct world *world);

/* world_stop() - end the loop. Return: its status. */
int world_stop(struct world *world);

/* world_close() - end the server and the device, remove the directory */
void world_close(struct world *world);

/* world_end() - stop, check that nothing else had ended the loop, and close */
void world_end(struct world *world);

/* world_path() - path of the socket's file; valid until the next call */
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

/* client_check() - send a request and check its answer */
void client_check(int fd, const char *request, const char *answer);

/* client_check_ended() - check that the stream ends without another byte */
void client_check_ended(int fd);

/* client_is_quiet() - does nothing arrive for this time? */
bool client_is_quiet(int fd, int timeout_ms);

/* world_prepare(), world_finish() - begin and end a group of tests */
int world_prepare(void **state);
int world_finish(void **state);

#endif /* TESTS_IO_UAPI_WORLD_H */
