/* SPDX-License-Identifier: MIT */
/*
 * wiregatherctl upgrade: another program goes on for the engine of a running tunnel. All
 * of the work is the daemon's: see base/upgrade.h for what is asked. The versions that
 * are printed come from the statistics socket, before and after.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/now.h"
#include "ctl/commands.h"
#include "ctl/running.h"
#include "ctl/snapshot.h"
#include "ctl/upgrade_reply.h"

enum {
	TIMEOUT_MAX_S = 600,
	/* Bytes of a version, with the final 0. A choice: a longer one is cut. */
	VERSION_CAP = 32,
};

/**
 * struct arguments - the command line
 * @interfaces:	@n_interfaces names
 * @n_interfaces: how many
 * @program:	the file; NULL: the one that now has the path of the running program
 * @fd:		@program, open; -1: there is none
 * @timeout_s:	seconds to wait for each tunnel
 * @has_all:	all tunnels are meant
 * @if_changed:	only if the engine has another program than this would give it
 */
struct arguments {
	char **interfaces;
	size_t n_interfaces;
	const char *program;
	int fd;
	unsigned int timeout_s;
	bool has_all;
	bool if_changed;
};

/* ------------------------------------------------------------- command line */

static int parse(struct arguments *a, int argc, char **argv)
{
	static const struct option options[] = {
		{ "all", no_argument, NULL, 'a' },
		{ "if-changed", no_argument, NULL, 'i' },
		{ "program", required_argument, NULL, 'p' },
		{ "timeout", required_argument, NULL, 't' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	*a = (struct arguments){ .fd = -1, .timeout_s = UPGRADE_PATIENCE_S };
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (c == ':')
			return ctl_refuse("no value", argv[optind - 1]);
		if (c == '?')
			return ctl_refuse("no such option", argv[optind - 1]);
		if (c == 't' &&
		    !ctl_read_seconds(optarg, TIMEOUT_MAX_S, &a->timeout_s))
			return ctl_refuse("--timeout is not a number of "
					  "seconds from 1 to 600",
					  optarg);
		a->has_all |= c == 'a';
		a->if_changed |= c == 'i';
		if (c == 'p')
			a->program = optarg;
	}
	a->interfaces = argv + optind;
	a->n_interfaces = (size_t)(argc - optind);
	if (a->if_changed && a->program)
		return ctl_refuse("--if-changed looks at the running program",
				  "--program");
	if (a->has_all && a->n_interfaces)
		return ctl_refuse("--all is for all tunnels", a->interfaces[0]);
	if (!a->has_all && !a->n_interfaces)
		return ctl_refuse("missing", "INTERFACE, or --all");
	return CTL_OK;
}

/* Open the program. Return: enum ctl_status. */
static int open_program(struct arguments *a)
{
	struct stat st;

	/* To open a pipe would wait for its other end. */
	if (stat(a->program, &st) < 0)
		return ctl_fail("%s: %s", a->program, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return ctl_fail("%s: it is not a regular file", a->program);
	if (faccessat(AT_FDCWD, a->program, X_OK, AT_EACCESS) < 0)
		return ctl_fail("%s: it is not executable: %s", a->program,
				strerror(errno));
	a->fd = open(a->program, O_RDONLY | O_CLOEXEC);
	if (a->fd < 0)
		return ctl_fail("%s: %s", a->program, strerror(errno));
	return CTL_OK;
}

/* ------------------------------------------------------------ one tunnel */

/* The version of the program that serves an interface; empty: it does not tell. */
static void read_version(char out[VERSION_CAP], const char *interface)
{
	struct ctl_snapshot s;
	const char *version;

	*out = 0;
	if (ctl_snapshot_read(&s, interface, "get=stats") < 0)
		return;
	version = ctl_get(&s.device, "version");
	snprintf(out, VERSION_CAP, "%s", version ? version : "");
	ctl_snapshot_free(&s);
}

static int send_request(int fd, int program)
{
	struct upgrade_request request = {
		.version = UPGRADE_VERSION,
		.has_program = program >= 0,
	};
	struct iovec iov = { &request, sizeof(request) };
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (program >= 0) {
		struct cmsghdr *cmsg = &control.align;

		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &program, sizeof(program));
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Wait for the reply. Return: 0; -ETIMEDOUT; -errno. */
static int await_reply(int fd, unsigned int timeout_s)
{
	int64_t end = now_monotonic_ms() + timeout_s * INT64_C(1000);
	struct pollfd ready = { fd, POLLIN, 0 };

	for (;;) {
		int64_t left = end - now_monotonic_ms();
		int n = poll(&ready, 1, left > 0 ? (int)left : 0);

		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

/*
 * Receive the reply, if it has come. A keeper that refuses a connection may reply and close
 * it before the request comes. The kernel tells that first, and then gives the reply.
 * Return: its length, which may be more than @reply has; -EPIPE; -errno.
 */
static ssize_t receive_reply(int fd, struct upgrade_reply *reply)
{
	ssize_t len = recv(fd, reply, sizeof(*reply), MSG_TRUNC);

	if (len < 0 && errno == ECONNRESET)
		len = recv(fd, reply, sizeof(*reply), MSG_TRUNC);
	if (len == 0)
		return -EPIPE;
	return len < 0 ? -errno : len;
}

/* Ask a keeper. Return: 0; -errno, and @why says why. */
static int ask(int fd, const struct arguments *a, char why[UPGRADE_WHY_CAP])
{
	struct upgrade_reply reply;
	ssize_t len = send_request(fd, a->fd);

	/* If it has closed the connection, its reply may be there. */
	if (len == 0 || len == -EPIPE || len == -ECONNRESET)
		len = await_reply(fd, a->timeout_s);
	if (len == -ETIMEDOUT) {
		snprintf(why, UPGRADE_WHY_CAP,
			 "no answer within %u s: the log of the daemon says "
			 "more, and `wiregatherctl status` whether the tunnel "
			 "works",
			 a->timeout_s);
		return -ETIMEDOUT;
	}
	if (len == 0)
		len = receive_reply(fd, &reply);
	if (len > 0)
		return upgrade_reply_read(&reply, (size_t)len, why);
	if (len == -EPIPE || len == -ECONNRESET)
		snprintf(why, UPGRADE_WHY_CAP,
			 "its daemon has closed the connection without an "
			 "answer: has it ended?");
	else
		snprintf(why, UPGRADE_WHY_CAP, "cannot ask its daemon: %s",
			 strerror((int)-len));
	return (int)len;
}

static bool is_served(const char *interface, enum ctl_socket which)
{
	int fd = ctl_connect_to(interface, which);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* Say why there is no connection to a keeper. Return: CTL_FAILED. */
static int explain(const char *interface, int err)
{
	if (err == -EACCES || err == -EPERM)
		return ctl_fail("%s: %s: only root, and the user that its "
				"keeper runs as, may upgrade it",
				interface, strerror(-err));
	if (err != -ENOENT && err != -ECONNREFUSED)
		return ctl_fail("%s: cannot ask its daemon: %s", interface,
				strerror(-err));
	if (is_served(interface, CTL_STATS))
		return ctl_fail("%s: its daemon cannot be upgraded while it "
				"runs, because it is too old, or runs with "
				"--no-isolation: restart it",
				interface);
	if (is_served(interface, CTL_CONFIG))
		return ctl_fail("%s: its daemon cannot be upgraded while it "
				"runs, because it is too old, or no "
				"wiregather: restart it",
				interface);
	return ctl_fail("%s: no such tunnel: no wiregather serves it",
			interface);
}

static void report(const char *interface, int64_t took_ms, const char *before,
		   const char *after)
{
	printf("%s: upgraded in %lld ms", interface, (long long)took_ms);
	if (*before && strcmp(before, after) == 0)
		printf(", version %s as before", after);
	else if (*before && *after)
		printf(", from version %s to %s", before, after);
	putchar('\n');
	fflush(stdout);
}

/* With --all, tunnels of other users do not count, and neither do files that a daemon
 * has left that was killed. */
static bool is_left_out(const char *interface, int err)
{
	if (err == -ENOENT || err == -ECONNREFUSED)
		return !is_served(interface, CTL_STATS);
	return err == -EACCES;
}

/* Upgrade a tunnel. With --all, *n is how many there are. Return: enum ctl_status. */
static int upgrade(const struct arguments *a, const char *interface, size_t *n)
{
	char before[VERSION_CAP], after[VERSION_CAP], why[UPGRADE_WHY_CAP];
	int64_t begun;
	int fd, err;

	/* A keeper waits a second for the request, so all else comes before. */
	read_version(before, interface);
	fd = ctl_connect_to(interface, CTL_UPGRADE);
	if (fd < 0 && a->has_all && is_left_out(interface, fd))
		return CTL_OK;
	++*n;
	if (fd < 0)
		return explain(interface, fd);
	if (a->if_changed && running_is_current(fd)) {
		printf("%s: it has this program already\n", interface);
		close(fd);
		return CTL_OK;
	}
	begun = now_monotonic_ms();
	err = ask(fd, a, why);
	close(fd);
	if (err < 0)
		return ctl_fail("%s: %s", interface, why);
	begun = now_monotonic_ms() - begun;
	read_version(after, interface);
	report(interface, begun, before, after);
	return CTL_OK;
}

/* Upgrade all that were found, but for those in @done. Return: enum ctl_status. */
static int upgrade_found(const struct arguments *a, char **found,
			 size_t n_found, char **done, size_t n_done, size_t *n)
{
	int status = CTL_OK;

	for (size_t i = 0; i < n_found; i++) {
		bool is_done = false;

		for (size_t j = 0; j < n_done; j++)
			is_done |= strcmp(found[i], done[j]) == 0;
		if (!is_done && upgrade(a, found[i], n) != CTL_OK)
			status = CTL_FAILED;
	}
	return status;
}

/* Daemons that are too old have a statistics socket only. */
static int upgrade_all(const struct arguments *a)
{
	size_t n_found, n_old, n = 0;
	char **found = ctl_interfaces_with(CTL_UPGRADE, &n_found);
	char **old = ctl_interfaces_with(CTL_STATS, &n_old);
	int status = upgrade_found(a, found, n_found, NULL, 0, &n);

	if (upgrade_found(a, old, n_old, found, n_found, &n) != CTL_OK)
		status = CTL_FAILED;
	if (!n)
		puts("no tunnel of wiregather that could be upgraded");
	free(found);
	free(old);
	return status;
}

int ctl_upgrade(int argc, char **argv)
{
	struct arguments a;
	size_t n = 0;
	int status = parse(&a, argc, argv);

	if (status == CTL_OK && a.program)
		status = open_program(&a);
	if (status != CTL_OK)
		return status;
	if (a.has_all)
		status = upgrade_all(&a);
	else if (upgrade_found(&a, a.interfaces, a.n_interfaces, NULL, 0, &n) !=
		 CTL_OK)
		status = CTL_FAILED;
	if (a.fd >= 0)
		close(a.fd);
	if (fflush(stdout) != 0 && status == CTL_OK)
		status = ctl_complain("stdout", -errno);
	return status;
}
