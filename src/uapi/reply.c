/* SPDX-License-Identifier: MIT */
/*
 * The reply to a `get` is written in small steps: the device, then each peer
 * and each of its prefixes, then the status. uapi/peers.h keeps the place among
 * them while the configuration changes.
 */
#include "uapi/reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/counter.h"
#include "crypto/secret.h"
#include "uapi/text.h"

static void put_device(struct text *t, struct device *device)
{
	uint8_t key[NOISE_PRIVATE_KEY_LEN];

	if (noise_local_get_keys(&device->local, key, NULL))
		text_put_key(t, "private_key=", key);
	secret_zero(key, sizeof(key));
	if (device->listen_port)
		text_put(t, "listen_port=%u\n", device->listen_port);
	if (device->fwmark)
		text_put(t, "fwmark=%" PRIu32 "\n", device->fwmark);
}

/* All lines of a peer but its prefixes. */
static void put_peer(struct text *t, struct peer *peer,
		     const struct uapi_codec *codec)
{
	uint64_t handshake_ns = counter_get(&peer->last_handshake_ns);
	uint8_t key[NOISE_PRESHARED_KEY_LEN];

	text_put_key(t, "public_key=", peer->public_key);
	noise_handshake_get_preshared_key(&peer->handshake, key);
	text_put_key(t, "preshared_key=", key);
	secret_zero(key, sizeof(key));
	text_put_word(t, "protocol_version=1\n");
	text_put_endpoint(t, "endpoint=", &peer->endpoint, codec);
	text_put_number_line(
		t, "last_handshake_time_sec=", handshake_ns / NSEC_PER_SEC);
	text_put_number_line(
		t, "last_handshake_time_nsec=", handshake_ns % NSEC_PER_SEC);
	text_put_number_line(t, "tx_bytes=", counter_get(&peer->tx_bytes));
	text_put_number_line(t, "rx_bytes=", counter_get(&peer->rx_bytes));
	text_put_number_line(t, "persistent_keepalive_interval=",
			     atomic_load_explicit(&peer->timers.persistent_s,
						  memory_order_relaxed));
}

void uapi_reply_init(struct uapi_reply *reply, struct device *device,
		     const struct uapi_codec *codec)
{
	memset(reply, 0, sizeof(*reply));
	reply->device = device;
	reply->codec = codec;
	peers_init(&reply->peers, device);
}

static void step_peer(struct uapi_reply *reply, struct text *t)
{
	struct peer *peer = peers_next(&reply->peers);

	if (!peer) {
		reply->step = UAPI_REPLY_STATUS;
		return;
	}
	reply->step = UAPI_REPLY_PREFIXES;
	put_peer(t, peer, reply->codec);
}

static void step_prefix(struct uapi_reply *reply, struct text *t)
{
	struct ip_prefix prefix;

	if (peers_next_prefix(&reply->peers, &prefix))
		text_put_prefix(t, &prefix);
	else
		reply->step = UAPI_REPLY_PEER;
}

static void write_next(struct uapi_reply *reply, struct text *t)
{
	switch (reply->step) {
	case UAPI_REPLY_DEVICE:
		put_device(t, reply->device);
		reply->step = UAPI_REPLY_PEER;
		break;
	case UAPI_REPLY_PEER:
		step_peer(reply, t);
		break;
	case UAPI_REPLY_PREFIXES:
		step_prefix(reply, t);
		break;
	case UAPI_REPLY_STATUS:
		t->len += uapi_print_status(t->buf + t->len, t->cap - t->len,
					    UAPI_GET, 0);
		reply->step = UAPI_REPLY_END;
		break;
	case UAPI_REPLY_END:
		break;
	}
}

size_t uapi_reply_fill(struct uapi_reply *reply, char *buf, size_t cap)
{
	struct text t = { buf, cap, 0 };

	INVARIANT(cap >= UAPI_REPLY_CAP);
	while (reply->step != UAPI_REPLY_END && t.cap - t.len >= UAPI_REPLY_CAP)
		write_next(reply, &t);
	return t.len;
}

/*
 * The sign of the number is the one that wg(8) expects (ipc-uapi.h of
 * wireguard-tools 1.0.20210914). After a `set`, wg(8) takes the number for a
 * negative errno, as a system call of the kernel returns it. After a `get`,
 * wg(8) reads numbers without a sign, and would not understand a minus.
 */
size_t uapi_print_status(char *buf, size_t cap, enum uapi_op op, int err)
{
	int n = snprintf(buf, cap, "errno=%d\n\n", op == UAPI_GET ? -err : err);

	INVARIANT(n > 0 && (size_t)n < cap);
	return (size_t)n;
}
