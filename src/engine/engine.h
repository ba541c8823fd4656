/* SPDX-License-Identifier: MIT */
/*
 * The engine: a TUN device, UDP sockets and the threads between them.
 *
 * There are three kinds of threads. The control thread is the one that calls
 * these functions: it owns the configuration, the timers and the link's state,
 * and runs the event loop. The worker moves packets, with helpers that sleep
 * until they are needed. The handshaker does the public-key work. The worker,
 * its helpers and the handshaker exist from engine_start() to engine_free().
 *
 * engine_pause() has all of them rest. Then the control thread may read and change
 * everything of the device, as if there were no other thread. One thread is left that
 * touches its memory, "rcu": it frees what was handed to rcu_free_later(), which
 * nothing points to any more.
 *
 * Everything here is for the control thread.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "crypto/aead.h"
#include "device/device.h"
#include "engine/loop.h"
#include "engine/rights.h"
#include "tun/tun.h"

struct engine;
struct events;

/**
 * struct engine_config - how to make an engine
 * @tuns:	open device, and behind it its further queues. After
 *		engine_new() succeeded, engine_free() closes them. The structs
 *		are not copied, so they must outlive the engine. The caller may
 *		still read their immutable members.
 * @n_queues:	number of @tuns, 1 to QUEUES_MAX
 * @is_steered:	see struct lanes_config
 * @loop:	borrowed: the control thread's loop. The engine stops it with
 *		status 0 when the interface is deleted.
 * @segments_off: send no trains
 * @merging_off: do not let the kernel merge received datagrams
 * @finds_mtu:	find the path MTU of each peer
 * @clamps_mss:	lower the MSS of the connections in the tunnel
 * @first:	each thread that the engine starts calls this function first,
 *		with the thread's name: "rcu", "handshaker", "worker" or
 *		"helper"; NULL: no call
 * @aead:	the backend that encrypts and decrypts data messages
 * @n_workers:	the worker and its helpers: 1 to WORKERS_MAX threads
 * @helpers_awake: all threads that move packets are awake all the time; for
 *		tests
 * @rights:	does what takes rights; borrowed
 * @is_paused:	engine_start() makes an engine that is paused
 */
struct engine_config {
	struct tun *tuns;
	unsigned int n_queues;
	bool is_steered;
	struct loop *loop;
	bool segments_off;
	bool merging_off;
	bool finds_mtu;
	bool clamps_mss;
	void (*first)(const char *name);
	enum aead_choice aead;
	unsigned int n_workers;
	bool helpers_awake;
	const struct rights *rights;
	bool is_paused;
};

/**
 * engine_new() - make an engine; its threads do not run yet
 * @out:	set on success; engine_free() it
 * @config:	copied
 *
 * Call crypto_init() and rcu_register() before. Call fork() before, too: a
 * child does not get its parent's memory for secrets.
 *
 * Return: 0; -ELIBACC: the library of the backend @aead cannot be loaded; -ENOMEM;
 * -errno.
 */
int engine_new(struct engine **out, const struct engine_config *config);

/**
 * engine_start() - start the threads and follow the link
 * @engine:	engine
 *
 * Return: 0; -errno: only engine_free() may be called then.
 */
int engine_start(struct engine *engine);

/**
 * engine_pause() - stop all threads that move packets or handshakes
 * @engine:	engine that was started
 * @timeout_ns:	the longest wait
 *
 * Afterwards no thread reads the TUN or a socket, draws a counter, commits a replay
 * window, makes or handles a handshake message, or sends. All packets that were read
 * before have been sent, written to the TUN, dropped, or staged for want of a session.
 * What waits in the TUN and in the sockets stays there. The handshaker has handled the
 * messages that waited, up to HANDSHAKE_LAST_ROUNDS (engine/bounds.h); more of them, and
 * requests for initiations, stay in its rings, which no other process sees.
 *
 * Until engine_resume() no timer fires. The engine notes that the interface goes up or
 * down, and that the machine was resumed from a snapshot, and acts on it later. While
 * the sockets are closed, requests and the rest of a super-packet stay where they are,
 * too.
 *
 * Usually the call takes less than a millisecond: a thread finishes its batch first.
 *
 * Return: 0, also if the engine is paused already; -ETIMEDOUT: a thread did not come to
 * rest; everything goes on as before.
 */
int engine_pause(struct engine *engine, uint64_t timeout_ns);

/**
 * engine_resume_packets() - go on after engine_pause(), but without handshakes
 * @engine:	engine; nothing happens if it is not paused
 *
 * Packets of sessions pass again. Messages of handshakes wait until engine_resume(), which
 * the caller calls next.
 */
void engine_resume_packets(struct engine *engine);

/**
 * engine_resume() - go on after engine_pause(), or begin with @is_paused
 * @engine:	engine; nothing happens if it is not paused
 */
void engine_resume(struct engine *engine);

/**
 * engine_adopt() - go on with the sockets of an engine of another process
 * @engine:	engine that was made with @is_paused, and started. Port and mark are set.
 *
 * The @open function of its rights gives the sockets, as they are. They are not read
 * before engine_resume(). The caller has seen to it that the device is as that of the
 * other engine: device_set_up() is not called, which would end sessions.
 *
 * Return: 0; -errno.
 */
int engine_adopt(struct engine *engine);

/**
 * engine_abandon() - TUN and sockets belong to an engine of another process now
 * @engine:	engine that is paused. Only engine_close_port() and engine_free() may be
 *		called then: they wipe all keys, send nothing, close our descriptors
 *		only, and do not log that the interface is down.
 */
void engine_abandon(struct engine *engine);

/**
 * engine_log_encryption() - log which libraries encrypt, and why
 * @engine:	engine
 */
void engine_log_encryption(const struct engine *engine);

/**
 * engine_close_port() - close the UDP sockets for good
 * @engine:	engine whose loop has ended
 *
 * Call it before the configuration socket is closed. Another process may wait
 * for that socket to vanish and then bind the port.
 */
void engine_close_port(struct engine *engine);

/* engine_free() - stop the threads, close everything; NULL is ok. The
 * configuration socket is closed before, and the loop does not run any more. */
void engine_free(struct engine *engine);

/**
 * struct engine_state - what an engine is doing
 * @name:	the interface's name; borrowed until the next event of the loop
 * @aead:	the backend for data messages, a constant
 * @started:	when it was made, in ns of CLOCK_REALTIME
 * @mtu:	of the interface
 * @n_workers:	threads that move packets
 * @is_up:	the interface is up
 * @has_sockets: the UDP sockets are open
 * @err:	with @is_up and without @has_sockets: the -errno of opening them
 * @segments:	the most datagrams in a train, for IPv4 and for IPv6; 0: that
 *		family is not open
 * @why:	what limits @segments, a phrase
 */
struct engine_state {
	const char *name;
	const char *aead;
	uint64_t started;
	unsigned int mtu;
	unsigned int n_workers;
	bool is_up;
	bool has_sockets;
	int err;
	int segments[2];
	const char *why[2];
};

/* engine_get_state() - read the state */
void engine_get_state(struct engine *engine, struct engine_state *state);

/**
 * engine_watch_state() - call a function when the state may have changed
 * @engine:	engine that was not started yet
 * @changed:	called on the control thread when engine_get_state(), the port, or the
 *		number of peers or of sessions may give something new. A session that
 *		is too old to be used, and whose keys were not wiped yet, is not told.
 * @arg:	for @changed
 */
void engine_watch_state(struct engine *engine, void (*changed)(void *arg),
			void *arg);

/**
 * engine_find_stalled() - look whether all threads make progress
 * @engine:	engine that was started
 *
 * A thread that sleeps because there is nothing to do makes progress, and is not woken
 * (engine/progress.h).
 *
 * Return: the name of a thread that has stood still since the last call although there
 * was work for it, a constant; NULL: there is none.
 */
const char *engine_find_stalled(struct engine *engine);

/**
 * engine_each_counter() - call a function for each number that the engine counts
 * @engine:	engine
 * @put:	gets the name, such as "inbound_dropped_replayed", which is borrowed
 *		for the call, and the value
 * @arg:	for @put
 *
 * The names are those of the statistics socket (docs/statistics.md). The numbers are
 * not read at one instant.
 */
void engine_each_counter(struct engine *engine,
			 void (*put)(void *arg, const char *name,
				     uint64_t value),
			 void *arg);

/**
 * engine_add_counter() - go on counting where another engine has stopped
 * @engine:	engine
 * @name:	a name that the other engine_each_counter() has told; one that is not
 *		known here is ignored
 * @value:	its value there. It is added to what is counted here; for several
 *		calls with a name their sum is.
 */
void engine_add_counter(struct engine *engine, const char *name,
			uint64_t value);

/* engine_get_path_mtu() - the path MTU that was learnt for a peer; 0: none. Takes no
 * lock. Any thread. */
uint32_t engine_get_path_mtu(const struct engine *engine,
			     const struct peer *peer, uint64_t now);

/* engine_get_events() - what has happened; borrowed */
struct events *engine_get_events(struct engine *engine);

/* engine_watch_feed() - call a function when the feed may have something new; NULL
 * ends it */
void engine_watch_feed(struct engine *engine, void (*ready)(void *arg),
		       void *arg);

/* engine_get_device() - the device, borrowed: the caller configures it */
struct device *engine_get_device(struct engine *engine);

#endif /* ENGINE_ENGINE_H */
