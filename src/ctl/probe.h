/* SPDX-License-Identifier: MIT */
/*
 * Probes of the command `why`: pings, and a datagram to the endpoint of a peer. They are
 * the only packets that wiregatherctl sends.
 */
#ifndef CTL_PROBE_H
#define CTL_PROBE_H

#include "ctl/network.h"

enum {
	/* The least size of a ping: the headers, and a number to know it by. */
	CTL_PING_LEN = 64,
};

/**
 * ctl_ping() - send an echo request, and wait for the answer
 * @to:		address
 * @len:	bytes of the packet with its IP header, at least CTL_PING_LEN; it may
 *		not be cut on the way
 * @mark:	mark of the packet; 0: none
 * @timeout_ms:	how long to wait
 *
 * It needs no right where net.ipv4.ping_group_range has the user's group; elsewhere it
 * needs CAP_NET_RAW.
 *
 * Return: 1: there was an answer; 0: there was none; -EACCES or -EPERM: this user may
 * not ping or set a mark, or a rule of this host's firewall forbids it; -EMSGSIZE: the
 * packet is too long for the way; another -errno, such as -EHOSTUNREACH: an ICMP error
 * came instead.
 */
int ctl_ping(const union ctl_address *to, size_t len, uint32_t mark,
	     int timeout_ms);

/**
 * ctl_knock() - send one datagram of one byte, and wait for an ICMP error
 * @to:		address and port
 * @mark:	mark of the packet; 0: none
 * @timeout_ms:	how long to wait
 *
 * WireGuard never answers such a datagram. But a host on which nobody has the port says
 * so, and so do firewalls that reject.
 *
 * Return: 0: nothing came; -ECONNREFUSED: nobody has the port, or a firewall rejects;
 * -EPERM: a rule of this host's firewall forbids it; -EACCES: this user may set no
 * mark; another -errno.
 */
int ctl_knock(const union ctl_address *to, uint32_t mark, int timeout_ms);

#endif /* CTL_PROBE_H */
