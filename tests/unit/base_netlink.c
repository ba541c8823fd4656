/* SPDX-License-Identifier: MIT */
/*
 * Writing and reading netlink messages. If libmnl is installed, it writes and
 * reads the same messages for comparison.
 */
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/netlink.h"
#include "tests/lib/check.h"

#ifdef HAVE_LIBMNL
#include <libmnl/libmnl.h>
#endif

enum {
	/* Longer than the sample, and than a random message. A choice. */
	WORDS = 256,
	/* A choice, not measured. */
	ROUNDS = 20000,
};

/* A message with a body and attributes of every kind. */
static size_t write_sample(void *buf, size_t cap, bool *is_full)
{
	struct netlink_builder b;
	struct ifinfomsg *body;
	size_t nest;

	netlink_begin(&b, buf, cap, RTM_NEWLINK, NLM_F_REQUEST);
	body = netlink_put_body(&b, sizeof(*body));
	if (body)
		body->ifi_index = 7;
	netlink_put_u32(&b, IFLA_MTU, 1420);
	netlink_put_string(&b, IFLA_IFNAME, "wg0");
	nest = netlink_nest_begin(&b, IFLA_LINKINFO);
	netlink_put_string(&b, IFLA_INFO_KIND, "tun");
	netlink_nest_end(&b, nest);
	netlink_put_u16(&b, IFLA_LINK_NETNSID, 3);
	netlink_put(&b, IFLA_ADDRESS, "abc", 3);
	*is_full = b.is_full;
	return b.header->nlmsg_len;
}

static void written_bytes(void **state)
{
	static const uint8_t want[] = {
		72, 0, 0, 0, 16,  0,   1,   0,	 0,   0,   0,	 0,  0,
		0,  0, 0, 0, 0,	  0,   0,   7,	 0,   0,   0,	 0,  0,
		0,  0, 0, 0, 0,	  0,   8,   0,	 4,   0,   0x8c, 5,  0,
		0,  8, 0, 3, 0,	  'w', 'g', '0', 0,   12,  0,	 18, 0x80,
		8,  0, 1, 0, 't', 'u', 'n', 0,	 6,   0,   37,	 0,  3,
		0,  0, 0, 7, 0,	  1,   0,   'a', 'b', 'c', 0,
	};
	uint32_t words[WORDS];
	bool is_full;

	(void)state;
	if (htole16(1) != 1)
		return; /* The bytes above are those of a little-endian host. */
	memset(words, 0xff, sizeof(words));
	assert_int_equal(write_sample(words, sizeof(words), &is_full),
			 sizeof(want) - 1);
	assert_false(is_full);
	((uint8_t *)words)[0] = want[0];
	assert_memory_equal(words, want, sizeof(want));
}

static void read_back(void **state)
{
	const struct nlattr *attr;
	struct netlink_messages m;
	struct netlink_attrs a, nested;
	const struct nlmsghdr *message;
	const struct ifinfomsg *body;
	uint32_t words[WORDS], u32;
	bool is_full;
	size_t len;

	(void)state;
	len = write_sample(words, sizeof(words), &is_full);
	netlink_messages_init(&m, words, (len + 3) & ~3UL);
	message = netlink_messages_next(&m);
	assert_non_null(message);
	assert_int_equal(message->nlmsg_type, RTM_NEWLINK);
	body = netlink_get_body(message, sizeof(*body));
	assert_non_null(body);
	assert_int_equal(body->ifi_index, 7);
	netlink_attrs_init(&a, message, sizeof(*body));
	attr = netlink_attrs_next(&a);
	assert_int_equal(netlink_attr_type(attr), IFLA_MTU);
	assert_true(netlink_attr_u32(attr, &u32));
	assert_int_equal(u32, 1420);
	attr = netlink_attrs_next(&a);
	assert_string_equal(netlink_attr_string(attr, 16), "wg0");
	assert_string_equal(netlink_attr_string(attr, 4), "wg0");
	assert_null(netlink_attr_string(attr, 3));
	attr = netlink_attrs_next(&a);
	assert_int_equal(netlink_attr_type(attr), IFLA_LINKINFO);
	netlink_attrs_init_nested(&nested, attr);
	attr = netlink_attrs_next(&nested);
	assert_string_equal(netlink_attr_string(attr, 16), "tun");
	assert_null(netlink_attrs_next(&nested));
	attr = netlink_attrs_next(&a);
	assert_int_equal(netlink_attr_len(attr), 2);
	assert_false(netlink_attr_u32(attr, &u32));
	attr = netlink_attrs_next(&a);
	assert_int_equal(netlink_attr_len(attr), 3);
	assert_null(netlink_attr_string(attr, 16));
	assert_null(netlink_attrs_next(&a));
	assert_null(netlink_messages_next(&m));
}

/* With any buffer that is too small, nothing is written behind its end. */
static void small_buffers(void **state)
{
	uint32_t words[WORDS];
	bool is_full;
	size_t whole = write_sample(words, sizeof(words), &is_full);

	(void)state;
	for (size_t cap = NLMSG_HDRLEN; cap < sizeof(words); cap++) {
		memset(words, 0xa5, sizeof(words));
		size_t len = write_sample(words, cap, &is_full);

		assert_true(len <= cap);
		assert_int_equal(is_full, cap < ((whole + 3) & ~3UL));
		for (size_t i = cap; i < sizeof(words); i++)
			assert_int_equal(((uint8_t *)words)[i], 0xa5);
	}
}

/* A wrong length ends the reading. ASan reports a read outside the message. */
static void wrong_lengths(void **state)
{
	static const uint32_t lens[] = { 0,	     1,		 15,
					 77,	     78,	 0x7fffffff,
					 0x80000000, 0xfffffffc, 0xffffffff };
	uint32_t words[WORDS];
	bool is_full;
	size_t len = (write_sample(words, sizeof(words), &is_full) + 3) & ~3UL;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		struct nlmsghdr *copy = malloc(len);
		struct netlink_messages m;

		assert_non_null(copy);
		memcpy(copy, words, len);
		copy->nlmsg_len = lens[i];
		netlink_messages_init(&m, copy, len);
		assert_null(netlink_messages_next(&m));
		free(copy);
	}
	for (size_t cut = 0; cut < len; cut++) {
		void *copy = malloc(cut + 1);
		struct netlink_messages m;

		assert_non_null(copy);
		memcpy(copy, words, cut);
		netlink_messages_init(&m, copy, cut);
		assert_null(netlink_messages_next(&m));
		free(copy);
	}
}

/* A message that ends with a nest whose last attribute needs padding. */
static void padding_in_a_nest(void **state)
{
	uint32_t words[WORDS];
	struct netlink_builder b;
	struct netlink_messages m;
	struct netlink_attrs a, nested;
	const struct nlmsghdr *message;
	const struct nlattr *attr;
	size_t nest;

	(void)state;
	netlink_begin(&b, words, sizeof(words), RTM_NEWLINK, 0);
	netlink_put_body(&b, sizeof(struct ifinfomsg));
	nest = netlink_nest_begin(&b, IFLA_LINKINFO);
	netlink_put_string(&b, IFLA_INFO_KIND, "vxlan");
	netlink_nest_end(&b, nest);
	netlink_messages_init(&m, words, b.header->nlmsg_len);
	message = netlink_messages_next(&m);
	assert_non_null(message);
	netlink_attrs_init(&a, message, sizeof(struct ifinfomsg));
	attr = netlink_attrs_next(&a);
	assert_non_null(attr);
	netlink_attrs_init_nested(&nested, attr);
	attr = netlink_attrs_next(&nested);
	assert_non_null(attr);
	assert_string_equal(netlink_attr_string(attr, 16), "vxlan");
}

#ifdef HAVE_LIBMNL

static size_t write_by_libmnl(void *buf)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *body;
	struct nlattr *nest;

	nlh->nlmsg_type = RTM_NEWLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	body = mnl_nlmsg_put_extra_header(nlh, sizeof(*body));
	body->ifi_index = 7;
	mnl_attr_put_u32(nlh, IFLA_MTU, 1420);
	mnl_attr_put_strz(nlh, IFLA_IFNAME, "wg0");
	nest = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "tun");
	mnl_attr_nest_end(nlh, nest);
	mnl_attr_put_u16(nlh, IFLA_LINK_NETNSID, 3);
	mnl_attr_put(nlh, IFLA_ADDRESS, 3, "abc");
	return nlh->nlmsg_len;
}

static void same_as_libmnl(void **state)
{
	uint32_t one[WORDS] = { 0 }, two[WORDS] = { 0 };
	bool is_full;
	size_t len = write_sample(one, sizeof(one), &is_full);
	size_t padded_len = write_by_libmnl(two);

	(void)state;
	/* libmnl counts the padding of the last attribute. */
	assert_int_equal(padded_len, (len + 3) & ~3UL);
	((struct nlmsghdr *)one)->nlmsg_len = (uint32_t)padded_len;
	assert_memory_equal(one, two, padded_len);
}

static int note(const struct nlattr *attr, void *data)
{
	uint64_t *sum = data;

	*sum = *sum * 31 + mnl_attr_get_type(attr);
	*sum = *sum * 31 + mnl_attr_get_payload_len(attr);
	return MNL_CB_OK;
}

/* Random bytes in a valid message: both libraries find the same attributes. */
static void reads_as_libmnl(void **state)
{
	struct random random;

	(void)state;
	random_init(&random, 11);
	for (int round = 0; round < ROUNDS; round++) {
		uint32_t words[WORDS / 4];
		size_t len =
			NLMSG_HDRLEN + 4 * random_below(&random, WORDS / 4 - 3);
		struct nlmsghdr *nlh = (void *)words;
		const struct nlmsghdr *message;
		const struct nlattr *attr;
		struct netlink_messages m;
		struct netlink_attrs a;
		uint64_t ours = 0, theirs = 0;

		for (size_t i = 0; i < len; i++)
			((uint8_t *)words)[i] =
				random_below(&random, 4)
					? 0
					: (uint8_t)random_below(&random, 24);
		nlh->nlmsg_len = (uint32_t)len;
		netlink_messages_init(&m, words, len);
		message = netlink_messages_next(&m);
		assert_non_null(message);
		netlink_attrs_init(&a, message, sizeof(struct rtgenmsg));
		while ((attr = netlink_attrs_next(&a))) {
			ours = ours * 31 + netlink_attr_type(attr);
			ours = ours * 31 + netlink_attr_len(attr);
		}
		mnl_attr_parse(nlh, sizeof(struct rtgenmsg), note, &theirs);
		if (ours != theirs)
			fail_msg("round %d: another list of attributes", round);
	}
}

#endif /* HAVE_LIBMNL */

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(written_bytes),
		cmocka_unit_test(read_back),
		cmocka_unit_test(small_buffers),
		cmocka_unit_test(wrong_lengths),
		cmocka_unit_test(padding_in_a_nest),
#ifdef HAVE_LIBMNL
		cmocka_unit_test(same_as_libmnl),
		cmocka_unit_test(reads_as_libmnl),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
