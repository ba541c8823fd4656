/* SPDX-License-Identifier: MIT */
/*
 * The events of an interface, as lines of the statistics socket (docs/statistics.md).
 *
 * One thread.
 */
#ifndef CTL_STREAM_H
#define CTL_STREAM_H

#include <stdbool.h>
#include <stddef.h>

enum {
	/* Bytes of a line at most; the daemon's are shorter than 1,024. */
	STREAM_LINE_CAP = 2048,
};

/**
 * struct stream - a connection that tells events
 * @fd:		the connection, to wait for; -1: it is closed
 * @len:	private: bytes in @text
 * @text:	private: the beginning of a line that has not come whole
 */
struct stream {
	int fd;
	size_t len;
	char text[STREAM_LINE_CAP];
};

/**
 * stream_open() - ask for events
 * @stream:	caller's storage; stream_close() it
 * @interface:	the interface
 *
 * Return: 0; -errno as ctl_connect(), and then the stream is closed.
 */
int stream_open(struct stream *stream, const char *interface);

/**
 * stream_read() - read what has come
 * @stream:	a stream whose descriptor can be read
 * @take:	called with each whole line, which it may change
 * @arg:	for @take
 *
 * Return: true; false: the stream is closed now, and *err is 0 if the daemon has ended
 * it, or -errno.
 */
bool stream_read(struct stream *stream, void (*take)(void *arg, char *line),
		 void *arg, int *err);

/* stream_close() - close it, if it is open */
void stream_close(struct stream *stream);

#endif /* CTL_STREAM_H */
