/* SPDX-License-Identifier: MIT */
/*
 * The process keeps only what it needs, in three stages. docs/security.md says
 * what for.
 *
 *  1. isolate_init(): everything is still allowed. The user is looked up, so
 *     that a wrong name is known before anything was made.
 *  2. isolate_restrict(): all descriptors are open, the main thread is alone.
 *     The user changes; the main thread keeps few capabilities; files are out
 *     of reach, and with them for all threads that are made from now on. Each
 *     of those calls isolate_thread() first, which leaves it no capability, and
 *     only the system calls on its own list: any other ends the process.
 *  3. isolate_seal(): all threads are there. It is checked that each of them
 *     has called isolate_thread(), and that none has a capability but this one,
 *     which is left the calls of its list. What comes from outside is handled
 *     after this.
 *
 * A layer that the system refuses as a whole (an old kernel, a container's own
 * filter) is left out, and named in isolate.missing. What fails in the middle
 * is an error, and so is a user that was asked for by name.
 *
 * Under a sanitizer files stay in reach and calls are not filtered: the
 * sanitizers read /proc, start programs and make threads when they report.
 *
 * Main thread, but for isolate_thread().
 */
#ifndef ISOLATE_ISOLATE_H
#define ISOLATE_ISOLATE_H

#include <stdbool.h>
#include <stdint.h>

#include "isolate/user.h"

enum {
	/* Bytes of the texts. */
	ISOLATE_TEXT_CAP = 256,
};

/**
 * struct isolate_config - how
 * @user:	the user to become if started as root, which may be root itself;
 *		NULL: USER_DEFAULT, if there is one
 * @is_off:	do nothing at all
 */
struct isolate_config {
	const char *user;
	bool is_off;
};

/**
 * struct isolate - see above
 * @config:	its text is borrowed
 * @user:	that @config means
 * @task_dir:	/proc/self/task, between the stages; -1: not to be had
 * @keep:	capabilities of the main thread
 * @landlock:	version that is in force, or 0
 * @missing:	what was left out, and why; empty: nothing
 * @why:	of a failure
 */
struct isolate {
	struct isolate_config config;
	struct user user;
	int task_dir;
	uint64_t keep;
	int landlock;
	char missing[ISOLATE_TEXT_CAP];
	char why[ISOLATE_TEXT_CAP];
};

/**
 * isolate_init() - stage 1
 * @isolate:	caller's storage
 * @config:	copied
 *
 * Return: 0; -errno, and isolate.why says why.
 */
int isolate_init(struct isolate *isolate, const struct isolate_config *config);

/**
 * isolate_restrict() - stage 2
 * @isolate:	isolate
 * @directory:	where a file will have to be removed; NULL: nowhere
 *
 * Return: 0; -errno, and isolate.why says why: end the process.
 */
int isolate_restrict(struct isolate *isolate, const char *directory);

/**
 * isolate_thread() - leave the calling thread only the rights that it needs
 * @name:	of a list of calls in calls.c
 *
 * Each thread but the main one calls it once, before it handles anything.
 */
void isolate_thread(const char *name);

/**
 * isolate_seal() - stage 3
 * @isolate:	isolate
 *
 * Return: 0; -errno, and isolate.why says why: end the process.
 */
int isolate_seal(struct isolate *isolate);

/* isolate_has_filter() - was a filter of system calls built in? Any thread. */
bool isolate_has_filter(void);

#endif /* ISOLATE_ISOLATE_H */
