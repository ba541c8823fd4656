/* SPDX-License-Identifier: MIT */
/*
 * What the keeper tells the engine. At the start it sends one message with all
 * descriptors, by the socket for requests. Later it sends news by another socket. The
 * engine trusts the keeper, and does not check what it sends.
 */
#ifndef KEEPER_NEWS_H
#define KEEPER_NEWS_H

#include <net/if.h>
#include <stdint.h>

#include "engine/bounds.h"
#include "keeper/request.h"
#include "tun/link.h"
#include "tun/overlay.h"

/* The descriptors that an engine has at its start, besides 0 to 2. */
enum {
	ENGINE_REQUESTS_FD = 3,
	ENGINE_NEWS_FD,
	ENGINE_FIRST_FREE_FD,
};

/**
 * struct hello_tun - a queue of the TUN; see struct tun
 */
struct hello_tun {
	uint32_t ifindex;
	uint32_t features;
	uint32_t kinds;
	uint32_t has_queues;
	char name[IFNAMSIZ];
};

/**
 * struct hello - the first message that an engine gets, by its socket for requests
 * @version:	REQUEST_VERSION
 * @n_queues:	queues; their descriptors come first
 * @is_steered:	see struct engine_config
 * @has_stats:	the descriptor of the statistics socket follows that of the
 *		configuration socket
 * @is_managed:	a service manager wants to know the state
 * @kept:	bit i: the descriptor that was kept in slot i follows
 * @is_successor: the engine is to take the place of another one; the last descriptor is
 *		its end of the connection to that one (cli/handover.h)
 * @tuns:	the queues
 */
struct hello {
	uint32_t version;
	uint32_t n_queues;
	uint32_t is_steered;
	uint32_t has_stats;
	uint32_t is_managed;
	uint32_t kept;
	uint32_t is_successor;
	struct hello_tun tuns[QUEUES_MAX];
};

#define HELLO_FDS_MAX (QUEUES_MAX + 2 + REQUEST_SLOTS + 1)

enum {
	NEWS_RENEW = 1 << 0,	/* see struct rights_news */
	NEWS_PING = 1 << 1,	/* answer by REQUEST_STATE */
	NEWS_STOP = 1 << 2,	/* end, with status 0 */
	NEWS_OVERLAYS = 1 << 3, /* @overlays counts */
	/* A successor is there: the descriptor is this engine's end of the connection
	 * to it. */
	NEWS_SUCCESSOR = 1 << 4,
};

/**
 * struct news - what happened since the last message
 * @version:	REQUEST_VERSION
 * @flags:	NEWS_*
 * @families:	see network() of struct rights_news
 * @events:	see link() of struct rights_news
 * @link:	the interface
 * @overlays:	the ports of the kernel's tunnel devices
 */
struct news {
	uint32_t version;
	uint32_t flags;
	uint32_t families;
	struct link_events events;
	struct link_state link;
	struct overlays overlays;
};

#endif /* KEEPER_NEWS_H */
