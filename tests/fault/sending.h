/* SPDX-License-Identifier: MIT */
/*
 * Shared by the tests of ug_send(): datagrams, and a socket over a kernel that
 * fails by rules. account() checks at the end of a test that a datagram was
 * taken once if its status says so, and never otherwise.
 */
#ifndef TESTS_FAULT_SENDING_H
#define TESTS_FAULT_SENDING_H

#include "tests/lib/fakesys.h"
#include "udpgather.h"

enum {
	/* Datagrams of a call: more than two windows of 128. */
	MOST = 300,
	/* Notices that are kept: more than any test causes. */
	NOTICES = 32
};

struct notice {
	enum ug_notice what;
	int err;
	int value;
	struct ug_endpoint ep;
};

extern struct iovec vectors[MOST];
extern struct ug_datagram dgrams[MOST];
extern int status[MOST];
extern size_t n_dgrams;
extern struct ug_socket *sock;
extern struct ug_batch *batch;
extern struct ug_endpoint ep_a, ep_b, ep_c, ep_d, ep_e, ep_six;
extern struct notice notices[NOTICES];
extern size_t n_notices;

/* sending_notice() - to be given to a socket with &notices: it keeps them */
void sending_notice(void *arg, enum ug_notice what,
		    const struct ug_endpoint *ep, int err, int value);

int sending_setup(void **state);
int sending_teardown(void **state);

/* open_anew() - open the socket anew, with these options and the test's notice function */
void open_anew(struct ug_options opt);

/* add() - append @n datagrams of @len bytes */
void add(const struct ug_endpoint *to, size_t n, size_t len);

/* account() - check the account, and that @sent datagrams were sent */
void account(size_t sent);

/* send_all() - send the datagrams, without a timeout, and account for them */
void send_all(size_t expected);

/* stats() - the batch's counters */
struct ug_send_stats stats(void);

/* expect_status() - the statuses of @n datagrams */
void expect_status(size_t first, size_t n, int expected);

#define SENDING_TEST(f) \
	cmocka_unit_test_setup_teardown(f, sending_setup, sending_teardown)

#endif /* TESTS_FAULT_SENDING_H */
