/* SPDX-License-Identifier: MIT */
/*
 * Packets that may be our own messages, routed back to us. Input: the kind of
 * endpoint and message; the packet.
 *
 * Promises: a packet counts as ours only if it is UDP to the endpoint around a
 * message with our index and counter. Source and source port have no influence.
 * A later fragment is ours only after a first one with the same addresses and
 * identification.
 */
#include "fuzz/fuzz.h"

#include "base/clock.h"
#include "engine/endpoint.h"
#include "engine/returned.h"
#include "fuzz/quiet_device.h"

enum {
	/* Bytes of the input before the packet. */
	HEAD_LEN = 2,
	V4_LEN = 20,
	V6_LEN = 40,
	/* Bits of the first byte of the input. */
	ENDPOINT_OF_PACKET = 1,
	DATA_OF_OURS = 2,
	INITIATION_OF_OURS = 4,
	/* The index of our messages. A choice. */
	REMOTE_INDEX = 0x01020304,
	/* The next counter, so that 0 to 15 were sent. A choice. */
	N_SENT = 16,
};

static struct peer *peer;
static uint32_t own_index;

static void make_peer(void)
{
	static const uint8_t key[NOISE_PUBLIC_KEY_LEN] = { 9 };
	struct device *device = quiet_device_get();
	struct noise_keypair *kp;

	if (peer)
		return;
	peer = peer_new(device, key);
	require(peer);
	kp = noise_keypair_new(&device->local);
	require(kp);
	kp->is_initiator = true;
	kp->remote_index = REMOTE_INDEX;
	atomic_store(&kp->send_counter, N_SENT);
	noise_keypairs_add(&peer->keypairs, kp);
	require(!index_new(&device->index, &peer->handshake, 0, &own_index));
	/* A packet was just reported, so the device logs no line now. */
	peer->returned_ns = 1;
}

/* The offset of the UDP header behind the IP headers; 0 if there is none. */
static size_t udp_off(const uint8_t *p, size_t len)
{
	if (p[0] >> 4 == 4)
		return p[9] == 17 && (p[0] & 15) >= 5 ? (size_t)(p[0] & 15) * 4
						      : 0;
	if (p[6] == 17)
		return V6_LEN;
	return p[6] == 44 && len >= V6_LEN + 8 && p[V6_LEN] == 17 ? V6_LEN + 8
								  : 0;
}

static bool is_first(const uint8_t *p)
{
	if (p[0] >> 4 == 4)
		return !(p[6] & 0x1f) && !p[7];
	return p[6] == 17 || (!p[V6_LEN + 2] && !(p[V6_LEN + 3] & 0xf8));
}

static void put32(uint8_t *at, uint32_t n)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(n >> 8 * i);
}

static uint32_t get32(const uint8_t *at)
{
	return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
	       (uint32_t)at[3] << 24;
}

/* The endpoint 192.0.2.2:51820 or [fd00::2]:51820, or where the packet goes. */
static struct ug_endpoint make_endpoint(uint8_t how, const uint8_t *p,
					size_t len)
{
	bool v4 = p[0] >> 4 == 4;
	size_t off = udp_off(p, len);
	struct ug_endpoint ep;

	require(!ug_endpoint_parse(&ep,
				   v4 ? "192.0.2.2:51820" : "[fd00::2]:51820"));
	if (!(how & ENDPOINT_OF_PACKET))
		return ep;
	if (v4)
		memcpy(&ep.addr.v4.sin_addr, p + 16, 4);
	else
		memcpy(&ep.addr.v6.sin6_addr, p + 24, 16);
	if (off && off + 4 <= len)
		memcpy(v4 ? &ep.addr.v4.sin_port : &ep.addr.v6.sin6_port,
		       p + off + 2, 2);
	return ep;
}

/* Write a message of ours to the packet's payload. */
static void make_message(uint8_t how, uint8_t *p, size_t len)
{
	size_t off = udp_off(p, len);

	if (!off || off + 8 + 16 > len)
		return;
	p += off + 8;
	if (how & DATA_OF_OURS) {
		put32(p, 4);
		put32(p + 4, REMOTE_INDEX);
	} else if (how & INITIATION_OF_OURS) {
		put32(p, 1);
		put32(p + 4, own_index);
	}
}

static void check_first(const struct ug_endpoint *ep, const uint8_t *p,
			size_t len)
{
	const uint8_t *udp = p + udp_off(p, len);
	const uint8_t *msg = udp + 8;

	require(udp != p && (size_t)(udp - p) + 8 + 16 <= len);
	if (p[0] >> 4 == 4)
		require(!memcmp(p + 16, &ep->addr.v4.sin_addr, 4) &&
			!memcmp(udp + 2, &ep->addr.v4.sin_port, 2));
	else
		require(!memcmp(p + 24, &ep->addr.v6.sin6_addr, 16) &&
			!memcmp(udp + 2, &ep->addr.v6.sin6_port, 2));
	if (get32(msg) == 4)
		require(get32(msg + 4) == REMOTE_INDEX && msg[8] < N_SENT &&
			!msg[9] && !msg[10] && !msg[11] && !get32(msg + 12));
	else
		require((get32(msg) == 1 || get32(msg) == 2) &&
			get32(msg + 4) == own_index);
}

/* Change only source and source port of the packet. */
static void change_source(uint8_t *p, size_t len)
{
	size_t off = udp_off(p, len);

	p[p[0] >> 4 == 4 ? 15 : 23] ^= 1;
	if (off && off + 2 <= len)
		p[off] ^= 1;
}

static void check_packet(uint8_t how, uint8_t gso, uint8_t *p, size_t len)
{
	const struct vnet_frame frame = {
		.len = (uint32_t)len,
		.gso_size = gso,
		.ip_version = p[0] >> 4,
	};
	struct returned r = { 0 }, other = { 0 };
	struct device_endpoint dep;
	struct ug_endpoint ep;
	bool is_own;

	make_message(how, p, len);
	ep = make_endpoint(how, p, len);
	endpoint_to_device(&dep, &ep);
	if (!returned_may_be(p))
		return;
	is_own = returned_is_own(&r, peer, &dep, p, &frame, NSEC_PER_SEC);
	if (is_own)
		check_first(&ep, p, len);
	if (!udp_off(p, len) || !is_first(p)) {
		require(!is_own);
		return;
	}
	change_source(p, len);
	require(returned_is_own(&other, peer, &dep, p, &frame, NSEC_PER_SEC) ==
		is_own);
	require(r.key_len == other.key_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t *packet;

	if (len < HEAD_LEN + V4_LEN)
		return 0;
	make_peer();
	len -= HEAD_LEN;
	/* Skip packets that the TUN's reader would drop. */
	if (data[HEAD_LEN] >> 4 != 4 &&
	    (data[HEAD_LEN] >> 4 != 6 || len < V6_LEN))
		return 0;
	packet = malloc(len);
	require(packet);
	memcpy(packet, data + HEAD_LEN, len);
	check_packet(data[0], data[1], packet, len);
	free(packet);
	return 0;
}
