/* SPDX-License-Identifier: MIT */
#include "ctl/hosts.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int hosts_init(struct hosts *hosts)
{
	*hosts = (struct hosts){ 0 };
	return resolver_new(&hosts->resolver, NULL);
}

void hosts_deinit(struct hosts *hosts)
{
	resolver_free(hosts->resolver);
	for (size_t i = 0; i < hosts->n; i++) {
		free(hosts->all[i]->name);
		free(hosts->all[i]);
	}
	free(hosts->all);
	*hosts = (struct hosts){ 0 };
}

/* Make room for one more host. The room doubles when it is full. */
static bool grow(struct hosts *hosts)
{
	size_t n = hosts->n;
	struct host **all;

	if (n & (n - 1))
		return true;
	all = realloc(hosts->all, (n ? 2 * n : 1) * sizeof(struct host *));
	if (!all)
		return false;
	hosts->all = all;
	return true;
}

struct host *hosts_get(struct hosts *hosts, const char *name)
{
	struct host *host;

	for (size_t i = 0; i < hosts->n; i++)
		if (strcasecmp(hosts->all[i]->name, name) == 0)
			return hosts->all[i];
	if (!grow(hosts))
		return NULL;
	host = calloc(1, sizeof(*host));
	if (!host)
		return NULL;
	host->name = strdup(name);
	if (!host->name) {
		free(host);
		return NULL;
	}
	hosts->all[hosts->n++] = host;
	return host;
}

bool hosts_ask(struct hosts *hosts, struct host *host)
{
	if (host->is_pending)
		return true;
	if (resolver_ask(hosts->resolver, host->name, host->is_slow, host) < 0)
		return false;
	host->is_pending = true;
	hosts->n_pending++;
	return true;
}

int hosts_fd(const struct hosts *hosts)
{
	return resolver_fd(hosts->resolver);
}

struct host *hosts_take(struct hosts *hosts, struct resolver_answer *answer)
{
	struct host *host;
	bool is_slow;

	if (!resolver_take(hosts->resolver, answer, &is_slow))
		return NULL;
	host = answer->arg;
	host->is_pending = false;
	host->is_slow = is_slow;
	hosts->n_pending--;
	if (answer->error && answer->error != host->error)
		fprintf(stderr, "wiregatherctl: %s cannot be resolved: %s\n",
			host->name, gai_strerror(answer->error));
	if (!answer->error && host->error)
		fprintf(stderr, "wiregatherctl: %s can be resolved again\n",
			host->name);
	host->error = answer->error;
	return host;
}
