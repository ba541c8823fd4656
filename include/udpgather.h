/* SPDX-License-Identifier: MIT */
/**
 * DOC: libudpgather - batches of UDP datagrams by scatter-gather
 *
 * A batch of datagrams goes to the kernel as vectors, through sendmmsg(2),
 * and UDP_SEGMENT tells the kernel where to cut. The library copies short
 * vectors into one, where that is faster, and no other payload.
 * Datagrams come back merged through recvmmsg(2) with UDP_GRO, and are handed
 * out as views into the memory that the kernel wrote.
 *
 * Words: a *datagram* is what the peer receives. A *train* is several
 * datagrams that one message carries, all of one size (the *segment size*)
 * but for a shorter last one. An *endpoint* is a remote address and port,
 * with the local address that answers it (its *source*).
 *
 * Errors: 0, or a count, is success; a negative number is -errno. The page
 * libudpgather(3) says what follows from each error of the kernel.
 *
 * Threads: any number of threads may use a socket at once; a batch and a
 * receiver belong to one thread at a time. "Any thread" below means that the
 * call may run beside every other call on the same objects. The "owner" of a
 * batch or a receiver is the one thread that uses it at that time.
 *
 * Lengths are in bytes. Functions without a timeout do not sleep, except for
 * ug_set_merging(), which may sleep for some tens of milliseconds.
 */
#ifndef UDPGATHER_H
#define UDPGATHER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ug_socket;   /* one UDP port, in IPv4, IPv6 or both */
struct ug_batch;    /* what one sending thread needs between calls */
struct ug_receiver; /* slots for received messages */

enum {
	/* The most datagrams in a train. Linux before 6.9 refuses more. */
	UG_MAX_SEGMENTS = 64,
	/* The most bytes in a train: above, the kernel cuts in software. */
	UG_MAX_TRAIN_IPV4 = 65493,
	UG_MAX_TRAIN_IPV6 = 65473,
	/* The most bytes in a datagram (65,535 less the headers). */
	UG_MAX_DATAGRAM_IPV4 = 65507,
	UG_MAX_DATAGRAM_IPV6 = 65527,
	UG_MAX_VECTORS = 1024,	 /* in a datagram and in a message (IOV_MAX) */
	UG_MAX_BATCH = 1024,	 /* datagrams that a batch looks at together */
	UG_MAX_SLOTS = 1024,	 /* of a receiver */
	UG_MAX_SIDE_SOCKETS = 8, /* of a family */
	UG_ENDPOINT_TEXT = 80,	 /* for ug_endpoint_print(), with the final 0 */
	UG_RECEIVED_CLASSES = 129, /* longer received trains are one class */
};

/* The version compiled with; ug_version() tells the version that runs, as text
 * such as "1.0.0". Any thread. */
#define UG_VERSION_MAJOR 1
#define UG_VERSION_MINOR 0
#define UG_VERSION_PATCH 0
const char *ug_version(void);

/* -------------------------------------------------------------- Endpoints */

enum {
	UG_SOURCE_NONE = 0,
	/* This source stays through ug_network_changed(). */
	UG_SOURCE_PINNED = 1,
	/* Above: the generation of the network that it was learned in. */
};

/**
 * struct ug_source - the local address to send from: raw packet info
 * @addr:	the address in network order; IPv4 in the first four bytes
 * @ifindex:	the interface that a datagram came in by, 0 for unknown. It
 *		decides the interface to send by if @addr is link-local IPv6, or
 *		if the socket has the option follow_interface; else the route
 *		decides.
 * @state:	UG_SOURCE_NONE; UG_SOURCE_PINNED; above, the generation in which
 *		it was learned: a source of another generation than the
 *		socket's is not used.
 */
struct ug_source {
	uint8_t addr[16];
	uint32_t ifindex;
	uint32_t state;
};

/**
 * struct ug_endpoint - where to send to, and from which local address
 * @addr:	the remote address and port; sin6_scope_id is the zone
 * @source:	the local address, all zero for "the kernel chooses"
 *
 * A plain value: copy it, store it, clear it with memset. The library never
 * changes an endpoint that it is given for sending.
 */
struct ug_endpoint {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} addr;
	struct ug_source source;
};

/**
 * ug_endpoint_parse() - read "1.2.3.4:51820" or "[fe80::1%eth0]:51820"
 * @ep:		filled on success: no source
 * @text:	a numeric address and a port of 1 to 65535. The zone of an
 *		IPv6 address may be a number or an interface's name.
 *
 * An IPv4-mapped IPv6 address becomes an IPv4 endpoint. If there is a zone, the
 * call opens a UDP socket for a moment, to ask for the interface. Any thread.
 *
 * Return: 0; -EINVAL for anything else than the above; -ENODEV for a zone
 * that names no interface of this network namespace.
 */
int ug_endpoint_parse(struct ug_endpoint *ep, const char *text);

/**
 * ug_endpoint_print() - write an endpoint as ug_endpoint_parse() reads it
 * @ep:		an IPv4 or IPv6 endpoint
 * @buf:	filled on success, with a final 0
 * @cap:	bytes at @buf; UG_ENDPOINT_TEXT is always enough
 *
 * A zone is printed as the interface's name, or as a number if it has none
 * here. If there is a zone, the call opens a UDP socket for a moment, to ask for
 * that name: socket(2), ioctl(2) and close(2), which a filter of system calls has
 * to allow. Any thread.
 *
 * Return: the length without the final 0; -EAFNOSUPPORT for an endpoint of no
 * family; -ENOSPC.
 */
int ug_endpoint_print(const struct ug_endpoint *ep, char *buf, size_t cap);

/**
 * ug_endpoint_print_numeric() - the same, with the zone as a number
 * @ep:		an IPv4 or IPv6 endpoint
 * @buf:	filled on success, with a final 0
 * @cap:	bytes at @buf; UG_ENDPOINT_TEXT is always enough
 *
 * It makes no system call. Any thread.
 *
 * Return: as ug_endpoint_print().
 */
int ug_endpoint_print_numeric(const struct ug_endpoint *ep, char *buf,
			      size_t cap);

/**
 * ug_endpoint_set() - make an endpoint of a socket address
 * @ep:		filled on success: no source
 * @sa:		a sockaddr_in or sockaddr_in6; IPv4-mapped becomes IPv4
 * @len:	bytes at @sa
 *
 * Any thread.
 *
 * Return: 0; -EAFNOSUPPORT for another family; -EINVAL if @len is too short.
 */
int ug_endpoint_set(struct ug_endpoint *ep, const struct sockaddr *sa,
		    socklen_t len);

/**
 * ug_endpoint_compare() - order endpoints by family, address, zone and port
 * @a:		an endpoint
 * @b:		another one
 *
 * The source does not count. Any thread.
 *
 * Return: less than, equal to or greater than 0.
 */
int ug_endpoint_compare(const struct ug_endpoint *a,
			const struct ug_endpoint *b);

/**
 * ug_endpoint_hash() - hash what ug_endpoint_compare() compares
 * @ep:		an endpoint
 * @seed:	a secret random number, if strangers choose the addresses
 *
 * Fast, and not a cryptographic function. Any thread.
 *
 * Return: 64 bits, the same for equal endpoints and one seed.
 */
uint64_t ug_endpoint_hash(const struct ug_endpoint *ep, uint64_t seed);

/**
 * ug_endpoint_set_source() - answer from the address that was written to
 * @ep:		the endpoint to change
 * @from:	the endpoint of a received view (struct ug_view), of the same
 *		family; its source is copied
 *
 * Any thread.
 *
 * Return: 0; -EAFNOSUPPORT if the families differ.
 */
int ug_endpoint_set_source(struct ug_endpoint *ep,
			   const struct ug_endpoint *from);

/**
 * ug_endpoint_pin_source() - choose the address to send from
 * @ep:		the endpoint to change; its source becomes UG_SOURCE_PINNED
 * @sa:		a sockaddr_in or sockaddr_in6 of the endpoint's family; its port
 *		does not count. An IPv4-mapped address counts as IPv4.
 * @len:	bytes at @sa
 * @ifindex:	the interface, 0 for none. If it is 0, sin6_scope_id is taken.
 *
 * The address may be the unspecified one (0.0.0.0, ::): with the option
 * follow_interface only the interface is chosen then. Whether the address and the
 * interface exist is seen when something is sent: see ug_refused_source(). Any
 * thread.
 *
 * Return: 0; -EAFNOSUPPORT if the families differ; -EINVAL if @len is too short.
 */
int ug_endpoint_pin_source(struct ug_endpoint *ep, const struct sockaddr *sa,
			   socklen_t len, uint32_t ifindex);

/**
 * ug_endpoint_pin_address() - the same, for an address without a family
 * @ep:		the endpoint to change; its source becomes UG_SOURCE_PINNED
 * @addr:	an address of the endpoint's family in network order: a struct
 *		in_addr or a struct in6_addr
 * @ifindex:	the interface, 0 for none
 *
 * Any thread.
 *
 * Return: 0; -EAFNOSUPPORT for an endpoint of no family.
 */
int ug_endpoint_pin_address(struct ug_endpoint *ep, const void *addr,
			    uint32_t ifindex);

/**
 * ug_endpoint_get_source() - tell the source as a socket address
 * @ep:		an endpoint, such as that of a received view
 * @port:	the port to write, in host order, such as ug_port(); or 0
 * @sa:		set on success to a sockaddr_in or sockaddr_in6 of the endpoint's
 *		family. sin6_scope_id is the interface if the address is
 *		link-local, else 0. ep->source.ifindex is the interface in any
 *		case.
 * @len:	bytes at @sa; set on success to the bytes that were written
 *
 * A source that is too old to be used is told, too. Any thread.
 *
 * Return: 0; -ENOENT if the endpoint has no source; -EAFNOSUPPORT for an endpoint
 * of no family; -ENOSPC if @len is too small.
 */
int ug_endpoint_get_source(const struct ug_endpoint *ep, uint16_t port,
			   struct sockaddr *sa, socklen_t *len);

/* ug_endpoint_clear_source() - let the kernel choose. Any thread. */
void ug_endpoint_clear_source(struct ug_endpoint *ep);

/* ---------------------------------------------------------------- Sockets */

/* What to do about path MTU: see IP_MTU_DISCOVER in ip(7). */
enum ug_pmtu {
	UG_PMTU_DEFAULT = 0, /* leave the kernel's setting */
	UG_PMTU_DONT,	     /* never DF: routers may fragment */
	UG_PMTU_WANT,	     /* DF by route, fragment what is too big */
	UG_PMTU_DO,	     /* always DF, refuse what is too big */
	UG_PMTU_PROBE,	     /* DF, ignore the route's MTU */
	UG_PMTU_INTERFACE,   /* never DF, the interface's MTU counts */
	UG_PMTU_OMIT,	     /* as INTERFACE, but fragments are sent */
};

enum ug_families {
	UG_BOTH = 0, /* a family that the kernel lacks is left out */
	UG_IPV4_ONLY,
	UG_IPV6_ONLY,
};

/* Events worth a line in a log; see struct ug_options. */
enum ug_notice {
	/* Datagrams to this address go alone from now on. */
	UG_NOTICE_ENDPOINT_UNSEGMENTED = 1,
	/* This address's trains have smaller segments from now on. */
	UG_NOTICE_ENDPOINT_CAPPED,
	/* A train to this address was tried again and has passed: neither of
	 * the above holds any more. */
	UG_NOTICE_ENDPOINT_RECOVERED,
	/* Datagrams to this endpoint piled up: it has a side socket now. */
	UG_NOTICE_ENDPOINT_ASIDE,
};

enum {
	/* Bits of @want in struct ug_options. */
	UG_WANT_ERRORS = 1,
	UG_WANT_TIME = 2,
	UG_WANT_TTL = 4,
	UG_WANT_DESTINATION = 8,
};

/* The clock of struct ug_train's time; see SO_TXTIME in socket(7). */
enum ug_clock {
	UG_CLOCK_NONE = 0,  /* the times of trains are not used */
	UG_CLOCK_MONOTONIC, /* CLOCK_MONOTONIC, for the qdisc fq */
	UG_CLOCK_TAI,	    /* CLOCK_TAI, for the qdisc etf */
};

/* A length of struct ug_options: do not set this buffer. A socket that ug_open()
 * makes then has the system's default. */
#define UG_BUFFER_KEEP ((size_t)-1)

/**
 * struct ug_options - how to open a socket; all zero but @size is a good one
 * @size:	sizeof(struct ug_options), for versions to come
 * @families:	which to open
 * @port:	1 to 65535, or 0 for one that is free in both families
 * @bind4:	the local IPv4 address to bind to, or NULL for any. Its port
 *		is ignored.
 * @bind6:	the local IPv6 address to bind to, or NULL for any
 * @device:	the interface or VRF to bind to (SO_BINDTODEVICE), 1 to 15
 *		bytes, or NULL
 * @mark:	the firewall mark of what is sent (SO_MARK, needs
 *		CAP_NET_ADMIN), 0 for none
 * @buffer_len:	bytes of socket buffer each way, 0 for 7 MiB, UG_BUFFER_KEEP to
 *		leave the buffers as they are. A smaller one than asked for is no
 *		error: struct ug_report says what it is.
 * @pmtu4:	path MTU mode of the IPv4 socket
 * @pmtu6:	path MTU mode of the IPv6 socket
 * @notice:	called on the thread that calls ug_send() when one of enum
 *		ug_notice happens, or NULL. @err is the kernel's errno or 0;
 *		@value is the segment size that failed or passed, or the number
 *		of the side socket. It must not call ug_send().
 * @notice_arg:	given to @notice
 * @side_sockets: how many side sockets each family has, up to
 *		UG_MAX_SIDE_SOCKETS; see ug_side_fd(). A family whose side
 *		sockets the kernel refuses opens without them.
 * @want:	bits UG_WANT_*: what the program wants to be told of each message
 *		(struct ug_received), and of errors (ug_receive_errors())
 * @copy_below:	a message of several vectors that are shorter than this on
 *		average, in bytes, is copied by the library, which is faster than
 *		having the kernel gather it; 0 for the library's choice (1,024),
 *		1 for never
 * @max_pacing_rate: SO_MAX_PACING_RATE in bytes a second, 0 for none. Without
 *		the qdisc fq it does nothing.
 * @txtime_clock: the clock of @time_ns in struct ug_train (SO_TXTIME). Without
 *		the qdisc fq or etf times do nothing.
 * @rcvbuf_len:	bytes of receive buffer, or UG_BUFFER_KEEP; 0 for @buffer_len
 * @sndbuf_len:	bytes of send buffer, or UG_BUFFER_KEEP; 0 for @buffer_len
 * @reuse_port:	share @port with other sockets of this user that have this option
 *		(SO_REUSEPORT). The kernel spreads what comes over them. Merging is
 *		off until ug_set_merging() switches it on, because a merged train
 *		goes to one socket as a whole. With port 0 the port is one that no
 *		other socket has. With another port no error tells that a program
 *		that was meant to be alone has it already: ug_open_group() does.
 *		Not with @side_sockets, which ug_open_group() can have.
 * @clear_tos:	a @tos of 0 is sent as 0, even if another TOS is set on a descriptor
 *		(IP_TOS, IPV6_TCLASS). Without it 0 leaves the socket's own.
 * @follow_interface: the interface of a source (struct ug_source) decides the
 *		interface to send by, for every address, and not the routes. So an
 *		answer leaves by the interface that was asked on. If that interface
 *		is gone, the source is refused: see ug_refused_source(). In IPv6,
 *		Linux lets the interface decide only between routes of one metric:
 *		a route of a smaller metric is taken all the same.
 * @retry_eperm: a single datagram that is refused by EPERM is sent once more
 *		before it fails: a firewall's rule on a rate, or a table of
 *		connections that is full, refuses by chance
 *
 * Strings and addresses are borrowed for the call only.
 */
struct ug_options {
	size_t size;
	enum ug_families families;
	uint16_t port;
	const struct ug_endpoint *bind4;
	const struct ug_endpoint *bind6;
	const char *device;
	uint32_t mark;
	size_t buffer_len;
	enum ug_pmtu pmtu4;
	enum ug_pmtu pmtu6;
	void (*notice)(void *arg, enum ug_notice notice,
		       const struct ug_endpoint *ep, int err, int value);
	void *notice_arg;
	unsigned int side_sockets;
	uint32_t want;
	size_t copy_below;
	uint64_t max_pacing_rate;
	enum ug_clock txtime_clock;
	size_t rcvbuf_len;
	size_t sndbuf_len;
	bool reuse_port;
	bool clear_tos;
	bool follow_interface;
	bool retry_eperm;
};

/**
 * struct ug_family_report - the result of opening one family
 * @err:	0 if it is open; -errno; -ENOENT if it was not asked for;
 *		-ECANCELED if it was given up because of the other family
 * @step:	the system call or option that gave @err, a string constant;
 *		NULL if it is open or was not asked for. If it is not open,
 *		all that follows is 0.
 * @rcvbuf:	bytes of receive buffer that the kernel granted
 * @sndbuf:	bytes of send buffer that the kernel granted
 * @segments:	the kernel knows UDP_SEGMENT (Linux 4.18)
 * @merges:	UDP_GRO is on and can be read back (Linux 5.12)
 */
struct ug_family_report {
	int err;
	const char *step;
	size_t rcvbuf;
	size_t sndbuf;
	bool segments;
	bool merges;
};

/**
 * struct ug_report - what ug_open() did
 * @size:	set by the caller to sizeof(struct ug_report)
 * @port:	the port of both sockets; 0 if nothing is open
 * @tries:	how many ports were tried
 * @v4:		the IPv4 socket
 * @v6:		the IPv6 socket
 */
struct ug_report {
	size_t size;
	uint16_t port;
	unsigned int tries;
	struct ug_family_report v4;
	struct ug_family_report v6;
};

/**
 * ug_open() - open a UDP port in IPv4 and IPv6
 * @out:	set on success to the socket; ug_close() it
 * @opt:	how, or NULL for the defaults
 * @report:	filled unless the options or memory failed, or NULL
 *
 * The two sockets share the port number and no traffic (IPV6_V6ONLY). With
 * UG_BOTH, a family that the kernel lacks is left out. After any other failure
 * of one family the other one is closed, too. With port 0, up to 100 ports are tried until
 * one is free in both. Several sockets may be open at once: to change a port,
 * open the new one, let every thread turn to it, then close the old one.
 * Any thread.
 *
 * Return: 0; -EINVAL for options that make no sense; -ENOMEM; else the error
 * of the family that failed, such as -EADDRINUSE, -EADDRNOTAVAIL, -EACCES
 * (port), -EPERM (mark or device), -ENODEV (device), -EAFNOSUPPORT (neither
 * family).
 */
int ug_open(struct ug_socket **out, const struct ug_options *opt,
	    struct ug_report *report);

/**
 * ug_open_group() - open several sockets on one port, such as one for each thread
 * @out:	@n pointers, set on success; ug_close() each
 * @n:		how many, at least 1
 * @opt:	as for ug_open(); @reuse_port counts as set, and need not be
 * @report:	as for ug_open(), of the last socket, or of the one that failed
 *
 * The kernel spreads what comes over the sockets by a hash of addresses and ports;
 * ug_set_steering() has a program choose. Merging is off, see @reuse_port. If the
 * port is in use, this fails, also if the other sockets share theirs. Later a socket
 * of the same user can join: ug_open() with @reuse_port and this port, in this process
 * or another one. If a socket is closed, what waits in it is lost, and the others get
 * what it would have got.
 *
 * The sockets share what they learn of paths and sources: any of them can send to an
 * endpoint that another one has received from, with its source. ug_network_changed()
 * and ug_paths_changed() of one are for all. All else is each socket's own, such as
 * its mark, and its merging.
 *
 * With @side_sockets the first socket has side sockets. They have the numbers behind
 * @n, so a program that returns less than @n leaves them empty; without a program the
 * kernel gives them a part of what comes. Any thread.
 *
 * Return: 0; -EINVAL if @n is 0; else as ug_open(). After a failure nothing is open,
 * and the pointers mean nothing.
 */
int ug_open_group(struct ug_socket **out, unsigned int n,
		  const struct ug_options *opt, struct ug_report *report);

/**
 * ug_open_fds() - use sockets that somebody else opened
 * @out:	set on success to the socket, which then owns the descriptors
 * @fd4:	a bound IPv4 UDP socket, or -1
 * @fd6:	a bound IPv6 UDP socket, or -1. If it is not IPV6_V6ONLY, it has
 *		IPv4 traffic, too, and opt->pmtu4 is the path MTU mode of that.
 *		Endpoints of IPv4 have AF_INET all the same: IPv4-mapped addresses
 *		are only between the library and the kernel. If @fd4 is -1, IPv4
 *		datagrams are sent by @fd6.
 * @opt:	as for ug_open(); families, port, bind4, bind6, device and
 *		side_sockets are not used
 * @report:	as for ug_open(); port is that of the first descriptor
 *
 * UDP_SEGMENT and UDP_CORK are switched off on both. A descriptor that is connected
 * stays so, see ug_connect(); but its errors are counted, not told. If the call fails, the
 * caller keeps the descriptors; they do not merge (UDP_GRO), but may have other
 * options set. Any thread.
 *
 * Return: 0; -EINVAL if both are -1, or one is not a UDP socket of its family
 * or has no port; -EBADF; -ENOTSOCK; -ENOMEM; else the error of an option.
 */
int ug_open_fds(struct ug_socket **out, int fd4, int fd6,
		const struct ug_options *opt, struct ug_report *report);

/**
 * ug_close() - close a socket
 * @sock:	the socket, or NULL. No thread may be inside a call with it,
 *		nor start one. Views that were received from it stay valid.
 */
void ug_close(struct ug_socket *sock);

/**
 * ug_fd() - the descriptor of one family, for poll(2) or epoll(7)
 * @sock:	the socket
 * @family:	AF_INET or AF_INET6
 *
 * It still belongs to the socket. Any thread.
 *
 * Return: the descriptor; -EAFNOSUPPORT if that family is not open.
 */
int ug_fd(const struct ug_socket *sock, int family);

/**
 * ug_side_fd() - the descriptor of a side socket
 * @sock:	the socket
 * @family:	AF_INET or AF_INET6
 * @i:		which, from 0
 *
 * Side sockets are more sockets on the same port. Datagrams to an endpoint that
 * pile up in the main socket's send buffer leave by a side socket, and so do
 * not hold up others; see ug_open(3). The kernel delivers input to the main
 * socket, but does not promise to: watch the side sockets, too, and then call
 * ug_side_ready(). An ug_receive() that waits does both. Any thread.
 *
 * Return: the descriptor, which still belongs to the socket; -ENOENT if there
 * are fewer; -EAFNOSUPPORT if that family is not open.
 */
int ug_side_fd(const struct ug_socket *sock, int family, unsigned int i);

/**
 * ug_side_ready() - have the next ug_receive() look at a side socket first
 * @sock:	the socket
 * @fd:		what poll(2) or epoll(7) named. Any thread.
 *
 * Return: AF_INET or AF_INET6: its family; -ENOENT if it is no side socket.
 */
int ug_side_ready(struct ug_socket *sock, int fd);

/**
 * ug_connect() - have one family send to one peer, and receive only from it
 * @sock:	the socket
 * @to:		the peer; its source does not count. NULL, or an endpoint whose family
 *		is AF_UNSPEC, ends the connections of both families.
 *
 * Sending to the peer then costs less: the kernel need not look for a route
 * (connect(2)). Datagrams, and trains, that name no endpoint go to the peer, if one
 * family is connected. Others go to the endpoint that they name, as before.
 *
 * The kernel chooses the local address, unless the socket is bound to one, and keeps
 * it: a connection whose address or route is gone must be made anew. A source that an
 * endpoint names is used; if it is that address, it costs nothing, except with the
 * option follow_interface. TOS and TTL have the kernel look for a route again.
 *
 * The other family stays as it is, and receives from anybody: open with
 * UG_IPV4_ONLY or UG_IPV6_ONLY to have one peer only. An IPv6 descriptor of
 * ug_open_fds() that carries IPv4, too, has one peer, of either family.
 *
 * Errors that ICMP reports of the peer, such as -ECONNREFUSED, are told once: as the
 * status of the next datagram to the peer, which was not sent then, or by
 * ug_receive(). Datagrams that came from others before this call may still wait.
 *
 * If the family has a peer, its connection ends first. Changing or ending one opens
 * the socket to everybody for a moment. If the kernel had chosen the port, it is then
 * bound again.
 *
 * Do not call connect(2) for a descriptor of the socket. No other thread may send by
 * the socket meanwhile; others may receive.
 *
 * Return: 0; -EAFNOSUPPORT if that family is not open; -EINVAL for port 0;
 * -EOPNOTSUPP if it has side sockets, which would receive from anybody; -ENETUNREACH,
 * -EHOSTUNREACH, -EACCES (broadcast) or another -errno of connect(2): the family has
 * no peer; -EADDRINUSE: another socket has taken the port: close this one.
 */
int ug_connect(struct ug_socket *sock, const struct ug_endpoint *to);

struct sock_fprog; /* linux/filter.h */

/**
 * ug_set_steering() - have a program choose the socket of a group
 * @sock:	any socket of the group (@reuse_port of struct ug_options)
 * @family:	AF_INET or AF_INET6, which have a group each; AF_UNSPEC for both
 * @filter:	a classic BPF program; borrowed for the call. NULL removes the
 *		program: the kernel chooses by a hash again (Linux 5.3).
 *
 * The program runs once for each message. Offset 0 is the first byte of the payload.
 * It returns the number of a socket: 0 for the one that was bound first, as out[0] of
 * ug_open_group(). After a larger number than there are sockets, the hash decides. If
 * a socket is closed, the last one gets its number.
 *
 * The program sees the beginning of a message, which may be a train: all datagrams of
 * the train go to the socket that its first datagram chooses. The kernel makes trains
 * of what comes in only if the socket merges. But a train that a program on the same
 * machine has sent, over loopback or a virtual link, is steered as one also if the
 * socket does not merge, and is cut after that. So a program that gets datagrams of
 * several connections from one peer must be able to hand them on.
 *
 * Any thread.
 *
 * Return: 0; -EAFNOSUPPORT if that family is not open; -EINVAL for a program that the
 * kernel refuses, and if the port is not shared or no second socket has been opened on
 * it yet; -ENOPROTOOPT if the kernel cannot do it; another -errno of setsockopt(2).
 * After an error IPv4 may have changed.
 */
int ug_set_steering(struct ug_socket *sock, int family,
		    const struct sock_fprog *filter);

/**
 * ug_set_steering_fd() - the same with a loaded eBPF program
 * @sock:	as for ug_set_steering()
 * @family:	as for ug_set_steering()
 * @bpf_fd:	its descriptor, which may be closed afterwards. The type is
 *		BPF_PROG_TYPE_SOCKET_FILTER, which is as above, or
 *		BPF_PROG_TYPE_SK_REUSEPORT, which chooses from a map, and can have
 *		the message dropped (bpf(2)).
 *
 * Any thread.
 *
 * Return: as ug_set_steering(); -EBADF.
 */
int ug_set_steering_fd(struct ug_socket *sock, int family, int bpf_fd);

/* ug_port() - the port, in host order. Any thread. */
uint16_t ug_port(const struct ug_socket *sock);

/**
 * ug_set_mark() - change the firewall mark of what is sent
 * @sock:	the socket
 * @mark:	the mark, 0 for none
 *
 * All sockets of both families have the new mark, or all keep the old one. Any
 * thread, one at a time.
 *
 * Return: 0; -EPERM without CAP_NET_ADMIN; another -errno of setsockopt(2).
 */
int ug_set_mark(struct ug_socket *sock, uint32_t mark);

/**
 * ug_network_changed() - forget what depends on routes, addresses and links
 * @sock:	the socket
 *
 * Sources taken from views are not used any more (they are of an older
 * generation now), until they come with another view; and what
 * ug_paths_changed() forgets is forgotten. The library does not watch the
 * network by itself.
 *
 * For programs that cannot tell which sources still hold. A host's network
 * changes all the time (a container starts, a router advertisement comes).
 * After each call of this function the next datagram leaves from an address of
 * the kernel's choice, and the firewall of a peer may drop it. A program that
 * can ask the kernel calls ug_paths_changed() instead, and clears the sources
 * that do not hold by ug_endpoint_clear_source(). Any thread.
 */
void ug_network_changed(struct ug_socket *sock);

/**
 * ug_paths_changed() - forget what refused trains have taught about endpoints
 * @sock:	the socket
 *
 * Endpoints whose trains were limited or forbidden get whole trains again.
 * Sources stay. Any thread.
 */
void ug_paths_changed(struct ug_socket *sock);

/**
 * ug_wake() - have all threads that wait on a socket return
 * @sock:	the socket
 *
 * Each call that waits on this socket at that moment ends its wait: ug_receive()
 * returns 0, and ug_receiver_why() is -ECANCELED; ug_receive_trains() returns
 * -ECANCELED; what ug_send() and ug_send_trains() have not sent is UG_UNSENT.
 *
 * A thread that does not wait at that moment misses nothing: the wake is kept for its
 * receiver and its batch. The next call with each that would wait on this socket
 * ends in the same way, at once. If a call with a timeout returns after the wake for
 * another reason, no wake is left. Several wakes that are kept count as one. So a
 * thread that looks at a flag before each call sees what was written before
 * ug_wake().
 *
 * A receiver or a batch keeps the wakes of one socket: the one that its last call with
 * a timeout was for. If it was in no such call yet, it keeps all wakes since the socket
 * was opened.
 *
 * Calls with a timeout of 0 take no notice of wakes. The first call that waits on a
 * socket makes an eventfd(2), which ug_close() closes. If the kernel refuses it, a wake
 * may take 50 milliseconds. A thread must not be cancelled (pthread_cancel(3)) while
 * it waits, or later waits on this socket may spend processor time. Any thread, also in
 * a signal handler; errno stays.
 */
void ug_wake(struct ug_socket *sock);

/* ----------------------------------- Segmentation and merging at run time */

enum {
	/* As many as kernel, socket and path to the endpoint allow. */
	UG_SEGMENTS_AUTO = 0,
	/* Every datagram is a message of its own. */
	UG_SEGMENTS_OFF = 1,
};

/* Why trains have the length they have; see ug_get_segments(). */
enum ug_reason {
	UG_REASON_NONE = 0,    /* nothing limits trains */
	UG_REASON_ASKED,       /* ug_set_segments() said so */
	UG_REASON_UNSUPPORTED, /* the kernel has no UDP_SEGMENT */
	UG_REASON_BAD_KERNEL,  /* Linux 7.0 to 7.1.4: trains that end in a
				* shorter datagram only */
};

/**
 * ug_set_segments() - choose how many datagrams a train may have
 * @sock:	the socket
 * @max:	UG_SEGMENTS_AUTO, UG_SEGMENTS_OFF, or 2 to UG_MAX_SEGMENTS. A
 *		number holds for all trains, also on kernels that corrupt some
 *		of them.
 *
 * Every call also forgets which trains were refused, as ug_paths_changed() does.
 * Any thread.
 *
 * Return: 0; -EINVAL for another number.
 */
int ug_set_segments(struct ug_socket *sock, unsigned int max);

/**
 * ug_get_segments() - how many datagrams a train may have now, and why
 * @sock:	the socket
 * @family:	AF_INET or AF_INET6
 * @reason:	set to the reason, or NULL
 *
 * Any thread.
 *
 * Return: 1 (off) to UG_MAX_SEGMENTS; -EAFNOSUPPORT if that family is not
 * open.
 */
int ug_get_segments(const struct ug_socket *sock, int family,
		    enum ug_reason *reason);

/* ug_reason_text() - a reason as an English phrase, a constant. Any thread. */
const char *ug_reason_text(enum ug_reason reason);

/**
 * ug_set_merging() - have received datagrams merged by the kernel, or not
 * @sock:	the socket
 * @on:		true to merge: the state after ug_open() where it is possible, but
 *		with @reuse_port of struct ug_options
 *
 * Merging can go off only while no datagram waits in the socket. That may be in
 * this call, in another call of this function, or in an ug_receive() that has
 * waited for 50 milliseconds in vain. Until then datagrams come merged, and are
 * handed out one by one as always. Going off takes some tens of milliseconds,
 * in which ug_receive() finds nothing; see ug_set_segments(3). Switching on is
 * at once, unless another thread is switching. Any thread.
 *
 * Return: 0, also if merging goes off only later; -EOPNOTSUPP if @on and no open
 * family can merge, or if not @on and the kernel has no membarrier(2); another
 * -errno of setsockopt(2), after which IPv4 may have changed.
 */
int ug_set_merging(struct ug_socket *sock, bool on);

/* ---------------------------------------------------------------- Sending */

/* A datagram's status, if it is no -errno. */
enum {
	UG_SENT = 0,
	UG_UNSENT = 1, /* the socket took no more: try again later */
};

/**
 * struct ug_datagram - one datagram to send
 * @iov:	its bytes, in order; borrowed for the call
 * @n_iov:	vectors at @iov, at most UG_MAX_VECTORS; 0 for an empty datagram
 * @tos:	TOS or traffic class, DSCP << 2 | ECN; 0 leaves the socket's own,
 *		unless the socket has the option clear_tos
 * @to:		the endpoint, borrowed for the call; NULL for the one that
 *		ug_send() is given
 */
struct ug_datagram {
	const struct iovec *iov;
	uint32_t n_iov;
	uint8_t tos;
	const struct ug_endpoint *to;
};

/**
 * ug_batch_new() - make the memory that a thread needs to send
 * @out:	set on success; ug_batch_free() it
 * @cap:	how many datagrams are looked at together, 1 to UG_MAX_BATCH;
 *		128 is a good number. ug_send() takes any number, in windows
 *		of @cap.
 *
 * It belongs to no socket. About 310 bytes for each of @cap, and 19 KiB; and 2,048
 * bytes for each of @cap from the first message on whose vectors are copied.
 *
 * Return: 0; -EINVAL; -ENOMEM.
 */
int ug_batch_new(struct ug_batch **out, unsigned int cap);

/**
 * ug_batch_set_urgent() - let a batch's datagrams overtake waiting ones
 * @batch:	the batch
 * @on:		true for urgent ones, false as at first
 *
 * For few and short datagrams, such as handshakes. They leave by the main
 * socket, even if their endpoint has a side socket. If the main socket is full,
 * they leave by any side socket. The batch's owner.
 */
void ug_batch_set_urgent(struct ug_batch *batch, bool on);

/**
 * ug_batch_set_segments() - limit the trains of a batch
 * @batch:	the batch
 * @max:	the most datagrams in a message, 1 to UG_MAX_SEGMENTS; 0 for no
 *		limit but the socket's, as at first
 *
 * A link with a short queue drops the end of a train that does not fit into it.
 * A program that paces its datagrams sends trains of as many as may leave at a
 * time. The batch's owner.
 *
 * Return: 0; -EINVAL.
 */
int ug_batch_set_segments(struct ug_batch *batch, unsigned int max);

/* ug_batch_free() - free a batch, or NULL. Its owner. */
void ug_batch_free(struct ug_batch *batch);

/**
 * ug_send() - send datagrams, in trains where possible
 * @sock:	the socket
 * @batch:	the calling thread's batch
 * @to:		the endpoint of datagrams that name none; NULL for the peer of a
 *		connected socket
 * @dgrams:	@n datagrams
 * @n:		any number
 * @status:	@n numbers, each set to UG_SENT, UG_UNSENT, or -errno
 * @timeout_ms:	how long to wait in all, in milliseconds, when a socket takes
 *		no more; 0 never sleeps, -1 waits without end. ug_wake() ends the
 *		wait.
 *
 * Datagrams to one endpoint leave in the order of @dgrams; between endpoints
 * there is no order. Each leaves at most once. What the kernel refuses as a
 * train goes again as single datagrams; what a destination refuses does not
 * stop the others. libudpgather(3) has the behaviour for each error.
 *
 * On a socket with UG_WANT_ERRORS, an error that ICMP messages may have left behind
 * becomes a status only if there is an error for that destination, or if the same
 * message was refused 8 times and no error explains it. If errors of other
 * destinations refuse it 1,000 times, the call waits, or the status is UG_UNSENT.
 *
 * A status of -EMSGSIZE: more than a datagram can hold, or than the path MTU
 * mode lets pass; -EDESTADDRREQ: no endpoint; -EAFNOSUPPORT: its family is
 * not open; -EINVAL: port 0, or vectors that are not there; -ENOBUFS: its
 * fragments do not fit the send buffer; others are the kernel's. Once a
 * datagram is UG_UNSENT, no later datagram to the same endpoint is sent: each is
 * UG_UNSENT, too, or has a negative status if it is bad itself. So the unsent
 * datagrams can be sent later, in the same order.
 *
 * The batch's owner; any number of batches on one socket.
 *
 * Return: how many datagrams have the status UG_SENT.
 */
size_t ug_send(struct ug_socket *sock, struct ug_batch *batch,
	       const struct ug_endpoint *to, const struct ug_datagram *dgrams,
	       size_t n, int *status, int timeout_ms);

/**
 * struct ug_train - datagrams of one size to one endpoint
 * @to:		the endpoint, borrowed for the call; NULL for the peer of a
 *		connected socket
 * @iov:	the bytes of all datagrams, one behind the other; borrowed for the
 *		call. The ends of vectors need not be those of datagrams.
 * @time_ns:	when to send, on the clock of @txtime_clock in struct ug_options,
 *		in nanoseconds; 0 for now
 * @n_iov:	vectors at @iov
 * @n_sent:	set to the number of datagrams that were sent
 * @status:	set to UG_SENT if all were; else to the status of the first
 *		datagram that was not: UG_UNSENT or -errno
 * @segment_len: the size of each datagram but the last, which may be shorter; 0
 *		if there is one datagram only
 * @tos:	as in struct ug_datagram
 * @ttl:	TTL or hop limit; 0 leaves the socket's own
 */
struct ug_train {
	const struct ug_endpoint *to;
	const struct iovec *iov;
	uint64_t time_ns;
	uint32_t n_iov;
	uint32_t n_sent;
	int status;
	uint16_t segment_len;
	uint8_t tos;
	uint8_t ttl;
};

/**
 * ug_send_trains() - send trains as the caller has made them
 * @sock:	the socket
 * @batch:	the calling thread's batch
 * @trains:	@n trains; @n_sent and @status are set
 * @size:	sizeof(struct ug_train), for versions to come
 * @n:		any number
 * @timeout_ms:	as for ug_send()
 *
 * Each train is one message, if kernel, path and socket allow it; else it is cut.
 * Trains are not joined with others. Order, errors and statuses of datagrams are
 * those of ug_send(). If a train's status is UG_UNSENT, its first @n_sent datagrams
 * were sent, and the others can be sent later. -ENOMEM: a train had to be cut, and
 * there was no memory for that. ug_set_train_lengths() has no effect. The batch's
 * owner.
 *
 * Return: how many datagrams were sent; 0 if @size is less than that of version
 * 1.0.
 */
size_t ug_send_trains(struct ug_socket *sock, struct ug_batch *batch,
		      struct ug_train *trains, size_t size, size_t n,
		      int timeout_ms);

/**
 * ug_refused_source() - did a source address fail in the last ug_send()?
 * @batch:	the batch
 *
 * A message from the source of this endpoint was refused, as it is when the
 * address is gone, and was tried again from an address of the kernel's choice.
 * The owner of the endpoint should clear its source. The batch's owner.
 *
 * Return: the pointer that ug_send() was given, the last one; or NULL.
 */
const struct ug_endpoint *ug_refused_source(const struct ug_batch *batch);

/**
 * ug_set_train_lengths() - have ug_send() write the length of each train
 * @batch:	the batch
 * @lens:	@n numbers, borrowed until the next call of this; NULL ends it
 * @n:		an ug_send() with more datagrams than this writes no lengths
 *
 * For each of its datagrams ug_send() then sets how many datagrams its message
 * had: 1 if it left alone, 0 if it was not sent. The batch's owner.
 */
void ug_set_train_lengths(struct ug_batch *batch, uint8_t *lens, size_t n);

/**
 * ug_send_alone() - send an endpoint no trains until a given time
 * @sock:	the socket
 * @ep:		the endpoint; its port and source do not count
 * @for_ms:	from now, in milliseconds; 0 ends it. The last call counts.
 *
 * ug_paths_changed() ends it, too. Any thread.
 *
 * Return: 0; -EAFNOSUPPORT if the endpoint's family is not open.
 */
int ug_send_alone(struct ug_socket *sock, const struct ug_endpoint *ep,
		  unsigned int for_ms);

/* -------------------------------------------------------------- Receiving */

/**
 * struct ug_view - one received datagram
 * @data:	its first byte, in the receiver's memory; not aligned. It may
 *		be changed in place.
 * @from:	who sent it; its source is the local address and interface to
 *		answer from. Shared by the datagrams of a train.
 * @len:	its length, 0 to 65,535
 * @tos:	its TOS or traffic class
 *
 * Both pointers are borrowed until the next ug_receive() or ug_receive_trains() with
 * this receiver, ug_receiver_release() or ug_receiver_free().
 */
struct ug_view {
	void *data;
	const struct ug_endpoint *from;
	uint32_t len;
	uint8_t tos;
};

/**
 * ug_receiver_new() - memory to receive into
 * @out:	set on success; ug_receiver_free() it
 * @n_slots:	messages that one system call can take at most, 1 to
 *		UG_MAX_SLOTS; 64 is a good number
 *
 * The receiver belongs to no socket. A slot is 64 KiB of address space, and takes
 * memory only for the part that the kernel has filled. With more than 8 slots, a
 * system call fills all of them only while many short messages wait; while long
 * ones (merged by the kernel) come, it fills 8.
 *
 * Return: 0; -EINVAL; -ENOMEM.
 */
int ug_receiver_new(struct ug_receiver **out, unsigned int n_slots);

/* ug_receiver_free() - free a receiver and its memory, or NULL. Its owner. */
void ug_receiver_free(struct ug_receiver *rcv);

/**
 * ug_receive() - take datagrams from a socket
 * @rcv:	the receiver
 * @sock:	the socket
 * @family:	AF_INET or AF_INET6; AF_UNSPEC takes turns, and takes from the
 *		first family that has a datagram
 * @views:	set to what was received
 * @n:		views at @views, at least 1
 * @timeout_ms:	how long to wait for a datagram, in milliseconds; 0 never
 *		sleeps, -1 waits without end
 *
 * One system call may bring more datagrams than @n: the rest comes with the
 * next calls, before anything new. Truncated messages, and errors that an
 * earlier datagram left on the socket, are counted and passed over; but those of a
 * peer of ug_connect() are returned, such as -ECONNREFUSED. If the error
 * queue (IP_RECVERR) keeps a call with a timeout from waiting, it is emptied; with
 * UG_WANT_ERRORS its entries are kept for ug_receive_errors().
 * The receiver's owner.
 *
 * Return: how many views were set; 0 if there was no datagram, if a signal or
 * ug_wake() came while waiting, or while merging is being switched off
 * (ug_receiver_why() tells which); -EINVAL if @n is 0;
 * -EAFNOSUPPORT if that family is not open; -EBADF, -ENOTSOCK, -ENOMEM or
 * another -errno of recvmmsg(2) that no datagram is to blame for.
 */
int ug_receive(struct ug_receiver *rcv, struct ug_socket *sock, int family,
	       struct ug_view *views, size_t n, int timeout_ms);

/**
 * ug_receiver_why() - what did the last 0 of ug_receive() mean?
 * @rcv:	the receiver
 *
 * The receiver's owner.
 *
 * Return: -EAGAIN: the timeout was 0, and all that was asked for was empty;
 * -ETIMEDOUT: the time was over; -EINTR: a signal came while waiting; -ECANCELED:
 * ug_wake(); -EBUSY: there may be datagrams, see ug_receive_trains(); 0 if it has not
 * returned 0 yet.
 */
int ug_receiver_why(const struct ug_receiver *rcv);

/**
 * struct ug_received - one received message: a datagram, or a train
 * @data:	its first byte: in the receiver's memory, or in the caller's buffer
 * @len:	its length, 0 to 65,535; from a buffer that is too short, nothing
 *		comes
 * @cap:	bytes at @data if that is the caller's buffer, else 0
 * @from:	who sent it, as in struct ug_view, in the receiver's memory
 * @time_ns:	with UG_WANT_TIME: when the kernel took it in, in nanoseconds of
 *		CLOCK_REALTIME. A train has one time.
 * @segment_len: the length of each datagram but the last, which may be shorter;
 *		@len if there is one datagram
 * @n:		datagrams in it, at least 1
 * @ifindex:	with UG_WANT_DESTINATION: the interface that it came in by
 * @destination: with UG_WANT_DESTINATION: the address that it was sent to, in
 *		network order, IPv4 in the first four bytes. It may be a multicast or
 *		broadcast address, which is no source to answer from.
 * @tos:	its TOS or traffic class
 * @ttl:	with UG_WANT_TTL: its TTL or hop limit as it came
 *
 * What the socket was not opened to tell (@want of struct ug_options), and what the
 * kernel did not tell, is 0.
 */
struct ug_received {
	void *data;
	size_t len;
	size_t cap;
	const struct ug_endpoint *from;
	uint64_t time_ns;
	uint32_t segment_len;
	uint32_t n;
	uint32_t ifindex;
	uint8_t destination[16];
	uint8_t tos;
	uint8_t ttl;
};

/**
 * ug_receive_trains() - take messages from a socket, and do not cut them
 * @rcv:	the receiver
 * @sock:	the socket
 * @family:	as for ug_receive()
 * @out:	@n entries. If @cap of the first one is 0, messages come in the
 *		receiver's slots. Else @data and @cap of each entry are a buffer of
 *		the caller, which the kernel writes to.
 * @size:	sizeof(struct ug_received), for versions to come
 * @n:		at least 1. One call sets no more entries than the receiver has slots.
 * @timeout_ms:	as for ug_receive()
 *
 * Slots, and @from in any case, are borrowed as views are. A buffer of 65,535 bytes
 * takes every message. One that does not fit its buffer is counted as truncated, and
 * dropped whole; without merging no message is longer than a datagram. Entries that
 * are not set keep a buffer each, but maybe not their own.
 *
 * Calls of ug_receive() may come between. Of a message that ug_receive() has handed
 * out in part the rest comes first. What waits in the slots is copied to the caller's
 * buffers.
 *
 * Truncated messages, and errors that an earlier datagram left on the socket, are
 * counted and passed over; but those of a peer of ug_connect() are returned. Entries
 * of the error queue stay there; with UG_WANT_ERRORS they are kept for
 * ug_receive_errors(). The receiver's owner.
 *
 * Return: how many entries were set; -EAGAIN: @timeout_ms is 0, and the main sockets
 * that were asked for, and the side sockets named by ug_side_ready(), are empty: a
 * program that waits for an edge (EPOLLET) may wait; -ETIMEDOUT: the time is over;
 * -EINTR: a signal came while waiting; -ECANCELED: ug_wake() ended the wait; -EBUSY:
 * there may be datagrams, come again:
 * merging is being switched off and @timeout_ms is 0, or 64 calls brought only
 * messages to drop; -EBADMSG: it cannot sleep, because entries wait on the error queue
 * of a descriptor (IP_RECVERR) of a socket without UG_WANT_ERRORS; -EMSGSIZE: what
 * waits in the slots does not fit the first buffer; -EINVAL if @n is 0, @size is less
 * than that of version 1.0, or the first buffer is there and another one is not;
 * -EFAULT for a buffer that is no memory; else as ug_receive().
 */
int ug_receive_trains(struct ug_receiver *rcv, struct ug_socket *sock,
		      int family, struct ug_received *out, size_t size,
		      size_t n, int timeout_ms);

/**
 * ug_receiver_info() - tell all that is known of the message of a view
 * @rcv:	the receiver
 * @view:	a view that the last ug_receive() with it has set
 * @out:	set on success to the whole message, in the receiver's slots
 * @size:	sizeof(*out), for versions to come
 *
 * The receiver's owner.
 *
 * Return: 0; -EINVAL for a view of something else, or if @size is less than that of
 * version 1.0.
 */
int ug_receiver_info(const struct ug_receiver *rcv, const struct ug_view *view,
		     struct ug_received *out, size_t size);

/**
 * ug_receiver_pending() - datagrams that came and were not handed out yet
 * @rcv:	the receiver
 *
 * poll(2) does not report them. The receiver's owner.
 *
 * Return: true if the next ug_receive() or ug_receive_trains() looks at them, and
 * not first at the socket.
 */
bool ug_receiver_pending(const struct ug_receiver *rcv);

/**
 * ug_receiver_release() - give the memory of the slots back to the kernel
 * @rcv:	the receiver; datagrams not handed out yet are kept
 *
 * Call it when a receiver has had nothing to do for a while: else the memory of
 * the last burst stays in use. The receiver's owner.
 *
 * Return: true if the memory was given back; false if datagrams are pending,
 * or if the kernel refuses (memory that is locked: mlock(2)).
 */
bool ug_receiver_release(struct ug_receiver *rcv);

/* ----------------------------------------------------------------- Errors */

/* The reporter of an error: @origin of struct ug_error. Other numbers are SO_EE_ORIGIN_*
 * of linux/errqueue.h, of options that the program has set on a descriptor. */
enum {
	UG_ORIGIN_LOCAL = 1, /* this machine, which did not send the datagram */
	UG_ORIGIN_ICMP = 2,
	UG_ORIGIN_ICMP6 = 3,
};

enum {
	/* Bytes of @quote in struct ug_error. */
	UG_ERROR_QUOTE = 32,
};

/**
 * struct ug_error - an error that an earlier datagram met
 * @to:		where the datagram went, without a source. The port is 0 if the
 *		kernel does not tell it, as for a local error of IPv4 on a socket
 *		that is not connected. All 0 if nothing is known.
 * @offender:	who sent the ICMP message, with port 0; all 0 if there was none
 * @mtu:	if @err is EMSGSIZE, the longest IP packet that would pass, in bytes;
 *		else 0
 * @err:	the errno, positive
 * @origin:	UG_ORIGIN_*
 * @icmp_type:	type of the ICMP message; 0 if there was none
 * @icmp_code:	its code
 * @quote_len:	how many bytes at @quote are set
 * @quote:	the first bytes of the datagram's payload, as the ICMP message quotes
 *		them. Some routers quote none.
 *
 * Anybody can forge an ICMP message who can guess addresses and ports. To forge the
 * quote, too, he has to know what the datagram said.
 */
struct ug_error {
	struct ug_endpoint to;
	struct ug_endpoint offender;
	uint32_t mtu;
	int err;
	uint8_t origin;
	uint8_t icmp_type;
	uint8_t icmp_code;
	uint8_t quote_len;
	uint8_t quote[UG_ERROR_QUOTE];
};

/**
 * ug_receive_errors() - take the errors of a socket
 * @sock:	a socket that was opened with UG_WANT_ERRORS
 * @out:	@n entries; the oldest error comes first
 * @size:	sizeof(struct ug_error), for versions to come
 * @n:		at least 1
 *
 * The kernel keeps errors in a queue of each descriptor. poll(2) reports POLLERR while
 * one waits there. Calls that send, receive or wait take errors off the queues, too, and
 * keep the last 512 of them for this call; then poll(2) does not report them any more. So
 * call this also now and then, or after such calls. Only the library may read the
 * queues. Never sleeps. Any thread; each error goes to one of them.
 *
 * Return: how many entries were set; fewer than @n: there are no more now; -EINVAL if
 * @n is 0, or @size is less than that of version 1.0; -EOPNOTSUPP without
 * UG_WANT_ERRORS.
 */
int ug_receive_errors(struct ug_socket *sock, struct ug_error *out, size_t size,
		      size_t n);

/**
 * ug_path_mtu() - what the kernel knows of the MTU on the way to an endpoint
 * @sock:	the socket
 * @ep:		the endpoint. Its source counts, its port may be 0.
 *
 * The MTU of the route, or a smaller one that an ICMP message has told, also if the
 * path MTU mode of the socket has the kernel ignore it. Opens a UDP socket, connects it
 * with the socket's device and mark, and closes it; nothing is sent. Any thread.
 *
 * Return: bytes of an IP packet: 28 more than a datagram has in IPv4, 48 more in IPv6,
 * without options; -EAFNOSUPPORT if that family is not open; -ENETUNREACH and others of
 * connect(2); -EADDRNOTAVAIL if the source is gone; -EPERM if the mark needs
 * CAP_NET_ADMIN; another -errno of socket(2), setsockopt(2) or getsockopt(2).
 */
int ug_path_mtu(const struct ug_socket *sock, const struct ug_endpoint *ep);

/* --------------------------------------------------------------- Counters */

/**
 * struct ug_send_stats - what went out through a batch, since it was made
 * @datagrams:	datagrams that the kernel took
 * @messages:	messages that it took: a train, or a single datagram
 * @bytes:	payload bytes of these datagrams
 * @calls:	calls of sendmmsg(2) and sendmsg(2)
 * @unsent:	datagrams reported UG_UNSENT
 * @failed:	datagrams reported with an errno
 * @interrupted: EINTR
 * @full:	EAGAIN: the socket's buffer was full
 * @no_buffers:	ENOBUFS or ENOMEM, each time
 * @waits:	sleeps until the socket took more
 * @short_calls: calls that took some of the messages, not all
 * @pending_errors: errors that an earlier datagram may have left behind, and
 *		entries dropped from the error queue
 * @refused_sources: messages refused, and tried again without their source
 * @split_eio:	trains sent as single datagrams because of EIO
 * @split_emsgsize: the same because of EMSGSIZE
 * @split_einval: the same because of EINVAL
 * @split_other: the same because of EPERM, EACCES or an unusual errno
 * @trains:	messages by their number of datagrams, 1 to UG_MAX_SEGMENTS
 * @set_aside:	endpoints that were moved to a side socket
 * @side_full:	datagrams UG_UNSENT because the socket for their endpoint was full
 * @retried_eperm: datagrams sent once more because of EPERM (retry_eperm)
 */
struct ug_send_stats {
	uint64_t datagrams;
	uint64_t messages;
	uint64_t bytes;
	uint64_t calls;
	uint64_t unsent;
	uint64_t failed;
	uint64_t interrupted;
	uint64_t full;
	uint64_t no_buffers;
	uint64_t waits;
	uint64_t short_calls;
	uint64_t pending_errors;
	uint64_t refused_sources;
	uint64_t split_eio;
	uint64_t split_emsgsize;
	uint64_t split_einval;
	uint64_t split_other;
	uint64_t trains[UG_MAX_SEGMENTS + 1];
	uint64_t set_aside;
	uint64_t side_full;
	uint64_t retried_eperm;
};

/**
 * struct ug_receive_stats - what came in through a receiver
 * @datagrams:	datagrams handed out or waiting to be
 * @messages:	messages that brought them
 * @bytes:	payload bytes
 * @calls:	calls of recvmmsg(2) and recvmsg(2)
 * @waits:	sleeps until something came
 * @truncated:	messages dropped because their bytes were cut (MSG_TRUNC)
 * @control_truncated: messages dropped because their control data was cut
 *		(MSG_CTRUNC)
 * @malformed:	messages dropped because their control data or address made
 *		no sense
 * @errors:	errors that earlier datagrams left on the socket, and entries
 *		dropped from its error queue: with IP_RECVERR one is both.
 *		Entries that are kept (UG_WANT_ERRORS) are in struct
 *		ug_socket_stats.
 * @trains:	messages by their number of datagrams; the last class holds
 *		all longer ones
 */
struct ug_receive_stats {
	uint64_t datagrams;
	uint64_t messages;
	uint64_t bytes;
	uint64_t calls;
	uint64_t waits;
	uint64_t truncated;
	uint64_t control_truncated;
	uint64_t malformed;
	uint64_t errors;
	uint64_t trains[UG_RECEIVED_CLASSES];
};

/**
 * ug_get_send_stats() - read a batch's counters
 * @batch:	the batch
 * @stats:	filled; what a later version adds is set to 0 by an older one
 * @size:	sizeof(*stats)
 *
 * Each number is whole, but they are not read at one instant. Any thread, also
 * while the owner sends; not beside ug_batch_free().
 */
void ug_get_send_stats(const struct ug_batch *batch,
		       struct ug_send_stats *stats, size_t size);

/* ug_get_receive_stats() - the same for a receiver's counters. */
void ug_get_receive_stats(const struct ug_receiver *rcv,
			  struct ug_receive_stats *stats, size_t size);

/**
 * struct ug_socket_stats - what a socket lost
 * @drops_v4:	messages that the kernel dropped instead of delivering them, since the
 *		descriptor was made: of the main socket of IPv4, then of each side
 *		socket. Mostly the receive buffer was full; a wrong checksum counts,
 *		too, and what a filter drops. A train that the kernel merged counts
 *		once, whatever its length. The kernel counts in 32 bits.
 * @drops_v6:	the same for IPv6, and for IPv4 on an IPv6 descriptor
 * @errors:	with UG_WANT_ERRORS: errors that were taken off the queues
 * @errors_lost: those of them that ug_receive_errors() can not tell, because too many
 *		came
 */
struct ug_socket_stats {
	uint64_t drops_v4[1 + UG_MAX_SIDE_SOCKETS];
	uint64_t drops_v6[1 + UG_MAX_SIDE_SOCKETS];
	uint64_t errors;
	uint64_t errors_lost;
};

/**
 * ug_get_socket_stats() - read a socket's counters
 * @sock:	the socket
 * @stats:	filled on success; what a later version adds is set to 0 by an older one
 * @size:	sizeof(*stats)
 *
 * Asks the kernel once for each descriptor (SO_MEMINFO, Linux 4.12). Any thread.
 *
 * Return: 0; -errno of getsockopt(2): -ENOPROTOOPT if the kernel is older.
 */
int ug_get_socket_stats(const struct ug_socket *sock,
			struct ug_socket_stats *stats, size_t size);

#ifdef __cplusplus
}
#endif
#endif /* UDPGATHER_H */
