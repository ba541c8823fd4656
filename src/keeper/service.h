/* SPDX-License-Identifier: MIT */
/*
 * The keeper's end: it serves the requests of the engine, and passes on what it hears.
 * Nothing here allocates memory.
 *
 * Main thread of the keeper, which has no other one.
 */
#ifndef KEEPER_SERVICE_H
#define KEEPER_SERVICE_H

#include "engine/bounds.h"
#include "engine/local.h"
#include "engine/loop.h"
#include "keeper/news.h"
#include "keeper/request.h"
#include "udpgather/parts.h"

enum {
	/* Sockets at once: those in use, and new ones while the port changes. */
	SERVICE_SETS = 2,
	/* The most descriptors of a set: of each family one for each socket, and the
	 * side sockets of the first. */
	SERVICE_FDS_MAX = 2 * (REQUEST_SOCKETS_MAX + SIDE_SOCKETS),
};

/**
 * struct service_ops - what the owner is told
 * @ready:	the engine serves
 * @state:	the engine tells its state
 * @failed:	the engine could not start. Not called after @ready.
 * @remove_files: the sockets' files are to be removed
 * @changed:	the sockets have changed, or what is kept; NULL: nobody wants to know
 * @await_port:	the port that the engine asks for is in use. If somebody may close old
 *		sockets of it soon, wait for some milliseconds, and return true: the
 *		service tries again. NULL: nobody closes any.
 * @gone:	the engine has closed its connection, most likely because it has ended
 * @broken:	the engine has sent what no engine sends: it must be ended
 *
 * All get the @arg of service_init().
 */
struct service_ops {
	void (*ready)(void *arg);
	void (*state)(void *arg, const struct request_state *state);
	void (*failed)(void *arg, const struct request_failed *failed);
	void (*remove_files)(void *arg);
	void (*changed)(void *arg);
	bool (*await_port)(void *arg);
	void (*gone)(void *arg);
	void (*broken)(void *arg);
};

/**
 * struct service_set - UDP sockets that the engine has, too
 * @id:		their number; 0: none
 * @n:		sockets
 * @parts:	the sockets
 * @was_found:	a process before this one has left them behind
 * @steering_err: of the reply to REQUEST_OPEN
 * @families:	of that reply
 */
struct service_set {
	uint32_t id;
	unsigned int n;
	struct ug_parts parts[REQUEST_SOCKETS_MAX];
	bool was_found;
	int steering_err;
	struct reply_family families[2];
};

/**
 * struct service - the connection to an engine
 * @loop:	borrowed
 * @local:	borrowed
 * @ops:	borrowed
 * @arg:	for @ops
 * @finds_mtu:	see port_get_options()
 * @fd:		for requests; -1: there is no engine
 * @news_fd:	for news
 * @requests:	of the loop
 * @retry:	to send news for which there was no room, or that may wait
 * @is_ready:	the engine serves
 * @pending:	news that were not sent yet
 * @has_pending: @pending has something
 * @told:	the interface as the engine knows it
 * @last_id:	number of the sockets that were opened last
 * @sets:	sockets
 * @kept:	descriptors for the next engine; -1: none
 * @found:	sockets that a process before this one has left behind, for the first
 *		engine that asks for such ones; its n is 0 if there are none
 * @lender:	the engine is the successor of the one that this serves, which still has
 *		the sockets, and hears the news; NULL: it is not
 * @lent_id:	the sockets of @lender that this engine has; 0: none
 * @hears:	the news of @local come to this engine
 * @is_offered:	the engine has a successor, which may take over at any time
 * @late_flags:	flags of all news since then. The engine may not have read them, so the
 *		successor gets them, too.
 * @late_families: families of these news
 */
struct service {
	struct loop *loop;
	struct local *local;
	const struct service_ops *ops;
	void *arg;
	bool finds_mtu;
	int fd;
	int news_fd;
	struct loop_watch requests;
	struct loop_timer retry;
	bool is_ready;
	struct news pending;
	bool has_pending;
	struct link_state told;
	uint32_t last_id;
	struct service_set sets[SERVICE_SETS];
	int kept[REQUEST_SLOTS];
	struct service_set found;
	struct service *lender;
	uint32_t lent_id;
	bool hears;
	bool is_offered;
	uint32_t late_flags;
	uint32_t late_families;
};

/* service_init() - no engine yet; caller's storage */
void service_init(struct service *service, struct loop *loop,
		  struct local *local, const struct service_ops *ops,
		  void *arg);

/* service_close_set() - close the sockets of a set, which is empty then */
void service_close_set(struct service_set *set);

/* service_list_set() - the descriptors of a set, into SERVICE_FDS_MAX places. Return: their
 * count. */
unsigned int service_list_set(const struct service_set *set, int *fds);

/**
 * service_find_sockets() - use sockets that a process before this one has left behind
 * @service:	service
 * @set:	n, and the descriptors of its parts; consumed
 *
 * If they are no UDP sockets of one port, they are closed.
 */
void service_find_sockets(struct service *service,
			  const struct service_set *set);

/* service_get_found() - those of service_find_sockets() that can be used; NULL: there are
 * none */
const struct service_set *service_get_found(const struct service *service);

/* service_get_set() - the sockets in use; NULL: there are none */
const struct service_set *service_get_set(const struct service *service);

/**
 * service_start() - serve an engine
 * @service:	without an engine
 * @fd:		for requests, consumed
 * @news_fd:	for news, consumed
 * @hello:	what the engine is told of @fds
 * @fds:	descriptors for the engine; stay the caller's. Kept ones are added.
 * @n_fds:	their count
 *
 * Return: 0; -errno.
 */
int service_start(struct service *service, int fd, int news_fd,
		  const struct hello *hello, const int *fds,
		  unsigned int n_fds);

/**
 * service_start_successor() - serve an engine that is to take the place of another one
 * @service:	without an engine
 * @lender:	serves the other one
 * @fd:		for requests, consumed
 * @news_fd:	for news, consumed
 * @hello:	what the engine is told of @fds
 * @fds:	descriptors for the engine; stay the caller's. The last one is its end of
 *		the connection to the other engine.
 * @n_fds:	their count
 *
 * If the engine asks for sockets as the other one has them, it gets these. It hears how
 * the interface is, and no more, until service_take_over().
 *
 * Return: 0; -errno.
 */
int service_start_successor(struct service *service, struct service *lender,
			    int fd, int news_fd, const struct hello *hello,
			    const int *fds, unsigned int n_fds);

/**
 * service_offer() - tell an engine that it has a successor
 * @service:	with an engine
 * @link:	its end of the connection to the successor; stays the caller's
 *
 * Return: 0; -EAGAIN: the engine has too many messages that it has not read; -errno.
 */
int service_offer(struct service *service, int link);

/* service_hear() - have the news come to an engine. Return: 0; -errno. */
int service_hear(struct service *service);

/* service_take_over() - the successor has taken the other engine's place: it has the
 * sockets that it was lent and those that it has opened, and hears the news. The others
 * stay with the other engine until its service_end(). Return: 0; -errno: it does not hear
 * the news, and service_hear() may be tried again. */
int service_take_over(struct service *service);

/* service_move_kept() - what one engine has had kept is for the next engine of another
 * service */
void service_move_kept(struct service *to, struct service *from);

/* service_stop_engine() - tell the engine to end */
void service_stop_engine(struct service *service);

/* service_ping() - ask the engine for its state */
void service_ping(struct service *service);

/* service_end() - the engine is gone: close its connection, and the sockets that it has
 * not lent or given to a successor */
void service_end(struct service *service);

#endif /* KEEPER_SERVICE_H */
