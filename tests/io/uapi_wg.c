/* SPDX-License-Identifier: MIT */
/*
 * The server as wg(8) sees it. wg looks in /var/run/wireguard, so the program
 * takes a mount namespace of its own, with an empty /run.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/io/uapi_world.h"
#include "tests/lib/check.h"
#include "tests/lib/skip.h"

enum {
	/* More than wg prints of N_PEERS peers. */
	OUTPUT_CAP = 1 << 20,
	/* Their configuration is longer than the socket's buffers. A choice. */
	N_PEERS = 3000,
};

#define KEY_1 "6JIKv7lSQ4wNuoNNzVd6N/WpF8Jr+4DhxIZf3eYMpXM="
#define KEY_2 "3yNhJv3zRMvV0FSQYDJnTeQ4dpJkBrMQ8Tk9G0xGC3g="
#define PSK   "0Jwzqv3bQWDJ1lIuuUqT9zEXm4TgLwEcPrBsFwiDl3A="
#define PRIV  "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="

static char output[OUTPUT_CAP];

/* Runs a command and keeps its output in @output. Returns its exit status. */
__attribute__((format(printf, 1, 2))) static int run(const char *fmt, ...)
{
	char command[1024];
	va_list args;
	size_t len;
	FILE *pipe;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	strncat(command, " 2>&1", sizeof(command) - strlen(command) - 1);
	pipe = popen(command, "re");
	assert_non_null(pipe);
	len = fread(output, 1, sizeof(output) - 1, pipe);
	output[len] = 0;
	return WEXITSTATUS(pclose(pipe));
}

/* Writes a file below /run. */
static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_int_equal(fputs(text, f) >= 0, true);
	assert_int_equal(fclose(f), 0);
}

/* Writes a configuration: a text, then N_PEERS peers with two prefixes each. */
static void write_peers(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_int_equal(fputs(text, f) >= 0, true);
	for (unsigned int i = 0; i < N_PEERS; i++)
		fprintf(f,
			"[Peer]\nPublicKey = AAAA%08uAAAAAAAAAAAAAAAAAAAAAAAA"
			"AAAAAAA=\nAllowedIPs = 10.%u.%u.1, fd00:%x::/64\n",
			i, i >> 8, i & 255, i);
	assert_int_equal(fclose(f), 0);
}

static void begin(struct world *w)
{
	world_init(w);
	strcpy(w->directory, UAPI_DIRECTORY);
	assert_int_equal(world_open(w), 0);
	world_start(w);
}

static void show(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	assert_int_equal(run("wg show interfaces"), 0);
	assert_string_equal(output, "wgtest0\n");
	assert_int_equal(run("wg show wgtest0 dump"), 0);
	assert_string_equal(output, "(none)\t(none)\t0\toff\n");
	world_end(&w);
	assert_int_equal(run("wg show interfaces"), 0);
	assert_string_equal(output, "");
}

static void set(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	write_file("/run/private", PRIV "\n");
	write_file("/run/psk", PSK "\n");
	assert_int_equal(
		run("wg set wgtest0 private-key /run/private listen-port 51820 "
		    "fwmark 0x1234 peer " KEY_1 " preshared-key /run/psk "
		    "endpoint 192.0.2.1:7 persistent-keepalive 15 "
		    "allowed-ips 10.0.0.0/8,fd00::1 "
		    "peer " KEY_2 " endpoint '[2001:db8::7]:9'"),
		0);
	assert_string_equal(output, "");
	assert_int_equal(run("wg show wgtest0 dump | cut -f1,3-"), 0);
	assert_string_equal(output,
			    PRIV "\t51820\t0x1234\n" KEY_1
				 "\t192.0.2.1:7\t10.0.0.0/8,fd00::1/128"
				 "\t0\t0\t0\t15\n" KEY_2
				 "\t[2001:db8::7]:9\t(none)\t0\t0\t0\toff\n");
	assert_int_equal(run("wg show wgtest0 preshared-keys"), 0);
	assert_string_equal(output, KEY_1 "\t" PSK "\n" KEY_2 "\t(none)\n");
	assert_int_equal(run("wg set wgtest0 fwmark off listen-port 0 "
			     "peer " KEY_1 " remove peer " KEY_2
			     " persistent-keepalive off"),
			 0);
	assert_int_equal(run("wg show wgtest0 dump | cut -f1,3-"), 0);
	assert_string_equal(output, PRIV "\t7777\toff\n" KEY_2
					 "\t[2001:db8::7]:9\t(none)\t0\t0\t0"
					 "\toff\n");
	write_file("/run/private", "");
	assert_int_equal(run("wg set wgtest0 private-key /run/private"), 0);
	assert_int_equal(run("wg show wgtest0 private-key"), 0);
	assert_string_equal(output, "(none)\n");
	world_end(&w);
}

/*
 * wg takes the errno of an answer with its sign. With the right sign wg prints
 * the right message.
 */
static void errors(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	assert_int_equal(run("wg set wgtest0 listen-port 1"), 1);
	assert_string_equal(output, "Unable to modify interface: "
				    "Address already in use\n");
	assert_int_equal(run("wg set wgtest0 listen-port 2"), 0);
	world_end(&w);
}

/*
 * The first of many peers has an endpoint that is refused. wg writes the rest
 * all the same. If the server closed the connection early, wg would end by
 * SIGPIPE or print "Connection reset by peer".
 */
static void early_error(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	write_peers("/run/wrong.conf",
		    "[Peer]\nPublicKey = " KEY_1 "\nEndpoint = 192.0.2.1:0\n");
	assert_int_equal(run("wg setconf wgtest0 /run/wrong.conf"), 1);
	assert_string_equal(output, "Unable to modify interface: "
				    "Invalid argument\n");
	assert_int_equal(run("wg show wgtest0 dump | wc -l"), 0);
	assert_int_equal(atoi(output), 1);
	world_end(&w);
}

static void configuration(void **state)
{
	static const char text[] = "[Interface]\n"
				   "ListenPort = 51820\n"
				   "PrivateKey = " PRIV "\n"
				   "\n"
				   "[Peer]\n"
				   "PublicKey = " KEY_1 "\n"
				   "PresharedKey = " PSK "\n"
				   "AllowedIPs = 10.0.0.0/24, fd00::/64\n"
				   "Endpoint = 192.0.2.1:7\n"
				   "PersistentKeepalive = 25\n";
	char *sorted;
	struct world w;

	(void)state;
	begin(&w);
	write_file("/run/a.conf", text);
	assert_int_equal(run("wg setconf wgtest0 /run/a.conf"), 0);
	assert_int_equal(run("wg showconf wgtest0 | sed '/^$/d' | sort"), 0);
	sorted = strdup(output);
	assert_non_null(sorted);
	assert_int_equal(run("sed '/^$/d' /run/a.conf | sort"), 0);
	assert_string_equal(output, sorted);
	free(sorted);

	write_file("/run/b.conf", "[Peer]\nPublicKey = " KEY_2 "\n");
	assert_int_equal(run("wg addconf wgtest0 /run/b.conf"), 0);
	assert_int_equal(run("wg show wgtest0 peers"), 0);
	assert_string_equal(output, KEY_1 "\n" KEY_2 "\n");
	assert_int_equal(run("wg syncconf wgtest0 /run/b.conf"), 0);
	assert_int_equal(run("wg show wgtest0 peers"), 0);
	assert_string_equal(output, KEY_2 "\n");
	world_end(&w);
}

static void many_peers(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	write_peers("/run/many.conf", "");
	assert_int_equal(run("wg setconf wgtest0 /run/many.conf"), 0);
	assert_string_equal(output, "");
	assert_int_equal(run("wg show wgtest0 dump | wc -l"), 0);
	assert_int_equal(atoi(output), N_PEERS + 1);
	assert_int_equal(run("wg show wgtest0 allowed-ips | md5sum"), 0);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(show),		 cmocka_unit_test(set),
		cmocka_unit_test(errors),	 cmocka_unit_test(many_peers),
		cmocka_unit_test(configuration), cmocka_unit_test(early_error),
	};

	if (system("wg --version >/dev/null 2>&1") != 0)
		skip_program("needs wg of wireguard-tools");
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "/run", "tmpfs", MS_NOSUID | MS_NODEV, NULL))
		skip_program("needs root to make namespaces");
	return cmocka_run_group_tests(tests, world_prepare, world_finish);
}
