/* SPDX-License-Identifier: MIT */
/*
 * ug_wake() with real threads. All threads that sleep return; no wake is lost, whenever
 * it comes; and nothing stays behind that would disturb later waits. The build with
 * ThreadSanitizer runs these tests, too.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/now.h"
#include "tests/io/talk.h"
#include "tests/lib/check.h"
#include "tests/lib/netns.h"
#include "udpgather/socket.h"

enum {
	SLEEPERS = 8,
	/* Times that all of them are woken, and wakes of each other test. Choices. */
	ROUNDS = 200,
	WAKES = 5000,
	/* A thread that has not come back by then was not woken. Choice. */
	PATIENCE_S = 30,
};

static struct ug_socket *sock;

static void open_socket(void)
{
	sock = opened(NULL);
}

static unsigned int sleepers(void)
{
	return (uint32_t)atomic_load(&sock->wake.word);
}

/* Nobody sleeps, and nothing is left in the eventfd. */
static void close_socket(void)
{
	int fd = atomic_load(&sock->wake.fd);
	uint64_t units;

	assert_int_equal(sleepers(), 0);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, &units, sizeof(units)), -1);
	assert_int_equal(errno, EAGAIN);
	ug_close(sock);
	/* The eventfd is closed, too. */
	assert_int_equal(read(fd, &units, sizeof(units)), -1);
	assert_int_equal(errno, EBADF);
}

/* Wait until a number has been reached. */
static void wait_for(unsigned int (*number)(void), unsigned int wanted,
		     const char *what)
{
	uint64_t end = now_monotonic() + PATIENCE_S * (uint64_t)NSEC_PER_SEC;

	while (number() != wanted) {
		if (now_monotonic() > end)
			fail_msg("%s: %u of %u", what, number(), wanted);
		sched_yield();
	}
}

/* -------------------------------------------------------- All threads wake */

struct sleeper {
	pthread_t thread;
	int family;
	bool in_trains;
	int why; /* what ended its last sleep */
};

static atomic_uint n_returned;
static atomic_bool stop;

static unsigned int returned(void)
{
	return atomic_load(&n_returned);
}

/* Sleep without end. Return: what ended it. */
static int sleep_once(const struct sleeper *s, struct ug_receiver *r)
{
	struct ug_received message = { 0 };
	struct ug_view view;

	if (s->in_trains)
		return ug_receive_trains(r, sock, s->family, &message,
					 sizeof(message), 1, -1);
	int n = ug_receive(r, sock, s->family, &view, 1, -1);

	return n ? n : ug_receiver_why(r);
}

static void *sleeper_main(void *arg)
{
	struct sleeper *s = arg;
	struct ug_receiver *r;

	s->why = ug_receiver_new(&r, 1);
	if (s->why < 0)
		return NULL;
	s->why = -ECANCELED;
	for (int i = 0; i < ROUNDS && s->why == -ECANCELED; i++) {
		s->why = sleep_once(s, r);
		atomic_fetch_add(&n_returned, 1);
	}
	ug_receiver_free(r);
	return NULL;
}

static void all_threads(void **state)
{
	static const int families[] = { AF_INET, AF_INET6, AF_UNSPEC };
	static struct sleeper all[SLEEPERS];

	(void)state;
	open_socket();
	atomic_store(&n_returned, 0);
	for (size_t i = 0; i < SLEEPERS; i++) {
		all[i].family = families[i % 3];
		all[i].in_trains = i % 2;
		assert_int_equal(pthread_create(&all[i].thread, NULL,
						sleeper_main, &all[i]),
				 0);
	}
	for (unsigned int i = 1; i <= ROUNDS; i++) {
		wait_for(sleepers, SLEEPERS, "threads that sleep");
		ug_wake(sock);
		wait_for(returned, i * SLEEPERS, "threads that were woken");
	}
	for (size_t i = 0; i < SLEEPERS; i++) {
		pthread_join(all[i].thread, NULL);
		assert_int_equal(all[i].why, -ECANCELED);
	}
	close_socket();
}

/* ------------------------------------------------------- No wake is lost */

static atomic_uint flag, n_seen;

static unsigned int seen(void)
{
	return atomic_load(&n_seen);
}

/* Look at the flag, and sleep while it has not changed. */
static void *looker_main(void *arg)
{
	struct ug_receiver *r;
	struct ug_view view;

	(void)arg;
	if (ug_receiver_new(&r, 1) < 0)
		return NULL;
	for (unsigned int last = 0; last < WAKES; last++) {
		while (atomic_load_explicit(&flag, memory_order_relaxed) ==
		       last)
			ug_receive(r, sock, AF_UNSPEC, &view, 1, -1);
		atomic_fetch_add(&n_seen, 1);
	}
	ug_receiver_free(r);
	return NULL;
}

static void none_is_lost(void **state)
{
	pthread_t threads[2];

	(void)state;
	open_socket();
	atomic_store(&flag, 0);
	atomic_store(&n_seen, 0);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, looker_main, NULL),
			0);
	for (unsigned int i = 1; i <= WAKES; i++) {
		atomic_store_explicit(&flag, i, memory_order_relaxed);
		ug_wake(sock);
		wait_for(seen, 2 * i, "threads that saw the flag");
	}
	for (size_t i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	close_socket();
}

/* --------------------------------------- Wakes, datagrams and time at once */

static atomic_uint n_received;

static void *busy_receiver_main(void *arg)
{
	int timeout_ms = *(const int *)arg;
	struct ug_receiver *r;
	struct ug_view got[16];

	if (ug_receiver_new(&r, 4) < 0)
		return NULL;
	while (!atomic_load(&stop)) {
		int n = ug_receive(r, sock, AF_UNSPEC, got, 16, timeout_ms);

		if (n > 0)
			atomic_fetch_add(&n_received, (unsigned int)n);
	}
	ug_receiver_free(r);
	return NULL;
}

static void *waker_main(void *arg)
{
	(void)arg;
	for (int i = 0; i < WAKES; i++) {
		ug_wake(sock);
		if (i % 8 == 0)
			sched_yield();
	}
	return NULL;
}

static void crowd(void **state)
{
	static int timeouts[] = { -1, 2, 1, 1000, -1 };
	pthread_t receivers[5], wakers[2];
	struct ug_socket *peer = opened(NULL);
	unsigned int n = 0;

	(void)state;
	open_socket();
	struct ug_endpoint to[2] = { at("127.0.0.1", ug_port(sock)),
				     at("[::1]", ug_port(sock)) };

	atomic_store(&stop, false);
	atomic_store(&n_received, 0);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(pthread_create(&receivers[i], NULL,
						busy_receiver_main,
						&timeouts[i]),
				 0);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(
			pthread_create(&wakers[i], NULL, waker_main, NULL), 0);
	for (; n < ROUNDS; n++)
		assert_int_equal(send_text(peer, &to[n % 2], "text", 1),
				 UG_SENT);
	for (size_t i = 0; i < 2; i++)
		pthread_join(wakers[i], NULL);
	atomic_store(&stop, true);
	ug_wake(sock);
	for (size_t i = 0; i < 5; i++)
		pthread_join(receivers[i], NULL);
	/* None was lost: the rest is still in the socket. */
	while (atomic_load(&n_received) < n) {
		assert_int_equal(ug_receive(rcv, sock, AF_UNSPEC, views, 1, 0),
				 1);
		n--;
	}
	assert_int_equal(atomic_load(&n_received), n);
	close_socket();
	ug_close(peer);
}

/* ---------------------------------------------------------------- Signals */

static void on_signal(int number)
{
	(void)number;
	ug_wake(sock);
}

static void *signaller_main(void *arg)
{
	const pthread_t *to = arg;

	for (int i = 0; i < ROUNDS; i++) {
		wait_for(sleepers, 1, "the thread sleeps");
		pthread_kill(*to, SIGUSR1);
		wait_for(returned, (unsigned int)i + 1, "it was woken");
	}
	return NULL;
}

/* A handler calls ug_wake(), just before the thread waits, or while it does. */
static void in_a_handler(void **state)
{
	struct sigaction action = { .sa_handler = on_signal }, old;
	pthread_t signaller, self = pthread_self();

	(void)state;
	open_socket();
	sigaction(SIGUSR1, &action, &old);
	for (int i = 0; i < ROUNDS; i++) {
		raise(SIGUSR1);
		assert_int_equal(ug_receive(rcv, sock, AF_UNSPEC, views, 1, -1),
				 0);
		assert_int_equal(ug_receiver_why(rcv), -ECANCELED);
	}
	atomic_store(&n_returned, 0);
	assert_int_equal(
		pthread_create(&signaller, NULL, signaller_main, &self), 0);
	for (int i = 0; i < ROUNDS; i++) {
		assert_int_equal(ug_receive(rcv, sock, AF_UNSPEC, views, 1, -1),
				 0);
		/* Both have happened. */
		if (ug_receiver_why(rcv) != -EINTR)
			assert_int_equal(ug_receiver_why(rcv), -ECANCELED);
		atomic_fetch_add(&n_returned, 1);
	}
	pthread_join(signaller, NULL);
	sigaction(SIGUSR1, &old, NULL);
	close_socket();
}

/* ------------------------------------------------------- Wakes and time */

/* A program that uses no timeouts gets no eventfd; wakes do not shorten other waits. */
static void without_a_wait(void **state)
{
	uint64_t start;

	(void)state;
	open_socket();
	ug_wake(sock);
	assert_int_equal(ug_receive(rcv, sock, AF_UNSPEC, views, 1, 0), 0);
	assert_int_equal(ug_receiver_why(rcv), -EAGAIN);
	assert_int_equal(atomic_load(&sock->wake.fd), -1);
	ug_close(sock);
	open_socket();
	start = now_monotonic();
	assert_int_equal(ug_receive(rcv, sock, AF_UNSPEC, views, 1, 30), 0);
	assert_int_equal(ug_receiver_why(rcv), -ETIMEDOUT);
	assert_true(now_monotonic() - start >= 30 * (uint64_t)NSEC_PER_MSEC);
	close_socket();
}

/* --------------------------------------------------------- A full socket */

static const char *const nobody[] = { "10.1.0.9", "[fd00:1::9]" };

/* In a namespace of its own: two devices, and a net where the hosts of @nobody would
 * be. What is sent to them waits for their link-layer addresses. */
static void make_net(void)
{
	int ns = netns_new();

	if (ns == -EPERM) {
		print_message("# needs root to make a network namespace\n");
		skip();
	}
	assert_true(ns >= 0);
	close(ns);
	assert_int_equal(netns_ip("link add one type veth peer name two"), 0);
	assert_int_equal(netns_ip("link set two up"), 0);
	assert_int_equal(netns_ip("link set one up"), 0);
	assert_int_equal(netns_add_address("one", "10.1.0.1/24"), 0);
	assert_int_equal(netns_add_address("one", "fd00:1::1/64"), 0);
	/* Questions for an address, one a second: longer than the test lasts. */
	assert_int_equal(netns_set("ipv4/neigh/one/mcast_solicit", "100"), 0);
	assert_int_equal(netns_set("ipv6/neigh/one/mcast_solicit", "100"), 0);
}

static struct ug_endpoint to_nobody;

static void *sender_main(void *arg)
{
	int *status = arg;

	*status = send_text(sock, &to_nobody, "more", 3);
	return NULL;
}

/* A thread that waits for room in a full socket returns, too. */
static void full_socket(void **state)
{
	struct ug_options opt = { .size = sizeof(opt), .sndbuf_len = 4096 };

	(void)state;
	make_net();
	for (size_t i = 0; i < 2; i++) {
		pthread_t thread;
		int status = 7, n = 0;

		sock = opened(&opt);
		to_nobody = at(nobody[i], 9);
		send_timeout_ms = 0;
		while (send_text(sock, &to_nobody, "fill", 1) == UG_SENT)
			assert_true(n++ < 10000);
		send_timeout_ms = -1;
		for (int k = 0; k < 5; k++) {
			assert_int_equal(pthread_create(&thread, NULL,
							sender_main, &status),
					 0);
			wait_for(sleepers, 1, "threads that wait for room");
			ug_wake(sock);
			pthread_join(thread, NULL);
			assert_int_equal(status, UG_UNSENT);
		}
		/* A wake before the call. */
		ug_wake(sock);
		assert_int_equal(send_text(sock, &to_nobody, "more", 1),
				 UG_UNSENT);
		send_timeout_ms = 0;
		close_socket();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_threads),
		cmocka_unit_test(none_is_lost),
		cmocka_unit_test(crowd),
		cmocka_unit_test(in_a_handler),
		cmocka_unit_test(without_a_wait),
		cmocka_unit_test(full_socket),
	};

	return cmocka_run_group_tests(tests, talk_setup, talk_teardown);
}
