/* SPDX-License-Identifier: MIT */
/* Requests of an engine that is an enemy: any bytes of these lengths, with any number
 * of descriptors. */
#include "any.h"

#include "keeper/request.h"

static void prove(size_t len, uint8_t min, uint8_t max)
{
	uint8_t *request = any_bytes(len);

	if (len > offsetof(struct request_head, kind))
		request[offsetof(struct request_head, kind)] =
			Frama_C_unsigned_char_interval(min, max);
	(void)request_check((const void *)request, len,
			    Frama_C_unsigned_int_interval(0, UINT32_MAX));
	free(request);
}

/* All lengths up to the head's, and those around the kind's own. */
static void prove_kind(uint8_t min, uint8_t max)
{
	size_t len = request_len(Frama_C_unsigned_char_interval(min, max));

	//@ check bound: len <= sizeof(struct request);
	for (size_t i = 0; i <= sizeof(struct request_head) + 1; i++)
		prove(i, min, max);
	for (size_t i = len < 2 ? 0 : len - 2; i <= len + 2; i++)
		prove(i, min, max);
}

int main(void)
{
	for (uint8_t kind = 0; kind < REQUEST_KINDS; kind++)
		prove_kind(kind, kind);
	prove_kind(REQUEST_KINDS, UINT8_MAX);
	must_be_reached();
	return 0;
}
