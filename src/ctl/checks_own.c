/* SPDX-License-Identifier: MIT */
/* This end: the daemon, the interface, the port, the clock, and what strangers do. */
#include "ctl/checks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <time.h>

#include "ctl/attention.h"

enum {
	/* A refused configuration is worth a note for so long, in seconds. A
	 * choice. */
	REFUSAL_S = 600,
	/* Clocks may differ by so much from what is expected of them, in seconds. A
	 * choice. */
	CLOCK_SLACK_S = 5,
	DAY_S = 86400,
	/* So many refused handshakes a second are a flood. A choice: 100 peers that
	 * start at once make that many once, and these are not refused. */
	FLOOD_RATE = 100,
	/* A log whose reader has waited for so long, in seconds, is stalled. A
	 * choice. */
	STALLED_S = 2,
};

void ctl_check_absence(struct ctl_diagnosis *d, int err)
{
	const char *name = d->interface;
	struct ctl_finding *f;

	if (err == -ETIMEDOUT) {
		f = ctl_find(&d->findings, CTL_FAULT, "daemon",
			     "the daemon of %s does not answer: it is stopped, "
			     "or busy without end",
			     name);
		ctl_advise(f, "Look at its process (ps, state T: stopped by a "
			      "signal); report it if it is busy.");
	} else if (if_nametoindex(name)) {
		f = ctl_find(&d->findings, CTL_FAULT, "daemon",
			     "%s is there, but no wiregather with statistics "
			     "serves it",
			     name);
		ctl_advise(f, "Look at its log for why it has ended, and start "
			      "it again.");
	} else {
		f = ctl_find(&d->findings, CTL_FAULT, "daemon",
			     "there is no interface %s, and no daemon: it was "
			     "never started, or it ended because the interface "
			     "was deleted",
			     name);
		ctl_advise(f,
			   "Start it: wg-quick up %s, or systemctl start "
			   "wiregather@%s.",
			   name, name);
	}
}

static void check_interface(struct ctl_diagnosis *d)
{
	const struct ctl_lines *device = &d->last.device;

	if (!ctl_number(device, "up")) {
		ctl_advise(ctl_find(&d->findings, CTL_FAULT, "interface",
				    "the interface %s is down", d->interface),
			   "ip link set %s up", d->interface);
		return;
	}
	ctl_find(&d->findings, CTL_FINE, "interface", "up, MTU %s",
		 ctl_get(device, "mtu"));
	if (!d->ifindex)
		ctl_advise(ctl_find(&d->findings, CTL_SKIPPED, "interface",
				    "%s is not in the network namespace of "
				    "this program: routes and pings are left "
				    "out",
				    d->interface),
			   "Run this command inside of its namespace: ip netns "
			   "exec, or nsenter.");
}

static void check_port(struct ctl_diagnosis *d)
{
	const struct ctl_lines *device = &d->last.device;
	const char *port = ctl_get(device, "listen_port");
	const char *why = ctl_get(device, "listen_error");
	struct ctl_finding *f;
	char user[128];

	if (!ctl_number(device, "up"))
		return;
	if (ctl_number(device, "listening")) {
		ctl_find(&d->findings, CTL_FINE, "port", "listening on port %s",
			 port);
		return;
	}
	ctl_network_port_user(user, sizeof(user),
			      (uint16_t)ctl_number(device, "listen_port"));
	f = ctl_find(&d->findings, CTL_FAULT, "port",
		     "cannot listen on UDP port %s: %s%s%s", port,
		     why ? why : "not open", *user ? "; it belongs to " : "",
		     user);
	ctl_advise(f,
		   "End the other program (ss -ulpn names it), or choose "
		   "another port: wg set %s listen-port PORT. The daemon "
		   "tries again each second.",
		   d->interface);
}

static void check_send_buffer(struct ctl_diagnosis *d)
{
	uint64_t grew = ctl_diagnosis_grew(d, "outbound_dropped_socket_full");
	uint64_t full =
		ctl_number(&d->last.device, "outbound_dropped_socket_full");

	if (grew)
		ctl_advise(ctl_find(&d->findings, CTL_FAULT, "buffers",
				    "the send buffer of the socket is full: "
				    "%" PRIu64 " packets were dropped in "
				    "%" PRId64 " ms, because more is sent than "
				    "the link takes",
				    grew, d->spent_ms),
			   "Slow the senders down, such as by tc(8) on the "
			   "interface; the link below is the limit.");
	else if (full)
		ctl_find(&d->findings, CTL_NOTE, "buffers",
			 "%" PRIu64 " packets were dropped since the start, "
			 "because the send buffer was full; none at the moment",
			 full);
}

static void check_receive_buffer(struct ctl_diagnosis *d)
{
	uint64_t grew = ctl_diagnosis_grew(d, "udp_socket_dropped_ipv4") +
			ctl_diagnosis_grew(d, "udp_socket_dropped_ipv6");
	uint64_t full = ctl_number(&d->last.device, "udp_socket_dropped_ipv4") +
			ctl_number(&d->last.device, "udp_socket_dropped_ipv6");

	if (grew)
		ctl_advise(ctl_find(&d->findings, CTL_FAULT, "buffers",
				    "the receive buffer of the socket is full: "
				    "%" PRIu64 " messages were lost in "
				    "%" PRId64 " ms, because they come faster "
				    "than this host decrypts them",
				    grew, d->spent_ms),
			   "Raise --workers, or give the daemon more "
			   "processor time.");
	else if (full)
		ctl_find(&d->findings, CTL_NOTE, "buffers",
			 "%" PRIu64 " messages were lost since the start, "
			 "because the receive buffer was full; none at the "
			 "moment",
			 full);
}

static void check_configuration(struct ctl_diagnosis *d)
{
	const char *why = ctl_get(&d->last.device, "errmsg");
	uint64_t at = ctl_number(&d->last.device, "errmsg_time_sec");
	uint64_t now = (uint64_t)time(NULL);
	char ago[32];

	if (why && now < at + REFUSAL_S)
		ctl_advise(ctl_find(&d->findings, CTL_NOTE, "configuration",
				    "a configuration was refused %s, and has "
				    "changed nothing: %s",
				    ctl_ago(ago, sizeof(ago), at, now), why),
			   "Correct it, and set it again.");
}

/* The latest point of time that is known to be in the past, and what it is. */
static uint64_t latest_known(const struct ctl_diagnosis *d, const char **what)
{
	const struct ctl_snapshot *s = &d->last;
	uint64_t latest = ctl_number(&s->device, "started_time_sec");
	struct stat program;

	*what = "when the daemon was started";
	for (size_t i = 0; i < s->n_peers; i++) {
		uint64_t at = ctl_number(&s->peers[i].lines,
					 "last_handshake_time_sec");

		if (at <= latest)
			continue;
		latest = at;
		*what = "when a session began";
	}
	/* The file may have come with a time from elsewhere. */
	if (stat("/proc/self/exe", &program) == 0 &&
	    program.st_mtime - DAY_S > (int64_t)latest) {
		latest = (uint64_t)(program.st_mtime - DAY_S);
		*what = "when this program was made";
	}
	return latest;
}

static void check_clock(struct ctl_diagnosis *d)
{
	time_t now = time(NULL);
	const char *what;
	uint64_t latest = latest_known(d, &what);
	struct timex state = { .modes = 0 };
	int result = adjtimex(&state);
	char text[64] = "";
	struct tm tm;

	if (gmtime_r(&now, &tm))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm);
	if ((int64_t)latest > now + CLOCK_SLACK_S)
		ctl_advise(ctl_find(&d->findings, CTL_FAULT, "clock",
				    "the clock of this host is wrong: it says "
				    "%s, which is before the time %s",
				    text, what),
			   "Set the clock. Peers refuse handshakes that seem "
			   "older than the last one they took.");
	else
		ctl_find(&d->findings, CTL_FINE, "clock", "%s%s", text,
			 result == TIME_ERROR || state.status & STA_UNSYNC
				 ? ", not synchronized with a time server"
				 : "");
}

/* The sender of the last message that was refused for a reason that floods have. */
static void find_sender(const struct ctl_lines *device, char *out, size_t cap)
{
	uint64_t latest = 0;

	snprintf(out, cap, "?");
	for (size_t i = 0; i < device->n; i++) {
		char address[96];
		uint64_t at;

		if (strcmp(device->all[i].key, "handshake_refused_last") != 0 ||
		    sscanf(device->all[i].value, "%*s %95s %" SCNu64, address,
			   &at) != 2 ||
		    at < latest)
			continue;
		latest = at;
		snprintf(out, cap, "%s", address);
	}
}

static void check_flood(struct ctl_diagnosis *d)
{
	const struct ctl_lines *device = &d->last.device;
	static const char prefix[] = "handshakes_dropped_";
	uint64_t dropped = 0, ms = (uint64_t)d->spent_ms;
	char sender[96];

	for (size_t i = 0; i < device->n; i++)
		if (strncmp(device->all[i].key, prefix, strlen(prefix)) == 0)
			dropped += ctl_diagnosis_grew(d, device->all[i].key);
	if (!ms || dropped * 1000 / ms < FLOOD_RATE)
		return;
	find_sender(device, sender, sizeof(sender));
	ctl_advise(ctl_find(&d->findings, CTL_FAULT, "flood",
			    "a flood of handshakes: %" PRIu64 " a second are "
			    "refused (last from %s)",
			    dropped * 1000 / ms, sender),
		   "Sessions go on, and peers connect by means of cookies. "
		   "Have the firewall limit new UDP flows to the port.");
}

void ctl_check_own(struct ctl_diagnosis *d)
{
	check_interface(d);
	check_port(d);
	check_configuration(d);
	check_clock(d);
	check_send_buffer(d);
	check_receive_buffer(d);
	check_flood(d);
}

void ctl_check_log(struct ctl_diagnosis *d)
{
	uint64_t blocked = ctl_number(&d->last.device, "log_blocked_sec");
	uint64_t lost = ctl_number(&d->last.device, "log_lines_lost");
	char span[32];

	if (blocked >= STALLED_S)
		ctl_advise(ctl_find(&d->findings, CTL_FAULT, "log",
				    "the log stalls: its reader has taken "
				    "nothing for %s, and %" PRIu64 " lines are "
				    "lost; the tunnel goes on",
				    ctl_span(span, sizeof(span), blocked),
				    lost),
			   "Look at the program behind stdout and stderr of "
			   "the daemon, such as a logger behind a pipe, or a "
			   "terminal that is stopped.");
	else if (lost)
		ctl_find(&d->findings, CTL_NOTE, "log",
			 "%" PRIu64 " lines of the log were lost, because its "
			 "reader was slow",
			 lost);
}
