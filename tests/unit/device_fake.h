/* SPDX-License-Identifier: MIT */
/* An owner of a device that does nothing but remember what it was asked. */
#ifndef TESTS_DEVICE_FAKE_H
#define TESTS_DEVICE_FAKE_H

#include <stddef.h>
#include <stdint.h>

#include "device/device.h"
#include "uapi/grammar.h"

/*
 * @device:	under test
 * @set_sockets_err: what set_sockets is to return
 * @n_set_sockets, @n_initiations, @n_keepalives, @n_wakes: how often it was
 *		asked
 * @keepalive_to: the last peer of @n_keepalives
 */
struct device_fake {
	struct device device;
	uint64_t seed;
	int set_sockets_err;
	size_t n_set_sockets;
	size_t n_initiations;
	size_t n_keepalives;
	size_t n_wakes;
	const struct peer *keepalive_to;
};

/* Endpoints are their own text, if there is a colon in it. */
extern const struct uapi_codec device_fake_codec;

void device_fake_init(struct device_fake *fake);
void device_fake_deinit(struct device_fake *fake);

/* The reply to a `get`, from the heap, in pieces of at least @cap bytes. */
char *device_fake_print(struct device_fake *fake, size_t cap);

/* Read a request that is there as a whole. */
struct uapi_request device_fake_parse(const char *text);

/* Read it and apply it: 0 or -errno. */
int device_fake_set(struct device_fake *fake, const char *text);

#endif /* TESTS_DEVICE_FAKE_H */
