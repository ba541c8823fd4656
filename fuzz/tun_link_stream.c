/* SPDX-License-Identifier: MIT */
/*
 * A series of datagrams from a netlink socket, with errors in between. Input:
 * datagrams, each with a byte of options, then either raw bytes, or the fields
 * of a message about the interface. Such a message is built with correct
 * lengths, so that the code behind the length checks is reached.
 *
 * Promises: only messages of the kernel count. After the interface is gone
 * nothing changes. A loss of messages is reported once all waiting ones are
 * read.
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>

#include "base/netlink.h"
#include "fuzz/input.h"
#include "tun/link.h"

enum {
	/* Bound of the time for one input. A choice. */
	CALLS_MAX = 64,
	/* The longest message that is written here. */
	MESSAGE_CAP = 1024,
	/* Options of a datagram. */
	OPT_RAW = 1,
	OPT_STRANGER = 2,
	OPT_CUT = 4,
	OPT_NSID = 8,
	OPT_CONTROL_CUT = 16,
	OPT_ERROR = 32,
	OPT_TWO = 64,
};

static struct input input;
static bool is_behind;
/* Number of datagrams from the kernel in one call. */
static unsigned int n_true;

/* Write an attribute that the parser reads, valid or nearly so. */
static void put_attribute(struct netlink_builder *b)
{
	static const char name[] = "wg0\0wg1\0renamed-again-1\0too-long-a-name";
	static const uint16_t u32s[] = { IFLA_MTU, IFLA_NEW_NETNSID,
					 IFLA_NEW_IFINDEX,
					 IFLA_TARGET_NETNSID };
	uint8_t kind = input_byte(&input), value = input_byte(&input);
	size_t nest;

	switch (kind % 8) {
	case 0:
		netlink_put_string(b, IFLA_IFNAME,
				   name + value % (sizeof(name) - 1));
		break;
	case 1:
		netlink_put(b, IFLA_IFNAME, name, value % 24);
		break;
	case 2:
		nest = netlink_nest_begin(b, IFLA_LINKINFO);
		netlink_put_string(b, IFLA_INFO_KIND,
				   value & 1 ? "tun" : "tap");
		netlink_nest_end(b, nest);
		break;
	case 3:
		netlink_put(b, value, name, value % 12);
		break;
	default:
		netlink_put_u32(b, u32s[kind % 4],
				value < 128 ? value
					    : ~0U << (value - 128) % 32);
	}
}

static size_t put_message(void *at)
{
	static const uint16_t types[] = { RTM_NEWLINK, RTM_DELLINK,
					  RTM_NEWADDR, RTM_DELROUTE,
					  NLMSG_ERROR, NLMSG_DONE,
					  RTM_NEWLINK, RTM_NEWLINK };
	uint8_t what = input_byte(&input), who = input_byte(&input);
	struct netlink_builder b;
	struct ifinfomsg *ifi;
	struct nlmsgerr *err;

	netlink_begin(&b, at, MESSAGE_CAP, types[what % 8], 0);
	b.header->nlmsg_seq = who % 4;
	if (b.header->nlmsg_type == NLMSG_ERROR) {
		err = netlink_put_body(&b, sizeof(*err));
		err->error = -(what >> 4);
		return NLMSG_ALIGN(b.header->nlmsg_len);
	}
	ifi = netlink_put_body(&b, sizeof(*ifi));
	ifi->ifi_family = what & 8 && who & 128 ? AF_BRIDGE : AF_UNSPEC;
	ifi->ifi_index = who % 4;
	ifi->ifi_flags = what & 16 ? IFF_UP : 0;
	for (uint8_t n = what >> 5; n; n--)
		put_attribute(&b);
	return NLMSG_ALIGN(b.header->nlmsg_len);
}

static size_t put_datagram(uint8_t *buf, uint8_t options)
{
	size_t len;

	if (options & OPT_RAW) {
		len = input_byte(&input);
		input_take(&input, buf, len);
		return len;
	}
	len = put_message(buf);
	if (options & OPT_TWO)
		len += put_message(buf + NLMSG_ALIGN(len));
	return len;
}

static void put_control(struct msghdr *msg, bool has_nsid)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	int nsid = (int8_t)input_byte(&input);

	if (!has_nsid) {
		msg->msg_controllen = 0;
		return;
	}
	c->cmsg_level = SOL_NETLINK;
	c->cmsg_type = NETLINK_LISTEN_ALL_NSID;
	c->cmsg_len = CMSG_LEN(sizeof(nsid));
	memcpy(CMSG_DATA(c), &nsid, sizeof(nsid));
	msg->msg_controllen = CMSG_SPACE(sizeof(nsid));
}

static ssize_t sys_recvmsg(int fd, struct msghdr *msg, int flags)
{
	static const int errors[] = { ENOBUFS, EINTR, ENOMEM, EAGAIN };
	struct sockaddr_nl *from = msg->msg_name;
	uint8_t options = input_byte(&input);

	(void)fd;
	(void)flags;
	if (!input.left)
		options = OPT_ERROR | OPT_STRANGER | OPT_CUT;
	if (options & OPT_ERROR) {
		errno = errors[options / 2 % 4];
		is_behind = is_behind || errno == ENOBUFS;
		return -1;
	}
	from->nl_pid = options & OPT_STRANGER;
	msg->msg_flags = (options & OPT_CUT ? MSG_TRUNC : 0) |
			 (options & OPT_CONTROL_CUT ? MSG_CTRUNC : 0);
	put_control(msg, options & OPT_NSID);
	if (!from->nl_pid && msg->msg_flags)
		is_behind = true;
	else if (!from->nl_pid)
		n_true++;
	return (ssize_t)put_datagram(msg->msg_iov->iov_base, options);
}

static bool has_event(const struct link_events *events, enum link_event kind)
{
	for (unsigned int i = 0; i < events->cnt; i++)
		if (events->kinds[i] == kind)
			return true;
	return false;
}

static void receive(struct link *link)
{
	struct link_state before = link->state;
	struct link_events events;
	int rc;

	n_true = 0;
	rc = link_receive(link, &events);
	require(rc == 0 || rc == -ENOMEM);
	require(events.cnt <= LINK_EVENTS_MAX);
	require(memchr(link->state.name, 0, sizeof(link->state.name)));
	require(!link->state.deleted || !link->state.up);
	/* All datagrams are read: losses were reported or are still pending. */
	require(!is_behind || link->is_behind ||
		has_event(&events, LINK_OVERFLOW));
	is_behind = link->is_behind;
	if (before.deleted || !n_true)
		require(memcmp(&before, &link->state, sizeof(before)) == 0);
	if (!events.cnt)
		require(before.mtu == link->state.mtu &&
			before.up == link->state.up &&
			before.deleted == link->state.deleted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct tun_sys sys;
	static int fd = -1;
	struct link link = { .sys = &sys };

	if (fd < 0) {
		sys = tun_sys_linux;
		sys.recvmsg = sys_recvmsg;
		/* Only the socket's number is used. */
		fd = netlink_open(NETLINK_ROUTE, 0, 0);
		require(fd >= 0);
	}
	input = (struct input){ data, len };
	is_behind = false;
	link.fd = fd;
	link_state_init(&link.state, 2, "wg0");
	link.state.seq = 1;
	link.state.home_nsid = (int8_t)input_byte(&input);
	for (int i = 0; i < CALLS_MAX && input.left; i++)
		receive(&link);
	return 0;
}
