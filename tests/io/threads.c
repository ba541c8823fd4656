/* SPDX-License-Identifier: MIT */
/*
 * Several threads send through one socket, each with its own batch, datagrams and
 * trains, gathered and copied, while another reads counters and changes every
 * setting. In a second test one thread switches merging off at the moment when
 * another sends. No datagram is lost, changed or out of order. In a build with
 * ThreadSanitizer no data race is reported.
 */
#include <linux/filter.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "udpgather.h"

/* Threads, calls of each, datagrams of a call, bytes of a datagram. Choices. */
enum {
	SENDERS = 4,
	ROUNDS = 100,
	DGRAMS = 40,
	LEN = 300
};

struct sender {
	pthread_t thread;
	uint32_t number;
	struct ug_batch *batch;
	size_t sent;
};

static struct ug_socket *tx, *rx;
static struct ug_endpoint to;
static struct sender senders[SENDERS];
static atomic_bool stop;

/*
 * Stay on the CPU that the thread is on: datagrams that were sent from two
 * CPUs wait in two queues, and may swap places even over loopback.
 */
static void stay(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)sched_getcpu(), &set);
	assert_int_equal(sched_setaffinity(0, sizeof(set), &set), 0);
}

/* The bytes of a sender's call: each datagram in one piece, and the same behind its
 * first word once more, so that two vectors of it are not neighbours. */
struct round {
	uint32_t whole[DGRAMS][LEN / 4];
	uint32_t rest[DGRAMS][LEN / 4];
	struct iovec iov[2 * DGRAMS];
};

static void fill(struct round *r, uint32_t number, uint32_t first)
{
	for (uint32_t i = 0; i < DGRAMS; i++)
		for (size_t k = 0; k < LEN / 4; k++)
			r->whole[i][k] = r->rest[i][k] =
				number << 24 | (first + i);
}

/* Datagrams of @n_iov vectors: 1, or 2, which the library copies. */
static size_t send_datagrams(struct round *r, struct ug_batch *batch,
			     uint32_t n_iov)
{
	struct ug_datagram d[DGRAMS];
	int status[DGRAMS];

	for (size_t i = 0; i < DGRAMS; i++) {
		struct iovec *v = &r->iov[2 * i];

		v[0] = (struct iovec){ r->whole[i], n_iov == 1 ? LEN : 4 };
		v[1] = (struct iovec){ r->rest[i] + 1, LEN - 4 };
		d[i] = (struct ug_datagram){
			.iov = v,
			.n_iov = n_iov,
			.to = &to,
		};
	}
	return ug_send(tx, batch, NULL, d, DGRAMS, status, 5000);
}

static size_t send_train(struct round *r, struct ug_batch *batch)
{
	struct ug_train t = {
		.to = &to,
		.iov = r->iov,
		.n_iov = 1,
		.segment_len = LEN,
	};

	r->iov[0] = (struct iovec){ r->whole, sizeof(r->whole) };
	return ug_send_trains(tx, batch, &t, sizeof(t), 1, 5000);
}

static void *sender_main(void *arg)
{
	struct sender *s = arg;
	struct round r;

	stay();
	for (uint32_t round = 0; round < ROUNDS; round++) {
		fill(&r, s->number, round * DGRAMS);
		if (round % 3 == 0)
			s->sent += send_train(&r, s->batch);
		else
			s->sent += send_datagrams(&r, s->batch, round % 3);
	}
	return NULL;
}

static void *changer_main(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; !atomic_load(&stop); i++) {
		struct ug_send_stats stats;

		ug_set_segments(tx, i % 65);
		ug_network_changed(tx);
		ug_set_mark(tx, i % 2);
		ug_set_merging(rx, i % 2);
		ug_get_send_stats(senders[i % SENDERS].batch, &stats,
				  sizeof(stats));
		ug_get_segments(tx, AF_INET, NULL);
	}
	return NULL;
}

/* Receive all datagrams: whole, and in order for each sender. */
static void receive_all(void)
{
	uint32_t next[SENDERS] = { 0 };
	struct ug_receiver *rcv;
	struct ug_view views[64];
	size_t left = SENDERS * ROUNDS * DGRAMS;

	assert_int_equal(ug_receiver_new(&rcv, 16), 0);
	while (left) {
		int n = ug_receive(rcv, rx, AF_INET, views, 64, 5000);

		assert_true(n > 0);
		for (int i = 0; i < n; i++) {
			uint32_t words[LEN / 4];

			assert_int_equal(views[i].len, LEN);
			memcpy(words, views[i].data, LEN);
			uint32_t who = words[0] >> 24;

			assert_true(who < SENDERS);
			assert_int_equal(words[0] & 0xffffff, next[who]++);
			for (size_t k = 1; k < LEN / 4; k++)
				assert_int_equal(words[k], words[0]);
		}
		left -= (size_t)n;
	}
	ug_receiver_free(rcv);
}

static void many_senders(void **state)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.families = UG_IPV4_ONLY,
		/* Room for all that is sent, each datagram in a buffer of its
		 * own: the receiver may be kept from reading for a while. */
		.buffer_len = 64 << 20,
	};
	char text[UG_ENDPOINT_TEXT];
	pthread_t changer;

	(void)state;
	assert_int_equal(ug_open(&tx, &opt, NULL), 0);
	assert_int_equal(ug_open(&rx, &opt, NULL), 0);
	snprintf(text, sizeof(text), "127.0.0.1:%u", ug_port(rx));
	assert_int_equal(ug_endpoint_parse(&to, text), 0);
	for (uint32_t i = 0; i < SENDERS; i++) {
		senders[i].number = i;
		assert_int_equal(ug_batch_new(&senders[i].batch, 32), 0);
	}
	assert_int_equal(pthread_create(&changer, NULL, changer_main, NULL), 0);
	for (size_t i = 0; i < SENDERS; i++)
		assert_int_equal(pthread_create(&senders[i].thread, NULL,
						sender_main, &senders[i]),
				 0);
	receive_all();
	for (size_t i = 0; i < SENDERS; i++) {
		pthread_join(senders[i].thread, NULL);
		assert_int_equal(senders[i].sent, ROUNDS * DGRAMS);
	}
	/* This thread reads the batches' counters, so end it before they are
	 * freed. */
	atomic_store(&stop, true);
	pthread_join(changer, NULL);
	for (size_t i = 0; i < SENDERS; i++)
		ug_batch_free(senders[i].batch);
	ug_close(tx);
	ug_close(rx);
}

/* ------------------------------------------------------------------------
 * Merging is switched off between two steps of the kernel: it reads UDP_GRO,
 * and it puts a train into the queue. Between these steps the kernel runs the
 * socket's filter. The test attaches a slow filter. Without it, merging would
 * almost never be switched off between the two steps.
 */

enum {
	/* Instructions: see attach_slow_filter(). */
	FILTER_LEN = 1500,
	/* Trains, and datagrams of each. Choices. */
	RACES = 40,
	TRAIN = 30
};

static atomic_uint races_begun, races_sent;

/* The filter is as long as the kernel allows (net.core.optmem_max). */
static void attach_slow_filter(int fd)
{
	static struct sock_filter code[FILTER_LEN];
	struct sock_fprog program = { FILTER_LEN, code };

	code[0] = (struct sock_filter)BPF_STMT(BPF_LDX | BPF_IMM, 3);
	for (size_t i = 1; i < FILTER_LEN; i++)
		code[i] = (struct sock_filter)BPF_STMT(
			BPF_ALU | BPF_DIV | BPF_X, 0);
	for (; program.len > 2; program.len /= 2) {
		code[program.len - 1] = (struct sock_filter)BPF_STMT(
			BPF_RET | BPF_K, UINT16_MAX);
		if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program,
			       sizeof(program)) == 0)
			return;
	}
	fail_msg("no filter");
}

static void *racer_main(void *arg)
{
	static unsigned char payload[LEN];
	struct iovec iov = { payload, LEN };
	struct ug_datagram d[TRAIN];
	int status[TRAIN];

	for (size_t i = 0; i < TRAIN; i++)
		d[i] = (struct ug_datagram){ .iov = &iov, .n_iov = 1 };
	for (unsigned int race = 1; race <= RACES; race++) {
		while (atomic_load(&races_begun) < race)
			;
		ug_send(tx, arg, &to, d, TRAIN, status, 1000);
		atomic_store(&races_sent, race);
	}
	return NULL;
}

static void spend(unsigned int ns)
{
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while ((int64_t)(now.tv_sec - start.tv_sec) * 1000000000 + now.tv_nsec -
		       start.tv_nsec <
	       (int64_t)ns);
}

static void race(struct ug_receiver *rcv, unsigned int number)
{
	struct ug_view views[TRAIN];
	size_t got = 0;

	assert_int_equal(ug_set_merging(rx, true), 0);
	assert_int_equal(ug_receive(rcv, rx, AF_INET, views, TRAIN, 0), 0);
	atomic_store(&races_begun, number);
	/* The train takes about ten microseconds. */
	spend(number * 3000 / RACES * 10);
	assert_int_equal(ug_set_merging(rx, false), 0);
	while (atomic_load(&races_sent) < number)
		;
	while (got < TRAIN) {
		int n = ug_receive(rcv, rx, AF_INET, views, TRAIN, 5000);

		assert_true(n > 0);
		for (int i = 0; i < n; i++)
			assert_int_equal(views[i].len, LEN);
		got += (size_t)n;
	}
}

static void merging_race(void **state)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.families = UG_IPV4_ONLY,
	};
	char text[UG_ENDPOINT_TEXT];
	struct ug_receiver *rcv;
	struct ug_batch *batch;
	pthread_t racer;

	(void)state;
	assert_int_equal(ug_open(&tx, &opt, NULL), 0);
	assert_int_equal(ug_open(&rx, &opt, NULL), 0);
	attach_slow_filter(ug_fd(rx, AF_INET));
	snprintf(text, sizeof(text), "127.0.0.1:%u", ug_port(rx));
	assert_int_equal(ug_endpoint_parse(&to, text), 0);
	assert_int_equal(ug_batch_new(&batch, TRAIN), 0);
	assert_int_equal(ug_receiver_new(&rcv, 16), 0);
	assert_int_equal(pthread_create(&racer, NULL, racer_main, batch), 0);
	for (unsigned int i = 1; i <= RACES; i++)
		race(rcv, i);
	pthread_join(racer, NULL);
	ug_receiver_free(rcv);
	ug_batch_free(batch);
	ug_close(tx);
	ug_close(rx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_senders),
		cmocka_unit_test(merging_race),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
