/* SPDX-License-Identifier: MIT */
/*
 * Everything that the room asks of the kernel goes through this table, so a
 * test can make the n-th call fail.
 */
#ifndef TUN_SYS_H
#define TUN_SYS_H

#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/utsname.h>

/**
 * struct tun_sys - the system calls, with the kernel's arguments and errno
 * @open:	without a mode: nothing is created
 *
 * Named after their manual pages.
 */
struct tun_sys {
	int (*open)(const char *path, int flags);
	int (*close)(int fd);
	int (*ioctl)(int fd, unsigned long request, void *arg);
	int (*get_flags)(int fd);
	int (*set_flags)(int fd, int flags);
	int (*socket)(int family, int type, int protocol);
	ssize_t (*read)(int fd, void *buf, size_t len);
	ssize_t (*writev)(int fd, const struct iovec *iov, int cnt);
	ssize_t (*recvmsg)(int fd, struct msghdr *msg, int flags);
	int (*uname)(struct utsname *out);
};

/* The table of a real process. */
extern const struct tun_sys tun_sys_linux;

#endif /* TUN_SYS_H */
