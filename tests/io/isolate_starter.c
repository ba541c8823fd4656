/* SPDX-License-Identifier: MIT */
/*
 * What a program can do that takes the place of the starter, or of an engine that has not
 * yet given up what it has left: load and execute the program again, make threads, and
 * isolate itself further, and nothing that leads to other processes, files or networks.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/syscalls.h"
#include "isolate/caps.h"
#include "tests/io/attempt.h"
#include "tests/lib/check.h"
#include "tests/lib/skip.h"

/* The version of Landlock that keeps signals in. */
#define SCOPES_SIGNALS 6

/* The program is executed by this name to show that it runs. */
#define AGAIN "again"

/* A process of the same user, which may not be reached, and a program elsewhere. */
static pid_t victim, parent;
static int other_program_fd = -1;
static long landlock_version;

static int negate(long result)
{
	return result < 0 ? -1 : 0;
}

/* ------------------------------------------------------- what is refused */

static int make_unix_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

static int make_udp_socket(void)
{
	return socket(AF_INET, SOCK_DGRAM, 0);
}

static int make_tcp_socket(void)
{
	return socket(AF_INET6, SOCK_STREAM, 0);
}

static int make_netlink_socket(void)
{
	return socket(AF_NETLINK, SOCK_RAW, 0);
}

static int make_packet_socket(void)
{
	return socket(AF_PACKET, SOCK_DGRAM, 0);
}

static int bind_socket(void)
{
	return bind(-1, NULL, 0);
}

static int connect_socket(void)
{
	return connect(-1, NULL, 0);
}

static int send_to_address(void)
{
	const struct sockaddr to = { .sa_family = AF_UNIX };

	return (int)sendto(-1, "", 1, 0, &to, sizeof(to));
}

static int write_file(void)
{
	return open("/dev/null", O_WRONLY);
}

static int make_file(void)
{
	return open("/tmp/isolate-starter-new", O_RDONLY | O_CREAT, 0600);
}

static int remove_file(void)
{
	return unlink(attempt_inside);
}

static int rename_file(void)
{
	return rename(attempt_inside, attempt_outside);
}

static int change_mode(void)
{
	return chmod(attempt_inside, 0777);
}

static int make_device_request(void)
{
	int n;

	return ioctl(STDIN_FILENO, FIONREAD, &n);
}

static int terminate_victim(void)
{
	return kill(victim, SIGTERM);
}

static int stop_parent(void)
{
	return kill(parent, SIGSTOP);
}

static int trace_victim(void)
{
	return negate(ptrace(PTRACE_SEIZE, victim, NULL, NULL));
}

static int read_memory_of_victim(void)
{
	char byte;
	const struct iovec here = { &byte, 1 };
	const struct iovec there = { &byte, 1 };

	return negate(process_vm_readv(victim, &here, 1, &there, 1, 0));
}

static int open_victim(void)
{
	return (int)syscall(SYS_pidfd_open, victim, 0);
}

static int make_user_namespace(void)
{
	return unshare(CLONE_NEWUSER);
}

/* In the child, if there were one, the same code would run. */
static int make_process_in_namespace(void)
{
#ifdef __s390x__
	return (int)syscall(SYS_clone, 0, CLONE_NEWUSER | SIGCHLD, 0, 0, 0);
#else
	return (int)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
#endif
}

static int make_process_by_clone3(void)
{
	uint64_t args[8] = { CLONE_NEWUSER, 0, 0, 0, SIGCHLD };

	return (int)syscall(SYS_clone3, args, sizeof(args));
}

static int be_traced(void)
{
	return prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
}

static int change_user(void)
{
	return setuid(0);
}

static int use_bpf(void)
{
	return (int)syscall(SYS_bpf, 0, NULL, 0);
}

static int use_keys(void)
{
	return (int)syscall(SYS_add_key, NULL, NULL, NULL, 0, 0);
}

static int count_events(void)
{
	return (int)syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0);
}

static int lock_pi_futex(void)
{
	int word = 0;

	/* 6: FUTEX_LOCK_PI, of linux/futex.h. */
	return (int)syscall(SYS_futex, &word, 6, 0, NULL, NULL, 0);
}

/* The filter answers as a kernel that lacks the call. */
static const struct attempt not_there[] = {
	{ "make a Unix socket", make_unix_socket },
	{ "make a UDP socket", make_udp_socket },
	{ "make a TCP socket", make_tcp_socket },
	{ "make a netlink socket", make_netlink_socket },
	{ "make a packet socket", make_packet_socket },
	{ "bind a socket", bind_socket },
	{ "connect a socket", connect_socket },
	{ "send to an address", send_to_address },
	{ "open a file for writing", write_file },
	{ "make a file", make_file },
	{ "remove a file", remove_file },
	{ "rename a file", rename_file },
	{ "change a mode", change_mode },
	{ "make a directory", attempt_make_directory },
	{ "make another device request", make_device_request },
	{ "execute by a path", attempt_execute },
	{ "end another process by another signal", terminate_victim },
	{ "stop the parent", stop_parent },
	{ "trace", trace_victim },
	{ "read memory of another process", read_memory_of_victim },
	{ "open another process", open_victim },
	{ "make a namespace", make_user_namespace },
	{ "make a process in a namespace", make_process_in_namespace },
	{ "make a process by clone3", make_process_by_clone3 },
	{ "be traced by all", be_traced },
	{ "change the user", change_user },
	{ "use bpf", use_bpf },
	{ "use keys", use_keys },
	{ "count events", count_events },
	{ "lock a futex with priority inheritance", lock_pi_futex },
};

static void must_fail(const struct attempt *attempt, int err)
{
	int status = attempt_run(STARTING, attempt->make);

	if (!WIFEXITED(status) || WEXITSTATUS(status) != err)
		fail_msg("%s: status %#x, must fail with errno %d",
			 attempt->what, (unsigned)status, err);
}

static void other_calls_fail(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(not_there); i++)
		must_fail(&not_there[i], ENOSYS);
}

static int read_password_file(void)
{
	return open("/etc/passwd", O_RDONLY);
}

static int read_groups(void)
{
	return open("/etc/group", O_RDONLY);
}

static int list_root(void)
{
	return open("/", O_RDONLY | O_DIRECTORY);
}

static int list_temporary(void)
{
	return open("/tmp", O_RDONLY | O_DIRECTORY);
}

static int open_device(void)
{
	return open("/dev/zero", O_RDONLY);
}

static int read_victim(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)victim);
	return open(path, O_RDONLY);
}

static int read_own_memory_map(void)
{
	return open("/proc/self/maps", O_RDONLY);
}

static int execute_other(void)
{
	char *const argv[] = { unconst("true"), NULL };

	return (int)syscall(SYS_execveat, other_program_fd, "", argv, environ,
			    AT_EMPTY_PATH);
}

/* What only Landlock refuses. All of it may be read by every user. */
static const struct attempt out_of_reach[] = {
	{ "read the users", read_password_file },
	{ "read the groups", read_groups },
	{ "list the root directory", list_root },
	{ "list a directory", list_temporary },
	{ "read a device", open_device },
	{ "read the memory map of another process", read_victim },
	{ "read /proc", read_own_memory_map },
	{ "execute another program", execute_other },
};

static void other_files_are_out_of_reach(void **state)
{
	(void)state;
	if (landlock_version < 1)
		skip();
	for (size_t i = 0; i < ARRAY_LEN(out_of_reach); i++)
		must_fail(&out_of_reach[i], EACCES);
}

static int kill_victim(void)
{
	return kill(victim, SIGKILL);
}

static int kill_root(void)
{
	return kill(parent, SIGKILL);
}

static void other_processes_are_out_of_reach(void **state)
{
	const struct attempt of_root = { "kill a process of root", kill_root };
	const struct attempt of_same = { "kill a process of the same user",
					 kill_victim };

	(void)state;
	must_fail(&of_root, EPERM);
	if (landlock_version >= SCOPES_SIGNALS)
		must_fail(&of_same, EPERM);
	assert_int_equal(waitpid(victim, NULL, WNOHANG), 0);
}

static int gain_capability(void)
{
	uint64_t permitted;

	if (getuid() != 65534 || getgid() != 65534 || getgroups(0, NULL) > 0)
		return -(errno = 201);
	if (caps_get(0, &permitted) || permitted)
		return -(errno = 202);
	if (prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0)
		return -(errno = 203);
	return caps_set(1) == 0 ? -(errno = 204) : 0;
}

static void it_has_no_rights(void **state)
{
	(void)state;
	attempt_must_work(STARTING, gain_capability, "the user and its rights");
}

/* ------------------------------------------------------- what it has to do */

/* Execute the test program, as the starter does. Its end is the attempt's. */
static int execute_self(void)
{
	char *const argv[] = { unconst(AGAIN), NULL };

	return (int)syscall(SYS_execveat, attempt_program_fd, "", argv, environ,
			    AT_EMPTY_PATH);
}

static int execute_in_child(void)
{
	pid_t pid = fork();
	int status = 0;

	if (!pid)
		_exit(execute_self() < 0 ? errno : BROKEN);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	errno = WIFEXITED(status) ? WEXITSTATUS(status) : 205;
	return status ? -1 : 0;
}

/* What can be read can be executed: no file is needed for that. */
static int execute_copy(void)
{
	char *const argv[] = { unconst("true"), NULL };
	int copy = memfd_create("true", MFD_CLOEXEC);
	char buf[4096];
	off_t at = 0;
	ssize_t n;

	while ((n = pread(other_program_fd, buf, sizeof(buf), at)) > 0)
		at += write(copy, buf, (size_t)n);
	return (int)syscall(SYS_execveat, copy, "", argv, environ,
			    AT_EMPTY_PATH);
}

static int kill_child(void)
{
	pid_t pid = fork();
	int status = 0;

	if (!pid)
		for (;;)
			poll(NULL, 0, -1);
	if (pid < 0 || kill(pid, SIGKILL) < 0 ||
	    waitpid(pid, &status, 0) != pid)
		return -1;
	errno = 206;
	return WIFSIGNALED(status) ? 0 : -1;
}

#ifdef __GLIBC__
static int load_library(void)
{
	/* A library that the test is not linked with. */
	return dlopen("libresolv.so.2", RTLD_NOW) ? 0 : -(errno = 207);
}
#endif

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

static int list_threads(void)
{
	return open("/proc/self/task", O_RDONLY | O_DIRECTORY);
}

static int abort_child(void)
{
	pid_t pid = fork();
	int status = 0;

	if (!pid)
		abort();
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	errno = 208;
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT ? 0 : -1;
}

static const struct attempt needed[] = {
	{ "execute itself", execute_self },
	{ "execute itself in a child", execute_in_child },
	{ "execute a copy in memory", execute_copy },
	{ "kill a child", kill_child },
	{ "make a thread", make_thread },
	{ "list its threads", list_threads },
	{ "abort in a child", abort_child },
#ifdef __GLIBC__
	{ "load a library", load_library },
#endif
};

static void it_can_load_and_execute(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(needed); i++)
		attempt_must_work(STARTING, needed[i].make, needed[i].what);
}

/* Isolate the process further, as an engine does. */
static int become_engine(void)
{
	const struct isolate_config config = { .is_dropped = true };

	if (isolate_init(&attempt_isolate, &config) ||
	    isolate_restrict(&attempt_isolate) ||
	    isolate_seal(&attempt_isolate))
		return -(errno = 209);
	if (landlock_version >= 1 && *attempt_isolate.missing)
		return -(errno = 210);
	return 0;
}

static int open_as_engine(void)
{
	return become_engine() < 0 ? -1 : attempt_open_file();
}

static int socket_as_engine(void)
{
	return become_engine() < 0 ? -1 : make_udp_socket();
}

static void an_engine_has_its_own_filter(void **state)
{
	(void)state;
	attempt_must_work(STARTING, become_engine, "become an engine");
	attempt_must_kill(attempt_run(STARTING, open_as_engine), SIGSYS,
			  "engine", "open a file");
	attempt_must_kill(attempt_run(STARTING, socket_as_engine), SIGSYS,
			  "engine", "make a socket");
}

/* ------------------------------------------------------------ the group */

static int make_victim(void **state)
{
	other_program_fd = open("/bin/true", O_RDONLY | O_CLOEXEC);
	landlock_version =
		syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, 1U);
	parent = getpid();
	victim = fork();
	if (!victim) {
		if (setresgid(65534, 65534, 65534) < 0 ||
		    setresuid(65534, 65534, 65534) < 0)
			_exit(BROKEN);
		for (;;)
			pause();
	}
	return victim < 0 || other_program_fd < 0 ? -1
						  : attempt_make_files(state);
}

static int end_victim(void **state)
{
	kill(victim, SIGKILL);
	waitpid(victim, NULL, 0);
	return attempt_remove_files(state);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(other_calls_fail),
		cmocka_unit_test(other_files_are_out_of_reach),
		cmocka_unit_test(other_processes_are_out_of_reach),
		cmocka_unit_test(it_has_no_rights),
		cmocka_unit_test(it_can_load_and_execute),
		cmocka_unit_test(an_engine_has_its_own_filter),
	};

	if (argc == 1 && !strcmp(argv[0], AGAIN))
		return DONE;
	if (geteuid() != 0)
		skip_program("needs root, to give something up");
#ifdef ISOLATE_SANITIZED
	skip_program("sanitizers need what is forbidden");
#endif
	return cmocka_run_group_tests(tests, make_victim, end_victim);
}
