/* SPDX-License-Identifier: MIT */
/*
 * The backend on intel-ipsec-mb, for x86-64.
 *
 * A message is computed while its job is submitted, one job after another.
 * Measured with version 1.3, the burst calls are no faster, and the direct
 * calls are 20 % slower at 1,420 bytes. A manager costs 200 KiB. The first
 * manager of a process costs 3.7 MiB and 6 ms, because the library tests
 * itself. So a manager is made at the first batch.
 *
 * The library takes 12 MiB on disk. It is not linked, but loaded if it is
 * chosen, before the process isolates itself. If the library is missing,
 * another backend is chosen. Its version must be that of the headers, because
 * the headers define the layout of a manager and of a job.
 */
#include "crypto/aead_backend.h"

#include <cpuid.h>
#include <intel-ipsec-mb.h>
#include <string.h>

#include "base/assert.h"
#include "base/code.h"
#include "crypto/library.h"
#include "crypto/secret.h"

/* The functions that are called. The members of `lib` have their names. */
#define FUNCTIONS(F)        \
	F(alloc_mb_mgr)     \
	F(free_mb_mgr)      \
	F(init_mb_mgr_auto) \
	F(init_mb_mgr_avx2) \
	F(init_mb_mgr_sse)  \
	F(imb_get_version)  \
	F(imb_get_errno)

#define DECLARE(name) __typeof__(name) *name;

/* The functions of the library, once it is loaded. */
static struct {
	FUNCTIONS(DECLARE)
} lib;

#define SYMBOL(name) { #name, &lib.name },
static const struct library_symbol symbols[] = { FUNCTIONS(SYMBOL) };

static struct library library = {
	.name = IPSEC_MB_SONAME,
	.symbols = symbols,
	.n_symbols = ARRAY_LEN(symbols),
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

static bool load(void)
{
	return library_get(&library);
}

static void unload(void)
{
	library_put(&library);
}

/*
 * Code for AVX-IFMA came with version 1.4 of the library (its folder
 * lib/avx2_t3). CPUID reports AVX-IFMA in leaf 7, subleaf 1, bit 23 of EAX
 * (Intel, "Architecture Instruction Set Extensions"). GCC 12 has no name for it.
 */
static bool has_avx_ifma(void)
{
	unsigned int a, b, c, d;

	return __builtin_cpu_supports("avx2") &&
	       __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 23 & 1);
}

static bool load_for_avx_ifma(void)
{
	if (!has_avx_ifma() || !load())
		return false;
	if (lib.imb_get_version() >= IMB_VERSION(1, 4, 0))
		return true;
	unload();
	return false;
}

/*
 * The state of one batch, on the stack. It is wiped at the end of the batch.
 *
 * The implementation for AVX2 reads 16 bytes behind the key (version 1.3, seen
 * with a guard page), and a key may stand at the end of its page. So the key is
 * copied into a larger buffer, once for each run of messages with one key.
 *
 * The implementation for SSE reads up to 15 bytes behind the text, at many
 * lengths from 145 on (version 1.3, seen with a guard page; mended in 2.0.2).
 * It does not write there. The tag stands behind the text and has 16 bytes, so
 * these reads stay within the message.
 *
 * @mgr:	manager; no job is under way in it
 * @key_of:	the key that @key is a copy of; NULL if none
 * @key:	the key, and room behind it: 48 bytes are needed, rounded up to
 *		a cache line
 */
struct run {
	IMB_MGR *mgr;
	const uint8_t *key_of;
	_Alignas(64) uint8_t key[64];
};

static void run_init(struct run *run, IMB_MGR *mgr)
{
	run->mgr = mgr;
	run->key_of = NULL;
	memset(run->key, 0, sizeof(run->key));
}

/*
 * Wipe the key, and the copies of it that the library leaves on the stack
 * (its implementation for SSE does).
 */
static void run_deinit(struct run *run)
{
	secret_zero(run, sizeof(*run));
	secret_wipe_stack();
}

static void run_take_key(struct run *run, const uint8_t *key)
{
	if (run->key_of == key)
		return;
	memcpy(run->key, key, AEAD_KEY_LEN);
	run->key_of = key;
}

/*
 * @tag is the computed tag. The tag is that of the encrypted text in both
 * directions.
 */
static void compute(struct run *run, const struct aead_msg *m, uint8_t *tag,
		    IMB_CIPHER_DIRECTION dir)
{
	/* The nonce has 12 bytes, but some implementations read 16. */
	_Alignas(16) uint8_t iv[16] = { 0 };
	struct aead_nonce nonce = aead_nonce_make(m->counter);
	IMB_JOB *job = IMB_GET_NEXT_JOB(run->mgr);

	run_take_key(run, m->key);
	memcpy(iv, &nonce, sizeof(nonce));
	job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
	job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
	job->cipher_direction = dir;
	job->chain_order = dir == IMB_DIR_ENCRYPT ? IMB_ORDER_CIPHER_HASH
						  : IMB_ORDER_HASH_CIPHER;
	job->enc_keys = run->key;
	job->dec_keys = run->key;
	job->key_len_in_bytes = AEAD_KEY_LEN;
	job->src = m->text;
	job->dst = m->text;
	job->cipher_start_src_offset_in_bytes = 0;
	job->hash_start_src_offset_in_bytes = 0;
	job->msg_len_to_cipher_in_bytes = m->len;
	job->msg_len_to_hash_in_bytes = m->len;
	job->iv = iv;
	job->iv_len_in_bytes = sizeof(nonce);
	job->auth_tag_output = tag;
	job->auth_tag_output_len_in_bytes = AEAD_TAG_LEN;
	job->u.CHACHA20_POLY1305.aad = NULL;
	job->u.CHACHA20_POLY1305.aad_len_in_bytes = 0;

	job = IMB_SUBMIT_JOB_NOCHECK(run->mgr);
	/* If this did not hold, plain text could be sent. */
	INVARIANT(job && job->status == IMB_STATUS_COMPLETED);
}

static void seal_batch(void *ctx, struct aead_msg *msgs, size_t n)
{
	struct run run;

	run_init(&run, ctx);
	for (size_t i = 0; i < n; i++)
		compute(&run, &msgs[i], msgs[i].text + msgs[i].len,
			IMB_DIR_ENCRYPT);
	run_deinit(&run);
}

/* The library decrypts forged messages, too, so their text is wiped here. */
static size_t open_batch(void *ctx, struct aead_msg *msgs, size_t n)
{
	uint8_t tag[AEAD_TAG_LEN];
	size_t n_good = 0;
	struct run run;

	run_init(&run, ctx);
	for (size_t i = 0; i < n; i++) {
		struct aead_msg *m = &msgs[i];

		compute(&run, m, tag, IMB_DIR_DECRYPT);
		m->is_authentic =
			secret_equal(tag, m->text + m->len, sizeof(tag));
		if (!m->is_authentic)
			memset(m->text, 0, m->len);
		n_good += m->is_authentic;
	}
	run_deinit(&run);
	return n_good;
}

/*
 * @init chooses the implementation. Returns NULL if memory is short, the
 * machine lacks instructions, or the library's own test fails.
 */
static void *ctx_open(void (*init)(IMB_MGR *mgr))
{
	IMB_MGR *mgr = lib.alloc_mb_mgr(0);

	if (!mgr)
		return NULL;
	init(mgr);
	if (lib.imb_get_errno(mgr) != 0 || !mgr->get_next_job ||
	    !mgr->submit_job_nocheck)
		goto err_free_mgr;
#ifdef IMB_FEATURE_SELF_TEST
	if ((mgr->features & IMB_FEATURE_SELF_TEST) &&
	    !(mgr->features & IMB_FEATURE_SELF_TEST_PASS))
		goto err_free_mgr;
#endif
	/* The library's own test has made all of its code resident. These are
	 * 3.5 MiB, of which we use little. */
	code_release((const void *)(uintptr_t)lib.init_mb_mgr_auto);
	return mgr;

err_free_mgr:
	lib.free_mb_mgr(mgr);
	return NULL;
}

static void init_best(IMB_MGR *mgr)
{
	lib.init_mb_mgr_auto(mgr, NULL);
}

static void *ctx_open_best(void)
{
	return ctx_open(init_best);
}

static void *ctx_open_avx2(void)
{
	/* Version 1.3 of the library does not check the processor. An
	 * instruction that the processor lacks would end the process. */
	if (!__builtin_cpu_supports("avx2") ||
	    !__builtin_cpu_supports("bmi2") || !__builtin_cpu_supports("aes"))
		return NULL;
	return ctx_open(lib.init_mb_mgr_avx2);
}

static void *ctx_open_sse(void)
{
	if (!__builtin_cpu_supports("sse4.2") ||
	    !__builtin_cpu_supports("aes") || !__builtin_cpu_supports("pclmul"))
		return NULL;
	return ctx_open(lib.init_mb_mgr_sse);
}

static void ctx_close(void *ctx)
{
	lib.free_mb_mgr(ctx);
}

const struct aead_backend aead_ipsec_mb = {
	.name = "intel-ipsec-mb",
	.load = load,
	.unload = unload,
	.open_ctx = ctx_open_best,
	.close_ctx = ctx_close,
	.seal = seal_batch,
	.open = open_batch,
};

/* The library itself chooses its code for AVX-IFMA where the processor has it. */
const struct aead_backend aead_ipsec_mb_avx_ifma = {
	.name = "intel-ipsec-mb (AVX-IFMA)",
	.load = load_for_avx_ifma,
	.unload = unload,
	.open_ctx = ctx_open_avx2,
	.close_ctx = ctx_close,
	.seal = seal_batch,
	.open = open_batch,
};

const struct aead_backend aead_ipsec_mb_avx2 = {
	.name = "intel-ipsec-mb (AVX2)",
	.load = load,
	.unload = unload,
	.open_ctx = ctx_open_avx2,
	.close_ctx = ctx_close,
	.seal = seal_batch,
	.open = open_batch,
};

const struct aead_backend aead_ipsec_mb_sse = {
	.name = "intel-ipsec-mb (SSE)",
	.load = load,
	.unload = unload,
	.open_ctx = ctx_open_sse,
	.close_ctx = ctx_close,
	.seal = seal_batch,
	.open = open_batch,
};
