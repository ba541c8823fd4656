/* SPDX-License-Identifier: MIT */
/*
 * Receiving: one recvmmsg(2) fills up to n_slots slots; the datagrams in them
 * are handed out as views, over as many calls as the caller needs.
 *
 * A slot holds 64 KiB, more than any datagram or merged train, so nothing is
 * cut. The 64 KiB are address space: the slots are one anonymous mapping without
 * huge pages, and only pages that the kernel has written to take memory. A small
 * datagram takes one page of its slot.
 *
 * The *depth* is the number of slots that the next call may fill. Merged messages
 * are long, and the processor's cache holds only a few slots of them. If the
 * kernel does not merge, messages are short, and a call that brings many of them
 * adds a third to the throughput. So the depth follows the number and the size of
 * the messages that the last calls brought.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "udpgather/control.h"
#include "udpgather/endpoint.h"
#include "udpgather/merging.h"
#include "udpgather/socket.h"
#include "udpgather/split.h"
#include "udpgather/stats.h"

enum {
	SLOT_LEN = 65536,
	/* The longest message that can come: more would be a kernel's bug. */
	SLOT_USED = 65535,
	/* System calls that one ug_receive() may spend on messages to drop. */
	MAX_CALLS = 64,
	/* The least depth. */
	MIN_DEPTH = 8,
	/* Before the depth grows, this many calls in a row must fill all slots
	 * with short messages. A burst between long messages is shorter. */
	FULL_CALLS = 8,
	/* A slot beyond MIN_DEPTH keeps this much memory; a message above this
	 * is long. */
	PAGE_LEN = 4096,
	/* A message above this is a train of a stream: more like it follow. */
	STREAM_LEN = 16384,
	/* Messages after such a train before there may be more slots. With 64
	 * slots, a stream that goes on after a pause fills 4 MiB at once. */
	STREAM_REST = 32768
};

/**
 * struct ug_receiver - slots, and what is in them
 * @memory:	n_slots of SLOT_LEN bytes
 * @n_slots:	number of slots
 * @depth:	how many slots the next call may fill
 * @n_full:	calls in a row that filled them with short messages
 * @n_rest:	messages that must still come before @depth may grow
 * @n_ready:	slots, from the first on, that are set up to be filled
 * @msgs:	a message header for each slot
 * @iov:	a vector for each slot
 * @controls:	control data for each slot
 * @from:	the sender for each slot; the kernel writes the address
 * @n_msgs:	messages that the last call brought
 * @next_msg:	the first message that was not looked at yet
 * @generation:	the generation that sources of these messages belong to
 * @current:	the message that is being handed out
 * @turn:	the family that AF_UNSPEC asks first
 * @was_locked_out: merging was being switched off, so a main socket was not
 *		read: it may have datagrams
 * @counters:	written by the owner, read by anybody
 */
struct ug_receiver {
	unsigned char *memory;
	unsigned int n_slots;
	unsigned int depth;
	unsigned int n_full;
	unsigned int n_rest;
	unsigned int n_ready;
	struct mmsghdr *msgs;
	struct iovec *iov;
	struct control_space *controls;
	struct ug_endpoint *from;
	unsigned int n_msgs;
	unsigned int next_msg;
	uint32_t generation;
	struct split current;
	int turn;
	bool was_locked_out;
	struct receive_counters counters;
};

/* Prepare a slot to be filled again: the kernel has overwritten the lengths. */
static void reset_slot(struct ug_receiver *r, unsigned int i)
{
	r->iov[i] = (struct iovec){
		.iov_base = r->memory + (size_t)i * SLOT_LEN,
		.iov_len = SLOT_USED,
	};
	r->msgs[i].msg_hdr = (struct msghdr){
		.msg_name = &r->from[i].addr,
		.msg_namelen = sizeof(r->from[i].addr),
		.msg_iov = &r->iov[i],
		.msg_iovlen = 1,
		.msg_control = r->controls[i].bytes,
		.msg_controllen = sizeof(r->controls[i].bytes),
	};
}

static bool name_is_whole(const struct ug_endpoint *from, socklen_t len)
{
	switch (ug_endpoint_family(from)) {
	case AF_INET:
		return len >= sizeof(from->addr.v4);
	case AF_INET6:
		return len >= sizeof(from->addr.v6);
	default:
		return false;
	}
}

/* An IPv4-mapped address becomes an IPv4 address, which is its only form. */
static void unmap(struct ug_endpoint *from)
{
	if (ug_endpoint_family(from) == AF_INET6 &&
	    IN6_IS_ADDR_V4MAPPED(&from->addr.v6.sin6_addr))
		ug_endpoint_set(from, &from->addr.any, sizeof(from->addr.v6));
}

/* Check and count a message, and begin to hand it out. */
static void take_message(struct ug_receiver *r, unsigned int i)
{
	const struct msghdr *h = &r->msgs[i].msg_hdr;
	struct ug_endpoint *from = &r->from[i];
	struct control_info info;

	if (h->msg_flags & MSG_TRUNC) {
		receive_count(&r->counters, truncated, 1);
		return;
	}
	if (h->msg_flags & MSG_CTRUNC) {
		receive_count(&r->counters, control_truncated, 1);
		return;
	}
	if (!name_is_whole(from, h->msg_namelen) ||
	    ug_control_parse(h->msg_control, h->msg_controllen, &info) < 0) {
		receive_count(&r->counters, malformed, 1);
		return;
	}
	unmap(from);
	from->source = info.source;
	from->source.state = info.has_source ? r->generation : UG_SOURCE_NONE;
	ug_split_begin(&r->current, r->iov[i].iov_base, r->msgs[i].msg_len,
		       info.segment_len);
	r->current.from = from;
	r->current.tos = info.tos;
	receive_count(&r->counters, datagrams, r->current.cnt);
	receive_count(&r->counters, messages, 1);
	receive_count(&r->counters, bytes, r->current.len);
	receive_count(&r->counters,
		      trains[size_min(r->current.cnt, UG_RECEIVED_CLASSES - 1)],
		      1);
}

/* Hand out datagrams that are in the slots. Return: the number of views. */
static size_t hand_out(struct ug_receiver *r, struct ug_view *views, size_t n)
{
	size_t done = 0;

	while (done < n) {
		if (r->current.left)
			ug_split_next(&r->current, &views[done++]);
		else if (r->next_msg == r->n_msgs)
			break;
		else
			take_message(r, r->next_msg++);
	}
	return done;
}

/* One system call. Return: messages, or -errno. */
static int read_socket(struct ug_receiver *r, const struct ug_sys *sys,
		       struct family *fam, int fd)
{
	/* Partner: the store below; seen late it costs one more call. */
	if (!atomic_load_explicit(&fam->no_recvmmsg, memory_order_relaxed)) {
		receive_count(&r->counters, calls, 1);
		int n = sys->recvmmsg(fd, r->msgs, r->depth, MSG_DONTWAIT);

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

/* One system call for the main socket, with the receive lock. */
static int read_main(struct ug_receiver *r, const struct ug_sys *sys,
		     struct family *fam)
{
	/* Partner: begin_switch() in merging.c. */
	if (pthread_rwlock_tryrdlock(&fam->receive_lock)) {
		r->was_locked_out = true;
		return -EAGAIN;
	}
	int n = read_socket(r, sys, fam, fam->fd);

	pthread_rwlock_unlock(&fam->receive_lock);
	return n;
}

/* Set up the slots that the next call may fill, but only those it has to. */
static void set_up_slots(struct ug_receiver *r)
{
	for (unsigned int i = 0; i < r->n_msgs; i++) {
		/* A slot that is meant for short messages has held a long one:
		 * keep only its first page. */
		if (i >= MIN_DEPTH && r->msgs[i].msg_len > PAGE_LEN)
			madvise(r->memory + (size_t)i * SLOT_LEN + PAGE_LEN,
				SLOT_LEN - PAGE_LEN, MADV_DONTNEED);
		reset_slot(r, i);
	}
	r->n_msgs = r->next_msg = 0;
	for (; r->n_ready < r->depth; r->n_ready++)
		reset_slot(r, r->n_ready);
}

/*
 * The depth after a call that has brought @n messages. FULL_CALLS calls that
 * filled all slots with short messages double it. A call that filled less than
 * half of the slots halves it. A long message makes it MIN_DEPTH, so a mix of
 * long and short messages needs the memory of MIN_DEPTH slots only. If a stream
 * of long messages pauses, a flood of short messages beside it may fill all
 * slots. The depth must not grow then, because the stream will go on: for
 * STREAM_REST messages after a train of a stream it stays small.
 */
static unsigned int next_depth(struct ug_receiver *r, unsigned int n)
{
	size_t depth = r->depth;
	unsigned int longest = 0;

	for (unsigned int i = 0; i < n; i++)
		if (longest < r->msgs[i].msg_len)
			longest = r->msgs[i].msg_len;
	if (longest > STREAM_LEN)
		r->n_rest = STREAM_REST;
	if (longest > PAGE_LEN) {
		r->n_full = 0;
		return (unsigned int)size_min(MIN_DEPTH, r->n_slots);
	}
	r->n_rest -= (unsigned int)size_min(r->n_rest, n);
	r->n_full = n == depth && !r->n_rest ? r->n_full + 1 : 0;
	if (r->n_full == FULL_CALLS) {
		r->n_full = 0;
		depth *= 2;
	} else if (n < depth / 2) {
		depth /= 2;
	}
	return (unsigned int)size_min(size_max(depth, MIN_DEPTH), r->n_slots);
}

/*
 * One system call for a side socket. Side sockets never merge, so there is no lock.
 * If it brought a message, the side socket is read again later.
 */
static int read_side(struct ug_receiver *r, const struct ug_sys *sys,
		     struct family *fam, unsigned int i)
{
	int n = read_socket(r, sys, fam, fam->sides.fds[i]);

	if (n > 0)
		ug_side_set_input(&fam->sides, i);
	return n;
}

/*
 * Fill the slots from one family. Errors that an earlier datagram left on the
 * socket are counted, and the call is repeated.
 *
 * Return: messages; 0 if there are none; -errno.
 */
static int fill_slots(struct ug_receiver *r, const struct ug_sys *sys,
		      struct family *fam)
{
	int side = ug_side_take_input(&fam->sides);

	set_up_slots(r);
	for (int tries = 0; tries < MAX_CALLS; tries++) {
		int n = side < 0 ? read_main(r, sys, fam)
				 : read_side(r, sys, fam, (unsigned int)side);

		switch (n) {
		case -EAGAIN:
			if (side < 0)
				return 0;
			side = ug_side_take_input(&fam->sides);
			break;
		case -EINTR:
			break;
		case -EBADF:
		case -ENOTSOCK:
		case -ENOMEM:
		case -EFAULT:
		case -EINVAL:
			return n;
		default:
			if (n >= 0) {
				r->n_msgs = (unsigned int)n;
				r->depth = next_depth(r, r->n_msgs);
				return n;
			}
			receive_count(&r->counters, errors, 1);
		}
	}
	return 0;
}

/* Fill the slots from a family; for AF_UNSPEC from the first one with a message. */
static int fill_any(struct ug_receiver *r, struct ug_socket *sock, int family)
{
	r->generation = ug_path_generation(sock->paths);
	if (family != AF_UNSPEC)
		return fill_slots(r, sock->sys, ug_family_of(sock, family));
	for (int i = 0; i < FAMILIES; i++) {
		struct family *fam = &sock->families[r->turn];

		r->turn = (r->turn + 1) % FAMILIES;
		if (fam->fd < 0)
			continue;
		int n = fill_slots(r, sock->sys, fam);

		if (n)
			return n;
	}
	return 0;
}

/*
 * Fill slots and hand out datagrams, until there is a view, or nothing comes, or
 * MAX_CALLS fillings brought only messages that were dropped.
 */
static int receive_now(struct ug_receiver *r, struct ug_socket *sock,
		       int family, struct ug_view *views, size_t n)
{
	r->was_locked_out = false;
	for (int tries = 0; tries < MAX_CALLS; tries++) {
		int got = fill_any(r, sock, family);

		if (got <= 0)
			return got;
		size_t done = hand_out(r, views, n);

		if (done)
			return (int)done;
	}
	return 0;
}

enum {
	/* The main socket of a family, and its side sockets. */
	WAYS = 1 + UG_MAX_SIDE_SOCKETS
};

/* The descriptors that a receiver waits for, and the family and way of each. */
struct wait {
	struct family *families[FAMILIES * WAYS];
	unsigned int ways[FAMILIES * WAYS];
	struct pollfd fds[FAMILIES * WAYS];
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

/* Drop the entries of the error queue. Return: false if it was empty. */
static bool drop_errors(struct ug_receiver *r, const struct ug_sys *sys, int fd)
{
	size_t n = ug_socket_drop_errors(sys, fd);

	receive_count(&r->counters, errors, n);
	return n > 0;
}

/*
 * poll(2) woke the receiver, but there was no datagram. Go on at once if
 * another thread took the datagram, if its checksum was bad, or if the cause
 * was entries on the error queue, which are dropped here. Any other cause
 * stays, and would wake the receiver again at once: a socket that was shut
 * down, or merging that another thread is switching off. Then sleep for
 * PAUSE_MS.
 */
static void avoid_spinning(struct ug_receiver *r, const struct ug_sys *sys,
			   const struct wait *w)
{
	bool gone = false;

	for (nfds_t i = 0; i < w->n; i++) {
		short what = w->fds[i].revents;

		if ((what & POLLIN) && !(what & POLLRDHUP) &&
		    !r->was_locked_out)
			gone = true;
		if ((what & POLLERR) && drop_errors(r, sys, w->fds[i].fd))
			gone = true;
	}
	if (!gone)
		sys->poll(NULL, 0, PAUSE_MS);
}

/*
 * Sleep until something comes, but no longer than the time after which merging
 * may be switched off.
 *
 * Return: 1 if a socket reported something; 0 to wait on; -1 if the time is over or
 * a signal came.
 */
static int wait_once(struct ug_receiver *r, struct ug_socket *sock, int family,
		     struct wait *w, int left)
{
	bool pending = false;
	int slice = left;

	for (nfds_t i = 0; i < w->n; i++)
		pending |= ug_merging_is_pending(w->families[i]);
	if (pending && (left < 0 || left > MERGING_QUIET_MS))
		slice = MERGING_QUIET_MS;
	receive_count(&r->counters, waits, 1);
	int n = sock->sys->poll(w->fds, w->n, slice);

	if (n > 0)
		note_sides(w);
	if (n)
		return n > 0 ? 1 : -1;
	if (pending && slice == MERGING_QUIET_MS)
		ug_merging_switch_off(sock, family);
	return slice == left ? -1 : 0;
}

/* Wait, as ug_receive() with a timeout. */
static int receive_later(struct ug_receiver *r, struct ug_socket *sock,
			 int family, struct ug_view *views, size_t n,
			 int timeout_ms)
{
	const struct ug_sys *sys = sock->sys;
	struct wait w;
	int64_t start = timeout_ms > 0 ? sys->now_ms() : 0;
	int left = timeout_ms;

	wait_for(&w, sock, family);
	for (;;) {
		int woken = wait_once(r, sock, family, &w, left);

		if (woken < 0)
			return 0;
		if (woken) {
			int got = receive_now(r, sock, family, views, n);

			if (got)
				return got;
			avoid_spinning(r, sys, &w);
		}
		/* There was nothing to hand out: wait for the rest of the time. */
		if (timeout_ms < 0)
			continue;
		int64_t gone = sys->now_ms() - start;

		if (gone >= timeout_ms)
			return 0;
		left = timeout_ms - (int)gone;
	}
}

int ug_receive(struct ug_receiver *rcv, struct ug_socket *sock, int family,
	       struct ug_view *views, size_t n, int timeout_ms)
{
	if (!n)
		return -EINVAL;
	if (family != AF_UNSPEC && !ug_family_of(sock, family))
		return -EAFNOSUPPORT;
	n = size_min(n, INT32_MAX);
	size_t done = hand_out(rcv, views, n);

	if (done)
		return (int)done;
	int r = receive_now(rcv, sock, family, views, n);

	if (r || !timeout_ms)
		return r;
	return receive_later(rcv, sock, family, views, n, timeout_ms);
}

bool ug_receiver_pending(const struct ug_receiver *rcv)
{
	return rcv->current.left || rcv->next_msg < rcv->n_msgs;
}

bool ug_receiver_release(struct ug_receiver *rcv)
{
	if (ug_receiver_pending(rcv))
		return false;
	return madvise(rcv->memory, (size_t)rcv->n_slots * SLOT_LEN,
		       MADV_DONTNEED) == 0;
}

/* The arrays lie behind the slots, so unused parts of them take no memory. */
static size_t mapping_len(const struct ug_receiver *r)
{
	return r->n_slots * (SLOT_LEN + sizeof(*r->msgs) + sizeof(*r->iov) +
			     sizeof(*r->controls) + sizeof(*r->from));
}

static int map_slots(struct ug_receiver *r)
{
	void *memory = mmap(NULL, mapping_len(r), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return -ENOMEM;
	/* A kernel without huge pages refuses this, which does no harm. */
	madvise(memory, mapping_len(r), MADV_NOHUGEPAGE);
	r->memory = memory;
	/* In order of alignment, the largest first. */
	r->controls = (void *)(r->memory + (size_t)r->n_slots * SLOT_LEN);
	r->msgs = (void *)(r->controls + r->n_slots);
	r->iov = (void *)(r->msgs + r->n_slots);
	r->from = (void *)(r->iov + r->n_slots);
	return 0;
}

int ug_receiver_new(struct ug_receiver **out, unsigned int n_slots)
{
	if (!n_slots || n_slots > UG_MAX_SLOTS)
		return -EINVAL;
	struct ug_receiver *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->n_slots = n_slots;
	r->depth = (unsigned int)size_min(n_slots, MIN_DEPTH);
	if (map_slots(r) < 0) {
		free(r);
		return -ENOMEM;
	}
	*out = r;
	return 0;
}

void ug_receiver_free(struct ug_receiver *rcv)
{
	if (!rcv)
		return;
	munmap(rcv->memory, mapping_len(rcv));
	free(rcv);
}

void ug_get_receive_stats(const struct ug_receiver *rcv,
			  struct ug_receive_stats *stats, size_t size)
{
	ug_stats_read(rcv->counters.words, ARRAY_LEN(rcv->counters.words),
		      stats, size);
}
