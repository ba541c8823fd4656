/* SPDX-License-Identifier: MIT */
#include "identity.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/bytes.h"
#include "crypto/x25519.h"
#include "tests/lib/quiet_ops.h"

static void op_random(void *arg, void *buf, size_t len)
{
	(void)arg;
	if (getrandom(buf, len, 0) != (ssize_t)len)
		abort();
}

const struct device_ops identity_ops = {
	.random = op_random,
	QUIET_OPS,
};

void identity_private(uint32_t i, uint8_t key[NOISE_PRIVATE_KEY_LEN])
{
	memset(key, 0x5a, NOISE_PRIVATE_KEY_LEN);
	memcpy(key + 8, &i, sizeof(i));
	x25519_clamp(key);
}

void identity_public(uint32_t i, uint8_t key[NOISE_PUBLIC_KEY_LEN])
{
	uint8_t private_key[NOISE_PRIVATE_KEY_LEN];

	identity_private(i, private_key);
	x25519_public(key, private_key);
}

struct peer *identity_add_peer(struct device *device,
			       const uint8_t key[NOISE_PUBLIC_KEY_LEN])
{
	const struct device_endpoint ep = { .words = { 1 } };
	struct peer *peer = peer_new(device, key);

	if (!peer || device_reserve_peers(device, 1))
		abort();
	endpoint_cell_set(&peer->endpoint, &ep);
	device_add_peer(device, peer);
	return peer;
}
