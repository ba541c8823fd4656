/* SPDX-License-Identifier: MIT */
/*
 * The program is of the type of socket filters. It sees a packet from its IP
 * header on and returns a number, which the kernel takes modulo the number of
 * queues (drivers/net/tun.c: tun_ebpf_select_queue()). If the program loads
 * bytes behind the end of the packet, the kernel ends it with the number 0.
 *
 * Only TCP is hashed by its ports, too. A fragment has no ports, except for the
 * first one, so datagrams in fragments and whole ones of the same UDP flow would
 * have different queues, and overtake each other. Many network cards hash UDP by
 * addresses alone for the same reason.
 */
#include "tun/steering.h"

#include <assert.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_tun.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "base/bytes.h"
#include "base/ip.h"

/* This came with Linux 4.16; older headers lack it. */
#ifndef TUNSETSTEERINGEBPF
#define TUNSETSTEERINGEBPF _IOR('T', 224, int)
#endif

enum {
	/* Registers. A load from the packet puts a number in host order into
	 * R0, changes R1 to R5, and needs the program's argument in R6. */
	R0 = BPF_REG_0,
	ARGUMENT = BPF_REG_6,
	HASH = BPF_REG_7,
	OFFSET = BPF_REG_8,
	/* Numbers of instructions that are jumped to. */
	IPV6 = 18,
	MIX = 38,
	END = 45,
};

/* The golden ratio as a fraction of 2^32: it spreads similar hashes. Bits of the
 * product depend on lower bits of the hash only, so the upper half of the hash
 * is joined to the lower one before, and the lower half of the product is not
 * used. */
#define SPREAD ((int32_t)UINT32_C(0x9e3779b1))

#define MOVE(to, from)                                                \
	{                                                             \
		.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = (to), \
		.src_reg = (from)                                     \
	}
#define CALCULATE(op, to, value)                                 \
	{                                                        \
		.code = BPF_ALU | (op) | BPF_K, .dst_reg = (to), \
		.imm = (value)                                   \
	}
#define JOIN(to, from)                                              \
	{                                                           \
		.code = BPF_ALU | BPF_XOR | BPF_X, .dst_reg = (to), \
		.src_reg = (from)                                   \
	}
#define LOAD(size, at)                                         \
	{                                                      \
		.code = BPF_LD | BPF_ABS | (size), .imm = (at) \
	}
#define LOAD_BY(size, reg)                                          \
	{                                                           \
		.code = BPF_LD | BPF_IND | (size), .src_reg = (reg) \
	}
/* The jump is instruction @from. */
#define JUMP_IF(from, to, op, value)                           \
	{                                                      \
		.code = BPF_JMP | (op) | BPF_K, .dst_reg = R0, \
		.off = (to) - (from)-1, .imm = (value)         \
	}
#define JUMP(from, to)                                           \
	{                                                        \
		.code = BPF_JMP | BPF_JA, .off = (to) - (from)-1 \
	}
#define RETURN                             \
	{                                  \
		.code = BPF_JMP | BPF_EXIT \
	}
/* Two instructions: a word of the packet joins the hash. */
#define ADD_WORD(at) LOAD(BPF_W, at), JOIN(HASH, R0)

/* The comments are the numbers of the instructions. */
static const struct bpf_insn program[] = {
	/* 0 */ MOVE(ARGUMENT, BPF_REG_1),
	/* 1 */ CALCULATE(BPF_MOV, HASH, 0),
	/* 2 */ LOAD(BPF_B, 0),
	/* 3 */ MOVE(OFFSET, R0),
	/* 4 */ CALCULATE(BPF_RSH, R0, 4),
	/* 5 */ JUMP_IF(5, IPV6, BPF_JEQ, IP_V6),
	/* 6 */ JUMP_IF(6, MIX, BPF_JNE, IP_V4),
	/* 7 */ ADD_WORD(12),
	/* 9 */ ADD_WORD(16),
	/* 11 */ LOAD(BPF_B, 9),
	/* 12 */ JUMP_IF(12, MIX, BPF_JNE, IP_PROTO_TCP),
	/* 13 */ CALCULATE(BPF_AND, OFFSET, 15),
	/* 14 */ CALCULATE(BPF_LSH, OFFSET, 2),
	/* 15 */ LOAD_BY(BPF_W, OFFSET),
	/* 16 */ JOIN(HASH, R0),
	/* 17 */ JUMP(17, MIX),
	/* IPV6 */ ADD_WORD(8),
	/* 20 */ ADD_WORD(12),
	/* 22 */ ADD_WORD(16),
	/* 24 */ ADD_WORD(20),
	/* 26 */ ADD_WORD(24),
	/* 28 */ ADD_WORD(28),
	/* 30 */ ADD_WORD(32),
	/* 32 */ ADD_WORD(36),
	/* 34 */ LOAD(BPF_B, 6),
	/* 35 */ JUMP_IF(35, MIX, BPF_JNE, IP_PROTO_TCP),
	/* 36 */ ADD_WORD(40),
	/* MIX */ MOVE(R0, HASH),
	/* 39 */ CALCULATE(BPF_RSH, R0, 16),
	/* 40 */ JOIN(HASH, R0),
	/* 41 */ CALCULATE(BPF_MUL, HASH, SPREAD),
	/* 42 */ MOVE(R0, HASH),
	/* 43 */ CALCULATE(BPF_RSH, R0, 16),
	/* 44 */ RETURN,
};
static_assert(ARRAY_LEN(program) == END, "jumps count on it");

int steering_set(const struct tun_sys *sys, int fd)
{
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
		.insns = (uintptr_t)program,
		.insn_cnt = END,
		/* No function of the kernel is called that asks for another. */
		.license = (uintptr_t) "MIT",
	};
	int err = 0;
	int loaded = sys->bpf(BPF_PROG_LOAD, &attr, sizeof(attr));

	if (loaded < 0)
		return -errno;
	if (sys->ioctl(fd, TUNSETSTEERINGEBPF, &loaded) < 0)
		err = -errno;
	/* The device keeps the program. */
	sys->close(loaded);
	return err;
}
