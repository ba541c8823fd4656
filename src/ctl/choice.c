/* SPDX-License-Identifier: MIT */
#include "ctl/choice.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* After this age no attempt begins: the session would end in it. */
	PROBE_LAST_AGE_MS = CHOICE_HOLD_MS - 10000,
	/* An attempt ends at this age of the session, in any case. */
	PROBE_END_AGE_MS = CHOICE_HOLD_MS - 5000,
	/* So often in a row packets must have come in from the first candidate.
	 * One time may be an event that we have not heard of yet. */
	PROBE_HEARD = 2,
};

int choice_init(struct choice *c, size_t n_candidates)
{
	*c = (struct choice){
		.n_candidates = n_candidates,
		.candidates = calloc(n_candidates, sizeof(*c->candidates)),
		.handshake_ms = CHOICE_NEVER,
		.roamed_ms = CHOICE_NEVER,
		.return_wait_ms = CHOICE_RETURN_MS,
	};
	return c->candidates ? 0 : -ENOMEM;
}

static void end_round(struct choice *c)
{
	free(c->order);
	c->order = NULL;
	c->n_order = 0;
	c->wants_round = false;
}

void choice_deinit(struct choice *c)
{
	end_round(c);
	free(c->candidates);
	c->candidates = NULL;
}

static void copy(struct choice_text *out, const char *text)
{
	snprintf(out->text, sizeof(out->text), "%s", text ? text : "");
}

static bool is_at(const struct choice *c, const char *endpoint)
{
	return strcmp(c->now.text, endpoint) == 0;
}

/* ------------------------------------------------------------------ answers */

static bool is_v6(const struct resolver_address *address)
{
	return strchr(address->text, ':') != NULL;
}

/* The families take turns, beginning with that of the best address. */
static void sort(struct choice_candidate *out,
		 const struct resolver_answer *answer, uint16_t port)
{
	bool used[RESOLVER_ADDRESSES] = { false };
	bool want_v6 = is_v6(&answer->addresses[0]);

	for (out->n = 0; out->n < answer->n; out->n++) {
		size_t pick = answer->n;

		/* The first one of the family, or else the first one. */
		for (size_t i = answer->n; i-- > 0;)
			if (!used[i] &&
			    (pick == answer->n ||
			     is_v6(&answer->addresses[pick]) != want_v6 ||
			     is_v6(&answer->addresses[i]) == want_v6))
				pick = i;
		used[pick] = true;
		snprintf(out->addresses[out->n].text, CHOICE_TEXT_CAP,
			 is_v6(&answer->addresses[pick]) ? "[%s]:%u" : "%s:%u",
			 answer->addresses[pick].text, (unsigned int)port);
		want_v6 = !is_v6(&answer->addresses[pick]);
	}
}

void choice_answer(struct choice *c, size_t candidate,
		   const struct resolver_answer *answer, uint16_t port)
{
	c->candidates[candidate].is_known = true;
	if (answer->n)
		sort(&c->candidates[candidate], answer, port);
	if (c->n_asked)
		c->n_asked--;
}

void choice_note_asked(struct choice *c)
{
	c->n_asked++;
}

/* The candidate that has an endpoint; n_candidates: none has it. */
static size_t find(const struct choice *c, const char *endpoint)
{
	for (size_t k = 0; k < c->n_candidates; k++)
		for (size_t i = 0; i < c->candidates[k].n; i++)
			if (strcmp(c->candidates[k].addresses[i].text,
				   endpoint) == 0)
				return k;
	return c->n_candidates;
}

/* The first candidate that has an address; n_candidates: none, or it is not known
 * yet. */
static size_t best(const struct choice *c)
{
	for (size_t k = 0; k < c->n_candidates; k++)
		if (!c->candidates[k].is_known)
			return c->n_candidates;
		else if (c->candidates[k].n)
			return k;
	return c->n_candidates;
}

/* --------------------------------------------------------------------- news */

static bool is_live(const struct choice *c, int64_t now)
{
	return c->handshake_ms != CHOICE_NEVER &&
	       now - c->handshake_ms < CHOICE_HOLD_MS;
}

/* Note which candidate has the endpoint, if one has it. */
static void note_candidate(struct choice *c)
{
	size_t k = find(c, c->now.text);

	if (k < c->n_candidates)
		c->at = k;
}

static void end_probe(struct choice *c, bool has_answered)
{
	c->is_probing = false;
	if (has_answered)
		c->return_wait_ms = CHOICE_RETURN_MS;
	note_candidate(c);
}

/* While the first candidate is tried: what has come in, and from where? */
static void look_at_probe(struct choice *c, const struct choice_seen *seen,
			  int64_t now)
{
	bool has_come = seen->rx > c->rx && !c->was_moved && seen->endpoint &&
			strcmp(seen->endpoint, c->first.text) == 0;

	c->was_moved = false;
	c->n_heard = has_come ? c->n_heard + 1 : 0;
	if (c->sent_ms == CHOICE_NEVER && seen->tx > c->probe_tx)
		c->sent_ms = now;
	if (c->n_heard >= PROBE_HEARD)
		end_probe(c, true);
}

void choice_look(struct choice *c, const struct choice_seen *seen, int64_t now)
{
	copy(&c->now, seen->endpoint);
	c->handshake_ms = seen->handshake_ms;
	if (c->is_probing)
		look_at_probe(c, seen, now);
	else
		note_candidate(c);
	/* A peer that nothing is sent to cannot answer. */
	if (seen->is_silent && c->tx && seen->tx > c->tx && !c->is_probing)
		choice_stalled(c, now);
	c->tx = seen->tx;
	c->rx = seen->rx;
}

void choice_note_roamed(struct choice *c, int64_t when)
{
	c->roamed_ms = when;
}

void choice_established(struct choice *c, const char *endpoint,
			bool is_initiator, int64_t now)
{
	c->handshake_ms = now;
	c->is_initiator = is_initiator;
	c->is_stalled = false;
	end_round(c);
	copy(&c->now, endpoint);
	if (c->is_probing)
		end_probe(c, is_at(c, c->first.text));
	note_candidate(c);
	if (c->at == best(c))
		c->return_wait_ms = CHOICE_RETURN_MS;
	else if (c->at > best(c) && c->return_ms <= now)
		c->return_ms = now + c->return_wait_ms;
}

void choice_moved(struct choice *c, const char *endpoint, int64_t now)
{
	copy(&c->now, endpoint);
	if (c->is_probing && is_at(c, c->from.text)) {
		c->was_moved = true;
		return;
	}
	c->is_probing = false;
	c->is_stalled = false;
	end_round(c);
	c->roamed_ms = now;
	note_candidate(c);
}

void choice_configured(struct choice *c, const char *endpoint)
{
	if (is_at(c, endpoint ? endpoint : ""))
		return;
	copy(&c->now, endpoint);
	c->roamed_ms = CHOICE_NEVER;
	note_candidate(c);
}

bool choice_stalled(struct choice *c, int64_t now)
{
	c->is_stalled = true;
	if (c->order || c->wants_round || c->is_probing)
		return false;
	c->wants_round = true;
	c->answers_ms = now + CHOICE_ANSWERS_MS;
	return true;
}

/* ---------------------------------------------------------------- decisions */

/* May the endpoint not be touched, because packets have brought it? */
static bool is_held(const struct choice *c, int64_t now)
{
	return c->roamed_ms != CHOICE_NEVER &&
	       (now - c->roamed_ms < CHOICE_HOLD_MS ||
		(is_live(c, now) && !c->is_stalled));
}

static bool move_to(struct choice_move *move, const char *to, const char *why)
{
	*move = (struct choice_move){ to, why };
	return true;
}

/* All addresses but the one that does not answer. */
static void begin_round(struct choice *c, int64_t now)
{
	size_t n = 0;

	end_round(c);
	for (size_t k = 0; k < c->n_candidates; k++)
		n += c->candidates[k].n;
	c->order = calloc(n ? n : 1, sizeof(*c->order));
	if (!c->order)
		return;
	for (size_t k = 0; k < c->n_candidates; k++)
		for (size_t i = 0; i < c->candidates[k].n; i++)
			if (!is_at(c, c->candidates[k].addresses[i].text))
				c->order[c->n_order++] =
					c->candidates[k].addresses[i];
	c->next = 0;
	c->try_until_ms = now;
}

static bool decide_round(struct choice *c, int64_t now,
			 struct choice_move *move)
{
	size_t k = best(c);

	if (now < c->try_until_ms)
		return false;
	if (c->next < c->n_order) {
		c->try_until_ms = now + CHOICE_TRY_MS;
		return move_to(move, c->order[c->next++].text,
			       "it does not answer");
	}
	end_round(c);
	if (k == c->n_candidates ||
	    is_at(c, c->candidates[k].addresses[0].text))
		return false;
	return move_to(move, c->candidates[k].addresses[0].text,
		       "no address answers");
}

static void wait_longer(struct choice *c, int64_t now)
{
	c->return_ms = now + c->return_wait_ms;
	c->return_wait_ms *= 2;
	if (c->return_wait_ms > CHOICE_RETURN_MAX_MS)
		c->return_wait_ms = CHOICE_RETURN_MAX_MS;
}

static bool decide_probe(struct choice *c, int64_t now,
			 struct choice_move *move)
{
	bool is_over = c->n_resets >= CHOICE_RESETS ||
		       (c->sent_ms != CHOICE_NEVER &&
			now - c->sent_ms >= CHOICE_PROBE_MS) ||
		       c->handshake_ms == CHOICE_NEVER ||
		       now - c->handshake_ms >= PROBE_END_AGE_MS;

	if (!is_over) {
		if (is_at(c, c->first.text))
			return false;
		c->n_resets++;
		return move_to(move, c->first.text,
			       "does the first endpoint answer again?");
	}
	end_probe(c, false);
	if (is_at(c, c->from.text))
		return false;
	return move_to(move, c->from.text,
		       "the first endpoint still does not answer");
}

static bool begin_probe(struct choice *c, const char *first, int64_t now,
			struct choice_move *move)
{
	wait_longer(c, now);
	c->is_probing = true;
	copy(&c->first, first);
	c->from = c->now;
	c->probe_tx = c->tx;
	c->sent_ms = CHOICE_NEVER;
	c->n_resets = 0;
	c->n_heard = 0;
	c->was_moved = false;
	return decide_probe(c, now, move);
}

/* The endpoint is of a candidate that is not the first. */
static bool decide_return(struct choice *c, const char *first, int64_t now,
			  struct choice_move *move)
{
	int64_t age = now - c->handshake_ms;

	if (now < c->return_ms)
		return false;
	if (!is_live(c, now)) {
		wait_longer(c, now);
		return move_to(move, first, "the first endpoint may answer");
	}
	if (!c->is_initiator || age < CHOICE_PROBE_AGE_MS ||
	    age > PROBE_LAST_AGE_MS)
		return false;
	return begin_probe(c, first, now, move);
}

static bool decide_quiet(struct choice *c, int64_t now,
			 struct choice_move *move)
{
	size_t first = best(c), k = find(c, c->now.text), to = first;

	if (first == c->n_candidates)
		return false;
	if (k > first && k < c->n_candidates)
		return decide_return(c, c->candidates[first].addresses[0].text,
				     now, move);
	if (k < c->n_candidates)
		return false;
	/* A backup that is in use, and whose name has another address now. */
	if (c->candidates[c->at].n && c->at > first &&
	    (is_live(c, now) || now < c->return_ms))
		to = c->at;
	return move_to(move, c->candidates[to].addresses[0].text,
		       *c->now.text ? "the name has another address"
				    : "it had no endpoint");
}

bool choice_decide(struct choice *c, int64_t now, struct choice_move *move)
{
	if (c->is_probing)
		return decide_probe(c, now, move);
	if (c->order)
		return decide_round(c, now, move);
	if (is_held(c, now))
		return false;
	if (c->wants_round) {
		if (c->n_asked && now < c->answers_ms)
			return false;
		begin_round(c, now);
		if (c->order)
			return decide_round(c, now, move);
	}
	return decide_quiet(c, now, move);
}

void choice_set(struct choice *c, const char *endpoint)
{
	struct choice_text text;

	/* It may be a part of what is changed here. */
	copy(&text, endpoint);
	c->now = text;
	c->roamed_ms = CHOICE_NEVER;
	if (!c->is_probing)
		note_candidate(c);
}

int64_t choice_due(const struct choice *c, int64_t now)
{
	size_t first = best(c), k = find(c, c->now.text);
	int64_t probe_ms;

	if (c->is_probing)
		return now + CHOICE_LOOK_MS;
	if (c->order)
		return c->try_until_ms;
	if (is_held(c, now))
		return now - c->roamed_ms < CHOICE_HOLD_MS
			       ? c->roamed_ms + CHOICE_HOLD_MS
			       : c->handshake_ms + CHOICE_HOLD_MS;
	if (c->wants_round)
		return c->answers_ms;
	if (first == c->n_candidates || k <= first || k == c->n_candidates)
		return CHOICE_NEVER;
	if (!is_live(c, now))
		return c->return_ms;
	probe_ms = c->handshake_ms + CHOICE_PROBE_AGE_MS;
	if (!c->is_initiator || now - c->handshake_ms > PROBE_LAST_AGE_MS)
		return c->handshake_ms + CHOICE_HOLD_MS;
	return probe_ms > c->return_ms ? probe_ms : c->return_ms;
}

bool choice_wants_look(const struct choice *c)
{
	return c->is_probing;
}
