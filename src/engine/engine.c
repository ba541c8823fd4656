/* SPDX-License-Identifier: MIT */
/*
 * Teardown. The control thread stops the worker and the handshaker, in this
 * order: the worker may hand messages to the handshaker, and both may poke the
 * control thread, which does not listen any more. What is left in their rings
 * gives its references back; then the device removes its peers, and RCU is
 * drained before what the peers point to is freed.
 */
#include "engine/engine.h"

#include <errno.h>
#include <stdio.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/rcu.h"
#include "engine/endpoint.h"
#include "engine/handshaker.h"
#include "engine/inbound.h"
#include "engine/outbound.h"
#include "engine/sockets.h"
#include "engine/sticky.h"
#include "engine/thread.h"
#include "engine/vmgenid.h"
#include "engine/clocks.h"
#include "engine/worker.h"
#include "tun/link.h"

enum {
	/* How often to ask for random numbers, and how long to wait between. */
	RANDOM_TRIES = 100,
	RANDOM_PAUSE_MS = 10,
};

/* How long to wait before the sockets are tried again. */
#define UP_AGAIN_NS NSEC_PER_SEC

/**
 * struct engine - see engine.h
 * @config:	[I]
 * @tun:	[I] the device; see struct tun for who uses it
 * @device:	the peers; locks inside
 * @sockets:	locked inside
 * @out, @in4, @in6: lanes
 * @writer:	of both lanes in
 * @worker:	its thread
 * @handshaker:	its thread
 * @link:	[c] netlink
 * @sticky:	[c] which local addresses peers are answered from
 * @vmgenid:	[c] tells when the machine was resumed from a snapshot
 * @port:	[c] to listen on when up, 0: any
 * @fwmark:	[c]
 * @is_up:	[c] the link is up, and the sockets are open
 * @wants_up:	[c] the link is up, and the sockets could not be opened
 * @up_again:	[c] with @wants_up: when to try again; 0: at the next tick
 * @up_err:	[c] why they could not be opened, as the log knows; 0: they were
 * @is_running:	[c] the threads exist
 * @is_unlocked: [c] memory for secrets was refused its lock, and it was said
 * @tick_fd:	[I] timerfd for device_tick()
 * @wake_fd:	[I] eventfd: device_tick() is to be called soon
 * @gone_fd:	[I] eventfd: the TUN is gone
 * @watches:	[c] of the loop
 */
struct engine {
	struct engine_config config;
	struct tun tun;
	struct device device;
	struct sockets sockets;
	struct outbound_lane out;
	struct inbound_lane in4;
	struct inbound_lane in6;
	struct tun_writer writer;
	struct worker worker;
	struct handshaker handshaker;
	struct link link;
	struct sticky sticky;
	struct vmgenid vmgenid;
	uint16_t port;
	uint32_t fwmark;
	bool is_up;
	bool wants_up;
	uint64_t up_again;
	int up_err;
	bool is_running;
	bool is_unlocked;
	int tick_fd;
	int wake_fd;
	int gone_fd;
	struct loop_watch tick_watch;
	struct loop_watch wake_watch;
	struct loop_watch gone_watch;
	struct loop_watch link_watch;
};

/* ----------------------------------------------- what the device asks for */

/* There is nothing to go on with, and nobody up the stack who could tell. */
static _Noreturn void end_without_random(int err)
{
	log_error("cannot go on: no random numbers: %s", strerror(err));
	log_stop();
	_exit(EXIT_FAILURE);
}

static void op_random(void *arg, void *buf, size_t len)
{
	int n_failures = 0;

	(void)arg;
	for (size_t done = 0; done < len;) {
		ssize_t n = getrandom((char *)buf + done, len - done, 0);

		if (n > 0)
			done += (size_t)n;
		else if (errno != EINTR && n_failures++ < RANDOM_TRIES)
			poll(NULL, 0, RANDOM_PAUSE_MS);
		else if (errno != EINTR)
			end_without_random(errno);
	}
}

static void op_wake(void *arg)
{
	struct engine *e = arg;

	thread_poke(e->wake_fd);
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

static void op_send_keepalive(void *arg, struct peer *peer)
{
	struct engine *e = arg;

	outbound_request(&e->out, peer, true);
	worker_poke(&e->worker);
}

static void op_session_ready(void *arg, struct peer *peer, bool confirm)
{
	static struct log_limit limit;
	struct engine *e = arg;

	log_limited(&limit, "session with %s established as %s",
		    thread_peer_name(peer),
		    confirm ? "initiator" : "responder");
	outbound_request(&e->out, peer, confirm);
	worker_poke(&e->worker);
}

static void poke_users(void *arg)
{
	struct engine *e = arg;

	worker_poke(&e->worker);
	handshaker_poke(&e->handshaker);
}

/*
 * Print an endpoint with the number of its zone. The name of the zone needs a
 * socket, and only the control thread may open one.
 */
static void print_without_name(const struct ug_endpoint *ep, char *buf,
			       size_t cap)
{
	struct ug_endpoint plain = *ep;
	uint32_t zone = 0;
	size_t len;

	if (ep->addr.any.sa_family == AF_INET6) {
		zone = ep->addr.v6.sin6_scope_id;
		plain.addr.v6.sin6_scope_id = 0;
	}
	ug_endpoint_print(&plain, buf, cap);
	len = strlen(buf);
	if (zone)
		snprintf(buf + len, cap - len, " (interface %u)", zone);
}

static void op_notice(void *arg, enum ug_notice notice,
		      const struct ug_endpoint *ep, int err, int value)
{
	static struct log_limit limit;
	char text[UG_ENDPOINT_TEXT + 32] = "";

	(void)arg;
	if (ep)
		print_without_name(ep, text, sizeof(text));
	switch (notice) {
	case UG_NOTICE_ENDPOINT_UNSEGMENTED:
		log_limited(&limit, "%s: sending without segmentation: %s",
			    text, strerror(err));
		break;
	case UG_NOTICE_ENDPOINT_CAPPED:
		log_limited(&limit, "%s: segments of %d bytes do not pass: %s",
			    text, value, strerror(err));
		break;
	case UG_NOTICE_ENDPOINT_RECOVERED:
		log_limited(&limit, "%s: segments of %d bytes pass again", text,
			    value);
		break;
	case UG_NOTICE_ENDPOINT_ASIDE:
		log_limited(&limit, "%s: packets pile up: side socket %d", text,
			    value);
		break;
	default:
		break;
	}
}

static void report_family(const char *what, const struct ug_family_report *r)
{
	if (r->err && r->err != -ENOENT)
		log_event("%s is not there: %s: %s", what, r->step,
			  strerror(-r->err));
}

/* Without side sockets the tunnel works, but a slow peer may delay others. */
static void report_sides(const struct ug_socket *sock)
{
	if (ug_side_fd(sock, AF_INET, 0) == -ENOENT ||
	    ug_side_fd(sock, AF_INET6, 0) == -ENOENT)
		log_event("no side sockets: a slow peer may delay others");
}

/* Open sockets on a port. Return: 0; -errno. */
static int open_sockets(struct engine *e, uint16_t port, uint32_t fwmark,
			struct ug_socket **out)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.port = port,
		.mark = fwmark,
		/* IPv4 without DF, as the kernel module has it. */
		.pmtu4 = UG_PMTU_DONT,
		.notice = op_notice,
		.notice_arg = e,
		.side_sockets = SIDE_SOCKETS,
	};
	struct ug_report report = { .size = sizeof(report) };
	enum ug_reason reason = UG_REASON_NONE;
	int err = ug_open(out, &opt, &report);

	report_family("IPv4", &report.v4);
	report_family("IPv6", &report.v6);
	if (err < 0)
		return err;
	if (e->config.segments_off)
		ug_set_segments(*out, UG_SEGMENTS_OFF);
	if (e->config.merging_off)
		ug_set_merging(*out, false);
	report_sides(*out);
	if (ug_get_segments(*out, AF_INET, &reason) > 0 &&
	    reason == UG_REASON_BAD_KERNEL)
		log_error("sending nearly all without segmentation: %s",
			  ug_reason_text(reason));
	return 0;
}

/* Another port: the new sockets are there before the old ones go. */
static int change_port(struct engine *e, uint16_t port, uint32_t fwmark)
{
	struct ug_socket *next, *now = sockets_get(&e->sockets);

	if (now && port && ug_port(now) == port)
		return 0;
	int err = open_sockets(e, port, fwmark, &next);

	if (err < 0)
		return err;
	e->port = ug_port(next);
	log_event("listening on port %u", e->port);
	sockets_replace(&e->sockets, next, poke_users, e);
	return 0;
}

static void network_changed(struct engine *e, unsigned int families)
{
	if (sticky_note_change(&e->sticky, families, time_now()))
		op_wake(e);
}

/*
 * Remember a port while no sockets are open. It is tried now, so that `wg
 * setconf` reports a taken port before the interface is up, as wg-quick
 * expects. If the interface is up, the sockets could not be opened before: try
 * again soon, with this port.
 */
static int remember_port(struct engine *e, uint16_t port, uint32_t fwmark)
{
	struct ug_socket *trial;

	if (port || e->link.state.up) {
		int err = open_sockets(e, port, fwmark, &trial);

		if (err < 0)
			return err;
		ug_close(trial);
	}
	if (e->link.state.up) {
		e->wants_up = true;
		e->up_again = 0;
		op_wake(e);
	}
	e->port = port;
	return 0;
}

static int op_set_sockets(void *arg, const struct device_sockets *want,
			  uint16_t *port)
{
	struct engine *e = arg;
	struct ug_socket *now = sockets_get(&e->sockets);
	uint32_t fwmark = want->has_fwmark ? want->fwmark : e->fwmark;
	int err = 0;

	/* The mark first: what can fail after it undoes it. */
	if (now && want->has_fwmark)
		err = ug_set_mark(now, fwmark);
	if (err == 0 && want->has_port && e->is_up) {
		err = change_port(e, want->port, fwmark);
		if (err < 0 && now && want->has_fwmark)
			ug_set_mark(now, e->fwmark);
	} else if (err == 0 && want->has_port) {
		err = remember_port(e, want->port, fwmark);
	}
	if (err < 0) {
		log_error("cannot listen on port %u: %s", want->port,
			  strerror(-err));
		return err;
	}
	/* Another mark may be another route: sources are learned anew. */
	if (fwmark != e->fwmark && sockets_get(&e->sockets))
		ug_network_changed(sockets_get(&e->sockets));
	e->fwmark = fwmark;
	*port = e->port;
	return 0;
}

static const struct device_ops device_ops = {
	.random = op_random,
	.wake = op_wake,
	.forget_source = endpoint_forget_source,
	.endpoint_learnt = op_endpoint_learnt,
	.send_initiation = op_send_initiation,
	.send_keepalive = op_send_keepalive,
	.session_ready = op_session_ready,
	.set_sockets = op_set_sockets,
};

/* ------------------------------------------------------------ the link */

/*
 * The link is up and there are no sockets: what is missing (a port that another
 * process has, memory, descriptors) may be there in a while.
 */
static void set_up_later(struct engine *e, int err)
{
	if (err != e->up_err)
		log_error("cannot listen on port %u: %s", e->port,
			  strerror(-err));
	e->up_err = err;
	e->wants_up = true;
	e->up_again = time_now() + UP_AGAIN_NS;
	op_wake(e);
}

static void set_up(struct engine *e)
{
	struct ug_socket *sock;

	e->wants_up = false;
	if (e->is_up)
		return;
	int err = open_sockets(e, e->port, e->fwmark, &sock);

	if (err < 0) {
		set_up_later(e, err);
		return;
	}
	e->is_up = true;
	e->up_err = 0;
	e->port = ug_port(sock);
	e->device.listen_port = e->port;
	log_event("listening on port %u", e->port);
	log_event("interface up");
	/* The peers first: what arrives by the sockets finds them ready. */
	device_set_up(&e->device, true, time_now());
	sockets_replace(&e->sockets, sock, poke_users, e);
	op_wake(e);
}

static void set_down(struct engine *e)
{
	e->wants_up = false;
	e->up_err = 0;
	if (!e->is_up)
		return;
	e->is_up = false;
	log_event("interface down");
	device_set_up(&e->device, false, time_now());
	sockets_replace(&e->sockets, NULL, poke_users, e);
}

static void set_mtu(struct engine *e)
{
	/* Partner: cut(), frame_message(). */
	atomic_store_explicit(&e->out.mtu, e->link.state.mtu,
			      memory_order_relaxed);
	log_event("MTU is %u", e->link.state.mtu);
}

static void device_gone(struct engine *e)
{
	log_event("the interface was deleted");
	loop_stop(e->config.loop, 0);
}

/* The link is not where it was looked for: the TUN knows if it is gone. */
static void check_missing(struct engine *e)
{
	char name[IFNAMSIZ];

	if (tun_get_name(&e->tun, name) == -EBADFD)
		device_gone(e);
}

static void handle_link_event(struct engine *e, enum link_event event)
{
	switch (event) {
	case LINK_UP:
		set_up(e);
		break;
	case LINK_DOWN:
		set_down(e);
		break;
	case LINK_MTU:
		set_mtu(e);
		break;
	case LINK_RENAMED:
		log_event("renamed to %s", e->link.state.name);
		log_set_name(e->link.state.name);
		break;
	case LINK_MOVED:
		log_event("moved to another namespace");
		break;
	case LINK_DELETED:
		device_gone(e);
		break;
	case LINK_MISSING:
		check_missing(e);
		break;
	case LINK_NETWORK4:
		network_changed(e, STICKY_IPV4);
		break;
	case LINK_NETWORK6:
		network_changed(e, STICKY_IPV6);
		break;
	case LINK_OVERFLOW:
	default:
		link_request(&e->link);
		network_changed(e, STICKY_IPV4 | STICKY_IPV6);
	}
}

static void link_ready(struct loop_watch *watch, uint32_t events)
{
	struct engine *e = watch->arg;
	struct link_events news = { 0 };

	(void)events;
	int r = link_receive(&e->link, &news);

	for (unsigned int i = 0; i < news.cnt; i++)
		handle_link_event(e, news.kinds[i]);
	if (r < 0)
		loop_fail(e->config.loop, watch, "netlink", r);
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
	log_error("memory for secrets is not locked, and may be swapped: "
		  "see RLIMIT_MEMLOCK");
}

/* Do what is due, and have the clock wake us for the next. */
static void tick(struct engine *e)
{
	struct itimerspec at = { 0 };
	uint64_t next, next_pass;

	if (e->wants_up && time_now() >= e->up_again)
		set_up(e);
	next = device_tick(&e->device, time_now());
	tell_lock_refusal(e);
	next_pass = sticky_tick(&e->sticky, e->fwmark, time_now());
	if (next_pass < next)
		next = next_pass;
	if (e->wants_up && e->up_again < next)
		next = e->up_again;
	if (next != SCHEDULE_NEVER) {
		at.it_value.tv_sec = (time_t)(next / NSEC_PER_SEC);
		at.it_value.tv_nsec = (long)(next % NSEC_PER_SEC);
	}
	/* It is only refused if it is nonsense; but no timer may be lost. */
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

/* The machine was resumed or cloned: another copy may have our memory. */
static void renew(void *arg)
{
	struct engine *e = arg;

	device_renew(&e->device);
	op_wake(e);
}

static int watch_all(struct engine *e)
{
	int err = add_watch(e, &e->tick_watch, e->tick_fd, tick_ready);

	if (err == 0)
		err = add_watch(e, &e->wake_watch, e->wake_fd, tick_ready);
	if (err == 0)
		err = add_watch(e, &e->gone_watch, e->gone_fd, gone_ready);
	if (err == 0)
		err = add_watch(e, &e->link_watch, link_get_fd(&e->link),
				link_ready);
	if (err == 0)
		err = vmgenid_watch(&e->vmgenid, e->config.loop, renew, e);
	return err;
}

static void unwatch_all(struct engine *e)
{
	loop_remove(e->config.loop, &e->tick_watch);
	loop_remove(e->config.loop, &e->wake_watch);
	loop_remove(e->config.loop, &e->gone_watch);
	loop_remove(e->config.loop, &e->link_watch);
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

/* Make everything that engine_new() makes after the device. */
static int init_parts(struct engine *e)
{
	unsigned int n_slots = e->config.n_workers * SLOTS_PER_WORKER;
	int err = open_fds(e);

	if (err == 0)
		err = handshaker_init(&e->handshaker, &e->device, &e->sockets);
	if (err < 0)
		goto err_close_fds;
	err = outbound_lane_init(&e->out, &e->device, &e->tun, n_slots);
	if (err < 0)
		goto err_deinit_handshaker;
	err = inbound_lane_init(&e->in4, &e->device, &e->writer, &e->handshaker,
				AF_INET, n_slots);
	if (err < 0)
		goto err_deinit_out;
	err = inbound_lane_init(&e->in6, &e->device, &e->writer, &e->handshaker,
				AF_INET6, n_slots);
	if (err < 0)
		goto err_deinit_in4;
	e->in4.trains = e->in6.trains = &e->out.trains;
	e->worker = (struct worker){
		.sockets = &e->sockets,
		.out = &e->out,
		.in4 = &e->in4,
		.in6 = &e->in6,
		.helpers.aead_choice = e->config.aead,
		.helpers.is_eager = e->config.eager,
	};
	err = worker_init(&e->worker, e->gone_fd, e->config.n_workers - 1);
	if (err == 0)
		err = link_open(&e->link, &tun_sys_linux, e->tun.ifindex,
				e->tun.name);
	if (err == 0) {
		e->out.unreachable.broadcasts = &e->link.state.broadcasts;
		err = sticky_init(&e->sticky, &e->device, &e->sockets);
		if (err < 0)
			link_close(&e->link);
	}
	if (err == 0) {
		vmgenid_open(&e->vmgenid);
		return 0;
	}
	worker_deinit(&e->worker);
	inbound_lane_deinit(&e->in6);
err_deinit_in4:
	inbound_lane_deinit(&e->in4);
err_deinit_out:
	outbound_lane_deinit(&e->out);
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
	e->tun = *config->tun;
	e->writer.tun = &e->tun;
	pthread_mutex_init(&e->writer.mutex, NULL);
	e->tick_fd = e->wake_fd = e->gone_fd = -1;
	int err = device_init(&e->device, &device_ops, e);

	if (err < 0) {
		free(e);
		return err;
	}
	sockets_init(&e->sockets);
	err = init_parts(e);
	if (err < 0) {
		device_deinit(&e->device);
		sockets_deinit(&e->sockets);
		free(e);
		return err;
	}
	*out = e;
	return 0;
}

int engine_start(struct engine *e)
{
	int err;

	thread_set_first(e->config.first);
	sticky_start(&e->sticky);
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
	err = watch_all(e);
	/* The answer says whether the link is up, and its MTU. */
	if (err == 0)
		err = link_request(&e->link);
	return err;
}

static void log_totals(struct engine *e)
{
	struct ug_send_stats tx;

	ug_get_send_stats(e->out.batch, &tx, sizeof(tx));
	log_event("sent %llu datagrams in %llu messages, %llu calls; %s",
		  (unsigned long long)tx.datagrams,
		  (unsigned long long)tx.messages, (unsigned long long)tx.calls,
		  aead_get_name(e->worker.context.aead));
}

void engine_close_port(struct engine *e)
{
	set_down(e);
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
	vmgenid_close(&e->vmgenid);
	sticky_deinit(&e->sticky);
	link_close(&e->link);
	worker_deinit(&e->worker);
	inbound_lane_deinit(&e->in6);
	inbound_lane_deinit(&e->in4);
	outbound_lane_deinit(&e->out);
	handshaker_deinit(&e->handshaker);
	device_deinit(&e->device);
	rcu_drain();
	rcu_stop();
	sockets_deinit(&e->sockets);
	close_fds(e);
	tun_close(&e->tun);
	pthread_mutex_destroy(&e->writer.mutex);
	free(e);
}

struct device *engine_get_device(struct engine *e)
{
	return &e->device;
}

int engine_parse_endpoint(struct device_endpoint *dep, const char *text)
{
	struct ug_endpoint ep;
	int err = ug_endpoint_parse(&ep, text);

	if (err == 0)
		endpoint_to_device(dep, &ep);
	return err;
}

int engine_print_endpoint(const struct device_endpoint *dep, char *buf,
			  size_t cap)
{
	struct ug_endpoint ep;

	endpoint_from_device(&ep, dep);
	return ug_endpoint_print(&ep, buf, cap);
}
