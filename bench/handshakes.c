/* SPDX-License-Identifier: MIT */
/*
 * Handshakes in memory, on one core: the CPU time of each step, with macs,
 * look-ups, key agreements, the session's keys and its entry in the index.
 * "first" is the first handshake with a peer, which also computes the secret of
 * the two static keys; "next" is each one after it.
 *
 * usage: bench-handshakes [--quick] [--csv FILE]
 */
#include <stdlib.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/init.h"
#include "identity.h"
#include "measure.h"
#include "report.h"

enum {
	/* Handshakes in a round. Choices. */
	N_PEERS = 2000,
	N_PEERS_QUICK = 200,
	/* Rounds of later handshakes; the median counts. A choice. */
	ROUNDS = 6,
	/* REKEY_AFTER_TIME of the paper: a handshake of each peer in this time
	 * gives the number of peers that a core can serve. */
	REKEY_S = 120,
};

/* Sums over one round, in CPU nanoseconds. */
struct costs {
	uint64_t initiation;
	uint64_t answer;
	uint64_t completion;
};

static struct device initiator, responder;
static uint64_t now = NSEC_PER_SEC;

static void deliver(struct device *device, const void *msg, size_t len,
		    struct device_answer *answer)
{
	const struct device_origin origin = {
		.endpoint = { .words = { 1 } },
		.source_len = 6,
	};

	if (device_receive_handshake(device, msg, len, &origin, now,
				     now + NSEC_PER_SEC, answer)) {
		fputs("a message was refused\n", stderr);
		exit(1);
	}
}

static void shake_hands(struct peer *peer, struct costs *costs)
{
	struct message_initiation msg;
	struct device_endpoint to;
	struct device_answer response, none;
	uint64_t t[4];

	now += NSEC_PER_SEC;
	t[0] = bench_cpu_ns();
	if (device_make_initiation(peer, now, now + NSEC_PER_SEC, &msg, &to))
		abort();
	t[1] = bench_cpu_ns();
	deliver(&responder, &msg, sizeof(msg), &response);
	t[2] = bench_cpu_ns();
	deliver(&initiator, response.buf, response.len, &none);
	t[3] = bench_cpu_ns();
	peer_put(response.peer);
	/* Timer work for the peers is not part of a handshake. */
	device_tick(&responder, now);
	device_tick(&initiator, now);
	costs->initiation += t[1] - t[0];
	costs->answer += t[2] - t[1];
	costs->completion += t[3] - t[2];
}

/*
 * Each identity in turn makes @n_each handshakes with the responder. The cost
 * of the last one is counted.
 */
static void run_responder(uint32_t n_peers, unsigned int n_each,
			  struct costs *costs)
{
	uint8_t key[NOISE_PRIVATE_KEY_LEN];
	struct peer *peer =
		container_of(initiator.peers.next, struct peer, in_device);

	for (uint32_t i = 1; i <= n_peers; i++) {
		struct costs before = { 0 };

		identity_private(i, key);
		device_set_private_key(&initiator, key);
		for (unsigned int j = 1; j < n_each; j++)
			shake_hands(peer, &before);
		shake_hands(peer, costs);
	}
}

static void print(struct report *report, const char *step, uint64_t ns,
		  uint32_t n)
{
	double each = (double)ns / n;

	report_row(report, "%s,%.1f,%.0f,%.0f", step, each / 1e3, 1e9 / each,
		   REKEY_S * 1e9 / each);
}

static void open_devices(uint32_t n_peers)
{
	uint8_t key[NOISE_PUBLIC_KEY_LEN];

	if (crypto_init() || device_init(&initiator, &identity_ops, NULL) ||
	    device_init(&responder, &identity_ops, NULL))
		abort();
	device_set_up(&initiator, true, now);
	device_set_up(&responder, true, now);
	identity_private(0, key);
	device_set_private_key(&responder, key);
	identity_public(0, key);
	identity_add_peer(&initiator, key);
	for (uint32_t i = 1; i <= n_peers; i++) {
		identity_public(i, key);
		identity_add_peer(&responder, key);
	}
}

static int by_answer(const void *a, const void *b)
{
	const struct costs *x = a, *y = b;

	return (x->answer > y->answer) - (x->answer < y->answer);
}

int main(int argc, char **argv)
{
	struct costs first = { 0 }, next[ROUNDS] = { 0 };
	struct report report;
	uint32_t n;

	if (report_open(&report, argc, argv,
			"step,cpu_us,per_second_per_core,in_two_minutes"))
		return 2;
	rcu_register();
	n = report.is_quick ? N_PEERS_QUICK : N_PEERS;
	open_devices(n);
	run_responder(n, 1, &first);
	for (size_t i = 0; i < ROUNDS; i++)
		run_responder(n, 2, &next[i]);
	qsort(next, ROUNDS, sizeof(next[0]), by_answer);
	print(&report, "responder first", first.answer, n);
	print(&report, "responder next", next[ROUNDS / 2].answer, n);
	print(&report, "initiator next",
	      next[ROUNDS / 2].initiation + next[ROUNDS / 2].completion, n);
	device_deinit(&initiator);
	device_deinit(&responder);
	rcu_unregister();
	return report_close(&report) ? 1 : 0;
}
