/* SPDX-License-Identifier: MIT */
#include "fuzz/engine_world.h"

#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "crypto/init.h"
#include "device/config.h"
#include "engine/endpoint.h"
#include "fuzz/fuzz.h"
#include "tests/lib/quiet_ops.h"
#include "udpgather/socket.h"

enum {
	/* A number that no open file has. */
	FD = 1004,
	/* Batches of a lane. A choice: one thread needs few. */
	SLOTS = 4,
	/* The clocks at the start. Choices: the device has run for a while, in
	 * the year 2023. */
	START_S = 1000,
	REALTIME_S = 1700000000,
};

/* Linked with --wrap=clock_gettime. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);

struct engine_world world;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	uint64_t t = world.now;

	if (clock == CLOCK_REALTIME)
		t += REALTIME_S * NSEC_PER_SEC;
	ts->tv_sec = (time_t)(t / NSEC_PER_SEC);
	ts->tv_nsec = (long)(t % NSEC_PER_SEC);
	return 0;
}

/* ------------------------------------------------------------- the queues */

void world_push(struct world_queue *queue, const struct ug_endpoint *from,
		uint8_t tos, const uint8_t *bytes, size_t len)
{
	struct world_bytes *item = &queue->items[queue->n];

	require(len <= sizeof(item->bytes));
	if (queue->n == WORLD_QUEUE)
		return;
	queue->n++;
	item->len = len;
	item->tos = tos;
	if (from)
		item->from = *from;
	if (len)
		memcpy(item->bytes, bytes, len);
}

static void shift(struct world_queue *queue, unsigned int n)
{
	queue->n -= n;
	memmove(queue->items, queue->items + n,
		queue->n * sizeof(queue->items[0]));
}

/* ------------------------------------------------------------- the socket */

/* Write the TOS of the outer header as control data, as Linux does. */
static void write_control(struct msghdr *h, int tos)
{
	struct cmsghdr *c;

	h->msg_controllen = CMSG_SPACE(sizeof(uint8_t));
	c = CMSG_FIRSTHDR(h);
	c->cmsg_level = IPPROTO_IP;
	c->cmsg_type = IP_TOS;
	c->cmsg_len = CMSG_LEN(sizeof(uint8_t));
	*CMSG_DATA(c) = (uint8_t)tos;
}

static int sys_recvmmsg(int fd, struct mmsghdr *msgs, unsigned int n, int flags)
{
	struct world_queue *q = &world.datagrams;

	(void)fd;
	(void)flags;
	if (n > q->n)
		n = q->n;
	for (unsigned int i = 0; i < n; i++) {
		struct msghdr *h = &msgs[i].msg_hdr;
		const struct world_bytes *item = &q->items[i];

		memcpy(h->msg_iov->iov_base, item->bytes, item->len);
		memcpy(h->msg_name, &item->from.addr.v4,
		       sizeof(item->from.addr.v4));
		h->msg_namelen = sizeof(item->from.addr.v4);
		h->msg_flags = 0;
		msgs[i].msg_len = (unsigned int)item->len;
		write_control(h, item->tos);
	}
	shift(q, n);
	if (n)
		return (int)n;
	errno = EAGAIN;
	return -1;
}

/* Return: as sendmsg(2): -1 with errno if the socket is full. */
static ssize_t sys_sendmsg(int fd, const struct msghdr *h, int flags)
{
	static uint8_t whole[1 << 16];
	size_t len = 0;

	(void)fd;
	(void)flags;
	if (world.n_full) {
		world.n_full--;
		errno = EAGAIN;
		return -1;
	}
	for (size_t v = 0; v < h->msg_iovlen; v++) {
		require(h->msg_iov[v].iov_len <= sizeof(whole) - len);
		memcpy(whole + len, h->msg_iov[v].iov_base,
		       h->msg_iov[v].iov_len);
		len += h->msg_iov[v].iov_len;
	}
	world.sent(whole, len);
	return (ssize_t)len;
}

static int sys_sendmmsg(int fd, struct mmsghdr *msgs, unsigned int n, int flags)
{
	unsigned int done = 0;

	for (; done < n; done++) {
		ssize_t len = sys_sendmsg(fd, &msgs[done].msg_hdr, flags);

		if (len < 0)
			break;
		msgs[done].msg_len = (unsigned int)len;
	}
	return done ? (int)done : -1;
}

static ssize_t sys_recvmsg(int fd, struct msghdr *msg, int flags)
{
	(void)fd;
	(void)msg;
	(void)flags;
	errno = EAGAIN;
	return -1;
}

static int sys_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	(void)fds;
	(void)n;
	/* A wait never brings an event. */
	if (timeout_ms > 0)
		world.now += (uint64_t)timeout_ms * NSEC_PER_MSEC;
	return 0;
}

static int64_t sys_now_ms(void)
{
	return (int64_t)(world.now / NSEC_PER_MSEC);
}

static struct ug_socket *make_socket(void)
{
	static struct ug_sys sys;
	struct ug_socket *sock = calloc(1, sizeof(*sock));

	sys = ug_sys_linux;
	sys.recvmmsg = sys_recvmmsg;
	sys.sendmmsg = sys_sendmmsg;
	sys.sendmsg = sys_sendmsg;
	sys.recvmsg = sys_recvmsg;
	sys.poll = sys_poll;
	sys.now_ms = sys_now_ms;
	require(sock != NULL);
	sock->sys = &sys;
	sock->max_segments = 1;
	sock->paths = ug_path_table_new();
	require(sock->paths != NULL);
	for (int f = 0; f < FAMILIES; f++) {
		sock->families[f].fd = f == FAMILY_V4 ? FD : -1;
		sock->families[f].af = f == FAMILY_V4 ? AF_INET : AF_INET6;
		pthread_rwlock_init(&sock->families[f].receive_lock, NULL);
	}
	return sock;
}

/* ---------------------------------------------------------------- the TUN */

static ssize_t tun_sys_read(int fd, void *buf, size_t len)
{
	struct world_queue *q = &world.packets;
	size_t n = q->items[0].len;

	(void)fd;
	if (!q->n) {
		errno = EAGAIN;
		return -1;
	}
	require(n <= len);
	memcpy(buf, q->items[0].bytes, n);
	shift(q, 1);
	return (ssize_t)n;
}

static ssize_t tun_sys_writev(int fd, const struct iovec *iov, int cnt)
{
	uint8_t packet[WORLD_DATAGRAM_MAX];
	size_t len = 0;

	(void)fd;
	for (int i = 0; i < cnt; i++) {
		require(iov[i].iov_len <= sizeof(packet) - len);
		if (iov[i].iov_len)
			memcpy(packet + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	world.written(packet, len);
	return (ssize_t)len;
}

/* ------------------------------------------------------------- the device */

static void op_random(void *arg, void *buf, size_t len)
{
	uint8_t *bytes = buf;

	(void)arg;
	for (size_t i = 0; i < len; i++) {
		world.seed = world.seed * UINT64_C(6364136223846793005) + 1;
		bytes[i] = (uint8_t)(world.seed >> 56);
	}
}

static void op_wake(void *arg)
{
	(void)arg;
	world.is_woken = true;
}

static void op_send_initiation(void *arg, struct peer *peer)
{
	(void)arg;
	handshaker_initiate(&world.handshaker, peer);
}

static void op_send_keepalive(void *arg, struct peer *peer)
{
	(void)arg;
	outbound_request(&world.out, peer, true);
}

static void op_session_ready(void *arg, struct peer *peer, bool confirm)
{
	(void)arg;
	outbound_request(&world.out, peer, confirm);
}

static const struct device_ops ops = {
	.random = op_random,
	.wake = op_wake,
	.forget_source = endpoint_forget_source,
	.endpoint_learnt = quiet_wake,
	.send_initiation = op_send_initiation,
	.send_keepalive = op_send_keepalive,
	.session_ready = op_session_ready,
	.set_sockets = quiet_set_sockets,
};

static void make_once(void)
{
	static struct sock_group group = { .n = 1 };
	static struct tun_sys sys;

	require(crypto_init() == 0);
	rcu_register();
	log_init(LOG_SILENT, "fuzz");
	world.sock = make_socket();
	group.all[0] = world.sock;
	context_set_group(&world.context, &group);
	world.context.aead = aead_new(AEAD_BEST);
	require(world.context.aead != NULL);
	sys = tun_sys_linux;
	sys.read = tun_sys_read;
	sys.writev = tun_sys_writev;
	world.tun.sys = &sys;
	world.now = START_S * NSEC_PER_SEC;
	sockets_init(&world.sockets);
	require(!handshaker_init(&world.handshaker, &world.device,
				 &world.sockets));
	writer_init(&world.writer, &world.tun, &world.out.source);
	require(!inbound_lane_init(&world.in, &world.device, &world.writer, 1,
				   &world.handshaker, AF_INET, SLOTS));
	require(!outbound_lane_init(&world.out, &world.device, &world.tun,
				    SLOTS));
	require(device_init(&world.device, &ops, NULL) == 0);
}

void world_begin(void)
{
	if (!world.sock)
		make_once();
	/* After this time rate limits have all tokens again, and load is
	 * over. */
	world.now += 100 * NSEC_PER_SEC;
	world.seed = 1;
	world.n_full = 0;
	world.datagrams.n = world.packets.n = 0;
	device_set_up(&world.device, true, world.now);
}

/* Clear the device: making another would take much longer. */
static void clear(void)
{
	const uint8_t none[NOISE_PRIVATE_KEY_LEN] = { 0 };
	struct config *config = config_new();

	require(config && !config_set_private_key(config, none) &&
		!config_replace_peers(config));
	require(config_apply(config, &world.device, world.now) == 0);
	config_free(config);
	require(world.device.n_peers == 0);
}

void world_end(void)
{
	static unsigned int n_ends;

	device_set_up(&world.device, false, world.now);
	world.n_full = 0;
	world.datagrams.n = world.packets.n = 0;
	world_run();
	require(!world.out.peer && !world.out.flush);
	require(!world.handshaker.waiting.n && !world.handshaker.asked.n);
	clear();
	/* Let the RCU thread keep up with freeing. */
	if (++n_ends % 64 == 0)
		rcu_drain();
}

void world_run(void)
{
	bool is_moving = true;

	for (unsigned int i = 0; is_moving; i++) {
		/* A thousand rounds mean an endless loop. */
		require(i < 1000);
		is_moving = lane_is_busy(
			lane_run(&world.in.source.lane, &world.context));
		while (world.handshaker.waiting.n || world.handshaker.asked.n) {
			handshaker_round(&world.handshaker, world.sock,
					 world.now);
			is_moving = true;
		}
		if (lane_is_busy(
			    lane_run(&world.out.source.lane, &world.context)))
			is_moving = true;
		world.is_woken = false;
		device_tick(&world.device, world.now);
		is_moving = is_moving || world.is_woken ||
			    world.out.source.ops->has_more(&world.out.source);
	}
}
