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
 * by the receive lock:
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
 * Nobody waits for the receive lock. While it is held for switching, a receiver
 * returns nothing. While a receiver holds it, merging is not switched off, and
 * a later call tries again. Threads that switch take turns by a mutex.
 * Switching on needs neither the lock nor the steps: what was not merged has no segment size.
 */
#include "udpgather/merging.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <netinet/udp.h>

#include "udpgather/socket.h"

static int set_gro(const struct ug_sys *sys, const struct family *fam,
		   int value)
{
	return sys->setsockopt(fam->fd, IPPROTO_UDP, UDP_GRO, &value,
			       sizeof(value)) < 0
		       ? -errno
		       : 0;
}

static bool is_empty(const struct ug_sys *sys, const struct family *fam)
{
	struct pollfd fd = { .fd = fam->fd, .events = POLLIN };

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

bool ug_merging_is_pending(const struct family *fam)
{
	/* Partners: ug_set_merging(), finish_switch(). */
	return !atomic_load_explicit(&fam->merging_wanted,
				     memory_order_relaxed) &&
	       atomic_load_explicit(&fam->merging, memory_order_relaxed);
}

/*
 * Steps 1 and 2, under the mutex.
 *
 * Return: true if begun: the receive lock is held, finish_switch() releases it.
 */
static bool begin_switch(const struct ug_sys *sys, struct family *fam)
{
	if (!ug_merging_is_pending(fam) ||
	    pthread_rwlock_trywrlock(&fam->receive_lock))
		return false;
	if (is_empty(sys, fam) && set_gro(sys, fam, 0) == 0) {
		if (is_empty(sys, fam))
			return true;
		set_gro(sys, fam, 1);
	}
	pthread_rwlock_unlock(&fam->receive_lock);
	return false;
}

/* Step 4, under the mutex. @waited: step 3 was made. */
static void finish_switch(const struct ug_sys *sys, struct family *fam,
			  bool waited)
{
	/* Where it cannot be set again it was never on. */
	if ((waited && is_empty(sys, fam)) || set_gro(sys, fam, 1) < 0)
		/* Partner: ug_merging_is_pending(). */
		atomic_store_explicit(&fam->merging, false,
				      memory_order_relaxed);
	pthread_rwlock_unlock(&fam->receive_lock);
}

/* Under the mutex: try to switch off what is to be off. */
static void switch_off(struct ug_socket *sock, int family)
{
	bool begun[FAMILIES], any = false, waited;

	for (int f = 0; f < FAMILIES; f++) {
		struct family *fam = &sock->families[f];

		begun[f] = (family == AF_UNSPEC || family == fam->af) &&
			   begin_switch(sock->sys, fam);
		any |= begun[f];
	}
	/* One wait does for both. */
	waited = any && wait_for_queueing(sock->sys);
	for (int f = 0; f < FAMILIES; f++)
		if (begun[f])
			finish_switch(sock->sys, &sock->families[f], waited);
}

void ug_merging_switch_off(struct ug_socket *sock, int family)
{
	/* Somebody else is at it. */
	if (pthread_mutex_trylock(&sock->switching))
		return;
	switch_off(sock, family);
	pthread_mutex_unlock(&sock->switching);
}

/* Under the mutex. */
static int switch_family(const struct ug_sys *sys, struct family *fam, bool on)
{
	if (on) {
		int err = set_gro(sys, fam, 1);

		if (err < 0)
			return err;
		atomic_store_explicit(&fam->merging, true,
				      memory_order_relaxed);
	}
	/* Partner: ug_merging_is_pending(). */
	atomic_store_explicit(&fam->merging_wanted, on, memory_order_relaxed);
	return 0;
}

int ug_set_merging(struct ug_socket *sock, bool on)
{
	int n_able = 0, err = 0;

	for (int f = 0; f < FAMILIES; f++)
		n_able += sock->families[f].fd >= 0 &&
			  sock->families[f].can_merge;
	if (!n_able)
		return on ? -EOPNOTSUPP : 0;
	if (!on && !can_wait(sock->sys))
		return -EOPNOTSUPP;
	pthread_mutex_lock(&sock->switching);
	for (int f = 0; f < FAMILIES && err == 0; f++)
		if (sock->families[f].fd >= 0 && sock->families[f].can_merge)
			err = switch_family(sock->sys, &sock->families[f], on);
	switch_off(sock, AF_UNSPEC);
	pthread_mutex_unlock(&sock->switching);
	return err;
}
