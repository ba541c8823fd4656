/* SPDX-License-Identifier: MIT */
/*
 * Attempts at actions that isolation forbids. Each is made by a child that has
 * given up the rights of its stage. The files are in a directory that only root
 * may use. Call these functions from the test's main thread.
 */
#ifndef TESTS_IO_ATTEMPT_H
#define TESTS_IO_ATTEMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "isolate/isolate.h"

/* Headers may be older than the kernel. */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#endif

enum {
	/* Exit statuses of a child, besides errno. BROKEN is above every
	 * errno. */
	DONE = 0,
	BROKEN = 200,
};

/* The steps of isolation that a child takes before its attempt. */
enum stage {
	FREE,
	RESTRICTED,
	SEALED,
	KEEPING, /* as the keeper does */
	STARTING /* as the starter does */
};

/**
 * struct attempt - a forbidden action
 * @what:	in words
 * @make:	returns 0, or -1 with errno; what it leaves affects no other
 *		attempt
 */
struct attempt {
	const char *what;
	int (*make)(void);
};

/* The directory, a file in it, and one elsewhere. */
extern char attempt_directory[];
extern char attempt_inside[64];
extern char attempt_outside[];

/* Calls that are on no thread's list. */
extern const struct attempt attempt_forbidden[];
extern const size_t attempt_n_forbidden;

/* The child's isolation. */
extern struct isolate attempt_isolate;

/* The file that a child in the place of the starter may execute: the test program. */
extern int attempt_program_fd;

int attempt_open_file(void);
int attempt_execute(void);
int attempt_make_executable(void);
int attempt_make_directory(void);

/* attempt_has_landlock() - whether this kernel has Landlock */
bool attempt_has_landlock(void);

/*
 * attempt_enter() - go to a stage, or end with BROKEN
 *
 * No layer may be missing, but for Landlock if the kernel has none.
 */
void attempt_enter(enum stage stage);

/**
 * attempt_run() - make an attempt in a child
 * @stage:	stage that the child goes to before the attempt
 * @make:	attempt
 *
 * The child ends with DONE, or errno.
 *
 * Return: its status, as from waitpid(2).
 */
int attempt_run(enum stage stage, int (*make)(void));

/* attempt_run_as() - the same, with the rights of a thread, by its name */
int attempt_run_as(const char *thread, int (*make)(void));

/* attempt_must_kill() - fail unless a status tells of this signal, and no core */
void attempt_must_kill(int status, int number, const char *who,
		       const char *what);

/* attempt_must_work() - fail unless an attempt succeeds */
void attempt_must_work(enum stage stage, int (*make)(void), const char *what);

/* attempt_must_be_refused() - fail unless an attempt fails with this errno */
void attempt_must_be_refused(enum stage stage, int (*make)(void), int wanted);

/* Of a group of tests: the directory and the files, made and removed. */
int attempt_make_files(void **state);
int attempt_remove_files(void **state);

/* attempt_make_file() - make the file in the directory */
int attempt_make_file(void);

#endif /* TESTS_IO_ATTEMPT_H */
