/* SPDX-License-Identifier: MIT */
/* The socket options that the library needs, or that the caller asked for. */
#include "udpgather/opening.h"

#include <errno.h>
#include <limits.h>
#include <linux/net_tstamp.h>
#include <netinet/udp.h>
#include <time.h>

#include "base/bytes.h"

enum {
	BUFFER_LEN = 7 << 20, /* 7 MiB: holds a burst of 100 full trains */
};

size_t ug_opening_buffer_len(const struct opening *o, size_t len)
{
	if (!len)
		len = o->opt.buffer_len;
	return len ? len : BUFFER_LEN;
}

/* Set a buffer's size: beyond the system's limit if we may (CAP_NET_ADMIN).
 * Return: the size that it has. */
static size_t set_buffer(const struct opening *o, int fd, size_t len, int force,
			 int name)
{
	size_t want = ug_opening_buffer_len(o, len);
	int value = (int)size_min(want, INT_MAX / 2), got;

	/* The plain option is only tried after a failure: it would cut a larger
	 * buffer to the limit. */
	if (want != UG_BUFFER_KEEP &&
	    ug_opening_set_int(o, fd, SOL_SOCKET, force, value) < 0)
		ug_opening_set_int(o, fd, SOL_SOCKET, name, value);
	if (ug_opening_get_int(o, fd, SOL_SOCKET, name, &got) < 0 || got < 0)
		return 0;
	/* The kernel doubles the size, for its own data. */
	return (size_t)got / 2;
}

int ug_opening_pmtu_value(enum ug_pmtu mode)
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
	struct ug_family_report *r = ug_opening_report(o, f);
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
		return ug_opening_fail(r, "SO_MAX_PACING_RATE", -errno);
	if (o->opt.txtime_clock && sys->setsockopt(fd, SOL_SOCKET, SO_TXTIME,
						   &txtime, sizeof(txtime)) < 0)
		return ug_opening_fail(r, "SO_TXTIME", -errno);
	return 0;
}

/* What the program wants to be told of each message (ip(7), ipv6(7), socket(7)). */
static int set_wanted(struct opening *o, int f, int fd)
{
	struct ug_family_report *r = ug_opening_report(o, f);
	bool v4 = f == FAMILY_V4;

	if ((o->opt.want & UG_WANT_TIME) &&
	    ug_opening_set_int(o, fd, SOL_SOCKET, SO_TIMESTAMPNS, 1) < 0)
		return ug_opening_fail(r, "SO_TIMESTAMPNS", -errno);
	if ((o->opt.want & UG_WANT_TTL) &&
	    ug_opening_set_int(o, fd, v4 ? IPPROTO_IP : IPPROTO_IPV6,
			       v4 ? IP_RECVTTL : IPV6_RECVHOPLIMIT, 1) < 0)
		return ug_opening_fail(
			r, v4 ? "IP_RECVTTL" : "IPV6_RECVHOPLIMIT", -errno);
	if ((o->opt.want & UG_WANT_ERRORS) &&
	    ug_opening_set_int(o, fd, v4 ? IPPROTO_IP : IPPROTO_IPV6,
			       v4 ? IP_RECVERR : IPV6_RECVERR, 1) < 0)
		return ug_opening_fail(r, v4 ? "IP_RECVERR" : "IPV6_RECVERR",
				       -errno);
	return 0;
}

/* The options that every socket needs, also one of ug_open_fds(). */
int ug_opening_set_common(struct opening *o, int f, int fd)
{
	struct ug_family_report *r = ug_opening_report(o, f);
	bool v4 = f == FAMILY_V4;
	int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
	int pmtu = ug_opening_pmtu_value(v4 ? o->opt.pmtu4 : o->opt.pmtu6);
	const struct ug_sys *sys = o->sock->sys;

	r->rcvbuf =
		set_buffer(o, fd, o->opt.rcvbuf_len, SO_RCVBUFFORCE, SO_RCVBUF);
	r->sndbuf =
		set_buffer(o, fd, o->opt.sndbuf_len, SO_SNDBUFFORCE, SO_SNDBUF);
	if (ug_opening_set_int(o, fd, level, v4 ? IP_PKTINFO : IPV6_RECVPKTINFO,
			       1) < 0)
		return ug_opening_fail(
			r, v4 ? "IP_PKTINFO" : "IPV6_RECVPKTINFO", -errno);
	if (ug_opening_set_int(o, fd, level, v4 ? IP_RECVTOS : IPV6_RECVTCLASS,
			       1) < 0)
		return ug_opening_fail(r, v4 ? "IP_RECVTOS" : "IPV6_RECVTCLASS",
				       -errno);
	if (pmtu >= 0 &&
	    ug_opening_set_int(o, fd, level,
			       v4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER,
			       pmtu) < 0)
		return ug_opening_fail(
			r, v4 ? "IP_MTU_DISCOVER" : "IPV6_MTU_DISCOVER",
			-errno);
	if (o->opt.mark &&
	    sys->setsockopt(fd, SOL_SOCKET, SO_MARK, &o->opt.mark,
			    sizeof(o->opt.mark)) < 0)
		return ug_opening_fail(r, "SO_MARK", -errno);
	if (set_wanted(o, f, fd) < 0)
		return r->err;
	return set_pacing(o, f, fd);
}

/*
 * Switch merging on. It is on only if the option can be read back. Before Linux 5.12
 * the option works, but cannot be read, so we could not tell whether it is on.
 */
static bool start_merging(const struct opening *o, int fd)
{
	int value;

	if (ug_opening_set_int(o, fd, IPPROTO_UDP, UDP_GRO, 1) == 0 &&
	    ug_opening_get_int(o, fd, IPPROTO_UDP, UDP_GRO, &value) == 0 &&
	    value == 1)
		return true;
	ug_opening_set_int(o, fd, IPPROTO_UDP, UDP_GRO, 0);
	return false;
}

void ug_opening_set_offloads(struct opening *o, int f, int fd)
{
	struct ug_family_report *r = ug_opening_report(o, f);
	struct family *fam = &o->sock->families[f];
	int value;

	r->segments = ug_opening_get_int(o, fd, IPPROTO_UDP, UDP_SEGMENT,
					 &value) == 0;
	fam->can_segment = r->segments;
	if (o->opt.reuse_port) {
		/* A descriptor of ug_open_fds() that merges may hold merged
		 * datagrams, so it is switched off later, by merging.c. */
		fam->can_merge = ug_opening_get_int(o, fd, IPPROTO_UDP, UDP_GRO,
						    &value) == 0;
		r->merges = fam->can_merge && value == 1;
	} else {
		r->merges = fam->can_merge = start_merging(o, fd);
	}
	atomic_init(&fam->merging, r->merges);
	atomic_init(&fam->merging_wanted, r->merges && !o->opt.reuse_port);
}
