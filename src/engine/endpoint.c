/* SPDX-License-Identifier: MIT */
/* An endpoint as text for the log, printed without a system call. */
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
