/* SPDX-License-Identifier: MIT */
#include "tests/unit/udpgather_world.h"

#include <string.h>

#include "base/bytes.h"
#include "tests/lib/check.h"

struct bench bench;
unsigned char memory[MEMORY];
struct path_table *paths;
struct ug_endpoint v4[4], v6[2];

int setup(void **state)
{
	(void)state;
	paths = ug_path_table_new();
	for (size_t i = 0; i < ARRAY_LEN(v4); i++) {
		char text[32];

		snprintf(text, sizeof(text), "127.0.0.%zu:1", i + 1);
		assert_int_equal(ug_endpoint_parse(&v4[i], text), 0);
	}
	assert_int_equal(ug_endpoint_parse(&v6[0], "[::1]:1"), 0);
	assert_int_equal(ug_endpoint_parse(&v6[1], "[::2]:1"), 0);
	return paths ? 0 : -1;
}

int teardown(void **state)
{
	(void)state;
	ug_path_table_put(paths);
	return 0;
}

void window(int family)
{
	memset(&bench, 0, sizeof(bench));
	for (size_t i = 0; i < WINDOW; i++)
		bench.status[i] = UG_UNSENT;
	bench.m = (struct messages){
		.msgs = bench.msgs,
		.spaces = bench.spaces,
		.trains = bench.trains,
		.iov = bench.iov,
		.iov_cap = IOV,
	};
	bench.job = (struct coalesce_job){
		.dgrams = bench.dgrams,
		.items = bench.items,
		.status = bench.status,
		.family = family,
		.to = family == AF_INET ? &v4[0] : &v6[0],
		.max_segments = UG_MAX_SEGMENTS,
		.paths = paths,
		.generation = ug_path_generation(paths),
	};
}

void vector(size_t off, size_t len)
{
	struct ug_datagram *d = &bench.dgrams[bench.n];

	assert_true(off + len <= MEMORY && bench.n_vectors < IOV);
	if (!d->iov)
		d->iov = &bench.vectors[bench.n_vectors];
	bench.vectors[bench.n_vectors++] = (struct iovec){ memory + off, len };
	d->n_iov++;
	bench.items[bench.n].len += (uint32_t)len;
}

struct ug_datagram *done(void)
{
	assert_true(bench.n < WINDOW);
	return &bench.dgrams[bench.n++];
}

struct ug_datagram *datagram(size_t len)
{
	vector(bench.n * 66000 % (MEMORY - 66000), len);
	return done();
}

size_t segment_len(const struct msghdr *h)
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

const char *render(void)
{
	size_t n, at = 0;

	bench.job.n = bench.n;
	n = ug_coalesce(&bench.m, &bench.job);
	for (size_t k = 0; k < n; k++) {
		const struct msghdr *h = &bench.msgs[k].msg_hdr;

		at += (size_t)snprintf(bench.text + at, TEXT - at,
				       k ? " [" : "[");
		for (size_t i = 0; i < h->msg_iovlen; i++)
			at += (size_t)snprintf(bench.text + at, TEXT - at,
					       "%s%zu", i ? "," : "",
					       h->msg_iov[i].iov_len);
		at += (size_t)snprintf(bench.text + at, TEXT - at, "]");
		if (segment_len(h))
			at += (size_t)snprintf(bench.text + at, TEXT - at,
					       "/%zu", segment_len(h));
	}
	return bench.text;
}
