/* SPDX-License-Identifier: MIT */
/*
 * Events come first, then the trace and the numbers of all peers are read, so that no
 * change is missed between them. Endpoints of several peers are set by one request.
 */
#include "ctl/keeper.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/now.h"
#include "ctl/attention.h"
#include "ctl/choice.h"
#include "ctl/conf.h"
#include "ctl/names.h"
#include "ctl/snapshot.h"

enum {
	/* A daemon that is not there is looked for so often. A choice. */
	RETRY_MS = 5000,
	/* Without news, work is due no sooner than this. */
	SOON_MS = 100,
	/* Events that the daemon's trace of a peer holds (docs/statistics.md). */
	TRACE_LEN = 8,
	/* Bytes of a request for one peer, at most. */
	SET_CAP = 256,
};

/**
 * struct candidate - an endpoint of the configuration
 * @host:	its name; NULL: it is an address
 * @port:	its port
 */
struct candidate {
	struct host *host;
	uint16_t port;
};

/**
 * struct keeper_peer - a peer that is kept
 * @hex:	its public key
 * @title:	what people call it
 * @exists:	the daemon has it
 * @n:		how many candidates it has
 * @candidates:	the candidates
 * @choice:	which one is used
 */
struct keeper_peer {
	char hex[CONF_HEX_CAP];
	char title[CTL_NAME_CAP];
	bool exists;
	size_t n;
	struct candidate *candidates;
	struct choice choice;
};

/* An endpoint that is about to be set. */
struct change {
	struct keeper_peer *peer;
	struct choice_text to, was;
	const char *why;
	bool is_refused;
};

static int64_t clock_ms(clockid_t clock)
{
	return (int64_t)(now_read(clock) / NSEC_PER_MSEC);
}

int64_t keeper_now(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

/* A time of the daemon, in ms since 1970, as one of our clock; not in the future. */
static int64_t at(int64_t realtime_ms)
{
	int64_t age = clock_ms(CLOCK_REALTIME) - realtime_ms;

	return keeper_now() - (age > 0 ? age : 0);
}

/* ------------------------------------------------------------ configuration */

static void free_peer(struct keeper_peer *peer)
{
	choice_deinit(&peer->choice);
	free(peer->candidates);
}

static void free_peers(struct keeper_peer *peers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free_peer(&peers[i]);
	free(peers);
}

static bool is_address(const char *host)
{
	struct in6_addr addr;

	return strchr(host, ':') || inet_pton(AF_INET, host, &addr) == 1;
}

/* Add the candidate @k of a peer from "HOST:PORT". */
static bool add_candidate(struct keeper *keeper, struct keeper_peer *peer,
			  size_t k, const char *text)
{
	struct candidate *candidate = &peer->candidates[k];
	struct resolver_answer answer = { .n = 1 };
	char host[CONF_HOST_CAP];

	if (!conf_split_endpoint(text, host, &candidate->port))
		return false;
	if (is_address(host)) {
		snprintf(answer.addresses[0].text, RESOLVER_TEXT_CAP, "%.*s",
			 RESOLVER_TEXT_CAP - 1, host);
		choice_answer(&peer->choice, k, &answer, candidate->port);
		return true;
	}
	candidate->host = hosts_get(keeper->hosts, host);
	return candidate->host != NULL;
}

/* A peer with one address and no backup needs nobody. */
static bool is_kept(const struct conf_section *section)
{
	const char *endpoint = conf_get(section, CONF_ENDPOINT);
	char host[CONF_HOST_CAP];
	uint16_t port;

	if (conf_next(section, CONF_ENDPOINT_BACKUP, NULL))
		return true;
	return endpoint && conf_split_endpoint(endpoint, host, &port) &&
	       !is_address(host);
}

static bool fill_peer(struct keeper *keeper, struct keeper_peer *peer,
		      const struct conf_section *section)
{
	const char *key = conf_get(section, CONF_PUBLIC_KEY);
	const char *name = conf_get(section, CONF_FRIENDLY_NAME);
	const char *endpoint = conf_get(section, CONF_ENDPOINT);
	const struct conf_entry *backup = NULL;
	size_t n = endpoint ? 1 : 0, k = 0;

	*peer = (struct keeper_peer){ 0 };
	conf_key_to_hex(peer->hex, key);
	if (name)
		snprintf(peer->title, sizeof(peer->title), "%s", name);
	else
		snprintf(peer->title, sizeof(peer->title), "%.8s...", key);
	while ((backup = conf_next(section, CONF_ENDPOINT_BACKUP, backup)))
		n++;
	peer->n = n;
	peer->candidates = calloc(n, sizeof(*peer->candidates));
	if (choice_init(&peer->choice, n) < 0 || !peer->candidates)
		return false;
	if (endpoint && !add_candidate(keeper, peer, k++, endpoint))
		return false;
	while ((backup = conf_next(section, CONF_ENDPOINT_BACKUP, backup)))
		if (!add_candidate(keeper, peer, k++, backup->value))
			return false;
	return true;
}

static int compare(const void *a, const void *b)
{
	const struct keeper_peer *one = a, *two = b;

	return strcmp(one->hex, two->hex);
}

static struct keeper_peer *find(struct keeper_peer *peers, size_t n,
				const char *hex)
{
	struct keeper_peer wanted;

	if (!n)
		return NULL;
	snprintf(wanted.hex, sizeof(wanted.hex), "%s", hex);
	return bsearch(&wanted, peers, n, sizeof(*peers), compare);
}

static bool have_same_candidates(const struct keeper_peer *a,
				 const struct keeper_peer *b)
{
	/* An address has no host: it may have changed, so it counts as another. */
	for (size_t k = 0; a->n == b->n && k < a->n; k++)
		if (!a->candidates[k].host ||
		    a->candidates[k].host != b->candidates[k].host ||
		    a->candidates[k].port != b->candidates[k].port)
			return false;
	return a->n == b->n;
}

/* Take over what is known of peers that the file has as before. */
static void replace_peers(struct keeper *keeper, struct keeper_peer *peers,
			  size_t n)
{
	qsort(peers, n, sizeof(*peers), compare);
	for (size_t i = 0; i < keeper->n; i++) {
		struct keeper_peer *old = &keeper->peers[i];
		struct keeper_peer *new = find(peers, n, old->hex);

		if (new &&have_same_candidates(old, new)) {
			struct choice choice = new->choice;

			new->choice = old->choice;
			new->exists = old->exists;
			old->choice = choice;
		}
	}
	free_peers(keeper->peers, keeper->n);
	keeper->peers = peers;
	keeper->n = n;
}

static bool load_peers(struct keeper *keeper, const struct conf *conf)
{
	struct keeper_peer *peers =
		calloc(conf->n_peers ? conf->n_peers : 1, sizeof(*peers));
	size_t n = 0;

	if (!peers)
		return false;
	for (size_t i = 0; i < conf->n_peers; i++) {
		if (!is_kept(&conf->peers[i]))
			continue;
		if (!fill_peer(keeper, &peers[n++], &conf->peers[i])) {
			free_peers(peers, n);
			return false;
		}
	}
	replace_peers(keeper, peers, n);
	return true;
}

/* Read the file if it is another than before. An error leaves all as it is. */
static bool load(struct keeper *keeper)
{
	char error[CONF_ERROR_CAP];
	struct conf conf;
	struct stat found;
	bool is_loaded;

	if (stat(keeper->path, &found) == 0) {
		if (found.st_mtim.tv_sec == keeper->stamp.tv_sec &&
		    found.st_mtim.tv_nsec == keeper->stamp.tv_nsec &&
		    found.st_size == keeper->size &&
		    found.st_ino == keeper->inode)
			return true;
		keeper->stamp = found.st_mtim;
		keeper->size = found.st_size;
		keeper->inode = found.st_ino;
	}
	if (conf_read(&conf, keeper->path, error) < 0) {
		fprintf(stderr, "wiregatherctl: %s: %s\n", keeper->path, error);
		return false;
	}
	is_loaded = load_peers(keeper, &conf);
	conf_free(&conf);
	if (!is_loaded)
		fprintf(stderr, "wiregatherctl: %s: %s\n", keeper->path,
			strerror(ENOMEM));
	else
		printf("%s: keeping the endpoints of %zu peer%s current\n",
		       keeper->interface, keeper->n, keeper->n == 1 ? "" : "s");
	return is_loaded;
}

bool keeper_init(struct keeper *keeper, const char *interface, const char *path,
		 struct hosts *hosts, unsigned int interval_s)
{
	size_t cap = strlen(CTL_CONFIGURATION) + strlen(interface) + 8;

	*keeper = (struct keeper){
		.interface = interface,
		.hosts = hosts,
		.stream = { .fd = -1 },
		.interval_ms = (int64_t)interval_s * 1000,
		.path = path ? strdup(path) : malloc(cap),
	};
	if (!keeper->path) {
		fprintf(stderr, "wiregatherctl: %s\n", strerror(ENOMEM));
		return false;
	}
	if (!path)
		snprintf(keeper->path, cap, "%s/%s.conf", CTL_CONFIGURATION,
			 interface);
	return load(keeper);
}

void keeper_deinit(struct keeper *keeper)
{
	stream_close(&keeper->stream);
	free_peers(keeper->peers, keeper->n);
	free(keeper->path);
}

void keeper_reload(struct keeper *keeper)
{
	keeper->look_ms = 0;
}

/* --------------------------------------------------------------------- news */

/* Resolve the names of a peer. */
static void ask(struct keeper *keeper, struct keeper_peer *peer)
{
	for (size_t k = 0; k < peer->n; k++) {
		struct host *host = peer->candidates[k].host;

		if (host && hosts_ask(keeper->hosts, host))
			choice_note_asked(&peer->choice);
	}
}

void keeper_answer(struct keeper *keeper, const struct host *host,
		   const struct resolver_answer *answer)
{
	for (size_t i = 0; i < keeper->n; i++) {
		struct keeper_peer *peer = &keeper->peers[i];

		for (size_t k = 0; k < peer->n; k++)
			if (peer->candidates[k].host == host)
				choice_answer(&peer->choice, k, answer,
					      peer->candidates[k].port);
	}
}

static void look_at(struct keeper_peer *peer, const struct ctl_lines *lines,
		    int64_t now)
{
	uint64_t s = ctl_number(lines, "last_handshake_time_sec");
	uint64_t ns = ctl_number(lines, "last_handshake_time_nsec");
	const char *state = ctl_get(lines, "state");
	bool is_silent = state && strcmp(state, "silent") == 0;
	bool has_session =
		s && state && !is_silent && strcmp(state, "none") != 0;
	const struct choice_seen seen = {
		.endpoint = ctl_get(lines, "endpoint"),
		.handshake_ms = has_session
					? at((int64_t)(s * 1000 + ns / 1000000))
					: CHOICE_NEVER,
		.is_silent = is_silent,
		.tx = ctl_number(lines, "tx_bytes"),
		.rx = ctl_number(lines, "rx_bytes"),
	};

	choice_look(&peer->choice, &seen, now);
}

/* The peer with a cryptographic key in base64; NULL: there is none. */
static struct keeper_peer *find_by_key(const struct keeper *keeper,
				       const char *key)
{
	char hex[CONF_HEX_CAP];

	return conf_key_to_hex(hex, key) ? find(keeper->peers, keeper->n, hex)
					 : NULL;
}

/* Read the numbers of all peers; or only look at those that want it often. */
static int look(struct keeper *keeper, bool is_all, int64_t now)
{
	struct ctl_snapshot s;
	int err = ctl_snapshot_read(&s, keeper->interface, "get=stats");

	if (err < 0)
		return err;
	for (size_t i = 0; is_all && i < keeper->n; i++)
		keeper->peers[i].exists = false;
	for (size_t i = 0; i < s.n_peers; i++) {
		struct keeper_peer *peer = find_by_key(keeper, s.peers[i].key);

		if (!peer || !(is_all || choice_wants_look(&peer->choice)))
			continue;
		peer->exists = true;
		look_at(peer, &s.peers[i].lines, now);
	}
	ctl_snapshot_free(&s);
	return 0;
}

/*
 * When have packets brought the endpoint of a peer? The last such event of its trace
 * tells, though the endpoint may have been configured since then. If all events of a full
 * trace are others, and recent, one may have been before them.
 */
static int64_t roamed_at(const struct ctl_lines *lines, int64_t now)
{
	int64_t when = CHOICE_NEVER;

	for (size_t i = 0; i < lines->n; i++) {
		const char *value = lines->all[i].value;
		const char *blank = strchr(value, ' ');
		int64_t ms = blank ? at(strtoll(blank, NULL, 10)) : 0;

		if (strncmp(value, "peer-added ", 11) == 0)
			when = CHOICE_NEVER;
		else if (strncmp(value, "endpoint ", 9) == 0 ||
			 (i == 0 && lines->n >= TRACE_LEN &&
			  now - ms < CHOICE_HOLD_MS))
			when = ms;
	}
	return when;
}

static int read_trace(struct keeper *keeper)
{
	int64_t now = keeper_now();
	struct ctl_snapshot s;
	int err = ctl_snapshot_read(&s, keeper->interface, "get=trace");

	if (err < 0)
		return err;
	for (size_t i = 0; i < s.n_peers; i++) {
		struct keeper_peer *peer = find_by_key(keeper, s.peers[i].key);

		if (peer)
			choice_note_roamed(&peer->choice,
					   roamed_at(&s.peers[i].lines, now));
	}
	ctl_snapshot_free(&s);
	return 0;
}

/**
 * struct event - the parts of an event that matter here
 * @name:	which event
 * @key:	the peer's public key; NULL: none
 * @endpoint:	its endpoint; NULL: none
 * @reason:	the reason; empty: none
 * @when:	when, as our clock has it
 */
struct event {
	const char *name;
	const char *key;
	const char *endpoint;
	const char *reason;
	int64_t when;
};

static struct event parse_event(char *line)
{
	struct event event = { .name = "", .reason = "" };
	char *word;

	while ((word = strsep(&line, " "))) {
		char *value = strchr(word, '=');

		if (!value)
			continue;
		*value++ = 0;
		if (strcmp(word, "event") == 0)
			event.name = value;
		else if (strcmp(word, "public_key") == 0)
			event.key = value;
		else if (strcmp(word, "endpoint") == 0)
			event.endpoint = value;
		else if (strcmp(word, "reason") == 0)
			event.reason = value;
		else if (strcmp(word, "time_ms") == 0)
			event.when = at(strtoll(value, NULL, 10));
	}
	return event;
}

static void take_event(void *arg, char *line)
{
	const struct event event = parse_event(line);
	struct keeper *keeper = arg;
	struct keeper_peer *peer =
		event.key ? find(keeper->peers, keeper->n, event.key) : NULL;

	/* We were too slow: read all of it again. */
	if (strcmp(event.name, "lost") == 0 && read_trace(keeper) == 0)
		keeper->look_ms = 0;
	if (!peer)
		return;
	if (strcmp(event.name, "established") == 0 && event.endpoint) {
		choice_established(&peer->choice, event.endpoint,
				   strcmp(event.reason, "initiator") == 0,
				   event.when);
	} else if (strcmp(event.name, "endpoint") == 0 && event.endpoint) {
		choice_moved(&peer->choice, event.endpoint, event.when);
	} else if (strcmp(event.name, "stalled") == 0) {
		if (choice_stalled(&peer->choice, keeper_now()))
			ask(keeper, peer);
	} else if (strcmp(event.name, "peer-removed") == 0) {
		peer->exists = false;
	} else if (strcmp(event.name, "peer-changed") == 0) {
		choice_configured(&peer->choice, event.endpoint);
	} else if (strcmp(event.name, "peer-added") == 0) {
		/* The file may have changed, too. */
		peer->exists = true;
		choice_configured(&peer->choice, event.endpoint);
		ask(keeper, peer);
		keeper->look_ms = 0;
	}
}

/* The daemon cannot be reached: look for it later. */
static void lose(struct keeper *keeper, int err)
{
	stream_close(&keeper->stream);
	keeper->look_ms = keeper_now() + RETRY_MS;
	if (err == keeper->error)
		return;
	keeper->error = err;
	if (err == -ENOENT || err == -ECONNREFUSED)
		fprintf(stderr,
			"wiregatherctl: %s: no daemon serves it; waiting for "
			"one\n",
			keeper->interface);
	else
		fprintf(stderr, "wiregatherctl: %s: %s; trying again\n",
			keeper->interface, strerror(-err));
}

void keeper_read(struct keeper *keeper)
{
	int err;

	if (!stream_read(&keeper->stream, take_event, keeper, &err))
		lose(keeper, err < 0 ? err : -ECONNREFUSED);
}

/* ------------------------------------------------------------------ changes */

static void tell(const struct keeper *keeper, const struct change *change)
{
	const char *was = change->was.text;

	if (change->is_refused)
		fprintf(stderr,
			"wiregatherctl: %s: %s: the daemon refuses the "
			"endpoint %s\n",
			keeper->interface, change->peer->title,
			change->to.text);
	else
		printf("%s: %s: endpoint is now %s, was %s: %s\n",
		       keeper->interface, change->peer->title, change->to.text,
		       *was ? was : "none", change->why);
}

/* Set the endpoints of @n peers by one request. */
static int set(const struct keeper *keeper, const struct change *changes,
	       size_t n)
{
	size_t cap = (n + 1) * SET_CAP, len;
	char *text = malloc(cap);
	int err;

	if (!text)
		return -ENOMEM;
	len = (size_t)snprintf(text, cap, "set=1\n");
	for (size_t i = 0; i < n; i++)
		len += (size_t)snprintf(text + len, cap - len,
					"public_key=%s\nupdate_only=true\n"
					"endpoint=%s\n",
					changes[i].peer->hex,
					changes[i].to.text);
	len += (size_t)snprintf(text + len, cap - len, "\n");
	err = ctl_set(keeper->interface, text, len);
	free(text);
	return err;
}

/* Has the daemon refused what it was told, in contrast to: it cannot be reached? */
static bool is_refusal(int err)
{
	return err == -EINVAL || err == -EPROTO || err == -EAFNOSUPPORT;
}

/*
 * Set endpoints. If the daemon refuses all, one of them may be wrong: try each alone. One
 * that is refused counts as set until the next look, so that it is not tried at once
 * again.
 */
static int set_all(const struct keeper *keeper, struct change *changes,
		   size_t n)
{
	int err = set(keeper, changes, n), result = 0;

	if (is_refusal(err)) {
		for (size_t i = 0; i < n; i++) {
			err = n > 1 ? set(keeper, &changes[i], 1) : err;
			if (err < 0 && !is_refusal(err))
				return err;
			changes[i].is_refused = err < 0;
			result = err < 0 ? err : result;
		}
	} else if (err < 0) {
		return err;
	}
	for (size_t i = 0; i < n; i++) {
		choice_set(&changes[i].peer->choice, changes[i].to.text);
		tell(keeper, &changes[i]);
	}
	return result;
}

/* Decide about all peers, and set what has to be set. */
static int act(struct keeper *keeper, int64_t now)
{
	struct change *changes = NULL;
	size_t n = 0;
	int err = 0;

	for (size_t i = 0; i < keeper->n; i++) {
		struct keeper_peer *peer = &keeper->peers[i];
		struct choice_move move;

		if (!peer->exists || !choice_decide(&peer->choice, now, &move))
			continue;
		if (!changes)
			changes = calloc(keeper->n, sizeof(*changes));
		if (!changes)
			return -ENOMEM;
		changes[n] = (struct change){
			.peer = peer,
			.was = peer->choice.now,
			.why = move.why,
		};
		snprintf(changes[n++].to.text, CHOICE_TEXT_CAP, "%s", move.to);
	}
	if (n)
		err = set_all(keeper, changes, n);
	free(changes);
	return err;
}

/* --------------------------------------------------------------------- work */

static int connect_to(struct keeper *keeper, int64_t now)
{
	int err = stream_open(&keeper->stream, keeper->interface);

	if (err < 0)
		return err;
	err = look(keeper, true, now);
	return err < 0 ? err : read_trace(keeper);
}

/* The timer: read what may have changed, and resolve all names. */
static int look_around(struct keeper *keeper, int64_t now)
{
	bool was_open = keeper->stream.fd >= 0;
	int err;

	load(keeper);
	err = was_open ? look(keeper, true, now) : connect_to(keeper, now);
	if (err < 0)
		return err;
	keeper->error = 0;
	keeper->look_ms = now + keeper->interval_ms;
	for (size_t i = 0; i < keeper->n; i++)
		if (keeper->peers[i].exists)
			ask(keeper, &keeper->peers[i]);
	return 0;
}

static bool has_probes(const struct keeper *keeper)
{
	for (size_t i = 0; i < keeper->n; i++)
		if (choice_wants_look(&keeper->peers[i].choice))
			return true;
	return false;
}

static int64_t next_due(const struct keeper *keeper, int64_t now)
{
	int64_t due = keeper->look_ms;

	for (size_t i = 0; i < keeper->n; i++) {
		int64_t peer_due =
			keeper->peers[i].exists
				? choice_due(&keeper->peers[i].choice, now)
				: CHOICE_NEVER;

		due = peer_due < due ? peer_due : due;
	}
	return due > now + SOON_MS ? due : now + SOON_MS;
}

bool keeper_work(struct keeper *keeper, int64_t *due)
{
	int64_t now = keeper_now();
	int err = 0;

	if (keeper->look_ms <= now)
		err = look_around(keeper, now);
	else if (keeper->stream.fd >= 0 && has_probes(keeper))
		err = look(keeper, false, now);
	if (err < 0)
		lose(keeper, err);
	*due = keeper->look_ms;
	if (keeper->stream.fd < 0)
		return err == 0;
	err = act(keeper, now);
	fflush(stdout);
	if (err < 0 && !is_refusal(err))
		lose(keeper, err);
	*due = next_due(keeper, now);
	return err == 0;
}
