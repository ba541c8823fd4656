/* SPDX-License-Identifier: MIT */
/*
 * The two passes of coalesce.h: deal() puts datagrams into trains, and
 * write_message() writes each train. Nearly all datagrams of a fast sender are put
 * into trains by join_run(), a short loop; join() has the complete rules.
 */
#include "udpgather/coalesce.h"

#include <string.h>

#include "base/bytes.h"

/* How many vectors a train has, and where the last one ends. */
struct tally {
	uint32_t n_iov;
	const char *end;
};

/* Count a datagram's vectors as ug_message_gather() will write them: empty ones are left
 * out, neighbours in memory are one. */
static inline struct tally count_vectors(struct tally t,
					 const struct ug_datagram *d)
{
	for (uint32_t i = 0; i < d->n_iov; i++) {
		const char *base = d->iov[i].iov_base;

		if (!d->iov[i].iov_len)
			continue;
		if (!t.n_iov || base != t.end)
			t.n_iov++;
		t.end = base + d->iov[i].iov_len;
	}
	return t;
}

/* The source that a message to this endpoint must name, or NULL. */
static const struct ug_source *source_for(const struct coalesce_job *job,
					  const struct ug_endpoint *ep,
					  uint8_t flags)
{
	if (flags & ITEM_BARE)
		return NULL;
	return ug_needed_source(job->peer, ep,
				ug_usable_source(ep, job->generation));
}

static bool same_source(const struct ug_source *a, const struct ug_source *b)
{
	if (a == b)
		return true;
	return a && b && a->ifindex == b->ifindex &&
	       memcmp(a->addr, b->addr, sizeof(a->addr)) == 0;
}

/* The hash has a seed, because strangers choose addresses. */
static uint16_t *bucket(struct messages *m, const struct coalesce_job *job,
			const struct ug_endpoint *ep)
{
	uint64_t hash = ug_endpoint_hash(ep, job->paths->seed);

	return &m->buckets[hash % COALESCE_BUCKETS];
}

static void remember(struct messages *m, const struct coalesce_job *job,
		     size_t k)
{
	uint16_t *head = bucket(m, job, m->trains[k].to);

	m->trains[k].older = *head;
	*head = (uint16_t)k;
}

/*
 * The last train of an endpoint, or NULL. The table is filled when the window
 * turns to a second endpoint: most windows have one endpoint only.
 */
static struct train *find_train(struct messages *m,
				const struct coalesce_job *job, size_t n_trains,
				const struct ug_endpoint *ep)
{
	if (!m->hashed) {
		memset(m->buckets, 0xff, sizeof(m->buckets));
		for (size_t k = 0; k < n_trains; k++)
			remember(m, job, k);
		m->hashed = true;
	}
	for (uint16_t i = *bucket(m, job, ep); i != ITEM_END;
	     i = m->trains[i].older)
		if (!ug_endpoint_compare(m->trains[i].to, ep))
			return &m->trains[i];
	return NULL;
}

/* Would the datagram leave from the train's source? */
static inline bool has_source_of(const struct train *t,
				 const struct coalesce_job *job, size_t i,
				 const struct ug_endpoint *to)
{
	uint8_t flags = job->items[i].flags;

	if (to == t->to && !((flags ^ job->items[t->first].flags) & ITEM_BARE))
		return true;
	return same_source(t->source, source_for(job, to, flags));
}

/* Add datagram @i to a train if it fits. */
static inline bool join_open(struct train *t, const struct coalesce_job *job,
			     size_t i, const struct ug_endpoint *to)
{
	const struct ug_datagram *d = &job->dgrams[i];
	struct item *item = &job->items[i];

	if (t->cnt >= job->max_segments || d->tos != t->tos || !item->len ||
	    item->len > t->segment_len || (item->flags & ITEM_ALONE) ||
	    item->len > ug_train_limit(job->family) - t->bytes ||
	    !has_source_of(t, job, i, to))
		return false;

	struct tally was = { .n_iov = t->n_iov, .end = t->end };
	struct tally now = count_vectors(was, d);

	if (now.n_iov > UG_MAX_VECTORS)
		return false;
	t->n_iov = now.n_iov;
	t->end = now.end;
	t->bytes += item->len;
	t->cnt++;
	t->ended = item->len < t->segment_len;
	job->items[t->last].next = (uint16_t)i;
	item->next = ITEM_END;
	t->last = (uint16_t)i;
	return true;
}

/*
 * Add the second datagram to a train that the path forbids, if a try is due and
 * this thread can claim it. The claim waits for the second datagram, because one
 * datagram alone is not cut, and would prove nothing.
 */
static __attribute__((noinline)) bool join_due(struct train *t,
					       const struct coalesce_job *job,
					       size_t i,
					       const struct ug_endpoint *to)
{
	struct item *first = &job->items[t->first];
	struct train alone = *t;

	if (!t->is_due || !join_open(t, job, i, to))
		return false;
	t->is_due = false;
	if ((first->flags & ITEM_TRY) ||
	    ug_path_claim(job->paths, t->to, job->now_ms)) {
		first->flags |= ITEM_TRY;
		return true;
	}
	*t = alone;
	t->is_due = false;
	first->next = ITEM_END;
	return false;
}

/* Add datagram @i to a train if the rules of coalesce.h let it. */
static bool join(struct train *t, const struct coalesce_job *job, size_t i,
		 const struct ug_endpoint *to)
{
	return t->ended ? join_due(t, job, i, to) : join_open(t, job, i, to);
}

/*
 * Add datagrams @i to @end - 1 to a train, as long as each has @n_iov vectors, no
 * marks, and the train's endpoint, size and TOS. Inlined, because most datagrams have
 * one vector, and that loop is then a short one.
 *
 * Return: the index of the first datagram that was not added.
 */
static inline __attribute__((always_inline)) size_t
add_alike(struct train *t, const struct coalesce_job *job, size_t i, size_t end,
	  const struct ug_endpoint *to, uint32_t n_iov)
{
	size_t seg = t->segment_len;

	for (; i < end; i++) {
		const struct ug_datagram *d = &job->dgrams[i];
		struct item *item = &job->items[i];

		if (datagram_endpoint(d, job->to) != to ||
		    job->status[i] != UG_UNSENT || item->len != seg ||
		    item->flags || d->tos != t->tos || d->n_iov != n_iov)
			break;
		if (n_iov == 1) {
			const char *base = d->iov->iov_base;

			t->n_iov += base != t->end;
			t->end = base + seg;
		} else {
			struct tally was = { .n_iov = t->n_iov, .end = t->end };
			struct tally now = count_vectors(was, d);

			t->n_iov = now.n_iov;
			t->end = now.end;
		}
		job->items[t->last].next = (uint16_t)i;
		t->last = (uint16_t)i;
	}
	return i;
}

/*
 * Add datagram @i and those behind it to a train, as long as they are like the
 * datagram before @i; not more than @max_vectors vectors.
 *
 * Return: the index of the first datagram that was not added.
 */
static size_t join_run(struct train *t, const struct coalesce_job *job,
		       size_t i, const struct ug_endpoint *to,
		       size_t max_vectors)
{
	uint32_t n_iov = job->dgrams[i - 1].n_iov;
	size_t seg = t->segment_len;
	size_t room = job->max_segments - t->cnt;
	size_t first = i;

	if (t->ended || to != t->to || job->items[t->first].flags || !n_iov ||
	    t->n_iov > UG_MAX_VECTORS)
		return i;
	room = size_min(room, (ug_train_limit(job->family) - t->bytes) / seg);
	room = size_min(room, (UG_MAX_VECTORS - t->n_iov) / n_iov);
	size_t end = size_min(job->n, i + size_min(room, max_vectors / n_iov));

	i = n_iov == 1 ? add_alike(t, job, i, end, to, 1)
		       : add_alike(t, job, i, end, to, n_iov);
	job->items[t->last].next = ITEM_END;
	t->cnt = (uint16_t)(t->cnt + i - first);
	t->bytes += (size_t)(i - first) * seg;
	return i;
}

/*
 * End a train whose segment size the path forbids. join_due() may reopen it, if a
 * try is due, or if this train claimed the try before and the window is coalesced
 * again.
 */
static void limit(struct train *t, const struct coalesce_job *job,
		  const struct item *item)
{
	bool is_due;

	if (item->len <= ug_path_cap(job->paths, t->to, job->now_ms, &is_due))
		return;
	t->ended = true;
	t->is_due = is_due || (item->flags & ITEM_TRY);
}

/* Open a train with datagram @i. */
static void open_train(struct messages *m, size_t n_trains,
		       const struct coalesce_job *job, size_t i,
		       const struct ug_endpoint *to)
{
	const struct ug_datagram *d = &job->dgrams[i];
	struct item *item = &job->items[i];
	struct tally tally = count_vectors((struct tally){ 0 }, d);
	bool ended = !item->len || (item->flags & ITEM_ALONE) ||
		     job->max_segments < 2 ||
		     item->len > ug_train_limit(job->family);

	item->next = ITEM_END;
	m->trains[n_trains] = (struct train){
		.to = to,
		.source = source_for(job, to, item->flags),
		.end = tally.end,
		.bytes = item->len,
		.segment_len = item->len,
		.n_iov = tally.n_iov,
		.first = (uint16_t)i,
		.last = (uint16_t)i,
		.cnt = 1,
		.tos = d->tos,
		.ended = ended,
	};
	if (ug_path_knows(job->paths) && !ended)
		limit(&m->trains[n_trains], job, item);
	if (m->hashed)
		remember(m, job, n_trains);
}

/* The first pass: put the datagrams into trains. Return: the number of trains. */
static size_t deal(struct messages *m, const struct coalesce_job *job)
{
	size_t n_trains = 0, vectors = 0;
	const struct ug_endpoint *last_to = NULL;
	struct train *t = NULL;

	m->truncated = m->hashed = false;
	for (size_t i = 0, next; i < job->n; i = next) {
		const struct ug_datagram *d = &job->dgrams[i];
		const struct ug_endpoint *to = datagram_endpoint(d, job->to);

		next = i + 1;
		if (job->status[i] != UG_UNSENT ||
		    (ug_endpoint_family(to) != job->family && !job->is_dual))
			continue;
		if (d->n_iov > m->iov_cap - vectors) {
			m->truncated = true;
			break;
		}
		vectors += d->n_iov;
		if (to != last_to && n_trains)
			t = find_train(m, job, n_trains, to);
		last_to = to;
		if (!t || !join(t, job, i, to)) {
			t = &m->trains[n_trains];
			open_train(m, n_trains++, job, i, to);
		}
		next = join_run(t, job, next, to, m->iov_cap - vectors);
		vectors += (next - i - 1) * d->n_iov;
	}
	return n_trains;
}

/* Copy a train's bytes, if that is faster. Return: 1 vector; 0 if not copied. */
static size_t copy_train(struct messages *m, const struct train *t,
			 struct iovec *iov, const struct coalesce_job *job)
{
	unsigned char *at = ug_staging_take(&m->staging, t->n_iov, t->bytes,
					    job->copy_below);

	if (!at)
		return 0;
	*iov = (struct iovec){ .iov_base = at, .iov_len = t->bytes };
	for (uint16_t i = t->first; i != ITEM_END; i = job->items[i].next)
		at = ug_message_copy(at, job->dgrams[i].iov,
				     job->dgrams[i].n_iov);
	return 1;
}

/* Write a train's vectors. Return: how many. */
static size_t gather_train(const struct train *t, struct iovec *iov,
			   const struct coalesce_job *job)
{
	size_t n = 0;

	for (uint16_t i = t->first; i != ITEM_END; i = job->items[i].next)
		n = ug_message_gather(iov, n, job->dgrams[i].iov,
				      job->dgrams[i].n_iov);
	return n;
}

/* Write message @k. Return: how many of @iov it uses; 0 if the message uses the
 * caller's only vector. */
static size_t write_message(struct messages *m, size_t k, struct iovec *iov,
			    const struct coalesce_job *job)
{
	const struct train *t = &m->trains[k];
	const struct ug_datagram *d = &job->dgrams[t->first];
	struct msghdr *h = &m->msgs[k].msg_hdr;
	size_t n;

	ug_message_write_head(
		h, &m->spaces[k], t->to, job->peer,
		&(struct control_out){
			.source = t->source,
			.segment_len = t->cnt > 1 ? t->segment_len : 0,
			.time_ns = job->time_ns,
			.family = job->family,
			.tos = t->tos,
			.ttl = job->ttl,
			.flags = job->control_flags,
		});
	if (t->cnt == 1 && d->n_iov <= 1) {
		h->msg_iov = unconst(d->iov);
		h->msg_iovlen = d->n_iov;
		return 0;
	}
	n = copy_train(m, t, iov, job);
	if (!n)
		n = gather_train(t, iov, job);
	h->msg_iov = iov;
	h->msg_iovlen = n;
	return n;
}

/* Find the trains that do not end in a shorter datagram, and mark their datagrams
 * to go alone. Return: true if there was such a train. */
static bool break_even(const struct messages *m, size_t n_trains,
		       const struct coalesce_job *job)
{
	struct item *items = job->items;
	bool was_even = false;

	for (size_t k = 0; k < n_trains; k++) {
		const struct train *t = &m->trains[k];

		if (t->cnt == 1 || items[t->last].len < t->segment_len)
			continue;
		was_even = true;
		for (uint16_t i = t->first; i != ITEM_END; i = items[i].next)
			items[i].flags |= ITEM_ALONE;
	}
	return was_even;
}

size_t ug_coalesce(struct messages *m, const struct coalesce_job *job)
{
	size_t n, used = 0;

	do
		n = deal(m, job);
	while (job->uneven && break_even(m, n, job));
	m->staging.used = 0;
	for (size_t k = 0; k < n; k++)
		used += write_message(m, k, m->iov + used, job);
	return n;
}
