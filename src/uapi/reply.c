/* SPDX-License-Identifier: MIT */
/*
 * The reply to a `get` is written in small steps: the device, then each peer
 * and each of its prefixes, then the status. Pointers to a peer and to one of
 * its prefixes mark the place that was reached. If the generation of the
 * configuration has changed, these pointers are not used any more. The place is
 * then found again by the peer's serial number and the count of prefixes.
 */
#include "uapi/reply.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/secret.h"

/* A text under construction: @len bytes of @buf are written. */
struct text {
	char *buf;
	size_t cap;
	size_t len;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t,
						      const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(t->buf + t->len, t->cap - t->len, format, args);
	va_end(args);
	/* No step writes more than UAPI_REPLY_CAP bytes. */
	INVARIANT(n >= 0 && (size_t)n < t->cap - t->len);
	t->len += (size_t)n;
}

static void put_key(struct text *t, const char *name,
		    const uint8_t key[NOISE_PUBLIC_KEY_LEN])
{
	put(t, "%s=", name);
	for (size_t i = 0; i < NOISE_PUBLIC_KEY_LEN; i++)
		put(t, "%02x", key[i]);
	put(t, "\n");
}

static void put_device(struct text *t, struct device *device)
{
	uint8_t key[NOISE_PRIVATE_KEY_LEN];

	if (noise_local_get_keys(&device->local, key, NULL))
		put_key(t, "private_key", key);
	secret_zero(key, sizeof(key));
	if (device->listen_port)
		put(t, "listen_port=%u\n", device->listen_port);
	if (device->fwmark)
		put(t, "fwmark=%" PRIu32 "\n", device->fwmark);
}

static uint64_t get(const _Atomic uint64_t *at)
{
	return atomic_load_explicit(at, memory_order_relaxed);
}

static void put_endpoint(struct text *t, const struct peer *peer,
			 const struct uapi_codec *codec)
{
	char text[UAPI_ENDPOINT_TEXT];
	struct device_endpoint ep;

	if (endpoint_cell_get(&peer->endpoint, &ep) &&
	    codec->print(&ep, text, sizeof(text)) >= 0)
		put(t, "endpoint=%s\n", text);
}

/* All lines of a peer but its prefixes. */
static void put_peer(struct text *t, struct peer *peer,
		     const struct uapi_codec *codec)
{
	uint64_t handshake_ns = get(&peer->last_handshake_ns);
	uint8_t key[NOISE_PRESHARED_KEY_LEN];

	put_key(t, "public_key", peer->public_key);
	noise_handshake_get_preshared_key(&peer->handshake, key);
	put_key(t, "preshared_key", key);
	secret_zero(key, sizeof(key));
	put(t, "protocol_version=1\n");
	put_endpoint(t, peer, codec);
	put(t, "last_handshake_time_sec=%" PRIu64 "\n",
	    handshake_ns / NSEC_PER_SEC);
	put(t, "last_handshake_time_nsec=%" PRIu64 "\n",
	    handshake_ns % NSEC_PER_SEC);
	put(t, "tx_bytes=%" PRIu64 "\n", get(&peer->tx_bytes));
	put(t, "rx_bytes=%" PRIu64 "\n", get(&peer->rx_bytes));
	put(t, "persistent_keepalive_interval=%u\n",
	    atomic_load_explicit(&peer->timers.persistent_s,
				 memory_order_relaxed));
}

static void put_prefix(struct text *t, const struct ip_prefix *prefix)
{
	char addr[INET6_ADDRSTRLEN];

	inet_ntop(prefix->family == IP_V4 ? AF_INET : AF_INET6, prefix->addr,
		  addr, sizeof(addr));
	put(t, "allowed_ip=%s/%u\n", addr, prefix->cidr);
}

void uapi_reply_init(struct uapi_reply *reply, struct device *device,
		     const struct uapi_codec *codec)
{
	memset(reply, 0, sizeof(*reply));
	reply->device = device;
	reply->codec = codec;
	reply->generation = device->generation;
}

/* The first peer after the last one that was begun, or NULL. */
static struct peer *next_peer(const struct uapi_reply *reply)
{
	const struct list *head = &reply->device->peers;
	struct list *item =
		reply->peer ? reply->peer->in_device.next : head->next;
	struct peer *peer;

	for (; item != head; item = item->next) {
		peer = container_of(item, struct peer, in_device);
		if (peer->serial > reply->serial)
			return peer;
	}
	return NULL;
}

/* The configuration has changed: find the place in it again. */
static void find_again(struct uapi_reply *reply)
{
	struct ip_prefix prefix;
	struct list *item;
	struct peer *peer;

	reply->generation = reply->device->generation;
	reply->peer = NULL;
	reply->pos = NULL;
	list_for_each(item, &reply->device->peers) {
		peer = container_of(item, struct peer, in_device);
		if (peer->serial == reply->serial)
			reply->peer = peer;
	}
	if (reply->step != UAPI_REPLY_PREFIXES)
		return;
	if (!reply->peer) {
		reply->step = UAPI_REPLY_PEER;
		return;
	}
	for (size_t i = 0; i < reply->n_prefixes; i++)
		if (!allowedips_next(&reply->peer->allowedips, &reply->pos,
				     &prefix))
			break;
}

static void step_peer(struct uapi_reply *reply, struct text *t)
{
	struct peer *peer = next_peer(reply);

	if (!peer) {
		reply->step = UAPI_REPLY_STATUS;
		return;
	}
	reply->peer = peer;
	reply->serial = peer->serial;
	reply->n_prefixes = 0;
	reply->pos = NULL;
	reply->step = UAPI_REPLY_PREFIXES;
	put_peer(t, peer, reply->codec);
}

static void step_prefix(struct uapi_reply *reply, struct text *t)
{
	struct ip_prefix prefix;

	if (!allowedips_next(&reply->peer->allowedips, &reply->pos, &prefix)) {
		reply->step = UAPI_REPLY_PEER;
		return;
	}
	reply->n_prefixes++;
	put_prefix(t, &prefix);
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
	if (reply->generation != reply->device->generation)
		find_again(reply);
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
