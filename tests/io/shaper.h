/* SPDX-License-Identifier: MIT */
/*
 * A path with a slow link in the middle: 50 Mbit/s, and a queue of 28,000 bytes, which
 * 64 datagrams at once do not fit, and 16 do. Sender, router and receiver are
 * namespaces. The sender's device cuts trains, so that the router sees datagrams, as a
 * router behind a wire does.
 *
 * Under emulation (LAB_SLOW, see tests/kernels/run.py) the link is slower, and all
 * pauses are longer, by that factor.
 */
#ifndef TESTS_IO_SHAPER_H
#define TESTS_IO_SHAPER_H

#include <stddef.h>

enum {
	/* Payload of a datagram. With its headers it fits an MTU of 1,500. */
	SHAPER_DATAGRAM = 1400,
	/* The average rate of shaper_loss(), below that of the link. */
	SHAPER_MBIT = 30,
};

/* The namespace that sends; its device is called "in". */
extern int shaper_sender;

/* The receiver's addresses, as ug_endpoint_parse() reads them, but for the port. */
extern const char *const shaper_hosts[2];

/* shaper_slowness() - LAB_SLOW, 1 if it is not set */
double shaper_slowness(void);

/* shaper_set_up() - for cmocka_run_group_tests(): make the path */
int shaper_set_up(void **state);

/**
 * struct shaper_flow - how a sender sends
 * @at_once:	datagrams of a call of ug_send()
 * @max_segments: as for ug_batch_set_segments()
 * @is_paced:	SO_MAX_PACING_RATE is SHAPER_MBIT
 */
struct shaper_flow {
	size_t at_once;
	unsigned int max_segments;
	int is_paced;
};

/**
 * shaper_loss() - send at the average rate, and count what comes
 * @flow:	how to send
 * @host:	one of shaper_hosts
 *
 * Prints a comment that says what came. A call that fails ends the test.
 *
 * Return: the percentage that was lost.
 */
double shaper_loss(const struct shaper_flow *flow, const char *host);

#endif /* TESTS_IO_SHAPER_H */
