/* SPDX-License-Identifier: MIT */
/* Reads an input piece by piece. Reads behind its end give zeros. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct input {
	const uint8_t *at;
	size_t left;
};

static inline void input_take(struct input *in, void *out, size_t len)
{
	size_t n = len < in->left ? len : in->left;

	memset(out, 0, len);
	if (n)
		memcpy(out, in->at, n);
	in->at += n;
	in->left -= n;
}

static inline uint8_t input_byte(struct input *in)
{
	uint8_t byte;

	input_take(in, &byte, 1);
	return byte;
}

static inline uint16_t input_u16(struct input *in)
{
	uint8_t b[2];

	input_take(in, b, sizeof(b));
	return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t input_u32(struct input *in)
{
	uint32_t low = input_u16(in);

	return low | (uint32_t)input_u16(in) << 16;
}

static inline uint64_t input_u64(struct input *in)
{
	uint64_t low = input_u32(in);

	return low | (uint64_t)input_u32(in) << 32;
}

/*
 * Change bytes of a buffer. The input has a count, then a byte for the place
 * and one for the change.
 */
static inline void input_edit(struct input *in, uint8_t *buf, size_t len)
{
	for (unsigned int n = input_byte(in) % 8; n && len; n--) {
		size_t at = input_byte(in) % len;

		buf[at] ^= input_byte(in);
	}
}

#endif /* FUZZ_INPUT_H */
