/* SPDX-License-Identifier: MIT */
/*
 * The kernel's real messages about a TUN that is changed, renamed, moved and
 * deleted. If the netlink socket overflows, the changes are found by a request.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/netlink.h"
#include "tests/lib/check.h"
#include "tests/lib/netns.h"
#include "tun/link.h"
#include "tun/tun.h"

static struct tun tun;
static struct link lnk;
static struct link_events ev;
static int home, there, far;

static int make_namespaces(void **state)
{
	(void)state;
	far = netns_new();
	there = netns_new();
	home = netns_new();
	return far < 0 || there < 0 || home < 0;
}

static int drop_namespaces(void **state)
{
	(void)state;
	close(far);
	close(there);
	close(home);
	return 0;
}

static int open_both(void **state)
{
	struct tun_config config = { .name = "wg0", .mtu = 1420 };

	(void)state;
	if (netns_enter(home) || tun_open(&tun, &tun_sys_linux, &config) ||
	    link_open(&lnk, &tun_sys_linux, tun.ifindex, tun.name))
		return -1;
	return link_request(&lnk) || link_receive(&lnk, &ev);
}

static int close_both(void **state)
{
	(void)state;
	link_close(&lnk);
	tun_close(&tun);
	return 0;
}

/**
 * hear() - wait until an event comes
 * @kind:	event; others before it are passed over
 *
 * Most events are queued when the change returns; those of work queues come
 * later.
 */
static void hear(enum link_event kind)
{
	struct pollfd fd = { .fd = link_get_fd(&lnk), .events = POLLIN };

	while (poll(&fd, 1, 5000) == 1) {
		assert_int_equal(link_receive(&lnk, &ev), 0);
		for (unsigned int i = 0; i < ev.cnt; i++)
			if (ev.kinds[i] == kind)
				return;
	}
	fail_msg("event %d did not come", (int)kind);
}

/**
 * hear_none() - check that an event does not come
 * @kind:	event
 */
static void hear_none(enum link_event kind)
{
	assert_int_equal(link_receive(&lnk, &ev), 0);
	for (unsigned int i = 0; i < ev.cnt; i++)
		assert_int_not_equal(ev.kinds[i], kind);
}

static void test_state_is_asked_for(void **state)
{
	(void)state;
	assert_true(lnk.all_nsid);
	assert_int_equal(lnk.state.mtu, 1420);
	assert_false(lnk.state.up);
	assert_string_equal(lnk.state.name, "wg0");
}

static void test_changes(void **state)
{
	(void)state;
	assert_int_equal(netns_ip("link set dev wg0 up"), 0);
	hear(LINK_UP);
	assert_int_equal(netns_ip("link set dev wg0 mtu 1300"), 0);
	hear(LINK_MTU);
	assert_int_equal(lnk.state.mtu, 1300);
	assert_int_equal(netns_ip("link set dev wg0 down"), 0);
	hear(LINK_DOWN);
	assert_int_equal(netns_ip("link set dev wg0 name wg7"), 0);
	hear(LINK_RENAMED);
	assert_string_equal(lnk.state.name, "wg7");
	assert_int_equal(netns_ip("link del dev wg7"), 0);
	hear(LINK_DELETED);
	assert_true(lnk.state.deleted);
}

static void test_network_changes(void **state)
{
	(void)state;
	assert_int_equal(netns_ip("link add d0 type veth peer d1"), 0);
	hear(LINK_NETWORK4);
	assert_int_equal(netns_ip("link set dev d0 up"), 0);
	hear(LINK_NETWORK4);
	assert_int_equal(netns_ip("addr add 10.5.0.1/24 dev d0"), 0);
	hear(LINK_NETWORK4);
	assert_int_equal(netns_ip("route add 10.6.0.0/24 via 10.5.0.2"), 0);
	hear(LINK_NETWORK4);
	assert_int_equal(netns_ip("route del 10.6.0.0/24"), 0);
	hear(LINK_NETWORK4);
	assert_int_equal(netns_ip("link del dev d0"), 0);
	hear(LINK_NETWORK4);
	assert_false(lnk.state.deleted);
}

static void test_move(void **state)
{
	char name[IFNAMSIZ];

	(void)state;
	assert_int_equal(netns_ip("link set dev wg0 up"), 0);
	hear(LINK_UP);
	assert_int_equal(netns_move("wg0", there), 0);
	hear(LINK_MOVED);
	assert_true(lnk.state.nsid >= 0);
	assert_false(lnk.state.up);
	assert_int_equal(tun_get_name(&tun, name), 0);

	/* The socket here gets messages of the other namespace. */
	assert_int_equal(netns_enter(there), 0);
	assert_int_equal(netns_ip("link set dev wg0 mtu 1280 up"), 0);
	hear(LINK_UP);
	assert_int_equal(lnk.state.mtu, 1280);
	assert_int_equal(netns_rename("wg0", "wg1"), 0);
	assert_int_equal(netns_ip("link set dev wg1 down"), 0);
	hear(LINK_DOWN);
	assert_string_equal(lnk.state.name, "wg1");
	/* Other devices in that namespace are ignored. */
	link_receive(&lnk, &ev);
	assert_int_equal(netns_ip("link add d0 type veth peer d1"), 0);
	assert_int_equal(netns_ip("link del dev d0"), 0);
	hear_none(LINK_NETWORK4);

	/* The state can be requested across namespaces. */
	lnk.state.mtu = 1;
	assert_int_equal(link_request(&lnk), 0);
	hear(LINK_MTU);
	assert_int_equal(lnk.state.mtu, 1280);

	assert_int_equal(netns_ip("link del dev wg1"), 0);
	hear(LINK_DELETED);
	assert_int_equal(tun_get_name(&tun, name), -EBADFD);
}

static void test_move_and_back(void **state)
{
	(void)state;
	assert_int_equal(netns_move("wg0", there), 0);
	hear(LINK_MOVED);
	assert_int_equal(netns_enter(there), 0);
	assert_int_equal(netns_move("wg0", home), 0);
	hear(LINK_MOVED);
	assert_int_equal(netns_enter(home), 0);
	assert_int_equal(netns_ip("link set dev wg0 up"), 0);
	hear(LINK_UP);
	assert_int_equal(lnk.state.nsid, LINK_NSID_HOME);
	assert_int_equal(netns_ip("link del dev wg0"), 0);
	hear(LINK_DELETED);
}

/*
 * The interface moves to a namespace whose messages do not reach us; the TUN
 * still tells its name.
 */
static void test_move_twice(void **state)
{
	char name[IFNAMSIZ];

	(void)state;
	assert_int_equal(netns_move("wg0", there), 0);
	hear(LINK_MOVED);
	assert_int_equal(netns_enter(there), 0);
	assert_int_equal(netns_move("wg0", far), 0);
	hear(LINK_MOVED);
	assert_int_equal(lnk.state.nsid, LINK_NSID_UNKNOWN);
	assert_int_equal(link_request(&lnk), LINK_E_UNKNOWN);
	assert_int_equal(tun_get_name(&tun, name), 0);
	assert_int_equal(netns_enter(far), 0);
	assert_int_equal(netns_ip("link del dev wg0"), 0);
	hear_none(LINK_DELETED);
	assert_int_equal(tun_get_name(&tun, name), -EBADFD);
}

static void test_missing(void **state)
{
	(void)state;
	/* Drop the message of the deletion. */
	assert_int_equal(netns_ip("link del dev wg0"), 0);
	link_receive(&lnk, &ev);
	lnk.state.deleted = false;
	assert_int_equal(link_request(&lnk), 0);
	hear(LINK_MISSING);
}

static void test_overflow(void **state)
{
	bool overflow = false;
	int fd = link_get_fd(&lnk), len = 0;

	(void)state;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &len, sizeof(len));
	for (int i = 0; i < 20; i++)
		assert_int_equal(tun_set_mtu(&tun, 1000 + (unsigned int)i), 0);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(link_receive(&lnk, &ev), 0);
		for (unsigned int k = 0; k < ev.cnt; k++)
			overflow |= ev.kinds[k] == LINK_OVERFLOW;
	}
	assert_true(overflow);
	assert_int_not_equal(lnk.state.mtu, 1019);
	/* A request gets the current state. */
	assert_int_equal(link_request(&lnk), 0);
	hear(LINK_MTU);
	assert_int_equal(lnk.state.mtu, 1019);
}

/**
 * number_home() - give this namespace a number for itself
 * @nsid:	number
 */
static void number_home(uint32_t nsid)
{
	int fd = netlink_open(NETLINK_ROUTE, 0, 0);
	uint32_t words[256];
	const struct nlmsghdr *nlh;
	const struct nlmsgerr *err;
	struct netlink_messages messages;
	struct netlink_builder b;
	ssize_t n;

	assert_true(fd >= 0);
	netlink_begin(&b, words, sizeof(words), RTM_NEWNSID,
		      NLM_F_REQUEST | NLM_F_ACK);
	netlink_put_body(&b, sizeof(struct rtgenmsg));
	netlink_put_u32(&b, NETNSA_PID, (uint32_t)getpid());
	netlink_put_u32(&b, NETNSA_NSID, nsid);
	assert_true(send(fd, words, b.header->nlmsg_len, 0) > 0);
	n = recv(fd, words, sizeof(words), 0);
	assert_true(n > 0);
	netlink_messages_init(&messages, words, (size_t)n);
	nlh = netlink_messages_next(&messages);
	assert_non_null(nlh);
	assert_int_equal(nlh->nlmsg_type, NLMSG_ERROR);
	err = netlink_get_body(nlh, sizeof(*err));
	assert_non_null(err);
	assert_int_equal(err->error, 0);
	close(fd);
}

/* If the namespace has a number for itself, its own messages carry it. */
static void test_home_with_a_number(void **state)
{
	close_both(state);
	number_home(42);
	assert_int_equal(open_both(state), 0);
	assert_int_equal(lnk.state.home_nsid, 42);
	assert_int_equal(lnk.state.mtu, 1420);
	assert_int_equal(netns_ip("link set dev wg0 up"), 0);
	hear(LINK_UP);
	assert_int_equal(netns_ip("addr add 10.5.0.1/24 dev wg0"), 0);
	hear(LINK_NETWORK4);
	assert_int_equal(netns_ip("link del dev wg0"), 0);
	hear(LINK_DELETED);
}

/*
 * The interface is in another namespace from the start, and a socket of that namespace
 * is handed over. An interface of the same name here, which is that of open_both(), is
 * left alone.
 */
static void test_elsewhere(void **state)
{
	struct tun_config config = { .name = "wg0",
				     .mtu = 1280,
				     .is_elsewhere = true };
	struct tun here = tun;
	int fd;

	(void)state;
	link_close(&lnk);
	assert_int_equal(netns_enter(there), 0);
	fd = netlink_open(NETLINK_ROUTE, 0, 0);
	assert_true(fd >= 0);
	config.is_elsewhere = false;
	assert_int_equal(tun_open(&tun, &tun_sys_linux, &config), 0);
	config.is_elsewhere = true;
	assert_int_equal(netns_enter(home), 0);
	assert_int_equal(tun_open_fd(&tun, &tun_sys_linux, &config, tun.fd), 0);
	assert_int_equal(tun.ifindex, 0);
	assert_string_equal(tun.name, "wg0");

	assert_int_equal(link_open_fd(&lnk, &tun_sys_linux, fd, "wg0"), 0);
	assert_int_equal(link_request(&lnk), 0);
	hear(LINK_MTU);
	assert_int_equal(lnk.state.mtu, 1280);
	assert_int_equal(netns_ip("link set dev wg0 mtu 1350"), 0);
	assert_int_equal(netns_enter(there), 0);
	assert_int_equal(netns_ip("link set dev wg0 up"), 0);
	hear(LINK_UP);
	assert_int_equal(lnk.state.mtu, 1280);
	assert_int_equal(netns_ip("link set dev wg0 mtu 1300"), 0);
	hear(LINK_MTU);
	assert_int_equal(lnk.state.mtu, 1300);
	assert_int_equal(netns_ip("link del dev wg0"), 0);
	hear(LINK_DELETED);
	assert_int_equal(netns_enter(home), 0);
	tun_close(&here);
}

/* What is handed over may be something else. */
static void test_no_socket_of_there(void **state)
{
	struct link other;
	int fd = open("/dev/null", O_RDWR);

	(void)state;
	assert_int_equal(link_open_fd(&other, &tun_sys_linux, fd, "wg0"),
			 -ENOTSOCK);
	close(fd);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(link_open_fd(&other, &tun_sys_linux, fd, "wg0"),
			 -EPROTOTYPE);
	close(fd);
	fd = netlink_open(NETLINK_GENERIC, 0, 0);
	assert_int_equal(link_open_fd(&other, &tun_sys_linux, fd, "wg0"),
			 -EPROTOTYPE);
	close(fd);
	fd = netlink_open(NETLINK_ROUTE, 0, 0);
	assert_int_equal(link_open_fd(&other, &tun_sys_linux, fd, "wg9"),
			 -ENODEV);
	close(fd);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_both, close_both)
	const struct CMUnitTest tests[] = {
		TEST(test_state_is_asked_for),
		TEST(test_changes),
		TEST(test_network_changes),
		TEST(test_move),
		TEST(test_move_and_back),
		TEST(test_move_twice),
		TEST(test_missing),
		TEST(test_overflow),
		TEST(test_home_with_a_number),
		TEST(test_elsewhere),
		TEST(test_no_socket_of_there),
	};

	netns_require();
	return cmocka_run_group_tests_name("tun_link", tests, make_namespaces,
					   drop_namespaces);
}
