/* SPDX-License-Identifier: MIT */
/*
 * Networks to measure on: new network namespaces, so that the machine's
 * firewall and traffic do not affect the figures.
 *
 * The namespaces have no names. However the process ends, the kernel then
 * removes them with all their content, so there is nothing to clean up.
 */
#ifndef BENCH_NET_H
#define BENCH_NET_H

#include <netinet/in.h>
#include <stddef.h>

/**
 * struct net - a sender's and a receiver's end of one link
 * @sender_ns:	descriptor of the namespace to open the sending sockets in
 * @receiver_ns: descriptor of the namespace of the receiving socket
 * @receiver:	the receiver's address; its port is 0
 * @mtu:	bytes that the link takes in one packet, IP header included
 */
struct net {
	int sender_ns;
	int receiver_ns;
	struct sockaddr_in receiver;
	size_t mtu;
};

/**
 * net_init_loopback() - one namespace with lo up
 * @net:	filled on success
 *
 * Leaves the calling thread in the sender's namespace, as net_init_veth() does.
 * Call either before other threads start.
 *
 * Return: 0; -EPERM without CAP_SYS_ADMIN; another -errno; -EIO if ip(8)
 * failed, which has said why.
 */
int net_init_loopback(struct net *net);

/**
 * net_init_veth() - two namespaces and a veth pair of MTU 1500 between them
 * @net:	filled on success
 *
 * Return: as net_init_loopback().
 */
int net_init_veth(struct net *net);

/**
 * net_ip() - run ip(8) in the namespace of the calling thread
 * @line:	its arguments, separated by single blanks
 *
 * Return: 0; -errno; -EIO if it failed, which has said why.
 */
int net_ip(const char *line);

/**
 * net_enter() - move the calling thread to a namespace
 * @ns:		one of the two descriptors of a struct net
 *
 * Sockets stay in the namespace that they were opened in.
 *
 * Return: 0 or -errno.
 */
int net_enter(int ns);

#endif /* BENCH_NET_H */
