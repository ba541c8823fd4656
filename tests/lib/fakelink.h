/* SPDX-License-Identifier: MIT */
/*
 * Links behind the kernel of fakesys.h. Each has a rate and an unlimited queue.
 * Waiting datagrams are charged to the send buffer of their socket, as in the
 * real kernel. A socket takes a message while less than its buffer is in use;
 * otherwise it returns EAGAIN. A test sets fake.rule to fake_link_rule(), or to
 * a rule that calls it, and fake.outq_of to fake_link_outq(). The links read
 * the time from fake.now_ms.
 */
#ifndef TESTS_LIB_FAKELINK_H
#define TESTS_LIB_FAKELINK_H

#include "tests/lib/fakesys.h"

enum {
	/* More than any test adds. */
	FAKE_LINKS = 16,
	/* So many messages that no test fills a queue; an assertion fails if
	 * one does. A choice, not measured. */
	FAKE_LINK_QUEUE = 1 << 16,
	/*
	 * Bytes that are charged for a datagram besides its own. They stand for
	 * the kernel's bookkeeping. A choice, not measured.
	 */
	FAKE_LINK_OVERHEAD = 768
};

/* fake_link_reset() - remove all links, so that everything leaves at once */
void fake_link_reset(void);

/* fake_link_add() - add the link to an endpoint, with its rate */
void fake_link_add(const struct ug_endpoint *to, int64_t bytes_per_ms);

int fake_link_rule(const struct fake_message *m);
int fake_link_outq(int fd);

#endif /* TESTS_LIB_FAKELINK_H */
