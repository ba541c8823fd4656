/* SPDX-License-Identifier: MIT */
/* What an operator should look at, found in the numbers of an interface. */
#ifndef CTL_ATTENTION_H
#define CTL_ATTENTION_H

#include "ctl/snapshot.h"

enum {
	/* Bytes of a line, with the final 0. A choice: a longer one is cut. */
	CTL_ATTENTION_CAP = 256,
};

/**
 * ctl_attention() - call a function for each thing to look at
 * @snapshot:	answer to get=stats
 * @now:	seconds since 1970
 * @tell:	gets a sentence without full stop, borrowed for the call
 * @arg:	for @tell
 */
void ctl_attention(const struct ctl_snapshot *snapshot, uint64_t now,
		   void (*tell)(void *arg, const char *text), void *arg);

/**
 * ctl_ago() - a time in words
 * @out:	filled, such as "2 min ago"
 * @cap:	bytes at @out; 32 are enough
 * @then:	seconds since 1970
 * @now:	seconds since 1970
 *
 * Return: @out.
 */
const char *ctl_ago(char *out, size_t cap, uint64_t then, uint64_t now);

/* ctl_span() - a span of seconds in words, such as "3 d 4 h". Return: @out. */
const char *ctl_span(char *out, size_t cap, uint64_t seconds);

/* ctl_title() - a peer's name, or the start of its key. Return: @out. */
const char *ctl_title(char *out, size_t cap, const struct ctl_peer *peer);

#endif /* CTL_ATTENTION_H */
