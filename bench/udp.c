/* SPDX-License-Identifier: MIT */
/*
 * bench-udp - what it costs to send batches of UDP datagrams
 *
 *	bench-udp loopback|veth SLICE_MS ROUNDS [SIZE BATCH [hot|cold [HEADER]]]
 *
 * Prints CSV, a line for each slice; udp.py makes tables of it. SIZE and BATCH
 * measure one row alone, such as under perf(1), with HEADER bytes of a datagram in a
 * vector of their own. Needs root: it makes its own
 * network namespaces (net.h).
 *
 * The ways to send are in udp_sender.h, the receiver in udp_receiver.h. The
 * sender is pinned to the last core that we may use, the receiver to the first.
 *
 * A row is one size of datagram, one size of batch, payload that is in the cache or
 * not, and one length of header. In each of ROUNDS rounds
 * the ways of a row take turns, a slice of SLICE_MS milliseconds each. So a
 * disturbance that lasts longer than a round affects all ways alike, and the
 * ratio of two ways within a round is valid even if their times are not. A way
 * finds the caches and the kernel's pools as the previous one left them.
 * Therefore every way follows every other way once within eight rounds.
 *
 * The clock is CLOCK_THREAD_CPUTIME_ID of the sending thread. On loopback and
 * over veth this time covers both stacks up to the queue of the receiving
 * socket, because the sender's core does all of that work. It does not include
 * time in which the sender waits for the receiver.
 *
 * A slice ends when its last datagram has arrived, so "wall_ns" is the time of
 * delivery, and no datagram of a slice is left for the next one.
 */
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "bench/udp_receiver.h"
#include "bench/measure.h"
#include "bench/net.h"
#include "bench/udp_sender.h"

/* The rows: sizes and batches, cold, with a header, for each. */
static const unsigned int all_sizes[] = { 64, 128, 256, 512, 1200, 1452, 8192 };
static const unsigned int header_sizes[] = { 128, 512, 1200, 1452 };
static const unsigned int all_batches[] = { 1, 8, 64 };

/**
 * struct kind - rows that are measured alike
 * @cold:	payload is not in the cache
 * @header_len:	bytes in a vector of their own
 * @sizes:	sizes of datagrams
 * @n_sizes:	how many
 * @batches:	sizes of batches
 * @n_batches:	how many
 */
struct kind {
	bool cold;
	size_t header_len;
	const unsigned int *sizes;
	size_t n_sizes;
	const unsigned int *batches;
	size_t n_batches;
};

static const struct kind all_kinds[] = {
	{ false, 0, all_sizes, ARRAY_LEN(all_sizes), all_batches, 3 },
	{ true, 0, all_sizes, ARRAY_LEN(all_sizes), all_batches + 2, 1 },
	{ false, 16, header_sizes, ARRAY_LEN(header_sizes), all_batches + 2,
	  1 },
	{ true, 16, header_sizes, ARRAY_LEN(header_sizes), all_batches + 2, 1 },
};

enum {
	/* Bounds of the arguments. Choices. */
	MAX_SLICE_MS = 10000,
	MAX_ROUNDS = 1000,
	MAX_CPU = CPU_SETSIZE
};

/**
 * struct plan - what to measure
 * @path:	"loopback" or "veth"
 * @slice_ns:	length of a slice
 * @n_rounds:	rounds in a row
 * @size:	the only size to measure, or 0 for all rows
 * @batch:	the only size of batch
 * @cold:	see struct kind
 * @header_len:	see struct kind
 */
struct plan {
	const char *path;
	uint64_t slice_ns;
	unsigned int n_rounds;
	unsigned int size;
	unsigned int batch;
	bool cold;
	size_t header_len;
};

/**
 * struct row - one row while it is measured
 * @plan:	the plan
 * @net:	the path
 * @receiver:	the receiver
 * @sender:	the sender
 * @window:	datagrams that may be on the way at once
 * @kind:	how it is measured
 * @size:	bytes of a datagram
 * @batch:	datagrams in a batch
 */
struct row {
	const struct plan *plan;
	const struct net *net;
	struct udp_receiver *receiver;
	struct udp_sender *sender;
	uint64_t window;
	const struct kind *kind;
	unsigned int size;
	unsigned int batch;
};

/**
 * struct slice - one slice while it is measured, and its result
 * @way:	how to send
 * @before:	what @way had done before
 * @arrived_before: what had come before
 * @cpu_ns:	CPU time of the sending thread
 * @wall_ns:	time until everything had come
 */
struct slice {
	enum way way;
	struct udp_sender_counts before;
	uint64_t arrived_before;
	uint64_t cpu_ns;
	uint64_t wall_ns;
};

static uint64_t arrived(const struct row *row)
{
	/* Pairs with the receiver's store when it has read a message. */
	return atomic_load_explicit(&row->receiver->n_arrived,
				    memory_order_acquire);
}

/**
 * window_wait() - wait until the receiver has read enough
 * @row:	the row
 * @target:	number of datagrams that must have come
 * @cpu_ns:	the CPU time of the wait is added
 *
 * Return: false if the rest is lost.
 */
static bool window_wait(const struct row *row, uint64_t target,
			uint64_t *cpu_ns)
{
	uint64_t start_ns = bench_cpu_ns();
	bool came = udp_receiver_wait(row->receiver, target);

	*cpu_ns += bench_cpu_ns() - start_ns;
	return came;
}

/* Send until the slice is over; see struct slice. */
static int slice_send(const struct row *row, struct slice *slice)
{
	/* The clock is read once per 64 datagrams: with batches of one, reading
	 * it each time would show in the figures. */
	const unsigned int n_looks = 64 / row->batch ? 64 / row->batch : 1;
	uint64_t wall_ns = bench_now_ns();
	uint64_t cpu_ns = bench_cpu_ns();
	uint64_t waited_ns = 0;
	uint64_t n = 0;
	bool came = true;
	int err = 0;

	while (came && bench_now_ns() - wall_ns < row->plan->slice_ns) {
		for (unsigned int i = 0; i < n_looks && came && !err; i++) {
			err = udp_sender_send(row->sender, slice->way);
			n += row->batch;
			if (n >
			    arrived(row) - slice->arrived_before + row->window)
				came = window_wait(row,
						   slice->arrived_before + n -
							   row->window / 2,
						   &waited_ns);
		}
		if (err)
			return err;
	}
	slice->cpu_ns = bench_cpu_ns() - cpu_ns - waited_ns;
	udp_receiver_wait(row->receiver, slice->arrived_before + n);
	slice->wall_ns = bench_now_ns() - wall_ns;
	return 0;
}

static void slice_print(const struct row *row, const struct slice *slice,
			unsigned int round)
{
	struct udp_sender_counts now =
		udp_sender_get_counts(row->sender, slice->way);

	printf("%s,%zu,%s,%zu,%u,%u,%u,%s,%llu,%llu,%llu,%llu,%llu,%llu,%llu\n",
	       row->plan->path, row->net->mtu, row->kind->cold ? "cold" : "hot",
	       row->kind->header_len, row->size, row->batch, round,
	       way_name(slice->way),
	       (unsigned long long)(now.asked - slice->before.asked),
	       (unsigned long long)(now.sent - slice->before.sent),
	       (unsigned long long)(arrived(row) - slice->arrived_before),
	       (unsigned long long)(now.calls - slice->before.calls),
	       (unsigned long long)(now.messages - slice->before.messages),
	       (unsigned long long)slice->cpu_ns,
	       (unsigned long long)slice->wall_ns);
}

/*
 * The @i-th way of a round, from the rows of a Williams square: in it each of
 * an even number of ways follows each other way once.
 */
static enum way way_at(unsigned int i, unsigned int round)
{
	static const unsigned int first_row[N_WAYS] = {
		0, 1, 7, 2, 6, 3, 5, 4
	};

	return (enum way)((first_row[i] + round) % N_WAYS);
}

/* Run one slice of each way; the result of round 0 is not printed. */
static int round_run(const struct row *row, unsigned int round)
{
	for (unsigned int i = 0; i < N_WAYS; i++) {
		struct slice slice = { .way = way_at(i, round) };
		int err;

		slice.before = udp_sender_get_counts(row->sender, slice.way);
		slice.arrived_before = arrived(row);
		err = slice_send(row, &slice);
		if (err) {
			fprintf(stderr, "bench-udp: %s of %u bytes: %s\n",
				way_name(slice.way), row->size, strerror(-err));
			return err;
		}
		if (round > 0)
			slice_print(row, &slice, round);
	}
	return 0;
}

static int row_run(const struct plan *plan, const struct net *net,
		   struct udp_receiver *receiver, const struct kind *kind,
		   unsigned int size, unsigned int batch)
{
	struct plan warm = *plan;
	struct row row = { .plan = plan,
			   .net = net,
			   .receiver = receiver,
			   .kind = kind,
			   .size = size,
			   .batch = batch,
			   .window = udp_receiver_window(receiver, size) };
	const struct udp_sender_plan what = { .to = receiver->address,
					      .mtu = net->mtu,
					      .size = size,
					      .n = batch,
					      .cold = kind->cold,
					      .header_len = kind->header_len };
	int err;

	atomic_store_explicit(&receiver->size, size, memory_order_relaxed);
	err = udp_sender_new(&row.sender, &what);
	if (err)
		return err;
	/* Round 0 warms the caches and lets the library learn the path. */
	warm.slice_ns = 1000000;
	row.plan = &warm;
	err = round_run(&row, 0);
	row.plan = plan;
	for (unsigned int i = 1; !err && i <= plan->n_rounds; i++)
		err = round_run(&row, i);
	udp_sender_free(row.sender);
	/* The reader of our output shows a row as soon as it is complete. */
	if (!err && fflush(stdout) == EOF)
		err = -errno;
	return err;
}

static int kind_run(const struct plan *plan, const struct net *net,
		    struct udp_receiver *receiver, const struct kind *kind)
{
	int err = 0;

	for (size_t i = 0; !err && i < kind->n_sizes; i++)
		for (size_t k = 0; !err && k < kind->n_batches; k++)
			err = row_run(plan, net, receiver, kind, kind->sizes[i],
				      kind->batches[k]);
	return err;
}

static int rows_run(const struct plan *plan, const struct net *net,
		    struct udp_receiver *receiver)
{
	const struct kind one = { plan->cold, plan->header_len, &plan->size,
				  1,	      &plan->batch,	1 };
	int err = 0;

	printf("path,mtu,memory,header,size,batch,round,way,asked,sent,arrived,"
	       "calls,messages,cpu_ns,wall_ns\n");
	if (plan->size)
		return kind_run(plan, net, receiver, &one);
	for (size_t i = 0; !err && i < ARRAY_LEN(all_kinds); i++)
		err = kind_run(plan, net, receiver, &all_kinds[i]);
	return err;
}

/**
 * cores_choose() - pin the calling thread, and say where to pin the other
 *
 * Return: the receiver's core or -errno.
 */
static int cores_choose(void)
{
	cpu_set_t set;
	int first = -1;
	int last = -1;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return -errno;
	for (int cpu = 0; cpu < MAX_CPU; cpu++) {
		if (!CPU_ISSET((size_t)cpu, &set))
			continue;
		if (first < 0)
			first = cpu;
		last = cpu;
	}
	if (first == last)
		fprintf(stderr, "bench-udp: one core only: the receiver takes "
				"turns with the sender\n");
	CPU_ZERO(&set);
	CPU_SET((size_t)last, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		return -errno;
	return first;
}

static int bench(const struct plan *plan)
{
	struct net net;
	struct udp_receiver receiver;
	int receiver_cpu;
	int err;

	err = strcmp(plan->path, "veth") == 0 ? net_init_veth(&net)
					      : net_init_loopback(&net);
	if (err)
		return err;
	receiver_cpu = cores_choose();
	if (receiver_cpu < 0)
		return receiver_cpu;
	err = net_enter(net.receiver_ns);
	if (err)
		return err;
	err = udp_receiver_start(&receiver, &net.receiver, receiver_cpu);
	if (err)
		return err;
	err = net_enter(net.sender_ns);
	if (!err)
		err = rows_run(plan, &net, &receiver);
	udp_receiver_stop(&receiver);
	if (!err)
		err = atomic_load_explicit(&receiver.err, memory_order_relaxed);
	if (atomic_load_explicit(&receiver.n_odd, memory_order_relaxed) > 0) {
		fprintf(stderr, "bench-udp: datagrams of a wrong size came\n");
		err = -EBADMSG;
	}
	return err;
}

/* A number of 1 to @max, or 0. */
static unsigned int number(const char *text, unsigned int max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	return *end == '\0' && n <= max ? (unsigned int)n : 0;
}

static bool plan_parse(struct plan *plan, int argc, char **argv)
{
	if (argc < 4 || argc > 8 || argc == 5)
		return false;
	plan->path = argv[1];
	plan->slice_ns = number(argv[2], MAX_SLICE_MS) * UINT64_C(1000000);
	plan->n_rounds = number(argv[3], MAX_ROUNDS);
	plan->size = argc > 4 ? number(argv[4], SENDER_MAX_SIZE) : 0;
	plan->batch = argc > 4 ? number(argv[5], SENDER_MAX_BATCH) : 0;
	plan->cold = argc > 6 && strcmp(argv[6], "cold") == 0;
	plan->header_len = argc > 7 ? number(argv[7], SENDER_MAX_SIZE) : 0;
	return (strcmp(plan->path, "loopback") == 0 ||
		strcmp(plan->path, "veth") == 0) &&
	       plan->slice_ns > 0 && plan->n_rounds > 0 &&
	       (argc <= 4 || (plan->size > 0 && plan->batch > 0)) &&
	       (argc <= 6 || plan->cold || strcmp(argv[6], "hot") == 0) &&
	       (plan->header_len < plan->size || !plan->header_len);
}

int main(int argc, char **argv)
{
	struct plan plan;
	int err;

	if (!plan_parse(&plan, argc, argv)) {
		fprintf(stderr, "usage: bench-udp loopback|veth SLICE_MS "
				"ROUNDS [SIZE BATCH [hot|cold [HEADER]]]\n");
		return 2;
	}
	err = bench(&plan);
	if (err) {
		fprintf(stderr, "bench-udp: %s\n", strerror(-err));
		return 1;
	}
	return 0;
}
