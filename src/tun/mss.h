/* SPDX-License-Identifier: MIT */
/*
 * The MSS option of TCP (RFC 9293, section 3.7.1), by which each end says how long the
 * segments to it may be. Lowering it on the way has both ends send what fits a tunnel,
 * also if no ICMP message reaches them (RFC 4459, section 3.2).
 */
#ifndef TUN_MSS_H
#define TUN_MSS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* mss_is_syn() - may mss_clamp() change this packet? Faster than that call. Any thread. */
bool mss_is_syn(const uint8_t *pkt, size_t len);

/**
 * mss_clamp() - lower the MSS of a SYN
 * @pkt:	IP packet of any alignment; changed if it is a TCP SYN whose MSS is
 *		too large
 * @len:	its length, may be 0
 * @mtu:	the longest packet that passes
 * @is_partial:	the checksum field holds the sum of the pseudo header, and the rest
 *		is added later
 *
 * A SYN without the option is left as it is: segments to its sender are short then.
 * So is one in fragments, or behind IPv6 extension headers. Any thread.
 *
 * Return: true if the packet was changed.
 */
bool mss_clamp(uint8_t *pkt, size_t len, size_t mtu, bool is_partial);

#endif /* TUN_MSS_H */
