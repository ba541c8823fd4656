/* SPDX-License-Identifier: MIT */
/* The order of peers and prefixes is that of the device, so that both have the same
 * order after the change was applied. */
#include "device/snapshot.h"

#include "crypto/secret.h"

int snapshot_add_device(struct config *config, struct device *device)
{
	uint8_t key[NOISE_PRIVATE_KEY_LEN];
	int err = 0;

	if (noise_local_get_keys(&device->local, key, NULL))
		err = config_set_private_key(config, key);
	secret_zero(key, sizeof(key));
	/* To set port 0 means to have the system choose one. */
	if (err == 0 && device->listen_port)
		err = config_set_listen_port(config, device->listen_port);
	if (err == 0 && device->fwmark)
		err = config_set_fwmark(config, device->fwmark);
	return err;
}

static int add_preshared_key(struct config *config, struct peer *peer)
{
	uint8_t key[NOISE_PRESHARED_KEY_LEN];
	int err = 0;

	noise_handshake_get_preshared_key(&peer->handshake, key);
	if (!secret_is_zero(key, sizeof(key)))
		err = config_set_preshared_key(config, key);
	secret_zero(key, sizeof(key));
	return err;
}

static int add_prefixes(struct config *config, struct peer *peer)
{
	const struct allowedips_node *pos = NULL;
	struct ip_prefix prefix;
	int err = 0;

	while (err == 0 && allowedips_next(&peer->allowedips, &pos, &prefix))
		err = config_add_allowedip(config, &prefix);
	return err;
}

int snapshot_add_peer(struct config *config, struct peer *peer)
{
	uint16_t persistent_s = atomic_load_explicit(&peer->timers.persistent_s,
						     memory_order_relaxed);
	struct device_endpoint ep;
	int err;

	err = config_begin_peer(config, peer->public_key);
	if (err == 0)
		err = add_preshared_key(config, peer);
	if (err == 0 && endpoint_cell_get(&peer->endpoint, &ep)) {
		/* The mark is of use to this process only. */
		ep.words[ENDPOINT_MARK] = 0;
		err = config_set_endpoint(config, &ep);
	}
	if (err == 0 && persistent_s)
		err = config_set_persistent(config, persistent_s);
	return err < 0 ? err : add_prefixes(config, peer);
}
