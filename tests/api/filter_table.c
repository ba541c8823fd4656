/* SPDX-License-Identifier: MIT */
/* A table of one call with a condition, for filter.py. */
#include "isolate/calls.h"

const struct call isolate_calls[] = {
	CALLS_FIRST,
	CALL_IF(TABLE_NAME, "-", ALL, NONE, IS(1, 7)),
	CALLS_LAST,
};
