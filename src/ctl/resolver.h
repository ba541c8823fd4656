/* SPDX-License-Identifier: MIT */
/*
 * Names of hosts, looked up by threads.
 *
 * getaddrinfo(3) waits for its answer, for half a minute if a server is gone, and cannot
 * be interrupted. So each look-up has a thread while it runs. There are at most
 * RESOLVER_THREADS, made when they are needed; one without work ends after some seconds.
 *
 * A name whose last look-up was slow is a slow name. At most RESOLVER_SLOW_THREADS work
 * on slow names at a time, so many names of a server that is gone do not delay the
 * others for longer than their first look-ups take.
 *
 * The owner, one thread, calls the functions below. The threads work on a part of the
 * resolver that stays until the last of them has ended, so that the owner waits for
 * none of them.
 */
#ifndef CTL_RESOLVER_H
#define CTL_RESOLVER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	/* Threads at most, and how many of them work on slow names. Choices: 1,000
	 * names of a server that is gone, with 30 s each, take 16 minutes, and others
	 * go on. */
	RESOLVER_THREADS = 64,
	RESOLVER_SLOW_THREADS = 32,
	/* A look-up that takes longer makes a slow name. A choice: more than a server
	 * needs that asks others first. */
	RESOLVER_SLOW_MS = 1000,
	/* Addresses of a name that are used; further ones are left out. A choice. */
	RESOLVER_ADDRESSES = 16,
	/* Bytes of an address as text, with a zone, and the final 0. */
	RESOLVER_TEXT_CAP = INET6_ADDRSTRLEN + 1 + 16,
};

/* An address as text. */
struct resolver_address {
	char text[RESOLVER_TEXT_CAP];
};

/**
 * struct resolver_answer - what became of a look-up
 * @arg:	of resolver_ask()
 * @error:	0, or an error of getaddrinfo(3), for gai_strerror(3)
 * @n:		how many @addresses
 * @addresses:	the addresses, the best first (RFC 6724)
 */
struct resolver_answer {
	void *arg;
	int error;
	size_t n;
	struct resolver_address addresses[RESOLVER_ADDRESSES];
};

/**
 * resolver_lookup_fn - looks a name up
 * @host:	the name
 * @answer:	@error, @n and @addresses are set
 *
 * Several threads call it at a time. It may wait.
 */
typedef void resolver_lookup_fn(const char *host,
				struct resolver_answer *answer);

struct resolver;

/**
 * resolver_new() - a resolver without work
 * @out:	set on success; resolver_free() it
 * @lookup:	looks names up; NULL: getaddrinfo(3)
 *
 * Signals that the caller wants to receive must be blocked already, since the threads
 * have the caller's mask.
 *
 * Return: 0; -ENOMEM; another -errno.
 */
int resolver_new(struct resolver **out, resolver_lookup_fn *lookup);

/* resolver_free() - forget all look-ups; those under way end by themselves. NULL is
 * allowed. */
void resolver_free(struct resolver *resolver);

/* resolver_fd() - a descriptor that can be read while resolver_take() has an answer */
int resolver_fd(const struct resolver *resolver);

/**
 * resolver_ask() - look a name up
 * @resolver:	a resolver
 * @host:	the name; copied
 * @is_slow:	the last look-up of this name was slow
 * @arg:	for the answer
 *
 * Return: 0: there will be an answer; -ENOMEM; -EAGAIN: there is no thread, and none can
 * be made.
 */
int resolver_ask(struct resolver *resolver, const char *host, bool is_slow,
		 void *arg);

/**
 * resolver_take() - the next answer
 * @resolver:	a resolver
 * @answer:	filled
 * @is_slow:	set: the look-up was slow
 *
 * Return: false if there is none.
 */
bool resolver_take(struct resolver *resolver, struct resolver_answer *answer,
		   bool *is_slow);

#endif /* CTL_RESOLVER_H */
