/* SPDX-License-Identifier: MIT */
/*
 * The control thread's list of what is due when: a binary heap of deadlines
 * (Williams, "Algorithm 232: Heapsort", 1964), earliest first. Entries are
 * embedded in peers; the array of pointers grows when peers are made, so
 * setting a deadline never needs memory.
 *
 * The control thread alone.
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
 * @pos:	where in the heap
 */
struct schedule_entry {
	uint64_t due_ns;
	size_t pos;
};

/**
 * struct schedule - the heap
 * @heap:	@cap pointers
 * @n:		how many are in use
 * @cap:	room for how many
 */
struct schedule {
	struct schedule_entry **heap;
	size_t n;
	size_t cap;
};

/**
 * schedule_init() - nothing is due
 * @schedule:	caller's storage
 */
void schedule_init(struct schedule *schedule);

/**
 * schedule_deinit() - free the array
 * @schedule:	heap; its entries are forgotten
 */
void schedule_deinit(struct schedule *schedule);

/**
 * schedule_reserve() - make room for entries
 * @schedule:	heap
 * @n_entries:	how many will exist, with or without a deadline
 *
 * Return: 0; -ENOMEM.
 */
int schedule_reserve(struct schedule *schedule, size_t n_entries);

/**
 * schedule_entry_init() - an entry without a deadline
 * @entry:	caller's storage
 */
void schedule_entry_init(struct schedule_entry *entry);

/**
 * schedule_set() - give an entry another deadline, or none
 * @schedule:	heap
 * @entry:	entry
 * @due_ns:	deadline, or SCHEDULE_NEVER
 */
void schedule_set(struct schedule *schedule, struct schedule_entry *entry,
		  uint64_t due_ns);

/**
 * schedule_first() - the entry with the earliest deadline
 * @schedule:	heap
 *
 * Return: the entry; NULL if none has a deadline.
 */
struct schedule_entry *schedule_first(const struct schedule *schedule);

#endif /* DEVICE_SCHEDULE_H */
