/* SPDX-License-Identifier: MIT */
/* See predecessor.h. */
#include "cli/predecessor.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/descriptors.h"
#include "base/log.h"
#include "base/now.h"
#include "cli/handover.h"
#include "handover/owner.h"
#include "handover/state.h"
#include "keeper/channel.h"

/* How often to look whether all clients are at rest. A choice. */
#define LOOK_NS (2 * NSEC_PER_MSEC)

/* How long requests may take that clients have begun. A choice: as long as a busy client
 * may keep its place (UAPI_STALL_S). */
#define CLIENTS_NS NSEC_PER_SEC

/* How long the threads may take until they rest. A choice: a batch takes some hundred
 * microseconds. */
#define PAUSE_NS (100 * NSEC_PER_MSEC)

enum {
	/* Room for the numbers that the engine counts. */
	COUNTERS_MAX = 512,
};

/* Take a message that has no descriptors. Return: as handover_receive(). */
static int receive_plain(const struct predecessor *p, enum handover_kind wanted)
{
	struct handover_message message;
	int fds[CHANNEL_FDS_MAX];
	unsigned int n_fds;
	int err = handover_receive(p->fd, wanted, &message, fds, &n_fds);

	close_all(fds, n_fds);
	return err;
}

static bool has_sockets(const struct predecessor *p)
{
	struct engine_state state;

	engine_get_state(p->engine, &state);
	return state.has_sockets;
}

/* ------------------------------------------------------------ the way back */

/* Forget the successor. The clients are served again. */
static void forget(struct predecessor *p)
{
	if (p->fd < 0)
		return;
	loop_clear_timer(p->loop, &p->timer);
	loop_remove(p->loop, &p->watch);
	close(p->fd);
	p->fd = -1;
	if (p->has_early)
		state_close(&p->early);
	if (p->has_state)
		state_close(&p->state);
	p->has_early = p->has_state = false;
}

/* Go on as if there had been no successor. */
static void give_up(struct predecessor *p, const char *why, int err)
{
	log_error("no handover: %s: %s", why,
		  err == -EPROTO ? "it speaks another version"
				 : strerror(-err));
	forget(p);
	uapi_server_release(p->config);
	if (p->stats)
		uapi_server_release(p->stats);
}

/* ----------------------------------------------------------- the last steps */

/* The numbers that the engine counts. */
struct counters_list {
	struct state_counter all[COUNTERS_MAX];
	size_t n;
};

static void list_counter(void *arg, const char *name, uint64_t value)
{
	struct counters_list *list = arg;
	struct state_counter *to = &list->all[list->n];

	if (list->n == COUNTERS_MAX || strlen(name) >= sizeof(to->name))
		return;
	memset(to, 0, sizeof(*to));
	memcpy(to->name, name, strlen(name));
	to->value = value;
	list->n++;
}

static int write_state(struct predecessor *p)
{
	static struct counters_list counters;

	counters.n = 0;
	engine_each_counter(p->engine, list_counter, &counters);
	return state_write(&p->state, engine_get_device(p->engine), &p->early,
			   counters.all, counters.n, now_boottime());
}

/* Wait for the successor while nothing moves. Return: 0: it says that it has taken the
 * tunnel; -errno. */
static int await_taken(struct predecessor *p)
{
	uint64_t patience_ns =
		HANDOVER_REST_NS +
		engine_get_device(p->engine)->n_peers * HANDOVER_PEER_REST_NS;
	struct handover_message message;
	int fds[CHANNEL_FDS_MAX];
	unsigned int n_fds = 0;
	int err = handover_await(p->fd, HANDOVER_TAKEN, patience_ns, &message,
				 fds, &n_fds);

	close_all(fds, n_fds);
	return err;
}

/* Give the clients of a server away: as many as a message takes. */
static unsigned int take_clients(struct uapi_server *server, int *fds)
{
	unsigned int n = 0;

	while (server && n < HANDOVER_CLIENTS_MAX) {
		int fd = uapi_server_take_client(server);

		if (fd < 0)
			break;
		fds[n++] = fd;
	}
	return n;
}

/* Hand the clients over. If the successor does not take one, its connection ends. */
static void send_clients(struct predecessor *p)
{
	struct handover_message message = { .kind = HANDOVER_CLIENTS };
	int fds[2 * HANDOVER_CLIENTS_MAX], err = 0;

	do {
		message.n_config = take_clients(p->config, fds);
		message.n_stats =
			take_clients(p->stats, fds + message.n_config);
		if (err == 0)
			err = handover_send(p->fd, &message, fds,
					    message.n_config + message.n_stats);
		close_all(fds, message.n_config + message.n_stats);
	} while (message.n_config + message.n_stats);
}

/* The tunnel is the successor's. */
static void leave(struct predecessor *p)
{
	send_clients(p);
	p->has_left = true;
	engine_abandon(p->engine);
	log_event("another engine has taken the place of this one");
	forget(p);
	loop_stop(p->loop, 0);
}

/* The threads rest: hand the state over, and see who goes on. */
static void hand_over(struct predecessor *p, uint64_t paused_ns)
{
	const struct handover_message message = {
		.kind = HANDOVER_STATE,
		.is_open = has_sockets(p),
		.paused_ns = paused_ns,
	};
	int err = write_state(p);

	if (err < 0) {
		engine_resume(p->engine);
		give_up(p, "the state cannot be written", err);
		return;
	}
	err = handover_send(p->fd, &message, NULL, 0);
	if (err == 0)
		err = await_taken(p);
	/* Whatever the successor has said or not said, the word decides. */
	if (!owner_take((struct state_head *)(void *)p->state.bytes,
			OWNER_KEPT)) {
		leave(p);
		return;
	}
	engine_resume(p->engine);
	give_up(p, "the successor has not taken the tunnel",
		err < 0 ? err : -EPROTO);
}

static void ready(struct predecessor *p)
{
	int err = receive_plain(p, HANDOVER_READY);
	uint64_t begun = now_monotonic();

	if (err == -EAGAIN)
		return;
	if (err < 0) {
		give_up(p, "the successor has not taken the early state", err);
		return;
	}
	if (has_sockets(p) != p->was_open) {
		give_up(p, "the port was opened or closed meanwhile",
			-ECANCELED);
		return;
	}
	err = engine_pause(p->engine, PAUSE_NS);
	if (err < 0)
		give_up(p, "the threads do not rest", err);
	else
		hand_over(p, begun);
}

/* ---------------------------------------------------------- the first steps */

/* Wait for the successor, while packets go on. */
static void await_successor(struct predecessor *p, enum predecessor_step step)
{
	p->step = step;
	p->until = now_monotonic() + HANDOVER_PATIENCE_NS;
	loop_set_timer(p->loop, &p->timer, p->until);
}

static void prepared(struct predecessor *p)
{
	const struct handover_message message = { .kind = HANDOVER_EARLY };
	int err = receive_plain(p, HANDOVER_PREPARED);

	if (err == -EAGAIN)
		return;
	if (err < 0) {
		give_up(p, "the successor was not prepared", err);
		return;
	}
	err = state_write_early(&p->early, engine_get_device(p->engine),
				now_boottime());
	if (err == 0)
		err = handover_send(p->fd, &message, NULL, 0);
	if (err < 0)
		give_up(p, "the early state cannot be written", err);
	else
		await_successor(p, PREDECESSOR_READY);
}

/* Send the copy of the journal, and the memory for both states. */
static int send_config(void *arg, int fd)
{
	struct predecessor *p = arg;
	const int fds[HANDOVER_CONFIG_FDS] = { fd, p->early.fd, p->state.fd };
	struct handover_message message = { .kind = HANDOVER_CONFIG };

	p->was_open = has_sockets(p);
	message.is_open = p->was_open;
	return handover_send(p->fd, &message, fds, HANDOVER_CONFIG_FDS);
}

static int make_memory(struct predecessor *p)
{
	size_t len = state_get_len(engine_get_device(p->engine), COUNTERS_MAX);
	int err = store_new(&p->early, len, SECRET_BEST);

	p->has_early = err == 0;
	if (err == 0)
		err = store_new(&p->state, len, SECRET_BEST);
	p->has_state = err == 0;
	return err;
}

static void send_all(struct predecessor *p)
{
	int err = make_memory(p);

	if (err == 0)
		err = journal_copy(p->journal, send_config, p);
	if (err < 0)
		give_up(p, "the configuration cannot be handed over", err);
	else
		await_successor(p, PREDECESSOR_PREPARED);
}

static bool are_clients_at_rest(const struct predecessor *p)
{
	return uapi_server_is_at_rest(p->config) &&
	       (!p->stats || uapi_server_is_at_rest(p->stats));
}

static void look_at_clients(struct predecessor *p)
{
	if (now_monotonic() >= p->until) {
		/* A change that is accepted later would be lost. */
		uapi_server_drop_busy(p->config);
		if (p->stats)
			uapi_server_drop_busy(p->stats);
	}
	if (are_clients_at_rest(p)) {
		send_all(p);
		return;
	}
	loop_set_timer(p->loop, &p->timer, now_monotonic() + LOOK_NS);
}

static void timer_ready(struct loop_timer *timer)
{
	struct predecessor *p = timer->arg;

	if (p->step == PREDECESSOR_CLIENTS)
		look_at_clients(p);
	else
		give_up(p, "the successor is silent", -ETIMEDOUT);
}

static void hello(struct predecessor *p)
{
	int err = receive_plain(p, HANDOVER_HELLO);

	if (err == -EAGAIN)
		return;
	if (err < 0) {
		give_up(p, "the successor could not start", err);
		return;
	}
	uapi_server_hold(p->config);
	if (p->stats)
		uapi_server_hold(p->stats);
	p->step = PREDECESSOR_CLIENTS;
	p->until = now_monotonic() + CLIENTS_NS;
	look_at_clients(p);
}

static void link_ready(struct loop_watch *watch, uint32_t events)
{
	struct predecessor *p = watch->arg;

	(void)events;
	switch (p->step) {
	case PREDECESSOR_HELLO:
		hello(p);
		break;
	case PREDECESSOR_CLIENTS:
		give_up(p, "the successor has ended", -EPIPE);
		break;
	case PREDECESSOR_PREPARED:
		prepared(p);
		break;
	case PREDECESSOR_READY:
		ready(p);
		break;
	}
}

void predecessor_init(struct predecessor *p)
{
	p->fd = -1;
	p->timer = (struct loop_timer){ .ready = timer_ready, .arg = p };
}

void predecessor_begin(struct predecessor *p, int fd)
{
	int err;

	if (p->fd >= 0 || p->has_left) {
		close(fd);
		return;
	}
	p->fd = fd;
	p->watch =
		(struct loop_watch){ .fd = fd, .ready = link_ready, .arg = p };
	err = loop_add(p->loop, &p->watch, EPOLLIN);
	if (err < 0) {
		close(fd);
		p->fd = -1;
		return;
	}
	await_successor(p, PREDECESSOR_HELLO);
}

void predecessor_deinit(struct predecessor *p)
{
	forget(p);
}
