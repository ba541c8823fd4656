/* SPDX-License-Identifier: MIT */
/*
 * Three threads send to dead ports and one to a live port, by one socket that has its
 * errors handed out. The kernel gives the errors of the dead ports to any thread that
 * sends. No datagram to the live port may get one, and no error may be lost without
 * being counted. A fifth thread reads the errors meanwhile.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/io/talk.h"
#include "tests/lib/check.h"
#include "tests/lib/sanitized.h"
#include "udpgather.h"

enum {
	DEAD = 3,
	SENDERS = DEAD + 1,
/* Datagrams of each thread. A million for each family, if that does not take minutes. */
#ifdef IS_SANITIZED
	ROUNDS = 10000,
#else
	ROUNDS = 250000,
#endif
};

struct sender {
	pthread_t thread;
	struct ug_endpoint to;
	struct ug_batch *batch;
	size_t sent;
	size_t refused;
	size_t n_other;
	int other; /* a status that is neither */
};

static struct ug_socket *sock;
static struct sender senders[SENDERS];
static _Atomic unsigned int n_running;

static void *sender_main(void *arg)
{
	struct sender *s = arg;
	struct iovec iov = { unconst("storm"), 5 };
	struct ug_datagram d = { .iov = &iov, .n_iov = 1, .to = &s->to };

	for (size_t i = 0; i < ROUNDS; i++) {
		int status;

		ug_send(sock, s->batch, NULL, &d, 1, &status, 10000);
		s->sent += status == UG_SENT;
		s->refused += status == -ECONNREFUSED;
		if (status != UG_SENT && status != -ECONNREFUSED) {
			s->n_other++;
			s->other = status;
		}
	}
	atomic_fetch_sub(&n_running, 1);
	return NULL;
}

/* A socket whose port nobody can reach: it takes datagrams from one address only. */
static int dead_socket(int family, struct ug_endpoint *out)
{
	const char *host = family == AF_INET ? "127.0.0.1" : "[::1]";
	struct ug_endpoint local = at(host, 1);
	struct ug_endpoint peer = at(host, 1);
	int fd = socket(family, SOCK_DGRAM, 0);
	socklen_t len = sizeof(local.addr);

	if (family == AF_INET)
		local.addr.v4.sin_port = 0;
	else
		local.addr.v6.sin6_port = 0;
	assert_int_equal(bind(fd, &local.addr.any, sizeof(local.addr)), 0);
	assert_int_equal(connect(fd, &peer.addr.any, sizeof(peer.addr)), 0);
	assert_int_equal(getsockname(fd, &local.addr.any, &len), 0);
	assert_int_equal(ug_endpoint_set(out, &local.addr.any, len), 0);
	return fd;
}

/* Take what there is. Every error is of a dead port. */
static size_t take_errors(void)
{
	struct ug_error got[64];
	size_t n = 0;
	int r;

	while ((r = ug_receive_errors(sock, got, sizeof(got[0]),
				      ARRAY_LEN(got))) > 0) {
		for (int i = 0; i < r; i++) {
			bool known = false;

			for (size_t k = 0; k < DEAD; k++)
				known |= !ug_endpoint_compare(&got[i].to,
							      &senders[k].to);
			assert_true(known);
			assert_int_equal(got[i].err, ECONNREFUSED);
		}
		n += (size_t)r;
	}
	assert_int_equal(r, 0);
	return n;
}

static void run(int family)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.want = UG_WANT_ERRORS,
	};
	struct ug_socket *live = opened(NULL);
	struct ug_socket_stats stats;
	struct ug_send_stats tx;
	int dead[DEAD];
	size_t n = 0;

	sock = opened(&opt);
	memset(senders, 0, sizeof(senders));
	for (size_t i = 0; i < DEAD; i++)
		dead[i] = dead_socket(family, &senders[i].to);
	senders[DEAD].to =
		at(family == AF_INET ? "127.0.0.1" : "[::1]", ug_port(live));
	atomic_store(&n_running, SENDERS);
	for (size_t i = 0; i < SENDERS; i++) {
		assert_int_equal(ug_batch_new(&senders[i].batch, 1), 0);
		assert_int_equal(pthread_create(&senders[i].thread, NULL,
						sender_main, &senders[i]),
				 0);
	}
	while (atomic_load(&n_running)) {
		n += take_errors();
		poll(NULL, 0, 1);
	}
	for (size_t i = 0; i < SENDERS; i++)
		pthread_join(senders[i].thread, NULL);
	n += take_errors();
	ug_get_send_stats(senders[DEAD].batch, &tx, sizeof(tx));
	assert_int_equal(ug_get_socket_stats(sock, &stats, sizeof(stats)), 0);
	for (size_t i = 0; i < SENDERS; i++)
		printf("# %s: %zu sent, %zu refused, %zu other (%d)\n",
		       i < DEAD ? "dead" : "live", senders[i].sent,
		       senders[i].refused, senders[i].n_other,
		       senders[i].other);
	printf("# the live one was refused %ju times; %ju errors, %ju lost\n",
	       (uintmax_t)tx.pending_errors, (uintmax_t)stats.errors,
	       (uintmax_t)stats.errors_lost);
	assert_int_equal(senders[DEAD].sent, ROUNDS);
	/* Else this test has shown nothing. */
	assert_true(tx.pending_errors > 0);
	assert_int_equal(n + stats.errors_lost, stats.errors);
	for (size_t i = 0; i < DEAD; i++) {
		assert_int_equal(senders[i].n_other, 0);
		close(dead[i]);
	}
	for (size_t i = 0; i < SENDERS; i++)
		ug_batch_free(senders[i].batch);
	ug_close(sock);
	ug_close(live);
}

static void dead_beside_live_v4(void **state)
{
	(void)state;
	run(AF_INET);
}

static void dead_beside_live_v6(void **state)
{
	(void)state;
	run(AF_INET6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dead_beside_live_v4),
		cmocka_unit_test(dead_beside_live_v6),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
