/* SPDX-License-Identifier: MIT */
/* Random numbers of the kernel. */
#ifndef ENGINE_ENTROPY_H
#define ENGINE_ENTROPY_H

#include <stddef.h>

/* entropy_get() - fill a buffer with unpredictable bytes. Ends the process if the kernel
 * gives none for a second. Any thread. */
void entropy_get(void *buf, size_t len);

#endif /* ENGINE_ENTROPY_H */
