/* SPDX-License-Identifier: MIT */
/*
 * Switching UDP_GRO (merging) at run time.
 *
 * The kernel reads the option twice. When it queues a datagram, the option decides
 * whether the datagram may stay merged with others. When a program reads the
 * datagram, the option decides whether the program gets the segment size. So if
 * the option goes off between the two, several datagrams are read without their
 * segment size, and look like one.
 *
 * Therefore the option goes off only when no merged datagram can be in the socket.
 * Four steps make sure of that. The receive lock keeps receivers out meanwhile:
 *
 *  1. Check that nothing waits in the socket. If something does, give up; a later
 *     call tries again.
 *  2. Clear the option. From now on the kernel queues single datagrams only. One
 *     exception is left: another CPU may have read the option before, and be
 *     about to queue a merged datagram.
 *  3. Wait for these CPUs, by membarrier(2).
 *  4. Check again that nothing waits. If so, merging is off. If something waits,
 *     nobody can tell whether it is merged: set the option again, so that it is
 *     read with its segment size, and give up; a later call tries again.
 *
 * Step 3 rests on how Linux is built; the manual page does not promise it.
 * MEMBARRIER_CMD_GLOBAL waits for an RCU grace period
 * (kernel/sched/membarrier.c). The receiving side of UDP reads the option and
 * queues the datagram inside one RCU read-side section (ip_local_deliver_finish(),
 * ip6_input_finish()). So when the call returns, every CPU has left the section
 * that it was in. Linux 6.18 has a list in front of the queue: one CPU puts its
 * datagram on the list and leaves its section, and another CPU moves the datagram
 * to the queue. The section of the second CPU may begin after the first wait
 * began, but not after the second wait began, so the call is made twice. If one
 * CPU is on line, the kernel does not wait, and need not: no thread interrupts a
 * softirq. The proof does not cover a kernel with PREEMPT_RT on one CPU.
 *
 * If membarrier(2) is missing or cannot do this (a filter of system calls, or
 * nohz_full), merging is never switched off.
 *
 * Each wait takes some milliseconds to some tens of milliseconds. So only two
 * functions wait: ug_set_merging(), and an ug_receive() with a timeout that has
 * waited for MERGING_QUIET_MS without a datagram. If datagrams came more often,
 * step 4 would mostly fail, and would delay datagrams each time. An ug_receive()
 * with a timeout of 0 never waits here.
 *
 * No thread waits for the receive lock. While a thread switches, a receiver returns
 * nothing. While a thread receives, merging is not switched off, and a later call
 * tries again. Threads that switch take turns by the mutex @switching.
 * Switching on needs neither the lock nor the steps: a datagram that was queued
 * before is single, and has no segment size to lose.
 */
#include "udpgather/merging.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <netinet/udp.h>

#include "udpgather/socket.h"

/*
 * For each flow the kernel looks at one socket of a group to decide whether datagrams
 * merge on their way in, and chooses that one by a hash alone. It may be a side
 * socket. So the side sockets of a group have the option, too. What comes into one
 * while the option goes off may lose its segment size; a program that steers keeps
 * them empty.
 */
static void set_gro_of_sides(const struct ug_sys *sys, const struct family *fam,
			     int value)
{
	for (unsigned int i = 0; i < fam->sides.n; i++)
		if (fam->sides.are_in_group)
			sys->setsockopt(fam->sides.fds[i], IPPROTO_UDP, UDP_GRO,
					&value, sizeof(value));
}

static int set_gro(const struct ug_sys *sys, const struct family *fam,
		   int value)
{
	set_gro_of_sides(sys, fam, value);
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

/* Can membarrier(2) wait for other CPUs? */
static bool can_wait(const struct ug_sys *sys)
{
	int commands = sys->membarrier(MEMBARRIER_CMD_QUERY);

	return commands > 0 && (commands & MEMBARRIER_CMD_GLOBAL);
}

/* Step 3. Return: false if the kernel refuses. */
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
		/* If a datagram has come meanwhile, step 4 would fail: do not
		 * make the slow step 3. */
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
	/* If UDP_GRO cannot be set again, it is off. */
	if ((waited && is_empty(sys, fam)) || set_gro(sys, fam, 1) < 0)
		/* Partner: ug_merging_is_pending(). */
		atomic_store_explicit(&fam->merging, false,
				      memory_order_relaxed);
	pthread_rwlock_unlock(&fam->receive_lock);
}

/* Switch merging off in each family that does not want it. Under the mutex. */
static void switch_off(struct ug_socket *sock, int family)
{
	bool begun[FAMILIES], any = false, waited;

	for (int f = 0; f < FAMILIES; f++) {
		struct family *fam = &sock->families[f];

		begun[f] = (family == AF_UNSPEC ||
			    fam == ug_family_of(sock, family)) &&
			   begin_switch(sock->sys, fam);
		any |= begun[f];
	}
	/* One wait is enough for both families. */
	waited = any && wait_for_queueing(sock->sys);
	for (int f = 0; f < FAMILIES; f++)
		if (begun[f])
			finish_switch(sock->sys, &sock->families[f], waited);
}

void ug_merging_switch_off(struct ug_socket *sock, int family)
{
	/* Another thread is switching. */
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
