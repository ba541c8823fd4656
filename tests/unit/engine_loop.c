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

static void stop_loop(struct loop_watch *watch, uint32_t events)
{
	(void)watch;
	(void)events;
	loop_stop(&loop, 5);
}

/* A descriptor whose removal has failed is watched by the watch that comes later. */
static void added_again(void **state)
{
	(void)state;
	begin();
	open_watch(&bad, fail_often);
	good = (struct loop_watch){ .fd = bad.fd, .ready = stop_loop };
	assert_int_equal(loop_add(&loop, &good, EPOLLIN), 0);
	assert_int_equal(loop_run(&loop), 5);
	assert_int_equal(n_bad, 0);
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

static unsigned int n_timers;

static void fail_timer(struct loop_timer *timer)
{
	(void)timer;
	fail_msg("a timer is called too early, or after it was cleared");
}

static void stop_soon(struct loop_timer *timer)
{
	(void)timer;
	loop_stop(&loop, 3);
}

/* Called again each millisecond; clears another timer. */
static void tick(struct loop_timer *timer)
{
	if (++n_timers == 3)
		loop_clear_timer(&loop, timer->arg);
	loop_set_timer(&loop, timer, now_monotonic() + NSEC_PER_MSEC);
}

/* Timers end the wait of the loop, in the order of their points. A timer can be moved
 * and cleared. */
static void timers(void **state)
{
	struct loop_timer late = { .ready = fail_timer };
	struct loop_timer cleared = { .ready = fail_timer };
	struct loop_timer moved = { .ready = stop_soon };
	struct loop_timer again = { .ready = tick, .arg = &cleared };
	uint64_t start = now_monotonic();

	(void)state;
	begin();
	n_timers = 0;
	loop_set_timer(&loop, &late, UINT64_MAX);
	loop_set_timer(&loop, &cleared, start + 3600 * NSEC_PER_SEC);
	loop_set_timer(&loop, &moved, start + 3600 * NSEC_PER_SEC);
	loop_set_timer(&loop, &moved, start + 20 * NSEC_PER_MSEC);
	loop_set_timer(&loop, &again, start);
	assert_int_equal(loop_run(&loop), 3);
	assert_true(now_monotonic() - start >= 20 * NSEC_PER_MSEC);
	assert_true(n_timers >= 1);
	assert_false(moved.is_set);
	assert_true(late.is_set);
	loop_clear_timer(&loop, &again);
	loop_clear_timer(&loop, &cleared);
	loop_clear_timer(&loop, &late);
	/* One that is not set can be cleared. */
	loop_clear_timer(&loop, &moved);
	assert_null(loop.timers);
	loop_deinit(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pauses_grow), cmocka_unit_test(others_go_on),
		cmocka_unit_test(modified),    cmocka_unit_test(added_again),
		cmocka_unit_test(timers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
