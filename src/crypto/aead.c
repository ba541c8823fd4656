/* SPDX-License-Identifier: MIT */
/*
 * The choice of backends, and the context that calls them. A context has a
 * backend for batches and one for single small messages; often both are the
 * same. A backend is tried before its first use; if it fails, libsodium's AEAD
 * takes its place.
 */
#include "crypto/aead.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/now.h"
#include "crypto/aead_backend.h"
#include "crypto/aead_contest.h"

/*
 * @of:		the backend for each kind of work, with its context, which is
 *		made at the first batch. If both kinds have the same backend,
 *		they have the same context
 * @choice:	what aead_new() was called with
 * @is_ready:	the backends were tried and the contexts made
 */
struct aead {
	struct aead_instance of[AEAD_WORKS];
	enum aead_choice choice;
	bool is_ready;
};

/*
 * All choices. A choice without a backend was not built in, except for
 * AEAD_BEST: choose() finds its backends.
 */
static const struct {
	const char *word;
	const struct aead_backend *backend;
} choices[] = {
	[AEAD_BEST] = { "auto", NULL },
	[AEAD_SODIUM] = { "libsodium", &aead_sodium },
	[AEAD_SODIUM_WHOLE] = { "libsodium-aead", &aead_sodium_whole },
#ifdef HAVE_IPSEC_MB
	[AEAD_IPSEC_MB] = { "ipsec-mb", &aead_ipsec_mb },
	[AEAD_IPSEC_MB_AVX_IFMA] = { "ipsec-mb-avx-ifma",
				     &aead_ipsec_mb_avx_ifma },
	[AEAD_IPSEC_MB_AVX2] = { "ipsec-mb-avx2", &aead_ipsec_mb_avx2 },
	[AEAD_IPSEC_MB_SSE] = { "ipsec-mb-sse", &aead_ipsec_mb_sse },
#else
	[AEAD_IPSEC_MB] = { "ipsec-mb", NULL },
	[AEAD_IPSEC_MB_AVX_IFMA] = { "ipsec-mb-avx-ifma", NULL },
	[AEAD_IPSEC_MB_AVX2] = { "ipsec-mb-avx2", NULL },
	[AEAD_IPSEC_MB_SSE] = { "ipsec-mb-sse", NULL },
#endif
#ifdef HAVE_LIBCRYPTO
	[AEAD_LIBCRYPTO] = { "libcrypto", &aead_libcrypto },
#else
	[AEAD_LIBCRYPTO] = { "libcrypto", NULL },
#endif
#ifdef HAVE_BORINGSSL
	[AEAD_BORINGSSL] = { "boringssl", &aead_boringssl },
#else
	[AEAD_BORINGSSL] = { "boringssl", NULL },
#endif
};

static_assert(ARRAY_LEN(choices) == AEAD_CHOICES, "a word for each choice");

/*
 * The rules by processor, and who may challenge what they name. The figures
 * that they follow from are in docs/performance.md, and aead_contest.h says how
 * a challenger wins. The first rule that is for this processor, and of whose
 * backends one can run, counts.
 *
 * @is_for:	is the rule for this processor? NULL: for each
 * @order:	the rule: the first of these that can run. AEAD_BEST ends the
 *		list
 * @challengers: ends likewise
 */
struct rule {
	bool (*is_for)(void);
	enum aead_choice order[3];
	enum aead_choice challengers[3];
};

#ifdef __x86_64__
static bool has_avx512(void)
{
	return __builtin_cpu_supports("avx512f") &&
	       __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512dq") &&
	       __builtin_cpu_supports("avx512vl");
}

static bool is_amd_with_avx2(void)
{
	return __builtin_cpu_is("amd") && __builtin_cpu_supports("avx2");
}

static const struct rule rules[] = {
	/* The fastest at every size, by 1.2 to 2 times, on both makers. It has
	 * no challengers: its first context costs 6 ms, so it is made at the
	 * first batch and not at the start. */
	{ .is_for = has_avx512, .order = { AEAD_IPSEC_MB } },
	/* This code was not measured by us, so all may challenge it. It is
	 * loaded on a processor with AVX-IFMA only. */
	{ .order = { AEAD_IPSEC_MB_AVX_IFMA },
	  .challengers = { AEAD_BORINGSSL, AEAD_SODIUM } },
	{ .is_for = is_amd_with_avx2,
	  .order = { AEAD_BORINGSSL, AEAD_LIBCRYPTO },
	  .challengers = { AEAD_SODIUM } },
	{ .is_for = is_amd_with_avx2, .order = { AEAD_IPSEC_MB_AVX2 } },
	{ .order = { AEAD_SODIUM }, .challengers = { AEAD_BORINGSSL } },
};
#else
static const struct rule rules[] = {
	/* libsodium 1.0.18 has vector code for x86-64 only. */
	{ .order = { AEAD_LIBCRYPTO, AEAD_SODIUM } },
};
#endif

/* The backends that AEAD_BEST stands for in this process, and how they were found. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct aead_result best;

static uint64_t cpu_now(void)
{
	return now_read(CLOCK_THREAD_CPUTIME_ID);
}

/* Translate a list of choices, without those that were not built in. */
static size_t list_backends(const struct aead_backend **out,
			    const enum aead_choice *list, size_t cap)
{
	size_t n = 0;

	for (size_t i = 0; i < cap && list[i] != AEAD_BEST; i++)
		if (choices[list[i]].backend)
			out[n++] = choices[list[i]].backend;
	return n;
}

static void choose(void)
{
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		const struct rule *rule = &rules[i];
		struct aead_contest contest = { .clock = cpu_now };

		if (rule->is_for && !rule->is_for())
			continue;
		contest.n_order = list_backends(contest.order, rule->order,
						ARRAY_LEN(rule->order));
		contest.n_challengers =
			list_backends(contest.challengers, rule->challengers,
				      ARRAY_LEN(rule->challengers));
		if (aead_contest_run(&best, &contest))
			return;
	}
	/* Memory is short. */
	best = (struct aead_result){ .holder = &aead_sodium };
	for (int work = 0; work < AEAD_WORKS; work++)
		best.of[work].backend = &aead_sodium;
}

const char *aead_get_word(enum aead_choice choice)
{
	return choices[choice].word;
}

bool aead_find_choice(enum aead_choice *choice, const char *word)
{
	for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
		if (strcmp(word, choices[i].word) != 0)
			continue;
		*choice = (enum aead_choice)i;
		return true;
	}
	return false;
}

bool aead_is_built_in(enum aead_choice choice)
{
	return choice == AEAD_BEST || choices[choice].backend;
}

/* The backend of a choice for one kind of work; NULL if it is not built in. */
static const struct aead_backend *find_backend(enum aead_choice choice,
					       enum aead_work work)
{
	if (choice != AEAD_BEST)
		return choices[choice].backend;
	pthread_once(&once, choose);
	return best.of[work].backend;
}

struct aead *aead_new(enum aead_choice choice)
{
	struct aead *aead = calloc(1, sizeof(*aead));

	if (!aead)
		return NULL;
	aead->choice = choice;
	for (int work = 0; work < AEAD_WORKS; work++) {
		const struct aead_backend *backend =
			find_backend(choice, (enum aead_work)work);

		/* A library that a context uses stays loaded until the process ends. */
		if (!backend || (backend->load && !backend->load())) {
			free(aead);
			return NULL;
		}
		aead->of[work].backend = backend;
	}
	return aead;
}

void aead_free(struct aead *aead)
{
	if (!aead)
		return;
	if (aead->of[AEAD_SINGLES].ctx != aead->of[AEAD_BATCHES].ctx)
		aead_instance_close(&aead->of[AEAD_SINGLES]);
	aead_instance_close(&aead->of[AEAD_BATCHES]);
	free(aead);
}

const char *aead_get_name(const struct aead *aead)
{
	return aead->of[AEAD_BATCHES].backend->name;
}

const char *aead_get_small_name(const struct aead *aead)
{
	return aead->of[AEAD_SINGLES].backend->name;
}

void aead_print_choice(const struct aead *aead, enum aead_work work, char *buf,
		       size_t cap)
{
	const struct aead_score *score = &best.of[work];
	const char *name = aead->of[work].backend->name;
	bool is_ruled = score->backend == best.holder;

	if (aead->choice != AEAD_BEST)
		snprintf(buf, cap, "%s, as --aead says", name);
	else if (!score->rival || !score->ns)
		snprintf(buf, cap, "%s by rule, not measured", name);
	else
		snprintf(buf, cap, "%s by %s, %u ns a message; %s: %u ns", name,
			 is_ruled ? "rule" : "measurement", score->ns,
			 score->rival->name, score->rival_ns);
}

/* Make a context, or replace the backend by libsodium's AEAD. */
static void make_instance(struct aead_instance *instance)
{
	if (!aead_instance_open(instance, instance->backend))
		instance->backend = &aead_sodium_whole;
}

static void make_ready(struct aead *aead)
{
	struct aead_instance *batches = &aead->of[AEAD_BATCHES];
	struct aead_instance *singles = &aead->of[AEAD_SINGLES];
	bool is_same = singles->backend == batches->backend;

	aead->is_ready = true;
	make_instance(batches);
	if (is_same)
		*singles = *batches;
	else
		make_instance(singles);
}

/* The backend for these messages, ready to be called. */
static const struct aead_instance *
find_instance(struct aead *aead, const struct aead_msg *msgs, size_t n)
{
	bool is_small = n == 1 && msgs[0].len <= AEAD_SMALL_LEN;

	if (!aead->is_ready)
		make_ready(aead);
	return &aead->of[is_small ? AEAD_SINGLES : AEAD_BATCHES];
}

void aead_seal_batch(struct aead *aead, struct aead_msg *msgs, size_t n)
{
	const struct aead_instance *with = find_instance(aead, msgs, n);

	with->backend->seal(with->ctx, msgs, n);
}

size_t aead_open_batch(struct aead *aead, struct aead_msg *msgs, size_t n)
{
	const struct aead_instance *with = find_instance(aead, msgs, n);

	return with->backend->open(with->ctx, msgs, n);
}
