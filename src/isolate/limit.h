/* SPDX-License-Identifier: MIT */
/*
 * The limits of a process (setrlimit(2)) that a tunnel may reach. Their values
 * were chosen for the process that starts the daemon, and do not fit the
 * daemon:
 *
 *  - RLIMIT_NPROC counts the threads of a user, on the whole host and in all
 *    its containers, and does not count for root. The daemon becomes another
 *    user, whose other processes count, too.
 *  - RLIMIT_NOFILE counts the open descriptors of the process. The daemon opens
 *    sockets and accepts clients when it already runs. A refusal then would
 *    leave a tunnel that works only in part.
 *  - RLIMIT_MEMLOCK counts locked memory. Secrets are locked in memory.
 */
#ifndef ISOLATE_LIMIT_H
#define ISOLATE_LIMIT_H

#include <sys/resource.h>

/* The type that the C library gives to the first argument of getrlimit(2). */
#ifdef __GLIBC__
#define LIMIT_TYPE enum __rlimit_resource
#else
#define LIMIT_TYPE int
#endif

enum {
	/* More descriptors than the daemon ever needs. A choice: the most are
	 * those of UAPI_MAX_CLIENTS clients and of about 20 sockets. */
	LIMIT_DESCRIPTORS = 1024,
};

/**
 * limits_raise() - raise these three limits as far as this process may
 *
 * The soft limit is raised to the hard one, and with CAP_SYS_RESOURCE both are
 * raised further. Call it before the user changes, and before descriptors are
 * opened.
 */
void limits_raise(void);

#endif /* ISOLATE_LIMIT_H */
