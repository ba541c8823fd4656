/* SPDX-License-Identifier: MIT */
/*
 * The system calls of the library. They go through a table, so that a test can make
 * the n-th call fail or take less than all.
 */
#ifndef UDPGATHER_SYS_H
#define UDPGATHER_SYS_H

#include <poll.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/utsname.h>

/**
 * struct ug_sys - the system calls, with the kernel's arguments and errno
 * @now_ms:	CLOCK_MONOTONIC in milliseconds
 *
 * The others are named after their manual pages.
 */
struct ug_sys {
	int (*socket)(int family, int type, int protocol);
	int (*bind)(int fd, const struct sockaddr *sa, socklen_t len);
	int (*connect)(int fd, const struct sockaddr *sa, socklen_t len);
	int (*getsockname)(int fd, struct sockaddr *sa, socklen_t *len);
	int (*getpeername)(int fd, struct sockaddr *sa, socklen_t *len);
	int (*setsockopt)(int fd, int level, int name, const void *value,
			  socklen_t len);
	int (*getsockopt)(int fd, int level, int name, void *value,
			  socklen_t *len);
	int (*close)(int fd);
	int (*sendmmsg)(int fd, struct mmsghdr *msgs, unsigned int n,
			int flags);
	ssize_t (*sendmsg)(int fd, const struct msghdr *msg, int flags);
	int (*recvmmsg)(int fd, struct mmsghdr *msgs, unsigned int n,
			int flags);
	ssize_t (*recvmsg)(int fd, struct msghdr *msg, int flags);
	int (*ioctl)(int fd, unsigned long request, int *value);
	int (*poll)(struct pollfd *fds, nfds_t n, int timeout_ms);
	int (*eventfd)(unsigned int value, int flags);
	ssize_t (*read)(int fd, void *buf, size_t len);
	ssize_t (*write)(int fd, const void *buf, size_t len);
	int (*membarrier)(int cmd);
	int (*uname)(struct utsname *out);
	int64_t (*now_ms)(void);
};

/* The table of a real process. */
extern const struct ug_sys ug_sys_linux;

#endif /* UDPGATHER_SYS_H */
