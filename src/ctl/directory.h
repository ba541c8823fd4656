/* SPDX-License-Identifier: MIT */
/*
 * The directory of the sockets of a user's own tunnels, which `wiregatherctl run`
 * makes. Root's is that of all other tunnels. A user's is $XDG_RUNTIME_DIR/wiregather,
 * or /tmp/wiregather-UID if that variable is not set. In it, the directory run has what
 * is not for other programs: some take each socket in the directory itself for one that
 * configures an interface.
 *
 * One thread.
 */
#ifndef CTL_DIRECTORY_H
#define CTL_DIRECTORY_H

#include <sys/types.h>

enum {
	/* Bytes of the path, with the final 0. A choice: behind it, the longest name
	 * of a file still fits the 108 bytes of sun_path (unix(7)). */
	DIRECTORY_CAP = 68,
};

/**
 * directory_get() - the path of the directory, which may not be there
 * @out:	filled, also on failure
 *
 * A plain user's directory is checked if it is there, since others can make a file of
 * this name in /tmp.
 *
 * Return: 0; -ENAMETOOLONG; -EPERM: it is not ours, or others may use it; -errno.
 */
int directory_get(char out[DIRECTORY_CAP]);

/**
 * directory_make() - make the directory if it is not there, and check it
 * @out:	filled, also on failure
 *
 * Return: 0; -EPERM: it is not ours, or others may use it; -errno.
 */
int directory_make(char out[DIRECTORY_CAP]);

/**
 * directory_lock() - take a name, so that no other process uses it
 * @directory:	of directory_make()
 * @name:	of the tunnel
 *
 * The descriptor of the file run/NAME.lock is the lock. It ends when all copies of the
 * descriptor are closed.
 *
 * Return: the descriptor; -EBUSY: another process has the name, or a daemon serves it;
 * -errno.
 */
int directory_lock(const char *directory, const char *name);

/**
 * directory_unlock() - remove the file of a lock, and close it
 * @directory:	as before
 * @name:	as before
 * @fd:		of directory_lock()
 */
void directory_unlock(const char *directory, const char *name, int fd);

#endif /* CTL_DIRECTORY_H */
