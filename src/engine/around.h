/* SPDX-License-Identifier: MIT */
/*
 * The network that the outer packets take, if the interface is in another network
 * namespace from the start. Then the socket that tells of the interface does not hear
 * of this network's addresses and routes, and a second one does. Control thread only.
 */
#ifndef ENGINE_AROUND_H
#define ENGINE_AROUND_H

#include "engine/loop.h"
#include "tun/link.h"
#include "tun/tun.h"

/**
 * struct around - the second socket
 * @is_open:	there is one; all of zero: there is none
 * @link:	the socket
 * @watch:	of the loop
 * @loop:	borrowed; NULL: nobody listens yet
 * @changed:	see around_watch()
 * @arg:	for @changed
 */
struct around {
	bool is_open;
	struct link link;
	struct loop_watch watch;
	struct loop *loop;
	void (*changed)(void *arg, unsigned int families);
	void *arg;
};

/**
 * around_open() - hear of the interface, and of the network that the outer packets take
 * @around:	opened if one socket cannot tell both
 * @link:	opened
 * @tun:	the interface
 * @netlink_fd:	rtnetlink socket of the interface's namespace, if that is another one
 *		than the process's; consumed on success only; or -1
 *
 * Return: 0; -errno as link_open() and link_open_fd().
 */
int around_open(struct around *around, struct link *link, const struct tun *tun,
		int netlink_fd);

/**
 * around_watch() - begin to listen
 * @around:	open, or of zero: then nothing is done
 * @loop:	borrowed until around_unwatch()
 * @changed:	called when something has changed, with the families that it may be
 *		about: RIGHTS_IPV4, RIGHTS_IPV6 or both
 * @arg:	for @changed
 *
 * Return: 0; -errno.
 */
int around_watch(struct around *around, struct loop *loop,
		 void (*changed)(void *arg, unsigned int families), void *arg);

/* around_unwatch() - end listening; nothing is done if around_watch() did nothing */
void around_unwatch(struct around *around);

/* around_close() - close both */
void around_close(struct around *around, struct link *link);

#endif /* ENGINE_AROUND_H */
