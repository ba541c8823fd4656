/* SPDX-License-Identifier: MIT */
/*
 * Switching UDP_GRO at run time.
 *
 * The kernel looks at the option twice: when a datagram is queued, to decide
 * whether it may stay merged, and when it is read, to decide whether to say
 * the segment size. So what was merged before the option went off is read
 * afterwards without its segment size: several datagrams that look like one.
 *
 * Hence merging goes off only while the socket is empty. The option is
 * cleared first; if something waits on the socket then, it may have been
 * merged, and the option is set again before anybody reads. A receiver that
 * finds the socket empty tries it the next time. The gate keeps receivers out
 * between the two steps.
 *
 * Switching on needs no such care: what was not merged has no segment size.
 */
#include <errno.h>
#include <netinet/udp.h>

#include "udpgather/socket.h"

static int set_gro(const struct ug_sys *sys, const struct half *half, int value)
{
	return sys->setsockopt(half->fd, IPPROTO_UDP, UDP_GRO, &value,
			       sizeof(value)) < 0
		       ? -errno
		       : 0;
}

static bool is_empty(const struct ug_sys *sys, const struct half *half)
{
	struct pollfd fd = { .fd = half->fd, .events = POLLIN };

	return sys->poll(&fd, 1, 0) == 0 || !(fd.revents & POLLIN);
}

/* Under the gate, for writing. */
static int switch_off(const struct ug_sys *sys, struct half *half)
{
	int err = set_gro(sys, half, 0);

	if (err < 0)
		return err;
	/* Where it cannot be set again it was never on. */
	if (!is_empty(sys, half) && set_gro(sys, half, 1) == 0)
		return 0;
	/* Partner: merging_settle(). */
	atomic_store_explicit(&half->merging, false, memory_order_relaxed);
	return 0;
}

/* Under the gate, for writing. */
static int switch_on(const struct ug_sys *sys, struct half *half)
{
	int err = set_gro(sys, half, 1);

	if (err < 0)
		return err;
	atomic_store_explicit(&half->merging, true, memory_order_relaxed);
	return 0;
}

void merging_settle(const struct ug_sys *sys, struct half *half)
{
	/* Partners: set_half(), switch_off(). */
	if (atomic_load_explicit(&half->merging_wanted, memory_order_relaxed) ||
	    !atomic_load_explicit(&half->merging, memory_order_relaxed))
		return;
	pthread_rwlock_wrlock(&half->gate);
	if (!atomic_load_explicit(&half->merging_wanted, memory_order_relaxed))
		(void)switch_off(sys, half);
	pthread_rwlock_unlock(&half->gate);
}

static int set_half(const struct ug_sys *sys, struct half *half, bool on)
{
	pthread_rwlock_wrlock(&half->gate);
	/* Partner: merging_settle(). */
	atomic_store_explicit(&half->merging_wanted, on, memory_order_relaxed);
	int err = on ? switch_on(sys, half) : switch_off(sys, half);

	pthread_rwlock_unlock(&half->gate);
	return err;
}

int ug_set_merging(struct ug_socket *sock, bool on)
{
	int n_done = 0;

	for (int h = 0; h < HALVES; h++) {
		struct half *half = &sock->halves[h];

		if (half->fd < 0 || !half->can_merge)
			continue;
		int err = set_half(sock->sys, half, on);

		if (err < 0)
			return err;
		n_done++;
	}
	return on && !n_done ? -EOPNOTSUPP : 0;
}
