/* SPDX-License-Identifier: MIT */
/*
 * The throughput of a lane with several workers, in memory. The source copies a
 * super-packet of 64 KiB and cuts it, as the outbound lane does with packets of
 * the TUN. The workers seal. The sink copies the result, as the kernel would.
 * Runs with different numbers of workers alternate; the median of each counts.
 *
 * The first table is the time of each step with one worker. It bounds the gain
 * of more workers: only one of them takes at a time, and only one commits.
 *
 * With --sources, one thread runs 1, 2, 4 and 8 lanes in turn instead, as for so
 * many queues of the TUN and sockets of the port: outbound lanes that draw their
 * counters from one keypair (one peer), outbound lanes with a keypair each (many
 * peers), and inbound lanes with a peer each. The tables have the time of each step
 * for each number of lanes, and how many times as much as one thread so many lanes
 * carry at most with a number of cores. One peer has one inbound lane, whatever the
 * number of sockets; and of its messages less than 512 are on their way if there are
 * several outbound lanes, so no more than eight threads work on batches of 64.
 *
 * usage: bench-lane [--csv FILE] [--seconds S] [--rounds N] [WORKERS ...]
 *        bench-lane --sources [--seconds S] [--rounds N]
 */
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/lane_inbound.h"
#include "bench/measure.h"
#include "bench/super_packet.h"
#include "crypto/aead.h"
#include "crypto/init.h"
#include "engine/bounds.h"
#include "engine/lane.h"
#include "noise/keypair.h"
#include "noise/local.h"
#include "tun/segment.h"

enum {
	/* Batches of the lane. A choice: as many as workers. */
	SLOTS = 16,
	WORKERS_CAP = SLOTS,
	/* Bound of an array. */
	ROUNDS_CAP = 99,
	/* The header of a data message. */
	HEADER_LEN = 16,
	/* Up to 15 bytes of padding, and the tag of 16. */
	TAIL_LEN = 31,
	/* The MSS at an MTU of 1,420: 20 bytes of IPv4, and 32 of TCP with
	 * timestamps, are subtracted. */
	PAYLOAD = 1368,
	/* The most segments of this size that fit 65,535 bytes. */
	SUPER_LEN = 40 + 47 * PAYLOAD,
	SEGMENTS = 47,
	/* More than 47 messages need. A choice. */
	SLAB_LEN = 192 << 10,
	/* Threads that can have a batch of one peer, if there are several lanes. */
	PEER_THREADS = 512 / OUTBOUND_SHARED_MESSAGES,
};

/* A batch: one super-packet. */
struct slot {
	uint8_t packet[SUPER_LEN];
	uint8_t slab_bytes[SLAB_LEN];
	struct segment segs[SEGMENTS];
	struct segment_slab slab;
	struct aead_msg msgs[SEGMENTS];
	uint64_t first_counter;
};

/*
 * The state that the threads of one run share. Times are those of a single
 * worker.
 */
struct run {
	struct lane lane;
	uint64_t counter;
	uint8_t sink[SLAB_LEN];
	uint64_t n_batches;
	uint64_t expected;
	uint64_t take_ns, work_ns, commit_ns;
	bool is_timed;
};

struct worker {
	struct run *run;
	struct aead *aead;
	pthread_t thread;
};

static struct slot *slots[SLOTS];
static uint8_t super[SUPER_LEN];
static struct vnet_frame frame;
static const uint8_t key[AEAD_KEY_LEN] = { 1, 2, 3 };
static _Atomic bool is_over;

/* The thread's CPU time, which excludes other work on the machine. */
static uint64_t begin_time(const struct run *run)
{
	return run->is_timed ? bench_cpu_ns() : 0;
}

static void add_time(const struct run *run, uint64_t *sum, uint64_t since)
{
	if (run->is_timed)
		*sum += begin_time(run) - since;
}

static bool take(void *arg, void *slot_arg, void *context)
{
	struct slot *slot = slot_arg;
	struct segment_cursor cursor;
	struct run *run = arg;
	uint64_t since = begin_time(run);

	(void)context;
	if (atomic_load_explicit(&is_over, memory_order_relaxed))
		return false;
	memcpy(slot->packet, super, SUPER_LEN);
	slot->slab.used = 0;
	slot->slab.segs_cnt = 0;
	segment_begin(&cursor, slot->packet, &frame);
	slot->slab.stride = HEADER_LEN + PAYLOAD + 40 + AEAD_TAG_LEN;
	segment_cut(&cursor, &slot->slab);
	slot->first_counter = run->counter;
	run->counter += slot->slab.segs_cnt;
	add_time(run, &run->take_ns, since);
	return true;
}

static void work(void *arg, void *slot_arg, void *context)
{
	struct slot *slot = slot_arg;
	struct run *run = arg;
	uint64_t since = begin_time(run);
	unsigned int n = slot->slab.segs_cnt;

	for (unsigned int i = 0; i < n; i++)
		slot->msgs[i] = (struct aead_msg){
			.key = key,
			.counter = slot->first_counter + i,
			.text = slot->segs[i].data,
			.len = slot->segs[i].len,
		};
	aead_seal_batch(context, slot->msgs, n);
	add_time(run, &run->work_ns, since);
}

static void commit(void *arg, void *slot_arg, void *context)
{
	struct slot *slot = slot_arg;
	struct run *run = arg;
	uint64_t since = begin_time(run);

	(void)context;
	if (slot->first_counter != run->expected) {
		fprintf(stderr, "bench-lane: out of order\n");
		abort();
	}
	run->expected += slot->slab.segs_cnt;
	memcpy(run->sink, slot->slab_bytes, slot->slab.used);
	run->n_batches++;
	add_time(run, &run->commit_ns, since);
}

static const struct lane_ops ops = {
	.take = take,
	.work = work,
	.commit = commit,
};

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load_explicit(&is_over, memory_order_relaxed))
		if (lane_run(&w->run->lane, w->aead) != LANE_BUSY)
			sched_yield();
	return NULL;
}

/* Return: batches a second. */
static double run_once(struct run *run, enum aead_choice backend,
		       unsigned int n_workers, double seconds)
{
	struct worker workers[WORKERS_CAP];
	uint64_t start = bench_now_ns();
	struct timespec ts = {
		.tv_sec = (time_t)seconds,
		.tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9),
	};

	atomic_store(&is_over, false);
	lane_init(&run->lane, &ops, run, (void *const *)slots, SLOTS);
	run->n_batches = 0;
	run->counter = run->expected = 0;
	run->take_ns = run->work_ns = run->commit_ns = 0;
	for (unsigned int i = 0; i < n_workers; i++) {
		workers[i] = (struct worker){
			.run = run,
			.aead = aead_new(backend),
		};
		if (!workers[i].aead ||
		    pthread_create(&workers[i].thread, NULL, worker_main,
				   &workers[i])) {
			fprintf(stderr, "bench-lane: no threads\n");
			exit(1);
		}
	}
	nanosleep(&ts, NULL);
	atomic_store(&is_over, true);
	for (unsigned int i = 0; i < n_workers; i++) {
		pthread_join(workers[i].thread, NULL);
		aead_free(workers[i].aead);
	}
	return (double)run->n_batches * 1e9 / (double)(bench_now_ns() - start);
}

static void make_slots(void)
{
	for (int i = 0; i < SLOTS; i++) {
		slots[i] = calloc(1, sizeof(*slots[i]));
		if (!slots[i])
			abort();
		slots[i]->slab = (struct segment_slab){
			.base = slots[i]->slab_bytes,
			.cap = SLAB_LEN,
			.headroom = HEADER_LEN,
			.tailroom = TAIL_LEN,
			.segs = slots[i]->segs,
			.segs_cap = SEGMENTS,
		};
	}
}

/* The results of a backend. */
struct result {
	const char *name;
	enum aead_choice choice;
	double take_us, work_us, commit_us;
};

/* The upper bound of the speed-up over one worker. */
static double limit(const struct result *r, unsigned int cores)
{
	double all = r->take_us + r->work_us + r->commit_us;
	double serial = r->take_us > r->commit_us ? r->take_us : r->commit_us;
	double most = all / serial;

	return (double)cores < most ? (double)cores : most;
}

static void measure_steps(struct run *run, struct result *r, double seconds)
{
	run->is_timed = true;
	run_once(run, r->choice, 1, seconds);
	run->is_timed = false;
	double n = (double)run->n_batches * 1e3;

	r->take_us = (double)run->take_ns / n;
	r->work_us = (double)run->work_ns / n;
	r->commit_us = (double)run->commit_ns / n;
}

/* ---------------------------------------------------------------- sources */

/*
 * A lane of several, run by one thread.
 * @kp:	where counters are drawn if there are several; NULL: there is one
 */
struct source {
	struct lane lane;
	struct slot *slot;
	struct noise_keypair *kp;
	uint64_t counter;
	uint64_t take_ns, work_ns, commit_ns;
	uint64_t n_batches;
	uint8_t sink[SLAB_LEN];
};

static struct source sources[QUEUES_MAX];

static bool source_take(void *arg, void *slot_arg, void *context)
{
	struct slot *slot = slot_arg;
	struct source *s = arg;
	struct run same = { .counter = s->counter };
	uint64_t since = bench_cpu_ns();
	size_t n;

	/* The same work as of a single lane. */
	if (!take(&same, slot, context))
		return false;
	n = slot->slab.segs_cnt;
	s->counter = same.counter;
	if (s->kp &&
	    noise_keypair_reserve_near(s->kp, &n, &slot->first_counter))
		abort();
	s->take_ns += bench_cpu_ns() - since;
	return true;
}

static void source_work(void *arg, void *slot_arg, void *context)
{
	struct run same = { .is_timed = false };
	struct source *s = arg;
	uint64_t since = bench_cpu_ns();

	work(&same, slot_arg, context);
	s->work_ns += bench_cpu_ns() - since;
}

static void source_commit(void *arg, void *slot_arg, void *context)
{
	struct slot *slot = slot_arg;
	struct source *s = arg;
	uint64_t since = bench_cpu_ns();
	size_t n = slot->slab.segs_cnt;

	(void)context;
	if (s->kp && !noise_keypair_begin_send(s->kp, slot->first_counter, n))
		abort();
	memcpy(s->sink, slot->slab_bytes, slot->slab.used);
	if (s->kp)
		noise_keypair_end_send(s->kp, slot->first_counter, n);
	s->n_batches++;
	s->commit_ns += bench_cpu_ns() - since;
}

static const struct lane_ops source_ops = {
	.take = source_take,
	.work = source_work,
	.commit = source_commit,
};

/* The time that a batch keeps the keypair from threads of other lanes. Measured
 * without a clock in between, which would take longer. */
static double measure_shared(struct noise_keypair *kp)
{
	enum {
		TIMES = 20000
	};
	uint64_t since = bench_cpu_ns(), first;

	for (int i = 0; i < TIMES; i++) {
		size_t n = SEGMENTS;

		if (noise_keypair_reserve_near(kp, &n, &first) ||
		    !noise_keypair_begin_send(kp, first, n))
			abort();
		noise_keypair_end_send(kp, first, n);
	}
	return (double)(bench_cpu_ns() - since) / TIMES / 1e3;
}

/* Run @n lanes in turn for some seconds. @kps: as many keypairs as there are peers. */
static struct lane_steps run_outbound(unsigned int n,
				      struct noise_keypair *const *kps,
				      unsigned int n_peers, struct aead *aead,
				      double seconds)
{
	uint64_t end = bench_now_ns() + (uint64_t)(seconds * 1e9);
	struct lane_steps sum = { 0 };
	double batches = 0;

	atomic_store(&is_over, false);
	for (unsigned int i = 0; i < n; i++) {
		memset(&sources[i], 0, offsetof(struct source, sink));
		sources[i].slot = slots[i];
		sources[i].kp = n > 1 ? kps[i % n_peers] : NULL;
		lane_init(&sources[i].lane, &source_ops, &sources[i],
			  (void *const *)&slots[i], 1);
	}
	while (bench_now_ns() < end)
		for (unsigned int i = 0; i < n; i++)
			lane_run(&sources[i].lane, aead);
	for (unsigned int i = 0; i < n; i++) {
		sum.take += (double)sources[i].take_ns;
		sum.work += (double)sources[i].work_ns;
		sum.commit += (double)sources[i].commit_ns;
		batches += (double)sources[i].n_batches;
	}
	batches *= 1e3;
	return (struct lane_steps){
		.take = sum.take / batches,
		.work = sum.work / batches,
		.commit = sum.commit / batches,
		.shared = n > 1 && n_peers == 1 ? measure_shared(kps[0]) : 0,
	};
}

/* The loads whose steps are measured. */
enum load {
	OUTBOUND_ONE, /* outbound, one peer */
	OUTBOUND_MANY,
	INBOUND_MANY,
	LOADS,
};

static const char *const load_names[] = {
	"outbound, one peer",
	"outbound, a peer for each lane",
	"inbound, a peer for each lane",
};

/* How many times as much as one thread @n lanes carry at most. */
static double limit_of(const struct lane_steps *s, enum load load,
		       unsigned int n, unsigned int cores)
{
	double all = s->take + s->work + s->commit + s->write;
	double serial = s->take > s->commit ? s->take : s->commit;
	double most;

	if (s->write > serial)
		serial = s->write;
	most = n * all / serial;

	if (s->shared > 0 && all / s->shared < most)
		most = all / s->shared;
	if (load == OUTBOUND_ONE && n > 1 && most > PEER_THREADS)
		most = PEER_THREADS;
	return (double)cores < most ? (double)cores : most;
}

static void fill(void *arg, void *buf, size_t len)
{
	(void)arg;
	memset(buf, 7, len);
}

static double median_of(const struct lane_steps *rounds, size_t n,
			size_t member)
{
	double values[ROUNDS_CAP];

	for (size_t i = 0; i < n; i++)
		memcpy(&values[i], (const char *)&rounds[i] + member,
		       sizeof(values[i]));
	return bench_median(values, (unsigned int)n);
}

static struct lane_steps median_steps(const struct lane_steps *rounds, size_t n)
{
	return (struct lane_steps){
		.take = median_of(rounds, n, offsetof(struct lane_steps, take)),
		.work = median_of(rounds, n, offsetof(struct lane_steps, work)),
		.commit = median_of(rounds, n,
				    offsetof(struct lane_steps, commit)),
		.write = median_of(rounds, n,
				   offsetof(struct lane_steps, write)),
		.shared = median_of(rounds, n,
				    offsetof(struct lane_steps, shared)),
	};
}

static const unsigned int lane_counts[] = { 1, 2, 4, QUEUES_MAX };
static struct lane_steps rounds_of[LOADS][ARRAY_LEN(lane_counts)][ROUNDS_CAP];

static void print_table(enum load load, unsigned int n_rounds)
{
	static const unsigned int cores[] = { 4, 8, 16, 64 };

	printf("| %s: lanes | take | work | commit | write | shared |",
	       load_names[load]);
	for (size_t c = 0; c < ARRAY_LEN(cores); c++)
		printf(" %u cores |", cores[c]);
	printf("\n");
	for (size_t i = 0; i < ARRAY_LEN(lane_counts); i++) {
		struct lane_steps s =
			median_steps(rounds_of[load][i], n_rounds);

		printf("| %u | %.1f | %.1f | %.1f | %.1f | %.3f |",
		       lane_counts[i], s.take, s.work, s.commit, s.write,
		       s.shared);
		for (size_t c = 0; c < ARRAY_LEN(cores); c++)
			printf(" %.1f |",
			       limit_of(&s, load, lane_counts[i], cores[c]));
		printf("\n");
	}
	printf("\n");
}

static void print_sources(double seconds, unsigned int n_rounds)
{
	static const struct noise_ops noise_ops = { .random = fill };
	struct noise_keypair *kps[QUEUES_MAX];
	struct noise_local local;
	struct aead *aead = aead_new(AEAD_BEST);

	if (!aead || crypto_init() < 0 ||
	    noise_local_init(&local, &noise_ops, NULL) < 0)
		exit(1);
	for (size_t i = 0; i < ARRAY_LEN(kps); i++) {
		kps[i] = noise_keypair_new(&local);
		if (!kps[i])
			exit(1);
	}
	/* Rounds with different numbers of lanes alternate. */
	for (unsigned int r = 0; r < n_rounds; r++)
		for (size_t i = 0; i < ARRAY_LEN(lane_counts); i++) {
			unsigned int n = lane_counts[i];

			rounds_of[OUTBOUND_ONE][i][r] =
				run_outbound(n, kps, 1, aead, seconds);
			rounds_of[OUTBOUND_MANY][i][r] =
				run_outbound(n, kps, n, aead, seconds);
			rounds_of[INBOUND_MANY][i][r] =
				lane_inbound_run(n, aead, seconds);
		}
	for (enum load load = 0; load < LOADS; load++)
		print_table(load, n_rounds);
	for (size_t i = 0; i < ARRAY_LEN(kps); i++)
		noise_keypair_put(kps[i]);
	noise_local_deinit(&local);
	aead_free(aead);
}

/* -------------------------------------------------------------- arguments */

struct arguments {
	bool has_sources;
	const char *csv;
	double seconds;
	unsigned int rounds;
	unsigned int n_counts;
	unsigned int counts[WORKERS_CAP];
};

static void parse(struct arguments *a, int argc, char **argv)
{
	static const struct option options[] = {
		{ "csv", required_argument, NULL, 'c' },
		{ "seconds", required_argument, NULL, 's' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "sources", no_argument, NULL, 'S' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	*a = (struct arguments){ .seconds = 0.5, .rounds = 5 };
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'c')
			a->csv = optarg;
		else if (c == 's')
			a->seconds = atof(optarg);
		else if (c == 'r')
			a->rounds = (unsigned int)atoi(optarg);
		else if (c == 'S')
			a->has_sources = true;
		else
			exit(2);
	}
	for (; optind < argc && a->n_counts < WORKERS_CAP; optind++)
		a->counts[a->n_counts++] = (unsigned int)atoi(argv[optind]);
	if (!a->n_counts) {
		a->n_counts = 2;
		a->counts[0] = 1;
		a->counts[1] = 2;
	}
	for (unsigned int i = 0; i < a->n_counts; i++)
		if (!a->counts[i] || a->counts[i] > WORKERS_CAP)
			exit(2);
	if (a->seconds <= 0 || !a->rounds || a->rounds > ROUNDS_CAP)
		exit(2);
}

static void print_backend(struct run *run, const struct arguments *a,
			  struct result *r, FILE *csv)
{
	static double rates[WORKERS_CAP][ROUNDS_CAP];
	static const unsigned int cores[] = { 2, 4, 8, 16, 64 };

	measure_steps(run, r, a->seconds);
	for (unsigned int round = 0; round < a->rounds; round++)
		for (unsigned int i = 0; i < a->n_counts; i++)
			rates[i][round] = run_once(run, r->choice, a->counts[i],
						   a->seconds);
	printf("| %s | take %.1f, work %.1f, commit %.1f us |", r->name,
	       r->take_us, r->work_us, r->commit_us);
	double base = 0;

	for (unsigned int i = 0; i < a->n_counts; i++) {
		double rate = bench_median(rates[i], a->rounds);

		base = i ? base : rate;
		printf(" %u: %.2f Gbit/s, %.2f times |", a->counts[i],
		       rate * SUPER_LEN * 8 / 1e9, rate / base);
		if (csv)
			fprintf(csv, "%s,%u,%.3f,%.3f,%.2f,%.2f,%.2f\n",
				r->name, a->counts[i],
				rate * SUPER_LEN * 8 / 1e9, rate / base,
				r->take_us, r->work_us, r->commit_us);
	}
	printf(" limit:");
	for (size_t i = 0; i < ARRAY_LEN(cores); i++)
		printf(" %u: %.1f", cores[i], limit(r, cores[i]));
	printf(" |\n");
}

int main(int argc, char **argv)
{
	static struct result backends[] = {
		{ .name = "libsodium", .choice = AEAD_SODIUM },
		{ .name = "best", .choice = AEAD_BEST },
	};
	static struct run run;
	struct arguments a;
	FILE *csv = NULL;

	parse(&a, argc, argv);
	super_packet_make(super, SUPER_LEN, IP_PROTO_TCP, PAYLOAD, &frame);
	make_slots();
	if (a.has_sources) {
		print_sources(a.seconds, a.rounds);
		return 0;
	}
	if (a.csv) {
		csv = fopen(a.csv, "w");
		if (!csv) {
			perror(a.csv);
			return 1;
		}
		fprintf(csv, "backend,workers,gbit_s,ratio,take_us,work_us,"
			     "commit_us\n");
	}
	for (size_t i = 0; i < ARRAY_LEN(backends); i++)
		print_backend(&run, &a, &backends[i], csv);
	if (csv)
		fclose(csv);
	return 0;
}
