/* SPDX-License-Identifier: MIT */
/*
 * The slots of a receiver, and what is in them. receive.c fills them;
 * ug_receive() and ug_receive_trains() hand out what they hold.
 */
#ifndef UDPGATHER_RECEIVER_H
#define UDPGATHER_RECEIVER_H

#include "udpgather/control.h"
#include "udpgather/endpoint.h"
#include "udpgather/split.h"
#include "udpgather/stats.h"
#include "udpgather/wake.h"

/**
 * struct ug_receiver - slots, and what is in them
 * @memory:	n_slots of 64 KiB
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
 * @want:	what the socket of these messages was opened to tell (UG_WANT_*)
 * @follows:	their socket has the option follow_interface
 * @current:	the message that is being handed out
 * @turn:	the family that AF_UNSPEC asks first
 * @why:	what the last 0 of ug_receive() meant
 * @wakes:	the wakes that have ended a call with it, or could have
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
	uint32_t want;
	bool follows;
	struct split current;
	int turn;
	int why;
	struct wake_memory wakes;
	bool was_locked_out;
	struct receive_counters counters;
};

/* ug_receiver_set_up_slots() - set up the slots that the next call may fill. The
 * messages in them are forgotten. */
void ug_receiver_set_up_slots(struct ug_receiver *r);

/**
 * ug_receiver_set_up_buffers() - have the next call fill other memory than the slots
 * @r:		a receiver without pending datagrams
 * @at:		@n entries whose @data and @cap are the memory
 * @size:	the size of an entry in bytes
 * @n:		1 to @n_slots
 *
 * ug_receiver_forget() has to follow when the messages are handed out.
 */
void ug_receiver_set_up_buffers(struct ug_receiver *r,
				const struct ug_received *at, size_t size,
				unsigned int n);

/* ug_receiver_forget() - forget the messages; the slots are used again */
void ug_receiver_forget(struct ug_receiver *r);

/**
 * ug_receiver_adapt() - choose the depth of the next call
 * @r:		the receiver
 * @n:		messages that the last call brought into the slots
 */
void ug_receiver_adapt(struct ug_receiver *r, unsigned int n);

/**
 * ug_receiver_describe() - tell all that is known of a message
 * @r:		the receiver
 * @i:		which of its messages; ug_receiver_take() has accepted it
 * @out:	@from is set, and so are @time_ns, @ifindex, @destination and @ttl if
 *		the socket was opened to tell them; else they stay, and should be 0
 */
void ug_receiver_describe(const struct ug_receiver *r, unsigned int i,
			  struct ug_received *out);

/* ug_receiver_lone_interface() - a message has no address to answer from: its source is
 * the interface, if the socket follows interfaces, and else nothing */
void ug_receiver_lone_interface(const struct ug_receiver *r,
				struct ug_source *source);

/* ug_name_is_whole() - has the kernel written a whole address? */
static inline bool ug_name_is_whole(const struct ug_endpoint *from,
				    socklen_t len)
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

/* ug_unmap() - an IPv4-mapped address becomes an IPv4 address, which is its only
 * form */
static inline void ug_unmap(struct ug_endpoint *from)
{
	if (ug_endpoint_family(from) == AF_INET6 &&
	    IN6_IS_ADDR_V4MAPPED(&from->addr.v6.sin6_addr))
		ug_endpoint_set(from, &from->addr.any, sizeof(from->addr.v6));
}

/*
 * ug_receiver_take() - check and count the next message, and begin to hand it out.
 * A message that has to be dropped leaves nothing in @current. It is inline because
 * it runs for each message.
 */
static inline void ug_receiver_take(struct ug_receiver *r)
{
	unsigned int i = r->next_msg++;
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
	if (!ug_name_is_whole(from, h->msg_namelen) ||
	    ug_control_parse(h->msg_control, h->msg_controllen, &info) < 0) {
		receive_count(&r->counters, malformed, 1);
		return;
	}
	ug_unmap(from);
	from->source = info.source;
	from->source.state = r->generation;
	if (!info.has_source)
		ug_receiver_lone_interface(r, &from->source);
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

#endif /* UDPGATHER_RECEIVER_H */
