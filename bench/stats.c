/* SPDX-License-Identifier: MIT */
/*
 * Answers of a statistics socket beside a TCP stream. The program reads an answer and
 * does nothing else with it, so that the daemon is measured, and not its reader.
 *
 * Time is cut into slices of SLICE_NS, in rounds of three, in an order that is drawn for
 * each round. At the start of a slice
 *
 *	none	nothing happens,
 *	answer	one answer is asked for and read,
 *	spin	a loop takes as much CPU time as an answer costs daemon and reader.
 *
 * The stream runs all the time. Without a stream ("-" for ADDRESS) all slices are of the
 * kind answer, and follow each other without a pause.
 *
 * usage: bench-stats SOCKET REQUEST ROUNDS FROM TO ADDRESS SPIN_US
 *	SOCKET is the path of the socket, REQUEST a line such as get=stats. FROM and TO
 *	are files of network namespaces, ADDRESS is that of the stream's receiver.
 * Prints a line for each slice: its kind, its length in us, the bytes of the stream that
 * arrived in it, and of an answer: us from the request to its end, its bytes, and the us
 * of CPU time that the reader took.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "bench/measure.h"
#include "bench/net.h"

#define SLICE_NS UINT64_C(100000000)

enum {
	/* Bytes that one call reads at most. A choice: more than a Unix socket
	 * holds. */
	READ_CAP = 1 << 18,
	/* The stream's TCP port. A choice. */
	PORT = 7310,
	KINDS = 3,
	/* The stream's first second is not counted. A choice. */
	WARM_UP_SLICES = 10,
};

enum kind {
	KIND_NONE,
	KIND_ANSWER,
	KIND_SPIN,
};

static const char *const kinds[KINDS] = { "none", "answer", "spin" };

struct answer {
	uint64_t ns;
	uint64_t cpu_ns;
	size_t len;
};

static _Atomic uint64_t n_arrived;

static void die(const char *what)
{
	fprintf(stderr, "bench-stats: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ------------------------------------------------------------------- the stream */

static void *send_all(void *arg)
{
	static char data[READ_CAP];
	int fd = *(int *)arg;

	while (send(fd, data, sizeof(data), MSG_NOSIGNAL) > 0)
		;
	return NULL;
}

static void *receive_all(void *arg)
{
	static char data[READ_CAP];
	int fd = *(int *)arg;
	ssize_t n;

	while ((n = recv(fd, data, sizeof(data), 0)) > 0)
		atomic_fetch_add_explicit(&n_arrived, (uint64_t)n,
					  memory_order_relaxed);
	return NULL;
}

static int open_in(const char *file)
{
	int ns = open(file, O_RDONLY | O_CLOEXEC), err, fd;

	if (ns < 0)
		die(file);
	err = net_enter(ns);
	if (err < 0) {
		errno = -err;
		die(file);
	}
	close(ns);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	return fd;
}

static void start(void *(*run)(void *arg), int *fd)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, run, fd);
	if (errno)
		die("pthread_create");
	pthread_detach(thread);
}

/* The stream ends with the process. */
static void start_stream(const char *from, const char *to, const char *address)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons(PORT) };
	static int client, server;
	int listener = open_in(to);

	if (inet_pton(AF_INET, address, &at.sin_addr) != 1) {
		errno = EINVAL;
		die(address);
	}
	if (bind(listener, (void *)&at, sizeof(at)) < 0 ||
	    listen(listener, 1) < 0)
		die("listen");
	client = open_in(from);
	if (connect(client, (void *)&at, sizeof(at)) < 0)
		die("connect");
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (server < 0)
		die("accept");
	start(receive_all, &server);
	start(send_all, &client);
}

/* ------------------------------------------------------------------- the answers */

static int connect_to(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(at.sun_path)) {
		errno = ENAMETOOLONG;
		die(path);
	}
	memcpy(at.sun_path, path, strlen(path) + 1);
	if (fd < 0 || connect(fd, (void *)&at, sizeof(at)) < 0)
		die(path);
	return fd;
}

/* An answer ends with an empty line. */
static struct answer ask(const char *path, const char *request)
{
	static char data[READ_CAP];
	uint64_t begun = bench_now_ns(), cpu = bench_cpu_ns();
	int fd = connect_to(path);
	struct answer answer = { 0 };
	char end[2] = "";

	if (dprintf(fd, "%s\n\n", request) < 0)
		die("write");
	while (end[0] != '\n' || end[1] != '\n') {
		ssize_t n = recv(fd, data, sizeof(data), 0);

		if (n < 0)
			die("recv");
		if (n == 0) {
			errno = EPIPE;
			die("the answer has no end");
		}
		end[0] = n > 1 ? data[n - 2] : end[1];
		end[1] = data[n - 1];
		answer.len += (size_t)n;
	}
	close(fd);
	answer.ns = bench_now_ns() - begun;
	answer.cpu_ns = bench_cpu_ns() - cpu;
	return answer;
}

static void spin(uint64_t ns)
{
	uint64_t until = bench_cpu_ns() + ns;

	while (bench_cpu_ns() < until)
		;
}

/* --------------------------------------------------------------------- slices */

static void sleep_until(uint64_t ns)
{
	struct timespec ts = { .tv_sec = (time_t)(ns / 1000000000),
			       .tv_nsec = (long)(ns % 1000000000) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) ==
	       EINTR)
		;
}

static uint64_t arrived(void)
{
	return atomic_load_explicit(&n_arrived, memory_order_relaxed);
}

/* One slice. @length_ns: 0: it ends with what happens in it. */
static void run_slice(enum kind kind, const char *path, const char *request,
		      uint64_t spin_ns, uint64_t length_ns)
{
	uint64_t begun = bench_now_ns(), before = arrived();
	struct answer answer = { 0 };

	if (kind == KIND_ANSWER)
		answer = ask(path, request);
	else if (kind == KIND_SPIN)
		spin(spin_ns);
	if (length_ns)
		sleep_until(begun + length_ns);
	printf("%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %zu %" PRIu64 "\n",
	       kinds[kind], (bench_now_ns() - begun) / 1000, arrived() - before,
	       answer.ns / 1000, answer.len, answer.cpu_ns / 1000);
}

/* Draw an order of the kinds. */
static void shuffle(enum kind order[KINDS])
{
	for (unsigned int i = KINDS - 1; i; i--) {
		unsigned int k = (unsigned int)random() % (i + 1);
		enum kind kept = order[i];

		order[i] = order[k];
		order[k] = kept;
	}
}

int main(int argc, char **argv)
{
	enum kind order[KINDS] = { KIND_NONE, KIND_ANSWER, KIND_SPIN };
	uint64_t spin_ns;
	long n_rounds;

	if (argc != 8) {
		fputs("usage: bench-stats SOCKET REQUEST ROUNDS FROM TO "
		      "ADDRESS SPIN_US\n",
		      stderr);
		return 1;
	}
	n_rounds = strtol(argv[3], NULL, 10);
	spin_ns = strtoull(argv[7], NULL, 10) * 1000;
	if (strcmp(argv[6], "-") == 0) {
		for (long i = 0; i < n_rounds; i++)
			run_slice(KIND_ANSWER, argv[1], argv[2], 0, 0);
		return 0;
	}
	start_stream(argv[4], argv[5], argv[6]);
	sleep_until(bench_now_ns() + WARM_UP_SLICES * SLICE_NS);
	for (long i = 0; i < n_rounds; i++) {
		shuffle(order);
		for (unsigned int k = 0; k < KINDS; k++)
			run_slice(order[k], argv[1], argv[2], spin_ns,
				  SLICE_NS);
	}
	return 0;
}
