/* SPDX-License-Identifier: MIT */
/* The TUN device as the options want it, with its queues. Main thread. */
#ifndef CLI_INTERFACE_H
#define CLI_INTERFACE_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/options.h"
#include "cli/stored.h"
#include "engine/bounds.h"
#include "tun/tun.h"

enum {
	/* Packets that the interface queues while no thread reads: twice what
	 * four TCP streams need to have no retransmits, at no price in latency
	 * (docs/performance.md). */
	INTERFACE_TXQLEN = 500,
};

/**
 * struct interface - the device
 * @tuns:	the TUN device, and behind it its further queues
 * @n_queues:	number of @tuns; 0: it is not open
 * @is_kept:	it is the device of a process before this one
 * @is_steered:	the kernel chooses queues by flow: tun/steering.h
 */
struct interface {
	struct tun tuns[QUEUES_MAX];
	unsigned int n_queues;
	bool is_kept;
	bool is_steered;
};

/**
 * interface_open() - make the device, or take the one that was handed over or kept; then
 * begin the log under its name
 * @interface:	all of zero; interface_close() it
 * @options:	settings
 * @stored:	queues that a service manager has kept, or NULL. They are consumed: if they
 *		are those of an interface of this name, they are used, else closed.
 * @why:	on failure: one line that says why
 * @cap:	bytes at @why
 *
 * Return: 0; -errno.
 */
int interface_open(struct interface *interface, const struct options *options,
		   struct stored *stored, char *why, size_t cap);

/* interface_close() - close the device, if it is open */
void interface_close(struct interface *interface);

#endif /* CLI_INTERFACE_H */
