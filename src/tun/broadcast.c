/* SPDX-License-Identifier: MIT */
/*
 * A table of fixed size, with one entry for each IPv4 address of the interface.
 * The control thread changes it by RTM_NEWADDR and RTM_DELADDR. Threads that
 * run lanes look up in it.
 */
#include "tun/broadcast.h"

#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "base/bytes.h"
#include "base/netlink.h"

enum {
	/* A network of two addresses has no broadcast address: RFC 3021. */
	PREFIX_LEN_MAX = 30,
};

/**
 * struct address - an address of the interface, as one message gives it
 * @local:	the address, 0: none
 * @network:	an address within the network of @local. If the other end of a
 *		point-to-point link is configured, it is that end's address
 * @given:	the broadcast address in the message, 0: none
 */
struct address {
	uint32_t local;
	uint32_t network;
	uint32_t given;
};

static void set(_Atomic uint32_t *at, uint32_t addr)
{
	/* Relaxed: broadcasts_have() needs no order between addresses. */
	atomic_store_explicit(at, addr, memory_order_relaxed);
}

static struct address read_attrs(const struct nlmsghdr *message)
{
	struct address addr = { 0 };
	const struct nlattr *attr;
	struct netlink_attrs attrs;
	uint32_t value;

	netlink_attrs_init(&attrs, message, sizeof(struct ifaddrmsg));
	while ((attr = netlink_attrs_next(&attrs))) {
		if (!netlink_attr_u32(attr, &value))
			continue;
		if (netlink_attr_type(attr) == IFA_LOCAL)
			addr.local = value;
		else if (netlink_attr_type(attr) == IFA_ADDRESS)
			addr.network = value;
		else if (netlink_attr_type(attr) == IFA_BROADCAST)
			addr.given = value;
	}
	return addr;
}

/* The entry of an address; else a free entry; NULL if there is neither. */
static struct broadcast *find(struct broadcasts *b, uint32_t local,
			      uint8_t prefix_len)
{
	struct broadcast *unused = NULL;

	for (size_t i = 0; i < BROADCASTS_MAX; i++) {
		struct broadcast *entry = &b->entries[i];

		if (entry->prefix_len == prefix_len && entry->local == local)
			return entry;
		if (!entry->prefix_len && !unused)
			unused = entry;
	}
	return unused;
}

static void clear(struct broadcast *entry)
{
	entry->prefix_len = 0;
	set(&entry->directed, 0);
	set(&entry->given, 0);
}

static void fill_entry(struct broadcast *entry, const struct address *addr,
		       uint8_t prefix_len)
{
	uint32_t hosts = UINT32_MAX >> prefix_len;

	entry->local = addr->local;
	entry->prefix_len = prefix_len;
	set(&entry->directed, addr->network | htonl(hosts));
	set(&entry->given, addr->given);
}

void broadcasts_clear(struct broadcasts *b)
{
	for (size_t i = 0; i < BROADCASTS_MAX; i++)
		clear(&b->entries[i]);
}

void broadcasts_copy(struct broadcasts *b, const struct broadcasts *from)
{
	for (size_t i = 0; i < BROADCASTS_MAX; i++) {
		const struct broadcast *entry = &from->entries[i];

		b->entries[i].local = entry->local;
		b->entries[i].prefix_len = entry->prefix_len;
		set(&b->entries[i].directed,
		    atomic_load_explicit(&entry->directed,
					 memory_order_relaxed));
		set(&b->entries[i].given,
		    atomic_load_explicit(&entry->given, memory_order_relaxed));
	}
}

static bool are_equal(const struct broadcast *a, const struct broadcast *b)
{
	return a->local == b->local && a->prefix_len == b->prefix_len &&
	       atomic_load_explicit(&a->directed, memory_order_relaxed) ==
		       atomic_load_explicit(&b->directed,
					    memory_order_relaxed) &&
	       atomic_load_explicit(&a->given, memory_order_relaxed) ==
		       atomic_load_explicit(&b->given, memory_order_relaxed);
}

bool broadcasts_are_equal(const struct broadcasts *a,
			  const struct broadcasts *b)
{
	for (size_t i = 0; i < BROADCASTS_MAX; i++)
		if (!are_equal(&a->entries[i], &b->entries[i]))
			return false;
	return true;
}

void broadcasts_parse(struct broadcasts *b, const struct nlmsghdr *message,
		      unsigned int ifindex)
{
	const struct ifaddrmsg *ifa = netlink_get_body(message, sizeof(*ifa));
	struct broadcast *entry;
	struct address addr;

	if (!ifa || ifa->ifa_family != AF_INET || ifa->ifa_index != ifindex ||
	    !ifa->ifa_prefixlen || ifa->ifa_prefixlen > PREFIX_LEN_MAX)
		return;
	addr = read_attrs(message);
	if (!addr.local || !addr.network)
		return;
	entry = find(b, addr.local, ifa->ifa_prefixlen);
	if (!entry)
		return;
	if (message->nlmsg_type == RTM_NEWADDR)
		fill_entry(entry, &addr, ifa->ifa_prefixlen);
	else
		clear(entry);
}

bool broadcasts_have(const struct broadcasts *b, const uint8_t bytes[4])
{
	uint32_t addr;

	memcpy(&addr, bytes, sizeof(addr));
	for (size_t i = 0; i < BROADCASTS_MAX; i++) {
		const struct broadcast *entry = &b->entries[i];

		/* Partner: set(). */
		if (addr &&
		    (atomic_load_explicit(&entry->directed,
					  memory_order_relaxed) == addr ||
		     atomic_load_explicit(&entry->given,
					  memory_order_relaxed) == addr))
			return true;
	}
	return false;
}
