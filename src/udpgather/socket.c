/* SPDX-License-Identifier: MIT */
/*
 * What an open socket knows and can be told: switches, and the lessons of
 * failed sends.
 */
#include "udpgather/socket.h"

#include <errno.h>
#include <stdio.h>

#include "base/bytes.h"

#ifndef UG_VERSION
#error "the build defines UG_VERSION"
#endif

const char *ug_version(void)
{
	return UG_VERSION;
}

struct half *half_of(const struct ug_socket *sock, int family)
{
	const struct half *half;

	if (family == AF_INET)
		half = &sock->halves[HALF_V4];
	else if (family == AF_INET6)
		half = &sock->halves[HALF_V6];
	else
		return NULL;
	return half->fd < 0 ? NULL : unconst(half);
}

int ug_fd(const struct ug_socket *sock, int family)
{
	const struct half *half = half_of(sock, family);

	return half ? half->fd : -EAFNOSUPPORT;
}

uint16_t ug_port(const struct ug_socket *sock)
{
	return sock->port;
}

static int set_mark(const struct ug_socket *sock, const struct half *half,
		    uint32_t mark)
{
	if (half->fd < 0)
		return 0;
	return sock->sys->setsockopt(half->fd, SOL_SOCKET, SO_MARK, &mark,
				     sizeof(mark)) < 0
		       ? -errno
		       : 0;
}

int ug_set_mark(struct ug_socket *sock, uint32_t mark)
{
	const struct half *v4 = &sock->halves[HALF_V4];
	const struct half *v6 = &sock->halves[HALF_V6];
	uint32_t old = 0;
	socklen_t len = sizeof(old);

	if (v4->fd >= 0 &&
	    sock->sys->getsockopt(v4->fd, SOL_SOCKET, SO_MARK, &old, &len) < 0)
		return -errno;
	int err = set_mark(sock, v4, mark);

	if (err < 0)
		return err;
	err = set_mark(sock, v6, mark);
	if (err < 0)
		(void)set_mark(sock, v4, old);
	return err;
}

void ug_network_changed(struct ug_socket *sock)
{
	path_forget_sources(sock->paths);
	path_forget_caps(sock->paths);
	for (int h = 0; h < HALVES; h++)
		/* Partner: learn_eio(). */
		atomic_store_explicit(&sock->halves[h].eio_endpoints, 0,
				      memory_order_relaxed);
}

int ug_set_segments(struct ug_socket *sock, unsigned int max)
{
	if (max > UG_MAX_SEGMENTS)
		return -EINVAL;
	for (int h = 0; h < HALVES; h++) {
		/* Partners: segments_now(), fail_family(), learn_eio(). */
		atomic_store_explicit(&sock->halves[h].failed, UG_REASON_NONE,
				      memory_order_relaxed);
		atomic_store_explicit(&sock->halves[h].eio_endpoints, 0,
				      memory_order_relaxed);
	}
	path_forget_caps(sock->paths);
	atomic_store_explicit(&sock->max_segments, max, memory_order_relaxed);
	return 0;
}

unsigned int segments_now(const struct ug_socket *sock, const struct half *half,
			  enum ug_reason *reason)
{
	/* Partners: ug_set_segments(), fail_family(). */
	unsigned int max =
		atomic_load_explicit(&sock->max_segments, memory_order_relaxed);
	int failed = atomic_load_explicit(&half->failed, memory_order_relaxed);

	*reason = UG_REASON_NONE;
	if (!half->can_segment)
		*reason = UG_REASON_UNSUPPORTED;
	else if (max == UG_SEGMENTS_OFF)
		*reason = UG_REASON_ASKED;
	else if (failed)
		*reason = (enum ug_reason)failed;
	else if (max == UG_SEGMENTS_AUTO && sock->bad_kernel)
		*reason = UG_REASON_BAD_KERNEL;
	if (*reason)
		return 1;
	if (max == UG_SEGMENTS_AUTO)
		return UG_MAX_SEGMENTS;
	*reason = UG_REASON_ASKED;
	return max;
}

int ug_get_segments(const struct ug_socket *sock, int family,
		    enum ug_reason *reason)
{
	const struct half *half = half_of(sock, family);
	enum ug_reason why;

	if (!half)
		return -EAFNOSUPPORT;
	unsigned int max = segments_now(sock, half, &why);

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
		return "Linux 7.0 to 7.1.4 corrupt segmented sends";
	case UG_REASON_EIO:
		return "several paths cannot checksum segments (EIO)";
	case UG_REASON_EINVAL:
		return "the kernel refuses small segments (EINVAL)";
	default:
		return "unknown";
	}
}

bool kernel_corrupts_trains(const char *release)
{
	unsigned int major = 0, minor = 0, patch = 0;

	if (sscanf(release, "%u.%u.%u", &major, &minor, &patch) < 2)
		return false;
	return major == 7 && (minor == 0 || (minor == 1 && patch <= 4));
}

bool socket_drop_error(const struct ug_sys *sys, const struct half *half)
{
	struct msghdr h = { 0 };

	return sys->recvmsg(half->fd, &h, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0;
}

static void tell(struct ug_socket *sock, enum ug_notice notice,
		 const struct ug_endpoint *ep, int err, int value)
{
	if (sock->notice)
		sock->notice(sock->notice_arg, notice, ep, err, value);
}

/* Give up trains for a family; told once, by the thread that was first. */
static void fail_family(struct ug_socket *sock, struct half *half,
			enum ug_reason reason, int err)
{
	int none = UG_REASON_NONE;

	/* Partners: segments_now(), ug_set_segments(). */
	if (atomic_compare_exchange_strong_explicit(
		    &half->failed, &none, (int)reason, memory_order_relaxed,
		    memory_order_relaxed))
		tell(sock, UG_NOTICE_FAMILY_UNSEGMENTED, NULL, err,
		     half->family);
}

/*
 * No way to checksum a segmented send: a matter of the device that the route
 * leads to, hence of the endpoint. When enough endpoints agree it is taken
 * for a matter of the machine.
 */
static void learn_eio(struct ug_socket *sock, struct half *half,
		      const struct ug_endpoint *ep, size_t segment_len)
{
	if (path_learn(sock->paths, ep, PATH_UNSEGMENTED) == PATH_UNSEGMENTED)
		return;
	tell(sock, UG_NOTICE_ENDPOINT_UNSEGMENTED, ep, EIO, (int)segment_len);
	/* Partners: ug_network_changed(), ug_set_segments(). */
	if (atomic_fetch_add_explicit(&half->eio_endpoints, 1,
				      memory_order_relaxed) +
		    1 >=
	    EIO_ENDPOINTS)
		fail_family(sock, half, UG_REASON_EIO, EIO);
}

void socket_learn(struct ug_socket *sock, struct half *half,
		  const struct ug_endpoint *ep, size_t segment_len, int err)
{
	if (err == EIO) {
		learn_eio(sock, half, ep, segment_len);
		return;
	}
	if (err == EINVAL && segment_len <= SAFE_SEGMENT) {
		fail_family(sock, half, UG_REASON_EINVAL, err);
		return;
	}
	if (path_learn(sock->paths, ep, (uint32_t)segment_len - 1) ==
	    PATH_UNLIMITED)
		tell(sock, UG_NOTICE_ENDPOINT_CAPPED, ep, err,
		     (int)segment_len);
}
