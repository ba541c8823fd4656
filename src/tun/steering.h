/* SPDX-License-Identifier: MIT */
/*
 * Steering: which queue of a TUN device hands out a packet.
 *
 * Without steering the kernel keeps a table of flows. It hands out the packets
 * of a flow by the queue that has last written a packet of this flow, in either
 * direction. So a flow whose packets are written by several queues moves to and
 * fro, and packets that still wait in one queue are overtaken by those in the
 * next (drivers/net/tun.c: tun_flow_update()).
 *
 * With steering a program in the kernel names the queue. It hashes the addresses,
 * and of TCP the ports, so a flow stays in one queue.
 */
#ifndef TUN_STEERING_H
#define TUN_STEERING_H

#include "tun/sys.h"

/**
 * steering_set() - have the kernel choose queues by a hash of the flow
 * @sys:	system calls
 * @fd:		a queue of the device; the choice holds for all its queues
 *
 * Needs the right to load programs into the kernel (CAP_BPF, or root), and
 * Linux 4.16.
 *
 * Return: 0; -EPERM; -ENOSYS; another -errno. After an error the kernel goes on
 * as without steering.
 */
int steering_set(const struct tun_sys *sys, int fd);

#endif /* TUN_STEERING_H */
