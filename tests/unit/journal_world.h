/* SPDX-License-Identifier: MIT */
/* A device with a journal, whose process can die: another device goes on for it. */
#ifndef TESTS_JOURNAL_WORLD_H
#define TESTS_JOURNAL_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device_fake.h"
#include "journal/journal.h"
#include "journal/restore.h"

/*
 * @fake:	the device
 * @journal:	its journal
 * @backing:	of the journal
 * @kept:	the descriptor that was to be kept; -1: none
 * @keep_err:	result of keep()
 * @n_keeps:	successful calls of keep()
 */
struct journal_world {
	struct device_fake fake;
	struct journal *journal;
	enum secret_backing backing;
	int kept;
	int keep_err;
	unsigned int n_keeps;
};

/* A device without configuration, and a journal that was started. */
void journal_world_init(struct journal_world *world,
			enum secret_backing backing);
void journal_world_deinit(struct journal_world *world);

/* Apply a request and record it. Return: 0 or -errno. */
int journal_world_set(struct journal_world *world, const char *text);

/* The answer to get=1, from the heap. */
char *journal_world_print(struct journal_world *world);

/* The endpoint of device_fake_codec: its first byte is printable. */
bool journal_world_is_endpoint(const struct device_endpoint *ep);

/*
 * Read the kept journal into a new device. The descriptor stays, and so does what was
 * in the memory, but for marks. Return: the result of restore_run(). The caller calls
 * device_fake_deinit().
 */
int journal_world_restore(int kept, struct device_fake *fake,
			  struct restore *restore);

/* The process dies, and another one goes on. */
void journal_world_die(struct journal_world *world, struct restore *restore);

#endif /* TESTS_JOURNAL_WORLD_H */
