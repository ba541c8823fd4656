/* SPDX-License-Identifier: MIT */
/*
 * The places of secrets in memory, during and after their use. The secrets are
 * private keys, preshared keys, the shared secret of the static keys, ephemeral
 * keys, the results of key agreements, chaining keys and session keys. While a
 * secret is in use it may be in memory for secrets only; afterwards it may be
 * nowhere, not even on a stack or in the state of the AEAD libraries. Two
 * devices live in a second thread, which waits during each search, so that its
 * stack is searched as well.
 *
 * Intermediate results are recorded by wrappers: the linker (--wrap) replaces
 * two functions of crypto/ by the ones below.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "crypto/blake2s.h"
#include "crypto/init.h"
#include "crypto/secret.h"
#include "crypto/x25519.h"
#include "tests/lib/sanitized.h"
#include "tests/lib/scan.h"
#include "tests/lib/skip.h"
#include "uapi/grammar.h"
#include "uapi/reply.h"
#include "world.h"

/* Labels of secrets. Secrets of DERIVED may only ever be on a stack. */
#define PRIVATE	    "private key"
#define PSK	    "preshared key"
#define NEW_PRIVATE "the next private key"
#define NEW_PSK	    "the next preshared key"
#define HEX	    "key as text"
#define EPHEMERAL   "ephemeral key"
#define SHARED	    "secret of a key agreement"
#define CHAIN	    "chaining key"
#define DERIVED	    "derived key"
#define SESSION	    "session key"

enum {
	KEY_LEN = 32,
	HEX_LEN = 64,
	N_LABELS = 10, /* the labels above */
};

static bool is_catching;

bool __real_x25519_shared(uint8_t shared[X25519_LEN],
			  const uint8_t private_key[X25519_LEN],
			  const uint8_t public_key[X25519_LEN]);
bool __wrap_x25519_shared(uint8_t shared[X25519_LEN],
			  const uint8_t private_key[X25519_LEN],
			  const uint8_t public_key[X25519_LEN]);
void __real_blake2s_kdf(uint8_t out1[BLAKE2S_HASH_LEN],
			uint8_t out2[BLAKE2S_HASH_LEN],
			uint8_t out3[BLAKE2S_HASH_LEN],
			const uint8_t key[BLAKE2S_HASH_LEN], const void *in,
			size_t in_len);
void __wrap_blake2s_kdf(uint8_t out1[BLAKE2S_HASH_LEN],
			uint8_t out2[BLAKE2S_HASH_LEN],
			uint8_t out3[BLAKE2S_HASH_LEN],
			const uint8_t key[BLAKE2S_HASH_LEN], const void *in,
			size_t in_len);

bool __wrap_x25519_shared(uint8_t shared[X25519_LEN],
			  const uint8_t private_key[X25519_LEN],
			  const uint8_t public_key[X25519_LEN])
{
	bool is_good = __real_x25519_shared(shared, private_key, public_key);

	if (is_catching && is_good) {
		scan_remember(SHARED, shared, X25519_LEN);
		scan_remember(EPHEMERAL, private_key, X25519_LEN);
	}
	return is_good;
}

void __wrap_blake2s_kdf(uint8_t out1[BLAKE2S_HASH_LEN],
			uint8_t out2[BLAKE2S_HASH_LEN],
			uint8_t out3[BLAKE2S_HASH_LEN],
			const uint8_t key[BLAKE2S_HASH_LEN], const void *in,
			size_t in_len)
{
	/* Calls before the first key agreement have one output and involve no
	 * secret. */
	const bool has_secret = is_catching && out2;
	const bool is_last = has_secret && !in_len;

	if (has_secret)
		scan_remember(CHAIN, key, BLAKE2S_HASH_LEN);
	__real_blake2s_kdf(out1, out2, out3, key, in, in_len);
	if (!has_secret)
		return;
	scan_remember(is_last ? SESSION : CHAIN, out1, BLAKE2S_HASH_LEN);
	scan_remember(is_last ? SESSION : DERIVED, out2, BLAKE2S_HASH_LEN);
	if (out3)
		scan_remember(DERIVED, out3, BLAKE2S_HASH_LEN);
}

/* -------------------------------------------------------------- searching */

/* How often the secrets with a label were found by the last search. */
struct findings {
	const char *label;
	size_t n_inside; /* in memory for secrets */
	size_t n_outside;
};

static struct findings findings[N_LABELS];

static struct findings *findings_of(const char *label)
{
	size_t i = 0;

	while (i < N_LABELS && findings[i].label &&
	       strcmp(findings[i].label, label) != 0)
		i++;
	assert_true(i < N_LABELS);
	findings[i].label = label;
	return &findings[i];
}

static void found(void *arg, const struct scan_hit *hit)
{
	struct findings *f = findings_of(hit->label);

	(void)arg;
	if (hit->is_region) {
		f->n_inside++;
		return;
	}
	if (!f->n_outside++)
		print_message("# %s, from byte %zu, at %p in %s\n", hit->label,
			      hit->off, hit->addr, hit->where);
}

static void look(void)
{
	memset(findings, 0, sizeof(findings));
	/* At least the program's own data. The devices' memory is larger, but
	 * musl returns it to the kernel at once. */
	assert_true(scan_memory(found, NULL) > 1 << 18);
}

static void was_nowhere(const char *label)
{
	const struct findings *f = findings_of(label);

	if (f->n_inside || f->n_outside)
		fail_msg(
			"%s: %zu times inside, %zu times outside of its memory",
			label, f->n_inside, f->n_outside);
}

/* The secret is in use, and only in memory for secrets. */
static void was_inside(const char *label)
{
	const struct findings *f = findings_of(label);

	if (!f->n_inside)
		fail_msg("%s: not found, though it is in use", label);
	if (f->n_outside)
		fail_msg("%s: %zu times outside", label, f->n_outside);
}

/* Keys as text, and intermediate results, may be nowhere after a step. */
static void was_nothing_left(void)
{
	was_nowhere(HEX);
	was_nowhere(DERIVED);
}

static void was_nothing_at_all(void)
{
	for (size_t i = 0; i < N_LABELS && findings[i].label; i++)
		was_nowhere(findings[i].label);
}

/* -------------------------------------------------- a thread for the devices */

/* Steps run in the second thread, which keeps its stack between them. */
struct stage {
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	void (*step)(struct stage *stage);
	bool is_over;
	enum aead_choice choice;
	struct world *world;
	uint8_t public_keys[2][KEY_LEN];
};

static void *stage_main(void *arg)
{
	struct stage *s = arg;

	rcu_register();
	pthread_mutex_lock(&s->mutex);
	while (!s->is_over) {
		if (!s->step) {
			pthread_cond_wait(&s->changed, &s->mutex);
			continue;
		}
		s->step(s);
		s->step = NULL;
		pthread_cond_broadcast(&s->changed);
	}
	pthread_mutex_unlock(&s->mutex);
	rcu_unregister();
	return NULL;
}

static void run_step(struct stage *s, void (*step)(struct stage *stage))
{
	pthread_mutex_lock(&s->mutex);
	s->step = step;
	pthread_cond_broadcast(&s->changed);
	while (s->step)
		pthread_cond_wait(&s->changed, &s->mutex);
	pthread_mutex_unlock(&s->mutex);
}

/* ------------------------------------------------------- what the steps do */

static int parse_endpoint(struct device_endpoint *ep, const char *text)
{
	(void)ep;
	(void)text;
	return -1;
}

static int print_endpoint(const struct device_endpoint *ep, char *buf,
			  size_t cap)
{
	(void)ep;
	return snprintf(buf, cap, "192.0.2.1:1");
}

static const struct uapi_codec codec = { parse_endpoint, print_endpoint };

/* Make a random key, and remember it in binary and in the UAPI's notation. */
static void make_key(struct world *world, const char *label,
		     uint8_t key[KEY_LEN], char hex[HEX_LEN + 1])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < KEY_LEN; i++)
		key[i] = (uint8_t)(world_random(world) >> 40);
	if (!strcmp(label, NEW_PRIVATE))
		x25519_clamp(key);
	for (size_t i = 0; i < KEY_LEN; i++) {
		hex[2 * i] = digits[key[i] >> 4];
		hex[2 * i + 1] = digits[key[i] & 15];
	}
	hex[HEX_LEN] = 0;
	scan_remember(label, key, KEY_LEN);
	scan_remember(HEX, hex, HEX_LEN);
}

/* Configure a host by the text of a request, then wipe @text. */
static void configure(struct stage *s, unsigned int host, char *text,
		      size_t cap)
{
	struct uapi_parser *parser = uapi_parser_new(&codec);
	struct uapi_request request;
	size_t n_used;

	assert_non_null(parser);
	assert_int_equal(
		uapi_parser_push(parser, text, strlen(text), &n_used, &request),
		UAPI_E_REQUEST);
	assert_int_equal(request.error, 0);
	assert_int_equal(config_apply(request.config,
				      &s->world->hosts[host].device,
				      s->world->now),
			 0);
	config_free(request.config);
	uapi_parser_free(parser);
	secret_zero(text, cap);
}

/*
 * Make the device print its configuration, as for `wg show`, and wipe our
 * buffer.
 */
static void print_config(struct stage *s, unsigned int host)
{
	static char text[UAPI_REPLY_CAP * 4];
	struct uapi_reply reply;

	uapi_reply_init(&reply, &s->world->hosts[host].device, &codec);
	assert_true(uapi_reply_fill(&reply, text, sizeof(text)) > 0);
	assert_non_null(strstr(text, "private_key="));
	secret_zero(text, sizeof(text));
}

static void hex_of(char hex[HEX_LEN + 1], const uint8_t key[KEY_LEN])
{
	for (size_t i = 0; i < KEY_LEN; i++)
		snprintf(hex + 2 * i, 3, "%02x", key[i]);
}

/* Give both hosts the same new preshared key. */
static void change_psk(struct stage *s, const char *label)
{
	char hex[HEX_LEN + 1], peer[HEX_LEN + 1], text[512];
	uint8_t key[KEY_LEN];

	make_key(s->world, label, key, hex);
	for (unsigned int i = 0; i < 2; i++) {
		hex_of(peer, s->public_keys[1 - i]);
		snprintf(text, sizeof(text),
			 "set=1\npublic_key=%s\npreshared_key=%s\n\n", peer,
			 hex);
		configure(s, i, text, sizeof(text));
	}
	secret_zero(key, sizeof(key));
	secret_zero(hex, sizeof(hex));
}

static void change_private_key(struct stage *s, unsigned int host)
{
	char hex[HEX_LEN + 1], text[512];
	uint8_t key[KEY_LEN];

	make_key(s->world, NEW_PRIVATE, key, hex);
	snprintf(text, sizeof(text), "set=1\nprivate_key=%s\n\n", hex);
	configure(s, host, text, sizeof(text));
	secret_zero(key, sizeof(key));
	secret_zero(hex, sizeof(hex));
}

/* Wipe the world's copies of private keys: only the devices may have them. */
static void forget_own_copies(struct stage *s)
{
	for (unsigned int i = 0; i < 2; i++) {
		struct sim_host *host = &s->world->hosts[i];
		char hex[HEX_LEN + 1];

		scan_remember(PRIVATE, host->private_key, KEY_LEN);
		hex_of(hex, host->private_key);
		scan_remember(HEX, hex, HEX_LEN);
		secret_zero(hex, sizeof(hex));
		secret_zero(host->private_key, KEY_LEN);
	}
}

static void step_open(struct stage *s)
{
	s->world = world_new(20261122, 2);
	for (unsigned int i = 0; i < 2; i++) {
		struct sim_host *host = &s->world->hosts[i];

		memcpy(s->public_keys[i], host->public_key, KEY_LEN);
		aead_free(host->aead);
		host->aead = aead_new(s->choice);
		assert_non_null(host->aead);
	}
	forget_own_copies(s);
	change_psk(s, PSK);
	print_config(s, 0);
}

/* Host 0 makes an initiation, which is lost. */
static void step_initiate(struct stage *s)
{
	is_catching = true;
	s->world->is_cut = true;
	world_send(s->world, 0, 1);
	world_run(s->world, SIM_MSEC(1));
	s->world->is_cut = false;
	assert_int_equal(s->world->hosts[0].sent.initiations, 1);
}

/* Run until host 1 has answered the next initiation. */
static void step_respond(struct stage *s)
{
	while (!s->world->hosts[1].sent.responses)
		world_run(s->world, SIM_MSEC(1));
}

/* Run until the response has come and the staged packet has left. */
static void step_confirm(struct stage *s)
{
	while (!s->world->hosts[0].sent.data)
		world_run(s->world, SIM_MSEC(1));
}

static void step_talk(struct stage *s)
{
	size_t first = s->world->n_packets;

	world_stream(s->world, 0, 1, SIM_MSEC(200), SIM_SEC(150));
	world_stream(s->world, 1, 0, SIM_MSEC(300), SIM_SEC(150));
	/* This time has one renewal of the session, with a cookie. */
	s->world->hosts[1].is_loaded = true;
	world_run(s->world, SIM_SEC(152));
	assert_int_equal(world_count_arrived(s->world, first),
			 s->world->n_packets - first);
	is_catching = false;
}

static void step_idle(struct stage *s)
{
	world_run(s->world, SIM_SEC(3 * REJECT_AFTER_TIME + 60));
	rcu_drain();
	rcu_drain();
}

static void step_change_keys(struct stage *s)
{
	change_private_key(s, 0);
	change_private_key(s, 1);
	change_psk(s, NEW_PSK);
	print_config(s, 0);
	rcu_drain();
}

static void step_remove(struct stage *s)
{
	char peer[HEX_LEN + 1], text[512];

	for (unsigned int i = 0; i < 2; i++) {
		hex_of(peer, s->public_keys[1 - i]);
		snprintf(text, sizeof(text),
			 "set=1\nprivate_key=%064d\npublic_key=%s\n"
			 "remove=true\n\n",
			 0, peer);
		configure(s, i, text, sizeof(text));
	}
	rcu_drain();
	rcu_drain();
}

static void step_close(struct stage *s)
{
	world_free(s->world);
}

/* ------------------------------------------------------------------ tests */

/* Run a step, then search for what it has left. */
static void run_and_search(struct stage *s, void (*step)(struct stage *stage))
{
	run_step(s, step);
	look();
	was_nothing_left();
}

static void run(enum aead_choice choice)
{
	struct stage s = {
		.mutex = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
		.choice = choice,
	};

	scan_forget();
	assert_int_equal(pthread_create(&s.thread, NULL, stage_main, &s), 0);
	run_and_search(&s, step_open);
	was_inside(PRIVATE);
	was_inside(PSK);

	run_and_search(&s, step_initiate);
	was_inside(EPHEMERAL);
	was_inside(CHAIN);
	was_inside(SHARED); /* of the static keys */
	run_and_search(&s, step_respond);
	was_inside(SESSION);
	was_inside(CHAIN); /* of the initiator */
	run_and_search(&s, step_confirm);
	was_inside(SESSION);
	was_nowhere(CHAIN);
	was_nowhere(EPHEMERAL);

	run_and_search(&s, step_talk);
	assert_true(scan_count(SESSION) >= 4);
	assert_true(scan_count(EPHEMERAL) >= 4);
	assert_true(scan_count(CHAIN) >= 8);
	was_inside(SESSION);
	was_inside(SHARED);
	was_nowhere(CHAIN);
	was_nowhere(EPHEMERAL);

	run_and_search(&s, step_idle);
	was_nowhere(SESSION);
	was_inside(PSK);

	run_and_search(&s, step_change_keys);
	was_nowhere(SHARED);
	was_nowhere(PRIVATE);
	was_nowhere(PSK);
	was_inside(NEW_PRIVATE);
	was_inside(NEW_PSK);

	run_and_search(&s, step_remove);
	was_nothing_at_all();
	run_and_search(&s, step_close);
	was_nothing_at_all();
	pthread_mutex_lock(&s.mutex);
	s.is_over = true;
	pthread_cond_broadcast(&s.changed);
	pthread_mutex_unlock(&s.mutex);
	pthread_join(s.thread, NULL);
}

static void test_libsodium(void **state)
{
	(void)state;
	run(AEAD_SODIUM);
}

/* If the backend is not built in, or its library is not there, skip. */
static void run_if_there(enum aead_choice choice)
{
	struct aead *aead = aead_new(choice);

	aead_free(aead);
	if (!aead)
		print_message("# not built in, or not there\n");
	else
		run(choice);
}

static void test_ipsec_mb(void **state)
{
	(void)state;
	run_if_there(AEAD_IPSEC_MB);
}

static void test_ipsec_mb_avx2(void **state)
{
	(void)state;
	run_if_there(AEAD_IPSEC_MB_AVX2);
}

static void test_ipsec_mb_sse(void **state)
{
	(void)state;
	run_if_there(AEAD_IPSEC_MB_SSE);
}

static void test_libcrypto(void **state)
{
	(void)state;
	run_if_there(AEAD_LIBCRYPTO);
}

static void test_boringssl(void **state)
{
	(void)state;
	run_if_there(AEAD_BORINGSSL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_libsodium),
		cmocka_unit_test(test_libcrypto),
		cmocka_unit_test(test_boringssl),
		cmocka_unit_test(test_ipsec_mb),
		cmocka_unit_test(test_ipsec_mb_avx2),
		cmocka_unit_test(test_ipsec_mb_sse),
	};

#ifdef IS_SANITIZED
	skip_program("a sanitizer keeps copies of its own");
#endif
	if (crypto_init())
		return 77;
	rcu_register();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
