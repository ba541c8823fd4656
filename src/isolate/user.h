/* SPDX-License-Identifier: MIT */
/* The user that the process becomes. */
#ifndef ISOLATE_USER_H
#define ISOLATE_USER_H

#include <stdbool.h>
#include <sys/types.h>

/* When none is named: who owns nothing. */
#define USER_DEFAULT "nobody"

/**
 * struct user - see above
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
 * Reads files, or whatever else the system asks for users.
 *
 * Return: 0; -ENOENT: there is none; -EINVAL: it is root with another group, or
 * another user with root's group.
 */
int user_find(struct user *user, const char *name);

/* user_is() - is the process this user already, and can be nobody else? */
bool user_is(const struct user *user);

/**
 * user_become() - change the process to a user
 * @user:	who
 * @is_changed:	set to whether the group or the user is another than before,
 *		also on failure
 *
 * Without other groups, and for good. Capabilities stay permitted. Before other
 * threads are made.
 *
 * Return: 0; -EPERM; -errno.
 */
int user_become(const struct user *user, bool *is_changed);

#endif /* ISOLATE_USER_H */
