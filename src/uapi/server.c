/* SPDX-License-Identifier: MIT */
/*
 * The server accepts clients, limits their number and their time, and notices
 * when the socket's file is gone. One timer serves all deadlines. A deadline
 * that moves into the future does not move the timer: the timer fires early,
 * and is set again.
 */
#include "uapi/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/now.h"
#include "uapi/client.h"
#include "uapi/socket.h"
#include "uapi/watch.h"

/* The pause before the next accept4(2) after one has failed. A choice, not
 * measured. */
#define REST_NS NSEC_PER_SEC

#define NEVER UAPI_NEVER

/*
 * @hub:	the part that the clients use, too
 * @socket:	the listening socket
 * @listener:	watches @socket while @is_accepting
 * @file:	whether the socket's file is there
 * @timer:	for clients that stall, and for @rest_until
 * @patience_ns: [I]
 * @alarm_ns:	when @timer fires next, or NEVER
 * @rest_until: accept no client before this time; 0: accept at any time
 * @accept_err:	the last error of accepting that was logged, 0 after a success;
 *		avoids repeated lines
 * @is_accepting:	@listener is in the loop
 */
struct uapi_server {
	struct uapi_hub hub;
	struct uapi_socket socket;
	struct loop_watch listener;
	struct uapi_watch file;
	struct loop_watch timer;
	uint64_t patience_ns;
	uint64_t alarm_ns;
	uint64_t rest_until;
	int accept_err;
	bool is_accepting;
};

static struct uapi_server *server_of(struct uapi_hub *hub)
{
	return container_of(hub, struct uapi_server, hub);
}

static bool is_full(const struct uapi_server *server)
{
	return server->hub.n_clients >= UAPI_MAX_CLIENTS;
}

/*
 * The client whose place a newcomer may take. Of the clients that are not busy,
 * or have made no progress for UAPI_STALL_S seconds, it is the one that has
 * been silent longest. NULL if there is no such client.
 */
static struct uapi_client *find_silent(struct uapi_server *server, uint64_t now)
{
	struct uapi_client *found = NULL;
	struct list *link;

	list_for_each(link, &server->hub.clients) {
		struct uapi_client *client = uapi_client_of(link);

		if (uapi_client_yields_at(client) <= now &&
		    (!found || uapi_client_active_since(client) <
				       uapi_client_active_since(found)))
			found = client;
	}
	return found;
}

/* The time at which something has to be done next, or NEVER. */
static uint64_t next_deadline(struct uapi_server *server)
{
	uint64_t next = server->rest_until ? server->rest_until : NEVER;
	bool is_closed = is_full(server) && !server->is_accepting;
	struct list *link;

	list_for_each(link, &server->hub.clients) {
		struct uapi_client *client = uapi_client_of(link);
		uint64_t at =
			uapi_client_expires_at(client, server->patience_ns);

		if (at < next)
			next = at;
		at = uapi_client_yields_at(client);
		if (is_closed && at < next)
			next = at;
	}
	return next;
}

/* Have the timer fire at the next deadline, or earlier. */
static void set_alarm(struct uapi_server *server)
{
	uint64_t next = next_deadline(server);
	struct itimerspec spec = {
		.it_value.tv_sec = (time_t)(next / NSEC_PER_SEC),
		.it_value.tv_nsec = (long)(next % NSEC_PER_SEC),
	};

	if (next >= server->alarm_ns)
		return;
	/* timerfd_settime(2) fails for invalid values only. */
	timerfd_settime(server->timer.fd, TFD_TIMER_ABSTIME, &spec, NULL);
	server->alarm_ns = next;
}

/* Watch for newcomers, or let them wait in the kernel's queue. */
static void set_accepting(struct uapi_server *server)
{
	bool can_accept =
		!server->rest_until && !server->hub.is_held &&
		(!is_full(server) || find_silent(server, now_boottime()));

	if (can_accept == server->is_accepting)
		return;
	if (!can_accept)
		loop_remove(server->hub.loop, &server->listener);
	else if (loop_add(server->hub.loop, &server->listener, EPOLLIN)) {
		/* The kernel has no memory for it, or the user has too many
		 * watches (epoll_ctl(2)): try again later. */
		server->rest_until = now_boottime() + REST_NS;
		return;
	}
	server->is_accepting = can_accept;
}

static void settle_places(struct uapi_hub *hub)
{
	struct uapi_server *server = server_of(hub);

	set_accepting(server);
	set_alarm(server);
}

/*
 * Make a place for a newcomer; false if there is none. A client that seems
 * silent may have sent a request that was not read yet, or may just have taken
 * some of its answer. Such a client is served, and not closed.
 */
static bool make_place(struct uapi_server *server)
{
	for (int i = 0; i < UAPI_MAX_CLIENTS && is_full(server); i++) {
		struct uapi_client *client =
			find_silent(server, now_boottime());

		if (!client)
			return false;
		if (uapi_client_can_go_on(client))
			uapi_client_serve(client);
		else
			uapi_client_close(client);
	}
	return !is_full(server);
}

static int admit(struct uapi_server *server)
{
	struct uapi_client *client;
	int fd, err;

	if (!make_place(server))
		return -EAGAIN;
	fd = accept4(server->listener.fd, NULL, NULL,
		     SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = uapi_client_open(&client, &server->hub, fd);
	if (err < 0)
		close(fd);
	else
		uapi_client_serve(client);
	return err;
}

static void on_connection(struct loop_watch *watch, uint32_t events)
{
	struct uapi_server *server = watch->arg;
	int err = admit(server);

	(void)events;
	/* Descriptors or memory have run out, perhaps for a moment. Without a
	 * pause the loop would spin. */
	if (err < 0 && err != -EAGAIN && err != -EINTR &&
	    err != -ECONNABORTED) {
		if (err != server->accept_err)
			log_error("uapi: cannot accept: %s", strerror(-err));
		server->accept_err = err;
		server->rest_until = now_boottime() + REST_NS;
	} else if (err == 0) {
		server->accept_err = 0;
	}
	settle_places(&server->hub);
}

/* Close the clients whose time is over. */
static void on_alarm(struct loop_watch *watch, uint32_t events)
{
	struct uapi_server *server = watch->arg;
	uint64_t now = now_boottime();
	struct list *link, *next;
	uint64_t n_expired;

	(void)events;
	if (read(watch->fd, &n_expired, sizeof(n_expired)) < 0) {
		if (errno != EAGAIN && errno != EINTR)
			loop_fail(server->hub.loop, watch,
				  "uapi: cannot read the timer", -errno);
		return;
	}
	server->alarm_ns = NEVER;
	if (now >= server->rest_until)
		server->rest_until = 0;
	for (link = server->hub.clients.next; link != &server->hub.clients;
	     link = next) {
		struct uapi_client *client = uapi_client_of(link);

		next = link->next;
		if (uapi_client_expires_at(client, server->patience_ns) <= now)
			uapi_client_close(client);
	}
	settle_places(&server->hub);
}

static void unwatch(struct uapi_server *server, struct loop_watch *watch)
{
	if (watch->fd < 0)
		return;
	loop_remove(server->hub.loop, watch);
	close(watch->fd);
}

static int open_timer(struct uapi_server *server)
{
	int err;

	server->alarm_ns = NEVER;
	server->timer = (struct loop_watch){
		.fd = timerfd_create(CLOCK_BOOTTIME,
				     TFD_NONBLOCK | TFD_CLOEXEC),
		.ready = on_alarm,
		.arg = server
	};
	if (server->timer.fd < 0)
		return -errno;
	err = loop_add(server->hub.loop, &server->timer, EPOLLIN);
	if (err < 0)
		close(server->timer.fd);
	return err;
}

static void file_gone(void *arg)
{
	struct uapi_server *server = arg;

	loop_stop(server->hub.loop, 0);
}

static int start_server(struct uapi_server *server)
{
	int err;

	err = open_timer(server);
	if (err < 0)
		return err;
	/* If the file of the statistics is deleted, nothing happens. */
	if (!server->hub.stats)
		err = uapi_watch_open(&server->file, server->hub.loop,
				      &server->socket, file_gone, server);
	if (err < 0)
		goto err_close_timer;
	server->listener = (struct loop_watch){ .fd = server->socket.fd,
						.ready = on_connection,
						.arg = server };
	err = loop_add(server->hub.loop, &server->listener, EPOLLIN);
	if (err < 0)
		goto err_unwatch_file;
	server->is_accepting = true;
	set_alarm(server);
	return 0;

err_unwatch_file:
	uapi_watch_close(&server->file);
err_close_timer:
	unwatch(server, &server->timer);
	return err;
}

static void init_hub(struct uapi_hub *hub,
		     const struct uapi_server_config *config)
{
	hub->loop = config->loop;
	hub->device = config->device;
	hub->codec = config->codec;
	hub->stats = config->stats;
	hub->changed = settle_places;
	list_init(&hub->clients);
}

int uapi_server_open_config(struct uapi_server **out,
			    const struct uapi_server_config *config)
{
	struct uapi_server *server = calloc(1, sizeof(*server));
	int err = 0;

	if (!server)
		return -ENOMEM;
	init_hub(&server->hub, config);
	server->patience_ns = config->patience_ms * NSEC_PER_MSEC;
	if (config->is_lent)
		uapi_socket_borrow(&server->socket, config->listen_fd);
	else if (config->listen_fd < 0)
		err = uapi_socket_open(
			&server->socket, config->directory, config->name,
			config->stats ? "stats" : "sock", config->group);
	else
		err = uapi_socket_adopt(&server->socket, config->listen_fd);
	if (err < 0)
		goto err_free;
	err = start_server(server);
	if (err < 0)
		goto err_close_socket;
	*out = server;
	return 0;

err_close_socket:
	if (config->listen_fd < 0)
		uapi_socket_close(&server->socket);
err_free:
	free(server);
	return err;
}

void uapi_server_wake(struct uapi_server *server)
{
	struct list *link, *next;

	for (link = server->hub.clients.next; link != &server->hub.clients;
	     link = next) {
		struct uapi_client *client = uapi_client_of(link);

		next = link->next;
		if (uapi_client_follows(client))
			uapi_client_serve(client);
	}
	settle_places(&server->hub);
}

void uapi_server_hold(struct uapi_server *server)
{
	struct list *link;

	server->hub.is_held = true;
	list_for_each(link, &server->hub.clients)
		uapi_client_hold(uapi_client_of(link));
	settle_places(&server->hub);
}

void uapi_server_release(struct uapi_server *server)
{
	struct list *link, *next;

	server->hub.is_held = false;
	for (link = server->hub.clients.next; link != &server->hub.clients;
	     link = next) {
		struct uapi_client *client = uapi_client_of(link);

		next = link->next;
		if (uapi_client_release(client) < 0)
			uapi_client_close(client);
	}
	settle_places(&server->hub);
}

static bool is_at_rest(const struct uapi_client *client)
{
	return uapi_client_is_held(client) || uapi_client_follows(client);
}

bool uapi_server_is_at_rest(const struct uapi_server *server)
{
	struct list *link;

	list_for_each(link, &server->hub.clients)
		if (!is_at_rest(uapi_client_of(link)))
			return false;
	return true;
}

void uapi_server_drop_busy(struct uapi_server *server)
{
	struct list *link, *next;

	for (link = server->hub.clients.next; link != &server->hub.clients;
	     link = next) {
		next = link->next;
		if (!is_at_rest(uapi_client_of(link)))
			uapi_client_close(uapi_client_of(link));
	}
}

int uapi_server_take_client(struct uapi_server *server)
{
	struct list *link;

	list_for_each(link, &server->hub.clients)
		if (uapi_client_is_held(uapi_client_of(link)))
			return uapi_client_take(uapi_client_of(link));
	return -1;
}

/* Is this a connection of a Unix socket? */
static bool is_connection(int fd)
{
	int domain = 0, type = 0;
	socklen_t len = sizeof(domain), type_len = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 &&
	       domain == AF_UNIX &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) == 0 &&
	       type == SOCK_STREAM;
}

void uapi_server_add_client(struct uapi_server *server, int fd)
{
	struct uapi_client *client;

	if (!is_connection(fd) ||
	    uapi_client_open(&client, &server->hub, fd) < 0)
		close(fd);
	else
		uapi_client_serve(client);
	settle_places(&server->hub);
}

void uapi_server_set_apply(struct uapi_server *server,
			   int (*apply)(void *arg, const struct config *config,
					uint64_t now),
			   void *arg)
{
	server->hub.apply = apply;
	server->hub.apply_arg = arg;
}

void uapi_server_watch(struct uapi_server *server,
		       void (*applied)(void *arg, uint64_t begun), void *arg)
{
	server->hub.applied = applied;
	server->hub.applied_arg = arg;
}

const struct uapi_refusal *
uapi_server_get_refusal(const struct uapi_server *server)
{
	return &server->hub.refusal;
}

void uapi_server_close(struct uapi_server *server)
{
	if (!server)
		return;
	while (!list_is_empty(&server->hub.clients))
		uapi_client_close(uapi_client_of(server->hub.clients.next));
	if (server->is_accepting)
		loop_remove(server->hub.loop, &server->listener);
	uapi_watch_close(&server->file);
	unwatch(server, &server->timer);
	uapi_socket_close(&server->socket);
	free(server);
}
