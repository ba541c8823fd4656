/* SPDX-License-Identifier: MIT */
/*
 * Resident memory follows use. free(3) gives back only what is at the top of
 * the heap: after a large configuration went, what is still used lies scattered
 * above holes that stay resident.
 */
#ifndef DEVICE_MEMORY_H
#define DEVICE_MEMORY_H

/**
 * memory_trim_later() - give the kernel back what the heap does not use
 *
 * After what was handed to rcu_free_later() so far is freed, and on the thread
 * that does so: it takes some milliseconds for each hundred MiB. Registered
 * threads, where rcu_free_later() may be called.
 */
void memory_trim_later(void);

#endif /* DEVICE_MEMORY_H */
