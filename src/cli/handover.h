/* SPDX-License-Identifier: MIT */
/*
 * An upgrade without loss: one engine, the predecessor, hands its tunnel to another one,
 * the successor, which is made of another program. The keeper gives both an end of one
 * connection (keeper/channel.h). These messages pass on it, in this order:
 *
 *	successor	HANDOVER_HELLO		it is there, and has no configuration
 *	predecessor	HANDOVER_CONFIG		a copy of its journal, and memory for the
 *						early state and for the last one, which are
 *						not written yet. From now on clients of its
 *						sockets wait.
 *	successor	HANDOVER_PREPARED	it has the configuration, and its filter
 *	predecessor	HANDOVER_EARLY		the early state is written, while packets
 *						go on
 *	successor	HANDOVER_READY		it has applied the early state
 *	predecessor	HANDOVER_STATE		its threads rest, and the last state is
 *						written
 *	successor	HANDOVER_TAKEN		it has won the owner word, and serves
 *	predecessor	HANDOVER_CLIENTS	connections of clients; the last message has
 *						none
 *
 * The owner word (handover/owner.h) decides who goes on. Before the successor has won it,
 * it has neither sent nor accepted anything, and the predecessor can go on as if nothing
 * had happened. It does so if the connection ends, or if a message does not come in time.
 * Then it takes the word for itself, so the successor cannot win it any more.
 */
#ifndef CLI_HANDOVER_H
#define CLI_HANDOVER_H

#include <stdint.h>

#include "base/clock.h"

enum handover_kind {
	HANDOVER_HELLO = 1,
	HANDOVER_CONFIG,
	HANDOVER_PREPARED,
	HANDOVER_EARLY,
	HANDOVER_READY,
	HANDOVER_STATE,
	HANDOVER_TAKEN,
	HANDOVER_CLIENTS,
};

enum {
	/* Version of the messages. */
	HANDOVER_VERSION = 2,
	/* Descriptors of HANDOVER_CONFIG. */
	HANDOVER_CONFIG_FDS = 3,
	/* Connections in one message: half of CHANNEL_FDS_MAX. */
	HANDOVER_CLIENTS_MAX = 16,
};

/* How long one side waits for the other while packets still pass. A choice, below the
 * time that the keeper gives an upgrade. */
#define HANDOVER_PATIENCE_NS (8 * NSEC_PER_SEC)

/* The longest time for which the predecessor waits while its threads rest; then it goes on
 * itself. There is a part for any tunnel, and a part for each peer. Choices: about ten
 * times what an upgrade takes, since the machine may be busy. */
#define HANDOVER_REST_NS      (300 * NSEC_PER_MSEC)
#define HANDOVER_PEER_REST_NS (NSEC_PER_MSEC / 20)

/**
 * struct handover_message - a message
 * @version:	HANDOVER_VERSION
 * @kind:	enum handover_kind
 * @is_open:	CONFIG and STATE: the UDP sockets are open
 * @n_config:	CLIENTS: so many descriptors are clients of the configuration socket
 * @n_stats:	CLIENTS: so many behind them are clients of the statistics socket
 * @zero:	0
 * @paused_ns:	STATE: when the threads began to rest, of now_monotonic()
 */
struct handover_message {
	uint32_t version;
	uint32_t kind;
	uint32_t is_open;
	uint32_t n_config;
	uint32_t n_stats;
	uint32_t zero;
	uint64_t paused_ns;
};

/**
 * handover_send() - send a message, without waiting
 * @fd:		connection to the other engine
 * @message:	all but its version
 * @fds:	descriptors that go with it; they stay the caller's
 * @n_fds:	their count
 *
 * Return: 0; -errno of channel_send().
 */
int handover_send(int fd, const struct handover_message *message,
		  const int *fds, unsigned int n_fds);

/**
 * handover_receive() - take a message, without waiting
 * @fd:		connection to the other engine
 * @wanted:	which one must come next
 * @message:	filled
 * @fds:	filled with the descriptors that came with it; room for
 *		CHANNEL_FDS_MAX
 * @n_fds:	set to their count; 0 after an error
 *
 * Return: 0; -EAGAIN: there is none; -EPIPE: the other engine is gone; -EPROTO: it is
 * another message, or of another version; -errno.
 */
int handover_receive(int fd, enum handover_kind wanted,
		     struct handover_message *message, int *fds,
		     unsigned int *n_fds);

/**
 * handover_await() - wait for a message
 * @patience_ns: the longest wait
 *
 * The other arguments are those of handover_receive().
 *
 * Return: as handover_receive(); -ETIMEDOUT.
 */
int handover_await(int fd, enum handover_kind wanted, uint64_t patience_ns,
		   struct handover_message *message, int *fds,
		   unsigned int *n_fds);

#endif /* CLI_HANDOVER_H */
