/* SPDX-License-Identifier: MIT */
/*
 * The ring holds records: the stream, the length in two bytes, the line. The
 * log thread copies a record out before it writes it, so the mutex is never
 * held across a system call that waits.
 */
#include "base/log_thread.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/log.h"
#include "base/now.h"
#include "base/spawn.h"

enum {
	/* Bytes of a record in front of the line: stream and length. */
	HEAD_LEN = 3,
	/* Pause after a descriptor that does not block was full. A choice: 100
	 * attempts a second cost little. */
	PAUSE_MS = 10,
	STREAMS = 2,
};

/* The states that a log thread goes through. */
enum state {
	NONE,
	RUNNING,
	STOPPING,
	ENDED,
};

/**
 * struct stream - stdout or stderr
 * @n_lost:	[m] lines lost and not reported yet
 * @is_failing:	[m] write(2) refused the last line: lost lines are reported only
 *		together with the next line for this stream
 * @is_torn:	[l] the last line was written in part
 */
struct stream {
	uint64_t n_lost;
	bool is_failing;
	bool is_torn;
};

/*
 * [m] under @mutex, [l] log thread only, [I] set before the thread is made.
 *
 * @wake:	there is something to write, or the thread is to end
 * @settled:	@has_begun or @state has changed
 * @has_begun:	[m] the thread has called @initial
 * @ring:	[m] records; a record may wrap around its end
 * @first:	[m] offset of the oldest record
 * @len:	[m] bytes of all records
 * @initial:	[I] function that the thread calls first, or NULL
 * @is_full:	[m] lines are dropped until the ring is empty
 * @n_lost:	[m] lines lost so far, reported or not
 * @busy_since:	[m] when the thread began to write the present line, in ns of
 *		CLOCK_MONOTONIC; 0: it writes none
 */
static struct {
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	pthread_cond_t settled;
	pthread_t thread;
	enum state state;
	bool has_begun;
	bool is_full;
	uint64_t n_lost;
	uint64_t busy_since;
	size_t first;
	size_t len;
	struct stream streams[STREAMS];
	void (*initial)(const char *name);
	log_thread_teller teller;
	char ring[LOG_RING_CAP];
} queue = {
	.mutex = PTHREAD_MUTEX_INITIALIZER,
	.wake = PTHREAD_COND_INITIALIZER,
};

/**
 * struct job - what one round of the log thread writes
 * @fd:		the stream
 * @n_told:	lost lines to report first; 0: none
 * @len:	length of the line; 0: there is none
 * @text:	a byte of room, then the line
 */
struct job {
	int fd;
	uint64_t n_told;
	size_t len;
	char text[1 + LOG_LINE_CAP];
};

static struct stream *stream_of(int fd)
{
	return &queue.streams[fd == STDERR_FILENO];
}

/* A line for a stream is lost. Under the mutex. */
static void lose(struct stream *stream)
{
	stream->n_lost++;
	queue.n_lost++;
}

/* ------------------------------------------------------------ the ring */

static void copy_in(const void *data, size_t len)
{
	size_t at = (queue.first + queue.len) % LOG_RING_CAP;
	size_t n = size_min(len, LOG_RING_CAP - at);

	memcpy(queue.ring + at, data, n);
	memcpy(queue.ring, (const char *)data + n, len - n);
	queue.len += len;
}

static void copy_out(void *data, size_t len)
{
	size_t n = size_min(len, LOG_RING_CAP - queue.first);

	memcpy(data, queue.ring + queue.first, n);
	memcpy((char *)data + n, queue.ring, len - n);
	queue.len -= len;
	/* An empty ring restarts at 0, to touch its first pages only. */
	queue.first = queue.len ? (queue.first + len) % LOG_RING_CAP : 0;
}

bool log_thread_put(int fd, const char *line, size_t len)
{
	const unsigned char head[HEAD_LEN] = { (unsigned char)fd,
					       (unsigned char)(len >> 8),
					       (unsigned char)len };
	bool is_taken;

	INVARIANT(len <= LOG_LINE_CAP);
	pthread_mutex_lock(&queue.mutex);
	is_taken = queue.state != NONE;
	if (queue.state == RUNNING && HEAD_LEN + len > LOG_RING_CAP - queue.len)
		queue.is_full = true;
	if (queue.state == RUNNING && queue.is_full) {
		lose(stream_of(fd));
	} else if (queue.state == RUNNING) {
		copy_in(head, sizeof(head));
		copy_in(line, len);
		pthread_cond_signal(&queue.wake);
	}
	pthread_mutex_unlock(&queue.mutex);
	return is_taken;
}

/* Take the oldest record. Under the mutex. */
static void pop_job(struct job *job)
{
	unsigned char head[HEAD_LEN];

	copy_out(head, sizeof(head));
	job->fd = head[0];
	job->len = (size_t)head[1] << 8 | head[2];
	INVARIANT(job->len <= LOG_LINE_CAP);
	copy_out(job->text + 1, job->len);
}

/* Find lost lines to report. Under the mutex, with an empty ring. A stream that
 * refused a line is not tried again before it gets another one. */
static bool find_loss(struct job *job)
{
	for (int i = 0; i < STREAMS; i++) {
		const struct stream *stream = &queue.streams[i];

		if (!stream->n_lost || stream->is_failing)
			continue;
		job->fd = STDOUT_FILENO + i;
		job->n_told = stream->n_lost;
		return true;
	}
	return false;
}

/* Find something to write. Under the mutex. Return: false if there is nothing. */
static bool find_job(struct job *job)
{
	const struct stream *stream;

	job->len = 0;
	job->n_told = 0;
	if (!queue.len) {
		queue.is_full = false;
		return find_loss(job);
	}
	pop_job(job);
	stream = stream_of(job->fd);
	if (stream->is_failing)
		job->n_told = stream->n_lost;
	return true;
}

/* ---------------------------------------------------------- the writing */

/* Wait for the reader of a stream on which somebody has set O_NONBLOCK. */
static void wait_until_writable(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };

	poll(&pfd, 1, -1);
	/* poll(2) may call a terminal writable although it has no room for the
	 * rest of the line. So do not try again at once. */
	poll(NULL, 0, PAUSE_MS);
}

/* Write a line, however long that takes. @text: a free byte, then @len bytes of
 * the line. Return: true if all bytes were written. */
static bool write_line(int fd, char *text, size_t len)
{
	struct stream *stream = stream_of(fd);
	const char *data = text + 1;

	/* The last line was written in part, for example because the disk was
	 * full: end it first. */
	if (stream->is_torn) {
		*text = '\n';
		data = text;
		len++;
	}
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, data + done, len - done);

		if (n >= 0) {
			done += (size_t)n;
			stream->is_torn = done < len;
		} else if (errno == EAGAIN) {
			wait_until_writable(fd);
		} else if (errno != EINTR) {
			return false;
		}
	}
	return true;
}

static bool tell(const struct job *job)
{
	char text[1 + LOG_TELL_CAP];

	return write_line(job->fd, text,
			  queue.teller(text + 1, job->fd, job->n_told));
}

/* Do a job without the mutex, then note under the mutex whether it worked. */
static void do_job(struct job *job)
{
	struct stream *stream = stream_of(job->fd);
	bool is_told, is_taken;

	queue.busy_since = now_monotonic();
	pthread_mutex_unlock(&queue.mutex);
	is_told = !job->n_told || tell(job);
	is_taken = is_told &&
		   (!job->len || write_line(job->fd, job->text, job->len));
	pthread_mutex_lock(&queue.mutex);
	queue.busy_since = 0;
	if (is_told)
		stream->n_lost -= job->n_told;
	if (!is_taken && job->len)
		lose(stream);
	stream->is_failing = !is_taken;
}

static void *log_main(void *arg)
{
	static const char name[] = "log";
	struct job job;

	prctl(PR_SET_NAME, name);
	if (queue.initial)
		queue.initial(name);
	pthread_mutex_lock(&queue.mutex);
	queue.has_begun = true;
	pthread_cond_broadcast(&queue.settled);
	for (;;) {
		if (find_job(&job))
			do_job(&job);
		else if (queue.state == STOPPING)
			break;
		else
			pthread_cond_wait(&queue.wake, &queue.mutex);
	}
	queue.state = ENDED;
	pthread_cond_broadcast(&queue.settled);
	pthread_mutex_unlock(&queue.mutex);
	return arg;
}

/* ------------------------------------------------------------- its life */

static void init_settled(void)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&queue.settled, &attr);
	pthread_condattr_destroy(&attr);
}

int log_thread_start(void (*first)(const char *name), log_thread_teller teller)
{
	int err = 0;

	pthread_mutex_lock(&queue.mutex);
	if (queue.state == RUNNING || queue.state == STOPPING)
		err = -EBUSY;
	if (err == 0) {
		init_settled();
		queue.initial = first;
		queue.teller = teller;
		queue.has_begun = queue.is_full = false;
		queue.first = queue.len = 0;
		queue.n_lost = queue.busy_since = 0;
		memset(queue.streams, 0, sizeof(queue.streams));
		err = spawn_thread(&queue.thread, log_main, NULL);
	}
	while (err == 0 && !queue.has_begun)
		pthread_cond_wait(&queue.settled, &queue.mutex);
	if (err == 0)
		queue.state = RUNNING;
	pthread_mutex_unlock(&queue.mutex);
	return err;
}

void log_thread_get_state(struct log_thread_state *state)
{
	uint64_t now = now_monotonic();

	pthread_mutex_lock(&queue.mutex);
	*state = (struct log_thread_state){ .n_lost = queue.n_lost };
	if (queue.busy_since && now > queue.busy_since)
		state->blocked_ns = now - queue.busy_since;
	pthread_mutex_unlock(&queue.mutex);
}

static struct timespec deadline(void)
{
	uint64_t at = now_monotonic() + LOG_LINGER_MS * NSEC_PER_MSEC;

	return (struct timespec){ .tv_sec = (time_t)(at / NSEC_PER_SEC),
				  .tv_nsec = (long)(at % NSEC_PER_SEC) };
}

void log_thread_stop(void)
{
	const struct timespec end = deadline();
	bool is_first;
	int err = 0;

	pthread_mutex_lock(&queue.mutex);
	is_first = queue.state == RUNNING;
	if (is_first)
		queue.state = STOPPING;
	pthread_cond_signal(&queue.wake);
	while (queue.state == STOPPING && !err)
		err = pthread_cond_timedwait(&queue.settled, &queue.mutex,
					     &end);
	/* Join the thread only if it has ended: it may still wait for its
	 * reader. */
	if (is_first && queue.state == ENDED)
		pthread_join(queue.thread, NULL);
	else if (is_first)
		pthread_detach(queue.thread);
	pthread_mutex_unlock(&queue.mutex);
}
