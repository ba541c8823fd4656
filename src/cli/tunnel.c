/* SPDX-License-Identifier: MIT */
/*
 * The parts of a tunnel as a stack: each one is made after those that it needs,
 * and freed before them. The first failure ends the start, and is explained in
 * tunnel.why.
 */
#include "cli/tunnel.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/code.h"
#include "base/log.h"
#include "base/now.h"
#include "cli/advice.h"
#include "engine/bounds.h"
#include "engine/endpoint.h"
#include "tun/steering.h"
#include "uapi/peers.h"

enum {
	/* How long to wait for another process that still serves the socket's
	 * file, and how often to look. A choice: such a process ends within
	 * some milliseconds, or within a second on a busy machine. */
	TAKEOVER_MS = 3000,
	TAKEOVER_PAUSE_MS = 10,
	/* Descriptors needed after the start. A choice: 20 for sockets, which
	 * are open twice while the port changes (a main socket and SIDE_SOCKETS
	 * of each family), and others for Landlock and for some clients. */
	SPARE_DESCRIPTORS = 40,
};

static const struct uapi_codec codec = {
	.parse = endpoint_parse,
	.print = endpoint_print,
};

/* The number of processors that this process may run on. */
static unsigned int count_processors(void)
{
	cpu_set_t set;

	/* This fails on a machine with more than 1,024 processors. */
	return sched_getaffinity(0, sizeof(set), &set) == 0
		       ? (unsigned int)CPU_COUNT(&set)
		       : WORKERS_MAX;
}

/* Queues that the TUN is to have. More than one only on demand, because they were
 * not measured on a machine that gains from them. */
static unsigned int count_queues(const struct options *options)
{
	return options->n_queues ? options->n_queues : 1;
}

/* The configuration borrows the name of @options. */
static struct tun_config configure_tun(const struct options *options)
{
	struct tun_config config = {
		.name = options->name,
		.mtu = TUN_MTU_DEFAULT,
		.txqlen = TUNNEL_TXQLEN,
		.has_queues = count_queues(options) > 1,
		.is_elsewhere = options->netlink_fd >= 0,
	};

	if (options->no_vnet_hdr)
		config.features_off |= TUN_FEATURES;
	if (options->no_tso) {
		config.features_off |= TUN_TSO4 | TUN_TSO6 | TUN_ECN;
		config.kinds_off |= MERGE_BIT(MERGE_TCP4) |
				    MERGE_BIT(MERGE_TCP6) | MERGE_TUNNELS;
	}
	if (options->no_uso) {
		config.features_off |= TUN_USO;
		config.kinds_off |=
			MERGE_BIT(MERGE_UDP4) | MERGE_BIT(MERGE_UDP6);
	}
	if (options->no_overlay) {
		config.features_off |= TUN_TUNNEL;
		config.kinds_off |= MERGE_TUNNELS;
	}
	return config;
}

static int open_tun(struct tunnel *t, const struct options *options)
{
	const struct tun_config config = configure_tun(options);
	int err;

	t->n_queues = 1;
	if (options->tun_fd < 0) {
		err = tun_open(&t->tuns[0], &tun_sys_linux, &config);
		if (err < 0)
			advice_on_tun(t->why, sizeof(t->why), options->name,
				      err);
		return err;
	}
	err = tun_open_fd(&t->tuns[0], &tun_sys_linux, &config,
			  options->tun_fd);
	if (err < 0)
		advice_on_tun_fd(t->why, sizeof(t->why), options->tun_fd, err);
	else
		fcntl(options->tun_fd, F_SETFD, FD_CLOEXEC);
	return err;
}

/*
 * Open the further queues. If one cannot be opened, the tunnel works with those
 * that are open. A queue that was opened later could be one of another device,
 * because the interface may be moved to another namespace.
 */
static void open_queues(struct tunnel *t, const struct options *options)
{
	unsigned int n = count_queues(options);
	int err = 0;

	if (options->tun_fd >= 0)
		n = 1;
	while (t->n_queues < n && err == 0) {
		err = tun_open_queue(&t->tuns[t->n_queues], &t->tuns[0]);
		t->n_queues += err == 0;
	}
	if (t->n_queues == 1 && n > 1)
		log_event("the interface has one queue, not %u: %s", n,
			  strerror(-err));
	if (t->n_queues == 1)
		return;
	log_event("the interface has %u queues", t->n_queues);
	err = steering_set(&tun_sys_linux, t->tuns[0].fd);
	t->is_steered = err == 0;
	if (err < 0)
		log_event("no steering by flow: the packets of a peer leave by "
			  "one queue: %s",
			  strerror(-err));
}

static void close_tun(struct tunnel *t)
{
	while (t->n_queues)
		tun_close(&t->tuns[--t->n_queues]);
}

/* The directory of the sockets. */
static const char *get_directory(const struct options *options)
{
	return options->directory ? options->directory : UAPI_DIRECTORY;
}

/* Log what the TUN device lacks. The tunnel works without it. */
static void log_device(const struct tun *tun, const struct options *options)
{
	if (tun->mtu_err)
		log_error("cannot set the MTU to %d: %s", TUN_MTU_DEFAULT,
			  strerror(-tun->mtu_err));
	if (!options->no_vnet_hdr && !(tun->features & TUN_VNET))
		log_event("%s has no virtio-net header: packets pass it one by "
			  "one",
			  tun->name);
}

/*
 * Serve the configuration socket. The interface has been made, so its name was
 * free. But a process that had an interface of this name before may still be
 * ending, and serve the socket's file for some milliseconds.
 */
static int serve_socket(struct tunnel *t, const struct options *options)
{
	const struct timespec pause = { .tv_nsec = TAKEOVER_PAUSE_MS *
						   NSEC_PER_MSEC };
	int err = 0;

	for (int i = 0; i <= TAKEOVER_MS / TAKEOVER_PAUSE_MS; i++) {
		err = uapi_server_open(&t->server, &t->loop,
				       engine_get_device(t->engine), &codec,
				       get_directory(options), t->tuns[0].name,
				       options->uapi_fd);
		if (err != -EADDRINUSE || options->uapi_fd >= 0)
			return err;
		nanosleep(&pause, NULL);
	}
	return err;
}

static int open_server(struct tunnel *t, const struct options *options)
{
	int err = serve_socket(t, options);

	if (err < 0 && options->uapi_fd < 0)
		advice_on_socket(t->why, sizeof(t->why), get_directory(options),
				 t->tuns[0].name, err);
	else if (err < 0)
		advice_on_socket_fd(t->why, sizeof(t->why), options->uapi_fd,
				    err);
	return err;
}

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

static void on_feed(void *arg)
{
	struct tunnel *t = arg;

	uapi_server_wake(t->stats);
}

/*
 * Open the statistics socket. The tunnel works without it, so a failure is a warning
 * only. An unknown group is an error: it is a fault of the command line.
 */
static int open_stats(struct tunnel *t, const struct options *options)
{
	gid_t group = (gid_t)-1;
	int err;

	if (*options->stats_group) {
		const struct group *entry = getgrnam(options->stats_group);

		if (!entry) {
			snprintf(t->why, sizeof(t->why),
				 "--stats-group: no such group: %s",
				 options->stats_group);
			return -EINVAL;
		}
		group = entry->gr_gid;
	}
	t->stats_source = (struct stats_source){
		.version = WG_VERSION,
		.engine = t->engine,
		.codec = &codec,
		.refusal = uapi_server_get_refusal(t->server),
	};
	err = uapi_server_open_stats(&t->stats, &t->loop, &t->stats_source,
				     get_directory(options), t->tuns[0].name,
				     group);
	/* Without descriptors the tunnel would not work either. */
	if (err == -EMFILE || err == -ENFILE)
		return explain(t, "cannot make the statistics socket", err);
	if (err < 0)
		log_warning("no statistics socket: %s", strerror(-err));
	else
		engine_watch_feed(t->engine, on_feed, t);
	return 0;
}

/* ------------------------------------------------- for the service manager */

static void print_peers(struct device *device, char *buf, size_t cap)
{
	uint64_t now = now_boottime();
	size_t n = 0, n_sessions = 0;
	struct peers peers;
	struct peer *peer;

	peers_init(&peers, device);
	for (; (peer = peers_next(&peers)); n++)
		n_sessions += peer_has_session(peer, now);
	if (!n)
		snprintf(buf, cap, "no peers");
	else
		snprintf(buf, cap, "%zu peer%s, %zu with a session", n,
			 n == 1 ? "" : "s", n_sessions);
}

static void print_status(void *arg, char *buf, size_t cap)
{
	const struct tunnel *t = arg;
	struct device *device = engine_get_device(t->engine);
	struct engine_state state;
	char peers[64];

	engine_get_state(t->engine, &state);
	print_peers(device, peers, sizeof(peers));
	if (!state.is_up)
		snprintf(buf, cap, "down, %s", peers);
	else if (state.err)
		snprintf(buf, cap, "up, cannot listen on port %u: %s, %s",
			 device->listen_port, strerror(-state.err), peers);
	else
		snprintf(buf, cap, "up, port %u, %s", device->listen_port,
			 peers);
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

static void close_stats(struct tunnel *t)
{
	engine_watch_feed(t->engine, NULL, NULL);
	uapi_server_close(t->stats);
	t->stats = NULL;
}

/* Threads that move packets: as many as can run at once, up to a default. */
static unsigned int count_workers(const struct options *options)
{
	unsigned int n =
		options->n_workers ? options->n_workers : count_processors();

	return options->n_workers || n < WORKERS_DEFAULT ? n : WORKERS_DEFAULT;
}

/*
 * A build that counts the lines that run (b_coverage) is never isolated,
 * because it writes its counters to files at the end.
 */
static bool is_isolated(const struct options *options)
{
#ifdef WG_COVERAGE
	(void)options;
	return false;
#else
	return !options->no_isolation;
#endif
}

static int open_local(struct tunnel *t, const struct options *options)
{
	const char *what = "cannot hear of the interface";
	int err = local_open(&t->local, &t->loop, &t->tuns[0],
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
		.tuns = t->tuns,
		.n_queues = t->n_queues,
		.is_steered = t->is_steered,
		.loop = &t->loop,
		.segments_off = options->no_gso,
		.merging_off = options->no_gro,
		.finds_mtu = options->finds_mtu,
		.clamps_mss = options->clamps_mss,
		.first = is_isolated(options) ? isolate_thread : NULL,
		.aead = options->aead,
		.n_workers = count_workers(options),
		.helpers_awake = options->eager,
		.rights = &t->local.rights,
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
		.is_off = !is_isolated(options),
	};

	return explain_isolation(t, isolate_init(&t->isolate, &config));
}

/*
 * Check that descriptors are left for later. Without them the interface could
 * not be configured, or would have no sockets.
 */
static int check_descriptors(struct tunnel *t)
{
	struct rlimit limit;
	int first;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	first = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
	if (first >= 0)
		close(first);
	/* @first is the lowest free descriptor: all below it are open. */
	if (first >= 0 && limit.rlim_cur >= (rlim_t)first + SPARE_DESCRIPTORS)
		return 0;
	snprintf(
		t->why, sizeof(t->why),
		"RLIMIT_NOFILE is %llu: too few descriptors, at least %llu are "
		"needed",
		(unsigned long long)limit.rlim_cur,
		(first < 0 ? (unsigned long long)limit.rlim_cur
			   : (unsigned long long)first) +
			SPARE_DESCRIPTORS);
	return -EMFILE;
}

/* Start the threads, and seal the process. On failure some threads may run. */
static int start_and_seal(struct tunnel *t, const struct options *options)
{
	int err;

	err = check_descriptors(t);
	if (err < 0)
		return err;
	err = explain_isolation(
		t, isolate_restrict(&t->isolate,
				    uapi_server_get_directory(t->server)));
	if (err < 0)
		return err;
	err = explain(t, "cannot start the log",
		      log_start(is_isolated(options) ? isolate_thread : NULL));
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
	err = open_tun(tunnel, options);
	if (err < 0)
		goto err_close_signals;
	log_init(options->level, tunnel->tuns[0].name);
	log_device(&tunnel->tuns[0], options);
	open_queues(tunnel, options);
	err = open_local(tunnel, options);
	if (err < 0) {
		close_tun(tunnel);
		goto err_close_signals;
	}
	err = open_engine(tunnel, options);
	if (err < 0) {
		close_tun(tunnel);
		goto err_close_local;
	}
	err = open_server(tunnel, options);
	if (err < 0)
		goto err_free_engine;
	err = open_stats(tunnel, options);
	if (err < 0)
		goto err_close_server;
	start_notify(tunnel);
	err = start_and_seal(tunnel, options);
	if (err < 0)
		goto err_close_stats;
	log_event("%s is ready", tunnel->tuns[0].name);
	engine_log_encryption(tunnel->engine);
	/* Much of the code, also of libc, was needed for the start only. */
	code_release(NULL);
	return 0;

err_close_stats:
	close_stats(tunnel);
err_close_server:
	uapi_server_close(tunnel->server);
err_free_engine:
	engine_free(tunnel->engine);
err_close_local:
	local_close(&tunnel->local);
err_close_signals:
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
	engine_free(tunnel->engine);
	local_close(&tunnel->local);
	signals_close(&tunnel->signals);
	loop_deinit(&tunnel->loop);
	/* The interface is gone by now, so waiting for the last lines delays
	 * nobody. */
	log_stop();
}
