/* SPDX-License-Identifier: MIT */
/*
 * Netlink messages: writing them into a buffer of the caller, and reading them
 * with every length checked. RFC 3549 describes the format, netlink(7) the
 * socket.
 *
 * A message is a header (struct nlmsghdr), a body of fixed size that its type
 * decides, and attributes (struct nlattr). Each of them begins at a multiple of
 * 4 bytes; the padding behind them does not count in the length.
 *
 * All functions: any thread, each with its own buffers.
 */
#ifndef BASE_NETLINK_H
#define BASE_NETLINK_H

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/**
 * netlink_open() - a socket that is bound to a port of its own
 * @protocol:	NETLINK_ROUTE and the like
 * @flags:	SOCK_NONBLOCK, or 0; SOCK_CLOEXEC is always set
 * @groups:	the multicast groups of nl_groups to listen to; 0: none
 *
 * Return: the descriptor; -errno.
 */
int netlink_open(int protocol, int flags, uint32_t groups);

/* netlink_send() - send a message to the kernel. By sendmsg(2), so that a filter of system
 * calls needs no other call for sending. Return: 0; -errno. */
int netlink_send(int fd, const struct nlmsghdr *message);

/* netlink_receive() - receive a datagram, by recvmsg(2). Return: its length; -EMSGSIZE: it
 * is longer than @cap; -errno. */
ssize_t netlink_receive(int fd, void *buf, size_t cap);

/* ----------------------------------------------------------- writing */

/**
 * struct netlink_builder - a message that is being written
 * @header:	the message; its length grows with what is put into it
 * @cap:	bytes at @header
 * @is_full:	a body or attribute did not fit, and was left out
 */
struct netlink_builder {
	struct nlmsghdr *header;
	size_t cap;
	bool is_full;
};

/**
 * netlink_begin() - begin a message
 * @b:		set up
 * @buf:	memory for it, aligned to 4 bytes; borrowed as long as @b is used
 * @cap:	bytes at @buf, at least those of a header
 * @type:	nlmsg_type
 * @flags:	nlmsg_flags
 */
void netlink_begin(struct netlink_builder *b, void *buf, size_t cap,
		   uint16_t type, uint16_t flags);

/**
 * netlink_put_body() - add the body, before any attribute
 * @b:		message
 * @len:	its bytes
 *
 * Return: the body, all zero, to be filled; NULL if it does not fit.
 */
void *netlink_put_body(struct netlink_builder *b, size_t len);

/**
 * netlink_put() - add an attribute
 * @b:		message
 * @type:	nla_type
 * @data:	its payload
 * @len:	bytes of @data
 *
 * An attribute that does not fit is left out, and @b->is_full is set.
 */
void netlink_put(struct netlink_builder *b, uint16_t type, const void *data,
		 size_t len);

/* netlink_put_u16(), netlink_put_u32() - a number, in the caller's byte order */
void netlink_put_u16(struct netlink_builder *b, uint16_t type, uint16_t value);
void netlink_put_u32(struct netlink_builder *b, uint16_t type, uint32_t value);

/* netlink_put_string() - a string with its final 0 */
void netlink_put_string(struct netlink_builder *b, uint16_t type,
			const char *text);

/**
 * netlink_nest_begin() - begin an attribute that consists of attributes
 * @b:		message
 * @type:	nla_type; NLA_F_NESTED is added
 *
 * Return: the offset of the attribute, for netlink_nest_end().
 */
size_t netlink_nest_begin(struct netlink_builder *b, uint16_t type);

/* netlink_nest_end() - end the attribute at offset @nest: set its length */
void netlink_nest_end(struct netlink_builder *b, size_t nest);

/* ----------------------------------------------------------- reading */

/**
 * struct netlink_messages - the rest of a datagram
 * @at:		the next message
 * @left:	bytes from there on
 */
struct netlink_messages {
	const uint8_t *at;
	size_t left;
};

/* netlink_messages_init() - begin with a datagram, aligned to 4 bytes */
void netlink_messages_init(struct netlink_messages *m, const void *buf,
			   size_t len);

/**
 * netlink_messages_next() - take a message
 * @m:		the rest of the datagram; moves on
 *
 * The padding behind a message must be there: the kernel always sends it. So the
 * message and its attributes, with padding, lie within the datagram.
 *
 * Return: the message; NULL at the end, or if the rest is no message.
 */
const struct nlmsghdr *netlink_messages_next(struct netlink_messages *m);

/**
 * netlink_get_body() - the body of a message
 * @message:	from netlink_messages_next()
 * @len:	length of a body of this type
 *
 * Return: the body; NULL if the message is shorter.
 */
const void *netlink_get_body(const struct nlmsghdr *message, size_t len);

/**
 * struct netlink_attrs - the rest of a list of attributes
 * @at:		the next one
 * @left:	bytes from there on
 */
struct netlink_attrs {
	const uint8_t *at;
	size_t left;
};

/**
 * netlink_attrs_init() - begin with the attributes behind a message's body
 * @a:		set up; without attributes if the message is shorter
 * @message:	from netlink_messages_next()
 * @body_len:	bytes of its body
 */
void netlink_attrs_init(struct netlink_attrs *a, const struct nlmsghdr *message,
			size_t body_len);

/* netlink_attrs_init_nested() - begin with the attributes in an attribute */
void netlink_attrs_init_nested(struct netlink_attrs *a,
			       const struct nlattr *attr);

/**
 * netlink_attrs_next() - take an attribute
 * @a:		the rest of the list; moves on
 *
 * Return: an attribute that lies within the list; NULL at the end, or if the rest
 * is no attribute.
 */
const struct nlattr *netlink_attrs_next(struct netlink_attrs *a);

/* netlink_attr_type() - the type, without the flags for nesting and byte order */
static inline uint16_t netlink_attr_type(const struct nlattr *attr)
{
	return attr->nla_type & (uint16_t)NLA_TYPE_MASK;
}

/* netlink_attr_len() - bytes of the payload */
static inline size_t netlink_attr_len(const struct nlattr *attr)
{
	return attr->nla_len - sizeof(*attr);
}

/* netlink_attr_data() - the payload, aligned to 4 bytes */
static inline const void *netlink_attr_data(const struct nlattr *attr)
{
	return attr + 1;
}

/**
 * netlink_attr_u32() - the payload as a number
 * @attr:	attribute
 * @value:	set on success, in the byte order of the payload
 *
 * Return: false if the payload has another length than 4.
 */
bool netlink_attr_u32(const struct nlattr *attr, uint32_t *value);

/**
 * netlink_attr_string() - the payload as a string
 * @attr:	attribute
 * @cap:	the most bytes that it may have, with its final 0
 *
 * Return: the string; NULL if it does not end within the payload and @cap.
 */
const char *netlink_attr_string(const struct nlattr *attr, size_t cap);

#endif /* BASE_NETLINK_H */
