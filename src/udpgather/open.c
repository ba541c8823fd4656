/* SPDX-License-Identifier: MIT */
/*
 * Opening: two sockets on one port, each with the options that the library needs,
 * and a report that names the step that failed.
 */
#include "udpgather/open.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "udpgather/opening.h"

enum {
	SIDE_BUFFER_LEN = 1 << 20, /* of a side socket, 1 MiB */
	PORT_TRIES = 100,
};

static int bind_family(struct opening *o, int f, int fd, uint16_t *port)
{
	const struct ug_sys *sys = o->sock->sys;
	const struct ug_endpoint *at =
		f == FAMILY_V4 ? o->opt.bind4 : o->opt.bind6;
	struct ug_endpoint local = { 0 };
	socklen_t len;

	if (at)
		local = *at;
	if (f == FAMILY_V4) {
		local.addr.v4.sin_family = AF_INET;
		local.addr.v4.sin_port = htons(*port);
		len = sizeof(local.addr.v4);
	} else {
		local.addr.v6.sin6_family = AF_INET6;
		local.addr.v6.sin6_port = htons(*port);
		len = sizeof(local.addr.v6);
	}
	if (sys->bind(fd, &local.addr.any, len) < 0)
		return ug_opening_fail(ug_opening_report(o, f), "bind", -errno);
	if (sys->getsockname(fd, &local.addr.any, &len) < 0)
		return ug_opening_fail(ug_opening_report(o, f), "getsockname",
				       -errno);
	*port = ntohs(f == FAMILY_V4 ? local.addr.v4.sin_port
				     : local.addr.v6.sin6_port);
	return 0;
}

/* The options of a socket that we opened. */
static int prepare_fd(struct opening *o, int f, int fd)
{
	struct ug_family_report *r = ug_opening_report(o, f);
	const char *device = o->opt.device;
	const struct ug_sys *sys = o->sock->sys;

	if (f == FAMILY_V6 &&
	    ug_opening_set_int(o, fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) < 0)
		return ug_opening_fail(r, "IPV6_V6ONLY", -errno);
	if (device && sys->setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device,
				      (socklen_t)strlen(device)) < 0)
		return ug_opening_fail(r, "SO_BINDTODEVICE", -errno);
	return ug_opening_set_common(o, f, fd);
}

/* Open a socket, not bound yet. Return: its descriptor; -errno. */
static int open_fd(struct opening *o, int f)
{
	const struct ug_sys *sys = o->sock->sys;
	int fd = sys->socket(o->sock->families[f].af,
			     SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			     IPPROTO_UDP);

	if (fd < 0)
		return ug_opening_fail(ug_opening_report(o, f), "socket",
				       -errno);
	int err = prepare_fd(o, f, fd);

	if (err < 0) {
		sys->close(fd);
		return err;
	}
	return fd;
}

static void close_sides(const struct ug_sys *sys, struct family *fam)
{
	for (unsigned int i = 0; i < fam->sides.n; i++)
		sys->close(fam->sides.fds[i]);
	fam->sides.n = 0;
}

static void close_family(const struct ug_sys *sys, struct family *fam)
{
	close_sides(sys, fam);
	if (fam->fd >= 0)
		sys->close(fam->fd);
	fam->fd = -1;
}

static void close_families(struct ug_socket *sock)
{
	for (int f = 0; f < FAMILIES; f++)
		close_family(sock->sys, &sock->families[f]);
}

static size_t side_buffer_len(const struct opening *o, size_t len)
{
	len = ug_opening_buffer_len(o, len);
	return len == UG_BUFFER_KEEP ? len : size_min(len, SIDE_BUFFER_LEN);
}

/*
 * Open side sockets: like the main one, but with smaller buffers, and without
 * merging, because they hardly ever receive.
 */
static int open_sides(const struct opening *o, int f)
{
	struct side_sockets *sides = &o->sock->families[f].sides;
	struct opening side = *o; /* its report is not read */

	side.opt.rcvbuf_len = side_buffer_len(o, o->opt.rcvbuf_len);
	side.opt.sndbuf_len = side_buffer_len(o, o->opt.sndbuf_len);
	while (sides->n < o->opt.side_sockets) {
		int fd = open_fd(&side, f);

		if (fd < 0)
			return fd;
		sides->fds[sides->n++] = fd;
	}
	return 0;
}

static int set_reuse_port(struct opening *o, int f, int fd, int value)
{
	if (ug_opening_set_int(o, fd, SOL_SOCKET, SO_REUSEPORT, value) < 0)
		return ug_opening_fail(ug_opening_report(o, f), "SO_REUSEPORT",
				       -errno);
	return 0;
}

/*
 * Bind a socket with SO_REUSEPORT set before or after bind(2). After it, bind(2)
 * fails if the port is in use. Before it, bind(2) succeeds if all sockets that have
 * the port have the option and belong to this user; and for port 0 the kernel may
 * choose such a port.
 */
static int bind_sharing(struct opening *o, int f, int fd, uint16_t *port,
			bool is_first)
{
	int err = is_first ? 0 : set_reuse_port(o, f, fd, 1);

	if (err == 0)
		err = bind_family(o, f, fd, port);
	return err < 0 || !is_first ? err : set_reuse_port(o, f, fd, 1);
}

/*
 * Bind a main socket and its side sockets to one port.
 *
 * The first socket is bound without SO_REUSEPORT, so bind(2) fails if the port
 * is in use. Then this socket gets the option, and the other sockets bind the
 * same port with it. In the end the option is switched off on all of them.
 * After that no other process can bind the port; and the kernel does not spread
 * datagrams over the sockets any more, but delivers them to the first socket in
 * its list. The kernel puts an IPv4 socket in front of that list, and an IPv6
 * socket with SO_REUSEPORT at its end (udp_lib_get_port(), since Linux 4.6). So
 * the main socket is bound last in IPv4, and first in IPv6.
 */
static int bind_with_sides(struct opening *o, int f, uint16_t *port)
{
	const struct family *fam = &o->sock->families[f];
	unsigned int n = fam->sides.n;
	int err = 0;

	for (unsigned int i = 0; i <= n && err == 0; i++) {
		/* The main socket, whose way is 0, is the last one in IPv4 and
		 * the first one in IPv6. */
		int fd = ug_family_fd(fam,
				      f == FAMILY_V4 ? (i + 1) % (n + 1) : i);

		err = bind_sharing(o, f, fd, port, !i);
	}
	for (unsigned int way = 0; way <= n && err == 0; way++)
		err = set_reuse_port(o, f, ug_family_fd(fam, way), 0);
	return err;
}

static int bind_sockets(struct opening *o, int f, uint16_t *port)
{
	const struct family *fam = &o->sock->families[f];

	if (o->opt.reuse_port)
		return bind_sharing(o, f, fam->fd, port,
				    o->is_first || !o->opt.port);
	if (fam->sides.n)
		return bind_with_sides(o, f, port);
	return bind_family(o, f, fam->fd, port);
}

static int open_family_with(struct opening *o, int f, uint16_t *port,
			    bool with_sides)
{
	struct family *fam = &o->sock->families[f];
	uint16_t bound = *port;
	int err = open_fd(o, f);

	if (err < 0)
		return err;
	fam->fd = err;
	ug_opening_set_offloads(o, f, fam->fd);
	err = with_sides ? open_sides(o, f) : 0;
	if (err == 0)
		err = bind_sockets(o, f, &bound);
	if (err < 0) {
		close_family(o->sock->sys, fam);
		return err;
	}
	/* The kernel doubles the size that it is given, and SIOCOUTQ counts in
	 * the doubled size. */
	fam->sides.main_cap = 2 * (int64_t)ug_opening_report(o, f)->sndbuf;
	if (!fam->sides.main_cap) /* it could not be read */
		fam->sides.main_cap = 2 * SIDE_BUFFER_LEN;
	*port = bound;
	return 0;
}

/* Open a family, with side sockets if possible. */
static int open_family(struct opening *o, int f, uint16_t *port)
{
	if (o->opt.side_sockets && open_family_with(o, f, port, true) == 0)
		return 0;
	*ug_opening_report(o, f) = (struct ug_family_report){ 0 };
	return open_family_with(o, f, port, false);
}

/* Does the kernel lack this family? Then the other one is opened alone. */
static bool is_optional(const struct opening *o, int err)
{
	return o->opt.families == UG_BOTH &&
	       (err == -EAFNOSUPPORT || err == -EPROTONOSUPPORT);
}

/* Open the wanted families on one port. After a failure the caller closes them. */
static int open_once(struct opening *o, uint16_t port)
{
	int err = 0, missing = 0, n_open = 0;

	o->report.v4 = o->report.v6 = (struct ug_family_report){ 0 };
	for (int f = 0; f < FAMILIES; f++) {
		if (!o->wanted[f])
			continue;
		err = open_family(o, f, &port);
		if (err < 0 && !is_optional(o, err))
			return err;
		if (err < 0)
			missing = err;
		else
			n_open++;
	}
	if (!n_open)
		return missing;
	o->sock->port = o->report.port = port;
	return 0;
}

/*
 * Open both families. If no port is asked for, the kernel chooses a free one for
 * IPv4; if it is not free in IPv6, the kernel chooses another.
 */
int ug_opening_open(struct opening *o)
{
	int err;

	o->wanted[FAMILY_V4] = o->opt.families != UG_IPV6_ONLY;
	o->wanted[FAMILY_V6] = o->opt.families != UG_IPV4_ONLY;
	do {
		o->report.tries++;
		err = open_once(o, o->opt.port);
		if (err < 0)
			close_families(o->sock);
	} while (err == -EADDRINUSE && !o->opt.port &&
		 o->report.tries < PORT_TRIES);
	return err;
}

int ug_socket_open_with(const struct ug_sys *sys, struct ug_socket **out,
			const struct ug_options *opt, struct ug_report *report)
{
	struct opening o = { 0 };
	int err = ug_opening_begin(&o, sys, opt);

	if (err < 0)
		return err;
	return ug_opening_end(&o, ug_opening_open(&o), out, report);
}

/* Open a socket of a group: one more if @o has a first one, else the first one. */
static int open_member(struct opening *o, const struct ug_sys *sys,
		       struct ug_socket **out, const struct ug_options *opt,
		       struct ug_report *report)
{
	int err = ug_opening_begin(o, sys, opt);

	if (err < 0)
		return err;
	o->n_group_sides = o->opt.side_sockets;
	o->opt.side_sockets = 0;
	o->opt.reuse_port = true;
	if (o->first)
		o->opt.port = ug_port(o->first);
	return ug_opening_end(o, ug_opening_open(o), out, report);
}

/*
 * Open the side sockets of a group's first socket. They are bound last, so that the
 * sockets of the group have the numbers from 0 on. Their option stays on, as for the
 * whole group. So the kernel may look at one of them when it decides whether
 * datagrams merge (udp_gro_receive() asks no program): see merging.c.
 */
void ug_opening_open_group_sides(struct opening *o)
{
	o->opt.side_sockets = o->n_group_sides;
	for (int f = 0; f < FAMILIES; f++) {
		struct family *fam = &o->sock->families[f];
		uint16_t port = o->sock->port;
		int err;

		if (fam->fd < 0)
			continue;
		fam->sides.are_in_group = true;
		err = open_sides(o, f);
		for (unsigned int i = 0; i < fam->sides.n && err == 0; i++)
			err = bind_sharing(o, f, fam->sides.fds[i], &port,
					   false);
		if (err < 0)
			close_sides(o->sock->sys, fam);
	}
}

int ug_socket_open_group_with(const struct ug_sys *sys, struct ug_socket **out,
			      unsigned int n, const struct ug_options *opt,
			      struct ug_report *report)
{
	struct opening first = { .is_first = true };

	if (!n)
		return -EINVAL;
	for (unsigned int i = 0; i < n; i++) {
		struct opening more = { .first = i ? out[0] : NULL };
		int err = open_member(i ? &more : &first, sys, &out[i], opt,
				      report);

		if (err < 0) {
			while (i)
				ug_close(out[--i]);
			return err;
		}
	}
	ug_opening_open_group_sides(&first);
	return 0;
}

int ug_open_group(struct ug_socket **out, unsigned int n,
		  const struct ug_options *opt, struct ug_report *report)
{
	return ug_socket_open_group_with(&ug_sys_linux, out, n, opt, report);
}

int ug_open(struct ug_socket **out, const struct ug_options *opt,
	    struct ug_report *report)
{
	return ug_socket_open_with(&ug_sys_linux, out, opt, report);
}

void ug_close(struct ug_socket *sock)
{
	if (!sock)
		return;
	close_families(sock);
	ug_socket_free(sock);
}
