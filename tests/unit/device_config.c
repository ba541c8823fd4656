/* SPDX-License-Identifier: MIT */
#include "device/config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "crypto/init.h"
#include "device_fake.h"
#include "tests/lib/lack.h"

#define KEY_A "a0e1f2031425364758697a8b9cadbecfd0e1f203142536475869708192a3b4c5"
#define KEY_B "b0e1f2031425364758697a8b9cadbecfd0e1f203142536475869708192a3b4c5"
#define KEY_C "c0e1f2031425364758697a8b9cadbecfd0e1f203142536475869708192a3b4c5"
/* The key is clamped already, so it is printed unchanged. */
#define PRIVATE \
	"e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a"
#define OTHER_PRIVATE \
	"2802030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f60"

enum {
	PIECE = 4096
};

/* The first configuration of the device. */
static const char *const initial = "set=1\n"
				   "private_key=" PRIVATE "\n"
				   "listen_port=51820\n"
				   "fwmark=7\n"
				   "public_key=" KEY_A "\n"
				   "endpoint=192.0.2.1:1\n"
				   "allowed_ip=10.1.0.0/16\n"
				   "allowed_ip=fd00::/8\n"
				   "public_key=" KEY_B "\n"
				   "preshared_key=" KEY_C "\n"
				   "persistent_keepalive_interval=25\n"
				   "allowed_ip=10.2.0.0/16\n"
				   "\n";

static void start(struct device_fake *fake)
{
	device_fake_init(fake);
	assert_int_equal(device_fake_set(fake, initial), 0);
}

/* Requests with every operation that can fail after others were prepared. */
static const char *const requests[] = {
	"set=1\nprivate_key=" OTHER_PRIVATE "\nlisten_port=1\nfwmark=9\n"
	"public_key=" KEY_A "\nremove=true\n"
	"public_key=" KEY_C "\nallowed_ip=10.2.0.0/16\nallowed_ip=10.2.3.0/24\n"
	"endpoint=192.0.2.9:9\npersistent_keepalive_interval=5\n\n",
	"set=1\nlisten_port=0\nreplace_peers=true\n"
	"public_key=" KEY_A "\nallowed_ip=0.0.0.0/0\nallowed_ip=::/0\n"
	"public_key=" KEY_B "\npublic_key=" KEY_C "\nallowed_ip=1.2.3.4/32\n\n",
	"set=1\nfwmark=1\npublic_key=" KEY_B "\nupdate_only=true\n"
	"replace_allowed_ips=true\nallowed_ip=10.1.2.3/32\n"
	"allowed_ip=-10.1.0.0/16\npreshared_key=" KEY_A "\n\n",
};

static void assert_state(struct device_fake *fake, const char *want)
{
	char *now = device_fake_print(fake, PIECE);

	assert_string_equal(now, want);
	free(now);
}

/* Make each allocation fail in turn, then the opening of sockets. */
static void fail_everywhere(const char *text)
{
	struct uapi_request request = device_fake_parse(text);
	struct device_fake fake;
	char *before;
	long n = 0;
	int err;

	start(&fake);
	before = device_fake_print(&fake, PIECE);
	fake.set_sockets_err = -EADDRINUSE;
	assert_int_equal(config_apply(request.config, &fake.device, 1),
			 -EADDRINUSE);
	assert_state(&fake, before);
	fake.set_sockets_err = 0;
	do {
		fake.n_set_sockets = 0;
		lack_left = ++n;
		err = config_apply(request.config, &fake.device, 1);
		lack_left = -1;
		if (err) {
			assert_int_equal(err, -ENOMEM);
			/* set_sockets was not called. */
			assert_int_equal(fake.n_set_sockets, 0);
			assert_state(&fake, before);
		}
	} while (err);
	print_message("# failed in %ld places\n", n - 1);
	assert_true(n > 1);
	free(before);
	config_free(request.config);
	device_fake_deinit(&fake);
}

static void test_all_or_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(requests); i++)
		fail_everywhere(requests[i]);
}

#define PSK_NONE         \
	"preshared_key=" \
	"0000000000000000000000000000000000000000000000000000000000000000\n"
#define COUNTS                                                    \
	"last_handshake_time_sec=0\nlast_handshake_time_nsec=0\n" \
	"tx_bytes=0\nrx_bytes=0\n"

static const struct {
	const char *name;
	const char *request;
	const char *want;
} effects[] = {
	{ "as given, in the order given", "set=1\n\n",
	  "private_key="
	  "e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a\n"
	  "listen_port=51820\nfwmark=7\n"
	  "public_key=" KEY_A "\n" PSK_NONE "protocol_version=1\n"
	  "endpoint=192.0.2.1:1\n" COUNTS "persistent_keepalive_interval=0\n"
	  "allowed_ip=10.1.0.0/16\nallowed_ip=fd00::/8\n"
	  "public_key=" KEY_B "\npreshared_key=" KEY_C "\n"
	  "protocol_version=1\n" COUNTS "persistent_keepalive_interval=25\n"
	  "allowed_ip=10.2.0.0/16\n"
	  "errno=0\n\n" },
	{ "an empty device",
	  "set=1\nprivate_key="
	  "0000000000000000000000000000000000000000000000000000000000000000\n"
	  "fwmark=0\nreplace_peers=true\n\n",
	  "listen_port=51820\nerrno=0\n\n" },
	{ "only what exists is updated, only what is owned is removed",
	  "set=1\nprivate_key="
	  "0000000000000000000000000000000000000000000000000000000000000000\n"
	  "public_key=" KEY_C "\nallowed_ip=1.1.1.1/32\nupdate_only=true\n"
	  "public_key=" KEY_A "\nallowed_ip=-10.2.0.0/16\n"
	  "allowed_ip=-10.1.9.9/16\nallowed_ip=-1.2.3.4/32\n"
	  "public_key=" KEY_B "\nremove=true\nallowed_ip=9.9.9.9/32\n"
	  "public_key=" KEY_C "\nremove=true\n\n",
	  "listen_port=51820\nfwmark=7\n"
	  "public_key=" KEY_A "\n" PSK_NONE "protocol_version=1\n"
	  "endpoint=192.0.2.1:1\n" COUNTS
	  "persistent_keepalive_interval=0\nallowed_ip=fd00::/8\n"
	  "errno=0\n\n" },
	{ "a prefix moves, a port is chosen, the last of two counts",
	  "set=1\nprivate_key="
	  "0000000000000000000000000000000000000000000000000000000000000000\n"
	  "listen_port=3\nlisten_port=0\nreplace_peers=true\n"
	  "public_key=" KEY_B "\nallowed_ip=10.1.2.3/16\n"
	  "public_key=" KEY_A "\nallowed_ip=10.1.0.0/16\nendpoint=a:1\n"
	  "endpoint=b:2\n\n",
	  "listen_port=40000\nfwmark=7\n"
	  "public_key=" KEY_B "\n" PSK_NONE "protocol_version=1\n" COUNTS
	  "persistent_keepalive_interval=0\n"
	  "public_key=" KEY_A "\n" PSK_NONE "protocol_version=1\n"
	  "endpoint=b:2\n" COUNTS "persistent_keepalive_interval=0\n"
	  "allowed_ip=10.1.0.0/16\nerrno=0\n\n" },
};

static void test_effects(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(effects); i++) {
		struct device_fake fake;

		start(&fake);
		assert_int_equal(device_fake_set(&fake, effects[i].request), 0);
		print_message("# %s\n", effects[i].name);
		assert_state(&fake, effects[i].want);
		device_fake_deinit(&fake);
	}
}

static void test_own_key_is_no_peer(void **state)
{
	uint8_t own[NOISE_PUBLIC_KEY_LEN];
	struct device_fake fake;
	char text[512];
	char hex[65];

	(void)state;
	start(&fake);
	assert_true(noise_local_get_keys(&fake.device.local, NULL, own));
	for (size_t i = 0; i < sizeof(own); i++)
		snprintf(hex + 2 * i, 3, "%02x", own[i]);
	snprintf(text, sizeof(text),
		 "set=1\npublic_key=%s\nallowed_ip=10.1.0.0/16\n"
		 "persistent_keepalive_interval=1\n\n",
		 hex);
	assert_int_equal(device_fake_set(&fake, text), 0);
	assert_int_equal(fake.device.n_peers, 2);
	/* Our own public key becomes a peer after our key has changed, and is
	 * removed when it is set again. */
	snprintf(text, sizeof(text), "set=1\nprivate_key=%s\npublic_key=%s\n\n",
		 OTHER_PRIVATE, hex);
	assert_int_equal(device_fake_set(&fake, text), 0);
	assert_int_equal(fake.device.n_peers, 3);
	assert_int_equal(
		device_fake_set(&fake, "set=1\nprivate_key=" PRIVATE "\n\n"),
		0);
	assert_int_equal(fake.device.n_peers, 2);
	device_fake_deinit(&fake);
}

static void test_keepalive_is_for_that_peer_only(void **state)
{
	struct device_fake fake;
	uint8_t key[NOISE_PUBLIC_KEY_LEN];

	(void)state;
	start(&fake);
	device_set_up(&fake.device, true, 1);
	assert_int_equal(fake.n_keepalives, 0);
	assert_int_equal(
		device_fake_set(&fake,
				"set=1\npublic_key=" KEY_C
				"\npersistent_keepalive_interval=9\n"
				"public_key=" KEY_A "\nallowed_ip=3.0.0.0/8\n"
				"public_key=" KEY_B
				"\npersistent_keepalive_interval=30\n\n"),
		0);
	assert_int_equal(fake.n_keepalives, 1);
	memcpy(key, fake.keepalive_to->public_key, sizeof(key));
	assert_int_equal(key[0], 0xc0);
	device_fake_deinit(&fake);
}

static void test_down_sends_nothing(void **state)
{
	struct device_fake fake;

	(void)state;
	start(&fake);
	assert_int_equal(
		device_fake_set(&fake, "set=1\npublic_key=" KEY_A
				       "\npersistent_keepalive_interval=9\n\n"),
		0);
	assert_int_equal(fake.n_keepalives, 0);
	assert_true(device_tick(&fake.device, 1) == SCHEDULE_NEVER);
	device_fake_deinit(&fake);
}

/* Only what another process has accepted is told to be so. */
static void test_restored(void **state)
{
	struct uapi_request request =
		device_fake_parse("set=1\nlisten_port=51820\n\n");
	struct device_fake fake;

	(void)state;
	device_fake_init(&fake);
	assert_int_equal(config_apply(request.config, &fake.device, 1), 0);
	assert_false(fake.was_restored);
	assert_int_equal(config_replay(request.config, &fake.device, 1), 0);
	assert_true(fake.was_restored);
	assert_int_equal(fake.n_set_sockets, 2);
	config_free(request.config);
	device_fake_deinit(&fake);
}

static void test_caps(void **state)
{
	static const struct ip_prefix prefix = { .family = IP_V4, .cidr = 32 };
	const uint8_t key[32] = { 1 };
	struct config *config = config_new();
	struct device_fake fake;
	int err = 0;

	(void)state;
	start(&fake);
	assert_int_equal(config_begin_peer(config, key), 0);
	for (size_t i = 0; !err && i <= ALLOWEDIPS_MAX_PREFIXES; i++)
		err = config_add_allowedip(config, &prefix);
	assert_int_equal(err, 0);
	assert_int_equal(config_apply(config, &fake.device, 1), -ENOSPC);
	assert_int_equal(fake.device.n_peers, 2);
	while (!err)
		err = config_add_allowedip(config, &prefix);
	assert_int_equal(err, -EFBIG);
	config_free(config);
	device_fake_deinit(&fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_or_nothing),
		cmocka_unit_test(test_effects),
		cmocka_unit_test(test_own_key_is_no_peer),
		cmocka_unit_test(test_keepalive_is_for_that_peer_only),
		cmocka_unit_test(test_down_sends_nothing),
		cmocka_unit_test(test_restored),
		cmocka_unit_test(test_caps),
	};

	if (crypto_init())
		return 77;
	rcu_register();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
