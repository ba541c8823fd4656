/* SPDX-License-Identifier: MIT */
/*
 * Contests of backends: between fakes under a fake clock, and between real ones
 * beside processes that take all processors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/now.h"
#include "crypto/aead_contest.h"
#include "crypto/init.h"
#include "tests/lib/sanitized.h"

/*
 * A sanitizer slows the project's code around the libraries, but not the libraries. That
 * makes backends look alike, and of two whose times differ by about the margin either may
 * be chosen.
 */
#ifdef IS_SANITIZED
#define IS_DISTORTED true
#else
#define IS_DISTORTED false
#endif

enum {
	/* Starts beside two processes that take a processor each. */
	STARTS = 100,
	HOGS = 2,
	/* Bytes of a line that tells the result of a start. */
	LINE_CAP = 256,
	/* Calls of a fake that can be disturbed. More than a contest makes. */
	SCRIPT_CAP = 512,
};

/*
 * A fake backend. It computes what libsodium's AEAD computes.
 *
 * @long_ns:	what sealing 20 long messages costs on the fake clock
 * @short_ns:	what sealing one short message costs
 * @extra_ns:	what disturbs the n-th work for batches
 * @n_batches:	works for batches so far
 * @n_loaded:	calls of load() without an unload()
 * @n_open:	contexts that are open
 * @is_missing:	load() fails
 * @is_wrong:	results are wrong
 */
struct fake {
	uint64_t long_ns, short_ns;
	uint64_t extra_ns[SCRIPT_CAP];
	unsigned int n_batches;
	int n_loaded, n_open;
	bool is_missing, is_wrong;
};

static struct fake fakes[3];
static uint64_t fake_now;
static bool is_measuring;

static uint64_t fake_clock(void)
{
	is_measuring = true;
	return fake_now;
}

static void fake_seal(struct fake *fake, struct aead_msg *msgs, size_t n)
{
	aead_sodium_whole.seal(NULL, msgs, n);
	if (fake->is_wrong)
		msgs[0].text[0] ^= 1;
	/* aead_check() reads no clock, and has no batches. */
	if (n == AEAD_CONTEST_MESSAGES) {
		assert_int_equal(msgs[n - 1].len, 1420);
		fake_now += fake->long_ns + fake->extra_ns[fake->n_batches++];
	} else if (is_measuring) {
		assert_int_equal(n, 1);
		fake_now += fake->short_ns;
	}
}

/* Makes a backend of fakes[i]. */
#define FAKE(i)                                                            \
	static bool load_##i(void)                                         \
	{                                                                  \
		fakes[i].n_loaded += !fakes[i].is_missing;                 \
		return !fakes[i].is_missing;                               \
	}                                                                  \
	static void unload_##i(void)                                       \
	{                                                                  \
		assert_true(fakes[i].n_loaded-- > 0);                      \
	}                                                                  \
	static void *open_ctx_##i(void)                                    \
	{                                                                  \
		assert_true(fakes[i].n_loaded > 0);                        \
		is_measuring = false;                                      \
		fakes[i].n_open++;                                         \
		return &fakes[i];                                          \
	}                                                                  \
	static void close_ctx_##i(void *ctx)                               \
	{                                                                  \
		assert_ptr_equal(ctx, &fakes[i]);                          \
		fakes[i].n_open--;                                         \
	}                                                                  \
	static void seal_##i(void *ctx, struct aead_msg *msgs, size_t n)   \
	{                                                                  \
		fake_seal(ctx, msgs, n);                                   \
	}                                                                  \
	static size_t open_##i(void *ctx, struct aead_msg *msgs, size_t n) \
	{                                                                  \
		(void)ctx;                                                 \
		return aead_sodium_whole.open(NULL, msgs, n);              \
	}                                                                  \
	static const struct aead_backend backend_##i = {                   \
		"fake " #i,    load_##i, unload_##i, open_ctx_##i,         \
		close_ctx_##i, seal_##i, open_##i                          \
	};

FAKE(0)
FAKE(1)
FAKE(2)

/* The rule says fakes[0]; the others challenge it. */
static struct aead_contest contest_of(size_t n_challengers)
{
	struct aead_contest contest = {
		.order = { &backend_0 },
		.n_order = 1,
		.challengers = { &backend_1, &backend_2 },
		.n_challengers = n_challengers,
		.clock = fake_clock,
	};

	return contest;
}

static struct aead_result run(const struct aead_contest *contest)
{
	struct aead_result result;

	is_measuring = false;
	fake_now = 0;
	assert_true(aead_contest_run(&result, contest));
	return result;
}

/* What a challenger wins that takes so much where the holder takes 20,000 ns
 * for a batch and 400 ns for a small message. */
static struct aead_result run_against(uint64_t long_ns, uint64_t short_ns)
{
	struct aead_contest contest = contest_of(1);

	fakes[0].long_ns = 20000;
	fakes[0].short_ns = 400;
	fakes[1].long_ns = long_ns;
	fakes[1].short_ns = short_ns;
	return run(&contest);
}

/* Each fake is free, is disturbed by nothing, and is not loaded. */
static int reset(void **state)
{
	(void)state;
	memset(fakes, 0, sizeof(fakes));
	return 0;
}

static void test_margin(void **state)
{
	struct aead_result result;

	(void)state;
	result = run_against(17900, 500);
	assert_ptr_equal(result.holder, &backend_0);
	assert_ptr_equal(result.of[AEAD_BATCHES].backend, &backend_1);
	assert_int_equal(result.of[AEAD_BATCHES].ns, 895);
	assert_ptr_equal(result.of[AEAD_BATCHES].rival, &backend_0);
	assert_int_equal(result.of[AEAD_BATCHES].rival_ns, 1000);
	assert_int_equal(fakes[0].n_batches, AEAD_CONTEST_ROUNDS);
	assert_int_equal(fakes[1].n_batches, AEAD_CONTEST_ROUNDS);

	reset(NULL);
	result = run_against(18100, 400);
	assert_ptr_equal(result.of[AEAD_BATCHES].backend, &backend_0);
	assert_int_equal(result.of[AEAD_BATCHES].ns, 1000);
	assert_ptr_equal(result.of[AEAD_BATCHES].rival, &backend_1);
	assert_int_equal(result.of[AEAD_BATCHES].rival_ns, 905);
	assert_int_equal(fakes[1].n_batches, AEAD_CONTEST_TRIES);
}

/* The two kinds of work have winners of their own. */
static void test_kinds_of_work(void **state)
{
	struct aead_result result;

	(void)state;
	result = run_against(25000, 300);
	assert_ptr_equal(result.of[AEAD_BATCHES].backend, &backend_0);
	assert_ptr_equal(result.of[AEAD_SINGLES].backend, &backend_1);
	assert_int_equal(result.of[AEAD_SINGLES].ns, 300);
	assert_int_equal(result.of[AEAD_SINGLES].rival_ns, 400);

	reset(NULL);
	result = run_against(15000, 500);
	assert_ptr_equal(result.of[AEAD_BATCHES].backend, &backend_1);
	assert_ptr_equal(result.of[AEAD_SINGLES].backend, &backend_0);
}

/* One round that the challenger does not win is enough to lose. */
static void test_all_rounds(void **state)
{
	(void)state;
	for (int lost = 0; lost < AEAD_CONTEST_ROUNDS; lost++) {
		reset(NULL);
		for (int try = 0; try < AEAD_CONTEST_TRIES; try++)
			fakes[1].extra_ns[lost + try] = 20000;
		assert_ptr_equal(run_against(10000, 400).of[0].backend,
				 &backend_0);
	}
}

/* A single disturbance decides nothing, whomever it hits, and whether a time
 * becomes longer or shorter by it. */
static void test_disturbed(void **state)
{
	(void)state;
	for (int i = 0; i < 2 * AEAD_CONTEST_ROUNDS; i += 2)
		fakes[0].extra_ns[i] = -UINT64_C(20000);
	assert_ptr_equal(run_against(10000, 400).of[0].backend, &backend_1);
	assert_int_equal(fakes[0].n_batches, 2 * AEAD_CONTEST_ROUNDS);
	for (int i = 0; i < AEAD_CONTEST_ROUNDS; i++) {
		reset(NULL);
		fakes[1].extra_ns[i] = -UINT64_C(19000);
		assert_ptr_equal(run_against(19000, 400).of[0].backend,
				 &backend_0);
	}

	reset(NULL);
	for (int i = 0; i < 2 * AEAD_CONTEST_ROUNDS; i += 2)
		fakes[1].extra_ns[i] = 1000000 / AEAD_CONTEST_ROUNDS;
	assert_ptr_equal(run_against(10000, 400).of[0].backend, &backend_1);
	assert_int_equal(fakes[1].n_batches, 2 * AEAD_CONTEST_ROUNDS);

	for (int i = 0; i < AEAD_CONTEST_ROUNDS; i++) {
		reset(NULL);
		fakes[0].extra_ns[i] = 1000000;
		assert_ptr_equal(run_against(19000, 400).of[0].backend,
				 &backend_0);
	}
}

static void test_equal_backends(void **state)
{
	struct aead_contest contest = contest_of(2);
	struct aead_result result;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(fakes); i++)
		fakes[i] = (struct fake){ .long_ns = 9000, .short_ns = 200 };
	result = run(&contest);
	assert_ptr_equal(result.of[AEAD_BATCHES].backend, &backend_0);
	assert_ptr_equal(result.of[AEAD_SINGLES].backend, &backend_0);
}

/* Of two challengers the second must beat the first one. */
static void test_two_challengers(void **state)
{
	struct aead_contest contest = contest_of(2);
	struct aead_result result;

	(void)state;
	fakes[0].long_ns = 20000;
	fakes[1].long_ns = 15000;
	fakes[2].long_ns = 14000;
	result = run(&contest);
	assert_ptr_equal(result.of[0].backend, &backend_1);
	assert_ptr_equal(result.of[0].rival, &backend_2);
	reset(NULL);
	fakes[0].long_ns = 20000;
	fakes[1].long_ns = 15000;
	fakes[2].long_ns = 13000;
	result = run(&contest);
	assert_ptr_equal(result.of[0].backend, &backend_2);
	assert_ptr_equal(result.of[0].rival, &backend_1);
}

/* However slow the processor is, no try begins that would end after the limit;
 * and if the time does not suffice, the rule holds. */
static void test_limit(void **state)
{
	(void)state;
	for (uint64_t ns = 1000; ns < 1000000; ns += 1000) {
		struct aead_contest contest = contest_of(1);
		struct aead_result result;

		reset(NULL);
		fakes[0].long_ns = ns;
		fakes[1].long_ns = ns / 2;
		fakes[0].short_ns = fakes[1].short_ns = ns / 80;
		result = run(&contest);
		assert_true(result.spent_ns <= AEAD_CONTEST_LIMIT_NS);
		assert_int_equal(result.of[0].backend == &backend_1,
				 AEAD_CONTEST_ROUNDS * (ns + ns / 2) <=
					 AEAD_CONTEST_LIMIT_NS);
	}
}

/* Losers are not loaded after the contest, and no context is left. */
static void test_losers_are_unloaded(void **state)
{
	struct aead_contest contest = contest_of(2);
	struct aead_result result;

	(void)state;
	fakes[0] = (struct fake){ .long_ns = 10000, .short_ns = 400 };
	fakes[1] = (struct fake){ .long_ns = 20000, .short_ns = 300 };
	fakes[2] = (struct fake){ .long_ns = 20000, .short_ns = 500 };
	result = run(&contest);
	assert_int_equal(fakes[0].n_loaded, 1);
	assert_int_equal(fakes[1].n_loaded, 1);
	assert_int_equal(fakes[2].n_loaded, 0);
	for (size_t i = 0; i < ARRAY_LEN(fakes); i++)
		assert_int_equal(fakes[i].n_open, 0);
	for (int work = 0; work < AEAD_WORKS; work++)
		result.of[work].backend->unload();

	reset(NULL);
	(void)run_against(10000, 200);
	assert_int_equal(fakes[0].n_loaded, 0);
	assert_int_equal(fakes[1].n_loaded, 2);
}

/* The holder is the first of the rule that is there and computes rightly. */
static void test_holder(void **state)
{
	struct aead_contest contest = {
		.order = { &backend_0, &backend_1, &backend_2 },
		.n_order = 3,
		.challengers = { &backend_2 },
		.n_challengers = 1,
		.clock = fake_clock,
	};
	struct aead_result result;

	(void)state;
	fakes[0].is_missing = true;
	fakes[1].is_wrong = true;
	result = run(&contest);
	assert_ptr_equal(result.holder, &backend_2);
	assert_ptr_equal(result.of[0].backend, &backend_2);
	/* It does not challenge itself. */
	assert_null(result.of[0].rival);
	assert_int_equal(fakes[1].n_loaded, 0);
	assert_int_equal(fakes[1].n_open, 0);
	assert_int_equal(fakes[2].n_loaded, 2);

	reset(NULL);
	contest.n_order = 2;
	fakes[0].is_missing = fakes[1].is_missing = true;
	assert_false(aead_contest_run(&result, &contest));
}

/* A challenger that is missing, or computes wrongly, does not take part. */
static void test_bad_challengers(void **state)
{
	struct aead_contest contest = contest_of(2);

	(void)state;
	fakes[0].long_ns = 20000;
	fakes[1] = (struct fake){ .long_ns = 1, .is_missing = true };
	fakes[2] = (struct fake){ .long_ns = 1, .is_wrong = true };
	assert_ptr_equal(run(&contest).of[0].backend, &backend_0);
	assert_int_equal(fakes[2].n_loaded, 0);
}

/* Without challengers nothing is tried, and nothing is measured. */
static void test_no_challengers(void **state)
{
	struct aead_contest contest = contest_of(0);
	struct aead_result result;

	(void)state;
	fakes[0].is_wrong = true;
	result = run(&contest);
	assert_ptr_equal(result.of[0].backend, &backend_0);
	assert_ptr_equal(result.of[1].backend, &backend_0);
	assert_int_equal(result.of[0].ns, 0);
	assert_int_equal(fakes[0].n_loaded, 2);
	assert_false(is_measuring);
}

/* ------------------------------------------------------------- real ones */

static pid_t start_hog(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		volatile unsigned int n = 0;

		/* The end of a test that fails ends it, too. */
		alarm(100);
		for (;;)
			n++;
	}
	assert_true(pid > 0);
	return pid;
}

static uint64_t cpu_now(void)
{
	return now_read(CLOCK_THREAD_CPUTIME_ID);
}

/* One start: what AEAD_BEST is, and what wins a contest in which the challenger
 * is much faster. Writes the names, and the CPU time of that contest. */
static void start_once(int fd)
{
	struct aead_contest contest = {
		.order = { &aead_sodium_whole },
		.n_order = 1,
#ifdef HAVE_BORINGSSL
		.challengers = { &aead_boringssl },
		.n_challengers = 1,
#endif
		.clock = cpu_now,
	};
	struct aead_result result;
	char line[LINE_CAP] = { 0 };
	struct aead *aead;

	aead = aead_new(AEAD_BEST);
	if (!aead || !aead_contest_run(&result, &contest))
		_exit(1);
	snprintf(line, sizeof(line), "%s, %s; %s, %s/%llu", aead_get_name(aead),
		 aead_get_small_name(aead),
		 result.of[AEAD_BATCHES].backend->name,
		 result.of[AEAD_SINGLES].backend->name,
		 (unsigned long long)result.spent_ns);
	if (write(fd, line, sizeof(line)) != sizeof(line))
		_exit(1);
	_exit(0);
}

/* 100 starts beside two processes that take all they can get. */
static void test_starts_beside_hogs(void **state)
{
	char first[LINE_CAP] = { 0 }, line[LINE_CAP];
	pid_t hogs[HOGS];
	int fds[2], others = 0;
	uint64_t longest = 0, spent;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	for (int i = 0; i < HOGS; i++)
		hogs[i] = start_hog();
	for (int i = 0; i < STARTS; i++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0)
			start_once(fds[1]);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		assert_int_equal(read(fds[0], line, sizeof(line)),
				 sizeof(line));
		spent = strtoull(strchr(line, '/') + 1, NULL, 10);
		if (spent > longest)
			longest = spent;
		*strchr(line, '/') = '\0';
		if (!i)
			memcpy(first, line, sizeof(first));
		if (strcmp(first, line) != 0)
			print_message("# start %d: %s\n", i, line);
		others += strcmp(first, line) != 0;
	}
	for (int i = 0; i < HOGS; i++) {
		kill(hogs[i], SIGKILL);
		waitpid(hogs[i], NULL, 0);
	}
	print_message("# %s; a contest took at most %llu ns\n", first,
		      (unsigned long long)longest);
	/* Other work of the machine may disturb all rounds of a contest. */
	assert_in_range(others, 0, STARTS / 20);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_margin, reset),
		cmocka_unit_test_setup(test_kinds_of_work, reset),
		cmocka_unit_test_setup(test_all_rounds, reset),
		cmocka_unit_test_setup(test_disturbed, reset),
		cmocka_unit_test_setup(test_equal_backends, reset),
		cmocka_unit_test_setup(test_two_challengers, reset),
		cmocka_unit_test_setup(test_limit, reset),
		cmocka_unit_test_setup(test_losers_are_unloaded, reset),
		cmocka_unit_test_setup(test_holder, reset),
		cmocka_unit_test_setup(test_bad_challengers, reset),
		cmocka_unit_test_setup(test_no_challengers, reset),
		cmocka_unit_test(test_starts_beside_hogs),
	};

	if (crypto_init())
		return 1;
	if (IS_DISTORTED)
		print_message("# not run: test_starts_beside_hogs: a sanitizer "
			      "distorts the times\n");
	/* cmocka_run_group_tests() would run all of the array. */
	return _cmocka_run_group_tests(
		"tests", tests, ARRAY_LEN(tests) - IS_DISTORTED, NULL, NULL);
}
