/* SPDX-License-Identifier: MIT */
/*
 * A virtual machine that is resumed from a snapshot has the memory of an
 * earlier time: it has keys of sessions, and would use counters that were used
 * already. A clone has the keys and counters of another machine. If two
 * messages are encrypted with the same key and counter, an observer can decrypt
 * parts of both. Such a machine must therefore not go on with its sessions.
 *
 * A hypervisor reports this to its guest by a device, the "VM generation ID".
 * Linux has a driver for it (drivers/virt/vmgenid.c, 5.18). The driver first
 * gives the kernel's random numbers a new seed. In newer kernels it then sends
 * an event of the kind that udev listens to: "change@…", with NEW_VMGENID=1 in
 * it.
 *
 * The kernel sends such events to a netlink socket, which any process may open:
 *
 *  - The kernel sends events into the network namespaces that belong to the
 *    first user namespace, and into no others (lib/kobject_uevent.c, 4.18;
 *    older kernels: into all). A container that has a user namespace of its own
 *    gets no events, unless its manager passes them on.
 *  - Other processes may write to the socket, too. A message whose sender has
 *    the netlink port 0 comes from the kernel: the kernel made it, or passed it
 *    on for root of the namespace.
 *  - A host that starts containers has hundreds of "add@" and "remove@" events.
 *    A filter of the socket drops all events but "change@", so that the others
 *    cost no wake-up and no room in the socket's buffer.
 *  - If the buffer was full, events were lost, and one of them may have
 *    reported a new generation. So a loss counts as one. That costs a handshake
 *    with each peer.
 */
#include "engine/vmgenid.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"

enum {
	/* More bytes than any event has (UEVENT_BUFFER_SIZE is 2048). */
	EVENT_CAP = 8192,
	/* Room for the events that "udevadm trigger" makes, of all devices at
	 * once. */
	RCVBUF_LEN = 1 << 20,
	/* Events taken per call, so that a flood does not hold the thread. */
	EVENTS_MAX = 64,
	/* The netlink group of the kernel's events; udev uses another group. */
	GROUP_KERNEL = 1,
};

/* Inode of the first user namespace (PROC_USER_INIT_INO of the kernel). */
#define FIRST_USER_NS 0xEFFFFFFDu

/* Let "change@" through, and nothing else. Loads are big-endian. */
static struct sock_filter only_changes[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x6368616e /* chan */, 0, 5),
	BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 4),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x6765 /* ge */, 0, 3),
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 6),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x40 /* @ */, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
	BPF_STMT(BPF_RET | BPF_K, 0),
};

/* Open the socket, with its filter. Return: the descriptor; -errno. */
static int open_socket(void)
{
	const struct sock_fprog filter = {
		.len = ARRAY_LEN(only_changes),
		.filter = only_changes,
	};
	const struct sockaddr_nl addr = {
		.nl_family = AF_NETLINK,
		.nl_groups = GROUP_KERNEL,
	};
	const int room = RCVBUF_LEN;
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			NETLINK_KOBJECT_UEVENT);
	int err;

	if (fd < 0)
		return -errno;
	/* SO_RCVBUFFORCE needs a right. Without it the size is limited. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room,
				 sizeof(room));
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter,
		       sizeof(filter)) == 0 &&
	    bind(fd, (const void *)&addr, sizeof(addr)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* Does our network namespace belong to the first user namespace? Return: 1; 0;
 * -errno: the kernel does not say. */
static int ask_owner(void)
{
	int net = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	struct stat st = { 0 };
	int user, err = 0;

	if (net < 0)
		return -errno;
	user = ioctl(net, NS_GET_USERNS);
	if (user < 0 || fstat(user, &st) < 0)
		err = -errno;
	if (user >= 0)
		close(user);
	close(net);
	return err < 0 ? err : st.st_ino == FIRST_USER_NS;
}

void vmgenid_open(struct vmgenid *v)
{
	int owner = ask_owner();

	*v = (struct vmgenid){ .fd = open_socket() };
	if (v->fd < 0)
		log_event("a resume of this machine from a snapshot is not "
			  "noticed: cannot hear events of the kernel: %s",
			  strerror(-v->fd));
	else if (owner == 0)
		log_event("a resume of this machine from a snapshot is not "
			  "noticed: the kernel sends no events into this user "
			  "namespace");
	else if (owner < 0)
		log_event(
			"a resume of this machine from a snapshot may not be "
			"noticed: cannot tell which user namespace this is: %s",
			strerror(-owner));
}

void vmgenid_unwatch(struct vmgenid *v)
{
	if (v->loop)
		loop_remove(v->loop, &v->watch);
	v->loop = NULL;
}

void vmgenid_close(struct vmgenid *v)
{
	vmgenid_unwatch(v);
	if (v->fd >= 0)
		close(v->fd);
	v->fd = -1;
}

bool vmgenid_parse(const char *event, size_t len)
{
	static const char name[] = "NEW_VMGENID=";
	const size_t name_len = sizeof(name) - 1;

	while (len >= name_len) {
		size_t field_len = strnlen(event, len);

		if (field_len >= name_len && !memcmp(event, name, name_len))
			return true;
		if (field_len == len)
			break;
		event += field_len + 1;
		len -= field_len + 1;
	}
	return false;
}

int vmgenid_receive(struct vmgenid *v)
{
	char event[EVENT_CAP];
	bool is_new = false;

	for (int i = 0; i < EVENTS_MAX; i++) {
		struct sockaddr_nl from = { 0 };
		struct iovec iov = { event, sizeof(event) };
		struct msghdr msg = { .msg_name = &from,
				      .msg_namelen = sizeof(from),
				      .msg_iov = &iov,
				      .msg_iovlen = 1 };
		ssize_t n = recvmsg(v->fd, &msg, MSG_DONTWAIT);

		if (n >= 0 && from.nl_pid == 0)
			is_new |= vmgenid_parse(event, (size_t)n);
		else if (n < 0 && errno == ENOBUFS)
			is_new = true;
		else if (n < 0 && errno == EAGAIN)
			break;
		else if (n < 0 && errno != EINTR)
			return is_new ? 1 : -errno;
	}
	return is_new;
}

static void ready(struct loop_watch *watch, uint32_t events)
{
	struct vmgenid *v = watch->arg;
	int r = vmgenid_receive(v);

	(void)events;
	if (r > 0) {
		log_event("this machine was resumed from a snapshot, or "
			  "cloned: all sessions end");
		v->renew(v->arg);
	}
	if (r < 0)
		loop_fail(v->loop, watch, "events of the kernel", r);
}

int vmgenid_watch(struct vmgenid *v, struct loop *loop,
		  void (*renew)(void *arg), void *arg)
{
	int err;

	if (v->fd < 0)
		return 0;
	v->watch = (struct loop_watch){ .fd = v->fd, .ready = ready, .arg = v };
	v->renew = renew;
	v->arg = arg;
	err = loop_add(loop, &v->watch, EPOLLIN);
	if (err == 0)
		v->loop = loop;
	return err;
}
