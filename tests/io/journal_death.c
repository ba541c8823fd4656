/* SPDX-License-Identifier: MIT */
/*
 * Processes that keep a journal, hand its descriptor to this one over a socket, and are
 * killed: while they set one configuration after the other, or before a program is
 * executed in their place. And a process that may lock no memory.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "crypto/init.h"
#include "journal/store.h"
#include "tests/unit/journal_world.h"

#define KEY_A "a0e1f2031425364758697a8b9cadbecfd0e1f203142536475869708192a3b4c5"

enum {
	N_DEATHS = 40,
	/* A process lives for up to so many microseconds. */
	LIFE_US = 20000,
	/* No user has this number. */
	NOBODY = 65534,
};

/*
 * What a process tells its holder.
 * @n_answered:	sets that were answered
 * @kept:	0: only @n_answered has changed; 1: a descriptor comes along
 */
struct told {
	unsigned int n_answered;
	int kept;
};

static unsigned int n_answered;

static void tell(int sock, int fd)
{
	struct told told = { n_answered, fd >= 0 };
	struct iovec iov = { &told, sizeof(told) };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg;

	if (fd >= 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	}
	if (sendmsg(sock, &msg, MSG_NOSIGNAL) != sizeof(told))
		_exit(2);
}

static int keep(void *arg, int fd)
{
	tell(*(int *)arg, fd);
	return 0;
}

static const struct journal_ops ops = { .keep = keep };

/* The process: the number of a set is its fwmark, and the number of peers grows and
 * shrinks with it. */
static void live(int sock)
{
	struct device_fake fake;
	struct journal *journal;
	char text[512];

	device_fake_init(&fake);
	journal = journal_new(&fake.device, &ops, &sock, SECRET_BEST);
	if (!journal || journal_start(journal) < 0)
		_exit(2);
	for (;;) {
		struct uapi_request request;

		snprintf(text, sizeof(text),
			 "set=1\nfwmark=%u\npublic_key=%02x%.*s\n%s"
			 "allowed_ip=10.0.%u.0/24\n\n",
			 n_answered + 1, n_answered % 50, 62, KEY_A,
			 n_answered % 3 ? "" : "remove=true\n",
			 n_answered % 256);
		request = device_fake_parse(text);
		if (journal_apply(journal, request.config, 1) < 0)
			_exit(2);
		config_free(request.config);
		n_answered++;
		tell(sock, -1);
	}
}

/* Read what the process has said until it was killed. Returns the last descriptor. */
static int listen_to(int sock, unsigned int *answered, unsigned int *n_kept)
{
	int kept = -1;

	*answered = 0;
	for (;;) {
		struct told told;
		struct iovec iov = { &told, sizeof(told) };
		union {
			struct cmsghdr align;
			char bytes[CMSG_SPACE(sizeof(int))];
		} control;
		struct msghdr msg = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = control.bytes,
				      .msg_controllen = sizeof(control) };
		const struct cmsghdr *cmsg;

		if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != sizeof(told))
			return kept;
		*answered = told.n_answered;
		if (!told.kept)
			continue;
		if (kept >= 0)
			close(kept);
		cmsg = CMSG_FIRSTHDR(&msg);
		if (!cmsg)
			fail_msg("no descriptor has come");
		else
			memcpy(&kept, CMSG_DATA(cmsg), sizeof(kept));
		++*n_kept;
	}
}

static void test_killed_while_it_sets(void **state)
{
	unsigned int n_sets = 0, n_kept = 0, n_ahead = 0;

	(void)state;
	for (unsigned int i = 0; i < N_DEATHS; i++) {
		struct timespec life = { .tv_nsec = 1000L * (long)(i * LIFE_US /
								   N_DEATHS) };
		struct device_fake fake;
		struct restore restore;
		unsigned int answered;
		int socks[2], kept;
		pid_t pid;

		assert_int_equal(socketpair(AF_UNIX,
					    SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
					    socks),
				 0);
		fflush(stdout);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(socks[0]);
			live(socks[1]);
		}
		close(socks[1]);
		/* Its life begins with the first journal. */
		struct pollfd pfd = { .fd = socks[0], .events = POLLIN };

		assert_int_equal(poll(&pfd, 1, -1), 1);
		nanosleep(&life, NULL);
		/* What it has sent by now is in the socket. It waits if that is
		 * full. */
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		kept = listen_to(socks[0], &answered, &n_kept);
		close(socks[0]);
		assert_true(kept >= 0);
		device_fake_init(&fake);
		assert_int_equal(journal_world_restore(kept, &fake, &restore),
				 0);
		assert_null(restore.why);
		/* One more may have been recorded, and not answered. */
		assert_in_range(fake.device.fwmark, answered, answered + 1);
		n_ahead += fake.device.fwmark > answered;
		n_sets += answered;
		device_fake_deinit(&fake);
		close(kept);
	}
	print_message("# %u sets answered, %u memories kept, %u times one set "
		      "more than answered\n",
		      n_sets, n_kept, n_ahead);
	assert_true(n_sets > 0 && n_kept >= N_DEATHS);
}

/* As an unprivileged process with RLIMIT_MEMLOCK of a page. */
static int try_without_limit(void)
{
	const struct rlimit limit = { 4096, 4096 };
	struct journal_info info;
	struct journal *journal;
	struct device_fake fake;
	int sock[2];

	if (setrlimit(RLIMIT_MEMLOCK, &limit) < 0 ||
	    (getuid() == 0 && setuid(NOBODY) < 0) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sock) < 0)
		return 2;
	device_fake_init(&fake);
	journal = journal_new(&fake.device, &ops, &sock[0], SECRET_BEST);
	if (!journal || journal_start(journal) < 0)
		return 3;
	journal_get_info(journal, &info);
	return info.is_secret ? 4 : info.len ? 0 : 5;
}

static void test_limit_too_low(void **state)
{
	char line[256] = { 0 };
	int status, fds[2];
	ssize_t n;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(fds[1], STDERR_FILENO);
		_exit(try_without_limit());
	}
	close(fds[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	n = read(fds[0], line, sizeof(line) - 1);
	close(fds[0]);
	print_message("# status %#x, log: %s", (unsigned int)status,
		      n > 0 ? line : "nothing\n");
	assert_int_equal(status, 0);
	assert_non_null(strstr(line, "RLIMIT_MEMLOCK"));
}

/* Memory that somebody else may cut off is sealed before it is read, and what is no
 * memory is refused. */
static void test_strange_descriptors(void **state)
{
	char path[] = "journal-XXXXXX";
	struct store store;
	int fd, fds[2];

	(void)state;
	fd = memfd_create("unsealable", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, 65536), 0);
	assert_int_equal(store_open(&store, fd, 1 << 20), -EACCES);
	close(fd);
	fd = memfd_create("sealable", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(store_open(&store, fd, 1 << 20), -EINVAL);
	close(fd);
	fd = memfd_create("sealable", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(fd, 2 << 20), 0);
	assert_int_equal(store_open(&store, fd, 1 << 20), -EINVAL);
	close(fd);
	fd = memfd_create("sealable", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(fd, 100), 0);
	assert_int_equal(store_open(&store, fd, 1 << 20), 0);
	assert_int_not_equal(ftruncate(fd, 0), 0);
	assert_int_equal(store.bytes[store.len - 1], 0);
	store_close(&store);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(ftruncate(fd, 65536), 0);
	assert_true(store_open(&store, fd, 1 << 20) < 0);
	close(fd);
	assert_int_equal(pipe(fds), 0);
	assert_true(store_open(&store, fds[0], 1 << 20) < 0);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* These use fork(), and come before RCU has a thread. */
		cmocka_unit_test(test_limit_too_low),
		cmocka_unit_test(test_strange_descriptors),
		cmocka_unit_test(test_killed_while_it_sets),
	};

	if (crypto_init() < 0)
		return 1;
	rcu_register();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
