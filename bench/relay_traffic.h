/* SPDX-License-Identifier: MIT */
/*
 * The two ends of many flows, for the benchmark of relays: a source that sends
 * datagrams to a relay, and a sink that counts what the relay forwards.
 *
 * A relay forwards as examples/relay.c does: the first four bytes of a datagram are
 * the number of its flow, and the first two endpoints that send with a number are the
 * ends of the flow. Each flow has addresses of its own at both ends, so the relay sends
 * to as many endpoints as there are flows. All these addresses belong to one namespace,
 * and one socket at each end has them all.
 */
#ifndef BENCH_RELAY_TRAFFIC_H
#define BENCH_RELAY_TRAFFIC_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/net.h"

enum {
	/* Bytes of a datagram: a size that QUIC and WireGuard often have. */
	RELAY_SIZE = 1200,
	/* Datagrams in a cycle. All of them fit the relay's receive buffer, and are
	 * more than a processor's second cache holds. */
	RELAY_CYCLE = 4096,
	RELAY_MAX_FLOWS = 1000,
	/* Datagrams of a flow that are sent one behind the other, as one train. */
	RELAY_BURST = 16,
};

struct relay_traffic;

/**
 * relay_traffic_new() - open the source and the sink
 * @out:	set on success; it lives until the process ends
 * @net:	a veth pair. The calling thread is in the sender's namespace, and the
 *		relays will be in the receiver's. Routes to the flows' addresses are
 *		added in both.
 *
 * Return: 0; -errno; -EIO if ip(8) failed.
 */
int relay_traffic_new(struct relay_traffic **out, const struct net *net);

/**
 * relay_traffic_set() - choose the traffic of the following cycles
 * @t:		the ends
 * @flows:	1 to RELAY_MAX_FLOWS
 * @bursts:	each flow sends RELAY_BURST datagrams at a time; else one
 */
void relay_traffic_set(struct relay_traffic *t, unsigned int flows,
		       bool bursts);

/**
 * relay_traffic_aim() - choose the relay of the following cycles
 * @t:		the ends
 * @port:	its port
 */
void relay_traffic_aim(struct relay_traffic *t, uint16_t port);

/**
 * relay_traffic_join() - make all flows known to the relay
 * @t:		the ends
 *
 * Waits until the relay forwards, for ten seconds at most.
 *
 * Return: 0; -errno; -ETIMEDOUT.
 */
int relay_traffic_join(struct relay_traffic *t);

/**
 * relay_traffic_fill() - send the datagrams of a cycle to the relay
 * @t:		the ends
 *
 * They wait in the relay's receive buffer if the relay is stopped. Then the calling
 * thread reads so much other memory that the datagrams are in no cache any more.
 *
 * Return: 0; -errno.
 */
int relay_traffic_fill(struct relay_traffic *t);

/**
 * relay_traffic_drain() - take what the relay forwards, until a cycle is complete
 * @t:		the ends
 * @check:	compare every byte with what was sent, and the order in each flow
 *
 * Gives up when nothing has come for five seconds.
 *
 * Return: datagrams that came; -errno; -EBADMSG if one was not what was sent.
 */
int64_t relay_traffic_drain(struct relay_traffic *t, bool check);

#endif /* BENCH_RELAY_TRAFFIC_H */
