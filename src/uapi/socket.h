/* SPDX-License-Identifier: MIT */
/*
 * The listening socket and its file. A file that a killed process has left
 * behind is replaced. A file that another process serves is left alone.
 *
 * Control thread.
 */
#ifndef UAPI_SOCKET_H
#define UAPI_SOCKET_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>

/**
 * struct uapi_socket - a listening socket
 * @fd:	the socket, nonblocking
 * @path:	of the file; empty: there is none, or it is not known
 * @device:	identifies the file, together with @inode
 * @inode:	of the file
 * @alias:	a symbolic link to the file; empty: there is none
 * @alias_inode: of the link, on the same device
 */
struct uapi_socket {
	int fd;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	dev_t device;
	ino_t inode;
	char alias[sizeof(((struct sockaddr_un *)0)->sun_path)];
	ino_t alias_inode;
};

/**
 * uapi_socket_open() - make a file and listen
 * @sock:	filled on success
 * @directory:	absolute; made with mode 0755 if it is not there
 * @name:	of the interface
 * @suffix:	"sock": the file is NAME.sock. Another one: the file is
 *		SUFFIX/NAME.SUFFIX, and NAME.SUFFIX is a symbolic link to it, since
 *		programs that use wgctrl-go take each socket in @directory itself for
 *		one that configures an interface. The mode is 0700.
 * @group:	the file belongs to this group and has mode 0660 instead; (gid_t)-1: no
 *		group
 *
 * The process must have no other thread that makes files: the mode comes from
 * umask(2).
 *
 * An existing directory must belong to root or to the process's user, and
 * nobody else may write to it, unless it is sticky.
 *
 * Return: 0; -EADDRINUSE: another process serves the file; -EEXIST: the file is
 * not a socket; -EPERM: others can write to the directory; -ENAMETOOLONG;
 * -errno.
 */
int uapi_socket_open(struct uapi_socket *sock, const char *directory,
		     const char *name, const char *suffix, gid_t group);

/* uapi_socket_open_messages() - as uapi_socket_open() with a suffix that is not "sock",
 * but of the kind SOCK_SEQPACKET */
int uapi_socket_open_messages(struct uapi_socket *sock, const char *directory,
			      const char *name, const char *suffix);

/**
 * uapi_socket_adopt() - use a listening socket that was handed over
 * @sock:	filled on success
 * @fd:		descriptor; consumed on success only
 *
 * Its file must belong to root or to the process's user, and nobody else may
 * write to it. The same holds for its directory, as in uapi_socket_open(). An
 * abstract name has no owner and no mode: the program that made the socket
 * decides who can connect.
 *
 * Return: 0; -ENOTSOCK; -EINVAL: it is no Unix stream socket that listens;
 * -EPERM: others can use it; -errno.
 */
int uapi_socket_adopt(struct uapi_socket *sock, int fd);

/* uapi_socket_borrow() - use a listening socket that another process looks after, with
 * its file */
void uapi_socket_borrow(struct uapi_socket *sock, int fd);

/*
 * uapi_socket_has_file() - is the file there, and still the same one? If this
 * cannot be found out, the answer is true.
 */
bool uapi_socket_has_file(const struct uapi_socket *sock);

/* uapi_socket_remove_files() - remove the file and the link if they are still the same;
 * the socket stays open */
void uapi_socket_remove_files(struct uapi_socket *sock);

/* uapi_socket_close() - close the socket; remove the file if it is still the
 * same */
void uapi_socket_close(struct uapi_socket *sock);

#endif /* UAPI_SOCKET_H */
