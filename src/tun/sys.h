/* SPDX-License-Identifier: MIT */
/*
 * The system calls of this room. They go through a table, so that a test can
 * make the n-th call fail. Only netlink requests are sent without the table.
 */
#ifndef TUN_SYS_H
#define TUN_SYS_H

#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/utsname.h>

/**
 * struct tun_sys - the system calls, with the kernel's arguments and errno
 * @open:	has no mode, because it creates no file
 * @get_flags:	fcntl(2), F_GETFL
 * @set_flags:	fcntl(2), F_SETFL
 * @bpf:	@attr is a union bpf_attr of @size bytes
 *
 * The other members have the names of their manual pages.
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
	int (*bpf)(int cmd, void *attr, unsigned int size);
};

/* The table of a real process. */
extern const struct tun_sys tun_sys_linux;

#endif /* TUN_SYS_H */
