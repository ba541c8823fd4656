/* SPDX-License-Identifier: MIT */
/*
 * The switches of an open socket, and the lessons that it learns when a train is
 * refused or passes (send.c gives them).
 */
#include "udpgather/socket.h"

#include <errno.h>

#include "base/bytes.h"
#include "base/kernel.h"

#ifndef UG_VERSION
#error "the build defines UG_VERSION"
#endif

enum {
	/* A train of segments up to this size fits nearly every path: if it
	 * fails with EINVAL, size is not the cause. */
	SAFE_SEGMENT = 512,
	/* Queued errors that are dropped at a time. */
	MAX_ERRORS = 64,
};

const char *ug_version(void)
{
	return UG_VERSION;
}

struct family *ug_family_of(const struct ug_socket *sock, int family)
{
	const struct family *fam;

	if (family == AF_INET && !sock->is_dual)
		fam = &sock->families[FAMILY_V4];
	else if (family == AF_INET || family == AF_INET6)
		fam = &sock->families[FAMILY_V6];
	else
		return NULL;
	return fam->fd < 0 ? NULL : unconst(fam);
}

int ug_fd(const struct ug_socket *sock, int family)
{
	const struct family *fam = ug_family_of(sock, family);

	return fam ? fam->fd : -EAFNOSUPPORT;
}

uint16_t ug_port(const struct ug_socket *sock)
{
	return sock->port;
}

int ug_side_fd(const struct ug_socket *sock, int family, unsigned int i)
{
	const struct family *fam = ug_family_of(sock, family);

	if (!fam)
		return -EAFNOSUPPORT;
	return i < fam->sides.n ? fam->sides.fds[i] : -ENOENT;
}

int ug_side_ready(struct ug_socket *sock, int fd)
{
	for (int f = 0; f < FAMILIES; f++) {
		struct side_sockets *sides = &sock->families[f].sides;

		for (unsigned int i = 0; i < sides->n; i++) {
			if (sides->fds[i] != fd)
				continue;
			ug_side_set_input(sides, i);
			return sock->families[f].af;
		}
	}
	return -ENOENT;
}

/* Set the mark of all sockets, up to the first failure. Return: 0; -errno. */
static int set_marks(const struct ug_socket *sock, uint32_t mark)
{
	for (int f = 0; f < FAMILIES; f++) {
		const struct family *fam = &sock->families[f];

		for (unsigned int w = 0; fam->fd >= 0 && w <= fam->sides.n; w++)
			if (sock->sys->setsockopt(ug_family_fd(fam, w),
						  SOL_SOCKET, SO_MARK, &mark,
						  sizeof(mark)) < 0)
				return -errno;
	}
	return 0;
}

int ug_set_mark(struct ug_socket *sock, uint32_t mark)
{
	int f = sock->families[FAMILY_V4].fd >= 0 ? FAMILY_V4 : FAMILY_V6;
	uint32_t old = 0;
	socklen_t len = sizeof(old);

	if (sock->sys->getsockopt(sock->families[f].fd, SOL_SOCKET, SO_MARK,
				  &old, &len) < 0)
		return -errno;
	int err = set_marks(sock, mark);

	if (err < 0)
		(void)set_marks(sock, old);
	return err;
}

void ug_network_changed(struct ug_socket *sock)
{
	ug_path_forget_sources(sock->paths);
	ug_paths_changed(sock);
}

void ug_paths_changed(struct ug_socket *sock)
{
	ug_path_forget_caps(sock->paths);
}

int ug_send_alone(struct ug_socket *sock, const struct ug_endpoint *ep,
		  unsigned int for_ms)
{
	if (!ug_family_of(sock, ug_endpoint_family(ep)))
		return -EAFNOSUPPORT;
	ug_path_hold(sock->paths, ep,
		     for_ms ? sock->sys->now_ms() + for_ms : 0);
	return 0;
}

int ug_set_segments(struct ug_socket *sock, unsigned int max)
{
	if (max > UG_MAX_SEGMENTS)
		return -EINVAL;
	ug_path_forget_caps(sock->paths);
	atomic_store_explicit(&sock->max_segments, max, memory_order_relaxed);
	return 0;
}

unsigned int ug_segments_now(const struct ug_socket *sock,
			     const struct family *fam, enum ug_reason *reason)
{
	/* Partner: ug_set_segments(). */
	unsigned int max =
		atomic_load_explicit(&sock->max_segments, memory_order_relaxed);

	*reason = UG_REASON_NONE;
	if (!fam->can_segment)
		*reason = UG_REASON_UNSUPPORTED;
	else if (max == UG_SEGMENTS_OFF)
		*reason = UG_REASON_ASKED;
	if (*reason)
		return 1;
	if (max != UG_SEGMENTS_AUTO)
		*reason = UG_REASON_ASKED;
	else if (sock->bad_kernel)
		*reason = UG_REASON_BAD_KERNEL;
	return max == UG_SEGMENTS_AUTO ? UG_MAX_SEGMENTS : max;
}

int ug_get_segments(const struct ug_socket *sock, int family,
		    enum ug_reason *reason)
{
	const struct family *fam = ug_family_of(sock, family);
	enum ug_reason why;

	if (!fam)
		return -EAFNOSUPPORT;
	unsigned int max = ug_segments_now(sock, fam, &why);

	if (reason)
		*reason = why;
	return (int)max;
}

const char *ug_reason_text(enum ug_reason reason)
{
	switch (reason) {
	case UG_REASON_NONE:
		return "nothing is in the way";
	case UG_REASON_ASKED:
		return "asked for";
	case UG_REASON_UNSUPPORTED:
		return "this kernel has no UDP_SEGMENT";
	case UG_REASON_BAD_KERNEL:
		return "Linux 7.0 to 7.1.4 corrupt trains of one size";
	default:
		return "unknown";
	}
}

bool ug_kernel_corrupts_trains(const char *release)
{
	struct kernel_version v;

	return kernel_parse(&v, release) && !kernel_is_before(&v, 7, 0, 0) &&
	       kernel_is_before(&v, 7, 1, 5);
}

size_t ug_socket_drop_errors(const struct ug_sys *sys, int fd)
{
	size_t n = 0;

	while (n < MAX_ERRORS) {
		struct msghdr h = { 0 };

		if (sys->recvmsg(fd, &h, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
			break;
		n++;
	}
	return n;
}

void ug_socket_tell(struct ug_socket *sock, enum ug_notice notice,
		    const struct ug_endpoint *ep, int err, int value)
{
	if (sock->notice)
		sock->notice(sock->notice_arg, notice, ep, err, value);
}

bool ug_errno_may_be_chance(int err)
{
	return err != EIO && err != EMSGSIZE && err != EINVAL;
}

bool ug_errno_is_unreachable(int err)
{
	switch (err) {
	case EADDRNOTAVAIL:
	case EAFNOSUPPORT:
	case ECONNREFUSED:
	case EDESTADDRREQ:
	case EHOSTDOWN:
	case EHOSTUNREACH:
	case ENETDOWN:
	case ENETUNREACH:
	case ENODEV:
	case ENONET:
	case ENOPROTOOPT:
	case EOPNOTSUPP:
	case EPROTO:
		return true;
	default:
		return false;
	}
}

/* Forbid trains to this endpoint. Give notice if they were allowed before. */
static void unsegment(struct ug_socket *sock, const struct ug_endpoint *ep,
		      const struct lesson *l)
{
	if (ug_path_learn(sock->paths, ep, PATH_UNSEGMENTED,
			  sock->sys->now_ms(), l->is_try) != PATH_UNSEGMENTED)
		ug_socket_tell(sock, UG_NOTICE_ENDPOINT_UNSEGMENTED, ep, l->err,
			       (int)l->segment_len);
}

/* Allow only smaller segments to this endpoint. Give notice of a first limit. */
static void cap(struct ug_socket *sock, const struct ug_endpoint *ep,
		const struct lesson *l)
{
	if (ug_path_learn(sock->paths, ep, (uint32_t)l->segment_len - 1,
			  sock->sys->now_ms(), l->is_try) == PATH_UNLIMITED)
		ug_socket_tell(sock, UG_NOTICE_ENDPOINT_CAPPED, ep, l->err,
			       (int)l->segment_len);
}

/*
 * EIO comes from the device of the route, and EINVAL for small segments from the
 * kernel or an odd route. Both forbid trains for the endpoint only, and not for the
 * whole family: a peer chooses its addresses, and with them routes, and could
 * switch trains off for all other peers. If the machine is the cause, each address
 * costs one refused train in each pause.
 */
void ug_socket_learn(struct ug_socket *sock, const struct ug_endpoint *ep,
		     const struct lesson *lesson)
{
	int err = lesson->err;

	if (ug_errno_may_be_chance(err)) {
		if (lesson->is_try ||
		    ug_path_strike(sock->paths, ep) >= PATH_STRIKES)
			unsegment(sock, ep, lesson);
	} else if (err == EIO ||
		   (err == EINVAL && lesson->segment_len <= SAFE_SEGMENT)) {
		unsegment(sock, ep, lesson);
	} else {
		cap(sock, ep, lesson);
	}
}

void ug_socket_train_passed(struct ug_socket *sock,
			    const struct ug_endpoint *ep, size_t segment_len)
{
	if (ug_path_passed(sock->paths, ep, segment_len))
		ug_socket_tell(sock, UG_NOTICE_ENDPOINT_RECOVERED, ep, 0,
			       (int)segment_len);
}
