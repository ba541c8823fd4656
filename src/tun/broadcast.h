/* SPDX-License-Identifier: MIT */
/*
 * The directed broadcast addresses of the interface's IPv4 networks, such as
 * 10.9.0.255 of 10.9.0.1/24. They are computed from the interface's addresses,
 * which rtnetlink reports.
 *
 * The control thread writes, any thread looks up. Legend: [a] atomic,
 * [c] control thread only.
 */
#ifndef TUN_BROADCAST_H
#define TUN_BROADCAST_H

#include <linux/netlink.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	/* Most addresses of the interface; further ones are ignored. A choice:
	 * a look-up compares all of them. */
	BROADCASTS_MAX = 32,
};

/**
 * struct broadcast - the broadcast addresses that belong to one address
 * @local:	[c] the address, in network order
 * @prefix_len:	[c] prefix length of its network; 0: the entry is free
 * @directed:	[a] the last address of its network, 0: none
 * @given:	[a] the broadcast address that is configured with it, 0: none
 */
struct broadcast {
	uint32_t local;
	uint8_t prefix_len;
	_Atomic uint32_t directed;
	_Atomic uint32_t given;
};

/**
 * struct broadcasts - the broadcast addresses of one interface
 * @entries:	one for each address of the interface
 */
struct broadcasts {
	struct broadcast entries[BROADCASTS_MAX];
};

/**
 * broadcasts_clear() - forget the interface's addresses
 * @b:		set
 *
 * Control thread.
 */
void broadcasts_clear(struct broadcasts *b);

/* broadcasts_copy() - take over the entries of another set. Control thread. */
void broadcasts_copy(struct broadcasts *b, const struct broadcasts *from);

/* broadcasts_are_equal() - do both sets have the same entries? Control thread. */
bool broadcasts_are_equal(const struct broadcasts *a,
			  const struct broadcasts *b);

/**
 * broadcasts_parse() - take a message about an address
 * @b:		set
 * @message:	RTM_NEWADDR or RTM_DELADDR, from netlink_messages_next()
 * @ifindex:	the interface; messages about others are ignored
 *
 * Control thread.
 */
void broadcasts_parse(struct broadcasts *b, const struct nlmsghdr *message,
		      unsigned int ifindex);

/**
 * broadcasts_have() - is this a broadcast address of the interface?
 * @b:		set
 * @addr:	IPv4 address, in network order
 *
 * Any thread.
 */
bool broadcasts_have(const struct broadcasts *b, const uint8_t addr[4]);

#endif /* TUN_BROADCAST_H */
