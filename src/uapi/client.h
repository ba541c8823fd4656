/* SPDX-License-Identifier: MIT */
/*
 * A client of the server: a connection, the request that comes in, and the
 * answer that goes out. Requests are answered one after the other, in the order
 * in which they came. While the socket takes no more of an answer, nothing is
 * read, so a client that does not read its answers stops only itself. The
 * buffers may hold secrets, and are wiped. A client is busy while it has begun
 * a request or is owed an answer. A client that follows events is busy only while a
 * part of an answer has not been sent, and it may take its time.
 *
 * A request with an error is answered as soon as the error is read. The answer
 * does not wait for the end of the request, because a request with an endless
 * line has no end. The rest of the request is read and thrown away. The
 * connection is closed if the end has not come after UAPI_DRAIN_S seconds, or
 * after UAPI_DRAIN_MAX bytes. If the connection were closed at once, a client
 * that is still writing would get EPIPE from write(2) before it reads the
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
#include "uapi/stats.h"

enum {
	/* Seconds and bytes that the rest of a refused request may take. Both
	 * are choices, not measured. */
	UAPI_DRAIN_S = 1,
	UAPI_DRAIN_MAX = 1 << 20,
	/* Seconds without progress after which a busy client has to give its
	 * place to a newcomer. A choice, not measured. */
	UAPI_STALL_S = 1,
};

/* A time that never comes. */
#define UAPI_NEVER UINT64_MAX

/**
 * struct uapi_hub - the part of a server that its clients share
 * @loop:	borrowed
 * @device:	borrowed
 * @codec:	borrowed
 * @apply:	applies a configuration instead of config_apply(), with its results;
 *		NULL: config_apply() does
 * @apply_arg:	for @apply
 * @refusal:	the last configuration that was refused
 * @stats:	what the answers are made of; NULL: the clients speak the protocol
 *		of configuration, else that of statistics
 * @changed:	called after a client was served; the client may be gone
 * @applied:	called after a configuration was applied, with the time of
 *		now_monotonic() at which that began; NULL: nobody wants to know
 * @applied_arg: for @applied
 * @is_held:	no client begins another request
 * @clients:	list of all clients
 * @n_clients:	their count
 */
struct uapi_hub {
	struct loop *loop;
	struct device *device;
	const struct uapi_codec *codec;
	int (*apply)(void *arg, const struct config *config, uint64_t now);
	void *apply_arg;
	struct uapi_refusal refusal;
	const struct stats_source *stats;
	void (*changed)(struct uapi_hub *hub);
	void (*applied)(void *arg, uint64_t begun);
	void *applied_arg;
	bool is_held;
	struct list clients;
	unsigned int n_clients;
};

struct uapi_client;

/**
 * uapi_client_open() - serve a connection
 * @out:	set on success
 * @hub:	outlives the client
 * @fd:		nonblocking; consumed on success only
 *
 * The client frees itself when the connection ends.
 *
 * Return: 0; -errno.
 */
int uapi_client_open(struct uapi_client **out, struct uapi_hub *hub, int fd);

/* uapi_client_close() - end a connection, wipe and free */
void uapi_client_close(struct uapi_client *client);

/* uapi_client_hold() - read nothing from a client that is not busy. A client that is busy
 * comes to rest after its request if uapi_hub.is_held is set. */
void uapi_client_hold(struct uapi_client *client);

/* uapi_client_release() - go on with a client that was held. Return: 0; -errno: it must
 * be closed. */
int uapi_client_release(struct uapi_client *client);

/* uapi_client_is_held() - is nothing read from this client? */
bool uapi_client_is_held(const struct uapi_client *client);

/* uapi_client_take() - free a client that is held, but do not close its connection.
 * Return: the connection. */
int uapi_client_take(struct uapi_client *client);

/* uapi_client_of() - the client with this link of uapi_hub.clients */
struct uapi_client *uapi_client_of(struct list *link);

/**
 * uapi_client_serve() - read what has come, and answer
 * @client:	client; it may be freed by this
 *
 * The event loop calls this when the socket is ready. The server calls it for a
 * new connection, too, so that the client has begun its request before the next
 * newcomer looks for a place.
 */
void uapi_client_serve(struct uapi_client *client);

/* uapi_client_follows() - does a client wait for events (get=events)? */
bool uapi_client_follows(const struct uapi_client *client);

/* uapi_client_can_go_on() - is a client's socket ready for what the client
 * waits for? A client waits for bytes or the end of the stream, or for the
 * socket to take more of the answer. */
bool uapi_client_can_go_on(const struct uapi_client *client);

/**
 * uapi_client_active_since() - when were bytes last received or sent?
 * @client:	client
 *
 * Return: CLOCK_BOOTTIME in ns.
 */
uint64_t uapi_client_active_since(const struct uapi_client *client);

/**
 * uapi_client_expires_at() - when must a client be closed?
 * @client:	client
 * @patience_ns: how long a busy client may make no progress
 *
 * Return: CLOCK_BOOTTIME in ns; UAPI_NEVER if the client is not busy.
 */
uint64_t uapi_client_expires_at(const struct uapi_client *client,
				uint64_t patience_ns);

/**
 * uapi_client_yields_at() - from when on may a newcomer take a client's place?
 * @client:	client
 *
 * Return: CLOCK_BOOTTIME in ns; 0, which is at once, if the client is not busy.
 */
uint64_t uapi_client_yields_at(const struct uapi_client *client);

#endif /* UAPI_CLIENT_H */
