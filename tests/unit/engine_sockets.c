/* SPDX-License-Identifier: MIT */
/*
 * Sockets that are replaced while threads use them. The control thread often
 * closes the sockets and opens others at once. The new ones are often at the
 * same place in memory as the old ones. A user that missed the time without
 * sockets would take the new sockets for the old ones, and would never watch
 * them.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "engine/sockets.h"
#include "tests/lib/check.h"

enum {
	/* On a machine with fewer processors the kernel interrupts users at any
	 * point. A choice. */
	USERS = 4,
	/* A choice, not measured. */
	TURNS = 3000,
};

/* Data that the users share with the test. */
struct fixture {
	struct sockets sockets;
	_Atomic bool is_stopped;
	_Atomic unsigned int n_missed;
};

struct user {
	struct fixture *f;
	unsigned int number;
	pthread_t thread;
};

/* There are sockets in each odd generation, and none in the even ones. */
static void *user_main(void *arg)
{
	const struct user *u = arg;
	struct fixture *f = u->f;
	uint64_t seen = 0;

	while (!atomic_load(&f->is_stopped)) {
		uint64_t before = seen;
		const struct sock_group *group =
			sockets_enter(&f->sockets, u->number, &seen);

		if (seen != before && (group != NULL) != (seen % 2 == 1))
			atomic_fetch_add(&f->n_missed, 1);
		sched_yield();
	}
	sockets_leave(&f->sockets, u->number);
	return NULL;
}

static void poke(void *arg)
{
	(void)arg;
}

static struct sock_group *open_sockets(void)
{
	struct ug_options opt = { .size = sizeof(opt) };
	struct ug_report report = { .size = sizeof(report) };
	struct sock_group *group = NULL;

	assert_int_equal(sock_group_open(&group, NULL, 1, &opt, &report), 0);
	return group;
}

static void test_each_is_seen(void **state)
{
	static struct fixture f;
	struct user users[USERS];

	(void)state;
	sockets_init(&f.sockets);
	for (unsigned int i = 0; i < USERS; i++) {
		users[i] = (struct user){ .f = &f, .number = i };
		sockets_join(&f.sockets, i);
		assert_int_equal(pthread_create(&users[i].thread, NULL,
						user_main, &users[i]),
				 0);
	}
	for (int i = 0; i < TURNS; i++) {
		sockets_replace(&f.sockets, open_sockets(), poke, NULL);
		sockets_replace(&f.sockets, NULL, poke, NULL);
	}
	atomic_store(&f.is_stopped, true);
	for (unsigned int i = 0; i < USERS; i++)
		pthread_join(users[i].thread, NULL);
	sockets_deinit(&f.sockets);
	assert_int_equal(atomic_load(&f.n_missed), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
