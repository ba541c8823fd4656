/* SPDX-License-Identifier: MIT */
/*
 * Assertions that stay on in release builds. Use them for broken invariants
 * that memory safety or the secrecy of a key rests on, never for input.
 */
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

#include <stdio.h>
#include <stdlib.h>

#define INVARIANT(cond) \
	((cond) ? (void)0 : invariant_broken(#cond, __FILE__, __LINE__))

/**
 * invariant_broken() - say which invariant does not hold, and abort
 * @what:	the condition, as written
 * @file:	where it is written
 * @line:	and at which line
 */
_Noreturn static inline void invariant_broken(const char *what,
					      const char *file, int line)
{
	fprintf(stderr, "%s:%d: broken invariant: %s\n", file, line, what);
	abort();
}

#endif /* BASE_ASSERT_H */
