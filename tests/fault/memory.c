/* SPDX-License-Identifier: MIT */
/*
 * Memory that runs out at any allocation of the library. The linker has the library
 * call the two functions below (--wrap), which fail as told.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/fault/sending.h"
#include "tests/lib/check.h"
#include "udpgather/open.h"

enum {
	/* More than any call of the library allocates. */
	ALLOCATIONS = 100
};

/* The allocation to fail, from 1; 0 for none. The count goes down to it. */
static size_t fails_at;

void *__real_malloc(size_t len);
void *__real_calloc(size_t n, size_t len);
void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t n, size_t len);

static bool has_memory(void)
{
	return !fails_at || --fails_at;
}

void *__wrap_malloc(size_t len)
{
	return has_memory() ? __real_malloc(len) : NULL;
}

void *__wrap_calloc(size_t n, size_t len)
{
	return has_memory() ? __real_calloc(n, len) : NULL;
}

static size_t n_vectors;

static int count_vectors(const struct fake_message *m)
{
	n_vectors = m->h->msg_iovlen;
	return 0;
}

/* Datagrams of two vectors that are not neighbours. */
static void add_halves(struct iovec halves[][2], size_t n, size_t len)
{
	add(&ep_a, n, len);
	for (size_t i = 0; i < n; i++) {
		unsigned char *at = vectors[i].iov_base;

		halves[i][0] = (struct iovec){ at, 8 };
		memmove(at + 9, at + 8, len - 8);
		halves[i][1] = (struct iovec){ at + 9, len - 8 };
		dgrams[i].iov = halves[i];
		dgrams[i].n_iov = 2;
	}
}

/* Without memory for copies the kernel gathers, and the next call copies. */
static void no_staging(void **state)
{
	static struct iovec halves[20][2];

	(void)state;
	add_halves(halves, 20, 100);
	fake.rule = count_vectors;
	fails_at = 1;
	send_all(20);
	assert_int_equal(fails_at, 0);
	assert_int_equal(n_vectors, 40);
	send_all(20);
	assert_int_equal(n_vectors, 1);
}

static int no_trains(const struct fake_message *m)
{
	return m->segment_len ? EIO : 0;
}

/* A train that has to be cut fails alone if there is no memory for that. */
static void no_cut(void **state)
{
	struct ug_options opt = { .size = sizeof(opt), .copy_below = 1 };
	struct ug_train trains[3];

	(void)state;
	/* Without copies, which need memory, too. */
	ug_close(sock);
	assert_int_equal(ug_socket_open_with(&fake_sys, &sock, &opt, NULL), 0);
	add(&ep_a, 4, 100);
	for (size_t k = 0; k < ARRAY_LEN(trains); k++)
		trains[k] = (struct ug_train){
			.to = &ep_a,
			.iov = vectors + (k == 1 ? 0 : 3),
			.n_iov = k == 1 ? 3 : 1,
			.segment_len = k == 1 ? 100 : 0,
		};
	fake.rule = no_trains;
	/* Datagrams, statuses, vectors. */
	for (size_t i = 1; i <= 3; i++) {
		ug_batch_free(batch);
		assert_int_equal(ug_batch_new(&batch, 128), 0);
		ug_paths_changed(sock);
		fails_at = i;
		assert_int_equal(ug_send_trains(sock, batch, trains,
						sizeof(*trains),
						ARRAY_LEN(trains), 0),
				 2);
		assert_int_equal(fails_at, 0);
		assert_int_equal(trains[0].status, UG_SENT);
		assert_int_equal(trains[1].status, -ENOMEM);
		assert_int_equal(trains[1].n_sent, 0);
		assert_int_equal(trains[2].status, UG_SENT);
		assert_int_equal(ug_send_trains(sock, batch, trains,
						sizeof(*trains),
						ARRAY_LEN(trains), 0),
				 5);
	}
}

static int make_batch(void)
{
	struct ug_batch *b;
	int err = ug_batch_new(&b, 64);

	if (!err)
		ug_batch_free(b);
	return err;
}

static int make_receiver(void)
{
	struct ug_receiver *r;
	int err = ug_receiver_new(&r, 64);

	if (!err)
		ug_receiver_free(r);
	return err;
}

static int make_socket(void)
{
	struct ug_options opt = { .size = sizeof(opt), .side_sockets = 2 };
	struct ug_socket *s;
	int err = ug_socket_open_with(&fake_sys, &s, &opt, NULL);

	if (!err)
		ug_close(s);
	return err;
}

/* Each allocation of an object fails once: -ENOMEM, and nothing stays open. */
static void no_object(void **state)
{
	static int (*const make[])(void) = { make_batch, make_receiver,
					     make_socket };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(make); i++) {
		int open_fds = fake.open_fds;
		size_t n = 1;

		for (; n < ALLOCATIONS; n++) {
			fails_at = n;
			int err = make[i]();

			assert_int_equal(fake.open_fds, open_fds);
			if (fails_at)
				break;
			assert_int_equal(err, -ENOMEM);
		}
		fails_at = 0;
		/* Some failed, and then it worked. */
		assert_in_range(n, 2, ALLOCATIONS - 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SENDING_TEST(no_staging),
		SENDING_TEST(no_cut),
		SENDING_TEST(no_object),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
