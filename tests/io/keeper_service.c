/* SPDX-License-Identifier: MIT */
/*
 * The UDP sockets of an upgrade, as the keeper sees them: which ones an engine and its
 * successor have, and which ones stay open when one of them has gone.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/descriptors.h"
#include "keeper/channel.h"
#include "keeper/service.h"
#include "tests/lib/check.h"
#include "tests/lib/netns.h"

/* One end of an engine's two connections, and the keeper's service at the other ends. */
struct client {
	struct service service;
	int fd;
	int news_fd;
};

/* The keeper, with an engine and its successor. */
struct world {
	struct loop loop;
	struct local local;
	struct client engine;
	struct client successor;
};

static int start_news(void *arg, const struct rights_news *news, void *news_arg)
{
	(void)arg;
	(void)news;
	(void)news_arg;
	return 0;
}

static void nothing(void *arg)
{
	(void)arg;
}

static void broken(void *arg)
{
	(void)arg;
	fail_msg("a request is refused");
}

static const struct rights_ops rights_ops = { .start = start_news,
					      .stop = nothing };
static const struct service_ops service_ops = { .ready = nothing,
						.gone = nothing,
						.broken = broken };

/* Make the connections of an engine. @fds: the keeper's ends. */
static void connect_client(struct world *w, struct client *c, int fds[2])
{
	int requests[2], news[2];

	service_init(&c->service, &w->loop, &w->local, &service_ops, c);
	assert_int_equal(channel_open(requests), 0);
	assert_int_equal(channel_open(news), 0);
	fds[0] = requests[0];
	fds[1] = news[0];
	c->fd = requests[1];
	c->news_fd = news[1];
}

static void take_hello(struct client *c)
{
	int fds[CHANNEL_FDS_MAX];
	unsigned int n_fds;
	struct hello hello;

	assert_int_equal(channel_receive(c->fd, &hello, sizeof(hello), fds,
					 &n_fds, MSG_DONTWAIT),
			 sizeof(hello));
	close_all(fds, n_fds);
}

static int setup(void **state)
{
	static struct world w;
	const struct hello hello = { .n_queues = 1 };
	int fds[2];

	memset(&w, 0, sizeof(w));
	assert_true(netns_new() >= 0);
	assert_int_equal(loop_init(&w.loop), 0);
	w.local.rights.ops = &rights_ops;
	connect_client(&w, &w.engine, fds);
	assert_int_equal(service_start(&w.engine.service, fds[0], fds[1],
				       &hello, fds, 0),
			 0);
	take_hello(&w.engine);
	connect_client(&w, &w.successor, fds);
	assert_int_equal(service_start_successor(&w.successor.service,
						 &w.engine.service, fds[0],
						 fds[1], &hello, fds, 0),
			 0);
	take_hello(&w.successor);
	*state = &w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	service_end(&w->engine.service);
	service_end(&w->successor.service);
	close(w->engine.fd);
	close(w->engine.news_fd);
	close(w->successor.fd);
	close(w->successor.news_fd);
	loop_deinit(&w->loop);
	return 0;
}

/* Send a request, have it served, and receive the reply. The descriptors that come are
 * closed at once: only the keeper's count here. */
static struct reply ask(struct client *c, struct request *request,
			enum request_kind kind)
{
	int fds[CHANNEL_FDS_MAX];
	unsigned int n_fds;
	struct reply reply;

	request->head.version = REQUEST_VERSION;
	request->head.kind = (uint8_t)kind;
	assert_int_equal(channel_send(c->fd, request,
				      request_len(request->head.kind), NULL, 0,
				      MSG_DONTWAIT),
			 0);
	c->service.requests.ready(&c->service.requests, EPOLLIN);
	assert_int_equal(channel_receive(c->fd, &reply, sizeof(reply), fds,
					 &n_fds, MSG_DONTWAIT),
			 sizeof(reply));
	close_all(fds, n_fds);
	return reply;
}

static struct reply open_set(struct client *c, uint16_t port)
{
	struct request request = { .open = { .port = port, .n = 1 } };
	struct reply reply;

	reply = ask(c, &request, REQUEST_OPEN);
	if (reply.err == 0)
		assert_true(reply.families[0].n_fds > 0);
	return reply;
}

static int close_set(struct client *c, uint32_t id)
{
	struct request request = { .close = { .set = id } };

	return ask(c, &request, REQUEST_CLOSE).err;
}

static int mark_set(struct client *c, uint32_t id)
{
	struct request request = { .mark = { .set = id, .mark = 7 } };

	return ask(c, &request, REQUEST_MARK).err;
}

static void take_over(struct world *w)
{
	assert_int_equal(service_take_over(&w->successor.service), 0);
	service_end(&w->engine.service);
}

/* The successor has what it was lent, by the same number. */
static void lent(void **state)
{
	struct world *w = *state;
	struct reply first = open_set(&w->engine, 0), second;

	assert_int_equal(first.err, 0);
	second = open_set(&w->successor, (uint16_t)first.port);
	assert_int_equal(second.err, 0);
	assert_int_equal(second.set, first.set);
	take_over(w);
	assert_int_equal(mark_set(&w->successor, first.set), 0);
	assert_int_equal(close_set(&w->successor, first.set), 0);
	assert_null(service_get_set(&w->successor.service));
}

/* A successor that does not get so far takes nothing with it. */
static void given_back(void **state)
{
	struct world *w = *state;
	struct reply first = open_set(&w->engine, 0);

	assert_int_equal(open_set(&w->successor, (uint16_t)first.port).err, 0);
	assert_int_equal(close_set(&w->successor, first.set), 0);
	service_end(&w->successor.service);
	assert_int_equal(mark_set(&w->engine, first.set), 0);
}

/* The interface goes up while there are two engines, and only the successor hears it. */
static void opened(void **state)
{
	struct world *w = *state;
	struct reply reply = open_set(&w->successor, 0);

	assert_int_equal(reply.err, 0);
	take_over(w);
	assert_int_equal(mark_set(&w->successor, reply.set), 0);
	assert_non_null(service_get_set(&w->successor.service));
	assert_int_equal(close_set(&w->successor, reply.set), 0);
	/* Nothing has the port now. */
	assert_int_equal(open_set(&w->successor, (uint16_t)reply.port).err, 0);
}

/* The interface goes down when the successor has the tunnel, and the keeper does not know
 * that yet. */
static void closed(void **state)
{
	struct world *w = *state;
	struct reply first = open_set(&w->engine, 0);

	assert_int_equal(open_set(&w->successor, (uint16_t)first.port).err, 0);
	assert_int_equal(close_set(&w->successor, first.set), 0);
	take_over(w);
	assert_null(service_get_set(&w->successor.service));
	assert_int_equal(open_set(&w->successor, (uint16_t)first.port).err, 0);
}

/* The port is another one by then. No two sets have one number. */
static void changed(void **state)
{
	struct world *w = *state;
	struct reply first = open_set(&w->engine, 0), other;

	assert_int_equal(open_set(&w->successor, (uint16_t)first.port).err, 0);
	other = open_set(&w->successor, 0);
	assert_int_equal(other.err, 0);
	assert_int_not_equal(other.set, first.set);
	assert_int_not_equal(open_set(&w->engine, 0).set, other.set);
	assert_int_equal(close_set(&w->successor, first.set), 0);
	take_over(w);
	assert_int_equal(mark_set(&w->successor, other.set), 0);
	assert_int_equal(open_set(&w->successor, (uint16_t)first.port).err, 0);
	/* The other set of the engine that has gone takes no place. */
	assert_int_equal(open_set(&w->successor, 0).err, -EBUSY);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(lent),   TEST(given_back), TEST(opened),
		TEST(closed), TEST(changed),
	};

	netns_require();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
