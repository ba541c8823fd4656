/* SPDX-License-Identifier: MIT */
/*
 * A configuration file of wg-quick(8), read and checked.
 *
 * All keys of wg(8) and wg-quick(8) are known, and two comments: "# friendly_name =
 * NAME", and "# endpoint_backup = HOST:PORT" in the section of a peer. Other comments
 * are left out. As with wg(8), letters of keys may be small or capital, and "#" begins
 * a comment wherever it stands.
 *
 * The file has private keys, so the memory is wiped when it is freed, and an error
 * names no token that may be a key.
 *
 * One thread.
 */
#ifndef CTL_CONF_H
#define CTL_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	/* Bytes of the text of an error, with the final 0. */
	CONF_ERROR_CAP = 160,
	/* Bytes of a file at most: as much as the UAPI takes in one request. */
	CONF_MAX_LEN = 64 << 20,
	/* Bytes of a host's name, with the final 0 (RFC 1035: 253 characters). An
	 * IPv6 address with a zone is shorter. */
	CONF_HOST_CAP = 256,
	/* Characters of a cryptographic key as hex digits, with the final 0. */
	CONF_HEX_CAP = 65,
};

/**
 * struct conf_prefix - an address, and the length of its prefix
 * @family:	AF_INET or AF_INET6
 * @len:	of the prefix, in bits
 * @addr:	in network order; IPv4 in the first four bytes
 */
struct conf_prefix {
	int family;
	unsigned int len;
	uint8_t addr[16];
};

/* The keys. Those with [m] may stand several times, or have several values. */
enum conf_key {
	/* Of [Interface] */
	CONF_PRIVATE_KEY,
	CONF_LISTEN_PORT,
	CONF_FW_MARK,
	CONF_ADDRESS, /* [m] */
	CONF_DNS,     /* [m] an address, or a domain to search */
	CONF_MTU,
	CONF_TABLE,
	CONF_PRE_UP,	/* [m] */
	CONF_POST_UP,	/* [m] */
	CONF_PRE_DOWN,	/* [m] */
	CONF_POST_DOWN, /* [m] */
	CONF_SAVE_CONFIG,
	/* Of [Peer] */
	CONF_PUBLIC_KEY,
	CONF_PRESHARED_KEY,
	CONF_ALLOWED_IPS, /* [m] */
	CONF_ENDPOINT,
	CONF_PERSISTENT_KEEPALIVE,
	/* Comments of [Peer] */
	CONF_FRIENDLY_NAME,
	CONF_ENDPOINT_BACKUP, /* [m] */
};

/**
 * struct conf_entry - one value of a key
 * @key:	the key
 * @line:	number of its line, from 1
 * @value:	the value, without blanks around it. Of a list each element is an
 *		entry of its own.
 */
struct conf_entry {
	enum conf_key key;
	unsigned int line;
	const char *value;
};

/**
 * struct conf_section - [Interface], or one [Peer]
 * @entries:	its entries, in the order of the file
 * @n:		how many
 * @line:	number of the line that it begins in; 0: the file has no [Interface]
 */
struct conf_section {
	struct conf_entry *entries;
	size_t n;
	unsigned int line;
};

/**
 * struct conf - a file
 * @interface:	all sections [Interface] together
 * @peers:	@n_peers peers; each has CONF_PUBLIC_KEY
 * @n_peers:	how many
 * @text:	private: the memory of all values
 * @len:	private: bytes of @text
 */
struct conf {
	struct conf_section interface;
	struct conf_section *peers;
	size_t n_peers;
	char *text;
	size_t len;
};

/**
 * conf_parse() - read and check the text of a file
 * @conf:	filled on success; conf_free() it
 * @text:	the text; copied
 * @len:	its length
 * @error:	if the text is wrong: what is wrong, with line and token
 *
 * Return: 0; -EINVAL: the text is wrong; -ENOMEM.
 */
int conf_parse(struct conf *conf, const char *text, size_t len,
	       char error[CONF_ERROR_CAP]);

/**
 * conf_read() - read and check a file
 * @conf:	as conf_parse()
 * @path:	the file
 * @error:	filled on each failure
 *
 * Return: as conf_parse(); -EFBIG: the file has more than CONF_MAX_LEN bytes; another
 * -errno: it cannot be read.
 */
int conf_read(struct conf *conf, const char *path, char error[CONF_ERROR_CAP]);

/* conf_free() - wipe and free what conf_parse() or conf_read() has made */
void conf_free(struct conf *conf);

/**
 * conf_next() - the next entry with a key
 * @section:	a section
 * @key:	the key
 * @after:	the entry before; NULL: begin
 *
 * Return: the entry, or NULL.
 */
const struct conf_entry *conf_next(const struct conf_section *section,
				   enum conf_key key,
				   const struct conf_entry *after);

/**
 * conf_get() - the value of a key that has one value
 * @section:	a section
 * @key:	the key
 *
 * Return: the value, of the last line if there are several, as wg(8) does; NULL: there
 * is none.
 */
const char *conf_get(const struct conf_section *section, enum conf_key key);

/**
 * conf_split_endpoint() - cut "HOST:PORT" or "[IPV6]:PORT"
 * @text:	the text
 * @host:	filled on success, without brackets
 * @port:	set on success, 1 to 65535
 *
 * Return: false if the text is no endpoint.
 */
bool conf_split_endpoint(const char *text, char host[CONF_HOST_CAP],
			 uint16_t *port);

/* conf_address_bits() - bits of an IPv4 or IPv6 address; 0: the text is no address */
unsigned int conf_address_bits(const char *text);

/**
 * conf_read_prefix() - read "ADDRESS" or "ADDRESS/LENGTH"
 * @out:	filled on success; without a length it has all bits of the address
 * @text:	the text
 *
 * Return: false if the text is no prefix; then *out does not change.
 */
bool conf_read_prefix(struct conf_prefix *out, const char *text);

/**
 * conf_key_to_hex() - a cryptographic key as the UAPI has it
 * @out:	filled on success
 * @text:	the key in base64
 *
 * Return: false if the text is no key.
 */
bool conf_key_to_hex(char out[CONF_HEX_CAP], const char *text);

#endif /* CTL_CONF_H */
