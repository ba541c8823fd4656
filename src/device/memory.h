/* SPDX-License-Identifier: MIT */
/*
 * Gives free heap memory back to the kernel. free(3) gives back only the memory
 * at the top of the heap. After a large configuration was removed, the memory
 * still in use is scattered over the heap, and the free memory in between would
 * stay resident.
 */
#ifndef DEVICE_MEMORY_H
#define DEVICE_MEMORY_H

/**
 * memory_trim_later() - give unused heap memory back to the kernel
 *
 * The rcu thread does it, after it has freed all that was handed to
 * rcu_free_later() before. That takes some milliseconds for each hundred MiB.
 * Any registered thread, not between rcu_enter() and rcu_leave(). With a C
 * library other than glibc it does nothing.
 */
void memory_trim_later(void);

#endif /* DEVICE_MEMORY_H */
