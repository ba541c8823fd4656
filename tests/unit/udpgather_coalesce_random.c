/* SPDX-License-Identifier: MIT */
/*
 * Compares ug_coalesce() of random windows with a slow and plain model. For
 * each datagram the model walks all messages made so far, from the last one
 * back.
 */
#include <string.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "tests/unit/udpgather_world.h"

struct model_message {
	size_t dgrams[UG_MAX_SEGMENTS];
	size_t cnt;
	size_t bytes;
	bool closed;
};

static const struct ug_endpoint *endpoint_of(size_t i)
{
	return bench.dgrams[i].to ? bench.dgrams[i].to : bench.job.to;
}

/* The number of vectors of a message, after those that touch are joined. */
static size_t model_vectors(const struct model_message *mm, size_t extra,
			    struct iovec *out)
{
	size_t n = 0;

	for (size_t k = 0; k < mm->cnt + (extra != SIZE_MAX); k++) {
		size_t i = k < mm->cnt ? mm->dgrams[k] : extra;

		for (size_t v = 0; v < bench.dgrams[i].n_iov; v++) {
			struct iovec iov = bench.dgrams[i].iov[v];

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
	size_t first = mm->dgrams[0], len = bench.items[i].len;
	size_t limit = bench.job.family == AF_INET ? 65493 : 65473;

	return !mm->closed && mm->cnt < bench.job.max_segments && len > 0 &&
	       len <= bench.items[first].len && mm->bytes + len <= limit &&
	       bench.dgrams[i].tos == bench.dgrams[first].tos &&
	       memcmp(&endpoint_of(i)->source, &endpoint_of(first)->source,
		      sizeof(struct ug_source)) == 0 &&
	       model_vectors(mm, i, scratch) <= 1024;
}

static size_t model(struct model_message *out)
{
	size_t n = 0;

	for (size_t i = 0; i < bench.n; i++) {
		struct model_message *mm = NULL;

		for (size_t k = n; k-- > 0 && !mm;)
			if (!ug_endpoint_compare(endpoint_of(out[k].dgrams[0]),
						 endpoint_of(i)))
				mm = &out[k];
		if (!mm || !model_fits(mm, i)) {
			mm = &out[n++];
			*mm = (struct model_message){ 0 };
			mm->closed = !bench.items[i].len;
		}
		mm->dgrams[mm->cnt++] = i;
		mm->bytes += bench.items[i].len;
		if (bench.items[i].len < bench.items[mm->dgrams[0]].len)
			mm->closed = true;
	}
	return n;
}

/*
 * Split the trains whose datagrams all have one size. The messages stay in the
 * order of their first datagrams.
 */
static size_t model_uneven(struct model_message *mms, size_t n)
{
	static size_t owner[WINDOW];
	static struct model_message out[WINDOW];
	size_t n_out = 0;

	for (size_t k = 0; k < n; k++)
		for (size_t j = 0; j < mms[k].cnt; j++)
			owner[mms[k].dgrams[j]] = k;
	for (size_t i = 0; i < bench.n; i++) {
		const struct model_message *mm = &mms[owner[i]];
		size_t last = mm->dgrams[mm->cnt - 1];
		bool is_even =
			bench.items[last].len == bench.items[mm->dgrams[0]].len;

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
	bench.job.max_segments = 1 + (unsigned int)random_below(r, 64);
	for (size_t i = 0; i < cnt; i++) {
		size_t vectors = random_below(r, 4);

		for (size_t v = 0; v < vectors; v++) {
			size_t len = random_below(r, 3)
					     ? common
					     : sizes[random_below(r, 8)];

			/* Half of the vectors have a gap before them. */
			at += random_below(r, 2);
			vector(at, len);
			at += len;
		}
		if (random_below(r, 3))
			bench.dgrams[bench.n].to = &eps[random_below(r, n)];
		bench.dgrams[bench.n].tos = (uint8_t)(random_below(r, 8) == 0);
		done();
	}
}

static void compare_with_model(void)
{
	static struct model_message expected[WINDOW];
	static struct iovec iov[IOV];
	size_t n_expected = model(expected);

	if (bench.job.uneven)
		n_expected = model_uneven(expected, n_expected);
	bench.job.n = bench.n;
	assert_int_equal(ug_coalesce(&bench.m, &bench.job), n_expected);
	for (size_t k = 0; k < n_expected; k++) {
		const struct msghdr *h = &bench.msgs[k].msg_hdr;
		size_t first = expected[k].dgrams[0];
		size_t n = model_vectors(&expected[k], SIZE_MAX, iov);
		bool own =
			expected[k].cnt == 1 && bench.dgrams[first].n_iov <= 1;

		assert_int_equal(ug_endpoint_compare(endpoint_of(first),
						     bench.trains[k].to),
				 0);
		assert_int_equal(segment_len(h),
				 expected[k].cnt > 1 ? bench.items[first].len
						     : 0);
		if (own) {
			assert_ptr_equal(h->msg_iov, bench.dgrams[first].iov);
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
		bench.job.uneven = round % 4 == 0;
		compare_with_model();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_batches),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
