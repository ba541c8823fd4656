/* SPDX-License-Identifier: MIT */
/* wiregatherctl events: the last events of each peer, which get=trace tells, or with
 * --follow the lines of get=events as they come; for people, or as JSON, one object a
 * line. */
#include "ctl/commands.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/snapshot.h"
#include "ctl/stream.h"

/**
 * struct follower - an interface whose events are printed
 * @interface:	its name
 * @is_json:	print JSON
 * @stream:	its events
 */
struct follower {
	const char *interface;
	bool is_json;
	struct stream stream;
};

/* A point of time as ISO 8601 in UTC, with milliseconds. */
static void print_time(char *out, size_t cap, uint64_t ms)
{
	time_t seconds = (time_t)(ms / 1000);
	struct tm tm = { 0 };
	char day[32];

	gmtime_r(&seconds, &tm);
	strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out, cap, "%s.%03uZ", day, (unsigned int)(ms % 1000));
}

static void print_json(const char *interface, char *line)
{
	struct json_object *object = json_object_new_object();
	char key[CTL_KEY_CAP], when[64], *word;

	json_object_object_add(object, "interface",
			       json_object_new_string(interface));
	while ((word = strsep(&line, " "))) {
		char *value = strchr(word, '=');
		const char *name = word;

		if (!value)
			continue;
		*value++ = 0;
		if (strcmp(word, "time_ms") == 0) {
			print_time(when, sizeof(when),
				   strtoull(value, NULL, 10));
			name = "time";
			value = when;
		} else if (strcmp(word, "public_key") == 0 &&
			   ctl_key_from_hex(key, value)) {
			name = "peer";
			value = key;
		}
		json_object_object_add(
			object, name,
			strcmp(name, "value") == 0
				? json_object_new_uint64(
					  strtoull(value, NULL, 10))
				: json_object_new_string(value));
	}
	puts(json_object_to_json_string_ext(object,
					    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
}

/* "TIME INTERFACE EVENT", then the other pairs as they came. */
static void print_plain(const char *interface, char *line)
{
	char key[CTL_KEY_CAP], when[64] = "-", *word, *value;
	const char *event = "";

	while ((word = strsep(&line, " "))) {
		value = strchr(word, '=');
		if (!value)
			continue;
		*value++ = 0;
		if (strcmp(word, "event") == 0) {
			event = value;
		} else if (strcmp(word, "time_ms") == 0) {
			print_time(when, sizeof(when),
				   strtoull(value, NULL, 10));
			printf("%s %s %s", when, interface, event);
		} else if (strcmp(word, "public_key") == 0 &&
			   ctl_key_from_hex(key, value)) {
			printf(" peer=%s", key);
		} else {
			/* An event without a time is "lost". */
			if (*when == '-')
				printf("- %s %s", interface, event);
			printf(" %s=%s", word, value);
		}
	}
	putchar('\n');
}

static void print_line(void *arg, char *line)
{
	const struct follower *f = arg;

	if (f->is_json)
		print_json(f->interface, line);
	else
		print_plain(f->interface, line);
}

static int follow(struct follower *f)
{
	int err = 0;

	if (stream_read(&f->stream, print_line, f, &err))
		err = 0;
	/* Only one process of the daemon may have ended, such as by an upgrade. Then
	 * another one takes the connection. */
	else if (err == 0)
		stream_open(&f->stream, f->interface);
	fflush(stdout);
	return err;
}

/* Print events until all connections have ended. */
static int follow_all(struct follower *all, size_t n)
{
	struct pollfd *fds = calloc(n, sizeof(*fds));
	int status = CTL_OK;
	size_t n_open = n;

	if (!fds)
		return ctl_complain("events", -ENOMEM);
	while (n_open) {
		n_open = 0;
		for (size_t i = 0; i < n; i++) {
			fds[i] = (struct pollfd){ all[i].stream.fd, POLLIN, 0 };
			n_open += all[i].stream.fd >= 0;
		}
		if (!n_open || (poll(fds, n, -1) < 0 && errno != EINTR))
			break;
		for (size_t i = 0; i < n; i++) {
			int err = fds[i].revents ? follow(&all[i]) : 0;

			if (err < 0)
				status = ctl_complain(all[i].interface, err);
		}
	}
	free(fds);
	return status;
}

static int follow_interfaces(const struct ctl_options *options)
{
	struct follower *all = calloc(options->n_interfaces, sizeof(*all));
	int status = CTL_OK;

	if (!all)
		return ctl_complain("events", -ENOMEM);
	for (size_t i = 0; i < options->n_interfaces; i++) {
		all[i].interface = options->interfaces[i];
		all[i].is_json = options->json;
		int err = stream_open(&all[i].stream, all[i].interface);

		if (err < 0)
			status = ctl_complain(options->interfaces[i], err);
	}
	if (follow_all(all, options->n_interfaces) != CTL_OK)
		status = CTL_FAILED;
	free(all);
	return status;
}

/* ------------------------------------------------------------------ what was */

/**
 * struct past - an event that was
 * @ms:		when, in milliseconds since 1970
 * @interface:	borrowed
 * @key:	public key of the peer, in base64
 * @event:	its name
 */
struct past {
	uint64_t ms;
	const char *interface;
	char key[CTL_KEY_CAP];
	char event[32];
};

/**
 * struct history - events that were
 * @all:	@n events
 * @n:		how many
 */
struct history {
	struct past *all;
	size_t n;
};

static int compare_times(const void *a, const void *b)
{
	const struct past *x = a, *y = b;

	return x->ms < y->ms ? -1 : x->ms > y->ms;
}

/* Add the lines "trace=EVENT TIME" of a peer. */
static int add_trace(struct history *h, const char *interface,
		     const struct ctl_peer *peer)
{
	struct past *all =
		realloc(h->all, (h->n + peer->lines.n + 1) * sizeof(*h->all));

	if (!all)
		return -ENOMEM;
	h->all = all;
	for (size_t i = 0; i < peer->lines.n; i++) {
		struct past *past = &all[h->n];

		if (strcmp(peer->lines.all[i].key, "trace") != 0 ||
		    sscanf(peer->lines.all[i].value, "%31s %" SCNu64,
			   past->event, &past->ms) != 2)
			continue;
		past->interface = interface;
		memcpy(past->key, peer->key, sizeof(past->key));
		h->n++;
	}
	return 0;
}

static int add_interface(struct history *h, const char *interface)
{
	struct ctl_snapshot s;
	int err = ctl_snapshot_read(&s, interface, "get=trace");

	if (err < 0)
		return err;
	for (size_t i = 0; i < s.n_peers && err == 0; i++)
		err = add_trace(h, interface, &s.peers[i]);
	ctl_snapshot_free(&s);
	return err;
}

static int print_history(const struct ctl_options *options)
{
	struct history h = { 0 };
	int status = CTL_OK;

	for (size_t i = 0; i < options->n_interfaces; i++) {
		int err = add_interface(&h, options->interfaces[i]);

		if (err < 0)
			status = ctl_complain(options->interfaces[i], err);
	}
	if (h.n)
		qsort(h.all, h.n, sizeof(*h.all), compare_times);
	for (size_t i = 0; i < h.n; i++) {
		char line[STREAM_LINE_CAP];

		snprintf(line, sizeof(line),
			 "event=%s time_ms=%" PRIu64 " peer=%s", h.all[i].event,
			 h.all[i].ms, h.all[i].key);
		if (options->json)
			print_json(h.all[i].interface, line);
		else
			print_plain(h.all[i].interface, line);
	}
	free(h.all);
	return status;
}

int ctl_events(const struct ctl_options *options)
{
	return options->follow ? follow_interfaces(options)
			       : print_history(options);
}
