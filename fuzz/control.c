/* SPDX-License-Identifier: MIT */
/* Control data as a kernel, or an attacker, might write it. */
#include <errno.h>

#include "fuzz/fuzz.h"
#include "udpgather/control.h"

/* Packet info that came is written again, as an answer has it. */
static void check_answer(const struct control_info *in)
{
	struct control_out out = {
		.source = &in->source,
		.family = in->is_ipv4 ? AF_INET : AF_INET6,
		.tos = in->tos,
		.flags = CONTROL_CLEAR_TOS | CONTROL_FOLLOW_INTERFACE,
	};
	struct control_info again;
	struct control c;
	size_t len = ug_control_build(&c, &out);

	require(len <= sizeof(c.bytes));
	require(ug_control_parse(c.bytes, len, &again) == 0);
	require(again.source.ifindex == in->source.ifindex);
	require(memcmp(again.source.addr, in->source.addr, 16) == 0);
	/* Sent IPv4 data has the TOS as an int, which is read as one byte. */
	require(in->is_ipv4 || again.tos == in->tos);
}

/* Is this nobody, or an address in its one form and without a port? */
static bool is_host(const struct ug_endpoint *ep)
{
	switch (ep->addr.any.sa_family) {
	case AF_UNSPEC:
		return true;
	case AF_INET:
		return !ep->addr.v4.sin_port;
	case AF_INET6:
		return !ep->addr.v6.sin6_port &&
		       !IN6_IS_ADDR_V4MAPPED(&ep->addr.v6.sin6_addr);
	default:
		return false;
	}
}

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
		check_answer(&out);
	} else {
		ug_control_parse_details(copy, len, &details);

		require(out.tos == 1 && out.segment_len == 2);
	}
	struct ug_error error;

	memset(&error, 0x55, sizeof(error));
	int err = ug_control_parse_error(copy, len, &error);

	require(err == 0 || err == -EBADMSG);
	if (err == 0) {
		require(error.to.addr.any.sa_family == AF_UNSPEC);
		require(is_host(&error.offender));
		require(!error.mtu || error.err == EMSGSIZE);
	} else {
		require(error.err == 0x55555555);
	}
	free(copy);
	return 0;
}
