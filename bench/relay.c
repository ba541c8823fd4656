/* SPDX-License-Identifier: MIT */
/*
 * bench-relay - what it costs to forward UDP datagrams
 *
 *	bench-relay ROUNDS CYCLES [bursts|singles FLOWS] NAME=PROGRAM[ WORD]...
 *
 * Each PROGRAM is a relay, such as examples/relay; it is started with a port as its
 * last argument, and killed at the end. Prints CSV, a line for each slice; relay.py
 * makes tables of it. A kind of traffic measures that row alone, such as under perf(1).
 * Needs root: it makes its own network namespaces (net.h).
 *
 * The relay and the ends of its flows (relay_traffic.h) are joined by a veth pair that
 * takes trains whole. The relay is pinned to the first core that we may use, the ends
 * to the last.
 *
 * A row is a number of flows, and whether they send in bursts. In each of ROUNDS
 * rounds each relay of a row has CYCLES cycles. The relays take turns after each cycle,
 * so a disturbance affects all of them alike, and the ratio of two relays within a round
 * is valid even if their times are not. In a cycle the
 * relay is stopped by a signal, the source fills the relay's receive buffer, and
 * empties the caches of that data. Then the relay goes on, until all datagrams have
 * come to the sink. So each relay always finds a full buffer, as one does that is busy,
 * and the data are cold; neither end has to keep up with the relay.
 *
 * The clock is the CPU time of the relay's process, all of its threads, read while it
 * is stopped. Over veth this time covers the way of a datagram from the relay's receive
 * buffer to that of the sink.
 *
 * strace(1), where it is installed, counts system calls in a cycle of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "bench/measure.h"
#include "bench/net.h"
#include "bench/relay_traffic.h"

enum {
	MAX_WAYS = 8,
	MAX_WORDS = 8,
	/* The port of the first relay; the others follow. A choice. */
	FIRST_PORT = 5000,
	/* Bounds of the arguments. Choices. */
	MAX_ROUNDS = 1000,
	MAX_CYCLES = 1000,
	/* Cycles before a row is measured. The library's receiver needs some full
	 * calls to use all of its slots. */
	WARM_CYCLES = 3,
};

/* The traffic of a row. */
struct kind {
	unsigned int flows;
	bool bursts;
};

static const struct kind kinds[] = {
	{ 1, true },  { 32, true },  { RELAY_MAX_FLOWS, true },
	{ 1, false }, { 32, false }, { RELAY_MAX_FLOWS, false },
};

/**
 * struct way - a relay
 * @name:	for the table
 * @words:	its command; the last one is @port_text
 * @port:	its port
 * @port_text:	the same for its command
 * @pid:	its process while it runs
 * @clock:	the CPU time of the process
 * @calls:	system calls in a cycle; -1 if they were not counted
 * @cpu_ns:	CPU time in this round
 * @arrived:	datagrams that have come in this round
 */
struct way {
	const char *name;
	char *words[MAX_WORDS + 2];
	uint16_t port;
	char port_text[8];
	pid_t pid;
	clockid_t clock;
	long calls;
	uint64_t cpu_ns;
	int64_t arrived;
};

struct bench {
	struct kind only; /* its flows are 0 for all rows */
	unsigned int rounds;
	unsigned int cycles;
	struct way ways[MAX_WAYS];
	size_t n_ways;
	struct net net;
	int relay_cpu;
	struct relay_traffic *traffic;
};

static int pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}

/* Become a program. Called in a child. */
static void execute(char **words)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execvp(words[0], words);
	perror(words[0]);
	_exit(127);
}

static int way_start(const struct bench *b, struct way *w)
{
	w->pid = fork();
	if (w->pid < 0)
		return -errno;
	if (w->pid == 0) {
		if (net_enter(b->net.receiver_ns) < 0 || pin(b->relay_cpu) < 0)
			_exit(126);
		execute(w->words);
	}
	return -clock_getcpuclockid(w->pid, &w->clock);
}

static void way_end(struct way *w)
{
	if (w->pid <= 0)
		return;
	kill(w->pid, SIGKILL);
	waitpid(w->pid, NULL, 0);
	w->pid = 0;
}

/* Stop a relay, and wait until all of its threads have stopped. */
static int way_stop(const struct way *w)
{
	siginfo_t info = { 0 };

	if (kill(w->pid, SIGSTOP) < 0 ||
	    waitid(P_PID, (id_t)w->pid, &info, WSTOPPED | WEXITED | WNOWAIT) <
		    0)
		return -errno;
	if (info.si_code != CLD_STOPPED)
		return -ESRCH;
	return waitid(P_PID, (id_t)w->pid, &info, WSTOPPED) < 0 ? -errno : 0;
}

static int way_continue(const struct way *w)
{
	return kill(w->pid, SIGCONT) < 0 ? -errno : 0;
}

/* Run a cycle with a relay that is stopped, and stop it again. */
static int64_t run_cycle(const struct bench *b, const struct way *w, bool check)
{
	int err = relay_traffic_fill(b->traffic);
	int64_t arrived;

	if (!err)
		err = way_continue(w);
	if (err)
		return err;
	arrived = relay_traffic_drain(b->traffic, check);
	err = way_stop(w);
	return err ? err : arrived;
}

/* ------------------------------------------------------------ System calls */

/* Wait until strace says that it has attached. Return: false if it has ended. */
static bool is_attached(int fd)
{
	char text[256];
	size_t len = 0;

	while (len < sizeof(text) - 1) {
		ssize_t n = read(fd, text + len, sizeof(text) - 1 - len);

		if (n <= 0)
			return false;
		len += (size_t)n;
		text[len] = '\0';
		if (strstr(text, "attached"))
			return true;
	}
	return false;
}

/* Add up the first column of what strace has written. */
static long sum_calls(const char *path)
{
	FILE *file = fopen(path, "re");
	char line[256], name[128];
	long sum = 0, calls;

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%ld %127s", &calls, name) == 2 &&
		    strcmp(name, "total") != 0)
			sum += calls;
	fclose(file);
	return sum;
}

static pid_t start_strace(const struct way *w, const char *path, int fds[2])
{
	char number[16];
	pid_t pid;

	snprintf(number, sizeof(number), "%d", (int)w->pid);
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		dup2(fds[1], STDERR_FILENO);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execlp("strace", "strace", "-f", "-c", "-U", "calls,name", "-o",
		       path, "-p", number, NULL);
		_exit(127);
	}
	close(fds[1]);
	return pid;
}

/* Run a cycle under strace, which is told to write its counts then. */
static int run_traced(const struct bench *b, const struct way *w, pid_t tracer)
{
	int err = relay_traffic_fill(b->traffic);
	int64_t arrived;

	if (!err)
		err = way_continue(w);
	arrived = err ? err : relay_traffic_drain(b->traffic, false);
	kill(tracer, SIGINT);
	waitpid(tracer, NULL, 0);
	err = way_stop(w);
	if (arrived < 0)
		return (int)arrived;
	return err ? err : arrived == RELAY_CYCLE ? 0 : -EIO;
}

/* Count the system calls of a cycle. The relay is stopped before and after it. */
static int count_calls(const struct bench *b, struct way *w)
{
	char path[] = "/tmp/bench-relay-XXXXXX";
	int fd = mkstemp(path), fds[2], err = 0;
	pid_t tracer = fd < 0 ? -1 : start_strace(w, path, fds);

	w->calls = -1;
	if (tracer > 0 && is_attached(fds[0])) {
		err = run_traced(b, w, tracer);
		if (!err)
			w->calls = sum_calls(path);
	} else if (tracer > 0) {
		waitpid(tracer, NULL, 0);
	}
	if (tracer > 0)
		close(fds[0]);
	if (fd >= 0) {
		close(fd);
		unlink(path);
	}
	return err;
}

/* ------------------------------------------------------------- Measurement */

/* A cycle of a relay, added to what it has done in this round. */
static int add_cycle(const struct bench *b, struct way *w)
{
	uint64_t cpu_ns = bench_clock_ns(w->clock);
	int64_t n;

	relay_traffic_aim(b->traffic, w->port);
	n = run_cycle(b, w, false);
	if (n < 0)
		return (int)n;
	w->cpu_ns += bench_clock_ns(w->clock) - cpu_ns;
	w->arrived += n;
	return 0;
}

static void print_slice(const struct bench *b, const struct kind *kind,
			struct way *w, unsigned int round)
{
	printf("%s,%u,%u,%s,%u,%lld,%llu,", kind->bursts ? "bursts" : "singles",
	       kind->flows, round, w->name, b->cycles * RELAY_CYCLE,
	       (long long)w->arrived, (unsigned long long)w->cpu_ns);
	if (w->calls >= 0)
		printf("%.5f", (double)w->calls / RELAY_CYCLE);
	putchar('\n');
	w->cpu_ns = 0;
	w->arrived = 0;
}

static int run_round(struct bench *b, const struct kind *kind,
		     unsigned int round)
{
	size_t n = b->n_ways;

	for (unsigned int turn = 0; turn < b->cycles; turn++) {
		for (size_t i = 0; i < n; i++) {
			/* Another relay is the first each time, and every other
			 * time they go backwards. */
			size_t k = (i + turn / 2 + round) % n;
			int err = add_cycle(b,
					    &b->ways[turn % 2 ? n - 1 - k : k]);

			if (err)
				return err;
		}
	}
	for (size_t i = 0; i < n; i++)
		print_slice(b, kind, &b->ways[i], round);
	return 0;
}

/* Start a relay, see that it forwards what it should, and leave it stopped. */
static int prepare(struct bench *b, const struct kind *kind, struct way *w)
{
	int err = way_start(b, w);
	int64_t n = 0;

	relay_traffic_set(b->traffic, kind->flows, kind->bursts);
	relay_traffic_aim(b->traffic, w->port);
	if (!err)
		err = relay_traffic_join(b->traffic);
	if (!err)
		err = way_stop(w);
	for (int i = 0; !err && i < WARM_CYCLES; i++) {
		n = run_cycle(b, w, true);
		if (n < 0)
			err = (int)n;
	}
	if (!err && n != RELAY_CYCLE) {
		fprintf(stderr, "bench-relay: %s lost %lld datagrams\n",
			w->name, (long long)(RELAY_CYCLE - n));
		err = -EIO;
	}
	return err ? err : count_calls(b, w);
}

static int run_kind(struct bench *b, const struct kind *kind)
{
	int err = 0;

	for (size_t i = 0; i < b->n_ways; i++) {
		err = prepare(b, kind, &b->ways[i]);
		if (err) {
			fprintf(stderr, "bench-relay: %s: %s\n",
				b->ways[i].name, strerror(-err));
			break;
		}
	}
	relay_traffic_set(b->traffic, kind->flows, kind->bursts);
	for (unsigned int round = 0; !err && round < b->rounds; round++)
		err = run_round(b, kind, round);
	for (size_t i = 0; i < b->n_ways; i++)
		way_end(&b->ways[i]);
	fflush(stdout);
	return err;
}

/* Pin this process to the last core, and note the first one. */
static int choose_cores(struct bench *b)
{
	cpu_set_t set;
	int last = -1;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return -errno;
	b->relay_cpu = -1;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET((size_t)cpu, &set))
			continue;
		if (b->relay_cpu < 0)
			b->relay_cpu = cpu;
		last = cpu;
	}
	return pin(last);
}

static int run(struct bench *b)
{
	int err = net_init_veth(&b->net);

	if (!err)
		err = choose_cores(b);
	if (!err)
		err = net_enter(b->net.sender_ns);
	if (!err)
		err = relay_traffic_new(&b->traffic, &b->net);
	printf("traffic,flows,round,way,sent,arrived,cpu_ns,"
	       "calls_per_datagram\n");
	if (!err && b->only.flows)
		return run_kind(b, &b->only);
	for (size_t i = 0; !err && i < ARRAY_LEN(kinds); i++)
		err = run_kind(b, &kinds[i]);
	return err;
}

/* Cut "NAME=PROGRAM WORD" into pieces, and give the relay its port. */
static bool parse_way(struct bench *b, char *text)
{
	struct way *w = &b->ways[b->n_ways];
	char *words = strchr(text, '=');
	char *next = NULL;
	size_t n = 0;

	if (!words || b->n_ways == MAX_WAYS)
		return false;
	*words++ = '\0';
	w->name = text;
	for (char *word = strtok_r(words, " ", &next); word && n < MAX_WORDS;
	     word = strtok_r(NULL, " ", &next))
		w->words[n++] = word;
	w->port = (uint16_t)(FIRST_PORT + b->n_ways);
	snprintf(w->port_text, sizeof(w->port_text), "%u", w->port);
	w->words[n] = w->port_text;
	b->n_ways++;
	return n > 0;
}

static unsigned int number(const char *text, unsigned int max)
{
	unsigned long n = strtoul(text, NULL, 10);

	return n <= max ? (unsigned int)n : 0;
}

static bool parse(struct bench *b, int argc, char **argv)
{
	bool is_right = argc > 3;
	int i = 3;

	if (!is_right)
		return false;
	b->rounds = number(argv[1], MAX_ROUNDS);
	b->cycles = number(argv[2], MAX_CYCLES);
	if (argc > 5 && !strchr(argv[3], '=')) {
		b->only.bursts = strcmp(argv[3], "bursts") == 0;
		b->only.flows = number(argv[4], RELAY_MAX_FLOWS);
		is_right = b->only.flows > 0;
		i += 2;
	}
	for (; is_right && i < argc; i++)
		is_right = parse_way(b, argv[i]);
	return is_right && b->rounds && b->cycles;
}

int main(int argc, char **argv)
{
	static struct bench b;
	int err;

	if (!parse(&b, argc, argv)) {
		fprintf(stderr,
			"usage: bench-relay ROUNDS CYCLES [bursts|singles FLOWS] "
			"NAME=PROGRAM[ WORD]...\n");
		return 2;
	}
	err = run(&b);
	if (err) {
		fprintf(stderr, "bench-relay: %s\n", strerror(-err));
		return 1;
	}
	return 0;
}
