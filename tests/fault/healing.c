/* SPDX-License-Identifier: MIT */
/*
 * ug_send() over a kernel that refuses trains for a while, or by chance. Every
 * datagram that passes alone is sent, and soon after trains can pass again they
 * are used again.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/fault/sending.h"
#include "tests/lib/check.h"
#include "udpgather/open.h"

enum {
	/* Datagrams of one round of traffic: one train. A choice. */
	ROUND = 20
};

static int refuses; /* the errno for trains; 0: they pass */
static const struct ug_endpoint *refused_to; /* NULL: everywhere */

static int train_rule(const struct fake_message *m)
{
	if (!m->segment_len ||
	    (refused_to && ug_endpoint_compare(refused_to, &m->to)))
		return 0;
	return refuses;
}

static void make_traffic(const struct ug_endpoint *to, size_t len)
{
	n_dgrams = 0;
	add(to, ROUND, len);
	refused_to = NULL;
	fake.rule = train_rule;
}

/*
 * Send one round of traffic. Return: the number of trains given to the kernel.
 */
static unsigned int go(void)
{
	struct ug_send_stats was = stats(), now;

	fake.send_calls = 0;
	send_all(n_dgrams);
	now = stats();
	return (unsigned int)(now.split_eio + now.split_einval +
			      now.split_emsgsize + now.split_other -
			      was.split_eio - was.split_einval -
			      was.split_emsgsize - was.split_other) +
	       (unsigned int)(now.trains[ROUND] - was.trains[ROUND]);
}

/*
 * Traffic every 100 ms, or every second if it goes on for long.
 *
 * Return: the number of trains that were tried.
 */
static unsigned int go_for(int64_t ms)
{
	int64_t step = ms > 200000 ? 1000 : 100;
	unsigned int n = 0;

	for (int64_t end = fake.now_ms + ms; fake.now_ms < end;
	     fake.now_ms += step)
		n += go();
	return n;
}

/*
 * If the kernel refuses trains to an address, trains stop at once. Then single
 * trains are tried. After the first one that passes, all datagrams leave in
 * trains again. This holds in both families.
 */
static void tried_again(void **state)
{
	static const int errs[] = { EIO, EINVAL, EMSGSIZE };
	const struct ug_endpoint *const to[] = { &ep_a, &ep_six };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(errs) * 2; i++) {
		n_notices = 0;
		make_traffic(to[i % 2], 400);
		refuses = errs[i / 2];
		assert_int_equal(go(), 1);
		assert_int_equal(n_notices, 1);
		/* Tries at 1, 3, 7, 15, 31 and 63 s. */
		assert_int_equal(go_for(100000), 6);
		assert_int_equal(n_notices, 1);
		/* From here on the pause has its longest length. */
		go_for(3600000);
		assert_int_equal(go_for(1200000), 2);
		refuses = 0;
		go_for(601000);
		assert_int_equal(go_for(1000), 10);
		assert_int_equal(n_notices, 2);
		assert_int_equal(notices[1].what, UG_NOTICE_ENDPOINT_RECOVERED);
		assert_false(ug_path_knows(sock->paths));
	}
}

/* A single refusal stops trains for one second. */
static void transient(void **state)
{
	static const int errs[] = { EIO, EINVAL, EMSGSIZE };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
		make_traffic(&ep_a, 1400);
		refuses = errs[i];
		assert_int_equal(go(), 1);
		refuses = 0;
		assert_int_equal(go_for(1000), 0);
		assert_int_equal(go_for(1000), 10);
	}
}

/* After a time without traffic, a train to an endpoint is tried at once. */
static void after_silence(void **state)
{
	(void)state;
	make_traffic(&ep_a, 1400);
	refuses = EIO;
	go_for(100000);
	refuses = 0;
	assert_int_equal(go_for(1000), 0);
	fake.now_ms += PATH_IDLE_MS;
	assert_int_equal(go_for(1000), 10);
}

/* A single datagram is no train, and does not use up the try. */
static void try_waits_for_a_train(void **state)
{
	(void)state;
	make_traffic(&ep_a, 1400);
	refuses = EIO;
	go();
	refuses = 0;
	fake.now_ms += 1000;
	n_dgrams = 1;
	send_all(1);
	n_dgrams = ROUND;
	assert_int_equal(go(), 1);
	assert_int_equal(go(), 1);
}

/* A window of many trains tries one of them. */
static void one_of_many(void **state)
{
	(void)state;
	make_traffic(&ep_a, 1400);
	refuses = EIO;
	go();
	n_dgrams = 0;
	for (size_t i = 0; i < 6; i++) {
		add(&ep_a, 10, 1400);
		add(&ep_b, 10, 1400);
		add(&ep_a, 1, 1000 + i);
	}
	refused_to = &ep_a;
	fake.now_ms += 1000;
	uint64_t was = stats().split_eio;

	send_all(n_dgrams);
	assert_int_equal(stats().split_eio, was + 1);
	fake.now_ms += 2000;
	refuses = 0;
	send_all(n_dgrams);
	size_t in_trains = 0;

	for (size_t k = 0; k < fake.n; k++)
		if (!ug_endpoint_compare(&fake.log[k].to, &ep_a))
			in_trains += fake.log[k].train > 1;
	assert_int_equal(in_trains, 11);
}

/*
 * A train that is to be tried, and waits behind a refused one, is still tried.
 */
static void try_in_a_window_made_anew(void **state)
{
	(void)state;
	make_traffic(&ep_b, 1400);
	refuses = EIO;
	go();
	fake.now_ms += 1000;
	n_dgrams = 0;
	add(&ep_a, ROUND, 1400);
	add(&ep_b, ROUND, 1400);
	refused_to = &ep_a;
	assert_int_equal(go(), 2);
	assert_int_equal(fake.log[ROUND].train, ROUND);
	assert_int_equal(ug_path_cap(sock->paths, &ep_b, 0, NULL),
			 PATH_UNLIMITED);
}

/*
 * If the destination refuses single datagrams, too, a try shows nothing, and
 * trains stay off.
 */
static int dead_errno;

static int dead_rule(const struct fake_message *m)
{
	(void)m;
	return dead_errno;
}

static void try_to_a_dead_end(void **state)
{
	(void)state;
	make_traffic(&ep_a, 1400);
	refuses = EIO;
	go();
	fake.rule = dead_rule;
	dead_errno = EHOSTUNREACH;
	fake.now_ms += 1000;
	send_all(0);
	fake.rule = train_rule;
	assert_int_equal(ug_path_cap(sock->paths, &ep_a, 0, NULL),
			 PATH_UNSEGMENTED);
	/* The pause has started again and has not doubled. */
	assert_int_equal(go_for(1000), 0);
	assert_int_equal(go(), 1);
}

/*
 * A firewall rule that refuses long packets. It gives EPERM; other parts of a
 * kernel give EACCES and further errors.
 */
static size_t longest;

static int length_rule(const struct fake_message *m)
{
	return m->bytes > longest ? refuses : 0;
}

/* Every datagram passes; after three trains in a row no more are made. */
static void refused_by_length(void **state)
{
	static const int errs[] = { EPERM, EACCES, EDOM, EL2HLT };
	const struct ug_endpoint *const to[] = { &ep_a, &ep_six };

	(void)state;
	longest = 1472;
	for (size_t i = 0; i < ARRAY_LEN(errs) * 2; i++) {
		uint64_t was = stats().split_other;

		n_notices = 0;
		make_traffic(to[i % 2], 1400);
		fake.rule = length_rule;
		refuses = errs[i / 2];
		assert_int_equal(go(), 1);
		assert_int_equal(go(), 1);
		assert_int_equal(n_notices, 0);
		assert_int_equal(go(), 1);
		assert_int_equal(n_notices, 1);
		assert_int_equal(notices[0].what,
				 UG_NOTICE_ENDPOINT_UNSEGMENTED);
		assert_int_equal(notices[0].err, refuses);
		assert_int_equal(go_for(100000), 6);
		assert_int_equal(stats().split_other - was, 9);
		/* The rule is gone. */
		refuses = 0;
		go_for(64000);
		assert_int_equal(go_for(1000), 10);
		assert_int_equal(n_notices, 2);
	}
}

/* A train that passes in between resets the count of refusals. */
static void refused_now_and_then(void **state)
{
	(void)state;
	make_traffic(&ep_a, 1400);
	for (int i = 0; i < 30; i++) {
		refuses = i % 3 == 2 ? 0 : EPERM;
		assert_int_equal(go(), 1);
	}
	assert_int_equal(n_notices, 0);
	assert_int_equal(ug_path_cap(sock->paths, &ep_a, 0, NULL),
			 PATH_UNLIMITED);
}

/* A firewall rule that limits a rate: each message takes a token. */
static unsigned int tokens;

static int rate_rule(const struct fake_message *m)
{
	(void)m;
	if (!tokens)
		return EPERM;
	tokens--;
	return 0;
}

/*
 * After a train was refused by chance, each of its datagrams takes a token. If
 * only some of the datagrams pass, nothing is learned.
 */
static void refused_by_rate(void **state)
{
	const struct ug_endpoint *const to[] = { &ep_a, &ep_six };

	(void)state;
	for (int i = 0; i < 600; i++) {
		make_traffic(to[i % 2], 1400);
		fake.rule = rate_rule;
		tokens = 0;
		fake.n = 0;
		/* The first call is refused; later calls find tokens. */
		fake.send_calls = 0;
		fake.errs[0] = EPERM;
		tokens = (unsigned int)(i / 2) % ROUND;
		assert_int_equal(
			ug_send(sock, batch, NULL, dgrams, ROUND, status, 0),
			(unsigned int)(i / 2) % ROUND);
		account((unsigned int)(i / 2) % ROUND);
		fake.errs[0] = 0;
	}
	assert_int_equal(n_notices, 0);
	assert_int_equal(ug_path_cap(sock->paths, &ep_a, 0, NULL),
			 PATH_UNLIMITED);
}

/* An error that says nothing about the train does not split it. */
static void not_of_the_train(void **state)
{
	static const int errs[] = { EAGAIN,	 ENOBUFS,      ENOMEM,
				    EINTR,	 ECONNREFUSED, EHOSTUNREACH,
				    ENETUNREACH, EACCES,       EPROTO,
				    ENOPROTOOPT, EOPNOTSUPP,   EHOSTDOWN,
				    ENETDOWN,	 ENONET,       EMSGSIZE };

	(void)state;
	make_traffic(&ep_a, 1400);
	fake.rule = NULL;
	for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
		fake.send_calls = 0;
		fake.errs[0] = errs[i];
		ug_send(sock, batch, NULL, dgrams, n_dgrams, status, 5);
		assert_int_equal(stats().trains[ROUND], i + 1);
	}
	assert_int_equal(stats().trains[1], 0);
	assert_false(ug_path_knows(sock->paths));
}

/*
 * The socket becomes full during a trial: nothing is learned, and nothing lost.
 */
static void full_in_a_trial(void **state)
{
	(void)state;
	make_traffic(&ep_a, 1400);
	refuses = EPERM;
	for (int i = 0; i < 5; i++) {
		fake.send_calls = 0;
		fake.short_at = 7;
		memset(fake.errs, 0, sizeof(fake.errs));
		fake.errs[2] = EAGAIN;
		fake.n = 0;
		assert_int_equal(
			ug_send(sock, batch, NULL, dgrams, n_dgrams, status, 0),
			7);
		account(7);
		expect_status(7, ROUND - 7, UG_UNSENT);
	}
	assert_int_equal(n_notices, 0);
}

static struct random chance;

/* Trains are refused often, single datagrams seldom, for any reason. */
static int random_rule(const struct fake_message *m)
{
	static const int errs[] = { EIO,    EMSGSIZE, EINVAL,	   EPERM,
				    EACCES, EDOM,     EHOSTUNREACH };
	size_t dice = random_below(&chance, m->segment_len ? 12 : 200);

	return dice < ARRAY_LEN(errs) ? errs[dice] : 0;
}

/*
 * After any series of refusals, every datagram is accounted for, and once
 * trains pass again all are back within 10 minutes.
 */
static void heals_from_anything(void **state)
{
	const struct ug_endpoint *all[] = { &ep_a, &ep_b, &ep_c, &ep_six };
	size_t n_learnt = 0;

	(void)state;
	random_init(&chance, 0x5eed0010);
	for (int round = 0; round < 20; round++) {
		n_dgrams = 0;
		while (n_dgrams < 120)
			add(all[random_below(&chance, 4)],
			    2 + random_below(&chance, 30),
			    4 + 300 * random_below(&chance, 5));
		fake.rule = random_rule;
		for (int k = 0; k < 25; k++) {
			fake.n = 0;
			account(ug_send(sock, batch, NULL, dgrams, n_dgrams,
					status, 0));
			fake.now_ms += (int)random_below(&chance, 2000);
		}
		n_learnt += ug_path_knows(sock->paths);
		fake.rule = NULL;
		for (int k = 0; k < 610; k++, fake.now_ms += 1000) {
			fake.n = 0;
			ug_send(sock, batch, NULL, dgrams, n_dgrams, status, 0);
		}
		assert_false(ug_path_knows(sock->paths));
	}
	/* The run must have caused refusals that were learned. */
	assert_true(n_learnt > 10);
}

/*
 * On a kernel that corrupts trains of equal datagrams, no such trains are sent.
 */
static void uneven_trains(void **state)
{
	struct ug_socket *good = sock;
	struct ug_options opt = { .size = sizeof(opt) };

	(void)state;
	fake.release = "7.1.2";
	assert_int_equal(ug_socket_open_with(&fake_sys, &sock, &opt, NULL), 0);
	add(&ep_a, 20, 1400); /* and a shorter one: a train of 21 */
	add(&ep_a, 1, 700);
	add(&ep_a, 5, 1400); /* ended by a longer one: alone */
	add(&ep_a, 1, 1401);
	add(&ep_b, 64, 100); /* a full train, and one more */
	add(&ep_b, 1, 99);
	add(&ep_six, 2, 1400);
	send_all(94);
	assert_int_equal(stats().trains[21], 1);
	assert_int_equal(stats().messages, 1 + 94 - 21);
	/* An explicit number overrides that. */
	assert_int_equal(ug_set_segments(sock, 64), 0);
	send_all(94);
	assert_int_equal(stats().trains[64], 1);
	assert_int_equal(stats().trains[5], 1);
	ug_close(sock);
	sock = good;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SENDING_TEST(tried_again),
		SENDING_TEST(transient),
		SENDING_TEST(after_silence),
		SENDING_TEST(try_waits_for_a_train),
		SENDING_TEST(one_of_many),
		SENDING_TEST(try_in_a_window_made_anew),
		SENDING_TEST(try_to_a_dead_end),
		SENDING_TEST(refused_by_length),
		SENDING_TEST(refused_now_and_then),
		SENDING_TEST(refused_by_rate),
		SENDING_TEST(not_of_the_train),
		SENDING_TEST(full_in_a_trial),
		SENDING_TEST(heals_from_anything),
		SENDING_TEST(uneven_trains),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
