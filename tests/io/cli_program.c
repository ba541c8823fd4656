/* SPDX-License-Identifier: MIT */
/*
 * The program from outside: its start, its messages, and all the ways in which
 * it ends. usage: io-cli-program PATH-OF-WIREGATHER
 *
 * It runs in a mount namespace with an empty /run, and in a network namespace
 * of its own. Daemons become children of this process when their parent ends
 * (PR_SET_CHILD_SUBREAPER), so their end can be waited for.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "tests/lib/skip.h"

enum {
	/* More than any command prints. */
	OUTPUT_CAP = 65536,
	/* After this time a wait fails. A choice. */
	PATIENCE_MS = 20000,
	/* Long enough for the wrong effect of a signal to show. A choice. */
	MOMENT_MS = 200,
	/* Status that stands for a running process. */
	RUNS = -1,
};

#define SOCK "/run/wireguard/wg7.sock"

static char output[OUTPUT_CAP];

static void sleep_ms(long ms)
{
	struct timespec t = { .tv_sec = ms / 1000,
			      .tv_nsec = ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

/*
 * Runs a shell command, in which $W is the program, `upto` waits until a
 * command succeeds, and `up` until the program serves wg7. Reads both its
 * outputs into `output` until their end, which also shows that no other process
 * keeps them open. Returns its exit status.
 */
__attribute__((format(printf, 1, 2))) static int run(const char *fmt, ...)
{
	char command[2048] =
		"exec 2>&1; upto() { i=0; until eval \"$1\" || [ $i = 500 ]; "
		"do sleep 0.02; i=$((i + 1)); done; }; "
		"up() { upto 'wg show wg7 >/dev/null 2>&1'; }; ";
	size_t used = strlen(command);
	va_list args;
	size_t len;
	FILE *pipe;

	va_start(args, fmt);
	vsnprintf(command + used, sizeof(command) - used, fmt, args);
	va_end(args);
	pipe = popen(command, "re");
	assert_non_null(pipe);
	len = fread(output, 1, sizeof(output) - 1, pipe);
	output[len] = 0;
	return WEXITSTATUS(pclose(pipe));
}

static void check_output(const char *word)
{
	if (!strstr(output, word))
		fail_msg("'%s' is not in '%s'", word, output);
}

/* Is this process a living daemon? Other children may be zombies. */
static bool is_daemon(int pid)
{
	char path[64], name[32] = "", state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (fscanf(f, "%*d (%31[^)]) %c", name, &state) != 2)
		state = 'Z';
	fclose(f);
	return state != 'Z' && strcmp(name, "wiregather") == 0;
}

/* Returns the daemon that is a child of this process; 0: there is none. */
static pid_t find_child(void)
{
	FILE *f = fopen("/proc/thread-self/children", "re");
	int pid = 0;

	assert_non_null(f);
	while (fscanf(f, "%d", &pid) == 1 && !is_daemon(pid))
		pid = 0;
	fclose(f);
	return pid;
}

/* Waits for a child's end. Returns its status, as from waitpid(2). */
static int await(pid_t pid)
{
	int status = 0;

	for (int i = 0; i < PATIENCE_MS / 10; i++) {
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (got == pid)
			return status;
		assert_int_equal(got, 0);
		sleep_ms(10);
	}
	kill(pid, SIGKILL);
	fail_msg("%d does not end", (int)pid);
	return RUNS;
}

static bool is_there(const char *interface)
{
	return if_nametoindex(interface) != 0;
}

/* Starts a daemon for wg7 and returns its process. */
static pid_t start(const char *options)
{
	pid_t pid;

	assert_int_equal(run("$W %s wg7", options), 0);
	assert_string_equal(output, "");
	assert_true(is_there("wg7"));
	assert_int_equal(access(SOCK, F_OK), 0);
	pid = find_child();
	assert_true(pid > 0);
	return pid;
}

/* Checks that a process ends well and leaves nothing. */
static void check_end(pid_t pid)
{
	assert_int_equal(await(pid), 0);
	assert_false(is_there("wg7"));
	assert_int_equal(access(SOCK, F_OK), -1);
}

static void end(pid_t pid)
{
	assert_int_equal(kill(pid, SIGTERM), 0);
	check_end(pid);
}

static void usage(void **state)
{
	(void)state;
	assert_int_equal(run("$W --version 2>/dev/null"), 0);
	assert_int_equal(strncmp(output, "wiregather ", 11), 0);
	check_output("\nencryption: libsodium (linked), ipsec-mb (");
	check_output("; used here: ");
	check_output("\nsystem call filter: ");
	/* Libraries that are loaded on demand may be missing. Those of another
	 * architecture are beside the program, see tools/cross. */
	assert_int_equal(
		run("unshare -m sh -c 'for f in /usr/lib/*/libIPSec_MB"
		    "* /usr/lib/*/libcrypto.so.3 ${W%%/*}/root/usr/lib/*/"
		    "libcrypto.so.3 /usr/lib/*/android/libcrypto.so.0; do "
		    "test -e $f && "
		    "mount --bind /dev/null $f; done; $W --version'"),
		0);
	check_output(", libcrypto (not ");
	check_output("ipsec-mb (not ");
	check_output(", boringssl (not ");
	check_output("; used here: libsodium\n");
	assert_int_equal(run("$W --help 2>/dev/null"), 0);
	check_output("usage: wiregather");
	assert_int_equal(run("$W >/dev/null"), 2);
	check_output("usage: wiregather");
	assert_int_equal(run("$W --no-such wg7 >/dev/null"), 2);
	check_output("wiregather: no such option: --no-such\n");
	/* "help" is a command, and not the name of an interface. */
	assert_int_equal(run("$W help 2>/dev/null"), 0);
	check_output("usage: wiregather");
	assert_false(is_there("help"));
	assert_int_equal(run("$W wg7/8 >/dev/null"), 2);
	assert_int_equal(run("WG_TUN_FD=x $W wg7 >/dev/null"), 2);
	check_output("WG_TUN_FD: x");
}

/* When the first process has ended, the daemon can be used. */
static void usable_at_once(void **state)
{
	pid_t pid;

	(void)state;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(run("$W wg7 && wg set wg7 listen-port 0 && "
				     "ip link set wg7 name wg8 && "
				     "ip link set wg8 up && ip link del wg8"),
				 0);
		assert_string_equal(output, "");
		pid = find_child();
		if (pid)
			assert_int_equal(await(pid), 0);
		assert_int_equal(access(SOCK, F_OK), -1);
	}
}

static void device(void **state)
{
	pid_t pid = start("");

	(void)state;
	assert_int_equal(run("ip link show wg7"), 0);
	check_output("mtu 1420 ");
	check_output("qlen 500");
	check_output("state DOWN");
	end(pid);
	/* The kernel chooses the number, and the name is printed. */
	assert_int_equal(run("$W wg%%d"), 0);
	assert_string_equal(output, "wg0\n");
	assert_true(is_there("wg0"));
	assert_int_equal(access("/run/wireguard/wg0.sock", F_OK), 0);
	pid = find_child();
	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(await(pid), 0);
	assert_int_equal(run("$W -f 'wg7%%d' & upto 'test -e /run/wireguard/"
			     "wg70.sock'; kill $!; wait $!"),
			 0);
	check_output("wg70\n");
}

/* Unknown words in the environment change nothing, but a message names them. */
static void strange_environment(void **state)
{
	(void)state;
	assert_int_equal(run("LOG_LEVEL=info $W -f wg7 >/dev/null & up; "
			     "kill $!; wait $!"),
			 0);
	check_output("wiregather: LOG_LEVEL is none of verbose, debug, error "
		     "and silent, so errors are logged: info\n");
	assert_int_equal(run("WG_PROCESS_FOREGROUND=yes $W wg7"), 0);
	assert_string_equal(output, "wiregather: WG_PROCESS_FOREGROUND is not "
				    "1, so it has no effect: yes\n");
	end(find_child());
	assert_int_equal(run("LOG_LEVEL=silent WG_PROCESS_FOREGROUND=0 $W wg7"),
			 0);
	assert_string_equal(output, "");
	end(find_child());
}

/*
 * The interface of a daemon is removed while SIGSTOP keeps the daemon from
 * noticing. So the daemon still has the socket file when the next daemon
 * starts, and the next daemon has to wait.
 */
static void predecessor(void **state)
{
	pid_t before = start(""), next;

	(void)state;
	assert_int_equal(kill(before, SIGSTOP), 0);
	assert_int_equal(run("ip link del wg7; { sleep 0.3; kill -CONT %d; } & "
			     "$W wg7; echo status $?; wait",
			     (int)before),
			 0);
	assert_string_equal(output, "status 0\n");
	assert_int_equal(await(before), 0);
	next = find_child();
	assert_true(next > 0 && next != before);
	assert_int_equal(run("wg set wg7 listen-port 0"), 0);
	end(next);
	/* Start the next daemon without a pause, on the same port. */
	for (int i = 0; i < 20; i++) {
		assert_int_equal(run("$W wg7 && wg set wg7 listen-port 4446 && "
				     "ip link set wg7 up && ip link del wg7"),
				 0);
		assert_string_equal(output, "");
	}
	for (pid_t pid = find_child(); pid; pid = find_child())
		assert_int_equal(await(pid), 0);
}

/* A process whose parent has ended becomes a child of process 1. */
static void first_process(void **state)
{
	(void)state;
	assert_int_equal(
		run("unshare --fork --pid --mount-proc sh -c '"
		    "(sleep 0.1 & sleep 0.1 &); exec $W -f wg7' & "
		    "up; first=$(pgrep -P $!); "
		    "upto '! pgrep -lP '$first' | grep -qv wg-starter'; "
		    "echo children: $(pgrep -lP $first | "
		    "grep -vc wg-starter); "
		    "kill $first; wait $!; echo status $?"),
		0);
	check_output("children: 0\nstatus 0\n");
}

/* Children that have ended before the program begins, as those of a shell. */
static void earlier_children(void **state)
{
	const char *program = getenv("W");
	pid_t pid = fork(), child;
	siginfo_t info;

	(void)state;
	if (!pid) {
		child = fork();
		if (!child)
			_exit(0);
		if (waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT))
			_exit(126);
		if (program)
			execl(program, "wiregather", "-f", "wg7", (char *)NULL);
		_exit(127);
	}
	run("up; upto '! pgrep -lP %d | grep -qv wg-starter'; "
	    "echo children: $(pgrep -lP %d | grep -vc wg-starter)",
	    pid, pid);
	check_output("children: 0\n");
	end(pid);
}

/* A port that another process has is an error, whatever the link's state. */
static void busy_port(void **state)
{
	static const char *const states[] = { "down", "up" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		pid_t pid = start("");

		assert_int_equal(
			run("python3 -c 'import socket, time\n"
			    "s = socket.socket(socket.AF_INET, "
			    "socket.SOCK_DGRAM)\n"
			    "s.bind((\"\", 4447))\n"
			    "open(\"/run/bound\", \"w\")\n"
			    "time.sleep(60)' & "
			    "upto 'test -e /run/bound'; "
			    "ip link set wg7 %s; "
			    "printf '[Interface]\nListenPort = 4447\n' "
			    ">/run/busy.conf; "
			    "wg setconf wg7 /run/busy.conf; echo status $?; "
			    "{ kill $!; wait $!; } 2>/dev/null; rm /run/bound; "
			    "wg setconf wg7 /run/busy.conf; echo status $?",
			    states[i]),
			0);
		assert_string_equal(output, "Unable to modify interface: "
					    "Address already in use\n"
					    "status 1\nstatus 0\n");
		end(pid);
	}
}

static void moved(void **state)
{
	pid_t pid = start("");

	(void)state;
	assert_int_equal(run("ip netns add there && ip link set wg7 netns "
			     "there"),
			 0);
	assert_false(is_there("wg7"));
	sleep_ms(MOMENT_MS);
	assert_int_equal(run("wg set wg7 listen-port 4444 && "
			     "wg show wg7 listen-port"),
			 0);
	assert_string_equal(output, "4444\n");
	assert_int_equal(run("ip netns exec there ip link del wg7 && "
			     "ip netns del there"),
			 0);
	check_end(pid);
}

/* The pipe that reports the start is closed soon after it. */
static void await_pipe_closed(pid_t pid)
{
	for (int i = 0; i < PATIENCE_MS / 10; i++) {
		if (run("ls -l /proc/%d/fd | grep -q pipe:", (int)pid) == 1)
			return;
		sleep_ms(10);
	}
}

/* The daemon closes descriptors that it inherits. */
static void inherited_descriptors(void **state)
{
	pid_t pid;
	char path[64], target[64];
	ssize_t n;

	(void)state;
	assert_int_equal(run("exec 9>/run/lock; $W wg7"), 0);
	pid = find_child();
	await_pipe_closed(pid);
	for (int fd = 0; fd < 64; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
		n = readlink(path, target, sizeof(target) - 1);
		if (n < 0)
			continue;
		target[n] = 0;
		if (fd <= STDERR_FILENO)
			assert_string_equal(target, "/dev/null");
		else
			assert_null(strstr(target, "/run/lock"));
		assert_null(strstr(target, "pipe"));
	}
	snprintf(path, sizeof(path), "/proc/%d/cwd", pid);
	n = readlink(path, target, sizeof(target) - 1);
	assert_int_equal(n, 1);
	assert_int_equal(getsid(pid), pid);
	end(pid);
}

static void logs(void **state)
{
	pid_t pid;

	(void)state;
	assert_int_equal(run("LOG_LEVEL=verbose $W wg7 >/run/log; "
			     "ip link set wg7 up; "
			     "upto 'grep -q \"interface up\" /run/log'; "
			     "ip link del wg7; cat /run/log"),
			 0);
	check_output("DEBUG: (wg7) 20");
	check_output(" interface up\n");
	pid = find_child();
	if (pid)
		assert_int_equal(await(pid), 0);
	assert_int_equal(run("LOG_LEVEL=silent $W wg7; ip link del wg7"), 0);
	assert_string_equal(output, "");
	pid = find_child();
	if (pid)
		assert_int_equal(await(pid), 0);
}

static void log_of_refusals(void **state)
{
	(void)state;
	assert_int_equal(
		run("LOG_LEVEL=error $W -f wg7 & up; "
		    "printf 'set=1\\nlisten_port=5x\\n\\n' >/run/request; "
		    "python3 -c 'import socket; "
		    "s = socket.socket(socket.AF_UNIX); "
		    "s.connect(\"" SOCK "\"); "
		    "s.sendall(open(\"/run/request\", \"rb\").read()); "
		    "print(s.recv(99))'; "
		    "kill $!; wait $!"),
		0);
	check_output("errno=-22");
	check_output("uapi: line 2: listen_port: bad value: 5x\n");
}

/* If the reader of the log goes away, the tunnel stays. */
static void log_without_reader(void **state)
{
	(void)state;
	assert_int_equal(run("{ LOG_LEVEL=verbose $W -f wg7; "
			     "echo status $? >&2; } | head -n 1 & up; "
			     "ip link set wg7 up; sleep 0.2; "
			     "wg show interfaces; ip link del wg7; wait"),
			 0);
	check_output("wg7 is ready\nwg7\nstatus 0\n");
}

static void ends_by_signal(void **state)
{
	static const int numbers[] = { SIGTERM, SIGINT };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		pid_t pid = start("");

		assert_int_equal(kill(pid, numbers[i]), 0);
		check_end(pid);
	}
}

static void hangup(void **state)
{
	pid_t pid = start("");
	int status;

	(void)state;
	/* A detached daemon ignores SIGHUP. */
	assert_int_equal(kill(pid, SIGHUP), 0);
	sleep_ms(MOMENT_MS);
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	end(pid);
	/* In the foreground SIGHUP means that the terminal is gone, and ends
	 * the program. */
	assert_int_equal(run("$W -f wg7 & up; kill -HUP $!; wait $!"), 0);
	assert_int_equal(access(SOCK, F_OK), -1);
	/* nohup(1) makes the program ignore SIGHUP. */
	assert_int_equal(run("nohup $W --foreground wg7 >/dev/null & "
			     "up; kill -HUP $!; sleep 0.2; "
			     "ip link show wg7 >/dev/null || exit 9; "
			     "kill $!; wait $!"),
			 0);
	assert_int_equal(access(SOCK, F_OK), -1);
}

static void ends_with_interface(void **state)
{
	pid_t pid = start("");

	(void)state;
	assert_int_equal(run("ip link del wg7"), 0);
	check_end(pid);
}

static void ends_with_file(void **state)
{
	pid_t pid = start("");
	int status;

	(void)state;
	assert_int_equal(chmod(SOCK, 0666), 0);
	assert_int_equal(chown(SOCK, 1, 1), 0);
	sleep_ms(MOMENT_MS);
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	assert_int_equal(unlink(SOCK), 0);
	check_end(pid);
}

/* A killed daemon leaves its socket file; the next daemon replaces it. */
static void after_kill(void **state)
{
	pid_t pid = start("");

	(void)state;
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(await(pid), SIGKILL);
	assert_int_equal(access(SOCK, F_OK), 0);
	end(start(""));
}

static void in_use(void **state)
{
	pid_t pid = start("");

	(void)state;
	assert_int_equal(run("$W wg7"), 1);
	assert_string_equal(output, "wiregather: wg7 exists already, and "
				    "another process has it\n");
	assert_int_equal(run("$W -f wg7"), 1);
	check_output("another process has it\n");
	/* The name is free in another namespace, but the socket is not. */
	assert_int_equal(run("unshare -n sh -c '$W wg7; s=$?; ip link show "
			     "wg7 >/dev/null 2>&1 && exit 9; exit $s'"),
			 1);
	check_output(SOCK " is in use: ");
	assert_int_equal(find_child(), pid);
	end(pid);
	assert_int_equal(
		run("ip link add wg7 type veth peer name wg9 && $W wg7"), 1);
	check_output("wg7 exists already, and is no TUN");
	assert_int_equal(run("ip link del wg7"), 0);
	assert_int_equal(access(SOCK, F_OK), -1);
}

static void no_device(void **state)
{
	(void)state;
	assert_int_equal(
		run("unshare -m sh -c 'mount -t tmpfs none /dev/net && "
		    "exec $W wg7'"),
		1);
	check_output("wiregather: there is no /dev/net/tun: run 'modprobe");
	assert_int_equal(run("setpriv --bounding-set=-net_admin "
			     "--inh-caps=-net_admin $W wg7"),
			 1);
	check_output("CAP_NET_ADMIN");
	assert_int_equal(find_child(), 0);
}

/* Returns a TUN device of that name. */
static int open_tun(const char *name)
{
	struct ifreq ifr = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR);

	assert_true(fd >= 0);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	return fd;
}

static int open_listener(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	mkdir("/run/wireguard", 0755);
	assert_int_equal(bind(fd, (void *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

/* Inherited descriptors, with numbers that a shell can write. */
static void handed_over(void **state)
{
	int tun = open_tun("wg7");
	int sock = open_listener(SOCK);
	pid_t pid;

	(void)state;
	assert_int_equal(run("WG_TUN_FD=%d WG_UAPI_FD=%d $W other", tun, sock),
			 0);
	assert_string_equal(output, "");
	close(tun);
	close(sock);
	pid = find_child();
	assert_int_equal(run("wg set wg7 listen-port 0; wg show interfaces; "
			     "ip link show wg7"),
			 0);
	check_output("wg7\n");
	check_output("mtu 1420 ");
	end(pid);

	assert_int_equal(run("WG_TUN_FD=0 $W wg7"), 1);
	check_output("WG_TUN_FD=0 cannot be used");
	assert_int_equal(run("WG_UAPI_FD=0 $W wg7"), 1);
	check_output("WG_UAPI_FD=0 cannot be used");
	assert_int_equal(run("WG_UAPI_FD=99 $W wg7"), 1);
	check_output("Bad file descriptor");
	assert_false(is_there("wg7"));
}

/* Checks an offload of the device: "on" or "off". */
static void check_offload(const char *feature, const char *value)
{
	char line[64];

	assert_int_equal(run("ethtool -k wg7"), 0);
	snprintf(line, sizeof(line), "%s: %s", feature, value);
	check_output(line);
}

static void switches(void **state)
{
	pid_t pid;

	(void)state;
	end(start("--no-gso --no-gro --no-tso --no-uso"));
	pid = start("--no-tso");
	check_offload("tx-checksum-ip-generic", "on");
	check_offload("tx-tcp-segmentation", "off");
	check_offload("tx-tcp6-segmentation", "off");
	end(pid);
	pid = start("--no-uso");
	check_offload("tx-tcp-segmentation", "on");
	check_offload("tx-tcp6-segmentation", "on");
	check_offload("tx-udp-segmentation", "off");
	end(pid);
	pid = start("--no-overlay");
	check_offload("tx-tcp-segmentation", "on");
	check_offload("tx-udp_tnl-segmentation", "off");
	check_offload("tx-udp_tnl-csum-segmentation", "off");
	end(pid);
	pid = start("--no-vnet-hdr");
	assert_int_equal(run("ip -d link show wg7"), 0);
	check_output("vnet_hdr off");
	end(pid);
	pid = start("");
	assert_int_equal(run("ip -d link show wg7"), 0);
	check_output("vnet_hdr on");
	end(pid);
}

static void wg_quick(void **state)
{
	pid_t pid;

	(void)state;
	/* The program first checks whether the kernel has WireGuard. */
	if (!run("ip link add wgk type wireguard") && !run("ip link del wgk"))
		return;
	assert_int_equal(run("umask 077; { echo '[Interface]'; "
			     "echo 'Address = 10.9.0.1/24, fd09::1/64'; "
			     "echo PrivateKey = $(wg genkey); echo '[Peer]'; "
			     "echo PublicKey = $(wg genkey | wg pubkey); "
			     "echo 'AllowedIPs = 10.9.1.0/24'; } "
			     ">/run/wg7.conf"),
			 0);
	assert_int_equal(run("WG_QUICK_USERSPACE_IMPLEMENTATION=$W wg-quick up "
			     "/run/wg7.conf"),
			 0);
	pid = find_child();
	assert_int_equal(run("wg show wg7 allowed-ips; ip -4 route; "
			     "ip link show wg7"),
			 0);
	check_output("10.9.1.0/24 dev wg7");
	check_output("LOWER_UP");
	assert_int_equal(run("wg-quick down /run/wg7.conf"), 0);
	check_end(pid);
}

/* The program starts with no open descriptors. */
static void nothing_open(void **state)
{
	(void)state;
	assert_int_equal(run("$W wg7 <&- >&- 2>&-"), 0);
	end(find_child());
	assert_int_equal(run("$W -f wg7 <&- >&- 2>&- & up; "
			     "wg show interfaces; kill $!; wait $!"),
			 0);
	assert_string_equal(output, "wg7\n");
}

/* Clean up, so that a failure does not make later cases fail. */
static int clean(void **state)
{
	pid_t pid;

	(void)state;
	for (int i = 0; i < 100 && (pid = find_child()); i++) {
		kill(pid, SIGKILL);
		sleep_ms(10);
	}
	unlink(SOCK);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(usage, clean),
		cmocka_unit_test_teardown(usable_at_once, clean),
		cmocka_unit_test_teardown(device, clean),
		cmocka_unit_test_teardown(strange_environment, clean),
		cmocka_unit_test_teardown(predecessor, clean),
		cmocka_unit_test_teardown(first_process, clean),
		cmocka_unit_test_teardown(earlier_children, clean),
		cmocka_unit_test_teardown(busy_port, clean),
		cmocka_unit_test_teardown(moved, clean),
		cmocka_unit_test_teardown(inherited_descriptors, clean),
		cmocka_unit_test_teardown(logs, clean),
		cmocka_unit_test_teardown(log_of_refusals, clean),
		cmocka_unit_test_teardown(log_without_reader, clean),
		cmocka_unit_test_teardown(ends_by_signal, clean),
		cmocka_unit_test_teardown(hangup, clean),
		cmocka_unit_test_teardown(ends_with_interface, clean),
		cmocka_unit_test_teardown(ends_with_file, clean),
		cmocka_unit_test_teardown(after_kill, clean),
		cmocka_unit_test_teardown(in_use, clean),
		cmocka_unit_test_teardown(no_device, clean),
		cmocka_unit_test_teardown(handed_over, clean),
		cmocka_unit_test_teardown(switches, clean),
		cmocka_unit_test_teardown(wg_quick, clean),
		cmocka_unit_test_teardown(nothing_open, clean),
	};

	if (argc != 2)
		return 2;
	setenv("W", argv[1], 1);
	/* The test may run under nohup(1), which makes it ignore SIGHUP. */
	signal(SIGHUP, SIG_DFL);
	if (system("wg --version >/dev/null 2>&1") != 0)
		skip_program("needs wg of wireguard-tools");
	if (system("ethtool --version >/dev/null 2>&1") != 0)
		skip_program("needs ethtool");
	if (access("/dev/net/tun", F_OK))
		skip_program("needs /dev/net/tun");
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "/run", "tmpfs", MS_NOSUID | MS_NODEV, NULL))
		skip_program("needs root to make namespaces");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
