/* SPDX-License-Identifier: MIT */
/*
 * News that this virtual machine was resumed from a snapshot, or cloned: a new
 * generation; see vmgenid.c. Everything here is for the control thread.
 */
#ifndef ENGINE_VMGENID_H
#define ENGINE_VMGENID_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/loop.h"

/**
 * struct vmgenid - the socket for the kernel's events
 * @fd:		netlink socket; -1: it could not be opened
 * @loop:	the loop that watches the socket; NULL: it is not watched
 * @watch:	the watch of the socket
 * @renew:	called for each new generation
 * @arg:	for @renew
 */
struct vmgenid {
	int fd;
	struct loop *loop;
	struct loop_watch watch;
	void (*renew)(void *arg);
	void *arg;
};

/**
 * vmgenid_open() - open the socket
 * @v:		caller's storage
 *
 * To be called before the process gives up the right to open files and sockets.
 * If the socket cannot be opened, or the kernel sends no events to it, a line
 * at level verbose says so.
 */
void vmgenid_open(struct vmgenid *v);

/* vmgenid_unwatch() - stop watching; ok if it is not watched */
void vmgenid_unwatch(struct vmgenid *v);

/* vmgenid_close() - stop watching, and close; ok without a socket */
void vmgenid_close(struct vmgenid *v);

/**
 * vmgenid_watch() - call a function for each new generation
 * @v:		opened
 * @loop:	borrowed until vmgenid_close()
 * @renew:	called by the control thread
 * @arg:	for @renew
 *
 * Return: 0, also if there is no socket; -errno.
 */
int vmgenid_watch(struct vmgenid *v, struct loop *loop,
		  void (*renew)(void *arg), void *arg);

/**
 * vmgenid_parse() - does an event report a new generation?
 * @event:	as the kernel sends it: "change@PATH", then "NAME=VALUE", each
 *		with a final 0; other bytes do no harm
 * @len:	its length
 *
 * Any thread.
 *
 * Return: true if it has a NEW_VMGENID; false.
 */
bool vmgenid_parse(const char *event, size_t len);

/**
 * vmgenid_receive() - receive the events that wait
 * @v:		with a socket
 *
 * A call receives a bounded number of events, so the socket may stay readable.
 * Events that do not come from the kernel are ignored. If events were lost,
 * that counts as a new generation.
 *
 * Return: 1: a new generation; 0: none; -errno.
 */
int vmgenid_receive(struct vmgenid *v);

#endif /* ENGINE_VMGENID_H */
