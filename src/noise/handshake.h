/* SPDX-License-Identifier: MIT */
/*
 * The handshake with one peer: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s
 * (WireGuard paper, section 5.4).
 *
 *	initiator				responder
 *	create_initiation  ---- type 1 ---->	consume_initiation
 *						create_response
 *	consume_response   <--- type 2 -----	begin_session (next)
 *	begin_session (current)
 *	first data message ---- type 4 ---->	noise_keypairs_confirm
 *
 * A message that fails any check changes nothing. The macs at the end of the
 * messages are written and checked by noise/cookie.h.
 *
 * Legend: [I] immutable after init, [m] under @lock.
 */
#ifndef NOISE_HANDSHAKE_H
#define NOISE_HANDSHAKE_H

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "noise/constants.h"
#include "noise/tai64n.h"
#include "noise/wire.h"

struct noise_keypairs;
struct noise_local;

/* Why a handshake message was not taken, or was not made. */
enum noise_error {
	NOISE_E_NO_KEY = 1, /* this side has no static key pair */
	NOISE_E_BAD_KEY,    /* a shared secret came out as all zero */
	NOISE_E_FORGED,	    /* an encrypted field did not decrypt */
	NOISE_E_UNKNOWN,    /* no peer with that public key */
	NOISE_E_REPLAYED,   /* timestamp not newer than the last one taken */
	NOISE_E_FLOODED,    /* less than 20 ms after the last one taken */
	NOISE_E_STATE,	    /* not in the state for this step */
};

enum handshake_state {
	HANDSHAKE_ZEROED = 0,
	HANDSHAKE_CREATED_INITIATION,
	HANDSHAKE_CONSUMED_INITIATION,
	HANDSHAKE_CREATED_RESPONSE,
	HANDSHAKE_CONSUMED_RESPONSE,
};

/* Allocated in memory for secrets. */
struct noise_handshake_secrets {
	uint8_t preshared_key[NOISE_PRESHARED_KEY_LEN];
	uint8_t static_static[NOISE_SYMMETRIC_KEY_LEN];
	uint8_t ephemeral_private[NOISE_PRIVATE_KEY_LEN];
	uint8_t chaining_key[NOISE_HASH_LEN];
	uint8_t hash[NOISE_HASH_LEN];
};

/*
 * @lock:		[m] held across the key agreements of one message, never
 *			on a data path
 * @local:		[I] borrowed until deinit
 * @owner:		[I] the peer that the handshake is part of; handed on
 *			to keypairs
 * @remote_static:	[I] the peer's public key
 * @secrets:		[m] secret keys and running hashes (the pointer: [I])
 * @state:		[m] the last step that was done
 * @is_closed:		[m] no message is taken or made
 * @has_index:		[m] @local_index is in the index table and ours
 * @has_taken:		[m] an initiation was taken; @taken_ns and
 *			@taken_timestamp are set
 * @has_static_static:	[m] static_static was computed for @generation
 * @local_index:	[m] receiver index of messages to us
 * @remote_index:	[m] receiver index of messages to the peer
 * @generation:		[m] of the static key pair that static_static was made
 *			with
 * @state_generation:	[m] of the static key pair that @state was reached with
 * @remote_ephemeral:	[m] ephemeral public key of the initiation taken
 * @taken_timestamp:	[m] of the newest initiation taken
 * @taken_ns:		[m] when the last initiation was taken
 * @sent_timestamp:	[m] of the last initiation made
 */
struct noise_handshake {
	pthread_mutex_t lock;
	struct noise_local *local;
	void *owner;
	uint8_t remote_static[NOISE_PUBLIC_KEY_LEN];
	struct noise_handshake_secrets *secrets;
	enum handshake_state state;
	bool is_closed;
	bool has_index;
	bool has_taken;
	bool has_static_static;
	uint32_t local_index;
	uint32_t remote_index;
	uint64_t generation;
	uint64_t state_generation;
	uint8_t remote_ephemeral[NOISE_PUBLIC_KEY_LEN];
	struct tai64n taken_timestamp;
	uint64_t taken_ns;
	struct tai64n sent_timestamp;
};

/**
 * noise_handshake_init() - a handshake at its start
 * @hs:			caller's storage
 * @local:		borrowed until noise_handshake_deinit()
 * @remote_static:	the peer's public key; copied
 * @owner:		handed on to every keypair (noise_keypair.owner)
 *
 * Return: 0; -ENOMEM.
 */
int noise_handshake_init(struct noise_handshake *hs, struct noise_local *local,
			 const uint8_t remote_static[NOISE_PUBLIC_KEY_LEN],
			 void *owner);

/**
 * noise_handshake_deinit() - drop the index, wipe and free the secrets
 * @hs:		handshake that no other thread can reach any more
 */
void noise_handshake_deinit(struct noise_handshake *hs);

/**
 * noise_handshake_clear() - back to the start
 * @hs:		handshake
 *
 * Drops the index. Wipes the handshake under way and the static-static secret,
 * which is computed again when it is next needed. The preshared key and the
 * timestamps stay. Any thread.
 */
void noise_handshake_clear(struct noise_handshake *hs);

/**
 * noise_handshake_clear_unless_busy() - clear, unless a response is being made
 * @hs:		handshake
 * @now:	the present, by the clock of noise_local_consume_initiation()
 *
 * The handshake is left alone if it took an initiation within the last
 * REKEY_TIMEOUT and its session has not begun yet. Any thread.
 *
 * Return: true if the handshake was cleared.
 */
bool noise_handshake_clear_unless_busy(struct noise_handshake *hs,
				       uint64_t now);

/**
 * noise_handshake_close() - clear, and refuse all steps from now on
 * @hs:		handshake
 *
 * The first step of removing or stopping a peer. A handshake that another
 * thread is working on fails with NOISE_E_STATE, so no keypair is added any
 * more, and one noise_keypairs_clear() then empties the slots for good. Any
 * thread.
 */
void noise_handshake_close(struct noise_handshake *hs);

/**
 * noise_handshake_forget() - close for good, and wipe the preshared key as well
 * @hs:		handshake of a peer that was removed
 *
 * Other threads may hold the peer for a while; its secrets are gone at once.
 * Any thread.
 */
void noise_handshake_forget(struct noise_handshake *hs);

/**
 * noise_handshake_reopen() - undo noise_handshake_close()
 * @hs:		handshake
 *
 * Any thread.
 */
void noise_handshake_reopen(struct noise_handshake *hs);

/**
 * noise_handshake_set_preshared_key() - set the key for later handshakes
 * @hs:		handshake
 * @key:	preshared key; all zero is "none"
 *
 * The key is read when a response is made or taken. Sessions go on, and the
 * next handshake uses the new key. Any thread.
 */
void noise_handshake_set_preshared_key(
	struct noise_handshake *hs, const uint8_t key[NOISE_PRESHARED_KEY_LEN]);

/**
 * noise_handshake_get_preshared_key() - read the key, for `wg show`
 * @hs:		handshake
 * @key:	out; all zero: none. The caller wipes it after use
 *
 * Any thread.
 */
void noise_handshake_get_preshared_key(struct noise_handshake *hs,
				       uint8_t key[NOISE_PRESHARED_KEY_LEN]);

/**
 * noise_handshake_get_timestamps() - read the timestamps
 * @hs:		handshake
 * @taken:	out: of the newest initiation taken; all zero: none
 * @sent:	out: of the last initiation made; all zero: none
 *
 * Any thread.
 */
void noise_handshake_get_timestamps(struct noise_handshake *hs,
				    struct tai64n *taken, struct tai64n *sent);

/**
 * noise_handshake_restore_timestamps() - go on where another handshake ended
 * @hs:		handshake
 * @taken:	no initiation up to this timestamp is taken any more
 * @sent:	the next initiation has a newer timestamp
 *
 * For a process that goes on for one that has ended. A timestamp that is not
 * newer than the one that @hs has changes nothing. Any thread.
 */
void noise_handshake_restore_timestamps(struct noise_handshake *hs,
					const struct tai64n *taken,
					const struct tai64n *sent);

/**
 * noise_handshake_create_initiation() - start as initiator, or start again
 * @hs:			handshake
 * @realtime_ns:	wall clock, nanoseconds since 1970 UTC
 * @msg:		out: complete except for its macs, which are zero
 *
 * A handshake that was under way is forgotten and its index dropped. The caller
 * waits REKEY_TIMEOUT from one initiation to the next. Handshaker or control
 * thread.
 *
 * Return: 0; NOISE_E_NO_KEY, NOISE_E_BAD_KEY, NOISE_E_STATE (closed); -errno of
 * the index table. Unless it is 0, nothing has changed.
 */
int noise_handshake_create_initiation(struct noise_handshake *hs,
				      uint64_t realtime_ns,
				      struct message_initiation *msg);

/**
 * noise_local_consume_initiation() - take an initiation as responder
 * @local:	shared part of the device
 * @msg:	checked message (type, length, mac1)
 * @now:	the present
 * @hs:		set to the handshake of the peer, with the reference that
 *		noise_ops.find_peer took: the caller gives it back
 *
 * The initiation replaces a handshake that is under way with that peer. Follow
 * it with noise_handshake_create_response(). Handshaker thread.
 *
 * Return: 0; NOISE_E_NO_KEY, NOISE_E_BAD_KEY, NOISE_E_FORGED, NOISE_E_UNKNOWN,
 * NOISE_E_REPLAYED, NOISE_E_FLOODED, NOISE_E_STATE (closed). Unless it is 0,
 * nothing has changed and no reference is held.
 */
int noise_local_consume_initiation(struct noise_local *local,
				   const struct message_initiation *msg,
				   uint64_t now, struct noise_handshake **hs);

/**
 * noise_handshake_create_response() - answer the initiation just taken
 * @hs:		handshake
 * @msg:	out: complete except for its macs, which are zero
 *
 * Follow it with noise_handshake_begin_session(), then send. Handshaker thread.
 *
 * Return: 0; NOISE_E_STATE, NOISE_E_BAD_KEY; -errno of the index table. Unless
 * it is 0, nothing has changed.
 */
int noise_handshake_create_response(struct noise_handshake *hs,
				    struct message_response *msg);

/**
 * noise_handshake_consume_response() - take the answer as initiator
 * @hs:		handshake that the receiver index names
 * @msg:	checked message (type, length, mac1)
 *
 * Follow it with noise_handshake_begin_session(). Handshaker thread.
 *
 * Return: 0; NOISE_E_STATE (no initiation is under way, the index is not ours,
 * or the private key has changed), NOISE_E_BAD_KEY, NOISE_E_FORGED. Unless it
 * is 0, nothing has changed.
 */
int noise_handshake_consume_response(struct noise_handshake *hs,
				     const struct message_response *msg);

/**
 * noise_handshake_begin_session() - derive the keys and fill a slot
 * @hs:		handshake after create_response or consume_response
 * @kps:	slots of the same peer
 * @now:	the present; the keypair's age counts from it
 *
 * From now on the index names the keypair. The handshake is wiped. Handshaker
 * thread.
 *
 * Return: 0; NOISE_E_STATE; -ENOMEM; -ENOENT if the index was dropped meanwhile.
 */
int noise_handshake_begin_session(struct noise_handshake *hs,
				  struct noise_keypairs *kps, uint64_t now);

/**
 * struct noise_handshake_plain - a handshake as numbers, for another process
 *
 * Members as in struct noise_handshake and its secrets; booleans are 0 or 1. The
 * preshared key and the static key pairs belong to the configuration, and are left
 * out.
 */
struct noise_handshake_plain {
	uint8_t static_static[NOISE_SYMMETRIC_KEY_LEN];
	uint8_t ephemeral_private[NOISE_PRIVATE_KEY_LEN];
	uint8_t chaining_key[NOISE_HASH_LEN];
	uint8_t hash[NOISE_HASH_LEN];
	uint8_t remote_ephemeral[NOISE_PUBLIC_KEY_LEN];
	uint8_t taken_timestamp[NOISE_TIMESTAMP_LEN];
	uint8_t sent_timestamp[NOISE_TIMESTAMP_LEN];
	uint64_t taken_ns;
	uint32_t local_index;
	uint32_t remote_index;
	uint8_t state;
	uint8_t has_index;
	uint8_t has_taken;
	uint8_t has_static_static;
	uint8_t zero[4];
};

static_assert(sizeof(struct noise_handshake_plain) ==
		      5 * 32 + 2 * NOISE_TIMESTAMP_LEN + 8 + 8 + 8,
	      "no padding");

/**
 * noise_handshake_export() - write a handshake as numbers
 * @hs:		handshake
 * @out:	filled; the caller wipes it after use
 *
 * A handshake that was begun with another static key pair cannot go on, so it is
 * written as one at its start. Any thread.
 */
void noise_handshake_export(struct noise_handshake *hs,
			    struct noise_handshake_plain *out);

/**
 * noise_handshake_plain_is_sound() - may noise_handshake_export() have written this?
 * @plain:	numbers of any origin
 * @latest:	no point of time may lie after this one
 *
 * Return: true if noise_handshake_import() may be given it.
 */
bool noise_handshake_plain_is_sound(const struct noise_handshake_plain *plain,
				    uint64_t latest);

/**
 * noise_handshake_import() - go on with a handshake of another process
 * @hs:		handshake with the same static key pairs; it is not closed if @in is
 *		under way. What it had of a handshake is forgotten.
 * @in:		handshake, sound
 *
 * The index names the handshake when this returns. A timestamp that is not newer than
 * the one that @hs has changes nothing. No other thread may use the handshake yet.
 *
 * Return: 0; -EEXIST: the index is in use; -errno of the index table. Unless it is 0,
 * @hs is at its start.
 */
int noise_handshake_import(struct noise_handshake *hs,
			   const struct noise_handshake_plain *in);

#endif /* NOISE_HANDSHAKE_H */
