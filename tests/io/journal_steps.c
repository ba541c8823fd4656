/* SPDX-License-Identifier: MIT */
/*
 * A process that sets a configuration, or notes timestamps, dies after each of its
 * instructions, in turn.
 *
 * It is not killed: it is stopped after each instruction (PTRACE_SINGLESTEP), and what
 * the holder of its journal would have at that moment is copied and restored. The
 * restored device must have the configuration before the set or that after it, once
 * the one after it then always, and that after it if the set was answered. The
 * timestamps of a peer never go back.
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

#include "base/bytes.h"
#include "crypto/init.h"
#include "journal/layout.h"
#include "tests/lib/skip.h"
#include "tests/unit/journal_world.h"

#define KEY_A "a0e1f2031425364758697a8b9cadbecfd0e1f203142536475869708192a3b4c5"
#define KEY_B "b0e1f2031425364758697a8b9cadbecfd0e1f203142536475869708192a3b4c5"
#define KEY_C "c0e1f2031425364758697a8b9cadbecfd0e1f203142536475869708192a3b4c5"

enum {
	/* The most memory of a journal here. */
	LEN_MAX = 1 << 20,
	/* Timestamps of the peer with KEY_C: of both kinds, and only their first byte
	 * differs. The first one is noted before the process is watched. */
	STAMP_FIRST = 1,
	STAMP_LAST = 5,
};

/* What a process does while it is watched. */
enum act {
	SETS,
	SETS_AND_NEEDS_MEMORY,
	NOTES,
	N_ACTS,
};

/*
 * What the process and its holder share.
 * @kept:	the descriptor that the holder has, in the process's numbers
 * @is_answered: the set was answered, or the last timestamp noted
 */
struct shared {
	volatile int kept;
	volatile int is_answered;
};

/* One process for each act. They are made before this one uses RCU, whose thread a
 * child would not have. @shared belongs to the one that runs, or is watched. */
static struct shared *all_shared;
static struct shared *shared;
static pid_t pids[N_ACTS];

static const char *const first =
	"set=1\nlisten_port=7\npublic_key=" KEY_A "\nendpoint=192.0.2.1:1\n"
	"allowed_ip=10.0.0.0/8\npublic_key=" KEY_C "\n\n";
static const char *const second =
	"set=1\npublic_key=" KEY_A "\nremove=true\npublic_key=" KEY_B
	"\nendpoint=192.0.2.2:2\n"
	"allowed_ip=10.0.0.0/8\nallowed_ip=10.1.0.0/16\n\n";

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

static struct peer *find_peer(struct device *device, const char *hex)
{
	uint8_t key[NOISE_PUBLIC_KEY_LEN];

	for (size_t i = 0; i < sizeof(key); i++) {
		const char digits[] = { hex[2 * i], hex[2 * i + 1], 0 };

		key[i] = (uint8_t)strtoul(digits, NULL, 16);
	}
	return device_lookup_peer(device, key);
}

static void note(struct device *device, uint8_t stamp)
{
	const struct tai64n both = { { stamp } };
	struct peer *peer = find_peer(device, KEY_C);

	noise_handshake_restore_timestamps(&peer->handshake, &both, &both);
	device_note(peer);
}

static struct journal *make_journal(struct device_fake *fake)
{
	struct journal *journal;

	device_fake_init(fake);
	journal = journal_new(&fake->device, &ops, NULL, SECRET_PRIVATE);
	if (!journal || journal_start(journal) < 0)
		_exit(2);
	return journal;
}

/* How many sets fit into the memory of a journal. */
static int count_sets(void)
{
	struct device_fake fake;
	struct journal *journal = make_journal(&fake);
	struct journal_info info;
	int n = -1;

	do {
		apply(journal, first);
		journal_get_info(journal, &info);
		n++;
	} while (info.n_made == 1);
	device_fake_deinit(&fake);
	journal_free(journal);
	return n;
}

/* The process. It stops before and after what is watched. */
static void run(enum act act)
{
	struct uapi_request request = device_fake_parse(second);
	int n = act == SETS_AND_NEEDS_MEMORY ? count_sets() : 1;
	struct device_fake fake;
	struct journal *journal = make_journal(&fake);

	while (n--)
		apply(journal, first);
	note(&fake.device, STAMP_FIRST);
	raise(SIGSTOP);
	if (act == NOTES)
		for (uint8_t i = STAMP_FIRST + 1; i <= STAMP_LAST; i++)
			note(&fake.device, i);
	else if (journal_apply(journal, request.config, 1) < 0)
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

/* The timestamp that a peer has taken, and the one that was sent. */
struct stamps {
	uint8_t taken;
	uint8_t sent;
};

static void get_stamps(struct stamps *stamps, struct device *device)
{
	struct peer *peer = find_peer(device, KEY_C);
	struct tai64n taken, sent;

	assert_non_null(peer);
	noise_handshake_get_timestamps(&peer->handshake, &taken, &sent);
	*stamps = (struct stamps){ taken.b[0], sent.b[0] };
}

/* What the holder's memory restores. */
static char *restore_copy(const uint8_t *bytes, size_t len,
			  struct stamps *stamps)
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
	get_stamps(stamps, &fake.device);
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
 * @stamps:	that it restored last
 */
struct tally {
	size_t n_steps;
	size_t n_looks;
	size_t n_after;
	struct stamps stamps;
};

static void check(struct tally *tally, const struct view *view,
		  const char *before, const char *after)
{
	struct stamps stamps;
	char *text = restore_copy(view->last, view->len, &stamps);
	bool is_after = !strcmp(text, after);

	if (stamps.taken < tally->stamps.taken ||
	    stamps.sent < tally->stamps.sent)
		fail_msg("after %zu instructions a timestamp has gone back",
			 tally->n_steps);
	tally->stamps = stamps;
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

static pid_t begin(enum act act)
{
	int status;
	pid_t pid;

	shared = &all_shared[act];
	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(77);
		rcu_register();
		run(act);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSTOPPED(status));
	return pid;
}

static void watch(enum act act)
{
	const char *both[] = { first, second };
	char *before = print(both, 1),
	     *after = print(both, act == NOTES ? 1 : 2);
	struct tally tally = { .stamps = { STAMP_FIRST, STAMP_FIRST } };
	uint8_t last = act == NOTES ? STAMP_LAST : STAMP_FIRST;
	struct view view = { .number = -1 };
	struct stamps stamps;
	pid_t pid = pids[act];
	char *text;
	int kept;

	shared = &all_shared[act];
	kept = shared->kept;
	do {
		if (look(&view, pid))
			check(&tally, &view, before, after);
		tally.n_steps++;
	} while (!step(pid));
	look(&view, pid);
	text = restore_copy(view.last, view.len, &stamps);
	assert_string_equal(text, after);
	assert_int_equal(stamps.taken, last);
	assert_int_equal(stamps.sent, last);
	assert_int_equal(shared->is_answered, 1);
	assert_int_equal(shared->kept != kept, act == SETS_AND_NEEDS_MEMORY);
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
	watch(SETS);
}

/* The same with a full memory: the set needs another one. */
static void test_set_that_needs_memory(void **state)
{
	(void)state;
	watch(SETS_AND_NEEDS_MEMORY);
}

/* Timestamps of handshakes, one after the other. */
static void test_timestamps(void **state)
{
	(void)state;
	watch(NOTES);
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
		cmocka_unit_test(test_timestamps),
	};

	require_ptrace();
	if (crypto_init() < 0)
		return 1;
	all_shared =
		mmap(NULL, N_ACTS * sizeof(*shared), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (all_shared == MAP_FAILED)
		return 1;
	for (enum act act = 0; act < N_ACTS; act++)
		pids[act] = begin(act);
	rcu_register();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
