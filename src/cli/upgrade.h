/* SPDX-License-Identifier: MIT */
/*
 * The keeper's socket for upgrades: `wiregatherctl upgrade` sends one message
 * (base/upgrade.h), perhaps with the descriptor of a program, and gets one when the
 * upgrade is over. Root may ask, and the user that the keeper has. One client is served
 * at a time.
 *
 * Main thread of the keeper. Nothing here allocates memory.
 */
#ifndef CLI_UPGRADE_H
#define CLI_UPGRADE_H

#include <stdbool.h>

#include "engine/loop.h"
#include "uapi/socket.h"

/**
 * struct upgrade_owner - who carries upgrades out
 * @begin:	begin an upgrade; @program is the descriptor of its program, borrowed for
 *		the call, or -1: the file that has the path of the program now. The owner
 *		calls upgrade_answer() when it is over, which may be before this returns.
 * @arg:	for @begin
 */
struct upgrade_owner {
	void (*begin)(void *arg, int program);
	void *arg;
};

/**
 * struct upgrade - the socket
 * @loop:	borrowed
 * @owner:	see there
 * @user:	the user that the keeper was started as, who may ask beside root
 * @socket:	listens; its fd is -1 if there is none
 * @listener:	of the loop
 * @client:	of the loop; its fd is -1 if there is none
 * @patience:	for a client that sends nothing
 * @is_begun:	the owner has not answered yet
 */
struct upgrade {
	struct loop *loop;
	struct upgrade_owner owner;
	uid_t user;
	struct uapi_socket socket;
	struct loop_watch listener;
	struct loop_watch client;
	struct loop_timer patience;
	bool is_begun;
};

/**
 * upgrade_open() - listen
 * @u:		caller's storage
 * @loop:	borrowed
 * @owner:	copied
 * @directory:	see uapi_socket_open()
 * @name:	of the interface
 *
 * Return: 0; -errno: there is no socket, and the other functions do nothing.
 */
int upgrade_open(struct upgrade *u, struct loop *loop,
		 const struct upgrade_owner *owner, const char *directory,
		 const char *name);

/**
 * upgrade_answer() - the upgrade is over
 * @u:		upgrade; if no client waits, nothing happens
 * @why:	why it has failed, one line; not read after a success
 * @err:	0: the tunnel has another engine; -errno: it has the same one as before
 */
void upgrade_answer(struct upgrade *u, const char *why, int err);

/* upgrade_close() - close the socket, and remove its file */
void upgrade_close(struct upgrade *u);

#endif /* CLI_UPGRADE_H */
