/* SPDX-License-Identifier: MIT */
/*
 * Moving a TUN device to another namespace. Its first namespace gets
 * RTM_DELLINK, as for a deletion, but with the device's new namespace or index.
 * The device's descriptor goes on working.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/netns.h"
#include "tests/lib/check.h"
#include "tests/platform/datagram.h"
#include "tests/platform/tun.h"

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

enum {
	/* After this time without a message a test fails. A choice. */
	PATIENCE_MS = 5000,
	NONE = -1,
};

/**
 * struct link_event - the content of a message about a link
 * @type:	RTM_NEWLINK or RTM_DELLINK
 * @index:	of the device, where it was or is
 * @is_up:	IFF_UP is set
 * @name:	of the device
 * @new_nsid:	IFLA_NEW_NETNSID, or NONE
 * @new_index:	IFLA_NEW_IFINDEX, or NONE
 * @from_nsid:	the other namespace that it comes from, or NONE
 */
struct link_event {
	int type;
	int index;
	bool is_up;
	char name[IF_NAMESIZE];
	int new_nsid;
	int new_index;
	int from_nsid;
};

static int birth_ns, other_ns;

/* A socket that gets messages about links in the current namespace. */
static int link_socket(bool all_namespaces)
{
	const struct sockaddr_nl nl = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK,
	};
	const int on = 1;
	int fd;

	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	assert_true(fd >= 0);
	if (all_namespaces)
		assert_int_equal(setsockopt(fd, SOL_NETLINK,
					    NETLINK_LISTEN_ALL_NSID, &on,
					    sizeof(on)),
				 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)(const void *)&nl,
			      sizeof(nl)),
			 0);
	return fd;
}

/* Reads the attributes of a link message, @len bytes at @attrs. */
static void read_attributes(const uint8_t *attrs, size_t len,
			    struct link_event *ev)
{
	struct rtattr rta;
	const uint8_t *data;
	size_t data_len, step;

	while (len >= sizeof(rta)) {
		memcpy(&rta, attrs, sizeof(rta));
		assert_in_range(rta.rta_len, sizeof(rta), len);
		data = attrs + RTA_LENGTH(0);
		data_len = rta.rta_len - RTA_LENGTH(0);
		if (rta.rta_type == IFLA_NEW_NETNSID)
			memcpy(&ev->new_nsid, data, sizeof(ev->new_nsid));
		else if (rta.rta_type == IFLA_NEW_IFINDEX)
			memcpy(&ev->new_index, data, sizeof(ev->new_index));
		else if (rta.rta_type == IFLA_IFNAME &&
			 data_len <= sizeof(ev->name))
			memcpy(ev->name, data, data_len);
		step = RTA_ALIGN(rta.rta_len);
		if (step > len)
			break;
		attrs += step;
		len -= step;
	}
}

/* Receives one message about a link. */
static void receive_event(int fd, struct link_event *ev)
{
	static uint8_t buf[MESSAGE_CAP];
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	struct iovec iov = { .iov_base = buf, .iov_len = sizeof(buf) };
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	const struct cmsghdr *cmsg;
	struct ifinfomsg info;
	struct nlmsghdr nlh;

	assert_int_equal(poll(&pfd, 1, PATIENCE_MS), 1);
	assert_true(recvmsg(fd, &mh, 0) >= (ssize_t)NLMSG_LENGTH(sizeof(info)));
	/* A notification is one message. */
	memcpy(&nlh, buf, sizeof(nlh));
	memcpy(&info, buf + NLMSG_LENGTH(0), sizeof(info));
	*ev = (struct link_event){
		.type = nlh.nlmsg_type,
		.index = info.ifi_index,
		.is_up = info.ifi_flags & IFF_UP,
		.new_nsid = NONE,
		.new_index = NONE,
		.from_nsid = NONE,
	};
	read_attributes(buf + NLMSG_SPACE(sizeof(info)),
			nlh.nlmsg_len - NLMSG_SPACE(sizeof(info)), ev);
	cmsg = CMSG_FIRSTHDR(&mh);
	if (cmsg && cmsg->cmsg_level == SOL_NETLINK &&
	    cmsg->cmsg_type == NETLINK_LISTEN_ALL_NSID)
		memcpy(&ev->from_nsid, CMSG_DATA(cmsg), sizeof(ev->from_nsid));
}

/* Waits for the RTM_DELLINK of a device. */
static void receive_removal(int fd, unsigned int index, struct link_event *ev)
{
	do {
		receive_event(fd, ev);
	} while (ev->type != RTM_DELLINK || ev->index != (int)index);
}

/* Makes a device in the birth namespace, and moves it to the other one. */
static int open_and_move(const char *name, unsigned int *index)
{
	int fd;

	assert_int_equal(netns_enter(birth_ns), 0);
	fd = tun_open(name, TUN_OFFLOADS);
	assert_true(fd >= 0);
	*index = if_nametoindex(name);
	assert_true(*index > 0);
	assert_int_equal(netns_move(name, other_ns), 0);
	assert_int_equal(if_nametoindex(name), 0);
	return fd;
}

/* The index of a device in the other namespace. */
static unsigned int other_index(const char *name)
{
	unsigned int index;

	assert_int_equal(netns_enter(other_ns), 0);
	index = if_nametoindex(name);
	assert_int_equal(netns_enter(birth_ns), 0);
	assert_true(index > 0);
	return index;
}

/* The errno of a read from the device's descriptor while no packet waits. */
static int read_error(int fd)
{
	uint8_t buf[64];

	assert_int_equal(read(fd, buf, sizeof(buf)), -1);
	return errno;
}

/* Moves a device and compares the messages about it with the facts. */
static void look_at_move(const char *name, unsigned int *before,
			 unsigned int *after)
{
	struct link_event ev;
	int nl, fd;

	assert_int_equal(netns_enter(birth_ns), 0);
	nl = link_socket(false);
	fd = open_and_move(name, before);
	receive_removal(nl, *before, &ev);
	*after = other_index(name);

	assert_true(ev.new_nsid != NONE || ev.new_index != NONE);
	if (ev.new_index != NONE)
		assert_int_equal(ev.new_index, *after);
	seen(ev.new_nsid != NONE && ev.new_index != NONE,
	     "a move is told with%s IFLA_NEW_NETNSID, with%s IFLA_NEW_IFINDEX",
	     ev.new_nsid == NONE ? "out" : "",
	     ev.new_index == NONE ? "out" : "");
	/* The descriptor still has the device: the read finds no packet. */
	assert_int_equal(read_error(fd), EAGAIN);
	close(fd);
	close(nl);
}

static void test_move_to_where_the_index_is_free(void **state)
{
	unsigned int before, after;

	(void)state;
	look_at_move("tun0", &before, &after);
	seen(after == before, "the index was %u and is %u", before, after);
}

static void test_move_to_where_the_index_is_taken(void **state)
{
	unsigned int before, after, i;

	(void)state;
	/* Take every index that the next device can have. */
	assert_int_equal(netns_enter(birth_ns), 0);
	assert_int_equal(netns_ip("link add last type veth peer name latest"),
			 0);
	before = if_nametoindex("last") + 8;
	assert_int_equal(netns_enter(other_ns), 0);
	for (i = 2; i <= before; i += 2)
		assert_int_equal(
			netns_ip("link add a%u index %u type veth peer "
				 "name b%u index %u",
				 i, i, i, i + 1),
			0);
	look_at_move("tun1", &before, &after);
	assert_int_not_equal(before, after);
	seen(true, "the index was %u and is %u", before, after);
}

/*
 * The message of a deletion has neither attribute, and the descriptor is dead.
 */
static void test_deletion_is_told_apart(void **state)
{
	struct link_event ev;
	unsigned int index;
	int nl, fd;

	(void)state;
	assert_int_equal(netns_enter(birth_ns), 0);
	nl = link_socket(false);
	fd = tun_open("tun2", TUN_OFFLOADS);
	assert_true(fd >= 0);
	index = if_nametoindex("tun2");
	assert_int_equal(read_error(fd), EAGAIN);
	assert_int_equal(netns_ip("link del tun2"), 0);
	receive_removal(nl, index, &ev);
	assert_int_equal(ev.new_nsid, NONE);
	assert_int_equal(ev.new_index, NONE);
	assert_int_equal(read_error(fd), EBADFD);
	assert_int_equal(write(fd, &ev, sizeof(ev)), -1);
	assert_int_equal(errno, EBADFD);
	close(fd);
	close(nl);
}

/*
 * A socket in the first namespace gets messages about the moved device, if it
 * asks for other namespaces' messages.
 */
static void test_moved_device_is_heard_of(void **state)
{
	struct link_event ev;
	unsigned int before;
	int nl, fd, nsid;

	(void)state;
	assert_int_equal(netns_enter(birth_ns), 0);
	nl = link_socket(true);
	fd = open_and_move("tun3", &before);
	receive_removal(nl, before, &ev);
	nsid = ev.new_nsid;
	assert_int_equal(netns_enter(other_ns), 0);
	assert_int_equal(netns_ip("link set dev tun3 up"), 0);
	do {
		receive_event(nl, &ev);
	} while (ev.from_nsid == NONE || strcmp(ev.name, "tun3") != 0 ||
		 !ev.is_up);
	assert_int_equal(ev.type, RTM_NEWLINK);
	assert_int_equal(ev.index, other_index("tun3"));
	if (nsid != NONE)
		assert_int_equal(ev.from_nsid, nsid);
	close(fd);
	close(nl);
}

static int setup(void **state)
{
	(void)state;
	birth_ns = netns_new();
	other_ns = netns_new();
	return birth_ns < 0 || other_ns < 0 ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_move_to_where_the_index_is_free),
		cmocka_unit_test(test_move_to_where_the_index_is_taken),
		cmocka_unit_test(test_deletion_is_told_apart),
		cmocka_unit_test(test_moved_device_is_heard_of),
	};

	netns_require();
	tun_require();
	return cmocka_run_group_tests(tests, setup, NULL);
}
