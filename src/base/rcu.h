/* SPDX-License-Identifier: MIT */
/*
 * Read-copy-update: readers of a shared structure take no lock and write to no
 * shared memory; a writer unlinks what it wants to free and frees it once every
 * reader that could have seen it is gone.
 *
 * The rules. A reader encloses its look-up in rcu_enter() and rcu_leave(), uses
 * nothing it found after rcu_leave() unless it took a reference, and neither
 * sleeps nor makes a system call in between. Pointers that readers follow are
 * read with rcu_load() and written with rcu_store(). Writers exclude one
 * another by means of their own. rcu_free_later(), rcu_wait() and rcu_drain()
 * may not be called between rcu_enter() and rcu_leave().
 *
 * There are two of this: liburcu's "memb" flavour, and, for builds with the
 * thread sanitizer, a read-write lock. The sanitizer cannot see what liburcu's
 * inline assembly orders and would report every free as a race; with the lock
 * it sees the same rules kept or broken. The lock's twin frees at once, so it
 * also finds code that touches an element after handing it to rcu_free_later().
 */
#ifndef BASE_RCU_H
#define BASE_RCU_H

#if defined(__SANITIZE_THREAD__)
#define RCU_IS_A_LOCK 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RCU_IS_A_LOCK 1
#endif
#endif

/*
 * Pointers that readers follow. Release and acquire pair, so a reader that sees
 * the pointer sees what was written before it was stored.
 */
#define rcu_load(p)	__atomic_load_n(&(p), __ATOMIC_ACQUIRE)
#define rcu_store(p, v) __atomic_store_n(&(p), (v), __ATOMIC_RELEASE)

#ifdef RCU_IS_A_LOCK

#include <pthread.h>

/* Embedded in what is freed later. */
struct rcu_head {
	void *unused[2];
};

/* One for the program, though every file that includes this defines it. */
extern pthread_rwlock_t rcu_lock;
__attribute__((weak)) pthread_rwlock_t rcu_lock = PTHREAD_RWLOCK_INITIALIZER;

/**
 * rcu_register() - nothing to do for a lock
 */
static inline void rcu_register(void)
{
}

/**
 * rcu_unregister() - nothing to do for a lock
 */
static inline void rcu_unregister(void)
{
}

/**
 * rcu_enter() - see the other twin
 */
static inline void rcu_enter(void)
{
	pthread_rwlock_rdlock(&rcu_lock);
}

/**
 * rcu_leave() - see the other twin
 */
static inline void rcu_leave(void)
{
	pthread_rwlock_unlock(&rcu_lock);
}

/**
 * rcu_wait() - see the other twin
 */
static inline void rcu_wait(void)
{
	pthread_rwlock_wrlock(&rcu_lock);
	pthread_rwlock_unlock(&rcu_lock);
}

/**
 * rcu_free_later() - see the other twin; at once
 * @head:	embedded in it
 * @release:	called once no reader can have it
 */
static inline void rcu_free_later(struct rcu_head *head,
				  void (*release)(struct rcu_head *head))
{
	rcu_wait();
	release(head);
}

/**
 * rcu_drain() - nothing is ever left to do
 */
static inline void rcu_drain(void)
{
}

/**
 * rcu_start() - a lock needs no thread
 * @first:	unused
 *
 * Return: 0.
 */
static inline int rcu_start(void (*first)(const char *name))
{
	(void)first;
	return 0;
}

/**
 * rcu_stop() - see the other twin
 */
static inline void rcu_stop(void)
{
}

#else

#include <urcu/urcu-memb.h>

/**
 * rcu_register() - this thread will be a reader, or call rcu_free_later()
 *
 * Once in each thread, before anything else of this file.
 */
static inline void rcu_register(void)
{
	urcu_memb_register_thread();
}

/**
 * rcu_unregister() - this thread is about to end
 */
static inline void rcu_unregister(void)
{
	urcu_memb_unregister_thread();
}

/**
 * rcu_enter() - start a look-up
 */
static inline void rcu_enter(void)
{
	urcu_memb_read_lock();
}

/**
 * rcu_leave() - end a look-up
 */
static inline void rcu_leave(void)
{
	urcu_memb_read_unlock();
}

/**
 * rcu_wait() - sleep until every look-up that is under way has ended
 */
static inline void rcu_wait(void)
{
	urcu_memb_synchronize_rcu();
}

/**
 * rcu_free_later() - free something that readers may still look at
 * @head:	embedded in what was unlinked just now
 * @release:	called once no reader can have it; by another thread, or by
 *		this one, before this returns. It may take short locks only that
 *		no caller of rcu_free_later() holds.
 *
 * It cannot fail: liburcu's call_rcu() would end the program when it finds no
 * memory, or may not make a thread.
 */
void rcu_free_later(struct rcu_head *head,
		    void (*release)(struct rcu_head *head));

/**
 * rcu_drain() - sleep until all that was handed over is released
 *
 * That includes what releasing hands over. For a caller beside whom no other
 * thread hands over anything.
 */
void rcu_drain(void);

/**
 * rcu_start() - have the thread that frees made now
 * @first:	what it does first, with its name, "rcu"; NULL: nothing
 *
 * Without this call the first rcu_free_later() makes the thread. When this
 * returns, the thread exists and has done @first.
 *
 * Return: 0; -errno.
 */
int rcu_start(void (*first)(const char *name));

/**
 * rcu_stop() - release what was handed over, and end that thread
 *
 * By one thread, when no other hands anything over. Where there is none, nothing
 * is done.
 */
void rcu_stop(void);

#endif /* RCU_IS_A_LOCK */
#endif /* BASE_RCU_H */
