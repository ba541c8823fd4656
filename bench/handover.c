/* SPDX-License-Identifier: MIT */
/*
 * What it takes to hand the state of a device to another: to write it, to check it, and
 * to apply it, with a session for each peer. Packets wait meanwhile. Each figure is the
 * median of the rounds.
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/init.h"
#include "device/config.h"
#include "handover/state.h"
#include "identity.h"
#include "measure.h"
#include "report.h"

enum {
	ROUNDS = 11,
	N_FIGURES = 4,
};

/* In the order of the columns, in us of elapsed time. */
enum figure {
	MEASURE,
	WRITE,
	CHECK,
	APPLY,
};

#define NOW (UINT64_C(100000) * NSEC_PER_SEC)

/* How a session was used. */
enum window {
	FRESH,	  /* some messages, all of which arrived */
	LOSSLESS, /* more messages than the window has places */
	LOSSY,	  /* the same, but one of 50 was lost */
};

static const char *const windows[] = { "fresh", "lossless", "lossy" };

static bool is_endpoint(const struct device_endpoint *ep)
{
	return ep->words[0];
}

static void check(int err)
{
	if (err == 0)
		return;
	fprintf(stderr, "failed: %s\n", strerror(-err));
	exit(EXIT_FAILURE);
}

static void configure(struct device *device, uint32_t n_peers)
{
	struct config *config = config_new();

	if (!config)
		exit(EXIT_FAILURE);
	for (uint32_t i = 0; i < n_peers; i++) {
		uint8_t key[NOISE_PUBLIC_KEY_LEN] = { 9 };
		struct device_endpoint ep = { .words = { 1 + i } };

		memcpy(key + 4, &i, sizeof(i));
		config_begin_peer(config, key);
		config_set_endpoint(config, &ep);
	}
	check(device_init(device, &identity_ops, NULL));
	check(config_apply(config, device, NOW));
	config_free(config);
	device_set_up(device, true, NOW);
}

static void receive(struct noise_keypair *kp, enum window window)
{
	uint64_t n = window == FRESH ? 50 : 9000;

	for (uint64_t i = 0; i < n; i++)
		if (window != LOSSY || bench_random() % 50)
			(void)noise_keypair_accept(kp, i);
}

static void begin_session(struct peer *peer, enum window window)
{
	struct noise_keypair_plain plain = { .created_ns = NOW };
	uint64_t words[REPLAY_WORDS];
	int err;

	do {
		plain.local_index = (uint32_t)bench_random();
		err = noise_keypairs_import(&peer->keypairs, NOISE_CURRENT,
					    &peer->handshake, &plain, words);
	} while (err == -EEXIST);
	check(err);
	receive(peer->keypairs.current, window);
	peer->handshake.has_static_static = true;
	peer->timers.session_ns = NOW;
	peer->notes.n_events = 1;
	peer->notes.trace[0] = 1;
}

static uint64_t lap(uint64_t *from)
{
	uint64_t now = bench_now_ns(), passed = now - *from;

	*from = now;
	return passed;
}

/* Return: bytes of the state. */
static size_t run_round(uint32_t n_peers, enum window window, double *figures)
{
	struct state state = { .is_endpoint = is_endpoint };
	struct device old, new;
	struct store store;
	struct list *item;
	uint64_t from;
	size_t len;

	configure(&old, n_peers);
	configure(&new, n_peers);
	state_prepare(&new);
	list_for_each(item, &old.peers)
		begin_session(container_of(item, struct peer, in_device),
			      window);
	from = bench_now_ns();
	len = state_get_len(&old, 0);
	figures[MEASURE] = (double)lap(&from) / 1e3;
	check(store_new(&store, len, SECRET_BEST));
	(void)lap(&from);
	check(state_write(&store, &old, NULL, NULL, 0, NOW));
	figures[WRITE] = (double)lap(&from) / 1e3;
	if (!state_check(&state, store.bytes, store.len)) {
		fprintf(stderr, "refused: %s\n", state.why);
		exit(EXIT_FAILURE);
	}
	figures[CHECK] = (double)lap(&from) / 1e3;
	/* The heap of a new engine is not warm. */
	malloc_trim(0);
	(void)lap(&from);
	check(state_apply(&state, &new, NOW));
	figures[APPLY] = (double)lap(&from) / 1e3;
	store_close(&store);
	device_deinit(&old);
	device_deinit(&new);
	return state.len;
}

static void run(struct report *report, uint32_t n_peers, enum window window)
{
	double values[N_FIGURES][ROUNDS], figures[N_FIGURES];
	int rounds = report->is_quick ? 3 : ROUNDS;
	size_t len = 0;

	for (int i = 0; i < rounds; i++) {
		len = run_round(n_peers, window, figures);
		for (int f = 0; f < N_FIGURES; f++)
			values[f][i] = figures[f];
	}
	for (int f = 0; f < N_FIGURES; f++)
		figures[f] = bench_median(values[f], (size_t)rounds);
	report_row(report, "%u,%s,%.0f,%.0f,%.0f,%.0f,%zu", n_peers,
		   windows[window], figures[MEASURE], figures[WRITE],
		   figures[CHECK], figures[APPLY], len / 1024);
}

int main(int argc, char **argv)
{
	struct report report;

	if (crypto_init() < 0 ||
	    report_open(&report, argc, argv,
			"peers,windows,measure_us,write_us,check_us,apply_us,"
			"state_kib") < 0)
		return EXIT_FAILURE;
	rcu_register();
	run(&report, 1, LOSSY);
	for (unsigned int i = FRESH; i <= LOSSY; i++)
		run(&report, 10000, i);
	return report_close(&report) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
