/* SPDX-License-Identifier: MIT */
/* The eventfd, and the word with wakes and sleepers: wake.h explains both. */
#include "udpgather/wake.h"

#include <errno.h>
#include <sys/eventfd.h>

#include "udpgather/socket.h"

enum {
	/* The longest sleep without an eventfd. */
	SLICE_MS = 50,
	/* Of the word: wakes are above this bit, sleepers below. */
	WAKES_SHIFT = 32,
};

static _Atomic uint32_t last_id;

static uint32_t wakes_of(uint64_t word)
{
	return (uint32_t)(word >> WAKES_SHIFT);
}

/* Acquire: what a thread did before its ug_wake() can be seen after this. */
static uint64_t load_word(const struct wake *w)
{
	/* Partner: ug_wake(). */
	return atomic_load_explicit(&w->word, memory_order_acquire);
}

void ug_wake_init(struct wake *w)
{
	atomic_init(&w->word, 0);
	atomic_init(&w->fd, -1);
	/* 0 is the id of no socket. */
	w->id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) +
		1;
}

void ug_wake_deinit(struct wake *w, const struct ug_sys *sys)
{
	/* No thread is in a call with the socket any more. */
	int fd = atomic_load_explicit(&w->fd, memory_order_relaxed);

	if (fd >= 0)
		sys->close(fd);
}

/* The eventfd, which is made if there is none. Return: its descriptor; -1. */
static int make_fd(struct wake *w, const struct ug_sys *sys)
{
	/* Partner: the exchange below, by another thread. */
	int fd = atomic_load_explicit(&w->fd, memory_order_acquire), none = -1;

	if (fd >= 0)
		return fd;
	fd = sys->eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	if (fd < 0)
		return -1;
	/* Partners: the load above, and that in ug_wake(). */
	if (atomic_compare_exchange_strong_explicit(&w->fd, &none, fd,
						    memory_order_acq_rel,
						    memory_order_acquire))
		return fd;
	/* Another thread was faster. */
	sys->close(fd);
	return none;
}

/* A wake has counted this thread: take the unit that it has added, or is about to
 * add. */
static void take_unit(const struct ug_sys *sys, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t unit;

	while (sys->read(fd, &unit, sizeof(unit)) < 0 && errno == EAGAIN)
		sys->poll(&p, 1, -1);
}

/* The end of a sleep. @begin: the word at its begin. Return: was there a wake? */
static bool end_sleep(struct wake *w, const struct ug_sys *sys, int fd,
		      uint64_t begin)
{
	uint64_t word = load_word(w);

	while (fd >= 0 && wakes_of(word) == wakes_of(begin))
		/* Partner: ug_wake(). */
		if (atomic_compare_exchange_weak_explicit(
			    &w->word, &word, word - 1, memory_order_acq_rel,
			    memory_order_acquire))
			return false;
	if (wakes_of(word) == wakes_of(begin))
		return false;
	if (fd >= 0)
		take_unit(sys, fd);
	return true;
}

static bool is_news(const struct wake *w, struct wake_memory *m, uint32_t wakes)
{
	if (m->id != w->id) {
		/* For the first socket that it is used with, all wakes are new. Of
		 * a further one it cannot tell which ones are. */
		m->seen = m->id ? wakes : 0;
		m->id = w->id;
	}
	return m->seen != wakes;
}

bool ug_wake_is_new(const struct wake *w, struct wake_memory *m)
{
	return is_news(w, m, wakes_of(load_word(w)));
}

void ug_wake_see(const struct wake *w, struct wake_memory *m)
{
	m->id = w->id;
	m->seen = wakes_of(load_word(w));
}

/*
 * Sleep once, with the eventfd @fd if it is not -1.
 *
 * Return: as ug_wake_poll(); -EAGAIN if only units for other threads were found.
 */
static int sleep_once(struct wake *w, const struct ug_sys *sys,
		      struct wake_memory *m, int fd, struct pollfd *fds,
		      nfds_t n, int timeout_ms)
{
	uint64_t begin = load_word(w);
	int ready = -ECANCELED;

	if (fd >= 0)
		/* Partner: ug_wake(). */
		begin = atomic_fetch_add_explicit(&w->word, 1,
						  memory_order_acq_rel);
	if (!is_news(w, m, wakes_of(begin))) {
		fds[n] = (struct pollfd){ .fd = fd, .events = POLLIN };
		ready = sys->poll(fds, n + (fd >= 0), timeout_ms);
		if (ready < 0)
			ready = -EINTR;
	}
	bool was_found = ready > 0 && fd >= 0 && fds[n].revents;
	bool was_woken = end_sleep(w, sys, fd, begin);

	if (was_found)
		ready--;
	if (ready)
		return ready;
	if (was_woken)
		return -ECANCELED;
	return was_found ? -EAGAIN : 0;
}

static int shorter(int timeout_ms, int limit_ms)
{
	return timeout_ms < 0 || timeout_ms > limit_ms ? limit_ms : timeout_ms;
}

int ug_wake_poll(struct wake *w, const struct ug_sys *sys,
		 struct wake_memory *m, struct pollfd *fds, nfds_t n,
		 int timeout_ms)
{
	int fd = make_fd(w, sys);

	for (int left = timeout_ms;;) {
		int slice = fd < 0 ? shorter(left, SLICE_MS) : left;
		int ready = sleep_once(w, sys, m, fd, fds, n, slice);

		if (ready == -EAGAIN) {
			slice = shorter(left, PAUSE_MS);
			ready = sys->poll(fds, n, slice);
			if (ready < 0)
				ready = -EINTR;
		}
		if (ready)
			return ready;
		if (left < 0)
			continue;
		left -= slice;
		if (left <= 0)
			return 0;
	}
}

void ug_wake(struct ug_socket *sock)
{
	struct wake *w = &sock->wake;
	uint64_t word = load_word(w), next;
	int err = errno;

	do
		next = ((word >> WAKES_SHIFT) + 1) << WAKES_SHIFT;
	/* Partners: sleep_once(), end_sleep(), load_word(). */
	while (!atomic_compare_exchange_weak_explicit(&w->word, &word, next,
						      memory_order_acq_rel,
						      memory_order_acquire));
	uint64_t units = (uint32_t)word;

	if (units)
		/* Partner: make_fd(), which the sleepers have called. */
		sock->sys->write(
			atomic_load_explicit(&w->fd, memory_order_acquire),
			&units, sizeof(units));
	errno = err;
}
