/* SPDX-License-Identifier: MIT */
/*
 * Connections of TCP. The bytes of each direction go from one socket into a pipe and
 * from there into the other socket, by splice(2), without a copy in this process. The
 * end of a direction is passed on by itself, so that half of a connection can go on.
 *
 * The sockets are watched for edges: after each event, bytes are moved until the kernel
 * says EAGAIN everywhere.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl/forward.h"

enum {
	/* Bytes that one splice(2) takes at most: those of a pipe. */
	PIPE_LEN = 1 << 16,
	/* Descriptors of a connection: two sockets and two pipes. */
	FDS_EACH = 6,
	/* Descriptors that are left for other things, and the most connections of a
	 * port. Choices. */
	SPARE_FDS = 64,
	STREAMS_MAX = 4096,
};

/**
 * struct direction - one direction of a connection
 * @pipe:	its pipe; -1: not open
 * @n:		bytes in the pipe
 * @has_ended:	the sender has no more
 * @is_done:	the receiver knows that
 */
struct direction {
	int pipe[2];
	size_t n;
	bool has_ended;
	bool is_done;
};

/**
 * struct streams - the connections of a port
 * @forward:	the loop
 * @port:	the port
 * @listener:	its socket in the loop
 * @n:		connections
 * @max:	the most of them
 */
struct streams {
	struct forward *forward;
	struct publish_port *port;
	struct forward_watch listener;
	size_t n;
	size_t max;
};

/**
 * struct stream - a connection
 * @streams:	of the port
 * @ends:	the outer and the inner socket in the loop
 * @ways:	from outer to inner, and back
 * @target:	which address is tried, or connected
 * @is_connected: the inner socket is
 */
struct stream {
	struct streams *streams;
	struct forward_watch ends[2];
	struct direction ways[2];
	unsigned int target;
	bool is_connected;
};

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* Connections that were closed in this turn of the loop, whose events may still name
 * them. */
static struct stream *closed;

void forward_free_closed(void)
{
	while (closed) {
		struct stream *next = closed->ends[0].arg;

		free(closed);
		closed = next;
	}
}

static void close_stream(struct stream *s)
{
	struct streams *all = s->streams;

	for (int i = 0; i < 2; i++) {
		close_fd(s->ends[i].fd);
		close_fd(s->ways[i].pipe[0]);
		close_fd(s->ways[i].pipe[1]);
		s->ends[i].fd = -1;
	}
	/* A full port takes connections again. */
	if (all->n-- == all->max)
		(void)forward_add(all->forward, &all->listener, EPOLLIN);
	s->ends[0].arg = closed;
	closed = s;
}

/* Move bytes of one direction. Return: whether something was done; -errno: the
 * connection is broken. */
static int move(struct direction *way, int from, int to)
{
	const unsigned int flags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;
	bool has_moved = false;
	ssize_t n;

	if (!way->has_ended && way->n < PIPE_LEN) {
		n = splice(from, NULL, way->pipe[1], NULL, PIPE_LEN - way->n,
			   flags);
		if (n < 0 && errno != EAGAIN)
			return -errno;
		way->has_ended = n == 0;
		way->n += n > 0 ? (size_t)n : 0;
		has_moved = n >= 0;
	}
	if (way->n) {
		n = splice(way->pipe[0], NULL, to, NULL, way->n, flags);
		if (n < 0 && errno != EAGAIN)
			return -errno;
		way->n -= n > 0 ? (size_t)n : 0;
		has_moved |= n > 0;
	}
	if (way->has_ended && !way->n && !way->is_done) {
		shutdown(to, SHUT_WR);
		way->is_done = true;
	}
	return has_moved;
}

static void pump(struct stream *s)
{
	int moved;

	do {
		int there = move(&s->ways[0], s->ends[0].fd, s->ends[1].fd);
		int back = move(&s->ways[1], s->ends[1].fd, s->ends[0].fd);

		if (there < 0 || back < 0) {
			close_stream(s);
			return;
		}
		moved = there || back;
	} while (moved);
	if (s->ways[0].is_done && s->ways[1].is_done)
		close_stream(s);
}

static void stream_ready(struct forward_watch *watch, uint32_t events);

/* Try to connect to the addresses from @target on. Return: 0; -errno. */
static int connect_inner(struct stream *s)
{
	for (; s->target < PUBLISH_TARGETS; s->target++) {
		const struct publish_address *to =
			&s->streams->port->targets[s->target];
		const int on = 1;
		int fd;

		if (!to->len)
			continue;
		fd = socket(to->addr.any.sa_family,
			    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd < 0)
			return -errno;
		s->ends[1] = (struct forward_watch){ .fd = fd,
						     .ready = stream_ready,
						     .arg = s };
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		if ((connect(fd, &to->addr.any, to->len) == 0 ||
		     errno == EINPROGRESS) &&
		    forward_add(s->streams->forward, &s->ends[1],
				EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) == 0)
			return 0;
		close(fd);
		s->ends[1].fd = -1;
	}
	return -ECONNREFUSED;
}

/* Has the inner socket been connected? If not, the next address is tried. */
static bool finish_connect(struct stream *s)
{
	int err = 0;
	socklen_t len = sizeof(err);

	getsockopt(s->ends[1].fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (!err) {
		s->is_connected = true;
		return true;
	}
	close(s->ends[1].fd);
	s->ends[1].fd = -1;
	s->target++;
	if (connect_inner(s) < 0)
		close_stream(s);
	return false;
}

static void stream_ready(struct forward_watch *watch, uint32_t events)
{
	struct stream *s = watch->arg;

	/* An event of this turn, after the connection was closed. */
	if (watch->fd < 0)
		return;
	if (!s->is_connected) {
		if (watch != &s->ends[1] ||
		    !(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) ||
		    !finish_connect(s))
			return;
	}
	pump(s);
}

static int open_stream(struct stream *s, int fd)
{
	const int on = 1;
	int err = 0;

	s->ends[0] = (struct forward_watch){ .fd = fd,
					     .ready = stream_ready,
					     .arg = s };
	s->ends[1].fd = -1;
	for (int i = 0; i < 2; i++)
		s->ways[i].pipe[0] = s->ways[i].pipe[1] = -1;
	for (int i = 0; i < 2; i++)
		if (pipe2(s->ways[i].pipe, O_NONBLOCK | O_CLOEXEC) < 0)
			return -errno;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	err = forward_add(s->streams->forward, &s->ends[0],
			  EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	return err < 0 ? err : connect_inner(s);
}

static void listener_ready(struct forward_watch *watch, uint32_t events)
{
	struct streams *all = watch->arg;
	struct stream *s;
	int fd;

	(void)events;
	fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	s = calloc(1, sizeof(*s));
	if (!s) {
		close(fd);
		return;
	}
	s->streams = all;
	/* While there are too many, newcomers wait in the kernel's queue. */
	if (++all->n == all->max)
		forward_remove(all->forward, &all->listener);
	if (open_stream(s, fd) < 0)
		close_stream(s);
}

int forward_streams(struct forward *forward, struct publish_port *port)
{
	struct streams *all = calloc(1, sizeof(*all));
	struct rlimit limit = { 0 };
	rlim_t max;

	if (!all)
		return -ENOMEM;
	getrlimit(RLIMIT_NOFILE, &limit);
	max = limit.rlim_cur > SPARE_FDS + FDS_EACH
		      ? (limit.rlim_cur - SPARE_FDS) / FDS_EACH
		      : 1;
	*all = (struct streams){
		.forward = forward,
		.port = port,
		.listener = { .fd = port->listener,
			      .ready = listener_ready,
			      .arg = all },
		.max = max < STREAMS_MAX ? (size_t)max : STREAMS_MAX,
	};
	return forward_add(forward, &all->listener, EPOLLIN);
}
