/* SPDX-License-Identifier: MIT */
/*
 * Control messages: bytes beside the payload, with the local address, the TOS and
 * the segment size (cmsg(3), ip(7), ipv6(7), udp(7)).
 */
#ifndef UDPGATHER_CONTROL_H
#define UDPGATHER_CONTROL_H

#include <netinet/in.h>
#include <netinet/udp.h>

#include "udpgather.h"

/* Space for one message to send: packet info, TOS, TTL, time, segment size. */
struct control {
	_Alignas(struct cmsghdr) unsigned char bytes
		[CMSG_SPACE(sizeof(struct in6_pktinfo)) +
		 2 * CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(uint64_t)) +
		 CMSG_SPACE(sizeof(uint16_t))];
};

/* Options of a socket that change what is written; bits of struct control_out's
 * flags. */
enum {
	/* TOS 0 is written, too. */
	CONTROL_CLEAR_TOS = 1,
	/* The interface of a source is written with every address. */
	CONTROL_FOLLOW_INTERFACE = 2,
};

/**
 * struct control_out - what the control data of a message to send say
 * @source:	the address to send from, or NULL
 * @segment_len: at most 65,535; 0 writes none
 * @time_ns:	when to send (SO_TXTIME), on the socket's clock; 0 writes none
 * @family:	AF_INET or AF_INET6
 * @mapped:	the destination is an IPv4-mapped IPv6 address: the socket is
 *		IPv6, the headers with TOS and TTL are IPv4
 * @tos:	TOS or traffic class; 0 writes none without CONTROL_CLEAR_TOS
 * @ttl:	TTL or hop limit; 0 writes none
 * @flags:	CONTROL_*
 */
struct control_out {
	const struct ug_source *source;
	size_t segment_len;
	uint64_t time_ns;
	int family;
	bool mapped;
	uint8_t tos;
	uint8_t ttl;
	uint8_t flags;
};

/*
 * Space for the control data of one received message. The options that the
 * library sets need 88 bytes. A socket of ug_open_fds() may have more options
 * set, such as timestamps. Without room for them the kernel would cut the
 * control data short, the segment size might be missing, and the whole train
 * would have to be dropped.
 */
struct control_space {
	_Alignas(struct cmsghdr) unsigned char bytes[512];
};

/**
 * struct control_info - the content of received control data
 * @source:	the local address and interface; state is 0
 * @has_source:	@source is an address that can be answered from
 * @is_ipv4:	@source comes from the message's IPv4 header, also on an IPv6
 *		socket
 * @tos:	TOS or traffic class, 0 if there was none
 * @segment_len: the size of all datagrams but the last one, 0 if not merged
 */
struct control_info {
	struct ug_source source;
	bool has_source;
	bool is_ipv4;
	uint8_t tos;
	uint32_t segment_len;
};

/**
 * struct control_details - what is not needed to answer a datagram
 * @time_ns:	when the kernel took the message in, in nanoseconds of
 *		CLOCK_REALTIME; 0 for unknown
 * @ifindex:	the interface that it came in by, 0 for unknown
 * @destination: the address that it was sent to, all 0 for unknown; IPv4 in the
 *		first four bytes, also on an IPv6 socket
 * @ttl:	TTL or hop limit as it came, 0 for unknown
 */
struct control_details {
	uint64_t time_ns;
	uint32_t ifindex;
	uint8_t destination[16];
	uint8_t ttl;
};

/**
 * ug_control_build() - write the control data of a message
 * @c:		filled from its start
 * @out:	what to write
 *
 * Any thread.
 *
 * Return: the bytes written, for msg_controllen.
 */
size_t ug_control_build(struct control *c, const struct control_out *out);

/**
 * ug_control_parse() - read the control data of a message
 * @bytes:	what the kernel wrote, aligned as struct cmsghdr
 * @len:	msg_controllen
 * @out:	filled on success; control messages of other kinds are ignored
 *
 * Any thread.
 *
 * Return: 0, or -EBADMSG for a length that does not fit.
 */
int ug_control_parse(const void *bytes, size_t len, struct control_info *out);

/**
 * ug_control_parse_details() - read more of the control data of a message
 * @bytes:	as for ug_control_parse(), which has accepted it
 * @len:	msg_controllen
 * @out:	filled. A control message that is too short for its kind is ignored.
 *
 * It is a function of its own because ug_receive() does not need it. Any thread.
 */
void ug_control_parse_details(const void *bytes, size_t len,
			      struct control_details *out);

/**
 * ug_control_parse_error() - read the control data of an entry of the error queue
 * @bytes:	as for ug_control_parse()
 * @len:	msg_controllen
 * @out:	on success all but @to is set, which is cleared
 *
 * Any thread.
 *
 * Return: 0; -EBADMSG for a length that does not fit, or if there is no entry.
 */
int ug_control_parse_error(const void *bytes, size_t len, struct ug_error *out);

#endif /* UDPGATHER_CONTROL_H */
