/* SPDX-License-Identifier: MIT */
#include "engine/around.h"

#include <sys/epoll.h>

#include "engine/rights.h"

int around_open(struct around *around, struct link *link, const struct tun *tun,
		int netlink_fd)
{
	int err;

	if (netlink_fd < 0)
		return link_open(link, &tun_sys_linux, tun->ifindex, tun->name);
	/* A link with the index 0 is about no interface. */
	err = link_open(&around->link, &tun_sys_linux, 0, "");
	if (err < 0)
		return err;
	err = link_open_fd(link, &tun_sys_linux, netlink_fd, tun->name);
	if (err < 0)
		link_close(&around->link);
	around->is_open = err == 0;
	return err;
}

static unsigned int families_of(enum link_event event)
{
	switch (event) {
	case LINK_NETWORK4:
		return RIGHTS_IPV4;
	case LINK_NETWORK6:
		return RIGHTS_IPV6;
	default:
		return RIGHTS_IPV4 | RIGHTS_IPV6;
	}
}

static void ready(struct loop_watch *watch, uint32_t events)
{
	struct around *around = watch->arg;
	struct link_events news = { 0 };

	(void)events;
	int err = link_receive(&around->link, &news);

	for (unsigned int i = 0; i < news.cnt; i++)
		around->changed(around->arg, families_of(news.kinds[i]));
	if (err < 0)
		loop_fail(around->loop, watch, "netlink", err);
}

int around_watch(struct around *around, struct loop *loop,
		 void (*changed)(void *arg, unsigned int families), void *arg)
{
	if (!around->is_open)
		return 0;
	around->loop = loop;
	around->changed = changed;
	around->arg = arg;
	around->watch = (struct loop_watch){ .fd = link_get_fd(&around->link),
					     .ready = ready,
					     .arg = around };
	return loop_add(loop, &around->watch, EPOLLIN);
}

void around_unwatch(struct around *around)
{
	if (around->loop)
		loop_remove(around->loop, &around->watch);
	around->loop = NULL;
}

void around_close(struct around *around, struct link *link)
{
	link_close(link);
	if (around->is_open)
		link_close(&around->link);
	around->is_open = false;
}
