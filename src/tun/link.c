/* SPDX-License-Identifier: MIT */
/*
 * The netlink socket stays in the network namespace in which the process
 * started ("home"). The interface may move to other namespaces. These are the
 * messages that Linux sends (net/core/dev.c, net/core/rtnetlink.c,
 * net/netlink/af_netlink.c):
 *
 *  - A move is an RTM_DELLINK in the old namespace with IFLA_NEW_NETNSID and
 *    IFLA_NEW_IFINDEX, then an RTM_NEWLINK in the new one. A deletion is an
 *    RTM_DELLINK without these. An RTM_DELLINK of another family than AF_UNSPEC
 *    is about a bridge port, or the like, not about the interface.
 *  - IFLA_NEW_NETNSID is the number by which the old namespace knows the new
 *    one. If the old namespace had no such number, it gets one then. So after a
 *    move from home the new namespace is known. NETLINK_LISTEN_ALL_NSID lets the
 *    socket hear all namespaces that home has a number for; the number comes
 *    with each message as control data. (The opener of the socket needs
 *    CAP_NET_BROADCAST over the namespace that sends.)
 *  - After a move between two other namespaces the number means nothing at home.
 *    Then the state does not change until a message describes a TUN of the same
 *    index and name: the interface came home, or to a namespace that is heard.
 *    If the device is deleted, reading from the TUN fails in any case.
 *  - A namespace may have a number for itself. Only then do its own messages
 *    carry a number. link_open() asks for that number once.
 *  - If messages were lost, the next receive fails with ENOBUFS, once. The
 *    messages in the queue can still be read. Until the queue is empty the
 *    kernel drops all new messages.
 *  - If the interface is in another namespace from the start, a socket of that
 *    namespace is handed over (link_open_fd()). "Home" is then that namespace.
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

/* No known message about links is longer. The kernel puts no more into a
 * datagram of a list, either. */
#define BUFFER_LEN 32768

/* Datagrams read per call, so that a flood does not hold up the thread. A
 * choice, not measured. */
#define RECEIVE_MAX 64

/* If messages were lost, LINK_OVERFLOW is reported after this many calls that
 * did not read everything. A choice, not measured. */
#define BEHIND_MAX 16

/* The most events that one datagram brings: a new name, a new MTU, and up or
 * down. The kernel puts several messages about links into one datagram only if
 * it was asked for a list. */
#define EVENTS_EACH 3

/* Bytes of the receive buffer: room for bursts of route changes. A choice, not
 * measured. */
#define RCVBUF_LEN (1 << 20)

/* Next hops are objects of their own since Linux 5.3. */
#define GROUP_NEXTHOP (1U << (RTNLGRP_NEXTHOP - 1))

#define GROUPS                                                      \
	(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |    \
	 RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE | RTMGRP_IPV4_RULE | \
	 GROUP_NEXTHOP)

/**
 * struct link_news - the content of one message about a link
 * @ifindex:	interface index
 * @up:		IFF_UP
 * @is_tun:	the link is a TUN or TAP
 * @is_overlay:	the link is a VXLAN or Geneve device
 * @has_mtu:	@mtu is known
 * @mtu:	MTU
 * @name:	name, or NULL
 * @has_new_nsid: the link moved to @new_nsid
 * @new_nsid:	the number of another namespace, or -1
 * @has_new_ifindex: @new_ifindex is known
 * @new_ifindex: the link's index in @new_nsid
 * @has_target_nsid: the message is a reply about a link in @target_nsid
 * @target_nsid: the number of a namespace
 */
struct link_news {
	unsigned int ifindex;
	bool up;
	bool is_tun;
	bool is_overlay;
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

/* Add an event. If the list is full, its last entry becomes LINK_OVERFLOW, so
 * that the caller asks for the whole state. */
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

/* What kind of interface is it, by IFLA_LINKINFO? */
static void parse_info(struct link_news *news, const struct nlattr *info)
{
	struct netlink_attrs attrs;
	const struct nlattr *attr;

	netlink_attrs_init_nested(&attrs, info);
	while ((attr = netlink_attrs_next(&attrs))) {
		const char *kind = netlink_attr_string(attr, UINT16_MAX);

		if (netlink_attr_type(attr) != IFLA_INFO_KIND || !kind)
			continue;
		news->is_tun = !strcmp(kind, "tun");
		news->is_overlay =
			!strcmp(kind, "vxlan") || !strcmp(kind, "geneve");
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

static void note_up(struct link_state *st, bool up, struct link_events *events)
{
	if (st->up != up)
		push_event(events, up ? LINK_UP : LINK_DOWN);
	st->up = up;
}

/* Apply a message about the interface. */
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

/* The interface left its namespace. */
static void follow(struct link_state *st, const struct link_news *news,
		   struct link_events *events)
{
	int nsid = (int)news->new_nsid;

	/* The number is valid for the socket only if home gave it. */
	if (st->nsid != LINK_NSID_HOME || nsid < 0)
		st->nsid = LINK_NSID_UNKNOWN;
	else
		st->nsid = nsid;
	if (news->has_new_ifindex)
		st->ifindex = news->new_ifindex;
	/* An interface that moves leaves its addresses behind. */
	broadcasts_clear(&st->broadcasts);
	/* A move sets the interface down. The message about this may be
	 * lost. */
	note_up(st, false, events);
	push_event(events, LINK_MOVED);
}

/* Is the message about the interface? If the interface is found again, its
 * namespace is noted. */
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

/* A message about another interface. */
static void note_other(const struct link_news *news, int nsid,
		       struct link_events *events)
{
	if (nsid != LINK_NSID_HOME)
		return;
	push_event(events, LINK_NETWORK4);
	if (news->is_overlay)
		push_event(events, LINK_OVERLAY);
}

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
		note_other(&news, nsid, events);
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

/* A request failed. An error for an older request is ignored. */
static void parse_error(const struct link_state *st, const struct nlmsghdr *nlh,
			struct link_events *events)
{
	const struct nlmsgerr *err = netlink_get_body(nlh, sizeof(*err));

	if (err && nlh->nlmsg_seq == st->seq && err->error != 0 && !st->deleted)
		push_event(events, LINK_MISSING);
}

/* A message about addresses, routes, rules or next hops. The body of each
 * begins with the family. */
static void parse_network(const struct nlmsghdr *nlh,
			  struct link_events *events)
{
	const struct rtgenmsg *gen = netlink_get_body(nlh, sizeof(*gen));

	if (gen)
		push_event(events, gen->rtgen_family == AF_INET6
					   ? LINK_NETWORK6
					   : LINK_NETWORK4);
}

static void parse_address(struct link_state *st, const struct nlmsghdr *nlh,
			  int nsid, struct link_events *events)
{
	if (nsid == st->nsid && !st->deleted)
		broadcasts_parse(&st->broadcasts, nlh, st->ifindex);
	/* A part of a list that we asked for is no change. */
	if (nsid == LINK_NSID_HOME && !(nlh->nlmsg_flags & NLM_F_MULTI))
		parse_network(nlh, events);
}

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

/* Return: the message that answers the last question; NULL if there is none. */
static const struct nlmsghdr *take_answer(int fd, void *buf, size_t cap)
{
	struct netlink_messages messages;
	/* The kernel answers within the send. */
	ssize_t n = netlink_receive(fd, buf, cap);

	netlink_messages_init(&messages, buf, n > 0 ? (size_t)n : 0);
	return netlink_messages_next(&messages);
}

/* Ask which number the namespace has for itself. Return: LINK_NSID_HOME if
 * there is none, or if the kernel does not answer. */
static int ask_home_nsid(int fd)
{
	const struct rtgenmsg gen = { .rtgen_family = AF_UNSPEC };
	/* Far more than the request and its answer need. */
	uint32_t words[256], nsid;
	struct netlink_builder request;
	struct netlink_attrs attrs;
	const struct nlmsghdr *nlh;
	const struct nlattr *attr;

	netlink_begin(&request, words, sizeof(words), RTM_GETNSID,
		      NLM_F_REQUEST);
	memcpy(netlink_put_body(&request, sizeof(gen)), &gen, sizeof(gen));
	netlink_put_u32(&request, NETNSA_PID, (uint32_t)getpid());
	if (netlink_send(fd, request.header) < 0)
		return LINK_NSID_HOME;
	nlh = take_answer(fd, words, sizeof(words));
	if (!nlh || nlh->nlmsg_type != RTM_NEWNSID)
		return LINK_NSID_HOME;
	netlink_attrs_init(&attrs, nlh, sizeof(gen));
	while ((attr = netlink_attrs_next(&attrs)))
		if (netlink_attr_type(attr) == NETNSA_NSID &&
		    netlink_attr_u32(attr, &nsid))
			return (int)nsid;
	return LINK_NSID_HOME;
}

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

/* Is it a socket for rtnetlink? Return: 0; -EPROTOTYPE; -errno. */
static int check_socket(int fd)
{
	static const int want[][2] = {
		{ SO_DOMAIN, AF_NETLINK },
		{ SO_PROTOCOL, NETLINK_ROUTE },
	};

	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		int value = 0;
		socklen_t len = sizeof(value);

		if (getsockopt(fd, SOL_SOCKET, want[i][0], &value, &len) < 0)
			return -errno;
		if (value != want[i][1])
			return -EPROTOTYPE;
	}
	return 0;
}

/* The index of an interface in the socket's namespace. Return: 0; -errno. */
static int find_index(int fd, const char *name, unsigned int *ifindex)
{
	const struct ifinfomsg ifi = { .ifi_family = AF_UNSPEC };
	/* Far more than the request needs; the answer is about one link. */
	uint32_t words[BUFFER_LEN / sizeof(uint32_t)];
	struct netlink_builder request;
	const struct nlmsghdr *nlh;
	const struct ifinfomsg *found;
	int err;

	netlink_begin(&request, words, sizeof(words), RTM_GETLINK,
		      NLM_F_REQUEST);
	memcpy(netlink_put_body(&request, sizeof(ifi)), &ifi, sizeof(ifi));
	netlink_put_string(&request, IFLA_IFNAME, name);
	err = netlink_send(fd, request.header);
	if (err < 0)
		return err;
	nlh = take_answer(fd, words, sizeof(words));
	found = nlh ? netlink_get_body(nlh, sizeof(*found)) : NULL;
	if (!found || nlh->nlmsg_type != RTM_NEWLINK)
		return -ENODEV;
	*ifindex = (unsigned int)found->ifi_index;
	return 0;
}

/* Make a socket that was handed over like one of our own. */
static int prepare_socket(int fd)
{
	static const int groups[] = { RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR };
	int len = RCVBUF_LEN;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &len, sizeof(len)) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_LEN(groups); i++)
		if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP,
			       &groups[i], sizeof(groups[i])) < 0)
			return -errno;
	return 0;
}

int link_open_fd(struct link *link, const struct tun_sys *sys, int fd,
		 const char *name)
{
	unsigned int ifindex = 0;
	int err = check_socket(fd);

	if (err == 0 && (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ||
			 fcntl(fd, F_SETFD, FD_CLOEXEC) < 0))
		err = -errno;
	/* The question is asked first: later the answer may stand behind other
	 * messages. */
	if (err == 0)
		err = find_index(fd, name, &ifindex);
	if (err == 0)
		err = prepare_socket(fd);
	if (err < 0)
		return err;
	*link = (struct link){ .sys = sys, .fd = fd };
	link_state_init(&link->state, ifindex, name);
	return 0;
}

void link_close(struct link *link)
{
	close(link->fd);
	link->fd = -1;
}

int link_get_fd(const struct link *link)
{
	return link->fd;
}

/* Ask for the IPv4 addresses of all interfaces. Return: 0; -errno. */
static int request_addresses(struct link *link)
{
	const struct ifaddrmsg ifa = { .ifa_family = AF_INET };
	struct netlink_builder request;
	uint32_t words[16];

	broadcasts_clear(&link->state.broadcasts);
	netlink_begin(&request, words, sizeof(words), RTM_GETADDR,
		      NLM_F_REQUEST | NLM_F_DUMP);
	memcpy(netlink_put_body(&request, sizeof(ifa)), &ifa, sizeof(ifa));
	return netlink_send(link->fd, request.header);
}

int link_request(struct link *link)
{
	struct link_state *st = &link->state;
	const struct ifinfomsg ifi = { .ifi_index = (int)st->ifindex };
	struct netlink_builder request;
	uint32_t words[64];
	int err;

	if (st->nsid == LINK_NSID_UNKNOWN)
		return LINK_E_UNKNOWN;
	netlink_begin(&request, words, sizeof(words), RTM_GETLINK,
		      NLM_F_REQUEST);
	request.header->nlmsg_seq = ++st->seq;
	memcpy(netlink_put_body(&request, sizeof(ifi)), &ifi, sizeof(ifi));
	if (st->nsid != LINK_NSID_HOME)
		netlink_put_u32(&request, IFLA_TARGET_NETNSID,
				(uint32_t)st->nsid);
	err = netlink_send(link->fd, request.header);
	if (err < 0)
		return err;
	/* If this fails, broadcast addresses are known only from later changes. */
	if (st->nsid == LINK_NSID_HOME)
		(void)request_addresses(link);
	return 0;
}

/* The namespace that a datagram came from; LINK_NSID_HOME if it names none. */
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

/* Take one datagram. Return: false if there was none, or on an error; then
 * errno says which. */
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
		/* Everything is read, so the kernel queues messages again, and
		 * the answer to link_request() can arrive. */
		if (link->is_behind)
			push_event(events, LINK_OVERFLOW);
		link->is_behind = false;
		link->n_behind = 0;
		return 0;
	}
	/* Messages may come without a pause. A "link up" that was lost must be
	 * noticed even then. */
	if (link->is_behind && ++link->n_behind == BEHIND_MAX) {
		link->n_behind = 0;
		push_event(events, LINK_OVERFLOW);
	}
	return 0;
}
