/* SPDX-License-Identifier: MIT */
/*
 * Sending trains that the caller has made.
 *
 * There are two ways. By the *short* way each train becomes one message, and as many
 * messages as possible go to the kernel in one call. The short way is for trains
 * that nothing is in the way of: the kernel may take them whole, nothing was learned
 * about refused trains, and no endpoint has a side socket.
 *
 * Every other train takes the *long* way, and so does a train that the kernel has
 * refused: it is cut into datagrams, and these are sent as ug_send() sends them. So
 * there is one set of rules for errors, in send.c.
 *
 * Trains are sent one after the other. If a family's socket is full, the rest of the
 * family's trains stay unsent.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "udpgather/sending.h"

/**
 * struct trains - one call of ug_send_trains()
 * @s:		the call, as send.c knows it
 * @bytes:	the trains
 * @size:	bytes from one train to the next
 * @n:		how many
 */
struct trains {
	struct sending s;
	unsigned char *bytes;
	size_t size;
	size_t n;
};

static struct ug_train *train_at(const struct trains *all, size_t k)
{
	return (void *)(all->bytes + k * all->size);
}

/* Where a train goes to; NULL if nothing says so. */
static const struct ug_endpoint *endpoint_of(const struct sending *s,
					     const struct ug_train *t)
{
	return t->to ? t->to : s->to;
}

/* How many datagrams a train of @len bytes has. */
static size_t count_datagrams(const struct ug_train *t, size_t len)
{
	if (!t->segment_len || !len)
		return 1;
	return (len + t->segment_len - 1) / t->segment_len;
}

/* When to send a train; 0 for now. The kernel refuses a time with EINVAL if the socket
 * has no clock for it. */
static uint64_t time_of(const struct sending *s, const struct ug_train *t)
{
	return s->sock->uses_times ? t->time_ns : 0;
}

/* May the kernel take a train of @cnt datagrams and @len bytes whole? */
static bool is_whole(const struct sending *s, const struct family *fam,
		     const struct ug_train *t, size_t cnt, size_t len)
{
	enum ug_reason reason;

	if (cnt == 1)
		return true;
	if (cnt > ug_sending_max_segments(s, fam, &reason) ||
	    len > ug_train_limit(fam->af))
		return false;
	return reason != UG_REASON_BAD_KERNEL || len % t->segment_len;
}

/*
 * Write the message of train @k as message number @i.
 *
 * Return: the number of vectors that it uses; -1 if the train must go the long way.
 */
static int64_t write_train(struct trains *all, struct family *fam, size_t k,
			   size_t i, size_t used)
{
	struct sending *s = &all->s;
	struct messages *m = &s->batch->messages;
	const struct ug_train *t = train_at(all, k);
	const struct ug_endpoint *to = endpoint_of(s, t);
	const struct ug_endpoint *peer = ug_family_peer(fam);
	struct route route = ug_route_to(s->sock, to);

	if (route.err || &s->sock->families[route.family] != fam ||
	    s->stopped[route.family] || t->n_iov > UG_MAX_VECTORS ||
	    t->n_iov > m->iov_cap - used)
		return -1;
	int64_t len = ug_measure(t->iov, t->n_iov, route.limit);

	if (len < 0)
		return -1;
	size_t cnt = count_datagrams(t, (size_t)len);

	if (!is_whole(s, fam, t, cnt, (size_t)len))
		return -1;
	m->trains[i] = (struct train){
		.to = to,
		.source = ug_needed_source(
			peer, to,
			ug_usable_source(to,
					 ug_path_generation(s->sock->paths))),
		.bytes = (size_t)len,
		.segment_len = cnt > 1 ? t->segment_len : (size_t)len,
		.cnt = (uint16_t)cnt,
		.tos = t->tos,
	};
	struct msghdr *h = &m->msgs[i].msg_hdr;

	ug_message_write_head(
		h, &m->spaces[i], to, peer,
		&(struct control_out){
			.source = m->trains[i].source,
			.segment_len = cnt > 1 ? t->segment_len : 0,
			.time_ns = time_of(s, t),
			.family = fam->af,
			.tos = t->tos,
			.ttl = t->ttl,
			.flags = s->sock->control_flags,
		});
	struct iovec *iov = m->iov + used;
	size_t n = ug_message_gather(iov, 0, t->iov, t->n_iov);
	unsigned char *copy = ug_staging_take(&m->staging, n, (size_t)len,
					      s->sock->copy_below);

	if (copy) {
		ug_message_copy(copy, iov, n);
		*iov = (struct iovec){ .iov_base = copy,
				       .iov_len = (size_t)len };
		n = 1;
	}
	h->msg_iov = iov;
	h->msg_iovlen = n;
	return (int64_t)n;
}

/* Does nothing stand in the way of a family's trains? */
static bool is_clear(const struct sending *s, const struct family *fam)
{
	return !ug_path_knows(s->sock->paths) && !ug_side_in_use(&fam->sides) &&
	       !s->batch->is_urgent;
}

/* Messages of train @k and those behind it. Return: how many there are. */
static size_t write_trains(struct trains *all, struct family *fam, size_t k)
{
	struct messages *m = &all->s.batch->messages;
	size_t n = 0, used = 0;

	m->staging.used = 0;
	for (; n < all->s.batch->cap && k + n < all->n; n++) {
		int64_t r = write_train(all, fam, k + n, n, used);

		if (r < 0)
			break;
		used += (size_t)r;
	}
	return n;
}

/* The kernel tells some errors once: then the long way must not try again. */
static void note_error(struct sending *s, const struct family *fam,
		       const struct train *t, int err)
{
	if (s->sock->errors)
		ug_errors_take(s->sock, s->fd);
	if (ug_sending_tells(fam, t, -err))
		s->owed = err;
}

/*
 * The short way, for train @k and those behind it, as many as the batch has messages
 * for.
 *
 * Return: the first train that was not sent. @is_refused: it must go the long way.
 */
static size_t send_whole(struct trains *all, int f, size_t k, bool *is_refused)
{
	struct sending *s = &all->s;
	struct family *fam = &s->sock->families[f];
	size_t n = write_trains(all, fam, k), i = 0;

	*is_refused = !n;
	if (!n)
		return k;
	ug_sending_begin(s, f);
	while (i < n) {
		int r = ug_sending_call(s, fam, i, n - i);

		if (r < 0) {
			note_error(s, fam, &s->batch->messages.trains[i], r);
			break;
		}
		size_t end = i + size_min((size_t)r, n - i);

		for (; i < end; i++) {
			const struct train *t = &s->batch->messages.trains[i];

			ug_sending_count(s, t);
			train_at(all, k + i)->n_sent = t->cnt;
			train_at(all, k + i)->status = UG_SENT;
		}
	}
	ug_sending_end(s, f);
	*is_refused = i < n;
	return k + i;
}

/* Memory for the datagrams of a window, and for their vectors. Return: 0; -ENOMEM. */
static int make_cut(struct ug_batch *b, size_t n_iov)
{
	struct cut *c = &b->cut;

	if (!c->dgrams)
		c->dgrams = calloc(b->cap, sizeof(*c->dgrams));
	if (!c->status)
		c->status = calloc(b->cap, sizeof(*c->status));
	if (c->iov_cap < n_iov) {
		free(c->iov);
		c->iov = calloc(n_iov, sizeof(*c->iov));
		c->iov_cap = c->iov ? n_iov : 0;
	}
	return c->dgrams && c->status && c->iov ? 0 : -ENOMEM;
}

/* Where the next datagram of a train begins: a vector, and an offset in it. */
struct cursor {
	const struct iovec *iov;
	size_t n_iov;
	size_t off;
};

/* Cut the next @len bytes off. Return: how many vectors at @out they have. */
static size_t cut_bytes(struct cursor *c, size_t len, struct iovec *out)
{
	size_t n = 0;

	while (len && c->n_iov) {
		size_t part = size_min(len, c->iov->iov_len - c->off);

		if (part)
			out[n++] = (struct iovec){
				.iov_base = (char *)c->iov->iov_base + c->off,
				.iov_len = part,
			};
		len -= part;
		c->off += part;
		if (c->off == c->iov->iov_len) {
			c->iov++;
			c->n_iov--;
			c->off = 0;
		}
	}
	return n;
}

/* Cut datagrams for a window off. Return: how many. */
static size_t cut_window(struct ug_batch *b, struct cursor *at,
			 const struct ug_train *t, size_t *left)
{
	size_t n = 0, used = 0;

	do {
		size_t len = t->segment_len ? size_min(t->segment_len, *left)
					    : *left;
		struct iovec *iov = b->cut.iov + used;
		size_t n_iov = cut_bytes(at, len, iov);

		b->cut.dgrams[n++] = (struct ug_datagram){
			.iov = iov,
			.n_iov = (uint32_t)n_iov,
			.tos = t->tos,
			.to = t->to,
		};
		used += n_iov;
		*left -= len;
	} while (n < b->cap && *left);
	return n;
}

/* Take over the statuses of a window. Return: false to send no more of the train. */
static bool note_window(const struct sending *s, struct ug_train *t)
{
	t->n_sent += (uint32_t)s->sent;
	for (size_t i = 0; i < s->n && t->status == UG_SENT; i++)
		t->status = s->status[i];
	return t->status != UG_UNSENT;
}

/* A family's socket is full or broken: give a train the status that says so. */
static void give_up(const struct sending *s, struct ug_train *t, size_t len,
		    int status)
{
	struct send_counters *c = &s->batch->counters;
	size_t cnt = count_datagrams(t, len);

	t->status = status;
	if (status == UG_UNSENT)
		send_count(c, unsent, cnt);
	else
		send_count(c, failed, cnt);
}

/* The long way, for one train. */
static void send_cut(struct trains *all, struct ug_train *t)
{
	struct sending *s = &all->s;
	struct ug_batch *b = s->batch;
	int64_t len = ug_measure(t->iov, t->n_iov, SIZE_MAX / 2);
	struct cursor at = { .iov = t->iov, .n_iov = t->n_iov };

	if (len < 0) {
		t->status = (int)len;
		return;
	}
	struct route route = ug_route_to(s->sock, endpoint_of(s, t));
	size_t left = (size_t)len;

	if (!route.err && s->stopped[route.family]) {
		give_up(s, t, left, s->stopped[route.family]);
		return;
	}
	t->status = make_cut(b, t->n_iov + b->cap);
	if (t->status < 0)
		return;
	s->time_ns = time_of(s, t);
	s->ttl = t->ttl;
	s->dgrams = b->cut.dgrams;
	s->status = b->cut.status;
	do {
		s->n = cut_window(b, &at, t, &left);
		ug_sending_window(s);
	} while (note_window(s, t) && left);
}

/* The family that a train belongs to, if it can go the short way; else -1. */
static int clear_family(const struct sending *s, const struct ug_train *t)
{
	struct route route = ug_route_to(s->sock, endpoint_of(s, t));

	if (route.err || !is_clear(s, &s->sock->families[route.family]))
		return -1;
	return route.family;
}

static size_t send_all(struct trains *all)
{
	size_t sent = 0, k = 0;

	while (k < all->n) {
		int f = clear_family(&all->s, train_at(all, k));
		bool is_refused = true;
		size_t end = f < 0 ? k : send_whole(all, f, k, &is_refused);

		for (; k < end; k++)
			sent += train_at(all, k)->n_sent;
		if (!is_refused)
			continue;
		send_cut(all, train_at(all, k));
		all->s.owed = 0;
		sent += train_at(all, k++)->n_sent;
	}
	return sent;
}

size_t ug_send_trains(struct ug_socket *sock, struct ug_batch *batch,
		      struct ug_train *trains, size_t size, size_t n,
		      int timeout_ms)
{
	struct trains all = {
		.s.sock = sock,
		.s.batch = batch,
		.s.to = ug_socket_only_peer(sock),
		.s.has_deadline = timeout_ms >= 0,
		.bytes = (unsigned char *)trains,
		.size = size,
		.n = n,
	};

	if (size < sizeof(struct ug_train))
		return 0;
	batch->refused = NULL;
	for (size_t k = 0; k < n; k++) {
		train_at(&all, k)->n_sent = 0;
		train_at(&all, k)->status = UG_SENT;
	}
	if (timeout_ms > 0)
		all.s.deadline_ms = sock->sys->now_ms() + timeout_ms;
	size_t sent = send_all(&all);

	if (timeout_ms)
		ug_wake_see(&sock->wake, &batch->wakes);
	return sent;
}
