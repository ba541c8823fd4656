/* SPDX-License-Identifier: MIT */
/*
 * Landlock (landlock(7)): a thread, and those that it makes, give up every
 * access to files but removing some.
 */
#ifndef ISOLATE_LANDLOCK_H
#define ISOLATE_LANDLOCK_H

/**
 * landlock_restrict() - give up files
 * @directory:	in which files other than directories may be removed; NULL: none
 *
 * Nothing can be opened, made, executed, truncated or removed anywhere else;
 * nor, from Linux 6.7 on, a TCP port bound or connected to; nor, from 6.12 on,
 * an abstract Unix socket of somebody else connected to, or somebody else be
 * sent a signal. What is open stays open. Needs no_new_privs. Of the calling
 * thread, and of those that it makes later.
 *
 * Return: the version of Landlock that is in force, 1 or above; -ENOSYS,
 * -EOPNOTSUPP: the kernel has none; -errno.
 */
int landlock_restrict(const char *directory);

#endif /* ISOLATE_LANDLOCK_H */
