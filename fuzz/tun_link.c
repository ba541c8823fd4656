/* SPDX-License-Identifier: MIT */
/*
 * rtnetlink messages. Input: the namespace that they come from, the
 * interface's index and namespace, a byte each; messages.
 */
#include "fuzz/fuzz.h"
#include "tun/link.h"
#include "tun/routes.h"

/* Parse the same bytes as answers to requests for routes, addresses and tunnel
 * devices. */
static void parse_answers(const void *buf, size_t len)
{
	static const uint8_t addr[16] = { 0xfe, 0x80 };
	struct routes routes = { .fd = -1 };
	struct overlays overlays = { 0 };
	uint32_t ifindex = 0;
	int err = routes_parse_lookup(buf, len, 0, &ifindex);

	require(err <= ROUTES_E_NO_WAY);
	err = routes_parse_addresses(&routes, buf, len);
	require(err <= 0);
	require(routes.n <= routes.cap && routes.n <= ROUTES_ADDRESSES_MAX);
	(void)routes_has_address(&routes, addr, 1);
	err = overlays_parse(&overlays, buf, len, 0);
	require(err <= 0);
	require(overlays.cnt <= OVERLAYS_MAX);
	for (unsigned int i = 0; i < overlays.cnt; i++)
		require(overlays.list[i].local_len <=
			sizeof(overlays.list[i].local));
	routes_close(&routes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct link_events events = { 0 };
	struct link_state st;
	void *copy;

	if (len < 3)
		return 0;
	link_state_init(&st, data[1], "wg0");
	st.nsid = (int8_t)data[2];
	/* A copy with the alignment of a receive buffer and the exact
	 * length. */
	copy = malloc(len - 3 ? len - 3 : 1);
	require(copy != NULL);
	memcpy(copy, data + 3, len - 3);
	link_parse(&st, copy, len - 3, (int8_t)data[0], &events);
	require(events.cnt <= LINK_EVENTS_MAX);
	require(memchr(st.name, '\0', sizeof(st.name)) != NULL);
	require(!st.deleted || !st.up);
	parse_answers(copy, len - 3);
	free(copy);
	return 0;
}
