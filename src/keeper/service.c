/* SPDX-License-Identifier: MIT */
/*
 * News are collected in one message until the engine has room for it. Each message has
 * the whole state of the interface, so a late one is as good as several in time. Only the
 * order of different kinds of news within a message is lost. News of the network may come
 * thousands of times a second, so they wait a little, and leave together.
 */
#include "keeper/service.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/descriptors.h"
#include "base/log.h"
#include "base/now.h"
#include "engine/port.h"
#include "engine/sock_group.h"
#include "keeper/channel.h"

/* News that found no room are sent again after this time. News of the network wait for
 * it, too. A choice: the engine waits longer before it looks at its sources
 * (engine/sticky.c). */
#define LATER_NS (20 * NSEC_PER_MSEC)

static_assert((int)REQUEST_SOCKETS_MAX == (int)QUEUES_MAX, "as many sockets");
static_assert((int)SERVICE_FDS_MAX <= (int)CHANNEL_FDS_MAX,
	      "all sockets go into one message");

enum {
	/* Requests that are served before the loop looks at other descriptors. A
	 * choice. */
	REQUESTS_MAX = 16,
};

/* ------------------------------------------------------------ news */

static void flush(struct service *s)
{
	int err;

	if (!s->has_pending || s->news_fd < 0)
		return;
	if (s->is_offered) {
		s->late_flags |= s->pending.flags & NEWS_RENEW;
		s->late_families |= s->pending.families;
	}
	s->pending.version = REQUEST_VERSION;
	s->pending.link = s->local->link.state;
	err = channel_send(s->news_fd, &s->pending, sizeof(s->pending), NULL, 0,
			   MSG_DONTWAIT);
	if (err == -EAGAIN) {
		loop_set_timer(s->loop, &s->retry, now_monotonic() + LATER_NS);
		return;
	}
	/* If the engine is gone, its end is told otherwise. */
	loop_clear_timer(s->loop, &s->retry);
	s->told = s->pending.link;
	s->has_pending = false;
	s->pending.flags = s->pending.families = 0;
	s->pending.events.cnt = 0;
}

static void retry_ready(struct loop_timer *timer)
{
	flush(timer->arg);
}

static void flush_later(struct service *s)
{
	s->has_pending = true;
	if (!s->retry.is_set)
		loop_set_timer(s->loop, &s->retry, now_monotonic() + LATER_NS);
}

static void add_flag(struct service *s, uint32_t flag)
{
	s->pending.flags |= flag;
	s->has_pending = true;
	flush(s);
}

/* Do two states of the interface differ? The sequence number of the last question to the
 * kernel does not count. */
static bool differs(const struct link_state *a, const struct link_state *b)
{
	return a->ifindex != b->ifindex || a->nsid != b->nsid ||
	       a->home_nsid != b->home_nsid || a->mtu != b->mtu ||
	       a->up != b->up || a->deleted != b->deleted ||
	       strcmp(a->name, b->name) != 0 ||
	       !broadcasts_are_equal(&a->broadcasts, &b->broadcasts);
}

static void hear_state(void *arg, const struct link_state *state)
{
	struct service *s = arg;

	if (differs(&s->told, state))
		flush_later(s);
}

static void hear_link(void *arg, enum link_event event)
{
	struct service *s = arg;
	struct link_events *events = &s->pending.events;

	/* The list is full if the engine has not read for a while. The oldest
	 * change is left out: the state says how the interface is now. */
	if (events->cnt == LINK_EVENTS_MAX) {
		memmove(&events->kinds[0], &events->kinds[1],
			(LINK_EVENTS_MAX - 1) * sizeof(events->kinds[0]));
		events->cnt--;
	}
	events->kinds[events->cnt++] = event;
	if (event == LINK_RENAMED)
		log_set_name(s->local->link.state.name);
	s->has_pending = true;
	flush(s);
}

static void hear_overlays(void *arg, const struct overlays *set)
{
	struct service *s = arg;

	if (!memcmp(&s->pending.overlays, set, sizeof(*set)))
		return;
	s->pending.overlays = *set;
	/* Sent at once: other programs may use a port that a device gives up. */
	add_flag(s, NEWS_OVERLAYS);
}

static void hear_network(void *arg, unsigned int families)
{
	struct service *s = arg;

	s->pending.families |= families;
	flush_later(s);
}

static void hear_renewal(void *arg)
{
	add_flag(arg, NEWS_RENEW);
}

static const struct rights_news news = {
	.state = hear_state,
	.link = hear_link,
	.overlays = hear_overlays,
	.network = hear_network,
	.renew = hear_renewal,
};

/* ------------------------------------------------------------ requests */

static struct service_set *find_set(struct service *s, uint32_t id)
{
	for (int i = 0; i < SERVICE_SETS; i++)
		if (s->sets[i].id == id)
			return &s->sets[i];
	return NULL;
}

static void report_family(struct reply_family *to,
			  const struct ug_family_report *from)
{
	to->err = from->err;
	to->rcvbuf = (uint32_t)from->rcvbuf;
	to->sndbuf = (uint32_t)from->sndbuf;
	if (from->step)
		snprintf(to->step, sizeof(to->step), "%s", from->step);
}

/* Add the descriptors of a family to @n that are there. Return: the new count. */
static unsigned int add_fds(int *fds, unsigned int n,
			    const struct ug_parts *parts, int f)
{
	if (parts->fds[f] < 0)
		return n;
	fds[n++] = parts->fds[f];
	for (unsigned int i = 0; i < parts->n_sides[f]; i++)
		fds[n++] = parts->sides[f][i];
	return n;
}

/* Have the kernel choose the socket of a group. Return: 0; -errno. */
static int steer(const struct service_set *set)
{
	struct sock_filter code[SOCK_GROUP_PROGRAM_LEN];
	const struct sock_fprog program = { SOCK_GROUP_PROGRAM_LEN, code };

	sock_group_write_program(code, set->n);
	for (int f = 0; f < 2; f++)
		if (set->parts[0].fds[f] >= 0 &&
		    setsockopt(set->parts[0].fds[f], SOL_SOCKET,
			       SO_ATTACH_REUSEPORT_CBPF, &program,
			       sizeof(program)) < 0)
			return -errno;
	return 0;
}

/* Return: 0; -errno. */
static int open_set(struct service *s, struct service_set *set,
		    const struct request_open *open, struct ug_report *report)
{
	struct ug_options opt;

	port_get_options(&opt, s->finds_mtu);
	opt.port = open->port;
	opt.mark = open->mark;
	set->n = open->n;
	*report = (struct ug_report){ .size = sizeof(*report) };
	if (open->n == 1)
		return ug_parts_open(&set->parts[0], &opt, report);
	return ug_parts_open_group(set->parts, open->n, &opt, report);
}

static void tell_change(struct service *s)
{
	if (s->ops->changed)
		s->ops->changed(s->arg);
}

void service_close_set(struct service_set *set)
{
	for (unsigned int i = 0; i < set->n; i++)
		ug_parts_close(&set->parts[i]);
	set->n = 0;
	set->id = 0;
	set->was_found = false;
}

/* Hand out the sockets. */
static void give_set(const struct service_set *set, struct reply *reply,
		     int *fds, unsigned int *n_fds)
{
	memcpy(reply->families, set->families, sizeof(reply->families));
	reply->steering_err = set->steering_err;
	reply->set = set->id;
	reply->port = set->parts[0].port;
	for (unsigned int i = 0; i < set->n; i++)
		for (int f = 0; f < 2; f++) {
			unsigned int before = *n_fds;

			*n_fds = add_fds(fds, before, &set->parts[i], f);
			if (!i)
				reply->families[f].n_fds = *n_fds - before;
		}
}

/* Is a set what an engine asks for? */
static bool fits(const struct service_set *set, const struct request_open *open)
{
	uint32_t mark = 0;

	return set->n == open->n && set->parts[0].port == open->port &&
	       ug_parts_get_mark(&set->parts[0], &mark) == 0 &&
	       mark == open->mark;
}

/* Give a successor the sockets of the other engine, if it asks for such ones. Return: 0;
 * -ENOENT. */
static int lend(struct service *s, const struct request_open *open,
		struct reply *reply, int *fds, unsigned int *n_fds)
{
	for (int i = 0; i < SERVICE_SETS; i++) {
		const struct service_set *set = &s->lender->sets[i];

		if (!set->id || !fits(set, open))
			continue;
		give_set(set, reply, fds, n_fds);
		s->lent_id = set->id;
		return 0;
	}
	return -ENOENT;
}

/* Use the sockets that were found, if the engine asks for such ones. If only the port fits,
 * they are closed: they would keep it in use. Return: 0; -ENOENT. */
static int use_found(struct service *s, struct service_set *set,
		     const struct request_open *open)
{
	if (!s->found.n || s->found.parts[0].port != open->port)
		return -ENOENT;
	if (!fits(&s->found, open)) {
		service_close_set(&s->found);
		/* The port is free only when nobody else keeps them any more. */
		tell_change(s);
		return -ENOENT;
	}
	*set = s->found;
	set->was_found = true;
	s->found.n = 0;
	return 0;
}

/* Return: 0; -errno. */
static int serve_open(struct service *s, const struct request_open *open,
		      struct reply *reply, int *fds, unsigned int *n_fds)
{
	/* A set has a number that no set of the other engine has. */
	struct service *numbers = s->lender ? s->lender : s;
	struct service_set *set = find_set(s, 0);
	struct ug_report report;
	int err;

	/* A successor opens sockets of its own if the other engine has none, because the
	 * interface was down, or if it asks for another port or mark. */
	if (s->lender && lend(s, open, reply, fds, n_fds) == 0)
		return 0;
	if (!set)
		return -EBUSY;
	if (use_found(s, set, open) < 0) {
		do {
			err = open_set(s, set, open, &report);
		} while (err == -EADDRINUSE && open->port &&
			 s->ops->await_port && s->ops->await_port(s->arg));
		report_family(&reply->families[0], &report.v4);
		report_family(&reply->families[1], &report.v6);
		if (err < 0)
			return err;
		memcpy(set->families, reply->families, sizeof(set->families));
	}
	set->steering_err = set->n > 1 ? steer(set) : 0;
	set->id = ++numbers->last_id;
	if (!set->id)
		set->id = numbers->last_id = 1;
	give_set(set, reply, fds, n_fds);
	tell_change(s);
	return 0;
}

static int serve_close(struct service *s, uint32_t id)
{
	struct service_set *set = id ? find_set(s, id) : NULL;

	/* The other engine may go on with what it has lent. */
	if (id && s->lender && id == s->lent_id) {
		s->lent_id = 0;
		return 0;
	}
	if (!set)
		return -ENOENT;
	/* An engine that starts may only try the port, and ask once more later. */
	if (set->was_found && !s->is_ready) {
		s->found = *set;
		set->id = 0;
		return 0;
	}
	service_close_set(set);
	tell_change(s);
	return 0;
}

static void close_sets(struct service *s)
{
	service_close_set(&s->found);
	for (int i = 0; i < SERVICE_SETS; i++)
		if (s->sets[i].id)
			(void)serve_close(s, s->sets[i].id);
}

/* Return: 0; -errno: all have the mark that they had. */
static int serve_mark(struct service *s, const struct request_mark *mark)
{
	struct service_set *set = mark->set ? find_set(s, mark->set) : NULL;
	uint32_t old = 0;
	int err;

	if (!set)
		return -ENOENT;
	err = ug_parts_get_mark(&set->parts[0], &old);
	if (err < 0)
		return err;
	for (unsigned int i = 0; i < set->n && err == 0; i++)
		err = ug_parts_set_mark(&set->parts[i], mark->mark);
	for (unsigned int i = 0; i < set->n && err < 0; i++)
		(void)ug_parts_set_mark(&set->parts[i], old);
	return err;
}

static void serve_ask(struct service *s, const struct request_ask *request,
		      struct reply *reply)
{
	struct rights_question questions[REQUEST_QUESTIONS_MAX];
	struct rights_answer answers[REQUEST_QUESTIONS_MAX];

	for (uint32_t i = 0; i < request->n; i++) {
		const struct request_question *from = &request->questions[i];
		struct rights_question *q = &questions[i];

		*q = (struct rights_question){
			.is_v6 = from->is_v6,
			.source_port = from->source_port,
			.destination_port = from->destination_port,
			.ifindex = from->ifindex,
		};
		memcpy(q->source, from->source, sizeof(q->source));
		memcpy(q->destination, from->destination,
		       sizeof(q->destination));
	}
	s->local->rights.ops->ask(s->local->rights.arg, request->mark,
				  questions, answers, request->n);
	for (uint32_t i = 0; i < request->n; i++) {
		reply->answers[i].kind = answers[i].kind;
		reply->answers[i].ifindex = answers[i].ifindex;
	}
}

static void serve_keep(struct service *s, uint32_t slot, int fd)
{
	if (s->kept[slot] >= 0)
		close(s->kept[slot]);
	s->kept[slot] = fd;
}

/* Serve a request that was checked. Return: 0; -errno: what the engine is told. */
static int serve(struct service *s, const struct request *request, int fd,
		 struct reply *reply, int *fds, unsigned int *n_fds)
{
	switch (request->head.kind) {
	case REQUEST_OPEN:
		return serve_open(s, &request->open, reply, fds, n_fds);
	case REQUEST_CLOSE:
		return serve_close(s, request->close.set);
	case REQUEST_MARK:
		return serve_mark(s, &request->mark);
	case REQUEST_ASK:
		serve_ask(s, &request->ask, reply);
		return 0;
	case REQUEST_REMOVE:
		s->ops->remove_files(s->arg);
		return 0;
	case REQUEST_KEEP:
		serve_keep(s, request->keep.slot, fd);
		tell_change(s);
		return 0;
	case REQUEST_STATE:
		s->ops->state(s->arg, &request->state);
		return 0;
	case REQUEST_READY:
		if (s->is_ready)
			return -EALREADY;
		s->is_ready = true;
		s->ops->ready(s->arg);
		return 0;
	case REQUEST_FAILED:
		if (s->is_ready)
			return -EALREADY;
		s->ops->failed(s->arg, &request->failed);
		return 0;
	default:
		return -EPROTO;
	}
}

/* Nothing more is heard of this engine, which is none of ours. */
static void refuse(struct service *s)
{
	loop_remove(s->loop, &s->requests);
	s->requests.fd = -1;
	s->ops->broken(s->arg);
}

/* An engine of ours reads each reply before it sends the next request. So there is room
 * for a reply, or the engine is another program. Return: false: there was no room. */
static bool send_reply(struct service *s, const struct reply *reply,
		       const int *fds, unsigned int n_fds)
{
	int err = channel_send(s->fd, reply, sizeof(*reply), fds, n_fds,
			       MSG_DONTWAIT);

	if (err == 0 || err == -EPIPE)
		return true;
	refuse(s);
	return false;
}

/* Take and answer one request. Return: false if there was none. */
static bool serve_one(struct service *s)
{
	int in[CHANNEL_FDS_MAX], out[CHANNEL_FDS_MAX];
	unsigned int n_in, n_out = 0;
	struct reply reply = { 0 };
	struct request request;
	ssize_t n = channel_receive(s->fd, &request, sizeof(request), in, &n_in,
				    MSG_DONTWAIT);

	if (n == -EAGAIN)
		return false;
	if (n == 0) {
		loop_remove(s->loop, &s->requests);
		s->requests.fd = -1;
		s->ops->gone(s->arg);
		return false;
	}
	if (n < 0 && n != -EMSGSIZE) {
		loop_fail(s->loop, &s->requests, "requests", (int)n);
		return false;
	}
	if (n < 0 || request_check(&request, (size_t)n, n_in) < 0) {
		close_all(in, n_in);
		refuse(s);
		return false;
	}
	reply.kind = request.head.kind;
	reply.number = request.head.number;
	reply.err = serve(s, &request, n_in ? in[0] : -1, &reply, out, &n_out);
	return send_reply(s, &reply, out, n_out);
}

static void requests_ready(struct loop_watch *watch, uint32_t events)
{
	struct service *s = watch->arg;

	(void)events;
	for (int i = 0; i < REQUESTS_MAX && s->fd >= 0; i++)
		if (!serve_one(s))
			return;
}

/* ------------------------------------------------------------ life */

void service_init(struct service *s, struct loop *loop, struct local *local,
		  const struct service_ops *ops, void *arg)
{
	*s = (struct service){
		.loop = loop,
		.local = local,
		.ops = ops,
		.arg = arg,
		.fd = -1,
		.news_fd = -1,
		.retry = { .ready = retry_ready, .arg = s },
	};
	for (int i = 0; i < REQUEST_SLOTS; i++)
		s->kept[i] = -1;
}

unsigned int service_list_set(const struct service_set *set, int *fds)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < set->n; i++)
		for (int f = 0; f < 2; f++)
			n = add_fds(fds, n, &set->parts[i], f);
	return n;
}

const struct service_set *service_get_set(const struct service *s)
{
	for (int i = 0; i < SERVICE_SETS; i++)
		if (s->sets[i].id)
			return &s->sets[i];
	return NULL;
}

/* Tell a new engine how the interface is. The engine has heard nothing yet, and the
 * kernel tells only what changes. */
static void tell_all(struct service *s)
{
	const struct link_state *state = &s->local->link.state;
	struct link_events *events = &s->pending.events;

	memset(&s->told, 0, sizeof(s->told));
	s->pending.flags = s->pending.families = 0;
	events->cnt = 0;
	/* Before the first message of the kernel there is nothing to tell. */
	if (!state->mtu)
		return;
	/* The ports of overlays are those that were told last. */
	s->pending.flags = NEWS_OVERLAYS;
	events->kinds[events->cnt++] = LINK_MTU;
	if (state->up)
		events->kinds[events->cnt++] = LINK_UP;
	/* The engine before this one may have been told, but have hung. */
	if (state->deleted)
		events->kinds[events->cnt++] = LINK_DELETED;
	s->has_pending = true;
	flush(s);
}

/* Send the first message. Return: 0; -errno. */
static int greet(struct service *s, int fd, int news_fd,
		 const struct hello *hello, const int *fds, unsigned int n_fds)
{
	int err;

	s->fd = fd;
	s->news_fd = news_fd;
	s->is_ready = false;
	s->requests = (struct loop_watch){ .fd = fd,
					   .ready = requests_ready,
					   .arg = s };
	err = loop_add(s->loop, &s->requests, EPOLLIN);
	if (err < 0)
		s->requests.fd = -1;
	return err < 0 ? err
		       : channel_send(fd, hello, sizeof(*hello), fds, n_fds,
				      MSG_DONTWAIT);
}

int service_hear(struct service *s)
{
	int err = s->local->rights.ops->start(s->local->rights.arg, &news, s);

	s->hears = err == 0;
	if (err == 0)
		tell_all(s);
	return err;
}

int service_start(struct service *s, int fd, int news_fd,
		  const struct hello *from, const int *from_fds,
		  unsigned int n_fds)
{
	struct hello hello = *from;
	int fds[CHANNEL_FDS_MAX], err;

	memcpy(fds, from_fds, n_fds * sizeof(*fds));
	hello.version = REQUEST_VERSION;
	for (unsigned int i = 0; i < REQUEST_SLOTS; i++) {
		if (s->kept[i] < 0)
			continue;
		hello.kept |= 1U << i;
		fds[n_fds++] = s->kept[i];
	}
	s->lender = NULL;
	err = greet(s, fd, news_fd, &hello, fds, n_fds);
	return err < 0 ? err : service_hear(s);
}

int service_start_successor(struct service *s, struct service *lender, int fd,
			    int news_fd, const struct hello *from,
			    const int *fds, unsigned int n_fds)
{
	struct hello hello = *from;
	int err;

	hello.version = REQUEST_VERSION;
	hello.is_successor = true;
	s->lender = lender;
	s->lent_id = 0;
	s->pending.overlays = lender->pending.overlays;
	err = greet(s, fd, news_fd, &hello, fds, n_fds);
	if (err == 0)
		tell_all(s);
	return err;
}

int service_offer(struct service *s, int link)
{
	const struct news offer = {
		.version = REQUEST_VERSION,
		.flags = NEWS_SUCCESSOR,
		.link = s->local->link.state,
	};

	s->is_offered = true;
	s->late_flags = s->late_families = 0;
	return s->news_fd < 0 ? -EPIPE
			      : channel_send(s->news_fd, &offer, sizeof(offer),
					     &link, 1, MSG_DONTWAIT);
}

void service_move_kept(struct service *to, struct service *from)
{
	for (unsigned int i = 0; i < REQUEST_SLOTS; i++) {
		if (from->kept[i] < 0)
			continue;
		serve_keep(to, i, from->kept[i]);
		from->kept[i] = -1;
	}
}

/* The sockets that a successor was lent are its own now. */
static void take_lent(struct service *s)
{
	struct service_set *from =
		s->lent_id ? find_set(s->lender, s->lent_id) : NULL;
	struct service_set *to = find_set(s, 0);

	s->lent_id = 0;
	if (!from || !to)
		return;
	*to = *from;
	from->id = 0;
	from->n = 0;
	from->was_found = false;
}

int service_take_over(struct service *s)
{
	struct service *old = s->lender;
	int err;

	take_lent(s);
	s->lender = NULL;
	old->hears = false;
	old->local->rights.ops->stop(old->local->rights.arg);
	loop_clear_timer(old->loop, &old->retry);
	old->has_pending = false;
	s->last_id = old->last_id;
	tell_change(s);
	s->pending.overlays = old->pending.overlays;
	/* The successor's descriptors count, and of the old engine's the others. */
	service_move_kept(old, s);
	service_move_kept(s, old);
	err = service_hear(s);
	s->pending.flags |= old->late_flags;
	s->pending.families |= old->late_families;
	s->has_pending = true;
	flush(s);
	return err;
}

void service_stop_engine(struct service *s)
{
	add_flag(s, NEWS_STOP);
}

void service_ping(struct service *s)
{
	add_flag(s, NEWS_PING);
}

void service_end(struct service *s)
{
	if (s->hears)
		s->local->rights.ops->stop(s->local->rights.arg);
	s->hears = false;
	s->lender = NULL;
	s->lent_id = 0;
	s->has_pending = s->is_offered = false;
	loop_clear_timer(s->loop, &s->retry);
	if (s->fd >= 0) {
		if (s->requests.fd >= 0)
			loop_remove(s->loop, &s->requests);
		s->requests.fd = -1;
		close(s->fd);
		close(s->news_fd);
	}
	s->fd = s->news_fd = -1;
	close_sets(s);
	s->is_ready = false;
}
