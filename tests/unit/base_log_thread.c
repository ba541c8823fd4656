/* SPDX-License-Identifier: MIT */
/*
 * Readers of the log that do not read. Each test with a stalled reader runs in
 * a child, which must end by itself. A child that blocks is killed, and the
 * test fails.
 */
#include "base/log_thread.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/now.h"
#include "tests/lib/check.h"

enum {
	/* More lines than the ring and any descriptor here hold together. */
	N_LINES = 20000,
	/* A choice: more than one writes at a time. */
	N_THREADS = 4,
	/* More than N_LINES lines of a test have. */
	TEXT_CAP = 4 << 20,
	/* Enough for a busy machine and a sanitizer. A choice, not measured. */
	CHILD_S = 20,
	/* The limit on the size of the log's file. It lies in the middle of a
	 * line, so that one line is cut. */
	FILE_CAP = 3030,
};

/* A stream for the log, and its other end. */
struct ends {
	int log;
	int reader;
};

static char text[TEXT_CAP];

/* ----------------------------------------------------- kinds of streams */

static struct ends open_pipe(void)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	return (struct ends){ .log = fds[1], .reader = fds[0] };
}

static struct ends open_fifo(void)
{
	char path[] = "/tmp/wiregather-log-XXXXXX";
	struct ends ends;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	ends.reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ends.log = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(unlink(path), 0);
	return ends;
}

static struct ends open_pty(void)
{
	struct termios raw = { 0 };
	struct ends ends;

	cfmakeraw(&raw);
	assert_int_equal(openpty(&ends.reader, &ends.log, NULL, &raw, NULL), 0);
	return ends;
}

static struct ends open_stream(void)
{
	int fds[2];

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	return (struct ends){ .log = fds[1], .reader = fds[0] };
}

/* A stream that another process has made nonblocking, as an old starter may. */
static struct ends open_nonblocking(void)
{
	struct ends ends = open_pipe();

	assert_int_equal(fcntl(ends.log, F_SETFL, O_WRONLY | O_NONBLOCK), 0);
	return ends;
}

static struct ends (*const kinds[])(void) = {
	open_pipe, open_fifo, open_pty, open_stream, open_nonblocking,
};

/* -------------------------------------------------------------- helpers */

/* In a child of a test: if a condition does not hold, print it and end. */
#define CHECK(cond) ((cond) ? (void)0 : give_up(#cond, __LINE__))

static _Noreturn void give_up(const char *what, int line)
{
	dprintf(99, "child, line %d: not so: %s\n", line, what);
	_exit(1);
}

/**
 * run_child() - run a function in a process of its own
 * @run:	function; returns if all is well
 * @ends:	for it; its stdout and stderr are the log's end
 *
 * Return: its status, as of waitpid(2).
 */
static int run_child(void (*run)(const struct ends *), const struct ends *ends)
{
	int status = -1;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		dup2(STDERR_FILENO, 99);
		dup2(ends->log, STDOUT_FILENO);
		dup2(ends->log, STDERR_FILENO);
		log_init(LOG_VERBOSE, "wg0");
		run(ends);
		_exit(0);
	}
	/* A child that takes longer than CHILD_S counts as blocked. */
	for (int i = 0; i < CHILD_S * 100 && status == -1; i++) {
		if (waitpid(pid, &status, WNOHANG) != pid)
			status = -1;
		poll(NULL, 0, 10);
	}
	if (status == -1) {
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
	}
	close(ends->log);
	close(ends->reader);
	return status;
}

/* Read until a text has come, waiting 5 s at most for each piece. */
static void read_until(int fd, const char *wanted)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	size_t len = 0;
	ssize_t n;

	text[0] = 0;
	while (poll(&pfd, 1, 5000) == 1 && len < TEXT_CAP - 1) {
		n = read(fd, text + len, TEXT_CAP - 1 - len);
		if (n <= 0)
			break;
		text[len + (size_t)n] = 0;
		if (strstr(text + (len > 100 ? len - 100 : 0), wanted))
			return;
		len += (size_t)n;
	}
	give_up(wanted, __LINE__);
}

static unsigned int count_lines(const char *word)
{
	unsigned int n = 0;

	for (const char *at = text; (at = strstr(at, word)); at++)
		n++;
	return n;
}

/* ---------------------------------------------------------------- tests */

static void *write_lines(void *arg)
{
	for (int i = 0; i < N_LINES; i++)
		log_event("a line that is rather long, and has number %d", i);
	return arg;
}

/* Fill the stream, so that the first line of the log finds no room. */
static void fill_up(const struct ends *ends)
{
	int flags = fcntl(ends->log, F_GETFL);

	CHECK(!fcntl(ends->log, F_SETFL, flags | O_NONBLOCK));
	while (write(ends->log, text, 4096) > 0)
		;
	while (write(ends->log, text, 1) > 0)
		;
	CHECK(errno == EAGAIN);
	CHECK(!fcntl(ends->log, F_SETFL, flags));
}

/*
 * The reader starts to read after the last line. Each line was written or
 * counted as lost, no line is torn, and one line has the count.
 */
static void stall_and_come_back(const struct ends *ends)
{
	uint64_t n_lost;
	const char *at;

	memset(text, '\n', 4096);
	fill_up(ends);
	CHECK(!log_start(NULL));
	write_lines(NULL);
	/* The writer did not block although nothing was read. */
	read_until(ends->reader, " lost: ");
	CHECK(count_lines(" lost: ") == 1);
	at = strstr(text, " lost: ");
	while (at > text && at[-1] != '\n')
		at--;
	CHECK(!strncmp(at, "DEBUG: (wg0) ", 13));
	/* The number follows 13 characters of head and 20 of date and time. */
	n_lost = strtoull(at + 13 + 20, NULL, 10);
	CHECK(n_lost > 0);
	CHECK(count_lines("\nDEBUG: (wg0) ") == count_lines("DEBUG: "));
	CHECK(count_lines("a line that") + n_lost == N_LINES);
	log_event("and on");
	read_until(ends->reader, "and on");
	CHECK(!count_lines(" lost: "));
	log_stop();
}

static void stalled(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct ends ends = kinds[i]();

		fprintf(stderr, "kind %zu\n", i);
		assert_int_equal(run_child(stall_and_come_back, &ends), 0);
	}
}

/* Several threads, and a reader that does not come back. */
static void stall_and_end(const struct ends *ends)
{
	pthread_t threads[N_THREADS];
	uint64_t start, took;

	fill_up(ends);
	CHECK(!log_start(NULL));
	for (int i = 0; i < N_THREADS; i++)
		CHECK(!pthread_create(&threads[i], NULL, write_lines, NULL));
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK(log_start(NULL) == -EBUSY);
	start = now_monotonic();
	log_stop();
	log_event("nobody wants this");
	log_stop();
	took = now_monotonic() - start;
	CHECK(took >= LOG_LINGER_MS * NSEC_PER_MSEC);
	CHECK(took < 5 * NSEC_PER_SEC);
}

static void stalled_at_the_end(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct ends ends = kinds[i]();

		fprintf(stderr, "kind %zu\n", i);
		assert_int_equal(run_child(stall_and_end, &ends), 0);
	}
}

/* Without a log thread, each line waits for a limited time. */
static void stall_before(const struct ends *ends)
{
	sigset_t set;

	/* SIGALRM may be blocked before, and then stays blocked. */
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	memset(text, '\n', 4096);
	fill_up(ends);
	for (int i = 0; i < 3; i++)
		log_error("line %d", i);
	CHECK(!sigprocmask(SIG_BLOCK, NULL, &set));
	CHECK(sigismember(&set, SIGALRM));
}

static void stalled_before_the_start(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(kinds) - 1; i++) {
		struct ends ends = kinds[i]();

		fprintf(stderr, "kind %zu\n", i);
		assert_int_equal(run_child(stall_before, &ends), 0);
	}
}

/* A thread that fills the pipe beside the log, and never ends. */
static void *fill(void *arg)
{
	const struct ends *ends = arg;
	int fd = dup(ends->log);

	for (;;)
		if (write(fd, text, 4096) < 0)
			return NULL;
}

static void share(const struct ends *ends)
{
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, fill, unconst(ends)));
	for (int i = 0; i < 5; i++)
		log_error("without a thread");
	CHECK(!log_start(NULL));
	write_lines(NULL);
	log_stop();
}

static void shared(void **state)
{
	struct ends ends = open_pipe();

	(void)state;
	memset(text, 'x', sizeof(text));
	assert_int_equal(run_child(share, &ends), 0);
}

/* Is the log thread asleep? Its line in /proc is "NUMBER (log) STATE ...". */
static bool is_asleep(const char *number)
{
	char path[300], line[256] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%s/stat", number);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(line, sizeof(line), file))
		line[0] = 0;
	fclose(file);
	return strstr(line, " (log) S ");
}

/* Wait until the log thread has no work left. */
static void wait_until_idle(void)
{
	bool is_idle = false;

	for (int i = 0; i < 500 && !is_idle; i++) {
		DIR *tasks = opendir("/proc/self/task");
		struct dirent *entry;

		poll(NULL, 0, 10);
		while (tasks && (entry = readdir(tasks)))
			is_idle = is_idle || is_asleep(entry->d_name);
		closedir(tasks);
	}
	CHECK(is_idle);
}

/* The log's file is full for some time, as on a full disk. */
static void fill_file(const struct ends *ends)
{
	struct rlimit limit = { FILE_CAP, RLIM_INFINITY };
	ssize_t n;

	signal(SIGXFSZ, SIG_IGN);
	CHECK(!setrlimit(RLIMIT_FSIZE, &limit));
	CHECK(!log_start(NULL));
	/* The last lines are refused one by one. */
	for (int i = 0; i < 80; i++)
		log_event("a line that is rather long, and has number %d", i);
	wait_until_idle();
	limit.rlim_cur = RLIM_INFINITY;
	CHECK(!setrlimit(RLIMIT_FSIZE, &limit));
	log_event("and on");
	log_stop();
	n = pread(ends->reader, text, sizeof(text) - 1, 0);
	CHECK(n > FILE_CAP);
	text[n] = 0;
	CHECK(count_lines(" lost: ") == 1);
	CHECK(strtoull(strstr(text, " lines of the log lost: ") - 3, NULL,
		       10) == 80 - count_lines("has number "));
	/* The cut line is ended by a newline of its own. */
	CHECK(count_lines("\nDEBUG: ") + 1 == count_lines("\n"));
	CHECK(strstr(text, "and on\n"));
}

static void full_file(void **state)
{
	char path[] = "/tmp/wiregather-log-XXXXXX";
	struct ends ends = { .log = mkostemp(path, O_APPEND | O_CLOEXEC) };

	(void)state;
	ends.reader = open(path, O_RDONLY | O_CLOEXEC);
	unlink(path);
	assert_int_equal(run_child(fill_file, &ends), 0);
}

/* The reader has closed its end. */
static void log_without_reader(const struct ends *ends)
{
	signal(SIGPIPE, SIG_IGN);
	close(ends->reader);
	CHECK(!log_start(NULL));
	write_lines(NULL);
	log_stop();
}

static void no_reader(void **state)
{
	struct ends ends = open_pipe();

	(void)state;
	/* The parent must have no reading end either. */
	close(ends.reader);
	ends.reader = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(run_child(log_without_reader, &ends), 0);
}

static bool has_begun;

static void note_begin(const char *name)
{
	assert_string_equal(name, "log");
	has_begun = true;
}

/* With a reader that reads, no line is lost and all are in order. */
static void in_order(void **state)
{
	struct ends ends = open_pipe();
	int saved = dup(STDOUT_FILENO), n = 0;
	FILE *file;
	char line[LOG_LINE_CAP], wanted[64];

	(void)state;
	fflush(stdout);
	dup2(ends.log, STDOUT_FILENO);
	log_init(LOG_VERBOSE, "wg0");
	for (int round = 0; round < 2; round++) {
		has_begun = false;
		assert_int_equal(log_start(note_begin), 0);
		assert_true(has_begun);
		for (int i = 0; i < 50; i++)
			log_event("number %d", n++);
		log_stop();
	}
	dup2(saved, STDOUT_FILENO);
	close(saved);
	close(ends.log);
	file = fdopen(ends.reader, "r");
	for (int i = 0; i < n; i++) {
		assert_non_null(fgets(line, sizeof(line), file));
		snprintf(wanted, sizeof(wanted), " number %d\n", i);
		assert_non_null(strstr(line, wanted));
	}
	assert_null(fgets(line, sizeof(line), file));
	fclose(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order),
		cmocka_unit_test(stalled),
		cmocka_unit_test(stalled_at_the_end),
		cmocka_unit_test(stalled_before_the_start),
		cmocka_unit_test(shared),
		cmocka_unit_test(full_file),
		cmocka_unit_test(no_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
