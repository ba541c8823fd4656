/* SPDX-License-Identifier: MIT */
/*
 * The signals that end the program, as events of the loop. SIGINT and SIGTERM
 * do always. SIGHUP does in the foreground, where it says that the terminal has
 * gone (unless nohup(1) has it ignored), and means nothing to a daemon.
 */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

#include "engine/loop.h"

/**
 * struct signals - see above
 * @set:	those that are waited for
 * @loop:	borrowed
 * @watch:	signalfd(2)
 */
struct signals {
	sigset_t set;
	struct loop *loop;
	struct loop_watch watch;
};

/**
 * signals_init() - keep signals until they are waited for
 * @signals:	caller's storage
 * @is_daemon:	ignore SIGHUP
 *
 * Before other threads are made: they inherit what is blocked.
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

void signals_close(struct signals *signals);

#endif /* CLI_SIGNALS_H */
