/* SPDX-License-Identifier: MIT */
/*
 * An engine is one tunnel at work: it owns the TUN, the device with its peers,
 * the lanes, the threads that run them, the port and the link, and it connects
 * them. This file makes and frees these parts, does what the device asks of its
 * owner (struct device_ops), and handles the events of the link and the timer
 * on the control thread.
 *
 * Teardown, in engine_free(). The control thread runs it, after its loop has
 * ended and the configuration socket is closed. A peer lives until the last
 * reference to it is gone. References, and other pointers to a peer, may still
 * be held by:
 *
 *  (1) Batches in the lanes, and the worker or a helper that works on one.
 *      worker_stop() joins these threads. Each commits the batch that it has
 *      taken before it ends, so no batch is left.
 *  (2) The message or the initiation that the handshaker works on.
 *      handshaker_stop() joins the thread, which ends when that work is done.
 *  (3) The pass over the sources of peers, if it was interrupted between two
 *      peers. sticky_deinit() drops its reference.
 *  (4) The outbound lanes: the packet that each has cut in part, the peer whose
 *      staged packets the first is sending, and the requests in its ring.
 *      lanes_deinit() drops them.
 *  (5) The ring of peers that wait for an initiation. handshaker_deinit()
 *      empties it. (Waiting messages are copies and name no peer.)
 *  (6) The device: its list of peers that were poked, and its set of configured
 *      peers. device_deinit() empties both.
 *  (7) RCU: the memory of a peer is handed to the rcu thread with the last
 *      reference. All readers but the control thread have ended with (1) and
 *      (2). device_deinit() waits until that memory is free, and rcu_stop()
 *      then ends the rcu thread.
 *
 * (1) and (2) come before all others. Until both are joined, the worker may put
 * messages into the handshaker's ring, the handshaker may put requests into the
 * lane's ring, and both may write to eventfds of the other and of the control
 * thread. Therefore rings and descriptors are freed only after that. The seats
 * of the watch over trains point to peers, too, but such a pointer is only
 * compared. The UDP sockets and the TUN are closed last: no thread uses them.
 */
#include "engine/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/now.h"
#include "base/rcu.h"
#include "engine/counters.h"
#include "engine/endpoint.h"
#include "engine/entropy.h"
#include "engine/events.h"
#include "engine/handshaker.h"
#include "engine/lanes.h"
#include "engine/pause.h"
#include "engine/port.h"
#include "engine/progress.h"
#include "engine/rights.h"
#include "engine/sockets.h"
#include "engine/sticky.h"
#include "engine/thread.h"
#include "engine/worker.h"
#include "tun/link.h"

/**
 * struct engine - a tunnel: its parts, and the descriptors between them
 * @config:	[I]
 * @tun:	[I] the TUN, its first queue; struct tun says which thread uses
 *		which member
 * @device:	the peers; locked inside
 * @events:	what has happened; locked inside
 * @sockets:	the UDP sockets in use; locked inside
 * @lanes:	the lanes
 * @worker:	the worker and its helpers
 * @handshaker:	the handshaker
 * @link:	[c] the interface, as the last news described it
 * @sticky:	[c] which local addresses peers are answered from
 * @port:	[c] opens and closes @sockets
 * @progress:	[c] whether the threads make progress
 * @pause:	[c] whether the threads rest
 * @started:	[I] when the engine was made, in ns of CLOCK_REALTIME
 * @feed_ready:	[c] see engine_watch_feed(); NULL: nobody
 * @feed_arg:	[c] for @feed_ready
 * @state_changed: [I] see engine_watch_state(); NULL: nobody
 * @state_arg:	[I] for @state_changed
 * @has_changed: [a] @state_changed is to be called
 * @counted_before: [c] what other engines have counted; see engine_add_counter()
 * @is_running:	[c] the threads exist
 * @is_ending:	[c] engine_free() was called, and the threads have ended
 * @is_unlocked: [c] the log says that memory for secrets is not locked
 * @tick_fd:	[I] timerfd for device_tick()
 * @wake_fd:	[I] eventfd: tick() is to be called soon
 * @gone_fd:	[I] eventfd: the TUN is gone
 * @tick_watch, @wake_watch, @gone_watch: [c] of the loop
 *
 * [I] immutable after engine_new(), or once the threads run; [a] atomic; [c] control
 * thread only.
 */
struct engine {
	struct engine_config config;
	struct tun *tun;
	struct device device;
	struct events events;
	struct sockets sockets;
	struct lanes lanes;
	struct worker worker;
	struct handshaker handshaker;
	struct link_state link;
	struct sticky sticky;
	struct port port;
	struct progress progress;
	struct pause pause;
	uint64_t started;
	void (*feed_ready)(void *arg);
	void *feed_arg;
	void (*state_changed)(void *arg);
	void *state_arg;
	_Atomic bool has_changed;
	struct counters_base counted_before;
	bool is_running;
	bool is_ending;
	bool is_unlocked;
	int tick_fd;
	int wake_fd;
	int gone_fd;
	struct loop_watch tick_watch;
	struct loop_watch wake_watch;
	struct loop_watch gone_watch;
};

/* ----------------------------------------------- what the device asks for */

static void op_random(void *arg, void *buf, size_t len)
{
	(void)arg;
	entropy_get(buf, len);
}

static void op_wake(void *arg)
{
	struct engine *e = arg;

	thread_poke(e->wake_fd);
}

/* What engine_get_state() gives may have changed: have tick() tell it. Any thread. */
static void note_change(struct engine *e)
{
	/* Partner: tell_change(). */
	if (e->state_changed && !atomic_exchange_explicit(&e->has_changed, true,
							  memory_order_release))
		op_wake(e);
}

static void op_endpoint_learnt(void *arg)
{
	struct engine *e = arg;

	if (sticky_note_new(&e->sticky))
		thread_poke(e->wake_fd);
}

static void op_send_initiation(void *arg, struct peer *peer)
{
	struct engine *e = arg;

	handshaker_initiate(&e->handshaker, peer);
}

static size_t op_count_initiations(void *arg)
{
	struct engine *e = arg;

	return handshaker_count_initiations(&e->handshaker);
}

static void op_send_keepalive(void *arg, struct peer *peer)
{
	struct engine *e = arg;

	lanes_request(&e->lanes, peer, true);
	worker_poke(&e->worker);
}

static void op_session_ready(void *arg, struct peer *peer, bool confirm)
{
	struct engine *e = arg;

	events_established(&e->events, peer, confirm);
	note_change(e);
	lanes_request(&e->lanes, peer, confirm);
	worker_poke(&e->worker);
}

static void poke_users(void *arg)
{
	struct engine *e = arg;

	worker_poke(&e->worker);
	handshaker_poke(&e->handshaker);
}

static void network_changed(void *arg, unsigned int families)
{
	struct engine *e = arg;

	if (sticky_note_change(&e->sticky, families, now_boottime()))
		op_wake(e);
}

static void op_event(void *arg, enum device_event event, struct peer *peer,
		     const struct device_endpoint *was)
{
	struct engine *e = arg;

	/* That the peers go at the end of the engine is no news. */
	if (e->is_ending)
		return;
	events_tell(&e->events, event, peer, was);
	if (event == DEVICE_PEER_ADDED || event == DEVICE_PEER_REMOVED ||
	    event == DEVICE_SESSION_ENDED)
		note_change(e);
}

static int op_set_sockets(void *arg, const struct device_sockets *want,
			  uint16_t *port)
{
	struct engine *e = arg;

	note_change(e);
	return port_set(&e->port, want, port);
}

/* The port calls this before it publishes sockets that it has opened. */
static void op_set_up(void *arg, bool up)
{
	struct engine *e = arg;

	if (up)
		device_note_port(&e->device, e->port.number);
	log_event(up ? "interface up" : "interface down");
	device_set_up(&e->device, up, now_boottime());
	note_change(e);
}

static const struct port_ops port_ops = {
	.set_up = op_set_up,
	.poke = poke_users,
	.wake = op_wake,
};

static const struct device_ops device_ops = {
	.random = op_random,
	.wake = op_wake,
	.forget_source = endpoint_forget_source,
	.endpoint_learnt = op_endpoint_learnt,
	.send_initiation = op_send_initiation,
	.count_initiations = op_count_initiations,
	.send_keepalive = op_send_keepalive,
	.session_ready = op_session_ready,
	.set_sockets = op_set_sockets,
	.event = op_event,
};

/* ------------------------------------------------------------ the link */

static void set_mtu(struct engine *e)
{
	lanes_set_mtu(&e->lanes, e->link.mtu);
	log_event("MTU is %u", e->link.mtu);
}

static void device_gone(struct engine *e)
{
	log_event("the interface was deleted");
	loop_stop(e->config.loop, 0);
}

/* Copy the news; other threads look the broadcast addresses up meanwhile. */
static void hear_state(void *arg, const struct link_state *state)
{
	struct engine *e = arg;

	e->link.ifindex = state->ifindex;
	e->link.mtu = state->mtu;
	e->link.up = state->up;
	memcpy(e->link.name, state->name, sizeof(e->link.name));
	broadcasts_copy(&e->link.broadcasts, &state->broadcasts);
}

/* The interface is up or down: open or close the sockets, now or after the pause. */
static void follow_link(struct engine *e, enum link_event event)
{
	note_change(e);
	e->pause.has_link = e->pause.is_on;
	e->pause.link = event;
	if (e->pause.is_on)
		return;
	if (event == LINK_UP)
		port_set_up(&e->port, now_boottime());
	else
		port_set_down(&e->port);
}

static void hear_link(void *arg, enum link_event event)
{
	struct engine *e = arg;

	switch (event) {
	case LINK_UP:
	case LINK_DOWN:
		follow_link(e, event);
		break;
	case LINK_MTU:
		set_mtu(e);
		break;
	case LINK_RENAMED:
		log_event("renamed to %s", e->link.name);
		log_set_name(e->link.name);
		break;
	case LINK_MOVED:
		log_event("moved to another namespace");
		break;
	case LINK_DELETED:
		device_gone(e);
		break;
	default:
		break;
	}
}

static void hear_overlays(void *arg, const struct overlays *set)
{
	struct engine *e = arg;

	lanes_set_overlays(&e->lanes, set);
}

/* ------------------------------------------------------------ the loop */

static void drain(struct engine *e, struct loop_watch *watch)
{
	uint64_t n;

	if (read(watch->fd, &n, sizeof(n)) < 0 && errno != EAGAIN &&
	    errno != EINTR)
		loop_fail(e->config.loop, watch, "cannot read an event",
			  -errno);
}

/* Say once that memory for secrets was refused its lock. */
static void tell_lock_refusal(struct engine *e)
{
	if (e->is_unlocked || !noise_local_take_lock_refusal(&e->device.local))
		return;
	e->is_unlocked = true;
	log_warning("memory for secrets is not locked, and may be swapped: "
		    "see RLIMIT_MEMLOCK");
}

/* Tell the owner that the state may have changed. */
static void tell_change(struct engine *e)
{
	/* Partner: note_change(). */
	if (e->state_changed && atomic_exchange_explicit(&e->has_changed, false,
							 memory_order_acquire))
		e->state_changed(e->state_arg);
}

/* Do what is due, and set the timer for what is due next. */
static void tick(struct engine *e)
{
	struct itimerspec at = { 0 };
	uint64_t next;

	/* engine_resume() has this function called. */
	if (e->pause.is_on)
		return;
	next = port_tick(&e->port, now_boottime());
	tell_change(e);
	next = clock_earlier(next, device_tick(&e->device, now_boottime()));
	tell_lock_refusal(e);
	if (e->feed_ready && feed_is_read(&e->events.feed))
		e->feed_ready(e->feed_arg);
	next = clock_earlier(
		next, sticky_tick(&e->sticky, e->port.fwmark, now_boottime()));
	if (next != SCHEDULE_NEVER) {
		at.it_value.tv_sec = (time_t)(next / NSEC_PER_SEC);
		at.it_value.tv_nsec = (long)(next % NSEC_PER_SEC);
	}
	/* The call can fail only for invalid values. If it failed all the same,
	 * no timer would call this function again: @wake_fd has to do it. */
	if (timerfd_settime(e->tick_fd, TFD_TIMER_ABSTIME, &at, NULL) < 0) {
		loop_fail(e->config.loop, &e->wake_watch, "cannot set a timer",
			  -errno);
		op_wake(e);
	}
}

static void tick_ready(struct loop_watch *watch, uint32_t events)
{
	(void)events;
	drain(watch->arg, watch);
	tick(watch->arg);
}

static void gone_ready(struct loop_watch *watch, uint32_t events)
{
	(void)events;
	drain(watch->arg, watch);
	device_gone(watch->arg);
}

static int add_watch(struct engine *e, struct loop_watch *watch, int fd,
		     void (*ready)(struct loop_watch *, uint32_t))
{
	*watch = (struct loop_watch){ .fd = fd, .ready = ready, .arg = e };
	return loop_add(e->config.loop, watch, EPOLLIN);
}

/* The machine was resumed or cloned: another machine may have our keys. */
static void hear_renewal(void *arg)
{
	struct engine *e = arg;

	e->pause.must_renew = e->pause.is_on;
	if (e->pause.is_on)
		return;
	device_renew(&e->device);
	op_wake(e);
}

static const struct rights_news news = {
	.state = hear_state,
	.link = hear_link,
	.overlays = hear_overlays,
	.network = network_changed,
	.renew = hear_renewal,
};

static int watch_all(struct engine *e)
{
	int err = add_watch(e, &e->tick_watch, e->tick_fd, tick_ready);

	if (err == 0)
		err = add_watch(e, &e->wake_watch, e->wake_fd, tick_ready);
	if (err == 0)
		err = add_watch(e, &e->gone_watch, e->gone_fd, gone_ready);
	if (err == 0)
		err = e->config.rights->ops->start(e->config.rights->arg, &news,
						   e);
	return err;
}

static void unwatch_all(struct engine *e)
{
	loop_remove(e->config.loop, &e->tick_watch);
	loop_remove(e->config.loop, &e->wake_watch);
	loop_remove(e->config.loop, &e->gone_watch);
	progress_deinit(&e->progress);
	e->config.rights->ops->stop(e->config.rights->arg);
}

/* ------------------------------------------------------------ life */

static int open_fds(struct engine *e)
{
	e->tick_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	e->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	e->gone_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return e->tick_fd < 0 || e->wake_fd < 0 || e->gone_fd < 0 ? -errno : 0;
}

static void close_fds(struct engine *e)
{
	if (e->tick_fd >= 0)
		close(e->tick_fd);
	if (e->wake_fd >= 0)
		close(e->wake_fd);
	if (e->gone_fd >= 0)
		close(e->gone_fd);
}

static int init_lanes(struct engine *e)
{
	const struct lanes_config config = {
		.device = &e->device,
		.tuns = e->config.tuns,
		.handshaker = &e->handshaker,
		.n_queues = e->config.n_queues,
		.is_steered = e->config.is_steered,
		.n_slots = e->config.n_workers * SLOTS_PER_WORKER,
		.finds_mtu = e->config.finds_mtu,
		.clamps_mss = e->config.clamps_mss,
	};

	return lanes_init(&e->lanes, &config);
}

/* Make everything that engine_new() makes after the device. */
static int init_parts(struct engine *e)
{
	int err = open_fds(e);

	if (err == 0)
		err = handshaker_init(&e->handshaker, &e->device, &e->sockets);
	if (err < 0)
		goto err_close_fds;
	err = init_lanes(e);
	if (err < 0)
		goto err_deinit_handshaker;
	lanes_set_events(&e->lanes, &e->events);
	e->handshaker.events = &e->events;
	e->worker = (struct worker){
		.sockets = &e->sockets,
		.helpers.aead_choice = e->config.aead,
		.helpers.are_always_awake = e->config.helpers_awake,
	};
	lanes_list(&e->lanes, &e->worker.sources);
	progress_init(&e->progress, &e->worker, &e->handshaker, e->config.loop);
	err = worker_init(&e->worker, e->gone_fd, e->config.n_workers - 1);
	if (err == 0) {
		e->lanes.out[0].unreachable.broadcasts = &e->link.broadcasts;
		sticky_init(&e->sticky, &e->device, &e->sockets,
			    e->config.rights);
		return 0;
	}
	lanes_deinit(&e->lanes);
err_deinit_handshaker:
	handshaker_deinit(&e->handshaker);
err_close_fds:
	close_fds(e);
	return err;
}

int engine_new(struct engine **out, const struct engine_config *config)
{
	struct engine *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->config = *config;
	e->tun = &config->tuns[0];
	e->tick_fd = e->wake_fd = e->gone_fd = -1;
	e->started = now_realtime();
	events_init(&e->events, op_wake, e);
	int err = device_init(&e->device, &device_ops, e);

	if (err < 0) {
		events_deinit(&e->events);
		free(e);
		return err;
	}
	sockets_init(&e->sockets);
	e->sockets.rights = config->rights;
	link_state_init(&e->link, e->tun->ifindex, e->tun->name);
	e->port = (struct port){
		.ops = &port_ops,
		.arg = e,
		.sockets = &e->sockets,
		.events = &e->events,
		.segments_off = config->segments_off,
		.merging_off = config->merging_off,
		.finds_mtu = config->finds_mtu,
		.n_sockets = config->n_queues,
	};
	device_set_lanes(&e->device, config->n_queues);
	err = init_parts(e);
	if (err < 0) {
		device_deinit(&e->device);
		sockets_deinit(&e->sockets);
		events_deinit(&e->events);
		free(e);
		return err;
	}
	e->pause = (struct pause){ .worker = &e->worker,
				   .handshaker = &e->handshaker };
	if (config->is_paused)
		pause_prepare(&e->pause);
	*out = e;
	return 0;
}

int engine_start(struct engine *e)
{
	int err;

	thread_set_first(e->config.first);
	err = rcu_start(e->config.first);
	if (err < 0)
		return err;
	err = handshaker_start(&e->handshaker);
	if (err < 0)
		return err;
	err = worker_start(&e->worker);
	if (err < 0) {
		handshaker_stop(&e->handshaker);
		return err;
	}
	e->is_running = true;
	return watch_all(e);
}

/* ------------------------------------------------------------ pauses */

int engine_pause(struct engine *e, uint64_t timeout_ns)
{
	return e->pause.is_on ? 0 : pause_begin(&e->pause, timeout_ns);
}

void engine_resume_packets(struct engine *e)
{
	if (!e->pause.is_on)
		return;
	/* From here on news are acted on at once. The threads rest still: if another
	 * machine may have the keys, nothing may be sent with them. */
	e->pause.is_on = false;
	if (e->pause.must_renew)
		hear_renewal(e);
	if (e->pause.has_link)
		follow_link(e, e->pause.link);
	pause_end_packets(&e->pause);
}

void engine_resume(struct engine *e)
{
	engine_resume_packets(e);
	pause_end(&e->pause);
	op_wake(e);
}

int engine_adopt(struct engine *e)
{
	int err = port_adopt(&e->port);

	if (err < 0)
		return err;
	device_note_port(&e->device, e->port.number);
	note_change(e);
	return 0;
}

void engine_abandon(struct engine *e)
{
	port_abandon(&e->port);
	for (unsigned int i = 0; i < e->config.n_queues; i++)
		tun_lend(&e->config.tuns[i]);
}

/* ------------------------------------------------------------ the end */

static void log_totals(struct engine *e)
{
	struct ug_send_stats tx = { 0 };

	lanes_add_stats(&e->lanes, &tx);
	log_event("sent %llu datagrams in %llu messages, %llu calls; %s",
		  (unsigned long long)tx.datagrams,
		  (unsigned long long)tx.messages, (unsigned long long)tx.calls,
		  aead_get_name(e->worker.context.aead));
}

void engine_log_encryption(const struct engine *e)
{
	const struct aead *aead = e->worker.context.aead;
	char batches[128], singles[128];

	aead_print_choice(aead, AEAD_BATCHES, batches, sizeof(batches));
	aead_print_choice(aead, AEAD_SINGLES, singles, sizeof(singles));
	log_event("encryption of batches: %s", batches);
	log_event("encryption of single small messages: %s", singles);
}

void engine_close_port(struct engine *e)
{
	port_set_down(&e->port);
}

void engine_free(struct engine *e)
{
	if (!e)
		return;
	if (e->is_running) {
		unwatch_all(e);
		worker_stop(&e->worker);
		handshaker_stop(&e->handshaker);
		log_totals(e);
	}
	e->is_ending = true;
	sticky_deinit(&e->sticky);
	worker_deinit(&e->worker);
	lanes_deinit(&e->lanes);
	handshaker_deinit(&e->handshaker);
	device_deinit(&e->device);
	rcu_stop();
	sockets_deinit(&e->sockets);
	close_fds(e);
	for (unsigned int i = 0; i < e->config.n_queues; i++)
		tun_close(&e->config.tuns[i]);
	events_deinit(&e->events);
	free(e);
}

void engine_get_state(struct engine *e, struct engine_state *state)
{
	static const int families[] = { AF_INET, AF_INET6 };
	const struct ug_socket *sock = sockets_get(&e->sockets);

	*state = (struct engine_state){
		.name = e->link.name,
		.aead = aead_get_name(e->worker.context.aead),
		.started = e->started,
		.mtu = e->link.mtu,
		.n_workers = e->config.n_workers,
		.is_up = e->link.up,
		.has_sockets = sock != NULL,
		.err = e->port.err,
	};
	for (int i = 0; sock && i < 2; i++) {
		enum ug_reason reason = UG_REASON_NONE;
		int n = ug_get_segments(sock, families[i], &reason);

		if (n < 0)
			continue;
		state->segments[i] = n;
		state->why[i] = ug_reason_text(reason);
	}
}

/* All numbers, and nobody yet who gets them. */
static struct counters get_counters(struct engine *e)
{
	return (struct counters){
		.lanes = &e->lanes,
		.handshaker = &e->handshaker,
		.sockets = &e->sockets,
		.base = &e->counted_before,
	};
}

void engine_each_counter(struct engine *e,
			 void (*put)(void *arg, const char *name,
				     uint64_t value),
			 void *arg)
{
	struct counters counters = get_counters(e);

	counters.put = put;
	counters.arg = arg;
	counters_visit(&counters);
}

void engine_add_counter(struct engine *e, const char *name, uint64_t value)
{
	const struct counters counters = get_counters(e);

	counters_add_base(&counters, &e->counted_before, name, value);
}

uint32_t engine_get_path_mtu(const struct engine *e, const struct peer *peer,
			     uint64_t now)
{
	return paths_get_mtu(e->lanes.paths, peer, now);
}

struct events *engine_get_events(struct engine *e)
{
	return &e->events;
}

void engine_watch_feed(struct engine *e, void (*ready)(void *arg), void *arg)
{
	e->feed_ready = ready;
	e->feed_arg = arg;
}

void engine_watch_state(struct engine *e, void (*changed)(void *arg), void *arg)
{
	e->state_changed = changed;
	e->state_arg = arg;
}

const char *engine_find_stalled(struct engine *e)
{
	/* A thread that rests in a pause does not stand still. */
	return e->pause.is_on ? NULL : progress_look(&e->progress);
}

struct device *engine_get_device(struct engine *e)
{
	return &e->device;
}
