/* SPDX-License-Identifier: MIT */
/*
 * A window and its messages, for the tests of ug_coalesce(). Results are
 * compared as text. The text of a message is the lengths of its vectors in
 * brackets, then "/" and the segment size if it has one. Two messages: "[2,1]/2
 * [2]".
 */
#ifndef TESTS_UNIT_UDPGATHER_WORLD_H
#define TESTS_UNIT_UDPGATHER_WORLD_H

#include "udpgather/coalesce.h"

/* Choices: large enough for all windows here. */
enum {
	WINDOW = 256,
	IOV = 4096,
	MEMORY = 1 << 22,
	TEXT = 1 << 16
};

/* A window, and the messages that were made of it. */
struct bench {
	struct ug_datagram dgrams[WINDOW];
	struct item items[WINDOW];
	int status[WINDOW];
	struct iovec vectors[IOV];
	size_t n;
	size_t n_vectors;
	struct coalesce_job job;
	struct messages m;
	struct mmsghdr msgs[WINDOW];
	struct message_space spaces[WINDOW];
	struct train trains[WINDOW];
	struct iovec iov[IOV];
	char text[TEXT];
};

extern struct bench bench;
extern unsigned char memory[MEMORY];
extern struct path_table *paths;
extern struct ug_endpoint v4[4], v6[2];

/* For cmocka_run_group_tests(). */
int setup(void **state);
int teardown(void **state);

/* window() - an empty window of a family */
void window(int family);

/* vector() - append a vector to the datagram that is being made */
void vector(size_t off, size_t len);

/* done() - end the datagram that is being made */
struct ug_datagram *done(void);

/* datagram() - a datagram of one vector that touches no other one in memory */
struct ug_datagram *datagram(size_t len);

/* segment_len() - the segment size of a message; 0: none */
size_t segment_len(const struct msghdr *h);

/* render() - coalesce the window, and write the result as text */
const char *render(void);

#endif /* TESTS_UNIT_UDPGATHER_WORLD_H */
