/* SPDX-License-Identifier: MIT */
/*
 * Looking for secrets in the memory of this very process: all that can be
 * written, every byte, whoever owns it. What is looked for is kept here masked,
 * so that it is not found for being looked for.
 *
 * A secret counts as found if 16 neighbouring bytes of it are.
 */
#ifndef TESTS_LIB_SCAN_H
#define TESTS_LIB_SCAN_H

#include <stdbool.h>
#include <stddef.h>

enum {
	SCAN_SECRETS = 512,
	SCAN_MAX_LEN = 64,
	/* Bytes of a window, and of scan_hit.where. */
	SCAN_WINDOW = 16,
	SCAN_WHERE_CAP = 96,
};

/**
 * struct scan_hit - a place where a secret was found
 * @label:	of the secret
 * @off:	of the window in the secret
 * @addr:	where it was
 * @where:	the mapping, as the kernel names it
 * @is_region:	it is in memory for secrets: neither dumped nor inherited
 */
struct scan_hit {
	const char *label;
	size_t off;
	const void *addr;
	char where[SCAN_WHERE_CAP];
	bool is_region;
};

/* scan_forget() - nothing is looked for any more */
void scan_forget(void);

/**
 * scan_remember() - look for a secret from now on
 * @label:	borrowed for good
 * @secret:	its bytes; one of all zeroes is none
 * @len:	SCAN_WINDOW to SCAN_MAX_LEN
 *
 * Any thread, one at a time. What is remembered already is not added again.
 */
void scan_remember(const char *label, const void *secret, size_t len);

/* scan_count() - how many secrets are remembered with this label */
size_t scan_count(const char *label);

/**
 * scan_memory() - look through the memory of this process
 * @found:	called for each window that was found
 * @arg:	for @found
 *
 * Nothing else may run meanwhile.
 *
 * Return: the number of bytes looked at.
 */
size_t scan_memory(void (*found)(void *arg, const struct scan_hit *hit),
		   void *arg);

#endif /* TESTS_LIB_SCAN_H */
