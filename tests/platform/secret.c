/* SPDX-License-Identifier: MIT */
/*
 * Properties of memory from memfd_secret(2): MADV_DONTFORK keeps it from a
 * child. MADV_WIPEONFORK is refused, because the mapping is shared. The memory
 * never grows. Its descriptor passes to another process over a socket, and through
 * execve(2); then the memory outlives the process that has made it. read(2) cannot read
 * it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/syscalls.h"
#include "tests/lib/skip.h"
#include "tests/lib/check.h"
#include "tests/platform/datagram.h"

static size_t page_len;

/* A region of two pages. */
struct region {
	int fd;
	uint8_t *bytes;
	size_t len;
};

static int secret_open(void)
{
	return (int)syscall(SYS_memfd_secret, 0);
}

static void region_open(struct region *r)
{
	r->len = 2 * page_len;
	r->fd = secret_open();
	assert_true(r->fd >= 0);
	assert_int_equal(ftruncate(r->fd, (off_t)r->len), 0);
	r->bytes = mmap(NULL, r->len, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
			0);
	assert_ptr_not_equal(r->bytes, MAP_FAILED);
	memset(r->bytes, 0x5a, r->len);
}

static void region_close(struct region *r)
{
	munmap(r->bytes, r->len);
	close(r->fd);
}

/* Whether a child of fork(2) has the memory at @p: 0 or 1. */
static int child_has(const void *p)
{
	int fds[2], status;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* write(2) tests the address without a signal if it is not
		 * mapped. */
		if (write(fds[1], p, 1) == 1)
			_exit(1);
		_exit(errno == EFAULT ? 0 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(fds[0]);
	close(fds[1]);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_dontfork_keeps_it_from_a_child(void **state)
{
	struct region r;

	(void)state;
	region_open(&r);
	assert_int_equal(child_has(r.bytes), 1);
	assert_int_equal(madvise(r.bytes, r.len, MADV_DONTFORK), 0);
	assert_int_equal(child_has(r.bytes), 0);
	assert_int_equal(r.bytes[0], 0x5a);
	region_close(&r);
}

static void test_wipeonfork_is_refused(void **state)
{
	struct region r;
	int err;

	(void)state;
	region_open(&r);
	err = madvise(r.bytes, r.len, MADV_WIPEONFORK) ? errno : 0;
	seen(err == EINVAL, "MADV_WIPEONFORK gives %s",
	     err ? strerror(err) : "no error");
	region_close(&r);
}

static void test_growing_is_refused(void **state)
{
	struct region r;
	int err;

	(void)state;
	region_open(&r);
	err = ftruncate(r.fd, (off_t)(r.len + page_len)) ? errno : 0;
	seen(err == EINVAL, "a second ftruncate gives %s",
	     err ? strerror(err) : "no error");
	region_close(&r);
}

/* A mapping may become longer, but gets no memory behind its old end. */
static void test_longer_mapping_has_no_more_memory(void **state)
{
	struct region r;
	void *p;

	(void)state;
	region_open(&r);
	p = mremap(r.bytes, r.len, r.len + page_len, MREMAP_MAYMOVE);
	seen(p != MAP_FAILED, "mremap to more gives %s",
	     p == MAP_FAILED ? strerror(errno) : "a longer mapping");
	if (p != MAP_FAILED) {
		r.bytes = p;
		assert_int_equal(child_has(r.bytes + r.len - 1), 1);
		assert_int_equal(child_has(r.bytes + r.len), 0);
		r.len += page_len;
	}
	region_close(&r);
}

static void send_fd(int sock, int fd)
{
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	if (sendmsg(sock, &msg, 0) != 1)
		_exit(2);
}

static int receive_fd(int sock)
{
	char byte;
	struct iovec iov = { &byte, 1 };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	const struct cmsghdr *cmsg;
	int fd = -1;

	assert_int_equal(recvmsg(sock, &msg, 0), 1);
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg)
		memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	assert_true(fd >= 0);
	return fd;
}

/* A child makes the memory, passes its descriptor, and is killed. */
static void test_outlives_its_maker(void **state)
{
	int socks[2], status, fd;
	uint8_t *bytes, byte;
	pid_t pid;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, socks), 0);
	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct region r;

		region_open(&r);
		send_fd(socks[1], r.fd);
		abort();
	}
	fd = receive_fd(socks[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	bytes = mmap(NULL, 2 * page_len, PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(bytes, MAP_FAILED);
	seen(bytes[0] == 0x5a && bytes[2 * page_len - 1] == 0x5a,
	     "after the death of its maker the memory has %#x", bytes[0]);
	assert_true(read(fd, &byte, 1) < 0);
	print_message("# read gives %s\n", strerror(errno));
	munmap(bytes, 2 * page_len);
	close(fd);
	close(socks[0]);
	close(socks[1]);
}

static char *own_path;

/* What another program finds behind a descriptor: the exit status. */
static int look_behind(const char *number)
{
	const uint8_t *bytes =
		mmap(NULL, 1, PROT_READ, MAP_SHARED, atoi(number), 0);

	return bytes == MAP_FAILED ? 1 : bytes[0];
}

static void test_passes_execve(void **state)
{
	struct region r;
	char number[16];
	int status;
	pid_t pid;

	(void)state;
	region_open(&r);
	snprintf(number, sizeof(number), "%d", r.fd);
	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		execl(own_path, own_path, number, (char *)NULL);
		_exit(2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	seen(WIFEXITED(status) && WEXITSTATUS(status) == 0x5a,
	     "another program finds %#x", (unsigned int)WEXITSTATUS(status));
	region_close(&r);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dontfork_keeps_it_from_a_child),
		cmocka_unit_test(test_wipeonfork_is_refused),
		cmocka_unit_test(test_growing_is_refused),
		cmocka_unit_test(test_longer_mapping_has_no_more_memory),
		cmocka_unit_test(test_outlives_its_maker),
		cmocka_unit_test(test_passes_execve),
	};
	int fd;

	if (argc > 1)
		return look_behind(argv[1]);
	own_path = argv[0];
	fd = secret_open();

	/* A kernel that has the call, but was started with secretmem.enable=0,
	 * returns ENOSYS, too. */
	if (fd < 0)
		skip_program("this kernel has no memfd_secret");
	close(fd);
	page_len = (size_t)sysconf(_SC_PAGESIZE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
