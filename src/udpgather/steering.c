/* SPDX-License-Identifier: MIT */
/*
 * Steering: the program that chooses a socket of a group (SO_REUSEPORT) for each
 * message. The kernel keeps one program for the whole group, and IPv4 and IPv6 have
 * a group each.
 */
#include <errno.h>
#include <linux/filter.h>

#include "udpgather/socket.h"

/* Set an option on each open family that @family names. */
static int set_option(const struct ug_socket *sock, int family, int name,
		      const void *value, socklen_t len)
{
	for (int f = 0; f < FAMILIES; f++) {
		const struct family *fam = &sock->families[f];

		if (fam->fd < 0 ||
		    (family != AF_UNSPEC && fam != ug_family_of(sock, family)))
			continue;
		if (sock->sys->setsockopt(fam->fd, SOL_SOCKET, name, value,
					  len) == 0)
			continue;
		/* There was no program to remove. */
		if (name == SO_DETACH_REUSEPORT_BPF && errno == ENOENT)
			continue;
		return -errno;
	}
	return 0;
}

int ug_set_steering(struct ug_socket *sock, int family,
		    const struct sock_fprog *filter)
{
	static const int unused;

	if (family != AF_UNSPEC && !ug_family_of(sock, family))
		return -EAFNOSUPPORT;
	if (!filter)
		return set_option(sock, family, SO_DETACH_REUSEPORT_BPF,
				  &unused, sizeof(unused));
	return set_option(sock, family, SO_ATTACH_REUSEPORT_CBPF, filter,
			  sizeof(*filter));
}

int ug_set_steering_fd(struct ug_socket *sock, int family, int bpf_fd)
{
	if (family != AF_UNSPEC && !ug_family_of(sock, family))
		return -EAFNOSUPPORT;
	return set_option(sock, family, SO_ATTACH_REUSEPORT_EBPF, &bpf_fd,
			  sizeof(bpf_fd));
}
