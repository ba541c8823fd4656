/* SPDX-License-Identifier: MIT */
/* Included before the first line of a source: a program whose engine waits a second before
 * it tells that it serves, and three seconds before it ends when it has left its tunnel to
 * another one. */
#include <poll.h>

#include "keeper/request.h"
#include "keeper/starter.h"

#define REQUEST_READY	    ((enum request_kind)(poll(NULL, 0, 1000), REQUEST_READY))
#define STARTER_STATUS_LEFT (poll(NULL, 0, 3000), STARTER_STATUS_LEFT)
