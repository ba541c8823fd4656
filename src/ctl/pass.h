/* SPDX-License-Identifier: MIT */
/* Descriptors of a tunnel's inner side, passed from process to process over a Unix
 * socket of type SOCK_SEQPACKET. */
#ifndef CTL_PASS_H
#define CTL_PASS_H

#include "ctl/inner.h"

/**
 * pass_send() - send descriptors
 * @sock:	the socket
 * @inner:	the descriptors; they stay open here
 *
 * Return: 0; -errno.
 */
int pass_send(int sock, const struct inner *inner);

/**
 * pass_receive() - wait for descriptors
 * @sock:	the socket
 * @inner:	filled on success
 *
 * Return: 0; -EPIPE: the other side has closed the socket; -EPROTO: something else was
 * sent; -errno.
 */
int pass_receive(int sock, struct inner *inner);

#endif /* CTL_PASS_H */
