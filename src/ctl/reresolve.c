/* SPDX-License-Identifier: MIT */
/*
 * wiregatherctl reresolve: endpoints that are given by name are kept current. The daemon
 * itself resolves no names. ctl/choice.h says what is done when.
 */
#include "ctl/commands.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "ctl/choice.h"
#include "ctl/keeper.h"
#include "ctl/snapshot.h"

enum {
	/* Seconds between two looks, and what an option may set. Choices. */
	INTERVAL_S = 60,
	INTERVAL_MAX_S = 86400,
};

/**
 * struct arguments - the command line
 * @interfaces:	@n_interfaces names
 * @n_interfaces: how many
 * @config:	a file in place of that of wg-quick(8); NULL
 * @interval_s:	seconds between two looks
 * @is_once:	end when all names are resolved
 */
struct arguments {
	char **interfaces;
	size_t n_interfaces;
	const char *config;
	unsigned int interval_s;
	bool is_once;
};

/**
 * struct work - what the loop has
 * @hosts:	names
 * @keepers:	@n interfaces
 * @n:		how many
 * @fds:	for poll(2): names, signals, and the stream of each interface
 * @signals:	a signalfd
 * @has_failed:	for the exit status
 */
struct work {
	struct hosts hosts;
	struct keeper *keepers;
	size_t n;
	struct pollfd *fds;
	int signals;
	bool has_failed;
};

enum {
	FD_HOSTS,
	FD_SIGNALS,
	FD_STREAMS,
};

/* ------------------------------------------------------------- command line */

static int parse(struct arguments *a, int argc, char **argv)
{
	static const struct option options[] = {
		{ "once", no_argument, NULL, 'o' },
		{ "interval", required_argument, NULL, 'i' },
		{ "config", required_argument, NULL, 'c' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	*a = (struct arguments){ .interval_s = INTERVAL_S };
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (c == ':')
			return ctl_refuse("no value", argv[optind - 1]);
		if (c == 'i' &&
		    !ctl_read_seconds(optarg, INTERVAL_MAX_S, &a->interval_s))
			return ctl_refuse("--interval is not a number of "
					  "seconds from 1 to 86400",
					  optarg);
		if (c == '?')
			return ctl_refuse("no such option", argv[optind - 1]);
		a->is_once |= c == 'o';
		if (c == 'c')
			a->config = optarg;
	}
	a->interfaces = argv + optind;
	a->n_interfaces = (size_t)(argc - optind);
	if (a->config && a->n_interfaces != 1)
		return ctl_refuse("--config needs one interface", a->config);
	return CTL_OK;
}

/* --------------------------------------------------------------------- loop */

static void take_answers(struct work *w)
{
	struct resolver_answer answer;
	struct host *host;

	while ((host = hosts_take(&w->hosts, &answer))) {
		w->has_failed |= answer.error != 0;
		for (size_t i = 0; i < w->n; i++)
			keeper_answer(&w->keepers[i], host, &answer);
	}
}

/* Return: false: it is time to end. */
static bool take_signal(struct work *w)
{
	struct signalfd_siginfo info;

	if (read(w->signals, &info, sizeof(info)) != sizeof(info))
		return true;
	if (info.ssi_signo != SIGHUP)
		return false;
	for (size_t i = 0; i < w->n; i++)
		keeper_reload(&w->keepers[i]);
	return true;
}

/* Wait until @due or until there is news, and take it. Return: false: end. */
static bool wait_for_news(struct work *w, int64_t due)
{
	int64_t left = due - keeper_now();
	int n;

	if (left < 0)
		left = 0;
	if (left > INTERVAL_MAX_S * 1000)
		left = INTERVAL_MAX_S * 1000;
	for (size_t i = 0; i < w->n; i++)
		w->fds[FD_STREAMS + i].fd = w->keepers[i].stream.fd;
	n = poll(w->fds, FD_STREAMS + w->n, (int)left);
	if (n <= 0)
		return n == 0 || errno == EINTR;
	if (w->fds[FD_HOSTS].revents)
		take_answers(w);
	for (size_t i = 0; i < w->n; i++)
		if (w->fds[FD_STREAMS + i].fd >= 0 &&
		    w->fds[FD_STREAMS + i].revents)
			keeper_read(&w->keepers[i]);
	return !w->fds[FD_SIGNALS].revents || take_signal(w);
}

static void run(struct work *w, bool is_once)
{
	int64_t due;

	do {
		due = CHOICE_NEVER;
		for (size_t i = 0; i < w->n; i++) {
			int64_t keeper_due;

			if (!keeper_work(&w->keepers[i], &keeper_due))
				w->has_failed = true;
			due = keeper_due < due ? keeper_due : due;
		}
		if (is_once && !w->hosts.n_pending)
			break;
	} while (wait_for_news(w, due));
}

/* -------------------------------------------------------------------- begin */

/* Read the configurations. One that is wrong fails; if the interfaces were not named,
 * it is only left out. */
static bool init_keepers(struct work *w, const struct arguments *a,
			 bool are_named)
{
	for (size_t i = 0; i < a->n_interfaces; i++) {
		struct keeper *keeper = &w->keepers[w->n];

		if (keeper_init(keeper, a->interfaces[i], a->config, &w->hosts,
				a->interval_s)) {
			w->n++;
			continue;
		}
		keeper_deinit(keeper);
		w->has_failed = true;
		if (are_named)
			return false;
	}
	return w->n > 0;
}

/* Signals are blocked, before there are threads, and read from a descriptor. */
static int init(struct work *w, size_t n)
{
	sigset_t set;
	int err;

	*w = (struct work){ .signals = -1 };
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	err = hosts_init(&w->hosts);
	if (err < 0)
		return err;
	w->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (w->signals < 0)
		return -errno;
	w->keepers = calloc(n, sizeof(*w->keepers));
	w->fds = calloc(FD_STREAMS + n, sizeof(*w->fds));
	if (!w->keepers || !w->fds)
		return -ENOMEM;
	w->fds[FD_HOSTS] = (struct pollfd){ hosts_fd(&w->hosts), POLLIN, 0 };
	w->fds[FD_SIGNALS] = (struct pollfd){ w->signals, POLLIN, 0 };
	for (size_t i = 0; i < n; i++)
		w->fds[FD_STREAMS + i] = (struct pollfd){ -1, POLLIN, 0 };
	return 0;
}

static void deinit(struct work *w)
{
	for (size_t i = 0; i < w->n; i++)
		keeper_deinit(&w->keepers[i]);
	free(w->keepers);
	free(w->fds);
	if (w->signals >= 0)
		close(w->signals);
	if (w->hosts.resolver)
		hosts_deinit(&w->hosts);
}

static int keep(const struct arguments *a, bool are_named)
{
	struct work w;
	int err = init(&w, a->n_interfaces);
	int status = CTL_FAILED;

	if (err < 0) {
		ctl_complain("reresolve", err);
	} else if (init_keepers(&w, a, are_named)) {
		fflush(stdout);
		run(&w, a->is_once);
		status = a->is_once && w.has_failed ? CTL_FAILED : CTL_OK;
	}
	deinit(&w);
	return status;
}

int ctl_reresolve(int argc, char **argv)
{
	struct arguments a;
	char **found = NULL;
	int status = parse(&a, argc, argv);

	if (status != CTL_OK)
		return status;
	if (!a.n_interfaces) {
		found = ctl_interfaces(&a.n_interfaces);
		a.interfaces = found;
		if (!found) {
			fputs("wiregatherctl: no interface has statistics in " CTL_DIRECTORY
			      "\n",
			      stderr);
			return CTL_FAILED;
		}
	}
	status = keep(&a, !found);
	free(found);
	return status;
}
