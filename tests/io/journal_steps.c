/* SPDX-License-Identifier: MIT */
/*
 * A process that sets a configuration dies after each of its instructions, in turn.
 *
 * It is not killed: it is stopped after each instruction (PTRACE_SINGLESTEP), and what
 * the holder of its journal would have at that moment is copied and restored. The
 * restored device must have the configuration before the set or that after it, once
 * the one after it then always, and that after it if the set was answered.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "crypto/init.h"
#include "journal/layout.h"
#include "tests/lib/skip.h"
#include "tests/unit/journal_world.h"

#define KEY_A "a0e1f2031425364758697a8b9cadbecfd0e1f203142536475869708192a3b4c5"
#define KEY_B "b0e1f2031425364758697a8b9cadbecfd0e1f203142536475869708192a3b4c5"

enum {
	/* The most memory of a journal here. */
	LEN_MAX = 1 << 20,
};

/*
 * What the process and its holder share.
 * @kept:	the descriptor that the holder has, in the process's numbers
 * @is_answered: the set was answered
 */
struct shared {
	volatile int kept;
	volatile int is_answered;
};

/* Two processes: with room in the journal's memory, and without. They are made before
 * this one uses RCU, whose thread a child would not have. @shared belongs to the one
 * that runs, or is watched. */
static struct shared *both_shared;
static struct shared *shared;
static pid_t pids[2];

static const char *const first =
	"set=1\nlisten_port=7\npublic_key=" KEY_A "\nendpoint=192.0.2.1:1\n"
	"allowed_ip=10.0.0.0/8\n\n";
static const char *const second =
	"set=1\npublic_key=" KEY_A "\nremove=true\npublic_key=" KEY_B
	"\nendpoint=192.0.2.2:2\n"
	"allowed_ip=10.0.0.0/8\n\n";

static int keep(void *arg, int fd)
{
	(void)arg;
	shared->kept = fd;
	return 0;
}

static const struct journal_ops ops = { .keep = keep };

static void apply(struct journal *journal, const char *text)
{
	struct uapi_request request = device_fake_parse(text);

	if (journal_apply(journal, request.config, 1) < 0)
		_exit(2);
	config_free(request.config);
}

/* The process. It stops before and after what is watched. */
static void run(bool is_full)
{
	struct uapi_request request = device_fake_parse(second);
	struct device_fake fake;
	struct journal *journal;
	struct journal_info info;
	unsigned int n_made = 1;

	device_fake_init(&fake);
	journal = journal_new(&fake.device, &ops, NULL, SECRET_PRIVATE);
	if (!journal || journal_start(journal) < 0)
		_exit(2);
	/* Up to the set that needs another memory, less the watched one. */
	for (int i = 0; is_full && n_made == 1; i++) {
		apply(journal, first);
		journal_get_info(journal, &info);
		n_made = info.n_made;
		shared->is_answered = i;
	}
	if (is_full) {
		int n = shared->is_answered;

		device_fake_deinit(&fake);
		journal_free(journal);
		device_fake_init(&fake);
		journal = journal_new(&fake.device, &ops, NULL, SECRET_PRIVATE);
		if (!journal || journal_start(journal) < 0)
			_exit(2);
		while (n--)
			apply(journal, first);
		shared->is_answered = 0;
	} else {
		apply(journal, first);
	}
	raise(SIGSTOP);
	if (journal_apply(journal, request.config, 1) < 0)
		_exit(2);
	shared->is_answered = 1;
	raise(SIGSTOP);
	_exit(0);
}

static char *print(const char *const *requests, size_t n)
{
	struct device_fake fake;
	char *text;

	device_fake_init(&fake);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(device_fake_set(&fake, requests[i]), 0);
	text = device_fake_print(&fake, 4096);
	device_fake_deinit(&fake);
	return text;
}

/* What the holder's memory restores. */
static char *restore_copy(const uint8_t *bytes, size_t len)
{
	int fd = memfd_create("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct device_fake fake;
	struct restore restore;
	char *text;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	device_fake_init(&fake);
	assert_int_equal(journal_world_restore(fd, &fake, &restore), 0);
	if (restore.why)
		fail_msg("unreadable: %s", restore.why);
	text = device_fake_print(&fake, 4096);
	device_fake_deinit(&fake);
	close(fd);
	return text;
}

/* The memory of the descriptor that the process has given to its holder. */
struct view {
	int number;
	uint8_t *bytes;
	size_t len;
	uint8_t *last;
};

static void close_view(struct view *view)
{
	if (view->bytes)
		munmap(view->bytes, view->len);
	free(view->last);
	*view = (struct view){ .number = -1 };
}

/* Returns true if the holder has something new. */
static bool look(struct view *view, pid_t pid)
{
	char path[64];
	int fd;

	if (view->number != shared->kept) {
		close_view(view);
		view->number = shared->kept;
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid,
			 view->number);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		assert_true(fd >= 0);
		view->len = (size_t)lseek(fd, 0, SEEK_END);
		assert_in_range(view->len, 1, LEN_MAX);
		view->bytes =
			mmap(NULL, view->len, PROT_READ, MAP_SHARED, fd, 0);
		assert_ptr_not_equal(view->bytes, MAP_FAILED);
		close(fd);
		view->last = malloc(view->len);
		assert_non_null(view->last);
		memcpy(view->last, view->bytes, view->len);
		return true;
	}
	if (!memcmp(view->last, view->bytes, view->len))
		return false;
	memcpy(view->last, view->bytes, view->len);
	return true;
}

/*
 * @n_steps:	instructions
 * @n_looks:	how often the memory was new
 * @n_after:	how often it restored the configuration after the set
 */
struct tally {
	size_t n_steps;
	size_t n_looks;
	size_t n_after;
};

static void check(struct tally *tally, const struct view *view,
		  const char *before, const char *after)
{
	char *text = restore_copy(view->last, view->len);
	bool is_after = !strcmp(text, after);

	tally->n_looks++;
	tally->n_after += is_after;
	if (!is_after && strcmp(text, before) != 0)
		fail_msg("after %zu instructions: %s", tally->n_steps, text);
	if (!is_after && tally->n_after)
		fail_msg("after %zu instructions the set is lost",
			 tally->n_steps);
	free(text);
}

/* Is the traced process at the second SIGSTOP? */
static bool step(pid_t pid)
{
	int status;

	assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSTOPPED(status))
		fail_msg("the process ended: %#x", (unsigned int)status);
	return WSTOPSIG(status) == SIGSTOP;
}

static pid_t begin(bool is_full)
{
	int status;
	pid_t pid;

	shared = &both_shared[is_full];
	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(77);
		rcu_register();
		run(is_full);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSTOPPED(status));
	return pid;
}

static void watch(bool is_full)
{
	const char *both[] = { first, second };
	char *before = print(both, 1), *after = print(both, 2);
	struct view view = { .number = -1 };
	struct tally tally = { 0 };
	pid_t pid;
	char *text;
	int kept;

	shared = &both_shared[is_full];
	pid = pids[is_full];
	kept = shared->kept;
	do {
		if (look(&view, pid))
			check(&tally, &view, before, after);
		tally.n_steps++;
	} while (!step(pid));
	look(&view, pid);
	text = restore_copy(view.last, view.len);
	assert_string_equal(text, after);
	assert_int_equal(shared->is_answered, 1);
	assert_int_equal(shared->kept != kept, is_full);
	print_message("# %zu instructions, %zu of them changed the memory\n",
		      tally.n_steps, tally.n_looks);
	assert_true(tally.n_looks > 10);
	free(text);
	free(before);
	free(after);
	close_view(&view);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void test_set(void **state)
{
	(void)state;
	watch(false);
}

/* The same with a full memory: the set needs another one. */
static void test_set_that_needs_memory(void **state)
{
	(void)state;
	watch(true);
}

/* Can a process be traced here? */
static void require_ptrace(void)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(77);
		raise(SIGSTOP);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) ||
	    ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0 ||
	    waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		skip_program("no process can be run step by step here");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_set_that_needs_memory),
	};

	require_ptrace();
	if (crypto_init() < 0)
		return 1;
	both_shared = mmap(NULL, 2 * sizeof(*shared), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (both_shared == MAP_FAILED)
		return 1;
	pids[false] = begin(false);
	pids[true] = begin(true);
	rcu_register();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
