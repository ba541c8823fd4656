/* SPDX-License-Identifier: MIT */
/* UDP sockets that a process before this one has left behind: can they be used? They may be
 * anything. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "keeper/service.h"

/* Return: the port of a UDP socket; 0: it is none. */
static uint16_t get_port(int fd, int family)
{
	struct sockaddr_storage addr = { 0 };
	socklen_t len = sizeof(addr), type_len = sizeof(int);
	int type = 0;
	uint16_t port;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) < 0 ||
	    type != SOCK_DGRAM ||
	    getsockname(fd, (struct sockaddr *)&addr, &len) < 0 ||
	    addr.ss_family != family)
		return 0;
	/* In both forms of an address the port follows the family. */
	memcpy(&port, (const uint8_t *)&addr + sizeof(addr.ss_family),
	       sizeof(port));
	return ntohs(port);
}

/* Return: bytes of a buffer, as ug_open() counts them; the kernel doubles the number. */
static uint32_t get_buffer(int fd, int option)
{
	int len = 0;
	socklen_t cap = sizeof(len);

	return getsockopt(fd, SOL_SOCKET, option, &len, &cap) < 0 || len < 0
		       ? 0
		       : (uint32_t)len / 2;
}

/* Was a socket opened as this keeper would open it? The option differs with
 * --pmtu=discover. */
static bool has_mode(const struct service *s, int fd, int f)
{
	int mode = 0;
	socklen_t len = sizeof(mode);

	if (getsockopt(fd, f ? IPPROTO_IPV6 : IPPROTO_IP,
		       f ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &mode,
		       &len) < 0)
		return false;
	return (mode == IP_PMTUDISC_PROBE) == s->finds_mtu;
}

/* Fill in what is known of the first socket's family. Return: false: another port, or
 * other options. */
static bool know_family(struct service *s, int f)
{
	struct service_set *set = &s->found;
	struct ug_parts *parts = &set->parts[0];
	struct reply_family *to = &set->families[f];
	uint16_t port;

	if (parts->fds[f] < 0) {
		to->err = -ENOENT;
		return true;
	}
	port = get_port(parts->fds[f], f ? AF_INET6 : AF_INET);
	if (!port || !has_mode(s, parts->fds[f], f) ||
	    (parts->port && parts->port != port))
		return false;
	parts->port = port;
	to->rcvbuf = get_buffer(parts->fds[f], SO_RCVBUF);
	to->sndbuf = get_buffer(parts->fds[f], SO_SNDBUF);
	parts->sndbuf[f] = to->sndbuf;
	return true;
}

void service_find_sockets(struct service *s, const struct service_set *set)
{
	s->found = *set;
	if (!set->n)
		return;
	if (!know_family(s, 0) || !know_family(s, 1) ||
	    !s->found.parts[0].port) {
		service_close_set(&s->found);
		return;
	}
	for (unsigned int i = 1; i < set->n; i++)
		s->found.parts[i].port = s->found.parts[0].port;
}

const struct service_set *service_get_found(const struct service *s)
{
	return s->found.n ? &s->found : NULL;
}
