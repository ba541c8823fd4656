/* SPDX-License-Identifier: MIT */
/*
 * The signals that end the program, as events of the loop. SIGINT and SIGTERM
 * always end it. SIGHUP says that the terminal is gone. It ends the program in
 * the foreground, unless nohup(1) has made it ignored. A daemon ignores it.
 *
 * Main thread.
 */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

#include "engine/loop.h"

/**
 * struct signals - the signals that a loop waits for
 * @set:	the signals
 * @loop:	borrowed
 * @watch:	signalfd(2)
 * @ended:	called when a signal comes, in place of stopping the loop; NULL: stop it
 * @arg:	for @ended
 */
struct signals {
	sigset_t set;
	struct loop *loop;
	struct loop_watch watch;
	void (*ended)(void *arg);
	void *arg;
};

/**
 * signals_init() - block the signals until signals_open()
 * @signals:	caller's storage
 * @is_daemon:	ignore SIGHUP
 *
 * Call this before other threads are made: they inherit the blocked signals.
 */
void signals_init(struct signals *signals, bool is_daemon);

/**
 * signals_open() - stop a loop when a signal comes
 * @signals:	signals
 * @loop:	borrowed until signals_close(); is stopped with status 0
 *
 * Return: 0; -errno.
 */
int signals_open(struct signals *signals, struct loop *loop);

/* signals_close() - stop waiting for signals */
void signals_close(struct signals *signals);

#endif /* CLI_SIGNALS_H */
