/* SPDX-License-Identifier: MIT */
/* wiregatherctl status: for people, or as JSON. */
#include "ctl/commands.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/attention.h"
#include "ctl/snapshot.h"

/* ------------------------------------------------------------------ for people */

/* A number of bytes with a unit of powers of 1,024. */
static const char *print_size(char *out, size_t cap, uint64_t n)
{
	static const char *const units[] = { "B",   "KiB", "MiB", "GiB",
					     "TiB", "PiB", "EiB" };
	double value = (double)n;
	size_t unit = 0;

	for (; value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]);
	     unit++)
		value /= 1024;
	if (unit)
		snprintf(out, cap, "%.1f %s", value, units[unit]);
	else
		snprintf(out, cap, "%" PRIu64 " B", n);
	return out;
}

static const char *families(const struct ctl_lines *device)
{
	bool v4 = ctl_number(device, "segments_ipv4") > 0;
	bool v6 = ctl_number(device, "segments_ipv6") > 0;

	return v4 && v6 ? "IPv4, IPv6" : v4 ? "IPv4" : v6 ? "IPv6" : "closed";
}

static size_t count_sessions(const struct ctl_snapshot *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_peers; i++) {
		const char *state = ctl_get(&s->peers[i].lines, "state");

		n += state && strcmp(state, "established") == 0;
	}
	return n;
}

static void print_peer(const struct ctl_peer *peer, uint64_t now)
{
	uint64_t then = ctl_number(&peer->lines, "last_handshake_time_sec");
	const char *endpoint = ctl_get(&peer->lines, "endpoint");
	char title[CTL_NAME_CAP], when[48] = "never", in[32], out[32], ago[32];

	ctl_title(title, sizeof(title), peer);
	if (then)
		snprintf(when, sizeof(when), "handshake %s",
			 ctl_ago(ago, sizeof(ago), then, now));
	printf("  %-16s %.8s...  %-24s %-24s in %-10s out %s\n", title,
	       peer->key, endpoint ? endpoint : "-", when,
	       print_size(in, sizeof(in), ctl_number(&peer->lines, "rx_bytes")),
	       print_size(out, sizeof(out),
			  ctl_number(&peer->lines, "tx_bytes")));
}

static void print_attention(void *arg, const char *text)
{
	(void)arg;
	printf("  attention: %s\n", text);
}

static void print_interface(const struct ctl_snapshot *s, uint64_t now)
{
	uint64_t started = ctl_number(&s->device, "started_time_sec");
	size_t n_sessions = count_sessions(s);
	char span[32];

	printf("%s: %s, port %s (%s), MTU %s, %zu peer%s (%zu with a session), "
	       "running for %s\n",
	       s->interface, ctl_number(&s->device, "up") ? "up" : "down",
	       ctl_get(&s->device, "listen_port"), families(&s->device),
	       ctl_get(&s->device, "mtu"), s->n_peers,
	       s->n_peers == 1 ? "" : "s", n_sessions,
	       ctl_span(span, sizeof(span), now > started ? now - started : 0));
	for (size_t i = 0; i < s->n_peers; i++)
		print_peer(&s->peers[i], now);
	ctl_attention(s, now, print_attention, NULL);
}

/* -------------------------------------------------------------------- as JSON */

/* Is the value a number? A name may have digits only, and stays a text. */
static bool is_number(const struct ctl_line *line)
{
	static const char *const texts[] = { "version", "interface", "aead",
					     "errmsg" };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (strcmp(line->key, texts[i]) == 0)
			return false;
	return *line->value &&
	       line->value[strspn(line->value, "0123456789")] == 0;
}

/* A line becomes a member: a number if it is one, else a string. Lines that may come
 * several times are an array. */
static void add_lines(struct json_object *object, const struct ctl_lines *lines)
{
	static const char several[] = "handshake_refused_last";
	struct json_object *array = NULL;

	for (size_t i = 0; i < lines->n; i++) {
		const struct ctl_line *line = &lines->all[i];

		if (strcmp(line->key, several) != 0) {
			json_object_object_add(
				object, line->key,
				is_number(line)
					? json_object_new_uint64(strtoull(
						  line->value, NULL, 10))
					: json_object_new_string(line->value));
			continue;
		}
		if (!array) {
			array = json_object_new_array();
			json_object_object_add(object, several, array);
		}
		json_object_array_add(array,
				      json_object_new_string(line->value));
	}
}

static void add_attention(void *arg, const char *text)
{
	json_object_array_add(arg, json_object_new_string(text));
}

static struct json_object *make_interface(const struct ctl_snapshot *s,
					  uint64_t now)
{
	struct json_object *object = json_object_new_object();
	struct json_object *peers = json_object_new_array();
	struct json_object *attention = json_object_new_array();

	add_lines(object, &s->device);
	for (size_t i = 0; i < s->n_peers; i++) {
		struct json_object *peer = json_object_new_object();

		json_object_object_add(peer, "public_key",
				       json_object_new_string(s->peers[i].key));
		if (*s->peers[i].name)
			json_object_object_add(
				peer, "name",
				json_object_new_string(s->peers[i].name));
		add_lines(peer, &s->peers[i].lines);
		json_object_array_add(peers, peer);
	}
	ctl_attention(s, now, add_attention, attention);
	json_object_object_add(object, "peers", peers);
	json_object_object_add(object, "attention", attention);
	return object;
}

int ctl_status(const struct ctl_options *options)
{
	struct json_object *all =
		options->json ? json_object_new_array() : NULL;
	uint64_t now = (uint64_t)time(NULL);
	int status = CTL_OK;

	for (size_t i = 0; i < options->n_interfaces; i++) {
		struct ctl_snapshot s;
		int err = ctl_snapshot_read(&s, options->interfaces[i],
					    "get=stats");

		if (err < 0) {
			status = options->quiet
					 ? CTL_FAILED
					 : ctl_complain(options->interfaces[i],
							err);
			continue;
		}
		/* For a health check: the daemon answers, and listens if it is
		 * up. */
		if (ctl_number(&s.device, "up") &&
		    !ctl_number(&s.device, "listening"))
			status = CTL_FAILED;
		if (all)
			json_object_array_add(all, make_interface(&s, now));
		else if (!options->quiet)
			print_interface(&s, now);
		ctl_snapshot_free(&s);
	}
	if (all && !options->quiet)
		puts(json_object_to_json_string_ext(
			all, JSON_C_TO_STRING_PRETTY |
				     JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(all);
	return status;
}
