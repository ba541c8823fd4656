/* SPDX-License-Identifier: MIT */
/*
 * Links behind the kernel of fakesys.h. Each has a rate and an unlimited queue.
 * Waiting datagrams are charged to the send buffer of their socket, as in the
 * real kernel: a socket takes a message while less than its buffer is in use,
 * and otherwise returns EAGAIN. Use fake_link_rule() as fake.rule, or call it
 * there, and fake_link_outq() as fake.outq_of. Time is fake.now_ms.
 */
#ifndef TESTS_LIB_FAKELINK_H
#define TESTS_LIB_FAKELINK_H

#include "tests/lib/fakesys.h"

enum {
	FAKE_LINKS = 16,
	FAKE_LINK_QUEUE = 1 << 16,
	/* Buffer space that a datagram takes besides its bytes. */
	FAKE_LINK_OVERHEAD = 768
};

/* fake_link_reset() - remove all links, so that everything leaves at once */
void fake_link_reset(void);

/* fake_link_add() - add the link to an endpoint, with its rate */
void fake_link_add(const struct ug_endpoint *to, int64_t bytes_per_ms);

int fake_link_rule(const struct fake_message *m);
int fake_link_outq(int fd);

#endif /* TESTS_LIB_FAKELINK_H */
