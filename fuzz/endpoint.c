/* SPDX-License-Identifier: MIT */
/* Endpoint text: an accepted text is printed as one that reads the same. */
#include "fuzz/fuzz.h"
#include "udpgather.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char text[UG_ENDPOINT_TEXT], *in = malloc(len + 1);
	struct ug_endpoint ep, again;

	require(in != NULL);
	memcpy(in, data, len);
	in[len] = 0;
	if (ug_endpoint_parse(&ep, in) == 0) {
		require(ug_endpoint_print(&ep, text, sizeof(text)) > 0);
		require(ug_endpoint_parse(&again, text) == 0);
		require(ug_endpoint_compare(&ep, &again) == 0);
		require(ug_endpoint_hash(&ep, 1) ==
			ug_endpoint_hash(&again, 1));
	}
	free(in);
	return 0;
}
