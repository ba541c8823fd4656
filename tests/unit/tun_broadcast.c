/* SPDX-License-Identifier: MIT */
/* The broadcast addresses of an interface, as rtnetlink reports them. */
#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "base/netlink.h"
#include "tests/lib/check.h"
#include "tun/broadcast.h"

enum {
	/* A choice: the interface of the tunnel. */
	IFINDEX = 7,
};

/* The fields of a message of the kernel about an address. */
struct address {
	const char *local;
	const char *network; /* NULL: as @local */
	const char *given;   /* NULL: none */
	uint8_t prefix_len;
	unsigned int ifindex;
	uint8_t family;
};

static struct broadcasts set;

static void put(struct netlink_builder *b, uint16_t type, const char *text)
{
	if (text)
		netlink_put_u32(b, type, inet_addr(text));
}

static void parse_message(uint16_t type, const struct address *t)
{
	const struct ifaddrmsg ifa = {
		.ifa_family = t->family ? t->family : AF_INET,
		.ifa_prefixlen = t->prefix_len,
		.ifa_index = t->ifindex ? t->ifindex : IFINDEX,
	};
	struct netlink_messages messages;
	struct netlink_builder b;
	uint32_t words[64];

	netlink_begin(&b, words, sizeof(words), type, 0);
	memcpy(netlink_put_body(&b, sizeof(ifa)), &ifa, sizeof(ifa));
	put(&b, IFA_ADDRESS, t->network ? t->network : t->local);
	put(&b, IFA_LOCAL, t->local);
	put(&b, IFA_BROADCAST, t->given);
	netlink_messages_init(&messages, words, b.header->nlmsg_len);
	broadcasts_parse(&set, netlink_messages_next(&messages), IFINDEX);
}

static void add(const struct address *t)
{
	parse_message(RTM_NEWADDR, t);
}

static void remove_it(const struct address *t)
{
	parse_message(RTM_DELADDR, t);
}

static bool have(const char *text)
{
	in_addr_t addr = inet_addr(text);

	return broadcasts_have(&set, (const uint8_t *)&addr);
}

static void one(void **state)
{
	const struct address address = { .local = "10.9.0.1",
					 .prefix_len = 24 };

	(void)state;
	broadcasts_clear(&set);
	assert_false(have("10.9.0.255"));
	assert_false(have("0.0.0.0"));
	add(&address);
	assert_true(have("10.9.0.255"));
	assert_false(have("10.9.0.0") || have("10.9.0.1") ||
		     have("10.9.1.255") || have("0.0.0.0"));
	add(&address);
	remove_it(&address);
	assert_false(have("10.9.0.255"));
	remove_it(&address);
	add(&address);
	broadcasts_clear(&set);
	assert_false(have("10.9.0.255"));
}

static void lengths(void **state)
{
	(void)state;
	for (uint8_t len = 0; len <= 32; len++) {
		const struct address address = { .local = "10.128.64.0",
						 .prefix_len = len };
		uint32_t addr = ntohl(inet_addr("10.128.64.0"));
		uint32_t last =
			len ? addr | (uint32_t)(UINT64_C(0xffffffff) >> len)
			    : UINT32_MAX;
		struct in_addr in = { htonl(last) };

		broadcasts_clear(&set);
		add(&address);
		/* A network of 1 or 2 addresses has no broadcast address. */
		assert_int_equal(have(inet_ntoa(in)), len > 0 && len < 31);
		assert_false(have("10.128.64.0"));
	}
}

static void others(void **state)
{
	const struct address first = { .local = "10.9.0.1", .prefix_len = 24 };
	const struct address second = { .local = "10.9.0.2", .prefix_len = 24 };
	/* On a point-to-point link the network is that of the other end. */
	const struct address far = { .local = "10.1.1.1",
				     .network = "10.2.2.2",
				     .prefix_len = 24 };
	const struct address given = { .local = "10.3.0.1",
				       .given = "10.3.7.7",
				       .prefix_len = 16 };
	const struct address foreign = { .local = "10.4.0.1",
					 .prefix_len = 24,
					 .ifindex = 8 };
	const struct address v6 = { .local = "10.5.0.1",
				    .prefix_len = 24,
				    .family = AF_INET6 };

	(void)state;
	broadcasts_clear(&set);
	add(&first);
	add(&second);
	remove_it(&first);
	assert_true(have("10.9.0.255"));
	add(&far);
	assert_true(have("10.2.2.255"));
	assert_false(have("10.1.1.255"));
	add(&given);
	assert_true(have("10.3.255.255") && have("10.3.7.7"));
	add(&foreign);
	add(&v6);
	assert_false(have("10.4.0.255") || have("10.5.0.255"));
	/* The same message about another interface removes nothing. */
	parse_message(RTM_DELADDR, &(struct address){ .local = "10.9.0.2",
						      .prefix_len = 24,
						      .ifindex = 8 });
	assert_true(have("10.9.0.255"));
}

static void too_many(void **state)
{
	char text[16];
	struct address address = { .local = text, .prefix_len = 24 };

	(void)state;
	broadcasts_clear(&set);
	for (int i = 0; i < 2 * BROADCASTS_MAX; i++) {
		snprintf(text, sizeof(text), "10.%d.0.1", i);
		add(&address);
		snprintf(text, sizeof(text), "10.%d.0.255", i);
		assert_int_equal(have(text), i < BROADCASTS_MAX);
	}
}

/* A short message adds no address, and is not read beyond its end. */
static void malformed(void **state)
{
	const struct ifaddrmsg ifa = { .ifa_family = AF_INET,
				       .ifa_prefixlen = 24,
				       .ifa_index = IFINDEX };
	uint32_t words[16];

	(void)state;
	broadcasts_clear(&set);
	for (size_t body_len = 0; body_len <= sizeof(ifa); body_len++) {
		struct netlink_messages messages;
		struct netlink_builder b;
		const struct nlmsghdr *message;

		netlink_begin(&b, words, sizeof(words), RTM_NEWADDR, 0);
		memcpy(netlink_put_body(&b, sizeof(ifa)), &ifa, sizeof(ifa));
		netlink_put_u16(&b, IFA_LOCAL, 1);
		put(&b, IFA_ADDRESS, "10.9.0.1");
		b.header->nlmsg_len = (uint32_t)(sizeof(*b.header) + body_len);
		netlink_messages_init(&messages, words, sizeof(words));
		message = netlink_messages_next(&messages);
		assert_non_null(message);
		broadcasts_parse(&set, message, IFINDEX);
	}
	assert_false(have("10.9.0.255"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one),	     cmocka_unit_test(lengths),
		cmocka_unit_test(others),    cmocka_unit_test(too_many),
		cmocka_unit_test(malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
