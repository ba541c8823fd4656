/* SPDX-License-Identifier: MIT */
/*
 * Further queues of a TUN device, with a fake kernel; and the program that
 * chooses queues, in an interpreter of the few instructions that it uses.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>

#include "tun_packet.h"
#include "tun/steering.h"
#include "tun/tun.h"

enum {
	/* Choices: any descriptors. */
	FIRST_FD = 40,
	SOCK_FD = 30,
	PROGRAM_FD = 31,
};

/* The fake kernel: how it behaves, and what it was asked for. */
static struct {
	bool has_one_queue; /* the device exists without IFF_MULTI_QUEUE */
	int refused;	    /* the errno of attaching a further queue */
	int ifindex;	    /* of the device that the next queue belongs to */
	int no_bpf;	    /* the errno of bpf(2) */
	int n_open;
	int n_queues;
	short flags;
	char name[IFNAMSIZ];
	int steered_fd;
	const struct bpf_insn *program;
	unsigned int program_len;
} k;

static int fake_open(const char *path, int flags)
{
	(void)path;
	(void)flags;
	return FIRST_FD + k.n_open++;
}

static int fake_close(int fd)
{
	k.n_open -= fd >= FIRST_FD;
	return 0;
}

static int attach(struct ifreq *ifr)
{
	errno = EINVAL;
	if (k.has_one_queue && (ifr->ifr_flags & IFF_MULTI_QUEUE))
		return -1;
	if (k.n_queues) {
		/* A queue has the device's name and flags. */
		assert_string_equal(ifr->ifr_name, k.name);
		assert_int_equal(ifr->ifr_flags, k.flags);
		errno = k.refused;
		if (k.refused)
			return -1;
	}
	k.n_queues++;
	k.flags = ifr->ifr_flags;
	memcpy(k.name, ifr->ifr_name, sizeof(k.name));
	return 0;
}

static int fake_ioctl(int fd, unsigned long request, void *arg)
{
	struct ifreq *ifr = arg;

	(void)fd;
	switch (request) {
	case TUNSETIFF:
		return attach(ifr);
	case TUNGETIFF:
		memcpy(ifr->ifr_name, k.name, sizeof(k.name));
		ifr->ifr_flags = k.flags;
		return 0;
	case SIOCGIFINDEX:
		ifr->ifr_ifindex = k.ifindex;
		return 0;
	case TUNSETVNETHDRSZ:
	case TUNSETOFFLOAD:
		/* For the device as a whole: not once more for a queue. */
		assert_int_equal(k.n_queues, 1);
		return 0;
	case _IOR('T', 224, int): /* TUNSETSTEERINGEBPF */
		assert_int_equal(*(int *)arg, PROGRAM_FD);
		k.steered_fd = fd;
		return 0;
	default:
		fail_msg("ioctl %lx", request);
		return -1;
	}
}

static int fake_socket(int family, int type, int protocol)
{
	(void)family;
	(void)type;
	(void)protocol;
	return SOCK_FD;
}

static int fake_uname(struct utsname *out)
{
	*out = (struct utsname){ .release = "6.18.1" };
	return 0;
}

static int fake_bpf(int cmd, void *arg, unsigned int size)
{
	const union bpf_attr *attr = arg;

	assert_int_equal(cmd, BPF_PROG_LOAD);
	assert_true(size >= sizeof(*attr));
	assert_int_equal(attr->prog_type, BPF_PROG_TYPE_SOCKET_FILTER);
	errno = k.no_bpf;
	if (k.no_bpf)
		return -1;
	k.program = (const void *)(uintptr_t)attr->insns;
	k.program_len = attr->insn_cnt;
	return PROGRAM_FD;
}

static const struct tun_sys fake = {
	.open = fake_open,
	.close = fake_close,
	.ioctl = fake_ioctl,
	.socket = fake_socket,
	.uname = fake_uname,
	.bpf = fake_bpf,
};

static void reset(void)
{
	memset(&k, 0, sizeof(k));
	k.ifindex = 7;
}

static void open_first(struct tun *tun)
{
	struct tun_config config = { .name = "wg0", .has_queues = true };

	assert_int_equal(tun_open(tun, &fake, &config), 0);
}

/* ----------------------------------------------------------------- queues */

static void several_queues(void **state)
{
	struct tun tun, queue;

	(void)state;
	reset();
	open_first(&tun);
	assert_true(tun.has_queues);
	assert_int_equal(tun_open_queue(&queue, &tun), 0);
	assert_int_equal(k.n_queues, 2);
	assert_int_not_equal(queue.fd, tun.fd);
	assert_int_equal(queue.ifindex, tun.ifindex);
	assert_int_equal(queue.features, tun.features);
	assert_int_equal(queue.kinds, tun.kinds);
	assert_string_equal(queue.name, "wg0");
}

/* Nothing of this is asked for if one queue is wanted. */
static void one_queue(void **state)
{
	struct tun_config config = { .name = "wg0" };
	struct tun tun, queue;

	(void)state;
	reset();
	assert_int_equal(tun_open(&tun, &fake, &config), 0);
	assert_false(k.flags & IFF_MULTI_QUEUE);
	assert_false(tun.has_queues);
	assert_int_equal(tun_open_queue(&queue, &tun), -EINVAL);
	assert_int_equal(k.n_open, 1);
}

static void a_device_without_queues(void **state)
{
	struct tun tun, queue;

	(void)state;
	reset();
	k.has_one_queue = true;
	open_first(&tun);
	assert_false(tun.has_queues);
	/* The virtio-net header stays. */
	assert_true(k.flags & IFF_VNET_HDR);
	assert_true(tun.features & TUN_VNET);
	assert_int_equal(tun_open_queue(&queue, &tun), -EINVAL);
	assert_int_equal(k.n_open, 1);
}

/* A queue that cannot be attached is closed, and tried with no other flags. */
static void a_queue_is_refused(void **state)
{
	struct tun tun, queue;

	(void)state;
	reset();
	open_first(&tun);
	k.refused = EINVAL;
	assert_int_equal(tun_open_queue(&queue, &tun), -EINVAL);
	k.refused = E2BIG;
	assert_int_equal(tun_open_queue(&queue, &tun), -E2BIG);
	assert_int_equal(k.n_open, 1);
	assert_int_equal(k.n_queues, 1);
}

/* If the interface is gone from here, the kernel makes a new one. */
static void not_another_device(void **state)
{
	struct tun tun, queue;

	(void)state;
	reset();
	open_first(&tun);
	k.ifindex = 8;
	assert_int_equal(tun_open_queue(&queue, &tun), -ENODEV);
	assert_int_equal(k.n_open, 1);
}

/* --------------------------------------------------------------- steering */

static uint32_t load(const uint8_t *packet, size_t len, size_t at, size_t size,
		     bool *ends)
{
	uint32_t value = 0;

	*ends = at > len || size > len - at;
	for (size_t i = 0; !*ends && i < size; i++)
		value = value << 8 | packet[at + i];
	return value;
}

static size_t size_of(uint8_t code)
{
	return (code & 0x18) == BPF_W ? 4 : (code & 0x18) == BPF_H ? 2 : 1;
}

static uint64_t calculate(uint8_t code, uint64_t a, uint64_t b)
{
	switch (code & 0xf0) {
	case BPF_MOV:
		a = b;
		break;
	case BPF_XOR:
		a ^= b;
		break;
	case BPF_AND:
		a &= b;
		break;
	case BPF_LSH:
		a <<= b;
		break;
	case BPF_RSH:
		a = (uint32_t)a >> b;
		break;
	case BPF_MUL:
		a *= b;
		break;
	default:
		fail_msg("calculation %x", code);
	}
	return (code & 7) == BPF_ALU ? (uint32_t)a : a;
}

static bool jumps(uint8_t code, uint64_t a, int32_t b)
{
	switch (code & 0xf0) {
	case BPF_JA:
		return true;
	case BPF_JEQ:
		return a == (uint64_t)(int64_t)b;
	case BPF_JNE:
		return a != (uint64_t)(int64_t)b;
	default:
		fail_msg("jump %x", code);
		return false;
	}
}

/* Run the program on a packet, as the kernel does. */
static uint32_t steer(const uint8_t *packet, size_t len)
{
	uint64_t r[11] = { 0 };
	bool ends = false;

	for (unsigned int i = 0; i < k.program_len; i++) {
		struct bpf_insn in = k.program[i];
		uint64_t operand =
			in.code & BPF_X ? r[in.src_reg] : (uint32_t)in.imm;
		size_t at = (uint32_t)in.imm;

		switch (in.code & 7) {
		case BPF_LD:
			if ((in.code & 0xe0) == BPF_IND)
				at += (size_t)r[in.src_reg];
			r[0] = load(packet, len, at, size_of(in.code), &ends);
			if (ends)
				return 0;
			break;
		case BPF_ALU:
		case BPF_ALU64:
			r[in.dst_reg] =
				calculate(in.code, r[in.dst_reg], operand);
			break;
		case BPF_JMP:
			if ((in.code & 0xf0) == BPF_EXIT)
				return (uint32_t)r[0];
			if (jumps(in.code, r[in.dst_reg], in.imm))
				i += (unsigned int)in.off;
			break;
		default:
			fail_msg("instruction %u: %x", i, in.code);
		}
	}
	fail_msg("the program has no end");
	return 0;
}

static void load_program(void)
{
	reset();
	assert_int_equal(steering_set(&fake, 40), 0);
	assert_int_equal(k.steered_fd, 40);
	assert_non_null(k.program);
}

/* Packets of one flow have one number, and flows have many different ones. */
static void flows_are_spread(void **state)
{
	enum {
		FLOWS = 400,
		QUEUES = 4
	};

	(void)state;
	load_program();
	for (int v = 4; v <= 6; v += 2) {
		unsigned int counts[QUEUES] = { 0 };

		for (unsigned int f = 0; f < FLOWS; f++) {
			struct spec s = { .version = v,
					  .proto = IP_PROTO_TCP,
					  .payload_len = 20 };
			uint8_t packet[256];
			size_t off = v == 4 ? 20 : 40;
			size_t len = packet_build(packet, &s);
			uint32_t n;

			/* Ports as those of one program: every other one. */
			packet[off] = (uint8_t)((40000 + 2 * f) >> 8);
			packet[off + 1] = (uint8_t)(40000 + 2 * f);
			n = steer(packet, len);
			counts[n % QUEUES]++;
			/* The payload, a length and an IP ID decide nothing. */
			packet[4] ^= 0x55;
			packet[len - 1] ^= 0x55;
			assert_int_equal(steer(packet, len), n);
		}
		for (int q = 0; q < QUEUES; q++)
			assert_in_range(counts[q], FLOWS / QUEUES / 2,
					FLOWS / QUEUES * 2);
	}
}

/* Of UDP only the addresses count, so fragments have the queue of whole
 * datagrams. */
static void datagrams_and_fragments(void **state)
{
	(void)state;
	load_program();
	for (int v = 4; v <= 6; v += 2) {
		struct spec s = { .version = v,
				  .proto = IP_PROTO_UDP,
				  .payload_len = 40 };
		uint8_t packet[256];
		size_t off = v == 4 ? 20 : 40;
		size_t len = packet_build(packet, &s);
		uint32_t n = steer(packet, len);

		packet[off] ^= 0xff;
		assert_int_equal(steer(packet, len), n);
		if (v == 4)
			packet[7] = 5; /* an offset */
		else
			packet[6] = IP_PROTO_FRAGMENT;
		assert_int_equal(steer(packet, len), n);
		packet[v == 4 ? 15 : 23] ^= 1;
		assert_int_not_equal(steer(packet, len), n);
	}
}

static void odd_packets(void **state)
{
	struct spec s = { .version = 4,
			  .proto = IP_PROTO_TCP,
			  .payload_len = 0 };
	uint8_t packet[256];
	size_t len = packet_build(packet, &s);

	(void)state;
	load_program();
	/* No length makes the program read behind the end. */
	for (size_t n = 0; n < 20; n++)
		assert_int_equal(steer(packet, n), 0);
	assert_int_not_equal(steer(packet, len), 0);
	packet[0] = 0x15;
	assert_int_equal(steer(packet, len), 0);
	/* The ports are behind the options. */
	packet[0] = 0x46;
	uint32_t n = steer(packet, len);

	packet[20] ^= 1;
	assert_int_equal(steer(packet, len), n);
	packet[24] ^= 1;
	assert_int_not_equal(steer(packet, len), n);
}

static void no_program(void **state)
{
	static const int errors[] = { EPERM, ENOSYS, EINVAL };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
		reset();
		k.no_bpf = errors[i];
		assert_int_equal(steering_set(&fake, 40), -errors[i]);
		assert_int_equal(k.steered_fd, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(several_queues),
		cmocka_unit_test(one_queue),
		cmocka_unit_test(a_device_without_queues),
		cmocka_unit_test(a_queue_is_refused),
		cmocka_unit_test(not_another_device),
		cmocka_unit_test(flows_are_spread),
		cmocka_unit_test(datagrams_and_fragments),
		cmocka_unit_test(odd_packets),
		cmocka_unit_test(no_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
