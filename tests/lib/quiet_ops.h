/* SPDX-License-Identifier: MIT */
/*
 * Operations of a device that do nothing, for tests, fuzzers and benchmarks of
 * the device alone. Their users supply the random numbers.
 */
#ifndef TESTS_LIB_QUIET_OPS_H
#define TESTS_LIB_QUIET_OPS_H

#include "device/device.h"

static inline void quiet_wake(void *arg)
{
	(void)arg;
}

static inline void quiet_forget_source(void *arg, struct device_endpoint *ep)
{
	(void)arg;
	(void)ep;
}

/* For both send_initiation and send_keepalive. */
static inline void quiet_send(void *arg, struct peer *peer)
{
	(void)arg;
	(void)peer;
}

static inline void quiet_session_ready(void *arg, struct peer *peer,
				       bool confirm)
{
	(void)arg;
	(void)peer;
	(void)confirm;
}

/* Any port is free. */
static inline int
quiet_set_sockets(void *arg, const struct device_sockets *want, uint16_t *port)
{
	(void)arg;
	if (want->has_port)
		*port = want->port;
	return 0;
}

/* All of them, for a struct device_ops whose users add op_random(). */
#define QUIET_OPS                                                           \
	.wake = quiet_wake, .forget_source = quiet_forget_source,           \
	.endpoint_learnt = quiet_wake, .send_initiation = quiet_send,       \
	.send_keepalive = quiet_send, .session_ready = quiet_session_ready, \
	.set_sockets = quiet_set_sockets

#endif /* TESTS_LIB_QUIET_OPS_H */
