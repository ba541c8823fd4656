/* SPDX-License-Identifier: MIT */
/*
 * Each message is made or read in two parts: a step that computes a draft and
 * changes nothing, and a step that cannot fail and stores it. So a message that
 * fails, at whatever check, leaves no trace, and neither does one that could
 * not be made.
 */
#include "noise/handshake.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "crypto/blake2s.h"
#include "crypto/secret.h"
#include "crypto/x25519.h"
#include "noise/keypair.h"
#include "noise/local.h"
#include "noise/symmetric.h"

/*
 * What is computed on the way to storing a message. Wiped by who makes it.
 *
 * @s:			running state
 * @ephemeral_private:	made by create_*
 * @remote_static:	read by consume_initiation
 * @timestamp:		sent or read with an initiation
 */
struct draft {
	struct symmetric s;
	uint8_t ephemeral_private[NOISE_PRIVATE_KEY_LEN];
	uint8_t remote_static[NOISE_PUBLIC_KEY_LEN];
	struct tai64n timestamp;
};

/**
 * lock_both() - keep the key pair and the handshake as they are
 * @hs:		handshake
 */
static void lock_both(struct noise_handshake *hs)
{
	pthread_rwlock_rdlock(&hs->local->lock);
	pthread_mutex_lock(&hs->lock);
}

/**
 * unlock_both() - undo lock_both()
 * @hs:		handshake
 */
static void unlock_both(struct noise_handshake *hs)
{
	pthread_mutex_unlock(&hs->lock);
	pthread_rwlock_unlock(&hs->local->lock);
}

int noise_handshake_init(struct noise_handshake *hs, struct noise_local *local,
			 const uint8_t remote_static[NOISE_PUBLIC_KEY_LEN],
			 void *owner)
{
	memset(hs, 0, sizeof(*hs));
	hs->secrets = secret_alloc(local->handshake_secrets);
	if (!hs->secrets)
		return -ENOMEM;
	pthread_mutex_init(&hs->lock, NULL);
	hs->local = local;
	hs->owner = owner;
	memcpy(hs->remote_static, remote_static, sizeof(hs->remote_static));
	return 0;
}

/**
 * wipe_progress() - forget the handshake under way, apart from its index
 * @hs:		handshake, locked
 */
static void wipe_progress(struct noise_handshake *hs)
{
	struct noise_handshake_secrets *k = hs->secrets;

	secret_zero(k->ephemeral_private, sizeof(k->ephemeral_private));
	secret_zero(k->chaining_key, sizeof(k->chaining_key));
	secret_zero(k->hash, sizeof(k->hash));
	secret_zero(hs->remote_ephemeral, sizeof(hs->remote_ephemeral));
	hs->remote_index = 0;
	hs->state = HANDSHAKE_ZEROED;
}

/**
 * wipe_static_static() - forget the secret of the two static keys
 * @hs:		handshake, locked
 *
 * It is as good as a private key to whoever knows the public one.
 */
static void wipe_static_static(struct noise_handshake *hs)
{
	secret_zero(hs->secrets->static_static,
		    sizeof(hs->secrets->static_static));
	hs->has_static_static = false;
}

/**
 * drop_index() - take the handshake out of the index table
 * @hs:		handshake, locked
 */
static void drop_index(struct noise_handshake *hs)
{
	if (hs->has_index)
		hs->local->ops->index_drop(hs->local->arg, hs->local_index);
	hs->has_index = false;
	hs->local_index = 0;
}

void noise_handshake_deinit(struct noise_handshake *hs)
{
	noise_handshake_close(hs);
	secret_free(hs->local->handshake_secrets, hs->secrets);
	pthread_mutex_destroy(&hs->lock);
	secret_zero(hs, sizeof(*hs));
}

/**
 * clear() - back to the start
 * @hs:		handshake, locked
 */
static void clear(struct noise_handshake *hs)
{
	drop_index(hs);
	wipe_progress(hs);
	wipe_static_static(hs);
}

void noise_handshake_clear(struct noise_handshake *hs)
{
	pthread_mutex_lock(&hs->lock);
	clear(hs);
	pthread_mutex_unlock(&hs->lock);
}

bool noise_handshake_clear_unless_busy(struct noise_handshake *hs, uint64_t now)
{
	bool is_busy;

	pthread_mutex_lock(&hs->lock);
	is_busy = (hs->state == HANDSHAKE_CONSUMED_INITIATION ||
		   hs->state == HANDSHAKE_CREATED_RESPONSE) &&
		  !clock_has_passed(hs->taken_ns, REKEY_TIMEOUT * NSEC_PER_SEC,
				    now);
	if (!is_busy)
		clear(hs);
	pthread_mutex_unlock(&hs->lock);
	return !is_busy;
}

void noise_handshake_close(struct noise_handshake *hs)
{
	pthread_mutex_lock(&hs->lock);
	hs->is_closed = true;
	drop_index(hs);
	wipe_progress(hs);
	wipe_static_static(hs);
	pthread_mutex_unlock(&hs->lock);
}

void noise_handshake_forget(struct noise_handshake *hs)
{
	noise_handshake_close(hs);
	pthread_mutex_lock(&hs->lock);
	secret_zero(hs->secrets, sizeof(*hs->secrets));
	pthread_mutex_unlock(&hs->lock);
}

void noise_handshake_reopen(struct noise_handshake *hs)
{
	pthread_mutex_lock(&hs->lock);
	hs->is_closed = false;
	pthread_mutex_unlock(&hs->lock);
}

void noise_handshake_set_preshared_key(
	struct noise_handshake *hs, const uint8_t key[NOISE_PRESHARED_KEY_LEN])
{
	pthread_mutex_lock(&hs->lock);
	memcpy(hs->secrets->preshared_key, key, NOISE_PRESHARED_KEY_LEN);
	pthread_mutex_unlock(&hs->lock);
}

void noise_handshake_get_preshared_key(struct noise_handshake *hs,
				       uint8_t key[NOISE_PRESHARED_KEY_LEN])
{
	pthread_mutex_lock(&hs->lock);
	memcpy(key, hs->secrets->preshared_key, NOISE_PRESHARED_KEY_LEN);
	pthread_mutex_unlock(&hs->lock);
}

/**
 * mix_static_static() - mix the secret of the two static keys
 * @hs:		handshake, locked
 * @s:		state
 *
 * The secret is computed when it is first needed after a change of our key
 * pair, not at the change: that would be one key agreement for every peer.
 *
 * Return: true; false if the peer's public key is of small order.
 */
static bool mix_static_static(struct noise_handshake *hs, struct symmetric *s)
{
	const struct noise_local *local = hs->local;

	if (!hs->has_static_static || hs->generation != local->generation) {
		hs->has_static_static =
			x25519_shared(hs->secrets->static_static,
				      local->private_key, hs->remote_static);
		hs->generation = local->generation;
	}
	if (!hs->has_static_static)
		return false;
	symmetric_mix_secret(s, hs->secrets->static_static);
	return true;
}

/**
 * make_ephemeral() - a fresh ephemeral key pair, and mix its public key
 * @local:	whose randomness
 * @draft:	its ephemeral_private is set
 * @public_key:	out
 */
static void make_ephemeral(const struct noise_local *local, struct draft *draft,
			   uint8_t public_key[NOISE_PUBLIC_KEY_LEN])
{
	local->ops->random(local->arg, draft->ephemeral_private,
			   sizeof(draft->ephemeral_private));
	x25519_clamp(draft->ephemeral_private);
	x25519_public(public_key, draft->ephemeral_private);
	symmetric_mix_ephemeral(&draft->s, public_key);
}

/**
 * take_index() - publish the handshake under a new index instead of its old one
 * @hs:		handshake, locked
 *
 * Return: 0; -errno, and the old index is still there.
 */
static int take_index(struct noise_handshake *hs)
{
	uint32_t idx;
	int rc = hs->local->ops->index_new(hs->local->arg, hs, &idx);

	if (rc)
		return rc;
	drop_index(hs);
	hs->local_index = idx;
	hs->has_index = true;
	return 0;
}

/**
 * store_draft() - make a draft the state of the handshake
 * @hs:		handshake, locked
 * @draft:	draft
 * @state:	where the handshake is now
 */
static void store_draft(struct noise_handshake *hs, const struct draft *draft,
			enum handshake_state state)
{
	struct noise_handshake_secrets *k = hs->secrets;

	memcpy(k->chaining_key, draft->s.chaining_key, sizeof(k->chaining_key));
	memcpy(k->hash, draft->s.hash, sizeof(k->hash));
	memcpy(k->ephemeral_private, draft->ephemeral_private,
	       sizeof(k->ephemeral_private));
	hs->state = state;
	hs->state_generation = hs->local->generation;
}

/**
 * load_draft() - go on from the state of the handshake
 * @hs:		handshake, locked
 * @draft:	out; wiped by the caller
 */
static void load_draft(const struct noise_handshake *hs, struct draft *draft)
{
	const struct noise_handshake_secrets *k = hs->secrets;

	memset(draft, 0, sizeof(*draft));
	memcpy(draft->s.chaining_key, k->chaining_key, sizeof(k->chaining_key));
	memcpy(draft->s.hash, k->hash, sizeof(k->hash));
	memcpy(draft->ephemeral_private, k->ephemeral_private,
	       sizeof(k->ephemeral_private));
}

/**
 * is_at() - may the next step follow?
 * @hs:		handshake, locked
 * @state:	where the step starts from
 *
 * Return: true if the handshake is there, and got there with the static key
 * pair of now.
 */
static bool is_at(const struct noise_handshake *hs, enum handshake_state state)
{
	return !hs->is_closed && hs->state == state &&
	       hs->state_generation == hs->local->generation &&
	       hs->local->has_key;
}

/**
 * write_initiation() - everything of an initiation but index and macs
 * @hs:			handshake, both locks held
 * @realtime_ns:	wall clock
 * @msg:		out
 * @draft:		out
 *
 * Paper, section 5.4.2.
 *
 * Return: 0; NOISE_E_NO_KEY, NOISE_E_STATE, NOISE_E_BAD_KEY.
 */
static int write_initiation(struct noise_handshake *hs, uint64_t realtime_ns,
			    struct message_initiation *msg, struct draft *draft)
{
	const struct noise_local *local = hs->local;
	struct tai64n last = hs->sent_timestamp;

	if (!local->has_key)
		return NOISE_E_NO_KEY;
	if (hs->is_closed)
		return NOISE_E_STATE;
	memset(msg, 0, sizeof(*msg));
	msg->type = le32_make(MESSAGE_INITIATION);

	symmetric_init(&draft->s, hs->remote_static);
	make_ephemeral(local, draft, msg->ephemeral);
	if (!symmetric_mix_dh(&draft->s, draft->ephemeral_private,
			      hs->remote_static))
		return NOISE_E_BAD_KEY;
	symmetric_seal(&draft->s, msg->enc_static, local->public_key,
		       sizeof(local->public_key));
	if (!mix_static_static(hs, &draft->s))
		return NOISE_E_BAD_KEY;
	draft->timestamp = tai64n_advance(&last, realtime_ns);
	symmetric_seal(&draft->s, msg->enc_timestamp, draft->timestamp.b,
		       sizeof(draft->timestamp.b));
	return 0;
}

int noise_handshake_create_initiation(struct noise_handshake *hs,
				      uint64_t realtime_ns,
				      struct message_initiation *msg)
{
	struct draft draft = { 0 };
	int rc;

	lock_both(hs);
	rc = write_initiation(hs, realtime_ns, msg, &draft);
	if (!rc)
		rc = take_index(hs);
	if (!rc) {
		msg->sender = le32_make(hs->local_index);
		wipe_progress(hs);
		store_draft(hs, &draft, HANDSHAKE_CREATED_INITIATION);
		hs->sent_timestamp = draft.timestamp;
	}
	unlock_both(hs);
	secret_zero(&draft, sizeof(draft));
	return rc;
}

/**
 * read_sender() - the part of an initiation that tells who sent it
 * @local:	shared part, locked
 * @msg:	message
 * @draft:	out: its remote_static is set
 *
 * Paper, section 5.4.2, from the responder's side.
 *
 * Return: 0; NOISE_E_NO_KEY, NOISE_E_BAD_KEY, NOISE_E_FORGED.
 */
static int read_sender(const struct noise_local *local,
		       const struct message_initiation *msg,
		       struct draft *draft)
{
	if (!local->has_key)
		return NOISE_E_NO_KEY;
	symmetric_init(&draft->s, local->public_key);
	symmetric_mix_ephemeral(&draft->s, msg->ephemeral);
	if (!symmetric_mix_dh(&draft->s, local->private_key, msg->ephemeral))
		return NOISE_E_BAD_KEY;
	if (!symmetric_open(&draft->s, draft->remote_static, msg->enc_static,
			    sizeof(msg->enc_static)))
		return NOISE_E_FORGED;
	return 0;
}

/**
 * read_timestamp() - the part of an initiation that proves who sent it
 * @hs:		handshake of the sender, both locks held
 * @msg:	message
 * @now:	the present
 * @draft:	from read_sender(); its timestamp is set
 *
 * Return: 0; NOISE_E_STATE, NOISE_E_BAD_KEY, NOISE_E_FORGED, NOISE_E_REPLAYED,
 * NOISE_E_FLOODED.
 */
static int read_timestamp(struct noise_handshake *hs,
			  const struct message_initiation *msg, uint64_t now,
			  struct draft *draft)
{
	if (hs->is_closed)
		return NOISE_E_STATE;
	if (!mix_static_static(hs, &draft->s))
		return NOISE_E_BAD_KEY;
	if (!symmetric_open(&draft->s, draft->timestamp.b, msg->enc_timestamp,
			    sizeof(msg->enc_timestamp)))
		return NOISE_E_FORGED;
	/* Without one taken before, the last timestamp is all zero: older. */
	if (!tai64n_is_newer(&draft->timestamp, &hs->taken_timestamp))
		return NOISE_E_REPLAYED;
	if (hs->has_taken &&
	    !clock_has_passed(hs->taken_ns,
			      NSEC_PER_SEC / INITIATIONS_PER_SECOND, now))
		return NOISE_E_FLOODED;
	return 0;
}

/**
 * consume_as() - the rest of an initiation, once the sender is known
 * @hs:		handshake of the sender; local's lock held
 * @msg:	message
 * @now:	the present
 * @draft:	from read_sender()
 *
 * Return: as read_timestamp().
 */
static int consume_as(struct noise_handshake *hs,
		      const struct message_initiation *msg, uint64_t now,
		      struct draft *draft)
{
	int rc;

	pthread_mutex_lock(&hs->lock);
	rc = read_timestamp(hs, msg, now, draft);
	if (!rc) {
		wipe_progress(hs);
		store_draft(hs, draft, HANDSHAKE_CONSUMED_INITIATION);
		memcpy(hs->remote_ephemeral, msg->ephemeral,
		       sizeof(hs->remote_ephemeral));
		hs->remote_index = le32_get(msg->sender);
		hs->taken_timestamp = draft->timestamp;
		hs->taken_ns = now;
		hs->has_taken = true;
	}
	pthread_mutex_unlock(&hs->lock);
	return rc;
}

int noise_local_consume_initiation(struct noise_local *local,
				   const struct message_initiation *msg,
				   uint64_t now, struct noise_handshake **hs)
{
	struct noise_handshake *found;
	struct draft draft = { 0 };
	int rc;

	pthread_rwlock_rdlock(&local->lock);
	rc = read_sender(local, msg, &draft);
	if (rc)
		goto out;
	found = local->ops->peer_get(local->arg, draft.remote_static);
	if (!found) {
		rc = NOISE_E_UNKNOWN;
		goto out;
	}
	rc = consume_as(found, msg, now, &draft);
	if (rc)
		local->ops->peer_put(local->arg, found);
	else
		*hs = found;
out:
	pthread_rwlock_unlock(&local->lock);
	secret_zero(&draft, sizeof(draft));
	return rc;
}

/**
 * write_response() - everything of a response but index and macs
 * @hs:		handshake, both locks held
 * @msg:	out
 * @draft:	out
 *
 * Paper, section 5.4.3.
 *
 * Return: 0; NOISE_E_STATE, NOISE_E_BAD_KEY.
 */
static int write_response(struct noise_handshake *hs,
			  struct message_response *msg, struct draft *draft)
{
	if (!is_at(hs, HANDSHAKE_CONSUMED_INITIATION))
		return NOISE_E_STATE;
	memset(msg, 0, sizeof(*msg));
	msg->type = le32_make(MESSAGE_RESPONSE);
	msg->receiver = le32_make(hs->remote_index);

	load_draft(hs, draft);
	make_ephemeral(hs->local, draft, msg->ephemeral);
	if (!symmetric_mix_dh(&draft->s, draft->ephemeral_private,
			      hs->remote_ephemeral) ||
	    !symmetric_mix_dh(&draft->s, draft->ephemeral_private,
			      hs->remote_static))
		return NOISE_E_BAD_KEY;
	symmetric_mix_preshared_key(&draft->s, hs->secrets->preshared_key);
	symmetric_seal(&draft->s, msg->enc_nothing, NULL, 0);
	return 0;
}

int noise_handshake_create_response(struct noise_handshake *hs,
				    struct message_response *msg)
{
	struct draft draft = { 0 };
	int rc;

	lock_both(hs);
	rc = write_response(hs, msg, &draft);
	if (!rc)
		rc = take_index(hs);
	if (!rc) {
		msg->sender = le32_make(hs->local_index);
		store_draft(hs, &draft, HANDSHAKE_CREATED_RESPONSE);
	}
	unlock_both(hs);
	secret_zero(&draft, sizeof(draft));
	return rc;
}

/**
 * read_response() - check a response
 * @hs:		handshake, both locks held
 * @msg:	message
 * @draft:	out
 *
 * Paper, section 5.4.3, from the initiator's side.
 *
 * Return: 0; NOISE_E_STATE, NOISE_E_BAD_KEY, NOISE_E_FORGED.
 */
static int read_response(struct noise_handshake *hs,
			 const struct message_response *msg,
			 struct draft *draft)
{
	if (!is_at(hs, HANDSHAKE_CREATED_INITIATION) || !hs->has_index ||
	    le32_get(msg->receiver) != hs->local_index)
		return NOISE_E_STATE;
	load_draft(hs, draft);
	symmetric_mix_ephemeral(&draft->s, msg->ephemeral);
	if (!symmetric_mix_dh(&draft->s, draft->ephemeral_private,
			      msg->ephemeral) ||
	    !symmetric_mix_dh(&draft->s, hs->local->private_key,
			      msg->ephemeral))
		return NOISE_E_BAD_KEY;
	symmetric_mix_preshared_key(&draft->s, hs->secrets->preshared_key);
	if (!symmetric_open(&draft->s, NULL, msg->enc_nothing,
			    sizeof(msg->enc_nothing)))
		return NOISE_E_FORGED;
	return 0;
}

int noise_handshake_consume_response(struct noise_handshake *hs,
				     const struct message_response *msg)
{
	struct draft draft = { 0 };
	int rc;

	lock_both(hs);
	rc = read_response(hs, msg, &draft);
	if (!rc) {
		store_draft(hs, &draft, HANDSHAKE_CONSUMED_RESPONSE);
		hs->remote_index = le32_get(msg->sender);
	}
	unlock_both(hs);
	secret_zero(&draft, sizeof(draft));
	return rc;
}

/**
 * derive_keypair() - the keys of the session (paper, section 5.4.5)
 * @hs:		handshake, both locks held
 * @now:	the present
 * @kp:		set to the keypair, one reference
 *
 * Return: 0; NOISE_E_STATE; -ENOMEM.
 */
static int derive_keypair(const struct noise_handshake *hs, uint64_t now,
			  struct noise_keypair **kp)
{
	const struct noise_handshake_secrets *k = hs->secrets;
	bool is_initiator = is_at(hs, HANDSHAKE_CONSUMED_RESPONSE);
	struct noise_keypair *new;

	if (!is_initiator && !is_at(hs, HANDSHAKE_CREATED_RESPONSE))
		return NOISE_E_STATE;
	new = noise_keypair_new(hs->local);
	if (!new)
		return -ENOMEM;
	new->is_initiator = is_initiator;
	new->local_index = hs->local_index;
	new->remote_index = hs->remote_index;
	new->created_ns = now;
	new->owner = hs->owner;
	/* The first key is the one the initiator sends with. */
	blake2s_kdf(is_initiator ? new->keys->sending : new->keys->receiving,
		    is_initiator ? new->keys->receiving : new->keys->sending,
		    NULL, k->chaining_key, NULL, 0);
	*kp = new;
	return 0;
}

int noise_handshake_begin_session(struct noise_handshake *hs,
				  struct noise_keypairs *kps, uint64_t now)
{
	const struct noise_local *local = hs->local;
	struct noise_keypair *kp;
	int rc;

	lock_both(hs);
	rc = derive_keypair(hs, now, &kp);
	if (rc)
		goto out;
	/*
	 * The index first: no message for it can arrive before the caller sends
	 * something, so none finds the keypair outside of its slot.
	 */
	rc = local->ops->index_replace(local->arg, hs->local_index, hs, kp);
	wipe_progress(hs);
	hs->has_index = false;
	hs->local_index = 0;
	if (rc)
		noise_keypair_put(kp);
	else
		noise_keypairs_add(kps, kp);
out:
	unlock_both(hs);
	return rc;
}
