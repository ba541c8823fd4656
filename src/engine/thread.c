/* SPDX-License-Identifier: MIT */
/*
 * A thread starts in two steps: thread_start() makes it and waits;
 * thread_begin() prepares it and ends that wait. The order matters to the
 * isolation: @first takes rights away from the thread, and thread_start()
 * returns only after that.
 */
#include "engine/thread.h"

#include <semaphore.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rcu.h"
#include "base/spawn.h"

enum {
	/* Attempts at the write of thread_poke(). A choice: no reason is known
	 * for which a second attempt would be needed. */
	POKE_TRIES = 10,
};

/* The function of thread_set_first(). [I] while threads are made. */
static void (*first)(const char *name);

/* Arguments of a new thread, on the stack of thread_start(), which waits for
 * @begun. */
struct launch {
	void *(*main)(void *arg);
	void *arg;
	sem_t begun;
};

/* In a new thread: the semaphore that thread_begin() posts. */
static _Thread_local sem_t *begun;

static void *launch(void *arg)
{
	struct launch *shared = arg;

	begun = &shared->begun;
	return shared->main(shared->arg);
}

void thread_set_first(void (*function)(const char *name))
{
	first = function;
}

/* sem_wait(3) fails only if a signal came: wait on. */
static void wait_for(sem_t *sem)
{
	while (sem_wait(sem) < 0)
		;
}

int thread_start(pthread_t *thread, void *(*main)(void *arg), void *arg)
{
	struct launch shared = { .main = main, .arg = arg };
	int err;

	sem_init(&shared.begun, 0, 0);
	err = spawn_thread(thread, launch, &shared);
	if (err == 0)
		wait_for(&shared.begun);
	sem_destroy(&shared.begun);
	return err;
}

void thread_begin(const char *name)
{
	prctl(PR_SET_NAME, name);
	rcu_register();
	if (first)
		first(name);
	sem_post(begun);
}

void thread_end(void)
{
	rcu_unregister();
}

void thread_poke(int fd)
{
	const uint64_t one = 1;

	/* The write fails if the counter is full: then the thread will wake
	 * anyway. It is not known to fail for another reason; but a lost poke
	 * could block a thread for ever, so it is tried again. */
	for (int i = 0; i < POKE_TRIES; i++)
		if (write(fd, &one, sizeof(one)) >= 0)
			return;
}

void thread_init_condition(pthread_cond_t *condition)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(condition, &attr);
	pthread_condattr_destroy(&attr);
}

bool thread_wait_until(pthread_cond_t *condition, pthread_mutex_t *mutex,
		       uint64_t end_ns)
{
	const struct timespec end = {
		.tv_sec = (time_t)(end_ns / NSEC_PER_SEC),
		.tv_nsec = (long)(end_ns % NSEC_PER_SEC),
	};

	return pthread_cond_timedwait(condition, mutex, &end) == 0;
}

const char *thread_peer_name(const struct peer *peer)
{
	/* RFC 4648, section 4; eight characters tell peers apart. */
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789+/";
	static _Thread_local char text[16];
	const uint8_t *key = peer->public_key;
	char *out = text;

	for (int i = 0; i < 6; i += 3) {
		uint32_t bits = (uint32_t)key[i] << 16 |
				(uint32_t)key[i + 1] << 8 | key[i + 2];

		for (int shift = 18; shift >= 0; shift -= 6)
			*out++ = digits[bits >> shift & 63];
	}
	memcpy(out, "...", 4);
	return text;
}
