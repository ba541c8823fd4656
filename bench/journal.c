/* SPDX-License-Identifier: MIT */
/*
 * What a journal costs: CPU time of sets with and without it, of noting a peer, of
 * going on in another memory, and of restoring. With and without a journal by turns, in
 * one process; each figure is the median of the rounds.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "crypto/init.h"
#include "device/config.h"
#include "identity.h"
#include "journal/journal.h"
#include "journal/restore.h"
#include "measure.h"
#include "report.h"

enum {
	ROUNDS = 11,
	/* Sets of one peer, and notes, in each round. */
	N_SMALL = 1000,
	N_PREFIXES = 2,
	/* See struct figures. */
	N_FIGURES = 7,
};

/* In the order of the columns, in us of CPU time. */
enum figure {
	ALL_PLAIN,
	ALL_JOURNAL,
	ONE_PLAIN,
	ONE_JOURNAL,
	NOTE,
	RENEW,
	RESTORE,
};

static int keep(void *arg, int fd)
{
	int *kept = arg;

	if (*kept >= 0)
		close(*kept);
	*kept = dup(fd);
	return *kept < 0 ? -1 : 0;
}

static bool is_endpoint(const struct device_endpoint *ep)
{
	(void)ep;
	return true;
}

static void add_peer(struct config *config, uint32_t i)
{
	uint8_t key[NOISE_PUBLIC_KEY_LEN] = { 9 };
	struct device_endpoint ep = { .words = { 1 + i } };
	struct ip_prefix prefix = { .family = IP_V6, .cidr = 128 };

	memcpy(key + 4, &i, sizeof(i));
	config_begin_peer(config, key);
	config_set_preshared_key(config, key);
	config_set_endpoint(config, &ep);
	config_replace_allowedips(config);
	for (uint8_t n = 0; n < N_PREFIXES; n++) {
		prefix.addr[0] = 0xfd;
		prefix.addr[1] = n;
		memcpy(prefix.addr + 12, &i, sizeof(i));
		config_add_allowedip(config, &prefix);
	}
}

static struct config *make_all(uint32_t n_peers)
{
	struct config *config = config_new();

	if (!config)
		exit(EXIT_FAILURE);
	for (uint32_t i = 0; i < n_peers; i++)
		add_peer(config, i);
	return config;
}

static void check(int err)
{
	if (err == 0)
		return;
	fprintf(stderr, "failed: %s\n", strerror(-err));
	exit(EXIT_FAILURE);
}

/* Apply one list N_SMALL times. Return: us for each. */
static double apply_small(struct journal *journal, uint32_t n_peers)
{
	struct config *config = config_new();
	uint64_t from;

	if (!config)
		exit(EXIT_FAILURE);
	add_peer(config, n_peers / 2);
	from = bench_cpu_ns();
	for (int i = 0; i < N_SMALL; i++)
		check(journal_apply(journal, config, 1));
	config_free(config);
	return (double)(bench_cpu_ns() - from) / N_SMALL / 1e3;
}

static double note_all(struct device *device)
{
	uint64_t from = bench_cpu_ns();
	struct list *item;

	list_for_each(item, &device->peers)
		device_note(container_of(item, struct peer, in_device));
	return (double)(bench_cpu_ns() - from) / 1e3 / (double)device->n_peers;
}

/* @kept: the descriptor of the journal; NULL: without one. */
static void run_round(uint32_t n_peers, int *kept, double *figures,
		      struct journal_info *info)
{
	const struct journal_ops ops = { .keep = keep };
	struct config *config = make_all(n_peers);
	struct device device;
	struct journal *journal;
	uint64_t from;

	check(device_init(&device, &identity_ops, NULL));
	journal = journal_new(&device, &ops, kept, SECRET_BEST);
	if (!journal)
		exit(EXIT_FAILURE);
	if (kept)
		check(journal_start(journal));
	from = bench_cpu_ns();
	check(journal_apply(journal, config, 1));
	figures[kept ? ALL_JOURNAL : ALL_PLAIN] =
		(double)(bench_cpu_ns() - from) / 1e3;
	figures[kept ? ONE_JOURNAL : ONE_PLAIN] = apply_small(journal, n_peers);
	if (kept) {
		figures[NOTE] = note_all(&device);
		from = bench_cpu_ns();
		check(journal_start(journal));
		figures[RENEW] = (double)(bench_cpu_ns() - from) / 1e3;
		journal_get_info(journal, info);
	}
	config_free(config);
	device_deinit(&device);
	journal_free(journal);
}

static void restore(int kept, double *figure)
{
	struct restore r = { .is_endpoint = is_endpoint, .now = 1 };
	struct device device;
	uint64_t from;

	check(device_init(&device, &identity_ops, NULL));
	r.device = &device;
	from = bench_cpu_ns();
	check(restore_run(&r, dup(kept)));
	*figure = (double)(bench_cpu_ns() - from) / 1e3;
	if (r.why)
		check(-1);
	device_deinit(&device);
}

static void run(struct report *report, uint32_t n_peers)
{
	double values[N_FIGURES][ROUNDS], figures[N_FIGURES];
	int rounds = report->is_quick ? 3 : ROUNDS;
	struct journal_info info = { 0 };

	for (int i = 0; i < rounds; i++) {
		int kept = -1;

		run_round(n_peers, NULL, figures, &info);
		run_round(n_peers, &kept, figures, &info);
		restore(kept, &figures[RESTORE]);
		close(kept);
		for (int f = 0; f < N_FIGURES; f++)
			values[f][i] = figures[f];
	}
	for (int f = 0; f < N_FIGURES; f++)
		figures[f] = bench_median(values[f], (size_t)rounds);
	report_row(report, "%u,%.0f,%.0f,%.2f,%.2f,%.2f,%.0f,%.0f,%zu,%s",
		   n_peers, figures[ALL_PLAIN], figures[ALL_JOURNAL],
		   figures[ONE_PLAIN], figures[ONE_JOURNAL], figures[NOTE],
		   figures[RENEW], figures[RESTORE], info.len / 1024,
		   info.is_secret ? "yes" : "no");
}

int main(int argc, char **argv)
{
	struct report report;

	if (crypto_init() < 0 ||
	    report_open(&report, argc, argv,
			"peers,all_us,all_journal_us,one_us,one_journal_us,"
			"note_us,renew_us,restore_us,memory_kib,is_secret") < 0)
		return EXIT_FAILURE;
	rcu_register();
	run(&report, 1);
	run(&report, 1000);
	run(&report, 10000);
	return report_close(&report) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
