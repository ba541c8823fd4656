/* SPDX-License-Identifier: MIT */
/*
 * A sequence lock: a few words that change together, and that readers copy
 * without a lock.
 *
 * The sequence number is odd while a writer is at work. A reader takes the
 * number, copies the words, and takes the number again. If the number was even
 * and has not changed, the copy is whole. If not, the copy may be torn: some
 * words are old, some new. The words are atomic, so a copy while a writer is at
 * work is defined by the language, too.
 *
 * Why a copy that counts as whole is whole:
 *
 *  - No word is older than the number. seqlock_begin() loads the number with
 *    acquire order, and seqlock_unlock() stores it with release order. So the
 *    reader sees all words of the write that left this number.
 *  - No word is newer. seqlock_store() stores each word with release order,
 *    after the number became odd, and seqlock_load() loads each word with
 *    acquire order. A reader that sees one such word also sees the odd number,
 *    or a later one, when it takes the number again.
 *
 * A torn copy counts as whole only if the reader sleeps during exactly 2^31
 * writes, or a multiple of that: then the number is the same again.
 *
 * All orders are those of single loads and stores, without fences, so that a
 * thread sanitizer understands them. (Boehm, "Can seqlocks get along with
 * programming language memory models?", 2012.)
 */
#ifndef BASE_SEQLOCK_H
#define BASE_SEQLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * struct seqlock - the sequence number of some words
 * @seq:	[a] odd while a writer is at work
 */
struct seqlock {
	_Atomic uint32_t seq;
};

/* seqlock_init() - set up a lock; a lock of zero bytes needs no set-up */
static inline void seqlock_init(struct seqlock *lock)
{
	atomic_init(&lock->seq, 0);
}

/**
 * seqlock_lock() - begin to write
 * @lock:	lock
 *
 * While another thread writes, this function waits in a loop: a write takes
 * only a few stores.
 */
static inline void seqlock_lock(struct seqlock *lock)
{
	uint32_t even =
		atomic_load_explicit(&lock->seq, memory_order_relaxed) & ~1U;

	/* Partner: seqlock_unlock(), of the writer before. */
	while (!atomic_compare_exchange_weak_explicit(
		&lock->seq, &even, even + 1, memory_order_acquire,
		memory_order_relaxed))
		even &= ~1U;
}

/* seqlock_unlock() - end what seqlock_lock() began */
static inline void seqlock_unlock(struct seqlock *lock)
{
	uint32_t odd = atomic_load_explicit(&lock->seq, memory_order_relaxed);

	/* Partners: seqlock_begin(), seqlock_lock(). */
	atomic_store_explicit(&lock->seq, odd + 1, memory_order_release);
}

/**
 * seqlock_store() - write the words, between seqlock_lock() and _unlock()
 * @words:	the words
 * @from:	what to write
 * @n:		how many words
 */
static inline void seqlock_store(_Atomic uint64_t *words, const uint64_t *from,
				 size_t n)
{
	/* Partner: seqlock_load(). */
	for (size_t i = 0; i < n; i++)
		atomic_store_explicit(&words[i], from[i], memory_order_release);
}

/**
 * seqlock_load() - copy the words
 * @words:	the words
 * @to:		filled
 * @n:		how many words
 *
 * Called by the writer, or between seqlock_begin() and seqlock_is_whole().
 */
static inline void seqlock_load(const _Atomic uint64_t *words, uint64_t *to,
				size_t n)
{
	/* Partner: seqlock_store(). */
	for (size_t i = 0; i < n; i++)
		to[i] = atomic_load_explicit(&words[i], memory_order_acquire);
}

/* seqlock_begin() - begin to read. Return: a number for seqlock_is_whole(). */
static inline uint32_t seqlock_begin(const struct seqlock *lock)
{
	/* Partner: seqlock_unlock(). */
	return atomic_load_explicit(&lock->seq, memory_order_acquire);
}

/**
 * seqlock_is_whole() - is the copy that was made since seqlock_begin() whole?
 * @lock:	lock
 * @seq:	what seqlock_begin() returned
 *
 * Return: false if a writer was at work meanwhile: the copy may be torn.
 */
static inline bool seqlock_is_whole(const struct seqlock *lock, uint32_t seq)
{
	/* Relaxed is enough: seqlock_load() loads the words with acquire order,
	 * so this load comes after these. */
	return !(seq & 1) &&
	       seq == atomic_load_explicit(&lock->seq, memory_order_relaxed);
}

#endif /* BASE_SEQLOCK_H */
