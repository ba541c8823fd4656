/* SPDX-License-Identifier: MIT */
/*
 * Switching UDP_GRO at run time.
 *
 * The kernel looks at the option twice: when a datagram is queued, to decide
 * whether it may stay merged, and when it is read, to decide whether to say
 * the segment size. So what was merged before the option went off would be
 * read without its segment size: several datagrams that look like one.
 *
 * Hence the option is off for readers only when nothing merged can be in the
 * socket, which is known after four steps. Receivers are kept out meanwhile,
 * by the gate:
 *
 *  1. Nothing waits in the socket. If something does: another time.
 *  2. The option is cleared. Now the kernel queues single datagrams only, but
 *     for those that another CPU is just queueing: it has looked at the
 *     option before.
 *  3. It is waited for these CPUs, by membarrier(2).
 *  4. Still nothing waits: done. If something does, it may be merged or not,
 *     which nobody can tell: the option is set again, and what waits is read
 *     with its sizes. Another time.
 *
 * What step 3 rests on is how Linux is built, not what the manual page
 * promises. MEMBARRIER_CMD_GLOBAL waits for an RCU grace period
 * (kernel/sched/membarrier.c), and the receiving side of UDP, from the look at
 * the option to the queue, runs inside one RCU read-side section
 * (ip_local_deliver_finish(), ip6_input_finish()). So when the call returns,
 * every CPU has left the section that it was in. It is made twice, because
 * Linux 6.18 has a list before the queue: a CPU may put its datagram there and
 * leave, for another CPU to move it, whose section may have begun after the
 * first wait did, but not after the second. With one CPU on line the kernel
 * does not wait, and need not: a softirq is not interrupted by a thread. A
 * kernel that is both PREEMPT_RT and on one CPU is not covered.
 *
 * Where membarrier(2) is missing or cannot do this (a filter, or nohz_full),
 * merging is not switched off at all.
 *
 * Each wait takes some milliseconds to some tens of them. So it is made in
 * ug_set_merging(), and in an ug_receive() that was given a timeout and has
 * waited in vain for MERGING_QUIET_MS: where datagrams come more often than
 * that, step 4 would fail mostly, and keep them waiting each time. It is never
 * made in an ug_receive() with a timeout of 0.
 *
 * Nobody waits for the gate. A receiver that finds it closed has nothing for
 * now; who wants to close it while a receiver is inside tries another time.
 * Those who switch take turns by a mutex. Switching on needs neither gate nor
 * steps: what was not merged has no segment size.
 */
#include <errno.h>
#include <linux/membarrier.h>
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

/* Can it be waited for what other CPUs are queueing? */
static bool can_wait(const struct ug_sys *sys)
{
	int commands = sys->membarrier(MEMBARRIER_CMD_QUERY);

	return commands > 0 && (commands & MEMBARRIER_CMD_GLOBAL);
}

/* Step 3; see above. */
static bool wait_for_queueing(const struct ug_sys *sys)
{
	for (int i = 0; i < 2; i++)
		if (sys->membarrier(MEMBARRIER_CMD_GLOBAL) < 0)
			return false;
	return true;
}

bool ug_merging_is_pending(const struct half *half)
{
	/* Partners: ug_set_merging(), finish(). */
	return !atomic_load_explicit(&half->merging_wanted,
				     memory_order_relaxed) &&
	       atomic_load_explicit(&half->merging, memory_order_relaxed);
}

/*
 * Steps 1 and 2, under the mutex.
 *
 * Return: true if begun: the gate is closed, finish() opens it.
 */
static bool begin(const struct ug_sys *sys, struct half *half)
{
	if (!ug_merging_is_pending(half) ||
	    pthread_rwlock_trywrlock(&half->gate))
		return false;
	if (is_empty(sys, half) && set_gro(sys, half, 0) == 0) {
		if (is_empty(sys, half))
			return true;
		set_gro(sys, half, 1);
	}
	pthread_rwlock_unlock(&half->gate);
	return false;
}

/* Step 4, under the mutex. @waited: step 3 was made. */
static void finish(const struct ug_sys *sys, struct half *half, bool waited)
{
	/* Where it cannot be set again it was never on. */
	if ((waited && is_empty(sys, half)) || set_gro(sys, half, 1) < 0)
		/* Partner: ug_merging_is_pending(). */
		atomic_store_explicit(&half->merging, false,
				      memory_order_relaxed);
	pthread_rwlock_unlock(&half->gate);
}

/* Under the mutex: try to switch off what is to be off. */
static void settle(struct ug_socket *sock, int family)
{
	bool begun[HALVES], any = false, waited;

	for (int h = 0; h < HALVES; h++) {
		struct half *half = &sock->halves[h];

		begun[h] = (family == AF_UNSPEC || family == half->family) &&
			   begin(sock->sys, half);
		any |= begun[h];
	}
	/* One wait does for both. */
	waited = any && wait_for_queueing(sock->sys);
	for (int h = 0; h < HALVES; h++)
		if (begun[h])
			finish(sock->sys, &sock->halves[h], waited);
}

void ug_merging_settle(struct ug_socket *sock, int family)
{
	/* Somebody else is at it. */
	if (pthread_mutex_trylock(&sock->switching))
		return;
	settle(sock, family);
	pthread_mutex_unlock(&sock->switching);
}

/* Under the mutex. */
static int switch_half(const struct ug_sys *sys, struct half *half, bool on)
{
	if (on) {
		int err = set_gro(sys, half, 1);

		if (err < 0)
			return err;
		atomic_store_explicit(&half->merging, true,
				      memory_order_relaxed);
	}
	/* Partner: ug_merging_is_pending(). */
	atomic_store_explicit(&half->merging_wanted, on, memory_order_relaxed);
	return 0;
}

int ug_set_merging(struct ug_socket *sock, bool on)
{
	int n_able = 0, err = 0;

	for (int h = 0; h < HALVES; h++)
		n_able += sock->halves[h].fd >= 0 && sock->halves[h].can_merge;
	if (!n_able)
		return on ? -EOPNOTSUPP : 0;
	if (!on && !can_wait(sock->sys))
		return -EOPNOTSUPP;
	pthread_mutex_lock(&sock->switching);
	for (int h = 0; h < HALVES && err == 0; h++)
		if (sock->halves[h].fd >= 0 && sock->halves[h].can_merge)
			err = switch_half(sock->sys, &sock->halves[h], on);
	settle(sock, AF_UNSPEC);
	pthread_mutex_unlock(&sock->switching);
	return err;
}
