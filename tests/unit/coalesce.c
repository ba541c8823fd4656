/* SPDX-License-Identifier: MIT */
/*
 * What coalesce() makes of a window, to the length of every vector. Results
 * are compared as text: a message is its vectors in brackets, then "/" and
 * the segment size if it has one: "[2,1]/2 [2]".
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "udpgather/coalesce.h"

enum {
	WINDOW = 256,
	IOV = 4096,
	MEMORY = 1 << 22,
	TEXT = 1 << 16
};

/* One window, and what it was coalesced to. */
struct bench {
	struct ug_datagram dgrams[WINDOW];
	struct item items[WINDOW];
	int status[WINDOW];
	struct iovec vectors[IOV];
	size_t n;
	size_t n_vectors;
	struct coalesce_job job;
	struct messages m;
	struct mmsghdr msgs[WINDOW];
	struct control controls[WINDOW];
	struct train trains[WINDOW];
	struct iovec iov[IOV];
	char text[TEXT];
};

static struct bench b;
static unsigned char memory[MEMORY];
static struct path_table *paths;
static struct ug_endpoint v4[4], v6[2];

static int setup(void **state)
{
	(void)state;
	paths = path_table_new();
	for (size_t i = 0; i < ARRAY_LEN(v4); i++) {
		char text[32];

		snprintf(text, sizeof(text), "127.0.0.%zu:1", i + 1);
		assert_int_equal(ug_endpoint_parse(&v4[i], text), 0);
	}
	assert_int_equal(ug_endpoint_parse(&v6[0], "[::1]:1"), 0);
	assert_int_equal(ug_endpoint_parse(&v6[1], "[::2]:1"), 0);
	return paths ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	path_table_free(paths);
	return 0;
}

static void window(int family)
{
	memset(&b, 0, sizeof(b));
	for (size_t i = 0; i < WINDOW; i++)
		b.status[i] = UG_UNSENT;
	b.m = (struct messages){
		.msgs = b.msgs,
		.controls = b.controls,
		.trains = b.trains,
		.iov = b.iov,
		.iov_cap = IOV,
	};
	b.job = (struct coalesce_job){
		.dgrams = b.dgrams,
		.items = b.items,
		.status = b.status,
		.family = family,
		.to = family == AF_INET ? &v4[0] : &v6[0],
		.max_segments = UG_MAX_SEGMENTS,
		.paths = paths,
		.generation = path_generation(paths),
	};
}

/* Append a vector to the datagram that is being made. */
static void vector(size_t off, size_t len)
{
	struct ug_datagram *d = &b.dgrams[b.n];

	assert_true(off + len <= MEMORY && b.n_vectors < IOV);
	if (!d->iov)
		d->iov = &b.vectors[b.n_vectors];
	b.vectors[b.n_vectors++] = (struct iovec){ memory + off, len };
	d->n_iov++;
	b.items[b.n].len += (uint32_t)len;
}

static struct ug_datagram *done(void)
{
	assert_true(b.n < WINDOW);
	return &b.dgrams[b.n++];
}

/* A datagram of one vector that touches no other one in memory. */
static struct ug_datagram *datagram(size_t len)
{
	vector(b.n * 66000 % (MEMORY - 66000), len);
	return done();
}

static size_t segment_len(const struct msghdr *h)
{
	size_t off = 0;

	while (off < h->msg_controllen) {
		struct cmsghdr head;
		uint16_t value;

		memcpy(&head, (char *)h->msg_control + off, sizeof(head));
		memcpy(&value, (char *)h->msg_control + off + CMSG_LEN(0),
		       sizeof(value));
		if (head.cmsg_level == IPPROTO_UDP) {
			assert_int_equal(head.cmsg_type, UDP_SEGMENT);
			assert_int_equal(head.cmsg_len, CMSG_LEN(2));
			return value;
		}
		off += CMSG_ALIGN(head.cmsg_len);
	}
	return 0;
}

static const char *render(void)
{
	size_t n, at = 0;

	b.job.n = b.n;
	n = coalesce(&b.m, &b.job);
	for (size_t k = 0; k < n; k++) {
		const struct msghdr *h = &b.msgs[k].msg_hdr;

		at += (size_t)snprintf(b.text + at, TEXT - at, k ? " [" : "[");
		for (size_t i = 0; i < h->msg_iovlen; i++)
			at += (size_t)snprintf(b.text + at, TEXT - at, "%s%zu",
					       i ? "," : "",
					       h->msg_iov[i].iov_len);
		at += (size_t)snprintf(b.text + at, TEXT - at, "]");
		if (segment_len(h))
			at += (size_t)snprintf(b.text + at, TEXT - at, "/%zu",
					       segment_len(h));
	}
	return b.text;
}

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
		assert_ptr_equal(b.msgs[0].msg_hdr.msg_name, &v4[0].addr);
		assert_int_equal(b.msgs[0].msg_hdr.msg_namelen,
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
	b.job.max_segments = 2;
	assert_string_equal(render(), "[7,7]/7 [7,7]/7 [7]");
	b.job.max_segments = 1;
	assert_string_equal(render(), "[7] [7] [7] [7] [7]");
}

/* The most bytes in a train, at the limit less 1, at it, and above. */
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

/* A datagram may be longer than a train may be: it goes alone. */
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

/* Datagrams to others may stand between those of a train. */
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
	assert_ptr_equal(b.msgs[0].msg_hdr.msg_name, &v4[0].addr);
	assert_ptr_equal(b.msgs[1].msg_hdr.msg_name, &v4[1].addr);
	assert_ptr_equal(b.msgs[2].msg_hdr.msg_name, &v4[1].addr);
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

/* A train that another TOS or source cuts is not joined again: order. */
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
	assert_int_equal(b.msgs[0].msg_hdr.msg_controllen, 0);
	assert_int_equal(b.msgs[1].msg_hdr.msg_controllen,
			 CMSG_SPACE(sizeof(struct in_pktinfo)) + CMSG_SPACE(2));
}

/* Learned sources count in their generation only. */
static void old_sources(void **state)
{
	struct ug_endpoint learned = v4[0];

	(void)state;
	learned.source.state = path_generation(paths);
	learned.source.addr[0] = 127;
	window(AF_INET);
	datagram(10)->to = &learned;
	render();
	assert_int_equal(b.msgs[0].msg_hdr.msg_controllen,
			 CMSG_SPACE(sizeof(struct in_pktinfo)));
	b.job.generation++;
	render();
	assert_int_equal(b.msgs[0].msg_hdr.msg_controllen, 0);
}

static void several_vectors(void **state)
{
	(void)state;
	/* Gaps between them: each stays a vector; empty ones vanish. */
	window(AF_INET);
	vector(0, 4);
	vector(100, 0);
	vector(200, 6);
	done();
	vector(300, 10);
	done();
	assert_string_equal(render(), "[4,6,10]/10");

	/* Neighbours fuse, inside a datagram and across them. */
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

/* A message has at most 1,024 vectors, counted after fusing. */
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
	assert_int_equal(b.msgs[0].msg_hdr.msg_iovlen, UG_MAX_VECTORS);
	assert_int_equal(b.msgs[1].msg_hdr.msg_iovlen, 512);
	assert_int_equal(segment_len(&b.msgs[0].msg_hdr), 512);

	window(AF_INET);
	for (size_t i = 0; i < 3; i++) {
		for (size_t k = 0; k < 512; k++)
			vector(i * 512 + k, 1);
		done();
	}
	assert_string_equal(render(), "[1536]/512");

	/* 1,025 would be one too many. */
	window(AF_INET);
	for (size_t k = 0; k < UG_MAX_VECTORS; k++)
		vector(k * 2, 1);
	done();
	vector(5000, 1);
	done();
	render();
	assert_int_equal(b.msgs[0].msg_hdr.msg_iovlen, UG_MAX_VECTORS);
	assert_int_equal(segment_len(&b.msgs[0].msg_hdr), 0);
	assert_int_equal(b.msgs[1].msg_hdr.msg_iovlen, 1);
}

/* When the scratch for vectors is used up, the rest waits for another go. */
static void scratch_is_bounded(void **state)
{
	(void)state;
	window(AF_INET);
	for (size_t i = 0; i < 5; i++) {
		vector(i * 1000, 10);
		vector(i * 1000 + 500, 10);
		done();
	}
	b.m.iov_cap = 7;
	assert_string_equal(render(), "[10,10,10,10,10,10]/20");
	assert_true(b.m.truncated);
	for (size_t i = 0; i < 3; i++)
		b.status[i] = UG_SENT;
	assert_string_equal(render(), "[10,10,10,10]/20");
	assert_false(b.m.truncated);
}

/*
 * A fast run of single vectors behind datagrams of many takes no more scratch
 * than there is: 1,024 + 60 vectors leave room for 4 of 62.
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
	b.m.iov_cap = CAP;
	b.job.n = b.n;
	assert_int_equal(coalesce(&b.m, &b.job), 3);
	assert_true(b.m.truncated);
	assert_int_equal(b.msgs[0].msg_hdr.msg_iovlen, UG_MAX_VECTORS);
	assert_int_equal(b.msgs[1].msg_hdr.msg_iovlen, 60);
	assert_int_equal(b.msgs[2].msg_hdr.msg_iovlen, 4);
	/* Nothing was written behind the end. */
	for (size_t i = CAP; i < IOV; i++)
		assert_null(b.iov[i].iov_base);
}

/* A run behind many vectors keeps to the most that a message may have. */
static void vector_limit_in_a_run(void **state)
{
	(void)state;
	window(AF_INET);
	for (size_t k = 0; k < 1000; k++)
		vector(k * 2, 1);
	done();
	for (size_t i = 0; i < 40; i++)
		datagram(1000);
	b.job.n = b.n;
	assert_int_equal(coalesce(&b.m, &b.job), 2);
	assert_int_equal(b.msgs[0].msg_hdr.msg_iovlen, UG_MAX_VECTORS);
	assert_int_equal(b.msgs[1].msg_hdr.msg_iovlen, 16);

	/* Neighbours count as one, in a run as elsewhere. */
	window(AF_INET);
	for (size_t i = 0; i < 10; i++) {
		vector(i * 1023, 1023);
		done();
	}
	for (size_t k = 0; k < 1023; k++)
		vector(100000 + k * 2, 1);
	done();
	b.job.n = b.n;
	assert_int_equal(coalesce(&b.m, &b.job), 1);
	assert_int_equal(b.msgs[0].msg_hdr.msg_iovlen, UG_MAX_VECTORS);
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

/* Each endpoint finds its last train, however many share a hash value. */
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
	b.job.n = b.n;
	assert_int_equal(coalesce(&b.m, &b.job), MANY);
	for (size_t k = 0; k < MANY; k++)
		assert_int_equal(b.trains[k].cnt, 2);
}

static void marks(void **state)
{
	struct ug_endpoint pinned = v4[0];

	(void)state;
	pinned.source.state = UG_SOURCE_PINNED;
	window(AF_INET);
	for (int i = 0; i < 6; i++)
		datagram(10)->to = &pinned;
	b.status[0] = -EIO;
	b.items[1].flags = ITEM_ALONE;
	b.items[3].flags = ITEM_BARE;
	assert_string_equal(render(), "[10] [10] [10] [10,10]/10");
	assert_ptr_equal(b.msgs[0].msg_hdr.msg_iov, b.dgrams[1].iov);
	assert_int_equal(b.msgs[2].msg_hdr.msg_controllen, 0);
}

/* Only datagrams of the family that was asked for. */
static void families(void **state)
{
	(void)state;
	window(AF_INET6);
	datagram(10)->to = &v6[0];
	datagram(10)->to = &v4[0];
	datagram(10)->to = &v6[0];
	assert_string_equal(render(), "[10,10]/10");
	assert_int_equal(b.msgs[0].msg_hdr.msg_namelen,
			 sizeof(struct sockaddr_in6));
	b.job.family = AF_INET;
	assert_string_equal(render(), "[10]");
}

/* What is known of a path limits its trains and no others. */
static void path_caps(void **state)
{
	(void)state;
	path_learn(paths, &v4[2], 99, 1000, false);
	path_learn(paths, &v4[3], PATH_UNSEGMENTED, 1000, false);
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
	path_forget_caps(paths);
}

/* ------------------------------------------------------------------------
 * Random windows against a model that is slow and plain: for each datagram it
 * walks all messages made so far, from the last one back.
 */

struct model_message {
	size_t dgrams[UG_MAX_SEGMENTS];
	size_t cnt;
	size_t bytes;
	bool closed;
};

static const struct ug_endpoint *endpoint_of(size_t i)
{
	return b.dgrams[i].to ? b.dgrams[i].to : b.job.to;
}

/* The vectors of a message, fused. */
static size_t model_vectors(const struct model_message *mm, size_t extra,
			    struct iovec *out)
{
	size_t n = 0;

	for (size_t k = 0; k < mm->cnt + (extra != SIZE_MAX); k++) {
		size_t i = k < mm->cnt ? mm->dgrams[k] : extra;

		for (size_t v = 0; v < b.dgrams[i].n_iov; v++) {
			struct iovec iov = b.dgrams[i].iov[v];

			if (!iov.iov_len)
				continue;
			if (n &&
			    (char *)out[n - 1].iov_base + out[n - 1].iov_len ==
				    (char *)iov.iov_base)
				out[n - 1].iov_len += iov.iov_len;
			else
				out[n++] = iov;
		}
	}
	return n;
}

static bool model_fits(const struct model_message *mm, size_t i)
{
	static struct iovec scratch[IOV];
	size_t first = mm->dgrams[0], len = b.items[i].len;
	size_t limit = b.job.family == AF_INET ? 65493 : 65473;

	return !mm->closed && mm->cnt < b.job.max_segments && len > 0 &&
	       len <= b.items[first].len && mm->bytes + len <= limit &&
	       b.dgrams[i].tos == b.dgrams[first].tos &&
	       memcmp(&endpoint_of(i)->source, &endpoint_of(first)->source,
		      sizeof(struct ug_source)) == 0 &&
	       model_vectors(mm, i, scratch) <= 1024;
}

static size_t model(struct model_message *out)
{
	size_t n = 0;

	for (size_t i = 0; i < b.n; i++) {
		struct model_message *mm = NULL;

		for (size_t k = n; k-- > 0 && !mm;)
			if (!ug_endpoint_compare(endpoint_of(out[k].dgrams[0]),
						 endpoint_of(i)))
				mm = &out[k];
		if (!mm || !model_fits(mm, i)) {
			mm = &out[n++];
			*mm = (struct model_message){ 0 };
			mm->closed = !b.items[i].len;
		}
		mm->dgrams[mm->cnt++] = i;
		mm->bytes += b.items[i].len;
		if (b.items[i].len < b.items[mm->dgrams[0]].len)
			mm->closed = true;
	}
	return n;
}

/* Trains of one size come apart; messages stay in order of their first. */
static size_t model_uneven(struct model_message *mms, size_t n)
{
	static size_t owner[WINDOW];
	static struct model_message out[WINDOW];
	size_t n_out = 0;

	for (size_t k = 0; k < n; k++)
		for (size_t j = 0; j < mms[k].cnt; j++)
			owner[mms[k].dgrams[j]] = k;
	for (size_t i = 0; i < b.n; i++) {
		const struct model_message *mm = &mms[owner[i]];
		size_t last = mm->dgrams[mm->cnt - 1];
		bool is_even = b.items[last].len == b.items[mm->dgrams[0]].len;

		if (is_even)
			out[n_out++] = (struct model_message){
				.dgrams = { i },
				.cnt = 1,
			};
		else if (mm->dgrams[0] == i)
			out[n_out++] = *mm;
	}
	memcpy(mms, out, n_out * sizeof(*out));
	return n_out;
}

static void random_window(struct random *r, struct ug_endpoint *eps, size_t n)
{
	static const size_t sizes[] = { 0, 1, 50, 50, 50, 700, 1400, 1400 };
	size_t at = 0, cnt = 1 + random_below(r, 100);
	size_t common = sizes[random_below(r, ARRAY_LEN(sizes))];

	window(eps[0].addr.any.sa_family);
	b.job.max_segments = 1 + (unsigned int)random_below(r, 64);
	for (size_t i = 0; i < cnt; i++) {
		size_t vectors = random_below(r, 4);

		for (size_t v = 0; v < vectors; v++) {
			size_t len = random_below(r, 3)
					     ? common
					     : sizes[random_below(r, 8)];

			/* A gap before half of them. */
			at += random_below(r, 2);
			vector(at, len);
			at += len;
		}
		if (random_below(r, 3))
			b.dgrams[b.n].to = &eps[random_below(r, n)];
		b.dgrams[b.n].tos = (uint8_t)(random_below(r, 8) == 0);
		done();
	}
}

static void compare_with_model(void)
{
	static struct model_message expected[WINDOW];
	static struct iovec iov[IOV];
	size_t n_expected = model(expected);

	if (b.job.uneven)
		n_expected = model_uneven(expected, n_expected);
	b.job.n = b.n;
	assert_int_equal(coalesce(&b.m, &b.job), n_expected);
	for (size_t k = 0; k < n_expected; k++) {
		const struct msghdr *h = &b.msgs[k].msg_hdr;
		size_t first = expected[k].dgrams[0];
		size_t n = model_vectors(&expected[k], SIZE_MAX, iov);
		bool own = expected[k].cnt == 1 && b.dgrams[first].n_iov <= 1;

		assert_int_equal(
			ug_endpoint_compare(endpoint_of(first), b.trains[k].to),
			0);
		assert_int_equal(segment_len(h),
				 expected[k].cnt > 1 ? b.items[first].len : 0);
		if (own) {
			assert_ptr_equal(h->msg_iov, b.dgrams[first].iov);
			continue;
		}
		assert_int_equal(h->msg_iovlen, n);
		for (size_t i = 0; i < n; i++) {
			assert_ptr_equal(h->msg_iov[i].iov_base,
					 iov[i].iov_base);
			assert_int_equal(h->msg_iov[i].iov_len, iov[i].iov_len);
		}
	}
}

static void random_batches(void **state)
{
	struct ug_endpoint eps[4];
	struct random r;

	(void)state;
	random_init(&r, 0x5eed0001);
	for (int round = 0; round < 5000; round++) {
		bool six = random_below(&r, 2);

		for (size_t i = 0; i < ARRAY_LEN(eps); i++)
			eps[i] = six ? v6[i % 2] : v4[i % 3];
		eps[3].source.state = UG_SOURCE_PINNED;
		random_window(&r, eps, ARRAY_LEN(eps));
		b.job.uneven = round % 4 == 0;
		compare_with_model();
	}
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
		cmocka_unit_test(several_vectors),
		cmocka_unit_test(vector_limit),
		cmocka_unit_test(scratch_is_bounded),
		cmocka_unit_test(scratch_ends_in_a_run),
		cmocka_unit_test(vector_limit_in_a_run),
		cmocka_unit_test(source_interfaces),
		cmocka_unit_test(many_endpoints),
		cmocka_unit_test(marks),
		cmocka_unit_test(families),
		cmocka_unit_test(path_caps),
		cmocka_unit_test(random_batches),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
