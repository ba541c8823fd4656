/* SPDX-License-Identifier: MIT */
/* One step of reading a datagram or a list of attributes, for any header that claims
 * any length. The rest that it leaves is again such a rest, so the proof holds for
 * any number of steps. */
#include "any.h"

#include "base/bytes.h"
#include "base/netlink.h"

enum {
	N = 24,
};

static void take_message(size_t left, uint32_t claim)
{
	uint8_t *buf = any_bytes(left);
	struct netlink_messages m;
	struct netlink_attrs a;
	const struct nlmsghdr *message;

	if (left >= sizeof(claim))
		memcpy(buf, &claim, sizeof(claim));
	netlink_messages_init(&m, buf, left);
	message = netlink_messages_next(&m);
	//@ check rest: m.at + m.left == buf + left;
	if (!message)
		return;
	//@ check moves: m.left < left;
	//@ check valid: \valid_read((uint8_t *)message + (0 .. claim - 1));
	for (size_t len = 0; len <= 16; len += 4) {
		const uint8_t *body = netlink_get_body(message, len);

		if (body) {
			//@ check body: len == 0 || \valid_read(body + (0 .. len - 1));
		}
		netlink_attrs_init(&a, message, len);
		//@ check attrs: a.left == 0 || a.at + a.left == buf + claim;
	}
	free(buf);
}

static void take_attr(size_t left, uint16_t claim)
{
	uint8_t *buf = any_bytes(left);
	struct netlink_attrs a = { buf, left }, nested;
	const struct nlattr *attr;
	uint32_t value;

	if (left >= sizeof(claim))
		memcpy(buf, &claim, sizeof(claim));
	attr = netlink_attrs_next(&a);
	//@ check rest: a.at + a.left == buf + left;
	if (!attr)
		return;
	//@ check moves: a.left < left;
	//@ check valid: \valid_read(buf + (0 .. claim - 1));
	netlink_attrs_init_nested(&nested, attr);
	//@ check nested: nested.at + nested.left == buf + claim;
	(void)netlink_attr_u32(attr, &value);
	(void)netlink_attr_string(attr, 16);
	free(buf);
}

int main(void)
{
	for (size_t left = 0; left <= N; left++) {
		for (uint16_t claim = 0; claim <= left; claim++) {
			take_message(left, claim);
			take_attr(left, claim);
		}
		take_message(left, Frama_C_unsigned_int_interval(
					   (unsigned int)left + 1, UINT32_MAX));
		take_attr(left,
			  Frama_C_unsigned_short_interval(
				  (unsigned short)(left + 1), UINT16_MAX));
	}
	must_be_reached();
	return 0;
}
