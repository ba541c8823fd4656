/* SPDX-License-Identifier: MIT */
/*
 * A client of the configuration socket, which sends requests one after the
 * other, in pieces of any size, and may or may not read the answers.
 *
 * Input: the sizes of the pieces in which the text is sent (two bytes), whether
 * the answers are read meanwhile (one byte), and the text.
 *
 * Promises: each request gets one whole answer, whatever the pieces are. The
 * connection of a client that ends is closed.
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "engine/endpoint.h"
#include "engine/engine.h"
#include "fuzz/lines.h"
#include "fuzz/quiet_device.h"
#include "uapi/client.h"

enum {
	HEADER_LEN = 3,
	/* Bounds of the text and of all answers to it. Choices. */
	TEXT_MAX = 16384,
	ANSWER_MAX = 1 << 20,
	/* Small, so that the socket is full before an answer is whole. */
	SOCKET_BUFFER = 4096,
};

const size_t fuzz_lines_begin = HEADER_LEN;

/* The answers to a client. */
struct answers {
	char text[ANSWER_MAX];
	size_t len;
};

static const struct uapi_codec codec = { endpoint_parse, endpoint_print };
static struct loop loop;
static struct uapi_hub hub;
static struct loop_watch bell;
static unsigned int n_quiet;

/*
 * This watch is always ready. If it comes twice in a row, no other watch is
 * ready.
 */
static void on_bell(struct loop_watch *watch, uint32_t events)
{
	(void)watch;
	(void)events;
	if (++n_quiet == 2)
		loop_stop(&loop, 0);
}

static void on_changed(struct uapi_hub *changed)
{
	(void)changed;
	n_quiet = 0;
}

static void make_hub(void)
{
	log_init(LOG_SILENT, "fuzz");
	require(loop_init(&loop) == 0);
	bell = (struct loop_watch){ .fd = eventfd(1, EFD_CLOEXEC),
				    .ready = on_bell };
	require(bell.fd >= 0 && loop_add(&loop, &bell, EPOLLIN) == 0);
	hub.loop = &loop;
	hub.device = quiet_device_get();
	hub.codec = &codec;
	hub.changed = on_changed;
	list_init(&hub.clients);
}

/* Read the waiting answers. Return: true if there were any. */
static bool drain(int fd, struct answers *out)
{
	size_t before = out->len;
	ssize_t n;

	do {
		require(out->len < sizeof(out->text));
		n = recv(fd, out->text + out->len, sizeof(out->text) - out->len,
			 MSG_DONTWAIT);
		out->len += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	return out->len > before;
}

/* Let the server run until it waits. @out: if set, receives its answers. */
static void settle(int fd, struct answers *out)
{
	do {
		n_quiet = 0;
		loop.is_stopped = false;
		require(loop_run(&loop) == 0);
	} while (out && drain(fd, out));
}

/* Send the whole text, in pieces of @a and @b bytes in turn. */
static void talk(const char *text, size_t len, size_t a, size_t b, bool is_slow,
		 struct answers *out)
{
	const int small = SOCKET_BUFFER;
	struct uapi_client *client;
	int fds[2];
	size_t at = 0;

	out->len = 0;
	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			   0, fds) == 0);
	require(!setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &small,
			    sizeof(small)));
	require(uapi_client_open(&client, &hub, fds[1]) == 0);
	for (unsigned int i = 0; at < len && hub.n_clients; i++) {
		size_t piece = size_min(len - at, i % 2 ? b : a);
		ssize_t n = send(fds[0], text + at, piece, MSG_NOSIGNAL);

		require(n > 0 || errno == EAGAIN || errno == EPIPE);
		at += n > 0 ? (size_t)n : 0;
		/* The last answers must be read even from a slow client's
		 * socket. */
		settle(fds[0], is_slow && n > 0 ? NULL : out);
	}
	shutdown(fds[0], SHUT_WR);
	settle(fds[0], out);
	require(hub.n_clients == 0 && list_is_empty(&hub.clients));
	close(fds[0]);
}

/*
 * Return: the number of requests in the text that are answered, by the grammar
 * alone. A request with an error is answered before its end.
 */
static size_t count_requests(const char *text, size_t len)
{
	struct uapi_parser *parser = uapi_parser_new(&codec);
	struct uapi_request request;
	size_t n = 0, n_used;
	int rc = 0;

	require(parser != NULL);
	for (size_t at = 0; at < len && rc >= 0; at += n_used) {
		rc = uapi_parser_push(parser, text + at, len - at, &n_used,
				      &request);
		if (rc != UAPI_E_REQUEST)
			continue;
		config_free(request.config);
		n++;
	}
	n += rc == 0 && uapi_parser_get_error(parser);
	uapi_parser_free(parser);
	return n;
}

/* Count answers: only the end of an answer has errno and an empty line. */
static size_t count_answers(const struct answers *a)
{
	static const char last[] = "errno=";
	size_t n = 0, line = 0;
	bool is_status = false;

	for (size_t i = 0; i < a->len; i++) {
		if (a->text[i] != '\n')
			continue;
		if (i == line) {
			require(is_status);
			n++;
		}
		is_status = i - line > sizeof(last) - 1 &&
			    !memcmp(a->text + line, last, sizeof(last) - 1);
		line = i + 1;
	}
	require(line == a->len && !is_status);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct answers one, two;
	const char *text = (const char *)data + HEADER_LEN;

	if (len < HEADER_LEN || len - HEADER_LEN > TEXT_MAX)
		return 0;
	if (!hub.device)
		make_hub();
	len -= HEADER_LEN;
	quiet_device_clear(hub.device);
	talk(text, len, TEXT_MAX, TEXT_MAX, false, &one);
	require(count_answers(&one) == count_requests(text, len));
	quiet_device_clear(hub.device);
	/* Use larger pieces for long texts, to save time. */
	talk(text, len, data[0] + 1U + len / 64, data[1] % 64 + 1U, data[2] & 1,
	     &two);
	require(one.len == two.len && !memcmp(one.text, two.text, one.len));
	return 0;
}
