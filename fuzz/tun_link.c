/* SPDX-License-Identifier: MIT */
/*
 * rtnetlink messages. Input: the namespace that they come from, the
 * interface's index and namespace, a byte each; messages.
 */
#include "fuzz/fuzz.h"
#include "tun/link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct link_events events = { 0 };
	struct link_state st;
	void *copy;

	if (len < 3)
		return 0;
	link_state_init(&st, data[1], "wg0");
	st.nsid = (int8_t)data[2];
	/* Aligned as a receive buffer is, and exactly as long. */
	copy = malloc(len - 3 ? len - 3 : 1);
	require(copy != NULL);
	memcpy(copy, data + 3, len - 3);
	link_parse(&st, copy, len - 3, (int8_t)data[0], &events);
	require(events.cnt <= LINK_EVENTS_MAX);
	require(memchr(st.name, '\0', sizeof(st.name)) != NULL);
	require(!st.deleted || !st.up);
	free(copy);
	return 0;
}
