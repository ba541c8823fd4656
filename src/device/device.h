/* SPDX-License-Identifier: MIT */
/*
 * The device: its identity, its peers, and what they share. It has no I/O,
 * clock, thread or randomness of its own: the owner gives these as functions
 * (struct device_ops) or as arguments. `now` is CLOCK_BOOTTIME in nanoseconds
 * and never 0. `realtime` is CLOCK_REALTIME in nanoseconds since 1970.
 *
 * Threads. The control thread owns the configuration: the set of peers, the
 * trie of allowed IPs, and the schedule of timers. Other threads look up under
 * RCU and hold references. If another thread needs the control thread, it calls
 * device_poke_peer(), which puts the peer on a list and wakes the control
 * thread once.
 *
 * Locks, outermost first: those of noise/local.h; then these leaves, under
 * which no other lock is taken: index.lock, device.poke_lock, the lock of the
 * staged pool, and that of cookie_maker.
 *
 * Legend: [I] immutable after device_init(), [a] atomic, [c] control thread
 * only, [m] under @poke_lock, [r] read under RCU, written by the control
 * thread.
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
	/* The most peers of one device, as in the kernel module. */
	DEVICE_MAX_PEERS = 1 << 20,
	/* See DEVICE_HANDSHAKES_INCOMPLETE. A choice: one or two answers can be
	 * lost on the way. */
	DEVICE_INCOMPLETE_HANDSHAKES = 3,
};

/* Conditions that the direct caller handles. */
enum device_error {
	/* There is no session; a handshake was requested. */
	DEVICE_E_NO_SESSION = 1,
	/* A session began while the packet was being staged: send the staged
	 * packets now. */
	DEVICE_E_FLUSH,
	/* Other threads have to send their messages to this peer first. */
	DEVICE_E_FAR,
};

/* Why a received message was dropped. */
enum drop_reason {
	DROP_NONE = 0,
	DROP_BAD_MESSAGE,   /* type or length */
	DROP_NO_INDEX,	    /* the receiver index names nothing here */
	DROP_EXPIRED,	    /* the keypair is too old */
	DROP_FORGED,	    /* did not decrypt, or mac1 is wrong */
	DROP_REPLAYED,	    /* counter or timestamp not new */
	DROP_BAD_PACKET,    /* the text is no IP packet */
	DROP_BAD_SOURCE,    /* the peer does not own the inner source */
	DROP_UNKNOWN_PEER,  /* no peer has this public key */
	DROP_RATE_LIMIT,    /* too many handshakes */
	DROP_NEEDS_COOKIE,  /* under load: the answer is a cookie reply */
	DROP_BAD_HANDSHAKE, /* not expected now, or an unusable key */
	DROP_NO_MEMORY,
	DROP_REASONS,
};

/* What has happened to a peer, for people: see struct device_ops. */
enum device_event {
	DEVICE_PEER_ADDED,
	DEVICE_PEER_CHANGED, /* by a new configuration */
	DEVICE_PEER_REMOVED,
	/* A packet of the peer came from another endpoint than those before. */
	DEVICE_ENDPOINT_CHANGED,
	/* TIMERS_SILENT_TRIES initiations in a row had no response. */
	DEVICE_PEER_SILENT,
	/* REKEY_ATTEMPT_TIME is over: no more initiations. */
	DEVICE_ATTEMPT_ENDED,
	/* We have answered DEVICE_INCOMPLETE_HANDSHAKES initiations in a row, and
	 * after none of them the peer used the session. */
	DEVICE_HANDSHAKES_INCOMPLETE,
	/* The session was not renewed for TIMERS_ZERO_NS: its keys are wiped. */
	DEVICE_SESSION_ENDED,
};

/**
 * struct device_sockets - the port and mark that the sockets are to have
 * @has_port:	@port is to be changed
 * @has_fwmark:	@fwmark is to be changed
 * @is_restored: another process has accepted this, and it is not tried again
 * @port:	UDP port, 0: choose one
 * @fwmark:	SO_MARK of every socket, 0: none
 */
struct device_sockets {
	bool has_port;
	bool has_fwmark;
	bool is_restored;
	uint16_t port;
	uint32_t fwmark;
};

/**
 * struct device_ops - functions of the device's owner
 *
 * Each gets the @arg of device_init(). All are set but @count_initiations and @event.
 */
struct device_ops {
	/**
	 * @random:	fill a buffer with unpredictable bytes; any thread
	 */
	void (*random)(void *arg, void *buf, size_t len);
	/**
	 * @wake:	have the control thread call device_tick() soon; any
	 *		thread, no lock is held
	 */
	void (*wake)(void *arg);
	/**
	 * @forget_source:	clear the local address in an endpoint; any
	 *			thread
	 */
	void (*forget_source)(void *arg, struct device_endpoint *ep);
	/**
	 * @endpoint_learnt:	a peer has a new endpoint, with the mark 0,
	 *			because a packet came from there; any thread, no
	 *			lock is held
	 */
	void (*endpoint_learnt)(void *arg);
	/**
	 * @send_initiation:	have device_make_initiation() called for this
	 *			peer, and send its message; control thread. The
	 *			peer is borrowed: take a reference to keep it.
	 */
	void (*send_initiation)(void *arg, struct peer *peer);
	/**
	 * @count_initiations:	how many peers wait that @send_initiation was
	 *			called for. Control thread. NULL: they never wait.
	 */
	size_t (*count_initiations)(void *arg);
	/**
	 * @send_keepalive:	send the staged packets, or a keepalive if there
	 *			are none; control thread, peer borrowed
	 */
	void (*send_keepalive)(void *arg, struct peer *peer);
	/**
	 * @session_ready:	send the staged packets. If there are none and
	 *			@confirm is set, send a keepalive, by which the
	 *			responder learns that we have the keys. Any
	 *			thread, peer borrowed.
	 */
	void (*session_ready)(void *arg, struct peer *peer, bool confirm);
	/**
	 * @set_sockets:	change the port, the mark, or both. While the
	 *			device is down: check and remember them.
	 *
	 * The old sockets are closed only when the new ones are ready, so a
	 * failure changes nothing. While the device is down, what is restored
	 * is only remembered. Control thread.
	 *
	 * Return: 0, and *port is the port in use; -errno.
	 */
	int (*set_sockets)(void *arg, const struct device_sockets *want,
			   uint16_t *port);
	/**
	 * @event:	something has happened to a peer, which is borrowed. @was is
	 *		its last endpoint for DEVICE_ENDPOINT_CHANGED, all zero if
	 *		there was none, and else NULL. Any thread, no lock is held.
	 *		NULL: nobody wants to know.
	 */
	void (*event)(void *arg, enum device_event event, struct peer *peer,
		      const struct device_endpoint *was);
};

/**
 * struct device_recorder - functions of a part that keeps what must outlive this
 *			    process
 *
 * Each gets the @arg of device_set_recorder().
 */
struct device_recorder {
	/**
	 * @added:	a peer was put into the set; control thread
	 */
	void (*added)(void *arg, struct peer *peer);
	/**
	 * @removed:	a peer was taken out of the set; control thread
	 */
	void (*removed)(void *arg, struct peer *peer);
	/**
	 * @note:	timestamps, endpoint, session or counters of a peer have
	 *		changed. A timestamp has not taken effect yet: the message
	 *		that has it leaves, and the one that had it is answered,
	 *		after this call. Any thread, no lock is held; the peer may
	 *		have left the set.
	 */
	void (*note)(void *arg, struct peer *peer);
	/**
	 * @port:	the system has chosen device.listen_port; control thread
	 */
	void (*port)(void *arg);
};

/**
 * struct device - a device
 * @ops:		[I] the owner's functions
 * @arg:		[I] argument of @ops
 * @recorder:		[I] once other threads use the device; NULL: none
 * @recorder_arg:	[I] argument of @recorder
 * @local:		locked inside
 * @checker:		locked inside
 * @ratelimit:		used by the handshaker only
 * @index:		locked inside
 * @allowedips:		[r]
 * @staged:		locked inside
 * @by_key:		[r] peers by public key
 * @hash_key:		[I] key of the hash of @by_key, and of peers to lanes
 * @peers:		[c] in the order in which they were added
 * @n_peers:		[c]
 * @n_imported:		[c] peers with peer.is_imported
 * @greet_delay_ns:	[c] how much later than peer.greet_ns peers are greeted
 * @next_serial:	[c]
 * @generation:		[c] changes with every change of the configuration
 * @schedule:		[c]
 * @listen_port:	[c]
 * @fwmark:		[c]
 * @is_up:		[a] written by the control thread
 * @poke_lock:		held for a few stores
 * @poked:		[m] peers that the control thread is to look at; the
 *			list has a reference to each
 */
struct device {
	const struct device_ops *ops;
	void *arg;
	const struct device_recorder *recorder;
	void *recorder_arg;
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
	size_t n_imported;
	uint64_t greet_delay_ns;
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
 * device_init() - make a device that has no key and no peers and is down
 * @device:	caller's storage
 * @ops:	borrowed until device_deinit()
 * @arg:	for @ops
 *
 * Needs crypto_init(). Call it in the process that will use it: memory for
 * secrets does not cross fork().
 *
 * Return: 0; -ENOMEM.
 */
int device_init(struct device *device, const struct device_ops *ops, void *arg);

/**
 * device_set_lanes() - divide the peers among lanes
 * @device:	device without peers
 * @n:		how many, 1 to INDEX_LANES_MAX; device_init() sets 1
 *
 * Each peer belongs to one lane, and so do the indexes of all its handshakes and
 * sessions: see index_lane(). Control thread.
 */
void device_set_lanes(struct device *device, unsigned int n);

/**
 * device_deinit() - remove all peers, wipe and free
 * @device:	device that no other thread uses any more: the lanes and the
 *		handshaker have ended and given their references back
 */
void device_deinit(struct device *device);

/**
 * device_set_recorder() - have another part keep what must outlive this process
 * @device:	device that no other thread uses yet
 * @recorder:	its functions, borrowed until device_deinit(); NULL: none
 * @arg:	for @recorder
 *
 * Peers that are in the set already are not told. Control thread.
 */
void device_set_recorder(struct device *device,
			 const struct device_recorder *recorder, void *arg);

/**
 * device_note() - tell the recorder, if there is one, that a peer has changed
 * @peer:	peer, borrowed
 *
 * See @note of struct device_recorder. Any thread, without locks.
 */
void device_note(struct peer *peer);

/**
 * device_note_port() - note the port that the system has chosen
 * @device:	device
 * @port:	port in use
 *
 * Control thread.
 */
void device_note_port(struct device *device, uint16_t port);

/**
 * device_set_up() - start or stop all peers
 * @device:	device
 * @is_up:	whether packets may flow
 * @now:	the present
 *
 * Down: sessions are wiped, staged packets are dropped, and no timer fires. Up:
 * persistent keepalives are due at once. But peers with peer.had_session are greeted
 * one after the other: a handshake begins with up to 500 of them in the first second,
 * and with 900 in each second after it. If the control thread is held up, or the thread
 * that makes the initiations, at most 100 are made up for, and the others come later. So
 * no second has more than 1,000 greetings, whichever thread was held up in it. A packet to
 * such a peer begins its handshake at once. The TUN may hold 500 packets, so the peers
 * that answer get no more than 1,000 initiations in the first second either. Control
 * thread.
 */
void device_set_up(struct device *device, bool is_up, uint64_t now);

/**
 * device_set_private_key() - take another identity, or none
 * @device:	device
 * @key:	private key; all zero: none
 *
 * If a peer has the public key that is now ours, it is removed. The sessions
 * with all other peers end; packets that are already on their way to us are
 * still accepted. Handshakes that were begun with another key, or that failed
 * because there was none, begin anew at once. If there was no key before, a
 * handshake begins with each peer that has staged packets or persistent
 * keepalives. Allocates nothing. Control thread.
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
 * key exists in each copy. The device forgets when its last initiation left,
 * the cookies that it has received, and the secret from which it makes cookies.
 * A handshake begins at once with each peer that had a session, or with which
 * we had begun a handshake. Control thread.
 */
void device_renew(struct device *device);

/**
 * device_is_own_key() - is this our own public key?
 * @device:	device
 * @key:	public key
 *
 * Any thread.
 *
 * Return: true if it is; false if not, or if there is no key.
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
 * @n:		how many peers will be added
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
 * @peer:	peer in the set; the set's reference is given back
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
 * device_learn_endpoint() - move a peer to where its packet came from
 * @peer:	peer, borrowed
 * @ep:		source of an authentic packet, with the mark 0
 *
 * Any thread, without locks.
 */
void device_learn_endpoint(struct peer *peer, const struct device_endpoint *ep);

/**
 * device_tell() - call the owner's @event, if there is one
 * @peer:	peer, borrowed
 * @event:	what has happened
 * @was:	as for @event of struct device_ops
 *
 * Any thread, without locks.
 */
void device_tell(struct peer *peer, enum device_event event,
		 const struct device_endpoint *was);

/**
 * device_tick() - do what is due
 * @device:	device
 * @now:	the present
 *
 * Looks at the peers that were poked and at those whose deadline has come.
 * Control thread.
 *
 * Return: when to call again at the latest, in nanoseconds like @now;
 * SCHEDULE_NEVER if no peer has a deadline.
 */
uint64_t device_tick(struct device *device, uint64_t now);

#endif /* DEVICE_DEVICE_H */
