/* SPDX-License-Identifier: MIT */
/*
 * Netlink messages. A reader trusts no length: if a length reaches beyond the
 * bytes that were received, there is no next message or attribute. All
 * comparisons are written so that they cannot overflow.
 */
#include "base/netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"

int netlink_open(int protocol, int flags, uint32_t groups)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK,
				    .nl_groups = groups };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, protocol);
	int err;

	if (fd < 0)
		return -errno;
	if (bind(fd, (const void *)&addr, sizeof(addr)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

int netlink_send(int fd, const struct nlmsghdr *message)
{
	struct iovec iov = { unconst(message), message->nlmsg_len };
	const struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	do
		n = sendmsg(fd, &msg, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

ssize_t netlink_receive(int fd, void *buf, size_t cap)
{
	struct iovec iov = { buf, cap };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	do
		n = recvmsg(fd, &msg, MSG_TRUNC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n > cap ? -EMSGSIZE : n;
}

static size_t padded(size_t len)
{
	return (len + NLMSG_ALIGNTO - 1) & ~(size_t)(NLMSG_ALIGNTO - 1);
}

/* Add @len bytes, all zero, to the message. Return: the bytes; NULL if they do
 * not fit. */
static uint8_t *extend(struct netlink_builder *b, size_t len)
{
	size_t at = padded(b->header->nlmsg_len);

	if (b->is_full || at > b->cap || padded(len) < len ||
	    padded(len) > b->cap - at) {
		b->is_full = true;
		return NULL;
	}
	uint8_t *room = (uint8_t *)b->header + at;

	memset(room, 0, padded(len));
	b->header->nlmsg_len = (uint32_t)(at + len);
	return room;
}

void netlink_begin(struct netlink_builder *b, void *buf, size_t cap,
		   uint16_t type, uint16_t flags)
{
	/* A length has to fit nlmsg_len, which has 32 bits. */
	*b = (struct netlink_builder){ .header = buf,
				       .cap = size_min(cap, INT32_MAX) };
	*b->header = (struct nlmsghdr){ .nlmsg_len = sizeof(struct nlmsghdr),
					.nlmsg_type = type,
					.nlmsg_flags = flags };
}

void *netlink_put_body(struct netlink_builder *b, size_t len)
{
	return extend(b, len);
}

void netlink_put(struct netlink_builder *b, uint16_t type, const void *data,
		 size_t len)
{
	struct nlattr attr = { .nla_type = type };

	if (len > UINT16_MAX - sizeof(attr)) {
		b->is_full = true;
		return;
	}
	attr.nla_len = (uint16_t)(sizeof(attr) + len);
	uint8_t *room = extend(b, attr.nla_len);

	if (!room)
		return;
	memcpy(room, &attr, sizeof(attr));
	if (len)
		memcpy(room + sizeof(attr), data, len);
}

void netlink_put_u16(struct netlink_builder *b, uint16_t type, uint16_t value)
{
	netlink_put(b, type, &value, sizeof(value));
}

void netlink_put_u32(struct netlink_builder *b, uint16_t type, uint32_t value)
{
	netlink_put(b, type, &value, sizeof(value));
}

void netlink_put_string(struct netlink_builder *b, uint16_t type,
			const char *text)
{
	netlink_put(b, type, text, strlen(text) + 1);
}

size_t netlink_nest_begin(struct netlink_builder *b, uint16_t type)
{
	size_t at = padded(b->header->nlmsg_len);

	netlink_put(b, type | NLA_F_NESTED, NULL, 0);
	return at;
}

void netlink_nest_end(struct netlink_builder *b, size_t nest)
{
	struct nlattr *attr;
	size_t len;

	if (b->is_full)
		return;
	len = padded(b->header->nlmsg_len) - nest;
	if (len > UINT16_MAX) {
		b->is_full = true;
		return;
	}
	attr = (void *)((uint8_t *)b->header + nest);
	attr->nla_len = (uint16_t)len;
	/* The padding belongs to the nest, so it must lie in the message. There
	 * is room for it: extend() has made sure. */
	b->header->nlmsg_len = (uint32_t)(nest + len);
}

void netlink_messages_init(struct netlink_messages *m, const void *buf,
			   size_t len)
{
	*m = (struct netlink_messages){ buf, len };
}

const struct nlmsghdr *netlink_messages_next(struct netlink_messages *m)
{
	const struct nlmsghdr *message = (const void *)m->at;
	size_t len;

	if (m->left < sizeof(*message) ||
	    message->nlmsg_len < sizeof(*message) ||
	    message->nlmsg_len > m->left)
		return NULL;
	len = padded(message->nlmsg_len);
	if (len > m->left)
		return NULL;
	m->at += len;
	m->left -= len;
	return message;
}

const void *netlink_get_body(const struct nlmsghdr *message, size_t len)
{
	return message->nlmsg_len - sizeof(*message) < len
		       ? NULL
		       : (const void *)(message + 1);
}

void netlink_attrs_init(struct netlink_attrs *a, const struct nlmsghdr *message,
			size_t body_len)
{
	size_t at = sizeof(*message) + padded(body_len);

	*a = (struct netlink_attrs){ 0 };
	if (at >= message->nlmsg_len)
		return;
	a->at = (const uint8_t *)message + at;
	a->left = message->nlmsg_len - at;
}

void netlink_attrs_init_nested(struct netlink_attrs *a,
			       const struct nlattr *attr)
{
	*a = (struct netlink_attrs){ netlink_attr_data(attr),
				     netlink_attr_len(attr) };
}

const struct nlattr *netlink_attrs_next(struct netlink_attrs *a)
{
	const struct nlattr *attr = (const void *)a->at;
	size_t len;

	if (a->left < sizeof(*attr) || attr->nla_len < sizeof(*attr) ||
	    attr->nla_len > a->left)
		return NULL;
	/* The last attribute may lack its padding. */
	len = size_min(padded(attr->nla_len), a->left);
	a->at += len;
	a->left -= len;
	return attr;
}

bool netlink_attr_u32(const struct nlattr *attr, uint32_t *value)
{
	if (netlink_attr_len(attr) != sizeof(*value))
		return false;
	memcpy(value, netlink_attr_data(attr), sizeof(*value));
	return true;
}

const char *netlink_attr_string(const struct nlattr *attr, size_t cap)
{
	const char *text = netlink_attr_data(attr);

	return memchr(text, 0, size_min(netlink_attr_len(attr), cap)) ? text
								      : NULL;
}
