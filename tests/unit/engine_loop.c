/* SPDX-License-Identifier: MIT */
/* A descriptor that is ready but cannot be read is left alone for a while. */
#include "engine/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/now.h"
#include "tests/lib/check.h"

enum {
	/* The pauses between the 6 calls are 10, 20, 40, 80 and 160 ms. */
	CALLS = 6,
	SUM_MS = 310,
};

static struct loop loop;
static struct loop_watch bad, good;
static unsigned int n_bad, n_good;
static uint64_t first_ns, last_ns;

static void open_watch(struct loop_watch *watch,
		       void (*ready)(struct loop_watch *, uint32_t))
{
	*watch = (struct loop_watch){ .fd = eventfd(1, EFD_NONBLOCK),
				      .ready = ready };
	assert_true(watch->fd >= 0);
	assert_int_equal(loop_add(&loop, watch, EPOLLIN), 0);
}

static void begin(void)
{
	log_init(LOG_SILENT, "");
	n_bad = n_good = 0;
	assert_int_equal(loop_init(&loop), 0);
}

static void end(void)
{
	loop_remove(&loop, &bad);
	close(bad.fd);
	loop_deinit(&loop);
}

static void fail_often(struct loop_watch *watch, uint32_t events)
{
	assert_int_equal(events, EPOLLIN);
	last_ns = now_monotonic();
	if (!n_bad++)
		first_ns = last_ns;
	loop_fail(&loop, watch, "test", -EIO);
	/* A second loop_fail() in the same call changes nothing. */
	loop_fail(&loop, watch, "test", -EIO);
	if (n_bad == CALLS)
		loop_stop(&loop, 7);
}

static void pauses_grow(void **state)
{
	(void)state;
	begin();
	open_watch(&bad, fail_often);
	assert_int_equal(loop_run(&loop), 7);
	assert_int_equal(n_bad, CALLS);
	assert_true(last_ns - first_ns >= SUM_MS * NSEC_PER_MSEC);
	end();
}

static void serve_other(struct loop_watch *watch, uint32_t events)
{
	uint64_t n;

	(void)events;
	n_good++;
	assert_int_equal(read(watch->fd, &n, sizeof(n)), sizeof(n));
	if (n_good == 3)
		loop_stop(&loop, 0);
	n = 1;
	assert_int_equal(write(watch->fd, &n, sizeof(n)), sizeof(n));
}

static void fail_once(struct loop_watch *watch, uint32_t events)
{
	(void)events;
	n_bad++;
	loop_fail(&loop, watch, "test", -EIO);
	open_watch(&good, serve_other);
}

/* Other watches are served in a pause. A watch that rests may be removed. */
static void others_go_on(void **state)
{
	(void)state;
	begin();
	open_watch(&bad, fail_once);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(n_bad, 1);
	assert_int_equal(n_good, 3);
	loop_remove(&loop, &good);
	close(good.fd);
	assert_true(bad.is_resting);
	end();
	assert_null(loop.resting);
	assert_false(bad.is_resting);
}

static void modify_resting(struct loop_watch *watch, uint32_t events)
{
	if (!n_bad++) {
		loop_fail(&loop, watch, "test", -EIO);
		assert_int_equal(loop_modify(&loop, watch, EPOLLOUT), 0);
		return;
	}
	assert_int_equal(events, EPOLLOUT);
	loop_stop(&loop, 0);
}

/* After its pause a watch gets the events that were last asked for. */
static void modified(void **state)
{
	(void)state;
	begin();
	open_watch(&bad, modify_resting);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(n_bad, 2);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pauses_grow),
		cmocka_unit_test(others_go_on),
		cmocka_unit_test(modified),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
