/* SPDX-License-Identifier: MIT */
/*
 * On i386, s390x and a few others the C library makes all calls of sockets by
 * one system call, socketcall(2), whose arguments are in memory, where no
 * filter can look at them. So socketcall(2) is not in the table of calls.c.
 * Since Linux 4.3 each call of sockets also has a number of its own on these
 * architectures. The functions below use these numbers.
 *
 * Each function has the name of one of the C library, and replaces it in the
 * whole program, libraries included. An argument is passed in a register of the
 * size of a long, whatever its type is, and so is the result.
 */
#include "isolate/socketcall.h"

#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(SYS_socketcall) && defined(SYS_socket)

/* Only the linker sees the name, because the headers declare other types. */
#define DIRECT_2(name)                                     \
	long direct_##name(long a, long b) __asm__(#name); \
	long direct_##name(long a, long b)                 \
	{                                                  \
		return syscall(SYS_##name, a, b);          \
	}
#define DIRECT_3(name)                                             \
	long direct_##name(long a, long b, long c) __asm__(#name); \
	long direct_##name(long a, long b, long c)                 \
	{                                                          \
		return syscall(SYS_##name, a, b, c);               \
	}
#define DIRECT_4(name)                                                     \
	long direct_##name(long a, long b, long c, long d) __asm__(#name); \
	long direct_##name(long a, long b, long c, long d)                 \
	{                                                                  \
		return syscall(SYS_##name, a, b, c, d);                    \
	}
#define DIRECT_5(name)                                             \
	long direct_##name(long a, long b, long c, long d,         \
			   long e) __asm__(#name);                 \
	long direct_##name(long a, long b, long c, long d, long e) \
	{                                                          \
		return syscall(SYS_##name, a, b, c, d, e);         \
	}
#define DIRECT_6(name)                                                     \
	long direct_##name(long a, long b, long c, long d, long e,         \
			   long f) __asm__(#name);                         \
	long direct_##name(long a, long b, long c, long d, long e, long f) \
	{                                                                  \
		return syscall(SYS_##name, a, b, c, d, e, f);              \
	}

DIRECT_3(socket)
DIRECT_4(socketpair)
DIRECT_3(bind)
DIRECT_3(connect)
DIRECT_2(listen)
DIRECT_4(accept4)
DIRECT_5(getsockopt)
DIRECT_5(setsockopt)
DIRECT_3(getsockname)
DIRECT_3(getpeername)
DIRECT_6(sendto)
DIRECT_3(sendmsg)
DIRECT_6(recvfrom)
DIRECT_3(recvmsg)
DIRECT_2(shutdown)

/* These calls have no number of their own. Another call does the same. */

long direct_recv(long fd, long data, long len, long flags) __asm__("recv");
long direct_recv(long fd, long data, long len, long flags)
{
	return syscall(SYS_recvfrom, fd, data, len, flags, 0L, 0L);
}

long direct_send(long fd, long data, long len, long flags) __asm__("send");
long direct_send(long fd, long data, long len, long flags)
{
	return syscall(SYS_sendto, fd, data, len, flags, 0L, 0L);
}

long direct_accept(long fd, long name, long len) __asm__("accept");
long direct_accept(long fd, long name, long len)
{
	return syscall(SYS_accept4, fd, name, len, 0L);
}

/* The address of the function that other files call by the name "socket". */
extern char visible[] __asm__("socket");

bool socketcall_is_avoided(void)
{
	return (uintptr_t)visible == (uintptr_t)direct_socket;
}

#else

bool socketcall_is_avoided(void)
{
	return true;
}

#endif
