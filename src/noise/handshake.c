/* SPDX-License-Identifier: MIT */
/*
 * The steps of the handshake. In the notation of the Noise specification
 * (sections 7.5 and 9.4) the pattern IKpsk2 of WireGuard is
 *
 *	<- s				the initiator knows this key before
 *	-> e, es, s, ss, {t}		initiation (paper, section 5.4.2)
 *	<- e, ee, se, psk, {}		response (paper, section 5.4.3)
 *
 * and each token stands in the margin of this file, above the code that carries
 * it out:
 *
 *	e	an ephemeral public key, sent in the clear
 *	s	the initiator's static public key, sent encrypted
 *	es	a key agreement: the first letter is the initiator's key, the
 *		second the responder's (e: ephemeral, s: static); ss, ee and se
 *		in the same way
 *	psk	the preshared key; 32 zero bytes if there is none
 *	{t}	the timestamp, sent encrypted
 *	{}	nothing, sent encrypted: its tag proves all that came before
 *
 * Both sides mix the same values in the same order, so a message decrypts only
 * if everything before it was the same on both sides.
 *
 * Each step has two parts. The first part computes a draft on the stack and
 * changes nothing. The second part cannot fail, and stores the draft. So a
 * message that fails a check leaves no trace, and neither does a message that
 * could not be made.
 *
 * A step holds the lock of struct noise_local for reading, so that the static
 * key pair stays as it is, and the lock of the handshake. The key pair may
 * change between two steps. A handshake therefore notes the generation of the
 * key pair that its state was reached with, and is_at() refuses to go on with
 * another one.
 */
#include "noise/handshake.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/blake2s.h"
#include "crypto/secret.h"
#include "crypto/x25519.h"
#include "noise/keypair.h"
#include "noise/local.h"
#include "noise/symmetric.h"

/*
 * The result of the first part of a step. The function that has a draft on its
 * stack wipes the draft.
 *
 * @s:			running state of the Noise handshake
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

static void lock_both(struct noise_handshake *hs)
{
	pthread_rwlock_rdlock(&hs->local->lock);
	pthread_mutex_lock(&hs->lock);
}

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

/* Wipe what the steps so far have left, except for the local index. */
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

/* Whoever has the static-static secret can forge initiations between the two
 * peers. */
static void wipe_static_static(struct noise_handshake *hs)
{
	secret_zero(hs->secrets->static_static,
		    sizeof(hs->secrets->static_static));
	hs->has_static_static = false;
}

static void drop_index(struct noise_handshake *hs)
{
	if (hs->has_index)
		hs->local->ops->drop_index(hs->local->arg, hs->local_index);
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

void noise_handshake_get_timestamps(struct noise_handshake *hs,
				    struct tai64n *taken, struct tai64n *sent)
{
	pthread_mutex_lock(&hs->lock);
	*taken = hs->taken_timestamp;
	*sent = hs->sent_timestamp;
	pthread_mutex_unlock(&hs->lock);
}

void noise_handshake_restore_timestamps(struct noise_handshake *hs,
					const struct tai64n *taken,
					const struct tai64n *sent)
{
	pthread_mutex_lock(&hs->lock);
	if (tai64n_is_newer(taken, &hs->taken_timestamp))
		hs->taken_timestamp = *taken;
	if (tai64n_is_newer(sent, &hs->sent_timestamp))
		hs->sent_timestamp = *sent;
	pthread_mutex_unlock(&hs->lock);
}

/*
 * The static-static secret is computed when it is first needed. If a change of
 * our key pair computed it, that change would cost one key agreement for each
 * peer at once. Returns false if the peer's key is of small order.
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

static void make_ephemeral(const struct noise_local *local, struct draft *draft,
			   uint8_t public_key[NOISE_PUBLIC_KEY_LEN])
{
	local->ops->random(local->arg, draft->ephemeral_private,
			   sizeof(draft->ephemeral_private));
	x25519_clamp(draft->ephemeral_private);
	x25519_public(public_key, draft->ephemeral_private);
	symmetric_mix_ephemeral(&draft->s, public_key);
}

/* Get a new index and drop the old one. On failure the old index stays. */
static int take_index(struct noise_handshake *hs)
{
	uint32_t idx;
	int err = hs->local->ops->publish_index(hs->local->arg, hs, &idx);

	if (err < 0)
		return err;
	drop_index(hs);
	hs->local_index = idx;
	hs->has_index = true;
	return 0;
}

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

/* The caller wipes @draft. */
static void load_draft(const struct noise_handshake *hs, struct draft *draft)
{
	const struct noise_handshake_secrets *k = hs->secrets;

	memset(draft, 0, sizeof(*draft));
	memcpy(draft->s.chaining_key, k->chaining_key, sizeof(k->chaining_key));
	memcpy(draft->s.hash, k->hash, sizeof(k->hash));
	memcpy(draft->ephemeral_private, k->ephemeral_private,
	       sizeof(k->ephemeral_private));
}

/* Is the handshake at @state, and may its next step be done? */
static bool is_at(const struct noise_handshake *hs, enum handshake_state state)
{
	return !hs->is_closed && hs->state == state &&
	       hs->state_generation == hs->local->generation &&
	       hs->local->has_key;
}

/* Write all of the message but the index and the macs; both locks are held. */
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

	/* <- s */
	symmetric_init(&draft->s, hs->remote_static);
	/* e */
	make_ephemeral(local, draft, msg->ephemeral);
	/* es */
	if (!symmetric_mix_dh(&draft->s, draft->ephemeral_private,
			      hs->remote_static))
		return NOISE_E_BAD_KEY;
	/* s */
	symmetric_seal(&draft->s, msg->enc_static, local->public_key,
		       sizeof(local->public_key));
	/* ss */
	if (!mix_static_static(hs, &draft->s))
		return NOISE_E_BAD_KEY;
	/* {t} */
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
	if (rc == 0)
		rc = take_index(hs);
	if (rc == 0) {
		msg->sender = le32_make(hs->local_index);
		wipe_progress(hs);
		store_draft(hs, &draft, HANDSHAKE_CREATED_INITIATION);
		hs->sent_timestamp = draft.timestamp;
	}
	unlock_both(hs);
	secret_zero(&draft, sizeof(draft));
	return rc;
}

/* Decrypts the sender's public key. That does not prove yet that the sender has
 * the private key. */
static int read_sender(const struct noise_local *local,
		       const struct message_initiation *msg,
		       struct draft *draft)
{
	if (!local->has_key)
		return NOISE_E_NO_KEY;
	/* <- s */
	symmetric_init(&draft->s, local->public_key);
	/* e */
	symmetric_mix_ephemeral(&draft->s, msg->ephemeral);
	/* es */
	if (!symmetric_mix_dh(&draft->s, local->private_key, msg->ephemeral))
		return NOISE_E_BAD_KEY;
	/* s */
	if (!symmetric_open(&draft->s, draft->remote_static, msg->enc_static,
			    sizeof(msg->enc_static)))
		return NOISE_E_FORGED;
	return 0;
}

/* Decrypts the timestamp, which proves that the sender has its private key;
 * both locks are held. */
static int read_timestamp(struct noise_handshake *hs,
			  const struct message_initiation *msg, uint64_t now,
			  struct draft *draft)
{
	if (hs->is_closed)
		return NOISE_E_STATE;
	/* ss */
	if (!mix_static_static(hs, &draft->s))
		return NOISE_E_BAD_KEY;
	/* {t} */
	if (!symmetric_open(&draft->s, draft->timestamp.b, msg->enc_timestamp,
			    sizeof(msg->enc_timestamp)))
		return NOISE_E_FORGED;
	/* If no initiation was taken yet, taken_timestamp is zero, which is
	 * older than any timestamp. */
	if (!tai64n_is_newer(&draft->timestamp, &hs->taken_timestamp))
		return NOISE_E_REPLAYED;
	if (hs->has_taken &&
	    !clock_has_passed(hs->taken_ns,
			      NSEC_PER_SEC / INITIATIONS_PER_SECOND, now))
		return NOISE_E_FLOODED;
	return 0;
}

/* Called with the lock of struct noise_local held. */
static int consume_as(struct noise_handshake *hs,
		      const struct message_initiation *msg, uint64_t now,
		      struct draft *draft)
{
	int rc;

	pthread_mutex_lock(&hs->lock);
	rc = read_timestamp(hs, msg, now, draft);
	if (rc == 0) {
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
	if (rc != 0)
		goto out;
	found = local->ops->find_peer(local->arg, draft.remote_static);
	if (!found) {
		rc = NOISE_E_UNKNOWN;
		goto out;
	}
	rc = consume_as(found, msg, now, &draft);
	if (rc != 0)
		local->ops->release_peer(local->arg, found);
	else
		*hs = found;
out:
	pthread_rwlock_unlock(&local->lock);
	secret_zero(&draft, sizeof(draft));
	return rc;
}

/* Write all of the message but the index and the macs; both locks are held. */
static int write_response(struct noise_handshake *hs,
			  struct message_response *msg, struct draft *draft)
{
	if (!is_at(hs, HANDSHAKE_CONSUMED_INITIATION))
		return NOISE_E_STATE;
	memset(msg, 0, sizeof(*msg));
	msg->type = le32_make(MESSAGE_RESPONSE);
	msg->receiver = le32_make(hs->remote_index);

	load_draft(hs, draft);
	/* e */
	make_ephemeral(hs->local, draft, msg->ephemeral);
	if (/* ee */
	    !symmetric_mix_dh(&draft->s, draft->ephemeral_private,
			      hs->remote_ephemeral) ||
	    /* se */
	    !symmetric_mix_dh(&draft->s, draft->ephemeral_private,
			      hs->remote_static))
		return NOISE_E_BAD_KEY;
	/* psk */
	symmetric_mix_preshared_key(&draft->s, hs->secrets->preshared_key);
	/* {} */
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
	if (rc == 0)
		rc = take_index(hs);
	if (rc == 0) {
		msg->sender = le32_make(hs->local_index);
		store_draft(hs, &draft, HANDSHAKE_CREATED_RESPONSE);
	}
	unlock_both(hs);
	secret_zero(&draft, sizeof(draft));
	return rc;
}

static int read_response(struct noise_handshake *hs,
			 const struct message_response *msg,
			 struct draft *draft)
{
	if (!is_at(hs, HANDSHAKE_CREATED_INITIATION) || !hs->has_index ||
	    le32_get(msg->receiver) != hs->local_index)
		return NOISE_E_STATE;
	load_draft(hs, draft);
	/* e */
	symmetric_mix_ephemeral(&draft->s, msg->ephemeral);
	if (/* ee */
	    !symmetric_mix_dh(&draft->s, draft->ephemeral_private,
			      msg->ephemeral) ||
	    /* se */
	    !symmetric_mix_dh(&draft->s, hs->local->private_key,
			      msg->ephemeral))
		return NOISE_E_BAD_KEY;
	/* psk */
	symmetric_mix_preshared_key(&draft->s, hs->secrets->preshared_key);
	/* {} */
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
	if (rc == 0) {
		store_draft(hs, &draft, HANDSHAKE_CONSUMED_RESPONSE);
		hs->remote_index = le32_get(msg->sender);
	}
	unlock_both(hs);
	secret_zero(&draft, sizeof(draft));
	return rc;
}

/* Paper, section 5.4.5. */
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
	/* The initiator sends with the first key. */
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
	if (rc != 0)
		goto out;
	/*
	 * The keypair gets its index first, then its slot. The peer sends
	 * nothing to that index before the caller has sent a message to the
	 * peer. So no message finds a keypair that is not in its slot yet.
	 */
	rc = local->ops->index_replace(local->arg, hs->local_index, hs, kp);
	wipe_progress(hs);
	hs->has_index = false;
	hs->local_index = 0;
	if (rc < 0)
		noise_keypair_put(kp);
	else
		noise_keypairs_add(kps, kp);
out:
	unlock_both(hs);
	return rc;
}

/* ---------------------------------------------------- for another process */

/* Write what the steps so far have left. */
static void export_progress(const struct noise_handshake *hs,
			    struct noise_handshake_plain *out)
{
	const struct noise_handshake_secrets *k = hs->secrets;

	memcpy(out->ephemeral_private, k->ephemeral_private,
	       sizeof(out->ephemeral_private));
	memcpy(out->chaining_key, k->chaining_key, sizeof(out->chaining_key));
	memcpy(out->hash, k->hash, sizeof(out->hash));
	memcpy(out->remote_ephemeral, hs->remote_ephemeral,
	       sizeof(out->remote_ephemeral));
	out->local_index = hs->local_index;
	out->remote_index = hs->remote_index;
	out->state = (uint8_t)hs->state;
	out->has_index = hs->has_index;
}

void noise_handshake_export(struct noise_handshake *hs,
			    struct noise_handshake_plain *out)
{
	memset(out, 0, sizeof(*out));
	lock_both(hs);
	if (is_at(hs, hs->state) && hs->state != HANDSHAKE_ZEROED)
		export_progress(hs, out);
	if (hs->has_static_static && hs->generation == hs->local->generation) {
		memcpy(out->static_static, hs->secrets->static_static,
		       sizeof(out->static_static));
		out->has_static_static = 1;
	}
	memcpy(out->taken_timestamp, hs->taken_timestamp.b,
	       sizeof(out->taken_timestamp));
	memcpy(out->sent_timestamp, hs->sent_timestamp.b,
	       sizeof(out->sent_timestamp));
	out->has_taken = hs->has_taken;
	out->taken_ns = hs->has_taken ? hs->taken_ns : 0;
	unlock_both(hs);
}

/* Are the members those of a handshake at its start? */
static bool is_at_start(const struct noise_handshake_plain *plain)
{
	return !plain->has_index && !plain->remote_index &&
	       bytes_are_zero(plain->ephemeral_private,
			      sizeof(plain->ephemeral_private)) &&
	       bytes_are_zero(plain->chaining_key,
			      sizeof(plain->chaining_key)) &&
	       bytes_are_zero(plain->hash, sizeof(plain->hash)) &&
	       bytes_are_zero(plain->remote_ephemeral,
			      sizeof(plain->remote_ephemeral));
}

/* Does the state fit the other members? */
static bool is_state_sound(const struct noise_handshake_plain *plain)
{
	switch (plain->state) {
	case HANDSHAKE_ZEROED:
		return is_at_start(plain);
	case HANDSHAKE_CONSUMED_INITIATION:
		/* The index is that of an initiation before, or none. */
		return true;
	case HANDSHAKE_CREATED_INITIATION:
	case HANDSHAKE_CREATED_RESPONSE:
	case HANDSHAKE_CONSUMED_RESPONSE:
		return plain->has_index;
	default:
		return false;
	}
}

bool noise_handshake_plain_is_sound(const struct noise_handshake_plain *plain,
				    uint64_t latest)
{
	if (plain->has_index > 1 || plain->has_taken > 1 ||
	    plain->has_static_static > 1 ||
	    !bytes_are_zero(plain->zero, sizeof(plain->zero)))
		return false;
	if (plain->has_index != (plain->local_index != 0) ||
	    plain->has_taken != (plain->taken_ns != 0) ||
	    plain->taken_ns > latest)
		return false;
	return is_state_sound(plain) &&
	       (plain->has_static_static ||
		bytes_are_zero(plain->static_static,
			       sizeof(plain->static_static)));
}

/* Both locks are held. */
static void import_members(struct noise_handshake *hs,
			   const struct noise_handshake_plain *in)
{
	struct noise_handshake_secrets *k = hs->secrets;

	memcpy(k->ephemeral_private, in->ephemeral_private,
	       sizeof(k->ephemeral_private));
	memcpy(k->chaining_key, in->chaining_key, sizeof(k->chaining_key));
	memcpy(k->hash, in->hash, sizeof(k->hash));
	memcpy(k->static_static, in->static_static, sizeof(k->static_static));
	memcpy(hs->remote_ephemeral, in->remote_ephemeral,
	       sizeof(hs->remote_ephemeral));
	hs->local_index = in->local_index;
	hs->remote_index = in->remote_index;
	hs->state = in->state;
	hs->has_index = in->has_index;
	hs->has_static_static = in->has_static_static;
	hs->has_taken = in->has_taken;
	hs->taken_ns = in->taken_ns;
	/* The key pairs of both processes are the same, but each process counts
	 * their changes from 0. */
	hs->generation = hs->local->generation;
	hs->state_generation = hs->local->generation;
}

int noise_handshake_import(struct noise_handshake *hs,
			   const struct noise_handshake_plain *in)
{
	struct tai64n taken, sent;
	int err = 0;

	lock_both(hs);
	clear(hs);
	if (in->has_index)
		err = hs->local->ops->insert_index(hs->local->arg,
						   in->local_index, hs, NULL);
	if (err == 0)
		import_members(hs, in);
	unlock_both(hs);
	if (err < 0)
		return err;
	memcpy(taken.b, in->taken_timestamp, sizeof(taken.b));
	memcpy(sent.b, in->sent_timestamp, sizeof(sent.b));
	noise_handshake_restore_timestamps(hs, &taken, &sent);
	return 0;
}
