/* SPDX-License-Identifier: MIT */
/* The descriptors that the service manager keeps for the keeper (cli/stored.h): which they
 * are, and when it gets them. */
#include <poll.h>

#include "base/descriptors.h"
#include "base/log.h"
#include "base/now.h"
#include "cli/kept_parts.h"

/* The time after which the service manager gets what has changed. A choice. */
#define STORE_NS (50 * NSEC_PER_MSEC)

enum {
	/* How often, and with which pause, the service manager is told at the start
	 * what it is to forget. Choices: together a second. */
	STORE_TRIES = 100,
	STORE_PAUSE_MS = 10,
};

bool kept_store(struct kept *k)
{
	const struct service *s = &k->engine->service;

	if (k->has_changed)
		storing_set(
			&k->storing, k->interface.tuns, k->interface.n_queues,
			k->blocked.is_on ? -1 : s->kept[REQUEST_SLOT_JOURNAL],
			service_get_set(s));
	k->has_changed = false;
	return storing_send(&k->storing, k->notify);
}

static void store_due(struct loop_timer *timer)
{
	struct kept *k = timer->arg;

	/* The service manager gets READY=1 before anything else. */
	if (k->notify->owes_ready || !kept_store(k))
		loop_set_timer(&k->loop, timer, now_monotonic() + STORE_NS);
}

bool kept_await_port(struct kept *k)
{
	if (!k->notify->has_store)
		return false;
	(void)kept_store(k);
	return storing_wait(&k->storing);
}

void kept_note_change(struct kept *k)
{
	k->has_changed = true;
	if (k->notify->has_store && k->is_ready && !k->store_later.is_set)
		loop_set_timer(&k->loop, &k->store_later,
			       now_monotonic() + STORE_NS);
}

void kept_init_stored(struct kept *k)
{
	storing_init(&k->storing, k->stored);
	k->store_later = (struct loop_timer){ .ready = store_due, .arg = k };
}

void kept_use_stored(struct kept *k)
{
	struct service *s = &k->engine->service;
	struct stored *stored = k->stored;
	int fds[STORED_MAX];
	unsigned int n;

	if (k->interface.is_kept) {
		s->kept[REQUEST_SLOT_JOURNAL] = stored->journal;
		stored->journal = -1;
		service_find_sockets(s, &stored->set);
		stored->set.n = 0;
		log_event("the interface is that of the process before");
	}
	n = stored_list(stored, fds);
	close_all(fds, n);
	/* A socket that the service manager still holds would keep the port in use. So
	 * it must have forgotten old sockets before the engine asks for the port. */
	storing_set(&k->storing, k->interface.tuns, k->interface.n_queues,
		    s->kept[REQUEST_SLOT_JOURNAL], service_get_found(s));
	for (int i = 0; i < STORE_TRIES; i++) {
		if (storing_send(&k->storing, k->notify))
			break;
		poll(NULL, 0, STORE_PAUSE_MS);
	}
}
