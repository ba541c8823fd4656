/* SPDX-License-Identifier: MIT */
/*
 * The rules of pmtu.h. A lesson is only made in learn(). A trial, a search and a
 * watch all know one TCP segment by its connection and first sequence number.
 */
#include "device/pmtu.h"

#include <string.h>

#include "base/bytes.h"

/* The time between two marks. */
#define MARK_APART (PMTU_RECENT / PMTU_MARKS)

/* Comparison of sequence numbers, which wrap (RFC 9293, section 3.4). */
static bool is_after(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0;
}

/* Is the time @at set, and not older than @span? */
static bool is_recent(uint64_t at, uint64_t span, uint64_t now)
{
	return at && !clock_has_passed(at, span, now);
}

/* --------------------------------------------------------------- what was sent */

static void add_mark(struct pmtu *p, uint64_t counter, uint64_t now)
{
	memmove(p->marks + 1, p->marks, (PMTU_MARKS - 1) * sizeof(*p->marks));
	p->marks[0] = (struct pmtu_mark){ now, counter };
}

void pmtu_sent(struct pmtu *p, uint32_t index, uint64_t counter, uint64_t n,
	       uint32_t longest, uint64_t now)
{
	if (!p->marks[0].at || p->index != index) {
		memset(p->marks, 0, sizeof(p->marks));
		p->index = index;
		p->next = 0;
		p->longest = 0;
	}
	if (!p->marks[0].at ||
	    clock_has_passed(p->marks[0].at, MARK_APART, now))
		add_mark(p, counter, now);
	if (p->next < counter + n)
		p->next = counter + n;
	if (p->longest < longest)
		p->longest = longest;
}

/* Was this counter drawn in the last ten seconds? */
static bool was_sent(const struct pmtu *p, uint32_t index, uint64_t counter,
		     uint64_t now)
{
	if (p->index != index || counter >= p->next)
		return false;
	for (int i = 0; i < PMTU_MARKS; i++)
		if (is_recent(p->marks[i].at, PMTU_RECENT, now) &&
		    counter >= p->marks[i].counter)
			return true;
	return false;
}

/* --------------------------------------------------------------------- lessons */

static void stop_watch(struct pmtu *p)
{
	memset(&p->watch, 0, sizeof(p->watch));
}

/* Take a path MTU as a lesson, if it is smaller than the last one. */
static bool learn(struct pmtu *p, uint32_t mtu, uint64_t now)
{
	if (mtu < PMTU_MIN)
		mtu = PMTU_MIN;
	if (p->mtu && mtu >= p->mtu)
		return false;
	p->mtu = mtu;
	p->learnt_at = now;
	p->state = PMTU_OPEN;
	p->signs = 0;
	stop_watch(p);
	return true;
}

/* Numbers of RFC 1191, section 7.1, for a router that tells none. */
static uint32_t below(uint32_t len)
{
	static const uint32_t plateaus[] = { 32000, 17914, 8166,    4352,
					     2002,  1492,  PMTU_MIN };

	for (size_t i = 0; i < ARRAY_LEN(plateaus); i++)
		if (plateaus[i] < len)
			return plateaus[i];
	return PMTU_MIN;
}

enum pmtu_event pmtu_report(struct pmtu *p, uint32_t index, uint64_t counter,
			    uint32_t mtu, uint64_t now)
{
	uint32_t len = p->mtu && p->mtu < p->longest ? p->mtu : p->longest;

	if (!was_sent(p, index, counter, now))
		return PMTU_REFUSED;
	if (!mtu)
		mtu = below(len);
	/* A router does not refuse what is not longer than it takes. */
	if (mtu >= len)
		return PMTU_NOTHING;
	if (mtu < PMTU_MIN)
		p->is_tiny = true;
	return learn(p, mtu, now) ? PMTU_LEARNT : PMTU_NOTHING;
}

enum pmtu_event pmtu_local(struct pmtu *p, uint32_t mtu, uint64_t now)
{
	if (mtu < PMTU_MIN)
		p->is_tiny = true;
	return learn(p, mtu, now) ? PMTU_LEARNT : PMTU_NOTHING;
}

void pmtu_hint(struct pmtu *p, uint32_t mtu, uint64_t now)
{
	if (!mtu)
		mtu = PMTU_MIN;
	p->hint = mtu < PMTU_MIN ? PMTU_MIN : mtu;
	p->hint_at = now;
}

/* --------------------------------------------------------------- black holes */

static bool has_hint(const struct pmtu *p, uint64_t now)
{
	return is_recent(p->hint_at, PMTU_HINT, now);
}

static void begin_trial(struct pmtu *p, uint64_t now)
{
	p->trial = PMTU_MIN;
	if (has_hint(p, now) && p->hint < p->watch.len)
		p->trial = p->hint;
	p->trial_at = now;
	p->state = PMTU_TRIAL;
}

/* The length that is to be tried next, between what passes and what fails. */
static uint32_t next_probe(const struct pmtu *p)
{
	/* A lesson that has expired: try the full length. */
	if (p->fails > p->top)
		return p->top;
	return (p->mtu + p->fails) / 2;
}

static bool is_found(const struct pmtu *p)
{
	return p->fails <= p->top && p->fails - p->mtu <= PMTU_FINE;
}

/* A segment of the search was lost. */
static void note_failure(struct pmtu *p, uint64_t now)
{
	uint32_t len = p->watch.len;

	stop_watch(p);
	p->probe_at = now + PMTU_PROBE_PAUSE;
	if (++p->n_fails < PMTU_PROBE_TRIES)
		return;
	p->n_fails = 0;
	p->fails = len;
	p->learnt_at = now;
	if (is_found(p))
		p->state = PMTU_SETTLED;
}

/* A segment of the search was acknowledged. */
static enum pmtu_event note_success(struct pmtu *p, uint64_t now)
{
	uint32_t len = p->watch.len;

	stop_watch(p);
	p->n_fails = 0;
	p->probe_at = now + PMTU_PROBE_PAUSE;
	if (p->fails > p->top) {
		/* The full length passes again. */
		p->mtu = 0;
		p->state = PMTU_OPEN;
		p->signs = 0;
		return PMTU_RAISED;
	}
	p->mtu = len;
	p->learnt_at = now;
	if (is_found(p))
		p->state = PMTU_SETTLED;
	return PMTU_RAISED;
}

static void watch(struct pmtu *p, const struct pmtu_segment *s, bool is_new,
		  uint64_t now)
{
	p->watch = (struct pmtu_watch){
		.flow = s->flow,
		.seq = s->first,
		.len = s->len,
		.n = 1,
		.at = now,
		.is_new = is_new,
	};
}

bool pmtu_may_probe(const struct pmtu *p, uint64_t flow, uint32_t first)
{
	const struct pmtu_flow *f = &p->flows[flow % PMTU_FLOWS];

	return f->flow == flow && !is_after(f->end, first);
}

/* Note how far a connection has come. Return: true if this is known to be new data. */
static bool note_flow(struct pmtu *p, const struct pmtu_segment *s)
{
	struct pmtu_flow *f = &p->flows[s->flow % PMTU_FLOWS];
	bool is_new = pmtu_may_probe(p, s->flow, s->first);

	if (f->flow != s->flow || is_after(s->end, f->end))
		*f = (struct pmtu_flow){ s->flow, s->end };
	return is_new;
}

/* A segment leaves while the limit is searched for. */
static void search(struct pmtu *p, const struct pmtu_segment *s, bool is_new,
		   uint64_t now)
{
	struct pmtu_watch *w = &p->watch;

	if (w->flow && w->flow == s->flow && s->first == w->seq)
		note_failure(p, now);
	else if (w->flow && w->flow == s->flow && is_after(w->seq, s->first))
		/* Data before the segment was lost, and perhaps only that. */
		stop_watch(p);
	else if (is_new && s->len > p->mtu && s->len < p->fails &&
		 (!w->flow || clock_has_passed(w->at, PMTU_PROBE_WAIT, now)))
		watch(p, s, is_new, now);
}

/* A long segment leaves on a path that is not known to lose such. */
static void doubt(struct pmtu *p, const struct pmtu_segment *s, bool is_new,
		  uint64_t now)
{
	struct pmtu_watch *w = &p->watch;
	unsigned int tries =
		p->signs || has_hint(p, now) ? PMTU_TRIES_DOUBT : PMTU_TRIES;

	if (!w->flow || clock_has_passed(w->at, PMTU_WATCH_IDLE, now)) {
		watch(p, s, is_new, now);
		return;
	}
	if (w->flow != s->flow || is_after(s->first, w->seq))
		return;
	if (s->first != w->seq) {
		/* Data before the segment is not acknowledged either. */
		watch(p, s, false, now);
		return;
	}
	w->at = now;
	if (++w->n >= tries)
		begin_trial(p, now);
}

void pmtu_segment_left(struct pmtu *p, const struct pmtu_segment *s,
		       uint64_t now)
{
	bool is_new = note_flow(p, s);
	bool is_next = s->flow == p->acked_flow && s->first == p->acked;

	if (p->state == PMTU_SEARCH)
		search(p, s, is_new, now);
	else if (p->state == PMTU_OPEN && s->len > PMTU_MIN)
		doubt(p, s, is_new || is_next, now);
	else if (p->state == PMTU_TRIAL && s->len <= p->trial &&
		 s->flow == p->watch.flow && s->first == p->watch.seq)
		p->watch.was_short = true;
}

/* What was lost while it was long has passed while it was short. */
static enum pmtu_event note_sign(struct pmtu *p, uint64_t now)
{
	uint32_t len = p->watch.len, mtu = p->trial;
	bool has_proof = ++p->signs >= PMTU_SIGNS ||
			 (has_hint(p, now) && p->hint == p->trial);

	stop_watch(p);
	p->state = PMTU_OPEN;
	p->sign_flow = p->acked_flow;
	p->sign_ack = p->acked;
	if (!has_proof || !learn(p, mtu, now))
		return PMTU_NOTHING;
	p->top = len;
	p->fails = len;
	p->n_fails = 0;
	p->probe_at = now + PMTU_PROBE_PAUSE;
	p->state = is_found(p) ? PMTU_SETTLED : PMTU_SEARCH;
	return PMTU_LOST;
}

enum pmtu_event pmtu_acked(struct pmtu *p, uint64_t flow, uint32_t ack,
			   uint64_t now)
{
	struct pmtu_watch *w = &p->watch;

	p->acked_flow = flow;
	p->acked = ack;
	/* So much cannot have been in short segments: long ones pass. */
	if (p->signs && p->state == PMTU_OPEN && flow == p->sign_flow &&
	    is_after(ack, p->sign_ack + PMTU_PROGRESS))
		p->signs = 0;
	if (!w->flow || w->flow != flow || !is_after(ack, w->seq))
		return PMTU_NOTHING;
	if (p->state == PMTU_SEARCH)
		return note_success(p, now);
	if (p->state == PMTU_TRIAL && w->was_short)
		return note_sign(p, now);
	/* A long segment has arrived: there is no black hole. */
	if (w->is_new || p->state == PMTU_TRIAL)
		p->signs = 0;
	p->state = PMTU_OPEN;
	stop_watch(p);
	return PMTU_NOTHING;
}

/* ---------------------------------------------------------------------- limits */

/* Was the lesson found by losses? Then it is tried again, and not forgotten. */
static bool is_by_loss(const struct pmtu *p)
{
	return p->state == PMTU_SETTLED || p->state == PMTU_SEARCH;
}

uint64_t pmtu_get_end(const struct pmtu *p)
{
	return is_by_loss(p) ? UINT64_MAX : p->learnt_at + PMTU_LESSON;
}

static void expire(struct pmtu *p, uint64_t now)
{
	if (p->state == PMTU_TRIAL &&
	    clock_has_passed(p->trial_at, PMTU_TRIAL_WAIT, now)) {
		p->state = PMTU_OPEN;
		p->signs = 0;
		stop_watch(p);
	}
	if (!p->mtu || !clock_has_passed(p->learnt_at, PMTU_LESSON, now))
		return;
	if (is_by_loss(p)) {
		p->fails = p->top + 1;
		p->n_fails = 0;
		p->learnt_at = now;
		p->state = PMTU_SEARCH;
		stop_watch(p);
		return;
	}
	p->mtu = 0;
	p->is_tiny = false;
}

void pmtu_get_limits(struct pmtu *p, struct pmtu_limits *out, uint64_t now)
{
	expire(p, now);
	*out = (struct pmtu_limits){ .mtu = p->mtu,
				     .cut = p->mtu,
				     .is_tiny = p->is_tiny };
	if (p->state == PMTU_TRIAL && (!p->mtu || p->trial < p->mtu))
		out->cut = p->trial;
	if (p->state == PMTU_SEARCH && now >= p->probe_at &&
	    (!p->watch.flow ||
	     clock_has_passed(p->watch.at, PMTU_PROBE_WAIT, now)))
		out->probe = next_probe(p);
}

bool pmtu_may_answer(struct pmtu *p, uint64_t now)
{
	const uint64_t interval = NSEC_PER_SEC / PMTU_ANSWERS;
	uint64_t missing = clock_age(now, p->answers_full);

	if (missing > (PMTU_ANSWERS - 1) * interval)
		return false;
	p->answers_full = now + missing + interval;
	return true;
}

bool pmtu_may_tell(struct pmtu *p, uint64_t now)
{
	if (p->state == PMTU_SEARCH ||
	    is_recent(p->told_at, PMTU_TELL_PAUSE, now))
		return false;
	p->told_at = now;
	return true;
}
