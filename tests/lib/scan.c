/* SPDX-License-Identifier: MIT */
#include "tests/lib/scan.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Secrets are kept XORed with this mask, eight bytes at a time. A choice: no
 * byte of it is 0, so each byte of a secret is changed.
 */
#define MASK UINT64_C(0xa53c69f00f96c35a)

enum {
	/*
	 * The filter has a bit for the first eight bytes of each window. One
	 * look-up passes over nearly all other memory. 18 bits of a hash give
	 * the place of the bit. A choice, not measured.
	 */
	FILTER_BITS = 1 << 18,
	/* A longer line of smaps is cut, which costs at most the end of a
	 * name. */
	LINE_CAP = 512,
};

struct secret {
	const char *label;
	size_t len;
	/* For each offset, the eight masked bytes that begin there. */
	uint64_t words[SCAN_MAX_LEN];
};

static struct secret secrets[SCAN_SECRETS];
static size_t n_secrets;
static uint8_t filter[FILTER_BITS / 8];

/* Eight bytes at any address, masked. */
static inline uint64_t load(const uint8_t *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
	return word ^ MASK;
}

/* Multiplicative hashing: 2^64 divided by the golden ratio, upper 18 bits. */
static inline uint32_t filter_bit(uint64_t word)
{
	return (uint32_t)((word * UINT64_C(0x9e3779b97f4a7c15)) >> 46);
}

void scan_forget(void)
{
	memset(secrets, 0, sizeof(secrets));
	memset(filter, 0, sizeof(filter));
	n_secrets = 0;
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum |= bytes[i];
	return !sum;
}

void scan_remember(const char *label, const void *bytes, size_t len)
{
	struct secret *secret = &secrets[n_secrets];
	const size_t n = len - sizeof(uint64_t) + 1;

	if (len < SCAN_WINDOW || len > SCAN_MAX_LEN ||
	    n_secrets == SCAN_SECRETS) {
		fprintf(stderr, "scan_remember: no room for %s\n", label);
		abort();
	}
	if (is_zero(bytes, len))
		return;
	for (size_t i = 0; i < n; i++)
		secret->words[i] = load((const uint8_t *)bytes + i);
	for (size_t i = 0; i < n_secrets; i++)
		if (secrets[i].len == len &&
		    !memcmp(secrets[i].words, secret->words,
			    n * sizeof(*secret->words)))
			return;
	secret->label = label;
	secret->len = len;
	for (size_t i = 0; i + SCAN_WINDOW <= len; i++) {
		uint32_t bit = filter_bit(secret->words[i]);

		filter[bit / 8] |= (uint8_t)(1 << bit % 8);
	}
	n_secrets++;
}

size_t scan_count(const char *label)
{
	size_t n = 0;

	for (size_t i = 0; i < n_secrets; i++)
		n += !strcmp(secrets[i].label, label);
	return n;
}

/* A writable mapping. */
struct mapping {
	const uint8_t *start;
	const uint8_t *end;
	char name[SCAN_WHERE_CAP];
	bool is_region;
};

struct finder {
	void (*found)(void *arg, const struct scan_hit *hit);
	void *arg;
	const struct mapping *mapping;
};

/* Compare the memory at @p, where the filter matched, with all windows. */
static void look(const struct finder *f, const uint8_t *p)
{
	const uint64_t first = load(p);
	const uint64_t second = load(p + sizeof(uint64_t));

	for (size_t s = 0; s < n_secrets; s++)
		for (size_t i = 0; i + SCAN_WINDOW <= secrets[s].len; i++) {
			struct scan_hit hit = {
				.label = secrets[s].label,
				.off = i,
				.addr = p,
				.is_region = f->mapping->is_region,
			};

			if (secrets[s].words[i] != first ||
			    secrets[s].words[i + sizeof(uint64_t)] != second)
				continue;
			memcpy(hit.where, f->mapping->name, sizeof(hit.where));
			f->found(f->arg, &hit);
		}
}

static void scan_mapping(const struct finder *f)
{
	const uint8_t *end = f->mapping->end - SCAN_WINDOW;

	for (const uint8_t *p = f->mapping->start; p <= end; p++) {
		uint32_t bit = filter_bit(load(p));

		if (filter[bit / 8] & 1 << bit % 8)
			look(f, p);
	}
}

/* Read the head of a mapping in smaps. Return: true if it is one. */
static bool read_head(const char *line, struct mapping *m, char *rights)
{
	uintptr_t start, end;
	int name_at = 0;

	if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %*s %n", &start,
		   &end, rights, &name_at) < 3)
		return false;
	memset(m, 0, sizeof(*m));
	/* Turn the kernel's numbers into addresses. */
	memcpy(&m->start, &start, sizeof(m->start));
	memcpy(&m->end, &end, sizeof(m->end));
	snprintf(m->name, sizeof(m->name), "%.*s",
		 (int)strcspn(line + name_at, "\n"), line + name_at);
	return true;
}

/* Is a mapping locked, not dumped, and not inherited, or wiped in a child? */
static bool is_region(const char *flags)
{
	return strstr(flags, " lo ") && strstr(flags, " dd ") &&
	       (strstr(flags, " dc ") || strstr(flags, " wf "));
}

/* A file that is read without memory of the heap. */
struct reader {
	int fd;
	size_t at, len;
	char text[4096];
};

static bool read_char(struct reader *r, char *c)
{
	if (r->at == r->len) {
		ssize_t n = read(r->fd, r->text, sizeof(r->text));

		if (n <= 0)
			return false;
		r->at = 0;
		r->len = (size_t)n;
	}
	*c = r->text[r->at++];
	return true;
}

/* Read a line, cut to LINE_CAP - 1 bytes. Return: true if there is one. */
static bool read_line(struct reader *r, char line[LINE_CAP])
{
	size_t len = 0;
	char c = 0;

	while (c != '\n' && read_char(r, &c))
		if (len < LINE_CAP - 1)
			line[len++] = c;
	line[len] = 0;
	return len > 0;
}

size_t scan_memory(void (*found)(void *arg, const struct scan_hit *hit),
		   void *arg)
{
	/*
	 * The list of mappings is complete before the first one is searched. It
	 * is read without memory of the heap: such memory would be in the list,
	 * and might be gone when it is searched. Mappings after the 1,024th are
	 * not searched; the number is a choice, not measured.
	 */
	static struct mapping mappings[1024];
	static struct reader reader;
	struct finder f = { found, arg, NULL };
	char line[LINE_CAP], rights[5] = "";
	size_t n = 0, len = 0;
	struct mapping m = { 0 };

	reader = (struct reader){
		.fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC),
	};
	if (reader.fd < 0)
		abort();
	while (read_line(&reader, line)) {
		if (read_head(line, &m, rights) ||
		    strncmp(line, "VmFlags:", 8) != 0)
			continue;
		m.is_region = is_region(line);
		if (!strncmp(rights, "rw", 2) && n < 1024)
			mappings[n++] = m;
	}
	close(reader.fd);
	for (size_t i = 0; i < n; i++) {
		f.mapping = &mappings[i];
		scan_mapping(&f);
		len += (size_t)(mappings[i].end - mappings[i].start);
	}
	return len;
}
