/* SPDX-License-Identifier: MIT */
/*
 * The deadlines of all peers: a binary heap, the earliest first (Williams,
 * "Algorithm 232: Heapsort", 1964). Entries are embedded in peers. The array of
 * pointers grows when peers are made, so a change of a deadline allocates
 * nothing.
 *
 * All functions: control thread.
 */
#ifndef DEVICE_SCHEDULE_H
#define DEVICE_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A deadline that never comes. */
#define SCHEDULE_NEVER UINT64_MAX

/**
 * struct schedule_entry - something that may have a deadline
 * @due_ns:	the deadline; SCHEDULE_NEVER: it has none and is not in the heap
 * @pos:	its place in the heap
 */
struct schedule_entry {
	uint64_t due_ns;
	size_t pos;
};

/**
 * struct schedule - the heap
 * @heap:	array of pointers to entries
 * @n:		number of entries in the heap
 * @cap:	capacity of the array
 */
struct schedule {
	struct schedule_entry **heap;
	size_t n;
	size_t cap;
};

/**
 * schedule_init() - make an empty heap
 * @schedule:	caller's storage
 */
void schedule_init(struct schedule *schedule);

/**
 * schedule_deinit() - free the array
 * @schedule:	heap; its entries are not touched
 */
void schedule_deinit(struct schedule *schedule);

/**
 * schedule_reserve() - make room for entries
 * @schedule:	heap
 * @n_entries:	how many entries will exist, with and without a deadline
 *
 * Return: 0; -ENOMEM.
 */
int schedule_reserve(struct schedule *schedule, size_t n_entries);

/**
 * schedule_entry_init() - make an entry without a deadline
 * @entry:	caller's storage
 */
void schedule_entry_init(struct schedule_entry *entry);

/**
 * schedule_set() - change the deadline of an entry
 * @schedule:	heap, with room for all entries (schedule_reserve())
 * @entry:	entry
 * @due_ns:	CLOCK_BOOTTIME in nanoseconds; SCHEDULE_NEVER: no deadline
 */
void schedule_set(struct schedule *schedule, struct schedule_entry *entry,
		  uint64_t due_ns);

/**
 * schedule_first() - find the entry with the earliest deadline
 * @schedule:	heap
 *
 * Return: the entry; NULL if none has a deadline.
 */
struct schedule_entry *schedule_first(const struct schedule *schedule);

#endif /* DEVICE_SCHEDULE_H */
