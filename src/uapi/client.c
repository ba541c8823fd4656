/* SPDX-License-Identifier: MIT */
/*
 * A client is served in small steps: send, make more of the answer, parse,
 * receive. Each step returns what the next step has to wait for. The event loop
 * calls again when the wait is over. After STEPS_MAX steps the loop serves the
 * other descriptors first.
 */
#include "uapi/client.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/now.h"
#include "crypto/secret.h"
#include "uapi/reply.h"

enum {
	/* Bytes of @in and @out. Both are choices, not measured: @in holds four
	 * lines of the greatest length, and @out about 40 peers with one prefix
	 * each. */
	IN_CAP = 4096,
	OUT_CAP = 16384,
	/* Steps before other descriptors are served. A choice, not measured. */
	STEPS_MAX = 64,
};

static_assert((int)OUT_CAP >= (int)UAPI_REPLY_CAP &&
		      (int)OUT_CAP >= (int)STATS_REPLY_CAP &&
		      (int)OUT_CAP >= (int)UAPI_STATUS_CAP,
	      "a piece of a reply fits");

/* The result of a step: what the next step has to wait for. */
enum step {
	STEP_MORE,  /* nothing */
	STEP_READ,  /* bytes to receive */
	STEP_WRITE, /* room to send */
	STEP_HOLD,  /* uapi_client_release() */
	STEP_END,   /* there is no next step: close the connection */
};

/*
 * @watch:	watches the connection
 * @link:	in uapi_hub.clients
 * @hub:	[I]
 * @parser:	[I]
 * @events:	what @watch waits for
 * @active_ns:	when bytes were last received or sent
 * @in_request:	part of a request was read
 * @is_held:	@watch is not in the loop
 * @is_replying: @reply is under way, or @stats_reply
 * @stats_parser: with the protocol of statistics
 * @stats_reply: with the protocol of statistics
 * @is_refused:	the request under way has an error, and was answered
 * @drain_until: with @is_refused: when to close the connection
 * @drain_left:	with @is_refused: bytes that may still come
 * @in_off:	bytes of @in that were parsed
 * @in_len:	bytes in @in
 * @out_off:	bytes of @out that were sent
 * @out_len:	bytes in @out
 */
struct uapi_client {
	struct loop_watch watch;
	struct list link;
	struct uapi_hub *hub;
	struct uapi_parser *parser;
	uint32_t events;
	uint64_t active_ns;
	bool in_request;
	bool is_held;
	bool is_replying;
	bool is_refused;
	uint64_t drain_until;
	size_t drain_left;
	struct uapi_reply reply;
	struct stats_parser stats_parser;
	struct stats_reply stats_reply;
	size_t in_off;
	size_t in_len;
	size_t out_off;
	size_t out_len;
	char in[IN_CAP];
	char out[OUT_CAP];
};

static enum step flush(struct uapi_client *c)
{
	ssize_t n = send(c->watch.fd, c->out + c->out_off,
			 c->out_len - c->out_off, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0) {
		if (errno == EINTR)
			return STEP_MORE;
		return errno == EAGAIN ? STEP_WRITE : STEP_END;
	}
	secret_zero(c->out + c->out_off, (size_t)n);
	c->out_off += (size_t)n;
	c->active_ns = now_boottime();
	if (c->out_off == c->out_len) {
		c->out_off = 0;
		c->out_len = 0;
	}
	return STEP_MORE;
}

bool uapi_client_follows(const struct uapi_client *client)
{
	return client->is_replying && client->hub->stats &&
	       client->stats_reply.kind == STATS_EVENTS;
}

/* A client that follows events sends nothing more, but may close. */
static enum step await_event(struct uapi_client *c)
{
	ssize_t n = recv(c->watch.fd, c->in, sizeof(c->in), MSG_DONTWAIT);

	if (n > 0 || (n < 0 && errno == EINTR))
		return STEP_MORE;
	return n < 0 && errno == EAGAIN ? STEP_READ : STEP_END;
}

/* Make the next piece of an answer of the protocol of statistics. */
static enum step refill_stats(struct uapi_client *c)
{
	c->out_len = stats_reply_fill(&c->stats_reply, c->out, sizeof(c->out));
	if (c->out_len)
		return STEP_MORE;
	if (uapi_client_follows(c))
		return await_event(c);
	stats_reply_end(&c->stats_reply);
	c->is_replying = false;
	return STEP_MORE;
}

/* Make the next piece of the answer to a `get`. */
static enum step refill(struct uapi_client *c)
{
	if (c->hub->stats)
		return refill_stats(c);
	c->out_len = uapi_reply_fill(&c->reply, c->out, sizeof(c->out));
	c->is_replying = c->out_len > 0;
	return STEP_MORE;
}

/* A configuration was refused: log why, and keep it for the statistics. */
static void note_refusal(struct uapi_hub *hub, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void note_refusal(struct uapi_hub *hub, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(hub->refusal.text, sizeof(hub->refusal.text), format, args);
	va_end(args);
	hub->refusal.realtime = now_realtime();
	log_error("uapi: %s", hub->refusal.text);
}

static int apply(struct uapi_hub *hub, const struct uapi_request *request)
{
	uint64_t now = now_boottime(), begun = now_monotonic();
	int err = hub->apply ? hub->apply(hub->apply_arg, request->config, now)
			     : config_apply(request->config, hub->device, now);

	if (err == 0 && hub->applied)
		hub->applied(hub->applied_arg, begun);
	if (err < 0)
		note_refusal(hub, "configuration refused: %s", strerror(-err));
	return err;
}

/* Answer a request without error, and free its operations. */
static void answer(struct uapi_client *c, struct uapi_request *request)
{
	if (request->op == UAPI_GET) {
		uapi_reply_init(&c->reply, c->hub->device, c->hub->codec);
		c->is_replying = true;
		return;
	}
	int err = apply(c->hub, request);

	config_free(request->config);
	c->out_len =
		uapi_print_status(c->out, sizeof(c->out), request->op, err);
}

/* The key that an error is about; empty if the token is the key's name. */
static const char *name_of_key(const struct uapi_request *request)
{
	return request->key && strcmp(request->key, request->token) != 0
		       ? request->key
		       : "";
}

/* Answer a request with an error. The end of the request may not have come. */
static void refuse(struct uapi_client *c, const struct uapi_request *request)
{
	const char *key = name_of_key(request);

	note_refusal(c->hub, "line %zu: %s%s%s%s%s", request->line, key,
		     *key ? ": " : "", request->what,
		     *request->token ? ": " : "", request->token);
	c->out_len = uapi_print_status(c->out, sizeof(c->out), request->op,
				       request->error);
	c->is_refused = true;
	c->drain_until = now_boottime() + UAPI_DRAIN_S * NSEC_PER_SEC;
	c->drain_left = UAPI_DRAIN_MAX;
}

/* Read and discard input. If close(2) left unread input, the client would get
 * ECONNRESET instead of the end of the stream. */
static void discard_input(struct uapi_client *c)
{
	for (size_t left = UAPI_DRAIN_MAX; left;) {
		ssize_t n =
			recv(c->watch.fd, c->in, sizeof(c->in), MSG_DONTWAIT);

		if (n <= 0)
			return;
		left -= size_min((size_t)n, left);
	}
}

static enum step end_request(struct uapi_client *c,
			     struct uapi_request *request)
{
	if (!c->is_refused && request->error)
		refuse(c, request);
	else if (!c->is_refused)
		answer(c, request);
	c->is_refused = false;
	c->in_request = false;
	return STEP_MORE;
}

static enum step parse_stats(struct uapi_client *c)
{
	size_t n = 0;
	enum stats_kind kind = stats_parse(&c->stats_parser, c->in + c->in_off,
					   c->in_len - c->in_off, &n);

	c->in_off += n;
	c->in_request = kind == STATS_NONE;
	if (kind == STATS_NONE)
		return STEP_MORE;
	if (stats_reply_begin(&c->stats_reply, c->hub->stats, kind,
			      c->stats_parser.token) < 0)
		return STEP_END;
	c->is_replying = true;
	return STEP_MORE;
}

static enum step parse(struct uapi_client *c)
{
	struct uapi_request request;
	size_t n = 0;
	int rc;

	rc = uapi_parser_push(c->parser, c->in + c->in_off,
			      c->in_len - c->in_off, &n, &request);
	secret_zero(c->in + c->in_off, n);
	c->in_off += n;
	/* Bytes that begin no request get no answer, as in wireguard-go. */
	if (rc < 0) {
		discard_input(c);
		return STEP_END;
	}
	if (rc == UAPI_E_REQUEST)
		return end_request(c, &request);
	c->in_request = true;
	if (c->is_refused && n >= c->drain_left)
		return STEP_END;
	if (c->is_refused)
		c->drain_left -= n;
	else if (uapi_parser_get_error(c->parser))
		refuse(c, uapi_parser_get_error(c->parser));
	return STEP_MORE;
}

static enum step receive(struct uapi_client *c)
{
	ssize_t n = recv(c->watch.fd, c->in, sizeof(c->in), MSG_DONTWAIT);

	if (n < 0) {
		if (errno == EINTR)
			return STEP_MORE;
		return errno == EAGAIN ? STEP_READ : STEP_END;
	}
	/* The client sends no more. It may still read, but all its whole
	 * requests have been answered. */
	if (n == 0)
		return STEP_END;
	c->in_off = 0;
	c->in_len = (size_t)n;
	c->active_ns = now_boottime();
	return STEP_MORE;
}

static enum step advance(struct uapi_client *c)
{
	if (c->out_off < c->out_len)
		return flush(c);
	if (c->is_replying)
		return refill(c);
	if (c->in_off < c->in_len)
		return c->hub->stats ? parse_stats(c) : parse(c);
	/* What is left in the socket is the begin of another request. */
	if (c->hub->is_held && !c->in_request)
		return STEP_HOLD;
	return receive(c);
}

/*
 * Have the loop wait for what the next step needs. For STEP_MORE the loop waits
 * until the socket can be written to. That is usually the case already, and the
 * loop serves the other ready descriptors before it calls again.
 */
static int await(struct uapi_client *c, enum step step)
{
	uint32_t events = step == STEP_READ ? EPOLLIN : EPOLLOUT;
	int err = 0;

	if (events != c->events)
		err = loop_modify(c->hub->loop, &c->watch, events);
	if (err == 0)
		c->events = events;
	return err;
}

void uapi_client_serve(struct uapi_client *client)
{
	struct uapi_client *c = client;
	enum step step = STEP_MORE;

	for (int i = 0; i < STEPS_MAX && step == STEP_MORE; i++)
		step = advance(c);
	if (step == STEP_HOLD)
		uapi_client_hold(c);
	else if (step == STEP_END || await(c, step) < 0)
		uapi_client_close(c);
}

static void on_ready(struct loop_watch *watch, uint32_t events)
{
	struct uapi_client *c = watch->arg;
	struct uapi_hub *hub = c->hub;

	(void)events;
	uapi_client_serve(c);
	hub->changed(hub);
}

int uapi_client_open(struct uapi_client **out, struct uapi_hub *hub, int fd)
{
	struct uapi_client *c = calloc(1, sizeof(*c));
	int err = -ENOMEM;

	if (!c)
		return -ENOMEM;
	c->parser = uapi_parser_new(hub->codec);
	if (!c->parser)
		goto err_free;
	c->hub = hub;
	c->watch = (struct loop_watch){ .fd = fd, .ready = on_ready, .arg = c };
	c->events = EPOLLIN;
	c->active_ns = now_boottime();
	err = loop_add(hub->loop, &c->watch, c->events);
	if (err < 0)
		goto err_free_parser;
	list_push(&hub->clients, &c->link);
	hub->n_clients++;
	*out = c;
	return 0;

err_free_parser:
	uapi_parser_free(c->parser);
err_free:
	free(c);
	return err;
}

static bool is_busy(const struct uapi_client *client)
{
	return client->in_request ||
	       (client->is_replying && !uapi_client_follows(client)) ||
	       client->out_off < client->out_len ||
	       client->in_off < client->in_len;
}

void uapi_client_hold(struct uapi_client *client)
{
	if (client->is_held || is_busy(client) || uapi_client_follows(client))
		return;
	loop_remove(client->hub->loop, &client->watch);
	client->is_held = true;
}

int uapi_client_release(struct uapi_client *client)
{
	int err;

	if (!client->is_held)
		return 0;
	client->events = EPOLLIN;
	err = loop_add(client->hub->loop, &client->watch, client->events);
	if (err == 0)
		client->is_held = false;
	return err;
}

bool uapi_client_is_held(const struct uapi_client *client)
{
	return client->is_held;
}

static void end(struct uapi_client *client)
{
	if (!client->is_held)
		loop_remove(client->hub->loop, &client->watch);
	list_remove(&client->link);
	client->hub->n_clients--;
	uapi_parser_free(client->parser);
	if (client->is_replying && client->hub->stats)
		stats_reply_end(&client->stats_reply);
	secret_zero(client, sizeof(*client));
	free(client);
}

int uapi_client_take(struct uapi_client *client)
{
	int fd = client->watch.fd;

	end(client);
	return fd;
}

void uapi_client_close(struct uapi_client *client)
{
	/* The loop comes first: while another process has a copy of the descriptor, which
	 * a child has until it executes a program, the loop would still tell of it. */
	close(uapi_client_take(client));
}

struct uapi_client *uapi_client_of(struct list *link)
{
	return container_of(link, struct uapi_client, link);
}

bool uapi_client_can_go_on(const struct uapi_client *client)
{
	struct pollfd pfd = {
		.fd = client->watch.fd,
		.events = client->events & EPOLLOUT ? POLLOUT : POLLIN,
	};

	return poll(&pfd, 1, 0) > 0;
}

uint64_t uapi_client_active_since(const struct uapi_client *client)
{
	return client->active_ns;
}

uint64_t uapi_client_expires_at(const struct uapi_client *client,
				uint64_t patience_ns)
{
	uint64_t at = client->active_ns + patience_ns;

	if (!is_busy(client) || uapi_client_follows(client))
		return UAPI_NEVER;
	return client->is_refused && client->drain_until < at
		       ? client->drain_until
		       : at;
}

uint64_t uapi_client_yields_at(const struct uapi_client *client)
{
	return is_busy(client) ? client->active_ns + UAPI_STALL_S * NSEC_PER_SEC
			       : 0;
}
