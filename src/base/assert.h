/* SPDX-License-Identifier: MIT */
/*
 * Assertions that stay on in release builds. Use them for invariants that memory
 * safety or the secrecy of a key rests on. Input may break no invariant: check
 * it, and return an error.
 */
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	/* How long the process waits until stderr takes its last line, in ms. A
	 * choice: as long as for other last lines (LOG_LINGER_MS). */
	INVARIANT_MS = 200,
};

#define INVARIANT(cond) \
	((cond) ? (void)0 : invariant_broken(#cond, __FILE__, __LINE__))

/**
 * invariant_broken() - say which invariant does not hold, and abort
 * @what:	the condition, as written
 * @file:	where it is written
 * @line:	and at which line
 *
 * The line does not go through the log, whose thread and memory cannot be
 * relied on any more. If the reader of stderr does not read, the line is left
 * out: the process must end.
 */
_Noreturn static inline void invariant_broken(const char *what,
					      const char *file, int line)
{
	struct pollfd pfd = { .fd = fileno(stderr), .events = POLLOUT };

	if (poll(&pfd, 1, INVARIANT_MS) == 1)
		fprintf(stderr, "%s:%d: broken invariant: %s\n", file, line,
			what);
	abort();
}

#endif /* BASE_ASSERT_H */
