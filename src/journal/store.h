/* SPDX-License-Identifier: MIT */
/*
 * Memory with a descriptor. It outlives the process that has written it, if another
 * process holds the descriptor, and can be handed to a third one.
 *
 * As far as the system allows it, this is memory of memfd_secret(2): it appears
 * in no other process and in no core dump, is never written to the swap, and the
 * kernel's own map of memory leaves it out. Such a descriptor cannot be read by
 * read(2), so the memory is mapped. Its length is set once, and the mapped
 * length counts against RLIMIT_MEMLOCK. If the system lacks memfd_secret(2), or
 * the limit is too low, the memory is that of memfd_create(2), which is only
 * left out of core dumps.
 *
 * All functions: one thread at a time.
 */
#ifndef JOURNAL_STORE_H
#define JOURNAL_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/secret.h"

/**
 * struct store - mapped memory with a descriptor
 * @bytes:	the mapping, which a child of fork(2) does not get
 * @len:	its length, whole pages
 * @fd:		descriptor
 * @is_secret:	of memfd_secret(2)
 */
struct store {
	uint8_t *bytes;
	size_t len;
	int fd;
	bool is_secret;
};

/**
 * store_new() - make memory, all zero
 * @store:	filled on success; store_close() it
 * @len:	bytes, rounded up to whole pages
 * @backing:	SECRET_PRIVATE: do not try memfd_secret(2)
 *
 * All pages are there when this returns.
 *
 * Return: 0; -ENOMEM; -errno.
 */
int store_new(struct store *store, size_t len, enum secret_backing backing);

/**
 * store_open() - map the memory of a descriptor that somebody else has made
 * @store:	filled on success; store_close() it
 * @fd:		descriptor of any origin; consumed on success
 * @max_len:	memory that is longer is refused
 *
 * The contents may be anything, and may change while they are read. If the
 * memory can be sealed, its length is fixed first. All pages are there when this
 * returns.
 *
 * Return: 0; -EINVAL: it is empty or too long; -EACCES: it may still be cut off;
 * -ENOMEM; -errno.
 */
int store_open(struct store *store, int fd, size_t max_len);

/* store_close() - unmap, and close the descriptor. The memory stays if somebody else
 * holds a descriptor. */
void store_close(struct store *store);

#endif /* JOURNAL_STORE_H */
