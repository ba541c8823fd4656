/* SPDX-License-Identifier: MIT */
#include "tests/fault/sending.h"

#include <string.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "udpgather/open.h"

enum {
	/* Bytes from one datagram to the next: more than the largest has. */
	STRIDE = 70000
};

static unsigned char memory[MOST][STRIDE];
struct iovec vectors[MOST];
struct ug_datagram dgrams[MOST];
int status[MOST];
size_t n_dgrams;
struct ug_socket *sock;
struct ug_batch *batch;
struct ug_endpoint ep_a, ep_b, ep_c, ep_d, ep_e, ep_six;

struct notice notices[NOTICES];
size_t n_notices;

void sending_notice(void *arg, enum ug_notice what,
		    const struct ug_endpoint *ep, int err, int value)
{
	struct notice *n = &notices[n_notices++ % ARRAY_LEN(notices)];

	assert_ptr_equal(arg, notices);
	*n = (struct notice){ .what = what, .err = err, .value = value };
	if (ep)
		n->ep = *ep;
}

static int open_with(struct ug_options opt)
{
	opt.size = sizeof(opt);
	opt.notice = sending_notice;
	opt.notice_arg = notices;
	return ug_socket_open_with(&fake_sys, &sock, &opt, NULL);
}

void open_anew(struct ug_options opt)
{
	ug_close(sock);
	assert_int_equal(open_with(opt), 0);
}

int sending_setup(void **state)
{
	(void)state;
	fake_reset();
	n_dgrams = n_notices = 0;
	memset(dgrams, 0, sizeof(dgrams));
	ug_endpoint_parse(&ep_a, "10.0.0.1:1");
	ug_endpoint_parse(&ep_b, "10.0.0.2:1");
	ug_endpoint_parse(&ep_c, "10.0.0.3:1");
	ug_endpoint_parse(&ep_d, "10.0.0.4:1");
	ug_endpoint_parse(&ep_e, "10.0.0.5:1");
	ug_endpoint_parse(&ep_six, "[fd00::1]:1");
	if (open_with((struct ug_options){ 0 }) < 0)
		return -1;
	return ug_batch_new(&batch, 128);
}

int sending_teardown(void **state)
{
	(void)state;
	ug_batch_free(batch);
	ug_close(sock);
	return fake.open_fds;
}

void add(const struct ug_endpoint *to, size_t n, size_t len)
{
	for (; n; n--) {
		fake_payload(memory[n_dgrams], len, (uint32_t)n_dgrams);
		vectors[n_dgrams] = (struct iovec){ memory[n_dgrams], len };
		dgrams[n_dgrams] = (struct ug_datagram){
			.iov = &vectors[n_dgrams],
			.n_iov = 1,
			.to = to,
		};
		n_dgrams++;
	}
}

/*
 * A datagram with the status UG_SENT was taken once, whole, and in order for
 * its endpoint. Any other datagram was not taken.
 */
void account(size_t sent)
{
	size_t n_sent = 0;

	for (size_t i = 0; i < n_dgrams; i++) {
		size_t times = 0;

		for (size_t k = 0; k < fake.n; k++)
			times += fake.log[k].number == i;
		assert_int_equal(times, status[i] == UG_SENT);
		n_sent += times;
	}
	assert_int_equal(n_sent, sent);
	assert_int_equal(fake.n, sent);
	for (size_t k = 0; k < fake.n; k++) {
		const struct fake_datagram *got = &fake.log[k];

		assert_true(got->whole);
		assert_int_equal(got->len, vectors[got->number].iov_len);
		assert_int_equal(
			ug_endpoint_compare(&got->to, dgrams[got->number].to),
			0);
		for (size_t j = 0; j < k; j++)
			if (!ug_endpoint_compare(&got->to, &fake.log[j].to))
				assert_true(fake.log[j].number < got->number);
	}
}

void send_all(size_t expected)
{
	struct ug_send_stats was, now;

	ug_get_send_stats(batch, &was, sizeof(was));
	fake.n = 0;
	memset(status, 0x55, sizeof(status));
	assert_int_equal(
		ug_send(sock, batch, NULL, dgrams, n_dgrams, status, 0),
		expected);
	account(expected);
	ug_get_send_stats(batch, &now, sizeof(now));
	assert_int_equal(now.datagrams - was.datagrams, expected);
	assert_int_equal(now.datagrams + now.unsent + now.failed -
				 was.datagrams - was.unsent - was.failed,
			 n_dgrams);
}

struct ug_send_stats stats(void)
{
	struct ug_send_stats s;

	ug_get_send_stats(batch, &s, sizeof(s));
	return s;
}

void expect_status(size_t first, size_t n, int expected)
{
	for (size_t i = first; i < first + n; i++)
		assert_int_equal(status[i], expected);
}
