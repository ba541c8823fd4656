/* SPDX-License-Identifier: MIT */
/*
 * A second implementation of the WireGuard paper, for comparison only. It is
 * plain and slow, is written from the paper and RFC 7693, and uses libsodium's
 * primitives and its own BLAKE2s, but no code of src/.
 *
 * A side refuses the messages that the paper requires it to refuse. A refused
 * message leaves its state unchanged.
 */
#ifndef FUZZ_REFERENCE_H
#define FUZZ_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Lengths in bytes: the paper, section 5.4. */
enum {
	REF_KEY = 32,
	REF_TAG = 16,
	REF_STAMP = 12,
	REF_NONCE = 24,
	REF_MACS = 32,
	REF_INITIATION = 148,
	REF_RESPONSE = 92,
	REF_COOKIE = 64,
	REF_DATA = 16,
};

/**
 * struct ref_side - one side of a tunnel
 * @priv:	static private key, with
 * @pub:	its public key
 * @peer:	the other side's static public key
 * @psk:	preshared key
 * @e_priv:	ephemeral private key of the message made last
 * @peer_e:	ephemeral public key of the initiation taken last
 * @c:		chaining key
 * @h:		hash
 * @idx:	own index
 * @peer_idx:	the other side's
 * @stamp:	the newest timestamp taken
 * @sending:	key of data messages that leave
 * @receiving:	and of those that come
 */
struct ref_side {
	uint8_t priv[REF_KEY], pub[REF_KEY], peer[REF_KEY], psk[REF_KEY];
	uint8_t e_priv[REF_KEY], peer_e[REF_KEY], c[REF_KEY], h[REF_KEY];
	uint32_t idx, peer_idx;
	uint8_t stamp[REF_STAMP];
	uint8_t sending[REF_KEY], receiving[REF_KEY];
};

/**
 * struct ref_trick - deliberate errors of a sender
 * @e_pub:	ephemeral public key to send instead of the sender's; each
 *		secret that is shared with it counts as zero. NULL: the sender's
 * @pub:	static public key to claim. NULL: the sender's
 */
struct ref_trick {
	const uint8_t *e_pub;
	const uint8_t *pub;
};

/* BLAKE2s of @out_len bytes, with a key or none (RFC 7693). */
void ref_blake2s(uint8_t *out, size_t out_len, const uint8_t *key,
		 size_t key_len, const uint8_t *in, size_t in_len);

void ref_clamp(uint8_t key[REF_KEY]);
void ref_public(uint8_t out[REF_KEY], const uint8_t priv[REF_KEY]);

void ref_side_init(struct ref_side *side, const uint8_t priv[REF_KEY],
		   const uint8_t peer[REF_KEY], const uint8_t psk[REF_KEY]);

/* Macs of a message to the owner of @to; @cookie may be NULL. */
void ref_add_macs(uint8_t *msg, size_t len, const uint8_t to[REF_KEY],
		  const uint8_t *cookie);

/* Messages with mac1 and no mac2. @trick may be NULL. */
void ref_write_initiation(struct ref_side *side, const uint8_t e_priv[REF_KEY],
			  uint32_t idx, const uint8_t stamp[REF_STAMP],
			  const struct ref_trick *trick,
			  uint8_t msg[REF_INITIATION]);
void ref_write_response(struct ref_side *side, const uint8_t e_priv[REF_KEY],
			uint32_t idx, const struct ref_trick *trick,
			uint8_t msg[REF_RESPONSE]);

/* True if the message is taken. */
bool ref_read_initiation(struct ref_side *side, const uint8_t *msg, size_t len);
bool ref_read_response(struct ref_side *side, const uint8_t *msg, size_t len);

/* Make the cookie of a source, and the reply to @msg that carries it. */
void ref_make_cookie(uint8_t cookie[REF_TAG], const uint8_t secret[REF_KEY],
		     const uint8_t *source, size_t source_len);
void ref_write_reply(uint8_t reply[REF_COOKIE], const uint8_t own_pub[REF_KEY],
		     const uint8_t *msg, size_t len,
		     const uint8_t cookie[REF_TAG],
		     const uint8_t nonce[REF_NONCE]);
bool ref_read_reply(uint8_t cookie[REF_TAG], const uint8_t *reply, size_t len,
		    const uint8_t peer_pub[REF_KEY],
		    const uint8_t sent_mac1[REF_TAG]);

/* A data message of REF_DATA + @len + REF_TAG bytes. */
void ref_write_data(uint8_t *msg, const uint8_t key[REF_KEY], uint32_t idx,
		    uint64_t counter, const uint8_t *text, size_t len);
bool ref_read_data(uint8_t *text, const uint8_t *msg, size_t len,
		   const uint8_t key[REF_KEY], uint32_t idx, uint64_t *counter);

#endif /* FUZZ_REFERENCE_H */
