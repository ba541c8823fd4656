/* SPDX-License-Identifier: MIT */
#include "tests/platform/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tests/lib/skip.h"

static const char path[] = "/dev/net/tun";

void tun_require(void)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		skip_program("cannot open /dev/net/tun");
	close(fd);
}

int tun_open(const char *name, unsigned int offloads)
{
	struct ifreq ifr = { .ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR };
	int fd, err;

	fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &ifr) || ioctl(fd, TUNSETOFFLOAD, offloads)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}
