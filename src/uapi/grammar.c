/* SPDX-License-Identifier: MIT */
#include "uapi/grammar.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/secret.h"

enum {
	/* So many characters in a row may be a key, or half of it. */
	KEY_LIKE = 30
};

enum state {
	AT_START,
	IN_GET,
	IN_SET,
};

/*
 * @codec:	[I]
 * @state:	where in a request
 * @is_in_peer:	a public_key was read
 * @request:	what is known of it so far
 * @n_bytes:	of this request, so far
 * @n_lines:	that were read, so far
 * @len:	of the line so far; more than UAPI_MAX_LINE: it is too long
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
 * A key, and what reads its value: 0, or -errno.
 * @is_secret:	the value must not be shown
 */
struct key {
	const char *name;
	enum scope scope;
	bool is_secret;
	int (*take)(struct uapi_parser *parser, const char *value);
};

/**
 * parse_hex_key() - read 64 hex digits
 * @key:	out
 * @text:	text
 *
 * Without a branch or an index that depends on a digit.
 *
 * Return: 0; -EINVAL.
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
		/* All ones in the low byte if below 10, or from 0 to 5. */
		uint32_t is_digit = (digit - 10) >> 8 & 0xff;
		uint32_t is_letter = ((letter - 6) & ~letter) >> 8 & 0xff;
		uint32_t nibble =
			(digit & is_digit) | ((letter + 10) & is_letter);

		bad |= (is_digit | is_letter) ^ 0xff;
		key[i / 2] = (uint8_t)((uint32_t)key[i / 2] << 4 | nibble);
	}
	return bad ? -EINVAL : 0;
}

/**
 * parse_number() - read a decimal number
 * @number:	out
 * @text:	digits and nothing else
 * @max:	the largest that is allowed
 *
 * Return: 0; -EINVAL.
 */
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

/**
 * parse_prefix() - read "address/length"
 * @prefix:	out
 * @text:	text
 *
 * Return: 0; -EINVAL.
 */
static int parse_prefix(struct ip_prefix *prefix, const char *text)
{
	const char *slash = strchr(text, '/');
	char addr[INET6_ADDRSTRLEN] = { 0 };
	size_t len = slash ? (size_t)(slash - text) : 0;
	uint32_t cidr;

	if (!slash || len >= sizeof(addr) ||
	    parse_number(&cidr, slash + 1, UINT8_MAX))
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

/**
 * is_true() - the one value of a switch
 * @value:	value
 *
 * Return: true if so.
 */
static bool is_true(const char *value)
{
	return !strcmp(value, "true");
}

/**
 * take_private_key() - read the value of private_key
 * @parser:	parser
 * @value:	value
 *
 * Return: 0; -EINVAL; -errno of the list of operations.
 */
static int take_private_key(struct uapi_parser *parser, const char *value)
{
	uint8_t key[NOISE_PRIVATE_KEY_LEN] = { 0 };
	int err = parse_hex_key(key, value);

	if (!err)
		err = config_set_private_key(parser->request.config, key);
	secret_zero(key, sizeof(key));
	return err;
}

/**
 * take_listen_port() - read the value of listen_port
 * @parser:	parser
 * @value:	value
 *
 * Return: 0; -EINVAL; -errno of the list of operations.
 */
static int take_listen_port(struct uapi_parser *parser, const char *value)
{
	uint32_t port;

	if (parse_number(&port, value, UINT16_MAX))
		return -EINVAL;
	return config_set_listen_port(parser->request.config, (uint16_t)port);
}

/**
 * take_fwmark() - read the value of fwmark
 * @parser:	parser
 * @value:	value
 *
 * Return: 0; -EINVAL; -errno of the list of operations.
 */
static int take_fwmark(struct uapi_parser *parser, const char *value)
{
	uint32_t fwmark;

	if (parse_number(&fwmark, value, UINT32_MAX))
		return -EINVAL;
	return config_set_fwmark(parser->request.config, fwmark);
}

/**
 * take_replace_peers() - read the value of replace_peers
 * @parser:	parser
 * @value:	value
 *
 * Return: 0; -EINVAL; -errno of the list of operations.
 */
static int take_replace_peers(struct uapi_parser *parser, const char *value)
{
	if (!is_true(value))
		return -EINVAL;
	return config_replace_peers(parser->request.config);
}

/**
 * take_public_key() - read the value of public_key
 * @parser:	parser
 * @value:	value
 *
 * Return: 0; -EINVAL; -errno of the list of operations.
 */
static int take_public_key(struct uapi_parser *parser, const char *value)
{
	uint8_t key[NOISE_PUBLIC_KEY_LEN] = { 0 };

	if (parse_hex_key(key, value))
		return -EINVAL;
	parser->is_in_peer = true;
	return config_begin_peer(parser->request.config, key);
}

/**
 * take_update_only() - read the value of update_only
 * @parser:	parser
 * @value:	value
 *
 * Return: 0; -EINVAL; -errno of the list of operations.
 */
static int take_update_only(struct uapi_parser *parser, const char *value)
{
	if (!is_true(value))
		return -EINVAL;
	return config_update_only(parser->request.config);
}

/**
 * take_remove() - read the value of remove
 * @parser:	parser
 * @value:	value
 *
 * Return: 0; -EINVAL; -errno of the list of operations.
 */
static int take_remove(struct uapi_parser *parser, const char *value)
{
	if (!is_true(value))
		return -EINVAL;
	return config_remove_peer(parser->request.config);
}

/**
 * take_preshared_key() - read the value of preshared_key
 * @parser:	parser
 * @value:	value
 *
 * Return: 0; -EINVAL; -errno of the list of operations.
 */
static int take_preshared_key(struct uapi_parser *parser, const char *value)
{
	uint8_t key[NOISE_PRESHARED_KEY_LEN] = { 0 };
	int err = parse_hex_key(key, value);

	if (!err)
		err = config_set_preshared_key(parser->request.config, key);
	secret_zero(key, sizeof(key));
	return err;
}

/**
 * take_endpoint() - read the value of endpoint
 * @parser:	parser
 * @value:	value
 *
 * Return: 0; -EINVAL; -errno of the list of operations.
 */
static int take_endpoint(struct uapi_parser *parser, const char *value)
{
	struct device_endpoint ep;
	int err;

	memset(&ep, 0, sizeof(ep));
	err = parser->codec->parse(&ep, value);
	if (err)
		return err;
	return config_set_endpoint(parser->request.config, &ep);
}

/**
 * take_persistent() - read the value of persistent_keepalive_interval
 * @parser:	parser
 * @value:	value
 *
 * Return: 0; -EINVAL; -errno of the list of operations.
 */
static int take_persistent(struct uapi_parser *parser, const char *value)
{
	uint32_t interval_s;

	if (parse_number(&interval_s, value, UINT16_MAX))
		return -EINVAL;
	return config_set_persistent(parser->request.config,
				     (uint16_t)interval_s);
}

/**
 * take_replace_allowedips() - read the value of replace_allowed_ips
 * @parser:	parser
 * @value:	value
 *
 * Return: 0; -EINVAL; -errno of the list of operations.
 */
static int take_replace_allowedips(struct uapi_parser *parser,
				   const char *value)
{
	if (!is_true(value))
		return -EINVAL;
	return config_replace_allowedips(parser->request.config);
}

/**
 * take_allowed_ip() - read the value of allowed_ip
 * @parser:	parser
 * @value:	value
 *
 * Return: 0; -EINVAL; -errno of the list of operations.
 */
static int take_allowed_ip(struct uapi_parser *parser, const char *value)
{
	struct config *config = parser->request.config;
	bool is_removal = *value == '-';
	struct ip_prefix prefix;

	if (parse_prefix(&prefix, is_removal ? value + 1 : value))
		return -EINVAL;
	return is_removal ? config_remove_allowedip(config, &prefix)
			  : config_add_allowedip(config, &prefix);
}

/**
 * take_protocol_version() - there is one version
 * @parser:	parser
 * @value:	value
 *
 * Return: 0; -EINVAL.
 */
static int take_protocol_version(struct uapi_parser *parser, const char *value)
{
	(void)parser;
	return strcmp(value, "1") == 0 ? 0 : -EINVAL;
}

static const struct key keys[] = {
	{ "private_key", OF_DEVICE, true, take_private_key },
	{ "listen_port", OF_DEVICE, false, take_listen_port },
	{ "fwmark", OF_DEVICE, false, take_fwmark },
	{ "replace_peers", OF_DEVICE, false, take_replace_peers },
	/* Not for its own sake: somebody may have mixed up the two. */
	{ "public_key", OF_DEVICE | OF_PEER, true, take_public_key },
	{ "update_only", OF_PEER, false, take_update_only },
	{ "remove", OF_PEER, false, take_remove },
	{ "preshared_key", OF_PEER, true, take_preshared_key },
	{ "endpoint", OF_PEER, false, take_endpoint },
	{ "persistent_keepalive_interval", OF_PEER, false, take_persistent },
	{ "replace_allowed_ips", OF_PEER, false, take_replace_allowedips },
	{ "allowed_ip", OF_PEER, false, take_allowed_ip },
	{ "protocol_version", OF_PEER, false, take_protocol_version },
};

/**
 * find_key() - look a key up
 * @name:	name
 *
 * Return: the key; NULL.
 */
static const struct key *find_key(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (!strcmp(keys[i].name, name))
			return &keys[i];
	return NULL;
}

/**
 * fail() - remember the first error of a request
 * @parser:	parser
 * @err:	-errno
 * @key:	name of the key, a constant; or NULL
 * @what:	the error in words
 * @token:	what is wrong; no secret
 */
static void fail(struct uapi_parser *parser, int err, const char *key,
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
	/* What is not going to be applied need not be kept. */
	config_free(request->config);
	request->config = NULL;
}

/**
 * may_show() - can this be told to the log?
 * @text:	a name or a value that is wrong
 *
 * A key may stand where it does not belong: as the value of an endpoint, or
 * without a name, as base64 ends in '='. Nothing else that may stand in a line
 * has so many letters and digits in a row.
 *
 * Return: true if it holds nothing like a key.
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

/**
 * take_set_line() - a line of key=value
 * @parser:	parser
 * @line:	line; cut in two here
 */
static void take_set_line(struct uapi_parser *parser, char *line)
{
	enum scope scope = parser->is_in_peer ? OF_PEER : OF_DEVICE;
	char *value = strchr(line, '=');
	const struct key *key;
	int err;

	if (!value) {
		/* It may be a secret whose line was broken. */
		fail(parser, -EPROTO, NULL, "no '=' in the line", "");
		return;
	}
	*value++ = 0;
	key = find_key(line);
	if (!key || !(key->scope & scope)) {
		fail(parser, -EINVAL, NULL,
		     key ? "key out of place" : "unknown key",
		     may_show(line) ? line : "");
		return;
	}
	err = key->take(parser, value);
	if (err)
		fail(parser, err, key->name,
		     err == -EINVAL ? "bad value" : strerror(-err),
		     !key->is_secret && may_show(value) ? value : key->name);
}

/**
 * take_start() - the first line of a request
 * @parser:	parser
 *
 * Return: 0; -EPROTO.
 */
static int take_start(struct uapi_parser *parser)
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
		fail(parser, -ENOMEM, NULL, "out of memory", "");
	return 0;
}

/**
 * take_line() - a whole line, but for its end
 * @parser:	parser
 *
 * Return: 0; UAPI_E_REQUEST; -EPROTO.
 */
static int take_line(struct uapi_parser *parser)
{
	char *line = parser->line;

	if (parser->len > UAPI_MAX_LINE)
		return parser->state == AT_START ? -EPROTO : 0;
	line[parser->len] = 0;
	if (parser->state == AT_START)
		return strlen(line) == parser->len ? take_start(parser)
						   : -EPROTO;
	if (parser->len && line[parser->len - 1] == '\r')
		line[--parser->len] = 0;
	if (!parser->len)
		return UAPI_E_REQUEST;
	if (parser->n_bytes > UAPI_MAX_TEXT)
		fail(parser, -EMSGSIZE, NULL, "request too long", "");
	if (strlen(line) != parser->len)
		fail(parser, -EINVAL, NULL, "zero byte in the line", "");
	if (parser->state == IN_GET)
		fail(parser, -EINVAL, NULL, "a get has no lines", "");
	if (!parser->request.error)
		take_set_line(parser, line);
	return 0;
}

/**
 * reset() - forget the request, and whatever secrets the line held
 * @parser:	parser
 */
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

/**
 * read_line() - add bytes to the line, up to its end
 * @parser:	parser
 * @data:	bytes
 * @len:	their count, not 0
 * @n_used:	set to how many were read
 *
 * Return: true if the line's end is among them.
 */
static bool read_line(struct uapi_parser *parser, const char *data, size_t len,
		      size_t *n_used)
{
	const char *end = memchr(data, '\n', len);
	size_t n = end ? (size_t)(end - data) : len;

	if (parser->len <= UAPI_MAX_LINE) {
		if (n > UAPI_MAX_LINE - parser->len) {
			parser->len = UAPI_MAX_LINE + 1;
			if (parser->state != AT_START)
				fail(parser, -EMSGSIZE, NULL, "line too long",
				     "");
		} else {
			memcpy(parser->line + parser->len, data, n);
			parser->len += n;
		}
	}
	*n_used = end ? n + 1 : n;
	/* Beyond the cap it only matters that it is. */
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
	while (!rc && *n_used < len) {
		if (!read_line(parser, data + *n_used, len - *n_used, &n)) {
			*n_used += n;
			return 0;
		}
		*n_used += n;
		rc = take_line(parser);
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
