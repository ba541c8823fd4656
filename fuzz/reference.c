/* SPDX-License-Identifier: MIT */
#include "fuzz/reference.h"

#include <sodium.h>
#include <string.h>

#include "fuzz/fuzz.h"

enum {
	/* Bytes of a block of BLAKE2s, and its rounds: RFC 7693, section 2. */
	BLOCK = 64,
	ROUNDS = 10,
	/* Bytes of a mac and of a cookie: the paper, section 5.4. */
	MAC_LEN = 16,
};

/* ------------------------------------------------------- BLAKE2s, RFC 7693 */

static const uint32_t iv[8] = {
	0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
	0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19
};

static const uint8_t sigma[ROUNDS][16] = {
	{ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 },
	{ 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3 },
	{ 11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4 },
	{ 7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8 },
	{ 9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13 },
	{ 2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9 },
	{ 12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11 },
	{ 13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10 },
	{ 6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5 },
	{ 10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0 },
};

static uint32_t rotr(uint32_t v, unsigned int n)
{
	return v >> n | v << (32 - n);
}

static uint32_t load32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
	       (uint32_t)p[3] << 24;
}

static void store32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static void mix(uint32_t *v, const uint8_t at[4], uint32_t x, uint32_t y)
{
	uint32_t *a = &v[at[0]], *b = &v[at[1]], *c = &v[at[2]], *d = &v[at[3]];

	*a += *b + x;
	*d = rotr(*d ^ *a, 16);
	*c += *d;
	*b = rotr(*b ^ *c, 12);
	*a += *b + y;
	*d = rotr(*d ^ *a, 8);
	*c += *d;
	*b = rotr(*b ^ *c, 7);
}

static void compress(uint32_t h[8], const uint8_t block[BLOCK], uint64_t count,
		     bool is_last)
{
	static const uint8_t at[8][4] = {
		{ 0, 4, 8, 12 },  { 1, 5, 9, 13 },  { 2, 6, 10, 14 },
		{ 3, 7, 11, 15 }, { 0, 5, 10, 15 }, { 1, 6, 11, 12 },
		{ 2, 7, 8, 13 },  { 3, 4, 9, 14 },
	};
	uint32_t v[16], m[16];

	for (int i = 0; i < 8; i++) {
		v[i] = h[i];
		v[i + 8] = iv[i];
	}
	v[12] ^= (uint32_t)count;
	v[13] ^= (uint32_t)(count >> 32);
	if (is_last)
		v[14] = ~v[14];
	for (int i = 0; i < 16; i++)
		m[i] = load32(block + (size_t)i * 4);
	for (int r = 0; r < ROUNDS; r++)
		for (int i = 0; i < 8; i++)
			mix(v, at[i], m[sigma[r][2 * i]],
			    m[sigma[r][2 * i + 1]]);
	for (int i = 0; i < 8; i++)
		h[i] ^= v[i] ^ v[i + 8];
}

void ref_blake2s(uint8_t *out, size_t out_len, const uint8_t *key,
		 size_t key_len, const uint8_t *in, size_t in_len)
{
	uint8_t block[BLOCK] = { 0 }, words[REF_KEY];
	uint64_t count = 0;
	uint32_t h[8];

	memcpy(h, iv, sizeof(h));
	h[0] ^= 0x01010000 ^ (uint32_t)key_len << 8 ^ (uint32_t)out_len;
	if (key_len) {
		memcpy(block, key, key_len);
		count = BLOCK;
		if (in_len)
			compress(h, block, count, false);
	}
	while (in_len > BLOCK) {
		count += BLOCK;
		compress(h, in, count, false);
		in += BLOCK;
		in_len -= BLOCK;
	}
	if (in_len) {
		memset(block, 0, sizeof(block));
		memcpy(block, in, in_len);
		count += in_len;
	}
	compress(h, block, count, true);
	for (int i = 0; i < 8; i++)
		store32(words + (size_t)i * 4, h[i]);
	memcpy(out, words, out_len);
}

/* --------------------------------------------- the paper's section 5.4: names */

/* HASH(a || b) */
static void hash(uint8_t out[REF_KEY], const void *a, size_t a_len,
		 const void *b, size_t b_len)
{
	uint8_t buf[256];

	require(a_len + b_len <= sizeof(buf));
	memcpy(buf, a, a_len);
	if (b_len)
		memcpy(buf + a_len, b, b_len);
	ref_blake2s(out, REF_KEY, NULL, 0, buf, a_len + b_len);
}

/* HMAC, for keys of 32 bytes and less than a block of input */
static void hmac(uint8_t out[REF_KEY], const uint8_t key[REF_KEY],
		 const uint8_t *in, size_t in_len)
{
	uint8_t inner[2 * BLOCK], outer[BLOCK + REF_KEY];

	require(in_len <= BLOCK);
	memset(inner, 0x36, BLOCK);
	memset(outer, 0x5c, BLOCK);
	for (int i = 0; i < REF_KEY; i++) {
		inner[i] ^= key[i];
		outer[i] ^= key[i];
	}
	if (in_len)
		memcpy(inner + BLOCK, in, in_len);
	ref_blake2s(outer + BLOCK, REF_KEY, NULL, 0, inner, BLOCK + in_len);
	ref_blake2s(out, REF_KEY, NULL, 0, outer, sizeof(outer));
}

/* KDF_n; @out holds @n keys one behind the other */
static void kdf(uint8_t *out, uint8_t n, const uint8_t c[REF_KEY],
		const uint8_t *in, size_t in_len)
{
	uint8_t prk[REF_KEY], text[REF_KEY + 1];
	size_t text_len = 0;

	hmac(prk, c, in, in_len);
	for (uint8_t i = 1; i <= n; i++) {
		text[text_len] = i;
		hmac(out, prk, text, text_len + 1);
		memcpy(text, out, REF_KEY);
		text_len = REF_KEY;
		out += REF_KEY;
	}
}

static void nonce_of(uint8_t nonce[12], uint64_t counter)
{
	memset(nonce, 0, 4);
	store32(nonce + 4, (uint32_t)counter);
	store32(nonce + 8, (uint32_t)(counter >> 32));
}

static void seal(uint8_t *out, const uint8_t key[REF_KEY], uint64_t counter,
		 const uint8_t *text, size_t len, const uint8_t *aad,
		 size_t aad_len)
{
	uint8_t nonce[12];

	nonce_of(nonce, counter);
	crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, text, len, aad,
						  aad_len, NULL, nonce, key);
}

static bool open(uint8_t *out, const uint8_t key[REF_KEY], uint64_t counter,
		 const uint8_t *in, size_t len, const uint8_t *aad,
		 size_t aad_len)
{
	uint8_t nonce[12];

	nonce_of(nonce, counter);
	return crypto_aead_chacha20poly1305_ietf_decrypt(
		       out, NULL, NULL, in, len, aad, aad_len, nonce, key) == 0;
}

void ref_clamp(uint8_t key[REF_KEY])
{
	key[0] &= 248;
	key[31] = (key[31] & 127) | 64;
}

void ref_public(uint8_t out[REF_KEY], const uint8_t priv[REF_KEY])
{
	crypto_scalarmult_curve25519_base(out, priv);
}

void ref_side_init(struct ref_side *side, const uint8_t priv[REF_KEY],
		   const uint8_t peer[REF_KEY], const uint8_t psk[REF_KEY])
{
	memset(side, 0, sizeof(*side));
	memcpy(side->priv, priv, REF_KEY);
	ref_clamp(side->priv);
	ref_public(side->pub, side->priv);
	memcpy(side->peer, peer, REF_KEY);
	memcpy(side->psk, psk, REF_KEY);
}

/* Mix data of the wire into the hash. */
static void mix_hash(struct ref_side *s, const uint8_t *data, size_t len)
{
	hash(s->h, s->h, REF_KEY, data, len);
}

/*
 * Mix a shared secret into the chaining key, and into @key if that is given.
 * @forced: take the secret as zero. Return: false if the secret is zero.
 */
static bool mix_dh(struct ref_side *s, uint8_t *key, const uint8_t *priv,
		   const uint8_t *pub, bool forced)
{
	uint8_t shared[REF_KEY] = { 0 }, out[2 * REF_KEY];
	bool is_good = true;

	if (!forced)
		is_good = crypto_scalarmult_curve25519(shared, priv, pub) == 0;
	kdf(out, key ? 2 : 1, s->c, shared, REF_KEY);
	memcpy(s->c, out, REF_KEY);
	if (key)
		memcpy(key, out + REF_KEY, REF_KEY);
	return is_good;
}

static void mix_ephemeral(struct ref_side *s, const uint8_t e[REF_KEY])
{
	kdf(s->c, 1, s->c, e, REF_KEY);
	mix_hash(s, e, REF_KEY);
}

static void mix_psk(struct ref_side *s, uint8_t key[REF_KEY])
{
	uint8_t out[3 * REF_KEY];

	kdf(out, 3, s->c, s->psk, REF_KEY);
	memcpy(s->c, out, REF_KEY);
	mix_hash(s, out + REF_KEY, REF_KEY);
	memcpy(key, out + 2 * REF_KEY, REF_KEY);
}

static void begin(struct ref_side *s, const uint8_t responder[REF_KEY])
{
	static const char construction[] =
		"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
	static const char identifier[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";

	hash(s->c, construction, sizeof(construction) - 1, NULL, 0);
	hash(s->h, s->c, REF_KEY, identifier, sizeof(identifier) - 1);
	mix_hash(s, responder, REF_KEY);
}

/* --------------------------------------------------------------- macs, 5.4.4 */

static void mac1_of(uint8_t mac[MAC_LEN], const uint8_t *msg, size_t len,
		    const uint8_t to[REF_KEY])
{
	uint8_t key[REF_KEY];

	hash(key, "mac1----", 8, to, REF_KEY);
	ref_blake2s(mac, MAC_LEN, key, REF_KEY, msg, len - REF_MACS);
}

void ref_add_macs(uint8_t *msg, size_t len, const uint8_t to[REF_KEY],
		  const uint8_t *cookie)
{
	uint8_t *macs = msg + len - REF_MACS;

	memset(macs, 0, REF_MACS);
	mac1_of(macs, msg, len, to);
	if (cookie)
		ref_blake2s(macs + MAC_LEN, MAC_LEN, cookie, MAC_LEN, msg,
			    len - MAC_LEN);
}

static bool is_message(const uint8_t *msg, size_t len, uint32_t type,
		       size_t right_len, const uint8_t to[REF_KEY])
{
	uint8_t mac[MAC_LEN];

	if (len != right_len || load32(msg) != type)
		return false;
	mac1_of(mac, msg, len, to);
	return memcmp(mac, msg + len - REF_MACS, MAC_LEN) == 0;
}

/* -------------------------------------------------- handshake, 5.4.2 and 5.4.3 */

void ref_write_initiation(struct ref_side *side, const uint8_t e_priv[REF_KEY],
			  uint32_t idx, const uint8_t stamp[REF_STAMP],
			  const struct ref_trick *trick,
			  uint8_t msg[REF_INITIATION])
{
	bool forced = trick && trick->e_pub;
	const uint8_t *pub = trick && trick->pub ? trick->pub : side->pub;
	uint8_t key[REF_KEY];

	memset(msg, 0, REF_INITIATION);
	store32(msg, 1);
	store32(msg + 4, idx);
	side->idx = idx;
	memcpy(side->e_priv, e_priv, REF_KEY);
	ref_clamp(side->e_priv);
	ref_public(msg + 8, side->e_priv);
	if (forced)
		memcpy(msg + 8, trick->e_pub, REF_KEY);
	begin(side, side->peer);
	mix_ephemeral(side, msg + 8);
	mix_dh(side, key, side->e_priv, side->peer, forced);
	seal(msg + 40, key, 0, pub, REF_KEY, side->h, REF_KEY);
	mix_hash(side, msg + 40, REF_KEY + REF_TAG);
	mix_dh(side, key, side->priv, side->peer, false);
	seal(msg + 88, key, 0, stamp, REF_STAMP, side->h, REF_KEY);
	mix_hash(side, msg + 88, REF_STAMP + REF_TAG);
	ref_add_macs(msg, REF_INITIATION, side->peer, NULL);
}

bool ref_read_initiation(struct ref_side *side, const uint8_t *msg, size_t len)
{
	uint8_t key[REF_KEY], pub[REF_KEY], stamp[REF_STAMP];
	struct ref_side s = *side;

	if (!is_message(msg, len, 1, REF_INITIATION, s.pub))
		return false;
	begin(&s, s.pub);
	mix_ephemeral(&s, msg + 8);
	if (!mix_dh(&s, key, s.priv, msg + 8, false) ||
	    !open(pub, key, 0, msg + 40, REF_KEY + REF_TAG, s.h, REF_KEY) ||
	    memcmp(pub, s.peer, REF_KEY) != 0)
		return false;
	mix_hash(&s, msg + 40, REF_KEY + REF_TAG);
	if (!mix_dh(&s, key, s.priv, s.peer, false) ||
	    !open(stamp, key, 0, msg + 88, REF_STAMP + REF_TAG, s.h, REF_KEY) ||
	    memcmp(stamp, s.stamp, REF_STAMP) <= 0)
		return false;
	mix_hash(&s, msg + 88, REF_STAMP + REF_TAG);
	memcpy(s.stamp, stamp, REF_STAMP);
	memcpy(s.peer_e, msg + 8, REF_KEY);
	s.peer_idx = load32(msg + 4);
	*side = s;
	return true;
}

/* The keys of the session (5.4.5). */
static void derive(struct ref_side *s, bool is_initiator)
{
	uint8_t out[2 * REF_KEY];

	kdf(out, 2, s->c, NULL, 0);
	memcpy(is_initiator ? s->sending : s->receiving, out, REF_KEY);
	memcpy(is_initiator ? s->receiving : s->sending, out + REF_KEY,
	       REF_KEY);
}

void ref_write_response(struct ref_side *side, const uint8_t e_priv[REF_KEY],
			uint32_t idx, const struct ref_trick *trick,
			uint8_t msg[REF_RESPONSE])
{
	bool forced = trick && trick->e_pub;
	uint8_t key[REF_KEY];

	memset(msg, 0, REF_RESPONSE);
	store32(msg, 2);
	store32(msg + 4, idx);
	store32(msg + 8, side->peer_idx);
	side->idx = idx;
	memcpy(side->e_priv, e_priv, REF_KEY);
	ref_clamp(side->e_priv);
	ref_public(msg + 12, side->e_priv);
	if (forced)
		memcpy(msg + 12, trick->e_pub, REF_KEY);
	mix_ephemeral(side, msg + 12);
	mix_dh(side, NULL, side->e_priv, side->peer_e, forced);
	mix_dh(side, NULL, side->e_priv, side->peer, forced);
	mix_psk(side, key);
	seal(msg + 44, key, 0, NULL, 0, side->h, REF_KEY);
	mix_hash(side, msg + 44, REF_TAG);
	ref_add_macs(msg, REF_RESPONSE, side->peer, NULL);
	derive(side, false);
}

bool ref_read_response(struct ref_side *side, const uint8_t *msg, size_t len)
{
	struct ref_side s = *side;
	uint8_t key[REF_KEY];

	if (!is_message(msg, len, 2, REF_RESPONSE, s.pub) ||
	    load32(msg + 8) != s.idx)
		return false;
	mix_ephemeral(&s, msg + 12);
	if (!mix_dh(&s, NULL, s.e_priv, msg + 12, false) ||
	    !mix_dh(&s, NULL, s.priv, msg + 12, false))
		return false;
	mix_psk(&s, key);
	if (!open(NULL, key, 0, msg + 44, REF_TAG, s.h, REF_KEY))
		return false;
	mix_hash(&s, msg + 44, REF_TAG);
	s.peer_idx = load32(msg + 4);
	derive(&s, true);
	*side = s;
	return true;
}

/* ------------------------------------------------------------- cookies, 5.4.7 */

void ref_make_cookie(uint8_t cookie[REF_TAG], const uint8_t secret[REF_KEY],
		     const uint8_t *source, size_t source_len)
{
	ref_blake2s(cookie, MAC_LEN, secret, REF_KEY, source, source_len);
}

void ref_write_reply(uint8_t reply[REF_COOKIE], const uint8_t own_pub[REF_KEY],
		     const uint8_t *msg, size_t len,
		     const uint8_t cookie[REF_TAG],
		     const uint8_t nonce[REF_NONCE])
{
	uint8_t key[REF_KEY];

	store32(reply, 3);
	memcpy(reply + 4, msg + 4, 4);
	memcpy(reply + 8, nonce, REF_NONCE);
	hash(key, "cookie--", 8, own_pub, REF_KEY);
	crypto_aead_xchacha20poly1305_ietf_encrypt(
		reply + 32, NULL, cookie, MAC_LEN, msg + len - REF_MACS,
		MAC_LEN, NULL, nonce, key);
}

bool ref_read_reply(uint8_t cookie[REF_TAG], const uint8_t *reply, size_t len,
		    const uint8_t peer_pub[REF_KEY],
		    const uint8_t sent_mac1[REF_TAG])
{
	uint8_t key[REF_KEY];

	if (len != REF_COOKIE || load32(reply) != 3)
		return false;
	hash(key, "cookie--", 8, peer_pub, REF_KEY);
	return crypto_aead_xchacha20poly1305_ietf_decrypt(
		       cookie, NULL, NULL, reply + 32, MAC_LEN + REF_TAG,
		       sent_mac1, MAC_LEN, reply + 8, key) == 0;
}

/* ---------------------------------------------------------------- data, 5.4.6 */

void ref_write_data(uint8_t *msg, const uint8_t key[REF_KEY], uint32_t idx,
		    uint64_t counter, const uint8_t *text, size_t len)
{
	store32(msg, 4);
	store32(msg + 4, idx);
	store32(msg + 8, (uint32_t)counter);
	store32(msg + 12, (uint32_t)(counter >> 32));
	seal(msg + REF_DATA, key, counter, text, len, NULL, 0);
}

bool ref_read_data(uint8_t *text, const uint8_t *msg, size_t len,
		   const uint8_t key[REF_KEY], uint32_t idx, uint64_t *counter)
{
	if (len < REF_DATA + REF_TAG || load32(msg) != 4 ||
	    load32(msg + 4) != idx)
		return false;
	*counter = load32(msg + 8) | (uint64_t)load32(msg + 12) << 32;
	return open(text, key, *counter, msg + REF_DATA, len - REF_DATA, NULL,
		    0);
}
