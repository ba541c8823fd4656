/* SPDX-License-Identifier: MIT */
/* Endpoints as text: as wg(8) writes them, and for the log, which prints them without a
 * system call. */
#include "engine/endpoint.h"

#include <stdio.h>

void endpoint_print_numeric(const struct ug_endpoint *ep, char *buf, size_t cap)
{
	struct ug_endpoint plain = *ep;
	uint32_t zone = 0;
	size_t len;

	if (ep->addr.any.sa_family == AF_INET6) {
		zone = ep->addr.v6.sin6_scope_id;
		plain.addr.v6.sin6_scope_id = 0;
	}
	ug_endpoint_print(&plain, buf, cap);
	len = strlen(buf);
	if (zone)
		snprintf(buf + len, cap - len, " (interface %u)", zone);
}

int endpoint_parse(struct device_endpoint *dep, const char *text)
{
	struct ug_endpoint ep;
	int err = ug_endpoint_parse(&ep, text);

	if (err == 0)
		endpoint_to_device(dep, &ep);
	return err;
}

int endpoint_print(const struct device_endpoint *dep, char *buf, size_t cap)
{
	struct ug_endpoint ep;

	endpoint_from_device(&ep, dep);
	return ug_endpoint_print(&ep, buf, cap);
}

bool endpoint_is_sound(const struct device_endpoint *dep)
{
	struct ug_endpoint ep;

	endpoint_from_device(&ep, dep);
	switch (ep.addr.any.sa_family) {
	case AF_INET:
		return ep.addr.v4.sin_port != 0;
	case AF_INET6:
		return ep.addr.v6.sin6_port != 0;
	default:
		return false;
	}
}
