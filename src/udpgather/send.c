/* SPDX-License-Identifier: MIT */
/*
 * Sending, and what becomes of each error.
 *
 * ug_send() looks at a window of datagrams at a time. For each family it
 * coalesces what is not done yet into messages and gives them to sendmmsg(2).
 * The kernel takes some of them; if it stops before the end, the next call
 * returns the error of the first message that it did not take. That error is
 * judged here, with one of these results:
 *
 *   again     the same messages once more (EINTR; a first error that may stem
 *	       from an earlier datagram; sendmmsg missing; after a wait)
 *   anew      the datagrams of the message are marked, and what is left of the
 *	       window is coalesced again: without its source, or each datagram
 *	       alone
 *   next      the datagrams of the message have failed; go on behind it
 *   blocked   the socket takes no more: all that is left is unsent
 *   broken    the descriptor is no socket: all that is left has failed
 *
 * Each "anew" sets a mark that was not set before on the datagrams of the
 * message, each "next" finishes them, and an "again" without a wait sets a
 * mark, too, but for EINTR: so the loop ends.
 *
 * A train that fails may do so because of its segments (no checksums on that
 * route, a segment above the MTU) or because of its destination. Its datagrams
 * go again alone, on trial: only if they pass is something learned about
 * trains. A destination that refuses everything teaches nothing. For an error
 * that is always the train's (EIO, EMSGSIZE, EINVAL) the first datagram is
 * proof enough, and one such train is a lesson. Any other error may be chance,
 * such as that of a firewall rule that limits a rate. There all datagrams must
 * pass, and PATH_STRIKES such trains in a row are a lesson. A lesson is of one
 * address, so nobody can switch segmentation off for others, and is tried
 * again by and by; see path.h.
 *
 * sendmmsg(2) reports an error only if it took no message at all, and a
 * message is refused before any of its segments left: so what is sent again
 * was not sent before.
 */
#include "udpgather/coalesce.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "base/bytes.h"
#include "udpgather/socket.h"
#include "udpgather/stats.h"

/* What to do after a call; see above. */
enum verdict {
	AGAIN,
	ANEW,
	NEXT,
	BLOCKED,
	BROKEN
};

enum {
	/* Trains on trial in one window. More go unjudged. */
	TRIALS = 64
};

/**
 * struct trial - a train that was refused, and whose datagrams go alone
 * @segment_len: the size of its segments
 * @err:	the errno
 * @left:	datagrams that are not judged yet
 * @is_try:	it was a train that the path forbids, tried again
 * @is_void:	one of its datagrams failed
 */
struct trial {
	uint32_t segment_len;
	int err;
	uint16_t left;
	bool is_try;
	bool is_void;
};

/**
 * struct ug_batch - one thread's scratch for sending
 * @cap:	datagrams in a window
 * @items:	one for each datagram of the window
 * @messages:	what they are coalesced to
 * @trials:	trains of the window that were refused
 * @n_trials:	how many
 * @refused:	see ug_refused_source()
 * @counters:	written by the owner, read by anybody
 */
struct ug_batch {
	unsigned int cap;
	struct item *items;
	struct messages messages;
	struct trial trials[TRIALS];
	unsigned int n_trials;
	const struct ug_endpoint *refused;
	struct send_counters counters;
};

/**
 * struct sending - one call of ug_send()
 * @sock:	the socket
 * @batch:	the scratch
 * @to:		the default endpoint
 * @dgrams:	the window
 * @status:	its results
 * @n:		datagrams in the window
 * @sent:	those of the window that were sent
 * @has_deadline: false to wait without end
 * @deadline_ms: when to stop waiting, on the clock of struct ug_sys
 * @woken:	poll(2) said that there is room, and nothing was taken since
 * @stopped:	for each half: 0; UG_UNSENT if it is blocked; -errno if it is
 *		broken. What follows gets this status.
 */
struct sending {
	struct ug_socket *sock;
	struct ug_batch *batch;
	const struct ug_endpoint *to;
	const struct ug_datagram *dgrams;
	int *status;
	size_t n;
	size_t sent;
	bool has_deadline;
	int64_t deadline_ms;
	bool woken;
	int stopped[HALVES];
};

/* What is the same for all datagrams to one endpoint. */
struct route {
	int err; /* 0, or why nothing can be sent there */
	int half;
	size_t limit; /* the most bytes in a datagram */
};

/*
 * Port 0 is refused here because the kernel's EINVAL for it would look like
 * one for a train.
 */
static struct route route_to(const struct sending *s,
			     const struct ug_endpoint *to)
{
	if (!to)
		return (struct route){ .err = -EDESTADDRREQ };
	bool v4 = endpoint_family(to) == AF_INET;

	if (!half_of(s->sock, endpoint_family(to)))
		return (struct route){ .err = -EAFNOSUPPORT };
	if (!(v4 ? to->addr.v4.sin_port : to->addr.v6.sin6_port))
		return (struct route){ .err = -EINVAL };
	return (struct route){
		.half = v4 ? HALF_V4 : HALF_V6,
		.limit = v4 ? UG_MAX_DATAGRAM_IPV4 : UG_MAX_DATAGRAM_IPV6,
	};
}

/* Check a datagram's vectors. Return: its length, or -errno. */
static int64_t measure(const struct ug_datagram *d, size_t limit)
{
	size_t len = 0;

	if (d->n_iov && !d->iov)
		return -EINVAL;
	if (d->n_iov > UG_MAX_VECTORS)
		return -EMSGSIZE;
	for (uint32_t i = 0; i < d->n_iov; i++) {
		if (d->iov[i].iov_len > limit - len)
			return -EMSGSIZE;
		len += d->iov[i].iov_len;
	}
	return (int64_t)len;
}

static int half_index(const struct half *half)
{
	return half->family == AF_INET ? HALF_V4 : HALF_V6;
}

/*
 * Make the items of a window. What can be sent gets the status UG_UNSENT,
 * and keeps it until something else is known.
 *
 * Return: for each half, whether it has something to send.
 */
static void open_window(struct sending *s, bool busy[HALVES])
{
	struct route route = { 0 };

	s->batch->n_trials = 0;
	for (size_t i = 0; i < s->n; i++) {
		const struct ug_datagram *d = &s->dgrams[i];
		const struct ug_endpoint *to = datagram_endpoint(d, s->to);

		if (!i || to != datagram_endpoint(d - 1, s->to))
			route = route_to(s, to);
		if (route.err || s->stopped[route.half]) {
			s->status[i] =
				route.err ? route.err : s->stopped[route.half];
			continue;
		}
		int64_t len = measure(d, route.limit);

		if (len < 0) {
			s->status[i] = (int)len;
			continue;
		}
		s->status[i] = UG_UNSENT;
		s->batch->items[i] = (struct item){ .len = (uint32_t)len };
		busy[route.half] = true;
	}
}

/* The next datagram of a train, or ITEM_END. */
static uint16_t next_of(const struct sending *s, uint16_t i)
{
	return s->batch->items[i].next;
}

static void mark_train(struct sending *s, const struct train *t, uint8_t flag)
{
	for (uint16_t i = t->first; i != ITEM_END; i = next_of(s, i))
		s->batch->items[i].flags |= flag;
}

static void finish_train(struct sending *s, const struct train *t, int status)
{
	/* Most trains are neighbours in the window. */
	if (t->last - t->first + 1 == t->cnt) {
		for (uint16_t i = t->first; i <= t->last; i++)
			s->status[i] = status;
		return;
	}
	for (uint16_t i = t->first; i != ITEM_END; i = next_of(s, i))
		s->status[i] = status;
}

/* A datagram on trial was sent alone, or refused again. */
static void judge_trial(struct sending *s, const struct train *t, bool passed)
{
	struct ug_batch *b = s->batch;
	uint8_t number = b->items[t->first].trial;

	if (!number)
		return;
	struct trial *trial = &b->trials[number - 1];

	if (!passed)
		trial->is_void = true;
	if (--trial->left || trial->is_void)
		return;
	socket_learn(s->sock, t->to,
		     &(struct lesson){ .segment_len = trial->segment_len,
				       .err = trial->err,
				       .is_try = trial->is_try });
}

/* The kernel took this message. */
static void took(struct sending *s, const struct train *t)
{
	struct send_counters *c = &s->batch->counters;

	finish_train(s, t, UG_SENT);
	s->sent += t->cnt;
	send_count(c, datagrams, t->cnt);
	send_count(c, messages, 1);
	send_count(c, bytes, t->bytes);
	send_count(c, trains[t->cnt], 1);
	if (t->cnt == 1)
		judge_trial(s, t, true);
	else if (path_knows(s->sock->paths))
		socket_train_passed(s->sock, t->to, t->segment_len);
}

/* This message has failed for good. */
static enum verdict blame(struct sending *s, const struct train *t, int err)
{
	finish_train(s, t, -err);
	if (t->cnt == 1)
		judge_trial(s, t, false);
	return NEXT;
}

/*
 * Send the message without its source, and all that follows to its endpoint
 * from the same source: one refusal is enough.
 */
static enum verdict drop_source(struct sending *s, const struct train *t)
{
	struct ug_batch *b = s->batch;

	send_count(&b->counters, refused_sources, 1);
	b->refused = t->to;
	for (size_t i = 0; i < s->n; i++) {
		const struct ug_endpoint *to =
			datagram_endpoint(&s->dgrams[i], s->to);

		if (s->status[i] != UG_UNSENT ||
		    ug_endpoint_compare(to, t->to) != 0 ||
		    memcmp(&to->source, t->source, sizeof(to->source)) != 0)
			continue;
		b->items[i].flags |= ITEM_BARE;
	}
	return ANEW;
}

/* Send the datagrams of a train each alone, so that only those fail that are
 * at fault. */
static enum verdict each_alone(struct sending *s, const struct train *t)
{
	mark_train(s, t, ITEM_ALONE);
	return ANEW;
}

/* Put the datagrams of a train on trial: the first one, or all. */
static void open_trial(struct sending *s, const struct train *t, int err)
{
	struct ug_batch *b = s->batch;
	bool needs_all = errno_may_be_chance(err);

	if (b->n_trials == TRIALS)
		return;
	b->trials[b->n_trials++] = (struct trial){
		.segment_len = (uint32_t)t->segment_len,
		.err = err,
		.left = needs_all ? t->cnt : 1,
		.is_try = b->items[t->first].flags & ITEM_TRY,
	};
	b->items[t->first].trial = (uint8_t)b->n_trials;
	for (uint16_t i = t->first; needs_all && i != ITEM_END;
	     i = next_of(s, i))
		b->items[i].trial = (uint8_t)b->n_trials;
}

/* The same, where the train itself may be at fault. */
static enum verdict split(struct sending *s, const struct train *t, int err)
{
	struct send_counters *c = &s->batch->counters;

	if (err == EIO)
		send_count(c, split_eio, 1);
	else if (err == EMSGSIZE)
		send_count(c, split_emsgsize, 1);
	else if (err == EINVAL)
		send_count(c, split_einval, 1);
	else
		send_count(c, split_other, 1);
	open_trial(s, t, err);
	return each_alone(s, t);
}

/*
 * An error that an earlier datagram may have left on the socket is delivered
 * once: so the same message is tried once more.
 */
static bool may_be_pending(struct sending *s, const struct train *t)
{
	if (s->batch->items[t->first].flags & ITEM_RETRIED)
		return false;
	mark_train(s, t, ITEM_RETRIED);
	send_count(&s->batch->counters, pending_errors, 1);
	return true;
}

/* Milliseconds that may be slept now: -1 without end, 0 for none. */
static int time_left(const struct sending *s)
{
	if (!s->has_deadline)
		return -1;
	int64_t left = s->deadline_ms - s->sock->sys->now_ms();

	return left > 0 ? (int)left : 0;
}

/* Drop what is on the error queue. Return: false if it was empty. */
static bool drop_errors(struct sending *s, const struct half *half)
{
	size_t n = 0;

	while (n < MAX_ERRORS && socket_drop_error(s->sock->sys, half))
		n++;
	send_count(&s->batch->counters, pending_errors, n);
	return n > 0;
}

/*
 * Sleep until the socket has room. Where poll(2) returns for anything else,
 * or said so and it was not true, it would return at once again, so the sleep
 * is a pause.
 */
static void wait_writable(struct sending *s, const struct half *half, int left)
{
	const struct ug_sys *sys = s->sock->sys;
	struct pollfd fd = { .fd = half->fd, .events = POLLOUT };

	if (!s->woken) {
		int n = sys->poll(&fd, 1, left);

		s->woken = n > 0 && (fd.revents & POLLOUT);
		if (n <= 0 || s->woken || drop_errors(s, half))
			return;
	}
	s->woken = false;
	sys->poll(NULL, 0, PAUSE_MS);
}

/* Sleep until the socket may take more, or until the time is up. */
static enum verdict wait_for(struct sending *s, const struct half *half,
			     bool writable)
{
	int left = time_left(s);

	if (!left)
		return BLOCKED;
	send_count(&s->batch->counters, waits, 1);
	if (writable)
		wait_writable(s, half, left);
	else
		s->sock->sys->poll(NULL, 0, PAUSE_MS);
	/* Whatever poll said: the call tells, and the clock bounds it. */
	return AGAIN;
}

/* Is nothing of this socket on its way out? Then no wait will help. */
static bool is_idle(const struct sending *s, const struct half *half)
{
	int waiting;

	return s->sock->sys->ioctl(half->fd, SIOCOUTQ, &waiting) == 0 &&
	       !waiting;
}

/*
 * ENOBUFS or ENOMEM. A datagram that the kernel sends in fragments is refused
 * if they do not fit the send buffer together, and that for ever, where there
 * is room when others have left. (Other threads' may have left just now: so
 * once more.)
 */
static enum verdict judge_no_buffers(struct sending *s, const struct half *half,
				     const struct train *t, int err)
{
	send_count(&s->batch->counters, no_buffers, 1);
	if (!is_idle(s, half))
		return wait_for(s, half, false);
	if (!(s->batch->items[t->first].flags & ITEM_STARVED)) {
		mark_train(s, t, ITEM_STARVED);
		(void)wait_for(s, half, false);
		return AGAIN;
	}
	return t->cnt > 1 ? each_alone(s, t) : blame(s, t, err);
}

/* EINVAL: the source first, then the train, then the destination. */
static enum verdict judge_einval(struct sending *s, const struct train *t)
{
	if (t->source)
		return drop_source(s, t);
	if (t->cnt > 1)
		return split(s, t, EINVAL);
	return blame(s, t, EINVAL);
}

/* Errors of a destination or a route, in which trains have no part. */
static bool is_unreachable(int err)
{
	switch (err) {
	case EADDRNOTAVAIL:
	case EAFNOSUPPORT:
	case ECONNREFUSED:
	case EDESTADDRREQ:
	case EHOSTDOWN:
	case EHOSTUNREACH:
	case ENETDOWN:
	case ENETUNREACH:
	case ENODEV:
	case ENONET:
	case ENOPROTOOPT:
	case EOPNOTSUPP:
	case EPROTO:
		return true;
	default:
		return false;
	}
}

static enum verdict judge_other(struct sending *s, const struct train *t,
				int err)
{
	if (err != EPERM && may_be_pending(s, t))
		return AGAIN;
	if (err == ENETUNREACH && t->source)
		return drop_source(s, t);
	if (t->cnt > 1 && !is_unreachable(err))
		return split(s, t, err);
	return blame(s, t, err);
}

/* What to do about the first message that the kernel did not take. */
static enum verdict judge(struct sending *s, struct half *half,
			  const struct train *t, int err)
{
	struct send_counters *c = &s->batch->counters;

	switch (err) {
	case EINTR:
		send_count(c, interrupted, 1);
		return AGAIN;
	case EAGAIN:
		send_count(c, full, 1);
		return wait_for(s, half, true);
	case ENOBUFS:
	case ENOMEM:
		return judge_no_buffers(s, half, t, err);
	case EIO:
		return t->cnt > 1 ? split(s, t, err) : blame(s, t, err);
	case EMSGSIZE:
		/* An ICMP message may have left it, too. */
		if (may_be_pending(s, t))
			return AGAIN;
		return t->cnt > 1 ? split(s, t, err) : blame(s, t, err);
	case EINVAL:
		return judge_einval(s, t);
	case EADDRNOTAVAIL:
	case ENODEV:
		return t->source ? drop_source(s, t) : judge_other(s, t, err);
	case EFAULT:
		/* A vector that points nowhere: one datagram's. */
		return t->cnt > 1 ? each_alone(s, t) : blame(s, t, err);
	case EBADF:
	case ENOTSOCK:
		return BROKEN;
	default:
		return judge_other(s, t, err);
	}
}

/*
 * One system call.
 *
 * Return: how many messages the kernel took, at least 1; or -errno.
 */
static int call(struct sending *s, struct half *half, size_t k, size_t n)
{
	const struct ug_sys *sys = s->sock->sys;
	struct mmsghdr *msgs = s->batch->messages.msgs + k;

	/* Partner: the store below; seen late it costs one more call. */
	if (n > 1 &&
	    !atomic_load_explicit(&half->no_sendmmsg, memory_order_relaxed)) {
		send_count(&s->batch->counters, calls, 1);
		int r = sys->sendmmsg(half->fd, msgs, (unsigned int)n,
				      MSG_DONTWAIT | MSG_NOSIGNAL);

		if (r > 0 && (size_t)r < n)
			send_count(&s->batch->counters, short_calls, 1);
		if (r > 0)
			return r;
		if (r == 0)
			return -EAGAIN;
		if (errno != ENOSYS)
			return -errno;
		atomic_store_explicit(&half->no_sendmmsg, true,
				      memory_order_relaxed);
	}
	send_count(&s->batch->counters, calls, 1);
	ssize_t r = sys->sendmsg(half->fd, &msgs->msg_hdr,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

	return r < 0 ? -errno : 1;
}

/*
 * Send messages @k to @n - 1, up to the first that fails.
 *
 * Return: the index of that message, or @n; *err is 0, or its -errno.
 */
static size_t push(struct sending *s, struct half *half, size_t k, size_t n,
		   int *err)
{
	const struct train *trains = s->batch->messages.trains;

	*err = 0;
	while (k < n) {
		int r = call(s, half, k, n - k);

		if (r < 0) {
			*err = r;
			return k;
		}
		s->woken = false;
		size_t end = k + size_min((size_t)r, n - k);

		for (; k < end; k++)
			took(s, &trains[k]);
	}
	return k;
}

/* What is left of the window for this half gets this status. */
static void stop_half(struct sending *s, struct half *half, int status)
{
	s->stopped[half_index(half)] = status;
	for (size_t i = 0; i < s->n; i++) {
		const struct ug_endpoint *to =
			datagram_endpoint(&s->dgrams[i], s->to);

		if (s->status[i] == UG_UNSENT &&
		    endpoint_family(to) == half->family)
			s->status[i] = status;
	}
}

/*
 * Coalesce and send what is left of the window for one half, until a message
 * has to be made anew.
 *
 * Return: true if there may be more to do.
 */
static bool send_once(struct sending *s, struct half *half)
{
	enum ug_reason reason;
	unsigned int max_segments = segments_now(s->sock, half, &reason);
	struct coalesce_job job = {
		.dgrams = s->dgrams,
		.items = s->batch->items,
		.status = s->status,
		.n = s->n,
		.to = s->to,
		.family = half->family,
		.max_segments = max_segments,
		.uneven = reason == UG_REASON_BAD_KERNEL,
		.paths = s->sock->paths,
		.now_ms =
			path_knows(s->sock->paths) ? s->sock->sys->now_ms() : 0,
		.generation = path_generation(s->sock->paths),
	};
	size_t n = coalesce(&s->batch->messages, &job), k = 0;

	while (k < n) {
		int err;

		k = push(s, half, k, n, &err);
		if (k == n)
			break;
		switch (judge(s, half, &s->batch->messages.trains[k], -err)) {
		case NEXT:
			k++;
			break;
		case ANEW:
			return true;
		case BLOCKED:
			stop_half(s, half, UG_UNSENT);
			return false;
		case BROKEN:
			stop_half(s, half, err);
			return false;
		case AGAIN:
		default:
			break;
		}
	}
	return s->batch->messages.truncated;
}

static void send_window(struct sending *s)
{
	bool busy[HALVES] = { false };

	open_window(s, busy);
	for (int h = 0; h < HALVES; h++)
		while (busy[h] && send_once(s, &s->sock->halves[h]))
			;
}

/* Count what was not sent of a window. */
static void close_window(const struct sending *s)
{
	size_t unsent = 0, failed = 0;

	for (size_t i = 0; i < s->n; i++) {
		unsent += s->status[i] == UG_UNSENT;
		failed += s->status[i] < 0;
	}
	send_count(&s->batch->counters, unsent, unsent);
	send_count(&s->batch->counters, failed, failed);
}

size_t ug_send(struct ug_socket *sock, struct ug_batch *batch,
	       const struct ug_endpoint *to, const struct ug_datagram *dgrams,
	       size_t n, int *status, int timeout_ms)
{
	struct sending s = {
		.sock = sock,
		.batch = batch,
		.to = to,
		.has_deadline = timeout_ms >= 0,
	};
	size_t sent = 0;

	batch->refused = NULL;
	if (timeout_ms > 0)
		s.deadline_ms = sock->sys->now_ms() + timeout_ms;
	for (size_t at = 0; at < n; at += s.n) {
		s.dgrams = dgrams + at;
		s.status = status + at;
		s.n = size_min(batch->cap, n - at);
		s.sent = 0;
		send_window(&s);
		if (s.sent < s.n)
			close_window(&s);
		sent += s.sent;
	}
	return sent;
}

const struct ug_endpoint *ug_refused_source(const struct ug_batch *batch)
{
	return batch->refused;
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
	m->iov_cap = UG_MAX_VECTORS + cap;
	b->items = calloc(cap, sizeof(*b->items));
	m->msgs = calloc(cap, sizeof(*m->msgs));
	m->controls = calloc(cap, sizeof(*m->controls));
	m->trains = calloc(cap, sizeof(*m->trains));
	m->iov = calloc(m->iov_cap, sizeof(*m->iov));
	if (!b->items || !m->msgs || !m->controls || !m->trains || !m->iov) {
		ug_batch_free(b);
		return -ENOMEM;
	}
	*out = b;
	return 0;
}

void ug_batch_free(struct ug_batch *batch)
{
	if (!batch)
		return;
	free(batch->messages.iov);
	free(batch->messages.trains);
	free(batch->messages.controls);
	free(batch->messages.msgs);
	free(batch->items);
	free(batch);
}

void ug_get_send_stats(const struct ug_batch *batch,
		       struct ug_send_stats *stats, size_t size)
{
	stats_read(batch->counters.words, ARRAY_LEN(batch->counters.words),
		   stats, size);
}
