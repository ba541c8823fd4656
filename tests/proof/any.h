/* SPDX-License-Identifier: MIT */
/*
 * Values of which nothing is known, for the proofs. Frama-C reads this, and no
 * compiler.
 */
#ifndef PROOF_ANY_H
#define PROOF_ANY_H

#include <stddef.h>
#include <stdint.h>

/* Memory of exactly @len bytes, each of which may have any value. An access before
 * or behind it is an alarm. */
static inline uint8_t *any_bytes(size_t len)
{
	uint8_t *bytes = malloc(len);

	if (len)
		Frama_C_make_unknown((char *)bytes, len);
	return bytes;
}

/* A string of at most @len characters, each of which may have any value; also in
 * memory of exactly the size that it needs. */
static inline char *any_string(size_t len)
{
	char *text = (char *)any_bytes(len + 1);

	text[len] = 0;
	return text;
}

/* The end of each proof. This alarm must come up: else no run of the code gets
 * here, and everything would count as proven. */
static inline void must_be_reached(void)
{
	//@ check reached: \false;
	return;
}

#endif /* PROOF_ANY_H */
