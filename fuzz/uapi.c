/* SPDX-License-Identifier: MIT */
/*
 * Text on the configuration socket.
 *
 * The first byte of the input gives the size of the pieces in which the rest
 * arrives.
 * Promises: a parser reads on or stops behind a request, never past it; the
 * pieces make no difference; a request without error can be applied, and what
 * `get` then prints is, apart from what cannot be set, a `set` without error.
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <stdio.h>

#include "device/config.h"
#include "fuzz/lines.h"
#include "fuzz/quiet_device.h"
#include "uapi/grammar.h"
#include "uapi/reply.h"

enum {
	/* Bounds of the input and of the answer to `get`. Choices. */
	INPUT_MAX = 64 * 1024,
	REPLY_MAX = 4 << 20,
};

const size_t fuzz_lines_begin = 1;

/* Endpoints are their own text: printable, with a colon in it. */
static int codec_parse(struct device_endpoint *ep, const char *text)
{
	if (!strchr(text, ':') || strlen(text) >= sizeof(ep->words))
		return -EINVAL;
	memcpy(ep->words, text, strlen(text));
	return 0;
}

static int codec_print(const struct device_endpoint *ep, char *buf, size_t cap)
{
	return snprintf(buf, cap, "%.*s", (int)sizeof(ep->words),
			(const char *)ep->words);
}

static const struct uapi_codec codec = { codec_parse, codec_print };

/* Lines that `get` prints and `set` does not know. */
static bool is_readonly(const char *line)
{
	return !strncmp(line, "last_", 5) || !strncmp(line, "tx_", 3) ||
	       !strncmp(line, "rx_", 3) || !strncmp(line, "errno", 5);
}

static void check_reply(struct device *device)
{
	static char reply_text[REPLY_MAX];
	static char set_text[REPLY_MAX];
	struct uapi_parser *parser = uapi_parser_new(&codec);
	struct uapi_request request;
	struct uapi_reply reply;
	size_t len = 0;
	size_t n;

	uapi_reply_init(&reply, device, &codec);
	while ((n = uapi_reply_fill(&reply, reply_text + len,
				    sizeof(reply_text) - len)))
		len += n;
	reply_text[len] = 0;
	n = (size_t)sprintf(set_text, "set=1\n");
	for (const char *line = reply_text; *line; line++) {
		size_t line_len = strcspn(line, "\n");

		if (!is_readonly(line))
			n += (size_t)sprintf(set_text + n, "%.*s\n",
					     (int)line_len, line);
		line += line_len;
	}
	require(uapi_parser_push(parser, set_text, n, &len, &request) ==
		UAPI_E_REQUEST);
	require(len == n && !request.error);
	config_free(request.config);
	uapi_parser_free(parser);
}

static void apply(struct device *device, struct uapi_request *request)
{
	if (request->config) {
		require(!config_apply(request->config, device, 1));
		check_reply(device);
	}
	config_free(request->config);
}

/*
 * Read the text in pieces. Return: a sum over the requests and errors that were
 * found; it does not depend on the pieces.
 */
static uint64_t read_text(const char *text, size_t len, size_t piece,
			  struct device *device)
{
	struct uapi_parser *parser = uapi_parser_new(&codec);
	struct uapi_request request;
	uint64_t sum = 0;
	size_t n_used;
	int rc = 0;

	for (size_t at = 0; at < len && rc >= 0; at += n_used) {
		size_t n = len - at < piece ? len - at : piece;

		rc = uapi_parser_push(parser, text + at, n, &n_used, &request);
		require(n_used > 0 && n_used <= n);
		require(rc == UAPI_E_REQUEST || rc == -EPROTO ||
			(rc == 0 && n_used == n));
		if (rc != UAPI_E_REQUEST)
			continue;
		require(text[at + n_used - 1] == '\n');
		require(!request.config || !request.error);
		sum = sum * 31 + at + n_used;
		sum = sum * 31 + request.line + (uint64_t)-request.error;
		if (device)
			apply(device, &request);
		else
			config_free(request.config);
	}
	uapi_parser_free(parser);
	return sum * 31 + (uint64_t)-rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct device *device = quiet_device_get();
	const char *text = (const char *)data + 1;

	if (!len || len > INPUT_MAX)
		return 0;
	read_text(text, len - 1, len, device);
	quiet_device_clear(device);
	/* In one piece and in small ones, the text must give the same requests
	 * and errors. */
	require(read_text(text, len - 1, len, NULL) ==
		read_text(text, len - 1, data[0] % 64 + 1U, NULL));
	return 0;
}
