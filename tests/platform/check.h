/* SPDX-License-Identifier: MIT */
/* cmocka, with the headers that it needs before it. */
#ifndef TESTS_PLATFORM_CHECK_H
#define TESTS_PLATFORM_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif /* TESTS_PLATFORM_CHECK_H */
