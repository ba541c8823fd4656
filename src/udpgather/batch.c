/* SPDX-License-Identifier: MIT */
/*
 * A batch is the memory that one thread needs to send, made once. It belongs to no
 * socket, and remembers two results of the last ug_send().
 */
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "udpgather/sending.h"

const struct ug_endpoint *ug_refused_source(const struct ug_batch *batch)
{
	return batch->refused;
}

void ug_set_train_lengths(struct ug_batch *batch, uint8_t *lens, size_t n)
{
	batch->train_lens = lens;
	batch->n_train_lens = n;
}

int ug_batch_new(struct ug_batch **out, unsigned int cap)
{
	if (!cap || cap > UG_MAX_BATCH)
		return -EINVAL;
	struct ug_batch *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	struct messages *m = &b->messages;

	b->cap = cap;
	b->max_segments = UG_MAX_SEGMENTS;
	m->iov_cap = UG_MAX_VECTORS + cap;
	m->staging.cap = (size_t)MESSAGE_STAGING_LEN * cap;
	b->items = calloc(cap, sizeof(*b->items));
	m->msgs = calloc(cap, sizeof(*m->msgs));
	m->spaces = calloc(cap, sizeof(*m->spaces));
	m->trains = calloc(cap, sizeof(*m->trains));
	m->iov = calloc(m->iov_cap, sizeof(*m->iov));
	if (!b->items || !m->msgs || !m->spaces || !m->trains || !m->iov) {
		ug_batch_free(b);
		return -ENOMEM;
	}
	*out = b;
	return 0;
}

void ug_batch_set_urgent(struct ug_batch *batch, bool on)
{
	batch->is_urgent = on;
}

int ug_batch_set_segments(struct ug_batch *batch, unsigned int max)
{
	if (max > UG_MAX_SEGMENTS)
		return -EINVAL;
	batch->max_segments = max ? max : UG_MAX_SEGMENTS;
	return 0;
}

void ug_batch_free(struct ug_batch *batch)
{
	if (!batch)
		return;
	free(batch->cut.iov);
	free(batch->cut.status);
	free(batch->cut.dgrams);
	free(batch->messages.staging.bytes);
	free(batch->messages.iov);
	free(batch->messages.trains);
	free(batch->messages.spaces);
	free(batch->messages.msgs);
	free(batch->items);
	free(batch);
}

void ug_get_send_stats(const struct ug_batch *batch,
		       struct ug_send_stats *stats, size_t size)
{
	ug_stats_read(batch->counters.words, ARRAY_LEN(batch->counters.words),
		      stats, size);
}
