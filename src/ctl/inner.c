/* SPDX-License-Identifier: MIT */
/*
 * Settings of the network go by rtnetlink: each message is sent with NLM_F_ACK, and the
 * kernel answers within the send.
 */
#include "ctl/inner.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/netlink.h"
#include "ctl/commands.h"
#include "ctl/refusal.h"

enum {
	/* Packets that the interface queues: as the daemon sets it for an interface
	 * of its own. */
	TXQLEN = 500,
	/* Bytes of a request; each has less than 200. */
	REQUEST_LEN = 512,
	/* The loopback device has this index in each namespace. */
	LOOPBACK = 1,
	/* IN6_ADDR_GEN_MODE_NONE (linux/if_link.h): no fe80:: address. */
	NO_LINK_LOCAL = 1,
};

/* ---------------------------------------------------------------- namespaces */

/* Write a file of /proc in one piece, as the maps of a user namespace need it. */
static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;
	int err = 0;

	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	if (n < 0)
		err = -errno;
	else if ((size_t)n < strlen(text))
		err = -EIO;
	close(fd);
	return err;
}

/* Give the user namespace our user and our group, under their own numbers. A plain user
 * may do that only if setgroups(2) is given up (user_namespaces(7)). */
static int write_maps(uid_t uid, gid_t gid)
{
	char text[64];
	int err = write_file("/proc/self/setgroups", "deny");

	snprintf(text, sizeof(text), "%u %u 1\n", uid, uid);
	if (err == 0)
		err = write_file("/proc/self/uid_map", text);
	snprintf(text, sizeof(text), "%u %u 1\n", gid, gid);
	if (err == 0)
		err = write_file("/proc/self/gid_map", text);
	return err;
}

static int enter_named(const char *netns)
{
	char path[256];
	int fd, err = 0;

	if (snprintf(path, sizeof(path), "/run/netns/%s", netns) >=
		    (int)sizeof(path) ||
	    strchr(netns, '/')) {
		ctl_fail("no such network namespace: %s", netns);
		return -EINVAL;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0 || unshare(CLONE_NEWNS) < 0) {
		err = -errno;
		ctl_fail("cannot enter the network namespace %s: %s%s", netns,
			 strerror(-err),
			 err == -ENOENT	 ? ": make it by ip netns add"
			 : err == -EPERM ? ": this takes root"
					 : "");
	}
	if (fd >= 0)
		close(fd);
	return err;
}

/* Return: 0; -errno. @has_user is set if a user namespace was made. */
static int enter_new(bool *has_user)
{
	const int others = CLONE_NEWNET | CLONE_NEWNS;
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int first = 0, err;

	*has_user = false;
	if (uid == 0) {
		if (unshare(others) == 0)
			return 0;
		first = -errno;
	}
	/* In one call, the user namespace is made first. */
	if (unshare(CLONE_NEWUSER | others) < 0) {
		/* A limit says more than what the second attempt met. */
		err = first == -ENOSPC ? first : -errno;
		refusal_of_namespaces("cannot make namespaces", err);
		return err;
	}
	*has_user = true;
	err = write_maps(uid, gid);
	/* Since Linux 5.12 (user_namespaces(7)). */
	if (err == -EPERM && uid == 0)
		ctl_fail("cannot map root into a namespace: root needs "
			 "CAP_SETFCAP for this, or CAP_SYS_ADMIN: start it as "
			 "another user");
	else if (err < 0)
		refusal_of_namespaces("cannot map the user into a namespace",
				      err);
	return err;
}

static int open_namespace(int *fd, const char *name)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
	*fd = open(path, O_RDONLY | O_CLOEXEC);
	if (*fd >= 0)
		return 0;
	int err = -errno;

	ctl_fail("cannot open %s: %s", path, strerror(-err));
	return err;
}

int inner_enter(struct inner *inner, const char *netns)
{
	bool has_user = false;
	int err = netns ? enter_named(netns) : enter_new(&has_user);

	*inner = (struct inner){ -1, -1, -1, -1, -1 };
	if (err < 0)
		return err;
	/* Mounts that are made outside later come in, and none of ours goes out. */
	if (mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) < 0) {
		err = -errno;
		refusal_of_namespaces("cannot make mounts private", err);
		return err;
	}
	if (has_user)
		err = open_namespace(&inner->user, "user");
	if (err == 0)
		err = open_namespace(&inner->net, "net");
	if (err == 0)
		err = open_namespace(&inner->mount, "mnt");
	return err;
}

int inner_join(const struct inner *inner)
{
	/* The user namespace first: it gives the rights for the others. */
	if ((inner->user >= 0 && setns(inner->user, CLONE_NEWUSER) < 0) ||
	    (inner->net >= 0 && setns(inner->net, CLONE_NEWNET) < 0) ||
	    (inner->mount >= 0 && setns(inner->mount, CLONE_NEWNS) < 0))
		return -errno;
	return 0;
}

/* ------------------------------------------------------------------ the TUN */

static int attach(int fd, const char *name, unsigned int flags)
{
	struct ifreq ifr = { .ifr_flags = (short)flags };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	return ioctl(fd, TUNSETIFF, &ifr) < 0 ? -errno : 0;
}

/* Some kernels, such as gVisor's, have no virtio-net header. */
static int open_tun(struct inner *inner, const char *name)
{
	const unsigned int flags = IFF_TUN | IFF_NO_PI | IFF_TUN_EXCL;
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int err = fd < 0 ? -errno : 0;

	if (err == 0)
		err = attach(fd, name, flags | IFF_VNET_HDR);
	if (err == -EINVAL)
		err = attach(fd, name, flags);
	if (err < 0) {
		refusal_of_tun(name, err);
		if (fd >= 0)
			close(fd);
		return err;
	}
	inner->tun = fd;
	return 0;
}

/* ------------------------------------------------------------------ netlink */

/* A message, and the memory for it. */
struct request {
	struct netlink_builder b;
	uint32_t words[REQUEST_LEN / sizeof(uint32_t)];
};

static void begin(struct request *r, uint16_t type, uint16_t flags,
		  const void *body, size_t len)
{
	netlink_begin(&r->b, r->words, sizeof(r->words), type,
		      NLM_F_REQUEST | NLM_F_ACK | flags);
	memcpy(netlink_put_body(&r->b, len), body, len);
}

/* Send a message, and take the kernel's answer. Return: 0; -errno. */
static int finish(int fd, struct request *r)
{
	uint32_t words[REQUEST_LEN];
	struct netlink_messages messages;
	const struct nlmsghdr *nlh;
	const struct nlmsgerr *answer;
	ssize_t n;

	if (r->b.is_full)
		return -EMSGSIZE;
	if (send(fd, r->words, r->b.header->nlmsg_len, 0) < 0)
		return -errno;
	do
		n = recv(fd, words, sizeof(words), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	netlink_messages_init(&messages, words, (size_t)n);
	nlh = netlink_messages_next(&messages);
	answer = nlh ? netlink_get_body(nlh, sizeof(*answer)) : NULL;
	if (!answer || nlh->nlmsg_type != NLMSG_ERROR)
		return -EBADMSG;
	return answer->error;
}

static int set_up(int fd, int ifindex)
{
	const struct ifinfomsg body = {
		.ifi_index = ifindex,
		.ifi_flags = IFF_UP,
		.ifi_change = IFF_UP,
	};
	struct request r;

	begin(&r, RTM_NEWLINK, 0, &body, sizeof(body));
	return finish(fd, &r);
}

static int set_lengths(int fd, int ifindex, unsigned int mtu)
{
	const struct ifinfomsg body = { .ifi_index = ifindex };
	struct request r;

	begin(&r, RTM_NEWLINK, 0, &body, sizeof(body));
	netlink_put_u32(&r.b, IFLA_MTU, mtu);
	netlink_put_u32(&r.b, IFLA_TXQLEN, TXQLEN);
	return finish(fd, &r);
}

/* Without a fe80:: address the kernel sends no router solicitations. A kernel without
 * IPv6 refuses this, and then there is nothing to be done. */
static void forgo_link_local(int fd, int ifindex)
{
	const struct ifinfomsg body = { .ifi_index = ifindex };
	const uint8_t mode = NO_LINK_LOCAL;
	struct request r;
	size_t all, inet6;

	begin(&r, RTM_NEWLINK, 0, &body, sizeof(body));
	all = netlink_nest_begin(&r.b, IFLA_AF_SPEC);
	inet6 = netlink_nest_begin(&r.b, AF_INET6);
	netlink_put(&r.b, IFLA_INET6_ADDR_GEN_MODE, &mode, sizeof(mode));
	netlink_nest_end(&r.b, inet6);
	netlink_nest_end(&r.b, all);
	(void)finish(fd, &r);
}

static size_t bytes_of(const struct conf_prefix *prefix)
{
	return prefix->family == AF_INET ? 4 : 16;
}

static int add_address(int fd, int ifindex, const struct conf_prefix *prefix)
{
	const struct ifaddrmsg body = {
		.ifa_family = (uint8_t)prefix->family,
		.ifa_prefixlen = (uint8_t)prefix->len,
		/* Nobody else can have the address. */
		.ifa_flags = IFA_F_NODAD,
		.ifa_index = (unsigned int)ifindex,
	};
	struct request r;

	begin(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &body, sizeof(body));
	netlink_put(&r.b, IFA_LOCAL, prefix->addr, bytes_of(prefix));
	netlink_put(&r.b, IFA_ADDRESS, prefix->addr, bytes_of(prefix));
	return finish(fd, &r);
}

static int add_route(int fd, int ifindex, const struct conf_prefix *prefix)
{
	const struct rtmsg body = {
		.rtm_family = (uint8_t)prefix->family,
		.rtm_dst_len = (uint8_t)prefix->len,
		.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = RTPROT_BOOT,
		.rtm_scope = prefix->family == AF_INET ? RT_SCOPE_LINK
						       : RT_SCOPE_UNIVERSE,
		.rtm_type = RTN_UNICAST,
	};
	struct request r;

	begin(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &body, sizeof(body));
	if (prefix->len)
		netlink_put(&r.b, RTA_DST, prefix->addr, bytes_of(prefix));
	netlink_put_u32(&r.b, RTA_OIF, (uint32_t)ifindex);
	return finish(fd, &r);
}

/* ---------------------------------------------------------------- the tunnel */

static int complain(const char *what, const struct conf_prefix *prefix, int err)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(prefix->family, prefix->addr, text, sizeof(text));
	ctl_fail("cannot add the %s %s/%u: %s", what, text, prefix->len,
		 strerror(-err));
	return err;
}

/* The kernel has made a route to the prefix of each address. */
static bool is_connected(const struct plan *plan,
			 const struct conf_prefix *route)
{
	for (size_t i = 0; i < plan->n_addresses; i++) {
		const struct conf_prefix *p = &plan->addresses[i];
		size_t whole = route->len / 8;
		unsigned int rest = route->len % 8;

		if (p->family == route->family && p->len == route->len &&
		    memcmp(p->addr, route->addr, whole) == 0 &&
		    (!rest ||
		     (p->addr[whole] ^ route->addr[whole]) >> (8 - rest) == 0))
			return true;
	}
	return false;
}

static int fill(const struct inner *inner, int ifindex, const struct plan *plan,
		bool is_alone)
{
	int fd = inner->netlink, err = 0;

	for (size_t i = 0; i < plan->n_addresses; i++) {
		err = add_address(fd, ifindex, &plan->addresses[i]);
		/* The file may name an address twice. */
		if (err < 0 && err != -EEXIST)
			return complain("address", &plan->addresses[i], err);
	}
	for (size_t i = 0; i < plan->n_routes; i++) {
		if (is_connected(plan, &plan->routes[i]))
			continue;
		err = add_route(fd, ifindex, &plan->routes[i]);
		if (err < 0 && !(err == -EEXIST && is_alone))
			return complain("route", &plan->routes[i], err);
	}
	return 0;
}

int inner_open_tunnel(struct inner *inner, const char *name,
		      const struct plan *plan, bool is_alone)
{
	int err = open_tun(inner, name), ifindex;

	if (err < 0)
		return err;
	ifindex = (int)if_nametoindex(name);
	inner->netlink = netlink_open(NETLINK_ROUTE, 0, 0);
	if (inner->netlink < 0 || !ifindex) {
		err = inner->netlink < 0 ? inner->netlink : -ENODEV;
		ctl_fail("cannot use rtnetlink: %s", strerror(-err));
		return err;
	}
	err = set_up(inner->netlink, LOOPBACK);
	if (err == 0)
		err = set_lengths(inner->netlink, ifindex, plan->mtu);
	forgo_link_local(inner->netlink, ifindex);
	if (err == 0)
		err = set_up(inner->netlink, ifindex);
	if (err < 0) {
		ctl_fail("cannot set %s up with the MTU %u: %s", name,
			 plan->mtu, strerror(-err));
		return err;
	}
	return fill(inner, ifindex, plan, is_alone);
}
