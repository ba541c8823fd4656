/* SPDX-License-Identifier: MIT */
/* See successor.h. */
#include "cli/successor.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/descriptors.h"
#include "base/log.h"
#include "base/now.h"
#include "cli/handover.h"
#include "engine/endpoint.h"
#include "handover/owner.h"
#include "handover/state.h"
#include "keeper/channel.h"

static int send_plain(const struct successor *s, enum handover_kind kind)
{
	const struct handover_message message = { .kind = kind };

	return handover_send(s->fd, &message, NULL, 0);
}

/* Say in words what the predecessor has done, by an error. */
static const char *explain(int err)
{
	switch (err) {
	case -EPIPE:
		return "the running engine does not hand it over, perhaps "
		       "because it speaks another version, and then a restart "
		       "of the tunnel is needed; its log says more";
	case -EPROTO:
		return "the running engine speaks another version; a restart "
		       "of the tunnel is needed";
	case -ETIMEDOUT:
		return "the running engine is silent";
	case -ECANCELED:
		return "the running engine did not wait, or its port has "
		       "changed";
	case -ESTALE:
		return "its configuration has changed";
	case -ENOMEM:
		return "memory is short";
	default:
		return "the memory of the running engine cannot be used";
	}
}

/* Map the memory of both states. The descriptors are consumed. */
static int open_memory(struct successor *s, int early_fd, int state_fd)
{
	int err = store_open(&s->early, early_fd, STATE_MAX_LEN);

	if (err < 0) {
		close(early_fd);
		close(state_fd);
		return err;
	}
	err = store_open(&s->state, state_fd, STATE_MAX_LEN);
	if (err < 0) {
		store_close(&s->early);
		close(state_fd);
	}
	s->has_memory = err == 0;
	return err;
}

static void close_memory(struct successor *s)
{
	if (s->has_memory) {
		store_close(&s->early);
		store_close(&s->state);
	}
	s->has_memory = false;
}

static int get_config(struct successor *s, int *config_fd)
{
	struct handover_message message = { 0 };
	int fds[CHANNEL_FDS_MAX];
	unsigned int n_fds = 0;
	int err = send_plain(s, HANDOVER_HELLO);

	if (err == 0)
		err = handover_await(s->fd, HANDOVER_CONFIG,
				     HANDOVER_PATIENCE_NS, &message, fds,
				     &n_fds);
	if (err < 0)
		return err;
	if (n_fds != HANDOVER_CONFIG_FDS) {
		close_all(fds, n_fds);
		return -EPROTO;
	}
	err = open_memory(s, fds[1], fds[2]);
	if (err < 0) {
		close(fds[0]);
		return err;
	}
	s->is_open = message.is_open;
	*config_fd = fds[0];
	return 0;
}

int successor_get_config(struct successor *s, int *config_fd)
{
	int err = get_config(s, config_fd);

	if (err < 0)
		s->why = explain(err);
	return err;
}

static int apply(struct successor *s, const struct store *store, bool is_early)
{
	struct state state = { .is_endpoint = endpoint_is_sound };
	struct state_counter counter;
	int err;

	if (!state_check(&state, store->bytes, store->len)) {
		s->why = state.why;
		return -EBADMSG;
	}
	if (state.is_early != is_early)
		return -EPROTO;
	err = state_apply(&state, engine_get_device(s->engine), now_boottime());
	for (uint32_t i = 0; err == 0 && i < state.n_counters; i++) {
		state_get_counter(&state, i, &counter);
		engine_add_counter(s->engine, counter.name, counter.value);
	}
	return err;
}

/* Say what is done, and wait for what comes next. */
static int exchange(struct successor *s, enum handover_kind done,
		    enum handover_kind next, struct handover_message *message)
{
	int fds[CHANNEL_FDS_MAX], err = send_plain(s, done);
	unsigned int n_fds = 0;

	if (err == 0)
		err = handover_await(s->fd, next, HANDOVER_PATIENCE_NS, message,
				     fds, &n_fds);
	if (err == 0)
		close_all(fds, n_fds);
	return err;
}

static int take(struct successor *s)
{
	struct handover_message message = { 0 };
	int err;

	state_prepare(engine_get_device(s->engine));
	err = exchange(s, HANDOVER_PREPARED, HANDOVER_EARLY, &message);
	if (err == 0)
		err = apply(s, &s->early, true);
	/* Packets wait from here on. */
	if (err == 0)
		err = exchange(s, HANDOVER_READY, HANDOVER_STATE, &message);
	if (err < 0)
		return err;
	s->paused_ns = message.paused_ns;
	if (message.is_open != s->is_open)
		return -ECANCELED;
	err = apply(s, &s->state, false);
	if (err < 0)
		return err;
	return owner_take((struct state_head *)(void *)s->state.bytes,
			  OWNER_SUCCESSOR)
		       ? 0
		       : -ECANCELED;
}

int successor_take(struct successor *s)
{
	int err = take(s);

	if (err < 0 && !s->why)
		s->why = explain(err);
	return err;
}

/* ------------------------------------------------------------ the clients */

static void add_clients(struct successor *s,
			const struct handover_message *message, const int *fds,
			unsigned int n_fds)
{
	for (unsigned int i = 0; i < n_fds; i++) {
		if (i < message->n_config)
			uapi_server_add_client(s->config, fds[i]);
		else if (s->stats)
			uapi_server_add_client(s->stats, fds[i]);
		else
			close(fds[i]);
	}
}

static void end(struct successor *s)
{
	/* Before successor_serve() there is no watch. */
	if (s->watch.arg)
		loop_remove(s->loop, &s->watch);
	s->watch.arg = NULL;
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

static void clients_ready(struct loop_watch *watch, uint32_t events)
{
	struct successor *s = watch->arg;
	struct handover_message message;
	int fds[CHANNEL_FDS_MAX];
	unsigned int n_fds;
	int err = handover_receive(s->fd, HANDOVER_CLIENTS, &message, fds,
				   &n_fds);

	(void)events;
	if (err == 0)
		add_clients(s, &message, fds, n_fds);
	else if (err != -EAGAIN)
		end(s);
}

void successor_serve(struct successor *s)
{
	int err;

	/* If this message does not arrive, the owner word says the same. */
	(void)send_plain(s, HANDOVER_TAKEN);
	close_memory(s);
	s->watch = (struct loop_watch){ .fd = s->fd,
					.ready = clients_ready,
					.arg = s };
	err = loop_add(s->loop, &s->watch, EPOLLIN);
	if (err == 0)
		return;
	log_error("the clients of the sockets lose their connections: %s",
		  strerror(-err));
	s->watch.arg = NULL;
	end(s);
}

void successor_deinit(struct successor *s)
{
	end(s);
	close_memory(s);
}
