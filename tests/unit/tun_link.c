/* SPDX-License-Identifier: MIT */
/*
 * Link messages as the kernel makes them, in each order that can follow from a
 * move to another namespace or from a lost message. The functions below build
 * the messages.
 */
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "base/netlink.h"
#include "tun_packet.h"
#include "tun/link.h"

/* A choice: the interface of the tunnel. */
#define INDEX 5
#define HOME  LINK_NSID_HOME

static uint32_t words[4096];
static size_t used;
static struct link_state st;
static struct link_events ev;

static void begin(void)
{
	used = 0;
	ev.cnt = 0;
}

/* The message that is being written. */
static struct netlink_builder b;
static void *body;

static struct nlmsghdr *put(int type, size_t payload)
{
	netlink_begin(&b, (char *)words + used, sizeof(words) - used,
		      (uint16_t)type, 0);
	body = netlink_put_body(&b, payload);
	assert_non_null(body);
	return b.header;
}

static void finish(const struct nlmsghdr *nlh)
{
	used += (nlh->nlmsg_len + 3U) & ~3U;
}

/* If a member is 0 or NULL, the message lacks that attribute. */
struct link_msg {
	int type, family, index;
	bool up;
	uint32_t mtu;
	const char *name, *kind;
	bool moves;
	int new_nsid, new_index;
	bool about;
	int target_nsid;
};

static void put_link(const struct link_msg *m)
{
	struct nlmsghdr *nlh = put(m->type, sizeof(struct ifinfomsg));
	struct ifinfomsg *ifi = body;

	ifi->ifi_family = (uint8_t)m->family;
	ifi->ifi_index = m->index ? m->index : INDEX;
	ifi->ifi_flags = m->up ? IFF_UP : 0;
	if (m->name)
		netlink_put_string(&b, IFLA_IFNAME, m->name);
	if (m->mtu)
		netlink_put_u32(&b, IFLA_MTU, m->mtu);
	if (m->kind) {
		size_t nest = netlink_nest_begin(&b, IFLA_LINKINFO);

		netlink_put_string(&b, IFLA_INFO_KIND, m->kind);
		netlink_nest_end(&b, nest);
	}
	if (m->moves) {
		netlink_put_u32(&b, IFLA_NEW_NETNSID, (uint32_t)m->new_nsid);
		netlink_put_u32(&b, IFLA_NEW_IFINDEX, (uint32_t)m->new_index);
	}
	if (m->about)
		netlink_put_u32(&b, IFLA_TARGET_NETNSID,
				(uint32_t)m->target_nsid);
	finish(nlh);
}

static void parse(int nsid)
{
	link_parse(&st, words, used, nsid, &ev);
}

static void receive(const struct link_msg *m, int nsid)
{
	begin();
	put_link(m);
	parse(nsid);
}

#define RECEIVE(nsid, ...) receive(&(struct link_msg){ __VA_ARGS__ }, nsid)

/* Compare the last events. Each is written as a letter, in the order of enum
 * link_event: U up, D down, M MTU, R renamed, V moved, X deleted, ? missing, N
 * network of IPv4, 6 network of IPv6, T tunnel device, O overflow. */
static void check(const char *want)
{
	static const char letters[] = "UDMRVX?N6TO";
	char got[LINK_EVENTS_MAX + 1] = "";

	for (unsigned int i = 0; i < ev.cnt; i++)
		got[i] = letters[ev.kinds[i]];
	assert_string_equal(got, want);
}

static int fresh(void **state)
{
	(void)state;
	link_state_init(&st, INDEX, "wg0");
	RECEIVE(HOME, .type = RTM_NEWLINK, .name = "wg0", .mtu = 1420);
	return 0;
}

static void test_changes(void **state)
{
	(void)state;
	check("M");
	assert_int_equal(st.mtu, 1420);
	RECEIVE(HOME, .type = RTM_NEWLINK, .name = "wg0", .mtu = 1420);
	check("");
	RECEIVE(HOME, .type = RTM_NEWLINK, .name = "wg0", .mtu = 1420,
		.up = true);
	check("U");
	assert_true(st.up);
	RECEIVE(HOME, .type = RTM_NEWLINK, .name = "wg0", .mtu = 1280,
		.up = true);
	check("M");
	assert_int_equal(st.mtu, 1280);
	RECEIVE(HOME, .type = RTM_NEWLINK, .name = "vpn", .up = true);
	check("R");
	assert_string_equal(st.name, "vpn");
	RECEIVE(HOME, .type = RTM_NEWLINK, .name = "vpn");
	check("D");
	RECEIVE(HOME, .type = RTM_DELLINK, .name = "vpn");
	check("X");
	assert_true(st.deleted);
	RECEIVE(HOME, .type = RTM_NEWLINK, .name = "vpn", .mtu = 1, .up = true);
	check("N");
}

static void test_several_at_once(void **state)
{
	(void)state;
	begin();
	put_link(&(struct link_msg){ .type = RTM_NEWLINK, .up = true });
	put_link(&(struct link_msg){ .type = RTM_NEWLINK, .mtu = 1 });
	put_link(&(struct link_msg){ .type = RTM_NEWLINK, .up = true });
	put_link(&(struct link_msg){
		.type = RTM_NEWLINK, .up = true, .mtu = 2 });
	parse(HOME);
	check("UMDU");
	assert_int_equal(st.mtu, 2);
	begin();
	for (int i = 0; i < 40; i++)
		put_link(
			&(struct link_msg){ .type = RTM_NEWLINK, .up = i & 1 });
	parse(HOME);
	assert_int_equal(ev.cnt, LINK_EVENTS_MAX);
	assert_int_equal(ev.kinds[LINK_EVENTS_MAX - 1], LINK_OVERFLOW);
	assert_true(st.up);
}

static void test_others(void **state)
{
	(void)state;
	/* A change of another interface is a change of the network. */
	RECEIVE(HOME, .type = RTM_NEWLINK, .index = 6, .mtu = 9);
	check("N");
	RECEIVE(HOME, .type = RTM_DELLINK, .index = 6);
	check("N");
	/* A change in another namespace is no event. */
	RECEIVE(3, .type = RTM_NEWLINK, .mtu = 9, .name = "wg0", .kind = "tun");
	check("");
	RECEIVE(3, .type = RTM_DELLINK);
	check("");
	/* If a port leaves a bridge, the interface stays. */
	RECEIVE(HOME, .type = RTM_DELLINK, .family = AF_BRIDGE);
	check("");
	RECEIVE(HOME, .type = RTM_NEWLINK, .family = AF_INET6, .mtu = 9);
	check("");
	assert_false(st.deleted);
	assert_int_equal(st.mtu, 1420);
}

static void test_network(void **state)
{
	static const int types[] = { RTM_NEWADDR,    RTM_DELADDR,
				     RTM_NEWROUTE,   RTM_DELROUTE,
				     RTM_NEWRULE,    RTM_DELRULE,
				     RTM_NEWNEXTHOP, RTM_DELNEXTHOP };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		begin();
		finish(put(types[i], sizeof(struct rtmsg)));
		parse(HOME);
		check("N");
		/* The family is the first byte of each body. */
		*(uint8_t *)body = AF_INET6;
		ev.cnt = 0;
		parse(HOME);
		check("6");
	}
	begin();
	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		finish(put(types[i], sizeof(struct rtmsg)));
	parse(HOME);
	check("N");
	ev.cnt = 0;
	parse(7);
	check("");
}

static void test_move_from_home(void **state)
{
	(void)state;
	RECEIVE(HOME, .type = RTM_NEWLINK, .up = true);
	RECEIVE(HOME, .type = RTM_NEWLINK);
	RECEIVE(HOME, .type = RTM_DELLINK, .moves = true, .new_nsid = 2,
		.new_index = 9);
	check("V");
	assert_int_equal(st.nsid, 2);
	assert_int_equal(st.ifindex, 9);
	assert_false(st.deleted);
	/*
	 * The interface that now has the old index in this namespace is another
	 * one.
	 */
	RECEIVE(HOME, .type = RTM_DELLINK);
	check("N");
	RECEIVE(2, .type = RTM_NEWLINK, .index = 9, .name = "new", .up = true);
	check("RU");
	RECEIVE(2, .type = RTM_DELLINK, .index = 9);
	check("X");
}

static void test_move_while_up(void **state)
{
	(void)state;
	RECEIVE(HOME, .type = RTM_NEWLINK, .up = true);
	RECEIVE(HOME, .type = RTM_DELLINK, .moves = true, .new_nsid = 0,
		.new_index = INDEX);
	check("DV");
	assert_int_equal(st.nsid, 0);
}

/*
 * After the second move the number of the namespace is unknown. The interface
 * is found again by its index, kind and name.
 */
static void test_move_from_elsewhere(void **state)
{
	(void)state;
	RECEIVE(HOME, .type = RTM_DELLINK, .moves = true, .new_nsid = 2,
		.new_index = 9);
	RECEIVE(2, .type = RTM_DELLINK, .index = 9, .moves = true,
		.new_nsid = 0, .new_index = 4);
	check("V");
	assert_int_equal(st.nsid, LINK_NSID_UNKNOWN);
	RECEIVE(0, .type = RTM_NEWLINK, .index = 4, .name = "wg0");
	assert_int_equal(st.nsid, LINK_NSID_UNKNOWN);
	RECEIVE(0, .type = RTM_NEWLINK, .index = 4, .name = "wg1",
		.kind = "tun");
	assert_int_equal(st.nsid, LINK_NSID_UNKNOWN);
	RECEIVE(0, .type = RTM_NEWLINK, .index = 5, .name = "wg0",
		.kind = "tun");
	assert_int_equal(st.nsid, LINK_NSID_UNKNOWN);
	RECEIVE(0, .type = RTM_NEWLINK, .index = 4, .name = "wg0",
		.kind = "veth");
	assert_int_equal(st.nsid, LINK_NSID_UNKNOWN);
	RECEIVE(HOME, .type = RTM_NEWLINK, .index = 4, .name = "wg0",
		.kind = "tun", .up = true);
	check("U");
	assert_int_equal(st.nsid, HOME);
	RECEIVE(HOME, .type = RTM_DELLINK, .index = 4);
	check("X");
}

static void test_move_to_nowhere(void **state)
{
	(void)state;
	RECEIVE(HOME, .type = RTM_DELLINK, .moves = true, .new_nsid = -1,
		.new_index = 9);
	check("V");
	assert_int_equal(st.nsid, LINK_NSID_UNKNOWN);
}

static void test_home_with_a_number(void **state)
{
	(void)state;
	st.home_nsid = 4;
	RECEIVE(4, .type = RTM_NEWLINK, .mtu = 1300);
	check("M");
	RECEIVE(4, .type = RTM_NEWLINK, .index = 8);
	check("N");
}

static void test_answers(void **state)
{
	struct nlmsghdr *nlh;
	struct nlmsgerr *err;

	(void)state;
	st.seq = 11;
	for (int i = 0; i < 4; i++) {
		begin();
		nlh = put(NLMSG_ERROR, sizeof(*err));
		nlh->nlmsg_seq = i == 0 ? 10 : 11;
		err = body;
		err->error = i == 1 ? 0 : -ENODEV;
		st.deleted = i == 2;
		finish(nlh);
		parse(HOME);
		check(i == 3 ? "?" : "");
	}
	/* A message about another namespace, sent from ours. */
	st.nsid = 2;
	RECEIVE(HOME, .type = RTM_NEWLINK, .mtu = 1300, .about = true,
		.target_nsid = 2);
	check("M");
	begin();
	finish(put(NLMSG_OVERRUN, 0));
	finish(put(NLMSG_DONE, 0));
	parse(HOME);
	check("O");
}

static void test_malformed(void **state)
{
	struct nlmsghdr *nlh;
	struct nlattr *attr;

	(void)state;
	/* Messages that are too short for their types. */
	begin();
	finish(put(RTM_NEWLINK, sizeof(struct ifinfomsg) - 4));
	finish(put(NLMSG_ERROR, sizeof(struct nlmsgerr) - 4));
	parse(HOME);
	check("");
	/* Attributes of wrong lengths, and a name without an end. */
	begin();
	nlh = put(RTM_NEWLINK, sizeof(struct ifinfomsg));
	((struct ifinfomsg *)body)->ifi_index = INDEX;
	netlink_put_u16(&b, IFLA_MTU, 9);
	netlink_put(&b, IFLA_IFNAME, "abc", 3);
	netlink_put_string(&b, IFLA_IFNAME, "0123456789abcdef");
	attr = (void *)((char *)nlh + NLMSG_ALIGN(nlh->nlmsg_len));
	netlink_put_u32(&b, IFLA_LINKINFO, 0xffffffff);
	attr->nla_len = 7;
	finish(nlh);
	parse(HOME);
	check("");
	assert_string_equal(st.name, "wg0");
	assert_int_equal(st.mtu, 1420);
	/* A length that is negative as an int. */
	begin();
	nlh = put(RTM_NEWLINK, sizeof(struct ifinfomsg));
	finish(nlh);
	nlh->nlmsg_len = 0xfffe0000;
	parse(HOME);
	check("");
	/* A message without the padding of its last attribute. */
	begin();
	put_link(&(struct link_msg){ .type = RTM_NEWLINK, .mtu = 9000 });
	nlh = (struct nlmsghdr *)words;
	nlh->nlmsg_len = (uint32_t)--used;
	parse(HOME);
	check("");
	/* The same message, cut off after each number of bytes. */
	begin();
	put_link(&(struct link_msg){ .type = RTM_NEWLINK, .mtu = 1420 });
	for (size_t len = 0; len < used; len++) {
		void *tight = malloc(len ? len : 1);

		memcpy(tight, words, len);
		link_parse(&st, tight, len, HOME, &ev);
		free(tight);
	}
	check("");
}

static void test_garbage(void **state)
{
	struct random r;

	(void)state;
	random_seed(&r);
	for (int i = 0; i < 100000; i++) {
		static const int types[] = { RTM_NEWLINK, RTM_DELLINK,
					     RTM_NEWROUTE, NLMSG_ERROR };
		size_t len = random_u32(&r, 160);
		struct nlmsghdr *nlh = malloc(len + sizeof(*nlh));

		random_fill(&r, (void *)nlh, len);
		if (len >= sizeof(*nlh)) {
			nlh->nlmsg_len = (uint32_t)len;
			nlh->nlmsg_type = (uint16_t)types[i & 3];
		}
		if (len >= sizeof(*nlh) + sizeof(struct ifinfomsg)) {
			struct ifinfomsg *ifi = (void *)(nlh + 1);

			ifi->ifi_family = 0;
			ifi->ifi_index = (int)st.ifindex;
		}
		if (len >= sizeof(*nlh) + sizeof(struct ifinfomsg) + 4) {
			struct nlattr *attr =
				(void *)((char *)(nlh + 1) +
					 sizeof(struct ifinfomsg));

			attr->nla_len &= 0x3f;
			attr->nla_type &= 0x3f;
		}
		ev.cnt = 0;
		link_parse(&st, nlh, len, HOME, &ev);
		assert_true(ev.cnt <= LINK_EVENTS_MAX);
		if (st.deleted || st.nsid != HOME)
			link_state_init(&st, INDEX, "wg0");
		free(nlh);
	}
}

/*
 * A fake kernel that first reports lost messages, and then never stops sending
 * messages about a route.
 */
static int n_received;

static ssize_t endless_recvmsg(int fd, struct msghdr *msg, int flags)
{
	const struct nlmsghdr route = { .nlmsg_len = NLMSG_LENGTH(0),
					.nlmsg_type = RTM_NEWROUTE };

	(void)fd;
	(void)flags;
	if (!n_received++) {
		errno = ENOBUFS;
		return -1;
	}
	memset(msg->msg_name, 0, sizeof(struct sockaddr_nl));
	memcpy(msg->msg_iov->iov_base, &route, sizeof(route));
	msg->msg_controllen = 0;
	msg->msg_flags = 0;
	return sizeof(route);
}

/*
 * The loss is reported while messages keep coming, and again if they do not
 * stop.
 */
static void test_messages_without_end(void **state)
{
	static const struct tun_sys sys = { .recvmsg = endless_recvmsg };
	struct link link = { .sys = &sys };
	int n_reported = 0;

	(void)state;
	n_received = 0;
	link_state_init(&link.state, INDEX, "wg0");
	for (int i = 0; i < 100; i++) {
		assert_int_equal(link_receive(&link, &ev), 0);
		for (unsigned int k = 0; k < ev.cnt; k++)
			n_reported += ev.kinds[k] == LINK_OVERFLOW;
	}
	print_message("# told %d times in %d messages\n", n_reported,
		      n_received);
	assert_in_range(n_reported, 2, 10);
}

/* VXLAN and Geneve devices of the home namespace have an event of their own. */
static void test_tunnel_devices(void **state)
{
	(void)state;
	RECEIVE(HOME, .type = RTM_NEWLINK, .index = 9, .kind = "vxlan");
	check("NT");
	RECEIVE(HOME, .type = RTM_DELLINK, .index = 9, .kind = "geneve");
	check("NT");
	RECEIVE(HOME, .type = RTM_NEWLINK, .index = 9, .kind = "veth");
	check("N");
	RECEIVE(3, .type = RTM_NEWLINK, .index = 9, .kind = "vxlan");
	check("");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_tunnel_devices, fresh),
		cmocka_unit_test_setup(test_changes, fresh),
		cmocka_unit_test_setup(test_several_at_once, fresh),
		cmocka_unit_test_setup(test_others, fresh),
		cmocka_unit_test_setup(test_network, fresh),
		cmocka_unit_test_setup(test_move_from_home, fresh),
		cmocka_unit_test_setup(test_move_while_up, fresh),
		cmocka_unit_test_setup(test_move_from_elsewhere, fresh),
		cmocka_unit_test_setup(test_move_to_nowhere, fresh),
		cmocka_unit_test_setup(test_home_with_a_number, fresh),
		cmocka_unit_test_setup(test_answers, fresh),
		cmocka_unit_test_setup(test_malformed, fresh),
		cmocka_unit_test_setup(test_garbage, fresh),
		cmocka_unit_test_setup(test_messages_without_end, fresh),
	};

	return cmocka_run_group_tests_name("tun_link", tests, NULL, NULL);
}
