/* SPDX-License-Identifier: MIT */
/*
 * Bytes, sizes and byte order. Wire structs are made of byte arrays and of the
 * wrappers below, all of alignment 1: in a receive buffer that the kernel
 * merged, a message may start at any address.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/**
 * unconst() - pass a pointer to an interface that only reads, but has no const
 * @p:		memory that the interface does not change, such as msg_name
 */
static inline void *unconst(const void *p)
{
	return (void *)(uintptr_t)p;
}

/* bytes_are_zero() - is every byte zero? secret_is_zero() is for secrets. */
static inline bool bytes_are_zero(const void *bytes, size_t len)
{
	const uint8_t *p = (const uint8_t *)bytes;
	uint64_t any = 0, word;

	for (; len >= sizeof(word); len -= sizeof(word), p += sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		any |= word;
	}
	while (len--)
		any |= p[len];
	return any == 0;
}

static inline size_t size_min(size_t a, size_t b)
{
	return a < b ? a : b;
}

static inline size_t size_max(size_t a, size_t b)
{
	return a > b ? a : b;
}

/* Integers as the wire has them: little endian (WireGuard), big endian (IP). */
struct le32 {
	uint8_t b[4];
};

struct le64 {
	uint8_t b[8];
};

struct be16 {
	uint8_t b[2];
};

struct be32 {
	uint8_t b[4];
};

struct be64 {
	uint8_t b[8];
};

static inline uint32_t le32_get(struct le32 v)
{
	uint32_t raw;

	memcpy(&raw, v.b, sizeof(raw));
	return le32toh(raw);
}

static inline struct le32 le32_make(uint32_t n)
{
	struct le32 v;
	uint32_t raw = htole32(n);

	memcpy(v.b, &raw, sizeof(raw));
	return v;
}

static inline uint64_t le64_get(struct le64 v)
{
	uint64_t raw;

	memcpy(&raw, v.b, sizeof(raw));
	return le64toh(raw);
}

static inline struct le64 le64_make(uint64_t n)
{
	struct le64 v;
	uint64_t raw = htole64(n);

	memcpy(v.b, &raw, sizeof(raw));
	return v;
}

static inline uint16_t be16_get(struct be16 v)
{
	return (uint16_t)(v.b[0] << 8 | v.b[1]);
}

static inline struct be16 be16_make(uint16_t n)
{
	struct be16 v = { { (uint8_t)(n >> 8), (uint8_t)n } };

	return v;
}

static inline uint32_t be32_get(struct be32 v)
{
	uint32_t raw;

	memcpy(&raw, v.b, sizeof(raw));
	return be32toh(raw);
}

static inline struct be32 be32_make(uint32_t n)
{
	struct be32 v;
	uint32_t raw = htobe32(n);

	memcpy(v.b, &raw, sizeof(raw));
	return v;
}

static inline struct be64 be64_make(uint64_t n)
{
	struct be64 v;
	uint64_t raw = htobe64(n);

	memcpy(v.b, &raw, sizeof(raw));
	return v;
}

static inline uint64_t be64_get(struct be64 v)
{
	uint64_t raw;

	memcpy(&raw, v.b, sizeof(raw));
	return be64toh(raw);
}

#endif /* BASE_BYTES_H */
