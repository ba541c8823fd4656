/* SPDX-License-Identifier: MIT */
/* See upgrade.h. */
#include "cli/upgrade.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/descriptors.h"
#include "base/now.h"
#include "base/upgrade.h"
#include "keeper/channel.h"

/* How long a client may send nothing. A choice: a request is sent at once. */
#define PATIENCE_NS NSEC_PER_SEC

static void send_reply(int fd, const char *why, int err)
{
	struct upgrade_reply reply = { .version = UPGRADE_VERSION, .err = err };

	if (err < 0)
		snprintf(reply.why, sizeof(reply.why), "%s", why);
	/* An engine may have given the reason, and is not trusted. */
	for (char *p = reply.why; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	/* The client may be gone. */
	(void)channel_send(fd, &reply, sizeof(reply), NULL, 0, MSG_DONTWAIT);
}

static void close_client(struct upgrade *u)
{
	if (u->client.fd < 0)
		return;
	loop_clear_timer(u->loop, &u->patience);
	loop_remove(u->loop, &u->client);
	close(u->client.fd);
	u->client.fd = -1;
}

static void patience_ready(struct loop_timer *timer)
{
	close_client(timer->arg);
}

/* May the process at the other end ask? */
static bool is_allowed(const struct upgrade *u, int fd)
{
	struct ucred peer = { .uid = (uid_t)-1 };
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       (peer.uid == 0 || peer.uid == u->user);
}

/* Is this a request? */
static bool is_sound(const struct upgrade_request *request, ssize_t n,
		     unsigned int n_fds)
{
	return n == (ssize_t)sizeof(*request) &&
	       request->version == UPGRADE_VERSION &&
	       request->has_program <= 1 && n_fds == request->has_program;
}

/* While an upgrade is under way, a client has nothing more to send. So what comes then is
 * the end of its connection, or a reason to end it. */
static void client_ready(struct loop_watch *watch, uint32_t events)
{
	struct upgrade *u = watch->arg;
	struct upgrade_request request;
	int fds[CHANNEL_FDS_MAX];
	unsigned int n_fds;
	ssize_t n = channel_receive(watch->fd, &request, sizeof(request), fds,
				    &n_fds, MSG_DONTWAIT);

	(void)events;
	if (n == -EAGAIN)
		return;
	if (n == 0 || u->is_begun) {
		close_client(u);
	} else if (!is_sound(&request, n, n_fds)) {
		send_reply(watch->fd, "this is no request of version 1",
			   -EPROTONOSUPPORT);
		close_client(u);
	} else {
		loop_clear_timer(u->loop, &u->patience);
		u->is_begun = true;
		u->owner.begin(u->owner.arg, n_fds ? fds[0] : -1);
	}
	close_all(fds, n_fds);
}

/* Serve a client. Return: why not, in words; NULL: it is served. */
static const char *admit(struct upgrade *u, int fd, int *err)
{
	*err = -EPERM;
	if (!is_allowed(u, fd))
		return "only root and the tunnel's own user may upgrade it";
	*err = -EBUSY;
	if (u->client.fd >= 0 || u->is_begun)
		return "another upgrade is under way";
	u->client = (struct loop_watch){ .fd = fd,
					 .ready = client_ready,
					 .arg = u };
	*err = loop_add(u->loop, &u->client, EPOLLIN);
	if (*err == 0) {
		loop_set_timer(u->loop, &u->patience,
			       now_monotonic() + PATIENCE_NS);
		return NULL;
	}
	u->client.fd = -1;
	return "the daemon cannot watch the connection";
}

static void listener_ready(struct loop_watch *watch, uint32_t events)
{
	struct upgrade *u = watch->arg;
	const char *why;
	int err = 0;
	int fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			loop_fail(u->loop, watch, "cannot accept", -errno);
		return;
	}
	why = admit(u, fd, &err);
	if (!why)
		return;
	send_reply(fd, why, err);
	close(fd);
}

int upgrade_open(struct upgrade *u, struct loop *loop,
		 const struct upgrade_owner *owner, const char *directory,
		 const char *name)
{
	int err;

	*u = (struct upgrade){
		.loop = loop,
		.owner = *owner,
		.user = geteuid(),
		.socket.fd = -1,
		.client.fd = -1,
		.patience = { .ready = patience_ready, .arg = u },
	};
	err = uapi_socket_open_messages(&u->socket, directory, name,
					UPGRADE_SUFFIX);
	if (err < 0) {
		u->socket.fd = -1;
		return err;
	}
	u->listener = (struct loop_watch){ .fd = u->socket.fd,
					   .ready = listener_ready,
					   .arg = u };
	err = loop_add(loop, &u->listener, EPOLLIN);
	if (err == 0)
		return 0;
	uapi_socket_close(&u->socket);
	return err;
}

void upgrade_answer(struct upgrade *u, const char *why, int err)
{
	if (!u->is_begun)
		return;
	u->is_begun = false;
	if (u->client.fd < 0)
		return;
	send_reply(u->client.fd, why, err);
	close_client(u);
}

void upgrade_close(struct upgrade *u)
{
	if (!u->loop || u->socket.fd < 0)
		return;
	close_client(u);
	loop_remove(u->loop, &u->listener);
	uapi_socket_close(&u->socket);
}
