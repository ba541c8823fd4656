/* SPDX-License-Identifier: MIT */
/*
 * The static key pair of a device, and the memory for secrets. A key pair is
 * stored clamped; 32 zero bytes, which no clamped key equals, stand for "no key
 * pair".
 */
#include "noise/local.h"

#include <errno.h>
#include <string.h>

#include "crypto/secret.h"
#include "crypto/x25519.h"
#include "noise/handshake.h"
#include "noise/keypair.h"

int noise_local_init(struct noise_local *local, const struct noise_ops *ops,
		     void *arg)
{
	memset(local, 0, sizeof(*local));
	local->ops = ops;
	local->arg = arg;
	local->handshake_secrets = secret_pool_new(
		sizeof(struct noise_handshake_secrets), SECRET_BEST);
	if (!local->handshake_secrets)
		return -ENOMEM;
	local->keypair_secrets =
		secret_pool_new(sizeof(struct noise_keypair_keys), SECRET_BEST);
	if (!local->keypair_secrets)
		goto err_free_handshake_secrets;
	local->private_key = secret_alloc(local->handshake_secrets);
	if (!local->private_key)
		goto err_free_keypair_secrets;
	pthread_rwlock_init(&local->lock, NULL);
	return 0;

err_free_keypair_secrets:
	secret_pool_free(local->keypair_secrets);
err_free_handshake_secrets:
	secret_pool_free(local->handshake_secrets);
	return -ENOMEM;
}

void noise_local_deinit(struct noise_local *local)
{
	secret_free(local->handshake_secrets, local->private_key);
	secret_pool_free(local->keypair_secrets);
	secret_pool_free(local->handshake_secrets);
	pthread_rwlock_destroy(&local->lock);
	secret_zero(local, sizeof(*local));
}

bool noise_local_set_private_key(struct noise_local *local,
				 const uint8_t key[NOISE_PRIVATE_KEY_LEN])
{
	uint8_t clamped[NOISE_PRIVATE_KEY_LEN] = { 0 };
	bool has_key = key && !secret_is_zero(key, NOISE_PRIVATE_KEY_LEN);
	bool is_other;

	if (has_key) {
		memcpy(clamped, key, sizeof(clamped));
		x25519_clamp(clamped);
	}
	pthread_rwlock_wrlock(&local->lock);
	/* The comparison also tells a key from no key: no clamped key is all
	 * zero. */
	is_other = !secret_equal(local->private_key, clamped, sizeof(clamped));
	if (is_other) {
		memcpy(local->private_key, clamped, sizeof(clamped));
		memset(local->public_key, 0, sizeof(local->public_key));
		if (has_key)
			x25519_public(local->public_key, clamped);
		local->has_key = has_key;
		local->generation++;
	}
	pthread_rwlock_unlock(&local->lock);
	secret_zero(clamped, sizeof(clamped));
	return is_other;
}

bool noise_local_get_keys(struct noise_local *local,
			  uint8_t private_key[NOISE_PRIVATE_KEY_LEN],
			  uint8_t public_key[NOISE_PUBLIC_KEY_LEN])
{
	bool has_key;

	pthread_rwlock_rdlock(&local->lock);
	has_key = local->has_key;
	if (has_key && private_key)
		memcpy(private_key, local->private_key, NOISE_PRIVATE_KEY_LEN);
	if (has_key && public_key)
		memcpy(public_key, local->public_key, NOISE_PUBLIC_KEY_LEN);
	pthread_rwlock_unlock(&local->lock);
	return has_key;
}

void noise_local_reserve_keypairs(struct noise_local *local, size_t n)
{
	/* If memory is short now, noise_keypair_new() may find some, or say so. */
	(void)secret_pool_reserve(local->keypair_secrets, n);
}

bool noise_local_take_lock_refusal(struct noise_local *local)
{
	bool is_news = secret_pool_take_refusal(local->handshake_secrets);

	/* Ask both pools. If only the first one were asked, the second one
	 * would report the same refusal in a later call. */
	is_news |= secret_pool_take_refusal(local->keypair_secrets);
	return is_news;
}
