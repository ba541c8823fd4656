/* SPDX-License-Identifier: MIT */
/* The part that ug_receive() and ug_receive_trains() share: filling, and waiting. */
#ifndef UDPGATHER_RECEIVE_H
#define UDPGATHER_RECEIVE_H

#include "udpgather/receiver.h"
#include "udpgather/socket.h"

/**
 * struct receive_call - one call of ug_receive() or ug_receive_trains()
 * @r:		its receiver, which has no pending datagrams
 * @sock:	its socket
 * @family:	AF_INET, AF_INET6 or AF_UNSPEC; it is open
 * @hand_out:	hand out what the receiver holds. Return: how much that was; 0
 *		if all of it was dropped.
 * @arg:	for @hand_out
 * @buffers:	@n_buffers entries of @buffer_size bytes, whose buffers are filled
 * @buffer_size: at least sizeof(struct ug_received)
 * @n_buffers:	0 to fill the slots
 * @tells_all:	without UG_WANT_ERRORS, end with -EBADMSG instead of dropping entries
 *		of the error queue; and end with -EBUSY when the bound of dropped
 *		messages is reached
 */
struct receive_call {
	struct ug_receiver *r;
	struct ug_socket *sock;
	int family;
	size_t (*hand_out)(struct ug_receiver *r, void *arg);
	void *arg;
	const struct ug_received *buffers;
	size_t buffer_size;
	unsigned int n_buffers;
	bool tells_all;
};

/**
 * ug_receive_call() - fill and hand out, and wait if there is nothing
 * @c:		the call
 * @timeout_ms:	as for ug_receive()
 *
 * Return: what @hand_out returned, more than 0; -EAGAIN if @timeout_ms is 0 and all
 * that was asked for is empty; -ETIMEDOUT; -EINTR; -ECANCELED; -EBUSY; -EBADMSG; else
 * -errno of recvmmsg(2).
 */
int ug_receive_call(const struct receive_call *c, int timeout_ms);

#endif /* UDPGATHER_RECEIVE_H */
