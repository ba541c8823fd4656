/* SPDX-License-Identifier: MIT */
#include "fuzz/quiet_device.h"

#include "crypto/init.h"
#include "device/config.h"
#include "fuzz/fuzz.h"
#include "tests/lib/quiet_ops.h"

static void op_random(void *arg, void *buf, size_t len)
{
	static uint64_t seed;
	uint8_t *bytes = buf;

	(void)arg;
	for (size_t i = 0; i < len; i++) {
		seed = seed * UINT64_C(6364136223846793005) + 1;
		bytes[i] = (uint8_t)(seed >> 56);
	}
}

static const struct device_ops ops = {
	.random = op_random,
	QUIET_OPS,
};

struct device *quiet_device_get(void)
{
	static struct device device;
	static bool is_ready;

	if (!is_ready) {
		require(!crypto_init());
		rcu_register();
		require(!device_init(&device, &ops, NULL));
		is_ready = true;
	}
	return &device;
}

void quiet_device_clear(struct device *device)
{
	const uint8_t none[NOISE_PRIVATE_KEY_LEN] = { 0 };
	struct config *config = config_new();

	require(config && !config_set_private_key(config, none) &&
		!config_set_listen_port(config, 0) &&
		!config_set_fwmark(config, 0) && !config_replace_peers(config));
	require(!config_apply(config, device, 1));
	require(device->n_peers == 0 && device->allowedips.n_prefixes == 0);
	config_free(config);
}
