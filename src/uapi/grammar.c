/* SPDX-License-Identifier: MIT */
/*
 * The parser. Bytes are gathered into lines. A line of a `set` begins with a
 * word, and @keys has the function that parses the value behind this word and
 * adds an operation to the request. The first error is kept, and the lines
 * after it are ignored. A line may hold a secret, so it is wiped once it is
 * parsed, and no wrong value that looks like a cryptographic key reaches the
 * log.
 */
#include "uapi/grammar.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/secret.h"

enum {
	/* This many letters and digits in a row may be a cryptographic key, or
	 * half of one, and are not logged. A key has 64 hex digits, or 44
	 * characters of base64. A choice below 32, which is half of the
	 * digits. */
	KEY_LIKE = 30
};

enum state {
	AT_START,
	IN_GET,
	IN_SET,
};

/*
 * @codec:	[I]
 * @state:	the kind of line that comes next
 * @is_in_peer:	a public_key was read, so lines are about a peer
 * @request:	the request, as far as it was read
 * @n_bytes:	bytes of this request so far
 * @n_lines:	lines of this request so far
 * @len:	bytes of the line so far; more than UAPI_MAX_LINE: the line is
 *		too long
 * @line:	the line so far
 */
struct uapi_parser {
	const struct uapi_codec *codec;
	enum state state;
	bool is_in_peer;
	struct uapi_request request;
	size_t n_bytes;
	size_t n_lines;
	size_t len;
	char line[UAPI_MAX_LINE + 1];
};

/* Where a key may stand. */
enum scope {
	OF_DEVICE = 1,
	OF_PEER = 2,
};

/*
 * A key, and the function that parses its value and returns 0 or -errno.
 * @is_secret:	the value must not be shown
 */
struct key {
	const char *name;
	enum scope scope;
	bool is_secret;
	int (*parse)(struct uapi_parser *parser, const char *value);
};

/*
 * No branch and no index depends on a digit, so the time that this takes tells
 * nothing about the key.
 */
static int parse_hex_key(uint8_t key[NOISE_PUBLIC_KEY_LEN], const char *text)
{
	uint32_t bad = 0;

	if (strlen(text) != 2 * NOISE_PUBLIC_KEY_LEN)
		return -EINVAL;
	for (size_t i = 0; i < 2 * NOISE_PUBLIC_KEY_LEN; i++) {
		uint32_t c = (uint8_t)text[i];
		uint32_t digit = c ^ '0';
		uint32_t letter = (c | 0x20) - 'a';
		/* 0xff if @digit is below 10, and if @letter is below 6; else
		 * 0. */
		uint32_t is_digit = (digit - 10) >> 8 & 0xff;
		uint32_t is_letter = ((letter - 6) & ~letter) >> 8 & 0xff;
		uint32_t nibble =
			(digit & is_digit) | ((letter + 10) & is_letter);

		bad |= (is_digit | is_letter) ^ 0xff;
		key[i / 2] = (uint8_t)((uint32_t)key[i / 2] << 4 | nibble);
	}
	return bad ? -EINVAL : 0;
}

/* Digits and nothing else, at most @max. */
static int parse_number(uint32_t *number, const char *text, uint32_t max)
{
	uint64_t n = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		n = n * 10 + (uint64_t)(*text - '0');
		if (n > max)
			return -EINVAL;
	}
	*number = (uint32_t)n;
	return 0;
}

/* "address/length" */
static int parse_prefix(struct ip_prefix *prefix, const char *text)
{
	const char *slash = strchr(text, '/');
	char addr[INET6_ADDRSTRLEN] = { 0 };
	size_t len = slash ? (size_t)(slash - text) : 0;
	uint32_t cidr;

	if (!slash || len >= sizeof(addr) ||
	    parse_number(&cidr, slash + 1, UINT8_MAX) < 0)
		return -EINVAL;
	memcpy(addr, text, len);
	memset(prefix, 0, sizeof(*prefix));
	prefix->cidr = (uint8_t)cidr;
	if (inet_pton(AF_INET, addr, prefix->addr) == 1)
		prefix->family = IP_V4;
	else if (inet_pton(AF_INET6, addr, prefix->addr) == 1)
		prefix->family = IP_V6;
	return ip_prefix_is_valid(prefix) ? 0 : -EINVAL;
}

static bool is_true(const char *value)
{
	return !strcmp(value, "true");
}

/*
 * The functions that parse the value of a key. -EINVAL says that the value is
 * wrong. Any other error comes from the list of operations, or from the codec
 * of endpoints.
 */
static int parse_private_key(struct uapi_parser *parser, const char *value)
{
	uint8_t key[NOISE_PRIVATE_KEY_LEN] = { 0 };
	int err = parse_hex_key(key, value);

	if (err == 0)
		err = config_set_private_key(parser->request.config, key);
	secret_zero(key, sizeof(key));
	return err;
}

static int parse_listen_port(struct uapi_parser *parser, const char *value)
{
	uint32_t port;

	if (parse_number(&port, value, UINT16_MAX) < 0)
		return -EINVAL;
	return config_set_listen_port(parser->request.config, (uint16_t)port);
}

static int parse_fwmark(struct uapi_parser *parser, const char *value)
{
	uint32_t fwmark;

	if (parse_number(&fwmark, value, UINT32_MAX) < 0)
		return -EINVAL;
	return config_set_fwmark(parser->request.config, fwmark);
}

static int parse_replace_peers(struct uapi_parser *parser, const char *value)
{
	if (!is_true(value))
		return -EINVAL;
	return config_replace_peers(parser->request.config);
}

static int parse_public_key(struct uapi_parser *parser, const char *value)
{
	uint8_t key[NOISE_PUBLIC_KEY_LEN] = { 0 };

	if (parse_hex_key(key, value) < 0)
		return -EINVAL;
	parser->is_in_peer = true;
	return config_begin_peer(parser->request.config, key);
}

static int parse_update_only(struct uapi_parser *parser, const char *value)
{
	if (!is_true(value))
		return -EINVAL;
	return config_update_only(parser->request.config);
}

static int parse_remove(struct uapi_parser *parser, const char *value)
{
	if (!is_true(value))
		return -EINVAL;
	return config_remove_peer(parser->request.config);
}

static int parse_preshared_key(struct uapi_parser *parser, const char *value)
{
	uint8_t key[NOISE_PRESHARED_KEY_LEN] = { 0 };
	int err = parse_hex_key(key, value);

	if (err == 0)
		err = config_set_preshared_key(parser->request.config, key);
	secret_zero(key, sizeof(key));
	return err;
}

static int parse_endpoint(struct uapi_parser *parser, const char *value)
{
	struct device_endpoint ep;
	int err;

	memset(&ep, 0, sizeof(ep));
	err = parser->codec->parse(&ep, value);
	if (err < 0)
		return err;
	return config_set_endpoint(parser->request.config, &ep);
}

static int parse_persistent(struct uapi_parser *parser, const char *value)
{
	uint32_t interval_s;

	if (parse_number(&interval_s, value, UINT16_MAX) < 0)
		return -EINVAL;
	return config_set_persistent(parser->request.config,
				     (uint16_t)interval_s);
}

static int parse_replace_allowedips(struct uapi_parser *parser,
				    const char *value)
{
	if (!is_true(value))
		return -EINVAL;
	return config_replace_allowedips(parser->request.config);
}

static int parse_allowed_ip(struct uapi_parser *parser, const char *value)
{
	struct config *config = parser->request.config;
	bool is_removal = *value == '-';
	struct ip_prefix prefix;

	if (parse_prefix(&prefix, is_removal ? value + 1 : value) < 0)
		return -EINVAL;
	return is_removal ? config_remove_allowedip(config, &prefix)
			  : config_add_allowedip(config, &prefix);
}

static int parse_protocol_version(struct uapi_parser *parser, const char *value)
{
	(void)parser;
	return strcmp(value, "1") == 0 ? 0 : -EINVAL;
}

static const struct key keys[] = {
	{ "private_key", OF_DEVICE, true, parse_private_key },
	{ "listen_port", OF_DEVICE, false, parse_listen_port },
	{ "fwmark", OF_DEVICE, false, parse_fwmark },
	{ "replace_peers", OF_DEVICE, false, parse_replace_peers },
	/* The value of public_key is not shown either: a user may paste the
	 * private key here by mistake. */
	{ "public_key", OF_DEVICE | OF_PEER, true, parse_public_key },
	{ "update_only", OF_PEER, false, parse_update_only },
	{ "remove", OF_PEER, false, parse_remove },
	{ "preshared_key", OF_PEER, true, parse_preshared_key },
	{ "endpoint", OF_PEER, false, parse_endpoint },
	{ "persistent_keepalive_interval", OF_PEER, false, parse_persistent },
	{ "replace_allowed_ips", OF_PEER, false, parse_replace_allowedips },
	{ "allowed_ip", OF_PEER, false, parse_allowed_ip },
	{ "protocol_version", OF_PEER, false, parse_protocol_version },
};

static const struct key *find_key(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (!strcmp(keys[i].name, name))
			return &keys[i];
	return NULL;
}

/* Keep the first error of a request. @token must not be a secret. */
static void keep_error(struct uapi_parser *parser, int err, const char *key,
		       const char *what, const char *token)
{
	struct uapi_request *request = &parser->request;
	size_t i;

	if (request->error)
		return;
	request->error = err;
	request->line = parser->n_lines + 1;
	request->key = key;
	request->what = what;
	for (i = 0; i < sizeof(request->token) - 1 && token[i]; i++)
		request->token[i] =
			token[i] > ' ' && token[i] <= '~' ? token[i] : '?';
	request->token[i] = 0;
	/* A request with an error is not applied: drop its operations. */
	config_free(request->config);
	request->config = NULL;
}

/*
 * May this wrong name or value be logged? A cryptographic key may stand in the
 * wrong place: as the value of `endpoint`, or alone in a line (base64 ends in
 * '=', so the key is taken for a name). No other name or value has KEY_LIKE
 * letters and digits in a row.
 */
static bool may_show(const char *text)
{
	size_t n = 0;

	for (; *text && n < KEY_LIKE; text++)
		n = isalnum((unsigned char)*text) || *text == '+' ||
				    *text == '/'
			    ? n + 1
			    : 0;
	return n < KEY_LIKE;
}

/* Cuts @line in two at the '='. */
static void parse_set_line(struct uapi_parser *parser, char *line)
{
	enum scope scope = parser->is_in_peer ? OF_PEER : OF_DEVICE;
	char *value = strchr(line, '=');
	const struct key *key;
	int err;

	if (!value) {
		/* Show nothing of the line: it may be a part of a secret. */
		keep_error(parser, -EPROTO, NULL, "no '=' in the line", "");
		return;
	}
	*value++ = 0;
	key = find_key(line);
	if (!key || !(key->scope & scope)) {
		keep_error(parser, -EINVAL, NULL,
			   key ? "key out of place" : "unknown key",
			   may_show(line) ? line : "");
		return;
	}
	err = key->parse(parser, value);
	if (err < 0)
		keep_error(parser, err, key->name,
			   err == -EINVAL ? "bad value" : strerror(-err),
			   !key->is_secret && may_show(value) ? value
							      : key->name);
}

static int parse_start(struct uapi_parser *parser)
{
	if (strcmp(parser->line, "get=1") == 0) {
		parser->state = IN_GET;
		parser->request.op = UAPI_GET;
		return 0;
	}
	if (strcmp(parser->line, "set=1") != 0)
		return -EPROTO;
	parser->state = IN_SET;
	parser->request.op = UAPI_SET;
	parser->request.config = config_new();
	if (!parser->request.config)
		keep_error(parser, -ENOMEM, NULL, "out of memory", "");
	return 0;
}

/* A whole line was read. Returns as uapi_parser_push(). */
static int parse_line(struct uapi_parser *parser)
{
	char *line = parser->line;

	if (parser->len > UAPI_MAX_LINE)
		return parser->state == AT_START ? -EPROTO : 0;
	line[parser->len] = 0;
	if (parser->state == AT_START)
		return strlen(line) == parser->len ? parse_start(parser)
						   : -EPROTO;
	if (parser->len && line[parser->len - 1] == '\r')
		line[--parser->len] = 0;
	if (!parser->len)
		return UAPI_E_REQUEST;
	if (parser->n_bytes > UAPI_MAX_TEXT)
		keep_error(parser, -EMSGSIZE, NULL, "request too long", "");
	if (strlen(line) != parser->len)
		keep_error(parser, -EINVAL, NULL, "zero byte in the line", "");
	if (parser->state == IN_GET)
		keep_error(parser, -EINVAL, NULL, "a get has no lines", "");
	if (!parser->request.error)
		parse_set_line(parser, line);
	return 0;
}

/* Forget the request, and wipe the line. */
static void reset(struct uapi_parser *parser)
{
	const struct uapi_codec *codec = parser->codec;

	secret_zero(parser, sizeof(*parser));
	parser->codec = codec;
}

struct uapi_parser *uapi_parser_new(const struct uapi_codec *codec)
{
	struct uapi_parser *parser = calloc(1, sizeof(*parser));

	if (parser)
		parser->codec = codec;
	return parser;
}

const struct uapi_request *
uapi_parser_get_error(const struct uapi_parser *parser)
{
	return parser->request.error ? &parser->request : NULL;
}

void uapi_parser_free(struct uapi_parser *parser)
{
	if (!parser)
		return;
	config_free(parser->request.config);
	reset(parser);
	free(parser);
}

/* Add bytes to the line, up to its end. Returns true if @data has the line's
 * end. */
static bool read_line(struct uapi_parser *parser, const char *data, size_t len,
		      size_t *n_used)
{
	const char *end = memchr(data, '\n', len);
	size_t n = end ? (size_t)(end - data) : len;

	if (parser->len <= UAPI_MAX_LINE) {
		if (n > UAPI_MAX_LINE - parser->len) {
			parser->len = UAPI_MAX_LINE + 1;
			if (parser->state != AT_START)
				keep_error(parser, -EMSGSIZE, NULL,
					   "line too long", "");
		} else {
			memcpy(parser->line + parser->len, data, n);
			parser->len += n;
		}
	}
	*n_used = end ? n + 1 : n;
	/* Stop counting above the limit: only the fact that the request is too
	 * long matters. */
	if (parser->n_bytes <= UAPI_MAX_TEXT)
		parser->n_bytes += *n_used;
	return end;
}

int uapi_parser_push(struct uapi_parser *parser, const char *data, size_t len,
		     size_t *n_used, struct uapi_request *request)
{
	size_t n = 0;
	int rc = 0;

	*n_used = 0;
	while (rc == 0 && *n_used < len) {
		if (!read_line(parser, data + *n_used, len - *n_used, &n)) {
			*n_used += n;
			return 0;
		}
		*n_used += n;
		rc = parse_line(parser);
		secret_zero(parser->line, size_min(parser->len, UAPI_MAX_LINE));
		parser->len = 0;
		parser->n_lines++;
	}
	if (rc == UAPI_E_REQUEST) {
		*request = parser->request;
		reset(parser);
	}
	return rc;
}
