/* SPDX-License-Identifier: MIT */
/*
 * A device and its peers as plain numbers, for a process that goes on for this one
 * without loss. The structs have a fixed layout without padding and without pointers.
 * Those of handshakes, keypairs, cookies and timers are in the headers of these parts.
 *
 * Not written, because the process that goes on can do without:
 *
 *  - What belongs to the configuration: keys, allowed IPs. It must be there already.
 *  - Staged packets. Each waits for a session, and is lost like a packet on the way.
 *  - The rates of handshakes (noise/ratelimit.h). A source may have its burst again.
 *  - What other parts keep with a peer: its places in the watch over trains, in the path
 *    MTUs and in the recorder's memory. So has_lost_trains is left out, too.
 *  - The table of indexes. It is made anew from the handshakes and keypairs.
 *
 * All functions: control thread. No other thread may use a device that is filled. While
 * other threads use a device that is written, each number is one that it had at some time
 * meanwhile, but they need not fit together: a keypair that moves from slot to slot may be
 * in both or in none.
 */
#ifndef DEVICE_PLAIN_H
#define DEVICE_PLAIN_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "device/device.h"

/* May the owner of the sockets have made this endpoint? */
typedef bool (*plain_endpoint_fn)(const struct device_endpoint *ep);

/**
 * struct device_plain - a device as numbers, without its peers
 * @public_key:	own; all zero: none
 * @checker:	secret of the cookies
 * @generation:	as in struct device
 * @n_lanes:	of the table of indexes
 * @fwmark:	as in struct device
 * @listen_port: as in struct device
 * @is_up:	1: packets may flow
 * @zero:	zero
 */
struct device_plain {
	uint8_t public_key[NOISE_PUBLIC_KEY_LEN];
	struct cookie_checker_plain checker;
	uint64_t generation;
	uint32_t n_lanes;
	uint32_t fwmark;
	uint16_t listen_port;
	uint8_t is_up;
	uint8_t zero[5];
};

static_assert(sizeof(struct device_plain) ==
		      32 + sizeof(struct cookie_checker_plain) + 3 * 8,
	      "no padding");

/* struct peer_notes_plain - members as in struct peer_notes; booleans are 0 or 1 */
struct peer_notes_plain {
	uint64_t n_bad_source;
	uint64_t bad_source_at;
	uint64_t bad_source[2];
	uint64_t send_error_at;
	uint64_t n_unanswered;
	uint64_t initiation_at;
	uint64_t n_undecryptable;
	uint64_t undecryptable_at;
	uint64_t n_moves;
	uint64_t n_returns;
	uint64_t moved_at;
	uint64_t was[ENDPOINT_WORDS];
	uint64_t trace[PEER_TRACE_LEN];
	uint32_t bad_source_version;
	int32_t send_error;
	uint32_t n_events;
	uint8_t is_silent;
	uint8_t is_incomplete;
	uint8_t zero[2];
};

static_assert(sizeof(struct peer_notes_plain) ==
		      (12 + ENDPOINT_WORDS + PEER_TRACE_LEN + 2) * 8,
	      "no padding");

/**
 * struct peer_plain - a peer as numbers, without its keypairs
 * @due_ns:	when the timers must be looked at; SCHEDULE_NEVER: no deadline
 * @lane:	the lane of its indexes
 *
 * All other members are those of struct peer; booleans are 0 or 1.
 */
struct peer_plain {
	uint8_t public_key[NOISE_PUBLIC_KEY_LEN];
	uint64_t tx_bytes;
	uint64_t rx_bytes;
	uint64_t last_handshake_ns;
	uint64_t returned_ns;
	uint64_t greet_ns;
	uint64_t due_ns;
	uint64_t endpoint[ENDPOINT_WORDS];
	struct timers_plain timers;
	uint32_t lane;
	uint32_t n_screened;
	uint32_t n_checked;
	uint32_t n_incomplete;
	uint8_t did_last_minute;
	uint8_t had_session;
	uint8_t zero[6];
	struct noise_handshake_plain handshake;
	struct cookie_maker_plain cookie;
	struct peer_notes_plain notes;
};

static_assert(sizeof(struct peer_plain) ==
		      32 + (6 + ENDPOINT_WORDS + 3) * 8 +
			      sizeof(struct timers_plain) +
			      sizeof(struct noise_handshake_plain) +
			      sizeof(struct cookie_maker_plain) +
			      sizeof(struct peer_notes_plain),
	      "no padding");

/* device_export() - write a device as numbers. The caller wipes @out after use. */
void device_export(struct device *device, struct device_plain *out);

/**
 * device_plain_is_sound() - may device_export() have written this?
 * @plain:	numbers of any origin
 * @latest:	no point of time may lie after this one
 *
 * Return: true if device_import() may be given it.
 */
bool device_plain_is_sound(const struct device_plain *plain, uint64_t latest);

/**
 * device_reserve_import() - do before device_import() and peer_import() what takes most of
 *			     their time: get memory for the sessions
 * @device:	device with the configuration of another process, without sessions
 *
 * The peers that had a session when the configuration was written get memory for one.
 * Without it, or if there is not enough, the functions take memory themselves.
 */
void device_reserve_import(struct device *device);

/**
 * device_import() - go on for the device of another process
 * @device:	device with the same configuration; without sessions, or with those that
 *		were imported before
 * @in:		device, sound
 * @now:	the present
 *
 * A device that was up is brought up.
 *
 * Return: 0; -ESTALE: key, port, mark or number of lanes are others, or peers were imported
 * and the device has gone up or down since then. Then nothing has changed.
 */
int device_import(struct device *device, const struct device_plain *in,
		  uint64_t now);

/* peer_export() - write a peer as numbers. The caller wipes @out after use. @now: a
 * peer that was poked is due then. */
void peer_export(struct peer *peer, uint64_t now, struct peer_plain *out);

/**
 * peer_plain_is_sound() - may peer_export() have written this?
 * @plain:	numbers of any origin
 * @device:	device of the peer, sound
 * @latest:	no point of time may lie after this one, except deadlines
 * @is_endpoint: judges endpoints
 *
 * Return: true if peer_import() may be given it.
 */
bool peer_plain_is_sound(const struct peer_plain *plain,
			 const struct device_plain *device, uint64_t latest,
			 plain_endpoint_fn is_endpoint);

/**
 * peer_import() - go on for the peer of another process
 * @peer:	peer of the same key, in a device after device_import(), without
 *		sessions or with those that were imported before; its lane may change
 * @in:		peer, sound
 * @was:	the device that it was in, sound
 *
 * Sets peer.is_imported. The keypairs come next, by noise_keypairs_import() or
 * noise_keypairs_import_none() for each slot.
 *
 * Return: 0; -errno of noise_handshake_import(), and then the caller goes on with
 * peer_import_none().
 */
int peer_import(struct peer *peer, const struct peer_plain *in,
		const struct device_plain *was);

/* peer_import_none() - undo peer_import() as far as sessions and handshakes go; the other
 * members stay until the peer is imported again */
void peer_import_none(struct peer *peer);

#endif /* DEVICE_PLAIN_H */
