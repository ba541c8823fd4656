/* SPDX-License-Identifier: MIT */
#include "tests/io/attempt.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/lib/check.h"

char attempt_directory[] = "/tmp/isolate-XXXXXX";
char attempt_inside[64];
char attempt_outside[] = "/tmp/isolate-file-XXXXXX";

/* ------------------------------------------------------------ attempts */

/* Each attempt returns 0, or -1 with errno, and needs no cleanup. */

int attempt_open_file(void)
{
	return open("/dev/null", O_RDONLY);
}

static void *do_nothing(void *arg)
{
	return arg;
}

static int make_thread(void)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, do_nothing, NULL);
	return errno ? -1 : pthread_join(thread, NULL);
}

static int make_process(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	return pid < 0 ? -1 : waitpid(pid, NULL, 0) < 0;
}

int attempt_execute(void)
{
	char *const argv[] = { unconst("true"), NULL };

	/* The exit status of true(1), which is 0, becomes the child's. */
	return execv("/bin/true", argv);
}

static int map_executable(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? -1 : 0;
}

int attempt_make_executable(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? -1 : mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static int unix_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

static int tcp_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

/* The C library's functions, which may be hidden by the program's own. */

static int call_libc_socket(int domain, int type, int protocol)
{
	int (*make)(int a, int b, int c);
	void *found = dlsym(RTLD_NEXT, "socket");

	memcpy(&make, &found, sizeof(make));
	return make(domain, type, protocol);
}

static int tcp_socket_of_libc(void)
{
	return call_libc_socket(AF_INET, SOCK_STREAM, 0);
}

#ifdef SYS_socketcall
static int call_socketcall(long type, long protocol)
{
	const long args[] = { AF_INET, type, protocol };
	/* linux/net.h: SYS_SOCKET, which sys/syscall.h leaves no name for. */
	enum {
		SOCKET = 1
	};

	return (int)syscall(SYS_socketcall, SOCKET, args);
}

static int tcp_by_socketcall(void)
{
	return call_socketcall(SOCK_STREAM, 0);
}

/*
 * A filter cannot read the arguments of socketcall(2), so it must refuse a
 * UDP socket as well.
 */
static int udp_by_socketcall(void)
{
	return call_socketcall(SOCK_DGRAM, IPPROTO_UDP);
}
#endif

static int packet_socket(void)
{
	return socket(AF_PACKET, SOCK_DGRAM, 0);
}

static int netlink_socket(void)
{
	return socket(AF_NETLINK, SOCK_RAW, 0);
}

static int other_option(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP);

	return fd < 0 ? -1 : setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 0);
}

static int other_request(void)
{
	int n;

	return ioctl(STDIN_FILENO, FIONREAD, &n) && errno != ENOTTY ? -1 : 0;
}

static int send_signal(void)
{
	return kill(getppid(), 0);
}

static int trace_parent(void)
{
	return prctl(PR_SET_PTRACER, 0, 0, 0, 0) < 0 && errno != EINVAL ? -1
									: 0;
}

static int change_namespace(void)
{
	return unshare(CLONE_FILES);
}

static int change_user(void)
{
	return setuid(getuid());
}

int attempt_make_directory(void)
{
	char path[80];

	snprintf(path, sizeof(path), "%s.new", attempt_inside);
	return mkdir(path, 0700) < 0 ? -1 : rmdir(path);
}

static int change_mode(void)
{
	return chmod(attempt_inside, 0600);
}

/* The lock is free, so it is taken. */
static int lock_pi_futex(void)
{
	static uint32_t word;

	return syscall(SYS_futex, &word, FUTEX_LOCK_PI | FUTEX_PRIVATE_FLAG, 0,
		       NULL) < 0
		       ? -1
		       : 0;
}

static int requeue_futex(void)
{
	static uint32_t a, b;

	return syscall(SYS_futex, &a, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 1,
		       1, &b, 0) < 0
		       ? -1
		       : 0;
}

static void *two_pages(void)
{
	return mmap(NULL, 8192, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static int move_over_memory(void)
{
	char *p = two_pages();

	return mremap(p, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, p + 4096) ==
			       MAP_FAILED
		       ? -1
		       : 0;
}

static int map_over_memory(void)
{
	return mmap(two_pages(), 4096, PROT_READ,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		    0) == MAP_FAILED
		       ? -1
		       : 0;
}

static int other_advice(void)
{
	return madvise(two_pages(), 4096, MADV_WILLNEED);
}

/* There is no such thread: the test is only whether the call is allowed. */
static int try_signal(pid_t pid, pid_t tid)
{
	return syscall(SYS_tgkill, pid, tid, SIGABRT) < 0 && errno != ESRCH ? -1
									    : 0;
}

static int signal_other_process(void)
{
	return try_signal(getppid(), (pid_t)syscall(SYS_gettid));
}

static int signal_other_thread(void)
{
	return try_signal(getpid(), getppid());
}

static int install_filter(void)
{
	return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0,
		       &(uint32_t){ SECCOMP_RET_ALLOW }) < 0
		       ? -1
		       : 0;
}

static int send_to_address(void)
{
	const struct sockaddr to = { .sa_family = AF_UNIX };

	return sendto(-1, "", 1, 0, &to, sizeof(to)) < 0 && errno != EBADF ? -1
									   : 0;
}

/* Calls that are on no thread's list. */
const struct attempt attempt_forbidden[] = {
	{ "lock a futex with priority inheritance", lock_pi_futex },
	{ "move waiters of a futex", requeue_futex },
	{ "move memory over other memory", move_over_memory },
	{ "map memory over other memory", map_over_memory },
	{ "give other advice on memory", other_advice },
	{ "send SIGABRT to another process", signal_other_process },
	{ "send SIGABRT to another thread", signal_other_thread },
	{ "ask for filters", install_filter },
	{ "open a file", attempt_open_file },
	{ "make a thread", make_thread },
	{ "make a process", make_process },
	{ "attempt_execute a program", attempt_execute },
	{ "map executable memory", map_executable },
	{ "make memory executable", attempt_make_executable },
	{ "open a Unix socket", unix_socket },
	{ "open a TCP socket", tcp_socket },
	{ "open a TCP socket by libc", tcp_socket_of_libc },
#ifdef SYS_socketcall
	{ "open a TCP socket by socketcall", tcp_by_socketcall },
	{ "open a UDP socket by socketcall", udp_by_socketcall },
#endif
	{ "send to an address", send_to_address },
	{ "open a packet socket", packet_socket },
	{ "open a netlink socket", netlink_socket },
	{ "set another option", other_option },
	{ "make another device request", other_request },
	{ "send a signal", send_signal },
	{ "call prctl", trace_parent },
	{ "unshare", change_namespace },
	{ "change the user", change_user },
	{ "make a directory", attempt_make_directory },
	{ "change a mode", change_mode },
};

const size_t attempt_n_forbidden = ARRAY_LEN(attempt_forbidden);
/* ------------------------------------------------------------ children */

struct isolate attempt_isolate;
int attempt_program_fd = -1;

bool attempt_has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, 1) >= 0;
}

/* Whether no layer is missing, but for Landlock if the kernel has none. */
static bool is_complete(const char *missing, bool has_landlock)
{
	static const char landlock[] = "no Landlock (";

	if (!*missing)
		return true;
	return !has_landlock &&
	       strncmp(missing, landlock, strlen(landlock)) == 0 &&
	       strchr(missing, ')') == missing + strlen(missing) - 1;
}

void attempt_enter(enum stage stage)
{
	const struct isolate_config config = { .is_off = stage == FREE };
	/* Once sealed, the process may not ask. */
	const bool has_landlock = attempt_has_landlock();
	int err = isolate_init(&attempt_isolate, &config);

	if (stage == STARTING)
		attempt_program_fd =
			open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (err == 0 && stage == STARTING)
		err = isolate_starter(&attempt_isolate, attempt_program_fd);
	else if (err == 0 && stage == KEEPING)
		err = isolate_keeper(&attempt_isolate, attempt_directory);
	else if (err == 0)
		err = isolate_restrict(&attempt_isolate);
	if (err == 0 && stage == SEALED)
		err = isolate_seal(&attempt_isolate);
	if (err < 0)
		_exit(BROKEN);
	if (!is_complete(attempt_isolate.missing, has_landlock)) {
		fprintf(stderr, "missing: %s\n", attempt_isolate.missing);
		_exit(BROKEN);
	}
}

/* Returns the status, as from waitpid(2), of a child that makes an attempt. */
int attempt_run(enum stage stage, int (*make)(void))
{
	pid_t pid = fork();
	int status = 0;

	assert_true(pid >= 0);
	if (!pid) {
		attempt_enter(stage);
		_exit(make() < 0 ? errno : DONE);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

void attempt_must_kill(int status, int number, const char *who,
		       const char *what)
{
	if (!WIFSIGNALED(status) || WTERMSIG(status) != number)
		fail_msg("%s, %s: status %#x, must end by signal %d", who, what,
			 (unsigned)status, number);
	if (WCOREDUMP(status))
		fail_msg("%s, %s: leaves a core", who, what);
}

void attempt_must_work(enum stage stage, int (*make)(void), const char *what)
{
	int status = attempt_run(stage, make);

	if (!WIFEXITED(status) || WEXITSTATUS(status) != DONE)
		fail_msg("%s: status %#x, must work", what, (unsigned)status);
}

void attempt_must_be_refused(enum stage stage, int (*make)(void), int wanted)
{
	int status = attempt_run(stage, make);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), wanted);
}
/* Returns the status of a child that has the list of a thread. */
int attempt_run_as(const char *thread, int (*make)(void))
{
	pid_t pid = fork();
	int status = 0;

	assert_true(pid >= 0);
	if (!pid) {
		attempt_enter(RESTRICTED);
		isolate_thread(thread);
		_exit(make() < 0 ? errno : DONE);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* ------------------------------------------------------------ files */

int attempt_make_file(void)
{
	return mknod(attempt_inside, S_IFREG | 0600, 0);
}

int attempt_make_files(void **state)
{
	int fd;

	(void)state;
	if (!mkdtemp(attempt_directory))
		return -1;
	snprintf(attempt_inside, sizeof(attempt_inside), "%s/wg7.sock",
		 attempt_directory);
	fd = mkstemp(attempt_outside);
	if (fd < 0)
		return -1;
	close(fd);
	return attempt_make_file();
}

int attempt_remove_files(void **state)
{
	(void)state;
	unlink(attempt_inside);
	unlink(attempt_outside);
	return rmdir(attempt_directory);
}
