/* SPDX-License-Identifier: MIT */
/*
 * Sockets that share a port: opening one by one and as a group, with each step
 * failing in turn, and the program that steers.
 */
#include <errno.h>
#include <linux/filter.h>
#include <netinet/udp.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "tests/lib/fakesys.h"
#include "udpgather/open.h"

static struct ug_report report;

static int setup(void **state)
{
	(void)state;
	fake_reset();
	memset(&report, 0x55, sizeof(report));
	report.size = sizeof(report);
	return 0;
}

static int open_with(const struct ug_options *opt, struct ug_socket **out)
{
	*out = NULL;
	return ug_socket_open_with(&fake_sys, out, opt, &report);
}

static int open_group(struct ug_socket **out, unsigned int n,
		      const struct ug_options *opt)
{
	return ug_socket_open_group_with(&fake_sys, out, n, opt, &report);
}

static void expect_closed(int err, int expected)
{
	assert_int_equal(err, expected);
	assert_int_equal(fake.open_fds, 0);
	assert_int_equal(report.port, 0);
}

/* Sockets with the option share a port; none is bound to a port of another by
 * chance, and none merges. */
static void shared_port(void **state)
{
	static const int fds[] = {
		FAKE_FD4,
		FAKE_FD6,
		FAKE_FD4 + FAKE_NEXT,
		FAKE_FD6 + FAKE_NEXT,
	};
	struct ug_options opt = { .size = sizeof(opt), .reuse_port = true };
	struct ug_socket *first, *second, *alone;

	(void)state;
	assert_int_equal(open_with(&opt, &first), 0);
	assert_false(report.v4.merges || report.v6.merges);
	opt.port = report.port;
	assert_int_equal(open_with(&opt, &second), 0);
	assert_int_equal(report.port, opt.port);
	assert_int_equal(fake.open_fds, 4);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		assert_int_equal(fake_option(fds[i], SOL_SOCKET, SO_REUSEPORT),
				 1);
		assert_int_not_equal(fake_option(fds[i], IPPROTO_UDP, UDP_GRO),
				     1);
	}
	/* Merging can be switched on. */
	assert_int_equal(ug_set_merging(second, true), 0);
	assert_int_equal(
		fake_option(FAKE_FD6 + FAKE_NEXT, IPPROTO_UDP, UDP_GRO), 1);
	assert_int_not_equal(fake_option(FAKE_FD6, IPPROTO_UDP, UDP_GRO), 1);
	/* A socket without the option does not get the port. */
	opt.reuse_port = false;
	assert_int_equal(open_with(&opt, &alone), -EADDRINUSE);
	ug_close(second);
	ug_close(first);
	/* The option does not go together with side sockets. */
	opt.reuse_port = true;
	opt.side_sockets = 1;
	assert_int_equal(open_with(&opt, &alone), -EINVAL);
	/* The kernel must not choose a port that is shared already. */
	opt.side_sockets = 0;
	opt.port = 0;
	setup(NULL);
	assert_int_equal(open_with(&opt, &first), 0);
	for (size_t i = 0; i < fake.n_bound; i++)
		assert_false(fake.bound_shared[i]);
	ug_close(first);
}

/* Each step of opening a shared port fails in turn. */
static void shared_port_steps(void **state)
{
	struct ug_options opt = { .size = sizeof(opt), .reuse_port = true };
	struct ug_socket *sock;
	size_t calls, n_named = 0;

	(void)state;
	for (uint16_t port = 0; port <= 7; port += 7) {
		opt.port = port;
		setup(NULL);
		assert_int_equal(open_with(&opt, &sock), 0);
		calls = fake.socket_calls;
		ug_close(sock);
		for (size_t k = 1; k <= calls; k++) {
			setup(NULL);
			fake.fail_socket_call = k;
			fake.fail_socket_err = ENOPROTOOPT;
			int err = open_with(&opt, &sock);

			if (err == 0) {
				ug_close(sock);
				continue;
			}
			expect_closed(err, -ENOPROTOOPT);
			n_named += report.v4.step &&
				   !strcmp(report.v4.step, "SO_REUSEPORT");
			n_named += report.v6.step &&
				   !strcmp(report.v6.step, "SO_REUSEPORT");
		}
	}
	/* In both families, before bind(2) and after it. */
	assert_int_equal(n_named, 2 * 2);
}

/* A descriptor that merges may hold merged datagrams: it goes on for now. */
static void shared_descriptor(void **state)
{
	static const int fds[FAMILIES] = { FAKE_FD4, FAKE_FD6 };
	struct ug_options opt = { .size = sizeof(opt), .reuse_port = true };
	struct ug_socket *sock;

	(void)state;
	fake.open_fds = 2;
	fake_bound_port[0] = fake_bound_port[1] = 7;
	fake_set_option(FAKE_FD4, IPPROTO_UDP, UDP_GRO, 1);
	assert_int_equal(
		ug_socket_adopt_with(&fake_sys, &sock, fds, &opt, &report), 0);
	assert_true(report.v4.merges);
	assert_false(report.v6.merges);
	/* SO_REUSEPORT counts when a socket is bound, which is past. */
	assert_int_equal(fake_option(FAKE_FD4, SOL_SOCKET, SO_REUSEPORT), -1);
	assert_int_equal(ug_set_merging(sock, false), 0);
	assert_int_equal(fake_option(FAKE_FD4, IPPROTO_UDP, UDP_GRO), 0);
	ug_close(sock);
}

/* The first socket of a group must have the port for itself, the others join. */
static void group(void **state)
{
	struct ug_options opt = { .size = sizeof(opt), .port = 7 };
	struct ug_socket *out[3], *joined, *again[2];

	(void)state;
	assert_int_equal(open_group(out, 3, &opt), 0);
	assert_int_equal(fake.open_fds, 6);
	assert_int_equal(fake.n_bound, 6);
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(fake.bound_shared[i], i >= 2);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(ug_port(out[i]), 7);
		assert_int_equal(fake_option(ug_fd(out[i], AF_INET), SOL_SOCKET,
					     SO_REUSEPORT),
				 1);
	}
	assert_false(report.v4.merges || report.v6.merges);
	/* One more socket can join; a second group cannot. */
	opt.reuse_port = true;
	assert_int_equal(open_with(&opt, &joined), 0);
	ug_close(joined);
	assert_int_equal(open_group(again, 2, &opt), -EADDRINUSE);
	assert_string_equal(report.v4.step, "bind");
	assert_int_equal(fake.open_fds, 6);
	for (size_t i = 0; i < 3; i++)
		ug_close(out[i]);
	assert_int_equal(fake.open_fds, 0);

	/* With port 0 all have the port that the first one was given. */
	opt.port = 0;
	assert_int_equal(open_group(out, 3, &opt), 0);
	assert_true(ug_port(out[0]) > 0);
	assert_int_equal(ug_port(out[1]), ug_port(out[0]));
	assert_int_equal(ug_port(out[2]), ug_port(out[0]));
	assert_int_equal(report.port, ug_port(out[0]));
	for (size_t i = 0; i < 3; i++)
		ug_close(out[i]);

	assert_int_equal(open_group(out, 1, NULL), 0);
	ug_close(out[0]);
	assert_int_equal(open_group(out, 0, &opt), -EINVAL);
	opt.size = 1;
	assert_int_equal(open_group(out, 2, &opt), -EINVAL);
	assert_int_equal(fake.open_fds, 0);
}

static void close_two(struct ug_socket **out)
{
	ug_close(out[0]);
	ug_close(out[1]);
}

/* The first socket has the side sockets. They are bound last, and share the port. */
static void group_with_sides(void **state)
{
	struct ug_options opt = { .size = sizeof(opt), .side_sockets = 2 };
	struct ug_socket *out[2];

	(void)state;
	assert_int_equal(open_group(out, 2, &opt), 0);
	assert_int_equal(fake.open_fds, 2 * 2 + 2 * 2);
	assert_int_equal(fake.n_bound, 2 * 2 + 2 * 2);
	assert_int_equal(ug_side_fd(out[1], AF_INET, 0), -ENOENT);
	for (unsigned int i = 0; i < 4; i++) {
		int fd = ug_side_fd(out[0], i < 2 ? AF_INET : AF_INET6, i % 2);

		assert_int_equal(fake.bound[4 + i], fd);
		assert_int_equal(fake_option(fd, SOL_SOCKET, SO_REUSEPORT), 1);
		assert_int_not_equal(fake_option(fd, IPPROTO_UDP, UDP_GRO), 1);
	}
	for (int on = 1; on >= 0; on--) {
		assert_int_equal(ug_set_merging(out[0], on), 0);
		for (unsigned int i = 0; i < 4; i++)
			assert_int_equal(
				fake_option(
					ug_side_fd(out[0],
						   i < 2 ? AF_INET : AF_INET6,
						   i % 2),
					IPPROTO_UDP, UDP_GRO),
				on);
	}
	close_two(out);
	assert_int_equal(fake.open_fds, 0);
}

/* Side sockets that the kernel refuses are left out, in that family. */
static void group_without_sides(void **state)
{
	struct ug_options opt = { .size = sizeof(opt), .side_sockets = 1 };
	struct ug_socket *out[2];
	size_t begin, end, n_left_out = 0;

	(void)state;
	assert_int_equal(open_group(out, 2, NULL), 0);
	begin = fake.socket_calls;
	close_two(out);
	setup(NULL);
	assert_int_equal(open_group(out, 2, &opt), 0);
	end = fake.socket_calls;
	close_two(out);
	for (size_t k = begin + 1; k <= end; k++) {
		setup(NULL);
		fake.fail_socket_call = k;
		fake.fail_socket_err = EMFILE;
		assert_int_equal(open_group(out, 2, &opt), 0);
		int n = (ug_side_fd(out[0], AF_INET, 0) >= 0) +
			(ug_side_fd(out[0], AF_INET6, 0) >= 0);

		assert_int_equal(fake.open_fds, 4 + n);
		n_left_out += n == 1;
		assert_true(n >= 1);
		close_two(out);
	}
	/* As in group_steps(): each side socket has as many steps. */
	assert_int_equal(n_left_out, 6 + 7);
}

/* All sockets of a group know what one of them learns. The last one that is closed
 * frees the memory of it. */
static void group_learns_together(void **state)
{
	struct ug_socket *out[2], *alone;

	(void)state;
	assert_int_equal(open_group(out, 2, NULL), 0);
	assert_int_equal(open_with(NULL, &alone), 0);
	assert_ptr_equal(out[0]->paths, out[1]->paths);
	assert_ptr_not_equal(out[0]->paths, alone->paths);
	uint32_t generation = ug_path_generation(out[1]->paths);

	ug_network_changed(out[0]);
	assert_int_not_equal(ug_path_generation(out[1]->paths), generation);
	ug_close(alone);
	ug_close(out[0]);
	assert_int_not_equal(ug_path_generation(out[1]->paths), generation);
	ug_close(out[1]);
}

/* The sockets of a group have one family if the kernel has one. */
static void group_of_one_family(void **state)
{
	struct ug_socket *out[2];

	(void)state;
	fake.lacks_family = AF_INET6;
	assert_int_equal(open_group(out, 2, NULL), 0);
	assert_int_equal(fake.open_fds, 2);
	assert_int_equal(report.v6.err, -EAFNOSUPPORT);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(ug_fd(out[i], AF_INET6), -EAFNOSUPPORT);
		ug_close(out[i]);
	}
}

/* If a step of any socket fails, nothing stays open. */
static void group_steps(void **state)
{
	struct ug_options opt = { .size = sizeof(opt) };
	struct ug_socket *out[3];
	size_t n_failed = 0;

	(void)state;
	assert_int_equal(open_group(out, 3, &opt), 0);
	size_t calls = fake.socket_calls;

	for (size_t i = 0; i < 3; i++)
		ug_close(out[i]);
	for (size_t k = 1; k <= calls; k++) {
		setup(NULL);
		fake.fail_socket_call = k;
		fake.fail_socket_err = EMFILE;
		int err = open_group(out, 3, &opt);

		if (err == 0) {
			assert_int_equal(fake.open_fds, 6);
			for (size_t i = 0; i < 3; i++)
				ug_close(out[i]);
			continue;
		}
		expect_closed(err, -EMFILE);
		n_failed++;
	}
	/* For each socket: socket, packet info, TOS, SO_REUSEPORT, bind and name;
	 * and V6ONLY. */
	assert_int_equal(n_failed, 3 * (6 + 7));
}

/* A program goes to the families that are named, and can be removed. */
static void steering(void **state)
{
	struct sock_filter code[] = { { BPF_RET | BPF_K, 0, 0, 1 } };
	struct sock_fprog filter = { .len = 1, .filter = code };
	struct ug_options four = { .size = sizeof(four),
				   .families = UG_IPV4_ONLY };
	struct ug_socket *out[2];

	(void)state;
	assert_int_equal(open_group(out, 2, NULL), 0);
	int fd4 = ug_fd(out[1], AF_INET), fd6 = ug_fd(out[1], AF_INET6);

	assert_int_equal(ug_set_steering(out[1], AF_INET6, &filter), 0);
	assert_int_equal(fake_option(fd4, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF),
			 -1);
	assert_int_equal(fake_option(fd6, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF),
			 1);
	assert_int_equal(ug_set_steering(out[1], AF_UNSPEC, &filter), 0);
	assert_int_equal(fake_option(fd4, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF),
			 1);
	assert_int_equal(ug_set_steering_fd(out[1], AF_INET, 55), 0);
	assert_int_equal(fake_option(fd4, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF),
			 55);
	assert_int_equal(fake_option(fd6, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF),
			 -1);
	assert_int_equal(ug_set_steering(out[1], AF_INET6, NULL), 0);
	assert_int_equal(fake_option(fd6, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF),
			 0);
	/* Each call to the kernel may fail. */
	for (size_t k = 1; k <= 2; k++) {
		fake.socket_calls = 0;
		fake.fail_socket_call = k;
		fake.fail_socket_err = EINVAL;
		assert_int_equal(ug_set_steering(out[0], AF_UNSPEC, &filter),
				 -EINVAL);
		fake.socket_calls = 0;
		assert_int_equal(ug_set_steering_fd(out[0], AF_UNSPEC, 55),
				 -EINVAL);
		/* If there is no program to remove, nothing is wrong. */
		fake.socket_calls = 0;
		fake.fail_socket_err = ENOENT;
		assert_int_equal(ug_set_steering(out[0], AF_UNSPEC, NULL), 0);
		assert_int_equal(fake.socket_calls, 2);
		fake.socket_calls = 0;
		assert_int_equal(ug_set_steering(out[0], AF_UNSPEC, &filter),
				 -ENOENT);
	}
	assert_int_equal(ug_set_steering(out[0], AF_UNIX, &filter),
			 -EAFNOSUPPORT);
	ug_close(out[0]);
	ug_close(out[1]);
	fake.fail_socket_call = 0;
	assert_int_equal(open_group(out, 2, &four), 0);
	assert_int_equal(ug_set_steering(out[0], AF_INET6, &filter),
			 -EAFNOSUPPORT);
	assert_int_equal(ug_set_steering_fd(out[0], AF_INET6, 55),
			 -EAFNOSUPPORT);
	assert_int_equal(ug_set_steering(out[0], AF_UNSPEC, &filter), 0);
	ug_close(out[0]);
	ug_close(out[1]);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(shared_port),	     TEST(shared_port_steps),
		TEST(shared_descriptor),     TEST(group),
		TEST(group_of_one_family),   TEST(group_steps),
		TEST(group_with_sides),	     TEST(group_without_sides),
		TEST(group_learns_together), TEST(steering),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
