/* SPDX-License-Identifier: MIT */
/*
 * Endpoints as text, as socket addresses and as hashes. An IPv4-mapped IPv6 address
 * always becomes an IPv4 endpoint, so that an address has one form only.
 */
#include "udpgather/endpoint.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/digits.h"

/* Take digits only: strtoull(3) would take signs and spaces, too. */
static int parse_number(const char *text, uint32_t max, uint32_t *out)
{
	size_t len = strspn(text, "0123456789");

	if (!len || len > 10 || text[len])
		return -EINVAL;
	/* Ten digits may need more than 32 bits. */
	unsigned long long n = strtoull(text, NULL, 10);

	if (n > max)
		return -EINVAL;
	*out = (uint32_t)n;
	return 0;
}

static int parse_port(const char *text, in_port_t *out)
{
	uint32_t port;

	if (parse_number(text, UINT16_MAX, &port) < 0 || !port)
		return -EINVAL;
	*out = htons((uint16_t)port);
	return 0;
}

/* See ug_endpoint_ask_by(). Written before there are other threads. */
static int question_fd = -1;

void ug_endpoint_ask_by(int fd)
{
	question_fd = fd;
}

/*
 * Ask the kernel about an interface. if_nametoindex(3) and if_indextoname(3) may
 * use a Unix socket, which a program that gave up rights may not be allowed to
 * open. A program that sends UDP may open UDP sockets.
 */
static int ask_interface(unsigned long request, struct ifreq *ifr)
{
	int fd;

	if (question_fd >= 0)
		return ioctl(question_fd, (unsigned int)request, ifr) < 0
			       ? -errno
			       : 0;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
	if (fd < 0)
		fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
	if (fd < 0)
		return -errno;
	int err = ioctl(fd, (unsigned int)request, ifr) < 0 ? -errno : 0;

	close(fd);
	return err;
}

static int parse_zone(const char *text, uint32_t *out)
{
	struct ifreq ifr = { 0 };
	size_t len = strlen(text);

	if (!len)
		return -EINVAL;
	if (len < sizeof(ifr.ifr_name)) {
		memcpy(ifr.ifr_name, text, len);
		if (ask_interface(SIOCGIFINDEX, &ifr) == 0) {
			*out = (uint32_t)ifr.ifr_ifindex;
			return 0;
		}
	}
	/* A zone that is a number may be of an interface that comes later. */
	if (text[strspn(text, "0123456789")])
		return strlen(text) < IF_NAMESIZE ? -ENODEV : -EINVAL;
	return parse_number(text, UINT32_MAX, out) == 0 && *out ? 0 : -EINVAL;
}

static void set_v4(struct ug_endpoint *ep, const void *addr, in_port_t port)
{
	memset(ep, 0, sizeof(*ep));
	ep->addr.v4.sin_family = AF_INET;
	ep->addr.v4.sin_port = port;
	memcpy(&ep->addr.v4.sin_addr, addr, 4);
}

static void set_v6(struct ug_endpoint *ep, const struct in6_addr *addr,
		   in_port_t port, uint32_t zone)
{
	if (IN6_IS_ADDR_V4MAPPED(addr)) {
		set_v4(ep, addr->s6_addr + 12, port);
		return;
	}
	memset(ep, 0, sizeof(*ep));
	ep->addr.v6.sin6_family = AF_INET6;
	ep->addr.v6.sin6_port = port;
	ep->addr.v6.sin6_addr = *addr;
	ep->addr.v6.sin6_scope_id = zone;
}

static int parse_v4(struct ug_endpoint *ep, char *text)
{
	char *colon = strchr(text, ':');
	struct in_addr addr;
	in_port_t port;

	if (!colon)
		return -EINVAL;
	*colon = 0;
	if (inet_pton(AF_INET, text, &addr) != 1 ||
	    parse_port(colon + 1, &port) < 0)
		return -EINVAL;
	set_v4(ep, &addr, port);
	return 0;
}

/* @text is what follows the opening bracket. */
static int parse_v6(struct ug_endpoint *ep, char *text)
{
	char *bracket = strchr(text, ']');
	struct in6_addr addr;
	in_port_t port;
	uint32_t zone = 0;

	if (!bracket || bracket[1] != ':')
		return -EINVAL;
	*bracket = 0;
	char *percent = strchr(text, '%');

	if (percent)
		*percent = 0;
	if (inet_pton(AF_INET6, text, &addr) != 1 ||
	    parse_port(bracket + 2, &port) < 0)
		return -EINVAL;
	if (percent) {
		int r = parse_zone(percent + 1, &zone);

		if (r < 0)
			return r;
	}
	set_v6(ep, &addr, port, zone);
	return 0;
}

int ug_endpoint_parse(struct ug_endpoint *ep, const char *text)
{
	char copy[UG_ENDPOINT_TEXT];
	size_t len = strlen(text);

	if (len >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, len + 1);
	return copy[0] == '[' ? parse_v6(ep, copy + 1) : parse_v4(ep, copy);
}

/* Write "%eth0"; "%7" if the name is not wanted, or if the zone has none here; nothing
 * without a zone. */
static void print_zone(uint32_t zone, bool by_name, char out[IF_NAMESIZE + 12])
{
	struct ifreq ifr = { .ifr_ifindex = (int)zone };

	out[0] = 0;
	if (!zone)
		return;
	if (by_name && ask_interface(SIOCGIFNAME, &ifr) == 0)
		snprintf(out, IF_NAMESIZE + 12, "%%%.*s", IF_NAMESIZE - 1,
			 ifr.ifr_name);
	else
		snprintf(out, IF_NAMESIZE + 12, "%%%u", zone);
}

static size_t put_v6(const struct ug_endpoint *ep, bool by_name,
		     char text[UG_ENDPOINT_TEXT])
{
	char addr[INET6_ADDRSTRLEN], zone[IF_NAMESIZE + 12];

	inet_ntop(AF_INET6, &ep->addr.v6.sin6_addr, addr, sizeof(addr));
	print_zone(ep->addr.v6.sin6_scope_id, by_name, zone);
	return (size_t)snprintf(text, UG_ENDPOINT_TEXT, "[%s%s]", addr, zone);
}

static int print(const struct ug_endpoint *ep, bool by_name, char *buf,
		 size_t cap)
{
	char text[UG_ENDPOINT_TEXT];
	in_port_t port;
	size_t len;

	switch (ug_endpoint_family(ep)) {
	case AF_INET:
		len = digits_put_ipv4(text, &ep->addr.v4.sin_addr);
		port = ep->addr.v4.sin_port;
		break;
	case AF_INET6:
		len = put_v6(ep, by_name, text);
		port = ep->addr.v6.sin6_port;
		break;
	default:
		return -EAFNOSUPPORT;
	}
	text[len++] = ':';
	len += digits_put(text + len, ntohs(port));
	if (len >= cap)
		return -ENOSPC;
	memcpy(buf, text, len);
	buf[len] = 0;
	return (int)len;
}

int ug_endpoint_print(const struct ug_endpoint *ep, char *buf, size_t cap)
{
	return print(ep, true, buf, cap);
}

int ug_endpoint_print_numeric(const struct ug_endpoint *ep, char *buf,
			      size_t cap)
{
	return print(ep, false, buf, cap);
}

int ug_endpoint_set(struct ug_endpoint *ep, const struct sockaddr *sa,
		    socklen_t len)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	if (len < sizeof(sa->sa_family))
		return -EINVAL;
	switch (sa->sa_family) {
	case AF_INET:
		if (len < sizeof(v4))
			return -EINVAL;
		memcpy(&v4, sa, sizeof(v4));
		set_v4(ep, &v4.sin_addr, v4.sin_port);
		return 0;
	case AF_INET6:
		if (len < sizeof(v6))
			return -EINVAL;
		memcpy(&v6, sa, sizeof(v6));
		set_v6(ep, &v6.sin6_addr, v6.sin6_port, v6.sin6_scope_id);
		return 0;
	default:
		return -EAFNOSUPPORT;
	}
}

static int compare_number(uint32_t a, uint32_t b)
{
	return (a > b) - (a < b);
}

int ug_endpoint_compare(const struct ug_endpoint *a,
			const struct ug_endpoint *b)
{
	int c = compare_number(a->addr.any.sa_family, b->addr.any.sa_family);

	if (c)
		return c;
	if (ug_endpoint_family(a) == AF_INET) {
		c = compare_number(ntohl(a->addr.v4.sin_addr.s_addr),
				   ntohl(b->addr.v4.sin_addr.s_addr));
		return c ? c
			 : compare_number(ntohs(a->addr.v4.sin_port),
					  ntohs(b->addr.v4.sin_port));
	}
	c = memcmp(&a->addr.v6.sin6_addr, &b->addr.v6.sin6_addr, 16);
	if (!c)
		c = compare_number(a->addr.v6.sin6_scope_id,
				   b->addr.v6.sin6_scope_id);
	return c ? c
		 : compare_number(ntohs(a->addr.v6.sin6_port),
				  ntohs(b->addr.v6.sin6_port));
}

uint64_t ug_endpoint_mix(uint64_t hash, uint64_t word)
{
	uint64_t a = hash ^ word ^ 0x9e3779b97f4a7c15;

	return ENDPOINT_FOLD(a, 0xd6e8feb86659fd93);
}

void ug_endpoint_key(const struct ug_endpoint *ep, uint64_t key[3])
{
	uint8_t addr[16] = { [10] = 0xff, [11] = 0xff };

	key[2] = 0;
	if (ug_endpoint_family(ep) == AF_INET) {
		memcpy(addr + 12, &ep->addr.v4.sin_addr, 4);
	} else {
		memcpy(addr, &ep->addr.v6.sin6_addr, 16);
		key[2] = ep->addr.v6.sin6_scope_id;
	}
	memcpy(key, addr, 16);
}

uint64_t ug_endpoint_hash(const struct ug_endpoint *ep, uint64_t seed)
{
	bool v4 = ug_endpoint_family(ep) == AF_INET;
	uint64_t port = v4 ? ep->addr.v4.sin_port : ep->addr.v6.sin6_port;
	uint64_t key[3];

	ug_endpoint_key(ep, key);
	uint64_t hash = ug_endpoint_mix(seed, key[0]);

	hash = ug_endpoint_mix(hash, key[1]);
	return ug_endpoint_mix(hash, key[2] << 17 | port << 1 | v4);
}

int ug_endpoint_set_source(struct ug_endpoint *ep,
			   const struct ug_endpoint *from)
{
	if (ug_endpoint_family(ep) != ug_endpoint_family(from))
		return -EAFNOSUPPORT;
	ep->source = from->source;
	return 0;
}

/* The bytes of an address of this family; 0 for another family. */
static size_t address_len(int family)
{
	switch (family) {
	case AF_INET:
		return sizeof(struct in_addr);
	case AF_INET6:
		return sizeof(struct in6_addr);
	default:
		return 0;
	}
}

int ug_endpoint_pin_address(struct ug_endpoint *ep, const void *addr,
			    uint32_t ifindex)
{
	size_t len = address_len(ug_endpoint_family(ep));

	if (!len)
		return -EAFNOSUPPORT;
	ep->source = (struct ug_source){
		.ifindex = ifindex,
		.state = UG_SOURCE_PINNED,
	};
	memcpy(ep->source.addr, addr, len);
	return 0;
}

int ug_endpoint_pin_source(struct ug_endpoint *ep, const struct sockaddr *sa,
			   socklen_t len, uint32_t ifindex)
{
	struct ug_endpoint at;
	int err = ug_endpoint_set(&at, sa, len);

	if (err < 0)
		return err;
	if (ug_endpoint_family(ep) != ug_endpoint_family(&at))
		return -EAFNOSUPPORT;
	if (ug_endpoint_family(&at) == AF_INET)
		return ug_endpoint_pin_address(ep, &at.addr.v4.sin_addr,
					       ifindex);
	return ug_endpoint_pin_address(ep, &at.addr.v6.sin6_addr,
				       ifindex ? ifindex
					       : at.addr.v6.sin6_scope_id);
}

int ug_endpoint_get_source(const struct ug_endpoint *ep, uint16_t port,
			   struct sockaddr *sa, socklen_t *len)
{
	const struct ug_source *source = &ep->source;
	struct ug_endpoint at;
	socklen_t size;

	if (!address_len(ug_endpoint_family(ep)))
		return -EAFNOSUPPORT;
	if (source->state == UG_SOURCE_NONE)
		return -ENOENT;
	memset(&at, 0, sizeof(at));
	at.addr.any.sa_family = ep->addr.any.sa_family;
	if (ug_endpoint_family(ep) == AF_INET) {
		size = sizeof(at.addr.v4);
		at.addr.v4.sin_port = htons(port);
		memcpy(&at.addr.v4.sin_addr, source->addr, 4);
	} else {
		size = sizeof(at.addr.v6);
		at.addr.v6.sin6_port = htons(port);
		memcpy(&at.addr.v6.sin6_addr, source->addr, 16);
		if (IN6_IS_ADDR_LINKLOCAL(&at.addr.v6.sin6_addr))
			at.addr.v6.sin6_scope_id = source->ifindex;
	}
	if (*len < size)
		return -ENOSPC;
	memcpy(sa, &at.addr, size);
	*len = size;
	return 0;
}

void ug_endpoint_clear_source(struct ug_endpoint *ep)
{
	memset(&ep->source, 0, sizeof(ep->source));
}
