/* SPDX-License-Identifier: MIT */
/*
 * Round trips: an ICMP echo request, its answer, and at once the next request,
 * like "ping -f" with one request on the way. The kernel of the far end
 * answers, so no program has to wake up there.
 *
 * usage: bench-rtt NAMESPACE ADDRESS MILLISECONDS [SAMPLES]
 * It ends after so many milliseconds, or answers if that is sooner. Prints one
 * line of words NAME=NUMBER; times in microseconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/icmp.h>
#include <netinet/ip.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/measure.h"
#include "bench/net.h"

enum {
	/* Bound of an array: a minute of round trips of 60 us. A choice. */
	MAX_SAMPLES = 1 << 20,
	/* Bytes of payload, as ping(8) sends by default. */
	PAYLOAD = 56,
	/* Round trips at the start that are not counted. A choice. */
	WARM_UP = 20,
	/* A request without an answer for this time is lost. A choice. */
	LOST_AFTER_S = 1,
};

struct echo {
	struct icmphdr header;
	uint8_t payload[PAYLOAD];
};

static void die(const char *what)
{
	fprintf(stderr, "bench-rtt: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_icmp(const char *address)
{
	struct icmp_filter filter = { ~(1U << ICMP_ECHOREPLY) };
	struct timeval wait = { .tv_sec = LOST_AFTER_S };
	struct sockaddr_in to = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);

	if (inet_pton(AF_INET, address, &to.sin_addr) != 1) {
		errno = EINVAL;
		die(address);
	}
	if (fd < 0 ||
	    setsockopt(fd, SOL_RAW, ICMP_FILTER, &filter, sizeof(filter)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0 ||
	    connect(fd, (const void *)&to, sizeof(to)) < 0)
		die("socket");
	return fd;
}

/* The checksum of RFC 1071; the length is even. */
static uint16_t checksum(const void *data, size_t len)
{
	uint32_t sum = 0;
	uint16_t word;

	for (size_t i = 0; i < len; i += sizeof(word)) {
		memcpy(&word, (const uint8_t *)data + i, sizeof(word));
		sum += word;
	}
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Wait for the answer to a request. Return: false if no answer came. */
static bool wait_for(int fd, uint16_t id, uint16_t seq)
{
	uint8_t packet[256];

	for (;;) {
		ssize_t len = recv(fd, packet, sizeof(packet), 0);
		struct icmphdr header;

		if (len < 0 && (errno == EAGAIN || errno == EINTR))
			return false;
		if (len < 0)
			die("receive");
		if (len < (ssize_t)(sizeof(struct iphdr) + sizeof(header)))
			continue;
		memcpy(&header, packet + sizeof(struct iphdr), sizeof(header));
		if (header.un.echo.id == id && header.un.echo.sequence == seq)
			return true;
	}
}

/* Make one round trip. Return: its time in ns; 0 if no answer came. */
static uint64_t ping(int fd, uint16_t seq)
{
	struct echo echo = { .header.type = ICMP_ECHO };
	uint64_t start;

	echo.header.un.echo.id = (uint16_t)getpid();
	echo.header.un.echo.sequence = seq;
	echo.header.checksum = checksum(&echo, sizeof(echo));
	start = bench_now_ns();
	if (send(fd, &echo, sizeof(echo), 0) < 0 && errno != ENOBUFS)
		die("send");
	if (!wait_for(fd, echo.header.un.echo.id, seq))
		return 0;
	return bench_now_ns() - start;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	static uint64_t samples[MAX_SAMPLES];
	size_t n = 0, lost = 0, cap = MAX_SAMPLES;
	uint64_t end;
	int ns, fd, err;
	uint16_t seq = 0;

	if (argc < 4 || argc > 5) {
		fprintf(stderr, "usage: bench-rtt NAMESPACE ADDRESS "
				"MILLISECONDS [SAMPLES]\n");
		return 2;
	}
	if (argc > 4 && strtoull(argv[4], NULL, 10) < cap)
		cap = strtoull(argv[4], NULL, 10);
	ns = open(argv[1], O_RDONLY | O_CLOEXEC);
	err = ns < 0 ? -errno : net_enter(ns);
	if (err) {
		errno = -err;
		die(argv[1]);
	}
	fd = open_icmp(argv[2]);
	while (seq < WARM_UP)
		ping(fd, seq++);
	end = bench_now_ns() + strtoull(argv[3], NULL, 10) * 1000000;
	while (bench_now_ns() < end && n < cap) {
		uint64_t took = ping(fd, seq++);

		if (took)
			samples[n++] = took;
		else
			lost++;
	}
	if (!n) {
		fprintf(stderr, "bench-rtt: no answer\n");
		return 1;
	}
	qsort(samples, n, sizeof(samples[0]), compare);
	const uint64_t median = samples[n / 2], p99 = samples[n * 99 / 100];

	printf("median=%.2f p99=%.2f n=%zu lost=%zu\n", (double)median / 1e3,
	       (double)p99 / 1e3, n, lost);
	return 0;
}
