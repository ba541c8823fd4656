/* SPDX-License-Identifier: MIT */
/* A server whose clients wait, and are given away: for an upgrade. */
#include <fcntl.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/io/uapi_world.h"
#include "tests/lib/check.h"

enum {
	/* Long enough for a wrong action of the server to show, in ms. A
	 * choice. */
	MOMENT_MS = 150,
};

#define OK "errno=0\n\n"

/* What the thread of the world does when the test pokes it: one step each time. */
struct steps {
	struct loop_watch watch;
	struct world *world;
	int n;
	int n_taken;
	bool was_at_rest;
	int done_fd;
};

static void do_step(struct loop_watch *watch, uint32_t events)
{
	struct steps *steps = watch->arg;
	struct uapi_server *server = steps->world->server;
	int fds[8], n = 0, fd;
	uint64_t value;

	(void)events;
	assert_int_equal(read(watch->fd, &value, sizeof(value)), sizeof(value));
	steps->was_at_rest = uapi_server_is_at_rest(server);
	switch (steps->n++) {
	case 0:
	case 3:
		uapi_server_hold(server);
		break;
	case 1: /* @was_at_rest is what the test wants */
		break;
	case 2:
		uapi_server_release(server);
		break;
	case 4:
		uapi_server_drop_busy(server);
		while (n < 8 && (fd = uapi_server_take_client(server)) >= 0)
			fds[n++] = fd;
		steps->n_taken = n;
		uapi_server_release(server);
		while (n)
			uapi_server_add_client(server, fds[--n]);
		break;
	default:
		break;
	}
	value = 1;
	assert_int_equal(write(steps->done_fd, &value, sizeof(value)),
			 sizeof(value));
}

static void next_step(struct steps *steps)
{
	uint64_t value = 1;

	assert_int_equal(write(steps->watch.fd, &value, sizeof(value)),
			 sizeof(value));
	assert_int_equal(read(steps->done_fd, &value, sizeof(value)),
			 sizeof(value));
}

/* A request that was begun goes on, others wait; clients can be given away, with what
 * they have sent. */
static void held(void **state)
{
	struct world world;
	struct steps steps = { .world = &world, .done_fd = eventfd(0, 0) };
	int idle, begun, late;
	char *text;

	(void)state;
	world_init(&world);
	assert_int_equal(world_open(&world), 0);
	steps.watch = (struct loop_watch){ .fd = eventfd(0, 0),
					   .ready = do_step,
					   .arg = &steps };
	assert_int_equal(loop_add(&world.loop, &steps.watch, EPOLLIN), 0);
	world_start(&world);
	idle = client_open(&world);
	begun = client_open(&world);
	client_check(idle, "get=1\n\n", OK);
	client_check(begun, "get=1\n\n", OK);
	client_send(begun, "set=1\nfwmark=2\n");
	assert_true(client_is_quiet(begun, MOMENT_MS));
	next_step(&steps);
	client_send(idle, "get=1\n\n");
	late = client_open(&world);
	client_send(late, "get=1\n\n");
	assert_true(client_is_quiet(idle, MOMENT_MS));
	assert_true(client_is_quiet(late, MOMENT_MS));
	client_check(begun, "\n", OK);
	client_send(begun, "get=1\n\n");
	assert_true(client_is_quiet(begun, MOMENT_MS));
	next_step(&steps);
	assert_true(steps.was_at_rest);
	next_step(&steps);
	for (int i = 0; i < 3; i++) {
		text = client_receive(i == 0 ? idle : i == 1 ? late : begun, 1);
		assert_string_equal(text, "fwmark=2\n" OK);
		free(text);
	}

	/* A client that is not at rest is dropped, and its request is not done. */
	client_send(begun, "set=1\nfwmark=3\n");
	assert_true(client_is_quiet(begun, MOMENT_MS));
	next_step(&steps);
	client_send(idle, "set=1\nfwmark=4\n\nget=1\n\n");
	assert_true(client_is_quiet(idle, MOMENT_MS));
	next_step(&steps);
	assert_false(steps.was_at_rest);
	assert_int_equal(steps.n_taken, 2);
	client_check_ended(begun);
	text = client_receive(idle, 2);
	assert_string_equal(text, OK "fwmark=4\n" OK);
	free(text);
	client_check(late, "get=1\n\n", "fwmark=4\n" OK);
	close(idle);
	close(begun);
	close(late);
	world_end(&world);
	close(steps.watch.fd);
	close(steps.done_fd);
}

/* An enemy in the other engine may give away another socket in the place of a client's
 * connection. If a UDP socket were served, everybody could configure the tunnel. */
static void strangers(void **state)
{
	int pair[2], packets[2];
	struct world world;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets), 0);
	const int others[] = { socket(AF_INET, SOCK_DGRAM, 0),
			       socket(AF_INET, SOCK_STREAM, 0), packets[0],
			       eventfd(0, EFD_NONBLOCK) };

	world_init(&world);
	assert_int_equal(world_open(&world), 0);
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		assert_true(others[i] >= 0);
		uapi_server_add_client(world.server, others[i]);
		assert_int_equal(fcntl(others[i], F_GETFD), -1);
	}
	uapi_server_add_client(world.server, pair[0]);
	world_start(&world);
	client_check(pair[1], "get=1\n\n", OK);
	close(pair[1]);
	close(packets[1]);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(held),
		cmocka_unit_test(strangers),
	};

	return cmocka_run_group_tests(tests, world_prepare, world_finish);
}
