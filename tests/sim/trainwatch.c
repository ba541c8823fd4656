/* SPDX-License-Identifier: MIT */
/*
 * The watch over trains (device/trainwatch.h) between a model of TCP and models
 * of paths. The sender has slow start, congestion avoidance, selective
 * acknowledgements with three duplicates, a tail probe and timeouts with
 * backoff. Segments that it sends at once leave as a train, unless the watch
 * has stopped trains. Each run draws rate, delay and number of connections,
 * whether the sender paces, as BBR does (it then sends a few segments at a
 * time), and whether it sends new data after a timeout (F-RTO, RFC 5682).
 *
 * On paths that lose trains, the watch has to stop trains within 5 s if the
 * rate falls below half, and to resume them within 60 s after the obstacle has
 * gone. One run in a hundred may take up to 15 s to stop trains, because the
 * timeouts of many connections double. On paths that lose by chance or by a
 * short queue, that reorder, or that are cut now and then, trains must be off
 * for less than 1 % of the time.
 *
 * SIM_RUNS is the number of runs of each kind of path. The seed of a run that
 * fails is printed.
 */
#include "tests/lib/check.h"

#include <stdbool.h>
#include <string.h>

#include "device/trainwatch.h"

enum {
	MSS = 1368,   /* of an MTU of 1,420: 52 bytes are IPv4 and TCP */
	WINDOW = 512, /* segments that may be in flight. A choice. */
	BURST = 45,   /* the most segments that TCP hands down at once: 64 KB */
	FLOWS_MAX = 6,	  /* connections of a run. A choice. */
	EVENTS = 1 << 14, /* more than the windows of all connections */
	DUPTHRESH = 3,	  /* duplicates: RFC 5681, section 3.2 */
};

#define MSEC	NSEC_PER_MSEC
#define RTO_MIN (200 * MSEC) /* TCP_RTO_MIN of Linux */

enum kind {
	KIND_OBSTACLE,
	KIND_LOSS_1,
	KIND_LOSS_5,
	KIND_SHORT_QUEUE,
	KIND_REORDER,
	KIND_OUTAGES,
	KINDS,
};

static const char *const kind_names[KINDS] = {
	"obstacle",    "loss of 1 %", "loss of 5 %",
	"short queue", "reordering",  "outages",
};

/* A segment in flight to the receiver, or an acknowledgement on its way. */
struct event {
	uint64_t at;
	uint32_t seg;
	uint16_t flow;
	bool is_ack;
};

enum seg_flag {
	SACKED = 1,
	LOST = 2,
	RESENT = 4,
};

struct tcp {
	uint32_t isn;
	uint32_t una, nxt;     /* in segments */
	double cwnd, ssthresh; /* in segments */
	uint8_t flags[WINDOW];
	uint64_t sent_at[WINDOW];
	uint32_t recovery; /* losses below this do not halve the window again */
	uint64_t srtt, rto, backoff, timer;
	bool probed;
	bool timed_out; /* for the first time in a row */
	bool in_f_rto;	/* new data is sent before retransmissions */
	/* the receiver */
	uint32_t expected;
	bool received[WINDOW];
};

struct sim {
	struct random rng;
	enum kind kind;
	uint64_t now, end;
	uint64_t from, gone_at; /* begin and end of the obstacle */
	uint64_t delay;		/* one way */
	uint64_t per_seg;	/* time of a segment at the bottleneck */
	uint64_t link_free;
	unsigned int queue; /* segments */
	unsigned int n_flows;
	unsigned int burst; /* segments that TCP hands down at once */
	bool has_f_rto;
	struct tcp flows[FLOWS_MAX];
	struct event heap[EVENTS];
	unsigned int n_events;
	struct trainwatch watch;
	uint64_t stopped_at, back_at, off_since, off_time;
	unsigned int stops;
	uint64_t delivered;
	uint64_t early; /* delivered 2 to 5 s after the obstacle came */
};

/* ------------------------------------------------------------ event queue */

static void push(struct sim *s, struct event e)
{
	unsigned int i = s->n_events++;

	assert_true(s->n_events < EVENTS);
	for (; i && s->heap[(i - 1) / 2].at > e.at; i = (i - 1) / 2)
		s->heap[i] = s->heap[(i - 1) / 2];
	s->heap[i] = e;
}

static struct event pop(struct sim *s)
{
	struct event top = s->heap[0], e = s->heap[--s->n_events];
	unsigned int i = 0;

	for (;;) {
		unsigned int c = 2 * i + 1;

		if (c >= s->n_events)
			break;
		if (c + 1 < s->n_events && s->heap[c + 1].at < s->heap[c].at)
			c++;
		if (s->heap[c].at >= e.at)
			break;
		s->heap[i] = s->heap[c];
		i = c;
	}
	s->heap[i] = e;
	return top;
}

static bool happens(struct sim *s, double p)
{
	return (double)(random_next(&s->rng) >> 11) * 0x1p-53 < p;
}

/* ---------------------------------------------------------------- the path */

static bool is_in_the_way(const struct sim *s)
{
	return s->kind == KIND_OBSTACLE && s->now >= s->from &&
	       s->now < s->gone_at;
}

static bool is_cut(const struct sim *s)
{
	/* The path is cut for half a second in every four. */
	return s->kind == KIND_OUTAGES && s->now / (500 * MSEC) % 8 == 7;
}

/* A segment enters the path, which may lose it. */
static void enter(struct sim *s, unsigned int flow, uint32_t seg, bool in_train)
{
	static const double loss[KINDS] = {
		[KIND_LOSS_1] = 0.01, [KIND_LOSS_5] = 0.05
	};
	uint64_t extra = 0;

	if ((in_train && is_in_the_way(s)) || is_cut(s) ||
	    happens(s, loss[s->kind]))
		return;
	if (s->link_free < s->now)
		s->link_free = s->now;
	if (s->link_free - s->now > s->queue * s->per_seg)
		return;
	s->link_free += s->per_seg;
	if (s->kind == KIND_REORDER && happens(s, 0.05))
		extra = random_below(&s->rng, 8) * s->delay / 4;
	push(s, (struct event){ .at = s->link_free + s->delay + extra,
				.seg = seg,
				.flow = (uint16_t)flow });
}

/* --------------------------------------------------------------- the watch */

static void act(struct sim *s, enum trainwatch_event event)
{
	if (event == TRAINWATCH_STOP) {
		if (!s->stops++)
			s->stopped_at = s->now;
		s->off_since = s->now;
	}
	if (event == TRAINWATCH_BACK) {
		s->off_time += s->now - s->off_since;
		s->back_at = s->now;
	}
}

/* Send @n segments from @first at once. */
static void leave(struct sim *s, unsigned int flow, uint32_t first, unsigned n)
{
	struct tcp *t = &s->flows[flow];
	struct trainwatch_segments segs = {
		.flow = flow + 1,
		.first = t->isn + first * MSS,
		.last = t->isn + (first + n - 1) * MSS,
		.end = t->isn + (first + n) * MSS,
	};
	bool is_offer = trainwatch_is_due(&s->watch, s->now) &&
			trainwatch_may_offer(&s->watch, &segs);

	segs.in_train = n > 1 && (is_offer || s->watch.state == TRAINWATCH_ON);
	if (is_offer)
		trainwatch_offered(&s->watch, &segs, s->now);
	else
		act(s, trainwatch_left(&s->watch, &segs, s->now));
	for (unsigned int i = 0; i < n; i++) {
		t->flags[(first + i) % WINDOW] &= (uint8_t)~LOST;
		t->sent_at[(first + i) % WINDOW] = s->now;
		enter(s, flow, first + i, segs.in_train);
	}
}

/* --------------------------------------------------------------- the sender */

static bool is_lost(const struct tcp *t, uint32_t seg)
{
	return t->flags[seg % WINDOW] & LOST;
}

static unsigned int in_flight(const struct tcp *t)
{
	unsigned int n = 0;

	for (uint32_t i = t->una; i < t->nxt; i++)
		n += !(t->flags[i % WINDOW] & (SACKED | LOST));
	return n;
}

/* Send the segments that the window allows, retransmissions first. */
static void transmit(struct sim *s, unsigned int flow)
{
	struct tcp *t = &s->flows[flow];
	unsigned int used = in_flight(t);
	unsigned int cwnd = (unsigned int)t->cwnd;
	uint32_t i = t->una;

	while (used < cwnd) {
		unsigned int n = 0, room = cwnd - used;

		while (i < t->nxt && (t->in_f_rto || !is_lost(t, i)))
			i++;
		if (room > s->burst)
			room = s->burst;
		if (i < t->nxt) {
			while (n < room && i + n < t->nxt && is_lost(t, i + n))
				t->flags[(i + n++) % WINDOW] |= RESENT;
			leave(s, flow, i, n);
			i += n;
		} else {
			while (n < room && t->nxt + n - t->una < WINDOW)
				t->flags[(t->nxt + n++) % WINDOW] = 0;
			if (!n)
				break;
			t->nxt += n;
			leave(s, flow, t->nxt - n, n);
			i = t->nxt;
		}
		used += n;
	}
	t->in_f_rto = false;
	/* The tail probe (RFC 8985, section 7) comes before a timeout. */
	if (!t->timer && t->nxt > t->una)
		t->timer = s->now + (t->probed ? t->rto : 2 * t->srtt);
}

static void time_out(struct sim *s, unsigned int flow)
{
	struct tcp *t = &s->flows[flow];

	if (!t->probed && t->nxt > t->una + 1) {
		/* The tail probe sends the last segment once more. */
		t->probed = true;
		t->timer = s->now + t->rto;
		leave(s, flow, t->nxt - 1, 1);
		return;
	}
	for (uint32_t i = t->una; i < t->nxt; i++)
		if (!(t->flags[i % WINDOW] & SACKED))
			t->flags[i % WINDOW] |= LOST;
	if (t->una >= t->recovery) {
		t->ssthresh = t->cwnd / 2 < 2 ? 2 : t->cwnd / 2;
		t->timed_out = true;
	}
	t->recovery = t->nxt;
	t->cwnd = 1;
	if (t->backoff < 64)
		t->backoff *= 2;
	t->timer = s->now + t->rto * t->backoff;
	transmit(s, flow);
}

/*
 * A segment counts as lost if three above it arrived, and it was sent a while
 * ago.
 */
static void find_losses(struct sim *s, struct tcp *t)
{
	unsigned int above = 0;
	bool any = false;

	for (uint32_t i = t->nxt; i-- > t->una;) {
		uint8_t *f = &t->flags[i % WINDOW];
		uint64_t age = s->now - t->sent_at[i % WINDOW];

		if (*f & SACKED) {
			above++;
		} else if (above >= DUPTHRESH && !(*f & LOST) &&
			   (!(*f & RESENT) || age > t->srtt + t->srtt / 4)) {
			*f |= LOST;
			any = true;
		}
	}
	if (any && t->una >= t->recovery) {
		t->ssthresh = t->cwnd / 2 < 2 ? 2 : t->cwnd / 2;
		t->cwnd = t->ssthresh;
		t->recovery = t->nxt;
	}
}

static void acknowledge(struct sim *s, unsigned int flow, uint32_t ack,
			uint32_t sacked)
{
	struct tcp *t = &s->flows[flow];

	act(s,
	    trainwatch_acked(&s->watch, flow + 1, t->isn + ack * MSS, s->now));
	if (sacked >= t->una && sacked < t->nxt) {
		uint8_t *f = &t->flags[sacked % WINDOW];

		/* Round trips are measured only for segments that were sent
		 * once. */
		if (!(*f & (RESENT | SACKED))) {
			uint64_t m = s->now - t->sent_at[sacked % WINDOW];

			t->srtt = t->srtt ? t->srtt * 7 / 8 + m / 8 : m;
			t->rto = t->srtt * 5 / 4 + RTO_MIN;
		}
		*f |= SACKED;
	}
	if (ack > t->una) {
		if (t->cwnd < WINDOW)
			t->cwnd += t->cwnd < t->ssthresh
					   ? ack - t->una
					   : (ack - t->una) / t->cwnd;
		t->una = ack;
		/* Only the first timeout of a row, as in RFC 5682. */
		t->in_f_rto = s->has_f_rto && t->timed_out;
		t->timed_out = false;
		t->backoff = 1;
		t->probed = false;
		t->timer = 0;
	}
	find_losses(s, t);
	transmit(s, flow);
}

/* ------------------------------------------------------------- the receiver */

static void arrive(struct sim *s, const struct event *e)
{
	struct tcp *t = &s->flows[e->flow];

	s->delivered++;
	s->early += s->now - s->from >= 2 * NSEC_PER_SEC &&
		    s->now - s->from < 5 * NSEC_PER_SEC;
	if (e->seg >= t->expected)
		t->received[e->seg % WINDOW] = true;
	while (t->received[t->expected % WINDOW])
		t->received[t->expected++ % WINDOW] = false;
	push(s, (struct event){ .at = s->now + s->delay,
				.seg = e->seg,
				.flow = e->flow,
				.is_ack = true });
}

/* ----------------------------------------------------------------- the run */

static uint64_t next_timer(const struct sim *s, unsigned int *flow)
{
	uint64_t at = UINT64_MAX;

	for (unsigned int i = 0; i < s->n_flows; i++)
		if (s->flows[i].timer && s->flows[i].timer < at) {
			at = s->flows[i].timer;
			*flow = i;
		}
	return at;
}

static void setup(struct sim *s, enum kind kind, uint64_t seed)
{
	memset(s, 0, sizeof(*s));
	s->rng.state = seed;
	for (int i = 0; i < 8; i++)
		random_next(&s->rng);
	s->kind = kind;
	s->now = NSEC_PER_SEC;
	s->end = s->now + 20 * NSEC_PER_SEC;
	s->delay = (1 + random_below(&s->rng, 60)) * MSEC / 2;
	/* 200 to 4,200 segments a second: 2 to 46 Mbit/s. */
	s->per_seg = NSEC_PER_SEC / (200 + random_below(&s->rng, 4000));
	s->queue = 100 + (unsigned int)random_below(&s->rng, 200);
	/* A sender that paces, as BBR does, hands down a few at a time. */
	s->burst = happens(s, 0.5) ? BURST
				   : 2 + (unsigned int)random_below(&s->rng, 4);
	s->has_f_rto = happens(s, 0.5);
	if (kind == KIND_SHORT_QUEUE)
		s->queue = 3 + (unsigned int)random_below(&s->rng, 30);
	if (kind == KIND_OBSTACLE) {
		/* In half of the runs the obstacle is there from the start. */
		s->from = s->now;
		if (happens(s, 0.5))
			s->from += random_below(&s->rng, 4000) * MSEC;
		s->gone_at = s->from +
			     (5 + random_below(&s->rng, 25)) * NSEC_PER_SEC;
		s->end = s->gone_at + 70 * NSEC_PER_SEC;
		/* A lower rate keeps such a long run cheap; the queue holds 0.2
		 * s. */
		s->per_seg *= 4;
		s->queue = 10 + (unsigned int)(200 * MSEC / s->per_seg);
	}
	s->n_flows = 1 + (unsigned int)random_below(&s->rng, FLOWS_MAX);
	for (unsigned int i = 0; i < s->n_flows; i++) {
		struct tcp *t = &s->flows[i];

		t->isn = (uint32_t)random_next(&s->rng);
		t->cwnd = 10;
		t->ssthresh = WINDOW;
		/* The round trip is known from TCP's handshake. */
		t->srtt = 2 * s->delay;
		t->rto = t->srtt * 5 / 4 + RTO_MIN;
		t->backoff = 1;
		t->timer = s->now + random_below(&s->rng, 1000) * MSEC / 4;
	}
}

static void run(struct sim *s)
{
	while (s->now < s->end) {
		unsigned int flow = 0;
		uint64_t timer = next_timer(s, &flow);

		if (s->n_events && s->heap[0].at <= timer) {
			struct event e = pop(s);

			s->now = e.at;
			if (e.is_ack)
				acknowledge(s, e.flow,
					    s->flows[e.flow].expected, e.seg);
			else
				arrive(s, &e);
			continue;
		}
		s->now = timer;
		s->flows[flow].timer = 0;
		if (s->flows[flow].nxt)
			time_out(s, flow);
		else
			transmit(s, flow);
	}
	if (s->watch.state != TRAINWATCH_ON)
		s->off_time += s->now - s->off_since;
}

static unsigned int runs(void)
{
	const char *text = getenv("SIM_RUNS");

	return text ? (unsigned int)strtoul(text, NULL, 0) : 60;
}

static uint64_t first_seed;

static uint64_t seed_of(enum kind kind, unsigned int i)
{
	return (first_seed + i) * KINDS + kind + 1;
}

static void test_obstacle(void **state)
{
	static struct sim s;
	uint64_t slowest = 0, latest = 0;
	unsigned int n_unhurt = 0, n_late = 0;

	(void)state;
	for (unsigned int i = 0; i < runs(); i++) {
		setup(&s, KIND_OBSTACLE, seed_of(KIND_OBSTACLE, i));
		run(&s);
		uint64_t begin = s.from;

		bool is_late = s.stopped_at - begin > 5 * NSEC_PER_SEC;
		/* A slow connection may send so few trains that losing them
		 * does not reduce its rate. */
		if (is_late && s.early > 3 * NSEC_PER_SEC / s.per_seg / 2) {
			n_unhurt++;
			continue;
		}
		n_late += is_late;
		if (!s.stops || s.stopped_at < begin ||
		    s.stopped_at - begin > 15 * NSEC_PER_SEC)
			fail_msg("run %u (seed %llu): %u flows, delay %llu us: "
				 "stopped %u times, first after %llu ms",
				 i, (unsigned long long)first_seed, s.n_flows,
				 (unsigned long long)s.delay / 1000, s.stops,
				 (unsigned long long)(s.stopped_at - begin) /
					 MSEC);
		if (s.watch.state != TRAINWATCH_ON || s.back_at < s.gone_at ||
		    s.back_at - s.gone_at > 60 * NSEC_PER_SEC)
			fail_msg("run %u (seed %llu): state %d, %llu ms after "
				 "the obstacle had gone",
				 i, (unsigned long long)first_seed,
				 (int)s.watch.state,
				 (unsigned long long)(s.back_at - s.gone_at) /
					 MSEC);
		if (s.stopped_at - begin > slowest)
			slowest = s.stopped_at - begin;
		if (s.back_at - s.gone_at > latest)
			latest = s.back_at - s.gone_at;
	}
	print_message("# %u runs: stopped after at most %llu ms, back after at "
		      "most %llu ms; %u were late, %u not slowed down\n",
		      runs(), (unsigned long long)slowest / MSEC,
		      (unsigned long long)latest / MSEC, n_late, n_unhurt);
	assert_true(n_late <= 1 + runs() / 100);
	assert_true(n_unhurt < runs() / 10);
}

static void test_no_false_alarm(void **state)
{
	static struct sim s;

	(void)state;
	for (enum kind kind = KIND_LOSS_1; kind < KINDS; kind++) {
		uint64_t off = 0, total = 0, delivered = 0;
		unsigned int stops = 0;

		for (unsigned int i = 0; i < runs(); i++) {
			setup(&s, kind, seed_of(kind, i));
			run(&s);
			off += s.off_time;
			total += 20 * NSEC_PER_SEC;
			stops += s.stops;
			delivered += s.delivered;
		}
		print_message("# %s: %u runs, trains stopped %u times, off for "
			      "%.3f %% of the time, %llu segments a run\n",
			      kind_names[kind], runs(), stops,
			      100.0 * (double)off / (double)total,
			      (unsigned long long)(delivered / runs()));
		assert_true(delivered / runs() > 100);
		assert_true(off < total / 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_obstacle),
		cmocka_unit_test(test_no_false_alarm),
	};
	struct random r;

	random_init(&r, 1);
	first_seed = r.state;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
