/* SPDX-License-Identifier: MIT */
/*
 * Keys, taken out of a text. A key is found by its form, whoever wrote it: 64 hex digits,
 * or the 43 digits and the "=" of base64. A text that only looks like a key goes, too.
 *
 * One thread.
 */
#ifndef CTL_SCRUB_H
#define CTL_SCRUB_H

#include <stddef.h>

#include "ctl/snapshot.h"

/**
 * struct ctl_scrub - the public keys that have a number, and what was taken out
 * @keys:	base64; the number of the first one is 1; owned
 * @n:		how many
 * @n_others:	how many keys without a number were taken out so far
 */
struct ctl_scrub {
	char (*keys)[CTL_KEY_CAP];
	size_t n;
	size_t n_others;
};

/**
 * ctl_scrub_add() - give a public key a number, unless it has one
 * @scrub:	at first all zero; ctl_scrub_free() it
 * @key:	base64
 *
 * Return: the number; 0: there is no memory.
 */
size_t ctl_scrub_add(struct ctl_scrub *scrub, const char *key);

/* ctl_scrub_free() - free the keys */
void ctl_scrub_free(struct ctl_scrub *scrub);

/**
 * ctl_scrub_text() - replace each key
 * @scrub:	a key that has a number there becomes "<peer NUMBER>", another one
 *		"<key>"
 * @text:	changed in place; without a 0 inside
 * @len:	its length
 *
 * Each byte that is not printable ASCII, a tabulator or a line's end becomes "?", so a
 * key does not stay as bytes, either. A key that two lines share is not found.
 *
 * Return: the new length, at most @len.
 */
size_t ctl_scrub_text(struct ctl_scrub *scrub, char *text, size_t len);

#endif /* CTL_SCRUB_H */
