/* SPDX-License-Identifier: MIT */
/*
 * News of the interface, of the network and of the machine come by netlink sockets.
 * Some of them are questions in truth: after lost messages, or if the interface is
 * missing, this file asks the kernel, and the engine hears only what came of it.
 */
#include "engine/local.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/log.h"

/* ------------------------------------------------------------ questions */

static void answer_ipv4(struct local *l, uint32_t mark,
			const struct rights_question *q,
			struct rights_answer *a)
{
	struct routes_packet packet = {
		.source_port = q->source_port,
		.destination_port = q->destination_port,
		.mark = mark,
		.uid = l->uid,
	};
	int r;

	memcpy(packet.source, q->source, sizeof(packet.source));
	memcpy(packet.destination, q->destination, sizeof(packet.destination));
	r = routes_lookup(&l->routes, &packet, &a->ifindex);
	if (r < 0)
		return;
	if (r == 0) {
		a->kind = RIGHTS_WAY;
		return;
	}
	memset(packet.source, 0, sizeof(packet.source));
	if (routes_lookup(&l->routes, &packet, &a->ifindex) == 0)
		a->kind = RIGHTS_NO_WAY;
}

/* Have the list of IPv6 addresses. Return: false if it cannot be read. */
static bool read_ipv6(struct local *l)
{
	if (!l->knows_ipv6)
		l->knows_ipv6 = routes_read_addresses(&l->routes) == 0;
	return l->knows_ipv6;
}

static void op_ask(void *arg, uint32_t mark,
		   const struct rights_question *questions,
		   struct rights_answer *answers, unsigned int n)
{
	struct local *l = arg;
	bool has_failed = false;

	for (unsigned int i = 0; i < n; i++) {
		const struct rights_question *q = &questions[i];

		answers[i] = (struct rights_answer){ 0 };
		if (!q->is_v6)
			answer_ipv4(l, mark, q, &answers[i]);
		else if (!has_failed && read_ipv6(l))
			answers[i].kind =
				routes_has_address(&l->routes, q->source,
						   q->ifindex)
					? RIGHTS_WAY
					: RIGHTS_NO_WAY;
		else
			has_failed = true;
	}
}

/* ------------------------------------------------------------ the sockets */

static int op_open(void *arg, const struct ug_options *opt,
		   struct ug_socket **out, struct ug_report *report)
{
	(void)arg;
	return ug_open(out, opt, report);
}

static int op_open_group(void *arg, const struct ug_options *opt,
			 struct ug_socket **out, unsigned int n,
			 struct ug_report *report)
{
	(void)arg;
	return ug_open_group(out, n, opt, report);
}

static void op_close(void *arg, struct ug_socket *sock)
{
	(void)arg;
	ug_close(sock);
}

static int op_set_mark(void *arg, struct ug_socket *sock, uint32_t mark)
{
	(void)arg;
	return ug_set_mark(sock, mark);
}

/* ------------------------------------------------------------ news */

/*
 * The ports on which the kernel's tunnel devices listen count only in the namespace
 * that the socket hears. If they cannot be read, there are none: then packets in them
 * merge as plain UDP.
 */
static void tell_overlays(struct local *l)
{
	struct overlays set = { 0 };

	if (l->link.state.ifindex && l->link.state.nsid == LINK_NSID_HOME &&
	    !l->around.is_open)
		(void)routes_read_overlays(&l->routes, &set);
	l->news->overlays(l->news_arg, &set);
}

static void tell(struct local *l, enum link_event event)
{
	l->news->link(l->news_arg, event);
}

/* A change that is not heard of yet is told later, and asked about then. */
static void tell_network(void *arg, unsigned int families)
{
	struct local *l = arg;

	if (families & RIGHTS_IPV6)
		l->knows_ipv6 = false;
	l->news->network(l->news_arg, families);
}

/* This namespace has no interface with the index of ours: the interface was
 * deleted, or has moved to another namespace. */
static void check_missing(struct local *l)
{
	char name[IFNAMSIZ];

	if (tun_get_name(l->tun, name) != -EBADFD)
		return;
	l->link.state.deleted = true;
	l->link.state.up = false;
	tell(l, LINK_DELETED);
}

static void handle_event(struct local *l, enum link_event event)
{
	switch (event) {
	case LINK_UP: /* The interface may have come back from elsewhere. */
		tell_overlays(l);
		tell(l, event);
		break;
	case LINK_MOVED:
		tell(l, event);
		tell_overlays(l);
		break;
	case LINK_DOWN:
	case LINK_MTU:
	case LINK_RENAMED:
	case LINK_DELETED:
		tell(l, event);
		break;
	case LINK_OVERLAY:
		tell_overlays(l);
		break;
	case LINK_MISSING:
		check_missing(l);
		break;
	case LINK_NETWORK4:
		tell_network(l, RIGHTS_IPV4);
		break;
	case LINK_NETWORK6:
		tell_network(l, RIGHTS_IPV6);
		break;
	case LINK_OVERFLOW:
	default:
		link_request(&l->link);
		tell_overlays(l);
		tell_network(l, RIGHTS_IPV4 | RIGHTS_IPV6);
	}
}

static void link_ready(struct loop_watch *watch, uint32_t events)
{
	struct local *l = watch->arg;
	struct link_events news = { 0 };

	(void)events;
	int r = link_receive(&l->link, &news);

	l->news->state(l->news_arg, &l->link.state);
	for (unsigned int i = 0; i < news.cnt; i++)
		handle_event(l, news.kinds[i]);
	if (r < 0)
		loop_fail(l->loop, watch, "netlink", r);
}

static void op_stop(void *arg)
{
	struct local *l = arg;

	if (!l->is_started)
		return;
	l->is_started = false;
	loop_remove(l->loop, &l->link_watch);
	around_unwatch(&l->around);
	vmgenid_unwatch(&l->vmgenid);
}

static int op_start(void *arg, const struct rights_news *news, void *news_arg)
{
	struct local *l = arg;
	int err;

	l->news = news;
	l->news_arg = news_arg;
	l->link_watch = (struct loop_watch){ .fd = link_get_fd(&l->link),
					     .ready = link_ready,
					     .arg = l };
	err = loop_add(l->loop, &l->link_watch, EPOLLIN);
	if (err < 0)
		return err;
	l->is_started = true;
	err = around_watch(&l->around, l->loop, tell_network, l);
	if (err == 0)
		err = vmgenid_watch(&l->vmgenid, l->loop, news->renew,
				    news_arg);
	/* The answer is an event: whether the link is up, and its MTU. */
	if (err == 0)
		err = link_request(&l->link);
	if (err < 0)
		op_stop(l);
	return err;
}

static const struct rights_ops ops = {
	.start = op_start,
	.stop = op_stop,
	.open = op_open,
	.open_group = op_open_group,
	.close = op_close,
	.set_mark = op_set_mark,
	.ask = op_ask,
};

int local_open(struct local *l, struct loop *loop, const struct tun *tun,
	       int netlink_fd)
{
	int err;

	*l = (struct local){
		.rights = { .ops = &ops, .arg = l },
		.loop = loop,
		.tun = tun,
		.uid = (uint32_t)geteuid(),
	};
	err = around_open(&l->around, &l->link, tun, netlink_fd);
	if (err < 0)
		return err;
	err = routes_open(&l->routes);
	if (err < 0) {
		around_close(&l->around, &l->link);
		return err;
	}
	vmgenid_open(&l->vmgenid);
	return 0;
}

void local_set_user(struct local *l, uid_t uid)
{
	l->uid = (uint32_t)uid;
}

void local_close(struct local *l)
{
	op_stop(l);
	vmgenid_close(&l->vmgenid);
	routes_close(&l->routes);
	around_close(&l->around, &l->link);
}
