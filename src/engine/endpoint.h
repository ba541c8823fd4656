/* SPDX-License-Identifier: MIT */
/*
 * Endpoints between two rooms: struct ug_endpoint of the UDP library, and the
 * opaque bytes in which the device keeps it.
 */
#ifndef ENGINE_ENDPOINT_H
#define ENGINE_ENDPOINT_H

#include <assert.h>
#include <string.h>

#include "device/endpoint.h"
#include "udpgather.h"

static_assert(sizeof(struct ug_endpoint) <= ENDPOINT_LEN,
	      "the device keeps the library's endpoint");

static inline void endpoint_to_device(struct device_endpoint *out,
				      const struct ug_endpoint *ep)
{
	memset(out, 0, sizeof(*out));
	memcpy(out, ep, sizeof(*ep));
}

static inline void endpoint_from_device(struct ug_endpoint *out,
					const struct device_endpoint *ep)
{
	memcpy(out, ep, sizeof(*out));
}

/**
 * endpoint_forget_source() - no longer send from the address used so far
 * @arg:	unused
 * @ep:		changed
 *
 * For struct device_ops.
 */
static inline void endpoint_forget_source(void *arg, struct device_endpoint *ep)
{
	struct ug_endpoint own;

	(void)arg;
	endpoint_from_device(&own, ep);
	ug_endpoint_clear_source(&own);
	endpoint_to_device(ep, &own);
}

#endif /* ENGINE_ENDPOINT_H */
