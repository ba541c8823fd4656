/* SPDX-License-Identifier: MIT */
/*
 * Messages to the service manager that has started this process: datagrams to the
 * socket that NOTIFY_SOCKET names. sd_notify(3) describes them; any program can be the
 * receiver, and no library is needed.
 *
 * The messages are: the interface can be configured (READY=1, and MAINPID= if the
 * process became a daemon), what the daemon is doing (STATUS=, if it has changed, at
 * most once a second), a configuration was applied (RELOADING=1), all threads make
 * progress (WATCHDOG=1), the daemon ends (STOPPING=1), or it could not start (STATUS= and
 * ERRNO=).
 *
 * The socket is opened and connected before the process gives up its rights. A
 * connected socket needs neither a file nor a name later.
 *
 * Without NOTIFY_SOCKET no message is sent. With a watchdog's time the owner is asked all
 * the same, at each period, which thread makes no progress. Main thread.
 */
#ifndef CLI_NOTIFY_H
#define CLI_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/loop.h"

enum {
	/* Bytes of the text of STATUS=. A choice: a longer text is cut off. */
	NOTIFY_STATUS_CAP = 192,
	/* Bytes of the name of a thread, with the final 0. A choice. */
	NOTIFY_NAME_CAP = 16,
};

/**
 * struct notify_ops - what the messages tell
 * @print_status: print what the daemon is doing, without a line's end, into @cap bytes
 * @find_stalled: return the name of a thread that makes no progress, valid for the
 *		moment; NULL: there is none
 *
 * @arg is that of notify_start().
 */
struct notify_ops {
	void (*print_status)(void *arg, char *buf, size_t cap);
	const char *(*find_stalled)(void *arg);
};

/**
 * struct notify - a connection to the service manager
 * @fd:		connected socket; -1: there is no service manager
 * @has_store:	it keeps descriptors over a restart; the owner may set this
 * @period_ns:	time from one WATCHDOG=1 to the next; 0: none is wanted. It counts
 *		without a service manager, too.
 * @loop:	borrowed
 * @ops:	borrowed
 * @arg:	for @ops
 * @main_pid:	what MAINPID= is to say; 0: nothing
 * @is_ready:	notify_ready() was called
 * @owes_ready:	READY=1 could not be sent yet
 * @reloaded_at: when the last configuration began to be applied that was not told yet,
 *		of now_monotonic(); 0: there is none
 * @stalled:	name of the thread that makes no progress; empty: none was found
 * @status:	text of the last STATUS=
 * @status_at:	when it, or RELOADING=1, was sent, of now_monotonic()
 * @watchdog:	when to send the next WATCHDOG=1
 * @later:	when to send what could not be sent yet
 */
struct notify {
	int fd;
	bool has_store;
	uint64_t period_ns;
	struct loop *loop;
	const struct notify_ops *ops;
	void *arg;
	pid_t main_pid;
	bool is_ready;
	bool owes_ready;
	uint64_t reloaded_at;
	char stalled[NOTIFY_NAME_CAP];
	char status[NOTIFY_STATUS_CAP];
	uint64_t status_at;
	struct loop_timer watchdog;
	struct loop_timer later;
};

/**
 * notify_open() - connect to the service manager
 * @n:		caller's storage
 * @address:	path, or "@" and an abstract name; NULL: there is no service manager
 * @watchdog_us: the time without WATCHDOG=1 after which the service manager ends this
 *		process, in microseconds; 0: it does not
 *
 * Call it before the process becomes a daemon, and before it gives up its rights. A
 * child of fork(2) may go on to use @n.
 *
 * Return: 0; -errno: no connection, as without a service manager.
 */
int notify_open(struct notify *n, const char *address, uint64_t watchdog_us);

/**
 * notify_start() - prepare notify_ready()
 * @n:		notify
 * @loop:	borrowed until notify_close()
 * @ops:	borrowed until notify_close()
 * @arg:	for @ops
 */
void notify_start(struct notify *n, struct loop *loop,
		  const struct notify_ops *ops, void *arg);

/**
 * notify_ready() - the interface can be configured
 * @n:		notify that was started
 * @main_pid:	the daemon's process id; 0: the service manager has started this
 *		process itself, and knows it
 *
 * From now on the status and the watchdog's messages are sent.
 */
void notify_ready(struct notify *n, pid_t main_pid);

/**
 * notify_go_on() - all threads make progress again
 * @n:		notify
 *
 * Sends WATCHDOG=1 at once if the last one was left out, so that the service manager
 * does not wait longer than it must.
 */
void notify_go_on(struct notify *n);

/* notify_change() - what the daemon is doing may have changed */
void notify_change(struct notify *n);

/**
 * notify_reloaded() - a configuration was applied
 * @n:		notify
 * @begun:	when that began, of now_monotonic()
 *
 * Begin and end are told in one message, after both, at most once a second. So the
 * service manager never waits for an end.
 */
void notify_reloaded(struct notify *n, uint64_t begun);

/**
 * notify_failure() - the daemon could not start
 * @n:		notify
 * @why:	one line
 * @err:	-errno; 0: it was something else
 */
void notify_failure(const struct notify *n, const char *why, int err);

/**
 * notify_store() - have the service manager keep a descriptor over a restart
 * @n:		notify
 * @name:	its name
 * @fd:		stays the caller's; -1: it is to forget the descriptor of this name
 *
 * Return: 0, also if it keeps none; -EAGAIN: its queue is full; -errno.
 */
int notify_store(const struct notify *n, const char *name, int fd);

/* notify_stopping() - the daemon ends; the loop does not run any more */
void notify_stopping(struct notify *n);

/* notify_close() - close the connection; the timers are taken out of the loop */
void notify_close(struct notify *n);

#endif /* CLI_NOTIFY_H */
