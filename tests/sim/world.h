/* SPDX-License-Identifier: MIT */
/*
 * A model of a network with hosts that run the real device code under a fake
 * clock. Everything happens in one thread, in the order of an event queue, and
 * depends on the seed alone.
 *
 * The network loses, delays, reorders and doubles datagrams. Datagrams to an
 * address that no host has are lost. Each host has a public address, which a
 * test may change (as a NAT that lost its state does), and a wall clock, which
 * a test may step.
 *
 * In every test, the model asserts that no counter is used twice, no key is
 * used after REJECT_AFTER_TIME, no packet is delivered twice, and initiations
 * are at least REKEY_TIMEOUT apart.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "crypto/aead.h"
#include "device/config.h"
#include "device/device.h"
#include "device/handshake.h"
#include "device/session.h"

/* Bounds, and the length of each packet. Choices. */
enum {
	SIM_HOSTS = 3,
	SIM_MAX_DATAGRAM = 2048,
	SIM_MAX_SESSIONS = 4096,
	SIM_PACKET_LEN = 100,
};

#define SIM_SEC(n)  ((uint64_t)(n)*NSEC_PER_SEC)
#define SIM_MSEC(n) ((uint64_t)(n)*NSEC_PER_MSEC)

struct world;

/* Messages that a host has sent, by kind. */
struct sim_counts {
	size_t initiations;
	size_t responses;
	size_t cookies;
	size_t keepalives;
	size_t data;
};

struct sim_host {
	struct world *world;
	unsigned int number;
	struct device device;
	struct aead *aead;
	uint8_t private_key[32];
	uint8_t public_key[32];
	uint64_t address;
	int64_t realtime_offset_ns;
	uint64_t due_ns;
	bool is_woken;
	bool is_loaded;
	bool has_forgotten_source;
	int set_sockets_err;
	struct sim_counts sent;
	uint64_t initiated_ns[SIM_HOSTS];
	size_t delivered;
	size_t drops[DROP_REASONS];
	/* How often the device has told each event about each other host. */
	unsigned int told[SIM_HOSTS][DEVICE_SESSION_ENDED + 1];
};

struct sim_session {
	unsigned int from;
	uint32_t receiver;
	uint64_t next;
};

struct sim_event;

struct world {
	uint64_t now;
	uint64_t seed;
	/* The network: lost and doubled datagrams in a million, delays. */
	uint32_t loss_ppm;
	uint32_t double_ppm;
	uint64_t delay_ns;
	uint64_t jitter_ns;
	bool is_cut;
	struct sim_event **events;
	size_t n_events;
	size_t cap_events;
	uint64_t n_made;
	struct sim_host hosts[SIM_HOSTS];
	struct sim_session sessions[SIM_MAX_SESSIONS];
	size_t n_sessions;
	/* Called with each datagram that a host sends, before it enters the
	 * network. */
	void (*tap)(void *arg, unsigned int from, const uint8_t *buf,
		    size_t len);
	void *tap_arg;
	/* Called with a host whose device is new and has no configuration. If it
	 * returns true, it has configured the device. */
	bool (*prepare)(void *arg, struct sim_host *host);
	void *prepare_arg;
	/* How often each packet was delivered. */
	uint8_t *arrived;
	size_t n_packets;
	size_t cap_packets;
};

/**
 * sim_prepare() - initialise; to be called before worlds are made
 * @seed:	receives TEST_SEED of the environment, which is printed
 * @usual:	the seed if that is not set
 *
 * Return: 0; an error if there is no cryptography here.
 */
int sim_prepare(uint64_t *seed, uint64_t usual);

/* A world of @n_hosts, all peers of one another, up, with known endpoints. */
struct world *world_new(uint64_t seed, unsigned int n_hosts);
void world_free(struct world *world);

uint64_t world_random(struct world *world);
uint32_t world_random_below(struct world *world, uint32_t n);

/* Let time pass, and handle all events of this time. */
void world_run(struct world *world, uint64_t duration_ns);

/* Send a packet now; the result is its number. */
size_t world_send(struct world *world, unsigned int from, unsigned int to);

/* As world_send(), with the inner source of another host. */
size_t world_send_as(struct world *world, unsigned int from,
		     unsigned int claimed, unsigned int to);

/*
 * Let a host receive a datagram now, in place. As in the engine, handshake
 * messages are screened first.
 */
enum drop_reason world_deliver(struct world *world, unsigned int to,
			       uint64_t source, uint8_t *buf, size_t len);

/* Send a packet every @every_ns for a time, up to a tenth late at random. */
void world_stream(struct world *world, unsigned int from, unsigned int to,
		  uint64_t every_ns, uint64_t duration_ns);

/* How many of the packets from number @first on arrived? */
size_t world_count_arrived(const struct world *world, size_t first);

/* A host forgets everything but its keys, and starts again. */
void world_restart(struct world *world, unsigned int number);

/* Give a host another public address; datagrams to the old one are lost. */
void world_rebind(struct world *world, unsigned int number);

struct peer *world_peer(struct world *world, unsigned int of, unsigned int to);

/* The address that @of has as endpoint of @to. */
uint64_t world_believed_address(struct world *world, unsigned int of,
				unsigned int to);

/* Apply a change of one peer: @fill adds operations to its section. */
void world_configure_peer(struct world *world, unsigned int of, unsigned int to,
			  void (*fill)(struct config *config, void *arg),
			  void *arg);

/* Put a datagram on the network as if it came from @source. */
void world_inject(struct world *world, uint64_t source, uint64_t destination,
		  const void *buf, size_t len);

/* Change the source of all datagrams that are on their way. */
void world_forge_source(struct world *world, uint64_t source);

struct sim_counts world_sum(const struct world *world);
size_t sim_count_all(const struct sim_counts *counts);
size_t world_count_sent(const struct world *world);

#endif /* SIM_WORLD_H */
