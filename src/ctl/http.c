/* SPDX-License-Identifier: MIT */
/*
 * Each client is in one of three steps: its request comes, its answer leaves, or it is
 * given time to take the end of the answer: a connection that is closed while something
 * unread is in it is reset, and the answer may be lost with it.
 *
 * The interfaces are asked when a request is complete. Other clients wait meanwhile.
 */
#include "ctl/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/now.h"
#include "ctl/metrics.h"

enum {
	/* Bytes of a request, with a final 0. Choices, as all that follow. */
	REQUEST_CAP = 8192,
	CLIENTS = 8,
	/* Time for a request, for taking an answer, and for the end, in ms. */
	REQUEST_MS = 5000,
	ANSWER_MS = 10000,
	END_MS = 500,
	BACKLOG = 16,
};

enum step {
	STEP_FREE, /* there is no client */
	STEP_REQUEST,
	STEP_ANSWER,
	STEP_END,
};

/**
 * struct client - a connection
 * @step:	what comes next
 * @fd:		its descriptor
 * @until:	when the step must have ended, in ms of CLOCK_MONOTONIC
 * @request:	what came of the request, with a final 0
 * @len:	its length
 * @answer:	the answer, owned
 * @answer_len:	its length
 * @n_sent:	how much of it was sent
 */
struct client {
	enum step step;
	int fd;
	long long until;
	char request[REQUEST_CAP];
	size_t len;
	char *answer;
	size_t answer_len;
	size_t n_sent;
};

/* ------------------------------------------------------------------------ HTTP */

static bool is_complete(const char *request)
{
	return strstr(request, "\r\n\r\n") || strstr(request, "\n\n");
}

/* An answer with its head. Return: NULL: there is no memory. */
static char *make_answer(const char *status, const char *type, const char *body,
			 size_t body_len, size_t *len)
{
	char *answer = NULL;
	FILE *out = open_memstream(&answer, len);

	if (!out)
		return NULL;
	fprintf(out,
		"HTTP/1.0 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
		"Connection: close\r\n\r\n",
		status, type, body_len);
	fwrite(body, 1, body_len, out);
	if (fclose(out) == 0)
		return answer;
	free(answer);
	return NULL;
}

/* The answer to a request, which is complete or never will be. */
static char *answer_to(const char *request, const struct ctl_options *options,
		       size_t *len)
{
	static const char plain[] = "text/plain; charset=utf-8";
	static const char help[] = "the metrics are at /metrics\n";
	static const char path[] = "GET /metrics";
	bool is_open = strcasestr(request, "application/openmetrics-text");
	char *body, *answer;
	size_t body_len = 0;

	if (!is_complete(request))
		return make_answer("400 Bad Request", plain, "", 0, len);
	if (strncmp(request, path, strlen(path)) != 0 ||
	    !strchr(" ?", request[strlen(path)]))
		return make_answer("404 Not Found", plain, help, strlen(help),
				   len);
	body = ctl_metrics_text(options, is_open, &body_len);
	if (!body)
		return NULL;
	answer = make_answer("200 OK",
			     is_open ? "application/openmetrics-text; "
				       "version=1.0.0; charset=utf-8"
				     : "text/plain; version=0.0.4; "
				       "charset=utf-8",
			     body, body_len, len);
	free(body);
	return answer;
}

int ctl_http_answer(const struct ctl_options *options)
{
	char request[REQUEST_CAP] = "", *answer;
	size_t len = 0;

	while (len < REQUEST_CAP - 1 && !is_complete(request)) {
		ssize_t n = read(STDIN_FILENO, request + len,
				 REQUEST_CAP - 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
		request[len] = 0;
	}
	answer = answer_to(request, options, &len);
	if (!answer)
		return ctl_complain("metrics", -ENOMEM);
	fwrite(answer, 1, len, stdout);
	free(answer);
	if (fflush(stdout) != 0)
		return ctl_complain("stdout", -errno);
	return is_complete(request) ? CTL_OK : CTL_FAILED;
}

/* --------------------------------------------------------------------- listening */

const char *ctl_http_parse_address(const char *text,
				   struct sockaddr_storage *addr,
				   socklen_t *len)
{
	static const char form[] = "not ADDRESS:PORT";
	const char *colon = strrchr(text, ':');
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	char host[INET6_ADDRSTRLEN + 2];
	size_t n;

	if (!colon || colon == text || (size_t)(colon - text) >= sizeof(host))
		return form;
	n = (size_t)(colon - text);
	memcpy(host, text, n);
	host[n] = 0;
	if (!colon[1] || strlen(colon + 1) > 5 ||
	    colon[1 + strspn(colon + 1, "0123456789")] ||
	    strtoul(colon + 1, NULL, 10) > UINT16_MAX)
		return form;
	v4.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	v6.sin6_port = v4.sin_port;
	*addr = (struct sockaddr_storage){ 0 };
	if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
		if (ntohl(v4.sin_addr.s_addr) >> 24 != IN_LOOPBACKNET)
			return "not a loopback address";
		memcpy(addr, &v4, sizeof(v4));
		*len = sizeof(v4);
		return NULL;
	}
	if (*host != '[' || host[n - 1] != ']')
		return form;
	host[n - 1] = 0;
	if (inet_pton(AF_INET6, host + 1, &v6.sin6_addr) != 1)
		return form;
	if (!IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr))
		return "not a loopback address";
	memcpy(addr, &v6, sizeof(v6));
	*len = sizeof(v6);
	return NULL;
}

static void drop(struct client *c)
{
	close(c->fd);
	free(c->answer);
	c->answer = NULL;
	c->step = STEP_FREE;
}

static void go_on(struct client *c, enum step step, int ms)
{
	c->step = step;
	c->until = now_monotonic_ms() + ms;
}

static void begin_answer(struct client *c, const struct ctl_options *options)
{
	c->answer = answer_to(c->request, options, &c->answer_len);
	c->n_sent = 0;
	if (c->answer)
		go_on(c, STEP_ANSWER, ANSWER_MS);
	else
		drop(c);
}

/* Read what has come. A client that ends its request too early has no answer. */
static void take_request(struct client *c, const struct ctl_options *options)
{
	ssize_t n = recv(c->fd, c->request + c->len, REQUEST_CAP - 1 - c->len,
			 MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop(c);
		return;
	}
	c->len += (size_t)n;
	c->request[c->len] = 0;
	if (is_complete(c->request) || c->len == REQUEST_CAP - 1)
		begin_answer(c, options);
}

static void send_answer(struct client *c)
{
	ssize_t n =
		send(c->fd, c->answer + c->n_sent, c->answer_len - c->n_sent,
		     MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		drop(c);
		return;
	}
	c->n_sent += (size_t)n;
	if (c->n_sent < c->answer_len)
		return;
	shutdown(c->fd, SHUT_WR);
	go_on(c, STEP_END, END_MS);
}

/* The rest of what the client has sent is of no interest. */
static void take_rest(struct client *c)
{
	char text[REQUEST_CAP];
	ssize_t n = recv(c->fd, text, sizeof(text), MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		drop(c);
}

static void serve(struct client *c, short events,
		  const struct ctl_options *options)
{
	if (c->step != STEP_FREE && now_monotonic_ms() >= c->until)
		drop(c);
	if (c->step == STEP_FREE || !events)
		return;
	if (c->step == STEP_REQUEST)
		take_request(c, options);
	else if (c->step == STEP_ANSWER)
		send_answer(c);
	else
		take_rest(c);
}

static void accept_client(int listener, struct client *clients)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	for (int i = 0; fd >= 0 && i < CLIENTS; i++) {
		if (clients[i].step != STEP_FREE)
			continue;
		clients[i].fd = fd;
		clients[i].len = 0;
		clients[i].request[0] = 0;
		go_on(&clients[i], STEP_REQUEST, REQUEST_MS);
		return;
	}
}

/* Set what is waited for. The listener is the last one, and rests while all places are
 * taken. Return: how long to wait, in ms; -1: without end. */
static int prepare(struct pollfd fds[CLIENTS + 1], const struct client *clients,
		   int listener)
{
	long long now = now_monotonic_ms(), next = -1;
	bool has_place = false;

	for (int i = 0; i < CLIENTS; i++) {
		const struct client *c = &clients[i];
		long long left = c->until > now ? c->until - now : 0;

		fds[i] = (struct pollfd){
			.fd = c->step == STEP_FREE ? -1 : c->fd,
			.events = c->step == STEP_ANSWER ? POLLOUT : POLLIN,
		};
		has_place |= c->step == STEP_FREE;
		if (c->step != STEP_FREE && (next < 0 || left < next))
			next = left;
	}
	fds[CLIENTS] = (struct pollfd){
		.fd = has_place ? listener : -1,
		.events = POLLIN,
	};
	return (int)next;
}

static int serve_all(int listener, const struct ctl_options *options)
{
	static struct client clients[CLIENTS];
	struct pollfd fds[CLIENTS + 1];

	for (;;) {
		int timeout = prepare(fds, clients, listener);

		if (poll(fds, CLIENTS + 1, timeout) < 0 && errno != EINTR)
			return ctl_complain("metrics", -errno);
		for (int i = 0; i < CLIENTS; i++)
			serve(&clients[i], fds[i].revents, options);
		if (fds[CLIENTS].revents)
			accept_client(listener, clients);
	}
}

/* Print where the metrics are: with port 0 the kernel has chosen one. */
static void print_place(int listener)
{
	struct sockaddr_storage addr = { 0 };
	socklen_t len = sizeof(addr);
	struct sockaddr_in6 v6;
	struct sockaddr_in v4;
	char host[INET6_ADDRSTRLEN] = "";

	getsockname(listener, (struct sockaddr *)&addr, &len);
	memcpy(&v4, &addr, sizeof(v4));
	memcpy(&v6, &addr, sizeof(v6));
	if (addr.ss_family == AF_INET)
		printf("http://%s:%u/metrics\n",
		       inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host)),
		       ntohs(v4.sin_port));
	else
		printf("http://[%s]:%u/metrics\n",
		       inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof(host)),
		       ntohs(v6.sin6_port));
	fflush(stdout);
}

int ctl_http_listen(const struct ctl_options *options)
{
	struct sockaddr_storage addr;
	int listener, status, on = 1;
	socklen_t len = 0;

	if (ctl_http_parse_address(options->listen, &addr, &len))
		return ctl_refuse("--listen", options->listen);
	listener = socket(addr.ss_family,
			  SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listener < 0)
		return ctl_complain(options->listen, -errno);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (const struct sockaddr *)&addr, len) < 0 ||
	    listen(listener, BACKLOG) < 0) {
		status = ctl_complain(options->listen, -errno);
	} else {
		print_place(listener);
		status = serve_all(listener, options);
	}
	close(listener);
	return status;
}
