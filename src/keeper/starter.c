/* SPDX-License-Identifier: MIT */
/*
 * The starter opens the program's file at the beginning, so that an engine that is
 * started later is made of the same program, also if the file has been replaced. For an
 * upgrade it opens the file anew. It waits for the keeper's words and for the end of its
 * children. When the keeper is gone, it kills them and ends.
 */
#include "keeper/starter.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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
#include <sys/stat.h>
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

/* What the keeper wants. */
enum {
	WORD_START = 's', /* with two descriptors, or three */
	WORD_KILL = 'k',
	WORD_ADOPT = 'a',
	WORD_END = 'e',
};

/**
 * struct word - a message of the keeper to the starter
 * @word:	WORD_*
 * @seat:	of the engine
 * @program:	enum starter_program
 */
struct word {
	uint8_t word;
	uint8_t seat;
	uint8_t program;
};

enum {
	/* The status of a child that could not execute the program, as of a shell. */
	STATUS_NO_EXEC = 127,
	/* How often to look whether the starter has ended, and the pause between
	 * two looks. Choices: it takes a millisecond, or is stopped. */
	END_TRIES = 1000,
	END_PAUSE_MS = 2,
	/* How often to look whether an engine ends by itself: for half a second. A
	 * choice: it takes less with thousands of peers. */
	GRACE_TRIES = 250,
	/* Attempts to read how an engine has ended. A choice. */
	WAIT_TRIES = 10,
	/* Bytes of a program that are copied at once. A choice. */
	COPY_CAP = 1 << 15,
};

/**
 * struct launcher - the state of the starter itself
 * @fd:		connection to the keeper
 * @program_fd:	the program's file
 * @next_fd:	file of the program of the last successor; -1: there was none
 * @signal_fd:	for SIGCHLD
 * @children:	the engines; 0: the seat is free
 * @failures:	for each seat the errno of a child that could not execute the program, or 0.
 *		Memory that this process shares with a child until the child executes
 *		another program.
 * @is_told:	the keeper has said that it ends
 * @argv:	for the engine
 * @path:	of the program; empty: it is not known
 */
struct launcher {
	int fd;
	int program_fd;
	int next_fd;
	int signal_fd;
	pid_t children[STARTER_SEATS];
	int *failures;
	bool is_told;
	char **argv;
	char path[PATH_MAX];
};

/* The keeper waits for reports. A starter that cannot send one ends, which the keeper
 * sees. */
static void tell(const struct launcher *l, enum starter_event event, int status,
		 unsigned int seat, const char *text)
{
	struct starter_report report = {
		.event = event,
		.status = status,
		.seat = seat,
	};

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

	/* Linux before 6.3 refuses MFD_EXEC, and executes any memfd. */
	if (copy < 0 && errno == EINVAL)
		copy = memfd_create("wiregather", MFD_CLOEXEC);
	if (copy < 0 || copy_file(copy, program) < 0)
		return;
	syscall(SYS_execveat, copy, "", l->argv, environ, AT_EMPTY_PATH);
}

/* In the child. The numbers that the engine expects may be in use, so the descriptors
 * are copied twice. Returns on failure only, with the reason in errno. */
static void execute(const struct launcher *l, int program_fd, const int fds[2])
{
	int high[2], program;

	for (int i = 0; i < 2; i++) {
		high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, ENGINE_FIRST_FREE_FD);
		if (high[i] < 0)
			return;
	}
	program = fcntl(program_fd, F_DUPFD_CLOEXEC, ENGINE_FIRST_FREE_FD);
	/* dup2(2) does not copy the flag for closing on exec. */
	if (program < 0 || dup2(high[0], ENGINE_REQUESTS_FD) < 0 ||
	    dup2(high[1], ENGINE_NEWS_FD) < 0)
		return;
	syscall(SYS_execveat, program, "", l->argv, environ, AT_EMPTY_PATH);
	if (errno == EACCES)
		execute_copy(l, program);
}

/* A pipe would be waited for, and a device may have no end. */
static bool is_file(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* Have @next_fd name the program of a successor. Return: 0; -errno. */
static int take_program(struct launcher *l, enum starter_program program,
			int fd)
{
	int next = program == STARTER_FILE
			   ? fcntl(fd, F_DUPFD_CLOEXEC, 0)
			   : open(l->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (next < 0)
		return -errno;
	if (!is_file(next)) {
		close(next);
		return -EACCES;
	}
	if (l->next_fd >= 0)
		close(l->next_fd);
	l->next_fd = next;
	return 0;
}

/* Return: 0; -errno. */
static int start(struct launcher *l, const struct word *word, const int *fds,
		 unsigned int n_fds)
{
	int program_fd = l->program_fd, err;
	pid_t pid;

	if (word->seat >= STARTER_SEATS || l->children[word->seat])
		return -EBUSY;
	if (n_fds != (word->program == STARTER_FILE ? 3 : 2))
		return -EPROTO;
	if (word->program != STARTER_SAME) {
		err = take_program(l, word->program, fds[n_fds - 1]);
		if (err < 0)
			return err;
		program_fd = l->next_fd;
	}
	l->failures[word->seat] = 0;
	pid = fork();
	if (pid == 0) {
		execute(l, program_fd, fds);
		l->failures[word->seat] = errno;
		_exit(STATUS_NO_EXEC);
	}
	if (pid < 0)
		return -errno;
	l->children[word->seat] = pid;
	return 0;
}

static void adopt_program(struct launcher *l)
{
	if (l->next_fd < 0)
		return;
	close(l->program_fd);
	l->program_fd = l->next_fd;
	l->next_fd = -1;
}

static void do_as_told(struct launcher *l, const struct word *word,
		       const int *fds, unsigned int n_fds)
{
	int err;

	switch (word->word) {
	case WORD_START:
		err = start(l, word, fds, n_fds);
		if (err < 0)
			tell(l, STARTER_FAILED, err, word->seat, "");
		break;
	case WORD_KILL:
		if (word->seat < STARTER_SEATS && l->children[word->seat])
			kill(l->children[word->seat], SIGKILL);
		break;
	case WORD_ADOPT:
		adopt_program(l);
		break;
	case WORD_END:
		l->is_told = true;
		break;
	default:
		break;
	}
}

/* Return: false if the keeper is gone. */
static bool obey(struct launcher *l)
{
	int fds[CHANNEL_FDS_MAX];
	unsigned int n_fds;
	struct word word;
	ssize_t n = channel_receive(l->fd, &word, sizeof(word), fds, &n_fds, 0);

	if (n == 0)
		return false;
	if (n == (ssize_t)sizeof(word))
		do_as_told(l, &word, fds, n_fds);
	close_all(fds, n_fds);
	return true;
}

/* Tell of the engine in a seat if it has ended. */
static void reap_seat(struct launcher *l, unsigned int seat)
{
	int status = 0, tries = 0;
	pid_t pid;

	if (!l->children[seat])
		return;
	do
		pid = waitpid(l->children[seat], &status, WNOHANG);
	while (pid < 0 && errno != ECHILD && ++tries < WAIT_TRIES);
	if (pid == 0)
		return;
	/* If waitpid(2) has failed, there is no such child any more. */
	l->children[seat] = 0;
	if (l->failures[seat])
		tell(l, STARTER_FAILED, -l->failures[seat], seat, "");
	else
		tell(l, STARTER_ENDED, status, seat, "");
}

static void reap(struct launcher *l)
{
	struct signalfd_siginfo info;

	(void)!read(l->signal_fd, &info, sizeof(info));
	for (unsigned int i = 0; i < STARTER_SEATS; i++)
		reap_seat(l, i);
}

/* Wait for engines that end by themselves. One that is just starting notices the end of
 * the keeper only when it has read the journal. If it were killed before, the next one
 * would leave out what it was reading. */
static void await_children(struct launcher *l)
{
	bool has_any = true;

	for (int tries = 0; has_any && tries < GRACE_TRIES; tries++) {
		has_any = false;
		for (unsigned int i = 0; i < STARTER_SEATS; i++) {
			if (l->children[i] &&
			    waitpid(l->children[i], NULL, WNOHANG) != 0)
				l->children[i] = 0;
			has_any |= l->children[i] != 0;
		}
		if (has_any)
			poll(NULL, 0, END_PAUSE_MS);
	}
}

static void end_children(struct launcher *l)
{
	if (l->is_told)
		await_children(l);
	for (unsigned int i = 0; i < STARTER_SEATS; i++) {
		if (!l->children[i] || kill(l->children[i], SIGKILL) < 0)
			continue;
		/* If the keeper has died, init reaps the engine. systemd, with the
		 * first version of control groups, waits in vain for a process of a
		 * service that another one has reaped. */
		if (l->is_told)
			waitpid(l->children[i], NULL, 0);
	}
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
	end_children(l);
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

/* The path of the program, by which a new file is found. It stays empty if it is not
 * known. */
static void find_path(struct launcher *l)
{
	const char *name = (const char *)getauxval(AT_EXECFN);
	ssize_t n = readlink("/proc/self/exe", l->path, sizeof(l->path) - 1);

	if (n > 0)
		l->path[n] = 0;
	else if (name && *name == '/')
		snprintf(l->path, sizeof(l->path), "%s", name);
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

/* Memory that stays common to this process and its children. NULL: there is none. */
static void *share_memory(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static _Noreturn void run(int fd, struct isolate *isolate, char **argv)
{
	struct launcher l = {
		.fd = close_others(fd),
		.argv = make_argv(argv),
		.failures = share_memory(STARTER_SEATS * sizeof(int)),
		.program_fd = open_program(),
		.next_fd = -1,
		.signal_fd = open_signals(),
	};
	int err = 0;

	if (!l.argv || !l.failures || l.program_fd < 0 || l.signal_fd < 0) {
		tell(&l, STARTER_READY, l.argv && l.failures ? -errno : -ENOMEM,
		     0, "cannot start the engine");
		_exit(EXIT_FAILURE);
	}
	prctl(PR_SET_NAME, STARTER_COMM);
	find_path(&l);
	err = isolate_starter(isolate, l.program_fd);
	tell(&l, STARTER_READY, err, 0,
	     err < 0 ? isolate->why : isolate->missing);
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

int starter_start_engine(struct starter *starter, unsigned int seat,
			 enum starter_program program, const int *fds)
{
	const struct word word = {
		.word = WORD_START,
		.seat = (uint8_t)seat,
		.program = (uint8_t)program,
	};

	return channel_send(starter->fd, &word, sizeof(word), fds,
			    program == STARTER_FILE ? 3 : 2, 0);
}

/* Say a word that gets no answer. */
static void say(struct starter *starter, uint8_t what, unsigned int seat)
{
	const struct word word = { .word = what, .seat = (uint8_t)seat };

	(void)channel_send(starter->fd, &word, sizeof(word), NULL, 0,
			   MSG_DONTWAIT);
}

void starter_adopt_program(struct starter *starter)
{
	say(starter, WORD_ADOPT, 0);
}

void starter_kill_engine(struct starter *starter, unsigned int seat)
{
	say(starter, WORD_KILL, seat);
}

int starter_receive(struct starter *starter, struct starter_report *report,
		    bool waits)
{
	int fds[CHANNEL_FDS_MAX];
	unsigned int n_fds;
	ssize_t n = channel_receive(starter->fd, report, sizeof(*report), fds,
				    &n_fds, waits ? 0 : MSG_DONTWAIT);

	close_all(fds, n_fds);
	if (n <= 0)
		return n ? (int)n : -EPIPE;
	if (n != (ssize_t)sizeof(*report))
		return -EPROTO;
	report->text[sizeof(report->text) - 1] = 0;
	return 0;
}

void starter_close(struct starter *starter)
{
	if (starter->fd < 0)
		return;
	say(starter, WORD_END, 0);
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
