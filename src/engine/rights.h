/* SPDX-License-Identifier: MIT */
/*
 * What the engine needs rights for: opening UDP sockets, marking them, asking about
 * routes, and hearing of the interface, of the network and of a resumed machine. The
 * engine asks by this table, and hears by the other one. local.h does it all in this
 * process. In a daemon with all its layers another process does it, the keeper
 * (keeper/client.h).
 *
 * Control thread.
 */
#ifndef ENGINE_RIGHTS_H
#define ENGINE_RIGHTS_H

#include <stdbool.h>
#include <stdint.h>

#include "tun/link.h"
#include "tun/overlay.h"
#include "udpgather.h"

enum {
	/* Most questions of one call of @ask. A choice. */
	RIGHTS_QUESTIONS_MAX = 64,
};

/**
 * struct rights_question - does a local address still hold as the source of packets?
 * @is_v6:	the addresses are of IPv6
 * @source:	the address, in network order; the first 4 bytes for IPv4
 * @destination: where packets go; not read for IPv6
 * @source_port: in host order
 * @destination_port: in host order; not read for IPv6
 * @ifindex:	the interface of a link-local address of IPv6
 */
struct rights_question {
	bool is_v6;
	uint8_t source[16];
	uint8_t destination[16];
	uint16_t source_port;
	uint16_t destination_port;
	uint32_t ifindex;
};

/**
 * enum rights_answer_kind - what the kernel says
 * @RIGHTS_UNKNOWN:	nothing about the source: it failed, or there is no route from
 *			any address
 * @RIGHTS_NO_WAY:	IPv4: there is no route from the source, and one without it;
 *			IPv6: the address is not local
 * @RIGHTS_WAY:		IPv4: packets leave by an interface; IPv6: the address is local
 */
enum rights_answer_kind {
	RIGHTS_UNKNOWN,
	RIGHTS_NO_WAY,
	RIGHTS_WAY,
};

/**
 * struct rights_answer - an answer
 * @kind:	see above
 * @ifindex:	for RIGHTS_WAY of IPv4: the interface
 */
struct rights_answer {
	enum rights_answer_kind kind;
	uint32_t ifindex;
};

/**
 * struct rights_news - what the engine hears
 * @state:	the interface as it is now, before @link; borrowed for the call. Often
 *		nothing of it has changed
 * @link:	something happened to the interface: LINK_UP, LINK_DOWN, LINK_MTU,
 *		LINK_RENAMED, LINK_MOVED or LINK_DELETED
 * @overlays:	the ports of the kernel's tunnel devices; borrowed for the call
 * @network:	the network of the outer packets may have changed, for these families
 *		(enum rights_family)
 * @renew:	the machine was resumed from a snapshot, or cloned
 *
 * All are called from the loop, and get the @arg of @start.
 */
struct rights_news {
	void (*state)(void *arg, const struct link_state *state);
	void (*link)(void *arg, enum link_event event);
	void (*overlays)(void *arg, const struct overlays *set);
	void (*network)(void *arg, unsigned int families);
	void (*renew)(void *arg);
};

/* Families whose addresses or routes may have changed. */
enum rights_family {
	RIGHTS_IPV4 = 1,
	RIGHTS_IPV6 = 2,
};

/**
 * struct rights_ops - what the engine asks for
 * @start:	begin to tell news; the first news say how the interface is. Return: 0;
 *		-errno.
 * @stop:	tell no more
 * @open:	as ug_open(); the port and the mark of @opt count, and what is not of the
 *		kernel's sockets, such as the notice function
 * @open_group:	the same for ug_open_group(); NULL: one socket at a time can be opened
 * @steer:	have the kernel choose the socket of a group of @n, whose first one is
 *		@first, as sock_group.h says; NULL: the engine does it itself
 * @close:	as ug_close()
 * @set_mark:	as ug_set_mark()
 * @ask:	answer @n questions, at most RIGHTS_QUESTIONS_MAX, about packets with a
 *		mark
 */
struct rights_ops {
	int (*start)(void *arg, const struct rights_news *news, void *news_arg);
	void (*stop)(void *arg);
	int (*open)(void *arg, const struct ug_options *opt,
		    struct ug_socket **out, struct ug_report *report);
	int (*open_group)(void *arg, const struct ug_options *opt,
			  struct ug_socket **out, unsigned int n,
			  struct ug_report *report);
	int (*steer)(void *arg, struct ug_socket *first, unsigned int n);
	void (*close)(void *arg, struct ug_socket *sock);
	int (*set_mark)(void *arg, struct ug_socket *sock, uint32_t mark);
	void (*ask)(void *arg, uint32_t mark,
		    const struct rights_question *questions,
		    struct rights_answer *answers, unsigned int n);
};

/**
 * struct rights - how the engine gets at what needs rights
 * @ops:	see above
 * @arg:	for @ops
 */
struct rights {
	const struct rights_ops *ops;
	void *arg;
};

/* rights_open() - open sockets; without @rights by ug_open() itself */
static inline int rights_open(const struct rights *rights,
			      const struct ug_options *opt,
			      struct ug_socket **out, struct ug_report *report)
{
	return rights ? rights->ops->open(rights->arg, opt, out, report)
		      : ug_open(out, opt, report);
}

/* rights_can_open_group() - may rights_open_group() be called? */
static inline bool rights_can_open_group(const struct rights *rights)
{
	return !rights || rights->ops->open_group;
}

/* rights_open_group() - open several sockets on one port; without @rights by
 * ug_open_group() itself */
static inline int rights_open_group(const struct rights *rights,
				    const struct ug_options *opt,
				    struct ug_socket **out, unsigned int n,
				    struct ug_report *report)
{
	return rights ? rights->ops->open_group(rights->arg, opt, out, n,
						report)
		      : ug_open_group(out, n, opt, report);
}

/* rights_close() - close sockets, or NULL; without @rights by ug_close() itself */
static inline void rights_close(const struct rights *rights,
				struct ug_socket *sock)
{
	if (rights && sock)
		rights->ops->close(rights->arg, sock);
	else
		ug_close(sock);
}

/* rights_set_mark() - mark sockets; without @rights by ug_set_mark() itself */
static inline int rights_set_mark(const struct rights *rights,
				  struct ug_socket *sock, uint32_t mark)
{
	return rights ? rights->ops->set_mark(rights->arg, sock, mark)
		      : ug_set_mark(sock, mark);
}

#endif /* ENGINE_RIGHTS_H */
