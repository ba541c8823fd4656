/* SPDX-License-Identifier: MIT */
/*
 * A client of the server: a connection, what it has asked, and what it is being
 * told. Requests are answered one after the other, however they came; while
 * the socket does not take an answer nothing more is read, so a client that
 * does not listen stops itself and nobody else. What passes through the buffers
 * may be secret and is wiped.
 *
 * A request with an error is answered as soon as the error is read, not at the
 * request's end, since an endless line never has one. The rest of the request
 * is read and thrown away. If its end does not come within UAPI_DRAIN_S seconds
 * or UAPI_DRAIN_MAX bytes, the connection is closed. If it were closed at once,
 * a client that is still writing would get EPIPE from write(2), and lose the
 * answer.
 *
 * Control thread.
 */
#ifndef UAPI_CLIENT_H
#define UAPI_CLIENT_H

#include "base/list.h"
#include "device/device.h"
#include "engine/loop.h"
#include "uapi/grammar.h"

enum {
	/* How long, and how much, a refused request may still go on. */
	UAPI_DRAIN_S = 1,
	UAPI_DRAIN_MAX = 1 << 20,
	/* How long a client that has begun a request, or is owed an answer,
	 * keeps its place when a newcomer needs one and nothing moves. */
	UAPI_STALL_S = 1,
};

/* A time that never comes. */
#define UAPI_NEVER UINT64_MAX

/**
 * struct uapi_hub - what the clients of a server share
 * @loop:	borrowed
 * @device:	borrowed
 * @codec:	borrowed
 * @changed:	called when a client has done something, and when it has gone
 * @clients:	all of them
 * @n_clients:	their count
 */
struct uapi_hub {
	struct loop *loop;
	struct device *device;
	const struct uapi_codec *codec;
	void (*changed)(struct uapi_hub *hub);
	struct list clients;
	unsigned int n_clients;
};

struct uapi_client;

/**
 * uapi_client_open() - serve a connection
 * @out:	set on success
 * @hub:	outlives the client
 * @fd:		nonblocking; the client's on success, else still the caller's
 *
 * The client ends and frees itself when the connection does.
 *
 * Return: 0; -errno.
 */
int uapi_client_open(struct uapi_client **out, struct uapi_hub *hub, int fd);

/* uapi_client_close() - end a connection, wipe and free */
void uapi_client_close(struct uapi_client *client);

/* uapi_client_of() - the client with this link of uapi_hub.clients */
struct uapi_client *uapi_client_of(struct list *link);

/**
 * uapi_client_serve() - read what has come, and answer
 * @client:	client; it may be freed by this
 *
 * The event loop calls it by itself. It is called for a new connection, too, so
 * that its request is begun before the next newcomer looks for a place.
 */
void uapi_client_serve(struct uapi_client *client);

/* uapi_client_can_go_on() - has that happened which it waits for: bytes or the
 * end of its stream have come, or its socket takes some of the answer? */
bool uapi_client_can_go_on(const struct uapi_client *client);

/**
 * uapi_client_active_since() - when did bytes last come or go?
 * @client:	client
 *
 * Return: CLOCK_BOOTTIME in ns.
 */
uint64_t uapi_client_active_since(const struct uapi_client *client);

/**
 * uapi_client_expires_at() - when is it to be disconnected?
 * @client:	client
 * @patience_ns: how long a part of a request, or an answer that is not taken,
 *		may last without progress
 *
 * Return: CLOCK_BOOTTIME in ns; UAPI_NEVER: it has begun no request and is owed
 * no answer.
 */
uint64_t uapi_client_expires_at(const struct uapi_client *client,
				uint64_t patience_ns);

/**
 * uapi_client_yields_at() - from when on may a newcomer take its place?
 * @client:	client
 *
 * Return: CLOCK_BOOTTIME in ns; 0: at once, as it has begun no request and is
 * owed no answer.
 */
uint64_t uapi_client_yields_at(const struct uapi_client *client);

/* uapi_now() - CLOCK_BOOTTIME in ns */
uint64_t uapi_now(void);

#endif /* UAPI_CLIENT_H */
