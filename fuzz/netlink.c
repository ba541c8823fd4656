/* SPDX-License-Identifier: MIT */
/*
 * Netlink messages with attributes, two levels of them. Input: the length of
 * the body, a byte; the datagram.
 */
#include "base/netlink.h"
#include "fuzz/fuzz.h"

/*
 * Read each attribute by every accessor. Return: their total length in bytes.
 */
static size_t look(struct netlink_attrs *a, const uint8_t *end, int depth)
{
	const struct nlattr *attr;
	size_t total = 0;
	uint32_t value;

	while ((attr = netlink_attrs_next(a))) {
		const uint8_t *data = netlink_attr_data(attr);
		size_t len = netlink_attr_len(attr);
		const char *text = netlink_attr_string(attr, 16);
		struct netlink_attrs nested;

		require(data + len <= end);
		require(netlink_attr_u32(attr, &value) == (len == 4));
		require(!text || strlen(text) < 16);
		for (size_t i = 0; i < len; i++)
			total += data[i] & 1;
		total += sizeof(*attr) + len;
		netlink_attrs_init_nested(&nested, attr);
		if (depth)
			require(look(&nested, data + len, depth - 1) <=
				2 * len);
	}
	return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const struct nlmsghdr *message;
	struct netlink_messages m;
	uint8_t *copy;

	if (!len)
		return 0;
	/* A copy with the alignment of a receive buffer and the exact
	 * length. */
	copy = malloc(len - 1 ? len - 1 : 1);
	require(copy != NULL);
	memcpy(copy, data + 1, len - 1);
	netlink_messages_init(&m, copy, len - 1);
	while ((message = netlink_messages_next(&m))) {
		const uint8_t *end =
			(const uint8_t *)message + message->nlmsg_len;
		struct netlink_attrs a;

		require(end <= copy + len - 1);
		netlink_attrs_init(&a, message, data[0]);
		require(!netlink_get_body(message, data[0]) ||
			sizeof(*message) + data[0] <= message->nlmsg_len);
		look(&a, end, 2);
	}
	free(copy);
	return 0;
}
