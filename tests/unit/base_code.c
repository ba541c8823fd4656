/* SPDX-License-Identifier: MIT */
#include "base/code.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <link.h>
#include <stdbool.h>

#include "tests/lib/check.h"

enum {
	/* A step that touches each page: no page is smaller. */
	PAGE_LEN = 4096,
};

/* A mapping, and its resident size in KiB. */
struct mapping {
	uintptr_t start, end;
	size_t rss;
};

/* Return: the mapping of an address. */
static struct mapping find(const void *of)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	struct mapping m = { 0 };
	bool is_found = false;
	char line[512];

	assert_non_null(file);
	while (!is_found && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &m.start,
			   &m.end) == 2)
			continue;
		is_found = m.start <= (uintptr_t)of && (uintptr_t)of < m.end &&
			   sscanf(line, "Rss: %zu kB", &m.rss) == 1;
	}
	fclose(file);
	assert_true(is_found);
	return m;
}

/* Code of libc that this program does not use, and no sanitizer replaces. */
static const void *code_of_libc(void)
{
	return (const void *)(uintptr_t)fnmatch;
}

/*
 * The loader is so large that touching a page does not make all of it resident.
 */
static const void *code_of_loader(void)
{
#ifdef __GLIBC__
	return (const void *)_r_debug.r_brk;
#else
	/* musl's loader is its libc. */
	return code_of_libc();
#endif
}

/*
 * A megabyte of the program's own code, which is never run, so it stays out of
 * memory after its release. A small library such as musl may become wholly
 * resident again, because the program runs parts of it. The size is a choice,
 * not measured.
 */
__asm__(".pushsection .text\n"
	".balign 4096\n"
	"own_code: .zero 0x100000\n"
	".popsection\n");
extern const char own_code[] __attribute__((visibility("hidden")));

/* Make all code of a library resident. Return: its size in KiB. */
static size_t touch(const void *of)
{
	struct mapping m = find(of);

	for (uintptr_t at = m.start; at < m.end; at += PAGE_LEN)
		(void)*(const volatile uint8_t *)at;
	m = find(of);
	assert_int_equal(m.rss, (m.end - m.start) / 1024);
	return m.rss;
}

static void test_one_library(void **state)
{
	size_t other = touch(code_of_loader()), all = touch(code_of_libc());

	(void)state;
	if (code_of_loader() == code_of_libc()) {
		print_message("# there is one library only\n");
		return;
	}
	code_release(code_of_libc());
	/* The code of libc that find() runs is resident again, so some is. */
	assert_true(find(code_of_libc()).rss < all);
	assert_int_equal(find(code_of_loader()).rss, other);
	assert_int_equal(fnmatch("a*", "abc", 0), 0);
}

static void test_all(void **state)
{
	static char variable[] = "a variable";
	size_t all = touch(own_code);

	(void)state;
	variable[0] = 'A';
	code_release(NULL);
	assert_true(find(own_code).rss < all);
	assert_string_equal(variable, "A variable");
	assert_int_equal(fnmatch("a*", "abc", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_library),
		cmocka_unit_test(test_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
