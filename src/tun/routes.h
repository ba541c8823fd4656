/* SPDX-License-Identifier: MIT */
/*
 * Questions to the kernel, by rtnetlink: by which interface would a packet
 * leave, and which IPv6 addresses are ours. They need no rights, and are
 * answered within the call. Control thread only.
 */
#ifndef TUN_ROUTES_H
#define TUN_ROUTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	/* Most IPv6 addresses that are read; with more, reading fails. */
	ROUTES_ADDRESSES_MAX = 1 << 16,
};

/* There is no route for such a packet, or its source is not ours. */
#define ROUTES_E_NO_WAY 1

/**
 * struct routes_packet - what policy routing may look at in a UDP packet
 * @source:	IPv4 address in network order, all zero: the kernel chooses
 * @destination: IPv4 address in network order
 * @source_port: in host order
 * @destination_port: in host order
 * @mark:	of the socket, 0: none
 * @uid:	user who opened the socket
 */
struct routes_packet {
	uint8_t source[4];
	uint8_t destination[4];
	uint16_t source_port;
	uint16_t destination_port;
	uint32_t mark;
	uint32_t uid;
};

/**
 * struct routes_address - an IPv6 address of this namespace
 * @addr:	in network order
 * @ifindex:	the interface that has it
 */
struct routes_address {
	uint8_t addr[16];
	uint32_t ifindex;
};

/**
 * struct routes - the socket, and the addresses of the last answer
 * @fd:		the socket
 * @seq:	sequence number of the last question
 * @addresses:	in order
 * @n:		how many
 * @cap:	how many there is room for
 */
struct routes {
	int fd;
	uint32_t seq;
	struct routes_address *addresses;
	size_t n;
	size_t cap;
};

/**
 * routes_open() - open the socket
 * @r:		set up here
 *
 * Return: 0; -errno.
 */
int routes_open(struct routes *r);

/* routes_close() - close the socket, free the addresses */
void routes_close(struct routes *r);

/**
 * routes_lookup() - by which interface would an IPv4 packet leave?
 * @r:		open routes
 * @packet:	the packet
 * @ifindex:	set on success
 *
 * The answer is that of net/ipv4/route.c for RTM_GETROUTE, which has looked at
 * ports and protocol since Linux 4.18; before, rules by port or protocol are
 * not applied.
 *
 * Return: 0; ROUTES_E_NO_WAY: ENETUNREACH, or EINVAL as of a blackhole; another
 * -errno says nothing about routes.
 */
int routes_lookup(struct routes *r, const struct routes_packet *packet,
		  uint32_t *ifindex);

/**
 * routes_read_addresses() - ask for all IPv6 addresses
 * @r:		open routes
 *
 * Addresses that are tentative cannot be used yet, and are left out.
 *
 * Return: 0; -E2BIG: there are more than ROUTES_ADDRESSES_MAX; -errno. Then
 * routes_has_address() is not to be asked.
 */
int routes_read_addresses(struct routes *r);

/**
 * routes_has_address() - was an address in the last answer?
 * @r:		routes
 * @addr:	IPv6 address in network order
 * @ifindex:	counts for a link-local address: that of its interface
 *
 * Return: true if so.
 */
bool routes_has_address(const struct routes *r, const uint8_t addr[16],
			uint32_t ifindex);

/**
 * routes_parse_lookup() - take the answer to a question for a route
 * @buf:	datagram, aligned to 4 bytes; any bytes will do
 * @len:	its length
 * @seq:	sequence number of the question
 * @ifindex:	set on success
 *
 * Return: as routes_lookup(); -EAGAIN if it is not the answer.
 */
int routes_parse_lookup(const void *buf, size_t len, uint32_t seq,
			uint32_t *ifindex);

/**
 * routes_parse_addresses() - take a part of the answer about addresses
 * @r:		addresses are added to it
 * @buf:	datagram, aligned to 4 bytes; any bytes will do
 * @len:	its length
 *
 * Return: 0: it was the last part; -EAGAIN: there is more; -errno.
 */
int routes_parse_addresses(struct routes *r, const void *buf, size_t len);

#endif /* TUN_ROUTES_H */
