/* SPDX-License-Identifier: MIT */
/* ug_receive() over a kernel that delivers the messages of a table. */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "tests/lib/fakesys.h"
#include "udpgather/open.h"

/* The control data of a message without TTL and time. */
static size_t build_control(struct control *c, int family, bool mapped,
			    const struct ug_source *source, uint8_t tos,
			    size_t segment_len)
{
	return ug_control_build(c, &(struct control_out){
					   .source = source,
					   .segment_len = segment_len,
					   .family = family,
					   .mapped = mapped,
					   .tos = tos,
				   });
}

/* A message to deliver, or an errno instead. */
struct coming {
	int err;
	size_t len;
	int segment_len;
	int flags;
	int family; /* of the sender; 0: the socket's */
	bool bad_control;
};

static struct coming queue[512];
static size_t n_queue, next_in_queue;
static size_t burst;	   /* messages a call may bring */
static unsigned int asked; /* messages that the last call had room for */
static struct ug_socket *sock;
static struct ug_receiver *rcv;
static struct ug_view views[1024];

static void bring(const struct coming *c, struct mmsghdr *m, bool v4)
{
	struct msghdr *h = &m->msg_hdr;
	struct ug_source source = { .addr = { 10, 0, 0, 9 }, .ifindex = 3 };
	struct ug_endpoint from;
	struct cmsghdr *head = h->msg_control;
	int family = c->family ? c->family : v4 ? AF_INET : AF_INET6;

	/* Every slot must have its full size, also after use. */
	assert_int_equal(h->msg_iovlen, 1);
	assert_int_equal(h->msg_iov->iov_len, 65535);
	assert_true(h->msg_controllen >= 128);
	assert_int_equal(h->msg_namelen, sizeof(from.addr));
	memset(&from, 0, sizeof(from));
	ug_endpoint_parse(&from, v4 ? "10.0.0.1:7" : "[fd00::1]:7");
	from.addr.any.sa_family = (sa_family_t)family;
	memcpy(h->msg_name, &from.addr, sizeof(from.addr));
	h->msg_namelen = v4 ? sizeof(from.addr.v4) : sizeof(from.addr.v6);
	m->msg_len = (unsigned int)c->len;
	h->msg_flags = c->flags;
	fake_payload(h->msg_iov->iov_base, c->len, (uint32_t)next_in_queue);
	h->msg_controllen =
		build_control((struct control *)h->msg_control,
			      v4 ? AF_INET : AF_INET6, false, &source, 0, 0);
	if (c->segment_len) {
		head = (void *)((char *)h->msg_control + h->msg_controllen);
		*head = (struct cmsghdr){
			.cmsg_level = IPPROTO_UDP,
			.cmsg_type = UDP_GRO,
			.cmsg_len = CMSG_LEN(sizeof(int)),
		};
		memcpy(CMSG_DATA(head), &c->segment_len, sizeof(int));
		h->msg_controllen += CMSG_SPACE(sizeof(int));
	}
	if (c->bad_control)
		head->cmsg_len = 3;
}

static int receive_rule(int fd, struct mmsghdr *msgs, unsigned int n)
{
	unsigned int done = 0;

	asked = n;
	while (done < n && done < burst && next_in_queue < n_queue) {
		const struct coming *c = &queue[next_in_queue];

		if (c->err && done)
			break;
		next_in_queue++;
		if (c->err)
			return -c->err;
		bring(c, &msgs[done++], fd == FAKE_FD4);
	}
	return done ? (int)done : -EAGAIN;
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	fake.receive = receive_rule;
	n_queue = next_in_queue = 0;
	burst = 1024;
	if (ug_socket_open_with(&fake_sys, &sock, NULL, NULL) < 0)
		return -1;
	return ug_receiver_new(&rcv, 4);
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

static int receive(size_t n)
{
	return ug_receive(rcv, sock, AF_INET, views, n, 0);
}

static void nothing(void **state)
{
	(void)state;
	assert_int_equal(receive(10), 0);
	assert_int_equal(receive(0), -EINVAL);
	assert_int_equal(ug_receive(rcv, sock, AF_UNIX, views, 1, 0),
			 -EAFNOSUPPORT);
	assert_int_equal(fake.receive_calls, 1);
	assert_false(ug_receiver_pending(rcv));
	assert_true(ug_receiver_release(rcv));
	struct ug_receiver *bad;

	assert_int_equal(ug_receiver_new(&bad, 0), -EINVAL);
	assert_int_equal(ug_receiver_new(&bad, UG_MAX_SLOTS + 1), -EINVAL);
	ug_receiver_free(NULL);
}

/* Short messages get many slots, long ones few. */
static void depth(void **state)
{
	static const struct {
		size_t len;	    /* of the messages that come */
		unsigned int n;	    /* how many of them */
		unsigned int asked; /* slots that the call has */
	} rows[] = {
		/* Short messages: the calls get more slots. */
		{ 100, 200, 8 },
		{ 1400, 200, 16 },
		{ 0, 200, 32 },
		{ 4096, 200, 64 },
		{ 100, 200, 100 },
		/* Long messages: the next call has few slots. */
		{ 16384, 200, 100 },
		{ 16384, 200, 8 },
		{ 4097, 200, 8 },
		{ 100, 200, 8 },
		{ 100, 200, 16 },
		/* For a few messages no further slots are needed. */
		{ 100, 32, 32 },
		{ 100, 40, 64 },
		{ 100, 20, 64 },
		{ 100, 14, 32 },
		{ 100, 1, 16 },
		{ 100, 1, 8 },
	};

	(void)state;
	ug_receiver_free(rcv);
	assert_int_equal(ug_receiver_new(&rcv, 100), 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		/* Several full calls in a row are needed to get more slots. */
		bool repeats =
			rows[i].len <= 4096 && rows[i].n >= rows[i].asked;

		for (int call = 0; call < (repeats ? 8 : 1); call++) {
			n_queue = next_in_queue = 0;
			for (unsigned int k = 0; k < rows[i].n; k++)
				come((struct coming){ .len = rows[i].len });
			assert_int_equal(receive(ARRAY_LEN(views)),
					 size_min(rows[i].n, rows[i].asked));
			assert_int_equal(asked, rows[i].asked);
		}
	}
	/* A long message in between resets the count of full calls. */
	for (int call = 0; call < 30; call++) {
		n_queue = next_in_queue = 0;
		for (unsigned int k = 0; k < 20; k++)
			come((struct coming){
				.len = call % 8 == 7 && k == 0 ? 5000 : 100 });
		assert_int_equal(receive(ARRAY_LEN(views)), 8);
	}
	/* A receiver with few slots uses them all. */
	ug_receiver_free(rcv);
	assert_int_equal(ug_receiver_new(&rcv, 4), 0);
	for (int k = 0; k < 3; k++) {
		n_queue = next_in_queue = 0;
		for (int j = 0; j < 9; j++)
			come((struct coming){ .len = 65535 });
		assert_int_equal(receive(ARRAY_LEN(views)), 4);
	}
}

/* Receive a message of this length, then short ones: 8 in all. */
static void receive_eight(size_t first_len)
{
	n_queue = next_in_queue = 0;
	for (unsigned int k = 0; k < 200; k++)
		come((struct coming){ .len = k ? 100 : first_len });
	assert_int_equal(receive(ARRAY_LEN(views)), 8);
}

/*
 * A flood of short messages fills the calls while a stream pauses. The stream
 * must not find many slots when it goes on: each of its trains fills one.
 */
static void depth_beside_a_stream(void **state)
{
	/* STREAM_REST of receive.c, in calls of 8 messages. */
	enum {
		CALLS_OF_REST = 32768 / 8
	};

	(void)state;
	ug_receiver_free(rcv);
	assert_int_equal(ug_receiver_new(&rcv, 100), 0);
	for (int train = 0; train < 3; train++) {
		receive_eight(16385);
		for (int call = 0; call < CALLS_OF_REST - 1; call++)
			receive_eight(100);
	}
	/* The first of these calls ends STREAM_REST, so the stream counts as
	 * over. This call is also the first of eight full ones. */
	for (int call = 0; call < 8; call++)
		receive_eight(100);
	n_queue = next_in_queue = 0;
	for (unsigned int k = 0; k < 200; k++)
		come((struct coming){ .len = 100 });
	assert_int_equal(receive(ARRAY_LEN(views)), 16);
}

/*
 * A train of 128, an empty datagram and a short last one, into arrays of all
 * sizes.
 */
static void continued(void **state)
{
	(void)state;
	for (size_t array = 1; array <= 300; array += array < 10 ? 1 : 37) {
		size_t got = 0, bytes = 0;
		int r;

		n_queue = next_in_queue = 0;
		come((struct coming){ .len = 128 * 500, .segment_len = 500 });
		come((struct coming){ .len = 0 });
		come((struct coming){ .len = 1001, .segment_len = 500 });
		come((struct coming){ .len = 65535 });
		come((struct coming){ .len = 7, .segment_len = 9 });
		while ((r = receive(array)) > 0) {
			assert_true((size_t)r <= array);
			got += (size_t)r;
			for (int i = 0; i < r; i++)
				bytes += views[i].len;
			/* The buffer cannot be released before all views were
			 * returned. */
			assert_int_equal(ug_receiver_release(rcv),
					 !ug_receiver_pending(rcv));
		}
		assert_int_equal(r, 0);
		assert_int_equal(got, 128 + 1 + 3 + 1 + 1);
		assert_int_equal(bytes, 128 * 500 + 1001 + 65535 + 7);
	}
	assert_true(stats().trains[1] > 0);
	assert_int_equal(stats().datagrams, stats().trains[128] * 134);
}

/* Longer trains than any kernel has sent so far. */
static void long_train(void **state)
{
	(void)state;
	come((struct coming){ .len = 1000, .segment_len = 1 });
	assert_int_equal(receive(1024), 1000);
	assert_int_equal(stats().trains[128], 1);
}

static void view_contents(void **state)
{
	char text[UG_ENDPOINT_TEXT];
	unsigned char expected[3000];

	(void)state;
	come((struct coming){ .len = 3000, .segment_len = 1400 });
	assert_int_equal(receive(10), 3);
	fake_payload(expected, sizeof(expected), 1);
	assert_memory_equal(views[0].data, expected, 1400);
	assert_memory_equal(views[1].data, expected + 1400, 1400);
	assert_memory_equal(views[2].data, expected + 2800, 200);
	assert_int_equal(views[2].len, 200);
	ug_endpoint_print(views[2].from, text, sizeof(text));
	assert_string_equal(text, "10.0.0.1:7");
	assert_memory_equal(views[0].from->source.addr, "\x0a\0\0\x09", 4);
	assert_int_equal(views[0].from->source.state,
			 ug_path_generation(sock->paths));
	/* Sources are kept if paths change, and dropped if the network
	 * changes. */
	ug_paths_changed(sock);
	assert_int_equal(views[0].from->source.state,
			 ug_path_generation(sock->paths));
	ug_network_changed(sock);
	assert_true(views[0].from->source.state !=
		    ug_path_generation(sock->paths));
}

/*
 * Truncated and invalid messages are counted and skipped; the ones around them
 * arrive.
 */
static void bad_messages(void **state)
{
	(void)state;
	come((struct coming){ .len = 10 });
	come((struct coming){ .len = 10, .flags = MSG_TRUNC });
	come((struct coming){ .len = 10, .flags = MSG_CTRUNC });
	come((struct coming){ .len = 10, .bad_control = true });
	come((struct coming){ .len = 10, .family = AF_UNIX });
	come((struct coming){ .len = 10, .segment_len = -5 });
	come((struct coming){ .len = 11 });
	assert_int_equal(receive(10), 1);
	assert_int_equal(receive(10), 1);
	assert_int_equal(views[0].len, 11);
	assert_int_equal(receive(10), 0);
	assert_int_equal(stats().truncated, 1);
	assert_int_equal(stats().control_truncated, 1);
	assert_int_equal(stats().malformed, 3);
	assert_int_equal(stats().datagrams, 2);
}

/* Errors that earlier datagrams left do not end the loop. */
static void queued_errors(void **state)
{
	static const int errs[] = { ECONNREFUSED, EHOSTUNREACH, EMSGSIZE,
				    ENETUNREACH,  EPROTO,	ENETDOWN };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(errs); i++)
		come((struct coming){ .err = errs[i] });
	come((struct coming){ .err = EINTR });
	come((struct coming){ .len = 5 });
	assert_int_equal(receive(10), 1);
	assert_int_equal(stats().errors, ARRAY_LEN(errs));
}

/* One call skips only a limited number of errors. */
static void endless_errors(void **state)
{
	(void)state;
	for (int i = 0; i < 500; i++)
		come((struct coming){ .err = ECONNREFUSED });
	assert_int_equal(receive(10), 0);
	assert_int_equal(fake.receive_calls, 64);
}

static void endless_truncation(void **state)
{
	(void)state;
	burst = 1;
	for (int i = 0; i < 500; i++)
		come((struct coming){ .len = 1, .flags = MSG_TRUNC });
	assert_int_equal(receive(10), 0);
	assert_int_equal(fake.receive_calls, 64);
}

static void fatal_errors(void **state)
{
	static const int errs[] = { EBADF, ENOTSOCK, ENOMEM, EFAULT, EINVAL };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
		come((struct coming){ .err = errs[i] });
		assert_int_equal(receive(10), -errs[i]);
		/* Test each family as the first one. */
		for (int turn = 0; turn < 2; turn++) {
			come((struct coming){ .err = errs[i] });
			assert_int_equal(
				ug_receive(rcv, sock, AF_UNSPEC, views, 10, 0),
				-errs[i]);
		}
	}
	assert_int_equal(stats().errors, 0);
	come((struct coming){ .len = 5 });
	assert_int_equal(receive(10), 1);
}

static void recvmmsg_missing(void **state)
{
	(void)state;
	fake.no_mmsg = true;
	come((struct coming){ .len = 500, .segment_len = 100 });
	come((struct coming){ .len = 0 });
	assert_int_equal(receive(10), 5);
	assert_int_equal(receive(10), 1);
	assert_int_equal(receive(10), 0);
	assert_int_equal(fake.mmsg_calls, 1);
	assert_int_equal(stats().calls, 4);
}

static int poll_rule(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	(void)fds;
	assert_true(n == 1 || n == 2);
	fake.now_ms += timeout_ms < 0 || timeout_ms > 30 ? 30 : timeout_ms;
	if (fake.polls == 3)
		come((struct coming){ .len = 5 });
	/* The first message is one that cannot be returned. */
	if (fake.polls == 1)
		come((struct coming){ .err = ECONNREFUSED });
	return fake.now_ms < 1100 || timeout_ms < 0;
}

static void waiting(void **state)
{
	(void)state;
	fake.poll = poll_rule;
	assert_int_equal(ug_receive(rcv, sock, AF_INET, views, 10, 95), 1);
	assert_int_equal(fake.polls, 3);
	fake.now_ms = 1000;
	fake.polls = 4;
	int64_t start = fake.now_ms;

	assert_int_equal(ug_receive(rcv, sock, AF_UNSPEC, views, 10, 95), 0);
	assert_int_equal(fake.now_ms - start, 95);
	fake.polls = 0;
	assert_int_equal(ug_receive(rcv, sock, AF_UNSPEC, views, 10, -1), 1);
	assert_int_equal(stats().waits, 3 + 4 + 3);
}

static short what_stays;

/* A poll(2) whose result stays the same. No time passes in it. */
static int stuck_rule(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	(void)timeout_ms;
	for (nfds_t i = 0; i < n; i++)
		fds[i].revents = what_stays;
	if ((what_stays & POLLERR) && !fake.error_queue)
		fds[0].revents = POLLIN;
	return 1;
}

/* If poll(2) returns at once each time, the wait must still sleep. */
static void no_spinning(void **state)
{
	static const short stuck[] = { POLLHUP, POLLIN | POLLRDHUP,
				       POLLIN | POLLRDHUP | POLLHUP };

	(void)state;
	fake.poll = stuck_rule;
	for (size_t i = 0; i < ARRAY_LEN(stuck); i++) {
		what_stays = stuck[i];
		fake.polls = fake.pauses = 0;
		assert_int_equal(
			ug_receive(rcv, sock, AF_UNSPEC, views, 10, 20), 0);
		assert_int_equal(fake.pauses, 20);
		assert_int_equal(fake.polls, 40);
	}
	/* A socket that was shut down may still have datagrams. */
	come((struct coming){ .len = 5 });
	assert_int_equal(ug_receive(rcv, sock, AF_INET, views, 10, 20), 1);

	/* Errors are dropped and counted, without a pause. */
	what_stays = POLLERR;
	fake.error_queue = 100;
	fake.polls = fake.pauses = 0;
	size_t before = n_queue;

	fake.receive = receive_rule;
	come((struct coming){ .err = ECONNREFUSED });
	come((struct coming){ .err = EAGAIN });
	come((struct coming){ .err = EAGAIN });
	come((struct coming){ .err = EAGAIN });
	come((struct coming){ .len = 5 });
	assert_int_equal(ug_receive(rcv, sock, AF_INET, views, 10, 20), 1);
	assert_int_equal(n_queue, before + 5);
	assert_int_equal(fake.error_queue, 0);
	assert_int_equal(fake.pauses, 0);
	assert_int_equal(stats().errors, 1 + 100);
}

/* A caller's struct of counters may be shorter or longer than ours. */
static void counters_of_other_versions(void **state)
{
	struct {
		struct ug_receive_stats stats;
		uint64_t later[4];
	} s;
	const size_t few = 2 * sizeof(uint64_t) + 3;

	(void)state;
	come((struct coming){ .len = 5 });
	assert_int_equal(receive(10), 1);
	memset(&s, 0x55, sizeof(s));
	ug_get_receive_stats(rcv, &s.stats, sizeof(s));
	assert_int_equal(s.stats.bytes, 5);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(s.later[i], 0);
	memset(&s, 0x55, sizeof(s));
	ug_get_receive_stats(rcv, &s.stats, few);
	assert_int_equal(s.stats.datagrams, 1);
	assert_int_equal(s.stats.messages, 1);
	/* A counter that does not fit whole is not written, nor are bytes
	 * behind it. */
	assert_memory_equal(&s.stats.bytes, "\0\0\0\x55\x55\x55\x55\x55", 8);
}

static int alternate_rule(int fd, struct mmsghdr *msgs, unsigned int n)
{
	struct coming c = { .len = 1 };

	(void)n;
	bring(&c, msgs, fd == FAKE_FD4);
	return 1;
}

/* Neither family starves the other. */
static void taking_turns(void **state)
{
	(void)state;
	fake.receive = alternate_rule;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(ug_receive(rcv, sock, AF_UNSPEC, views, 9, 0),
				 1);
		assert_int_equal(views[0].from->addr.any.sa_family,
				 i % 2 ? AF_INET6 : AF_INET);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(depth),	      TEST(depth_beside_a_stream),
		TEST(nothing),	      TEST(continued),
		TEST(long_train),     TEST(view_contents),
		TEST(bad_messages),   TEST(queued_errors),
		TEST(endless_errors), TEST(endless_truncation),
		TEST(fatal_errors),   TEST(recvmmsg_missing),
		TEST(waiting),	      TEST(taking_turns),
		TEST(no_spinning),    TEST(counters_of_other_versions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
