/* SPDX-License-Identifier: MIT */
/*
 * The engine's lanes, its handshaker and a device in one thread, with a clock
 * that the target sets, and with arrays as socket and TUN. world_run() does the
 * work of the engine's threads one after the other.
 */
#ifndef FUZZ_ENGINE_WORLD_H
#define FUZZ_ENGINE_WORLD_H

#include "device/device.h"
#include "engine/context.h"
#include "engine/handshaker.h"
#include "engine/inbound.h"
#include "engine/outbound.h"

enum {
	/* More than any message that a target makes. A choice. */
	WORLD_DATAGRAM_MAX = 2048,
	/* Places of a queue. A choice. */
	WORLD_QUEUE = 64,
};

/* A datagram or packet on its way into the engine. */
struct world_bytes {
	size_t len;
	struct ug_endpoint from;
	uint8_t tos;
	uint8_t bytes[WORLD_DATAGRAM_MAX];
};

struct world_queue {
	unsigned int n;
	struct world_bytes items[WORLD_QUEUE];
};

/*
 * @now:	CLOCK_BOOTTIME; only grows, over all inputs
 * @datagrams: datagrams that wait in the socket
 * @packets: packets that wait in the TUN
 * @sent:	called with each datagram that is sent
 * @written:	called with each packet for the TUN
 * @n_full: number of sendmmsg(2) calls that find the socket full
 */
struct engine_world {
	uint64_t now;
	struct device device;
	struct tun tun;
	struct sockets sockets;
	struct handshaker handshaker;
	struct inbound_lane in;
	struct outbound_lane out;
	struct writer writer;
	struct context context;
	struct ug_socket *sock;
	struct world_queue datagrams;
	struct world_queue packets;
	void (*sent)(const uint8_t *msg, size_t len);
	void (*written)(const uint8_t *packet, size_t len);
	unsigned int n_full;
	bool is_woken;
	uint64_t seed;
};

/* The only instance. */
extern struct engine_world world;

/* world_begin() - a device that is up, without key and peers */
void world_begin(void);

/* world_end() - take the device down, and remove its peers and its key */
void world_end(void);

/* world_push() - put bytes into a queue, if there is room */
void world_push(struct world_queue *queue, const struct ug_endpoint *from,
		uint8_t tos, const uint8_t *bytes, size_t len);

/* world_run() - run all work until there is none left */
void world_run(void);

#endif /* FUZZ_ENGINE_WORLD_H */
