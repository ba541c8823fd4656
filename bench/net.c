/* SPDX-License-Identifier: MIT */
#include "bench/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	/* More words than any line below has. */
	MAX_WORDS = 16,
	/* The kernel's MTU of lo. */
	LOOPBACK_MTU = 65536,
	/* The MTU of Ethernet. */
	VETH_MTU = 1500
};

int net_ip(const char *line)
{
	char words[256];
	char *argv[MAX_WORDS + 2] = { words };
	char *next = NULL;
	size_t n = 0;
	pid_t pid;
	int status;

	snprintf(words, sizeof(words), "ip %s", line);
	for (char *w = strtok_r(words, " ", &next); w && n <= MAX_WORDS;
	     w = strtok_r(NULL, " ", &next))
		argv[n++] = w;
	/* fork() takes the calling thread's namespaces along. */
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		execvp("ip", argv);
		perror("ip");
		_exit(127);
	}
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

/* Make a namespace, enter it, and return a descriptor of it or -errno. */
static int ns_open(void)
{
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int net_enter(int ns)
{
	return setns(ns, CLONE_NEWNET) < 0 ? -errno : 0;
}

static struct sockaddr_in address(const char *text)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };

	inet_pton(AF_INET, text, &sin.sin_addr);
	return sin;
}

int net_init_loopback(struct net *net)
{
	int ns = ns_open();
	int err;

	if (ns < 0)
		return ns;
	err = net_ip("link set lo up");
	if (err) {
		close(ns);
		return err;
	}
	*net = (struct net){ .sender_ns = ns,
			     .receiver_ns = ns,
			     .receiver = address("127.0.0.1"),
			     .mtu = LOOPBACK_MTU };
	return 0;
}

/*
 * Make the veth pair, each end with an address. Called in the receiver's
 * namespace.
 */
static int veth_add(int sender_ns)
{
	char line[128];
	int err;

	/* The child has other descriptors, so name ours by its path in
	 * /proc. */
	snprintf(line, sizeof(line),
		 "link add name ug1 mtu %d type veth peer name ug0 mtu %d "
		 "netns /proc/%ld/fd/%d",
		 VETH_MTU, VETH_MTU, (long)getpid(), sender_ns);
	err = net_ip(line);
	if (!err)
		err = net_ip("addr add 192.0.2.2/24 dev ug1");
	if (!err)
		err = net_ip("link set ug1 up");
	if (!err)
		err = net_enter(sender_ns);
	if (!err)
		err = net_ip("addr add 192.0.2.1/24 dev ug0");
	if (!err)
		err = net_ip("link set ug0 up");
	return err;
}

int net_init_veth(struct net *net)
{
	int sender_ns = ns_open();
	int receiver_ns;
	int err;

	if (sender_ns < 0)
		return sender_ns;
	receiver_ns = ns_open();
	if (receiver_ns < 0) {
		err = receiver_ns;
		goto err_sender_ns;
	}
	err = veth_add(sender_ns);
	if (err)
		goto err_receiver_ns;
	*net = (struct net){ .sender_ns = sender_ns,
			     .receiver_ns = receiver_ns,
			     .receiver = address("192.0.2.2"),
			     .mtu = VETH_MTU };
	return 0;

err_receiver_ns:
	close(receiver_ns);
err_sender_ns:
	close(sender_ns);
	return err;
}
