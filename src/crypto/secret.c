/* SPDX-License-Identifier: MIT */
/*
 * Pools of memory for secrets. A free slot holds the link to the next free one
 * and is zero otherwise; a slot is wiped when it is given back. Slots are taken
 * from the first region that has room, so that the last regions become empty
 * and can be unmapped.
 */
#include "crypto/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/syscalls.h"

enum {
	/* A choice: what malloc(3) gives on 64 bits, more than the structs of
	 * keys (bytes) and struct free_slot need. */
	SLOT_ALIGN = 16
};

/* The contents of a free slot; the rest of it is zero. */
struct free_slot {
	struct free_slot *next;
};

/*
 * @memory:	mapping of SECRET_REGION_LEN bytes
 * @first_free:	list through the free slots
 * @n_used:	slots handed out
 */
struct region {
	uint8_t *memory;
	struct free_slot *first_free;
	size_t n_used;
};

/*
 * @lock:		held for all members but @slot_len
 * @slot_len:		immutable after secret_pool_new()
 * @backing:		SECRET_PRIVATE once memfd_secret(2) was found missing
 * @n_empty:		regions without a used slot: 0 or 1, but for those of
 *			secret_pool_reserve()
 * @n_full:		this many regions, from the first on, have no free slot
 * @regions:		the regions, in no order
 * @was_refused:	a region could not be locked
 * @is_reported:	secret_pool_take_refusal() has returned true
 */
struct secret_pool {
	pthread_mutex_t lock;
	size_t slot_len;
	enum secret_backing backing;
	size_t n_empty;
	size_t n_full;
	size_t n_regions;
	struct region regions[SECRET_REGIONS_MAX];
	bool was_refused;
	bool is_reported;
};

/*
 * Can all pages of a region be used? If RLIMIT_MEMLOCK is low, Linux 6.12 maps
 * a region, and then refuses its pages: a process that writes to such a page
 * gets SIGBUS. A system call that writes to it fails with EFAULT, so
 * getrandom(2) is used to try each page.
 */
static bool region_has_pages(uint8_t *p)
{
	const size_t page_len = (size_t)sysconf(_SC_PAGESIZE);

	for (size_t i = 0; i < SECRET_REGION_LEN; i += page_len) {
		if (getrandom(p + i, 1, 0) != 1)
			return false;
		p[i] = 0;
	}
	return true;
}

/*
 * Map a region by memfd_secret(2). @is_missing is set to true if the system
 * lacks that call, so that it need not be tried again.
 */
static void *region_map_memfd(bool *is_missing)
{
	long fd = syscall(SYS_memfd_secret, (unsigned int)O_CLOEXEC);
	void *p = MAP_FAILED;

	*is_missing = fd < 0 && (errno == ENOSYS || errno == EPERM);
	if (fd < 0)
		return NULL;
	if (ftruncate((int)fd, SECRET_REGION_LEN) == 0)
		p = mmap(NULL, SECRET_REGION_LEN, PROT_READ | PROT_WRITE,
			 MAP_SHARED, (int)fd, 0);
	close((int)fd);
	if (p == MAP_FAILED)
		return NULL;
	/*
	 * A child would share the mapping and see the parent's keys. Without
	 * MADV_DONTFORK this is worse than private memory.
	 */
	if (madvise(p, SECRET_REGION_LEN, MADV_DONTFORK) < 0 ||
	    !region_has_pages(p)) {
		munmap(p, SECRET_REGION_LEN);
		return NULL;
	}
	return p;
}

/*
 * Map a region of ordinary memory. @is_locked is set to true if the region
 * stays out of the swap.
 */
static void *region_map_private(bool *is_locked)
{
	void *p = mmap(NULL, SECRET_REGION_LEN, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	*is_locked = mlock(p, SECRET_REGION_LEN) == 0;
	/* Nothing can be done if these calls fail. (Kernels before Linux 4.14
	 * lack MADV_WIPEONFORK.) */
	(void)madvise(p, SECRET_REGION_LEN, MADV_WIPEONFORK);
	(void)madvise(p, SECRET_REGION_LEN, MADV_DONTDUMP);
	return p;
}

/*
 * Map a region. Returns NULL if memory is short, or at the limit of the
 * pool.
 */
static struct region *pool_grow(struct secret_pool *pool)
{
	size_t n_slots = SECRET_REGION_LEN / pool->slot_len;
	struct region *region = &pool->regions[pool->n_regions];
	bool is_locked = true, is_missing;
	uint8_t *memory = NULL;

	if (pool->n_regions == SECRET_REGIONS_MAX)
		return NULL;
	if (pool->backing == SECRET_BEST) {
		memory = region_map_memfd(&is_missing);
		if (is_missing)
			pool->backing = SECRET_PRIVATE;
	}
	if (!memory)
		memory = region_map_private(&is_locked);
	if (!memory)
		return NULL;
	pool->was_refused |= !is_locked;
	*region = (struct region){ .memory = memory };
	for (size_t i = n_slots; i-- > 0;) {
		void *slot = memory + i * pool->slot_len;
		struct free_slot *free_slot = slot;

		free_slot->next = region->first_free;
		region->first_free = free_slot;
	}
	pool->n_regions++;
	pool->n_empty++;
	return region;
}

/* The first region with a free slot, or a new one. NULL if there is neither. */
static struct region *pool_find_room(struct secret_pool *pool)
{
	while (pool->n_full < pool->n_regions &&
	       !pool->regions[pool->n_full].first_free)
		pool->n_full++;
	return pool->n_full < pool->n_regions ? &pool->regions[pool->n_full]
					      : pool_grow(pool);
}

/* The number of the region that a slot lies in. */
static size_t pool_find(const struct secret_pool *pool, const void *slot)
{
	size_t i = 0;

	while (i < pool->n_regions &&
	       (uintptr_t)slot - (uintptr_t)pool->regions[i].memory >=
		       SECRET_REGION_LEN)
		i++;
	INVARIANT(i < pool->n_regions);
	return i;
}

/*
 * Unmap an empty region, unless it is the only empty one. That one is kept, so
 * that taking one slot and giving it back, again and again, costs no system
 * call.
 */
static void pool_shrink(struct secret_pool *pool, size_t number)
{
	if (!pool->n_empty) {
		pool->n_empty = 1;
		return;
	}
	munmap(pool->regions[number].memory, SECRET_REGION_LEN);
	pool->regions[number] = pool->regions[--pool->n_regions];
}

struct secret_pool *secret_pool_new(size_t slot_len,
				    enum secret_backing backing)
{
	struct secret_pool *pool;

	INVARIANT(slot_len > 0 && slot_len <= SECRET_REGION_LEN);
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return NULL;
	pthread_mutex_init(&pool->lock, NULL);
	pool->slot_len =
		(slot_len + SLOT_ALIGN - 1) & ~(size_t)(SLOT_ALIGN - 1);
	pool->backing = backing;
	return pool;
}

void secret_pool_free(struct secret_pool *pool)
{
	if (!pool)
		return;
	for (size_t i = 0; i < pool->n_regions; i++) {
		INVARIANT(pool->regions[i].n_used == 0);
		secret_zero(pool->regions[i].memory, SECRET_REGION_LEN);
		munmap(pool->regions[i].memory, SECRET_REGION_LEN);
	}
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

int secret_pool_reserve(struct secret_pool *pool, size_t n)
{
	size_t per_region = SECRET_REGION_LEN / pool->slot_len;
	int err = 0;

	pthread_mutex_lock(&pool->lock);
	while (err == 0 && pool->n_empty * per_region < n)
		err = pool_grow(pool) ? 0 : -ENOMEM;
	pthread_mutex_unlock(&pool->lock);
	return err;
}

void *secret_alloc(struct secret_pool *pool)
{
	struct free_slot *slot;
	struct region *region;

	pthread_mutex_lock(&pool->lock);
	region = pool_find_room(pool);
	slot = region ? region->first_free : NULL;
	if (slot) {
		region->first_free = slot->next;
		slot->next = NULL;
		if (!region->n_used++)
			pool->n_empty--;
	}
	pthread_mutex_unlock(&pool->lock);
	return slot;
}

void secret_free(struct secret_pool *pool, void *slot)
{
	struct free_slot *free_slot = slot;
	struct region *region;
	size_t number;

	if (!slot)
		return;
	secret_zero(slot, pool->slot_len);
	pthread_mutex_lock(&pool->lock);
	number = pool_find(pool, slot);
	region = &pool->regions[number];
	INVARIANT(region->n_used > 0);
	free_slot->next = region->first_free;
	region->first_free = free_slot;
	if (number < pool->n_full)
		pool->n_full = number;
	if (!--region->n_used)
		pool_shrink(pool, number);
	pthread_mutex_unlock(&pool->lock);
}

bool secret_pool_take_refusal(struct secret_pool *pool)
{
	bool is_news;

	pthread_mutex_lock(&pool->lock);
	is_news = pool->was_refused && !pool->is_reported;
	pool->is_reported |= is_news;
	pthread_mutex_unlock(&pool->lock);
	return is_news;
}

void secret_zero(void *buf, size_t len)
{
	sodium_memzero(buf, len);
}

/*
 * The function is not inlined, so that its variable lies where the library's
 * variables were. The attribute "uninitialized" keeps the compiler from filling
 * the variable with zeroes before sodium_memzero() does.
 */
__attribute__((noinline)) void secret_wipe_stack(void)
{
#if __has_attribute(uninitialized)
	__attribute__((uninitialized))
#endif
	uint8_t below[SECRET_STACK_LEN];

	sodium_memzero(below, sizeof(below));
}

bool secret_equal(const void *a, const void *b, size_t len)
{
	/* A tag is compared for each packet, and crypto_verify_16() is faster
	 * than sodium_memcmp(). */
	if (len == crypto_verify_16_BYTES)
		return crypto_verify_16(a, b) == 0;
	return sodium_memcmp(a, b, len) == 0;
}

bool secret_is_zero(const void *buf, size_t len)
{
	return sodium_is_zero(buf, len) == 1;
}
