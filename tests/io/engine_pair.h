/* SPDX-License-Identifier: MIT */
/*
 * Two engines in one process, with a tunnel between them over loopback. Each program
 * that includes this header has its own. The main thread is their control thread.
 */
#ifndef TESTS_IO_ENGINE_PAIR_H
#define TESTS_IO_ENGINE_PAIR_H

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/now.h"
#include "crypto/x25519.h"
#include "device/config.h"
#include "engine/endpoint.h"
#include "engine/engine.h"
#include "tests/lib/check.h"

enum {
	/* Enough for a busy machine and a sanitizer. A choice, not measured. */
	PATIENCE_S = 60,
};

/**
 * struct side - an engine, and the other end of its TUN
 * @rights:	what the engine opens sockets by
 * @news:	of the engine: the test tells it news
 * @news_arg:	for @news
 * @tun:	its TUN
 * @outside:	the other end of it
 * @engine:	the engine
 * @n_opened:	sockets that were opened by @rights
 * @n_closed:	sockets that were closed by @rights
 * @public_key:	of the engine
 * @n_sent:	packets that the producer has given to the TUN
 * @n_got:	packets that have come out of the TUN
 */
struct side {
	struct rights rights;
	const struct rights_news *news;
	void *news_arg;
	struct tun tun;
	int outside;
	struct engine *engine;
	unsigned int n_opened;
	unsigned int n_closed;
	uint8_t public_key[X25519_LEN];
	_Atomic uint32_t n_sent;
	_Atomic uint32_t n_got;
};

static struct loop loop;
static struct side sides[2];
/* ------------------------------------------------------------- the rights */

static inline int op_start(void *arg, const struct rights_news *news,
			   void *news_arg)
{
	struct side *s = arg;

	s->news = news;
	s->news_arg = news_arg;
	return 0;
}

static inline void op_stop(void *arg)
{
	(void)arg;
}

static inline int op_open(void *arg, const struct ug_options *opt,
			  struct ug_socket **out, struct ug_report *report)
{
	struct side *s = arg;
	int err = ug_open(out, opt, report);

	s->n_opened += err == 0;
	return err;
}

static inline void op_close(void *arg, struct ug_socket *sock)
{
	struct side *s = arg;

	s->n_closed++;
	ug_close(sock);
}

static inline int op_set_mark(void *arg, struct ug_socket *sock, uint32_t mark)
{
	(void)arg;
	return ug_set_mark(sock, mark);
}

static inline void op_ask(void *arg, uint32_t mark,
			  const struct rights_question *questions,
			  struct rights_answer *answers, unsigned int n)
{
	(void)arg;
	(void)mark;
	(void)questions;
	for (unsigned int i = 0; i < n; i++)
		answers[i] = (struct rights_answer){ .kind = RIGHTS_UNKNOWN };
}

static const struct rights_ops rights_ops = {
	.start = op_start,
	.stop = op_stop,
	.open = op_open,
	.close = op_close,
	.set_mark = op_set_mark,
	.ask = op_ask,
};

static inline void tell_link(struct side *s, enum link_event event)
{
	struct link_state state;

	link_state_init(&state, 1, "fake0");
	state.mtu = 1420;
	state.up = event == LINK_UP;
	s->news->state(s->news_arg, &state);
	s->news->link(s->news_arg, event);
}

/* ------------------------------------------------------------ the engines */

/* @tun: borrowed; NULL: the TUN is one end of a pair of sockets, and @outside the other */
static inline void open_side(struct side *s, struct tun *tun,
			     unsigned int n_workers, bool is_eager,
			     bool is_paused)
{
	struct engine_config config = {
		.tuns = tun ? tun : &s->tun,
		.n_queues = 1,
		.loop = &loop,
		.aead = AEAD_BEST,
		.n_workers = n_workers,
		.helpers_awake = is_eager,
		.rights = &s->rights,
		.is_paused = is_paused,
	};
	int pair[2];

	memset(s, 0, sizeof(*s));
	s->rights = (struct rights){ .ops = &rights_ops, .arg = s };
	s->outside = -1;
	if (!tun) {
		assert_int_equal(socketpair(AF_UNIX,
					    SOCK_SEQPACKET | SOCK_NONBLOCK, 0,
					    pair),
				 0);
		s->tun = (struct tun){ .sys = &tun_sys_linux, .fd = pair[0] };
		s->outside = pair[1];
	}
	assert_int_equal(engine_new(&s->engine, &config), 0);
	assert_int_equal(engine_start(s->engine), 0);
}

static inline void close_side(struct side *s)
{
	engine_close_port(s->engine);
	engine_free(s->engine);
	close(s->outside);
}

static inline void set_key(struct side *s, uint8_t number)
{
	uint8_t key[X25519_LEN] = { [1] = number };

	x25519_clamp(key);
	x25519_public(s->public_key, key);
	device_set_private_key(engine_get_device(s->engine), key);
}

/* The peer has all addresses. */
static inline void add_peer(struct side *s, const struct side *other)
{
	struct ip_prefix all4 = { .family = IP_V4 };
	struct ip_prefix all6 = { .family = IP_V6 };
	struct config *config = config_new();
	struct device_endpoint to;
	struct ug_endpoint ep;
	char text[UG_ENDPOINT_TEXT];

	snprintf(text, sizeof(text), "127.0.0.1:%u",
		 engine_get_device(other->engine)->listen_port);
	assert_int_equal(ug_endpoint_parse(&ep, text), 0);
	endpoint_to_device(&to, &ep);
	assert_non_null(config);
	assert_int_equal(config_begin_peer(config, other->public_key), 0);
	assert_int_equal(config_set_endpoint(config, &to), 0);
	assert_int_equal(config_add_allowedip(config, &all4), 0);
	assert_int_equal(config_add_allowedip(config, &all6), 0);
	assert_int_equal(config_apply(config, engine_get_device(s->engine),
				      now_boottime()),
			 0);
	config_free(config);
}

/* @tuns: as for open_side() */
static inline void open_tunnel(struct tun *const tuns[2],
			       unsigned int n_workers, bool is_eager)
{
	for (uint8_t i = 0; i < 2; i++) {
		open_side(&sides[i], tuns[i], n_workers, is_eager, false);
		set_key(&sides[i], (uint8_t)(i + 1));
		tell_link(&sides[i], LINK_UP);
	}
	for (int i = 0; i < 2; i++)
		add_peer(&sides[i], &sides[!i]);
}

/* The second engine rests while the first one ends the thread "rcu" for both. */
static inline void close_tunnel(void)
{
	assert_int_equal(
		engine_pause(sides[1].engine, PATIENCE_S * NSEC_PER_SEC), 0);
	close_side(&sides[0]);
	close_side(&sides[1]);
}

static inline void stop_loop(struct loop_timer *timer)
{
	loop_stop(timer->arg, 0);
}

/* Let the loop handle what is ready. */
static inline void run_loop(uint64_t ns)
{
	struct loop_timer timer = { .ready = stop_loop, .arg = &loop };

	loop_set_timer(&loop, &timer, now_monotonic() + ns);
	assert_int_equal(loop_run(&loop), 0);
	loop.is_stopped = false;
}

/* Return: the sum of the numbers whose names begin with @prefix. */
struct sum {
	const char *prefix;
	uint64_t value;
};

static inline void add_up(void *arg, const char *name, uint64_t value)
{
	struct sum *sum = arg;

	if (strncmp(name, sum->prefix, strlen(sum->prefix)) == 0)
		sum->value += value;
}

static inline uint64_t count(const struct side *s, const char *prefix)
{
	struct sum sum = { .prefix = prefix };

	engine_each_counter(s->engine, add_up, &sum);
	return sum.value;
}

/* -------------------------------------------------------------- times */

static inline void nap(uint64_t ns)
{
	const struct timespec pause = { .tv_nsec = (long)ns };

	nanosleep(&pause, NULL);
}

static inline int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Print how long @n pauses took to begin; @ns is sorted. */
static inline void print_pauses(uint64_t *ns, unsigned int n)
{
	qsort(ns, n, sizeof(*ns), compare);
	print_message("# a pause begins in: median %llu us, 99th percentile "
		      "%llu us, most %llu us\n",
		      (unsigned long long)ns[n / 2] / 1000,
		      (unsigned long long)ns[n - 1 - n / 100] / 1000,
		      (unsigned long long)ns[n - 1] / 1000);
}

#endif /* TESTS_IO_ENGINE_PAIR_H */
