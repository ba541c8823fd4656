/* SPDX-License-Identifier: MIT */
/*
 * The macs of handshake messages and the cookies against floods (WireGuard
 * paper, sections 5.3, 5.4.4 and 5.4.7).
 *
 * Two nouns. The *checker* belongs to the device: it knows our public key and a
 * secret that changes every two minutes, tells whether the macs of a message
 * are right and makes cookie replies. The *maker* belongs to a peer: it writes
 * the macs of messages to that peer and remembers the cookie it gave us.
 *
 * A source is the bytes of address and port, in network order, such as they
 * are in the socket address: 6 bytes for IPv4, 18 for IPv6 (the port is part of
 * it, so hosts behind one NAT do not share a cookie).
 *
 * Legend: [m] under @lock.
 */
#ifndef NOISE_COOKIE_H
#define NOISE_COOKIE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "noise/constants.h"
#include "noise/wire.h"

struct noise_local;

enum cookie_verdict {
	/* mac1 is wrong: drop, and answer nothing. */
	COOKIE_MAC1_WRONG = 0,
	/* mac1 is right; mac2 is absent, old or wrong. */
	COOKIE_MAC1_RIGHT,
	/* Both are right: the sender gets what is sent to its address. */
	COOKIE_MAC2_RIGHT,
};

enum {
	COOKIE_SOURCE_MAX_LEN = 18,
	/* Replies that cookie_checker_has_made() recognises. */
	COOKIE_REPLIES = 64,
};

/*
 * @lock:		[m] held for copying what is below
 * @local:		[I] whose randomness; borrowed
 * @mac1_key:		[m] of our public key
 * @reply_key:		[m] of our public key; encrypts cookie replies
 * @secret:		[m]
 * @secret_ns:		[m] when @secret was drawn
 * @has_secret:		[m]
 * @n_replies:		[m] cookie replies made
 * @replies:		[m] first bytes of the nonces of the last ones
 */
struct cookie_checker {
	pthread_mutex_t lock;
	struct noise_local *local;
	uint8_t mac1_key[NOISE_SYMMETRIC_KEY_LEN];
	uint8_t reply_key[NOISE_SYMMETRIC_KEY_LEN];
	uint8_t secret[NOISE_HASH_LEN];
	uint64_t secret_ns;
	bool has_secret;
	uint64_t n_replies;
	uint64_t replies[COOKIE_REPLIES];
};

/**
 * cookie_checker_init() - a checker that finds every mac1 wrong
 * @checker:	caller's storage
 * @local:	whose randomness; borrowed until cookie_checker_deinit()
 *
 * Until cookie_checker_set_key() the key is one nobody knows.
 */
void cookie_checker_init(struct cookie_checker *checker,
			 struct noise_local *local);

/**
 * cookie_checker_deinit() - wipe
 * @checker:	checker that no other thread can reach any more
 */
void cookie_checker_deinit(struct cookie_checker *checker);

/**
 * cookie_checker_set_key() - our public key has changed
 * @checker:	checker
 * @public_key:	our public key; NULL: none, every mac1 is wrong
 *
 * Any thread.
 */
void cookie_checker_set_key(struct cookie_checker *checker,
			    const uint8_t public_key[NOISE_PUBLIC_KEY_LEN]);

/**
 * cookie_checker_check() - are the macs of a received message right?
 * @checker:	checker
 * @msg:	initiation or response, checked by message_check()
 * @len:	its length
 * @source:	bytes of the source address and port
 * @source_len:	their count, at most COOKIE_SOURCE_MAX_LEN
 * @wants_mac2:	look at mac2 as well (under load); without it the result is
 *		never COOKIE_MAC2_RIGHT
 * @now:	the present
 *
 * Any thread.
 *
 * Return: the verdict.
 */
enum cookie_verdict cookie_checker_check(struct cookie_checker *checker,
					 const void *msg, size_t len,
					 const uint8_t *source,
					 size_t source_len, bool wants_mac2,
					 uint64_t now);

/**
 * cookie_checker_make_reply() - a cookie reply to a message with a right mac1
 * @checker:	checker
 * @msg:	the initiation or response it answers
 * @len:	its length
 * @source:	bytes of its source address and port
 * @source_len:	their count, at most COOKIE_SOURCE_MAX_LEN
 * @now:	the present
 * @reply:	out
 *
 * The reply is shorter than what it answers, so it amplifies nothing. Any
 * thread.
 */
void cookie_checker_make_reply(struct cookie_checker *checker, const void *msg,
			       size_t len, const uint8_t *source,
			       size_t source_len, uint64_t now,
			       struct message_cookie *reply);

/**
 * cookie_checker_has_made() - is this one of the last replies of this checker?
 * @checker:	checker
 * @nonce:	first 8 bytes of the nonce of a cookie reply
 *
 * Any thread.
 *
 * Return: true if it is one of the last COOKIE_REPLIES.
 */
bool cookie_checker_has_made(struct cookie_checker *checker,
			     const uint8_t nonce[8]);

/**
 * cookie_checker_forget() - make the cookies given out so far invalid
 * @checker:	checker
 *
 * The secret is wiped; the next reply draws another. Any thread.
 */
void cookie_checker_forget(struct cookie_checker *checker);

/*
 * @lock:		[m] held for a few hashes
 * @mac1_key:		[I] of the peer's public key
 * @reply_key:		[I] of the peer's public key; decrypts cookie replies
 * @sent_mac1:		[m] of the last message, which a cookie reply names
 * @cookie:		[m] the last one received
 * @cookie_ns:		[m] when
 * @sent_ns:		[m] when that was
 * @has_sent_mac1:	[m] a cookie reply to that message may still come, once
 * @has_cookie:		[m]
 */
struct cookie_maker {
	pthread_mutex_t lock;
	uint8_t mac1_key[NOISE_SYMMETRIC_KEY_LEN];
	uint8_t reply_key[NOISE_SYMMETRIC_KEY_LEN];
	uint8_t sent_mac1[COOKIE_LEN];
	uint8_t cookie[COOKIE_LEN];
	uint64_t cookie_ns;
	uint64_t sent_ns;
	bool has_sent_mac1;
	bool has_cookie;
};

/**
 * cookie_maker_init() - a maker without a cookie
 * @maker:	caller's storage
 * @public_key:	the peer's public key
 */
void cookie_maker_init(struct cookie_maker *maker,
		       const uint8_t public_key[NOISE_PUBLIC_KEY_LEN]);

/**
 * cookie_maker_deinit() - wipe
 * @maker:	maker that no other thread can reach any more
 */
void cookie_maker_deinit(struct cookie_maker *maker);

/**
 * cookie_maker_add_macs() - write the macs of a message about to be sent
 * @maker:	maker of the peer it goes to
 * @msg:	initiation or response; the last 32 bytes are written
 * @len:	its length
 * @now:	the present
 *
 * mac2 is zero unless there is a cookie younger than COOKIE_REFRESH_TIME -
 * COOKIE_SECRET_LATENCY. A message that is sent again gets its macs anew. Any
 * thread.
 */
void cookie_maker_add_macs(struct cookie_maker *maker, void *msg, size_t len,
			   uint64_t now);

/**
 * cookie_maker_forget() - forget the cookie and the last message sent
 * @maker:	maker
 *
 * No reply is taken before the next message. Any thread.
 */
void cookie_maker_forget(struct cookie_maker *maker);

/**
 * cookie_maker_consume_reply() - take a cookie reply
 * @maker:	maker of the peer that the receiver index names
 * @reply:	checked message (type, length)
 * @now:	the present
 *
 * A reply is taken once per message sent, within REKEY_TIMEOUT of it, and not
 * after cookie_maker_expect_none(). If no reply can be due, nothing is
 * decrypted. A reply proves nothing about where the peer is, so it changes no
 * endpoint and no timer. Any thread.
 *
 * Return: true if it is an answer to our last message and its cookie is kept;
 * false, and nothing has changed, if not.
 */
bool cookie_maker_consume_reply(struct cookie_maker *maker,
				const struct message_cookie *reply,
				uint64_t now);

/**
 * cookie_maker_expect_none() - our last message was answered by a session
 * @maker:	maker of the peer it went to
 *
 * A cookie reply to it will not come any more. Any thread.
 */
void cookie_maker_expect_none(struct cookie_maker *maker);

#endif /* NOISE_COOKIE_H */
