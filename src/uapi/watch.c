/* SPDX-License-Identifier: MIT */
/*
 * The file is looked for after each change in its directory, or every few seconds if
 * there is no inotify(7).
 */
#include "uapi/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/log.h"
#include "base/now.h"

enum {
	/* Bytes of events that one read(2) takes. A choice: more than the
	 * longest event, which has sizeof(struct inotify_event) + NAME_MAX + 1
	 * bytes (inotify(7)). */
	INOTIFY_CAP = 4096,
};

/* How often to look for the file if inotify(7) cannot be used. A choice, not
 * measured. */
#define LOOK_NS (5 * NSEC_PER_SEC)

static void look_for_file(struct uapi_watch *w)
{
	if (uapi_socket_has_file(w->socket))
		return;
	log_event("uapi: %s is gone", w->socket->path);
	w->gone(w->arg);
}

static void look_ready(struct loop_timer *timer)
{
	struct uapi_watch *w = timer->arg;

	look_for_file(w);
	loop_set_timer(w->loop, timer, now_monotonic() + LOOK_NS);
}

/*
 * Something happened in the socket's directory. An overflow of the queue of
 * inotify does no harm: the file is looked for after any event.
 */
static void on_change(struct loop_watch *watch, uint32_t events)
{
	struct uapi_watch *w = watch->arg;
	char buf[INOTIFY_CAP];

	(void)events;
	while (read(watch->fd, buf, sizeof(buf)) > 0)
		;
	if (errno != EAGAIN && errno != EINTR)
		loop_fail(w->loop, watch, "uapi: cannot read inotify", -errno);
	look_for_file(w);
}

/*
 * Watch the directory. A watch on the file would not do: while the socket is
 * open, deleting the file gives the event IN_ATTRIB, as a change of its mode
 * does.
 */
static int open_inotify(struct uapi_watch *w)
{
	const uint32_t mask = IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |
			      IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
	int fd, err;

	fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (inotify_add_watch(fd, w->directory, mask) < 0)
		goto err_close;
	w->inotify =
		(struct loop_watch){ .fd = fd, .ready = on_change, .arg = w };
	err = loop_add(w->loop, &w->inotify, EPOLLIN);
	if (err < 0) {
		close(fd);
		w->inotify.fd = -1;
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
static int watch_file(struct uapi_watch *w)
{
	char *directory = w->directory;
	char *end;
	int err;

	w->inotify.fd = -1;
	if (!*w->socket->path)
		return 0;
	memcpy(directory, w->socket->path, sizeof(w->directory));
	end = strrchr(directory, '/');
	/* Keep the slash of the root directory. */
	end[end == directory] = 0;
	err = open_inotify(w);
	if (err == 0 || (err == -EMFILE && !has_descriptor(w->socket->fd)))
		return err;
	log_error("uapi: cannot watch %s by inotify: %s%s; looking for it "
		  "every %d s instead",
		  w->socket->path, strerror(-err), inotify_hint(err),
		  (int)(LOOK_NS / NSEC_PER_SEC));
	loop_set_timer(w->loop, &w->look, now_monotonic() + LOOK_NS);
	return 0;
}

int uapi_watch_open(struct uapi_watch *w, struct loop *loop,
		    const struct uapi_socket *socket, void (*gone)(void *arg),
		    void *arg)
{
	int err;

	*w = (struct uapi_watch){
		.loop = loop,
		.socket = socket,
		.inotify.fd = -1,
		.look = { .ready = look_ready, .arg = w },
		.gone = gone,
		.arg = arg,
	};
	err = watch_file(w);
	/* The file may have been deleted before it was watched. */
	if (err == 0 && *socket->path && !uapi_socket_has_file(socket)) {
		uapi_watch_close(w);
		err = -ENOENT;
	}
	return err;
}

void uapi_watch_close(struct uapi_watch *w)
{
	if (!w->loop)
		return;
	loop_clear_timer(w->loop, &w->look);
	if (w->inotify.fd >= 0) {
		loop_remove(w->loop, &w->inotify);
		close(w->inotify.fd);
	}
	w->loop = NULL;
}
