/* SPDX-License-Identifier: MIT */
/*
 * A library to preload into wiregather: an engine ends with status 0 when a client of a
 * socket sends "leave". tests/netns/keeper.py does.
 */
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

ssize_t recv(int fd, void *buf, size_t len, int flags);

ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	ssize_t n = syscall(SYS_recvfrom, fd, buf, len, flags, NULL, NULL);

	if (n >= 5 && !memcmp(buf, "leave", 5))
		_exit(0);
	return n;
}
