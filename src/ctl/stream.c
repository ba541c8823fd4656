/* SPDX-License-Identifier: MIT */
#include "ctl/stream.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl/snapshot.h"

int stream_open(struct stream *stream, const char *interface)
{
	static const char request[] = "get=events\n\n";

	stream->len = 0;
	stream->fd = -1;
	int fd = ctl_connect(interface);

	if (fd < 0)
		return fd;
	if (send(fd, request, strlen(request), MSG_NOSIGNAL) !=
	    (ssize_t)strlen(request)) {
		close(fd);
		return -EPROTO;
	}
	stream->fd = fd;
	return 0;
}

bool stream_read(struct stream *stream, void (*take)(void *arg, char *line),
		 void *arg, int *err)
{
	ssize_t n = read(stream->fd, stream->text + stream->len,
			 sizeof(stream->text) - stream->len);
	char *at = stream->text, *end;

	/* A connection that the daemon did not accept before its end is reset. */
	*err = n == 0 || errno == ECONNRESET ? 0 : -EPROTO;
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (n <= 0) {
		stream_close(stream);
		return false;
	}
	stream->len += (size_t)n;
	while ((end = memchr(at, '\n',
			     stream->len - (size_t)(at - stream->text)))) {
		*end = 0;
		take(arg, at);
		at = end + 1;
	}
	stream->len -= (size_t)(at - stream->text);
	memmove(stream->text, at, stream->len);
	if (stream->len < sizeof(stream->text))
		return true;
	/* A line that is too long is none of the daemon's. */
	stream_close(stream);
	return false;
}

void stream_close(struct stream *stream)
{
	if (stream->fd >= 0)
		close(stream->fd);
	stream->fd = -1;
}
