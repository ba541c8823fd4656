/* SPDX-License-Identifier: MIT */
/*
 * IS_SANITIZED is defined in builds with AddressSanitizer or ThreadSanitizer,
 * which gcc and clang announce by different macros.
 */
#ifndef TESTS_LIB_SANITIZED_H
#define TESTS_LIB_SANITIZED_H

#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#endif

#endif /* TESTS_LIB_SANITIZED_H */
