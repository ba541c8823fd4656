/* SPDX-License-Identifier: MIT */
/*
 * The listening socket and its file. A file that nobody listens behind any
 * more (a daemon was killed) is replaced; one that is served is left alone.
 *
 * There is an instant between bind(2) and listen(2) at which the file is there
 * and refuses connections, and wg(8) deletes such a file. So whoever opens one
 * looks at it again once it listens: uapi_socket_has_file().
 *
 * Control thread.
 */
#ifndef UAPI_SOCKET_H
#define UAPI_SOCKET_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>

/**
 * struct uapi_socket - see above
 * @fd:		listens, nonblocking
 * @path:	of the file; empty: none that is known
 * @device:	of the file, with
 * @inode:	its identity
 */
struct uapi_socket {
	int fd;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	dev_t device;
	ino_t inode;
};

/**
 * uapi_socket_open() - make a file and listen
 * @sock:	filled on success
 * @directory:	absolute; made with mode 0755 if it is not there
 * @name:	of the interface; the file is NAME.sock, with mode 0700
 *
 * The process must have no other thread that makes files: the mode comes from
 * umask(2).
 *
 * An existing directory must belong to root or to the process's user, and
 * nobody else may write to it, unless it is sticky.
 *
 * Return: 0; -EADDRINUSE: somebody serves it; -EEXIST: it is no socket;
 * -EPERM: others can write to the directory; -ENAMETOOLONG; -errno.
 */
int uapi_socket_open(struct uapi_socket *sock, const char *directory,
		     const char *name);

/**
 * uapi_socket_adopt() - use a listening socket that was handed over
 * @sock:	filled on success
 * @fd:		descriptor, ours on success, else still the caller's
 *
 * Its file must belong to root or to the process's user, and nobody else may
 * write to it. The same holds for its directory, as in uapi_socket_open(). An
 * abstract name has no owner and no mode: the program that made it decides who
 * can connect.
 *
 * Return: 0; -ENOTSOCK; -EINVAL: it is no Unix stream socket that listens;
 * -EPERM: others can use it; -errno.
 */
int uapi_socket_adopt(struct uapi_socket *sock, int fd);

/*
 * uapi_socket_has_file() - is the file there, and still the one it was? Also if
 * that cannot be seen.
 */
bool uapi_socket_has_file(const struct uapi_socket *sock);

/* uapi_socket_close() - close it; remove the file if it is still the same */
void uapi_socket_close(struct uapi_socket *sock);

#endif /* UAPI_SOCKET_H */
