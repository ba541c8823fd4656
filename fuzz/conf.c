/* SPDX-License-Identifier: MIT */
/* Configuration files of wg-quick(8): what is accepted has whole values, each in a
 * section that may have it, and an error is printable, names a line, and shows no word
 * as long as a key. */
#include "fuzz/fuzz.h"

#include <ctype.h>
#include <errno.h>

#include "ctl/conf.h"

enum {
	/* Letters and digits in a row of which an error shows fewer. */
	KEY_LIKE = 40,
};

static void check_endpoint(const char *value)
{
	char host[CONF_HOST_CAP], text[CONF_HOST_CAP + 16];
	uint16_t port;

	require(conf_split_endpoint(value, host, &port));
	require(*host && port);
	if (*value == '[')
		snprintf(text, sizeof(text), "[%s]:", host);
	else
		snprintf(text, sizeof(text), "%s:", host);
	require(strncmp(text, value, strlen(text)) == 0);
	require(strtoul(value + strlen(text), NULL, 10) == port);
}

static void check_section(const struct conf_section *section, size_t len)
{
	char hex[CONF_HEX_CAP];

	for (size_t i = 0; i < section->n; i++) {
		const struct conf_entry *entry = &section->entries[i];
		const char *value = entry->value;

		require(entry->line > 0 && entry->line <= len + 1);
		require(*value && strlen(value) <= len);
		require(!strchr(value, '\n'));
		if (entry->key == CONF_ENDPOINT ||
		    entry->key == CONF_ENDPOINT_BACKUP)
			check_endpoint(value);
		if (entry->key == CONF_PUBLIC_KEY ||
		    entry->key == CONF_PRIVATE_KEY ||
		    entry->key == CONF_PRESHARED_KEY)
			require(conf_key_to_hex(hex, value));
	}
}

static void check_error(const char *error)
{
	size_t n_row = 0;

	require(strncmp(error, "line ", 5) == 0);
	for (; *error; error++) {
		require(isprint((unsigned char)*error));
		n_row = isalnum((unsigned char)*error) ? n_row + 1 : 0;
		require(n_row < KEY_LIKE);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char error[CONF_ERROR_CAP] = "";
	struct conf conf;
	int err = conf_parse(&conf, (const char *)data, len, error);

	require(err == 0 || err == -EINVAL);
	if (err < 0) {
		check_error(error);
		return 0;
	}
	check_section(&conf.interface, len);
	for (size_t i = 0; i < conf.n_peers; i++) {
		check_section(&conf.peers[i], len);
		require(conf_get(&conf.peers[i], CONF_PUBLIC_KEY));
	}
	conf_free(&conf);
	return 0;
}
