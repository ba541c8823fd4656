/* SPDX-License-Identifier: MIT */
#include "ctl/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl/snapshot.h"

/* Others may make a directory of this name in /tmp before we do: then it is theirs. */
static int check(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	if (st.st_uid != geteuid())
		return -EPERM;
	/* That of root has the mode that the daemon gives it. */
	return geteuid() != 0 && st.st_mode & (S_IRWXG | S_IRWXO) ? -EPERM : 0;
}

int directory_get(char out[DIRECTORY_CAP])
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	int len, err;

	if (geteuid() == 0)
		len = snprintf(out, DIRECTORY_CAP, "%s", CTL_DIRECTORY);
	else if (runtime && *runtime == '/')
		len = snprintf(out, DIRECTORY_CAP, "%s/wiregather", runtime);
	else
		len = snprintf(out, DIRECTORY_CAP, "/tmp/wiregather-%u",
			       (unsigned int)geteuid());
	if (len >= DIRECTORY_CAP)
		return -ENAMETOOLONG;
	if (geteuid() == 0)
		return 0;
	err = check(out);
	return err == -ENOENT ? 0 : err;
}

int directory_make(char out[DIRECTORY_CAP])
{
	mode_t mode = geteuid() == 0 ? 0755 : 0700;
	char run[DIRECTORY_CAP + sizeof("/run")];
	int err = directory_get(out);

	if (err < 0)
		return err;
	if (mkdir(out, mode) < 0 && errno != EEXIST)
		return -errno;
	err = check(out);
	if (err < 0)
		return err;
	snprintf(run, sizeof(run), "%s/run", out);
	return mkdir(run, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int make_path(char out[DIRECTORY_CAP * 2], const char *directory,
		     const char *name)
{
	int len = snprintf(out, DIRECTORY_CAP * 2, "%s/run/%s.lock", directory,
			   name);

	return len < DIRECTORY_CAP * 2 ? 0 : -ENAMETOOLONG;
}

/* Does a process serve the configuration socket of this name? */
static bool is_served(const char *directory, const char *name)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	bool is_so;
	int fd;

	if (snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s.sock",
		     directory, name) >= (int)sizeof(addr.sun_path))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	is_so = connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) ==
			0 ||
		(errno != ECONNREFUSED && errno != ENOENT);
	close(fd);
	return is_so;
}

/* Is the open file the one that has the path? The last owner of a lock removes its
 * file. */
static bool is_at(int fd, const char *path)
{
	struct stat mine, there;

	return fstat(fd, &mine) == 0 && stat(path, &there) == 0 &&
	       mine.st_dev == there.st_dev && mine.st_ino == there.st_ino;
}

int directory_lock(const char *directory, const char *name)
{
	char path[DIRECTORY_CAP * 2];
	int err = make_path(path, directory, name);

	while (err == 0) {
		int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
			      0600);

		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			err = errno == EWOULDBLOCK ? -EBUSY : -errno;
			close(fd);
			continue;
		}
		if (!is_at(fd, path)) {
			close(fd);
			continue;
		}
		if (!is_served(directory, name))
			return fd;
		directory_unlock(directory, name, fd);
		err = -EBUSY;
	}
	return err;
}

void directory_unlock(const char *directory, const char *name, int fd)
{
	char path[DIRECTORY_CAP * 2];

	if (make_path(path, directory, name) == 0)
		unlink(path);
	close(fd);
}
