/* SPDX-License-Identifier: MIT */
/*
 * The process gives up all rights that it does not need, in three stages.
 * docs/security.md says which rights it keeps, and what for.
 *
 *  1. isolate_init(): everything is still allowed. The user is looked up, so
 *     that a wrong name is known before anything is made.
 *  2. isolate_restrict(): all descriptors are open, and the main thread is the
 *     only one. The process becomes another user, without capabilities. Files
 *     are out of reach, also for all threads that are made from now on. Each of
 *     these threads calls isolate_thread() first. It may then make only the
 *     system calls on its own list: any other call ends the process.
 *  3. isolate_seal(): all threads exist. Each of them must have called
 *     isolate_thread(), and none may have a capability.
 *     The main thread may then make only the calls on its list. Input from
 *     outside is handled only after this.
 *
 * An old kernel, or a container's own filter, may refuse a layer as a whole.
 * The layer is then left out, and named in isolate.missing. A layer that fails
 * in the middle is an error. A failure to become a user that was named is an
 * error, too.
 *
 * Under a sanitizer files stay in reach and calls are not filtered: the
 * sanitizers read /proc, start programs and make threads when they report.
 *
 * That is how an engine does it. Before, isolate_starter() has given up its user, all
 * capabilities, and most files and system calls, in the process that started it. The
 * keeper does all of it at once, by isolate_keeper().
 *
 * Main thread, except for isolate_thread().
 */
#ifndef ISOLATE_ISOLATE_H
#define ISOLATE_ISOLATE_H

#include <stdbool.h>
#include <stdint.h>

#include "isolate/user.h"

enum {
	/* Bytes of @missing and @why. A choice: a longer text is cut off. */
	ISOLATE_TEXT_CAP = 256,
};

/**
 * struct isolate_config - settings
 * @user:	the user to become if started as root, which may be root itself;
 *		NULL: USER_DEFAULT, if there is one
 * @keeper_user: the user that the keeper becomes; NULL: it stays what it is
 * @leaves_core: engines may leave core files. So they stay dumpable, and they and the
 *		starter have no Landlock: the kernel writes the file with the rights of the
 *		process.
 * @is_off:	do nothing at all
 * @is_dropped:	the process has its user already, and no capability
 *		(isolate_starter())
 */
struct isolate_config {
	const char *user;
	const char *keeper_user;
	bool leaves_core;
	bool is_off;
	bool is_dropped;
};

/**
 * struct isolate - the state of the isolation
 * @config:	its text is borrowed
 * @user:	the user that @config names
 * @keeper_user: the user that config.keeper_user names, if it names one
 * @task_dir:	descriptor of /proc/self/task, between the stages; -1: there is
 *		none
 * @keep:	capabilities of the keeper
 * @landlock:	version of Landlock that is in force, or 0
 * @missing:	the layers that were left out, and why; empty: none
 * @why:	why a stage has failed
 */
struct isolate {
	struct isolate_config config;
	struct user user;
	struct user keeper_user;
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
 *
 * Return: 0; -errno, and isolate.why says why: end the process.
 */
int isolate_restrict(struct isolate *isolate);

/**
 * isolate_starter() - a process that will execute the program becomes the user, and gives
 * up all capabilities, and what an engine does not need to load and isolate itself
 * @isolate:	isolate, after stage 1
 * @program_fd:	the program's file
 *
 * A program that is executed inherits all of that. Layers that are missing for each engine
 * are not in isolate.missing: the engine tells of them.
 *
 * Call it in a process with one thread.
 *
 * Return: 0, and isolate.missing says what is missing; -errno, and isolate.why says why:
 * end the process.
 */
int isolate_starter(struct isolate *isolate, int program_fd);

/**
 * isolate_keeper() - the keeper gives up what it does not need: all of it at once
 * @isolate:	isolate, after stage 1
 * @directory:	the directory in which a file will be removed at the end; NULL:
 *		none
 *
 * Call it when all descriptors are open, in a process with one thread. The keeper keeps
 * few capabilities, and has a filter of its own.
 *
 * Return: 0; -errno, and isolate.why says why: end the process.
 */
int isolate_keeper(struct isolate *isolate, const char *directory);

/* isolate_get_keeper_uid() - the user that the process will be after isolate_keeper() */
uid_t isolate_get_keeper_uid(const struct isolate *isolate);

/**
 * isolate_thread() - leave the calling thread only the rights that it needs
 * @name:	name of the thread's list in calls.c
 *
 * Each thread but the main one calls this once, before it handles any input.
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
