/* SPDX-License-Identifier: MIT */
/*
 * Several queues of a TUN device: who may open them, and by which queue the
 * kernel hands out a packet.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/lib/check.h"
#include "tests/lib/netns.h"
#include "tests/platform/datagram.h"
#include "tests/platform/tun.h"

#ifndef TUNSETSTEERINGEBPF
#define TUNSETSTEERINGEBPF _IOR('T', 224, int)
#endif

enum {
	QUEUES = 2,
	/* Flows that are tried. A choice. */
	FLOWS = 8,
	PORT = 7300,
	/* After this time without a packet a test fails. A choice. */
	PATIENCE_MS = 5000,
	PACKET_CAP = 2048,
	/* Offsets in a packet of IPv4 without options and UDP. */
	PROTO_AT = 9,
	SOURCE_AT = 12,
	DESTINATION_AT = 16,
	PORTS_AT = 20,
};

static int first_ns, other_ns;

static int open_queue(const char *name, int flags)
{
	struct ifreq ifr = { .ifr_flags =
				     (short)(IFF_TUN | IFF_NO_PI | flags) };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	int err;

	assert_true(fd >= 0);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &ifr) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* A device that is up, with QUEUES queues. */
static void open_device(int fds[QUEUES])
{
	assert_int_equal(netns_enter(first_ns), 0);
	for (int i = 0; i < QUEUES; i++) {
		fds[i] = open_queue("q0", IFF_MULTI_QUEUE);
		assert_true(fds[i] >= 0);
	}
	assert_int_equal(netns_ip("link set q0 up"), 0);
	assert_int_equal(netns_add_address("q0", "10.73.0.1/24"), 0);
}

static void close_device(const int fds[QUEUES])
{
	for (int i = 0; i < QUEUES; i++)
		close(fds[i]);
}

/* A socket that sends to the device: a flow. */
static int open_flow(void)
{
	union address to = { .v4 = { .sin_family = AF_INET,
				     .sin_port = htons(PORT) } };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(inet_pton(AF_INET, "10.73.0.2", &to.v4.sin_addr), 1);
	assert_int_equal(connect(fd, &to.any, sizeof(to.v4)), 0);
	return fd;
}

/* Send a datagram of a flow. Return: the queue that hands it out. */
static int queue_of(int flow, const int fds[QUEUES], uint8_t packet[PACKET_CAP])
{
	struct pollfd wait[QUEUES];

	assert_int_equal(send(flow, "x", 1, 0), 1);
	for (int i = 0; i < QUEUES; i++)
		wait[i] = (struct pollfd){ .fd = fds[i], .events = POLLIN };
	while (true) {
		assert_true(poll(wait, QUEUES, PATIENCE_MS) > 0);
		for (int i = 0; i < QUEUES; i++) {
			/* The kernel may send packets of its own. */
			if (read(fds[i], packet, PACKET_CAP) > PORTS_AT &&
			    packet[0] == 0x45 &&
			    packet[PROTO_AT] == IPPROTO_UDP)
				return i;
		}
	}
}

static void swap(uint8_t *a, uint8_t *b, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t was = a[i];

		a[i] = b[i];
		b[i] = was;
	}
}

/* Write the answer to a packet by one of the queues. The checksums stay right,
 * because only the order of what they add up changes. */
static void answer(int flow, int queue, uint8_t *packet)
{
	struct pollfd wait = { .fd = flow, .events = POLLIN };
	size_t len = (size_t)packet[2] << 8 | packet[3];
	char byte;

	swap(packet + SOURCE_AT, packet + DESTINATION_AT, 4);
	swap(packet + PORTS_AT, packet + PORTS_AT + 2, 2);
	assert_int_equal(write(queue, packet, len), len);
	assert_int_equal(poll(&wait, 1, PATIENCE_MS), 1);
	assert_int_equal(recv(flow, &byte, 1, 0), 1);
}

/* How many flows come out of another queue after they were answered by it. */
static unsigned int count_moved(const int fds[QUEUES])
{
	unsigned int moved = 0;

	for (int i = 0; i < FLOWS; i++) {
		uint8_t packet[PACKET_CAP];
		int flow = open_flow();
		int before = queue_of(flow, fds, packet);

		answer(flow, fds[(before + 1) % QUEUES], packet);
		moved += queue_of(flow, fds, packet) != before;
		close(flow);
	}
	return moved;
}

static void a_flow_follows_what_is_written(void **state)
{
	int fds[QUEUES];

	(void)state;
	open_device(fds);
	assert_int_equal(count_moved(fds), FLOWS);
	close_device(fds);
}

/* Load a program that always names this queue. Return: it; -errno. */
static int load_program(int queue)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = queue },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
		.insns = (uintptr_t)insns,
		.insn_cnt = 2,
		.license = (uintptr_t) "MIT",
	};
	long fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));

	return fd < 0 ? -errno : (int)fd;
}

static void a_program_decides(void **state)
{
	uint8_t packet[PACKET_CAP];
	int fds[QUEUES], flow, program;

	(void)state;
	open_device(fds);
	program = load_program(1);
	if (program < 0) {
		printf("# DIFFERS: no program can be loaded: %s\n",
		       strerror(-program));
		close_device(fds);
		return;
	}
	assert_int_equal(ioctl(fds[0], TUNSETSTEERINGEBPF, &program), 0);
	close(program);
	flow = open_flow();
	for (int i = 0; i < FLOWS; i++) {
		assert_int_equal(queue_of(flow, fds, packet), 1);
		answer(flow, fds[0], packet);
	}
	close(flow);
	close_device(fds);
}

/* A device with one queue is opened as such, and one with several as such. */
static void other_kinds_are_refused(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(netns_enter(first_ns), 0);
	fd = open_queue("q0", 0);
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, TUNSETPERSIST, 1), 0);
	close(fd);
	assert_int_equal(open_queue("q0", IFF_MULTI_QUEUE), -EINVAL);
	fd = open_queue("q0", 0);
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, TUNSETPERSIST, 0), 0);
	close(fd);
}

/* The name of a device that is not here any more makes a new device. */
static void an_old_name_is_another_device(void **state)
{
	unsigned int index;
	int fd, other;

	(void)state;
	assert_int_equal(netns_enter(first_ns), 0);
	fd = open_queue("q0", IFF_MULTI_QUEUE);
	assert_true(fd >= 0);
	index = if_nametoindex("q0");
	assert_int_equal(netns_move("q0", other_ns), 0);
	other = open_queue("q0", IFF_MULTI_QUEUE);
	assert_true(other >= 0);
	assert_true(if_nametoindex("q0") > 0);
	assert_int_equal(netns_enter(other_ns), 0);
	assert_true(if_nametoindex("q0") > 0);
	assert_int_equal(netns_enter(first_ns), 0);
	print_message("# index %u, and now %u\n", index, if_nametoindex("q0"));
	close(other);
	close(fd);
}

static int setup(void **state)
{
	(void)state;
	first_ns = netns_new();
	other_ns = netns_new();
	return first_ns < 0 || other_ns < 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flow_follows_what_is_written),
		cmocka_unit_test(a_program_decides),
		cmocka_unit_test(other_kinds_are_refused),
		cmocka_unit_test(an_old_name_is_another_device),
	};

	netns_require();
	tun_require();
	return cmocka_run_group_tests(tests, setup, NULL);
}
