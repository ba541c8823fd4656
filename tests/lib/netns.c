/* SPDX-License-Identifier: MIT */
#include "tests/lib/netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/skip.h"

enum {
	/* Longer than any command or path here; netns_ip() refuses more. */
	COMMAND_CAP = 256,
	/* A line of /proc/net/ipv6_route has about 150 characters. */
	LINE_CAP = 256,
	/* For a route that the kernel adds within milliseconds on an idle
	 * machine. A choice, not measured. */
	PATIENCE_MS = 5000,
	/* INET6_ADDRSTRLEN is 46, and "/128" follows. */
	ADDRESS_CAP = 64,
};

/* RTF_LOCAL of <linux/ipv6_route.h>, which conflicts with <net/route.h>. */
static const unsigned int rtf_local = 0x80000000;

/* Keeps the process on the CPU that it runs on. */
static void stay_on_cpu(void)
{
	cpu_set_t set;
	int cpu = sched_getcpu();

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		perror("# sched_setaffinity");
}

/* Runs a shell command; returns its exit status or -errno. */
static int run(const char *command)
{
	/* The command consists of constants of the tests. */
	int status = system(command);

	if (status < 0)
		return -errno;
	if (!WIFEXITED(status))
		return -EINTR;
	return WEXITSTATUS(status);
}

void netns_require(void)
{
	if (geteuid() != 0)
		skip_program("needs root to make network namespaces");
	if (run("ip -V >/dev/null 2>&1"))
		skip_program("needs ip of iproute2");
	/* In this namespace the test cannot change the network of the host. */
	if (unshare(CLONE_NEWNET))
		skip_program("cannot make a network namespace");
	stay_on_cpu();
}

int netns_enter(int ns)
{
	return setns(ns, CLONE_NEWNET) ? -errno : 0;
}

/* Runs a program with arguments as for vprintf(3). */
static int run_with(const char *program, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

static int run_with(const char *program, const char *fmt, va_list ap)
{
	char command[COMMAND_CAP];
	int used = snprintf(command, sizeof(command), "%s ", program);
	int n = vsnprintf(command + used, sizeof(command) - (size_t)used, fmt,
			  ap);

	if (n < 0 || (size_t)n >= sizeof(command) - (size_t)used)
		return -E2BIG;
	return run(command);
}

int netns_ip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int status = run_with("ip", fmt, ap);

	va_end(ap);
	return status;
}

int netns_tc(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int status = run_with("tc", fmt, ap);

	va_end(ap);
	return status;
}

int netns_cut_early(const char *device)
{
	char command[COMMAND_CAP];

	snprintf(command, sizeof(command),
		 "ethtool -K %s gso off tx-udp-segmentation off "
		 ">/dev/null 2>&1",
		 device);
	return run(command);
}

/* Whether a line of /proc/net/ipv6_route is the local route of @addr. */
static bool is_local_route(const char *line, const struct in6_addr *addr)
{
	struct in6_addr dest;
	unsigned int len, flags;
	size_t i;

	for (i = 0; i < sizeof(dest); i++)
		if (sscanf(line + 2 * i, "%2hhx", &dest.s6_addr[i]) != 1)
			return false;
	/* Destination, source, gateway, metric, uses, references, flags. */
	if (sscanf(line, "%*s %x %*s %*s %*s %*s %*s %*s %x", &len, &flags) !=
	    2)
		return false;
	return len == 128 && flags & rtf_local &&
	       !memcmp(&dest, addr, sizeof(dest));
}

/* Whether packets to @addr are delivered in the current namespace. */
static bool has_local_route(const struct in6_addr *addr)
{
	bool found = false;
	char line[LINE_CAP];
	FILE *f;

	f = fopen("/proc/thread-self/net/ipv6_route", "re");
	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f))
		found = is_local_route(line, addr);
	fclose(f);
	return found;
}

int netns_add_address(const char *device, const char *prefix)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	char text[INET6_ADDRSTRLEN];
	struct in6_addr addr;
	int i, err;

	snprintf(text, sizeof(text), "%.*s", (int)strcspn(prefix, "/"), prefix);
	if (inet_pton(AF_INET6, text, &addr) != 1)
		return netns_ip("addr add %s dev %s", prefix, device);

	err = netns_ip("addr add %s dev %s nodad", prefix, device);
	if (err)
		return err;
	for (i = 0; i < PATIENCE_MS; i++) {
		if (has_local_route(&addr))
			return 0;
		nanosleep(&ms, NULL);
	}
	return -ETIMEDOUT;
}

int netns_set(const char *key, const char *value)
{
	char path[COMMAND_CAP];
	ssize_t n;
	int fd, err;

	/* The file shows the namespace of the thread that opens it. */
	snprintf(path, sizeof(path), "/proc/sys/net/%s", key);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = write(fd, value, strlen(value));
	err = n < 0 ? -errno : 0;
	close(fd);
	return err;
}

/* Sets up the namespace that the calling thread is in. */
static int prepare(void)
{
	static const char *const off[] = {
		"ipv6/conf/all/accept_dad",   "ipv6/conf/default/accept_dad",
		"ipv4/conf/all/rp_filter",    "ipv4/conf/default/rp_filter",
		"ipv6/conf/all/disable_ipv6",
	};
	size_t i;
	int err;

	for (i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
		err = netns_set(off[i], "0");
		/* A kernel without IPv6 does not have the IPv6 files. */
		if (err && err != -ENOENT)
			return err;
	}
	return netns_ip("link set dev lo up");
}

int netns_new(void)
{
	int ns, err;

	if (unshare(CLONE_NEWNET))
		return -errno;
	err = prepare();
	if (err)
		return err < 0 ? err : -err;
	ns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	return ns < 0 ? -errno : ns;
}

int netns_move(const char *device, int ns)
{
	/* ip(8) inherits no descriptor, so the path names this process. */
	return netns_ip("link set dev %s netns /proc/%d/fd/%d", device,
			getpid(), ns);
}

int netns_rename(const char *device, const char *name)
{
	int err;

	if (!netns_ip("link set dev %s name %s 2>/dev/null", device, name))
		return 0;
	err = netns_ip("link set dev %s down", device);
	if (!err)
		err = netns_ip("link set dev %s name %s", device, name);
	if (!err)
		printf("# this kernel renames devices that are down only\n");
	return err ? err : netns_ip("link set dev %s up", name);
}

/* Gives a device its addresses as host 1 or 2, and sets it up. */
static int set_up(const char *name, unsigned int net, unsigned int host,
		  unsigned int mtu)
{
	char prefix[ADDRESS_CAP];
	int err;

	err = netns_ip("link set dev %s mtu %u up", name, mtu);
	if (err)
		return err;
	snprintf(prefix, sizeof(prefix), "10.%u.0.%u/24", net, host);
	err = netns_add_address(name, prefix);
	if (err)
		return err;
	snprintf(prefix, sizeof(prefix), "fd00:%u::%u/64", net, host);
	return netns_add_address(name, prefix);
}

int netns_join(int a, int b, const char *name, unsigned int net,
	       unsigned int mtu)
{
	int err;

	err = netns_enter(a);
	if (err)
		return err;
	err = netns_ip(
		"link add %s type veth peer name %s netns /proc/%d/fd/%d", name,
		name, getpid(), b);
	if (err)
		return err;
	err = netns_enter(b);
	if (err)
		return err;
	err = set_up(name, net, 2, mtu);
	if (err)
		return err;
	err = netns_enter(a);
	if (err)
		return err;
	return set_up(name, net, 1, mtu);
}
