/* SPDX-License-Identifier: MIT */
/*
 * Receiving: one recvmmsg(2) fills slots (receiver.c); the datagrams in them are
 * handed out as views, over as many calls as the caller needs. If there is nothing,
 * poll(2) waits.
 */
#include "udpgather/receive.h"

#include <errno.h>

#include "base/bytes.h"
#include "udpgather/merging.h"

enum {
	/* System calls that one ug_receive() may spend on messages to drop. */
	MAX_CALLS = 64,
};

/* One system call. Return: messages, or -errno. */
static int read_socket(const struct receive_call *c, struct family *fam, int fd)
{
	struct ug_receiver *r = c->r;
	const struct ug_sys *sys = c->sock->sys;
	unsigned int room = c->n_buffers ? c->n_buffers : r->depth;

	/* Partner: the store below; seen late it costs one more call. */
	if (!atomic_load_explicit(&fam->no_recvmmsg, memory_order_relaxed)) {
		receive_count(&r->counters, calls, 1);
		int n = sys->recvmmsg(fd, r->msgs, room, MSG_DONTWAIT);

		if (n >= 0)
			return n;
		if (errno != ENOSYS)
			return -errno;
		atomic_store_explicit(&fam->no_recvmmsg, true,
				      memory_order_relaxed);
	}
	receive_count(&r->counters, calls, 1);
	ssize_t len = sys->recvmsg(fd, &r->msgs->msg_hdr, MSG_DONTWAIT);

	if (len < 0)
		return -errno;
	r->msgs->msg_len = (unsigned int)len;
	return 1;
}

/* One system call for the main socket, with the receive lock. Return: messages;
 * -EBUSY while merging is being switched off; -errno. */
static int read_main(const struct receive_call *c, struct family *fam)
{
	/* Partner: begin_switch() in merging.c. */
	if (pthread_rwlock_tryrdlock(&fam->receive_lock)) {
		c->r->was_locked_out = true;
		return -EBUSY;
	}
	int n = read_socket(c, fam, fam->fd);

	pthread_rwlock_unlock(&fam->receive_lock);
	return n;
}

/*
 * One system call for a side socket. Side sockets never merge, or are in a group and
 * usually empty (merging.c), so there is no lock. If the call brought a message, the
 * side socket is read again later.
 */
static int read_side(const struct receive_call *c, struct family *fam,
		     unsigned int i)
{
	int n = read_socket(c, fam, fam->sides.fds[i]);

	if (n > 0)
		ug_side_set_input(&fam->sides, i);
	return n;
}

static void set_up(const struct receive_call *c)
{
	if (c->n_buffers)
		ug_receiver_set_up_buffers(c->r, c->buffers, c->buffer_size,
					   c->n_buffers);
	else
		ug_receiver_set_up_slots(c->r);
}

/* Note the messages of a call. */
static void note_messages(const struct receive_call *c, unsigned int n)
{
	c->r->n_msgs = n;
	if (!c->n_buffers)
		ug_receiver_adapt(c->r, n);
}

/* The call has brought an error that an earlier datagram left on the socket. */
static void note_error(const struct receive_call *c, const struct family *fam,
		       int side)
{
	receive_count(&c->r->counters, errors, 1);
	if (c->sock->errors)
		ug_errors_take(c->sock,
			       ug_family_fd(fam, (unsigned int)(side + 1)));
}

/*
 * Fill the slots from one family. Errors that an earlier datagram left on the
 * socket are counted, and the call is repeated, unless the socket is connected.
 *
 * Return: messages; -EAGAIN if its main socket, and each side socket that has
 * reported something, is empty; -EBUSY if that is not known; -errno.
 */
static int fill_slots(const struct receive_call *c, struct family *fam)
{
	int side = ug_side_take_input(&fam->sides);

	set_up(c);
	for (int tries = 0; tries < MAX_CALLS; tries++) {
		int n = side < 0 ? read_main(c, fam)
				 : read_side(c, fam, (unsigned int)side);

		switch (n) {
		case -EAGAIN:
			if (side < 0)
				return n;
			side = ug_side_take_input(&fam->sides);
			break;
		case -EINTR:
			break;
		case -EBADF:
		case -ENOTSOCK:
		case -ENOMEM:
		case -EFAULT:
		case -EINVAL:
		case -EBUSY:
			return n;
		default:
			if (n >= 0) {
				note_messages(c, (unsigned int)n);
				return n ? n : -EAGAIN;
			}
			note_error(c, fam, side);
			if (ug_family_tells(fam, -n))
				return n;
		}
	}
	return -EBUSY;
}

/* Fill the slots from a family; for AF_UNSPEC from the first one with a message. */
static int fill_any(const struct receive_call *c)
{
	struct ug_socket *sock = c->sock;
	struct ug_receiver *r = c->r;
	int result = -EAGAIN;

	r->generation = ug_path_generation(sock->paths);
	r->want = sock->want;
	r->follows = sock->control_flags & CONTROL_FOLLOW_INTERFACE;
	if (c->family != AF_UNSPEC)
		return fill_slots(c, ug_family_of(sock, c->family));
	for (int i = 0; i < FAMILIES; i++) {
		struct family *fam = &sock->families[r->turn];

		r->turn = (r->turn + 1) % FAMILIES;
		if (fam->fd < 0)
			continue;
		int n = fill_slots(c, fam);

		if (n == -EBUSY)
			result = n;
		else if (n != -EAGAIN)
			return n;
	}
	return result;
}

/*
 * Fill slots and hand out datagrams, until there is a view, or nothing comes, or
 * MAX_CALLS fillings brought only messages that were dropped.
 */
static int receive_now(const struct receive_call *c)
{
	c->r->was_locked_out = false;
	for (int tries = 0; tries < MAX_CALLS; tries++) {
		int got = fill_any(c);

		if (got < 0)
			return got;
		size_t done = c->hand_out(c->r, c->arg);

		if (done)
			return (int)done;
	}
	return -EBUSY;
}

enum {
	/* The main socket of a family, and its side sockets. */
	WAYS = 1 + UG_MAX_SIDE_SOCKETS
};

/* The descriptors that a receiver waits for, and the family and way of each; and room
 * for the eventfd of ug_wake(). */
struct wait {
	struct family *families[FAMILIES * WAYS];
	unsigned int ways[FAMILIES * WAYS];
	struct pollfd fds[FAMILIES * WAYS + 1];
	nfds_t n;
};

static void watch_family(struct wait *w, struct family *fam)
{
	for (unsigned int way = 0; way <= fam->sides.n; way++) {
		w->families[w->n] = fam;
		w->ways[w->n] = way;
		/* After shutdown(2) POLLIN is always set; POLLRDHUP tells. */
		w->fds[w->n++] = (struct pollfd){
			.fd = ug_family_fd(fam, way),
			.events = POLLIN | POLLRDHUP,
		};
	}
}

static void wait_for(struct wait *w, struct ug_socket *sock, int family)
{
	w->n = 0;
	for (int f = 0; f < FAMILIES; f++) {
		struct family *fam = &sock->families[f];

		if (fam->fd >= 0 &&
		    (family == AF_UNSPEC || fam == ug_family_of(sock, family)))
			watch_family(w, fam);
	}
}

/* Note the side sockets that poll(2) has reported, to be read next. */
static void note_sides(const struct wait *w)
{
	for (nfds_t i = 0; i < w->n; i++)
		if (w->ways[i] != SIDE_MAIN && w->fds[i].revents)
			ug_side_set_input(&w->families[i]->sides,
					  w->ways[i] - 1);
}

/* Empty the error queue. Return: false if it was empty. */
static bool take_errors(const struct receive_call *c, int fd)
{
	size_t n = ug_errors_take(c->sock, fd);

	if (!c->sock->errors) /* else they are not dropped */
		receive_count(&c->r->counters, errors, n);
	return n > 0;
}

/* Do errors wait on a descriptor? An error of the socket itself, which poll(2)
 * reports in the same way, was taken by reading. */
static bool errors_wait(const struct ug_sys *sys, int fd)
{
	struct pollfd p = { .fd = fd };

	return sys->poll(&p, 1, 0) > 0 && (p.revents & POLLERR);
}

/*
 * poll(2) woke the receiver, but there was no datagram. Go on at once if
 * another thread took the datagram, if its checksum was bad, or if the cause
 * was entries on the error queue, which are taken off here, or reported. Any other
 * cause stays, and would wake the receiver again at once: a socket that was shut
 * down, or merging that another thread is switching off. Then sleep for
 * PAUSE_MS.
 *
 * Return: 0; -EBADMSG; -EINTR for a signal in the pause.
 */
static int avoid_spinning(const struct receive_call *c, const struct wait *w)
{
	const struct ug_sys *sys = c->sock->sys;
	bool gone = false;

	for (nfds_t i = 0; i < w->n; i++) {
		short what = w->fds[i].revents;

		if ((what & POLLIN) && !(what & POLLRDHUP) &&
		    !c->r->was_locked_out)
			gone = true;
		if (!(what & POLLERR))
			continue;
		if (!c->tells_all || c->sock->errors)
			gone |= take_errors(c, w->fds[i].fd);
		else if (errors_wait(sys, w->fds[i].fd))
			return -EBADMSG;
		else
			gone = true;
	}
	return !gone && sys->poll(NULL, 0, PAUSE_MS) < 0 ? -EINTR : 0;
}

/*
 * Sleep until something comes, but no longer than the time after which merging
 * may be switched off.
 *
 * Return: 1 if a socket reported something; 0 to wait on; -ETIMEDOUT; -EINTR;
 * -ECANCELED.
 */
static int wait_once(const struct receive_call *c, struct wait *w, int left)
{
	bool pending = false;
	int slice = left;

	for (nfds_t i = 0; i < w->n; i++)
		pending |= ug_merging_is_pending(w->families[i]);
	if (pending && (left < 0 || left > MERGING_QUIET_MS))
		slice = MERGING_QUIET_MS;
	receive_count(&c->r->counters, waits, 1);
	int n = ug_wake_poll(&c->sock->wake, c->sock->sys, &c->r->wakes, w->fds,
			     w->n, slice);

	if (n > 0)
		note_sides(w);
	if (n)
		return n > 0 ? 1 : n;
	if (pending && slice == MERGING_QUIET_MS)
		ug_merging_switch_off(c->sock, c->family);
	return slice == left ? -ETIMEDOUT : 0;
}

/* Is there nothing to hand out, so that a call with a timeout waits? */
static bool should_wait(const struct receive_call *c, int got)
{
	return got == -EAGAIN ||
	       (got == -EBUSY && (!c->tells_all || c->r->was_locked_out));
}

/*
 * There was something to wake for. Take it.
 *
 * Return: what came; 0 to wait on; -errno.
 */
static int receive_awake(const struct receive_call *c, const struct wait *w)
{
	int got = receive_now(c);

	/* The time is for waiting, not for dropping. */
	return should_wait(c, got) ? avoid_spinning(c, w) : got;
}

/* Wait, as ug_receive() with a timeout. */
static int receive_later(const struct receive_call *c, int timeout_ms)
{
	const struct ug_sys *sys = c->sock->sys;
	struct wait w;
	int64_t start = timeout_ms > 0 ? sys->now_ms() : 0;
	int left = timeout_ms;

	wait_for(&w, c->sock, c->family);
	for (;;) {
		int got = wait_once(c, &w, left);

		if (got > 0)
			got = receive_awake(c, &w);
		if (got)
			return got;
		/* There was nothing to hand out: wait for the rest of the time. */
		if (timeout_ms < 0)
			continue;
		int64_t gone = sys->now_ms() - start;

		if (gone >= timeout_ms)
			return -ETIMEDOUT;
		left = timeout_ms - (int)gone;
	}
}

int ug_receive_call(const struct receive_call *c, int timeout_ms)
{
	int got = receive_now(c);

	if (!timeout_ms)
		return got;
	if (should_wait(c, got))
		got = receive_later(c, timeout_ms);
	ug_wake_see(&c->sock->wake, &c->r->wakes);
	return got;
}

/* The views that a call of ug_receive() may set. */
struct views {
	struct ug_view *at;
	size_t n;
};

/* Hand out datagrams that are in the slots. Return: the number of views. */
static size_t hand_out(struct ug_receiver *r, void *arg)
{
	const struct views views = *(const struct views *)arg;
	size_t done = 0;

	while (done < views.n) {
		if (r->current.left)
			ug_split_next(&r->current, &views.at[done++]);
		else if (r->next_msg == r->n_msgs)
			break;
		else
			ug_receiver_take(r);
	}
	return done;
}

/* Is this how a call ends in which nothing came? */
static bool is_empty_handed(int result)
{
	return result == -EAGAIN || result == -ETIMEDOUT || result == -EINTR ||
	       result == -ECANCELED || result == -EBUSY;
}

int ug_receive(struct ug_receiver *rcv, struct ug_socket *sock, int family,
	       struct ug_view *views, size_t n, int timeout_ms)
{
	if (!n)
		return -EINVAL;
	if (family != AF_UNSPEC && !ug_family_of(sock, family))
		return -EAFNOSUPPORT;
	struct views v = { views, size_min(n, INT32_MAX) };
	size_t done = hand_out(rcv, &v);

	if (done)
		return (int)done;
	const struct receive_call c = {
		.r = rcv,
		.sock = sock,
		.family = family,
		.hand_out = hand_out,
		.arg = &v,
	};
	int result = ug_receive_call(&c, timeout_ms);

	if (!is_empty_handed(result))
		return result;
	rcv->why = result;
	return 0;
}
