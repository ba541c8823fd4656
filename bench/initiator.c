/* SPDX-License-Identifier: MIT */
/*
 * Many peers of one daemon, for bench/peers.py and bench/upgrade.py.
 *
 * usage: bench-initiator keys N
 *		prints N public keys in base64, a line each
 *	  bench-initiator greet ADDRESS PORT KEY N
 *		makes N initiations to the daemon with that public key (64 hex
 *		digits), one of each identity; sends them, at most 64 without an
 *		answer, and prints "answered,seconds"
 *	  bench-initiator meet ADDRESS PORT KEY N
 *		as greet, but one after the other, and each identity confirms its
 *		session by a keepalive
 *
 * All initiations come from one unbound socket, so from one address. A window
 * of 64 keeps the daemon's queue below the length from which on it would ask
 * for cookies.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/aead.h"
#include "crypto/init.h"
#include "device/session.h"
#include "identity.h"
#include "measure.h"

enum {
	WINDOW = 64,
	/* The highest number of identities. A choice. */
	N_MAX = 1 << 20,
	/* After this time without an answer the rest counts as lost. A choice.
	 */
	PATIENCE_MS = 3000,
	/* At least 45: 44 digits of a key and a zero. */
	BASE64_CAP = 48,
};

static int print_keys(uint32_t n)
{
	uint8_t key[NOISE_PUBLIC_KEY_LEN];
	char text[BASE64_CAP];

	for (uint32_t i = 1; i <= n; i++) {
		identity_public(i, key);
		sodium_bin2base64(text, sizeof(text), key, sizeof(key),
				  sodium_base64_VARIANT_ORIGINAL);
		puts(text);
	}
	return 0;
}

static struct message_initiation *make_initiations(const uint8_t *to, size_t n)
{
	struct message_initiation *msgs = calloc(n, sizeof(*msgs));
	uint8_t key[NOISE_PRIVATE_KEY_LEN];
	struct device_endpoint ep;
	struct timespec ts = { 0 };
	struct device device;
	struct peer *peer;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (!msgs || device_init(&device, &identity_ops, NULL))
		abort();
	device_set_up(&device, true, 1);
	peer = identity_add_peer(&device, to);
	for (uint32_t i = 0; i < n; i++) {
		identity_private(i + 1, key);
		device_set_private_key(&device, key);
		if (device_make_initiation(peer, bench_now_ns(),
					   (uint64_t)ts.tv_sec * NSEC_PER_SEC,
					   &msgs[i], &ep))
			abort();
	}
	device_deinit(&device);
	return msgs;
}

static int connect_to(const char *address, const char *port)
{
	struct sockaddr_in sin = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
	};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || inet_pton(AF_INET, address, &sin.sin_addr) != 1 ||
	    connect(fd, (struct sockaddr *)&sin, sizeof(sin)) < 0) {
		perror(address);
		exit(1);
	}
	return fd;
}

/* Return: the number of initiations that got a response. */
static size_t greet(int fd, const struct message_initiation *msgs, size_t n)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	uint8_t buf[MESSAGE_HANDSHAKE_MAX_LEN];
	size_t n_sent = 0, n_back = 0, n_answered = 0;

	while (n_back < n) {
		while (n_sent < n && n_sent - n_back < WINDOW)
			if (send(fd, &msgs[n_sent++], sizeof(msgs[0]), 0) < 0)
				return n_answered;
		if (poll(&pfd, 1, PATIENCE_MS) != 1)
			return n_answered;
		/* Keepalives and cookie replies do not count as responses. */
		if (recv(fd, buf, sizeof(buf), 0) < 0)
			return n_answered;
		n_back++;
		n_answered += buf[0] == MESSAGE_RESPONSE;
	}
	return n_answered;
}

/* Take a response, and send a keepalive. Return: true if there is a session. */
static bool confirm(int fd, struct peer *peer, const uint8_t *response,
		    size_t len)
{
	const struct device_origin origin = {
		.endpoint = { .words = { 1 } },
		.source_len = 6,
	};
	uint8_t keepalive[MESSAGE_MIN_LEN];
	struct device_answer none;
	struct message_data header;
	struct send_run run;
	uint64_t counter;
	bool is_sent;

	if (device_receive_handshake(peer->device, response, len, &origin,
				     bench_now_ns(), bench_now_ns(), &none) ||
	    send_run_begin(peer, 1, bench_now_ns(), &run))
		return false;
	counter = send_run_header(&run, 0, &header);
	memcpy(keepalive, &header, sizeof(header));
	aead_seal(keepalive + sizeof(header), NULL, 0, NULL, 0, counter,
		  run.kp->keys->sending);
	is_sent = send(fd, keepalive, sizeof(keepalive), 0) > 0;
	send_run_end(&run, sizeof(keepalive), false, bench_now_ns());
	return is_sent;
}

/* Have one identity make a session. Return: true if there is one. */
static bool meet_one(int fd, struct peer *peer, uint64_t realtime)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	uint8_t buf[MESSAGE_HANDSHAKE_MAX_LEN];
	struct message_initiation msg;
	struct device_endpoint ep;
	ssize_t len;

	if (device_make_initiation(peer, bench_now_ns(), realtime, &msg, &ep))
		abort();
	if (send(fd, &msg, sizeof(msg), 0) < 0)
		return false;
	/* The daemon may send keepalives to earlier identities. */
	while (poll(&pfd, 1, PATIENCE_MS) == 1) {
		len = recv(fd, buf, sizeof(buf), 0);
		if (len > 0 && buf[0] == MESSAGE_RESPONSE)
			return confirm(fd, peer, buf, (size_t)len);
		if (len < 0)
			return false;
	}
	return false;
}

/* Return: the number of sessions. */
static size_t meet(int fd, const uint8_t *to, size_t n)
{
	uint8_t key[NOISE_PRIVATE_KEY_LEN];
	struct timespec ts = { 0 };
	struct device device;
	struct peer *peer;
	size_t n_met = 0;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (device_init(&device, &identity_ops, NULL))
		abort();
	device_set_up(&device, true, bench_now_ns());
	peer = identity_add_peer(&device, to);
	for (uint32_t i = 1; i <= n; i++) {
		identity_private(i, key);
		device_set_private_key(&device, key);
		n_met += meet_one(fd, peer, (uint64_t)ts.tv_sec * NSEC_PER_SEC);
	}
	device_deinit(&device);
	return n_met;
}

/* Print what greet() and meet() have done since @begun. */
static void print_result(size_t n_answered, uint64_t begun)
{
	printf("%zu,%.3f\n", n_answered,
	       (double)(bench_now_ns() - begun) / NSEC_PER_SEC);
}

int main(int argc, char **argv)
{
	uint8_t to[NOISE_PUBLIC_KEY_LEN];
	struct message_initiation *msgs;
	size_t n;
	uint64_t begun;
	bool meets;

	n = argc > 2 ? strtoul(argv[argc - 1], NULL, 10) : 0;
	if (!n || n > N_MAX || crypto_init())
		return 2;
	rcu_register();
	if (argc == 3 && strcmp(argv[1], "keys") == 0)
		return print_keys((uint32_t)n);
	meets = strcmp(argv[1], "meet") == 0;
	if (argc != 6 || (!meets && strcmp(argv[1], "greet") != 0) ||
	    sodium_hex2bin(to, sizeof(to), argv[4], strlen(argv[4]), NULL, NULL,
			   NULL))
		return 2;
	msgs = meets ? NULL : make_initiations(to, n);
	begun = bench_now_ns();
	if (meets)
		print_result(meet(connect_to(argv[2], argv[3]), to, n), begun);
	else
		print_result(greet(connect_to(argv[2], argv[3]), msgs, n),
			     begun);
	free(msgs);
	rcu_unregister();
	return 0;
}
