/* SPDX-License-Identifier: MIT */
/*
 * The program is of the type of socket filters. It sees a packet from its IP
 * header on and returns a number, which the kernel takes modulo the number of
 * queues (drivers/net/tun.c: tun_ebpf_select_queue()). If the program loads
 * bytes behind the end of the packet, the kernel ends it with the number 0.
 *
 * Fragments are hashed by their addresses alone, because only the first one has
 * ports. The kernel's own hash does the same.
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
	PORTS4 = 17,
	IPV6 = 22,
	PORTS6 = 41,
	MIX = 43,
	END = 50,
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
	/* 11 */ LOAD(BPF_H, 6),
	/* 12 */ CALCULATE(BPF_AND, R0, IPV4_MF | IPV4_OFFSET),
	/* 13 */ JUMP_IF(13, MIX, BPF_JNE, 0),
	/* 14 */ LOAD(BPF_B, 9),
	/* 15 */ JUMP_IF(15, PORTS4, BPF_JEQ, IP_PROTO_TCP),
	/* 16 */ JUMP_IF(16, MIX, BPF_JNE, IP_PROTO_UDP),
	/* PORTS4 */ CALCULATE(BPF_AND, OFFSET, 15),
	/* 18 */ CALCULATE(BPF_LSH, OFFSET, 2),
	/* 19 */ LOAD_BY(BPF_W, OFFSET),
	/* 20 */ JOIN(HASH, R0),
	/* 21 */ JUMP(21, MIX),
	/* IPV6 */ ADD_WORD(8),
	/* 24 */ ADD_WORD(12),
	/* 26 */ ADD_WORD(16),
	/* 28 */ ADD_WORD(20),
	/* 30 */ ADD_WORD(24),
	/* 32 */ ADD_WORD(28),
	/* 34 */ ADD_WORD(32),
	/* 36 */ ADD_WORD(36),
	/* 38 */ LOAD(BPF_B, 6),
	/* 39 */ JUMP_IF(39, PORTS6, BPF_JEQ, IP_PROTO_TCP),
	/* 40 */ JUMP_IF(40, MIX, BPF_JNE, IP_PROTO_UDP),
	/* PORTS6 */ ADD_WORD(40),
	/* MIX */ MOVE(R0, HASH),
	/* 44 */ CALCULATE(BPF_RSH, R0, 16),
	/* 45 */ JOIN(HASH, R0),
	/* 46 */ CALCULATE(BPF_MUL, HASH, SPREAD),
	/* 47 */ MOVE(R0, HASH),
	/* 48 */ CALCULATE(BPF_RSH, R0, 16),
	/* 49 */ RETURN,
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
