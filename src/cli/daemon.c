/* SPDX-License-Identifier: MIT */
/*
 * The fork, the pipe between child and parent, and the descriptors that a
 * daemon keeps open.
 */
#include "cli/daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/direct.h"
#include "base/syscalls.h"

/* On success the pipe carries this byte, and perhaps a line for stdout; on
 * failure it carries a line for stderr, which does not begin with this byte. */
#define READY '\0'

enum {
	/* The usual mask of daemons: only the owner can write to a new file. */
	DAEMON_MASK = 0022,
	/* Most descriptors of daemon_close_others() to leave open. A choice:
	 * the program needs three. */
	MAX_KEEP = 8,
	/* If the open descriptors cannot be listed, all below this are closed.
	 * A choice, not measured. */
	BLIND_MAX = 1 << 16,
	/* Attempts at a read or a write that a signal may interrupt. A choice,
	 * not measured. */
	TRIES = 10,
};

int daemon_fork(struct daemon *daemon)
{
	int fds[2];
	pid_t pid;
	int err;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	/* The caller may have had SIGCHLD ignored. The kernel would then keep
	 * no status of the child when it ends. */
	signal(SIGCHLD, SIG_DFL);
	pid = fork();
	if (pid < 0) {
		err = -errno;
		close(fds[0]);
		close(fds[1]);
		return err;
	}
	close(fds[pid ? 1 : 0]);
	*daemon = (struct daemon){ .child = pid, .fd = fds[pid ? 0 : 1] };
	return 0;
}

/* Print a line, but do not wait for ever for a reader that does not read. */
static void complain(const char *line)
{
	char text[DAEMON_LINE_CAP + sizeof("wiregather: \n")];
	int len = snprintf(text, sizeof(text), "wiregather: %s\n", line);

	direct_write(STDERR_FILENO, text, (size_t)len);
}

/* The child writes its line by one write(2) of less than PIPE_BUF bytes, so one
 * read(2) gets all of it. */
static size_t read_line(int fd, char *buf, size_t cap)
{
	ssize_t n = -1;

	for (int i = 0; i < TRIES && n < 0; i++)
		n = read(fd, buf, cap - 1);
	if (n < 0)
		n = 0;
	buf[n] = 0;
	return (size_t)n;
}

static int wait_for(pid_t child)
{
	int status = 0;
	pid_t pid;

	do {
		pid = waitpid(child, &status, 0);
	} while (pid < 0 && errno == EINTR);
	return status;
}

/* The child has ended and sent no line: say how it ended. */
static void print_end(int status)
{
	if (WIFSIGNALED(status))
		fprintf(stderr, "wiregather: ended by signal %d (%s)\n",
			WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		fprintf(stderr, "wiregather: ended with status %d\n",
			WEXITSTATUS(status));
}

int daemon_await(struct daemon *daemon)
{
	char line[DAEMON_LINE_CAP];
	size_t len = read_line(daemon->fd, line, sizeof(line));
	int status;

	close(daemon->fd);
	if (len && line[0] == READY) {
		if (len > 1)
			puts(line + 1);
		return EXIT_SUCCESS;
	}
	/* If the user starts the program again at once, no interface or file of
	 * this child must be left. */
	status = wait_for(daemon->child);
	if (len)
		complain(line);
	else
		print_end(status);
	return EXIT_FAILURE;
}

static int compare_ints(const void *a, const void *b)
{
	int x = *(const int *)a;
	int y = *(const int *)b;

	return (x > y) - (x < y);
}

static bool is_kept(int fd, const int *keep, size_t n_keep)
{
	for (size_t i = 0; i < n_keep; i++)
		if (keep[i] == fd)
			return true;
	return fd <= STDERR_FILENO;
}

/* Returns -errno if the call is missing or forbidden. */
static int close_range_of(unsigned int first, unsigned int last)
{
	/* Not every C library has a function for this call. */
	return syscall(SYS_close_range, first, last, 0) < 0 ? -errno : 0;
}

/* Returns 0, or -errno of close_range_of(): then only some descriptors are
 * closed. */
static int close_ranges(const int *keep, size_t n_keep)
{
	unsigned int first = STDERR_FILENO + 1;
	int sorted[MAX_KEEP], err = 0;

	memcpy(sorted, keep, n_keep * sizeof(*keep));
	qsort(sorted, n_keep, sizeof(*sorted), compare_ints);
	for (size_t i = 0; err == 0 && i < n_keep; i++) {
		if (sorted[i] < (int)first)
			continue;
		if (sorted[i] > (int)first)
			err = close_range_of(first,
					     (unsigned int)sorted[i] - 1);
		first = (unsigned int)sorted[i] + 1;
	}
	return err < 0 ? err : close_range_of(first, UINT_MAX);
}

/* Close the descriptors that /proc lists, for kernels before Linux 5.9. Returns
 * -errno if there is no /proc. */
static int close_listed(const int *keep, size_t n_keep)
{
	DIR *fds = opendir("/proc/self/fd");
	struct dirent *entry;

	if (!fds)
		return -errno;
	while ((entry = readdir(fds))) {
		/* "." and ".." give 0, which is kept. */
		int fd = (int)strtol(entry->d_name, NULL, 10);

		if (fd != dirfd(fds) && !is_kept(fd, keep, n_keep))
			close(fd);
	}
	closedir(fds);
	return 0;
}

int daemon_close_others(const int *keep, size_t n_keep)
{
	struct rlimit limit = { .rlim_cur = BLIND_MAX };
	int last;

	if (n_keep > MAX_KEEP)
		return -E2BIG;
	if (close_ranges(keep, n_keep) == 0 || close_listed(keep, n_keep) == 0)
		return 0;
	getrlimit(RLIMIT_NOFILE, &limit);
	last = limit.rlim_cur < BLIND_MAX ? (int)limit.rlim_cur : BLIND_MAX;
	for (int fd = 0; fd < last; fd++)
		if (!is_kept(fd, keep, n_keep))
			close(fd);
	return 0;
}

static int redirect(bool keeps_output)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (dup2(fd, STDIN_FILENO) < 0 ||
	    (!keeps_output &&
	     (dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)))
		err = -errno;
	close(fd);
	return err;
}

int daemon_detach(bool keeps_output)
{
	if (setsid() < 0)
		return -errno;
	if (chdir("/") < 0)
		return -errno;
	umask(DAEMON_MASK);
	return redirect(keeps_output);
}

/*
 * Write to the parent, and close the pipe. @len is below PIPE_BUF, so write(2)
 * takes all of the bytes or none (pipe(7)).
 */
static int tell(struct daemon *daemon, const char *data, size_t len)
{
	ssize_t n = -1;
	int err;

	for (int i = 0; i < TRIES && n < 0; i++)
		n = write(daemon->fd, data, len);
	err = n < 0 ? -errno : 0;
	close(daemon->fd);
	daemon->fd = -1;
	return err;
}

int daemon_report_ready(struct daemon *daemon, const char *line)
{
	char message[DAEMON_LINE_CAP - 1] = { READY };
	size_t len = 1;

	if (line)
		len += (size_t)snprintf(message + 1, sizeof(message) - 1, "%s",
					line);
	len = size_min(len, sizeof(message) - 1);
	if (daemon->fd >= 0)
		return tell(daemon, message, len);
	/* Not by stdio: musl's stdio first asks whether stdout is a terminal,
	 * by a call that the filter of system calls forbids. */
	if (line) {
		message[len] = '\n';
		if (write(STDOUT_FILENO, message + 1, len) < 0)
			return -errno;
	}
	return 0;
}

void daemon_report_failure(struct daemon *daemon, const char *fmt, ...)
{
	char line[DAEMON_LINE_CAP - 1];
	va_list args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (daemon->fd < 0)
		complain(line);
	else
		/* An error is ignored: the parent is gone, and nobody can be
		 * told. */
		tell(daemon, line, strlen(line));
}

int daemon_open_standard(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
			continue;
		/* open(2) takes the lowest free number, which is @fd. */
		if (open("/dev/null", O_RDWR) < 0)
			return -errno;
	}
	return 0;
}
