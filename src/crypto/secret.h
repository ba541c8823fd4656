/* SPDX-License-Identifier: MIT */
/*
 * Memory for secrets.
 *
 * A pool hands out slots of one size, from regions of fixed length. It maps
 * another region when all slots are taken. It keeps one empty region, and
 * unmaps each further region that becomes empty. As far as the system allows
 * it, a region does not appear in other processes, in core dumps or in the
 * swap:
 *
 * - memfd_secret(2) (Linux 5.14, often off by default before 6.5): pages that
 *   even the kernel's own map of memory leaves out, and that are always locked.
 *   Such a mapping can neither grow nor be wiped on fork, so a region has its
 *   full size from the start and is not inherited (MADV_DONTFORK). While such
 *   pages exist the kernel does not hibernate, so SECRET_PRIVATE may be the
 *   better choice on a laptop.
 * - If the system has no memfd_secret(2): private memory that is locked
 *   (mlock(2)), wiped on fork and left out of core dumps. If mlock(2) fails
 *   (RLIMIT_MEMLOCK), the memory is used without a lock, because a tunnel
 *   without keys protects nothing. The pool remembers the failure for one line
 *   in the log.
 *
 * A child does not inherit regions, so make a pool after daemonising.
 *
 * Any thread. A pool must not be freed while another thread uses it.
 */
#ifndef CRYPTO_SECRET_H
#define CRYPTO_SECRET_H

#include <stdbool.h>
#include <stddef.h>

/* Hard limits: bytes of one region, and regions of one pool. Both are choices.
 * A region has the keys of 1,024 sessions. The regions of a full pool have 256
 * MiB: the keys of four sessions for each of a million peers. */
enum {
	SECRET_REGION_LEN = 64 * 1024,
	SECRET_REGIONS_MAX = 4096,
	/* No function of the libraries uses more of the stack than this. */
	SECRET_STACK_LEN = 8 * 1024,
};

enum secret_backing {
	SECRET_BEST,	/* memfd_secret(2) if the system has it */
	SECRET_PRIVATE, /* never memfd_secret(2) */
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
 * @pool:	pool; no slot of it is in use any more; NULL is ok
 */
void secret_pool_free(struct secret_pool *pool);

/**
 * secret_pool_reserve() - have memory for slots that will be taken
 * @pool:	pool
 * @n:		how many
 *
 * A page of memfd_secret(2) costs tens of microseconds, because the kernel takes it
 * out of its own map of memory. For a caller that will have no time for that. Any
 * thread.
 *
 * Return: 0; -ENOMEM: there may be fewer.
 */
int secret_pool_reserve(struct secret_pool *pool, size_t n);

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
 * Return: true in the first call after mlock(2) has first failed, else false.
 */
bool secret_pool_take_refusal(struct secret_pool *pool);

/**
 * secret_zero() - wipe memory; the compiler does not leave it out
 * @buf:	memory
 * @len:	its length
 */
void secret_zero(void *buf, size_t len);

/**
 * secret_wipe_stack() - wipe the stack below the caller's own variables
 *
 * Libraries copy keys to variables of their own. The contents of these
 * variables stay in the stack when the library returns. So a function that has
 * called a library calls this function next. It wipes SECRET_STACK_LEN bytes,
 * which takes 100 ns.
 */
void secret_wipe_stack(void);

/**
 * secret_equal() - compare, in a time that depends on the length alone
 * @a:		the one
 * @b:		the other
 * @len:	length of both
 *
 * Return: true if they are equal.
 */
bool secret_equal(const void *a, const void *b, size_t len);

/**
 * secret_is_zero() - is every byte zero, in a time that depends on @len alone
 * @buf:	memory
 * @len:	its length
 *
 * Return: true if all are zero.
 */
bool secret_is_zero(const void *buf, size_t len);

#endif /* CRYPTO_SECRET_H */
