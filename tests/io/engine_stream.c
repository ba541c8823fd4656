/* SPDX-License-Identifier: MIT */
/*
 * Two engines with real TUN devices carry TCP in both directions while they are paused
 * and resumed at random: every byte arrives, and no engine, socket or device drops a
 * packet. Here the packets are super-packets, which are cut and merged.
 */
#include <pthread.h>

#include "base/log.h"
#include "base/rcu.h"
#include "crypto/init.h"
#include "engine_pair.h"
#include "tests/lib/sanitized.h"
#include "tests/lib/require.h"
#include "tun_stream.h"

enum {
/* Choices. */
#ifdef IS_SANITIZED
	PAUSES = 200,
#else
	PAUSES = 1000,
#endif
	CHUNK = 65536,
};

/**
 * struct stream - a connection, and what has passed
 * @fds:	its ends
 * @sent:	bytes from each end
 * @got:	bytes that each end has received
 * @has_begun:	bytes have arrived at both ends
 * @is_ended:	no more is sent
 */
struct stream {
	int fds[2];
	uint64_t sent[2];
	uint64_t got[2];
	_Atomic bool has_begun;
	_Atomic bool is_ended;
};

/* A chunk of the stream, from this byte on: the pattern repeats. */
static const uint8_t *bytes_at(uint64_t off)
{
	return data + off % (sizeof(data) - CHUNK);
}

static size_t send_some(struct stream *s, int end)
{
	uint64_t off = s->sent[end] % (sizeof(data) - CHUNK);
	size_t len = size_min(CHUNK, sizeof(data) - CHUNK - (size_t)off);
	ssize_t n = send(s->fds[end], data + off, len, MSG_NOSIGNAL);

	if (n < 0)
		return 0;
	s->sent[end] += (uint64_t)n;
	return (size_t)n;
}

static size_t receive_some(struct stream *s, int end)
{
	static uint8_t buf[CHUNK];
	uint64_t off = s->got[end] % (sizeof(data) - CHUNK);
	size_t len = size_min(CHUNK, sizeof(data) - CHUNK - (size_t)off);
	ssize_t n = recv(s->fds[end], buf, len, 0);

	if (n <= 0)
		return 0;
	REQUIRE(memcmp(buf, bytes_at(s->got[end]), (size_t)n) == 0);
	s->got[end] += (uint64_t)n;
	return (size_t)n;
}

static bool has_all(const struct stream *s)
{
	return s->got[0] == s->sent[1] && s->got[1] == s->sent[0];
}

static void *move_bytes(void *arg)
{
	struct stream *s = arg;
	uint64_t end = UINT64_MAX;
	bool is_ended = false;

	while (!is_ended || (!has_all(s) && now_monotonic() < end)) {
		struct pollfd wait[2] = { { s->fds[0], POLLIN, 0 },
					  { s->fds[1], POLLIN, 0 } };
		size_t n = 0;

		if (!is_ended && atomic_load(&s->is_ended)) {
			is_ended = true;
			end = now_monotonic() + PATIENCE_S * NSEC_PER_SEC;
		}
		for (int i = 0; i < 2; i++)
			n += (is_ended ? 0 : send_some(s, i)) +
			     receive_some(s, i);
		if (!n)
			poll(wait, 2, 1);
		if (s->got[0] && s->got[1])
			atomic_store(&s->has_begun, true);
	}
	return NULL;
}

/* Connect the ends while the engines agree on keys. */
static void connect_ends(struct stream *s, int family)
{
	struct address to = address_of(1, family);
	int listener = make_socket(1, family, SOCK_STREAM), on = 1;
	uint64_t end = now_monotonic() + PATIENCE_S * NSEC_PER_SEC;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(listener, (void *)&to.sa, to.len), 0);
	assert_int_equal(listen(listener, 1), 0);
	s->fds[0] = make_socket(0, family, SOCK_STREAM);
	connect(s->fds[0], (void *)&to.sa, to.len);
	do {
		run_loop(NSEC_PER_MSEC);
		s->fds[1] = accept4(listener, NULL, NULL,
				    SOCK_NONBLOCK | SOCK_CLOEXEC);
	} while (s->fds[1] < 0 && now_monotonic() < end);
	assert_true(s->fds[1] >= 0);
	close(listener);
}

/* All that is dropped. Packets that the system sends when the interface comes up may be
 * among them: there is no peer for them yet. */
static uint64_t count_drops(const struct side *s)
{
	return count(s, "inbound_dropped") + count(s, "outbound_dropped") +
	       count(s, "tun_write_dropped") + count(s, "tun_read_dropped") +
	       count(s, "udp_socket_dropped");
}

static void print_resent(const struct stream *s)
{
	unsigned int n = 0;

	for (int i = 0; i < 2; i++) {
		struct tcp_info info = { 0 };
		socklen_t len = sizeof(info);

		getsockopt(s->fds[i], IPPROTO_TCP, TCP_INFO, &info, &len);
		n += info.tcpi_total_retrans;
	}
	print_message("# %llu and %llu bytes, %u segments sent again\n",
		      (unsigned long long)s->sent[0],
		      (unsigned long long)s->sent[1], n);
}

static void pause_often(int family, unsigned int n_workers)
{
	struct tun_config config = { .name = "tun%d",
				     .mtu = PAIR_MTU,
				     .txqlen = 1000 };
	struct tun *const tuns[2] = { &ends[0].tun, &ends[1].tun };
	static struct stream s;
	uint64_t times[PAUSES], drops[2];
	pthread_t mover;
	struct random r;

	random_init(&r, 0x5eed0079);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)random_below(&r, 256);
	memset(&s, 0, sizeof(s));
	pair_open(&tun_sys_linux, &config);
	open_tunnel(tuns, n_workers, false);
	connect_ends(&s, family);
	assert_int_equal(pthread_create(&mover, NULL, move_bytes, &s), 0);
	while (!atomic_load(&s.has_begun))
		run_loop(NSEC_PER_MSEC);
	for (int i = 0; i < 2; i++)
		drops[i] = count_drops(&sides[i]);
	for (unsigned int i = 0; i < PAUSES; i++) {
		struct engine *e = sides[random_below(&r, 2)].engine;
		uint64_t start = now_monotonic();

		assert_int_equal(engine_pause(e, PATIENCE_S * NSEC_PER_SEC), 0);
		times[i] = now_monotonic() - start;
		if (random_below(&r, 4) == 0)
			nap(random_below(&r, 2000000));
		engine_resume(e);
		nap(random_below(&r, 1000000));
		run_loop(0);
	}
	atomic_store(&s.is_ended, true);
	pthread_join(mover, NULL);
	assert_int_equal(s.got[0], s.sent[1]);
	assert_int_equal(s.got[1], s.sent[0]);
	print_resent(&s);
	print_pauses(times, PAUSES);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(count_drops(&sides[i]), drops[i]);
		close(s.fds[i]);
	}
	close_tunnel();
}

static void one_thread(void **state)
{
	(void)state;
	pause_often(AF_INET, 1);
}

static void four_threads(void **state)
{
	(void)state;
	pause_often(AF_INET6, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_thread),
		cmocka_unit_test(four_threads),
	};

	netns_require();
	if (crypto_init() < 0 || loop_init(&loop) < 0)
		return EXIT_FAILURE;
	rcu_register();
	log_init(LOG_SILENT, "test");
	return cmocka_run_group_tests(tests, pair_make, pair_free);
}
