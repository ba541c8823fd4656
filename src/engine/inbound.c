/* SPDX-License-Identifier: MIT */
/*
 * An inbound lane: what each of its four steps (lane.h) does with a batch.
 *
 * take	One ug_receive(). The type and the length of each datagram are checked.
 *	Handshake messages are copied to the handshaker. For data messages the
 *	keypair is looked up by the receiver index. Neighbouring messages with
 *	one receiver index form a run.
 *
 * work	One call decrypts all messages in place, and marks those that are
 *	authentic.
 *
 * commit Each authentic message, in the order of arrival: the replay window and
 *	the inner source address are checked, and the peer's endpoint is
 *	updated. Then its packet is merged with its neighbours into
 *	super-packets.
 *
 * deliver The super-packets are written to the TUN (writer.h).
 */
#include "engine/inbound.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/counter.h"
#include "base/now.h"
#include "engine/ecn.h"
#include "engine/endpoint.h"
#include "engine/events.h"
#include "engine/paths.h"
#include "tun/mss.h"

enum {
	HEADER_LEN = sizeof(struct message_data),
};

/**
 * struct run - neighbouring messages with one receiver index
 * @receive:	references to the keypair and the peer
 * @receiver:	the receiver index
 * @first:	index of its first message in @msgs of the slot
 * @n:		number of its messages
 */
struct run {
	struct receive_run receive;
	uint32_t receiver;
	unsigned int first;
	unsigned int n;
};

/**
 * struct slot - a batch
 * @il:		the lane
 * @rcv:	memory that datagrams are received into
 * @views:	the datagrams
 * @runs:	the runs of data messages
 * @n_runs:	number of runs
 * @msgs:	the data messages, for aead_open_batch()
 * @view_of:	for each data message, the index of its datagram in @views
 * @n_msgs:	number of data messages
 * @n_unwritten: [a] those of @batches that are not written yet
 * @batches:	for each writer of the lane, the packets that it writes
 */
struct slot {
	struct inbound_lane *il;
	struct ug_receiver *rcv;
	struct ug_view views[INBOUND_MESSAGES];
	struct run runs[INBOUND_MESSAGES];
	unsigned int n_runs;
	struct aead_msg msgs[INBOUND_MESSAGES];
	uint16_t view_of[INBOUND_MESSAGES];
	unsigned int n_msgs;
	_Atomic unsigned int n_unwritten;
	struct writer_batch batches[];
};
static_assert((int)INBOUND_MESSAGES <= (int)MERGE_PACKETS_MAX,
	      "a slot's packets fit one struct merge");
static_assert(QUEUES_MAX <= 32, "a bit for each writer");

/* ------------------------------------------------------------------ take */

/* The run that a message belongs to; NULL: no keypair has that index. */
static struct run *find_run(struct inbound_lane *il, struct slot *slot,
			    const struct ug_endpoint *from, uint32_t receiver,
			    uint64_t now)
{
	struct run *run = slot->n_runs ? &slot->runs[slot->n_runs - 1] : NULL;
	enum drop_reason reason;

	if (run && run->receiver == receiver)
		return run;
	run = &slot->runs[slot->n_runs];
	reason = receive_run_begin(il->device, receiver, now, &run->receive);
	if (reason != DROP_NONE) {
		counter_add(&il->drops[reason], 1);
		events_stranger(il->events, from, reason);
		return NULL;
	}
	run->receiver = receiver;
	run->first = slot->n_msgs;
	run->n = 0;
	slot->n_runs++;
	return run;
}

static void take_data(struct inbound_lane *il, struct slot *slot,
		      unsigned int view, uint64_t now)
{
	uint8_t *bytes = slot->views[view].data;
	const struct message_data *header = (const void *)bytes;
	struct run *run = find_run(il, slot, slot->views[view].from,
				   le32_get(header->receiver), now);

	if (!run)
		return;
	slot->view_of[slot->n_msgs] = (uint16_t)view;
	slot->msgs[slot->n_msgs++] = (struct aead_msg){
		.key = run->receive.kp->keys->receiving,
		.counter = le64_get(header->counter),
		.text = bytes + HEADER_LEN,
		.len = (uint32_t)message_data_text_len(slot->views[view].len),
	};
	run->n++;
}

static bool may_take(void *arg)
{
	const struct inbound_lane *il = arg;

	for (unsigned int w = 0; w < il->n_writers; w++)
		if (writer_is_behind(&il->writers[w]))
			return false;
	return true;
}

static bool take(void *arg, void *slot_arg, void *context)
{
	const struct context *ctx = context;
	struct inbound_lane *il = arg;
	struct slot *slot = slot_arg;

	struct ug_socket *sock = sock_group_member(ctx->group, il->number);

	slot->n_runs = slot->n_msgs = 0;
	if (!sock || (ctx->reads_nothing && !ug_receiver_pending(slot->rcv)))
		return false;
	int n = ug_receive(slot->rcv, sock, il->family, slot->views,
			   INBOUND_MESSAGES, 0);

	/* Partner: is_ready(). */
	if (il->paths && atomic_exchange_explicit(&il->has_errors, false,
						  memory_order_relaxed))
		paths_take_errors(il->paths, sock, now_boottime());

	/* A helper runs the lanes of both families, even if one is not open. */
	if (n < 0 && n != -EAGAIN && n != -EAFNOSUPPORT)
		source_note_error(&il->source, n);
	if (n <= 0)
		return false;
	if (ug_receiver_pending(slot->rcv))
		lane_keep(&il->source.lane, slot);
	else if (n == 1) /* as in the outbound lane */
		lane_drained(&il->source.lane);
	uint64_t now = now_boottime();

	for (unsigned int i = 0; i < (unsigned int)n; i++) {
		const struct ug_view *view = &slot->views[i];

		switch (message_check(view->data, view->len)) {
		case MESSAGE_DATA:
			take_data(il, slot, i, now);
			break;
		case MESSAGE_INITIATION:
		case MESSAGE_RESPONSE:
		case MESSAGE_COOKIE:
			handshaker_receive(il->handshaker, view->data,
					   view->len, view->from, now);
			break;
		case MESSAGE_INVALID:
		default:
			counter_add(&il->drops[DROP_BAD_MESSAGE], 1);
			events_stranger(il->events, view->from,
					DROP_BAD_MESSAGE);
		}
	}
	return true;
}

/* ------------------------------------------------------------------ work */

static void work(void *arg, void *slot_arg, void *context)
{
	const struct context *ctx = context;
	struct slot *slot = slot_arg;

	(void)arg;
	aead_open_batch(ctx->aead, slot->msgs, slot->n_msgs);
}

/* ---------------------------------------------------------------- commit */

/* Add a packet to those that one writer writes. */
static void add_packet(struct inbound_lane *il, struct merge *merge,
		       uint8_t *packet, size_t len, uint8_t tos)
{
	if (!ecn_decapsulate(packet, tos)) {
		counter_add(&il->congested, 1);
		return;
	}
	/* There is room for all messages of a slot. */
	merge_add(merge, packet, len);
}

/*
 * Must trains_saw() hear of packet @i of a run? A TCP acknowledgement covers
 * all data before it, so often a part of the acknowledgements is enough.
 */
static bool is_wanted(uint8_t attention, const struct run *run, unsigned int i)
{
	return attention == TRAINS_WANT_ALL ||
	       (attention == TRAINS_WANT_SOME &&
		(i % 8 == 0 || i + 1 == run->first + run->n));
}

/* A packet of a peer has come in: tell those who want to hear of it. */
static void show(struct inbound_lane *il, const struct run *run,
		 const struct aead_msg *msg, size_t len, bool paths_want)
{
	uint64_t now = now_boottime();

	trains_saw(il->trains, run->receive.peer, msg->text, len, now);
	if (paths_want)
		paths_saw(il->paths, run->receive.peer, msg->text, len, now);
}

/* Lower the MSS of a SYN of a peer. */
static void clamp(struct inbound_lane *il, const struct run *run,
		  uint8_t *packet, size_t len)
{
	/* Partner: lanes_set_mtu(). */
	uint32_t mtu = atomic_load_explicit(il->mtu, memory_order_relaxed);

	if (mss_is_syn(packet, len))
		mss_clamp(packet, len,
			  paths_clamp(il->paths, run->receive.peer, mtu,
				      now_boottime()),
			  false);
}

/* Neighbouring messages of a run that were dropped for one reason. */
struct dropped {
	enum drop_reason reason;
	unsigned int n;
	unsigned int last;
};

/* Log what was dropped so far. */
static void tell_dropped(struct inbound_lane *il, const struct slot *slot,
			 const struct run *run, struct dropped *d)
{
	if (d->n)
		events_dropped(il->events, run->receive.peer,
			       slot->views[slot->view_of[d->last]].from,
			       slot->msgs[d->last].text, d->reason, d->n);
	d->n = 0;
}

/* Message @i is dropped. */
static void drop(struct inbound_lane *il, const struct slot *slot,
		 const struct run *run, struct dropped *d, unsigned int i,
		 enum drop_reason reason)
{
	counter_add(&il->drops[reason], 1);
	if (d->reason != reason)
		tell_dropped(il, slot, run, d);
	d->reason = reason;
	d->last = i;
	d->n++;
}

static void commit_run(struct inbound_lane *il, struct slot *slot,
		       struct run *run, struct merge *merge)
{
	struct dropped dropped = { DROP_NONE, 0, 0 };
	uint8_t attention = trains_attention(il->trains, run->receive.peer);
	bool paths_want =
		il->paths && paths_want_acks(il->paths, run->receive.peer);
	const struct ug_endpoint *last = NULL;
	struct device_endpoint from;

	if (paths_want && attention == TRAINS_WANT_NONE)
		attention = TRAINS_WANT_SOME;
	for (unsigned int i = run->first; i < run->first + run->n; i++) {
		const struct aead_msg *msg = &slot->msgs[i];
		const struct ug_view *view = &slot->views[slot->view_of[i]];
		enum drop_reason reason = DROP_FORGED;
		size_t len = 0;

		/* The datagrams of a train share their endpoint: it is
		 * converted once. */
		if (view->from != last)
			endpoint_to_device(&from, view->from);
		last = view->from;
		if (msg->is_authentic)
			reason = receive_run_take(&run->receive, msg->counter,
						  msg->text, msg->len, &from,
						  &len);
		if (reason != DROP_NONE) {
			drop(il, slot, run, &dropped, i, reason);
		} else if (len) {
			if (is_wanted(attention, run, i))
				show(il, run, msg, len, paths_want);
			if (il->mtu)
				clamp(il, run, msg->text, len);
			add_packet(il, merge, msg->text, len, view->tos);
		}
	}
	tell_dropped(il, slot, run, &dropped);
	/* The packets are written after this. */
	receive_run_move(&run->receive);
}

/* The number of the queue that a peer's packets are written to. Its messages usually
 * come by the lane with the same number. */
static unsigned int queue_of(const struct inbound_lane *il,
			     const struct run *run)
{
	return run->receive.peer->lane % il->n_writers;
}

/* Commit all runs. Return: the writers that get packets, a bit for each. */
static uint32_t commit_runs(struct inbound_lane *il, struct slot *slot)
{
	uint32_t begun = 0, filled = 0;

	for (unsigned int r = 0; r < slot->n_runs; r++) {
		unsigned int queue = queue_of(il, &slot->runs[r]);
		struct writer_batch *batch = &slot->batches[queue];
		uint32_t bit = UINT32_C(1) << queue;

		if (!(begun & bit))
			writer_begin(&il->writers[queue], batch);
		begun |= bit;
		commit_run(il, slot, &slot->runs[r], &batch->merge);
		if (!merge_is_empty(&batch->merge))
			filled |= bit;
	}
	return filled;
}

/* Have the packets written. The slot is not ours any more after the last of them. */
static void push_batches(struct inbound_lane *il, struct slot *slot,
			 uint32_t filled)
{
	/* Partner: batch_done(). The push orders this store. */
	atomic_store_explicit(&slot->n_unwritten,
			      (unsigned int)__builtin_popcount(filled),
			      memory_order_relaxed);
	for (unsigned int q = 0; filled; q++, filled >>= 1)
		if (filled & 1)
			writer_push(&il->writers[q], &slot->batches[q]);
}

static void commit(void *arg, void *slot_arg, void *context)
{
	struct inbound_lane *il = arg;
	struct slot *slot = slot_arg;
	uint32_t filled = commit_runs(il, slot);
	uint64_t now, realtime;

	(void)context;
	if (slot->n_runs) {
		now = now_boottime();
		realtime = now_realtime();
		for (unsigned int r = 0; r < slot->n_runs; r++)
			receive_run_end(&slot->runs[r].receive, now, realtime);
		slot->n_runs = 0;
	}
	if (filled)
		push_batches(il, slot, filled);
	else
		lane_give_back(&il->source.lane, slot);
}

/* --------------------------------------------------------------- deliver */

/* A writer has written one of the batches of a slot. */
static void batch_done(void *slot_arg)
{
	struct slot *slot = slot_arg;

	/* Partners: push_batches(), and this function for another batch. */
	if (slot->il->n_writers == 1 ||
	    atomic_fetch_sub_explicit(&slot->n_unwritten, 1,
				      memory_order_acq_rel) == 1)
		lane_give_back(&slot->il->source.lane, slot);
}

static void deliver(void *arg, void *context)
{
	struct inbound_lane *il = arg;

	(void)context;
	for (unsigned int w = 0; w < il->n_writers; w++)
		writer_run(&il->writers[w]);
}

/* ----------------------------------------------------------------- life */

static void release(void *slot_arg)
{
	struct slot *slot = slot_arg;

	ug_receiver_release(slot->rcv);
}

/* The main socket of the family, and its side sockets. */
static int get_fd(const struct source *s, const struct sock_group *group,
		  unsigned int i)
{
	const struct inbound_lane *il = s->lane.arg;
	const struct ug_socket *sock = sock_group_member(group, il->number);

	if (!sock)
		return -ENOENT;
	return i ? ug_side_fd(sock, il->family, i - 1)
		 : ug_fd(sock, il->family);
}

static bool is_ready(struct source *s, const struct sock_group *group, int fd,
		     uint32_t events)
{
	struct inbound_lane *il = s->lane.arg;
	struct ug_socket *sock = sock_group_member(group, il->number);

	/* Partner: take(). */
	if (events & EPOLLERR)
		atomic_store_explicit(&il->has_errors, true,
				      memory_order_relaxed);
	return sock && (fd == ug_fd(sock, il->family) ||
			ug_side_ready(sock, fd) == il->family);
}

static const struct source_ops source_ops = {
	.get_fd = get_fd,
	.is_ready = is_ready,
};

static void slot_free(void *arg)
{
	struct slot *slot = arg;

	ug_receiver_free(slot->rcv);
	free(slot);
}

static void *slot_new(void *arg)
{
	struct inbound_lane *il = arg;
	struct slot *slot = calloc(
		1, sizeof(*slot) + il->n_writers * sizeof(slot->batches[0]));

	if (!slot)
		return NULL;
	slot->il = il;
	if (ug_receiver_new(&slot->rcv, INBOUND_TRAINS) < 0) {
		free(slot);
		return NULL;
	}
	for (unsigned int w = 0; w < il->n_writers; w++) {
		merge_init(&slot->batches[w].merge);
		slot->batches[w].done = batch_done;
		slot->batches[w].arg = slot;
	}
	return slot;
}

static const struct lane_ops ops = {
	.may_take = may_take,
	.take = take,
	.work = work,
	.commit = commit,
	.deliver = deliver,
	.release = release,
	.slot_new = slot_new,
	.slot_free = slot_free,
};

int inbound_lane_init(struct inbound_lane *il, struct device *device,
		      struct writer *writers, unsigned int n_writers,
		      struct handshaker *handshaker, int family,
		      unsigned int n_slots)
{
	il->device = device;
	il->writers = writers;
	il->n_writers = n_writers;
	il->handshaker = handshaker;
	il->family = family;
	il->source.ops = &source_ops;
	il->source.name = "a UDP socket";
	return lane_new(&il->source.lane, &ops, il, n_slots);
}

void inbound_lane_count(const struct inbound_lane *il,
			struct ug_receive_stats *sum)
{
	const struct lane *lane = &il->source.lane;

	for (unsigned int i = 0; i < lane->n_slots; i++) {
		const struct slot *slot = lane->slots[i];
		struct ug_receive_stats one;

		ug_get_receive_stats(slot->rcv, &one, sizeof(one));
		sum->datagrams += one.datagrams;
		sum->messages += one.messages;
		sum->bytes += one.bytes;
		sum->calls += one.calls;
		sum->truncated += one.truncated + one.control_truncated;
		sum->malformed += one.malformed;
		sum->errors += one.errors;
		for (int n = 0; n < UG_RECEIVED_CLASSES; n++)
			sum->trains[n] += one.trains[n];
	}
}

void inbound_lane_deinit(struct inbound_lane *il)
{
	lane_free(&il->source.lane);
}
