/* SPDX-License-Identifier: MIT */
/*
 * What happens to the interface and to the network around it, from rtnetlink.
 * See the essay in link.c. Control thread only.
 */
#ifndef TUN_LINK_H
#define TUN_LINK_H

#include <net/if.h>
#include <stdbool.h>

#include "base/bytes.h"
#include "tun/broadcast.h"
#include "tun/sys.h"

enum {
	LINK_EVENTS_MAX = 16,
	/* Namespaces: the socket's own, and one that cannot be told. */
	LINK_NSID_HOME = -1,
	LINK_NSID_UNKNOWN = -2,
};

/* The interface is in a namespace that cannot be asked. */
#define LINK_E_UNKNOWN 1

/**
 * enum link_event - what happened
 * @LINK_UP:		the interface was set up
 * @LINK_DOWN:		the interface was set down
 * @LINK_MTU:		it has another MTU
 * @LINK_RENAMED:	it has another name
 * @LINK_MOVED:		it went to another network namespace
 * @LINK_DELETED:	it is gone
 * @LINK_MISSING:	it is not where link_request() looked: moved on or gone.
 *			The TUN knows: tun_get_name() says -EBADFD if it is gone
 * @LINK_NETWORK4:	IPv4 addresses, routes, rules or next hops, or other
 *			interfaces, of the socket's namespace changed: packets
 *			may leave by another interface than before, and path
 *			MTUs may be others
 * @LINK_NETWORK6:	IPv6 addresses or routes of it changed
 * @LINK_OVERFLOW:	messages were lost: all of the above may have happened;
 *			ask by link_request()
 */
enum link_event {
	LINK_UP,
	LINK_DOWN,
	LINK_MTU,
	LINK_RENAMED,
	LINK_MOVED,
	LINK_DELETED,
	LINK_MISSING,
	LINK_NETWORK4,
	LINK_NETWORK6,
	LINK_OVERFLOW,
};

/**
 * struct link_events - what happened, in order
 * @cnt:	number of events
 * @kinds:	events; those that say no more when repeated come once
 */
struct link_events {
	unsigned int cnt;
	enum link_event kinds[LINK_EVENTS_MAX];
};

/**
 * struct link_state - the interface as last heard of
 * @ifindex:	interface index in its namespace
 * @nsid:	its namespace, as the socket's namespace numbers it
 * @home_nsid:	number that the socket's namespace has for itself, if any
 * @seq:	sequence number of the last request
 * @mtu:	MTU, 0 before the first message
 * @up:		IFF_UP
 * @deleted:	it is gone; nothing changes any more
 * @name:	name
 * @broadcasts:	of its IPv4 networks; any thread may look up
 */
struct link_state {
	unsigned int ifindex;
	int nsid;
	int home_nsid;
	uint32_t seq;
	uint32_t mtu;
	bool up;
	bool deleted;
	char name[IFNAMSIZ];
	struct broadcasts broadcasts;
};

/**
 * struct link - the socket and what it told
 * @sys:	system calls
 * @fd:		the socket
 * @all_nsid:	other namespaces are heard, if this one has a number for them
 * @is_behind:	messages were lost; told when the rest has been read
 * @n_behind:	calls of link_receive() since then that left something to read
 * @state:	the interface
 */
struct link {
	const struct tun_sys *sys;
	int fd;
	bool all_nsid;
	bool is_behind;
	unsigned int n_behind;
	struct link_state state;
};

/* See link.c. */
void link_state_init(struct link_state *st, unsigned int ifindex,
		     const char *name);
void link_parse(struct link_state *st, const void *buf, size_t len, int nsid,
		struct link_events *events);
int link_open(struct link *link, const struct tun_sys *sys,
	      unsigned int ifindex, const char *name);
void link_close(struct link *link);
int link_get_fd(const struct link *link);
int link_request(struct link *link);
int link_receive(struct link *link, struct link_events *events);

#endif /* TUN_LINK_H */
