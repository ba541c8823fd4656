/* SPDX-License-Identifier: MIT */
/* Rows of a sample that has ended are sorted by interface and key, so that the next
 * sample finds each peer by a binary search. */
#include "ctl/sample.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/attention.h"

/* The keys of the quantities; CTL_DROPS is a sum. */
static const char *const keys[CTL_DROPS] = {
	[CTL_IN_BYTES] = "udp_received_bytes",
	[CTL_IN_DATAGRAMS] = "udp_received_datagrams",
	[CTL_IN_MESSAGES] = "udp_received_messages",
	[CTL_OUT_BYTES] = "udp_sent_bytes",
	[CTL_OUT_DATAGRAMS] = "udp_sent_datagrams",
	[CTL_OUT_MESSAGES] = "udp_sent_messages",
};

static double growth(uint64_t now, uint64_t before, double seconds)
{
	if (seconds <= 0)
		return 0;
	return (double)(now >= before ? now - before : now) / seconds;
}

static const struct ctl_device *find_device(const struct ctl_sample *s,
					    const char *interface)
{
	for (size_t i = 0; i < s->n_devices; i++)
		if (strcmp(s->devices[i].interface, interface) == 0 &&
		    s->devices[i].err == 0)
			return &s->devices[i];
	return NULL;
}

static uint64_t total_before(const struct ctl_device *before, const char *key)
{
	for (size_t i = 0; before && i < before->n_reasons; i++)
		if (strcmp(before->reasons[i].key, key) == 0)
			return before->reasons[i].total;
	return 0;
}

/* Is it a counter of packets or messages that were dropped? */
static bool is_drop(const char *key)
{
	return strstr(key, "_dropped_") ||
	       strcmp(key, "tun_write_dropped") == 0;
}

static int add_reasons(struct ctl_device *device, const struct ctl_lines *lines,
		       const struct ctl_device *before, double seconds)
{
	device->reasons = calloc(lines->n + 1, sizeof(*device->reasons));
	if (!device->reasons)
		return -ENOMEM;
	for (size_t i = 0; i < lines->n; i++) {
		struct ctl_reason *reason = &device->reasons[device->n_reasons];

		if (!is_drop(lines->all[i].key))
			continue;
		snprintf(reason->key, sizeof(reason->key), "%s",
			 lines->all[i].key);
		reason->total = strtoull(lines->all[i].value, NULL, 10);
		reason->rate =
			growth(reason->total, total_before(before, reason->key),
			       before ? seconds : 0);
		device->totals[CTL_DROPS] += reason->total;
		device->n_reasons++;
	}
	return 0;
}

static void count_attention(void *arg, const char *text)
{
	size_t *n = arg;

	(void)text;
	++*n;
}

static struct ctl_device *new_device(struct ctl_sample *s,
				     const char *interface)
{
	struct ctl_device *all =
		realloc(s->devices, (s->n_devices + 1) * sizeof(*s->devices));

	if (!all)
		return NULL;
	s->devices = all;
	all[s->n_devices] = (struct ctl_device){ 0 };
	snprintf(all[s->n_devices].interface,
		 sizeof(all[s->n_devices].interface), "%s", interface);
	return &all[s->n_devices++];
}

static int compare_rows(const void *a, const void *b)
{
	const struct ctl_row *x = a, *y = b;
	int order = strcmp(x->interface, y->interface);

	return order ? order : strcmp(x->key, y->key);
}

static void fill_row(struct ctl_row *row, const char *interface,
		     const struct ctl_peer *peer,
		     const struct ctl_sample *before, double seconds)
{
	const char *endpoint = ctl_get(&peer->lines, "endpoint");
	const struct ctl_row *old = NULL;
	char title[CTL_NAME_CAP];

	*row = (struct ctl_row){ 0 };
	snprintf(row->interface, sizeof(row->interface), "%s", interface);
	memcpy(row->key, peer->key, sizeof(row->key));
	/* A title that is too long is cut. */
	ctl_title(title, sizeof(title), peer);
	title[sizeof(row->title) - 1] = 0;
	memcpy(row->title, title, sizeof(row->title));
	snprintf(row->endpoint, sizeof(row->endpoint), "%s",
		 endpoint ? endpoint : "-");
	row->handshake = ctl_number(&peer->lines, "last_handshake_time_sec");
	row->rx = ctl_number(&peer->lines, "rx_bytes");
	row->tx = ctl_number(&peer->lines, "tx_bytes");
	row->dropped = ctl_number(&peer->lines, "dropped_disallowed_source");
	if (before->n_rows)
		old = bsearch(row, before->rows, before->n_rows,
			      sizeof(*before->rows), compare_rows);
	if (!old)
		return;
	row->in = growth(row->rx, old->rx, seconds);
	row->out = growth(row->tx, old->tx, seconds);
	row->drops = growth(row->dropped, old->dropped, seconds);
}

static int add_rows(struct ctl_sample *s, struct ctl_device *device,
		    const struct ctl_snapshot *snapshot,
		    const struct ctl_sample *before, double seconds)
{
	struct ctl_row *all = realloc(s->rows, (s->n_rows + snapshot->n_peers +
						1) * sizeof(*s->rows));

	if (!all)
		return -ENOMEM;
	s->rows = all;
	for (size_t i = 0; i < snapshot->n_peers; i++) {
		const struct ctl_peer *peer = &snapshot->peers[i];
		const char *state = ctl_get(&peer->lines, "state");

		device->n_sessions +=
			state && strcmp(state, "established") == 0;
		fill_row(&all[s->n_rows++], snapshot->interface, peer, before,
			 seconds);
	}
	return 0;
}

int ctl_sample_add(struct ctl_sample *s, const struct ctl_snapshot *snapshot,
		   const struct ctl_sample *before, double seconds)
{
	const struct ctl_device *old = find_device(before, snapshot->interface);
	const struct ctl_lines *lines = &snapshot->device;
	struct ctl_device *device = new_device(s, snapshot->interface);
	int err;

	if (!device)
		return -ENOMEM;
	device->is_up = ctl_number(lines, "up");
	device->n_peers = snapshot->n_peers;
	ctl_attention(snapshot, 0, count_attention, &device->n_attention);
	for (size_t i = 0; i < CTL_DROPS; i++)
		device->totals[i] = ctl_number(lines, keys[i]);
	err = add_reasons(device, lines, old, seconds);
	if (err < 0)
		return err;
	for (size_t i = 0; old && i < CTL_QUANTITIES; i++)
		device->rates[i] =
			growth(device->totals[i], old->totals[i], seconds);
	return add_rows(s, device, snapshot, before, seconds);
}

int ctl_sample_add_error(struct ctl_sample *s, const char *interface, int err)
{
	struct ctl_device *device = new_device(s, interface);

	if (!device)
		return -ENOMEM;
	device->err = err;
	return 0;
}

void ctl_sample_end(struct ctl_sample *s)
{
	if (s->n_rows)
		qsort(s->rows, s->n_rows, sizeof(*s->rows), compare_rows);
}

void ctl_sample_free(struct ctl_sample *s)
{
	for (size_t i = 0; i < s->n_devices; i++)
		free(s->devices[i].reasons);
	free(s->devices);
	free(s->rows);
	*s = (struct ctl_sample){ 0 };
}

/* ------------------------------------------------------------------------ orders */

typedef int compare(const void *a, const void *b);

static int by_name(const void *a, const void *b)
{
	const struct ctl_row *const *x = a, *const *y = b;
	int order = strcmp((*x)->title, (*y)->title);

	return order ? order : compare_rows(*x, *y);
}

/* Compare numbers, the greater one first, then names. */
static int falling(double x, double y, const void *a, const void *b)
{
	return x > y ? -1 : x < y ? 1 : by_name(a, b);
}

static int by_in(const void *a, const void *b)
{
	const struct ctl_row *const *x = a, *const *y = b;

	return falling((*x)->in, (*y)->in, a, b);
}

static int by_out(const void *a, const void *b)
{
	const struct ctl_row *const *x = a, *const *y = b;

	return falling((*x)->out, (*y)->out, a, b);
}

static int by_handshake(const void *a, const void *b)
{
	const struct ctl_row *const *x = a, *const *y = b;

	return falling((double)(*x)->handshake, (double)(*y)->handshake, a, b);
}

static int by_drops(const void *a, const void *b)
{
	const struct ctl_row *const *x = a, *const *y = b;

	return falling((*x)->drops, (*y)->drops, a, b);
}

static const struct {
	const char *name;
	compare *function;
} orders[CTL_ORDERS] = {
	[CTL_BY_IN] = { "in", by_in },
	[CTL_BY_OUT] = { "out", by_out },
	[CTL_BY_HANDSHAKE] = { "handshake", by_handshake },
	[CTL_BY_DROPS] = { "drops", by_drops },
	[CTL_BY_NAME] = { "name", by_name },
};

const struct ctl_row **ctl_sample_order(const struct ctl_sample *s,
					enum ctl_order order, bool is_reversed)
{
	const struct ctl_row **rows = calloc(s->n_rows + 1, sizeof(*rows));
	size_t n = rows ? s->n_rows : 0;

	for (size_t i = 0; i < n; i++)
		rows[i] = &s->rows[i];
	if (n)
		qsort(rows, n, sizeof(*rows), orders[order].function);
	for (size_t i = 0; is_reversed && i < n / 2; i++) {
		const struct ctl_row *row = rows[i];

		rows[i] = rows[n - 1 - i];
		rows[n - 1 - i] = row;
	}
	return rows;
}

int ctl_sample_order_from(const char *name)
{
	for (int i = 0; i < CTL_ORDERS; i++)
		if (strcmp(orders[i].name, name) == 0)
			return i;
	return -1;
}

const char *ctl_sample_print(char out[CTL_SAMPLE_NUMBER_CAP], double value)
{
	static const char prefixes[] = " kMGTPE";
	size_t i = 0;

	/* From here on it would be printed as 1000. */
	for (; value >= 999.5 && prefixes[i + 1]; i++)
		value /= 1000;
	if (!i)
		snprintf(out, CTL_SAMPLE_NUMBER_CAP, "%.0f", value);
	else
		snprintf(out, CTL_SAMPLE_NUMBER_CAP, "%.*f %c",
			 value < 9.95 ? 1 : 0, value, prefixes[i]);
	return out;
}
