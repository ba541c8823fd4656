/* SPDX-License-Identifier: MIT */
/*
 * The listening socket and its file. If a socket refuses a connection, wg(8)
 * takes its file for one that a dead process has left behind, and removes it. A
 * socket refuses connections until it listens. So the socket is bound to
 * another name, listens, and only then gets its own name by link(2).
 */
#include "uapi/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	/* Only the owner may change a directory that is made. */
	DIRECTORY_MASK = 0022,
	/* Only the owner of a socket's file may connect. */
	FILE_MASK = 0077,
	/* Everybody may list a directory that is made. */
	DIRECTORY_MODE = 0755,
	/* A socket's file that a group may use, too. */
	GROUP_MODE = 0660,
};

/* Make the directories of @path, which is the absolute path of a file. */
static int make_directory(const char *path)
{
	char part[sizeof(((struct sockaddr_un *)0)->sun_path)];
	mode_t mask = umask(DIRECTORY_MASK);
	const char *slash = path;
	int err = 0;

	while (err == 0 && (slash = strchr(slash + 1, '/'))) {
		size_t len = (size_t)(slash - path);

		memcpy(part, path, len);
		part[len] = 0;
		if (mkdir(part, DIRECTORY_MODE) < 0 && errno != EEXIST)
			err = -errno;
	}
	umask(mask);
	return err;
}

/*
 * Can nobody else write to a file or directory? A process that can write to a
 * socket's file can configure the interface. A process that can write to the
 * file's directory can put another socket in its place. In a sticky directory
 * only the owner of the file or of the directory can do that.
 */
static bool is_closed_to_others(const struct stat *st)
{
	return (st->st_uid == 0 || st->st_uid == geteuid()) &&
	       (!(st->st_mode & (S_IWGRP | S_IWOTH)) ||
		(S_ISDIR(st->st_mode) && st->st_mode & S_ISVTX));
}

/* Returns -EPERM if others can put files into the directory of @path. */
static int check_directory(const char *path)
{
	char directory[sizeof(((struct sockaddr_un *)0)->sun_path)];
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;
	struct stat st;

	memcpy(directory, path, len);
	directory[len] = 0;
	if (stat(slash ? (len ? directory : "/") : ".", &st) < 0)
		return -errno;
	return is_closed_to_others(&st) ? 0 : -EPERM;
}

/* Returns -EPERM if others can use the socket; 0 also if the file is gone. */
static int check_file(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	if (S_ISSOCK(st.st_mode) && !is_closed_to_others(&st))
		return -EPERM;
	return check_directory(path);
}

static int bind_file(int fd, const struct sockaddr_un *addr)
{
	mode_t mask = umask(FILE_MASK);
	int err = bind(fd, (const void *)addr, sizeof(*addr)) < 0 ? -errno : 0;

	umask(mask);
	return err;
}

/* Returns -EADDRINUSE if a process still has the socket of this file. */
static int probe(const struct sockaddr_un *addr)
{
	int fd, err;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = connect(fd, (const void *)addr, sizeof(*addr)) < 0 ? errno : 0;
	close(fd);
	switch (err) {
	case ECONNREFUSED:
	case ENOENT:
		return 0;
	case 0:
	case EAGAIN:	 /* the queue of the socket is full */
	case EPROTOTYPE: /* a socket of another type */
		return -EADDRINUSE;
	default:
		return -err;
	}
}

/* Returns -EADDRINUSE if the file is served, -EEXIST if it is not a socket. */
static int remove_stale(const struct sockaddr_un *addr)
{
	struct stat st;
	int err;

	if (lstat(addr->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	err = probe(addr);
	if (err < 0)
		return err;
	return unlink(addr->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

/* Remember which file is ours. Returns -ENOENT also if it is not a socket. */
static int identify(struct uapi_socket *sock)
{
	struct stat st;

	if (lstat(sock->path, &st) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOENT;
	sock->device = st.st_dev;
	sock->inode = st.st_ino;
	return 0;
}

/* Make a socket that listens at a path which no other process uses. */
static int listen_at(const struct sockaddr_un *addr, int type, gid_t group)
{
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	/* A killed process with our process id may have left this file. */
	unlink(addr->sun_path);
	err = bind_file(fd, addr);
	if (err == 0 && ((group != (gid_t)-1 &&
			  (lchown(addr->sun_path, (uid_t)-1, group) < 0 ||
			   chmod(addr->sun_path, GROUP_MODE) < 0)) ||
			 listen(fd, SOMAXCONN) < 0)) {
		err = -errno;
		unlink(addr->sun_path);
	}
	if (err < 0) {
		close(fd);
		return err;
	}
	return fd;
}

/* Rename a socket's file. A file that a dead process has left at @to is
 * replaced. */
static int move_file(const struct sockaddr_un *from,
		     const struct sockaddr_un *to)
{
	int err = link(from->sun_path, to->sun_path) < 0 ? -errno : 0;

	if (err == -EEXIST) {
		err = remove_stale(to);
		if (err == 0 && link(from->sun_path, to->sun_path) < 0)
			err = errno == EEXIST ? -EADDRINUSE : -errno;
	}
	unlink(from->sun_path);
	return err;
}

/*
 * Make the link NAME.SUFFIX to the socket's file. A link, or the socket of a dead
 * process, is replaced.
 */
static int make_alias(struct uapi_socket *sock, const char *directory,
		      const char *name, const char *suffix)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct stat st;
	int err = 0;

	if (snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s.%s",
		     directory, name, suffix) >= (int)sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	if (lstat(addr.sun_path, &st) == 0 && S_ISLNK(st.st_mode))
		unlink(addr.sun_path);
	else
		err = remove_stale(&addr);
	if (err < 0)
		return err;
	/* The path of the file begins with that of the directory and a slash. */
	if (symlink(sock->path + strlen(directory) + 1, addr.sun_path) < 0 ||
	    lstat(addr.sun_path, &st) < 0)
		return -errno;
	memcpy(sock->alias, addr.sun_path, sizeof(sock->alias));
	sock->alias_inode = st.st_ino;
	return 0;
}

/* Make the file of @sock, by way of a file with another name. */
static int open_file(struct uapi_socket *sock, int type, gid_t group)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct sockaddr_un first = { .sun_family = AF_UNIX };
	const char *name = strrchr(sock->path, '/') + 1;
	int err;

	memcpy(addr.sun_path, sock->path, sizeof(addr.sun_path));
	if (snprintf(first.sun_path, sizeof(first.sun_path), "%.*s.%s.%x",
		     (int)(name - sock->path), sock->path, name,
		     (unsigned int)getpid()) >= (int)sizeof(first.sun_path))
		return -ENAMETOOLONG;
	err = make_directory(sock->path);
	if (err == 0)
		err = check_directory(sock->path);
	if (err < 0)
		return err;
	sock->fd = listen_at(&first, type, group);
	if (sock->fd < 0)
		return sock->fd;
	err = move_file(&first, &addr);
	if (err == 0)
		err = identify(sock);
	if (err < 0)
		close(sock->fd);
	return err;
}

static int open_socket(struct uapi_socket *sock, int type,
		       const char *directory, const char *name,
		       const char *suffix, gid_t group)
{
	bool is_configuration = strcmp(suffix, "sock") == 0;
	int len, err;

	memset(sock, 0, sizeof(*sock));
	len = snprintf(sock->path, sizeof(sock->path), "%s%s%s/%s.%s",
		       directory, is_configuration ? "" : "/",
		       is_configuration ? "" : suffix, name, suffix);
	if (len >= (int)sizeof(sock->path))
		return -ENAMETOOLONG;
	err = open_file(sock, type, group);
	if (err < 0 || is_configuration)
		return err;
	err = make_alias(sock, directory, name, suffix);
	if (err < 0)
		uapi_socket_close(sock);
	return err;
}

int uapi_socket_open(struct uapi_socket *sock, const char *directory,
		     const char *name, const char *suffix, gid_t group)
{
	return open_socket(sock, SOCK_STREAM, directory, name, suffix, group);
}

int uapi_socket_open_messages(struct uapi_socket *sock, const char *directory,
			      const char *name, const char *suffix)
{
	return open_socket(sock, SOCK_SEQPACKET, directory, name, suffix,
			   (gid_t)-1);
}

/* The value of an option, 0 or above, or -errno. */
static int get_option(int fd, int option)
{
	int value = 0;
	socklen_t len = sizeof(value);

	if (getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0)
		return -errno;
	return value;
}

/* Returns -EINVAL unless @fd is a Unix stream socket that listens. */
static int check_kind(int fd)
{
	static const int want[][2] = {
		{ SO_DOMAIN, AF_UNIX },
		{ SO_TYPE, SOCK_STREAM },
		{ SO_ACCEPTCONN, 1 },
	};

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		int value = get_option(fd, want[i][0]);

		if (value < 0)
			return value;
		if (value != want[i][1])
			return -EINVAL;
	}
	return 0;
}

/*
 * Find the file of a socket that was handed over. The path stays empty if the
 * socket has no file. It also stays empty if the path is relative, because a
 * daemon changes its working directory.
 */
static int find_file(struct uapi_socket *sock)
{
	struct sockaddr_un addr = { 0 };
	socklen_t len = sizeof(addr);
	int err;

	if (getsockname(sock->fd, (void *)&addr, &len) < 0)
		return -errno;
	/* An abstract name has neither owner nor mode. A path that fills all of
	 * sun_path has no final 0, and is not used. */
	if (!addr.sun_path[0] ||
	    !memchr(addr.sun_path, 0, sizeof(addr.sun_path)))
		return 0;
	err = check_file(addr.sun_path);
	if (err < 0 || addr.sun_path[0] != '/')
		return err;
	memcpy(sock->path, addr.sun_path, sizeof(sock->path));
	if (identify(sock) < 0)
		sock->path[0] = 0;
	return 0;
}

int uapi_socket_adopt(struct uapi_socket *sock, int fd)
{
	int flags, err;

	err = check_kind(fd);
	if (err < 0)
		return err;
	memset(sock, 0, sizeof(*sock));
	sock->fd = fd;
	err = find_file(sock);
	if (err < 0)
		return err;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	return 0;
}

void uapi_socket_borrow(struct uapi_socket *sock, int fd)
{
	memset(sock, 0, sizeof(*sock));
	sock->fd = fd;
}

/* Returns 1 if the file is ours; 0 if it is gone, or is another file;
 * -errno. */
static int look_at_file(const struct uapi_socket *sock)
{
	struct stat st;

	if (!sock->path[0])
		return 0;
	if (lstat(sock->path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	return st.st_dev == sock->device && st.st_ino == sock->inode;
}

bool uapi_socket_has_file(const struct uapi_socket *sock)
{
	/* If the look fails, the file may still be there. */
	return look_at_file(sock) != 0;
}

void uapi_socket_remove_files(struct uapi_socket *sock)
{
	struct stat st;

	if (*sock->alias && lstat(sock->alias, &st) == 0 &&
	    st.st_dev == sock->device && st.st_ino == sock->alias_inode)
		unlink(sock->alias);
	if (look_at_file(sock) > 0)
		unlink(sock->path);
	*sock->alias = *sock->path = 0;
}

void uapi_socket_close(struct uapi_socket *sock)
{
	uapi_socket_remove_files(sock);
	close(sock->fd);
	sock->fd = -1;
}
