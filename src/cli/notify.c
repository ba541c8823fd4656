/* SPDX-License-Identifier: MIT */
/*
 * The socket never blocks, because the service manager may be slow or stopped. A
 * message that finds no place in its queue is sent later, except for WATCHDOG=1, which
 * is not repeated before its time.
 */
#include "cli/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/now.h"
#include "keeper/channel.h"

enum {
	/* Bytes of a message: a status, and words around it. */
	MESSAGE_CAP = NOTIFY_STATUS_CAP + 64,
};

/* At most one STATUS=, and one RELOADING=1, in this time. */
#define STATUS_NS NSEC_PER_SEC
/* The time after which a message is sent that found no place in the queue. A choice,
 * not measured. */
#define AGAIN_NS (100 * NSEC_PER_MSEC)
/* Bounds of the period of WATCHDOG=1. Choices: a hundred a second cost little, and a day
 * is long enough. */
#define PERIOD_MIN_NS (10 * NSEC_PER_MSEC)
#define PERIOD_MAX_NS (24 * 3600 * NSEC_PER_SEC)

/* Send one message, if there is a service manager. Return: 0; -EAGAIN: the queue is full;
 * -errno. */
static int send_message(const struct notify *n, const char *text)
{
	struct iovec iov = { unconst(text), strlen(text) };
	const struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t sent;

	if (n->fd < 0)
		return 0;
	do {
		sent = sendmsg(n->fd, &msg, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

/* Half of the time that the service manager waits, as sd_watchdog_enabled(3)
 * recommends. */
static uint64_t choose_period(uint64_t watchdog_us)
{
	if (!watchdog_us)
		return 0;
	if (watchdog_us >= PERIOD_MAX_NS / 500)
		return PERIOD_MAX_NS;
	return watchdog_us * 500 < PERIOD_MIN_NS ? PERIOD_MIN_NS
						 : watchdog_us * 500;
}

int notify_open(struct notify *n, const char *address, uint64_t watchdog_us)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t len = address ? strlen(address) : 0;
	int err = 0;

	*n = (struct notify){ .fd = -1,
			      .period_ns = choose_period(watchdog_us) };
	if (!address)
		return 0;
	if (len >= sizeof(to.sun_path))
		return -ENAMETOOLONG;
	memcpy(to.sun_path, address, len);
	/* An abstract name begins with a 0, and has none at its end. */
	if (*address == '@')
		to.sun_path[0] = 0;
	else
		len++;
	n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (n->fd < 0)
		return -errno;
	if (connect(n->fd, (const struct sockaddr *)&to,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) <
	    0) {
		err = -errno;
		close(n->fd);
		n->fd = -1;
		return err;
	}
	return 0;
}

/* Send the status, if it is not the one that was sent last. Return: 0; -errno. */
static int send_status(struct notify *n)
{
	char text[NOTIFY_STATUS_CAP], message[MESSAGE_CAP];
	int err;

	if (*n->stalled)
		snprintf(text, sizeof(text), "the %s makes no progress",
			 n->stalled);
	else
		n->ops->print_status(n->arg, text, sizeof(text));
	if (strcmp(text, n->status) == 0)
		return 0;
	snprintf(message, sizeof(message), "STATUS=%s", text);
	err = send_message(n, message);
	if (err < 0)
		return err;
	memcpy(n->status, text, sizeof(n->status));
	n->status_at = now_monotonic();
	return 0;
}

static int send_ready(struct notify *n)
{
	char message[MESSAGE_CAP] = "READY=1";

	if (n->main_pid)
		snprintf(message, sizeof(message), "READY=1\nMAINPID=%ld",
			 (long)n->main_pid);
	return send_message(n, message);
}

/* READY=1 in the same message means that it is over (sd_notify(3)). */
static int send_reloaded(struct notify *n)
{
	char message[MESSAGE_CAP];
	int err;

	if (!n->reloaded_at)
		return 0;
	snprintf(message, sizeof(message),
		 "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\nREADY=1",
		 n->reloaded_at / 1000);
	err = send_message(n, message);
	if (err == -EAGAIN)
		return err;
	n->reloaded_at = 0;
	n->status_at = now_monotonic();
	return err;
}

/*
 * Send what is due. An error other than a full queue means that the service manager is
 * gone, and is ignored: nobody is left to be told, and the tunnel goes on.
 */
static void send_due(struct notify *n)
{
	uint64_t now = now_monotonic(), next = now + AGAIN_NS;
	int err = 0;

	if (n->owes_ready) {
		err = send_ready(n);
		n->owes_ready = err == -EAGAIN;
	}
	if (err == 0 && *n->status &&
	    !clock_has_passed(n->status_at, STATUS_NS, now)) {
		next = n->status_at + STATUS_NS;
		err = -EAGAIN;
	}
	if (err == 0)
		err = send_reloaded(n);
	if (err == 0)
		err = send_status(n);
	if (err == -EAGAIN)
		loop_set_timer(n->loop, &n->later, next);
}

static void later_ready(struct loop_timer *timer)
{
	send_due(timer->arg);
}

void notify_change(struct notify *n)
{
	/* If @later is set, it will send what is new then. */
	if (n->is_ready && !n->later.is_set)
		send_due(n);
}

void notify_reloaded(struct notify *n, uint64_t begun)
{
	if (!n->is_ready)
		return;
	n->reloaded_at = begun;
	notify_change(n);
}

/* Note what makes no progress, and log it once; empty: nothing. */
static void note_stalled(struct notify *n, const char *name)
{
	if (*name && !*n->stalled)
		log_error("the %s makes no progress: the watchdog of the "
			  "service manager is not fed",
			  name);
	if (!*name && *n->stalled)
		log_event("the %s goes on", n->stalled);
	snprintf(n->stalled, sizeof(n->stalled), "%s", name);
}

/* A period is over, or one that was too long. */
static void end_period(struct notify *n, const char *stalled)
{
	note_stalled(n, stalled);
	if (!*stalled)
		(void)send_message(n, "WATCHDOG=1");
	loop_set_timer(n->loop, &n->watchdog, now_monotonic() + n->period_ns);
	/* Sessions become too old to be used without an event. */
	notify_change(n);
}

static void watchdog_ready(struct loop_timer *timer)
{
	struct notify *n = timer->arg;
	const char *stalled = n->ops->find_stalled(n->arg);

	end_period(n, stalled ? stalled : "");
}

void notify_go_on(struct notify *n)
{
	if (*n->stalled)
		end_period(n, "");
}

void notify_start(struct notify *n, struct loop *loop,
		  const struct notify_ops *ops, void *arg)
{
	n->loop = loop;
	n->ops = ops;
	n->arg = arg;
	n->watchdog = (struct loop_timer){ .ready = watchdog_ready, .arg = n };
	n->later = (struct loop_timer){ .ready = later_ready, .arg = n };
}

void notify_ready(struct notify *n, pid_t main_pid)
{
	if (n->fd < 0 && !n->period_ns)
		return;
	n->is_ready = n->owes_ready = true;
	n->main_pid = main_pid;
	send_due(n);
	if (n->period_ns)
		loop_set_timer(n->loop, &n->watchdog,
			       now_monotonic() + n->period_ns);
}

int notify_store(const struct notify *n, const char *name, int fd)
{
	char text[MESSAGE_CAP];

	if (n->fd < 0 || !n->has_store)
		return 0;
	/* Without FDPOLL=0 a socket that has an error to tell would be dropped. */
	snprintf(text, sizeof(text), "%s\nFDNAME=%s",
		 fd < 0 ? "FDSTOREREMOVE=1" : "FDSTORE=1\nFDPOLL=0", name);
	return channel_send(n->fd, text, strlen(text), &fd, fd >= 0,
			    MSG_DONTWAIT);
}

void notify_failure(const struct notify *n, const char *why, int err)
{
	char message[MESSAGE_CAP];
	int len;

	if (n->fd < 0)
		return;
	len = snprintf(message, sizeof(message), "STATUS=%.*s",
		       NOTIFY_STATUS_CAP - 1, why);
	if (err < 0)
		snprintf(message + len, sizeof(message) - (size_t)len,
			 "\nERRNO=%d", -err);
	(void)send_message(n, message);
}

void notify_stopping(struct notify *n)
{
	if (n->fd >= 0)
		(void)send_message(n, "STOPPING=1\nSTATUS=ending");
}

void notify_close(struct notify *n)
{
	if (n->loop) {
		loop_clear_timer(n->loop, &n->watchdog);
		loop_clear_timer(n->loop, &n->later);
	}
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
	n->is_ready = false;
}
