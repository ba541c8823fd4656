/* SPDX-License-Identifier: MIT */
/*
 * A contest of backends; aead_contest.h says how it is decided. A backend that
 * takes part is called an entrant.
 */
#include "crypto/aead_contest.h"

#include <stdlib.h>

enum {
	/* Bytes of a text. LONG_LEN is a full packet at the default MTU.
	 * SHORT_LEN is a TCP acknowledgement, padded. */
	LONG_LEN = 1420,
	SHORT_LEN = 64,
};

/**
 * struct arena - the messages that entrants work on, and the time spent
 * @clock:	of the contest
 * @start_ns:	when measuring began
 * @last_ns:	what the last try took, both sides together
 * @msgs:	messages in @texts
 */
struct arena {
	uint64_t (*clock)(void);
	uint64_t start_ns;
	uint64_t last_ns;
	struct aead_msg msgs[AEAD_CONTEST_MESSAGES];
	uint8_t texts[AEAD_CONTEST_MESSAGES][LONG_LEN + AEAD_TAG_LEN];
};

static const uint8_t key[AEAD_KEY_LEN] = { 1, 2, 3 };

static void prepare(struct arena *arena, enum aead_work work)
{
	for (size_t i = 0; i < AEAD_CONTEST_MESSAGES; i++)
		arena->msgs[i] = (struct aead_msg){
			.key = key,
			.counter = i,
			.text = arena->texts[i],
			.len = work == AEAD_BATCHES ? LONG_LEN : SHORT_LEN,
		};
}

/* Seal all messages, over and over the same ones. Returns the CPU time. */
static uint64_t measure(struct arena *arena,
			const struct aead_instance *entrant,
			enum aead_work work)
{
	size_t step = work == AEAD_BATCHES ? AEAD_CONTEST_MESSAGES : 1;
	uint64_t start = arena->clock();

	for (size_t i = 0; i < AEAD_CONTEST_MESSAGES; i += step)
		entrant->backend->seal(entrant->ctx, &arena->msgs[i], step);
	return arena->clock() - start;
}

static bool is_faster(uint64_t ns, uint64_t than_ns)
{
	return ns < than_ns - than_ns * AEAD_CONTEST_MARGIN / 100;
}

/* Would another try take more time than is left? */
static bool is_over(const struct arena *arena)
{
	return arena->clock() - arena->start_ns + arena->last_ns >
	       AEAD_CONTEST_LIMIT_NS;
}

/*
 * One round. @holder_ns and @challenger_ns are set to the times of its last try.
 * Returns whether the challenger wins the round.
 */
static bool run_round(struct arena *arena, const struct aead_instance *holder,
		      const struct aead_instance *challenger,
		      enum aead_work work, uint64_t *holder_ns,
		      uint64_t *challenger_ns)
{
	for (int i = 0; i < AEAD_CONTEST_TRIES && !is_over(arena); i++) {
		*holder_ns = measure(arena, holder, work);
		*challenger_ns = measure(arena, challenger, work);
		arena->last_ns = *holder_ns + *challenger_ns;
		if (is_faster(*challenger_ns, *holder_ns))
			return true;
	}
	return false;
}

/* Returns whether the challenger takes the place of @holder. */
static bool challenge(struct arena *arena, const struct aead_instance *holder,
		      const struct aead_instance *challenger,
		      enum aead_work work, struct aead_score *score)
{
	uint64_t h = 0, c = 0, sum_h = 0, sum_c = 0;
	uint32_t n_messages = 0;
	bool wins = true;

	prepare(arena, work);
	for (int i = 0; i < AEAD_CONTEST_ROUNDS && wins; i++) {
		wins = run_round(arena, holder, challenger, work, &h, &c);
		sum_h += h;
		sum_c += c;
		n_messages += AEAD_CONTEST_MESSAGES;
	}
	*score = (struct aead_score){
		.backend = wins ? challenger->backend : holder->backend,
		.ns = (uint32_t)((wins ? sum_c : sum_h) / n_messages),
		.rival = wins ? holder->backend : challenger->backend,
		.rival_ns = (uint32_t)((wins ? sum_h : sum_c) / n_messages),
	};
	return wins;
}

static bool is_loaded(const struct aead_backend *backend)
{
	return !backend->load || backend->load();
}

static void unload(const struct aead_backend *backend)
{
	if (backend->unload)
		backend->unload();
}

/* Load and try a backend. Returns false if it cannot run. */
static bool enter(struct aead_instance *entrant,
		  const struct aead_backend *backend)
{
	if (!is_loaded(backend))
		return false;
	if (aead_instance_open(entrant, backend))
		return true;
	unload(backend);
	return false;
}

static void leave(struct aead_instance *entrant)
{
	const struct aead_backend *backend = entrant->backend;

	aead_instance_close(entrant);
	unload(backend);
}

/*
 * @entrants has the holder first. Two more users of the winners' libraries are
 * counted, before those that lost are unloaded.
 */
static void decide(struct aead_result *result, struct arena *arena,
		   const struct aead_instance *entrants, size_t n)
{
	for (int work = 0; work < AEAD_WORKS; work++) {
		const struct aead_instance *best = &entrants[0];
		struct aead_score *score = &result->of[work];

		*score = (struct aead_score){ .backend = best->backend };
		for (size_t i = 1; arena && i < n; i++)
			if (challenge(arena, best, &entrants[i],
				      (enum aead_work)work, score))
				best = &entrants[i];
		/* It is loaded, so this only counts one more user. */
		(void)is_loaded(best->backend);
	}
}

/* Let the challengers enter, measure, and let all leave. */
static void hold(struct aead_result *result, const struct aead_contest *contest,
		 const struct aead_instance *holder)
{
	struct aead_instance entrants[1 + AEAD_CONTEST_MAX] = { *holder };
	/* If memory is short, the holder wins without a contest. */
	struct arena *arena = calloc(1, sizeof(*arena));
	size_t n = 1;

	for (size_t i = 0; arena && i < contest->n_challengers; i++)
		if (contest->challengers[i] != holder->backend &&
		    enter(&entrants[n], contest->challengers[i]))
			n++;
	if (arena) {
		arena->clock = contest->clock;
		arena->start_ns = contest->clock();
	}
	decide(result, arena, entrants, n);
	if (arena)
		result->spent_ns = contest->clock() - arena->start_ns;
	while (n)
		leave(&entrants[--n]);
	free(arena);
}

bool aead_contest_run(struct aead_result *result,
		      const struct aead_contest *contest)
{
	struct aead_instance holder;

	*result = (struct aead_result){ 0 };
	for (size_t i = 0; i < contest->n_order; i++) {
		const struct aead_backend *backend = contest->order[i];

		result->holder = backend;
		if (!contest->n_challengers && is_loaded(backend)) {
			for (int work = 0; work < AEAD_WORKS; work++)
				result->of[work].backend = backend;
			/* One user more, for the second kind of work. */
			return is_loaded(backend);
		}
		if (contest->n_challengers && enter(&holder, backend)) {
			hold(result, contest, &holder);
			return true;
		}
	}
	return false;
}
