/* SPDX-License-Identifier: MIT */
/*
 * Landlock (landlock(7)): a thread, and the threads and processes that it makes later,
 * give up all access to files, except for what was allowed before. Open descriptors stay
 * open.
 */
#ifndef ISOLATE_LANDLOCK_H
#define ISOLATE_LANDLOCK_H

#include <stdint.h>

/* What may be done with a file, or with all files of a directory and of those in it. The
 * bits are those of linux/landlock.h. */
enum landlock_right {
	LANDLOCK_EXECUTE = 1 << 0,
	LANDLOCK_READ = 1 << 2,
	LANDLOCK_LIST = 1 << 3,	  /* directories only */
	LANDLOCK_REMOVE = 1 << 5, /* directories only */
};

/**
 * struct landlock - what will stay allowed
 * @fd:		the kernel's set of rules
 * @version:	of Landlock, 1 or above
 */
struct landlock {
	int fd;
	int version;
};

/**
 * landlock_open() - begin to collect what stays allowed
 * @landlock:	filled on success
 *
 * Return: 0; -ENOSYS, -EOPNOTSUPP: the kernel has no Landlock; -errno.
 */
int landlock_open(struct landlock *landlock);

/**
 * landlock_allow() - let a file, or what is below a directory, be used
 * @landlock:	landlock
 * @fd:		the file or directory; it may be open with O_PATH only
 * @rights:	enum landlock_right
 *
 * A rule belongs to the file, not to its name.
 *
 * Return: 0; -errno.
 */
int landlock_allow(const struct landlock *landlock, int fd, uint64_t rights);

/* landlock_allow_path() - the same, of a path; a link is followed */
int landlock_allow_path(const struct landlock *landlock, const char *path,
			uint64_t rights);

/**
 * landlock_enter() - give up everything else, and end collecting
 * @landlock:	landlock
 *
 * No other file can be opened, made, executed, truncated or removed. From Linux 6.7 on, no
 * TCP port can be bound or connected to. From 6.12 on, no process can be sent a signal, or
 * be connected to by an abstract Unix socket, unless it is the calling one, or made by it
 * later. Needs no_new_privs.
 *
 * Return: 0; -errno.
 */
int landlock_enter(struct landlock *landlock);

/* landlock_close() - end collecting, and give up nothing */
void landlock_close(struct landlock *landlock);

#endif /* ISOLATE_LANDLOCK_H */
