/* SPDX-License-Identifier: MIT */
/*
 * Writing to a pipe or terminal whose reader may not read, without waiting for
 * ever. Lines are written in this way while there is no log thread: at the
 * start and after a failure.
 *
 * Neither O_NONBLOCK nor poll(2) is enough. O_NONBLOCK belongs to the open
 * file, which is shared with the process that started this one. And a
 * descriptor that poll(2) calls writable may be full again at the write(2), if
 * another process writes to it, too. So write(2) may block, and a timer
 * interrupts it.
 */
#ifndef BASE_DIRECT_H
#define BASE_DIRECT_H

#include <stdbool.h>
#include <stddef.h>

enum {
	/* How long a line may take, in milliseconds. A choice, not measured. */
	DIRECT_MS = 200,
};

/**
 * direct_write() - write bytes, or give up
 * @fd:		descriptor
 * @data:	bytes
 * @len:	their count
 *
 * Uses SIGALRM during the call, so nothing else in the process may wait for that
 * signal. The filters of the engine's threads forbid this function: call it there only
 * before the filter is installed. Any thread; two threads take turns.
 *
 * Return: true if all bytes were written within DIRECT_MS; false with errno:
 * EAGAIN if the reader was too slow, else the error of write(2).
 */
bool direct_write(int fd, const void *data, size_t len);

/*
 * direct_prepare() - make the timer that later calls of direct_write() use
 *
 * From then on these calls make fewer kinds of system calls, which the keeper's filter has,
 * and SIGALRM does nothing. Only the calling thread may call direct_write() later. A child
 * has no timer.
 */
void direct_prepare(void);

#endif /* BASE_DIRECT_H */
