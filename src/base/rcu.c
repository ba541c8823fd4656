/* SPDX-License-Identifier: MIT */
/*
 * The thread that frees elements after a grace period. A build with the thread
 * sanitizer has no such thread (base/rcu.h).
 */
#include "base/rcu.h"

#ifndef RCU_IS_A_LOCK

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>

#include "base/spawn.h"

/*
 * The elements that wait to be freed, in the order in which they came. A thread
 * takes all of them, waits for the readers once, and frees them. The thread is
 * made by rcu_start(), or when the first element comes.
 *
 * @mutex:	protects all members
 * @wake:	there is an element, or the thread is to end
 * @progress:	@n_released has grown, or @has_begun was set
 * @first:	[m] the oldest element, or NULL
 * @last:	[m] the newest element; valid if @first is not NULL
 * @n_given:	[m] number of elements that ever came
 * @n_released:	[m] number of elements freed
 * @has_thread:	[m] the thread exists
 * @has_begun:	[m] the thread has called @initial
 * @is_stopped:	[m] the thread is to end
 * @thread:	[m] the thread, if there is one
 * @initial:	[I] set before the thread is made: function that the thread calls
 *		first, or NULL
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
	bool has_begun;
	bool is_stopped;
	pthread_t thread;
	void (*initial)(const char *name);
} pending = {
	.mutex = PTHREAD_MUTEX_INITIALIZER,
	.wake = PTHREAD_COND_INITIALIZER,
	.progress = PTHREAD_COND_INITIALIZER,
};

/* liburcu defines struct rcu_head, but never gets one: only this file uses its
 * members. */
static struct rcu_head *next_of(const struct rcu_head *head)
{
	return (struct rcu_head *)head->next.next;
}

static void set_next(struct rcu_head *head, struct rcu_head *next)
{
	head->next.next = next ? &next->next : NULL;
}

/* Wait for the readers, then free a list of elements. Return: their number. */
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
	static const char name[] = "rcu";

	prctl(PR_SET_NAME, name);
	rcu_register();
	if (pending.initial)
		pending.initial(name);
	pthread_mutex_lock(&pending.mutex);
	pending.has_begun = true;
	pthread_cond_broadcast(&pending.progress);
	for (;;) {
		struct rcu_head *all = pending.first;
		uint64_t n;

		if (!all && pending.is_stopped)
			break;
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
	pthread_mutex_unlock(&pending.mutex);
	rcu_unregister();
	return arg;
}

/* Make the thread, if there is none. Under the mutex. Return: 0; -errno. */
static int make_thread(void)
{
	int err;

	if (pending.has_thread)
		return 0;
	err = spawn_thread(&pending.thread, reclaim, NULL);
	pending.has_thread = err == 0;
	return err;
}

int rcu_start(void (*first)(const char *name))
{
	int err;

	pthread_mutex_lock(&pending.mutex);
	pending.initial = first;
	err = make_thread();
	while (err == 0 && !pending.has_begun)
		pthread_cond_wait(&pending.progress, &pending.mutex);
	pthread_mutex_unlock(&pending.mutex);
	return err;
}

void rcu_stop(void)
{
	pthread_t thread;
	bool has_thread;

	pthread_mutex_lock(&pending.mutex);
	pending.is_stopped = true;
	pthread_cond_signal(&pending.wake);
	has_thread = pending.has_thread;
	thread = pending.thread;
	pthread_mutex_unlock(&pending.mutex);
	if (has_thread)
		pthread_join(thread, NULL);
	pending.has_thread = pending.has_begun = pending.is_stopped = false;
	pending.initial = NULL;
}

void rcu_free_later(struct rcu_head *head,
		    void (*release)(struct rcu_head *head))
{
	head->func = release;
	set_next(head, NULL);
	pthread_mutex_lock(&pending.mutex);
	if (make_thread() < 0) {
		/* The calling thread waits and frees, which is slower but as
		 * safe. The next call tries again to make the thread. */
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
	pthread_mutex_lock(&pending.mutex);
	/* A release function may hand over another element. That one is counted
	 * in @n_given before the first one is counted in @n_released. */
	while (pending.n_released < pending.n_given)
		pthread_cond_wait(&pending.progress, &pending.mutex);
	pthread_mutex_unlock(&pending.mutex);
}

#endif /* RCU_IS_A_LOCK */
