/* SPDX-License-Identifier: MIT */
/* Rates are differences of counters, and rows come in the order that was asked for. */
#include "ctl/sample.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/lib/check.h"

enum {
	PEERS = 3,
	PEER_LINES = 6,
};

/* An interface with the counters that a test sets. */
struct world {
	char in[24], out[24], refused[24], bad[24], when[PEERS][24];
	char rx[PEERS][24], tx[PEERS][24];
	struct ctl_line device[8];
	struct ctl_line lines[PEERS][PEER_LINES];
	struct ctl_peer peers[PEERS];
	struct ctl_snapshot snapshot;
};

static void set(char text[24], uint64_t value)
{
	snprintf(text, 24, "%llu", (unsigned long long)value);
}

static void make(struct world *w, const char *interface)
{
	const struct ctl_line device[] = {
		{ "up", "1" },
		{ "listen_port", "51820" },
		{ "udp_received_bytes", w->in },
		{ "udp_sent_bytes", w->out },
		{ "inbound_dropped_replayed", w->bad },
		{ "tun_write_dropped", w->refused },
	};

	*w = (struct world){ 0 };
	memcpy(w->device, device, sizeof(device));
	snprintf(w->snapshot.interface, sizeof(w->snapshot.interface), "%s",
		 interface);
	w->snapshot.device.all = w->device;
	w->snapshot.device.n = ARRAY_LEN(device);
	w->snapshot.peers = w->peers;
	w->snapshot.n_peers = PEERS;
	for (size_t i = 0; i < PEERS; i++) {
		const struct ctl_line lines[] = {
			{ "rx_bytes", w->rx[i] },
			{ "tx_bytes", w->tx[i] },
			{ "last_handshake_time_sec", w->when[i] },
			{ "state", i ? "none" : "established" },
			{ "endpoint", "192.0.2.1:51820" },
		};

		memcpy(w->lines[i], lines, sizeof(lines));
		w->peers[i].lines.all = w->lines[i];
		/* The last peer has no endpoint. */
		w->peers[i].lines.n = ARRAY_LEN(lines) - (i == PEERS - 1);
		snprintf(w->peers[i].key, sizeof(w->peers[i].key), "key%zu", i);
		snprintf(w->peers[i].name, sizeof(w->peers[i].name), "%c",
			 (char)('c' - i));
	}
}

static const struct ctl_row *row_of(const struct ctl_sample *s, const char *key)
{
	for (size_t i = 0; i < s->n_rows; i++)
		if (strcmp(s->rows[i].key, key) == 0)
			return &s->rows[i];
	fail_msg("there is no %s", key);
	abort();
}

/* Numbers here are small, so their differences and halves are exact. */
static void equal(double got, double wanted)
{
	if (got < wanted || got > wanted)
		fail_msg("got %f, wanted %f", got, wanted);
}

static void growth(void **state)
{
	struct ctl_sample before = { 0 }, now = { 0 };
	struct world w;

	(void)state;
	make(&w, "wg0");
	set(w.in, 1000);
	set(w.bad, 7);
	set(w.rx[0], 10);
	assert_int_equal(ctl_sample_add(&before, &w.snapshot, &now, 0), 0);
	ctl_sample_end(&before);
	equal(before.devices[0].rates[CTL_IN_BYTES], 0);
	equal(row_of(&before, "key0")->in, 0);
	assert_int_equal(before.devices[0].n_sessions, 1);
	assert_int_equal(before.devices[0].n_reasons, 2);

	set(w.in, 5000);
	set(w.bad, 9);
	set(w.refused, 5);
	set(w.rx[0], 30);
	set(w.tx[1], 8);
	assert_int_equal(ctl_sample_add(&now, &w.snapshot, &before, 2), 0);
	ctl_sample_end(&now);
	equal(now.devices[0].rates[CTL_IN_BYTES], 2000);
	equal(now.devices[0].rates[CTL_OUT_BYTES], 0);
	assert_int_equal(now.devices[0].totals[CTL_DROPS], 14);
	equal(now.devices[0].rates[CTL_DROPS], 3.5);
	equal(now.devices[0].reasons[0].rate, 1);
	equal(row_of(&now, "key0")->in, 10);
	equal(row_of(&now, "key1")->out, 4);
	assert_string_equal(row_of(&now, "key1")->endpoint, "192.0.2.1:51820");
	assert_string_equal(row_of(&now, "key2")->endpoint, "-");
	ctl_sample_free(&before);
	ctl_sample_free(&now);
}

/* A counter that has fallen begins anew; a peer of another interface, and one that was
 * not there, has no rate. */
static void restarts(void **state)
{
	struct ctl_sample before = { 0 }, now = { 0 };
	struct world w;

	(void)state;
	make(&w, "wg0");
	set(w.in, 1000);
	set(w.rx[0], 1000);
	set(w.rx[1], 1000);
	w.snapshot.n_peers = 1;
	assert_int_equal(ctl_sample_add(&before, &w.snapshot, &now, 0), 0);
	assert_int_equal(ctl_sample_add_error(&before, "wg1", -ENOENT), 0);
	ctl_sample_end(&before);

	set(w.in, 50);
	set(w.rx[0], 20);
	w.snapshot.n_peers = PEERS;
	assert_int_equal(ctl_sample_add(&now, &w.snapshot, &before, 1), 0);
	equal(now.devices[0].rates[CTL_IN_BYTES], 50);
	equal(row_of(&now, "key0")->in, 20);
	equal(row_of(&now, "key1")->in, 0);
	ctl_sample_free(&now);
	snprintf(w.snapshot.interface, sizeof(w.snapshot.interface), "wg1");
	assert_int_equal(ctl_sample_add(&now, &w.snapshot, &before, 1), 0);
	equal(now.devices[0].rates[CTL_IN_BYTES], 0);
	equal(row_of(&now, "key0")->in, 0);
	ctl_sample_free(&before);
	ctl_sample_free(&now);
}

static void check_order(const struct ctl_sample *s, const char *name,
			bool is_reversed, const char *wanted)
{
	int order = ctl_sample_order_from(name);
	const struct ctl_row **rows;
	char got[PEERS + 1] = "";

	assert_true(order >= 0);
	rows = ctl_sample_order(s, (enum ctl_order)order, is_reversed);
	assert_non_null(rows);
	for (size_t i = 0; i < PEERS; i++)
		got[i] = rows[i]->title[0];
	free(rows);
	assert_string_equal(got, wanted);
}

static void orders(void **state)
{
	struct ctl_sample before = { 0 }, now = { 0 };
	struct world w;

	(void)state;
	make(&w, "wg0");
	assert_int_equal(ctl_sample_add(&before, &w.snapshot, &now, 0), 0);
	ctl_sample_end(&before);
	/* Peers 0, 1 and 2 are called c, b and a. */
	set(w.rx[0], 3);
	set(w.rx[1], 5);
	set(w.rx[2], 1);
	set(w.tx[2], 1);
	set(w.when[0], 100);
	set(w.when[1], 300);
	assert_int_equal(ctl_sample_add(&now, &w.snapshot, &before, 1), 0);
	ctl_sample_end(&now);
	check_order(&now, "in", false, "bca");
	check_order(&now, "in", true, "acb");
	check_order(&now, "out", false, "abc");
	check_order(&now, "handshake", false, "bca");
	check_order(&now, "drops", false, "abc");
	check_order(&now, "name", false, "abc");
	check_order(&now, "name", true, "cba");
	assert_int_equal(ctl_sample_order_from("names"), -1);
	assert_int_equal(ctl_sample_order_from(""), -1);
	ctl_sample_free(&before);
	ctl_sample_free(&now);
}

static void numbers(void **state)
{
	static const struct {
		double value;
		const char *text;
	} cases[] = {
		{ 0, "0" },	     { 1, "1" },
		{ 999.4, "999" },    { 999.5, "1.0 k" },
		{ 1000, "1.0 k" },   { 9940, "9.9 k" },
		{ 9960, "10 k" },    { 412000, "412 k" },
		{ 999400, "999 k" }, { 999600, "1.0 M" },
		{ 3.1e9, "3.1 G" },  { 2e13, "20 T" },
		{ 1.8e19, "18 E" },  { 1e25, "10000000 E" },
	};
	char text[CTL_SAMPLE_NUMBER_CAP];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_string_equal(ctl_sample_print(text, cases[i].value),
				    cases[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(growth),
		cmocka_unit_test(restarts),
		cmocka_unit_test(orders),
		cmocka_unit_test(numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
