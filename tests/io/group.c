/* SPDX-License-Identifier: MIT */
/*
 * Real sockets that share a port: who can open them, which socket a steering program
 * chooses, what becomes of trains, and threads that change the program while
 * datagrams come.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/io/talk.h"
#include "tests/lib/check.h"
#include "tests/lib/netns.h"
#include "tests/platform/datagram.h"
#include "udpgather.h"

enum {
	SOCKETS = 3,
	/* Datagrams of a test, for each socket. A choice. */
	EACH = 20,
	/* How often threads change the program. A choice. */
	CHANGES = 2000
};

static const char *const loopbacks[] = { "127.0.0.1", "[::1]" };
static const int families[] = { AF_INET, AF_INET6 };

static void open_group(struct ug_socket **out, unsigned int n)
{
	struct ug_report report = { .size = sizeof(report) };

	assert_int_equal(ug_open_group(out, n, NULL, &report), 0);
	assert_false(report.v4.merges || report.v6.merges);
	for (unsigned int i = 0; i < n; i++)
		assert_int_equal(ug_port(out[i]), report.port);
}

static void close_group(struct ug_socket **socks, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		ug_close(socks[i]);
}

/* A program that returns the first byte of the payload. */
static struct sock_fprog *by_first_byte(void)
{
	static struct sock_filter code[] = {
		{ BPF_LD | BPF_B | BPF_ABS, 0, 0, 0 },
		{ BPF_RET | BPF_A, 0, 0, 0 },
	};
	static struct sock_fprog filter = { ARRAY_LEN(code), code };

	return &filter;
}

/* Take what is there. Return: how many datagrams; all begin with @byte. */
static size_t take(struct ug_socket *sock, unsigned char byte)
{
	size_t n = 0;
	int r;

	while ((r = ug_receive(rcv, sock, AF_UNSPEC, views, ARRAY_LEN(views),
			       n ? 0 : 1000)) > 0) {
		for (int i = 0; i < r; i++)
			assert_int_equal(*(unsigned char *)views[i].data, byte);
		n += (size_t)r;
	}
	assert_int_equal(r, 0);
	return n;
}

/* Send datagrams whose first bytes go round. */
static void send_bytes(struct ug_socket *from, const struct ug_endpoint *to,
		       unsigned char n_values)
{
	for (size_t i = 0; i < (size_t)EACH * n_values; i++) {
		char text[] = { (char)(i % n_values), 'x', 0 };
		struct iovec iov = { text, 2 };
		struct ug_datagram d = { .iov = &iov, .n_iov = 1 };
		int status;

		assert_int_equal(ug_send(from, batch, to, &d, 1, &status, 1000),
				 1);
	}
}

/* Two groups never share a port; a socket that is meant to join does. */
static void exclusive(void **state)
{
	struct ug_socket *socks[SOCKETS], *other[2];
	struct ug_options opt = { .size = sizeof(opt) };
	struct ug_report report = { .size = sizeof(report) };

	(void)state;
	open_group(socks, SOCKETS);
	opt.port = ug_port(socks[0]);
	assert_int_equal(ug_open_group(other, 2, &opt, &report), -EADDRINUSE);
	assert_string_equal(report.v4.step, "bind");
	assert_int_equal(ug_open(other, &opt, NULL), -EADDRINUSE);
	opt.reuse_port = true;
	assert_int_equal(ug_open(other, &opt, NULL), 0);
	ug_close(other[0]);
	close_group(socks, SOCKETS);
	/* Nothing is left of the group. */
	opt.reuse_port = false;
	assert_int_equal(ug_open(other, &opt, NULL), 0);
	ug_close(other[0]);
}

/* In a child of no_strangers(), as another user. */
static int join_as_stranger(uint16_t port)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.port = port,
		.reuse_port = true,
	};
	struct ug_socket *sock;

	if (setuid(65534) < 0)
		return 2;
	return ug_open(&sock, &opt, NULL) == -EADDRINUSE ? 0 : 3;
}

/* A socket of another user cannot join. */
static void no_strangers(void **state)
{
	struct ug_socket *socks[2];
	int status;

	(void)state;
	open_group(socks, 2);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		_exit(join_as_stranger(ug_port(socks[0])));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close_group(socks, 2);
}

/* Without a program the datagrams of one peer come by one socket. */
static void by_hash(void **state)
{
	struct ug_socket *socks[SOCKETS], *peer = opened(NULL);

	(void)state;
	open_group(socks, SOCKETS);
	for (size_t f = 0; f < ARRAY_LEN(families); f++) {
		struct ug_endpoint to = at(loopbacks[f], ug_port(socks[0]));
		size_t n_used = 0, sum = 0;

		for (int i = 0; i < EACH; i++)
			assert_int_equal(send_text(peer, &to, "hash", 1),
					 UG_SENT);
		for (size_t i = 0; i < SOCKETS; i++) {
			int n = 0, r;

			while ((r = ug_receive(rcv, socks[i], families[f],
					       views, 1, 0)) == 1)
				n++;
			assert_int_equal(r, 0);
			n_used += n > 0;
			sum += (size_t)n;
		}
		assert_int_equal(sum, EACH);
		assert_int_equal(n_used, 1);
	}
	ug_close(peer);
	close_group(socks, SOCKETS);
}

/* The program's number is the order in which the sockets were opened. */
static void by_program(void **state)
{
	struct ug_socket *peer = opened(NULL);

	(void)state;
	for (size_t f = 0; f < ARRAY_LEN(families); f++) {
		struct ug_socket *socks[SOCKETS];

		open_group(socks, SOCKETS);
		struct ug_endpoint to = at(loopbacks[f], ug_port(socks[0]));

		assert_int_equal(
			ug_set_steering(socks[f], families[f], by_first_byte()),
			0);
		send_bytes(peer, &to, SOCKETS);
		for (size_t i = 0; i < SOCKETS; i++)
			assert_int_equal(take(socks[i], (unsigned char)i),
					 EACH);
		/* The last socket gets the number of one that is closed. */
		ug_close(socks[0]);
		send_bytes(peer, &to, 2);
		assert_int_equal(take(socks[2], 0), EACH);
		assert_int_equal(take(socks[1], 1), EACH);
		/* The hash decides after a number that is too large, and when the
		 * program is removed. */
		assert_int_equal(send_text(peer, &to, "\x09", 1), UG_SENT);
		assert_int_equal(
			ug_receive(rcv, socks[1], families[f], views, 1, 0) +
				ug_receive(rcv, socks[2], families[f], views, 1,
					   0),
			1);
		assert_int_equal(ug_set_steering(socks[1], families[f], NULL),
				 0);
		assert_int_equal(ug_set_steering(socks[1], families[f], NULL),
				 0);
		send_bytes(peer, &to, 2);
		size_t n = 0;

		for (size_t i = 1; i < SOCKETS; i++)
			while (ug_receive(rcv, socks[i], families[f], views, 1,
					  0) == 1)
				n++;
		assert_int_equal(n, 2 * EACH);
		close_group(socks + 1, SOCKETS - 1);
	}
	ug_close(peer);
}

/* Open a group with side sockets. */
static void open_with_sides(struct ug_socket **out, unsigned int n)
{
	struct ug_options opt = { .size = sizeof(opt), .side_sockets = 2 };

	assert_int_equal(ug_open_group(out, n, &opt, NULL), 0);
	assert_true(ug_side_fd(out[0], AF_INET, 1) >= 0);
	assert_true(ug_side_fd(out[0], AF_INET6, 1) >= 0);
}

/* A program that returns less than the number of sockets leaves the side sockets
 * empty, and one socket answers from the address that another one was asked at. */
static void sides_and_sources(void **state)
{
	static const char *const asked[] = { "127.0.0.5", "[::1]" };
	struct ug_socket *socks[2], *peer = opened(NULL);

	(void)state;
	open_with_sides(socks, 2);
	assert_int_equal(ug_set_merging(socks[0], true), 0);
	assert_int_equal(ug_set_steering(socks[0], AF_UNSPEC, by_first_byte()),
			 0);
	for (size_t f = 0; f < ARRAY_LEN(families); f++) {
		struct ug_endpoint to = at(asked[f], ug_port(socks[0])), from;

		send_bytes(peer, &to, 2);
		assert_int_equal(take(socks[0], 0), EACH);
		for (unsigned int i = 0; i < 2; i++) {
			char byte;

			assert_int_equal(
				recv(ug_side_fd(socks[0], families[f], i),
				     &byte, 1, MSG_DONTWAIT),
				-1);
		}
		assert_int_equal(
			ug_receive(rcv, socks[1], families[f], views, 1, 1000),
			1);
		from = *views[0].from;
		assert_int_equal(take(socks[1], 1), EACH - 1);
		assert_int_equal(send_text(socks[0], &from, "answer", 1),
				 UG_SENT);
		expect_text(peer, "answer", 1);
		assert_int_equal(ug_endpoint_compare(views[0].from, &to), 0);
	}
	ug_close(peer);
	close_group(socks, 2);
}

/* Without a program the hash uses the side sockets, too, and nothing is lost. */
static void sides_without_program(void **state)
{
	enum {
		PEERS = 40
	};
	struct ug_socket *socks[2];
	size_t n = 0;

	(void)state;
	open_with_sides(socks, 2);
	for (size_t f = 0; f < ARRAY_LEN(families); f++) {
		struct ug_endpoint to = at(loopbacks[f], ug_port(socks[0]));

		for (int i = 0; i < PEERS; i++) {
			struct ug_socket *peer = opened(NULL);

			assert_int_equal(send_text(peer, &to, "x", 1), UG_SENT);
			ug_close(peer);
		}
		for (unsigned int i = 0; i < 2; i++)
			assert_int_equal(
				ug_side_ready(
					socks[0],
					ug_side_fd(socks[0], families[f], i)),
				families[f]);
	}
	for (size_t i = 0; i < 2; i++) {
		int r;

		while ((r = ug_receive(rcv, socks[i], AF_UNSPEC, views,
				       ARRAY_LEN(views), 0)) > 0)
			n += (size_t)r;
		assert_int_equal(r, 0);
	}
	assert_int_equal(n, 2 * PEERS);
	close_group(socks, 2);
}

/* A program needs a group. */
static void no_group(void **state)
{
	struct ug_socket *sock = opened(NULL), *socks[2];

	(void)state;
	assert_int_equal(ug_set_steering(sock, AF_INET, by_first_byte()),
			 -EINVAL);
	ug_close(sock);
	open_group(socks, 1);
	assert_int_equal(ug_set_steering(socks[0], AF_INET6, by_first_byte()),
			 -EINVAL);
	struct ug_options opt = {
		.size = sizeof(opt),
		.port = ug_port(socks[0]),
		.reuse_port = true,
	};

	assert_int_equal(ug_open(&socks[1], &opt, NULL), 0);
	assert_int_equal(ug_set_steering(socks[0], AF_UNSPEC, by_first_byte()),
			 0);
	assert_int_equal(ug_set_steering_fd(socks[0], AF_UNSPEC, -1), -EBADF);
	close_group(socks, 2);
}

/* Load an eBPF program that returns 1. Return: its descriptor; -errno. */
static int load_program(void)
{
	struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K,
		  .dst_reg = BPF_REG_0,
		  .imm = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
		.insn_cnt = ARRAY_LEN(code),
		.insns = (uintptr_t)code,
		.license = (uintptr_t) "MIT",
	};
	long fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));

	return fd < 0 ? -errno : (int)fd;
}

static void by_loaded_program(void **state)
{
	struct ug_socket *socks[SOCKETS], *peer = opened(NULL);
	int prog = load_program();

	(void)state;
	if (prog < 0) {
		print_message("# bpf(2): %s\n", strerror(-prog));
		ug_close(peer);
		skip();
	}
	open_group(socks, SOCKETS);
	assert_int_equal(ug_set_steering_fd(socks[0], AF_UNSPEC, prog), 0);
	close(prog);
	for (size_t f = 0; f < ARRAY_LEN(families); f++) {
		struct ug_endpoint to = at(loopbacks[f], ug_port(socks[0]));

		send_bytes(peer, &to, 1);
		assert_int_equal(take(socks[1], 0), EACH);
	}
	ug_close(peer);
	close_group(socks, SOCKETS);
}

/* Send one train of two datagrams for each socket, in turns. */
static void send_train(struct ug_socket *from, const struct ug_endpoint *to)
{
	unsigned char bytes[2 * SOCKETS][100];
	struct iovec iov = { bytes, sizeof(bytes) };
	struct ug_train t = {
		.to = to,
		.iov = &iov,
		.n_iov = 1,
		.segment_len = sizeof(bytes[0]),
	};

	for (size_t i = 0; i < ARRAY_LEN(bytes); i++)
		memset(bytes[i], (int)((i + 1) % SOCKETS), sizeof(bytes[i]));
	assert_int_equal(ug_send_trains(from, batch, &t, sizeof(t), 1, 1000),
			 2 * SOCKETS);
}

/* How many messages and datagrams wait in a socket? */
static void count(struct ug_socket *sock, size_t *messages, size_t *datagrams)
{
	struct ug_received got[1] = { 0 };

	*messages = *datagrams = 0;
	while (ug_receive_trains(rcv, sock, AF_UNSPEC, got, sizeof(*got), 1,
				 *messages ? 0 : 100) == 1) {
		++*messages;
		*datagrams += got->n;
		got->cap = 0;
	}
}

/*
 * A train of this machine goes to the socket of its first datagram as a whole. It
 * comes in one message only if that socket merges, which is not so at first.
 */
static void trains_stay_whole(void **state)
{
	struct ug_socket *peer = opened(NULL);

	(void)state;
	for (size_t f = 0; f < ARRAY_LEN(families); f++) {
		struct ug_socket *socks[SOCKETS];
		size_t messages[SOCKETS], datagrams[SOCKETS];

		open_group(socks, SOCKETS);
		struct ug_endpoint to = at(loopbacks[f], ug_port(socks[0]));

		assert_int_equal(
			ug_set_steering(socks[0], AF_UNSPEC, by_first_byte()),
			0);
		for (int merging = 0; merging < 2; merging++) {
			for (size_t i = 0; i < SOCKETS; i++)
				assert_int_equal(
					ug_set_merging(socks[i], merging), 0);
			send_train(peer, &to);
			for (size_t i = 0; i < SOCKETS; i++)
				count(socks[i], &messages[i], &datagrams[i]);
			print_message("# family %d, merging %d: %zu, %zu, %zu "
				      "datagrams\n",
				      families[f], merging, datagrams[0],
				      datagrams[1], datagrams[2]);
			assert_int_equal(datagrams[0] + datagrams[1] +
						 datagrams[2],
					 2 * SOCKETS);
			seen(datagrams[1] == 2 * SOCKETS,
			     "a train goes to one socket as a whole");
			if (!merging)
				for (size_t i = 0; i < SOCKETS; i++)
					assert_int_equal(messages[i],
							 datagrams[i]);
			else
				seen(messages[1] == 1, "it comes merged");
		}
		close_group(socks, SOCKETS);
	}
	ug_close(peer);
}

/* A sender without segmentation has each datagram steered. */
static void single_datagrams(void **state)
{
	struct ug_socket *socks[SOCKETS], *peer = opened(NULL);
	size_t messages, datagrams;

	(void)state;
	open_group(socks, SOCKETS);
	assert_int_equal(ug_set_segments(peer, UG_SEGMENTS_OFF), 0);
	assert_int_equal(ug_set_steering(socks[0], AF_UNSPEC, by_first_byte()),
			 0);
	for (size_t f = 0; f < ARRAY_LEN(families); f++) {
		struct ug_endpoint to = at(loopbacks[f], ug_port(socks[0]));

		send_train(peer, &to);
		for (size_t i = 0; i < SOCKETS; i++) {
			count(socks[i], &messages, &datagrams);
			assert_int_equal(messages, 2);
			assert_int_equal(datagrams, 2);
		}
	}
	ug_close(peer);
	close_group(socks, SOCKETS);
}

/* Threads of threads(): one takes all datagrams of a socket, or changes the program. */
struct taker {
	pthread_t thread;
	struct ug_socket *sock;
	size_t n;
};

static atomic_bool is_over;

static void *take_all(void *arg)
{
	struct taker *t = arg;
	struct ug_receiver *own;
	struct ug_view view[16];
	int r;

	assert_int_equal(ug_receiver_new(&own, 16), 0);
	do {
		r = ug_receive(own, t->sock, AF_UNSPEC, view, ARRAY_LEN(view),
			       10);
		assert_true(r >= 0);
		t->n += (size_t)r;
	} while (r || !atomic_load(&is_over));
	ug_receiver_free(own);
	return NULL;
}

static void *change(void *arg)
{
	struct taker *t = arg;

	for (int i = 0; i < CHANGES; i++) {
		assert_int_equal(
			ug_set_steering(t->sock, AF_UNSPEC,
					i % 2 ? NULL : by_first_byte()),
			0);
		t->n++;
	}
	return NULL;
}

/* Every socket has its thread, and two threads change the program: nothing is lost. */
static void threads(void **state)
{
	struct ug_socket *socks[SOCKETS], *peer = opened(NULL);
	struct taker takers[SOCKETS] = { 0 }, changers[2] = { 0 };
	size_t sum = 0, sent = 0;

	(void)state;
	open_group(socks, SOCKETS);
	atomic_store(&is_over, false);
	struct ug_endpoint to4 = at("127.0.0.1", ug_port(socks[0]));
	struct ug_endpoint to6 = at("[::1]", ug_port(socks[0]));

	for (size_t i = 0; i < SOCKETS; i++) {
		takers[i].sock = socks[i];
		assert_int_equal(pthread_create(&takers[i].thread, NULL,
						take_all, &takers[i]),
				 0);
	}
	for (size_t i = 0; i < 2; i++) {
		changers[i].sock = socks[i];
		assert_int_equal(pthread_create(&changers[i].thread, NULL,
						change, &changers[i]),
				 0);
	}
	for (int i = 0; i < 20; i++) {
		send_bytes(peer, &to4, SOCKETS);
		send_bytes(peer, &to6, SOCKETS);
		sent += 2 * EACH * SOCKETS;
	}
	for (size_t i = 0; i < 2; i++) {
		pthread_join(changers[i].thread, NULL);
		assert_int_equal(changers[i].n, CHANGES);
	}
	atomic_store(&is_over, true);
	for (size_t i = 0; i < SOCKETS; i++) {
		pthread_join(takers[i].thread, NULL);
		sum += takers[i].n;
	}
	assert_int_equal(sum, sent);
	ug_close(peer);
	close_group(socks, SOCKETS);
}

static int setup(void **state)
{
	return netns_new() < 0 ? -1 : talk_setup(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exclusive),
		cmocka_unit_test(no_strangers),
		cmocka_unit_test(by_hash),
		cmocka_unit_test(by_program),
		cmocka_unit_test(sides_and_sources),
		cmocka_unit_test(sides_without_program),
		cmocka_unit_test(no_group),
		cmocka_unit_test(by_loaded_program),
		cmocka_unit_test(trains_stay_whole),
		cmocka_unit_test(single_datagrams),
		cmocka_unit_test(threads),
	};

	netns_require();
	return cmocka_run_group_tests(tests, setup, talk_teardown);
}
