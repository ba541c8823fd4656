/* SPDX-License-Identifier: MIT */
/* The name of a descriptor (FDNAME=) says what it is. The name of a UDP socket has three
 * numbers: that of the socket in its group, 0 for IPv4 or 1 for IPv6, and 0 for the main
 * socket or the number of the side socket. */
#include "cli/stored.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/now.h"

enum {
	/* The first descriptor that a service manager passes (sd_listen_fds(3)). */
	FIRST_FD = 3,
	/* More than this are not looked at. A choice. */
	FDS_MAX = 256,
};

/* The time that the service manager has to close what it is to forget. A choice: systemd
 * takes a millisecond, and on a busy machine some hundred. */
#define DROP_NS (2 * NSEC_PER_SEC)

/* At most so many waits are made in this time. Choices: an engine that an enemy has cannot
 * hold this process up for longer than a fifth of the time. */
#define WAITS_NS (10 * NSEC_PER_SEC)
enum {
	WAITS_MAX = 1000,
	WAIT_MS = 2,
};

void stored_init(struct stored *stored)
{
	*stored = (struct stored){ .journal = -1 };
	for (int i = 0; i < REQUEST_SOCKETS_MAX; i++)
		stored->set.parts[i] = (struct ug_parts){ .fds = { -1, -1 } };
}

/* ------------------------------------------------------------ what comes */

/* A side socket without its main socket, or behind a gap, is not used. */
static bool take_socket(struct stored *s, const char *name, int fd)
{
	unsigned int i, f, k;
	struct ug_parts *parts;
	char end;

	if (sscanf(name, "udp-%1u-%1u-%1u%c", &i, &f, &k, &end) != 3 ||
	    i >= REQUEST_SOCKETS_MAX || f > 1 || k > SIDE_SOCKETS)
		return false;
	parts = &s->set.parts[i];
	if (k ? parts->fds[f] < 0 || parts->n_sides[f] != k - 1
	      : parts->fds[f] >= 0)
		return false;
	if (k)
		parts->sides[f][parts->n_sides[f]++] = fd;
	else
		parts->fds[f] = fd;
	if (s->set.n < i + 1)
		s->set.n = i + 1;
	return true;
}

static bool take(struct stored *s, const char *name, int fd)
{
	char wanted[STORED_NAME_CAP];

	if (!strcmp(name, STORED_JOURNAL) && s->journal < 0) {
		s->journal = fd;
		return true;
	}
	snprintf(wanted, sizeof(wanted), "tun-%u", s->n_tuns);
	if (s->n_tuns < QUEUES_MAX && !strcmp(name, wanted)) {
		s->tuns[s->n_tuns++] = fd;
		return true;
	}
	return take_socket(s, name, fd);
}

/* Return: the number that a variable has; 0: none. */
static unsigned long read_number(const char *variable)
{
	const char *text = secure_getenv(variable);

	return text ? strtoul(text, NULL, 10) : 0;
}

/*
 * The names may come in any order. A name may find its place only after another one, such
 * as that of a side socket after that of its main socket. So the list is read again as
 * long as one more name finds its place.
 */
void stored_receive(struct stored *stored)
{
	unsigned long n = read_number("LISTEN_FDS");
	const char *names = secure_getenv("LISTEN_FDNAMES");
	bool is_taken[FDS_MAX] = { false }, has_more = true;

	if (!names || n > FDS_MAX ||
	    read_number("LISTEN_PID") != (unsigned long)getpid())
		return;
	while (has_more) {
		const char *name = names;

		has_more = false;
		for (unsigned int i = 0; i < n && *name; i++) {
			size_t len = strcspn(name, ":");
			char text[STORED_NAME_CAP];

			snprintf(text, sizeof(text), "%.*s", (int)len, name);
			name += len + (name[len] == ':');
			if (is_taken[i] ||
			    !take(stored, text, FIRST_FD + (int)i))
				continue;
			is_taken[i] = has_more = stored->has_any = true;
			fcntl(FIRST_FD + (int)i, F_SETFD, FD_CLOEXEC);
		}
	}
}

unsigned int stored_list(const struct stored *stored, int *fds)
{
	unsigned int n = service_list_set(&stored->set, fds);

	for (unsigned int i = 0; i < stored->n_tuns; i++)
		fds[n++] = stored->tuns[i];
	if (stored->journal >= 0)
		fds[n++] = stored->journal;
	return n;
}

void stored_close_tuns(struct stored *stored)
{
	while (stored->n_tuns)
		close(stored->tuns[--stored->n_tuns]);
}

/* ------------------------------------------------------------ what is kept */

static void add_slot(struct storing *s, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void add_slot(struct storing *s, const char *format, ...)
{
	struct storing_slot *slot = &s->slots[s->n++];
	va_list args;

	*slot = (struct storing_slot){ .fd = -1 };
	va_start(args, format);
	vsnprintf(slot->name, sizeof(slot->name), format, args);
	va_end(args);
}

/* The order of the slots is that in which storing_set() fills them. */
void storing_init(struct storing *s, const struct stored *stored)
{
	s->n = 0;
	s->dropped_at = s->waits_since = 0;
	s->n_waits = 0;
	for (int i = 0; i < QUEUES_MAX; i++)
		add_slot(s, "tun-%d", i);
	add_slot(s, STORED_JOURNAL);
	for (int i = 0; i < REQUEST_SOCKETS_MAX; i++)
		for (int f = 0; f < 2; f++)
			for (int k = 0; k <= (i ? 0 : SIDE_SOCKETS); k++)
				add_slot(s, "udp-%d-%d-%d", i, f, k);
	/* To forget a name that stands for nothing does no harm. */
	for (unsigned int i = 0; i < s->n; i++)
		s->slots[i].is_kept = stored->has_any;
}

/* Give a slot what it is to have. It is sent even if the number of the descriptor is the
 * same as before: the number may stand for another file by now. */
static void fill(struct storing_slot *slot, int fd)
{
	slot->fd = fd;
	slot->is_due = slot->is_kept || fd >= 0;
}

void storing_set(struct storing *s, const struct tun *tuns, unsigned int n_tuns,
		 int journal, const struct service_set *set)
{
	struct storing_slot *slot = s->slots;

	for (unsigned int i = 0; i < QUEUES_MAX; i++, slot++)
		if (slot->fd < 0)
			fill(slot, i < n_tuns ? tuns[i].fd : -1);
	fill(slot++, journal);
	for (unsigned int i = 0; i < REQUEST_SOCKETS_MAX; i++) {
		const struct ug_parts *parts =
			set && i < set->n ? &set->parts[i] : NULL;

		for (unsigned int f = 0; f < 2; f++) {
			fill(slot++, parts ? parts->fds[f] : -1);
			for (unsigned int k = 0; !i && k < SIDE_SOCKETS; k++)
				fill(slot++, parts && k < parts->n_sides[f]
						     ? parts->sides[f][k]
						     : -1);
		}
	}
}

/* Forget the old descriptor first: a name may stand for several. Return: false if the
 * queue is full. */
static bool send_slot(struct storing *s, struct storing_slot *slot,
		      const struct notify *n)
{
	if (slot->is_kept) {
		if (notify_store(n, slot->name, -1) == -EAGAIN)
			return false;
		slot->is_kept = false;
		s->dropped_at = now_monotonic();
	}
	if (slot->fd >= 0) {
		if (notify_store(n, slot->name, slot->fd) == -EAGAIN)
			return false;
		slot->is_kept = true;
	}
	slot->is_due = false;
	return true;
}

bool storing_send(struct storing *s, const struct notify *n)
{
	for (unsigned int i = 0; i < s->n; i++)
		if (s->slots[i].is_due && !send_slot(s, &s->slots[i], n))
			return false;
	return true;
}

/* May the service manager still hold a descriptor that it is to forget? It reads its
 * messages when it finds time. */
static bool is_dropping(const struct storing *s, uint64_t now)
{
	for (unsigned int i = 0; i < s->n; i++)
		if (s->slots[i].is_due && s->slots[i].is_kept)
			return true;
	return s->dropped_at && !clock_has_passed(s->dropped_at, DROP_NS, now);
}

bool storing_wait(struct storing *s)
{
	uint64_t now = now_monotonic();

	if (clock_has_passed(s->waits_since, WAITS_NS, now)) {
		s->waits_since = now;
		s->n_waits = 0;
	}
	if (s->n_waits == WAITS_MAX || !is_dropping(s, now))
		return false;
	s->n_waits++;
	poll(NULL, 0, WAIT_MS);
	return true;
}
