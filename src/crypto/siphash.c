/* SPDX-License-Identifier: MIT */
/* SipHash-2-4 of libsodium. The result is made a number. */
#include "crypto/siphash.h"

#include <sodium.h>

#include "base/bytes.h"

uint64_t siphash(const void *in, size_t len, const uint8_t key[SIPHASH_KEY_LEN])
{
	struct le64 out;

	crypto_shorthash_siphash24(out.b, in, len, key);
	return le64_get(out);
}
