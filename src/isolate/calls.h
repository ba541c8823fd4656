/* SPDX-License-Identifier: MIT */
/*
 * The table of system calls that each thread may make. calls.c is compiled for
 * the machine that runs the program. make_filter.c runs on the machine that
 * builds, and finds the table in the object file of calls.c by its first bytes.
 *
 * Types, constants and byte order of the two machines may differ. So an entry
 * of the table is made of single bytes.
 */
#ifndef ISOLATE_CALLS_H
#define ISOLATE_CALLS_H

#include <errno.h>
#include <stdint.h>

#include "isolate/filter.h"

/* The first bytes of the table. */
#define CALLS_MAGIC "wiregather's table of calls"

enum {
	/* Bytes of the texts of an entry. Choices: a little more than the
	 * longest ones need. */
	CALLS_NAMES_CAP = 48,
	CALLS_WORD_CAP = 48,
	/* Most conditions of an entry: a socket has three. */
	CALLS_CONDITIONS_MAX = 3,
};

/* The threads, by the names that thread_begin() gives them, and sets of
 * threads. */
enum thread {
	CONTROL = 1,
	WORKER = 2,
	HELPER = 4,
	HANDSHAKER = 8,
	RCU = 16,
	LOG = 32,
	/* The keeper, which is a process of its own. */
	KEEPER = 64,
	/* The starter, and an engine until its threads have filters of their own.
	 * They may also make all calls of the engine's threads. */
	STARTER = 128,

	/* The threads that move packets. */
	MOVERS = WORKER | HELPER,
	/* The threads that make and free peers and their parts. */
	MAKERS = CONTROL | HANDSHAKER | RCU,
	BUT_LOG = MOVERS | MAKERS,
	/* All threads of the engine. */
	ALL = BUT_LOG | LOG,
	NONE = 0,
};

/**
 * struct condition - a condition on an argument
 * @mask:	bits that are compared, most significant byte first; 0: no
 *		condition
 * @value:	the value of these bits
 * @arg:	number of the argument, from 0
 */
struct condition {
	uint8_t mask[4];
	uint8_t value[4];
	uint8_t arg;
};

/**
 * struct call - a service of the kernel, and one way to ask for it
 * @names:	names of the calls for it, with blanks between; a C library and
 *		an architecture have some of them. If a name stands in several
 *		entries, each of them allows a way to call it
 * @word:	what strace(1) shows of this way, or "-"
 * @seen:	threads that make one of the calls in the test (calls.c)
 * @rare:	threads that may make one of them, but not in each run of the
 *		test
 * @conditions:	all must hold; the first one without a mask ends the list
 */
struct call {
	char names[CALLS_NAMES_CAP];
	char word[CALLS_WORD_CAP];
	uint8_t seen;
	uint8_t rare;
	struct condition conditions[CALLS_CONDITIONS_MAX];
};

/* The table: between CALLS_FIRST and CALLS_LAST. */
extern const struct call isolate_calls[];

#define CALLS_BYTES(v)                                              \
	{                                                           \
		(uint8_t)((uint32_t)(v) >> 24),                     \
			(uint8_t)((uint32_t)(v) >> 16),             \
			(uint8_t)((uint32_t)(v) >> 8), (uint8_t)(v) \
	}

/* The ends of the table. The first entry has the number of ENOSYS, which differs
 * between machines, as a condition. */
#define CALLS_FIRST                                      \
	{                                                \
		.names = CALLS_MAGIC, .conditions = {    \
			{ .value = CALLS_BYTES(ENOSYS) } \
		}                                        \
	}
#define CALLS_LAST          \
	{                   \
		.names = "" \
	}

/* Conditions on argument @n. IS: the argument equals @v. IS_BUT: it equals @v
 * apart from the bits @flags. HAS_NOT: it has no bit of @flag. */
#define IS(n, v)                                             \
	{                                                    \
		.arg = (n), .mask = CALLS_BYTES(UINT32_MAX), \
		.value = CALLS_BYTES(v)                      \
	}
#define IS_BUT(n, v, flags)                                          \
	{                                                            \
		.arg = (n), .mask = CALLS_BYTES(~(uint32_t)(flags)), \
		.value = CALLS_BYTES(v)                              \
	}
#define HAS_NOT(n, flag)                              \
	{                                             \
		.arg = (n), .mask = CALLS_BYTES(flag) \
	}

/* Entries: names, threads that make the calls in the test, others that may. */
#define CALL(n, s, r)                                             \
	{                                                         \
		.names = n, .word = "-", .seen = (s), .rare = (r) \
	}
#define CALL_IF(n, w, s, r, ...)                                 \
	{                                                        \
		.names = n, .word = w, .seen = (s), .rare = (r), \
		.conditions = {                                  \
			__VA_ARGS__                              \
		}                                                \
	}

#endif /* ISOLATE_CALLS_H */
