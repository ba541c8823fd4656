/* SPDX-License-Identifier: MIT */
/*
 * The list of batches grows at its head, by a compare-and-swap. The thread that
 * has the right to write takes the list as a whole and turns it round. So a
 * thread that is delayed while it pushes delays nobody.
 */
#include "engine/writer.h"

void writer_init(struct writer *w, struct tun *tun, struct source *reader)
{
	*w = (struct writer){ .tun = tun, .reader = reader };
	pthread_mutex_init(&w->mutex, NULL);
}

void writer_deinit(struct writer *w)
{
	pthread_mutex_destroy(&w->mutex);
}

void writer_begin(struct writer *w, struct writer_batch *batch)
{
	pthread_mutex_lock(&w->mutex);
	tun_begin_merge(w->tun, &batch->merge);
	pthread_mutex_unlock(&w->mutex);
}

void writer_set_overlays(struct writer *w, const struct overlays *overlays)
{
	pthread_mutex_lock(&w->mutex);
	tun_set_overlays(w->tun, overlays);
	pthread_mutex_unlock(&w->mutex);
}

void writer_push(struct writer *w, struct writer_batch *batch)
{
	batch->next = atomic_load_explicit(&w->pushed, memory_order_relaxed);
	/* Partner: take_pushed(). */
	while (!atomic_compare_exchange_weak_explicit(
		&w->pushed, &batch->next, batch, memory_order_seq_cst,
		memory_order_relaxed))
		;
}

static bool has_pushed(struct writer *w)
{
	/* Partner: writer_push(). */
	return atomic_load_explicit(&w->pushed, memory_order_seq_cst) != NULL;
}

/* Take the list. Return: the batch that was pushed first; @next is the one that was
 * pushed after it. */
static struct writer_batch *take_pushed(struct writer *w)
{
	/* Partner: writer_push(). */
	struct writer_batch *last = atomic_exchange_explicit(
		&w->pushed, NULL, memory_order_seq_cst);
	struct writer_batch *first = NULL;

	while (last) {
		struct writer_batch *before = last->next;

		last->next = first;
		first = last;
		last = before;
	}
	return first;
}

/* Under the right to write. */
static void write_batch(struct writer *w, struct writer_batch *batch)
{
	int r = tun_write(w->tun, &batch->merge);

	if (r == TUN_E_GONE)
		source_note_gone(w->reader);
	/* Nothing waits for the TUN: packets that it did not take are dropped. */
	if (r != 0)
		merge_discard(&batch->merge);
}

/* Under the right to write. Return: how many batches were written. */
static unsigned int write_pushed(struct writer *w)
{
	struct writer_batch *batch = take_pushed(w);
	unsigned int n = 0;

	while (batch) {
		struct writer_batch *next = batch->next;

		write_batch(w, batch);
		/* From now on the batch is its owner's. */
		batch->done(batch->arg);
		batch = next;
		n++;
	}
	return n;
}

static void set_behind(struct writer *w, bool is_behind)
{
	/* Partner: writer_is_behind(). */
	atomic_store_explicit(&w->is_behind, is_behind, memory_order_relaxed);
}

void writer_run(struct writer *w)
{
	unsigned int n = 0;

	while (has_pushed(w)) {
		if (atomic_exchange_explicit(&w->is_writing, true,
					     memory_order_seq_cst))
			break;
		n += write_pushed(w);
		if (n >= WRITER_TURN)
			set_behind(w, true);
		atomic_store_explicit(&w->is_writing, false,
				      memory_order_seq_cst);
	}
	if (n >= WRITER_TURN)
		set_behind(w, false);
}
