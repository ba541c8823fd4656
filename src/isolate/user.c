/* SPDX-License-Identifier: MIT */
/*
 * Looking a user up, and becoming that user. Root with another group, and
 * another user with root's group, are refused: such a user would keep more
 * rights than its name says.
 */
#include "isolate/user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum {
	/* The user if the system has no user nobody: the kernel's overflow
	 * id. */
	NOBODY_ID = 65534,
};

/* "UID:GID"; false if @name is something else. A number of nine digits fits
 * into 32 bits; a longer one is refused. */
static bool parse_numbers(struct user *user, const char *name)
{
	unsigned int uid, gid;
	char rest;

	if (name[strspn(name, "0123456789:")] ||
	    sscanf(name, "%9u:%9u%c", &uid, &gid, &rest) != 2)
		return false;
	*user = (struct user){ .uid = uid, .gid = gid };
	return true;
}

void user_guess(struct user *user)
{
	*user = (struct user){ .uid = NOBODY_ID, .gid = NOBODY_ID };
}

/*
 * Find USER_DEFAULT in /etc/passwd alone. To ask the other sources of users
 * (nsswitch.conf(5)) would take as much time and memory as the rest of the
 * start. @user is filled in any case.
 */
static void find_default(struct user *user)
{
	FILE *file = fopen("/etc/passwd", "re");
	const struct passwd *entry = NULL;

	user_guess(user);
	if (!file)
		return;
	do {
		entry = fgetpwent(file);
	} while (entry && strcmp(entry->pw_name, USER_DEFAULT) != 0);
	if (entry)
		*user = (struct user){ .uid = entry->pw_uid,
				       .gid = entry->pw_gid };
	fclose(file);
}

int user_find(struct user *user, const char *name)
{
	const struct passwd *entry;

	if (!strcmp(name, USER_DEFAULT)) {
		find_default(user);
	} else if (!parse_numbers(user, name)) {
		entry = getpwnam(name);
		if (!entry)
			return -ENOENT;
		*user = (struct user){ .uid = entry->pw_uid,
				       .gid = entry->pw_gid };
	}
	return !user->uid == !user->gid ? 0 : -EINVAL;
}

bool user_is(const struct user *user)
{
	uid_t real, effective, saved;

	return !getresuid(&real, &effective, &saved) && real == user->uid &&
	       effective == user->uid && saved == user->uid;
}

/*
 * Give up the supplementary groups, the group and the user, in this order.
 * @is_changed is set once the group has changed.
 */
static int change(const struct user *user, bool *is_changed)
{
	if (setgroups(0, NULL) < 0 ||
	    setresgid(user->gid, user->gid, user->gid) < 0)
		return -errno;
	*is_changed = true;
	return setresuid(user->uid, user->uid, user->uid) < 0 ? -errno : 0;
}

int user_become(const struct user *user, bool *is_changed)
{
	pid_t parent = getppid();
	int number = 0, err;

	*is_changed = false;
	if (prctl(PR_GET_PDEATHSIG, &number) < 0)
		return -errno;
	/* Without this the change from root to another user would drop all
	 * permitted capabilities. */
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return -errno;
	err = change(user, is_changed);
	prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
	/* With the change of the user the kernel forgets this signal. The parent may
	 * have ended meanwhile. */
	if (number && prctl(PR_SET_PDEATHSIG, number) == 0 &&
	    getppid() != parent)
		raise(number);
	return err;
}
