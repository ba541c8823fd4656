/* SPDX-License-Identifier: MIT */
/*
 * If two threads sleep in two epolls on one socket, one datagram wakes both,
 * and one of them finds nothing. So the engine has one thread watch a socket.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/lib/netns.h"
#include "tests/lib/check.h"
#include "tests/platform/datagram.h"

enum {
	WAITERS = 2,
	/* After this time without an event a wait ends. A choice. */
	PATIENCE_MS = 5000,
};

/**
 * struct waiter - a thread that sleeps in an epoll of its own
 * @thread:	the thread
 * @fd:		the socket to watch
 * @tid:	set by the thread when it is about to sleep, 0 before
 * @woken:	what epoll_wait(2) returned
 */
struct waiter {
	pthread_t thread;
	int fd;
	atomic_int tid;
	int woken;
};

/* The thread of a waiter. It reads no datagrams and waits for edges only. */
static void *wait_in_epoll(void *arg)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	struct waiter *w = arg;
	int ep;

	ep = epoll_create1(EPOLL_CLOEXEC);
	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, w->fd, &ev))
		w->woken = -errno;
	/* Pairs with the load in wait_until_asleep(). */
	atomic_store_explicit(&w->tid, gettid(), memory_order_release);
	if (!w->woken)
		w->woken = epoll_wait(ep, &ev, 1, PATIENCE_MS);
	if (ep >= 0)
		close(ep);
	return NULL;
}

/* The state of a thread of this process as /proc has it, 'S' for asleep. */
static char thread_state(int tid)
{
	char path[64], line[256] = "";
	const char *end;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	/* "TID (NAME) STATE ..." */
	if (!fgets(line, sizeof(line), f))
		line[0] = 0;
	fclose(f);
	end = strrchr(line, ')');
	return end && end[1] ? end[2] : 0;
}

static void wait_until_asleep(struct waiter *w)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	int i, tid;

	for (i = 0; i < PATIENCE_MS; i++) {
		/* Pairs with the store in wait_in_epoll(). */
		tid = atomic_load_explicit(&w->tid, memory_order_acquire);
		if (tid && thread_state(tid) == 'S')
			return;
		nanosleep(&ms, NULL);
	}
	fail_msg("a thread does not go to sleep");
}

static void test_two_epolls_both_wake(void **state)
{
	struct waiter waiters[WAITERS] = { 0 };
	const uint8_t payload[] = "datagram";
	union address to;
	int from_fd, to_fd;
	size_t i;

	(void)state;
	to_fd = udp_open("127.0.0.1", false, &to);
	from_fd = udp_open("127.0.0.1", false, NULL);
	for (i = 0; i < WAITERS; i++) {
		waiters[i].fd = to_fd;
		assert_int_equal(pthread_create(&waiters[i].thread, NULL,
						wait_in_epoll, &waiters[i]),
				 0);
	}
	for (i = 0; i < WAITERS; i++)
		wait_until_asleep(&waiters[i]);
	assert_int_equal(
		udp_send_bytes(from_fd, &to, payload, sizeof(payload), 0),
		sizeof(payload));
	for (i = 0; i < WAITERS; i++) {
		assert_int_equal(pthread_join(waiters[i].thread, NULL), 0);
		assert_int_equal(waiters[i].woken, 1);
	}
	/* Only one datagram was sent. */
	udp_expect(to_fd, payload, sizeof(payload));
	assert_true(udp_is_empty(to_fd));
	close(from_fd);
	close(to_fd);
}

static int setup(void **state)
{
	(void)state;
	return netns_new() < 0 ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_epolls_both_wake),
	};

	netns_require();
	return cmocka_run_group_tests(tests, setup, NULL);
}
