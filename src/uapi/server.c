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
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/now.h"
#include "uapi/client.h"
#include "uapi/socket.h"

enum {
	/* Bytes of events that one read(2) takes. A choice: more than the
	 * longest event, which has sizeof(struct inotify_event) + NAME_MAX + 1
	 * bytes (inotify(7)). */
	INOTIFY_CAP = 4096,
};

/* The pause before the next accept4(2) after one has failed. A choice, not
 * measured. */
#define REST_NS NSEC_PER_SEC

/* How often to look for the file if inotify(7) cannot be used. A choice, not
 * measured. */
#define LOOK_NS (5 * NSEC_PER_SEC)

#define NEVER UAPI_NEVER

/*
 * @hub:	the part that the clients use, too
 * @socket:	the listening socket
 * @listener:	watches @socket while @is_accepting
 * @directory:	[I] of the socket's file; empty: no file
 * @file:	inotify, on @directory; fd -1: no file, or no inotify
 * @timer:	for clients that stall, for @rest_until and @look_at
 * @patience_ns: [I]
 * @alarm_ns:	when @timer fires next, or NEVER
 * @rest_until: accept no client before this time; 0: accept at any time
 * @look_at:	when to look for the file next; NEVER: inotify reports changes,
 *		or there is no file
 * @accept_err:	the last error of accepting that was logged, 0 after a success;
 *		avoids repeated lines
 * @is_accepting:	@listener is in the loop
 */
struct uapi_server {
	struct uapi_hub hub;
	struct uapi_socket socket;
	char directory[sizeof(((struct uapi_socket *)0)->path)];
	struct loop_watch listener;
	struct loop_watch file;
	struct loop_watch timer;
	uint64_t patience_ns;
	uint64_t alarm_ns;
	uint64_t rest_until;
	uint64_t look_at;
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
	uint64_t next =
		server->rest_until && server->rest_until < server->look_at
			? server->rest_until
			: server->look_at;
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
		!server->rest_until &&
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

/* Stop the loop if the socket's file is gone. */
static void look_for_file(struct uapi_server *server)
{
	if (uapi_socket_has_file(&server->socket))
		return;
	log_event("uapi: %s is gone", server->socket.path);
	loop_stop(server->hub.loop, 0);
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
	if (now >= server->look_at) {
		look_for_file(server);
		server->look_at = now + LOOK_NS;
	}
	for (link = server->hub.clients.next; link != &server->hub.clients;
	     link = next) {
		struct uapi_client *client = uapi_client_of(link);

		next = link->next;
		if (uapi_client_expires_at(client, server->patience_ns) <= now)
			uapi_client_close(client);
	}
	settle_places(&server->hub);
}

/*
 * Something happened in the socket's directory. An overflow of the queue of
 * inotify does no harm: the file is looked for after any event.
 */
static void on_change(struct loop_watch *watch, uint32_t events)
{
	struct uapi_server *server = watch->arg;
	char buf[INOTIFY_CAP];

	(void)events;
	while (read(watch->fd, buf, sizeof(buf)) > 0)
		;
	if (errno != EAGAIN && errno != EINTR)
		loop_fail(server->hub.loop, watch, "uapi: cannot read inotify",
			  -errno);
	look_for_file(server);
}

/*
 * Watch the directory. A watch on the file would not do: while the socket is
 * open, deleting the file gives the event IN_ATTRIB, as a change of its mode
 * does.
 */
static int open_inotify(struct uapi_server *server)
{
	const uint32_t mask = IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |
			      IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
	int fd, err;

	fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (inotify_add_watch(fd, server->directory, mask) < 0)
		goto err_close;
	server->file = (struct loop_watch){ .fd = fd,
					    .ready = on_change,
					    .arg = server };
	err = loop_add(server->hub.loop, &server->file, EPOLLIN);
	if (err < 0) {
		close(fd);
		server->file.fd = -1;
	}
	return err;

err_close:
	err = -errno;
	close(fd);
	return err;
}

/* Can the process open another descriptor? */
static bool has_descriptor(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy >= 0)
		close(copy);
	return copy >= 0;
}

/* The limit of inotify that an errno stands for. The text of strerror(3) names
 * another resource. */
static const char *inotify_hint(int err)
{
	switch (-err) {
	case EMFILE:
		return " (see fs.inotify.max_user_instances)";
	case ENOSPC:
		return " (see fs.inotify.max_user_watches)";
	default:
		return "";
	}
}

/*
 * Watch for changes of the file. Other processes share the limits of inotify.
 * If these limits are used up, look for the file every few seconds. Returns
 * -EMFILE if this process can have no more descriptors.
 */
static int watch_file(struct uapi_server *server)
{
	char *directory = server->directory;
	char *end;
	int err;

	server->file.fd = -1;
	server->look_at = NEVER;
	if (!*server->socket.path || server->hub.stats)
		return 0;
	memcpy(directory, server->socket.path, sizeof(server->directory));
	end = strrchr(directory, '/');
	/* Keep the slash of the root directory. */
	end[end == directory] = 0;
	err = open_inotify(server);
	if (err == 0 || (err == -EMFILE && !has_descriptor(server->socket.fd)))
		return err;
	log_error("uapi: cannot watch %s by inotify: %s%s; looking for it "
		  "every %d s instead",
		  server->socket.path, strerror(-err), inotify_hint(err),
		  (int)(LOOK_NS / NSEC_PER_SEC));
	server->look_at = now_boottime() + LOOK_NS;
	return 0;
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

static int start_server(struct uapi_server *server)
{
	int err;

	err = open_timer(server);
	if (err < 0)
		return err;
	err = watch_file(server);
	if (err < 0)
		goto err_close_timer;
	/* The file may have been deleted before it was watched. */
	err = -ENOENT;
	if (*server->socket.path && !uapi_socket_has_file(&server->socket))
		goto err_unwatch_file;
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
	unwatch(server, &server->file);
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
	int err;

	if (!server)
		return -ENOMEM;
	init_hub(&server->hub, config);
	server->patience_ns = config->patience_ms * NSEC_PER_MSEC;
	if (config->listen_fd < 0)
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

int uapi_server_open(struct uapi_server **out, struct loop *loop,
		     struct device *device, const struct uapi_codec *codec,
		     const char *directory, const char *name, int listen_fd)
{
	const struct uapi_server_config config = {
		.loop = loop,
		.device = device,
		.codec = codec,
		.name = name,
		.listen_fd = listen_fd,
		.directory = directory,
		.patience_ms = UAPI_PATIENCE_S * 1000,
		.group = (gid_t)-1,
	};

	return uapi_server_open_config(out, &config);
}

int uapi_server_open_stats(struct uapi_server **out, struct loop *loop,
			   const struct stats_source *stats,
			   const char *directory, const char *name, gid_t group)
{
	const struct uapi_server_config config = {
		.loop = loop,
		.device = engine_get_device(stats->engine),
		.codec = stats->codec,
		.name = name,
		.listen_fd = -1,
		.directory = directory,
		.patience_ms = UAPI_PATIENCE_S * 1000,
		.stats = stats,
		.group = group,
	};

	return uapi_server_open_config(out, &config);
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

const char *uapi_server_get_directory(const struct uapi_server *server)
{
	return *server->directory ? server->directory : NULL;
}

void uapi_server_close(struct uapi_server *server)
{
	if (!server)
		return;
	while (!list_is_empty(&server->hub.clients))
		uapi_client_close(uapi_client_of(server->hub.clients.next));
	if (server->is_accepting)
		loop_remove(server->hub.loop, &server->listener);
	unwatch(server, &server->file);
	unwatch(server, &server->timer);
	uapi_socket_close(&server->socket);
	free(server);
}
