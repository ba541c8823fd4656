/* SPDX-License-Identifier: MIT */
/*
 * What the kernel knows of a socket and of the paths from it.
 *
 * The MTU of a path can be read only of a connected socket. So ug_path_mtu()
 * connects a socket of its own, which has the properties by which the kernel chooses
 * the route: device, mark, and local address.
 */
#include <errno.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <string.h>

#include "base/bytes.h"
#include "udpgather/coalesce.h"
#include "udpgather/receiver.h"
#include "udpgather/socket.h"

/* Bind a socket to the device that another one is bound to. */
static int copy_device(const struct ug_sys *sys, int from, int fd)
{
	char name[IFNAMSIZ] = { 0 };
	socklen_t len = sizeof(name);

	if (sys->getsockopt(from, SOL_SOCKET, SO_BINDTODEVICE, name, &len) < 0)
		return -errno;
	if (!len || !*name)
		return 0;
	return sys->setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name,
			       (socklen_t)strnlen(name, sizeof(name))) < 0
		       ? -errno
		       : 0;
}

static int copy_mark(const struct ug_sys *sys, int from, int fd)
{
	uint32_t mark = 0;
	socklen_t len = sizeof(mark);

	if (sys->getsockopt(from, SOL_SOCKET, SO_MARK, &mark, &len) < 0)
		return -errno;
	if (!mark)
		return 0;
	return sys->setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0
		       ? -errno
		       : 0;
}

/* The local address that datagrams to an endpoint leave from, with port 0; no family
 * if the kernel chooses. Return: 0; -errno. */
static int local_address(const struct ug_socket *sock, int main_fd,
			 const struct ug_endpoint *to,
			 struct ug_endpoint *local)
{
	const struct ug_source *source =
		ug_usable_source(to, ug_path_generation(sock->paths));
	bool v4 = ug_endpoint_family(to) == AF_INET;
	socklen_t len = sizeof(local->addr);

	memset(local, 0, sizeof(*local));
	if (source) {
		local->addr.any.sa_family = (sa_family_t)ug_endpoint_family(to);
		memcpy(v4 ? (void *)&local->addr.v4.sin_addr
			  : (void *)&local->addr.v6.sin6_addr,
		       source->addr, v4 ? 4 : 16);
		if (!v4) /* counts if the address is link-local */
			local->addr.v6.sin6_scope_id =
				source->ifindex ? source->ifindex
						: to->addr.v6.sin6_scope_id;
		return 0;
	}
	if (sock->sys->getsockname(main_fd, &local->addr.any, &len) < 0)
		return -errno;
	ug_unmap(local);
	if (ug_endpoint_family(local) != ug_endpoint_family(to))
		memset(local, 0, sizeof(*local)); /* :: serves IPv4, too */
	else if (v4)
		local->addr.v4.sin_port = 0;
	else
		local->addr.v6.sin6_port = 0;
	return 0;
}

static socklen_t address_len(const struct ug_endpoint *ep)
{
	return ug_endpoint_family(ep) == AF_INET ? sizeof(ep->addr.v4)
						 : sizeof(ep->addr.v6);
}

/* Connect a new socket as the datagrams leave. Return: 0; -errno. */
static int connect_as(const struct ug_socket *sock, int main_fd, int fd,
		      const struct ug_endpoint *to)
{
	const struct ug_sys *sys = sock->sys;
	struct ug_endpoint local = { 0 };
	int err = copy_device(sys, main_fd, fd);

	if (err == 0)
		err = copy_mark(sys, main_fd, fd);
	if (err == 0)
		err = local_address(sock, main_fd, to, &local);
	if (err < 0)
		return err;
	if (ug_endpoint_family(&local) != AF_UNSPEC &&
	    sys->bind(fd, &local.addr.any, address_len(&local)) < 0)
		return -errno;
	return sys->connect(fd, &to->addr.any, address_len(to)) < 0 ? -errno
								    : 0;
}

int ug_path_mtu(const struct ug_socket *sock, const struct ug_endpoint *ep)
{
	struct ug_endpoint to = *ep;
	const struct ug_sys *sys = sock->sys;
	int mtu = 0;
	socklen_t len = sizeof(mtu);

	ug_unmap(&to);
	to.source = ep->source;
	const struct family *fam = ug_family_of(sock, ug_endpoint_family(&to));

	if (!fam)
		return -EAFNOSUPPORT;
	bool v4 = ug_endpoint_family(&to) == AF_INET;
	int fd = sys->socket(ug_endpoint_family(&to),
			     SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			     IPPROTO_UDP);

	if (fd < 0)
		return -errno;
	int err = connect_as(sock, fam->fd, fd, &to);

	if (err == 0 && sys->getsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6,
					v4 ? IP_MTU : IPV6_MTU, &mtu, &len) < 0)
		err = -errno;
	sys->close(fd);
	return err < 0 ? err : mtu;
}

/* Messages that the kernel has dropped for each socket of a family. */
static int read_drops(const struct ug_sys *sys, const struct family *fam,
		      uint64_t drops[1 + UG_MAX_SIDE_SOCKETS])
{
	for (unsigned int way = 0; fam->fd >= 0 && way <= fam->sides.n; way++) {
		uint32_t info[SK_MEMINFO_VARS] = { 0 };
		socklen_t len = sizeof(info);

		if (sys->getsockopt(ug_family_fd(fam, way), SOL_SOCKET,
				    SO_MEMINFO, info, &len) < 0)
			return -errno;
		drops[way] = info[SK_MEMINFO_DROPS];
	}
	return 0;
}

int ug_get_socket_stats(const struct ug_socket *sock,
			struct ug_socket_stats *stats, size_t size)
{
	struct ug_socket_stats s = { 0 };
	const struct family *families = sock->families;
	int err = read_drops(sock->sys, &families[FAMILY_V4], s.drops_v4);

	if (err == 0)
		err = read_drops(sock->sys, &families[FAMILY_V6], s.drops_v6);
	if (err < 0)
		return err;
	if (sock->errors)
		ug_errors_count(sock->errors, &s.errors, &s.errors_lost);
	memset(stats, 0, size);
	memcpy(stats, &s, size_min(size, sizeof(s)));
	return 0;
}
