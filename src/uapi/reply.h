/* SPDX-License-Identifier: MIT */
/*
 * Replies. The reply to a `get` is written in pieces, a peer or a prefix at a
 * time, as the socket takes them. So also for a device with many peers the
 * buffer is small, and the control thread can do other work between the pieces.
 * The configuration may change while a reply is under way. Then each peer is
 * shown as it was when it was written, no peer is shown twice, and no peer is
 * left out that was there all the time.
 *
 * The number behind "errno=" is positive in the reply to a `get`, and negative
 * in the reply to a `set`; reply.c says why.
 *
 * Control thread.
 */
#ifndef UAPI_REPLY_H
#define UAPI_REPLY_H

#include <stddef.h>
#include <stdint.h>

#include "uapi/grammar.h"
#include "uapi/peers.h"

enum {
	/* The least room that uapi_reply_fill() needs. The longest piece is a
	 * peer without its prefixes, with less than 500 bytes. */
	UAPI_REPLY_CAP = 1024,
	/* Bytes that uapi_print_status() needs at most: any int fits. */
	UAPI_STATUS_CAP = 32,
};

enum uapi_reply_step {
	UAPI_REPLY_DEVICE = 0,
	UAPI_REPLY_PEER,
	UAPI_REPLY_PREFIXES,
	UAPI_REPLY_STATUS,
	UAPI_REPLY_END,
};

/**
 * struct uapi_reply - a reply to a `get` under way
 * @device:	borrowed
 * @codec:	borrowed
 * @step:	the piece that comes next
 * @peers:	the last peer begun, and the last of its prefixes written
 */
struct uapi_reply {
	struct device *device;
	const struct uapi_codec *codec;
	enum uapi_reply_step step;
	struct peers peers;
};

/**
 * uapi_reply_init() - begin the reply to a `get`
 * @reply:	caller's storage; nothing needs to be freed
 * @device:	borrowed
 * @codec:	borrowed
 */
void uapi_reply_init(struct uapi_reply *reply, struct device *device,
		     const struct uapi_codec *codec);

/**
 * uapi_reply_fill() - write the next piece
 * @reply:	reply
 * @buf:	filled, without a final 0; it holds secrets, which the caller
 *		wipes
 * @cap:	bytes at @buf, at least UAPI_REPLY_CAP
 *
 * Return: how many bytes were written; 0: the reply has ended.
 */
size_t uapi_reply_fill(struct uapi_reply *reply, char *buf, size_t cap);

/**
 * uapi_print_status() - write the end of a `get`'s reply, or all of a `set`'s
 * @buf:	filled with text and a final 0
 * @cap:	bytes at @buf, at least UAPI_STATUS_CAP
 * @op:		kind of request that is answered
 * @err:	0 or -errno
 *
 * Return: the length, without the final 0.
 */
size_t uapi_print_status(char *buf, size_t cap, enum uapi_op op, int err);

#endif /* UAPI_REPLY_H */
