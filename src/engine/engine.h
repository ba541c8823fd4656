/* SPDX-License-Identifier: MIT */
/*
 * The engine: a TUN device, UDP sockets and the threads between them.
 *
 * Three kinds of threads. The control thread, which is the caller's, owns the
 * configuration, the timers and the link's state, and runs the event loop. The
 * worker moves packets, with helpers that sleep until they are needed. The
 * handshaker does the public-key work. All of them exist from engine_start() to
 * engine_free().
 *
 * Everything here is for the control thread.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "crypto/aead.h"
#include "device/device.h"
#include "engine/loop.h"
#include "tun/tun.h"

struct engine;

/**
 * struct engine_config - how to make an engine
 * @tun:	open device; once engine_new() succeeds, engine_free() closes it.
 *		The struct stays where it is, and outlives the engine. The
 *		caller may go on to read what is immutable.
 * @loop:	borrowed: the control thread's loop. It is stopped with status 0
 *		when the device is deleted.
 * @segments_off: send no trains
 * @merging_off: have received datagrams not merged
 * @first:	what each thread of the engine does first, with its name: "rcu",
 *		"handshaker", "worker" or "helper"; NULL: nothing
 * @aead:	who encrypts data messages
 * @n_workers:	threads that move packets, 1 to WORKERS_MAX
 * @helpers_awake: all threads that move packets are awake all the time; for
 *		tests
 */
struct engine_config {
	struct tun *tun;
	struct loop *loop;
	bool segments_off;
	bool merging_off;
	void (*first)(const char *name);
	enum aead_choice aead;
	unsigned int n_workers;
	bool helpers_awake;
};

/**
 * engine_new() - an engine at rest
 * @out:	set on success
 * @config:	how
 *
 * Needs crypto_init() and rcu_register(). Call it in the process that will
 * run: memory for secrets does not cross fork().
 *
 * Return: 0; -ELIBACC: @aead is not there; -errno.
 */
int engine_new(struct engine **out, const struct engine_config *config);

/**
 * engine_start() - start the threads and follow the link
 * @engine:	engine
 *
 * Return: 0; -errno.
 */
int engine_start(struct engine *engine);

/**
 * engine_close_port() - close the UDP sockets for good
 * @engine:	engine whose loop has ended
 *
 * Call it before the configuration socket is closed. Another process may wait
 * for that socket to vanish and then bind the port.
 */
void engine_close_port(struct engine *engine);

/* engine_free() - stop the threads, close everything; NULL is ok */
void engine_free(struct engine *engine);

/* engine_get_device() - the device, to be configured by the control thread */
struct device *engine_get_device(struct engine *engine);

/**
 * engine_parse_endpoint() - read "1.2.3.4:5" or "[fe80::1%eth0]:5"
 * @ep:		filled on success
 * @text:	text
 *
 * Any thread. For struct uapi_codec.
 *
 * Return: 0; -errno.
 */
int engine_parse_endpoint(struct device_endpoint *ep, const char *text);

/**
 * engine_print_endpoint() - the reverse
 * @ep:		endpoint
 * @buf:	filled, with a final 0
 * @cap:	bytes at @buf
 *
 * Any thread.
 *
 * Return: the length; -errno.
 */
int engine_print_endpoint(const struct device_endpoint *ep, char *buf,
			  size_t cap);

#endif /* ENGINE_ENGINE_H */
