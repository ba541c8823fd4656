/* SPDX-License-Identifier: MIT */
/* Names are looked up by a bounded number of threads, and slow names do not delay
 * others. The look-ups are the test's: they wait for a gate. */
#include "ctl/resolver.h"

#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/check.h"

enum {
	/* A test that waits longer for an answer has failed, ms. */
	PATIENCE_MS = 60000,
};

/* Look-ups of names that begin with "slow" wait until the gate is open. */
static struct {
	pthread_mutex_t mutex;
	pthread_cond_t news;
	bool is_open;
	unsigned int n_running;
	unsigned int n_most;
	unsigned int n_slow;
	unsigned int n_slow_most;
} gate = { .mutex = PTHREAD_MUTEX_INITIALIZER,
	   .news = PTHREAD_COND_INITIALIZER };

static void fake_lookup(const char *host, struct resolver_answer *answer)
{
	bool is_slow = strncmp(host, "slow", 4) == 0;

	pthread_mutex_lock(&gate.mutex);
	gate.n_running++;
	gate.n_slow += is_slow;
	if (gate.n_running > gate.n_most)
		gate.n_most = gate.n_running;
	if (gate.n_slow > gate.n_slow_most)
		gate.n_slow_most = gate.n_slow;
	pthread_cond_broadcast(&gate.news);
	while (is_slow && !gate.is_open)
		pthread_cond_wait(&gate.news, &gate.mutex);
	gate.n_running--;
	gate.n_slow -= is_slow;
	pthread_cond_broadcast(&gate.news);
	pthread_mutex_unlock(&gate.mutex);
	if (strncmp(host, "none", 4) == 0) {
		answer->error = EAI_NONAME;
		return;
	}
	answer->n = 1;
	snprintf(answer->addresses[0].text, RESOLVER_TEXT_CAP, "%s", host);
}

static void set_gate(bool is_open)
{
	pthread_mutex_lock(&gate.mutex);
	gate.is_open = is_open;
	gate.n_most = gate.n_slow_most = 0;
	pthread_cond_broadcast(&gate.news);
	pthread_mutex_unlock(&gate.mutex);
}

/* Wait until so many look-ups of slow names run. */
static void await_slow(unsigned int n)
{
	pthread_mutex_lock(&gate.mutex);
	while (gate.n_slow < n)
		pthread_cond_wait(&gate.news, &gate.mutex);
	pthread_mutex_unlock(&gate.mutex);
}

static void take(struct resolver *r, struct resolver_answer *answer)
{
	struct pollfd fd = { .fd = resolver_fd(r), .events = POLLIN };
	bool is_slow;

	while (!resolver_take(r, answer, &is_slow))
		assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
}

static void must_ask(struct resolver *r, const char *prefix, int i,
		     bool is_slow)
{
	/* The address of a place says which question an answer belongs to. */
	static char places[4000];
	char host[64];

	snprintf(host, sizeof(host), "%s%d", prefix, i);
	assert_int_equal(resolver_ask(r, host, is_slow, &places[i]), 0);
}

static struct resolver *begin(void)
{
	struct resolver *r;

	assert_int_equal(resolver_new(&r, fake_lookup), 0);
	return r;
}

static void many(void **state)
{
	static bool seen[2000];
	struct resolver *r = begin();
	struct resolver_answer answer;
	bool is_slow;

	(void)state;
	set_gate(true);
	for (int i = 0; i < 2000; i++)
		must_ask(r, i % 2 ? "host" : "none", i, false);
	for (int i = 0; i < 2000; i++) {
		int number;

		take(r, &answer);
		if (answer.error) {
			assert_int_equal(answer.error, EAI_NONAME);
			assert_int_equal(answer.n, 0);
			continue;
		}
		assert_int_equal(answer.n, 1);
		assert_int_equal(
			sscanf(answer.addresses[0].text, "host%d", &number), 1);
		assert_false(seen[number]);
		seen[number] = true;
	}
	assert_false(resolver_take(r, &answer, &is_slow));
	pthread_mutex_lock(&gate.mutex);
	assert_in_range(gate.n_most, 1, RESOLVER_THREADS);
	pthread_mutex_unlock(&gate.mutex);
	resolver_free(r);
}

/* As many slow names as threads: half of the threads still answer the others. */
static void slow_names(void **state)
{
	struct resolver *r = begin();
	struct resolver_answer answer;

	(void)state;
	set_gate(false);
	for (int i = 0; i < 2 * RESOLVER_THREADS; i++)
		must_ask(r, "slow", i, true);
	await_slow(RESOLVER_SLOW_THREADS);
	for (int i = 0; i < 1000; i++)
		must_ask(r, "host", i, false);
	for (int i = 0; i < 1000; i++) {
		take(r, &answer);
		assert_memory_equal(answer.addresses[0].text, "host", 4);
	}
	pthread_mutex_lock(&gate.mutex);
	assert_int_equal(gate.n_slow, RESOLVER_SLOW_THREADS);
	assert_int_equal(gate.n_slow_most, RESOLVER_SLOW_THREADS);
	pthread_mutex_unlock(&gate.mutex);
	set_gate(true);
	for (int i = 0; i < 2 * RESOLVER_THREADS; i++) {
		take(r, &answer);
		assert_memory_equal(answer.addresses[0].text, "slow", 4);
	}
	resolver_free(r);
}

/* Names that turn out to be slow take all threads once, and no more than that. */
static void bounded(void **state)
{
	struct resolver *r = begin();
	struct resolver_answer answer;

	(void)state;
	set_gate(false);
	for (int i = 0; i < 3 * RESOLVER_THREADS; i++)
		must_ask(r, "slow", i, false);
	await_slow(RESOLVER_THREADS);
	must_ask(r, "host", 0, false);
	pthread_mutex_lock(&gate.mutex);
	assert_int_equal(gate.n_most, RESOLVER_THREADS);
	pthread_mutex_unlock(&gate.mutex);
	set_gate(true);
	for (int i = 0; i < 3 * RESOLVER_THREADS + 1; i++)
		take(r, &answer);
	pthread_mutex_lock(&gate.mutex);
	assert_in_range(gate.n_most, 0, RESOLVER_THREADS);
	pthread_mutex_unlock(&gate.mutex);
	resolver_free(r);
}

/* The owner does not wait for a look-up that is under way. */
static void early_end(void **state)
{
	struct resolver *r = begin();

	(void)state;
	set_gate(false);
	for (int i = 0; i < 2 * RESOLVER_THREADS; i++)
		must_ask(r, "slow", i, false);
	await_slow(1);
	resolver_free(r);
	resolver_free(NULL);
	set_gate(true);
	pthread_mutex_lock(&gate.mutex);
	while (gate.n_running)
		pthread_cond_wait(&gate.news, &gate.mutex);
	pthread_mutex_unlock(&gate.mutex);
}

static void numeric(void **state)
{
	struct resolver_answer answer;
	struct resolver *r;

	(void)state;
	/* getaddrinfo(3) itself, which asks nobody about an address. */
	assert_int_equal(resolver_new(&r, NULL), 0);
	assert_int_equal(resolver_ask(r, "192.0.2.7", false, NULL), 0);
	take(r, &answer);
	assert_int_equal(answer.error, 0);
	assert_int_equal(answer.n, 1);
	assert_string_equal(answer.addresses[0].text, "192.0.2.7");
	assert_int_equal(resolver_ask(r, "2001:db8::7", false, NULL), 0);
	take(r, &answer);
	assert_int_equal(answer.n, 1);
	assert_string_equal(answer.addresses[0].text, "2001:db8::7");
	resolver_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many),	   cmocka_unit_test(slow_names),
		cmocka_unit_test(bounded), cmocka_unit_test(early_end),
		cmocka_unit_test(numeric),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
