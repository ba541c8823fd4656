/* SPDX-License-Identifier: MIT */
/*
 * The socket's file: its creation, its removal at the end, and the end of the
 * server if somebody moves or removes the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/io/uapi_world.h"
#include "tests/lib/check.h"
#include "uapi/socket.h"

#define OK "errno=0\n\n"

static void check_mode(const char *path, mode_t mode)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, mode);
}

/* Modes do not depend on the caller's umask. A missing directory is made. */
static void modes(void **state)
{
	static const mode_t masks[] = { 0, 022, 077, 0777 };
	char top[] = "/tmp/uapi-XXXXXX";
	char directory[64], path[128];

	(void)state;
	assert_non_null(mkdtemp(top));
	snprintf(directory, sizeof(directory), "%s/run/wireguard", top);
	for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
		struct uapi_socket sock;
		mode_t old = umask(masks[i]);

		assert_int_equal(uapi_socket_open(&sock, directory, "wg0",
						  "sock", (gid_t)-1),
				 0);
		assert_int_equal(umask(old), masks[i]);
		check_mode(sock.path, 0700);
		check_mode(directory, 0755);
		assert_int_equal(fcntl(sock.fd, F_GETFD), FD_CLOEXEC);
		uapi_socket_close(&sock);
		assert_int_equal(rmdir(directory), 0);
		snprintf(path, sizeof(path), "%s/run", top);
		check_mode(path, 0755);
		assert_int_equal(rmdir(path), 0);
	}
	assert_int_equal(rmdir(top), 0);
}

/*
 * Modes and owners, and what they mean for a directory and for a file: 0 or an
 * error.
 */
static const struct {
	mode_t mode;
	uid_t uid;
	int directory;
	int file;
} rows[] = {
	{ 0755, 0, 0, 0 },
	{ 0700, 0, 0, 0 },
	{ 0777, 0, -EPERM, -EPERM },
	{ 0775, 0, -EPERM, -EPERM },
	{ 01777, 0, 0, -EPERM },
	{ 0755, 4711, -EPERM, -EPERM },
	{ 01777, 4711, -EPERM, -EPERM },
};

/* Anybody who can write to a directory can put another socket there. */
static void directories_of_others(void **state)
{
	char directory[] = "/tmp/uapi-XXXXXX";

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_non_null(mkdtemp(directory));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct uapi_socket sock;
		int err;

		assert_int_equal(chown(directory, rows[i].uid, 0), 0);
		assert_int_equal(chmod(directory, rows[i].mode), 0);
		err = uapi_socket_open(&sock, directory, "wg0", "sock",
				       (gid_t)-1);
		if (err != rows[i].directory)
			fail_msg("directory %o of %u: %d", rows[i].mode,
				 rows[i].uid, err);
		if (!err)
			uapi_socket_close(&sock);
	}
	assert_int_equal(rmdir(directory), 0);
}

static void long_names(void **state)
{
	char directory[200];
	struct uapi_socket sock;

	(void)state;
	memset(directory, 'x', sizeof(directory));
	directory[0] = '/';
	directory[sizeof(directory) - 1] = 0;
	assert_int_equal(
		uapi_socket_open(&sock, directory, "wg0", "sock", (gid_t)-1),
		-ENAMETOOLONG);
}

static void deleted(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w);
	assert_int_equal(unlink(world_path(&w)), 0);
	assert_int_equal(world_await(&w), 0);
	world_close(&w);
}

/* The file is moved out of its directory. Only one inotify event reports it. */
static void renamed(void **state)
{
	struct world w;
	char to[128];

	(void)state;
	world_begin(&w);
	snprintf(to, sizeof(to), "%s.other", w.directory);
	assert_int_equal(rename(world_path(&w), to), 0);
	assert_int_equal(world_await(&w), 0);
	assert_int_equal(unlink(to), 0);
	world_close(&w);
}

/* Another file takes the place of the socket. That file is not removed. */
static void replaced(void **state)
{
	struct world w;
	char from[128];
	int fd;

	(void)state;
	world_begin(&w);
	snprintf(from, sizeof(from), "%s.other", w.directory);
	fd = open(from, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(rename(from, world_path(&w)), 0);
	assert_int_equal(world_await(&w), 0);
	snprintf(from, sizeof(from), "%s", world_path(&w));
	world_close(&w);
	check_mode(from, 0600);
	assert_int_equal(unlink(from), 0);
	assert_int_equal(rmdir(w.directory), 0);
}

static void directory_moved(void **state)
{
	struct world w;
	char to[128];

	(void)state;
	world_begin(&w);
	snprintf(to, sizeof(to), "%s.moved", w.directory);
	assert_int_equal(rename(w.directory, to), 0);
	assert_int_equal(world_await(&w), 0);
	assert_int_equal(rename(to, w.directory), 0);
	world_close(&w);
}

/*
 * The server goes on if attributes of its file change, or other files of the
 * directory.
 */
static void touched(void **state)
{
	const struct timespec pause = { .tv_nsec = 100000000 };
	struct world w;
	char path[128];
	int fd;

	(void)state;
	world_begin(&w);
	assert_int_equal(chmod(world_path(&w), 0777), 0);
	assert_int_equal(chmod(w.directory, 0700), 0);
	if (geteuid() == 0)
		assert_int_equal(chown(world_path(&w), 1, 1), 0);
	assert_int_equal(utimensat(AT_FDCWD, world_path(&w), NULL, 0), 0);
	snprintf(path, sizeof(path), "%s/wgtest1.sock", w.directory);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(unlink(path), 0);
	/* The file gets a second name, and loses it again. */
	assert_int_equal(link(world_path(&w), path), 0);
	assert_int_equal(unlink(path), 0);
	nanosleep(&pause, NULL);
	fd = client_open(&w);
	client_check(fd, "get=1\n\n", OK);
	close(fd);
	world_end(&w);
	assert_int_equal(access(w.directory, F_OK), -1);
}

/* Leave a socket file behind that no process listens on. */
static void make_stale(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	assert_int_equal(bind(fd, (void *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	close(fd);
	assert_int_equal(access(path, F_OK), 0);
}

static void stale(void **state)
{
	struct world w;
	int fd;

	(void)state;
	world_init(&w);
	world_make_directory(&w);
	make_stale(world_path(&w));
	assert_int_equal(world_open(&w), 0);
	world_start(&w);
	fd = client_open(&w);
	client_check(fd, "get=1\n\n", OK);
	close(fd);
	check_mode(world_path(&w), 0700);
	world_end(&w);
}

static _Atomic bool is_over;
/*
 * Held while a socket closes. Otherwise tidy_up() could be refused by the
 * closed socket, and then remove the next socket's file.
 */
static pthread_mutex_t closing = PTHREAD_MUTEX_INITIALIZER;
/*
 * A mutex may go to the same thread again and again. While never_refuses() asks
 * for it, tidy_up() waits.
 */
static _Atomic bool is_asked_for;

/* Do as wg(8) does: remove a socket file that refuses a connection. */
static void *tidy_up(void *arg)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", (const char *)arg);
	while (!atomic_load(&is_over)) {
		/*
		 * The test accepts no connection, so the queue may be full: do
		 * not block.
		 */
		int fd = socket(AF_UNIX,
				SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		while (atomic_load(&is_asked_for))
			sched_yield();
		pthread_mutex_lock(&closing);
		if (connect(fd, (void *)&addr, sizeof(addr)) < 0 &&
		    errno == ECONNREFUSED)
			unlink(addr.sun_path);
		pthread_mutex_unlock(&closing);
		close(fd);
	}
	return NULL;
}

/* The socket listens once it has its name, so wg(8) does not remove it. */
static void never_refuses(void **state)
{
	char directory[] = "/tmp/uapi-XXXXXX", path[64];
	struct uapi_socket sock;
	pthread_t thread;

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/wg0.sock", directory);
	atomic_store(&is_over, false);
	assert_int_equal(pthread_create(&thread, NULL, tidy_up, path), 0);
	for (int i = 0; i < 3000; i++) {
		assert_int_equal(uapi_socket_open(&sock, directory, "wg0",
						  "sock", (gid_t)-1),
				 0);
		assert_true(uapi_socket_has_file(&sock));
		atomic_store(&is_asked_for, true);
		pthread_mutex_lock(&closing);
		atomic_store(&is_asked_for, false);
		uapi_socket_close(&sock);
		pthread_mutex_unlock(&closing);
	}
	atomic_store(&is_over, true);
	pthread_join(thread, NULL);
	/* The directory is empty. */
	assert_int_equal(rmdir(directory), 0);
}

static void live(void **state)
{
	struct world w, second;
	int fd;

	(void)state;
	world_begin(&w);
	world_init(&second);
	strcpy(second.directory, w.directory);
	assert_int_equal(world_open(&second), -EADDRINUSE);
	world_close(&second);
	/* The first server still works. */
	fd = client_open(&w);
	client_check(fd, "get=1\n\n", OK);
	close(fd);
	world_end(&w);
}

/* A process listens, but its queue of connections is full. */
static void live_and_full(void **state)
{
	char directory[] = "/tmp/uapi-XXXXXX";
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct uapi_socket sock;
	int clients[3];

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/wg0.sock",
		 directory);
	assert_int_equal(bind(fd, (void *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 0), 0);
	for (int i = 0; i < 3; i++) {
		clients[i] = socket(
			AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (connect(clients[i], (void *)&addr, sizeof(addr)) < 0)
			assert_int_equal(errno, EAGAIN);
	}
	assert_int_equal(
		uapi_socket_open(&sock, directory, "wg0", "sock", (gid_t)-1),
		-EADDRINUSE);
	for (int i = 0; i < 3; i++)
		close(clients[i]);
	close(fd);
	assert_int_equal(unlink(addr.sun_path), 0);
	assert_int_equal(rmdir(directory), 0);
}

/* A file that is no socket is not touched, and neither is a symbolic link. */
static void no_socket(void **state)
{
	char directory[] = "/tmp/uapi-XXXXXX";
	struct uapi_socket sock;
	char path[64];
	int fd;

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/wg0.sock", directory);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0640);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(
		uapi_socket_open(&sock, directory, "wg0", "sock", (gid_t)-1),
		-EEXIST);
	check_mode(path, 0640);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("nowhere", path), 0);
	assert_int_equal(
		uapi_socket_open(&sock, directory, "wg0", "sock", (gid_t)-1),
		-EEXIST);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(directory), 0);
}

/* Returns a socket that listens, with a file if there is a path. */
static int make_listener(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	if (path) {
		snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
		assert_int_equal(bind(fd, (void *)&addr, sizeof(addr)), 0);
	} else {
		/* The kernel chooses an abstract name. */
		assert_int_equal(
			bind(fd, (void *)&addr, sizeof(addr.sun_family)), 0);
	}
	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

static void adopted(void **state)
{
	struct world w;
	int fd;

	(void)state;
	world_init(&w);
	world_make_directory(&w);
	w.listen_fd = make_listener(world_path(&w));
	assert_int_equal(world_open(&w), 0);
	assert_int_equal(fcntl(w.listen_fd, F_GETFD), FD_CLOEXEC);
	world_start(&w);
	fd = client_open(&w);
	client_check(fd, "get=1\n\n", OK);
	close(fd);
	/* The removal of its file ends the server, too. */
	assert_int_equal(unlink(world_path(&w)), 0);
	assert_int_equal(world_await(&w), 0);
	world_close(&w);
}

/* The same as directories_of_others(), but the socket was handed over. */
static void adopted_of_others(void **state)
{
	struct world w;

	(void)state;
	if (geteuid() != 0)
		skip();
	world_init(&w);
	world_make_directory(&w);
	for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
		bool is_file = i >= ARRAY_LEN(rows);
		size_t row = i % ARRAY_LEN(rows);
		int wanted = is_file ? rows[row].file : rows[row].directory;
		int fd = make_listener(world_path(&w));
		const char *path = is_file ? world_path(&w) : w.directory;
		struct uapi_socket sock;
		int err;

		assert_int_equal(chown(path, rows[row].uid, 0), 0);
		assert_int_equal(chmod(path, rows[row].mode), 0);
		err = uapi_socket_adopt(&sock, fd);
		if (err != wanted)
			fail_msg("%s %o of %u: %d",
				 is_file ? "file" : "directory", rows[row].mode,
				 rows[row].uid, err);
		close(fd);
		unlink(world_path(&w));
		assert_int_equal(chown(w.directory, 0, 0), 0);
		assert_int_equal(chmod(w.directory, 0755), 0);
	}
	assert_int_equal(rmdir(w.directory), 0);
}

static void adopted_nameless(void **state)
{
	struct sockaddr_un addr;
	socklen_t len = sizeof(addr);
	struct world w;
	int fd;

	(void)state;
	world_init(&w);
	w.listen_fd = make_listener(NULL);
	assert_int_equal(getsockname(w.listen_fd, (void *)&addr, &len), 0);
	assert_int_equal(world_open(&w), 0);
	world_start(&w);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (void *)&addr, len), 0);
	client_check(fd, "get=1\n\n", OK);
	close(fd);
	world_end(&w);
}

static void not_adopted(void **state)
{
	const int fds[] = {
		dup(STDIN_FILENO),
		socket(AF_UNIX, SOCK_STREAM, 0),
		socket(AF_UNIX, SOCK_DGRAM, 0),
		socket(AF_INET, SOCK_STREAM, 0),
	};

	(void)state;
	assert_int_equal(listen(fds[3], 1), 0);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		struct world w;

		world_init(&w);
		w.listen_fd = fds[i];
		assert_int_equal(world_open(&w), i ? -EINVAL : -ENOTSOCK);
		world_close(&w);
		/* The descriptor is still open. */
		assert_int_equal(close(fds[i]), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(modes),
		cmocka_unit_test(directories_of_others),
		cmocka_unit_test(long_names),
		cmocka_unit_test(deleted),
		cmocka_unit_test(renamed),
		cmocka_unit_test(replaced),
		cmocka_unit_test(directory_moved),
		cmocka_unit_test(touched),
		cmocka_unit_test(stale),
		cmocka_unit_test(never_refuses),
		cmocka_unit_test(live),
		cmocka_unit_test(live_and_full),
		cmocka_unit_test(no_socket),
		cmocka_unit_test(adopted),
		cmocka_unit_test(adopted_of_others),
		cmocka_unit_test(adopted_nameless),
		cmocka_unit_test(not_adopted),
	};

	return cmocka_run_group_tests(tests, world_prepare, world_finish);
}
