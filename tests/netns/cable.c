/* SPDX-License-Identifier: MIT */
/*
 * A cable between two TAP devices. It delays, loses and reorders frames, and has
 * a rate and a queue. It is for kernels that have no netem.
 *
 * usage: cable FD FD KEY=VALUE...
 *
 * FD: the two TAP devices, without a header before each frame. The keys: delay,
 * in microseconds, both ways. The others are for frames from the first device
 * to the second only: loss, in percent; rate, in Mbit/s; queue, the number of
 * full frames that may wait for the rate; reorder, the percentage of frames that
 * are held back; extra, the longest time of holding back, in microseconds; seed,
 * of the random numbers. A key that is not given is 0; a rate of 0 is no limit.
 * The program ends with SIGTERM.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/now.h"
#include "tests/lib/check.h"

enum {
	FRAMES = 8192,	  /* that may be on their way each way. A choice. */
	FRAME_CAP = 2048, /* bytes: more than a frame of MTU 1,500 has */
	TURN = 64,	  /* frames read before others are written. A choice. */
	OVERHEAD = 24,	  /* bytes of Ethernet around what a TAP device sees */
	FULL_FRAME = 1514,
};

/* What a direction does to frames; times in nanoseconds, shares from 0 to 1. */
struct effects {
	double loss, reorder;
	uint64_t delay, extra;
	double ns_per_byte;
	unsigned int queue;
};

struct frame {
	uint64_t due;
	size_t len;
	uint8_t data[FRAME_CAP];
};

/* A direction. @order: the frames on their way, the first due one first. */
struct direction {
	int in, out;
	struct effects effects;
	struct frame *frames;
	uint16_t order[FRAMES];
	uint16_t unused[FRAMES];
	unsigned int head, n, n_unused;
	uint64_t free_at; /* when the rate lets the next frame go */
};

static struct random rng = { .state = 1 };

static bool happens(double share)
{
	return (double)(random_next(&rng) >> 11) * 0x1p-53 < share;
}

static void init(struct direction *d, int in, int out)
{
	d->in = in;
	d->out = out;
	d->frames = calloc(FRAMES, sizeof(*d->frames));
	assert(d->frames);
	for (d->n_unused = 0; d->n_unused < FRAMES; d->n_unused++)
		d->unused[d->n_unused] = (uint16_t)d->n_unused;
}

/* Insert a frame in the order in which frames are due. */
static void put_in_order(struct direction *d, uint16_t frame)
{
	unsigned int i = d->n++;

	for (; i; i--) {
		uint16_t before = d->order[(d->head + i - 1) % FRAMES];

		if (d->frames[before].due <= d->frames[frame].due)
			break;
		d->order[(d->head + i) % FRAMES] = before;
	}
	d->order[(d->head + i) % FRAMES] = frame;
}

/* Decide on a frame. Return: whether it passes; if so, @f->due is set. */
static bool pass(struct direction *d, struct frame *f, uint64_t now)
{
	const struct effects *n = &d->effects;

	if (happens(n->loss))
		return false;
	if (d->free_at < now)
		d->free_at = now;
	if ((double)(d->free_at - now) >
	    n->queue * (FULL_FRAME + OVERHEAD) * n->ns_per_byte)
		return false;
	d->free_at += (uint64_t)((double)(f->len + OVERHEAD) * n->ns_per_byte);
	f->due = d->free_at + n->delay;
	if (happens(n->reorder))
		f->due += random_below(&rng, (size_t)n->extra + 1);
	return true;
}

/* Read the frames that wait in the device. */
static void take(struct direction *d)
{
	for (unsigned int i = 0; i < TURN && d->n_unused; i++) {
		uint16_t index = d->unused[d->n_unused - 1];
		struct frame *f = &d->frames[index];
		ssize_t len = read(d->in, f->data, sizeof(f->data));

		/*
		 * A read also fails while the device is down, or if no frame
		 * waits.
		 */
		if (len <= 0)
			return;
		f->len = (size_t)len;
		if (!pass(d, f, now_monotonic()))
			continue;
		d->n_unused--;
		put_in_order(d, index);
	}
}

/* Write the frames that are due. Return: when the next one is due. */
static uint64_t give(struct direction *d)
{
	while (d->n) {
		uint16_t index = d->order[d->head];
		struct frame *f = &d->frames[index];

		if (f->due > now_monotonic())
			return f->due;
		/* If the device does not take a frame, the frame is lost. */
		if (write(d->out, f->data, f->len) < 0)
			assert(errno == EIO || errno == EAGAIN);
		d->head = (d->head + 1) % FRAMES;
		d->n--;
		d->unused[d->n_unused++] = index;
	}
	return UINT64_MAX;
}

static void read_key(struct effects *there, struct effects *back, char *arg)
{
	char *value = strchr(arg, '=');

	assert(value);
	*value++ = '\0';
	double x = strtod(value, NULL);

	if (!strcmp(arg, "delay"))
		there->delay = back->delay = (uint64_t)(x * 1e3);
	else if (!strcmp(arg, "loss"))
		there->loss = x / 100;
	else if (!strcmp(arg, "rate"))
		there->ns_per_byte = x > 0 ? 8e3 / x : 0;
	else if (!strcmp(arg, "queue"))
		there->queue = (unsigned int)x;
	else if (!strcmp(arg, "reorder"))
		there->reorder = x / 100;
	else if (!strcmp(arg, "extra"))
		there->extra = (uint64_t)(x * 1e3);
	else if (!strcmp(arg, "seed"))
		rng.state = (uint64_t)x;
	else {
		fprintf(stderr, "cable: unknown word: %s\n", arg);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	static struct direction there, back;

	assert(argc >= 3);
	init(&there, atoi(argv[1]), atoi(argv[2]));
	init(&back, atoi(argv[2]), atoi(argv[1]));
	for (int i = 3; i < argc; i++)
		read_key(&there.effects, &back.effects, argv[i]);
	for (;;) {
		struct pollfd fds[2] = {
			{ .fd = there.in, .events = POLLIN },
			{ .fd = back.in, .events = POLLIN },
		};
		uint64_t next = give(&there), other = give(&back), now;
		struct timespec wait = { .tv_sec = 1 };

		if (other < next)
			next = other;
		now = now_monotonic();
		if (next <= now)
			wait.tv_sec = 0;
		else if (next - now < NSEC_PER_SEC)
			wait = (struct timespec){ .tv_nsec =
							  (long)(next - now) };
		ppoll(fds, 2, &wait, NULL);
		take(&there);
		take(&back);
	}
}
