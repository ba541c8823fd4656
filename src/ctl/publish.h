/* SPDX-License-Identifier: MIT */
/*
 * Ports of the outer network that lead to a program in the tunnel's namespace.
 *
 * The sockets that listen are opened in the outer namespaces. Then a process enters the
 * inner ones with them, makes a connection there for each one that comes, and moves the
 * bytes: streams of TCP by splice(2), datagrams by libudpgather.
 *
 * One thread.
 */
#ifndef CTL_PUBLISH_H
#define CTL_PUBLISH_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/inner.h"
#include "ctl/plan.h"

struct ug_socket;

enum {
	/* Ports that can be published. A choice. */
	PUBLISH_MAX = 64,
	/* Where a program may listen: at the loopback address, or at the address of
	 * the tunnel. */
	PUBLISH_TARGETS = 2,
};

/**
 * struct publish_address - a socket address of IPv4 or IPv6
 * @len:	its length; 0: there is none
 */
struct publish_address {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} addr;
	socklen_t len;
};

/**
 * struct publish_port - one port
 * @text:	as the command line has it; borrowed
 * @outer:	where it listens
 * @inner_port:	port of the program, in host order
 * @is_udp:	UDP, else TCP
 * @targets:	where the program may listen; those that there are come first
 * @listener:	of TCP: the socket that listens; -1: not open
 * @socket:	of UDP: the socket; NULL: not open
 */
struct publish_port {
	const char *text;
	struct publish_address outer;
	uint16_t inner_port;
	bool is_udp;
	struct publish_address targets[PUBLISH_TARGETS];
	int listener;
	struct ug_socket *socket;
};

/**
 * struct publish - all ports
 * @ports:	@n ports
 * @n:		how many
 */
struct publish {
	struct publish_port ports[PUBLISH_MAX];
	size_t n;
};

/**
 * publish_parse() - add a port from text
 * @publish:	the port is added to it
 * @text:	ADDRESS:PORT:PORT, with "/udp" or "/tcp" behind it, an IPv6 address in
 *		brackets; borrowed
 *
 * Return: false if the text is something else, or there are too many.
 */
bool publish_parse(struct publish *publish, const char *text);

/**
 * publish_open() - open the sockets, in the outer namespaces
 * @publish:	the ports
 * @plan:	has the addresses in the tunnel
 * @failed:	set on failure to the text of the port
 *
 * Return: 0; -errno.
 */
int publish_open(struct publish *publish, const struct plan *plan,
		 const char **failed);

/**
 * publish_run() - enter the inner side, and forward until the process is ended
 * @publish:	open ports
 * @inner:	the namespaces
 */
_Noreturn void publish_run(struct publish *publish, const struct inner *inner);

#endif /* CTL_PUBLISH_H */
