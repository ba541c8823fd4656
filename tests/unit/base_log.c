/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "tests/lib/check.h"

enum {
	/* A pipe holds as much (pipe(7)), and no test writes more. */
	TEXT_CAP = 65536,
	/* More than one on most machines; their lines fit in TEXT_CAP. Choices,
	 * not measured. */
	N_THREADS = 4,
	N_LINES = 50,
};

/* A standard descriptor that is replaced by a pipe during a test. */
struct capture {
	int fd;
	int saved;
	int pipe[2];
	char text[TEXT_CAP];
	size_t len;
};

static struct capture out = { .fd = STDOUT_FILENO };
static struct capture err = { .fd = STDERR_FILENO };

static void capture_begin(struct capture *capture)
{
	fflush(stdout);
	capture->len = 0;
	capture->saved = dup(capture->fd);
	assert_int_equal(pipe2(capture->pipe, O_NONBLOCK | O_CLOEXEC), 0);
	assert_int_equal(dup2(capture->pipe[1], capture->fd), capture->fd);
}

static void capture_end(struct capture *capture)
{
	ssize_t n;

	dup2(capture->saved, capture->fd);
	close(capture->saved);
	close(capture->pipe[1]);
	while ((n = read(capture->pipe[0], capture->text + capture->len,
			 TEXT_CAP - 1 - capture->len)) > 0)
		capture->len += (size_t)n;
	capture->text[capture->len] = 0;
	close(capture->pipe[0]);
}

static void begin(void)
{
	capture_begin(&out);
	capture_begin(&err);
}

static void end(void)
{
	capture_end(&err);
	capture_end(&out);
}

/* Checks "KIND: (NAME) YYYY/MM/DD HH:MM:SS TEXT\n" and nothing more. */
static void check_line(const char *line, const char *head, const char *text)
{
	static const char shape[] = "dddd/dd/dd dd:dd:dd ";
	size_t len = strlen(head);

	assert_int_equal(strncmp(line, head, len), 0);
	for (size_t i = 0; shape[i]; i++)
		if (shape[i] == 'd')
			assert_in_range(line[len + i], '0', '9');
		else
			assert_int_equal(line[len + i], shape[i]);
	assert_string_equal(line + len + strlen(shape), text);
}

static void before_the_name(void **state)
{
	(void)state;
	begin();
	log_error("before %s", "all");
	log_event("not yet");
	end();
	check_line(err.text, "ERROR: ", "before all\n");
	assert_string_equal(out.text, "");
}

static void levels(void **state)
{
	static const struct {
		enum log_level level;
		bool has_error;
		bool has_event;
	} cases[] = {
		{ LOG_SILENT, false, false },
		{ LOG_ERROR, true, false },
		{ LOG_VERBOSE, true, true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct log_limit limit = { 0 };

		log_init(cases[i].level, "wg0");
		begin();
		log_error("e%d", 1);
		log_event("v%d", 2);
		end();
		if (cases[i].has_error)
			check_line(err.text, "ERROR: (wg0) ", "e1\n");
		else
			assert_string_equal(err.text, "");
		if (cases[i].has_event)
			check_line(out.text, "DEBUG: (wg0) ", "v2\n");
		else
			assert_string_equal(out.text, "");
		begin();
		log_limited(&limit, "l");
		end();
		assert_int_equal(out.len > 0, cases[i].has_event);
	}
}

static void warning(void **state)
{
	(void)state;
	log_init(LOG_ERROR, "wg0");
	begin();
	log_warning("w%d", 1);
	end();
	check_line(err.text, "WARNING: (wg0) ", "w1\n");
	assert_string_equal(out.text, "");
	log_init(LOG_SILENT, "wg0");
	begin();
	log_warning("w");
	end();
	assert_string_equal(err.text, "");
}

/* Have the environment name the stream of a descriptor as the journal. */
static void name_journal(int fd, const char *more)
{
	struct stat st;
	char text[64];

	assert_int_equal(fstat(fd, &st), 0);
	snprintf(text, sizeof(text), "%ju:%ju%s", (uintmax_t)st.st_dev,
		 (uintmax_t)st.st_ino, more);
	assert_int_equal(setenv("JOURNAL_STREAM", text, 1), 0);
}

/* Lines to the journal have a priority and no time; lines to another stream do
 * not change. */
static void journal(void **state)
{
	(void)state;
	begin();
	name_journal(err.fd, "");
	log_init(LOG_VERBOSE, "wg0");
	log_error("e");
	log_warning("w");
	log_event("v");
	end();
	assert_string_equal(err.text, "<3>wg0: e\n<4>wg0: w\n");
	check_line(out.text, "DEBUG: (wg0) ", "v\n");
	begin();
	name_journal(out.fd, "");
	log_init(LOG_VERBOSE, "");
	log_error("e");
	log_event("v");
	end();
	assert_string_equal(out.text, "<6>v\n");
	check_line(err.text, "ERROR: ", "e\n");
	/* Something else than two numbers names no stream. */
	begin();
	name_journal(err.fd, "x");
	log_init(LOG_VERBOSE, "wg0");
	log_error("e");
	end();
	check_line(err.text, "ERROR: (wg0) ", "e\n");
	unsetenv("JOURNAL_STREAM");
	log_init(LOG_VERBOSE, "wg0");
}

static void renamed(void **state)
{
	(void)state;
	log_init(LOG_ERROR, "wg0");
	log_set_name("a-name-of-more-than-15-bytes");
	begin();
	log_error("x");
	end();
	check_line(err.text, "ERROR: (a-name-of-more-) ", "x\n");
}

static void one_line(void **state)
{
	char longest[2 * LOG_LINE_CAP];

	(void)state;
	log_init(LOG_ERROR, "wg0");
	begin();
	log_error("a\nERROR: forged\x1b[0m\x7f\tend");
	end();
	check_line(err.text, "ERROR: (wg0) ", "a?ERROR: forged?[0m??end\n");

	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = 0;
	begin();
	log_error("%s", longest);
	end();
	assert_int_equal(err.len, LOG_LINE_CAP);
	assert_int_equal(err.text[LOG_LINE_CAP - 2], 'x');
	assert_int_equal(err.text[LOG_LINE_CAP - 1], '\n');
}

static void keeps_errno(void **state)
{
	int full;

	(void)state;
	log_init(LOG_ERROR, "wg0");
	capture_begin(&err);
	full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	assert_int_equal(dup2(full, STDERR_FILENO), STDERR_FILENO);
	errno = EBUSY;
	log_error("nobody takes this");
	assert_int_equal(errno, EBUSY);
	close(full);
	capture_end(&err);
}

static void limit_windows(void **state)
{
	struct log_limit limit = { 0 };
	uint64_t now = 1000 * NSEC_PER_SEC;
	uint32_t n = 99;

	(void)state;
	for (int i = 0; i < LOG_BURST; i++) {
		assert_true(log_limit_take(&limit, now, &n));
		assert_int_equal(n, 0);
	}
	for (int i = 0; i < 7; i++)
		assert_false(
			log_limit_take(&limit, now + 4 * NSEC_PER_SEC, &n));
	assert_false(log_limit_take(&limit, now + 5 * NSEC_PER_SEC - 1, &n));
	now += 5 * NSEC_PER_SEC;
	assert_true(log_limit_take(&limit, now, &n));
	assert_int_equal(n, 8);
	/* The number is reported only once. */
	assert_true(log_limit_take(&limit, now, &n));
	assert_int_equal(n, 0);
	for (int i = 2; i < LOG_BURST; i++)
		assert_true(log_limit_take(&limit, now, &n));
	assert_false(log_limit_take(&limit, now, &n));
}

static void limited(void **state)
{
	struct log_limit limit = { 0 };
	unsigned int n_lines = 0;
	char *last;

	(void)state;
	log_init(LOG_VERBOSE, "wg0");
	begin();
	for (int i = 0; i < LOG_BURST + 5; i++)
		log_limited(&limit, "bad message");
	end();
	for (size_t i = 0; i < out.len; i++)
		n_lines += out.text[i] == '\n';
	assert_int_equal(n_lines, LOG_BURST);
	/* The window of the limit is over, without a wait. */
	limit.window_ns = 0;
	limit.n = 0;
	begin();
	log_limited(&limit, "bad message");
	end();
	last = out.text;
	check_line(last, "DEBUG: (wg0) ", "bad message (5 suppressed)\n");
}

static void error_limited(void **state)
{
	struct log_limit limit = { 0 };
	unsigned int n_lines = 0;

	(void)state;
	log_init(LOG_ERROR, "wg0");
	begin();
	log_error_limited(&limit, "trains to %s are lost", "x");
	end();
	check_line(err.text, "ERROR: (wg0) ", "trains to x are lost\n");
	assert_string_equal(out.text, "");
	begin();
	for (int i = 0; i < LOG_BURST + 5; i++)
		log_error_limited(&limit, "l");
	end();
	for (size_t i = 0; i < err.len; i++)
		n_lines += err.text[i] == '\n';
	assert_int_equal(n_lines, LOG_BURST - 1);
	log_init(LOG_SILENT, "wg0");
	limit = (struct log_limit){ 0 };
	begin();
	log_error_limited(&limit, "l");
	end();
	assert_string_equal(err.text, "");
}

static void *write_lines(void *arg)
{
	static struct log_limit limit;

	for (int i = 0; i < N_LINES; i++) {
		log_event("line %d of %s", i, (const char *)arg);
		log_limited(&limit, "limited");
		log_set_name(i & 1 ? "wg0" : "wg1");
	}
	return NULL;
}

static void threads(void **state)
{
	pthread_t ids[N_THREADS];
	char word[] = "a thread";
	size_t n_lines = 0;
	char *line, *end_of_line;

	(void)state;
	log_init(LOG_VERBOSE, "wg0");
	begin();
	for (size_t i = 0; i < N_THREADS; i++)
		assert_int_equal(
			pthread_create(&ids[i], NULL, write_lines, word), 0);
	for (size_t i = 0; i < N_THREADS; i++)
		pthread_join(ids[i], NULL);
	end();
	for (line = out.text; *line; line = end_of_line + 1) {
		end_of_line = strchr(line, '\n');
		assert_non_null(end_of_line);
		assert_int_equal(strncmp(line, "DEBUG: (wg", 10), 0);
		n_lines++;
	}
	assert_int_equal(n_lines, N_THREADS * N_LINES + LOG_BURST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(before_the_name),
		cmocka_unit_test(levels),
		cmocka_unit_test(warning),
		cmocka_unit_test(journal),
		cmocka_unit_test(renamed),
		cmocka_unit_test(one_line),
		cmocka_unit_test(keeps_errno),
		cmocka_unit_test(limit_windows),
		cmocka_unit_test(limited),
		cmocka_unit_test(error_limited),
		cmocka_unit_test(threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
