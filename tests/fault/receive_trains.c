/* SPDX-License-Identifier: MIT */
/*
 * ug_receive_trains(), ug_receiver_info() and ug_receiver_why() over a kernel that
 * delivers the messages of a table, into slots and into buffers.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "tests/lib/fakesys.h"
#include "udpgather/open.h"

enum {
	/* Messages of a receiver. A choice: fewer than a call may have entries. */
	SLOTS = 6,
	/* A choice. */
	ENTRIES = 8,
	/* A choice: room for a short train. */
	BUFFER_LEN = 3000,
	ALL = UG_WANT_TIME | UG_WANT_TTL | UG_WANT_DESTINATION,
};

/* A message to deliver, or an errno instead. */
struct coming {
	int fd; /* 0: the IPv4 socket */
	int err;
	size_t len;
	int segment_len;
	int flags;
	bool bad_control;
};

static struct coming queue[300];
static size_t n_queue, next_in_queue;
static bool may_come;	     /* else the sockets are empty */
static size_t n_reads;	     /* calls that found nothing */
static unsigned int asked;   /* messages that the last call had room for */
static short reported;	     /* by a poll(2) that sleeps */
static int poll_errno;	     /* of a poll(2) that sleeps */
static short reported_later; /* by a poll(2) that does not sleep */
static struct ug_socket *sock;
static struct ug_receiver *rcv;
static struct ug_received got[ENTRIES];
static unsigned char memory[ENTRIES][BUFFER_LEN];

static void put(struct msghdr *h, int level, int type, const void *value,
		size_t len)
{
	struct cmsghdr head = {
		.cmsg_level = level,
		.cmsg_type = type,
		.cmsg_len = CMSG_LEN(len),
	};
	unsigned char *at = (unsigned char *)h->msg_control + h->msg_controllen;

	memcpy(at, &head, sizeof(head));
	memcpy(at + CMSG_LEN(0), value, len);
	h->msg_controllen += CMSG_SPACE(len);
}

/* Message number @number came at second @number, with TTL 60, to a group. */
static void bring_control(struct msghdr *h, const struct coming *c, bool v4,
			  uint32_t number)
{
	struct in_pktinfo info = {
		.ipi_ifindex = 3,
		.ipi_spec_dst = { htonl(0x0a000009) },
		.ipi_addr = { htonl(0xef010203) },
	};
	struct in6_pktinfo info6 = {
		.ipi6_addr = { { { 0xff, 2, [15] = 9 } } },
		.ipi6_ifindex = 4,
	};
	struct timespec t = { .tv_sec = (time_t)number, .tv_nsec = 7 };
	uint8_t tos = 0x2e;
	int ttl = 60, tclass = 0x2e;

	h->msg_controllen = 0;
	put(h, SOL_SOCKET, SCM_TIMESTAMPNS, &t, sizeof(t));
	if (v4) {
		put(h, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
		put(h, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl));
		put(h, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	} else {
		put(h, IPPROTO_IPV6, IPV6_PKTINFO, &info6, sizeof(info6));
		put(h, IPPROTO_IPV6, IPV6_HOPLIMIT, &ttl, sizeof(ttl));
		put(h, IPPROTO_IPV6, IPV6_TCLASS, &tclass, sizeof(tclass));
	}
	if (c->segment_len)
		put(h, IPPROTO_UDP, UDP_GRO, &c->segment_len,
		    sizeof(c->segment_len));
	if (c->bad_control)
		((struct cmsghdr *)h->msg_control)->cmsg_len = 3;
}

static void bring(const struct coming *c, struct mmsghdr *m, bool v4,
		  uint32_t number)
{
	static unsigned char bytes[65535];
	struct msghdr *h = &m->msg_hdr;
	struct ug_endpoint from;
	size_t cap = h->msg_iov->iov_len;

	/* Slots have their full size, also after a call with buffers. */
	assert_true(cap == 65535 || cap <= BUFFER_LEN);
	assert_int_equal(h->msg_iovlen, 1);
	assert_int_equal(h->msg_controllen, sizeof(struct control_space));
	ug_endpoint_parse(&from, v4 ? "10.0.0.1:7" : "[fd00::1]:7");
	memcpy(h->msg_name, &from.addr, sizeof(from.addr));
	h->msg_namelen = v4 ? sizeof(from.addr.v4) : sizeof(from.addr.v6);
	fake_payload(bytes, c->len, number);
	memcpy(h->msg_iov->iov_base, bytes, size_min(c->len, cap));
	m->msg_len = (unsigned int)size_min(c->len, cap);
	h->msg_flags = c->flags | (c->len > cap ? MSG_TRUNC : 0);
	bring_control(h, c, v4, number);
}

static int receive_rule(int fd, struct mmsghdr *msgs, unsigned int n)
{
	unsigned int done = 0;

	asked = n;
	while (may_come && done < n && next_in_queue < n_queue) {
		const struct coming *c = &queue[next_in_queue];

		if ((c->fd ? c->fd : FAKE_FD4) != fd || (c->err && done))
			break;
		next_in_queue++;
		if (c->err)
			return -c->err;
		bring(c, &msgs[done++], fake_family(fd) == AF_INET,
		      (uint32_t)(next_in_queue - 1));
	}
	n_reads += !done;
	return done ? (int)done : -EAGAIN;
}

static int poll_rule(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	may_come = true;
	for (nfds_t i = 0; i < n; i++)
		fds[i].revents = i ? 0 : reported;
	if (poll_errno) {
		errno = poll_errno;
		return -1;
	}
	fake.now_ms += reported && (timeout_ms < 0 || timeout_ms > 10)
			       ? 10
			       : timeout_ms;
	return reported != 0;
}

static short ready_rule(int fd)
{
	return fd == FAKE_FD4 ? reported_later : 0;
}

static void open_wanting(uint32_t want)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.want = want,
		.side_sockets = 1,
	};

	assert_int_equal(ug_socket_open_with(&fake_sys, &sock, &opt, NULL), 0);
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	fake.receive = receive_rule;
	fake.poll = poll_rule;
	fake.ready = ready_rule;
	n_queue = next_in_queue = n_reads = 0;
	may_come = true;
	reported = POLLIN;
	reported_later = 0;
	poll_errno = 0;
	open_wanting(ALL);
	memset(got, 0, sizeof(got));
	return ug_receiver_new(&rcv, SLOTS);
}

static int teardown(void **state)
{
	(void)state;
	ug_receiver_free(rcv);
	ug_close(sock);
	return 0;
}

static void come(struct coming c)
{
	assert_true(n_queue < ARRAY_LEN(queue));
	queue[n_queue++] = c;
}

static struct ug_receive_stats stats(void)
{
	struct ug_receive_stats s;

	ug_get_receive_stats(rcv, &s, sizeof(s));
	return s;
}

static int take(int family, size_t n, int timeout_ms)
{
	return ug_receive_trains(rcv, sock, family, got, sizeof(got[0]), n,
				 timeout_ms);
}

/* Give each entry a buffer. */
static void give_buffers(void)
{
	for (size_t i = 0; i < ENTRIES; i++) {
		memset(memory[i], 0x55, BUFFER_LEN);
		got[i] = (struct ug_received){
			.data = memory[i],
			.cap = BUFFER_LEN,
		};
	}
}

static void expect_payload(const struct ug_received *e, size_t len,
			   uint32_t number)
{
	static unsigned char expected[65535];

	fake_payload(expected, len, number);
	assert_int_equal(e->len, len);
	assert_memory_equal(e->data, expected, len);
}

/* All members of a message, in both families. */
static void contents(void **state)
{
	static const struct {
		int fd, family;
		const char *from;
		uint8_t destination[16];
		uint32_t ifindex;
	} rows[] = {
		{ FAKE_FD4, AF_INET, "10.0.0.1:7", { 239, 1, 2, 3 }, 3 },
		{ FAKE_FD6, AF_INET6, "[fd00::1]:7", { 0xff, 2, [15] = 9 }, 4 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[UG_ENDPOINT_TEXT];

		come((struct coming){
			.fd = rows[i].fd, .len = 2900, .segment_len = 1000 });
		assert_int_equal(take(rows[i].family, ENTRIES, 0), 1);
		expect_payload(&got[0], 2900, (uint32_t)i);
		assert_int_equal(got[0].cap, 0);
		assert_int_equal(got[0].n, 3);
		assert_int_equal(got[0].segment_len, 1000);
		assert_int_equal(got[0].time_ns, i * 1000000000 + 7);
		assert_int_equal(got[0].ttl, 60);
		assert_int_equal(got[0].tos, 0x2e);
		assert_int_equal(got[0].ifindex, rows[i].ifindex);
		assert_memory_equal(got[0].destination, rows[i].destination,
				    16);
		ug_endpoint_print(got[0].from, text, sizeof(text));
		assert_string_equal(text, rows[i].from);
	}
	/* The source is our own address, and never the group. */
	come((struct coming){ .len = 1 });
	assert_int_equal(take(AF_INET, 1, 0), 1);
	assert_memory_equal(got[0].from->source.addr, "\x0a\0\0\x09", 4);
	assert_int_equal(got[0].from->source.state,
			 ug_path_generation(sock->paths));
	assert_int_equal(got[0].segment_len, 1);
	assert_int_equal(got[0].n, 1);
	come((struct coming){ .len = 0 });
	assert_int_equal(take(AF_INET, 1, 0), 1);
	assert_int_equal(got[0].len, 0);
	assert_int_equal(got[0].n, 1);
	assert_int_equal(stats().datagrams, 8);
	assert_int_equal(stats().messages, 4);
}

/* What the socket was not opened to tell is 0. */
static void wanted_only(void **state)
{
	static const uint8_t nowhere[16];
	static const uint32_t wants[] = { 0, UG_WANT_TIME, UG_WANT_TTL,
					  UG_WANT_DESTINATION };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wants); i++) {
		ug_close(sock);
		open_wanting(wants[i]);
		come((struct coming){ .len = 5 });
		assert_int_equal(take(AF_INET, 1, 0), 1);
		assert_int_equal(got[0].time_ns != 0, wants[i] == UG_WANT_TIME);
		assert_int_equal(got[0].ttl != 0, wants[i] == UG_WANT_TTL);
		assert_int_equal(got[0].ifindex != 0,
				 wants[i] == UG_WANT_DESTINATION);
		assert_int_equal(memcmp(got[0].destination, nowhere, 16) != 0,
				 wants[i] == UG_WANT_DESTINATION);
	}
}

/* A later version may have longer entries. What it adds is set to 0. */
static void longer_entries(void **state)
{
	struct {
		struct ug_received entry;
		uint64_t later[2];
	} longer[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		come((struct coming){ .len = 10 });
	memset(longer, 0x55, sizeof(longer));
	longer[0].entry.cap = 0;
	assert_int_equal(ug_receive_trains(rcv, sock, AF_INET, &longer->entry,
					   sizeof(longer[0]), 3, 0),
			 3);
	for (size_t i = 0; i < 3; i++) {
		expect_payload(&longer[i].entry, 10, (uint32_t)i);
		assert_int_equal(longer[i].later[0] | longer[i].later[1], 0);
	}
	assert_int_equal(ug_receive_trains(rcv, sock, AF_INET, got,
					   sizeof(got[0]) - 1, 1, 0),
			 -EINVAL);
}

/* More messages than entries: the rest comes next. */
static void continued(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++)
		come((struct coming){ .len = 100 });
	got[1].cap = 7;
	assert_int_equal(take(AF_INET, 2, 0), 2);
	assert_int_equal(got[1].cap, 0);
	assert_true(ug_receiver_pending(rcv));
	assert_false(ug_receiver_release(rcv));
	assert_int_equal(take(AF_INET, 2, 0), 2);
	expect_payload(&got[1], 100, 3);
	assert_int_equal(take(AF_INET, 2, 0), 1);
	assert_int_equal(take(AF_INET, 2, 0), -EAGAIN);
	assert_int_equal(stats().calls, 2);
}

/* Views, trains and buffers in turns: each byte comes once. */
static void mixed(void **state)
{
	struct ug_view views[2];

	(void)state;
	come((struct coming){ .len = 1050, .segment_len = 100 });
	come((struct coming){ .len = 2000, .segment_len = 1000 });
	come((struct coming){ .len = 350, .segment_len = 100 });
	come((struct coming){ .len = 4000 });
	assert_int_equal(ug_receive(rcv, sock, AF_INET, views, 2, 0), 2);
	const char *next = (char *)views[1].data + 100;

	/* What is left of the first message. */
	assert_int_equal(take(AF_INET, 1, 0), 1);
	assert_ptr_equal(got[0].data, next);
	assert_int_equal(got[0].len, 850);
	assert_int_equal(got[0].n, 9);
	assert_int_equal(got[0].segment_len, 100);
	/* Copies, as far as they fit. */
	give_buffers();
	got[0].cap = 1999;
	assert_int_equal(take(AF_INET, 2, 0), -EMSGSIZE);
	got[0].cap = 2000;
	got[1].cap = 349;
	assert_int_equal(take(AF_INET, 2, 0), 1);
	assert_ptr_equal(got[0].data, memory[0]);
	assert_int_equal(got[0].cap, 2000);
	expect_payload(&got[0], 2000, 1);
	/* The last datagram of a train alone. */
	assert_int_equal(ug_receive(rcv, sock, AF_INET, views, 2, 0), 2);
	assert_int_equal(ug_receive(rcv, sock, AF_INET, views, 1, 0), 1);
	assert_int_equal(take(AF_INET, 1, 0), 1);
	assert_int_equal(got[0].len, 50);
	assert_int_equal(got[0].n, 1);
	assert_int_equal(got[0].segment_len, 50);
	assert_int_equal(take(AF_INET, 1, 0), -EMSGSIZE);
	assert_true(ug_receiver_pending(rcv));
	got[0].cap = 0;
	assert_int_equal(take(AF_INET, 1, 0), 1);
	expect_payload(&got[0], 4000, 3);
	assert_int_equal(stats().datagrams, 11 + 2 + 4 + 1);
}

/* Messages that are dropped take no entry, and no buffer is lost. */
static void buffers(void **state)
{
	bool seen[ENTRIES] = { false };

	(void)state;
	assert_int_equal(take(AF_INET, ENTRIES, 0), -EAGAIN);
	come((struct coming){ .len = 3001 }); /* too long for its buffer */
	come((struct coming){ .len = 3000, .segment_len = 1400 });
	come((struct coming){ .len = 10, .flags = MSG_CTRUNC });
	come((struct coming){ .len = 10, .bad_control = true });
	come((struct coming){ .len = 0 });
	come((struct coming){ .len = 77 });
	come((struct coming){ .len = 78 }); /* more than there are slots */
	give_buffers();
	assert_int_equal(take(AF_INET, ENTRIES, 0), 3);
	expect_payload(&got[0], 3000, 1);
	assert_int_equal(got[0].n, 3);
	assert_int_equal(got[0].segment_len, 1400);
	assert_int_equal(got[0].time_ns, 1000000007);
	expect_payload(&got[1], 0, 4);
	expect_payload(&got[2], 77, 5);
	assert_int_equal(got[2].time_ns, 5000000007);
	for (size_t i = 0; i < ENTRIES; i++) {
		size_t k = (size_t)((unsigned char *)got[i].data - memory[0]) /
			   BUFFER_LEN;

		assert_int_equal(got[i].cap, BUFFER_LEN);
		assert_true(k < ENTRIES && !seen[k]);
		assert_ptr_equal(got[i].data, memory[k]);
		seen[k] = true;
	}
	assert_int_equal(stats().truncated, 1);
	assert_int_equal(stats().control_truncated, 1);
	assert_int_equal(stats().malformed, 1);
	assert_false(ug_receiver_pending(rcv));
	assert_int_equal(take(AF_INET, ENTRIES, 0), 1);
	expect_payload(&got[0], 78, 6);
	/* They are not in the receiver's slots. */
	struct ug_view view = { .from = got[0].from };

	assert_int_equal(ug_receiver_info(rcv, &view, got, sizeof(got[0])),
			 -EINVAL);
	/* Slots again, of full size. */
	memset(got, 0, sizeof(got));
	for (int i = 0; i < SLOTS; i++)
		come((struct coming){ .len = 65535 });
	assert_int_equal(take(AF_INET, ENTRIES, 0), SLOTS);
	for (size_t i = 0; i < SLOTS; i++)
		expect_payload(&got[i], 65535, 7 + (uint32_t)i);
	/* Only bad ones come, then a good one. */
	give_buffers();
	for (int i = 0; i < 20; i++)
		come((struct coming){ .len = 5000 });
	come((struct coming){ .len = 5 });
	assert_int_equal(take(AF_INET, 2, 0), 1);
	expect_payload(&got[0], 5, 33);
}

/* Calls with buffers do not change how many slots the others fill. */
static void depth_stays(void **state)
{
	(void)state;
	ug_receiver_free(rcv);
	assert_int_equal(ug_receiver_new(&rcv, 100), 0);
	give_buffers();
	for (int call = 0; call < 20; call++) {
		for (size_t i = 0; i < ENTRIES; i++)
			come((struct coming){ .len = 100 });
		assert_int_equal(take(AF_INET, ENTRIES, 0), ENTRIES);
		assert_int_equal(asked, ENTRIES);
	}
	got[0].cap = 0;
	assert_int_equal(take(AF_INET, ENTRIES, 0), -EAGAIN);
	assert_int_equal(asked, 8);
}

static void bad_arguments(void **state)
{
	(void)state;
	assert_int_equal(take(AF_INET, 0, 0), -EINVAL);
	assert_int_equal(take(AF_UNIX, 1, 0), -EAFNOSUPPORT);
	give_buffers();
	got[1].cap = 0;
	assert_int_equal(take(AF_INET, 2, 0), -EINVAL);
	assert_int_equal(take(AF_INET, 1, 0), -EAGAIN);
	assert_int_equal(fake.receive_calls, 1);
}

/* Empty means that every socket was asked, side sockets that reported included. */
static void empty(void **state)
{
	const int side = FAKE_FD4 + FAKE_NEXT;

	(void)state;
	assert_int_equal(ug_side_fd(sock, AF_INET, 0), side);
	assert_int_equal(take(AF_UNSPEC, 1, 0), -EAGAIN);
	assert_int_equal(n_reads, 2);
	assert_int_equal(ug_side_ready(sock, side), AF_INET);
	assert_int_equal(take(AF_UNSPEC, 1, 0), -EAGAIN);
	assert_int_equal(n_reads, 2 + 3);
	come((struct coming){ .fd = side, .len = 4 });
	assert_int_equal(ug_side_ready(sock, side), AF_INET);
	assert_int_equal(take(AF_INET, 1, 0), 1);
	/* The side socket is asked again, though nobody named it. */
	n_reads = 0;
	assert_int_equal(take(AF_INET, 1, 0), -EAGAIN);
	assert_int_equal(n_reads, 2);
	/* Errors of the socket do not hide what is behind them. */
	come((struct coming){ .err = ECONNREFUSED });
	come((struct coming){ .err = EINTR });
	come((struct coming){ .len = 9 });
	assert_int_equal(take(AF_INET, 1, 0), 1);
	assert_int_equal(stats().errors, 1);
}

/* While merging is being switched off, the socket may hold datagrams. */
static void locked_out(void **state)
{
	pthread_rwlock_t *lock = &sock->families[FAMILY_V4].receive_lock;
	struct ug_view view;

	(void)state;
	come((struct coming){ .len = 6 });
	assert_int_equal(pthread_rwlock_wrlock(lock), 0);
	assert_int_equal(take(AF_INET, 1, 0), -EBUSY);
	assert_int_equal(take(AF_UNSPEC, 1, 0), -EBUSY);
	assert_int_equal(take(AF_UNSPEC, 1, 0), -EBUSY);
	assert_int_equal(ug_receive(rcv, sock, AF_UNSPEC, &view, 1, 0), 0);
	assert_int_equal(ug_receiver_why(rcv), -EBUSY);
	/* The other family is not locked. */
	assert_int_equal(take(AF_INET6, 1, 0), -EAGAIN);
	/* A call with a timeout sleeps, and does not spin. */
	fake.polls = fake.pauses = 0;
	assert_int_equal(take(AF_INET, 1, 95), -ETIMEDOUT);
	assert_int_equal(fake.pauses, fake.polls / 2);
	assert_true(fake.polls <= 20);
	pthread_rwlock_unlock(lock);
	assert_int_equal(take(AF_INET, 1, 95), 1);
	/* What the other family has is handed out, whichever is asked first. */
	assert_int_equal(pthread_rwlock_wrlock(lock), 0);
	for (int i = 0; i < 4; i++) {
		come((struct coming){ .fd = FAKE_FD6, .len = 6 });
		assert_int_equal(take(AF_UNSPEC, 1, 0), 1);
	}
	assert_int_equal(take(AF_UNSPEC, 1, 0), -EBUSY);
	pthread_rwlock_unlock(lock);
}

/* After a number of calls that brought nothing to hand out, the caller decides. */
static void bound_of_drops(void **state)
{
	static const int timeouts[] = { 0, 100, -1 };
	struct ug_view view;

	(void)state;
	for (int i = 0; i < 256; i++)
		come((struct coming){ .err = ECONNREFUSED });
	for (size_t i = 0; i < ARRAY_LEN(timeouts); i++) {
		assert_int_equal(take(AF_INET, 1, timeouts[i]), -EBUSY);
		assert_int_equal(stats().errors, 64 * (i + 1));
	}
	assert_int_equal(ug_receive(rcv, sock, AF_INET, &view, 1, 0), 0);
	assert_int_equal(ug_receiver_why(rcv), -EBUSY);
	assert_int_equal(fake.polls, 0);
	/* The same for messages: 64 calls of one buffer each. */
	n_queue = next_in_queue = 0;
	give_buffers();
	for (int i = 0; i < 70; i++)
		come((struct coming){ .len = 5000 });
	may_come = false;
	assert_int_equal(take(AF_INET, 1, 100), -EBUSY);
	assert_int_equal(stats().truncated, 64);
	assert_int_equal(fake.polls, 1);
	come((struct coming){ .len = 5 });
	assert_int_equal(take(AF_INET, 1, 100), 1);
}

static void waiting(void **state)
{
	(void)state;
	may_come = false;
	come((struct coming){ .len = 8 });
	assert_int_equal(take(AF_INET, 1, 50), 1);
	reported = 0;
	int64_t start = fake.now_ms;

	assert_int_equal(take(AF_UNSPEC, 1, 45), -ETIMEDOUT);
	assert_int_equal(fake.now_ms - start, 45);
	/* A socket that reports something and has nothing. */
	reported = POLLIN;
	start = fake.now_ms;
	assert_int_equal(take(AF_UNSPEC, 1, 45), -ETIMEDOUT);
	assert_int_equal(fake.now_ms - start, 45);
}

static void signals(void **state)
{
	(void)state;
	poll_errno = EINTR;
	assert_int_equal(take(AF_INET, 1, 50), -EINTR);
	assert_int_equal(take(AF_INET, 1, -1), -EINTR);
	assert_int_equal(take(AF_INET, 1, 0), -EAGAIN);
	/* In the pause of a socket that was shut down. */
	poll_errno = 0;
	reported = POLLIN | POLLRDHUP;
	fake.signal_in_pause = true;
	assert_int_equal(take(AF_INET, 1, 50), -EINTR);
	assert_int_equal(take(AF_INET, 1, -1), -EINTR);
}

/* Entries of the error queue stay there. */
static void errors_wait(void **state)
{
	(void)state;
	reported = reported_later = POLLERR;
	fake.error_queue = 3;
	assert_int_equal(take(AF_INET, 1, 0), -EAGAIN);
	assert_int_equal(take(AF_INET, 1, 50), -EBADMSG);
	assert_int_equal(take(AF_UNSPEC, 1, -1), -EBADMSG);
	assert_int_equal(fake.error_queue, 3);
	assert_int_equal(stats().errors, 0);
	/* Datagrams come first. */
	may_come = false;
	come((struct coming){ .err = ECONNREFUSED });
	come((struct coming){ .len = 7 });
	assert_int_equal(take(AF_INET, 1, 50), 1);
	assert_int_equal(stats().errors, 1);
	/* An error of the socket that is gone when it was read. */
	reported_later = 0;
	assert_int_equal(take(AF_INET, 1, 50), -ETIMEDOUT);
	assert_int_equal(fake.pauses, 0);
	assert_int_equal(fake.error_queue, 3);
}

static void fatal_errors(void **state)
{
	static const int errs[] = { EBADF, ENOTSOCK, ENOMEM, EFAULT, EINVAL };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
		come((struct coming){ .err = errs[i] });
		assert_int_equal(take(AF_UNSPEC, 1, 0), -errs[i]);
		may_come = false;
		come((struct coming){ .err = errs[i] });
		assert_int_equal(take(AF_INET, 1, 50), -errs[i]);
	}
	assert_int_equal(take(AF_UNSPEC, 1, 0), -EAGAIN);
}

static void recvmmsg_missing(void **state)
{
	(void)state;
	fake.no_mmsg = true;
	come((struct coming){ .len = 500, .segment_len = 100 });
	come((struct coming){ .len = 5000 });
	come((struct coming){ .len = 60 });
	give_buffers();
	assert_int_equal(take(AF_INET, ENTRIES, 0), 1);
	expect_payload(&got[0], 500, 0);
	assert_int_equal(take(AF_INET, ENTRIES, 0), 1);
	expect_payload(&got[0], 60, 2);
	assert_int_equal(take(AF_INET, ENTRIES, 0), -EAGAIN);
}

/* The meaning of each 0 of ug_receive(). */
static void why(void **state)
{
	struct ug_view view;

	(void)state;
	assert_int_equal(ug_receiver_why(rcv), 0);
	assert_int_equal(ug_receive(rcv, sock, AF_UNSPEC, &view, 1, 0), 0);
	assert_int_equal(ug_receiver_why(rcv), -EAGAIN);
	assert_int_equal(ug_receive(rcv, sock, AF_UNSPEC, &view, 1, 25), 0);
	assert_int_equal(ug_receiver_why(rcv), -ETIMEDOUT);
	come((struct coming){ .len = 6 });
	assert_int_equal(ug_receive(rcv, sock, AF_INET, &view, 1, 0), 1);
	assert_int_equal(ug_receiver_why(rcv), -ETIMEDOUT);
	poll_errno = EINTR;
	assert_int_equal(ug_receive(rcv, sock, AF_INET, &view, 1, -1), 0);
	assert_int_equal(ug_receiver_why(rcv), -EINTR);
	poll_errno = 0;
	/* It drops the entries of the error queue, as ever. */
	reported = reported_later = POLLERR;
	fake.error_queue = 3;
	assert_int_equal(ug_receive(rcv, sock, AF_INET, &view, 1, 25), 0);
	assert_int_equal(ug_receiver_why(rcv), -ETIMEDOUT);
	assert_int_equal(fake.error_queue, 0);
}

/* The message of a view. */
static void info(void **state)
{
	struct ug_view views[5];
	struct {
		struct ug_received entry;
		uint64_t later;
	} out;
	struct ug_endpoint other = { 0 };

	(void)state;
	come((struct coming){ .len = 2900, .segment_len = 1000 });
	come((struct coming){ .len = 60, .flags = MSG_TRUNC });
	come((struct coming){ .len = 0 });
	come((struct coming){ .len = 61 });
	assert_int_equal(ug_receive(rcv, sock, AF_INET, views, 4, 0), 4);
	for (size_t i = 0; i < 4; i++) {
		memset(&out, 0x55, sizeof(out));
		assert_int_equal(ug_receiver_info(rcv, &views[i], &out.entry,
						  sizeof(out)),
				 0);
		assert_ptr_equal(out.entry.from, views[i].from);
		assert_int_equal(out.later, 0);
		assert_int_equal(out.entry.ttl, 60);
		assert_int_equal(out.entry.tos, 0x2e);
		assert_memory_equal(out.entry.destination, "\xef\1\2\3", 4);
		assert_int_equal(out.entry.n, i < 3 ? 3 : 1);
		assert_int_equal(out.entry.segment_len, i < 3 ? 1000 : 0);
		assert_int_equal(out.entry.time_ns, i < 3 ? 7 : 2000000007);
		expect_payload(&out.entry, i < 3 ? 2900 : 0, i < 3 ? 0 : 2);
	}
	/* Not handed out yet; not of this receiver; too old. */
	views[4].from = views[3].from + 1;
	assert_int_equal(
		ug_receiver_info(rcv, &views[4], &out.entry, sizeof(out.entry)),
		-EINVAL);
	views[4].from = &other;
	assert_int_equal(
		ug_receiver_info(rcv, &views[4], &out.entry, sizeof(out.entry)),
		-EINVAL);
	assert_int_equal(ug_receiver_info(rcv, &views[0], &out.entry,
					  sizeof(out.entry) - 1),
			 -EINVAL);
	assert_int_equal(take(AF_INET, 1, 0), 1);
	assert_int_equal(take(AF_INET, 1, 0), -EAGAIN);
	assert_int_equal(
		ug_receiver_info(rcv, &views[0], &out.entry, sizeof(out.entry)),
		-EINVAL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(contents),
		TEST(wanted_only),
		TEST(longer_entries),
		TEST(continued),
		TEST(mixed),
		TEST(buffers),
		TEST(bad_arguments),
		TEST(empty),
		TEST(locked_out),
		TEST(bound_of_drops),
		TEST(waiting),
		TEST(signals),
		TEST(errors_wait),
		TEST(fatal_errors),
		TEST(recvmmsg_missing),
		TEST(why),
		TEST(info),
		TEST(depth_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
