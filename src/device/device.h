/* SPDX-License-Identifier: MIT */
/*
 * The device: its identity, its peers, and what they share. No I/O, no clock,
 * no thread, no randomness of its own: these are calls to the owner, or come as
 * arguments. `now` is CLOCK_BOOTTIME in nanoseconds and not 0, `realtime` is
 * CLOCK_REALTIME in nanoseconds since 1970.
 *
 * Who may call what. The *control thread* owns the configuration: the set of
 * peers, the trie, the schedule of timers. Other threads look up under RCU and
 * hold references; what they want from the control thread they say with
 * device_poke_peer(), which puts the peer on a list and wakes it once.
 *
 * Locks, outermost first: those of noise/local.h; then, as leaves that nest
 * with nothing: index.lock, device.poke_lock, the staged pool's, cookie_maker's.
 *
 * Legend: [I] immutable after device_init(), [a] atomic, [c] control thread
 * only, [m] under @poke_lock, [r] read under RCU, written by the control thread.
 */
#ifndef DEVICE_DEVICE_H
#define DEVICE_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "crypto/siphash.h"
#include "device/allowedips.h"
#include "device/index.h"
#include "device/peer.h"
#include "device/schedule.h"
#include "device/staged.h"
#include "device/table.h"
#include "noise/cookie.h"
#include "noise/local.h"
#include "noise/ratelimit.h"

enum {
	/* The most peers of one device. */
	DEVICE_MAX_PEERS = 1 << 20,
};

/* Conditions that the direct caller handles. */
enum device_error {
	/* No keypair to send with; a handshake has been asked for. */
	DEVICE_E_NO_SESSION = 1,
	/* The session came while the packet was being staged: flush now. */
	DEVICE_E_FLUSH,
};

/* Why something received was not taken. */
enum drop_reason {
	DROP_NONE = 0,
	DROP_BAD_MESSAGE,   /* type or length */
	DROP_NO_INDEX,	    /* receiver index unknown */
	DROP_EXPIRED,	    /* the keypair is too old */
	DROP_FORGED,	    /* did not decrypt, or mac1 is wrong */
	DROP_REPLAYED,	    /* counter or timestamp not new */
	DROP_BAD_PACKET,    /* what was inside is no IP packet */
	DROP_BAD_SOURCE,    /* inner source is not the peer's */
	DROP_UNKNOWN_PEER,  /* nobody here has that public key */
	DROP_RATE_LIMIT,    /* too many handshakes */
	DROP_NEEDS_COOKIE,  /* under load: was sent a cookie instead */
	DROP_BAD_HANDSHAKE, /* out of turn, or a key that cannot be */
	DROP_NO_MEMORY,
	DROP_REASONS,
};

/**
 * struct device_sockets - what a change asks of the owner of the sockets
 * @has_port:	@port counts
 * @has_fwmark:	@fwmark counts
 * @port:	UDP port, 0: choose one
 * @fwmark:	SO_MARK of every socket, 0: none
 */
struct device_sockets {
	bool has_port;
	bool has_fwmark;
	uint16_t port;
	uint32_t fwmark;
};

/**
 * struct device_ops - what the device asks of its owner
 *
 * All get the @arg of device_init().
 */
struct device_ops {
	/**
	 * @random:	fill a buffer with bytes nobody can guess; any thread
	 */
	void (*random)(void *arg, void *buf, size_t len);
	/**
	 * @wake:	see to it that device_tick() is called soon; any thread,
	 *		no lock is held
	 */
	void (*wake)(void *arg);
	/**
	 * @forget_source:	clear the local address in an endpoint; any
	 *			thread
	 */
	void (*forget_source)(void *arg, struct device_endpoint *ep);
	/**
	 * @endpoint_learnt:	a packet came from another endpoint than the
	 *			peer's, which has taken it, with the mark 0; any
	 *			thread, no lock is held
	 */
	void (*endpoint_learnt)(void *arg);
	/**
	 * @send_initiation:	let device_make_initiation() be called for this
	 *			peer and its message be sent; control thread. The
	 *			peer is borrowed: take a reference to keep it.
	 */
	void (*send_initiation)(void *arg, struct peer *peer);
	/**
	 * @send_keepalive:	send what is staged, or else a keepalive;
	 *			control thread, peer borrowed
	 */
	void (*send_keepalive)(void *arg, struct peer *peer);
	/**
	 * @session_ready:	send what is staged; if there is nothing and
	 *			@confirm is set, a keepalive, so that the
	 *			responder learns that we have the keys. Any
	 *			thread, peer borrowed.
	 */
	void (*session_ready)(void *arg, struct peer *peer, bool confirm);
	/**
	 * @set_sockets:	change port, mark or both, or neither; while the
	 *			device is down: check and remember them.
	 *
	 * The new sockets must be ready before the old ones go: on failure
	 * everything is as before. Control thread.
	 *
	 * Return: 0, and *port is the port in use; -errno.
	 */
	int (*set_sockets)(void *arg, const struct device_sockets *want,
			   uint16_t *port);
};

/**
 * struct device - see above
 * @ops:		[I]
 * @arg:		[I] for @ops
 * @local:		locked inside
 * @checker:		locked inside
 * @ratelimit:		the handshaker's alone
 * @index:		locked inside
 * @allowedips:		[r]
 * @staged:		locked inside
 * @by_key:		[r] peers by public key
 * @hash_key:		[I] of @by_key
 * @peers:		[c] in the order in which they were added
 * @n_peers:		[c]
 * @next_serial:	[c]
 * @generation:		[c] changes with every change of the configuration
 * @schedule:		[c]
 * @listen_port:	[c]
 * @fwmark:		[c]
 * @is_up:		[a] written by the control thread
 * @poke_lock:		short: a few links
 * @poked:		[m] peers to look at, each with a reference
 */
struct device {
	const struct device_ops *ops;
	void *arg;
	struct noise_local local;
	struct cookie_checker checker;
	struct ratelimit *ratelimit;
	struct index index;
	struct allowedips allowedips;
	struct staged_pool *staged;
	struct table by_key;
	uint8_t hash_key[SIPHASH_KEY_LEN];
	struct list peers;
	size_t n_peers;
	uint64_t next_serial;
	uint64_t generation;
	struct schedule schedule;
	uint16_t listen_port;
	uint32_t fwmark;
	_Atomic bool is_up;
	pthread_mutex_t poke_lock;
	struct list poked;
};

/**
 * device_init() - a device without key and peers, down
 * @device:	caller's storage
 * @ops:	all members set; borrowed until device_deinit()
 * @arg:	for @ops
 *
 * Needs crypto_init(). Call it in the process that will use it: memory for
 * secrets does not cross fork().
 *
 * Return: 0; -ENOMEM.
 */
int device_init(struct device *device, const struct device_ops *ops, void *arg);

/**
 * device_deinit() - remove all peers, wipe and free
 * @device:	device that no other thread uses any more: all lanes and the
 *		handshaker have ended and put their references
 */
void device_deinit(struct device *device);

/**
 * device_set_up() - start or stop all peers
 * @device:	device
 * @is_up:	whether packets may flow
 * @now:	the present
 *
 * Down: sessions are wiped, staged packets dropped, and no timer fires. Up:
 * peers with persistent keepalives begin at once. Control thread.
 */
void device_set_up(struct device *device, bool is_up, uint64_t now);

/**
 * device_set_private_key() - take another identity, or none
 * @device:	device
 * @key:	private key; all zero: none
 *
 * A peer that has our own public key now is removed; the others' sessions end,
 * except that what is on its way to us still arrives. Handshakes that failed
 * for want of a key, or that were begun with another key, begin anew at once.
 * If there was no key before, a handshake begins with each peer that has
 * packets waiting or persistent keepalives. Needs no memory. Control thread.
 */
void device_set_private_key(struct device *device,
			    const uint8_t key[NOISE_PRIVATE_KEY_LEN]);

/**
 * device_renew() - end all sessions that a copy of this machine may share
 * @device:	device
 *
 * For a machine that was resumed from a snapshot, or cloned: another copy of it
 * may have sent with the same keys and counters, or may do so later. All
 * sessions end. Handshakes that are under way end, too, because their ephemeral
 * key exists in each copy. The time of the last initiation is forgotten, and so
 * are the cookies received and the secret of those given out. A handshake
 * begins at once with each peer that had a session, or with which we had begun
 * one. Control thread.
 */
void device_renew(struct device *device);

/**
 * device_is_own_key() - is this our own public key?
 * @device:	device
 * @key:	public key
 *
 * Any thread.
 *
 * Return: true if so.
 */
bool device_is_own_key(struct device *device,
		       const uint8_t key[NOISE_PUBLIC_KEY_LEN]);

/**
 * device_lookup_peer() - find a peer by its public key
 * @device:	device
 * @key:	public key
 *
 * Control thread, or between rcu_enter() and rcu_leave().
 *
 * Return: the peer, without a reference; NULL.
 */
struct peer *device_lookup_peer(const struct device *device,
				const uint8_t key[NOISE_PUBLIC_KEY_LEN]);

/**
 * device_reserve_peers() - make room, so that device_add_peer() cannot fail
 * @device:	device
 * @n:		how many
 *
 * Control thread.
 *
 * Return: 0; -ENOMEM; -ENOSPC if there might be more than DEVICE_MAX_PEERS.
 */
int device_reserve_peers(struct device *device, size_t n);

/**
 * device_add_peer() - put a peer into the set
 * @device:	device; device_reserve_peers() was called
 * @peer:	peer whose key is not in the set; its reference is consumed
 *
 * Control thread.
 */
void device_add_peer(struct device *device, struct peer *peer);

/**
 * device_remove_peer() - take a peer out of the set
 * @device:	device
 * @peer:	peer in the set; the set's reference goes
 *
 * Control thread.
 */
void device_remove_peer(struct device *device, struct peer *peer);

/**
 * device_poke_peer() - have the control thread look at a peer's timers
 * @peer:	peer, borrowed
 *
 * Any thread, without locks.
 */
void device_poke_peer(struct peer *peer);

/**
 * device_learn_endpoint() - an authentic packet of a peer came from there
 * @peer:	peer, borrowed
 * @ep:		where it came from
 *
 * Any thread, without locks.
 */
void device_learn_endpoint(struct peer *peer, const struct device_endpoint *ep);

/**
 * device_tick() - do what is due
 * @device:	device
 * @now:	the present
 *
 * Looks at the peers that were poked and at those whose deadline has come.
 * Control thread.
 *
 * Return: when to call again at the latest; SCHEDULE_NEVER.
 */
uint64_t device_tick(struct device *device, uint64_t now);

#endif /* DEVICE_DEVICE_H */
