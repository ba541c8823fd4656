/* SPDX-License-Identifier: MIT */
/*
 * The holder knows the command by a pidfd, which stays the same when the process becomes
 * the command. No descriptor of the TUN device stays open in the holder: if the daemon
 * ends, so does the interface, and the command has no network.
 */
#include "ctl/holder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/syscalls.h"
#include "base/upgrade.h"
#include "ctl/command.h"
#include "ctl/commands.h"
#include "ctl/directory.h"
#include "ctl/pass.h"

enum {
	/* The first byte of the holder's message. */
	READY = 'r',
	FAILED = 'f',
	/* Bytes of the daemon's answer; it has two short lines. */
	ANSWER_CAP = 512,
	/* How long the daemon may take to answer, and to end. Choices. */
	ANSWER_S = 60,
	END_MS = 5000,
	/* How often to look for the daemon's socket, while it starts. A choice. */
	LOOK_MS = 1,
};

/**
 * struct holder - the state of the holder
 * @config:	copied
 * @command:	pidfd of the command
 * @daemon:	process id of the daemon; 0: it does not run
 * @daemon_fd:	its pidfd, or -1
 * @forwarder:	process id of the one that forwards ports; 0: there is none
 * @forwarder_fd: its pidfd, or -1
 * @listener:	socket on which other commands ask for the namespaces
 * @inner:	the inner side; its TUN device and netlink socket are the daemon's alone
 */
struct holder {
	struct holder_config config;
	int command;
	pid_t daemon;
	int daemon_fd;
	pid_t forwarder;
	int forwarder_fd;
	int listener;
	struct inner inner;
};

static int open_pidfd(pid_t pid)
{
	long fd = syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : (int)fd;
}

/* ------------------------------------------------------------------- sockets */

/* @below: a directory below the one of the sockets, with a slash behind it, or "". */
static int make_address(struct sockaddr_un *addr, const char *directory,
			const char *below, const char *name, const char *suffix)
{
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	return snprintf(addr->sun_path, sizeof(addr->sun_path), "%s/%s%s.%s",
			directory, below, name,
			suffix) < (int)sizeof(addr->sun_path)
		       ? 0
		       : -ENAMETOOLONG;
}

/* Make the socket on which other commands ask. We hold the lock of the name, so nobody
 * uses a file of this path; it may be left of a holder that was killed. */
static int listen_for_others(const struct holder_config *config)
{
	struct sockaddr_un addr;
	int fd, err = make_address(&addr, config->directory, "run/",
				   config->name, "run");
	mode_t mask;

	if (err < 0)
		return err;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	unlink(addr.sun_path);
	mask = umask(0077);
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(fd, SOMAXCONN) < 0)
		err = -errno;
	umask(mask);
	if (err == 0)
		return fd;
	close(fd);
	return err;
}

static int connect_to(const struct sockaddr_un *addr, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* ---------------------------------------------------------------- the daemon */

/* Hand a descriptor to the program that this process becomes. */
static void give(const char *variable, int fd)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", fd);
	setenv(variable, text, 1);
	fcntl(fd, F_SETFD, 0);
}

/* The daemon beside this program, else that of PATH. */
static void become_daemon(const char *name)
{
	char program[PATH_MAX + sizeof("wiregather")];
	ssize_t len = readlink("/proc/self/exe", program, PATH_MAX);
	const char *slash;

	if (len > 0) {
		program[len] = 0;
		slash = strrchr(program, '/');
		if (slash) {
			snprintf(program + (slash - program) + 1,
				 sizeof("wiregather"), "wiregather");
			execl(program, "wiregather", "-f", name, (char *)NULL);
		}
	}
	execlp("wiregather", "wiregather", "-f", name, (char *)NULL);
}

/* @holder: process id of the holder */
static _Noreturn void run_daemon(const struct holder *h, pid_t holder)
{
	static const char *const others[] = {
		"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS",
		"LISTEN_PID",	 "FDSTORE",	  "WG_UAPI_FD",
	};

	/* If the holder is killed, the tunnel ends with it. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != holder)
		_exit(CTL_FAILED);
	give("WG_TUN_FD", h->inner.tun);
	give("WIREGATHER_NETLINK_FD", h->inner.netlink);
	setenv("WIREGATHER_DIRECTORY", h->config.directory, 1);
	/* They are for the command, or for another daemon. */
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		unsetenv(others[i]);
	become_daemon(h->config.name);
	ctl_fail("cannot start wiregather: %s", strerror(errno));
	_exit(COMMAND_NOT_FOUND);
}

static int start_daemon(struct holder *h)
{
	pid_t holder = getpid(), pid = fork();
	int err = pid < 0 ? -errno : 0;

	if (pid == 0)
		run_daemon(h, holder);
	close(h->inner.tun);
	close(h->inner.netlink);
	h->inner.tun = h->inner.netlink = -1;
	if (err < 0)
		return err;
	h->daemon = pid;
	h->daemon_fd = open_pidfd(pid);
	return h->daemon_fd < 0 ? h->daemon_fd : 0;
}

static void end_daemon(struct holder *h)
{
	struct pollfd fd = { .fd = h->daemon_fd, .events = POLLIN };

	if (!h->daemon)
		return;
	kill(h->daemon, SIGTERM);
	if (h->daemon_fd < 0 || poll(&fd, 1, END_MS) != 1)
		kill(h->daemon, SIGKILL);
	waitpid(h->daemon, NULL, 0);
	h->daemon = 0;
}

static int send_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		text += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* Read the answer to the request. Return: 0; the daemon's -errno; -EPIPE: it has
 * ended. */
static int read_answer(int fd)
{
	char text[ANSWER_CAP], *at;
	size_t len = 0;
	int number = 0;

	do {
		ssize_t n = recv(fd, text + len, sizeof(text) - 1 - len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return -ETIMEDOUT;
		if (n <= 0)
			return -EPIPE;
		len += (size_t)n;
		text[len] = 0;
	} while (!strstr(text, "\n\n") && len < sizeof(text) - 1);
	at = strstr(text, "errno=");
	if (!at || sscanf(at, "errno=%d", &number) != 1)
		return -EPROTO;
	return number > 0 ? -number : number;
}

static int configure(const struct holder *h, int fd)
{
	const struct timeval patience = { .tv_sec = ANSWER_S };
	size_t len = 0;
	char *request = plan_print_request(h->config.plan, &len);
	int err = request ? 0 : -ENOMEM;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (err == 0)
		err = send_all(fd, request, len);
	if (request)
		explicit_bzero(request, len);
	free(request);
	return err < 0 ? err : read_answer(fd);
}

/* ------------------------------------------------------------------ the start */

/* Write why there is no tunnel. Return: @err. */
static __attribute__((format(printf, 3, 4))) int
explain(char why[HOLDER_WHY_CAP], int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, HOLDER_WHY_CAP, fmt, args);
	va_end(args);
	return err;
}

/* Connect to the daemon's socket as soon as it is there. Return: the connection; -EPIPE:
 * the daemon has ended; -errno. */
static int await_socket(const struct holder *h)
{
	struct pollfd daemon = { .fd = h->daemon_fd, .events = POLLIN };
	struct sockaddr_un addr;
	int err = make_address(&addr, h->config.directory, "", h->config.name,
			       "sock");

	if (err < 0)
		return err;
	for (;;) {
		int fd = connect_to(&addr, SOCK_STREAM);

		/* A file may be left of a daemon that was killed. */
		if (fd != -ENOENT && fd != -ECONNREFUSED)
			return fd;
		if (poll(&daemon, 1, LOOK_MS) > 0)
			return -EPIPE;
	}
}

/* Start the daemon, and configure it. */
static int open_tunnel(struct holder *h, char why[HOLDER_WHY_CAP])
{
	int fd, err = start_daemon(h);

	if (err < 0)
		return explain(why, err, "cannot start the daemon: %s",
			       strerror(-err));
	fd = await_socket(h);
	err = fd < 0 ? fd : configure(h, fd);
	if (fd >= 0)
		close(fd);
	/* A daemon that has ended has said why. */
	if (err < 0 && err != -EPIPE && err != -ECONNRESET)
		explain(why, err, "the configuration is refused: %s",
			strerror(-err));
	return err;
}

/* Start the process that forwards ports. It is one of the inner side. */
static int start_forwarder(struct holder *h)
{
	if (!h->config.publish->n)
		return 0;
	h->forwarder = fork();
	if (h->forwarder == 0)
		publish_run(h->config.publish, &h->inner);
	if (h->forwarder < 0)
		return -errno;
	h->forwarder_fd = open_pidfd(h->forwarder);
	return h->forwarder_fd < 0 ? h->forwarder_fd : 0;
}

static int open_all(struct holder *h, char why[HOLDER_WHY_CAP])
{
	const char *failed = NULL;
	int err = publish_open(h->config.publish, h->config.plan, &failed);

	if (err < 0)
		return explain(why, err, "--publish %s: %s", failed,
			       strerror(-err));
	err = open_tunnel(h, why);
	plan_free(h->config.plan);
	conf_free(h->config.conf);
	if (err < 0)
		return err;
	h->listener = listen_for_others(&h->config);
	if (h->listener < 0)
		return explain(why, h->listener,
			       "cannot make %s/run/%s.run: %s",
			       h->config.directory, h->config.name,
			       strerror(-h->listener));
	err = start_forwarder(h);
	return err < 0 ? explain(why, err, "cannot forward ports: %s",
				 strerror(-err))
		       : 0;
}

/* Leave the command's session, directory and output, but for stderr. */
static void detach(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	(void)!chdir("/");
	signal(SIGCHLD, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	/* The memory has keys. */
	prctl(PR_SET_DUMPABLE, 0);
	if (fd < 0)
		return;
	dup2(fd, STDIN_FILENO);
	/* Events of the daemon's log do not belong to the command's output. */
	dup2(STDERR_FILENO, STDOUT_FILENO);
	close(fd);
}

/* -------------------------------------------------------------------- the loop */

/* Let another command in, if it is of the same user. */
static void serve(const struct holder *h)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int fd = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
	    (cred.uid == geteuid() || cred.uid == 0))
		pass_send(fd, &h->inner);
	close(fd);
}

static void note_end(struct holder *h)
{
	int status = 0;

	waitpid(h->daemon, &status, 0);
	close(h->daemon_fd);
	h->daemon = 0;
	h->daemon_fd = -1;
	ctl_fail("%s: the daemon has ended (%s %d): the command has no network "
		 "any more",
		 h->config.name, WIFSIGNALED(status) ? "signal" : "status",
		 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static void end_forwarder(struct holder *h)
{
	if (h->forwarder <= 0)
		return;
	kill(h->forwarder, SIGKILL);
	waitpid(h->forwarder, NULL, 0);
	if (h->forwarder_fd >= 0)
		close(h->forwarder_fd);
	h->forwarder = 0;
	h->forwarder_fd = -1;
}

/* Serve until the command ends. */
static void loop(struct holder *h)
{
	for (;;) {
		struct pollfd fds[] = {
			{ .fd = h->command, .events = POLLIN },
			{ .fd = h->daemon_fd, .events = POLLIN },
			{ .fd = h->listener, .events = POLLIN },
			{ .fd = h->forwarder_fd, .events = POLLIN },
		};

		if (poll(fds, sizeof(fds) / sizeof(fds[0]), -1) < 0) {
			if (errno == EINTR)
				continue;
			return;
		}
		if (fds[0].revents)
			return;
		if (fds[1].revents)
			note_end(h);
		if (fds[2].revents)
			serve(h);
		if (fds[3].revents) {
			end_forwarder(h);
			ctl_fail("%s: no port is forwarded any more",
				 h->config.name);
		}
	}
}

static void remove_file(const struct holder *h, const char *below,
			const char *suffix)
{
	struct sockaddr_un addr;

	if (make_address(&addr, h->config.directory, below, h->config.name,
			 suffix) == 0)
		unlink(addr.sun_path);
}

static _Noreturn void hold(const struct holder_config *config, int sock,
			   int command)
{
	struct holder h = {
		.config = *config,
		.command = command,
		.daemon_fd = -1,
		.forwarder_fd = -1,
		.listener = -1,
		.inner = { -1, -1, -1, -1, -1 },
	};
	char message[HOLDER_WHY_CAP + 1] = { READY };
	int err;

	detach();
	/* On a failure the command's process has said why, and has ended. */
	err = pass_receive(sock, &h.inner);
	if (err == 0)
		err = open_all(&h, message + 1);
	if (err < 0)
		message[0] = FAILED;
	send(sock, message, strlen(message), MSG_NOSIGNAL);
	close(sock);
	if (err == 0)
		loop(&h);
	if (h.listener >= 0)
		remove_file(&h, "run/", "run");
	end_forwarder(&h);
	end_daemon(&h);
	/* The daemon removes them, unless it was killed. */
	remove_file(&h, "", "sock");
	remove_file(&h, "", "stats");
	remove_file(&h, "stats/", "stats");
	remove_file(&h, "", UPGRADE_SUFFIX);
	remove_file(&h, UPGRADE_SUFFIX "/", UPGRADE_SUFFIX);
	directory_unlock(config->directory, config->name, config->lock);
	_exit(err < 0);
}

/* ------------------------------------------------------------ the other processes */

int holder_start(const struct holder_config *config)
{
	int command = open_pidfd(getpid());
	int socks[2] = { -1, -1 };
	pid_t pid = -1;
	int err;

	if (command < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
		goto err_say;
	pid = fork();
	if (pid < 0)
		goto err_say;
	if (pid == 0) {
		/* The child of a process that has ended belongs to another. */
		pid = fork();
		if (pid)
			_exit(pid < 0);
		close(socks[0]);
		hold(config, socks[1], command);
	}
	waitpid(pid, NULL, 0);
	close(command);
	close(socks[1]);
	return socks[0];

err_say:
	err = command < 0 ? command : -errno;
	ctl_fail("cannot start another process: %s", strerror(-err));
	if (command >= 0)
		close(command);
	if (socks[0] >= 0) {
		close(socks[0]);
		close(socks[1]);
	}
	return err;
}

int holder_begin(int sock, const struct inner *inner)
{
	char message[HOLDER_WHY_CAP + 1] = "";
	int err = pass_send(sock, inner);
	ssize_t n;

	if (err == 0) {
		do
			n = recv(sock, message, sizeof(message) - 1, 0);
		while (n < 0 && errno == EINTR);
		if (n > 0 && message[0] == READY)
			return 0;
		err = n < 0 ? -errno : -EPIPE;
	}
	/* Without a text, the daemon has said why. */
	if (message[0] == FAILED && message[1])
		ctl_fail("%s", message + 1);
	else if (message[0] != FAILED)
		ctl_fail("the process that holds the tunnel has ended: %s",
			 strerror(-err));
	return err;
}

int holder_ask(const char *directory, const char *name, struct inner *inner)
{
	struct sockaddr_un addr;
	int fd = make_address(&addr, directory, "run/", name, "run"), err;

	if (fd == 0)
		fd = connect_to(&addr, SOCK_SEQPACKET);
	err = fd < 0 ? fd : pass_receive(fd, inner);

	if (fd >= 0)
		close(fd);
	return err;
}
