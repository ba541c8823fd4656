/* SPDX-License-Identifier: MIT */
/*
 * The step commit of the outbound lane: a batch is sent by one ug_send().
 * Datagrams for which the socket has no room are dropped, as by any full queue
 * of a network: if the lane waited for room, the packets to all other peers
 * would wait, too.
 *
 * If trains to a peer are stopped, the batch is sent in up to three calls: see
 * send_offer(). Runs whose datagrams leave without DF are sent by calls of their own:
 * see send_groups().
 */
#include <errno.h>

#include "base/counter.h"
#include "base/now.h"
#include "engine/events.h"
#include "engine/outbound_slot.h"
#include "engine/paths.h"
#include "engine/sticky.h"

static bool has_sent(const struct slot *slot, unsigned int r)
{
	for (unsigned int i = 0; i < slot->n_dgrams; i++)
		if (slot->run_of[i] == r && slot->status[i] == UG_SENT)
			return true;
	return false;
}

/* The kernel refused to send from the source of the endpoint @refused. */
static void refuse_source(struct outbound_lane *ol, struct slot *slot,
			  const struct ug_endpoint *refused)
{
	for (unsigned int r = 0; r < slot->n_runs; r++) {
		struct run *run = &slot->runs[r];

		if (&run->to == refused && has_sent(slot, r))
			sticky_refuse(ol->device, run->send.peer, &run->to);
	}
}

static struct trains_run trains_run(const struct run *run)
{
	return (struct trains_run){
		.peer = run->send.peer,
		.to = &run->to,
		.first = run->first,
		.n = run->n,
	};
}

/* The kernel has refused a datagram of a run as too long. */
static void note_too_long(struct outbound_lane *ol, struct slot *slot,
			  struct ug_socket *sock, const struct run *run)
{
	struct trains_run r = trains_run(run);

	/* All of a batch were too long for one reason. */
	if (slot->told_too_long == run)
		return;
	slot->told_too_long = run;
	paths_refused(ol->paths, sock, &r, now_boottime());
}

/* Count what became of each datagram, and the bytes sent for each run. */
static void count_results(struct outbound_lane *ol, struct slot *slot,
			  struct ug_socket *sock)
{
	for (unsigned int i = 0; i < slot->n_dgrams; i++) {
		struct run *run = &slot->runs[slot->run_of[i]];

		if (slot->status[i] == UG_SENT) {
			run->sent_len += slot->dgrams[i].iov->iov_len;
		} else if (slot->status[i] == UG_UNSENT) {
			counter_add(&ol->stats.full_drops, 1);
		} else {
			counter_add(&ol->stats.send_errors, 1);
			if (slot->status[i] == -EMSGSIZE && ol->paths)
				note_too_long(ol, slot, sock, run);
			else
				events_send_failed(run->send.peer,
						   slot->status[i]);
		}
	}
}

/* Send datagrams @from to @to - 1. Return: how many were sent. */
static size_t send_part(struct outbound_lane *ol, struct slot *slot,
			struct ug_socket *sock, unsigned int from,
			unsigned int to)
{
	const struct ug_endpoint *refused;
	size_t sent;

	ug_set_train_lengths(ol->batch, slot->train_lens + from, to - from);
	sent = ug_send(sock, ol->batch, NULL, slot->dgrams + from, to - from,
		       slot->status + from, 0);
	refused = ug_refused_source(ol->batch);
	if (refused)
		refuse_source(ol, slot, refused);
	return sent;
}

/*
 * Send a batch in which the datagrams of one note may leave as a train,
 * although trains to their peer are stopped. One call sends the datagrams
 * before them, one the train, one the datagrams behind.
 */
static size_t send_offer(struct outbound_lane *ol, struct slot *slot,
			 struct ug_socket *sock, const struct trains_run *run,
			 const struct trains_note *offer)
{
	size_t per_message = slot->iov[offer->first].iov_len;
	unsigned int first = offer->first;
	unsigned int end = first + (unsigned int)size_min(
					   size_min(offer->n, UG_MAX_SEGMENTS),
					   UG_MAX_TRAIN_IPV6 / per_message);
	size_t sent = 0;

	/* refuse_source() reads the status of all datagrams after each part. */
	for (unsigned int i = 0; i < slot->n_dgrams; i++)
		slot->status[i] = UG_UNSENT;
	if (first)
		sent = send_part(ol, slot, sock, 0, first);
	trains_offer_begin(sock, run);
	sent += send_part(ol, slot, sock, first, end);
	trains_offer_end(&ol->first->trains, sock, run, now_boottime());
	if (end < slot->n_dgrams)
		sent += send_part(ol, slot, sock, end, slot->n_dgrams);
	return sent;
}

/* Find the note of a batch that may be offered, and its run. */
static bool find_offer(struct outbound_lane *ol, struct slot *slot,
		       struct ug_socket *sock, struct trains_run *run)
{
	struct trains *trains = &ol->first->trains;

	for (unsigned int r = 0; trains->n_off && r < slot->n_runs; r++) {
		*run = trains_run(&slot->runs[r]);
		slot->offer = trains_before(trains, sock, run, &slot->notes,
					    now_boottime());
		/* At most one offer is made in a batch. */
		if (slot->offer)
			return true;
	}
	return false;
}

/*
 * Send a batch in which some runs leave without DF. Neighbours that are alike are sent
 * by one call. While it is made, the sockets of the family have no DF.
 */
static size_t send_groups(struct outbound_lane *ol, struct slot *slot,
			  struct ug_socket *sock)
{
	size_t sent = 0;

	/* refuse_source() reads the status of all datagrams after each part. */
	for (unsigned int i = 0; i < slot->n_dgrams; i++)
		slot->status[i] = UG_UNSENT;
	for (unsigned int r = 0, next; r < slot->n_runs; r = next) {
		const struct run *run = &slot->runs[r];
		int family = run->to.addr.any.sa_family;
		unsigned int end = run->first + run->n;

		for (next = r + 1; next < slot->n_runs; next++) {
			const struct run *other = &slot->runs[next];

			if (other->needs_fragments != run->needs_fragments ||
			    (run->needs_fragments &&
			     other->to.addr.any.sa_family != family))
				break;
			end = other->first + other->n;
		}
		if (run->needs_fragments) {
			paths_set_df(sock, family, false);
			counter_add(&ol->paths->stats.outer_fragments,
				    end - run->first);
		}
		sent += send_part(ol, slot, sock, run->first, end);
		if (run->needs_fragments)
			paths_set_df(sock, family, true);
	}
	return sent;
}

/* Send a batch. Return: how many datagrams were sent. */
static size_t send_batch(struct outbound_lane *ol, struct slot *slot,
			 struct ug_socket *sock)
{
	struct trains_run run;
	size_t sent = 0;
	bool has_offer;

	slot->offer = NULL;
	if (slot->needs_fragments)
		return send_groups(ol, slot, sock);
	trains_lock(&ol->first->trains);
	has_offer = find_offer(ol, slot, sock, &run);
	/* Other lanes wait meanwhile: they must not send trains to the peer. */
	if (has_offer)
		sent = send_offer(ol, slot, sock, &run, slot->offer);
	trains_unlock(&ol->first->trains);
	return has_offer ? sent : send_part(ol, slot, sock, 0, slot->n_dgrams);
}

static void watch_trains(struct outbound_lane *ol, struct slot *slot,
			 struct ug_socket *sock, uint64_t now)
{
	struct trains *trains = &ol->first->trains;

	trains_lock(trains);
	for (unsigned int r = 0; r < slot->n_runs; r++) {
		struct trains_run run = trains_run(&slot->runs[r]);

		trains_after(trains, sock, &run, &slot->notes, slot->train_lens,
			     slot->offer, now);
	}
	trains_unlock(trains);
}

static void watch_paths(struct outbound_lane *ol, struct slot *slot,
			struct ug_socket *sock, uint64_t now)
{
	for (unsigned int r = 0; r < slot->n_runs; r++) {
		struct trains_run run = trains_run(&slot->runs[r]);

		paths_after(ol->paths, &run, &slot->runs[r].send, slot->iov,
			    &slot->notes, now);
	}
	paths_look(ol->paths, sock, now);
}

/* ---------------------------------------------------------- several lanes */

/* Return: false: another lane has waited too long for one of the runs. */
static bool begin_send(const struct outbound_lane *ol, struct slot *slot)
{
	bool may_send = true;

	if (!ol->first->has_others)
		return true;
	for (unsigned int r = 0; r < slot->n_runs; r++) {
		struct run *run = &slot->runs[r];

		run->is_sending = send_run_begin_send(&run->send);
		may_send &= run->is_sending;
	}
	return may_send;
}

static void end_send(const struct outbound_lane *ol, struct slot *slot)
{
	if (!ol->first->has_others)
		return;
	for (unsigned int r = 0; r < slot->n_runs; r++) {
		struct run *run = &slot->runs[r];

		if (run->is_sending)
			send_run_end_send(&run->send);
		if (run->is_staged)
			outbound_end_flush(ol, run->send.peer);
	}
}

/* ---------------------------------------------------------------- the step */

/* Send a batch, and find out what became of its datagrams. */
static void send_and_count(struct outbound_lane *ol, struct slot *slot,
			   struct ug_socket *sock)
{
	size_t sent = send_batch(ol, slot, sock);

	slot->told_too_long = NULL;
	if (sent < slot->n_dgrams || slot->n_runs > 1)
		count_results(ol, slot, sock);
	else
		for (unsigned int i = 0; i < slot->n_dgrams; i++)
			slot->runs[0].sent_len += slot->iov[i].iov_len;
}

void outbound_commit(void *arg, void *slot_arg, void *context)
{
	const struct context *ctx = context;
	struct outbound_lane *ol = arg;
	struct slot *slot = slot_arg;
	bool may_send = begin_send(ol, slot);
	uint64_t now;

	if (ctx->sock && slot->n_dgrams && may_send)
		send_and_count(ol, slot, ctx->sock);
	if (!may_send)
		counter_add(&ol->stats.held_drops, slot->n_dgrams);
	end_send(ol, slot);
	now = now_boottime();
	if (ctx->sock && slot->notes.n && may_send)
		watch_trains(ol, slot, ctx->sock, now);
	if (ctx->sock && ol->paths && may_send)
		watch_paths(ol, slot, ctx->sock, now);
	for (unsigned int r = 0; r < slot->n_runs; r++) {
		struct run *run = &slot->runs[r];

		send_run_end(&run->send, run->sent_len, run->has_data, now);
	}
	slot->n_runs = 0;
}
