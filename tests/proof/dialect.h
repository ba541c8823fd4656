/* SPDX-License-Identifier: MIT */
/*
 * What Frama-C 25 does not understand of the sources and of the system's headers. It
 * comes before each file that is analysed; all other headers are the real ones.
 */
#ifndef PROOF_DIALECT_H
#define PROOF_DIALECT_H

/* Frama-C does not look at alignment. Assertions of the sources say that messages
 * have an alignment of 1; the compiler checks these. */
#define _Alignof(type) 1
#define _Alignas(type)

/* Of these headers, those of Frama-C: they have contracts for functions that are not
 * analysed. */
#include "__fc_builtin.h"
#include "libc/string.h"
#include "libc/stdlib.h"
#include "libc/ctype.h"
#define _STRING_H  1
#define _STDLIB_H  1
#define _STRINGS_H 1
#define _CTYPE_H   1

/* The calls of the compiler behind byteswap(3). */
#define __builtin_bswap16(n) ((__uint16_t)((n) >> 8 | (n) << 8))
#define __builtin_bswap32(n)                             \
	((__uint32_t)((n) >> 24 | ((n) >> 8 & 0xff00u) | \
		      ((n) << 8 & 0xff0000u) | (n) << 24))
#define __builtin_bswap64(n)                                    \
	((__uint64_t)__builtin_bswap32((__uint32_t)(n)) << 32 | \
	 __builtin_bswap32((__uint32_t)((n) >> 32)))

/* Atomic variables are plain ones, since only one thread is analysed. Of the calls,
 * those that the sources and their headers use. */
#define _Atomic
#include <stdatomic.h>
#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_init
#undef atomic_thread_fence
#define atomic_load_explicit(place, order)	   (*(place))
#define atomic_store_explicit(place, value, order) (*(place) = (value))
#define atomic_init(place, value)		   (*(place) = (value))
#define atomic_thread_fence(order)		   ((void)0)
#undef atomic_exchange_explicit
#undef atomic_fetch_add_explicit
#undef atomic_compare_exchange_weak_explicit
#define atomic_exchange_explicit(place, value, order) \
	({                                            \
		__typeof__(*(place)) was = *(place);  \
		*(place) = (value);                   \
		was;                                  \
	})
#define atomic_fetch_add_explicit(place, value, order) \
	((*(place) += (value)) - (value))
#define atomic_compare_exchange_weak_explicit(place, old, value, yes, no) \
	(*(place) == *(old) ? (*(place) = (value), 1) : (*(old) = *(place), 0))

#undef atomic_compare_exchange_strong_explicit
#undef atomic_signal_fence
#define atomic_compare_exchange_strong_explicit \
	atomic_compare_exchange_weak_explicit
#define atomic_signal_fence(order) ((void)0)

#endif /* PROOF_DIALECT_H */
