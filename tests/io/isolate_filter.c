/* SPDX-License-Identifier: MIT */
/*
 * The filters of system calls: a call on no list ends the process, a thread may
 * make only the calls of its own list, and a thread without a filter is found.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/syscalls.h"
#include "isolate/isolate.h"
#include "tests/io/attempt.h"
#include "tests/lib/check.h"
#include "tests/lib/skip.h"

/* ------------------------------------------------------------ the filter */

static void other_calls_end_it(void **state)
{
	(void)state;
	for (size_t i = 0; i < attempt_n_forbidden; i++) {
		attempt_must_work(FREE, attempt_forbidden[i].make,
				  attempt_forbidden[i].what);
		attempt_must_kill(
			attempt_run(SEALED, attempt_forbidden[i].make), SIGSYS,
			"control", attempt_forbidden[i].what);
		attempt_must_kill(
			attempt_run(KEEPING, attempt_forbidden[i].make), SIGSYS,
			"keeper", attempt_forbidden[i].what);
	}
}

/* ------------------------------------------------- the filters of threads */

static const char *const others[] = { "worker", "helper", "handshaker", "rcu",
				      "log" };

static int udp_socket(void)
{
	return socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP);
}

/*
 * The calls need no valid descriptors: EBADF shows that the filter let them
 * pass.
 */

static int is_bad_descriptor(long result)
{
	return result < 0 && errno != EBADF ? -1 : 0;
}

static int bind_socket(void)
{
	return is_bad_descriptor(bind(-1, NULL, 0));
}

static int accept_client(void)
{
	return is_bad_descriptor(accept4(-1, NULL, NULL, SOCK_CLOEXEC));
}

static int send_request(void)
{
	return is_bad_descriptor(sendto(-1, "", 1, 0, NULL, 0));
}

static int set_mark(void)
{
	int mark = 1;

	return is_bad_descriptor(
		setsockopt(-1, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)));
}

static int set_timer(void)
{
	const struct itimerspec never = { 0 };

	return is_bad_descriptor(timerfd_settime(-1, 0, &never, NULL));
}

static int look_at_file(void)
{
	struct stat st;

	return lstat(attempt_inside, &st);
}

static int remove_nothing(void)
{
	return unlink("/proc/none") < 0 && errno != ENOENT && errno != EACCES
		       ? -1
		       : 0;
}

static int connect_socket(void)
{
	return is_bad_descriptor(connect(-1, NULL, 0));
}

#define OPTION(name, option)                                                 \
	static int name(void)                                                \
	{                                                                    \
		int value = 0;                                               \
                                                                             \
		return is_bad_descriptor(setsockopt(-1, SOL_SOCKET, option,  \
						    &value, sizeof(value))); \
	}
#define REQUEST(name, request)                                        \
	static int name(void)                                         \
	{                                                             \
		int value = 0;                                        \
                                                                      \
		return is_bad_descriptor(ioctl(-1, request, &value)); \
	}

OPTION(bind_to_device, SO_BINDTODEVICE)
OPTION(attach_filter, SO_ATTACH_FILTER)
OPTION(attach_bpf, SO_ATTACH_BPF)
OPTION(attach_to_group, SO_ATTACH_REUSEPORT_CBPF)
OPTION(attach_bpf_to_group, SO_ATTACH_REUSEPORT_EBPF)
REQUEST(set_interface, TUNSETIFF)
REQUEST(set_persistence, TUNSETPERSIST)
REQUEST(set_owner, TUNSETOWNER)
REQUEST(set_group, TUNSETGROUP)
REQUEST(set_queue, TUNSETQUEUE)
REQUEST(attach_to_tun, TUNATTACHFILTER)
REQUEST(steer_queues, TUNSETSTEERINGEBPF)
REQUEST(set_offload, TUNSETOFFLOAD)

/* Calls that neither the keeper nor a thread of the engine may make. */
static const struct attempt of_nobody[] = {
	{ "connect", connect_socket },
	{ "SO_BINDTODEVICE", bind_to_device },
	{ "SO_ATTACH_FILTER", attach_filter },
	{ "SO_ATTACH_BPF", attach_bpf },
	{ "SO_ATTACH_REUSEPORT_EBPF", attach_bpf_to_group },
	{ "TUNSETIFF", set_interface },
	{ "TUNSETPERSIST", set_persistence },
	{ "TUNSETOWNER", set_owner },
	{ "TUNSETGROUP", set_group },
	{ "TUNSETQUEUE", set_queue },
	{ "TUNATTACHFILTER", attach_to_tun },
	{ "TUNSETSTEERINGEBPF", steer_queues },
};

/* Calls that only the main thread of the engine may make. */
static const struct attempt of_control[] = {
	{ "accept a client", accept_client },
	{ "send a request", send_request },
	{ "set the timer", set_timer },
};

/* Calls that only the keeper may make. */
static const struct attempt of_keeper[] = {
	{ "open a UDP socket", udp_socket },
	{ "bind", bind_socket },
	{ "set a mark", set_mark },
	{ "look at a file", look_at_file },
	{ "remove a file", remove_nothing },
	{ "SO_ATTACH_REUSEPORT_CBPF", attach_to_group },
	{ "TUNSETOFFLOAD", set_offload },
};

static void the_engine_has_less(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(of_keeper); i++) {
		attempt_must_work(KEEPING, of_keeper[i].make,
				  of_keeper[i].what);
		attempt_must_kill(attempt_run(SEALED, of_keeper[i].make),
				  SIGSYS, "control", of_keeper[i].what);
		for (size_t t = 0; t < ARRAY_LEN(others); t++)
			attempt_must_kill(
				attempt_run_as(others[t], of_keeper[i].make),
				SIGSYS, others[t], of_keeper[i].what);
	}
	/* From who wants an upgrade. */
	attempt_must_work(KEEPING, accept_client, "accept a client");
}

static void devices_and_sockets_stay_as_they_are(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(of_nobody); i++) {
		const struct attempt *attempt = &of_nobody[i];

		attempt_must_work(FREE, attempt->make, attempt->what);
		attempt_must_kill(attempt_run(SEALED, attempt->make), SIGSYS,
				  "control", attempt->what);
		attempt_must_kill(attempt_run(KEEPING, attempt->make), SIGSYS,
				  "keeper", attempt->what);
		for (size_t t = 0; t < ARRAY_LEN(others); t++)
			attempt_must_kill(
				attempt_run_as(others[t], attempt->make),
				SIGSYS, others[t], attempt->what);
	}
}

static void threads_have_less(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(of_control); i++)
		attempt_must_work(SEALED, of_control[i].make,
				  of_control[i].what);
	for (size_t t = 0; t < ARRAY_LEN(others); t++) {
		for (size_t i = 0; i < ARRAY_LEN(of_control); i++)
			attempt_must_kill(
				attempt_run_as(others[t], of_control[i].make),
				SIGSYS, others[t], of_control[i].what);
		for (size_t i = 0; i < attempt_n_forbidden; i++)
			attempt_must_kill(
				attempt_run_as(others[t],
					       attempt_forbidden[i].make),
				SIGSYS, others[t], attempt_forbidden[i].what);
	}
}

static int abort_self(void)
{
	abort();
}

/*
 * Every thread can abort(): the process and thread ids are set in its filter.
 */
static void all_can_abort(void **state)
{
	(void)state;
	attempt_must_kill(attempt_run(SEALED, abort_self), SIGABRT, "control",
			  "abort");
	for (size_t t = 0; t < ARRAY_LEN(others); t++)
		attempt_must_kill(attempt_run_as(others[t], abort_self),
				  SIGABRT, others[t], "abort");
}

static int write_elsewhere(void)
{
	return is_bad_descriptor(write(-1, "", 1));
}

static int allocate(void)
{
	return mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0) == MAP_FAILED
		       ? -1
		       : 0;
}

static int write_error(void)
{
	return (int)write(STDERR_FILENO, "", 0);
}

/* These threads write to the log, but not to the TUN or to sockets. */
static void some_write_to_the_log_only(void **state)
{
	static const char *const names[] = { "rcu", "log" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		assert_int_equal(attempt_run_as(names[i], write_error), DONE);
		attempt_must_kill(attempt_run_as(names[i], write_elsewhere),
				  SIGSYS, names[i], "write");
	}
	attempt_must_kill(attempt_run_as("log", allocate), SIGSYS, "log",
			  "map memory");
	assert_int_equal(attempt_run_as("rcu", allocate), DONE);
	assert_int_equal(attempt_run_as("handshaker", write_elsewhere), DONE);
}

static void unknown_thread(void **state)
{
	(void)state;
	attempt_must_kill(attempt_run_as("none such", write_error), SIGABRT,
			  "none such", "write");
}

/* ------------------------------------------------------- several threads */

static sem_t may_go;

static void *open_when_told(void *arg)
{
	isolate_thread("worker");
	sem_post(arg);
	sem_wait(&may_go);
	attempt_open_file();
	return NULL;
}

/* A thread that violates its filter. */
static void seal_with_thread(void)
{
	const struct isolate_config config = { 0 };
	pthread_t thread;
	sem_t is_there;

	sem_init(&is_there, 0, 0);
	sem_init(&may_go, 0, 0);
	if (isolate_init(&attempt_isolate, &config) ||
	    isolate_restrict(&attempt_isolate) ||
	    pthread_create(&thread, NULL, open_when_told, &is_there))
		_exit(BROKEN);
	sem_wait(&is_there);
	if (isolate_seal(&attempt_isolate))
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

static void *wait_for_end(void *arg)
{
	sem_post(arg);
	pause();
	return NULL;
}

/*
 * Check that a thread without isolate_thread() is found, and the message about
 * it.
 */
static void check_found(void *(*thread_main)(void *arg), const char *words)
{
	const struct isolate_config config = { 0 };
	pid_t pid = fork();
	int status = 0;

	if (!pid) {
		pthread_t thread;
		sem_t is_there;

		sem_init(&is_there, 0, 0);
		if (isolate_init(&attempt_isolate, &config) ||
		    isolate_restrict(&attempt_isolate) ||
		    pthread_create(&thread, NULL, thread_main, &is_there))
			_exit(BROKEN);
		sem_wait(&is_there);
		_exit(isolate_seal(&attempt_isolate) == -EPERM &&
				      strstr(attempt_isolate.why, words)
			      ? DONE
			      : BROKEN);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* A thread without a filter. It has no capabilities, as its maker had none. */
static void unfiltered_thread(void **state)
{
	(void)state;
	check_found(wait_for_end, "have given up their rights");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(other_calls_end_it),
		cmocka_unit_test(threads_have_less),
		cmocka_unit_test(the_engine_has_less),
		cmocka_unit_test(devices_and_sockets_stay_as_they_are),
		cmocka_unit_test(all_can_abort),
		cmocka_unit_test(some_write_to_the_log_only),
		cmocka_unit_test(unknown_thread),
		cmocka_unit_test(threads_are_filtered),
		cmocka_unit_test(unfiltered_thread),
	};

	if (geteuid() != 0)
		skip_program("needs root, to give something up");
#ifdef ISOLATE_SANITIZED
	skip_program("sanitizers need what is forbidden");
#endif
	return cmocka_run_group_tests(tests, attempt_make_files,
				      attempt_remove_files);
}
