/* SPDX-License-Identifier: MIT */
/*
 * Cutting a received message into its datagrams. The kernel merges datagrams of one
 * flow that have one size, except for a shorter last one, and gives the size in a
 * control message. Their number follows from the length of the message; it is often
 * above 64.
 */
#ifndef UDPGATHER_SPLIT_H
#define UDPGATHER_SPLIT_H

#include "udpgather/control.h"

/**
 * struct split - a message that is being handed out
 * @data:	its first byte
 * @from:	who sent it
 * @len:	its length
 * @segment_len: the length of all datagrams but the last one
 * @off:	offset of the next datagram
 * @cnt:	datagrams in it
 * @left:	datagrams that were not handed out yet
 * @tos:	TOS or traffic class of all of them
 */
struct split {
	unsigned char *data;
	const struct ug_endpoint *from;
	size_t len;
	size_t segment_len;
	size_t off;
	size_t cnt;
	size_t left;
	uint8_t tos;
};

/**
 * ug_split_begin() - begin to hand out a message
 * @s:		filled
 * @data:	its bytes
 * @len:	its length; 0 for one empty datagram
 * @segment_len: the size that the kernel gave; 0 for one datagram
 */
static inline void ug_split_begin(struct split *s, void *data, size_t len,
				  size_t segment_len)
{
	if (!segment_len || segment_len > len)
		segment_len = len;
	*s = (struct split){
		.data = data,
		.len = len,
		.segment_len = segment_len,
	};
	s->cnt = len ? (len + segment_len - 1) / segment_len : 1;
	s->left = s->cnt;
}

/* ug_split_next() - the next datagram; only while left is not 0 */
static inline void ug_split_next(struct split *s, struct ug_view *view)
{
	size_t rest = s->len - s->off;
	size_t len = rest < s->segment_len ? rest : s->segment_len;

	*view = (struct ug_view){
		.data = s->data + s->off,
		.from = s->from,
		.len = (uint32_t)len,
		.tos = s->tos,
	};
	s->off += len;
	s->left--;
}

#endif /* UDPGATHER_SPLIT_H */
