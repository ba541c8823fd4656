/* SPDX-License-Identifier: MIT */
/*
 * The inner side of a tunnel for one command: namespaces of its own, and in them the
 * interface with its addresses and routes, and the loopback device.
 *
 * A plain user makes a user namespace first, in which he has the rights for the others.
 * It has one user and one group, those of the process. Root makes none, if it may make
 * the others without.
 *
 * The process enters the namespaces itself. One thread.
 */
#ifndef CTL_INNER_H
#define CTL_INNER_H

#include <stdbool.h>

#include "ctl/plan.h"

/**
 * struct inner - descriptors of the inner side; -1: there is none
 * @tun:	the TUN device
 * @netlink:	a NETLINK_ROUTE socket of the network namespace
 * @user:	the user namespace
 * @net:	the network namespace
 * @mount:	the mount namespace
 */
struct inner {
	int tun;
	int netlink;
	int user;
	int net;
	int mount;
};

/**
 * inner_enter() - make the namespaces and enter them
 * @inner:	filled on success, but for @tun and @netlink
 * @netns:	a network namespace of ip-netns(8) to enter in place of a new one;
 *		NULL: a new one
 *
 * Return: 0; -errno: a line on stderr says why, and the process may be in some of the
 * namespaces.
 */
int inner_enter(struct inner *inner, const char *netns);

/**
 * inner_open_tunnel() - make the interface, with its addresses and routes, and set it
 * up
 * @inner:	of inner_enter(); @tun and @netlink are filled
 * @name:	of the interface
 * @plan:	what it gets
 * @is_alone:	the network namespace has nothing else in it
 *
 * In a namespace with other interfaces a route that is there already is an error, since
 * packets would take it past the tunnel.
 *
 * Return: 0; -errno: a line on stderr says why.
 */
int inner_open_tunnel(struct inner *inner, const char *name,
		      const struct plan *plan, bool is_alone);

/**
 * inner_join() - enter namespaces that another process has made
 * @inner:	@user, @net and @mount; those of -1 are left out
 *
 * Return: 0; -errno.
 */
int inner_join(const struct inner *inner);

#endif /* CTL_INNER_H */
