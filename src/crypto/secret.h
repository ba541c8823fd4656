/* SPDX-License-Identifier: MIT */
/*
 * Memory for secrets.
 *
 * A pool hands out slots of one size from fixed regions. It maps another region
 * when all slots are taken, and unmaps those that are empty, but for one. A
 * region is memory that other processes, the core dump and the swap do not get
 * to see, as far as the system goes along:
 *
 * - memfd_secret(2) (Linux 5.14, often off by default before 6.5): pages that
 *   even the kernel's own map of memory leaves out. They are locked by nature.
 *   Such a mapping can neither grow nor be wiped on fork, so a region has its
 *   full size from the start and is not inherited (MADV_DONTFORK). As long as
 *   such pages exist the kernel does not hibernate, so who owns a laptop may
 *   want SECRET_PRIVATE.
 * - else private memory, locked (mlock), wiped on fork and left out of core
 *   dumps. If the lock is refused (RLIMIT_MEMLOCK), the memory is used all the
 *   same: a tunnel without a session protects nothing. The pool remembers the
 *   refusal for one line in the log.
 *
 * Regions are not inherited by a child, so make a pool after daemonising.
 */
#ifndef CRYPTO_SECRET_H
#define CRYPTO_SECRET_H

#include <stdbool.h>
#include <stddef.h>

/* Hard limits: bytes of one region, and regions of one pool. */
enum {
	SECRET_REGION_LEN = 64 * 1024,
	SECRET_REGIONS_MAX = 4096,
	/* More than any function of the libraries uses of the stack. */
	SECRET_STACK_LEN = 8 * 1024,
};

enum secret_backing {
	SECRET_BEST,	/* memfd_secret where there is one */
	SECRET_PRIVATE, /* never memfd_secret */
};

struct secret_pool;

/**
 * secret_pool_new() - a pool without regions yet
 * @slot_len:	bytes of a slot, at most SECRET_REGION_LEN; rounded up to 16
 * @backing:	which memory to ask for
 *
 * Return: the pool; NULL if memory is short.
 */
struct secret_pool *secret_pool_new(size_t slot_len,
				    enum secret_backing backing);

/**
 * secret_pool_free() - wipe and unmap all regions
 * @pool:	pool, none of whose slots is in use any more; NULL is ok
 */
void secret_pool_free(struct secret_pool *pool);

/**
 * secret_alloc() - take a slot
 * @pool:	pool
 *
 * Any thread.
 *
 * Return: a slot of zeroes, aligned to 16 bytes; NULL if memory is short or the
 * pool has SECRET_REGIONS_MAX full regions.
 */
void *secret_alloc(struct secret_pool *pool);

/**
 * secret_free() - wipe a slot and give it back
 * @pool:	the pool it came from
 * @slot:	slot; consumed. NULL is ok
 *
 * Any thread.
 */
void secret_free(struct secret_pool *pool, void *slot);

/**
 * secret_pool_take_refusal() - has the system refused to lock memory?
 * @pool:	pool
 *
 * Any thread.
 *
 * Return: true in the first call after the first refusal, else false.
 */
bool secret_pool_take_refusal(struct secret_pool *pool);

/**
 * secret_zero() - wipe memory, whatever the optimiser thinks of it
 * @buf:	memory
 * @len:	its length
 */
void secret_zero(void *buf, size_t len);

/**
 * secret_wipe_stack() - wipe what a library has left on the stack
 *
 * Libraries copy keys to their own variables, and what those held stays behind
 * in the stack when they return. Called by the function that called the library,
 * this wipes the SECRET_STACK_LEN bytes below the caller's own. It costs 100 ns.
 */
void secret_wipe_stack(void);

/**
 * secret_equal() - compare in a time that depends on the length alone
 * @a:		the one
 * @b:		the other
 * @len:	length of both
 *
 * Return: true if they are equal.
 */
bool secret_equal(const void *a, const void *b, size_t len);

/**
 * secret_is_zero() - is every byte zero? In a time that depends on @len alone
 * @buf:	memory
 * @len:	its length
 *
 * Return: true if so.
 */
bool secret_is_zero(const void *buf, size_t len);

#endif /* CRYPTO_SECRET_H */
