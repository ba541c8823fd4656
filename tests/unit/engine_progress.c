/* SPDX-License-Identifier: MIT */
/* Whether threads make progress. There are no threads here: the test beats for them. */
#include "engine/progress.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/now.h"
#include "tests/lib/check.h"

struct fixture {
	struct loop loop;
	struct worker worker;
	struct handshaker handshaker;
	struct progress progress;
	int packets; /* eventfd: readable if a packet waits for the worker */
};

static void begin(struct fixture *f)
{
	struct epoll_event ev = { .events = EPOLLIN };

	memset(f, 0, sizeof(*f));
	log_init(LOG_SILENT, "");
	assert_int_equal(loop_init(&f->loop), 0);
	f->packets = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->worker.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	assert_int_equal(
		epoll_ctl(f->worker.epoll_fd, EPOLL_CTL_ADD, f->packets, &ev),
		0);
	f->worker.helpers.n = 2;
	pthread_mutex_init(&f->worker.helpers.mutex, NULL);
	pthread_mutex_init(&f->handshaker.mutex, NULL);
	progress_init(&f->progress, &f->worker, &f->handshaker, &f->loop);
	assert_null(progress_look(&f->progress));
}

static void end(struct fixture *f)
{
	progress_deinit(&f->progress);
	pthread_mutex_destroy(&f->handshaker.mutex);
	pthread_mutex_destroy(&f->worker.helpers.mutex);
	close(f->worker.epoll_fd);
	close(f->packets);
	loop_deinit(&f->loop);
}

static void check_stalled(struct fixture *f, const char *name)
{
	assert_null(progress_look(&f->progress));
	for (int i = 0; i < 3; i++) {
		const char *found = progress_look(&f->progress);

		assert_non_null(found);
		assert_string_equal(found, name);
	}
}

static void stop_loop(struct loop_timer *timer)
{
	loop_stop(timer->arg, 0);
}

/* Let the loop handle what is ready. */
static void run_loop(struct fixture *f)
{
	struct loop_timer timer = { .ready = stop_loop, .arg = &f->loop };

	loop_set_timer(&f->loop, &timer, now_monotonic() + NSEC_PER_MSEC);
	assert_int_equal(loop_run(&f->loop), 0);
	f->loop.is_stopped = false;
}

static void sleep_is_progress(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	for (int i = 0; i < 5; i++) {
		assert_null(progress_look(&f.progress));
		run_loop(&f);
	}
	end(&f);
}

static void turns_are_progress(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	for (int i = 0; i < 5; i++) {
		pulse_turn(&f.worker.pulse);
		pulse_turn(&f.worker.helpers.all[0].pulse);
		pulse_turn(&f.handshaker.pulse);
		assert_null(progress_look(&f.progress));
	}
	/* They go to sleep. */
	pulse_rest(&f.worker.pulse);
	pulse_rest(&f.worker.helpers.all[0].pulse);
	pulse_rest(&f.handshaker.pulse);
	for (int i = 0; i < 5; i++)
		assert_null(progress_look(&f.progress));
	end(&f);
}

static void stopped_at_work(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	pulse_turn(&f.worker.pulse);
	check_stalled(&f, "worker");
	pulse_turn(&f.worker.pulse);
	assert_null(progress_look(&f.progress));
	pulse_rest(&f.worker.pulse);
	assert_null(progress_look(&f.progress));
	/* The first helper goes on, and the second does not. */
	pulse_turn(&f.worker.helpers.all[1].pulse);
	check_stalled(&f, "helper");
	pulse_turn(&f.worker.helpers.all[0].pulse);
	assert_string_equal(progress_look(&f.progress), "helper");
	pulse_rest(&f.worker.helpers.all[0].pulse);
	pulse_rest(&f.worker.helpers.all[1].pulse);
	assert_null(progress_look(&f.progress));
	pulse_turn(&f.handshaker.pulse);
	check_stalled(&f, "handshaker");
	end(&f);
}

static void packets_for_a_sleeper(void **state)
{
	struct fixture f;
	uint64_t n;

	(void)state;
	begin(&f);
	assert_null(progress_look(&f.progress));
	assert_int_equal(eventfd_write(f.packets, 1), 0);
	run_loop(&f);
	check_stalled(&f, "worker");
	/* The worker takes the packet, and sleeps again. */
	pulse_turn(&f.worker.pulse);
	assert_int_equal(read(f.packets, &n, sizeof(n)), sizeof(n));
	pulse_rest(&f.worker.pulse);
	for (int i = 0; i < 3; i++) {
		assert_null(progress_look(&f.progress));
		run_loop(&f);
	}
	/* The next packet is seen, too. */
	assert_int_equal(eventfd_write(f.packets, 1), 0);
	run_loop(&f);
	check_stalled(&f, "worker");
	end(&f);
}

static void calls_for_sleepers(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	f.worker.helpers.n_called = 1;
	check_stalled(&f, "helper");
	f.worker.helpers.n_called = 0;
	assert_null(progress_look(&f.progress));
	f.handshaker.is_poked = true;
	check_stalled(&f, "handshaker");
	f.handshaker.is_poked = false;
	assert_null(progress_look(&f.progress));
	f.handshaker.waiting.n = 1;
	check_stalled(&f, "handshaker");
	f.handshaker.waiting.n = 0;
	assert_null(progress_look(&f.progress));
	f.handshaker.asked.n = 1;
	check_stalled(&f, "handshaker");
	end(&f);
}

/* A thread was stopped while it had a lock. The look does not wait for it. */
static void stopped_with_a_lock(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	pthread_mutex_lock(&f.handshaker.mutex);
	check_stalled(&f, "handshaker");
	pthread_mutex_unlock(&f.handshaker.mutex);
	assert_null(progress_look(&f.progress));
	pthread_mutex_lock(&f.worker.helpers.mutex);
	check_stalled(&f, "helper");
	pthread_mutex_unlock(&f.worker.helpers.mutex);
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sleep_is_progress),
		cmocka_unit_test(turns_are_progress),
		cmocka_unit_test(stopped_at_work),
		cmocka_unit_test(packets_for_a_sleeper),
		cmocka_unit_test(calls_for_sleepers),
		cmocka_unit_test(stopped_with_a_lock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
