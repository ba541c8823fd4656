/* SPDX-License-Identifier: MIT */
/*
 * The cell with a peer's endpoint, and updates that are derived from it. If the
 * peer roams during such an update, the new endpoint stays, even with other
 * threads.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "crypto/init.h"
#include "device/config.h"
#include "device/session.h"
#include "tests/lib/quiet_ops.h"

enum {
	/* Words of the endpoints here: address and source. */
	WHERE = 0,
	SOURCE = 3,
	/* A choice, not measured. */
	N_ROAMS = 200000,
};

static struct device_endpoint make(uint64_t where, uint64_t source)
{
	struct device_endpoint ep = { 0 };

	ep.words[WHERE] = where;
	ep.words[SOURCE] = source;
	return ep;
}

static struct device_endpoint marked(struct device_endpoint ep, uint64_t mark)
{
	ep.words[ENDPOINT_MARK] = mark;
	return ep;
}

static void check_cell(const struct endpoint_cell *cell,
		       struct device_endpoint want)
{
	struct device_endpoint got;

	endpoint_cell_get(cell, &got);
	assert_int_equal(got.words[WHERE], want.words[WHERE]);
	assert_int_equal(got.words[SOURCE], want.words[SOURCE]);
	assert_int_equal(got.words[ENDPOINT_MARK], want.words[ENDPOINT_MARK]);
}

static void test_replace(void **state)
{
	struct device_endpoint first = make(1, 10), next = make(1, 0);
	struct device_endpoint moved = make(2, 20);
	struct endpoint_cell cell;

	(void)state;
	endpoint_cell_init(&cell);
	assert_false(endpoint_cell_replace(&cell, &first, &next));
	check_cell(&cell, make(0, 0));
	endpoint_cell_set(&cell, &first);
	assert_true(endpoint_cell_replace(&cell, &first, &next));
	check_cell(&cell, next);
	endpoint_cell_set(&cell, &moved);
	assert_false(endpoint_cell_replace(&cell, &first, &next));
	check_cell(&cell, moved);
}

static void test_marks(void **state)
{
	struct device_endpoint first = make(1, 10), moved = make(1, 11);
	struct device_endpoint first_marked = marked(first, 7);
	struct device_endpoint old;
	struct endpoint_cell cell;

	(void)state;
	endpoint_cell_init(&cell);
	assert_true(endpoint_cell_learn(&cell, &first, &old));
	assert_int_equal(old.words[WHERE], 0);
	check_cell(&cell, first);
	/* The mark is not compared. */
	assert_true(endpoint_cell_replace(&cell, &first, &first_marked));
	check_cell(&cell, first_marked);
	assert_false(endpoint_cell_learn(&cell, &first, &old));
	check_cell(&cell, first_marked);
	assert_true(endpoint_cell_replace(&cell, &first, &first));
	check_cell(&cell, first);
	/* Another endpoint starts without a mark. */
	endpoint_cell_set(&cell, &first_marked);
	assert_true(endpoint_cell_learn(&cell, &moved, &old));
	assert_memory_equal(&old, &first_marked, sizeof(old));
	check_cell(&cell, moved);
	endpoint_cell_set(&cell, &first_marked);
	endpoint_cell_set(&cell, &first);
	check_cell(&cell, first);
}

/* ------------------------------------------------- a roam beside a timer */

static struct peer *roaming;
static struct device_endpoint roams_to;

/* A packet from another address arrives while the source is being cleared. */
static void forget_while_roaming(void *arg, struct device_endpoint *ep)
{
	struct device_endpoint old;

	(void)arg;
	ep->words[SOURCE] = 0;
	if (roaming)
		endpoint_cell_learn(&roaming->endpoint, &roams_to, &old);
}

static void op_random(void *arg, void *buf, size_t len)
{
	(void)arg;
	memset(buf, 1, len);
}

static const struct device_ops ops = {
	.random = op_random,
	.wake = quiet_wake,
	.forget_source = forget_while_roaming,
	.endpoint_learnt = quiet_wake,
	.send_initiation = quiet_send,
	.send_keepalive = quiet_send,
	.session_ready = quiet_session_ready,
	.set_sockets = quiet_set_sockets,
};

/*
 * Run the timers of a peer that does not answer. Return: the endpoint in its
 * cell.
 */
static struct device_endpoint forget_by_timer(bool roams)
{
	static const uint8_t key[32] = { 9, 1 };
	struct device_endpoint first = make(1, 10), got;
	struct config *config = config_new();
	uint64_t now = NSEC_PER_SEC;
	struct device device;

	assert_int_equal(device_init(&device, &ops, NULL), 0);
	device_set_up(&device, true, now);
	config_begin_peer(config, key);
	config_set_endpoint(config, &first);
	assert_int_equal(config_apply(config, &device, now), 0);
	config_free(config);

	struct peer *peer = device_lookup_peer(&device, key);

	roaming = roams ? peer : NULL;
	roams_to = make(2, 20);
	session_request(peer);
	for (int i = 0; i < 4; i++, now += 6 * NSEC_PER_SEC) {
		device_tick(&device, now);
		timers_note_handshake_sent(&peer->timers, false, now);
	}
	endpoint_cell_get(&peer->endpoint, &got);
	device_deinit(&device);
	return got;
}

static void test_roam_beside_a_timer(void **state)
{
	struct device_endpoint got = forget_by_timer(false);

	(void)state;
	assert_int_equal(got.words[WHERE], 1);
	assert_int_equal(got.words[SOURCE], 0);
	got = forget_by_timer(true);
	assert_int_equal(got.words[WHERE], 2);
	assert_int_equal(got.words[SOURCE], 20);
}

/* --------------------------------------------------- roams beside threads */

static struct endpoint_cell shared;
static _Atomic bool is_over;
static _Atomic uint64_t n_forgotten;

static void *forget_always(void *arg)
{
	struct device_endpoint was, next;

	while (!is_over) {
		endpoint_cell_get(&shared, &was);
		next = was;
		next.words[SOURCE] = 0;
		if (endpoint_cell_replace(&shared, &was, &next))
			n_forgotten++;
	}
	return arg;
}

/* After each roam the cell has the new address, whatever other threads do. */
static void test_roams_beside_threads(void **state)
{
	pthread_t threads[2];
	uint64_t n_lost = 0;

	(void)state;
	endpoint_cell_init(&shared);
	for (size_t i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, forget_always, NULL);
	for (uint64_t n = 1; n <= N_ROAMS || n_forgotten < 1000; n++) {
		struct device_endpoint ep = make(n, n), got;

		endpoint_cell_learn(&shared, &ep, &got);
		endpoint_cell_get(&shared, &got);
		n_lost += got.words[WHERE] != n;
	}
	is_over = true;
	for (size_t i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(n_lost, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_replace),
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_roam_beside_a_timer),
		cmocka_unit_test(test_roams_beside_threads),
	};

	if (crypto_init())
		return 77;
	rcu_register();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
