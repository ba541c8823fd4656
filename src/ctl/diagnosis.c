/* SPDX-License-Identifier: MIT */
/*
 * The attempt is a ping each second. It ends as soon as it is clear how things are:
 *
 * - the target answers, or the daemon says that it cannot send;
 * - an initiation had no answer for 3 s, or an answer that cannot be used;
 * - there is a session, the pings have no answer, and something else came from the
 *   peer. A peer that takes our packets sends a keepalive after 10 s, if it has nothing
 *   else to send (KEEPALIVE_TIMEOUT of the WireGuard paper).
 *
 * A peer with a session that sends nothing gets an initiation after 15 s, so the
 * attempt is over after 19 s.
 */
#include "ctl/diagnosis.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/now.h"
#include "ctl/attention.h"
#include "ctl/probe.h"

enum {
	TRIES = 19,
	PING_MS = 1000,
	/* An answer that takes longer has gone astray. A choice. */
	ANSWER_S = 3,
	/* Pings without an answer after which a peer that was heard meanwhile does
	 * not answer pings. A choice: one may be lost. */
	SILENT_PINGS = 3,
	/* Characters of a key that are enough to name a peer. A choice. */
	KEY_START = 4,
	/* The port that throws away what it gets (RFC 863). */
	DISCARD_PORT = 9,
};

static const struct ctl_peer *find_peer(const struct ctl_snapshot *s,
					const char *key)
{
	for (size_t i = 0; *key && i < s->n_peers; i++)
		if (strcmp(s->peers[i].key, key) == 0)
			return &s->peers[i];
	return NULL;
}

const struct ctl_peer *ctl_diagnosis_peer(const struct ctl_diagnosis *d)
{
	return find_peer(&d->last, d->key);
}

uint64_t ctl_diagnosis_grew(const struct ctl_diagnosis *d, const char *key)
{
	uint64_t before = ctl_number(&d->first.device, key);
	uint64_t after = ctl_number(&d->last.device, key);

	return after > before ? after - before : 0;
}

bool ctl_diagnosis_has_session(const struct ctl_diagnosis *d)
{
	const struct ctl_peer *peer = ctl_diagnosis_peer(d);
	const char *state = peer ? ctl_get(&peer->lines, "state") : NULL;

	return state && strcmp(state, "established") == 0;
}

bool ctl_diagnosis_is_unanswered(const struct ctl_diagnosis *d)
{
	const struct ctl_peer *peer = ctl_diagnosis_peer(d);
	uint64_t sent_at;

	if (!peer || !ctl_number(&peer->lines, "initiations_unanswered"))
		return false;
	sent_at = ctl_number(&peer->lines, "last_initiation_time_sec");
	return ctl_number(&peer->lines, "initiations_unanswered") > 1 ||
	       (uint64_t)time(NULL) >= sent_at + ANSWER_S;
}

bool ctl_diagnosis_endpoint(const struct ctl_diagnosis *d,
			    union ctl_address *endpoint)
{
	const struct ctl_peer *peer = ctl_diagnosis_peer(d);
	const char *text = peer ? ctl_get(&peer->lines, "endpoint") : NULL;

	return text && ctl_endpoint_parse(endpoint, text);
}

int ctl_diagnosis_begin(struct ctl_diagnosis *d)
{
	int err = ctl_snapshot_read(&d->first, d->interface, "get=stats");

	if (err == 0)
		err = ctl_snapshot_read(&d->last, d->interface, "get=stats");
	if (err == 0)
		err = ctl_snapshot_read(&d->trace, d->interface, "get=trace");
	if (err == 0)
		err = ctl_snapshot_read(&d->allowed, d->interface,
					"get=allowed_ips");
	d->ifindex = if_nametoindex(d->interface);
	return err;
}

void ctl_diagnosis_end(struct ctl_diagnosis *d)
{
	ctl_snapshot_free(&d->first);
	ctl_snapshot_free(&d->last);
	ctl_snapshot_free(&d->trace);
	ctl_snapshot_free(&d->allowed);
	ctl_findings_free(&d->findings);
}

/* ---------------------------------------------------------------------- the aim */

static void take_peer(struct ctl_diagnosis *d, const struct ctl_peer *peer)
{
	snprintf(d->key, sizeof(d->key), "%s", peer->key);
	ctl_title(d->title, sizeof(d->title), peer);
}

/* The peer whose allowed IPs have the target in their longest prefix. */
static void find_owner(struct ctl_diagnosis *d)
{
	const struct ctl_peer *found = NULL;
	unsigned int longest = 0;

	for (size_t i = 0; i < d->allowed.n_peers; i++) {
		const struct ctl_peer *peer = &d->allowed.peers[i];

		for (size_t k = 0; k < peer->lines.n; k++) {
			unsigned int bits;

			if (!ctl_address_is_in(&d->target,
					       peer->lines.all[k].value, &bits))
				continue;
			if (!found || bits > longest) {
				found = peer;
				longest = bits;
			}
		}
	}
	if (found)
		take_peer(d, found);
}

/* An address that the peer has for itself: the first prefix of full length. */
static void choose_target(struct ctl_diagnosis *d)
{
	const struct ctl_peer *peer = find_peer(&d->allowed, d->key);

	for (size_t k = 0; peer && k < peer->lines.n; k++) {
		const char *value = peer->lines.all[k].value;
		size_t len = strcspn(value, "/");
		char text[CTL_ADDRESS_CAP];

		snprintf(text, sizeof(text), "%.*s", (int)len, value);
		if (strcmp(value + len, strchr(text, ':') ? "/128" : "/32") !=
		    0)
			continue;
		d->is_chosen = ctl_address_parse(&d->target, text);
		return;
	}
}

static bool is_whole_key(const char *token)
{
	return strlen(token) == CTL_KEY_CAP - 1 &&
	       token[CTL_KEY_CAP - 2] == '=';
}

const char *ctl_diagnosis_aim(struct ctl_diagnosis *d, const char *token)
{
	const struct ctl_snapshot *s = &d->first;
	const struct ctl_peer *found = NULL;
	size_t len = strlen(token), n = 0;

	if (ctl_address_parse(&d->target, token)) {
		find_owner(d);
		return NULL;
	}
	for (size_t i = 0; i < s->n_peers && !found; i++)
		if (strcmp(s->peers[i].name, token) == 0 ||
		    strcmp(s->peers[i].key, token) == 0)
			found = &s->peers[i];
	for (size_t i = 0; i < s->n_peers && !found && len >= KEY_START; i++)
		n += strncmp(s->peers[i].key, token, len) == 0;
	if (n > 1)
		return "several peers have keys that begin so";
	for (size_t i = 0; i < s->n_peers && n; i++)
		if (strncmp(s->peers[i].key, token, len) == 0)
			found = &s->peers[i];
	if (found) {
		take_peer(d, found);
		choose_target(d);
		return NULL;
	}
	if (!is_whole_key(token))
		return "no such peer, and no address";
	snprintf(d->key, sizeof(d->key), "%s", token);
	snprintf(d->title, sizeof(d->title), "%.8s...", token);
	return NULL;
}

/* ------------------------------------------------------------------- the attempt */

/* Look at the peer again. */
static int look(struct ctl_diagnosis *d)
{
	const struct ctl_peer *peer;
	uint64_t handshake, rx_bytes;
	int err;

	ctl_snapshot_free(&d->last);
	err = ctl_snapshot_read(&d->last, d->interface, "get=stats");
	peer = err < 0 ? NULL : ctl_diagnosis_peer(d);
	if (!peer)
		return err;
	handshake = ctl_number(&peer->lines, "last_handshake_time_sec");
	rx_bytes = ctl_number(&peer->lines, "rx_bytes");
	if (handshake != d->handshake) {
		d->handshake = handshake;
		d->rx_bytes = rx_bytes;
	}
	d->has_heard = rx_bytes > d->rx_bytes;
	return 0;
}

/* Has the number of the peer grown since the attempt began? */
static bool has_grown(const struct ctl_diagnosis *d, const char *key)
{
	const struct ctl_peer *before = find_peer(&d->first, d->key);
	const struct ctl_peer *after = ctl_diagnosis_peer(d);

	return before && after &&
	       ctl_number(&after->lines, key) > ctl_number(&before->lines, key);
}

/* After @n pings: is it clear how things are? */
static bool is_clear(const struct ctl_diagnosis *d, int n)
{
	const struct ctl_peer *peer = ctl_diagnosis_peer(d);
	const char *error =
		peer ? ctl_get(&peer->lines, "send_error_last") : NULL;
	unsigned long long error_at = 0;

	if (!peer || d->answer > 0 || !ctl_get(&peer->lines, "endpoint") ||
	    ctl_diagnosis_is_unanswered(d) || has_grown(d, "responses_refused"))
		return true;
	if (error && sscanf(error, "%*d %llu", &error_at) == 1 &&
	    n >= ANSWER_S &&
	    error_at >= ctl_number(&peer->lines, "last_handshake_time_sec"))
		return true;
	return ctl_diagnosis_has_session(d) && n >= SILENT_PINGS &&
	       d->has_heard;
}

static void pause_ms(int64_t ms)
{
	const struct timespec t = { .tv_sec = ms / 1000,
				    .tv_nsec = (long)(ms % 1000) * 1000000 };

	if (ms > 0)
		nanosleep(&t, NULL);
}

/* Ping once, or send a datagram if this user may not ping; it takes a second. */
static void ping_once(struct ctl_diagnosis *d)
{
	int64_t end = now_monotonic_ms() + PING_MS;
	union ctl_address discard = d->target;

	d->answer = ctl_ping(&d->target, CTL_PING_LEN, 0, PING_MS);
	d->has_pinged = d->answer != -EACCES && d->answer != -EPERM;
	if (d->answer > 0)
		return;
	if (!d->has_pinged) {
		if (discard.any.sa_family == AF_INET)
			discard.v4.sin_port = htons(DISCARD_PORT);
		else
			discard.v6.sin6_port = htons(DISCARD_PORT);
		ctl_knock(&discard, 0, 0);
	}
	pause_ms(end - now_monotonic_ms());
}

static bool may_try(const struct ctl_diagnosis *d)
{
	struct ctl_route route;

	return d->may_send && *d->key && d->ifindex &&
	       d->target.any.sa_family != AF_UNSPEC &&
	       ctl_number(&d->first.device, "listening") &&
	       ctl_route_get(&route, &d->target, 0) == 0 &&
	       route.ifindex == d->ifindex;
}

int ctl_diagnosis_try(struct ctl_diagnosis *d)
{
	int err = look(d);

	d->began_ms = now_monotonic_ms();
	if (err == 0 && may_try(d))
		for (int n = 1; n <= TRIES; n++) {
			ping_once(d);
			err = look(d);
			if (err < 0 || is_clear(d, n))
				break;
		}
	/* What grows within a second is seen to grow. */
	if (err == 0 && now_monotonic_ms() - d->began_ms < PING_MS) {
		pause_ms(PING_MS - (now_monotonic_ms() - d->began_ms));
		err = look(d);
	}
	d->spent_ms = now_monotonic_ms() - d->began_ms;
	return err;
}
