/* SPDX-License-Identifier: MIT */
/*
 * The limits of a process, setrlimit(2), that a tunnel may run into. They were
 * made for the starter, and mean something else here:
 *
 *  - RLIMIT_NPROC counts the threads of a user, on the whole host and in all
 *    its containers, and does not count for root. The daemon becomes another
 *    user, and would share what is left with all processes of that one.
 *  - RLIMIT_NOFILE: sockets are opened and clients accepted later, when a
 *    refusal would leave a tunnel that works by halves.
 *  - RLIMIT_MEMLOCK: secrets are locked in memory.
 */
#ifndef ISOLATE_LIMIT_H
#define ISOLATE_LIMIT_H

#include <sys/resource.h>

/* How the C library declares getrlimit(2). */
#ifdef __GLIBC__
#define LIMIT_TYPE enum __rlimit_resource
#else
#define LIMIT_TYPE int
#endif

enum {
	/* Descriptors that are enough for whatever comes. */
	LIMIT_DESCRIPTORS = 1024,
};

/**
 * limits_raise() - raise these limits as far as this process may
 *
 * The soft limit to the hard one, and both beyond that where CAP_SYS_RESOURCE
 * allows it. Before the user changes, and before descriptors are opened.
 */
void limits_raise(void);

#endif /* ISOLATE_LIMIT_H */
