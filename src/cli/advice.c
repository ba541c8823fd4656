/* SPDX-License-Identifier: MIT */
/*
 * Each function makes a sentence for the user from an errno. Several limits can
 * cause the same errno, so the sentence names the limit that was reached, with
 * its value.
 */
#include "cli/advice.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "isolate/limit.h"
#include "uapi/server.h"

#define OF_GROUP "see pids.max of the control group, and kernel.threads-max"

/* Bytes of a socket's path: as many as sun_path has (unix(7)). A longer one is cut. */
#define UAPI_PATH_CAP 108

/* The size of a thread's stack if RLIMIT_STACK has its usual value
 * (pthread_create(3)). */
#define STACK_LEN (8UL << 20)

enum {
	/* Descriptors needed after the start. A choice: 20 for sockets, which
	 * are open twice while the port changes (a main socket and SIDE_SOCKETS
	 * of each family), and others for Landlock and for some clients. */
	SPARE_DESCRIPTORS = 40,
};

static const char in_a_container[] =
	"in a container, add --device /dev/net/tun";

void advice_on_tun(char *buf, size_t cap, const char *name, int err)
{
	switch (-err) {
	case ENOENT:
		snprintf(buf, cap,
			 "there is no /dev/net/tun: run 'modprobe tun', or "
			 "'mkdir -p /dev/net && mknod /dev/net/tun c 10 200'; "
			 "%s",
			 in_a_container);
		return;
	case ENODEV:
	case ENXIO:
		snprintf(buf, cap,
			 "the kernel has no TUN driver: run 'modprobe tun'");
		return;
	case EACCES:
		snprintf(buf, cap,
			 "no permission to open /dev/net/tun: run as root; %s",
			 in_a_container);
		return;
	case EPERM:
		snprintf(buf, cap,
			 "not permitted to make %s: this takes root, or "
			 "CAP_NET_ADMIN; in a container, add --cap-add "
			 "NET_ADMIN --device /dev/net/tun",
			 name);
		return;
	case EBUSY:
		snprintf(buf, cap,
			 "%s exists already, and another process has it", name);
		return;
	case EINVAL:
		snprintf(buf, cap,
			 "%s exists already, and is no TUN device that can be "
			 "used here; or the kernel does not take that name",
			 name);
		return;
	default:
		snprintf(buf, cap, "cannot make %s: %s", name, strerror(-err));
	}
}

void advice_on_tun_fd(char *buf, size_t cap, int fd, int err)
{
	snprintf(buf, cap,
		 "WG_TUN_FD=%d cannot be used: it must be an open TUN device: "
		 "%s",
		 fd, strerror(-err));
}

static rlim_t get_limit(LIMIT_TYPE resource)
{
	struct rlimit limit;

	return getrlimit(resource, &limit) < 0 ? RLIM_INFINITY : limit.rlim_cur;
}

/* Is there address space for a thread's stack? */
static bool has_address_space(void)
{
	size_t len = STACK_LEN;
	void *p = mmap(NULL, len, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return false;
	munmap(p, len);
	return true;
}

static void name_memory_limit(char *buf, size_t cap)
{
	rlim_t space = get_limit(RLIMIT_AS), data = get_limit(RLIMIT_DATA);

	if (space != RLIM_INFINITY)
		snprintf(buf, cap, ": RLIMIT_AS is %llu bytes",
			 (unsigned long long)space);
	else if (data != RLIM_INFINITY)
		snprintf(buf, cap, ": RLIMIT_DATA is %llu bytes",
			 (unsigned long long)data);
}

/*
 * EAGAIN for a new thread has several causes: RLIMIT_NPROC, a limit of the
 * control group or of the host, or, from the C library, a stack that does not
 * fit into RLIMIT_AS.
 */
static void name_thread_limit(char *buf, size_t cap, const char *user)
{
	rlim_t threads = get_limit(RLIMIT_NPROC);

	if (!has_address_space())
		name_memory_limit(buf, cap);
	else if (threads != RLIM_INFINITY && getuid() != 0)
		snprintf(buf, cap,
			 ": user %s%s%u%s may have no more threads: "
			 "RLIMIT_NPROC is %llu for all threads of this user, "
			 "on the host and in its containers together; "
			 "or " OF_GROUP,
			 user ? user : "", user ? " (" : "",
			 (unsigned int)getuid(), user ? ")" : "",
			 (unsigned long long)threads);
	else
		snprintf(buf, cap, ": no more threads: " OF_GROUP);
}

void advice_on_shortage(char *buf, size_t cap, const char *what,
			const char *user, int err)
{
	size_t len;

	snprintf(buf, cap, "%s: %s", what, strerror(-err));
	len = strlen(buf);
	switch (-err) {
	case EAGAIN:
		name_thread_limit(buf + len, cap - len, user);
		break;
	case EMFILE:
		snprintf(buf + len, cap - len, ": RLIMIT_NOFILE is %llu",
			 (unsigned long long)get_limit(RLIMIT_NOFILE));
		break;
	case ENFILE:
		snprintf(buf + len, cap - len, ": see fs.file-max");
		break;
	case ENOMEM:
		name_memory_limit(buf + len, cap - len);
		break;
	default:
		break;
	}
}

void advice_on_socket(char *buf, size_t cap, const char *directory,
		      const char *name, int err)
{
	char path[UAPI_PATH_CAP], what[sizeof("cannot serve ") + UAPI_PATH_CAP];

	snprintf(path, sizeof(path), "%s/%s.sock", directory, name);
	switch (-err) {
	case EADDRINUSE:
		snprintf(buf, cap,
			 "%s is in use: is %s up already, perhaps in another "
			 "network namespace?",
			 path, name);
		return;
	case EEXIST:
		snprintf(buf, cap, "%s is not a socket: remove it", path);
		return;
	case EPERM:
		snprintf(buf, cap,
			 "cannot serve %s: %s (%s must belong to root or to "
			 "the user of this process, and nobody else may write "
			 "to it)",
			 path, strerror(-err), directory);
		return;
	default:
		snprintf(what, sizeof(what), "cannot serve %s", path);
		advice_on_shortage(buf, cap, what, NULL, err);
	}
}

void advice_on_socket_fd(char *buf, size_t cap, int fd, int err)
{
	if (err == -EPERM) {
		snprintf(buf, cap,
			 "WG_UAPI_FD=%d cannot be used: its file and the "
			 "file's directory must belong to root or to the user "
			 "of this process, and nobody else may write to them",
			 fd);
		return;
	}
	snprintf(buf, cap,
		 "WG_UAPI_FD=%d cannot be used: it must be a Unix socket that "
		 "listens: %s",
		 fd, strerror(-err));
}

int advice_check_descriptors(char *buf, size_t cap)
{
	struct rlimit limit;
	int first;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	first = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
	if (first >= 0)
		close(first);
	/* @first is the lowest free descriptor: all below it are open. */
	if (first >= 0 && limit.rlim_cur >= (rlim_t)first + SPARE_DESCRIPTORS)
		return 0;
	snprintf(buf, cap,
		 "RLIMIT_NOFILE is %llu: too few descriptors, at least %llu "
		 "are needed",
		 (unsigned long long)limit.rlim_cur,
		 (first < 0 ? (unsigned long long)limit.rlim_cur
			    : (unsigned long long)first) +
			 SPARE_DESCRIPTORS);
	return -EMFILE;
}
