/* SPDX-License-Identifier: MIT */
/*
 * Events of the interface and of the network around it, heard through
 * rtnetlink. Control thread only.
 */
#ifndef TUN_LINK_H
#define TUN_LINK_H

#include <net/if.h>
#include <stdbool.h>

#include "base/bytes.h"
#include "tun/broadcast.h"
#include "tun/sys.h"

enum {
	/* Events that one call reports. A choice, not measured: messages for
	 * which there is no room stay in the socket. */
	LINK_EVENTS_MAX = 16,
	/* Instead of a namespace's number: the socket's own namespace, and a
	 * namespace that has no number here. */
	LINK_NSID_HOME = -1,
	LINK_NSID_UNKNOWN = -2,
};

/* The interface is in a namespace that the socket cannot ask. */
#define LINK_E_UNKNOWN 1

/**
 * enum link_event - what happened
 * @LINK_UP:		the interface was set up
 * @LINK_DOWN:		the interface was set down
 * @LINK_MTU:		the interface has another MTU
 * @LINK_RENAMED:	the interface has another name
 * @LINK_MOVED:		the interface went to another network namespace
 * @LINK_DELETED:	the interface was deleted
 * @LINK_MISSING:	link_request() did not find the interface: it has moved
 *			again, or was deleted. If it was deleted, tun_get_name()
 *			returns -EBADFD
 * @LINK_NETWORK4:	in the socket's namespace, IPv4 addresses, routes, rules
 *			or next hops changed, or other interfaces: packets may
 *			leave by another interface than before, and path MTUs
 *			may have changed
 * @LINK_NETWORK6:	in the socket's namespace, IPv6 addresses or routes
 *			changed
 * @LINK_OVERLAY:	in the socket's namespace a VXLAN or Geneve device came, went or
 *			changed; ask by routes_read_overlays()
 * @LINK_OVERFLOW:	messages were lost, so each of the events above may have
 *			happened; ask by link_request()
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
	LINK_OVERLAY,
	LINK_OVERFLOW,
};

/**
 * struct link_events - events, in order
 * @cnt:	number of events
 * @kinds:	the events; only LINK_UP, LINK_DOWN and LINK_MOVED may come twice
 */
struct link_events {
	unsigned int cnt;
	enum link_event kinds[LINK_EVENTS_MAX];
};

/**
 * struct link_state - the interface, as the last message described it
 * @ifindex:	interface index in its namespace
 * @nsid:	its namespace, as the socket's namespace numbers it
 * @home_nsid:	the number that the socket's namespace has for itself, or
 *		LINK_NSID_HOME if it has none
 * @seq:	sequence number of the last request
 * @mtu:	MTU, 0 before the first message
 * @up:		IFF_UP
 * @deleted:	the interface is gone; no member changes any more
 * @name:	name
 * @broadcasts:	the broadcast addresses of its IPv4 networks; any thread may
 *		look up
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
 * struct link - the netlink socket, and the state of the interface
 * @sys:	system calls
 * @fd:		the socket
 * @all_nsid:	the socket also hears namespaces that its own has a number for
 * @is_behind:	messages were lost, and LINK_OVERFLOW was not reported yet
 * @n_behind:	calls of link_receive() since the loss that did not read
 *		everything
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

/**
 * link_state_init() - set up the state before the first message
 * @st:		set up here
 * @ifindex:	its index, in the socket's namespace
 * @name:	its name
 */
void link_state_init(struct link_state *st, unsigned int ifindex,
		     const char *name);

/**
 * link_parse() - update the state from messages
 * @st:		state, updated
 * @buf:	rtnetlink messages, aligned to 4 bytes; any bytes will do
 * @len:	their length
 * @nsid:	the namespace that the messages came from; LINK_NSID_HOME if the
 *		kernel named none
 * @events:	events are added to it
 */
void link_parse(struct link_state *st, const void *buf, size_t len, int nsid,
		struct link_events *events);

/**
 * link_open() - open the netlink socket
 * @link:	set up here; link_close() it
 * @sys:	system calls, borrowed until closed
 * @ifindex:	the interface, in the process's namespace; 0: none, for a link
 *		that reports changes of the network only
 * @name:	its name
 *
 * Call it before privileges are given up: the kernel decides by the rights of
 * the opener what the socket may hear of other namespaces. The state is unknown
 * until link_request() was called and its answer received.
 *
 * Return: 0; -errno.
 */
int link_open(struct link *link, const struct tun_sys *sys,
	      unsigned int ifindex, const char *name);

/**
 * link_open_fd() - use a netlink socket of another namespace, and find the interface
 * @link:	set up here; link_close() it
 * @sys:	system calls, borrowed until closed
 * @fd:		NETLINK_ROUTE socket of the interface's namespace; consumed on
 *		success only
 * @name:	the interface's name there
 *
 * Events of the network are those of that namespace. It joins the groups of links
 * and addresses only, since the routes there decide about no packet of ours.
 *
 * Return: 0; -ENOTSOCK, -EPROTOTYPE: it is no such socket; -ENODEV: there is no
 * interface of that name; -errno.
 */
int link_open_fd(struct link *link, const struct tun_sys *sys, int fd,
		 const char *name);

/**
 * link_close() - close the socket
 * @link:	open link
 */
void link_close(struct link *link);

/**
 * link_get_fd() - the descriptor to wait on, for reading
 * @link:	open link
 *
 * Return: the descriptor; the link keeps it.
 */
int link_get_fd(const struct link *link);

/**
 * link_request() - ask for the interface's state, and its addresses
 * @link:	open link
 *
 * The answer comes through link_receive(): events, or LINK_MISSING.
 *
 * Return: 0; LINK_E_UNKNOWN if the interface is in a namespace that the socket
 * cannot ask; -errno.
 */
int link_request(struct link *link);

/**
 * link_receive() - read messages, and update the state
 * @link:	open link
 * @events:	emptied, then filled
 *
 * Reads a bounded number of messages, so the descriptor may stay readable. It
 * stops before the list of events is full: the state already has the change of
 * an event that finds no room, so the answer to link_request() would not bring
 * that event again.
 *
 * LINK_OVERFLOW is reported when everything has been read. If there is always
 * more to read, it is reported every 16 calls: the answer to the link_request()
 * that follows may be lost, too, as long as the kernel's queue is full.
 *
 * Return: 0; -errno.
 */
int link_receive(struct link *link, struct link_events *events);

#endif /* TUN_LINK_H */
