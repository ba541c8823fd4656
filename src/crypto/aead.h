/* SPDX-License-Identifier: MIT */
/*
 * ChaCha20-Poly1305 (RFC 8439) with the nonce of WireGuard: four zero bytes,
 * then the 64-bit counter, little endian.
 *
 * There are two interfaces. The batch interface is for data messages: a batch
 * is sealed or opened in place and without additional data, by a backend that
 * is chosen at run time. A table in aead.c names the backend by processor, and
 * a measurement at the start may overrule it. There is one choice for batches
 * and one for single small messages. Each thread has a `struct aead` of its
 * own, which holds the backend's scratch memory. The other interface is for the
 * fields of handshake messages, which are few and small and have additional
 * data. It calls libsodium directly.
 */
#ifndef CRYPTO_AEAD_H
#define CRYPTO_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	AEAD_KEY_LEN = 32,
	AEAD_TAG_LEN = 16,
	/* A text of at most this many bytes counts as small, if it is alone. A
	 * choice: backends that need less time for 64 bytes alone, and more for
	 * 1,420, draw level near 300 (docs/performance.md). */
	AEAD_SMALL_LEN = 256,
};

/* AEAD_BEST never selects AEAD_SODIUM_WHOLE or AEAD_IPSEC_MB_SSE. These exist
 * for benchmarks; the first one also replaces a backend that cannot run. */
enum aead_choice {
	AEAD_BEST,		/* the fastest on this machine */
	AEAD_SODIUM,		/* libsodium's ChaCha20 and Poly1305 */
	AEAD_SODIUM_WHOLE,	/* libsodium's AEAD */
	AEAD_IPSEC_MB,		/* intel-ipsec-mb, its best code here */
	AEAD_IPSEC_MB_AVX_IFMA, /* intel-ipsec-mb, its code for AVX-IFMA */
	AEAD_IPSEC_MB_AVX2,	/* intel-ipsec-mb, its code for AVX2 */
	AEAD_IPSEC_MB_SSE,	/* intel-ipsec-mb, its code for SSE4.2 */
	AEAD_LIBCRYPTO,		/* libcrypto's ChaCha20 and Poly1305 */
	AEAD_BORINGSSL,		/* BoringSSL's AEAD */
	AEAD_CHOICES
};

/* The kinds of work for which a backend is chosen. */
enum aead_work {
	AEAD_BATCHES, /* batches, and single messages that are long */
	AEAD_SINGLES, /* single messages of at most AEAD_SMALL_LEN bytes */
	AEAD_WORKS
};

/*
 * One message of a batch. The tag stands directly behind the text, so @text has
 * @len + AEAD_TAG_LEN bytes. Texts of one batch must not overlap.
 *
 * @key:	32 bytes; borrowed for the call
 * @counter:	nonce; a key must never seal twice with the same one
 * @text:	any alignment
 * @len:	length of the text, without the tag; may be 0
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
 * aead_get_word() - the name of a choice on the command line
 * @choice:	choice
 *
 * Any thread.
 *
 * Return: the name, a constant.
 */
const char *aead_get_word(enum aead_choice choice);

/**
 * aead_find_choice() - the choice that has a name
 * @choice:	set on success
 * @word:	text
 *
 * Any thread.
 *
 * Return: true if there is such a choice, whether or not it is built in.
 */
bool aead_find_choice(enum aead_choice *choice, const char *word);

/* aead_is_built_in() - was this choice built in? Its library may still be
 * missing. Any thread. */
bool aead_is_built_in(enum aead_choice choice);

/**
 * aead_new() - make a context for one thread
 * @choice:	which backend
 *
 * A backend makes its scratch memory at the first batch, so this call is cheap.
 * It loads the backend's library if that is not linked. The first call with
 * AEAD_BEST in a process may load more libraries, and measure for up to 2 ms of
 * CPU time; later calls use its result. So this function opens files; no other
 * function of the room does. Any thread.
 *
 * Return: the context; NULL if memory is short, or the backend is not built in,
 * or its library is missing.
 */
struct aead *aead_new(enum aead_choice choice);

/**
 * aead_free() - give a context back
 * @aead:	context; NULL is ok
 */
void aead_free(struct aead *aead);

/**
 * aead_get_name() - the name of the backend that a context uses for batches
 * @aead:	context
 *
 * If a backend cannot run on this machine, libsodium's AEAD replaces it at the
 * first batch. The name is certain only after that.
 *
 * Return: the name, for the log.
 */
const char *aead_get_name(const struct aead *aead);

/**
 * aead_get_small_name() - the name of the backend for single small messages
 * @aead:	context
 *
 * Return: as aead_get_name().
 */
const char *aead_get_small_name(const struct aead *aead);

/**
 * aead_print_choice() - which backend a context uses, and why, for the log
 * @aead:	context
 * @work:	kind of work
 * @buf:	out: the text, cut if it is too long
 * @cap:	bytes of @buf
 */
void aead_print_choice(const struct aead *aead, enum aead_work work, char *buf,
		       size_t cap);

/**
 * aead_seal_batch() - encrypt every text in place and write its tag behind it
 * @aead:	context of the calling thread
 * @msgs:	batch
 * @n:		messages in it, any number
 */
void aead_seal_batch(struct aead *aead, struct aead_msg *msgs, size_t n);

/**
 * aead_open_batch() - verify every tag and decrypt the texts in place
 * @aead:	context of the calling thread
 * @msgs:	batch; is_authentic of each is set
 * @n:		messages in it, any number
 *
 * The text of a message that is not authentic is overwritten with zeroes, so
 * that it cannot be used by mistake.
 *
 * Return: how many are authentic.
 */
size_t aead_open_batch(struct aead *aead, struct aead_msg *msgs, size_t n);

/**
 * aead_seal() - encrypt and authenticate a text, with additional data
 * @out:	out: @len bytes of text and the tag
 * @in:		text; NULL if @len is 0
 * @len:	its length
 * @aad:	additional data: authenticated, not encrypted
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
 * aead_open() - verify and decrypt a text, with additional data
 * @out:	out: @len - AEAD_TAG_LEN bytes of text, NULL if there are none.
 *		On failure it gets none of the text
 * @in:		encrypted text and its tag
 * @len:	length of both together, at least AEAD_TAG_LEN
 * @aad:	additional data
 * @aad_len:	its length
 * @counter:	nonce
 * @key:	key
 *
 * Any thread.
 *
 * Return: true if the text is authentic.
 */
bool aead_open(uint8_t *out, const uint8_t *in, size_t len, const uint8_t *aad,
	       size_t aad_len, uint64_t counter,
	       const uint8_t key[AEAD_KEY_LEN]);

#endif /* CRYPTO_AEAD_H */
