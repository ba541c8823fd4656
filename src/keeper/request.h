/* SPDX-License-Identifier: MIT */
/*
 * The messages between keeper and engine. Each has a fixed size, and is one message of
 * a Unix socket of the kind SOCK_SEQPACKET. Both ends run on one machine, so numbers
 * have its byte order.
 *
 * The keeper takes each request as if an enemy had sent it: request_check() looks at all
 * of its bytes before anything else does.
 *
 * Any thread.
 */
#ifndef KEEPER_REQUEST_H
#define KEEPER_REQUEST_H

#include <stddef.h>
#include <stdint.h>

enum {
	/* Version of all messages here. */
	REQUEST_VERSION = 1,
	/* Questions of one request. */
	REQUEST_QUESTIONS_MAX = 64,
	/* Descriptors that the keeper keeps for the next engine. Each engine has another
	 * one kept in each slot: what an engine has left there must not stay, because
	 * it may be a socket that has the port. */
	REQUEST_SLOTS = 1,
	/* The slot for the memory of the journal. */
	REQUEST_SLOT_JOURNAL = 0,
	/* Most sockets of a group: QUEUES_MAX. */
	REQUEST_SOCKETS_MAX = 8,
	/* Bytes of the name of a thread, and of the reason of a failure, with the
	 * final 0. */
	REQUEST_NAME_CAP = 16,
	REQUEST_WHY_CAP = 400,
	/* The bits of request_state.flags. */
	REQUEST_UP = 1 << 0,
	REQUEST_ANSWERS = 1 << 1,
	REQUEST_APPLIED = 1 << 2,
	REQUEST_FLAGS = (1 << 3) - 1,
};

/**
 * enum request_kind - what an engine may ask for
 * @REQUEST_OPEN:	open UDP sockets on a port, with a mark
 * @REQUEST_CLOSE:	forget sockets, and close them
 * @REQUEST_MARK:	give sockets another mark
 * @REQUEST_ASK:	do these local addresses still hold?
 * @REQUEST_REMOVE:	remove the files of the configuration and statistics sockets
 * @REQUEST_KEEP:	keep the descriptor that comes with this, for the next engine
 * @REQUEST_READY:	the engine has given up its rights, and serves
 * @REQUEST_STATE:	what the service manager is told
 * @REQUEST_FAILED:	the engine could not start
 */
enum request_kind {
	REQUEST_OPEN = 1,
	REQUEST_CLOSE,
	REQUEST_MARK,
	REQUEST_ASK,
	REQUEST_REMOVE,
	REQUEST_KEEP,
	REQUEST_READY,
	REQUEST_STATE,
	REQUEST_FAILED,
	REQUEST_KINDS,
};

/**
 * struct request_head - the begin of each request
 * @version:	REQUEST_VERSION
 * @kind:	enum request_kind
 * @number:	of the request; the reply has the same
 */
struct request_head {
	uint8_t version;
	uint8_t kind;
	uint16_t number;
};

/**
 * struct request_open - what sockets to open
 * @mark:	their mark
 * @port:	0: any
 * @n:		how many, of a group if they are more than one
 * @zero:	0
 */
struct request_open {
	uint32_t mark;
	uint16_t port;
	uint8_t n;
	uint8_t zero[1];
};

struct request_close {
	uint32_t set;
};

struct request_mark {
	uint32_t set;
	uint32_t mark;
};

/* As struct rights_question. An IPv4 address has the first 4 bytes, and the others are
 * 0. */
struct request_question {
	uint8_t is_v6;
	uint8_t zero[3];
	uint8_t source[16];
	uint8_t destination[16];
	uint16_t source_port;
	uint16_t destination_port;
	uint32_t ifindex;
};

/* The first @n questions count, and all bytes behind them are 0. */
struct request_ask {
	uint32_t mark;
	uint32_t n;
	struct request_question questions[REQUEST_QUESTIONS_MAX];
};

struct request_keep {
	uint32_t slot;
};

/**
 * struct request_state - what the service manager is told
 * @flags:	REQUEST_UP: the interface is up; REQUEST_ANSWERS: this answers
 *		NEWS_PING; REQUEST_APPLIED: a configuration was applied
 * @err:	the -errno of opening the sockets, or 0
 * @n_peers:	peers
 * @n_sessions:	peers with a session
 * @port:	UDP port
 * @zero:	0
 * @stalled:	name of the thread that makes no progress, or empty
 */
struct request_state {
	uint32_t flags;
	int32_t err;
	uint32_t n_peers;
	uint32_t n_sessions;
	uint16_t port;
	uint8_t zero[2];
	char stalled[REQUEST_NAME_CAP];
};

struct request_failed {
	int32_t err;
	char why[REQUEST_WHY_CAP];
};

/* A request: its head, and the body of its kind. REMOVE and READY have no body. */
struct request {
	struct request_head head;
	union {
		struct request_open open;
		struct request_close close;
		struct request_mark mark;
		struct request_ask ask;
		struct request_keep keep;
		struct request_state state;
		struct request_failed failed;
	};
};

/**
 * request_len() - how long requests of a kind are
 * @kind:	kind
 *
 * Return: bytes; 0: there is no such kind.
 */
size_t request_len(uint8_t kind);

/**
 * request_check() - may a request be served?
 * @request:	the message; any bytes will do
 * @len:	its length
 * @n_fds:	descriptors that came with it
 *
 * Checks version, kind and length, that reserved bytes are 0, that numbers are in their
 * range, and that texts are printable and end. A REQUEST_KEEP must have one descriptor,
 * and no other request may have any.
 *
 * Return: 0; -EPROTO.
 */
int request_check(const struct request *request, size_t len,
		  unsigned int n_fds);

/* ------------------------------------------------------------ replies */

enum {
	REPLY_STEP_CAP = 24,
};

/**
 * struct reply_family - how one family was opened
 * @err:	see struct ug_family_report
 * @rcvbuf:	bytes of the receive buffer of the main socket
 * @sndbuf:	bytes of its send buffer
 * @n_fds:	how many descriptors the first socket of a group has in this family: 0, or
 *		one for the main socket and one for each side socket. If it is not 0, each
 *		further socket of the group has one.
 * @step:	see struct ug_family_report
 */
struct reply_family {
	int32_t err;
	uint32_t rcvbuf;
	uint32_t sndbuf;
	uint32_t n_fds;
	char step[REPLY_STEP_CAP];
};

/**
 * struct reply - the answer to a request
 * @kind:	of the request
 * @number:	of the request
 * @err:	0; -errno
 * @set:	REQUEST_OPEN: the number of the sockets
 * @port:	REQUEST_OPEN: their port
 * @steering_err: REQUEST_OPEN: 0; -errno of the steering program of a group
 * @families:	REQUEST_OPEN: IPv4 and IPv6; set on failure, too
 * @answers:	REQUEST_ASK: enum rights_answer_kind, and the interface
 */
struct reply {
	uint16_t kind;
	uint16_t number;
	int32_t err;
	uint32_t set;
	uint32_t port;
	int32_t steering_err;
	struct reply_family families[2];
	struct {
		uint32_t kind;
		uint32_t ifindex;
	} answers[REQUEST_QUESTIONS_MAX];
};

#endif /* KEEPER_REQUEST_H */
