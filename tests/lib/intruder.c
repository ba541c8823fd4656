/* SPDX-License-Identifier: MIT */
/*
 * A library to preload into wiregather. In the place of an engine that has just been
 * executed, and so has the rights of the starter, it tries what a hostile program would.
 * For each attempt it writes a line to stderr: "intruder: WHAT: ERRNO", where 0 means that
 * the attempt has succeeded. tests/netns/keeper.py reads them.
 *
 * INTRUDER_FILE is a file that every user may read and write, and INTRUDER_KEEPER is the
 * id of the keeper.
 *
 * Later, if a client of the engine sends text that begins with "intruder=end", the engine
 * ends with status 0, as an engine does that was told to end.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* This number is the same on every architecture; older headers lack it. */
#define PIDFD_OPEN 434

static void say(const char *what, long result)
{
	char line[80];
	int len = snprintf(line, sizeof(line), "intruder: %s: %d\n", what,
			   result < 0 ? errno : 0);

	if (write(STDERR_FILENO, line, (size_t)len) < 0)
		abort();
}

static void try_files(const char *path)
{
	char *const argv[] = { (char *)"sh", (char *)"-c", (char *)"", NULL };

	say("read a file", open(path, O_RDONLY));
	say("write a file", open(path, O_WRONLY));
	say("remove a file", unlink(path));
	say("list a directory", open("/", O_RDONLY | O_DIRECTORY));
	say("read its memory map", open("/proc/self/maps", O_RDONLY));
	say("execute a program", execv("/bin/sh", argv));
}

static void try_sockets(void)
{
	say("open a UDP socket", socket(AF_INET, SOCK_DGRAM, 0));
	say("open a TCP socket", socket(AF_INET6, SOCK_STREAM, 0));
	say("open a netlink socket", socket(AF_NETLINK, SOCK_RAW, 0));
	say("open a Unix socket", socket(AF_UNIX, SOCK_DGRAM, 0));
}

static void try_keeper(pid_t keeper)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)keeper);
	say("open the keeper's memory", open(path, O_RDONLY));
	say("open the keeper", syscall(PIDFD_OPEN, keeper, 0));
	say("trace the keeper", ptrace(PTRACE_SEIZE, keeper, NULL, NULL));
	say("stop the keeper", kill(keeper, SIGSTOP));
	say("kill the keeper", kill(keeper, SIGKILL));
}

/* In the place of the C library's function. */
ssize_t recv(int fd, void *buf, size_t len, int flags);

ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	static const char end[] = "intruder=end";
	ssize_t n = recvfrom(fd, buf, len, flags, NULL, NULL);

	if (n >= (ssize_t)strlen(end) && !memcmp(buf, end, strlen(end)))
		_exit(EXIT_SUCCESS);
	return n;
}

__attribute__((constructor)) static void begin(int argc, char **argv)
{
	const char *file = getenv("INTRUDER_FILE");
	const char *keeper = getenv("INTRUDER_KEEPER");

	if (argc < 1 || strcmp(argv[0], "wiregather: engine") != 0 || !file ||
	    !keeper)
		return;
	try_files(file);
	try_sockets();
	try_keeper((pid_t)atoi(keeper));
}
