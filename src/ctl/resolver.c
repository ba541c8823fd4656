/* SPDX-License-Identifier: MIT */
/*
 * Questions wait in two lists, those of slow names and the others. A thread that has
 * answered one takes the next, and puts the answer into a third list.
 */
#include "ctl/resolver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/now.h"

enum {
	/* A thread without work ends after so long. A choice. */
	IDLE_S = 5,
	/* Bytes of a thread's stack. A choice: glibc's resolver uses up to 64 KiB. */
	STACK_LEN = 512 << 10,
};

/**
 * struct question - a look-up
 * @next:	in a list
 * @is_slow:	the name is a slow one
 * @was_slow:	this look-up was slow
 * @answer:	its answer
 * @host:	the name
 */
struct question {
	struct question *next;
	bool is_slow;
	bool was_slow;
	struct resolver_answer answer;
	char host[];
};

/**
 * struct list - questions in the order in which they came
 * @first:	the first; NULL: none
 * @last:	the place for the next one
 */
struct list {
	struct question *first;
	struct question **last;
};

/**
 * struct resolver - see resolver.h
 *
 * Legend: [I] immutable, [m] under @mutex.
 *
 * @lookup:	[I] looks names up
 * @fd:		[I] an eventfd, written when an answer comes
 * @mutex:	a leaf
 * @work:	signalled when there is a question
 * @waiting:	[m] questions: of slow names [1], and others [0]
 * @n_waiting:	[m] how many
 * @done:	[m] answers
 * @n_refs:	[m] the owner, and each thread
 * @n_idle:	[m] threads that wait for a question
 * @n_threads:	[m] all threads
 * @n_slow:	[m] threads that work on slow names
 * @is_closed:	[m] the owner has left
 */
struct resolver {
	resolver_lookup_fn *lookup;
	int fd;
	pthread_mutex_t mutex;
	pthread_cond_t work;
	struct list waiting[2];
	size_t n_waiting;
	struct list done;
	unsigned int n_refs;
	unsigned int n_idle;
	unsigned int n_threads;
	unsigned int n_slow;
	bool is_closed;
};

/* -------------------------------------------------------------------- lists */

static void init(struct list *list)
{
	list->first = NULL;
	list->last = &list->first;
}

static void push(struct list *list, struct question *q)
{
	q->next = NULL;
	*list->last = q;
	list->last = &q->next;
}

static struct question *pop(struct list *list)
{
	struct question *q = list->first;

	if (!q)
		return NULL;
	list->first = q->next;
	if (!list->first)
		list->last = &list->first;
	return q;
}

static void drop(struct list *list)
{
	struct question *q;

	while ((q = pop(list)))
		free(q);
}

/* --------------------------------------------------------------- looking up */

static void print(struct resolver_address *out, const struct sockaddr *addr)
{
	struct sockaddr_in6 v6;
	struct sockaddr_in v4;
	char zone[IF_NAMESIZE];
	size_t len;

	if (addr->sa_family == AF_INET) {
		memcpy(&v4, addr, sizeof(v4));
		inet_ntop(AF_INET, &v4.sin_addr, out->text, sizeof(out->text));
		return;
	}
	memcpy(&v6, addr, sizeof(v6));
	inet_ntop(AF_INET6, &v6.sin6_addr, out->text, sizeof(out->text));
	if (!v6.sin6_scope_id || !if_indextoname(v6.sin6_scope_id, zone))
		return;
	len = strlen(out->text);
	snprintf(out->text + len, sizeof(out->text) - len, "%%%.*s",
		 (int)sizeof(zone), zone);
}

static void ask_system(const char *host, struct resolver_answer *answer)
{
	/* One result for each address, not one for each kind of socket. */
	const struct addrinfo hints = { .ai_family = AF_UNSPEC,
					.ai_socktype = SOCK_DGRAM };
	struct addrinfo *all = NULL;

	answer->n = 0;
	answer->error = getaddrinfo(host, NULL, &hints, &all);
	if (answer->error)
		return;
	for (const struct addrinfo *at = all; at; at = at->ai_next)
		if (answer->n < RESOLVER_ADDRESSES &&
		    (at->ai_family == AF_INET || at->ai_family == AF_INET6))
			print(&answer->addresses[answer->n++], at->ai_addr);
	freeaddrinfo(all);
}

/* ------------------------------------------------------------------ threads */

/* Give back a reference, and the mutex, which the caller holds. */
static void put(struct resolver *r)
{
	bool is_last = --r->n_refs == 0;

	pthread_mutex_unlock(&r->mutex);
	if (!is_last)
		return;
	drop(&r->waiting[0]);
	drop(&r->waiting[1]);
	drop(&r->done);
	close(r->fd);
	pthread_cond_destroy(&r->work);
	pthread_mutex_destroy(&r->mutex);
	free(r);
}

/* Is there a question that a thread may take now? */
static bool has_work(const struct resolver *r)
{
	return r->waiting[0].first ||
	       (r->waiting[1].first && r->n_slow < RESOLVER_SLOW_THREADS);
}

/* Wait for a question, for IDLE_S. Return: NULL: the thread shall end. */
static struct question *next_question(struct resolver *r)
{
	struct timespec until;
	struct question *q;
	int err = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_S;
	r->n_idle++;
	while (!r->is_closed && !has_work(r) && err != ETIMEDOUT)
		err = pthread_cond_timedwait(&r->work, &r->mutex, &until);
	r->n_idle--;
	if (r->is_closed || !has_work(r))
		return NULL;
	r->n_waiting--;
	q = pop(&r->waiting[0]);
	return q ? q : pop(&r->waiting[1]);
}

/* The mutex is held when this begins and when it ends. */
static void answer(struct resolver *r, struct question *q)
{
	const uint64_t one = 1;
	int64_t began;

	r->n_slow += q->is_slow;
	pthread_mutex_unlock(&r->mutex);
	began = now_monotonic_ms();
	r->lookup(q->host, &q->answer);
	q->was_slow = now_monotonic_ms() - began > RESOLVER_SLOW_MS;
	pthread_mutex_lock(&r->mutex);
	r->n_slow -= q->is_slow;
	push(&r->done, q);
	/* This fails only if the number in the eventfd were at its end. */
	if (write(r->fd, &one, sizeof(one)) < 0)
		return;
}

static void *work(void *arg)
{
	struct resolver *r = arg;
	struct question *q;

	pthread_mutex_lock(&r->mutex);
	while ((q = next_question(r)))
		answer(r, q);
	r->n_threads--;
	put(r);
	return NULL;
}

/* Begin one more thread. The mutex is held. Return: 0; -errno. */
static int add_thread(struct resolver *r)
{
	pthread_attr_t attr;
	pthread_t thread;
	int err = pthread_attr_init(&attr);

	if (err)
		return -err;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_LEN);
	err = pthread_create(&thread, &attr, work, r);
	pthread_attr_destroy(&attr);
	if (err)
		return -err;
	r->n_threads++;
	r->n_refs++;
	return 0;
}

/* -------------------------------------------------------------------- owner */

int resolver_new(struct resolver **out, resolver_lookup_fn *lookup)
{
	struct resolver *r = calloc(1, sizeof(*r));
	pthread_condattr_t attr;
	int err;

	if (!r)
		return -ENOMEM;
	r->lookup = lookup ? lookup : ask_system;
	r->n_refs = 1;
	r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->fd < 0) {
		err = -errno;
		free(r);
		return err;
	}
	init(&r->waiting[0]);
	init(&r->waiting[1]);
	init(&r->done);
	pthread_mutex_init(&r->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->work, &attr);
	pthread_condattr_destroy(&attr);
	*out = r;
	return 0;
}

void resolver_free(struct resolver *r)
{
	if (!r)
		return;
	pthread_mutex_lock(&r->mutex);
	r->is_closed = true;
	pthread_cond_broadcast(&r->work);
	put(r);
}

int resolver_fd(const struct resolver *r)
{
	return r->fd;
}

int resolver_ask(struct resolver *r, const char *host, bool is_slow, void *arg)
{
	size_t len = strlen(host) + 1;
	struct question *q = malloc(sizeof(*q) + len);
	int err = 0;

	if (!q)
		return -ENOMEM;
	q->is_slow = is_slow;
	q->was_slow = false;
	q->answer = (struct resolver_answer){ .arg = arg };
	memcpy(q->host, host, len);
	pthread_mutex_lock(&r->mutex);
	/* Idle threads are woken for the questions that wait already. */
	if (r->n_threads < RESOLVER_THREADS && r->n_idle <= r->n_waiting)
		err = add_thread(r);
	if (err < 0 && !r->n_threads) {
		pthread_mutex_unlock(&r->mutex);
		free(q);
		return -EAGAIN;
	}
	push(&r->waiting[is_slow], q);
	r->n_waiting++;
	pthread_cond_signal(&r->work);
	pthread_mutex_unlock(&r->mutex);
	return 0;
}

bool resolver_take(struct resolver *r, struct resolver_answer *out,
		   bool *is_slow)
{
	struct question *q;
	uint64_t n;

	pthread_mutex_lock(&r->mutex);
	q = pop(&r->done);
	/* Empty the eventfd with the last answer. */
	if (!r->done.first && read(r->fd, &n, sizeof(n)) < 0)
		n = 0;
	pthread_mutex_unlock(&r->mutex);
	if (!q)
		return false;
	*out = q->answer;
	*is_slow = q->was_slow;
	free(q);
	return true;
}
