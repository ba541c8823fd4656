/* SPDX-License-Identifier: MIT */
/* The table of system calls of a real process. */
#include "tun/sys.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* open(2), ioctl(2) and fcntl(2) are variadic, so the table has wrappers that
 * are not. */

static int sys_open(const char *path, int flags)
{
	return open(path, flags);
}

static int sys_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg);
}

static int sys_get_flags(int fd)
{
	return fcntl(fd, F_GETFL);
}

static int sys_set_flags(int fd, int flags)
{
	return fcntl(fd, F_SETFL, flags);
}

static int sys_bpf(int cmd, void *attr, unsigned int size)
{
	return (int)syscall(SYS_bpf, cmd, attr, size);
}

const struct tun_sys tun_sys_linux = {
	.open = sys_open,
	.close = close,
	.ioctl = sys_ioctl,
	.get_flags = sys_get_flags,
	.set_flags = sys_set_flags,
	.socket = socket,
	.read = read,
	.writev = writev,
	.recvmsg = recvmsg,
	.uname = uname,
	.bpf = sys_bpf,
};
