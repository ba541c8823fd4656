/* SPDX-License-Identifier: MIT */
/*
 * Two engines in one process, with a tunnel between them over loopback, are paused and
 * resumed at random under traffic in both directions. The TUN of each is a pair of
 * sockets. Each packet comes out once and in order, and none is counted as dropped. The
 * process keeps to one CPU: else loopback itself would change the order.
 *
 * Further tests: what an engine notes during a pause, how one begins with a pause and
 * adopts sockets, and how one abandons them.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/now.h"
#include "base/rcu.h"
#include "crypto/init.h"
#include "crypto/x25519.h"
#include "device/config.h"
#include "engine/endpoint.h"
#include "engine/engine.h"
#include "tests/lib/check.h"
#include "tests/lib/sanitized.h"

enum {
	/* Enough for a busy machine and a sanitizer. A choice, not measured. */
	PATIENCE_S = 60,
#ifdef IS_SANITIZED
	PAUSES = 1000,
#else
	PAUSES = 10000,
#endif
	/* Packets of one direction that are on their way at most: no queue is full. */
	WINDOW = 64,
	PACKET_LEN = 60,
	NUMBER_OFF = 24,
};

/**
 * struct side - an engine, and the other end of its TUN
 * @rights:	what the engine opens sockets by
 * @news:	of the engine: the test tells it news
 * @news_arg:	for @news
 * @tun:	its TUN
 * @outside:	the other end of it
 * @engine:	the engine
 * @n_opened:	sockets that were opened by @rights
 * @n_closed:	sockets that were closed by @rights
 * @public_key:	of the engine
 * @n_sent:	packets that the producer has given to the TUN
 * @n_got:	packets that have come out of the TUN
 */
struct side {
	struct rights rights;
	const struct rights_news *news;
	void *news_arg;
	struct tun tun;
	int outside;
	struct engine *engine;
	unsigned int n_opened;
	unsigned int n_closed;
	uint8_t public_key[X25519_LEN];
	_Atomic uint32_t n_sent;
	_Atomic uint32_t n_got;
};

static struct loop loop;
static struct side sides[2];
static _Atomic bool is_ended;

/* ------------------------------------------------------------- the rights */

static int op_start(void *arg, const struct rights_news *news, void *news_arg)
{
	struct side *s = arg;

	s->news = news;
	s->news_arg = news_arg;
	return 0;
}

static void op_stop(void *arg)
{
	(void)arg;
}

static int op_open(void *arg, const struct ug_options *opt,
		   struct ug_socket **out, struct ug_report *report)
{
	struct side *s = arg;
	int err = ug_open(out, opt, report);

	s->n_opened += err == 0;
	return err;
}

static void op_close(void *arg, struct ug_socket *sock)
{
	struct side *s = arg;

	s->n_closed++;
	ug_close(sock);
}

static int op_set_mark(void *arg, struct ug_socket *sock, uint32_t mark)
{
	(void)arg;
	return ug_set_mark(sock, mark);
}

static void op_ask(void *arg, uint32_t mark,
		   const struct rights_question *questions,
		   struct rights_answer *answers, unsigned int n)
{
	(void)arg;
	(void)mark;
	(void)questions;
	for (unsigned int i = 0; i < n; i++)
		answers[i] = (struct rights_answer){ .kind = RIGHTS_UNKNOWN };
}

static const struct rights_ops rights_ops = {
	.start = op_start,
	.stop = op_stop,
	.open = op_open,
	.close = op_close,
	.set_mark = op_set_mark,
	.ask = op_ask,
};

static void tell_link(struct side *s, enum link_event event)
{
	struct link_state state;

	link_state_init(&state, 1, "fake0");
	state.mtu = 1420;
	state.up = event == LINK_UP;
	s->news->state(s->news_arg, &state);
	s->news->link(s->news_arg, event);
}

/* ------------------------------------------------------------ the engines */

static void open_side(struct side *s, unsigned int n_workers, bool is_eager,
		      bool is_paused)
{
	struct engine_config config = {
		.tuns = &s->tun,
		.n_queues = 1,
		.loop = &loop,
		.aead = AEAD_BEST,
		.n_workers = n_workers,
		.helpers_awake = is_eager,
		.rights = &s->rights,
		.is_paused = is_paused,
	};
	int pair[2];

	memset(s, 0, sizeof(*s));
	s->rights = (struct rights){ .ops = &rights_ops, .arg = s };
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair),
		0);
	s->tun = (struct tun){ .sys = &tun_sys_linux, .fd = pair[0] };
	s->outside = pair[1];
	assert_int_equal(engine_new(&s->engine, &config), 0);
	assert_int_equal(engine_start(s->engine), 0);
}

static void close_side(struct side *s)
{
	engine_close_port(s->engine);
	engine_free(s->engine);
	close(s->outside);
}

static void set_key(struct side *s, uint8_t number)
{
	uint8_t key[X25519_LEN] = { [1] = number };

	x25519_clamp(key);
	x25519_public(s->public_key, key);
	device_set_private_key(engine_get_device(s->engine), key);
}

/* The peer has all addresses. */
static void add_peer(struct side *s, const struct side *other)
{
	struct ip_prefix all = { .family = IP_V4 };
	struct config *config = config_new();
	struct device_endpoint to;
	struct ug_endpoint ep;
	char text[UG_ENDPOINT_TEXT];

	snprintf(text, sizeof(text), "127.0.0.1:%u",
		 engine_get_device(other->engine)->listen_port);
	assert_int_equal(ug_endpoint_parse(&ep, text), 0);
	endpoint_to_device(&to, &ep);
	assert_non_null(config);
	assert_int_equal(config_begin_peer(config, other->public_key), 0);
	assert_int_equal(config_set_endpoint(config, &to), 0);
	assert_int_equal(config_add_allowedip(config, &all), 0);
	assert_int_equal(config_apply(config, engine_get_device(s->engine),
				      now_boottime()),
			 0);
	config_free(config);
}

static void open_tunnel(unsigned int n_workers, bool is_eager)
{
	for (uint8_t i = 0; i < 2; i++) {
		open_side(&sides[i], n_workers, is_eager, false);
		set_key(&sides[i], (uint8_t)(i + 1));
		tell_link(&sides[i], LINK_UP);
	}
	for (int i = 0; i < 2; i++)
		add_peer(&sides[i], &sides[!i]);
}

/* The second engine rests while the first one ends the thread "rcu" for both. */
static void close_tunnel(void)
{
	assert_int_equal(
		engine_pause(sides[1].engine, PATIENCE_S * NSEC_PER_SEC), 0);
	close_side(&sides[0]);
	close_side(&sides[1]);
}

static void stop_loop(struct loop_timer *timer)
{
	loop_stop(timer->arg, 0);
}

/* Let the loop handle what is ready. */
static void run_loop(uint64_t ns)
{
	struct loop_timer timer = { .ready = stop_loop, .arg = &loop };

	loop_set_timer(&loop, &timer, now_monotonic() + ns);
	assert_int_equal(loop_run(&loop), 0);
	loop.is_stopped = false;
}

/* Return: the sum of the numbers whose names begin with @prefix. */
struct sum {
	const char *prefix;
	uint64_t value;
};

static void add_up(void *arg, const char *name, uint64_t value)
{
	struct sum *sum = arg;

	if (strncmp(name, sum->prefix, strlen(sum->prefix)) == 0)
		sum->value += value;
}

static uint64_t count(const struct side *s, const char *prefix)
{
	struct sum sum = { .prefix = prefix };

	engine_each_counter(s->engine, add_up, &sum);
	return sum.value;
}

/* ------------------------------------------------------------- the traffic */

/* cmocka's assertions work in the main thread only. */
#define REQUIRE(x) require(x, #x, __LINE__)

static void require(bool is_true, const char *what, int line)
{
	if (is_true)
		return;
	fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, line, what);
	abort();
}

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

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void nap(uint64_t ns)
{
	const struct timespec pause = { .tv_nsec = (long)ns };

	nanosleep(&pause, NULL);
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
	open_tunnel(n_workers, is_eager);
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
	qsort(times, n_pauses, sizeof(*times), compare);
	print_message(
		"# %u and %u packets; a pause begins in: median %llu us, "
		"99th percentile %llu us, most %llu us\n",
		atomic_load(&sides[0].n_sent), atomic_load(&sides[1].n_sent),
		(unsigned long long)times[n_pauses / 2] / 1000,
		(unsigned long long)times[n_pauses - 1 - n_pauses / 100] / 1000,
		(unsigned long long)times[n_pauses - 1] / 1000);
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
	open_side(s, 2, false, false);
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
	open_tunnel(1, false);
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
	open_tunnel(1, false);
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

/* An engine that begins with a pause adopts sockets, and reads them when it goes on. */
static void adoption(void **state)
{
	struct side *s = &sides[0];
	uint64_t start = now_monotonic();

	(void)state;
	open_side(s, 2, true, true);
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
	open_side(s, 2, false, false);
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
	open_side(s, 1, false, true);
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
