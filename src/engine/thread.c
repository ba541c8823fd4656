/* SPDX-License-Identifier: MIT */
#include "engine/thread.h"

#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/rcu.h"

enum {
	POKE_TRIES = 10,
};

int thread_start(pthread_t *thread, void *(*main)(void *arg), void *arg)
{
	sigset_t all, old;

	/* A new thread has the mask of its maker. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = pthread_create(thread, NULL, main, arg);

	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

void thread_begin(const char *name)
{
	prctl(PR_SET_NAME, name);
	rcu_register();
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
