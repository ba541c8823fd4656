/* SPDX-License-Identifier: MIT */
/*
 * The event loop of the control thread: descriptors and what to do when they
 * are ready. Everything here is for the control thread.
 */
#ifndef ENGINE_LOOP_H
#define ENGINE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop_watch;

/**
 * struct loop - see above
 * @epoll_fd:	the descriptors
 * @resting:	first of the watches that rest, see loop_fail(); NULL: none
 * @is_stopped:	loop_run() returns
 * @status:	what it returns then
 */
struct loop {
	int epoll_fd;
	struct loop_watch *resting;
	bool is_stopped;
	int status;
};

/**
 * struct loop_watch - a descriptor that is watched
 * @fd:		[I] the descriptor; the owner closes it after loop_remove()
 * @ready:	[I] called with the EPOLL* events that are there. It may remove
 *		and free any watch.
 * @arg:	[I] for @ready
 * @next:	private to the loop: the next one of loop.resting
 * @events:	private: the events that are watched for
 * @err:	private: the errno that loop_fail() logged last; 0: none
 * @pause_ns:	private: length of this rest, or of the last one
 * @until_ns:	private: end of this rest, or of the last one
 * @is_resting:	the loop's
 */
struct loop_watch {
	int fd;
	void (*ready)(struct loop_watch *watch, uint32_t events);
	void *arg;
	struct loop_watch *next;
	uint32_t events;
	int err;
	uint64_t pause_ns;
	uint64_t until_ns;
	bool is_resting;
};

/* loop_init() - an empty loop. Return: 0; -errno. */
int loop_init(struct loop *loop);

void loop_deinit(struct loop *loop);

/**
 * loop_add() - watch a descriptor
 * @loop:	loop
 * @watch:	filled by the caller; borrowed until loop_remove()
 * @events:	EPOLLIN, EPOLLOUT; level-triggered
 *
 * Return: 0; -errno.
 */
int loop_add(struct loop *loop, struct loop_watch *watch, uint32_t events);

/* loop_modify() - watch it for other events. Return: 0; -errno. */
int loop_modify(struct loop *loop, struct loop_watch *watch, uint32_t events);

void loop_remove(struct loop *loop, struct loop_watch *watch);

/**
 * loop_fail() - a descriptor is ready, but using it fails: let it rest
 * @loop:	loop
 * @watch:	the descriptor's watch; to be called by its @ready
 * @what:	for the log
 * @err:	-errno
 *
 * The descriptor stays ready, so without a rest the loop would call @ready
 * again at once, for ever. The rest is 10 ms. If the descriptor fails again
 * within two seconds, the next rest is twice as long, up to one second. The log
 * gets a line for the first failure, and when the errno changes.
 */
void loop_fail(struct loop *loop, struct loop_watch *watch, const char *what,
	       int err);

/**
 * loop_run() - wait and call, until loop_stop()
 * @loop:	loop
 *
 * Return: the status given to loop_stop(); -errno of epoll_wait(2).
 */
int loop_run(struct loop *loop);

/* loop_stop() - have loop_run() return; the first call's status counts */
void loop_stop(struct loop *loop, int status);

#endif /* ENGINE_LOOP_H */
