/* SPDX-License-Identifier: MIT */
/*
 * The state that one engine hands to the next. The engine that goes on, the successor,
 * has the same configuration; the state is what the configuration does not say:
 * sessions with their keys, counters and windows, handshakes under way, cookies, timers,
 * endpoints, statistics. device/plain.h says what is left out.
 *
 * The predecessor writes it to memory of journal/store.h, in two parts. The early state has
 * all peers. It is written, read and applied while packets go on, so a number in it may be
 * old by then, and numbers of a peer may not fit together. The last state is written when
 * no thread of the predecessor uses the device any more. It has what differs from the early
 * one. So the time for which packets wait depends on how many peers have changed in between.
 * Points of time go over as they are: CLOCK_BOOTTIME is one clock for both processes.
 *
 * The predecessor may have been taken over by an enemy, who goes on writing while the
 * successor reads. So everything is copied out of the memory, and the copy is checked
 * before it is used. state_check() looks at all of it; state_apply() checks each copy
 * once more. So an enemy who writes the state chooses the sessions, endpoints and numbers
 * of this device, which he had before, and reaches nothing else.
 *
 * Peers see nothing of an upgrade before the successor has won the owner word
 * (handover/owner.h). So after each error before that the predecessor can go on.
 */
#ifndef HANDOVER_STATE_H
#define HANDOVER_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/device.h"
#include "handover/state_layout.h"
#include "journal/store.h"

/* The most bytes of a state. A choice: DEVICE_MAX_PEERS peers with a session each take
 * about 0.85 GiB. */
#define STATE_MAX_LEN ((size_t)1 << 30)

/* ------------------------------------------------------ the predecessor */

/**
 * state_get_len() - bytes that a state takes
 * @device:	device; other threads may use it
 * @n_counters:	counters that go with it
 *
 * The state may be longer when it is written: sessions begin, and messages that are lost
 * leave gaps in replay windows, which take more words. So this is a quarter more than the
 * state takes now, and some. Control thread.
 *
 * Return: bytes, for store_new(); at most STATE_MAX_LEN.
 */
size_t state_get_len(struct device *device, size_t n_counters);

/**
 * state_write_early() - write the early state
 * @store:	new memory of store_new(); it counts as a state once all is written
 * @device:	device, which other threads may use; it is not changed
 * @now:	the present
 *
 * Control thread.
 *
 * Return: 0; -ENOSPC: the memory is too short, and was wiped.
 */
int state_write_early(struct store *store, struct device *device, uint64_t now);

/**
 * state_write() - write the last state
 * @store:	new memory of store_new(); it counts as a state once all is written
 * @device:	device that no other thread uses; it is not changed
 * @early:	state of the same device and the same peers by state_write_early(), which
 *		was or will be applied; NULL: there is none, and all peers are written
 * @counters:	numbers that go on, with different names
 * @n_counters:	their number, at most STATE_COUNTERS_MAX
 * @now:	the present
 *
 * The owner's word is OWNER_PREDECESSOR. Control thread.
 *
 * Return: 0; -ENOSPC: the memory is too short, and was wiped.
 */
int state_write(struct store *store, struct device *device,
		const struct store *early, const struct state_counter *counters,
		size_t n_counters, uint64_t now);

/**
 * state_close() - wipe a state, and close its memory
 * @store:	memory of store_new(), which may be a state
 *
 * Pages of memfd_create(2), which are used if there is no memfd_secret(2), keep their
 * contents when the kernel takes them back. A successor that still reads the memory does
 * not get the owner word any more. Control thread.
 */
void state_close(struct store *store);

/* -------------------------------------------------------- the successor */

/**
 * state_prepare() - have memory for what state_apply() will make
 * @device:	device with the predecessor's configuration
 *
 * To be called while the predecessor is still at work. Without it state_apply() takes
 * about 0.6 ms more for each 1,000 sessions. See also device_reserve_import(). Control
 * thread.
 */
void state_prepare(struct device *device);

/**
 * struct state - a state that is read
 * @is_endpoint: in: says whether an endpoint is one that the owner of the sockets may
 *		have made; set it before state_check()
 * @bytes:	the memory; borrowed
 * @len:	bytes of the state, at most those of the memory
 * @written_ns:	when it was written
 * @n_counters:	numbers for state_get_counter()
 * @n_peers:	peers in this state
 * @n_sessions:	those of them that have a session; 0 in an early state
 * @is_early:	state_write_early() has written it
 * @is_up:	the predecessor's device was up
 * @why:	what is wrong, in words, a constant; NULL: nothing so far
 */
struct state {
	plain_endpoint_fn is_endpoint;
	const uint8_t *bytes;
	size_t len;
	uint64_t written_ns;
	uint32_t n_counters;
	uint32_t n_peers;
	uint32_t n_sessions;
	bool is_early;
	bool is_up;
	const char *why;
};

/**
 * state_check() - look at all of a state
 * @state:	@is_endpoint is set, all others are filled
 * @bytes:	memory with any contents, which may change meanwhile; borrowed until
 *		@state is of no more use
 * @len:	its length
 *
 * Two keypairs with one index are found by state_apply() only. So is a wrong peer of an
 * early state.
 *
 * Any thread.
 *
 * Return: true: state_apply() may be called; false: @state->why says why not.
 */
bool state_check(struct state *state, const uint8_t *bytes, size_t len);

/**
 * state_get_counter() - read a number that goes on
 * @state:	state after state_check()
 * @i:		which, below @state->n_counters
 * @out:	filled; its name ends with a zero, whatever the memory has by now
 *
 * Any thread.
 */
void state_get_counter(const struct state *state, size_t i,
		       struct state_counter *out);

/**
 * state_apply() - go on where the predecessor has stopped
 * @state:	state after state_check()
 * @device:	device with the predecessor's configuration, which no other thread uses;
 *		without sessions, or after state_apply() of an early state
 * @now:	the present
 *
 * A peer of an early state that is wrong is left out, because it may have changed while it
 * was written. It must be in the last state.
 *
 * Peers are told apart by their public keys; it is fastest if both devices have them in
 * one order. If the predecessor's device was up, @device is brought up. A peer that was
 * to be greeted because it had a session is not greeted if its session goes on. The
 * first device_tick() finds all deadlines. Control thread.
 *
 * Return: 0; -ESTALE: the configuration is another one (peers, key, port, mark, number
 * of lanes), or the interface has gone up or down since the early state; -EINVAL: two
 * keypairs have one index, or the memory has changed since state_check(), or was written
 * later than @now, or a peer is in neither state; -ENOMEM; -ENOSPC: too many indexes.
 * After an error the device is of no use but for device_deinit().
 */
int state_apply(const struct state *state, struct device *device, uint64_t now);

#endif /* HANDOVER_STATE_H */
