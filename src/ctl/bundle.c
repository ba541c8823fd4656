/* SPDX-License-Identifier: MIT */
/*
 * wiregatherctl bundle: one text with what the report of a fault needs, and without keys.
 *
 * Two things keep keys out. Of configurations and environments only what is known to be
 * harmless is copied; the names of the rest stand in the last section. Then all of the
 * text, whoever wrote it, goes through ctl_scrub_text().
 */
#include "base/now.h"
#include "ctl/commands.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "ctl/attention.h"
#include "ctl/collect.h"
#include "ctl/names.h"
#include "ctl/scrub.h"
#include "ctl/snapshot.h"

enum {
	/* For how long events are collected, in seconds. Choices. */
	SECONDS_DEFAULT = 2,
	SECONDS_MAX = 3600,
	/* Devices whose offloads are asked for, at most. A choice. */
	DEVICES_MAX = 16,
	PATH_CAP = 320,
	/* A longer word is no name of a setting. */
	NAME_CAP = 32,
};

/**
 * struct bundle - a report in the making
 * @out:	the text
 * @left:	the last section: names of what was left out
 * @scrub:	numbers of the peers
 * @interfaces:	names; borrowed
 * @n:		how many
 * @fds:	connections with get=events, one for each interface; negative: -errno
 * @status:	enum ctl_status
 */
struct bundle {
	FILE *out;
	FILE *left;
	struct ctl_scrub scrub;
	char **interfaces;
	size_t n;
	int *fds;
	int status;
};

static void head(struct bundle *b, const char *title, const char *interface)
{
	fprintf(b->out, "\n===== %s%s%s\n", interface ? interface : "",
		interface ? ": " : "", title);
}

static void run(struct bundle *b, const char *command)
{
	ctl_collect_program(b->out, command);
}

/* Run a command with the name of a device as its last word. */
static void run_on(struct bundle *b, const char *command, const char *device)
{
	char text[PATH_CAP];

	snprintf(text, sizeof(text), "%s %s", command, device);
	run(b, text);
}

/* ------------------------------------------------------------------ the machine */

static void put_versions(struct bundle *b)
{
	static const char *const os[] = { "PRETTY_NAME=", "VERSION_ID=", NULL };
	struct utsname name;

	head(b, "versions", NULL);
	fputs("wiregatherctl " WG_VERSION "\n", b->out);
	/* Without the name of the machine. */
	if (uname(&name) == 0)
		fprintf(b->out, "%s %s %s %s\n", name.sysname, name.release,
			name.version, name.machine);
	ctl_collect_lines(b->out, "/etc/os-release", os);
	run(b, "wiregather --version");
	run(b, "wg --version");
	run(b, "ip -V");
}

static void put_machine(struct bundle *b)
{
	static const char *const memory[] = { "MemTotal:", "MemAvailable:",
					      "SwapTotal:", NULL };
	static const char *const marks[] = { "/run/systemd/container",
					     "/.dockerenv",
					     "/run/.containerenv" };

	head(b, "machine", NULL);
	fprintf(b->out, "processors: %ld\n", sysconf(_SC_NPROCESSORS_ONLN));
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (access(marks[i], F_OK) == 0)
			fprintf(b->out, "a container: there is %s\n", marks[i]);
	ctl_collect_lines(b->out, "/proc/uptime", NULL);
	ctl_collect_lines(b->out, "/proc/loadavg", NULL);
	ctl_collect_lines(b->out, "/proc/meminfo", memory);
	/* The first processor stands for all. */
	run(b, "grep -m1 ^model.name /proc/cpuinfo");
	run(b, "grep -m1 -E ^(flags|Features) /proc/cpuinfo");
}

static void put_sysctls(struct bundle *b)
{
	static const char *const names[] = {
		"net/core/rmem_default",
		"net/core/rmem_max",
		"net/core/wmem_default",
		"net/core/wmem_max",
		"net/core/netdev_max_backlog",
		"net/core/netdev_budget",
		"net/core/default_qdisc",
		"net/ipv4/ip_forward",
		"net/ipv4/ip_no_pmtu_disc",
		"net/ipv4/tcp_congestion_control",
		"net/ipv4/tcp_mtu_probing",
		"net/ipv4/conf/all/rp_filter",
		"net/ipv4/conf/default/rp_filter",
		"net/ipv4/conf/all/src_valid_mark",
		"net/ipv6/conf/all/disable_ipv6",
		"net/ipv6/conf/all/forwarding",
		"net/ipv6/bindv6only",
		"kernel/unprivileged_userns_clone",
		"user/max_user_namespaces",
	};

	head(b, "sysctls", NULL);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[PATH_CAP];

		snprintf(path, sizeof(path), "/proc/sys/%s", names[i]);
		ctl_collect_lines(b->out, path, NULL);
	}
}

static void put_offloads(struct bundle *b)
{
	struct dirent **entries = NULL;
	int n = scandir("/sys/class/net", &entries, NULL, alphasort);

	head(b, "offloads", NULL);
	for (int i = 0; i < n; i++) {
		if (*entries[i]->d_name != '.' && i < DEVICES_MAX)
			run_on(b, "ethtool -k", entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
}

static void put_network(struct bundle *b)
{
	static const char *const udp[] = { "Udp", "Ip", NULL };

	head(b, "links and addresses", NULL);
	run(b, "ip -d -s link");
	run(b, "ip addr");
	head(b, "rules and routes", NULL);
	run(b, "ip -4 rule");
	run(b, "ip -6 rule");
	run(b, "ip -4 route show table all");
	run(b, "ip -6 route show table all");
	head(b, "queues, sockets and counters", NULL);
	run(b, "tc -s qdisc");
	run(b, "ss -uanm");
	ctl_collect_lines(b->out, "/proc/net/snmp", udp);
	ctl_collect_lines(b->out, "/proc/net/snmp6", udp);
	ctl_collect_lines(b->out, "/proc/net/softnet_stat", NULL);
	head(b, "packet filter", NULL);
	run(b, "nft list ruleset");
}

/* ------------------------------------------------------------ daemons and their logs */

/* Read a file of /proc whose parts end with 0. Return: its length, or 0. */
static size_t read_parts(const char *pid, const char *file, char *text,
			 size_t cap)
{
	char path[PATH_CAP];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, cap - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	return n > 0 ? (size_t)n : 0;
}

static void put_environment(struct bundle *b, const char *pid)
{
	static const char *const known[] = {
		"LOG_LEVEL=",	    "WG_PROCESS_FOREGROUND=",
		"WG_TUN_FD=",	    "WG_UAPI_FD=",
		"WIREGATHER_USER=", "WIREGATHER_OPTIONS=",
		"NOTIFY_SOCKET=",   "WATCHDOG_USEC=",
		"JOURNAL_STREAM=",  "FDSTORE=",
	};
	static char text[64 << 10];
	size_t len = read_parts(pid, "environ", text, sizeof(text));
	size_t n_others = 0;

	if (!len)
		fprintf(b->left, "process %s: its environment cannot be read\n",
			pid);
	for (char *word = text; word < text + len; word += strlen(word) + 1) {
		bool is_known = false;

		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			is_known |=
				strncmp(word, known[i], strlen(known[i])) == 0;
		if (is_known)
			fprintf(b->out, "environment: %s\n", word);
		else
			n_others++;
	}
	if (n_others)
		fprintf(b->left,
			"process %s: %zu variables of its environment\n", pid,
			n_others);
}

static void put_process(struct bundle *b, const char *pid)
{
	static const char *const status[] = {
		"State:",  "Uid:",    "Gid:",	    "Groups:",	 "Threads:",
		"VmHWM:",  "VmRSS:",  "VmLck:",	    "CapEff:",	 "CapBnd:",
		"Seccomp", "NoNewPr", "Cpus_allow", "voluntary", NULL,
	};
	static const char *const limits[] = { "Max open files",
					      "Max locked memory",
					      "Max processes", NULL };
	char path[PATH_CAP], text[4096];
	size_t len = read_parts(pid, "cmdline", text, sizeof(text));
	int err;

	/* A process that has ended, and is not waited for. */
	if (!len)
		return;
	for (size_t i = 0; i + 1 < len; i++)
		if (!text[i])
			text[i] = ' ';
	fprintf(b->out, "\nprocess %s: %s\n", pid, text);
	put_environment(b, pid);
	snprintf(path, sizeof(path), "/proc/%s/status", pid);
	ctl_collect_lines(b->out, path, status);
	snprintf(path, sizeof(path), "/proc/%s/limits", pid);
	ctl_collect_lines(b->out, path, limits);
	snprintf(path, sizeof(path), "/proc/%s/fd/2", pid);
	fprintf(b->out, "the end of its log, %s:\n", path);
	err = ctl_collect_end(b->out, path);
	if (err == -EINVAL)
		fputs("(no file, but a terminal, a pipe or the journal)\n",
		      b->out);
	else if (err < 0)
		fprintf(b->out, "(%s)\n", strerror(-err));
}

static void put_processes(struct bundle *b)
{
	static const char *const names[] = { "wiregather\n", "wireguard-go\n" };
	struct dirent **entries = NULL;
	int n = scandir("/proc", &entries, NULL, alphasort);

	head(b, "processes", NULL);
	for (int i = 0; i < n; i++) {
		char name[32];

		if (isdigit((unsigned char)*entries[i]->d_name) &&
		    read_parts(entries[i]->d_name, "comm", name, sizeof(name)))
			for (size_t k = 0; k < sizeof(names) / sizeof(names[0]);
			     k++)
				if (strcmp(name, names[k]) == 0)
					put_process(b, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	head(b, "log", NULL);
	fputs("With LOG_LEVEL=verbose in the environment of the daemon the log says "
	      "more.\n",
	      b->out);
	run(b, "journalctl --no-pager -b -n 300 _COMM=wiregather");
}

/* ------------------------------------------------------------------ interfaces */

/* Copy what is harmless of a configuration of wg-quick(8), and note what is not. */
static void put_setting(struct bundle *b, char *line, const char *file,
			size_t number)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "abcdefghijklmnopqrstuvwxyz";
	static const char *const known[] = {
		"Address",    "AllowedIPs", "DNS",
		"Endpoint",   "FwMark",	    "ListenPort",
		"MTU",	      "PublicKey",  "PersistentKeepalive",
		"SaveConfig", "Table",
	};
	size_t len = strspn(line, letters);
	bool is_known = *line == '[';

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		is_known |= len == strlen(known[i]) &&
			    strncasecmp(line, known[i], len) == 0;
	if (is_known) {
		/* A comment may stand behind the value. */
		fprintf(b->out, "%.*s\n", (int)strcspn(line, "#"), line);
	} else if (*line == '#') {
		fprintf(b->left, "%s, line %zu: a comment\n", file, number);
	} else if (len && len < NAME_CAP && strchr(" \t=", line[len])) {
		fprintf(b->out, "%.*s = (left out)\n", (int)len, line);
		fprintf(b->left, "%s, line %zu: %.*s\n", file, number, (int)len,
			line);
	} else if (*line) {
		fprintf(b->left, "%s, line %zu: no setting\n", file, number);
	}
}

static void put_configuration(struct bundle *b, const char *interface)
{
	char path[PATH_CAP], *line = NULL;
	size_t cap = 0, number = 0;
	FILE *file;

	head(b, "configuration", interface);
	snprintf(path, sizeof(path), "%s/%s.conf", CTL_CONFIGURATION,
		 interface);
	file = fopen(path, "re");
	if (!file) {
		fprintf(b->out, "%s: (%s)\n", path, strerror(errno));
		return;
	}
	while (getline(&line, &cap, file) >= 0) {
		char *text = line + strspn(line, " \t");

		text[strcspn(text, "\r\n")] = 0;
		put_setting(b, text, path, ++number);
	}
	free(line);
	fclose(file);
}

static void put_attention(void *arg, const char *text)
{
	struct bundle *b = arg;

	fprintf(b->out, "%s\n", text);
}

/* An answer of the statistics socket, with the numbers of the peers. */
static void put_answer(struct bundle *b, const char *interface,
		       const char *request, const char *title)
{
	struct ctl_snapshot s;
	int err = ctl_snapshot_read(&s, interface, request);

	head(b, title, interface);
	if (err < 0) {
		fprintf(b->out, "(%s)\n", strerror(-err));
		/* One complaint is enough. */
		if (b->status == CTL_OK)
			b->status = ctl_complain(interface, err);
		return;
	}
	for (size_t i = 0; i < s.device.n; i++)
		fprintf(b->out, "%s=%s\n", s.device.all[i].key,
			s.device.all[i].value);
	for (size_t i = 0; i < s.n_peers; i++) {
		const struct ctl_peer *peer = &s.peers[i];

		ctl_scrub_add(&b->scrub, peer->key);
		fprintf(b->out, "public_key=%s\n", peer->key);
		if (*peer->name)
			fprintf(b->out, "name=%s\n", peer->name);
		for (size_t k = 0; k < peer->lines.n; k++)
			fprintf(b->out, "%s=%s\n", peer->lines.all[k].key,
				peer->lines.all[k].value);
	}
	if (strcmp(request, "get=stats") == 0) {
		head(b, "what needs attention", interface);
		ctl_attention(&s, (uint64_t)time(NULL), put_attention, b);
	}
	ctl_snapshot_free(&s);
}

static void begin_events(struct bundle *b)
{
	static const char request[] = "get=events\n\n";

	for (size_t i = 0; i < b->n; i++) {
		b->fds[i] = ctl_connect(b->interfaces[i]);
		if (b->fds[i] >= 0 &&
		    write(b->fds[i], request, strlen(request)) < 0) {
			close(b->fds[i]);
			b->fds[i] = -EPROTO;
		}
	}
}

/* Copy the events that have come. The daemon keeps the rest and tells of losses. */
static void end_events(struct bundle *b)
{
	for (size_t i = 0; i < b->n; i++) {
		char *text = malloc(CTL_COLLECT_CAP);
		size_t len = 0;
		ssize_t n = 1;

		head(b, "events while this was collected", b->interfaces[i]);
		while (text && b->fds[i] >= 0 && n > 0 &&
		       len < CTL_COLLECT_CAP) {
			n = recv(b->fds[i], text + len, CTL_COLLECT_CAP - len,
				 MSG_DONTWAIT);
			len += n > 0 ? (size_t)n : 0;
		}
		/* The last line may have come in part. */
		while (len && text[len - 1] != '\n')
			len--;
		fwrite(text, 1, len, b->out);
		free(text);
		if (b->fds[i] >= 0)
			close(b->fds[i]);
	}
}

static void put_interface(struct bundle *b, const char *interface)
{
	put_answer(b, interface, "get=stats", "statistics");
	put_answer(b, interface, "get=trace", "the last events of each peer");
	put_configuration(b, interface);
	head(b, "what wg(8) shows", interface);
	run_on(b, "wg show", interface);
}

/* ------------------------------------------------------------------ the report */

static void put_preface(struct bundle *b)
{
	time_t now = time(NULL);
	struct tm tm = { 0 };
	char text[32];

	gmtime_r(&now, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	fprintf(b->out,
		"wiregatherctl bundle, %s\n\n"
		"For the report of a fault. There is no key in this text: the public "
		"key of a\npeer became \"<peer NUMBER>\", every other one \"<key>\"; the "
		"log has the first eight\ndigits of public keys. There are addresses, "
		"names of peers, routes and rules of this\nmachine in it. Read it "
		"before you send it. The last section names what was left out.\n",
		text);
}

/* Write all sections. Events are collected meanwhile, at least for @seconds. */
static void put_report(struct bundle *b, int seconds)
{
	int64_t end = now_monotonic_ms() + (int64_t)seconds * 1000;

	put_preface(b);
	begin_events(b);
	put_versions(b);
	put_machine(b);
	for (size_t i = 0; i < b->n; i++)
		put_interface(b, b->interfaces[i]);
	if (!b->n)
		fputs("\nNo interface has statistics in " CTL_DIRECTORY ".\n",
		      b->out);
	put_network(b);
	put_offloads(b);
	put_sysctls(b);
	put_processes(b);
	do {
		poll(NULL, 0, 10);
	} while (now_monotonic_ms() < end);
	end_events(b);
}

/* The file is new, so that it is nobody else's, and only its owner may read it. */
static int write_out(const char *path, const char *text, size_t len)
{
	FILE *file = stdout;
	bool is_bad;

	if (path) {
		int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
			      0600);

		file = fd < 0 ? NULL : fdopen(fd, "w");
	}
	if (!file)
		return ctl_complain(path, -errno);
	fwrite(text, 1, len, file);
	is_bad = ferror(file);
	if ((path ? fclose(file) : fflush(file)) != 0 || is_bad)
		return ctl_complain(path ? path : "stdout", -errno);
	return CTL_OK;
}

/* Put both texts into one without keys, and write it. */
static int finish(struct bundle *b, const char *path, char **text, size_t *len,
		  char **left)
{
	int status;

	fclose(b->left);
	head(b, "left out", NULL);
	fputs(*left, b->out);
	if (fclose(b->out) != 0)
		return ctl_complain("bundle", -ENOMEM);
	*len = ctl_scrub_text(&b->scrub, *text, *len);
	status = write_out(path, *text, *len);
	if (b->scrub.n_others)
		fprintf(stderr,
			"wiregatherctl: keys, or what looks like keys, replaced "
			"by \"<key>\": %zu\n",
			b->scrub.n_others);
	return status;
}

static int make(char **interfaces, size_t n, const char *path, int seconds)
{
	struct bundle b = { .interfaces = interfaces, .n = n };
	char *text = NULL, *left = NULL;
	size_t len = 0, left_len = 0;
	int status = CTL_FAILED;

	b.out = open_memstream(&text, &len);
	b.left = open_memstream(&left, &left_len);
	b.fds = calloc(n + 1, sizeof(*b.fds));
	if (b.out && b.left && b.fds) {
		put_report(&b, seconds);
		status = finish(&b, path, &text, &len, &left);
	} else {
		ctl_complain("bundle", -ENOMEM);
	}
	ctl_scrub_free(&b.scrub);
	free(b.fds);
	free(text);
	free(left);
	return status != CTL_OK ? status : b.status;
}

/* Programs are found as by root, print in English, and hide keys. */
static void set_environment(void)
{
	const char *path = getenv("PATH");
	char *all = NULL;

	if (asprintf(&all, "%s:/usr/sbin:/sbin:/usr/bin:/bin",
		     path ? path : "/usr/local/bin") >= 0)
		setenv("PATH", all, 1);
	free(all);
	setenv("LC_ALL", "C", 1);
	setenv("WG_HIDE_KEYS", "always", 1);
}

/* Return: seconds; -1: the text is none. */
static int parse_seconds(const char *text)
{
	char *end;
	long value = strtol(text, &end, 10);

	return isdigit((unsigned char)*text) && !*end && value <= SECONDS_MAX
		       ? (int)value
		       : -1;
}

int ctl_bundle(int argc, char **argv)
{
	static const struct option options[] = {
		{ "output", required_argument, NULL, 'o' },
		{ "seconds", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	int c, seconds = SECONDS_DEFAULT, status;
	const char *path = NULL;
	char **found = NULL;
	size_t n;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (c == ':')
			return ctl_refuse("no value", argv[optind - 1]);
		if (c == '?')
			return ctl_refuse("no such option", argv[optind - 1]);
		if (c == 'o')
			path = optarg;
		else
			seconds = parse_seconds(optarg);
		if (seconds < 0)
			return ctl_refuse("--seconds: not from 0 to 3600",
					  optarg);
	}
	n = (size_t)(argc - optind);
	if (!n)
		found = ctl_interfaces(&n);
	set_environment();
	status = make(found ? found : argv + optind, n, path, seconds);
	free(found);
	return status;
}
