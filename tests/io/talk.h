/* SPDX-License-Identifier: MIT */
/*
 * Sockets of the library that send each other short texts. A call that fails ends
 * the test, unless it says otherwise.
 */
#ifndef TESTS_IO_TALK_H
#define TESTS_IO_TALK_H

#include "udpgather.h"

extern struct ug_batch *batch;
extern struct ug_receiver *rcv;
extern struct ug_view views[64];

/* at() - the endpoint of a host, such as "[::1]", and a port */
struct ug_endpoint at(const char *host, uint16_t port);

/* opened() - ug_open() with these options, which may be NULL */
struct ug_socket *opened(const struct ug_options *opt);

/* udp_socket() - a plain socket, bound to a port of the kernel's choice */
int udp_socket(int family, bool v6only);

/* The timeout of the two functions below; 0 at first. */
extern int send_timeout_ms;

/* send_text() - send a text @n times. Return: the status of all. */
int send_text(struct ug_socket *sock, const struct ug_endpoint *to,
	      const char *text, size_t n);

/* send_tos() - send "tos" twice with this TOS. Return: the status of both. */
int send_tos(struct ug_socket *sock, const struct ug_endpoint *to, uint8_t tos);

/* expect_text() - expect @n datagrams with this text; views[0] then has the last
 * one */
void expect_text(struct ug_socket *sock, const char *text, size_t n);

/* For cmocka_run_group_tests(): the batch and the receiver. */
int talk_setup(void **state);
int talk_teardown(void **state);

#endif /* TESTS_IO_TALK_H */
