/* SPDX-License-Identifier: MIT */
#include "tests/io/uapi_world.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/rcu.h"
#include "engine/endpoint.h"
#include "engine/engine.h"
#include "tests/lib/check.h"
#include "tests/lib/quiet_ops.h"

enum {
	/* After this time without an answer a test fails. A choice. */
	PATIENCE_S = 20,
};

static void op_random(void *arg, void *buf, size_t len)
{
	(void)arg;
	assert_int_equal(getrandom(buf, len, 0), len);
}

static int op_set_sockets(void *arg, const struct device_sockets *want,
			  uint16_t *port)
{
	const struct world *world = arg;

	if (want->has_port && want->port == WORLD_BUSY_PORT)
		return -EADDRINUSE;
	*port = world->device.listen_port;
	if (want->has_port)
		*port = want->port ? want->port : WORLD_ANY_PORT;
	return 0;
}

static const struct device_ops device_ops = {
	.random = op_random,
	.wake = quiet_wake,
	.forget_source = quiet_forget_source,
	.endpoint_learnt = quiet_wake,
	.send_initiation = quiet_send,
	.send_keepalive = quiet_send,
	.session_ready = quiet_session_ready,
	.set_sockets = op_set_sockets,
};

static const struct uapi_codec codec = {
	.parse = endpoint_parse,
	.print = endpoint_print,
};

static void on_stop(struct loop_watch *watch, uint32_t events)
{
	struct world *world = watch->arg;

	(void)events;
	loop_stop(&world->loop, WORLD_STOPPED);
}

void world_init(struct world *world)
{
	*world = (struct world){ .name = "wgtest0",
				 .listen_fd = -1,
				 .patience_ms = WORLD_PATIENCE_MS };
}

void world_make_directory(struct world *world)
{
	strcpy(world->directory, "/tmp/uapi-XXXXXX");
	assert_non_null(mkdtemp(world->directory));
}

int world_open(struct world *world)
{
	struct uapi_server_config config = {
		.loop = &world->loop,
		.device = &world->device,
		.codec = &codec,
		.name = world->name,
		.listen_fd = world->listen_fd,
		.directory = world->directory,
		.patience_ms = world->patience_ms,
		.group = (gid_t)-1,
	};

	if (!*world->directory)
		world_make_directory(world);
	assert_int_equal(device_init(&world->device, &device_ops, world), 0);
	assert_int_equal(loop_init(&world->loop), 0);
	world->done_fd = eventfd(0, EFD_CLOEXEC);
	world->stop = (struct loop_watch){ .fd = eventfd(0, EFD_CLOEXEC),
					   .ready = on_stop,
					   .arg = world };
	assert_int_equal(loop_add(&world->loop, &world->stop, EPOLLIN), 0);
	return uapi_server_open_config(&world->server, &config);
}

static void poke(int fd)
{
	const uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void *run(void *arg)
{
	struct world *world = arg;

	rcu_register();
	world->status = loop_run(&world->loop);
	rcu_unregister();
	poke(world->done_fd);
	return NULL;
}

void world_start(struct world *world)
{
	assert_int_equal(pthread_create(&world->thread, NULL, run, world), 0);
}

void world_begin(struct world *world)
{
	world_init(world);
	assert_int_equal(world_open(world), 0);
	world_start(world);
}

int world_await(struct world *world)
{
	struct pollfd poll_fd = { .fd = world->done_fd, .events = POLLIN };

	assert_int_equal(poll(&poll_fd, 1, PATIENCE_S * 1000), 1);
	pthread_join(world->thread, NULL);
	return world->status;
}

int world_stop(struct world *world)
{
	poke(world->stop.fd);
	return world_await(world);
}

void world_close(struct world *world)
{
	uapi_server_close(world->server);
	device_deinit(&world->device);
	rcu_drain();
	loop_deinit(&world->loop);
	close(world->stop.fd);
	close(world->done_fd);
	rmdir(world->directory);
}

void world_end(struct world *world)
{
	assert_int_equal(world_stop(world), WORLD_STOPPED);
	world_close(world);
}

const char *world_path(const struct world *world)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s.sock", world->directory,
		 world->name);
	return path;
}

int client_open(const struct world *world)
{
	struct timeval patience = { .tv_sec = PATIENCE_S };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", world_path(world));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	assert_int_equal(connect(fd, (void *)&addr, sizeof(addr)), 0);
	return fd;
}

void client_send(int fd, const char *text)
{
	size_t len = strlen(text);

	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		assert_true(n > 0);
		text += n;
		len -= (size_t)n;
	}
}

/* Return: the number of answers that end in a text. */
static unsigned int count_ends(const char *text)
{
	unsigned int n = 0;

	while ((text = strstr(text, "\n\n"))) {
		text += 2;
		n++;
	}
	return n;
}

char *client_receive(int fd, unsigned int n)
{
	size_t cap = 65536, len = 0;
	unsigned int n_ends = 0;
	char *text = calloc(1, cap);

	while (n_ends < n) {
		size_t from = len > 1 ? len - 1 : 0;
		ssize_t got;

		if (cap - len < 4096) {
			cap *= 2;
			text = realloc(text, cap);
		}
		assert_non_null(text);
		got = recv(fd, text + len, cap - len - 1, 0);
		assert_true(got > 0);
		len += (size_t)got;
		text[len] = 0;
		/* The end of an answer may be split between two pieces. */
		n_ends += count_ends(text + from);
	}
	assert_int_equal(n_ends, n);
	return text;
}

void client_check(int fd, const char *request, const char *answer)
{
	char *text;

	client_send(fd, request);
	text = client_receive(fd, 1);
	assert_string_equal(text, answer);
	free(text);
}

void client_check_ended(int fd)
{
	char c;
	ssize_t n = recv(fd, &c, 1, 0);

	/* The kernel resets the connection if the server left data unread. */
	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
}

bool client_is_quiet(int fd, int timeout_ms)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, timeout_ms) == 0;
}

int world_prepare(void **state)
{
	(void)state;
	rcu_register();
	log_init(LOG_SILENT, "test");
	return 0;
}

int world_finish(void **state)
{
	(void)state;
	rcu_unregister();
	return 0;
}
