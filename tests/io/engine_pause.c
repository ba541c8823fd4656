/* SPDX-License-Identifier: MIT */
/*
 * Two engines in one process, with a tunnel between them over loopback, are paused and
 * resumed at random under traffic in both directions. The TUN of each is a pair of
 * sockets. Each packet comes out once and in order, and none is counted as dropped. The
 * process keeps to one CPU: else loopback itself would change the order.
 *
 * Further tests: what an engine notes during a pause, its state under traffic, how one
 * begins with a pause and adopts sockets, and how one abandons them.
 */
#include <pthread.h>
#include <sched.h>

#include "base/log.h"
#include "base/rcu.h"
#include "crypto/init.h"
#include "engine/endpoint.h"
#include "engine_pair.h"
#include "handover/state.h"
#include "tests/lib/sanitized.h"
#include "tests/lib/require.h"

enum {
#ifdef IS_SANITIZED
	PAUSES = 1000,
#else
	PAUSES = 10000,
#endif
	/* States that are written under traffic. A choice. */
	STATES = 100,
	/* Packets of one direction that are on their way at most: no queue is full. */
	WINDOW = 64,
	PACKET_LEN = 60,
	NUMBER_OFF = 24,
};

static _Atomic bool is_ended;
static struct tun *const no_tuns[2];

/* ------------------------------------------------------------- the traffic */

static bool send_packet(struct side *s)
{
	uint8_t packet[PACKET_LEN] = {
		0x45, [3] = PACKET_LEN, [9] = 59, [12] = 10, [16] = 10
	};
	uint32_t number = atomic_load(&s->n_sent);

	memcpy(packet + NUMBER_OFF, &number, sizeof(number));
	if (send(s->outside, packet, sizeof(packet), 0) != sizeof(packet))
		return false;
	atomic_store(&s->n_sent, number + 1);
	return true;
}

static bool get_packet(struct side *s)
{
	uint8_t packet[PACKET_LEN + 1];
	ssize_t n = recv(s->outside, packet, sizeof(packet), 0);
	uint32_t number, next = atomic_load(&s->n_got);

	if (n < 0)
		return false;
	if (n != PACKET_LEN)
		fprintf(stderr, "a packet of %zd bytes; ICMP %u %u\n", n,
			packet[20], packet[21]);
	REQUIRE(n == PACKET_LEN);
	memcpy(&number, packet + NUMBER_OFF, sizeof(number));
	if (number != next)
		fprintf(stderr, "packet %u came in the place of %u\n", number,
			next);
	REQUIRE(number == next);
	atomic_store(&s->n_got, next + 1);
	return true;
}

/* Has all come out that the other side has sent? */
static bool has_all(struct side *s, struct side *other)
{
	return atomic_load(&s->n_got) == atomic_load(&other->n_sent);
}

/* Send in both directions, as far as the window allows, and take what comes out. */
static void *move_packets(void *arg)
{
	bool has_moved = true;

	(void)arg;
	while (!atomic_load(&is_ended) || !has_all(&sides[0], &sides[1]) ||
	       !has_all(&sides[1], &sides[0])) {
		if (!has_moved)
			sched_yield();
		has_moved = false;
		for (int i = 0; i < 2; i++) {
			struct side *from = &sides[i], *to = &sides[!i];

			if (!atomic_load(&is_ended) &&
			    atomic_load(&from->n_sent) -
					    atomic_load(&to->n_got) <
				    WINDOW)
				has_moved |= send_packet(from);
			has_moved |= get_packet(to);
		}
	}
	return NULL;
}

/* Run the loop until a first packet has come out on both sides. */
static void await_sessions(void)
{
	uint64_t end = now_monotonic() + PATIENCE_S * NSEC_PER_SEC;

	while ((!atomic_load(&sides[0].n_got) ||
		!atomic_load(&sides[1].n_got)) &&
	       now_monotonic() < end)
		run_loop(NSEC_PER_MSEC);
	assert_true(atomic_load(&sides[0].n_got) > 0);
	assert_true(atomic_load(&sides[1].n_got) > 0);
}

/* Pause an engine, look at it, and resume it. Return: how long the pause took to begin,
 * in ns. */
static uint64_t pause_one(struct side *s, struct random *r)
{
	uint64_t start = now_monotonic(), taken;
	uint64_t before, read;

	assert_int_equal(engine_pause(s->engine, PATIENCE_S * NSEC_PER_SEC), 0);
	taken = now_monotonic() - start;
	if (random_below(r, 8) == 0) {
		before = count(s, "udp_") + count(s, "tun_");
		nap(random_below(r, 200000));
		read = count(s, "udp_") + count(s, "tun_");
		assert_int_equal(read - before, 0);
		assert_null(engine_find_stalled(s->engine));
	}
	engine_resume(s->engine);
	return taken;
}

static void pause_often(unsigned int n_workers, bool is_eager,
			unsigned int n_pauses)
{
	uint64_t *times = calloc(n_pauses, sizeof(*times));
	pthread_t mover;
	struct random r;

	assert_non_null(times);
	random_init(&r, 0x5eed0078);
	atomic_store(&is_ended, false);
	open_tunnel(no_tuns, n_workers, is_eager);
	assert_int_equal(pthread_create(&mover, NULL, move_packets, NULL), 0);
	await_sessions();
	for (unsigned int i = 0; i < n_pauses; i++) {
		times[i] = pause_one(&sides[random_below(&r, 2)], &r);
		if (i % 50 == 0)
			run_loop(NSEC_PER_MSEC);
		else
			nap(random_below(&r, 100000));
	}
	atomic_store(&is_ended, true);
	/* Packets that are lost would be waited for without end. */
	for (int ms = 0; ms < PATIENCE_S * 1000; ms++) {
		if (has_all(&sides[0], &sides[1]) &&
		    has_all(&sides[1], &sides[0]))
			break;
		nap(NSEC_PER_MSEC);
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(atomic_load(&sides[i].n_got),
				 atomic_load(&sides[!i].n_sent));
	pthread_join(mover, NULL);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(count(&sides[i], "inbound_dropped"), 0);
		assert_int_equal(count(&sides[i], "outbound_dropped"), 0);
	}
	print_message("# %u and %u packets\n", atomic_load(&sides[0].n_sent),
		      atomic_load(&sides[1].n_sent));
	print_pauses(times, n_pauses);
	close_tunnel();
	free(times);
}

static void one_thread(void **state)
{
	(void)state;
	pause_often(1, false, PAUSES);
}

static void four_threads(void **state)
{
	(void)state;
	pause_often(4, false, PAUSES);
}

/* Threads that never sleep share one CPU here, so a pause takes longer. */
static void eager_threads(void **state)
{
	(void)state;
	pause_often(4, true, PAUSES / 10);
}

/* ----------------------------------------------------------- single things */

static bool has_sockets(const struct side *s)
{
	struct engine_state state;

	engine_get_state(s->engine, &state);
	return state.has_sockets;
}

/* What happens to the interface during a pause has its effect after it. */
static void link_during_a_pause(void **state)
{
	struct side *s = &sides[0];

	(void)state;
	open_side(s, NULL, 2, false, false);
	for (int turn = 0; turn < 3; turn++) {
		assert_int_equal(engine_pause(s->engine, NSEC_PER_SEC), 0);
		tell_link(s, LINK_UP);
		run_loop(NSEC_PER_MSEC);
		assert_false(has_sockets(s));
		engine_resume(s->engine);
		assert_true(has_sockets(s));
		assert_int_equal(engine_pause(s->engine, NSEC_PER_SEC), 0);
		tell_link(s, LINK_DOWN);
		assert_true(has_sockets(s));
		engine_resume(s->engine);
		assert_false(has_sockets(s));
	}
	/* Up, and down again: it is down. */
	assert_int_equal(engine_pause(s->engine, NSEC_PER_SEC), 0);
	tell_link(s, LINK_UP);
	tell_link(s, LINK_DOWN);
	engine_resume(s->engine);
	assert_false(has_sockets(s));
	/* Twice is as once. */
	assert_int_equal(engine_pause(s->engine, NSEC_PER_SEC), 0);
	assert_int_equal(engine_pause(s->engine, NSEC_PER_SEC), 0);
	engine_resume(s->engine);
	engine_resume(s->engine);
	tell_link(s, LINK_UP);
	assert_true(has_sockets(s));
	close_side(s);
}

static bool has_poked_peers(struct side *s)
{
	return !list_is_empty(&engine_get_device(s->engine)->poked);
}

/* The timers rest, and what they are asked to look at waits. */
static void timers_during_a_pause(void **state)
{
	(void)state;
	open_tunnel(no_tuns, 1, false);
	run_loop(5 * NSEC_PER_MSEC);
	for (int i = 0; i < 3; i++) {
		struct peer *peer =
			device_lookup_peer(engine_get_device(sides[0].engine),
					   sides[1].public_key);

		assert_false(has_poked_peers(&sides[0]));
		assert_int_equal(engine_pause(sides[0].engine, NSEC_PER_SEC),
				 0);
		device_poke_peer(peer);
		run_loop(5 * NSEC_PER_MSEC);
		assert_true(has_poked_peers(&sides[0]));
		engine_resume(sides[0].engine);
		run_loop(5 * NSEC_PER_MSEC);
	}
	assert_false(has_poked_peers(&sides[0]));
	close_tunnel();
}

static bool has_session(struct side *s, const struct side *other)
{
	struct peer *peer = device_lookup_peer(engine_get_device(s->engine),
					       other->public_key);

	assert_non_null(peer);
	return peer_has_session(peer, now_boottime());
}

/* A machine that is resumed from a snapshot during a pause ends its sessions before it
 * sends again. */
static void renewal_during_a_pause(void **state)
{
	pthread_t mover;

	(void)state;
	atomic_store(&is_ended, false);
	open_tunnel(no_tuns, 1, false);
	assert_int_equal(pthread_create(&mover, NULL, move_packets, NULL), 0);
	await_sessions();
	atomic_store(&is_ended, true);
	pthread_join(mover, NULL);
	assert_true(has_session(&sides[0], &sides[1]));
	assert_int_equal(engine_pause(sides[0].engine, NSEC_PER_SEC), 0);
	sides[0].news->renew(sides[0].news_arg);
	assert_true(has_session(&sides[0], &sides[1]));
	/* The loop does not run, so no handshake begins. */
	engine_resume(sides[0].engine);
	assert_false(has_session(&sides[0], &sides[1]));
	close_tunnel();
}

/* The early state is written while packets and handshakes go on. What has changed by the
 * time of the pause is in the last state. */
static void states_under_traffic(void **state)
{
	struct device *device;
	struct state seen = { .is_endpoint = endpoint_is_sound };
	struct store early, last;
	pthread_t mover;
	uint32_t n_sent;
	uint64_t end;

	(void)state;
	atomic_store(&is_ended, false);
	open_tunnel(no_tuns, 1, false);
	device = engine_get_device(sides[0].engine);
	assert_int_equal(pthread_create(&mover, NULL, move_packets, NULL), 0);
	await_sessions();
	for (int i = 0; i < STATES; i++) {
		assert_int_equal(store_new(&early, state_get_len(device, 0),
					   SECRET_PRIVATE),
				 0);
		assert_int_equal(store_new(&last, early.len, SECRET_PRIVATE),
				 0);
		assert_int_equal(
			state_write_early(&early, device, now_boottime()), 0);
		assert_true(state_check(&seen, early.bytes, early.len));
		assert_int_equal(seen.n_peers, 1);
		/* A packet that is sent from now on passes before the pause. */
		n_sent = atomic_load(&sides[0].n_sent);
		end = now_monotonic() + PATIENCE_S * NSEC_PER_SEC;
		while (atomic_load(&sides[1].n_got) <= n_sent &&
		       now_monotonic() < end)
			run_loop(NSEC_PER_MSEC);
		assert_int_equal(engine_pause(sides[0].engine,
					      PATIENCE_S * NSEC_PER_SEC),
				 0);
		assert_int_equal(state_write(&last, device, &early, NULL, 0,
					     now_boottime()),
				 0);
		engine_resume(sides[0].engine);
		assert_true(state_check(&seen, last.bytes, last.len));
		assert_int_equal(seen.n_peers, 1);
		assert_int_equal(seen.n_sessions, 1);
		store_close(&early);
		store_close(&last);
	}
	atomic_store(&is_ended, true);
	pthread_join(mover, NULL);
	close_tunnel();
}

/* An engine that begins with a pause adopts sockets, and reads them when it goes on. */
static void adoption(void **state)
{
	struct side *s = &sides[0];
	uint64_t start = now_monotonic();

	(void)state;
	open_side(s, NULL, 2, true, true);
	send_packet(s);
	tell_link(s, LINK_UP);
	run_loop(5 * NSEC_PER_MSEC);
	assert_false(has_sockets(s));
	assert_null(engine_find_stalled(s->engine));
	assert_int_equal(engine_adopt(s->engine), 0);
	assert_true(has_sockets(s));
	assert_int_equal(s->n_opened, 1);
	assert_true(engine_get_device(s->engine)->listen_port > 0);
	assert_false(atomic_load(&engine_get_device(s->engine)->is_up));
	run_loop(20 * NSEC_PER_MSEC);
	assert_int_equal(count(s, "outbound_dropped_no_peer"), 0);
	assert_int_equal(count(s, "udp_receive_calls"), 0);
	engine_resume(s->engine);
	/* The news that the interface is up open nothing more. */
	assert_int_equal(s->n_opened, 1);
	while (!count(s, "outbound_dropped_no_peer") &&
	       now_monotonic() - start < PATIENCE_S * NSEC_PER_SEC)
		nap(NSEC_PER_MSEC);
	assert_int_equal(count(s, "outbound_dropped_no_peer"), 1);
	close_side(s);
	assert_int_equal(s->n_closed, 1);
}

/* What an engine abandons is not closed by its rights: another process has it. */
static void abandonment(void **state)
{
	struct side *s = &sides[0];

	(void)state;
	open_side(s, NULL, 2, false, false);
	tell_link(s, LINK_UP);
	assert_true(has_sockets(s));
	assert_int_equal(engine_pause(s->engine, NSEC_PER_SEC), 0);
	engine_abandon(s->engine);
	send_packet(s);
	engine_close_port(s->engine);
	assert_true(atomic_load(&engine_get_device(s->engine)->is_up));
	close_side(s);
	assert_int_equal(s->n_opened, 1);
	assert_int_equal(s->n_closed, 0);
}

/* Numbers go on where another engine has stopped. */
static void counters_go_on(void **state)
{
	struct side *s = &sides[0];

	(void)state;
	open_side(s, NULL, 1, false, true);
	assert_int_equal(count(s, ""), 0);
	engine_add_counter(s->engine, "outbound_dropped_no_peer", 41);
	engine_add_counter(s->engine, "udp_sent_trains_64", 7);
	engine_add_counter(s->engine, "udp_sent_trains_64", 1);
	engine_add_counter(s->engine, "a_name_of_another_release", 1000);
	assert_int_equal(count(s, "outbound_dropped_no_peer"), 41);
	assert_int_equal(count(s, "udp_sent_trains_64"), 8);
	assert_int_equal(count(s, ""), 49);
	send_packet(s);
	tell_link(s, LINK_UP);
	engine_resume(s->engine);
	for (int ms = 0; ms < PATIENCE_S * 1000 &&
			 count(s, "outbound_dropped_no_peer") == 41;
	     ms++)
		nap(NSEC_PER_MSEC);
	assert_int_equal(count(s, "outbound_dropped_no_peer"), 42);
	close_side(s);
}

static void keep_to_one_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)sched_getcpu(), &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		abort();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_thread),
		cmocka_unit_test(four_threads),
		cmocka_unit_test(eager_threads),
		cmocka_unit_test(link_during_a_pause),
		cmocka_unit_test(timers_during_a_pause),
		cmocka_unit_test(states_under_traffic),
		cmocka_unit_test(renewal_during_a_pause),
		cmocka_unit_test(adoption),
		cmocka_unit_test(abandonment),
		cmocka_unit_test(counters_go_on),
	};

	if (crypto_init() < 0 || loop_init(&loop) < 0)
		return EXIT_FAILURE;
	keep_to_one_cpu();
	rcu_register();
	log_init(LOG_SILENT, "test");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
