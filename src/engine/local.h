/* SPDX-License-Identifier: MIT */
/*
 * What takes rights, done in this process: for a daemon without isolation, and for the
 * keeper, which does it for its engine. Control thread only.
 */
#ifndef ENGINE_LOCAL_H
#define ENGINE_LOCAL_H

#include "engine/around.h"
#include "engine/loop.h"
#include "engine/rights.h"
#include "engine/vmgenid.h"
#include "tun/link.h"
#include "tun/routes.h"
#include "tun/tun.h"

/**
 * struct local - the sockets that questions are asked by, and that news come from
 * @rights:	for struct engine_config
 * @loop:	watches the sockets
 * @tun:	the interface
 * @link:	what happens to the interface, and to the network around it
 * @around:	what happens to the network that the outer packets take, if the interface
 *		is in another namespace
 * @vmgenid:	tells when the machine was resumed from a snapshot
 * @routes:	to ask by
 * @link_watch:	of the loop
 * @uid:	user that the UDP sockets belong to
 * @knows_ipv6:	@routes has the list of IPv6 addresses, and it is not out of date
 * @is_started:	the sockets are watched
 * @news:	who is told
 * @news_arg:	for @news
 */
struct local {
	struct rights rights;
	struct loop *loop;
	const struct tun *tun;
	struct link link;
	struct around around;
	struct vmgenid vmgenid;
	struct routes routes;
	struct loop_watch link_watch;
	uint32_t uid;
	bool knows_ipv6;
	bool is_started;
	const struct rights_news *news;
	void *news_arg;
};

/**
 * local_open() - open the sockets
 * @local:	caller's storage; local_close() it
 * @loop:	borrowed until local_close()
 * @tun:	the interface; borrowed until local_close()
 * @netlink_fd:	rtnetlink socket of the namespace of @tun, if that is not the
 *		namespace of the process; consumed on success only; -1: it is
 *
 * Call it before rights are given up.
 *
 * Return: 0; -ENOTSOCK, -EPROTOTYPE: @netlink_fd is no rtnetlink socket; -ENODEV: it
 * does not see the interface; -ENOMEM; -errno.
 */
int local_open(struct local *local, struct loop *loop, const struct tun *tun,
	       int netlink_fd);

/* local_set_user() - the UDP sockets will belong to another user than that of the process
 * at local_open() */
void local_set_user(struct local *local, uid_t uid);

/* local_close() - close the sockets */
void local_close(struct local *local);

#endif /* ENGINE_LOCAL_H */
