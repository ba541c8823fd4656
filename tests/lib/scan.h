/* SPDX-License-Identifier: MIT */
/*
 * Searches for secrets in all writable memory of this process. The secrets to
 * search for are kept masked, so that the search does not find its own copies.
 *
 * A window is SCAN_WINDOW neighbouring bytes of a secret. A secret counts as
 * found if one of its windows is found.
 */
#ifndef TESTS_LIB_SCAN_H
#define TESTS_LIB_SCAN_H

#include <stdbool.h>
#include <stddef.h>

enum {
	/* More secrets than a test has; one more aborts the test. */
	SCAN_SECRETS = 512,
	/* A key of 32 bytes in hexadecimal digits. */
	SCAN_MAX_LEN = 64,
	/* So many equal bytes are no chance. Half a key is found, too. */
	SCAN_WINDOW = 16,
	/* For the name of a mapping; a longer one is cut. A choice. */
	SCAN_WHERE_CAP = 96,
};

/**
 * struct scan_hit - a place where a secret was found
 * @label:	of the secret
 * @off:	of the window in the secret
 * @addr: address of the find
 * @where:	the mapping, as the kernel names it
 * @is_region:	the place is in memory for secrets, which is neither dumped nor
 *		inherited
 */
struct scan_hit {
	const char *label;
	size_t off;
	const void *addr;
	char where[SCAN_WHERE_CAP];
	bool is_region;
};

/* scan_forget() - forget all secrets */
void scan_forget(void);

/**
 * scan_remember() - search for a secret from now on
 * @label:	borrowed for good
 * @secret: its bytes; a secret of zeroes is ignored
 * @len:	SCAN_WINDOW to SCAN_MAX_LEN
 *
 * Any thread may call this, but not two at a time. A secret that is remembered
 * already is not added again.
 */
void scan_remember(const char *label, const void *secret, size_t len);

/* scan_count() - how many secrets are remembered with this label */
size_t scan_count(const char *label);

/**
 * scan_memory() - search the memory of this process
 * @found:	called for each window that was found
 * @arg:	for @found
 *
 * No other thread may run meanwhile.
 *
 * Return: the number of bytes searched.
 */
size_t scan_memory(void (*found)(void *arg, const struct scan_hit *hit),
		   void *arg);

#endif /* TESTS_LIB_SCAN_H */
