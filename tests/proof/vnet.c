/* SPDX-License-Identifier: MIT */
/* Frames with any virtio-net header and any packet of these lengths. */
#include "any.h"

#include "tun/vnet.h"

static void check(const struct vnet_frame *f, size_t len)
{
	//@ check length: f->len == len;
	//@ check sum: !f->needs_csum || f->csum_field + 2 <= len;
	//@ check headers: f->gso_size == 0 || f->hdr_len <= len;
	//@ check transport: f->gso_size == 0 || f->l4_off < len;
	//@ check inner: f->ip_off < len;
	return;
}

static void prove_plain(size_t len)
{
	uint8_t *hdr = any_bytes(sizeof(struct vnet_hdr));
	uint8_t *pkt = any_bytes(len);
	struct vnet_frame frame;

	if (vnet_parse_frame((void *)hdr, pkt, len, &frame) == VNET_OK)
		check(&frame, len);
	if (vnet_parse_frame(NULL, pkt, len, &frame) == VNET_OK)
		check(&frame, len);
	free(hdr);
	free(pkt);
}

static void prove_tunnel(size_t len)
{
	uint8_t *hdr = any_bytes(sizeof(struct vnet_tunnel_hdr));
	uint8_t *pkt = any_bytes(len);
	struct vnet_frame frame;

	if (vnet_parse_tunnel_frame((void *)hdr, pkt, len, &frame) == VNET_OK)
		check(&frame, len);
	free(hdr);
	free(pkt);
}

int main(void)
{
	static const size_t more[] = { 80, 100, 1500, 65535, 65575, 65576 };

	for (size_t len = 0; len <= 64; len++)
		prove_plain(len);
	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
		prove_plain(more[i]);
	for (size_t len = 0; len <= 40; len++)
		prove_tunnel(len);
	prove_tunnel(70);
	prove_tunnel(112);
	must_be_reached();
	return 0;
}
