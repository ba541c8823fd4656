/* SPDX-License-Identifier: MIT */
/*
 * The socket stays in the namespace that the process was born in; the interface
 * may not. What Linux tells in which case (net/core/dev.c,
 * net/core/rtnetlink.c, net/netlink/af_netlink.c):
 *
 *  - A move is an RTM_DELLINK in the old namespace with IFLA_NEW_NETNSID and
 *    IFLA_NEW_IFINDEX, then an RTM_NEWLINK in the new one. A deletion is an
 *    RTM_DELLINK without these. An RTM_DELLINK of another family than AF_UNSPEC
 *    is about a bridge port, or the like, not about the interface.
 *  - IFLA_NEW_NETNSID is a number of the old namespace's. By sending it the old
 *    namespace gets such a number if it had none. So after a move from home the
 *    new place is known, and NETLINK_LISTEN_ALL_NSID makes its messages heard:
 *    it lets through what comes from namespaces that ours has a number for, and
 *    adds that number as a control message. (It asks for CAP_NET_BROADCAST over
 *    the namespace that sends, of whoever opened the socket.)
 *  - After a move from elsewhere to elsewhere the number says nothing to us.
 *    Then the interface is lost from sight until a message shows a TUN of its
 *    index and name: it came home, or to another place that is heard. That the
 *    device is deleted is known in any case, from reading it.
 *  - A namespace may have a number for itself; then its own messages carry that
 *    number, and without it none. Asked for once, at opening.
 *  - When messages are lost the next receive says ENOBUFS, once; what is queued
 *    can still be read, and until it is, all that is new is lost, too.
 *  - The kernel does not report IPv4 routes that vanish because an interface
 *    goes down. So messages about other interfaces count as changes of the
 *    network, too. IPv6 has a message for each address and route.
 */
#include "tun/link.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/netlink.h"

/* Longer than any message about links that is known. */
#define BUFFER_LEN 32768

/* Datagrams taken per call, so that a flood does not hold the thread. */
#define RECEIVE_MAX 64

/* After so many calls that left something to read, a loss is told all the
 * same. */
#define BEHIND_MAX 16

/* Events that one datagram may bring: name, MTU, and up or down. The kernel puts
 * more than one message about links into a datagram only if it was asked to
 * list them. */
#define EVENTS_EACH 3

/* Room for bursts of route changes. */
#define RCVBUF_LEN (1 << 20)

/* Next hops that are objects of their own; from Linux 5.3 on. */
#define GROUP_NEXTHOP (1U << (RTNLGRP_NEXTHOP - 1))

#define GROUPS                                                      \
	(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |    \
	 RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE | RTMGRP_IPV4_RULE | \
	 GROUP_NEXTHOP)

/**
 * struct link_news - what one message about a link says
 * @ifindex:	interface index
 * @up:		IFF_UP
 * @is_tun:	it is a TUN or TAP
 * @has_mtu:	@mtu is known
 * @mtu:	MTU
 * @name:	name, or NULL
 * @has_new_nsid: it moved to @new_nsid
 * @new_nsid:	the number of another namespace, or -1
 * @has_new_ifindex: @new_ifindex is known
 * @new_ifindex: its index there
 * @has_target_nsid: the message is a reply about @target_nsid
 * @target_nsid: a namespace
 */
struct link_news {
	unsigned int ifindex;
	bool up;
	bool is_tun;
	bool has_mtu;
	uint32_t mtu;
	const char *name;
	bool has_new_nsid;
	uint32_t new_nsid;
	bool has_new_ifindex;
	uint32_t new_ifindex;
	bool has_target_nsid;
	uint32_t target_nsid;
};

/**
 * push_event() - add an event to a list
 * @events:	list
 * @kind:	event
 *
 * If the list is full its last entry becomes LINK_OVERFLOW, so that the caller
 * looks at the state as a whole.
 */
static void push_event(struct link_events *events, enum link_event kind)
{
	bool repeats =
		kind == LINK_UP || kind == LINK_DOWN || kind == LINK_MOVED;

	for (unsigned int i = 0; !repeats && i < events->cnt; i++)
		if (events->kinds[i] == kind)
			return;
	if (events->cnt == LINK_EVENTS_MAX)
		events->kinds[LINK_EVENTS_MAX - 1] = LINK_OVERFLOW;
	else
		events->kinds[events->cnt++] = kind;
}

/* Take the kind out of IFLA_LINKINFO. */
static void parse_info(struct link_news *news, const struct nlattr *info)
{
	struct netlink_attrs attrs;
	const struct nlattr *attr;

	netlink_attrs_init_nested(&attrs, info);
	while ((attr = netlink_attrs_next(&attrs))) {
		const char *kind = netlink_attr_string(attr, UINT16_MAX);

		if (netlink_attr_type(attr) == IFLA_INFO_KIND && kind)
			news->is_tun = !strcmp(kind, "tun");
	}
}

/* Take an attribute of a message about a link. An attribute of a wrong length
 * is ignored. */
static void parse_attr(struct link_news *news, const struct nlattr *attr)
{
	const char *name = netlink_attr_string(attr, IFNAMSIZ);

	switch (netlink_attr_type(attr)) {
	case IFLA_MTU:
		news->has_mtu = netlink_attr_u32(attr, &news->mtu);
		break;
	case IFLA_IFNAME:
		if (name && netlink_attr_len(attr) <= IFNAMSIZ)
			news->name = name;
		break;
	case IFLA_NEW_NETNSID:
		news->has_new_nsid = netlink_attr_u32(attr, &news->new_nsid);
		break;
	case IFLA_NEW_IFINDEX:
		news->has_new_ifindex =
			netlink_attr_u32(attr, &news->new_ifindex);
		break;
	case IFLA_TARGET_NETNSID:
		news->has_target_nsid =
			netlink_attr_u32(attr, &news->target_nsid);
		break;
	case IFLA_LINKINFO:
		parse_info(news, attr);
		break;
	default:
		break;
	}
}

/**
 * note_up() - note whether the interface is up
 * @st:		state
 * @up:		IFF_UP
 * @events:	receives what changed
 */
static void note_up(struct link_state *st, bool up, struct link_events *events)
{
	if (st->up != up)
		push_event(events, up ? LINK_UP : LINK_DOWN);
	st->up = up;
}

/**
 * update() - take what a message says about the interface
 * @st:		state
 * @news:	message about it
 * @events:	receives what changed
 */
static void update(struct link_state *st, const struct link_news *news,
		   struct link_events *events)
{
	uint32_t mtu = news->has_mtu ? news->mtu : st->mtu;

	if (news->name && strcmp(news->name, st->name) != 0) {
		snprintf(st->name, sizeof(st->name), "%s", news->name);
		push_event(events, LINK_RENAMED);
	}
	if (mtu != st->mtu) {
		st->mtu = mtu;
		push_event(events, LINK_MTU);
	}
	note_up(st, news->up, events);
}

/**
 * follow() - take that the interface left its namespace
 * @st:		state
 * @news:	message with new_nsid
 * @events:	receives the move
 */
static void follow(struct link_state *st, const struct link_news *news,
		   struct link_events *events)
{
	int nsid = (int)news->new_nsid;

	/* Only a number that home gave says something at home. */
	if (st->nsid != LINK_NSID_HOME || nsid < 0)
		st->nsid = LINK_NSID_UNKNOWN;
	else
		st->nsid = nsid;
	if (news->has_new_ifindex)
		st->ifindex = news->new_ifindex;
	/* An interface that moves leaves its addresses behind. */
	broadcasts_clear(&st->broadcasts);
	/* It was set down before, but that message may be lost. */
	note_up(st, false, events);
	push_event(events, LINK_MOVED);
}

/**
 * is_ours() - whether a message is about the interface
 * @st:		state; its namespace is set if it was found again
 * @news:	message
 * @nsid:	namespace it came from
 *
 * Return: true if so.
 */
static bool is_ours(struct link_state *st, const struct link_news *news,
		    int nsid)
{
	if (st->deleted || news->ifindex != st->ifindex)
		return false;
	if (nsid == st->nsid)
		return true;
	if (st->nsid != LINK_NSID_UNKNOWN || !news->is_tun || !news->name ||
	    strcmp(news->name, st->name) != 0)
		return false;
	st->nsid = nsid;
	return true;
}

/**
 * parse_link() - take a message about a link
 * @st:		state
 * @nlh:	RTM_NEWLINK or RTM_DELLINK
 * @nsid:	namespace it came from
 * @events:	receives what changed
 */
static void parse_link(struct link_state *st, const struct nlmsghdr *nlh,
		       int nsid, struct link_events *events)
{
	const struct ifinfomsg *ifi = netlink_get_body(nlh, sizeof(*ifi));
	struct link_news news = { 0 };
	struct netlink_attrs attrs;
	const struct nlattr *attr;

	if (!ifi || ifi->ifi_family != AF_UNSPEC)
		return;
	news.ifindex = (unsigned int)ifi->ifi_index;
	news.up = ifi->ifi_flags & IFF_UP;
	netlink_attrs_init(&attrs, nlh, sizeof(*ifi));
	while ((attr = netlink_attrs_next(&attrs)))
		parse_attr(&news, attr);
	if (news.has_target_nsid)
		nsid = (int)news.target_nsid;
	if (!is_ours(st, &news, nsid)) {
		if (nsid == LINK_NSID_HOME)
			push_event(events, LINK_NETWORK4);
	} else if (nlh->nlmsg_type == RTM_NEWLINK) {
		update(st, &news, events);
	} else if (news.has_new_nsid) {
		follow(st, &news, events);
	} else {
		st->deleted = true;
		st->up = false;
		push_event(events, LINK_DELETED);
	}
}

/**
 * parse_error() - take the answer to a request that failed
 * @st:		state
 * @nlh:	NLMSG_ERROR
 * @events:	receives LINK_MISSING if it was the last request's
 */
static void parse_error(const struct link_state *st, const struct nlmsghdr *nlh,
			struct link_events *events)
{
	const struct nlmsgerr *err = netlink_get_body(nlh, sizeof(*err));

	if (err && nlh->nlmsg_seq == st->seq && err->error != 0 && !st->deleted)
		push_event(events, LINK_MISSING);
}

/**
 * parse_network() - take a message about addresses, routes and the like
 * @nlh:	message; its body begins with the family, whatever its type
 * @events:	receives that they changed
 */
static void parse_network(const struct nlmsghdr *nlh,
			  struct link_events *events)
{
	const struct rtgenmsg *gen = netlink_get_body(nlh, sizeof(*gen));

	if (gen)
		push_event(events, gen->rtgen_family == AF_INET6
					   ? LINK_NETWORK6
					   : LINK_NETWORK4);
}

/**
 * parse_address() - take a message about an address
 * @st:		state
 * @nlh:	RTM_NEWADDR or RTM_DELADDR
 * @nsid:	namespace it came from
 * @events:	receives that the network has changed
 */
static void parse_address(struct link_state *st, const struct nlmsghdr *nlh,
			  int nsid, struct link_events *events)
{
	if (nsid == st->nsid && !st->deleted)
		broadcasts_parse(&st->broadcasts, nlh, st->ifindex);
	/* An answer to our own question is no change. */
	if (nsid == LINK_NSID_HOME && !(nlh->nlmsg_flags & NLM_F_MULTI))
		parse_network(nlh, events);
}

/**
 * link_state_init() - an interface of which nothing was heard yet
 * @st:		state, set up here
 * @ifindex:	its index, in the socket's namespace
 * @name:	its name
 */
void link_state_init(struct link_state *st, unsigned int ifindex,
		     const char *name)
{
	*st = (struct link_state){
		.ifindex = ifindex,
		.nsid = LINK_NSID_HOME,
		.home_nsid = LINK_NSID_HOME,
	};
	snprintf(st->name, sizeof(st->name), "%s", name);
}

/**
 * link_parse() - take messages
 * @st:		state, updated
 * @buf:	rtnetlink messages, aligned to 4 bytes; any bytes will do
 * @len:	their length
 * @nsid:	namespace that they came from, LINK_NSID_HOME if none was named
 * @events:	receives what changed, behind what it has
 */
void link_parse(struct link_state *st, const void *buf, size_t len, int nsid,
		struct link_events *events)
{
	struct netlink_messages messages;
	const struct nlmsghdr *nlh;

	if (nsid == st->home_nsid)
		nsid = LINK_NSID_HOME;
	netlink_messages_init(&messages, buf, len);
	while ((nlh = netlink_messages_next(&messages))) {
		switch (nlh->nlmsg_type) {
		case RTM_NEWLINK:
		case RTM_DELLINK:
			parse_link(st, nlh, nsid, events);
			break;
		case RTM_NEWADDR:
		case RTM_DELADDR:
			parse_address(st, nlh, nsid, events);
			break;
		case RTM_NEWROUTE:
		case RTM_DELROUTE:
		case RTM_NEWRULE:
		case RTM_DELRULE:
		case RTM_NEWNEXTHOP:
		case RTM_DELNEXTHOP:
			if (nsid == LINK_NSID_HOME)
				parse_network(nlh, events);
			break;
		case NLMSG_ERROR:
			parse_error(st, nlh, events);
			break;
		case NLMSG_OVERRUN:
			push_event(events, LINK_OVERFLOW);
			break;
		default:
			break;
		}
	}
}

/**
 * ask_home_nsid() - ask what number the namespace has for itself
 * @fd:		a socket that hears nothing else
 *
 * Return: the number, LINK_NSID_HOME if it has none or cannot be asked.
 */
static int ask_home_nsid(int fd)
{
	const struct rtgenmsg gen = { .rtgen_family = AF_UNSPEC };
	uint32_t words[256], nsid;
	struct netlink_messages messages;
	struct netlink_builder request;
	struct netlink_attrs attrs;
	const struct nlmsghdr *nlh;
	const struct nlattr *attr;
	ssize_t n;

	netlink_begin(&request, words, sizeof(words), RTM_GETNSID,
		      NLM_F_REQUEST);
	memcpy(netlink_put_body(&request, sizeof(gen)), &gen, sizeof(gen));
	netlink_put_u32(&request, NETNSA_PID, (uint32_t)getpid());
	if (send(fd, words, request.header->nlmsg_len, 0) < 0)
		return LINK_NSID_HOME;
	/* The kernel answers within the send. */
	n = recv(fd, words, sizeof(words), 0);
	netlink_messages_init(&messages, words, n > 0 ? (size_t)n : 0);
	nlh = netlink_messages_next(&messages);
	if (!nlh || nlh->nlmsg_type != RTM_NEWNSID)
		return LINK_NSID_HOME;
	netlink_attrs_init(&attrs, nlh, sizeof(gen));
	while ((attr = netlink_attrs_next(&attrs)))
		if (netlink_attr_type(attr) == NETNSA_NSID &&
		    netlink_attr_u32(attr, &nsid))
			return (int)nsid;
	return LINK_NSID_HOME;
}

/**
 * get_home_nsid() - what number the namespace has for itself
 *
 * Return: as ask_home_nsid().
 */
static int get_home_nsid(void)
{
	int fd = netlink_open(NETLINK_ROUTE, SOCK_NONBLOCK, 0);
	int nsid;

	if (fd < 0)
		return LINK_NSID_HOME;
	nsid = ask_home_nsid(fd);
	close(fd);
	return nsid;
}

/**
 * link_open() - listen
 * @link:	set up here
 * @sys:	system calls, borrowed until closed
 * @ifindex:	the interface, in the process's namespace
 * @name:	its name
 *
 * To be called while privileges are there: what the socket may hear of other
 * namespaces is decided by who opened it. Nothing is known of the interface
 * before link_request() was called and answered.
 *
 * Return: 0 or -errno.
 */
int link_open(struct link *link, const struct tun_sys *sys,
	      unsigned int ifindex, const char *name)
{
	int on = 1, len = RCVBUF_LEN, fd, err;

	*link = (struct link){ .sys = sys, .fd = -1 };
	link_state_init(&link->state, ifindex, name);
	fd = netlink_open(NETLINK_ROUTE, SOCK_NONBLOCK, GROUPS);
	if (fd < 0)
		return fd;
	link->state.home_nsid = get_home_nsid();
	link->all_nsid = setsockopt(fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID,
				    &on, sizeof(on)) == 0;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &len, sizeof(len)) < 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &len, sizeof(len)) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	link->fd = fd;
	return 0;
}

/**
 * link_close() - stop listening
 * @link:	open link
 */
void link_close(struct link *link)
{
	close(link->fd);
	link->fd = -1;
}

/**
 * link_get_fd() - the descriptor to wait on, for reading
 * @link:	open link
 *
 * Return: the descriptor, the link's.
 */
int link_get_fd(const struct link *link)
{
	return link->fd;
}

/**
 * request_addresses() - ask for the interface's IPv4 addresses
 * @link:	open link, whose interface is in the socket's namespace
 *
 * The answer covers all interfaces. If the kernel cannot be asked now,
 * broadcast addresses are known only from the messages about changes.
 */
static void request_addresses(struct link *link)
{
	const struct ifaddrmsg ifa = { .ifa_family = AF_INET };
	struct netlink_builder request;
	uint32_t words[16];

	broadcasts_clear(&link->state.broadcasts);
	netlink_begin(&request, words, sizeof(words), RTM_GETADDR,
		      NLM_F_REQUEST | NLM_F_DUMP);
	memcpy(netlink_put_body(&request, sizeof(ifa)), &ifa, sizeof(ifa));
	if (send(link->fd, words, request.header->nlmsg_len, 0) < 0)
		return;
}

/**
 * link_request() - ask for the interface's state, and its addresses
 * @link:	open link
 *
 * The answer comes through link_receive(): what changed, or LINK_MISSING.
 *
 * Return: 0; LINK_E_UNKNOWN if it is not known where to ask; -errno.
 */
int link_request(struct link *link)
{
	struct link_state *st = &link->state;
	const struct ifinfomsg ifi = { .ifi_index = (int)st->ifindex };
	struct netlink_builder request;
	uint32_t words[64];

	if (st->nsid == LINK_NSID_UNKNOWN)
		return LINK_E_UNKNOWN;
	netlink_begin(&request, words, sizeof(words), RTM_GETLINK,
		      NLM_F_REQUEST);
	request.header->nlmsg_seq = ++st->seq;
	memcpy(netlink_put_body(&request, sizeof(ifi)), &ifi, sizeof(ifi));
	if (st->nsid != LINK_NSID_HOME)
		netlink_put_u32(&request, IFLA_TARGET_NETNSID,
				(uint32_t)st->nsid);
	if (send(link->fd, words, request.header->nlmsg_len, 0) < 0)
		return -errno;
	if (st->nsid == LINK_NSID_HOME)
		request_addresses(link);
	return 0;
}

/**
 * get_nsid() - the namespace that a datagram came from
 * @msg:	datagram
 *
 * Return: its number, LINK_NSID_HOME if none is named.
 */
static int get_nsid(struct msghdr *msg)
{
	struct cmsghdr *cmsg;
	int nsid = LINK_NSID_HOME;

	for (cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		if (cmsg->cmsg_level == SOL_NETLINK &&
		    cmsg->cmsg_type == NETLINK_LISTEN_ALL_NSID &&
		    cmsg->cmsg_len >= CMSG_LEN(sizeof(nsid)))
			memcpy(&nsid, CMSG_DATA(cmsg), sizeof(nsid));
	}
	return nsid;
}

/**
 * receive_one() - take a datagram
 * @link:	open link
 * @buf:	BUFFER_LEN bytes
 * @events:	receives what changed
 *
 * Return: true; false if there is none, with errno.
 */
static bool receive_one(struct link *link, void *buf,
			struct link_events *events)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int)) * 2];
		struct cmsghdr align;
	} control;
	struct sockaddr_nl from = { 0 };
	struct iovec iov = { buf, BUFFER_LEN };
	struct msghdr msg = { .msg_name = &from,
			      .msg_namelen = sizeof(from),
			      .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	ssize_t n = link->sys->recvmsg(link_get_fd(link), &msg, 0);

	if (n < 0 && errno == ENOBUFS) {
		link->is_behind = true;
		return true;
	}
	if (n < 0)
		return errno == EINTR;
	/* Any process may write to a netlink port; the kernel is 0. */
	if (from.nl_pid != 0)
		return true;
	if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		link->is_behind = true;
	else
		link_parse(&link->state, buf, (size_t)n, get_nsid(&msg),
			   events);
	return true;
}

/**
 * link_receive() - take what there is to hear
 * @link:	open link, state updated
 * @events:	receives what changed; emptied first
 *
 * Takes a bounded number of messages, so the descriptor may stay readable. It
 * ends before the list is full: an event that the list has no room for would be
 * lost, since the state has it already, and the answer to link_request() is then
 * no news.
 *
 * A loss is told when all has been read. While there is always more to read, it
 * is told after every BEHIND_MAX calls: the answer to the request that follows
 * may be lost as well, as long as the kernel's queue is full.
 *
 * Return: 0 or -errno.
 */
int link_receive(struct link *link, struct link_events *events)
{
	uint32_t words[BUFFER_LEN / sizeof(uint32_t)];

	events->cnt = 0;
	for (int i = 0; i < RECEIVE_MAX; i++) {
		if (events->cnt > LINK_EVENTS_MAX - EVENTS_EACH)
			break;
		if (receive_one(link, words, events))
			continue;
		if (errno != EAGAIN)
			return -errno;
		/* Only now that all is read does the kernel queue more, such as
		 * the answer to link_request(). */
		if (link->is_behind)
			push_event(events, LINK_OVERFLOW);
		link->is_behind = false;
		link->n_behind = 0;
		return 0;
	}
	/* More may come all the time, and hide the loss of a "link up". */
	if (link->is_behind && ++link->n_behind == BEHIND_MAX) {
		link->n_behind = 0;
		push_event(events, LINK_OVERFLOW);
	}
	return 0;
}
