/* SPDX-License-Identifier: MIT */
/*
 * A batch of packets to be merged, with the memory for them. The writes that
 * come out of the batch are read as flat frames.
 */
#ifndef TESTS_TUN_BATCH_H
#define TESTS_TUN_BATCH_H

#include "tun_packet.h"
#include "tun/merge.h"

/* Memory for the packets of a batch. A choice; an assertion fails if it is too
 * little. */
#define ARENA_LEN (32U << 20)
/* The longest virtio-net header, and the longest packet. */
#define FRAME_MAX (sizeof(struct vnet_tunnel_hdr) + 65536)

static struct merge *batch;
static uint8_t *arena;
static size_t arena_used;
/* Length of the virtio-net header of the next batch. */
static size_t batch_hdr_len = sizeof(struct vnet_hdr);

/**
 * batch_make() - group setup: allocate
 * @state:	unused
 */
static inline int batch_make(void **state)
{
	(void)state;
	batch = calloc(1, sizeof(*batch));
	arena = malloc(ARENA_LEN);
	if (!batch || !arena)
		return -1;
	merge_init(batch);
	return 0;
}

/**
 * batch_free() - group teardown
 * @state:	unused
 */
static inline int batch_free(void **state)
{
	(void)state;
	free(batch);
	free(arena);
	return 0;
}

/**
 * batch_begin() - empty the batch
 * @kinds:	kinds of packets that may merge
 */
static inline void batch_begin(unsigned int kinds)
{
	merge_reset(batch, kinds, batch_hdr_len);
	arena_used = 0;
}

/**
 * batch_add() - add a copy of a packet, at an odd address half of the time
 * @pkt:	packet
 * @len:	its length
 *
 * Return: the copy.
 */
static inline uint8_t *batch_add(const uint8_t *pkt, size_t len)
{
	uint8_t *copy = arena + arena_used + MERGE_HEADROOM;

	assert_true(arena_used + MERGE_HEADROOM + len + 1 <= ARENA_LEN);
	memset(arena + arena_used, 0xee, MERGE_HEADROOM);
	memcpy(copy, pkt, len);
	arena_used += MERGE_HEADROOM + len + 1;
	assert_int_equal(merge_add(batch, copy, len), 0);
	return copy;
}

/**
 * batch_add_spec() - add a packet made from a spec
 * @s:		spec
 */
static inline void batch_add_spec(const struct spec *s)
{
	static uint8_t pkt[65536];

	batch_add(pkt, packet_build(pkt, s));
}

/**
 * batch_next() - take the next write as flat bytes
 * @frame:	receives virtio-net header and packet, FRAME_MAX bytes
 *
 * Return: their length, 0 if there is none left.
 */
static inline size_t batch_next(uint8_t *frame)
{
	const struct iovec *iov;
	unsigned int cnt = merge_peek(batch, &iov);
	size_t len = 0;

	assert_true(cnt <= 1024);
	for (unsigned int i = 0; i < cnt; i++) {
		assert_true(iov[i].iov_len <= FRAME_MAX - len);
		memcpy(frame + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	merge_written(batch);
	return len;
}

#endif /* TESTS_TUN_BATCH_H */
