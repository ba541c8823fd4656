/* SPDX-License-Identifier: MIT */
/*
 * The window: checking its datagrams before the first is sent, and counting the
 * unsent ones after the last.
 */
#include <errno.h>

#include "udpgather/sending.h"

/*
 * Port 0 is refused here: the kernel's EINVAL would look like that for a train.
 */
struct route ug_route_to(const struct ug_socket *sock,
			 const struct ug_endpoint *to)
{
	if (!to)
		return (struct route){ .err = -EDESTADDRREQ };
	bool v4 = ug_endpoint_family(to) == AF_INET;

	const struct family *fam = ug_family_of(sock, ug_endpoint_family(to));

	if (!fam)
		return (struct route){ .err = -EAFNOSUPPORT };
	if (!(v4 ? to->addr.v4.sin_port : to->addr.v6.sin6_port))
		return (struct route){ .err = -EINVAL };
	return (struct route){
		.family = ug_family_index(fam),
		.limit = v4 ? UG_MAX_DATAGRAM_IPV4 : UG_MAX_DATAGRAM_IPV6,
	};
}

/* Check a datagram's vectors. Return: its length, or -errno. */
static int64_t measure(const struct ug_datagram *d, size_t limit)
{
	if (d->n_iov && !d->iov)
		return -EINVAL;
	if (d->n_iov > UG_MAX_VECTORS)
		return -EMSGSIZE;
	return ug_measure(d->iov, d->n_iov, limit);
}

void ug_window_open(struct sending *s, bool busy[FAMILIES])
{
	struct route route = { 0 };

	s->batch->n_trials = 0;
	for (size_t i = 0; i < s->n; i++) {
		const struct ug_datagram *d = &s->dgrams[i];
		const struct ug_endpoint *to = datagram_endpoint(d, s->to);

		if (!i || to != datagram_endpoint(d - 1, s->to))
			route = ug_route_to(s->sock, to);
		if (route.err || s->stopped[route.family]) {
			s->status[i] = route.err ? route.err
						 : s->stopped[route.family];
			continue;
		}
		int64_t len = measure(d, route.limit);

		if (len < 0) {
			s->status[i] = (int)len;
			continue;
		}
		s->status[i] = UG_UNSENT;
		s->batch->items[i] = (struct item){ .len = (uint32_t)len };
		busy[route.family] = true;
	}
}

void ug_window_release(struct sending *s, int f)
{
	size_t n = 0;

	for (size_t i = 0; s->full[f] && i < s->n; i++) {
		if (s->status[i] != HELD)
			continue;
		s->status[i] = UG_UNSENT;
		n++;
	}
	send_count(&s->batch->counters, side_full, n);
}

void ug_window_close(const struct sending *s)
{
	size_t unsent = 0, failed = 0;

	for (size_t i = 0; i < s->n; i++) {
		unsent += s->status[i] == UG_UNSENT;
		failed += s->status[i] < 0;
	}
	send_count(&s->batch->counters, unsent, unsent);
	send_count(&s->batch->counters, failed, failed);
}
