/* SPDX-License-Identifier: MIT */
/*
 * Real sockets: ports, inherited descriptors, source addresses that stay or
 * vanish, zones, queued errors.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/io/talk.h"
#include "tests/lib/check.h"
#include "tests/lib/netns.h"
#include "tests/lib/refuse.h"
#include "tests/platform/datagram.h"
#include "udpgather.h"

static int home, far;

static struct ug_socket *opened_in(int ns, const struct ug_options *opt)
{
	assert_int_equal(netns_enter(ns), 0);
	struct ug_socket *sock = opened(opt);

	assert_int_equal(netns_enter(home), 0);
	return sock;
}

static void expect_nothing(struct ug_socket *sock)
{
	assert_int_equal(ug_receive(rcv, sock, AF_UNSPEC, views, 1, 0), 0);
}

static size_t count_fds(void)
{
	size_t n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void ports(void **state)
{
	struct ug_options opt = { .size = sizeof(opt) };
	struct ug_report report = { .size = sizeof(report) };
	struct ug_socket *first = opened(NULL), *second = NULL;
	size_t fds = count_fds();

	(void)state;
	/* If a fixed port is busy, no descriptor stays open. */
	opt.port = ug_port(first);
	assert_int_equal(ug_open(&second, &opt, &report), -EADDRINUSE);
	assert_int_equal(report.port, 0);
	assert_string_equal(report.v4.step, "bind");
	assert_null(second);
	assert_int_equal(count_fds(), fds);
	/* The same if it is busy in IPv6 only. */
	struct ug_options six = {
		.size = sizeof(six),
		.families = UG_IPV6_ONLY,
	};
	struct ug_socket *only = opened(&six);

	opt.port = ug_port(only);
	assert_int_equal(ug_open(&second, &opt, &report), -EADDRINUSE);
	assert_string_equal(report.v6.step, "bind");
	assert_int_equal(report.v4.err, -ECANCELED);
	assert_int_equal(count_fds(), fds + 1);
	opt.families = UG_IPV4_ONLY;
	assert_int_equal(ug_open(&second, &opt, &report), 0);
	ug_close(second);
	ug_close(only);
	ug_close(first);
	assert_int_equal(count_fds(), fds - 2);
}

/* Change the port: open the new socket, use it, close the old one. */
static void change_port(void **state)
{
	struct ug_socket *old = opened(NULL), *peer = opened(NULL);
	struct ug_endpoint to = at("127.0.0.1", ug_port(old));

	(void)state;
	assert_int_equal(send_text(peer, &to, "old", 3), UG_SENT);
	struct ug_socket *new = opened(NULL);

	assert_int_not_equal(ug_port(new), ug_port(old));
	/* Views, including pending ones, stay valid after the socket is
	 * closed. */
	assert_int_equal(ug_receive(rcv, old, AF_INET, views, 1, 1000), 1);
	assert_true(ug_receiver_pending(rcv));
	ug_close(old);
	assert_memory_equal(views[0].data, "old", 3);
	expect_text(new, "old", 2);
	to = at("[::1]", ug_port(new));
	assert_int_equal(send_text(peer, &to, "new", 1), UG_SENT);
	expect_text(new, "new", 1);
	ug_close(new);
	ug_close(peer);
}

static void options(void **state)
{
	struct ug_endpoint at4 = at("127.0.0.2", 1), at6 = at("[::1]", 1);
	struct ug_options opt = {
		.size = sizeof(opt),
		.bind4 = &at4,
		.bind6 = &at6,
		.device = "lo",
		.mark = 77,
		.buffer_len = 1 << 20,
		.pmtu4 = UG_PMTU_DONT,
		.pmtu6 = UG_PMTU_DO,
	};
	struct ug_report report = { .size = sizeof(report) };
	struct ug_socket *sock, *peer = opened(NULL);
	struct ug_endpoint to;
	int value;
	socklen_t len = sizeof(value);

	(void)state;
	assert_int_equal(ug_open(&sock, &opt, &report), 0);
	assert_int_equal(report.v4.rcvbuf, 1 << 20);
	assert_int_equal(report.v6.sndbuf, 1 << 20);
	getsockopt(ug_fd(sock, AF_INET), IPPROTO_IP, IP_MTU_DISCOVER, &value,
		   &len);
	assert_int_equal(value, IP_PMTUDISC_DONT);
	getsockopt(ug_fd(sock, AF_INET6), IPPROTO_IPV6, IPV6_MTU_DISCOVER,
		   &value, &len);
	assert_int_equal(value, IPV6_PMTUDISC_DO);
	getsockopt(ug_fd(sock, AF_INET6), SOL_SOCKET, SO_MARK, &value, &len);
	assert_int_equal(value, 77);
	assert_int_equal(ug_set_mark(sock, 78), 0);
	getsockopt(ug_fd(sock, AF_INET), SOL_SOCKET, SO_MARK, &value, &len);
	assert_int_equal(value, 78);
	/* The socket is bound to one address: datagrams to another do not
	 * arrive. */
	to = at("127.0.0.3", ug_port(sock));
	send_text(peer, &to, "no", 1);
	expect_nothing(sock);
	to = at("127.0.0.2", ug_port(sock));
	assert_int_equal(send_text(peer, &to, "yes", 1), UG_SENT);
	expect_text(sock, "yes", 1);
	ug_close(sock);

	opt.device = "nosuch0";
	assert_int_equal(ug_open(&sock, &opt, &report), -ENODEV);
	assert_string_equal(report.v4.step, "SO_BINDTODEVICE");
	opt.device = NULL;
	at4 = at("192.0.2.1", 1);
	assert_int_equal(ug_open(&sock, &opt, &report), -EADDRNOTAVAIL);
	assert_string_equal(report.v4.step, "bind");
	ug_close(peer);
	/* The default buffers, by force. */
	assert_int_equal(ug_open(&sock, NULL, &report), 0);
	assert_int_equal(report.v4.rcvbuf, 7 << 20);
	ug_close(sock);
}

static void from_descriptors(void **state)
{
	struct ug_report report = { .size = sizeof(report) };
	struct ug_socket *sock, *peer = opened(NULL);
	int stream = socket(AF_INET, SOCK_STREAM, 0), file;
	int fd4 = udp_socket(AF_INET, false);
	int fd6 = udp_socket(AF_INET6, true);
	int value = 0;
	socklen_t len = sizeof(value);
	struct ug_endpoint to;

	(void)state;
	file = open("/dev/null", O_RDWR);
	assert_int_equal(ug_open_fds(&sock, -1, -1, NULL, NULL), -EINVAL);
	assert_int_equal(ug_open_fds(&sock, fd6, -1, NULL, NULL), -EINVAL);
	assert_int_equal(ug_open_fds(&sock, stream, -1, NULL, NULL), -EINVAL);
	assert_int_equal(ug_open_fds(&sock, file, -1, NULL, NULL), -ENOTSOCK);
	assert_int_equal(ug_open_fds(&sock, 999, -1, NULL, NULL), -EBADF);
	close(stream);
	close(file);
	/* A descriptor that stays with the caller is unchanged. */
	assert_int_equal(ug_open_fds(&sock, fd4, 999, NULL, &report), -EBADF);
	assert_int_equal(report.v4.err, -ECANCELED);
	getsockopt(fd4, IPPROTO_UDP, UDP_GRO, &value, &len);
	assert_int_equal(value, 0);
	/* A datagram is not cut, even if the socket's owner had set
	 * UDP_SEGMENT. */
	value = 2;
	setsockopt(fd4, IPPROTO_UDP, UDP_SEGMENT, &value, sizeof(value));
	setsockopt(fd6, IPPROTO_UDP, UDP_CORK, &value, sizeof(value));
	assert_int_equal(ug_open_fds(&sock, fd4, fd6, NULL, &report), 0);
	assert_true(report.v4.merges && report.v6.segments);
	assert_int_equal(report.port, ug_port(sock));
	to = at("127.0.0.1", ug_port(sock));
	assert_int_equal(send_text(peer, &to, "hello", 5), UG_SENT);
	expect_text(sock, "hello", 5);
	to = *views[0].from;
	assert_int_equal(send_text(sock, &to, "answer", 5), UG_SENT);
	expect_text(peer, "answer", 5);
	assert_int_equal(send_text(sock, &to, "alone", 1), UG_SENT);
	expect_text(peer, "alone", 1);
	to = at("[::1]", ug_port(peer));
	assert_int_equal(send_text(sock, &to, "six", 1), UG_SENT);
	expect_text(peer, "six", 1);
	ug_close(sock);
	assert_int_equal(fcntl(fd4, F_GETFD), -1);
	ug_close(peer);
}

/* Set the buffers of a descriptor. */
static void set_buffers(int fd, int rcv_len, int snd_len)
{
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcv_len,
				    sizeof(rcv_len)),
			 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &snd_len,
				    sizeof(snd_len)),
			 0);
}

/* What its owner has set, the kernel has doubled. */
static void expect_buffers(int fd, int rcv_len, int snd_len)
{
	int value;
	socklen_t len = sizeof(value);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &value, &len),
			 0);
	assert_int_equal(value, 2 * rcv_len);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &value, &len),
			 0);
	assert_int_equal(value, 2 * snd_len);
}

/* The buffers of a descriptor stay as they are, or one of them does. */
static void kept_buffers(void **state)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.buffer_len = UG_BUFFER_KEEP,
	};
	struct ug_report report = { .size = sizeof(report) };
	struct ug_socket *sock;

	(void)state;
	for (int i = 0; i < 2; i++) {
		int fd4 = udp_socket(AF_INET, false);
		int fd6 = udp_socket(AF_INET6, true);
		int snd = i ? 50000 : 30000;

		set_buffers(fd4, 20000, 30000);
		set_buffers(fd6, 25000, 30000);
		opt.sndbuf_len = i ? 50000 : 0;
		assert_int_equal(ug_open_fds(&sock, fd4, fd6, &opt, &report),
				 0);
		expect_buffers(fd4, 20000, snd);
		expect_buffers(fd6, 25000, snd);
		assert_int_equal(report.v4.rcvbuf, 20000);
		assert_int_equal(report.v6.rcvbuf, 25000);
		assert_int_equal(report.v6.sndbuf, snd);
		ug_close(sock);
	}
}

static void source_address(const struct ug_endpoint *ep, char *out)
{
	inet_ntop(ep->addr.any.sa_family,
		  ep->addr.any.sa_family == AF_INET
			  ? (const void *)&ep->addr.v4.sin_addr
			  : (const void *)&ep->addr.v6.sin6_addr,
		  out, INET6_ADDRSTRLEN);
}

/*
 * Answers leave from the address that a datagram came to. After this address is
 * removed, the next send passes, from another address, and reports that.
 */
static void sticky_source(void **state)
{
	static const struct {
		const char *second, *prefix, *peer;
	} table[] = {
		{ "10.7.0.77", "10.7.0.77/24", "10.7.0.2" },
		{ "[fd00:7::77]", "fd00:7::77/64", "[fd00:7::2]" },
	};

	(void)state;
	assert_int_equal(netns_join(home, far, "sticky", 7, 1500), 0);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct ug_socket *here = opened(NULL);
		struct ug_socket *there = opened_in(far, NULL);
		struct ug_endpoint to, peer;
		char text[INET6_ADDRSTRLEN];

		assert_int_equal(netns_add_address("sticky", table[i].prefix),
				 0);
		to = at(table[i].second, ug_port(here));
		assert_int_equal(send_text(there, &to, "hello", 1), UG_SENT);
		expect_text(here, "hello", 1);
		peer = at(table[i].peer, ug_port(there));
		assert_int_equal(ug_endpoint_compare(&peer, views[0].from), 0);
		assert_int_equal(views[0].from->source.ifindex,
				 if_nametoindex("sticky"));
		assert_int_equal(ug_endpoint_set_source(&peer, views[0].from),
				 0);
		assert_int_equal(send_text(here, &peer, "answer", 10), UG_SENT);
		expect_text(there, "answer", 10);
		source_address(views[0].from, text);
		assert_non_null(strstr(table[i].second, text));
		assert_null(ug_refused_source(batch));

		assert_int_equal(
			netns_ip("addr del %s dev sticky", table[i].prefix), 0);
		assert_int_equal(send_text(here, &peer, "still", 10), UG_SENT);
		assert_ptr_equal(ug_refused_source(batch), &peer);
		expect_text(there, "still", 10);
		source_address(views[0].from, text);
		assert_null(strstr(table[i].second, text));

		/* After ug_network_changed() the old address is not tried. */
		ug_network_changed(here);
		assert_int_equal(send_text(here, &peer, "again", 1), UG_SENT);
		assert_null(ug_refused_source(batch));
		expect_text(there, "again", 1);
		ug_close(there);
		ug_close(here);
	}
	assert_int_equal(netns_ip("link del sticky"), 0);
}

/* Link-local addresses of a device, with their zone. */
static void zones(void **state)
{
	char text[UG_ENDPOINT_TEXT];
	struct ug_endpoint to, back;

	(void)state;
	assert_int_equal(netns_join(home, far, "zone", 8, 1500), 0);
	assert_int_equal(netns_add_address("zone", "fe80::a/64"), 0);
	assert_int_equal(netns_enter(far), 0);
	assert_int_equal(netns_add_address("zone", "fe80::b/64"), 0);
	assert_int_equal(netns_enter(home), 0);
	struct ug_socket *here = opened(NULL), *there = opened_in(far, NULL);

	to = at("[fe80::b%zone]", ug_port(there));
	assert_int_equal(send_text(here, &to, "zone", 10), UG_SENT);
	expect_text(there, "zone", 10);
	/* Answer the datagram, by a copy of its source and by its text. */
	assert_int_equal(netns_enter(far), 0);
	assert_true(ug_endpoint_print(views[0].from, text, sizeof(text)) > 0);
	assert_non_null(strstr(text, "%zone]:"));
	assert_int_equal(ug_endpoint_parse(&back, text), 0);
	assert_int_equal(ug_endpoint_compare(&back, views[0].from), 0);
	assert_int_equal(ug_endpoint_set_source(&back, views[0].from), 0);
	assert_int_equal(netns_enter(home), 0);
	assert_int_equal(send_text(there, &back, "back", 10), UG_SENT);
	expect_text(here, "back", 10);
	source_address(views[0].from, text);
	assert_string_equal(text, "fe80::b");
	ug_close(here);
	ug_close(there);
	assert_int_equal(netns_ip("link del zone"), 0);
}

static void empty_datagrams(void **state)
{
	struct ug_socket *a = opened(NULL), *b = opened(NULL);
	struct ug_endpoint to = at("127.0.0.1", ug_port(b));

	(void)state;
	assert_int_equal(send_text(a, &to, "", 20), UG_SENT);
	expect_text(b, "", 20);
	expect_nothing(b);
	ug_close(a);
	ug_close(b);
}

/* A real error of an earlier datagram, on a socket with IP_RECVERR. */
static void queued_error(void **state)
{
	struct ug_socket *gone = opened(NULL), *good = opened(NULL), *sock;
	int fd = udp_socket(AF_INET, false), one = 1;
	struct ug_endpoint nobody = at("127.0.0.1", ug_port(gone));
	struct ug_endpoint to = at("127.0.0.1", ug_port(good));
	struct ug_receive_stats rx;
	struct ug_send_stats tx;

	(void)state;
	setsockopt(fd, IPPROTO_IP, IP_RECVERR, &one, sizeof(one));
	assert_int_equal(ug_open_fds(&sock, fd, -1, NULL, NULL), 0);
	ug_close(gone);
	/* The next send gets the error, and its datagram is not blamed. */
	assert_int_equal(send_text(sock, &nobody, "refused", 1), UG_SENT);
	assert_int_equal(send_text(sock, &to, "fine", 10), UG_SENT);
	ug_get_send_stats(batch, &tx, sizeof(tx));
	assert_true(tx.pending_errors > 0);
	expect_text(good, "fine", 10);
	/* The same when receiving. */
	assert_int_equal(send_text(sock, &nobody, "refused", 1), UG_SENT);
	to = at("127.0.0.1", ug_port(sock));
	assert_int_equal(send_text(good, &to, "in", 3), UG_SENT);
	expect_text(sock, "in", 3);
	ug_get_receive_stats(rcv, &rx, sizeof(rx));
	assert_true(rx.errors > 0);
	ug_close(sock);
	ug_close(good);
}

/* A wait sleeps, even with queued errors and after a shutdown. */
static void quiet_waits(void **state)
{
	struct ug_socket *gone = opened(NULL), *sock;
	struct ug_endpoint nobody = at("127.0.0.1", ug_port(gone));
	int fd = udp_socket(AF_INET, false), one = 1;
	struct ug_receive_stats was, now;

	(void)state;
	setsockopt(fd, IPPROTO_IP, IP_RECVERR, &one, sizeof(one));
	assert_int_equal(ug_open_fds(&sock, fd, -1, NULL, NULL), 0);
	ug_close(gone);
	for (int mode = 0; mode < 2; mode++) {
		assert_int_equal(send_text(sock, &nobody, "refused", 1),
				 UG_SENT);
		ug_get_receive_stats(rcv, &was, sizeof(was));
		assert_int_equal(ug_receive(rcv, sock, AF_INET, views, 1, 200),
				 0);
		ug_get_receive_stats(rcv, &now, sizeof(now));
		assert_true(now.waits - was.waits < 250);
		/* The error of the socket, and its entry on the queue. */
		assert_int_equal(now.errors - was.errors, 2);
		/* shutdown() works, but returns ENOTCONN for an unconnected
		 * socket. */
		shutdown(fd, SHUT_RD);
	}
	ug_close(sock);
}

/*
 * A datagram whose fragments together exceed the send buffer fails, and does
 * not delay others. The same holds for a vector with a bad address.
 */
static void hopeless_datagrams(void **state)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.buffer_len = 4096,
		/* The library would read the bad address itself. */
		.copy_below = 1,
	};
	static char large[60000];
	struct iovec iov[] = {
		{ unconst("good"), 4 },
		{ large, sizeof(large) },
		{ (void *)8, 4 },
	};
	static const size_t order[] = { 0, 1, 0, 2, 0 };
	struct ug_datagram d[ARRAY_LEN(order)];
	int status[ARRAY_LEN(order)];

	(void)state;
	assert_int_equal(netns_join(home, far, "small", 9, 1500), 0);
	struct ug_socket *here = opened(&opt), *there = opened_in(far, NULL);
	struct ug_endpoint to = at("10.9.0.2", ug_port(there));

	/* After this the peer's link address is known, so no datagram waits for
	 * it. */
	assert_int_equal(send_text(here, &to, "first", 1), UG_SENT);
	expect_text(there, "first", 1);
	for (size_t i = 0; i < ARRAY_LEN(d); i++)
		d[i] = (struct ug_datagram){
			.iov = &iov[order[i]],
			.n_iov = 1,
		};
	assert_int_equal(
		ug_send(here, batch, &to, d, ARRAY_LEN(d), status, 1000), 3);
	assert_int_equal(status[1], -ENOBUFS);
	assert_int_equal(status[3], -EFAULT);
	expect_text(there, "good", 3);
	ug_close(here);
	ug_close(there);
	assert_int_equal(netns_ip("link del small"), 0);
}

/*
 * Merging is switched off while merged datagrams wait. They are still split,
 * and after a time without datagrams merging is off.
 */
static void merging_off_late(void **state)
{
	struct ug_socket *a = opened(NULL), *b = opened(NULL);
	struct ug_endpoint to = at("127.0.0.1", ug_port(b));
	struct ug_receive_stats was, now;

	(void)state;
	assert_int_equal(send_text(a, &to, "merged", 20), UG_SENT);
	assert_int_equal(ug_set_merging(b, false), 0);
	assert_int_equal(send_text(a, &to, "merged", 20), UG_SENT);
	expect_text(b, "merged", 40);
	assert_int_equal(ug_receive(rcv, b, AF_UNSPEC, views, 1, 60), 0);
	ug_get_receive_stats(rcv, &was, sizeof(was));
	assert_int_equal(send_text(a, &to, "single", 20), UG_SENT);
	expect_text(b, "single", 20);
	ug_get_receive_stats(rcv, &now, sizeof(now));
	assert_int_equal(now.messages - was.messages, 20);
	assert_int_equal(ug_set_merging(b, true), 0);
	assert_int_equal(send_text(a, &to, "merged", 20), UG_SENT);
	expect_text(b, "merged", 20);
	ug_get_receive_stats(rcv, &was, sizeof(was));
	assert_int_equal(was.messages - now.messages,
			 device_takes_trains("lo") ? 1 : 20);
	ug_close(a);
	ug_close(b);
}

static size_t resident_pages(const void *start, size_t pages)
{
	static unsigned char vec[1 << 16];
	size_t n = 0;

	assert_true(pages <= sizeof(vec));
	assert_int_equal(mincore(unconst(start), pages * 4096, vec), 0);
	for (size_t i = 0; i < pages; i++)
		n += vec[i] & 1;
	return n;
}

/* Small datagrams use one page of a slot, and a release frees it. */
static void memory_follows_use(void **state)
{
	struct ug_socket *a = opened(NULL), *b = opened(NULL);
	struct ug_endpoint to = at("127.0.0.1", ug_port(b));
	struct ug_receiver *big;

	(void)state;
	assert_int_equal(ug_receiver_new(&big, 256), 0);
	assert_int_equal(ug_set_merging(b, false), 0);
	for (int i = 0; i < 23; i++)
		assert_int_equal(send_text(a, &to, "small", 64), UG_SENT);
	assert_int_equal(ug_receive(big, b, AF_INET, views, 1, 1000), 1);
	const char *slots = views[0].data;

	assert_int_equal(resident_pages(slots, 256 * 16), 8);
	assert_false(ug_receiver_release(big));
	while (ug_receive(big, b, AF_INET, views, ARRAY_LEN(views), 0) > 0)
		;
	/* The calls have grown to 128 slots, and each slot uses one page. */
	assert_int_equal(resident_pages(slots, 256 * 16), 128);
	/* Pages of unexpected long datagrams are freed, too. */
	assert_int_equal(send_text(a, &to, "small", 64), UG_SENT);
	while (ug_receive(big, b, AF_INET, views, ARRAY_LEN(views), 0) > 0)
		;
	for (int i = 0; i < 40; i++) {
		static char bytes[40000];
		struct iovec iov = { bytes, sizeof(bytes) };
		struct ug_datagram d = { .iov = &iov, .n_iov = 1 };
		int status;

		ug_send(a, batch, &to, &d, 1, &status, 0);
		assert_int_equal(status, UG_SENT);
	}
	assert_int_equal(
		ug_receive(big, b, AF_INET, views, ARRAY_LEN(views), 1000), 40);
	assert_true(resident_pages(slots, 256 * 16) > 40 * 9);
	assert_int_equal(ug_receive(big, b, AF_INET, views, 1, 0), 0);
	assert_true(resident_pages(slots, 256 * 16) <= 128 + 8 * 10);
	/* Locked memory cannot be given back. (Sanitizers make mlock(2) do
	 * nothing, hence the plain calls.) */
	assert_int_equal(syscall(SYS_mlock, slots, 4096), 0);
	assert_false(ug_receiver_release(big));
	assert_int_equal(syscall(SYS_munlock, slots, 4096), 0);
	assert_true(ug_receiver_release(big));
	assert_int_equal(resident_pages(slots, 256 * 16), 0);
	ug_receiver_free(big);
	ug_close(a);
	ug_close(b);
}

/* In a child of many_by_one_call(): send three messages to itself. */
static int send_without_single_calls(void)
{
	struct ug_socket *sock = opened(NULL);
	struct ug_endpoint to = at("127.0.0.1", ug_port(sock));
	struct iovec iov = { unconst("datagram"), 8 };
	struct ug_datagram d[3];
	int status[3], n = 0;

	for (size_t i = 0; i < 3; i++)
		d[i] = (struct ug_datagram){
			.iov = &iov,
			.n_iov = 1,
			.tos = (uint8_t)(4 * i),
		};
	if (refuse_call(SYS_sendmsg, EPERM) < 0 ||
	    refuse_call(SYS_recvmsg, EPERM) < 0)
		return 2;
	ug_send(sock, batch, &to, d, 3, status, 0);
	for (size_t i = 0; i < 3; i++)
		if (status[i] != UG_SENT)
			return 3;
	while (n < 3) {
		int r = ug_receive(rcv, sock, AF_INET, views, 3, 2000);

		if (r <= 0)
			return 4;
		n += r;
	}
	return 0;
}

/* The C library does not make a call for each message of sendmmsg(2). */
static void many_by_one_call(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	assert_true(pid >= 0);
	if (!pid)
		_exit(send_without_single_calls());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* If IPv6 is off in the namespace, IPv4 works, with the right port. */
static void ipv6_disabled(void **state)
{
	struct ug_options opt = { .size = sizeof(opt) };
	struct ug_report report = { .size = sizeof(report) };
	struct ug_socket *sock, *peer = opened(NULL);

	(void)state;
	assert_int_equal(netns_set("ipv6/conf/all/disable_ipv6", "1"), 0);
	assert_int_equal(ug_open(&sock, &opt, &report), 0);
	assert_int_equal(report.v4.err, 0);
	struct ug_endpoint to = at("127.0.0.1", report.port);

	assert_int_equal(send_text(peer, &to, "four", 2), UG_SENT);
	expect_text(sock, "four", 2);
	to = at("[::1]", report.port);
	assert_true(send_text(peer, &to, "six", 2) < 0);
	assert_int_equal(netns_set("ipv6/conf/all/disable_ipv6", "0"), 0);
	ug_close(sock);
	ug_close(peer);
}

static int setup(void **state)
{
	far = netns_new();
	home = netns_new();
	return far >= 0 && home >= 0 ? talk_setup(state) : -1;
}

static int teardown(void **state)
{
	close(far);
	close(home);
	return talk_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ports),
		cmocka_unit_test(change_port),
		cmocka_unit_test(options),
		cmocka_unit_test(from_descriptors),
		cmocka_unit_test(kept_buffers),
		cmocka_unit_test(sticky_source),
		cmocka_unit_test(zones),
		cmocka_unit_test(empty_datagrams),
		cmocka_unit_test(queued_error),
		cmocka_unit_test(quiet_waits),
		cmocka_unit_test(hopeless_datagrams),
		cmocka_unit_test(merging_off_late),
		cmocka_unit_test(memory_follows_use),
		cmocka_unit_test(many_by_one_call),
		cmocka_unit_test(ipv6_disabled),
	};

	netns_require();
	return cmocka_run_group_tests(tests, setup, teardown);
}
