/* SPDX-License-Identifier: MIT */
/*
 * Landlock (landlock(7)): a thread, and the threads that it makes later, give
 * up all access to files, except that they may remove files of one directory.
 */
#ifndef ISOLATE_LANDLOCK_H
#define ISOLATE_LANDLOCK_H

/**
 * landlock_restrict() - give up files
 * @directory:	directory in which files may be removed; NULL: none
 *
 * No file can be opened, made, executed or truncated, and files outside of
 * @directory cannot be removed. From Linux 6.7 on, no TCP port can be bound or
 * connected to. From 6.12 on, no other process can be sent a signal, or be
 * connected to by an abstract Unix socket. Open descriptors stay open. Needs
 * no_new_privs.
 *
 * Return: the version of Landlock that is in force, 1 or above; -ENOSYS,
 * -EOPNOTSUPP: the kernel has none; -errno.
 */
int landlock_restrict(const char *directory);

#endif /* ISOLATE_LANDLOCK_H */
