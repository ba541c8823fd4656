/* SPDX-License-Identifier: MIT */
/*
 * Requests to the keeper. Input: the number of descriptors, in one byte; then a request.
 *
 * Promises: a request that is accepted has the length of its kind and as many descriptors
 * as its kind has; its counts are within its arrays; its texts end, and have no control
 * characters.
 */
#include "fuzz/fuzz.h"

#include <stdbool.h>

#include "keeper/request.h"

static void require_text(const char *text, size_t cap)
{
	const char *end = memchr(text, 0, cap);

	require(end != NULL);
	for (; text < end; text++)
		require(*text >= ' ' && *text <= '~');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct request request;
	unsigned int n_fds;

	if (!len || len - 1 > sizeof(request))
		return 0;
	n_fds = data[0];
	memset(&request, 0xaa, sizeof(request));
	memcpy(&request, data + 1, len - 1);
	if (request_check(&request, len - 1, n_fds) < 0)
		return 0;
	require(request.head.version == REQUEST_VERSION);
	require(request_len(request.head.kind) == len - 1);
	require(n_fds == (request.head.kind == REQUEST_KEEP));
	switch (request.head.kind) {
	case REQUEST_ASK:
		require(request.ask.n >= 1);
		require(request.ask.n <= REQUEST_QUESTIONS_MAX);
		break;
	case REQUEST_KEEP:
		require(request.keep.slot < REQUEST_SLOTS);
		break;
	case REQUEST_STATE:
		require(request.state.err <= 0 && request.state.err > -4096);
		require_text(request.state.stalled,
			     sizeof(request.state.stalled));
		break;
	case REQUEST_FAILED:
		require_text(request.failed.why, sizeof(request.failed.why));
		break;
	default:
		break;
	}
	return 0;
}
