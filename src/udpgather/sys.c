/* SPDX-License-Identifier: MIT */
/*
 * The table of system calls that the library uses in a real process. Each entry is
 * the function of the C library, or a wrapper that says why it is there.
 */
#include "udpgather/sys.h"

#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/now.h"

static int64_t now_ms(void)
{
	return (int64_t)(now_monotonic() / NSEC_PER_MSEC);
}

/* glibc declares bind(2), getpeername(2) and getsockname(2) with transparent unions, so
 * their types differ from those in the table. */
static int sys_bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	return bind(fd, sa, len);
}

static int sys_getpeername(int fd, struct sockaddr *sa, socklen_t *len)
{
	return getpeername(fd, sa, len);
}

static int sys_getsockname(int fd, struct sockaddr *sa, socklen_t *len)
{
	return getsockname(fd, sa, len);
}

/* The system call itself. ThreadSanitizer takes connect(2) for the making of a
 * descriptor, and would report each thread that receives meanwhile. */
static int sys_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	return (int)syscall(SYS_connect, fd, sa, len);
}

/*
 * The system call itself. On 64 bits the kernel's lengths are longer than those
 * of musl, which has padding beside them; so musl's sendmmsg(3) copies each
 * message, clears the padding and sends it by a call of its own. In the messages
 * of this library the padding is zero.
 */
static int sys_sendmmsg(int fd, struct mmsghdr *msgs, unsigned int n, int flags)
{
	return (int)syscall(SYS_sendmmsg, fd, msgs, n, flags);
}

/* musl's flags are unsigned, so its function has another type. */
static int sys_recvmmsg(int fd, struct mmsghdr *msgs, unsigned int n, int flags)
{
	return recvmmsg(fd, msgs, n, flags, NULL);
}

/* musl's request is an int. */
static int sys_ioctl(int fd, unsigned long request, int *value)
{
	return ioctl(fd, (unsigned int)request, value);
}

/*
 * The system call itself: write(3) may end a thread that was cancelled, and an
 * ug_wake() that has counted the sleepers must wake them.
 */
static ssize_t sys_write(int fd, const void *buf, size_t len)
{
	return syscall(SYS_write, fd, buf, len);
}

static int sys_membarrier(int cmd)
{
	return (int)syscall(SYS_membarrier, cmd, 0, 0);
}

const struct ug_sys ug_sys_linux = {
	.socket = socket,
	.bind = sys_bind,
	.connect = sys_connect,
	.getsockname = sys_getsockname,
	.getpeername = sys_getpeername,
	.setsockopt = setsockopt,
	.getsockopt = getsockopt,
	.close = close,
	.sendmmsg = sys_sendmmsg,
	.sendmsg = sendmsg,
	.recvmmsg = sys_recvmmsg,
	.recvmsg = recvmsg,
	.ioctl = sys_ioctl,
	.poll = poll,
	.eventfd = eventfd,
	.read = read,
	.write = sys_write,
	.membarrier = sys_membarrier,
	.uname = uname,
	.now_ms = now_ms,
};
