/* SPDX-License-Identifier: MIT */
/*
 * The allow-list of system calls, and the program that makes a filter of it
 * while the project is built.
 *
 * usage: make-filter ARCHITECTURE	print the filter's instructions
 *        make-filter --list		print the list: NAME, WORD, "seen" or "rare"
 *
 * A call that is SEEN is made by a daemon in the test that watches one at work
 * (tests/netns/isolate.py); that test fails if it is not, so nothing stays here
 * that is not used any more. A RARE one has its reason beside it.
 *
 * What is looked at in the arguments:
 *  - A socket is UDP over IP. So no Unix socket can be connected to: with
 *    CAP_DAC_OVERRIDE that would be any.
 *  - Options of sockets and requests to devices are those in use.
 *  - No memory can be mapped or made executable.
 * The kernel takes the lower 32 bits of an int, and nothing says what is in the
 * others: so only these are compared.
 */
#include <asm/socket.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/sockios.h>
#include <linux/udp.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum use {
	SEEN,
	RARE
};

enum {
	CONDITIONS_MAX = 3,
};

/**
 * struct condition - what an argument must be
 * @mask:	bits that are compared; 0: no condition
 * @value:	what they must be
 * @arg:	number of the argument, from 0
 */
struct condition {
	uint64_t mask;
	uint64_t value;
	unsigned int arg;
};

/**
 * struct call - a system call, in a way in which it may be made
 * @name:	of the call; one that is repeated may be made in each of the ways
 * @word:	what strace(1) shows of this way, or "-"
 * @use:	see above
 * @conditions:	all of them; the first without a mask ends them
 */
struct call {
	const char *name;
	const char *word;
	enum use use;
	struct condition conditions[CONDITIONS_MAX];
};

#define INT_MASK UINT64_C(0xffffffff)

#define IS(n, v)                                                    \
	{                                                           \
		.arg = (n), .mask = INT_MASK, .value = (v)&INT_MASK \
	}
#define IS_BUT(n, v, flags)                                        \
	{                                                          \
		.arg = (n), .mask = INT_MASK & ~(uint64_t)(flags), \
		.value = (v)                                       \
	}
#define HAS_NOT(n, flag)                   \
	{                                  \
		.arg = (n), .mask = (flag) \
	}

#define CALL(n, u)                                   \
	{                                            \
		.name = (n), .word = "-", .use = (u) \
	}
#define CALL_IF(n, w, u, ...)                                         \
	{                                                             \
		.name = (n), .word = (w), .use = (u), .conditions = { \
			__VA_ARGS__                                   \
		}                                                     \
	}
#define IOCTL(request, u)   CALL_IF("ioctl", #request, u, IS(1, request))
#define GET_OPTION(l, o, u) CALL_IF("getsockopt", #o, u, IS(1, l), IS(2, o))
#define SET_OPTION(l, o, u) CALL_IF("setsockopt", #o, u, IS(1, l), IS(2, o))
#define UDP_SOCKET(family)                                           \
	CALL_IF("socket", #family ",", SEEN, IS(0, family),          \
		IS_BUT(1, SOCK_DGRAM, SOCK_CLOEXEC | SOCK_NONBLOCK), \
		IS(2, IPPROTO_UDP))

static const struct call calls[] = {
	/* The loops of all threads, and how they wake each other. */
	CALL("epoll_ctl", SEEN),
	CALL("epoll_wait", SEEN),
	CALL("epoll_pwait", RARE), /* arm64 has no other */
	CALL("futex", SEEN),
	CALL("membarrier", SEEN), /* liburcu; ug_set_merging() */
	CALL("poll", RARE),  /* full sockets; UDP_GRO going off; no random */
	CALL("ppoll", RARE), /* arm64 has no other */
	CALL("timerfd_settime", SEEN),
	CALL("restart_syscall", RARE), /* stopped while asleep */
	CALL("sched_yield", SEEN),     /* workers that wait for work */

	/* Descriptors: the TUN, eventfd, signalfd, inotify, the log. */
	CALL("read", SEEN),
	CALL("write", SEEN),
	CALL("writev", SEEN),
	CALL("close", SEEN),
	CALL_IF("fcntl", "-", RARE,
		IS(1, F_GETFL)),   /* glibc's abort messages */
	IOCTL(TUNGETIFF, RARE),	   /* its name after a lost message */
	IOCTL(SIOCOUTQ, RARE),	   /* a full socket */
	IOCTL(SIOCGIFINDEX, SEEN), /* zones of link-local endpoints */
	IOCTL(SIOCGIFNAME, SEEN),

	/* UDP, netlink, and clients of the UAPI socket. */
	CALL("accept4", SEEN),
	CALL("bind", SEEN),
	CALL("getsockname", SEEN),
	CALL("recvfrom", SEEN),
	CALL("recvmmsg", SEEN),
	CALL("recvmsg", SEEN),
	CALL("sendmmsg", SEEN),
	CALL("sendmsg", SEEN),
	CALL("sendto", SEEN),
	UDP_SOCKET(AF_INET),
	UDP_SOCKET(AF_INET6),
	SET_OPTION(SOL_SOCKET, SO_MARK, SEEN),
	SET_OPTION(SOL_SOCKET, SO_RCVBUF, RARE), /* no CAP_NET_ADMIN */
	SET_OPTION(SOL_SOCKET, SO_RCVBUFFORCE, SEEN),
	SET_OPTION(SOL_SOCKET, SO_SNDBUF, RARE),
	SET_OPTION(SOL_SOCKET, SO_SNDBUFFORCE, SEEN),
	SET_OPTION(IPPROTO_IP, IP_MTU_DISCOVER, SEEN),
	SET_OPTION(IPPROTO_IP, IP_PKTINFO, SEEN),
	SET_OPTION(IPPROTO_IP, IP_RECVTOS, SEEN),
	SET_OPTION(IPPROTO_IPV6, IPV6_RECVPKTINFO, SEEN),
	SET_OPTION(IPPROTO_IPV6, IPV6_RECVTCLASS, SEEN),
	SET_OPTION(IPPROTO_IPV6, IPV6_V6ONLY, SEEN),
	SET_OPTION(IPPROTO_UDP, UDP_GRO, SEEN),
	GET_OPTION(SOL_SOCKET, SO_MARK, SEEN),
	GET_OPTION(SOL_SOCKET, SO_RCVBUF, SEEN),
	GET_OPTION(SOL_SOCKET, SO_SNDBUF, SEEN),
	GET_OPTION(IPPROTO_UDP, UDP_GRO, SEEN),
	GET_OPTION(IPPROTO_UDP, UDP_SEGMENT, SEEN),

	/* Memory: the heap, secrets, tables that grow, stacks of threads. */
	CALL("brk", SEEN),
	CALL_IF("mmap", "-", SEEN, HAS_NOT(2, PROT_EXEC)),
	CALL_IF("mprotect", "-", RARE, HAS_NOT(2, PROT_EXEC)), /* malloc(3) */
	CALL("mremap", RARE),				       /* realloc(3) */
	CALL("munmap", SEEN),
	CALL("madvise", SEEN),
	CALL("mlock", RARE), /* where there is no memfd_secret */
	CALL_IF("memfd_secret", "-", SEEN, IS(0, O_CLOEXEC)),
	CALL("ftruncate", SEEN), /* of a memfd */

	/* The socket's file: is it still ours; and away with it. */
	CALL("newfstatat", SEEN),
	CALL("unlink", SEEN),
	CALL("unlinkat", RARE), /* arm64 has no other */

	/* What the kernel says of itself. */
	CALL("getrandom", SEEN),
	CALL("uname", SEEN),
	CALL("clock_gettime", RARE), /* own time of busy threads; odd clocks */
	CALL("gettimeofday", RARE),
	CALL("time", RARE),

	/* The end of a thread, of the process, and of a broken one. */
	CALL("exit", SEEN),
	CALL("exit_group", SEEN),
	CALL("rt_sigprocmask", SEEN),
	CALL_IF("rt_sigaction", "-", RARE, IS(0, SIGABRT)), /* abort(3) */
	CALL("getpid", RARE),
	CALL("gettid", RARE),
	CALL_IF("tgkill", "-", RARE, IS(2, SIGABRT)),
};

#define N_CALLS (sizeof(calls) / sizeof(calls[0]))

static int allow(scmp_filter_ctx ctx, const struct call *call)
{
	struct scmp_arg_cmp args[CONDITIONS_MAX] = { 0 };
	int number = seccomp_syscall_resolve_name(call->name);
	unsigned int n = 0;

	if (number == __NR_SCMP_ERROR)
		return -EINVAL;
	for (; n < CONDITIONS_MAX && call->conditions[n].mask; n++) {
		args[n].arg = call->conditions[n].arg;
		args[n].op = SCMP_CMP_MASKED_EQ;
		args[n].datum_a = call->conditions[n].mask;
		args[n].datum_b = call->conditions[n].value;
	}
	/* One that the architecture does not have is left out. */
	return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, number, n, args);
}

static int fill(scmp_filter_ctx ctx, const char *architecture)
{
	uint32_t token = seccomp_arch_resolve_name(architecture);
	int err = 0;

	if (!token)
		return -EINVAL;
	if (token != seccomp_arch_native()) {
		err = seccomp_arch_add(ctx, token);
		if (!err)
			err = seccomp_arch_remove(ctx, seccomp_arch_native());
	}
	if (!err)
		err = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH,
				       SCMP_ACT_KILL_PROCESS);
	/* A tree: the common calls are not behind all others. */
	if (!err)
		err = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	for (size_t i = 0; !err && i < N_CALLS; i++) {
		err = allow(ctx, &calls[i]);
		if (err)
			fprintf(stderr, "make-filter: %s: %s\n", calls[i].name,
				strerror(-err));
	}
	return err;
}

/* struct sock_filter, which libseccomp writes. */
struct instruction {
	uint16_t code;
	uint8_t jump_true;
	uint8_t jump_false;
	uint32_t operand;
};

static int print_filter(scmp_filter_ctx ctx)
{
	struct instruction in;
	FILE *file = tmpfile();
	int err;

	if (!file)
		return -errno;
	err = seccomp_export_bpf(ctx, fileno(file));
	rewind(file);
	while (!err && fread(&in, sizeof(in), 1, file) == 1)
		printf("{ 0x%x, %u, %u, 0x%x },\n", in.code, in.jump_true,
		       in.jump_false, in.operand);
	fclose(file);
	return err;
}

static void print_list(void)
{
	for (size_t i = 0; i < N_CALLS; i++)
		printf("%s %s %s\n", calls[i].name, calls[i].word,
		       calls[i].use == SEEN ? "seen" : "rare");
}

int main(int argc, char **argv)
{
	scmp_filter_ctx ctx;
	int err;

	if (argc == 2 && !strcmp(argv[1], "--list")) {
		print_list();
		return EXIT_SUCCESS;
	}
	if (argc != 2) {
		fputs("usage: make-filter ARCHITECTURE | --list\n", stderr);
		return EXIT_FAILURE;
	}
	ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!ctx)
		return EXIT_FAILURE;
	err = fill(ctx, argv[1]);
	if (!err)
		err = print_filter(ctx);
	seccomp_release(ctx);
	if (err)
		fprintf(stderr, "make-filter: %s\n", strerror(-err));
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
