/* SPDX-License-Identifier: MIT */
/*
 * Private to the room. A contest of backends: a rule names one, and a
 * measurement on this machine may overrule it.
 *
 * The rule is a list. Its first backend that can be loaded and that passes
 * aead_check() is the holder. Other backends challenge the holder, twice: once
 * for batches (20 messages of 1,420 bytes in one call), and once for single
 * small messages (20 calls with one message of 64 bytes each). So the two kinds
 * of work may end with different backends.
 *
 * A challenger must be 10 % faster than the holder in each of 7 rounds. In a
 * round both seal the same messages in turn, and the thread's CPU time is read
 * before and after. Opening is not measured: for each backend it takes as long
 * as sealing within 10 % or so (docs/performance.md), and would double the time.
 *
 * A single time may be wrong. It is too long if an interrupt came, or if another
 * program has emptied the caches. On a virtual machine it may also be too short:
 * 0 ns were seen for 10 us of work, perhaps because the kernel takes off late
 * the time for which the host had the processor. Therefore no minimum over all
 * rounds decides, and only times that were taken one right after the other are
 * compared. A round that the challenger does not win is tried again, up to five
 * tries. What disturbs the holder can give the challenger one round, but not
 * seven. What disturbs the challenger would have to do so five times in one
 * round. So the result is the same at each start, also beside programs that
 * take all the processors (unit/crypto_aead_contest). If two backends are
 * equally fast, the rule decides, because neither is 10 % faster.
 *
 * All measuring together takes at most 2 ms of CPU time. If that is not enough,
 * as on a very slow processor, the holder stays.
 *
 * At the end the libraries of all losers are unloaded, so they take no memory.
 * A challenger is therefore never a library that cannot be unloaded, as
 * libcrypto of OpenSSL 3 is. Keys and texts of the measurement are not secret.
 *
 * One thread at a time; call it before the process isolates itself, because
 * libraries are loaded.
 */
#ifndef CRYPTO_AEAD_CONTEST_H
#define CRYPTO_AEAD_CONTEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/aead_backend.h"

enum {
	AEAD_CONTEST_ROUNDS = 7,
	AEAD_CONTEST_TRIES = 5,
	AEAD_CONTEST_MESSAGES = 20,
	/* Most backends on each side of a contest. A choice: as many as there
	 * are. */
	AEAD_CONTEST_MAX = AEAD_CHOICES,
	/* The challenger must take at least this much less time, in percent. */
	AEAD_CONTEST_MARGIN = 10,
};

/* Most CPU time that a contest measures for, in nanoseconds. */
#define AEAD_CONTEST_LIMIT_NS UINT64_C(2000000)

/**
 * struct aead_contest - a contest
 * @order:	the rule: the first of these that can run is the holder
 * @n_order:	how many
 * @challengers: the challengers; the holder may be among them
 * @n_challengers: how many; if 0, the holder is loaded, but neither tried nor
 *		measured
 * @clock:	reads the CPU time of the calling thread, in nanoseconds
 */
struct aead_contest {
	const struct aead_backend *order[AEAD_CONTEST_MAX];
	size_t n_order;
	const struct aead_backend *challengers[AEAD_CONTEST_MAX];
	size_t n_challengers;
	uint64_t (*clock)(void);
};

/**
 * struct aead_score - what a contest has found for one kind of work
 * @backend:	the winner
 * @ns:		what sealing a message took it, on average of the rounds' last
 *		tries; 0: not measured
 * @rival:	whom it was last measured against; NULL if not measured
 * @rival_ns:	the same of the rival
 */
struct aead_score {
	const struct aead_backend *backend;
	uint32_t ns;
	const struct aead_backend *rival;
	uint32_t rival_ns;
};

/**
 * struct aead_result - the result of a contest
 * @holder:	whom the rule has named
 * @of:		the winner for each kind of work
 * @spent_ns:	CPU time that measuring took
 */
struct aead_result {
	const struct aead_backend *holder;
	struct aead_score of[AEAD_WORKS];
	uint64_t spent_ns;
};

/**
 * aead_contest_run() - choose a backend for each kind of work
 * @result:	set on success. Each of its two backends stays loaded, until the
 *		caller calls its unload()
 * @contest:	the backends
 *
 * Return: true; false if no backend of the rule can run.
 */
bool aead_contest_run(struct aead_result *result,
		      const struct aead_contest *contest);

#endif /* CRYPTO_AEAD_CONTEST_H */
