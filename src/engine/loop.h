/* SPDX-License-Identifier: MIT */
/*
 * The event loop of the control thread: it watches descriptors, and calls a
 * function for each that is ready, or whose time has come. Everything here is for the
 * control thread.
 */
#ifndef ENGINE_LOOP_H
#define ENGINE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop_watch;
struct loop_timer;

/**
 * struct loop - an event loop
 * @epoll_fd:	watches all descriptors that do not rest
 * @resting:	list of the watches that rest, see loop_fail(); NULL: empty
 * @timers:	list of the timers that are set; NULL: empty
 * @is_stopped:	loop_run() is to return
 * @status:	the value that loop_run() returns then
 */
struct loop {
	int epoll_fd;
	struct loop_watch *resting;
	struct loop_timer *timers;
	bool is_stopped;
	int status;
};

/**
 * struct loop_watch - a descriptor that is watched
 * @fd:		the descriptor; the owner closes it after loop_remove()
 * @ready:	called with the EPOLL* events that epoll reports. It may remove
 *		and free any watch.
 * @arg:	for @ready
 * @next:	private: the next watch in loop.resting
 * @events:	private: the EPOLL* events that are watched for
 * @err:	private: the -errno that loop_fail() logged last; 0: it logged
 *		nothing yet
 * @pause_ns:	private: length of this rest, or of the last one
 * @until_ns:	private: end of this rest, or of the last one
 * @is_resting:	private: it is in loop.resting, and not in the epoll
 *
 * The owner sets @fd, @ready and @arg before loop_add(), and does not change
 * them until loop_remove(). Members marked "private" are the loop's.
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

/**
 * struct loop_timer - a function that is called once, at a point of time
 * @ready:	called at or after that point; it may set any timer
 * @arg:	for @ready
 * @next:	private: the next timer in loop.timers
 * @at_ns:	private: the point, of now_monotonic()
 * @is_set:	private: it is in loop.timers
 *
 * The owner sets @ready and @arg, and @is_set to false, before loop_set_timer().
 */
struct loop_timer {
	void (*ready)(struct loop_timer *timer);
	void *arg;
	struct loop_timer *next;
	uint64_t at_ns;
	bool is_set;
};

/* loop_init() - a loop without watches; caller's storage. Return: 0; -errno. */
int loop_init(struct loop *loop);

/* loop_deinit() - close the epoll; all watches were removed */
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

/* loop_modify() - watch a descriptor for other events. Return: 0; -errno. */
int loop_modify(struct loop *loop, struct loop_watch *watch, uint32_t events);

/* loop_remove() - do not watch this descriptor any more. @ready is not called
 * after this. The watch may be resting. */
void loop_remove(struct loop *loop, struct loop_watch *watch);

/**
 * loop_fail() - a descriptor is ready, but using it fails: let it rest
 * @loop:	loop
 * @watch:	the descriptor's watch, whose @ready calls this
 * @what:	begins the line in the log
 * @err:	the -errno
 *
 * The descriptor stays ready, so without a rest the loop would call @ready
 * again at once, for ever. The rest is 10 ms. If the descriptor fails again
 * within two seconds, the next rest is twice as long, up to one second. The log
 * gets a line for the first failure, and when the errno changes.
 */
void loop_fail(struct loop *loop, struct loop_watch *watch, const char *what,
	       int err);

/**
 * loop_set_timer() - have a function called at a point of time
 * @loop:	loop
 * @timer:	borrowed until it is called or loop_clear_timer(). A timer that is set
 *		gets a new point.
 * @at_ns:	the point, of now_monotonic()
 *
 * A timer costs no system call: it shortens the wait of the loop.
 */
void loop_set_timer(struct loop *loop, struct loop_timer *timer,
		    uint64_t at_ns);

/* loop_clear_timer() - do not call this timer any more; it may be not set */
void loop_clear_timer(struct loop *loop, struct loop_timer *timer);

/**
 * loop_run() - wait for events and call @ready, until loop_stop()
 * @loop:	loop
 *
 * Return: the status given to loop_stop(); -errno: epoll_wait(2) fails again
 * and again.
 */
int loop_run(struct loop *loop);

/* loop_stop() - have loop_run() return @status; later calls change nothing */
void loop_stop(struct loop *loop, int status);

#endif /* ENGINE_LOOP_H */
