/* SPDX-License-Identifier: MIT */
/*
 * Emptying the error queues, and what an entry says of a refused message: see
 * errors.h.
 */
#include "udpgather/errors.h"

#include <errno.h>
#include <time.h> /* linux/errqueue.h uses struct timespec */
#include <linux/errqueue.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "udpgather/control.h"
#include "udpgather/receiver.h"
#include "udpgather/socket.h"

struct errors *ug_errors_new(void)
{
	struct errors *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	/* Without attributes, this cannot fail in glibc or musl. */
	pthread_mutex_init(&e->mutex, NULL);
	ring_init(&e->ring, ERRORS_CAP);
	return e;
}

void ug_errors_free(struct errors *errors)
{
	if (!errors)
		return;
	pthread_mutex_destroy(&errors->mutex);
	free(errors);
}

/* The place of an errno in @taken. */
static size_t place_of(int err)
{
	return err > 0 && err < ERRORS_ERRNOS ? (size_t)err : 0;
}

/* Put an entry into the ring; NULL for one that could not be read. */
static void push(struct errors *e, const struct ug_error *entry)
{
	pthread_mutex_lock(&e->mutex);
	e->n_taken++;
	e->n_lost += !entry;
	if (entry) {
		if (ring_is_full(&e->ring)) {
			ring_pop(&e->ring);
			e->n_lost++;
		}
		e->entries[ring_push(&e->ring)] = *entry;
		/* Partner: read_taken(). */
		atomic_fetch_add_explicit(&e->taken[place_of(entry->err)], 1,
					  memory_order_release);
	}
	pthread_mutex_unlock(&e->mutex);
}

/* How many entries with an errno were taken. */
static uint32_t read_taken(const struct errors *e, int err)
{
	/* Partner: push(). */
	return atomic_load_explicit(&e->taken[place_of(err)],
				    memory_order_acquire);
}

/*
 * Take an entry off a descriptor's queue.
 *
 * Return: 0; -EAGAIN if the queue is empty; -EBADMSG for an entry that cannot be
 * read, which is off the queue, too.
 */
static int take_entry(const struct ug_sys *sys, int fd, struct ug_error *out)
{
	struct control_space control;
	struct ug_endpoint to = { 0 };
	uint8_t quote[UG_ERROR_QUOTE] = { 0 };
	/* The entry comes with what the ICMP message quotes of the datagram,
	 * behind the UDP header. */
	struct iovec iov = { quote, sizeof(quote) };
	struct msghdr h = {
		.msg_name = &to.addr,
		.msg_namelen = sizeof(to.addr),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};

	ssize_t n = sys->recvmsg(fd, &h, MSG_ERRQUEUE | MSG_DONTWAIT);

	if (n < 0)
		return -EAGAIN;
	int err = ug_control_parse_error(h.msg_control, h.msg_controllen, out);

	if (err < 0)
		return err;
	if (!ug_name_is_whole(&to, h.msg_namelen))
		to = (struct ug_endpoint){ 0 };
	ug_unmap(&to);
	out->to = to;
	/* With an error of this machine comes no quote of an ICMP message. */
	if (out->origin == UG_ORIGIN_ICMP || out->origin == UG_ORIGIN_ICMP6)
		out->quote_len = (uint8_t)size_min((size_t)n, sizeof(quote));
	memcpy(out->quote, quote, out->quote_len);
	return 0;
}

/* What is looked for in the entries that are taken, or NULL for nothing. */
struct search {
	const struct ug_endpoint *to;
	int err;
	bool is_reported;
	bool is_own;
};

/* Is this the address? The kernel leaves the port of some local errors out, and the
 * zone of some addresses. */
static bool is_at(const struct ug_endpoint *found, const struct ug_endpoint *to)
{
	struct ug_endpoint want = { .addr = to->addr };

	ug_unmap(&want);
	if (found->addr.any.sa_family != want.addr.any.sa_family)
		return false;
	if (want.addr.any.sa_family == AF_INET) {
		const struct sockaddr_in *a = &found->addr.v4,
					 *b = &want.addr.v4;

		return a->sin_addr.s_addr == b->sin_addr.s_addr &&
		       (!a->sin_port || a->sin_port == b->sin_port);
	}
	const struct sockaddr_in6 *a = &found->addr.v6, *b = &want.addr.v6;

	return memcmp(&a->sin6_addr, &b->sin6_addr, 16) == 0 &&
	       (!a->sin6_port || a->sin6_port == b->sin6_port) &&
	       (!a->sin6_scope_id || !b->sin6_scope_id ||
		a->sin6_scope_id == b->sin6_scope_id);
}

/* Is this entry what is looked for? */
static void compare(struct search *s, const struct ug_error *entry)
{
	if (entry->err != s->err || !is_at(&entry->to, s->to))
		return;
	if (entry->origin == UG_ORIGIN_LOCAL)
		s->is_own = true;
	else if (entry->err != EMSGSIZE)
		s->is_reported = true;
}

static size_t take(struct ug_socket *sock, int fd, struct search *s)
{
	struct ug_error entry;
	size_t n = 0;

	for (; n < ERRORS_CAP; n++) {
		int err = take_entry(sock->sys, fd, &entry);

		if (err == -EAGAIN)
			break;
		push(sock->errors, err < 0 ? NULL : &entry);
		if (err == 0 && s)
			compare(s, &entry);
	}
	return n;
}

size_t ug_errors_take(struct ug_socket *sock, int fd)
{
	return sock->errors ? take(sock, fd, NULL)
			    : ug_socket_drop_errors(sock->sys, fd);
}

void ug_errors_count(struct errors *errors, uint64_t *taken, uint64_t *lost)
{
	pthread_mutex_lock(&errors->mutex);
	*taken = errors->n_taken;
	*lost = errors->n_lost;
	pthread_mutex_unlock(&errors->mutex);
}

enum refusal ug_errors_explain(struct ug_socket *sock, int fd,
			       const struct ug_endpoint *to, int err,
			       struct refusals *r)
{
	struct search s = { .to = to, .err = err };
	bool is_first = !r->n_unexplained && !r->n_of_others;
	/* Before the first refusal nobody has looked at the count. */
	uint32_t before = is_first ? read_taken(sock->errors, err) : r->taken;

	take(sock, fd, &s);
	r->taken = read_taken(sock->errors, err);
	if (s.is_own)
		return REFUSAL_OWN;
	if (s.is_reported)
		return REFUSAL_REPORTED;
	if (r->taken != before)
		return ++r->n_of_others < REFUSALS_OF_OTHERS
			       ? REFUSAL_AGAIN
			       : REFUSAL_TOO_OFTEN;
	return ++r->n_unexplained < REFUSALS_UNEXPLAINED ? REFUSAL_AGAIN
							 : REFUSAL_OWN;
}

/* The size of struct ug_error in version 1.0, which ended before @quote_len. */
enum {
	ERROR_LEN_1_0 = (offsetof(struct ug_error, quote_len) +
			 _Alignof(struct ug_error) - 1) /
			_Alignof(struct ug_error) * _Alignof(struct ug_error)
};

/* Move entries out of the ring. Return: how many, at most @n. */
static size_t pop(struct errors *e, unsigned char *out, size_t size, size_t n)
{
	size_t done = 0;

	pthread_mutex_lock(&e->mutex);
	for (; done < n && e->ring.n; done++, out += size) {
		size_t len = size_min(size, sizeof(struct ug_error));

		memcpy(out, &e->entries[ring_pop(&e->ring)], len);
		memset(out + len, 0, size - len);
	}
	pthread_mutex_unlock(&e->mutex);
	return done;
}

enum {
	/* Descriptors of a socket. */
	MAX_FDS = FAMILIES * (1 + UG_MAX_SIDE_SOCKETS)
};

/* Ask which descriptors of a socket have errors. Return: how many there are. */
static nfds_t ask(const struct ug_socket *sock, struct pollfd fds[MAX_FDS])
{
	nfds_t n = 0;

	for (int f = 0; f < FAMILIES; f++) {
		const struct family *fam = &sock->families[f];

		for (unsigned int w = 0; fam->fd >= 0 && w <= fam->sides.n; w++)
			fds[n++].fd = ug_family_fd(fam, w);
	}
	return sock->sys->poll(fds, n, 0) > 0 ? n : 0;
}

int ug_receive_errors(struct ug_socket *sock, struct ug_error *out, size_t size,
		      size_t n)
{
	struct pollfd fds[MAX_FDS] = { 0 };
	unsigned char *at = (unsigned char *)out;

	if (!n || size < ERROR_LEN_1_0)
		return -EINVAL;
	if (!sock->errors)
		return -EOPNOTSUPP;
	n = size_min(n, INT32_MAX);
	size_t done = pop(sock->errors, at, size, n);
	nfds_t n_fds = done < n ? ask(sock, fds) : 0;

	/* The ring is empty before each taking, so that nothing is pushed out. */
	for (nfds_t i = 0; i < n_fds; i++) {
		if (!(fds[i].revents & POLLERR))
			continue;
		while (done < n && take(sock, fds[i].fd, NULL))
			done += pop(sock->errors, at + done * size, size,
				    n - done);
	}
	return (int)done;
}
