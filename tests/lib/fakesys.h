/* SPDX-License-Identifier: MIT */
/*
 * A kernel made of rules, behind the library's table of system calls.
 *
 * Sending: a rule accepts each message or returns an errno. An accepted message
 * is cut into datagrams from its vectors, as the kernel does, and logged with
 * its destination and control data. A test therefore sees the bytes that a
 * receiver would see, also if they are wrong.
 *
 * Sockets: the first open socket of a family has the descriptor FAKE_FD4 or
 * FAKE_FD6; each further one adds FAKE_NEXT. Several may be bound to one port
 * if all have SO_REUSEPORT when a further one is bound. A connected socket has
 * FAKE_LOCAL4 or FAKE_LOCAL6 as its own address. If the kernel chose the port, it is
 * lost at the end of a connection, and so is the interface.
 *
 * Waking: there is one eventfd, FAKE_WAKE_FD. poll() reports it if it has units.
 * The test's rule for poll() does not see it.
 *
 * Error queues: fake_push_error() fills them. poll(2) without a timeout reports
 * POLLERR for a descriptor whose queue has an entry, if the test says nothing else.
 *
 * Errors by call: the n-th call to send, counted from 0, fails with errs[n]
 * without asking a rule, if errs[n] is not 0. short_at is the most messages
 * that one call takes.
 */
#ifndef TESTS_LIB_FAKESYS_H
#define TESTS_LIB_FAKESYS_H

#include <net/if.h>

#include "udpgather/control.h"
#include "udpgather/sys.h"

enum {
	/*
	 * Numbers far above the descriptors that a test program opens. The last
	 * digit tells the family, therefore FAKE_NEXT is 10.
	 */
	FAKE_FD4 = 1004,
	FAKE_FD6 = 1006,
	FAKE_WAKE_FD = 1007,
	FAKE_NEXT = 10,
	/* Places for each family and in each log. An assertion fails if there
	 * are too few, except that errs[] has no error for later calls. */
	FAKE_SOCKETS = 20,
	FAKE_LOG = 4096,
	FAKE_ERRS = 64,
	FAKE_ERRORS = 1024,
	FAKE_OPTIONS = 512
};

#define FAKE_LOCAL4 "10.0.0.77"
#define FAKE_LOCAL6 "fd00::77"

/* A socket option, as it was last set. */
struct fake_option {
	int fd;
	int level;
	int name;
	int value;
};

/* A message, as it is passed to a rule. */
struct fake_message {
	int fd;
	const struct msghdr *h;
	struct ug_endpoint to;
	struct control_info control;
	int tos; /* -1: none was sent */
	int ttl; /* the same */
	size_t bytes;
	size_t segment_len; /* 0: not segmented */
	uint64_t time_ns;   /* SCM_TXTIME, 0: none */
};

/* An entry of an error queue. */
struct fake_error {
	int fd;
	struct ug_error error;
	uint32_t info;
	/* How the entry is spoilt: no address; control data that is cut. */
	bool nameless;
	bool broken;
};

/* A datagram, as a receiver would get it. */
struct fake_datagram {
	int fd; /* the socket that it left by */
	struct ug_endpoint to;
	bool has_source;
	uint32_t ifindex; /* of its source */
	int tos;	  /* -1: its message has none */
	int ttl;	  /* the same */
	bool has_name;	  /* its message had an address */
	size_t len;
	uint32_t number; /* its first four bytes; 0 if it has fewer */
	bool whole;	 /* its bytes are those of fake_payload() for @number */
	size_t train;	 /* datagrams in its message */
};

struct fake {
	/* Rules and errors. */
	int (*rule)(const struct fake_message *m);
	int errs[FAKE_ERRS];
	size_t short_at;    /* 0: no limit */
	bool takes_nothing; /* sendmmsg returns 0 */
	bool no_mmsg;
	size_t fail_socket_call; /* of opening, from 1; 0: none */
	int fail_socket_err;
	int lacks_family;	     /* sockets of this family cannot be made */
	uint16_t busy_from, busy_to; /* IPv6 ports that another process has */
	bool gro_unreadable;
	bool no_segment;
	bool refuses_marks; /* as without CAP_NET_ADMIN */
	const char *release;
	int outq; /* bytes that wait in the socket; -1: SIOCOUTQ fails */
	int (*outq_of)(int fd); /* if set, instead of outq */
	/* Receiving: fill messages, return how many, or -errno. */
	int (*receive)(int fd, struct mmsghdr *msgs, unsigned int n);
	/* Called to sleep; if it sets no revents, they are the requested
	 * events. */
	int (*poll)(struct pollfd *fds, nfds_t n, int timeout_ms);
	bool signal_in_pause;	/* a sleep without descriptors is interrupted */
	short (*ready)(int fd); /* what poll finds without a timeout */
	int (*membarrier)(void); /* called to make a barrier; NULL: success */
	bool no_membarrier;
	size_t error_queue; /* empty entries for MSG_ERRQUEUE */
	struct fake_error errors[FAKE_ERRORS]; /* see fake_push_error() */
	size_t n_errors;
	int eventfd_err; /* eventfd() fails */
	/* Log. */
	size_t mmsg_calls; /* of sendmmsg and recvmmsg, refused by no_mmsg */
	size_t send_calls;
	size_t socket_calls;
	size_t receive_calls;
	size_t polls;
	size_t membarriers;
	size_t pauses;		     /* polls of no descriptor */
	size_t eventfds;	     /* that were made */
	uint64_t wake_units;	     /* in the eventfd */
	struct ug_endpoint bound_to; /* by the last bind() */
	unsigned long pacing_rate;   /* of the socket that was set last */
	size_t n_options;
	struct fake_option options[FAKE_OPTIONS];
	int open_fds;
	bool is_open[2][FAKE_SOCKETS];
	uint16_t port_of[2][FAKE_SOCKETS]; /* 0: not bound */
	bool chose_port[2][FAKE_SOCKETS];
	struct ug_endpoint peer_of[2][FAKE_SOCKETS]; /* of no family: none */
	char device_of[2][FAKE_SOCKETS][IFNAMSIZ];
	size_t n_connects;
	int bound[2 * FAKE_SOCKETS]; /* descriptors, as they were bound */
	/* Did they have SO_REUSEPORT then? */
	bool bound_shared[2 * FAKE_SOCKETS];
	size_t n_bound;
	int64_t now_ms;
	size_t n;
	struct fake_datagram log[FAKE_LOG];
};

extern struct fake fake;
extern uint16_t fake_bound_port[2]; /* IPv4, IPv6 */
extern const struct ug_sys fake_sys;

/* fake_reset() - remove all rules and errors, and empty the log */
void fake_reset(void);

/* fake_family() - the family of a descriptor */
int fake_family(int fd);

/* fake_option() - the value of an option; -1 if it was never set */
int fake_option(int fd, int level, int name);

/* fake_set_option() - as setsockopt(2) */
void fake_set_option(int fd, int level, int name, int value);

/* fake_push_error() - append an entry to the error queue of its descriptor */
void fake_push_error(const struct fake_error *e);

/* fake_has_error() - does an entry wait in a descriptor's queue? */
bool fake_has_error(int fd);

/* fake_read_error() - as recvmsg(2) with MSG_ERRQUEUE */
ssize_t fake_read_error(int fd, struct msghdr *msg);

/* fake_payload() - the bytes of datagram @number: number, then a pattern */
void fake_payload(unsigned char *out, size_t len, uint32_t number);

#endif /* TESTS_LIB_FAKESYS_H */
