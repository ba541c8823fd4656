/* SPDX-License-Identifier: MIT */
/*
 * A client of the server: a connection, what it has asked, and what it is being
 * told. Requests are answered one after the other, however they came; while
 * the socket does not take an answer nothing more is read, so a client that
 * does not listen stops itself and nobody else. What passes through the buffers
 * may be secret and is wiped.
 *
 * Control thread.
 */
#ifndef UAPI_CLIENT_H
#define UAPI_CLIENT_H

#include "base/list.h"
#include "device/device.h"
#include "engine/loop.h"
#include "uapi/grammar.h"

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
 * @hub:	outlives the client
 * @fd:		nonblocking; the client's on success, else still the caller's
 *
 * The client ends and frees itself when the connection does.
 *
 * Return: 0; -errno.
 */
int uapi_client_open(struct uapi_hub *hub, int fd);

/* uapi_client_close() - end a connection, wipe and free */
void uapi_client_close(struct uapi_client *client);

/* uapi_client_of() - the client with this link of uapi_hub.clients */
struct uapi_client *uapi_client_of(struct list *link);

/**
 * uapi_client_waiting_since() - how long has it kept us waiting?
 * @client:	client
 * @is_crowded:	its place is wanted: by doing nothing it does, too
 *
 * It does if it has sent part of a request, or has not taken its answer.
 *
 * Return: when it last did anything (CLOCK_BOOTTIME, ns); 0: it is idle.
 */
uint64_t uapi_client_waiting_since(const struct uapi_client *client,
				   bool is_crowded);

/* uapi_now() - CLOCK_BOOTTIME in ns */
uint64_t uapi_now(void);

#endif /* UAPI_CLIENT_H */
