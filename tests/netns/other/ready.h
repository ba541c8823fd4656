/* SPDX-License-Identifier: MIT */
/* Included before the first line of a source: a program whose engine takes the tunnel, and
 * then has no READY for the keeper, but a request without the descriptor that belongs to
 * it. */
#include <poll.h>

#include "keeper/request.h"

/* The predecessor ends in these two seconds. */
#define REQUEST_READY ((enum request_kind)(poll(NULL, 0, 2000), REQUEST_KEEP))
