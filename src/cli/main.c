/* SPDX-License-Identifier: MIT */
/*
 * wiregather: a userspace WireGuard. Exit status: 0 if it has ended as it was
 * told to, or if the daemon runs; 1 if something failed; 2 for a bad command
 * line.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/rcu.h"
#include "cli/advice.h"
#include "cli/bench_crypto.h"
#include "cli/daemon.h"
#include "cli/kept.h"
#include "cli/notify.h"
#include "cli/options.h"
#include "cli/tunnel.h"
#include "crypto/aead.h"
#include "crypto/init.h"
#include "isolate/isolate.h"
#include "isolate/limit.h"
#include "keeper/client.h"
#include "keeper/news.h"

enum {
	/* A choice: not EXIT_FAILURE, so that a script can tell them apart. */
	EXIT_USAGE = 2,
};

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

/* Tell that the tunnel could not be made, and why. Returns the exit status. */
static int fail(struct notify *notify, struct daemon *daemon, const char *why,
		int err)
{
	notify_failure(notify, why, err);
	notify_close(notify);
	daemon_report_failure(daemon, "%s", why);
	return EXIT_FAILURE;
}

/* As a keeper: the tunnel is in three processes. Consumes @daemon. Returns the exit
 * status. */
static int keep(const struct options *options, struct daemon *daemon,
		struct notify *notify, struct stored *stored, char **argv)
{
	static struct kept kept;
	int err;

	kept.options = options;
	kept.daemon = daemon;
	kept.notify = notify;
	kept.stored = stored;
	signals_init(&kept.signals, !options->is_foreground);
	err = kept_open(&kept, argv);
	if (err == 0)
		err = kept_run(&kept);
	kept_close(&kept);
	if (err < 0 && !kept.is_ready)
		return fail(notify, daemon, kept.why, err);
	return err == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static const char no_crypto[] = "libsodium does not work here";

/* The keeper prints why an engine has not started. */
static void report_to_keeper(const char *why)
{
	struct client client;

	client_open(&client, NULL, ENGINE_REQUESTS_FD, ENGINE_NEWS_FD);
	client_report_failure(&client, why, -EIO);
}

/* As an engine, which the starter has executed. Returns the exit status. */
static int serve_engine(struct options *options)
{
	static struct tunnel tunnel;
	int err;

	prctl(PR_SET_NAME, STARTER_ENGINE_COMM);
	crypto_set_report(report_to_keeper);
	if (crypto_init() < 0) {
		report_to_keeper(no_crypto);
		return EXIT_FAILURE;
	}
	crypto_set_report(NULL);
	/* Descriptors that were handed over are the keeper's. */
	options->tun_fd = options->netlink_fd = options->uapi_fd = -1;
	rcu_register();
	err = tunnel_open_engine(&tunnel, options);
	if (err == 0) {
		err = loop_run(&tunnel.loop);
		if (err < 0 && err != -EPIPE)
			log_error("cannot go on: %s", strerror(-err));
		tunnel_close_engine(&tunnel);
	}
	rcu_drain();
	rcu_unregister();
	if (tunnel.predecessor.has_left)
		return STARTER_STATUS_LEFT;
	return err == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/*
 * Make the tunnel in one process, and run it to its end. Consumes @daemon. Returns the exit
 * status.
 */
static int serve(const struct options *options, struct daemon *daemon,
		 struct notify *notify)
{
	struct tunnel tunnel = { .notify = notify };
	int err;

	signals_init(&tunnel.signals, !options->is_foreground);
	err = tunnel_open(&tunnel, options);
	if (err < 0) {
		return fail(notify, daemon, tunnel.why, err);
	}
	/* The service manager must know the daemon before the parent, whose end it
	 * could take for the end of the service, exits. */
	notify_ready(notify, options->is_foreground ? 0 : getpid());
	/* If the parent is gone, nobody wants the tunnel: end without a
	 * message. */
	err = daemon_report_ready(daemon,
				  strchr(options->name, '%')
					  ? tunnel.interface.tuns[0].name
					  : NULL);
	if (err == 0) {
		err = loop_run(&tunnel.loop);
		if (err < 0)
			log_error("cannot go on: %s", strerror(-err));
	}
	notify_stopping(notify);
	/* Its timers are in the loop of the tunnel. */
	notify_close(notify);
	tunnel_close(&tunnel);
	return err == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run(const struct options *options, struct daemon *daemon,
	       struct notify *notify, struct stored *stored, char **argv)
{
	int status;

	if (is_isolated(options))
		return keep(options, daemon, notify, stored, argv);
	rcu_register();
	status = serve(options, daemon, notify);
	rcu_drain();
	rcu_unregister();
	return status;
}

static int run_bench(const struct options *options)
{
	int err = crypto_init() < 0
			  ? -ENOSYS
			  : bench_crypto(stdout, options->bench_is_csv,
					 BENCH_CRYPTO_ROUNDS);

	if (err == 0)
		return EXIT_SUCCESS;
	fprintf(stderr, "wiregather: cannot measure: %s\n", strerror(-err));
	return EXIT_FAILURE;
}

/* Whether a backend can be used, in words. */
static const char *look_for(enum aead_choice choice)
{
	struct aead *aead;

	if (!aead_is_built_in(choice))
		return "not built in";
	aead = aead_new(choice);
	aead_free(aead);
	return aead ? "found" : "not found";
}

/* Print the version, the backends that were built in, and whether their
 * libraries are on this machine. */
static void print_version(void)
{
	struct aead *best = aead_new(AEAD_BEST);
	const char *name = best ? aead_get_name(best) : "none";
	const char *small = best ? aead_get_small_name(best) : name;

	puts("wiregather " WG_VERSION);
	printf("encryption: libsodium (linked), ipsec-mb (%s), "
	       "libcrypto (%s), boringssl (%s); used here: %s",
	       look_for(AEAD_IPSEC_MB), look_for(AEAD_LIBCRYPTO),
	       look_for(AEAD_BORINGSSL), name);
	if (strcmp(small, name) != 0)
		printf(", %s for single small messages", small);
	putchar('\n');
	printf("system call filter: %s\n",
	       isolate_has_filter() ? "built in" : "not built in");
	aead_free(best);
}

static int run_daemon(const struct options *options, struct notify *notify,
		      struct stored *stored, char **argv)
{
	struct daemon daemon;
	char why[TUNNEL_WHY_CAP];
	int err;

	err = daemon_fork(&daemon);
	if (err < 0) {
		advice_on_shortage(why, sizeof(why), "cannot fork", NULL, err);
		fprintf(stderr, "wiregather: %s\n", why);
		return EXIT_FAILURE;
	}
	if (daemon.child)
		return daemon_await(&daemon);
	err = daemon_detach(options->keeps_output);
	if (err < 0) {
		daemon_report_failure(&daemon, "cannot become a daemon: %s",
				      strerror(-err));
		return EXIT_FAILURE;
	}
	return run(options, &daemon, notify, stored, argv);
}

/* Warn of variables of the environment that have an unknown value. */
static void warn(const struct options *options)
{
	if (options->bad_level)
		fprintf(stderr,
			"wiregather: LOG_LEVEL is none of verbose, debug, error "
			"and silent, so errors are logged: %s\n",
			options->bad_level);
	if (options->bad_foreground)
		fprintf(stderr,
			"wiregather: WG_PROCESS_FOREGROUND is not 1, so it "
			"has no effect: %s\n",
			options->bad_foreground);
	if (options->bad_notify)
		fprintf(stderr,
			"wiregather: NOTIFY_SOCKET is neither an absolute path "
			"nor an abstract name, so it has no effect: %s\n",
			options->bad_notify);
	if (options->bad_watchdog)
		fprintf(stderr,
			"wiregather: WATCHDOG_USEC and WATCHDOG_PID must be "
			"numbers above 0, so there is no watchdog: %s\n",
			options->bad_watchdog);
}

/* Connect to the service manager. The tunnel works without it. */
static void open_notify(const struct options *options,
			const struct stored *stored, struct notify *notify)
{
	int err = notify_open(notify, options->notify_socket,
			      options->watchdog_us);

	/* A daemon that was in the background would get nothing back. */
	notify->has_store = options->is_foreground &&
			    (options->has_store || stored->has_any);
	if (err < 0)
		fprintf(stderr,
			"wiregather: the service manager is told nothing: "
			"NOTIFY_SOCKET: %s: %s\n",
			options->notify_socket, strerror(-err));
}

/* Close descriptors that the caller has left open: a tunnel needs none of
 * them. */
static void close_inherited(const struct options *options,
			    const struct stored *stored)
{
	int keep[STORED_MAX + 3];
	unsigned int n = stored_list(stored, keep);

	keep[n++] = options->tun_fd;
	keep[n++] = options->netlink_fd;
	keep[n++] = options->uapi_fd;
	daemon_close_others(keep, n);
}

int main(int argc, char **argv)
{
	struct daemon foreground = { .fd = -1 };
	struct options options;
	struct notify notify;
	struct stored stored;
	bool is_engine = argc > 0 && !strcmp(argv[0], STARTER_ENGINE_NAME);
	int err = daemon_open_standard();

	/* Print the error: perhaps only stdin is closed, and stderr is open. */
	if (err < 0) {
		fprintf(stderr, "wiregather: cannot open /dev/null: %s\n",
			strerror(-err));
		return EXIT_FAILURE;
	}
	switch (options_parse(&options, argc, argv)) {
	case 0:
		break;
	case OPTIONS_E_HELP:
		fputs(options_get_usage(), stdout);
		return EXIT_SUCCESS;
	case OPTIONS_E_VERSION:
		print_version();
		return EXIT_SUCCESS;
	case OPTIONS_E_BENCH_CRYPTO:
		return run_bench(&options);
	default:
		fprintf(stderr, "wiregather: %s\n%s", options.error,
			options_get_usage());
		return EXIT_USAGE;
	}
	stored_init(&stored);
	if (!is_engine) {
		warn(&options);
		if (options.is_foreground && is_isolated(&options))
			stored_receive(&stored);
		close_inherited(&options, &stored);
	}
	/* RLIMIT_NOFILE counts for descriptors that are opened after this. */
	limits_raise();
	if (is_engine)
		return serve_engine(&options);
	/* libsodium may end the program with a message here. So a process that
	 * encrypts calls crypto_init() before a fork, while stderr is the
	 * user's. */
	if (!is_isolated(&options) && crypto_init() < 0) {
		fprintf(stderr, "wiregather: %s\n", no_crypto);
		return EXIT_FAILURE;
	}
	open_notify(&options, &stored, &notify);
	return options.is_foreground
		       ? run(&options, &foreground, &notify, &stored, argv)
		       : run_daemon(&options, &notify, &stored, argv);
}
