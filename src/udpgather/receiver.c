/* SPDX-License-Identifier: MIT */
/*
 * The slots of a receiver. One recvmmsg(2) fills up to n_slots of them.
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
#include "udpgather/receiver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"

enum {
	SLOT_LEN = 65536,
	/* The longest message that can come: more would be a kernel's bug. */
	SLOT_USED = 65535,
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

void ug_receiver_set_up_slots(struct ug_receiver *r)
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

void ug_receiver_set_up_buffers(struct ug_receiver *r,
				const struct ug_received *at, size_t size,
				unsigned int n)
{
	const unsigned char *bytes = (const void *)at;

	for (unsigned int i = 0; i < n; i++, bytes += size) {
		const struct ug_received *e = (const void *)bytes;

		reset_slot(r, i);
		r->iov[i].iov_base = e->data;
		r->iov[i].iov_len = e->cap;
	}
	ug_receiver_forget(r);
}

void ug_receiver_forget(struct ug_receiver *r)
{
	r->n_msgs = r->next_msg = r->n_ready = 0;
}

/*
 * FULL_CALLS calls that filled all slots with short messages double the depth. A
 * call that filled less than half of the slots halves it. A long message makes it
 * MIN_DEPTH, so a mix of long and short messages needs the memory of MIN_DEPTH
 * slots only. If a stream of long messages pauses, a flood of short messages beside
 * it may fill all slots. The depth must not grow then, because the stream will go
 * on: for STREAM_REST messages after a train of a stream it stays small.
 */
void ug_receiver_adapt(struct ug_receiver *r, unsigned int n)
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
		r->depth = (unsigned int)size_min(MIN_DEPTH, r->n_slots);
		return;
	}
	r->n_rest -= (unsigned int)size_min(r->n_rest, n);
	r->n_full = n == depth && !r->n_rest ? r->n_full + 1 : 0;
	if (r->n_full == FULL_CALLS) {
		r->n_full = 0;
		depth *= 2;
	} else if (n < depth / 2) {
		depth /= 2;
	}
	r->depth =
		(unsigned int)size_min(size_max(depth, MIN_DEPTH), r->n_slots);
}

void ug_receiver_describe(const struct ug_receiver *r, unsigned int i,
			  struct ug_received *out)
{
	const struct msghdr *h = &r->msgs[i].msg_hdr;
	struct control_details details;

	out->from = &r->from[i];
	if (!r->want)
		return;
	ug_control_parse_details(h->msg_control, h->msg_controllen, &details);
	out->time_ns = r->want & UG_WANT_TIME ? details.time_ns : 0;
	out->ttl = r->want & UG_WANT_TTL ? details.ttl : 0;
	if (!(r->want & UG_WANT_DESTINATION)) {
		details.ifindex = 0;
		memset(details.destination, 0, sizeof(details.destination));
	}
	out->ifindex = details.ifindex;
	memcpy(out->destination, details.destination, sizeof(out->destination));
}

int ug_receiver_info(const struct ug_receiver *rcv, const struct ug_view *view,
		     struct ug_received *out, size_t size)
{
	struct ug_received info = { .tos = view->tos };
	struct control_info control;
	struct split split;
	size_t i = ((uintptr_t)view->from - (uintptr_t)rcv->from) /
		   sizeof(*rcv->from);

	if (size < sizeof(info) || i >= rcv->next_msg)
		return -EINVAL;
	const struct msghdr *h = &rcv->msgs[i].msg_hdr;

	if (ug_control_parse(h->msg_control, h->msg_controllen, &control) < 0)
		return -EINVAL;
	ug_split_begin(&split, rcv->iov[i].iov_base, rcv->msgs[i].msg_len,
		       control.segment_len);
	info.data = split.data;
	info.len = split.len;
	info.segment_len = (uint32_t)split.segment_len;
	info.n = (uint32_t)split.cnt;
	ug_receiver_describe(rcv, (unsigned int)i, &info);
	memset(out, 0, size);
	memcpy(out, &info, sizeof(info));
	return 0;
}

void ug_receiver_lone_interface(const struct ug_receiver *r,
				struct ug_source *source)
{
	if (r->follows && source->ifindex)
		/* The kernel chooses among the interface's addresses. */
		memset(source->addr, 0, sizeof(source->addr));
	else
		source->state = UG_SOURCE_NONE;
}

int ug_receiver_why(const struct ug_receiver *rcv)
{
	return rcv->why;
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
