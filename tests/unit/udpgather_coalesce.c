/* SPDX-License-Identifier: MIT */
/*
 * The messages that ug_coalesce() makes of a window, compared to the length of
 * each vector. udpgather_world.h describes their form as text.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "tests/unit/udpgather_world.h"

static void few_datagrams(void **state)
{
	static const struct {
		size_t lens[6];
		size_t n;
		const char *expected;
	} table[] = {
		{ { 1 }, 1, "[1]" },
		{ { 1, 1 }, 2, "[1,1]/1" },
		{ { 2, 1 }, 2, "[2,1]/2" },
		{ { 2, 1, 2 }, 3, "[2,1]/2 [2]" },
		{ { 2, 2, 2 }, 3, "[2,2,2]/2" },
		{ { 1, 2 }, 2, "[1] [2]" },
		{ { 3, 3, 1, 1, 3 }, 5, "[3,3,1]/3 [1] [3]" },
		{ { 0 }, 1, "[0]" },
		{ { 0, 0 }, 2, "[0] [0]" },
		{ { 5, 0, 5 }, 3, "[5] [0] [5]" },
		{ { 5, 5, 0, 5, 5 }, 5, "[5,5]/5 [0] [5,5]/5" },
		{ { 0, 5, 5 }, 3, "[0] [5,5]/5" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		window(AF_INET);
		for (size_t k = 0; k < table[i].n; k++)
			datagram(table[i].lens[k]);
		assert_string_equal(render(), table[i].expected);
		assert_ptr_equal(bench.msgs[0].msg_hdr.msg_name, &v4[0].addr);
		assert_int_equal(bench.msgs[0].msg_hdr.msg_namelen,
				 sizeof(struct sockaddr_in));
	}
}

/* "[len,len,...]/len" with @n entries */
static size_t expect_train(char *out, size_t n, size_t len)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++)
		at += (size_t)sprintf(out + at, "%c%zu", i ? ',' : '[', len);
	at += (size_t)sprintf(out + at, "]");
	if (n > 1)
		at += (size_t)sprintf(out + at, "/%zu", len);
	return at;
}

static void many_equal(void **state)
{
	static const size_t counts[] = { 63, 64, 65, 128, 129 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		char expected[2048];
		size_t at = 0;

		window(AF_INET);
		for (size_t k = 0; k < counts[i]; k++)
			datagram(100);
		for (size_t left = counts[i], n; left; left -= n) {
			n = size_min(left, UG_MAX_SEGMENTS);
			if (at)
				expected[at++] = ' ';
			at += expect_train(expected + at, n, 100);
		}
		assert_string_equal(render(), expected);
	}
}

static void segment_caps(void **state)
{
	(void)state;
	window(AF_INET);
	for (int i = 0; i < 5; i++)
		datagram(7);
	bench.job.max_segments = 2;
	assert_string_equal(render(), "[7,7]/7 [7,7]/7 [7]");
	bench.job.max_segments = 1;
	assert_string_equal(render(), "[7] [7] [7] [7] [7]");
}

/* Trains of one byte less than the limit, of just the limit, and of more. */
static void train_bytes(void **state)
{
	static const struct {
		int family;
		size_t limit;
	} table[] = {
		{ AF_INET, UG_MAX_TRAIN_IPV4 },
		{ AF_INET6, UG_MAX_TRAIN_IPV6 },
	};

	(void)state;
	assert_int_equal(UG_MAX_TRAIN_IPV4, 65493);
	assert_int_equal(UG_MAX_TRAIN_IPV6, 65473);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		for (int d = -1; d <= 1; d++) {
			size_t tail = table[i].limit - 40000 + (size_t)d;
			char expected[64];

			window(table[i].family);
			datagram(40000);
			datagram(tail);
			snprintf(expected, sizeof(expected),
				 d <= 0 ? "[40000,%zu]/40000" : "[40000] [%zu]",
				 tail);
			assert_string_equal(render(), expected);
		}
	}
}

/* A datagram that is longer than a train may be goes alone. */
static void datagram_bytes(void **state)
{
	(void)state;
	for (int d = -1; d <= 1; d++) {
		char expected[64];
		size_t len = (size_t)(UG_MAX_TRAIN_IPV4 + d);

		window(AF_INET);
		datagram(len);
		datagram(1);
		snprintf(expected, sizeof(expected),
			 d < 0 ? "[%zu,1]/%zu" : "[%zu] [1]", len, len);
		assert_string_equal(render(), expected);
	}
	window(AF_INET);
	datagram(UG_MAX_DATAGRAM_IPV4);
	datagram(UG_MAX_DATAGRAM_IPV4);
	assert_string_equal(render(), "[65507] [65507]");
	window(AF_INET6);
	datagram(UG_MAX_DATAGRAM_IPV6);
	datagram(UG_MAX_DATAGRAM_IPV6);
	assert_string_equal(render(), "[65527] [65527]");
}

/* Datagrams to other endpoints may stand between those of a train. */
static void mixed_endpoints(void **state)
{
	(void)state;
	window(AF_INET);
	datagram(10)->to = &v4[0];
	datagram(10)->to = &v4[1];
	datagram(10)->to = &v4[0];
	datagram(4)->to = &v4[1];
	datagram(10)->to = &v4[1];
	datagram(10)->to = &v4[0];
	assert_string_equal(render(), "[10,10,10]/10 [10,4]/10 [10]");
	assert_ptr_equal(bench.msgs[0].msg_hdr.msg_name, &v4[0].addr);
	assert_ptr_equal(bench.msgs[1].msg_hdr.msg_name, &v4[1].addr);
	assert_ptr_equal(bench.msgs[2].msg_hdr.msg_name, &v4[1].addr);
}

/* Another pointer to an equal endpoint is the same endpoint. */
static void equal_endpoints(void **state)
{
	struct ug_endpoint copy = v4[0];

	(void)state;
	window(AF_INET);
	datagram(10)->to = &v4[0];
	datagram(10)->to = &copy;
	copy.addr.v4.sin_zero[0] = 1; /* padding does not count */
	assert_string_equal(render(), "[10,10]/10");
}

/*
 * A datagram with another TOS or source ends the train to its endpoint. Later
 * datagrams do not join that train, as they would overtake.
 */
static void order_is_kept(void **state)
{
	struct ug_endpoint pinned = v4[0];

	(void)state;
	window(AF_INET);
	datagram(10);
	datagram(10)->tos = 1;
	datagram(10);
	assert_string_equal(render(), "[10] [10] [10]");

	pinned.source.state = UG_SOURCE_PINNED;
	pinned.source.addr[3] = 9;
	window(AF_INET);
	datagram(10);
	datagram(10)->to = &pinned;
	datagram(10)->to = &pinned;
	datagram(10);
	assert_string_equal(render(), "[10] [10,10]/10 [10]");
	assert_int_equal(bench.msgs[0].msg_hdr.msg_controllen, 0);
	assert_int_equal(bench.msgs[1].msg_hdr.msg_controllen,
			 CMSG_SPACE(sizeof(struct in_pktinfo)) + CMSG_SPACE(2));
}

/*
 * Messages go to the kernel unchanged. The kernel's lengths are size_t. A C
 * library may have shorter lengths with padding beside them, and the padding
 * must be zero.
 */
static void lengths_of_the_kernel(void **state)
{
	/* struct user_msghdr of the kernel, and the start of its struct cmsghdr. */
	struct {
		void *name;
		int namelen;
		struct iovec *iov;
		size_t iovlen;
		void *control;
		size_t controllen;
		unsigned int flags;
	} seen;
	size_t first_len;

	(void)state;
	window(AF_INET);
	datagram(10);
	datagram(10);
	datagram(9);
	memset(bench.msgs, 0xff, sizeof(bench.msgs));
	memset(bench.spaces, 0xff, sizeof(bench.spaces));
	assert_string_equal(render(), "[10,10,9]/10");
	assert_int_equal(sizeof(seen), sizeof(bench.msgs[0].msg_hdr));
	memcpy(&seen, &bench.msgs[0].msg_hdr, sizeof(seen));
	assert_int_equal(seen.namelen, sizeof(struct sockaddr_in));
	assert_int_equal(seen.iovlen, 3);
	assert_int_equal(seen.controllen, CMSG_SPACE(sizeof(uint16_t)));
	assert_int_equal(seen.flags, 0);
	memcpy(&first_len, seen.control, sizeof(first_len));
	assert_int_equal(first_len, CMSG_LEN(sizeof(uint16_t)));
}

/* A learned source is used only in the generation in which it was learned. */
static void old_sources(void **state)
{
	struct ug_endpoint learned = v4[0];

	(void)state;
	learned.source.state = ug_path_generation(paths);
	learned.source.addr[0] = 127;
	window(AF_INET);
	datagram(10)->to = &learned;
	render();
	assert_int_equal(bench.msgs[0].msg_hdr.msg_controllen,
			 CMSG_SPACE(sizeof(struct in_pktinfo)));
	bench.job.generation++;
	render();
	assert_int_equal(bench.msgs[0].msg_hdr.msg_controllen, 0);
}

static void several_vectors(void **state)
{
	(void)state;
	/* Vectors with gaps between them stay apart. Empty vectors vanish. */
	window(AF_INET);
	vector(0, 4);
	vector(100, 0);
	vector(200, 6);
	done();
	vector(300, 10);
	done();
	assert_string_equal(render(), "[4,6,10]/10");

	/*
	 * Vectors that touch in memory become one, inside a datagram and across
	 * datagrams.
	 */
	window(AF_INET);
	vector(0, 4);
	vector(4, 6);
	done();
	vector(10, 10);
	done();
	vector(30, 10);
	done();
	vector(40, 3);
	done();
	assert_string_equal(render(), "[20,13]/10");

	/* A datagram of no vectors, and one of empty ones only. */
	window(AF_INET);
	done();
	vector(0, 0);
	vector(8, 0);
	done();
	assert_string_equal(render(), "[] []");
}

/* A message has at most 1,024 vectors. Vectors that touch in memory are joined,
 * and count as one. */
static void vector_limit(void **state)
{
	(void)state;
	window(AF_INET);
	for (size_t i = 0; i < 3; i++) {
		for (size_t k = 0; k < 512; k++)
			vector((i * 512 + k) * 2, 1);
		done();
	}
	render();
	assert_int_equal(bench.msgs[0].msg_hdr.msg_iovlen, UG_MAX_VECTORS);
	assert_int_equal(bench.msgs[1].msg_hdr.msg_iovlen, 512);
	assert_int_equal(segment_len(&bench.msgs[0].msg_hdr), 512);

	window(AF_INET);
	for (size_t i = 0; i < 3; i++) {
		for (size_t k = 0; k < 512; k++)
			vector(i * 512 + k, 1);
		done();
	}
	assert_string_equal(render(), "[1536]/512");

	/* With the second datagram the message would have 1,025 vectors. */
	window(AF_INET);
	for (size_t k = 0; k < UG_MAX_VECTORS; k++)
		vector(k * 2, 1);
	done();
	vector(5000, 1);
	done();
	render();
	assert_int_equal(bench.msgs[0].msg_hdr.msg_iovlen, UG_MAX_VECTORS);
	assert_int_equal(segment_len(&bench.msgs[0].msg_hdr), 0);
	assert_int_equal(bench.msgs[1].msg_hdr.msg_iovlen, 1);
}

/* If the array for vectors is full, other datagrams wait for the next call. */
static void scratch_is_bounded(void **state)
{
	(void)state;
	window(AF_INET);
	for (size_t i = 0; i < 5; i++) {
		vector(i * 1000, 10);
		vector(i * 1000 + 500, 10);
		done();
	}
	bench.m.iov_cap = 7;
	assert_string_equal(render(), "[10,10,10,10,10,10]/20");
	assert_true(bench.m.truncated);
	for (size_t i = 0; i < 3; i++)
		bench.status[i] = UG_SENT;
	assert_string_equal(render(), "[10,10,10,10]/20");
	assert_false(bench.m.truncated);
}

/*
 * Two datagrams with many vectors come first, then 62 with one vector each,
 * which take a fast path. The first two take 1,024 + 60 of the 1,024 + 64
 * places in the array for vectors, so 4 of the 62 have room.
 */
static void scratch_ends_in_a_run(void **state)
{
	enum {
		CAP = UG_MAX_VECTORS + 64
	};

	(void)state;
	window(AF_INET);
	for (size_t k = 0; k < UG_MAX_VECTORS; k++)
		vector(k * 3, 1);
	done();
	for (size_t k = 0; k < 60; k++)
		vector(k * 3 + 1, 1);
	done();
	for (size_t i = 0; i < 62; i++) {
		vector(100000 + i * 100, 64);
		done()->to = &v4[1];
	}
	bench.m.iov_cap = CAP;
	bench.job.n = bench.n;
	assert_int_equal(ug_coalesce(&bench.m, &bench.job), 3);
	assert_true(bench.m.truncated);
	assert_int_equal(bench.msgs[0].msg_hdr.msg_iovlen, UG_MAX_VECTORS);
	assert_int_equal(bench.msgs[1].msg_hdr.msg_iovlen, 60);
	assert_int_equal(bench.msgs[2].msg_hdr.msg_iovlen, 4);
	/* Nothing was written beyond the end of the array. */
	for (size_t i = CAP; i < IOV; i++)
		assert_null(bench.iov[i].iov_base);
}

/*
 * Datagrams with one vector each join a message with many vectors only up to
 * the limit of vectors in a message.
 */
static void vector_limit_in_a_run(void **state)
{
	(void)state;
	window(AF_INET);
	for (size_t k = 0; k < 1000; k++)
		vector(k * 2, 1);
	done();
	for (size_t i = 0; i < 40; i++)
		datagram(1000);
	bench.job.n = bench.n;
	assert_int_equal(ug_coalesce(&bench.m, &bench.job), 2);
	assert_int_equal(bench.msgs[0].msg_hdr.msg_iovlen, UG_MAX_VECTORS);
	assert_int_equal(bench.msgs[1].msg_hdr.msg_iovlen, 16);

	/* On the fast path, too, vectors that touch in memory count as one. */
	window(AF_INET);
	for (size_t i = 0; i < 10; i++) {
		vector(i * 1023, 1023);
		done();
	}
	for (size_t k = 0; k < 1023; k++)
		vector(100000 + k * 2, 1);
	done();
	bench.job.n = bench.n;
	assert_int_equal(ug_coalesce(&bench.m, &bench.job), 1);
	assert_int_equal(bench.msgs[0].msg_hdr.msg_iovlen, UG_MAX_VECTORS);
}

/* A link-local source on another interface is another source. */
static void source_interfaces(void **state)
{
	struct ug_endpoint eps[2] = { v6[0], v6[0] };

	(void)state;
	for (uint32_t i = 0; i < 2; i++) {
		eps[i].source.state = UG_SOURCE_PINNED;
		eps[i].source.addr[0] = 0xfe;
		eps[i].source.addr[1] = 0x80;
		eps[i].source.ifindex = 1 + i;
	}
	window(AF_INET6);
	datagram(10)->to = &eps[0];
	datagram(10)->to = &eps[1];
	assert_string_equal(render(), "[10] [10]");
	eps[1].source.ifindex = 1;
	assert_string_equal(render(), "[10,10]/10");
}

/* An IPv6 socket that has IPv4 traffic, too, gets IPv4 addresses in the mapped
 * form, with the source and the TOS in the IPv4 control message. */
static void dual_socket(void **state)
{
	struct ug_endpoint ep = v4[0];
	struct sockaddr_in6 name;
	struct control_info info;

	(void)state;
	ep.source.state = UG_SOURCE_PINNED;
	memcpy(ep.source.addr, "\x0a\x09\x00\x01", 4);
	window(AF_INET6);
	datagram(10)->to = &ep;
	datagram(20)->to = &v6[0];
	datagram(10)->to = &ep;
	/* Not without the mark of the socket. */
	assert_string_equal(render(), "[20]");
	bench.job.is_dual = true;
	assert_string_equal(render(), "[10,10]/10 [20]");
	const struct msghdr *h = &bench.msgs[0].msg_hdr;

	assert_int_equal(h->msg_namelen, sizeof(name));
	memcpy(&name, h->msg_name, sizeof(name));
	assert_int_equal(name.sin6_family, AF_INET6);
	assert_int_equal(name.sin6_port, ep.addr.v4.sin_port);
	assert_true(IN6_IS_ADDR_V4MAPPED(&name.sin6_addr));
	assert_memory_equal(name.sin6_addr.s6_addr + 12, &ep.addr.v4.sin_addr,
			    4);
	assert_int_equal(
		ug_control_parse(h->msg_control, h->msg_controllen, &info), 0);
	assert_true(info.is_ipv4);
	assert_memory_equal(info.source.addr, ep.source.addr, 4);
	h = &bench.msgs[1].msg_hdr;
	assert_ptr_equal(h->msg_name, &v6[0].addr);
}

/* A message to the peer of a connected socket has no address, and no source if that
 * is the socket's own. */
static void connected(void **state)
{
	struct ug_endpoint peer, own, other;

	(void)state;
	ug_endpoint_parse(&peer, "[fe80::1%7]:1");
	memcpy(peer.source.addr, "\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x09", 16);
	peer.source.ifindex = 7;
	own = peer;
	own.source.state = UG_SOURCE_PINNED;
	other = own;
	other.source.ifindex = 8;
	window(AF_INET6);
	bench.job.peer = &peer;
	bench.job.to = NULL;
	datagram(10)->to = &own;
	datagram(10)->to = &peer;
	datagram(20)->to = &other;
	datagram(30)->to = &v6[0];
	assert_string_equal(render(), "[10,10]/10 [20] [30]");
	for (size_t i = 0; i < 3; i++) {
		const struct msghdr *h = &bench.msgs[i].msg_hdr;
		bool is_named = i == 2;

		assert_int_equal(h->msg_name != NULL, is_named);
		assert_int_equal(h->msg_namelen,
				 is_named ? sizeof(struct sockaddr_in6) : 0);
		assert_int_equal(bench.trains[i].source != NULL, i == 1);
	}
	/* Nothing but the segment size is in the way of the route that is kept. */
	assert_int_equal(bench.msgs[0].msg_hdr.msg_controllen,
			 CMSG_SPACE(sizeof(uint16_t)));
	/* Without a connection all of them have a name. */
	bench.job.peer = NULL;
	assert_string_equal(render(), "[10] [10] [20] [30]");
	for (size_t i = 0; i < 4; i++)
		assert_non_null(bench.msgs[i].msg_hdr.msg_name);
}

/*
 * Each endpoint finds its last train, even if many endpoints have the same hash
 * value.
 */
static void many_endpoints(void **state)
{
	enum {
		MANY = WINDOW / 2
	};
	static struct ug_endpoint eps[MANY];

	(void)state;
	window(AF_INET);
	for (size_t i = 0; i < WINDOW; i++) {
		eps[i % MANY] = v4[0];
		eps[i % MANY].addr.v4.sin_port = (in_port_t)(1 + i % MANY);
		datagram(10)->to = &eps[i % MANY];
	}
	bench.job.n = bench.n;
	assert_int_equal(ug_coalesce(&bench.m, &bench.job), MANY);
	for (size_t k = 0; k < MANY; k++)
		assert_int_equal(bench.trains[k].cnt, 2);
}

static void marks(void **state)
{
	struct ug_endpoint pinned = v4[0];

	(void)state;
	pinned.source.state = UG_SOURCE_PINNED;
	window(AF_INET);
	for (int i = 0; i < 6; i++)
		datagram(10)->to = &pinned;
	bench.status[0] = -EIO;
	bench.items[1].flags = ITEM_ALONE;
	bench.items[3].flags = ITEM_BARE;
	assert_string_equal(render(), "[10] [10] [10] [10,10]/10");
	assert_ptr_equal(bench.msgs[0].msg_hdr.msg_iov, bench.dgrams[1].iov);
	assert_int_equal(bench.msgs[2].msg_hdr.msg_controllen, 0);
}

/* Only datagrams of the requested family become messages. */
static void families(void **state)
{
	(void)state;
	window(AF_INET6);
	datagram(10)->to = &v6[0];
	datagram(10)->to = &v4[0];
	datagram(10)->to = &v6[0];
	assert_string_equal(render(), "[10,10]/10");
	assert_int_equal(bench.msgs[0].msg_hdr.msg_namelen,
			 sizeof(struct sockaddr_in6));
	bench.job.family = AF_INET;
	assert_string_equal(render(), "[10]");
}

/* A known limit of a path applies to the trains on that path only. */
static void path_caps(void **state)
{
	(void)state;
	ug_path_learn(paths, &v4[2], 99, 1000, false);
	ug_path_learn(paths, &v4[3], PATH_UNSEGMENTED, 1000, false);
	window(AF_INET);
	datagram(100)->to = &v4[2];
	datagram(100)->to = &v4[2];
	datagram(99)->to = &v4[2];
	datagram(99)->to = &v4[2];
	datagram(100)->to = &v4[1];
	datagram(100)->to = &v4[1];
	datagram(5)->to = &v4[3];
	datagram(5)->to = &v4[3];
	assert_string_equal(render(),
			    "[100] [100] [99,99]/99 [100,100]/100 [5] [5]");
	ug_path_forget_caps(paths);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(few_datagrams),
		cmocka_unit_test(many_equal),
		cmocka_unit_test(segment_caps),
		cmocka_unit_test(train_bytes),
		cmocka_unit_test(datagram_bytes),
		cmocka_unit_test(mixed_endpoints),
		cmocka_unit_test(equal_endpoints),
		cmocka_unit_test(order_is_kept),
		cmocka_unit_test(old_sources),
		cmocka_unit_test(lengths_of_the_kernel),
		cmocka_unit_test(several_vectors),
		cmocka_unit_test(vector_limit),
		cmocka_unit_test(scratch_is_bounded),
		cmocka_unit_test(scratch_ends_in_a_run),
		cmocka_unit_test(vector_limit_in_a_run),
		cmocka_unit_test(source_interfaces),
		cmocka_unit_test(dual_socket),
		cmocka_unit_test(connected),
		cmocka_unit_test(many_endpoints),
		cmocka_unit_test(marks),
		cmocka_unit_test(families),
		cmocka_unit_test(path_caps),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
