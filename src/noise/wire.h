/* SPDX-License-Identifier: MIT */
/*
 * The messages as they are on the wire (WireGuard paper, section 5.4). Every
 * struct is made of bytes alone, so a message may start at any address.
 *
 * Any thread.
 */
#ifndef NOISE_WIRE_H
#define NOISE_WIRE_H

#include <assert.h>
#include <stddef.h>

#include "base/bytes.h"
#include "noise/constants.h"

enum message_type {
	MESSAGE_INVALID = 0,
	MESSAGE_INITIATION = 1,
	MESSAGE_RESPONSE = 2,
	MESSAGE_COOKIE = 3,
	MESSAGE_DATA = 4,
};

/* The end of an initiation and of a response. */
struct message_macs {
	uint8_t mac1[COOKIE_LEN];
	uint8_t mac2[COOKIE_LEN];
};

struct message_initiation {
	struct le32 type;
	struct le32 sender;
	uint8_t ephemeral[NOISE_PUBLIC_KEY_LEN];
	uint8_t enc_static[NOISE_PUBLIC_KEY_LEN + NOISE_AUTHTAG_LEN];
	uint8_t enc_timestamp[NOISE_TIMESTAMP_LEN + NOISE_AUTHTAG_LEN];
	struct message_macs macs;
};

struct message_response {
	struct le32 type;
	struct le32 sender;
	struct le32 receiver;
	uint8_t ephemeral[NOISE_PUBLIC_KEY_LEN];
	uint8_t enc_nothing[NOISE_AUTHTAG_LEN];
	struct message_macs macs;
};

struct message_cookie {
	struct le32 type;
	struct le32 receiver;
	uint8_t nonce[COOKIE_NONCE_LEN];
	uint8_t enc_cookie[COOKIE_LEN + NOISE_AUTHTAG_LEN];
};

/* The header of a data message. The encrypted text and its tag follow. */
struct message_data {
	struct le32 type;
	struct le32 receiver;
	struct le64 counter;
};

static_assert(sizeof(struct message_macs) == 32, "wire size of the macs");
static_assert(sizeof(struct message_initiation) == 148, "wire size of type 1");
static_assert(sizeof(struct message_response) == 92, "wire size of type 2");
static_assert(sizeof(struct message_cookie) == 64, "wire size of type 3");
static_assert(sizeof(struct message_data) == 16, "wire size of type 4");
static_assert(_Alignof(struct message_initiation) == 1 &&
		      _Alignof(struct message_response) == 1 &&
		      _Alignof(struct message_cookie) == 1 &&
		      _Alignof(struct message_data) == 1,
	      "a message may start at any address");

enum message_len {
	/* The length of a data message without its padded text. */
	MESSAGE_DATA_OVERHEAD = 16 + NOISE_AUTHTAG_LEN,
	/* Bytes behind a packet that its message may need: padding, tag. */
	MESSAGE_DATA_TAIL = MESSAGE_PADDING - 1 + NOISE_AUTHTAG_LEN,
	/* The shortest valid message is a keepalive: no text at all. */
	MESSAGE_MIN_LEN = MESSAGE_DATA_OVERHEAD,
	/* The longest message of the handshake is an initiation. */
	MESSAGE_HANDSHAKE_MAX_LEN = 148,
};

/**
 * message_check() - the type of a received message, if its length fits it
 * @buf:	the datagram
 * @len:	its length in bytes
 *
 * If the type is valid, every field of the struct of that type may be read. In
 * a data message, at least a tag may be read behind the header. The three
 * reserved bytes behind the type must be 0.
 *
 * Return: the type; MESSAGE_INVALID for anything else.
 */
enum message_type message_check(const void *buf, size_t len);

/**
 * message_data_text_len() - bytes of text in a checked data message
 * @len:	length of the whole datagram, checked by message_check()
 *
 * Return: length of the text without its tag; 0 is a keepalive.
 */
static inline size_t message_data_text_len(size_t len)
{
	return len - MESSAGE_DATA_OVERHEAD;
}

#endif /* NOISE_WIRE_H */
