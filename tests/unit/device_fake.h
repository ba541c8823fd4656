/* SPDX-License-Identifier: MIT */
/* A device whose operations only count their calls. */
#ifndef TESTS_DEVICE_FAKE_H
#define TESTS_DEVICE_FAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/device.h"
#include "uapi/grammar.h"

/*
 * @device:	under test
 * @set_sockets_err: result of set_sockets
 * @holds_initiations: initiations that are asked for wait, as if the thread were held up
 *		that makes them
 * @n_waiting:	such initiations
 * @was_restored: the last call of set_sockets was for something restored
 * @n_set_sockets, @n_initiations, @n_keepalives, @n_wakes: calls of each
 * @keepalive_to: the last peer of @n_keepalives
 */
struct device_fake {
	struct device device;
	uint64_t seed;
	int set_sockets_err;
	bool holds_initiations;
	size_t n_waiting;
	bool was_restored;
	size_t n_set_sockets;
	size_t n_initiations;
	size_t n_keepalives;
	size_t n_wakes;
	const struct peer *keepalive_to;
};

/* The bytes of an endpoint are its text. A text without a colon is refused. */
extern const struct uapi_codec device_fake_codec;

void device_fake_init(struct device_fake *fake);
void device_fake_deinit(struct device_fake *fake);

/* The reply to a `get`, from the heap, in pieces of at least @cap bytes. */
char *device_fake_print(struct device_fake *fake, size_t cap);

/* Parse a whole request. */
struct uapi_request device_fake_parse(const char *text);

/* Parse a request and apply it. Return: 0 or -errno. */
int device_fake_set(struct device_fake *fake, const char *text);

#endif /* TESTS_DEVICE_FAKE_H */
