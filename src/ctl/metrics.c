/* SPDX-License-Identifier: MIT */
/*
 * wiregatherctl metrics: one table of metrics, two forms.
 *
 * The text format 0.0.4 of Prometheus: a counter's name ends in _total everywhere, and
 * what OpenMetrics calls "info" is a gauge. OpenMetrics 1.0: HELP, TYPE and UNIT name
 * the metric without _total and _info, and "# EOF" is the last line. All lines of one
 * metric stand together, for all interfaces, as both forms demand.
 */
#include "ctl/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/http.h"
#include "ctl/snapshot.h"

enum {
	/* Classes of a histogram at most: the powers of two up to 128. */
	CLASSES = 8,
};

/* What is printed for each interface, and how. */
struct page {
	FILE *out;
	struct ctl_snapshot *all;
	size_t n;
	bool is_open;
};

enum type {
	COUNTER,
	GAUGE,
	INFO,
	HISTOGRAM,
};

/* A label's value: backslash, quote and line's end are escaped. */
static void put_value(FILE *out, const char *text)
{
	putc('"', out);
	for (; *text; text++)
		if (*text == '\n')
			fputs("\\n", out);
		else if (*text == '"' || *text == '\\')
			fprintf(out, "\\%c", *text);
		else
			putc(*text, out);
	putc('"', out);
}

/* The head of a metric. @name has no ending; @unit: its last word, or NULL. */
static void head(const struct page *p, enum type type, const char *name,
		 const char *unit, const char *help)
{
	static const char *const types[] = { "counter", "gauge", "info",
					     "histogram" };
	const char *ending = "";

	if (!p->is_open && type == COUNTER)
		ending = "_total";
	if (!p->is_open && type == INFO)
		ending = "_info";
	fprintf(p->out, "# HELP %s%s %s\n", name, ending, help);
	fprintf(p->out, "# TYPE %s%s %s\n", name, ending,
		!p->is_open && type == INFO ? "gauge" : types[type]);
	if (p->is_open && unit)
		fprintf(p->out, "# UNIT %s %s\n", name, unit);
}

/* The beginning of a sample: its name and the label of the interface. */
static void begin(const struct page *p, const char *name, const char *ending,
		  const struct ctl_snapshot *s)
{
	fprintf(p->out, "%s%s{interface=", name, ending);
	put_value(p->out, s->interface);
}

static void label(const struct page *p, const char *name, const char *value)
{
	fprintf(p->out, ",%s=", name);
	put_value(p->out, value);
}

static void end(const struct page *p, uint64_t value)
{
	fprintf(p->out, "} %" PRIu64 "\n", value);
}

static void label_peer(const struct page *p, const struct ctl_peer *peer)
{
	label(p, "public_key", peer->key);
	if (*peer->name)
		label(p, "friendly_name", peer->name);
}

/* ------------------------------------------------------------------ the device */

/* Metrics with one number for each interface. */
static const struct {
	enum type type;
	const char *name, *unit, *key, *help;
} numbers[] = {
	{ GAUGE, "wiregather_up", NULL, "up", "The interface is up." },
	{ GAUGE, "wiregather_listening", NULL, "listening",
	  "The UDP sockets are open." },
	{ GAUGE, "wiregather_peers", NULL, "peers",
	  "Peers that are configured." },
	{ GAUGE, "wiregather_workers", NULL, "workers",
	  "Threads that move packets, at most." },
	{ GAUGE, "wiregather_mtu_bytes", "bytes", "mtu",
	  "MTU of the interface." },
	{ GAUGE, "wiregather_start_time_seconds", "seconds", "started_time_sec",
	  "When the daemon started, since 1970." },
	{ COUNTER, "wiregather_log_lines_lost", NULL, "log_lines_lost",
	  "Lines of the log that were lost, because its reader is slow." },
	{ COUNTER, "wiregather_handshakes_received", NULL,
	  "handshakes_received", "Messages of the handshake that came." },
	{ COUNTER, "wiregather_trains_lost", NULL, "trains_lost",
	  "How often segmented sends to a peer were given up." },
	{ COUNTER, "wiregather_trains_back", NULL, "trains_back",
	  "How often segmented sends to a peer came back." },
	{ COUNTER, "wiregather_path_mtu_learnt", NULL, "path_mtu_learnt",
	  "Path MTUs that a router or the kernel has told." },
	{ COUNTER, "wiregather_path_mtu_lost", NULL, "path_mtu_lost",
	  "Path MTUs that were found because longer packets are lost." },
	{ COUNTER, "wiregather_path_mtu_refused", NULL, "path_mtu_refused",
	  "Packets that were dropped because they do not fit the path." },
	{ COUNTER, "wiregather_tun_written", NULL, "tun_written",
	  "Packets and super-packets written to the interface." },
	{ COUNTER, "wiregather_tun_write_refused", NULL, "tun_write_refused",
	  "Super-packets that the kernel refused." },
	{ COUNTER, "wiregather_tun_write_dropped", NULL, "tun_write_dropped",
	  "Packets that the interface did not take." },
	{ COUNTER, "wiregather_udp_sent_datagrams", NULL, "udp_sent_datagrams",
	  "Datagrams with data that were sent." },
	{ COUNTER, "wiregather_udp_sent_bytes", "bytes", "udp_sent_bytes",
	  "Bytes of these datagrams." },
	{ COUNTER, "wiregather_udp_send_calls", NULL, "udp_send_calls",
	  "System calls that sent." },
	{ COUNTER, "wiregather_udp_send_full", NULL, "udp_send_full",
	  "How often the send buffer was full." },
	{ COUNTER, "wiregather_udp_send_no_buffers", NULL,
	  "udp_send_no_buffers", "How often the kernel had no memory." },
	{ COUNTER, "wiregather_udp_received_datagrams", NULL,
	  "udp_received_datagrams", "Datagrams that came." },
	{ COUNTER, "wiregather_udp_received_bytes", "bytes",
	  "udp_received_bytes", "Bytes of these datagrams." },
	{ COUNTER, "wiregather_udp_receive_calls", NULL, "udp_receive_calls",
	  "System calls that received." },
	{ COUNTER, "wiregather_udp_receive_errors", NULL, "udp_receive_errors",
	  "Errors that earlier datagrams left on the socket." },
};

/* Counters that share a name, with a label for the rest of their keys. */
static const struct {
	const char *name, *label, *prefix, *help;
} groups[] = {
	{ "wiregather_inbound_dropped_packets", "reason", "inbound_dropped_",
	  "Data messages that came and were dropped." },
	{ "wiregather_handshakes_dropped", "reason", "handshakes_dropped_",
	  "Messages of the handshake that were dropped." },
	{ "wiregather_outbound_dropped_packets", "reason", "outbound_dropped_",
	  "Packets from the interface that were not sent." },
	{ "wiregather_tun_read_dropped", "reason", "tun_read_dropped_",
	  "Frames from the kernel that make no sense." },
	{ "wiregather_udp_split_messages", "reason", "udp_send_split_",
	  "Segmented sends that were refused and sent one by one." },
	{ "wiregather_udp_socket_dropped_messages", "family",
	  "udp_socket_dropped_",
	  "Messages that the kernel dropped before they were received." },
};

/* Histograms: how many datagrams a message has. */
static const struct {
	const char *direction, *prefix, *sum;
} trains[] = {
	{ "out", "udp_sent_trains_", "udp_sent_datagrams" },
	{ "in", "udp_received_trains_", "udp_received_datagrams" },
};

static const char *ending_of(enum type type)
{
	return type == COUNTER ? "_total" : type == INFO ? "_info" : "";
}

static void put_numbers(const struct page *p)
{
	for (size_t m = 0; m < sizeof(numbers) / sizeof(numbers[0]); m++) {
		head(p, numbers[m].type, numbers[m].name, numbers[m].unit,
		     numbers[m].help);
		for (size_t i = 0; i < p->n; i++) {
			begin(p, numbers[m].name, ending_of(numbers[m].type),
			      &p->all[i]);
			end(p, ctl_number(&p->all[i].device, numbers[m].key));
		}
	}
}

static void put_groups(const struct page *p)
{
	for (size_t m = 0; m < sizeof(groups) / sizeof(groups[0]); m++) {
		size_t len = strlen(groups[m].prefix);

		head(p, COUNTER, groups[m].name, NULL, groups[m].help);
		for (size_t i = 0; i < p->n; i++) {
			const struct ctl_lines *lines = &p->all[i].device;

			for (size_t l = 0; l < lines->n; l++) {
				if (strncmp(lines->all[l].key, groups[m].prefix,
					    len) != 0)
					continue;
				begin(p, groups[m].name, "_total", &p->all[i]);
				label(p, groups[m].label,
				      lines->all[l].key + len);
				end(p, strtoull(lines->all[l].value, NULL, 10));
			}
		}
	}
}

static void put_histogram(const struct page *p, const struct ctl_snapshot *s,
			  size_t t)
{
	static const char name[] = "wiregather_udp_segments_per_message";
	size_t len = strlen(trains[t].prefix);
	uint64_t sum = 0;

	for (size_t l = 0; l < s->device.n; l++) {
		const struct ctl_line *line = &s->device.all[l];
		char top[16];

		if (strncmp(line->key, trains[t].prefix, len) != 0)
			continue;
		sum += strtoull(line->value, NULL, 10);
		/* OpenMetrics wants numbers with a fraction. */
		snprintf(top, sizeof(top), "%s%s", line->key + len,
			 p->is_open ? ".0" : "");
		begin(p, name, "_bucket", s);
		label(p, "direction", trains[t].direction);
		label(p, "le", top);
		end(p, sum);
	}
	begin(p, name, "_bucket", s);
	label(p, "direction", trains[t].direction);
	label(p, "le", "+Inf");
	end(p, sum);
	begin(p, name, "_sum", s);
	label(p, "direction", trains[t].direction);
	end(p, ctl_number(&s->device, trains[t].sum));
	begin(p, name, "_count", s);
	label(p, "direction", trains[t].direction);
	end(p, sum);
}

static void put_device_info(const struct page *p)
{
	head(p, INFO, "wiregather_build", NULL, "Version and backend.");
	for (size_t i = 0; i < p->n; i++) {
		const char *aead = ctl_get(&p->all[i].device, "aead");
		const char *version = ctl_get(&p->all[i].device, "version");

		begin(p, "wiregather_build", "_info", &p->all[i]);
		label(p, "version", version ? version : "");
		label(p, "aead", aead ? aead : "");
		end(p, 1);
	}
}

/* -------------------------------------------------------------------- peers */

/* Metrics with one number for each peer. The first three have the names of the
 * exporters that others wrote, so that their dashboards show ours, too. */
static const struct {
	enum type type;
	const char *name, *unit, *key, *help;
} of_peers[] = {
	{ COUNTER, "wireguard_sent_bytes", "bytes", "tx_bytes",
	  "Bytes sent to the peer." },
	{ COUNTER, "wireguard_received_bytes", "bytes", "rx_bytes",
	  "Bytes received from the peer." },
	{ GAUGE, "wireguard_latest_handshake_seconds", "seconds",
	  "last_handshake_time_sec", "The last handshake, since 1970." },
	{ COUNTER, "wiregather_peer_disallowed_source_packets", NULL,
	  "dropped_disallowed_source",
	  "Packets of the peer dropped because of their inner source." },
};

static void put_peers(const struct page *p)
{
	for (size_t m = 0; m < sizeof(of_peers) / sizeof(of_peers[0]); m++) {
		head(p, of_peers[m].type, of_peers[m].name, of_peers[m].unit,
		     of_peers[m].help);
		for (size_t i = 0; i < p->n; i++) {
			const struct ctl_snapshot *s = &p->all[i];

			for (size_t k = 0; k < s->n_peers; k++) {
				begin(p, of_peers[m].name,
				      ending_of(of_peers[m].type), s);
				label_peer(p, &s->peers[k]);
				end(p, ctl_number(&s->peers[k].lines,
						  of_peers[m].key));
			}
		}
	}
}

static void put_peer_info(const struct page *p)
{
	head(p, INFO, "wiregather_peer", NULL, "Endpoint and state of a peer.");
	for (size_t i = 0; i < p->n; i++) {
		const struct ctl_snapshot *s = &p->all[i];

		for (size_t k = 0; k < s->n_peers; k++) {
			const struct ctl_lines *lines = &s->peers[k].lines;
			const char *endpoint = ctl_get(lines, "endpoint");
			const char *state = ctl_get(lines, "state");

			begin(p, "wiregather_peer", "_info", s);
			label_peer(p, &s->peers[k]);
			label(p, "endpoint", endpoint ? endpoint : "");
			label(p, "state", state ? state : "");
			end(p, 1);
		}
	}
}

static void put_page(const struct page *p)
{
	put_device_info(p);
	put_numbers(p);
	put_groups(p);
	head(p, HISTOGRAM, "wiregather_udp_segments_per_message", NULL,
	     "Datagrams that one message to or from the kernel has.");
	for (size_t i = 0; i < p->n; i++)
		for (size_t t = 0; t < sizeof(trains) / sizeof(trains[0]); t++)
			put_histogram(p, &p->all[i], t);
	put_peers(p);
	put_peer_info(p);
	if (p->is_open)
		fputs("# EOF\n", p->out);
}

/* ------------------------------------------------------------------ the ways out */

/* Ask all interfaces. Return: enum ctl_status; the page has those that answered. */
static int ask_all(struct page *p, const struct ctl_options *options)
{
	int status = CTL_OK;

	p->all = calloc(options->n_interfaces + 1, sizeof(*p->all));
	if (!p->all)
		return ctl_complain("metrics", -ENOMEM);
	for (size_t i = 0; i < options->n_interfaces; i++) {
		int err = ctl_snapshot_read(
			&p->all[p->n], options->interfaces[i], "get=stats");

		if (err < 0)
			status = ctl_complain(options->interfaces[i], err);
		else
			p->n++;
	}
	return status;
}

static void free_page(struct page *p)
{
	for (size_t i = 0; i < p->n; i++)
		ctl_snapshot_free(&p->all[i]);
	free(p->all);
}

/* A collector may read the directory at any moment, so the file appears whole. */
static int write_file(struct page *p, const char *directory)
{
	char *path = NULL, *temporary = NULL;
	int status = CTL_FAILED;

	if (asprintf(&path, "%s/wiregather.prom", directory) < 0 ||
	    asprintf(&temporary, "%s/.wiregather.prom.%d", directory,
		     (int)getpid()) < 0)
		return ctl_complain(directory, -ENOMEM);
	p->out = fopen(temporary, "we");
	if (p->out) {
		put_page(p);
		bool is_bad = ferror(p->out);

		if (fclose(p->out) == 0 && !is_bad &&
		    chmod(temporary, 0644) == 0 && rename(temporary, path) == 0)
			status = CTL_OK;
	}
	if (status != CTL_OK) {
		status = ctl_complain(path, -errno);
		unlink(temporary);
	}
	free(temporary);
	free(path);
	return status;
}

char *ctl_metrics_text(const struct ctl_options *options, bool is_open,
		       size_t *len)
{
	struct ctl_options all = *options;
	struct page page = { .is_open = is_open };
	char **found = NULL, *text = NULL;

	/* Others may run by now. */
	if (options->has_all)
		all.interfaces = found = ctl_interfaces(&all.n_interfaces);
	ask_all(&page, &all);
	page.out = page.all ? open_memstream(&text, len) : NULL;
	if (page.out && page.all) {
		put_page(&page);
		if (fclose(page.out) != 0) {
			free(text);
			text = NULL;
		}
	}
	free_page(&page);
	free(found);
	return text;
}

int ctl_metrics(const struct ctl_options *options)
{
	struct page page = { .out = stdout, .is_open = options->open_metrics };
	int status, result = CTL_OK;

	if (options->http)
		return ctl_http_answer(options);
	if (options->listen)
		return ctl_http_listen(options);
	status = ask_all(&page, options);
	if (options->textfile)
		result = write_file(&page, options->textfile);
	else
		put_page(&page);
	free_page(&page);
	return result != CTL_OK ? result : status;
}
