/* SPDX-License-Identifier: MIT */
/*
 * Keeps the trains in flight of each watched connection, and decides by their
 * fate; trainwatch.h has the rules. A connection has few places for trains. A
 * train of new data that finds all places taken is not watched: a sample is
 * enough. A train that repeats earlier data takes the place of the train with
 * the highest sequence number, because the fate of repeated data is known
 * first.
 */
#include "device/trainwatch.h"

#include <string.h>

/* Sequence numbers wrap around: RFC 9293, section 3.4. */
static bool is_after(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0;
}

static bool covers(const struct trainwatch_segments *s, uint32_t seq)
{
	return seq - s->first < s->end - s->first;
}

static struct trainwatch_flow *find_flow(struct trainwatch *w, uint64_t key)
{
	for (int i = 0; i < TRAINWATCH_FLOWS; i++)
		if (w->flows[i].used_at && w->flows[i].key == key)
			return &w->flows[i];
	return NULL;
}

static bool flow_is_open(const struct trainwatch_flow *f)
{
	for (int i = 0; i < TRAINWATCH_TRAINS; i++)
		if (f->trains[i].in_use)
			return true;
	return false;
}

/* May this connection give its place to another? */
static bool is_idle(const struct trainwatch_flow *f, uint64_t now)
{
	uint64_t wait =
		flow_is_open(f) ? TRAINWATCH_FLOW_STUCK : TRAINWATCH_FLOW_IDLE;

	return !f->used_at || now - f->used_at >= wait;
}

static struct trainwatch_flow *claim_flow(struct trainwatch *w,
					  const struct trainwatch_segments *s,
					  uint64_t now)
{
	for (int i = 0; i < TRAINWATCH_FLOWS; i++) {
		struct trainwatch_flow *f = &w->flows[i];

		if (!is_idle(f, now))
			continue;
		*f = (struct trainwatch_flow){
			.key = s->flow,
			.used_at = now,
			.next = s->first,
		};
		return f;
	}
	return NULL;
}

static void drop_trains(struct trainwatch *w)
{
	for (int i = 0; i < TRAINWATCH_FLOWS; i++)
		memset(w->flows[i].trains, 0, sizeof(w->flows[i].trains));
}

/* A place for a train that begins at sequence number @first, or NULL. */
static struct trainwatch_train *find_place(struct trainwatch_flow *f,
					   uint32_t first)
{
	struct trainwatch_train *ahead = NULL;

	for (int i = 0; i < TRAINWATCH_TRAINS; i++) {
		struct trainwatch_train *t = &f->trains[i];

		if (!t->in_use)
			return t;
		if (!t->is_offer && is_after(t->first, first) &&
		    (!ahead || is_after(t->first, ahead->first)))
			ahead = t;
	}
	return ahead;
}

/* Call it before note_next(), which moves f->next. */
static void add_train(struct trainwatch_flow *f,
		      const struct trainwatch_segments *s, uint64_t now,
		      bool is_offer)
{
	struct trainwatch_train *t = find_place(f, s->first);

	if (!t)
		return;
	*t = (struct trainwatch_train){
		.left = now,
		.first = s->first,
		.last = s->last,
		.in_use = true,
		.is_new = !is_after(f->next, s->last),
		.is_offer = is_offer,
	};
}

static void note_next(struct trainwatch_flow *f,
		      const struct trainwatch_segments *s)
{
	if (is_after(s->end, f->next))
		f->next = s->end;
}

static enum trainwatch_event stop(struct trainwatch *w, uint64_t now)
{
	bool is_soon = w->back_at && now - w->back_at < TRAINWATCH_MEMORY;

	w->pause = is_soon ? w->pause * 2 : TRAINWATCH_PAUSE_MIN;
	if (w->pause > TRAINWATCH_PAUSE_MAX)
		w->pause = TRAINWATCH_PAUSE_MAX;
	w->until = now + w->pause;
	w->state = TRAINWATCH_OFF;
	w->signs = 0;
	drop_trains(w);
	return TRAINWATCH_STOP;
}

/* The train that was offered counts as lost. */
static enum trainwatch_event stay_off(struct trainwatch *w, uint64_t now)
{
	w->pause *= 2;
	if (w->pause > TRAINWATCH_PAUSE_MAX)
		w->pause = TRAINWATCH_PAUSE_MAX;
	w->until = now + w->pause;
	w->state = TRAINWATCH_OFF;
	drop_trains(w);
	return TRAINWATCH_AGAIN;
}

static enum trainwatch_event
arrived(struct trainwatch *w, const struct trainwatch_train *t, uint64_t now)
{
	if (w->state == TRAINWATCH_ON) {
		w->signs = 0;
		return TRAINWATCH_NOTHING;
	}
	/* Only the offered train shows how things are after the pause. */
	if (!t->is_offer)
		return TRAINWATCH_NOTHING;
	w->state = TRAINWATCH_ON;
	w->back_at = now;
	w->signs = 0;
	return TRAINWATCH_BACK;
}

/* Was this train lost, and has its first segment passed alone? */
static bool is_sign(const struct trainwatch_flow *f,
		    const struct trainwatch_train *t, uint64_t now)
{
	return t->first_again && t->last_again && t->alone && f->has_acked &&
	       is_after(f->acked, t->first) && now - t->alone >= 2 * f->rtt;
}

/* Counts the signs of a connection; after enough of them trains stop. */
static enum trainwatch_event judge(struct trainwatch *w,
				   struct trainwatch_flow *f, uint64_t now)
{
	for (int i = 0; i < TRAINWATCH_TRAINS; i++) {
		struct trainwatch_train *t = &f->trains[i];

		if (!t->in_use || !is_sign(f, t, now))
			continue;
		t->in_use = false;
		if (w->state != TRAINWATCH_ON || t->left <= w->last_alone)
			continue;
		w->last_alone = t->alone;
		if (++w->signs >= TRAINWATCH_SIGNS)
			return stop(w, now);
	}
	return TRAINWATCH_NOTHING;
}

/* Notes which trains these segments repeat. Returns true if an offered train
 * counts as lost now. */
static bool note_repeats(struct trainwatch_flow *f,
			 const struct trainwatch_segments *s, uint64_t now)
{
	bool is_lost = false;

	for (int i = 0; i < TRAINWATCH_TRAINS; i++) {
		struct trainwatch_train *t = &f->trains[i];

		if (!t->in_use)
			continue;
		if (covers(s, t->first)) {
			t->first_again = true;
			t->alone = s->in_train ? 0 : now;
		}
		if (covers(s, t->last))
			t->last_again = true;
		is_lost |= t->is_offer && t->first_again && t->last_again;
	}
	return is_lost;
}

enum trainwatch_event trainwatch_left(struct trainwatch *w,
				      const struct trainwatch_segments *s,
				      uint64_t now)
{
	struct trainwatch_flow *f = find_flow(w, s->flow);
	bool is_watchable = trainwatch_is_watchable(s);
	enum trainwatch_event event = TRAINWATCH_NOTHING;

	if (f) {
		/* First judge: note_repeats() would overwrite `alone`, and the
		 * sign would be lost. */
		event = judge(w, f, now);
		f->used_at = now;
		if (note_repeats(f, s, now) && w->state == TRAINWATCH_OFFERED)
			event = stay_off(w, now);
	} else if (is_watchable && (s->in_train || w->state != TRAINWATCH_ON)) {
		f = claim_flow(w, s, now);
	}
	if (!f)
		return event;
	if (s->in_train && is_watchable && w->state == TRAINWATCH_ON)
		add_train(f, s, now, false);
	note_next(f, s);
	return event;
}

/* Smooths the round trip as in RFC 6298. A sample is a train that was
 * acknowledged and of which no segment left again. */
static void measure(struct trainwatch_flow *f, uint64_t sample)
{
	f->rtt = f->rtt ? f->rtt - f->rtt / 8 + sample / 8 : sample;
}

enum trainwatch_event trainwatch_acked(struct trainwatch *w, uint64_t flow,
				       uint32_t ack, uint64_t now)
{
	struct trainwatch_flow *f = find_flow(w, flow);
	enum trainwatch_event event = TRAINWATCH_NOTHING;

	if (!f || (f->has_acked && !is_after(ack, f->acked)))
		return event;
	f->acked = ack;
	f->has_acked = true;
	for (int i = 0; i < TRAINWATCH_TRAINS; i++) {
		struct trainwatch_train *t = &f->trains[i];

		if (!t->in_use)
			continue;
		/* Until a train has arrived, the only sample is a first segment
		 * that left again alone. */
		if (!f->rtt && t->alone && is_after(ack, t->first))
			measure(f, now - t->alone);
		if (!is_after(ack, t->last))
			continue;
		if (!t->first_again && !t->last_again)
			measure(f, now - t->left);
		if (t->first_again && t->last_again) {
			/* A lost train keeps its place while it can still
			 * become a sign, after two round trips. */
			t->in_use = t->alone != 0;
			continue;
		}
		t->in_use = false;
		if (t->is_new && event == TRAINWATCH_NOTHING)
			event = arrived(w, t, now);
	}
	return event;
}

bool trainwatch_is_due(struct trainwatch *w, uint64_t now)
{
	if (w->state == TRAINWATCH_ON || now < w->until)
		return false;
	if (w->state == TRAINWATCH_OFF)
		return true;
	/* The fate of the offered train stayed unknown. */
	w->state = TRAINWATCH_OFF;
	w->until = now + w->pause;
	drop_trains(w);
	return false;
}

bool trainwatch_may_offer(struct trainwatch *w,
			  const struct trainwatch_segments *s)
{
	const struct trainwatch_flow *f = find_flow(w, s->flow);

	return f && trainwatch_is_watchable(s) && !is_after(f->next, s->first);
}

void trainwatch_offered(struct trainwatch *w,
			const struct trainwatch_segments *s, uint64_t now)
{
	struct trainwatch_flow *f = find_flow(w, s->flow);

	if (!f)
		return;
	/* Trains from before the pause prove nothing any more. */
	drop_trains(w);
	f->used_at = now;
	add_train(f, s, now, true);
	note_next(f, s);
	w->state = TRAINWATCH_OFFERED;
	w->until = now + TRAINWATCH_OFFER_WAIT;
}

bool trainwatch_is_open(const struct trainwatch *w)
{
	for (int i = 0; i < TRAINWATCH_FLOWS; i++)
		if (w->flows[i].used_at && flow_is_open(&w->flows[i]))
			return true;
	return false;
}

bool trainwatch_is_in_doubt(const struct trainwatch *w)
{
	for (int i = 0; i < TRAINWATCH_FLOWS; i++)
		for (int k = 0; k < TRAINWATCH_TRAINS; k++) {
			const struct trainwatch_train *t =
				&w->flows[i].trains[k];

			if (t->in_use && (t->first_again || t->is_offer))
				return true;
		}
	return false;
}
