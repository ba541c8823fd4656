/* SPDX-License-Identifier: MIT */
/*
 * ug_send_trains() over a kernel of rules, and the copying of short vectors.
 *
 * Every train's bytes are those of numbered datagrams, one behind the other. At the
 * end of a test each datagram was taken once if its train counts it as sent, and
 * never otherwise.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/fault/sending.h"
#include "tests/lib/check.h"
#include "udpgather/open.h"
#include "udpgather/sending.h"

enum {
	TRAINS = 40,
	LEN = 1 << 17, /* bytes of memory of a train */
	VECTORS = 1100 /* vectors of a train */
};

static unsigned char bytes[TRAINS][LEN];
static struct iovec iov[TRAINS][VECTORS];
static struct ug_train trains[TRAINS];
static uint32_t first_number[TRAINS];
static size_t n_trains;
static uint32_t n_numbers;

static int trains_setup(void **state)
{
	n_trains = 0;
	n_numbers = 0;
	memset(trains, 0, sizeof(trains));
	return sending_setup(state);
}

/* Append a train of @cnt datagrams of @len bytes; the last one has @last_len. */
static struct ug_train *add_train(const struct ug_endpoint *to, size_t cnt,
				  size_t len, size_t last_len)
{
	unsigned char *at = bytes[n_trains];

	first_number[n_trains] = n_numbers;
	for (size_t i = 0; i < cnt; i++) {
		size_t n = i + 1 < cnt ? len : last_len;

		fake_payload(at, n, n_numbers++);
		at += n;
	}
	iov[n_trains][0] = (struct iovec){
		.iov_base = bytes[n_trains],
		.iov_len = (size_t)(at - bytes[n_trains]),
	};
	trains[n_trains] = (struct ug_train){
		.to = to,
		.iov = iov[n_trains],
		.n_iov = 1,
		.segment_len = cnt > 1 ? (uint16_t)len : 0,
		.n_sent = 12345,
		.status = 12345,
	};
	return &trains[n_trains++];
}

/* Cut the one vector of a train into vectors of @part bytes, with a gap of
 * memory between two of them, so that they do not fuse. */
static void scatter(struct ug_train *t, size_t part)
{
	size_t k = (size_t)(t - trains), len = iov[k][0].iov_len, off = 0;
	unsigned char *copy = calloc(1, LEN);
	size_t at = 0;

	memcpy(copy, bytes[k], len);
	t->n_iov = 0;
	while (off < len) {
		size_t n = size_min(part, len - off);

		assert_true(at + n <= LEN && t->n_iov < VECTORS);
		memcpy(bytes[k] + at, copy + off, n);
		iov[k][t->n_iov++] = (struct iovec){ bytes[k] + at, n };
		at += n + 1;
		off += n;
	}
	free(copy);
}

/* How many of a train's datagrams the kernel took; each at most once. */
static size_t count_taken(size_t k)
{
	uint32_t end = k + 1 < n_trains ? first_number[k + 1] : n_numbers;
	size_t n = 0;

	for (uint32_t number = first_number[k]; number < end; number++) {
		size_t times = 0;

		for (size_t i = 0; i < fake.n; i++)
			times += fake.log[i].number == number;
		assert_true(times <= 1);
		n += times;
	}
	return n;
}

static void account_trains(size_t sent)
{
	size_t n = 0;

	for (size_t k = 0; k < n_trains; k++) {
		assert_int_equal(trains[k].n_sent, count_taken(k));
		n += trains[k].n_sent;
	}
	assert_int_equal(n, sent);
	assert_int_equal(fake.n, sent);
	for (size_t i = 0; i < fake.n; i++)
		assert_true(fake.log[i].whole);
	/* Datagrams to one endpoint keep their order. */
	for (size_t i = 1; i < fake.n; i++)
		for (size_t j = 0; j < i; j++)
			if (!ug_endpoint_compare(&fake.log[i].to,
						 &fake.log[j].to))
				assert_true(fake.log[j].number <
					    fake.log[i].number);
}

static void send_trains(size_t expected)
{
	struct ug_send_stats was, now;

	ug_get_send_stats(batch, &was, sizeof(was));
	fake.n = 0;
	assert_int_equal(ug_send_trains(sock, batch, trains, sizeof(*trains),
					n_trains, 0),
			 expected);
	account_trains(expected);
	ug_get_send_stats(batch, &now, sizeof(now));
	assert_int_equal(now.datagrams - was.datagrams, expected);
}

static void expect_train(const struct ug_train *t, int expected, size_t n_sent)
{
	assert_int_equal(t->status, expected);
	assert_int_equal(t->n_sent, n_sent);
}

static void whole(void **state)
{
	(void)state;
	add_train(&ep_a, 46, 1400, 1400);
	add_train(&ep_b, 3, 1200, 7);
	add_train(&ep_a, 1, 0, 50000);
	add_train(&ep_six, 20, 500, 500);
	send_trains(70);
	for (size_t k = 0; k < n_trains; k++)
		assert_int_equal(trains[k].status, UG_SENT);
	struct ug_send_stats s = stats();

	assert_int_equal(s.messages, 4);
	assert_int_equal(s.calls, 2);
	assert_int_equal(s.trains[46], 1);
	assert_int_equal(s.trains[3], 1);
	assert_int_equal(s.trains[1], 1);
	assert_int_equal(s.trains[20], 1);
	assert_int_equal(fake.log[0].train, 46);
}

/* The ends of vectors are not those of datagrams. */
static void vectors_anywhere(void **state)
{
	(void)state;
	scatter(add_train(&ep_a, 30, 1000, 999), 777);
	scatter(add_train(&ep_six, 30, 1000, 4), 3000);
	send_trains(60);
	assert_int_equal(stats().messages, 2);
	/* By the long way, too. */
	fake.errs[0] = fake.errs[1] = EIO;
	fake.send_calls = 0;
	send_trains(60);
	assert_int_equal(stats().split_eio, 1);
}

/* Trains that no message can hold. */
static void too_long(void **state)
{
	(void)state;
	add_train(&ep_a, 90, 1400, 1400);
	add_train(&ep_six, 100, 100, 5);
	send_trains(190);
	struct ug_send_stats s = stats();

	assert_int_equal(s.trains[46], 1);
	assert_int_equal(s.trains[44], 1);
	assert_int_equal(s.trains[64], 1);
	assert_int_equal(s.trains[36], 1);
}

/* More trains than the batch has messages. */
static void windows(void **state)
{
	struct ug_batch *small;

	(void)state;
	for (size_t k = 0; k < 30; k++)
		add_train(k % 3 ? &ep_a : &ep_b, 5, 100, 40);
	assert_int_equal(ug_batch_new(&small, 4), 0);
	assert_int_equal(ug_send_trains(sock, small, trains, sizeof(*trains),
					n_trains, 0),
			 150);
	account_trains(150);
	assert_int_equal(fake.send_calls, 8);
	ug_batch_free(small);
}

static void bad_trains(void **state)
{
	static const struct ug_endpoint nowhere;

	(void)state;
	add_train(NULL, 3, 100, 100);
	add_train(&nowhere, 3, 100, 100);
	add_train(&ep_a, 1, 0, 100)->iov = NULL;
	add_train(&ep_a, 1, 0, UG_MAX_DATAGRAM_IPV4 + 1);
	add_train(&ep_six, 1, 0, UG_MAX_DATAGRAM_IPV6 + 1);
	add_train(&ep_a, 2, 100, 100);
	fake.n = 0;
	assert_int_equal(ug_send_trains(sock, batch, trains, sizeof(*trains),
					n_trains, 0),
			 2);
	expect_train(&trains[0], -EDESTADDRREQ, 0);
	expect_train(&trains[1], -EAFNOSUPPORT, 0);
	expect_train(&trains[2], -EINVAL, 0);
	expect_train(&trains[3], -EMSGSIZE, 0);
	expect_train(&trains[4], -EMSGSIZE, 0);
	expect_train(&trains[5], UG_SENT, 2);
	/* A struct of another version that is too short. */
	assert_int_equal(ug_send_trains(sock, batch, trains,
					sizeof(*trains) - 1, n_trains, 0),
			 0);
}

static int no_trains_to_a(const struct fake_message *m)
{
	return m->segment_len && !ug_endpoint_compare(&m->to, &ep_a) ? EIO : 0;
}

/* One refused train is cut; what was learned holds for the next call. */
static void refused(void **state)
{
	(void)state;
	fake.rule = no_trains_to_a;
	add_train(&ep_b, 10, 100, 100);
	add_train(&ep_a, 10, 100, 100);
	add_train(&ep_a, 10, 100, 100);
	add_train(&ep_b, 10, 100, 100);
	send_trains(40);
	assert_int_equal(stats().split_eio, 1);
	assert_int_equal(stats().trains[10], 2);
	assert_int_equal(stats().trains[1], 20);
	assert_int_equal(n_notices, 1);
	assert_int_equal(notices[0].what, UG_NOTICE_ENDPOINT_UNSEGMENTED);
	send_trains(40);
	assert_int_equal(stats().split_eio, 1);
	assert_int_equal(stats().trains[10], 4);
}

static size_t room;

static int room_for(const struct fake_message *m)
{
	(void)m;
	if (!room)
		return EAGAIN;
	room--;
	return 0;
}

/* The socket is full after two messages. */
static void full(void **state)
{
	(void)state;
	fake.rule = room_for;
	room = 2;
	for (int k = 0; k < 4; k++)
		add_train(&ep_a, 10, 100, 50);
	send_trains(20);
	expect_train(&trains[0], UG_SENT, 10);
	expect_train(&trains[1], UG_SENT, 10);
	expect_train(&trains[2], UG_UNSENT, 0);
	expect_train(&trains[3], UG_UNSENT, 0);
	assert_int_equal(stats().unsent, 20);
	/* In the middle of a train that had to be cut. */
	n_trains = 0;
	n_numbers = 0;
	room = 1;
	add_train(&ep_a, 90, 1400, 1400);
	send_trains(46);
	expect_train(&trains[0], UG_UNSENT, 46);
}

static int broken_rule(const struct fake_message *m)
{
	(void)m;
	return EBADF;
}

static void broken(void **state)
{
	(void)state;
	fake.rule = broken_rule;
	add_train(&ep_a, 10, 100, 50);
	add_train(&ep_a, 10, 100, 50);
	send_trains(0);
	expect_train(&trains[0], -EBADF, 0);
	expect_train(&trains[1], -EBADF, 0);
	assert_int_equal(stats().failed, 20);
}

/* The control data of the last message, and its vectors. */
static struct control_seen {
	int tos, ttl;
	uint64_t time_ns;
	size_t n_iov;
} seen;

static int look(const struct fake_message *m)
{
	struct msghdr h = *m->h;
	bool v4 = fake_family(m->fd) == AF_INET;

	seen = (struct control_seen){ .n_iov = h.msg_iovlen };
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
		if (c->cmsg_level == (v4 ? IPPROTO_IP : IPPROTO_IPV6) &&
		    c->cmsg_type == (v4 ? IP_TTL : IPV6_HOPLIMIT))
			memcpy(&seen.ttl, CMSG_DATA(c), sizeof(seen.ttl));
		if (c->cmsg_level == (v4 ? IPPROTO_IP : IPPROTO_IPV6) &&
		    c->cmsg_type == (v4 ? IP_TOS : IPV6_TCLASS))
			memcpy(&seen.tos, CMSG_DATA(c), sizeof(seen.tos));
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TXTIME)
			memcpy(&seen.time_ns, CMSG_DATA(c),
			       sizeof(seen.time_ns));
	}
	return 0;
}

static int look_and_refuse(const struct fake_message *m)
{
	look(m);
	return m->segment_len ? EIO : 0;
}

/* Another socket in place of the test's. */
static void reopen_with(const struct ug_options *opt)
{
	ug_close(sock);
	assert_int_equal(ug_socket_open_with(&fake_sys, &sock, opt, NULL), 0);
}

/* TOS, TTL and time go with the train, also when it was cut. */
static void control_data(void **state)
{
	static const struct ug_endpoint *const to[] = { &ep_a, &ep_six };
	int (*const rules[])(
		const struct fake_message *m) = { look, look_and_refuse };

	(void)state;
	reopen_with(&(struct ug_options){
		.size = sizeof(struct ug_options),
		.txtime_clock = UG_CLOCK_MONOTONIC,
	});
	for (size_t r = 0; r < ARRAY_LEN(rules); r++) {
		for (size_t i = 0; i < ARRAY_LEN(to); i++) {
			fake.rule = rules[r];
			n_trains = 0;
			n_numbers = 0;
			struct ug_train *t = add_train(to[i], 5, 100, 100);

			t->tos = 0xb9;
			t->ttl = 3;
			t->time_ns = UINT64_C(0x123456789abcdef0);
			send_trains(5);
			assert_int_equal(seen.tos, 0xb9);
			assert_int_equal(seen.ttl, 3);
			assert_int_equal(seen.time_ns, t->time_ns);
			t->tos = t->ttl = 0;
			t->time_ns = 0;
			send_trains(5);
			assert_int_equal(seen.tos, 0);
			assert_int_equal(seen.ttl, 0);
			assert_int_equal(seen.time_ns, 0);
		}
	}
}

/* Another socket in place of the test's, with an option. */
static void reopen(size_t copy_below)
{
	reopen_with(&(struct ug_options){
		.size = sizeof(struct ug_options),
		.copy_below = copy_below,
	});
	fake.rule = look;
}

/* Send datagrams of two vectors. Return: the vectors of the message. */
static size_t send_halves(size_t len)
{
	struct iovec halves[20][2];

	n_dgrams = 0;
	add(&ep_a, 20, len);
	for (size_t i = 0; i < n_dgrams; i++) {
		unsigned char *at = vectors[i].iov_base;

		halves[i][0] = (struct iovec){ at, 8 };
		/* One byte further, so that the two do not fuse. */
		memmove(at + 9, at + 8, len - 8);
		halves[i][1] = (struct iovec){ at + 9, len - 8 };
		dgrams[i].iov = halves[i];
		dgrams[i].n_iov = 2;
	}
	seen.n_iov = 0;
	send_all(20);
	return seen.n_iov;
}

/* Short vectors are copied, long ones are gathered. */
static void copied(void **state)
{
	(void)state;
	fake.rule = look;
	assert_int_equal(send_halves(100), 1);
	assert_int_equal(send_halves(2046), 1);
	assert_int_equal(send_halves(2048), 40);
	scatter(add_train(&ep_a, 30, 400, 400), 100);
	send_trains(30);
	assert_int_equal(seen.n_iov, 1);
	reopen(1);
	assert_int_equal(send_halves(100), 40);
	send_trains(30);
	assert_int_equal(seen.n_iov, 120);
	reopen(100);
	assert_int_equal(send_halves(198), 1);
	assert_int_equal(send_halves(200), 40);
	reopen(SIZE_MAX);
	assert_int_equal(send_halves(3000), 1);
	/* A message of one vector is never copied. */
	n_dgrams = 0;
	add(&ep_a, 1, 64);
	send_all(1);
	assert_int_equal(seen.n_iov, 1);
}

/* When the staging is full, the rest is gathered; it is filled anew when the window
 * is coalesced again. */
static void staging_full(void **state)
{
	(void)state;
	reopen(SIZE_MAX);
	add(&ep_a, 128, 3000);
	for (size_t i = 0; i < n_dgrams; i++)
		dgrams[i].tos = (uint8_t)(i / 16 * 4);
	send_all(128);
	/* 256 KiB of staging hold five of the eight messages of 48,000 bytes. */
	assert_int_equal(seen.n_iov, 16);
	for (size_t times = 0; times < 20; times++) {
		fake.send_calls = 0;
		memset(fake.errs, 0, sizeof(fake.errs));
		fake.errs[times % 3] = EIO;
		send_all(128);
	}
}

static uint32_t random_state;

static uint32_t draw(uint32_t below)
{
	random_state = random_state * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)random_state * below >> 32);
}

static int random_rule(const struct fake_message *m)
{
	static const int errs[] = { EIO,    EINTR,   EAGAIN, EINVAL,
				    EPERM,  EPIPE,   ENOMEM, ECONNREFUSED,
				    EFAULT, EMSGSIZE };

	if (draw(4) || (!m->segment_len && draw(4)))
		return 0;
	return errs[draw(ARRAY_LEN(errs))];
}

/* Any trains, any errors: the account holds. */
static void random_trains(void **state)
{
	static const struct ug_endpoint *const to[] = { &ep_a, &ep_b, &ep_c,
							&ep_six };

	(void)state;
	fake.rule = random_rule;
	for (uint32_t seed = 1; seed <= 300; seed++) {
		random_state = seed;
		n_trains = 0;
		n_numbers = 0;
		while (n_trains < 12) {
			size_t len = 4 + draw(draw(2) ? 1400 : 80);
			size_t cnt = 1 + draw(80);
			struct ug_train *t =
				add_train(to[draw(4)], cnt, len,
					  4 + draw((uint32_t)len - 3));

			if (draw(2))
				scatter(t, 100 + draw(2000));
			t->tos = (uint8_t)(draw(2) * 4);
		}
		fake.n = 0;
		size_t sent = ug_send_trains(sock, batch, trains,
					     sizeof(*trains), n_trains, 0);

		account_trains(sent);
		for (size_t k = 0; k < n_trains; k++)
			if (trains[k].status == UG_SENT)
				assert_int_equal(trains[k].n_sent,
						 (k + 1 < n_trains
							  ? first_number[k + 1]
							  : n_numbers) -
							 first_number[k]);
		fake.now_ms += 1500;
	}
}

/* A batch's own limit, for trains of both calls. */
static void batch_segments(void **state)
{
	(void)state;
	assert_int_equal(ug_batch_set_segments(batch, 16), 0);
	add(&ep_a, 64, 1000);
	add_train(&ep_six, 64, 1000, 1000);
	send_all(64);
	assert_int_equal(stats().trains[16], 4);
	send_trains(64);
	assert_int_equal(stats().trains[16], 8);
	assert_int_equal(ug_batch_set_segments(batch, 0), 0);
	send_all(64);
	assert_int_equal(stats().trains[64], 1);
	assert_int_equal(ug_batch_set_segments(batch, UG_MAX_SEGMENTS + 1),
			 -EINVAL);
}

#define TRAINS_TEST(f) \
	cmocka_unit_test_setup_teardown(f, trains_setup, sending_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TRAINS_TEST(whole),	     TRAINS_TEST(vectors_anywhere),
		TRAINS_TEST(too_long),	     TRAINS_TEST(windows),
		TRAINS_TEST(bad_trains),     TRAINS_TEST(refused),
		TRAINS_TEST(full),	     TRAINS_TEST(broken),
		TRAINS_TEST(control_data),   TRAINS_TEST(copied),
		TRAINS_TEST(staging_full),   TRAINS_TEST(random_trains),
		TRAINS_TEST(batch_segments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
