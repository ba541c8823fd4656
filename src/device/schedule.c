/* SPDX-License-Identifier: MIT */
/*
 * The heap is an array: the children of place n are at 2n + 1 and 2n + 2. Each
 * entry knows its place, so any entry can be moved or taken out without a
 * search.
 */
#include "device/schedule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum {
	/* Places that the heap begins with. A choice; it doubles when full. */
	MIN_CAP = 16
};

void schedule_init(struct schedule *schedule)
{
	memset(schedule, 0, sizeof(*schedule));
}

void schedule_deinit(struct schedule *schedule)
{
	free(schedule->heap);
	schedule_init(schedule);
}

int schedule_reserve(struct schedule *schedule, size_t n_entries)
{
	struct schedule_entry **heap;
	size_t cap = schedule->cap ? schedule->cap : MIN_CAP;

	while (cap < n_entries)
		cap *= 2;
	if (cap == schedule->cap)
		return 0;
	heap = reallocarray(schedule->heap, cap,
			    sizeof(struct schedule_entry *));
	if (!heap)
		return -ENOMEM;
	schedule->heap = heap;
	schedule->cap = cap;
	return 0;
}

void schedule_entry_init(struct schedule_entry *entry)
{
	entry->due_ns = SCHEDULE_NEVER;
	entry->pos = 0;
}

static void put_at(struct schedule *schedule, size_t pos,
		   struct schedule_entry *entry)
{
	schedule->heap[pos] = entry;
	entry->pos = pos;
}

/* Moves the entry towards the root until its parent is not later. */
static void sift_up(struct schedule *schedule, struct schedule_entry *entry)
{
	size_t pos = entry->pos;
	struct schedule_entry *parent;

	while (pos > 0) {
		parent = schedule->heap[(pos - 1) / 2];
		if (parent->due_ns <= entry->due_ns)
			break;
		put_at(schedule, pos, parent);
		pos = (pos - 1) / 2;
	}
	put_at(schedule, pos, entry);
}

/* Moves the entry away from the root until no child is earlier. */
static void sift_down(struct schedule *schedule, struct schedule_entry *entry)
{
	size_t pos = entry->pos;
	struct schedule_entry **heap = schedule->heap;
	size_t child;

	while ((child = pos * 2 + 1) < schedule->n) {
		if (child + 1 < schedule->n &&
		    heap[child + 1]->due_ns < heap[child]->due_ns)
			child++;
		if (heap[child]->due_ns >= entry->due_ns)
			break;
		put_at(schedule, pos, heap[child]);
		pos = child;
	}
	put_at(schedule, pos, entry);
}

static void take_out(struct schedule *schedule, struct schedule_entry *entry)
{
	struct schedule_entry *last = schedule->heap[--schedule->n];

	entry->due_ns = SCHEDULE_NEVER;
	if (last == entry)
		return;
	put_at(schedule, entry->pos, last);
	sift_up(schedule, last);
	sift_down(schedule, last);
}

void schedule_set(struct schedule *schedule, struct schedule_entry *entry,
		  uint64_t due_ns)
{
	if (entry->due_ns == due_ns)
		return;
	if (due_ns == SCHEDULE_NEVER) {
		take_out(schedule, entry);
		return;
	}
	if (entry->due_ns == SCHEDULE_NEVER) {
		INVARIANT(schedule->n < schedule->cap);
		put_at(schedule, schedule->n++, entry);
	}
	entry->due_ns = due_ns;
	sift_up(schedule, entry);
	sift_down(schedule, entry);
}

struct schedule_entry *schedule_first(const struct schedule *schedule)
{
	return schedule->n ? schedule->heap[0] : NULL;
}
