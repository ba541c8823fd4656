/* SPDX-License-Identifier: MIT */
/*
 * A super-packet: a packet of up to 64 KiB that is to be cut, the largest that
 * a TUN gives.
 */
#ifndef BENCH_SUPER_PACKET_H
#define BENCH_SUPER_PACKET_H

#include "tun/vnet.h"

/**
 * super_packet_make() - an IPv4 super-packet as the kernel hands it out
 * @super:	filled: headers, and a payload without a pattern
 * @len:	bytes of both
 * @proto:	IP_PROTO_TCP or IP_PROTO_UDP
 * @gso_size:	payload of a segment
 * @frame: filled: the description by which it is cut
 *
 * Ends the program if there can be no such packet.
 */
void super_packet_make(uint8_t *super, size_t len, uint8_t proto,
		       uint16_t gso_size, struct vnet_frame *frame);

#endif /* BENCH_SUPER_PACKET_H */
