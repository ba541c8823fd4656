/* SPDX-License-Identifier: MIT */
/*
 * The user that the process becomes.
 *
 * Main thread.
 */
#ifndef ISOLATE_USER_H
#define ISOLATE_USER_H

#include <stdbool.h>
#include <sys/types.h>

/* The user to become if no user is named. It owns no files. */
#define USER_DEFAULT "nobody"

/**
 * struct user - a user and its group
 * @uid:	user
 * @gid:	group
 */
struct user {
	uid_t uid;
	gid_t gid;
};

/**
 * user_find() - look a user up
 * @user:	filled on success
 * @name:	of a user, or two numbers as in "1000:1000"
 *
 * Asks the sources of the system (nsswitch.conf(5)). USER_DEFAULT is looked for
 * in /etc/passwd only; if it is not there, both ids are 65534.
 *
 * Return: 0; -ENOENT: there is no such user; -EINVAL: it is root with another
 * group, or another user with root's group.
 */
int user_find(struct user *user, const char *name);

/* user_guess() - the ids that USER_DEFAULT has on most systems. No file is read. */
void user_guess(struct user *user);

/* user_is() - are all user ids of the process those of this user? */
bool user_is(const struct user *user);

/**
 * user_become() - change the process to a user
 * @user:	the user
 * @is_changed:	set to whether the group or the user has changed, also on
 *		failure
 *
 * The process gives up its other groups, and cannot change back. Permitted
 * capabilities stay, and so does the signal that the process gets when its parent ends.
 * Call this before other threads are made.
 *
 * Return: 0; -EPERM; -errno.
 */
int user_become(const struct user *user, bool *is_changed);

#endif /* ISOLATE_USER_H */
