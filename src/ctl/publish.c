/* SPDX-License-Identifier: MIT */
#include "ctl/publish.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl/commands.h"
#include "ctl/forward.h"

#include <udpgather.h>

enum {
	/* Events that one epoll_wait(2) takes. A choice. */
	EVENTS = 64,
};

/* ------------------------------------------------------------------ the ports */

/* Read the number that stands behind the last colon of @text, and cut it off. */
static bool take_port(char *text, uint16_t *port)
{
	char *colon = strrchr(text, ':');
	size_t len = colon ? strlen(colon + 1) : 0;
	unsigned long value;

	if (!len || len > 5 || strspn(colon + 1, "0123456789") != len)
		return false;
	value = strtoul(colon + 1, NULL, 10);
	if (!value || value > UINT16_MAX)
		return false;
	*port = (uint16_t)value;
	*colon = 0;
	return true;
}

static bool make_address(struct publish_address *out, const char *text,
			 uint16_t port)
{
	*out = (struct publish_address){ 0 };
	if (inet_pton(AF_INET, text, &out->addr.v4.sin_addr) == 1) {
		out->addr.v4.sin_family = AF_INET;
		out->addr.v4.sin_port = htons(port);
		out->len = sizeof(out->addr.v4);
	} else if (inet_pton(AF_INET6, text, &out->addr.v6.sin6_addr) == 1) {
		out->addr.v6.sin6_family = AF_INET6;
		out->addr.v6.sin6_port = htons(port);
		out->len = sizeof(out->addr.v6);
	}
	return out->len != 0;
}

/* "[IPV6]", or an IPv4 address. */
static bool read_address(struct publish_address *out, char *text, uint16_t port)
{
	size_t len = strlen(text);

	if (*text != '[')
		return !strchr(text, ':') && make_address(out, text, port);
	if (text[len - 1] != ']')
		return false;
	text[len - 1] = 0;
	return strchr(text, ':') && make_address(out, text + 1, port);
}

bool publish_parse(struct publish *publish, const char *text)
{
	struct publish_port port = { .text = text, .listener = -1 };
	char copy[INET6_ADDRSTRLEN + 24], *slash;
	uint16_t outer_port;

	if (publish->n == PUBLISH_MAX || strlen(text) >= sizeof(copy))
		return false;
	memcpy(copy, text, strlen(text) + 1);
	slash = strchr(copy, '/');
	if (slash) {
		port.is_udp = strcmp(slash, "/udp") == 0;
		if (!port.is_udp && strcmp(slash, "/tcp") != 0)
			return false;
		*slash = 0;
	}
	if (!take_port(copy, &port.inner_port) ||
	    !take_port(copy, &outer_port) || !*copy ||
	    !read_address(&port.outer, copy, outer_port))
		return false;
	publish->ports[publish->n++] = port;
	return true;
}

/* -------------------------------------------------------------------- opening */

static int open_tcp(struct publish_port *port)
{
	const int on = 1;
	int fd = socket(port->outer.addr.any.sa_family,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (port->outer.addr.any.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, &port->outer.addr.any, port->outer.len) == 0 &&
	    listen(fd, SOMAXCONN) == 0) {
		port->listener = fd;
		return 0;
	}
	err = -errno;
	close(fd);
	return err;
}

static int open_udp(struct publish_port *port)
{
	bool is_v4 = port->outer.addr.any.sa_family == AF_INET;
	struct ug_endpoint here;
	struct ug_options opt = {
		.size = sizeof(opt),
		.families = is_v4 ? UG_IPV4_ONLY : UG_IPV6_ONLY,
		.bind4 = is_v4 ? &here : NULL,
		.bind6 = is_v4 ? NULL : &here,
	};
	int err =
		ug_endpoint_set(&here, &port->outer.addr.any, port->outer.len);

	opt.port = ntohs(is_v4 ? port->outer.addr.v4.sin_port
			       : port->outer.addr.v6.sin6_port);
	return err < 0 ? err : ug_open(&port->socket, &opt, NULL);
}

/* A program listens at the loopback address, at that of the tunnel, or at both. */
static void set_targets(struct publish_port *port, const struct plan *plan)
{
	int family = port->outer.addr.any.sa_family;
	char text[INET6_ADDRSTRLEN];

	make_address(&port->targets[0], family == AF_INET ? "127.0.0.1" : "::1",
		     port->inner_port);
	for (size_t i = 0; i < plan->n_addresses; i++)
		if (plan->addresses[i].family == family &&
		    !port->targets[1].len &&
		    inet_ntop(family, plan->addresses[i].addr, text,
			      sizeof(text)))
			make_address(&port->targets[1], text, port->inner_port);
}

int publish_open(struct publish *publish, const struct plan *plan,
		 const char **failed)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < publish->n; i++) {
		struct publish_port *port = &publish->ports[i];

		set_targets(port, plan);
		err = port->is_udp ? open_udp(port) : open_tcp(port);
		*failed = port->text;
	}
	return err;
}

/* -------------------------------------------------------------------- the loop */

int forward_add(struct forward *forward, struct forward_watch *watch,
		uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = watch };

	return epoll_ctl(forward->epoll, EPOLL_CTL_ADD, watch->fd, &event) < 0
		       ? -errno
		       : 0;
}

void forward_remove(struct forward *forward, struct forward_watch *watch)
{
	epoll_ctl(forward->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
}

static _Noreturn void loop(struct forward *forward)
{
	for (;;) {
		struct epoll_event events[EVENTS];
		int n = epoll_wait(forward->epoll, events, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			struct forward_watch *watch = events[i].data.ptr;

			watch->ready(watch, events[i].events);
		}
		forward_free_closed();
	}
}

/* A connection takes six descriptors. */
static void raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

_Noreturn void publish_run(struct publish *publish, const struct inner *inner)
{
	const struct inner namespaces = { -1, -1, inner->user, inner->net, -1 };
	struct forward forward = { .epoll = epoll_create1(EPOLL_CLOEXEC) };
	int err = inner_join(&namespaces);

	/* The holder ends this process; if it is killed, nobody else would. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	raise_limit();
	if (forward.epoll < 0)
		err = -errno;
	for (size_t i = 0; err == 0 && i < publish->n; i++)
		err = publish->ports[i].is_udp
			      ? forward_datagrams(&forward, &publish->ports[i])
			      : forward_streams(&forward, &publish->ports[i]);
	if (err == 0)
		loop(&forward);
	ctl_fail("--publish: %s", strerror(-err));
	_exit(CTL_FAILED);
}
