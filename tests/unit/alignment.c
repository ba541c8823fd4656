/* SPDX-License-Identifier: MIT */
/*
 * Builds with UndefinedBehaviorSanitizer report a load from an address that is
 * not aligned for its type. All suites run in such a build, too. This program
 * shows that a misaligned load is reported and ends the program.
 */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/check.h"

/* In a child: read a number at an odd address. */
static void load_misaligned(void)
{
	static _Alignas(uint32_t) unsigned char bytes[2 * sizeof(uint32_t)];
	/*
	 * A volatile pointer hides the load from the optimiser, and gives no
	 * warning of a cast.
	 */
	void *volatile odd = bytes + 1;
	const uint32_t *number = odd;

	_exit(*number ? 2 : 0);
}

static void misaligned_load_is_reported(void **state)
{
	char text[4096];
	size_t len = 0;
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		dup2(fds[1], STDERR_FILENO);
		load_misaligned();
	}
	close(fds[1]);
	while ((n = read(fds[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = 0;
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!strstr(text, "load of misaligned address"))
		fail_msg("no report, but: %s", text);
	if (!status)
		fail_msg("the report did not end the program");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(misaligned_load_is_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
