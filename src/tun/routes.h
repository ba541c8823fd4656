/* SPDX-License-Identifier: MIT */
/*
 * Questions to the kernel, by rtnetlink: by which interface would a packet
 * leave, which IPv6 addresses does this namespace have, and on which ports do
 * its tunnel devices listen? The questions need no rights. The kernel answers
 * within the call. Control thread only.
 */
#ifndef TUN_ROUTES_H
#define TUN_ROUTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tun/overlay.h"

enum {
	/* If there are more IPv6 addresses, reading them fails. A choice: this
	 * many take 1.25 MiB. */
	ROUTES_ADDRESSES_MAX = 1 << 16,
};

/* There is no route for the packet, or its source is no address of ours. */
#define ROUTES_E_NO_WAY 1

/**
 * struct routes_packet - the fields of a UDP packet that may decide its route
 * @source:	IPv4 address in network order, all zero: the kernel chooses
 * @destination: IPv4 address in network order
 * @source_port: in host order
 * @destination_port: in host order
 * @mark:	firewall mark of the socket, 0: none
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
 * @addresses:	the addresses, sorted
 * @n:		number of addresses
 * @cap:	number of addresses that there is room for
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

/* routes_reserve() - have room for all addresses from now on, so that reading them
 * allocates no memory. Return: 0; -ENOMEM. */
int routes_reserve(struct routes *r);

/* routes_close() - close the socket, free the addresses */
void routes_close(struct routes *r);

/**
 * routes_lookup() - by which interface would an IPv4 packet leave?
 * @r:		open routes
 * @packet:	the packet
 * @ifindex:	set on success
 *
 * Asks by RTM_GETROUTE (net/ipv4/route.c). Linux before 4.18 does not apply
 * routing rules by port or protocol to the question.
 *
 * Return: 0; ROUTES_E_NO_WAY if the kernel answers ENETUNREACH, or EINVAL (a
 * blackhole route); -errno for other failures, which say nothing about routes.
 */
int routes_lookup(struct routes *r, const struct routes_packet *packet,
		  uint32_t *ifindex);

/**
 * routes_read_addresses() - ask for all IPv6 addresses
 * @r:		open routes
 *
 * Tentative addresses cannot be used yet, and are left out.
 *
 * Return: 0; -E2BIG if there are more than ROUTES_ADDRESSES_MAX; another -errno.
 * After a failure do not call routes_has_address().
 */
int routes_read_addresses(struct routes *r);

/**
 * routes_has_address() - did the last routes_read_addresses() find an address?
 * @r:		routes
 * @addr:	IPv6 address in network order
 * @ifindex:	the interface that must have it, if the address is link-local;
 *		else ignored
 */
bool routes_has_address(const struct routes *r, const uint8_t addr[16],
			uint32_t ifindex);

/**
 * routes_read_overlays() - ask on which ports VXLAN and Geneve devices listen
 * @r:		open routes
 * @set:	filled on success, and emptied on failure
 *
 * Return: 0; -errno.
 */
int routes_read_overlays(struct routes *r, struct overlays *set);

/**
 * routes_parse_lookup() - read the answer to a question for a route
 * @buf:	datagram, aligned to 4 bytes; any bytes will do
 * @len:	its length
 * @seq:	sequence number of the question
 * @ifindex:	set on success
 *
 * Return: as routes_lookup(); -EAGAIN if the datagram is not the answer.
 */
int routes_parse_lookup(const void *buf, size_t len, uint32_t seq,
			uint32_t *ifindex);

/**
 * routes_parse_addresses() - read a part of the answer about addresses
 * @r:		the addresses are added to it
 * @buf:	datagram, aligned to 4 bytes; any bytes will do
 * @len:	its length
 *
 * Return: 0 if this was the last part; -EAGAIN if there is more; -errno.
 */
int routes_parse_addresses(struct routes *r, const void *buf, size_t len);

#endif /* TUN_ROUTES_H */
