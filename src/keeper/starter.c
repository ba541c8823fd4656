/* SPDX-License-Identifier: MIT */
/*
 * The starter opens the program's file at the beginning, so that an engine that is
 * started later is made of the same program, also if the file has been replaced. It
 * waits for the keeper's words and for the end of its child. When the keeper is gone, it
 * kills the child and ends.
 */
#include "keeper/starter.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/descriptors.h"
#include "base/syscalls.h"
#include "keeper/channel.h"
#include "keeper/news.h"

/* This came with Linux 6.3; the headers of a system may be older. */
#ifndef MFD_EXEC
#define MFD_EXEC 0x10
#endif

/* The messages of the keeper to the starter: one byte. */
enum {
	WORD_START = 's', /* with two descriptors */
	WORD_KILL = 'k',
	WORD_END = 'e',
};

enum {
	/* The status of a child that could not execute the program, as of a shell. */
	STATUS_NO_EXEC = 127,
	/* How often to look whether the starter has ended, and the pause between
	 * two looks. Choices: it takes a millisecond, or is stopped. */
	END_TRIES = 1000,
	END_PAUSE_MS = 2,
	/* Bytes of a program that are copied at once. A choice. */
	COPY_CAP = 1 << 15,
};

/**
 * struct launcher - the state of the starter itself
 * @fd:		connection to the keeper
 * @program_fd:	the program's file
 * @signal_fd:	for SIGCHLD
 * @child:	the engine; 0: there is none
 * @is_told:	the keeper has said that it ends
 * @argv:	for the engine
 */
struct launcher {
	int fd;
	int program_fd;
	int signal_fd;
	pid_t child;
	bool is_told;
	char **argv;
};

/* The keeper waits for a report, so a starter that cannot send it ends. */
static void tell(const struct launcher *l, enum starter_event event, int status,
		 const char *text)
{
	struct starter_report report = { .event = event, .status = status };

	snprintf(report.text, sizeof(report.text), "%s", text);
	if (channel_send(l->fd, &report, sizeof(report), NULL, 0, 0) < 0)
		_exit(EXIT_FAILURE);
}

/* ------------------------------------------------------------ an engine */

/* Copy the bytes of a file. Return: 0; -errno. */
static int copy_file(int to, int from)
{
	char buf[COPY_CAP];
	off_t at = 0;

	for (;;) {
		ssize_t n = pread(from, buf, sizeof(buf), at);

		if (n <= 0)
			return n ? -errno : 0;
		for (ssize_t done = 0; done < n;) {
			ssize_t more =
				write(to, buf + done, (size_t)(n - done));

			if (more < 0)
				return -errno;
			done += more;
		}
		at += n;
	}
}

/* In the child. Landlock refuses a program that lies in none of the directories of
 * isolate/places.h, so a copy of it in memory is executed. Returns on failure only. */
static void execute_copy(const struct launcher *l, int program)
{
	int copy = memfd_create("wiregather", MFD_CLOEXEC | MFD_EXEC);

	/* Linux has MFD_EXEC since 6.3, and knows no other way before. */
	if (copy < 0 && errno == EINVAL)
		copy = memfd_create("wiregather", MFD_CLOEXEC);
	if (copy < 0 || copy_file(copy, program) < 0)
		return;
	syscall(SYS_execveat, copy, "", l->argv, environ, AT_EMPTY_PATH);
}

/* In the child. The numbers that the engine expects may be in use, so the descriptors
 * are copied twice. */
static _Noreturn void execute(const struct launcher *l, const int fds[2])
{
	int high[2], program;

	for (int i = 0; i < 2; i++) {
		high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, ENGINE_FIRST_FREE_FD);
		if (high[i] < 0)
			_exit(STATUS_NO_EXEC);
	}
	program = fcntl(l->program_fd, F_DUPFD_CLOEXEC, ENGINE_FIRST_FREE_FD);
	/* dup2(2) does not copy the flag for closing on exec. */
	if (program < 0 || dup2(high[0], ENGINE_REQUESTS_FD) < 0 ||
	    dup2(high[1], ENGINE_NEWS_FD) < 0)
		_exit(STATUS_NO_EXEC);
	syscall(SYS_execveat, program, "", l->argv, environ, AT_EMPTY_PATH);
	if (errno == EACCES)
		execute_copy(l, program);
	_exit(STATUS_NO_EXEC);
}

static void start(struct launcher *l, const int fds[2])
{
	pid_t pid = l->child ? -1 : fork();

	if (pid == 0)
		execute(l, fds);
	if (pid < 0)
		tell(l, STARTER_FAILED, l->child ? -EBUSY : -errno, "");
	else
		l->child = pid;
}

/* Return: false if the keeper is gone. */
static bool obey(struct launcher *l)
{
	int fds[CHANNEL_FDS_MAX];
	unsigned int n_fds;
	char word = 0;
	ssize_t n = channel_receive(l->fd, &word, sizeof(word), fds, &n_fds, 0);

	if (n == 0)
		return false;
	if (n == 1 && word == WORD_START && n_fds == 2)
		start(l, fds);
	else if (n == 1 && word == WORD_KILL && l->child)
		kill(l->child, SIGKILL);
	else if (n == 1 && word == WORD_END)
		l->is_told = true;
	for (unsigned int i = 0; i < n_fds; i++)
		close(fds[i]);
	return true;
}

static void reap(struct launcher *l)
{
	struct signalfd_siginfo info;
	int status = 0;
	pid_t pid;

	(void)!read(l->signal_fd, &info, sizeof(info));
	if (!l->child)
		return;
	do
		pid = waitpid(l->child, &status, WNOHANG);
	while (pid < 0 && errno == EINTR);
	if (pid == 0)
		return;
	/* An engine whose end cannot be read has ended, too. */
	l->child = 0;
	tell(l, STARTER_ENDED, status, "");
}

static void serve(struct launcher *l)
{
	for (;;) {
		struct pollfd polled[] = {
			{ .fd = l->fd, .events = POLLIN },
			{ .fd = l->signal_fd, .events = POLLIN },
		};

		if (poll(polled, ARRAY_LEN(polled), -1) < 0)
			continue;
		if (polled[0].revents && !obey(l))
			break;
		if (polled[1].revents)
			reap(l);
	}
	if (!l->child || kill(l->child, SIGKILL) < 0)
		return;
	/* If the keeper has died, init reaps the engine. systemd, with the first
	 * version of control groups, waits in vain for a process of a service that
	 * another one has reaped. */
	if (l->is_told)
		waitpid(l->child, NULL, 0);
}

/* ------------------------------------------------------------ the start */

/* The command line of an engine, in memory of its own: name_self() overwrites the
 * program's. NULL: no memory. */
static char **make_argv(char **from)
{
	size_t n = 0;
	char **argv;

	while (from[n])
		n++;
	argv = calloc(n + 2, sizeof(*argv));
	if (!argv)
		return NULL;
	argv[0] = strdup(STARTER_ENGINE_NAME);
	for (size_t i = 1; i < n; i++)
		argv[i] = strdup(from[i]);
	for (size_t i = 0; i < n; i++)
		if (!argv[i])
			return NULL;
	return argv;
}

/* Without /proc by the name that it was executed by (getauxval(3)). */
static int open_program(void)
{
	const char *name = (const char *)getauxval(AT_EXECFN);
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	return fd < 0 && name ? open(name, O_RDONLY | O_CLOEXEC) : fd;
}

/* Have ps(1) show which process this is: the command line is what stands in the memory
 * of the arguments. */
static void name_self(char **argv)
{
	size_t n = 0;

	while (argv[n + 1])
		n++;
	size_t cap = (size_t)(argv[n] + strlen(argv[n]) - argv[0]);
	size_t name_len = size_min(cap, strlen("wiregather: starter"));

	memset(argv[0], 0, cap);
	memcpy(argv[0], "wiregather: starter", name_len);
}

/* Block all signals but those that a fault raises; SIGCHLD comes by a descriptor. */
static int open_signals(void)
{
	sigset_t all, child;

	signal(SIGCHLD, SIG_DFL);
	sigfillset(&all);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGABRT);
	sigdelset(&all, SIGSYS);
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	return signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Close all descriptors but 0 to 2 and the connection. Return: its new number. */
static int close_others(int fd)
{
	if (fd != ENGINE_REQUESTS_FD && dup2(fd, ENGINE_REQUESTS_FD) < 0)
		return fd;
	fcntl(ENGINE_REQUESTS_FD, F_SETFD, FD_CLOEXEC);
	close_from(ENGINE_NEWS_FD);
	return ENGINE_REQUESTS_FD;
}

static _Noreturn void run(int fd, struct isolate *isolate, char **argv)
{
	struct launcher l = {
		.fd = close_others(fd),
		.argv = make_argv(argv),
		.program_fd = open_program(),
		.signal_fd = open_signals(),
	};
	int err = 0;

	if (!l.argv || l.program_fd < 0 || l.signal_fd < 0) {
		tell(&l, STARTER_READY, l.argv ? -errno : -ENOMEM,
		     "cannot start the engine");
		_exit(EXIT_FAILURE);
	}
	prctl(PR_SET_NAME, STARTER_COMM);
	err = isolate_starter(isolate, l.program_fd);
	tell(&l, STARTER_READY, err, err < 0 ? isolate->why : isolate->missing);
	/* The name of the user was in this memory. */
	name_self(argv);
	if (err == 0)
		serve(&l);
	_exit(EXIT_SUCCESS);
}

/* ------------------------------------------------------- the keeper's end */

int starter_fork(struct starter *starter, struct isolate *isolate, char **argv)
{
	int fds[2], err = channel_open(fds);
	pid_t pid;

	if (err < 0)
		return err;
	pid = fork();
	if (pid < 0) {
		err = -errno;
		close(fds[0]);
		close(fds[1]);
		return err;
	}
	close(fds[pid ? 1 : 0]);
	if (!pid)
		run(fds[1], isolate, argv);
	*starter = (struct starter){ .fd = fds[0], .pid = pid };
	return 0;
}

int starter_start_engine(struct starter *starter, const int fds[2])
{
	const char word = WORD_START;

	return channel_send(starter->fd, &word, sizeof(word), fds, 2, 0);
}

void starter_kill_engine(struct starter *starter)
{
	const char word = WORD_KILL;

	(void)channel_send(starter->fd, &word, sizeof(word), NULL, 0,
			   MSG_DONTWAIT);
}

int starter_receive(struct starter *starter, struct starter_report *report,
		    bool waits)
{
	int fds[CHANNEL_FDS_MAX];
	unsigned int n_fds;
	ssize_t n = channel_receive(starter->fd, report, sizeof(*report), fds,
				    &n_fds, waits ? 0 : MSG_DONTWAIT);

	for (unsigned int i = 0; n >= 0 && i < n_fds; i++)
		close(fds[i]);
	if (n <= 0)
		return n ? (int)n : -EPIPE;
	if (n != (ssize_t)sizeof(*report))
		return -EPROTO;
	report->text[sizeof(report->text) - 1] = 0;
	return 0;
}

void starter_close(struct starter *starter)
{
	const char word = WORD_END;

	if (starter->fd < 0)
		return;
	(void)channel_send(starter->fd, &word, sizeof(word), NULL, 0,
			   MSG_DONTWAIT);
	close(starter->fd);
	starter->fd = -1;
	/* The kernel reaps children whose end is ignored (wait(2)). Then there is no
	 * such child. */
	for (int i = 0; i < END_TRIES; i++) {
		pid_t pid = waitpid(starter->pid, NULL, WNOHANG);

		if (pid == starter->pid || (pid < 0 && errno == ECHILD))
			break;
		poll(NULL, 0, END_PAUSE_MS);
	}
}
