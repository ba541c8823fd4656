/* SPDX-License-Identifier: MIT */
/* See client.h. */
#include "keeper/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/descriptors.h"
#include "base/log.h"
#include "keeper/channel.h"
#include "udpgather/parts.h"

enum {
	/* Attempts to receive a reply. A choice: a second one is needed only if a
	 * reply could not be received. */
	TRIES = 100,
};

static void begin(struct request *request, enum request_kind kind)
{
	memset(request, 0, sizeof(*request));
	request->head.version = REQUEST_VERSION;
	request->head.kind = (uint8_t)kind;
}

/*
 * Receive the reply to the last request. A reply with another number belongs to an
 * earlier request, whose reply could not be received. Return: 0; -EPIPE; -errno.
 */
static int receive_reply(struct client *c, struct reply *reply, int *fds,
			 unsigned int *n_fds)
{
	ssize_t n = 0;

	for (int i = 0; i < TRIES; i++) {
		n = channel_receive(c->fd, reply, sizeof(*reply), fds, n_fds,
				    0);
		if (n == 0)
			return -EPIPE;
		if (n == (ssize_t)sizeof(*reply) && reply->number == c->number)
			return 0;
		close_all(fds, *n_fds);
	}
	return n < 0 ? (int)n : -EPROTO;
}

/*
 * Send a request, and wait for the reply. @fds has room for CHANNEL_FDS_MAX, and gets
 * the descriptors of the reply. Return: the reply's error; -EPIPE.
 */
static int ask(struct client *c, struct request *request, int fd,
	       struct reply *reply, int *fds, unsigned int *n_fds)
{
	int none[CHANNEL_FDS_MAX], err;
	unsigned int n_none;

	request->head.number = ++c->number;
	err = channel_send(c->fd, request, request_len(request->head.kind), &fd,
			   fd >= 0, 0);
	if (err == 0)
		err = receive_reply(c, reply, fds ? fds : none,
				    n_fds ? n_fds : &n_none);
	return err < 0 ? err : reply->err;
}

static int ask_plain(struct client *c, struct request *request)
{
	struct reply reply = { 0 };

	return ask(c, request, -1, &reply, NULL, NULL);
}

/* ------------------------------------------------------------ the sockets */

static void take_report(struct client *c, const struct reply *reply,
			struct ug_report *report)
{
	struct ug_family_report *both[] = { &report->v4, &report->v6 };

	report->port = (uint16_t)reply->port;
	for (int f = 0; f < 2; f++) {
		const struct reply_family *from = &reply->families[f];

		memcpy(c->steps[f], from->step, REPLY_STEP_CAP);
		c->steps[f][REPLY_STEP_CAP - 1] = 0;
		*both[f] = (struct ug_family_report){
			.err = from->err,
			.step = c->steps[f][0] ? c->steps[f] : NULL,
			.rcvbuf = from->rcvbuf,
			.sndbuf = from->sndbuf,
		};
	}
}

/* The descriptors of socket @i, family by family, the main socket first; @used of them
 * belong to sockets before. Return: how many are used now; -EPROTO. */
static int take_parts(struct ug_parts *parts, const struct reply *reply,
		      unsigned int i, const int *fds, unsigned int n_fds,
		      unsigned int used)
{
	*parts = (struct ug_parts){ .fds = { -1, -1 },
				    .port = (uint16_t)reply->port };
	for (int f = 0; f < 2; f++) {
		unsigned int n = reply->families[f].n_fds;

		if (i && n)
			n = 1;
		if (n > 1 + UG_MAX_SIDE_SOCKETS || n > n_fds - used)
			return -EPROTO;
		if (!n)
			continue;
		parts->fds[f] = fds[used++];
		parts->sndbuf[f] = reply->families[f].sndbuf;
		while (parts->n_sides[f] < n - 1)
			parts->sides[f][parts->n_sides[f]++] = fds[used++];
	}
	return (int)used;
}

static void close_set(struct client *c, uint32_t id)
{
	struct request request;

	begin(&request, REQUEST_CLOSE);
	request.close.set = id;
	(void)ask_plain(c, &request);
}

/* Make @n sockets of the descriptors of a reply. On failure none is left, and all
 * descriptors are closed. Return: 0; -errno. */
static int adopt_all(struct ug_socket **out, unsigned int n,
		     const struct ug_options *opt, const struct reply *reply,
		     const int *fds, unsigned int n_fds)
{
	unsigned int done = 0, used = 0;
	int err = 0;

	while (done < n && err == 0) {
		struct ug_parts parts;
		int r = take_parts(&parts, reply, done, fds, n_fds, used);

		err = r < 0 ? r
			    : ug_parts_adopt(&out[done], &parts, opt,
					     done ? out[0] : NULL, n > 1);
		if (err < 0)
			break;
		used = (unsigned int)r;
		done++;
	}
	if (err == 0)
		return 0;
	while (done)
		ug_close(out[--done]);
	while (used < n_fds)
		close(fds[used++]);
	return err;
}

static int op_open_group(void *arg, const struct ug_options *opt,
			 struct ug_socket **out, unsigned int n,
			 struct ug_report *report)
{
	struct client *c = arg;
	struct request request;
	struct reply reply = { 0 };
	int fds[CHANNEL_FDS_MAX], err, i = 0;
	unsigned int n_fds = 0;

	while (i < CLIENT_SETS && c->sets[i].sock)
		i++;
	if (i == CLIENT_SETS)
		return -EBUSY;
	begin(&request, REQUEST_OPEN);
	request.open.port = opt->port;
	request.open.mark = opt->mark;
	request.open.n = (uint8_t)n;
	err = ask(c, &request, -1, &reply, fds, &n_fds);
	take_report(c, &reply, report);
	if (err < 0)
		return err;
	err = adopt_all(out, n, opt, &reply, fds, n_fds);
	if (err < 0) {
		close_set(c, reply.set);
		return err;
	}
	c->steering_err = reply.steering_err;
	c->sets[i].sock = out[0];
	c->sets[i].id = reply.set;
	return 0;
}

static int op_open(void *arg, const struct ug_options *opt,
		   struct ug_socket **out, struct ug_report *report)
{
	return op_open_group(arg, opt, out, 1, report);
}

/* The keeper has tried this when it opened the sockets, and has told what came of it. */
static int op_steer(void *arg, struct ug_socket *first, unsigned int n)
{
	struct client *c = arg;

	(void)first;
	(void)n;
	return c->steering_err;
}

/* The keeper knows a group by its first socket, which is closed last. */
static void op_close(void *arg, struct ug_socket *sock)
{
	struct client *c = arg;

	ug_close(sock);
	for (int i = 0; i < CLIENT_SETS; i++) {
		if (c->sets[i].sock != sock)
			continue;
		c->sets[i].sock = NULL;
		close_set(c, c->sets[i].id);
	}
}

/* The keeper marks the whole group; only the first socket counts. */
static int op_set_mark(void *arg, struct ug_socket *sock, uint32_t mark)
{
	struct client *c = arg;
	struct request request;

	begin(&request, REQUEST_MARK);
	request.mark.mark = mark;
	for (int i = 0; i < CLIENT_SETS; i++)
		if (c->sets[i].sock == sock)
			request.mark.set = c->sets[i].id;
	return request.mark.set ? ask_plain(c, &request) : 0;
}

/* ------------------------------------------------------------ questions */

static void op_ask(void *arg, uint32_t mark, const struct rights_question *from,
		   struct rights_answer *answers, unsigned int n)
{
	struct client *c = arg;
	struct request request;
	struct reply reply = { 0 };
	int err;

	begin(&request, REQUEST_ASK);
	request.ask.mark = mark;
	request.ask.n = n;
	for (unsigned int i = 0; i < n; i++) {
		struct request_question *q = &request.ask.questions[i];

		q->is_v6 = from[i].is_v6;
		memcpy(q->source, from[i].source, sizeof(q->source));
		memcpy(q->destination, from[i].destination,
		       sizeof(q->destination));
		q->source_port = from[i].source_port;
		q->destination_port = from[i].destination_port;
		q->ifindex = from[i].ifindex;
	}
	err = ask(c, &request, -1, &reply, NULL, NULL);
	for (unsigned int i = 0; i < n; i++) {
		answers[i] = (struct rights_answer){ 0 };
		if (err < 0 || reply.answers[i].kind > RIGHTS_WAY)
			continue;
		answers[i].kind =
			(enum rights_answer_kind)reply.answers[i].kind;
		answers[i].ifindex = reply.answers[i].ifindex;
	}
}

/* ------------------------------------------------------------ news */

static void take_news(struct client *c, const struct news *news)
{
	if (c->news) {
		if (news->flags & NEWS_OVERLAYS)
			c->news->overlays(c->news_arg, &news->overlays);
		c->news->state(c->news_arg, &news->link);
		for (unsigned int i = 0;
		     i < news->events.cnt && i < LINK_EVENTS_MAX; i++)
			c->news->link(c->news_arg, news->events.kinds[i]);
		if (news->families)
			c->news->network(c->news_arg, news->families);
		if (news->flags & NEWS_RENEW)
			c->news->renew(c->news_arg);
	}
	if (news->flags & NEWS_PING && c->pinged)
		c->pinged(c->ping_arg);
	if (news->flags & NEWS_STOP)
		loop_stop(c->loop, 0);
}

/* Take one message. Return: its length, as of channel_receive(). */
static ssize_t hear_one(struct client *c)
{
	int fds[CHANNEL_FDS_MAX];
	unsigned int n_fds;
	struct news news;
	ssize_t n = channel_receive(c->news_fd, &news, sizeof(news), fds,
				    &n_fds, MSG_DONTWAIT);

	if (n == (ssize_t)sizeof(news))
		take_news(c, &news);
	if (n == (ssize_t)sizeof(news) && n_fds &&
	    news.flags & NEWS_SUCCESSOR && c->succeeded)
		c->succeeded(c->succeeded_arg, fds[--n_fds]);
	close_all(fds, n_fds);
	return n;
}

void client_hear(struct client *c)
{
	while (hear_one(c) > 0)
		;
}

static void news_ready(struct loop_watch *watch, uint32_t events)
{
	struct client *c = watch->arg;
	ssize_t n;

	(void)events;
	n = hear_one(c);
	if (n == (ssize_t)sizeof(struct news))
		return;
	if (n == 0)
		loop_stop(c->loop, -EPIPE);
	else if (n != -EAGAIN)
		loop_fail(c->loop, watch, "news of the keeper",
			  n < 0 ? (int)n : -EPROTO);
}

static int op_start(void *arg, const struct rights_news *news, void *news_arg)
{
	struct client *c = arg;
	int err;

	c->news = news;
	c->news_arg = news_arg;
	c->watch = (struct loop_watch){ .fd = c->news_fd,
					.ready = news_ready,
					.arg = c };
	err = loop_add(c->loop, &c->watch, EPOLLIN);
	c->is_watched = err == 0;
	return err;
}

static void op_stop(void *arg)
{
	struct client *c = arg;

	if (c->is_watched)
		loop_remove(c->loop, &c->watch);
	c->is_watched = false;
}

static const struct rights_ops ops = {
	.start = op_start,
	.stop = op_stop,
	.open = op_open,
	.open_group = op_open_group,
	.steer = op_steer,
	.close = op_close,
	.set_mark = op_set_mark,
	.ask = op_ask,
};

/* ------------------------------------------------------------ the rest */

void client_open(struct client *c, struct loop *loop, int fd, int news_fd)
{
	*c = (struct client){
		.rights = { .ops = &ops, .arg = c },
		.fd = fd,
		.news_fd = news_fd,
		.loop = loop,
	};
	ug_endpoint_ask_by(fd);
}

/* Hand the descriptors out, in the order in which struct hello names them. Return: 0;
 * -EPROTO. */
static int take_fds(struct client_start *start, const int *fds,
		    unsigned int n_fds)
{
	const struct hello *hello = &start->hello;
	unsigned int used = 0, wanted;

	wanted = hello->n_queues + 1 + (hello->has_stats ? 1 : 0) +
		 (hello->is_successor ? 1 : 0) +
		 (unsigned int)__builtin_popcount(hello->kept);
	if (hello->n_queues < 1 || hello->n_queues > QUEUES_MAX ||
	    wanted != n_fds)
		return -EPROTO;
	while (used < hello->n_queues) {
		start->tun_fds[used] = fds[used];
		used++;
	}
	start->uapi_fd = fds[used++];
	start->stats_fd = hello->has_stats ? fds[used++] : -1;
	for (unsigned int i = 0; i < REQUEST_SLOTS; i++)
		start->kept[i] = hello->kept & 1U << i ? fds[used++] : -1;
	start->link_fd = hello->is_successor ? fds[used++] : -1;
	return 0;
}

int client_receive_start(struct client *c, struct client_start *start)
{
	int fds[CHANNEL_FDS_MAX];
	unsigned int n_fds;
	ssize_t n = channel_receive(c->fd, &start->hello, sizeof(start->hello),
				    fds, &n_fds, 0);

	if (n < 0)
		return (int)n;
	if (n != (ssize_t)sizeof(start->hello))
		return n ? -EPROTO : -EPIPE;
	if (start->hello.version != REQUEST_VERSION)
		return -EPROTO;
	return take_fds(start, fds, n_fds);
}

void client_make_tun(struct tun *tun, const struct tun_sys *sys,
		     const struct hello_tun *from, int fd)
{
	*tun = (struct tun){
		.sys = sys,
		.fd = fd,
		.ifindex = from->ifindex,
		.features = from->features,
		.kinds = from->kinds,
		.has_queues = from->has_queues,
		.is_lent = true,
	};
	memcpy(tun->name, from->name, sizeof(tun->name));
}

void client_remove_files(struct client *c)
{
	struct request request;

	begin(&request, REQUEST_REMOVE);
	(void)ask_plain(c, &request);
}

int client_keep(struct client *c, uint32_t slot, int fd)
{
	struct request request;
	struct reply reply = { 0 };

	begin(&request, REQUEST_KEEP);
	request.keep.slot = slot;
	return ask(c, &request, fd, &reply, NULL, NULL);
}

int client_report_ready(struct client *c)
{
	struct request request;

	begin(&request, REQUEST_READY);
	return ask_plain(c, &request);
}

void client_report_failure(struct client *c, const char *why, int err)
{
	struct request request;

	begin(&request, REQUEST_FAILED);
	request.failed.err = err < 0 ? err : 0;
	snprintf(request.failed.why, sizeof(request.failed.why), "%s", why);
	for (char *p = request.failed.why; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	(void)ask_plain(c, &request);
}

void client_report_state(struct client *c, const struct request_state *state)
{
	struct request request;

	begin(&request, REQUEST_STATE);
	request.state = *state;
	(void)ask_plain(c, &request);
}

void client_close(struct client *c)
{
	if (c->fd < 0)
		return;
	op_stop(c);
	close(c->fd);
	close(c->news_fd);
	c->fd = c->news_fd = -1;
}
