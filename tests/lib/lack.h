/* SPDX-License-Identifier: MIT */
/*
 * Allocations that fail. The linker (--wrap) sends every allocation of the code under
 * test through functions of this library; see lack_dep in meson.build.
 */
#ifndef TESTS_LIB_LACK_H
#define TESTS_LIB_LACK_H

/* The allocation that brings this to 0 fails, and so do all later ones. If it is
 * negative, none fails. */
extern long lack_left;

#endif /* TESTS_LIB_LACK_H */
