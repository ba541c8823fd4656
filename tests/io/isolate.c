/* SPDX-License-Identifier: MIT */
/*
 * Each layer of the isolation bites: what is forbidden works in a process that
 * is not isolated, and in one that is ends it, or is refused. Every attempt is
 * made by a child, in a directory in which only root may do anything.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "isolate/caps.h"
#include "isolate/filter.h"
#include "isolate/isolate.h"
#include "tests/lib/check.h"
#include "tests/lib/skip.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#endif
#ifndef PR_GET_MDWE
#define PR_GET_MDWE 66
#endif

enum {
	/* What a child ends with, besides errno. */
	DONE = 0,
	BROKEN = 200,
};

/* How far a child goes before its attempt. */
enum stage {
	FREE,
	RESTRICTED,
	SEALED
};

static char directory[] = "/tmp/isolate-XXXXXX";
static char inside[64];
static char outside[] = "/tmp/isolate-file-XXXXXX";

/* ------------------------------------------------------------ attempts */

/* Each returns 0 or -1 with errno, and leaves nothing that matters. */

static int open_file(void)
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

static int execute(void)
{
	char *const argv[] = { unconst("true"), NULL };

	/* Its status is the child's: 0. */
	return execv("/bin/true", argv);
}

static int map_executable(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? -1 : 0;
}

static int make_executable(void)
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

static int make_directory(void)
{
	char path[80];

	snprintf(path, sizeof(path), "%s.new", inside);
	return mkdir(path, 0700) < 0 ? -1 : rmdir(path);
}

static int change_mode(void)
{
	return chmod(inside, 0600);
}

/* Not on the list, each for itself. */
static const struct attempt {
	const char *what;
	int (*make)(void);
} forbidden[] = {
	{ "open a file", open_file },
	{ "make a thread", make_thread },
	{ "make a process", make_process },
	{ "execute a program", execute },
	{ "map executable memory", map_executable },
	{ "make memory executable", make_executable },
	{ "open a Unix socket", unix_socket },
	{ "open a TCP socket", tcp_socket },
	{ "open a packet socket", packet_socket },
	{ "open a netlink socket", netlink_socket },
	{ "set another option", other_option },
	{ "make another device request", other_request },
	{ "send a signal", send_signal },
	{ "call prctl", trace_parent },
	{ "unshare", change_namespace },
	{ "change the user", change_user },
	{ "make a directory", make_directory },
	{ "change a mode", change_mode },
};

/* ------------------------------------------------------------ children */

static struct isolate isolate;

static void enter(enum stage stage)
{
	const struct isolate_config config = { .is_off = stage == FREE };

	if (isolate_init(&isolate, &config) ||
	    isolate_restrict(&isolate, directory) ||
	    (stage == SEALED && isolate_seal(&isolate)))
		_exit(BROKEN);
	if (*isolate.missing) {
		fprintf(stderr, "missing: %s\n", isolate.missing);
		_exit(BROKEN);
	}
}

/* Returns the status, as from waitpid(2), of a child that makes an attempt. */
static int run(enum stage stage, int (*make)(void))
{
	pid_t pid = fork();
	int status = 0;

	assert_true(pid >= 0);
	if (!pid) {
		enter(stage);
		_exit(make() < 0 ? errno : DONE);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void check_works(enum stage stage, int (*make)(void), const char *what)
{
	int status = run(stage, make);

	if (!WIFEXITED(status) || WEXITSTATUS(status) != DONE)
		fail_msg("%s: status %#x, must work", what, (unsigned)status);
}

static void check_refused(enum stage stage, int (*make)(void), int wanted)
{
	int status = run(stage, make);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), wanted);
}

/* ------------------------------------------------------------ the filter */

static void other_calls_end_it(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(forbidden); i++) {
		int status = run(SEALED, forbidden[i].make);

		check_works(FREE, forbidden[i].make, forbidden[i].what);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
			fail_msg("%s: status %#x, must end it",
				 forbidden[i].what, (unsigned)status);
		if (WCOREDUMP(status))
			fail_msg("%s: leaves a core", forbidden[i].what);
	}
}

static sem_t may_go;

static void *open_when_told(void *arg)
{
	isolate_thread();
	sem_post(arg);
	sem_wait(&may_go);
	open_file();
	return NULL;
}

/* A thread that was there before, and knows nothing of the filter. */
static void seal_with_thread(void)
{
	const struct isolate_config config = { 0 };
	pthread_t thread;
	sem_t is_there;

	sem_init(&is_there, 0, 0);
	sem_init(&may_go, 0, 0);
	if (isolate_init(&isolate, &config) ||
	    isolate_restrict(&isolate, directory) ||
	    pthread_create(&thread, NULL, open_when_told, &is_there))
		_exit(BROKEN);
	sem_wait(&is_there);
	if (isolate_seal(&isolate))
		_exit(BROKEN);
	sem_post(&may_go);
	pthread_join(thread, NULL);
}

static void threads_are_filtered(void **state)
{
	pid_t pid = fork();
	int status = 0;

	(void)state;
	if (!pid) {
		seal_with_thread();
		_exit(DONE);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

/* ------------------------------------------------------------ files */

static int open_inside(void)
{
	return open(inside, O_RDONLY);
}

static int make_inside(void)
{
	char path[80];

	snprintf(path, sizeof(path), "%s.new", inside);
	return open(path, O_CREAT | O_WRONLY, 0600);
}

static int remove_inside(void)
{
	return unlink(inside);
}

static int remove_outside(void)
{
	return unlink(outside);
}

static int read_password_file(void)
{
	return open("/etc/passwd", O_RDONLY);
}

static void files_are_out_of_reach(void **state)
{
	(void)state;
	check_works(FREE, open_inside, "open inside");
	check_works(FREE, read_password_file, "open /etc/passwd");
	check_refused(RESTRICTED, open_inside, EACCES);
	check_refused(RESTRICTED, read_password_file, EACCES);
	check_refused(RESTRICTED, make_inside, EACCES);
	check_refused(RESTRICTED, make_directory, EACCES);
	check_refused(RESTRICTED, execute, EACCES);
	check_refused(RESTRICTED, remove_outside, EACCES);
	check_refused(SEALED, remove_outside, EACCES);
	assert_int_equal(access(outside, F_OK), 0);
}

static int make_file(void)
{
	return mknod(inside, S_IFREG | 0600, 0);
}

/* Only root may, by the modes; the process is nobody by then. */
static void own_directory_can_be_cleared(void **state)
{
	(void)state;
	check_works(SEALED, remove_inside, "remove inside");
	assert_int_equal(access(inside, F_OK), -1);
	assert_int_equal(make_file(), 0);
}

/* ------------------------------------------------------------ the rest */

static int look_at_process(void)
{
	uint64_t permitted;

	if (getuid() != 65534 || geteuid() != 65534 || getgid() != 65534 ||
	    getgroups(0, NULL) != 0)
		return -(errno = 201);
	if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return -(errno = 202);
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return -(errno = 203);
	if (caps_get(0, &permitted) ||
	    permitted !=
		    (CAPS_BIT(CAP_NET_ADMIN) | CAPS_BIT(CAP_NET_BIND_SERVICE) |
		     CAPS_BIT(CAP_DAC_OVERRIDE)))
		return -(errno = 204);
	/* Back to root. */
	if (setresuid(0, 0, 0) == 0 || prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN))
		return -(errno = 205);
	return 0;
}

static void few_rights_are_left(void **state)
{
	(void)state;
	check_works(RESTRICTED, look_at_process, "look at the process");
}

static int make_executable_where_refused(void)
{
	/* Kernels before 6.3 have no such thing. */
	if (prctl(PR_GET_MDWE, 0, 0, 0, 0) < 0)
		return -(errno = EACCES);
	return make_executable();
}

static void writable_memory_is_not_executed(void **state)
{
	(void)state;
	check_refused(RESTRICTED, make_executable_where_refused, EACCES);
}

static void *wait_for_end(void *arg)
{
	sem_post(arg);
	pause();
	return NULL;
}

/* A thread that did not give up its capabilities is found. */
static void forgotten_thread(void **state)
{
	const struct isolate_config config = { 0 };
	pid_t pid = fork();
	int status = 0;

	(void)state;
	if (!pid) {
		pthread_t thread;
		sem_t is_there;

		sem_init(&is_there, 0, 0);
		if (isolate_init(&isolate, &config) ||
		    isolate_restrict(&isolate, directory) ||
		    pthread_create(&thread, NULL, wait_for_end, &is_there))
			_exit(BROKEN);
		sem_wait(&is_there);
		_exit(isolate_seal(&isolate) == -EPERM &&
				      strstr(isolate.why, "has kept")
			      ? DONE
			      : BROKEN);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void wrong_users(void **state)
{
	static const struct {
		const char *name;
		int err;
	} rows[] = {
		{ "no-such-user-here", -ENOENT },
		{ "root", -EINVAL },
		{ "0:0", -EINVAL },
		{ "1000:0", -EINVAL },
		{ "1000", -ENOENT },
		{ "1000:", -ENOENT },
		{ "1000:1000:1000", -ENOENT },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct isolate_config config = { .user = rows[i].name };

		assert_int_equal(isolate_init(&isolate, &config), rows[i].err);
		assert_non_null(strstr(isolate.why, rows[i].name));
	}
}

/* Have some calls answered with EPERM, as a container may. */
static void refuse_layers(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_landlock_create_ruleset,
			 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_seccomp, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	};
	struct sock_fprog program = { ARRAY_LEN(filter), filter };

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
		_exit(BROKEN);
}

static void refused_layers_are_named(void **state)
{
	const struct isolate_config config = { 0 };
	pid_t pid = fork();
	int status = 0;

	(void)state;
	if (!pid) {
		refuse_layers();
		if (isolate_init(&isolate, &config) ||
		    isolate_restrict(&isolate, directory) ||
		    isolate_seal(&isolate))
			_exit(BROKEN);
		_exit(strstr(isolate.missing, "no Landlock (") &&
				      strstr(isolate.missing, "no filter of") &&
				      getuid() == 65534
			      ? DONE
			      : BROKEN);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static int make_files(void **state)
{
	int fd;

	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(inside, sizeof(inside), "%s/wg7.sock", directory);
	fd = mkstemp(outside);
	if (fd < 0)
		return -1;
	close(fd);
	return make_file();
}

static int remove_files(void **state)
{
	(void)state;
	unlink(inside);
	unlink(outside);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(other_calls_end_it),
		cmocka_unit_test(threads_are_filtered),
		cmocka_unit_test(files_are_out_of_reach),
		cmocka_unit_test(own_directory_can_be_cleared),
		cmocka_unit_test(few_rights_are_left),
		cmocka_unit_test(writable_memory_is_not_executed),
		cmocka_unit_test(forgotten_thread),
		cmocka_unit_test(wrong_users),
		cmocka_unit_test(refused_layers_are_named),
	};

	if (geteuid() != 0)
		skip_program("needs root, to give something up");
#ifdef ISOLATE_SANITIZED
	skip_program("sanitizers need what is forbidden");
#endif
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 0)
		skip_program("the kernel has no Landlock");
	return cmocka_run_group_tests(tests, make_files, remove_files);
}
