/* SPDX-License-Identifier: MIT */
/*
 * How many bytes behind a text intel-ipsec-mb reads. Some of its code reads up
 * to 15 bytes there. In a message the tag of 16 bytes stands there, so this does
 * no harm, as long as it is no more than 15. The source of the unit is
 * included, so that the tag can be put elsewhere than behind the text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "crypto/aead_ipsec_mb.c" /* NOLINT(bugprone-suspicious-include) */

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/init.h"

enum {
	/* Data messages of a usual MTU are shorter. */
	MAX_LEN = 2100,
	/* More than the tag. */
	MAX_GAP = 32,
};

/* Encrypt and decrypt texts of all lengths that end @gap bytes in front of a
 * page that cannot be read. */
static void compute_all(IMB_MGR *mgr, size_t gap)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const uint8_t key[AEAD_KEY_LEN] = { 1 };
	uint8_t tag[AEAD_TAG_LEN];
	struct run run;

	if (map == MAP_FAILED || mprotect(map + page, page, PROT_NONE) < 0)
		_exit(1);
	run_init(&run, mgr);
	for (uint32_t len = 1; len <= MAX_LEN; len++) {
		struct aead_msg m = { key, len, map + page - gap - len, len,
				      false };

		compute(&run, &m, tag, IMB_DIR_ENCRYPT);
		compute(&run, &m, tag, IMB_DIR_DECRYPT);
	}
	run_deinit(&run);
}

/* Does a child that does so reach the page? It ends by SIGSEGV then, or by a
 * report of a sanitizer. */
static bool reaches_page(IMB_MGR *mgr, size_t gap)
{
	const struct rlimit none = { 0, 0 };
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

		/* No core dump, and no report on the terminal. cmocka's handler
		 * of the signal would go on with the next case. */
		setrlimit(RLIMIT_CORE, &none);
		signal(SIGSEGV, SIG_DFL);
		dup2(null, STDERR_FILENO);
		compute_all(mgr, gap);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status != 0;
}

/* Bytes behind the text that are read, at most MAX_GAP. */
static size_t count_read(const struct aead_backend *backend)
{
	IMB_MGR *mgr = backend->load() ? backend->open_ctx() : NULL;
	size_t gap = 0;

	if (!mgr) {
		print_message("# %s: not for this machine\n", backend->name);
		return 0;
	}
	while (gap < MAX_GAP && reaches_page(mgr, gap))
		gap++;
	print_message("# %s %s reads %zu bytes behind a text\n", backend->name,
		      IMB_VERSION_STR, gap);
	backend->close_ctx(mgr);
	return gap;
}

static void test_reads_end_within_tag(void **state)
{
	(void)state;
	assert_true(count_read(&aead_ipsec_mb_sse) <= AEAD_TAG_LEN);
	assert_true(count_read(&aead_ipsec_mb_avx2) <= AEAD_TAG_LEN);
	assert_true(count_read(&aead_ipsec_mb) <= AEAD_TAG_LEN);
}

/* A page behind the text that cannot be read is noticed. */
static void test_reading_is_noticed(void **state)
{
	IMB_MGR *mgr = load() ? ctx_open_best() : NULL;

	(void)state;
	if (!mgr) {
		print_message("# intel-ipsec-mb is not there\n");
		return;
	}
	/* The text itself reaches into the page. */
	assert_true(reaches_page(mgr, (size_t)-1));
	assert_false(reaches_page(mgr, MAX_GAP));
	ctx_close(mgr);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reading_is_noticed),
		cmocka_unit_test(test_reads_end_within_tag),
	};

	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
