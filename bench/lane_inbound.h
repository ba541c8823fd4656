/* SPDX-License-Identifier: MIT */
/* The steps of inbound lanes, in memory: a part of bench-lane. */
#ifndef BENCH_LANE_INBOUND_H
#define BENCH_LANE_INBOUND_H

/**
 * struct lane_steps - the time of each step for a batch, in microseconds
 * @take:	one thread at a time
 * @work:	any number of threads
 * @commit:	one thread at a time
 * @write:	one thread at a time: writing to the TUN; 0: there is no such step
 * @shared:	the part of take and commit in which threads of other lanes wait
 */
struct lane_steps {
	double take, work, commit, write, shared;
};

struct aead;

/**
 * lane_inbound_run() - run inbound lanes in turn, by the calling thread
 * @n:		how many lanes, 1 to QUEUES_MAX; each has a peer of its own
 * @aead:	the cipher
 * @seconds:	for how long
 *
 * Return: the times of the steps.
 */
struct lane_steps lane_inbound_run(unsigned int n, struct aead *aead,
				   double seconds);

#endif /* BENCH_LANE_INBOUND_H */
