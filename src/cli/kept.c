/* SPDX-License-Identifier: MIT */
/*
 * The order of the start: the starter is forked while nothing is open, and executes the
 * engine at once, which loads its libraries while this process opens the rest. The
 * engine waits for its descriptors. It gets them when this process has given up its
 * rights.
 */
#include "cli/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/code.h"
#include "base/direct.h"
#include "base/log.h"
#include "base/now.h"
#include "cli/advice.h"
#include "cli/kept_parts.h"
#include "cli/state.h"
#include "keeper/channel.h"

/* The time that an engine has for its end. A choice: with 10,000 peers it takes some
 * hundred milliseconds. */
#define END_NS (10 * NSEC_PER_SEC)

/* The time within which the starter must tell that a killed engine has ended. A choice:
 * longer than the kernel needs for the memory of an engine. */
#define KILL_NS (5 * NSEC_PER_SEC)

void kept_explain(const struct kept *k, char *buf, const char *what, int err)
{
	if (k->is_isolated)
		snprintf(buf, KEPT_WHY_CAP, "%s: %s", what, strerror(-err));
	else
		advice_on_shortage(buf, KEPT_WHY_CAP, what, NULL, err);
}

static int explain(struct kept *k, const char *what, int err)
{
	if (err < 0)
		kept_explain(k, k->why, what, err);
	return err;
}

/* ------------------------------------------------------------ the end */

/* If the starter does not tell of the engine's end, it hangs, too, or was stopped. Both
 * end with this process. */
static void deadline_ready(struct loop_timer *timer)
{
	struct kept *k = timer->arg;

	if (k->is_killed || k->starter.fd < 0) {
		log_error("the engine does not end");
		loop_stop(&k->loop, -ETIMEDOUT);
		return;
	}
	log_error("the engine does not end: it is killed");
	starter_kill_engine(&k->starter, k->engine->seat);
	k->is_killed = true;
	loop_set_timer(&k->loop, timer, now_monotonic() + KILL_NS);
}

static void stop(void *arg)
{
	struct kept *k = arg;

	if (k->is_ending)
		return;
	if (k->blocked.is_on) {
		loop_stop(&k->loop, k->blocked.err);
		return;
	}
	k->is_ending = true;
	if (k->again.is_set) {
		/* There is no engine that could end. */
		loop_stop(&k->loop, 0);
		return;
	}
	guard_stop(&k->guard);
	loop_set_timer(&k->loop, &k->deadline, now_monotonic() + END_NS);
	/* In an upgrade nobody knows here which engine has the tunnel. If it is the
	 * successor, it says so soon, and is told then. Else the upgrade ends with
	 * the engine. */
	if (k->is_ready)
		service_stop_engine(&k->engine->service);
}

/* Print how an engine has ended; @status is that of waitpid(2). */
static void print_end(char *buf, size_t cap, int status)
{
	if (WIFSIGNALED(status))
		snprintf(buf, cap, "the engine has ended by signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(buf, cap, "the engine has ended with status %d",
			 WEXITSTATUS(status));
}

/* The successor has ended, and has not told that it has the tunnel. */
static void note_end_of_successor(struct kept *k, int status)
{
	struct kept_engine *next = k->next;
	char text[KEPT_WHY_CAP / 2];

	print_end(text, sizeof(text), status);
	if (!*next->why && WIFEXITED(status))
		snprintf(next->why, sizeof(next->why),
			 "%s and no reason; perhaps the program is of a "
			 "version that cannot take a tunnel over",
			 text);
	kept_lose_upgrade(k, *next->why ? next->why : text,
			  next->err < 0 ? next->err : -ECHILD);
}

/* Has an engine reason to end with status 0? Without this question somebody who controls
 * the engine could have the interface removed, also with --fail-closed. */
static bool may_end(const struct kept *k)
{
	char name[IFNAMSIZ];

	return k->is_ending || k->local.link.state.deleted ||
	       tun_get_name(&k->interface.tuns[0], name) == -EBADFD;
}

/* The engine that serves has ended. */
static void note_end_of_engine(struct kept *k, int status)
{
	char text[KEPT_WHY_CAP];

	guard_stop(&k->guard);
	print_end(text, sizeof(text), status);
	if (WIFEXITED(status) && !WEXITSTATUS(status) && may_end(k)) {
		if (k->next)
			kept_end_upgrade(k, "the daemon ends", -ESHUTDOWN);
		loop_stop(&k->loop, 0);
	} else if (k->next) {
		/* Perhaps the successor has the tunnel. It will say so, or end. */
		if (!WIFEXITED(status) ||
		    WEXITSTATUS(status) != STARTER_STATUS_LEFT)
			log_error("%s, during an upgrade", text);
	} else {
		kept_note_death(k, text);
	}
}

/* An engine has ended, with a status of waitpid(2). */
static void note_end(struct kept *k, struct kept_engine *e, int status)
{
	e->is_there = false;
	if (e == k->next)
		note_end_of_successor(k, status);
	else if (e == k->engine)
		note_end_of_engine(k, status);
	else
		/* This engine has left its tunnel to a successor, or was a
		 * successor that was not wanted any more. */
		kept_answer_upgrade(k, "", 0);
}

/* ------------------------------------------------------------ the starter */

/* An engine could not be started. */
static void note_failure(struct kept *k, struct kept_engine *e, int err)
{
	char text[KEPT_WHY_CAP];

	e->is_there = false;
	if (e == k->next) {
		kept_explain(k, e->why, "the program cannot be executed", err);
		kept_lose_upgrade(k, e->why, err);
	} else if (e == k->engine) {
		e->err = err;
		kept_explain(k, text, "cannot start the engine", err);
		if (k->is_ready)
			k->why[0] = 0;
		kept_note_death(k, text);
	}
	/* Any other engine was to be a successor, and its upgrade is over. */
}

static void handle_report(struct kept *k, const struct starter_report *report)
{
	struct kept_engine *e;

	if (report->seat >= STARTER_SEATS)
		return;
	e = &k->engines[report->seat];
	switch (report->event) {
	case STARTER_ENDED:
		note_end(k, e, report->status);
		break;
	case STARTER_FAILED:
		note_failure(k, e, report->status);
		break;
	default:
		break;
	}
}

/* An engine has closed its connection, and there is no starter that tells of its end. */
static void note_lost(struct kept_engine *e)
{
	struct kept *k = e->kept;

	e->is_there = false;
	if (e == k->next)
		kept_end_upgrade(k, "the engine has ended", -ECHILD);
	/* Perhaps the successor has the tunnel. It will say so, or end. */
	if (k->engine->is_there || k->next)
		return;
	if (k->is_ending) {
		loop_stop(&k->loop, 0);
		return;
	}
	log_error("the engine has ended");
	kept_give_up(k, -ECHILD);
}

/* The starter has ended: which engines have ended, too, without being told of? */
static void note_all_lost(struct kept *k)
{
	struct kept_engine *both[] = { k->next, k->engine };

	for (unsigned int i = 0; i < ARRAY_LEN(both); i++)
		if (both[i] && both[i]->service.requests.fd < 0)
			note_lost(both[i]);
}

static void starter_ready(struct loop_watch *watch, uint32_t events)
{
	struct kept *k = watch->arg;
	struct starter_report report;
	int err = starter_receive(&k->starter, &report, false);

	(void)events;
	if (err == 0) {
		handle_report(k, &report);
	} else if (err == -EPIPE) {
		log_error("the process that starts engines has ended: the "
			  "engine goes on, and no other one can take its "
			  "place");
		loop_remove(&k->loop, &k->starter_watch);
		starter_close(&k->starter);
		note_all_lost(k);
	} else if (err != -EAGAIN) {
		loop_fail(&k->loop, watch, "starter", err);
	}
}

static void service_changed(void *arg)
{
	const struct kept_engine *e = arg;

	kept_note_change(e->kept);
}

static bool await_port(void *arg)
{
	const struct kept_engine *e = arg;

	return kept_await_port(e->kept);
}

/* ------------------------------------------------------------ the engine */

static void note_first(struct kept *k)
{
	const char *name = k->interface.tuns[0].name;
	bool is_template = strchr(k->options->name, '%');
	int err;

	k->is_ready = true;
	/* The service manager must know the daemon before the parent, whose end
	 * it could take for the end of the service, exits. */
	notify_ready(k->notify, k->options->is_foreground ? 0 : k->pid);
	kept_note_change(k);
	/* If the parent is gone, nobody wants the tunnel: end without a
	 * message. */
	err = daemon_report_ready(k->daemon, is_template ? name : NULL);
	if (err < 0)
		loop_stop(&k->loop, err);
}

static void engine_ready(void *arg)
{
	struct kept_engine *e = arg;
	struct kept *k = e->kept;

	guard_start(&k->guard);
	if (e == k->next)
		kept_note_success(k);
	else if (k->is_ready)
		log_error("another engine has taken its place");
	else
		note_first(k);
	notify_change(k->notify);
	if (k->is_ending)
		service_stop_engine(&k->engine->service);
}

static void engine_state(void *arg, const struct request_state *state)
{
	struct kept_engine *e = arg;
	struct kept *k = e->kept;

	if (e != k->engine)
		return;
	k->state = *state;
	if (state->flags & REQUEST_ANSWERS)
		guard_hear(&k->guard, state->stalled);
	if (state->flags & REQUEST_APPLIED)
		notify_reloaded(k->notify, now_monotonic());
	notify_change(k->notify);
}

static void engine_failed(void *arg, const struct request_failed *failed)
{
	struct kept_engine *e = arg;
	struct kept *k = e->kept;

	e->err = failed->err;
	snprintf(e->why, sizeof(e->why), "%s", failed->why);
	if (e == k->engine)
		snprintf(k->why, sizeof(k->why), "%s", failed->why);
}

static void remove_files(void *arg)
{
	const struct kept_engine *e = arg;
	struct kept *k = e->kept;

	if (e != k->engine)
		return;
	upgrade_close(&k->upgrade);
	listeners_remove_files(&k->listeners);
}

static void engine_gone(void *arg)
{
	struct kept_engine *e = arg;

	/* The starter will tell how it has ended. */
	if (e->kept->starter.fd < 0)
		note_lost(e);
}

static void engine_broken(void *arg)
{
	struct kept_engine *e = arg;
	struct kept *k = e->kept;

	if (e == k->next) {
		kept_lose_upgrade(
			k,
			"the program does not speak this daemon's protocol; "
			"a restart of the tunnel is needed",
			-EPROTO);
		return;
	}
	log_error("the engine has sent a request that no engine sends: it is "
		  "killed");
	if (k->starter.fd < 0)
		kept_give_up(k, -EPROTO);
	else
		starter_kill_engine(&k->starter, e->seat);
}

static const struct service_ops service_ops = {
	.ready = engine_ready,
	.state = engine_state,
	.failed = engine_failed,
	.remove_files = remove_files,
	.changed = service_changed,
	.await_port = await_port,
	.gone = engine_gone,
	.broken = engine_broken,
};

/* ------------------------------------------------------------ the watchdog */

static void ask_engine(void *arg)
{
	struct kept *k = arg;

	service_ping(&k->engine->service);
}

static void engine_well(void *arg)
{
	struct kept *k = arg;

	notify_go_on(k->notify);
}

/* Without a starter only the service manager can end the engine. */
static void engine_hung(void *arg, const char *name)
{
	struct kept *k = arg;

	if (k->starter.fd < 0) {
		log_error("the %s makes no progress, and no other engine can "
			  "take its place",
			  name);
		return;
	}
	log_error("the %s makes no progress: the engine is killed", name);
	snprintf(k->why, sizeof(k->why), "the %s has made no progress", name);
	starter_kill_engine(&k->starter, k->engine->seat);
	notify_change(k->notify);
}

static const struct guard_ops guard_ops = {
	.ask = ask_engine,
	.well = engine_well,
	.hung = engine_hung,
};

static void print_status(void *arg, char *buf, size_t cap)
{
	const struct kept *k = arg;

	if (k->blocked.is_on)
		snprintf(buf, cap,
			 "failed: nothing passes, and the interface stays "
			 "until it is deleted");
	else if (k->guard.is_hung)
		snprintf(buf, cap, "the %s makes no progress",
			 k->guard.stalled);
	else
		state_print(&k->state, buf, cap);
}

/* If a tunnel has failed for good, the watchdog is still fed: else the service manager
 * would end the process, and the interface would go. */
static const char *find_stalled(void *arg)
{
	struct kept *k = arg;

	return k->blocked.is_on ? NULL : guard_turn(&k->guard);
}

/* ------------------------------------------------------------ the start */

void kept_fill_hello(const struct kept *k, struct hello *hello)
{
	*hello = (struct hello){
		.n_queues = k->interface.n_queues,
		.is_steered = k->interface.is_steered,
		.has_stats = k->listeners.has_stats,
		.is_managed = k->notify->fd >= 0,
	};
	for (unsigned int i = 0; i < hello->n_queues; i++) {
		const struct tun *tun = &k->interface.tuns[i];

		hello->tuns[i] = (struct hello_tun){
			.ifindex = tun->ifindex,
			.features = tun->features,
			.kinds = tun->kinds,
			.has_queues = tun->has_queues,
		};
		memcpy(hello->tuns[i].name, tun->name, sizeof(tun->name));
	}
}

unsigned int kept_list_descriptors(const struct kept *k, int *fds)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < k->interface.n_queues; i++)
		fds[n++] = k->interface.tuns[i].fd;
	fds[n++] = k->listeners.config.fd;
	if (k->listeners.has_stats)
		fds[n++] = k->listeners.stats.fd;
	return n;
}

int kept_greet(struct kept_engine *e, int fd, int news_fd)
{
	struct kept *k = e->kept;
	struct hello hello;
	int fds[HELLO_FDS_MAX], err;
	unsigned int n = kept_list_descriptors(k, fds);

	kept_fill_hello(k, &hello);
	err = service_start(&e->service, fd, news_fd, &hello, fds, n);
	/* If the engine has ended already, the starter tells how. */
	return explain(k, "cannot serve the engine", err == -EPIPE ? 0 : err);
}

int kept_start_engine(struct kept_engine *e, enum starter_program program,
		      int program_fd, int fds[2])
{
	struct kept *k = e->kept;
	int requests[2], news[2] = { -1, -1 }, err = channel_open(requests);

	if (err == 0) {
		err = channel_open(news);
		if (err < 0) {
			close(requests[0]);
			close(requests[1]);
		}
	}
	if (err < 0)
		return explain(k, "cannot start the engine", err);
	const int theirs[3] = { requests[1], news[1], program_fd };

	e->err = 0;
	e->why[0] = 0;
	err = starter_start_engine(&k->starter, e->seat, program, theirs);
	e->is_there = err == 0;
	/* If the starter has ended, its last message says why, and is read later. */
	err = explain(k, "cannot start the engine", err == -EPIPE ? 0 : err);
	close(requests[1]);
	close(news[1]);
	if (err < 0) {
		close(requests[0]);
		close(news[0]);
		return err;
	}
	fds[0] = requests[0];
	fds[1] = news[0];
	return 0;
}

/* ------------------------------------------------------------ the start */

/* Wait until the starter has given up its rights. */
static int await_starter(struct kept *k)
{
	struct starter_report report;
	int err = starter_receive(&k->starter, &report, true);

	if (err < 0)
		return explain(k, "cannot start the engine", err);
	if (report.event != STARTER_READY || report.status < 0) {
		snprintf(k->why, sizeof(k->why), "%s", report.text);
		return report.status < 0 ? report.status : -EPROTO;
	}
	if (*report.text)
		log_warning("not isolated in full: %s", report.text);
	k->starter_watch = (struct loop_watch){ .fd = k->starter.fd,
						.ready = starter_ready,
						.arg = k };
	return explain(k, "cannot watch the starter",
		       loop_add(&k->loop, &k->starter_watch, EPOLLIN));
}

static int open_local(struct kept *k)
{
	const char *what = "cannot hear of the interface";
	int netlink_fd = k->options->netlink_fd;
	int err = local_open(&k->local, &k->loop, &k->interface.tuns[0],
			     netlink_fd);

	if (netlink_fd >= 0 &&
	    (err == -ENOTSOCK || err == -EPROTOTYPE || err == -ENODEV))
		what = "WIREGATHER_NETLINK_FD is no rtnetlink socket of the "
		       "namespace of the interface";
	if (err == 0) {
		local_set_user(&k->local, isolate_get_keeper_uid(&k->isolate));
		err = routes_reserve(&k->local.routes);
	}
	return explain(k, what, err);
}

static int open_parts(struct kept *k)
{
	static const struct notify_ops notify_ops = {
		.print_status = print_status,
		.find_stalled = find_stalled,
	};
	const struct listeners_owner owner = {
		.loop = &k->loop,
		.gone = stop,
		.arg = k,
		.why = k->why,
		.cap = sizeof(k->why),
	};
	int err = explain(k, "cannot make an event loop", loop_init(&k->loop));

	if (err < 0)
		return err;
	guard_init(&k->guard, &k->loop, k->notify->period_ns, &guard_ops, k);
	k->signals.ended = stop;
	k->signals.arg = k;
	err = explain(k, "cannot watch for signals",
		      signals_open(&k->signals, &k->loop));
	if (err == 0)
		err = interface_open(&k->interface, k->options, k->stored,
				     k->why, sizeof(k->why));
	if (err == 0)
		err = open_local(k);
	if (err == 0)
		err = listeners_open(&k->listeners, &owner, k->options,
				     k->interface.tuns[0].name);
	if (err == 0) {
		kept_open_upgrade(k);
		notify_start(k->notify, &k->loop, &notify_ops, k);
	}
	return err;
}

int kept_open(struct kept *k, char **argv)
{
	const struct isolate_config config = {
		.user = k->options->user,
		.keeper_user = k->options->keeper_user,
		.leaves_core = k->options->leaves_core,
	};
	int fds[2], err;

	k->pid = getpid();
	k->listeners.config.fd = -1;
	k->deadline = (struct loop_timer){ .ready = deadline_ready, .arg = k };
	kept_init_deaths(k);
	kept_init_stored(k);
	for (unsigned int i = 0; i < STARTER_SEATS; i++) {
		k->engines[i].kept = k;
		k->engines[i].seat = i;
	}
	k->engine = &k->engines[0];
	err = advice_check_descriptors(k->why, sizeof(k->why));
	if (err < 0)
		return err;
	err = isolate_init(&k->isolate, &config);
	if (err < 0) {
		snprintf(k->why, sizeof(k->why), "%s", k->isolate.why);
		return err;
	}
	err = explain(k, "cannot fork",
		      starter_fork(&k->starter, &k->isolate, argv));
	if (err < 0)
		return err;
	err = kept_start_engine(k->engine, STARTER_SAME, -1, fds);
	if (err == 0)
		err = open_parts(k);
	if (err == 0)
		err = await_starter(k);
	if (err < 0)
		return err;
	for (unsigned int i = 0; i < STARTER_SEATS; i++) {
		struct kept_engine *e = &k->engines[i];

		service_init(&e->service, &k->loop, &k->local, &service_ops, e);
		e->service.finds_mtu = k->options->finds_mtu;
	}
	if (k->stored->has_any)
		kept_use_stored(k);
	/* Give back the code that was needed for the start only. Later no file can be
	 * opened. */
	code_release(NULL);
	direct_prepare();
	err = isolate_keeper(&k->isolate,
			     listeners_get_directory(&k->listeners));
	if (err < 0) {
		snprintf(k->why, sizeof(k->why), "%s", k->isolate.why);
		return err;
	}
	k->is_isolated = true;
	return kept_greet(k->engine, fds[0], fds[1]);
}

int kept_run(struct kept *k)
{
	int err = loop_run(&k->loop);

	notify_stopping(k->notify);
	if (err < 0 && k->is_ready && *k->why)
		notify_failure(k->notify, k->why, 0);
	return err;
}

void kept_close(struct kept *k)
{
	for (unsigned int i = 0; i < STARTER_SEATS; i++)
		if (k->engines[i].service.loop)
			service_end(&k->engines[i].service);
	upgrade_close(&k->upgrade);
	if (k->listeners.config.fd >= 0)
		listeners_close(&k->listeners);
	starter_close(&k->starter);
	interface_close(&k->interface);
}
