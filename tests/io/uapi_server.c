/* SPDX-License-Identifier: MIT */
/* The server from its clients' side: requests, answers, limits and timeouts. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/io/uapi_world.h"
#include "uapi/client.h"
#include "tests/lib/check.h"

enum {
	/* Long enough for a wrong action of the server to show, in ms. A
	 * choice. */
	MOMENT_MS = 150,
	/* Their configuration is longer than the socket's buffers. A choice. */
	N_PEERS = 10000,
};

#define OK	     "errno=0\n\n"
#define PRIVATE_LINE "private_key=" KEY_A "\n"
#define PUBLIC_LINE  "public_key=" KEY_B
#define KEY_A	     "480000000000000000000000000000000000000000000000000000000000004f"
#define KEY_B	     "77a75ba6ce7b8b8ea2d1b4b5c3b83b42f1f5fc34a1c9a1ab1f6a1c4a0e9f2b11"
#define NO_KEY \
	"0000000000000000000000000000000000000000000000000000000000000000"

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Is this machine too busy to judge times? A timer of 1 ms tells. */
static bool timer_is_late(void)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	int64_t worst = 0;

	for (int i = 0; i < 20; i++) {
		int64_t took = -now_ms();

		nanosleep(&pause, NULL);
		took += now_ms();
		worst = took > worst ? took : worst;
	}
	return worst > 6;
}

static void get_nothing(void **state)
{
	struct world w;
	int fd;

	(void)state;
	world_begin(&w);
	fd = client_open(&w);
	client_check(fd, "get=1\n\n", OK);
	client_check(fd, "get=1\n\n", OK);
	close(fd);
	world_end(&w);
}

static void set_and_get(void **state)
{
	struct world w;
	int fd;

	(void)state;
	world_begin(&w);
	fd = client_open(&w);
	client_check(fd,
		     "set=1\n" PRIVATE_LINE "listen_port=0\nfwmark=51820\n"
		     "public_key=" KEY_B "\nendpoint=[2001:db8::1]:1234\n"
		     "persistent_keepalive_interval=25\n"
		     "allowed_ip=10.1.2.3/24\nallowed_ip=fd00::/64\n\n",
		     OK);
	client_check(
		fd, "get=1\n\n",
		PRIVATE_LINE
		"listen_port=7777\nfwmark=51820\n"
		"public_key=" KEY_B "\npreshared_key=" NO_KEY
		"\nprotocol_version=1\nendpoint=[2001:db8::1]:1234\n"
		"last_handshake_time_sec=0\nlast_handshake_time_nsec=0\n"
		"tx_bytes=0\nrx_bytes=0\npersistent_keepalive_interval=25\n"
		"allowed_ip=10.1.2.0/24\nallowed_ip=fd00::/64\n" OK);
	close(fd);
	world_end(&w);
}

/* Bytes behind a set belong to the next request, with or without errors. */
static void pipelined(void **state)
{
	struct world w;
	char *text;
	int fd;

	(void)state;
	world_begin(&w);
	fd = client_open(&w);
	client_send(fd, "set=1\nlisten_port=5\n\n"
			"get=1\n\n"
			"set=1\nlisten_port=6\nfwmark=0x1\nlisten_port=8\n\n"
			"set=1\nlisten_port=1\n\n"
			"get=1\n\n"
			"get=1\nwhat=1\n\n"
			"set=1\nlisten_port=9\n\n"
			"get=1\n\n");
	text = client_receive(fd, 8);
	assert_string_equal(text, OK "listen_port=5\n" OK "errno=-22\n\n"
				     "errno=-98\n\n"
				     "listen_port=5\n" OK "errno=22\n\n" OK
				     "listen_port=9\n" OK);
	free(text);
	close(fd);
	world_end(&w);
}

static void byte_by_byte(void **state)
{
	static const char text[] = "set=1\nlisten_port=77\n\nget=1\n\n";
	const struct timespec pause = { .tv_nsec = 1000000 };
	struct world w;
	char *answer;
	int fd;

	(void)state;
	world_begin(&w);
	fd = client_open(&w);
	for (size_t i = 0; text[i]; i++) {
		char byte[] = { text[i], 0 };

		client_send(fd, byte);
		nanosleep(&pause, NULL);
	}
	answer = client_receive(fd, 2);
	assert_string_equal(answer, OK "listen_port=77\n" OK);
	free(answer);
	close(fd);
	world_end(&w);
}

static void garbage(void **state)
{
	static const char *const texts[] = {
		"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"set=1\r\n\r\n",
		"get=2\n\n",
		"\n\n",
		" get=1\n\n",
	};
	struct world w;
	int other, fd;

	(void)state;
	world_begin(&w);
	other = client_open(&w);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		fd = client_open(&w);
		client_send(fd, texts[i]);
		client_check_ended(fd);
		close(fd);
		client_check(other, "get=1\n\n", OK);
	}
	/* A due answer is sent before the connection ends. */
	fd = client_open(&w);
	client_send(fd, "get=1\n\nrubbish\n");
	free(client_receive(fd, 1));
	client_check_ended(fd);
	close(fd);
	close(other);
	world_end(&w);
}

static void random_bytes(void **state)
{
	static const char *const words[] = { "set=1\n", "get=1\n",
					     "\n",	"listen_port=",
					     "5",	PUBLIC_LINE,
					     "remove=", "true",
					     "=",	"allowed_ip=1.1.1.1/",
					     "\r",	"\x01\xff" };
	struct random random;
	struct world w;
	int fd;

	(void)state;
	random_init(&random, 5);
	world_begin(&w);
	for (int i = 0; i < 300; i++) {
		fd = client_open(&w);
		for (size_t n = random_below(&random, 200); n; n--) {
			const char *word =
				words[random_below(&random, ARRAY_LEN(words))];

			/* The server may have closed the connection by now. */
			if (send(fd, word, strlen(word), MSG_NOSIGNAL) < 0)
				break;
		}
		close(fd);
	}
	fd = client_open(&w);
	free((client_send(fd, "get=1\n\n"), client_receive(fd, 1)));
	close(fd);
	world_end(&w);
}

static void long_line(void **state)
{
	enum {
		LEN = 300000, /* more than a usual socket buffer holds */
	};
	char *text = malloc(LEN);
	struct world w;
	int fd;

	(void)state;
	assert_non_null(text);
	world_begin(&w);
	fd = client_open(&w);
	memset(text, 'a', LEN);
	text[LEN - 1] = 0;
	client_send(fd, "set=1\nlisten_port=3\n");
	client_send(fd, text);
	client_check(fd, "\n\n", "errno=-90\n\n");
	client_check(fd, "get=1\n\n", OK);
	/* A bad first line is answered at once. */
	client_send(fd, text);
	client_send(fd, "\n");
	client_check_ended(fd);
	close(fd);
	free(text);
	world_end(&w);
}

static void ends(void **state)
{
	struct world w;
	int fd, other;

	(void)state;
	world_begin(&w);
	other = client_open(&w);
	/* A client that leaves in the middle of a request changes nothing. */
	fd = client_open(&w);
	client_send(fd, "set=1\nlisten_port=5\n");
	shutdown(fd, SHUT_WR);
	client_check_ended(fd);
	close(fd);
	client_check(other, "get=1\n\n", OK);
	/* A client that shuts down sending after a request gets its answer. */
	fd = client_open(&w);
	client_send(fd, "set=1\nlisten_port=5\n\nget=1\n\n");
	shutdown(fd, SHUT_WR);
	free(client_receive(fd, 2));
	client_check_ended(fd);
	close(fd);
	/* The client leaves before its answer. */
	fd = client_open(&w);
	client_send(fd, "get=1\n\n");
	close(fd);
	fd = client_open(&w);
	client_send(fd, "get=1\n\n");
	shutdown(fd, SHUT_RD);
	client_check(other, "get=1\n\n", "listen_port=5\n" OK);
	close(fd);
	close(other);
	world_end(&w);
}

static void add_peers(int fd, unsigned int n)
{
	char line[256];
	char *text;

	client_send(fd, "set=1\n");
	for (unsigned int i = 1; i <= n; i++) {
		snprintf(line, sizeof(line),
			 "public_key=%064x\nallowed_ip=10.%u.%u.0/24\n"
			 "allowed_ip=fd00:%x::/64\n",
			 i << 8 | 9, i >> 8, i & 255, i);
		client_send(fd, line);
	}
	client_send(fd, "\n");
	text = client_receive(fd, 1);
	assert_string_equal(text, OK);
	free(text);
}

/*
 * Count the lines that begin with a word. Does not use strstr(3), with which
 * sanitizers read the whole text each time.
 */
static unsigned int count(const char *text, const char *word)
{
	size_t len = strlen(word);
	bool is_start = true;
	unsigned int n = 0;

	for (; *text; text++) {
		n += is_start && !strncmp(text, word, len);
		is_start = *text == '\n';
	}
	return n;
}

/*
 * A client sends three requests and reads late; other clients are not affected.
 */
static void slow_reader(void **state)
{
	struct world w;
	int slow, fd;
	char *text;

	(void)state;
	world_begin(&w);
	fd = client_open(&w);
	add_peers(fd, N_PEERS);
	slow = client_open(&w);
	client_send(slow, "get=1\n\nget=1\n\nget=1\n\n");
	assert_false(client_is_quiet(slow, 5000));
	for (int i = 0; i < 10; i++)
		client_check(fd, "set=1\nlisten_port=9\n\n", OK);
	text = client_receive(slow, 3);
	assert_int_equal(count(text, "public_key="), 3 * N_PEERS);
	assert_int_equal(count(text, "allowed_ip="), 6 * N_PEERS);
	free(text);
	close(slow);
	close(fd);
	world_end(&w);
}

/* The configuration changes while it is being read. */
static void changing(void **state)
{
	struct world w;
	int slow, fd;
	char *text;

	(void)state;
	world_begin(&w);
	fd = client_open(&w);
	add_peers(fd, N_PEERS);
	slow = client_open(&w);
	client_send(slow, "get=1\n\n");
	assert_false(client_is_quiet(slow, 5000));
	client_check(fd, "set=1\nreplace_peers=true\n\n", OK);
	text = client_receive(slow, 1);
	assert_in_range(count(text, "public_key="), 1, N_PEERS - 1);
	assert_non_null(strstr(text, "\n" OK));
	free(text);
	close(slow);
	close(fd);
	world_end(&w);
}

/* A new client gets the place of the client that was silent longest. */
static void many_clients(void **state)
{
	int fds[UAPI_MAX_CLIENTS + 2];
	struct world w;

	(void)state;
	world_begin(&w);
	for (int i = 0; i < UAPI_MAX_CLIENTS; i++) {
		fds[i] = client_open(&w);
		client_check(fds[i], "get=1\n\n", OK);
	}
	/* Now the second client was silent longest. */
	client_check(fds[0], "get=1\n\n", OK);
	for (int i = UAPI_MAX_CLIENTS; i < UAPI_MAX_CLIENTS + 2; i++) {
		fds[i] = client_open(&w);
		client_check(fds[i], "get=1\n\n", OK);
	}
	client_check_ended(fds[1]);
	client_check_ended(fds[2]);
	for (int i = 0; i < UAPI_MAX_CLIENTS + 2; i++) {
		if (i != 1 && i != 2)
			client_check(fds[i], "get=1\n\n", OK);
		close(fds[i]);
	}
	world_end(&w);
}

/* Milliseconds until a newcomer has an answer. */
static int64_t time_newcomer(const struct world *w)
{
	int64_t took = -now_ms();
	int fd = client_open(w);

	client_check(fd, "get=1\n\n", OK);
	took += now_ms();
	close(fd);
	return took;
}

/*
 * A new client is served at once although 200 connections are open that send
 * nothing. The machine may be busy with something else for a moment, so five
 * new clients try it.
 */
static void idle_crowd(void **state)
{
	enum {
		IDLE = 200, /* several times UAPI_MAX_CLIENTS */
		NEWCOMERS = 5,
	};
	bool is_late = timer_is_late();
	int64_t took, best = INT64_MAX;
	int fds[IDLE];
	struct world w;

	(void)state;
	world_begin(&w);
	for (int i = 0; i < IDLE; i++)
		fds[i] = client_open(&w);
	for (int i = 0; i < NEWCOMERS; i++) {
		took = time_newcomer(&w);
		best = took < best ? took : best;
	}
	print_message("# served after %d ms%s\n", (int)best,
		      is_late ? ", timers are late" : "");
	assert_true(best < (is_late ? 5000 : 100));
	for (int i = 0; i < IDLE; i++)
		close(fds[i]);
	world_end(&w);
}

/*
 * Every place is taken by a client that has begun a request. A new client waits
 * until one of them has stalled for UAPI_STALL_S. A client that goes on sending
 * stays.
 */
static void busy_crowd(void **state)
{
	const struct timespec pause = { .tv_nsec = MOMENT_MS * 1000000L };
	int fds[UAPI_MAX_CLIENTS];
	struct world w;
	int64_t took;
	int fd;

	(void)state;
	world_begin(&w);
	for (int i = 0; i < UAPI_MAX_CLIENTS; i++) {
		fds[i] = client_open(&w);
		client_send(fds[i], "set=1\nlisten_port=5\n");
	}
	took = -now_ms();
	fd = client_open(&w);
	client_send(fd, "get=1\n\n");
	/* The first client goes on sending all the time. */
	while (client_is_quiet(fd, 0) && took + now_ms() < 60000) {
		client_send(fds[0], "fwmark=5\n");
		nanosleep(&pause, NULL);
	}
	took += now_ms();
	free(client_receive(fd, 1));
	print_message("# a place after %d ms\n", (int)took);
	assert_true(took >= UAPI_STALL_S * 1000 - MOMENT_MS);
	client_check(fds[0], "\n", OK);
	client_check_ended(fds[1]);
	close(fd);
	for (int i = 0; i < UAPI_MAX_CLIENTS; i++)
		close(fds[i]);
	world_end(&w);
}

/*
 * Every place is taken by a client that sends requests and does not read
 * answers. The server may drop such a client although it has unread requests:
 * they cannot be read before the answer has left.
 */
static void crowd_without_readers(void **state)
{
	int fds[UAPI_MAX_CLIENTS];
	struct world w;
	int64_t took;
	int fd;

	(void)state;
	world_init(&w);
	/* Much longer than what follows takes on a slow machine. */
	w.patience_ms = 4 * WORLD_PATIENCE_MS;
	assert_int_equal(world_open(&w), 0);
	world_start(&w);
	fd = client_open(&w);
	add_peers(fd, N_PEERS);
	close(fd);
	for (int i = 0; i < UAPI_MAX_CLIENTS; i++) {
		fds[i] = client_open(&w);
		client_send(fds[i], "get=1\n\n");
	}
	/* By now the server has read each request and is answering. */
	nanosleep(&(struct timespec){ .tv_nsec = MOMENT_MS * 1000000L }, NULL);
	for (int i = 0; i < UAPI_MAX_CLIENTS; i++)
		client_send(fds[i], "get=1\n\n");
	took = -now_ms();
	fd = client_open(&w);
	client_send(fd, "set=1\nlisten_port=5\n\n");
	free(client_receive(fd, 1));
	took += now_ms();
	print_message("# a place after %d ms\n", (int)took);
	assert_true(took < (int64_t)w.patience_ms / 2);
	close(fd);
	for (int i = 0; i < UAPI_MAX_CLIENTS; i++)
		close(fds[i]);
	world_end(&w);
}

/* A refused request is answered at once, and its rest is discarded. */
static void refused(void **state)
{
	struct world w;
	int64_t took;
	int fd;

	(void)state;
	world_begin(&w);
	fd = client_open(&w);
	/* The end of a request may come late: the next one is read. */
	client_check(fd, "set=1\nlisten_port=x\n", "errno=-22\n\n");
	client_send(fd, "fwmark=7\n\n");
	client_check(fd, "get=1\n\n", OK);
	/* If the end does not come, the connection ends after the answer. */
	took = -now_ms();
	client_check(fd, "set=1\nlisten_port=x\n", "errno=-22\n\n");
	client_check_ended(fd);
	took += now_ms();
	print_message("# closed after %d ms\n", (int)took);
	assert_true(took >= UAPI_DRAIN_S * 1000 - MOMENT_MS);
	close(fd);
	world_end(&w);
}

/* A line without an end is answered, too, and read up to UAPI_DRAIN_MAX. */
static void endless_line(void **state)
{
	enum {
		PIECE = 1 << 16,
	};
	static char piece[PIECE + 1];
	size_t sent = 0;
	struct world w;
	ssize_t n;
	int fd;

	(void)state;
	world_begin(&w);
	memset(piece, 'a', PIECE);
	fd = client_open(&w);
	client_send(fd, "set=1\n");
	do {
		n = send(fd, piece, PIECE, MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
	} while (n > 0 && sent < 64U * UAPI_DRAIN_MAX);
	print_message("# %zu bytes were taken\n", sent);
	assert_in_range(sent, UAPI_DRAIN_MAX - PIECE, 4U * UAPI_DRAIN_MAX);
	client_check(fd, "", "errno=-90\n\n");
	close(fd);
	world_end(&w);
}

/* Clients that keep the server waiting are dropped, others stay. */
static void patience(void **state)
{
	struct world w;
	int idle, half, no_reader, fd;

	(void)state;
	world_init(&w);
	w.patience_ms = 10 * MOMENT_MS;
	assert_int_equal(world_open(&w), 0);
	world_start(&w);
	fd = client_open(&w);
	add_peers(fd, N_PEERS);
	idle = client_open(&w);
	client_check(idle, "set=1\nlisten_port=5\n\n", OK);
	half = client_open(&w);
	client_send(half, "set=1\nlisten_port=6\n");
	no_reader = client_open(&w);
	client_send(no_reader, "get=1\n\n");
	assert_true(client_is_quiet(half, MOMENT_MS));
	client_check_ended(half);
	/* The answer of the dropped client is cut off. */
	assert_true(client_is_quiet(idle, 14 * MOMENT_MS));
	while (1) {
		char buf[65536];
		ssize_t n = recv(no_reader, buf, sizeof(buf), 0);

		if (n <= 0)
			break;
		assert_null(memmem(buf, (size_t)n, OK, strlen(OK)));
	}
	client_check(idle, "set=1\nlisten_port=5\n\n", OK);
	close(idle);
	close(half);
	close(no_reader);
	close(fd);
	world_end(&w);
}

/* A client that makes progress, however slow, is not dropped. */
static void slow_but_alive(void **state)
{
	static const char text[] = "get=1\n\n";
	const struct timespec pause = { .tv_nsec = MOMENT_MS * 1000000L };
	struct world w;
	int fd;

	(void)state;
	world_init(&w);
	w.patience_ms = 3 * MOMENT_MS;
	assert_int_equal(world_open(&w), 0);
	world_start(&w);
	fd = client_open(&w);
	for (size_t i = 0; text[i]; i++) {
		char byte[] = { text[i], 0 };

		client_send(fd, byte);
		nanosleep(&pause, NULL);
	}
	free(client_receive(fd, 1));
	close(fd);
	world_end(&w);
}

/* CPU time of the process in ms. */
static long cpu_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* No descriptor for a newcomer: it waits, and nothing spins. */
static void no_descriptors(void **state)
{
	struct rlimit old, tight;
	struct world w;
	int first, fd;
	long used;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	world_begin(&w);
	first = client_open(&w);
	client_check(first, "get=1\n\n", OK);
	/* One more for us and none for the server. */
	fd = dup(0);
	close(fd);
	tight = old;
	tight.rlim_cur = (rlim_t)fd + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	fd = client_open(&w);
	client_send(fd, "get=1\n\n");
	used = cpu_ms();
	assert_true(client_is_quiet(fd, 2 * MOMENT_MS));
	assert_true(cpu_ms() - used < MOMENT_MS);
	client_check(first, "get=1\n\n", OK);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	free(client_receive(fd, 1));
	close(fd);
	close(first);
	world_end(&w);
}

/* The server is closed while clients are in different states. */
static void close_with_clients(void **state)
{
	int fds[4];
	struct world w;

	(void)state;
	world_begin(&w);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = client_open(&w);
	add_peers(fds[0], N_PEERS);
	client_send(fds[1], "set=1\n" PRIVATE_LINE);
	client_send(fds[2], "get=1\n\n");
	assert_false(client_is_quiet(fds[2], 5000));
	world_end(&w);
	client_check_ended(fds[0]);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
}

/* A function that applies a request whose mark is even, and refuses the others. */
static int apply_even(void *arg, const struct config *config, uint64_t now)
{
	struct world *world = arg;
	uint32_t was = world->device.fwmark;
	int err = config_apply(config, &world->device, now);

	if (err == 0 && world->device.fwmark % 2) {
		world->device.fwmark = was;
		return -ENOSPC;
	}
	return err;
}

/* The answer to a set is the result of the function that applies it. */
static void applied_by_another(void **state)
{
	struct world world;
	int fd;

	(void)state;
	world_init(&world);
	assert_int_equal(world_open(&world), 0);
	uapi_server_set_apply(world.server, apply_even, &world);
	world_start(&world);
	fd = client_open(&world);
	client_check(fd, "set=1\nfwmark=2\n\n", "errno=0\n\n");
	client_check(fd, "set=1\nfwmark=3\n\n", "errno=-28\n\n");
	client_check(fd, "get=1\n\n", "fwmark=2\nerrno=0\n\n");
	close(fd);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(get_nothing),
		cmocka_unit_test(set_and_get),
		cmocka_unit_test(pipelined),
		cmocka_unit_test(byte_by_byte),
		cmocka_unit_test(garbage),
		cmocka_unit_test(random_bytes),
		cmocka_unit_test(long_line),
		cmocka_unit_test(ends),
		cmocka_unit_test(slow_reader),
		cmocka_unit_test(changing),
		cmocka_unit_test(many_clients),
		cmocka_unit_test(patience),
		cmocka_unit_test(idle_crowd),
		cmocka_unit_test(busy_crowd),
		cmocka_unit_test(crowd_without_readers),
		cmocka_unit_test(refused),
		cmocka_unit_test(endless_line),
		cmocka_unit_test(slow_but_alive),
		cmocka_unit_test(no_descriptors),
		cmocka_unit_test(close_with_clients),
		cmocka_unit_test(applied_by_another),
	};

	return cmocka_run_group_tests(tests, world_prepare, world_finish);
}
