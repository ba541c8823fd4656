/* SPDX-License-Identifier: MIT */
/*
 * ug_send() over a kernel that fails by rule: what arrives, in which order,
 * and what the statuses say. Every test ends with account(): each datagram
 * was taken once if its status says so, and never otherwise.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "tests/lib/fakesys.h"
#include "udpgather/endpoint.h"
#include "udpgather/socket.h"

enum {
	MOST = 300,
	STRIDE = 70000
};

static unsigned char memory[MOST][STRIDE];
static struct iovec vectors[MOST];
static struct ug_datagram dgrams[MOST];
static int status[MOST];
static size_t n_dgrams;
static struct ug_socket *sock;
static struct ug_batch *batch;
static struct ug_endpoint a, b, c, d, e, six;

struct notice {
	enum ug_notice what;
	int err;
	int value;
	struct ug_endpoint ep;
};

static struct notice notices[32];
static size_t n_notices;

static void noticed(void *arg, enum ug_notice what,
		    const struct ug_endpoint *ep, int err, int value)
{
	struct notice *n = &notices[n_notices++ % ARRAY_LEN(notices)];

	assert_ptr_equal(arg, notices);
	*n = (struct notice){ .what = what, .err = err, .value = value };
	if (ep)
		n->ep = *ep;
}

static int setup(void **state)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.notice = noticed,
		.notice_arg = notices,
	};

	(void)state;
	fake_reset();
	n_dgrams = n_notices = 0;
	memset(dgrams, 0, sizeof(dgrams));
	ug_endpoint_parse(&a, "10.0.0.1:1");
	ug_endpoint_parse(&b, "10.0.0.2:1");
	ug_endpoint_parse(&c, "10.0.0.3:1");
	ug_endpoint_parse(&d, "10.0.0.4:1");
	ug_endpoint_parse(&e, "10.0.0.5:1");
	ug_endpoint_parse(&six, "[fd00::1]:1");
	if (socket_open_with(&fake_sys, &sock, &opt, NULL) < 0)
		return -1;
	return ug_batch_new(&batch, 128);
}

static int teardown(void **state)
{
	(void)state;
	ug_batch_free(batch);
	ug_close(sock);
	return fake.open_fds;
}

static void add(const struct ug_endpoint *to, size_t n, size_t len)
{
	for (; n; n--) {
		fake_payload(memory[n_dgrams], len, (uint32_t)n_dgrams);
		vectors[n_dgrams] = (struct iovec){ memory[n_dgrams], len };
		dgrams[n_dgrams] = (struct ug_datagram){
			.iov = &vectors[n_dgrams],
			.n_iov = 1,
			.to = to,
		};
		n_dgrams++;
	}
}

/* Every datagram taken once, whole, in order for its endpoint, if and only
 * if its status is UG_SENT. */
static void account(size_t sent)
{
	size_t n_sent = 0;

	for (size_t i = 0; i < n_dgrams; i++) {
		size_t times = 0;

		for (size_t k = 0; k < fake.n; k++)
			times += fake.log[k].number == i;
		assert_int_equal(times, status[i] == UG_SENT);
		n_sent += times;
	}
	assert_int_equal(n_sent, sent);
	assert_int_equal(fake.n, sent);
	for (size_t k = 0; k < fake.n; k++) {
		const struct fake_datagram *got = &fake.log[k];

		assert_true(got->whole);
		assert_int_equal(got->len, vectors[got->number].iov_len);
		assert_int_equal(
			ug_endpoint_compare(&got->to, dgrams[got->number].to),
			0);
		for (size_t j = 0; j < k; j++)
			if (!ug_endpoint_compare(&got->to, &fake.log[j].to))
				assert_true(fake.log[j].number < got->number);
	}
}

static void send_all(size_t expected)
{
	struct ug_send_stats was, now;

	ug_get_send_stats(batch, &was, sizeof(was));
	fake.n = 0;
	memset(status, 0x55, sizeof(status));
	assert_int_equal(
		ug_send(sock, batch, NULL, dgrams, n_dgrams, status, 0),
		expected);
	account(expected);
	ug_get_send_stats(batch, &now, sizeof(now));
	assert_int_equal(now.datagrams - was.datagrams, expected);
	assert_int_equal(now.datagrams + now.unsent + now.failed -
				 was.datagrams - was.unsent - was.failed,
			 n_dgrams);
}

static struct ug_send_stats stats(void)
{
	struct ug_send_stats s;

	ug_get_send_stats(batch, &s, sizeof(s));
	return s;
}

static void expect_status(size_t first, size_t n, int expected)
{
	for (size_t i = first; i < first + n; i++)
		assert_int_equal(status[i], expected);
}

/* ---------------------------------------------------------------- sending */

static void plain(void **state)
{
	(void)state;
	add(&a, 100, 1400);
	add(&six, 20, 500);
	add(&a, 1, 5);
	send_all(121);
	struct ug_send_stats s = stats();

	/* 46 * 1,400 bytes are the most that stay below 65,493. */
	assert_int_equal(s.trains[46], 2);
	assert_int_equal(s.trains[9], 1);
	assert_int_equal(s.trains[20], 1);
	assert_int_equal(s.messages, 4);
	assert_int_equal(s.calls, 2);
	assert_int_equal(s.bytes, 100 * 1400 + 20 * 500 + 5);
	assert_null(ug_refused_source(batch));
}

/* Empty datagrams go out as such, each alone. */
static void empty(void **state)
{
	(void)state;
	add(&a, 2, 0);
	add(&a, 2, 5);
	dgrams[1].n_iov = 0;
	dgrams[1].iov = NULL;
	assert_int_equal(ug_send(sock, batch, NULL, dgrams, 4, status, 0), 4);
	assert_int_equal(fake.n, 4);
	assert_int_equal(fake.log[0].len, 0);
	assert_int_equal(fake.log[1].len, 0);
	assert_int_equal(fake.log[2].train, 2);
}

/* More datagrams than the batch looks at together. */
static void windows(void **state)
{
	struct ug_batch *small;

	(void)state;
	add(&a, 300, 10);
	send_all(300);
	assert_int_equal(fake.send_calls, 3);
	assert_int_equal(ug_batch_new(&small, 7), 0);
	fake.n = 0;
	assert_int_equal(ug_send(sock, small, &a, dgrams, 300, status, 0), 300);
	account(300);
	ug_batch_free(small);
	assert_int_equal(ug_batch_new(&small, 0), -EINVAL);
	assert_int_equal(ug_batch_new(&small, UG_MAX_BATCH + 1), -EINVAL);
	assert_int_equal(ug_send(sock, batch, &a, dgrams, 0, status, 0), 0);
}

static void bad_datagrams(void **state)
{
	struct ug_endpoint port0 = a, nowhere = { 0 };

	(void)state;
	port0.addr.v4.sin_port = 0;
	add(&a, 11, 100);
	dgrams[1].to = NULL;
	dgrams[2].to = &nowhere;
	dgrams[3].to = &port0;
	dgrams[4].iov = NULL;
	vectors[5].iov_len = UG_MAX_DATAGRAM_IPV4 + 1;
	vectors[6].iov_len = SIZE_MAX;
	dgrams[7].n_iov = UG_MAX_VECTORS + 1;
	dgrams[8].to = &six;
	vectors[8].iov_len = UG_MAX_DATAGRAM_IPV6 + 1;
	assert_int_equal(ug_send(sock, batch, NULL, dgrams, 11, status, 0), 3);
	assert_int_equal(status[0], UG_SENT);
	assert_int_equal(status[1], -EDESTADDRREQ);
	assert_int_equal(status[2], -EAFNOSUPPORT);
	assert_int_equal(status[3], -EINVAL);
	assert_int_equal(status[4], -EINVAL);
	expect_status(5, 4, -EMSGSIZE);
	assert_int_equal(stats().failed, 8);
	/* The rest went as one train, in order. */
	assert_int_equal(fake.n, 3);
	assert_int_equal(fake.log[1].number, 9);
	assert_int_equal(fake.log[2].train, 3);
}

static void family_not_open(void **state)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.families = UG_IPV4_ONLY,
	};
	struct ug_socket *v4_only;

	(void)state;
	assert_int_equal(socket_open_with(&fake_sys, &v4_only, &opt, NULL), 0);
	add(&six, 1, 10);
	add(&a, 1, 10);
	assert_int_equal(ug_send(v4_only, batch, NULL, dgrams, 2, status, 0),
			 1);
	assert_int_equal(status[0], -EAFNOSUPPORT);
	ug_close(v4_only);
}

/* ------------------------------------------------- what every call can do */

/* The kernel takes 1, 2, 3, ... messages a call. */
static void short_counts(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		add(&a, 3, 100);
		add(&b, 2, 50 + (size_t)i);
	}
	for (size_t limit = 1; limit <= 45; limit++) {
		struct ug_send_stats was = stats();

		fake.short_at = limit;
		send_all(100);
		size_t messages = stats().messages - was.messages;

		assert_int_equal(stats().calls - was.calls,
				 (messages + limit - 1) / limit);
	}
	assert_true(stats().short_calls > 0);
}

static void interrupted(void **state)
{
	(void)state;
	fake.errs[0] = fake.errs[1] = fake.errs[3] = EINTR;
	fake.short_at = 1;
	add(&a, 2, 100);
	add(&b, 2, 100);
	send_all(4);
	assert_int_equal(stats().interrupted, 3);
}

static void sendmmsg_missing(void **state)
{
	(void)state;
	fake.no_mmsg = true;
	add(&a, 100, 1000);
	add(&b, 1, 5);
	send_all(101);
	/* 65 datagrams of 1,000 would fit, 64 may. */
	assert_int_equal(fake.send_calls, 3);
	send_all(101);
	assert_int_equal(fake.send_calls, 6);
}

/* ---------------------------------------------------------- a full socket */

static size_t allowance;

static int full_rule(const struct fake_message *m)
{
	if (m->fd != FAKE_FD4)
		return 0;
	if (!allowance)
		return EAGAIN;
	allowance--;
	return 0;
}

static int no_buffers_rule(const struct fake_message *m)
{
	return full_rule(m) ? ENOBUFS : 0;
}

/* No sleep without a timeout; the rest is unsent, for that family only. */
static void full_socket(void **state)
{
	(void)state;
	for (int err = 0; err < 2; err++) {
		fake.rule = err ? no_buffers_rule : full_rule;
		for (allowance = 0; allowance < 4; allowance++) {
			size_t before = allowance;

			n_dgrams = 0;
			add(&a, 10, 100);
			add(&six, 5, 100);
			add(&b, 10, 100);
			add(&a, 10, 200);
			add(&c, 120, 100);
			send_all(5 + size_min(before * 10, 30) +
				 (before > 3 ? 64 : 0));
			expect_status(10, 5, UG_SENT);
			if (before < 3)
				expect_status(25, 130, UG_UNSENT);
			allowance = before;
		}
	}
	assert_int_equal(fake.polls, 0);
	assert_true(stats().full > 0);
	assert_true(stats().no_buffers > 0);
}

/* After a block nothing of that family goes out, also in later windows:
 * order. */
static void full_stays_full(void **state)
{
	(void)state;
	add(&a, 300, 1000);
	fake.errs[1] = EAGAIN;
	send_all(128);
	expect_status(128, 172, UG_UNSENT);
	assert_int_equal(fake.send_calls, 2);
}

static size_t polls_needed;

static int wait_rule(const struct fake_message *m)
{
	(void)m;
	return fake.polls < polls_needed ? EAGAIN : 0;
}

static int wait_buffers_rule(const struct fake_message *m)
{
	(void)m;
	return fake.polls < polls_needed ? ENOBUFS : 0;
}

static void waiting(void **state)
{
	(void)state;
	add(&a, 10, 100);
	/* A fake poll takes 3 ms at most. */
	for (int err = 0; err < 2; err++) {
		fake.rule = err ? wait_buffers_rule : wait_rule;
		fake.n = fake.polls = 0;
		polls_needed = 3;
		assert_int_equal(
			ug_send(sock, batch, NULL, dgrams, 10, status, 100),
			10);
		account(10);
		assert_int_equal(fake.polls, 3);
	}
	/* Not longer than it was told. */
	fake.rule = wait_rule;
	fake.n = fake.polls = 0;
	polls_needed = 1000;
	int64_t start = fake.now_ms;

	assert_int_equal(ug_send(sock, batch, NULL, dgrams, 10, status, 100),
			 0);
	account(0);
	assert_int_equal(fake.now_ms - start, 100);
	expect_status(0, 10, UG_UNSENT);
	/* Without end. */
	fake.polls = 0;
	assert_int_equal(ug_send(sock, batch, NULL, dgrams, 10, status, -1),
			 10);
	account(10);
	assert_int_equal(fake.polls, 1000);
	assert_true(stats().waits > 1000);
}

/* -------------------------------------------------------------------- EIO */

static const struct ug_endpoint *sick[5];
static int sick_errno;
static size_t sick_above;

/* Trains to sick endpoints with segments above a size fail. */
static int sick_rule(const struct fake_message *m)
{
	for (size_t i = 0; i < ARRAY_LEN(sick); i++)
		if (sick[i] && !ug_endpoint_compare(sick[i], &m->to) &&
		    m->segment_len > sick_above)
			return sick_errno;
	return 0;
}

static void make_sick(int err, size_t above)
{
	fake.rule = sick_rule;
	sick_errno = err;
	sick_above = above;
	memset(sick, 0, sizeof(sick));
}

/*
 * Trains of 45 and 2, the second train refused: only what the kernel has not
 * taken goes again, one datagram a message, with its own vectors only.
 */
static void eio_in_mid_batch(void **state)
{
	(void)state;
	make_sick(EIO, 0);
	sick[0] = &b;
	add(&a, 45, 1452);
	add(&b, 47, 1452);
	add(&a, 2, 1452);
	add(&c, 10, 1452);
	add(&b, 5, 1000);
	send_all(109);
	for (size_t k = 0; k < fake.n; k++) {
		bool is_sick = !ug_endpoint_compare(&fake.log[k].to, &b);

		assert_int_equal(fake.log[k].train == 1, is_sick);
	}
	assert_int_equal(n_notices, 1);
	assert_int_equal(notices[0].what, UG_NOTICE_ENDPOINT_UNSEGMENTED);
	assert_int_equal(notices[0].err, EIO);
	assert_int_equal(ug_endpoint_compare(&notices[0].ep, &b), 0);
	struct ug_send_stats s = stats();

	assert_true(s.split_eio >= 1 && s.split_eio <= 3);
	/* From then on no train is tried with it: no refused call. */
	fake.send_calls = 0;
	send_all(109);
	assert_int_equal(fake.send_calls, 1);
	assert_int_equal(stats().split_eio, s.split_eio);
	assert_int_equal(n_notices, 1);
	/* The others keep their trains. */
	assert_int_equal(ug_get_segments(sock, AF_INET, NULL), 64);
	/* Until told that the network changed. */
	ug_network_changed(sock);
	sick[0] = NULL;
	send_all(109);
	assert_true(fake.log[45].train > 1);
}

/* Four endpoints that fail switch the family off, and that family only. */
static void eio_on_four_endpoints(void **state)
{
	const struct ug_endpoint *all[] = { &a, &b, &c, &d };
	enum ug_reason reason;

	(void)state;
	make_sick(EIO, 0);
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		assert_int_equal(ug_get_segments(sock, AF_INET, &reason), 64);
		sick[i] = all[i];
		n_dgrams = 0;
		add(all[i], 10, 100);
		send_all(10);
		send_all(10);
	}
	assert_int_equal(ug_get_segments(sock, AF_INET, &reason), 1);
	assert_int_equal(reason, UG_REASON_EIO);
	assert_int_equal(ug_get_segments(sock, AF_INET6, &reason), 64);
	assert_int_equal(reason, UG_REASON_NONE);
	assert_int_equal(n_notices, 5);
	assert_int_equal(notices[4].what, UG_NOTICE_FAMILY_UNSEGMENTED);
	assert_int_equal(notices[4].value, AF_INET);
	n_dgrams = 0;
	add(&e, 10, 100);
	add(&six, 10, 100);
	send_all(20);
	assert_int_equal(stats().trains[10], 1);
	/* Tried again when told so. */
	memset(sick, 0, sizeof(sick));
	assert_int_equal(ug_set_segments(sock, UG_SEGMENTS_AUTO), 0);
	n_dgrams = 0;
	add(&a, 10, 100);
	send_all(10);
	assert_int_equal(stats().trains[10], 2);
}

/* One endpoint that fails again and again is one endpoint. */
static void eio_on_one_endpoint(void **state)
{
	(void)state;
	make_sick(EIO, 0);
	sick[0] = &a;
	add(&a, 50, 100);
	for (int i = 0; i < 10; i++)
		send_all(50);
	assert_int_equal(ug_get_segments(sock, AF_INET, NULL), 64);
	assert_int_equal(n_notices, 1);
}

/* --------------------------------------------------------------- EMSGSIZE */

static void emsgsize(void **state)
{
	(void)state;
	make_sick(EMSGSIZE, 1252);
	sick[0] = &a;
	add(&a, 40, 1452);
	add(&b, 40, 1452);
	send_all(80);
	assert_int_equal(fake.log[0].train, 1);
	assert_int_equal(fake.log[40].train, 40);
	assert_int_equal(stats().split_emsgsize, 1);
	assert_int_equal(n_notices, 1);
	assert_int_equal(notices[0].what, UG_NOTICE_ENDPOINT_CAPPED);
	assert_int_equal(notices[0].value, 1452);
	/* Known now: no refused call. */
	fake.send_calls = 0;
	send_all(80);
	assert_int_equal(fake.send_calls, 1);
	/* Smaller segments still go as trains, up to the largest that pass. */
	n_dgrams = 0;
	add(&a, 10, 1252);
	send_all(10);
	assert_int_equal(fake.log[0].train, 10);
	n_dgrams = 0;
	add(&a, 10, 1253);
	send_all(10);
	assert_int_equal(fake.log[0].train, 1);
	assert_int_equal(stats().split_emsgsize, 2);
	n_dgrams = 0;
	add(&a, 10, 1252);
	send_all(10);
	assert_int_equal(fake.log[0].train, 10);
	assert_int_equal(stats().split_emsgsize, 2);
	assert_int_equal(n_notices, 1);
}

static size_t refuse_above;

static int too_big_rule(const struct fake_message *m)
{
	return (m->segment_len ? m->segment_len : m->bytes) > refuse_above
		       ? EMSGSIZE
		       : 0;
}

/* Where single datagrams do not pass either, nothing is learned. */
static void emsgsize_alone(void **state)
{
	(void)state;
	fake.rule = too_big_rule;
	refuse_above = 1000;
	add(&a, 3, 1001);
	add(&a, 3, 1000);
	send_all(3);
	expect_status(0, 3, -EMSGSIZE);
	assert_int_equal(n_notices, 0);
	assert_int_equal(path_cap(sock->paths, &a), PATH_UNLIMITED);
}

/* ----------------------------------------------------------------- EINVAL */

static int gone_errno;

/* A source address that is gone. */
static int gone_rule(const struct fake_message *m)
{
	return m->control.has_source ? gone_errno : 0;
}

/* Once more without the source, segmentation kept, and told. */
static void source_gone(void **state)
{
	static const int errs[] = { EINVAL, EADDRNOTAVAIL, ENETUNREACH,
				    ENODEV };

	(void)state;
	a.source.state = UG_SOURCE_PINNED;
	a.source.addr[0] = 10;
	add(&a, 20, 1000);
	add(&b, 5, 1000);
	add(&a, 5, 500);
	for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
		struct ug_send_stats was = stats();

		gone_errno = errs[i];
		fake.rule = gone_rule;
		send_all(30);
		assert_int_equal(fake.log[0].train, 21);
		assert_int_equal(fake.log[26].train, 4);
		assert_ptr_equal(ug_refused_source(batch), &a);
		/* One refusal, though there are two messages. */
		assert_int_equal(stats().refused_sources - was.refused_sources,
				 1);
		assert_int_equal(stats().split_einval, 0);
		fake.rule = NULL;
		send_all(30);
		assert_null(ug_refused_source(batch));
		assert_true(fake.log[0].has_source);
	}
	assert_int_equal(n_notices, 0);
}

/* EINVAL for a large segment, as older kernels have it for EMSGSIZE. */
static void einval_for_size(void **state)
{
	(void)state;
	make_sick(EINVAL, 1252);
	sick[0] = &a;
	a.source.state = UG_SOURCE_PINNED;
	add(&a, 40, 1452);
	send_all(40);
	/* The source was dropped first, though it was not at fault. */
	assert_int_equal(stats().refused_sources, 1);
	assert_int_equal(stats().split_einval, 1);
	assert_int_equal(path_cap(sock->paths, &a), 1451);
	assert_int_equal(ug_get_segments(sock, AF_INET, NULL), 64);
	send_all(40);
	assert_int_equal(stats().refused_sources, 1);
}

/* EINVAL for small segments: the kernel cannot do it at all. */
static void einval_for_trains(void **state)
{
	enum ug_reason reason;

	(void)state;
	make_sick(EINVAL, 0);
	sick[0] = &a;
	add(&a, 10, 513);
	send_all(10);
	assert_int_equal(ug_get_segments(sock, AF_INET, &reason), 64);
	n_dgrams = 0;
	add(&a, 10, 512);
	send_all(10);
	assert_int_equal(ug_get_segments(sock, AF_INET, &reason), 1);
	assert_int_equal(reason, UG_REASON_EINVAL);
	assert_int_equal(notices[n_notices - 1].what,
			 UG_NOTICE_FAMILY_UNSEGMENTED);
	assert_int_equal(ug_get_segments(sock, AF_INET6, &reason), 64);
}

static const struct ug_endpoint *dead;
static int dead_errno;

static int dead_rule(const struct fake_message *m)
{
	return ug_endpoint_compare(dead, &m->to) ? 0 : dead_errno;
}

/* A destination that gets EINVAL for everything cannot switch it off. */
static void einval_for_destination(void **state)
{
	(void)state;
	fake.rule = dead_rule;
	dead = &b;
	dead_errno = EINVAL;
	add(&a, 10, 100);
	add(&b, 10, 100);
	add(&c, 10, 100);
	send_all(20);
	expect_status(10, 10, -EINVAL);
	assert_int_equal(ug_get_segments(sock, AF_INET, NULL), 64);
	assert_int_equal(n_notices, 0);
}

/* -------------------------------------------- destinations, pending errors */

/* One dead destination in the middle does not stop the others. */
static void dead_destination(void **state)
{
	static const int errs[] = { EHOSTUNREACH, ENETUNREACH,	 EPERM,
				    EACCES,	  EADDRNOTAVAIL, ECONNREFUSED,
				    EIO,	  EMSGSIZE,	 EINVAL,
				    ENETDOWN,	  EAFNOSUPPORT,	 ENOPROTOOPT,
				    EFAULT,	  EDOM };

	(void)state;
	fake.rule = dead_rule;
	dead = &b;
	add(&a, 10, 100);
	add(&b, 10, 100);
	add(&c, 10, 100);
	add(&b, 3, 70);
	add(&six, 10, 100);
	for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
		dead_errno = errs[i];
		b.source.state = i % 2 ? UG_SOURCE_PINNED : UG_SOURCE_NONE;
		send_all(30);
		expect_status(10, 10, -errs[i]);
		expect_status(30, 3, -errs[i]);
	}
	assert_int_equal(n_notices, 0);
	assert_int_equal(ug_get_segments(sock, AF_INET, NULL), 64);
}

/* An error from before is delivered once: nobody is blamed for it. */
static void pending_error(void **state)
{
	static const int errs[] = { ECONNREFUSED, EHOSTUNREACH, ENETUNREACH,
				    EACCES,	  EPROTO,	ENOPROTOOPT,
				    EOPNOTSUPP,	  EHOSTDOWN };

	(void)state;
	add(&a, 10, 100);
	add(&b, 10, 100);
	for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
		fake.send_calls = 0;
		memset(fake.errs, 0, sizeof(fake.errs));
		fake.errs[0] = errs[i];
		send_all(20);
		assert_int_equal(fake.log[0].train, 10);
		assert_int_equal(fake.send_calls, 2);
		assert_int_equal(stats().pending_errors, i + 1);
	}
	/* Also in the middle of a batch, and before a single datagram. */
	n_dgrams = 0;
	add(&a, 1, 100);
	fake.send_calls = 0;
	memset(fake.errs, 0, sizeof(fake.errs));
	fake.errs[0] = EMSGSIZE;
	send_all(1);
}

/* A destination gets two tries for errors that might be another's. */
static void blamed_after_two(void **state)
{
	(void)state;
	fake.rule = dead_rule;
	dead = &a;
	dead_errno = ECONNREFUSED;
	add(&a, 10, 100);
	send_all(0);
	assert_int_equal(fake.send_calls, 2);
	dead_errno = EPERM;
	send_all(0);
	assert_int_equal(fake.send_calls, 3);
}

/* A descriptor that is none ends it, and is not asked for every message. */
static void broken_descriptor(void **state)
{
	(void)state;
	add(&a, 200, 100);
	add(&six, 10, 100);
	fake.errs[0] = EBADF;
	send_all(10);
	expect_status(0, 200, -EBADF);
	assert_int_equal(fake.send_calls, 2);
}

/* ------------------------------------------------------------------ modes */

static void modes(void **state)
{
	enum ug_reason reason;

	(void)state;
	add(&a, 20, 100);
	assert_int_equal(ug_set_segments(sock, UG_SEGMENTS_OFF), 0);
	send_all(20);
	assert_int_equal(stats().trains[1], 20);
	assert_int_equal(ug_get_segments(sock, AF_INET, &reason), 1);
	assert_int_equal(reason, UG_REASON_ASKED);
	assert_int_equal(ug_set_segments(sock, 7), 0);
	send_all(20);
	assert_int_equal(stats().trains[7], 2);
	assert_int_equal(stats().trains[6], 1);
	assert_int_equal(ug_get_segments(sock, AF_INET, &reason), 7);
	assert_int_equal(ug_set_segments(sock, 65), -EINVAL);
	assert_int_equal(ug_get_segments(sock, AF_UNIX, &reason),
			 -EAFNOSUPPORT);
	assert_int_equal(ug_get_segments(sock, AF_INET, NULL), 7);
	assert_string_equal(ug_reason_text(UG_REASON_ASKED), "asked for");
}

/* Rules of all kinds at random: the account must still balance. */
static uint64_t chaos_state;

static int chaos_rule(const struct fake_message *m)
{
	static const int errs[] = { EIO,    EMSGSIZE,	  EINVAL, EHOSTUNREACH,
				    EPERM,  ECONNREFUSED, EINTR,  ENETUNREACH,
				    ENODEV, EADDRNOTAVAIL };
	struct random r = { chaos_state };
	size_t dice = random_below(&r, 40);

	chaos_state = r.state;
	(void)m;
	return dice < ARRAY_LEN(errs) ? errs[dice] : 0;
}

static void chaos(void **state)
{
	const struct ug_endpoint *all[] = { &a, &b, &c, &six };
	struct random r;

	(void)state;
	random_init(&r, 0x5eed0004);
	chaos_state = random_next(&r) | 1;
	fake.rule = chaos_rule;
	a.source.state = six.source.state = UG_SOURCE_PINNED;
	for (int round = 0; round < 2000; round++) {
		if (!random_below(&r, 4))
			ug_set_segments(sock,
					(unsigned int)random_below(&r, 65));
		fake.short_at = random_below(&r, 5);
		n_dgrams = 0;
		while (n_dgrams < 150)
			add(all[random_below(&r, 4)], 1 + random_below(&r, 50),
			    4 + 50 * random_below(&r, 4));
		fake.n = 0;
		size_t sent =
			ug_send(sock, batch, NULL, dgrams, n_dgrams, status, 0);

		account(sent);
		for (size_t i = 0; i < n_dgrams; i++)
			assert_true(status[i] <= 0);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(plain),
		TEST(empty),
		TEST(windows),
		TEST(bad_datagrams),
		TEST(family_not_open),
		TEST(short_counts),
		TEST(interrupted),
		TEST(sendmmsg_missing),
		TEST(full_socket),
		TEST(full_stays_full),
		TEST(waiting),
		TEST(eio_in_mid_batch),
		TEST(eio_on_four_endpoints),
		TEST(eio_on_one_endpoint),
		TEST(emsgsize),
		TEST(emsgsize_alone),
		TEST(source_gone),
		TEST(einval_for_size),
		TEST(einval_for_trains),
		TEST(einval_for_destination),
		TEST(dead_destination),
		TEST(pending_error),
		TEST(blamed_after_two),
		TEST(broken_descriptor),
		TEST(modes),
		TEST(chaos),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
