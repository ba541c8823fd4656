/* SPDX-License-Identifier: MIT */
/* A question that the kernel does not answer counts as "nothing known": this file
 * never stops a diagnosis. */
#include "ctl/network.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/netlink.h"

enum {
	/* Bytes of a question about a route, and of its answer. */
	ASK_CAP = 256,
	ANSWER_CAP = 4096,
	/* How long the kernel may take, in seconds. It answers at once. */
	PATIENCE_S = 5,
	PATH_CAP = 300,
};

/* ---------------------------------------------------------------- addresses */

static bool parse_v6(struct sockaddr_in6 *out, const char *text)
{
	struct sockaddr_in6 found = { .sin6_family = AF_INET6 };
	char addr[INET6_ADDRSTRLEN];
	size_t len = strcspn(text, "%");

	if (len >= sizeof(addr))
		return false;
	memcpy(addr, text, len);
	addr[len] = 0;
	if (inet_pton(AF_INET6, addr, &found.sin6_addr) != 1)
		return false;
	if (text[len] == '%') {
		const char *zone = text + len + 1;

		found.sin6_scope_id = if_nametoindex(zone);
		if (!found.sin6_scope_id)
			found.sin6_scope_id = (uint32_t)strtoul(zone, NULL, 10);
	}
	*out = found;
	return true;
}

bool ctl_address_parse(union ctl_address *out, const char *text)
{
	struct in_addr v4;

	if (inet_pton(AF_INET, text, &v4) == 1) {
		*out = (union ctl_address){ .v4 = { .sin_family = AF_INET,
						    .sin_addr = v4 } };
		return true;
	}
	return parse_v6(&out->v6, text);
}

bool ctl_endpoint_parse(union ctl_address *out, const char *text)
{
	const char *colon = strrchr(text, ':');
	char host[CTL_ADDRESS_CAP];
	union ctl_address found;
	unsigned long port;
	size_t len;
	char *end;

	if (!colon || !colon[1])
		return false;
	port = strtoul(colon + 1, &end, 10);
	len = (size_t)(colon - text);
	if (*end || port > UINT16_MAX || len >= sizeof(host))
		return false;
	if (*text == '[' && len >= 2 && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	memcpy(host, text, len);
	host[len] = 0;
	if (!ctl_address_parse(&found, host))
		return false;
	if (found.any.sa_family == AF_INET)
		found.v4.sin_port = htons((uint16_t)port);
	else
		found.v6.sin6_port = htons((uint16_t)port);
	*out = found;
	return true;
}

const char *ctl_address_print(char *out, const union ctl_address *a)
{
	char zone[IF_NAMESIZE];
	size_t len;

	if (a->any.sa_family == AF_INET)
		return inet_ntop(AF_INET, &a->v4.sin_addr, out,
				 CTL_ADDRESS_CAP);
	inet_ntop(AF_INET6, &a->v6.sin6_addr, out, CTL_ADDRESS_CAP);
	len = strlen(out);
	if (a->v6.sin6_scope_id && if_indextoname(a->v6.sin6_scope_id, zone))
		snprintf(out + len, CTL_ADDRESS_CAP - len, "%%%s", zone);
	return out;
}

uint16_t ctl_address_port(const union ctl_address *a)
{
	return ntohs(a->any.sa_family == AF_INET ? a->v4.sin_port
						 : a->v6.sin6_port);
}

socklen_t ctl_address_len(const union ctl_address *a)
{
	return a->any.sa_family == AF_INET ? sizeof(a->v4) : sizeof(a->v6);
}

static size_t bytes_of(const union ctl_address *a, const uint8_t **bytes)
{
	if (a->any.sa_family == AF_INET) {
		*bytes = (const uint8_t *)&a->v4.sin_addr;
		return sizeof(a->v4.sin_addr);
	}
	*bytes = (const uint8_t *)&a->v6.sin6_addr;
	return sizeof(a->v6.sin6_addr);
}

bool ctl_address_is_same(const union ctl_address *a, const union ctl_address *b)
{
	const uint8_t *of_a, *of_b;
	size_t len = bytes_of(a, &of_a);

	return a->any.sa_family == b->any.sa_family &&
	       bytes_of(b, &of_b) == len && memcmp(of_a, of_b, len) == 0;
}

bool ctl_address_is_in(const union ctl_address *address, const char *prefix,
		       unsigned int *bits)
{
	const char *slash = strchr(prefix, '/');
	char text[CTL_ADDRESS_CAP];
	const uint8_t *of_a, *of_p;
	union ctl_address start;
	size_t len;
	unsigned long n;

	if (!slash || (size_t)(slash - prefix) >= sizeof(text))
		return false;
	memcpy(text, prefix, (size_t)(slash - prefix));
	text[slash - prefix] = 0;
	n = strtoul(slash + 1, NULL, 10);
	if (!ctl_address_parse(&start, text) ||
	    start.any.sa_family != address->any.sa_family)
		return false;
	len = bytes_of(address, &of_a);
	bytes_of(&start, &of_p);
	if (n > 8 * len || memcmp(of_a, of_p, n / 8) != 0)
		return false;
	if (n % 8 && (of_a[n / 8] ^ of_p[n / 8]) >> (8 - n % 8))
		return false;
	*bits = (unsigned int)n;
	return true;
}

/* ------------------------------------------------------------------- routes */

static void make_question(struct netlink_builder *q, void *buf, size_t cap,
			  const union ctl_address *to, uint32_t mark)
{
	const uint8_t *bytes;
	size_t len = bytes_of(to, &bytes);
	uint32_t zone =
		to->any.sa_family == AF_INET6 ? to->v6.sin6_scope_id : 0;
	struct rtmsg *route;

	netlink_begin(q, buf, cap, RTM_GETROUTE, NLM_F_REQUEST);
	route = netlink_put_body(q, sizeof(*route));
	if (route) {
		route->rtm_family = (unsigned char)to->any.sa_family;
		route->rtm_dst_len = (unsigned char)(8 * len);
	}
	netlink_put(q, RTA_DST, bytes, len);
	if (mark)
		netlink_put_u32(q, RTA_MARK, mark);
	if (zone)
		netlink_put_u32(q, RTA_OIF, zone);
}

/* Ask, and read the answer. Return: its length; -errno. */
static int ask(const struct netlink_builder *q, void *answer, size_t cap)
{
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	const size_t len = q->header->nlmsg_len;
	int fd = netlink_open(NETLINK_ROUTE, 0, 0);
	ssize_t n = -1;
	int err;

	if (q->is_full || fd < 0) {
		if (fd >= 0)
			close(fd);
		return fd < 0 ? fd : -EMSGSIZE;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (send(fd, q->header, len, 0) == (ssize_t)len)
		n = recv(fd, answer, cap, 0);
	err = -errno;
	close(fd);
	return n < 0 ? err : (int)n;
}

static void read_metrics(struct ctl_route *route, const struct nlattr *metrics)
{
	const struct nlattr *a;
	struct netlink_attrs list;

	netlink_attrs_init_nested(&list, metrics);
	while ((a = netlink_attrs_next(&list)))
		if (netlink_attr_type(a) == RTAX_MTU)
			netlink_attr_u32(a, &route->mtu);
}

static void read_attribute(struct ctl_route *route, int family,
			   const struct nlattr *a)
{
	const void *data = netlink_attr_data(a);
	size_t len = netlink_attr_len(a);
	uint16_t type = netlink_attr_type(a);

	if (type == RTA_OIF) {
		netlink_attr_u32(a, &route->ifindex);
	} else if (type == RTA_METRICS) {
		read_metrics(route, a);
	} else if (type == RTA_PREFSRC && family == AF_INET &&
		   len >= sizeof(struct in_addr)) {
		route->source.v4.sin_family = AF_INET;
		memcpy(&route->source.v4.sin_addr, data,
		       sizeof(struct in_addr));
	} else if (type == RTA_PREFSRC && family == AF_INET6 &&
		   len >= sizeof(struct in6_addr)) {
		route->source.v6.sin6_family = AF_INET6;
		memcpy(&route->source.v6.sin6_addr, data,
		       sizeof(struct in6_addr));
	}
}

static int read_route(struct ctl_route *route, const void *answer, size_t len)
{
	const struct nlmsghdr *message;
	const struct nlmsgerr *error;
	struct netlink_messages all;
	struct netlink_attrs list;
	const struct rtmsg *rtm;
	const struct nlattr *a;

	netlink_messages_init(&all, answer, len);
	message = netlink_messages_next(&all);
	if (!message)
		return -EPROTO;
	if (message->nlmsg_type == NLMSG_ERROR) {
		error = netlink_get_body(message, sizeof(*error));
		return error && error->error ? error->error : -EPROTO;
	}
	rtm = netlink_get_body(message, sizeof(*rtm));
	if (message->nlmsg_type != RTM_NEWROUTE || !rtm)
		return -EPROTO;
	route->is_local = rtm->rtm_type == RTN_LOCAL;
	netlink_attrs_init(&list, message, sizeof(*rtm));
	while ((a = netlink_attrs_next(&list)))
		read_attribute(route, rtm->rtm_family, a);
	return 0;
}

static unsigned int mtu_of(const char *device)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { 0 };
	unsigned int mtu = 0;

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", device);
	if (fd >= 0 && ioctl(fd, SIOCGIFMTU, &request) == 0)
		mtu = (unsigned int)request.ifr_mtu;
	if (fd >= 0)
		close(fd);
	return mtu;
}

int ctl_route_get(struct ctl_route *route, const union ctl_address *to,
		  uint32_t mark)
{
	struct ctl_route found = { 0 };
	uint32_t question[ASK_CAP / sizeof(uint32_t)];
	uint32_t answer[ANSWER_CAP / sizeof(uint32_t)];
	struct netlink_builder q;
	unsigned int mtu;
	int n;

	make_question(&q, question, sizeof(question), to, mark);
	n = ask(&q, answer, sizeof(answer));
	if (n < 0)
		return n;
	n = read_route(&found, answer, (size_t)n);
	if (n < 0)
		return n;
	if (!if_indextoname(found.ifindex, found.device))
		snprintf(found.device, sizeof(found.device), "?");
	mtu = mtu_of(found.device);
	if (!found.mtu || (mtu && mtu < found.mtu))
		found.mtu = mtu;
	*route = found;
	return 0;
}

/* --------------------------------------------------------- addresses and IPv6 */

static bool is_global(const struct sockaddr *any)
{
	struct sockaddr_in6 v6;

	if (any->sa_family != AF_INET6)
		return true;
	memcpy(&v6, any, sizeof(v6));
	return !IN6_IS_ADDR_LINKLOCAL(&v6.sin6_addr);
}

bool ctl_network_has_address(int family, const char *device, const char *other)
{
	struct ifaddrs *all, *at;
	bool has = false;

	/* Without an answer nothing can be said against the host. */
	if (getifaddrs(&all) < 0)
		return true;
	for (at = all; at; at = at->ifa_next) {
		if (!at->ifa_addr || at->ifa_addr->sa_family != family)
			continue;
		if (device)
			has |= strcmp(at->ifa_name, device) == 0;
		else if (!other || strcmp(at->ifa_name, other) != 0)
			has |= !(at->ifa_flags & IFF_LOOPBACK) &&
			       is_global(at->ifa_addr);
	}
	freeifaddrs(all);
	return has;
}

bool ctl_network_has_ipv6(void)
{
	FILE *file = fopen("/proc/sys/net/ipv6/conf/all/disable_ipv6", "re");
	int value = 1;

	if (!file)
		return false;
	if (fscanf(file, "%d", &value) != 1)
		value = 1;
	fclose(file);
	return value == 0;
}

/* ------------------------------------------------------------------ sockets */

/* A line of /proc/net/udp or udp6. */
struct udp_line {
	unsigned int port;
	unsigned long inode;
};

/*
 * The columns are in proc_net_udp(5): number, local address and port, remote ones,
 * state, queues, timer, retransmissions, user, timeout, inode. Return: false: this is no
 * line of a socket.
 */
static bool parse_udp(const char *text, struct udp_line *line)
{
	return sscanf(text,
		      " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %*x %*s %*s "
		      "%*x %*u %*d %lu",
		      &line->port, &line->inode) == 2;
}

/* Call a function for each UDP socket on a port. */
static void each_socket(uint16_t port,
			void (*tell)(void *arg, const struct udp_line *line),
			void *arg)
{
	static const char *const files[] = { "/proc/net/udp",
					     "/proc/net/udp6" };

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		FILE *file = fopen(files[i], "re");
		struct udp_line line;
		char text[512];

		while (file && fgets(text, sizeof(text), file))
			if (parse_udp(text, &line) && line.port == port)
				tell(arg, &line);
		if (file)
			fclose(file);
	}
}

static bool is_number(const char *text)
{
	return *text && text[strspn(text, "0123456789")] == 0;
}

/* Has the process a descriptor of that socket? */
static bool has_socket(const char *pid, unsigned long inode)
{
	char path[PATH_CAP], wanted[64], target[64];
	bool has = false;
	struct dirent *entry;
	DIR *dir;

	snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	dir = opendir(path);
	while (dir && !has && (entry = readdir(dir))) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%.16s/fd/%.16s", pid,
			 entry->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		if (n < 0)
			continue;
		target[n] = 0;
		has = strcmp(target, wanted) == 0;
	}
	if (dir)
		closedir(dir);
	return has;
}

static void name_process(char *out, size_t cap, const char *pid)
{
	char path[PATH_CAP], name[64] = "?";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	file = fopen(path, "re");
	if (file && fgets(name, sizeof(name), file))
		name[strcspn(name, "\n")] = 0;
	if (file)
		fclose(file);
	snprintf(out, cap, "%s (process %s)", name, pid);
}

static void keep_inode(void *arg, const struct udp_line *line)
{
	unsigned long *inode = arg;

	*inode = line->inode;
}

void ctl_network_port_user(char *out, size_t cap, uint16_t port)
{
	unsigned long inode = 0;
	struct dirent *entry;
	DIR *dir;

	*out = 0;
	each_socket(port, keep_inode, &inode);
	dir = inode ? opendir("/proc") : NULL;
	while (dir && !*out && (entry = readdir(dir)))
		if (is_number(entry->d_name) &&
		    has_socket(entry->d_name, inode))
			name_process(out, cap, entry->d_name);
	if (dir)
		closedir(dir);
}
