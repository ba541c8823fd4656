/* SPDX-License-Identifier: MIT */
/*
 * The engine's end: the rights of engine/rights.h, had by asking the keeper. A request
 * waits for its reply; the keeper answers at once. If the keeper is gone, the loop is
 * stopped: an engine does not outlive its keeper.
 *
 * Control thread.
 */
#ifndef KEEPER_CLIENT_H
#define KEEPER_CLIENT_H

#include "engine/loop.h"
#include "engine/rights.h"
#include "keeper/news.h"
#include "tun/tun.h"

enum {
	/* Sockets at once: those in use, and new ones while the port changes. */
	CLIENT_SETS = 2,
};

/**
 * struct client_start - what an engine gets from the keeper at its start
 * @hello:	the message
 * @tun_fds:	the queues
 * @uapi_fd:	the configuration socket
 * @stats_fd:	the statistics socket; -1: there is none
 * @kept:	the descriptors that were kept; -1: nothing is in that slot
 * @link_fd:	the connection to the predecessor; -1: there is none
 */
struct client_start {
	struct hello hello;
	int tun_fds[QUEUES_MAX];
	int uapi_fd;
	int stats_fd;
	int kept[REQUEST_SLOTS];
	int link_fd;
};

/**
 * struct client - the connection to the keeper
 * @rights:	for struct engine_config
 * @fd:		for requests
 * @news_fd:	for news
 * @loop:	watches @news_fd; stopped when the keeper is gone, or says so
 * @watch:	of the loop
 * @is_watched:	@watch is in the loop
 * @news:	who is told
 * @news_arg:	for @news
 * @pinged:	called when the keeper wants to know the state
 * @ping_arg:	for @pinged
 * @succeeded:	called when there is a successor, with the connection to it, which it
 *		consumes; NULL: this engine has none
 * @succeeded_arg: for @succeeded
 * @sets:	sockets, and the keeper's numbers of them; NULL: none
 * @steering_err: of the sockets that were opened last
 * @number:	of the last request
 * @steps:	the texts of the last report
 */
struct client {
	struct rights rights;
	int fd;
	int news_fd;
	struct loop *loop;
	struct loop_watch watch;
	bool is_watched;
	const struct rights_news *news;
	void *news_arg;
	void (*pinged)(void *arg);
	void *ping_arg;
	void (*succeeded)(void *arg, int link_fd);
	void *succeeded_arg;
	struct {
		struct ug_socket *sock;
		uint32_t id;
	} sets[CLIENT_SETS];
	int steering_err;
	uint16_t number;
	char steps[2][REPLY_STEP_CAP];
};

/**
 * client_open() - take the descriptors of an engine
 * @client:	caller's storage
 * @loop:	borrowed
 * @fd:		for requests. The kernel is asked about interfaces by it, too: an engine
 *		can make no socket.
 * @news_fd:	for news
 */
void client_open(struct client *client, struct loop *loop, int fd, int news_fd);

/**
 * client_receive_start() - wait for the first message of the keeper
 * @client:	client
 * @start:	filled
 *
 * Return: 0; -EPIPE: the keeper is gone; -EPROTO; -errno.
 */
int client_receive_start(struct client *client, struct client_start *start);

/* client_hear() - take the news that have come, without waiting */
void client_hear(struct client *client);

/* client_make_tun() - make a queue of what the keeper has told of it */
void client_make_tun(struct tun *tun, const struct tun_sys *sys,
		     const struct hello_tun *from, int fd);

/* client_remove_files() - have the sockets' files removed */
void client_remove_files(struct client *client);

/* client_keep() - have a descriptor kept for the next engine, in the place of the one in
 * that slot. Return: 0; -errno. */
int client_keep(struct client *client, uint32_t slot, int fd);

/* client_report_ready() - tell that the engine serves. Return: 0; -errno. */
int client_report_ready(struct client *client);

/* client_report_failure() - tell that the engine could not start, and why */
void client_report_failure(struct client *client, const char *why, int err);

/* client_report_state() - tell what the service manager is told */
void client_report_state(struct client *client,
			 const struct request_state *state);

/* client_close() - close the connection; once more does nothing */
void client_close(struct client *client);

#endif /* KEEPER_CLIENT_H */
