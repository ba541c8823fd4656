/* SPDX-License-Identifier: MIT */
/*
 * Sockets that somebody else opened.
 *
 * A descriptor may have options that would spoil what the library sends or receives;
 * these are cleared. If opening fails, the caller keeps the descriptor. A caller that
 * does not know of UDP_GRO would misread merged datagrams, so UDP_GRO is set last.
 */
#include "udpgather/open.h"

#include <errno.h>
#include <netinet/udp.h>

#include "base/bytes.h"
#include "udpgather/opening.h"

/* Is this descriptor a UDP socket of the family? */
static int check_fd(struct opening *o, int f, int fd)
{
	struct ug_family_report *r = ug_opening_report(o, f);
	int domain, type, protocol;

	if (ug_opening_get_int(o, fd, SOL_SOCKET, SO_DOMAIN, &domain) < 0)
		return ug_opening_fail(r, "SO_DOMAIN", -errno);
	if (ug_opening_get_int(o, fd, SOL_SOCKET, SO_TYPE, &type) < 0)
		return ug_opening_fail(r, "SO_TYPE", -errno);
	if (ug_opening_get_int(o, fd, SOL_SOCKET, SO_PROTOCOL, &protocol) < 0)
		return ug_opening_fail(r, "SO_PROTOCOL", -errno);
	if (domain != o->sock->families[f].af)
		return ug_opening_fail(r, "SO_DOMAIN", -EINVAL);
	if (type != SOCK_DGRAM || protocol != IPPROTO_UDP)
		return ug_opening_fail(r, "SO_PROTOCOL", -EINVAL);
	return 0;
}

/* Read a descriptor's port. The first descriptor decides the socket's port. */
static int read_port(struct opening *o, int f, int fd)
{
	struct ug_endpoint local = { 0 };
	socklen_t len = sizeof(local.addr);

	if (o->sock->sys->getsockname(fd, &local.addr.any, &len) < 0)
		return ug_opening_fail(ug_opening_report(o, f), "getsockname",
				       -errno);
	uint16_t port = ntohs(f == FAMILY_V4 ? local.addr.v4.sin_port
					     : local.addr.v6.sin6_port);

	if (!port)
		return ug_opening_fail(ug_opening_report(o, f), "getsockname",
				       -EINVAL);
	if (!o->sock->port)
		o->sock->port = o->report.port = port;
	return 0;
}

/* Clear options that would change the datagrams that are sent. */
static int clear_options(struct opening *o, int f, int fd)
{
	static const struct {
		int name;
		const char *text;
	} table[] = {
		/* Segmentation would cut a datagram apart. */
		{ UDP_SEGMENT, "UDP_SEGMENT" },
		/* Corking would join datagrams to one. */
		{ UDP_CORK, "UDP_CORK" },
	};
	int value;

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (ug_opening_get_int(o, fd, IPPROTO_UDP, table[i].name,
				       &value) == 0 &&
		    value &&
		    ug_opening_set_int(o, fd, IPPROTO_UDP, table[i].name, 0) <
			    0)
			return ug_opening_fail(ug_opening_report(o, f),
					       table[i].text, -errno);
	return 0;
}

/*
 * An IPv6 descriptor that also carries IPv4 traffic has IPv4 options, too. IPv4
 * packet info has the local address to answer from. IPv6 packet info comes with an
 * IPv4 message, too, but names the group of a multicast message.
 */
static int set_mapped(struct opening *o, int fd)
{
	int only, pmtu = ug_opening_pmtu_value(o->opt.pmtu4);

	if (ug_opening_get_int(o, fd, IPPROTO_IPV6, IPV6_V6ONLY, &only) < 0 ||
	    only)
		return 0;
	if (ug_opening_set_int(o, fd, IPPROTO_IP, IP_PKTINFO, 1) < 0)
		return ug_opening_fail(&o->report.v6, "IP_PKTINFO", -errno);
	ug_opening_set_int(o, fd, IPPROTO_IP, IP_RECVTOS, 1);
	if ((o->opt.want & UG_WANT_TTL) &&
	    ug_opening_set_int(o, fd, IPPROTO_IP, IP_RECVTTL, 1) < 0)
		return ug_opening_fail(&o->report.v6, "IP_RECVTTL", -errno);
	if ((o->opt.want & UG_WANT_ERRORS) &&
	    ug_opening_set_int(o, fd, IPPROTO_IP, IP_RECVERR, 1) < 0)
		return ug_opening_fail(&o->report.v6, "IP_RECVERR", -errno);
	o->sock->is_dual = !o->wanted[FAMILY_V4];
	if (pmtu >= 0 &&
	    ug_opening_set_int(o, fd, IPPROTO_IP, IP_MTU_DISCOVER, pmtu) < 0)
		return ug_opening_fail(&o->report.v6, "IP_MTU_DISCOVER",
				       -errno);
	return 0;
}

static int adopt_family(struct opening *o, int f, int fd)
{
	int err = check_fd(o, f, fd);

	if (err == 0)
		err = read_port(o, f, fd);
	if (err == 0)
		err = ug_opening_set_common(o, f, fd);
	if (err == 0 && f == FAMILY_V6)
		err = set_mapped(o, fd);
	if (err == 0)
		err = clear_options(o, f, fd);
	return err;
}

static int adopt_pair(struct opening *o, const int fds[FAMILIES])
{
	int err = 0;

	for (int f = 0; f < FAMILIES; f++)
		o->wanted[f] = fds[f] >= 0;
	if (fds[FAMILY_V4] < 0 && fds[FAMILY_V6] < 0)
		err = -EINVAL;
	for (int f = 0; f < FAMILIES && err == 0; f++)
		if (o->wanted[f])
			err = adopt_family(o, f, fds[f]);
	if (err < 0)
		return err;
	for (int f = 0; f < FAMILIES; f++) {
		if (o->wanted[f])
			ug_opening_set_offloads(o, f, fds[f]);
		o->sock->families[f].fd = fds[f];
		if (o->wanted[f])
			ug_family_note_peer(o->sock, &o->sock->families[f]);
	}
	return 0;
}

int ug_socket_adopt_with(const struct ug_sys *sys, struct ug_socket **out,
			 const int fds[FAMILIES], const struct ug_options *opt,
			 struct ug_report *report)
{
	struct opening o = { 0 };
	int err = ug_opening_begin(&o, sys, opt);

	if (err < 0)
		return err;
	return ug_opening_end(&o, adopt_pair(&o, fds), out, report);
}

int ug_open_fds(struct ug_socket **out, int fd4, int fd6,
		const struct ug_options *opt, struct ug_report *report)
{
	const int fds[FAMILIES] = { fd4 < 0 ? -1 : fd4, fd6 < 0 ? -1 : fd6 };

	return ug_socket_adopt_with(&ug_sys_linux, out, fds, opt, report);
}
