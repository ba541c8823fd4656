/* SPDX-License-Identifier: MIT */
/*
 * What a configuration file asks for, made ready for a network namespace that has
 * nothing but the tunnel: addresses, routes, MTU, name servers, and the endpoints of
 * peers as addresses.
 *
 * One thread.
 */
#ifndef CTL_PLAN_H
#define CTL_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "ctl/conf.h"

/**
 * struct plan - the plan
 * @conf:	the file; borrowed
 * @path:	its path; borrowed
 * @addresses:	@n_addresses addresses of the interface
 * @n_addresses: how many
 * @routes:	@n_routes prefixes that lead into the tunnel, with all bits behind the
 *		prefix 0
 * @n_routes:	how many
 * @endpoints:	for each peer of @conf ADDRESS:PORT, or NULL
 * @mtu:	of the interface
 * @resolv_conf: text of resolv.conf(5)
 */
struct plan {
	const struct conf *conf;
	const char *path;
	struct conf_prefix *addresses;
	size_t n_addresses;
	struct conf_prefix *routes;
	size_t n_routes;
	char **endpoints;
	unsigned int mtu;
	char *resolv_conf;
};

/**
 * plan_make() - make a plan
 * @plan:	filled on success; plan_free() it
 * @conf:	borrowed until plan_free()
 * @path:	of the file, for messages; borrowed until plan_free()
 *
 * Resolves the names of endpoints, so it may wait for name servers. What cannot be
 * done with a tunnel for one command is named on stderr, with its line.
 *
 * Return: 0; -errno: a line on stderr says why.
 */
int plan_make(struct plan *plan, const struct conf *conf, const char *path);

/**
 * plan_print_request() - the request of the UAPI that configures the tunnel
 * @plan:	plan
 * @len:	set to its length
 *
 * It has the private key: wipe it.
 *
 * Return: the text, which free(3) frees; NULL: no memory.
 */
char *plan_print_request(const struct plan *plan, size_t *len);

/* plan_free() - free what plan_make() has made */
void plan_free(struct plan *plan);

#endif /* CTL_PLAN_H */
