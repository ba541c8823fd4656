/* SPDX-License-Identifier: MIT */
/* Deferred freeing: when rcu_drain() returns, all objects are freed. */
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/rcu.h"
#include "tests/lib/check.h"

enum {
	/* A choice: each link is handed over while another is released. */
	LINKS = 5
};

/**
 * struct item - an object that readers might use
 * @head:	for rcu_free_later()
 * @next: passed to rcu_free_later() when this one is released, or NULL
 * @delay_us: duration of its release
 * @is_released: set by release()
 */
struct item {
	struct rcu_head head;
	struct item *next;
	unsigned int delay_us;
	_Atomic bool is_released;
};

static void release(struct rcu_head *head)
{
	struct item *item = container_of(head, struct item, head);

	if (item->next)
		rcu_free_later(&item->next->head, release);
	/* A slow release shows a rcu_drain() that returns too early. */
	usleep(item->delay_us);
	atomic_store(&item->is_released, true);
}

static void drains_what_was_handed_over(void **state)
{
	static struct item items[100];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(items); i++)
		rcu_free_later(&items[i].head, release);
	rcu_drain();
	for (size_t i = 0; i < ARRAY_LEN(items); i++)
		assert_true(items[i].is_released);
}

/*
 * Releasing an object may defer the freeing of others, as a peer does with its
 * index entries.
 */
static void drains_what_releasing_handed_over(void **state)
{
	static struct item chain[LINKS];

	(void)state;
	for (size_t i = 0; i < LINKS; i++) {
		chain[i].next = i + 1 < LINKS ? &chain[i + 1] : NULL;
		chain[i].delay_us = 10000;
	}
	rcu_free_later(&chain[0].head, release);
	rcu_drain();
	for (size_t i = 0; i < LINKS; i++) {
		print_message("# link %zu\n", i);
		assert_true(chain[i].is_released);
	}
}

static int begin(void **state)
{
	(void)state;
	rcu_register();
	return rcu_start(NULL);
}

static int end(void **state)
{
	(void)state;
	rcu_stop();
	rcu_unregister();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(drains_what_was_handed_over),
		cmocka_unit_test(drains_what_releasing_handed_over),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
