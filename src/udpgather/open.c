/* SPDX-License-Identifier: MIT */
/*
 * Opening: two sockets on one port, each with the options that the library needs,
 * and a report that names the step that failed.
 *
 * A descriptor that somebody else opened may have options that would spoil what
 * the library sends or receives; these are cleared. If opening fails, the caller
 * keeps the descriptor. A caller that does not know of UDP_GRO would misread
 * merged datagrams, so UDP_GRO is set last.
 */
#include "udpgather/open.h"

#include <errno.h>
#include <limits.h>
#include <linux/net_tstamp.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "udpgather/message.h"
#include "udpgather/socket.h"

enum {
	BUFFER_LEN = 7 << 20,	   /* 7 MiB: holds a burst of 100 full trains */
	SIDE_BUFFER_LEN = 1 << 20, /* of a side socket, 1 MiB */
	PORT_TRIES = 100,
	WANTS = UG_WANT_TIME | UG_WANT_TTL | UG_WANT_DESTINATION
};

/* One call of ug_open(): a copy of the options, and the report so far. */
struct opening {
	struct ug_socket *sock;
	struct ug_options opt;
	struct ug_report report;
	bool wanted[FAMILIES];
};

static struct ug_family_report *report_of(struct opening *o, int f)
{
	return f == FAMILY_V4 ? &o->report.v4 : &o->report.v6;
}

/* Note the step that failed. Return: @err. */
static int report_failure(struct ug_family_report *r, const char *step, int err)
{
	r->err = err;
	r->step = step;
	return err;
}

static int set_int(const struct opening *o, int fd, int level, int name,
		   int value)
{
	return o->sock->sys->setsockopt(fd, level, name, &value, sizeof(value));
}

static int get_int(const struct opening *o, int fd, int level, int name,
		   int *value)
{
	socklen_t len = sizeof(*value);

	*value = 0;
	return o->sock->sys->getsockopt(fd, level, name, value, &len);
}

/* Set a buffer's size: beyond the system's limit if we may (CAP_NET_ADMIN).
 * Return: the size that it has. */
static size_t set_buffer(const struct opening *o, int fd, int force, int name)
{
	size_t want = o->opt.buffer_len ? o->opt.buffer_len : BUFFER_LEN;
	int value = (int)size_min(want, INT_MAX / 2), got;

	/* The plain option is only tried after a failure: it would cut a larger
	 * buffer to the limit. */
	if (set_int(o, fd, SOL_SOCKET, force, value) < 0)
		set_int(o, fd, SOL_SOCKET, name, value);
	if (get_int(o, fd, SOL_SOCKET, name, &got) < 0 || got < 0)
		return 0;
	/* The kernel doubles the size, for its own data. */
	return (size_t)got / 2;
}

static int pmtu_value(enum ug_pmtu mode)
{
	switch (mode) {
	case UG_PMTU_DONT:
		return IP_PMTUDISC_DONT;
	case UG_PMTU_WANT:
		return IP_PMTUDISC_WANT;
	case UG_PMTU_DO:
		return IP_PMTUDISC_DO;
	case UG_PMTU_PROBE:
		return IP_PMTUDISC_PROBE;
	case UG_PMTU_INTERFACE:
		return IP_PMTUDISC_INTERFACE;
	case UG_PMTU_OMIT:
		return IP_PMTUDISC_OMIT;
	case UG_PMTU_DEFAULT:
	default:
		return -1;
	}
}

/*
 * The times at which datagrams leave. The kernel takes the rate as an unsigned long;
 * as 32 bits before Linux 4.20.
 */
static int set_pacing(struct opening *o, int f, int fd)
{
	struct ug_family_report *r = report_of(o, f);
	const struct ug_sys *sys = o->sock->sys;
	struct sock_txtime txtime = {
		.clockid = o->opt.txtime_clock == UG_CLOCK_TAI
				   ? CLOCK_TAI
				   : CLOCK_MONOTONIC,
	};
	unsigned long rate = o->opt.max_pacing_rate < ULONG_MAX
				     ? (unsigned long)o->opt.max_pacing_rate
				     : ULONG_MAX;

	if (rate && sys->setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate,
				    sizeof(rate)) < 0)
		return report_failure(r, "SO_MAX_PACING_RATE", -errno);
	if (o->opt.txtime_clock && sys->setsockopt(fd, SOL_SOCKET, SO_TXTIME,
						   &txtime, sizeof(txtime)) < 0)
		return report_failure(r, "SO_TXTIME", -errno);
	return 0;
}

/* What the program wants to be told of each message (ip(7), ipv6(7), socket(7)). */
static int set_wanted(struct opening *o, int f, int fd)
{
	struct ug_family_report *r = report_of(o, f);
	bool v4 = f == FAMILY_V4;

	if ((o->opt.want & UG_WANT_TIME) &&
	    set_int(o, fd, SOL_SOCKET, SO_TIMESTAMPNS, 1) < 0)
		return report_failure(r, "SO_TIMESTAMPNS", -errno);
	if ((o->opt.want & UG_WANT_TTL) &&
	    set_int(o, fd, v4 ? IPPROTO_IP : IPPROTO_IPV6,
		    v4 ? IP_RECVTTL : IPV6_RECVHOPLIMIT, 1) < 0)
		return report_failure(
			r, v4 ? "IP_RECVTTL" : "IPV6_RECVHOPLIMIT", -errno);
	return 0;
}

/* The options that every socket needs, also one of ug_open_fds(). */
static int set_common(struct opening *o, int f, int fd)
{
	struct ug_family_report *r = report_of(o, f);
	bool v4 = f == FAMILY_V4;
	int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
	int pmtu = pmtu_value(v4 ? o->opt.pmtu4 : o->opt.pmtu6);
	const struct ug_sys *sys = o->sock->sys;

	r->rcvbuf = set_buffer(o, fd, SO_RCVBUFFORCE, SO_RCVBUF);
	r->sndbuf = set_buffer(o, fd, SO_SNDBUFFORCE, SO_SNDBUF);
	if (set_int(o, fd, level, v4 ? IP_PKTINFO : IPV6_RECVPKTINFO, 1) < 0)
		return report_failure(r, v4 ? "IP_PKTINFO" : "IPV6_RECVPKTINFO",
				      -errno);
	if (set_int(o, fd, level, v4 ? IP_RECVTOS : IPV6_RECVTCLASS, 1) < 0)
		return report_failure(r, v4 ? "IP_RECVTOS" : "IPV6_RECVTCLASS",
				      -errno);
	if (pmtu >= 0 &&
	    set_int(o, fd, level, v4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER,
		    pmtu) < 0)
		return report_failure(
			r, v4 ? "IP_MTU_DISCOVER" : "IPV6_MTU_DISCOVER",
			-errno);
	if (o->opt.mark &&
	    sys->setsockopt(fd, SOL_SOCKET, SO_MARK, &o->opt.mark,
			    sizeof(o->opt.mark)) < 0)
		return report_failure(r, "SO_MARK", -errno);
	if (set_wanted(o, f, fd) < 0)
		return r->err;
	return set_pacing(o, f, fd);
}

/*
 * Merging is on only if the option can be read back. Before Linux 5.12 the option
 * works, but cannot be read, so we could not tell whether it is on.
 */
static void set_offloads(struct opening *o, int f, int fd)
{
	struct ug_family_report *r = report_of(o, f);
	struct family *fam = &o->sock->families[f];
	int value;

	r->segments = get_int(o, fd, IPPROTO_UDP, UDP_SEGMENT, &value) == 0;
	r->merges = set_int(o, fd, IPPROTO_UDP, UDP_GRO, 1) == 0 &&
		    get_int(o, fd, IPPROTO_UDP, UDP_GRO, &value) == 0 &&
		    value == 1;
	if (!r->merges)
		set_int(o, fd, IPPROTO_UDP, UDP_GRO, 0);
	fam->can_segment = r->segments;
	fam->can_merge = r->merges;
	atomic_init(&fam->merging, r->merges);
	atomic_init(&fam->merging_wanted, r->merges);
}

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
		return report_failure(report_of(o, f), "bind", -errno);
	if (sys->getsockname(fd, &local.addr.any, &len) < 0)
		return report_failure(report_of(o, f), "getsockname", -errno);
	*port = ntohs(f == FAMILY_V4 ? local.addr.v4.sin_port
				     : local.addr.v6.sin6_port);
	return 0;
}

/* The options of a socket that we opened. */
static int prepare_fd(struct opening *o, int f, int fd)
{
	struct ug_family_report *r = report_of(o, f);
	const char *device = o->opt.device;
	const struct ug_sys *sys = o->sock->sys;

	if (f == FAMILY_V6 && set_int(o, fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) < 0)
		return report_failure(r, "IPV6_V6ONLY", -errno);
	if (device && sys->setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device,
				      (socklen_t)strlen(device)) < 0)
		return report_failure(r, "SO_BINDTODEVICE", -errno);
	return set_common(o, f, fd);
}

/* Open a socket, not bound yet. Return: its descriptor; -errno. */
static int open_fd(struct opening *o, int f)
{
	const struct ug_sys *sys = o->sock->sys;
	int fd = sys->socket(o->sock->families[f].af,
			     SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			     IPPROTO_UDP);

	if (fd < 0)
		return report_failure(report_of(o, f), "socket", -errno);
	int err = prepare_fd(o, f, fd);

	if (err < 0) {
		sys->close(fd);
		return err;
	}
	return fd;
}

static void close_family(const struct ug_sys *sys, struct family *fam)
{
	for (unsigned int i = 0; i < fam->sides.n; i++)
		sys->close(fam->sides.fds[i]);
	fam->sides.n = 0;
	if (fam->fd >= 0)
		sys->close(fam->fd);
	fam->fd = -1;
}

static void close_families(struct ug_socket *sock)
{
	for (int f = 0; f < FAMILIES; f++)
		close_family(sock->sys, &sock->families[f]);
}

/*
 * Open side sockets: like the main one, but with smaller buffers, and without
 * merging, because they hardly ever receive.
 */
static int open_sides(const struct opening *o, int f)
{
	struct side_sockets *sides = &o->sock->families[f].sides;
	struct opening side = *o; /* its report is not read */
	size_t len = o->opt.buffer_len;

	side.opt.buffer_len =
		len && len < SIDE_BUFFER_LEN ? len : SIDE_BUFFER_LEN;
	while (sides->n < o->opt.side_sockets) {
		int fd = open_fd(&side, f);

		if (fd < 0)
			return fd;
		sides->fds[sides->n++] = fd;
	}
	return 0;
}

/*
 * Bind a family's sockets to one port.
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
static int bind_sockets(struct opening *o, int f, uint16_t *port)
{
	const struct family *fam = &o->sock->families[f];
	unsigned int n = fam->sides.n;

	for (unsigned int i = 0; i <= n; i++) {
		/* The main socket, whose way is 0, is the last one in IPv4 and
		 * the first one in IPv6. */
		int fd = ug_family_fd(fam,
				      f == FAMILY_V4 ? (i + 1) % (n + 1) : i);

		if (i && set_int(o, fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0)
			return report_failure(report_of(o, f), "SO_REUSEPORT",
					      -errno);
		int err = bind_family(o, f, fd, port);

		if (err < 0)
			return err;
		if (n && !i && set_int(o, fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0)
			return report_failure(report_of(o, f), "SO_REUSEPORT",
					      -errno);
	}
	for (unsigned int way = 0; n && way <= n; way++)
		if (set_int(o, ug_family_fd(fam, way), SOL_SOCKET, SO_REUSEPORT,
			    0) < 0)
			return report_failure(report_of(o, f), "SO_REUSEPORT",
					      -errno);
	return 0;
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
	set_offloads(o, f, fam->fd);
	err = with_sides ? open_sides(o, f) : 0;
	if (err == 0)
		err = bind_sockets(o, f, &bound);
	if (err < 0) {
		close_family(o->sock->sys, fam);
		return err;
	}
	/* The kernel doubles the size that it is given, and SIOCOUTQ counts in
	 * the doubled size. */
	fam->sides.main_cap = 2 * (int64_t)report_of(o, f)->sndbuf;
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
	*report_of(o, f) = (struct ug_family_report){ 0 };
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
static int open_pair(struct opening *o)
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

static bool valid_mode(enum ug_pmtu mode)
{
	return mode == UG_PMTU_DEFAULT || pmtu_value(mode) >= 0;
}

static bool valid_bind(const struct ug_endpoint *ep, int family)
{
	return !ep || ep->addr.any.sa_family == family;
}

/* The kernel would cut a name that is too long, and take an empty name for "any
 * interface". */
static bool valid_device(const char *name)
{
	return !name || (*name && strnlen(name, IFNAMSIZ) < IFNAMSIZ);
}

/* Copy and check the caller's options, which may be of another version. */
static int take_options(struct opening *o, const struct ug_options *opt)
{
	static const struct ug_options defaults = { .size = sizeof(defaults) };

	if (!opt)
		opt = &defaults;
	if (opt->size <
	    offsetof(struct ug_options, families) + sizeof(opt->families))
		return -EINVAL;
	/* Options that this version does not know must be 0. */
	const unsigned char *bytes = (const void *)opt;

	for (size_t i = sizeof(o->opt); i < opt->size; i++)
		if (bytes[i])
			return -EINVAL;
	memcpy(&o->opt, opt, size_min(opt->size, sizeof(o->opt)));
	if (o->opt.families > UG_IPV6_ONLY || !valid_mode(o->opt.pmtu4) ||
	    !valid_mode(o->opt.pmtu6) || !valid_bind(o->opt.bind4, AF_INET) ||
	    !valid_bind(o->opt.bind6, AF_INET6) ||
	    !valid_device(o->opt.device) ||
	    o->opt.txtime_clock > UG_CLOCK_TAI ||
	    o->opt.side_sockets > UG_MAX_SIDE_SOCKETS ||
	    (o->opt.want & ~(uint32_t)WANTS))
		return -EINVAL;
	return 0;
}

/* The option copy_below, as ug_staging_take() takes it. */
static size_t copy_below(size_t option)
{
	if (!option)
		return MESSAGE_COPY_BELOW;
	return option == 1 ? 0 : option;
}

/* Make a socket without descriptors. */
static int make_socket(struct opening *o, const struct ug_sys *sys,
		       const struct ug_options *opt)
{
	struct utsname name;
	int err = take_options(o, opt);

	if (err < 0)
		return err;
	struct ug_socket *sock = calloc(1, sizeof(*sock));

	if (!sock)
		return -ENOMEM;
	sock->paths = ug_path_table_new();
	if (!sock->paths) {
		free(sock);
		return -ENOMEM;
	}
	sock->sys = sys;
	sock->notice = o->opt.notice;
	sock->notice_arg = o->opt.notice_arg;
	sock->want = o->opt.want;
	sock->copy_below = copy_below(o->opt.copy_below);
	sock->bad_kernel = sys->uname(&name) == 0 &&
			   ug_kernel_corrupts_trains(name.release);
	/* Without attributes, making a mutex or an rwlock cannot fail in glibc
	 * or musl. */
	pthread_mutex_init(&sock->switching, NULL);
	for (int f = 0; f < FAMILIES; f++) {
		sock->families[f].fd = -1;
		sock->families[f].af = f == FAMILY_V4 ? AF_INET : AF_INET6;
		pthread_rwlock_init(&sock->families[f].receive_lock, NULL);
		ug_side_init(&sock->families[f].sides, sock->paths->seed);
	}
	o->sock = sock;
	return 0;
}

static void give_report(const struct opening *o, struct ug_report *report)
{
	if (!report)
		return;
	size_t size = size_min(report->size, sizeof(*report));

	/* The caller's size stays. */
	if (size > sizeof(report->size))
		memcpy((char *)report + sizeof(report->size),
		       (const char *)&o->report + sizeof(report->size),
		       size - sizeof(report->size));
}

static void free_socket(struct ug_socket *sock)
{
	for (int f = 0; f < FAMILIES; f++) {
		ug_side_deinit(&sock->families[f].sides);
		pthread_rwlock_destroy(&sock->families[f].receive_lock);
	}
	pthread_mutex_destroy(&sock->switching);
	ug_path_table_free(sock->paths);
	free(sock);
}

/*
 * Make the report agree with the result. A family that failed has an error and its
 * step, and nothing else. If the other family made opening fail, a family that was
 * open, or was not tried yet, has -ECANCELED.
 */
static void complete_report(struct opening *o, int err)
{
	if (err < 0)
		o->report.port = 0;
	for (int f = 0; f < FAMILIES; f++) {
		struct ug_family_report *r = report_of(o, f);

		if (!o->wanted[f])
			*r = (struct ug_family_report){ .err = -ENOENT };
		else if (r->err)
			*r = (struct ug_family_report){
				.err = r->err,
				.step = r->step,
			};
		else if (err < 0)
			*r = (struct ug_family_report){
				.err = -ECANCELED,
				.step = "the other family",
			};
	}
}

/* The end of ug_open() and of ug_open_fds(). */
static int conclude(struct opening *o, int err, struct ug_socket **out,
		    struct ug_report *report)
{
	complete_report(o, err);
	give_report(o, report);
	if (err < 0) {
		free_socket(o->sock);
		return err;
	}
	*out = o->sock;
	return 0;
}

int ug_socket_open_with(const struct ug_sys *sys, struct ug_socket **out,
			const struct ug_options *opt, struct ug_report *report)
{
	struct opening o = { 0 };
	int err = make_socket(&o, sys, opt);

	if (err < 0)
		return err;
	return conclude(&o, open_pair(&o), out, report);
}

/* Is this descriptor a UDP socket of the family? */
static int check_fd(struct opening *o, int f, int fd)
{
	struct ug_family_report *r = report_of(o, f);
	int domain, type, protocol;

	if (get_int(o, fd, SOL_SOCKET, SO_DOMAIN, &domain) < 0)
		return report_failure(r, "SO_DOMAIN", -errno);
	if (get_int(o, fd, SOL_SOCKET, SO_TYPE, &type) < 0)
		return report_failure(r, "SO_TYPE", -errno);
	if (get_int(o, fd, SOL_SOCKET, SO_PROTOCOL, &protocol) < 0)
		return report_failure(r, "SO_PROTOCOL", -errno);
	if (domain != o->sock->families[f].af)
		return report_failure(r, "SO_DOMAIN", -EINVAL);
	if (type != SOCK_DGRAM || protocol != IPPROTO_UDP)
		return report_failure(r, "SO_PROTOCOL", -EINVAL);
	return 0;
}

/* Read a descriptor's port. The first descriptor decides the socket's port. */
static int read_port(struct opening *o, int f, int fd)
{
	struct ug_endpoint local = { 0 };
	socklen_t len = sizeof(local.addr);

	if (o->sock->sys->getsockname(fd, &local.addr.any, &len) < 0)
		return report_failure(report_of(o, f), "getsockname", -errno);
	uint16_t port = ntohs(f == FAMILY_V4 ? local.addr.v4.sin_port
					     : local.addr.v6.sin6_port);

	if (!port)
		return report_failure(report_of(o, f), "getsockname", -EINVAL);
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
		if (get_int(o, fd, IPPROTO_UDP, table[i].name, &value) == 0 &&
		    value && set_int(o, fd, IPPROTO_UDP, table[i].name, 0) < 0)
			return report_failure(report_of(o, f), table[i].text,
					      -errno);
	return 0;
}

/*
 * An IPv6 descriptor that also carries IPv4 traffic has IPv4 options, too. IPv4
 * packet info has the local address to answer from. IPv6 packet info comes with an
 * IPv4 message, too, but names the group of a multicast message.
 */
static int set_mapped(struct opening *o, int fd)
{
	int only, pmtu = pmtu_value(o->opt.pmtu4);

	if (get_int(o, fd, IPPROTO_IPV6, IPV6_V6ONLY, &only) < 0 || only)
		return 0;
	if (set_int(o, fd, IPPROTO_IP, IP_PKTINFO, 1) < 0)
		return report_failure(&o->report.v6, "IP_PKTINFO", -errno);
	set_int(o, fd, IPPROTO_IP, IP_RECVTOS, 1);
	if ((o->opt.want & UG_WANT_TTL) &&
	    set_int(o, fd, IPPROTO_IP, IP_RECVTTL, 1) < 0)
		return report_failure(&o->report.v6, "IP_RECVTTL", -errno);
	o->sock->is_dual = !o->wanted[FAMILY_V4];
	if (pmtu >= 0 && set_int(o, fd, IPPROTO_IP, IP_MTU_DISCOVER, pmtu) < 0)
		return report_failure(&o->report.v6, "IP_MTU_DISCOVER", -errno);
	return 0;
}

static int adopt_family(struct opening *o, int f, int fd)
{
	int err = check_fd(o, f, fd);

	if (err == 0)
		err = read_port(o, f, fd);
	if (err == 0)
		err = set_common(o, f, fd);
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
			set_offloads(o, f, fds[f]);
		o->sock->families[f].fd = fds[f];
	}
	return 0;
}

int ug_socket_adopt_with(const struct ug_sys *sys, struct ug_socket **out,
			 const int fds[FAMILIES], const struct ug_options *opt,
			 struct ug_report *report)
{
	struct opening o = { 0 };
	int err = make_socket(&o, sys, opt);

	if (err < 0)
		return err;
	return conclude(&o, adopt_pair(&o, fds), out, report);
}

int ug_open(struct ug_socket **out, const struct ug_options *opt,
	    struct ug_report *report)
{
	return ug_socket_open_with(&ug_sys_linux, out, opt, report);
}

int ug_open_fds(struct ug_socket **out, int fd4, int fd6,
		const struct ug_options *opt, struct ug_report *report)
{
	const int fds[FAMILIES] = { fd4 < 0 ? -1 : fd4, fd6 < 0 ? -1 : fd6 };

	return ug_socket_adopt_with(&ug_sys_linux, out, fds, opt, report);
}

void ug_close(struct ug_socket *sock)
{
	if (!sock)
		return;
	close_families(sock);
	free_socket(sock);
}
