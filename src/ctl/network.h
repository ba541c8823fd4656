/* SPDX-License-Identifier: MIT */
/*
 * Questions to this host that any user may ask: addresses, routes, sockets and links
 * of the network namespace that this program runs in.
 */
#ifndef CTL_NETWORK_H
#define CTL_NETWORK_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
	/* Bytes of an address and a port in words, with the final 0. */
	CTL_ADDRESS_CAP = INET6_ADDRSTRLEN + IF_NAMESIZE + 16,
};

/**
 * union ctl_address - an address, perhaps with a port
 * @any:	its family; AF_UNSPEC: none
 */
union ctl_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* ctl_address_parse() - read "10.0.0.1", "fd00::1" or "fe80::1%eth0". Return: false if
 * the text is no address; then *out does not change. */
bool ctl_address_parse(union ctl_address *out, const char *text);

/* ctl_endpoint_parse() - read "192.0.2.1:51820" or "[2001:db8::1%eth0]:51820". Return:
 * false if the text is no such pair; then *out does not change. */
bool ctl_endpoint_parse(union ctl_address *out, const char *text);

/* ctl_address_print() - the address without its port. Return: @out, of
 * CTL_ADDRESS_CAP bytes. */
const char *ctl_address_print(char *out, const union ctl_address *address);

/* ctl_address_port() - the port of an address */
uint16_t ctl_address_port(const union ctl_address *address);

/* ctl_address_len() - bytes of the structure for bind(2) and others */
socklen_t ctl_address_len(const union ctl_address *address);

/* ctl_address_is_same() - are the addresses the same, whatever their ports are? */
bool ctl_address_is_same(const union ctl_address *a,
			 const union ctl_address *b);

/**
 * ctl_address_is_in() - is an address in a prefix?
 * @address:	address
 * @prefix:	text such as "10.0.0.0/8"
 * @bits:	set to the prefix's length if so
 *
 * Return: true if so.
 */
bool ctl_address_is_in(const union ctl_address *address, const char *prefix,
		       unsigned int *bits);

/**
 * struct ctl_route - the way that the kernel would choose for a packet
 * @device:	name of the interface by which it leaves
 * @ifindex:	number of that interface
 * @mtu:	of the interface, or of the path, if less is known of it
 * @source:	the local address; AF_UNSPEC: the kernel names none
 * @is_local:	the destination is an address of this host
 */
struct ctl_route {
	char device[IF_NAMESIZE];
	unsigned int ifindex;
	unsigned int mtu;
	union ctl_address source;
	bool is_local;
};

/**
 * ctl_route_get() - ask the kernel for a route (RTM_GETROUTE)
 * @route:	filled on success
 * @to:		destination
 * @mark:	mark of the packet; 0: none
 *
 * Return: 0; -errno, such as -ENETUNREACH: there is no route.
 */
int ctl_route_get(struct ctl_route *route, const union ctl_address *to,
		  uint32_t mark);

/**
 * ctl_network_has_address() - has this host an address of a family?
 * @family:	AF_INET or AF_INET6
 * @device:	of this interface; NULL: of any but the loopback interface and
 *		@other, and no link-local one
 * @other:	an interface that does not count; NULL: all count
 */
bool ctl_network_has_address(int family, const char *device, const char *other);

/* ctl_network_has_ipv6() - has the kernel IPv6, and is it not switched off? */
bool ctl_network_has_ipv6(void);

/**
 * ctl_network_port_user() - which other process has a UDP port?
 * @out:	filled, such as "dnsmasq (process 123)"; empty if this user cannot
 *		find out
 * @cap:	bytes at @out
 * @port:	the port
 */
void ctl_network_port_user(char *out, size_t cap, uint16_t port);

#endif /* CTL_NETWORK_H */
