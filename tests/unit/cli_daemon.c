/* SPDX-License-Identifier: MIT */
/* The lines between child and parent, and the state of the child after it has
 * detached. */
#include "cli/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/syscalls.h"
#include "tests/lib/check.h"
#include "tests/lib/refuse.h"

enum {
	/* More than any child here writes. */
	TEXT_CAP = 4096,
};

static char text[TEXT_CAP];

/* Run a function in a process of its own, and collect its stderr in @text. */
static int run(int (*fn)(void))
{
	int fds[2], status;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		dup2(fds[1], STDERR_FILENO);
		_exit(fn());
	}
	close(fds[1]);
	while ((n = read(fds[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = 0;
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int ready(void)
{
	struct daemon daemon;

	if (daemon_fork(&daemon))
		return 9;
	if (daemon.child)
		return daemon_await(&daemon);
	_exit(daemon_report_ready(&daemon, NULL));
}

static void is_ready(void **state)
{
	(void)state;
	assert_int_equal(run(ready), 0);
	assert_string_equal(text, "");
}

static int failing(void)
{
	struct daemon daemon;

	if (daemon_fork(&daemon))
		return 9;
	if (daemon.child)
		return daemon_await(&daemon);
	daemon_report_failure(&daemon, "no %s today", "tunnels");
	_exit(1);
}

static void fails(void **state)
{
	(void)state;
	assert_int_equal(run(failing), 1);
	assert_string_equal(text, "wiregather: no tunnels today\n");
}

static int crashing(void)
{
	struct daemon daemon;

	if (daemon_fork(&daemon))
		return 9;
	if (daemon.child)
		return daemon_await(&daemon);
	raise(SIGKILL);
	_exit(0);
}

/* A program inherits an ignored SIGCHLD, and waitpid(2) then finds no child to
 * report. */
static int crashing_with_sigchld_ignored(void)
{
	signal(SIGCHLD, SIG_IGN);
	return crashing();
}

static int exiting(void)
{
	struct daemon daemon;

	if (daemon_fork(&daemon))
		return 9;
	if (daemon.child)
		return daemon_await(&daemon);
	_exit(5);
}

static void child_ends_without_report(void **state)
{
	(void)state;
	assert_int_equal(run(crashing), 1);
	assert_string_equal(text, "wiregather: ended by signal 9 (Killed)\n");
	assert_int_equal(run(crashing_with_sigchld_ignored), 1);
	assert_string_equal(text, "wiregather: ended by signal 9 (Killed)\n");
	assert_int_equal(run(exiting), 1);
	assert_string_equal(text, "wiregather: ended with status 5\n");
}

static int orphaned(void)
{
	struct daemon daemon;
	int fds[2];

	signal(SIGPIPE, SIG_IGN);
	/* The test is in the child, and runs after its parent has ended. */
	if (pipe2(fds, O_CLOEXEC) || daemon_fork(&daemon))
		return 9;
	if (!daemon.child) {
		char c;

		close(fds[1]);
		/* The read ends when the parent has ended. */
		if (read(fds[0], &c, 1) < 0)
			_exit(1);
		if (daemon_report_ready(&daemon, NULL) == -EPIPE)
			fprintf(stderr, "nobody waits");
		_exit(0);
	}
	/* The child must find this closed when fds[1] closes at the end. */
	close(daemon.fd);
	/* A status that no other end of the function has. */
	return 3;
}

static void parent_has_ended(void **state)
{
	(void)state;
	assert_int_equal(run(orphaned), 3);
	assert_string_equal(text, "nobody waits");
}

static int in_foreground(void)
{
	struct daemon daemon = { .fd = -1 };

	if (daemon_report_ready(&daemon, NULL))
		return 9;
	daemon_report_failure(&daemon, "no %s", "luck");
	return 0;
}

static void foreground(void **state)
{
	(void)state;
	assert_int_equal(run(in_foreground), 0);
	assert_string_equal(text, "wiregather: no luck\n");
}

static bool is_null(int fd)
{
	struct stat null, st;

	return !stat("/dev/null", &null) && !fstat(fd, &st) &&
	       st.st_rdev == null.st_rdev && S_ISCHR(st.st_mode);
}

/* Check the child after daemon_detach(); 0 if all is right. */
static int inspect(bool keeps_output)
{
	char cwd[64];

	if (getsid(0) != getpid())
		return 2;
	if (!getcwd(cwd, sizeof(cwd)) || strcmp(cwd, "/"))
		return 3;
	if (umask(0) != 022)
		return 4;
	if (!is_null(0) || is_null(1) != !keeps_output ||
	    is_null(2) != !keeps_output)
		return 5;
	return 0;
}

static int detaching(bool keeps_output)
{
	struct daemon daemon;

	umask(0777);
	if (daemon_fork(&daemon))
		return 9;
	if (!daemon.child) {
		int rc = daemon_detach(keeps_output);

		if (!rc)
			rc = inspect(keeps_output);
		if (rc)
			_exit(rc);
		_exit(daemon_report_ready(&daemon, NULL));
	}
	return daemon_await(&daemon);
}

static int detaching_silent(void)
{
	return detaching(false);
}

static int detaching_with_output(void)
{
	return detaching(true);
}

static void detaches(void **state)
{
	(void)state;
	assert_int_equal(run(detaching_silent), 0);
	assert_string_equal(text, "");
	assert_int_equal(run(detaching_with_output), 0);
	assert_string_equal(text, "");
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* Open descriptors in no order, and have all but three of them closed. */
static int close_all_but_some(void)
{
	enum {
		/* Above the others, and below the usual limit of 1024. */
		FAR = 900
	};
	int fds[4];
	const int *keep;

	for (int i = 0; i < 4; i++)
		fds[i] = dup(STDERR_FILENO);
	if (dup2(STDERR_FILENO, FAR) < 0 || dup2(STDERR_FILENO, FAR + 1) < 0)
		return 2;
	keep = (const int[]){ FAR, fds[2], -1, fds[0] };
	if (daemon_close_others(keep, 4))
		return 3;
	if (!is_open(0) || !is_open(1) || !is_open(2))
		return 4;
	if (!is_open(fds[0]) || !is_open(fds[2]) || !is_open(FAR))
		return 5;
	if (is_open(fds[1]) || is_open(fds[3]) || is_open(FAR + 1))
		return 6;
	return 0;
}

/* Is this qemu-user, which knows no filters? */
static int refuses_nothing(void)
{
	return refuse_call(SYS_close_range, ENOSYS) == -EINVAL;
}

/* Linux before 5.9 has no close_range(2). */
static int close_without_call(void)
{
	return refuse_call(SYS_close_range, ENOSYS) ? 1 : close_all_but_some();
}

/* There is no close_range(2), and /proc cannot be opened. */
static int close_without_proc(void)
{
	return refuse_call(SYS_close_range, ENOSYS) ||
			       refuse_call(SYS_openat, ENOSYS)
		       ? 1
		       : close_all_but_some();
}

static void closes_what_was_inherited(void **state)
{
	const int many[16] = { 0 };

	(void)state;
	assert_int_equal(run(close_all_but_some), 0);
	assert_int_equal(daemon_close_others(many, 16), -E2BIG);
}

static void closes_on_older_kernels(void **state)
{
	(void)state;
	assert_int_equal(run(close_without_call), 0);
	assert_int_equal(run(close_without_proc), 0);
}

static int open_missing_standard(void)
{
	int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	int fd;

	close(0);
	close(2);
	if (daemon_open_standard())
		return 2;
	if (!is_null(0) || !is_null(2))
		return 3;
	fd = open("/", O_RDONLY | O_CLOEXEC);
	close(saved);
	return fd > 2 ? 0 : 4;
}

static void without_standard(void **state)
{
	(void)state;
	assert_int_equal(run(open_missing_standard), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_ready),
		cmocka_unit_test(fails),
		cmocka_unit_test(child_ends_without_report),
		cmocka_unit_test(parent_has_ended),
		cmocka_unit_test(foreground),
		cmocka_unit_test(detaches),
		cmocka_unit_test(closes_what_was_inherited),
		cmocka_unit_test(without_standard),
		cmocka_unit_test(closes_on_older_kernels),
	};
	size_t n = sizeof(tests) / sizeof(tests[0]);

	/* Under qemu-user the last test cannot run. It is left out, so that it
	 * does not count as passed. */
	if (run(refuses_nothing)) {
		print_message("# older kernels are not tested: no system call "
			      "can be refused here\n");
		n--;
	}
	return _cmocka_run_group_tests("tests", tests, n, NULL, NULL);
}
