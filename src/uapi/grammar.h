/* SPDX-License-Identifier: MIT */
/*
 * The text in which a device is configured
 * (https://www.wireguard.com/xplatform/): a request is "get=1" or "set=1",
 * lines of key=value, and an empty line.
 *
 * The parser takes bytes as they come and stops behind the end of a request, so
 * a client may send the next request without waiting. A `set` becomes a list of
 * operations; the caller applies it. After an error the rest of the request is
 * read and ignored, so that no line of it is taken for another request. Every
 * line except the first may end in CR LF. A request that the end of the stream
 * cuts off is ignored.
 *
 * The description leaves some points open. In these points the parser does what
 * wireguard-go and `wg` agree on: numbers are decimal without sign; a prefix
 * needs its length; `true` is the only value of a switch; keys are 64 hex
 * digits of either case; lines of the device come before the first public_key.
 *
 * A parser belongs to one thread at a time.
 */
#ifndef UAPI_GRAMMAR_H
#define UAPI_GRAMMAR_H

#include <stddef.h>
#include <stdint.h>

#include "device/config.h"
#include "device/endpoint.h"

enum {
	/* The longest line, without its end. A choice: no line that `wg` writes
	 * has more than 100 bytes. */
	UAPI_MAX_LINE = 1024,
	/* The longest request. A choice: some 400,000 peers with two prefixes
	 * each. */
	UAPI_MAX_TEXT = 64 << 20,
	/* Bytes of uapi_request.token. A choice: enough to recognise a wrong
	 * word in a log line. */
	UAPI_TOKEN_CAP = 64,
	/* Bytes that a printed endpoint needs at most, with its final 0: as
	 * UG_ENDPOINT_TEXT of udpgather.h. */
	UAPI_ENDPOINT_TEXT = 80,
};

/* Conditions that the direct caller handles. */
enum uapi_error {
	/* A whole request was read. */
	UAPI_E_REQUEST = 1,
};

enum uapi_op {
	UAPI_GET = 1,
	UAPI_SET,
};

/**
 * struct uapi_codec - how endpoints are read and written
 * @parse:	"1.2.3.4:5" or "[fe80::1%eth0]:5"; 0, or -errno
 * @print:	write such a text, with a final 0; its length, or -errno
 */
struct uapi_codec {
	int (*parse)(struct device_endpoint *ep, const char *text);
	int (*print)(const struct device_endpoint *ep, char *buf, size_t cap);
};

/**
 * struct uapi_request - a request that was read
 * @op:		get or set
 * @error:	0, or -errno: the first error in it
 * @line:	line of the error; the first line of a request is 1
 * @key:	the key of that line, a constant; NULL: the line has no known
 *		key
 * @what:	the error in words, a constant
 * @token:	the wrong key or value: printable, perhaps cut off; never a
 *		secret, or text that looks like one
 * @config:	of a `set` without error: the operations; the caller frees them
 */
struct uapi_request {
	enum uapi_op op;
	int error;
	size_t line;
	const char *key;
	const char *what;
	char token[UAPI_TOKEN_CAP];
	struct config *config;
};

struct uapi_parser;

/**
 * uapi_parser_new() - a parser at the start of a request
 * @codec:	borrowed until uapi_parser_free()
 *
 * Return: the parser; NULL if memory is short.
 */
struct uapi_parser *uapi_parser_new(const struct uapi_codec *codec);

/**
 * uapi_parser_get_error() - look at the error of a request before its end
 * @parser:	parser
 *
 * The parser knows of an error as soon as it has read it, but
 * uapi_parser_push() returns the request only at its end. A caller that wants
 * to answer at once calls this after each push.
 *
 * Return: the unfinished request, borrowed until the next push; NULL if it has
 * no error so far.
 */
const struct uapi_request *
uapi_parser_get_error(const struct uapi_parser *parser);

/**
 * uapi_parser_free() - wipe and free
 * @parser:	parser; NULL is ok
 */
void uapi_parser_free(struct uapi_parser *parser);

/**
 * uapi_parser_push() - parse the next bytes
 * @parser:	parser
 * @data:	bytes of the stream; they may hold secrets, which the caller
 *		wipes
 * @len:	their count
 * @n_used:	set to how many were parsed: all of them, or those up to the end
 *		of the request
 * @request:	filled if the result is UAPI_E_REQUEST
 *
 * One thread at a time.
 *
 * Return: 0: all bytes were parsed, and the request goes on; UAPI_E_REQUEST: a
 * request has ended, and the next call starts another one; -EPROTO: no request
 * begins like this, close the connection.
 */
int uapi_parser_push(struct uapi_parser *parser, const char *data, size_t len,
		     size_t *n_used, struct uapi_request *request);

#endif /* UAPI_GRAMMAR_H */
