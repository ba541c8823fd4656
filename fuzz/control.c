/* SPDX-License-Identifier: MIT */
/* Control data as a kernel, or an attacker, might write it. */
#include "fuzz/fuzz.h"
#include "udpgather/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct control_info out = { .tos = 1, .segment_len = 2 };
	struct control_details details;
	/* The kernel's msg_control is aligned, so the copy is, too. */
	void *copy = aligned_alloc(16, (len + 16) / 16 * 16);

	require(copy != NULL);
	memcpy(copy, data, len);
	if (ug_control_parse(copy, len, &out) == 0) {
		require(out.segment_len <= INT32_MAX);
		require(out.source.state == UG_SOURCE_NONE);
		/* Both read the same packet info. */
		ug_control_parse_details(copy, len, &details);
		require(details.ifindex == out.source.ifindex);
	} else {
		ug_control_parse_details(copy, len, &details);

		require(out.tos == 1 && out.segment_len == 2);
	}
	free(copy);
	return 0;
}
