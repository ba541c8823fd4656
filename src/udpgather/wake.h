/* SPDX-License-Identifier: MIT */
/*
 * Waking threads that sleep in a call with a socket: ug_wake().
 *
 * A call that waits sleeps in poll(2). Beside the descriptors of the socket, poll(2)
 * watches an eventfd(2) of the socket, and ug_wake() writes to it. The first call that
 * sleeps makes the eventfd, so a program that uses no timeouts has none.
 *
 * All threads that sleep must wake. If the first one that wakes emptied the eventfd, the
 * others would sleep on, because poll(2) looks at a descriptor once more before it
 * returns. So the eventfd is a semaphore (EFD_SEMAPHORE): ug_wake() adds one unit for
 * each sleeper, and each sleeper that was counted takes one unit. The eventfd can be
 * read until the last of them has taken its unit.
 *
 * Therefore ug_wake() has to know the number of sleepers, and a sleeper has to know
 * whether it was counted. One word of 64 bits tells both. Its lower half is the number
 * of sleepers that no wake has counted yet. Its upper half is the number of wakes. A
 * sleeper begins by adding 1 to the word. ug_wake() replaces the word in one step: one
 * wake more, no sleepers; then it writes as many units as there were sleepers. If a
 * sleeper finds the same number of wakes as at its begin, it was not counted, and
 * subtracts 1. If the number is another one, exactly one wake has counted it, and it
 * takes its unit. The unit may come a moment later, because the thread in ug_wake()
 * writes after it has changed the word.
 *
 * A thread that begins to sleep while units of others are left finds the eventfd
 * readable. It must not take a unit. It sleeps for PAUSE_MS, without the eventfd, and
 * tries again.
 *
 * Which wakes end a wait is decided by the number of wakes only. Each receiver and each
 * batch remembers the number that its last call with a timeout has seen. If the number
 * has changed, the next wait ends at once. So no wake is lost that comes after a
 * program has looked at a flag, and before it waits.
 *
 * If the kernel refuses the eventfd, a call sleeps for at most SLICE_MS at a time, and
 * looks at the number of wakes in between.
 *
 * ug_wake() takes no lock, and may be called in a signal handler: also in one that has
 * interrupted a sleeper, or another ug_wake(), at any point.
 */
#ifndef UDPGATHER_WAKE_H
#define UDPGATHER_WAKE_H

#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "udpgather/sys.h"

/**
 * struct wake - the part of a socket that ug_wake() needs
 * @word:	[a] the number of wakes, and the number of sleepers
 * @fd:		[a] the eventfd; -1 before it is made
 * @id:		[I] a number that no other socket of the process has
 */
struct wake {
	_Atomic uint64_t word;
	_Atomic int fd;
	uint32_t id;
};

/**
 * struct wake_memory - what a receiver or a batch remembers of a socket's wakes
 * @id:		the @id of the socket that it was last used with; 0 for none
 * @seen:	the number of wakes that it has seen there
 *
 * All zero at first.
 */
struct wake_memory {
	uint32_t id;
	uint32_t seen;
};

/* ug_wake_init() - no wakes and no sleepers */
void ug_wake_init(struct wake *w);

/* ug_wake_deinit() - close the eventfd */
void ug_wake_deinit(struct wake *w, const struct ug_sys *sys);

/**
 * ug_wake_poll() - poll(2), until a wake
 * @w:		the socket's
 * @sys:	the system calls
 * @m:		the receiver's or the batch's
 * @fds:	@n descriptors, and room for one more behind them
 * @n:		how many
 * @timeout_ms:	as for poll(2)
 *
 * Any thread that owns @m.
 *
 * Return: how many of the @n descriptors have reported something; 0 if the time is
 * over; -ECANCELED if there is a wake that @m has not seen; -EINTR.
 */
int ug_wake_poll(struct wake *w, const struct ug_sys *sys,
		 struct wake_memory *m, struct pollfd *fds, nfds_t n,
		 int timeout_ms);

/* ug_wake_is_new() - is there a wake that @m has not seen? */
bool ug_wake_is_new(const struct wake *w, struct wake_memory *m);

/* ug_wake_see() - a call with a timeout returns: @m has seen all wakes */
void ug_wake_see(const struct wake *w, struct wake_memory *m);

#endif /* UDPGATHER_WAKE_H */
