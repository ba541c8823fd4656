/* SPDX-License-Identifier: MIT */
#include "journal_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"

/* A choice: some time after 0. */
#define WORLD_NOW (UINT64_C(1000) * NSEC_PER_SEC)

enum {
	PIECE = 4096,
};

static int keep(void *arg, int fd)
{
	struct journal_world *world = arg;

	if (world->keep_err)
		return world->keep_err;
	if (world->kept >= 0)
		close(world->kept);
	world->kept = dup(fd);
	assert_true(world->kept >= 0);
	world->n_keeps++;
	return 0;
}

static const struct journal_ops ops = { .keep = keep };

static void begin(struct journal_world *world)
{
	world->journal =
		journal_new(&world->fake.device, &ops, world, world->backing);
	assert_non_null(world->journal);
}

void journal_world_init(struct journal_world *world,
			enum secret_backing backing)
{
	memset(world, 0, sizeof(*world));
	world->backing = backing;
	world->kept = -1;
	device_fake_init(&world->fake);
	begin(world);
	assert_int_equal(journal_start(world->journal), 0);
}

void journal_world_deinit(struct journal_world *world)
{
	device_fake_deinit(&world->fake);
	journal_free(world->journal);
	close(world->kept);
}

int journal_world_set(struct journal_world *world, const char *text)
{
	struct uapi_request request = device_fake_parse(text);
	int err = request.error;

	if (!err)
		err = journal_apply(world->journal, request.config, WORLD_NOW);
	config_free(request.config);
	return err;
}

char *journal_world_print(struct journal_world *world)
{
	return device_fake_print(&world->fake, PIECE);
}

bool journal_world_is_endpoint(const struct device_endpoint *ep)
{
	const char *text = (const char *)ep->words;

	return *text > ' ' && *text <= '~';
}

int journal_world_restore(int kept, struct device_fake *fake,
			  struct restore *restore)
{
	*restore = (struct restore){
		.device = &fake->device,
		.is_endpoint = journal_world_is_endpoint,
		.now = WORLD_NOW,
	};
	return restore_run(restore, dup(kept));
}

void journal_world_die(struct journal_world *world, struct restore *restore)
{
	struct journal *old = world->journal;

	/* What the end of a device tells its journal must not change anything. */
	device_fake_deinit(&world->fake);
	device_fake_init(&world->fake);
	begin(world);
	assert_int_equal(
		journal_world_restore(world->kept, &world->fake, restore), 0);
	assert_int_equal(journal_start(world->journal), 0);
	journal_free(old);
}
