/* SPDX-License-Identifier: MIT */
/* ug_send() over a kernel that refuses trains, sources and destinations. */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/fault/sending.h"
#include "tests/lib/check.h"
#include "udpgather/endpoint.h"
#include "udpgather/socket.h"

static const struct ug_endpoint *refusing[5];
static int refuse_errno;
static size_t refuse_longer_than;

/* Refuse trains to some endpoints if their segments are above a size. */
static int refuse_trains_rule(const struct fake_message *m)
{
	for (size_t i = 0; i < ARRAY_LEN(refusing); i++)
		if (refusing[i] && !ug_endpoint_compare(refusing[i], &m->to) &&
		    m->segment_len > refuse_longer_than)
			return refuse_errno;
	return 0;
}

static void refuse_trains(int err, size_t above)
{
	fake.rule = refuse_trains_rule;
	refuse_errno = err;
	refuse_longer_than = above;
	memset(refusing, 0, sizeof(refusing));
}

/*
 * Trains of 45 and 2 datagrams, the second refused. Only datagrams that the
 * kernel has not taken are sent again, one a message, each with its own vectors
 * only.
 */
static void eio_in_mid_batch(void **state)
{
	(void)state;
	refuse_trains(EIO, 0);
	refusing[0] = &ep_b;
	add(&ep_a, 45, 1452);
	add(&ep_b, 47, 1452);
	add(&ep_a, 2, 1452);
	add(&ep_c, 10, 1452);
	add(&ep_b, 5, 1000);
	send_all(109);
	for (size_t k = 0; k < fake.n; k++) {
		bool is_refused = !ug_endpoint_compare(&fake.log[k].to, &ep_b);

		assert_int_equal(fake.log[k].train == 1, is_refused);
	}
	assert_int_equal(n_notices, 1);
	assert_int_equal(notices[0].what, UG_NOTICE_ENDPOINT_UNSEGMENTED);
	assert_int_equal(notices[0].err, EIO);
	assert_int_equal(ug_endpoint_compare(&notices[0].ep, &ep_b), 0);
	struct ug_send_stats s = stats();

	assert_true(s.split_eio >= 1 && s.split_eio <= 3);
	/* From then on no train goes to ep_b, so no call is refused. */
	fake.send_calls = 0;
	send_all(109);
	assert_int_equal(fake.send_calls, 1);
	assert_int_equal(stats().split_eio, s.split_eio);
	assert_int_equal(n_notices, 1);
	/* Other endpoints still get trains. */
	assert_int_equal(ug_get_segments(sock, AF_INET, NULL), 64);
	/* This holds until the caller says that the paths changed. */
	ug_paths_changed(sock);
	refusing[0] = NULL;
	send_all(109);
	assert_true(fake.log[45].train > 1);
}

/* Refusals at many addresses of a roaming peer stop trains to these only. */
static void eio_is_of_one_address(void **state)
{
	const struct ug_endpoint *all[] = { &ep_a, &ep_b, &ep_c, &ep_d };
	enum ug_reason reason;

	(void)state;
	refuse_trains(EIO, 0);
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		refusing[i] = all[i];
		n_dgrams = 0;
		add(all[i], 10, 100);
		send_all(10);
		send_all(10);
	}
	assert_int_equal(ug_get_segments(sock, AF_INET, &reason), 64);
	assert_int_equal(reason, UG_REASON_NONE);
	assert_int_equal(n_notices, 4);
	n_dgrams = 0;
	add(&ep_e, 10, 100);
	add(&ep_six, 10, 100);
	send_all(20);
	assert_int_equal(stats().trains[10], 2);
	/* After such a call trains are tried again. */
	memset(refusing, 0, sizeof(refusing));
	assert_int_equal(ug_set_segments(sock, UG_SEGMENTS_AUTO), 0);
	n_dgrams = 0;
	add(&ep_a, 10, 100);
	send_all(10);
	assert_int_equal(stats().trains[10], 3);
}

/* An endpoint that had a cap before can lose its trains, too. */
static void eio_after_cap(void **state)
{
	(void)state;
	refuse_trains(EMSGSIZE, 1000);
	refusing[0] = &ep_a;
	add(&ep_a, 10, 1400);
	send_all(10);
	refuse_trains(EIO, 0);
	refusing[0] = &ep_a;
	n_dgrams = 0;
	add(&ep_a, 10, 500);
	send_all(10);
	assert_int_equal(n_notices, 2);
	assert_int_equal(notices[1].what, UG_NOTICE_ENDPOINT_UNSEGMENTED);
	assert_int_equal(ug_path_cap(sock->paths, &ep_a, 0, NULL),
			 PATH_UNSEGMENTED);
}

/* An endpoint that fails repeatedly counts once. */
static void eio_on_one_endpoint(void **state)
{
	(void)state;
	refuse_trains(EIO, 0);
	refusing[0] = &ep_a;
	add(&ep_a, 50, 100);
	for (int i = 0; i < 10; i++)
		send_all(50);
	assert_int_equal(ug_get_segments(sock, AF_INET, NULL), 64);
	assert_int_equal(n_notices, 1);
}

static void emsgsize(void **state)
{
	(void)state;
	refuse_trains(EMSGSIZE, 1252);
	refusing[0] = &ep_a;
	add(&ep_a, 40, 1452);
	add(&ep_b, 40, 1452);
	send_all(80);
	assert_int_equal(fake.log[0].train, 1);
	assert_int_equal(fake.log[40].train, 40);
	assert_int_equal(stats().split_emsgsize, 1);
	assert_int_equal(n_notices, 1);
	assert_int_equal(notices[0].what, UG_NOTICE_ENDPOINT_CAPPED);
	assert_int_equal(notices[0].value, 1452);
	/* The limit is known now, so no call is refused. */
	fake.send_calls = 0;
	send_all(80);
	assert_int_equal(fake.send_calls, 1);
	/* Smaller segments still go as trains, up to the largest that pass. */
	n_dgrams = 0;
	add(&ep_a, 10, 1252);
	send_all(10);
	assert_int_equal(fake.log[0].train, 10);
	n_dgrams = 0;
	add(&ep_a, 10, 1253);
	send_all(10);
	assert_int_equal(fake.log[0].train, 1);
	assert_int_equal(stats().split_emsgsize, 2);
	n_dgrams = 0;
	add(&ep_a, 10, 1252);
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

/* If single datagrams do not pass either, nothing is learned. */
static void emsgsize_alone(void **state)
{
	(void)state;
	fake.rule = too_big_rule;
	refuse_above = 1000;
	add(&ep_a, 3, 1001);
	add(&ep_a, 3, 1000);
	send_all(3);
	expect_status(0, 3, -EMSGSIZE);
	assert_int_equal(n_notices, 0);
	assert_int_equal(ug_path_cap(sock->paths, &ep_a, 0, NULL),
			 PATH_UNLIMITED);
}

static int gone_errno;

/* A source address that is gone. */
static int gone_rule(const struct fake_message *m)
{
	return m->control.has_source ? gone_errno : 0;
}

/* The train is sent again without the source, and the caller is told. */
static void source_gone(void **state)
{
	static const int errs[] = { EINVAL, EADDRNOTAVAIL, ENETUNREACH,
				    ENODEV };

	(void)state;
	ep_a.source.state = UG_SOURCE_PINNED;
	ep_a.source.addr[0] = 10;
	add(&ep_a, 20, 1000);
	add(&ep_b, 5, 1000);
	add(&ep_a, 5, 500);
	for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
		struct ug_send_stats was = stats();

		gone_errno = errs[i];
		fake.rule = gone_rule;
		send_all(30);
		assert_int_equal(fake.log[0].train, 21);
		assert_int_equal(fake.log[26].train, 4);
		assert_ptr_equal(ug_refused_source(batch), &ep_a);
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

/* Older kernels report a large segment by EINVAL instead of EMSGSIZE. */
static void einval_for_size(void **state)
{
	(void)state;
	refuse_trains(EINVAL, 1252);
	refusing[0] = &ep_a;
	ep_a.source.state = UG_SOURCE_PINNED;
	add(&ep_a, 40, 1452);
	send_all(40);
	/* The source was dropped first, though it was not at fault. */
	assert_int_equal(stats().refused_sources, 1);
	assert_int_equal(stats().split_einval, 1);
	assert_int_equal(ug_path_cap(sock->paths, &ep_a, 0, NULL), 1451);
	assert_int_equal(ug_get_segments(sock, AF_INET, NULL), 64);
	send_all(40);
	assert_int_equal(stats().refused_sources, 1);
}

/* EINVAL for small segments stops trains to this endpoint, not to others. */
static void einval_for_trains(void **state)
{
	(void)state;
	refuse_trains(EINVAL, 0);
	refusing[0] = &ep_a;
	add(&ep_a, 10, 513);
	send_all(10);
	assert_int_equal(ug_path_cap(sock->paths, &ep_a, 0, NULL), 512);
	n_dgrams = 0;
	add(&ep_a, 10, 512);
	send_all(10);
	assert_int_equal(ug_path_cap(sock->paths, &ep_a, 0, NULL),
			 PATH_UNSEGMENTED);
	assert_int_equal(notices[n_notices - 1].what,
			 UG_NOTICE_ENDPOINT_UNSEGMENTED);
	assert_int_equal(notices[n_notices - 1].err, EINVAL);
	assert_int_equal(ug_get_segments(sock, AF_INET, NULL), 64);
	n_dgrams = 0;
	add(&ep_b, 10, 512);
	send_all(10);
	assert_int_equal(stats().trains[10], 1);
}

static const struct ug_endpoint *dead;
static int dead_errno;

static int dead_rule(const struct fake_message *m)
{
	return ug_endpoint_compare(dead, &m->to) ? 0 : dead_errno;
}

/*
 * A destination that gets EINVAL for everything does not switch trains off for
 * others.
 */
static void einval_for_destination(void **state)
{
	(void)state;
	fake.rule = dead_rule;
	dead = &ep_b;
	dead_errno = EINVAL;
	add(&ep_a, 10, 100);
	add(&ep_b, 10, 100);
	add(&ep_c, 10, 100);
	send_all(20);
	expect_status(10, 10, -EINVAL);
	assert_int_equal(ug_get_segments(sock, AF_INET, NULL), 64);
	assert_int_equal(n_notices, 0);
}

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
	dead = &ep_b;
	add(&ep_a, 10, 100);
	add(&ep_b, 10, 100);
	add(&ep_c, 10, 100);
	add(&ep_b, 3, 70);
	add(&ep_six, 10, 100);
	for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
		dead_errno = errs[i];
		ep_b.source.state = i % 2 ? UG_SOURCE_PINNED : UG_SOURCE_NONE;
		send_all(30);
		expect_status(10, 10, -errs[i]);
		expect_status(30, 3, -errs[i]);
	}
	assert_int_equal(n_notices, 0);
	assert_int_equal(ug_get_segments(sock, AF_INET, NULL), 64);
}

/* A queued error is delivered once, and no datagram is blamed for it. */
static void pending_error(void **state)
{
	static const int errs[] = { ECONNREFUSED, EHOSTUNREACH, ENETUNREACH,
				    EACCES,	  EPROTO,	ENOPROTOOPT,
				    EOPNOTSUPP,	  EHOSTDOWN };

	(void)state;
	add(&ep_a, 10, 100);
	add(&ep_b, 10, 100);
	for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
		fake.send_calls = 0;
		memset(fake.errs, 0, sizeof(fake.errs));
		fake.errs[0] = errs[i];
		send_all(20);
		assert_int_equal(fake.log[0].train, 10);
		assert_int_equal(fake.send_calls, 2);
		assert_int_equal(stats().pending_errors, i + 1);
	}
	/* The same holds for EMSGSIZE: no train is split, nothing is
	 * learned. */
	fake.send_calls = 0;
	memset(fake.errs, 0, sizeof(fake.errs));
	fake.errs[0] = EMSGSIZE;
	send_all(20);
	assert_int_equal(fake.log[0].train, 10);
	assert_int_equal(n_notices, 0);
	n_dgrams = 0;
	add(&ep_a, 1, 100);
	fake.send_calls = 0;
	send_all(1);
}

/* A datagram is tried twice if the error may belong to another one. */
static void blamed_after_two(void **state)
{
	(void)state;
	fake.rule = dead_rule;
	dead = &ep_a;
	dead_errno = ECONNREFUSED;
	add(&ep_a, 10, 100);
	send_all(0);
	assert_int_equal(fake.send_calls, 2);
	/* EPERM belongs to the message, but perhaps only because it is a
	 * train. */
	dead_errno = EPERM;
	send_all(0);
	assert_int_equal(fake.send_calls, 3 + 10);
}

/* A bad descriptor ends the call, without a system call for every message. */
static void broken_descriptor(void **state)
{
	(void)state;
	add(&ep_a, 200, 100);
	add(&ep_six, 10, 100);
	fake.errs[0] = EBADF;
	send_all(10);
	expect_status(0, 200, -EBADF);
	assert_int_equal(fake.send_calls, 2);
}

static uint8_t gone_address;

static int one_gone_rule(const struct fake_message *m)
{
	return m->control.has_source &&
			       m->control.source.addr[3] == gone_address
		       ? EINVAL
		       : 0;
}

/* If one source is refused, other sources to the same endpoint are kept. */
static void one_source_gone(void **state)
{
	struct ug_endpoint first = ep_a, second = ep_a;

	(void)state;
	first.source.state = second.source.state = UG_SOURCE_PINNED;
	first.source.addr[3] = 1;
	second.source.addr[3] = 2;
	fake.rule = one_gone_rule;
	gone_address = 1;
	add(&first, 5, 100);
	add(&second, 5, 100);
	add(&first, 5, 50);
	send_all(15);
	assert_int_equal(stats().refused_sources, 1);
	assert_ptr_equal(ug_refused_source(batch), &first);
	for (size_t k = 0; k < 15; k++)
		assert_int_equal(fake.log[k].has_source, k >= 5 && k < 10);
}

/* Errors that have nothing to do with the source do not change it. */
static void source_not_blamed(void **state)
{
	static const int errs[] = { EHOSTUNREACH, EACCES, ECONNREFUSED,
				    ENETDOWN, EPERM };

	(void)state;
	fake.rule = dead_rule;
	dead = &ep_a;
	ep_a.source.state = UG_SOURCE_PINNED;
	add(&ep_a, 5, 100);
	for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
		dead_errno = errs[i];
		send_all(0);
		expect_status(0, 5, -errs[i]);
		assert_int_equal(stats().refused_sources, 0);
		assert_null(ug_refused_source(batch));
	}
}

/* Refuse by EPERM: trains, if they are forbidden; and every @forbid_each-th of the
 * single messages, once. */
static bool forbids_trains;
static size_t forbid_each, n_single;

static int chance_rule(const struct fake_message *m)
{
	if (m->segment_len)
		return forbids_trains ? EPERM : 0;
	return forbid_each && ++n_single % forbid_each == 0 ? EPERM : 0;
}

/* Without the option one EPERM is the status; with it a second one. */
static void eperm_of_one(void **state)
{
	const struct ug_endpoint *const to[] = { &ep_a, &ep_six };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(to); i++) {
		open_anew((struct ug_options){ 0 });
		n_dgrams = 0;
		add(to[i], 1, 100);
		fake.rule = dead_rule;
		dead = to[i];
		dead_errno = EPERM;
		fake.send_calls = 0;
		send_all(0);
		assert_int_equal(fake.send_calls, 1);
		expect_status(0, 1, -EPERM);

		open_anew((struct ug_options){ .retry_eperm = true });
		fake.send_calls = 0;
		send_all(0);
		assert_int_equal(fake.send_calls, 2);
		expect_status(0, 1, -EPERM);

		/* It passes the second time. Others are not held up. */
		add(&ep_b, 1, 100);
		fake.rule = NULL;
		fake.send_calls = 0;
		memset(fake.errs, 0, sizeof(fake.errs));
		fake.errs[0] = EPERM;
		send_all(2);
		/* The other one is of the same family, or of another. */
		assert_int_equal(fake.send_calls, i ? 3 : 2);
		/* After the error of another datagram there is still one try. */
		fake.send_calls = 0;
		fake.errs[0] = EACCES;
		fake.errs[1] = EPERM;
		send_all(2);
		memset(fake.errs, 0, sizeof(fake.errs));
	}
	assert_int_equal(stats().retried_eperm, 2 * 3);
	assert_int_equal(n_notices, 0);
}

/* The train is not sent again as such, each of its datagrams is. */
static void eperm_of_a_train(void **state)
{
	(void)state;
	open_anew((struct ug_options){ .retry_eperm = true });
	fake.rule = dead_rule;
	dead = &ep_a;
	dead_errno = EPERM;
	add(&ep_a, 10, 100);
	for (int i = 0; i < 5; i++)
		send_all(0);
	assert_int_equal(fake.send_calls, 5 * (1 + 2 * 10));
	assert_int_equal(stats().retried_eperm, 5 * 10);
	assert_int_equal(n_notices, 0);
}

/* If datagrams of a refused train pass the second time only, nothing is learned of
 * trains; if all pass the first time, three such trains are a lesson as before. */
static void eperm_by_chance(void **state)
{
	(void)state;
	open_anew((struct ug_options){ .retry_eperm = true });
	fake.rule = chance_rule;
	/* Within a call the kernel would hide that it refused a message. */
	fake.short_at = 1;
	forbids_trains = true;
	forbid_each = 7;
	add(&ep_a, 10, 100);
	for (int i = 0; i < 10; i++)
		send_all(10);
	assert_true(stats().retried_eperm >= 10);
	assert_int_equal(stats().split_other, 10);
	assert_int_equal(n_notices, 0);
	forbid_each = 0;
	for (int i = 0; i < 3; i++)
		send_all(10);
	assert_int_equal(n_notices, 1);
	assert_int_equal(notices[0].what, UG_NOTICE_ENDPOINT_UNSEGMENTED);
	assert_int_equal(notices[0].err, EPERM);
}

static int eio_rule(const struct fake_message *m)
{
	return m->segment_len ? EIO : chance_rule(m);
}

/* EIO of a train is never chance, whatever its first datagram meets. */
static void eperm_beside_eio(void **state)
{
	(void)state;
	open_anew((struct ug_options){ .retry_eperm = true });
	fake.rule = eio_rule;
	fake.short_at = 1;
	forbid_each = 2;
	n_single = 1;
	add(&ep_a, 10, 100);
	send_all(10);
	assert_true(stats().retried_eperm > 0);
	assert_int_equal(n_notices, 1);
	assert_int_equal(notices[0].err, EIO);
}

static size_t bad_number;

static int fault_rule(const struct fake_message *m)
{
	/* Datagrams are of 1,100 bytes: their vectors are not copied. */
	for (size_t v = 0; v < m->h->msg_iovlen; v++)
		if (m->h->msg_iov[v].iov_base == vectors[bad_number].iov_base)
			return EFAULT;
	return 0;
}

/* A vector with a bad address fails its own datagram only. */
static void fault(void **state)
{
	(void)state;
	fake.rule = fault_rule;
	bad_number = 4;
	add(&ep_a, 10, 1100);
	add(&ep_b, 10, 1100);
	send_all(19);
	expect_status(4, 1, -EFAULT);
	assert_int_equal(n_notices, 0);
	assert_int_equal(ug_path_cap(sock->paths, &ep_a, 0, NULL),
			 PATH_UNLIMITED);
	assert_int_equal(stats().split_einval, 0);
	assert_int_equal(stats().trains[10], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SENDING_TEST(eio_in_mid_batch),
		SENDING_TEST(eio_is_of_one_address),
		SENDING_TEST(eio_after_cap),
		SENDING_TEST(eio_on_one_endpoint),
		SENDING_TEST(emsgsize),
		SENDING_TEST(emsgsize_alone),
		SENDING_TEST(source_gone),
		SENDING_TEST(einval_for_size),
		SENDING_TEST(einval_for_trains),
		SENDING_TEST(einval_for_destination),
		SENDING_TEST(dead_destination),
		SENDING_TEST(pending_error),
		SENDING_TEST(blamed_after_two),
		SENDING_TEST(broken_descriptor),
		SENDING_TEST(fault),
		SENDING_TEST(eperm_of_one),
		SENDING_TEST(eperm_of_a_train),
		SENDING_TEST(eperm_by_chance),
		SENDING_TEST(eperm_beside_eio),
		SENDING_TEST(one_source_gone),
		SENDING_TEST(source_not_blamed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
