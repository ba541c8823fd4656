/* SPDX-License-Identifier: MIT */
/*
 * ChaCha20-Poly1305 (RFC 8439) with the nonce of WireGuard: four zero bytes,
 * then the 64-bit counter, little endian.
 *
 * Two faces. Data messages go in batches, in place, without additional data,
 * through a backend that is chosen at run time by what the processor has:
 * intel-ipsec-mb with AVX-512, libcrypto where it is not an x86-64, else
 * libsodium. Each worker has a `struct aead` of its own: it holds the scratch
 * memory of the backend and is not to be shared between threads. The few small
 * seals of the handshake carry additional data and go straight to libsodium.
 */
#ifndef CRYPTO_AEAD_H
#define CRYPTO_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	AEAD_KEY_LEN = 32,
	AEAD_TAG_LEN = 16,
};

/* Those that AEAD_BEST never is are for comparison. */
enum aead_choice {
	AEAD_BEST,	    /* the fastest there is */
	AEAD_SODIUM,	    /* libsodium, from its parts */
	AEAD_SODIUM_WHOLE,  /* libsodium, its AEAD */
	AEAD_IPSEC_MB,	    /* intel-ipsec-mb, as good as the machine is */
	AEAD_IPSEC_MB_AVX2, /* intel-ipsec-mb, no more than AVX2 */
	AEAD_IPSEC_MB_SSE,  /* intel-ipsec-mb, no more than SSE4.2 */
	AEAD_LIBCRYPTO,	    /* libcrypto, from its parts */
	AEAD_CHOICES
};

/*
 * One message of a batch. On the wire the tag stands directly behind the text,
 * so there are @len + AEAD_TAG_LEN bytes at @text. Texts of one batch must not
 * overlap.
 *
 * @key:	32 bytes; borrowed for the call
 * @counter:	nonce; never twice with one key for sealing
 * @text:	any alignment
 * @len:	of the text, without the tag; may be 0
 * @is_authentic: set by aead_open_batch()
 */
struct aead_msg {
	const uint8_t *key;
	uint64_t counter;
	uint8_t *text;
	uint32_t len;
	bool is_authentic;
};

struct aead;

/**
 * aead_get_word() - what a choice is called on the command line
 * @choice:	choice
 *
 * Any thread.
 *
 * Return: a word.
 */
const char *aead_get_word(enum aead_choice choice);

/**
 * aead_find_choice() - the reverse
 * @choice:	set on success
 * @word:	text
 *
 * Any thread.
 *
 * Return: true if there is such a choice, which may not be built in.
 */
bool aead_find_choice(enum aead_choice *choice, const char *word);

/* aead_is_built_in() - was this backend built in? Its library may still be
 * missing. Any thread. */
bool aead_is_built_in(enum aead_choice choice);

/**
 * aead_new() - one worker's context
 * @choice:	which backend
 *
 * Cheap: what a backend needs is made at the first batch. But a library that is
 * loaded rather than linked is loaded here: only this function opens files.
 *
 * Return: the context; NULL if memory is short or the backend is not there.
 */
struct aead *aead_new(enum aead_choice choice);

/**
 * aead_free() - give a context back
 * @aead:	context; NULL is ok
 */
void aead_free(struct aead *aead);

/**
 * aead_get_name() - which backend works here?
 * @aead:	context
 *
 * A backend that finds at the first batch that it cannot run on this machine
 * hands over to libsodium's AEAD, so the name is certain only after that.
 *
 * Return: a word for the log.
 */
const char *aead_get_name(const struct aead *aead);

/**
 * aead_seal_batch() - encrypt every text in place and write its tag behind it
 * @aead:	the calling worker's context
 * @msgs:	batch
 * @n:		messages in it, any number
 */
void aead_seal_batch(struct aead *aead, struct aead_msg *msgs, size_t n);

/**
 * aead_open_batch() - verify every tag and decrypt the texts in place
 * @aead:	the calling worker's context
 * @msgs:	batch; is_authentic of each is set
 * @n:		messages in it, any number
 *
 * The text of a message that is not authentic is zero afterwards: nothing
 * unverified is left to be used by mistake.
 *
 * Return: how many are authentic.
 */
size_t aead_open_batch(struct aead *aead, struct aead_msg *msgs, size_t n);

/**
 * aead_seal() - encrypt and authenticate one piece, with additional data
 * @out:	out: @len bytes of text and the tag
 * @in:		text; NULL if @len is 0
 * @len:	its length
 * @aad:	what is authenticated with it
 * @aad_len:	its length
 * @counter:	nonce
 * @key:	key
 *
 * Any thread.
 */
void aead_seal(uint8_t *out, const uint8_t *in, size_t len, const uint8_t *aad,
	       size_t aad_len, uint64_t counter,
	       const uint8_t key[AEAD_KEY_LEN]);

/**
 * aead_open() - verify and decrypt one piece, with additional data
 * @out:	out: @len - AEAD_TAG_LEN bytes of text, NULL if that is 0; on
 *		failure nothing of the text is there
 * @in:		encrypted text and its tag
 * @len:	length of both together, at least AEAD_TAG_LEN
 * @aad:	what was authenticated with it
 * @aad_len:	its length
 * @counter:	nonce
 * @key:	key
 *
 * Any thread.
 *
 * Return: true if it is authentic.
 */
bool aead_open(uint8_t *out, const uint8_t *in, size_t len, const uint8_t *aad,
	       size_t aad_len, uint64_t counter,
	       const uint8_t key[AEAD_KEY_LEN]);

#endif /* CRYPTO_AEAD_H */
