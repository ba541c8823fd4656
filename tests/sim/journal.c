/* SPDX-License-Identifier: MIT */
/*
 * Host 0 keeps a journal, dies, and another process goes on for it. What it has said in
 * handshakes before counts after. Each test has a control without a journal, in which
 * that is not so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "journal/journal.h"
#include "journal/layout.h"
#include "journal/restore.h"
#include "world.h"

enum {
	YEAR_S = 365 * 24 * 3600,
	/* An address that no host has. */
	STRANGER = 0x0a0000ff,
};

static uint64_t seed;

/*
 * @world:	the world
 * @journal:	of host 0; NULL: the control
 * @old:	journals of the processes that have died
 * @kept:	its memory
 * @initiation:	the last initiation of host 1
 * @len:	its length
 * @n_checks:	messages of host 0 with a timestamp, or in answer to one
 * @restored:	what the last restore has found
 */
struct scene {
	struct world *world;
	struct journal *journal;
	struct journal *old;
	int kept;
	uint8_t initiation[SIM_MAX_DATAGRAM];
	size_t len;
	unsigned int n_checks;
	struct restore restored;
};

static int keep(void *arg, int fd)
{
	struct scene *scene = arg;

	if (scene->kept >= 0)
		close(scene->kept);
	scene->kept = dup(fd);
	return 0;
}

static const struct journal_ops ops = { .keep = keep };

static bool is_endpoint(const struct device_endpoint *ep)
{
	(void)ep;
	return true;
}

static void start_journal(struct scene *scene)
{
	assert_non_null(scene->journal);
	assert_int_equal(journal_start(scene->journal), 0);
}

/* Host 0 begins anew. */
static bool prepare(void *arg, struct sim_host *host)
{
	struct scene *scene = arg;

	if (host->number != 0 || !scene->journal)
		return false;
	scene->old = scene->journal;
	scene->journal =
		journal_new(&host->device, &ops, scene, SECRET_PRIVATE);
	scene->restored = (struct restore){ .device = &host->device,
					    .is_endpoint = is_endpoint,
					    .now = scene->world->now };
	assert_int_equal(restore_run(&scene->restored, dup(scene->kept)), 0);
	assert_null(scene->restored.why);
	start_journal(scene);
	return true;
}

/* The timestamps of peer 1 that the journal has, from a copy: a reader leaves marks. */
static void read_kept(struct scene *scene, struct tai64n *taken,
		      struct tai64n *sent)
{
	const struct sim_host *other = &scene->world->hosts[1];
	size_t len = (size_t)lseek(scene->kept, 0, SEEK_END);
	uint8_t *bytes = mmap(NULL, len, PROT_READ, MAP_SHARED, scene->kept, 0);
	const struct layout_head *head = (const void *)bytes;
	const struct layout_slot *slot = (const void *)(bytes + 4096);

	assert_ptr_not_equal(bytes, MAP_FAILED);
	memset(taken, 0, sizeof(*taken));
	memset(sent, 0, sizeof(*sent));
	for (size_t i = 0; i < head->n_slots; i++) {
		if (memcmp(slot[i].key, other->public_key, 32) != 0)
			continue;
		for (int n = 0; n < 2; n++) {
			const struct layout_state *s = &slot[i].state[n];

			if (memcmp(s->taken, taken->b, sizeof(taken->b)) > 0)
				memcpy(taken->b, s->taken, sizeof(taken->b));
			if (memcmp(s->sent, sent->b, sizeof(sent->b)) > 0)
				memcpy(sent->b, s->sent, sizeof(sent->b));
		}
	}
	munmap(bytes, len);
}

/* Whatever host 0 sends, the journal has the timestamps by then. */
static void tap(void *arg, unsigned int from, const uint8_t *buf, size_t len)
{
	struct scene *scene = arg;
	enum message_type type = message_check(buf, len);
	struct noise_handshake *hs;
	struct tai64n kept[2], now[2];

	if (from == 1 && type == MESSAGE_INITIATION) {
		memcpy(scene->initiation, buf, len);
		scene->len = len;
	}
	if (from != 0 || !scene->journal ||
	    (type != MESSAGE_INITIATION && type != MESSAGE_RESPONSE))
		return;
	hs = &world_peer(scene->world, 0, 1)->handshake;
	noise_handshake_get_timestamps(hs, &now[0], &now[1]);
	read_kept(scene, &kept[0], &kept[1]);
	assert_memory_equal(kept, now, sizeof(now));
	scene->n_checks++;
}

static void begin(struct scene *scene, uint64_t number, bool has_journal)
{
	memset(scene, 0, sizeof(*scene));
	scene->kept = -1;
	scene->world = world_new(seed + number, 2);
	scene->world->tap = tap;
	scene->world->tap_arg = scene;
	scene->world->prepare = prepare;
	scene->world->prepare_arg = scene;
	if (!has_journal)
		return;
	scene->journal = journal_new(&scene->world->hosts[0].device, &ops,
				     scene, SECRET_PRIVATE);
	start_journal(scene);
}

static void end(struct scene *scene)
{
	world_free(scene->world);
	journal_free(scene->journal);
	if (scene->kept >= 0)
		close(scene->kept);
}

static void die(struct scene *scene)
{
	world_restart(scene->world, 0);
	journal_free(scene->old);
	scene->old = NULL;
}

static void assert_passes(struct scene *scene, unsigned int from,
			  unsigned int to)
{
	size_t n = world_send(scene->world, from, to);

	world_run(scene->world, SIM_SEC(1));
	assert_int_equal(world_count_arrived(scene->world, n), 1);
}

/* Somebody sends the initiation of host 1 again, from his own address. */
static void replay_initiation(struct scene *scene, bool has_journal)
{
	struct world *world = scene->world;
	uint64_t where;
	size_t n_replayed;

	begin(scene, has_journal, has_journal);
	world = scene->world;
	assert_passes(scene, 1, 0);
	assert_true(scene->len > 0);
	where = world_believed_address(world, 0, 1);
	die(scene);
	assert_int_equal(world_believed_address(world, 0, 1), where);
	n_replayed = world->hosts[0].drops[DROP_REPLAYED];
	world_inject(world, STRANGER, world->hosts[0].address,
		     scene->initiation, scene->len);
	world_run(world, SIM_SEC(1));
	print_message("# %s journal: the peer is %s\n",
		      has_journal ? "with" : "without",
		      world_believed_address(world, 0, 1) == where
			      ? "where it was"
			      : "at the stranger's address");
	if (has_journal) {
		assert_int_equal(world_believed_address(world, 0, 1), where);
		assert_int_equal(world->hosts[0].drops[DROP_REPLAYED],
				 n_replayed + 1);
		assert_true(scene->n_checks > 0);
	} else {
		assert_int_equal(world_believed_address(world, 0, 1), STRANGER);
	}
	end(scene);
}

static void test_recorded_initiation(void **state)
{
	struct scene scene;

	(void)state;
	replay_initiation(&scene, false);
	replay_initiation(&scene, true);
}

/* The clock of host 0 is set back by a year while no process runs. */
static void set_clock_back(struct scene *scene, bool has_journal)
{
	struct world *world;
	size_t n;

	begin(scene, 2 + has_journal, has_journal);
	world = scene->world;
	assert_passes(scene, 0, 1);
	world->hosts[0].realtime_offset_ns -= (int64_t)SIM_SEC(YEAR_S);
	die(scene);
	n = world_send(world, 0, 1);
	world_run(world, SIM_SEC(20));
	print_message("# %s journal: %zu initiations were refused\n",
		      has_journal ? "with" : "without",
		      world->hosts[1].drops[DROP_REPLAYED]);
	assert_int_equal(world_count_arrived(world, n), has_journal);
	assert_int_equal(world->hosts[1].drops[DROP_REPLAYED] > 0,
			 !has_journal);
	end(scene);
}

static void test_clock_back(void **state)
{
	struct scene scene;

	(void)state;
	set_clock_back(&scene, false);
	set_clock_back(&scene, true);
}

/* Host 0 had a session. It begins another one at once, although nobody sends anything,
 * so that host 1 can reach it. */
static void greet(struct scene *scene, bool has_journal)
{
	size_t n;

	begin(scene, 6 + has_journal, has_journal);
	assert_passes(scene, 1, 0);
	die(scene);
	world_run(scene->world, SIM_SEC(1));
	n = world_send(scene->world, 1, 0);
	world_run(scene->world, SIM_SEC(1));
	print_message("# %s journal: host 0 has begun %zu handshakes\n",
		      has_journal ? "with" : "without",
		      scene->world->hosts[0].sent.initiations);
	assert_int_equal(scene->world->hosts[0].sent.initiations, has_journal);
	assert_int_equal(world_count_arrived(scene->world, n), has_journal);
	/* Once it has a session, the next process finds that it had one. */
	if (has_journal) {
		die(scene);
		assert_int_equal(scene->restored.n_sessions, 1);
	}
	end(scene);
}

static void test_greeting(void **state)
{
	struct scene scene;

	(void)state;
	greet(&scene, false);
	greet(&scene, true);
}

/* Many deaths, some of them between a message and its answer. */
static void test_many_deaths(void **state)
{
	struct scene scene;
	size_t n_sessions = 0;

	(void)state;
	begin(&scene, 4, true);
	for (int i = 0; i < 200; i++) {
		world_send(scene.world, (unsigned int)i % 2,
			   (unsigned int)!(i % 2));
		world_run(scene.world,
			  SIM_MSEC(world_random_below(scene.world, 9000)));
		memset(scene.world->hosts[1].initiated_ns, 0,
		       sizeof(scene.world->hosts[1].initiated_ns));
		die(&scene);
		n_sessions += scene.restored.n_sessions;
		assert_int_equal(scene.restored.n_left_out, 0);
	}
	world_run(scene.world, SIM_SEC(30));
	assert_passes(&scene, 0, 1);
	assert_passes(&scene, 1, 0);
	print_message("# %zu of 200 had a session, %u messages checked\n",
		      n_sessions, scene.n_checks);
	assert_true(n_sessions > 20 && scene.n_checks > 100);
	end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recorded_initiation),
		cmocka_unit_test(test_clock_back),
		cmocka_unit_test(test_greeting),
		cmocka_unit_test(test_many_deaths),
	};

	if (sim_prepare(&seed, 1))
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
