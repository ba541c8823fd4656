/* SPDX-License-Identifier: MIT */
/*
 * A library to preload into a program. It makes chosen calls of the program
 * fail.
 *
 * Each function below replaces the one of the C library with the same name. A
 * call is identified by its site: the function, and the return addresses inside
 * the program that lead to it. A helper that is called from five places so has
 * five sites. Unlike the number of a call since the start, a site does not
 * depend on the order in which threads run.
 *
 * A file (FAILCALL_FILE), which the caller of the program makes, says which
 * calls fail, and counts all calls. It is mapped as shared memory. Therefore
 * this library makes no system calls while the program runs, threads and
 * children count into the same table, and the program may close all
 * descriptors. Without the file no call fails. tests/netns/failcall.py is the
 * other side.
 *
 * The starter of wiregather gives up files, and then executes the program again. After it
 * has closed all descriptors that it does not know, it gets one of the file, which the
 * executed program inherits. Each executed program gets a number, in their order. The
 * number belongs to the site: the second engine of a daemon has other sites than the first.
 *
 * A failing call does nothing, except that close(2) closes: Linux closes the
 * descriptor even if it reports an error.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* No header declares the exported functions. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wredundant-decls"
/* Each compiler has warnings whose names the other does not know. */
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wunknown-warning-option"
/* Attributes of the headers say that pointers here are never NULL. */
#pragma GCC diagnostic ignored "-Wnonnull-compare"

/* These numbers are the same on every architecture; older headers lack them. */
#define CLOSE_RANGE		436
#define LANDLOCK_CREATE_RULESET 444
#define LANDLOCK_ADD_RULE	445
#define LANDLOCK_RESTRICT_SELF	446
#define MEMFD_SECRET		447

enum {
	/*
	 * tests/netns/failcall.py has the same N_SITES, DEPTH and NAME_CAP.
	 * Further sites get no entry. The numbers are choices, not measured.
	 */
	N_SITES = 4096,
	DEPTH = 12,
	/* Frames that are examined. Only those inside of the program count
	 * against DEPTH, so this is larger. A choice, not measured. */
	FRAMES = 40,
	/* The names of the functions below are shorter. */
	NAME_CAP = 24,
	/* A plan is about all programs. */
	ANY_PROGRAM = -1,
	/* The descriptor of the file that an executed program inherits. A choice: the
	 * program has fewer, and RLIMIT_NOFILE is usually 1,024. */
	LENT_FD = 700,
};

/* The calls that a plan makes fail. */
enum plan_mode {
	PLAN_NONE,
	PLAN_SITE, /* calls of a site */
	PLAN_NAME, /* calls of a function */
	PLAN_HEAP, /* all allocations */
};

/**
 * struct site - calls from one place
 * @key:	hash of program, name and stack, 0: this entry is free
 * @name:	function, cut
 * @stack:	return addresses in the program, from its start; 0 ends them
 * @hits:	calls so far; may be set back to 0 by the other side
 * @is_ready:	@name, @stack and @program are filled in
 * @program:	number of the executed program, from 0
 * @reserved:	0
 */
struct site {
	_Atomic uint64_t key;
	char name[NAME_CAP];
	uint64_t stack[DEPTH];
	_Atomic uint32_t hits;
	_Atomic uint32_t is_ready;
	uint32_t program;
	uint32_t reserved;
};

/**
 * struct table - the file
 * @mode:	enum plan_mode
 * @err:	errno to fail with
 * @first:	the first call to fail, from 1
 * @last:	the last
 * @key:	the site of PLAN_SITE
 * @name:	the function of PLAN_NAME
 * @n_failed:	calls that were made to fail
 * @n_hits:	calls that the plan is about
 * @program:	of PLAN_NAME and PLAN_HEAP: the number of the program, or ANY_PROGRAM
 * @n_programs:	programs that were executed
 * @sites:	what was called
 */
struct table {
	uint32_t mode;
	int32_t err;
	uint32_t first;
	uint32_t last;
	uint64_t key;
	char name[NAME_CAP];
	_Atomic uint32_t n_failed;
	_Atomic uint32_t n_hits;
	int32_t program;
	_Atomic uint32_t n_programs;
	struct site sites[N_SITES];
};

static struct table *table;
static uint32_t program;
static uintptr_t program_start, program_end;
/* This library is making calls itself, which neither fail nor count. */
static _Thread_local bool is_busy __attribute__((tls_model("initial-exec")));

/**
 * find_program() - note where the program's code is
 * @info:	of a loaded object; the first object is the program
 * @size:	unused
 * @arg:	unused
 *
 * Return: 1, so that dl_iterate_phdr(3) calls it only once.
 */
static int find_program(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	program_start = info->dlpi_addr;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		uintptr_t end = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr +
				info->dlpi_phdr[i].p_memsz;

		if (info->dlpi_phdr[i].p_type == PT_LOAD && end > program_end)
			program_end = end;
	}
	return 1;
}

/* Open the file, or take the descriptor that was inherited. */
static int open_file(void)
{
	const char *path = getenv("FAILCALL_FILE");
	struct stat st;

	if (!path)
		return -1;
	if (fstat(LENT_FD, &st) == 0 && st.st_size == (off_t)sizeof(*table))
		return LENT_FD;
	return open(path, O_RDWR | O_CLOEXEC);
}

/* Have the programs that are executed from now on inherit a descriptor of the file. */
static void lend_file(void)
{
	int fd = table ? open_file() : -1;

	if (fd < 0 || fd == LENT_FD)
		return;
	syscall(SYS_dup3, fd, LENT_FD, 0);
	syscall(SYS_close, fd);
}

__attribute__((constructor)) static void begin(void)
{
	void *frames[2], *p;
	int fd;

	/* The first backtrace() allocates, and opens a library. */
	backtrace(frames, 2);
	dl_iterate_phdr(find_program, NULL);
	fd = open_file();
	if (fd < 0)
		return;
	p = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		 0);
	close(fd);
	if (p == MAP_FAILED)
		return;
	table = p;
	program = atomic_fetch_add(&table->n_programs, 1);
}

static uint64_t hash(uint64_t state, uint64_t word)
{
	/* FNV-1a with its 64-bit prime, but by words instead of bytes. */
	return (state ^ word) * 0x100000001b3u;
}

/**
 * find_stack() - list the return addresses of a call
 * @stack:	filled with addresses in the program, then 0
 *
 * The outermost frame inside of the program is the main function of the thread.
 */
static void find_stack(uint64_t stack[DEPTH])
{
	void *frames[FRAMES];
	int n = backtrace(frames, FRAMES), depth = 0;

	memset(stack, 0, DEPTH * sizeof(*stack));
	for (int i = 0; i < n && depth < DEPTH; i++) {
		uintptr_t at = (uintptr_t)frames[i];

		if (at >= program_start && at < program_end)
			stack[depth++] = at - program_start;
	}
}

/**
 * find_site() - find or make the entry of a site
 * @name:	function
 * @stack:	of find_stack()
 * @key:	hash of both
 *
 * Return: the entry; NULL if there is no room.
 */
static struct site *find_site(const char *name, const uint64_t stack[DEPTH],
			      uint64_t key)
{
	for (uint64_t i = 0; i < N_SITES; i++) {
		struct site *site = &table->sites[(key + i) % N_SITES];
		uint64_t found = 0;

		if (atomic_compare_exchange_strong(&site->key, &found, key)) {
			snprintf(site->name, sizeof(site->name), "%s", name);
			memcpy(site->stack, stack, sizeof(site->stack));
			site->program = program;
			atomic_store(&site->is_ready, 1);
			return site;
		}
		if (found == key)
			return site;
	}
	return NULL;
}

/**
 * count() - note a call
 * @name:	function
 * @is_heap:	it allocates memory
 *
 * Return: if the plan is about this call, its number among the calls of the
 * plan, from 1; 0 otherwise.
 */
static uint32_t count(const char *name, bool is_heap)
{
	/* The offset basis of FNV-1a. */
	uint64_t stack[DEPTH], key = hash(0xcbf29ce484222325u, program);
	struct site *site;
	uint32_t hits;

	find_stack(stack);
	for (const char *c = name; *c; c++)
		key = hash(key, (unsigned char)*c);
	for (int i = 0; i < DEPTH; i++)
		key = hash(key, stack[i]);
	/* The key 0 means a free entry. */
	key |= 1;
	site = find_site(name, stack, key);
	hits = site ? atomic_fetch_add(&site->hits, 1) + 1 : 0;
	if (table->mode == PLAN_SITE)
		return key == table->key ? hits : 0;
	if (table->program != ANY_PROGRAM && table->program != (int32_t)program)
		return 0;
	if (!(table->mode == PLAN_HEAP && is_heap) &&
	    !(table->mode == PLAN_NAME && !strcmp(table->name, name)))
		return 0;
	return atomic_fetch_add(&table->n_hits, 1) + 1;
}

/**
 * get_failure() - is this call to fail?
 * @name:	function
 * @is_heap:	it allocates memory
 *
 * Return: 0; the errno to fail with.
 */
static int get_failure(const char *name, bool is_heap)
{
	int saved = errno, err = 0;
	uint32_t number;

	if (!table || is_busy)
		return 0;
	is_busy = true;
	number = count(name, is_heap);
	if (number && number >= table->first && number <= table->last) {
		err = table->err;
		atomic_fetch_add(&table->n_failed, 1);
	}
	is_busy = false;
	errno = saved;
	return err;
}

/* Set errno if the call is to fail. */
static bool fails(const char *name)
{
	int err = get_failure(name, false);

	if (err)
		errno = err;
	return err != 0;
}

static bool fails_to_allocate(const char *name)
{
	bool is_so = get_failure(name, true) != 0;

	if (is_so)
		errno = ENOMEM;
	return is_so;
}

static void *find_next(_Atomic(void *) *next, const char *name)
{
	void *found = atomic_load(next);

	if (!found) {
		found = dlsym(RTLD_NEXT, name);
		atomic_store(next, found);
	}
	return found;
}

/* The function of the C library with this name. */
#define NEXT(name)                                                        \
	({                                                                \
		static _Atomic(void *) next_;                             \
		(__typeof__(&(name)))(uintptr_t)find_next(&next_, #name); \
	})

/* A function that returns @failed when it fails. */
#define CALL(type, failed, name, params, args) \
	type name params                       \
	{                                      \
		if (fails(#name))              \
			return (failed);       \
		return NEXT(name) args;        \
	}

/* clang-format off */
CALL(int, -1, accept4, (int fd, struct sockaddr *a, socklen_t *n, int flags),
     (fd, a, n, flags))
CALL(int, -1, bind, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
CALL(int, -1, chdir, (const char *path), (path))
CALL(int, -1, chmod, (const char *path, mode_t mode), (path, mode))
CALL(int, -1, close_range, (unsigned int a, unsigned int b, int flags),
     (a, b, flags))
CALL(int, -1, connect, (int fd, const struct sockaddr *a, socklen_t n),
     (fd, a, n))
CALL(int, -1, dup2, (int a, int b), (a, b))
CALL(int, -1, epoll_create1, (int flags), (flags))
CALL(int, -1, epoll_ctl, (int fd, int op, int of, struct epoll_event *ev),
     (fd, op, of, ev))
CALL(int, -1, epoll_wait, (int fd, struct epoll_event *ev, int n, int ms),
     (fd, ev, n, ms))
int eventfd(unsigned int value, int flags);
CALL(int, -1, eventfd, (unsigned int value, int flags), (value, flags))
CALL(FILE *, NULL, fopen64, (const char *path, const char *mode), (path, mode))
CALL(int, -1, fstat64, (int fd, struct stat64 *st), (fd, st))
CALL(int, -1, fstatfs64, (int fd, struct statfs64 *st), (fd, st))
CALL(pid_t, -1, fork, (void), ())
CALL(int, -1, fputs, (const char *s, FILE *f), (s, f))
CALL(int, -1, ftruncate64, (int fd, off64_t len), (fd, len))
CALL(int, -1, getpeername, (int fd, struct sockaddr *a, socklen_t *n),
     (fd, a, n))
ssize_t getrandom(void *buf, size_t n, unsigned int flags);
CALL(ssize_t, -1, getrandom, (void *buf, size_t n, unsigned int flags),
     (buf, n, flags))
CALL(int, -1, getresuid, (uid_t *real, uid_t *effective, uid_t *saved),
     (real, effective, saved))
CALL(int, -1, getsockname, (int fd, struct sockaddr *a, socklen_t *n),
     (fd, a, n))
CALL(int, -1, getsockopt, (int fd, int l, int o, void *v, socklen_t *n),
     (fd, l, o, v, n))
int inotify_add_watch(int fd, const char *path, uint32_t mask);
CALL(int, -1, inotify_add_watch, (int fd, const char *path, uint32_t mask),
     (fd, path, mask))
int inotify_init1(int flags);
CALL(int, -1, inotify_init1, (int flags), (flags))
CALL(int, -1, lchown, (const char *path, uid_t user, gid_t group),
     (path, user, group))
CALL(int, -1, link, (const char *from, const char *to), (from, to))
CALL(int, -1, listen, (int fd, int n), (fd, n))
CALL(int, -1, lstat64, (const char *path, struct stat64 *st), (path, st))
CALL(int, -1, madvise, (void *p, size_t n, int advice), (p, n, advice))
CALL(int, -1, memfd_create, (const char *name, unsigned int flags),
     (name, flags))
CALL(int, -1, mkdir, (const char *path, mode_t mode), (path, mode))
CALL(int, -1, mlock, (const void *p, size_t n), (p, n))
CALL(void *, MAP_FAILED, mmap64,
     (void *p, size_t n, int prot, int flags, int fd, off64_t off),
     (p, n, prot, flags, fd, off))
CALL(int, -1, munmap, (void *p, size_t n), (p, n))
CALL(DIR *, NULL, opendir, (const char *path), (path))
CALL(int, -1, pipe2, (int fds[2], int flags), (fds, flags))
CALL(int, -1, poll, (struct pollfd *fds, nfds_t n, int ms), (fds, n, ms))
CALL(ssize_t, -1, pread64, (int fd, void *buf, size_t n, off64_t at),
     (fd, buf, n, at))
CALL(ssize_t, -1, read, (int fd, void *buf, size_t n), (fd, buf, n))
CALL(ssize_t, -1, readlink, (const char *path, char *buf, size_t n),
     (path, buf, n))
CALL(ssize_t, -1, recv, (int fd, void *buf, size_t n, int flags),
     (fd, buf, n, flags))
CALL(int, -1, recvmmsg, (int fd, struct mmsghdr *m, unsigned int n, int flags,
                         struct timespec *t), (fd, m, n, flags, t))
CALL(ssize_t, -1, recvmsg, (int fd, struct msghdr *m, int flags),
     (fd, m, flags))
CALL(ssize_t, -1, send, (int fd, const void *buf, size_t n, int flags),
     (fd, buf, n, flags))
CALL(int, -1, sendmmsg, (int fd, struct mmsghdr *m, unsigned int n, int flags),
     (fd, m, n, flags))
CALL(ssize_t, -1, sendmsg, (int fd, const struct msghdr *m, int flags),
     (fd, m, flags))
CALL(ssize_t, -1, sendto, (int fd, const void *buf, size_t n, int flags,
                           const struct sockaddr *a, socklen_t an),
     (fd, buf, n, flags, a, an))
CALL(int, -1, setgroups, (size_t n, const gid_t *groups), (n, groups))
CALL(int, -1, setresgid, (gid_t a, gid_t b, gid_t c), (a, b, c))
CALL(int, -1, setresuid, (uid_t a, uid_t b, uid_t c), (a, b, c))
CALL(pid_t, -1, setsid, (void), ())
CALL(int, -1, setsockopt, (int fd, int l, int o, const void *v, socklen_t n),
     (fd, l, o, v, n))
CALL(int, -1, sigaction, (int n, const struct sigaction *a,
                          struct sigaction *old), (n, a, old))
CALL(int, -1, signalfd, (int fd, const sigset_t *set, int flags),
     (fd, set, flags))
CALL(int, -1, socket, (int family, int type, int protocol),
     (family, type, protocol))
CALL(int, -1, socketpair, (int family, int type, int protocol, int fds[2]),
     (family, type, protocol, fds))
CALL(int, -1, stat64, (const char *path, struct stat64 *st), (path, st))
CALL(int, -1, timer_create, (clockid_t clock, struct sigevent *event,
                             timer_t *timer), (clock, event, timer))
CALL(int, -1, timer_settime, (timer_t timer, int flags,
                              const struct itimerspec *at,
                              struct itimerspec *old), (timer, flags, at, old))
CALL(int, -1, timerfd_create, (int clock, int flags), (clock, flags))
CALL(int, -1, timerfd_settime, (int fd, int flags, const struct itimerspec *at,
                                struct itimerspec *old), (fd, flags, at, old))
CALL(int, -1, uname, (struct utsname *name), (name))
CALL(int, -1, unlink, (const char *path), (path))
CALL(pid_t, -1, waitpid, (pid_t pid, int *status, int flags),
     (pid, status, flags))
CALL(ssize_t, -1, write, (int fd, const void *buf, size_t n), (fd, buf, n))
CALL(ssize_t, -1, writev, (int fd, const struct iovec *iov, int n),
     (fd, iov, n))
/* clang-format on */

int close(int fd)
{
	bool is_failure = fails("close");
	int err = errno, r = NEXT(close)(fd);

	if (!is_failure)
		return r;
	errno = err;
	return -1;
}

/* The functions below pass each variadic argument on as one word. */

int open64(const char *path, int flags, ...)
{
	if (fails("open"))
		return -1;
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0600);
}

int __open64_2(const char *path, int flags)
{
	if (fails("open"))
		return -1;
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0600);
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (fails("ioctl"))
		return -1;
	return (int)syscall(SYS_ioctl, fd, request, arg);
}

int fcntl64(int fd, int op, ...)
{
	va_list args;
	void *arg;

	va_start(args, op);
	arg = va_arg(args, void *);
	va_end(args);
	if (fails("fcntl"))
		return -1;
	return (int)syscall(SYS_fcntl, fd, op, arg);
}

int prctl(int op, ...)
{
	unsigned long words[4];
	va_list args;

	va_start(args, op);
	for (int i = 0; i < 4; i++)
		words[i] = va_arg(args, unsigned long);
	va_end(args);
	/* To set a name fails for a wrong pointer only. */
	if (op != PR_SET_NAME && fails("prctl"))
		return -1;
	return (int)syscall(SYS_prctl, op, words[0], words[1], words[2],
			    words[3]);
}

/* The name of a call that fails; NULL: it does not. liburcu calls syscall(3), too. */
static const char *get_name(long number)
{
	switch (number) {
	case CLOSE_RANGE:
		return "close_range";
	case LANDLOCK_CREATE_RULESET:
		return "landlock";
	case LANDLOCK_ADD_RULE:
		return "landlock_add_rule";
	case LANDLOCK_RESTRICT_SELF:
		return "landlock_restrict_self";
	case MEMFD_SECRET:
		return "memfd_secret";
	case SYS_bpf:
		return "bpf";
	case SYS_capget:
		return "capget";
	case SYS_connect:
		return "connect";
	case SYS_execveat:
		return "execveat";
	case SYS_seccomp:
		return "seccomp";
	case SYS_sendmmsg:
		return "sendmmsg";
	case SYS_write:
		return "write";
	default:
		return NULL;
	}
}

long syscall(long number, ...)
{
	unsigned long words[6];
	const char *name;
	va_list args;
	long result;

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		words[i] = va_arg(args, unsigned long);
	va_end(args);
	name = get_name(number);
	if (name && fails(name))
		return -1;
	result = NEXT(syscall)(number, words[0], words[1], words[2], words[3],
			       words[4], words[5]);
	if (number == CLOSE_RANGE && (unsigned int)words[1] == UINT_MAX &&
	    !is_busy) {
		is_busy = true;
		lend_file();
		is_busy = false;
	}
	return result;
}

/* The two functions below return the error number instead of setting errno. */

int pthread_create(pthread_t *thread, const pthread_attr_t *attr,
		   void *(*main)(void *), void *arg)
{
	int err = get_failure("pthread_create", false);

	return err ? err : NEXT(pthread_create)(thread, attr, main, arg);
}

int posix_memalign(void **p, size_t align, size_t len)
{
	if (fails_to_allocate("posix_memalign"))
		return ENOMEM;
	return NEXT(posix_memalign)(p, align, len);
}

/*
 * The heap. glibc has further names for these functions, which are used here
 * because dlsym(3) itself allocates.
 */
void *__libc_malloc(size_t len);
void *__libc_calloc(size_t n, size_t len);
void *__libc_realloc(void *p, size_t len);

void *malloc(size_t len)
{
	return fails_to_allocate("malloc") ? NULL : __libc_malloc(len);
}

void *calloc(size_t n, size_t len)
{
	return fails_to_allocate("calloc") ? NULL : __libc_calloc(n, len);
}

void *realloc(void *p, size_t len)
{
	return fails_to_allocate("realloc") ? NULL : __libc_realloc(p, len);
}

void *aligned_alloc(size_t align, size_t len)
{
	if (fails_to_allocate("aligned_alloc"))
		return NULL;
	return NEXT(aligned_alloc)(align, len);
}

void *reallocarray(void *p, size_t n, size_t len)
{
	if (fails_to_allocate("reallocarray"))
		return NULL;
	return NEXT(reallocarray)(p, n, len);
}
