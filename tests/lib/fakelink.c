/* SPDX-License-Identifier: MIT */
#include "tests/lib/fakelink.h"

#include <errno.h>
#include <string.h>

#include "tests/lib/check.h"

struct waiting {
	int fd;
	int64_t len; /* with FAKE_LINK_OVERHEAD for each of its datagrams */
};

struct link {
	struct ug_endpoint to;
	int64_t bytes_per_ms;
	int64_t sent_ms; /* when catch_up() was last called */
	int64_t credit;	 /* bytes that it could have sent and has not */
	struct waiting queue[FAKE_LINK_QUEUE];
	size_t first, n;
};

static struct link links[FAKE_LINKS];
static size_t n_links;
/* By descriptor, from FAKE_FD4 on. There are more places than descriptors. */
static int64_t charged[2 * FAKE_NEXT * FAKE_SOCKETS];

/* The bytes that are charged to a socket. */
static int64_t *charge_of(int fd)
{
	assert_in_range(fd - FAKE_FD4, 0, 2 * FAKE_NEXT * FAKE_SOCKETS - 1);
	return &charged[fd - FAKE_FD4];
}

void fake_link_reset(void)
{
	n_links = 0;
	memset(charged, 0, sizeof(charged));
}

void fake_link_add(const struct ug_endpoint *to, int64_t bytes_per_ms)
{
	struct link *l = &links[n_links++];

	assert_true(n_links <= FAKE_LINKS);
	l->to = *to;
	l->bytes_per_ms = bytes_per_ms;
	l->sent_ms = fake.now_ms;
	l->credit = 0;
	l->first = l->n = 0;
}

/* Take from the queue the messages that the link can have sent by now. */
static void catch_up(struct link *l)
{
	l->credit += (fake.now_ms - l->sent_ms) * l->bytes_per_ms;
	l->sent_ms = fake.now_ms;
	while (l->n && l->queue[l->first].len <= l->credit) {
		l->credit -= l->queue[l->first].len;
		*charge_of(l->queue[l->first].fd) -= l->queue[l->first].len;
		l->first = (l->first + 1) % FAKE_LINK_QUEUE;
		l->n--;
	}
	/* The time in which a link has nothing to send is lost. */
	if (!l->n)
		l->credit = 0;
}

int fake_link_outq(int fd)
{
	for (size_t k = 0; k < n_links; k++)
		catch_up(&links[k]);
	return (int)*charge_of(fd);
}

int fake_link_rule(const struct fake_message *m)
{
	size_t seg = m->segment_len ? m->segment_len : m->bytes;
	size_t cnt = seg ? (m->bytes + seg - 1) / seg : 1;
	int64_t len = (int64_t)(m->bytes + cnt * FAKE_LINK_OVERHEAD);

	if (fake_link_outq(m->fd) >= fake_option(m->fd, SOL_SOCKET, SO_SNDBUF))
		return EAGAIN;
	for (size_t k = 0; k < n_links; k++) {
		struct link *l = &links[k];

		if (ug_endpoint_compare(&l->to, &m->to))
			continue;
		assert_true(l->n < FAKE_LINK_QUEUE);
		l->queue[(l->first + l->n++) % FAKE_LINK_QUEUE] =
			(struct waiting){ .fd = m->fd, .len = len };
		*charge_of(m->fd) += len;
	}
	return 0;
}
