/* SPDX-License-Identifier: MIT */
/*
 * The allow-list of system calls of each thread, and the program that makes
 * filters of it while the project is built.
 *
 * usage: make-filter ARCHITECTURE	print a C header: the filter of each thread
 *        make-filter --list		print the list, a line for each way and
 *					thread: NAME, WORD, THREAD, "seen" or "rare"
 *
 * A call that is SEEN is made by that thread of a daemon in the test that
 * watches one at work (tests/netns/isolate.py); that test fails if it is not,
 * so nothing stays here that is not used any more. A RARE one has its reason
 * beside it.
 *
 * What is looked at in the arguments:
 *  - A socket is UDP over IP. So no Unix socket can be connected to: with
 *    CAP_DAC_OVERRIDE that would be any.
 *  - Options of sockets and requests to devices are those in use.
 *  - No memory can be mapped or made executable, or be mapped over other memory.
 *  - A futex is waited for and woken, and no more: the kernel's code for priority
 *    inheritance and for moving waiters is out of reach.
 *  - The only signal is the SIGABRT of a thread to itself.
 * The kernel takes the lower 32 bits of an int, and nothing says what is in the
 * others: so only these are compared.
 */
#include <asm/socket.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/if_tun.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/membarrier.h>
#include <linux/sockios.h>
#include <linux/udp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "isolate/filter.h"

/* The threads, by the names that thread_begin() gives them. */
enum thread {
	CONTROL = 1,
	WORKER = 2,
	HELPER = 4,
	HANDSHAKER = 8,
	RCU = 16,
	LOG = 32,

	/* Those that move packets. */
	MOVERS = WORKER | HELPER,
	/* Those that make and free what belongs to peers. */
	KEEPERS = CONTROL | HANDSHAKER | RCU,
	BUT_LOG = MOVERS | KEEPERS,
	ALL = BUT_LOG | LOG,
	NONE = 0,
};

static const struct {
	enum thread bit;
	const char *name;
} threads[] = {
	{ CONTROL, FILTER_CONTROL },
	{ WORKER, "worker" },
	{ HELPER, "helper" },
	{ HANDSHAKER, "handshaker" },
	{ RCU, "rcu" },
	{ LOG, "log" },
};

#define N_THREADS (sizeof(threads) / sizeof(threads[0]))

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
 * @seen:	threads that make it in the test, see above
 * @rare:	threads that may make it, but do not in each run of the test
 * @conditions:	all of them; the first without a mask ends them
 */
struct call {
	const char *name;
	const char *word;
	unsigned int seen;
	unsigned int rare;
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

#define CALL(n, s, r)                                              \
	{                                                          \
		.name = (n), .word = "-", .seen = (s), .rare = (r) \
	}
#define CALL_IF(n, w, s, r, ...)                                    \
	{                                                           \
		.name = (n), .word = (w), .seen = (s), .rare = (r), \
		.conditions = {                                     \
			__VA_ARGS__                                 \
		}                                                   \
	}
#define FUTEX(op, s, r)             \
	CALL_IF("futex", #op, s, r, \
		IS_BUT(1, op, FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME))
#define MEMBARRIER(command, s, r) \
	CALL_IF("membarrier", #command, s, r, IS(0, command))
#define MADVISE(advice, s, r) CALL_IF("madvise", #advice, s, r, IS(2, advice))
#define IOCTL(request, s, r)  CALL_IF("ioctl", #request, s, r, IS(1, request))
#define GET_OPTION(l, o, s, r) \
	CALL_IF("getsockopt", #o, s, r, IS(1, l), IS(2, o))
#define SET_OPTION(l, o, s, r) \
	CALL_IF("setsockopt", #o, s, r, IS(1, l), IS(2, o))
#define UDP_SOCKET(family)                                           \
	CALL_IF("socket", #family ",", CONTROL, NONE, IS(0, family), \
		IS_BUT(1, SOCK_DGRAM, SOCK_CLOEXEC | SOCK_NONBLOCK), \
		IS(2, IPPROTO_UDP))

static const struct call calls[] = {
	/* The loops of the threads, and how they wake each other. */
	CALL("epoll_ctl", CONTROL | WORKER, NONE),
	CALL("epoll_wait", CONTROL | WORKER, NONE),
	CALL("epoll_pwait", NONE, CONTROL | WORKER), /* arm64 has no other */
	FUTEX(FUTEX_WAIT_BITSET, KEEPERS | HELPER | LOG, WORKER),
	FUTEX(FUTEX_WAKE, ALL, NONE),
	FUTEX(FUTEX_WAIT, NONE, ALL), /* a lock that another one has */
	MEMBARRIER(MEMBARRIER_CMD_PRIVATE_EXPEDITED, RCU, CONTROL),
	/* ug_set_merging(); liburcu before Linux 4.14. */
	MEMBARRIER(MEMBARRIER_CMD_QUERY, NONE, CONTROL | MOVERS),
	MEMBARRIER(MEMBARRIER_CMD_GLOBAL, NONE, CONTROL | RCU | MOVERS),
	/* Full sockets and logs; UDP_GRO going off; no random; liburcu. */
	CALL("poll", NONE, ALL),
	CALL("ppoll", NONE, ALL), /* arm64 has no other */
	CALL("timerfd_settime", CONTROL, NONE),
	CALL("restart_syscall", NONE, ALL), /* stopped while asleep */
	CALL("sched_yield", HELPER, NONE),

	/* Descriptors: the TUN, eventfd, signalfd, inotify; the log. */
	CALL("read", CONTROL | WORKER, HELPER),
	CALL("write", CONTROL | MOVERS | HANDSHAKER, NONE),
	CALL("writev", WORKER, HELPER),
	CALL_IF("write", "(1,", LOG, NONE, IS(0, STDOUT_FILENO)),
	CALL("close", CONTROL, HANDSHAKER), /* a memfd, once it is mapped */
	IOCTL(TUNGETIFF, NONE, CONTROL),    /* its name after a lost message */
	IOCTL(SIOCOUTQ, NONE, MOVERS | HANDSHAKER), /* how full is a socket */
	IOCTL(SIOCGIFINDEX, CONTROL, NONE), /* zones of link-local endpoints */
	IOCTL(SIOCGIFNAME, CONTROL, NONE),

	/* UDP, netlink, and clients of the UAPI socket. */
	CALL("accept4", CONTROL, NONE),
	CALL("bind", CONTROL, NONE),
	CALL("getsockname", CONTROL, NONE),
	CALL("recvfrom", CONTROL, NONE),
	CALL("recvmmsg", WORKER, HELPER),
	/* Netlink; where there is no recvmmsg; queued errors. */
	CALL("recvmsg", CONTROL, MOVERS | HANDSHAKER),
	CALL("sendmmsg", WORKER, HELPER),
	CALL("sendmsg", WORKER | HANDSHAKER, HELPER),
	CALL("sendto", CONTROL, NONE),
	UDP_SOCKET(AF_INET),
	UDP_SOCKET(AF_INET6),
	SET_OPTION(SOL_SOCKET, SO_MARK, CONTROL, NONE),
	SET_OPTION(SOL_SOCKET, SO_REUSEPORT, CONTROL, NONE), /* side sockets */
	SET_OPTION(SOL_SOCKET, SO_RCVBUF, NONE, CONTROL), /* no CAP_NET_ADMIN */
	SET_OPTION(SOL_SOCKET, SO_RCVBUFFORCE, CONTROL, NONE),
	SET_OPTION(SOL_SOCKET, SO_SNDBUF, NONE, CONTROL),
	SET_OPTION(SOL_SOCKET, SO_SNDBUFFORCE, CONTROL, NONE),
	SET_OPTION(IPPROTO_IP, IP_MTU_DISCOVER, CONTROL, NONE),
	SET_OPTION(IPPROTO_IP, IP_PKTINFO, CONTROL, NONE),
	SET_OPTION(IPPROTO_IP, IP_RECVTOS, CONTROL, NONE),
	SET_OPTION(IPPROTO_IPV6, IPV6_RECVPKTINFO, CONTROL, NONE),
	SET_OPTION(IPPROTO_IPV6, IPV6_RECVTCLASS, CONTROL, NONE),
	SET_OPTION(IPPROTO_IPV6, IPV6_V6ONLY, CONTROL, NONE),
	SET_OPTION(IPPROTO_UDP, UDP_GRO, CONTROL, MOVERS), /* going off */
	GET_OPTION(SOL_SOCKET, SO_MARK, CONTROL, NONE),
	GET_OPTION(SOL_SOCKET, SO_RCVBUF, CONTROL, NONE),
	GET_OPTION(SOL_SOCKET, SO_SNDBUF, CONTROL, NONE),
	GET_OPTION(IPPROTO_UDP, UDP_GRO, CONTROL, NONE),
	GET_OPTION(IPPROTO_UDP, UDP_SEGMENT, CONTROL, NONE),

	/*
	 * Memory: the heap, secrets, tables that grow, stacks of threads. Those
	 * that move packets have all of theirs, but for libcrypto's.
	 */
	CALL("brk", CONTROL, BUT_LOG),
	CALL_IF("mmap", "-", CONTROL, BUT_LOG, HAS_NOT(2, PROT_EXEC),
		HAS_NOT(3, MAP_FIXED | MAP_FIXED_NOREPLACE)),
	CALL_IF("mprotect", "-", NONE, BUT_LOG,
		HAS_NOT(2, PROT_EXEC)), /* malloc(3) */
	CALL_IF("mremap", "MREMAP_MAYMOVE", NONE, BUT_LOG,
		IS(3, MREMAP_MAYMOVE)), /* realloc(3) */
	CALL("munmap", CONTROL, BUT_LOG),
	MADVISE(MADV_DONTNEED, ALL, NONE),
	MADVISE(MADV_HUGEPAGE, NONE, KEEPERS), /* a million prefixes */
	MADVISE(MADV_DONTFORK, CONTROL, HANDSHAKER),
	/* Secrets, where there is no memfd_secret. */
	MADVISE(MADV_WIPEONFORK, NONE, CONTROL | HANDSHAKER),
	MADVISE(MADV_DONTDUMP, NONE, CONTROL | HANDSHAKER),
	CALL("mlock", NONE, CONTROL | HANDSHAKER),
	CALL_IF("memfd_secret", "-", CONTROL, HANDSHAKER, IS(0, O_CLOEXEC)),
	CALL("ftruncate", CONTROL, HANDSHAKER), /* of a memfd */

	/* The socket's file: is it still ours; and away with it. */
	CALL("newfstatat", CONTROL, NONE),
	CALL("unlink", CONTROL, NONE),
	CALL("unlinkat", NONE, CONTROL), /* arm64 has no other */

	/* What the kernel says of itself. */
	CALL("getrandom", CONTROL | HANDSHAKER, BUT_LOG),
	CALL("uname", CONTROL, NONE),
	/* A busy thread's own time; clocks that can only be read so. */
	CALL("clock_gettime", NONE, ALL),
	CALL("gettimeofday", NONE, ALL),
	CALL("time", NONE, ALL),

	/* The end of a thread, of the process, and of a broken one. */
	CALL("exit", ALL & ~CONTROL, NONE),
	CALL("exit_group", CONTROL, ALL),
	CALL("rt_sigprocmask", ALL & ~CONTROL, CONTROL),
	CALL_IF("write", "(2,", NONE, RCU | LOG, IS(0, STDERR_FILENO)),
	CALL_IF("writev", "(2,", NONE, KEEPERS | LOG, IS(0, STDERR_FILENO)),
	CALL_IF("fcntl", "F_GETFL", NONE, ALL, IS(1, F_GETFL)),
	CALL_IF("rt_sigaction", "SIGABRT", NONE, ALL, IS(0, SIGABRT)),
	CALL("getpid", NONE, ALL),
	CALL("gettid", NONE, ALL),
	CALL_IF("tgkill", "SIGABRT", NONE, ALL, IS(0, FILTER_PID),
		IS(1, FILTER_TID), IS(2, SIGABRT)),
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

static bool is_for(const struct call *call, enum thread thread)
{
	return (call->seen | call->rare) & thread;
}

static int choose_architecture(scmp_filter_ctx ctx, const char *architecture)
{
	uint32_t token = seccomp_arch_resolve_name(architecture);
	int err;

	if (!token)
		return -EINVAL;
	if (token == seccomp_arch_native())
		return 0;
	err = seccomp_arch_add(ctx, token);
	return err ? err : seccomp_arch_remove(ctx, seccomp_arch_native());
}

static int fill(scmp_filter_ctx ctx, const char *architecture,
		enum thread thread)
{
	int err = choose_architecture(ctx, architecture);

	if (!err)
		err = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH,
				       SCMP_ACT_KILL_PROCESS);
	/* A tree: the common calls are not behind all others. */
	if (!err)
		err = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	for (size_t i = 0; !err && i < N_CALLS; i++) {
		if (!is_for(&calls[i], thread))
			continue;
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

static int print_instructions(scmp_filter_ctx ctx, const char *name)
{
	struct instruction in;
	FILE *file = tmpfile();
	int err;

	if (!file)
		return -errno;
	err = seccomp_export_bpf(ctx, fileno(file));
	rewind(file);
	printf("static const struct sock_filter of_%s[] = {\n", name);
	while (!err && fread(&in, sizeof(in), 1, file) == 1)
		printf("\t{ 0x%x, %u, %u, 0x%x },\n", in.code, in.jump_true,
		       in.jump_false, in.operand);
	puts("};");
	fclose(file);
	return err;
}

static int print_filter(const char *architecture, size_t thread)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int err;

	if (!ctx)
		return -ENOMEM;
	err = fill(ctx, architecture, threads[thread].bit);
	if (!err)
		err = print_instructions(ctx, threads[thread].name);
	seccomp_release(ctx);
	return err;
}

static int print_filters(const char *architecture)
{
	int err = 0;

	puts("/* Made by make_filter.c. */");
	for (size_t i = 0; !err && i < N_THREADS; i++)
		err = print_filter(architecture, i);
	puts("\nstatic const struct program programs[] = {");
	for (size_t i = 0; i < N_THREADS; i++)
		printf("\t{ \"%s\", of_%s, ARRAY_LEN(of_%s) },\n",
		       threads[i].name, threads[i].name, threads[i].name);
	puts("};");
	return err;
}

static void print_list(void)
{
	for (size_t i = 0; i < N_CALLS; i++)
		for (size_t t = 0; t < N_THREADS; t++)
			if (is_for(&calls[i], threads[t].bit))
				printf("%s %s %s %s\n", calls[i].name,
				       calls[i].word, threads[t].name,
				       calls[i].seen & threads[t].bit ? "seen"
								      : "rare");
}

int main(int argc, char **argv)
{
	int err;

	if (argc == 2 && !strcmp(argv[1], "--list")) {
		print_list();
		return EXIT_SUCCESS;
	}
	if (argc != 2) {
		fputs("usage: make-filter ARCHITECTURE | --list\n", stderr);
		return EXIT_FAILURE;
	}
	err = print_filters(argv[1]);
	if (err)
		fprintf(stderr, "make-filter: %s\n", strerror(-err));
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
