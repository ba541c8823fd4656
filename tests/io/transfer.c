/* SPDX-License-Identifier: MIT */
/*
 * Real traffic through the library: datagrams of random sizes between two
 * sockets arrive byte-identical and in order, in both families, over loopback
 * and between two namespaces, with segmentation on, off and capped, merged or
 * not, over a link of 1,280 bytes MTU, and over devices without checksum
 * offload.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "tests/lib/netns.h"
#include "tests/platform/datagram.h"
#include "udpgather.h"

enum {
	/* Datagrams of a run. A choice. */
	MOST = 10000,
	/* More than the MOST datagrams of up to 2,000 bytes need. */
	MEMORY = 24 << 20,
	/* Datagrams that are sent before others are received. A choice. */
	BATCH = 128
};

/* One direction: sender, destination, and received datagrams. */
struct way {
	struct ug_socket *tx, *rx;
	struct ug_batch *batch;
	struct ug_receiver *rcv;
	struct ug_endpoint to;
	int family;
};

static int home, far; /* namespaces */
static unsigned char *memory;
static struct iovec vectors[MOST];
static struct ug_datagram dgrams[MOST];
static int status[MOST];

static struct ug_socket *open_in(int ns, enum ug_families families)
{
	struct ug_options opt = { .size = sizeof(opt), .families = families };
	struct ug_socket *sock;

	assert_int_equal(netns_enter(ns), 0);
	assert_int_equal(ug_open(&sock, &opt, NULL), 0);
	assert_int_equal(netns_enter(home), 0);
	return sock;
}

static void way_open(struct way *w, int tx_ns, int rx_ns, const char *host)
{
	enum ug_families families =
		strchr(host, ':') ? UG_IPV6_ONLY : UG_IPV4_ONLY;
	char text[UG_ENDPOINT_TEXT];

	*w = (struct way){
		.tx = open_in(tx_ns, families),
		.rx = open_in(rx_ns, families),
		.family = families == UG_IPV6_ONLY ? AF_INET6 : AF_INET,
	};
	snprintf(text, sizeof(text), "%s:%u", host, ug_port(w->rx));
	assert_int_equal(ug_endpoint_parse(&w->to, text), 0);
	assert_int_equal(ug_batch_new(&w->batch, BATCH), 0);
	assert_int_equal(ug_receiver_new(&w->rcv, 16), 0);
}

static void way_close(struct way *w)
{
	ug_receiver_free(w->rcv);
	ug_batch_free(w->batch);
	ug_close(w->rx);
	ug_close(w->tx);
}

/*
 * Lengths like those of real traffic: runs of one length with a shorter end,
 * mixed with random ones.
 */
static size_t random_len(struct random *r, size_t most)
{
	static size_t run, len;

	if (!run) {
		run = 1 + random_below(r, 60);
		len = 1 + random_below(r, most);
	}
	run--;
	if (!random_below(r, 50))
		return random_below(r, most + 1);
	return run ? len : 1 + random_below(r, len);
}

/* Make datagrams that hold their number, as far as it fits. */
static void make(size_t n, size_t most, struct random *r)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		size_t len = random_len(r, most);

		assert_true(at + len < MEMORY);
		for (size_t k = 0; k < len; k++)
			memory[at + k] = (unsigned char)(i * 31 + (i >> 8) +
							 k * 7 + (k >> 8));
		vectors[i] = (struct iovec){ memory + at, len };
		dgrams[i] = (struct ug_datagram){
			.iov = &vectors[i],
			.n_iov = 1,
			.tos = (uint8_t)(i / 500 % 2 ? 0x88 : 0),
		};
		/* Half of the datagrams are neighbours in memory. */
		at += len + random_below(r, 2);
	}
}

/* Receive datagrams and compare them with the expected ones. */
static size_t drain(struct way *w, size_t next, int timeout_ms)
{
	struct ug_view views[100];
	int n;

	while ((n = ug_receive(w->rcv, w->rx, w->family, views,
			       ARRAY_LEN(views), timeout_ms)) > 0) {
		for (int i = 0; i < n; i++, next++) {
			const struct iovec *sent = &vectors[next];

			assert_int_equal(views[i].len, sent->iov_len);
			assert_memory_equal(views[i].data, sent->iov_base,
					    sent->iov_len);
			assert_int_equal(views[i].tos, dgrams[next].tos);
		}
		timeout_ms = 0;
	}
	assert_int_equal(n, 0);
	return next;
}

static void transfer(struct way *w, size_t n)
{
	size_t sent = 0, got = 0;

	while (sent < n) {
		/* The receiver's buffer holds this much: nothing may drop. */
		size_t some = size_min(n - sent, BATCH);

		assert_int_equal(ug_send(w->tx, w->batch, &w->to, dgrams + sent,
					 some, status, 1000),
				 some);
		sent += some;
		got = drain(w, got, 0);
	}
	while (got < n) {
		size_t before = got;

		got = drain(w, got, 2000);
		assert_true(got > before);
	}
	assert_int_equal(got, n);
}

/* Send over one direction in all modes of both ends. */
static void all_modes(struct way *w, size_t most, struct random *r)
{
	static const unsigned int segments[] = { UG_SEGMENTS_AUTO,
						 UG_SEGMENTS_OFF, 2, 17 };
	static const size_t counts[] = { 1, 2, 63, 64, 65, 1000 };

	for (size_t s = 0; s < ARRAY_LEN(segments); s++) {
		assert_int_equal(ug_set_segments(w->tx, segments[s]), 0);
		for (int merging = 0; merging < 2; merging++) {
			assert_int_equal(ug_set_merging(w->rx, merging), 0);
			for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
				make(counts[i], most, r);
				transfer(w, counts[i]);
			}
		}
	}
	assert_int_equal(ug_set_segments(w->tx, UG_SEGMENTS_AUTO), 0);
	make(MOST, size_min(most, 2000), r);
	transfer(w, MOST);
}

static void expect_trains(const struct way *w, bool some)
{
	struct ug_send_stats tx;

	ug_get_send_stats(w->batch, &tx, sizeof(tx));
	assert_int_equal(tx.failed, 0);
	assert_int_equal(tx.unsent, 0);
	assert_int_equal(tx.datagrams > tx.messages, some);
}

static void loopback(void **state)
{
	static const char *const hosts[] = { "127.0.0.1", "[::1]" };
	struct random r;

	(void)state;
	random_init(&r, 0x5eed0005);
	for (size_t i = 0; i < 2; i++) {
		struct ug_receive_stats rx;
		struct way w;

		way_open(&w, home, home, hosts[i]);
		all_modes(&w, 9000, &r);
		expect_trains(&w, true);
		ug_get_receive_stats(w.rcv, &rx, sizeof(rx));
		assert_int_equal(rx.datagrams > rx.messages,
				 device_takes_trains("lo"));
		/* Datagrams of the largest length. */
		make(3, 10, &r);
		for (size_t k = 0; k < 3; k++)
			vectors[k] = (struct iovec){ memory,
						     i ? UG_MAX_DATAGRAM_IPV6
						       : UG_MAX_DATAGRAM_IPV4 };
		transfer(&w, 3);
		way_close(&w);
	}
}

/*
 * Whether the kernel takes trains to a host. Before Linux 6.11 it refuses them
 * if the device makes no checksums.
 */
static bool takes_trains(const char *host)
{
	static const uint8_t bytes[2000];
	union address to = address_set(host, 9);
	int fd = udp_open(strchr(host, ':') ? "::" : "0.0.0.0", false, NULL);
	ssize_t n = udp_send_bytes(fd, &to, bytes, sizeof(bytes), 1000);

	close(fd);
	assert_true(n == sizeof(bytes) || n == -EIO);
	seen(n > 0, "trains to %s: %s", host,
	     n > 0 ? "taken" : "refused; datagrams go alone");
	return n > 0;
}

/* Between namespaces, over a device of this MTU. */
static void over_veth(unsigned int net, unsigned int mtu, size_t most,
		      const char *offload)
{
	char host4[32], host6[40], bare6[32], name[8];
	const char *const hosts[] = { host4, host6 };
	const char *const bare[] = { host4, bare6 };
	struct random r;

	random_init(&r, 0x5eed0006 + net);
	snprintf(name, sizeof(name), "io%u", net);
	assert_int_equal(netns_join(home, far, name, net, mtu), 0);
	if (offload) {
		char cmd[128];

		snprintf(cmd, sizeof(cmd), "ethtool -K %s %s >/dev/null", name,
			 offload);
		assert_int_equal(system(cmd), 0);
		assert_int_equal(netns_enter(far), 0);
		assert_int_equal(system(cmd), 0);
		assert_int_equal(netns_enter(home), 0);
	}
	snprintf(host4, sizeof(host4), "10.%u.0.2", net);
	snprintf(bare6, sizeof(bare6), "fd00:%u::2", net);
	snprintf(host6, sizeof(host6), "[%s]", bare6);
	for (size_t i = 0; i < 2; i++) {
		struct way w;

		way_open(&w, home, far, hosts[i]);
		all_modes(&w, most, &r);
		expect_trains(&w, takes_trains(bare[i]));
		way_close(&w);
	}
	assert_int_equal(netns_ip("link del %s", name), 0);
}

static void veth(void **state)
{
	(void)state;
	over_veth(1, 1500, 1452, NULL);
}

/* Segments above the MTU: single datagrams pass, in fragments. */
static void small_mtu(void **state)
{
	(void)state;
	over_veth(2, 1280, 1452, NULL);
}

static void jumbo(void **state)
{
	(void)state;
	over_veth(3, 9000, 8952, NULL);
}

/* The kernel, and not the device, computes checksums and cuts segments. */
static void no_checksum_offload(void **state)
{
	(void)state;
	over_veth(4, 1500, 1452, "tx-checksum-ip-generic off");
}

static void no_segmentation_offload(void **state)
{
	(void)state;
	over_veth(5, 1500, 1452, "tx-udp-segmentation off gso off gro on");
}

static int setup(void **state)
{
	(void)state;
	memory = malloc(MEMORY);
	far = netns_new();
	home = netns_new();
	return memory && far >= 0 && home >= 0 ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	free(memory);
	close(far);
	close(home);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loopback),
		cmocka_unit_test(veth),
		cmocka_unit_test(small_mtu),
		cmocka_unit_test(jumbo),
		cmocka_unit_test(no_checksum_offload),
		cmocka_unit_test(no_segmentation_offload),
	};

	netns_require();
	return cmocka_run_group_tests(tests, setup, teardown);
}
