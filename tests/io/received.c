/* SPDX-License-Identifier: MIT */
/*
 * What the kernel tells of a message that it delivers, whole trains, buffers of the
 * caller, and an edge-triggered loop that leaves nothing behind.
 */
#include <errno.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/io/talk.h"
#include "tests/lib/check.h"
#include "tests/lib/netns.h"
#include "tests/platform/datagram.h"
#include "udpgather.h"

enum {
	/* Messages that a call may bring. A choice. */
	ENTRIES = 16,
	/* Bytes of a datagram in a train. A choice that fits any device. */
	SEGMENT = 1000,
	ALL = UG_WANT_TIME | UG_WANT_TTL | UG_WANT_DESTINATION,
};

/* Both families, and loopback as text and as bytes. */
static const struct {
	int family;
	const char *loopback;
	uint8_t address[16];
} families[] = {
	{ AF_INET, "127.0.0.1", { 127, 0, 0, 1 } },
	{ AF_INET6, "[::1]", { [15] = 1 } },
};

static int home, far;
static struct ug_received got[ENTRIES];

static struct ug_socket *opened_wanting(uint32_t want)
{
	struct ug_options opt = { .size = sizeof(opt), .want = want };

	return opened(&opt);
}

static struct ug_socket *opened_in(int ns, uint32_t want)
{
	assert_int_equal(netns_enter(ns), 0);
	struct ug_socket *sock = opened_wanting(want);

	assert_int_equal(netns_enter(home), 0);
	return sock;
}

/* Send @n datagrams of @len bytes, whose pattern goes on from one to the next. */
static void send_many(struct ug_socket *sock, const struct ug_endpoint *to,
		      size_t len, size_t n)
{
	static uint8_t bytes[64 * SEGMENT];
	struct iovec iov[64];
	struct ug_datagram d[64];
	int status[64];

	assert_true(n <= ARRAY_LEN(d) && n * len <= sizeof(bytes));
	bytes_fill(bytes, n * len);
	for (size_t i = 0; i < n; i++) {
		iov[i] = (struct iovec){ bytes + i * len, len };
		d[i] = (struct ug_datagram){ .iov = &iov[i], .n_iov = 1 };
	}
	ug_send(sock, batch, to, d, n, status, 1000);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(status[i], UG_SENT);
}

/* Expect one message, in got[0]. */
static void expect_one(struct ug_socket *sock, int family)
{
	got[0].cap = 0;
	assert_int_equal(ug_receive_trains(rcv, sock, family, got,
					   sizeof(got[0]), 1, 5000),
			 1);
}

static void set_int(int fd, int level, int name, int value)
{
	assert_int_equal(setsockopt(fd, level, name, &value, sizeof(value)), 0);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Time, TTL, destination and interface of a datagram over loopback. */
static void told(void **state)
{
	struct ug_socket *a = opened(NULL), *b = opened_wanting(ALL);

	(void)state;
	set_int(ug_fd(a, AF_INET), IPPROTO_IP, IP_TTL, 77);
	set_int(ug_fd(a, AF_INET6), IPPROTO_IPV6, IPV6_UNICAST_HOPS, 77);
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		struct ug_endpoint to = at(families[i].loopback, ug_port(b));
		uint64_t before = now_ns();

		send_many(a, &to, 10, 1);
		expect_one(b, families[i].family);
		uint64_t after = now_ns();

		printf("# sent after %ju, taken in at %ju, received before %ju\n",
		       (uintmax_t)before, (uintmax_t)got[0].time_ns,
		       (uintmax_t)after);
		assert_true(before <= got[0].time_ns &&
			    got[0].time_ns <= after);
		assert_int_equal(got[0].ttl, 77);
		assert_int_equal(got[0].ifindex, if_nametoindex("lo"));
		assert_memory_equal(got[0].destination, families[i].address,
				    16);
		assert_int_equal(got[0].len, 10);
		assert_int_equal(got[0].n, 1);
		assert_int_equal(ntohs(got[0].from->addr.v4.sin_port),
				 ug_port(a));
	}
	ug_close(a);
	ug_close(b);
}

/* A socket that was not asked tells nothing. */
static void not_told(void **state)
{
	static const uint8_t nowhere[16];
	struct ug_socket *a = opened(NULL), *b = opened(NULL);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		struct ug_endpoint to = at(families[i].loopback, ug_port(b));

		send_many(a, &to, 10, 1);
		expect_one(b, families[i].family);
		assert_memory_equal(got[0].destination, nowhere, 16);
		assert_true(!got[0].time_ns && !got[0].ttl && !got[0].ifindex);
	}
	ug_close(a);
	ug_close(b);
}

/* A train stays whole; views of it lead to the same message. */
static void uncut(void **state)
{
	struct ug_socket *a = opened(NULL), *b = opened_wanting(ALL);
	static uint8_t expected[20 * SEGMENT];
	bool merges = device_takes_trains("lo");

	(void)state;
	bytes_fill(expected, sizeof(expected));
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		struct ug_endpoint to = at(families[i].loopback, ug_port(b));
		size_t len = 0;

		send_many(a, &to, SEGMENT, 20);
		while (len < sizeof(expected)) {
			expect_one(b, families[i].family);
			assert_int_equal(got[0].segment_len, SEGMENT);
			assert_int_equal(got[0].n * SEGMENT, got[0].len);
			assert_memory_equal(got[0].data, expected + len,
					    got[0].len);
			len += got[0].len;
			assert_true(!merges || got[0].n == 20);
		}
		send_many(a, &to, SEGMENT, 20);
		assert_int_equal(
			ug_receive(rcv, b, families[i].family, views, 3, 5000),
			merges ? 3 : 1);
		assert_int_equal(ug_receiver_info(rcv, &views[0], &got[1],
						  sizeof(got[1])),
				 0);
		assert_ptr_equal(got[1].data, views[0].data);
		assert_int_equal(got[1].n, merges ? 20 : 1);
		assert_true(got[1].time_ns != 0 && got[1].ttl != 0);
		/* What the views have left. */
		expect_one(b, families[i].family);
		assert_int_equal(got[0].n, merges ? 17 : 1);
		while (ug_receive_trains(rcv, b, AF_UNSPEC, got, sizeof(got[0]),
					 1, 0) > 0)
			;
	}
	ug_close(a);
	ug_close(b);
}

static void give_buffers(size_t cap)
{
	for (size_t i = 0; i < ENTRIES; i++) {
		/* Each is a block of its own, so that a sanitizer sees a write
		 * behind its end. */
		got[i] = (struct ug_received){
			.data = malloc(cap),
			.cap = cap,
		};
		assert_non_null(got[i].data);
	}
}

static void free_buffers(void)
{
	for (size_t i = 0; i < ENTRIES; i++)
		free(got[i].data);
	memset(got, 0, sizeof(got));
}

/* The kernel writes into the caller's buffers. */
static void own_buffers(void **state)
{
	struct ug_socket *a = opened(NULL), *b = opened(NULL);
	static uint8_t expected[40 * SEGMENT];

	(void)state;
	bytes_fill(expected, sizeof(expected));
	give_buffers(65535);
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		struct ug_endpoint to = at(families[i].loopback, ug_port(b));
		size_t len = 0;

		send_many(a, &to, SEGMENT, 40);
		while (len < sizeof(expected)) {
			int n = ug_receive_trains(rcv, b, families[i].family,
						  got, sizeof(got[0]), ENTRIES,
						  5000);

			assert_in_range(n, 1, ENTRIES);
			for (int k = 0; k < n; k++) {
				assert_memory_equal(got[k].data, expected + len,
						    got[k].len);
				len += got[k].len;
			}
		}
	}
	free_buffers();
	ug_close(a);
	ug_close(b);
}

/*
 * Short buffers for a socket that does not merge. A datagram that is too long is
 * dropped, and costs neither a buffer nor its neighbours.
 */
static void short_buffers(void **state)
{
	struct ug_socket *a = opened(NULL), *b = opened(NULL);
	struct ug_receive_stats was, now;

	(void)state;
	assert_int_equal(ug_set_merging(b, false), 0);
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		struct ug_endpoint to = at(families[i].loopback, ug_port(b));
		static const size_t lens[] = { 200, 201, 100, 300, 0, 199 };
		static const size_t come[] = { 200, 100, 0, 199 };
		size_t n = 0;

		give_buffers(200);
		ug_get_receive_stats(rcv, &was, sizeof(was));
		for (size_t k = 0; k < ARRAY_LEN(lens); k++)
			send_many(a, &to, lens[k], 1);
		while (n < ARRAY_LEN(come)) {
			int r = ug_receive_trains(rcv, b, families[i].family,
						  &got[n], sizeof(got[0]),
						  ENTRIES - n, 5000);

			assert_in_range(r, 1, ARRAY_LEN(come) - n);
			n += (size_t)r;
		}
		for (size_t k = 0; k < n; k++)
			assert_int_equal(got[k].len, come[k]);
		ug_get_receive_stats(rcv, &now, sizeof(now));
		assert_int_equal(now.truncated - was.truncated, 2);
		/* Every buffer is still there, once. */
		free_buffers();
	}
	ug_close(a);
	ug_close(b);
}

/* Have a socket send multicast and broadcast by a device. */
static void send_to_many(struct ug_socket *sock, const char *device)
{
	struct ip_mreqn by = { .imr_ifindex = (int)if_nametoindex(device) };

	set_int(ug_fd(sock, AF_INET), SOL_SOCKET, SO_BROADCAST, 1);
	assert_int_equal(setsockopt(ug_fd(sock, AF_INET), IPPROTO_IP,
				    IP_MULTICAST_IF, &by, sizeof(by)),
			 0);
	set_int(ug_fd(sock, AF_INET6), IPPROTO_IPV6, IPV6_MULTICAST_IF,
		(int)if_nametoindex(device));
}

static void join(int fd4, int fd6, const char *device)
{
	struct ip_mreqn group = {
		.imr_multiaddr = { htonl(0xef010203) },
		.imr_ifindex = (int)if_nametoindex(device),
	};
	struct ipv6_mreq group6 = {
		.ipv6mr_multiaddr = { { { 0xff,
					  2, [14] = 0xab, [15] = 0xcd } } },
		.ipv6mr_interface = if_nametoindex(device),
	};

	assert_int_equal(setsockopt(fd4, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group,
				    sizeof(group)),
			 0);
	assert_int_equal(setsockopt(fd6, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP,
				    &group6, sizeof(group6)),
			 0);
}

/* What was written to a group or to all, and the source to answer it from. */
static const struct {
	int family;
	const char *to;
	uint8_t destination[16];
	uint8_t source[4]; /* IPv4 only */
} many[] = {
	{ AF_INET, "239.1.2.3", { 239, 1, 2, 3 }, { 10, 11, 0, 1 } },
	{ AF_INET, "10.11.0.255", { 10, 11, 0, 255 }, { 10, 11, 0, 1 } },
	{ AF_INET,
	  "255.255.255.255",
	  { 255, 255, 255, 255 },
	  { 10, 11, 0, 1 } },
	{ AF_INET, "10.11.0.1", { 10, 11, 0, 1 }, { 10, 11, 0, 1 } },
	{ AF_INET6,
	  "[ff02::abcd%many]",
	  { 0xff, 2, [14] = 0xab, [15] = 0xcd },
	  { 0 } },
	{ AF_INET6, "[fd00:11::1]", { 0xfd, 0, 0, 0x11, [15] = 1 }, { 0 } },
};

/* Groups and broadcast, to a socket of each family. */
static void groups(void **state)
{
	(void)state;
	assert_int_equal(netns_join(home, far, "many", 11, 1500), 0);
	struct ug_socket *here = opened_wanting(ALL),
			 *there = opened_in(far, 0);
	int ifindex = (int)if_nametoindex("many");

	join(ug_fd(here, AF_INET), ug_fd(here, AF_INET6), "many");
	assert_int_equal(netns_enter(far), 0);
	send_to_many(there, "many");
	assert_int_equal(netns_ip("route add 255.255.255.255 dev many"), 0);
	for (size_t i = 0; i < ARRAY_LEN(many); i++) {
		assert_int_equal(netns_enter(far), 0);
		struct ug_endpoint to = at(many[i].to, ug_port(here));

		assert_int_equal(netns_enter(home), 0);
		send_many(there, &to, 9, 1);
		expect_one(here, AF_UNSPEC);
		assert_memory_equal(got[0].destination, many[i].destination,
				    16);
		assert_int_equal(got[0].ifindex, ifindex);
		if (many[i].family == AF_INET)
			assert_memory_equal(got[0].from->source.addr,
					    many[i].source, 4);
		/* The answer arrives, whatever it was sent to. */
		struct ug_endpoint back = *got[0].from;

		send_many(here, &back, 8, 1);
		expect_one(there, AF_UNSPEC);
		assert_int_equal(got[0].len, 8);
	}
	ug_close(here);
	ug_close(there);
	assert_int_equal(netns_ip("link del many"), 0);
}

/* The same to one IPv6 socket that serves both families. */
static void dual_stack_groups(void **state)
{
	struct ug_options opt = { .size = sizeof(opt), .want = ALL };
	int fd = udp_socket(AF_INET6, false), fd4;
	struct ug_socket *here;

	(void)state;
	assert_int_equal(netns_join(home, far, "many", 11, 1500), 0);
	assert_int_equal(ug_open_fds(&here, -1, fd, &opt, NULL), 0);
	struct ug_socket *there = opened_in(far, 0);
	int ifindex = (int)if_nametoindex("many");

	join(fd, fd, "many");
	assert_int_equal(netns_enter(far), 0);
	fd4 = ug_fd(there, AF_INET);
	set_int(fd4, IPPROTO_IP, IP_TTL, 33);
	set_int(fd4, IPPROTO_IP, IP_MULTICAST_TTL, 33);
	set_int(ug_fd(there, AF_INET6), IPPROTO_IPV6, IPV6_UNICAST_HOPS, 33);
	set_int(ug_fd(there, AF_INET6), IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 33);
	send_to_many(there, "many");
	assert_int_equal(netns_ip("route add 255.255.255.255 dev many"), 0);
	for (size_t i = 0; i < ARRAY_LEN(many); i++) {
		assert_int_equal(netns_enter(far), 0);
		struct ug_endpoint to = at(many[i].to, ug_port(here));

		assert_int_equal(netns_enter(home), 0);
		send_many(there, &to, 9, 1);
		expect_one(here, AF_UNSPEC);
		assert_memory_equal(got[0].destination, many[i].destination,
				    16);
		assert_int_equal(got[0].ifindex, ifindex);
		assert_int_equal(got[0].ttl, 33);
		assert_true(got[0].time_ns != 0);
		assert_int_equal(got[0].from->addr.any.sa_family,
				 many[i].family);
		if (many[i].family == AF_INET)
			assert_memory_equal(got[0].from->source.addr,
					    many[i].source, 4);
		struct ug_endpoint back = *got[0].from;

		send_many(here, &back, 8, 1);
		expect_one(there, AF_UNSPEC);
		assert_int_equal(got[0].len, 8);
	}
	ug_close(here);
	ug_close(there);
	assert_int_equal(netns_ip("link del many"), 0);
}

/* Entries of the error queue that nobody asked the library for stay there. */
static void errors_stay(void **state)
{
	struct ug_socket *gone = opened(NULL), *sock;
	struct ug_endpoint nobody = at("127.0.0.1", ug_port(gone));
	int fd = udp_socket(AF_INET, false);
	struct msghdr h = { 0 };

	(void)state;
	set_int(fd, IPPROTO_IP, IP_RECVERR, 1);
	assert_int_equal(ug_open_fds(&sock, fd, -1, NULL, NULL), 0);
	ug_close(gone);
	send_many(sock, &nobody, 3, 1);
	got[0].cap = 0;
	/* The error comes at once, or a little later. */
	assert_int_equal(ug_receive_trains(rcv, sock, AF_INET, got,
					   sizeof(got[0]), 1, 5000),
			 -EBADMSG);
	assert_int_equal(recvmsg(fd, &h, MSG_ERRQUEUE | MSG_DONTWAIT), 0);
	assert_int_equal(ug_receive_trains(rcv, sock, AF_INET, got,
					   sizeof(got[0]), 1, 50),
			 -ETIMEDOUT);
	ug_close(sock);
}

static void on_alarm(int number)
{
	(void)number;
}

/* A signal ends a wait. It is sent again and again, since one may come before the
 * wait begins. */
static void signals(void **state)
{
	struct sigaction act = { .sa_handler = on_alarm };
	struct itimerspec often = { { 0, 20000000 }, { 0, 20000000 } };
	struct sigevent event = {
		.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = SIGALRM,
	};
	struct ug_socket *sock = opened(NULL);
	timer_t timer;

	(void)state;
	assert_int_equal(sigaction(SIGALRM, &act, NULL), 0);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	assert_int_equal(timer_settime(timer, 0, &often, NULL), 0);
	got[0].cap = 0;
	assert_int_equal(ug_receive_trains(rcv, sock, AF_UNSPEC, got,
					   sizeof(got[0]), 1, -1),
			 -EINTR);
	timer_delete(timer);
	ug_close(sock);
}

static struct ug_socket *switched;
static _Atomic bool is_over;

/* Switch merging all the time. */
static void *switch_merging(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; !atomic_load(&is_over); i++)
		ug_set_merging(switched, i % 2);
	return NULL;
}

/* How an edge-triggered loop reads. Return: datagrams; -errno. */
static int read_trains(int family)
{
	got[0].cap = 0;
	int r = ug_receive_trains(rcv, switched, family, got, sizeof(got[0]),
				  ENTRIES, 0),
	    n = 0;

	for (int i = 0; i < r; i++)
		n += (int)got[i].n;
	return r > 0 ? n : r;
}

static int read_views(int family)
{
	int r = ug_receive(rcv, switched, family, views, ENTRIES, 0);

	return r ? r : ug_receiver_why(rcv);
}

/*
 * After one wake, read until the socket is empty. Nothing may be left then: what
 * comes later wakes again.
 */
static void read_edge(int epoll, int family, int (*read)(int family),
		      size_t *missing, size_t *n_busy)
{
	struct epoll_event event;
	int r = epoll_wait(epoll, &event, 1, 20000);

	if (r < 0 && errno == EINTR)
		return;
	if (r != 1)
		printf("# %zu datagrams missing, no wake; busy %zu times\n",
		       *missing, *n_busy);
	assert_int_equal(r, 1);
	while ((r = read(family)) != -EAGAIN) {
		if (r == -EBUSY) {
			++*n_busy;
			poll(NULL, 0, 1);
			continue;
		}
		assert_in_range(r, 1, *missing);
		*missing -= (size_t)r;
	}
}

static void run_edges(int family, int (*read)(int family))
{
	enum {
		/* A choice: so often at least a call must come while merging is
		 * being switched. */
		BUSY_TIMES = 10,
		/* A choice: half a second. */
		ROUNDS = 300,
	};
	struct ug_endpoint to = at(family == AF_INET ? "127.0.0.1" : "[::1]",
				   ug_port(switched));
	struct ug_socket *a = opened(NULL);
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int epoll = epoll_create1(0);
	size_t n_busy = 0, rounds;
	pthread_t thread;

	atomic_store(&is_over, false);
	assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD,
				   ug_fd(switched, family), &event),
			 0);
	assert_int_equal(pthread_create(&thread, NULL, switch_merging, NULL),
			 0);
	for (rounds = 0; rounds < ROUNDS || n_busy < BUSY_TIMES; rounds++) {
		size_t missing = 1 + rounds % 20;

		/* An empty socket, so that switching begins. */
		poll(NULL, 0, 1);
		send_many(a, &to, 100, missing);
		while (missing)
			read_edge(epoll, family, read, &missing, &n_busy);
	}
	printf("# %zu rounds, merging was being switched %zu times\n", rounds,
	       n_busy);
	atomic_store(&is_over, true);
	pthread_join(thread, NULL);
	close(epoll);
	ug_close(a);
}

static void edges(void **state)
{
	(void)state;
	switched = opened(NULL);
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		run_edges(families[i].family, read_trains);
		run_edges(families[i].family, read_views);
	}
	ug_close(switched);
}

static int setup(void **state)
{
	far = netns_new();
	home = netns_new();
	return far >= 0 && home >= 0 ? talk_setup(state) : -1;
}

static int teardown(void **state)
{
	close(far);
	close(home);
	return talk_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(told),
		cmocka_unit_test(not_told),
		cmocka_unit_test(uncut),
		cmocka_unit_test(own_buffers),
		cmocka_unit_test(short_buffers),
		cmocka_unit_test(groups),
		cmocka_unit_test(dual_stack_groups),
		cmocka_unit_test(errors_stay),
		cmocka_unit_test(signals),
		cmocka_unit_test(edges),
	};

	netns_require();
	return cmocka_run_group_tests(tests, setup, teardown);
}
