/* SPDX-License-Identifier: MIT */
/* memfd_secret(2) has no seals and needs none: its length cannot be changed once it
 * is set. Memory of memfd_create(2) could be cut off, and reading behind its end
 * would be SIGBUS, so it gets seals. */
#include "journal/store.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/syscalls.h"

/* From Linux 5.14 on. */
#ifndef SECRETMEM_MAGIC
#define SECRETMEM_MAGIC 0x5345434d
#endif

enum {
	SEALS = F_SEAL_SHRINK | F_SEAL_GROW,
};

static size_t round_up(size_t len)
{
	size_t page_len = (size_t)sysconf(_SC_PAGESIZE);

	return (len + page_len - 1) / page_len * page_len;
}

/*
 * Can all pages be used? If RLIMIT_MEMLOCK is low, Linux 6.12 maps memory of
 * memfd_secret(2), and then refuses its pages: a process that touches such a page
 * gets SIGBUS. A system call that reads it fails with EFAULT. futex(2) with a time of
 * zero reads a word, and changes nothing. If the word has the expected value, the call
 * lets other threads run before it returns, which takes longer than the rest; so the
 * value is not that of new memory, 0.
 */
static bool has_pages(const uint8_t *p, size_t len)
{
	const size_t page_len = (size_t)sysconf(_SC_PAGESIZE);
	const struct timespec none = { 0 };

	for (size_t i = 0; i < len; i += page_len)
		if (syscall(SYS_futex, p + i, FUTEX_WAIT_PRIVATE, 1, &none,
			    NULL, 0) < 0 &&
		    errno != EAGAIN && errno != ETIMEDOUT && errno != EINTR)
			return false;
	return true;
}

/* Maps @store->fd. Memory that could not be kept from a child or from a core dump is
 * not used. */
static int map(struct store *store)
{
	void *p = mmap(NULL, store->len, PROT_READ | PROT_WRITE, MAP_SHARED,
		       store->fd, 0);
	int err = 0;

	if (p == MAP_FAILED)
		return -errno;
	if (madvise(p, store->len, MADV_DONTFORK) < 0 ||
	    madvise(p, store->len, MADV_DONTDUMP) < 0)
		err = -errno;
	if (err == 0 && !has_pages(p, store->len))
		err = -ENOMEM;
	if (err < 0)
		munmap(p, store->len);
	else
		store->bytes = p;
	return err;
}

static int make(struct store *store, int fd)
{
	int err = 0;

	if (fd < 0)
		return -errno;
	store->fd = fd;
	if (ftruncate(fd, (off_t)store->len) < 0)
		err = -errno;
	if (err == 0)
		err = map(store);
	if (err < 0)
		close(fd);
	return err;
}

int store_new(struct store *store, size_t len, enum secret_backing backing)
{
	struct store made = { .len = round_up(len), .is_secret = true };
	int err = -ENOSYS;

	if (backing == SECRET_BEST)
		err = make(&made, (int)syscall(SYS_memfd_secret,
					       (unsigned int)O_CLOEXEC));
	if (err < 0) {
		made.is_secret = false;
		err = make(&made,
			   memfd_create("wiregather-journal",
					MFD_CLOEXEC | MFD_ALLOW_SEALING));
	}
	if (err == 0)
		*store = made;
	return err;
}

/* Fix the length of the memory, unless that was done. Return: 0: nobody can cut the memory
 * off; -errno. */
static int fix_length(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct statfs fs;

	/* memfd_secret(2) has no seals, and neither have most files. */
	if (seals < 0) {
		if (errno != EINVAL || fstatfs(fd, &fs) < 0)
			return -errno;
		return fs.f_type == SECRETMEM_MAGIC ? 0 : -EINVAL;
	}
	if ((seals & SEALS) == SEALS || fcntl(fd, F_ADD_SEALS, SEALS) == 0)
		return 0;
	return errno == EPERM ? -EACCES : -errno;
}

int store_open(struct store *store, int fd, size_t max_len)
{
	struct store opened = { .fd = fd };
	struct stat st;
	int err;

	err = fix_length(fd);
	if (err < 0)
		return err;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 ||
	    (uint64_t)st.st_size > max_len)
		return -EINVAL;
	opened.len = round_up((size_t)st.st_size);
	err = map(&opened);
	if (err == 0)
		*store = opened;
	return err;
}

void store_close(struct store *store)
{
	munmap(store->bytes, store->len);
	close(store->fd);
	*store = (struct store){ .fd = -1 };
}
