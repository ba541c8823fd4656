/* SPDX-License-Identifier: MIT */
/*
 * The path MTU (device/pmtu.h) between a model of TCP and models of paths. The sender
 * has slow start, congestion avoidance, a fast retransmission after three duplicates,
 * and timeouts with backoff, after which it sends all again from the first byte that is
 * not acknowledged. It has 1,368 bytes to a segment, which the tunnel cuts as it is told
 * to. Time passes in steps of a millisecond.
 *
 * A path that loses packets above a limit, from the start or from some time on, has to
 * be found out within 15 s, and its limit to within PMTU_FINE, after which the stream
 * goes on. On paths that lose by chance or by a short queue, or that reorder, nothing
 * may be learnt. If a path is cut now and then, a lesson may be learnt in one run of a
 * hundred: the end of each of two outages may come between a long and a short packet.
 *
 * SIM_RUNS is the number of runs of each kind of path. The seed of a run that fails is
 * printed.
 */
#include "tests/lib/check.h"

#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"
#include "device/pmtu.h"

#define MSEC NSEC_PER_MSEC

enum {
	MSS = 1368,
	HEADERS = 112, /* inner and outer ones, and those of the data message */
	FULL = MSS + HEADERS,
	WINDOW = 1 << 16, /* bytes that may be in flight. A choice. */
	EVENTS = 1 << 14,
	SLOTS = 1024,  /* ms that an event may lie ahead */
	RTO_MIN = 200, /* ms, as in Linux */
	RTO_MAX = 120000,
	RUN = 60000, /* ms of a run */
	FLOW = 5,
};

enum kind {
	KIND_HOLE,
	KIND_LATER_HOLE,
	KIND_LOSS_1,
	KIND_LOSS_5,
	KIND_SHORT_QUEUE,
	KIND_REORDER,
	KIND_OUTAGES,
	KINDS,
};

static const char *const kind_names[KINDS] = {
	"black hole",  "later black hole", "loss of 1 %", "loss of 5 %",
	"short queue", "reordering",	   "outages",
};

/* A piece of data on its way, or an acknowledgement. */
struct event {
	int next;
	bool is_ack;
	uint32_t seq;
	uint32_t len;
};

static struct world {
	struct random rng;
	struct pmtu pmtu;
	enum kind kind;
	uint32_t limit;	    /* outer bytes; packets above it are lost */
	unsigned int since; /* ms: from when on */
	unsigned int delay; /* ms, one way */
	unsigned int cut_until, cut_next; /* ms: an outage */
	unsigned int now;
	unsigned int n_queued;
	/* The sender. */
	uint32_t una, nxt, highest;
	double cwnd, ssthresh; /* bytes */
	unsigned int rto, timer, dups;
	uint32_t recovery;
	/* The receiver: bytes that have come, and the first that has not. */
	uint8_t got[WINDOW * 2];
	uint32_t next;
	/* Events by the ms in which they happen. */
	struct event events[EVENTS];
	int free, heads[SLOTS], tails[SLOTS];
	/* What was learnt. */
	unsigned int lost_at; /* ms; 0: nothing */
	unsigned int n_lost;
} w;

static uint64_t now_ns(void)
{
	return (1000 + (uint64_t)w.now) * MSEC;
}

static bool happens(unsigned int of_10000)
{
	return random_below(&w.rng, 10000) < of_10000;
}

static void push(unsigned int at, bool is_ack, uint32_t seq, uint32_t len)
{
	int i = w.free, *head = &w.heads[at % SLOTS];

	assert_true(i >= 0);
	w.free = w.events[i].next;
	w.events[i] = (struct event){ -1, is_ack, seq, len };
	if (*head < 0)
		*head = i;
	else
		w.events[w.tails[at % SLOTS]].next = i;
	w.tails[at % SLOTS] = i;
}

static bool is_lost(uint32_t len)
{
	switch (w.kind) {
	case KIND_HOLE:
	case KIND_LATER_HOLE:
		return w.now >= w.since && len > w.limit;
	case KIND_LOSS_1:
		return happens(100);
	case KIND_LOSS_5:
		return happens(500);
	case KIND_SHORT_QUEUE:
		return w.n_queued >= 20;
	case KIND_OUTAGES:
		return w.now < w.cut_until;
	case KIND_REORDER:
	case KINDS:
	default:
		return false;
	}
}

/* A piece of data leaves as one outer packet. */
static void leave(uint32_t seq, uint32_t len)
{
	unsigned int jitter = w.kind == KIND_REORDER && happens(300) ? 10 : 0;

	w.n_queued++;
	if (!is_lost(len + HEADERS))
		push(w.now + w.delay + jitter, false, seq, len);
}

static void report(uint32_t seq, uint32_t bytes, uint32_t piece)
{
	const struct pmtu_segment s = {
		.flow = FLOW,
		.first = seq,
		.end = seq + bytes,
		.len = (uint32_t)size_min(bytes, piece) + HEADERS,
	};

	pmtu_segment_left(&w.pmtu, &s, now_ns());
}

/* The tunnel sends a segment: it cuts it as the path MTU says. */
static void tunnel(uint32_t seq, uint32_t len)
{
	struct pmtu_limits limits;
	uint32_t piece = len, at = 0;

	pmtu_get_limits(&w.pmtu, &limits, now_ns());
	if (limits.cut)
		piece = limits.cut - HEADERS;
	if (limits.probe && limits.probe - HEADERS <= len &&
	    pmtu_may_probe(&w.pmtu, FLOW, seq)) {
		at = limits.probe - HEADERS;
		leave(seq, at);
		report(seq, at, at);
	}
	if (at == len)
		return;
	report(seq + at, len - at, piece);
	for (; at < len; at += piece)
		leave(seq + at, (uint32_t)size_min(len - at, piece));
}

static void send_at(uint32_t seq)
{
	tunnel(seq, MSS);
	if (!w.timer)
		w.timer = w.now + w.rto;
}

static void send_more(void)
{
	while (w.nxt + MSS - w.una <= (uint32_t)w.cwnd) {
		send_at(w.nxt);
		w.nxt += MSS;
		if ((int32_t)(w.nxt - w.highest) > 0)
			w.highest = w.nxt;
	}
}

static void time_out(void)
{
	w.ssthresh = w.cwnd / 2 > 2 * MSS ? w.cwnd / 2 : 2 * MSS;
	w.cwnd = MSS;
	w.nxt = w.una;
	w.dups = 0;
	w.recovery = w.highest; /* RFC 6582, section 4 */
	w.rto = w.rto * 2 < RTO_MAX ? w.rto * 2 : RTO_MAX;
	w.timer = 0;
	send_more();
}

static void take_ack(uint32_t ack)
{
	enum pmtu_event event = pmtu_acked(&w.pmtu, FLOW, ack, now_ns());

	if (event == PMTU_LOST) {
		w.n_lost++;
		w.lost_at = w.lost_at ? w.lost_at : w.now;
	}
	if ((int32_t)(ack - w.una) > 0) {
		w.una = ack;
		if ((int32_t)(w.nxt - ack) < 0)
			w.nxt = ack;
		w.dups = 0;
		w.rto = RTO_MIN + 2 * w.delay;
		w.timer = w.highest == ack ? 0 : w.now + w.rto;
		w.cwnd += w.cwnd < w.ssthresh ? MSS : MSS * (MSS / w.cwnd);
		if (w.cwnd > WINDOW / 2)
			w.cwnd = WINDOW / 2;
	} else if (ack == w.una && ++w.dups == 3 &&
		   (int32_t)(w.una - w.recovery) >= 0) {
		w.ssthresh = w.cwnd / 2 > 2 * MSS ? w.cwnd / 2 : 2 * MSS;
		w.cwnd = w.ssthresh;
		w.recovery = w.highest;
		send_at(w.una);
	}
	send_more();
}

/* Set bytes of the ring. */
static void fill(uint32_t seq, uint32_t len, int value)
{
	size_t at = seq % sizeof(w.got);
	size_t first = size_min(len, sizeof(w.got) - at);

	memset(w.got + at, value, first);
	memset(w.got, value, len - first);
}

/* How many bytes have come from there on, up to the end of the ring. */
static uint32_t count_got(uint32_t seq)
{
	size_t at = seq % sizeof(w.got), left = sizeof(w.got) - at;
	const uint8_t *end = memchr(w.got + at, 0, left);

	return (uint32_t)(end ? (size_t)(end - (w.got + at)) : left);
}

static void take_data(uint32_t seq, uint32_t len)
{
	uint32_t old = (int32_t)(w.next - seq) > 0
			       ? (uint32_t)size_min(w.next - seq, len)
			       : 0;

	fill(seq + old, len - old, 1);
	for (uint32_t n; (n = count_got(w.next)) != 0; w.next += n)
		fill(w.next, n, 0);
	push(w.now + w.delay, true, w.next, 0);
}

static void step(void)
{
	int *head = &w.heads[w.now % SLOTS];

	w.n_queued = 0;
	if (w.kind == KIND_OUTAGES && w.now >= w.cut_next) {
		w.cut_until =
			w.now + 300 + (unsigned int)random_below(&w.rng, 6000);
		w.cut_next = w.cut_until + 2000 +
			     (unsigned int)random_below(&w.rng, 5000);
	}
	while (*head >= 0) {
		struct event e = w.events[*head];
		int i = *head;

		*head = e.next;
		w.events[i].next = w.free;
		w.free = i;
		if (e.is_ack)
			take_ack(e.seq);
		else
			take_data(e.seq, e.len);
	}
	if (w.timer && w.now >= w.timer)
		time_out();
	send_more();
	w.now++;
}

static void begin(enum kind kind)
{
	struct random rng = w.rng;

	memset(&w, 0, sizeof(w));
	w.rng = rng;
	w.kind = kind;
	w.limit = PMTU_MIN + (uint32_t)random_below(&w.rng, FULL - PMTU_MIN);
	w.delay = 5 + (unsigned int)random_below(&w.rng, 60);
	w.since = kind == KIND_LATER_HOLE ? 5000 : 0;
	w.cut_next = 3000;
	w.cwnd = 10 * MSS;
	w.ssthresh = WINDOW;
	w.rto = RTO_MIN + 2 * w.delay;
	w.una = w.nxt = w.highest = w.next = w.recovery =
		(uint32_t)random_next(&w.rng);
	for (int i = 0; i < EVENTS; i++)
		w.events[i].next = i + 1 < EVENTS ? i + 1 : -1;
	for (int i = 0; i < SLOTS; i++)
		w.heads[i] = -1;
}

static void check_hole(void)
{
	assert_true(w.lost_at);
	assert_true(w.lost_at - w.since < 15000);
	assert_int_equal(w.n_lost, 1);
	assert_in_range(w.pmtu.mtu, w.limit - PMTU_FINE, w.limit);
}

/* Return: whether something was learnt. */
static bool run(enum kind kind)
{
	uint64_t seed = w.rng.state;
	uint32_t before = 0;

	begin(kind);
	while (w.now < RUN) {
		if (w.now == RUN - 10000)
			before = w.next;
		step();
	}
	if ((kind <= KIND_LATER_HOLE) != (w.n_lost == 1) ||
	    (w.next == before && kind != KIND_OUTAGES))
		print_error("%s: seed %llu, limit %u, delay %u, learnt %u "
			    "times\n",
			    kind_names[kind], (unsigned long long)seed, w.limit,
			    w.delay, w.n_lost);
	if (kind <= KIND_LATER_HOLE)
		check_hole();
	else if (kind != KIND_OUTAGES)
		assert_int_equal(w.n_lost, 0);
	/* In an outage a timeout may be long. */
	assert_true(w.next != before || kind == KIND_OUTAGES);
	return w.n_lost > 0;
}

static void run_all(enum kind kind)
{
	const char *text = getenv("SIM_RUNS");
	long runs = text ? strtol(text, NULL, 10) : 30;
	long learnt = 0;

	for (long i = 0; i < runs; i++)
		learnt += run(kind);
	if (kind == KIND_OUTAGES)
		assert_in_range(learnt, 0, 1 + runs / 100);
}

static void black_holes(void **state)
{
	(void)state;
	run_all(KIND_HOLE);
}

static void later_black_holes(void **state)
{
	(void)state;
	run_all(KIND_LATER_HOLE);
}

static void others(void **state)
{
	(void)state;
	for (int kind = KIND_LOSS_1; kind < KINDS; kind++)
		run_all((enum kind)kind);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(black_holes),
		cmocka_unit_test(later_black_holes),
		cmocka_unit_test(others),
	};

	random_init(&w.rng, 20261129);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
