/* SPDX-License-Identifier: MIT */
/*
 * The self-test of a backend: each length is sealed and opened, and the result
 * compared with that of libsodium's AEAD. A backend is tried whenever a context
 * is made for it.
 */
#include "crypto/aead_backend.h"

#include <string.h>

enum {
	/* More than AEAD_STREAM_CAP, so that a text is tested whose end is
	 * encrypted in place. A prime, so that a remainder is left whatever the
	 * width of the vector code. */
	CHECK_MAX_LEN = 5003
};

/* @len is at most CHECK_MAX_LEN. */
static bool agrees_at(const struct aead_backend *backend, void *ctx,
		      uint32_t len)
{
	static const uint8_t plain[CHECK_MAX_LEN];
	uint8_t ours[CHECK_MAX_LEN + AEAD_TAG_LEN] = { 0 };
	uint8_t theirs[CHECK_MAX_LEN + AEAD_TAG_LEN];
	uint8_t key[AEAD_KEY_LEN];
	struct aead_msg m = {
		.key = key,
		.counter = UINT64_C(0x0123456789abcdef) ^ len,
		.text = ours,
		.len = len,
	};

	memset(key, (int)(len & 0xff), sizeof(key));
	aead_seal(theirs, plain, len, NULL, 0, m.counter, key);
	backend->seal(ctx, &m, 1);
	return memcmp(ours, theirs, len + AEAD_TAG_LEN) == 0 &&
	       backend->open(ctx, &m, 1) == 1 && memcmp(ours, plain, len) == 0;
}

/*
 * The lengths take every path through an implementation: no text; below, at and
 * above one block; the widths that vector code computes at once; and a
 * remainder. 1,420 is the usual MTU of a tunnel.
 */
bool aead_check(const struct aead_backend *backend, void *ctx)
{
	static const uint32_t lens[] = { 0,    1,    16,	   63,	64,
					 65,   128,  256,	   512, 513,
					 1024, 1420, CHECK_MAX_LEN };

	for (size_t i = 0; i < ARRAY_LEN(lens); i++)
		if (!agrees_at(backend, ctx, lens[i]))
			return false;
	return true;
}

bool aead_instance_open(struct aead_instance *instance,
			const struct aead_backend *backend)
{
	*instance = (struct aead_instance){ .backend = backend };
	if (backend->open_ctx) {
		instance->ctx = backend->open_ctx();
		if (!instance->ctx)
			return false;
	}
	if (aead_check(backend, instance->ctx))
		return true;
	aead_instance_close(instance);
	return false;
}

void aead_instance_close(struct aead_instance *instance)
{
	if (instance->ctx)
		instance->backend->close_ctx(instance->ctx);
	instance->ctx = NULL;
}
