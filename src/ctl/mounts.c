/* SPDX-License-Identifier: MIT */
/*
 * A directory is replaced by a copy of itself: a tmpfs in which each directory of the
 * old one is bound in its place, symbolic links are made again, and each other file is
 * a symbolic link to the old directory, which is bound under a hidden name. Some
 * entries are left out, and some are written anew.
 *
 * Why not mount over the single files? A mount over a file ends when somebody outside
 * replaces the file, as NetworkManager and systemd-resolved do with resolv.conf (Linux
 * 3.18, "vfs: Lazily remove mounts on unlinked files and directories"). resolv.conf may
 * be a symbolic link into a directory that is to be hidden, or not be there. And a
 * service that starts later makes its directory in /run then.
 */
#include "ctl/mounts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/syscalls.h"
#include "ctl/commands.h"

/* linux/mount.h and linux/fcntl.h; the headers of a C library may lack them, or may not
 * go together with those of the kernel. */
#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 0x4
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

enum {
	/* Bytes of a path here: two names of files at most, below a short path. */
	PATH_CAP = 2 * NAME_MAX + 64,
	/* Names under which the old directory may appear: one for each nested run. */
	OLD_MAX = 64,
};

/* Left out of /run: paths below it. */
static const char *const hidden[] = {
	"systemd/resolve", "nscd", "avahi-daemon", "dbus", NULL,
};

/* Written anew in /etc. */
static const char *const rewritten[] = { "resolv.conf", "nsswitch.conf", NULL };

/**
 * struct copy - a directory that is being replaced
 * @path:	the directory
 * @out:	names that are left out, NULL behind the last; a path of two names is
 *		an entry of a directory in @path
 * @old:	path under which the old directory appears
 */
struct copy {
	const char *path;
	const char *const *out;
	char old[PATH_CAP];
};

static int complain(const char *path, int err)
{
	ctl_fail("cannot make private files: %s: %s", path, strerror(-err));
	return err;
}

static int bind(const char *from, const char *to)
{
	return mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0 ? -errno : 0;
}

/* Is "@below@name" left out, or does it hold an entry that is? */
static bool is_out(const struct copy *copy, const char *below, const char *name,
		   bool *holds)
{
	char path[PATH_CAP];
	size_t len = (size_t)snprintf(path, sizeof(path), "%s%s", below, name);

	*holds = false;
	for (size_t i = 0; copy->out[i]; i++) {
		if (strcmp(copy->out[i], path) == 0)
			return true;
		*holds |= strncmp(copy->out[i], path, len) == 0 &&
			  copy->out[i][len] == '/';
	}
	return false;
}

static int copy_link(const char *from, const char *to)
{
	char target[PATH_MAX];
	ssize_t len = readlink(from, target, sizeof(target) - 1);

	if (len < 0)
		return -errno;
	target[len] = 0;
	return symlink(target, to) < 0 ? -errno : 0;
}

static int copy_entries(const struct copy *copy, const char *below);

static int copy_entry(const struct copy *copy, const char *below,
		      const char *name)
{
	char to[PATH_CAP], old[PATH_CAP], inside[NAME_MAX + 2];
	struct stat st;
	bool holds;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
	    is_out(copy, below, name, &holds))
		return 0;
	if (snprintf(to, sizeof(to), "%s/%s%s", copy->path, below, name) >=
		    (int)sizeof(to) ||
	    snprintf(old, sizeof(old), "%s/%s%s", copy->old, below, name) >=
		    (int)sizeof(old))
		return -ENAMETOOLONG;
	/* An entry may vanish meanwhile. */
	if (lstat(old, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (S_ISLNK(st.st_mode))
		return copy_link(old, to);
	if (!S_ISDIR(st.st_mode))
		return symlink(old, to) < 0 ? -errno : 0;
	if (mkdir(to, 0755) < 0)
		return -errno;
	if (!holds)
		return bind(old, to);
	snprintf(inside, sizeof(inside), "%s/", name);
	return copy_entries(copy, inside);
}

/* Copy the entries of a directory. @below: its path below the whole, with a slash behind
 * it; empty: the whole. */
static int copy_entries(const struct copy *copy, const char *below)
{
	char path[PATH_CAP];
	const struct dirent *entry;
	int err = 0;
	DIR *dir;

	if (snprintf(path, sizeof(path), "%s/%s", copy->old, below) >=
	    (int)sizeof(path))
		return -ENAMETOOLONG;
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (err == 0 && (entry = readdir(dir)))
		err = copy_entry(copy, below, entry->d_name);
	closedir(dir);
	return err;
}

/* A name for the old directory that it does not have itself. */
static int name_old(struct copy *copy)
{
	struct stat st;

	for (int i = 0; i < OLD_MAX; i++) {
		snprintf(copy->old, sizeof(copy->old), "%s/.outside%d",
			 copy->path, i);
		if (lstat(copy->old, &st) < 0 && errno == ENOENT)
			return 0;
	}
	return -EMLINK;
}

/* Empty the directories that are left out where the old directory appears. */
static int hide(const struct copy *copy)
{
	char path[PATH_CAP];
	struct stat st;

	for (size_t i = 0; copy->out[i]; i++) {
		snprintf(path, sizeof(path), "%.*s/%s", PATH_CAP / 2, copy->old,
			 copy->out[i]);
		if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
			continue;
		if (mount("none", path, "tmpfs", MS_RDONLY, "mode=755") < 0)
			return -errno;
	}
	return 0;
}

/*
 * Replace a directory by its copy. The mounts of the old one are copied before there is
 * a new one: mount(2) with MS_REC would also copy the new one, which is mounted on it.
 */
static int copy_up(const char *path, const char *const *out)
{
	struct copy copy = { .path = path, .out = out };
	int fd, err = name_old(&copy);

	if (err < 0)
		return err;
	fd = (int)syscall(SYS_open_tree, AT_FDCWD, path,
			  OPEN_TREE_CLONE | AT_RECURSIVE | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (mount("none", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") <
		    0 ||
	    mkdir(copy.old, 0755) < 0 ||
	    syscall(SYS_move_mount, fd, "", AT_FDCWD, copy.old,
		    MOVE_MOUNT_F_EMPTY_PATH) < 0)
		err = -errno;
	close(fd);
	if (err == 0)
		err = copy_entries(&copy, "");
	return err < 0 ? err : hide(&copy);
}

/* ---------------------------------------------------------------------- /etc */

static int write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");
	bool is_bad;

	if (!file)
		return -errno;
	is_bad = fputs(text, file) < 0;
	if (fclose(file) != 0 || is_bad)
		return -EIO;
	return chmod(path, 0644) < 0 ? -errno : 0;
}

/* The lines of the old nsswitch.conf(5), but for that of hosts. */
static char *make_nsswitch(void)
{
	FILE *file = fopen("/etc/nsswitch.conf", "re");
	char *text = NULL, *line = NULL;
	size_t len = 0, cap = 0;
	FILE *out = open_memstream(&text, &len);

	while (out && file && getline(&line, &cap, file) >= 0)
		if (strncmp(line + strspn(line, " \t"), "hosts:", 6) != 0)
			fputs(line, out);
	free(line);
	if (file)
		fclose(file);
	if (!out)
		return NULL;
	fputs("\nhosts: files dns\n", out);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

/*
 * What is written to the copy of /etc is lost in the end. So it can only be read, and
 * programs that would change the system's files, as root can, fail.
 */
static int replace_etc(const char *resolv_conf)
{
	char *nsswitch = make_nsswitch();
	int err = nsswitch ? copy_up("/etc", rewritten) : -ENOMEM;

	if (err == 0)
		err = write_text("/etc/resolv.conf", resolv_conf);
	if (err == 0)
		err = write_text("/etc/nsswitch.conf", nsswitch);
	if (err == 0 &&
	    mount(NULL, "/etc", NULL,
		  MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV,
		  NULL) < 0)
		err = -errno;
	free(nsswitch);
	return err < 0 ? complain("/etc", err) : 0;
}

/* ---------------------------------------------------------------------- /run */

/* Have wg(8) find the tunnel's sockets. @fd: the directory that they are in. */
static int show_sockets(const char *run, int fd)
{
	char path[PATH_CAP];

	snprintf(path, sizeof(path), "%.*s/wireguard", PATH_CAP / 2, run);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return -errno;
	return fchdir(fd) < 0 ? -errno : bind(".", path);
}

static int replace_run(const char *path, int sockets)
{
	struct stat st;
	int err;

	/* A link leads to the other one of /run and /var/run. */
	if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return 0;
	err = copy_up(path, hidden);
	if (err == 0)
		err = show_sockets(path, sockets);
	return err < 0 ? complain(path, err) : 0;
}

int mounts_make(const char *resolv_conf, const char *directory)
{
	int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	mode_t mask;
	int err;

	if (fd < 0)
		return complain(directory, -errno);
	mask = umask(0022);
	err = replace_etc(resolv_conf);
	if (err == 0)
		err = replace_run("/run", fd);
	if (err == 0)
		err = replace_run("/var/run", fd);
	if (chdir("/") < 0 && err == 0)
		err = complain("/", -errno);
	umask(mask);
	close(fd);
	return err;
}
