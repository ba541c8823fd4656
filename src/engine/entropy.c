/* SPDX-License-Identifier: MIT */
/* Random numbers by getrandom(2), which should not fail, and is tried again. */
#include "engine/entropy.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/log.h"

enum {
	/* How often getrandom(2) may fail, and the pause after each failure:
	 * one second in all, then the process ends. */
	RANDOM_TRIES = 100,
	RANDOM_PAUSE_MS = 10,
};

/* Keys cannot be made, and entropy_get() cannot return an error: exit. */
static _Noreturn void end_without_random(int err)
{
	log_error("cannot go on: no random numbers: %s", strerror(err));
	log_stop();
	_exit(EXIT_FAILURE);
}

void entropy_get(void *buf, size_t len)
{
	int n_failures = 0;

	for (size_t done = 0; done < len;) {
		ssize_t n = getrandom((char *)buf + done, len - done, 0);

		if (n > 0)
			done += (size_t)n;
		else if (errno != EINTR && n_failures++ < RANDOM_TRIES)
			poll(NULL, 0, RANDOM_PAUSE_MS);
		else if (errno != EINTR)
			end_without_random(errno);
	}
}
