/* SPDX-License-Identifier: MIT */
/*
 * The kernel's tunnel devices, as rtnetlink describes them; which packets are for
 * them, and what is in these packets.
 */
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include "tun_tunnel.h"
#include "base/netlink.h"
#include "tun/overlay.h"

#define SEQ 7

static uint32_t words[8192];
static size_t used;
static struct overlays set;

/* The attributes of a link. If a member is 0, the message lacks it. */
struct link_msg {
	const char *kind;
	bool is_down;
	bool is_foreign;
	uint16_t port;
	uint16_t local4, local6, remote6, external, unsummed, flag;
	uint32_t seq;
};

static void put_bytes(struct netlink_builder *b, uint16_t type, size_t len)
{
	static const uint8_t bytes[16] = { 10, 9, 8, 7, 6, 5 };

	if (type)
		netlink_put(b, type, bytes, len);
}

static void put_link(const struct link_msg *m)
{
	static const uint8_t one = 1;
	struct be16 port = be16_make(m->port);
	struct netlink_builder b;
	struct ifinfomsg *ifi;
	size_t info, data;

	netlink_begin(&b, (char *)words + used, sizeof(words) - used,
		      RTM_NEWLINK, NLM_F_MULTI);
	b.header->nlmsg_seq = m->seq ? m->seq : SEQ;
	ifi = netlink_put_body(&b, sizeof(*ifi));
	ifi->ifi_flags = m->is_down ? 0 : IFF_UP;
	netlink_put_string(&b, IFLA_IFNAME, "vx0");
	info = netlink_nest_begin(&b, IFLA_LINKINFO);
	netlink_put_string(&b, IFLA_INFO_KIND, m->kind);
	data = netlink_nest_begin(&b, IFLA_INFO_DATA);
	if (m->port)
		netlink_put(&b,
			    strcmp(m->kind, "geneve") ? IFLA_VXLAN_PORT
						      : IFLA_GENEVE_PORT,
			    &port, sizeof(port));
	put_bytes(&b, m->local4, 4);
	put_bytes(&b, m->local6, 16);
	put_bytes(&b, m->remote6, 16);
	if (m->external)
		netlink_put(&b, m->external, &one, 1);
	if (m->unsummed)
		netlink_put(&b, m->unsummed, &one, 1);
	if (m->flag)
		netlink_put(&b, m->flag, NULL, 0);
	netlink_nest_end(&b, data);
	netlink_nest_end(&b, info);
	if (m->is_foreign)
		netlink_put_u32(&b, IFLA_LINK_NETNSID, 3);
	assert_false(b.is_full);
	used += NLMSG_ALIGN(b.header->nlmsg_len);
}

static void put_end(uint16_t type, uint32_t seq)
{
	struct netlink_builder b;

	netlink_begin(&b, (char *)words + used, sizeof(words) - used, type, 0);
	b.header->nlmsg_seq = seq;
	netlink_put_body(&b, sizeof(struct nlmsgerr));
	used += NLMSG_ALIGN(b.header->nlmsg_len);
}

static int parse(void)
{
	int err = overlays_parse(&set, words, used, SEQ);

	used = 0;
	return err;
}

static void test_devices(void **state)
{
	enum {
		BOTH = OVERLAY_V4 | OVERLAY_V6
	};
	static const struct {
		const char *name;
		struct link_msg msg;
		unsigned int cnt;
		struct overlay want; /* without the port */
	} rows[] = {
		{ "vxlan",
		  { .kind = "vxlan", .port = 4789 },
		  1,
		  { .versions = OVERLAY_V4 } },
		{ "a local address",
		  { .kind = "vxlan", .port = 4789, .local4 = IFLA_VXLAN_LOCAL },
		  1,
		  { .versions = OVERLAY_V4,
		    .local_len = 4,
		    .local = { 10, 9, 8, 7 } } },
		{ "a local address of IPv6",
		  { .kind = "vxlan",
		    .port = 4789,
		    .local6 = IFLA_VXLAN_LOCAL6 },
		  1,
		  { .versions = OVERLAY_V6,
		    .local_len = 16,
		    .local = { 10, 9, 8, 7, 6, 5 } } },
		{ "a remote one of IPv6, without checksums",
		  { .kind = "vxlan",
		    .port = 8472,
		    .remote6 = IFLA_VXLAN_GROUP6,
		    .unsummed = IFLA_VXLAN_UDP_ZERO_CSUM6_RX },
		  1,
		  { .versions = OVERLAY_V6, .takes_unsummed6 = true } },
		{ "external",
		  { .kind = "vxlan",
		    .port = 4789,
		    .external = IFLA_VXLAN_COLLECT_METADATA },
		  1,
		  { .versions = BOTH } },
		{ "external, a local address",
		  { .kind = "vxlan",
		    .port = 4789,
		    .local4 = IFLA_VXLAN_LOCAL,
		    .external = IFLA_VXLAN_COLLECT_METADATA },
		  1,
		  { .versions = BOTH,
		    .local_len = 4,
		    .local = { 10, 9, 8, 7 } } },
		{ "gpe",
		  { .kind = "vxlan", .port = 4790, .flag = IFLA_VXLAN_GPE },
		  0,
		  { .versions = 0 } },
		{ "down",
		  { .kind = "vxlan", .port = 4789, .is_down = true },
		  0,
		  { .versions = 0 } },
		{ "of another namespace",
		  { .kind = "vxlan", .port = 4789, .is_foreign = true },
		  0,
		  { .versions = 0 } },
		{ "no port", { .kind = "vxlan" }, 0, { .versions = 0 } },
		{ "another answer",
		  { .kind = "vxlan", .port = 4789, .seq = SEQ + 1 },
		  0,
		  { .versions = 0 } },
		{ "another kind",
		  { .kind = "veth", .port = 4789 },
		  0,
		  { .versions = 0 } },
		{ "geneve",
		  { .kind = "geneve", .port = 6081 },
		  1,
		  { .versions = OVERLAY_V4, .is_geneve = true } },
		{ "geneve over IPv6",
		  { .kind = "geneve",
		    .port = 6081,
		    .remote6 = IFLA_GENEVE_REMOTE6,
		    .unsummed = IFLA_GENEVE_UDP_ZERO_CSUM6_RX },
		  1,
		  { .versions = OVERLAY_V6,
		    .is_geneve = true,
		    .takes_unsummed6 = true } },
		{ "geneve, external",
		  { .kind = "geneve",
		    .port = 6081,
		    .flag = IFLA_GENEVE_COLLECT_METADATA },
		  1,
		  { .versions = BOTH, .is_geneve = true } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct overlay *got = set.list;

		set.cnt = 0;
		put_link(&rows[i].msg);
		assert_int_equal(parse(), -EAGAIN);
		if (set.cnt != rows[i].cnt)
			print_error("%s: %u\n", rows[i].name, set.cnt);
		assert_int_equal(set.cnt, rows[i].cnt);
		if (!set.cnt)
			continue;
		assert_int_equal(be16_get(got->port), rows[i].msg.port);
		assert_int_equal(got->is_geneve, rows[i].want.is_geneve);
		assert_int_equal(got->versions, rows[i].want.versions);
		assert_int_equal(got->takes_unsummed6,
				 rows[i].want.takes_unsummed6);
		assert_int_equal(got->local_len, rows[i].want.local_len);
		assert_memory_equal(got->local, rows[i].want.local, 16);
	}
}

/* Several datagrams; equal devices count once; devices above the cap do not. */
static void test_dump(void **state)
{
	struct link_msg m = { .kind = "vxlan", .port = 4789 };

	(void)state;
	set.cnt = 0;
	put_link(&m);
	put_link(&m);
	assert_int_equal(parse(), -EAGAIN);
	assert_int_equal(set.cnt, 1);
	for (m.port = 1; m.port < 40; m.port++)
		put_link(&m);
	put_end(NLMSG_DONE, SEQ + 1);
	assert_int_equal(parse(), -EAGAIN);
	assert_int_equal(set.cnt, OVERLAYS_MAX);
	assert_int_equal(be16_get(set.list[0].port), 4789);
	assert_int_equal(be16_get(set.list[OVERLAYS_MAX - 1].port),
			 OVERLAYS_MAX - 1);
	put_end(NLMSG_DONE, SEQ);
	assert_int_equal(parse(), 0);
	put_end(NLMSG_ERROR, SEQ);
	assert_int_equal(parse(), -EBADMSG);
}

static void test_lookup(void **state)
{
	static const struct overlays some = {
		.cnt = 3,
		.list = { { .port = { { 0x12, 0xb5 } },
			    .versions = OVERLAY_V4,
			    .local_len = 4,
			    .local = { 10, 9, 8, 1 } },
			  { .port = { { 0x12, 0xb5 } },
			    .versions = OVERLAY_V4,
			    .local_len = 4,
			    .local = { 10, 9, 8, 7 } },
			  { .port = { { 0x17, 0xc1 } },
			    .versions = OVERLAY_V4 | OVERLAY_V6,
			    .local_len = 4,
			    .local = { 10, 9, 8, 1 },
			    .is_geneve = true } },
	};
	struct tunnel t = { .outer = { .version = 4 },
			    .inner = { .version = 4, .proto = 6 } };
	uint8_t pkt[512];

	(void)state;
	tunnel_build(pkt, &t);
	assert_ptr_equal(overlays_lookup(&some, pkt), &some.list[1]);
	t.port = 4790;
	tunnel_build(pkt, &t);
	assert_null(overlays_lookup(&some, pkt));
	t.port = 0;
	t.is_geneve = true;
	tunnel_build(pkt, &t);
	assert_null(overlays_lookup(&some, pkt));
	/* The address of the external device is one of IPv4 only. */
	t.outer.version = 6;
	tunnel_build(pkt, &t);
	assert_ptr_equal(overlays_lookup(&some, pkt), &some.list[2]);
	t.is_geneve = false;
	tunnel_build(pkt, &t);
	assert_null(overlays_lookup(&some, pkt));
}

static void test_inner_off(void **state)
{
	struct tunnel t = { .outer = { .version = 4 },
			    .inner = { .version = 4, .proto = 6 } };
	struct overlay o = { .is_geneve = false };
	static const struct {
		size_t off; /* behind the outer UDP header */
		uint8_t byte;
	} vxlan[] = { { 0, 0 }, { 20, 6 }, { 21, 6 }, { 22, 0x65 } },
	  geneve[] = { { 0, 0x42 }, { 1, 0x80 }, { 3, 0 }, { 30, 0x25 } };
	uint8_t pkt[1024];
	size_t len = tunnel_build(pkt, &t);

	(void)state;
	assert_int_equal(overlay_inner_off(&o, pkt, len, 20), 20 + 8 + 22);
	for (size_t i = 0; i < ARRAY_LEN(vxlan); i++) {
		tunnel_build(pkt, &t);
		pkt[28 + vxlan[i].off] = vxlan[i].byte;
		assert_int_equal(overlay_inner_off(&o, pkt, len, 20), 0);
	}
	o.is_geneve = t.is_geneve = true;
	t.options_len = 8;
	len = tunnel_build(pkt, &t);
	assert_int_equal(overlay_inner_off(&o, pkt, len, 20), 20 + 8 + 30);
	for (size_t i = 0; i < ARRAY_LEN(geneve); i++) {
		tunnel_build(pkt, &t);
		pkt[28 + geneve[i].off] = geneve[i].byte;
		assert_int_equal(overlay_inner_off(&o, pkt, len, 20), 0);
	}
	t.options_len = GENEVE_OPTIONS_MAX;
	t.inner.version = 6;
	t.outer.version = 6;
	len = tunnel_build(pkt, &t);
	assert_int_equal(overlay_inner_off(&o, pkt, len, 40),
			 40 + 8 + 8 + 252 + 14);
	/* In memory of just this length a sanitizer sees a read beyond. */
	for (size_t cut = 48; cut < len; cut++) {
		uint8_t *tight = malloc(cut);

		memcpy(tight, pkt, cut);
		assert_int_equal(overlay_inner_off(&o, tight, cut, 40),
				 cut > 48 + 8 + 252 + 14 ? 48 + 274 : 0);
		free(tight);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_devices),
		cmocka_unit_test(test_dump),
		cmocka_unit_test(test_lookup),
		cmocka_unit_test(test_inner_off),
	};

	return cmocka_run_group_tests_name("tun_overlay", tests, NULL, NULL);
}
