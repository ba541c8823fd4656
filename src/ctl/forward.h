/* SPDX-License-Identifier: MIT */
/* The event loop of the process that forwards published ports. One thread. */
#ifndef CTL_FORWARD_H
#define CTL_FORWARD_H

#include <stdint.h>

#include "ctl/publish.h"

/**
 * struct forward_watch - a descriptor in the loop
 * @fd:		the descriptor
 * @ready:	called when it has events of epoll(7)
 * @arg:	whose it is
 */
struct forward_watch {
	int fd;
	void (*ready)(struct forward_watch *watch, uint32_t events);
	void *arg;
};

/**
 * struct forward - the loop
 * @epoll:	its epoll
 */
struct forward {
	int epoll;
};

/**
 * forward_add() - watch a descriptor
 * @forward:	the loop
 * @watch:	with @fd; borrowed until the descriptor is closed
 * @events:	of epoll(7)
 *
 * Return: 0; -errno.
 */
int forward_add(struct forward *forward, struct forward_watch *watch,
		uint32_t events);

/* forward_remove() - end watching */
void forward_remove(struct forward *forward, struct forward_watch *watch);

/**
 * forward_streams() - accept and forward the connections of a port of TCP
 * @forward:	the loop
 * @port:	open; borrowed for ever
 *
 * Return: 0; -errno.
 */
int forward_streams(struct forward *forward, struct publish_port *port);

/**
 * forward_datagrams() - forward the datagrams of a port of UDP, and the answers
 * @forward:	the loop
 * @port:	open; borrowed for ever
 *
 * Return: 0; -errno.
 */
int forward_datagrams(struct forward *forward, struct publish_port *port);

/* forward_free_closed() - free the connections that were closed, between two turns of
 * the loop */
void forward_free_closed(void);

#endif /* CTL_FORWARD_H */
