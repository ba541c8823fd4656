/* SPDX-License-Identifier: MIT */
/*
 * Read-copy-update (RCU): readers of a shared structure take no lock, and write
 * to no shared memory. A writer unlinks an element, and frees it when no reader
 * that could have seen the element is left.
 *
 * The rules:
 *
 *  - A reader calls rcu_enter() before its look-up and rcu_leave() after it.
 *    Between the two it neither sleeps nor makes a system call. After rcu_leave()
 *    it uses an element only if it took a reference to the element.
 *  - Pointers that readers follow are read with rcu_load() and written with
 *    rcu_store().
 *  - Two writers must not write at once; RCU does not prevent that.
 *  - rcu_free_later(), rcu_wait() and rcu_drain() are not called between
 *    rcu_enter() and rcu_leave().
 *
 * Each function is written twice. One version uses liburcu's "memb" flavour.
 * The other version, for builds with the thread sanitizer, uses a read-write
 * lock. The sanitizer does not understand liburcu's inline assembly, and would
 * report every free as a race. It understands the lock, and so finds code that
 * breaks the rules. The version with the lock frees at once. So the sanitizer
 * also finds code that uses an element after rcu_free_later().
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
 * rcu_load(), rcu_store() - read and write a pointer that readers follow. A reader
 * that sees the pointer also sees all that was written before it was stored.
 */
#define rcu_load(p)	__atomic_load_n(&(p), __ATOMIC_ACQUIRE)
#define rcu_store(p, v) __atomic_store_n(&(p), (v), __ATOMIC_RELEASE)

#ifdef RCU_IS_A_LOCK

#include <pthread.h>

/* Embedded in an element that is freed later. */
struct rcu_head {
	void *unused[2];
};

/* Every file that includes this header defines the lock. The attribute "weak"
 * has the linker make one variable of all these definitions. */
extern pthread_rwlock_t rcu_lock;
__attribute__((weak)) pthread_rwlock_t rcu_lock = PTHREAD_RWLOCK_INITIALIZER;

/* The version with the lock. The other version, below, has the contracts. */

static inline void rcu_register(void)
{
}

static inline void rcu_unregister(void)
{
}

static inline void rcu_enter(void)
{
	pthread_rwlock_rdlock(&rcu_lock);
}

static inline void rcu_leave(void)
{
	pthread_rwlock_unlock(&rcu_lock);
}

static inline void rcu_wait(void)
{
	pthread_rwlock_wrlock(&rcu_lock);
	pthread_rwlock_unlock(&rcu_lock);
}

static inline void rcu_free_later(struct rcu_head *head,
				  void (*release)(struct rcu_head *head))
{
	rcu_wait();
	release(head);
}

static inline void rcu_drain(void)
{
}

static inline int rcu_start(void (*first)(const char *name))
{
	(void)first;
	return 0;
}

static inline void rcu_stop(void)
{
}

#else

#include <urcu/urcu-memb.h>

/**
 * rcu_register() - this thread will read, or call rcu_free_later()
 *
 * Call it once in each such thread, before any other function of this file.
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
 * rcu_free_later() - free an element when no reader can see it any more
 * @head:	embedded in the element, which was unlinked before
 * @release:	frees the element. It is called by another thread, or by this one
 *		before rcu_free_later() returns. It may take only short locks,
 *		and none that a caller of rcu_free_later() holds.
 *
 * It cannot fail. (liburcu's call_rcu() is not used, because it ends the
 * program if there is no memory, or if it may not make a thread.) Registered
 * threads.
 */
void rcu_free_later(struct rcu_head *head,
		    void (*release)(struct rcu_head *head));

/**
 * rcu_drain() - sleep until all elements of rcu_free_later() are freed
 *
 * Elements that a release function hands to rcu_free_later() are freed, too. No
 * other thread may call rcu_free_later() meanwhile.
 */
void rcu_drain(void);

/**
 * rcu_start() - make the thread that frees elements
 * @first:	function that the thread calls first; its argument is the
 *		thread's name, "rcu"; or NULL
 *
 * Without this call the first rcu_free_later() makes the thread. When this
 * returns, the thread exists and has called @first.
 *
 * Return: 0; -errno.
 */
int rcu_start(void (*first)(const char *name));

/**
 * rcu_stop() - free all elements of rcu_free_later(), and end the thread
 *
 * No other thread may call a function of this file meanwhile. Without the thread
 * this does nothing.
 */
void rcu_stop(void);

#endif /* RCU_IS_A_LOCK */
#endif /* BASE_RCU_H */
