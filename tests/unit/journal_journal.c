/* SPDX-License-Identifier: MIT */
/*
 * Whatever a device was told, the device of the next process has the same
 * configuration and knows the same of its peers. A set that is refused changes
 * neither the device nor the journal.
 */
#include "journal/journal.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "crypto/init.h"
#include "device/snapshot.h"
#include "journal/layout.h"
#include "journal_world.h"
#include "tests/lib/lack.h"

#define KEY_A "a0e1f2031425364758697a8b9cadbecfd0e1f203142536475869708192a3b4c5"
#define KEY_B "b0e1f2031425364758697a8b9cadbecfd0e1f203142536475869708192a3b4c5"
#define PRIVATE \
	"e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a"

enum {
	/* Peers and prefixes that random requests are about. */
	N_KEYS = 24,
	N_PREFIXES = 40,
	N_ROUNDS = 12,
	N_STEPS = 250,
	TEXT_CAP = 16384,
};

static uint64_t seed = 1;

static unsigned int draw(unsigned int n)
{
	/* Knuth's factor for a linear congruential generator. */
	seed = seed * UINT64_C(6364136223846793005) +
	       UINT64_C(1442695040888963407);
	return (unsigned int)(seed >> 33) % n;
}

/* ------------------------------------------------------- random requests */

struct text {
	char bytes[TEXT_CAP];
	size_t len;
};

static void put(struct text *t, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void put(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(t->bytes + t->len, sizeof(t->bytes) - t->len, format,
		      args);
	va_end(args);
	assert_true(n >= 0 && (size_t)n < sizeof(t->bytes) - t->len);
	t->len += (size_t)n;
}

static void put_prefix(struct text *t)
{
	unsigned int i = draw(N_PREFIXES);
	const char *minus = draw(4) ? "" : "-";

	if (i % 2)
		put(t, "allowed_ip=%s10.%u.0.0/%u\n", minus, i, 8 + i % 17);
	else
		put(t, "allowed_ip=%sfd00:%x::/%u\n", minus, i, 16 + i);
}

static void put_peer(struct text *t)
{
	put(t, "public_key=%02x%.*s\n", draw(N_KEYS), 62, KEY_A);
	if (!draw(8))
		put(t, "remove=true\n");
	if (!draw(8))
		put(t, "update_only=true\n");
	if (!draw(4))
		put(t, "replace_allowed_ips=true\n");
	if (!draw(3))
		put(t, "preshared_key=%02x%.*s\n", draw(256), 62, KEY_B);
	if (!draw(9))
		put(t, "preshared_key=%064d\n", 0);
	if (!draw(2))
		put(t, "endpoint=192.0.2.%u:%u\n", draw(256), 1 + draw(9999));
	if (!draw(3))
		put(t, "persistent_keepalive_interval=%u\n", draw(3) * 25);
	for (unsigned int n = draw(6); n; n--)
		put_prefix(t);
}

static void put_request(struct text *t)
{
	t->len = 0;
	put(t, "set=1\n");
	if (!draw(6))
		put(t, "private_key=%02x%.*s\n", draw(3) * 8, 62, PRIVATE);
	if (!draw(6))
		put(t, "listen_port=%u\n", draw(3) ? draw(65536) : 0);
	if (!draw(6))
		put(t, "fwmark=%u\n", draw(3));
	if (!draw(20))
		put(t, "replace_peers=true\n");
	for (unsigned int n = draw(5); n; n--)
		put_peer(t);
	put(t, "\n");
}

/* A peer by its place in the list; NULL: there is none. */
static struct peer *draw_peer(struct device *device)
{
	struct list *item = device->peers.next;

	if (!device->n_peers)
		return NULL;
	for (unsigned int n = draw((unsigned int)device->n_peers); n; n--)
		item = item->next;
	return container_of(item, struct peer, in_device);
}

/* The peer moves, or packets pass, or a handshake. */
static void happen(struct journal_world *world)
{
	struct peer *peer = draw_peer(&world->fake.device);
	struct device_endpoint ep = { 0 };
	struct tai64n taken = { { 0 } }, sent = { { 0 } };

	if (!peer)
		return;
	switch (draw(3)) {
	case 0:
		snprintf((char *)ep.words, ENDPOINT_LEN, "198.51.100.%u:%u",
			 draw(256), 1 + draw(9999));
		device_learn_endpoint(peer, &ep);
		return;
	case 1:
		peer_count_sent(peer, draw(5000));
		peer_count_received(peer, draw(5000));
		break;
	default:
		atomic_store(&peer->last_handshake_ns, draw(1000000));
		taken.b[3] = (uint8_t)draw(256);
		sent.b[4] = (uint8_t)draw(256);
		noise_handshake_restore_timestamps(&peer->handshake, &taken,
						   &sent);
	}
	device_note(peer);
}

/* The timestamps of all peers, added up so that each of them counts. */
static uint64_t sum_timestamps(struct device *device)
{
	struct list *item;
	uint64_t sum = 0;

	list_for_each(item, &device->peers) {
		struct peer *peer = container_of(item, struct peer, in_device);
		struct tai64n taken, sent;

		noise_handshake_get_timestamps(&peer->handshake, &taken, &sent);
		for (size_t i = 0; i < sizeof(taken.b); i++)
			sum = sum * 31 + taken.b[i] * 257U + sent.b[i];
	}
	return sum;
}

static void die_and_compare(struct journal_world *world)
{
	char *before = journal_world_print(world);
	uint64_t sum = sum_timestamps(&world->fake.device);
	struct restore restore;
	char *after;

	journal_world_die(world, &restore);
	assert_null(restore.why);
	assert_int_equal(restore.n_left_out, 0);
	after = journal_world_print(world);
	assert_string_equal(after, before);
	assert_int_equal(sum_timestamps(&world->fake.device), sum);
	free(before);
	free(after);
}

static void test_random_sets(void **state)
{
	struct journal_world world;
	unsigned int n_refused = 0, n_deaths = 0;
	struct text *t = malloc(sizeof(*t));

	(void)state;
	assert_non_null(t);
	for (int round = 0; round < N_ROUNDS; round++) {
		journal_world_init(&world, SECRET_PRIVATE);
		for (int step = 0; step < N_STEPS; step++) {
			put_request(t);
			world.fake.set_sockets_err = draw(10) ? 0 : -EADDRINUSE;
			n_refused += journal_world_set(&world, t->bytes) < 0;
			world.fake.set_sockets_err = 0;
			for (unsigned int n = draw(4); n; n--)
				happen(&world);
			if (!draw(40))
				assert_int_equal(journal_start(world.journal),
						 0);
			if (draw(25))
				continue;
			die_and_compare(&world);
			n_deaths++;
		}
		die_and_compare(&world);
		journal_world_deinit(&world);
	}
	print_message("# %u sets refused, %u deaths between sets\n", n_refused,
		      n_deaths);
	assert_true(n_refused && n_deaths);
	free(t);
}

/* ----------------------------------------------------- another memory */

/* Fill the memory until one more set needs another one. */
static void fill_up(struct journal_world *world, const char *text)
{
	unsigned int n = world->n_keeps;

	while (world->n_keeps == n)
		assert_int_equal(journal_world_set(world, text), 0);
	/* The set that has made the memory is in it. Now up to its end. */
	for (;;) {
		struct journal_info info;

		world->keep_err = -EIO;
		if (journal_world_set(world, text) < 0)
			break;
		journal_get_info(world->journal, &info);
		assert_true(info.len < 1 << 20);
	}
	world->keep_err = 0;
}

static const char *const one_peer =
	"set=1\npublic_key=" KEY_A "\nendpoint=192.0.2.1:1\n"
	"allowed_ip=10.0.0.0/8\n\n";
static const char *const another =
	"set=1\nlisten_port=7\npublic_key=" KEY_B "\nallowed_ip=10.0.0.0/8\n"
	"allowed_ip=10.1.0.0/16\nallowed_ip=10.2.0.0/16\n"
	"allowed_ip=10.3.0.0/16\nallowed_ip=10.4.0.0/16\n"
	"allowed_ip=10.5.0.0/16\n\n";

static void assert_restores(int kept, const char *want)
{
	struct device_fake fake;
	struct restore restore;
	char *text;

	device_fake_init(&fake);
	assert_int_equal(journal_world_restore(kept, &fake, &restore), 0);
	assert_null(restore.why);
	text = device_fake_print(&fake, 4096);
	assert_string_equal(text, want);
	free(text);
	device_fake_deinit(&fake);
}

/* The holder does not take the memory, or an allocation fails: the set is refused, and
 * the old memory goes on. */
static void test_memory_refused(void **state)
{
	struct journal_world world;
	char *before, *after;
	int kept, err;
	long n = 0;

	(void)state;
	journal_world_init(&world, SECRET_PRIVATE);
	fill_up(&world, one_peer);
	before = journal_world_print(&world);
	kept = world.kept;
	world.keep_err = -EPIPE;
	assert_int_equal(journal_world_set(&world, another), -EPIPE);
	after = journal_world_print(&world);
	assert_string_equal(after, before);
	free(after);
	assert_restores(world.kept, before);
	world.keep_err = 0;
	do {
		struct uapi_request request = device_fake_parse(another);

		lack_left = ++n;
		err = journal_apply(world.journal, request.config, 1);
		lack_left = -1;
		config_free(request.config);
		if (err) {
			assert_int_equal(err, -ENOMEM);
			after = journal_world_print(&world);
			assert_string_equal(after, before);
			free(after);
			assert_restores(world.kept, before);
		}
	} while (err);
	(void)kept;
	print_message("# failed in %ld places\n", n - 1);
	assert_true(n > 4);
	free(before);
	before = journal_world_print(&world);
	assert_restores(world.kept, before);
	free(before);
	journal_world_deinit(&world);
}

/* Many sets need no more memory than the configuration they lead to. */
static void test_size_stays(void **state)
{
	struct journal_world world;
	struct journal_info info;
	size_t first;

	(void)state;
	journal_world_init(&world, SECRET_PRIVATE);
	journal_get_info(world.journal, &info);
	first = info.len;
	assert_true(first <= 64 * 1024);
	for (int i = 0; i < 5000; i++)
		assert_int_equal(
			journal_world_set(&world, i % 2 ? one_peer : another),
			0);
	journal_get_info(world.journal, &info);
	print_message("# %zu bytes at first, %zu after 5000 sets, %u made\n",
		      first, info.len, info.n_made);
	assert_true(info.len <= 2 * first);
	assert_true(info.n_made > 2);
	journal_world_deinit(&world);
}

/* More peers than slots, in one set and in many; and back to few. */
static void test_many_peers(void **state)
{
	struct text *t = malloc(sizeof(*t) * 8);
	struct journal_world world;
	struct journal_info info;

	(void)state;
	assert_non_null(t);
	journal_world_init(&world, SECRET_PRIVATE);
	t->len = 0;
	put(t, "set=1\n");
	for (unsigned int i = 0; i < 150; i++)
		put(t, "public_key=%02x%.*s\n", i, 62, KEY_A);
	put(t, "\n");
	assert_int_equal(journal_world_set(&world, t->bytes), 0);
	die_and_compare(&world);
	for (unsigned int i = 0; i < 100; i++) {
		t->len = 0;
		put(t, "set=1\npublic_key=%02x%.*s\n\n", 155 + i, 62, KEY_A);
		assert_int_equal(journal_world_set(&world, t->bytes), 0);
	}
	die_and_compare(&world);
	/* Replace all by the same: each needs a second slot meanwhile. */
	for (unsigned int i = 0; i < 10; i++) {
		t->len = 0;
		put(t, "set=1\nreplace_peers=true\n");
		for (unsigned int n = 0; n < 150; n++)
			put(t, "public_key=%02x%.*s\n", n, 62, KEY_A);
		put(t, "\n");
		assert_int_equal(journal_world_set(&world, t->bytes), 0);
	}
	die_and_compare(&world);
	assert_int_equal(
		journal_world_set(&world, "set=1\nreplace_peers=true\n\n"), 0);
	die_and_compare(&world);
	journal_get_info(world.journal, &info);
	assert_true(info.len <= 64 * 1024);
	free(t);
	journal_world_deinit(&world);
}

/* ---------------------------------------------------- what is not there */

/* The port that the system chose when the interface went up. */
static void test_chosen_port(void **state)
{
	struct journal_world world;

	(void)state;
	journal_world_init(&world, SECRET_PRIVATE);
	assert_int_equal(journal_world_set(&world, one_peer), 0);
	device_note_port(&world.fake.device, 43210);
	die_and_compare(&world);
	assert_int_equal(world.fake.device.listen_port, 43210);
	assert_int_equal(journal_world_set(&world, another), 0);
	die_and_compare(&world);
	assert_int_equal(world.fake.device.listen_port, 7);
	journal_world_deinit(&world);
}

/* A configured endpoint is newer than the one learnt before it. */
static void test_endpoint_set_after_roaming(void **state)
{
	struct device_endpoint ep = { 0 };
	struct journal_world world;
	char *text;

	(void)state;
	journal_world_init(&world, SECRET_PRIVATE);
	assert_int_equal(journal_world_set(&world, one_peer), 0);
	memcpy(ep.words, "roamed:1", 8);
	device_learn_endpoint(container_of(world.fake.device.peers.next,
					   struct peer, in_device),
			      &ep);
	die_and_compare(&world);
	text = journal_world_print(&world);
	assert_non_null(strstr(text, "endpoint=roamed:1\n"));
	free(text);
	assert_int_equal(journal_world_set(&world, one_peer), 0);
	die_and_compare(&world);
	text = journal_world_print(&world);
	assert_non_null(strstr(text, "endpoint=192.0.2.1:1\n"));
	free(text);
	journal_world_deinit(&world);
}

static bool refuse_endpoint(const struct device_endpoint *ep)
{
	(void)ep;
	return false;
}

/* Damage: what was before it counts. */
static void test_damaged(void **state)
{
	struct journal_world world;
	struct device_fake fake;
	struct restore restore;
	struct layout_head *head;
	uint8_t *bytes;
	char *first;

	(void)state;
	journal_world_init(&world, SECRET_PRIVATE);
	assert_int_equal(journal_world_set(&world, one_peer), 0);
	first = journal_world_print(&world);
	assert_int_equal(journal_world_set(&world, another), 0);
	bytes = mmap(NULL, LAYOUT_HEAD_LEN * 16, PROT_READ | PROT_WRITE,
		     MAP_SHARED, world.kept, 0);
	assert_ptr_not_equal(bytes, MAP_FAILED);
	head = (void *)bytes;
	/* The last byte of the second record, which is the last. */
	size_t at = (size_t)head->records_off;

	for (int i = 0; i < 2; i++) {
		const struct layout_record *record = (void *)(bytes + at);

		at += layout_record_len((size_t)record->len);
	}
	bytes[at - LAYOUT_ALIGN] ^= 0x10;
	device_fake_init(&fake);
	assert_int_equal(journal_world_restore(world.kept, &fake, &restore), 0);
	assert_string_equal(restore.why, "a record is damaged");
	assert_int_equal(restore.n_records, 1);
	char *text = device_fake_print(&fake, 4096);

	assert_string_equal(text, first);
	free(text);
	device_fake_deinit(&fake);
	/* An endpoint that the owner of the sockets would not have made. */
	device_fake_init(&fake);
	restore = (struct restore){ .device = &fake.device,
				    .is_endpoint = refuse_endpoint,
				    .now = 1 };
	assert_int_equal(restore_run(&restore, dup(world.kept)), 0);
	assert_string_equal(restore.why,
			    "a record is no change of a configuration");
	assert_int_equal(restore.n_records, 0);
	assert_int_equal(fake.device.n_peers, 0);
	device_fake_deinit(&fake);
	/* No journal at all. */
	head->magic ^= 1;
	device_fake_init(&fake);
	assert_int_equal(journal_world_restore(world.kept, &fake, &restore), 0);
	assert_string_equal(restore.why, "it was not finished, or is none");
	device_fake_deinit(&fake);
	munmap(bytes, LAYOUT_HEAD_LEN * 16);
	free(first);
	journal_world_deinit(&world);
}

/* A record that the device does not take, such as one with a peer too many. */
static void test_refused_record(void **state)
{
	struct journal_world world;
	struct device_fake fake;
	struct restore restore;

	(void)state;
	journal_world_init(&world, SECRET_PRIVATE);
	assert_int_equal(journal_world_set(&world, one_peer), 0);
	assert_int_equal(journal_world_set(&world, "set=1\nfwmark=5\n\n"), 0);
	device_fake_init(&fake);
	fake.set_sockets_err = -ENOSPC;
	assert_int_equal(journal_world_restore(world.kept, &fake, &restore), 0);
	assert_string_equal(restore.why, "a record cannot be applied");
	assert_int_equal(restore.n_records, 1);
	assert_int_equal(fake.device.n_peers, 1);
	assert_int_equal(fake.device.fwmark, 0);
	device_fake_deinit(&fake);
	/* The next process gets as far. */
	device_fake_init(&fake);
	assert_int_equal(journal_world_restore(world.kept, &fake, &restore), 0);
	assert_null(restore.why);
	assert_int_equal(restore.n_left_out, 0);
	assert_int_equal(fake.device.fwmark, 5);
	device_fake_deinit(&fake);
	journal_world_deinit(&world);
}

/* -------------------------------------------------- death while restoring */

static struct device_ops dying_ops;

static int die_of_port(void *arg, const struct device_sockets *want,
		       uint16_t *port)
{
	(void)arg;
	if (want->port == 666)
		_exit(3);
	*port = want->port;
	return 0;
}

static bool die_of_endpoint(const struct device_endpoint *ep)
{
	if (!memcmp(ep->words, "deadly", 6))
		_exit(3);
	return true;
}

/* A process restores, and must die. */
static void restore_and_die(int kept)
{
	struct restore restore = { .is_endpoint = die_of_endpoint, .now = 1 };
	struct device_fake fake;
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		device_fake_init(&fake);
		dying_ops = *fake.device.ops;
		dying_ops.set_sockets = die_of_port;
		fake.device.ops = &dying_ops;
		restore.device = &fake.device;
		restore_run(&restore, dup(kept));
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 3);
}

static void test_deadly_record(void **state)
{
	struct journal_world world;
	struct device_fake fake;
	struct restore restore;

	(void)state;
	journal_world_init(&world, SECRET_PRIVATE);
	assert_int_equal(journal_world_set(&world, one_peer), 0);
	assert_int_equal(
		journal_world_set(&world,
				  "set=1\nlisten_port=666\npublic_key=" KEY_B
				  "\n\n"),
		0);
	assert_int_equal(journal_world_set(&world, "set=1\nfwmark=5\n\n"), 0);
	restore_and_die(world.kept);
	/* Once, and again: the record stays left out. */
	for (int i = 0; i < 2; i++) {
		device_fake_init(&fake);
		assert_int_equal(
			journal_world_restore(world.kept, &fake, &restore), 0);
		assert_null(restore.why);
		assert_int_equal(restore.n_left_out, 1);
		assert_int_equal(fake.device.n_peers, 1);
		assert_int_equal(fake.device.fwmark, 5);
		device_fake_deinit(&fake);
	}
	journal_world_deinit(&world);
}

/* The endpoint of a peer kills. Its timestamps are restored all the same. */
static void test_deadly_state(void **state)
{
	struct tai64n taken = { { 9 } }, sent = { { 8 } };
	struct device_endpoint ep = { 0 };
	struct journal_world world;
	struct device_fake fake;
	struct restore restore;
	struct peer *peer;
	char *text;

	(void)state;
	journal_world_init(&world, SECRET_PRIVATE);
	assert_int_equal(journal_world_set(&world, one_peer), 0);
	peer = container_of(world.fake.device.peers.next, struct peer,
			    in_device);
	noise_handshake_restore_timestamps(&peer->handshake, &taken, &sent);
	memcpy(ep.words, "deadly:1", 8);
	device_learn_endpoint(peer, &ep);
	restore_and_die(world.kept);
	device_fake_init(&fake);
	assert_int_equal(journal_world_restore(world.kept, &fake, &restore), 0);
	assert_int_equal(restore.n_peers, 0);
	peer = container_of(fake.device.peers.next, struct peer, in_device);
	memset(&taken, 0, sizeof(taken));
	noise_handshake_get_timestamps(&peer->handshake, &taken, &sent);
	assert_int_equal(taken.b[0], 9);
	assert_int_equal(sent.b[0], 8);
	text = device_fake_print(&fake, 4096);
	assert_non_null(strstr(text, "endpoint=192.0.2.1:1\n"));
	free(text);
	device_fake_deinit(&fake);
	journal_world_deinit(&world);
}

/* ----------------------------------------------------------- snapshots */

/* No piece is longer than the header says. */
static void test_length_of_pieces(void **state)
{
	struct device_fake fake;
	struct config *config;
	size_t len;

	(void)state;
	device_fake_init(&fake);
	assert_int_equal(
		device_fake_set(&fake,
				"set=1\nprivate_key=" PRIVATE
				"\nlisten_port=1\nfwmark=2\npublic_key=" KEY_A
				"\npreshared_key=" KEY_B "\nendpoint=a:1\n"
				"persistent_keepalive_interval=5\n\n"),
		0);
	config = config_new();
	assert_int_equal(snapshot_add_device(config, &fake.device), 0);
	len = config_get_len(config);
	print_message("# device: %zu bytes\n", len);
	assert_true(len <= SNAPSHOT_PIECE_LEN);
	assert_int_equal(
		snapshot_add_peer(config, container_of(fake.device.peers.next,
						       struct peer, in_device)),
		0);
	print_message("# peer: %zu bytes\n", config_get_len(config) - len);
	assert_true(config_get_len(config) - len <= SNAPSHOT_PIECE_LEN);
	config_free(config);
	device_fake_deinit(&fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_sets),
		cmocka_unit_test(test_memory_refused),
		cmocka_unit_test(test_size_stays),
		cmocka_unit_test(test_many_peers),
		cmocka_unit_test(test_chosen_port),
		cmocka_unit_test(test_endpoint_set_after_roaming),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_refused_record),
		cmocka_unit_test(test_deadly_record),
		cmocka_unit_test(test_deadly_state),
		cmocka_unit_test(test_length_of_pieces),
	};
	const char *text = getenv("TEST_SEED");

	if (text)
		seed = strtoull(text, NULL, 0);
	print_message("# TEST_SEED=%llu\n", (unsigned long long)seed);
	if (crypto_init() < 0)
		return 1;
	rcu_register();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
