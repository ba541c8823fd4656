/* SPDX-License-Identifier: MIT */
#include "base/rcu.h"

#ifndef RCU_IS_A_LOCK

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>

/*
 * What waits to be freed, in the order in which it came. A thread of its own,
 * made when the first comes, takes all that there is, waits for the readers
 * once, and frees it.
 *
 * @mutex:	over all of this
 * @wake:	there is something
 * @progress:	@n_released has grown
 * @first:	[m] what came first, or NULL
 * @last:	[m] what came last, if there is a first
 * @n_given:	[m] how much ever came
 * @n_released:	[m] how much of that was freed
 * @has_thread:	[m]
 */
static struct {
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	pthread_cond_t progress;
	struct rcu_head *first;
	struct rcu_head *last;
	uint64_t n_given;
	uint64_t n_released;
	bool has_thread;
} pending = {
	.mutex = PTHREAD_MUTEX_INITIALIZER,
	.wake = PTHREAD_COND_INITIALIZER,
	.progress = PTHREAD_COND_INITIALIZER,
};

/* The links are liburcu's, which we do not hand them to. */
static struct rcu_head *next_of(const struct rcu_head *head)
{
	return (struct rcu_head *)head->next.next;
}

static void set_next(struct rcu_head *head, struct rcu_head *next)
{
	head->next.next = next ? &next->next : NULL;
}

/**
 * release_all() - wait for the readers, then free
 * @head:	list of what no new reader can find
 *
 * Return: how much it was.
 */
static uint64_t release_all(struct rcu_head *head)
{
	uint64_t n = 0;

	rcu_wait();
	while (head) {
		struct rcu_head *next = next_of(head);

		head->func(head);
		head = next;
		n++;
	}
	return n;
}

static void *reclaim(void *arg)
{
	prctl(PR_SET_NAME, "rcu");
	rcu_register();
	pthread_mutex_lock(&pending.mutex);
	for (;;) {
		struct rcu_head *all = pending.first;
		uint64_t n;

		if (!all) {
			pthread_cond_wait(&pending.wake, &pending.mutex);
			continue;
		}
		pending.first = NULL;
		pthread_mutex_unlock(&pending.mutex);
		n = release_all(all);
		pthread_mutex_lock(&pending.mutex);
		pending.n_released += n;
		pthread_cond_broadcast(&pending.progress);
	}
	return arg;
}

/* Under the mutex: see to it that there is a thread. Return: there is none. */
static bool lacks_thread(void)
{
	pthread_t thread;
	sigset_t all, old;

	if (pending.has_thread)
		return false;
	/* A new thread has the mask of its maker. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pending.has_thread = pthread_create(&thread, NULL, reclaim, NULL) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (pending.has_thread)
		pthread_detach(thread);
	return !pending.has_thread;
}

void rcu_free_later(struct rcu_head *head,
		    void (*release)(struct rcu_head *head))
{
	head->func = release;
	set_next(head, NULL);
	pthread_mutex_lock(&pending.mutex);
	if (lacks_thread()) {
		/* Slower, and as good. The next one tries again. */
		pthread_mutex_unlock(&pending.mutex);
		release_all(head);
		return;
	}
	if (pending.first)
		set_next(pending.last, head);
	else
		pending.first = head;
	pending.last = head;
	pending.n_given++;
	pthread_cond_signal(&pending.wake);
	pthread_mutex_unlock(&pending.mutex);
}

void rcu_drain(void)
{
	uint64_t n;

	pthread_mutex_lock(&pending.mutex);
	n = pending.n_given;
	while (pending.n_released < n)
		pthread_cond_wait(&pending.progress, &pending.mutex);
	pthread_mutex_unlock(&pending.mutex);
}

#endif /* RCU_IS_A_LOCK */
