/* SPDX-License-Identifier: MIT */
/*
 * Mutation of text by lines, for the fuzzers of the configuration protocol.
 * Lines are moved, doubled, removed, or replaced by valid ones, so that the
 * fuzzer finds more than the effects of single wrong bytes. Half of all
 * mutations are libFuzzer's own.
 */
#include "fuzz/lines.h"

#include "fuzz/fuzz.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t len, size_t cap);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t len, size_t cap,
			       unsigned int seed);

#define KEY_1 "6b58f7e1c4a0c7f6d6d7b8a5e3b2a1908f7e6d5c4b3a29181706f5e4d3c2b1a0"
#define KEY_2 "0000000000000000000000000000000000000000000000000000000000000009"

static const char *const lines[] = {
	"set=1\n",
	"get=1\n",
	"\n",
	"private_key=" KEY_1 "\n",
	"private_key=" KEY_2 "\n",
	"listen_port=51820\n",
	"listen_port=0\n",
	"fwmark=0x1\n",
	"fwmark=1234\n",
	"replace_peers=true\n",
	"public_key=" KEY_1 "\n",
	"public_key=" KEY_2 "\n",
	"preshared_key=" KEY_2 "\n",
	"remove=true\n",
	"update_only=true\n",
	"endpoint=192.0.2.1:51820\n",
	"endpoint=[fe80::1%1]:51820\n",
	"persistent_keepalive_interval=25\n",
	"replace_allowed_ips=true\n",
	"allowed_ip=10.0.0.0/8\n",
	"allowed_ip=-10.0.0.0/8\n",
	"allowed_ip=10.1.2.3/32\n",
	"allowed_ip=fd00::/64\n",
	"allowed_ip=::/0\n",
	"protocol_version=1\n",
	"set=1\n\nget=1\n\n",
};

/* Marsaglia, "Xorshift RNGs", 2003. */
static uint32_t draw(uint32_t *seed, size_t below)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return (uint32_t)(*seed % below);
}

/* Return: the start of a randomly drawn line. */
static size_t draw_line(uint32_t *seed, const uint8_t *text, size_t len)
{
	size_t at = draw(seed, len + 1);

	while (at && text[at - 1] != '\n')
		at--;
	return at;
}

static size_t line_len(const uint8_t *text, size_t len, size_t at)
{
	const uint8_t *end =
		at < len ? memchr(text + at, '\n', len - at) : NULL;

	return end ? (size_t)(end - text) + 1 - at : len - at;
}

static size_t insert(uint8_t *text, size_t len, size_t cap, size_t at,
		     const void *line, size_t n)
{
	if (n > cap - len)
		return len;
	memmove(text + at + n, text + at, len - at);
	memcpy(text + at, line, n);
	return len + n;
}

static size_t erase(uint8_t *text, size_t len, size_t at, size_t n)
{
	memmove(text + at, text + at + n, len - at - n);
	return len - n;
}

static size_t mutate_lines(uint8_t *text, size_t len, size_t cap,
			   uint32_t *seed)
{
	size_t from = draw_line(seed, text, len);
	size_t to = draw_line(seed, text, len);
	size_t n = line_len(text, len, from);
	const char *line = lines[draw(seed, sizeof(lines) / sizeof(lines[0]))];
	uint8_t copy[256];

	if (n > sizeof(copy))
		n = sizeof(copy);
	memcpy(copy, text + from, n);
	switch (draw(seed, 5)) {
	case 0:
		return erase(text, len, from, n);
	case 1:
		return insert(text, len, cap, to, copy, n);
	case 2:
		/* Move the line down only, so that @to stays valid. */
		if (to < from + n)
			return erase(text, len, from, n);
		len = insert(text, len, cap, to, copy, n);
		return erase(text, len, from, n);
	case 3:
		len = erase(text, len, from, n);
		return insert(text, len, cap, from, line, strlen(line));
	default:
		return insert(text, len, cap, to, line, strlen(line));
	}
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t len, size_t cap,
			       unsigned int seed)
{
	uint32_t state = seed | 1;
	size_t head = fuzz_lines_begin;

	if (len < head || draw(&state, 2))
		return LLVMFuzzerMutate(data, len, cap);
	for (uint32_t n = 1 + draw(&state, 4); n; n--)
		len = head +
		      mutate_lines(data + head, len - head, cap - head, &state);
	return len;
}
