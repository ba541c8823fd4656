/* SPDX-License-Identifier: MIT */
/*
 * ug_receive_trains(): messages as the kernel delivers them, not cut into
 * datagrams. They stay in the receiver's slots, or the kernel writes them into
 * buffers of the caller.
 *
 * A buffer belongs to an entry of the caller's array. If a message is dropped, its
 * buffer changes places with that of the next message that is not, so the entries
 * that are set are the first ones, and no buffer is lost.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "udpgather/receive.h"

/**
 * struct trains - the caller's array
 * @at:		its first entry
 * @size:	the size of an entry, which a later version may have made larger
 * @n:		entries
 */
struct trains {
	void *at;
	size_t size;
	size_t n;
};

static struct ug_received *entry(const struct trains *t, size_t i)
{
	return (void *)((unsigned char *)t->at + i * t->size);
}

/* Set an entry to what is left of the current message. @data: where it is. */
static void set_entry(struct ug_receiver *r, const struct trains *t, size_t i,
		      void *data)
{
	struct ug_received *e = entry(t, i);
	struct split *s = &r->current;
	struct ug_received info = {
		.data = data,
		.len = s->len - s->off,
		.cap = e->cap,
		.n = (uint32_t)s->left,
		.tos = s->tos,
	};

	info.segment_len = (uint32_t)size_min(s->segment_len, info.len);
	ug_receiver_describe(r, r->next_msg - 1, &info);
	memcpy(e, &info, sizeof(info));
	memset(e + 1, 0, t->size - sizeof(info));
	s->left = 0;
}

/* Have a message in @current, if there is one. */
static bool has_message(struct ug_receiver *r)
{
	while (!r->current.left && r->next_msg < r->n_msgs)
		ug_receiver_take(r);
	return r->current.left > 0;
}

/* Hand out what is in the slots. */
static size_t hand_out_slots(struct ug_receiver *r, void *arg)
{
	const struct trains *t = arg;
	size_t done = 0;

	while (done < t->n && has_message(r)) {
		entry(t, done)->cap = 0;
		set_entry(r, t, done++, r->current.data + r->current.off);
	}
	return done;
}

static void swap_buffers(struct ug_received *a, struct ug_received *b)
{
	struct ug_received old = *a;

	a->data = b->data;
	a->cap = b->cap;
	b->data = old.data;
	b->cap = old.cap;
}

/* Hand out what was received into the caller's buffers. */
static size_t hand_out_buffers(struct ug_receiver *r, void *arg)
{
	const struct trains *t = arg;
	size_t done = 0;

	while (has_message(r)) {
		swap_buffers(entry(t, done), entry(t, r->next_msg - 1));
		set_entry(r, t, done, entry(t, done)->data);
		done++;
	}
	ug_receiver_forget(r);
	return done;
}

/* Copy what is in the slots to the caller's buffers. Return: messages; 0 if all of
 * them were dropped; -EMSGSIZE if the first one does not fit, which stays. */
static int copy_slots(struct ug_receiver *r, const struct trains *t)
{
	size_t done = 0;

	while (done < t->n && has_message(r)) {
		const struct split *s = &r->current;
		struct ug_received *e = entry(t, done);

		if (s->len - s->off > e->cap)
			return done ? (int)done : -EMSGSIZE;
		memcpy(e->data, s->data + s->off, s->len - s->off);
		set_entry(r, t, done++, e->data);
	}
	return (int)done;
}

static bool are_buffers(const struct trains *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (!entry(t, i)->cap)
			return false;
	return true;
}

int ug_receive_trains(struct ug_receiver *rcv, struct ug_socket *sock,
		      int family, struct ug_received *out, size_t size,
		      size_t n, int timeout_ms)
{
	if (!n || size < sizeof(*out))
		return -EINVAL;
	bool in_slots = !out->cap;
	struct trains t = { out, size, size_min(n, rcv->n_slots) };

	if (!in_slots && !are_buffers(&t))
		return -EINVAL;
	if (family != AF_UNSPEC && !ug_family_of(sock, family))
		return -EAFNOSUPPORT;
	int done =
		in_slots ? (int)hand_out_slots(rcv, &t) : copy_slots(rcv, &t);

	if (done)
		return done;
	const struct receive_call c = {
		.r = rcv,
		.sock = sock,
		.family = family,
		.hand_out = in_slots ? hand_out_slots : hand_out_buffers,
		.arg = &t,
		.buffers = in_slots ? NULL : out,
		.buffer_size = size,
		.n_buffers = in_slots ? 0 : (unsigned int)t.n,
		.tells_all = true,
	};
	return ug_receive_call(&c, timeout_ms);
}
