/* SPDX-License-Identifier: MIT */
/*
 * Endpoints between two rooms: struct ug_endpoint of the UDP library, and the
 * opaque bytes in which the device keeps it.
 */
#ifndef ENGINE_ENDPOINT_H
#define ENGINE_ENDPOINT_H

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "device/endpoint.h"
#include "udpgather.h"

static_assert(sizeof(struct ug_endpoint) <= ENDPOINT_LEN,
	      "the device keeps the library's endpoint");

/* endpoint_to_device() - an endpoint in the device's form; its mark becomes
 * ENDPOINT_NEW */
static inline void endpoint_to_device(struct device_endpoint *out,
				      const struct ug_endpoint *ep)
{
	memset(out, 0, sizeof(*out));
	memcpy(out, ep, sizeof(*ep));
}

/* The mark of an endpoint: does its source hold? See sticky.c. The order counts:
 * from ENDPOINT_REFUSED on, the source is kept, but not used. */
enum endpoint_mark {
	ENDPOINT_NEW,	  /* the source was not checked yet */
	ENDPOINT_HOLDS,	  /* the source was checked, and holds */
	ENDPOINT_REFUSED, /* the kernel refused to send from the source */
	ENDPOINT_VOID,	  /* the source was checked, and does not hold */
};

/**
 * endpoint_learnt() - an endpoint in the library's form, with its source, even
 *		       if the mark says that the source is not used
 * @out:	filled
 * @ep:		what the device has
 *
 * Return: the mark, of enum endpoint_mark.
 */
static inline uint64_t endpoint_learnt(struct ug_endpoint *out,
				       const struct device_endpoint *ep)
{
	memcpy(out, ep, sizeof(*out));
	return ep->words[ENDPOINT_MARK];
}

/* endpoint_from_device() - an endpoint in the library's form, to send to;
 * without its source, if the mark says that the source is not used */
static inline void endpoint_from_device(struct ug_endpoint *out,
					const struct device_endpoint *ep)
{
	if (endpoint_learnt(out, ep) >= ENDPOINT_REFUSED)
		ug_endpoint_clear_source(out);
}

/**
 * endpoint_forget_source() - have the kernel choose the local address again
 * @arg:	unused
 * @ep:		its source is cleared
 *
 * For struct device_ops. Any thread.
 */
static inline void endpoint_forget_source(void *arg, struct device_endpoint *ep)
{
	struct ug_endpoint own;

	(void)arg;
	endpoint_learnt(&own, ep);
	ug_endpoint_clear_source(&own);
	endpoint_to_device(ep, &own);
}

enum {
	/* Bytes that endpoint_print_numeric() needs at most, with the final 0. */
	ENDPOINT_NUMERIC_TEXT = UG_ENDPOINT_TEXT + 32,
};

/**
 * endpoint_print_numeric() - print an endpoint with the number of its zone
 * @ep:		the endpoint
 * @buf:	filled, such as "[fe80::1]:51820 (interface 7)"
 * @cap:	bytes of @buf, at least ENDPOINT_NUMERIC_TEXT
 *
 * ug_endpoint_print() prints the name of the zone, and opens a socket to find
 * it. The filters of system calls let only the control thread do that. Any
 * thread may call this function.
 */
void endpoint_print_numeric(const struct ug_endpoint *ep, char *buf,
			    size_t cap);

/**
 * endpoint_is_sound() - may the library have made this endpoint?
 * @ep:		bytes of any origin
 *
 * Return: true if it has an address of IPv4 or IPv6, and a port.
 */
bool endpoint_is_sound(const struct device_endpoint *ep);

/**
 * endpoint_parse() - read "1.2.3.4:5" or "[fe80::1%eth0]:5"
 * @ep:		filled on success
 * @text:	text
 *
 * For struct uapi_codec. Control thread: to look up a zone the library opens a
 * socket, and no other thread may open one.
 *
 * Return: 0; -EINVAL: no endpoint; -ENODEV: no interface has that zone.
 */
int endpoint_parse(struct device_endpoint *ep, const char *text);

/**
 * endpoint_print() - write what endpoint_parse() reads
 * @ep:		endpoint
 * @buf:	filled on success, with a final 0
 * @cap:	bytes at @buf
 *
 * Control thread, as for endpoint_parse().
 *
 * Return: the length without the final 0; -EAFNOSUPPORT: no endpoint; -ENOSPC.
 */
int endpoint_print(const struct device_endpoint *ep, char *buf, size_t cap);

#endif /* ENGINE_ENDPOINT_H */
