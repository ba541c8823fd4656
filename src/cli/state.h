/* SPDX-License-Identifier: MIT */
/* The state of a tunnel, as the service manager is told of it. */
#ifndef CLI_STATE_H
#define CLI_STATE_H

#include <stddef.h>

#include "engine/engine.h"
#include "keeper/request.h"

/* state_fill() - read the state of an engine. Of the flags it sets REQUEST_UP only.
 * Control thread. */
void state_fill(struct request_state *state, struct engine *engine);

/* state_print() - the text of STATUS=, without a line's end. Any thread. */
void state_print(const struct request_state *state, char *buf, size_t cap);

#endif /* CLI_STATE_H */
