/* SPDX-License-Identifier: MIT */
/*
 * epoll PORT [THREADS] - answer each datagram with its length as text
 *
 * Several threads serve one socket, with edge-triggered epoll(7). Each has a receiver
 * and a batch of its own. The kernel wakes one thread for each edge (EPOLLEXCLUSIVE),
 * and that thread reads until the library says -EAGAIN: only then is the socket
 * empty, and another edge comes with the next datagram.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include <udpgather.h>

enum {
	/* Messages and datagrams that are taken at once. Choices. */
	SLOTS = 16,
	MOST = 1024,
	MAX_THREADS = 64
};

struct server {
	struct ug_socket *sock;
	struct ug_receiver *rcv;
	struct ug_batch *batch;
	char text[MOST][8];
	struct iovec iov[MOST];
	struct ug_datagram dgrams[MOST];
	int status[MOST];
	size_t n;
};

static void answer(struct server *s)
{
	ug_send(s->sock, s->batch, NULL, s->dgrams, s->n, s->status, 100);
	s->n = 0;
}

/* Answer each datagram of a message. */
static void note(struct server *s, const struct ug_received *in)
{
	size_t left = in->len;

	for (uint32_t i = 0; i < in->n; i++) {
		size_t len = left;

		if (in->segment_len && len > in->segment_len)
			len = in->segment_len;
		left -= len;
		s->iov[s->n].iov_base = s->text[s->n];
		s->iov[s->n].iov_len = (size_t)snprintf(
			s->text[s->n], sizeof(s->text[s->n]), "%zu", len);
		s->dgrams[s->n] = (struct ug_datagram){ .iov = &s->iov[s->n],
							.n_iov = 1,
							.to = in->from };
		if (++s->n == MOST)
			answer(s);
	}
}

/* Read one family until it is empty. Return: 0; -errno. */
static int serve(struct server *s, int family)
{
	struct ug_received in[SLOTS];

	for (;;) {
		memset(in, 0, sizeof(in));
		int n = ug_receive_trains(s->rcv, s->sock, family, in,
					  sizeof(in[0]), SLOTS, 0);

		if (n == -EAGAIN)
			return 0;
		/* -EBUSY and -EINTR: the socket may have more, so go on. */
		if (n < 0 && n != -EBUSY && n != -EINTR)
			return n;
		for (int i = 0; i < n; i++)
			note(s, &in[i]);
		/* @from of the answers is borrowed until the next call. */
		answer(s);
	}
}

static void *run(void *arg)
{
	static const int families[] = { AF_INET, AF_INET6 };
	struct server *s = arg;
	int fd = epoll_create1(EPOLL_CLOEXEC), err = 0;

	for (int i = 0; i < 2; i++) {
		struct epoll_event what = {
			.events = EPOLLIN | EPOLLET | EPOLLEXCLUSIVE,
			.data.fd = families[i],
		};

		epoll_ctl(fd, EPOLL_CTL_ADD, ug_fd(s->sock, families[i]),
			  &what);
	}
	while (err == 0) {
		struct epoll_event event;

		if (epoll_wait(fd, &event, 1, -1) == 1)
			err = serve(s, event.data.fd);
	}
	fprintf(stderr, "epoll: %s\n", strerror(-err));
	exit(1);
}

int main(int argc, char **argv)
{
	struct ug_options opt = { .size = sizeof(opt) };
	int n_threads = argc > 2 ? atoi(argv[2]) : 4;
	struct ug_socket *sock;
	pthread_t thread = pthread_self();

	opt.port = (uint16_t)(argc > 1 ? atoi(argv[1]) : 0);
	if (!opt.port || n_threads < 1 || n_threads > MAX_THREADS ||
	    ug_open(&sock, &opt, NULL) < 0) {
		fprintf(stderr, "usage: epoll PORT [THREADS]\n");
		return 1;
	}
	for (int i = 0; i < n_threads; i++) {
		struct server *s = calloc(1, sizeof(*s));

		if (!s || ug_receiver_new(&s->rcv, SLOTS) < 0 ||
		    ug_batch_new(&s->batch, 128) < 0)
			return 1;
		s->sock = sock;
		if (pthread_create(&thread, NULL, run, s))
			return 1;
	}
	pthread_join(thread, NULL);
	return 1;
}
