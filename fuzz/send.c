/* SPDX-License-Identifier: MIT */
/*
 * Datagrams and trains of any shape, through ug_send() and ug_send_trains(). The
 * kernel behind them takes as many messages as the input says, and refuses others
 * with an errno. The limits for copies and for segments, TOS, TTL and times come from
 * the input, too.
 *
 * Promises: a datagram that counts as sent was taken once, with its bytes, TOS, TTL
 * and time, in the order of its address; no other datagram was taken; behind an
 * unsent one nothing is sent to its address; no message is beyond a limit.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "base/bytes.h"
#include "fuzz/fuzz.h"
#include "fuzz/input.h"
#include "udpgather/sending.h"

enum {
	/* Numbers that no open file has. */
	FD4 = 1004,
	FD6 = 1006,
	/* Payload is cut out of so many bytes. */
	POOL_LEN = 1 << 17,
	/* Calls of an input, datagrams or trains of a call, vectors of each, datagrams
	 * of a train: choices, for many inputs a second. */
	CALLS = 6,
	PARCELS = 48,
	VECTORS = 6,
	TRAIN = 150,
	/* More than a call can send. */
	LOG = PARCELS * TRAIN,
	/* Addresses. The first three are IPv4. */
	PLACES = 5,
	PLACES_V4 = 3
};

/* A datagram or a train that is to be sent; @place is -1 if it names no address. */
struct parcel {
	struct ug_endpoint to;
	struct iovec iov[VECTORS];
	uint64_t time_ns;
	uint32_t n_iov;
	uint16_t segment_len;
	uint8_t tos;
	uint8_t ttl;
	int place;
	bool has_no_vectors;
};

/* A datagram that the kernel took. */
struct taken {
	uint32_t len;
	uint32_t digest;
	uint64_t time_ns;
	uint8_t tos;
	uint8_t ttl;
};

/* The control data of a message that is sent. */
struct said {
	size_t segment_len;
	uint64_t time_ns;
	int tos;
	int ttl;
	bool has_source;
	unsigned char source[16];
};

/* The log of an address, and how much of it was accounted for. */
struct place {
	struct ug_endpoint ep;
	struct taken log[LOG];
	size_t n_log;
	size_t at;
	bool is_unsent;
};

/* As ug_send_trains() of a later version might have it. */
struct longer_train {
	struct ug_train train;
	uint64_t more;
};

static unsigned char pool[POOL_LEN];
static struct place places[PLACES];
static struct input in;
static struct ug_socket sock;
static struct ug_batch *batch;
static unsigned int max_asked;
static int64_t now;

/* A number for the bytes @off to @off + @len - 1 of vectors. */
static uint32_t digest(const struct iovec *iov, size_t n, size_t off,
		       size_t len)
{
	uint32_t d = (uint32_t)len;

	for (size_t i = 0; i < n && len; i++) {
		const unsigned char *at = iov[i].iov_base;
		size_t part = iov[i].iov_len;

		if (off >= part) {
			off -= part;
			continue;
		}
		part = size_min(part - off, len);
		for (size_t k = 0; k < part; k++)
			d = d * 31 + at[off + k];
		len -= part;
		off = 0;
	}
	require(!len);
	return d;
}

static size_t total(const struct iovec *iov, size_t n)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++)
		len += iov[i].iov_len;
	return len;
}

static size_t count(size_t len, size_t segment_len)
{
	return segment_len && len ? (len + segment_len - 1) / segment_len : 1;
}

/* ------------------------------------------------------------- The kernel */

static int place_of(const struct msghdr *h, int fd)
{
	struct ug_endpoint ep;

	require(ug_endpoint_set(&ep, h->msg_name, h->msg_namelen) == 0);
	require(ep.addr.any.sa_family == AF_INET || fd == FD6);
	for (int p = 0; p < PLACES; p++)
		if (!ug_endpoint_compare(&ep, &places[p].ep))
			return p;
	require(false);
	return -1;
}

static void read_one(const struct cmsghdr *c, bool v4, struct said *out)
{
	const void *data = CMSG_DATA(c);
	int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;

	if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_SEGMENT) {
		uint16_t segment_len;

		require(c->cmsg_len == CMSG_LEN(sizeof(segment_len)));
		memcpy(&segment_len, data, sizeof(segment_len));
		require(segment_len);
		out->segment_len = segment_len;
	} else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TXTIME) {
		require(c->cmsg_len == CMSG_LEN(sizeof(out->time_ns)));
		memcpy(&out->time_ns, data, sizeof(out->time_ns));
	} else if (c->cmsg_level == level &&
		   c->cmsg_type == (v4 ? IP_TOS : IPV6_TCLASS)) {
		memcpy(&out->tos, data, sizeof(out->tos));
	} else if (c->cmsg_level == level &&
		   c->cmsg_type == (v4 ? IP_TTL : IPV6_HOPLIMIT)) {
		memcpy(&out->ttl, data, sizeof(out->ttl));
	} else if (c->cmsg_level == level &&
		   c->cmsg_type == (v4 ? IP_PKTINFO : IPV6_PKTINFO)) {
		out->has_source = true;
		memcpy(out->source,
		       (const char *)data +
			       (v4 ? offsetof(struct in_pktinfo, ipi_spec_dst)
				   : offsetof(struct in6_pktinfo, ipi6_addr)),
		       v4 ? 4 : 16);
	} else {
		require(false);
	}
}

static struct said read_control(const struct msghdr *h, bool v4)
{
	struct msghdr copy = *h;
	struct said out = { 0 };

	require(h->msg_controllen <= sizeof(struct control));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&copy); c;
	     c = CMSG_NXTHDR(&copy, c))
		read_one(c, v4, &out);
	return out;
}

/* No train is larger than kernel, socket and batch allow. */
static void check_limits(const struct said *s, bool v4, size_t len)
{
	size_t cnt = count(len, s->segment_len);

	if (!s->segment_len) {
		require(len <=
			(v4 ? UG_MAX_DATAGRAM_IPV4 : UG_MAX_DATAGRAM_IPV6));
		return;
	}
	require(sock.families[FAMILY_V6].can_segment);
	require(cnt > 1 && cnt <= batch->max_segments);
	require(max_asked == UG_SEGMENTS_AUTO || cnt <= max_asked);
	/* An IPv6 socket has the limit of IPv6 for both. */
	require(len <=
		(v4 && !sock.is_dual ? UG_MAX_TRAIN_IPV4 : UG_MAX_TRAIN_IPV6));
	if (sock.bad_kernel && max_asked == UG_SEGMENTS_AUTO)
		require(len % s->segment_len);
}

static void take_message(const struct msghdr *h, int fd)
{
	int p = place_of(h, fd);
	struct place *place = &places[p];
	bool v4 = p < PLACES_V4;
	struct said s = read_control(h, v4);
	size_t len = total(h->msg_iov, h->msg_iovlen), off = 0;

	require(h->msg_iovlen <= UG_MAX_VECTORS);
	check_limits(&s, v4, len);
	if (s.has_source)
		require(!memcmp(s.source, place->ep.source.addr, v4 ? 4 : 16));
	for (size_t k = count(len, s.segment_len); k; k--) {
		size_t part = s.segment_len ? size_min(s.segment_len, len - off)
					    : len;

		require(place->n_log < LOG);
		place->log[place->n_log++] = (struct taken){
			.len = (uint32_t)part,
			.digest = digest(h->msg_iov, h->msg_iovlen, off, part),
			.time_ns = s.time_ns,
			.tos = (uint8_t)s.tos,
			.ttl = (uint8_t)s.ttl,
		};
		off += part;
	}
}

/* How many messages are taken, 0 for an error. Behind its end the input takes all. */
static unsigned int draw_taken(unsigned int n)
{
	static const int errs[] = { EAGAIN,	 EINTR,	 EIO,
				    EMSGSIZE,	 EINVAL, EPERM,
				    ENOBUFS,	 ENOMEM, ECONNREFUSED,
				    ENETUNREACH, ENODEV, EADDRNOTAVAIL,
				    EACCES,	 EPIPE,	 ENOSYS,
				    EBADF };

	if (!in.left)
		return n;
	uint8_t byte = input_byte(&in);

	if (byte < 0xa0)
		return 1 + byte % n;
	errno = errs[byte % ARRAY_LEN(errs)];
	return 0;
}

static int send_many(int fd, struct mmsghdr *msgs, unsigned int n, int flags)
{
	(void)flags;
	require(n > 0 && n <= batch->cap);
	n = draw_taken(n);
	if (!n)
		return -1;
	for (unsigned int i = 0; i < n; i++)
		take_message(&msgs[i].msg_hdr, fd);
	return (int)n;
}

static ssize_t send_one(int fd, const struct msghdr *h, int flags)
{
	(void)flags;
	if (!draw_taken(1))
		return -1;
	take_message(h, fd);
	return (ssize_t)total(h->msg_iov, h->msg_iovlen);
}

static ssize_t no_errors(int fd, struct msghdr *h, int flags)
{
	(void)fd;
	(void)h;
	(void)flags;
	errno = EAGAIN;
	return -1;
}

static int sleep_some(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	now += timeout_ms > 0 ? timeout_ms : 1;
	if (!n || !(input_byte(&in) & 1))
		return 0;
	fds->revents = input_byte(&in) & 1 ? POLLOUT : POLLERR;
	return 1;
}

/* The library then sleeps without it. */
static int no_eventfd(unsigned int value, int flags)
{
	(void)value;
	(void)flags;
	errno = EMFILE;
	return -1;
}

static int waiting_bytes(int fd, unsigned long request, int *value)
{
	(void)fd;
	require(request == SIOCOUTQ);
	*value = input_byte(&in) & 1;
	return 0;
}

static int64_t time_now(void)
{
	return now;
}

/* -------------------------------------------------------------- The input */

static size_t draw_len(void)
{
	uint8_t kind = input_byte(&in) & 7;

	if (kind == 7)
		return input_u16(&in);
	return kind > 3 ? input_u16(&in) % 3000 : input_byte(&in);
}

/* Vectors anywhere in the pool, side by side, or one and the same. */
static void draw_vectors(struct parcel *parcel)
{
	size_t at = input_u16(&in);

	parcel->n_iov = input_byte(&in) % (VECTORS + 1);
	for (size_t i = 0; i < parcel->n_iov; i++) {
		size_t len = draw_len();

		if (at + len > POOL_LEN)
			at = 0;
		parcel->iov[i] = (struct iovec){ pool + at, len };
		at += input_byte(&in) & 1 ? len : len + 1;
	}
}

static void draw_parcel(struct parcel *parcel)
{
	uint8_t byte = input_byte(&in);
	uint32_t generation = ug_path_generation(sock.paths);

	*parcel = (struct parcel){ .place = byte % (PLACES + 1) - 1 };
	if (parcel->place >= 0)
		parcel->to = places[parcel->place].ep;
	else if (byte & 0x80)
		parcel->to.addr.any.sa_family = AF_INET; /* port 0 */
	if (byte & 0x40)
		parcel->to.source.state =
			byte & 0x20 ? UG_SOURCE_PINNED : generation;
	parcel->has_no_vectors = byte == 0xff;
	parcel->tos = (uint8_t)(input_byte(&in) & 3);
	draw_vectors(parcel);
}

static void draw_train(struct parcel *parcel)
{
	uint8_t byte;
	size_t len;

	draw_parcel(parcel);
	byte = input_byte(&in);
	len = total(parcel->iov, parcel->n_iov);
	parcel->ttl = byte & 1 ? 9 : 0;
	parcel->time_ns = byte & 2 ? UINT64_MAX - byte : 0;
	if (byte & 4)
		parcel->segment_len =
			(uint16_t)size_max(draw_len(), len / TRAIN + 1);
}

/* ------------------------------------------------------------ The account */

static bool is_datagram(const struct parcel *parcel, size_t k,
			const struct taken *t)
{
	size_t len = total(parcel->iov, parcel->n_iov);
	size_t off = k * parcel->segment_len;
	size_t part = parcel->segment_len
			      ? size_min(parcel->segment_len, len - off)
			      : len;

	return t->len == part && t->tos == parcel->tos &&
	       t->ttl == parcel->ttl &&
	       t->time_ns == (sock.uses_times ? parcel->time_ns : 0) &&
	       t->digest == digest(parcel->iov, parcel->n_iov, off, part);
}

/* The next @n_sent datagrams in the log of an address are those of @parcel. */
static void account(const struct parcel *parcel, size_t n_sent, int status)
{
	size_t cnt =
		count(total(parcel->iov, parcel->n_iov), parcel->segment_len);

	require(status == UG_SENT || status == UG_UNSENT || status < 0);
	if (parcel->place < 0 || parcel->has_no_vectors) {
		require(status < 0 && !n_sent);
		return;
	}
	struct place *place = &places[parcel->place];

	require(n_sent <= cnt && (status == UG_SENT) == (n_sent == cnt));
	require(!place->is_unsent || !n_sent);
	for (size_t k = 0; n_sent; k++, n_sent--) {
		require(place->at < place->n_log);
		const struct taken *t = &place->log[place->at++];

		/* If some have failed, those between were sent. */
		while (status < 0 && k < cnt && !is_datagram(parcel, k, t))
			k++;
		require(k < cnt && is_datagram(parcel, k, t));
	}
	if (status == UG_UNSENT)
		place->is_unsent = true;
}

static uint64_t count_datagrams(void)
{
	struct ug_send_stats stats;

	ug_get_send_stats(batch, &stats, sizeof(stats));
	return stats.datagrams;
}

/* All that was taken is accounted for. */
static void close_account(size_t sent, size_t returned, uint64_t before)
{
	require(sent == returned);
	require(count_datagrams() - before == sent);
	for (int p = 0; p < PLACES; p++) {
		require(places[p].at == places[p].n_log);
		places[p].at = places[p].n_log = 0;
		places[p].is_unsent = false;
	}
}

static void send_datagrams(struct parcel *parcels, size_t n, int timeout_ms)
{
	struct ug_datagram dgrams[PARCELS];
	uint64_t before = count_datagrams();
	uint8_t lens[PARCELS];
	int status[PARCELS];
	size_t sent = 0;

	for (size_t i = 0; i < n; i++) {
		draw_parcel(&parcels[i]);
		dgrams[i] = (struct ug_datagram){
			.iov = parcels[i].iov,
			.n_iov = parcels[i].n_iov,
			.tos = parcels[i].tos,
			.to = parcels[i].place < 0 && parcels[i].tos
				      ? NULL
				      : &parcels[i].to,
		};
		if (parcels[i].has_no_vectors) {
			dgrams[i].iov = NULL;
			dgrams[i].n_iov = 1;
		}
	}
	ug_set_train_lengths(batch, lens, n);
	size_t returned =
		ug_send(&sock, batch, NULL, dgrams, n, status, timeout_ms);

	for (size_t i = 0; i < n; i++) {
		bool is_sent = status[i] == UG_SENT;

		require((lens[i] > 0) == is_sent);
		account(&parcels[i], is_sent, status[i]);
		sent += is_sent;
	}
	close_account(sent, returned, before);
}

static void send_trains(struct parcel *parcels, size_t n, int timeout_ms)
{
	struct longer_train trains[PARCELS];
	uint64_t before = count_datagrams();
	size_t sent = 0;

	for (size_t i = 0; i < n; i++) {
		draw_train(&parcels[i]);
		trains[i].train = (struct ug_train){
			.to = parcels[i].place < 0 && parcels[i].tos
				      ? NULL
				      : &parcels[i].to,
			.iov = parcels[i].has_no_vectors ? NULL
							 : parcels[i].iov,
			.n_iov = parcels[i].has_no_vectors ? 1
							   : parcels[i].n_iov,
			.time_ns = parcels[i].time_ns,
			.segment_len = parcels[i].segment_len,
			.tos = parcels[i].tos,
			.ttl = parcels[i].ttl,
		};
	}
	size_t returned = ug_send_trains(&sock, batch, &trains[0].train,
					 sizeof(trains[0]), n, timeout_ms);

	for (size_t i = 0; i < n; i++) {
		account(&parcels[i], trains[i].train.n_sent,
			trains[i].train.status);
		sent += trains[i].train.n_sent;
	}
	close_account(sent, returned, before);
}

/* --------------------------------------------------------------- The socket */

static void set_up_place(int p, const char *text, const char *source)
{
	struct ug_endpoint from;

	require(ug_endpoint_parse(&places[p].ep, text) == 0);
	require(ug_endpoint_parse(&from, source) == 0);
	if (p < PLACES_V4)
		memcpy(places[p].ep.source.addr, &from.addr.v4.sin_addr, 4);
	else
		memcpy(places[p].ep.source.addr, &from.addr.v6.sin6_addr, 16);
}

static void set_up(void)
{
	for (size_t i = 0; i < POOL_LEN; i++)
		pool[i] = (unsigned char)(i * 7 + i / 251);
	set_up_place(0, "10.0.0.1:1", "10.0.0.9:1");
	set_up_place(1, "10.0.0.2:1", "10.0.0.9:1");
	/* The same address, another port. */
	set_up_place(2, "10.0.0.1:2", "10.0.0.8:1");
	set_up_place(3, "[fd00::1]:1", "[fd00::9]:1");
	set_up_place(4, "[fd00::2]:1", "[fd00::8]:1");
}

static void open_socket(const struct ug_sys *sys)
{
	/* 0 is never, as for ug_staging_take(). */
	static const size_t copy_below[] = { 0, 100, MESSAGE_COPY_BELOW,
					     SIZE_MAX };
	uint8_t byte = input_byte(&in);

	memset(&sock, 0, sizeof(sock));
	uint8_t more = input_byte(&in);

	ug_wake_init(&sock.wake);
	sock.uses_times = more & 1;
	sock.retry_eperm = more & 2;
	sock.control_flags = more >> 2 & 3;
	sock.sys = sys;
	sock.paths = ug_path_table_new();
	require(sock.paths != NULL);
	sock.is_dual = byte & 1;
	sock.bad_kernel = byte & 2;
	sock.copy_below = copy_below[byte >> 2 & 3];
	for (int f = 0; f < FAMILIES; f++) {
		struct family *fam = &sock.families[f];

		fam->fd = f == FAMILY_V6 ? FD6 : sock.is_dual ? -1 : FD4;
		fam->af = f == FAMILY_V4 ? AF_INET : AF_INET6;
		fam->can_segment = !(byte & 0x80);
	}
	max_asked = byte & 0x10 ? input_byte(&in) % (UG_MAX_SEGMENTS + 1) : 0;
	require(ug_set_segments(&sock, max_asked) == 0);
	require(ug_batch_new(&batch, 1 + input_byte(&in) % 64) == 0);
	require(ug_batch_set_segments(batch, byte & 0x20 ? input_byte(&in) % 65
							 : 0) == 0);
	ug_batch_set_urgent(batch, byte & 0x40);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct parcel parcels[PARCELS];
	struct ug_sys sys = {
		.sendmmsg = send_many,
		.sendmsg = send_one,
		.recvmsg = no_errors,
		.ioctl = waiting_bytes,
		.poll = sleep_some,
		.eventfd = no_eventfd,
		.now_ms = time_now,
	};

	if (!pool[1])
		set_up();
	in = (struct input){ data, len };
	now = 1000;
	open_socket(&sys);
	for (unsigned int call = 0; call < CALLS && in.left; call++) {
		uint8_t byte = input_byte(&in);
		size_t n = 1 + input_byte(&in) % PARCELS;
		/* 0, 1, 2 ms, or without end. */
		int timeout_ms = (byte >> 1 & 3) - 1;

		now += input_byte(&in) * 20;
		if (byte & 1)
			send_trains(parcels, n, timeout_ms);
		else
			send_datagrams(parcels, n, timeout_ms);
	}
	ug_batch_free(batch);
	ug_wake_deinit(&sock.wake, &sys);
	ug_path_table_put(sock.paths);
	return 0;
}
