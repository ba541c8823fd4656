/* SPDX-License-Identifier: MIT */
#include "ctl/collect.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/now.h"

enum {
	/* Bytes of the end of a file that are copied. A choice. */
	END_LEN = 64 << 10,
	/* Words of a command at most, and its bytes. */
	WORDS_MAX = 8,
	COMMAND_CAP = 400,
};

static void say_error(FILE *out, int err)
{
	fprintf(out, "(%s)\n", strerror(-err));
}

/* Start a program with /dev/null as its input. Return: 0; -errno. */
static int start(const char *command, pid_t *pid, int *fd)
{
	char text[COMMAND_CAP], *rest = text, *argv[WORDS_MAX + 1] = { NULL };
	posix_spawn_file_actions_t actions;
	int ends[2], err;

	snprintf(text, sizeof(text), "%s", command);
	for (size_t i = 0; i < WORDS_MAX && rest; i++)
		argv[i] = strsep(&rest, " ");
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	err = posix_spawn_file_actions_init(&actions);
	if (!err) {
		posix_spawn_file_actions_addopen(&actions, STDIN_FILENO,
						 "/dev/null", O_RDONLY, 0);
		posix_spawn_file_actions_adddup2(&actions, ends[1],
						 STDOUT_FILENO);
		posix_spawn_file_actions_adddup2(&actions, ends[1],
						 STDERR_FILENO);
		err = posix_spawnp(pid, argv[0], &actions, NULL, argv, environ);
		posix_spawn_file_actions_destroy(&actions);
	}
	close(ends[1]);
	*fd = ends[0];
	if (err)
		close(ends[0]);
	return -err;
}

/* Milliseconds until a point of now_monotonic_ms(); 0: it has passed. */
static int until(int64_t end)
{
	int64_t left = end - now_monotonic_ms();

	return left > 0 ? (int)left : 0;
}

/* Read to the end, but no longer than CTL_COLLECT_S and no more than CTL_COLLECT_CAP.
 * Return: bytes; *is_whole says whether the end was reached. */
static size_t read_output(int fd, char *text, bool *is_whole)
{
	int64_t end = now_monotonic_ms() + CTL_COLLECT_S * INT64_C(1000);
	size_t len = 0;

	*is_whole = false;
	while (len < CTL_COLLECT_CAP) {
		struct pollfd ready = { fd, POLLIN, 0 };
		ssize_t n = poll(&ready, 1, until(end));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		n = read(fd, text + len, CTL_COLLECT_CAP - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			*is_whole = n == 0;
			break;
		}
		len += (size_t)n;
	}
	return len;
}

/* Copy text up to its last line's end, if it is not whole. */
static void put_text(FILE *out, const char *text, size_t len, bool is_whole)
{
	while (!is_whole && len && text[len - 1] != '\n')
		len--;
	fwrite(text, 1, len, out);
	if (len && text[len - 1] != '\n')
		putc('\n', out);
	if (!is_whole)
		fputs("(cut)\n", out);
}

void ctl_collect_program(FILE *out, const char *command)
{
	char *text = malloc(CTL_COLLECT_CAP);
	bool is_whole;
	size_t len;
	int fd = -1, status = 0, err = -ENOMEM;
	pid_t pid = -1;

	fprintf(out, "$ %s\n", command);
	if (text)
		err = start(command, &pid, &fd);
	if (err < 0) {
		say_error(out, err);
		free(text);
		return;
	}
	len = read_output(fd, text, &is_whole);
	put_text(out, text, len, is_whole);
	free(text);
	close(fd);
	if (!is_whole)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (is_whole && status)
		fprintf(out, "(status %d)\n",
			WIFEXITED(status) ? WEXITSTATUS(status)
					  : -WTERMSIG(status));
}

static bool is_wanted(const char *line, const char *const *words)
{
	if (!words)
		return true;
	for (; *words; words++)
		if (strncmp(line, *words, strlen(*words)) == 0)
			return true;
	return false;
}

void ctl_collect_lines(FILE *out, const char *path, const char *const *words)
{
	FILE *file = fopen(path, "re");
	size_t cap = 0, sum = 0;
	char *line = NULL;
	ssize_t len;

	fprintf(out, "%s:\n", path);
	if (!file) {
		say_error(out, -errno);
		return;
	}
	while ((len = getline(&line, &cap, file)) >= 0) {
		if (!is_wanted(line, words))
			continue;
		sum += (size_t)len;
		if (sum > CTL_COLLECT_CAP) {
			fputs("(cut)\n", out);
			break;
		}
		fputs(line, out);
		if (!strchr(line, '\n'))
			putc('\n', out);
	}
	free(line);
	fclose(file);
}

int ctl_collect_end(FILE *out, const char *path)
{
	char *text = NULL, *from;
	struct stat found;
	ssize_t n;
	int fd;

	/* A pipe or a terminal is not opened: what is read from it is gone. */
	if (stat(path, &found) < 0)
		return -errno;
	if (!S_ISREG(found.st_mode))
		return -EINVAL;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	text = malloc(END_LEN);
	n = text ? pread(fd, text, END_LEN,
			 found.st_size > END_LEN ? found.st_size - END_LEN : 0)
		 : -1;
	close(fd);
	if (n < 0) {
		free(text);
		return -EIO;
	}
	from = text;
	/* The first line may have been cut. */
	if (found.st_size > END_LEN) {
		from = memchr(text, '\n', (size_t)n);
		from = from ? from + 1 : text + n;
	}
	put_text(out, from, (size_t)(text + n - from), true);
	free(text);
	return 0;
}
