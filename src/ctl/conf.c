/* SPDX-License-Identifier: MIT */
/*
 * The text is copied, and cut in place: ends of lines and of values become 0, and the
 * entries point into the copy. A table has what each key is called, where it may stand
 * and which values it takes.
 */
#include "ctl/conf.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	/* Characters of a cryptographic key in base64, and its bytes. */
	KEY_TEXT_LEN = 44,
	KEY_LEN = 32,
	/* Characters of a token in an error. A choice: the rest is cut. */
	TOKEN_LEN = 60,
	/* A word with so many letters and digits in a row may be a key. No other
	 * value needs so many. */
	KEY_LIKE = 40,
	/* MTUs that an interface can have (RFC 791, and the kernel's TUN). */
	MTU_MIN = 68,
	MTU_MAX = 65535,
};

enum place {
	IN_INTERFACE = 1,
	IN_PEER = 2,
	IN_BOTH = IN_INTERFACE | IN_PEER,
};

static const char blanks[] = " \t\r\f\v";

/* ------------------------------------------------------------------- values */

/* Decimal digits only: strtoul(3) would take signs and blanks, too. */
static bool read_number(const char *text, unsigned long max, unsigned long *out)
{
	unsigned long n = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		unsigned long digit = (unsigned long)(*text - '0');

		if (*text < '0' || *text > '9' || n > (max - digit) / 10)
			return false;
		n = 10 * n + digit;
	}
	*out = n;
	return true;
}

static bool is_number(const char *text, unsigned long min, unsigned long max)
{
	unsigned long n;

	return read_number(text, max, &n) && n >= min;
}

static int value_of_digit(char c)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* Decode a key from base64 (RFC 4648, section 4). @key may be NULL. */
static bool read_key(const char *text, uint8_t *key)
{
	unsigned int bits = 0, n_bits = 0;
	size_t len = 0;

	if (strlen(text) != KEY_TEXT_LEN || text[KEY_TEXT_LEN - 1] != '=')
		return false;
	for (size_t i = 0; i < KEY_TEXT_LEN - 1; i++) {
		int digit = value_of_digit(text[i]);

		if (digit < 0)
			return false;
		bits = bits << 6 | (unsigned int)digit;
		n_bits += 6;
		if (n_bits < 8)
			continue;
		n_bits -= 8;
		if (key)
			key[len] = (uint8_t)(bits >> n_bits);
		len++;
		bits &= (1U << n_bits) - 1;
	}
	/* The bits that the last digit has too many must be 0. */
	return len == KEY_LEN && !bits;
}

static bool is_key(const char *text)
{
	return read_key(text, NULL);
}

static bool is_text(const char *text)
{
	(void)text;
	return true;
}

static bool is_word(const char *text)
{
	return *text != 0;
}

static bool is_port(const char *text)
{
	return is_number(text, 0, UINT16_MAX);
}

static bool is_keepalive(const char *text)
{
	return strcasecmp(text, "off") == 0 || is_port(text);
}

static bool is_mtu(const char *text)
{
	return is_number(text, MTU_MIN, MTU_MAX);
}

static bool is_mark(const char *text)
{
	size_t len;

	if (strcasecmp(text, "off") == 0)
		return true;
	if (strncasecmp(text, "0x", 2) != 0)
		return is_number(text, 0, UINT32_MAX);
	len = strspn(text + 2, "0123456789abcdefABCDEF");
	return len && len <= 8 && !text[2 + len];
}

/* A number, or a name of /etc/iproute2/rt_tables. */
static bool is_table(const char *text)
{
	return *text && !text[strspn(text, "abcdefghijklmnopqrstuvwxyz"
					   "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
					   "0123456789_.-")];
}

static bool is_boolean(const char *text)
{
	return strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
}

unsigned int conf_address_bits(const char *text)
{
	struct in6_addr addr;

	if (inet_pton(AF_INET, text, &addr) == 1)
		return 32;
	return inet_pton(AF_INET6, text, &addr) == 1 ? 128 : 0;
}

bool conf_read_prefix(struct conf_prefix *out, const char *text)
{
	struct conf_prefix found = { 0 };
	char address[INET6_ADDRSTRLEN];
	size_t len = strcspn(text, "/");
	unsigned long n;

	if (len >= sizeof(address))
		return false;
	memcpy(address, text, len);
	address[len] = 0;
	n = conf_address_bits(address);
	if (!n || (text[len] && !read_number(text + len + 1, n, &n)))
		return false;
	found.family = strchr(address, ':') ? AF_INET6 : AF_INET;
	inet_pton(found.family, address, found.addr);
	found.len = (unsigned int)n;
	*out = found;
	return true;
}

/* An address, with or without the length of a prefix. */
static bool is_network(const char *text)
{
	struct conf_prefix prefix;

	return conf_read_prefix(&prefix, text);
}

/* wg(8) takes a sign before a prefix: it is added, or removed. */
static bool is_allowed(const char *text)
{
	return is_network(text + (*text == '+' || *text == '-'));
}

static bool is_endpoint(const char *text)
{
	char host[CONF_HOST_CAP];
	uint16_t port;

	return conf_split_endpoint(text, host, &port);
}

/* --------------------------------------------------------------------- keys */

static const struct known {
	const char *name;
	enum conf_key key;
	unsigned int place;
	bool is_comment;
	bool is_list;  /* of values with commas or blanks between them */
	bool may_lack; /* its value may be empty */
	bool (*check)(const char *value);
	const char *wanted; /* what its values are */
} table[] = {
	{ "PrivateKey", CONF_PRIVATE_KEY, IN_INTERFACE, false, false, false,
	  is_key, "a key in base64" },
	{ "ListenPort", CONF_LISTEN_PORT, IN_INTERFACE, false, false, false,
	  is_port, "a port" },
	{ "FwMark", CONF_FW_MARK, IN_INTERFACE, false, false, false, is_mark,
	  "a number of 32 bits, or off" },
	{ "Address", CONF_ADDRESS, IN_INTERFACE, false, true, true, is_network,
	  "an address with the length of its prefix" },
	{ "DNS", CONF_DNS, IN_INTERFACE, false, true, true, is_word,
	  "an address or a domain" },
	{ "MTU", CONF_MTU, IN_INTERFACE, false, false, false, is_mtu,
	  "a number from 68 to 65535" },
	{ "Table", CONF_TABLE, IN_INTERFACE, false, false, false, is_table,
	  "auto, off, or a routing table" },
	{ "PreUp", CONF_PRE_UP, IN_INTERFACE, false, false, true, is_text, "" },
	{ "PostUp", CONF_POST_UP, IN_INTERFACE, false, false, true, is_text,
	  "" },
	{ "PreDown", CONF_PRE_DOWN, IN_INTERFACE, false, false, true, is_text,
	  "" },
	{ "PostDown", CONF_POST_DOWN, IN_INTERFACE, false, false, true, is_text,
	  "" },
	{ "SaveConfig", CONF_SAVE_CONFIG, IN_INTERFACE, false, false, false,
	  is_boolean, "true or false" },
	{ "PublicKey", CONF_PUBLIC_KEY, IN_PEER, false, false, false, is_key,
	  "a key in base64" },
	{ "PresharedKey", CONF_PRESHARED_KEY, IN_PEER, false, false, false,
	  is_key, "a key in base64" },
	{ "AllowedIPs", CONF_ALLOWED_IPS, IN_PEER, false, true, true,
	  is_allowed, "an address with the length of its prefix" },
	{ "Endpoint", CONF_ENDPOINT, IN_PEER, false, false, false, is_endpoint,
	  "HOST:PORT" },
	{ "PersistentKeepalive", CONF_PERSISTENT_KEEPALIVE, IN_PEER, false,
	  false, false, is_keepalive,
	  "a number of seconds up to 65535, or off" },
	{ "friendly_name", CONF_FRIENDLY_NAME, IN_BOTH, true, false, true,
	  is_text, "" },
	{ "endpoint_backup", CONF_ENDPOINT_BACKUP, IN_PEER, true, false, false,
	  is_endpoint, "HOST:PORT" },
};

static const struct known *find(const char *name, bool is_comment)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].is_comment == is_comment &&
		    strcasecmp(table[i].name, name) == 0)
			return &table[i];
	return NULL;
}

/* ------------------------------------------------------------------ parsing */

/**
 * struct parser - the state of conf_parse()
 * @conf:	what is filled
 * @section:	the section that lines belong to; NULL: there was none yet
 * @place:	what kind of section it is
 * @line:	number of the line, from 1
 * @error:	where an error goes
 */
struct parser {
	struct conf *conf;
	struct conf_section *section;
	enum place place;
	unsigned int line;
	char *error;
};

/* A token for an error: printable, cut, and nothing of a word that may be a key. */
static const char *show(char out[TOKEN_LEN + 1], const char *token)
{
	size_t n_row = 0, len = 0;

	for (const char *c = token; *c; c++) {
		n_row = isalnum((unsigned char)*c) || *c == '+' || *c == '/'
				? n_row + 1
				: 0;
		if (n_row >= KEY_LIKE)
			return "(not shown: it may be a key)";
		if (len < TOKEN_LEN)
			out[len++] = isprint((unsigned char)*c) ? *c : '?';
	}
	out[len] = 0;
	return out;
}

static int refuse(struct parser *p, const char *what, const char *token)
{
	char text[TOKEN_LEN + 1];

	snprintf(p->error, CONF_ERROR_CAP, "line %u: %s: %s", p->line, what,
		 show(text, token));
	return -EINVAL;
}

static int refuse_value(struct parser *p, const struct known *known,
			const char *value)
{
	char what[CONF_ERROR_CAP / 2];

	if (!*value)
		return refuse(p, "no value", known->name);
	snprintf(what, sizeof(what), "%s is not %s", known->name,
		 known->wanted);
	/* Also what is no key may be most of one. */
	return refuse(p, what, known->check == is_key ? "(not shown)" : value);
}

static char *trim(char *text)
{
	size_t len;

	text += strspn(text, blanks);
	len = strlen(text);
	while (len && strchr(blanks, text[len - 1]))
		text[--len] = 0;
	return text;
}

/*
 * Make room for one more than @n things of @size bytes. The room doubles each time that
 * the number is a power of two. Return: the array, which may have moved; NULL: there is
 * no memory, and @all stays.
 */
static void *grow(void *all, size_t n, size_t size)
{
	if (n & (n - 1))
		return all;
	return realloc(all, (n ? 2 * n : 1) * size);
}

static int add(struct parser *p, const struct known *known, const char *value)
{
	struct conf_section *section = p->section;
	struct conf_entry *all;

	if (!known->check(value))
		return refuse_value(p, known, value);
	all = grow(section->entries, section->n, sizeof(*all));
	if (!all)
		return -ENOMEM;
	section->entries = all;
	all[section->n++] = (struct conf_entry){ known->key, p->line, value };
	return 0;
}

/* "NAME = VALUE", with or without values. */
static int take_value(struct parser *p, const struct known *known, char *value)
{
	char *element;
	int err = 0;

	if (!p->section)
		return refuse(p, "before the first section", known->name);
	if (!(known->place & p->place))
		return refuse(p,
			      p->place == IN_PEER ? "not a key of [Peer]"
						  : "not a key of [Interface]",
			      known->name);
	if (!*value)
		return known->may_lack ? 0 : refuse_value(p, known, value);
	if (!known->is_list)
		return add(p, known, value);
	while (err == 0 && (element = strsep(&value, ", \t")))
		if (*element)
			err = add(p, known, element);
	return err;
}

/* Has the section, which ends here, all that it needs? */
static int end_section(struct parser *p)
{
	if (p->section && p->place == IN_PEER &&
	    !conf_get(p->section, CONF_PUBLIC_KEY)) {
		p->line = p->section->line;
		return refuse(p, "no PublicKey in the section", "[Peer]");
	}
	return 0;
}

static int begin_section(struct parser *p, const char *name)
{
	struct conf *conf = p->conf;
	struct conf_section *all;
	int err = end_section(p);

	if (err < 0)
		return err;
	if (strcasecmp(name, "[Interface]") == 0) {
		p->place = IN_INTERFACE;
		p->section = &conf->interface;
		if (!p->section->line)
			p->section->line = p->line;
		return 0;
	}
	if (strcasecmp(name, "[Peer]") != 0)
		return refuse(p, "no such section", name);
	all = grow(conf->peers, conf->n_peers, sizeof(*all));
	if (!all)
		return -ENOMEM;
	conf->peers = all;
	p->place = IN_PEER;
	p->section = &all[conf->n_peers++];
	*p->section = (struct conf_section){ .line = p->line };
	return 0;
}

/* A comment that is not known, or has no "=", says nothing to us. */
static int take_comment(struct parser *p, char *text)
{
	char *value = strchr(text, '=');
	const struct known *known;

	if (!value)
		return 0;
	*value++ = 0;
	known = find(trim(text), true);
	return known ? take_value(p, known, trim(value)) : 0;
}

static int take_line(struct parser *p, char *line)
{
	const struct known *known;
	char *value;

	line = trim(line);
	if (*line == '#')
		return take_comment(p, line + 1);
	line[strcspn(line, "#")] = 0;
	line = trim(line);
	if (!*line)
		return 0;
	if (*line == '[')
		return begin_section(p, line);
	value = strchr(line, '=');
	if (!value)
		return refuse(p, "no \"=\" in the line", line);
	*value++ = 0;
	known = find(trim(line), false);
	if (!known)
		return refuse(p, "no such key", trim(line));
	return take_value(p, known, trim(value));
}

/* The lines of conf->text, which is 0 behind its end. */
static int take_lines(struct parser *p)
{
	char *at = p->conf->text, *end = at + p->conf->len;

	while (at < end) {
		char *next = memchr(at, '\n', (size_t)(end - at));
		int err;

		next = next ? next : end;
		*next = 0;
		p->line++;
		if (strlen(at) != (size_t)(next - at))
			return refuse(p, "a zero byte behind", at);
		err = take_line(p, at);
		if (err < 0)
			return err;
		at = next + 1;
	}
	return end_section(p);
}

/* Take over @text, which has room for one byte more than @len. */
static int parse(struct conf *conf, char *text, size_t len, char *error)
{
	struct parser p = { .conf = conf, .error = error };
	int err;

	*conf = (struct conf){ .text = text, .len = len };
	text[len] = 0;
	err = take_lines(&p);
	if (err == -ENOMEM)
		snprintf(error, CONF_ERROR_CAP, "%s", strerror(ENOMEM));
	if (err < 0)
		conf_free(conf);
	return err;
}

int conf_parse(struct conf *conf, const char *text, size_t len,
	       char error[CONF_ERROR_CAP])
{
	char *copy = malloc(len + 1);

	if (!copy) {
		snprintf(error, CONF_ERROR_CAP, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	if (len)
		memcpy(copy, text, len);
	return parse(conf, copy, len, error);
}

/*
 * Read all of a file. read(2) is used, since stdio would leave a copy of the keys in
 * its buffer. A file may be a pipe, so its size says nothing; memory that became too
 * small is wiped.
 */
static int read_all(int fd, char **out, size_t *out_len)
{
	size_t cap = 4096, len = 0;
	char *text = malloc(cap);
	int err = text ? 0 : -ENOMEM;

	while (err == 0) {
		ssize_t n = read(fd, text + len, cap - len - 1);

		if (n == 0)
			break;
		if (n < 0 && errno != EINTR)
			err = -errno;
		len += n > 0 ? (size_t)n : 0;
		if (len > CONF_MAX_LEN)
			err = -EFBIG;
		if (err < 0 || cap - len > 1)
			continue;
		char *more = malloc(2 * cap);

		if (!more) {
			err = -ENOMEM;
			continue;
		}
		memcpy(more, text, len);
		explicit_bzero(text, cap);
		free(text);
		text = more;
		cap *= 2;
	}
	if (err < 0) {
		if (text)
			explicit_bzero(text, cap);
		free(text);
		return err;
	}
	*out = text;
	*out_len = len;
	return 0;
}

int conf_read(struct conf *conf, const char *path, char error[CONF_ERROR_CAP])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	char *text = NULL;
	int err = fd < 0 ? -errno : read_all(fd, &text, &len);

	if (fd >= 0)
		close(fd);
	if (err < 0 || !text) {
		snprintf(error, CONF_ERROR_CAP, "%s", strerror(-err));
		return err;
	}
	return parse(conf, text, len, error);
}

void conf_free(struct conf *conf)
{
	for (size_t i = 0; i < conf->n_peers; i++)
		free(conf->peers[i].entries);
	free(conf->peers);
	free(conf->interface.entries);
	if (conf->text)
		explicit_bzero(conf->text, conf->len);
	free(conf->text);
	*conf = (struct conf){ 0 };
}

/* --------------------------------------------------------------- looking up */

const struct conf_entry *conf_next(const struct conf_section *section,
				   enum conf_key key,
				   const struct conf_entry *after)
{
	size_t i = after ? (size_t)(after - section->entries) + 1 : 0;

	for (; i < section->n; i++)
		if (section->entries[i].key == key)
			return &section->entries[i];
	return NULL;
}

const char *conf_get(const struct conf_section *section, enum conf_key key)
{
	for (size_t i = section->n; i > 0; i--)
		if (section->entries[i - 1].key == key)
			return section->entries[i - 1].value;
	return NULL;
}

/* Is "ADDRESS" or "ADDRESS%ZONE" an IPv6 address? */
static bool is_ipv6(const char *text)
{
	char address[INET6_ADDRSTRLEN];
	size_t len = strcspn(text, "%");

	if (len >= sizeof(address) || (text[len] && !text[len + 1]))
		return false;
	memcpy(address, text, len);
	address[len] = 0;
	return conf_address_bits(address) == 128;
}

bool conf_split_endpoint(const char *text, char host[CONF_HOST_CAP],
			 uint16_t *port)
{
	const char *colon = strrchr(text, ':');
	bool has_brackets = *text == '[';
	char name[CONF_HOST_CAP];
	unsigned long number;
	size_t len;

	if (!colon || !read_number(colon + 1, UINT16_MAX, &number) || !number)
		return false;
	if (has_brackets && (colon - text < 2 || colon[-1] != ']'))
		return false;
	text += has_brackets;
	len = (size_t)(colon - text) - has_brackets;
	if (!len || len >= sizeof(name))
		return false;
	memcpy(name, text, len);
	name[len] = 0;
	if (has_brackets ? !is_ipv6(name) : strpbrk(name, ":[]% \t") != NULL)
		return false;
	memcpy(host, name, len + 1);
	*port = (uint16_t)number;
	return true;
}

bool conf_key_to_hex(char out[CONF_HEX_CAP], const char *text)
{
	uint8_t key[KEY_LEN];
	bool is_good = read_key(text, key);

	for (size_t i = 0; is_good && i < sizeof(key); i++)
		snprintf(out + 2 * i, 3, "%02x", key[i]);
	explicit_bzero(key, sizeof(key));
	return is_good;
}
