/* SPDX-License-Identifier: MIT */
/*
 * Connections: a socket of a family that sends to one peer and receives only from it.
 *
 * The kernel keeps the route to the peer of a connected socket, and uses it for
 * messages that have no address and whose control data name no source, TOS or TTL
 * (udp_sendmsg() of Linux). So a message to the peer gets no address (message.c), and
 * its source is left out if it is the socket's own address, which the kernel uses
 * anyway.
 *
 * connect(2) chooses the socket's own address. A second connect(2) keeps that of the
 * first, which may be wrong for another peer. Therefore ug_connect() ends a connection
 * before it begins another. At the end of a connection Linux forgets more than the
 * peer (__udp_disconnect()): the interface that the socket was bound to, and the port,
 * if the kernel had chosen it. Both are set again here. What it does not forget is an
 * error of the old peer.
 */
#include <errno.h>
#include <string.h>

#include "udpgather/endpoint.h"
#include "udpgather/message.h"
#include "udpgather/socket.h"

static in_port_t *port_of(struct ug_endpoint *ep)
{
	return ug_endpoint_family(ep) == AF_INET ? &ep->addr.v4.sin_port
						 : &ep->addr.v6.sin6_port;
}

static bool is_link_local(const struct ug_endpoint *ep)
{
	return ug_endpoint_family(ep) == AF_INET6 &&
	       IN6_IS_ADDR_LINKLOCAL(&ep->addr.v6.sin6_addr);
}

/* The address that a socket is bound to. Return: 0; -errno. */
static int get_local(const struct ug_sys *sys, int fd, struct ug_endpoint *out,
		     socklen_t *len)
{
	*out = (struct ug_endpoint){ 0 };
	*len = sizeof(out->addr);
	return sys->getsockname(fd, &out->addr.any, len) < 0 ? -errno : 0;
}

/* Remember the interface that a socket is bound to. */
static void note_device(const struct ug_sys *sys, struct family *fam)
{
	char *name = fam->connection.device;
	socklen_t len = IFNAMSIZ;

	if (sys->getsockopt(fam->fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len) <
		    0 ||
	    !len)
		name[0] = 0;
}

/* Note the peer, and the address that the socket now has as its source. */
static void note_peer(const struct ug_socket *sock, struct family *fam,
		      const struct ug_endpoint *to)
{
	struct ug_endpoint *peer = &fam->connection.peer, local;
	socklen_t len;

	*peer = *to;
	peer->source = (struct ug_source){ 0 };
	fam->connection.is_on = true;
	/* Without its own address, the library names each source to the kernel. If
	 * the interface of a source counts, it must do so. */
	if ((sock->control_flags & CONTROL_FOLLOW_INTERFACE) ||
	    get_local(sock->sys, fam->fd, &local, &len) < 0)
		return;
	ug_endpoint_set(&local, &local.addr.any, len);
	if (ug_endpoint_family(&local) == AF_INET) {
		memcpy(peer->source.addr, &local.addr.v4.sin_addr, 4);
		return;
	}
	memcpy(peer->source.addr, &local.addr.v6.sin6_addr, 16);
	peer->source.ifindex = local.addr.v6.sin6_scope_id;
}

void ug_family_note_peer(const struct ug_socket *sock, struct family *fam)
{
	const struct ug_sys *sys = sock->sys;
	struct ug_endpoint to = { 0 };
	socklen_t len = sizeof(to.addr);

	if (sys->getpeername(fam->fd, &to.addr.any, &len) < 0 ||
	    ug_endpoint_set(&to, &to.addr.any, len) < 0)
		return;
	/* With a link-local peer connect(2) may have bound to the interface. */
	if (!is_link_local(&to))
		note_device(sys, fam);
	note_peer(sock, fam, &to);
}

/* Bind a socket to its port again, if it has lost it. */
static int keep_port(const struct ug_sys *sys, int fd, in_port_t port)
{
	struct ug_endpoint local;
	socklen_t len;
	int err = get_local(sys, fd, &local, &len);

	if (err < 0 || *port_of(&local) == port)
		return err;
	*port_of(&local) = port;
	return sys->bind(fd, &local.addr.any, len) < 0 ? -errno : 0;
}

static int end_connection(const struct ug_sys *sys, struct family *fam)
{
	static const struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	struct connection *c = &fam->connection;
	struct ug_endpoint local;
	socklen_t len;
	int err = get_local(sys, fam->fd, &local, &len);

	if (err < 0)
		return err;
	if (sys->connect(fam->fd, &nobody, sizeof(nobody)) < 0)
		return -errno;
	c->is_on = false;
	/* Partner: ug_family_tells(). */
	atomic_store_explicit(&c->tells_errors, false, memory_order_relaxed);
	if (c->device[0] &&
	    sys->setsockopt(fam->fd, SOL_SOCKET, SO_BINDTODEVICE, c->device,
			    (socklen_t)strlen(c->device)) < 0)
		return -errno;
	return keep_port(sys, fam->fd, *port_of(&local));
}

/* connect(2) failed. With a link-local address the socket may be bound to an interface
 * now. Return: @err; -errno if this cannot be undone. */
static int undo(const struct ug_sys *sys, struct family *fam,
		const struct ug_endpoint *to, int err)
{
	int failure = is_link_local(to) ? end_connection(sys, fam) : 0;

	return failure < 0 ? failure : err;
}

/* Take the error that the socket has, so that it is not told as that of the next
 * peer. */
static void drop_error(const struct ug_sys *sys, int fd)
{
	int err;
	socklen_t n = sizeof(err);

	sys->getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &n);
}

static int begin_connection(const struct ug_socket *sock, struct family *fam,
			    const struct ug_endpoint *to)
{
	const struct ug_sys *sys = sock->sys;
	struct sockaddr_in6 mapped;
	socklen_t len;
	const struct sockaddr *sa = ug_message_name(to, fam->af, &mapped, &len);

	drop_error(sys, fam->fd);
	if (sys->connect(fam->fd, sa, len) < 0)
		return undo(sys, fam, to, -errno);
	note_peer(sock, fam, to);
	/* Partner: ug_family_tells(). */
	atomic_store_explicit(&fam->connection.tells_errors, true,
			      memory_order_relaxed);
	return 0;
}

static int end_all(struct ug_socket *sock)
{
	int result = 0;

	for (int f = 0; f < FAMILIES; f++) {
		struct family *fam = &sock->families[f];
		int err = fam->connection.is_on ? end_connection(sock->sys, fam)
						: 0;

		if (!result)
			result = err;
	}
	return result;
}

int ug_connect(struct ug_socket *sock, const struct ug_endpoint *to)
{
	struct ug_endpoint peer = { 0 };

	if (to)
		peer = *to;
	if (ug_endpoint_family(&peer) == AF_UNSPEC)
		return end_all(sock);
	struct family *fam = ug_family_of(sock, ug_endpoint_family(&peer));
	int err = 0;

	if (!fam)
		return -EAFNOSUPPORT;
	if (!*port_of(&peer))
		return -EINVAL;
	if (fam->sides.n)
		return -EOPNOTSUPP;
	if (fam->connection.is_on)
		err = end_connection(sock->sys, fam);
	else
		note_device(sock->sys, fam);
	return err < 0 ? err : begin_connection(sock, fam, &peer);
}

const struct ug_endpoint *ug_socket_only_peer(const struct ug_socket *sock)
{
	const struct ug_endpoint *peer4 =
		ug_family_peer(&sock->families[FAMILY_V4]);
	const struct ug_endpoint *peer6 =
		ug_family_peer(&sock->families[FAMILY_V6]);

	if (peer4 && peer6)
		return NULL;
	return peer4 ? peer4 : peer6;
}

bool ug_errno_is_of_peer(int err)
{
	switch (err) {
	case ECONNREFUSED:
	case EHOSTDOWN:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case ENONET:
	case ENOPROTOOPT:
	case EOPNOTSUPP:
	case EPROTO:
		return true;
	default:
		return false;
	}
}
