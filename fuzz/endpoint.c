/* SPDX-License-Identifier: MIT */
/* Endpoint text: an accepted text is printed as one that reads the same. A source that
 * is made of the address is read as that address. */
#include "fuzz/fuzz.h"
#include "udpgather.h"

static void check_source(struct ug_endpoint ep)
{
	struct ug_endpoint at = { 0 };
	socklen_t len = sizeof(at.addr);
	bool v4 = ep.addr.any.sa_family == AF_INET;
	uint16_t port = ntohs(v4 ? ep.addr.v4.sin_port : ep.addr.v6.sin6_port);

	require(ug_endpoint_pin_source(&ep, &ep.addr.any, sizeof(ep.addr), 0) ==
		0);
	require(ug_endpoint_get_source(&ep, port, &at.addr.any, &len) == 0);
	/* Only a link-local address is told with its zone. */
	if (!v4 && !IN6_IS_ADDR_LINKLOCAL(&ep.addr.v6.sin6_addr))
		ep.addr.v6.sin6_scope_id = 0;
	require(ug_endpoint_compare(&ep, &at) == 0);
}

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
		require(ug_endpoint_print_numeric(&ep, text, sizeof(text)) > 0);
		require(ug_endpoint_parse(&again, text) == 0);
		require(ug_endpoint_compare(&ep, &again) == 0);
		check_source(ep);
	}
	free(in);
	return 0;
}
