/* SPDX-License-Identifier: MIT */
/*
 * The port with a fake kernel: which sockets are open after which events, and
 * what the owner of the port is told. The linker replaces ug_open() and
 * ug_open_group() by functions of this file (--wrap), which open sockets of the fake
 * kernel.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "device/schedule.h"
#include "engine/port.h"
#include "tests/lib/check.h"
#include "tests/lib/fakesys.h"
#include "udpgather/open.h"

enum {
	NUMBER = 51820,
	OTHER = 51900,
	/* The main socket of a family and its side sockets, for two families. */
	SOCKETS = 2 * (1 + SIDE_SOCKETS),
};

struct fixture {
	struct sockets sockets;
	struct port port;
	unsigned int n_up;
	unsigned int n_down;
	unsigned int n_pokes;
	unsigned int n_wakes;
	/* As they were at the last call of set_up(). */
	bool had_sockets;
	int open_fds;
};

/* What the kernel has dropped before for each IPv4 socket that is opened. */
static int drops_before;

int __wrap_ug_open(struct ug_socket **out, const struct ug_options *opt,
		   struct ug_report *report);

int __wrap_ug_open(struct ug_socket **out, const struct ug_options *opt,
		   struct ug_report *report)
{
	int err = ug_socket_open_with(&fake_sys, out, opt, report);

	if (err == 0 && drops_before)
		fake_set_option(ug_fd(*out, AF_INET), SOL_SOCKET, SO_MEMINFO,
				drops_before);
	return err;
}

int __wrap_ug_open_group(struct ug_socket **out, unsigned int n,
			 const struct ug_options *opt,
			 struct ug_report *report);

int __wrap_ug_open_group(struct ug_socket **out, unsigned int n,
			 const struct ug_options *opt, struct ug_report *report)
{
	return ug_socket_open_group_with(&fake_sys, out, n, opt, report);
}

static void set_up(void *arg, bool up)
{
	struct fixture *f = arg;

	f->n_up += up;
	f->n_down += !up;
	f->had_sockets = sockets_get(&f->sockets) != NULL;
	f->open_fds = fake.open_fds;
}

static void poke(void *arg)
{
	struct fixture *f = arg;

	f->n_pokes++;
}

static void wake(void *arg)
{
	struct fixture *f = arg;

	f->n_wakes++;
}

static const struct port_ops ops = {
	.set_up = set_up,
	.poke = poke,
	.wake = wake,
};

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	fake_reset();
	sockets_init(&f.sockets);
	f.port = (struct port){
		.ops = &ops,
		.arg = &f,
		.sockets = &f.sockets,
		.n_sockets = 1,
	};
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	sockets_deinit(&f->sockets);
	return fake.open_fds;
}

/* Let another process have this port. */
static void occupy(uint16_t number)
{
	fake.busy_from = fake.busy_to = number;
}

static int set_number(struct fixture *f, uint16_t number)
{
	const struct device_sockets want = { .has_port = true, .port = number };
	uint16_t out = 0;
	int err = port_set(&f->port, &want, &out);

	if (err == 0)
		assert_int_equal(out, f->port.number);
	return err;
}

static int set_both(struct fixture *f, uint16_t number, uint32_t fwmark)
{
	const struct device_sockets want = {
		.has_port = true,
		.has_fwmark = true,
		.port = number,
		.fwmark = fwmark,
	};
	uint16_t out;

	return port_set(&f->port, &want, &out);
}

static void expect_open(struct fixture *f, uint16_t number)
{
	assert_true(f->port.is_open);
	assert_non_null(sockets_get(&f->sockets));
	assert_int_equal(ug_port(sockets_get(&f->sockets)), number);
	assert_int_equal(f->port.number, number);
	assert_int_equal(fake.open_fds, SOCKETS);
	assert_int_equal(port_tick(&f->port, UINT64_MAX - 1), SCHEDULE_NEVER);
}

static void expect_closed(struct fixture *f)
{
	assert_false(f->port.is_open);
	assert_null(sockets_get(&f->sockets));
	assert_int_equal(fake.open_fds, 0);
}

/* ------------------------------------------------------------------ the link */

static void link_up_and_down(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(set_number(f, NUMBER), 0);
	expect_closed(f);
	port_set_up(&f->port, 1);
	expect_open(f, NUMBER);
	assert_int_equal(f->n_up, 1);
	assert_int_equal(f->n_pokes, 1);
	assert_int_equal(f->n_wakes, 1);
	/* The owner is told before the first packet can arrive. */
	assert_false(f->had_sockets);

	/* A second port_set_up() changes nothing. */
	port_set_up(&f->port, 2);
	assert_int_equal(f->n_up, 1);
	assert_int_equal(f->n_pokes, 1);

	port_set_down(&f->port);
	expect_closed(f);
	assert_int_equal(f->n_down, 1);
	/* The owner is told before the sockets are closed. */
	assert_true(f->had_sockets);
	assert_int_equal(f->open_fds, SOCKETS);
	port_set_down(&f->port);
	assert_int_equal(f->n_down, 1);
	assert_int_equal(port_tick(&f->port, UINT64_MAX - 1), SCHEDULE_NEVER);
	expect_closed(f);
}

/* A port and a mark that another process has accepted, and that cannot be had now. */
static void restored(void **state)
{
	const struct device_sockets want = { .has_port = true,
					     .has_fwmark = true,
					     .is_restored = true,
					     .port = NUMBER,
					     .fwmark = 7 };
	struct fixture *f = *state;
	uint16_t out = 0;

	occupy(NUMBER);
	assert_int_equal(port_set(&f->port, &want, &out), 0);
	assert_int_equal(out, NUMBER);
	assert_int_equal(f->port.fwmark, 7);
	expect_closed(f);
	port_set_up(&f->port, 1);
	expect_closed(f);
	occupy(0);
	port_tick(&f->port, 1 + NSEC_PER_SEC);
	expect_open(f, NUMBER);
	/* While the sockets are open, they are changed. */
	occupy(OTHER);
	assert_int_equal(port_set(&f->port,
				  &(struct device_sockets){ .has_port = true,
							    .is_restored = true,
							    .port = OTHER },
				  &out),
			 -EADDRINUSE);
	expect_open(f, NUMBER);
	port_set_down(&f->port);
}

static void any_number_is_kept(void **state)
{
	struct fixture *f = *state;

	port_set_up(&f->port, 1);
	uint16_t number = f->port.number;

	assert_int_not_equal(number, 0);
	expect_open(f, number);
	port_set_down(&f->port);
	port_set_up(&f->port, 2);
	expect_open(f, number);
}

/* -------------------------------------------------------------- a busy port */

static void busy_at_link_up(void **state)
{
	struct fixture *f = *state;
	uint64_t now = 7 * NSEC_PER_SEC;

	assert_int_equal(set_number(f, NUMBER), 0);
	occupy(NUMBER);
	port_set_up(&f->port, now);
	expect_closed(f);
	assert_int_equal(f->n_up, 0);
	assert_int_equal(f->n_pokes, 0);
	assert_int_equal(f->n_wakes, 1);

	/* The port is tried again after each second, and not earlier. */
	for (int second = 0; second < 3; second++) {
		size_t calls = fake.socket_calls;
		uint64_t due = port_tick(&f->port, now);

		assert_int_equal(due, now + NSEC_PER_SEC);
		assert_int_equal(port_tick(&f->port, due - 1), due);
		assert_int_equal(fake.socket_calls, calls);
		now = due;
		assert_int_equal(port_tick(&f->port, now), now + NSEC_PER_SEC);
		assert_true(fake.socket_calls > calls);
		expect_closed(f);
	}
	occupy(0);
	assert_int_equal(port_tick(&f->port, now + NSEC_PER_SEC),
			 SCHEDULE_NEVER);
	expect_open(f, NUMBER);
	assert_int_equal(f->n_up, 1);
}

static void busy_until_link_down(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(set_number(f, NUMBER), 0);
	occupy(NUMBER);
	port_set_up(&f->port, 1);
	port_set_down(&f->port);
	occupy(0);
	assert_int_equal(port_tick(&f->port, UINT64_MAX - 1), SCHEDULE_NEVER);
	expect_closed(f);
	assert_int_equal(f->n_up + f->n_down, 0);
}

/* A new number is tried at once, not after the rest of the second. */
static void busy_then_another_number(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(set_number(f, NUMBER), 0);
	occupy(NUMBER);
	port_set_up(&f->port, 1);
	assert_int_equal(set_number(f, NUMBER), -EADDRINUSE);
	assert_int_equal(port_tick(&f->port, 2), 1 + NSEC_PER_SEC);
	assert_int_equal(set_number(f, OTHER), 0);
	assert_int_equal(f->n_wakes, 2);
	assert_int_equal(port_tick(&f->port, 2), SCHEDULE_NEVER);
	expect_open(f, OTHER);
}

/*
 * A request for a busy port fails even while the link is down. No socket stays
 * open.
 */
static void busy_while_down(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(set_number(f, OTHER), 0);
	occupy(NUMBER);
	assert_int_equal(set_number(f, NUMBER), -EADDRINUSE);
	expect_closed(f);
	assert_int_equal(f->port.number, OTHER);
	assert_int_equal(f->n_wakes, 0);
	port_set_up(&f->port, 1);
	expect_open(f, OTHER);
}

static void busy_while_up(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(set_number(f, NUMBER), 0);
	port_set_up(&f->port, 1);
	const struct ug_socket *sock = sockets_get(&f->sockets);

	occupy(OTHER);
	assert_int_equal(set_number(f, OTHER), -EADDRINUSE);
	expect_open(f, NUMBER);
	assert_ptr_equal(sockets_get(&f->sockets), sock);
	assert_int_equal(f->n_pokes, 1);
}

/* ------------------------------------------------------------------ changes */

static void another_number_while_up(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(set_number(f, NUMBER), 0);
	port_set_up(&f->port, 1);
	assert_int_equal(set_number(f, OTHER), 0);
	expect_open(f, OTHER);
	assert_int_equal(f->n_pokes, 2);
	/* The link has not changed. */
	assert_int_equal(f->n_up, 1);
	assert_int_equal(f->n_down, 0);

	/* If the number stays the same, the sockets stay. */
	size_t calls = fake.socket_calls;

	assert_int_equal(set_number(f, OTHER), 0);
	assert_int_equal(fake.socket_calls, calls);
	/* Number 0 means any port: the port opens other sockets. */
	assert_int_equal(set_number(f, 0), 0);
	assert_int_not_equal(f->port.number, OTHER);
	expect_open(f, f->port.number);
}

static int mark_of(const struct fixture *f, int family)
{
	return fake_option(ug_fd(sockets_get(f->port.sockets), family),
			   SOL_SOCKET, SO_MARK);
}

static void mark(void **state)
{
	struct fixture *f = *state;
	struct device_sockets want = { .has_fwmark = true, .fwmark = 5 };
	uint16_t number;

	/* A mark that is set while the link is down is kept for later. */
	assert_int_equal(port_set(&f->port, &want, &number), 0);
	assert_int_equal(number, 0);
	port_set_up(&f->port, 1);
	assert_int_equal(mark_of(f, AF_INET), 5);
	assert_int_equal(mark_of(f, AF_INET6), 5);
	want.fwmark = 6;
	assert_int_equal(port_set(&f->port, &want, &number), 0);
	assert_int_equal(number, f->port.number);
	assert_int_equal(mark_of(f, AF_INET), 6);
	assert_int_equal(mark_of(f, AF_INET6), 6);

	/* If the number cannot be had, the mark does not change. */
	occupy(OTHER);
	assert_int_equal(set_both(f, OTHER, 7), -EADDRINUSE);
	assert_int_equal(mark_of(f, AF_INET), 6);
	assert_int_equal(mark_of(f, AF_INET6), 6);
	assert_int_equal(f->port.fwmark, 6);
	occupy(0);
	assert_int_equal(set_both(f, OTHER, 7), 0);
	assert_int_equal(mark_of(f, AF_INET), 7);
	expect_open(f, OTHER);
}

/* Without the right to set marks, a mark is an error at once, also while the link is
 * down: sockets with that mark could never be opened. */
static void refused_mark(void **state)
{
	struct fixture *f = *state;
	struct device_sockets want = { .has_fwmark = true, .fwmark = 5 };
	uint16_t number;

	fake.refuses_marks = true;
	assert_int_equal(port_set(&f->port, &want, &number), -EPERM);
	assert_int_equal(set_both(f, NUMBER, 5), -EPERM);
	expect_closed(f);
	assert_int_equal(f->port.number, 0);
	port_set_up(&f->port, 1);
	assert_true(f->port.is_open);
	assert_int_equal(port_set(&f->port, &want, &number), -EPERM);
	assert_int_equal(f->port.fwmark, 0);
	/* No mark is no right. */
	port_set_down(&f->port);
	want.fwmark = 0;
	assert_int_equal(port_set(&f->port, &want, &number), 0);
}

static void switches(void **state)
{
	struct fixture *f = *state;

	for (int off = 0; off < 2; off++) {
		f->port.segments_off = f->port.merging_off = off;
		port_set_up(&f->port, 1);
		struct ug_socket *sock = sockets_get(&f->sockets);

		assert_int_equal(ug_get_segments(sock, AF_INET, NULL) > 1,
				 !off);
		assert_int_equal(
			fake_option(ug_fd(sock, AF_INET), SOL_UDP, UDP_GRO),
			!off);
		port_set_down(&f->port);
	}
}

/* ------------------------------------------------------------ several sockets */

enum {
	SEVERAL = 3,
	/* The first socket has side sockets. */
	SEVERAL_FDS = SOCKETS + 2 * (SEVERAL - 1),
};

static void expect_several(struct fixture *f, uint16_t number)
{
	const struct sock_group *group = sockets_get_all(&f->sockets);

	assert_true(f->port.is_open);
	assert_int_equal(fake.open_fds, SEVERAL_FDS);
	assert_int_equal(group->n, SEVERAL);
	for (unsigned int i = 0; i < SEVERAL; i++) {
		assert_int_equal(ug_port(group->all[i]), number);
		assert_int_equal(fake_option(ug_fd(group->all[i], AF_INET6),
					     SOL_UDP, UDP_GRO),
				 !f->port.merging_off);
	}
	assert_true(fake_option(ug_fd(group->all[0], AF_INET), SOL_SOCKET,
				SO_ATTACH_REUSEPORT_CBPF) > 0);
	assert_true(fake_option(ug_fd(group->all[0], AF_INET6), SOL_SOCKET,
				SO_ATTACH_REUSEPORT_CBPF) > 0);
	assert_null(sock_group_member(group, SEVERAL));
	assert_null(sock_group_member(NULL, 0));
}

static void several(void **state)
{
	struct fixture *f = *state;

	f->port.n_sockets = SEVERAL;
	/* While the link is down, the number is tried. */
	occupy(OTHER);
	assert_int_equal(set_number(f, OTHER), -EADDRINUSE);
	assert_int_equal(set_number(f, NUMBER), 0);
	expect_closed(f);
	for (int i = 0; i < 2; i++) {
		port_set_up(&f->port, 1);
		expect_several(f, NUMBER);
		assert_int_equal(set_number(f, OTHER), -EADDRINUSE);
		expect_several(f, NUMBER);
		port_set_down(&f->port);
		expect_closed(f);
	}
	occupy(0);
	f->port.merging_off = true;
	port_set_up(&f->port, 1);
	assert_int_equal(set_number(f, OTHER), 0);
	expect_several(f, OTHER);
}

/* All sockets have the mark, or all have the old one. */
static void mark_of_several(void **state)
{
	struct fixture *f = *state;
	struct device_sockets want = { .has_fwmark = true, .fwmark = 5 };
	uint16_t number;

	f->port.n_sockets = SEVERAL;
	port_set_up(&f->port, 1);
	const struct sock_group *group = sockets_get_all(&f->sockets);

	assert_int_equal(port_set(&f->port, &want, &number), 0);
	for (unsigned int i = 0; i < SEVERAL; i++)
		assert_int_equal(fake_option(ug_fd(group->all[i], AF_INET),
					     SOL_SOCKET, SO_MARK),
				 5);
	size_t calls = fake.socket_calls;

	want.fwmark = 6;
	assert_int_equal(port_set(&f->port, &want, &number), 0);
	calls = fake.socket_calls - calls;
	want.fwmark = 7;
	for (size_t k = 1; k <= calls; k++) {
		fake.socket_calls = 0;
		fake.fail_socket_call = k;
		fake.fail_socket_err = EPERM;
		assert_int_equal(port_set(&f->port, &want, &number), -EPERM);
		fake.fail_socket_call = 0;
		for (unsigned int i = 0; i < SEVERAL; i++)
			assert_int_equal(
				fake_option(ug_fd(group->all[i], AF_INET),
					    SOL_SOCKET, SO_MARK),
				6);
	}
	assert_int_equal(f->port.fwmark, 6);
}

/* If the kernel does not steer, there is one socket, from then on. */
static void no_steering(void **state)
{
	struct fixture *f = *state;
	size_t attach;

	f->port.n_sockets = SEVERAL;
	port_set_up(&f->port, 1);
	/* The program is the last thing that is set, in both families. */
	attach = fake.socket_calls - 1;
	port_set_down(&f->port);
	fake.socket_calls = 0;
	fake.fail_socket_call = attach;
	fake.fail_socket_err = ENOMEM;
	port_set_up(&f->port, 1);
	expect_open(f, f->port.number);
	assert_int_equal(sockets_get_all(&f->sockets)->n, 1);
	assert_int_equal(f->port.n_sockets, 1);
	assert_int_equal(set_number(f, OTHER), 0);
	expect_open(f, OTHER);
}

/* Sockets of another process are adopted without telling the owner; the messages that
 * the kernel has dropped for them before are not counted. */
static void adopted_sockets(void **state)
{
	struct fixture *f = *state;
	uint64_t drops[2];

	assert_int_equal(set_number(f, NUMBER), 0);
	drops_before = 7;
	assert_int_equal(port_adopt(&f->port), 0);
	drops_before = 0;
	expect_open(f, NUMBER);
	assert_int_equal(f->n_up, 0);
	sockets_count_drops(&f->sockets, drops);
	assert_int_equal(drops[0], 0);
	assert_int_equal(drops[1], 0);
	fake_set_option(ug_fd(sockets_get(&f->sockets), AF_INET), SOL_SOCKET,
			SO_MEMINFO, 9);
	sockets_count_drops(&f->sockets, drops);
	assert_int_equal(drops[0], 2);
	/* From now on they are as others. */
	port_set_up(&f->port, 1);
	assert_int_equal(f->n_up, 0);
	port_set_down(&f->port);
	assert_int_equal(f->n_down, 1);
	expect_closed(f);
	sockets_count_drops(&f->sockets, drops);
	assert_int_equal(drops[0], 2);
}

static void refused_adoption(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(set_number(f, NUMBER), 0);
	occupy(NUMBER);
	assert_int_equal(port_adopt(&f->port), -EADDRINUSE);
	assert_false(f->port.is_open);
	expect_closed(f);
}

/* The sockets of the port belong to another process: the owner is not told that they
 * are closed. */
static void abandoned_sockets(void **state)
{
	struct fixture *f = *state;

	port_set_up(&f->port, 1);
	port_abandon(&f->port);
	port_set_down(&f->port);
	assert_int_equal(f->n_down, 0);
	assert_int_equal(fake.open_fds, SOCKETS);
	assert_int_equal(port_tick(&f->port, UINT64_MAX - 1), SCHEDULE_NEVER);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(link_up_and_down),
		TEST(restored),
		TEST(any_number_is_kept),
		TEST(busy_at_link_up),
		TEST(busy_until_link_down),
		TEST(busy_then_another_number),
		TEST(busy_while_down),
		TEST(busy_while_up),
		TEST(another_number_while_up),
		TEST(mark),
		TEST(refused_mark),
		TEST(switches),
		TEST(several),
		TEST(mark_of_several),
		TEST(no_steering),
		TEST(adopted_sockets),
		TEST(refused_adoption),
		TEST(abandoned_sockets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
