/* SPDX-License-Identifier: MIT */
/*
 * The macs of handshake messages and the cookies against floods (WireGuard
 * paper, sections 5.3, 5.4.4 and 5.4.7).
 *
 * The file has two nouns. The *checker* belongs to the device: it knows our
 * public key and a secret that changes every two minutes, tells whether the
 * macs of a message are right and makes cookie replies. The *maker* belongs to
 * a peer: it writes the macs of messages to that peer and remembers the cookie
 * that the peer gave us.
 *
 * A source is an address and a port, as bytes in network order: 6 bytes for
 * IPv4, 18 for IPv6. The port is part of the source so that hosts behind one
 * NAT do not share a cookie.
 *
 * Legend: [I] immutable after init, [m] under @lock.
 */
#ifndef NOISE_COOKIE_H
#define NOISE_COOKIE_H

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "noise/constants.h"
#include "noise/wire.h"

struct noise_local;

enum cookie_verdict {
	/* mac1 is wrong: drop the message and do not answer. */
	COOKIE_MAC1_WRONG = 0,
	/* mac1 is right; mac2 is absent, old or wrong. */
	COOKIE_MAC1_RIGHT,
	/* Both are right: the sender has proved that it receives at its
	 * address. */
	COOKIE_MAC2_RIGHT,
};

enum {
	/* The address and the port of an IPv6 source. */
	COOKIE_SOURCE_MAX_LEN = 18,
	/* Replies that cookie_checker_has_made() recognises. A choice: a loop
	 * brings a reply back within microseconds. */
	COOKIE_REPLIES = 64,
};

/*
 * @lock:		[m] held while members are copied
 * @local:		[I] gives the random bytes; borrowed
 * @mac1_key:		[m] derived from our public key; mac1 is checked with it
 * @reply_key:		[m] derived from our public key; cookie replies are
 *			encrypted with it
 * @secret:		[m] cookies are made with it
 * @secret_ns:		[m] when @secret was drawn
 * @has_secret:		[m] @secret is set
 * @n_replies:		[m] cookie replies made
 * @replies:		[m] a ring: the first 8 bytes of the nonce of each of
 *			the last replies
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
 * @local:	gives the random bytes; borrowed until cookie_checker_deinit()
 *
 * Until cookie_checker_set_key(), the checker uses a random key that nobody
 * knows.
 */
void cookie_checker_init(struct cookie_checker *checker,
			 struct noise_local *local);

/**
 * cookie_checker_deinit() - wipe the keys and the secret
 * @checker:	checker that no other thread can reach any more
 */
void cookie_checker_deinit(struct cookie_checker *checker);

/**
 * cookie_checker_set_key() - our public key has changed
 * @checker:	checker
 * @public_key:	our public key; NULL if there is none: then every mac1 is wrong
 *
 * Any thread.
 */
void cookie_checker_set_key(struct cookie_checker *checker,
			    const uint8_t public_key[NOISE_PUBLIC_KEY_LEN]);

/**
 * cookie_checker_check() - are the macs of a message right?
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
 * @msg:	the initiation or response that the reply answers
 * @len:	length of @msg
 * @source:	bytes of the source address and port of @msg
 * @source_len:	their count, at most COOKIE_SOURCE_MAX_LEN
 * @now:	the present
 * @reply:	out
 *
 * The reply is shorter than the message that it answers, so nobody can amplify
 * a flood with replies. Any thread.
 */
void cookie_checker_make_reply(struct cookie_checker *checker, const void *msg,
			       size_t len, const uint8_t *source,
			       size_t source_len, uint64_t now,
			       struct message_cookie *reply);

/**
 * cookie_checker_has_made() - did this checker make that reply?
 * @checker:	checker
 * @nonce:	first 8 bytes of the nonce of a cookie reply
 *
 * Any thread.
 *
 * Return: true if the nonce is of one of the last COOKIE_REPLIES replies.
 */
bool cookie_checker_has_made(struct cookie_checker *checker,
			     const uint8_t nonce[8]);

/**
 * cookie_checker_forget() - make the cookies given out so far invalid
 * @checker:	checker
 *
 * The secret is wiped. The next reply draws a new one. Any thread.
 */
void cookie_checker_forget(struct cookie_checker *checker);

/**
 * struct cookie_checker_plain - the secret of a checker, for another process
 *
 * Members as in struct cookie_checker. The keys come from the static key pair, and the
 * ring of replies is of use for microseconds only, so both are left out.
 */
struct cookie_checker_plain {
	uint8_t secret[NOISE_HASH_LEN];
	uint64_t secret_ns;
	uint8_t has_secret;
	uint8_t zero[7];
};

static_assert(sizeof(struct cookie_checker_plain) == 32 + 8 + 8, "no padding");

/* cookie_checker_export() - write the secret. The caller wipes @out after use. Any
 * thread. */
void cookie_checker_export(struct cookie_checker *checker,
			   struct cookie_checker_plain *out);

/**
 * cookie_checker_plain_is_sound() - may cookie_checker_export() have written this?
 * @plain:	numbers of any origin
 * @latest:	no point of time may lie after this one
 *
 * Return: true if cookie_checker_import() may be given it.
 */
bool cookie_checker_plain_is_sound(const struct cookie_checker_plain *plain,
				   uint64_t latest);

/* cookie_checker_import() - go on with the secret of another process: the cookies that
 * it gave out stay valid. @in is sound. Any thread. */
void cookie_checker_import(struct cookie_checker *checker,
			   const struct cookie_checker_plain *in);

/*
 * @lock:		[m] held for a few hashes
 * @mac1_key:		[I] derived from the peer's public key; mac1 is made
 *			with it
 * @reply_key:		[I] derived from the peer's public key; cookie replies
 *			are decrypted with it
 * @sent_mac1:		[m] mac1 of the last message sent; a cookie reply to
 *			that message is encrypted with it as additional data
 * @cookie:		[m] the last cookie received
 * @cookie_ns:		[m] when @cookie was received
 * @sent_ns:		[m] when the message of @sent_mac1 was sent
 * @has_sent_mac1:	[m] a cookie reply to the message of @sent_mac1 may be
 *			taken, once
 * @has_cookie:		[m] @cookie is set
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
 * cookie_maker_deinit() - wipe the keys and the cookie
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
 * COOKIE_SECRET_LATENCY. Call this again before the same message is sent again.
 * Any thread.
 */
void cookie_maker_add_macs(struct cookie_maker *maker, void *msg, size_t len,
			   uint64_t now);

/**
 * cookie_maker_forget() - forget the cookie and the last message sent
 * @maker:	maker
 *
 * No cookie reply is taken before the next message is sent. Any thread.
 */
void cookie_maker_forget(struct cookie_maker *maker);

/**
 * cookie_maker_consume_reply() - take a cookie reply
 * @maker:	maker of the peer that the receiver index names
 * @reply:	checked message (type, length)
 * @now:	the present
 *
 * One reply is taken for each message sent, within REKEY_TIMEOUT of it, and
 * none after cookie_maker_expect_none(). A reply that cannot be due is not
 * decrypted. A reply proves nothing about where the peer is, so it changes no
 * endpoint and no timer. Any thread.
 *
 * Return: true if the reply answers our last message, and its cookie is kept;
 * false if not, and nothing has changed.
 */
bool cookie_maker_consume_reply(struct cookie_maker *maker,
				const struct message_cookie *reply,
				uint64_t now);

/**
 * cookie_maker_expect_none() - take no cookie reply before the next message
 * @maker:	maker of a peer
 *
 * Call it when our last message has led to a session: then no honest peer sends
 * a cookie reply to that message any more. Any thread.
 */
void cookie_maker_expect_none(struct cookie_maker *maker);

/**
 * struct cookie_maker_plain - a maker as numbers, for another process
 *
 * Members as in struct cookie_maker. The keys come from the peer's public key, and are
 * left out. Members that are not set are zero.
 */
struct cookie_maker_plain {
	uint8_t sent_mac1[COOKIE_LEN];
	uint8_t cookie[COOKIE_LEN];
	uint64_t cookie_ns;
	uint64_t sent_ns;
	uint8_t has_sent_mac1;
	uint8_t has_cookie;
	uint8_t zero[6];
};

static_assert(sizeof(struct cookie_maker_plain) == 2 * COOKIE_LEN + 16 + 8,
	      "no padding");

/* cookie_maker_export() - write a maker as numbers. The caller wipes @out after use.
 * Any thread. */
void cookie_maker_export(struct cookie_maker *maker,
			 struct cookie_maker_plain *out);

/**
 * cookie_maker_plain_is_sound() - may cookie_maker_export() have written this?
 * @plain:	numbers of any origin
 * @latest:	no point of time may lie after this one
 *
 * Return: true if cookie_maker_import() may be given it.
 */
bool cookie_maker_plain_is_sound(const struct cookie_maker_plain *plain,
				 uint64_t latest);

/* cookie_maker_import() - go on for the maker of another process. @in is sound. Any
 * thread. */
void cookie_maker_import(struct cookie_maker *maker,
			 const struct cookie_maker_plain *in);

#endif /* NOISE_COOKIE_H */
