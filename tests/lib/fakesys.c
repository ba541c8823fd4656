/* SPDX-License-Identifier: MIT */
#include "tests/lib/fakesys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/membarrier.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "udpgather/endpoint.h"
#include "udpgather/message.h"

struct fake fake;

void fake_reset(void)
{
	memset(&fake, 0, sizeof(fake));
	/* A kernel for which ug_kernel_corrupts_trains() is false. */
	fake.release = "6.1.0-fake";
	/* A choice: some time after 0. */
	fake.now_ms = 1000;
	/* The socket has data, so a datagram for which the kernel has no buffer
	 * can still be sent later. */
	fake.outq = 1;
}

void fake_payload(unsigned char *out, size_t len, uint32_t number)
{
	for (size_t i = 0; i < len; i++)
		out[i] = i < 4 ? (unsigned char)(number >> (24 - 8 * i))
			       : (unsigned char)(number * 7 + i * 13);
}

/* Bytes @off to @off + @len of a message, from its vectors. */
static void copy_out(const struct msghdr *h, size_t off, unsigned char *out,
		     size_t len)
{
	for (size_t v = 0; v < h->msg_iovlen && len; v++) {
		const struct iovec *iov = &h->msg_iov[v];

		if (off >= iov->iov_len) {
			off -= iov->iov_len;
			continue;
		}
		size_t n = size_min(len, iov->iov_len - off);

		memcpy(out, (char *)iov->iov_base + off, n);
		out += n;
		len -= n;
		off = 0;
	}
	assert_int_equal(len, 0);
}

static void log_datagram(const struct fake_message *m, size_t off, size_t len,
			 size_t train)
{
	static unsigned char got[1 << 17], expected[1 << 17];

	assert_true(fake.n < FAKE_LOG && len <= sizeof(got));
	struct fake_datagram *d = &fake.log[fake.n++];

	copy_out(m->h, off, got, len);
	*d = (struct fake_datagram){
		.fd = m->fd,
		.to = m->to,
		.has_source = m->control.has_source,
		.ifindex = m->control.source.ifindex,
		.tos = m->tos,
		.ttl = m->ttl,
		.has_name = m->h->msg_name != NULL,
		.len = len,
		.train = train,
	};
	for (size_t i = 0; i < 4 && len >= 4; i++)
		d->number = d->number << 8 | got[i];
	fake_payload(expected, len, d->number);
	d->whole = memcmp(got, expected, len) == 0;
}

/* Cut an accepted message into datagrams and log them. */
static void deliver(const struct fake_message *m)
{
	size_t seg = m->segment_len ? m->segment_len : m->bytes;
	size_t cnt = m->bytes ? (m->bytes + seg - 1) / seg : 1;

	/* UG_MAX_SEGMENTS, which the kernel calls UDP_MAX_SEGMENTS. */
	assert_true(cnt <= 64);
	for (size_t i = 0; i < cnt; i++)
		log_datagram(m, i * seg, size_min(seg, m->bytes - i * seg),
			     cnt);
}

static void read_source(const struct cmsghdr *head, const void *data,
			struct ug_source *source)
{
	struct in_pktinfo four;
	struct in6_pktinfo six;

	if (head->cmsg_level == IPPROTO_IP) {
		memcpy(&four, data, sizeof(four));
		memcpy(source->addr, &four.ipi_spec_dst, 4);
		source->ifindex = (uint32_t)four.ipi_ifindex;
	} else {
		memcpy(&six, data, sizeof(six));
		memcpy(source->addr, &six.ipi6_addr, 16);
		source->ifindex = (uint32_t)six.ipi6_ifindex;
	}
}

/* TOS is an int in sent control data, and one byte in received. */
static void read_control(const struct msghdr *h, struct fake_message *m)
{
	for (size_t off = 0; off < h->msg_controllen;) {
		const char *at = (char *)h->msg_control + off;
		struct cmsghdr head;
		uint16_t segment;

		memcpy(&head, at, sizeof(head));
		if (head.cmsg_level == IPPROTO_UDP) {
			memcpy(&segment, at + CMSG_LEN(0), sizeof(segment));
			m->segment_len = segment;
		} else if (head.cmsg_type == IP_TOS ||
			   head.cmsg_type == IPV6_TCLASS) {
			memcpy(&m->tos, at + CMSG_LEN(0), sizeof(m->tos));
		} else if (head.cmsg_type == IP_TTL ||
			   head.cmsg_type == IPV6_HOPLIMIT) {
			memcpy(&m->ttl, at + CMSG_LEN(0), sizeof(m->ttl));
		} else if (head.cmsg_level == SOL_SOCKET &&
			   head.cmsg_type == SCM_TXTIME) {
			memcpy(&m->time_ns, at + CMSG_LEN(0),
			       sizeof(m->time_ns));
		} else if (head.cmsg_type == IP_PKTINFO ||
			   head.cmsg_type == IPV6_PKTINFO) {
			m->control.has_source = true;
			read_source(&head, at + CMSG_LEN(0),
				    &m->control.source);
		}
		off += CMSG_ALIGN(head.cmsg_len);
	}
}

int fake_family(int fd)
{
	return fd % FAKE_NEXT == FAKE_FD4 % FAKE_NEXT ? AF_INET : AF_INET6;
}

/* The family of a descriptor, and its index within the family. */
static int index_of(int fd, int *six)
{
	*six = fake_family(fd) == AF_INET6;
	int i = (fd - (*six ? FAKE_FD6 : FAKE_FD4)) / FAKE_NEXT;

	assert_in_range(i, 0, FAKE_SOCKETS - 1);
	return i;
}

static int offer(int fd, const struct msghdr *h)
{
	struct fake_message m = { .fd = fd, .h = h, .tos = -1, .ttl = -1 };
	int six, i = index_of(fd, &six);

	if (h->msg_name) {
		assert_int_equal(
			ug_endpoint_set(&m.to, h->msg_name, h->msg_namelen), 0);
		assert_int_equal(((struct sockaddr *)h->msg_name)->sa_family,
				 fake_family(fd));
	} else {
		assert_int_equal(h->msg_namelen, 0);
		m.to = fake.peer_of[six][i];
		if (!ug_endpoint_family(&m.to))
			return EDESTADDRREQ;
	}
	/* UIO_MAXIOV of the kernel. */
	assert_true(h->msg_iovlen <= 1024);
	for (size_t v = 0; v < h->msg_iovlen; v++)
		m.bytes += h->msg_iov[v].iov_len;
	read_control(h, &m);
	int err = fake.rule ? fake.rule(&m) : 0;

	/* A time needs SO_TXTIME (__sock_cmsg_send() of the kernel). */
	if (m.time_ns && fake_option(fd, SOL_SOCKET, SO_TXTIME) < 0)
		err = EINVAL;
	if (!err)
		deliver(&m);
	return err;
}

static int fake_sendmmsg(int fd, struct mmsghdr *msgs, unsigned int n,
			 int flags)
{
	assert_true(flags & MSG_DONTWAIT);
	assert_true(n > 0);
	if (fake.no_mmsg) {
		fake.mmsg_calls++;
		errno = ENOSYS;
		return -1;
	}
	size_t call = fake.send_calls++;

	if (call < FAKE_ERRS && fake.errs[call]) {
		errno = fake.errs[call];
		return -1;
	}
	unsigned int done = 0;

	if (fake.takes_nothing)
		return 0;
	while (done < n && !(fake.short_at && done == fake.short_at)) {
		int err = offer(fd, &msgs[done].msg_hdr);

		if (err && !done) {
			errno = err;
			return -1;
		}
		if (err)
			break;
		done++;
	}
	return (int)done;
}

static ssize_t fake_sendmsg(int fd, const struct msghdr *h, int flags)
{
	assert_true(flags & MSG_DONTWAIT);
	size_t call = fake.send_calls++;
	int err = call < FAKE_ERRS && fake.errs[call] ? fake.errs[call]
						      : offer(fd, h);

	if (err) {
		errno = err;
		return -1;
	}
	return 1;
}

static int fake_receive(int fd, struct mmsghdr *msgs, unsigned int n, int flags)
{
	assert_true(flags & MSG_DONTWAIT);
	fake.receive_calls++;
	int r = fake.receive(fd, msgs, n);

	if (r < 0)
		errno = -r;
	return r < 0 ? -1 : r;
}

static int fake_recvmmsg(int fd, struct mmsghdr *msgs, unsigned int n,
			 int flags)
{
	if (fake.no_mmsg) {
		fake.mmsg_calls++;
		errno = ENOSYS;
		return -1;
	}
	return fake_receive(fd, msgs, n, flags);
}

static ssize_t fake_recvmsg(int fd, struct msghdr *msg, int flags)
{
	if (flags & MSG_ERRQUEUE) {
		assert_true(flags & MSG_DONTWAIT);
		return fake_read_error(fd, msg);
	}
	struct mmsghdr one = { .msg_hdr = *msg };
	int r = fake_receive(fd, &one, 1, flags);

	*msg = one.msg_hdr;
	return r < 0 ? -1 : (ssize_t)one.msg_len;
}

/* Count a call of ug_open(); true if this call has to fail. */
static bool fails(void)
{
	errno = fake.fail_socket_err;
	return ++fake.socket_calls == fake.fail_socket_call;
}

static int next_fd(int family)
{
	int six = family == AF_INET6, i = 0;

	while (fake.is_open[six][i])
		assert_true(++i < FAKE_SOCKETS);
	fake.is_open[six][i] = true;
	fake.port_of[six][i] = 0;
	fake.peer_of[six][i] = (struct ug_endpoint){ 0 };
	fake.device_of[six][i][0] = 0;
	return (six ? FAKE_FD6 : FAKE_FD4) + i * FAKE_NEXT;
}

static int fake_socket(int family, int type, int protocol)
{
	assert_true(type & SOCK_CLOEXEC);
	assert_int_equal(protocol, IPPROTO_UDP);
	if (fails())
		return -1;
	if (family == fake.lacks_family) {
		errno = EAFNOSUPPORT;
		return -1;
	}
	fake.open_fds++;
	return next_fd(family);
}

uint16_t fake_bound_port[2];

/* Is the port bound to another open socket that does not share it? */
static bool is_taken(int fd, uint16_t port)
{
	int six, me = index_of(fd, &six);

	for (int i = 0; i < FAKE_SOCKETS; i++) {
		int other = fd + (i - me) * FAKE_NEXT;

		if (i == me || !port || !fake.is_open[six][i] ||
		    fake.port_of[six][i] != port)
			continue;
		if (fake_option(fd, SOL_SOCKET, SO_REUSEPORT) != 1 ||
		    fake_option(other, SOL_SOCKET, SO_REUSEPORT) != 1)
			return true;
	}
	return false;
}

static int fake_bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	static uint16_t next = 40000;
	struct ug_endpoint at;

	if (fails())
		return -1;
	assert_int_equal(ug_endpoint_set(&at, sa, len), 0);
	fake.bound_to = at;
	int six, i = index_of(fd, &six);
	uint16_t port = ntohs(six ? at.addr.v6.sin6_port : at.addr.v4.sin_port);

	if ((six && port && port >= fake.busy_from && port <= fake.busy_to) ||
	    is_taken(fd, port)) {
		errno = EADDRINUSE;
		return -1;
	}
	fake.chose_port[six][i] = !port;
	fake_bound_port[six] = port ? port : next++;
	fake.port_of[six][i] = fake_bound_port[six];
	if (fake.n_bound < ARRAY_LEN(fake.bound)) {
		fake.bound_shared[fake.n_bound] =
			fake_option(fd, SOL_SOCKET, SO_REUSEPORT) == 1;
		fake.bound[fake.n_bound++] = fd;
	}
	return 0;
}

/* Write an address as a socket of this family has it. */
static void write_name(int family, const struct ug_endpoint *at,
		       struct sockaddr *sa, socklen_t *len)
{
	struct sockaddr_in6 mapped;
	const struct sockaddr *from = ug_message_name(at, family, &mapped, len);

	memcpy(sa, from, *len);
}

static int fake_getsockname(int fd, struct sockaddr *sa, socklen_t *len)
{
	int six, i = index_of(fd, &six);
	int peer = ug_endpoint_family(&fake.peer_of[six][i]);
	/* A descriptor that was not opened here has the port of the last test. */
	in_port_t port = htons(fake.is_open[six][i] ? fake.port_of[six][i]
						    : fake_bound_port[six]);
	struct ug_endpoint at = { 0 };

	if (fails())
		return -1;
	if (peer)
		assert_int_equal(
			ug_endpoint_parse(&at, peer == AF_INET
						       ? FAKE_LOCAL4 ":1"
						       : "[" FAKE_LOCAL6 "]:1"),
			0);
	else
		at.addr.any.sa_family = (sa_family_t)fake_family(fd);
	if (ug_endpoint_family(&at) == AF_INET)
		at.addr.v4.sin_port = port;
	else
		at.addr.v6.sin6_port = port;
	write_name(fake_family(fd), &at, sa, len);
	return 0;
}

static int fake_getpeername(int fd, struct sockaddr *sa, socklen_t *len)
{
	int six, i = index_of(fd, &six);

	if (fails())
		return -1;
	if (!ug_endpoint_family(&fake.peer_of[six][i])) {
		errno = ENOTCONN;
		return -1;
	}
	write_name(fake_family(fd), &fake.peer_of[six][i], sa, len);
	return 0;
}

static int fake_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	int six, i = index_of(fd, &six);

	if (fails())
		return -1;
	fake.n_connects++;
	if (sa->sa_family != AF_UNSPEC) {
		assert_int_equal(sa->sa_family, fake_family(fd));
		/* Linux would keep its address of the connection before. */
		assert_int_equal(ug_endpoint_family(&fake.peer_of[six][i]), 0);
		return ug_endpoint_set(&fake.peer_of[six][i], sa, len);
	}
	fake.peer_of[six][i] = (struct ug_endpoint){ 0 };
	fake.device_of[six][i][0] = 0;
	if (fake.chose_port[six][i])
		fake.port_of[six][i] = 0;
	return 0;
}

static struct fake_option *find_option(int fd, int level, int name)
{
	for (size_t i = 0; i < fake.n_options; i++) {
		struct fake_option *o = &fake.options[i];

		if (o->fd == fd && o->level == level && o->name == name)
			return o;
	}
	return NULL;
}

int fake_option(int fd, int level, int name)
{
	const struct fake_option *o = find_option(fd, level, name);

	return o ? o->value : -1;
}

void fake_set_option(int fd, int level, int name, int value)
{
	struct fake_option *o = find_option(fd, level, name);

	if (!o) {
		assert_true(fake.n_options < FAKE_OPTIONS);
		o = &fake.options[fake.n_options++];
	}
	*o = (struct fake_option){ fd, level, name, value };
}

static int fake_setsockopt(int fd, int level, int name, const void *value,
			   socklen_t len)
{
	int number;

	if (fails())
		return -1;
	if (level == SOL_SOCKET && name == SO_MARK && fake.refuses_marks) {
		errno = EPERM;
		return -1;
	}
	if (level == SOL_SOCKET && name == SO_BINDTODEVICE) {
		int six, i = index_of(fd, &six);

		assert_in_range(len, 1, IFNAMSIZ - 1);
		memcpy(fake.device_of[six][i], value, len);
		fake.device_of[six][i][len] = 0;
		return 0;
	}
	if (level == SOL_SOCKET && name == SO_ATTACH_REUSEPORT_CBPF) {
		const struct sock_fprog *filter = value;

		assert_int_equal(len, sizeof(*filter));
		fake_set_option(fd, level, name, filter->len);
		return 0;
	}
	if (level == SOL_SOCKET && name == SO_MAX_PACING_RATE) {
		assert_int_equal(len, sizeof(fake.pacing_rate));
		memcpy(&fake.pacing_rate, value, len);
		len = sizeof(number);
	}
	/* The clock is the first member of struct sock_txtime. */
	if (level == SOL_SOCKET && name == SO_TXTIME)
		len = sizeof(number);
	if (len != sizeof(number))
		return 0;
	memcpy(&number, value, sizeof(number));
	/* The kernel doubles the size of a buffer that is set, and returns the
	 * doubled size (socket(7)). */
	if (level == SOL_SOCKET && name == SO_RCVBUFFORCE)
		name = SO_RCVBUF;
	if (level == SOL_SOCKET && name == SO_SNDBUFFORCE)
		name = SO_SNDBUF;
	if (level == SOL_SOCKET && (name == SO_RCVBUF || name == SO_SNDBUF))
		number *= 2;
	fake_set_option(fd, level, name, number);
	return 0;
}

/* The kernel's length counts the final 0, and is 0 for no name. */
static int get_device(int fd, char *out, socklen_t *len)
{
	int six, i = index_of(fd, &six);
	size_t n = strlen(fake.device_of[six][i]);

	assert_int_equal(*len, IFNAMSIZ);
	if (fails())
		return -1;
	*len = n ? (socklen_t)n + 1 : 0;
	memcpy(out, fake.device_of[six][i], *len);
	return 0;
}

/* SO_MEMINFO: the test sets the drops by fake_set_option(). */
static int read_meminfo(int fd, void *value, socklen_t *len)
{
	int drops = fake_option(fd, SOL_SOCKET, SO_MEMINFO);
	uint32_t info[SK_MEMINFO_VARS];

	if (fails())
		return -1;
	memset(info, 0xff, sizeof(info));
	info[SK_MEMINFO_DROPS] = drops < 0 ? 0 : (uint32_t)drops;
	*len = (socklen_t)size_min(*len, sizeof(info));
	memcpy(value, info, *len);
	return 0;
}

static int fake_getsockopt(int fd, int level, int name, void *value,
			   socklen_t *len)
{
	int result = fake_option(fd, level, name);

	if (level == SOL_SOCKET && name == SO_BINDTODEVICE)
		return get_device(fd, value, len);
	if (level == SOL_SOCKET && name == SO_MEMINFO)
		return read_meminfo(fd, value, len);
	assert_int_equal(*len, sizeof(result));
	if (fails())
		return -1;
	if (result < 0)
		result = 0;
	if (level == SOL_SOCKET && name == SO_DOMAIN)
		result = fake_family(fd);
	if (level == SOL_SOCKET && name == SO_TYPE)
		result = SOCK_DGRAM;
	if (level == SOL_SOCKET && name == SO_PROTOCOL)
		result = IPPROTO_UDP;
	if (level == IPPROTO_UDP &&
	    ((name == UDP_GRO && fake.gro_unreadable) ||
	     (name == UDP_SEGMENT && fake.no_segment))) {
		errno = ENOPROTOOPT;
		return -1;
	}
	memcpy(value, &result, sizeof(result));
	return 0;
}

static int fake_close(int fd)
{
	fake.open_fds--;
	if (fd == FAKE_WAKE_FD)
		return 0;
	int six, i = index_of(fd, &six);

	fake.is_open[six][i] = false;
	/* The next socket may get this descriptor, and must not find the port
	 * shared. The other options stay, so that a test can read them. */
	if (find_option(fd, SOL_SOCKET, SO_REUSEPORT))
		find_option(fd, SOL_SOCKET, SO_REUSEPORT)->value = 0;
	return 0;
}

static int fake_ioctl(int fd, unsigned long request, int *value)
{
	assert_int_equal(request, SIOCOUTQ);
	errno = ENOTTY;
	if (fake.outq < 0)
		return -1;
	*value = fake.outq_of ? fake.outq_of(fd) : fake.outq;
	return 0;
}

/* poll(2) without a timeout. */
static int look(struct pollfd *fds, nfds_t n)
{
	int n_ready = 0;

	for (nfds_t i = 0; i < n; i++) {
		if (fake.ready)
			fds[i].revents = fake.ready(fds[i].fd);
		else
			fds[i].revents =
				fake_has_error(fds[i].fd) ? POLLERR : 0;
		n_ready += fds[i].revents != 0;
	}
	return n_ready;
}

/* Sleep with the descriptors of sockets. */
static int sleep_for(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	fake.polls++;
	fake.pauses += !n;
	for (nfds_t i = 0; i < n; i++)
		fds[i].revents = (short)(fds[i].events & ~POLLRDHUP);
	if (n && fake.poll)
		return fake.poll(fds, n, timeout_ms);
	if (!n && fake.signal_in_pause) {
		errno = EINTR;
		return -1;
	}
	fake.now_ms += timeout_ms < 0 || timeout_ms > 3 ? 3 : timeout_ms;
	return n > 0;
}

static int fake_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	if (!timeout_ms && n)
		return look(fds, n);
	struct pollfd *wake =
		n && fds[n - 1].fd == FAKE_WAKE_FD ? &fds[--n] : NULL;
	int ready = sleep_for(fds, n, timeout_ms);

	if (!wake || ready < 0)
		return ready;
	wake->revents = fake.wake_units ? POLLIN : 0;
	return ready + (fake.wake_units != 0);
}

static int fake_eventfd(unsigned int value, int flags)
{
	assert_int_equal(flags, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	errno = fake.eventfd_err;
	if (errno)
		return -1;
	fake.eventfds++;
	fake.open_fds++;
	fake.wake_units = value;
	return FAKE_WAKE_FD;
}

/* With EFD_SEMAPHORE a read takes one unit. */
static ssize_t fake_read(int fd, void *buf, size_t len)
{
	uint64_t one = 1;

	assert_int_equal(fd, FAKE_WAKE_FD);
	assert_int_equal(len, sizeof(one));
	errno = EAGAIN;
	if (!fake.wake_units)
		return -1;
	fake.wake_units--;
	memcpy(buf, &one, sizeof(one));
	return sizeof(one);
}

static ssize_t fake_write(int fd, const void *buf, size_t len)
{
	uint64_t units;

	assert_int_equal(fd, FAKE_WAKE_FD);
	assert_int_equal(len, sizeof(units));
	memcpy(&units, buf, sizeof(units));
	assert_true(units > 0);
	fake.wake_units += units;
	/* errno may have any value after a call that succeeds. */
	errno = EXDEV;
	return sizeof(units);
}

static int fake_membarrier(int cmd)
{
	if (fake.no_membarrier) {
		errno = ENOSYS;
		return -1;
	}
	if (cmd == MEMBARRIER_CMD_QUERY)
		return MEMBARRIER_CMD_GLOBAL;
	assert_int_equal(cmd, MEMBARRIER_CMD_GLOBAL);
	fake.membarriers++;
	return fake.membarrier ? fake.membarrier() : 0;
}

static int fake_uname(struct utsname *out)
{
	snprintf(out->release, sizeof(out->release), "%s", fake.release);
	return 0;
}

static int64_t fake_now_ms(void)
{
	return fake.now_ms;
}

const struct ug_sys fake_sys = {
	.socket = fake_socket,
	.bind = fake_bind,
	.connect = fake_connect,
	.getsockname = fake_getsockname,
	.getpeername = fake_getpeername,
	.setsockopt = fake_setsockopt,
	.getsockopt = fake_getsockopt,
	.close = fake_close,
	.sendmmsg = fake_sendmmsg,
	.sendmsg = fake_sendmsg,
	.recvmmsg = fake_recvmmsg,
	.recvmsg = fake_recvmsg,
	.ioctl = fake_ioctl,
	.poll = fake_poll,
	.eventfd = fake_eventfd,
	.read = fake_read,
	.write = fake_write,
	.membarrier = fake_membarrier,
	.uname = fake_uname,
	.now_ms = fake_now_ms,
};
