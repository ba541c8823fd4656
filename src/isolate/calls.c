/* SPDX-License-Identifier: MIT */
/*
 * The allow-list of system calls of each thread. make_filter.c makes filters
 * from it while the project is built.
 *
 * This file is compiled for the machine that will run the program, because the
 * numbers of options, flags and requests differ between machines. The object
 * file is not linked into the program (calls.h).
 *
 * An entry is one service of the kernel. It names all the calls by which a C
 * library may ask for the service. Most of the names with a number in them are
 * those of 32-bit systems. Of some pairs of calls arm64 has only the newer one.
 * A name that an architecture lacks is left out there.
 *
 * A test watches a daemon at work (tests/netns/isolate.py). The test fails if a
 * thread does not make a call that is marked as seen for it (argument @s of
 * CALL), so no unused entry can stay. If a thread makes a call only rarely
 * (argument @r), the reason stands beside the entry.
 *
 * The conditions on arguments:
 *  - A new socket is UDP over IP, and only the keeper may make one.
 *  - The main threads of keeper and engine give no address to sendto(2).
 *  - Options of sockets and requests to devices are those in use.
 *  - No memory can be executable when it is mapped, be made executable later,
 *    or be mapped over other memory.
 *  - A futex is waited for and woken, and no more: the kernel's code for priority
 *    inheritance and for moving waiters is out of reach.
 *  - A thread can send only the signal SIGABRT, and only to itself.
 *  - The starter opens files for reading only, makes no namespace, executes only what
 *    it has open, and sends only SIGKILL, and SIGABRT.
 * Only the lower 32 bits of an argument are compared: the kernel uses only
 * those of an int, and the upper ones may hold anything.
 */
#include "isolate/calls.h"

#include <asm/socket.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/if_tun.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/membarrier.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <linux/udp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* These came with Linux 6.3; the headers of a system may be older. */
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif

#ifndef MFD_EXEC
#define MFD_EXEC 0x10
#endif

/* musl's lstat(3) makes another call than glibc's. */
#ifdef __GLIBC__
#define MUSL(names)
#else
#define MUSL(names) names
#endif

/*
 * i386 has two calls that map memory. The older one, mmap(), takes its
 * arguments in memory, where no filter sees them, so the table has mmap2().
 * s390x has only a call that takes its arguments in memory. So on s390x only
 * PR_SET_MDWE and the rule on mprotect() forbid executable memory.
 */
#ifdef SYS_mmap2
#define MMAP "mmap2"
#else
#define MMAP "mmap"
#endif
#ifdef __s390__
#define MMAP_IF(n, flags)
#else
#define MMAP_IF(n, flags) HAS_NOT(n, flags),
#endif

/* The number of the argument that has the flags of clone(2). */
#ifdef __s390__
#define CLONE_FLAGS 1
#else
#define CLONE_FLAGS 0
#endif

#define FUTEX(op, s, r)                          \
	CALL_IF("futex futex_time64", #op, s, r, \
		IS_BUT(1, op, FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME))
#define MEMBARRIER(command, s, r) \
	CALL_IF("membarrier", #command, s, r, IS(0, command))
#define MADVISE(advice, s, r) CALL_IF("madvise", #advice, s, r, IS(2, advice))
#define IOCTL(request, s, r)  CALL_IF("ioctl", #request, s, r, IS(1, request))
#define GET_OPTION(l, o, s, r) \
	CALL_IF("getsockopt", #o, s, r, IS(1, l), IS(2, o))
#define SET_OPTION(l, o, s, r) \
	CALL_IF("setsockopt", #o, s, r, IS(1, l), IS(2, o))
#define FCNTL(op, s, r) CALL_IF("fcntl fcntl64", #op, s, r, IS(1, op))
#define PRCTL(op, s, r) CALL_IF("prctl", #op, s, r, IS(0, op))
#define UDP_SOCKET(family)                                           \
	CALL_IF("socket", #family ",", KEEPER, NONE, IS(0, family),  \
		IS_BUT(1, SOCK_DGRAM, SOCK_CLOEXEC | SOCK_NONBLOCK), \
		IS(2, IPPROTO_UDP))

const struct call isolate_calls[] = {
	CALLS_FIRST,

	/* The loops of the threads, and how they wake each other. */
	CALL("epoll_ctl", CONTROL | WORKER | KEEPER, NONE),
	CALL("epoll_wait epoll_pwait", CONTROL | WORKER | KEEPER, NONE),
	FUTEX(FUTEX_WAIT_BITSET, MAKERS | HELPER | LOG, WORKER),
	FUTEX(FUTEX_WAKE, ALL, NONE),
	FUTEX(FUTEX_WAIT, NONE, ALL), /* a lock that another thread has */
	MEMBARRIER(MEMBARRIER_CMD_PRIVATE_EXPEDITED, RCU, CONTROL),
	/* By ug_set_merging(), and by liburcu before Linux 4.14. */
	MEMBARRIER(MEMBARRIER_CMD_QUERY, NONE, CONTROL | MOVERS),
	MEMBARRIER(MEMBARRIER_CMD_GLOBAL, NONE, CONTROL | RCU | MOVERS),
	/* To wait for room in a socket or a log, for the end of a switch of
	 * UDP_GRO, for entropy, and in liburcu. */
	CALL("poll ppoll ppoll_time64", NONE, ALL | KEEPER),
	CALL("timerfd_settime timerfd_settime64", CONTROL, NONE),
	/* After a SIGSTOP has interrupted a sleep. */
	CALL("restart_syscall", NONE, ALL | KEEPER),
	/* By the worker between lone packets that follow each other closely. */
	CALL("sched_yield", HELPER, WORKER),

	/* Descriptors: the TUN, eventfd, signalfd, inotify; the log. */
	CALL("read", CONTROL | WORKER, HELPER | KEEPER),
	CALL("write", CONTROL | MOVERS | HANDSHAKER, KEEPER),
	CALL("writev", WORKER, HELPER),
	CALL_IF("write", "(1,", LOG, NONE, IS(0, STDOUT_FILENO)),
	/* By the handshaker a memfd, once it is mapped. */
	CALL("close", CONTROL | KEEPER, HANDSHAKER),
	/* The interface's name, after netlink has lost a message. */
	IOCTL(TUNGETIFF, NONE, KEEPER),
	/* At the end only: the device is left as a new one would be. */
	IOCTL(TUNSETOFFLOAD, KEEPER, NONE),
	IOCTL(TUNSETVNETHDRSZ, KEEPER, NONE),
	IOCTL(SIOCOUTQ, NONE, MOVERS | HANDSHAKER), /* how full is a socket */
	IOCTL(SIOCGIFINDEX, CONTROL, NONE), /* zones of link-local endpoints */
	IOCTL(SIOCGIFNAME, CONTROL, NONE),

	/* UDP, netlink, and clients of the UAPI socket. */
	/* By the keeper from who wants an upgrade. */
	CALL("accept4", CONTROL, KEEPER),
	CALL("bind", KEEPER, NONE),
	CALL("getsockname", KEEPER, NONE),
	CALL("recvfrom", CONTROL, NONE),
	CALL("recvmmsg recvmmsg_time64", WORKER, HELPER),
	/* For netlink, between keeper and engine, for queued errors, and without
	 * recvmmsg(2). */
	CALL("recvmsg", CONTROL | KEEPER, MOVERS | HANDSHAKER),
	CALL("sendmmsg", WORKER, HELPER),
	/* By the keeper also to the kernel and to the service manager. */
	CALL("sendmsg", CONTROL | WORKER | HANDSHAKER | KEEPER, HELPER),
	/* By send(2), to clients of the UAPI. */
	CALL_IF("sendto", "-", CONTROL, NONE, IS(5, 0)),
	/* Connections to an engine that takes the place of a dead one. */
	CALL_IF("socketpair", "AF_UNIX,", KEEPER, NONE, IS(0, AF_UNIX),
		IS_BUT(1, SOCK_SEQPACKET, SOCK_CLOEXEC)),
	UDP_SOCKET(AF_INET),
	UDP_SOCKET(AF_INET6),
	SET_OPTION(SOL_SOCKET, SO_MARK, KEEPER, NONE),
	SET_OPTION(SOL_SOCKET, SO_REUSEPORT, KEEPER, NONE), /* side sockets */
	/* --queues: which UDP socket gets a message. */
	SET_OPTION(SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, NONE, KEEPER),
	SET_OPTION(SOL_SOCKET, SO_RCVBUF, NONE, KEEPER), /* no CAP_NET_ADMIN */
	SET_OPTION(SOL_SOCKET, SO_RCVBUFFORCE, KEEPER, NONE),
	SET_OPTION(SOL_SOCKET, SO_SNDBUF, NONE, KEEPER),
	SET_OPTION(SOL_SOCKET, SO_SNDBUFFORCE, KEEPER, NONE),
	/* --pmtu=discover: the threads that send switch DF off and on. */
	SET_OPTION(IPPROTO_IP, IP_MTU_DISCOVER, KEEPER, MOVERS),
	SET_OPTION(IPPROTO_IPV6, IPV6_MTU_DISCOVER, NONE, KEEPER | MOVERS),
	SET_OPTION(IPPROTO_IPV6, IPV6_MTU, NONE, MOVERS),
	SET_OPTION(IPPROTO_IP, IP_RECVERR, NONE, KEEPER),
	SET_OPTION(IPPROTO_IPV6, IPV6_RECVERR, NONE, KEEPER),
	SET_OPTION(IPPROTO_IP, IP_PKTINFO, KEEPER, NONE),
	SET_OPTION(IPPROTO_IP, IP_RECVTOS, KEEPER, NONE),
	SET_OPTION(IPPROTO_IPV6, IPV6_RECVPKTINFO, KEEPER, NONE),
	SET_OPTION(IPPROTO_IPV6, IPV6_RECVTCLASS, KEEPER, NONE),
	SET_OPTION(IPPROTO_IPV6, IPV6_V6ONLY, KEEPER, NONE),
	SET_OPTION(IPPROTO_UDP, UDP_GRO, CONTROL | KEEPER, MOVERS), /* to 0 */
	GET_OPTION(SOL_SOCKET, SO_MARK, KEEPER, NONE),
	GET_OPTION(SOL_SOCKET, SO_MEMINFO, CONTROL, NONE),
	/* Asked of the clients that another engine gives away in an upgrade. */
	GET_OPTION(SOL_SOCKET, SO_DOMAIN, NONE, CONTROL),
	GET_OPTION(SOL_SOCKET, SO_TYPE, NONE, CONTROL),
	GET_OPTION(SOL_SOCKET, SO_PEERCRED, NONE, KEEPER), /* an upgrade */
	GET_OPTION(SOL_SOCKET, SO_RCVBUF, KEEPER, NONE),
	GET_OPTION(SOL_SOCKET, SO_SNDBUF, KEEPER, NONE),
	GET_OPTION(IPPROTO_UDP, UDP_GRO, CONTROL | KEEPER, NONE),
	GET_OPTION(IPPROTO_UDP, UDP_SEGMENT, CONTROL | KEEPER, NONE),

	/*
	 * Memory: the heap, secrets, tables that grow, stacks of threads. The
	 * threads that move packets have all of their memory from the start,
	 * except for libcrypto's.
	 */
	CALL("brk", CONTROL, BUT_LOG),
	CALL_IF(MMAP, "-", CONTROL, BUT_LOG,
		MMAP_IF(2, PROT_EXEC)
			MMAP_IF(3, MAP_FIXED | MAP_FIXED_NOREPLACE)),
	CALL_IF("mprotect", "-", NONE, BUT_LOG,
		HAS_NOT(2, PROT_EXEC)), /* malloc(3) */
	CALL_IF("mremap", "MREMAP_MAYMOVE", NONE, BUT_LOG,
		IS(3, MREMAP_MAYMOVE)), /* realloc(3) */
	CALL("munmap", CONTROL, BUT_LOG),
	MADVISE(MADV_DONTNEED, ALL, NONE),
#ifndef __GLIBC__
	MADVISE(MADV_FREE, NONE, BUT_LOG), /* free(3) */
#endif
	MADVISE(MADV_HUGEPAGE, NONE, MAKERS), /* large shortcuts */
	MADVISE(MADV_DONTFORK, CONTROL, HANDSHAKER),
	/* Secrets, if there is no memfd_secret(2). */
	MADVISE(MADV_WIPEONFORK, NONE, CONTROL | HANDSHAKER),
	MADVISE(MADV_DONTDUMP, NONE, CONTROL | HANDSHAKER),
	CALL("mlock", NONE, CONTROL | HANDSHAKER),
	CALL_IF("memfd_secret", "-", CONTROL, HANDSHAKER, IS(0, O_CLOEXEC)),
	/* A journal, if there is no memfd_secret(2). */
	CALL_IF("memfd_create", "-", NONE, CONTROL,
		IS(1, MFD_CLOEXEC | MFD_ALLOW_SEALING)),
	CALL("ftruncate ftruncate64", CONTROL, HANDSHAKER), /* of a memfd */

	/* The socket's file: it is looked at, and removed at the end. */
	CALL("newfstatat fstatat64 statx" MUSL(" lstat"), KEEPER, NONE),
	CALL("unlink unlinkat", KEEPER, NONE),

	/* Random numbers, the kernel's version, and time. */
	CALL("getrandom", CONTROL | HANDSHAKER, BUT_LOG),
	CALL("uname", CONTROL, NONE),
	/* For the CPU time of a busy thread, and for each clock that the vDSO
	 * cannot read. */
	CALL("clock_gettime clock_gettime64", NONE, ALL | KEEPER),
	CALL("gettimeofday", NONE, ALL),
	CALL("time", NONE, ALL),

	/* The keeper waits for the starter. */
	CALL("wait4 waitpid waitid", KEEPER, NONE),

	/* The end of a thread and of the process, also by abort(3). In the keeper
	 * abort(3) ends the process by SIGSYS, after the line that says why. */
	CALL("exit", ALL & ~CONTROL, NONE),
	CALL("exit_group", CONTROL | KEEPER, ALL),
	CALL("rt_sigprocmask", ALL & ~CONTROL, CONTROL),
	CALL_IF("write", "(2,", NONE, RCU | LOG, IS(0, STDERR_FILENO)),
	CALL_IF("writev", "(2,", NONE, MAKERS | LOG | KEEPER,
		IS(0, STDERR_FILENO)),
	FCNTL(F_GETFL, NONE, ALL),
	CALL_IF("rt_sigaction", "SIGABRT", NONE, ALL, IS(0, SIGABRT)),
	CALL("getpid", NONE, ALL),
	CALL("gettid", NONE, ALL),
	/* The keeper has no thread for its log: a timer ends a write that
	 * blocks (base/direct.c). */
	CALL("rt_sigreturn", NONE, KEEPER),
	CALL("timer_settime timer_settime64", KEEPER, NONE),
	CALL_IF("tgkill", "SIGABRT", NONE, ALL, IS(0, FILTER_PID),
		IS(1, FILTER_TID), IS(2, SIGABRT)),
#ifndef __GLIBC__
	CALL_IF("tkill", "SIGABRT", NONE, ALL, IS(0, FILTER_TID),
		IS(1, SIGABRT)),
#endif

	/*
	 * The starter, which has one thread, and what comes between the begin of an
	 * engine and the filters of its threads. C libraries differ in how they load
	 * and start a program; the test sees those calls that glibc makes on x86-64.
	 * clone3(2) is missing, because no filter sees its flags.
	 */
	CALL_IF("clone", "-", STARTER, NONE,
		HAS_NOT(CLONE_FLAGS, CLONE_NEWNS | CLONE_NEWCGROUP |
					     CLONE_NEWUTS | CLONE_NEWIPC |
					     CLONE_NEWUSER | CLONE_NEWPID |
					     CLONE_NEWNET)),
	CALL("fork", NONE, STARTER), /* musl */
	CALL_IF("execveat", "AT_EMPTY_PATH", STARTER, NONE,
		IS(4, AT_EMPTY_PATH)),
	/* A copy of a program that is executed. */
	CALL_IF("memfd_create", "-", NONE, STARTER,
		IS_BUT(1, MFD_CLOEXEC, MFD_ALLOW_SEALING | MFD_EXEC)),
	CALL("dup2 dup3", STARTER, NONE),
	FCNTL(F_DUPFD_CLOEXEC, STARTER, NONE),
	FCNTL(F_GETFD, STARTER, NONE),
	FCNTL(F_SETFD, NONE, STARTER), /* musl */
	/* Of the journal, that an engine goes on with. */
	FCNTL(F_GET_SEALS, STARTER, NONE),
	FCNTL(F_ADD_SEALS, NONE, STARTER),	  /* without memfd_secret(2) */
	CALL("fstatfs fstatfs64", NONE, STARTER), /* with it */
	CALL("wait4 waitpid waitid", STARTER, NONE),
	/* An engine that does not end, or whose keeper has ended. The starter has no
	 * right to signal the keeper. */
	CALL_IF("kill", "SIGKILL", NONE, STARTER, IS(1, SIGKILL)),
	/* Files, for reading. */
	CALL_IF("openat", "-", STARTER, NONE,
		HAS_NOT(2, O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)),
	CALL_IF("open", "-", NONE, STARTER,
		HAS_NOT(1, O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)),
	CALL("fstat fstat64 newfstatat fstatat64 statx", STARTER, NONE),
	CALL("stat stat64 lstat lstat64", NONE, STARTER),
	CALL("access faccessat faccessat2", STARTER, NONE),
	CALL("readlink readlinkat", NONE, STARTER),
	CALL("pread64", STARTER, NONE),
	CALL("readv lseek _llseek", NONE, STARTER),
	CALL("getdents64", STARTER, NONE), /* the list of threads */
	/* Memory, also of code. */
	CALL(MMAP, STARTER, NONE),
	CALL("mprotect", STARTER, NONE),
	CALL("madvise", STARTER, NONE),
	/* The begin of a program, and of a thread. */
	CALL("arch_prctl set_thread_area set_tls", STARTER, NONE),
	CALL("set_tid_address", STARTER, NONE),
	CALL("set_robust_list", STARTER, NONE),
	CALL("rseq", NONE, STARTER), /* glibc 2.35 */
	CALL("rt_sigaction", STARTER, NONE),
	CALL("rt_sigreturn", NONE, STARTER),
	CALL("prlimit64 ugetrlimit getrlimit setrlimit", STARTER, NONE),
	CALL("sched_getaffinity", STARTER, NONE),
	CALL("sysinfo", NONE, STARTER),
	CALL("getuid getuid32 geteuid geteuid32", NONE, STARTER),
	CALL("getgid getgid32 getegid getegid32", NONE, STARTER),
	CALL("getresuid getresuid32", NONE, STARTER), /* for a message */
	CALL("epoll_create1", STARTER, NONE),
	CALL("eventfd2", STARTER, NONE),
	CALL("timerfd_create", STARTER, NONE),
	MEMBARRIER(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, STARTER, NONE),
	/* Lines of an engine that has no thread for its log yet. */
	CALL("timer_create", STARTER, NONE),
	CALL("timer_settime timer_settime64", STARTER, NONE),
	CALL("timer_delete", STARTER, NONE),
	/* How an engine gives up what it has left. */
	CALL("capget", STARTER, NONE),
	CALL("capset", STARTER, NONE),
	PRCTL(PR_SET_NAME, STARTER, NONE),
	PRCTL(PR_SET_NO_NEW_PRIVS, STARTER, NONE),
	PRCTL(PR_SET_DUMPABLE, STARTER, NONE),
	PRCTL(PR_SET_MDWE, STARTER, NONE),
	PRCTL(PR_CAPBSET_DROP, STARTER, NONE),
	PRCTL(PR_CAP_AMBIENT, STARTER, NONE),
	CALL("landlock_create_ruleset", STARTER, NONE),
	CALL("landlock_restrict_self", STARTER, NONE),
	CALL_IF("seccomp", "SECCOMP_SET_MODE_FILTER", STARTER, NONE,
		IS(0, SECCOMP_SET_MODE_FILTER), IS(1, 0)),
	/* abort(3) in an engine, whose ids are not known here. */
	CALL_IF("tgkill", "SIGABRT", NONE, STARTER, IS(2, SIGABRT)),
	CALL_IF("tkill", "SIGABRT", NONE, STARTER, IS(1, SIGABRT)),

	CALLS_LAST,
};
