/* SPDX-License-Identifier: MIT */
/*
 * The signals are blocked in all threads. The control thread reads them from a
 * signalfd(2).
 */
#include "cli/signals.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

static bool is_ignored(int number)
{
	struct sigaction action = { 0 };

	return !sigaction(number, NULL, &action) &&
	       action.sa_handler == SIG_IGN;
}

void signals_init(struct signals *signals, bool is_daemon)
{
	/* A write of the log may raise these signals: the reader is gone, the
	 * file may not grow, or the terminal stops processes in the background.
	 * If they are ignored, the write fails or passes, and nothing else
	 * happens. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
	/* As process 1 of a container this process inherits orphans. The kernel
	 * reaps the children of a process that ignores SIGCHLD (wait(2)). */
	signal(SIGCHLD, SIG_IGN);
	/* Children that ended before this are not reaped by the kernel. */
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	if (is_daemon)
		signal(SIGHUP, SIG_IGN);
	sigemptyset(&signals->set);
	/* A script's `wiregather -f wg0 &` begins with SIGINT ignored, and must
	 * have a way to end. While a signal is blocked, the kernel keeps it
	 * even if it is ignored (signal(7)), so SIGINT and SIGTERM always
	 * work. */
	sigaddset(&signals->set, SIGINT);
	sigaddset(&signals->set, SIGTERM);
	if (!is_ignored(SIGHUP))
		sigaddset(&signals->set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals->set, NULL);
}

static void on_signal(struct loop_watch *watch, uint32_t events)
{
	struct signals *signals = watch->arg;
	struct signalfd_siginfo info;

	(void)events;
	if (read(watch->fd, &info, sizeof(info)) != (ssize_t)sizeof(info)) {
		if (errno != EAGAIN && errno != EINTR)
			loop_fail(signals->loop, watch, "cannot read a signal",
				  -errno);
		return;
	}
	log_event("ending: %s", strsignal((int)info.ssi_signo));
	if (signals->ended)
		signals->ended(signals->arg);
	else
		loop_stop(signals->loop, 0);
}

int signals_open(struct signals *signals, struct loop *loop)
{
	int err;

	signals->loop = loop;
	signals->watch =
		(struct loop_watch){ .fd = signalfd(-1, &signals->set,
						    SFD_NONBLOCK | SFD_CLOEXEC),
				     .ready = on_signal,
				     .arg = signals };
	if (signals->watch.fd < 0)
		return -errno;
	err = loop_add(loop, &signals->watch, EPOLLIN);
	if (err < 0)
		close(signals->watch.fd);
	return err;
}

void signals_close(struct signals *signals)
{
	loop_remove(signals->loop, &signals->watch);
	close(signals->watch.fd);
}
