/* SPDX-License-Identifier: MIT */
/* The messages to a service manager, which is this test. */
#include "cli/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/now.h"
#include "tests/lib/check.h"

enum {
	/* More than any message. */
	TEXT_CAP = 512,
	/* Time for messages that are to come. A choice. */
	PATIENCE_MS = 20000,
};

/* The service manager, and the daemon. */
struct fixture {
	int fd;
	char directory[32];
	char path[64];
	char text[TEXT_CAP];
	struct loop loop;
	struct notify notify;
	const char *doing;
	const char *stalled;
};

static void print_status(void *arg, char *buf, size_t cap)
{
	const struct fixture *f = arg;

	snprintf(buf, cap, "%s", f->doing);
}

static const char *find_stalled(void *arg)
{
	const struct fixture *f = arg;

	return f->stalled;
}

static const struct notify_ops ops = { .print_status = print_status,
				       .find_stalled = find_stalled };

static void listen_at(struct fixture *f)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	memset(f, 0, sizeof(*f));
	log_init(LOG_SILENT, "");
	f->doing = "something";
	strcpy(f->directory, "/tmp/notify-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	snprintf(f->path, sizeof(f->path), "%s/socket", f->directory);
	snprintf(at.sun_path, sizeof(at.sun_path), "%s", f->path);
	f->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(f->fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(loop_init(&f->loop), 0);
}

static void begin(struct fixture *f, uint64_t watchdog_us)
{
	listen_at(f);
	assert_int_equal(notify_open(&f->notify, f->path, watchdog_us), 0);
	notify_start(&f->notify, &f->loop, &ops, f);
}

static void end(struct fixture *f)
{
	notify_close(&f->notify);
	assert_null(f->loop.timers);
	loop_deinit(&f->loop);
	close(f->fd);
	unlink(f->path);
	rmdir(f->directory);
}

static void stop_loop(struct loop_timer *timer)
{
	loop_stop(timer->arg, 0);
}

static void run_loop(struct fixture *f, uint64_t ms)
{
	struct loop_timer timer = { .ready = stop_loop, .arg = &f->loop };

	loop_set_timer(&f->loop, &timer, now_monotonic() + ms * NSEC_PER_MSEC);
	assert_int_equal(loop_run(&f->loop), 0);
	f->loop.is_stopped = false;
}

/* Is a message there? If so, it is in f->text. */
static bool has_message(struct fixture *f)
{
	ssize_t n = recv(f->fd, f->text, sizeof(f->text) - 1, MSG_DONTWAIT);

	f->text[n > 0 ? n : 0] = 0;
	return n > 0;
}

/* Run the loop until a message comes, which must be this one. */
static void expect(struct fixture *f, const char *text)
{
	for (int ms = 0; !has_message(f) && ms < PATIENCE_MS; ms += 10)
		run_loop(f, 10);
	assert_string_equal(f->text, text);
}

static void ready_and_status(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, 0);
	/* Before the daemon is ready it has no status. */
	notify_change(&f.notify);
	assert_false(has_message(&f));
	notify_ready(&f.notify, 0);
	expect(&f, "READY=1");
	expect(&f, "STATUS=something");
	/* Nothing is sent if nothing has changed. */
	notify_change(&f.notify);
	run_loop(&f, 1100);
	assert_false(has_message(&f));
	notify_stopping(&f.notify);
	expect(&f, "STOPPING=1\nSTATUS=ending");
	end(&f);
}

/* Begin and end in one message; of many in a second the last is told. */
static void reloaded(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, 0);
	notify_reloaded(&f.notify, 1);
	notify_ready(&f.notify, 0);
	expect(&f, "READY=1");
	expect(&f, "STATUS=something");
	f.doing = "something else";
	for (uint64_t us = 1; us <= 5; us++)
		notify_reloaded(&f.notify, us * 1000);
	expect(&f, "RELOADING=1\nMONOTONIC_USEC=5\nREADY=1");
	expect(&f, "STATUS=something else");
	run_loop(&f, 1100);
	assert_false(has_message(&f));
	end(&f);
}

/* The last of many changes is told, and the others only if a second has passed. */
static void status_is_limited(void **state)
{
	static const char *const texts[] = { "this", "that" };
	uint64_t start = now_monotonic(), seconds;
	unsigned int n = 0;
	struct fixture f;

	(void)state;
	begin(&f, 0);
	notify_ready(&f.notify, 0);
	expect(&f, "READY=1");
	for (int i = 0; i < 220; i++) {
		f.doing = texts[i % 2];
		notify_change(&f.notify);
		run_loop(&f, 10);
		n += has_message(&f);
	}
	f.doing = "the last one";
	notify_change(&f.notify);
	expect(&f, "STATUS=the last one");
	seconds = (now_monotonic() - start) / NSEC_PER_SEC;
	if (n + 1 > seconds + 1)
		fail_msg("%u messages in %u s", n + 1, (unsigned int)seconds);
	assert_true(n > 1);
	end(&f);
}

static void as_a_daemon(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, 0);
	notify_ready(&f.notify, 4711);
	expect(&f, "READY=1\nMAINPID=4711");
	end(&f);
}

static void failure(void **state)
{
	char text[2 * NOTIFY_STATUS_CAP];
	struct fixture f;

	(void)state;
	begin(&f, 0);
	notify_failure(&f.notify, "no tunnels today", -EBUSY);
	expect(&f, "STATUS=no tunnels today\nERRNO=16");
	notify_failure(&f.notify, "no tunnels today", 0);
	expect(&f, "STATUS=no tunnels today");
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	notify_failure(&f.notify, text, -EBUSY);
	assert_true(has_message(&f));
	assert_string_equal(f.text + strlen("STATUS=") + NOTIFY_STATUS_CAP - 1,
			    "\nERRNO=16");
	end(&f);
}

static void watchdog(void **state)
{
	struct fixture f;
	uint64_t start;

	(void)state;
	begin(&f, 100000);
	notify_ready(&f.notify, 0);
	expect(&f, "READY=1");
	expect(&f, "STATUS=something");
	start = now_monotonic();
	for (int i = 0; i < 5; i++)
		expect(&f, "WATCHDOG=1");
	/* Five halves of 100 ms; the first one may have begun before. */
	assert_true(now_monotonic() - start >= 200 * NSEC_PER_MSEC);
	f.stalled = "worker";
	do {
		run_loop(&f, 60);
		/* One may have been sent before. */
	} while (has_message(&f) && strcmp(f.text, "WATCHDOG=1") == 0);
	if (!*f.text)
		expect(&f, "STATUS=the worker makes no progress");
	assert_string_equal(f.text, "STATUS=the worker makes no progress");
	run_loop(&f, 300);
	assert_false(has_message(&f));
	f.stalled = NULL;
	expect(&f, "WATCHDOG=1");
	end(&f);
}

/* A message that was left out is sent as soon as all goes on. */
static void goes_on(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, 1000000);
	notify_ready(&f.notify, 0);
	expect(&f, "READY=1");
	expect(&f, "STATUS=something");
	notify_go_on(&f.notify);
	assert_false(has_message(&f));
	f.stalled = "worker";
	expect(&f, "STATUS=the worker makes no progress");
	f.stalled = NULL;
	notify_go_on(&f.notify);
	assert_true(has_message(&f));
	assert_string_equal(f.text, "WATCHDOG=1");
	notify_go_on(&f.notify);
	assert_false(has_message(&f));
	end(&f);
}

/* Without a service manager, but with a time, the question is asked. */
static void nobody_to_tell(void **state)
{
	struct fixture f;

	(void)state;
	listen_at(&f);
	assert_int_equal(notify_open(&f.notify, NULL, 100000), 0);
	notify_start(&f.notify, &f.loop, &ops, &f);
	notify_ready(&f.notify, 0);
	f.stalled = "worker";
	for (int ms = 0; !*f.notify.stalled && ms < PATIENCE_MS; ms += 10)
		run_loop(&f, 10);
	assert_string_equal(f.notify.stalled, "worker");
	notify_stopping(&f.notify);
	notify_failure(&f.notify, "no tunnels today", 0);
	assert_false(has_message(&f));
	end(&f);
}

/* Send as many messages as one socket can. Return: their number. */
static unsigned int fill_queue(struct fixture *f)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	unsigned int n = 0;

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", f->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	while (send(fd, "x", 1, 0) > 0)
		n++;
	assert_int_equal(errno, EAGAIN);
	close(fd);
	return n;
}

/* The service manager does not read. Its queue is full, so messages come later. */
static void full_queue(void **state)
{
	unsigned int n = 0;
	struct fixture f;

	(void)state;
	begin(&f, 0);
	/* A sender may fill its own buffer first, so it takes several. */
	for (unsigned int sent; (sent = fill_queue(&f)) > 0;)
		n += sent;
	notify_ready(&f.notify, 0);
	run_loop(&f, 250);
	for (; n; n--) {
		assert_true(has_message(&f));
		assert_string_equal(f.text, "x");
	}
	expect(&f, "READY=1");
	expect(&f, "STATUS=something");
	end(&f);
}

/* The service manager goes away. Nothing happens. */
static void receiver_gone(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, 20000);
	close(f.fd);
	notify_ready(&f.notify, 0);
	run_loop(&f, 100);
	notify_stopping(&f.notify);
	f.fd = -1;
	end(&f);
}

static void addresses(void **state)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	char name[64], missing[80];
	struct fixture f;
	struct notify n;
	int fd;

	(void)state;
	assert_int_equal(notify_open(&n, NULL, 0), 0);
	assert_int_equal(n.fd, -1);
	notify_ready(&n, 0);
	notify_change(&n);
	notify_failure(&n, "nobody is told", 0);
	notify_stopping(&n);
	notify_close(&n);
	listen_at(&f);
	snprintf(missing, sizeof(missing), "%s/none", f.directory);
	assert_int_equal(notify_open(&n, missing, 0), -ENOENT);
	assert_int_equal(n.fd, -1);

	/* An abstract name has no 0 at its end. */
	snprintf(name, sizeof(name), "@notify-test-%ld", (long)getpid());
	snprintf(at.sun_path, sizeof(at.sun_path), "%s", name);
	at.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(
		bind(fd, (struct sockaddr *)&at,
		     (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
				 strlen(name))),
		0);
	assert_int_equal(notify_open(&n, name, 0), 0);
	notify_stopping(&n);
	assert_true(recv(fd, f.text, sizeof(f.text), MSG_DONTWAIT) > 0);
	notify_close(&n);
	close(fd);
	end(&f);
}

/* Half of the time is used, within bounds. */
static void periods(void **state)
{
	static const struct {
		uint64_t us, ns;
	} table[] = {
		{ 0, 0 },
		{ 1, 10 * NSEC_PER_MSEC },
		{ 30000000, 15 * NSEC_PER_SEC },
		{ UINT64_MAX - 1, 24 * 3600 * NSEC_PER_SEC },
	};
	struct fixture f;

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		begin(&f, table[i].us);
		assert_int_equal(f.notify.period_ns, table[i].ns);
		end(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ready_and_status),
		cmocka_unit_test(reloaded),
		cmocka_unit_test(status_is_limited),
		cmocka_unit_test(as_a_daemon),
		cmocka_unit_test(failure),
		cmocka_unit_test(watchdog),
		cmocka_unit_test(goes_on),
		cmocka_unit_test(nobody_to_tell),
		cmocka_unit_test(full_queue),
		cmocka_unit_test(receiver_gone),
		cmocka_unit_test(addresses),
		cmocka_unit_test(periods),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
