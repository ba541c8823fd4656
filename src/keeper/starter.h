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

enum {
	/* Engines at once: the one that serves, and its successor. Each has a seat, a
	 * number below this. */
	STARTER_SEATS = 2,
	/* The exit status of an engine whose successor has the tunnel. */
	STARTER_STATUS_LEFT = 3,
};

/**
 * enum starter_program - what an engine is made of
 * @STARTER_SAME:	the program that this process was made of, or the one of
 *			starter_adopt_program()
 * @STARTER_PATH:	the file that has the path of that program now
 * @STARTER_FILE:	a file that is given
 */
enum starter_program {
	STARTER_SAME,
	STARTER_PATH,
	STARTER_FILE,
};

/**
 * struct starter_report - a message of the starter
 * @event:	enum starter_event
 * @status:	see there
 * @seat:	of the engine that it is about
 * @text:	see there
 */
struct starter_report {
	unsigned int event;
	int status;
	unsigned int seat;
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
 * @seat:	its seat, which no running engine has
 * @program:	what it is made of
 * @fds:	its descriptors ENGINE_REQUESTS_FD and ENGINE_NEWS_FD, and behind them the
 *		file of STARTER_FILE; they stay the caller's
 *
 * Return: 0; -EPIPE: the starter is gone; -errno.
 */
int starter_start_engine(struct starter *starter, unsigned int seat,
			 enum starter_program program, const int *fds);

/* starter_adopt_program() - later engines of STARTER_SAME are made of the program of
 * the last engine of STARTER_PATH or STARTER_FILE */
void starter_adopt_program(struct starter *starter);

/* starter_kill_engine() - have the engine in a seat killed by SIGKILL */
void starter_kill_engine(struct starter *starter, unsigned int seat);

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
