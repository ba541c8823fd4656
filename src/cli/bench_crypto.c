/* SPDX-License-Identifier: MIT */
/*
 * Measures each backend with messages of several lengths, in one call and one
 * by one. A backend that cannot run on this machine is left out.
 */
#include "cli/bench_crypto.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/now.h"
#include "crypto/aead.h"
#include "crypto/blake2s.h"
#include "crypto/x25519.h"

enum {
	/* Messages that a super-packet of 64 KiB becomes. */
	BATCH = 47,
	/* Bytes of the longest text, and of the memory for a text. Choices:
	 * the tag of AEAD_TAG_LEN bytes fits, too. */
	MAX_LEN = 8192,
	SLOT_LEN = MAX_LEN + 64,
	/* Calls of each primitive of a handshake in a round. Choices, not
	 * measured. There are more calls of the hash, because it is short. */
	SHARED_CALLS = 2,
	HASH_CALLS = 100,
	/* Bytes that are hashed: one block of BLAKE2s. */
	HASH_LEN = 64
};

/* No round begins after this time. A choice: a user waits for the result. */
#define TIME_LIMIT_NS (5 * NSEC_PER_SEC)

/* Bytes of a text. A full packet at the default MTU has 1420. The others are
 * choices. */
static const uint32_t sizes[] = { 64, 128, 256, 512, 1024, 1420, MAX_LEN };

enum {
	SIZES = ARRAY_LEN(sizes)
};

/* The ways to seal and to open: all messages in one call, or each in a call of
 * its own. */
enum mode {
	SEAL_BATCH,
	OPEN_BATCH,
	SEAL_ALONE,
	OPEN_ALONE,
	MODES
};

static const struct {
	const char *title;
	const char *word;
	int messages;
} modes[MODES] = {
	[SEAL_BATCH] = { "seal, 47 messages", "seal", BATCH },
	[OPEN_BATCH] = { "open, 47 messages", "open", BATCH },
	[SEAL_ALONE] = { "seal, one message", "seal", 1 },
	[OPEN_ALONE] = { "open, one message", "open", 1 },
};

/* Times in nanoseconds, one for each round. */
struct series {
	uint32_t ns[BENCH_CRYPTO_ROUNDS];
};

/*
 * struct bench - the whole measurement
 * @rounds:	how many were run
 * @aead:	contexts by choice; NULL: cannot be measured
 * @best:	the choices that AEAD_BEST stands for here, by mode
 * @msgs:	messages in @texts
 * @times:	times of messages
 * @shared:	times of x25519_shared()
 * @hash:	times of blake2s_hash()
 */
struct bench {
	int rounds;
	struct aead *aead[AEAD_CHOICES];
	enum aead_choice best[MODES];
	struct aead_msg msgs[BATCH];
	struct series times[AEAD_CHOICES][SIZES][MODES];
	struct series shared;
	struct series hash;
	uint8_t texts[BATCH][SLOT_LEN];
};

static const uint8_t key[AEAD_KEY_LEN] = { 1, 2, 3 };

static uint64_t cpu_now(void)
{
	return now_read(CLOCK_THREAD_CPUTIME_ID);
}

static void prepare_messages(struct bench *b, uint32_t len)
{
	for (size_t i = 0; i < BATCH; i++)
		b->msgs[i] = (struct aead_msg){
			.key = key,
			.counter = i,
			.text = b->texts[i],
			.len = len,
		};
}

/*
 * Call the modes in their order: messages are sealed before they are opened.
 * Returns how many were authentic, for the modes that open.
 */
static size_t run(struct bench *b, struct aead *aead, enum mode mode)
{
	size_t n = 0;

	switch (mode) {
	case SEAL_BATCH:
		aead_seal_batch(aead, b->msgs, BATCH);
		break;
	case OPEN_BATCH:
		return aead_open_batch(aead, b->msgs, BATCH);
	case SEAL_ALONE:
		for (size_t i = 0; i < BATCH; i++)
			aead_seal_batch(aead, &b->msgs[i], 1);
		break;
	default:
		for (size_t i = 0; i < BATCH; i++)
			n += aead_open_batch(aead, &b->msgs[i], 1);
		break;
	}
	return n;
}

/* Returns -EBADMSG if the backend cannot open what it has sealed. */
static int time_modes(struct bench *b, struct aead *aead, struct series *times,
		      int round)
{
	for (int mode = 0; mode < MODES; mode++) {
		bool opens = mode == OPEN_BATCH || mode == OPEN_ALONE;
		uint64_t start = cpu_now();
		size_t n = run(b, aead, (enum mode)mode);

		times[mode].ns[round] = (uint32_t)((cpu_now() - start) / BATCH);
		if (opens && n != BATCH)
			return -EBADMSG;
	}
	return 0;
}

/* One round of the primitives that a handshake is made of. */
static void time_primitives(struct bench *b, int round)
{
	uint8_t public_key[X25519_LEN], out[X25519_LEN];
	uint8_t hash[BLAKE2S_HASH_LEN] = { 0 }, in[HASH_LEN] = { 0 };
	uint64_t start;

	x25519_public(public_key, key);
	start = cpu_now();
	for (int i = 0; i < SHARED_CALLS; i++)
		(void)x25519_shared(out, key, public_key);
	b->shared.ns[round] = (uint32_t)((cpu_now() - start) / SHARED_CALLS);
	start = cpu_now();
	for (int i = 0; i < HASH_CALLS; i++) {
		blake2s_hash(hash, in, sizeof(in), NULL, 0);
		memcpy(in, hash, sizeof(hash));
	}
	b->hash.ns[round] = (uint32_t)((cpu_now() - start) / HASH_CALLS);
}

/* Run all rounds, or as many as there is time for; at least one. */
static int measure(struct bench *b, int rounds)
{
	uint64_t start = now_read(CLOCK_MONOTONIC);
	int err = 0;

	for (int round = 0; round < rounds && err == 0; round++) {
		if (round && now_read(CLOCK_MONOTONIC) - start > TIME_LIMIT_NS)
			break;
		for (size_t s = 0; s < SIZES; s++) {
			prepare_messages(b, sizes[s]);
			for (int c = 0; c < AEAD_CHOICES && err == 0; c++)
				if (b->aead[c])
					err = time_modes(b, b->aead[c],
							 b->times[c][s], round);
		}
		time_primitives(b, round);
		b->rounds = round + 1;
	}
	return err;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static unsigned int median(const struct bench *b, struct series *series)
{
	qsort(series->ns, (size_t)b->rounds, sizeof(series->ns[0]), compare);
	return series->ns[b->rounds / 2];
}

static void print_table(struct bench *b, FILE *out, enum mode mode)
{
	fprintf(out, "%-19s", modes[mode].title);
	for (size_t s = 0; s < SIZES; s++)
		fprintf(out, "%7u", sizes[s]);
	fputc('\n', out);
	for (int c = 0; c < AEAD_CHOICES; c++) {
		if (!b->aead[c])
			continue;
		fprintf(out, "%c %-17s", c == (int)b->best[mode] ? '*' : ' ',
			aead_get_word((enum aead_choice)c));
		for (size_t s = 0; s < SIZES; s++)
			fprintf(out, "%7u", median(b, &b->times[c][s][mode]));
		fputc('\n', out);
	}
	fputc('\n', out);
}

static void print_text(struct bench *b, FILE *out)
{
	fputs("CPU time of a message, ns, by bytes of text; *: chosen here "
	      "(one message:\nif it is small)\n\n",
	      out);
	for (int mode = 0; mode < MODES; mode++)
		print_table(b, out, (enum mode)mode);
	for (int c = 0; c < AEAD_CHOICES; c++)
		if (c != AEAD_BEST && !b->aead[c])
			fprintf(out,
				"%s: not built in, or not for this machine\n",
				aead_get_word((enum aead_choice)c));
	fprintf(out, "X25519: %u ns; BLAKE2s of %d bytes: %u ns\n",
		median(b, &b->shared), HASH_LEN, median(b, &b->hash));
}

static void print_csv(struct bench *b, FILE *out)
{
	fputs("name,chosen,bytes,what,messages,ns\n", out);
	for (int c = 0; c < AEAD_CHOICES; c++)
		for (size_t s = 0; s < SIZES && b->aead[c]; s++)
			for (int mode = 0; mode < MODES; mode++)
				fprintf(out, "%s,%d,%u,%s,%d,%u\n",
					aead_get_word((enum aead_choice)c),
					c == (int)b->best[mode], sizes[s],
					modes[mode].word, modes[mode].messages,
					median(b, &b->times[c][s][mode]));
	fprintf(out, "x25519,1,%d,shared,1,%u\n", X25519_LEN,
		median(b, &b->shared));
	fprintf(out, "blake2s,1,%d,hash,1,%u\n", HASH_LEN, median(b, &b->hash));
}

/*
 * Keep a backend if it can run here. The first batch replaces a backend that
 * cannot run, so the name changes.
 */
static void open_choice(struct bench *b, enum aead_choice choice)
{
	struct aead *aead = aead_new(choice);
	const char *before;

	if (!aead)
		return;
	before = aead_get_name(aead);
	aead_seal_batch(aead, NULL, 0);
	if (strcmp(before, aead_get_name(aead)) != 0)
		aead_free(aead);
	else
		b->aead[choice] = aead;
}

/* The choice that a name belongs to. */
static enum aead_choice find_named(const struct bench *b, const char *name)
{
	for (int c = AEAD_BEST + 1; c < AEAD_CHOICES; c++)
		if (b->aead[c] && !strcmp(aead_get_name(b->aead[c]), name))
			return (enum aead_choice)c;
	return AEAD_BEST;
}

/* Find the backends that AEAD_BEST stands for here. */
static int find_best(struct bench *b)
{
	struct aead *aead = aead_new(AEAD_BEST);

	if (!aead)
		return -ENOMEM;
	aead_seal_batch(aead, NULL, 0);
	for (int mode = 0; mode < MODES; mode++)
		b->best[mode] =
			find_named(b, modes[mode].messages > 1
					      ? aead_get_name(aead)
					      : aead_get_small_name(aead));
	aead_free(aead);
	return 0;
}

int bench_crypto(FILE *out, bool is_csv, int rounds)
{
	struct bench *b = calloc(1, sizeof(*b));
	int err;

	if (!b)
		return -ENOMEM;
	for (int c = AEAD_BEST + 1; c < AEAD_CHOICES; c++)
		open_choice(b, (enum aead_choice)c);
	err = find_best(b);
	if (err == 0)
		err = measure(b, rounds);
	if (err == 0 && is_csv)
		print_csv(b, out);
	else if (err == 0)
		print_text(b, out);
	for (int c = 0; c < AEAD_CHOICES; c++)
		aead_free(b->aead[c]);
	free(b);
	return err;
}
