/* SPDX-License-Identifier: MIT */
/*
 * Opening: two sockets on one port, each with the options that the rest of
 * the library relies on, and a report of what became of each step.
 *
 * A descriptor that somebody else opened has a history: options that would
 * spoil what the library sends or receives are cleared. Until everything has
 * passed it is still the caller's, who may go on with it if opening fails; so
 * UDP_GRO, with which nobody could read it who does not know, comes last.
 */
#include "udpgather/socket.h"

#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

enum {
	BUFFER_LEN = 7 << 20,	   /* 7 MiB: holds a burst of 100 full trains */
	SIDE_BUFFER_LEN = 1 << 20, /* of a side socket, 1 MiB */
	PORT_TRIES = 100
};

/* What opening works on; options are complete, the report is the newest. */
struct opening {
	struct ug_socket *sock;
	struct ug_options opt;
	struct ug_report report;
	bool wanted[HALVES];
};

static struct ug_family_report *report_of(struct opening *o, int h)
{
	return h == HALF_V4 ? &o->report.v4 : &o->report.v6;
}

/* Keep the first thing that went wrong. */
static int fail(struct ug_family_report *r, const char *step, int err)
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

/* One buffer: by force (CAP_NET_ADMIN), else what the system's limit allows. */
static size_t set_buffer(const struct opening *o, int fd, int force, int name)
{
	size_t want = o->opt.buffer_len ? o->opt.buffer_len : BUFFER_LEN;
	int value = (int)size_min(want, INT_MAX / 2), got;

	/* Order matters: the plain option never undoes a larger buffer. */
	if (set_int(o, fd, SOL_SOCKET, force, value) < 0)
		set_int(o, fd, SOL_SOCKET, name, value);
	if (get_int(o, fd, SOL_SOCKET, name, &got) < 0 || got < 0)
		return 0;
	/* The kernel doubles what it is given, for its bookkeeping. */
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

/* The options that an adopted socket needs, too. */
static int set_common(struct opening *o, int h, int fd)
{
	struct ug_family_report *r = report_of(o, h);
	bool v4 = h == HALF_V4;
	int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
	int pmtu = pmtu_value(v4 ? o->opt.pmtu4 : o->opt.pmtu6);
	const struct ug_sys *sys = o->sock->sys;

	r->rcvbuf = set_buffer(o, fd, SO_RCVBUFFORCE, SO_RCVBUF);
	r->sndbuf = set_buffer(o, fd, SO_SNDBUFFORCE, SO_SNDBUF);
	if (set_int(o, fd, level, v4 ? IP_PKTINFO : IPV6_RECVPKTINFO, 1) < 0)
		return fail(r, v4 ? "IP_PKTINFO" : "IPV6_RECVPKTINFO", -errno);
	if (set_int(o, fd, level, v4 ? IP_RECVTOS : IPV6_RECVTCLASS, 1) < 0)
		return fail(r, v4 ? "IP_RECVTOS" : "IPV6_RECVTCLASS", -errno);
	if (pmtu >= 0 &&
	    set_int(o, fd, level, v4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER,
		    pmtu) < 0)
		return fail(r, v4 ? "IP_MTU_DISCOVER" : "IPV6_MTU_DISCOVER",
			    -errno);
	if (o->opt.mark &&
	    sys->setsockopt(fd, SOL_SOCKET, SO_MARK, &o->opt.mark,
			    sizeof(o->opt.mark)) < 0)
		return fail(r, "SO_MARK", -errno);
	return 0;
}

/*
 * Merging is on only where the option can be read back: before Linux 5.12 it
 * works and nobody could tell whether datagrams come merged.
 */
static void set_offloads(struct opening *o, int h, int fd)
{
	struct ug_family_report *r = report_of(o, h);
	struct half *half = &o->sock->halves[h];
	int value;

	r->segments = get_int(o, fd, IPPROTO_UDP, UDP_SEGMENT, &value) == 0;
	r->merges = set_int(o, fd, IPPROTO_UDP, UDP_GRO, 1) == 0 &&
		    get_int(o, fd, IPPROTO_UDP, UDP_GRO, &value) == 0 &&
		    value == 1;
	if (!r->merges)
		set_int(o, fd, IPPROTO_UDP, UDP_GRO, 0);
	half->can_segment = r->segments;
	half->can_merge = r->merges;
	atomic_init(&half->merging, r->merges);
	atomic_init(&half->merging_wanted, r->merges);
}

static int bind_half(struct opening *o, int h, int fd, uint16_t *port)
{
	const struct ug_sys *sys = o->sock->sys;
	const struct ug_endpoint *at =
		h == HALF_V4 ? o->opt.bind4 : o->opt.bind6;
	struct ug_endpoint local = { 0 };
	socklen_t len;

	if (at)
		local = *at;
	if (h == HALF_V4) {
		local.addr.v4.sin_family = AF_INET;
		local.addr.v4.sin_port = htons(*port);
		len = sizeof(local.addr.v4);
	} else {
		local.addr.v6.sin6_family = AF_INET6;
		local.addr.v6.sin6_port = htons(*port);
		len = sizeof(local.addr.v6);
	}
	if (sys->bind(fd, &local.addr.any, len) < 0)
		return fail(report_of(o, h), "bind", -errno);
	if (sys->getsockname(fd, &local.addr.any, &len) < 0)
		return fail(report_of(o, h), "getsockname", -errno);
	*port = ntohs(h == HALF_V4 ? local.addr.v4.sin_port
				   : local.addr.v6.sin6_port);
	return 0;
}

/* The options of a socket of our own. */
static int prepare_fd(struct opening *o, int h, int fd)
{
	struct ug_family_report *r = report_of(o, h);
	const char *device = o->opt.device;
	const struct ug_sys *sys = o->sock->sys;

	if (h == HALF_V6 && set_int(o, fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) < 0)
		return fail(r, "IPV6_V6ONLY", -errno);
	if (device && sys->setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device,
				      (socklen_t)strlen(device)) < 0)
		return fail(r, "SO_BINDTODEVICE", -errno);
	return set_common(o, h, fd);
}

/* A socket that is not bound yet. Return: its descriptor; -errno. */
static int open_fd(struct opening *o, int h)
{
	const struct ug_sys *sys = o->sock->sys;
	int fd = sys->socket(o->sock->halves[h].family,
			     SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			     IPPROTO_UDP);

	if (fd < 0)
		return fail(report_of(o, h), "socket", -errno);
	int err = prepare_fd(o, h, fd);

	if (err < 0) {
		sys->close(fd);
		return err;
	}
	return fd;
}

static void close_half(const struct ug_sys *sys, struct half *half)
{
	for (unsigned int i = 0; i < half->sides.n; i++)
		sys->close(half->sides.fds[i]);
	half->sides.n = 0;
	if (half->fd >= 0)
		sys->close(half->fd);
	half->fd = -1;
}

static void close_halves(struct ug_socket *sock)
{
	for (int h = 0; h < HALVES; h++)
		close_half(sock->sys, &sock->halves[h]);
}

/*
 * Open side sockets: like the main one, but with smaller buffers, and without
 * merging, because they hardly ever receive.
 */
static int open_sides(const struct opening *o, int h)
{
	struct side_sockets *sides = &o->sock->halves[h].sides;
	struct opening side = *o; /* its report is not read */
	size_t len = o->opt.buffer_len;

	side.opt.buffer_len =
		len && len < SIDE_BUFFER_LEN ? len : SIDE_BUFFER_LEN;
	while (sides->n < o->opt.side_sockets) {
		int fd = open_fd(&side, h);

		if (fd < 0)
			return fd;
		sides->fds[sides->n++] = fd;
	}
	return 0;
}

/*
 * Bind a half's sockets to one port.
 *
 * A socket that is bound without SO_REUSEPORT has its port alone, or bind(2)
 * fails. The first socket is bound like that. Then it gets the option, with
 * which the others can bind the same port. In the end the option is switched
 * off on all of them. After that nobody else can bind the port; and the kernel
 * does not spread datagrams over the sockets any more, but delivers them to the
 * first socket in its list. The kernel puts an IPv4 socket in front of that
 * list, and an IPv6 socket with SO_REUSEPORT at its end (udp_lib_get_port(),
 * since Linux 4.6). So the main socket is bound last in IPv4, and first in
 * IPv6.
 */
static int bind_sockets(struct opening *o, int h, uint16_t *port)
{
	const struct half *half = &o->sock->halves[h];
	unsigned int n = half->sides.n;

	for (unsigned int i = 0; i <= n; i++) {
		/* Ways, with the main one last or first. */
		int fd = ug_family_fd(half,
				      h == HALF_V4 ? (i + 1) % (n + 1) : i);

		if (i && set_int(o, fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0)
			return fail(report_of(o, h), "SO_REUSEPORT", -errno);
		int err = bind_half(o, h, fd, port);

		if (err < 0)
			return err;
		if (n && !i && set_int(o, fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0)
			return fail(report_of(o, h), "SO_REUSEPORT", -errno);
	}
	for (unsigned int way = 0; n && way <= n; way++)
		if (set_int(o, ug_family_fd(half, way), SOL_SOCKET,
			    SO_REUSEPORT, 0) < 0)
			return fail(report_of(o, h), "SO_REUSEPORT", -errno);
	return 0;
}

static int open_half_with(struct opening *o, int h, uint16_t *port,
			  bool with_sides)
{
	struct half *half = &o->sock->halves[h];
	uint16_t bound = *port;
	int err = open_fd(o, h);

	if (err < 0)
		return err;
	half->fd = err;
	set_offloads(o, h, half->fd);
	err = with_sides ? open_sides(o, h) : 0;
	if (err == 0)
		err = bind_sockets(o, h, &bound);
	if (err < 0) {
		close_half(o->sock->sys, half);
		return err;
	}
	/* The kernel doubles the size that it is given, and SIOCOUTQ counts in
	 * the doubled size. */
	half->sides.main_cap = 2 * (int64_t)report_of(o, h)->sndbuf;
	if (!half->sides.main_cap) /* it could not be read */
		half->sides.main_cap = 2 * SIDE_BUFFER_LEN;
	*port = bound;
	return 0;
}

/* Open a half, with side sockets if possible. */
static int open_half(struct opening *o, int h, uint16_t *port)
{
	if (o->opt.side_sockets && open_half_with(o, h, port, true) == 0)
		return 0;
	*report_of(o, h) = (struct ug_family_report){ 0 };
	return open_half_with(o, h, port, false);
}

/* A failure that leaves the other family alone: the kernel has none such. */
static bool is_optional(const struct opening *o, int err)
{
	return o->opt.families == UG_BOTH &&
	       (err == -EAFNOSUPPORT || err == -EPROTONOSUPPORT);
}

/* Open what is wanted on one port. The caller closes after a failure. */
static int open_once(struct opening *o, uint16_t port)
{
	int err = 0, missing = 0, n_open = 0;

	o->report.v4 = o->report.v6 = (struct ug_family_report){ 0 };
	for (int h = 0; h < HALVES; h++) {
		if (!o->wanted[h])
			continue;
		err = open_half(o, h, &port);
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
 * With no port asked for, IPv4 gets a free one from the kernel, which IPv6
 * must then have free as well: else another.
 */
static int open_pair(struct opening *o)
{
	int err;

	o->wanted[HALF_V4] = o->opt.families != UG_IPV6_ONLY;
	o->wanted[HALF_V6] = o->opt.families != UG_IPV4_ONLY;
	do {
		o->report.tries++;
		err = open_once(o, o->opt.port);
		if (err < 0)
			close_halves(o->sock);
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

/* The kernel would cut a name that is too long, and take none for "any". */
static bool valid_device(const char *name)
{
	return !name || (*name && strnlen(name, IFNAMSIZ) < IFNAMSIZ);
}

/* Take over the caller's options, of whatever version, and check them. */
static int take_options(struct opening *o, const struct ug_options *opt)
{
	static const struct ug_options defaults = { .size = sizeof(defaults) };

	if (!opt)
		opt = &defaults;
	if (opt->size <
	    offsetof(struct ug_options, families) + sizeof(opt->families))
		return -EINVAL;
	/* What this version does not know must not be asked for. */
	const unsigned char *bytes = (const void *)opt;

	for (size_t i = sizeof(o->opt); i < opt->size; i++)
		if (bytes[i])
			return -EINVAL;
	memcpy(&o->opt, opt, size_min(opt->size, sizeof(o->opt)));
	if (o->opt.families > UG_IPV6_ONLY || !valid_mode(o->opt.pmtu4) ||
	    !valid_mode(o->opt.pmtu6) || !valid_bind(o->opt.bind4, AF_INET) ||
	    !valid_bind(o->opt.bind6, AF_INET6) ||
	    !valid_device(o->opt.device) ||
	    o->opt.side_sockets > UG_MAX_SIDE_SOCKETS)
		return -EINVAL;
	return 0;
}

/* An empty socket with what does not depend on the descriptors. */
static int prepare(struct opening *o, const struct ug_sys *sys,
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
	sock->bad_kernel = sys->uname(&name) == 0 &&
			   ug_kernel_corrupts_trains(name.release);
	/* Without attributes these cannot fail in glibc or musl. */
	pthread_mutex_init(&sock->switching, NULL);
	for (int h = 0; h < HALVES; h++) {
		sock->halves[h].fd = -1;
		sock->halves[h].family = h == HALF_V4 ? AF_INET : AF_INET6;
		pthread_rwlock_init(&sock->halves[h].gate, NULL);
		ug_side_init(&sock->halves[h].sides, sock->paths->seed);
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
	for (int h = 0; h < HALVES; h++) {
		ug_side_deinit(&sock->halves[h].sides);
		pthread_rwlock_destroy(&sock->halves[h].gate);
	}
	pthread_mutex_destroy(&sock->switching);
	ug_path_table_free(sock->paths);
	free(sock);
}

/*
 * Make the report agree with the result. A family that failed has an error
 * and its step, and nothing else; one that was open, or was not come to, was
 * given up because of the other.
 */
static void settle_report(struct opening *o, int err)
{
	if (err < 0)
		o->report.port = 0;
	for (int h = 0; h < HALVES; h++) {
		struct ug_family_report *r = report_of(o, h);

		if (!o->wanted[h])
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

/* Finish either way of opening. */
static int conclude(struct opening *o, int err, struct ug_socket **out,
		    struct ug_report *report)
{
	settle_report(o, err);
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
	int err = prepare(&o, sys, opt);

	if (err < 0)
		return err;
	return conclude(&o, open_pair(&o), out, report);
}

/* Is this descriptor a UDP socket of the half's family? */
static int check_fd(struct opening *o, int h, int fd)
{
	struct ug_family_report *r = report_of(o, h);
	int domain, type, protocol;

	if (get_int(o, fd, SOL_SOCKET, SO_DOMAIN, &domain) < 0)
		return fail(r, "SO_DOMAIN", -errno);
	if (get_int(o, fd, SOL_SOCKET, SO_TYPE, &type) < 0)
		return fail(r, "SO_TYPE", -errno);
	if (get_int(o, fd, SOL_SOCKET, SO_PROTOCOL, &protocol) < 0)
		return fail(r, "SO_PROTOCOL", -errno);
	if (domain != o->sock->halves[h].family)
		return fail(r, "SO_DOMAIN", -EINVAL);
	if (type != SOCK_DGRAM || protocol != IPPROTO_UDP)
		return fail(r, "SO_PROTOCOL", -EINVAL);
	return 0;
}

/* The port of a descriptor; the socket's is that of the first one. */
static int read_port(struct opening *o, int h, int fd)
{
	struct ug_endpoint local = { 0 };
	socklen_t len = sizeof(local.addr);

	if (o->sock->sys->getsockname(fd, &local.addr.any, &len) < 0)
		return fail(report_of(o, h), "getsockname", -errno);
	uint16_t port = ntohs(h == HALF_V4 ? local.addr.v4.sin_port
					   : local.addr.v6.sin6_port);

	if (!port)
		return fail(report_of(o, h), "getsockname", -EINVAL);
	if (!o->sock->port)
		o->sock->port = o->report.port = port;
	return 0;
}

/* Options that would change what is sent behind the library's back. */
static int clear_options(struct opening *o, int h, int fd)
{
	static const struct {
		int name;
		const char *text;
	} table[] = {
		/* It would cut single datagrams. */
		{ UDP_SEGMENT, "UDP_SEGMENT" },
		/* It would glue them. */
		{ UDP_CORK, "UDP_CORK" },
	};
	int value;

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (get_int(o, fd, IPPROTO_UDP, table[i].name, &value) == 0 &&
		    value && set_int(o, fd, IPPROTO_UDP, table[i].name, 0) < 0)
			return fail(report_of(o, h), table[i].text, -errno);
	return 0;
}

/*
 * An IPv6 descriptor that takes IPv4 traffic as well has IPv4 options, too.
 * The local address comes as IPv6 packet info, mapped; IPv4 packet info beside
 * it would say the same in another form.
 */
static int set_mapped(struct opening *o, int fd)
{
	int only, pmtu = pmtu_value(o->opt.pmtu4);

	if (get_int(o, fd, IPPROTO_IPV6, IPV6_V6ONLY, &only) < 0 || only)
		return 0;
	set_int(o, fd, IPPROTO_IP, IP_PKTINFO, 0);
	set_int(o, fd, IPPROTO_IP, IP_RECVTOS, 1);
	if (pmtu >= 0 && set_int(o, fd, IPPROTO_IP, IP_MTU_DISCOVER, pmtu) < 0)
		return fail(&o->report.v6, "IP_MTU_DISCOVER", -errno);
	return 0;
}

static int adopt_half(struct opening *o, int h, int fd)
{
	int err = check_fd(o, h, fd);

	if (err == 0)
		err = read_port(o, h, fd);
	if (err == 0)
		err = set_common(o, h, fd);
	if (err == 0 && h == HALF_V6)
		err = set_mapped(o, fd);
	if (err == 0)
		err = clear_options(o, h, fd);
	return err;
}

static int adopt_pair(struct opening *o, const int fds[HALVES])
{
	int err = 0;

	for (int h = 0; h < HALVES; h++)
		o->wanted[h] = fds[h] >= 0;
	if (fds[HALF_V4] < 0 && fds[HALF_V6] < 0)
		err = -EINVAL;
	for (int h = 0; h < HALVES && err == 0; h++)
		if (o->wanted[h])
			err = adopt_half(o, h, fds[h]);
	if (err < 0)
		return err;
	for (int h = 0; h < HALVES; h++) {
		if (o->wanted[h])
			set_offloads(o, h, fds[h]);
		o->sock->halves[h].fd = fds[h];
	}
	return 0;
}

int ug_socket_adopt_with(const struct ug_sys *sys, struct ug_socket **out,
			 const int fds[HALVES], const struct ug_options *opt,
			 struct ug_report *report)
{
	struct opening o = { 0 };
	int err = prepare(&o, sys, opt);

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
	const int fds[HALVES] = { fd4 < 0 ? -1 : fd4, fd6 < 0 ? -1 : fd6 };

	return ug_socket_adopt_with(&ug_sys_linux, out, fds, opt, report);
}

void ug_close(struct ug_socket *sock)
{
	if (!sock)
		return;
	close_halves(sock);
	free_socket(sock);
}
