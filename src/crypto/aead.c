/* SPDX-License-Identifier: MIT */
#include "crypto/aead.h"

#include <stdlib.h>

#include "crypto/aead_backend.h"

/*
 * @backend:	who works
 * @ctx:	what it needs, made at the first batch
 * @is_ready:	that has been done
 */
struct aead {
	const struct aead_backend *backend;
	void *ctx;
	bool is_ready;
};

/**
 * backend_choose() - the backend of a choice
 * @choice:	choice
 *
 * Return: the backend; NULL if it was not built in.
 */
static const struct aead_backend *backend_choose(enum aead_choice choice)
{
	switch (choice) {
#ifdef HAVE_IPSEC_MB
	case AEAD_BEST:
	case AEAD_IPSEC_MB:
		return &aead_ipsec_mb;
	case AEAD_IPSEC_MB_AVX2:
		return &aead_ipsec_mb_avx2;
	case AEAD_IPSEC_MB_SSE:
		return &aead_ipsec_mb_sse;
#else
	case AEAD_BEST:
#endif
	case AEAD_SODIUM:
		return &aead_sodium;
	default:
		return NULL;
	}
}

struct aead *aead_new(enum aead_choice choice)
{
	const struct aead_backend *backend = backend_choose(choice);
	struct aead *aead;

	if (!backend)
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

/**
 * make_ready() - make what the backend needs, or hand over to libsodium
 * @aead:	context before its first batch
 */
static void make_ready(struct aead *aead)
{
	aead->is_ready = true;
	if (!aead->backend->open_ctx)
		return;
	aead->ctx = aead->backend->open_ctx();
	if (!aead->ctx)
		aead->backend = &aead_sodium;
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
