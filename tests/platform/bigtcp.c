/* SPDX-License-Identifier: MIT */
/*
 * A TUN device takes no packet above 64 KiB (BIG TCP), because its gso_max_size
 * cannot be raised. So a slot of 64 KiB holds any packet that is read from it.
 */
#include <unistd.h>

#include "tests/lib/netns.h"
#include "tests/lib/check.h"
#include "tests/platform/datagram.h"
#include "tests/platform/tun.h"

enum {
	/* GSO_LEGACY_MAX_SIZE of the kernel (include/linux/netdevice.h). */
	SIZE_LEGACY = 65536,
};

static int set_size(const char *device, unsigned int size)
{
	return netns_ip("link set dev %s gso_max_size %u", device, size);
}

static void test_tun_refuses_big_tcp(void **state)
{
	int fd = tun_open("big", TUN_OFFLOADS);

	(void)state;
	assert_true(fd >= 0);
	/* The option exists, and accepts sizes up to the limit. */
	assert_int_equal(set_size("big", SIZE_LEGACY / 2), 0);
	assert_int_equal(set_size("big", SIZE_LEGACY), 0);
	/* The error messages of ip(8) that follow are expected. */
	assert_int_not_equal(set_size("big", SIZE_LEGACY + 1), 0);
	assert_int_not_equal(set_size("big", 3 * SIZE_LEGACY), 0);
	close(fd);
}

/* A veth device accepts the size, so it is TUN that refuses it. */
static void test_veth_takes_big_tcp(void **state)
{
	int err;

	(void)state;
	assert_int_equal(netns_ip("link add large type veth peer name larger"),
			 0);
	assert_int_equal(set_size("large", SIZE_LEGACY), 0);
	err = set_size("large", 3 * SIZE_LEGACY);
	seen(!err, "a veth device %s a gso_max_size of %d",
	     err ? "refuses" : "takes", 3 * SIZE_LEGACY);
}

static int setup(void **state)
{
	(void)state;
	return netns_new() < 0 ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tun_refuses_big_tcp),
		cmocka_unit_test(test_veth_takes_big_tcp),
	};

	netns_require();
	tun_require();
	return cmocka_run_group_tests(tests, setup, NULL);
}
