/* SPDX-License-Identifier: MIT */
/* The table of system calls of a real process. */
#include "tun/sys.h"

#include <fcntl.h>
#include <sys/ioctl.h>
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
};
