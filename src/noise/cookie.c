/* SPDX-License-Identifier: MIT */
/*
 * The macs and the cookies of noise/cookie.h.
 *
 * An initiation costs its receiver key agreements, and anybody can send one
 * from a forged address. Two macs at the end of a message keep that cost small:
 *
 *	mac1	is keyed with a hash of the receiver's public key. A sender that
 *		does not know that key gets no answer at all.
 *	mac2	is keyed with a cookie, and is needed only while the receiver is
 *		under load. It proves that the sender receives at its address,
 *		so the receiver can limit handshakes by address
 *		(noise/ratelimit.h).
 *
 * A sender gets its cookie from the receiver, for the price of a few hashes:
 *
 *	sender				receiver under load
 *	message with mac1  ------->	mac2 is missing: no key agreement
 *			   <-------	cookie reply
 *	message with mac1
 *	and mac2	   ------->	cookie and mac2 are right: go on
 *
 * The receiver stores nothing for a sender. A cookie is a mac of the sender's
 * address and port, keyed with a secret of the receiver. The receiver draws a
 * new secret every COOKIE_REFRESH_TIME, and computes the cookie again when it
 * has to check mac2. The cookie in a reply is encrypted with a key that is made
 * from the receiver's public key, and with the mac1 of the message as
 * additional data, so a reply answers one message only.
 *
 * The worker and the handshaker check messages with the same checker. Neither
 * thread may wait while the other one computes hashes. So a check first copies
 * the keys under the checker's lock, and computes its hashes without the lock.
 */
#include "noise/cookie.h"

#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/blake2s.h"
#include "crypto/secret.h"
#include "crypto/xaead.h"
#include "noise/local.h"

enum {
	LABEL_LEN = 8
};

/* WireGuard paper, section 5.4: labels of the derived keys. */
static const char label_mac1[LABEL_LEN + 1] = "mac1----";
static const char label_cookie[LABEL_LEN + 1] = "cookie--";

/*
 * Derive the keys for mac1 and for cookie replies. Anybody who knows the public
 * key can compute them.
 */
static void derive(const uint8_t public_key[NOISE_PUBLIC_KEY_LEN],
		   uint8_t mac1_key[NOISE_SYMMETRIC_KEY_LEN],
		   uint8_t reply_key[NOISE_SYMMETRIC_KEY_LEN])
{
	blake2s_hash(mac1_key, label_mac1, LABEL_LEN, public_key,
		     NOISE_PUBLIC_KEY_LEN);
	blake2s_hash(reply_key, label_cookie, LABEL_LEN, public_key,
		     NOISE_PUBLIC_KEY_LEN);
}

/* mac1 is computed over the bytes in front of this offset. */
static size_t offset_of_macs(size_t len)
{
	INVARIANT(len > sizeof(struct message_macs));
	return len - sizeof(struct message_macs);
}

/* Paper, section 5.4.4. */
static void compute_mac1(uint8_t mac1[COOKIE_LEN],
			 const uint8_t key[NOISE_SYMMETRIC_KEY_LEN],
			 const void *msg, size_t len)
{
	blake2s_mac(mac1, key, NOISE_SYMMETRIC_KEY_LEN, msg,
		    offset_of_macs(len));
}

/* mac2 covers mac1, so the caller writes mac1 into @msg first. */
static void compute_mac2(uint8_t mac2[COOKIE_LEN],
			 const uint8_t cookie[COOKIE_LEN], const void *msg,
			 size_t len)
{
	blake2s_mac(mac2, cookie, COOKIE_LEN, msg,
		    offset_of_macs(len) + COOKIE_LEN);
}

void cookie_checker_init(struct cookie_checker *checker,
			 struct noise_local *local)
{
	memset(checker, 0, sizeof(*checker));
	pthread_mutex_init(&checker->lock, NULL);
	checker->local = local;
	cookie_checker_set_key(checker, NULL);
}

void cookie_checker_deinit(struct cookie_checker *checker)
{
	pthread_mutex_destroy(&checker->lock);
	secret_zero(checker, sizeof(*checker));
}

void cookie_checker_set_key(struct cookie_checker *checker,
			    const uint8_t public_key[NOISE_PUBLIC_KEY_LEN])
{
	const struct noise_local *local = checker->local;
	uint8_t random_key[NOISE_PUBLIC_KEY_LEN];

	if (!public_key) {
		local->ops->random(local->arg, random_key, sizeof(random_key));
		public_key = random_key;
	}
	pthread_mutex_lock(&checker->lock);
	derive(public_key, checker->mac1_key, checker->reply_key);
	pthread_mutex_unlock(&checker->lock);
}

/*
 * A copy of the members of the checker that a check needs.
 */
struct view {
	uint8_t mac1_key[NOISE_SYMMETRIC_KEY_LEN];
	uint8_t secret[NOISE_HASH_LEN];
	bool has_secret;
};

static bool has_fresh_secret(const struct cookie_checker *checker, uint64_t now)
{
	return checker->has_secret &&
	       !clock_has_passed(checker->secret_ns,
				 COOKIE_REFRESH_TIME * NSEC_PER_SEC, now);
}

/* The caller wipes @view. */
static void take_view(struct cookie_checker *checker, uint64_t now,
		      struct view *view)
{
	pthread_mutex_lock(&checker->lock);
	memcpy(view->mac1_key, checker->mac1_key, sizeof(view->mac1_key));
	view->has_secret = has_fresh_secret(checker, now);
	memcpy(view->secret, checker->secret, sizeof(view->secret));
	pthread_mutex_unlock(&checker->lock);
}

/* Paper, section 5.4.7. */
static void make_cookie(const uint8_t secret[NOISE_HASH_LEN],
			const uint8_t *source, size_t source_len,
			uint8_t cookie[COOKIE_LEN])
{
	INVARIANT(source_len > 0 && source_len <= COOKIE_SOURCE_MAX_LEN);
	blake2s_mac(cookie, secret, NOISE_HASH_LEN, source, source_len);
}

static bool is_mac2_right(const struct view *view, const void *msg, size_t len,
			  const uint8_t *source, size_t source_len)
{
	const uint8_t *bytes = msg;
	uint8_t cookie[COOKIE_LEN];
	uint8_t mac2[COOKIE_LEN];
	bool is_right;

	/* A sender without a cookie sends zeroes as mac2. Seeing that saves two
	 * hashes for each such message of a flood. */
	if (!view->has_secret ||
	    secret_is_zero(bytes + len - COOKIE_LEN, COOKIE_LEN))
		return false;
	make_cookie(view->secret, source, source_len, cookie);
	compute_mac2(mac2, cookie, msg, len);
	is_right = secret_equal(mac2, bytes + len - COOKIE_LEN, sizeof(mac2));
	secret_zero(cookie, sizeof(cookie));
	return is_right;
}

enum cookie_verdict cookie_checker_check(struct cookie_checker *checker,
					 const void *msg, size_t len,
					 const uint8_t *source,
					 size_t source_len, bool wants_mac2,
					 uint64_t now)
{
	enum cookie_verdict verdict = COOKIE_MAC1_WRONG;
	const uint8_t *bytes = msg;
	uint8_t mac1[COOKIE_LEN];
	struct view view;

	take_view(checker, now, &view);
	compute_mac1(mac1, view.mac1_key, msg, len);
	if (!secret_equal(mac1, bytes + offset_of_macs(len), sizeof(mac1)))
		goto out;
	verdict = COOKIE_MAC1_RIGHT;
	if (wants_mac2 && is_mac2_right(&view, msg, len, source, source_len))
		verdict = COOKIE_MAC2_RIGHT;
out:
	secret_zero(&view, sizeof(view));
	return verdict;
}

static void renew_secret(struct cookie_checker *checker, uint64_t now)
{
	const struct noise_local *local = checker->local;

	if (has_fresh_secret(checker, now))
		return;
	local->ops->random(local->arg, checker->secret,
			   sizeof(checker->secret));
	checker->secret_ns = now;
	checker->has_secret = true;
}

void cookie_checker_make_reply(struct cookie_checker *checker, const void *msg,
			       size_t len, const uint8_t *source,
			       size_t source_len, uint64_t now,
			       struct message_cookie *reply)
{
	const struct noise_local *local = checker->local;
	uint8_t reply_key[NOISE_SYMMETRIC_KEY_LEN];
	const uint8_t *bytes = msg;
	uint8_t secret[NOISE_HASH_LEN];
	uint8_t cookie[COOKIE_LEN];

	reply->type = le32_make(MESSAGE_COOKIE);
	/* Initiations and responses have the sender's index at the same offset.
	 */
	memcpy(reply->receiver.b,
	       bytes + offsetof(struct message_initiation, sender),
	       sizeof(reply->receiver.b));
	local->ops->random(local->arg, reply->nonce, sizeof(reply->nonce));

	pthread_mutex_lock(&checker->lock);
	renew_secret(checker, now);
	memcpy(secret, checker->secret, sizeof(secret));
	memcpy(reply_key, checker->reply_key, sizeof(reply_key));
	memcpy(&checker->replies[checker->n_replies++ % COOKIE_REPLIES],
	       reply->nonce, sizeof(checker->replies[0]));
	pthread_mutex_unlock(&checker->lock);

	make_cookie(secret, source, source_len, cookie);
	xaead_seal(reply->enc_cookie, cookie, sizeof(cookie),
		   bytes + offset_of_macs(len), COOKIE_LEN, reply->nonce,
		   reply_key);
	secret_zero(secret, sizeof(secret));
	secret_zero(cookie, sizeof(cookie));
}

bool cookie_checker_has_made(struct cookie_checker *checker,
			     const uint8_t nonce[8])
{
	uint64_t start;
	bool is_ours = false;

	memcpy(&start, nonce, sizeof(start));
	pthread_mutex_lock(&checker->lock);
	for (size_t i = 0; i < COOKIE_REPLIES && i < checker->n_replies; i++)
		is_ours |= checker->replies[i] == start;
	pthread_mutex_unlock(&checker->lock);
	return is_ours;
}

void cookie_checker_forget(struct cookie_checker *checker)
{
	pthread_mutex_lock(&checker->lock);
	secret_zero(checker->secret, sizeof(checker->secret));
	checker->has_secret = false;
	pthread_mutex_unlock(&checker->lock);
}

void cookie_maker_init(struct cookie_maker *maker,
		       const uint8_t public_key[NOISE_PUBLIC_KEY_LEN])
{
	memset(maker, 0, sizeof(*maker));
	pthread_mutex_init(&maker->lock, NULL);
	derive(public_key, maker->mac1_key, maker->reply_key);
}

void cookie_maker_deinit(struct cookie_maker *maker)
{
	pthread_mutex_destroy(&maker->lock);
	secret_zero(maker, sizeof(*maker));
}

void cookie_maker_add_macs(struct cookie_maker *maker, void *msg, size_t len,
			   uint64_t now)
{
	const uint64_t max_age =
		(COOKIE_REFRESH_TIME - COOKIE_SECRET_LATENCY) * NSEC_PER_SEC;
	uint8_t *macs = (uint8_t *)msg + offset_of_macs(len);

	pthread_mutex_lock(&maker->lock);
	compute_mac1(macs, maker->mac1_key, msg, len);
	memcpy(maker->sent_mac1, macs, sizeof(maker->sent_mac1));
	maker->sent_ns = now;
	maker->has_sent_mac1 = true;

	if (maker->has_cookie &&
	    !clock_has_passed(maker->cookie_ns, max_age, now))
		compute_mac2(macs + COOKIE_LEN, maker->cookie, msg, len);
	else
		memset(macs + COOKIE_LEN, 0, COOKIE_LEN);
	pthread_mutex_unlock(&maker->lock);
}

void cookie_maker_forget(struct cookie_maker *maker)
{
	pthread_mutex_lock(&maker->lock);
	secret_zero(maker->cookie, sizeof(maker->cookie));
	secret_zero(maker->sent_mac1, sizeof(maker->sent_mac1));
	maker->has_cookie = false;
	maker->has_sent_mac1 = false;
	pthread_mutex_unlock(&maker->lock);
}

static bool is_reply_due(const struct cookie_maker *maker, uint64_t now)
{
	return maker->has_sent_mac1 &&
	       !clock_has_passed(maker->sent_ns, REKEY_TIMEOUT * NSEC_PER_SEC,
				 now);
}

bool cookie_maker_consume_reply(struct cookie_maker *maker,
				const struct message_cookie *reply,
				uint64_t now)
{
	uint8_t cookie[COOKIE_LEN];
	bool is_good;

	pthread_mutex_lock(&maker->lock);
	is_good =
		is_reply_due(maker, now) &&
		xaead_open(cookie, reply->enc_cookie, sizeof(reply->enc_cookie),
			   maker->sent_mac1, sizeof(maker->sent_mac1),
			   reply->nonce, maker->reply_key);
	if (is_good) {
		memcpy(maker->cookie, cookie, sizeof(maker->cookie));
		maker->cookie_ns = now;
		maker->has_cookie = true;
		maker->has_sent_mac1 = false;
	}
	pthread_mutex_unlock(&maker->lock);
	secret_zero(cookie, sizeof(cookie));
	return is_good;
}

void cookie_maker_expect_none(struct cookie_maker *maker)
{
	pthread_mutex_lock(&maker->lock);
	maker->has_sent_mac1 = false;
	pthread_mutex_unlock(&maker->lock);
}

/* ---------------------------------------------------- for another process */

/* Is a member set at a point of time that may be, or else all zero? */
static bool is_sound(uint8_t has_it, const void *bytes, size_t len, uint64_t ns,
		     uint64_t latest)
{
	if (has_it)
		return has_it == 1 && ns && ns <= latest;
	return !ns && bytes_are_zero(bytes, len);
}

void cookie_checker_export(struct cookie_checker *checker,
			   struct cookie_checker_plain *out)
{
	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&checker->lock);
	if (checker->has_secret) {
		memcpy(out->secret, checker->secret, sizeof(out->secret));
		out->secret_ns = checker->secret_ns;
		out->has_secret = 1;
	}
	pthread_mutex_unlock(&checker->lock);
}

bool cookie_checker_plain_is_sound(const struct cookie_checker_plain *plain,
				   uint64_t latest)
{
	return is_sound(plain->has_secret, plain->secret, sizeof(plain->secret),
			plain->secret_ns, latest) &&
	       bytes_are_zero(plain->zero, sizeof(plain->zero));
}

void cookie_checker_import(struct cookie_checker *checker,
			   const struct cookie_checker_plain *in)
{
	pthread_mutex_lock(&checker->lock);
	memcpy(checker->secret, in->secret, sizeof(checker->secret));
	checker->secret_ns = in->secret_ns;
	checker->has_secret = in->has_secret;
	pthread_mutex_unlock(&checker->lock);
}

void cookie_maker_export(struct cookie_maker *maker,
			 struct cookie_maker_plain *out)
{
	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&maker->lock);
	if (maker->has_sent_mac1) {
		memcpy(out->sent_mac1, maker->sent_mac1,
		       sizeof(out->sent_mac1));
		out->sent_ns = maker->sent_ns;
		out->has_sent_mac1 = 1;
	}
	if (maker->has_cookie) {
		memcpy(out->cookie, maker->cookie, sizeof(out->cookie));
		out->cookie_ns = maker->cookie_ns;
		out->has_cookie = 1;
	}
	pthread_mutex_unlock(&maker->lock);
}

bool cookie_maker_plain_is_sound(const struct cookie_maker_plain *plain,
				 uint64_t latest)
{
	return is_sound(plain->has_sent_mac1, plain->sent_mac1,
			sizeof(plain->sent_mac1), plain->sent_ns, latest) &&
	       is_sound(plain->has_cookie, plain->cookie, sizeof(plain->cookie),
			plain->cookie_ns, latest) &&
	       bytes_are_zero(plain->zero, sizeof(plain->zero));
}

void cookie_maker_import(struct cookie_maker *maker,
			 const struct cookie_maker_plain *in)
{
	pthread_mutex_lock(&maker->lock);
	memcpy(maker->sent_mac1, in->sent_mac1, sizeof(maker->sent_mac1));
	memcpy(maker->cookie, in->cookie, sizeof(maker->cookie));
	maker->sent_ns = in->sent_ns;
	maker->cookie_ns = in->cookie_ns;
	maker->has_sent_mac1 = in->has_sent_mac1;
	maker->has_cookie = in->has_cookie;
	pthread_mutex_unlock(&maker->lock);
}
