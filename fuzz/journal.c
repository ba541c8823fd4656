/* SPDX-License-Identifier: MIT */
/*
 * A journal that an enemy has written.
 *
 * The input makes the memory: records with bodies of any bytes, slots with any states,
 * and marks, all with sums that fit, because an enemy can make them fit; then some
 * bytes are changed. Promises: the memory is read within its bounds; whatever is read
 * is a configuration that a journal of our own can keep, and that comes back from that
 * journal as it was; the reader of the same memory after a death finds no more records
 * than the first.
 */
#include "fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "fuzz/input.h"
#include "fuzz/quiet_device.h"
#include "journal/journal.h"
#include "journal/layout.h"
#include "journal/restore.h"
#include "uapi/reply.h"

enum {
	/* Bounds of the memory and of the answer to `get`. Choices. */
	MEMORY_LEN = 16 * 1024,
	N_SLOTS = 4,
	REPLY_MAX = 1 << 20,
};

/* Any endpoint is printed, as one number that all of its bytes count in. */
static int codec_print(const struct device_endpoint *ep, char *buf, size_t cap)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < ENDPOINT_LEN / 8; i++)
		sum = sum * 31 + ep->words[i];
	return snprintf(buf, cap, "%llx", (unsigned long long)sum);
}

static const struct uapi_codec codec = { .print = codec_print };

static bool is_endpoint(const struct device_endpoint *ep)
{
	return (ep->words[0] & 0xff) != 0xff;
}

static struct layout_head *head_of(uint8_t *bytes)
{
	return (void *)bytes;
}

static void write_head(uint8_t *bytes)
{
	struct layout_head *head = head_of(bytes);

	head->magic = LAYOUT_MAGIC;
	head->build = layout_build();
	head->len = MEMORY_LEN;
	head->n_slots = N_SLOTS;
	head->records_off =
		LAYOUT_HEAD_LEN + N_SLOTS * sizeof(struct layout_slot);
	head->sum = layout_sum_head(head);
}

/* A body: operations whose kinds and bytes come from the input. */
static size_t write_body(struct input *in, uint8_t *to, size_t cap)
{
	size_t len = input_u16(in) % 1024;

	len = len < cap ? len : cap;
	input_take(in, to, len);
	return len;
}

static void write_records(struct input *in, uint8_t *bytes)
{
	const struct layout_head *head = head_of(bytes);
	size_t at = (size_t)head->records_off;

	for (uint64_t n = input_byte(in) % 16, i = 1; i <= n; i++) {
		struct layout_record *record = (void *)(bytes + at);
		size_t cap = MEMORY_LEN - at - sizeof(*record);

		record->len = write_body(in, (uint8_t *)(record + 1), cap);
		record->number = i;
		record->port = input_u16(in);
		record->left_out = !(input_byte(in) % 8);
		record->sum = layout_sum(record + 1, (size_t)record->len,
					 head->sum_key);
		record->commit = layout_sum_record(record, head->sum_key);
		at += layout_record_len((size_t)record->len);
		if (at > MEMORY_LEN - sizeof(*record))
			return;
	}
}

static void write_slots(struct input *in, uint8_t *bytes)
{
	const struct layout_head *head = head_of(bytes);
	struct layout_slot *slots = (void *)(bytes + LAYOUT_HEAD_LEN);

	for (size_t i = 0; i < N_SLOTS; i++) {
		struct layout_slot *slot = &slots[i];

		memset(slot->key, input_byte(in), sizeof(slot->key));
		slot->key_sum =
			layout_sum(slot->key, sizeof(slot->key), head->sum_key);
		for (size_t n = 0; n < 2; n++) {
			struct layout_state *s = &slot->state[n];

			s->version = input_byte(in);
			s->number = input_byte(in);
			input_take(in, s->taken, sizeof(s->taken));
			input_take(in, s->endpoint, 4);
			s->tx_bytes = input_u64(in);
			s->has_session = input_byte(in);
			s->sum = layout_sum_state(s, head->sum_key);
		}
	}
}

static void write_marks(struct input *in, uint8_t *bytes)
{
	struct layout_head *head = head_of(bytes);

	head->replaying = input_byte(in) % 8;
	if (head->replaying == 7)
		head->replaying = LAYOUT_RESTORING;
	for (size_t i = 0; i < 2; i++) {
		struct layout_port *p = &head->port[i];

		p->version = input_byte(in);
		p->number = input_byte(in) % 16;
		p->port = input_u32(in);
		p->sum = layout_sum_port(p, head->sum_key);
	}
}

static int make_memory(struct input *in)
{
	int fd = memfd_create("journal", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	static _Alignas(8) uint8_t bytes[MEMORY_LEN];
	uint8_t n_edits;

	memset(bytes, 0, sizeof(bytes));
	write_head(bytes);
	write_records(in, bytes);
	write_slots(in, bytes);
	write_marks(in, bytes);
	for (n_edits = input_byte(in) % 4; n_edits; n_edits--)
		bytes[input_u16(in) % MEMORY_LEN] ^= input_byte(in);
	require(fd >= 0);
	require(write(fd, bytes, sizeof(bytes)) == sizeof(bytes));
	return fd;
}

static size_t print(struct device *device, char *text)
{
	struct uapi_reply reply;
	size_t len = 0, n;

	uapi_reply_init(&reply, device, &codec);
	while ((n = uapi_reply_fill(&reply, text + len, REPLY_MAX - len)))
		len += n;
	return len;
}

static size_t restore(struct device *device, int fd)
{
	struct restore r = {
		.device = device,
		.is_endpoint = is_endpoint,
		.now = 1,
	};

	require(restore_run(&r, dup(fd)) == 0);
	return r.n_records;
}

static int keep(void *arg, int fd)
{
	*(int *)arg = dup(fd);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct journal_ops ops = { .keep = keep };
	static char before[REPLY_MAX], after[REPLY_MAX];
	struct device *device = quiet_device_get();
	struct input in = { data, len };
	struct journal *journal;
	int kept = -1, fd;
	size_t n, n_records;

	log_init(LOG_SILENT, "");
	fd = make_memory(&in);
	n_records = restore(device, fd);
	n = print(device, before);
	journal = journal_new(device, &ops, &kept, SECRET_PRIVATE);
	require(journal && journal_start(journal) == 0);
	quiet_device_clear(device);
	device_set_recorder(device, NULL, NULL);
	journal_free(journal);
	restore(device, kept);
	require(print(device, after) == n && !memcmp(before, after, n));
	quiet_device_clear(device);
	require(restore(device, fd) <= n_records);
	quiet_device_clear(device);
	close(kept);
	close(fd);
	return 0;
}
