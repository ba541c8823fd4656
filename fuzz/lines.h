/* SPDX-License-Identifier: MIT */
#ifndef FUZZ_LINES_H
#define FUZZ_LINES_H

#include <stddef.h>

/* Bytes in front of the text, which a target defines. */
extern const size_t fuzz_lines_begin;

#endif /* FUZZ_LINES_H */
