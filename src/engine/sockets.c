/* SPDX-License-Identifier: MIT */
/*
 * The sockets in use, and their replacement: see the header. The order of the
 * two atomic members is what matters: the control thread writes @current before
 * @generation, and a user reads @generation before @current. A user that has
 * seen a generation therefore has the sockets of that generation, or newer
 * ones.
 */
#include "engine/sockets.h"

#include "base/bytes.h"

void sockets_init(struct sockets *s)
{
	atomic_init(&s->current, NULL);
	atomic_init(&s->generation, 0);
	for (int i = 0; i < SOCKETS_USERS; i++)
		s->seen[i] = UINT64_MAX;
	s->rights = NULL;
	s->drops[0] = s->drops[1] = 0;
	pthread_mutex_init(&s->mutex, NULL);
	pthread_cond_init(&s->changed, NULL);
}

void sockets_deinit(struct sockets *s)
{
	sock_group_close(sockets_get_all(s));
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->mutex);
}

static void set_seen(struct sockets *s, unsigned int user, uint64_t seen)
{
	pthread_mutex_lock(&s->mutex);
	s->seen[user] = seen;
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->mutex);
}

struct sock_group *sockets_enter(struct sockets *s, unsigned int user,
				 uint64_t *seen)
{
	/* Partner: sockets_replace(). */
	uint64_t generation =
		atomic_load_explicit(&s->generation, memory_order_acquire);

	/* This must come before set_seen(): after that the control thread may
	 * free the sockets that were current before. */
	struct sock_group *group =
		atomic_load_explicit(&s->current, memory_order_acquire);

	if (generation != *seen) {
		*seen = generation;
		set_seen(s, user, generation);
	}
	return group;
}

void sockets_leave(struct sockets *s, unsigned int user)
{
	set_seen(s, user, UINT64_MAX);
}

void sockets_join(struct sockets *s, unsigned int user)
{
	set_seen(s, user, 0);
}

static bool all_have_seen(const struct sockets *s, uint64_t generation)
{
	for (int i = 0; i < SOCKETS_USERS; i++)
		if (s->seen[i] < generation)
			return false;
	return true;
}

/* Add what the kernel has dropped for a socket. */
static void add_drops_of(const struct ug_socket *sock, uint64_t drops[2])
{
	struct ug_socket_stats stats;

	if (ug_get_socket_stats(sock, &stats, sizeof(stats)) < 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(stats.drops_v4); i++) {
		drops[0] += stats.drops_v4[i];
		drops[1] += stats.drops_v6[i];
	}
}

static void add_drops(const struct sock_group *group, uint64_t drops[2])
{
	for (unsigned int i = 0; group && i < group->n; i++)
		add_drops_of(group->all[i], drops);
}

void sockets_count_drops(struct sockets *s, uint64_t drops[2])
{
	drops[0] = s->drops[0];
	drops[1] = s->drops[1];
	add_drops(sockets_get_all(s), drops);
}

void sockets_skip_drops(struct sockets *s, const struct sock_group *group)
{
	uint64_t drops[2] = { 0 };

	/* The kernel's count of a socket is added again later, so the sum does not
	 * stay below 0. */
	add_drops(group, drops);
	s->drops[0] -= drops[0];
	s->drops[1] -= drops[1];
}

void sockets_replace(struct sockets *s, struct sock_group *next,
		     void (*poke)(void *arg), void *arg)
{
	struct sock_group *old = atomic_exchange_explicit(&s->current, next,
							  memory_order_acq_rel);
	/* Partner: sockets_enter(). */
	uint64_t generation = atomic_fetch_add_explicit(&s->generation, 1,
							memory_order_acq_rel) +
			      1;

	poke(arg);
	pthread_mutex_lock(&s->mutex);
	while (!all_have_seen(s, generation))
		pthread_cond_wait(&s->changed, &s->mutex);
	pthread_mutex_unlock(&s->mutex);
	add_drops(old, s->drops);
	sock_group_close(old);
}
