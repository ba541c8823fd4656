/* SPDX-License-Identifier: MIT */
/*
 * The parts of a tunnel as a stack: each one is made after those that it needs,
 * and freed before them. The first failure ends the start, and is explained in
 * tunnel.why.
 */
#include "cli/tunnel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/code.h"
#include "base/log.h"
#include "base/now.h"
#include "base/rcu.h"
#include "cli/advice.h"
#include "cli/processors.h"
#include "engine/bounds.h"
#include "engine/endpoint.h"
#include "journal/restore.h"
#include "cli/state.h"

/* At most one message about the state in this time, unless the keeper asks. A choice:
 * the keeper tells the service manager less often. */
#define STATE_NS (100 * NSEC_PER_MSEC)

static const struct uapi_codec codec = {
	.parse = endpoint_parse,
	.print = endpoint_print,
};

/* If @err is an error, say what failed. Returns @err. */
static int explain(struct tunnel *t, const char *what, int err)
{
	const char *user = t->isolate.config.user;

	if (!user && user_is(&t->isolate.user))
		user = USER_DEFAULT;
	if (err < 0)
		advice_on_shortage(t->why, sizeof(t->why), what, user, err);
	return err;
}

/* As explain(), without a look at the system, which the filter may forbid. */
static int explain_late(struct tunnel *t, const char *what, const char *why,
			int err)
{
	snprintf(t->why, sizeof(t->why), "%s: %s", what, why);
	return err;
}

static void on_feed(void *arg)
{
	struct tunnel *t = arg;

	uapi_server_wake(t->stats);
}

/* Serve a socket that was handed over. @stats: what the statistics socket tells; NULL:
 * it is the configuration socket. */
static int serve(struct tunnel *t, struct uapi_server **server, int fd,
		 const struct stats_source *stats)
{
	const struct uapi_server_config config = {
		.loop = &t->loop,
		.device = engine_get_device(t->engine),
		.codec = &codec,
		.listen_fd = fd,
		.is_lent = true,
		.patience_ms = UAPI_PATIENCE_S * 1000,
		.stats = stats,
	};

	return uapi_server_open_config(server, &config);
}

static int open_server(struct tunnel *t, int fd)
{
	return explain(t, "cannot serve the configuration socket",
		       fd < 0 ? -errno : serve(t, &t->server, fd, NULL));
}

/* Serve the statistics socket; -1: there is none. */
static int open_stats(struct tunnel *t, int fd)
{
	int err;

	if (fd < 0)
		return 0;
	t->stats_source = (struct stats_source){
		.version = WG_VERSION,
		.engine = t->engine,
		.codec = &codec,
		.refusal = uapi_server_get_refusal(t->server),
	};
	err = explain(t, "cannot serve the statistics socket",
		      serve(t, &t->stats, fd, &t->stats_source));
	if (err == 0)
		engine_watch_feed(t->engine, on_feed, t);
	return err;
}

/* ------------------------------------------------- for the service manager */

static void print_status(void *arg, char *buf, size_t cap)
{
	const struct tunnel *t = arg;
	struct request_state state;

	state_fill(&state, t->engine);
	state_print(&state, buf, cap);
}

static const char *find_stalled(void *arg)
{
	const struct tunnel *t = arg;

	return engine_find_stalled(t->engine);
}

static void on_change(void *arg)
{
	struct tunnel *t = arg;

	notify_change(t->notify);
}

static void on_applied(void *arg, uint64_t begun)
{
	struct tunnel *t = arg;

	notify_reloaded(t->notify, begun);
}

static void start_notify(struct tunnel *t)
{
	static const struct notify_ops ops = { .print_status = print_status,
					       .find_stalled = find_stalled };

	notify_start(t->notify, &t->loop, &ops, t);
	if (t->notify->fd < 0)
		return;
	engine_watch_state(t->engine, on_change, t);
	uapi_server_watch(t->server, on_applied, t);
}

/* Tell the keeper the state. */
static void tell_state(struct tunnel *t, uint32_t flags)
{
	struct request_state state;

	state_fill(&state, t->engine);
	state.flags |= flags;
	if (flags & REQUEST_ANSWERS) {
		const char *stalled = engine_find_stalled(t->engine);

		snprintf(state.stalled, sizeof(state.stalled), "%s",
			 stalled ? stalled : "");
	}
	t->state_at = now_monotonic();
	client_report_state(&t->client, &state);
}

static void state_due(struct loop_timer *timer)
{
	struct tunnel *t = timer->arg;
	bool has_applied = t->has_applied;

	t->has_applied = false;
	tell_state(t, has_applied ? REQUEST_APPLIED : 0);
}

static void state_changed(void *arg)
{
	struct tunnel *t = arg;

	if (!t->state_later.is_set)
		loop_set_timer(
			&t->loop, &t->state_later,
			clock_has_passed(t->state_at, STATE_NS, now_monotonic())
				? now_monotonic()
				: t->state_at + STATE_NS);
}

static void config_applied(void *arg, uint64_t begun)
{
	struct tunnel *t = arg;

	(void)begun;
	t->has_applied = true;
	state_changed(t);
}

static void state_wanted(void *arg)
{
	tell_state(arg, REQUEST_ANSWERS);
}

static void start_telling(struct tunnel *t, const struct hello *hello)
{
	t->client.pinged = state_wanted;
	t->client.ping_arg = t;
	t->state_later = (struct loop_timer){ .ready = state_due, .arg = t };
	if (!hello->is_managed)
		return;
	engine_watch_state(t->engine, state_changed, t);
	uapi_server_watch(t->server, config_applied, t);
}

static void close_stats(struct tunnel *t)
{
	engine_watch_feed(t->engine, NULL, NULL);
	uapi_server_close(t->stats);
	t->stats = NULL;
}

/* Does this engine take the place of a living one? */
static bool is_successor(const struct tunnel *t)
{
	return t->is_engine && t->start.link_fd >= 0;
}

/* Threads that move packets: as many as can run at once, up to a default. */
static unsigned int count_workers(const struct options *options)
{
	return options->n_workers ? options->n_workers
				  : processors_get_workers(processors_count());
}

static int open_local(struct tunnel *t, const struct options *options)
{
	const char *what = "cannot hear of the interface";
	int err = local_open(&t->local, &t->loop, &t->interface.tuns[0],
			     options->netlink_fd);

	if (options->netlink_fd >= 0 &&
	    (err == -ENOTSOCK || err == -EPROTOTYPE || err == -ENODEV))
		what = "WIREGATHER_NETLINK_FD is no rtnetlink socket of the "
		       "namespace of the interface";
	return explain(t, what, err);
}

static int open_engine(struct tunnel *t, const struct options *options)
{
	const struct engine_config config = {
		.tuns = t->interface.tuns,
		.n_queues = t->interface.n_queues,
		.is_steered = t->interface.is_steered,
		.loop = &t->loop,
		.segments_off = options->no_gso,
		.merging_off = options->no_gro,
		.finds_mtu = options->finds_mtu,
		.clamps_mss = options->clamps_mss,
		.first = t->is_engine ? isolate_thread : NULL,
		.aead = options->aead,
		.n_workers = count_workers(options),
		.helpers_awake = options->eager,
		.is_paused = is_successor(t),
		.rights = t->is_engine ? &t->client.rights : &t->local.rights,
	};
	int err = engine_new(&t->engine, &config);

	return explain(t,
		       err == -ELIBACC ? "--aead: not built in, or not there"
				       : "cannot set up the engine",
		       err);
}

/* If @err is an error, say what failed. Returns @err. */
static int explain_isolation(struct tunnel *t, int err)
{
	if (err < 0)
		snprintf(t->why, sizeof(t->why), "%s", t->isolate.why);
	return err;
}

static int prepare_isolation(struct tunnel *t, const struct options *options)
{
	const struct isolate_config config = {
		.user = options->user,
		.leaves_core = options->leaves_core,
		.is_off = !t->is_engine,
		.is_dropped = t->is_engine,
	};

	return explain_isolation(t, isolate_init(&t->isolate, &config));
}

/* Start the threads, and seal the process. On failure some threads may run. */
static int start_and_seal(struct tunnel *t)
{
	int err;

	err = advice_check_descriptors(t->why, sizeof(t->why));
	if (err < 0)
		return err;
	err = explain_isolation(t, isolate_restrict(&t->isolate));
	if (err < 0)
		return err;
	err = explain(t, "cannot start the log",
		      log_start(t->is_engine ? isolate_thread : NULL));
	if (err < 0)
		return err;
	err = explain(t, "cannot start the engine", engine_start(t->engine));
	if (err < 0)
		return err;
	err = explain_isolation(t, isolate_seal(&t->isolate));
	if (err == 0 && t->isolate.missing[0])
		log_warning("not isolated in full: %s", t->isolate.missing);
	return err;
}

static int keep_journal(void *arg, int fd)
{
	struct tunnel *t = arg;

	return client_keep(&t->client, REQUEST_SLOT_JOURNAL, fd);
}

static int apply_recorded(void *arg, const struct config *config, uint64_t now)
{
	struct tunnel *t = arg;

	return journal_apply(t->journal, config, now);
}

/* Take the configuration of a journal; @fd is consumed. Return: 0; -errno. */
static int read_journal(struct tunnel *t, struct restore *restore, int fd)
{
	int err;

	*restore = (struct restore){
		.device = engine_get_device(t->engine),
		.is_endpoint = endpoint_is_sound,
		.now = now_boottime(),
	};
	err = restore_run(restore, fd);
	/* A peer that was removed on the way has made the thread that frees it.
	 * engine_start() makes that thread again, with a filter. */
	rcu_stop();
	return err;
}

/* Take the configuration of the engine whose place this one is to take. */
static int take_config(struct tunnel *t)
{
	struct restore restore;
	int fd, err;

	t->successor = (struct successor){ .fd = t->start.link_fd,
					   .engine = t->engine,
					   .loop = &t->loop };
	err = successor_get_config(&t->successor, &fd);
	if (err < 0)
		return explain_late(t, "cannot take the configuration",
				    t->successor.why, err);
	err = read_journal(t, &restore, fd);
	if (err == 0 && (restore.why || restore.n_left_out))
		return explain_late(t, "cannot take the configuration",
				    restore.why ? restore.why
						: "a part is missing",
				    -EBADMSG);
	return explain(t, "cannot take the configuration", err);
}

/* Go on for the engine that has died, if there was one. */
static int go_on(struct tunnel *t)
{
	struct restore restore;
	int fd = t->start.kept[REQUEST_SLOT_JOURNAL];
	int err;

	if (fd < 0)
		return 0;
	err = read_journal(t, &restore, fd);
	if (err < 0)
		return explain(t, "cannot go on for the engine that has ended",
			       err);
	log_event("an engine has ended: its configuration is restored from %zu "
		  "records, with %zu peers, %zu of them with a session",
		  restore.n_records, restore.device->n_peers,
		  restore.n_sessions);
	return 0;
}

/* The tunnel works without a journal. */
static void start_journal(struct tunnel *t)
{
	int err = journal_start(t->journal);

	/* If the keeper is gone, this process ends, too. */
	if (err < 0 && err != -EPIPE)
		log_warning("no journal, so the configuration ends with the "
			    "engine: %s",
			    strerror(-err));
}

static int open_journal(struct tunnel *t)
{
	static const struct journal_ops ops = { .keep = keep_journal };
	int err;

	t->journal =
		journal_new(engine_get_device(t->engine), &ops, t, SECRET_BEST);
	if (!t->journal)
		return explain(t, "cannot make a journal", -ENOMEM);
	/* The predecessor's journal is kept until this engine has its place. */
	if (is_successor(t))
		return take_config(t);
	err = go_on(t);
	if (err < 0)
		return err;
	start_journal(t);
	return 0;
}

/* Take the predecessor's place. Return: 0; -errno: it goes on. */
static int take_place(struct tunnel *t)
{
	uint64_t rest;
	int err = 0;

	t->successor.config = t->server;
	t->successor.stats = t->stats;
	if (t->successor.is_open)
		err = engine_adopt(t->engine);
	if (err < 0)
		return explain_late(t, "cannot take the sockets",
				    strerror(-err), err);
	client_hear(&t->client);
	/* If it fails now, it is tried once more. */
	(void)journal_prepare(t->journal);
	err = successor_take(&t->successor);
	if (err < 0)
		return explain_late(t, "cannot take the tunnel",
				    t->successor.why, err);
	engine_resume_packets(t->engine);
	rest = now_monotonic() - t->successor.paused_ns;
	/* An initiation must not leave, or be answered, before it can be noted. */
	start_journal(t);
	engine_resume(t->engine);
	successor_serve(&t->successor);
	log_event("has taken the place of another engine, with %zu peers; "
		  "packets waited for %llu us",
		  engine_get_device(t->engine)->n_peers,
		  (unsigned long long)(rest / 1000));
	return 0;
}

static void start_successor(void *arg, int link_fd)
{
	struct tunnel *t = arg;

	predecessor_begin(&t->predecessor, link_fd);
}

/* Be ready for a successor. */
static void await_successor(struct tunnel *t)
{
	t->predecessor = (struct predecessor){
		.loop = &t->loop,
		.engine = t->engine,
		.journal = t->journal,
		.config = t->server,
		.stats = t->stats,
	};
	predecessor_init(&t->predecessor);
	t->client.succeeded = start_successor;
	t->client.succeeded_arg = t;
}

/* Make what is on top of the interface, the rights and the sockets. */
static int open_top(struct tunnel *t, const struct options *options,
		    int uapi_fd, int stats_fd)
{
	int err = open_engine(t, options);

	if (err < 0)
		return err;
	/* engine_free() closes the queues. */
	err = t->is_engine ? open_journal(t) : 0;
	if (err < 0)
		goto err_free_engine;
	err = open_server(t, uapi_fd);
	if (err < 0)
		goto err_free_engine;
	if (t->journal)
		uapi_server_set_apply(t->server, apply_recorded, t);
	err = open_stats(t, stats_fd);
	if (err < 0)
		goto err_close_server;
	if (t->is_engine)
		start_telling(t, &t->start.hello);
	else
		start_notify(t);
	err = start_and_seal(t);
	if (err == 0 && is_successor(t))
		err = take_place(t);
	if (err < 0)
		goto err_close_stats;
	if (t->is_engine)
		await_successor(t);
	log_event("%s is ready", t->interface.tuns[0].name);
	engine_log_encryption(t->engine);
	/* Much of the code, also of libc, was needed for the start only. */
	code_release(NULL);
	return 0;

err_close_stats:
	close_stats(t);
err_close_server:
	uapi_server_close(t->server);
err_free_engine:
	engine_free(t->engine);
	journal_free(t->journal);
	t->interface.n_queues = 0;
	return err;
}

static void file_gone(void *arg)
{
	struct tunnel *t = arg;

	loop_stop(&t->loop, 0);
}

static int copy_fd(int fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static int open_all(struct tunnel *t, const struct options *options)
{
	const struct listeners_owner owner = {
		.loop = &t->loop,
		.gone = file_gone,
		.arg = t,
		.why = t->why,
		.cap = sizeof(t->why),
	};
	int err = interface_open(&t->interface, options, NULL, t->why,
				 sizeof(t->why));

	if (err < 0)
		return err;
	err = open_local(t, options);
	if (err < 0)
		goto err_close_interface;
	err = listeners_open(&t->listeners, &owner, options,
			     t->interface.tuns[0].name);
	if (err < 0)
		goto err_close_local;
	err = open_top(t, options, copy_fd(t->listeners.config.fd),
		       t->listeners.has_stats ? copy_fd(t->listeners.stats.fd)
					      : -1);
	if (err == 0)
		return 0;
	listeners_close(&t->listeners);
err_close_local:
	local_close(&t->local);
err_close_interface:
	interface_close(&t->interface);
	return err;
}

int tunnel_open(struct tunnel *tunnel, const struct options *options)
{
	int err;

	err = prepare_isolation(tunnel, options);
	if (err < 0)
		return err;
	err = explain(tunnel, "cannot make an event loop",
		      loop_init(&tunnel->loop));
	if (err < 0)
		return err;
	err = explain(tunnel, "cannot watch for signals",
		      signals_open(&tunnel->signals, &tunnel->loop));
	if (err < 0)
		goto err_deinit_loop;
	err = open_all(tunnel, options);
	if (err == 0)
		return 0;
	signals_close(&tunnel->signals);
err_deinit_loop:
	loop_deinit(&tunnel->loop);
	log_stop();
	return err;
}

void tunnel_close(struct tunnel *tunnel)
{
	engine_close_port(tunnel->engine);
	close_stats(tunnel);
	uapi_server_close(tunnel->server);
	listeners_close(&tunnel->listeners);
	engine_free(tunnel->engine);
	local_close(&tunnel->local);
	signals_close(&tunnel->signals);
	loop_deinit(&tunnel->loop);
	/* The interface is gone by now, so waiting for the last lines delays
	 * nobody. */
	log_stop();
}

/* ------------------------------------------------- as a process of its own */

/* Make the queues of what the keeper has sent. */
static int take_start(struct tunnel *t, const struct options *options)
{
	struct client_start *start = &t->start;
	int err = client_receive_start(&t->client, start);

	if (err < 0) {
		explain(t, "cannot hear the keeper", err);
		return err;
	}
	t->interface.n_queues = start->hello.n_queues;
	t->interface.is_steered = start->hello.is_steered;
	for (unsigned int i = 0; i < start->hello.n_queues; i++)
		client_make_tun(&t->interface.tuns[i], &tun_sys_linux,
				&start->hello.tuns[i], start->tun_fds[i]);
	log_init(options->level, t->interface.tuns[0].name);
	return 0;
}

int tunnel_open_engine(struct tunnel *t, const struct options *options)
{
	int err;

	t->is_engine = true;
	err = explain(t, "cannot make an event loop", loop_init(&t->loop));
	client_open(&t->client, &t->loop, ENGINE_REQUESTS_FD, ENGINE_NEWS_FD);
	if (err == 0)
		err = prepare_isolation(t, options);
	if (err == 0)
		err = take_start(t, options);
	if (err == 0)
		err = open_top(t, options, t->start.uapi_fd, t->start.stats_fd);
	if (err == 0)
		err = client_report_ready(&t->client);
	else
		client_report_failure(&t->client, t->why, err);
	if (err < 0)
		log_stop();
	return err;
}

void tunnel_close_engine(struct tunnel *t)
{
	bool has_left = t->predecessor.has_left;

	loop_clear_timer(&t->loop, &t->state_later);
	predecessor_deinit(&t->predecessor);
	successor_deinit(&t->successor);
	/* What the keeper has is the successor's. */
	if (has_left)
		client_close(&t->client);
	engine_close_port(t->engine);
	close_stats(t);
	uapi_server_close(t->server);
	if (!has_left)
		client_remove_files(&t->client);
	engine_free(t->engine);
	journal_free(t->journal);
	client_close(&t->client);
	loop_deinit(&t->loop);
	log_stop();
}
