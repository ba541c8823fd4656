/* SPDX-License-Identifier: MIT */
/*
 * Learning that this machine is a virtual one that was resumed from a snapshot,
 * or cloned; see vmgenid.c. Control thread only.
 */
#ifndef ENGINE_VMGENID_H
#define ENGINE_VMGENID_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/loop.h"

/**
 * struct vmgenid - the socket for the kernel's events
 * @fd:		netlink socket, -1: none
 * @loop:	that watches the socket, NULL: none does
 * @watch:	of @loop
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
 * To be called while files can be opened and sockets be made. If there is no
 * socket, or nothing will come from it, one line at level verbose says so.
 */
void vmgenid_open(struct vmgenid *v);

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
 * vmgenid_parse() - does an event tell of a new generation?
 * @event:	as the kernel sends it: "change@PATH", then "NAME=VALUE", each
 *		with a final 0; any bytes will do
 * @len:	its length
 *
 * Return: true if it has a NEW_VMGENID.
 */
bool vmgenid_parse(const char *event, size_t len);

/**
 * vmgenid_receive() - take what there is to hear
 * @v:		with a socket
 *
 * Takes a bounded number of events, so the socket may stay readable. Events that
 * do not come from the kernel count for nothing. Lost events count as a new
 * generation.
 *
 * Return: 1 for a new generation; 0; -errno.
 */
int vmgenid_receive(struct vmgenid *v);

#endif /* ENGINE_VMGENID_H */
