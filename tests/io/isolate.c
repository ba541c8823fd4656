/* SPDX-License-Identifier: MIT */
/*
 * Each layer of the isolation, except the filter, takes effect: a forbidden
 * action works in a process without isolation, and is refused in one with it.
 * Every attempt is made by a child.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/syscalls.h"
#include "isolate/caps.h"
#include "isolate/isolate.h"
#include "tests/io/attempt.h"
#include "tests/lib/check.h"
#include "tests/lib/refuse.h"
#include "tests/lib/skip.h"

#ifndef PR_GET_MDWE
#define PR_GET_MDWE 66
#endif

/* ------------------------------------------------------------ files */

static int open_inside(void)
{
	return open(attempt_inside, O_RDONLY);
}

static int make_inside(void)
{
	char path[80];

	snprintf(path, sizeof(path), "%s.new", attempt_inside);
	return open(path, O_CREAT | O_WRONLY, 0600);
}

static int remove_inside(void)
{
	return unlink(attempt_inside);
}

static int remove_outside(void)
{
	return unlink(attempt_outside);
}

static int read_password_file(void)
{
	return open("/etc/passwd", O_RDONLY);
}

static int find_landlock_missing(void)
{
	errno = EACCES;
	return strstr(attempt_isolate.missing, "no Landlock (") ? 0 : -1;
}

/*
 * Without Landlock a message says so; the filter still refuses to open files.
 */
static void files_are_out_of_reach(void **state)
{
	(void)state;
	attempt_must_work(FREE, open_inside, "open inside");
	attempt_must_work(FREE, read_password_file, "open /etc/passwd");
	if (!attempt_has_landlock()) {
		attempt_must_work(RESTRICTED, find_landlock_missing,
				  "no line says that Landlock is missing");
		attempt_must_kill(attempt_run(SEALED, attempt_open_file),
				  SIGSYS, "sealed", "open a file");
		return;
	}
	attempt_must_be_refused(RESTRICTED, open_inside, EACCES);
	attempt_must_be_refused(RESTRICTED, read_password_file, EACCES);
	attempt_must_be_refused(RESTRICTED, make_inside, EACCES);
	attempt_must_be_refused(RESTRICTED, attempt_make_directory, EACCES);
	attempt_must_be_refused(RESTRICTED, attempt_execute, EACCES);
	attempt_must_be_refused(RESTRICTED, remove_outside, EACCES);
	attempt_must_be_refused(RESTRICTED, remove_inside, EACCES);
	attempt_must_be_refused(KEEPING, remove_outside, EACCES);
	assert_int_equal(access(attempt_outside, F_OK), 0);
}

/* The keeper removes the socket's file. */
static void own_directory_can_be_cleared(void **state)
{
	(void)state;
	attempt_must_work(KEEPING, remove_inside, "remove inside");
	assert_int_equal(access(attempt_inside, F_OK), -1);
	assert_int_equal(attempt_make_file(), 0);
}
/* ------------------------------------------------------------ the rest */

static int look_at_process(void)
{
	uint64_t permitted;

	if (getuid() != 65534 || geteuid() != 65534 || getgid() != 65534 ||
	    getgroups(0, NULL) != 0)
		return -(errno = 201);
	if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return -(errno = 202);
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return -(errno = 203);
	if (caps_get(0, &permitted) || permitted)
		return -(errno = 204);
	/* Try to become root again. */
	if (setresuid(0, 0, 0) == 0 || prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN))
		return -(errno = 205);
	return 0;
}

static void few_rights_are_left(void **state)
{
	(void)state;
	attempt_must_work(RESTRICTED, look_at_process, "look at the process");
}

static int make_executable_where_refused(void)
{
	/* Kernels before 6.3 lack PR_GET_MDWE. */
	if (prctl(PR_GET_MDWE, 0, 0, 0, 0) < 0)
		return -(errno = EACCES);
	return attempt_make_executable();
}

static void writable_memory_is_not_executed(void **state)
{
	(void)state;
	attempt_must_be_refused(RESTRICTED, make_executable_where_refused,
				EACCES);
}

static void wrong_users(void **state)
{
	static const struct {
		const char *name;
		int err;
	} rows[] = {
		{ "no-such-user-here", -ENOENT },
		{ "0:1000", -EINVAL },
		{ "1000:0", -EINVAL },
		{ "1000", -ENOENT },
		{ "1000:", -ENOENT },
		{ "1000:1000:1000", -ENOENT },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct isolate_config config = { .user = rows[i].name };

		assert_int_equal(isolate_init(&attempt_isolate, &config),
				 rows[i].err);
		assert_non_null(strstr(attempt_isolate.why, rows[i].name));
	}
}

static int look_at_root(void)
{
	uint64_t permitted;

	if (getuid() != 0 || geteuid() != 0 || getgid() != 0 ||
	    getgroups(0, NULL) != 0)
		return -(errno = 201);
	if (caps_get(0, &permitted) || permitted)
		return -(errno = 202);
	/* The file belongs to root, so only Landlock can refuse this. */
	if (attempt_has_landlock() &&
	    (open("/etc/passwd", O_WRONLY) >= 0 || errno != EACCES))
		return -(errno = 203);
	return 0;
}

/*
 * With --user root the other layers work, and a message names the missing one.
 */
static void root_by_name(void **state)
{
	static const char *const names[] = { "root", "0:0" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const struct isolate_config config = { .user = names[i] };
		pid_t pid = fork();
		int status = 0;

		if (!pid) {
			if (isolate_init(&attempt_isolate, &config) ||
			    isolate_restrict(&attempt_isolate) ||
			    !strstr(attempt_isolate.missing,
				    "runs on as root, as --user has it"))
				_exit(BROKEN);
			_exit(look_at_root() < 0 ? errno : DONE);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
}

/* Make some calls fail with EPERM, as a container may. */
static void refuse_layers(void)
{
	if (refuse_call(SYS_landlock_create_ruleset, EPERM) < 0 ||
	    refuse_call(SYS_seccomp, EPERM) < 0)
		_exit(BROKEN);
}

static void refused_layers_are_named(void **state)
{
	const struct isolate_config config = { 0 };
	pid_t pid = fork();
	int status = 0;

	(void)state;
	if (!pid) {
		refuse_layers();
		if (isolate_init(&attempt_isolate, &config) ||
		    isolate_restrict(&attempt_isolate) ||
		    isolate_seal(&attempt_isolate))
			_exit(BROKEN);
		_exit(strstr(attempt_isolate.missing, "no Landlock (") &&
				      strstr(attempt_isolate.missing,
					     "no filter of") &&
				      getuid() == 65534
			      ? DONE
			      : BROKEN);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_are_out_of_reach),
		cmocka_unit_test(own_directory_can_be_cleared),
		cmocka_unit_test(few_rights_are_left),
		cmocka_unit_test(writable_memory_is_not_executed),
		cmocka_unit_test(wrong_users),
		cmocka_unit_test(root_by_name),
		cmocka_unit_test(refused_layers_are_named),
	};

	if (geteuid() != 0)
		skip_program("needs root, to give something up");
#ifdef ISOLATE_SANITIZED
	skip_program("sanitizers need what is forbidden");
#endif
	if (!attempt_has_landlock())
		printf("# DIFFERS: no Landlock; CAP_DAC_OVERRIDE is not bound "
		       "to the socket's directory\n");
	return cmocka_run_group_tests(tests, attempt_make_files,
				      attempt_remove_files);
}
