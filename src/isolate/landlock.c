/* SPDX-License-Identifier: MIT */
/*
 * Landlock, with numbers that are written here: the headers of the system that
 * builds the program may be older than the kernel that runs it.
 */
#include "isolate/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "base/syscalls.h"

#define CREATE_RULESET_VERSION 1U
#define RULE_PATH_BENEATH      1

/* struct landlock_ruleset_attr of linux/landlock.h. In older versions it is
 * shorter. */
struct ruleset {
	uint64_t fs;
	uint64_t net;
	uint64_t scoped;
};

/* struct landlock_path_beneath_attr */
struct path_rule {
	uint64_t allowed;
	int32_t parent_fd;
} __attribute__((packed));

/*
 * The rights that each version can refuse, and the length of its struct
 * ruleset. The bits are those of linux/landlock.h. The first version has 13
 * rights to files. The next ones add LANDLOCK_ACCESS_FS_REFER, then _TRUNCATE,
 * then the rights to bind and to connect TCP sockets, then _IOCTL_DEV, and then
 * the scopes of abstract Unix sockets and of signals.
 */
static const struct version {
	struct ruleset handled;
	size_t len;
} versions[] = {
	{ { 0x1fff, 0, 0 }, offsetof(struct ruleset, net) },
	{ { 0x3fff, 0, 0 }, offsetof(struct ruleset, net) },
	{ { 0x7fff, 0, 0 }, offsetof(struct ruleset, net) },
	{ { 0x7fff, 3, 0 }, offsetof(struct ruleset, scoped) },
	{ { 0xffff, 3, 0 }, offsetof(struct ruleset, scoped) },
	{ { 0xffff, 3, 3 }, sizeof(struct ruleset) },
};

/* The newest version that is known here. */
#define NEWEST ((int)(sizeof(versions) / sizeof(versions[0])))

int landlock_open(struct landlock *landlock)
{
	long newest = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0,
			      CREATE_RULESET_VERSION);
	const struct version *version;
	int fd;

	if (newest < 0)
		return -errno;
	if (newest > NEWEST)
		newest = NEWEST;
	version = &versions[newest - 1];
	fd = (int)syscall(SYS_landlock_create_ruleset, &version->handled,
			  version->len, 0);
	if (fd < 0)
		return -errno;
	*landlock = (struct landlock){ .fd = fd, .version = (int)newest };
	return 0;
}

int landlock_allow(const struct landlock *landlock, int fd, uint64_t rights)
{
	const struct path_rule rule = { .allowed = rights, .parent_fd = fd };

	return syscall(SYS_landlock_add_rule, landlock->fd, RULE_PATH_BENEATH,
		       &rule, 0) < 0
		       ? -errno
		       : 0;
}

int landlock_allow_path(const struct landlock *landlock, const char *path,
			uint64_t rights)
{
	int fd = open(path, O_PATH | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	err = landlock_allow(landlock, fd, rights);
	close(fd);
	return err;
}

int landlock_enter(struct landlock *landlock)
{
	int err = syscall(SYS_landlock_restrict_self, landlock->fd, 0) < 0
			  ? -errno
			  : 0;

	landlock_close(landlock);
	return err;
}

void landlock_close(struct landlock *landlock)
{
	close(landlock->fd);
	landlock->fd = -1;
}
