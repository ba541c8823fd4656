/* SPDX-License-Identifier: MIT */
/*
 * The socket is connected to the kernel, so no other process can write to it
 * (netlink_getsockbyportid() in net/netlink/af_netlink.c). The kernel answers
 * during the send. So an answer that cannot be received at once is an error, and
 * no call here waits.
 */
#include "tun/routes.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/netlink.h"

enum {
	/* Most bytes that the kernel puts into a datagram of a dump. */
	ANSWER_LEN = 32768,
	/* Bytes of a question. A choice: a question about a route has 84
	 * bytes, and one that does not fit is an error. */
	QUESTION_LEN = 256,
	/* Most answers to earlier, failed questions that are skipped. A choice,
	 * not measured. */
	STALE_MAX = 64,
	/* Addresses that there is room for at first. A choice: the room doubles
	 * when it is full. */
	FIRST_CAP = 64,
};

int routes_open(struct routes *r)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	int err;

	*r = (struct routes){ .fd = netlink_open(NETLINK_ROUTE, SOCK_NONBLOCK,
						 0) };
	if (r->fd < 0)
		return r->fd;
	if (connect(r->fd, (const void *)&kernel, sizeof(kernel)) == 0)
		return 0;
	err = -errno;
	routes_close(r);
	return err;
}

void routes_close(struct routes *r)
{
	if (r->fd >= 0)
		close(r->fd);
	free(r->addresses);
	*r = (struct routes){ .fd = -1 };
}

/* Send a question with the next number. Return: 0; -errno. */
static int ask(struct routes *r, struct netlink_builder *b)
{
	if (b->is_full)
		return -EMSGSIZE;
	b->header->nlmsg_seq = ++r->seq;
	return netlink_send(r->fd, b->header);
}

/* Receive a datagram. Return: its length; -errno, and never -EAGAIN. */
static ssize_t take_answer(struct routes *r, void *buf, size_t cap)
{
	ssize_t n = netlink_receive(r->fd, buf, cap);

	return n == -EAGAIN ? -ENODATA : n;
}

/* ------------------------------------------------------------ routes */

static int error_of(const struct nlmsghdr *nlh)
{
	const struct nlmsgerr *err = netlink_get_body(nlh, sizeof(*err));

	if (!err || err->error >= 0)
		return -EBADMSG;
	if (err->error == -ENETUNREACH || err->error == -EINVAL)
		return ROUTES_E_NO_WAY;
	/* Callers take -EAGAIN for "not the answer". */
	return err->error == -EAGAIN ? -EBADMSG : err->error;
}

int routes_parse_lookup(const void *buf, size_t len, uint32_t seq,
			uint32_t *ifindex)
{
	struct netlink_messages messages;
	struct netlink_attrs attrs;
	const struct nlmsghdr *nlh;
	const struct nlattr *attr;

	netlink_messages_init(&messages, buf, len);
	nlh = netlink_messages_next(&messages);
	if (!nlh || nlh->nlmsg_seq != seq)
		return -EAGAIN;
	if (nlh->nlmsg_type == NLMSG_ERROR)
		return error_of(nlh);
	if (nlh->nlmsg_type != RTM_NEWROUTE)
		return -EAGAIN;
	netlink_attrs_init(&attrs, nlh, sizeof(struct rtmsg));
	while ((attr = netlink_attrs_next(&attrs)))
		if (netlink_attr_type(attr) == RTA_OIF &&
		    netlink_attr_u32(attr, ifindex))
			return 0;
	return -EBADMSG;
}

/* Return: 0; -errno. */
static int ask_route(struct routes *r, const struct routes_packet *p)
{
	static const uint8_t none[4];
	bool has_source = memcmp(p->source, none, sizeof(none)) != 0;
	const struct rtmsg body = {
		.rtm_family = AF_INET,
		.rtm_dst_len = 32,
		.rtm_src_len = has_source ? 32 : 0,
	};
	const uint8_t protocol = IPPROTO_UDP;
	uint32_t words[QUESTION_LEN / sizeof(uint32_t)];
	struct netlink_builder b;

	netlink_begin(&b, words, sizeof(words), RTM_GETROUTE, NLM_F_REQUEST);
	memcpy(netlink_put_body(&b, sizeof(body)), &body, sizeof(body));
	netlink_put(&b, RTA_DST, p->destination, sizeof(p->destination));
	if (has_source)
		netlink_put(&b, RTA_SRC, p->source, sizeof(p->source));
	netlink_put_u32(&b, RTA_MARK, p->mark);
	netlink_put_u32(&b, RTA_UID, p->uid);
	netlink_put(&b, RTA_IP_PROTO, &protocol, sizeof(protocol));
	netlink_put_u16(&b, RTA_SPORT, htons(p->source_port));
	netlink_put_u16(&b, RTA_DPORT, htons(p->destination_port));
	return ask(r, &b);
}

int routes_lookup(struct routes *r, const struct routes_packet *packet,
		  uint32_t *ifindex)
{
	/* A choice: more than an answer about one route needs. A longer answer
	 * would be an error. */
	uint32_t words[1024];
	int err = ask_route(r, packet);

	if (err < 0)
		return err;
	for (int i = 0; i < STALE_MAX; i++) {
		ssize_t n = take_answer(r, words, sizeof(words));

		if (n < 0)
			return (int)n;
		err = routes_parse_lookup(words, (size_t)n, r->seq, ifindex);
		if (err != -EAGAIN)
			return err;
	}
	return -EBADMSG;
}

/* --------------------------------------------------------- addresses */

static_assert(sizeof(struct routes_address) == 20, "no padding");

/* Let an entry of a heap sink until the entries below it are smaller. */
static void sink(struct routes_address *list, size_t at, size_t n)
{
	for (size_t child; (child = 2 * at + 1) < n; at = child) {
		struct routes_address entry = list[at];

		if (child + 1 < n &&
		    memcmp(&list[child], &list[child + 1], sizeof(entry)) < 0)
			child++;
		if (memcmp(&entry, &list[child], sizeof(entry)) >= 0)
			return;
		list[at] = list[child];
		list[child] = entry;
	}
}

/* qsort(3) may allocate memory, which the keeper must not. */
static void sort(struct routes_address *list, size_t n)
{
	for (size_t i = n / 2; i; i--)
		sink(list, i - 1, n);
	for (size_t left = n; left > 1;) {
		struct routes_address last = list[--left];

		list[left] = list[0];
		list[0] = last;
		sink(list, 0, left);
	}
}

int routes_reserve(struct routes *r)
{
	struct routes_address *all =
		realloc(r->addresses, ROUTES_ADDRESSES_MAX * sizeof(*all));

	if (!all)
		return -ENOMEM;
	r->addresses = all;
	r->cap = ROUTES_ADDRESSES_MAX;
	return 0;
}

/* Return: 0; -errno. */
static int add(struct routes *r, const void *addr, uint32_t ifindex)
{
	if (r->n == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : FIRST_CAP;
		struct routes_address *more;

		if (cap > ROUTES_ADDRESSES_MAX)
			return -E2BIG;
		more = realloc(r->addresses, cap * sizeof(*more));
		if (!more)
			return -ENOMEM;
		r->addresses = more;
		r->cap = cap;
	}
	memcpy(r->addresses[r->n].addr, addr, 16);
	r->addresses[r->n++].ifindex = ifindex;
	return 0;
}

/* May packets be sent from the address? As ipv6_chk_addr() in Linux
 * (net/ipv6/addrconf.c). */
static bool is_usable(uint32_t flags)
{
	return !(flags & IFA_F_TENTATIVE) || (flags & IFA_F_OPTIMISTIC);
}

/* Read an RTM_NEWADDR. Return: 0; -errno. */
static int parse_address(struct routes *r, const struct nlmsghdr *nlh)
{
	const struct ifaddrmsg *ifa = netlink_get_body(nlh, sizeof(*ifa));
	const void *addr = NULL;
	struct netlink_attrs attrs;
	const struct nlattr *attr;
	uint32_t flags;

	if (!ifa || ifa->ifa_family != AF_INET6)
		return 0;
	flags = ifa->ifa_flags;
	netlink_attrs_init(&attrs, nlh, sizeof(*ifa));
	while ((attr = netlink_attrs_next(&attrs))) {
		uint16_t type = netlink_attr_type(attr);

		/* If the address has a peer, IFA_LOCAL is our own address. */
		if ((type == IFA_LOCAL || (type == IFA_ADDRESS && !addr)) &&
		    netlink_attr_len(attr) == 16)
			addr = netlink_attr_data(attr);
		else if (type == IFA_FLAGS)
			(void)netlink_attr_u32(attr, &flags);
	}
	return addr && is_usable(flags) ? add(r, addr, ifa->ifa_index) : 0;
}

int routes_parse_addresses(struct routes *r, const void *buf, size_t len)
{
	struct netlink_messages messages;
	const struct nlmsghdr *nlh;
	int err = 0;

	netlink_messages_init(&messages, buf, len);
	while (err == 0 && (nlh = netlink_messages_next(&messages))) {
		if (nlh->nlmsg_seq != r->seq)
			continue;
		/* An address that changes during the dump may be missing. The
		 * change is also an event of link.h, after which the caller
		 * asks again. */
		if (nlh->nlmsg_type == NLMSG_DONE)
			return 0;
		if (nlh->nlmsg_type == NLMSG_ERROR)
			return -EBADMSG;
		if (nlh->nlmsg_type == RTM_NEWADDR)
			err = parse_address(r, nlh);
	}
	return err < 0 ? err : -EAGAIN;
}

int routes_read_addresses(struct routes *r)
{
	const struct ifaddrmsg body = { .ifa_family = AF_INET6 };
	uint32_t words[ANSWER_LEN / sizeof(uint32_t)];
	struct netlink_builder b;
	int err;

	r->n = 0;
	netlink_begin(&b, words, sizeof(words), RTM_GETADDR,
		      NLM_F_REQUEST | NLM_F_DUMP);
	memcpy(netlink_put_body(&b, sizeof(body)), &body, sizeof(body));
	err = ask(r, &b);
	if (err < 0)
		return err;
	do {
		ssize_t n = take_answer(r, words, sizeof(words));

		if (n < 0)
			return (int)n;
		err = routes_parse_addresses(r, words, (size_t)n);
	} while (err == -EAGAIN);
	if (err == 0)
		sort(r->addresses, r->n);
	return err;
}

bool routes_has_address(const struct routes *r, const uint8_t addr[16],
			uint32_t ifindex)
{
	bool is_link_local = addr[0] == 0xfe && (addr[1] & 0xc0) == 0x80;
	size_t from = 0, to = r->n;

	/* Find the first entry that is not below the address. */
	while (from < to) {
		size_t mid = from + (to - from) / 2;

		if (memcmp(r->addresses[mid].addr, addr, 16) < 0)
			from = mid + 1;
		else
			to = mid;
	}
	for (; from < r->n; from++) {
		if (memcmp(r->addresses[from].addr, addr, 16) != 0)
			return false;
		if (!is_link_local || r->addresses[from].ifindex == ifindex)
			return true;
	}
	return false;
}

/* ---------------------------------------------------------- overlays */

int routes_read_overlays(struct routes *r, struct overlays *set)
{
	const struct ifinfomsg body = { .ifi_family = AF_UNSPEC };
	uint32_t words[ANSWER_LEN / sizeof(uint32_t)];
	struct overlays found = { 0 };
	struct netlink_builder b;
	int err;

	set->cnt = 0;
	netlink_begin(&b, words, sizeof(words), RTM_GETLINK,
		      NLM_F_REQUEST | NLM_F_DUMP);
	memcpy(netlink_put_body(&b, sizeof(body)), &body, sizeof(body));
	netlink_put_u32(&b, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	err = ask(r, &b);
	if (err < 0)
		return err;
	do {
		ssize_t n = take_answer(r, words, sizeof(words));

		if (n < 0)
			return (int)n;
		err = overlays_parse(&found, words, (size_t)n, r->seq);
	} while (err == -EAGAIN);
	if (err == 0)
		*set = found;
	return err;
}
