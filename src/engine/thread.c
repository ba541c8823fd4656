/* SPDX-License-Identifier: MIT */
#include "engine/thread.h"

#include <semaphore.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/rcu.h"
#include "base/spawn.h"

enum {
	POKE_TRIES = 10,
};

/* What thread_set_first() was given. [I] while threads are made */
static void (*first)(const char *name);

/* What a new thread is told; its maker's, until @begun is posted. */
struct launch {
	void *(*main)(void *arg);
	void *arg;
	sem_t begun;
};

/* Whom thread_begin() tells. */
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

/* Wait, whatever signals come. */
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
	if (!err)
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

	/* It only fails when so many pokes wait already that the counter is
	 * full. But a poke that is lost for another reason would cost much:
	 * whoever waits for what it asks for would wait for ever. */
	for (int i = 0; i < POKE_TRIES; i++)
		if (write(fd, &one, sizeof(one)) >= 0)
			return;
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
