/* SPDX-License-Identifier: MIT */
/* Replies to `get`: in pieces of any size, and while peers come and go. */
#include "uapi/reply.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/init.h"
#include "device_fake.h"
#include "random.h"

enum {
	/* Choices, not measured: the reply has many pieces. */
	N_PEERS = 10000,
	N_PREFIXES = 3,
	PIECE = 4096,
};

static void key_of(uint32_t number, uint8_t key[32])
{
	const struct le32 wire = le32_make(number);

	memset(key, 0, 32);
	memcpy(key, &wire, sizeof(wire));
	key[31] = 1;
}

/* Peers first to first + n - 1, with prefixes. */
static void add_peers(struct device_fake *fake, uint32_t first, uint32_t n)
{
	struct config *config = config_new();
	struct ip_prefix prefix = { .family = IP_V6, .cidr = 128 };
	uint8_t key[32];

	for (uint32_t i = first; i < first + n; i++) {
		key_of(i, key);
		assert_int_equal(config_begin_peer(config, key), 0);
		for (uint32_t k = 0; k < N_PREFIXES; k++) {
			memcpy(prefix.addr, &i, sizeof(i));
			prefix.addr[15] = (uint8_t)k;
			assert_int_equal(config_add_allowedip(config, &prefix),
					 0);
		}
	}
	assert_int_equal(config_apply(config, &fake->device, 1), 0);
	config_free(config);
}

static void remove_peer(struct device_fake *fake, uint32_t number)
{
	struct config *config = config_new();
	uint8_t key[32];

	key_of(number, key);
	assert_int_equal(config_begin_peer(config, key), 0);
	assert_int_equal(config_remove_peer(config), 0);
	assert_int_equal(config_apply(config, &fake->device, 1), 0);
	config_free(config);
}

/* How many lines begin with @what? strstr(3) would do, but AddressSanitizer's looks at
 * the whole text in each call. */
static size_t count(const char *text, const char *what)
{
	size_t n = 0;

	while (text) {
		n += strncmp(text, what, strlen(what)) == 0;
		text = strchr(text, '\n');
		if (text)
			text++;
	}
	return n;
}

static void test_many_peers_in_small_pieces(void **state)
{
	struct device_fake fake;
	char *small;
	char *large;

	(void)state;
	device_fake_init(&fake);
	add_peers(&fake, 0, N_PEERS);
	small = device_fake_print(&fake, UAPI_REPLY_CAP);
	large = device_fake_print(&fake, 1 << 20);
	assert_string_equal(small, large);
	assert_int_equal(count(small, "public_key="), N_PEERS);
	assert_int_equal(count(small, "allowed_ip="), N_PEERS * N_PREFIXES);
	assert_int_equal(count(small, "errno=0\n\n"), 1);
	free(small);
	free(large);
	device_fake_deinit(&fake);
}

/* Read while peers come and go: the peers that stay are shown, each once. */
static void test_changes_under_way(void **state)
{
	char *text = calloc(1, 64 << 20);
	char name[32];
	struct uapi_reply reply;
	struct device_fake fake;
	uint32_t n_added = 100;
	size_t len = 0;
	size_t n;

	(void)state;
	device_fake_init(&fake);
	add_peers(&fake, 0, 100);
	uapi_reply_init(&reply, &fake.device, &device_fake_codec);
	while ((n = uapi_reply_fill(&reply, text + len, UAPI_REPLY_CAP))) {
		len += n;
		/* Remove one of the peers with odd numbers below 100. */
		remove_peer(&fake, random_below(50) * 2 + 1);
		if (n_added < 150)
			add_peers(&fake, n_added++, 1);
	}
	for (uint32_t i = 0; i < 100; i += 2) {
		snprintf(name, sizeof(name), "public_key=%02x0000000000", i);
		assert_int_equal(count(text, name), 1);
		snprintf(name, sizeof(name), "public_key=%02x0000000000",
			 i + 1);
		assert_true(count(text, name) <= 1);
	}
	assert_int_equal(count(text, "errno=0\n\n"), 1);
	free(text);
	device_fake_deinit(&fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_peers_in_small_pieces),
		cmocka_unit_test(test_changes_under_way),
	};

	if (crypto_init())
		return 77;
	random_seed();
	rcu_register();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
