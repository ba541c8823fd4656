/* SPDX-License-Identifier: MIT */
/*
 * The text is cut into words of the digits of base64, to which "-" and "_" of its form
 * for URLs are added. Hex digits are among them. A word of 43 and more of them may hold
 * a key and is replaced as a whole, if it looks like one:
 *
 *  - a "=" follows, as behind a key in base64; or
 *  - it has 64 or more hex digits in a row; or
 *  - it has small and capital letters and digits.
 *
 * This leaves long paths and names alone: they have dots, or no "=", or no capitals.
 */
#include "ctl/scrub.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* Digits of a key, without the "=". */
	BASE64_LEN = CTL_KEY_CAP - 2,
	HEX_LEN = 64,
	/* Bytes of "<peer NUMBER>" with any number of 64 bits; less than a key has. */
	NAME_CAP = 32,
};

size_t ctl_scrub_add(struct ctl_scrub *s, const char *key)
{
	char(*keys)[CTL_KEY_CAP];

	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->keys[i], key) == 0)
			return i + 1;
	keys = realloc(s->keys, (s->n + 1) * sizeof(*keys));
	if (!keys)
		return 0;
	s->keys = keys;
	snprintf(s->keys[s->n], sizeof(s->keys[0]), "%s", key);
	return ++s->n;
}

void ctl_scrub_free(struct ctl_scrub *s)
{
	free(s->keys);
	*s = (struct ctl_scrub){ 0 };
}

static bool is_digit64(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("+/-_", c));
}

/* Does the word of @len digits look like a key? @next: the byte behind it. */
static bool is_key(const char *word, size_t len, char next)
{
	bool has_small = false, has_capital = false, has_digit = false;
	size_t n_hex = 0;

	if (len < BASE64_LEN)
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)word[i];

		has_small |= islower(c) != 0;
		has_capital |= isupper(c) != 0;
		has_digit |= isdigit(c) != 0;
		n_hex = isxdigit(c) ? n_hex + 1 : 0;
		if (n_hex == HEX_LEN)
			return true;
	}
	return next == '=' || (has_small && has_capital && has_digit);
}

/* The number of a public key in either form; 0: it has none. */
static size_t number_of(const struct ctl_scrub *s, const char *word, size_t len,
			char next)
{
	char key[CTL_KEY_CAP] = "";

	if (len == HEX_LEN) {
		char hex[HEX_LEN + 1] = { 0 };

		memcpy(hex, word, HEX_LEN);
		if (!ctl_key_from_hex(key, hex))
			return 0;
	} else if (len == BASE64_LEN && next == '=') {
		memcpy(key, word, len);
		key[len] = '=';
	}
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->keys[i], key) == 0)
			return i + 1;
	return 0;
}

/* Write what stands in place of a key. Return: its length. */
static size_t put_name(struct ctl_scrub *s, char *out, size_t number)
{
	char name[NAME_CAP];
	int len;

	if (number) {
		len = snprintf(name, sizeof(name), "<peer %zu>", number);
	} else {
		len = snprintf(name, sizeof(name), "<key>");
		s->n_others++;
	}
	memcpy(out, name, (size_t)len);
	return (size_t)len;
}

size_t ctl_scrub_text(struct ctl_scrub *s, char *text, size_t len)
{
	size_t out = 0, i = 0;

	while (i < len) {
		size_t n = 0;
		char next;

		while (i + n < len && is_digit64(text[i + n]))
			n++;
		next = i + n < len ? text[i + n] : 0;
		if (is_key(text + i, n, next)) {
			size_t number = number_of(s, text + i, n, next);

			out += put_name(s, text + out, number);
			i += n;
			/* The filling of base64 belongs to the key. */
			while (i < len && text[i] == '=')
				i++;
			continue;
		}
		memmove(text + out, text + i, n);
		out += n;
		i += n;
		if (i < len) {
			unsigned char c = (unsigned char)text[i++];

			text[out++] =
				(c >= ' ' && c < 0x7f) || c == '\n' || c == '\t'
					? (char)c
					: '?';
		}
	}
	return out;
}
