/* SPDX-License-Identifier: MIT */
/*
 * The process that starts engines. The keeper forks it before it opens anything, because
 * its own rights and filter would be inherited by an engine, and because an engine that
 * were only forked would have the same addresses as the one before. The starter has the
 * engine's user, no capability and no descriptor of the network. On the keeper's word it
 * forks, and executes the program anew.
 *
 * Main thread of the keeper, apart from starter_fork(), which in the new process does not
 * return.
 */
#ifndef KEEPER_STARTER_H
#define KEEPER_STARTER_H

#include <stdbool.h>
#include <sys/types.h>

#include "engine/loop.h"
#include "isolate/isolate.h"

/* The begin of the command line of an engine. A program that is called by this name
 * is an engine. */
#define STARTER_ENGINE_NAME "wiregather: engine"

/* The names of the processes in the kernel (PR_SET_NAME). */
#define STARTER_COMM	    "wg-starter"
#define STARTER_ENGINE_COMM "wg-engine"

/**
 * enum starter_event - what the starter tells
 * @STARTER_READY:	it has given up its rights, or could not: @status is 0 or -errno,
 *			and @text says what is missing, or why
 * @STARTER_FAILED:	an engine could not be started: @status is -errno
 * @STARTER_ENDED:	the engine has ended: @status is that of waitpid(2)
 */
enum starter_event {
	STARTER_READY,
	STARTER_FAILED,
	STARTER_ENDED,
};

/**
 * struct starter_report - a message of the starter
 * @event:	enum starter_event
 * @status:	see there
 * @text:	see there
 */
struct starter_report {
	unsigned int event;
	int status;
	char text[ISOLATE_TEXT_CAP];
};

/**
 * struct starter - the keeper's end
 * @fd:		connection; -1: the starter is gone
 * @pid:	the starter
 */
struct starter {
	int fd;
	pid_t pid;
};

/**
 * starter_fork() - make the starter
 * @starter:	filled
 * @isolate:	the user that the starter becomes; isolate_init() was called
 * @argv:	as given to main()
 *
 * Call it while the process has one thread and no descriptor that an engine must not
 * have.
 *
 * Return: 0; -errno.
 */
int starter_fork(struct starter *starter, struct isolate *isolate, char **argv);

/**
 * starter_start_engine() - have an engine started
 * @starter:	starter
 * @fds:	its descriptors ENGINE_REQUESTS_FD and ENGINE_NEWS_FD; stay the caller's
 *
 * Return: 0; -EPIPE: the starter is gone; -errno.
 */
int starter_start_engine(struct starter *starter, const int fds[2]);

/* starter_kill_engine() - have the engine killed by SIGKILL */
void starter_kill_engine(struct starter *starter);

/**
 * starter_receive() - take a message of the starter
 * @starter:	starter
 * @report:	filled on success
 * @waits:	wait for a message
 *
 * Return: 0; -EAGAIN: there is none; -EPIPE: the starter is gone; -errno.
 */
int starter_receive(struct starter *starter, struct starter_report *report,
		    bool waits);

/* starter_close() - let the starter go: it kills the engine, and ends. Waits for that
 * end, for some seconds at most. */
void starter_close(struct starter *starter);

#endif /* KEEPER_STARTER_H */
