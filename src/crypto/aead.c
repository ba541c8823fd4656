/* SPDX-License-Identifier: MIT */
/*
 * The choice of a backend, and the context that calls it. A backend is tried
 * before its first use; if it fails, libsodium's AEAD takes its place.
 */
#include "crypto/aead.h"

#include <stdlib.h>

#include "crypto/aead_backend.h"

/*
 * @backend:	the backend in use
 * @ctx:	its context, made at the first batch; NULL if it needs none
 * @is_ready:	@backend was tried and @ctx was made
 */
struct aead {
	const struct aead_backend *backend;
	void *ctx;
	bool is_ready;
};

/*
 * All choices. A choice without a backend was not built in, except for
 * AEAD_BEST: best_find() finds its backend.
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
	[AEAD_IPSEC_MB_AVX2] = { "ipsec-mb-avx2", &aead_ipsec_mb_avx2 },
	[AEAD_IPSEC_MB_SSE] = { "ipsec-mb-sse", &aead_ipsec_mb_sse },
#else
	[AEAD_IPSEC_MB] = { "ipsec-mb", NULL },
	[AEAD_IPSEC_MB_AVX2] = { "ipsec-mb-avx2", NULL },
	[AEAD_IPSEC_MB_SSE] = { "ipsec-mb-sse", NULL },
#endif
#ifdef HAVE_LIBCRYPTO
	[AEAD_LIBCRYPTO] = { "libcrypto", &aead_libcrypto },
#else
	[AEAD_LIBCRYPTO] = { "libcrypto", NULL },
#endif
};

static_assert(ARRAY_LEN(choices) == AEAD_CHOICES, "a word for each choice");

/*
 * The rules are fixed, and follow from measurements (docs/performance.md). If
 * each start measured, other work on the machine could change the choice.
 */
static const struct aead_backend *best_find(void)
{
#if defined(__x86_64__) && defined(HAVE_IPSEC_MB)
	/* Without AVX-512 intel-ipsec-mb is slower than libsodium. */
	if (__builtin_cpu_supports("avx512f") &&
	    __builtin_cpu_supports("avx512bw") &&
	    __builtin_cpu_supports("avx512dq") &&
	    __builtin_cpu_supports("avx512vl") && aead_ipsec_mb.load())
		return &aead_ipsec_mb;
#endif
#if !defined(__x86_64__) && defined(HAVE_LIBCRYPTO)
	/* libsodium has vector code for x86-64 only. */
	if (aead_libcrypto.load())
		return &aead_libcrypto;
#endif
	return &aead_sodium;
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

struct aead *aead_new(enum aead_choice choice)
{
	const struct aead_backend *backend =
		choice == AEAD_BEST ? best_find() : choices[choice].backend;
	struct aead *aead;

	if (!backend || (backend->load && !backend->load()))
		return NULL;
	aead = calloc(1, sizeof(*aead));
	if (aead)
		aead->backend = backend;
	return aead;
}

void aead_free(struct aead *aead)
{
	if (!aead)
		return;
	if (aead->ctx)
		aead->backend->close_ctx(aead->ctx);
	free(aead);
}

const char *aead_get_name(const struct aead *aead)
{
	return aead->backend->name;
}

/* Give the backend what it needs, or replace it by libsodium's AEAD. */
static void make_ready(struct aead *aead)
{
	const struct aead_backend *backend = aead->backend;

	aead->is_ready = true;
	if (!backend->open_ctx)
		return;
	aead->ctx = backend->open_ctx();
	if (aead->ctx && aead_check(backend, aead->ctx))
		return;
	if (aead->ctx)
		backend->close_ctx(aead->ctx);
	aead->ctx = NULL;
	aead->backend = &aead_sodium_whole;
}

void aead_seal_batch(struct aead *aead, struct aead_msg *msgs, size_t n)
{
	if (!aead->is_ready)
		make_ready(aead);
	aead->backend->seal(aead->ctx, msgs, n);
}

size_t aead_open_batch(struct aead *aead, struct aead_msg *msgs, size_t n)
{
	if (!aead->is_ready)
		make_ready(aead);
	return aead->backend->open(aead->ctx, msgs, n);
}
