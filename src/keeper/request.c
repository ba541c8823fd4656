/* SPDX-License-Identifier: MIT */
/* The check of requests: it uses no memory but the message, and makes no calls. */
#include "keeper/request.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"

/* No padding: each byte of a message is checked, and none is left from memory. */
static_assert(sizeof(struct request_head) == 4, "no padding");
static_assert(sizeof(struct request_open) == 8, "no padding");
static_assert(sizeof(struct request_question) == 44, "no padding");
static_assert(sizeof(struct request_ask) == 8 + 44 * REQUEST_QUESTIONS_MAX,
	      "no padding");
static_assert(sizeof(struct request_state) == 36, "no padding");
static_assert(sizeof(struct request_failed) == 4 + REQUEST_WHY_CAP,
	      "no padding");

enum {
	/* No errno of Linux is higher (MAX_ERRNO). */
	ERRNO_MAX = 4095,
};

size_t request_len(uint8_t kind)
{
	static const size_t bodies[REQUEST_KINDS] = {
		[REQUEST_OPEN] = sizeof(struct request_open),
		[REQUEST_CLOSE] = sizeof(struct request_close),
		[REQUEST_MARK] = sizeof(struct request_mark),
		[REQUEST_ASK] = sizeof(struct request_ask),
		[REQUEST_KEEP] = sizeof(struct request_keep),
		[REQUEST_STATE] = sizeof(struct request_state),
		[REQUEST_FAILED] = sizeof(struct request_failed),
	};

	if (!kind || kind >= REQUEST_KINDS)
		return 0;
	return sizeof(struct request_head) + bodies[kind];
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
	uint8_t all = 0;

	for (size_t i = 0; i < len; i++)
		all |= bytes[i];
	return !all;
}

/* Does the text end, and has it no control characters? It is printed later. */
static bool is_text(const char *text, size_t cap)
{
	for (size_t i = 0; i < cap; i++) {
		unsigned char c = (unsigned char)text[i];

		if (!c)
			return true;
		if (c < ' ' || c > '~')
			return false;
	}
	return false;
}

static bool is_errno(int32_t err)
{
	return err <= 0 && err >= -ERRNO_MAX;
}

static bool is_question(const struct request_question *q)
{
	if (q->is_v6 > 1 || !is_zero(q->zero, sizeof(q->zero)))
		return false;
	return q->is_v6 ||
	       (is_zero(q->source + 4, sizeof(q->source) - 4) &&
		is_zero(q->destination + 4, sizeof(q->destination) - 4));
}

static bool is_ask(const struct request_ask *ask)
{
	if (!ask->n || ask->n > REQUEST_QUESTIONS_MAX)
		return false;
	for (uint32_t i = 0; i < ask->n; i++)
		if (!is_question(&ask->questions[i]))
			return false;
	return is_zero((const uint8_t *)&ask->questions[ask->n],
		       (REQUEST_QUESTIONS_MAX - ask->n) *
			       sizeof(ask->questions[0]));
}

static bool is_state(const struct request_state *state)
{
	return !(state->flags & ~(uint32_t)REQUEST_FLAGS) &&
	       is_errno(state->err) &&
	       is_zero(state->zero, sizeof(state->zero)) &&
	       is_text(state->stalled, sizeof(state->stalled));
}

static bool is_body(const struct request *request)
{
	switch (request->head.kind) {
	case REQUEST_OPEN:
		return request->open.n >= 1 &&
		       request->open.n <= REQUEST_SOCKETS_MAX &&
		       !request->open.zero[0];
	case REQUEST_ASK:
		return is_ask(&request->ask);
	case REQUEST_KEEP:
		return request->keep.slot < REQUEST_SLOTS;
	case REQUEST_STATE:
		return is_state(&request->state);
	case REQUEST_FAILED:
		return is_errno(request->failed.err) &&
		       is_text(request->failed.why,
			       sizeof(request->failed.why));
	default: /* all numbers are good, or there is no body */
		return true;
	}
}

int request_check(const struct request *request, size_t len, unsigned int n_fds)
{
	if (len < sizeof(request->head) ||
	    request->head.version != REQUEST_VERSION ||
	    request_len(request->head.kind) != len)
		return -EPROTO;
	if (n_fds != (request->head.kind == REQUEST_KEEP))
		return -EPROTO;
	return is_body(request) ? 0 : -EPROTO;
}
