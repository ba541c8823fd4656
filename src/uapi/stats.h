/* SPDX-License-Identifier: MIT */
/*
 * The protocol of the statistics socket. A request is one line and an empty line:
 *
 *	get=stats	what the device counts, then each peer
 *	get=trace	the last events of each peer
 *	get=allowed_ips	the allowed IPs of each peer
 *	get=events	what happens from now on, until the client closes
 *
 * An answer is lines of key=value, "errno=0" and an empty line, as in the protocol of
 * configuration. A line of get=events is one event; this answer has no end. No answer
 * has a secret, and nothing can be changed. docs/statistics.md describes all lines.
 *
 * Control thread.
 */
#ifndef UAPI_STATS_H
#define UAPI_STATS_H

#include "engine/engine.h"
#include "engine/events.h"
#include "uapi/peers.h"
#include "uapi/text.h"

enum {
	/* The least room that stats_reply_fill() needs: the device with all that it
	 * counts has less than 8 KiB. */
	STATS_REPLY_CAP = 16384,
	/* The longest line of a request, without its end. A choice: the longest
	 * request has 15 bytes. */
	STATS_MAX_LINE = 64,
	/* Bytes of uapi_refusal.text. A choice: a longer one is cut. */
	UAPI_REFUSAL_CAP = 256,
};

/**
 * struct uapi_refusal - the last configuration that was refused
 * @realtime:	when, in ns of CLOCK_REALTIME; 0: none was refused
 * @text:	why, as in the log
 */
struct uapi_refusal {
	uint64_t realtime;
	char text[UAPI_REFUSAL_CAP];
};

/**
 * struct stats_source - what the answers are made of
 * @version:	of the program; borrowed
 * @engine:	borrowed
 * @codec:	prints endpoints; borrowed
 * @refusal:	borrowed
 */
struct stats_source {
	const char *version;
	struct engine *engine;
	const struct uapi_codec *codec;
	const struct uapi_refusal *refusal;
};

enum stats_kind {
	STATS_NONE, /* the request has not ended */
	STATS_GET,
	STATS_TRACE,
	STATS_ALLOWED_IPS,
	STATS_EVENTS,
	STATS_BAD, /* no such request */
};

/**
 * struct stats_parser - a request under way; all zero at first
 * @line:	the present line
 * @len:	its length; above STATS_MAX_LINE: it is too long
 * @kind:	of the request, as far as it was read
 * @token:	with STATS_BAD: the line that is wrong, perhaps cut
 */
struct stats_parser {
	char line[STATS_MAX_LINE + 1];
	size_t len;
	enum stats_kind kind;
	char token[STATS_MAX_LINE + 1];
};

/**
 * stats_parse() - parse the next bytes
 * @p:		parser
 * @data:	bytes of the stream
 * @len:	their count
 * @n_used:	set to how many were parsed
 *
 * Return: STATS_NONE: all bytes were parsed, and the request goes on; else the kind of
 * the request that has ended. @token of the parser is valid until the next call.
 */
enum stats_kind stats_parse(struct stats_parser *p, const char *data,
			    size_t len, size_t *n_used);

/**
 * struct stats_reply - an answer under way
 * @source:	borrowed
 * @kind:	of the request
 * @step:	private: the piece that comes next
 * @peers:	private: the last peer written
 * @at:		private: the place in the feed
 * @token:	of a request that is STATS_BAD
 */
struct stats_reply {
	const struct stats_source *source;
	enum stats_kind kind;
	unsigned int step;
	struct peers peers;
	uint64_t at;
	char token[STATS_MAX_LINE + 1];
};

/**
 * stats_reply_begin() - begin an answer
 * @reply:	caller's storage
 * @source:	borrowed
 * @kind:	kind of the request
 * @token:	with STATS_BAD: the line that is wrong
 *
 * Return: 0; -ENOMEM, for STATS_EVENTS.
 */
int stats_reply_begin(struct stats_reply *reply,
		      const struct stats_source *source, enum stats_kind kind,
		      const char *token);

/* stats_reply_end() - an answer ends, also before its last piece */
void stats_reply_end(struct stats_reply *reply);

/**
 * stats_reply_fill() - write the next piece
 * @reply:	answer
 * @buf:	filled, without a final 0
 * @cap:	bytes at @buf, at least STATS_REPLY_CAP
 *
 * Return: how many bytes were written. 0: the answer has ended; with STATS_EVENTS:
 * nothing more has happened yet.
 */
size_t stats_reply_fill(struct stats_reply *reply, char *buf, size_t cap);

#endif /* UAPI_STATS_H */
