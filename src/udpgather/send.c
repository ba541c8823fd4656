/* SPDX-License-Identifier: MIT */
/*
 * Sending, and the verdict on each error.
 *
 * ug_send() looks at one window of datagrams at a time. For each family it
 * coalesces the datagrams that are not sent yet into messages (coalesce.h), and
 * gives the messages to sendmmsg(2). If the kernel stops before the last message,
 * the next call returns the error of the first message that it did not take.
 * judge() looks at that error and gives a verdict on the message:
 *
 *   again     Send the same messages once more: after EINTR, after a wait, or if
 *	       the error may be that of an earlier datagram.
 *   anew      Mark the datagrams of the message, either to go without their
 *	       source or to go alone; or the first one has failed. Then coalesce the
 *	       rest of the window again.
 *   next      The datagrams of the message have failed. Go on with the next
 *	       message.
 *   blocked   The socket is full. The datagrams that are left for it are unsent.
 *   broken    The descriptor is no socket. All datagrams that are left have
 *	       failed.
 *
 * The loop ends, because each verdict makes progress. "Anew" sets a mark on the
 * datagrams that they did not have before, or finishes the first of them. "Next"
 * finishes all of them. "Again" follows a wait, sets a mark, or goes on to the next
 * socket with an urgent message. Only after EINTR does it do none of these.
 *
 * A train may be refused because of its segments (the route's device makes no
 * checksums, or a segment is above the MTU) or because of its destination. To find
 * out, its datagrams are sent again alone, on *trial*. If they pass alone, the
 * train was at fault, and the socket learns a *lesson* about the address. If they
 * fail, too, the destination refuses everything, and nothing is learned. EIO,
 * EMSGSIZE and EINVAL are never chance: the trial is over when the first datagram
 * passes, and one such train is a lesson. Any other error may be chance, such as
 * that of a firewall rule that limits a rate: then all datagrams must pass, and
 * only PATH_STRIKES such trains in a row are a lesson. A lesson is about one
 * address, so no peer can switch trains off for other peers. After a pause the
 * train is tried again; see path.h.
 *
 * If an endpoint has been moved to a side socket (side.h), neighbouring
 * messages that leave by the same socket go to the kernel together. A full side
 * socket holds back its own messages, and no others. Datagrams that are held
 * back have the status HELD, which becomes UG_UNSENT when the window is done.
 *
 * sendmmsg(2) reports an error only if it took no message at all, and the kernel
 * refuses a message before any of its segments has left. So a message that is sent
 * again has not been sent before.
 */
#include "udpgather/sending.h"

#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/bytes.h"

/* The verdict on a message that the kernel did not take. */
enum verdict {
	AGAIN,
	ANEW,
	NEXT,
	BLOCKED,
	BROKEN
};

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
	/* The datagrams of most trains are neighbours in the window. */
	if (t->last - t->first + 1 == t->cnt) {
		for (uint16_t i = t->first; i <= t->last; i++)
			s->status[i] = status;
		return;
	}
	for (uint16_t i = t->first; i != ITEM_END; i = next_of(s, i))
		s->status[i] = status;
}

/* Tell the caller how many datagrams left together. */
static void tell_length(struct sending *s, const struct train *t)
{
	/* The datagrams of most trains are neighbours in the window. */
	if (t->last - t->first + 1 == t->cnt) {
		memset(s->train_lens + t->first, t->cnt, t->cnt);
		return;
	}
	for (uint16_t i = t->first; i != ITEM_END; i = next_of(s, i))
		s->train_lens[i] = (uint8_t)t->cnt;
}

/* A datagram was sent alone, or refused. If it is on trial, note that. */
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
	ug_socket_learn(s->sock, t->to,
			&(struct lesson){ .segment_len = trial->segment_len,
					  .err = trial->err,
					  .is_try = trial->is_try });
}

void ug_sending_count(struct sending *s, const struct train *t)
{
	struct send_counters *c = &s->batch->counters;

	s->sent += t->cnt;
	s->handed += t->bytes + (size_t)t->cnt * SIDE_OVERHEAD;
	if (s->counting && s->way == SIDE_MAIN)
		ug_side_count(s->counting, t->to, t->bytes);
	send_count(c, datagrams, t->cnt);
	send_count(c, messages, 1);
	send_count(c, bytes, t->bytes);
	send_count(c, trains[t->cnt], 1);
	if (t->cnt > 1 && ug_path_knows(s->sock->paths))
		ug_socket_train_passed(s->sock, t->to, t->segment_len);
}

/* The kernel took this message: finish its datagrams, and count them. */
static void note_taken(struct sending *s, const struct train *t)
{
	finish_train(s, t, UG_SENT);
	if (s->train_lens)
		tell_length(s, t);
	ug_sending_count(s, t);
	if (t->cnt == 1)
		judge_trial(s, t, true);
}

/* The datagrams of this message have failed. */
static enum verdict blame(struct sending *s, const struct train *t, int err)
{
	finish_train(s, t, -err);
	if (t->cnt == 1)
		judge_trial(s, t, false);
	return NEXT;
}

/*
 * A connected socket has told the error of an earlier datagram to its peer. The kernel
 * refuses one message for it; of a train the first datagram has failed.
 */
static enum verdict blame_first(struct sending *s, const struct train *t,
				int err)
{
	if (t->cnt == 1)
		return blame(s, t, err);
	s->status[t->first] = -err;
	return ANEW;
}

bool ug_sending_tells(const struct family *fam, const struct train *t, int err)
{
	return !t->source && ug_family_tells(fam, err) &&
	       ug_is_peer(ug_family_peer(fam), t->to);
}

/*
 * The source was refused. Mark all unsent datagrams of the window with this
 * endpoint and source to go without it.
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

/* Send the datagrams of a train alone, so that only the bad ones fail. */
static enum verdict each_alone(struct sending *s, const struct train *t)
{
	mark_train(s, t, ITEM_ALONE);
	return ANEW;
}

/* Put the datagrams of a train on trial: the first one, or all. */
static void open_trial(struct sending *s, const struct train *t, int err)
{
	struct ug_batch *b = s->batch;
	bool needs_all = ug_errno_may_be_chance(err);

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

/* The train may be at fault: send its datagrams alone, on trial. */
static enum verdict suspect_train(struct sending *s, const struct train *t,
				  int err)
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

/* Milliseconds that may be slept now: -1 without end, 0 for none. */
static int time_left(const struct sending *s)
{
	if (!s->has_deadline)
		return -1;
	int64_t left = s->deadline_ms - s->sock->sys->now_ms();

	return left > 0 ? (int)left : 0;
}

/* Empty the error queue. Return: false if it was empty. */
static bool take_errors(struct sending *s)
{
	size_t n = ug_errors_take(s->sock, s->fd);

	if (!s->sock->errors) /* else they are not dropped */
		send_count(&s->batch->counters, pending_errors, n);
	return n > 0;
}

/*
 * Sleep until the socket has room. If poll(2) wakes for an error, or if it reported
 * room that was not there, it would wake at once again: then sleep for PAUSE_MS.
 */
static void wait_writable(struct sending *s, int left)
{
	const struct ug_sys *sys = s->sock->sys;
	struct pollfd fds[2] = { { .fd = s->fd, .events = POLLOUT } };

	if (!s->woken) {
		int n = ug_wake_poll(&s->sock->wake, sys, &s->batch->wakes, fds,
				     1, left);

		s->woken = n > 0 && (fds->revents & POLLOUT);
		if (n <= 0 || s->woken || take_errors(s))
			return;
	}
	s->woken = false;
	sys->poll(NULL, 0, PAUSE_MS);
}

/* Sleep until the socket may take more, until the time is up, or until a wake. */
static enum verdict wait_for(struct sending *s, bool writable)
{
	int left = time_left(s);

	if (!left)
		return BLOCKED;
	send_count(&s->batch->counters, waits, 1);
	if (writable)
		wait_writable(s, left);
	else
		s->sock->sys->poll(NULL, 0, PAUSE_MS);
	/* A wake stays new until the call returns: it ends all waits that follow. */
	if (ug_wake_is_new(&s->sock->wake, &s->batch->wakes))
		return BLOCKED;
	/* The next call shows whether there is room; the clock ends the wait. */
	return AGAIN;
}

/* Is the send buffer empty? Then no wait will make more room. */
static bool is_idle(const struct sending *s)
{
	int waiting;

	return s->sock->sys->ioctl(s->fd, SIOCOUTQ, &waiting) == 0 && !waiting;
}

/*
 * ENOBUFS or ENOMEM. The kernel refuses a datagram in fragments if they do not fit
 * the send buffer together. While other datagrams are in the buffer, a wait may
 * help. If the buffer is empty, one more try follows, because it may have become
 * empty just now; after that the datagram has failed.
 */
static enum verdict judge_no_buffers(struct sending *s, const struct train *t,
				     int err)
{
	send_count(&s->batch->counters, no_buffers, 1);
	if (!is_idle(s))
		return wait_for(s, false);
	if (!(s->batch->items[t->first].flags & ITEM_STARVED)) {
		mark_train(s, t, ITEM_STARVED);
		(void)wait_for(s, false);
		return AGAIN;
	}
	return t->cnt > 1 ? each_alone(s, t) : blame(s, t, err);
}

/*
 * The socket has IP_RECVERR: any message may get the error of any destination. See
 * errors.h.
 *
 * Return: false if this machine refuses the message itself; else *verdict is set.
 */
static bool may_be_of_others(struct sending *s, const struct train *t, int err,
			     enum verdict *verdict)
{
	struct refusals *r = &s->refusals;

	if (r->first != t->first)
		*r = (struct refusals){ .first = t->first };
	enum refusal refusal = ug_errors_explain(s->sock, s->fd, t->to, err, r);

	if (refusal == REFUSAL_AGAIN) {
		send_count(&s->batch->counters, pending_errors, 1);
		*verdict = AGAIN;
		return true;
	}
	/* The message begins anew, if it is sent again. */
	r->first = ITEM_END;
	if (refusal == REFUSAL_OWN)
		return false;
	*verdict = refusal == REFUSAL_REPORTED ? blame(s, t, err)
					       : wait_for(s, false);
	return true;
}

/*
 * May the error be that of an earlier datagram, which an ICMP message left on the
 * socket? The kernel delivers such an error once, so one more try shows it.
 *
 * Return: false if it is the message's own; else *verdict is set.
 */
static bool may_be_pending(struct sending *s, const struct train *t, int err,
			   enum verdict *verdict)
{
	if (s->sock->errors)
		return may_be_of_others(s, t, err, verdict);
	if (s->batch->items[t->first].flags & ITEM_RETRIED)
		return false;
	mark_train(s, t, ITEM_RETRIED);
	send_count(&s->batch->counters, pending_errors, 1);
	*verdict = AGAIN;
	return true;
}

/* EINVAL: suspect the source first, then the train, then the destination. */
static enum verdict judge_einval(struct sending *s, const struct train *t)
{
	if (t->source)
		return drop_source(s, t);
	if (t->cnt > 1)
		return suspect_train(s, t, EINVAL);
	return blame(s, t, EINVAL);
}

/*
 * EPERM of a single datagram may be chance: have it sent once more, if the socket has
 * the option. If its train was refused by an error of chance, too, the trial shows
 * nothing any more: a second try of the train might have passed as well.
 */
static bool may_be_permitted(struct sending *s, const struct train *t)
{
	struct ug_batch *b = s->batch;
	struct item *item = &b->items[t->first];

	if (!s->sock->retry_eperm || t->cnt > 1 ||
	    (item->flags & ITEM_FORBIDDEN))
		return false;
	item->flags |= ITEM_FORBIDDEN;
	if (item->trial &&
	    ug_errno_may_be_chance(b->trials[item->trial - 1].err))
		b->trials[item->trial - 1].is_void = true;
	send_count(&b->counters, retried_eperm, 1);
	return true;
}

static enum verdict judge_other(struct sending *s, const struct family *fam,
				const struct train *t, int err)
{
	enum verdict verdict;

	if (ug_sending_tells(fam, t, err)) {
		if (s->sock->errors)
			ug_errors_take(s->sock, s->fd);
		return blame_first(s, t, err);
	}
	/* EPERM cannot be the error of an earlier datagram. */
	if (err == EPERM && may_be_permitted(s, t))
		return AGAIN;
	if (err != EPERM && may_be_pending(s, t, err, &verdict))
		return verdict;
	if (err == ENETUNREACH && t->source)
		return drop_source(s, t);
	if (t->cnt > 1 && !ug_errno_is_unreachable(err))
		return suspect_train(s, t, err);
	return blame(s, t, err);
}

/* EMSGSIZE may be the error of an earlier datagram, too. */
static enum verdict judge_emsgsize(struct sending *s, const struct train *t)
{
	enum verdict verdict;

	if (may_be_pending(s, t, EMSGSIZE, &verdict))
		return verdict;
	return t->cnt > 1 ? suspect_train(s, t, EMSGSIZE)
			  : blame(s, t, EMSGSIZE);
}

/* The socket is full. An urgent message tries the other sockets. */
static enum verdict judge_full(struct sending *s, struct family *fam,
			       const struct train *t)
{
	send_count(&s->batch->counters, full, 1);
	if (s->batch->is_urgent && s->way < fam->sides.n) {
		s->fd = ug_family_fd(fam, ++s->way);
		return AGAIN;
	}
	enum verdict verdict = wait_for(s, true);

	/* Count the bytes, though the kernel took none: side.c must know the
	 * endpoint that is sent most. */
	if (verdict == BLOCKED && s->way == SIDE_MAIN && fam->sides.n)
		ug_side_count(&fam->sides, t->to, t->bytes);
	return verdict;
}

/* Give a verdict on the first message that the kernel did not take. */
static enum verdict judge(struct sending *s, struct family *fam,
			  const struct train *t, int err)
{
	struct send_counters *c = &s->batch->counters;

	switch (err) {
	case EINTR:
		send_count(c, interrupted, 1);
		return AGAIN;
	case EAGAIN:
		return judge_full(s, fam, t);
	case ENOBUFS:
	case ENOMEM:
		return judge_no_buffers(s, t, err);
	case EIO:
		return t->cnt > 1 ? suspect_train(s, t, err) : blame(s, t, err);
	case EMSGSIZE:
		return judge_emsgsize(s, t);
	case EINVAL:
		return judge_einval(s, t);
	case EADDRNOTAVAIL:
	case ENODEV:
		return t->source ? drop_source(s, t)
				 : judge_other(s, fam, t, err);
	case EFAULT:
		/* One datagram has a vector that points to no memory. */
		return t->cnt > 1 ? each_alone(s, t) : blame(s, t, err);
	case EBADF:
	case ENOTSOCK:
		return BROKEN;
	default:
		return judge_other(s, fam, t, err);
	}
}

/* The kernel has stopped at a message. If that was for an error of the socket, it is
 * gone, but its entry is not. */
static void note_short_call(struct sending *s)
{
	send_count(&s->batch->counters, short_calls, 1);
	if (s->sock->errors)
		ug_errors_take(s->sock, s->fd);
}

int ug_sending_call(struct sending *s, struct family *fam, size_t k, size_t n)
{
	const struct ug_sys *sys = s->sock->sys;
	struct mmsghdr *msgs = s->batch->messages.msgs + k;

	/* Partner: the store below. If it is seen late, that costs one call. */
	if (n > 1 &&
	    !atomic_load_explicit(&fam->no_sendmmsg, memory_order_relaxed)) {
		send_count(&s->batch->counters, calls, 1);
		int r = sys->sendmmsg(s->fd, msgs, (unsigned int)n,
				      MSG_DONTWAIT | MSG_NOSIGNAL);

		if (r > 0 && (size_t)r < n)
			note_short_call(s);
		if (r > 0)
			return r;
		if (r == 0)
			return -EAGAIN;
		if (errno != ENOSYS)
			return -errno;
		atomic_store_explicit(&fam->no_sendmmsg, true,
				      memory_order_relaxed);
	}
	send_count(&s->batch->counters, calls, 1);
	ssize_t r = sys->sendmsg(s->fd, &msgs->msg_hdr,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

	return r < 0 ? -errno : 1;
}

/*
 * Send messages @k to @n - 1, up to the first that fails.
 *
 * Return: the index of that message, or @n; *err is 0, or its -errno.
 */
static size_t send_up_to_error(struct sending *s, struct family *fam, size_t k,
			       size_t n, int *err)
{
	const struct train *trains = s->batch->messages.trains;

	*err = s->owed;
	s->owed = 0;
	if (*err)
		return k;
	while (k < n) {
		int r = ug_sending_call(s, fam, k, n - k);

		if (r < 0) {
			*err = r;
			return k;
		}
		s->woken = false;
		size_t end = k + size_min((size_t)r, n - k);

		for (; k < end; k++)
			note_taken(s, &trains[k]);
	}
	return k;
}

/* Give the unsent datagrams of a family a status, in this and later windows. */
static void stop_family(struct sending *s, struct family *fam, int status)
{
	s->stopped[ug_family_index(fam)] = status;
	for (size_t i = 0; i < s->n; i++) {
		const struct ug_endpoint *to =
			datagram_endpoint(&s->dgrams[i], s->to);

		if (s->status[i] == UG_UNSENT &&
		    ug_family_of(s->sock, ug_endpoint_family(to)) == fam)
			s->status[i] = status;
	}
}

static unsigned int way_of(const struct sending *s, const struct family *fam,
			   const struct train *t)
{
	if (s->batch->is_urgent)
		return s->way;
	return ug_side_in_use(&fam->sides) ? ug_side_way(&fam->sides, t->to)
					   : SIDE_MAIN;
}

/*
 * Choose the socket of message @k.
 *
 * Return: the index of the next message that leaves by another socket; @n if there
 * is none.
 */
static size_t choose_socket(struct sending *s, struct family *fam, size_t k,
			    size_t n)
{
	const struct train *trains = s->batch->messages.trains;

	s->way = way_of(s, fam, &trains[k]);
	s->fd = ug_family_fd(fam, s->way);
	if (!ug_side_in_use(&fam->sides) || s->batch->is_urgent)
		return n;
	size_t end = k + 1;

	while (end < n && way_of(s, fam, &trains[end]) == s->way)
		end++;
	return end;
}

/* The messages @k to @end - 1 are not sent: their socket is full. */
static void hold_back(struct sending *s, size_t k, size_t end)
{
	for (; k < end; k++)
		finish_train(s, &s->batch->messages.trains[k], HELD);
}

/*
 * Note that the socket in use is full.
 *
 * Return: true if other sockets of the family may take more.
 */
static bool note_full(struct sending *s, struct family *fam)
{
	int f = ug_family_index(fam);

	s->full[f] |= UINT32_C(1) << s->way;
	if (s->way == SIDE_MAIN)
		s->stopped[f] = UG_UNSENT;
	return ug_side_in_use(&fam->sides) && !s->batch->is_urgent;
}

unsigned int ug_sending_max_segments(const struct sending *s,
				     const struct family *fam,
				     enum ug_reason *reason)
{
	unsigned int max = ug_segments_now(s->sock, fam, reason);

	return max < s->batch->max_segments ? max : s->batch->max_segments;
}

/*
 * Coalesce and send the unsent datagrams of one family, until a verdict is "anew".
 *
 * Return: true if there may be more to send.
 */
static bool send_once(struct sending *s, struct family *fam)
{
	enum ug_reason reason;
	unsigned int max_segments = ug_sending_max_segments(s, fam, &reason);
	struct coalesce_job job = {
		.dgrams = s->dgrams,
		.items = s->batch->items,
		.status = s->status,
		.n = s->n,
		.to = s->to,
		.family = fam->af,
		.is_dual = s->sock->is_dual,
		.max_segments = max_segments,
		.uneven = reason == UG_REASON_BAD_KERNEL,
		.paths = s->sock->paths,
		.now_ms = ug_path_knows(s->sock->paths) ? s->sock->sys->now_ms()
							: 0,
		.generation = ug_path_generation(s->sock->paths),
		.copy_below = s->sock->copy_below,
		.peer = ug_family_peer(fam),
		.time_ns = s->time_ns,
		.ttl = s->ttl,
		.control_flags = s->sock->control_flags,
	};
	size_t n = ug_coalesce(&s->batch->messages, &job), k = 0;

	while (k < n) {
		size_t end = choose_socket(s, fam, k, n);
		int err;

		if (s->full[ug_family_index(fam)] >> s->way & 1) {
			hold_back(s, k, end);
			k = end;
			continue;
		}
		k = send_up_to_error(s, fam, k, end, &err);
		if (k == end)
			continue;
		switch (judge(s, fam, &s->batch->messages.trains[k], -err)) {
		case NEXT:
			k++;
			break;
		case ANEW:
			return true;
		case BLOCKED:
			if (note_full(s, fam))
				break;
			stop_family(s, fam, UG_UNSENT);
			return false;
		case BROKEN:
			stop_family(s, fam, err);
			return false;
		case AGAIN:
		default:
			break;
		}
	}
	return s->batch->messages.truncated &&
	       !s->stopped[ug_family_index(fam)];
}

void ug_sending_begin(struct sending *s, int f)
{
	struct family *fam = &s->sock->families[f];

	s->way = SIDE_MAIN;
	s->fd = fam->fd;
	s->handed = 0;
	s->refusals.first = ITEM_END;
	s->counting = ug_side_is_counting(&fam->sides) ? &fam->sides : NULL;
}

/* Tell side.c how many bytes the family's sockets took. */
void ug_sending_end(struct sending *s, int f)
{
	struct family *fam = &s->sock->families[f];
	bool was_full = s->full[f] & 1;
	struct side_news news;

	if (!fam->sides.n || !ug_side_note(&fam->sides, s->sock->sys, fam->fd,
					   s->handed, was_full, &news))
		return;
	send_count(&s->batch->counters, set_aside, 1);
	ug_socket_tell(s->sock, UG_NOTICE_ENDPOINT_ASIDE, &news.ep, 0,
		       (int)news.way);
}

/* Send the datagrams of the window for one family. */
static void send_family(struct sending *s, int f)
{
	ug_sending_begin(s, f);
	while (send_once(s, &s->sock->families[f]))
		;
	if (s->full[f])
		ug_window_release(s, f);
	ug_sending_end(s, f);
}

void ug_sending_window(struct sending *s)
{
	bool busy[FAMILIES] = { false };

	s->sent = 0;
	ug_window_open(s, busy);
	for (int f = 0; f < FAMILIES; f++)
		if (busy[f])
			send_family(s, f);
	if (s->sent < s->n)
		ug_window_close(s);
}

size_t ug_send(struct ug_socket *sock, struct ug_batch *batch,
	       const struct ug_endpoint *to, const struct ug_datagram *dgrams,
	       size_t n, int *status, int timeout_ms)
{
	struct sending s = {
		.sock = sock,
		.batch = batch,
		.to = to ? to : ug_socket_only_peer(sock),
		.has_deadline = timeout_ms >= 0,
	};
	size_t sent = 0;
	bool tells = batch->train_lens && n <= batch->n_train_lens;

	batch->refused = NULL;
	if (tells)
		memset(batch->train_lens, 0, n);
	if (timeout_ms > 0)
		s.deadline_ms = sock->sys->now_ms() + timeout_ms;
	for (size_t at = 0; at < n; at += s.n) {
		s.dgrams = dgrams + at;
		s.status = status + at;
		s.train_lens = tells ? batch->train_lens + at : NULL;
		s.n = size_min(batch->cap, n - at);
		ug_sending_window(&s);
		sent += s.sent;
	}
	if (timeout_ms)
		ug_wake_see(&sock->wake, &batch->wakes);
	return sent;
}
