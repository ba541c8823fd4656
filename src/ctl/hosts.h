/* SPDX-License-Identifier: MIT */
/*
 * The names of hosts that endpoints are given by. Each name is there once, and is
 * resolved once for all peers that have it.
 *
 * One thread.
 */
#ifndef CTL_HOSTS_H
#define CTL_HOSTS_H

#include "ctl/resolver.h"

/**
 * struct host - a name
 * @name:	the name
 * @is_pending:	it is being resolved
 * @is_slow:	the last look-up was slow
 * @error:	of the last look-up, as in struct resolver_answer; 0 before the first
 */
struct host {
	char *name;
	bool is_pending;
	bool is_slow;
	int error;
};

/**
 * struct hosts - all names
 * @resolver:	looks them up; private
 * @all:	private: @n names
 * @n:		private
 * @n_pending:	how many are being resolved
 */
struct hosts {
	struct resolver *resolver;
	struct host **all;
	size_t n;
	size_t n_pending;
};

/* hosts_init() - no names; signals are blocked as for resolver_new(). Return: 0; -errno. */
int hosts_init(struct hosts *hosts);

/* hosts_deinit() - forget all names; look-ups under way end by themselves */
void hosts_deinit(struct hosts *hosts);

/* hosts_get() - the host of a name; NULL: there is no memory. It stays until
 * hosts_deinit(). */
struct host *hosts_get(struct hosts *hosts, const char *name);

/**
 * hosts_ask() - resolve a name, unless that is under way
 * @hosts:	all names
 * @host:	the name
 *
 * Return: true if hosts_take() will have an answer; false: memory, or threads, are
 * short.
 */
bool hosts_ask(struct hosts *hosts, struct host *host);

/* hosts_fd() - a descriptor that can be read while hosts_take() has an answer */
int hosts_fd(const struct hosts *hosts);

/**
 * hosts_take() - the next answer
 * @hosts:	all names
 * @answer:	filled; @arg is private
 *
 * A line on stderr says when a name cannot be resolved, and when it can be again.
 *
 * Return: the name; NULL: there is no answer.
 */
struct host *hosts_take(struct hosts *hosts, struct resolver_answer *answer);

#endif /* CTL_HOSTS_H */
