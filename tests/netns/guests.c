/* SPDX-License-Identifier: MIT */
/*
 * Many peers that each complete a handshake with one daemon, and send nothing
 * else. For namespaces that a test has made.
 *
 * usage: guests keys COUNT
 *        guests greet SOURCE ADDRESS PORT PUBLIC_KEY COUNT
 *
 * "keys" prints the public keys of the peers, 64 hex digits a line; they are
 * the same in each run. "greet" makes each peer shake hands from its own port,
 * one after the other, and prints the number of peers that were answered; then
 * it keeps the ports open until it is ended. Addresses are IPv4.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "crypto/init.h"
#include "crypto/x25519.h"
#include "device/config.h"
#include "device/handshake.h"
#include "tests/lib/quiet_ops.h"

enum {
	/* Peer i has port FIRST_PORT + i. A choice. */
	FIRST_PORT = 20000,
	/* Time to wait for an answer, and initiations that are sent if none
	 * comes. Choices. */
	ANSWER_MS = 2000,
	TRIES = 3,
	KEY_LEN = NOISE_PUBLIC_KEY_LEN,
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "guests: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void op_random(void *arg, void *buf, size_t len)
{
	(void)arg;
	if (getrandom(buf, len, 0) != (ssize_t)len)
		die("getrandom");
}

static const struct device_ops ops = {
	.random = op_random,
	QUIET_OPS,
};

static uint64_t read_clock(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static void private_key_of(unsigned int i, uint8_t key[KEY_LEN])
{
	memset(key, 7, KEY_LEN);
	key[1] = (uint8_t)i;
	key[2] = (uint8_t)(i >> 8);
}

static void print_keys(unsigned int count)
{
	uint8_t private_key[KEY_LEN], public_key[KEY_LEN];

	for (unsigned int i = 0; i < count; i++) {
		private_key_of(i, private_key);
		x25519_public(public_key, private_key);
		for (size_t k = 0; k < KEY_LEN; k++)
			printf("%02x", public_key[k]);
		putchar('\n');
	}
}

/* Make the initiation of peer @i, with a device that is made for it. */
static void make_initiation(unsigned int i, const uint8_t server[KEY_LEN],
			    struct message_initiation *msg)
{
	struct device_endpoint ep = { .words = { 1 } };
	uint64_t now = read_clock(CLOCK_BOOTTIME);
	struct config *config = config_new();
	uint8_t key[KEY_LEN];
	struct device device;

	private_key_of(i, key);
	if (device_init(&device, &ops, NULL) || !config ||
	    config_set_private_key(config, key) ||
	    config_begin_peer(config, server) ||
	    config_set_endpoint(config, &ep))
		die("device");
	device_set_up(&device, true, now);
	if (config_apply(config, &device, now) ||
	    device_make_initiation(device_lookup_peer(&device, server), now,
				   read_clock(CLOCK_REALTIME), msg, &ep))
		die("initiation");
	config_free(config);
	device_deinit(&device);
}

/* Send an initiation and wait. Return: true if an answer came. */
static bool greet(unsigned int i, struct sockaddr_in from,
		  const struct sockaddr_in *to, const uint8_t server[KEY_LEN])
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct pollfd answer = { .fd = fd, .events = POLLIN };
	struct message_initiation msg;

	from.sin_port = htons((uint16_t)(FIRST_PORT + i));
	if (fd < 0 || bind(fd, (const void *)&from, sizeof(from)) < 0)
		die("bind");
	for (int tries = 0; tries < TRIES; tries++) {
		make_initiation(i, server, &msg);
		if (sendto(fd, &msg, sizeof(msg), 0, (const void *)to,
			   sizeof(*to)) < 0)
			die("sendto");
		if (poll(&answer, 1, ANSWER_MS) == 1)
			return true;
	}
	return false;
}

static void greet_all(char **argv)
{
	struct sockaddr_in from = { .sin_family = AF_INET };
	struct sockaddr_in to = { .sin_family = AF_INET };
	unsigned int count = (unsigned int)atoi(argv[4]), n = 0;
	struct rlimit limit;
	uint8_t server[KEY_LEN];

	if (inet_pton(AF_INET, argv[0], &from.sin_addr) != 1 ||
	    inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 ||
	    strlen(argv[3]) != 2 * sizeof(server))
		die("arguments");
	to.sin_port = htons((uint16_t)atoi(argv[2]));
	for (size_t k = 0; k < sizeof(server); k++) {
		const char digits[] = { argv[3][2 * k], argv[3][2 * k + 1], 0 };

		server[k] = (uint8_t)strtoul(digits, NULL, 16);
	}
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	for (unsigned int i = 0; i < count; i++)
		n += greet(i, from, &to, server);
	printf("%u\n", n);
	fflush(stdout);
	pause();
}

int main(int argc, char **argv)
{
	if (crypto_init())
		die("crypto_init");
	rcu_register();
	if (argc == 3 && !strcmp(argv[1], "keys"))
		print_keys((unsigned int)atoi(argv[2]));
	else if (argc == 7 && !strcmp(argv[1], "greet"))
		greet_all(argv + 2);
	else
		die("usage");
	return 0;
}
